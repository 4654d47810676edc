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
finish();
done_testing();
