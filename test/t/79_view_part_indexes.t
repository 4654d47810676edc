# The indexes by which the rest of a query, and other parts, find rows of a part: made with the view, on its parts, since nobody else can make them.
#
# What it proves: all that explain_query would want on parts is there, once; a tick reads by them; no value is too long for one of them; they come along
# with or_replace and in a dump, and go with the view.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use Time::HiRes qw(sleep time);

my $pg = start_server('partindexes', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE bob LOGIN', 'GRANT CREATE ON SCHEMA public TO bob', 'CREATE TYPE pair AS (a int, b text)',
	'CREATE TABLE customers (id int PRIMARY KEY, name text, region varchar(20), score numeric(12,2))', 'CREATE TABLE orders (id int PRIMARY KEY, customer_id int, amount numeric(12,2), code text)',
	'CREATE TABLE items (id int PRIMARY KEY, order_id int, tags text[])',
	'CREATE TABLE odd (id int PRIMARY KEY, v tsvector, x xid, p pair, m money, r int4range, d varchar(30), n numeric, t text, u text)', 'CREATE TABLE odd2 (LIKE odd INCLUDING ALL)',
	'GRANT ALL ON ALL TABLES IN SCHEMA public TO bob', (map { "ALTER TABLE $_ REPLICA IDENTITY FULL" } qw(customers orders items odd odd2)),
	q{INSERT INTO customers SELECT i, 'name ' || i, 'region ' || i % 10, i FROM generate_series(1, 300) i}, q{INSERT INTO orders SELECT i, i % 290, i % 17, 'code ' || i % 40 FROM generate_series(1, 900) i},
	q{INSERT INTO items SELECT i, i % 850, ARRAY['name ' || i % 7, 'name ' || i] FROM generate_series(1, 1200) i});

