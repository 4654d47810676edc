# What changes and changes back between two ticks leaves the catalogs as they were: nothing that a tick could compare tells of it. All that decoding and
# the catalogs can do so, over views of all kinds: each case is done between two ticks, as transactions of their own and, where it can be, as one.
#
# A lock on the views' tables keeps ticks from happening.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use DBD::Pg qw(:async);
use TdBank qw(seed);
use TdProcs;
use Time::HiRes qw(sleep time);

start_server('viewbetween', 'max_worker_processes = 32', 'max_prepared_transactions = 5', "tapdata.worker_memory = '64kB'");
my $row = 'id int PRIMARY KEY, a int, b int NOT NULL, v varchar(10), n numeric(8,2), ts timestamp, t text, u int UNIQUE NOT NULL';
my $plain = 'id int NOT NULL, a int, v varchar(10)';
execute('postgres', 'CREATE EXTENSION tapdata', 'SET client_min_messages = warning', "CREATE TABLE c ($row)", "CREATE TABLE s ($row)", "CREATE TABLE ref (c int REFERENCES c (id) ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE, x int)",
	q{CREATE TYPE mood AS ENUM ('low', 'high')}, 'CREATE TYPE pair AS (x int, y int)', 'CREATE DOMAIN small AS int CHECK (VALUE < 1000000)', 'CREATE TABLE o (id int PRIMARY KEY, m mood, p pair, w small)',
	"CREATE TABLE d ($plain) PARTITION BY RANGE (id)", 'CREATE TABLE d_mid PARTITION OF d FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id)', 'CREATE TABLE d_low PARTITION OF d_mid FOR VALUES FROM (0) TO (50)',
	'CREATE TABLE d_high (junk int, v varchar(10), id int NOT NULL, a int)', 'ALTER TABLE d_high DROP junk', 'ALTER TABLE d_mid ATTACH PARTITION d_high FOR VALUES FROM (50) TO (100)', 'CREATE TABLE d_rest PARTITION OF d DEFAULT',
	"CREATE TABLE e ($plain) PARTITION BY RANGE (id)", 'CREATE TABLE e_rest PARTITION OF e DEFAULT', "CREATE TABLE g ($plain)", 'CREATE TABLE g_mid () INHERITS (g)', 'CREATE TABLE g_low () INHERITS (g_mid)', "CREATE TABLE h ($plain)",
	'CREATE SCHEMA one', 'CREATE SCHEMA two', 'CREATE TABLE one.r (id int PRIMARY KEY, a int)', 'CREATE TABLE two.r (id int PRIMARY KEY, a int)',
	'CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT $1 + 1$$', 'CREATE FUNCTION within(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT $1 * 3$$', 'CREATE FUNCTION deep(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN within($1); END$$',
	'CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN IF $1 < 0 THEN PERFORM pg_sleep(0.4); END IF; RETURN $1; END$$',
	'CREATE TYPE point2 AS (x int)', (map { "CREATE FUNCTION to_point$_(int) RETURNS point2 IMMUTABLE LANGUAGE sql AS \$\$SELECT ROW(\$1 * $_)::point2\$\$" } 1, 2), 'CREATE CAST (int AS point2) WITH FUNCTION to_point1(int)',
	'CREATE TABLE z (id int PRIMARY KEY, k int)');
sub c_rows { my ($from, $to) = @_; return "SELECT i, i % 5, i % 3, 'v' || i % 4, i / 4.0, timestamp '2026-01-01' + i * interval '1 hour', repeat(md5(i::text), 3), i FROM generate_series($from, $to) i" }
execute('postgres', 'INSERT INTO c ' . c_rows(1, 40), 'INSERT INTO s ' . c_rows(21, 60), q{INSERT INTO o SELECT i, CASE i % 2 WHEN 0 THEN 'low' ELSE 'high' END::mood, ROW(i % 3, i)::pair, i FROM generate_series(1, 20) i},
	q{UPDATE c SET t = (SELECT string_agg(md5(i::text || id), '') FROM generate_series(1, 200) i) WHERE id % 3 = 0},
	(map { "INSERT INTO $_ SELECT i, i % 5, 'v' || i % 3 FROM generate_series(0, 119, 3) i" } qw(d e)), (map { "INSERT INTO $_ SELECT i, i % 5, 'v' || i % 3 FROM generate_series(0, 9) i" } qw(g g_mid g_low h)),
	map { "INSERT INTO $_.r SELECT i, i % 3 FROM generate_series(1, 10) i" } qw(one two));
