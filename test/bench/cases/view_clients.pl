# 1, 4 and 16 pgbench clients that saturate the machine (-N: no row is fought over; synchronous_commit = off), with a view and without, in turns on
# one server; for three views: groups, a join of a million rows, and one of which each transaction changes ten groups (pg_ivm: 0.08 to 0.35).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg rounds row median quiet say_now fresh pgbench_init pgbench_run live_view exact_view);

my ($seconds, $rounds) = ($ENV{TD_BENCH_SECONDS} || 3, rounds(3));
my %query = (
	groups => 'SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid',
	join => 'SELECT a.aid, a.abalance, b.bid, b.filler FROM pgbench_accounts a JOIN pgbench_branches b ON b.bid = a.bid',
	ten => 'SELECT t.tid, sum(a.abalance) AS balance FROM pgbench_accounts a JOIN pgbench_tellers t ON t.bid = a.bid GROUP BY t.tid');
my @sides = qw(none groups join ten);
my @clients = (1, 4, 16);
my $pg = pg_server('bench', 'synchronous_commit = off', 'max_worker_processes = 16');
my $p = pg($pg);
pgbench_init($pg, 10);
$p->do($_) for ('CREATE EXTENSION tapdata', 'CREATE INDEX ON pgbench_accounts (bid)', 'CREATE INDEX ON pgbench_tellers (bid)', 'VACUUM ANALYZE');

my %tps;
for my $round (1 .. $rounds)
{
	for my $side ($round % 2 ? @sides : reverse @sides)
	{
		live_view($p, 'kept', $query{$side}) if $query{$side};
		for my $clients (@clients)
		{
			fresh($p);
			quiet();
			my ($tps) = pgbench_run($pg, $seconds, "-N -c $clients");
			$p->do(q{SELECT tapdata.wait_view('kept', '600 s')}) if $query{$side};
			say_now(sprintf 'round %d, %-6s %2d clients: %.0f tx/s', $round, $side, $clients, $tps);
			push @{ $tps{$side}{$clients} }, $tps;
		}
		next if !$query{$side};
		exact_view($p, 'kept');
		$p->do(q{SELECT tapdata.drop_view('kept')});
	}
}
my ($worst, @told) = (9);
for my $side (@sides[1 .. 3])
{
	my @ratios = map { median(@{ $tps{$side}{$_} }) / median(@{ $tps{none}{$_} }) } @clients;
	for (@ratios) { $worst = $_ if $_ < $worst }
	push @told, "$side " . join ' ', map { sprintf '%.2f', $_ } @ratios;
}
row('writers\' TPS with a view / without, 1, 4 and 16 saturating clients, the worst of three views', sprintf('%.2f', $worst), '>= 0.85', $worst >= 0.85,
	sprintf('pgbench -N, scale 10, %d s each, for 1, 4, 16 clients: %s; without %s tx/s', $seconds, join(', ', @told), join(' ', map { sprintf '%.0f', median(@{ $tps{none}{$_} }) } @clients)));
$p->disconnect;
drop_server('pg', 'bench');
