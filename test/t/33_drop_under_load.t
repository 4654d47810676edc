# DROP EXTENSION while the pipeline worker writes: it waits for the worker's transaction and succeeds, it never deadlocks; and a source
# table that is called as our own load tables are is published like any other.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(servers my_connect pg_connect);
use Time::HiRes qw(sleep time);

my $tools = "$FindBin::Bin/../servers";
my ($pg, $my) = servers('dropping');
my ($m, $p) = (my_connect($my), pg_connect($pg));

sub start
{
	$p->do('CREATE EXTENSION tapdata');
	$p->do(q{SELECT tapdata.create_connection('load', 'mysql', ?::jsonb, ?::jsonb)}, undef,
		qq({"host": "127.0.0.1", "port": $my->{MYPORT}, "database": "load"}),
		qq({"user": "$my->{REPL_USER}", "password": "$my->{REPL_PASSWORD}"}));
	$p->do(q{SELECT tapdata.mirror('load')});
	return;
}

# Pipeline ids of a new extension begin at 1, so table 2 is loaded into tapdata_state.load_1_2.
$m->do($_) for ('CREATE DATABASE `load`', 'USE `load`', 'CREATE TABLE load_1_2 (id INT PRIMARY KEY)', 'INSERT INTO load_1_2 VALUES (1)',
	'CREATE TABLE t2 (id INT PRIMARY KEY, v VARCHAR(40))', 'CREATE TABLE t3 (id INT PRIMARY KEY, v VARCHAR(40))',
	'INSERT INTO t3 SELECT seq, md5(seq) FROM seq_1_to_300000');
start();
$p->do(q{SELECT tapdata.wait_pipeline('load', '60 s')});
is(join(' ', map { @$_ } @{ $p->selectall_arrayref(q{SELECT relname FROM pg_class WHERE relnamespace = 'load'::regnamespace ORDER BY 1}) }),
	'load_1_2 load_1_2_pkey t2 t2_pkey t3 t3_pkey', 'a table named like a load table is published, keys named after their tables');

for my $when (0.1, 0.3, 0.5, 0.8)
{
	$p->do('DROP EXTENSION tapdata CASCADE');
	$p->do('DROP SCHEMA IF EXISTS load CASCADE');
	$p->do('DROP SCHEMA IF EXISTS tapdata_state CASCADE');
	start();
	sleep $when;
	ok(eval { $p->do('DROP EXTENSION tapdata CASCADE'); 1 }, "dropped $when s into the load") || diag $@;
	$p->do('DROP SCHEMA IF EXISTS load CASCADE');
	start();
	$p->do(q{SELECT tapdata.wait_pipeline('load', '60 s')});
	$m->do('UPDATE t3 SET v = md5(v)');
	sleep $when;
	ok(eval { $p->do('DROP EXTENSION tapdata CASCADE'); 1 }, "dropped $when s into a large change") || diag $@;
	$p->do('DROP SCHEMA IF EXISTS load CASCADE');
	$p->do('CREATE EXTENSION tapdata');
}
my $log = do { local (@ARGV, $/) = ($pg->{TD_PG_LOG}); <> };
unlike($log, qr/deadlock detected|PANIC|terminated by signal/, 'no deadlock, no crash');
unlike($log, qr/ERROR:  relation "tapdata\./, 'no worker misses the catalog');
$_->disconnect for $m, $p;
system("$tools/$_", 'drop', 'dropping') for qw(pg mariadb);
done_testing();
