# DDL that changes what a live view should say, without a change of any row of its tables that could be decoded.
#
# Each part was silently wrong once: the view's fingerprint was equal before and after, or nobody looked at it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use File::Copy;
use TdProcs;

my $top = "$FindBin::Bin/../..";
my $pg = start_server('viewddl', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'SET synchronous_commit = local');

my %query;
sub table { my ($name, $columns, @rows) = @_;
	execute('postgres', "CREATE TABLE $name ($columns)", "ALTER TABLE $name REPLICA IDENTITY FULL", map { "INSERT INTO $name VALUES $_" } @rows); return }
sub create { my ($name, $query) = @_; $query{$name} = $query; execute('postgres', "SELECT tapdata.create_view('$name', \$\$$query\$\$)"); return }
sub wait_for { my ($name) = @_; return try_do(psql('postgres'), "SELECT tapdata.wait_view('$name', '20 s')") }
sub exact
{
	my ($what, @names) = @_;
	for my $v (@names)
	{
		is(wait_for($v), '', "$what: $v reached");
		is(value('postgres', "SELECT count(*) FROM ((TABLE $v EXCEPT ALL ($query{$v})) UNION ALL (($query{$v}) EXCEPT ALL TABLE $v)) x"), 0, "$what: $v is exact");
	}
	return;
}
sub failed { my ($what, $name, $message) = @_;
	ok(eventually(sub { value('postgres', 'SELECT status FROM tapdata.views WHERE view = ?::regclass', $name) eq 'failed' }), "$what: $name has failed");
	like(value('postgres', 'SELECT error FROM tapdata.views WHERE view = ?::regclass', $name), $message, '... and says why');
	return }
sub in_one { my (@sql) = @_; my $dbh = psql('postgres'); $dbh->begin_work; $dbh->do($_) for @sql; $dbh->commit; return }

# ---- changes that are not in the WAL ----
table('l', 'id int, v int', '(1, 1), (2, 2)');
execute('postgres', 'CREATE TABLE p (id int, v int) PARTITION BY RANGE (id)', 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)',
	'ALTER TABLE p REPLICA IDENTITY FULL', 'ALTER TABLE p1 REPLICA IDENTITY FULL', 'INSERT INTO p VALUES (1, 1), (2, 2)');
create('of_l', 'SELECT id, v FROM l');
create('of_p', 'SELECT count(*) AS n, sum(v) AS s FROM p');
create('sums', 'SELECT sum(v) AS s FROM of_l');
exact('new', qw(of_l of_p sums));
in_one('ALTER TABLE l SET UNLOGGED', 'UPDATE l SET v = v + 100', 'ALTER TABLE l SET LOGGED');
exact('unlogged for a while', qw(of_l sums));
in_one('ALTER TABLE p1 SET UNLOGGED', 'UPDATE p1 SET v = v + 100', 'ALTER TABLE p1 SET LOGGED');
exact('a partition likewise', 'of_p');
execute('postgres', 'VACUUM FULL l', 'UPDATE l SET v = v + 1');
exact('a table that was only written anew', qw(of_l sums));

# ---- tables that inherit ----
table('h', 'id int PRIMARY KEY, v int NOT NULL, w text', "(1, 1, 'a'), (2, 2, 'b')");
table('o', 'id int, v int', '(1, 1)');
execute('postgres', 'CREATE TABLE h0 (extra text, w text, v int, id int) INHERITS (h)', 'ALTER TABLE h0 REPLICA IDENTITY FULL', 'ALTER TABLE h0 ALTER v DROP NOT NULL',
	"INSERT INTO h0 VALUES (1, 11, 'a', 'x'), (3, NULL, NULL, 'y')");
