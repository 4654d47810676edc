# Live views of every kind through pg_dump: whole, restored in parallel, definitions only, one schema only; through pg_upgrade; and create_view that fails midway.
# A copy is fenced until it is adopted, then exact by itself, and made of the same parts as before; what comes along incompletely is named.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdExact;

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $pg = start_server('viewdump', 'max_worker_processes = 64');
my $dir = "$pg->{PGHOST}/dump";
sub program { my ($name, @args) = @_; local @ENV{qw(PGHOST PGPORT PGUSER)} = @$pg{qw(PGHOST PGPORT PGUSER)}; return system("$pg->{TD_PG_BIN}/$name", @args) == 0 }

# What belongs to each view inside of PostgreSQL, without numbers that a copy has of its own.
sub anatomy
{
	my ($db) = @_;
	return rows($db, "SELECT d.refobjid::regclass, d.objid::regclass, c.relkind FROM pg_depend d JOIN pg_class c ON c.oid = d.objid WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'i' "
		. "AND d.refclassid = 'pg_class'::regclass AND c.relnamespace IN ('public'::regnamespace, 'tapdata_state'::regnamespace, 'tapdata_parts'::regnamespace, 'tapdata_views'::regnamespace) "
		. "AND c.relkind <> 't' ORDER BY d.refobjid::regclass::text COLLATE \"C\", d.objid::regclass::text COLLATE \"C\"");
}
sub objects { my ($db) = @_; return rows($db, "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('tapdata_state', 'tapdata_views', 'tapdata_parts') ORDER BY 1, 2") }

execute('postgres', 'CREATE DATABASE src');
execute('src', 'CREATE EXTENSION tapdata');
make_exact('src');
is(inexact_views('src'), '', 'views stream');
execute('src', "UPDATE t SET v = v + 1 WHERE id < 50");
# what views changed on base tables, and what they count on there: names that are not what they were when the views were made
my @identities = ('k', 'sub."K 2"', 'sub.k3', 'sub.part');
execute('src', 'CREATE SCHEMA sub0', 'CREATE TABLE k0 (id int PRIMARY KEY, a int, b int)', 'CREATE TABLE k2 (id int, a int NOT NULL, b int)', 'CREATE UNIQUE INDEX k2_a0 ON k2 (a)', 'ALTER TABLE k2 REPLICA IDENTITY USING INDEX k2_a0',
	'CREATE TABLE sub0.k3 (id int, a int)', 'ALTER TABLE sub0.k3 REPLICA IDENTITY NOTHING', 'CREATE TABLE top (id int, a int) PARTITION BY LIST (id)', 'CREATE TABLE sub0.part PARTITION OF top FOR VALUES IN (1)',
	q{SELECT tapdata.create_view('identity', 'SELECT k0.a, count(*) AS n, sum(k2.b) AS s, max(k3.a) AS m, max(top.a) AS t FROM k0 JOIN k2 ON k2.id = k0.id JOIN sub0.k3 ON k3.id = k0.id JOIN top ON top.id = k0.id GROUP BY k0.a')},
	q{SELECT tapdata.create_view('proof', 'SELECT a, b FROM k2')}, q{SELECT tapdata.create_view('proof_first', 'SELECT id, b FROM k2 ORDER BY b LIMIT 3')},
	'ALTER TABLE k0 RENAME TO k', 'ALTER TABLE k2 RENAME TO "K 2"', 'ALTER TABLE "K 2" SET SCHEMA sub0', 'ALTER SCHEMA sub0 RENAME TO sub', 'ALTER INDEX sub.k2_a0 RENAME TO k2_a', 'INSERT INTO k SELECT i, i % 3, i FROM generate_series(1, 9) i',
	'INSERT INTO sub."K 2" SELECT i, i, i FROM generate_series(1, 9) i');
