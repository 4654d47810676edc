# The fuzzer of views: random schemas, random queries over all constructs up to five deep, four writers, in every second round somebody who changes the
# schema.  check_view() is empty after every wait while they write, copies kept by feeds are what the views are, and at the end plain SQL says the same,
# digit for digit; so it does after each transaction of a session that reads its writes.  What create_view refuses with 0A000 is counted by construct; any
# other error is a failure, as are lines of the server's log that must not be there, rows of tapdata.views that can't be, and a worker that grows and grows.
#
# TD_SEED=n repeats a run, TD_FUZZ_SECONDS makes it longer (make fuzz: 20 minutes), TD_FUZZ_KINDS='setop window' takes some
# kinds of queries (TdQueries::kinds), TD_FUZZ_SHRINK is the time given to making a failure small, in seconds, TD_FUZZ_ENOUGH failures end it, and
# TD_FUZZ_KEPT is the share of views whose old rows are kept, TD_FUZZ_KNOWN a pattern of errors of create_view that are known: the query is passed over.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(churn_once start_churn stop_churn inexact unequal wait_views);
use TdFeeds qw(take_copy replay);
use TdQueries qw(text kinds pick refuses);
use TdFuzz qw(seed_of make_schema starting_rows game changes_of_schema changes_of_meaning next_query plain_result create_view explained implausible clear reproduce);
use POSIX ();
use Time::HiRes qw(time);

# Constructs of which at least one view must have been made; for those that have none yet the run is up to twice as long.
my @must = ('inner join', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN', 'USING', 'alias of a join', 'EXISTS', 'NOT EXISTS', 'IN', 'NOT IN', 'row IN', 'ANY or ALL', 'scalar in SELECT', 'scalar in WHERE', 'scalar in HAVING', 'LATERAL', 'function in FROM', 'derived table',
	'CTE', 'CTE used twice', 'MATERIALIZED', 'set-returning in SELECT', 'nested document', 'ARRAY(SELECT)', 'whole row', 'GROUP BY', 'HAVING', 'aggregates without GROUP BY', 'FILTER', 'WITHIN GROUP', 'aggregate DISTINCT', 'aggregate ORDER BY',
	'aggregate over aggregate', 'GROUPING SETS', 'ROLLUP', 'CUBE', 'GROUPING()', 'set-returning in GROUP BY', 'DISTINCT', 'DISTINCT ON', 'UNION', 'UNION ALL', 'INTERSECT', 'INTERSECT ALL', 'EXCEPT', 'EXCEPT ALL', 'window', 'window frame', 'EXCLUDE', 'window over groups',
	'partitioned table', 'inherited table', 'inherited table, ONLY', 'child table', 'ordinary view', 'ordinary view of more', 'ordinary view of any query', 'view over view', 'user function', 'four deep and more');
my $must_rounds = 20;    # fewer say nothing about constructs