my @of_h = qw(h_rows h_sums h_all h_keyed h_only h_names h_nulls);
create('h_rows', 'SELECT id, v, w FROM h');
create('h_sums', 'SELECT id, count(*) AS n, sum(v) AS s FROM h GROUP BY id');
create('h_all', 'SELECT count(*) AS n FROM h');
create('h_keyed', 'SELECT a.id, a.v, b.v AS other FROM h a LEFT JOIN o b ON b.id = a.v');
create('h_only', 'SELECT id, v FROM ONLY h');
create('h_names', 'SELECT id, max(w) AS w FROM h GROUP BY id');
create('h_nulls', 'SELECT id FROM h a WHERE v NOT IN (SELECT v + 1 FROM o)');
create('of_o', 'SELECT id, v FROM ONLY o');
exact('new', @of_h, 'of_o');
execute('postgres', "INSERT INTO h0 VALUES (1, 12, 'z', NULL), (5, 5, 'q', NULL)", 'UPDATE h SET v = coalesce(v, 0) + 1', 'DELETE FROM h WHERE id = 2');
exact('rows of a child', @of_h);
in_one('CREATE TABLE ch () INHERITS (h)', 'ALTER TABLE ch REPLICA IDENTITY FULL', 'INSERT INTO ch VALUES (7, 7, NULL)');
execute('postgres', 'UPDATE h SET v = v + 1 WHERE id = 7');
exact('a child more', @of_h);
execute('postgres', 'CREATE TABLE other (more int)', 'CREATE TABLE grand () INHERITS (ch, other)', 'ALTER TABLE grand REPLICA IDENTITY FULL', 'INSERT INTO grand VALUES (7, 8, NULL, 0), (8, 8, NULL, 0)');
exact('a grandchild, of another table too', @of_h);
execute('postgres', 'UPDATE ch SET v = v * 2', 'TRUNCATE grand');
exact('changes through the one in between', @of_h);
execute('postgres', 'INSERT INTO grand VALUES (9, 9, NULL, 0)', 'ALTER TABLE h0 NO INHERIT h', 'UPDATE h0 SET v = 100');
exact('a child goes', @of_h);
in_one('ALTER TABLE h0 ALTER v SET NOT NULL', 'ALTER TABLE h0 INHERIT h', 'DELETE FROM h0 WHERE id = 5');
exact('and comes back', @of_h);
in_one('ALTER TABLE h0 NO INHERIT h', 'UPDATE h0 SET v = v + 1', 'ALTER TABLE h0 INHERIT h');
exact('both at once, and rows changed between', @of_h);
execute('postgres', 'DROP TABLE grand');
exact('a grandchild is dropped', @of_h);
# a new session of capture knows nothing of the child: nothing of it has been decoded
execute('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'tapdata capture'});
exact('after a restart', @of_h);
execute('postgres', 'DROP TABLE h0');
exact('a child is dropped of which nothing was decoded', @of_h);
execute('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'tapdata capture'});
exact('after a restart', @of_h);
execute('postgres', 'ALTER TABLE ch NO INHERIT h');
exact('one ceases to inherit of which nothing was decoded', @of_h);
is(value('postgres', q{SELECT relreplident FROM pg_class WHERE oid = 'ch'::regclass}), 'f', 'what the user set stays');
execute('postgres', 'CREATE TABLE co () INHERITS (o)', 'INSERT INTO co VALUES (8, 8)', 'UPDATE ONLY o SET v = 3');
exact('ONLY does not mind', 'of_o', @of_h);
execute('postgres', 'INSERT INTO co VALUES (9, 9)', 'INSERT INTO o VALUES (9, 9)', 'UPDATE o SET v = v + 1');
exact('... nor later', 'of_o', @of_h);

# ---- composite types ----
execute('postgres', 'CREATE TYPE inner_t AS (x int, y int)', 'CREATE TYPE ct AS (a int, i inner_t)', 'CREATE DOMAIN ct_d AS ct', 'CREATE TYPE only_y AS (x int, y int)');
table('c', 'id int, c ct, d ct_d[], e only_y', "(1, '(1,\"(2,3)\")', ARRAY['(1,\"(2,3)\")'::ct_d], '(1,1)'), (2, NULL, NULL, '(1,2)')");
create('c_text', 'SELECT id, c::text AS t FROM c');
create('c_concat', "SELECT id, concat(d, '!') AS t FROM c");
create('c_groups', 'SELECT e, count(*) AS n FROM c GROUP BY e');
exact('new', qw(c_text c_concat c_groups));
execute('postgres', 'ALTER TYPE ct ADD ATTRIBUTE b text CASCADE');
exact('an attribute more', qw(c_text c_concat));
execute('postgres', 'ALTER TYPE inner_t DROP ATTRIBUTE y CASCADE');
exact('one less, of a type inside', qw(c_text c_concat));
execute('postgres', 'ALTER TYPE only_y DROP ATTRIBUTE y CASCADE');
failed('what was two groups is one', 'c_groups', qr/is not what it should be/);

# ---- a transaction that is seen before the others are told what it did to the catalogs ----
{
	my $so = "$pg->{TD_PG_DATA}/../td_commit.so";
	system("make -s -C $top/test/unit/td_commit PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_commit does not build');
	copy("$top/test/unit/td_commit/td_commit.so", $so) or BAIL_OUT("td_commit.so: $!");
	chmod 0755, $so;
	execute('postgres', "CREATE FUNCTION stay(ms int) RETURNS void LANGUAGE c AS '$so', 'td_commit_stay'", 'SELECT stay(400)');
	for my $round (1 .. 2)
	{
		execute('postgres', "ALTER TYPE ct ADD ATTRIBUTE n$round int CASCADE");
		exact("DDL without locks, round $round", qw(c_text c_concat));
	}
	execute('postgres', 'SELECT stay(0)');
}

# ---- text search ----
execute('postgres', 'CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple)', 'CREATE TEXT SEARCH CONFIGURATION tc (COPY = pg_catalog.simple)',
	'ALTER TEXT SEARCH CONFIGURATION tc ALTER MAPPING FOR asciiword WITH d');
table('s', 'id int, s text', "(1, 'the running cats'), (2, 'a dog')");
create('words', "SELECT id, to_tsvector('tc', s) AS w FROM s");
create('found', "SELECT id FROM s WHERE s \@\@ 'cats'::text");
exact('new', qw(words found));
execute('postgres', 'ALTER TEXT SEARCH DICTIONARY d (STOPWORDS = english)');
exact('a dictionary with stop words', 'words');
execute('postgres', 'ALTER TEXT SEARCH CONFIGURATION tc ALTER MAPPING FOR asciiword WITH english_stem');
exact('another dictionary', qw(words found));

# ---- an ordinary view underneath ----
table('ov', 'id int PRIMARY KEY, v int', '(1, 1), (2, 2)');
execute('postgres', 'CREATE VIEW plain_ov AS SELECT id, v FROM ov');
create('of_plain', 'SELECT id, (SELECT sum(p.v) FROM plain_ov p WHERE p.id = ov.id) AS s FROM ov');
exact('new', 'of_plain');
execute('postgres', 'CREATE OR REPLACE VIEW plain_ov AS SELECT id, v * 10 AS v FROM ov');
exact('another query of the same name', 'of_plain');
execute('postgres', 'CREATE OR REPLACE VIEW plain_ov AS SELECT id, v + 1 AS v FROM ov WHERE v > 1', 'UPDATE ov SET v = v + 1');
exact('and once more, with changes', 'of_plain');

# ---- columns that are said to be never null ----
table('n', 'id int PRIMARY KEY, x int', '(1, NULL), (2, 5)');
for my $qual ('(x IS NOT NULL) < true', '(x = ANY (ARRAY[]::int[])) < true', '(x IS NOT NULL)::int = 0', '((x = ANY (ARRAY[]::int[])) IS NOT NULL)')
{
	create('nulls', "SELECT x, id FROM n WHERE $qual");
	exact($qual, 'nulls');
	is(value('postgres', "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'nulls'::regclass AND attname = 'x'"), 0, '... and its column may be null');
	execute('postgres', "SELECT tapdata.drop_view('nulls')");
}
for my $qual ('x IS NOT NULL', 'x = ANY (ARRAY[5, 6])', 'abs(x) + 1 > 0')
{
	create('nulls', "SELECT x, id FROM n WHERE $qual");
	is(value('postgres', "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'nulls'::regclass AND attname = 'x'"), 1, "$qual: never null");
	execute('postgres', "SELECT tapdata.drop_view('nulls')");
}

# ---- an owner that may not log in ----
execute('postgres', 'CREATE ROLE nobody NOLOGIN', 'GRANT CREATE, USAGE ON SCHEMA public TO nobody', 'GRANT SELECT ON n TO nobody', 'SET ROLE nobody');
my $error = try_do(psql('postgres'), "SELECT tapdata.create_view('of_nobody', 'SELECT id FROM n')");
execute('postgres', 'RESET ROLE');
like($error, qr/^55000 .*role "?nobody"? may not log in/s, 'a role that may not log in owns no views');
like($error, qr/ALTER ROLE nobody LOGIN/, '... and is told how it could');

# ---- a table that somebody has locked: views of other tables are made and go on ----
my $keeper = psql('postgres', fresh => 1);
$keeper->begin_work;
$keeper->do('LOCK TABLE h');
execute('postgres', "SET statement_timeout = '10s'");
create('beside', 'SELECT id FROM ONLY o');
execute('postgres', 'RESET statement_timeout');
is(wait_for('beside'), '', 'create_view does not wait for a lock that is none of its own');
$keeper->rollback;
$keeper->disconnect;

finish();
done_testing();
