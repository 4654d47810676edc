# CPU of all processes of an idle server over 30 s, with 50 views and without: what the scheduler says of each (/proc/PID/schedstat, ns; clock ticks of 10 ms
# would tell nothing of so little), wakeups by context switches.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg rounds row median quiet say_now live_view exact_view);
use Time::HiRes qw(sleep);

my ($seconds, $views) = ($ENV{TD_BENCH_SECONDS} || 30, 50);
my $pg = pg_server('bench', 'max_worker_processes = 16', 'autovacuum = off');
my $p = pg($pg);
my @kinds = ('SELECT b, count(*) AS n, sum(v) AS v FROM t%d GROUP BY b', 'SELECT a.id, a.v, o.v AS other FROM t%d a JOIN t0 o ON o.id = a.b', 'SELECT a.id, o.v FROM t%d a LEFT JOIN t0 o ON o.id = a.b',
	'SELECT id, b FROM t%d a WHERE EXISTS (SELECT FROM t0 o WHERE o.id = a.b)', 'SELECT DISTINCT b FROM t%d');
$p->do('CREATE EXTENSION tapdata');
$p->do("CREATE TABLE t$_ (id int PRIMARY KEY, b int NOT NULL, v int NOT NULL); INSERT INTO t$_ SELECT i, i % 100, i FROM generate_series(1, 1000) i; CREATE INDEX ON t$_ (b)") for 0 .. 10;

sub slurp { my ($file) = @_; open my $f, '<', $file or return ''; local $/; return readline $f }

# pid -> [name, ms of CPU, switches] of the server's processes.
sub processes
{
	my ($postmaster) = split /\n/, slurp("$pg->{TD_PG_DATA}/postmaster.pid");
	my %found;
	for my $dir (glob '/proc/[0-9]*')
	{
		my ($pid) = $dir =~ /(\d+)$/;
		my (undef, undef, $rest) = slurp("$dir/stat") =~ /^(\d+) \((.*)\) (.*)$/s or next;
		next if $pid != $postmaster && (split ' ', $rest)[1] != $postmaster;
		my $switches = 0;
		$switches += $_ for slurp("$dir/status") =~ /ctxt_switches:\s+(\d+)/g;
		$found{$pid} = [slurp("$dir/cmdline") =~ s/\0.*//sr, (split ' ', slurp("$dir/schedstat"))[0] / 1e6, $switches];
	}
	return \%found;
}

# What the server took in these seconds: ms of CPU, wakeups; and of whom.
sub take
{
	my ($what) = @_;
	$p->do('CHECKPOINT');
	$p->disconnect;
	sleep 3;
	quiet();
	my $before = processes();
	sleep $seconds;
	my $after = processes();
	my ($ms, $wakeups, @of) = (0, 0);
	for my $pid (sort { $a <=> $b } keys %$after)
	{
		my ($name, $t, $w) = @{ $after->{$pid} };
		my (undef, $t0, $w0) = @{ $before->{$pid} // [$name, 0, 0] };
		$ms += $t - $t0;
		$wakeups += $w - $w0;
		push @of, sprintf '%s %.1f/%d', $name =~ s/^postgres: //r, $t - $t0, $w - $w0 if $w > $w0;
	}
	say_now(sprintf '%s: %.1f ms, %d wakeups: %s', $what, $ms, $wakeups, join '; ', @of);
	$p = pg($pg);
	return [$ms, $wakeups];
}

my %found;
for my $round (1 .. rounds(3))
{
	push @{ $found{without} }, take('without');
	live_view($p, "v$_", sprintf $kinds[$_ % @kinds], 1 + $_ % 10) for 1 .. $views;
	push @{ $found{with} }, take('with');
	$p->do('INSERT INTO t1 VALUES (2000, 3, 4)');    # they are awake
	exact_view($p, "v$_") for 10, 20;
	$p->do("SELECT tapdata.drop_view('v$_')") for 1 .. $views;
	$p->do('DELETE FROM t1 WHERE id = 2000');
}
my ($ms, $wakeups) = map { my $at = $_; +{ map { my $side = $_; $side => median(map { $_->[$at] } @{ $found{$side} }) } qw(with without) } } 0, 1;
my $more = $ms->{with} - $ms->{without};
row("CPU of an idle server with $views views, against without", sprintf('%.1f ms more in %d s', $more, $seconds), '<= 10 ms (one clock tick)', $more <= 10,
	sprintf('all processes of the server: %.1f ms with, %.1f ms without; wakeups %.1f a second with, %.1f without', @$ms{qw(with without)}, map { $_ / $seconds } @$wakeups{qw(with without)}));
$p->disconnect;
drop_server('pg', 'bench');
