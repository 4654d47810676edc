# The writers' own latency at 70 % of the TPS that saturates them without a view: p99 with a view / without.
#
# From BEGIN sent to COMMIT's answer.  From the moment that pgbench had meant to begin a transaction it is told as well, but of that no ratio can be
# had: at 70 % two cores are so near to full that queues of tens of milliseconds come and go on either side, and the p99 of a few seconds is how
# long they happened to be.  Each run warms up after its checkpoint: at first every page is written whole, which is more than 70 % by itself.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use POSIX ();
use TdBench qw(pg_server drop_server pg rounds row fresh quiet say_now median pgbench_init pgbench_run live_view exact_view percentile);

my $seconds = $ENV{TD_BENCH_SECONDS} || 5;
my $pg = pg_server('bench', 'synchronous_commit = off', 'max_worker_processes = 16');
my $p = pg($pg);
pgbench_init($pg, 10);
$p->do('CREATE EXTENSION tapdata');
quiet();
my ($full) = pgbench_run($pg, 10, '');
my $rate = int($full * 0.7);
my (%p99, %queued);
for my $round (1 .. rounds(21))
{
	for my $side ($round % 2 ? qw(without with) : qw(with without))
	{
		live_view($p, 'branch_sums', 'SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid') if $side eq 'with';
		fresh($p);
		quiet();
		pgbench_run($pg, 3, "-R $rate");
		my (@own, @from_plan);
		my ($tps) = pgbench_run($pg, $seconds, "-R $rate", sub { my (undef, undef, undef, $took, $lag) = @_; push @own, $took - $lag; push @from_plan, $took });
		push @{ $p99{$side} }, percentile(0.99, sort { $a <=> $b } @own);
		push @{ $queued{$side} }, percentile(0.99, sort { $a <=> $b } @from_plan);
		say_now(sprintf 'round %d, %s: %.0f tx/s, p99 %.3f ms, from the planned start %.2f ms', $round, $side, $tps, $p99{$side}[-1], $queued{$side}[-1]);
		next if $side eq 'without';
		$p->do(q{SELECT tapdata.wait_view('branch_sums')});
		exact_view($p, 'branch_sums');
		$p->do(q{SELECT tapdata.drop_view('branch_sums')});
	}
}
my ($with, $without) = map { median(@{ $p99{$_} }) } qw(with without);
row('writers\' p99 at 70 % of their saturated TPS, with the view / without', sprintf('%.2f', $with / $without), '<= 1.15', $with / $without <= 1.15,
	sprintf('%d tx/s: %.3f ms with, %.3f ms without; from the planned start, that is with the queue before pgbench\'s four clients, %.1f and %.1f ms', $rate, $with, $without,
		map { median(@{ $queued{$_} }) } qw(with without)));
$p->disconnect;
drop_server('pg', 'bench');
