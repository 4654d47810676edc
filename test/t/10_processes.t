# The life of tapdata's processes in one database: CREATE and DROP EXTENSION, restarts, and the end of each of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $pg = start_server('procs');
my $log = "$pg->{TD_PG_DATA}/../log/server.log";

# ---- CREATE EXTENSION ----
{
	ok(eventually(sub { worker_pids('launcher') == 1 }), 'the launcher runs');
	my $dbh = psql('postgres');
	$dbh->begin_work;
	$dbh->do('CREATE EXTENSION tapdata');
	is(join(' ', map { $_ // '' } $dbh->selectrow_array(q{SELECT ok, detail, fix FROM tapdata.doctor() WHERE item = 'processes'})), '1 launcher runs, supervisor of this database starts at the commit of this transaction ',
		'an open CREATE EXTENSION: the doctor knows that it is one');
	$dbh->do('SAVEPOINT s; DROP EXTENSION tapdata; CREATE EXTENSION tapdata');
	is($dbh->selectrow_array(q{SELECT ok FROM tapdata.doctor() WHERE item = 'processes'}), 1, '... and in a subtransaction');
	ok(quiet(0.5, sub { !worker_pids('supervisor') }), 'it starts nothing');
	$dbh->rollback;
	ok(quiet(0.5, sub { !worker_pids('supervisor') }), 'nor does one that was rolled back');
	$dbh->do('CREATE EXTENSION tapdata');
	ok(eventually(sub { worker_pids('supervisor', 'postgres') == 1 }), 'CREATE EXTENSION starts a supervisor');
	ok(eventually(sub { !worker_pids('probe') }), 'and leaves no probe');
	is(rows('postgres', "SELECT kind, coalesce(database, '-'), coalesce(object, '-'), status, restarts, memory > 100000 FROM tapdata.worker_list() ORDER BY 1"),
		"launcher|-|-|running|0|1\nsupervisor|postgres|-|running|0|1", 'both are listed');
	mkdir_ok();
}

sub mkdir_ok
{
	my @s = stat "$pg->{TD_PG_DATA}/pgsql_tmp_tapdata";
	is(@s ? sprintf('%o', $s[2] & 07777) : 'missing', '700', 'the spool directory is there and closed');
	return;
}

# ---- a pipeline, and a DROP EXTENSION that is rolled back ----
my $id = make_pipeline('postgres', 'p1');
ok(reach('postgres', 'p1', 'streaming'), 'a pipeline streams');
is(scalar(worker_pids('pipeline', 'postgres')), 1, 'in one process');
my $origin = 'tapdata_' . value('postgres', 'SELECT oid FROM pg_database WHERE datname = current_database()') . "_$id";
{
	my ($pid) = worker_pids('pipeline');
	my ($supervisor) = worker_pids('supervisor');
	my $dbh = psql('postgres');
	$dbh->begin_work;
	$dbh->do('DROP EXTENSION tapdata CASCADE');
	select undef, undef, undef, 0.3;
	$dbh->rollback;
	ok(quiet(0.5, sub { join(',', worker_pids('pipeline'), worker_pids('supervisor')) eq "$pid,$supervisor" }),
		'a rolled-back DROP EXTENSION stops nothing');
	ok(reach('postgres', 'p1', 'streaming'), 'and the pipeline goes on');
}

# ---- pg_terminate_backend of each ----
for my $kind (qw(launcher supervisor pipeline))
{
	my ($pid) = worker_pids($kind);
	my ($worker) = worker_pids('pipeline');
	value('postgres', 'SELECT pg_terminate_backend(?)', $pid);
	ok(eventually(sub { my @p = worker_pids($kind); @p == 1 && $p[0] != $pid }), "a terminated $kind is started again");
	is((worker_pids('pipeline'))[0], $worker, 'and the pipeline does not notice') if $kind ne 'pipeline';
	ok(reach('postgres', 'p1', 'streaming'), 'the pipeline streams');
}
ok(value('postgres', "SELECT restarts > 0 FROM tapdata.worker_list() WHERE kind = 'pipeline'"), 'restarts are counted');

# ---- kill -9: the server restarts itself ----
for my $kind (qw(pipeline supervisor launcher))
{
	my ($pid) = worker_pids($kind);
	kill 9, $pid;
	ok(eventually(sub { my @p = worker_pids($kind); @p == 1 && $p[0] != $pid }, 60), "a killed $kind is there again");
	ok(reach('postgres', 'p1', 'streaming', 60), 'the pipeline streams');
}

# ---- restarts of the server ----
restart_server('fast');
ok(reach('postgres', 'p1', 'streaming'), 'streams after a restart');
restart_server('immediate');
ok(reach('postgres', 'p1', 'streaming', 60), 'streams after a crash of the server');

# ---- tapdata.enabled ----
execute('postgres', 'ALTER SYSTEM SET tapdata.enabled = off', 'SELECT pg_reload_conf()');
ok(eventually(sub { workers() eq '' }), 'enabled = off ends everything but the launcher');
is(scalar(worker_pids('launcher')), 1, 'which stays');
restart_server('fast');
ok(quiet(0.7, sub { !worker_pids('supervisor') && !worker_pids('pipeline') && !worker_pids('probe') }), 'and nothing starts with the server');
execute('postgres', 'ALTER SYSTEM RESET tapdata.enabled', 'SELECT pg_reload_conf()');
ok(reach('postgres', 'p1', 'streaming'), 'enabled = on: it goes on');

# ---- stop that is not committed ----
{
	my $dbh = psql('postgres', fresh => 1);
	$dbh->begin_work;
	$dbh->do("SELECT tapdata.stop_pipeline('p1')");
	is(scalar(grep { /^pipeline/ } split /, /, workers()), 0, 'stop_pipeline returns once the worker is gone');
	eventually(sub { !worker_pids('pipeline') });		# its process ends a moment after it has given everything back
	ok(quiet(1.5, sub { !worker_pids('pipeline') }), 'it stays away while the transaction is open');
	$dbh->rollback;
	ok(reach('postgres', 'p1', 'streaming'), 'rolled back: it runs again');
	$dbh->do("SELECT tapdata.stop_pipeline('p1')");
	ok(reach('postgres', 'p1', 'stopped'), 'stopped');
	eventually(sub { !worker_pids('pipeline') });
	ok(quiet(1, sub { !worker_pids('pipeline') }), 'and stays so');
	$dbh->begin_work;
	$dbh->do("SELECT tapdata.start_pipeline('p1')");
	ok(quiet(0.5, sub { !worker_pids('pipeline') }), 'start begins at commit');
	$dbh->commit;
	ok(reach('postgres', 'p1', 'streaming'), 'started');
	# two-phase
	$dbh->do('BEGIN');
	$dbh->do("UPDATE tapdata.pipeline SET desired = 'stopped' WHERE name = 'p1'");
	$dbh->do("PREPARE TRANSACTION 'stop'");
	my ($pid) = worker_pids('pipeline');
	value('postgres', 'SELECT pg_terminate_backend(?)', $pid);
	ok(eventually(sub { !worker_pids('pipeline') }), 'worker terminated under a prepared stop');
	ok(quiet(1.5, sub { !worker_pids('pipeline') }), 'not restarted while that is prepared');
	$dbh->do("COMMIT PREPARED 'stop'");
	ok(reach('postgres', 'p1', 'stopped'), 'COMMIT PREPARED wakes the supervisor');
	$dbh->do("SELECT tapdata.start_pipeline('p1')");
	ok(reach('postgres', 'p1', 'streaming'), 'and it can be started');
	$dbh->disconnect;
}

# ---- an owner that can't log in ----
execute('postgres', 'CREATE ROLE nologin SUPERUSER');
{
	my $dbh = psql('postgres', fresh => 1);
	$dbh->do('SET ROLE nologin');
	make_pipeline('postgres', 'p2', dbh => $dbh);
	$dbh->disconnect;
	ok(reach('postgres', 'p2', 'failed'), 'a pipeline of a role without LOGIN fails');
	is(rows('postgres', "SELECT sqlstate, hint LIKE '%LOGIN%' FROM tapdata.pipeline_state JOIN tapdata.pipeline ON id = pipeline WHERE name = 'p2'"),
		'28000|1', 'and says why');
}

# ---- drop_pipeline and DROP EXTENSION leave nothing ----
is(value('postgres', 'SELECT count(*) FROM pg_replication_origin WHERE roname = ?', $origin), 1, 'the pipeline has a replication origin');
my $id3 = make_pipeline('postgres', 'p3');
ok(reach('postgres', 'p3', 'streaming'), 'another pipeline');
execute('postgres', "SELECT tapdata.drop_pipeline('p3')");
ok(eventually(sub { !value('postgres', "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'tapdata%\\_$id3'") }), 'drop_pipeline drops its origin');
is(value('postgres', 'SELECT count(*) FROM tapdata.worker_start WHERE object = ?', $id3), 0, 'and its start count');
my $ours = 'tapdata_' . value('postgres', 'SELECT oid FROM pg_database WHERE datname = current_database()') . '_x';
execute('postgres', "SELECT pg_create_logical_replication_slot('$ours', 'test_decoding')",
	"SELECT pg_create_logical_replication_slot('tapdata_x', 'test_decoding')");
execute('postgres', 'DROP EXTENSION tapdata CASCADE');
ok(eventually(sub { !worker_pids('supervisor') && !worker_pids('pipeline') && !worker_pids('probe') }), 'DROP EXTENSION ends supervisor and pipelines');
ok(eventually(sub { !value('postgres', "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'tapdata%'") }), 'its origins are gone');
ok(eventually(sub { rows('postgres', 'SELECT slot_name FROM pg_replication_slots') eq 'tapdata_x' }), 'its slots are gone, others are not, whatever they are called');
is(value('postgres', "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type LIKE 'tapdata%'"), 0, 'no lock is left');
is(scalar(() = glob "$pg->{TD_PG_DATA}/pgsql_tmp_tapdata/*"), 0, 'no file is left');

execute('postgres', 'CREATE EXTENSION tapdata');
ok(eventually(sub { worker_pids('supervisor', 'postgres') == 1 }), 'the extension can come back');
is(workers(), 'supervisor postgres', 'no slot in shared memory is left');
{
	my $dbh = psql('postgres');
	my ($old) = worker_pids('supervisor');
	$dbh->begin_work;
	$dbh->do($_) for 'DROP EXTENSION tapdata CASCADE', 'CREATE EXTENSION tapdata';
	$dbh->commit;
	ok(eventually(sub { my @p = worker_pids('supervisor'); @p == 1 && $p[0] != $old }), 'another extension has another supervisor');
}

open my $f, '<', $log or die $log;
my @bad = grep { /PANIC|TRAP|still active|leaked|could not find function|can't move from/ } <$f>;
is("@bad", '', 'the log is clean');
finish();
done_testing();