my $seconds = $ENV{TD_FUZZ_SECONDS} || 60;
my $shrinking = $ENV{TD_FUZZ_SHRINK} || 90;
my @kinds = $ENV{TD_FUZZ_KINDS} ? split ' ', $ENV{TD_FUZZ_KINDS} : kinds();
my ($views_of_a_round, $tries_of_a_round, $writing, $alone, $enough) = (12, 150, 5, 2, $ENV{TD_FUZZ_ENOUGH} || 3);    # ... seconds of checks in a round, of one session alone, failures to stop at
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $env = start_server('fuzz', 'max_prepared_transactions = 20', 'max_worker_processes = 32', 'tapdata.read_your_writes_timeout = 60s', $ENV{TD_FUZZ_CONF} ? split(/;/, $ENV{TD_FUZZ_CONF}) : $seed % 2 ? 'tapdata.worker_memory = 1MB' : ());
# one view that stays: with it the workers of its group
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE bob LOGIN', 'GRANT CREATE ON DATABASE postgres TO bob', 'CREATE TABLE kept (id int PRIMARY KEY, a int)', "SELECT tapdata.create_view('kept_too', 'SELECT a, count(*) AS n FROM kept GROUP BY a')");
if (create_view(psql('postgres'), 'first_rows', 'SELECT id, a FROM kept ORDER BY id LIMIT 3')) { refuses('top-k') } else { push @must, 'top-k' }
my $user = 'postgres';    # of a round: in every third one an ordinary role
my $connect = sub { psql('postgres', fresh => 1, user => $user) };
sub own { return psql('postgres', user => $user) }
my (%accepted, %refused, %reasons, %count, %done, %copies, @failures, @memory);
my $logged = 0;    # bytes of the server's log that have been looked at
$count{$_} = 0 for qw(rounds views refused dear known locked checks ticks recomputes full feeds writes busy);

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
		my %options = ($round % 5 == 0 ? (group => '"fz"') : (), rand() < 0.25 ? (changes => 'true') : (), rand() < 0.1 ? (unlogged => 'true') : (), rand() < ($ENV{TD_FUZZ_KEPT} // 0.25) ? (old_images => '"kept"') : ());
		my $explained = rand() < 0.3 ? explained($dbh, $sql) : undef;
		my $said = create_view($dbh, $v->{name}, $sql, options(%options));
		return "explain_query: $explained\n$sql\n" if $explained && $explained !~ /^failed: 40P01/ && ($explained !~ /^refused/ || !$said);
		if ($said =~ /^refused/ && rand() < 0.1)
		{
			my $whole = create_view($dbh, $v->{name}, $sql, options(%options, allow_full => 'true'));
			if (!$whole) { $said = ''; $count{full}++ }
			elsif ($whole !~ /^refused|^failed: (?:55P03|40P01)/) { $said = $whole }
		}
		if ($said =~ /^refused: (?:\w+ ERROR:\s+)?(.*)/)
		{
			$refused{$_}++ for @{ $q->{tags} };
			$reasons{ $1 =~ s/"[^"]*"|q\d+\.\w+/.../gr }++;
			$count{refused}++;
			next;
		}
		if ($said =~ /^failed: (?:55P03|40P01)/) { $count{locked}++; next }    # the writers were in its way: what TRUNCATE locks with a table may stand behind two ordinary views
		if ($said && $known && $said =~ $known) { $count{known}++; next }
		push @$views, $v;
		return "v@{[scalar @$views]}: $said\n" if $said;
		$accepted{$_}++ for @{ $q->{tags} };
		$count{views}++;
	}
	return '';
}

sub options { my (%o) = @_; return '{' . join(', ', map { "\"$_\": $o{$_}" } sort keys %o) . '}' }

# What the server's log has of things that must not happen, '' = nothing
sub alarms
{
	open my $log, '<', $env->{TD_PG_LOG} or die "$env->{TD_PG_LOG}: $!";
	seek $log, $logged, 0;
	my @found = grep { /TRAP|PANIC|terminated by signal|cache lookup failed|could not open relation|unexpected|ERROR:  XX|resource was not closed|leak|still referenced/ && !/STATEMENT|unexpected EOF/ } <$log>;
	$logged = tell $log;
	return join '', map { "log: $_" } @found > 5 ? @found[0 .. 4] : @found;
}

# Somebody who changes the schema while others write
sub start_ddl
{
	my ($s, @views) = @_;
	my $random = int rand 1 << 30;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	srand $random;
	my $stop = 0;
	$SIG{TERM} = sub { $stop = 1 };
	my $own = $connect->();
	$own->do("SET lock_timeout = '1s'; SET statement_timeout = '10s'; SET client_min_messages = error");
	until ($stop)
	{
		for (@{ changes_of_schema($s, @views) }) { eval { $own->do($_); 1 } or eval { $own->do('ROLLBACK') } }
		eval { $own->do('ROLLBACK') };
		select undef, undef, undef, 0.2 + rand;
	}
	POSIX::_exit(0);
}

