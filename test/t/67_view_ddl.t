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
use Time::HiRes qw(sleep);

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
like(try_do(psql('postgres'), "ALTER TABLE $_ SET UNLOGGED"), qr/^2BP01/, "$_ can't be unlogged, for a while neither") for qw(l p1);

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
execute('postgres', 'CREATE INDEX by_v ON l (v DESC)', 'CLUSTER l USING by_v', 'UPDATE l SET v = v + 1');
exact('clustered', qw(of_l sums));

# ---- an ordinary view whose row is read gets a column: the row has it, under the names of its type ----
{
	table('rb', 'id int, g int, s text', "(1, 1, 'a'), (2, 1, 'b')");
	execute('postgres', 'CREATE VIEW rows_of AS SELECT id, g FROM rb');
	create('docs', 'SELECT g, jsonb_agg(o ORDER BY id) AS j, array_agg(o ORDER BY id) AS a FROM rows_of o GROUP BY g');
	create('docs_left', 'SELECT rb.id, to_jsonb(o) AS j FROM rb LEFT JOIN rows_of o (x, y) ON o.x = rb.id + 1');
	table('rk', 'id int PRIMARY KEY, g int, s text', "(1, 1, 'a'), (2, 1, 'b')");
	execute('postgres', 'CREATE VIEW of_rk AS SELECT id, g FROM rk');
	create('docs_named', 'SELECT j.p, j.q, j.u, j.w FROM (of_rk a LEFT JOIN of_rk o ON o.id = a.id + 1) j (p, q, u, w)');
	$query{docs_named} = 'TABLE tapdata_views.docs_named';    # its text would mean other columns then
	exact('rows of an ordinary view', qw(docs docs_left docs_named));
	execute('postgres', 'CREATE OR REPLACE VIEW rows_of AS SELECT id, g, s FROM rb', 'CREATE OR REPLACE VIEW of_rk AS SELECT id, g, s FROM rk');
	exact('it has one column more', qw(docs docs_left docs_named));
	execute('postgres', 'ALTER VIEW rows_of RENAME g TO grp', "UPDATE rb SET s = 'c' WHERE id = 2", 'UPDATE rk SET g = 3 WHERE id = 2');
	$query{docs} =~ s/\bg\b/grp/g;
	exact('and another name', qw(docs docs_left docs_named));
	is(value('postgres', 'SELECT j::text FROM docs_left WHERE id = 1'), '{"s": "c", "id": 2, "grp": 1}', 'those of the type');
}

# ---- columns that no view reads are dropped: no text of a view names them, as those do that give all columns of a table a name ----
{
	table('c1', 'id int PRIMARY KEY, x int, unread int');
	table('c2', 'id int PRIMARY KEY, y int, unread int');
	table('c3', 'id int, g int, s text, unread int');
	create('using_twice', 'SELECT c1.id, c1.x, c2.y, c3.s FROM c1 FULL JOIN c2 USING (id) LEFT JOIN c3 ON c3.id = c1.x');
	create('using_named', 'SELECT j.id, j.x, j.y, c3.s FROM (c1 FULL JOIN c2 USING (id)) j LEFT JOIN c3 ON c3.id = j.x');
	create('renamed', 'SELECT k.p, (SELECT count(*) FROM c1 k (p, x, u) WHERE k.x = k.p) AS n, (SELECT sum(x) FROM c1 WHERE c1.x = k.p) AS s FROM c3 k (p, q, r, u)');
	my @all = qw(using_twice using_named renamed);
	$query{renamed} = 'TABLE tapdata_views.renamed';    # its text has names for what is dropped
	execute('postgres', 'INSERT INTO c1 VALUES (1, 1)', "INSERT INTO c3 VALUES (1, 1, 'x')");
	exact('all columns', @all);
	execute('postgres', map { "ALTER TABLE c$_ DROP unread" } 1 .. 3);
	execute('postgres', 'INSERT INTO c1 VALUES (2, 1)', "INSERT INTO c3 VALUES (1, 1, 'y')", 'INSERT INTO c2 VALUES (3), (1)');
	exact('those that are not read have gone', @all);
}

