# RssAnon of the pipeline worker and its connector host together, looked at every 20 ms, through one source transaction of
# 1 GB, from its start at the source until it is applied.  Three of them: 1.15 M rows of 1 kB inserted, half of them updated
# (both images are sent), all deleted.
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
	while (my $line = <$f>) { return $1 if $line =~ /^RssAnon:\s+(\d+)/ }
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
			for my $watched (@pids) { my $kb = rss_anon($watched); $sum += $kb; $each[$i] = $kb if $kb > $each[$i]; $i++ }
			$most = $sum if $sum > $most;
			sleep 0.02;
		}
		syswrite $in, "$most @each\n";
		POSIX::_exit(0);
	}
	return { pid => $pid, out => $out };
}

my %table = ($p => 'mirrored.big', $m => 'big');
my @kinds = (
	['insert', 'INSERT INTO big SELECT seq, repeat(md5(seq), 30) FROM seq_1_to_1150000', 1_150_000],
	['update', 'UPDATE big SET body = reverse(body) WHERE id % 2 = 0', 1_150_000],
	['delete', 'DELETE FROM big', 0]);
my (@most, @detail);
for my $round (1 .. rounds(3))
{
	my %pid = map { $_->[1] => $_->[0] } @{ $p->selectall_arrayref(q{SELECT pid, kind FROM tapdata.workers WHERE object IN ('memory', 'src')}) };
	my @pids = map { my $k = $_; (grep { defined } map { $pid{$_} } grep { /$k/ } sort keys %pid)[0] // die "no $k process\n" } 'pipeline', 'host';
	my $watcher = watch(@pids);
	my $t = time;
	my ($kind, $sql, $left) = @{ $kinds[($round - 1) % 3] };
	$m->do($sql);
	my $made = time - $t;
	catch_up($p, 'memory');
	my $all = time - $t;
	kill 'TERM', $watcher->{pid};
	my ($most, @each) = split ' ', readline $watcher->{out};
	waitpid $watcher->{pid}, 0;
	die "a process was not there to the end\n" if grep { !kill 0, $_ } @pids;
	my $sides = join ' ', map { join '/', @{ $_->selectrow_arrayref("SELECT count(*), coalesce(sum(length(body)), 0), coalesce(min(body), '') FROM $table{$_}") } } $p, $m;
	my ($here, $there) = split ' ', $sides;
	die "the sides differ: $sides\n" if $here ne $there || $here !~ m{^$left/};
	push @most, $most / 1024;
	push @detail, sprintf '%s: %.0f MB (worker %.0f, host %.0f)', $kind, $most[-1], map { $_ / 1024 } @each;
	say_now(sprintf '%s; made in %.1f s, applied %.1f s later', $detail[-1], $made, $all - $made);
}
my $figure = (sort { $b <=> $a } @most)[0];
row('RssAnon of worker and host through a source transaction of 1 GB', sprintf('%.0f MB', $figure), '<= 200 MB', $figure <= 200,
	sprintf('the highest of three, each more than 1 GB in the binlog, most of both together and of each: %s', join '; ', @detail));
$_->disconnect for $p, $m;
drop_server($_, 'bench') for qw(pg mariadb);
