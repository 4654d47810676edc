# A load that fails between its last row and the end of its table does not load a row twice: the last rows, the primary key and
# the table's status are one commit.  The failure is a sort of the key that may not write temporary files (53400, retried).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(servers my_connect pg_connect);
use Time::HiRes qw(sleep time);

my $tools = "$FindBin::Bin/../servers";
my ($pg, $my) = servers('once', 'maintenance_work_mem = 1MB', 'temp_file_limit = 0', 'max_parallel_maintenance_workers = 0');
my $m = my_connect($my);
$m->do($_) for ('CREATE DATABASE once', 'CREATE TABLE once.t (id INT PRIMARY KEY, v VARCHAR(20))',
	'INSERT INTO once.t SELECT seq, seq FROM once.seq_1_to_200000');
my $p = pg_connect($pg);

sub wait_for
{
	my ($sql, $seconds) = @_;
	my $until = time + $seconds;
	while (time < $until) { return 1 if $p->selectrow_array("SELECT $sql"); sleep 0.05 }
	return 0;
}

$p->do('CREATE EXTENSION tapdata');
$p->do(q{SELECT tapdata.create_connection('once', 'mysql', ?::jsonb, ?::jsonb)}, undef,
	qq({"host": "127.0.0.1", "port": $my->{MYPORT}, "database": "once"}),
	qq({"user": "$my->{REPL_USER}", "password": "$my->{REPL_PASSWORD}"}));
$p->do(q{SELECT tapdata.mirror('once')});
ok(wait_for(q{EXISTS (SELECT FROM tapdata.pipelines WHERE status = 'retrying')}, 60), 'the key can not be built');
is($p->selectrow_array('SELECT sqlstate FROM tapdata.pipelines'), '53400', 'for want of temporary files');
ok(wait_for(q{(SELECT count(*) > 2 FROM tapdata.log WHERE level = 'warning')}, 60), 'it was tried again');
$p->do('ALTER SYSTEM SET temp_file_limit = -1');
$p->do('SELECT pg_reload_conf()');
ok(wait_for(q{EXISTS (SELECT FROM tapdata.pipelines WHERE status = 'streaming')}, 60), 'and succeeds once they are allowed');
is($p->selectrow_array('SELECT rows_loaded FROM tapdata.pipelines'), 200000, 'every row was loaded once');
$p->do(q{SELECT tapdata.drop_pipeline('once', drop_tables => true)});
$p->disconnect;
system("$tools/$_", 'drop', 'once') for qw(pg mariadb);
done_testing();
