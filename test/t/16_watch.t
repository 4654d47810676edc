# Wake at commit: what wakes a worker that sleeps, and what does not (test/unit/td_watch makes a session sleep like one).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use DBD::Pg qw(:async);
use File::Copy;
use TdProcs;

my $top = "$FindBin::Bin/../..";
my $pg = start_server('watch', 'autovacuum = off', 'max_prepared_transactions = 5', 'bgwriter_lru_maxpages = 0');
my $so = "$pg->{TD_PG_DATA}/../td_watch.so";
system("make -s -C $top/test/unit/td_watch PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_watch does not build');
copy("$top/test/unit/td_watch/td_watch.so", $so) or BAIL_OUT("td_watch.so: $!");
chmod 0755, $so;
execute('postgres', 'CREATE DATABASE other');
for my $db (qw(postgres other))
{
	execute($db, 'CREATE SCHEMA td_watch', 'CREATE TABLE t (id bigint)', 'INSERT INTO t SELECT generate_series(1, 100)', 'VACUUM ANALYZE t',
		"CREATE FUNCTION td_watch.open() RETURNS void LANGUAGE c AS '$so', 'td_watch_sql_open'",
		"CREATE FUNCTION td_watch.wait(ms integer) RETURNS boolean LANGUAGE c AS '$so', 'td_watch_sql_wait'",
		"CREATE FUNCTION td_watch.follow(query text, last bigint) RETURNS text LANGUAGE c AS '$so', 'td_watch_sql_follow'",
		"CREATE FUNCTION td_watch.count() RETURNS integer LANGUAGE c AS '$so', 'td_watch_sql_count'");
}

my $sleeper = psql('postgres', fresh => 1);
$sleeper->do('SELECT td_watch.open()');
is(value('postgres', 'SELECT td_watch.count()'), 1, 'a sleeper');

# Runs the code while the sleeper sleeps; was it woken within that time?
sub woken
{
	my ($ms, $code) = @_;
	my $sth = $sleeper->prepare('SELECT td_watch.wait(?)::int', { pg_async => PG_ASYNC });
	$sth->execute($ms);
	# where somebody commits all the time it may have slept and woken already
	eventually(sub { value('postgres', "SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = ?", $sleeper->{pg_pid}) }, 5);
	$code->();
	$sleeper->pg_result;
	my ($woken) = $sth->fetchrow_array;
	$sth->finish;
	return $woken;
}

sub wakes { my ($name, $code) = @_; return ok(woken(10_000, $code), "$name wakes it") }
sub leaves { my ($name, $code) = @_; return ok(!woken(400, $code), "$name does not wake it") }

my $writer = psql('postgres', fresh => 1);
my $stranger = psql('other', fresh => 1);
$_->selectrow_array('SELECT count(*) FROM t') for $writer, $stranger;

# ---- sessions ----
leaves('nothing', sub { });
wakes('a commit', sub { $writer->do('INSERT INTO t VALUES (1)') });
leaves('a read-only transaction', sub { $writer->selectrow_array('SELECT count(*) FROM t') });
leaves('a parallel query', sub { $writer->do($_) for 'SET force_parallel_mode = on', 'SELECT count(*) FROM t', 'RESET force_parallel_mode' });
leaves('an open transaction', sub { $writer->begin_work; $writer->do('UPDATE t SET id = 2 WHERE id = 1') });
wakes('its commit', sub { $writer->commit });
leaves('a rollback', sub { $writer->begin_work; $writer->do('INSERT INTO t VALUES (2)'); $writer->rollback });
leaves('a rolled-back savepoint', sub { $writer->begin_work; $writer->do($_) for 'SAVEPOINT a', 'SELECT 1', 'ROLLBACK TO a'; $writer->commit });
wakes('a subtransaction that alone wrote', sub { $writer->begin_work; $writer->do($_) for 'SAVEPOINT a', 'INSERT INTO t VALUES (3)', 'RELEASE a'; $writer->commit });
wakes('a commit with synchronous_commit = off', sub { $writer->do($_) for 'SET synchronous_commit = off', 'INSERT INTO t VALUES (4)', 'RESET synchronous_commit' });
wakes('COMMIT in a procedure', sub { $writer->do('DO $$ BEGIN INSERT INTO t VALUES (5); COMMIT; PERFORM pg_sleep(1); END $$') });
wakes('DDL', sub { $writer->do('ALTER TABLE t ADD COLUMN x text') });
wakes('TRUNCATE', sub { $writer->do('TRUNCATE t') });
$writer->do($_) for 'BEGIN', 'INSERT INTO t VALUES (6)';
leaves('PREPARE TRANSACTION', sub { $writer->do("PREPARE TRANSACTION 'p'") });
wakes('COMMIT PREPARED', sub { $writer->do("COMMIT PREPARED 'p'") });
$writer->do($_) for 'BEGIN', 'INSERT INTO t VALUES (7)', "PREPARE TRANSACTION 'p'";
wakes('COMMIT PREPARED by another session', sub { execute('postgres', "COMMIT PREPARED 'p'") });
{
	my $late = psql('postgres', fresh => 1);
	wakes('a session that has just begun', sub { $late->do('INSERT INTO t VALUES (8)') });
	wakes('a session again', sub { $late->do('INSERT INTO t VALUES (9)') });
}

# ---- databases, and sleepers that come and go ----
leaves('a commit in another database', sub { $stranger->do('INSERT INTO t VALUES (1)') });
$stranger->selectrow_array('SELECT pg_switch_wal()');
wakes('the first commit in a WAL segment, also there,', sub { $stranger->do('INSERT INTO t VALUES (1)') });
leaves('the second one', sub { $stranger->do('INSERT INTO t VALUES (1)') });
{
	my $second = psql('other', fresh => 1);
	$second->do('SELECT td_watch.open()');
	is(value('postgres', 'SELECT td_watch.count()'), 2, 'a second sleeper, in another database');
	leaves('a commit over there', sub { $stranger->do('INSERT INTO t VALUES (2)') });
	wakes('a commit here', sub { $writer->do('INSERT INTO t VALUES (10)') });
	my $sth = $second->prepare('SELECT td_watch.wait(10000)::int', { pg_async => PG_ASYNC });
	$sth->execute;
	eventually(sub { value('postgres', "SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = ?", $second->{pg_pid}) }, 5);    # idle is also what has not begun yet
	$stranger->do('INSERT INTO t VALUES (3)');
	$second->pg_result;
	is(($sth->fetchrow_array)[0], 1, 'the second one is woken by its own database, whose writer came before it');
	$sth->finish;
	$second->disconnect;
	ok(eventually(sub { value('postgres', 'SELECT td_watch.count()') == 1 }), 'it has gone');
	wakes('after that, a commit', sub { $writer->do('INSERT INTO t VALUES (11)') });
}

# ---- our own workers ----
execute('postgres', 'CREATE EXTENSION tapdata');
make_pipeline('postgres', 'p');
ok(reach('postgres', 'p', 'streaming'), 'a pipeline streams');
wakes('the commit of a pipeline worker', sub { });
execute('postgres', "SELECT tapdata.stop_pipeline('p')");
ok(reach('postgres', 'p', 'stopped') && eventually(sub { !woken(300, sub { }) }), 'a stopped one is quiet');

# ---- no wake is lost while four sessions write as they like ----
{
	execute('postgres', 'CREATE SEQUENCE done', 'CREATE TABLE w (id bigint)', 'INSERT INTO w SELECT 0');
	my $sth = $sleeper->prepare("SELECT td_watch.follow('SELECT count(*) FROM w', 2001)", { pg_async => PG_ASYNC });
	$sth->execute;
	my @pids;
	for my $n (1 .. 4)
	{
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			$_->{AutoInactiveDestroy} = 1 for $sleeper, $writer, $stranger;
			exec("$pg->{TD_PG_BIN}/psql", '-qX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-c',
				'DO $$ BEGIN FOR i IN 1..500 LOOP INSERT INTO w VALUES (i); COMMIT; PERFORM pg_sleep(random() * 0.004); END LOOP; END $$', 'postgres') or exit 1;
		}
		push @pids, $pid;
	}
	waitpid $_, 0 for @pids;
	$sleeper->pg_result;
	is(($sth->fetchrow_array)[0], 'slept 0', 'it slept, and slept through nothing');
	$sth->finish;
}

# ---- room for 64 ----
{
	my @many = map { my $dbh = psql('postgres', fresh => 1); $dbh->do('SELECT td_watch.open()'); $dbh } 2 .. 64;
	my $extra = psql('postgres', fresh => 1);
	like(try_do($extra, 'SELECT td_watch.open()'), qr/^53400 /, 'the 65th is refused');
	wakes('with 64 of them, a commit', sub { $writer->do('INSERT INTO t VALUES (12)') });
	$_->disconnect for @many, $extra;
	ok(eventually(sub { value('postgres', 'SELECT td_watch.count()') == 1 }), 'all have gone');
}
$_->disconnect for $sleeper, $writer, $stranger;
finish();
done_testing();
