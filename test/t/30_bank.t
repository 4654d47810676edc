# The bank test: 8 writers, multi-table transactions with rollbacks, key changes and savepoints on a real MariaDB;
# every read on the PostgreSQL side, from the moment the mirror appears, sees the exact total; at the end both sides
# are equal row by row.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(:DEFAULT servers my_connect pg_connect make_bank start_writers stop_writers start_reader stop_reader differences seed);
use Time::HiRes qw(sleep);

my $seconds = $ENV{TD_BANK_SECONDS} || 15;
diag 'seed ' . seed();
my ($pg, $my) = servers('bank', 'track_commit_timestamp = on');
make_bank($my, 100_000);
my $p = pg_connect($pg);
$p->do('DROP EXTENSION IF EXISTS tapdata CASCADE');
$p->do('DROP SCHEMA IF EXISTS bank CASCADE');
$p->do('CREATE EXTENSION tapdata');
$p->do(q{SELECT tapdata.create_connection('bank', 'mysql', ?::jsonb, ?::jsonb)}, undef,
	qq({"host": "127.0.0.1", "port": $my->{MYPORT}, "database": "bank"}),
	qq({"user": "$my->{REPL_USER}", "password": "$my->{REPL_PASSWORD}"}));

my $reader = start_reader($pg, 'bank');
my @writers = start_writers($my, 8);
sleep 1;
$p->do(q{SELECT tapdata.mirror('bank')});
$p->do(q{SELECT tapdata.wait_pipeline('bank', '120 s')});
is($p->selectrow_array(q{SELECT status FROM tapdata.pipelines WHERE name = 'bank'}), 'streaming', 'the mirror streams');
sleep $seconds;
ok(stop_writers(@writers), 'writers ended well');
$p->do(q{SELECT tapdata.wait_pipeline('bank', '120 s')});
my ($reads, $wrong) = stop_reader($reader);
cmp_ok($reads, '>', 100, "the reader saw the mirror often ($reads reads)");
is($wrong, 0, 'every read of both tables saw the exact total');
is(differences($pg, $my, 'bank'), '', 'both sides are equal, row by row');
my ($audit) = $p->selectrow_array('SELECT count(*) FROM bank.audit WHERE writer > 0');
cmp_ok($audit, '>', 200, "the writers worked ($audit transactions)");
is($p->selectrow_array(q{SELECT lag::text FROM tapdata.pipelines WHERE name = 'bank'}), '00:00:00', 'an idle source that is caught up has no lag');
my ($span) = $p->selectrow_array('SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)) - min(pg_xact_commit_timestamp(xmin))) FROM bank.audit WHERE writer > 0');
cmp_ok($span, '>', $seconds / 2, 'each commit bears its own time, not that of the first one');
is($p->selectrow_array(q{SELECT exact::text FROM tapdata.pipelines WHERE name = 'bank'}), 'true', 'the mirror calls itself exact');

# Somebody takes a row away behind our back: its next change finds none, and the mirror no longer calls itself exact.
$p->do('SET session_replication_role = replica');
$p->do('DELETE FROM bank.savings WHERE id = 5');
my_connect($my, 'bank')->do('UPDATE savings SET balance = balance + 1 WHERE id = 5');
$p->do(q{SELECT tapdata.wait_pipeline('bank', '60 s')});
is($p->selectrow_array(q{SELECT exact::text FROM tapdata.pipelines WHERE name = 'bank'}), 'false', 'a change that found no row is not hidden');
is($p->selectrow_array(q{SELECT count(*) FROM tapdata.log WHERE sqlstate = '02000' AND object = 'bank'}), 1, 'and it is in the log');
$p->do(q{SELECT tapdata.drop_pipeline('bank', drop_tables => true)});
$p->disconnect;
system("$FindBin::Bin/../servers/$_", 'drop', 'bank') for qw(pg mariadb);
done_testing();
