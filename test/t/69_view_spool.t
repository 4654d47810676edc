# Live views when changes do not fit into the spool while some of them are not visible yet, and what else the worker of a group
# must not get stuck in or leave behind: waits that nobody ends, fills that are asked for once more, views over one that has failed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use POSIX ();
use Time::HiRes qw(sleep time);

my $full = '';    # a small tmpfs, where we may mount one
END { my $status = $?; if ($full) { system("umount -l '$full'"); rmdir $full } $? = $status }

my @conf = ('max_worker_processes = 32', 'tapdata.worker_memory = 1MB', 'tapdata.spool_limit = 1MB', 'max_prepared_transactions = 5');
start_server('spool', @conf);
execute('postgres', 'CREATE EXTENSION tapdata', 'SET synchronous_commit = local', 'CREATE TABLE doc (id int PRIMARY KEY, t text)', 'INSERT INTO doc VALUES (0, \'\')',
	'CREATE TABLE base (id int)', 'CREATE TABLE child () INHERITS (base)', 'INSERT INTO child VALUES (1), (2)');
my %query = (docs => 'SELECT id, length(t) AS n FROM doc', total => 'SELECT count(*) AS n, sum(length(t)) AS s FROM doc', tree => 'SELECT id FROM base');

sub create { my ($name) = @_; execute('postgres', "SELECT tapdata.create_view('$name', \$\$$query{$name}\$\$)"); return }
sub wait_for { my (@names) = @_; return join '', map { try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '30 s')") } @names }
sub plain { my (@names) = @_; return join '', map { value('postgres',
	"SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } @names }
sub exact { my ($what, @names) = @_; is(wait_for(@names) . plain(@names), '', $what); return }
sub status { my ($name) = @_; return value('postgres', 'SELECT status FROM tapdata.views WHERE view = ?::regclass', $name) // '' }
sub logged { my ($what) = @_; my $top = $ENV{TD_TOP} || "$FindBin::Bin/../.."; return scalar grep { /$what/ } `$top/test/servers/pg log spool` }

# ---- the first view, while an old transaction keeps its slot from being made ----
{
	my $old = psql('postgres', fresh => 1);
	$old->do('BEGIN');
	$old->do('SELECT txid_current()');
	create($_) for qw(docs total tree);
	ok(eventually(sub { worker_pids('capture') && value('postgres', 'SELECT count(*) FROM pg_replication_slots') }), 'a slot is being made');
	execute('postgres', 'CREATE DATABASE other STRATEGY file_copy', q(SET statement_timeout = '5s'));
	is(try_do(psql('postgres'), 'DROP DATABASE other'), '', 'nobody waits for the worker meanwhile');
	execute('postgres', 'RESET statement_timeout');
	$old->do('ROLLBACK');
	exact('it is made', qw(docs total tree));
}

# ---- commits that are decoded but not visible, more than fit ----
my $stalled = 0;

# A session whose commit waits for a standby that is not there; its pid.
sub stall
{
	my ($sql) = @_;
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my $dbh = psql('postgres', fresh => 1);
		eval { $dbh->do('SET synchronous_commit = on'); $dbh->do($sql) };
		POSIX::_exit(0);
	}
	$stalled++;
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == $stalled }), "commit $stalled waits for a standby");
	sleep 0.3;    # decoded, and carried by a tick
	return $pid;
}

sub release { my ($like) = @_; $stalled -= value('postgres', "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '$like'");
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == $stalled }), 'they wait no longer'); return }

