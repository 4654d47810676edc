# One million rows updated in one transaction: from its end until a group-by view over them is exact, against decoding the same WAL alone into a spool.  Our capture
# worker is held (SIGSTOP) while the rows change, or it would have read half of the WAL by then.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server drop_server pg rounds row turns timed fresh median live_view exact_view decoder decode);

use constant ROWS => 1_000_000;

my $pg = pg_server('bench', 'max_worker_processes = 16');
my $p = pg($pg);
decoder($pg);
$p->do($_) for ('CREATE EXTENSION IF NOT EXISTS tapdata', 'CREATE TABLE acc (aid int PRIMARY KEY, bid int NOT NULL, abalance int NOT NULL, filler char(84))',
	'INSERT INTO acc SELECT g, g / 10000, 0, \'\' FROM generate_series(1, ' . ROWS . ') g', 'VACUUM ANALYZE acc');
live_view($p, 'sums', 'SELECT bid, count(*) AS n, sum(abalance) AS balance FROM acc GROUP BY bid');

my (%found, $pid);
END { kill 'CONT', $pid if $pid }
for my $round (1 .. rounds(5))
{
	$p->do('VACUUM acc');
	fresh($p);
	decode($pg, "alone$round", 'acc', '2,3', 0);
	my ($held) = $p->selectrow_array(q{SELECT pid FROM tapdata.workers WHERE kind = 'capture'});
	$p->do(q{SELECT tapdata.wait_view('sums')});
	$pid = $held;
	kill 'STOP', $pid or die "$pid: $!";
	$p->do('UPDATE acc SET abalance = abalance + 1');
	my @sides = (view => sub { return timed(sub { kill 'CONT', $held; undef $pid; $p->do(q{SELECT tapdata.wait_view('sums', '600 s')}) }) },
		alone => sub { return decode($pg, "alone$round", 'acc', '2,3', 2 * ROWS) });
	my $t = turns(1, $round % 2 ? @sides : @sides[2, 3, 0, 1]);
	push @{ $found{$_} }, $t->{$_} for keys %$t;
	$p->do('SELECT pg_drop_replication_slot($1)', undef, "alone$round");
	exact_view($p, 'sums');
}
my ($view, $alone) = map { median(@{ $found{$_} }) } qw(view alone);
row('a million changed rows through a group-by view, against decoding the same WAL alone', sprintf('%.2f of its rate', $alone / $view), '>= 0.7', $alone / $view >= 0.7,
	sprintf('commit to exact %.2f s = %.0f k rows/s; decoding into a spool %.2f s = %.0f k rows/s', $view, ROWS / $view / 1000, $alone, ROWS / $alone / 1000));
$p->disconnect;
drop_server('pg', 'bench');
