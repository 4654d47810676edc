# What the supervisor does about workers that end, and what a worker is not moved by.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $pg = start_server('supervision');
execute('postgres', 'CREATE EXTENSION tapdata');
make_pipeline('postgres', 'p');
ok(reach('postgres', 'p', 'streaming'), 'a pipeline streams');

sub hosts { return map { $_->[0] } @{ psql('postgres')->selectall_arrayref("SELECT pid FROM tapdata.worker_list() WHERE kind = 'host'") } }

# ---- the host goes with its worker ----
is(scalar(hosts()), 1, 'its host is listed');
{
	my ($host) = hosts();
	ok(pid_alive($host), 'and lives');
	value('postgres', 'SELECT pg_terminate_backend(?)', (worker_pids('pipeline'))[0]);
	ok(eventually(sub { !pid_alive($host) }), 'the host of a terminated worker is gone');
	ok(reach('postgres', 'p', 'streaming') && hosts() == 1, 'the next worker has one host');
	($host) = hosts();
	kill 9, (worker_pids('pipeline'))[0];
	ok(eventually(sub { !pid_alive($host) }), 'the host of a killed worker is gone');
	ok(reach('postgres', 'p', 'streaming', 60) && hosts() == 1, 'after the restart of the server there is one again');
	($host) = hosts();
	kill 9, $host;
	ok(eventually(sub { my @h = hosts(); @h == 1 && $h[0] != $host }), 'a killed host is replaced');
	ok(reach('postgres', 'p', 'streaming'), 'and the pipeline streams');
}

# ---- nothing polls: an idle database wakes nobody ----
execute('postgres', "SELECT tapdata.stop_pipeline('p')");
sub switches { my ($pid) = @_; open my $f, '<', "/proc/$pid/status" or die; my ($n) = map { /^voluntary_ctxt_switches:\s+(\d+)/ } <$f>; return $n }
{
	my @pids = (worker_pids('launcher'), worker_pids('supervisor'));
	select undef, undef, undef, 1;
	my @before = map { switches($_) } @pids;
	select undef, undef, undef, 3;
	is(join(' ', map { switches($_) } @pids), "@before", 'launcher and supervisor sleep');
}

# ---- settings of roles and databases don't reach into a worker ----
execute('postgres', "ALTER ROLE postgres SET $_") for "statement_timeout = '1ms'", "lock_timeout = '1ms'", 'default_transaction_read_only = on',
	"default_transaction_isolation = 'serializable'", 'search_path = nowhere', "DateStyle = 'German'", 'row_security = on',
	"idle_in_transaction_session_timeout = '1ms'", "session_replication_role = 'origin'", 'synchronous_commit = on';
{
	my $dbh = psql('postgres', fresh => 0);
	$dbh->do("SELECT tapdata.start_pipeline('p')");
	ok(reach('postgres', 'p', 'streaming'), 'hostile settings of the owner change nothing');
	ok(quiet(1, sub { status_of('postgres', 'p') eq 'streaming' }), 'and it stays so');
	$dbh->do('ALTER ROLE postgres RESET ALL');
}

