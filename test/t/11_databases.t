# Commands on whole databases: they must work although we are connected there, and leave what they found when they don't.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use Time::HiRes qw(time);

my $pg = start_server('databases');

# How long the statement takes; '' or its error.
sub timed
{
	my ($sql, $dbh) = @_;
	my $begin = time;
	my $error = try_do($dbh // psql('postgres'), $sql);
	return ($error, time - $begin);
}

execute('postgres', 'CREATE DATABASE a');
execute('a', 'CREATE EXTENSION tapdata');
make_pipeline('a', 'p');
ok(reach('a', 'p', 'streaming'), 'a pipeline streams');
my $a = value('postgres', "SELECT oid FROM pg_database WHERE datname = 'a'");
TdProcs::close_all();

# ---- copies ----
my ($error, $took) = timed('CREATE DATABASE b TEMPLATE a');
is($error, '', 'CREATE DATABASE ... TEMPLATE works while a pipeline streams there');
cmp_ok($took, '<', 7, 'in bounded time');
ok(reach('a', 'p', 'streaming'), 'the pipeline goes on');
ok(eventually(sub { worker_pids('supervisor', 'b') == 1 }), 'the copy has a supervisor');
ok(reach('b', 'p', 'fenced'), 'and its pipeline is fenced');
ok(quiet(1, sub { !worker_pids('pipeline', 'b') }), 'and does not run');
execute('b', 'SELECT tapdata.adopt_database()');
ok(reach('b', 'p', 'streaming'), 'until the database is adopted');
is(value('postgres', "SELECT count(*) FROM pg_replication_origin WHERE roname ~ '^tapdata_'"), 2, 'each has its own origin');

# ---- rename ----
TdProcs::close_all();
($error, $took) = timed('ALTER DATABASE b RENAME TO c');
is($error, '', 'RENAME DATABASE works');
ok(reach('c', 'p', 'streaming'), 'and the pipeline goes on under the new name');
TdProcs::close_all();
{
	my $dbh = psql('postgres');
	$dbh->begin_work;
	$dbh->do('ALTER DATABASE c RENAME TO d');
	$dbh->rollback;
	ok(reach('c', 'p', 'streaming'), 'as after one that was rolled back');
}

# ---- commands that fail ----
{
	my $guest = psql('c', fresh => 1);
	TdProcs::close_all();
	($error) = timed('DROP DATABASE c');
	like($error, qr/^55006 .*being accessed by other users/, 'DROP DATABASE fails while a user is connected');
	ok(eventually(sub { worker_pids('pipeline', 'c') == 1 }), 'and the workers come back');
	$guest->disconnect;
}
ok(reach('c', 'p', 'streaming'), 'the pipeline goes on');
{
	execute('postgres', 'CREATE ROLE mallory LOGIN');
	my ($pid) = worker_pids('pipeline', 'c');
	my $mallory = psql('postgres', fresh => 1, user => 'mallory');
	for my $sql ('DROP DATABASE c', 'ALTER DATABASE c RENAME TO d', 'CREATE DATABASE d TEMPLATE c', 'ALTER DATABASE c SET TABLESPACE pg_default')
	{
		like(try_do($mallory, $sql), qr/^42501/, "a stranger may not: $sql");
	}
	is((worker_pids('pipeline', 'c'))[0], $pid, 'and stops no worker by trying');
	$mallory->disconnect;
}

# ---- tablespace ----
{
	my $dir = "$pg->{TD_PG_DATA}/../sock/ts";
	mkdir $dir or die "$dir: $!";
	chown((stat $pg->{TD_PG_DATA})[4, 5], $dir);
	execute('postgres', "CREATE TABLESPACE ts LOCATION '$dir'");
	TdProcs::close_all();
	($error) = timed('ALTER DATABASE c SET TABLESPACE ts');
	is($error, '', 'SET TABLESPACE works');
	ok(reach('c', 'p', 'streaming'), 'and the pipeline goes on');
}

# ---- drop ----
TdProcs::close_all();
my ($session) = worker_pids('pipeline', 'c');
($error, $took) = timed('DROP DATABASE c');
is($error, '', 'DROP DATABASE works');
cmp_ok($took, '<', 7, 'in bounded time');
ok(eventually(sub { !grep { pid_alive($_) } $session }), 'its worker is gone');
ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_replication_origin WHERE roname ~ '^tapdata_'") == 1 }), 'and its origin');
ok(reach('a', 'p', 'streaming'), 'the other database goes on');
is(workers('a'), 'pipeline a p, supervisor a', 'no slot is left');
TdProcs::close_all();
($error) = timed('DROP DATABASE a WITH (FORCE)');
is($error, '', 'WITH (FORCE) works as well');
ok(eventually(sub { !worker_pids('supervisor') && !worker_pids('pipeline') }), 'nothing runs');

# ---- template1 has the extension: CREATE DATABASE without a word about it ----
execute('template1', 'CREATE EXTENSION tapdata');
TdProcs::close_all();
ok(eventually(sub { worker_pids('supervisor', 'template1') == 1 }), 'template1 has a supervisor');
($error, $took) = timed('CREATE DATABASE e');
is($error, '', 'CREATE DATABASE works');
ok(eventually(sub { worker_pids('supervisor', 'e') == 1 && worker_pids('supervisor', 'template1') == 1 }), 'both have a supervisor');
make_pipeline('e', 'p');
ok(reach('e', 'p', 'streaming'), 'and the new one is nobody\'s copy');

# ---- dump and restore style: the database is dropped while the server restarts ----
restart_server('fast');
ok(reach('e', 'p', 'streaming'), 'streams after a restart');
TdProcs::close_all();
is((timed('DROP DATABASE e'))[0], '', 'dropped');
finish();
done_testing();