my @views = (
	first => 'SELECT id, slow(k) AS k FROM z', z_one => 'SELECT z.id, r.a FROM z JOIN one.r r ON z.id = r.id', z_calls => 'SELECT z.id, deep(z.k) AS d FROM z', z_moods => 'SELECT z.id, o.m::text AS m FROM z JOIN o ON z.id = o.w',
	bag => 'SELECT a, v, n, ts FROM c', filter => 'SELECT id, a, t FROM c WHERE b = 1 AND n < 8', joined => 'SELECT c.id, c.a, s.v, c.n + s.n AS n FROM c JOIN s ON c.a = s.a AND c.b = s.b',
	grouped => 'SELECT a, count(*) AS n, sum(n) AS s, min(v) AS lo, max(ts) AS hi, avg(b) AS m FROM c GROUP BY a', different => 'SELECT DISTINCT a, v FROM c', outer_left => 'SELECT c.id, c.v, s.id AS s, s.t FROM c LEFT JOIN s ON c.u = s.u',
	outer_full => 'SELECT c.id, c.a, s.id AS s, s.n FROM c FULL JOIN s ON c.id = s.id', windows => 'SELECT a, id, n, sum(n) OVER (PARTITION BY a ORDER BY id) AS s FROM c', top => 'SELECT id, n, t FROM c ORDER BY n DESC, id LIMIT 7',
	minus => 'SELECT a, b, v FROM c EXCEPT ALL SELECT a, b, v FROM s', total => 'SELECT count(*) AS n, sum(n) AS s FROM c', number => 'SELECT count(*) AS n FROM c', calls => 'SELECT id, f(a) AS f, deep(b) AS d FROM c', folded => 'SELECT id FROM c WHERE a < f(2)',
	['kept', '{"old_images": "kept"}'] => 'SELECT s.a, count(*) AS n, sum(s.n) AS s, max(s.t) AS t FROM s GROUP BY s.a', ['kept_join', '{"old_images": "kept"}'] => 'SELECT s.id, s.a, o.w, s.t FROM s JOIN o ON s.id = o.id',
	over => 'SELECT g.s, f.id FROM grouped g JOIN filter f ON g.a = f.a', refs => 'SELECT ref.x, c.v FROM ref JOIN c ON ref.c = c.id', whole => 'SELECT id, s FROM s', cast_row => 'SELECT id, a::point2 AS p FROM c', cast_text => 'SELECT a::point2::text AS p, count(*) AS n FROM c GROUP BY 1', ids => 'SELECT id FROM c',
	texts => q{SELECT id, m::text AS m, p::text AS p, w FROM o}, moods => 'SELECT m, count(*) AS n, max(w) AS w FROM o GROUP BY m',
	d_all => 'SELECT * FROM d', d_sum => 'SELECT a, count(*) AS n, sum(id) AS s, max(v) AS v FROM d GROUP BY a', d_mid_all => 'SELECT * FROM d_mid', d_top => 'SELECT id, a FROM d ORDER BY a DESC, id LIMIT 5', e_all => 'SELECT * FROM e',
	de => 'SELECT d.id, d.v, e.a FROM d FULL JOIN e ON d.id = e.id', g_all => 'SELECT * FROM g', g_sum => 'SELECT a, count(*) AS n, sum(id) AS s FROM g GROUP BY a', g_window => 'SELECT a, id, row_number() OVER (PARTITION BY a ORDER BY id, v) AS r FROM g',
	g_mid_all => 'SELECT * FROM g_mid', h_sum => 'SELECT a, count(*) AS n FROM h GROUP BY a', r_one => 'SELECT id, a FROM one.r', r_two => 'SELECT a, count(*) AS n FROM two.r GROUP BY a');
my (%query, @names);
while (my ($v, $query) = splice @views, 0, 2)
{
	($v, my $options) = ref $v ? @$v : ($v, '{}');
	execute('postgres', "SELECT tapdata.create_view('$v', \$\$$query\$\$, '$options')");
	push @names, $v;
	$query{$v} = $query;
}
# all of a group that stream are of one snapshot
sub caught_up { execute('postgres', map { "SELECT tapdata.wait_view('$_', '30 s')" } $names[0], map { $_->[0] } @{ psql('postgres')->selectall_arrayref(q{SELECT view::text FROM tapdata.views WHERE status <> 'streaming'}) }); return }
# the rows as text, twice: by the query, and by the twin, whose functions and tables are those that the view was made with
sub wrong
{
	my %n = map { $_->[0] => $_->[1] } @{ psql('postgres')->selectall_arrayref(join ' UNION ALL ', map {
		my $v = $_;
		map { "SELECT '$v', count(*) FROM ((SELECT x::text FROM $v x EXCEPT ALL SELECT x::text FROM $_ x) UNION ALL (SELECT x::text FROM $_ x EXCEPT ALL SELECT x::text FROM $v x)) y HAVING count(*) > 0" } "($query{$v})", "tapdata_views.$v"
		} @names) };
	return join ' ', map { "$_:$n{$_}" } sort keys %n;
}

