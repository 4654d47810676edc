# Too few background workers: what does not fit waits, says so, and starts by itself.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

# the default; the logical replication launcher has one of the eight
start_server('limit', 'max_worker_processes = 8');
execute('postgres', 'CREATE EXTENSION tapdata');
my @names = map { "p$_" } 1 .. 7;
make_pipeline('postgres', $names[0]);
ok(reach('postgres', $names[0], 'streaming'), 'max_worker_processes = 8 gives a working mirror');
make_pipeline('postgres', $_) for @names[1 .. $#names];

sub count_of { my ($status) = @_; return value('postgres', 'SELECT count(*) FROM tapdata.pipeline_state WHERE status = ?', $status) }

ok(eventually(sub { count_of('streaming') == 5 && count_of('waiting_for_worker') == 2 }), 'five of seven run, two wait');
is(rows('postgres', "SELECT DISTINCT sqlstate, hint LIKE '%max_worker_processes (now 8%' FROM tapdata.pipeline_state WHERE status = 'waiting_for_worker'"),
	'53000|1', 'with a reason and a hint');
ok(quiet(1, sub { count_of('waiting_for_worker') == 2 && count_of('streaming') == 5 }), 'the status does not flicker');
is(value('postgres', "SELECT count(*) FROM tapdata.log_entry WHERE message LIKE '%waiting%'"), 2, 'each said it once');

my $running = value('postgres', "SELECT name FROM tapdata.pipeline JOIN tapdata.pipeline_state ON id = pipeline WHERE status = 'streaming' ORDER BY id LIMIT 1");
execute('postgres', "SELECT tapdata.stop_pipeline('$running')");
ok(eventually(sub { count_of('streaming') == 5 && count_of('waiting_for_worker') == 1 }, 4), 'a worker that is freed is used at once, by one of them');
is(value('postgres', "SELECT count(*) FROM tapdata.pipeline_state WHERE status = 'streaming' AND error IS NOT NULL"), 0, 'and its error is gone');

# a database more: its supervisor can't start, and does as soon as it can
execute('postgres', 'CREATE DATABASE other');
execute('other', 'CREATE EXTENSION tapdata');
execute('other', 'CREATE TABLE t (k int, v int)', "SELECT tapdata.create_view('m', 'SELECT k, sum(v) AS v FROM t GROUP BY k')");
ok(quiet(1, sub { !worker_pids('supervisor', 'other') }), 'no worker is left for another database');
my $setting = qr/max_worker_processes \(now 8/;
my $why = 'no background worker is free for the supervisor of this database';
like(rows('other', "SELECT status, exact, sqlstate, error, hint FROM tapdata.views"), qr/^waiting_for_worker\|0\|53000\|$why\|.*$setting/, 'its views say why they wait, though nothing can write its catalog');
ok(!eval { execute('other', "SELECT tapdata.wait_view('m', '0.5 s')"); 1 }, 'wait_view fails');
like($@, qr/\Q$why\E.*that of its worker "waiting_for_worker".*$setting/s, 'and says why');
make_pipeline('other', 'q');
like(rows('other', 'SELECT status, coalesce(since::text, $$never$$), sqlstate, error, hint FROM tapdata.pipelines'), qr/^waiting_for_worker\|never\|53000\|$why\|.*$setting/, 'so do pipelines');
like(try_do(psql('other'), "SELECT tapdata.wait_pipeline('q', '0.5 s')"), qr/^57014 .*\Q$why\E.*Its status is "waiting_for_worker".*$setting/s, 'and wait_pipeline');
is(try_do(psql('other'), "SELECT tapdata.stop_pipeline('q')"), '', '... which can be stopped');
is(value('other', 'SELECT status FROM tapdata.pipelines'), 'created', '... and waits for nothing then');
my %doctor = map { $_->[0] => $_ } @{ psql('other')->selectall_arrayref('SELECT item, ok, detail, fix FROM tapdata.doctor()') };
like(join('|', @{ $doctor{processes} }[1 .. 3]), qr/^0\|.*\Q$why\E\|.*$setting/, 'doctor() too');
like(join('|', @{ $doctor{max_worker_processes} }[1 .. 3]), qr/^0\|8, .*no worker is free\|ALTER SYSTEM SET max_worker_processes = /, 'with the setting');
like(join('|', @{ $doctor{'waiting views'} }[1 .. 2]), qr/^0\|no background worker is free: public\.m$/, 'and the views');
my $top = $ENV{TD_TOP} || "$FindBin::Bin/../..";
is(scalar(grep { /WARNING: +no background worker is free for database "other"/ } `$top/test/servers/pg log limit`), 1, 'the server log has it once');
my $waiting = value('postgres', "SELECT name FROM tapdata.pipeline JOIN tapdata.pipeline_state ON id = pipeline WHERE status = 'waiting_for_worker'");
execute('postgres', "SELECT tapdata.stop_pipeline('$waiting')");
is(status_of('postgres', $waiting), 'stopped', 'a waiting pipeline can be stopped');
execute('postgres', "SELECT tapdata.stop_pipeline('$names[6]')") if $waiting ne $names[6];
execute('postgres', "SELECT tapdata.stop_pipeline('$names[5]')") if $waiting ne $names[5];
ok(eventually(sub { worker_pids('supervisor', 'other') == 1 }), 'then it gets one');
isnt(value('other', "SELECT error FROM tapdata.views"), $why, 'and the views wait for their own workers at most');
execute('other', "SELECT tapdata.drop_view('m')");    # no worker is left for it, nor shall it take that of a pipeline

# tapdata.max_workers is a limit below that
execute('postgres', 'ALTER SYSTEM SET tapdata.max_workers = 2', 'SELECT pg_reload_conf()');
my ($pid) = worker_pids('pipeline');
value('postgres', 'SELECT pg_terminate_backend(?)', $pid);
ok(eventually(sub { count_of('waiting_for_worker') == 1 }), 'max_workers holds back a restart');
execute('postgres', 'ALTER SYSTEM RESET tapdata.max_workers', 'SELECT pg_reload_conf()');
ok(eventually(sub { count_of('waiting_for_worker') == 0 }), 'and lets go');
finish();
done_testing();
