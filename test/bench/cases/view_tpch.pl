# The 22 queries of TPC-H at SF 1 as views, each alone: 150 orders come, 150 go and 150 change with their lines, and a few customers, suppliers and
# partsupps change, in one transaction; from its commit until the view is exact, decoding included, against the query itself.
# TD_BENCH_SCALE=0.1 is a quick look, TD_BENCH_QUERIES='q05 q09' asks for these only.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(drop_server pg rounds row timed median say_now);
use TdBenchTpch qw(tpch_server tpch_memory tpch_tables try_view follow);

my $sf = $ENV{TD_BENCH_SCALE} || 1;
my @names = $ENV{TD_BENCH_QUERIES} ? split(' ', $ENV{TD_BENCH_QUERIES}) : map { sprintf 'q%02d', $_ } 1 .. 22;
my $pg = tpch_server();
my $p = pg($pg);
$p->do('CREATE EXTENSION tapdata');
srand 1;
my $t = tpch_tables($p, 'tpch', $sf, 1, @names);
my ($good, $bad, @told) = (0, 0);

# Seconds of the query by the better of two plans, as PostgreSQL chooses and without nested loops: where it takes a join for one row it may need minutes.
sub itself
{
	my ($query) = @_;
	my $best = 20;
	for my $loops (qw(on off))
	{
		$p->do($_) for ("SET enable_nestloop = $loops", sprintf('SET statement_timeout = %d', 1000 * $best + 1));
		my $took = eval { timed(sub { $p->do("CREATE TEMP TABLE itself AS $query") }) };
		die $@ if !$took && $p->state ne '57014';
		eval { $p->do('RESET statement_timeout'); 1 } or $p->do('RESET statement_timeout');    # a timeout in the last moment ends the next statement
		$p->do($_) for ('DROP TABLE IF EXISTS itself', 'RESET enable_nestloop');
		$best = $took if $took && $took < $best;
	}
	return $best;
}

sub measure
{
	my ($name) = @_;
	my $query = $t->{queries}{$name};
	my $refused = try_view($p, $name, $query);
	if ($refused) { say_now("$name refused: $refused"); push @told, "$name refused"; return }
	my @itself;
	my $itself = sub { push @itself, itself($query) if !@itself || $itself[0] < 3 };    # once is enough of what takes that long
	my ($ours) = follow($p, rounds(3), $itself, { t => $t, view => $name });
	$p->do("SELECT tapdata.drop_view('$name')");
	my ($view, $full) = (median(@$ours), median(@itself));
	say_now(sprintf '%s: view %.1f ms, query %.0f ms, ratio %.3f', $name, 1000 * $view, 1000 * $full, $view / $full);
	$good++ if $view <= 0.1 * $full || $view <= 0.010;
	$bad++ if $view > $full;
	push @told, sprintf '%s %.3f (%.0f/%.0f)', $name, $view / $full, 1000 * $view, 1000 * $full;
	return;
}

measure($_) for @names;
row("TPC-H SF $sf, about 4,000 changed rows: commit to view exact, against the query itself", sprintf('%d of %d <= 0.1 or 10 ms, %d > 1.0', $good, scalar @names, $bad), '20 of 22 <= 0.1 (or 10 ms), none > 1.0',
	$good >= @names - 2 && $bad == 0,
	'each view alone, decoding included, ratio (ms/ms): ' . join(', ', @told) . '; ' . tpch_memory() . '; CREATE TABLE AS of the query, in parallel, by the better of two plans; indexes: primary keys and what explain_query wants: ' . join(', ', @{ $t->{indexes} }));
$p->disconnect;
drop_server('pg', 'bench');
