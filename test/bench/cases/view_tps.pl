# Four pgbench clients that saturate the machine (synchronous_commit = off: nothing waits for the disk), with one GROUP BY view
# over pgbench_accounts and without; in turns on one server.  The view is exact after each turn.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg rounds row turns fresh pgbench_init pgbench_run live_view exact_view);

my $seconds = $ENV{TD_BENCH_SECONDS} || 20;
my $pg = pg_server('bench', 'synchronous_commit = off', 'max_worker_processes = 16');
my $p = pg($pg);
pgbench_init($pg, 10);
$p->do('CREATE EXTENSION tapdata');
my $query = 'SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid';
my (@share, %tps);
for my $round (1 .. rounds(5))
{
	for my $side ($round % 2 ? qw(without with) : qw(with without))
	{
		live_view($p, 'branch_sums', $query) if $side eq 'with';
		fresh($p);
		my $found = turns(1, $side => sub { return (pgbench_run($pg, $seconds, ''))[0] });
		push @{ $tps{$side} }, $found->{$side};
		next if $side eq 'without';
		$p->do(q{SELECT tapdata.wait_view('branch_sums')});
		exact_view($p, 'branch_sums');
		push @share, $p->selectrow_array(q{SELECT ticks FROM tapdata.views});
		$p->do(q{SELECT tapdata.drop_view('branch_sums')});
	}
}
my ($with, $without) = map { TdBench::median(@{ $tps{$_} }) } qw(with without);
row('TPS of 4 saturating pgbench clients, with a GROUP BY view / without', sprintf('%.2f', $with / $without), '>= 0.85', $with / $without >= 0.85,
	sprintf('scale 10, tpcb-like, prepared, %d s each: %.0f with, %.0f without; %d ticks', $seconds, $with, $without, TdBench::median(@share)));
$p->disconnect;
drop_server('pg', 'bench');
