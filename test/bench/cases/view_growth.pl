# The same number of changed rows over TPC-H tables at SF 0.1 and at SF 1, in turns: how much longer the views over the larger ones take.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(drop_server pg rounds row median say_now);
use TdBenchTpch qw(tpch_server tpch_memory tpch_tables try_view follow);

my @names = $ENV{TD_BENCH_QUERIES} ? split(' ', $ENV{TD_BENCH_QUERIES}) : qw(q04 q05 q07 q08 q09 q20 q22);
my $sf = $ENV{TD_BENCH_SCALE} || 1;
my $pg = tpch_server();
my $p = pg($pg);
$p->do('CREATE EXTENSION tapdata');
srand 1;
my @sides = map { { t => tpch_tables($p, $_->[0], $_->[1], 1, @names), schema => $_->[0] } } ['small', $sf / 10], ['large', $sf];
my ($worst, $refused, @told) = (0, 0);
for my $name (@names)
{
	$_->{view} = "$name\_$_->{schema}" for @sides;
	if (my ($said) = grep { $_ } map { try_view($p, $_->{view}, $_->{t}{queries}{$name}) } @sides) { say_now("$name refused: $said"); push @told, "$name refused"; $refused++; next }
	my ($small, $large) = map { 1000 * median(@$_) } follow($p, rounds(5), undef, @sides);
	$p->do("SELECT tapdata.drop_view('$_->{view}')") for @sides;
	say_now(sprintf '%s: %.1f ms, ten times the tables %.1f ms, %.2f', $name, $small, $large, $large / $small);
	$worst = $large / $small if $large / $small > $worst;
	push @told, sprintf '%s %.2f (%.1f, %.1f ms)', $name, $large / $small, $small, $large;
}
row('the same changes to tables ten times as large: time to view exact', sprintf('at most %.2f times', $worst), '< 1.6', $worst < 1.6 && !$refused,
	sprintf 'TPC-H at SF %s and SF %s, about 4,000 changed rows, %s, decoding included: %s', $sf / 10, $sf, tpch_memory(), join(', ', @told));
$p->disconnect;
drop_server('pg', 'bench');
