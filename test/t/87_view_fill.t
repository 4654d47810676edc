# Fills that take long: who drops the view does not wait for one, an option bounds it, and what it writes is no load for other groups.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

start_server('fills', 'max_worker_processes = 40', 'max_replication_slots = 12', 'tapdata.worker_memory = 1MB');
# Each row takes a second: no fill of `many` ends in this test.
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE many (id int PRIMARY KEY)', 'INSERT INTO many SELECT generate_series(1, 1000)',
	'CREATE TABLE few (id int PRIMARY KEY, a int)', 'INSERT INTO few SELECT i, i % 3 FROM generate_series(1, 9) i',
	q{CREATE FUNCTION slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN $1; END'});
my $slow = 'SELECT id, slowly(id) AS s FROM many';
my $quick = 'SELECT a, count(*) AS n FROM few GROUP BY a';

sub create { my ($name, $query, $more) = @_; execute('postgres', "SELECT tapdata.create_view('$name', \$\$$query\$\$" . ($more // '') . ')'); return }
sub view { my ($name, $column) = @_; return value('postgres', "SELECT $column FROM tapdata.views WHERE view = ?::regclass", $name) // '' }
sub is_being_filled { my ($db) = @_; return eventually(sub { value($db // 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'tapdata fill' AND wait_event = 'PgSleep'}) }, 30) }
sub wait_for { my ($name) = @_; return try_do(psql('postgres'), "SELECT tapdata.wait_view('$name', '30 s')") }

# Done while the view is being filled, by somebody who would wait for its end in vain.
sub not_held_up
{
	my ($what, $sql, $db) = @_;
	ok(is_being_filled($db), "$what: it is being filled");
	my $dbh = psql($db // 'postgres', fresh => 1);
	$dbh->do("SET lock_timeout = '10s'; SET client_min_messages = error");
	is(try_do($dbh, $sql), '', '... and not waited for');
	$dbh->disconnect;
	return;
}

# ---- who drops it ends its fill ----
create('quick', $quick);
is(wait_for('quick'), '', 'a view beside it');
for my $drop (q{SELECT tapdata.drop_view('long')}, 'DROP TABLE long', 'DROP TABLE long CASCADE', 'DROP VIEW unrelated; DROP TABLE long')
{
	execute('postgres', 'CREATE VIEW unrelated AS SELECT 1 AS one');
	create('long', $slow);
	not_held_up($drop, $drop);
	is(value('postgres', q{SELECT to_regclass('long') IS NULL}), 1, '... gone');
	execute('postgres', 'DROP VIEW IF EXISTS unrelated');
}
{
	execute('postgres', 'CREATE TABLE base (LIKE many)', 'INSERT INTO base TABLE many', 'CREATE SCHEMA within', 'CREATE ROLE owner_of_long', 'GRANT CREATE ON SCHEMA public TO owner_of_long', 'GRANT SELECT ON many TO owner_of_long', 'ALTER ROLE owner_of_long LOGIN',
		'GRANT USAGE ON SCHEMA tapdata TO owner_of_long', 'CREATE TABLE within.base (LIKE many)', 'INSERT INTO within.base TABLE many');
	create('long', 'SELECT id, slowly(id) AS s FROM base');
	not_held_up('its base, CASCADE', 'DROP TABLE base CASCADE');
	create('within.long', $slow);
	not_held_up('its schema', 'DROP SCHEMA within CASCADE');
	my $owner = psql('postgres', user => 'owner_of_long');
	$owner->do("SELECT tapdata.create_view('long', '$slow')");
	not_held_up('DROP OWNED', 'DROP OWNED BY owner_of_long');
	is(value('postgres', q{SELECT to_regclass('long') IS NULL}), 1, '... gone');
}

# ---- whoever may not drop it ends nothing, and who takes it back has it filled anew ----
{
	create('long', $slow);
	ok(is_being_filled(), 'once more');
	my $filling = q{SELECT pid FROM tapdata.workers WHERE kind = 'fill'};
	my $pid = value('postgres', $filling);
	execute('postgres', 'CREATE ROLE stranger LOGIN', 'GRANT USAGE ON SCHEMA tapdata TO stranger');
	my $stranger = psql('postgres', user => 'stranger');
	like(try_do($stranger, $_), qr/^42501 /, "$_ by a stranger") for q{SELECT tapdata.drop_view('long')}, 'DROP TABLE long', 'DROP TABLE many CASCADE', 'DROP SCHEMA tapdata CASCADE';
	is(value('postgres', $filling), $pid, 'is nothing to the fill');
	my $dbh = psql('postgres', fresh => 1);
	$dbh->begin_work;
	$dbh->do(q{SELECT tapdata.drop_view('long')});
	$dbh->rollback;
	ok(eventually(sub { my $now = value('postgres', $filling); $now && $now != $pid }, 30), 'dropped and rolled back: filled anew');
	$pid = value('postgres', $filling);
	not_held_up($_, $_) for 'SELECT tapdata.adopt_database()', q{SELECT tapdata.alter_view('long', '{"fill_timeout": "20 h"}')}, q{SELECT tapdata.refresh_view('long')};
	ok(eventually(sub { my $now = value('postgres', $filling); $now && $now != $pid }, 30), 'refresh_view: begun anew');
	execute('postgres', q{SELECT tapdata.drop_view('long')});
}

# ---- a new definition of it ----
{
	create('kept', 'SELECT id, id AS s FROM many');
	is(wait_for('kept'), '', 'a view');
	create('kept', $slow, ", or_replace => true");
	not_held_up('the same definition again', "SELECT tapdata.create_view('kept', '$slow', or_replace => true)");
	is(view('kept', 'replacing'), 'snapshot', '... which goes on with it');
	not_held_up('the old one again', q{SELECT tapdata.create_view('kept', 'SELECT id, id AS s FROM many', or_replace => true)});
	is(view('kept', 'replacing'), '', '... the new one is given up');
	create('kept', $slow, ", or_replace => true");
	not_held_up('dropped with its new definition', q{SELECT tapdata.drop_view('kept')});
}

# ---- DROP EXTENSION ----
execute('postgres', 'CREATE DATABASE gone');
execute('gone', 'CREATE EXTENSION tapdata', 'CREATE TABLE many (id int PRIMARY KEY)', 'INSERT INTO many SELECT generate_series(1, 1000)',
	q{CREATE FUNCTION slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN $1; END'}, "SELECT tapdata.create_view('long', '$slow')");
not_held_up('the extension', 'DROP EXTENSION tapdata CASCADE', 'gone');

# ---- fill_timeout ----
{
	create('long', $slow, q{, '{"timeout": "100 ms"}'});
	ok(is_being_filled(), 'timeout is not about fills');
	select undef, undef, undef, 1;
	is(view('long', 'status'), 'snapshot', '... it goes on');
	execute('postgres', q{SELECT tapdata.drop_view('long')});
	create('long', $slow, q{, '{"fill_timeout": "300 ms"}'});
	my $error = wait_for('long');
	like($error, qr/^55000 .*long has failed.*"fill_timeout" allows, 300 ms/s, 'a fill that takes longer than its option allows');
	like($error, qr/alter_view\('public.long', '\{"fill_timeout": "10 h"\}'\), then tapdata.refresh_view/, 'says how to allow more');
	is(view('long', 'status') . view('long', 'sqlstate') . view('long', 'exact'), 'failed570140', '... and is frozen');
	is(wait_for('quick'), '', 'others go on');
	execute('postgres', q{SELECT tapdata.alter_view('long', '{"fill_timeout": "0"}')}, q{SELECT tapdata.refresh_view('long')});
	ok(is_being_filled(), 'none: it is filled again');
	select undef, undef, undef, 1;
	is(view('long', 'status'), 'snapshot', '... for as long as it takes');
	execute('postgres', q{SELECT tapdata.drop_view('long')});
	create('brief', $quick, q{, '{"fill_timeout": "60 s"}'});
	is(wait_for('brief'), '', 'one that is quick enough');
	execute('postgres', q{SELECT tapdata.drop_view('brief')});
}

# ---- what a fill or a tick writes is never kept by the decoding of another group; what users write is ----
{
	execute('postgres', 'CREATE TABLE wide (id int PRIMARY KEY, t text)', q{INSERT INTO wide SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 20000) i});
	create('elsewhere', $quick, q{, '{"group": "elsewhere"}'});
	is(wait_for('elsewhere'), '', 'a view of another group');
	my $spilt = q{SELECT coalesce(sum(t.spill_bytes), 0) FROM pg_stat_replication_slots t JOIN tapdata.view_group g ON t.slot_name LIKE '%\_g' || g.id WHERE g.name = 'elsewhere'};
	my $before = value('postgres', $spilt);
	create('big', 'SELECT id, t, id % 7 AS m FROM wide');
	is(wait_for('big'), '', 'a large fill');
	execute('postgres', q{INSERT INTO few VALUES (100, 1)});
	is(wait_for('elsewhere'), '', 'is decoded by the other group');
	select undef, undef, undef, 2;
	is(value('postgres', $spilt), $before, '... without a byte of it on disk');
	execute('postgres', 'CREATE TABLE unrelated (t text)', 'INSERT INTO unrelated SELECT t FROM wide', 'INSERT INTO few VALUES (101, 1)');
	is(wait_for('elsewhere'), '', 'a large transaction of a user');
	ok(eventually(sub { value('postgres', $spilt) > $before }, 30), '... is');
	$before = value('postgres', $spilt);
	is(rows('postgres', 'SELECT count(*) FROM big'), 20000, 'all rows of it');
	execute('postgres', 'DELETE FROM few WHERE id >= 100');
	is(wait_for($_) . rows('postgres', "SELECT * FROM tapdata.check_view('$_')"), '', "$_ is exact") for qw(elsewhere quick big);
}

# ---- a worker that is kept from taking in what came: freshness is the age of what it lacks, not of the last change ----
{
	ok(eventually(sub { view('elsewhere', 'freshness') eq '00:00:00' }), 'nothing waits');
	select undef, undef, undef, 2;
	my $p = psql('postgres', fresh => 1);
	my $before = value('postgres', 'SELECT clock_timestamp()');
	$p->begin_work;
	$p->do('LOCK TABLE elsewhere IN SHARE MODE');
	execute('postgres', 'INSERT INTO few VALUES (103, 1)');
	my $fresh;
	ok(eventually(sub { ($fresh = view('elsewhere', 'freshness')) ne '00:00:00' }), 'something waits');
	is($p->selectrow_array(q{SELECT status || ' ' || (freshness <= clock_timestamp() - $1::timestamptz) FROM tapdata.views WHERE view = 'elsewhere'::regclass}, undef, $before), 'streaming true', '... since it came')
		or diag("freshness $fresh");
	$p->rollback;
	$p->disconnect;
	is(wait_for('elsewhere'), '', 'it goes on');
}

# ---- capture that is behind: freshness and doctor() say so ----
{
	my $pid = value('postgres', q{SELECT pid FROM tapdata.workers WHERE kind = 'capture' AND object = 'elsewhere'});
	my $doctor = q{SELECT ok, detail FROM tapdata.doctor() WHERE item = 'capture'};
	ok(eventually(sub { view('elsewhere', 'freshness') eq '00:00:00' }), 'nothing waits');
	like(rows('postgres', $doctor), qr/^1\|none is behind/, 'doctor() agrees');
	kill 'STOP', $pid;
	execute('postgres', 'INSERT INTO few VALUES (102, 1)');
	select undef, undef, undef, 2;
	is(view('elsewhere', q{status || ' ' || (freshness BETWEEN interval '1 s' AND interval '60 s')}), 'streaming true', 'what is not decoded makes it old');
	like(try_do(psql('postgres'), q{SELECT tapdata.wait_view('elsewhere', '100 ms')}), qr/^57014 .*Its status is "streaming".*Capture is behind: \d+ kB of the log/s, 'so does who waits for it');
	ok(eventually(sub { rows('postgres', $doctor) =~ /^0\|is behind.*slot tapdata_\d+_g\d+ has \d+ \w+ of the log still to decode since .* \(process $pid/ }, 30), 'doctor() names the process')
		or diag(rows('postgres', $doctor));
	is(value('postgres', q{SELECT freshness < interval '5 s' FROM tapdata.views WHERE view = 'quick'::regclass}), 1, 'other groups are not concerned');
	kill 'CONT', $pid;
	is(wait_for('elsewhere'), '', 'it goes on');
	ok(eventually(sub { view('elsewhere', 'freshness') eq '00:00:00' && rows('postgres', $doctor) =~ /^1/ }), '... and all is well');
}

# ---- a view that asks for more memory than there is, again and again: those of its group do not wait for it ----
{
	execute('postgres', 'CREATE TABLE short (yes bool)', 'INSERT INTO short VALUES (true)', 'CREATE TABLE meal (id int PRIMARY KEY)', 'INSERT INTO meal VALUES (1)', q{CREATE FUNCTION hungry(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
		$$BEGIN IF $1 = 100 AND (SELECT yes FROM public.short) THEN RAISE out_of_memory; END IF; RETURN $1; END$$});
	my $aside = sub { view('hungry', 'status') eq 'snapshot' && view('hungry', 'sqlstate') eq '53200' && view('hungry', 'hint') =~ /^The fill is tried again, by itself/ };
	create('hungry', 'SELECT id, hungry(id) AS h FROM meal', q{, '{"group": "table"}'});
	is(wait_for('hungry'), '', 'enough for a while');
	create('modest', 'SELECT count(*) AS n FROM meal', q{, '{"group": "table"}'});
	is(wait_for('modest'), '', 'as for one beside it');
	execute('postgres', 'INSERT INTO meal VALUES (100)');
	is(wait_for('modest'), '', 'which goes on when there is not');
	is(value('postgres', 'SELECT n FROM modest'), 2, '... with what the other one can not take');
	ok(eventually($aside), '... which is named, with what comes') or diag(rows('postgres', 'SELECT view, status, sqlstate, error, hint FROM tapdata.views'));
	create('late', 'SELECT max(id) AS m FROM meal', q{, '{"group": "table"}'});
	is(wait_for('late'), '', 'a new one does not wait for the other to be filled');
	execute('postgres', 'UPDATE short SET yes = false', q{SELECT tapdata.refresh_view('hungry')});
	is(try_do(psql('postgres'), q{SELECT tapdata.wait_view('hungry', '5 s')}), '', 'refresh_view tries it at once');
	is(value('postgres', q{SELECT count(*) FROM tapdata.check_view('hungry')}), 0, '... it is exact');
}

# ---- a setting of the database by which scans of GIN indexes leave rows out at random: not those of views ----
{
	execute('postgres', 'CREATE TABLE tagged (id int PRIMARY KEY, tags int[])', q{INSERT INTO tagged SELECT i, '{1}' FROM generate_series(1, 20000) i}, 'CREATE INDEX ON tagged USING gin (tags) WITH (fastupdate = off)',
		'ALTER DATABASE postgres SET gin_fuzzy_search_limit = 100', 'ALTER DATABASE postgres SET enable_seqscan = off');
	my $dbh = psql('postgres', fresh => 1);
	cmp_ok($dbh->selectrow_array(q{SELECT count(*) FROM tagged WHERE tags @> '{1}'}), '<', 20000, 'a session sees some of the rows');
	create('all_tagged', q{SELECT id FROM tagged WHERE tags @> '{1}'});
	is(wait_for('all_tagged'), '', 'a view that is filled by such an index');
	is(value('postgres', 'SELECT count(*) FROM all_tagged'), 20000, '... has all rows');
	is($dbh->selectrow_array(q{SELECT count(*) FROM tapdata.check_view('all_tagged')}), 0, '... as check_view says in such a session');
}
finish();
done_testing();
