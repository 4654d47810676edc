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

# ---- a partition whose detaching was interrupted: no snapshot sees it in its table any more, but its changes are still said to be that table's ----
execute('postgres', 'CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)', 'ALTER TABLE p2 REPLICA IDENTITY FULL', 'INSERT INTO p VALUES (11, 1), (12, 2)');
exact('two partitions', 'of_p');
{
	my ($writer, $other) = map { psql('postgres', fresh => 1) } 1 .. 2;
	$writer->begin_work;
	$writer->do('UPDATE p SET v = v + 1000 WHERE id = 12');
	$other->do("SET lock_timeout = '500ms'");
	like(try_do($other, 'ALTER TABLE p DETACH PARTITION p2 CONCURRENTLY'), qr/^55P03/, 'detaching stops half way');
	$writer->commit;
	exact('half detached', 'of_p');
	execute('postgres', 'UPDATE p2 SET v = v + 1', 'DELETE FROM p2 WHERE id = 11', 'UPDATE p SET v = v + 7');
	exact('and written to', 'of_p');
	execute('postgres', 'ALTER TABLE p DETACH PARTITION p2 FINALIZE', 'UPDATE p2 SET v = v + 1');
	exact('detached', 'of_p');
	execute('postgres', 'ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)', 'UPDATE p SET v = v + 1');
	exact('attached', 'of_p');
}
execute('postgres', 'VACUUM FULL l', 'UPDATE l SET v = v + 1');
exact('a table that was only written anew', qw(of_l sums));

# ---- tables that inherit ----
table('h', 'id int, v int', '(1, 1)');
table('o', 'id int, v int', '(1, 1)');
create('of_h', 'SELECT id, v FROM h');
create('of_o', 'SELECT id, v FROM ONLY o');
exact('new', qw(of_h of_o));
in_one('CREATE TABLE ch () INHERITS (h)', 'INSERT INTO ch VALUES (7, 7)');
failed('a child', 'of_h', qr/views do not support table public\.h, which others inherit from/);
execute('postgres', 'CREATE TABLE co () INHERITS (o)', 'INSERT INTO co VALUES (8, 8)', 'UPDATE ONLY o SET v = 3');
exact('ONLY does not mind', 'of_o');

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
