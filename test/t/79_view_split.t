# Queries that are kept as several: each rule of analyze/split_rules.c, exact under four writers, and by plain SQL when they have stopped.
# Then what becomes of the hidden parts: refresh, drop, other owners and names, a part that fails, kill -9, a restored dump.
#
# TD_SEED=n repeats a run; TD_SPLIT_SECONDS makes it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(make_tables start_churn stop_churn inexact unequal wait_views);
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TD_SPLIT_SECONDS} || 12;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
srand $seed;
my $pg = start_server('split', 'max_prepared_transactions = 20', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE bob LOGIN', 'CREATE TABLE g (id int PRIMARY KEY, v int, w int)');
my $connect = sub { psql('postgres', fresh => 1) };

# rule => [parts, query]
my $by_b = 'SELECT t2.b, count(*) AS n, sum(t1.x) AS x, min(t2.n) AS m FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id GROUP BY t2.b';
my @queries = (
	from => [1, 'SELECT k, count(*) AS n FROM (SELECT t1.id, count(t3.id) AS k FROM s.t1 LEFT JOIN s.t3 ON t3.id = t1.id GROUP BY t1.id) q GROUP BY k'],
	from => [1, 'SELECT * FROM (WITH q AS (SELECT t1.id, count(t2.k) AS k, t1.a FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id GROUP BY t1.id) SELECT u.k + v.a AS k, count(*) AS n FROM q u JOIN q v ON u.id = v.a WHERE v.k > 0 GROUP BY u.k + v.a) z'],
	scalar => [1, 'SELECT id, n FROM s.t1 WHERE x > (SELECT avg(x) FROM s.t1)'],
	scalar => [2, 'SELECT id, x - (SELECT max(x) FROM s.t1) AS y, a FROM s.t1 WHERE x > (SELECT avg(x) FROM s.t1)'],
	groups => [2, 'SELECT a, sum(n) AS n FROM s.t1 GROUP BY a HAVING sum(n) > (SELECT sum(n) * 0.05 FROM s.t1)'],
	groups => [1, 'SELECT t2.b, t1.a, count(*) AS n, dense_rank() OVER (PARTITION BY count(*) ORDER BY t1.a, t2.b) AS r FROM s.t1 JOIN s.t2 ON t2.id = t1.id GROUP BY t2.b, t1.a'],
	groups => [1, 'SELECT DISTINCT count(*) AS n, sum(t1.x) AS x FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id GROUP BY t1.id'],
	wrap => [0, $by_b],
	wrap => [1, 'SELECT sum(t1.n) AS n, count(*) AS c FROM s.t1 JOIN s.p1 ON t1.id = p1.id WHERE t1.x < (SELECT avg(q.x) FROM s.t2 q WHERE q.id = t1.id)'],
	wrap => [1, q{SELECT t1.a + p1.b AS k, string_agg(t1.id::text || ' ' || p1.id, ',' ORDER BY t1.id, p1.id) AS y FROM s.t1 JOIN s.p1 ON p1.a = t1.b GROUP BY t1.a + p1.b}],
	wrap => [0, 'SELECT DISTINCT t2.a, t2.b FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id AND t2.x > 0'],
	wrap => [0, '(SELECT DISTINCT ON (t2.b) t2.b, t1.id, t2.k FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id AND t2.x > 0 ORDER BY t2.b, t1.id, t2.k)'],
	wrap => [0, 'SELECT t1.id, t2.k, t2.id AS i, row_number() OVER (PARTITION BY t2.b ORDER BY t1.id, t2.id, t2.k) AS r FROM s.t1 LEFT JOIN s.t2 ON t2.a = t1.a AND t2.id < 40 WHERE t1.id < 30'],
	wrap => [0, 'SELECT t2.b, count(*) AS n, (SELECT count(*) FROM s.t3 WHERE t3.a = t2.b) AS c FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id GROUP BY t2.b'],
	wrap => [1, 'SELECT count(*) AS n FROM s.t1 FULL JOIN s.p1 ON t1.id = p1.a'],
	filter => [1, 'SELECT count(*) AS n, sum(p1.x) AS x FROM s.t1 JOIN s.p1 ON p1.a = t1.b WHERE EXISTS (SELECT 1 FROM s.t2 WHERE t2.id = t1.id AND t2.x > 0)'],
	filter => [1, 'SELECT count(*) AS n FROM s.t1 JOIN s.p1 ON p1.id = t1.a WHERE t1.id NOT IN (SELECT id FROM s.t2 WHERE x > 1) AND p1.x > 0'],
	filter => [1, 'SELECT t1.a + p1.a AS k, count(*) AS n FROM s.p1 JOIN s.t3 USING (id) CROSS JOIN s.t1 WHERE t1.id = t3.a AND p1.b IN (SELECT b FROM s.t2 WHERE t2.id = p1.id) GROUP BY t1.a + p1.a'],
	from => [1, 'SELECT max(t1.id) AS m FROM s.t1 CROSS JOIN LATERAL (SELECT max(t2.d) AS d FROM s.t2 WHERE t2.d = t1.d) q WHERE t1.m IN (SELECT max(m) FROM s.t3)'],    # the filter rule would take t1.d from q
	branches => [0, 'SELECT t2.b FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id UNION SELECT t1.b FROM s.p1 LEFT JOIN s.t1 ON t1.id = p1.id'],
	branches => [0, 'SELECT t2.b, t2.a FROM s.t1 LEFT JOIN s.t2 ON t2.id = t1.id EXCEPT ALL SELECT b, a FROM s.t3'],
	several => [1, "SELECT n, count(*) AS c, sum(x) AS x FROM ($by_b) q GROUP BY n"],
	several => [1, "SELECT b, n FROM ($by_b) q WHERE n > (SELECT avg(n) FROM ($by_b) r)"],
	whole => [2, 'SELECT t1.b, count(*) AS n, sum(t1.x) AS x FROM s.t1 WHERE t1.x > (SELECT avg(q.x) FROM s.t2 q) AND NOT EXISTS (SELECT 1 FROM s.t3 WHERE t3.id = t1.id) GROUP BY t1.b'],
	whole => [2, 'WITH r AS (SELECT id, sum(x) AS x FROM s.t2 GROUP BY id) SELECT t1.id, r.x FROM s.t1 JOIN r ON r.id = t1.id WHERE r.x > (SELECT max(x) - 3 FROM r)'],
	coarse => [1, 'SELECT m.b, count(*) AS n, sum(m.id) AS id FROM s.many m WHERE EXISTS (SELECT 1 FROM s.t1 WHERE t1.id = m.x) GROUP BY m.b'],
	coarse => [1, 'SELECT o.b, count(*) AS n FROM s.many m JOIN s.few o ON o.id = m.b WHERE NOT EXISTS (SELECT 1 FROM s.t1 WHERE t1.id = m.x) GROUP BY o.b'],
	coarse => [2, 'SELECT o.b, count(*) AS n FROM s.many m JOIN s.few o ON o.id = m.b WHERE NOT EXISTS (SELECT 1 FROM s.t1 WHERE t1.id = m.x) GROUP BY o.b ORDER BY n DESC, o.b LIMIT 2'],
	sublink => [1, 'SELECT count(*) AS n FROM s.t1 JOIN s.p1 ON p1.id = t1.a WHERE t1.b IN (SELECT count(*) FROM s.t2 LEFT JOIN s.t3 ON t3.id = t2.id GROUP BY t2.a)'],
);

my $dbh = psql('postgres');
make_tables($dbh, 's');
$dbh->do($_) for ('CREATE TABLE s.many (id int PRIMARY KEY, b int NOT NULL, x int NOT NULL)', 'INSERT INTO s.many SELECT i, i % 3, i % 100 FROM generate_series(1, 6000) i',
	'CREATE TABLE s.few (id int PRIMARY KEY, b text NOT NULL)', q{INSERT INTO s.few SELECT i, 'name ' || i FROM generate_series(0, 2) i});
sub parts_of { my ($q) = @_; return scalar grep { /^  part/ } @{ $dbh->selectcol_arrayref('SELECT node FROM tapdata.explain_query($1)', undef, $q) } }
my ($coarse, $joined, $first) = map { $_->[1] } grep { ref && $_->[1] =~ /s\.many/ } @queries;
is(parts_of($coarse), 0, 'nobody knows how many rows a key has');
is(parts_of($first), 1, 'nor where the first groups alone are shown');
$dbh->do('ANALYZE s.many, s.few');
is(parts_of($coarse), 1, 'many rows to a key: a change should not compute them all');
is(parts_of($joined), 1, 'and where the rows are those of a table that the key is joined to');
is(parts_of($first), 2, 'of which the first groups are shown');
is(parts_of($coarse =~ s/count\(\*\)/count(DISTINCT m.x)/r), 0, 'where that does not help it is left');
is(parts_of('SELECT id, b, row_number() OVER (PARTITION BY b ORDER BY id) AS r FROM s.many'), 0, 'nor for a window');
my @writers = start_churn($connect, 's', 4);
my (@views, @sql, %rules);
while (my ($rule, $q) = splice @queries, 0, 2)
{
	my ($parts, $sql) = @$q;
	my $name = 'v' . (@views + 1);
	my $said = eval { $dbh->do("SELECT tapdata.create_view('s.$name', ?)", undef, $sql); 1 } ? '' : $@;
	is($said, '', "$rule: $sql") or next;
	push @views, $name;
	push @sql, $sql;
	my $made = value('postgres', "SELECT count(*) FROM tapdata.view p JOIN tapdata.view v ON v.id = p.part_of WHERE v.relation = 's.$name'::regclass");
	cmp_ok($made, '>=', $parts, "$name has $made parts");
	$rules{$rule}++;
}
my $until = time + $seconds;
my ($checks, $wrong) = (0, '');
while (time < $until && !$wrong)
{
	my $v = $views[rand @views];
	wait_views($dbh, 's', $v);
	$wrong = inexact($dbh, 's', $v);
	$checks++;
}
is($wrong, '', "exact while four write ($checks checks)");

# a crash in between
server('kill9');
server('start');
$dbh = eventually(sub { psql('postgres') }, 60);
sleep 2;
stop_churn(@writers);
TdProcs::close_all();
$dbh = psql('postgres');
$dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
wait_views($dbh, 's', @views);
is(inexact($dbh, 's', @views), '', 'exact after kill -9');
is(unequal($dbh, 's', \@views, [map { "SELECT * FROM ($_) z" } @sql]), '', 'plain SQL says the same');
is(rows('postgres', "SELECT view, status, error FROM tapdata.views WHERE status <> 'streaming' OR NOT exact"), '', 'all stream');
is(value('postgres', 'SELECT count(*) FROM tapdata.views'), scalar @views, 'parts are not shown');
my $split = q{FROM tapdata.view v JOIN tapdata.view_run r ON r.view = v.id WHERE v.part_of IS NOT NULL OR v.id IN (SELECT part_of FROM tapdata.view)};
cmp_ok(value('postgres', "SELECT coalesce(sum(n) FILTER (WHERE how IN ('full', 'ddl', 'unknown', 'error')), 0) * 10 $split"), '<', value('postgres', "SELECT sum(n) $split"), 'few are computed anew as a whole, but for their costs, which a busy machine decides')
	or diag rows('postgres', "SELECT v.id, v.part_of, v.table_name, r.how, r.n $split ORDER BY 1, 4");

# ---- explained ----
my $sum = 'SELECT k, count(*) AS n, sum(k) AS s FROM (SELECT g.id, count(h.v) AS k FROM g LEFT JOIN g h ON h.v = g.id GROUP BY g.id) q GROUP BY k';
like(rows('postgres', "SELECT node, strategy FROM tapdata.explain_query('$sum')"), qr/^view\|counters.*^  part 1\|keyed/sm, 'explain_query shows the parts');
is(value('postgres', q{SELECT count(*) FROM pg_class WHERE relname ~ '^v[0-9]+_p[0-9]+$' AND oid NOT IN (SELECT relation FROM tapdata.view)}), 0, 'and leaves none behind');
like(rows('postgres', "SELECT strategy FROM tapdata.explain_query('SELECT k, count(q) AS n, sum(k) AS s FROM (SELECT g.id, count(h.v) AS k FROM g LEFT JOIN g h ON h.v = g.id GROUP BY g.id) q GROUP BY k') LIMIT 1"), qr/^full$/, 'a subquery that is read as a row is no part');
execute('postgres', 'INSERT INTO g SELECT i, i / 3, i FROM generate_series(1, 60) i');
execute('postgres', "SELECT tapdata.create_view('gv', '$sum', '{\"timeout\": \"1 min\"}')", "SELECT tapdata.create_view('gg', 'SELECT sum(n * k) AS x FROM gv')");
like(rows('postgres', "SELECT node, strategy FROM tapdata.explain_view('gv')"), qr/^view\|counters.*^  part 1\|keyed/sm, 'so does explain_view');
sub gv_is_exact
{
	my ($what, @names) = @_;
	@names = ('gv', 'gg') if !@names;
	value('postgres', "SELECT tapdata.wait_view('$_', '30 s')") for @names;
	is(join(' ', map { value('postgres', "SELECT count(*) FROM tapdata.check_view('$_')") } @names), join(' ', (0) x @names), $what);
	return;
}
execute('postgres', 'UPDATE g SET v = v + 1 WHERE id % 4 = 0');
gv_is_exact('a view over it');

# ---- refresh, options ----
execute('postgres', "SELECT tapdata.refresh_view('gv')", 'DELETE FROM g WHERE id % 7 = 0');
gv_is_exact('refreshed');
execute('postgres', "SELECT tapdata.alter_view('gv', '{\"timeout\": \"2 min\"}')");
is(value('postgres', q{SELECT string_agg(options->>'timeout', ' ') FROM tapdata.view WHERE table_name = 'gv' OR part_of = (SELECT id FROM tapdata.view WHERE table_name = 'gv')}), '2 min 2 min', 'options of parts');

# ---- the parts are ours ----
my $part = value('postgres', q{SELECT relation::regclass FROM tapdata.view WHERE part_of = (SELECT id FROM tapdata.view WHERE table_name = 'gv')});
for ("DROP TABLE $part", "ALTER TABLE $part RENAME TO x", "ALTER TABLE $part ADD x int", "DELETE FROM $part", "SELECT tapdata.drop_view('$part')",
	"SELECT tapdata.refresh_view('$part')", "SELECT tapdata.create_view('no', 'SELECT * FROM $part')", "ALTER TABLE $part SET SCHEMA public")
{
	like(try_do(psql('postgres'), $_), qr/ERROR/, "refused: $_");
}

# ---- owner, names ----
execute('postgres', 'GRANT SELECT ON g TO bob', 'GRANT CREATE ON SCHEMA public TO bob', 'ALTER TABLE gv OWNER TO bob', 'GRANT SELECT ON gv TO postgres', 'ALTER TABLE gv RENAME TO gw');
is(value('postgres', "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class WHERE relname ~ '^v[0-9]+_(p|q)' AND oid::regclass::text ~ (SELECT 'v' || id || '_' FROM tapdata.view WHERE table_name = 'gw')"), 'bob', 'parts belong to the new owner');
execute('postgres', 'INSERT INTO g VALUES (1000, 1, 1), (1001, 1000, 1)');
gv_is_exact('after OWNER TO and RENAME', 'gw', 'gg');

# ---- failure ----
execute('postgres', 'REVOKE SELECT ON g FROM bob', 'UPDATE g SET v = v + 1 WHERE id % 5 = 0');
ok(eventually(sub { value('postgres', q{SELECT status = 'failed' FROM tapdata.views WHERE view = 'gw'::regclass}) }, 30), 'a part that fails is a failure of the view');
like(value('postgres', q{SELECT error || ' ' || hint FROM tapdata.views WHERE view = 'gw'::regclass}), qr/view public\.gw may not read.*refresh_view\('public\.gw'\)/, 'which says why');
execute('postgres', 'GRANT SELECT ON g TO bob', "SELECT tapdata.refresh_view('gw')");
gv_is_exact('revived', 'gw', 'gg');

# ---- DDL underneath ----
execute('postgres', 'ALTER TABLE g RENAME COLUMN v TO vv', 'UPDATE g SET vv = vv + 1 WHERE id % 3 = 0', 'TRUNCATE g', 'INSERT INTO g SELECT i, i / 5, i FROM generate_series(1, 40) i');
gv_is_exact('RENAME COLUMN, TRUNCATE', 'gw', 'gg');

# ---- a restored dump ----
SKIP:
{
	my $host = "-h $pg->{PGHOST} -p $pg->{PGPORT} -U postgres";
	execute('postgres', 'CREATE DATABASE restored');
	my $said = qx{$pg->{TD_PG_BIN}/pg_dump $host postgres 2>&1 >$pg->{PGHOST}/dump.sql; $pg->{TD_PG_BIN}/psql $host -qXAt -o /dev/null -f $pg->{PGHOST}/dump.sql restored 2>&1};
	is($said, '', 'a dump is made and restored');
	is(value('restored', q{SELECT status FROM tapdata.views WHERE view = 'gw'::regclass}), 'fenced', 'fenced');
	is(try_do(psql('restored'), 'SELECT tapdata.adopt_database()'), '', 'adopted');
	is(value('restored', 'SELECT count(*) FROM tapdata.views'), @views + 2, 'all are there');
	value('restored', "SELECT tapdata.wait_view('$_', '60 s')") for qw(gw gg s.v1);
	execute('restored', 'UPDATE g SET vv = vv + 1');
	value('restored', "SELECT tapdata.wait_view('$_', '60 s')") for qw(gw gg s.v1);
	is(join(' ', map { value('restored', "SELECT count(*) FROM tapdata.check_view('$_')") } qw(gw gg s.v1)), '0 0 0', 'exact');
	is(try_do(psql('restored'), "SELECT tapdata.drop_view('gg')"), '', 'and can be dropped');
	is(try_do(psql('restored'), "SELECT tapdata.drop_view('gw')"), '', 'with their parts');
}

# ---- dropping ----
like(try_do(psql('postgres'), 'DROP TABLE g'), qr/drop_view\('public\.gw'\)/, 'DROP TABLE of a base table names the view');
unlike(try_do(psql('postgres'), 'DROP TABLE g'), qr/v\d+_p\d/, 'and not its parts');
execute('postgres', 'DROP TABLE g CASCADE');
is(value('postgres', q{SELECT count(*) FROM tapdata.view WHERE table_name IN ('gw', 'gg') OR part_of IS NOT NULL AND part_of NOT IN (SELECT id FROM tapdata.view)}), 0, 'with CASCADE all goes');
$dbh->do("SELECT tapdata.drop_view('s.$_')") for @views;
is(value('postgres', q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('tapdata_state', 'tapdata_views', 'tapdata_parts')}), 0,
	'dropped views leave nothing behind');
is(value('postgres', 'SELECT count(*) FROM tapdata.view'), 0, 'nor in the catalog');
finish();
done_testing();