# ---- joins of an ordinary view that has columns more by now: several statements are made of one tree, tick after tick ----
{
	table('j1', 'id int PRIMARY KEY, name text, vc text');
	table('j2', 'id int PRIMARY KEY, g int, v int, s text');
	table('j3', 'id int PRIMARY KEY, j2 int, w text');
	table('j4', 'id int, s text, unread int');
	execute('postgres', 'CREATE VIEW of_j1 AS SELECT id, name, vc FROM j1', 'CREATE VIEW of_j2 AS SELECT id, g, v, s FROM j2');
	create('of_joins', 'SELECT j.id, j.v, d.w, u.s FROM (of_j1 FULL JOIN of_j2 USING (id)) j FULL JOIN j3 d ON d.j2 = j.id LEFT JOIN j4 u ON u.id = d.id');
	exact('named join', 'of_joins');
	execute('postgres', 'CREATE OR REPLACE VIEW of_j1 AS SELECT id, name, vc, id + 1 AS e1, vc::text AS e2 FROM j1');
	for my $change ('j1 VALUES (1)', 'j2 SELECT generate_series(1, 500)', "j1 SELECT i, 'a', 'b' FROM generate_series(400, 450) i", "j3 SELECT i, i, 'b' FROM generate_series(1, 50) i",
		"j4 SELECT i, 'b' FROM generate_series(1, 50) i", "j3 SELECT i, NULL, 'b' FROM generate_series(51, 60) i", "j4 SELECT i, 'b' FROM generate_series(1, 50) i")
	{
		execute('postgres', "INSERT INTO $change");
		is(wait_for('of_joins'), '', "columns more, $change: reached");
	}
	exact('columns more', 'of_joins');
	execute('postgres', 'ALTER TABLE j4 DROP unread', "INSERT INTO j4 VALUES (2, 'z')", "INSERT INTO j3 VALUES (70, 7, 'z')");
	exact('a column less that is not read', 'of_joins');
}

# ---- what a user has made of a view stays his: a refresh writes the difference into the same table ----
{
	execute('postgres', 'CREATE INDEX mine ON of_l (v) WITH (fillfactor = 70)', 'ALTER TABLE of_l SET (autovacuum_vacuum_threshold = 7)');
	my $had = q{SELECT c.relfilenode, i.relfilenode, i.reloptions::text, indisvalid, c.reloptions::text FROM pg_class c JOIN pg_index ON indrelid = c.oid JOIN pg_class i ON i.oid = indexrelid
		WHERE c.relname = 'of_l' AND i.relname = 'mine'};
	my $before = rows('postgres', $had);
	like($before, qr/fillfactor=70.*threshold=7/, 'an index and a setting');
	execute('postgres', 'INSERT INTO l VALUES (3, 3)', "SELECT tapdata.refresh_view('of_l')", 'UPDATE l SET v = v + 1');
	exact('refreshed', qw(of_l sums));
	is(rows('postgres', $had), $before, 'stay through refresh_view, as does the file');
}

