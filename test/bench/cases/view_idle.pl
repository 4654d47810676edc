# CPU of all processes of an idle server over 30 s, with 50 views and without, by /proc: utime + stime in clock ticks of 10 ms, wakeups by context switches.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use POSIX ();
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

# pid -> [name, clock ticks, switches] of the server's processes.
sub processes
{
	my ($postmaster) = split /\n/, slurp("$pg->{TD_PG_DATA}/postmaster.pid");
	my %found;
	for my $dir (glob '/proc/[0-9]*')
	{
		my ($pid) = $dir =~ /(\d+)$/;
		my (undef, undef, $rest) = slurp("$dir/stat") =~ /^(\d+) \((.*)\) (.*)$/s or next;
		my @field = split ' ', $rest;
		next if $pid != $postmaster && $field[1] != $postmaster;
		my $switches = 0;
		$switches += $_ for slurp("$dir/status") =~ /ctxt_switches:\s+(\d+)/g;
		$found{$pid} = [slurp("$dir/cmdline") =~ s/\0.*//sr, $field[11] + $field[12], $switches];
	}
	return \%found;
}

# What the server took in these seconds: clock ticks, wakeups; and of whom.
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
	my ($ticks, $wakeups, @of) = (0, 0);
	for my $pid (sort { $a <=> $b } keys %$after)
	{
		my ($name, $t, $w) = @{ $after->{$pid} };
		my (undef, $t0, $w0) = @{ $before->{$pid} // [$name, 0, 0] };
		$ticks += $t - $t0;
		$wakeups += $w - $w0;
		push @of, sprintf '%s %d/%d', $name =~ s/^postgres: //r, $t - $t0, $w - $w0 if $w > $w0;
	}
	say_now(sprintf '%s: %d clock ticks, %d wakeups: %s', $what, $ticks, $wakeups, join '; ', @of);
	$p = pg($pg);
	return [$ticks, $wakeups];
}

my %found;
for my $round (1 .. rounds(2))
{
	push @{ $found{without} }, take('without');
	live_view($p, "v$_", sprintf $kinds[$_ % @kinds], 1 + $_ % 10) for 1 .. $views;
	push @{ $found{with} }, take('with');
	$p->do('INSERT INTO t1 VALUES (2000, 3, 4)');    # they are awake
	exact_view($p, "v$_") for 10, 20;
	$p->do("SELECT tapdata.drop_view('v$_')") for 1 .. $views;
	$p->do('DELETE FROM t1 WHERE id = 2000');
}
my %ticks = map { my $side = $_; $side => median(map { $_->[0] } @{ $found{$side} }) } qw(with without);
my %wakeups = map { my $side = $_; $side => median(map { $_->[1] } @{ $found{$side} }) } qw(with without);
my $ms = 1000 / POSIX::sysconf(POSIX::_SC_CLK_TCK());
row("CPU of an idle server with $views views, against without", sprintf('%.0f ms more in %d s', ($ticks{with} - $ticks{without}) * $ms, $seconds), '<= 1 clock tick', $ticks{with} - $ticks{without} <= 1,
	sprintf('all processes of the server: %.1f clock ticks (%.0f ms each) with, %.1f without; wakeups %.1f a second with, %.1f without', $ticks{with}, $ms, $ticks{without}, $wakeups{with} / $seconds,
		$wakeups{without} / $seconds));
$p->disconnect;
drop_server('pg', 'bench');