# a few writes, other ones each time
my $n = 100;
sub writes { my ($t) = @_; return sub { some_writes($t) } }
sub below { my ($t, $id) = @_; return sub { some_below($t, $id) } }
sub both { return (writes('c'), writes('s')) }
sub some_writes
{
	my ($t) = @_;
	$n++;
	my $id = $n % 40;
	return ("INSERT INTO $t SELECT $n, $n % 5, $n % 3, 'v' || $n % 4, $n / 7.0, timestamp '2026-02-01' + $n * interval '1 hour', repeat('x', $n), $n", "UPDATE $t SET a = a + 1 WHERE id % 7 = $n % 7",
		"UPDATE $t SET n = n + 1.5, v = 'w' || $n % 4, b = b + 1 WHERE id % 5 = $n % 5", "DELETE FROM $t WHERE id = $id OR id = $n - 20", "UPDATE $t SET id = id + 1000, u = u + 1000 WHERE id = $id + 1", "UPDATE $t SET t = t || 'y' WHERE id % 6 = $n % 6");
}
sub some_below { my ($t, $id) = @_; $n++; return ("INSERT INTO $t (id, a, v) VALUES ($id, $n % 5, 'v')", "UPDATE $t SET a = a + 1, v = 'w' || $n % 3 WHERE id % 3 = $n % 3", "DELETE FROM $t WHERE id % 11 = $n % 11") }

# Steps are SQL; code that gives some; [session, such a step] for another session than `one` (`waits`: that must wait for another one, until `done`); `check` lets ticks be and compares. `alone`: not as one transaction.
my @cases;
sub aba { my ($name, @steps) = @_; push @cases, [$name, 1, @steps]; return }
sub alone { my ($name, @steps) = @_; push @cases, [$name, 0, @steps]; return }

# ---- replica identity ----
for my $how ('NOTHING', 'DEFAULT', 'USING INDEX c_u_key')
{
	aba("identity $how", both(), "ALTER TABLE c REPLICA IDENTITY $how", both(), 'ALTER TABLE c REPLICA IDENTITY FULL', both());
	aba("identity $how of a table whose old rows are kept", writes('s'), "ALTER TABLE s REPLICA IDENTITY " . ($how =~ s/c_u/s_u/r), writes('s'), 'ALTER TABLE s REPLICA IDENTITY FULL', both());
}
aba('the index of the identity goes', 'CREATE UNIQUE INDEX c_other ON c (b, u)', 'ALTER TABLE c REPLICA IDENTITY USING INDEX c_other', both(), 'DROP INDEX c_other', both(), 'ALTER TABLE c REPLICA IDENTITY FULL', both());
aba('the identity in a savepoint that is given up', both(), 'ALTER TABLE c REPLICA IDENTITY FULL', both());
for my $t (qw(d_low d_high)) { aba("identity of $t", below('d', 5), "ALTER TABLE $t REPLICA IDENTITY NOTHING", below('d', 60), below($t, $t eq 'd_low' ? 7 : 70), "ALTER TABLE $t REPLICA IDENTITY FULL", below('d', 9)) }
alone('identity in savepoints', 'BEGIN', both(), 'SAVEPOINT x', 'ALTER TABLE c REPLICA IDENTITY NOTHING', both(), 'ROLLBACK TO x', both(), 'ALTER TABLE c REPLICA IDENTITY DEFAULT', both(), 'SAVEPOINT y', 'ALTER TABLE c REPLICA IDENTITY FULL', both(), 'COMMIT');

# ---- types and columns ----
# what views read can't change its type: what they do not read, can
aba('types that go and come back', both(), 'ALTER TABLE c ADD y int', 'UPDATE c SET y = id', map { ("ALTER TABLE c ALTER y TYPE $_", both()) } 'text', 'bigint USING y::bigint * 2', 'varchar(10)', 'varchar(20)', 'text');
push @{ $cases[-1] }, 'ALTER TABLE c DROP y', both();
aba('a column with a default comes and goes', both(), 'ALTER TABLE c ADD extra int DEFAULT 7', both(), 'ALTER TABLE c ADD more text DEFAULT repeat($$x$$, 3000)', both(), 'ALTER TABLE c DROP more', 'UPDATE c SET extra = 8, a = a + 1 WHERE id % 2 = 0', 'ALTER TABLE c DROP extra', both());
aba('the same below', below('d', 1), 'ALTER TABLE d ADD extra int DEFAULT 7', below('d', 61), below('d_high', 61), 'UPDATE d SET extra = id, a = 3 WHERE id < 70', 'ALTER TABLE d DROP extra', below('d', 2));
aba('a column of a table that is shown whole', writes('s'), 'ALTER TABLE s ADD extra int', writes('s'), 'UPDATE s SET extra = a', writes('s'), 'ALTER TABLE s DROP extra', writes('s'));
aba('columns change their names', both(), 'ALTER TABLE c RENAME a TO tmp', 'ALTER TABLE c RENAME b TO a', 'ALTER TABLE c RENAME tmp TO b', both(), 'ALTER TABLE c RENAME a TO tmp', 'ALTER TABLE c RENAME b TO a', 'ALTER TABLE c RENAME tmp TO b', both());
aba('columns of partitions change their names', below('d', 3), 'ALTER TABLE d RENAME a TO tmp', 'ALTER TABLE d RENAME id TO a', 'ALTER TABLE d RENAME tmp TO id', 'INSERT INTO d (id, a) VALUES (4, 77), (5, 8)', 'UPDATE d_high SET id = 9', 'ALTER TABLE d RENAME a TO tmp',
	'ALTER TABLE d RENAME id TO a', 'ALTER TABLE d RENAME tmp TO id', below('d', 66));
