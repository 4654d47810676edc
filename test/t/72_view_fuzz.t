# The fuzzer of views: random schemas, random queries over all constructs up to five deep, four writers.  check_view() is
# empty after every wait while they write, and at the end plain SQL says the same, digit for digit.  What create_view refuses
# with 0A000 is counted by construct; any other error is a failure.
#
# TD_SEED=n repeats a run, TD_FUZZ_SECONDS makes it longer (make fuzz: 20 minutes), TD_FUZZ_KINDS='setop window' takes some
# kinds of queries (TdQueries::kinds), TD_FUZZ_SHRINK is the time given to making a failure small, in seconds, and
# TD_FUZZ_KNOWN a pattern of errors of create_view that are known: the query is passed over.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(start_churn stop_churn inexact unequal wait_views);
use TdQueries qw(text kinds pick);
use TdFuzz qw(seed_of make_schema starting_rows game next_query plain_result create_view clear reproduce);
use Time::HiRes qw(time);

# Constructs of which at least one view must have been made; for those that have none yet the run is up to twice as long.
my @must = ('inner join', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN', 'EXISTS', 'NOT EXISTS', 'IN', 'scalar in SELECT', 'scalar in WHERE', 'LATERAL', 'derived table', 'set-returning in SELECT', 'nested document', 'GROUP BY', 'HAVING',
	'aggregates without GROUP BY', 'FILTER', 'WITHIN GROUP', 'aggregate DISTINCT', 'aggregate ORDER BY', 'DISTINCT', 'DISTINCT ON', 'window', 'partitioned table', 'ordinary view', 'view over view');

