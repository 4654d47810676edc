# RssAnon of the pipeline worker and its connector host together, looked at every 20 ms, through one source transaction of
# 1 GB (1.15 M rows of 1 kB), from its start at the source until it is applied.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use POSIX ();
use TdBench qw(pg_server maria_server drop_server pg maria median rounds row wait_status catch_up connection say_now);
use Time::HiRes qw(sleep time);

my ($pg, $my) = (pg_server('bench'), maria_server('bench'));
my ($p, $m) = (pg($pg), maria($my));
$m->do($_) for ('CREATE DATABASE bench', 'USE bench', 'CREATE TABLE big (id BIGINT PRIMARY KEY, body VARCHAR(1200) NOT NULL)');
connection($p, $my);
$p->do(q{SELECT tapdata.mirror('src', into_schema => 'mirrored', name => 'memory')});
wait_status($p, 'memory', 'streaming');

sub rss_anon
{
	my ($pid) = @_;
	open my $f, '<', "/proc/$pid/status" or return 0;
	while (<$f>) { return $1 if /^RssAnon:\s+(\d+)/ }
	return 0;
}

# A process that keeps the highest sum of both, and the highest of each; prints them when it is told to end.
sub watch
{
	my @pids = @_;
	pipe(my $out, my $in) or die "pipe: $!";
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my ($stop, $most, @each) = (0, 0, (0) x @pids);
		$SIG{TERM} = sub { $stop = 1 };
		until ($stop)
		{
			my ($sum, $i) = (0, 0);
			for (@pids) { my $kb = rss_anon($_); $sum += $kb; $each[$i] = $kb if $kb > $each[$i]; $i++ }
			$most = $sum if $sum > $most;
			sleep 0.02;
		}
		syswrite $in, "$most @each\n";
		POSIX::_exit(0);
	}
	return { pid => $pid, out => $out };
}

my (@most, @detail);
for my $round (1 .. rounds(3))
{
	my %pid = map { $_->[1] => $_->[0] } @{ $p->selectall_arrayref(q{SELECT pid, kind FROM tapdata.workers WHERE object IN ('memory', 'src')}) };
	my @pids = map { my $k = $_; (grep { defined } map { $pid{$_} } grep { /$k/ } sort keys %pid)[0] // die "no $k process\n" } 'pipeline', 'host';
	my $watcher = watch(@pids);
	my $t = time;
	$m->do("INSERT INTO big SELECT seq + $round * 10000000, repeat(md5(seq + $round), 30) FROM seq_1_to_1150000");
	my $made = time - $t;
	catch_up($p, 'memory');
	my $all = time - $t;
	kill 'TERM', $watcher->{pid};
	my ($most, @each) = split ' ', readline $watcher->{out};
	waitpid $watcher->{pid}, 0;
	my ($rows) = $p->selectrow_array('SELECT count(*) FROM mirrored.big');
	die "$rows rows arrived\n" if $rows != $round * 1_150_000;
	push @most, $most / 1024;
	push @detail, sprintf 'worker %.0f MB, host %.0f MB', map { $_ / 1024 } @each;
	say_now(sprintf 'round %d: %.0f MB together (%s); made in %.1f s, applied %.1f s later', $round, $most[-1], $detail[-1], $made, $all - $made);
}
my $figure = (sort { $b <=> $a } @most)[0];
row('RssAnon of worker and host through a source transaction of 1 GB', sprintf('%.0f MB', $figure), '<= 200 MB', $figure <= 200,
	sprintf('highest of %d rounds, 1.15 M rows of 1 kB each; highest of each process: %s', scalar @most, $detail[-1]));
$_->disconnect for $p, $m;
drop_server($_, 'bench') for qw(pg mariadb);