aba('columns of children change their names', below('g', 3), 'ALTER TABLE g RENAME a TO tmp', 'ALTER TABLE g RENAME id TO a', 'ALTER TABLE g RENAME tmp TO id', 'INSERT INTO g_low (id, a) VALUES (4, 77), (5, 8)', 'UPDATE g_mid SET id = 9', 'ALTER TABLE g RENAME a TO tmp',
	'ALTER TABLE g RENAME id TO a', 'ALTER TABLE g RENAME tmp TO id', below('g_low', 66));
aba('storage and compression', both(), 'ALTER TABLE c ALTER t SET STORAGE EXTERNAL', both(), q{UPDATE c SET t = repeat('long', 3000) WHERE id % 9 = 1}, both(), 'ALTER TABLE c ALTER t SET STORAGE PLAIN', 'UPDATE c SET t = left(t, 100)', both(), 'ALTER TABLE c ALTER t SET STORAGE EXTENDED', both());

# ---- files ----
aba('CLUSTER', both(), 'CLUSTER c USING c_pkey', both(), 'CLUSTER s USING s_u_key', both());
alone('VACUUM FULL', both(), 'VACUUM FULL c', both(), 'VACUUM FULL s', both(), 'REINDEX TABLE c', both(), 'REINDEX TABLE CONCURRENTLY c', both());
aba('TRUNCATE', both(), 'TRUNCATE c CASCADE', 'INSERT INTO c ' . c_rows(1, 40), both(), 'TRUNCATE s', 'INSERT INTO s ' . c_rows(21, 60), both());
alone('TRUNCATE in savepoints', 'BEGIN', both(), 'SAVEPOINT x', 'TRUNCATE c CASCADE', 'INSERT INTO c ' . c_rows(1, 10), 'ROLLBACK TO x', both(), 'SAVEPOINT x', 'TRUNCATE s', 'INSERT INTO s ' . c_rows(21, 60), 'RELEASE x', both(), 'COMMIT');
aba('TRUNCATE of partitions', below('d', 6), 'TRUNCATE d_low', below('d', 7), 'TRUNCATE d_mid', below('d', 77), 'INSERT INTO d SELECT i, i % 5 FROM generate_series(0, 99, 3) i', 'TRUNCATE ONLY g', 'TRUNCATE g_mid', below('g_low', 5), 'INSERT INTO g_low SELECT i, i FROM generate_series(0, 9) i', below('g', 1));
aba('unlogged, where nobody forbids it', 'ALTER TABLE d DETACH PARTITION d_rest', 'ALTER TABLE d_rest SET UNLOGGED', below('d_rest', 140), 'ALTER TABLE d_rest SET LOGGED', 'ALTER TABLE d ATTACH PARTITION d_rest DEFAULT', below('d', 141));

# ---- names ----
aba('tables change their names', both(), 'ALTER TABLE c RENAME TO tmp', 'ALTER TABLE s RENAME TO c', 'ALTER TABLE tmp RENAME TO s', both(), 'ALTER TABLE c RENAME TO tmp', 'ALTER TABLE s RENAME TO c', 'ALTER TABLE tmp RENAME TO s', both());
aba('schemas change their names', 'UPDATE one.r SET a = a + 1 WHERE id < 4', 'ALTER SCHEMA one RENAME TO tmp', 'ALTER SCHEMA two RENAME TO one', 'ALTER SCHEMA tmp RENAME TO two', 'UPDATE one.r SET a = a + 2 WHERE id < 5', 'DELETE FROM two.r WHERE id = 3', 'ALTER SCHEMA one RENAME TO tmp',
	'ALTER SCHEMA two RENAME TO one', 'ALTER SCHEMA tmp RENAME TO two', 'INSERT INTO one.r VALUES (3, 3) ON CONFLICT DO NOTHING');
aba('a table changes its schema', 'ALTER TABLE one.r SET SCHEMA public', 'INSERT INTO r VALUES (77, 7)', 'ALTER TABLE two.r SET SCHEMA one', 'DELETE FROM one.r WHERE id = 4', 'ALTER TABLE one.r SET SCHEMA two', 'ALTER TABLE r SET SCHEMA one', 'DELETE FROM one.r WHERE id = 77');

