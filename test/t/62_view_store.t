# Nets, stores and 64-bit snapshots of src/view/maintain (test/unit/td_store_test): random signed deltas against the same done in SQL.
# TD_SEED chooses the random oracle's seed; TD_ROWS the size of what is measured.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use File::Copy;
use TdProcs;

my $top = "$FindBin::Bin/../..";
my $seed = $ENV{TD_SEED} // int(rand(1 << 31));
my $pg = start_server('stores', 'max_parallel_workers = 4', 'max_worker_processes = 16');
my $so = "$pg->{TD_PG_DATA}/../td_store_test.so";
system("make -s -C $top/test/unit/td_store_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_store_test does not build');
copy("$top/test/unit/td_store_test/td_store_test.so", $so) or BAIL_OUT("td_store_test.so: $!");
chmod 0755, $so;
my @psql = ("$pg->{TD_PG_BIN}/psql", '-qAtX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1');
execute('postgres', 'CREATE DATABASE unit');
execute('unit', 'CREATE EXTENSION tapdata');
is(system(@psql, '-d', 'unit', '-v', 'td_store_test=' . ($so =~ s/\.so$//r), '-f', "$top/test/unit/td_store_test/td_store_test.sql"), 0, 'td_store_test is there');
execute('unit', q{CREATE FUNCTION tapdata.row_hash(VARIADIC "any") RETURNS bigint LANGUAGE c IMMUTABLE PARALLEL SAFE AS '$libdir/tapdata', 'td_sql_row_hash'})
	unless value('unit', q{SELECT count(*) FROM pg_proc WHERE proname = 'row_hash'});
srand($seed);
diag("seed $seed");

# The message, detail and hint of an error, or ''.
sub failure
{
	my ($sql) = @_;
	return try_do(psql('unit'), $sql) =~ s/\n(CONTEXT|LINE).*//sr;
}

# ---- row_hash: by image, however a value is stored ----
my $hash = sub { value('unit', "SELECT tapdata.row_hash($_[0])") };
is($hash->('1, NULL, 2'), $hash->('1, NULL, 2'), 'equal');
isnt($hash->('1, NULL, 2'), $hash->('NULL, 1, 2'), 'nulls have a place');
isnt($hash->('1.0'), $hash->('1.00'), 'scale counts');
isnt($hash->(q{'ab'::text, 'c'::text}), $hash->(q{'a'::text, 'bc'::text}), 'values are told apart');
is($hash->('3000000000::oid, (-1)::int2, true, (-5)::int'), $hash->('(SELECT o FROM (SELECT 3000000000::oid o OFFSET 0) s), (-1)::int2, 1 = 1, (2 - 7)::int'),
	'by-value types');
execute('unit', 'CREATE TYPE pair AS (a text, n numeric)', 'CREATE TABLE stored (o oid, t text, c pair, a text[], ca pair[], p point, j json, x "char")',
	q{INSERT INTO stored SELECT 3000000000, repeat('tapdata ', 40000), row(repeat('x', 9000), 1.50)::pair, ARRAY[repeat('y', 9000), NULL],
		ARRAY[row(repeat('z', 9000), 2)::pair], '(1,2)', '{"a": 1}', 'q'});
is(value('unit', 'SELECT tapdata.row_hash(o, t, c, a, ca, p, j, x) FROM stored'),
	$hash->(q{3000000000::oid, repeat('tapdata ', 40000), row(repeat('x', 9000), 1.50)::pair, ARRAY[repeat('y', 9000), NULL],
		ARRAY[row(repeat('z', 9000), 2)::pair], point '(1,2)', json '{"a": 1}', 'q'::"char"}), 'stored and computed values have one hash');
execute('unit', 'CREATE TABLE inner_stored (c pair, ca pair[])', 'CREATE TABLE plain (t text)', q{INSERT INTO plain VALUES (repeat('x', 9000))},
	'INSERT INTO inner_stored SELECT row(t, 1)::pair, ARRAY[row(t, 1)::pair] FROM plain');
is(value('unit', 'SELECT tapdata.row_hash(c, ca) FROM inner_stored'),
	value('unit', q{SELECT tapdata.row_hash(row(repeat('x', 9000), 1)::pair, ARRAY[row(repeat('x', 9000), 1)::pair])}), 'compressed values within composites');
is($hash->(q{'a'::text COLLATE "C"}), '' . value('unit', q{SELECT tapdata.row_hash('a'::text)}), 'no collation');

is($hash->(q{NULL::int, 'tapdata'::text, 1.50, 7, true, '(1,2)'::point}), '2821114540757122817', 'and never changes: indexes hold it');

# ---- net ----
my $net = sub { my ($sql, @o) = @_; value('unit', "SELECT netted FROM ts.net(\$q\$$sql\$q\$" . join('', map { ", $_" } @o) . ')') };
is($net->('SELECT g % 10 AS k, 1::bigint AS w FROM generate_series(1, 1000) g'), 10, 'equal rows are one');
is($net->('SELECT g % 10 AS k, (CASE WHEN g > 500 THEN -1 ELSE 1 END)::bigint AS w FROM generate_series(1, 1000) g'), 0, 'or none');
is($net->('SELECT 0::bigint AS w'), 0, 'weight 0');
is($net->('SELECT 1::bigint AS w UNION ALL SELECT 3'), 1, 'rows without columns');
is($net->('SELECT NULL::int, 1::bigint UNION ALL SELECT 0, 1 UNION ALL SELECT NULL, 1'), 2, 'null is a value');
is($net->('SELECT 1.0, 1::bigint UNION ALL SELECT 1.00, -1'), 2, '1.0 is not 1.00');
is($net->(q{SELECT t, 1::bigint FROM stored UNION ALL SELECT repeat('tapdata ', 40000), -1}), 0, 'however it is stored');
is($net->(q{SELECT c, 1::bigint FROM inner_stored UNION ALL SELECT row(repeat('x', 9000), 1)::pair, -1}), 0, 'within composites too');
my $many = 'SELECT g % 70000 AS k, md5((g % 70000)::text) AS t, (CASE WHEN g % 70000 % 7 = 0 AND g > 70000 THEN -1 ELSE 1 END)::bigint AS w FROM generate_series(1, 140000) g';
is($net->($many, 1 << 20), 60000, 'in memory');
is($net->($many, $_, 'true'), 60000, "with $_ kB") for 64, 1024;
is($net->(q{SELECT repeat(chr(65 + g % 20), 1000000), (CASE WHEN g < 10 THEN 2 ELSE -1 END)::bigint FROM generate_series(0, 39) g}, 100), 20, 'big rows, little memory');
like(failure('SELECT ts.net($$SELECT 1, 9223372036854775807 UNION ALL SELECT 1, 1$$)'), qr/^22003 .*too many times/, 'weights do not overflow');
like(failure('SELECT ts.net($$SELECT 1, NULL::bigint$$)'), qr/weight of a row is null/, 'nor are they null');

# ---- deltas ----
is(rows('unit', 'SELECT * FROM ts.deltas($$SELECT g, g::text, 1::bigint FROM generate_series(1, 1000) g$$)'), '1000|1000|1', 'deltas are read twice');
is(rows('unit', q{SELECT * FROM ts.deltas($$SELECT g, repeat('x', 1000), 1::bigint FROM generate_series(1, 30000) g$$)}), '30000|30000|1', 'from disk as well');

# ---- stores: little things ----
my $apply = sub { my ($table, $keys, $sql, $kb) = @_; "SELECT netted FROM ts.apply('$table', '{$keys}', \$q\$$sql\$q\$, " . ($kb // 8192) . ')' };
execute('unit', 'CREATE TABLE k (id int, v text, x int) WITH (fillfactor = 50)', 'ALTER TABLE k DROP COLUMN x, ADD COLUMN n numeric', 'CREATE UNIQUE INDEX k_key ON k (id) NULLS NOT DISTINCT');
is(value('unit', q{SELECT ts.columns('k')}), 'id|v|n|tapdata$w', 'columns');
is(value('unit', $apply->('k', 1, q{SELECT g, 'v' || g, g / 2.0, 1::bigint FROM generate_series(1, 10) g UNION ALL SELECT NULL, 'none', NULL, 1})), 11, 'inserts');
is(rows('unit', q{SELECT ts.find('k', '{1}', 'SELECT 3'), ts.find('k', '{1}', 'SELECT 33'), ts.find('k', '{1}', 'SELECT NULL::int')}), '3|v3|1.5000000000000000|1||null|none|null|1', 'find');
is(value('unit', $apply->('k', 1, q{SELECT 1, 'v1', 0.5, -1::bigint UNION ALL SELECT 1, 'new', 0.5, 1 UNION ALL SELECT NULL, 'none', NULL, -1 UNION ALL SELECT NULL, 'one', 1, 1})), 4, 'updates');
is(rows('unit', 'SELECT * FROM k WHERE id = 1 OR id IS NULL ORDER BY id'), "1|new|0.5\n|one|1", 'are there');
my $report = qr/^XX001 .*view public\.k is not what it should be.*DETAIL:  /s;
like(failure($apply->('k', 1, q{SELECT 99, 'v', 1.0, -1::bigint})), qr/$report.*to delete is not there: \(id\)=\(99\)\..*HINT:  SELECT tapdata.refresh_view/s, 'nothing to delete');
like(failure($apply->('k', 1, q{SELECT 98, 'v', 1.0, -1::bigint UNION ALL SELECT 98, 'w', 1.0, 1})), qr/$report.*to update is not there: \(id\)=\(98\)/s, 'nothing to update');
like(failure($apply->('k', 1, q{SELECT 5, 'other', 1.0, 1::bigint})), qr/$report.*to insert is there.*\(id\)=\(5\)/s, 'a key that is there');
like(failure($apply->('k', 1, q{SELECT NULL::int, 'other', 1.0, 1::bigint})), qr/$report.*to insert is there.*\(id\)=\(null\)/s, 'also null');
like(failure($apply->('k', 1, q{SELECT 50, 'a', 1.0, 2::bigint})), qr/$report.*more than once: \(id\)=\(50\)/s, 'twice the same');
like(failure($apply->('k', 1, q{SELECT 50, 'a', 1.0, 1::bigint UNION ALL SELECT 50, 'b', 1.0, 1})), qr/$report.*more than once: \(id\)=\(50\)/s, 'two of one key');
is(failure($apply->('k', $_, q{SELECT 8, 'v8', 4.0, -1::bigint UNION ALL SELECT 8, 'v8', 4, 1})), '', "rows are found by the index that is there, not by ($_)") for 2, '';
execute('unit', 'CREATE TABLE bare (id int, v text)', 'CREATE UNIQUE INDEX ON bare (id)', "INSERT INTO bare VALUES (NULL, 'a'), (NULL, 'b')");
like(failure($apply->('bare', 2, q{SELECT 50, 'a', 1::bigint})), qr/^55000 .*no unique index on \(v\)/, 'no index: one that takes nulls as different finds no row');
like(failure($apply->('bare', '', q{SELECT 50, 'a', 1::bigint})), qr/^55000 .*no index to find its rows by/, 'no key and no index on the image');
execute('unit', 'CREATE UNIQUE INDEX k_v ON k (v)', 'ALTER TABLE k ADD CONSTRAINT positive CHECK (n > 0)');
like(failure($apply->('k', 1, q{SELECT 60, 'v5', 1.0, 1::bigint})), qr/^23505 .*k_v/, q{a user's unique index}) ;
like(failure($apply->('k', 1, q{SELECT 60, 'v60', -1.0, 1::bigint})), qr/^23514 .*positive/, 'a check constraint');
like(failure($apply->('k', 1, q{SELECT 5, 'v5', 2.5, -1::bigint UNION ALL SELECT 5, 'v5', -1, 1})), qr/^23514 .*positive/, 'of an update');
is(failure($apply->('k', 1, q{SELECT 5, 'v5', 2.5, -1::bigint UNION ALL SELECT 70, 'v5', 1, 1})), '', 'a unique value moves to a new row');
is(failure($apply->('k', 1, q{SELECT 6, 'v6', 3.0, -1::bigint UNION ALL SELECT 7, 'v7', 3.5, -1 UNION ALL SELECT 7, 'v6', 3.5, 1})), '', 'or to another one');
is(rows('unit', 'SELECT id, v FROM k WHERE id BETWEEN 5 AND 9 OR id = 70 ORDER BY 1'), "7|v6\n8|v8\n9|v9\n70|v5", 'all of it');
execute('unit', 'ALTER TABLE k ADD CONSTRAINT later UNIQUE (id, n) DEFERRABLE');
like(failure($apply->('k', 1, q{SELECT 60, 'v60', 1.0, 1::bigint})), qr/^55000 .*"later" of view public.k is deferrable/, 'a deferrable constraint');
execute('unit', 'CREATE TABLE one (n bigint, s numeric)');
is(value('unit', q{SELECT ts.find('one', '{}', 'SELECT 1')}) // 'none', 'none', 'a table of one row: none');
execute('unit', $apply->('one', '', 'SELECT 1::bigint, 2.5, 1::bigint'), $apply->('one', '', 'SELECT 1::bigint, 2.5, -1::bigint UNION ALL SELECT 2, 3.5, 1'));
is(value('unit', q{SELECT ts.find('one', '{}', 'SELECT 1')}), '2|3.5|1', 'the one');
like(failure($apply->('one', '', 'SELECT 1::bigint, 2.5, 1::bigint')), qr/^XX001 .*to insert is there/s, 'and no second one');
execute('unit', 'BEGIN', $apply->('one', '', 'SELECT 2::bigint, 3.5, -1::bigint UNION ALL SELECT 3, 3.5, 1'), $apply->('one', '', 'SELECT 3::bigint, 3.5, -1::bigint UNION ALL SELECT 4, 3.5, 1'), 'COMMIT');
is(rows('unit', 'SELECT * FROM one'), '4|3.5', 'twice in a transaction');
execute('unit', q{DO $$BEGIN
		PERFORM ts.apply('one', '{}', 'SELECT 4::bigint, 3.5, -1::bigint UNION ALL SELECT 5, 3.5, 1');
		FOR i IN 1 .. 3 LOOP
			BEGIN
				PERFORM ts.apply('one', '{}', 'SELECT 5::bigint, 3.5, -1::bigint UNION ALL SELECT 6, 3.5, 1');
				PERFORM ts.apply('k', '{1}', 'SELECT g, ''v'', 1.0, -1::bigint FROM generate_series(1, 1000) g');
			EXCEPTION WHEN data_corrupted OR object_not_in_prerequisite_state THEN NULL;
			END;
		END LOOP;
		PERFORM ts.apply('one', '{}', 'SELECT 5::bigint, 3.5, -1::bigint UNION ALL SELECT 7, 3.5, 1');
	END$$});
is(rows('unit', 'SELECT * FROM one'), '7|3.5', 'failures in subtransactions leave nothing');
execute('unit', 'CREATE VIEW no_table AS SELECT 1 AS a');
like(failure($apply->('no_table', 1, 'SELECT 1, 1::bigint')), qr/^42809/, 'a view is no table');

# somebody else writes
execute('unit', 'CREATE TABLE shared (id int PRIMARY KEY, v int)', 'INSERT INTO shared VALUES (1, 1)');
{
	my $tick = psql('unit', fresh => 1);
	$tick->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$tick->do('SELECT 1');
	execute('unit', 'UPDATE shared SET v = 2');
	like(try_do($tick, $apply->('shared', 1, 'SELECT 1, 1, -1::bigint UNION ALL SELECT 1, 5, 1')), qr/^40001 .*changed by somebody else/, 'a row changed by somebody else');
	$tick->disconnect;
}

# HOT: the key and a toasted column stay as they are stored
execute('unit', 'CREATE TABLE hot (id text PRIMARY KEY, big text, v int) WITH (fillfactor = 30)',
	q{INSERT INTO hot SELECT 'key number ' || g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 200) i), g FROM generate_series(1, 200) g});
execute('unit', 'VACUUM hot');
my ($toast) = value('unit', q{SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'hot'});
execute('unit', $apply->('hot', 1, 'SELECT id, big, v, -1::bigint FROM hot UNION ALL SELECT id, big, v + 1, 1 FROM hot'));
execute('unit', 'SELECT pg_stat_force_next_flush()');
ok(eventually(sub { rows('unit', q{SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'hot'}) eq '200|200' }), 'updates are HOT');
is(value('unit', q{SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'hot'}), $toast, 'and write no TOAST');
execute('unit', $apply->('hot', 1, 'SELECT id, big, 0, -1::bigint FROM hot UNION ALL SELECT id, big, v, 1 FROM hot'));
execute('unit', 'SELECT pg_stat_force_next_flush()');
is(rows('unit', q{SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'hot'}), '200', 'a row that stays is not written');

# ---- load ----
execute('unit', 'CREATE TABLE loaded (id int PRIMARY KEY, v text, n numeric)', 'CREATE INDEX ON loaded (tapdata.row_hash(id, v, n))', 'ALTER TABLE loaded ADD CHECK (id <> 77777777)',
	q{CREATE TABLE base AS SELECT g AS id, 'v' || g AS v, g / 4.0 AS n FROM generate_series(1, 300000) g}, 'ANALYZE base');
execute('unit', 'SET min_parallel_table_scan_size = 0', 'SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0');
is(value('unit', q{SELECT rows FROM ts.load('loaded', 'SELECT id, v, n FROM base WHERE id <= 500')}), 500, 'a small load');
like(failure(q{SELECT ts.load('loaded', 'SELECT id, v, n FROM base')}), qr/^55000 .*not empty/, 'into a table with rows');
execute('unit', 'TRUNCATE loaded');
like(join("\n", map { @$_ } @{ psql('unit')->selectall_arrayref('EXPLAIN SELECT id, v, n FROM base') }), qr/Gather/, 'a parallel plan');
is(value('unit', q{SELECT rows FROM ts.load('loaded', 'SELECT id, v, n FROM base')}), 300000, 'a large load');
is(value('unit', 'SELECT count(*) FROM loaded JOIN base USING (id, v, n)'), 300000, 'is whole');
execute('unit', 'SET enable_seqscan = off');
is(value('unit', 'SELECT count(*) FROM loaded WHERE id BETWEEN 100000 AND 100099'), 100, 'indexed');
is(value('unit', 'SELECT count(*) FROM loaded WHERE tapdata.row_hash(id, v, n) = (SELECT tapdata.row_hash(id, v, n) FROM base WHERE id = 7)'), 1, 'twice');
execute('unit', 'RESET enable_seqscan', 'TRUNCATE loaded');
like(failure(q{SELECT ts.load('loaded', 'SELECT 1 + id % 200000, v, n FROM base')}), qr/^23505/, 'two rows of one key in a large load');
like(failure(q{SELECT ts.load('loaded', 'SELECT 1 + id % 200, v, n FROM base')}), qr/^23505/, 'in a small one');
like(failure(q{SELECT ts.load('loaded', 'SELECT 77777777, v, n FROM base')}), qr/^23514/, 'a check constraint');
like(failure(q{SELECT ts.load('loaded', 'SELECT NULL::int, v, n FROM base')}), qr/^23502/, 'a null');
is(value('unit', 'SELECT count(*) FROM loaded'), 0, 'all of it rolled back');
execute('unit', 'BEGIN', q{SELECT ts.load('loaded', 'SELECT id, v, n FROM base')}, $apply->('loaded', 1, q{SELECT id, v, n, -1::bigint FROM base WHERE id % 3 = 0}), 'COMMIT');
is(value('unit', 'SELECT count(*) FROM loaded'), 200000, 'loaded and changed in one transaction');

# ---- the oracle ----
# m is the model: a plain table without an index, changed by plain SQL; t is the store.  Rows are compared as text.
my $columns = 'k1 int, k2 text, n numeric, j json, p point, big text, c pair, a text[], ca pair[], o oid, f float8, ts timestamptz, b bytea';
execute('unit', "CREATE TABLE model ($columns)", "CREATE TABLE fresh ($columns)", 'CREATE TABLE gone (at tid, times int)',
	q{CREATE FUNCTION big(g int) RETURNS text LANGUAGE sql AS $$SELECT CASE g % 40 WHEN 0 THEN repeat(md5(g::text), 32768)
		WHEN 1 THEN (SELECT string_agg(md5((g * 7919 + i)::text), '') FROM generate_series(1, 100) i) WHEN 2 THEN NULL ELSE repeat('b', g % 300) END$$});

# One random row; few different values, so that many are equal.
sub random_row
{
	my ($range) = @_;
	my $r = sub { int(rand($_[0])) };
	my $g = $r->($range);
	return join ', ', (rand() < 0.1 ? 'NULL' : $g), (rand() < 0.1 ? 'NULL' : qq{'key ' || } . $r->(3)),
		(qw(1.0 1.00 1 NULL 12345678901234567890.5 'NaN'))[ $r->(6) ], ((q{'{"a": 1}'}, q{'{"a":1}'}, 'NULL')[ $r->(3) ]) . '::json',
		((q{'(1,2)'}, q{'(0,0)'}, 'NULL')[ $r->(3) ]) . '::point', 'big(' . $r->(45) . ')', ("row(big($g), 1.0)::pair", 'row(NULL, NULL)::pair', 'NULL::pair')[ $r->(3) ],
		(q{'{}'::text[]}, 'ARRAY[NULL, big(' . $r->(45) . ')]', 'NULL::text[]')[ $r->(3) ], ("ARRAY[row(big(1), $g)::pair, NULL]", 'NULL::pair[]')[ $r->(2) ],
		(qw(1 3000000000 4294967295))[ $r->(3) ] . '::oid', (q{'-0'}, 0, q{'NaN'}, 0.1)[ $r->(4) ] . '::float8', q{'2026-01-01'::timestamptz}, q{'\\\\x00ff'::bytea} =~ s/\\\\/\\/r;
}

# with little memory a delta is applied in parts
sub memory
{
	my ($memory) = @_;
	execute('unit', "ALTER SYSTEM SET tapdata.worker_memory = '$memory'", 'SELECT pg_reload_conf()');
	return eventually(sub { value('unit', 'SHOW tapdata.worker_memory') eq $memory });
}

my $all = 'k1, k2, n, j, p, big, c, a, ca, o, f, ts, b';
my $same = sub {
	my ($t) = @_;
	my $text = sub { "SELECT md5($_[0]::text || coalesce(k2, '')) FROM $_[0]" };
	return value('unit', "SELECT (SELECT count(*) FROM (" . $text->('model') . ' EXCEPT ALL ' . $text->($t) . ') x) + (SELECT count(*) FROM (' . $text->($t) . ' EXCEPT ALL ' . $text->('model') . ') x)');
};
ok(memory('1MB'), 'little memory');
for my $kind ('keyed', 'bag')
{
	my $keys = $kind eq 'keyed' ? '1, 2' : '';
	execute('unit', "CREATE TABLE $kind ($columns) WITH (fillfactor = 70)", 'TRUNCATE model', $kind eq 'keyed' ? 'CREATE UNIQUE INDEX ON keyed (k2, k1) NULLS NOT DISTINCT'
		: "CREATE INDEX ON bag (tapdata.row_hash($all))");
	execute('unit', 'CREATE INDEX ON keyed (n)') if $kind eq 'keyed';
	my $differences = 0;
	for my $round (1 .. ($ENV{TD_ROUNDS} // 25))
	{
		my $range = $round % 5 == 0 ? 400 : 40;
		my $number = $round % 5 == 0 ? 300 : 30;
		execute('unit', 'TRUNCATE fresh, gone', 'INSERT INTO gone SELECT ctid, 1 FROM model ORDER BY random() LIMIT ' . int(rand($number)));
		execute('unit', map { 'INSERT INTO fresh VALUES (' . random_row($range) . ')' } 1 .. int(rand($number)));
		# some of what goes comes back changed, some of it as it was
		execute('unit', 'INSERT INTO fresh SELECT k1, k2, n + 1, j, p, big, c, a, ca, o, f, ts, b FROM model WHERE ctid IN (SELECT at FROM gone WHERE random() < 0.5)',
			'INSERT INTO fresh SELECT * FROM model WHERE ctid IN (SELECT at FROM gone WHERE random() < 0.1)');
		execute('unit', 'DELETE FROM fresh a USING fresh b WHERE a.ctid > b.ctid AND (a.k1, a.k2) IS NOT DISTINCT FROM (b.k1, b.k2)',
			'DELETE FROM fresh f USING model m WHERE (f.k1, f.k2) IS NOT DISTINCT FROM (m.k1, m.k2) AND NOT EXISTS (SELECT FROM gone WHERE at = m.ctid)') if $kind eq 'keyed';
		my $memory = (64, 256, 8192)[ $round % 3 ];
		my $delta = "SELECT $all, 1::bigint FROM fresh UNION ALL SELECT $all, -1 FROM model WHERE ctid IN (SELECT at FROM gone)"
			. " UNION ALL SELECT $all, w FROM fresh, (VALUES (-3::bigint), (3)) x(w)";
		execute('unit', $apply->($kind, $keys, $delta, $memory), 'DELETE FROM model WHERE ctid IN (SELECT at FROM gone)', 'INSERT INTO model SELECT * FROM fresh');
		$differences += my $now = $same->($kind);
		diag("$kind: round $round: $now differences") if $now;
		last if $now;
	}
	is($differences, 0, "$kind: " . value('unit', 'SELECT count(*) FROM model') . " rows after random deltas, seed $seed");
}
like(failure($apply->('bag', '', "SELECT 1, 'no such', 1.0, '{}'::json, NULL::point, repeat('long', 1000), NULL::pair, NULL::text[], NULL::pair[], 1::oid, 1::float8, now(), '\\x'::bytea, -1::bigint")),
	qr/^XX001 .*to delete is not there: \(k1, k2, .*\)=\(1, no such, /s, 'a row that is not in the bag');
execute('unit', 'CREATE TABLE dup (a int)', 'CREATE INDEX ON dup (tapdata.row_hash(a))', $apply->('dup', '', 'SELECT 1, 5::bigint UNION ALL SELECT NULL, 2'));
execute('unit', $apply->('dup', '', 'SELECT 1, -3::bigint UNION ALL SELECT NULL, 1'));
is(rows('unit', 'SELECT a, count(*) FROM dup GROUP BY a ORDER BY a'), "1|2\n|3", 'copies');
like(failure($apply->('dup', '', 'SELECT 1, -3::bigint')), qr/^XX001/, 'fewer copies than are to go');

memory('64MB');

# many columns: the hash of hashes, since a function has 100 arguments at most
my @c = map { "c$_" } 1 .. 300;
execute('unit', 'CREATE TABLE wide (' . join(', ', map { "$_ text" } @c) . ')',
	'CREATE INDEX ON wide (tapdata.row_hash(' . join(', ', map { my $i = $_; 'tapdata.row_hash(' . join(', ', @c[ $i * 75 .. $i * 75 + 74 ]) . ')' } 0 .. 3) . '))');
my $wide = sub { my ($n, $w) = @_; 'SELECT ' . join(', ', map { $_ % 7 == $n ? 'NULL::text' : "'value $_ of $n'::text" } 1 .. 300) . ", ${w}::bigint" };
execute('unit', $apply->('wide', '', $wide->(1, 2) . ' UNION ALL ' . $wide->(2, 1)), $apply->('wide', '', $wide->(1, -1) . ' UNION ALL ' . $wide->(3, 1)));
is(rows('unit', q{SELECT count(*), count(c1), count(c2) FROM wide}), '3|2|2', '300 columns');

# ---- snapshots ----
is(rows('unit', 'SELECT ts.seen_now() = pg_current_snapshot()::text'), 1, 'as pg_current_snapshot');
{
	my @open = map { psql('unit', fresh => 1) } 1 .. 5;
	for (@open) { $_->begin_work; $_->do('SELECT pg_current_xact_id(); SAVEPOINT a; CREATE TABLE s' . $_->{pg_pid} . ' (); RELEASE a') }
	$open[$_]->rollback for 1, 3;
	my ($seen, $now) = psql('unit')->selectrow_array('SELECT ts.seen_now(), pg_current_snapshot()::text');
	is($seen, $now, "with open transactions: $now");
	my @xip = split /,/, (split /:/, $now)[2];
	is(scalar @xip, 2, 'two of the three are before xmax');
	is(value('unit', "SELECT bool_and(ts.sees('$seen', x) = pg_visible_in_snapshot(x::text::xid8, '$seen')) FROM generate_series($xip[0] - 5, $xip[-1] + 5) x"), 1, 'sees what it sees');
	$_->rollback for @open[ 0, 2, 4 ];
	$_->disconnect for @open;
}
my $text = sub { failure(qq{SELECT ts.seen_text('$_[0]')}) };
is(value('unit', qq{SELECT ts.seen_text('$_')}), $_, "reads $_") for '10:20:10,14,19', '3:3:', '18446744073709551614:18446744073709551615:18446744073709551614', '1:5:1,2,3,4';
like($text->($_), qr/^22P02 .*invalid snapshot/, "refuses '$_'")
	for '', '1', '1:', '1:2', ':2:', '2:1:', '0:1:', '1:5:5', '2:5:1', '1:5:2,2', '1:5:3,2', '1:5:2,', '1:5:,2', '1:5:2,,3', '1:5:2x', '1:5:2 ', ' 1:5:2', '-1:5:', '1:5:+2', '1:18446744073709551616:', '1:99999999999999999999999:', '1:5:2:3';
is(value('unit', "SELECT string_agg(left(ts.sees('10:20:10,14,19', x)::text, 1), '' ORDER BY x) FROM generate_series(9, 21) x"), 'tftttfttttfff', 'sees');
# an epoch later, with ids of the epoch before
server('stop');
is(system('setpriv', ($> == 0 ? ('--reuid=tapdata', '--regid=tapdata', '--clear-groups') : ()), "$pg->{TD_PG_BIN}/pg_resetwal", '-e', '1', $pg->{TD_PG_DATA}) >> 8, 0, 'pg_resetwal');
server('start');
psql('unit', fresh => 1)->disconnect;
is(value('unit', 'SELECT ts.seen_of(4294967280, 100, ARRAY[50, 4294967290, 4294967285])'), '4294967280:4294967396:4294967285,4294967290,4294967346', 'ids before and after wraparound');
is(value('unit', 'SELECT ts.seen_of(100, 101, ARRAY[100])'), '4294967396:4294967397:4294967396', 'after it');
is(rows('unit', 'SELECT ts.seen_now() = pg_current_snapshot()::text'), 1, 'as pg_current_snapshot');

# ---- speed, by CPU time ----
my $million = $ENV{TD_ROWS} // 200000;
my $rate = sub { my ($n, $ms) = @_; sprintf '%.2f M rows/s', $n / 1000 / ($ms || 1) };
my ($n1, $ms1, $ms2) = psql('unit')->selectrow_array("SELECT * FROM ts.net('SELECT g AS id, g % 100 AS v, 1::bigint FROM generate_series(1, $million) g', 1000000, true)");
diag("net: " . $rate->($million, $ms1) . ', normalized already: ' . $rate->(2 * $million, $ms2));
($n1, $ms1) = psql('unit')->selectrow_array("SELECT * FROM ts.net('SELECT g % 1000 AS id, g % 100 AS v, (CASE WHEN g % 2000 < 1000 THEN 1 ELSE -1 END)::bigint FROM generate_series(1, $million) g', 1000000)");
diag("net, few keys: " . $rate->($million, $ms1));
($n1, $ms1) = psql('unit')->selectrow_array("SELECT * FROM ts.net('SELECT g AS id, g % 100 AS v, 1::bigint FROM generate_series(1, $million) g', 8192)");
diag("net, 8 MB: " . $rate->($million, $ms1));
execute('unit', 'CREATE TABLE speed (id int PRIMARY KEY, v int, t text) WITH (fillfactor = 45)');
my @speed = ([ 'insert', "SELECT g, 1, 'text ' || g, 1::bigint FROM generate_series(1, $million) g" ],
	[ 'update', "SELECT g, w, 'text ' || g, (2 * w - 3)::bigint FROM generate_series(1, $million) g, generate_series(1, 2) w" ],
	[ 'delete', "SELECT g, 2, 'text ' || g, -1::bigint FROM generate_series(1, $million) g" ]);
for my $what (@speed)
{
	my (undef, $net_ms, $ms) = psql('unit')->selectrow_array("SELECT * FROM ts.apply('speed', '{1}', ?, 1000000)", undef, $what->[1]);
	diag("keyed $what->[0]: " . $rate->($million, $ms));
}
is(value('unit', 'SELECT count(*) FROM speed'), 0, 'all gone');
execute('unit', 'CREATE TABLE speed_bag (id int, v int, t text)', 'CREATE INDEX ON speed_bag (tapdata.row_hash(id, v, t))');
for my $weight (1, -1)
{
	my (undef, undef, $ms) = psql('unit')->selectrow_array("SELECT * FROM ts.apply('speed_bag', '{}', ?, 1000000)", undef, $speed[0][1] =~ s/1::bigint/($weight)::bigint/r);
	diag("bag, weight $weight: " . $rate->($million, $ms));
}
is(value('unit', 'SELECT count(*) FROM speed_bag'), 0, 'all gone');
my ($rows, $ms) = psql('unit')->selectrow_array("SELECT * FROM ts.load('speed', 'SELECT g, 1, ''text '' || g FROM generate_series(1, $million) g')");
diag("load: " . $rate->($rows, $ms));

my @leaks = map { /WARNING:.*(leak|still referenced|not closed)/ ? $_ : () } split /\n/, `$top/test/servers/pg log stores`;
is("@leaks", '', 'nothing was left open');
server('drop');
done_testing();