my $seconds = $ENV{TD_FUZZ_SECONDS} || 60;
my $shrinking = $ENV{TD_FUZZ_SHRINK} || 90;
my @kinds = $ENV{TD_FUZZ_KINDS} ? split ' ', $ENV{TD_FUZZ_KINDS} : kinds();
my ($views_of_a_round, $tries_of_a_round, $writing, $enough) = (12, 150, 5, 3);    # ... seconds of checks in a round, failures to stop at
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
start_server('fuzz', 'max_prepared_transactions = 20', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata');
my $connect = sub { psql('postgres', fresh => 1) };
my (%accepted, %refused, %reasons, %count, @failures);
$count{$_} = 0 for qw(rounds views refused dear known locked checks ticks recomputes);

# Views of random queries, made while writers run: { name, sql (a piece), columns } onto @$views.  Returns what is wrong, '' = nothing.
sub make_views
{
	my ($dbh, $s, $round, $views) = @_;
	my $known = $ENV{TD_FUZZ_KNOWN} && qr/$ENV{TD_FUZZ_KNOWN}/;
	for (my $i = 1; @$views < $views_of_a_round && $i <= $tries_of_a_round; $i++)
	{
		my $q = next_query($s, $round, $i, $i % 2 && !$ENV{TD_FUZZ_KINDS} ? undef : $kinds[($i / 2) % @kinds], $views);
		my $sql = text($q->{sql});
		my $why = plain_result($dbh, $sql);
		if ($why) { $count{dear}++, next if $why eq 'dear'; return "the bare query: $why\n$sql\n" }
		my $v = { name => "$s->{schema}.v" . (@$views + 1), sql => $q->{sql}, columns => $q->{columns} };
		my $said = create_view($dbh, $v->{name}, $sql);
		if ($said =~ /^refused: (?:\w+ ERROR:\s+)?(.*)/)
		{
			$refused{$_}++ for @{ $q->{tags} };
			$reasons{ $1 =~ s/"[^"]*"|q\d+\.\w+/.../gr }++;
			$count{refused}++;
			next;
		}
		if ($said =~ /^failed: 55P03/) { $count{locked}++; next }    # the writers were in its way
		if ($said && $known && $said =~ $known) { $count{known}++; next }
		push @$views, $v;
		return "v@{[scalar @$views]}: $said\n" if $said;
		$accepted{$_}++ for @{ $q->{tags} };
		$count{views}++;
	}
	return '';
}

# The view of that name with those that it reads, as reproduce() takes them.
sub with_sources
{
	my ($name, @views) = @_;
	my %need = ($name => 1);
	for my $v (reverse @views) { next if !$need{ $v->{name} }; my $sql = text($v->{sql}); $need{ $_->{name} } = 1 for grep { $sql =~ /\Q$_->{name}\E\b/ } @views }
	return [map { [$_->{name} =~ s/.*\.//r, $_->{sql}] } grep { $need{ $_->{name} } } @views];
}

# What is wrong with the views while writers run, '' = nothing
sub watch
{
	my ($dbh, $s, @names) = @_;
	my $until = time + $writing;
	while (time < $until && @names)
	{
		my $v = pick(@names);
		wait_views($dbh, $s->{schema}, $v);
		my $wrong = inexact($dbh, $s->{schema}, $v);
		return $wrong if $wrong;
		$count{checks}++;
	}
	return '';
}

sub one_round
{
	my ($round, $until) = @_;
	my $s = make_schema('fz', $round);
	my ($dbh, @views, @names, $wrong) = (psql('postgres'));
	clear($dbh, 'fz');
	$dbh->do($_) for @{ $s->{ddl} }, @{ starting_rows($s, $round) };
	my @writers = start_churn($connect, game($s), 4, pause => 0.005, seed => sub { seed_of($round, 'writer', @_) });
	my $ok = eval {
		$dbh = psql('postgres');
		$wrong = make_views($dbh, $s, $round, \@views);
		@names = map { $_->{name} =~ s/.*\.//r } @views;
		$wrong ||= watch($dbh, $s, @names);
		1 };
	if (!$ok)
	{
		$wrong = "error: $@";
		$wrong .= eval { rows('postgres', "SELECT 'at work: ' || backend_type, state, wait_event, clock_timestamp() - xact_start, left(query, 2000) FROM pg_stat_activity WHERE backend_type LIKE 'tapdata%' AND state <> 'idle'") . "\n" } // '';
	}
	stop_churn(@writers);
	$dbh = eventually(sub { psql('postgres') }, 60);
	eval {
		$dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
		$wrong ||= join '', map { "$_->[0]: failed: $_->[1]\n" } @{ $dbh->selectall_arrayref("SELECT view, coalesce(error, status) FROM tapdata.views WHERE status = 'failed' ORDER BY view::oid") };
		if (!$wrong)
		{
			wait_views($dbh, 'fz', @names);
			$wrong = inexact($dbh, 'fz', @names) || unequal($dbh, 'fz', \@names, [map { text($_->{sql}) } @views], 1);
			$wrong ||= rows('postgres', "SELECT view, status, error FROM tapdata.views WHERE status <> 'streaming' OR NOT exact");
		}
		1 } or $wrong ||= "error: $@";
	# how often they were kept by what changed, and how often computed anew as a whole, which would be exact whatever the plan
	my ($ticks, $recomputes) = eval { $dbh->selectrow_array('SELECT sum(ticks), sum(recomputes) FROM tapdata.view_state') };
	$count{ticks} += $ticks // 0;
	$count{recomputes} += $recomputes // 0;
	if ($wrong)
	{
		my ($name) = $wrong =~ /\b(v\d+)(?:: | has failed)/;
		my ($v) = $name ? grep { $_->{name} eq "fz.$name" } @views : ();
		my $report = "round's seed: TD_SEED=$round\n$wrong" . ($v ? "query: " . text($v->{sql}) . "\n" : join '', map { "$_->{name}: " . text($_->{sql}) . "\n" } @views);
		diag $report;    # before the shrinking, which may end otherwise
		if ($v) { diag 'smallest: ' . (eval { reproduce($dbh, $s, $round, with_sources($v->{name}, @views), $shrinking) } // "none: $@") }
		push @failures, "TD_SEED=$round: " . $wrong =~ s/\n.*//sr;
	}
	clear(eventually(sub { psql('postgres') }, 60), 'fz');
	$count{rounds}++;
	return;
}

sub missing { return $ENV{TD_FUZZ_KINDS} ? () : grep { !$accepted{$_} } @must }

my $end = time + $seconds;
for (my $n = 1; time < $end + (missing() ? $seconds : 0) && @failures < $enough; $n++) { one_round($n == 1 ? $seed : seed_of($seed, $n)) }
is(join("\n", @failures), '', "exact in $count{rounds} rounds: $count{views} views, $count{checks} checks while writers ran");
diag join ', ', map { "$count{$_} $_" } sort keys %count;
diag sprintf '%-30s %5d accepted %5d refused', $_, $accepted{$_} // 0, $refused{$_} // 0 for sort keys %{ { %accepted, %refused } };
diag "$reasons{$_} x $_" for sort { $reasons{$b} <=> $reasons{$a} } keys %reasons;
is(join(', ', missing()), '', 'each construct that must be accepted was') if !@failures && $count{rounds} >= 5;    # fewer say nothing
is(value('postgres', q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('tapdata_state', 'tapdata_views')}), 0,
	'dropped views leave nothing behind');
finish();
done_testing();