# What is there on parts of a view, but what finds their own rows: "p1 (a)", "p1 USING hash (a)".
sub found_by
{
	my ($view, $db) = @_;
	return rows($db || 'postgres', "SELECT substring(i.indrelid::regclass::text FROM '_(p[0-9]+)\$') || ' ' || replace(substring(pg_get_indexdef(i.indexrelid) FROM '(USING .*)'), 'USING btree ', '')
		FROM pg_index i JOIN tapdata.view p ON p.relation = i.indrelid JOIN tapdata.view v ON v.id = p.part_of WHERE v.table_name = '$view' AND i.indexrelid::regclass::text ~ '_found_idx' ORDER BY 1") =~ s/\n/; /gr;
}

# Rows of an explanation about indexes on parts that are not "present".
sub missing { my ($call, $dbh, @args) = @_; return join '; ', map { join ' | ', @$_ } @{ ($dbh || psql('postgres'))->selectall_arrayref("SELECT * FROM tapdata.$call WHERE node ~ 'index on tapdata_parts' AND strategy <> 'present'", undef, @args) } }

# ---- what is made ----
my $by_customer = 'SELECT customer_id, sum(amount) AS t FROM orders GROUP BY customer_id';
my @listed = (
	# the key of a group finds its row: nothing more
	['grouped', "WITH x AS ($by_customer) SELECT c.id, c.region, x.t FROM x JOIN customers c ON c.id = x.customer_id WHERE x.t > (SELECT avg(t) FROM x)", 'p1 (t)'],
	['two_columns', 'WITH x AS (SELECT customer_id, code, count(*) AS n FROM orders GROUP BY customer_id, code) SELECT c.id, x.n FROM x JOIN customers c ON c.id = x.customer_id AND c.name = x.code WHERE x.n > (SELECT avg(n) FROM x)', ''],
	['second_column', 'WITH x AS (SELECT customer_id, code, count(*) AS n FROM orders GROUP BY customer_id, code) SELECT c.id, x.n FROM x JOIN customers c ON c.name = x.code WHERE x.n > (SELECT avg(n) FROM x)', 'p1 (code)'],
	['unlike_key', "WITH x AS ($by_customer) SELECT c.id, x.t FROM x JOIN customers c ON c.id = x.customer_id AND c.score = x.t", ''],
	['by_sum', "WITH x AS ($by_customer) SELECT c.id, x.t FROM x JOIN customers c ON c.score = x.t", 'p1 (t)'],
	['most', "SELECT max(t) AS most, min(t) AS least FROM ($by_customer) x", 'p1 (t)'],
	['full_joins', 'SELECT c.id, o.id AS o, i.id AS i FROM customers c FULL JOIN orders o ON o.customer_id = c.id FULL JOIN items i ON i.order_id = o.id', 'p1 ("tapdata$2")'],
	['elements', 'SELECT x.id, count(c.id) AS n FROM (SELECT id, unnest(tags) AS t FROM items) x JOIN customers c ON c.name = x.t GROUP BY x.id', 'p1 USING hash (t)'],
	['windows', 'SELECT id, sum(l) OVER (PARTITION BY code ORDER BY id) AS s FROM (SELECT id, code, lag(amount) OVER (PARTITION BY customer_id ORDER BY id) AS l FROM orders) q', 'p1 USING hash (code)'],
	['elsewhere', 'SELECT id FROM customers WHERE id IN (SELECT count(*) FROM orders GROUP BY customer_id)', 'p1 (count)'],
	['sets', 'SELECT customer_id, code, count(*) AS n FROM orders GROUP BY GROUPING SETS ((customer_id), (code), ())', 'p3 (customer_id)'],    # always null there: for a key that is not, nothing is read
	['twice', "WITH x AS ($by_customer) SELECT a.customer_id, b.customer_id AS other FROM x a JOIN x b ON b.t = a.t", 'p1 (t)'],
	['firsts', 'SELECT c.id, d.id AS d FROM customers c JOIN (SELECT id, score FROM customers ORDER BY score DESC, id LIMIT 500) d ON d.score = c.score', 'p2 (score)'],
);
for (@listed)
{
	my ($view, $query, $indexes) = @$_;
	is(missing('explain_query($1)', undef, $query), '', "$view: explain_query misses nothing");
	execute('postgres', "SELECT tapdata.create_view('$view', \$q\$$query\$q\$)");
	is(found_by($view), $indexes, "$view: what is made");
	is(missing("explain_view('$view')"), '', "$view: nor does explain_view");
}
# of types that are longer than an entry, or have no order, or neither
for (['v', ''], ['p', 'p1 USING hash (v)'], ['m', 'p1 (v)'], ['r', 'p1 USING hash (v)'], ['d', 'p1 (v)'], ['n', 'p1 (v)'], ['t', 'p1 USING hash (v)'])
{
	my ($column, $indexes) = @$_;
	my $query = "SELECT a.id, q.i FROM odd2 a JOIN (SELECT o.id AS i, p.id AS j, o.$column AS v FROM odd o FULL JOIN odd2 p ON p.id = o.id) q ON q.v = a.$column";
	my $view = "odd_$column";
	execute('postgres', "SELECT tapdata.create_view('$view', '$query')");
	is(found_by($view), $indexes, "by a column of type $column");
	(my $said = missing('explain_query($1)', undef, $query)) =~ s/tapdata_parts\.\w+//g;
	like($said, $indexes ? qr/^$/ : qr/^ *index on  \(v\) \| scan \| to find its rows .*; no index is sure to take all values of these columns: it is read whole$/, '... and what explain_query says');
}
execute('postgres', q{SELECT tapdata.create_view('greatest_text', 'WITH x AS (SELECT i.id, o.id AS o, o.code FROM items i FULL JOIN orders o ON o.id = i.order_id) SELECT c.id, x.o, (SELECT max(code) FROM x) AS most FROM customers c JOIN x ON x.code = c.name')});
is(found_by('greatest_text'), 'p1 USING hash (code)', 'equal text is found by its hash');
like(missing("explain_view('greatest_text')"), qr/^ *index on tapdata_parts\.v\d+_p1 \(code\) \| scan \| to compute a group anew; no index is sure to take all values of these columns: it is read whole$/, '... the greatest is not');
execute('postgres', q{SELECT tapdata.create_view('first_few', 'SELECT c.id, d.id AS d FROM customers c JOIN (SELECT id, score FROM customers ORDER BY score DESC, id LIMIT 50) d ON d.score = c.score')});
is(found_by('first_few'), '', 'of fifty rows none is made');
like(missing("explain_view('first_few')"), qr/^ *index on tapdata_parts\.v\d+_p2 \(score\) \| scan \| to find its rows for changes of r1; there is none, as it has few rows, or many to a value: it is read whole$/, '... and explain_view says so');
execute('postgres', 'CREATE TABLE states (id int PRIMARY KEY, s text)', 'CREATE TABLE regions (s text PRIMARY KEY)', q{INSERT INTO states SELECT i, 'state ' || i % 3 FROM generate_series(1, 6000) i}, 'ANALYZE states',
	q{SELECT tapdata.create_view('alike', 'SELECT r.s, q.i FROM regions r JOIN (SELECT o.id AS i, p.id AS j, o.s FROM states o FULL JOIN states p ON p.id = o.id) q ON q.s = r.s')});
is(found_by('alike'), '', 'no hash of text that thousands of rows have');
execute('postgres', q{SELECT tapdata.create_view('odd_two', 'SELECT a.id, q.i FROM odd2 a JOIN (SELECT o.id AS i, p.id AS j, o.t AS v, o.m AS w FROM odd o FULL JOIN odd2 p ON p.id = o.id) q ON q.v = a.t AND q.w = a.m')});
is(found_by('odd_two'), 'p1 (w); p1 USING hash (v)', 'several, one of which may be long');

# ---- by an ordinary role ----
my $bob = psql('postgres', fresh => 1, user => 'bob');
is(try_do($bob, "SELECT tapdata.create_view('bobs', 'SELECT x.id, count(c.id) AS n FROM (SELECT id, unnest(tags) AS t FROM items) x JOIN customers c ON c.name = x.t GROUP BY x.id')"), '', 'a role that owns nothing else');
is(found_by('bobs'), 'p1 USING hash (t)', 'has them, too');
is(missing("explain_view('bobs')", $bob), '', '... and sees them');
like(try_do(psql('postgres'), 'DROP INDEX tapdata_parts.' . value('postgres', q{SELECT relname FROM pg_class WHERE relname ~ '_found_idx' LIMIT 1})), qr/cannot drop index .* because .* requires it/, 'nobody drops one alone');

# ---- values that are too long for a btree ----
my @all = (map({ $_->[0] } @listed), map({ "odd_$_" } qw(v p m r d n t two)), 'bobs', 'first_few', 'greatest_text', 'alike');
sub inexact { my ($db) = @_; return join "\n", grep { $_ } map { my $v = $_; value($db, "SELECT tapdata.wait_view('$v', '60 s')"); my $n = value($db, "SELECT count(*) FROM tapdata.check_view('$v')"); $n && "$v: $n" } @all }
is(inexact('postgres'), '', 'exact');
execute('postgres', q{CREATE FUNCTION long() RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i$$},
	q{INSERT INTO customers VALUES (1000, long(), 'x', 5)}, q{INSERT INTO items VALUES (5000, 1, ARRAY[long(), 'name 3'])},
	q{INSERT INTO odd VALUES (1, to_tsvector('simple', 'a b'), '5', ROW(1, long()), 5, '[1,3)', 'abc', 1.50, long(), 'u'), (2, 'c', '6', ROW(2, 'b'), 6, '[2,3)', 'abd', 2.5, 't', NULL)},
	q{INSERT INTO odd2 VALUES (1, to_tsvector('simple', 'a b'), '5', ROW(1, long()), 5, '[1,3)', 'abc', 1.5, long(), 'u'), (3, 'c', '6', ROW(2, 'b'), 6, '[2,3)', 'abd', 2.50, 't', NULL)});
is(inexact('postgres'), '', 'exact, with values of 16 kB');
execute('postgres', q{UPDATE odd SET t = long() || id, p = ROW(3, long() || id)}, q{UPDATE odd2 SET t = long() || 2 WHERE id = 3}, 'DELETE FROM odd2 WHERE id = 1', q{UPDATE customers SET name = long() || 1 WHERE id = 1000},
	q{UPDATE items SET tags = tags || (long() || 1) WHERE id % 100 = 0}, 'DELETE FROM orders WHERE id % 50 = 0', 'UPDATE orders SET amount = amount + 1 WHERE id % 30 = 0');
is(inexact('postgres'), '', 'and when they change');
is(value('postgres', q{SELECT count(*) FROM tapdata.views WHERE status <> 'streaming'}), 0, 'all stream');

# ---- a tick finds rows by them ----
execute('postgres', 'CREATE TABLE l (id int PRIMARY KEY, k int, s text)', 'CREATE TABLE r (id int PRIMARY KEY, k int)', 'CREATE TABLE few (id int PRIMARY KEY, code int, name text)',
	q{INSERT INTO l SELECT i, i, 's ' || i FROM generate_series(1, 120000) i}, 'INSERT INTO r SELECT i, i + 60000 FROM generate_series(1, 120000) i', q{INSERT INTO few SELECT i, i, 's ' || i FROM generate_series(1, 100) i},
	'CREATE INDEX ON l (k)', 'CREATE INDEX ON r (k)', 'ANALYZE l, r, few',
	"SELECT tapdata.create_view('by_code', 'SELECT l.id AS l, r.id AS r, few.id AS few FROM l FULL JOIN r ON r.k = l.k FULL JOIN few ON few.code = r.id')",
	"SELECT tapdata.create_view('by_name', 'SELECT few.id AS few, q.l, q.r FROM few JOIN (SELECT l.id AS l, r.id AS r, l.s FROM l FULL JOIN r ON r.k = l.k) q ON q.s = few.name')");
my $id = 200;
for my $view (qw(by_code by_name))
{
	value('postgres', "SELECT tapdata.wait_view('$view', '60 s')");
	my $part = value('postgres', "SELECT p.relation::regclass FROM tapdata.view p JOIN tapdata.view v ON v.id = p.part_of WHERE v.table_name = '$view'");
	cmp_ok(value('postgres', "SELECT count(*) FROM $part"), '>', 100000, "$view: its part is large");
	my $read = "SELECT seq_tup_read FROM pg_stat_all_tables WHERE relid = '$part'::regclass";
	my $used = "SELECT count(*) FROM pg_stat_all_indexes WHERE relid = '$part'::regclass AND indexrelname ~ '_found_idx' AND idx_scan > 0";
	my $settled = sub { sleep 1.2; execute('postgres', 'SELECT pg_stat_clear_snapshot()'); return 0 + value('postgres', $_[0]) };
	my $before = $settled->($read);
	for (1 .. 12)
	{
		execute('postgres', "UPDATE few SET code = code + 1, name = 's ' || (id + $_)", "INSERT INTO few VALUES (" . $id++ . ", 500, 's 70000')");
		value('postgres', "SELECT tapdata.wait_view('$view', '60 s')");
	}
	is($settled->($used), 1, "$view: a tick reads by the index");
	cmp_ok($settled->($read) - $before, '<', 600000, '... and not the part as a whole each time');
	is(value('postgres', "SELECT count(*) FROM tapdata.check_view('$view')"), 0, 'exact');
}

# ---- another definition ----
execute('postgres', q{SELECT tapdata.create_view('elements', 'SELECT x.id, count(c.id) AS n FROM (SELECT id, unnest(tags) AS t FROM items) x JOIN customers c ON c.name = x.t AND c.id > 1 GROUP BY x.id', or_replace => true)});
value('postgres', q{SELECT tapdata.wait_view('elements', '60 s')});
is(found_by('elements'), 'p1 USING hash (t)', 'a new definition brings its own along, and takes the old ones away');

# ---- a restored dump ----
push @all, qw(by_code by_name);
my %before = map { $_ => found_by($_) } @all;
execute('postgres', 'CREATE DATABASE restored');
my $host = "-h $pg->{PGHOST} -p $pg->{PGPORT} -U postgres";
is(qx{$pg->{TD_PG_BIN}/pg_dump $host postgres 2>&1 >$pg->{PGHOST}/dump.sql; $pg->{TD_PG_BIN}/psql $host -qXAt -o /dev/null -f $pg->{PGHOST}/dump.sql restored 2>&1}, '', 'a dump is made and restored');
is(try_do(psql('restored'), 'SELECT tapdata.adopt_database()'), '', 'adopted');
is_deeply({ map { $_ => found_by($_, 'restored') } @all }, \%before, 'with the same indexes');
is(inexact('restored'), '', 'exact there');
like(try_do(psql('restored'), 'DROP INDEX tapdata_parts.' . value('restored', q{SELECT relname FROM pg_class WHERE relname ~ '_found_idx' LIMIT 1})), qr/cannot drop index .* because .* requires it/, 'and they can not be dropped');

# ---- nothing is left behind ----
for my $db (qw(restored postgres)) { execute($db, "SELECT tapdata.drop_view('$_')") for @all; is(value($db, q{SELECT count(*) FROM pg_class WHERE relnamespace = 'tapdata_parts'::regnamespace}), 0, "$db: all are dropped") }
finish();
done_testing();