sub identity_of { my ($db) = @_; return rows($db, 'SELECT c.relname, c.relreplident, i.indexrelid::regclass FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisreplident WHERE c.oid IN (' . join(', ', map { "'$_'::regclass" } @identities) . ') ORDER BY 1') }
is(identity_of('src'), "K 2|f|\nk|f|\nk3|f|\npart|f|", 'views need old values');
is(inexact_views('src'), '', 'exact');
my $copy = take_copy('src', 'delta');
my $anatomy = anatomy('src');
like($anatomy, qr/^outside\|\S+_idx\|i$/m, 'a keyed view has an index of its own');
like($anatomy, qr/^tapdata_state\.v\d+_1\|\S+_idx\|i$/m, 'so has a table of state');

# ---- the whole, one by one and in parallel ----
ok(program('pg_dump', '-Fc', '-f', $dir, 'src'), 'pg_dump');
for (['one', '--exit-on-error'], ['parallel', '--exit-on-error', '-j', '2'])
{
	my ($db, @how) = @$_;
	execute('postgres', "CREATE DATABASE $db");
	ok(program('pg_restore', @how, '-d', $db, $dir), "pg_restore @how");
	is(value($db, "SELECT string_agg(DISTINCT status || exact, ',') FROM tapdata.views"), 'fencedfalse', "$db: fenced, and none is called exact");
	is(value($db, "SELECT count(*) FROM tapdata.views WHERE hint !~ 'adopt_database' OR hint IS NULL"), 0, "$db: with what to do");
	like(try_do(psql($db), "SELECT tapdata.wait_view('delta', '2 s')"), qr/^55000 .*copy/s, "$db: wait_view says so");
	like(try_do(psql($db), "SELECT * FROM tapdata.changes('delta', 0)"), qr/^55000 .*copy/s, "$db: changes says so");
	my $early = psql($db, fresh => 1);
	$early->do($_) for 'SET tapdata.read_your_writes = on', 'CREATE TABLE early ()', 'SELECT FROM delta';
	{
		my @said;
		local $SIG{__WARN__} = sub { push @said, @_ };
		local psql($db)->{PrintWarn} = 1;
		psql($db)->do('SET client_min_messages = notice; SELECT tapdata.adopt_database()');
		like("@said", qr/@{[scalar(view_names()) + 3]} views were adopted/, "$db: as many views as there are, without their parts");
		psql($db)->do('RESET client_min_messages');
	}
	execute($db, 'INSERT INTO t (g, v) VALUES (1, 1)');
	is(inexact_views($db), '', "$db: adopted, exact by itself");
	my $missed = grep { $early->do("INSERT INTO t (g, v) VALUES ($_, 1)"); !$early->selectrow_array("SELECT n FROM delta WHERE g = $_") } -20 .. -1;
	is($missed, 0, "$db: who has looked before reads his writes now");
	$early->do('DELETE FROM t WHERE g < 0');
	$early->do('DROP TABLE early');
	$early->disconnect;
	is(inexact_views($db), '', "$db: exact after that");
	is(anatomy($db), $anatomy, "$db: made of the same parts");
	my $mine = { %$copy };
	is(apply_changes($db, 'delta', $mine), '', "$db: the feed goes on");
	for my $index (map { /^\S+\|(\S+)\|i$/ ? $1 : () } split /\n/, $anatomy) { like(try_do(psql($db), "DROP INDEX $index"), qr/^2BP01 /, "$db: $index can't be dropped") }
	execute($db, map { "SELECT tapdata.drop_view('$_')" } qw(upper), grep { $_ ne 'upper' } view_names());
	like(try_do(psql($db), 'DROP INDEX sub.k2_a'), qr/^2BP01 .*drop_view\('public\.(proof|proof_first)'\)/s, "$db: an index that proves the key of a view can't be dropped");
	execute($db, "SELECT tapdata.drop_view('proof')");
	like(try_do(psql($db), 'DROP INDEX sub.k2_a'), qr/^2BP01 .*drop_view\('public\.proof_first'\)/s, "$db: nor one that makes an order total");
	execute($db, "SELECT tapdata.drop_view('proof_first')");
	is(identity_of($db), "K 2|f|\nk|f|\nk3|f|\npart|f|", "$db: replica identities are those that views need");
	execute($db, "SELECT tapdata.drop_view('identity')");
	is(identity_of($db), "K 2|i|sub.k2_a\nk|d|\nk3|n|\npart|d|", "$db: they are set back with the last view");
	is(objects($db), '', "$db: dropped, nothing is left");
	is(value($db, 'SELECT count(*) FROM tapdata.replica_identity'), 0, "$db: nor of replica identities");
}