# ---- partitions that come later ----
execute('postgres', 'CREATE TABLE lt (id int, v int) PARTITION BY RANGE (id)', 'CREATE TABLE lt1 PARTITION OF lt FOR VALUES FROM (0) TO (10)', 'CREATE TABLE later (v int, id int)');
create('of_parts', 'SELECT id, v FROM lt');
exact('new', 'of_parts');
execute('postgres', 'CREATE TABLE lt2 PARTITION OF lt FOR VALUES FROM (10) TO (20)', 'ALTER TABLE lt ATTACH PARTITION later FOR VALUES FROM (20) TO (30)', 'INSERT INTO lt VALUES (1, 1), (11, 1), (21, 1)');
exact('rows of partitions that came later', 'of_parts');
is(rows('postgres', q{SELECT relname, relreplident FROM pg_class WHERE relname IN ('lt1', 'lt2', 'later') ORDER BY 1}), "later|f\nlt1|f\nlt2|f", 'their old values are written, too');
execute('postgres', 'UPDATE lt SET v = 2', 'DELETE FROM lt WHERE id = 21');
exact('changes there', 'of_parts');
is(value('postgres', q{SELECT coalesce((executed->'unknown'->>'ticks')::int, 0) FROM tapdata.views WHERE view = 'of_parts'::regclass}), 0, '... are known');
{
	my $dbh = psql('postgres');
	my @warned;
	local $SIG{__WARN__} = sub { push @warned, @_ };
	local $dbh->{PrintWarn} = 1;
	$dbh->do('ALTER TABLE lt1 REPLICA IDENTITY DEFAULT');
	like("@warned", qr/live views need old values of table "lt1" that are not written any more/, 'who takes them away is told');
	@warned = ();
	$dbh->do('ALTER TABLE lt1 REPLICA IDENTITY FULL');
	is("@warned", '', '... and who gives them back is not');
}
execute('postgres', q{SELECT tapdata.drop_view('of_parts')});
is(rows('postgres', q{SELECT relname, relreplident FROM pg_class WHERE relname IN ('lt1', 'lt2', 'later') ORDER BY 1}), "later|d\nlt1|d\nlt2|d", 'it is set back with the view');

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