# ---- who sees what ----
execute('postgres', 'CREATE ROLE nobody LOGIN', 'CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
is(join(' ', map { $_->[0] } @{ psql('postgres', user => 'nobody')->selectall_arrayref('SELECT kind FROM tapdata.worker_list() ORDER BY 1') }),
	'launcher supervisor', 'a stranger sees no pipeline and no host');
is(join(' ', map { $_->[0] } @{ psql('postgres', user => 'watcher')->selectall_arrayref('SELECT kind FROM tapdata.worker_list() ORDER BY 1') }),
	'host launcher pipeline supervisor', 'pg_monitor sees all');

# ---- a worker that dies again and again without progress is left to a person ----
execute('postgres', "SELECT tapdata.create_connection('idle', 'null', '{\"rows\": 5}')", "SELECT tapdata.mirror('idle')");
ok(reach('postgres', 'idle', 'streaming'), 'a pipeline without work');
my $idle = value('postgres', "SELECT id FROM tapdata.pipeline WHERE name = 'idle'");
sub idle_pid { return value('postgres', "SELECT pid FROM tapdata.worker_list() WHERE kind = 'pipeline' AND object = 'idle'") }
sub state_of { return rows('postgres', "SELECT status, sqlstate FROM tapdata.pipeline_state WHERE pipeline = $idle") }
execute('postgres', "SELECT tapdata.stop_pipeline('idle')", "SELECT tapdata.start_pipeline('idle')");
ok(reach('postgres', 'idle', 'streaming'), 'is restarted');
is(value('postgres', "SELECT starts FROM tapdata.worker_start WHERE object = $idle"), 1, 'a start counts');
value('postgres', 'SELECT pg_terminate_backend(?)', idle_pid());
ok(eventually(sub { state_of() eq 'retrying|57P01' }, 5), 'terminated: retrying');
ok(reach('postgres', 'idle', 'streaming'), 'and streaming');
is(value('postgres', "SELECT starts FROM tapdata.worker_start WHERE object = $idle"), 2, 'the starts are counted before they happen');
execute('postgres', "UPDATE tapdata.worker_start SET starts = 10 WHERE object = $idle");
value('postgres', 'SELECT pg_terminate_backend(?)', idle_pid());
ok(eventually(sub { state_of() eq 'failed|57P02' }, 5), 'the tenth time in a row: failed');
ok(quiet(1, sub { state_of() eq 'failed|57P02' }), 'for good');
execute('postgres', "SELECT tapdata.start_pipeline('idle')");
ok(reach('postgres', 'idle', 'streaming'), 'a person can start it');
is(value('postgres', "SELECT starts FROM tapdata.worker_start WHERE object = $idle"), 1, 'and it begins to count anew');
execute('postgres', "UPDATE tapdata.worker_start SET starts = 10");
ok(eventually(sub { value('postgres', "SELECT w.progress <> concat_ws('/', s.planned, s.load_done, s.published, s.rows_loaded, s.rows_applied, s.position)
	FROM tapdata.worker_start w JOIN tapdata.pipeline_state s ON s.pipeline = w.object JOIN tapdata.pipeline ON id = pipeline WHERE name = 'p'") }), 'the other one gets on');
value('postgres', 'SELECT pg_terminate_backend(?)', value('postgres', "SELECT pid FROM tapdata.worker_list() WHERE kind = 'pipeline' AND object = 'p'"));
ok(reach('postgres', 'p', 'streaming', 5), 'so it is restarted whatever the count');

# ---- DROP EXTENSION is committed while the supervisor waits for its locks ----
{
	my $dbh = psql('postgres', fresh => 1);
	my ($supervisor) = worker_pids('supervisor');
	$dbh->begin_work;
	$dbh->do('DROP EXTENSION tapdata CASCADE');
	psql('postgres')->do('SELECT pg_terminate_backend(?)', undef, $_) for worker_pids('pipeline');
	ok(eventually(sub { value('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = ?", $supervisor) }), 'the supervisor waits');
	$dbh->commit;
	ok(eventually(sub { !worker_pids('supervisor') && !worker_pids('pipeline') }), 'it ends after the commit');
	ok(eventually(sub { !value('postgres', "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'tapdata%'") }), 'and the origins are gone');
	$dbh->disconnect;
}

# ---- SIGTERM while the supervisor waits for a lock ----
{
	execute('postgres', 'CREATE EXTENSION tapdata');
	ok(eventually(sub { worker_pids('supervisor') == 1 }), 'a supervisor');
	my ($supervisor) = worker_pids('supervisor');
	my $dbh = psql('postgres', fresh => 1);
	$dbh->begin_work;
	$dbh->do('LOCK TABLE tapdata.pipeline IN ACCESS EXCLUSIVE MODE');
	execute('postgres', 'SELECT pg_reload_conf()');		# wakes it
	ok(eventually(sub { value('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = ?", $supervisor) }), 'waits for a lock');
	value('postgres', 'SELECT pg_terminate_backend(?)', $supervisor);
	ok(eventually(sub { !pid_alive($supervisor) }), 'ends at once when it is terminated while it waits');
	$dbh->rollback;
	$dbh->disconnect;
	ok(eventually(sub { worker_pids('supervisor') == 1 }), 'and is there again');
}
finish();
done_testing();
