# One transaction updates 100,000 rows of pgbench_accounts: from its commit until the view is exact (wait_view), against
# REFRESH MATERIALIZED VIEW of the same query.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg rounds row turns timed fresh pgbench_init live_view exact_view);

my $pg = pg_server('bench', 'max_worker_processes = 16');
my $p = pg($pg);
pgbench_init($pg, 10);
my $query = 'SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid';
$p->do($_) for ('CREATE EXTENSION tapdata', "CREATE MATERIALIZED VIEW full_sums AS $query");
live_view($p, 'branch_sums', $query);
my $update = sub { my ($round) = @_; my $from = ($round * 100_000) % 1_000_000; $p->do("UPDATE pgbench_accounts SET abalance = abalance + $round WHERE aid > $from AND aid <= $from + 100000") };
my $found = turns(rounds(7),
	ours => sub { my ($round) = @_; $p->do('VACUUM pgbench_accounts'); fresh($p); $update->($round); return timed(sub { $p->do(q{SELECT tapdata.wait_view('branch_sums')}) }) },
	refresh => sub { return timed(sub { $p->do('REFRESH MATERIALIZED VIEW full_sums') }) });
exact_view($p, 'branch_sums');
my $ratio = $found->{ours} / $found->{refresh};
row('update of 100,000 rows, commit to view exact, against REFRESH', sprintf('%.2f of its time', $ratio), '<= 1.0', $ratio <= 1.0,
	sprintf('ours %.0f ms, decoding included; REFRESH MATERIALIZED VIEW of 1 M accounts %.0f ms', 1000 * $found->{ours}, 1000 * $found->{refresh}));
$p->disconnect;
drop_server('pg', 'bench');
