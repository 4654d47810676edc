# What was found by breaking live views on purpose: each case made a view differ from its query, fail for nothing, or tell what its owner may not know.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

start_server('breaker');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE ann LOGIN', 'GRANT CREATE ON SCHEMA public TO ann');
my $ann = psql('postgres', user => 'ann');

sub make { my ($name, $query, %o) = @_; return try_do($o{as} // psql('postgres'), "SELECT tapdata.create_view('$name', \$q\$$query\$q\$, '" . ($o{options} // '{}') . "')") }
sub wait_view { my ($view) = @_; return try_do(psql('postgres'), "SELECT tapdata.wait_view('$view')") }
sub status { my ($view) = @_; return rows('postgres', "SELECT status FROM tapdata.views WHERE view = '$view'::regclass") }

# Rows of the view and of the query that are not in the other, as text.
sub differ
{
	my ($view, $query) = @_;
	my $rest = wait_view($view);
	return $rest if $rest;
	return rows('postgres', "(SELECT 'missing', z::text FROM ($query) z EXCEPT ALL SELECT 'missing', z::text FROM $view z)
		UNION ALL (SELECT 'extra', z::text FROM $view z EXCEPT ALL SELECT 'extra', z::text FROM ($query) z)");
}

# ---- a cast to json that comes later: to_jsonb uses it ----
execute('postgres', q{CREATE TYPE mood AS ENUM ('sad', 'glad')}, 'CREATE TYPE span AS RANGE (subtype = int)', 'CREATE TABLE moods (id int PRIMARY KEY, m mood, s span)',
	q{INSERT INTO moods VALUES (1, 'sad', '[1,2]'), (2, 'glad', NULL)});
my $json = 'SELECT id, to_jsonb(m) AS m, to_jsonb(s) AS s FROM moods';
is(make('json', $json), '', 'a view of enums and ranges as json');
is(differ('json', $json), '', 'is exact');
execute('postgres', q{CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT '"a mood"'::json$$}, 'CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood)');
is(differ('json', $json), '', 'and after a cast of the enum to json was made');
execute('postgres', q{CREATE FUNCTION span_json(span) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT '"a span"'::json$$}, 'CREATE CAST (span AS json) WITH FUNCTION span_json(span)');
is(differ('json', $json), '', 'of the range');
execute('postgres', q{CREATE OR REPLACE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT '"another"'::json$$});
is(differ('json', $json), '', 'the function of a cast replaced');
execute('postgres', 'DROP CAST (mood AS json)');
is(differ('json', $json), '', 'and a cast dropped');
execute('postgres', 'CREATE OR REPLACE FUNCTION span_json(span) RETURNS json LANGUAGE sql STABLE AS $$SELECT to_json(now())$$');
like(wait_view('json'), qr/^55000/, 'a cast that became volatile: the view fails');

# ---- an ordinary view in the middle gets another owner ----
execute('postgres', 'CREATE TABLE base (id int PRIMARY KEY, x int)', 'INSERT INTO base SELECT i, i % 3 FROM generate_series(1, 9) i', 'CREATE VIEW middle AS SELECT x, count(*) AS n FROM base GROUP BY x',
	'CREATE VIEW barrier AS SELECT x, max(id) AS n FROM base GROUP BY x');
is(make('above', 'SELECT b.id, m.n FROM base b LEFT JOIN middle m ON m.x = b.id'), '', 'a view over an ordinary one');
is(make('beside', 'SELECT b.id, m.n FROM base b LEFT JOIN barrier m ON m.x = b.id'), '', 'and over another');
is(wait_view('above') . wait_view('beside'), '', 'are filled');
execute('postgres', 'ALTER VIEW middle OWNER TO ann', 'ALTER VIEW barrier SET (security_barrier)');
like(wait_view('above'), qr/^55000/, 'it fails when that one gets another owner');
like(wait_view('beside'), qr/^55000/, 'or becomes a security barrier');
execute('postgres', 'ALTER VIEW middle OWNER TO postgres', q{SELECT tapdata.refresh_view('above')});
is(differ('above', 'SELECT b.id, m.n FROM base b LEFT JOIN middle m ON m.x = b.id'), '', 'and is revived');

# ---- EXECUTE ----
execute('postgres', 'CREATE FUNCTION hidden(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT $1 + 1$$', 'REVOKE EXECUTE ON FUNCTION hidden FROM public',
	'CREATE OPERATOR @@@ (PROCEDURE = hidden, RIGHTARG = int)');
$ann->do($_) for 'CREATE TABLE hers (id int PRIMARY KEY, x int)', 'INSERT INTO hers SELECT i, i % 3 FROM generate_series(1, 9) i';
for my $query ('SELECT id, hidden(x) AS h FROM hers', 'SELECT id, @@@ x AS h FROM hers', 'SELECT x, count(*) AS n FROM hers WHERE id > hidden(1) GROUP BY x',
	'SELECT id FROM hers WHERE x IN (SELECT hidden(id) FROM hers)', 'SELECT h.id, f FROM hers h, LATERAL hidden(h.x) f', 'WITH w AS (SELECT id, hidden(x) AS h FROM hers) SELECT * FROM w')
{
	like(make('denied', $query, as => $ann), qr/^42501 .*permission denied for function hidden/, "without EXECUTE: $query");
}
execute('postgres', 'GRANT EXECUTE ON FUNCTION hidden TO ann');
is(make('allowed', 'SELECT x, count(*) AS n, sum(hidden(id)) AS s FROM hers GROUP BY x', as => $ann), '', 'with it');
is(differ('allowed', 'SELECT x, count(*) AS n, sum(hidden(id)) AS s FROM hers GROUP BY x'), '', 'the view is exact');
execute('postgres', 'REVOKE EXECUTE ON FUNCTION hidden FROM ann');
like(wait_view('allowed'), qr/^55000/, 'a view whose owner lost it has failed, although none of its rows changed');

# ---- rights that go without DDL on the table ----
execute('postgres', 'CREATE ROLE eve LOGIN BYPASSRLS', 'CREATE ROLE club', 'CREATE ROLE mia LOGIN IN ROLE club', 'GRANT CREATE ON SCHEMA public TO eve, mia, club');
execute('postgres', "CREATE TABLE $_ (id int PRIMARY KEY, x int)", "INSERT INTO $_ SELECT i, i % 3 FROM generate_series(1, 9) i", "ALTER TABLE $_ REPLICA IDENTITY FULL", "ALTER TABLE $_ ENABLE ROW LEVEL SECURITY",
	"GRANT SELECT ON $_ TO eve, mia") for 'guarded', 'clubs';
execute('postgres', 'ALTER TABLE clubs OWNER TO club');
is(make('eves', 'SELECT id, x FROM guarded', as => psql('postgres', user => 'eve')), '', 'a view of one who bypasses row-level security');
is(make('eves2', 'SELECT x, count(*) AS n FROM guarded GROUP BY x', as => psql('postgres', user => 'eve')), '', 'with groups');
is(make('mias', 'SELECT id, x FROM clubs', as => psql('postgres', user => 'mia')), '', 'and one of a member of the table\'s owner');
is(wait_view($_), '', "$_ is filled") for 'eves', 'eves2', 'mias';
execute('postgres', 'ALTER ROLE eve NOBYPASSRLS', 'REVOKE club FROM mia', 'INSERT INTO guarded VALUES (100, 1)', 'INSERT INTO clubs VALUES (100, 1)');
like(wait_view($_), qr/^55000/, "$_ has failed when that is no more") for 'eves', 'eves2', 'mias';
is(rows('postgres', 'SELECT count(*) FROM eves WHERE id = 100'), '0', 'and did not get the new row');
is(rows('postgres', 'SELECT n FROM eves2 WHERE x = 1'), '3', 'nor did the group');
is(rows('postgres', 'SELECT count(*) FROM mias WHERE id = 100'), '0', 'nor that of the member');

# ---- a unique index of the user's own, whose values are swapped in one tick ----
execute('postgres', 'CREATE TABLE seats (id int PRIMARY KEY, name text, CONSTRAINT seats_name UNIQUE (name) DEFERRABLE)', q{INSERT INTO seats VALUES (1, 'a'), (2, 'b'), (3, 'c')});
my %seats = (seats1 => 'SELECT id, name FROM seats', seats2 => 'SELECT s.id, s.name, (SELECT count(*) FROM base WHERE base.x = s.id) AS n FROM seats s');
for my $view (sort keys %seats)
{
	is(make($view, $seats{$view}), '', "a view of seats: $seats{$view}");
	is(wait_view($view), '', 'filled');
	execute('postgres', "CREATE UNIQUE INDEX ON $view (name)");
}
{
	my $dbh = psql('postgres');
	$dbh->begin_work;
	$dbh->do('SET CONSTRAINTS ALL DEFERRED');
	$dbh->do(q{UPDATE seats SET name = CASE id WHEN 1 THEN 'b' WHEN 2 THEN 'a' ELSE 'd' END});
	$dbh->do(q{INSERT INTO seats VALUES (4, 'c')});
	$dbh->commit;
}
is(differ($_, $seats{$_}), '', "$_ takes a swap") for sort keys %seats;

# ---- a transaction whose snapshot still shows a view that somebody else has dropped: an error at most, never a crash ----
execute('postgres', 'CREATE TABLE seen (id int PRIMARY KEY, x int)', 'INSERT INTO seen SELECT i, i % 3 FROM generate_series(1, 9) i', 'CREATE TABLE other (id int)');
my $dbh = psql('postgres');
my $second = psql('postgres', fresh => 1);
for my $sql ('ALTER TABLE seen ADD COLUMN q int', 'ALTER TABLE seen ALTER x DROP NOT NULL', 'ALTER TABLE seen DROP COLUMN x', 'DROP TABLE other', 'ALTER TABLE other RENAME TO another', 'SELECT tapdata.refresh_view($)',
	q(SELECT tapdata.alter_view($, '{"changes": null}')), 'SELECT * FROM tapdata.changes($, 0)', 'SELECT tapdata.view_tick($)', 'SELECT * FROM tapdata.explain_view($)', 'SELECT tapdata.drop_view($)')
{
	is(make('dropped', 'SELECT x, count(*) AS n FROM seen GROUP BY x', options => '{"changes": true}'), '', 'a view');
	my $statement = $sql =~ s/\$/value('postgres', "SELECT 'dropped'::regclass::oid") . '::oid'/er;
	$second->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$second->do('SELECT count(*) FROM pg_class');
	execute('postgres', q{SELECT tapdata.drop_view('dropped')});
	my $said = try_do($second, $statement);
	like($said, qr/^(|(42704|42P01|40001|55000|XX000) .*)$/s, "and, dropped by another session: $sql");
	ok($second->ping && try_do($second, 'ROLLBACK') eq '', 'the session goes on');
}
is(make('dropped', 'SELECT x, count(*) AS n FROM seen GROUP BY x'), '', 'a view');
is(wait_view('dropped'), '', 'filled');
for my $call (q(SELECT tapdata.alter_view('dropped', '{"changes": true}')), q(SELECT tapdata.refresh_view('dropped')), q(SELECT tapdata.drop_view('dropped')))
{
	$dbh->begin_work;
	$dbh->do(q{SELECT tapdata.drop_view('dropped')});
	my $pid = fork // die;
	if ($pid == 0) { my $db = psql('postgres', fresh => 1); my $e = try_do($db, $call); $db->disconnect; require POSIX; POSIX::_exit($e =~ /^42704 .*dropped meanwhile/ ? 0 : 1) }
	eventually(sub { ($second->selectrow_array(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%''dropped''%'}))[0] });
	$dbh->commit;
	waitpid $pid, 0;
	is($?, 0, "a view that is dropped while a call waits for it: $call");
	is(make('dropped', 'SELECT x, count(*) AS n FROM seen GROUP BY x'), '', 'and made again');
}

# ---- an error of check_view leaves no subtransaction open ----
is(wait_view('dropped'), '', 'a view that streams');
$dbh->begin_work;
$dbh->do('LOCK TABLE seen');
$second->do(q{SET lock_timeout = '100ms'});
like(try_do($second, q{SELECT * FROM tapdata.check_view('dropped')}), qr/^55P03/, 'check_view of a view whose table is locked');
is(try_do($second, 'SELECT 1'), '', 'the session goes on');
$second->do(q{DO $$ BEGIN BEGIN PERFORM * FROM tapdata.check_view('dropped'); EXCEPTION WHEN lock_not_available THEN RETURN; END; END $$});
is(try_do($second, 'SELECT 1'), '', 'also when a block of plpgsql took the error');
$dbh->rollback;

# ---- WITH queries that name the one before twice: their number doubles at each step ----
my $doubling = 'WITH c0 AS (SELECT id, x FROM seen)' . join('', map { my $p = $_ - 1; ", c$_ AS (SELECT p.id, p.x FROM c$p p, c$p q WHERE p.id = q.id)" } 1 .. 30) . ' SELECT c.id, s.x FROM c30 c LEFT JOIN seen s ON s.id = c.x';
like(make('doubling', $doubling), qr/^0A000 .*more than \d+ tables and subqueries/, 'WITH queries that double thirty times are refused');
execute('postgres', 'CREATE VIEW e0 AS SELECT id, x FROM seen', map { my $p = $_ - 1; "CREATE VIEW e$_ AS SELECT p.id, q.x FROM e$p p JOIN e$p q USING (id)" } 1 .. 30);
like(make('doubling', 'SELECT e.id, s.x FROM e30 e LEFT JOIN seen s ON s.id = e.x'), qr/^0A000 .*more than \d+ tables and subqueries/, 'and so are ordinary views');

# ---- a publication of all tables: tapdata's own tables, which no user could give an identity, are no reason to fail a view that has a key ----
execute('postgres', 'CREATE TABLE pub (id int PRIMARY KEY, k int NOT NULL, v int)', 'INSERT INTO pub SELECT i, i % 5, i FROM generate_series(1, 100) i');
my %published = (
	pub_groups => 'SELECT k, count(*) AS n, sum(v) AS s FROM pub GROUP BY k',
	pub_first => 'SELECT id, v FROM pub WHERE v > 3 ORDER BY v DESC, id LIMIT 4',
	pub_parts => 'SELECT id, v FROM pub WHERE v > (SELECT avg(v) FROM pub)',
	pub_kept => 'SELECT k, max(v) AS m FROM pub GROUP BY k');
my @plain = sort keys %published;
my %more = (pub_groups => '{"changes": true, "changes_kept": "0"}', pub_kept => '{"old_images": "kept"}');
is(make($_, $published{$_}, options => $more{$_}), '', "$_ is made") for @plain;
is(make('pub_keyless', 'SELECT v FROM pub'), '', 'and a view without a key');
is(wait_view($_), '', "$_ is there") for @plain, 'pub_keyless';
execute('postgres', 'ALTER TABLE pub_parts REPLICA IDENTITY FULL');    # it has no key, its parts need none
execute('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES', 'UPDATE pub SET v = v + 1, k = (k + 1) % 4', 'DELETE FROM pub WHERE id % 10 = 0', 'INSERT INTO pub VALUES (1000, 1, 1)');
is(differ($_, $published{$_}), '', "$_ goes on") for @plain;
is(rows('postgres', q{SELECT sqlstate, hint ~ 'REPLICA IDENTITY.*refresh_view' FROM tapdata.views WHERE view = 'pub_keyless'::regclass}), '55000|1', 'the one without a key has failed, with what to do');
ok(eventually(sub { execute('postgres', 'UPDATE pub SET v = v + 1 WHERE id = 1'); wait_view('pub_groups');
	value('postgres', q{SELECT count(*) FROM tapdata_state.v} . value('postgres', q{SELECT id FROM tapdata.view WHERE relation = 'pub_groups'::regclass}) . '_c') < 5 }, 20), 'what a feed keeps no longer goes');
is(try_do(psql('postgres'), q{SELECT tapdata.create_view('pub_parts', 'SELECT id, v, k FROM pub WHERE v > (SELECT avg(v) FROM pub)', or_replace => true)}), '', 'a new definition');
is(differ('pub_parts', 'SELECT id, v, k FROM pub WHERE v > (SELECT avg(v) FROM pub)'), '', 'takes over');
execute('postgres', 'ALTER TABLE pub_keyless REPLICA IDENTITY FULL', q{SELECT tapdata.refresh_view('pub_keyless')});
is(differ('pub_keyless', 'SELECT v FROM pub'), '', 'that helps');
execute('postgres', 'UPDATE pub SET v = v - 1', 'DELETE FROM pub WHERE id % 7 = 0');
is(differ('pub_keyless', 'SELECT v FROM pub'), '', 'and it goes on');
execute('postgres', 'DROP PUBLICATION everything', 'DROP TABLE pub CASCADE');

finish();
done_testing();