# ---- functions, types ----
my %f = map { $_->[0] => "CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS \$\$SELECT $_->[1]\$\$" } [was => '$1 + 1'], [other => '$1 * 2'];
aba('a function is another one for a while', both(), $f{other}, both(), 'ALTER FUNCTION f(int) SET search_path = one', both(), $f{was}, both());
aba('what a function is called', both(), 'ALTER FUNCTION f(int) RENAME TO ff', 'CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT 0$$', both(), 'DROP FUNCTION f(int)', 'ALTER FUNCTION ff(int) RENAME TO f', both());
aba('what a function calls is another one', both(), 'CREATE OR REPLACE FUNCTION within(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT $1 * 4$$', both());
aba('... and is what it was', both(), 'CREATE OR REPLACE FUNCTION within(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT $1 * 5$$', both(), 'CREATE OR REPLACE FUNCTION within(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT $1 * 3$$', both());
aba('a cast is another one for a while', both(), 'DROP CAST (int AS point2)', 'CREATE CAST (int AS point2) WITH FUNCTION to_point2(int)', both(), 'DROP CAST (int AS point2)', 'CREATE CAST (int AS point2) WITH FUNCTION to_point1(int)', both());
aba('labels of an enum', q{INSERT INTO o VALUES (101, 'low', ROW(1, 2), 3)}, q{ALTER TYPE mood RENAME VALUE 'low' TO 'x'}, q{ALTER TYPE mood RENAME VALUE 'high' TO 'low'}, q{UPDATE o SET m = 'low' WHERE id < 8}, q{ALTER TYPE mood RENAME VALUE 'low' TO 'high'}, q{ALTER TYPE mood RENAME VALUE 'x' TO 'low'},
	q{UPDATE o SET m = 'low' WHERE id = 9}, 'DELETE FROM o WHERE id = 101');
aba('fields of a row type', 'UPDATE o SET p.x = 4 WHERE id = 1', 'ALTER TYPE pair ADD ATTRIBUTE z int', 'UPDATE o SET p.z = 5 WHERE id < 3', 'ALTER TYPE pair DROP ATTRIBUTE z', 'UPDATE o SET p.y = 5 WHERE id = 2', 'ALTER TYPE pair RENAME ATTRIBUTE x TO q', 'UPDATE o SET p.q = 5 WHERE id = 3', 'ALTER TYPE pair RENAME ATTRIBUTE q TO x');
aba('what a domain allows', 'ALTER DOMAIN small DROP CONSTRAINT small_check', 'UPDATE o SET w = 5000000 WHERE id = 1', 'UPDATE o SET w = 6 WHERE id = 1', 'ALTER DOMAIN small ADD CONSTRAINT small_check CHECK (VALUE < 1000000)', 'UPDATE o SET w = 7 WHERE id = 2');

# ---- what is below a table ----
aba('the middle level is taken out, written to and put back', below('d', 8), 'ALTER TABLE d DETACH PARTITION d_mid', below('d_low', 9), below('d_high', 58), 'ALTER TABLE d ATTACH PARTITION d_mid FOR VALUES FROM (0) TO (100)', below('d', 10));
aba('a subtree goes from one table to another and back', below('d', 8), 'ALTER TABLE d DETACH PARTITION d_mid', 'DELETE FROM e WHERE id < 100', 'ALTER TABLE e ATTACH PARTITION d_mid FOR VALUES FROM (0) TO (100)', below('e', 9), below('d_high', 59), 'ALTER TABLE e DETACH PARTITION d_mid', below('d_low', 11),
	'ALTER TABLE d ATTACH PARTITION d_mid FOR VALUES FROM (0) TO (100)', below('d', 10));
aba('a subtree comes and goes', below('e', 8), 'DELETE FROM e WHERE id BETWEEN 200 AND 299', 'CREATE TABLE sub (a int, id int NOT NULL, v varchar(10)) PARTITION BY RANGE (id)', 'CREATE TABLE sub_low PARTITION OF sub FOR VALUES FROM (200) TO (250)', below('sub', 201),
	'ALTER TABLE e ATTACH PARTITION sub FOR VALUES FROM (200) TO (300)', below('e', 202), below('sub_low', 203), 'ALTER TABLE e DETACH PARTITION sub', below('sub_low', 204), 'DROP TABLE sub');