# Six transactions of 200 kB, and one of 40 kB, a single block, that does not fit any more.
sub overflow
{
	my ($round) = @_;
	my $before = logged('do not fit into the spool');
	execute('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", 'SELECT pg_reload_conf()');
	ok(eventually(sub { value('postgres', 'SHOW synchronous_standby_names') eq 'nobody' }), 'a standby that is not there');
	my @pids = map { stall("INSERT INTO doc SELECT $round * 10000 + $_ * 100 + i, repeat('x', 10000) FROM generate_series(1, 20) i") } 1 .. 6;
	is(logged('do not fit into the spool'), $before, 'so much fits');
	push @pids, stall("INSERT INTO doc SELECT $round * 10000, repeat('y', 40000)");
	ok(eventually(sub { logged('do not fit into the spool') > $before }), 'a bit more does not');
	exact('none of it is visible', qw(docs total tree));
	return @pids;
}

sub goes_on { my ($what) = @_; execute('postgres', "UPDATE doc SET t = t || 'z' WHERE id = 0"); exact($what, qw(docs total tree)); return }

{
	my @pids = overflow(1);
	goes_on('others go on');
	my $recomputes = sub { value('postgres', q(SELECT sum(recomputes) FROM tapdata.view_state)) };
	release(q(%''x''%));
	goes_on('most of it is visible');
	sleep 1.5;    # counters are written once a second
	goes_on('counters');
	my $n = $recomputes->();
	for (1 .. 5) { sleep 0.4; goes_on('and goes on') }
	is($recomputes->(), $n, 'views are not computed anew for what is not visible');
	release(q(%''y''%));
	exact('the rest is', qw(docs total tree));
	goes_on('and after that');
	execute('postgres', 'ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()');
	waitpid $_, 0 for @pids;
}

# ---- they fit as they come, but not one by one, as they are carried ----
{
	ok(eventually(sub { value('postgres', 'SHOW synchronous_standby_names') eq '' }), 'no standby is waited for');
	my $before = logged('do not fit into the spool');
	execute('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", 'SELECT pg_reload_conf()');
	ok(eventually(sub { value('postgres', 'SHOW synchronous_standby_names') eq 'nobody' }), 'a standby that is not there');
	my @pids = map { stall("INSERT INTO doc SELECT 50000 + $_ * 100 + i, repeat('x', 10000) FROM generate_series(1, 20) i") } 1 .. 5;
	is(logged('do not fit into the spool'), $before, 'so much fits');
	push @pids, stall(q(INSERT INTO doc SELECT 60000 + i, '' FROM generate_series(1, 4000) i));
	ok(eventually(sub { logged('do not fit into the spool') > $before }), 'it can not be carried');
	goes_on('others go on');
	release('%');
	exact('all is visible', qw(docs total tree));
	execute('postgres', 'ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()');
	waitpid $_, 0 for @pids;
}

# ---- more than fits, and a crash before it is visible ----
{
	ok(eventually(sub { value('postgres', 'SHOW synchronous_standby_names') eq '' }), 'no standby is waited for');
	my @pids = overflow(2);
	goes_on('others go on');
	sleep 2.5;    # the tick is flushed and the slot confirmed
	execute('postgres', 'CHECKPOINT', 'ALTER SYSTEM RESET synchronous_standby_names');
	restart_server('immediate', @conf);
	waitpid $_, 0 for @pids;
	execute('postgres', 'SET synchronous_commit = local');
	is(value('postgres', 'SELECT count(*) FROM doc WHERE id BETWEEN 20000 AND 29999'), 121, 'a crash makes it visible');
	goes_on('to the views, too');
	is(value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE '%filled anew%'"), 0, 'which are not filled anew for that');
}

# ---- refreshed while it is being filled, with changes that do not fit into memory ----
{
	$query{big} = 'SELECT DISTINCT id, v FROM big_t';
	execute('postgres', 'CREATE TABLE big_t AS SELECT i AS id, i % 1000 AS v FROM generate_series(1, 400000) i', 'ALTER TABLE big_t REPLICA IDENTITY FULL');
	create('big');
	my $filling = sub { value('postgres', "SELECT count(*) FROM tapdata.worker_list() WHERE kind = 'fill' AND status = 'snapshot'") };
	ok(eventually($filling), 'a view is being filled');
	execute('postgres', 'UPDATE big_t SET v = v + 1 WHERE id <= 20000');
	my $start = time;
	execute('postgres', "SELECT tapdata.refresh_view('big')");
	ok(eventually(sub { $filling->() && status('big') eq 'snapshot' }), 'and is filled once more');
	cmp_ok(time - $start, '<', 4, 'without waiting for a worker');
	execute('postgres', 'UPDATE big_t SET v = v + 1 WHERE id <= 20000');
	exact('filled', 'big');
	is(value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE 'no background worker%'"), 0, 'there is one');
	execute('postgres', "SELECT tapdata.drop_view('big')");
}

# ---- read while it is being filled ----
{
	create('big');
	my $reader = psql('postgres', fresh => 1);
	$reader->do('BEGIN');
	$reader->do('SELECT count(*) FROM big');
	my $waits = sub { value('postgres', "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND backend_type = 'tapdata fill'") };
	ok(eventually($waits), 'the indexes of a view are not built while somebody reads it');
	ok(quiet(1.5, $waits), 'who reads it is waited for');
	$reader->do('COMMIT');
	exact('not in vain', 'big');
	is(value('postgres', "SELECT count(*) FROM tapdata.log WHERE sqlstate = '55P03'"), 0, 'the fill was not begun anew');
	execute('postgres', "SELECT tapdata.drop_view('big')");
}

# ---- over a view that can't be filled ----
{
	execute('postgres', 'CREATE TABLE bad_t (id int PRIMARY KEY, v int)', 'INSERT INTO bad_t VALUES (1, 0)', 'BEGIN',
		q(SELECT tapdata.create_view('bad', 'SELECT id, 1 / v AS r FROM bad_t')), q(SELECT tapdata.create_view('over_bad', 'SELECT sum(r) AS s FROM bad')), 'COMMIT');
	ok(eventually(sub { status('bad') eq 'failed' }), 'a view fails as it is filled');
	ok(eventually(sub { status('over_bad') eq 'failed' }, 5), 'and the one above it does not wait for ever');
	like(value('postgres', "SELECT error FROM tapdata.views WHERE view = 'over_bad'::regclass"), qr/a view that .* reads has failed/, 'it says why');
	execute('postgres', 'UPDATE bad_t SET v = 1', q(SELECT tapdata.refresh_view('bad')));
	ok(eventually(sub { status('over_bad') eq 'streaming' }), 'both are revived by a refresh of the lower one');
	is(value('postgres', 'SELECT s FROM over_bad'), 1, 'and right');
}

# ---- a disk that is full, while what waits can't be taken ----
SKIP:
{
	my $dir = "/var/tmp/tapdata-full-$$";
	mkdir $dir or die "$dir: $!";
	my $mounted = $> == 0 && system("mount -t tmpfs -o size=2m,mode=1777 tmpfs '$dir' 2>/dev/null") == 0;
	$full = $mounted ? $dir : '';
	rmdir $dir unless $mounted;
	fail('no tmpfs could be mounted') if $ENV{CI} && !$mounted;
	skip 'needs root and a tmpfs', 1 unless $mounted;
	restart_server('fast', @conf, 'tapdata.spool_limit = 1GB', "tapdata.spool_directory = '$dir'");
	$query{twofold} = 'SELECT d.id, length(d.t) AS n, b.v FROM full_t d JOIN bad_t b ON b.id = d.id % 2';
	execute('postgres', 'SET synchronous_commit = local', 'CREATE TABLE full_t (id int PRIMARY KEY, t text)');
	create('twofold');
	exact('a view', 'twofold');
	my ($lost, $ended) = map { logged($_) } 'do not fit into the spool', 'the session with the capture worker of the views ended';
	my $holder = psql('postgres', fresh => 1);
	$holder->do('BEGIN');
	$holder->do('LOCK TABLE bad_t IN ACCESS EXCLUSIVE MODE');
	execute('postgres', 'DO $$ BEGIN FOR i IN 1 .. 300 LOOP INSERT INTO full_t SELECT i * 10 + k, repeat(md5(k::text), 200) FROM generate_series(1, 5) k; COMMIT; END LOOP; END $$');
	ok(eventually(sub { logged('do not fit into the spool') > $lost }), 'more than the disk takes');
	$holder->do('COMMIT');
	exact('computed anew', 'twofold', 'docs');
	is(value('postgres', 'SELECT count(*) FROM twofold'), 900, 'with all of it');
	is(logged('the session with the capture worker of the views ended'), $ended, 'once, and not again and again');
	execute('postgres', "INSERT INTO full_t VALUES (1, 'x')");
	exact('and goes on', 'twofold');
}

is(logged('file leak|not closed|snapshot reference leak|refcount leak'), 0, 'nothing was left open');
finish();
done_testing();
