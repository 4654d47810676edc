# One live view at a time, run by hand in a backend (test/unit/td_run_test): deltas from triggers, ticks from a function.
# Random queries over random tables after each random transaction; and what a view does when something is wrong with it.
#
# TD_SEED=n repeats a run; TD_RUN_ROUNDS and TD_RUN_STEPS make it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use File::Copy;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(make_tables make_query churn_once);

my $rounds = $ENV{TD_RUN_ROUNDS} || 4;
my $steps = $ENV{TD_RUN_STEPS} || 40;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";

my $top = "$FindBin::Bin/../..";
my $memory = rand() < 0.5 ? '1MB' : '64MB';    # the least there may be: nets, stores and deltas spill
my $pg = start_server('running', 'tapdata.enabled = off', "tapdata.worker_memory = $memory");
my $so = "$pg->{TD_PG_DATA}/../td_run_test.so";
system("make -s -C $top/test/unit/td_run_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_run_test does not build');
copy("$top/test/unit/td_run_test/td_run_test.so", $so) or BAIL_OUT("td_run_test.so: $!");
chmod 0755, $so;
my @psql = ("$pg->{TD_PG_BIN}/psql", '-qAtX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1');

# A database of its own: which views there are is asked of the catalog.
sub new_database
{
	my ($name) = @_;
	execute('postgres', "CREATE DATABASE $name");
	execute($name, 'CREATE EXTENSION tapdata');
	is(system(@psql, '-d', $name, '-v', 'td_run_test=' . ($so =~ s/\.so$//r), '-f', "$top/test/unit/td_run_test/td_run_test.sql"), 0, "$name: functions are there");
	return psql($name, fresh => 1);
}

# The views (but these) whose table is not what their query gives.
sub differing
{
	my ($dbh, $queries, @but) = @_;
	my @found;
	for (@{ $dbh->selectall_arrayref('SELECT id, table_name, td_run_test.differs(id, NOT table_name = ANY ($2)) FROM tapdata.view WHERE table_name <> ALL ($1) ORDER BY id', undef,
		\@but, [ grep { is_open($queries->{$_}, $queries) } keys %$queries ]) })
	{
		my ($id, $name, $differs) = @$_;
		push @found, "$name: $differs\n$queries->{$name}" if $differs ne '';
	}
	return join "\n", @found;
}

# What SQL leaves open: which of equal numerics (1.0, 1.00) max() shows or a group is called by, and the last digits of a sum of floats.
sub is_open
{
	my ($query, $queries) = @_;
	my $chooses = $query =~ /\b(GROUP BY|DISTINCT|min\(|max\()/;
	return 1 if grep { is_open($_, $queries) || ($chooses && has_numerics($_, $queries)) } views_of($query, $queries);
	return $query =~ /\bsum\(q\d\.f\)/ || $query =~ s/\b(sum|avg|count)\(q\d\.n\)//gr =~ /\bq\d\.n\b/;
}

sub has_numerics
{
	my ($query, $queries) = @_;
	return $query =~ /\b(sum|avg)\(q\d\.n\)/ || grep { has_numerics($_, $queries) } views_of($query, $queries);
}

sub views_of { my ($query, $queries) = @_; return map { $queries->{$_} } $query =~ /\bo\.(v\d+)\b/g }

# Live views named in a query are known to its twin as their twins.
sub twin_query { my ($query) = @_; return $query =~ s/\bo\.(v\d+)\b/tapdata_views.$1/gr }

sub make_random_views
{
	my ($dbh, $n) = @_;
	my (%queries, @views, $refused);
	while (@views < $n)
	{
		my $name = 'v' . (@views + 1);
		my $query = @views && rand() < 0.25 ? TdViews::over_views('o', \@views, $dbh) : make_query('o');
		next if $query =~ /\bo\.v\d/ && is_open($query, \%queries);    # would make of what is open what is wrong
		if (!eval { $dbh->do('SELECT td_run_test.make($1, $2)', undef, $name, twin_query($query)); 1 })
		{
			my ($state, $message) = ($dbh->state, $dbh->errstr);
			next if $state eq '0A000' || !eval { $dbh->selectall_arrayref("SELECT * FROM ($query) q LIMIT 0"); 1 };
			fail("a view can't be made: $state $message: $query");
			$refused++ < 5 or BAIL_OUT('views can not be made');
			next;
		}
		$queries{$name} = $query;
		push @views, $name;
	}
	return \%queries;
}

# ---- random ----
for my $round (1 .. $rounds)
{
	my $dbh = new_database("random$round");
	make_tables($dbh, 'o');
	$dbh->do("SELECT td_run_test.follow('o.$_')") for qw(t1 t2 t3 p1);
	$dbh->do('SET search_path = o, public');
	my $queries = make_random_views($dbh, 12);
	is(differing($dbh, $queries), '', "round $round: filled as the queries say") or last;
	my $wrong = '';
	for my $step (1 .. $steps)
	{
		churn_once($dbh, 'o', 1, $step, 0) for 1 .. 1 + int rand 4;
		my $recompute = rand() < 0.1;
		$wrong = eval { $dbh->do('SELECT td_run_test.step(NULL, ?)', undef, $recompute ? 't' : 'f'); 1 } ? differing($dbh, $queries) : $dbh->state . ' ' . $dbh->errstr;
		if ($wrong) { $wrong = "step $step, " . ($recompute ? 'recompute' : 'delta') . ": $wrong"; last }
	}
	is($wrong, '', "round $round: exact after each of $steps steps") or last;
	$dbh->do('DELETE FROM v1');
	$dbh->do('UPDATE ' . $_ . ' SET n = n + 1') for map { $_->[0] } @{ $dbh->selectall_arrayref("SELECT oid::regclass FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace AND relname ~ '^v.*_1\$' AND relkind = 'r'") };
	$dbh->do('SELECT td_run_test.fill(id) FROM (SELECT id FROM tapdata.view ORDER BY id) v');
	is(differing($dbh, $queries), '', "round $round: a fill mends what was damaged");
	$dbh->do('SELECT td_run_test.close()');
	$dbh->disconnect;
	execute('postgres', "DROP DATABASE random$round WITH (FORCE)");
}

# ---- fixed ----
my $dbh = new_database('fixed');
my %q;
sub view { my ($name, $query, @more) = @_; $q{$name} = $query; return $dbh->selectrow_array('SELECT td_run_test.make($1, $2' . join('', map { ", $_" } @more) . ')', undef, $name, $query) }
sub step { my (%o) = @_; return $dbh->selectrow_array('SELECT td_run_test.step(?, ?, ?)', undef, $o{views}, $o{recompute} ? 't' : 'f', $o{apart} ? 't' : 'f') }
sub state_of { my ($sql) = @_; return eval { $dbh->do($sql); 1 } ? '' : $dbh->state . ' ' . $dbh->errstr }

$dbh->do($_) for 'CREATE TABLE t (id int PRIMARY KEY, g int, v numeric, f float8, s text)', "SELECT td_run_test.follow('t')",
	"INSERT INTO t SELECT i, i % 5, i / 7.0, i / 3.0, repeat('s', i % 9) FROM generate_series(1, 100) i";
$dbh->do('DELETE FROM log.t');
my $sums = view('sums', 'SELECT g, count(*) AS n, sum(v) AS v, avg(v) AS a, min(id) AS lo, max(s) AS hi, sum(f) AS f FROM t GROUP BY g');
my $one = view('one', 'SELECT count(*) AS n, sum(v) AS v, min(v) AS lo FROM t WHERE g > 1');
my $bag = view('bag', 'SELECT s, g FROM t WHERE id % 2 = 0');
my $ratio = view('ratio', 'SELECT id, 100 / (g + 1) AS r FROM t');
my $above = view('above', 'SELECT n, count(*) AS c FROM tapdata_views.sums GROUP BY n');
my $above_ratio = view('above_ratio', 'SELECT r, count(*) AS c FROM tapdata_views.ratio GROUP BY r');
is(differing($dbh, \%q), '', 'six views are filled');
$dbh->do($_) for 'UPDATE t SET v = v * 2, s = NULL WHERE id < 20', 'DELETE FROM t WHERE g = 3', 'INSERT INTO t VALUES (1000, NULL, NULL, NULL, NULL)';
is(step(), '', 'a tick');
is(differing($dbh, \%q), '', 'exact');
$dbh->do('DELETE FROM t WHERE g > 1');
step();
is(rows('fixed', 'SELECT * FROM one'), '0||', 'the only group lives on without rows');
$dbh->do('UPDATE t SET id = id');
my $before = $dbh->selectall_arrayref('SELECT xmin, ctid FROM sums ORDER BY 2');
step();
is_deeply($dbh->selectall_arrayref('SELECT xmin, ctid FROM sums ORDER BY 2'), $before, 'changes that cancel out write nothing');
is(step(recompute => 1), '', 'computing anew what is exact');
is_deeply($dbh->selectall_arrayref('SELECT xmin, ctid FROM sums ORDER BY 2'), $before, '... writes nothing');

# unknown: no rows are told
$dbh->do('ALTER TABLE t DISABLE TRIGGER USER');
$dbh->do("INSERT INTO t SELECT i, i % 3, i, i, 'x' FROM generate_series(2000, 2050) i");
$dbh->do('ALTER TABLE t ENABLE TRIGGER USER');
$dbh->do(q{SELECT td_run_test.tick(ARRAY(SELECT id FROM tapdata.view ORDER BY id), '{t}', ARRAY[NULL]::text[])});
is(differing($dbh, \%q), '', 'a delta that is unknown: computed anew, and so are the views above');

# one fails, and what is above it is the caller's affair
$dbh->do('INSERT INTO t VALUES (3000, -1, 1, 1, NULL)');
like(step(views => [ $sums, $one, $ratio, $bag, $above ], apart => 1), qr/^$ratio: 22012 division by zero$/, 'a view whose expression fails');
is(differing($dbh, \%q, qw(ratio above_ratio)), '', 'leaves the others exact');
is((state_of("SELECT td_run_test.fill($ratio)") =~ /^(\S+)/)[0], '22012', 'and its fill fails too');
$dbh->do('UPDATE t SET g = 7 WHERE id = 3000');
step(views => [ $sums, $one, $bag, $above ]);
$dbh->do("SELECT td_run_test.fill($_)") for $ratio, $above_ratio;
is(differing($dbh, \%q), '', 'until the row is mended');

# timeout
$dbh->do(q{CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN WHILE i > 5000 LOOP NULL; END LOOP; RETURN i; END $$});
my $slow = view('slow', 'SELECT id, slow(id) AS s FROM t', 'current_user::regrole', "'200 ms'");
$dbh->do('INSERT INTO t VALUES (6000, 1, 1, 1, NULL)');
like(step(apart => 1), qr/^$slow: timeout 57014 canceling statement due to statement timeout$/, 'a view that takes too long is cancelled');
is($dbh->selectrow_array('SELECT count(pg_sleep(0.3))'), 1, 'and nothing after it');
is(differing($dbh, \%q, 'slow'), '', 'the others are exact');
$dbh->do('DELETE FROM t WHERE id = 6000');
step(views => [ $sums, $one, $bag, $ratio, $above, $above_ratio ]);
$dbh->do("SELECT td_run_test.fill($slow)");
is(step(), '', 'it goes on once it is filled anew');
is(differing($dbh, \%q), '', 'and is exact');

# rights
$dbh->do($_) for 'CREATE ROLE ann', 'GRANT USAGE, CREATE ON SCHEMA public TO ann', 'GRANT SELECT (id, g) ON t TO ann';
my $anns = view('anns', 'SELECT id FROM t WHERE g = 1', "'ann'");
my $counts = view('counts', 'SELECT count(*) AS n FROM t', "'ann'");
$dbh->do("INSERT INTO t VALUES (4000, 1, 1, 1, 'ann')");
is(step(apart => 1), '', 'rights on columns are enough');
$dbh->do('REVOKE SELECT (g) ON t FROM ann');
$dbh->do('UPDATE t SET id = 4001 WHERE id = 4000');
like(step(apart => 1), qr/^$anns: 42501 the owner of view public.anns may not read public.t any more - Grant SELECT on public.t to ann, then/, 'a right that is taken away, also where only deltas are read');
is($dbh->selectrow_array('SELECT current_user'), 'postgres', 'the user is who he was');
$dbh->do('REVOKE SELECT (id) ON t FROM ann');
$dbh->do('DELETE FROM t WHERE id = 4001');
like(step(apart => 1), qr/^$anns: 42501 .*\n$counts: 42501 /, 'count(*) needs a right on one column at least');
$dbh->do('GRANT SELECT ON t TO ann');
$dbh->do("SELECT td_run_test.fill($_)") for $anns, $counts;
is(differing($dbh, \%q), '', 'given back');

# many groups
$dbh->do($_) for 'CREATE TABLE big (id int PRIMARY KEY, k text, v int)', "SELECT td_run_test.follow('big')",
	"INSERT INTO big SELECT i, 'key ' || i / 2, i FROM generate_series(1, 100000) i", 'DELETE FROM log.big', 'SET work_mem = 1024';
my $big = view('big_sums', 'SELECT k, count(*) AS n, sum(v) AS v, max(v) AS hi FROM big GROUP BY k');
my $big_bag = view('big_bag', 'SELECT v % 1000 AS m, k FROM big');
$dbh->do('UPDATE big SET v = v - 1 WHERE id % 3 > 0');
is(step(views => [ $big, $big_bag ]), '', 'fifty thousand groups in one tick');
$dbh->do('DELETE FROM big WHERE id % 2 = 0');
step(views => [ $big, $big_bag ]);
is(differing($dbh, \%q), '', 'exact');

# equal, and not the same
$dbh->do($_) for q{CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)}, 'CREATE EXTENSION citext',
	'CREATE TABLE look (id int PRIMARY KEY, s int, n numeric, f float8, i interval, j jsonb, a numeric[], t text COLLATE nocase, c citext)', "SELECT td_run_test.follow('look')",
	q{INSERT INTO look SELECT x, x % 2, '1.0', '0', '1 day', '{"a": 1.0}', '{1.0}', 'Bob', 'Ann' FROM generate_series(1, 6) x}, 'INSERT INTO look VALUES (7, 1, NULL), (8, 0, NULL)',
	q{INSERT INTO look SELECT x, 3, '7.00', '8', '2 days', '7.0', '{7}', 'x', 'y' FROM generate_series(9, 10) x}, 'DELETE FROM log.look';
my @looks = (
	view('look_n', 'SELECT n, n::text AS shown, count(*) AS c FROM look GROUP BY n'),
	(map { view("look_$_", "SELECT $_\::text AS shown, count(*) AS c, min(s) AS lo FROM look GROUP BY $_ HAVING $_\::text <> 'z'") } qw(f i j a t c)),
	view('look_two', 'SELECT i::text AS i, f::text AS f, n::text AS n, sum(s) AS s FROM look GROUP BY i, f, n'),
	view('look_few', 'SELECT DISTINCT j, j::text AS shown, n FROM look'),
	view('look_ends', 'SELECT s, min(n)::text AS n, max(f)::text AS f, min(i)::text AS i, min(a)::text AS a, max(s) AS m, max(t)::text COLLATE "C" AS hi FROM look GROUP BY s'),
	view('look_one', 'SELECT max(n)::text AS n, min(i)::text AS i FROM look'),
	view('look_rows', 'SELECT l.id, l.n::text AS n, l.f::text AS f, l.i::text AS i, l.j, count(*) AS c FROM look l JOIN look o ON o.s = l.s GROUP BY l.id, l.n, l.f, l.i, l.j'),
	view('look_rows_of_key', 'SELECT l.id, l.n::text AS n, l.f, l.i::text AS i, l.j, count(*) AS c, max(o.n)::text AS hi FROM look l JOIN look o USING (id) GROUP BY l.id'));
is(differing($dbh, \%q), '', 'views of values that are equal and not the same');
my $other = q{UPDATE look SET n = '1.00', f = '-0', i = '24:00:00', j = '{"a": 1.00}', a = '{1.00}', t = 'BOB', c = 'ANN' WHERE n = 1 AND };
for my $change ([ 'all look different', $other . 'true' ], [ 'and back', q{UPDATE look SET n = 1.0, f = 0, i = '1 day', j = '{"a": 1.0}', a = '{1.0}', t = 'bob', c = 'ann' WHERE n = 1} ],
	[ 'some do', $other . 'id IN (1, 2, 5)', 1 ], [ 'the others go', 'DELETE FROM look WHERE id IN (3, 4, 6)' ], [ 'another column', 'UPDATE look SET s = s + 2' ],
	[ 'a null one', 'UPDATE look SET n = NULL WHERE id = 1' ], [ 'all but it go', 'DELETE FROM look WHERE id > 1' ])
{
	my ($what, $sql, $open) = @$change;
	$dbh->do($sql);
	is(step(views => \@looks), '', "$what: a tick");
	is(differing($dbh, \%q, $open ? grep { /^look_(?!rows)/ } keys %q : ()), '', "$what: what is shown is there");
}

# keys of the tables come and go
$dbh->do($_) for 'CREATE TABLE keyless (id int, g int)', "SELECT td_run_test.follow('keyless')", 'INSERT INTO keyless SELECT x, x % 3 FROM generate_series(1, 20) x', 'DELETE FROM log.keyless',
	'CREATE TABLE keyed (id int, g int, PRIMARY KEY (g, id))', "SELECT td_run_test.follow('keyed')", 'INSERT INTO keyed SELECT x, x % 3 FROM generate_series(1, 20) x', 'DELETE FROM log.keyed';
my @keys = (view('of_keyless', 'SELECT id, g FROM keyless'), view('of_keyed', 'SELECT id, g FROM keyed'));
my @steps = (
	[ 'ALTER TABLE keyless ADD PRIMARY KEY (id)', 'ALTER TABLE keyed ALTER id SET NOT NULL, ADD UNIQUE (id)' ],
	[ 'ALTER TABLE keyless DROP CONSTRAINT keyless_pkey', 'ALTER TABLE keyed DROP CONSTRAINT keyed_id_key' ]);
ok(!eval { $dbh->do('ALTER TABLE keyed DROP CONSTRAINT keyed_pkey') } && $dbh->state eq '2BP01', 'the key that a view was made with stays');
for my $ddl (@steps)
{
	$dbh->do($_) for @$ddl, 'SELECT td_run_test.close()', 'SELECT td_run_test.open(id) FROM (SELECT id FROM tapdata.view ORDER BY id) v';
	$dbh->do("UPDATE $_ SET g = g + 1 WHERE id < 9") for qw(keyless keyed);
	$dbh->do("DELETE FROM $_ WHERE id IN (SELECT max(id) FROM $_)") for qw(keyless keyed);
	is(step(views => \@keys, apart => 1), '', "a tick after $ddl->[0]");
	is(differing($dbh, \%q), '', 'exact');
	$dbh->do("SELECT td_run_test.fill($_)") for @keys;
}

# whole rows of a table that lost a column
$dbh->do($_) for 'CREATE TABLE whole (id int PRIMARY KEY, gone int, s text)', 'ALTER TABLE whole DROP gone', "SELECT td_run_test.follow('whole')", "INSERT INTO whole VALUES (1, 'x'), (2, NULL)", 'DELETE FROM log.whole';
my $whole = view('wholes', 'SELECT id, w IS NULL AS nothing, w::text AS w FROM whole w WHERE w IS NOT NULL');
$dbh->do("UPDATE whole SET s = 'y' WHERE id = 2");
step(views => [$whole]);
is(differing($dbh, \%q), '', 'a row without its dropped column');

# a plan outlives the DateStyle that it was written under
$dbh->do($_) for 'CREATE TABLE dated (id int PRIMARY KEY, d date)', "SELECT td_run_test.follow('dated')", "SET DateStyle = 'SQL, MDY'";
my $dated = view('dates', q{SELECT id FROM dated WHERE d >= date '2024-02-03'});
$dbh->do($_) for "SET DateStyle = 'ISO, DMY'", "INSERT INTO dated VALUES (1, '2024-02-20'), (2, '2024-01-20')";
step(views => [$dated]);
is(rows('fixed', 'SELECT * FROM dates'), '1', 'constants are read as they were written');
$dbh->do('RESET DateStyle');

# damage
$dbh->do('DELETE FROM t WHERE g = 0');
$dbh->do("DELETE FROM tapdata_state.v${sums}_1");
like(step(apart => 1), qr/^$sums: XX001 the state of view public.sums does not fit .* - SELECT tapdata.refresh_view/, 'a state that lacks what is taken away');
$dbh->do("SELECT td_run_test.fill($_)") for $sums, $above;
is(differing($dbh, \%q), '', 'a fill mends it');
$dbh->do(q{UPDATE pg_attribute SET attname = 'h' WHERE attrelid = 'bag'::regclass AND attname = 'g'});    # ALTER TABLE is refused, by those who have the library
$dbh->do("INSERT INTO t VALUES (4500, 1, 1, 1, 'y')");
like(step(apart => 1), qr/^$bag: 55000 the table of view public.bag does not have the columns/, 'a table that was altered');
like(state_of("SELECT td_run_test.open($bag)"), qr/^55000 /, 'can not be planned either');
$dbh->do(q{UPDATE pg_attribute SET attname = 'g' WHERE attrelid = 'bag'::regclass AND attname = 'h'});
$dbh->do("SELECT td_run_test.fill($bag)");
is(differing($dbh, \%q), '', 'and goes on when the column is called as it was');
$dbh->do('DELETE FROM bag WHERE g = 1');
$dbh->do('DELETE FROM t WHERE g = 1');
like(step(apart => 1), qr/^$bag: XX001 /, 'rows to take out of a bag that are not there');
$dbh->disconnect;
finish();
done_testing();