aba('rows move', below('d', 12), 'UPDATE d SET id = id + 50 WHERE id < 50 AND a > 2', 'UPDATE d SET id = id + 100 WHERE id BETWEEN 50 AND 60', 'UPDATE d SET id = id - 100 WHERE id > 120', below('d', 13));
alone('a partition that is detached CONCURRENTLY', below('d', 12), 'DELETE FROM d_rest', below('d', 300), 'ALTER TABLE d_mid DETACH PARTITION d_low CONCURRENTLY', below('d_low', 13), 'ALTER TABLE d_mid ATTACH PARTITION d_low FOR VALUES FROM (0) TO (50)', below('d', 14));
aba('a partition is dropped, and another one is called so', below('d', 62), 'DROP TABLE d_high', 'CREATE TABLE d_high (v varchar(10), id int NOT NULL, a int)', below('d_high', 63), 'ALTER TABLE d_mid ATTACH PARTITION d_high FOR VALUES FROM (50) TO (100)', below('d', 64), 'INSERT INTO d SELECT i, i % 5 FROM generate_series(50, 99, 4) i');
aba('a partition is born, and dies', below('e', 62), 'DELETE FROM e WHERE id > 400', 'CREATE TABLE e_new PARTITION OF e FOR VALUES FROM (400) TO (500)', below('e', 401), below('e_new', 402), 'DROP TABLE e_new', below('e', 403));
aba('the default partition', below('e', 62), 'ALTER TABLE e DETACH PARTITION e_rest', below('e_rest', 63), 'CREATE TABLE e_new PARTITION OF e DEFAULT', below('e', 410), 'DROP TABLE e_new', 'ALTER TABLE e ATTACH PARTITION e_rest DEFAULT', below('e', 411));
aba('a child and what is below it go and come', below('g_mid', 8), 'ALTER TABLE g_mid NO INHERIT g', below('g_mid', 9), below('g_low', 10), 'ALTER TABLE g_mid INHERIT g', below('g', 11));
aba('... the lower one', below('g_mid', 8), 'ALTER TABLE g_low NO INHERIT g_mid', below('g_mid', 9), below('g_low', 10), 'ALTER TABLE g_low INHERIT g', below('g_low', 11), 'ALTER TABLE g_low NO INHERIT g', below('g_low', 11), 'ALTER TABLE g_low INHERIT g_mid', below('g', 11));
aba('a child of two', below('g_mid', 8), 'ALTER TABLE g_mid INHERIT h', below('h', 9), below('g_low', 10), 'ALTER TABLE g_mid NO INHERIT h', below('g', 11), 'ALTER TABLE g_low INHERIT h', below('g_low', 11), 'ALTER TABLE g_low NO INHERIT h', below('g', 12));
aba('a child is born, and dies', below('g', 8), 'CREATE TABLE g_new () INHERITS (g_mid, h)', below('g_new', 9), below('h', 8), 'ALTER TABLE g_new ADD extra int DEFAULT 3', below('g_new', 8), 'DROP TABLE g_new', below('g', 7));
# who writes to what is below a table that goes or comes holds no lock on it: he is waited for
{
	my ($put, $out) = ('ALTER TABLE g_mid INHERIT h', 'ALTER TABLE g_mid NO INHERIT h');
	my $write = [two => below('g_low', 9)];
	my @begin = ([two => 'BEGIN'], $write);
	my @end = ($write, [two => 'COMMIT'], [done => ''], 'check', below('g_low', 3), 'check');
	alone('a child comes above a writer', @begin, [waits => $put], @end, $out);
	alone('a child goes above a writer', $put, 'check', @begin, [waits => $out], @end);
	alone('a child goes and comes above a writer', @begin, [waits => "$put; $out; $put"], @end, $out);
	alone('the middle level goes above a writer', [two => 'BEGIN'], [two => below('d_low', 9)], [waits => 'ALTER TABLE d DETACH PARTITION d_mid'], [two => below('d_low', 9)], [two => 'COMMIT'], [done => ''], 'check', below('d_low', 3),
		'ALTER TABLE d ATTACH PARTITION d_mid FOR VALUES FROM (0) TO (100)', below('d_low', 3), 'check', below('d', 4));
}

# ---- transactions ----
alone('prepared transactions', 'BEGIN', both(), q{PREPARE TRANSACTION 'p1'}, below('d', 3), 'CREATE INDEX o_tmp ON o (w) WHERE w > 100', $f{other}, q{COMMIT PREPARED 'p1'}, $f{was}, both(), 'DROP INDEX o_tmp');
alone('a prepared transaction with DDL', 'BEGIN', both(), 'ALTER TABLE c ADD extra int DEFAULT 5', both(), q{PREPARE TRANSACTION 'p1'}, below('d', 5), q{COMMIT PREPARED 'p1'}, both(), 'ALTER TABLE c DROP extra', both());
alone('a prepared transaction that wrote below', 'BEGIN', below('g_low', 3), q{PREPARE TRANSACTION 'p1'}, [waits => 'ALTER TABLE g_mid NO INHERIT g; ALTER TABLE g_mid INHERIT h'], q{COMMIT PREPARED 'p1'}, [done => ''], below('g_low', 3), 'check', 'ALTER TABLE g_mid NO INHERIT h', 'ALTER TABLE g_mid INHERIT g');
aba('many rows', both(), 'INSERT INTO c ' . c_rows(2001, 3500), 'UPDATE c SET a = a + 1', both(), 'DELETE FROM c WHERE id > 200', both());
aba('many rows that are given up', both(), 'INSERT INTO c ' . c_rows(2001, 2300) . ' ON CONFLICT DO NOTHING', 'INSERT INTO c ' . c_rows(2001, 2300) . ' ON CONFLICT (id) DO UPDATE SET a = c.a + excluded.a', 'DELETE FROM c WHERE id > 2000');
alone('COPY', 'COPY c TO PROGRAM \'cat > /dev/null\'', 'CREATE TABLE same AS TABLE c', 'DELETE FROM ref', 'DELETE FROM c', 'INSERT INTO c TABLE same ON CONFLICT DO NOTHING', 'DROP TABLE same');
aba('values out of line', q{UPDATE c SET t = (SELECT string_agg(md5(i::text || id), '') FROM generate_series(1, 300) i) WHERE id % 9 = 1}, 'UPDATE c SET a = a + 1', 'UPDATE s SET t = (SELECT max(t) FROM c) WHERE id % 7 = 1', 'UPDATE s SET a = a + 1', 'UPDATE s SET t = t', both(),
	map { "UPDATE $_ SET t = left(t, 40)" } qw(c s));
