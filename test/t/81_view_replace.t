# create_view(or_replace => true): a new definition is filled beside the old one, which goes on, and takes its place in one tick.  Readers see the one
# or the other, exact, while writers run, through kill -9 at any point, and in a restored dump; the table stays, with all that hangs on it.
# Also what a refresh leaves alone, and where tables are put.
#
# TD_SEED=n repeats a run; TD_REPLACE_SECONDS makes it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(make_tables start_churn stop_churn inexact unequal wait_views);
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TD_REPLACE_SECONDS} || 25;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
srand $seed;
my $pg = start_server('replace', 'max_prepared_transactions = 20', 'max_worker_processes = 32', 'allow_in_place_tablespaces = on');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE bob LOGIN', 'CREATE ROLE eve LOGIN', "CREATE TABLESPACE ts LOCATION ''",
	'CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, b int, x int)', 'INSERT INTO t SELECT i, i % 7, i % 3, i FROM generate_series(1, 1000) i');
my $connect = sub { psql('postgres', fresh => 1) };

sub replace { my ($name, $sql, $options) = @_; return try_do(psql('postgres'), "SELECT tapdata.create_view('$name', \$q\$$sql\$q\$, '@{[$options // '{}']}', or_replace => true)") }
sub replacing { my ($name) = @_; return value('postgres', "SELECT replacing FROM tapdata.views WHERE view = '$name'::regclass") // '' }
sub replaced { my ($name) = @_; return eventually(sub { replacing($name) eq '' }, 60) }
sub exact
{
	my ($what, @names) = @_;
	value('postgres', "SELECT tapdata.wait_view('$_', '30 s', replacing => false)") for @names;
	is(inexact(psql('postgres'), 'public', @names), '', $what);
	return;
}

# ---- what stays ----
my $by_a = 'SELECT a, count(*) AS n FROM t GROUP BY a';
is(replace('v', $by_a), '', 'one that is not there is created');
execute('postgres', "SELECT tapdata.wait_view('v')", 'CREATE INDEX mine ON v (n)', "COMMENT ON TABLE v IS 'hello'", "COMMENT ON COLUMN v.n IS 'how many'", 'GRANT SELECT ON v TO bob',
	'ALTER TABLE v ENABLE ROW LEVEL SECURITY', 'CREATE POLICY few ON v FOR SELECT TO bob USING (a < 3)', 'CREATE VIEW plain AS SELECT * FROM v',
	"SELECT tapdata.create_view('w', 'SELECT sum(n) AS s FROM v')", "SELECT tapdata.wait_view('w')");
my $hangs = q{SELECT 'v'::regclass::oid, 'tapdata_views.v'::regclass::oid, relacl::text, relrowsecurity, obj_description(oid), col_description(oid, 2), (SELECT string_agg(polname, '') FROM pg_policy WHERE polrelid = c.oid),
	(SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY 1) FROM pg_index WHERE indrelid = c.oid) FROM pg_class c WHERE oid = 'v'::regclass};
my $before = rows('postgres', $hangs);
is(replace('v', 'SELECT a, count(*) AS n FROM t WHERE b <> 1 GROUP BY a'), '', 'another query');
value('postgres', "SELECT tapdata.wait_view('v')");
is(replacing('v'), '', 'wait_view: it has taken the place of the old one');
exact('exact, and the view above it', 'v', 'w');
is(value('postgres', 'SELECT s FROM w'), value('postgres', 'SELECT count(*) FROM t WHERE b <> 1'), 'which has the new rows');
is(value('postgres', 'SELECT sum(n) FROM plain'), value('postgres', 'SELECT count(*) FROM t WHERE b <> 1'), 'so has an ordinary view');
is(rows('postgres', $hangs), $before, 'oid, rights, comments, policies, indexes stay');
is(replace('v', 'SELECT a, count(*) AS n, sum(x) AS x, max(b) AS m FROM t WHERE b <> 1 GROUP BY a'), '', 'with more columns');
ok(replaced('v'), 'takes its place');
execute('postgres', 'UPDATE t SET a = (a + 1) % 5, x = x + 1 WHERE id % 3 = 0');
exact('exact', 'v', 'w');
is(rows('postgres', $hangs), $before, 'all stays');
is(value('postgres', 'SELECT count(*) FROM plain WHERE a IS NOT NULL'), value('postgres', 'SELECT count(DISTINCT a) FROM t WHERE b <> 1'), 'the ordinary view goes on');
is(value('postgres', q{SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'tapdata_views.v'::regclass AND attnum > 0}), 'a n x m', 'the twin has them, too');
execute('postgres', "SELECT tapdata.refresh_view('v')");
exact('refreshed', 'v', 'w');
is(rows('postgres', $hangs), $before, 'all stays after a refresh');
my $fills = value('postgres', 'SELECT max(id) FROM tapdata.view');
is(replace('v', 'SELECT a, count(*) AS n, sum(x) AS x, max(b) AS m FROM public.t WHERE b <> 1 GROUP BY a'), '', 'the same query');
is(replacing('v') . value('postgres', 'SELECT max(id) FROM tapdata.view'), $fills, 'nothing is to be done');

