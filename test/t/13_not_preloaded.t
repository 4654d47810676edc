# Without shared_preload_libraries: the extension can be made (pg_restore needs it), and what needs processes says what to do.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

start_server('notloaded', "shared_preload_libraries = ''");
my $dbh = psql('postgres');
my @warnings;
{
	local $SIG{__WARN__} = sub { push @warnings, @_ };
	$dbh->{PrintWarn} = 1;
	is(try_do($dbh, 'CREATE EXTENSION tapdata'), '', 'CREATE EXTENSION works');
	$dbh->{PrintWarn} = 0;
}
like("@warnings", qr/not loaded at server start/, 'with a warning');
is(value('postgres', 'SELECT count(*) FROM tapdata.worker_list()'), 0, 'no workers');
execute('postgres', "SELECT tapdata.create_connection('n', 'null', '{}')");
like(try_do($dbh, "SELECT tapdata.mirror('n')"), qr/^55000 .*not loaded at server start.*shared_preload_libraries = 'tapdata'/s,
	'a mirror is refused with the line to write');
is(try_do($dbh, 'DROP EXTENSION tapdata CASCADE'), '', 'DROP EXTENSION works');
execute('postgres', 'CREATE EXTENSION tapdata');
restart_server('fast', "shared_preload_libraries = 'tapdata'");
ok(eventually(sub { worker_pids('supervisor', 'postgres') == 1 }), 'once it is preloaded, the supervisor is there');

# ---- what was to run says why it does not ----
make_pipeline('postgres', 'p');
execute('postgres', 'CREATE TABLE t (k int, v int)', "SELECT tapdata.create_view('m', 'SELECT k, sum(v) AS v FROM t GROUP BY k')", "SELECT tapdata.wait_view('m')");
ok(reach('postgres', 'p', 'streaming'), 'a pipeline and a view run');
my $both = q{SELECT status, coalesce(since::text, 'never'), sqlstate, error, hint FROM (SELECT status, since, sqlstate, error, hint FROM tapdata.pipelines UNION ALL SELECT status, since, sqlstate, error, hint FROM tapdata.views) x};
sub both_say { my ($what, $row) = @_; my @rows = split /\n/, rows('postgres', $both); is(@rows, 2, "$what: both"); like($_, $row, $what) for @rows; return }
restart_server('fast', "shared_preload_libraries = ''");
both_say('not preloaded', qr/^stopped\|never\|55000\|tapdata is not loaded at server start\|.*shared_preload_libraries = 'tapdata'/);
is(value('postgres', 'SELECT lag FROM tapdata.pipelines'), undef, '... and has no lag');
restart_server('fast', "shared_preload_libraries = 'tapdata'", 'tapdata.enabled = off');
both_say('not enabled', qr/^stopped\|never\|55000\|tapdata\.enabled is off\|ALTER SYSTEM SET tapdata\.enabled = on/);
like(try_do(psql('postgres'), "SELECT tapdata.wait_pipeline('p', '0.2 s')"), qr/^57014 .*tapdata\.enabled is off.*"stopped".*ALTER SYSTEM SET tapdata\.enabled = on/s, '... nor does wait_pipeline wait without a word');
like(try_do(psql('postgres'), "SELECT tapdata.wait_view('m', '0.2 s')"), qr/^57014 .*tapdata\.enabled is off.*"stopped".*ALTER SYSTEM SET tapdata\.enabled = on/s, '... and wait_view');
restart_server('fast', 'tapdata.enabled = on', 'max_worker_processes = 0');
ok(eventually(sub { rows('postgres', $both) =~ /^stopped/ }, 20), 'no place for the launcher');
both_say('no place for the launcher', qr/^stopped\|never\|53000\|the launcher of tapdata was not started\|.*max_worker_processes \(now 0\)/);
restart_server('fast', 'max_worker_processes = 32');
ok(eventually(sub { rows('postgres', $both) =~ /^streaming\|[^n].*\nstreaming\|[^n]/ }), 'and with all of it they go on') or diag rows('postgres', $both);
finish();
done_testing();