# ---- a copy that nobody adopts ----
{
	execute('postgres', 'CREATE DATABASE plain');
	ok(program('pg_restore', '-d', 'plain', $dir), 'restored once more');
	execute('plain', 'CREATE TABLE z ()', 'DROP TABLE z');
	is(identity_of('plain'), "K 2|f|\nk|f|\nk3|f|\npart|f|", 'not adopted, nothing is set back');
	execute('plain', 'DROP EXTENSION tapdata CASCADE');
	is(identity_of('plain'), "K 2|i|sub.k2_a\nk|d|\nk3|n|\npart|d|", 'until the extension is dropped');
}

# ---- definitions only: tables that nobody keeps, and that say so ----
{
	execute('postgres', 'CREATE DATABASE bare');
	ok(program('pg_restore', '--exit-on-error', '--schema-only', '-d', 'bare', $dir), 'schema only');
	is(value('bare', 'SELECT count(*) FROM tapdata.views'), 0, 'no view comes along');
	like(try_do(psql('bare'), 'INSERT INTO delta VALUES (1, 1, 1)'), qr/^55000 .*DROP TRIGGER/s, 'the tables refuse to be written, and say what to do');
	my ($detail, $fix) = @{ psql('bare')->selectrow_arrayref("SELECT detail, fix FROM tapdata.doctor() WHERE item = 'remains of views' AND NOT ok") // ['', ''] };
	like($detail, qr/tapdata_views\.delta/, 'the doctor names what is left');
	is(try_do(psql('bare'), $fix), '', 'and its statement works');
	is(objects('bare'), '', 'nothing is left');
	is(value('bare', "SELECT ok FROM tapdata.doctor() WHERE item = 'remains of views'"), 1, 'which the doctor sees');
	execute('bare', map { "DROP TABLE $_" } view_names());
	execute('bare', q{SELECT tapdata.create_view('delta', 'SELECT g, count(*) AS n FROM t GROUP BY g')}, "SELECT tapdata.wait_view('delta')");
}

# ---- one schema only, beside an extension that is there ----
{
	execute('postgres', 'CREATE DATABASE part');
	execute('part', 'CREATE EXTENSION tapdata');
	ok(program('pg_restore', '-n', 'public', '-d', 'part', $dir), 'one schema');
	is(value('part', 'SELECT count(*) FROM tapdata.views'), 0, 'no view comes along');
	like(try_do(psql('part'), 'DELETE FROM delta'), qr/^55000 .*DROP TRIGGER/s, 'its tables are refused to be written');
}

# ---- create_view that fails ----
{
	my $before = objects('src');
	my $identities = rows('src', 'SELECT * FROM tapdata.replica_identity');
	my @bad = (q{SELECT tapdata.create_view('x', 'SELECT k, count(*) AS n FROM (SELECT c.id, count(t.id) AS k FROM c LEFT JOIN t ON t.g = c.id GROUP BY c.id) q GROUP BY k', '{"tablespace": "nowhere"}')},
		q{SELECT tapdata.create_view('x', 'SELECT count(*) FROM t', '{"group": "new", "nonsense": 1}')},
		q{SELECT tapdata.create_view('x', 'SELECT random() FROM t')}, q{SELECT tapdata.create_view('x', 'SELECT g FROM delta', '{"group": "another"}')});
	isnt(try_do(psql('src'), $_), '', 'refused: ' . substr($_, 28, 60)) for @bad;
	my $dbh = psql('src', fresh => 1);
	$dbh->begin_work;
	$dbh->do(q{SELECT tapdata.create_view('x', 'SELECT k, count(*) AS n FROM (SELECT c.id, count(t.id) AS k FROM c LEFT JOIN t ON t.g = c.id GROUP BY c.id) q GROUP BY k', '{"group": "gone", "changes": true}')});
	$dbh->rollback;
	$dbh->begin_work;
	$dbh->do(q{SELECT tapdata.create_view('y', 'SELECT v, count(*) AS n FROM t GROUP BY v', '{"group": "gone"}')});
	$dbh->disconnect;
	is(objects('src'), $before, 'nothing is left of those that failed, were rolled back, or whose session went away');
	is(rows('src', 'SELECT * FROM tapdata.replica_identity'), $identities, 'nor of replica identities');
	ok(eventually(sub { value('src', "SELECT count(*) FROM pg_replication_slots WHERE database = 'src'") == 2 && value('src', "SELECT count(*) FROM tapdata.view_group") == 2 }), 'nor of slots and groups');
	my $origins = sub { value('src', "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'tapdata\\_' || (SELECT oid FROM pg_database WHERE datname = 'src') || '\\_g%'") };
	is($origins->(), 4, 'nor of origins');
	# one that fails as it is filled
	execute('src', 'CREATE TABLE z (id int PRIMARY KEY, v int)', 'INSERT INTO z VALUES (1, 0)', q{SELECT tapdata.create_view('bad', 'SELECT id, 1 / v AS r FROM z', '{"group": "bad"}')});
	ok(eventually(sub { value('src', "SELECT status FROM tapdata.views WHERE view = 'bad'::regclass") eq 'failed' }), 'one that fails as it is filled says so');
	execute('src', "SELECT tapdata.drop_view('bad')");
	is(objects('src'), $before, 'dropped, it leaves nothing');
	ok(eventually(sub { value('src', "SELECT count(*) FROM pg_replication_slots WHERE database = 'src'") == 2 && $origins->() == 4 }), 'no slot and no origin either');
	is(inexact_views('src'), '', 'the others never noticed');
}

# ---- pg_upgrade: files and oids as they were, another system, another extension ----
{
	server('stop');
	clone_server('viewdump-new', 'files');
	my $old = { %$pg };
	on_server('viewdump-new', sub {
		my $new = server_data();
		my @as = $> == 0 ? qw(setpriv --reuid=tapdata --regid=tapdata --clear-groups) : ();
		my $quiet = "$old->{PGHOST}/upgrade.log";
		is(system(@as, 'sh', '-c', "cp '$new/postgresql.conf' '$new/pg_hba.conf' '$old->{PGHOST}' && rm -rf '$new'/* && '$pg->{TD_PG_BIN}/initdb' -D '$new' -U postgres -A trust -N --locale=C -E UTF8 >/dev/null && "
			. "cp '$old->{PGHOST}/postgresql.conf' '$old->{PGHOST}/pg_hba.conf' '$new' && cd '$old->{PGHOST}' && '$pg->{TD_PG_BIN}/pg_upgrade' -b '$pg->{TD_PG_BIN}' -B '$pg->{TD_PG_BIN}' -d '$pg->{TD_PG_DATA}' -D '$new' "
			. "-U postgres -p 50432 -P 50433 -s '$old->{PGHOST}' > '$quiet' 2>&1"), 0, 'pg_upgrade') or do { diag `tail -40 $quiet; cat $new/pg_upgrade_output.d/*/log/*server.log | tail -20`; return };
		unlike(`cat $new/pg_upgrade_output.d/*/log/*server.log 2>/dev/null`, qr/tapdata launcher|tapdata view/, 'nothing of ours ran meanwhile');
		server('start');
		is(value('src', "SELECT string_agg(DISTINCT status || exact, ',') FROM tapdata.views"), 'fencedfalse', 'a copy: fenced');
		execute('src', 'SELECT tapdata.adopt_database()', 'INSERT INTO t (g, v) VALUES (2, 2)');
		is(inexact_views('src'), '', 'adopted: exact');
		is(anatomy('src'), $anatomy, 'made of the same parts');
		is(apply_changes('src', 'delta', $copy), '', 'its feed goes on');
	});
}
finish();
done_testing();
