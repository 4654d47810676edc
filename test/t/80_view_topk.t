# ORDER BY and LIMIT: views of the first rows of an order, at any place of a query, over rows of which many are equal in that order.
#
# What it proves: check_view is empty while four writers run and after they have stopped; the rows are a legal result of what the user wrote (who named
# fewer columns than the view orders by); a tick reads an index and no table; nothing of it needs allow_full.
#
# TD_SEED=n repeats a run; TD_TOPK_SECONDS makes it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(make_tables start_churn stop_churn inexact unequal wait_views);
use Time::HiRes qw(sleep time);

my $seconds = $ENV{TD_TOPK_SECONDS} || 15;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
srand $seed;
my $pg = start_server('topk', 'max_prepared_transactions = 20', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE bob LOGIN', 'GRANT CREATE ON SCHEMA public TO bob');
my $dbh = psql('postgres');
make_tables($dbh, 's');
$dbh->do("ALTER TABLE s.$_ REPLICA IDENTITY FULL") for qw(t1 t2 t3 p1_low p1_high);    # no view has to wait for the writers
$dbh->do('CREATE INDEX ON s.t1 (a, id)');
my @writers = start_churn(sub { psql('postgres', fresh => 1) }, 's', 4);

sub pick { return $_[int rand @_] }

# ---- every place where LIMIT may stand ----
# strategy of the view, how many parts, query
my @listed = (
	['top-k', 0, 'SELECT id, a FROM s.t1 ORDER BY a LIMIT 7'],
	['top-k', 0, 'SELECT id, a + 1 AS a1 FROM s.t1 ORDER BY a DESC LIMIT 7 OFFSET 3'],
	['top-k', 0, 'SELECT * FROM s.p1 LIMIT 5'],
	['top-k', 0, 'SELECT id FROM s.t1 LIMIT 0'],
	['top-k', 1, 'SELECT id, a FROM s.t1 ORDER BY a NULLS FIRST LIMIT 7'],
	['top-k', 1, 'SELECT s, b FROM s.t3 ORDER BY s COLLATE "C" DESC NULLS LAST, x LIMIT 10'],
	['top-k', 1, 'SELECT j, f FROM s.t3 LIMIT 4 OFFSET 2'],
	['top-k', 1, 'SELECT id, j::json AS j FROM s.t3 ORDER BY b LIMIT 4'],
	['top-k', 1, 'SELECT id, x FROM s.t2 WHERE a > 0 ORDER BY abs(x) DESC, 1 LIMIT 5'],
	['top-k', 1, 'SELECT id, x FROM s.t2 ORDER BY x OFFSET 1000 LIMIT 5'],
	['top-k', 1, 'SELECT id, b FROM s.t1 ORDER BY b DESC FETCH FIRST 3 ROWS WITH TIES'],
	['top-k', 1, 'SELECT a, sum(n) AS n, count(*) FROM s.t3 GROUP BY a HAVING count(*) > 1 ORDER BY sum(m) DESC NULLS LAST LIMIT 3'],
	['top-k', 1, 'SELECT DISTINCT n, b FROM s.t1 ORDER BY b LIMIT 6'],
	['top-k', 1, 'SELECT DISTINCT ON (a) a, id, s FROM s.t1 ORDER BY a DESC, x LIMIT 3'],
	['top-k', 1, 'SELECT id FROM s.t1 UNION ALL SELECT a FROM s.t2 ORDER BY 1 DESC LIMIT 12'],
	['top-k', 1, 'SELECT a, b FROM s.t1 EXCEPT SELECT a, b FROM s.t2 LIMIT 4'],
	['top-k', 1, 'SELECT t1.id, p1.x FROM s.t1 LEFT JOIN s.p1 ON p1.id = t1.id ORDER BY p1.x DESC LIMIT 9'],
	['top-k', 1, 'SELECT id, a1, b1 FROM (s.t1 JOIN s.p1 USING (id)) AS z (id, a1, b1) ORDER BY a1, b1 LIMIT 4'],
	['top-k', 1, 'SELECT id, row_number() OVER (PARTITION BY a ORDER BY id) AS r FROM s.t1 ORDER BY r DESC LIMIT 5'],
	['top-k', 1, 'WITH q AS (SELECT b, sum(x) AS x FROM s.t1 GROUP BY b) SELECT * FROM q ORDER BY x LIMIT 2'],
	['top-k', 1, 'SELECT id, unnest(ARRAY[a, b]) AS u FROM s.t1 ORDER BY u LIMIT 11'],
	['top-k', 1, 'SELECT q.id, count(*) AS n FROM s.t1 q JOIN s.t2 r ON r.a = q.a WHERE EXISTS (SELECT 1 FROM s.p1 WHERE p1.id = q.id LIMIT 1) GROUP BY q.id ORDER BY n DESC LIMIT 5'],
	['top-k', 2, 'SELECT * FROM (SELECT id, x FROM s.t1 ORDER BY x LIMIT 20) q ORDER BY id DESC LIMIT 5'],
	['top-k', 3, 'SELECT b, n FROM (SELECT b, count(*) AS n FROM (SELECT b, x FROM s.t2 ORDER BY x DESC LIMIT 20) q GROUP BY b) r ORDER BY n DESC LIMIT 2'],
	['delta', 2, 'SELECT t2.id, t2.k, q.x FROM (SELECT id, x FROM s.t1 ORDER BY x DESC LIMIT 8) q JOIN s.t2 ON t2.id = q.id'],
	['delta', 1, 'WITH q AS (SELECT id, x FROM s.t1 ORDER BY a, id LIMIT 8) SELECT q.id, r.x FROM q JOIN q r ON r.id = q.x'],
	['counters', 2, 'SELECT a, count(*) AS n, sum(x) AS x FROM (SELECT a, x FROM s.t3 ORDER BY n DESC LIMIT 25) q GROUP BY a'],
	['keyed', 2, 'SELECT id, s FROM s.t1 WHERE id IN (SELECT id FROM s.t2 ORDER BY x LIMIT 10)'],
	['keyed', 2, 'SELECT id, s FROM s.t1 WHERE id NOT IN (SELECT k FROM s.t2 ORDER BY x LIMIT 2)'],
	['keyed', 2, '(SELECT id, a FROM s.t1 ORDER BY x LIMIT 3) UNION ALL SELECT id, k FROM s.t2'],
	['keyed', 2, 'SELECT t1.id, q.x FROM s.t1 LEFT JOIN (SELECT id, x FROM s.p1 ORDER BY x LIMIT 6) q ON q.id = t1.id'],
	['keyed', 0, 'SELECT t1.id, q.k, q.x FROM s.t1, LATERAL (SELECT k, x FROM s.t2 WHERE t2.id = t1.id ORDER BY x DESC LIMIT 1) q'],
	['keyed', 0, 'SELECT t1.id, q.b FROM s.t1 LEFT JOIN LATERAL (SELECT b FROM s.t3 WHERE t3.id = t1.id ORDER BY a LIMIT 2 OFFSET 1) q ON true'],
	['keyed', 0, 'SELECT id, (SELECT s FROM s.t3 WHERE t3.id = t1.id ORDER BY a LIMIT 1) AS s FROM s.t1'],
	['keyed', 0, 'SELECT * FROM (SELECT id, a, row_number() OVER (PARTITION BY a ORDER BY x, id) AS r FROM s.t1) q WHERE r <= 3'],
);
my (@views, @sql);
for (@listed)
{
	my ($strategy, $parts, $sql) = @$_;
	my $name = 'v' . (@views + 1);
	my $said = eval { $dbh->do("SELECT tapdata.create_view('s.$name', ?)", undef, $sql); 1 } ? '' : $@;
	is($said, '', $sql) or next;
	push @views, $name;
	is(value('postgres', "SELECT strategy || ' ' || (SELECT count(*) FROM tapdata.view p JOIN tapdata.view v ON v.id = p.part_of WHERE v.relation = 's.$name'::regclass) FROM tapdata.views WHERE view = 's.$name'::regclass"),
		"$strategy $parts", "$name: strategy and parts");
	unlike(rows('postgres', "SELECT strategy FROM tapdata.explain_view('s.$name')"), qr/^full$/m, 'nothing is computed whole') if $parts;
}
for (['counters', 'SELECT a, count(*) AS n FROM s.v1 GROUP BY a'], ['top-k', 'SELECT id FROM s.v1 ORDER BY a DESC LIMIT 2'], ['delta', 'SELECT v.id, t.s FROM s.v5 v JOIN s.t1 t ON t.id = v.id'])
{
	push @views, 'v' . (@views + 1);
	$dbh->do("SELECT tapdata.create_view('s.$views[-1]', ?, '{\"changes\": true}')", undef, $_->[1]);
	is(value('postgres', "SELECT strategy FROM tapdata.views WHERE view = 's.$views[-1]'::regclass"), $_->[0], "over a view: $_->[1]");
}

# ---- random ones: [query, its rows without LIMIT, what it orders by in terms of its columns or undef, count, offset, ties] ----
sub expression { my ($t) = @_; return pick(map { "$t.$_" } qw(a b x s n m f d a b x)) }

sub body
{
	my ($t, $u) = (pick(qw(t1 t2 t3 p1)), pick(qw(t1 t2 t3 p1)));
	my @out = map { expression('q') } 1 .. 1 + int rand 3;
	my $where = pick('', '', ' WHERE q.a > 0', ' WHERE q.id < 60');
	my $kind = pick(qw(plain plain join left groups groups distinct setop window));
	my $list = sub { my $i = 0; join ', ', map { $i++; "$_ AS c$i" } @_ };
	return ('SELECT ' . $list->(@out) . " FROM s.$t q$where", scalar @out, 'q') if $kind eq 'plain';
	return ('SELECT ' . $list->(@out, 'r.id', 'r.x') . " FROM s.$t q JOIN s.$u r ON r.id = q.id$where", @out + 2, 'q') if $kind eq 'join';
	return ('SELECT ' . $list->(@out, 'r.b') . " FROM s.$t q LEFT JOIN s.$u r ON r.id = q.id AND r.a > 0$where", @out + 1, 'q') if $kind eq 'left';
	return ('SELECT DISTINCT ' . $list->(@out) . " FROM s.$t q$where", scalar @out) if $kind eq 'distinct';
	return ('SELECT ' . $list->('q.a', 'q.x') . " FROM s.$t q$where " . pick('UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT ALL') . " SELECT r.b, r.x FROM s.$u r", 2) if $kind eq 'setop';
	return ('SELECT ' . $list->(@out, 'count(*) OVER (PARTITION BY q.a)') . " FROM s.$t q$where", @out + 1, 'q') if $kind eq 'window';
	return ('SELECT ' . $list->('q.a', 'q.d', pick('sum(q.n)', 'max(q.x)', 'avg(q.m)', 'count(q.s)'), 'count(*)') . " FROM s.$t q$where GROUP BY q.a, q.d" . pick('', '', ' HAVING count(*) > 1'), 4);
}

sub random_query
{
	my ($body, $n, $row) = body();
	my (@order, @keys);
	for (1 .. int rand 4)
	{
		my $i = 1 + int rand $n;
		my $how = pick('', '', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST', ' ASC NULLS LAST');
		if ($row && rand() < 0.25) { push @order, pick(expression($row), "length($row.s)", "$row.a + $row.b") . $how; @keys = (undef) }
		else { push @order, pick("c$i", $i) . $how; push @keys, "c$i" if !@keys || defined $keys[0] }
	}
	my ($count, $offset) = (pick(0, 1, 2, 3, 5, 8, 20, 500), pick(0, 0, 0, 1, 4, 30));
	my $ties = @order && rand() < 0.15;
	$offset = 0 if $ties;
	my $end = (@order ? ' ORDER BY ' . join(', ', @order) : '') . ($offset ? " OFFSET $offset" : '') . ($ties ? " FETCH FIRST $count ROWS WITH TIES" : " LIMIT $count");
	return ["$body$end", $body, @keys && defined $keys[0] ? join(', ', @keys) : undef, $count, $offset, $ties];
}

my @random;
while (@random < 30)
{
	my $q = random_query();
	my $name = 'r' . (@random + 1);
	my $said = eval { $dbh->do("SELECT tapdata.create_view('s.$name', ?)", undef, $q->[0]); 1 } ? '' : $@;
	if ($said) { fail("$q->[0]\n$said"); last }
	push @random, $q;
	push @views, $name;
}
is(value('postgres', q{SELECT string_agg(DISTINCT strategy, ' ') FROM tapdata.views WHERE view::text ~ 's\.r'}), 'top-k', 'random ones, all top-k');

# ---- exact, while four write ----
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
server('kill9');
server('start');
$dbh = eventually(sub { psql('postgres') }, 60);
sleep 3;
stop_churn(@writers);
TdProcs::close_all();
$dbh = psql('postgres');
$dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
wait_views($dbh, 's', @views);
is(inexact($dbh, 's', @views), '', 'exact after kill -9');
my @ordered = grep { $_ ne 'v8' } @views;    # json has no equality
is(unequal($dbh, 's', \@ordered, [map { 'TABLE ' . value('postgres', "SELECT twin::text FROM tapdata.views WHERE view = 's.$_'::regclass") } @ordered]), '', 'plain SQL on the twins says the same');
is(rows('postgres', "SELECT view, status, error FROM tapdata.views WHERE status <> 'streaming' OR NOT exact"), '', 'all stream');

# ---- legal results of what the user wrote ----
for my $i (0 .. $#random)
{
	my ($query, $body, $keys, $count, $offset, $ties) = @{ $random[$i] };
	my $view = 's.r' . ($i + 1);
	my ($n, $all, $foreign) = $dbh->selectrow_array("SELECT (SELECT count(*) FROM $view), (SELECT count(*) FROM ($body) q), (SELECT count(*) FROM (TABLE $view EXCEPT ALL SELECT * FROM ($body) q) z)");
	my $left = $all - $offset < 0 ? 0 : $all - $offset;
	my $most = $left < $count ? $left : $count;
	my $right = $foreign == 0 && ($ties ? $n >= $most : $n == $most);
	$right &&= $dbh->selectrow_array("SELECT (SELECT count(*) FROM (SELECT $keys FROM $view EXCEPT ALL SELECT $keys FROM ($query) q) z)") == 0 if $keys;
	ok($right, "a legal result: $query") or diag "$n of $all rows, $foreign are none of it";
}

# ---- a tick reads an index ----
execute('postgres', 'CREATE TABLE big (id bigint PRIMARY KEY, score int NOT NULL, name text)', 'INSERT INTO big SELECT i, i % 1000, $$n$$ || i FROM generate_series(1, 200000) i',
	"SELECT tapdata.create_view('best', 'SELECT id, name, score FROM big ORDER BY score DESC LIMIT 10')",
	"SELECT tapdata.create_view('names', 'SELECT name, score FROM big WHERE score > 0 ORDER BY score DESC, name LIMIT 10')");
value('postgres', "SELECT tapdata.wait_view('$_', '60 s')") for qw(best names);
is(value('postgres', q{SELECT count(*) FROM tapdata.view WHERE part_of IS NOT NULL AND (SELECT reltuples FROM pg_class WHERE oid = relation) > 100000}), 2, 'parts are large');
my $scans = q{SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_all_tables WHERE relname = 'big' OR (schemaname = 'tapdata_parts' AND n_live_tup > 100000)};
sub settled { value('postgres', "SELECT tapdata.wait_view('$_', '60 s')") for qw(best names); sleep 2; execute('postgres', 'SELECT pg_stat_clear_snapshot()'); return value('postgres', $scans) }
my $before = settled();
for (1 .. 20)
{
	execute('postgres', "UPDATE big SET score = score + 1 WHERE id = $_", 'INSERT INTO big VALUES (' . (300000 + $_) . ", 2000, 'new')", "DELETE FROM big WHERE id = 199999 - $_");
	value('postgres', "SELECT tapdata.wait_view('$_', '60 s')") for qw(best names);
}
my $read = settled() - $before;
cmp_ok($read, '<', 20000, "60 changes read $read rows of three tables with 600000");
is(join(' ', map { value('postgres', "SELECT count(*) FROM tapdata.check_view('$_')") } qw(best names)), '0 0', 'exact');
like(rows('postgres', q{SELECT node, strategy, detail FROM tapdata.explain_view('best')}), qr/space\|copy\|all its rows are stored, about \d{5,} of.*CREATE INDEX ON public\.big \(score DESC, id DESC\);/, 'the copy, and how it could be spared');
execute('postgres', 'CREATE INDEX ON big (score, id)', "SELECT tapdata.create_view('spared', 'SELECT id, score FROM big ORDER BY score DESC LIMIT 10')");
is(value('postgres', q{SELECT count(*) FROM tapdata.view WHERE part_of = (SELECT id FROM tapdata.view WHERE table_name = 'spared')}), 0, 'with that index there is none');
value('postgres', "SELECT tapdata.wait_view('spared', '60 s')");
execute('postgres', 'DROP INDEX big_score_id_idx', 'UPDATE big SET score = 5000 WHERE id = 77');
value('postgres', "SELECT tapdata.wait_view('spared', '60 s')");
is(value('postgres', "SELECT (SELECT count(*) FROM tapdata.check_view('spared')) || ' ' || max(score) FROM spared"), '0 5000', 'nor is one needed to be right');
like(rows('postgres', q{SELECT strategy, detail FROM tapdata.explain_view('spared')}), qr/^wanted\|.*CREATE INDEX ON public\.big \(score DESC, id DESC\);/m, 'it is wanted again');

# ---- what it is made of stays ----
my $index = value('postgres', q{SELECT indexrelid::regclass FROM pg_index WHERE indexrelid::regclass::text ~ 'order_idx' LIMIT 1});
like(try_do(psql('postgres'), $_), qr/ERROR/, "refused: $_") for "DROP INDEX $index", 'ALTER TABLE big DROP CONSTRAINT big_pkey';
execute('postgres', 'CREATE TABLE own (id int PRIMARY KEY, v int, w int)', 'REVOKE ALL ON own FROM public', 'GRANT SELECT (v, w) ON own TO bob', 'INSERT INTO own VALUES (1, 1, 1), (2, 1, 2), (3, 1, 3)', 'ALTER TABLE own REPLICA IDENTITY FULL');
my $bob = psql('postgres', fresh => 1, user => 'bob');
is(try_do($bob, "SELECT tapdata.create_view('bobs', 'SELECT v, w FROM own ORDER BY v LIMIT 2')"), '', 'a key that the owner may not read is not used');
value('postgres', "SELECT tapdata.wait_view('bobs', '60 s')");
is(rows('postgres', 'SELECT * FROM bobs ORDER BY w'), "1|1\n1|2", 'but what he selects');

# ---- refused by name ----
for (
	['SELECT id FROM big ORDER BY id LIMIT (SELECT count(*) / 2 FROM own)', qr/LIMIT that is no constant/],
	['SELECT id FROM big ORDER BY id OFFSET 3', qr/OFFSET without LIMIT/],
	['SELECT id FROM big ORDER BY score OFFSET 1 FETCH FIRST 3 ROWS WITH TIES', qr/WITH TIES after OFFSET/],
	['SELECT id FROM big ORDER BY id LIMIT -1', qr/a negative LIMIT/],
	['SELECT id FROM big ORDER BY name USING ~<~ LIMIT 1', qr/ORDER BY \.\.\. USING with LIMIT/],
	['SELECT id FROM big ORDER BY id', qr/views do not support ORDER BY/],
	['SELECT id, now() FROM big ORDER BY id LIMIT 3', qr/now\(\)/],
	['SELECT id::text::json FROM big UNION ALL SELECT id::text::json FROM own LIMIT 3', qr/LIMIT on rows with columns of type json/],
	['SELECT id FROM big LIMIT 3 FOR UPDATE', qr/FOR UPDATE/],
	['SELECT sum(score) OVER () FROM big ORDER BY 1 LIMIT 3', qr/window functions/],
) { like(try_do(psql('postgres'), "SELECT tapdata.create_view('no', \$q\$$_->[0]\$q\$)"), $_->[1], "refused: $_->[0]") }
for ('SELECT id FROM big LIMIT ALL', 'SELECT id FROM big LIMIT NULL OFFSET 0', 'SELECT id FROM big OFFSET 0')
{
	execute('postgres', "SELECT tapdata.create_view('allofit', '$_')");
	is(value('postgres', q{SELECT strategy FROM tapdata.views WHERE view = 'allofit'::regclass}), 'delta', "nothing is cut: $_");
	execute('postgres', "SELECT tapdata.drop_view('allofit')");
}
execute('postgres', 'SELECT tapdata.create_view($$immutable$$, $$SELECT id FROM own ORDER BY id LIMIT 1 + length(\'x\')$$)');
value('postgres', "SELECT tapdata.wait_view('immutable', '60 s')");
is(rows('postgres', 'SELECT id FROM immutable ORDER BY 1'), "1\n2", 'an expression of constants');

# ---- an ordinary view that is replaced ----
execute('postgres', 'CREATE VIEW plain AS SELECT id, v FROM own', "SELECT tapdata.create_view('over_plain', 'SELECT id, v FROM plain ORDER BY v DESC LIMIT 2')",
	"SELECT tapdata.wait_view('over_plain', '60 s')", 'CREATE OR REPLACE VIEW plain AS SELECT id, v + id AS v FROM own');
value('postgres', "SELECT tapdata.wait_view('over_plain', '60 s')");
is(rows('postgres', 'SELECT * FROM over_plain ORDER BY 1'), "2|3\n3|4", 'is noticed');
is(value('postgres', "SELECT count(*) FROM tapdata.check_view('over_plain')"), 0, 'exact');

# ---- what no index can hold, and a function that is replaced ----
execute('postgres', 'CREATE TABLE wide (id int PRIMARY KEY, v text)', 'ALTER TABLE wide ALTER v SET STORAGE EXTERNAL', q{INSERT INTO wide VALUES (1, 'b'), (2, 'a')},
	'CREATE FUNCTION few() RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT 1$$',
	"SELECT tapdata.create_view('widest', 'SELECT v FROM wide ORDER BY v LIMIT 1')", "SELECT tapdata.create_view('fewest', 'SELECT id FROM wide ORDER BY id LIMIT few()')");
value('postgres', "SELECT tapdata.wait_view('$_', '60 s')") for qw(widest fewest);
execute('postgres', q{INSERT INTO wide SELECT 3, string_agg(md5(i::text), '') FROM generate_series(1, 500) i}, 'CREATE OR REPLACE FUNCTION few() RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT 2$$');
ok(eventually(sub { value('postgres', q{SELECT status = 'failed' FROM tapdata.views WHERE view = 'widest'::regclass}) }, 30), 'a value too long for an index fails the view');
like(value('postgres', q{SELECT sqlstate || ' ' || error FROM tapdata.views WHERE view = 'widest'::regclass}), qr/^54000 .*index row/, 'by name');
value('postgres', "SELECT tapdata.wait_view('fewest', '60 s')");
is(rows('postgres', 'SELECT id FROM fewest ORDER BY 1'), "1\n2", 'the others go on, and LIMIT follows its function');
execute('postgres', 'DELETE FROM wide WHERE id = 3', "SELECT tapdata.refresh_view('widest')");
value('postgres', "SELECT tapdata.wait_view('widest', '60 s')");
is(rows('postgres', 'SELECT v FROM widest'), 'a', 'and it can be revived');
execute('postgres', 'DROP TABLE wide CASCADE');

# ---- the feed ----
execute('postgres', "SELECT tapdata.create_view('fed', 'SELECT id, w FROM own ORDER BY w DESC LIMIT 1', '{\"changes\": true}')");
value('postgres', "SELECT tapdata.wait_view('fed', '60 s')");
for ('UPDATE own SET w = 10 WHERE id = 1', 'UPDATE own SET w = 0 WHERE id = 2', 'DELETE FROM own WHERE id = 1') { execute('postgres', $_); value('postgres', "SELECT tapdata.wait_view('fed', '60 s')") }
is(rows('postgres', q{SELECT tick, weight, "row" FROM tapdata.changes('fed', 0)}),
	qq(1|-1|{"w": 3, "id": 3}\n1|1|{"w": 10, "id": 1}\n2|-1|{"w": 10, "id": 1}\n2|1|{"w": 3, "id": 3}), 'the feed has what came into the window and what left it');

# ---- a restored dump ----
execute('postgres', 'DROP SCHEMA s CASCADE', 'CREATE DATABASE restored');
my $host = "-h $pg->{PGHOST} -p $pg->{PGPORT} -U postgres";
is(qx{$pg->{TD_PG_BIN}/pg_dump $host postgres 2>&1 >$pg->{PGHOST}/dump.sql; $pg->{TD_PG_BIN}/psql $host -qXAt -o /dev/null -f $pg->{PGHOST}/dump.sql restored 2>&1}, '', 'a dump is made and restored');
is(try_do(psql('restored'), 'SELECT tapdata.adopt_database()'), '', 'adopted');
execute('restored', 'UPDATE own SET w = w + 1, v = -v', 'DELETE FROM big WHERE score > 1990');
my @kept = qw(best names spared bobs immutable over_plain fed);
for (@kept)
{
	value('restored', "SELECT tapdata.wait_view('$_', '60 s')");
	is(value('restored', "SELECT count(*) FROM tapdata.check_view('$_')"), 0, "$_ is exact there");
}
is(rows('restored', q{SELECT strategy, detail ~ 'order_idx' FROM tapdata.explain_view('names') WHERE strategy IN ('present', 'wanted')}), 'present|1', 'the index is there');
execute('restored', "SELECT tapdata.drop_view('$_')") for @kept;

# ---- nothing is left behind ----
execute('postgres', 'DROP TABLE own, big CASCADE');
is(value('postgres', 'SELECT count(*) FROM tapdata.view'), 0, 'all are dropped');
is(value('postgres', q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('tapdata_state', 'tapdata_views', 'tapdata_parts')}), 0, 'with all that they were made of');
finish();
done_testing();
