# What the supervisor does about view groups: their three kinds of workers come and go with what is wanted, and leave nothing behind.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use POSIX ();
use Time::HiRes qw(sleep time);

my $pg = start_server('viewworkers', 'max_prepared_transactions = 5', 'autovacuum = off');
my $log = "$pg->{TD_PG_DATA}/../log/server.log";

sub oid_of { my ($db) = @_; return value('postgres', 'SELECT oid FROM pg_database WHERE datname = ?', $db) }

# Slots and origins of groups of a database, sorted.
sub traces
{
	my ($oid) = @_;
	return rows('postgres', "SELECT name FROM (SELECT 'slot ' || slot_name FROM pg_replication_slots UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin) x(name)
		WHERE name ~ ' tapdata_${oid}_g' ORDER BY 1");
}

sub group_status { my ($db, $name) = @_; return value($db, 'SELECT s.status FROM tapdata.view_group g JOIN tapdata.group_state s ON s.view_group = g.id WHERE g.name = ?', $name // 'default') }

sub view_status { my ($db, $view) = @_; return value($db, 'SELECT status FROM tapdata.views WHERE view = ?::regclass', $view) // 'none' }

# Waits for the view, and compares it with its definition; nobody writes meanwhile.
sub is_exact
{
	my ($db, $view, $name) = @_;
	my $at = eventually(sub { value($db, "SELECT tapdata.wait_view('$view', '20 s')") }, 60);
	my $differ = eval { rows($db, "(TABLE $view EXCEPT ALL TABLE tapdata_views.$view) UNION ALL (TABLE tapdata_views.$view EXCEPT ALL TABLE $view)") } // $@;
	return ok($at && $differ eq '', $name) || diag("status " . view_status($db, $view) . ", group " . (group_status($db) // '') . ", differs: $differ");
}

my $n = 0;
sub write_some { my ($db) = @_; $n++; execute($db, "INSERT INTO base SELECT g % 7, $n FROM generate_series(1, 10) g", "DELETE FROM base WHERE v < $n - 5"); return }

sub prepare_database
{
	my ($db) = @_;
	execute($db, 'CREATE EXTENSION tapdata', 'CREATE TABLE base (g int, v int)', 'ALTER TABLE base REPLICA IDENTITY FULL',
		'INSERT INTO base SELECT i % 7, i FROM generate_series(1, 1000) i');
	make_view($db, 'sums');
	return;
}

sub make_view { my ($db, $name, $options) = @_; psql($db)->do("SELECT tapdata.create_view(?, 'SELECT g, count(*) AS n, sum(v) AS s FROM base GROUP BY g', ?)", undef, $name, $options // '{}'); return }

# ---- a group begins with its first view ----
execute('postgres', 'CREATE EXTENSION tapdata');
ok(eventually(sub { worker_pids('supervisor') == 1 }), 'a supervisor');
ok(quiet(0.5, sub { !worker_pids('view') && !worker_pids('capture') }), 'without views there is no view worker');
execute('postgres', 'DROP EXTENSION tapdata');
ok(eventually(sub { !worker_pids('supervisor') }), 'gone');
prepare_database('postgres');
is_exact('postgres', 'sums', 'a view is exact');
is(workers(), 'capture postgres default, supervisor postgres, view postgres default', 'kept by a capture worker and a view worker, which bear the name of the group');
is(group_status('postgres'), 'streaming', 'its group streams');
is(value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('tapdata view', 'tapdata capture') AND usename = 'postgres'"), 2, 'both are the superuser');
my $oid = oid_of('postgres');
like(traces($oid), qr/slot tapdata_${oid}_g\d+$/m, 'it has a slot');
is(value('postgres', "SELECT starts FROM tapdata.worker_start WHERE kind = 'view'"), 1, 'its start is counted');

# ---- terminated workers come back ----
for my $kind (qw(view capture supervisor view))
{
	my ($pid) = worker_pids($kind);
	my ($view) = worker_pids('view');
	value('postgres', 'SELECT pg_terminate_backend(?)', $pid);
	write_some('postgres');
	ok(eventually(sub { my @p = worker_pids($kind); @p == 1 && $p[0] != $pid }), "a terminated $kind worker is started again");
	is((worker_pids('view'))[0], $view, 'and the view worker does not notice') if $kind eq 'supervisor';
	is_exact('postgres', 'sums', 'the view is exact');
	is(scalar(worker_pids('view')) . scalar(worker_pids('capture')), '11', 'one of each');
}
for my $kind (qw(view capture))
{
	my ($pid) = worker_pids($kind);
	kill 9, $pid;
	ok(eventually(sub { my @p = worker_pids($kind); @p == 1 && $p[0] != $pid }, 60), "a killed $kind worker is there again");
	write_some('postgres');
	is_exact('postgres', 'sums', 'the view is exact');
}
restart_server('fast');
write_some('postgres');
is_exact('postgres', 'sums', 'exact after a restart');

# ---- an origin that somebody else has taken ----
{
	execute('postgres', q{SELECT tapdata.create_view('leaves', 'SELECT count(*) AS n FROM base', '{"group": "left"}')}, q{SELECT tapdata.wait_view('leaves')});
	my $origin = value('postgres', "SELECT 'tapdata_' || d.oid || '_g' || g.id || '_fill' FROM pg_database d, tapdata.view_group g WHERE datname = current_database() AND g.name = 'left'");
	my $other = psql('postgres', fresh => 1);
	$other->do("SELECT pg_replication_origin_session_setup('$origin')");
	execute('postgres', q{SELECT tapdata.drop_view('leaves')}, q{SELECT tapdata.create_view('next', 'SELECT count(*) AS n FROM base', '{"group": "next"}')});
	is_exact('postgres', 'next', 'holds up nothing else');
	is(value('postgres', 'SELECT count(*) FROM pg_replication_origin WHERE roname = ?', $origin), 1, 'it stays meanwhile');
	$other->disconnect;
	ok(eventually(sub { !value('postgres', 'SELECT count(*) FROM pg_replication_origin WHERE roname = ?', $origin) }), 'and goes when it is free');
	execute('postgres', q{SELECT tapdata.drop_view('next')});
	ok(eventually(sub { traces($oid) !~ /_g[2-9]/ }), 'nothing is left');
}

# ---- a supervisor that ends just as a worker which it has started begins ----
SKIP:
{
	skip 'needs gdb, here', 1 if $^O ne 'linux' || `uname -m` !~ /x86_64/ || system('gdb --version > /dev/null 2>&1') != 0;
	my ($supervisor) = worker_pids('supervisor');
	open my $in, '<', "$pg->{TD_PG_DATA}/postmaster.pid" or die "postmaster.pid: $!";
	chomp(my $postmaster = <$in>);
	my $ready = "$pg->{PGHOST}/gdb";
	my $session = psql('postgres', fresh => 1);
	my $seen = sub { $session->selectrow_array("SELECT count(*) FROM tapdata.workers WHERE kind = 'view' AND object = 'raced'") };
	my $gdb = fork() // die "fork: $!";
	if ($gdb == 0)
	{
		open STDOUT, '>', "$ready.log";
		open STDERR, '>&', \*STDOUT;
		# it has seen that the worker has not begun, and goes on to free its entry; only then the worker can begin
		exec('gdb', '-q', '-batch', '-p', $supervisor, map { ('-ex', $_) } 'set pagination off', 'handle SIGTERM SIGUSR1 SIGURG nostop noprint pass', 'break td_slots_release_mine',
			"shell touch $ready", 'continue', 'break LWLockAcquire if $esi == 0', 'continue', 'continue', "shell kill -CONT $postmaster", 'shell sleep 2', 'delete', 'detach') or POSIX::_exit(1);
	}
	ok(eventually(sub { -e $ready }), 'a supervisor is watched');
	sleep 0.5;
	kill 'STOP', $postmaster;
	$session->do(q{SELECT tapdata.create_view('raced', 'SELECT count(*) AS n FROM base', '{"group": "raced"}')});
	ok(eventually($seen), 'it starts a worker');
	$session->do("SELECT pg_terminate_backend($supervisor)");
	waitpid $gdb, 0;
	kill 'CONT', $postmaster;
	is_exact('postgres', 'raced', 'which works');
	is($session->selectrow_array("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tapdata view'"), 2, 'one for each group');
	is($seen->(), 1, 'and is seen');
	$session->do(q{SELECT tapdata.drop_view('raced')});
	ok(eventually(sub { !$seen->() }), 'and stopped');
}

# ---- tapdata.enabled, and a fill worker that takes its time ----
{
	execute('postgres', 'CREATE TABLE slow (k int, v int)', 'INSERT INTO slow SELECT i % 2, i FROM generate_series(1, 10000) i', 'ANALYZE slow');
	execute('postgres', 'ALTER SYSTEM SET tapdata.enabled = off', 'SELECT pg_reload_conf()');
	ok(eventually(sub { workers() eq '' }), 'enabled = off ends all of them');
	write_some('postgres');
	execute('postgres', "SELECT tapdata.create_view('second', 'SELECT a.k, count(*) AS n FROM slow a JOIN slow b ON a.k = b.k WHERE a.v + b.v > 0 GROUP BY a.k')");
	ok(quiet(0.7, sub { workers() eq '' }), 'and a view that is created does not start them');
	execute('postgres', 'ALTER SYSTEM RESET tapdata.enabled', 'SELECT pg_reload_conf()');
	ok(eventually(sub { worker_pids('fill') == 1 }), 'enabled = on: a fill worker begins');
	my ($fill) = worker_pids('fill');
	like(value('postgres', "SELECT object FROM tapdata.workers WHERE kind = 'fill'") // '', qr/second$/, 'it bears the name of the view');
	is_exact('postgres', 'sums', 'the first view goes on meanwhile, with what was written while all was off');
	value('postgres', 'SELECT pg_terminate_backend(?)', $fill);
	ok(eventually(sub { my @p = worker_pids('fill'); @p == 1 && $p[0] != $fill }), 'a terminated fill worker is started again');
	($fill) = worker_pids('fill');
	value('postgres', 'SELECT pg_terminate_backend(?)', (worker_pids('view'))[0]);
	ok(eventually(sub { !pid_alive($fill) }, 3), 'it ends with its view worker');
	is_exact('postgres', 'second', 'the second view is filled');
	ok(eventually(sub { !worker_pids('fill') }), 'and its fill worker is gone');
	is_exact('postgres', 'sums', 'the first one is exact');
	execute('postgres', "SELECT tapdata.drop_view('second')");
}

# ---- a worker that dies again and again without progress is left to a person ----
{
	sub state_of { return rows('postgres', 'SELECT status, sqlstate FROM tapdata.group_state') }
	value('postgres', 'SELECT pg_terminate_backend(?)', (worker_pids('view'))[0]);
	ok(eventually(sub { state_of() eq 'retrying|57P01' }, 5), 'terminated: retrying');
	is_exact('postgres', 'sums', 'and back');
	select undef, undef, undef, 0.5;
	execute('postgres', "UPDATE tapdata.worker_start w SET starts = 10, started = clock_timestamp(), progress = concat_ws('/', split_part(w.progress, '/', 1), s.ticks, s.snapshot)
		FROM tapdata.group_state s WHERE s.view_group = w.object AND w.kind = 'view'");
	value('postgres', 'SELECT pg_terminate_backend(?)', (worker_pids('view'))[0]);
	ok(eventually(sub { state_of() eq 'failed|57P02' }, 5), 'the tenth time in a row: failed');
	ok(quiet(1, sub { state_of() eq 'failed|57P02' && !worker_pids('view') && !worker_pids('capture') }), 'for good');
	like(value('postgres', 'SELECT hint FROM tapdata.group_state'), qr/refresh_view/, 'the hint says how to go on');
	write_some('postgres');
	execute('postgres', "SELECT tapdata.refresh_view('sums')");
	is_exact('postgres', 'sums', 'which works');
	is(value('postgres', "SELECT starts FROM tapdata.worker_start WHERE kind = 'view'"), 1, 'and it begins to count anew');
}

# ---- no free worker ----
{
	execute('postgres', 'ALTER SYSTEM SET tapdata.max_workers = 3', 'SELECT pg_reload_conf()');
	make_view('postgres', 'apart', '{"group": "apart"}');
	ok(eventually(sub { group_status('postgres', 'apart') eq 'waiting_for_worker' }), 'a second group waits for a worker');
	like(rows('postgres', "SELECT sqlstate, hint FROM tapdata.group_state WHERE status = 'waiting_for_worker'"), qr/^53000\|.*tapdata\.max_workers \(now 3\)/, 'with a reason and a hint');
	ok(quiet(1, sub { group_status('postgres', 'apart') eq 'waiting_for_worker' && group_status('postgres') eq 'streaming' }), 'and nothing flickers');
	execute('postgres', 'ALTER SYSTEM RESET tapdata.max_workers', 'SELECT pg_reload_conf()');
	is_exact('postgres', 'apart', 'it begins once there is room');
	is(workers(), 'capture postgres apart, capture postgres default, supervisor postgres, view postgres apart, view postgres default', 'each group has its own workers');
}

# ---- a group without views ----
{
	my $id = value('postgres', "SELECT id FROM tapdata.view_group WHERE name = 'apart'");
	like(traces($oid), qr/slot tapdata_${oid}_g$id$/m, 'the second group has a slot of its own');
	my $dbh = psql('postgres', fresh => 1);
	my ($pids) = join ',', worker_pids('view');
	$dbh->begin_work;
	$dbh->do("SELECT tapdata.drop_view('apart')");
	$dbh->rollback;
	is_exact('postgres', 'apart', 'a drop that is rolled back changes nothing');
	$dbh->do("SELECT tapdata.drop_view('apart')");
	ok(eventually(sub { workers() eq 'capture postgres default, supervisor postgres, view postgres default' }), 'the last view of a group takes the workers along');
	ok(eventually(sub { traces($oid) !~ /_g$id\b/ && traces($oid) !~ /_g${id}_fill/ }), 'slot and origins go as well: nothing keeps WAL for nobody');
	my $status = value('postgres', 'SELECT s.status FROM tapdata.group_state s WHERE view_group = ?', $id);
	is($status // 'stopped', 'stopped', 'it is stopped');
	make_view('postgres', 'apart', '{"group": "apart"}');
	is_exact('postgres', 'apart', 'and can begin again');
	$dbh->do("SELECT tapdata.drop_view('apart')");
	$dbh->disconnect;
}
is_exact('postgres', 'sums', 'the other group did not notice');

# ---- databases ----
execute('postgres', 'CREATE DATABASE a');
prepare_database('a');
is_exact('a', 'sums', 'a second database has views');
write_some($_) for qw(a postgres);
is_exact($_, 'sums', "the view in $_ is exact") for qw(a postgres);
my $oid_a = oid_of('a');
TdProcs::close_all();
{
	my $begin = time;
	is(try_do(psql('postgres'), 'CREATE DATABASE b TEMPLATE a'), '', 'CREATE DATABASE ... TEMPLATE works while views are kept there');
	cmp_ok(time - $begin, '<', 7, 'in bounded time');
}
is_exact('a', 'sums', 'whose view goes on');
ok(eventually(sub { (group_status('b') // '') eq 'fenced' }), 'the copy is fenced');
ok(quiet(1, sub { !worker_pids('view', 'b') && !worker_pids('capture', 'b') }), 'and nothing runs there');
execute('b', 'UPDATE base SET v = v + 1');
execute('b', 'SELECT tapdata.adopt_database()');
is_exact('b', 'sums', 'until it is adopted');
execute('a', 'UPDATE base SET v = v + 2');
is_exact('a', 'sums', 'each follows its own table');
isnt(rows('a', 'SELECT sum(s) FROM sums'), rows('b', 'SELECT sum(s) FROM sums'), 'and they differ');
TdProcs::close_all();
is(try_do(psql('postgres'), 'ALTER DATABASE b RENAME TO c'), '', 'RENAME DATABASE works');
is_exact('c', 'sums', 'and the view goes on');
{
	my $guest = psql('c', fresh => 1);
	TdProcs::close_all();
	like(try_do(psql('postgres'), 'DROP DATABASE c'), qr/^55006 /, 'DROP DATABASE fails while a user is connected');
	$guest->do('UPDATE base SET v = v + 1');
	$guest->disconnect;
	is_exact('c', 'sums', 'and the view goes on from where it was');
}
my $oid_c = oid_of('c');
TdProcs::close_all();
{
	my $begin = time;
	is(try_do(psql('postgres'), 'DROP DATABASE c'), '', 'DROP DATABASE works while views are kept there');
	cmp_ok(time - $begin, '<', 7, 'in bounded time');
}
ok(eventually(sub { traces($oid_c) eq '' }), 'its slot and origins are gone');
is(try_do(psql('postgres'), 'DROP DATABASE a WITH (FORCE)'), '', 'WITH (FORCE) works as well');
ok(eventually(sub { traces($oid_a) eq '' }), 'nothing is left of it');
is_exact('postgres', 'sums', 'the first database goes on');

# ---- a restored dump is fenced, and finds its views by name ----
{
	psql('postgres')->do("SELECT tapdata.create_view('above', 'SELECT n, max(s) AS m FROM sums GROUP BY n')");
	make_view('postgres', 'lost');
	is_exact('postgres', 'above', 'a view over a view');
	execute('postgres', 'CREATE DATABASE restored');
	my $host = "-h $pg->{PGHOST} -p $pg->{PGPORT} -U postgres";
	my $said = qx{$pg->{TD_PG_BIN}/pg_dump $host -T lost postgres 2>&1 >$pg->{PGHOST}/dump.sql; $pg->{TD_PG_BIN}/psql $host -qXAt -o /dev/null -f $pg->{PGHOST}/dump.sql restored 2>&1};
	is($said, '', 'a dump is made and restored');
	is(value('restored', 'SELECT string_agg(DISTINCT status, $$,$$) FROM tapdata.views'), 'fenced', 'its views are fenced');
	my @warnings;
	local $SIG{__WARN__} = sub { push @warnings, @_ };
	psql('restored')->{PrintWarn} = 1;
	execute('restored', 'SELECT tapdata.adopt_database()');
	psql('restored')->{PrintWarn} = 0;
	like("@warnings", qr/view public\.lost was not adopted/, 'a view that was not restored with the others is named');
	execute('restored', 'UPDATE base SET v = v + 1');
	is_exact('restored', $_, "adopted, view $_ is exact") for qw(sums above);
	my $bases = 'SELECT b.view, b.relation::regclass::text, b.columns::text FROM tapdata.view_base b JOIN tapdata.view v ON v.id = b.view WHERE v.table_name <> $$lost$$ ORDER BY 1, 2';
	is(rows('restored', $bases), rows('postgres', $bases), 'what they read is known');
	execute('postgres', "SELECT tapdata.drop_view('above')", "SELECT tapdata.drop_view('lost')");
	TdProcs::close_all();
	is(try_do(psql('postgres'), 'DROP DATABASE restored'), '', 'dropped');
}

# ---- DROP EXTENSION ----
{
	my ($pids, $traces) = (join(',', worker_pids('view'), worker_pids('capture')), traces($oid));
	my $dbh = psql('postgres', fresh => 1);
	$dbh->begin_work;
	$dbh->do('DROP EXTENSION tapdata CASCADE');
	select undef, undef, undef, 0.3;
	$dbh->rollback;
	ok(quiet(0.5, sub { join(',', worker_pids('view'), worker_pids('capture')) eq $pids }), 'a rolled-back DROP EXTENSION stops nothing');
	is(traces($oid), $traces, 'and keeps slot and origins');
	write_some('postgres');
	is_exact('postgres', 'sums', 'the view is exact');
	$dbh->do('DROP EXTENSION tapdata CASCADE');
	$dbh->disconnect;
	ok(eventually(sub { !worker_pids('supervisor') && !worker_pids('view') && !worker_pids('capture') && !worker_pids('probe') }), 'a committed one ends them');
	ok(eventually(sub { traces($oid) eq '' }), 'slot and origins are gone');
	is(value('postgres', "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type LIKE 'tapdata%'"), 0, 'no lock is left');
	is(scalar(() = glob "$pg->{TD_PG_DATA}/pgsql_tmp_tapdata/*"), 0, 'no file is left');
	execute('postgres', 'DROP TABLE IF EXISTS sums');
	execute('postgres', 'CREATE EXTENSION tapdata');
	make_view('postgres', 'sums');
	is_exact('postgres', 'sums', 'the extension can come back, and its views');
}

open my $f, '<', $log or die $log;
my @bad = grep { /PANIC|TRAP|still active|leaked|could not find function|can't move from/ } <$f>;
is("@bad", '', 'the log is clean');
finish();
done_testing();