# ---- DDL on partitions that is noise, partitions that come empty, and those that bring rows ----
{
	execute('postgres', 'CREATE TABLE pt (id int PRIMARY KEY, g int, v int) PARTITION BY RANGE (id)', 'CREATE TABLE pt1 PARTITION OF pt FOR VALUES FROM (0) TO (100)',
		'CREATE TABLE pt2 PARTITION OF pt FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id)', 'CREATE TABLE pt21 PARTITION OF pt2 FOR VALUES FROM (100) TO (150)',
		'INSERT INTO pt SELECT i, i % 3, i FROM generate_series(0, 149) i');
	create('of_pt', 'SELECT g, count(*) AS n, sum(v) AS s FROM pt GROUP BY g');
	create('keyed_pt', 'SELECT id, (SELECT sum(b.v) FROM pt b WHERE b.g = a.id) AS s FROM pt a');
	my @both = qw(of_pt keyed_pt);
	my $whole = sub { value('postgres', q(SELECT sum((e.value->>'ticks')::int) FROM tapdata.views v, jsonb_each(v.executed) e WHERE v.view IN ('of_pt'::regclass, 'keyed_pt'::regclass)
		AND e.key NOT IN ('delta', 'groups', 'keyed', 'cost'))) // 0 };    # cost: by the clock, on a slow machine
	my $counted = sub { my ($n) = @_; sleep 1.2; return $whole->() };    # counters are written once a second
	exact('new', @both);
	my $n = $counted->();
	my $by_delta = sub
	{
		my ($what, @sql) = @_;
		execute('postgres', @sql);
		exact($what, @both);
		execute('postgres', 'UPDATE pt SET v = v + 1 WHERE id < 40');
		exact("$what, and changes", @both);
		is($counted->(), $n, "$what: nothing was computed anew") or diag rows('postgres', 'SELECT view, executed FROM tapdata.views WHERE executed IS NOT NULL');
		$n = $whole->();
		return;
	};
	my $anew = sub
	{
		my ($what, @sql) = @_;
		execute('postgres', @sql);
		exact($what, @both);
		cmp_ok($counted->(), '>', $n, "$what: computed anew");
		$n = $whole->();
		return;
	};
	$by_delta->('noise', 'ALTER TABLE pt1 REPLICA IDENTITY FULL', 'ALTER TABLE pt1 SET (autovacuum_enabled = off)', 'ANALYZE pt', 'CREATE INDEX ON pt (g)', 'ALTER TABLE pt21 ALTER v SET STATISTICS 500',
		'ALTER TABLE pt1 ADD CHECK (v > -1000)', 'GRANT SELECT ON pt1 TO PUBLIC', 'VACUUM pt1');
	$by_delta->('a new partition', 'CREATE TABLE pt3 PARTITION OF pt FOR VALUES FROM (200) TO (300)', 'INSERT INTO pt SELECT i, i % 3, i FROM generate_series(200, 210) i');
	$by_delta->('with changes in its transaction', 'BEGIN', 'UPDATE pt SET v = v * 2 WHERE id < 30', 'CREATE TABLE pt4 PARTITION OF pt FOR VALUES FROM (300) TO (400)', 'INSERT INTO pt VALUES (301, 1, 5), (302, 2, 6)',
		'DELETE FROM pt WHERE id = 3', 'COMMIT');
	$by_delta->('one with parts, and a default', 'CREATE TABLE pt5 PARTITION OF pt (v DEFAULT 9) FOR VALUES FROM (400) TO (500) PARTITION BY RANGE (id)', 'CREATE TABLE pt51 PARTITION OF pt5 FOR VALUES FROM (400) TO (450)',
		'INSERT INTO pt VALUES (401, 1, 1)');
	$anew->('one that brings rows', 'CREATE TABLE pt6 (LIKE pt)', 'INSERT INTO pt6 VALUES (501, 1, 7)', 'ALTER TABLE pt ATTACH PARTITION pt6 FOR VALUES FROM (500) TO (600)');
	$anew->('one that was a partition elsewhere', 'CREATE TABLE pt_other (LIKE pt) PARTITION BY RANGE (id)', 'CREATE TABLE pt7 PARTITION OF pt_other FOR VALUES FROM (600) TO (700)', 'INSERT INTO pt_other VALUES (601, 1, 7)',
		'ALTER TABLE pt_other DETACH PARTITION pt7', 'ALTER TABLE pt ATTACH PARTITION pt7 FOR VALUES FROM (600) TO (700)');
	$anew->('one that brings parts which were made as such', 'CREATE TABLE pt8 (LIKE pt) PARTITION BY RANGE (id)', 'CREATE TABLE pt81 PARTITION OF pt8 FOR VALUES FROM (700) TO (750)', 'INSERT INTO pt8 VALUES (701, 1, 7)',
		'ALTER TABLE pt ATTACH PARTITION pt8 FOR VALUES FROM (700) TO (800)');
	$anew->('rows that were written unlogged', 'BEGIN', 'CREATE UNLOGGED TABLE pt9 PARTITION OF pt FOR VALUES FROM (800) TO (900)', 'INSERT INTO pt VALUES (801, 1, 7)', 'ALTER TABLE pt9 SET LOGGED', 'COMMIT');
	$anew->('away and back', 'BEGIN', 'ALTER TABLE pt DETACH PARTITION pt3', 'UPDATE pt3 SET v = v + 3', 'ALTER TABLE pt ATTACH PARTITION pt3 FOR VALUES FROM (200) TO (300)', 'COMMIT');
	$anew->('away and back, a part of a part', 'ALTER TABLE pt2 DETACH PARTITION pt21', 'UPDATE pt21 SET v = v + 3', 'ALTER TABLE pt2 ATTACH PARTITION pt21 FOR VALUES FROM (100) TO (150)');
	$anew->('away and back with its parts, and one more', 'BEGIN', 'ALTER TABLE pt DETACH PARTITION pt5', 'UPDATE pt5 SET v = v + 3', 'CREATE TABLE pt52 PARTITION OF pt5 FOR VALUES FROM (450) TO (500)', 'INSERT INTO pt5 VALUES (451, 1, 4)',
		'ALTER TABLE pt ATTACH PARTITION pt5 FOR VALUES FROM (400) TO (500)', 'COMMIT');
	$anew->('gone', 'DROP TABLE pt6');
	is(value('postgres', 'SELECT count(*) FROM tapdata.view_state WHERE recomputes > ticks'), 0, 'what is computed anew is a tick');
	like(rows('postgres', q(SELECT node, strategy, detail FROM tapdata.explain_view('of_pt'))), qr/^  ticks so far\|delta\|\d+, [\d.]+ ms in all, [\d.]+ ms the last time$/m, 'explain_view tells what ticks have done');
	cmp_ok(value('postgres', q(SELECT whole_ms FROM tapdata.views WHERE view = 'of_pt'::regclass)), '>', 0, 'and how long the whole takes is known');
	execute('postgres', map { "SELECT tapdata.drop_view('$_')" } @both);
	is(value('postgres', 'SELECT count(*) FROM tapdata.view_run r WHERE NOT EXISTS (SELECT FROM tapdata.view v WHERE v.id = r.view)'), 0, 'counters go with the view');
	execute('postgres', 'DROP TABLE pt');
}

# ---- a view that is always computed as a whole needs no old rows ----
{
	my $identity = sub { value('postgres', "SELECT relreplident FROM pg_class WHERE relname = 'tf'") };
	execute('postgres', 'CREATE TABLE tf (id int PRIMARY KEY, v int)', 'INSERT INTO tf SELECT i, i % 7 FROM generate_series(1, 40) i');
	$query{ranks} = 'SELECT id, v, rank() OVER (ORDER BY v DESC, id) AS r FROM tf';
	execute('postgres', "SELECT tapdata.create_view('ranks', '$query{ranks}', '{\"allow_full\": true}')");
	is($identity->(), 'd', 'its tables stay as they are');
	exact('new', 'ranks');
	execute('postgres', 'UPDATE tf SET v = v + id WHERE id < 4', 'DELETE FROM tf WHERE id = 5', 'INSERT INTO tf VALUES (100, 100)');
	exact('changes', 'ranks');
	is(value('postgres', q(SELECT count(*) FROM tapdata.log WHERE hint ~ 'public.tf REPLICA')), 0, 'nobody is told to change that');
	create('keys', 'SELECT id FROM tf WHERE id > 2');
	is($identity->(), 'd', 'nor beside another view: what it hears of them is that there are some');
	execute('postgres', 'UPDATE tf SET v = v + 1');
	exact('both', qw(ranks keys));
	execute('postgres', "SELECT tapdata.drop_view('keys')");
	is($identity->(), 'd', 'without it as before');
	execute('postgres', 'UPDATE tf SET v = v - 1, id = -id WHERE id < 10');
	exact('and again', 'ranks');
	ok(eventually(sub { value('postgres', q(SELECT (executed->'full'->>'ticks')::int FROM tapdata.views WHERE view = 'ranks'::regclass)) }), 'its ticks are told as full');
	is(value('postgres', q(SELECT jsonb_exists(executed, 'unknown') FROM tapdata.views WHERE view = 'ranks'::regclass)), 0, '... and not as unknown changes');
}

# ---- rows as columns, found by their hashes: what they lie in the index as is not what they are once their type is another one ----
{
	execute('postgres', 'CREATE TYPE pairs AS (a int, b text)', 'CREATE TABLE wk (id int PRIMARY KEY, v int, p pairs)', q{INSERT INTO wk SELECT i, i % 3, ROW(i, 'x')::pairs FROM generate_series(1, 30) i}, 'CREATE VIEW wo AS SELECT id, v FROM wk');
	create('rows_of_table', 'SELECT wk AS r FROM wk');
	create('rows_of_view', 'SELECT v, o FROM wo o');
	create('rows_of_type', 'SELECT p, v FROM wk');
	create('rows_by_key', 'SELECT id, wk AS r FROM wk');
	create('rows_in_groups', 'SELECT v, array_agg(o ORDER BY o.id) AS os FROM wo o GROUP BY v');
	create('rows_of_state', 'SELECT o, count(*) OVER (PARTITION BY v) AS n FROM wo o');
	my @rows = qw(rows_of_table rows_of_view rows_of_type rows_by_key rows_in_groups rows_of_state);
	exact('filled', @rows);
	for (['a table gets a column', 'ALTER TABLE wk ADD z int', 'UPDATE wk SET z = 3 WHERE id < 10'], ['a view does', 'CREATE OR REPLACE VIEW wo AS SELECT id, v, z FROM wk', 'UPDATE wk SET v = v + 1 WHERE id < 20'],
		['a type does', 'ALTER TYPE pairs ADD ATTRIBUTE c int', q{UPDATE wk SET p = ROW(1, 'y', 2)::pairs WHERE id > 20}], ['one more, and rows change at once', 'BEGIN', 'ALTER TABLE wk ADD y text', q{UPDATE wk SET y = 'y'}, 'DELETE FROM wk WHERE id = 5', 'COMMIT'],
		['a table loses one', 'CREATE OR REPLACE VIEW wo AS SELECT id, v, NULL::int AS z FROM wk', 'ALTER TABLE wk DROP COLUMN z', 'UPDATE wk SET v = v + 1 WHERE id < 15', 'DELETE FROM wk WHERE id = 7'], ['a type does', 'ALTER TYPE pairs DROP ATTRIBUTE b', 'UPDATE wk SET v = v - 1'])
	{
		my ($what, @sql) = @$_;
		execute('postgres', @sql);
		is(wait_for($_), '', "$what: $_ goes on") for @rows;
		exact($what, @rows);
		is(join(' ', map { value('postgres', "SELECT count(*) FROM tapdata.check_view('$_')") } @rows), join(' ', (0) x @rows), '... by check_view');
	}
	execute('postgres', "SELECT tapdata.refresh_view('$_')") for @rows;
	exact('refreshed', @rows);
	execute('postgres', 'DELETE FROM wk');
	exact('and emptied', @rows);
}

# ---- what stands in the way of DROP is said with the calls, whatever is dropped ----
{
	execute('postgres', 'CREATE SCHEMA under', 'CREATE TABLE under.t (id int PRIMARY KEY, a int)', 'CREATE VIEW under.one AS SELECT id, a FROM under.t', 'CREATE VIEW under.two AS SELECT id, a + 1 AS a FROM under.one',
		q{CREATE FUNCTION under.f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1'}, "CREATE TYPE under.mood AS ENUM ('a')", 'CREATE COLLATION under.c FROM "C"', 'CREATE VIEW under.free AS SELECT 1 AS a',
		q{SELECT tapdata.create_view('"by two"', 'SELECT a, count(*) AS n FROM under.two GROUP BY a')}, q{SELECT tapdata.create_view('by_by_two', 'SELECT count(*) AS n FROM "by two"')},
		q{SELECT tapdata.create_view('by_f', $$SELECT id, under.f(a) AS a, NULL::under.mood AS m, 'x' COLLATE under.c AS c FROM under.t$$)});
	wait_for($_) for qw(by_f by_by_two);    # a fill waits for locks, and DROP may meet a deadlock with it
	my $two = qr/drop_view\('public\.by_by_two'\); SELECT tapdata\.drop_view\('public\."by two"'\)/;
	for (['VIEW under.one', $two], ['VIEW under.two', $two], ['FUNCTION under.f', qr/drop_view\('public\.by_f'\)/], ['TYPE under.mood', qr/drop_view\('public\.by_f'\)/], ['COLLATION under.c', qr/drop_view\('public\.by_f'\)/],
		['SCHEMA under', qr/3 live views.*$two/], ['VIEW under.free, under.two', $two])
	{
		like(try_do(psql('postgres'), "DROP $_->[0]"), qr/^2BP01 .*HINT:.*$_->[1]/s, "DROP $_->[0]");
	}
	is(try_do(psql('postgres'), 'DROP VIEW under.free'), '', 'what nothing is made of goes');
	is(try_do(psql('postgres'), 'DROP SCHEMA under CASCADE'), '', 'and all of it with CASCADE');
	is(value('postgres', q{SELECT count(*) FROM tapdata.view WHERE table_name IN ('by two', 'by_by_two', 'by_f')}), 0, 'the views too');
}

# ---- more views than PostgreSQL lists: the hint counts all of them ----
{
	execute('postgres', 'CREATE DATABASE many');
	execute('many', 'CREATE EXTENSION tapdata', 'CREATE TABLE b (id int PRIMARY KEY, a int, x int)',
		q{SELECT tapdata.create_view(format('v%s', i), format('SELECT id, a FROM b WHERE a > %s', i)) FROM generate_series(1, 120) i},
		q{SELECT tapdata.create_view(format('w%s', i), format('SELECT a, stddev(x) AS s FROM b WHERE a > %s GROUP BY ROLLUP (a)', i), '{"allow_full": true}') FROM generate_series(1, 5) i});
	for my $drop ('EXTENSION tapdata', 'TABLE b', 'SCHEMA tapdata')
	{
		my $said = try_do(psql('many'), "DROP $drop");
		like($said, qr/^2BP01 .*HINT: .*125 live views are made of it: .*and so for 120 more/s, "DROP $drop: all of 125 views are counted");
	}
	TdProcs::close_all();
	ok(eventually(sub { try_do(psql('postgres'), 'DROP DATABASE many WITH (FORCE)') eq '' }, 30), 'gone');
}

# ---- whatever takes the extension along sets back what its views changed ----
execute('postgres', 'CREATE ROLE boss SUPERUSER');
for my $drop ('DROP EXTENSION tapdata CASCADE', 'DROP SCHEMA tapdata CASCADE', 'DROP OWNED BY boss CASCADE')
{
	execute('postgres', 'CREATE DATABASE gone');
	execute('gone', 'SET ROLE boss', 'CREATE EXTENSION tapdata', 'RESET ROLE', 'CREATE TABLE i (id int NOT NULL, a int)', 'CREATE UNIQUE INDEX i_id ON i (id)', 'ALTER TABLE i REPLICA IDENTITY USING INDEX i_id',
		'CREATE TABLE d (id int PRIMARY KEY, a int)', 'CREATE TABLE n (a int)', 'ALTER TABLE n REPLICA IDENTITY NOTHING', 'CREATE TABLE own (a int)', 'ALTER TABLE own REPLICA IDENTITY FULL',
		q{SELECT tapdata.create_view('v', 'SELECT i.a, d.a AS b, n.a AS c, own.a AS o FROM i, d, n, own WHERE i.id = d.id AND n.a = d.a AND own.a = d.a')});
	my $identities = q{SELECT string_agg(relname || relreplident::text, ' ' ORDER BY relname) FROM pg_class WHERE relname IN ('i', 'd', 'n', 'own')};
	is(value('gone', $identities), 'df if nf ownf', "$drop: views need old rows");
	is(try_do(psql('gone'), $drop), '', '... done');
	is(value('gone', $identities), 'dd ii nn ownf', '... and all is as it was');
	is(value('gone', "SELECT count(*) FROM pg_class WHERE relname = 'v'") . value('gone', "SELECT count(*) FROM pg_extension WHERE extname = 'tapdata'"), '00', '... without view and extension');
	TdProcs::close_all();
	ok(eventually(sub { try_do(psql('postgres'), 'DROP DATABASE gone WITH (FORCE)') eq '' }, 30), '... nothing holds the database');
}

# ---- an index that can be no identity any more keeps nobody from dropping the view ----
execute('postgres', 'CREATE TABLE weak (id int NOT NULL, a int)', 'CREATE UNIQUE INDEX weak_id ON weak (id)', 'ALTER TABLE weak REPLICA IDENTITY USING INDEX weak_id', q{SELECT tapdata.create_view('of_weak', 'SELECT a, count(*) AS n FROM weak GROUP BY a')},
	'ALTER TABLE weak ALTER id DROP NOT NULL');
is(try_do(psql('postgres'), "SELECT tapdata.drop_view('of_weak')"), '', 'dropped');
is(value('postgres', q{SELECT relreplident::text FROM pg_class WHERE relname = 'weak'}) . value('postgres', q{SELECT count(*) FROM tapdata.replica_identity WHERE table_name = 'weak'}), 'f0', 'it stays, and is not tried again');

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

# ---- while a view does not stream: its plan is that of before ----
execute('postgres', 'CREATE TABLE kin_rows (id int PRIMARY KEY, a int)', 'CREATE TABLE others (id int PRIMARY KEY, a int)', 'INSERT INTO kin_rows SELECT i, i % 5 FROM generate_series(1, 20) i', 'INSERT INTO others SELECT i, i FROM generate_series(1, 20) i',
	'CREATE VIEW kin AS SELECT id, a FROM kin_rows');
create('over_kin', 'SELECT q.id, (SELECT count(p.a) FROM kin p WHERE p.a = q.a) AS n FROM others q');
exact('over an ordinary view', 'over_kin');
{
	my $holder = psql('postgres', fresh => 1);
	$holder->begin_work;
	$holder->do('LOCK TABLE others');
	execute('postgres', "SELECT tapdata.refresh_view('over_kin')");
	ok(eventually(sub { value('postgres', q{SELECT status FROM tapdata.views WHERE view = 'over_kin'::regclass}) eq 'snapshot' }), 'it waits to be filled');
	execute('postgres', 'CREATE OR REPLACE VIEW kin AS SELECT id, a FROM kin_rows WHERE id > 10', 'UPDATE l SET v = v + 1');
	exact('a tick has seen another ordinary view', 'of_l');
	$holder->rollback;
	exact('filled', 'over_kin');
	execute('postgres', 'UPDATE others SET a = a % 5', 'UPDATE kin_rows SET a = 2 WHERE id IN (3, 5, 13)');
	exact('goes on by it', 'over_kin');
}

# ---- a function is another one while a view is filled, and then the old one again ----
sub new_twist { my ($n) = @_; execute('postgres', "CREATE OR REPLACE FUNCTION twist(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN \$1 * $n; END'"); return }
new_twist(1);
execute('postgres', q{CREATE FUNCTION slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.7); RETURN $1; END'}, 'CREATE TABLE f_rows (id int PRIMARY KEY)', 'INSERT INTO f_rows VALUES (1), (2), (3), (4)');
create('by_twist', 'SELECT id, slowly(id) AS s, twist(id) AS f FROM f_rows');
my $asleep = sub { value('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) };
ok(eventually($asleep), 'it is being filled');
new_twist(2);
sleep 1.5;
ok($asleep->(), 'it still is');
new_twist(1);
exact('filled', 'by_twist');
# ---- columns that only a condition, or nothing but the rows, read: a change of them is one, where no key and no condition tells (not DDL; a release nearly had it) ----
execute('postgres', 'CREATE TABLE cut (id int PRIMARY KEY, a int, o boolean)', 'INSERT INTO cut SELECT i, i % 3, true FROM generate_series(1, 9) i');
create('cut_rows', 'SELECT o FROM cut ORDER BY id DESC LIMIT 3 OFFSET 1');
$query{cut_whole} = 'SELECT id, row_number() OVER (ORDER BY id) AS n FROM cut WHERE a > 0 AND o';
execute('postgres', "SELECT tapdata.create_view('cut_whole', '$query{cut_whole}', '{\"allow_full\": true}')");
create('cut_key', 'SELECT id, (SELECT count(*) FROM cut d WHERE d.a = c.a AND d.o) AS n FROM cut c WHERE c.o');
exact('new', qw(cut_rows cut_whole cut_key));
execute('postgres', 'UPDATE cut SET o = false WHERE id IN (2, 8)');
exact('one column of them', qw(cut_rows cut_whole cut_key));
execute('postgres', 'UPDATE cut SET a = NULL WHERE id IN (3, 7)');
exact('another one', qw(cut_rows cut_whole cut_key));
finish();
done_testing();
