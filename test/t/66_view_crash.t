# Live views through kill -9: of view, capture and fill workers and of sessions, at random and with writers, between the commit of a tick and its
# flush as well (ticks commit asynchronously, the walwriter sleeps long here).  Every crash restarts the server; what was ticked but not flushed is
# lost with its checkpoint, and ticked again from the slot.
#
# TD_SEED=n repeats a run; TD_CRASH_ROUNDS makes it longer (make soak).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use POSIX ();
use Time::HiRes qw(sleep time);

my $rounds = $ENV{TD_CRASH_ROUNDS} || 8;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
start_server('viewcrash', 'max_worker_processes = 32', 'wal_writer_delay = 10s', 'wal_writer_flush_after = 0', 'synchronous_commit = on', 'fsync = off');
execute('postgres', 'CREATE EXTENSION tapdata',
	'CREATE TABLE a (id int PRIMARY KEY, v int NOT NULL)', 'CREATE TABLE b (id int PRIMARY KEY, v int NOT NULL)',
	'ALTER TABLE a REPLICA IDENTITY FULL', 'ALTER TABLE b REPLICA IDENTITY FULL',
	'INSERT INTO a SELECT i, 100 FROM generate_series(1, 500) i', 'INSERT INTO b SELECT i, 100 FROM generate_series(1, 500) i',
	'CREATE TABLE c AS SELECT i AS id, i % 1000 AS v FROM generate_series(1, 400000) i',    # takes a while to fill
	q(SELECT tapdata.create_view('vc', 'SELECT DISTINCT id, v FROM c')),
	q(SELECT tapdata.create_view('va', 'SELECT count(*) AS n, sum(v) AS s FROM a')), q(SELECT tapdata.create_view('vb', 'SELECT count(*) AS n, sum(v) AS s FROM b')),
	q(SELECT tapdata.create_view('vj', 'SELECT a.id, a.v + b.v AS v FROM a JOIN b USING (id)')),
	q(SELECT tapdata.create_view('vg', 'SELECT v % 10 AS m, count(*) AS n FROM vj GROUP BY v % 10')));
my @views = qw(va vb vj vg vc);
my $flag = "/tmp/td_view_crash_$$";

# money moves from a to b and back: the sum of both views is the same in every snapshot
sub writer
{
	my ($k) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	srand($seed + $k);
	my $dbh;
	while (-e $flag)
	{
		$dbh ||= eval { psql('postgres', fresh => 1) } or do { sleep 0.05; next };
		eval {
			my ($from, $to) = rand() < 0.5 ? qw(a b) : qw(b a);
			$dbh->begin_work;
			$dbh->do("UPDATE $from SET v = v - 1 WHERE id = ?", undef, 1 + int rand 500);
			$dbh->do("UPDATE $to SET v = v + 1 WHERE id = ?", undef, 1 + int rand 500);
			rand() < 0.1 ? $dbh->rollback : $dbh->commit;
			1 } or do { eval { $dbh->rollback } if !$dbh->{AutoCommit}; $dbh = undef unless eval { $dbh->ping } };
		sleep 0.001;
	}
	POSIX::_exit(0);
}

# reads both sums in one statement; writes what is wrong into a file
sub reader
{
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	my ($dbh, $n) = (undef, 0);
	while (-e $flag)
	{
		$dbh ||= eval { psql('postgres', fresh => 1) } or do { sleep 0.05; next };
		my $sum = eval { $dbh->selectrow_array('SELECT va.s + vb.s FROM va, vb') };
		if (!defined $sum) { $dbh = undef unless eval { $dbh->ping }; next }
		if ($sum != 100000) { open my $f, '>>', "$flag.wrong"; print $f "sum $sum\n"; close $f }
		$n++;
		sleep 0.005;
	}
	POSIX::_exit(0);
}

sub wait_all { return eventually(sub { my $r = ''; $r .= try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '30 s')") for @views; $r eq '' || die $r }, 90) }
sub wrong { return join '', map { my $v = $_; map { "$v $_\n" } grep { $_ } split /\n/, rows('postgres', "SELECT * FROM tapdata.check_view('$v', 3)") } @views }

ok(wait_all(), 'views stream');
open my $f, '>', $flag or die; close $f;
my @pids = ((map { writer($_) } 1 .. 3), reader());
for my $round (1 .. $rounds)
{
	my $kind = (qw(view capture fill client view capture postmaster fill))[($round - 1 + $seed) % 8];
	sleep 0.3 + rand 1;
	execute('postgres', "SELECT tapdata.refresh_view('vc')") if $kind eq 'fill';
	if ($kind eq 'postmaster') { restart_server('immediate') }
	else
	{
		my ($pid) = $kind eq 'fill' ? eventually(sub { (worker_pids('fill'))[0] }, 3) : $kind eq 'client'
			? @{ psql('postgres')->selectcol_arrayref("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1") } : worker_pids($kind);
		kill 9, $pid if $pid;
		diag "round $round: no fill worker to kill" if !$pid;
		sleep 0.5;
	}
	ok(wait_all(), "round $round: all stream after kill -9 of $kind") or diag rows('postgres', 'SELECT view, status, error FROM tapdata.views');
	is(eval { wrong() } // $@, '', "round $round: exact");
}

# ---- a capture worker that stands still: no snapshot is held while it does ----
{
	my ($capture) = worker_pids('capture');
	my ($view) = worker_pids('view');
	kill 'STOP', $capture;
	sleep 0.5;
	my ($seen, $held) = (0, 0);
	for (1 .. 40) { $held++ if value('postgres', "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = $view"); $seen++; sleep 0.02 }
	ok($held < $seen / 2, "the view worker holds no snapshot for long while nothing is decoded ($held of $seen looks)");
	kill 'CONT', $capture;
	ok(wait_all(), 'it goes on');
	kill 'STOP', $view;
	sleep 1;
	kill 'CONT', $view;
	ok(wait_all(), 'so does a view worker that stood still');
	is(eval { wrong() } // $@, '', 'exact');
}
unlink $flag;
waitpid($_, 0) for @pids;
ok(wait_all(), 'the writers have stopped');
is(wrong(), '', 'exact at the end');
is(value('postgres', 'SELECT count(*) FROM ((TABLE vj EXCEPT ALL SELECT a.id, a.v + b.v FROM a JOIN b USING (id)) UNION ALL (SELECT a.id, a.v + b.v FROM a JOIN b USING (id) EXCEPT ALL TABLE vj)) x'), 0,
	'and by plain SQL');
ok(!-e "$flag.wrong", 'every read of both views saw the constant') or diag `head -5 $flag.wrong`;
unlink "$flag.wrong";
finish();
done_testing();