# The view of that name with those that it reads, as reproduce() takes them.
sub with_sources
{
	my ($name, @views) = @_;
	my %need = ($name => 1);
	for my $v (reverse @views) { next if !$need{ $v->{name} }; my $sql = text($v->{sql}); $need{ $_->{name} } = 1 for grep { $sql =~ /\Q$_->{name}\E\b/ } @views }
	return [map { [$_->{name} =~ s/.*\.//r, $_->{sql}] } grep { $need{ $_->{name} } } @views];
}

# What is wrong with the views while writers run, '' = nothing.  refreshed: views may be filled anew at any time.
sub watch
{
	my ($dbh, $s, $refreshed, @names) = @_;
	my $until = time + $writing;
	while (time < $until && @names)
	{
		my $v = pick(@names);
		wait_views($dbh, $s->{schema}, $v);
		my $wrong = eval { inexact($dbh, $s->{schema}, $v) };
		if (!defined $wrong) { die $@ if ($dbh->state // '') !~ ($refreshed ? qr/^(55000|40P01)$/ : qr/^40P01$/); $count{busy}++; next }    # being filled; a deadlock with TRUNCATE or DDL
		return $wrong . catalogs($dbh, $s) if $wrong;
		$count{checks}++;
		$wrong = eval { feed($dbh, "$s->{schema}.$v") };
		if (!defined $wrong) { die $@ if $@ !~ ($refreshed ? qr/55000|40P01/ : qr/40P01/); $count{busy}++; next }
		return $wrong if $wrong;
	}
	return '';
}

# Under which snapshots a check has found something, and what is young in the catalogs: tables (TRUNCATE, rewrites), what is below them, functions.
# A transaction that the tick's snapshot does not see, or has only just seen, is the one to look at.
sub catalogs
{
	my ($dbh, $s) = @_;
	my @snapshots = grep { /was read under snapshot/ } do { open my $log, '<', $env->{TD_PG_LOG} or die "$env->{TD_PG_LOG}: $!"; <$log> };
	return ($snapshots[-1] // '') . join '', map { "$_\n" } @{ $dbh->selectcol_arrayref(q{SELECT 'written by ' || x || ': ' || string_agg(what, ', ') FROM (
		SELECT xmin AS x, 'table ' || oid::regclass || ' of file ' || relfilenode AS what FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v')
		UNION ALL SELECT xmin, inhrelid::regclass || ' below ' || inhparent::regclass || CASE WHEN inhdetachpending THEN ', being detached' ELSE '' END FROM pg_inherits
		UNION ALL SELECT xmin, 'function ' || oid::regproc FROM pg_proc WHERE pronamespace = $1::regnamespace) w GROUP BY x ORDER BY age(x) LIMIT 8}, undef, $s->{schema}) };
}

# A copy of the view, brought up to date by its feed, is the view.
sub feed
{
	my ($dbh, $view) = @_;
	return '' if !$dbh->selectrow_array('SELECT changes FROM tapdata.views WHERE view = $1::regclass', undef, $view);
	if (!$copies{$view}) { $copies{$view} = take_copy($view); return '' }
	$count{feeds}++;
	my $wrong = replay($view, $copies{$view});
	return $wrong ? $view =~ s/.*\.//r . ": feed $wrong" : '';
}

# A session that writes alone and reads its writes: what is wrong, '' = nothing
sub read_writes
{
	my ($s, $round, @views) = @_;
	my $dbh = $connect->();
	$dbh->do('SET tapdata.read_your_writes = on');
	srand seed_of($round, 'alone');
	my $until = time + $alone;
	for (my $n = 1; time < $until && @views; $n++)
	{
		if ($n % 8 == 0) { my $change = changes_of_meaning($s); eval { $dbh->do($change) } }
		else { eval { churn_once($dbh, game($s), 'alone', $n, 0); 1 } or eval { $dbh->rollback if !$dbh->{AutoCommit} } }
		my @some = map { pick(@views) } 1 .. 3;
		my $wrong = unequal($dbh, $s->{schema}, [map { $_->{name} =~ s/.*\.//r } @some], [map { text($_->{sql}) } @some], 1);
		return "$wrong(of one session that reads its writes)\n" if $wrong;
		$count{writes}++;
	}
	return '';
}

# How a view that was wrong is once the writers have stopped, and how its parts are.
sub stands
{
	my ($name) = @_;
	my $dbh = psql('postgres');
	wait_views($dbh, split /\./, $name);
	my @parts = @{ $dbh->selectall_arrayref("SELECT p.relation::regclass, coalesce(p.query, p.twin)::regclass FROM tapdata.view p JOIN tapdata.view v ON v.id = p.part_of WHERE v.relation = '$name'::regclass") };
	return "once the writers have stopped: " . (inexact($dbh, split /\./, $name) || 'exact') . "\nticks: " . $dbh->selectrow_array("SELECT executed FROM tapdata.views WHERE view = '$name'::regclass") . "\n"
		. join '', map { my ($t, $q) = @$_; "$t: " . $dbh->selectrow_array("SELECT count(*) FROM ((SELECT w::text FROM ONLY $t w EXCEPT ALL SELECT w::text FROM $q w) UNION ALL (SELECT w::text FROM $q w EXCEPT ALL SELECT w::text FROM ONLY $t w)) x") . " rows wrong\n" } @parts;
}

sub one_round
{
	my ($round, $until) = @_;
	my $s = make_schema('fz', $round);
	my ($dbh, @views, @names, $wrong) = (psql('postgres'));
	clear($dbh, 'fz');
	$user = $round % 3 ? 'postgres' : 'bob';
	$dbh = own();
	$dbh->do($_) for @{ $s->{ddl} }, @{ starting_rows($s, $round) };
	my @writers = start_churn($connect, game($s), 4, pause => 0.005, seed => sub { seed_of($round, 'writer', @_) });
	my $ok = eval {
		$dbh = own();
		$wrong = make_views($dbh, $s, $round, \@views);
		@names = map { $_->{name} =~ s/.*\.//r } @views;
		%copies = ();
		push @writers, start_ddl($s, map { "$s->{schema}.$_" } @names) if $round % 2 && !$wrong;
		$wrong ||= watch($dbh, $s, $round % 2, @names);
		1 };
	if (!$ok)
	{
		$wrong = "error: $@";
		$wrong .= eval { rows('postgres', "SELECT 'at work: ' || backend_type, state, wait_event, clock_timestamp() - xact_start, left(query, 2000) FROM pg_stat_activity WHERE backend_type LIKE 'tapdata%' AND state <> 'idle'") . "\n" } // '';
	}
	stop_churn(@writers);
	$dbh = eventually(sub { own() }, 60);
	eval {
		$dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
		$wrong ||= join '', map { "$_->[0]: failed: $_->[1]\n" } @{ $dbh->selectall_arrayref("SELECT view, coalesce(error, status) FROM tapdata.views WHERE status = 'failed' ORDER BY view::oid") };
		if (!$wrong)
		{
			wait_views($dbh, 'fz', @names);
			$wrong = inexact($dbh, 'fz', @names) || unequal($dbh, 'fz', \@names, [map { text($_->{sql}) } @views], 1);
			$wrong ||= implausible($dbh) || read_writes($s, $round, @views);
		}
		$wrong .= alarms();
		push @memory, value('postgres', q{SELECT max(memory) FROM tapdata.workers WHERE kind = 'view' AND object = 'default'}) // ();
		1 } or $wrong ||= "error: $@";
	# how often they were kept by what changed, and how often computed anew as a whole, which would be exact whatever the plan
	my ($ticks, $recomputes) = eval { psql('postgres')->selectrow_array('SELECT sum(ticks), sum(recomputes) FROM tapdata.view_state') };
	$done{ $_->[0] } += $_->[1] for @{ (eval { psql('postgres')->selectall_arrayref("SELECT how.key, (how.value->>'ticks')::bigint FROM tapdata.views, jsonb_each(executed) how") }) // [] };
	$count{ticks} += $ticks // 0;
	$count{recomputes} += $recomputes // 0;
	if ($round % 2 == 0) { $count{quiet_ticks} += $ticks // 0; $count{quiet_recomputes} += $recomputes // 0 }    # nobody changed the schema
	if ($wrong)
	{
		my ($name) = $wrong =~ /\b(v\d+)(?:: | has failed)/;
		my ($v) = $name ? grep { $_->{name} eq "fz.$name" } @views : ();
		my $report = "round's seed: TD_SEED=$round\n$wrong" . ($v ? "query: " . text($v->{sql}) . "\n" : join '', map { "$_->{name}: " . text($_->{sql}) . "\n" } @views);
		$report .= eval { stands($v->{name}) } // "what it stands at: $@" if $v;
		diag $report;    # before the shrinking, which may end otherwise
		if ($v) { diag 'smallest: ' . (eval { reproduce($dbh, $s, $round, with_sources($v->{name}, @views), $shrinking, $round % 2) } // "none: $@") }
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
diag 'ticks by way: ' . join ', ', map { "$_ $done{$_}" } sort keys %done;
diag sprintf '%-30s %5d accepted %5d refused', $_, $accepted{$_} // 0, $refused{$_} // 0 for sort keys %{ { %accepted, %refused } };
diag "$reasons{$_} x $_" for sort { $reasons{$b} <=> $reasons{$a} } keys %reasons;
is(join(', ', missing()), '', 'each construct that must be accepted was') if !@failures && $count{rounds} >= $must_rounds;
diag 'MB of the view worker: ' . join ' ', map { sprintf '%.0f', $memory[$_ * $#memory / 9] / 1e6 } 0 .. 9 if @memory > 9;
cmp_ok($memory[-1] // 0, '<', 3 * ($memory[$#memory / 5] // 0) + 64e6, 'the view worker does not grow') if @memory >= 10 && !@failures;
execute('postgres', "SELECT tapdata.drop_view(view) FROM tapdata.views");
is(value('postgres', q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('tapdata_state', 'tapdata_views')}), 0,
	'dropped views leave nothing behind');
finish();
done_testing();
