# The writers' own latency at 70 % of the TPS that saturates them without a view: p99 with a view / without.  Many short runs: one that meets a pause of the
# disk or of the machine has a p99 of hundreds of ms, on either side, and is one of many.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg rounds row fresh quiet say_now pgbench_init pgbench_run live_view exact_view percentile);

my $seconds = $ENV{TD_BENCH_SECONDS} || 5;
my $pg = pg_server('bench', 'synchronous_commit = off', 'max_worker_processes = 16');
my $p = pg($pg);
pgbench_init($pg, 10);
$p->do('CREATE EXTENSION tapdata');
quiet();
my ($full) = pgbench_run($pg, 10, '');
my $rate = int($full * 0.7);
my %p99;
for my $round (1 .. rounds(15))
{
	for my $side ($round % 2 ? qw(without with) : qw(with without))
	{
		live_view($p, 'branch_sums', 'SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid') if $side eq 'with';
		fresh($p);
		quiet();
		my ($tps, @latency) = pgbench_run($pg, $seconds, "-R $rate", 1);
		my $p99 = percentile(0.99, @latency);
		say_now(sprintf 'round %d, %s: %.0f tx/s, p99 %.2f ms', $round, $side, $tps, $p99);
		push @{ $p99{$side} }, $p99;
		next if $side eq 'without';
		$p->do(q{SELECT tapdata.wait_view('branch_sums')});
		exact_view($p, 'branch_sums');
		$p->do(q{SELECT tapdata.drop_view('branch_sums')});
	}
}
my ($with, $without) = map { TdBench::median(@{ $p99{$_} }) } qw(with without);
row('writers\' p99 at 70 % of their saturated TPS, with the view / without', sprintf('%.2f', $with / $without), '<= 1.15', $with / $without <= 1.15,
	sprintf('%d tx/s: %.2f ms with, %.2f ms without (from the scheduled start)', $rate, $with, $without));
$p->disconnect;
drop_server('pg', 'bench');
