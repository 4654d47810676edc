# The tick of live views: what it takes and what it leaves for the next one, locks, failing views, fills under load, lost slots.
#
# Each part fails on a simpler way of doing it: cutting by commit position, reading without locks, one error for all views.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use POSIX ();
use Time::HiRes qw(sleep time);

start_server('tick', 'max_prepared_transactions = 10', 'max_worker_processes = 32', 'tapdata.worker_memory = 1MB');
execute('postgres', 'CREATE EXTENSION tapdata', 'SET synchronous_commit = local',
	'CREATE TABLE a (id int PRIMARY KEY, g int, v int, unused text)', 'CREATE TABLE b (id int PRIMARY KEY, name text)',
	'ALTER TABLE a REPLICA IDENTITY FULL', 'ALTER TABLE b REPLICA IDENTITY FULL',
	'INSERT INTO b SELECT i, md5(i::text) FROM generate_series(0, 9) i', 'INSERT INTO a SELECT i, i % 10, i FROM generate_series(1, 1000) i');
my %query = (
	by_g => 'SELECT g, count(*) AS n, sum(v) AS s FROM a GROUP BY g',
	joined => 'SELECT a.id, b.name, a.v FROM a JOIN b ON b.id = a.g WHERE a.v % 2 = 0',
	above => 'SELECT n, count(*) AS groups FROM by_g GROUP BY n');
my @views = qw(by_g joined above);
create($_) for @views;