aba('cascades', 'DELETE FROM ref', 'DELETE FROM c WHERE id > 200', 'DELETE FROM s WHERE id > 200', 'INSERT INTO ref SELECT id, a FROM c', 'UPDATE c SET id = id + 5000, u = u + 5000 WHERE id % 3 = 1', both(), 'DELETE FROM c WHERE id % 4 = 1', both(), 'SET CONSTRAINTS ALL DEFERRED', 'INSERT INTO c ' . c_rows(900, 920), 'DELETE FROM c WHERE id BETWEEN 900 AND 920');
aba('triggers', 'CREATE FUNCTION trig() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE s SET a = a + 1 WHERE id = NEW.id; NEW.v := $x$z$x$; RETURN NEW; END$$', 'CREATE TRIGGER trig BEFORE UPDATE ON c FOR EACH ROW EXECUTE FUNCTION trig()', both(), q{SET session_replication_role = 'replica'}, both(),
	'ALTER TABLE c ENABLE ALWAYS TRIGGER trig', both(), 'RESET session_replication_role', 'DROP FUNCTION trig CASCADE', both());
aba('rights', 'CREATE ROLE other', 'ALTER TABLE c ENABLE ROW LEVEL SECURITY', 'ALTER TABLE c FORCE ROW LEVEL SECURITY', 'ALTER TABLE c OWNER TO other', both(), 'REVOKE ALL ON c FROM postgres', both(), 'ALTER TABLE c OWNER TO postgres', 'ALTER TABLE c NO FORCE ROW LEVEL SECURITY', 'ALTER TABLE c DISABLE ROW LEVEL SECURITY',
	'GRANT ALL ON c TO postgres', 'DROP ROLE other', both());
aba('without waiting for the disk', 'SET synchronous_commit = off', both(), 'SELECT * FROM c FOR UPDATE', 'SELECT * FROM s FOR KEY SHARE', both(), 'RESET synchronous_commit');
aba('savepoints', both());
alone('DDL that is given up', 'BEGIN', both(), map { ("SAVEPOINT x", $_, both(), 'ROLLBACK TO x', both()) } 'ALTER TABLE c ADD extra int DEFAULT 5', 'TRUNCATE c CASCADE', 'ALTER TABLE c RENAME a TO aa; ALTER TABLE c RENAME b TO a; ALTER TABLE c RENAME aa TO b', 'CLUSTER c USING c_pkey', 'ALTER TABLE c REPLICA IDENTITY NOTHING');
push @{ $cases[-1] }, 'COMMIT';