# ---- what is refused ----
execute('postgres', 'CREATE VIEW over_w AS SELECT s FROM w', "SELECT tapdata.create_view('x', 'SELECT id, b AS a FROM t')", "SELECT tapdata.create_view('y', 'SELECT count(*) AS n FROM x')");
for (
	['v', 'SELECT a FROM t GROUP BY a', qr/does not have its column "n"/], ['v', 'SELECT a, count(*)::int AS n FROM t GROUP BY a', qr/does not have its column "n"/],
	['v', 'SELECT a, count(*) AS m, sum(x) AS x, max(b) AS m2 FROM t GROUP BY a', qr/does not have its column "n"/],
	['v', 'SELECT a, n, x, m FROM v', qr/can't be made of itself/], ['v', 'SELECT s::int AS a, 1::bigint AS n, 1::bigint AS x, 1 AS m FROM w', qr/can't be made of itself.*made of it/s],
	['v', 'SELECT s::int AS a, 1::bigint AS n, 1::bigint AS x, 1 AS m FROM over_w', qr/can't be made of itself/],
	['v', 'SELECT a, count(*) AS n, sum(x) AS x, max(b) AS m FROM t GROUP BY a', qr/can't be changed by replacing/, '{"group": "other"}'],
	['v', 'SELECT a, count(*) AS n, sum(x) AS x, max(b) AS m FROM t GROUP BY a', qr/can't be changed by replacing/, '{"unlogged": true}'],
	['x', 'SELECT a AS id, b AS a FROM t', qr/has another key|may be null/], ['t', 'SELECT 1 AS a', qr/relation public.t exists already/], ['plain', 'SELECT 1 AS a', qr/exists already/],
	['v', 'SELECT a, random() AS n FROM t', qr/random/], ['tapdata_parts.v', 'SELECT 1 AS a', qr/ERROR/])
{
	like(replace($_->[0], $_->[1], $_->[3]), $_->[2], "refused: $_->[1]" . ($_->[3] // ''));
}
execute('postgres', 'GRANT postgres TO eve', 'GRANT CREATE ON SCHEMA public TO eve, bob', 'SET ROLE bob');
like(replace('v', $by_a), qr/must be owner of view/, 'refused: of somebody else');
execute('postgres', 'RESET ROLE');
is(value('postgres', 'SELECT count(*) FROM tapdata.view WHERE part_of IS NOT NULL'), 0, 'nothing is left of them');

# ---- errors of the new definition ----
is(replace('x', 'SELECT id, a / (id - 500) AS a FROM t'), '', 'a query that fails');
like(replace('x', 'SELECT id, a / (id - 500) AS a FROM t'), qr/^$/, 'said twice');
ok(eventually(sub { replacing('x') eq 'failed' }, 30), 'fails');
like(value('postgres', q{SELECT replacing_error FROM tapdata.views WHERE view = 'x'::regclass}), qr/division by zero/, 'which is shown');
like(try_do(psql('postgres'), "SELECT tapdata.wait_view('x')"), qr/new definition of view public.x has failed.*division by zero.*refresh_view/s, 'and what wait_view raises');
exact('the old one goes on', 'x', 'y');
is(replace('x', 'SELECT id, b AS a FROM t'), '', 'the old query');
value('postgres', "SELECT tapdata.wait_view('x')");
is(replacing('x'), '', 'gives the other one up');
execute('postgres', "SELECT tapdata.drop_view('y')", 'CREATE UNIQUE INDEX only_one ON x (id, a)');
is(replace('x', 'SELECT id % 10 AS id, a FROM t'), '', 'rows that an index of the user does not take');
ok(eventually(sub { replacing('x') eq 'failed' }, 30), 'fail');
like(value('postgres', q{SELECT replacing_error FROM tapdata.views WHERE view = 'x'::regclass}), qr/only_one/, 'with the name of the index');
execute('postgres', 'INSERT INTO t VALUES (2000, 1, 1, 1)');
exact('the old one goes on', 'x');
execute('postgres', 'DROP INDEX only_one', "SELECT tapdata.refresh_view('x')");
ok(replaced('x'), 'without the index, a refresh lets it in');
exact('a view without a key', 'x');
is(value('postgres', q{SELECT count(*) FROM pg_constraint WHERE conrelid = 'x'::regclass AND contype IN ('p', 'u')}), 0, 'its table has none');
is(replace('x', 'SELECT id, b AS a FROM t'), '', 'with a key again');
ok(replaced('x'), 'is let in');
execute('postgres', 'UPDATE t SET id = id + 10000 WHERE id % 5 = 0');
exact('exact', 'x');
is(value('postgres', q{SELECT string_agg(pg_get_constraintdef(oid), '') FROM pg_constraint WHERE conrelid = 'x'::regclass AND contype IN ('p', 'u')}), 'PRIMARY KEY (id)', 'which its table has');

# ---- a failed view is healed ----
execute('postgres', "SELECT tapdata.create_view('f', 'SELECT id, 100 / x AS y FROM t')", "SELECT tapdata.wait_view('f')", 'UPDATE t SET x = 0 WHERE id = 1');
ok(eventually(sub { value('postgres', q{SELECT status FROM tapdata.views WHERE view = 'f'::regclass}) eq 'failed' }, 30), 'a view fails');
is(replace('f', 'SELECT id, 100 / nullif(x, 0) AS y FROM t'), '', 'a better query');
value('postgres', "SELECT tapdata.wait_view('f')");
ok(eventually(sub { value('postgres', q{SELECT status || coalesce(replacing, '') FROM tapdata.views WHERE view = 'f'::regclass}) eq 'streaming' }, 60), 'heals it');
execute('postgres', 'UPDATE t SET x = 0 WHERE id = 2');
exact('exact', 'f');

execute('postgres', 'CREATE TABLE zero (id int PRIMARY KEY, x int)', 'INSERT INTO zero VALUES (1, 1)', "SELECT tapdata.create_view('z', 'SELECT id, 100 / x AS y FROM zero WHERE x < 1 + (SELECT avg(x) FROM zero)')",
	"SELECT tapdata.create_view('zz', 'SELECT sum(y) AS s FROM z')", "SELECT tapdata.wait_view('zz')", 'UPDATE zero SET x = 0');
my $stand = q{SELECT string_agg(status, ' ' ORDER BY view::text) FROM tapdata.views WHERE view IN ('z'::regclass, 'zz'::regclass)};
ok(eventually(sub { value('postgres', $stand) eq 'failed failed' }, 30), 'a view and one above it fail');
is(replace('zz', 'SELECT sum(y) AS s FROM z'), '', 'the same query again, of the upper one,');
like(try_do(psql('postgres'), "SELECT tapdata.wait_view('zz')"), qr/has failed/, 'while the cause is there');
execute('postgres', 'UPDATE zero SET x = 4');
is(replace('z', 'SELECT id, 100 / x AS y FROM zero WHERE x < 1 + (SELECT avg(x) FROM zero)'), '', 'the same query again, of the lower one, when it is gone,');
value('postgres', "SELECT tapdata.wait_view('zz', '30 s')");
is(value('postgres', $stand), 'streaming streaming', 'revives both');
exact('exact', 'z', 'zz');
is(value('postgres', 'SELECT count(*) FROM tapdata.view WHERE replaces IS NOT NULL'), 0, 'nothing was made beside them');
execute('postgres', 'DROP TABLE zero CASCADE');

# ---- somebody reads it all the time; another definition comes; it is dropped ----
my $reader = $connect->();
$reader->begin_work;
$reader->do('SELECT * FROM f');
is(replace('f', 'SELECT id, 100 / nullif(x, 0) AS y, a FROM t'), '', 'more columns, while somebody reads');
ok(eventually(sub { replacing('f') eq 'streaming' }, 30), 'wait');
sleep 2;
execute('postgres', 'INSERT INTO t VALUES (3000, 1, 1, 1)');
exact('exact', 'f');
is(replacing('f'), 'streaming', 'for the reader');
like(try_do(psql('postgres'), "SELECT tapdata.wait_view('f', '1 s')"), qr/did not get there in time.*that of its new definition "streaming"/s, 'and wait_view for it');
is(replace('f', 'SELECT id, 100 / nullif(x, 0) AS y, b FROM t WHERE id > 5'), '', 'another one');
is(value('postgres', 'SELECT count(*) FROM tapdata.view WHERE replaces IS NOT NULL'), 1, 'supersedes it');
$reader->commit;
ok(replaced('f'), 'and is let in');
exact('exact', 'f');
is(value('postgres', q{SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'f'::regclass AND attnum > 0}), 'id y b', 'with its columns');
execute('postgres', 'CREATE TABLE only_new (id int PRIMARY KEY)');
$reader->begin_work;
$reader->do('SELECT * FROM f');
is(replace('f', 'SELECT id, 100 / nullif(x, 0) AS y, b, id AS c FROM t JOIN only_new USING (id)'), '', 'of another table');
execute('postgres', 'DROP TABLE only_new CASCADE');
is(replacing('f'), '', 'which is dropped: it is given up');
exact('the old one goes on', 'f');
is(replace('f', 'SELECT id, 100 / nullif(x, 0) AS y, b, id AS c FROM t WHERE x < (SELECT avg(x) FROM t)'), '', 'one with parts');
ok(eventually(sub { replacing('f') eq 'streaming' }, 30), 'waits');

$reader->commit;
execute('postgres', 'ALTER TABLE f RENAME TO g');
ok(replaced('g'), 'a view that was renamed');
exact('exact', 'g');
is(replace('g', 'SELECT id, 100 / nullif(x, 0) AS y, b, id + 1 AS c FROM t WHERE x < (SELECT avg(x) FROM t)'), '', 'parts for parts');
ok(replaced('g'), 'are let in');
execute('postgres', 'UPDATE t SET x = x + 50 WHERE id % 4 = 0');
exact('exact', 'g');
execute('postgres', 'GRANT SELECT ON t TO bob', 'ALTER TABLE g OWNER TO bob', 'GRANT SELECT ON g TO postgres', 'UPDATE t SET x = x + 50 WHERE id % 4 = 1');
exact('with another owner', 'g');
execute('postgres', 'ALTER TABLE g OWNER TO postgres');
is(replace('g', 'SELECT id, 1 AS y, b, id + 1 AS c FROM t'), '', 'once more');
is(try_do(psql('postgres'), "SELECT tapdata.drop_view('g')"), '', 'and dropped meanwhile');
is(value('postgres', 'SELECT count(*) FROM tapdata.view WHERE part_of IS NOT NULL'), 0, 'nothing is left');

# ---- a feed ----
execute('postgres', "SELECT tapdata.create_view('c', 'SELECT a, count(*) AS n FROM t GROUP BY a', '{\"changes\": true}')", "SELECT tapdata.wait_view('c')", 'UPDATE t SET a = a + 1 WHERE id % 9 = 0',
	"SELECT tapdata.wait_view('c')", 'CREATE TABLE was AS SELECT to_jsonb(c) AS r, tapdata.view_tick(\'c\') AS tick FROM c');
is(replace('c', 'SELECT a, count(*) AS n, min(id) AS i FROM t WHERE id % 2 = 0 GROUP BY a', '{"max_lag": "20 ms"}'), '', 'a view whose changes are kept');
ok(replaced('c'), 'is replaced');
execute('postgres', 'UPDATE t SET a = a + 1 WHERE id % 8 = 0', "SELECT tapdata.wait_view('c')");
exact('exact', 'c');
is(rows('postgres', q{SELECT r, sum(w) FROM (SELECT r || CASE WHEN jsonb_exists(r, 'i') THEN '{}' ELSE '{"i": null}' END::jsonb AS r, 1 AS w FROM was UNION ALL
	SELECT row, weight FROM tapdata.changes('c', (SELECT max(tick) FROM was)) UNION ALL SELECT to_jsonb(c), -1 FROM c) u GROUP BY r HAVING sum(w) <> 0}), '', 'the changes lead from the old rows to the new ones');
is(value('postgres', q{SELECT options FROM tapdata.views WHERE view = 'c'::regclass}), '{"changes": true, "max_lag": "20 ms"}', 'options that are not given stay');

# ---- where tables are ----
my $split = 'SELECT k, count(*) AS n FROM (SELECT t.id, count(u.b) AS k FROM t LEFT JOIN t u ON u.b = t.id GROUP BY t.id) q GROUP BY k';
is(try_do(psql('postgres'), qq{SELECT tapdata.create_view('ts_v', '$split', '{"tablespace": "ts", "changes": true}')}), '', 'a tablespace');
my $elsewhere = q{SELECT count(*), string_agg(c.oid::regclass::text, ' ') FILTER (WHERE t.spcname IS DISTINCT FROM 'ts') FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
	WHERE c.oid = ANY ((SELECT state_tables || view FROM tapdata.views WHERE view = 'ts_v'::regclass)::oid[])};
is(rows('postgres', $elsewhere), '4|', 'table, state, parts and feed are there');
is(replace('ts_v', "$split HAVING count(*) > 0"), '', 'replaced');
ok(replaced('ts_v'), 'it streams');
is(rows('postgres', $elsewhere), '4|', 'there, too');
exact('exact', 'ts_v');

# ---- many, under writers, and through crashes ----
# column types: bigint, bigint, numeric
my @queries = (
	'SELECT id::bigint AS k, a::bigint AS n, n AS x FROM s.t1', 'SELECT id::bigint AS k, b::bigint AS n, n AS x FROM s.t1 WHERE x > 0 OR a IS NULL',
	'SELECT a::bigint AS k, count(*) AS n, sum(n) AS x FROM s.t2 GROUP BY a', 'SELECT a::bigint AS k, count(*) AS n, max(n) AS x FROM s.t3 WHERE b IS NOT NULL GROUP BY a',
	'SELECT DISTINCT a::bigint AS k, x AS n, n AS x FROM s.t3', 'SELECT id::bigint AS k, x AS n, n AS x FROM s.t3',
	'SELECT t1.id::bigint AS k, t2.x AS n, t2.n AS x FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id', 'SELECT id::bigint AS k, rank() OVER (PARTITION BY a ORDER BY x, id) AS n, n AS x FROM s.p1',
	'SELECT k, count(*) AS n, sum(k)::numeric AS x FROM (SELECT t1.id, count(t3.id) AS k FROM s.t1 LEFT JOIN s.t3 ON t3.id = t1.id GROUP BY t1.id) q GROUP BY k',
	'SELECT id::bigint AS k, x AS n, n AS x FROM s.t1 WHERE x > (SELECT avg(x) FROM s.t1)', 'SELECT id::bigint AS k, a::bigint AS n, n AS x FROM s.p1 UNION ALL SELECT id, a, n FROM s.t1',
	'SELECT a::bigint AS k, count(*) AS n, avg(n) AS x FROM s.p1 GROUP BY a HAVING count(*) > 1');
my $dbh = psql('postgres');
make_tables($dbh, 's');
$dbh->do("ALTER TABLE s.$_ REPLICA IDENTITY FULL") for qw(t1 t2 t3 p1_low p1_high);    # while nobody writes
my @writers = start_churn($connect, 's', 3);
my %is = (r1 => $queries[0], r2 => $queries[2], r3 => $queries[8]);
my @names = sort keys %is;
$dbh->do("SELECT tapdata.create_view('s.$_', ?, ?)", undef, $is{$_}, $_ eq 'r2' ? '{"changes": true}' : '{}') for @names;
$dbh->do('CREATE UNLOGGED TABLE s.counted (n bigint)');
$dbh->do("SELECT tapdata.create_view('s.same', ?)", undef, $queries[0]);
$dbh->do("SELECT tapdata.create_view('s.above', 'SELECT count(*) AS c, sum(n) AS n FROM s.same')");
my @same = ($queries[0], $queries[1], 'SELECT id::bigint AS k, (a + b)::bigint AS n, n AS x FROM s.t1 WHERE id % 2 = 0');
my ($until, $crash, $n, $checks, $wrong, $failed) = (time + $seconds, time + $seconds / 5, 0, 0, '', '');
while (time < $until && $wrong eq '' && $failed eq '')
{
	my $name = (@names, 'same')[rand 4];
	my $query = $name eq 'same' ? $same[rand @same] : $queries[rand @queries];
	my $ok = eval { psql('postgres')->do("SELECT tapdata.create_view('s.$name', ?, or_replace => true)", undef, $query); 1 };
	if ($ok) { $is{$name} = $query; $n++ }
	else { $failed = "$query: $@" if $@ !~ /may be null|another key|server closed|55P03|could not be locked/ }
	sleep rand 0.3;
	if (time > $crash)
	{
		$crash = time + $seconds / 5;
		server('kill9');
		TdProcs::close_all();
		server('start');
		eventually(sub { psql('postgres')->do('SELECT 1') }, 60);
	}
	my $checked = eval { $wrong = inexact(psql('postgres'), 's', (@names, 'same', 'above')[rand 5]); 1 };
	$checks += $checked ? 1 : 0;
	eventually(sub { replacing("s.$name") =~ /^(failed)?$/ }, 10) if rand() < 0.4;
	$failed ||= rows('postgres', q{SELECT view, replacing_error FROM tapdata.views WHERE replacing = 'failed'});
}
is($failed, '', 'none is refused');
is($wrong, '', "old or new, exact ($n replaced, $checks checks)");
cmp_ok($checks, '>', 5, 'checked');
stop_churn(@writers);
TdProcs::close_all();
$dbh = psql('postgres');
$dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
for my $name (@names, 'same') { ok(replaced("s.$name"), "$name has its definition") or diag rows('postgres', "SELECT replacing, replacing_error FROM tapdata.views WHERE view = 's.$name'::regclass") }
wait_views($dbh, 's', @names, 'same', 'above');
is(inexact($dbh, 's', @names, 'same', 'above'), '', 'exact in the end');
$is{same} //= $queries[0];
is(unequal($dbh, 's', [@names, 'same'], [map { "SELECT * FROM ($is{$_}) z" } @names, 'same']), '', 'plain SQL says the same')
	or diag map { "$_: " . value('postgres', "SELECT pg_get_viewdef('tapdata_views.$_'::regclass)") . "\n" . rows('postgres', "SELECT * FROM tapdata.log WHERE object = 's.$_' ORDER BY at DESC LIMIT 12") . "\n" } @names, 'same';
is(rows('postgres', "SELECT view, status, error FROM tapdata.views WHERE status <> 'streaming' OR NOT exact"), '', 'all stream');

# ---- a restored dump, while it is being replaced ----
my $host = "-h $pg->{PGHOST} -p $pg->{PGPORT} -U postgres";
$reader = $connect->();
$reader->begin_work;
$reader->do('SELECT * FROM s.r1');
is(replace('s.r1', 'SELECT id::bigint AS k, x AS n, n AS x, s AS more FROM s.t1 WHERE x >= (SELECT avg(x) FROM s.t1)'), '', 'a view waits for its new definition');
execute('postgres', 'CREATE DATABASE restored');
my $said = qx{$pg->{TD_PG_BIN}/pg_dump $host postgres 2>&1 >$pg->{PGHOST}/dump.sql; $pg->{TD_PG_BIN}/psql $host -qXAt -o /dev/null -f $pg->{PGHOST}/dump.sql restored 2>&1};
is($said, '', 'a dump is made and restored');
is(try_do(psql('restored'), 'SELECT tapdata.adopt_database()'), '', 'adopted');
ok(eventually(sub { value('restored', q{SELECT status || coalesce(replacing, '') FROM tapdata.views WHERE view = 's.r1'::regclass}) eq 'streaming' }, 60), 'it gets the new definition there');
execute('restored', 'UPDATE s.t1 SET x = x + 1');
value('restored', "SELECT tapdata.wait_view('s.$_', '60 s')") for @names;
is(inexact(psql('restored'), 's', @names), '', 'exact');
is(unequal(psql('restored'), 's', ['r1'], ['SELECT id::bigint AS k, x AS n, n AS x, s AS more FROM s.t1 WHERE x >= (SELECT avg(x) FROM s.t1)']), '', 'plain SQL says the same');
is(try_do(psql('restored'), "SELECT tapdata.drop_view('s.r1')"), '', 'and can be dropped');
$reader->commit;
ok(replaced('s.r1'), 'here, too');
execute('postgres', 'DROP SCHEMA s CASCADE', 'DROP VIEW over_w', "SELECT tapdata.drop_view(view) FROM tapdata.views WHERE view IN ('w'::regclass, 'x'::regclass, 'c'::regclass, 'ts_v'::regclass)", 'DROP TABLE v CASCADE');
is(value('postgres', q{SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('tapdata_state', 'tapdata_views', 'tapdata_parts')}) // '', '',
	'dropped views leave nothing behind');
is(value('postgres', 'SELECT (SELECT count(*) FROM tapdata.view) + (SELECT count(*) FROM tapdata.view_state) + (SELECT count(*) FROM tapdata.view_base)'), 0, 'nor in the catalog');
finish();
done_testing();