sub create { my ($name, $query) = @_; $query{$name} = $query if $query; execute('postgres', "SELECT tapdata.create_view('$name', \$\$$query{$name}\$\$)"); return }
sub wait_for { my (@names) = @_; my $r = ''; $r .= try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '60 s')") for @names; return $r }
sub status { my ($name) = @_; return value('postgres', 'SELECT status FROM tapdata.views WHERE view = ?::regclass', $name) }
sub wrong { my (@names) = @_; return join '', map { my $v = $_; map { "$v $_\n" } grep { $_ } rows('postgres', "SELECT * FROM tapdata.check_view('$v', 3)") } @names }
sub plain { my (@names) = @_; return join '', map { value('postgres',
	"SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } @names }
sub exact
{
	my ($what, @names) = @_;
	@names = @views unless @names;
	is(wait_for(@names), '', "$what: reached");
	is(wrong(@names), '', "$what: check_view finds nothing");
	is(plain(@names), '', "$what: nor does plain SQL");
	return;
}

# A session of its own in a process of its own.
sub background
{
	my ($code) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	my $dbh = psql('postgres', fresh => 1);
	eval { $code->($dbh) };
	POSIX::_exit(0);
}
sub ended { my (@pids) = @_; waitpid($_, 0) for @pids; return }

# n sessions that write until the file is gone
sub writers
{
	my ($n, $flag) = @_;
	open my $f, '>', $flag or die; close $f;
	return map { my $k = $_; background(sub {
		my ($dbh) = @_;
		srand $k;
		while (-e $flag)
		{
			eval {
				$dbh->begin_work;
				$dbh->do('UPDATE a SET v = v + 1, g = ? WHERE id % 50 = ?', undef, int rand 10, int rand 50);
				$dbh->do('DELETE FROM a WHERE id = ?', undef, 1 + int rand 1000);
				$dbh->do('INSERT INTO a SELECT ?, 1, 1 ON CONFLICT DO NOTHING', undef, 1 + int rand 1000);
				$dbh->do('UPDATE b SET name = name || 1 WHERE id = ?', undef, int rand 10);
				rand() < 0.2 ? $dbh->rollback : $dbh->commit;
				1 } or eval { $dbh->rollback };
			sleep 0.002;
		} }) } 1 .. $n;
}

exact('new views');

# ---- decodable is not visible: a commit that waits for a standby ----
{
	execute('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", 'SELECT pg_reload_conf()');
	ok(eventually(sub { value('postgres', 'SHOW synchronous_standby_names') eq 'nobody' }), 'a standby that is not there');
	my $stalled = background(sub { $_[0]->do('SET synchronous_commit = on'); $_[0]->do('UPDATE a SET v = v + 1000, g = 3 WHERE id <= 100') });
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") }), 'a commit waits for it');
	for my $i (1 .. 5)
	{
		execute('postgres', "UPDATE a SET v = v + $i WHERE id BETWEEN 50 AND 150 AND id > 100", "UPDATE b SET name = name || 'x' WHERE id = $i");
		exact("a stalled commit, round $i");
	}
	is(value('postgres', 'SELECT sum(s) FROM by_g'), value('postgres', 'SELECT sum(v) FROM a'), 'the view does not have it yet');
	execute('postgres', 'ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()');
	ended($stalled);
	exact('it is visible');
}

# ---- a commit that was decoded before what it has written to was asked for, and is seen later ----
{
	my $stall = sub {
		my (@sql) = @_;
		execute('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", 'SELECT pg_reload_conf()');
		ok(eventually(sub { value('postgres', 'SHOW synchronous_standby_names') eq 'nobody' }), 'a standby that is not there');
		my @pids = map { my $sql = $_; background(sub { $_[0]->do('SET synchronous_commit = on'); $_[0]->do($sql) }) } @sql;
		ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == @sql }), 'commits wait for it');
		execute('postgres', 'UPDATE wide SET v = v + 1 WHERE id = 1');
		ok(eventually(sub { value('postgres', 'SELECT count(*) FROM tapdata.view_group g, tapdata.group_decoded(g.id) d WHERE lsn >= pg_current_wal_flush_lsn()') }), 'they are decoded');
		return @pids;
	};
	my $go_on = sub { execute('postgres', 'ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()'); ended(@_); return };
	my $exact = sub {
		my ($v, $query) = @_;
		execute('postgres', "SELECT tapdata.wait_view('$v', '30 s')");
		is(value('postgres', "SELECT count(*) FROM ((TABLE $v EXCEPT ALL $query) UNION ALL ($query EXCEPT ALL TABLE $v)) x"), 0, "$v has what they wrote");
		execute('postgres', "SELECT tapdata.drop_view('$v')");
	};
	my ($docs, $seldom) = ('SELECT id, to_jsonb(wide) AS doc FROM wide', 'SELECT id, v FROM seldom');
	execute('postgres', 'SET synchronous_commit = local', 'CREATE TABLE wide (id int PRIMARY KEY, v int)', 'INSERT INTO wide SELECT i, i FROM generate_series(1, 5) i',
		'CREATE TABLE seldom (id int PRIMARY KEY, v int)', 'ALTER TABLE seldom REPLICA IDENTITY FULL', 'INSERT INTO seldom SELECT i, i FROM generate_series(1, 5) i',
		"SELECT tapdata.create_view('docs', '$docs')", "SELECT tapdata.wait_view('docs', '30 s')");

	my @pids = $stall->('UPDATE seldom SET v = 0 WHERE id < 3');
	execute('postgres', "SELECT tapdata.create_view('few', '$seldom')");
	ok(!eventually(sub { value('postgres', "SELECT count(*) FROM tapdata.views WHERE view = 'few'::regclass AND status = 'streaming'") }, 1.5), 'no view begins without them');
	$go_on->(@pids);
	$exact->('few', $seldom);

	my $holder = psql('postgres', fresh => 1);
	$holder->do('SET synchronous_commit = local');
	$holder->begin_work;
	$holder->do('LOCK TABLE docs IN SHARE MODE');    # no tick
	execute('postgres', 'ALTER TABLE wide ADD COLUMN late int');
	@pids = $stall->('INSERT INTO wide VALUES (10, 1, 7)', 'UPDATE wide SET late = 8 WHERE id = 2');
	execute('postgres', "SELECT tapdata.create_view('docs_late', '$docs')");
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM tapdata.views WHERE view = 'docs_late'::regclass AND status = 'snapshot'") }), 'another view asks for the new column');
	$holder->commit;
	ok(eventually(sub { value('postgres', q{SELECT EXISTS (SELECT FROM docs WHERE doc::text LIKE '%late%') OR EXISTS (SELECT FROM tapdata.views WHERE view = 'docs'::regclass AND status = 'snapshot')}) }), 'the first one is planned by it');
	$go_on->(@pids);
	$exact->('docs', $docs);
	$exact->('docs_late', $docs);
	execute('postgres', 'DROP TABLE wide, seldom');
}

# ---- prepared and long transactions ----
{
	my $dbh = psql('postgres', fresh => 1);
	$dbh->do('BEGIN'); $dbh->do('UPDATE a SET g = 4 WHERE id <= 20'); $dbh->do(q(PREPARE TRANSACTION 'p1'));
	my $long = psql('postgres', fresh => 1);
	$long->do('BEGIN'); $long->do('DELETE FROM a WHERE id BETWEEN 30 AND 40'); $long->do('SAVEPOINT s'); $long->do('DELETE FROM b WHERE id = 0'); $long->do('ROLLBACK TO s');
	for my $i (1 .. 3) { execute('postgres', "UPDATE a SET v = v - $i WHERE id > 500"); exact("others go on, round $i") }
	kill 'TERM', worker_pids('capture');
	execute('postgres', 'UPDATE a SET v = v + 7 WHERE id > 900');
	exact('a new capture worker');
	$dbh->do(q(COMMIT PREPARED 'p1'));
	exact('commit prepared');
	$long->do('COMMIT');
	exact('commit of the long one');
	$dbh->disconnect; $long->disconnect;
}

# ---- under writers: TRUNCATE, rewrites, DDL, fills ----
{
	my $flag = "/tmp/td_tick_writers_$$";
	my @pids = writers(3, $flag);
	my $found = '';
	for my $i (1 .. 5)
	{
		execute('postgres', $i % 2 ? 'VACUUM FULL a' : "ALTER TABLE a ALTER unused TYPE text USING upper(unused) || '$i'");
		$found .= wrong('by_g', 'joined');
		my $dbh = psql('postgres', fresh => 1);
		try_do($dbh, 'BEGIN'); try_do($dbh, 'TRUNCATE a'); try_do($dbh, "INSERT INTO a SELECT i, i % 10, i FROM generate_series(1, 1000) i");
		try_do($dbh, $i == 3 ? 'ROLLBACK' : 'COMMIT');
		$found .= wrong('by_g', 'above');
		$dbh->disconnect;
	}
	is($found, '', 'exact between truncations and rewrites');
	create('late', 'SELECT g, min(v) AS lo, max(v) AS hi, avg(v) AS mean FROM a GROUP BY g');
	create('late_above', 'SELECT count(*) AS n, sum(l.hi) AS s FROM late l JOIN b ON b.id = l.g');
	push @views, 'late', 'late_above';
	is(wait_for('late', 'late_above'), '', 'views made under load stream');
	for my $i (1 .. 4)
	{
		execute('postgres', "SELECT tapdata.refresh_view('by_g')", $i % 2 ? 'SELECT 1' : "SELECT tapdata.refresh_view('by_g')");
		$found .= wait_for(@views) . wrong(@views);
	}
	is($found, '', 'and are exact, through refreshes');
	unlink $flag;
	ended(@pids);
	exact('the writers have stopped');
}

# ---- one view that fails ----
{
	create('bad', 'SELECT g, sum(1000 / (v - 5)) AS s FROM a WHERE id > 100000 GROUP BY g');
	create('bad_above', 'SELECT count(*) AS n FROM bad');
	is(wait_for('bad', 'bad_above'), '', 'five views');
	execute('postgres', 'INSERT INTO a VALUES (100001, 1, 6), (100002, 2, 5)');
	exact('one divides by zero');
	is(status('bad'), 'failed', 'it is frozen');
	is(status('bad_above'), 'failed', 'and what is above it');
	is(value('postgres', "SELECT sqlstate || exact FROM tapdata.views WHERE view = 'bad'::regclass"), '22012false', 'with its error');
	my $began = time;
	like(wait_for('bad'), qr/division by zero|failed/, 'waiting for it raises');
	ok(time - $began < 5, 'at once');
	is(value('postgres', 'SELECT count(*) FROM bad'), 0, 'its rows are as they were');
	execute('postgres', 'DELETE FROM a WHERE id = 100002', "SELECT tapdata.refresh_view('bad')");
	exact('mended', 'bad', 'bad_above');
	execute('postgres', "SELECT tapdata.drop_view('bad_above')", "SELECT tapdata.drop_view('bad')", 'DELETE FROM a WHERE id > 100000');
}

# ---- a row that fails, but comes and goes within a tick: the query never meets it ----
{
	create('brief', 'SELECT g, sum(1000 / (v - 5)) AS s FROM a WHERE id > 100000 GROUP BY g');
	exact('a view that can fail', 'brief');
	execute('postgres', 'INSERT INTO a VALUES (100004, 1, 6)');
	kill 'STOP', worker_pids('view');
	execute('postgres', 'INSERT INTO a VALUES (100005, 2, 5)', 'UPDATE a SET v = 7 WHERE id = 100005');
	kill 'CONT', worker_pids('view');
	exact('it did not have to', 'brief');
	is(status('brief'), 'streaming', 'and it goes on');
	execute('postgres', "SELECT tapdata.drop_view('brief')", 'DELETE FROM a WHERE id > 100000');
}

# ---- an error that is nobody's fault, and a lock that somebody keeps ----
{
	execute('postgres', q{CREATE FUNCTION full(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
		BEGIN IF x = 666 THEN RAISE 'no space' USING ERRCODE = '53100'; END IF; RETURN x; END $$});
	create('disk', 'SELECT sum(full(v)) AS s FROM a WHERE id > 100000');
	exact('a view whose statement may find the disk full', 'disk');
	execute('postgres', 'INSERT INTO a VALUES (100003, 1, 666)');
	my $group = sub { value('postgres', 'SELECT status FROM tapdata.group_state') };
	ok(eventually(sub { $group->() eq 'retrying' }), 'the group retries');
	is(value('postgres', q(SELECT count(*) FROM tapdata.view_state WHERE status = 'failed')), 0, 'no view is frozen for it');
	execute('postgres', 'CREATE OR REPLACE FUNCTION full(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN x; END $$');
	ok(eventually(sub { $group->() eq 'streaming' }, 60), 'and goes on');
	exact('there is room again', @views, 'disk');
	execute('postgres', "SELECT tapdata.drop_view('disk')", 'DELETE FROM a WHERE id > 100000');
	my $locked = background(sub { $_[0]->do('BEGIN'); $_[0]->do('LOCK TABLE b IN ACCESS EXCLUSIVE MODE'); $_[0]->do('SELECT pg_sleep(2)'); $_[0]->do('COMMIT') });
	ok(eventually(sub { value('postgres', q(SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'b'::regclass)) }), 'a table is locked');
	execute('postgres', 'UPDATE a SET v = v + 2 WHERE id < 10');
	my $waits = 'SELECT pid FROM pg_stat_activity JOIN pg_locks l USING (pid) WHERE backend_type = $$tapdata view$$ AND NOT granted';
	ok(quiet(1, sub { !value('postgres', "SELECT count(*) FROM pg_locks WHERE granted AND locktype <> 'virtualxid' AND pid IN ($waits)") }), 'while the worker waits for its lock, it holds nothing');
	ended($locked);
	exact('it is free again');
}

# ---- partitions: attach, detach, one without the full old image ----
{
	execute('postgres', 'CREATE TABLE p (id int, g int, v int) PARTITION BY RANGE (id)', 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)',
		'INSERT INTO p SELECT i, i % 3, i FROM generate_series(0, 99) i');
	create('parted', 'SELECT g, count(*) AS n, sum(v) AS s FROM p GROUP BY g');
	exact('a partitioned table', 'parted');
	execute('postgres', 'CREATE TABLE p2 (v int, id int, g int)', 'INSERT INTO p2 SELECT i, i, i % 3 FROM generate_series(100, 199) i',
		'ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200)');
	exact('attach', 'parted');
	execute('postgres', 'BEGIN', 'CREATE TABLE p3 (id int, g int, v int)', 'INSERT INTO p3 SELECT i, i % 3, i FROM generate_series(200, 299) i',
		'ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (200) TO (300)', 'INSERT INTO p VALUES (250, 1, 1)', 'COMMIT');
	exact('made, filled and attached in one transaction', 'parted');
	execute('postgres', 'ALTER TABLE p2 REPLICA IDENTITY NOTHING', 'UPDATE p SET v = v + 1 WHERE id IN (50, 150)', 'UPDATE p SET v = v + 1 WHERE id IN (51, 151)');
	exact('a partition whose old image is not whole', 'parted');
	ok(value('postgres', "SELECT count(*) FROM tapdata.log WHERE hint = 'ALTER TABLE public.p2 REPLICA IDENTITY FULL;'"), 'the log says what to do about it');
	execute('postgres', 'ALTER TABLE p DETACH PARTITION p1', 'UPDATE p1 SET v = 0');
	exact('detach', 'parted');
	execute('postgres', "SELECT tapdata.drop_view('parted')", 'DROP TABLE p');
}

# ---- more than fits ----
{
	execute('postgres', "ALTER SYSTEM SET tapdata.spool_limit = '1MB'", 'SELECT pg_reload_conf()');
	execute('postgres', "INSERT INTO a SELECT i, i % 10, i, repeat('x', 10) FROM generate_series(200001, 400000) i", 'UPDATE a SET v = v + 1 WHERE id > 200000');
	kill 'TERM', worker_pids('capture');    # the limit is read when the spools are made
	execute('postgres', 'UPDATE a SET v = v + 1 WHERE id > 200000', 'UPDATE b SET name = name || 2');
	exact('transactions that do not fit into the spool');
	execute('postgres', 'DELETE FROM a WHERE id > 200000', 'ALTER SYSTEM RESET tapdata.spool_limit', 'SELECT pg_reload_conf()');
	exact('and less again');
}

# ---- rights, row security ----
{
	execute('postgres', 'CREATE ROLE owner LOGIN', 'GRANT CREATE, USAGE ON SCHEMA public TO owner', 'GRANT SELECT ON b TO owner', 'CREATE TABLE c (id int PRIMARY KEY, v int)',
		'GRANT SELECT ON c TO owner', 'ALTER TABLE c REPLICA IDENTITY FULL', 'INSERT INTO c VALUES (1, 1)');
	psql('postgres', user => 'owner')->do("SELECT tapdata.create_view('of_owner', 'SELECT sum(v) AS s FROM c')");
	$query{of_owner} = 'SELECT sum(v) AS s FROM c';
	exact('a view of another owner', 'of_owner');
	execute('postgres', 'REVOKE SELECT ON c FROM owner', 'INSERT INTO c VALUES (2, 2)');
	ok(eventually(sub { status('of_owner') eq 'failed' }), 'without SELECT it fails');
	is(value('postgres', "SELECT sqlstate FROM tapdata.views WHERE view = 'of_owner'::regclass"), '42501', 'with the right error');
	execute('postgres', 'GRANT SELECT ON c TO owner', "SELECT tapdata.refresh_view('of_owner')");
	exact('granted again', 'of_owner');
	execute('postgres', 'CREATE POLICY own ON c USING (v < 2)', 'ALTER TABLE c ENABLE ROW LEVEL SECURITY');
	ok(eventually(sub { status('of_owner') eq 'failed' }), 'row security that comes later freezes it');
	is(value('postgres', 'SELECT s FROM of_owner'), 3, 'as it was');
	execute('postgres', "SELECT tapdata.drop_view('of_owner')", 'DROP TABLE c', 'REVOKE ALL ON SCHEMA public FROM owner', 'REVOKE ALL ON b FROM owner', 'DROP ROLE owner');
}
exact('the others');

# ---- a backend that is killed in check_view ----
{
	my $flag = "/tmp/td_tick_writers_$$";
	my @pids = writers(2, $flag);
	for (1 .. 15)
	{
		my $pid = background(sub { $_[0]->do("SET application_name = 'checker'"); $_[0]->do("SELECT * FROM tapdata.check_view('joined')") for 1 .. 100 });
		sleep 0.05 + rand 0.1;
		value('postgres', "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'checker'");
		ended($pid);
	}
	my $began = time;
	is(wait_for('joined'), '', 'ticks go on');
	ok(time - $began < 10, 'nobody waits for the dead');
	unlink $flag;
	ended(@pids);
}

# ---- the slot: advanced by hand, dropped ----
for my $case (['advanced', q(SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots WHERE slot_name LIKE 'tapdata%')],
	['dropped', q(SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'tapdata%')])
{
	my ($what, $sql) = @$case;
	exact("before the slot is $what");
	execute('postgres', 'ALTER SYSTEM SET tapdata.enabled = off', 'SELECT pg_reload_conf()');
	ok(eventually(sub { !worker_pids('view') && !worker_pids('capture') }), 'workers have ended');
	execute('postgres', 'UPDATE a SET v = v * 2, g = 9 - g', 'DELETE FROM a WHERE id % 7 = 0', $sql);
	execute('postgres', 'ALTER SYSTEM RESET tapdata.enabled', 'SELECT pg_reload_conf()');
	ok(eventually(sub { wait_for(@views) eq '' }, 60), "the slot was $what: the views stream again");
	exact("the slot was $what");
	ok(value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE '%filled anew%' AND at > now() - interval '1 min'"), 'the log says so');
}

# ---- an idle group does not wake ----
sub switches { my ($pid) = @_; open my $f, '<', "/proc/$pid/status" or die; my ($n) = map { /^voluntary_ctxt_switches:\s+(\d+)/ } <$f>; return $n }
{
	sleep 3;
	my @pids = (worker_pids('view'), worker_pids('capture'));
	is(scalar @pids, 2, 'two processes');
	psql('postgres')->disconnect;
	ok(eventually(sub { my @before = map { switches($_) } @pids; sleep 3; "@before" eq join ' ', map { switches($_) } @pids }, 30), 'neither wakes while nothing happens');
}
is(rows('postgres', "SELECT view, status, error FROM tapdata.views WHERE status <> 'streaming' OR NOT exact"), '', 'all stream');
# ---- after an idle time ----
# in which no transaction came: that the oldest snapshot is where it was is none that somebody holds, and ticks need not be rare for it
{
	my $dbh = psql('postgres', fresh => 1);
	my $least = sub { my @s = sort { $a <=> $b } map { my $t = time; $dbh->do(q{SELECT * FROM tapdata.check_view('by_g')}); time - $t } 1 .. 6; return $s[1] };
	wait_for('by_g');
	my $busy = $least->();
	sleep 25;
	my $idle = $least->();
	cmp_ok($idle, '<', 10 * $busy, sprintf('check_view is as quick as before (%.0f ms, %.0f ms)', 1000 * $busy, 1000 * $idle));
}
finish();
done_testing();