# ---- all of it ----
my $only = $ENV{TD_BETWEEN};
my ($done, $slow) = (0, 0);
my ($holder, %session, $from);
sub hold { $holder->begin_work; $holder->do('LOCK TABLE ' . join(', ', @names) . ' IN SHARE MODE'); $from = time; return }
# lets ticks be; what is wrong then
sub let_go
{
	$slow++ if time - $from > 2.5;
	$holder->commit;
	my $found = eval { caught_up(); 1 } ? wrong() : "not caught up: $@";
	return $found . value('postgres', q{SELECT coalesce(string_agg(view || ': ' || error, ' '), '') FROM tapdata.views WHERE status <> 'streaming'});
}
sub run_step
{
	my ($step) = @_;
	my ($who, $what) = ref $step eq 'ARRAY' ? @$step : (one => $step);
	if ($what eq 'check') { my $found = let_go(); hold(); return $found }
	if ($who eq 'done') { return eval { $session{waits}->pg_result; 1 } ? '' : "it failed: $@" }
	$session{$who} //= do { my $dbh = psql('postgres', fresh => 1); $dbh->do(q{SET client_min_messages = error; SET lock_timeout = '10s'}); $dbh };
	if ($who eq 'waits')
	{
		$session{$who}->do($what, { pg_async => PG_ASYNC });
		return eventually(sub { value('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $session{$who}->{pg_pid} AND NOT granted") }, 2) ? '' : "it does not wait: $what";
	}
	for my $sql (ref $what ? $what->() : $what) { eval { $session{$who}->do($sql); 1 } or return "$sql: " . $session{$who}->errstr }
	return '';
}
sub run_case
{
	my ($name, @steps) = @_;
	my $found = '';
	%session = ();
	hold();
	for my $step (@steps) { last if ($found = run_step($step)) ne '' }
	if ($found ne '') { eval { $_->do('ROLLBACK') } for values %session; execute('postgres', map { "ROLLBACK PREPARED '$_->[0]'" } @{ psql('postgres')->selectall_arrayref('SELECT gid FROM pg_prepared_xacts') }) }
	$found .= let_go();
	$done++;
	if ($found ne '') { execute('postgres', map { "SELECT tapdata.refresh_view('$_')" } @names); caught_up() }
	return is($found, '', $name);
}
$holder = psql('postgres', fresh => 1);
caught_up();
is(wrong(), '', 'all is well');
diag sprintf '%.0f s', time - $^T if $ENV{TD_BETWEEN_TIMES};
for my $case (@cases)
{
	my ($name, $as_one, @steps) = @$case;
	next if $only && $name !~ /$only/;
	my $t = time;
	run_case($name, @steps);
	run_case("$name, in one transaction", 'BEGIN', @steps, 'COMMIT') if $as_one;
	diag sprintf '%.1f s %s', time - $t, $name if $ENV{TD_BETWEEN_TIMES};
}

# ---- during a tick: what takes no lock on what the tick reads, and is undone before the next one ----
# `first` sleeps, the views after it read when all is otherwise; a lock on a view lets the tick end and keeps the next one back
for my $r (['schemas change their names', (join '; ', 'BEGIN', (map { "ALTER SCHEMA $_->[0] RENAME TO $_->[1]" } [one => 'tmp'], [two => 'one'], [tmp => 'two']), 'COMMIT') x 2],
	['what a function calls is another one', map { "CREATE OR REPLACE FUNCTION within(int) RETURNS int IMMUTABLE LANGUAGE sql AS \$\$SELECT \$1 * $_\$\$" } 7, 3],
	['a label is another one', map { "ALTER TYPE mood RENAME VALUE '$_'" } q{high' TO 'x}, q{x' TO 'high}])
{
	my ($name, $there, $back) = @$r;
	execute('postgres', 'TRUNCATE one.r, two.r, o', q{INSERT INTO o VALUES (1, 'high', NULL, 1)}, (map { "INSERT INTO $_->[0].r SELECT i, $_->[1] FROM generate_series(1, 10) i" } [one => 1], [two => 2]));
	caught_up();
	execute('postgres', 'INSERT INTO z VALUES (1, -1)');
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") }, 10), 'a tick is under way');
	execute('postgres', $there);
	$holder->begin_work;
	$holder->do('LOCK TABLE z_one IN SHARE MODE');
	execute('postgres', $back);
	$holder->commit;
	caught_up();
	is(wrong(), '', "$name during a tick, and back");
	diag sprintf '%.0f s', time - $^T if $ENV{TD_BETWEEN_TIMES};
	execute('postgres', 'DELETE FROM z');
}

# ---- what fails with its name ----
caught_up();
execute('postgres', 'DROP CAST (int AS point2)', 'CREATE CAST (int AS point2) WITH FUNCTION to_point2(int)', 'UPDATE c SET a = a + 1');
like(try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '30 s')"), qr/has failed.*the cast from integer to public.point2 is another one/s, "$_: the cast is another one") for qw(cast_row cast_text);
execute('postgres', 'DROP CAST (int AS point2)', 'CREATE CAST (int AS point2) WITH FUNCTION to_point1(int)', map { "SELECT tapdata.refresh_view('$_')" } qw(cast_row cast_text));
caught_up();
is(wrong(), '', 'and once it is what it was');
diag sprintf '%.0f s', time - $^T if $ENV{TD_BETWEEN_TIMES};

# ---- who decodes, ticks or serves ends, when much of the above has been done since the last tick ----
srand(my $seed = seed());
for my $r (['the capture worker', sub { execute('postgres', map { "SELECT pg_terminate_backend($_)" } worker_pids('capture')) }], ['the view worker', sub { execute('postgres', map { "SELECT pg_terminate_backend($_)" } worker_pids('view')) }],
	['the server', sub { restart_server('immediate') }], ['a worker, with -9,', sub { kill 'KILL', worker_pids('capture'); eventually(sub { psql('postgres')->ping && value('postgres', 'SELECT NOT pg_is_in_recovery()') }) }])
{
	my ($what, $end) = @$r;
	%session = ();
	hold();
	my ($found, @some) = ('', map { $cases[$_] } sort { $a <=> $b } map { int rand @cases } 1 .. 8);
	for my $case (@some)
	{
		my ($name, $as_one, @steps) = @$case;
		for my $step (grep { ref || $_ ne 'check' } @steps) { last if ($found = run_step($step)) ne '' }
		last if $found ne '';
	}
	$end->();
	eval { $_->disconnect } for $holder, values %session;
	ok(eventually(sub { $holder = psql('postgres', fresh => 1) }), 'the server is there');
	ok(eventually(sub { caught_up(); 1 }, 30), "$what has ended");
	diag sprintf '%.0f s', time - $^T if $ENV{TD_BETWEEN_TIMES};
	is($found . wrong(), '', "exact after " . join '; ', map { $_->[0] } @some);
}
diag "$done cases, $slow slow, seed $seed";
finish();
done_testing();
