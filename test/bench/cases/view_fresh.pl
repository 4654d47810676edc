# 2,000 transactions a second by pgbench over its tables and two more, ten views of different kinds: from the client's OK of COMMIT to the commit of the tick
# that has it, by track_commit_timestamp and one clock.  All views of a group change in one commit, so one that shows each transaction tells for all.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg median rounds row quiet say_now fresh pgbench_init pgbench_run live_view exact_view percentile);

my ($rate, $length, $warm) = (2000, $ENV{TD_BENCH_SECONDS} || 15, 3);
my $lag = $ENV{TD_BENCH_LAG};    # max_lag of the group, instead of its default
my @views = (
	[counters => 'SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid'],
	[extremes => 'SELECT tid, count(*) AS n, min(delta) AS least, max(delta) AS most FROM moved GROUP BY tid'],
	[joined => 'SELECT m.id, m.delta, m.aid, t.bid FROM moved m JOIN pgbench_tellers t ON t.tid = m.tid'],
	[outer_joined => 'SELECT a.aid, a.abalance, n.note FROM pgbench_accounts a LEFT JOIN note n ON n.aid = a.aid'],
	[existing => 'SELECT a.aid, a.abalance FROM pgbench_accounts a WHERE EXISTS (SELECT FROM moved m WHERE m.aid = a.aid)'],
	[running => 'SELECT id, aid, sum(delta) OVER (PARTITION BY aid ORDER BY id) AS so_far FROM moved'],
	[nested => q{SELECT a.aid, a.abalance, (SELECT jsonb_agg(jsonb_build_object('id', m.id, 'delta', m.delta) ORDER BY m.id) FROM moved m WHERE m.aid = a.aid) AS moved FROM pgbench_accounts a WHERE a.aid % 10 = 0}],
	[distinct_ones => 'SELECT DISTINCT tid, delta FROM moved'],
	[split_one => 'SELECT times, count(*) AS accounts FROM (SELECT aid, count(*) AS times FROM moved GROUP BY aid) x GROUP BY times'],
	[above => 'SELECT bid, count(*) AS n, sum(delta) AS moved FROM joined GROUP BY bid']);
my $pg = pg_server('bench', 'max_worker_processes = 16');
my $p = pg($pg);
pgbench_init($pg, 10);
$p->do($_) for ('CREATE EXTENSION tapdata', 'CREATE TABLE moved (id bigint PRIMARY KEY, aid int NOT NULL, tid int NOT NULL, delta int NOT NULL)',
	'INSERT INTO moved SELECT -i, 1 + i * 7 % 1000000, 1 + i % 100, i % 5000 FROM generate_series(1, 100000) i', 'CREATE INDEX ON moved (aid)', 'CREATE INDEX ON moved (tid, delta)',
	'CREATE TABLE note (aid int PRIMARY KEY, note text NOT NULL)', q{INSERT INTO note SELECT i * 10, 'note ' || i FROM generate_series(1, 100000) i}, 'VACUUM ANALYZE');
live_view($p, @$_, $lag ? qq({"max_lag": "$lag"}) : undef) for @views;

# i counts the transactions of a client, as the log of pgbench does.
my $script = "/tmp/tapdata-bench-fresh.$$";
open my $f, '>', $script or die "$script: $!";
print $f "\\set i :i + 1\n\\set aid random(1, 1000000)\n\\set tid random(1, 100)\n\\set delta random(-5000, 5000)\nBEGIN;\nUPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;\n",
	"INSERT INTO moved VALUES (:round * 100000000 + :client_id * 10000000 + :i, :aid, :tid, :delta);\nEND;\n";
close $f or die "$script: $!";

# Gives p50, p99, the longest (ms) and the transactions a second.
sub measure
{
	my ($round) = @_;
	my %ok;
	my ($tps) = pgbench_run($pg, $length, "-f $script -D i=0 -D round=$round -R $rate", sub { my ($client, $n, $us) = @_; $ok{ $round * 1e8 + $client * 1e7 + $n } = $us });
	$p->do("SELECT tapdata.wait_view('$_->[0]')") for @views;
	my $seen = $p->selectall_arrayref('SELECT id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM joined WHERE id / 100000000 = $1 AND id > 0', undef, $round);
	die sprintf("%d rows in the view, %d transactions\n", scalar @$seen, scalar keys %ok) if @$seen != keys %ok;
	my ($first) = sort { $a <=> $b } values %ok;
	my @late = sort { $a <=> $b } map { ($_->[1] - $ok{ $_->[0] }) / 1000 } grep { $ok{ $_->[0] } > $first + $warm * 1e6 } @$seen;
	return [percentile(0.5, @late), percentile(0.99, @late), $late[-1], $tps];
}

my @found;
for my $round (1 .. rounds(5))
{
	fresh($p);
	quiet();
	push @found, measure($round);
	say_now(sprintf 'round %d: p50 %.2f ms, p99 %.2f ms, longest %.1f; %.0f tx/s', $round, @{ $found[-1] });
}
unlink $script;
exact_view($p, $_->[0]) for @views;
my ($p50, $p99, $longest, $tps) = map { my $i = $_; median(map { $_->[$i] } @found) } 0 .. 3;
row('commit to visible at 2,000 tx/s with 10 views of different kinds', sprintf('p50 %.1f ms, p99 %.1f ms', $p50, $p99), 'p50 <= 5 ms, p99 <= 30 ms', $p50 <= 5 && $p99 <= 30 && $tps >= 0.98 * $rate,
	sprintf('from the client\'s OK to the commit of the tick, %d s at %.0f tx/s, two row changes each, max_lag %s; longest %.1f ms; %s', $length, $tps, $lag // '10 ms (default)', $longest, join(', ', map { $_->[0] } @views)));
$p->disconnect;
drop_server('pg', 'bench');
