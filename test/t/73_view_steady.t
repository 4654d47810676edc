# A steady load: 1,000 transactions a second on tables with views, for ten minutes in `make soak` (20 s here), with an old
# snapshot held open for half of the time.  Memory of the workers, spool, WAL kept by the slot and state tables stay within
# bounds that do not depend on how long it lasts; the views are exact at the end.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use POSIX ();
use Time::HiRes qw(sleep time);

my ($seconds, $rate, $writers) = ($ENV{TD_STEADY_SECONDS} || 20, 1000, 4);
my %bound = (
	memory => 64 * 1024 * 1024,       # growth of each worker's own memory after the first fifth of the time, bytes
	spool => 0,                       # files of the spool at the end
	wal => 256 * 1024 * 1024,         # kept by the slot at any time
	state => 32 * 1024 * 1024);       # state and view tables together: 100 groups, so all of it is dead rows
my $env = start_server('steady', 'max_worker_processes = 32', 'max_wal_size = 256MB', 'autovacuum_naptime = 5s');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE account (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL)',
	'INSERT INTO account SELECT i, i % 100, 0 FROM generate_series(1, 100000) i',
	q{SELECT tapdata.create_view('branches', 'SELECT branch, count(*) AS n, sum(balance) AS balance, max(balance) AS most FROM account GROUP BY branch')},
	q{SELECT tapdata.create_view('rich', 'SELECT branch, balance FROM branches WHERE balance > 0')});
execute('postgres', "SELECT tapdata.wait_view('$_')") for qw(branches rich);

my @pids;
for my $writer (0 .. $writers - 1)
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		srand $writer;
		my $dbh = psql('postgres', fresh => 1);
		my $sth = $dbh->prepare('UPDATE account SET balance = balance + ? WHERE id = ?');
		my ($start, $i) = (time, 0);
		while ((my $now = time) < $start + $seconds)
		{
			my $left = $start + $i++ * $writers / $rate - $now;
			sleep $left if $left > 0;
			$sth->execute(int(rand 100) - 50, 1 + int rand 100_000);
		}
		POSIX::_exit(0);
	}
	push @pids, $pid;
}

sub workers_memory { return { map { ("$_->[0] $_->[1]" => $_->[2]) } @{ psql('postgres')->selectall_arrayref(q{SELECT kind, pid, memory FROM tapdata.workers WHERE kind IN ('view', 'capture', 'supervisor')}) } } }
sub wal_kept { return value('postgres', q{SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FROM pg_replication_slots}) }
sub state_size { return value('postgres', q{SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
	WHERE relkind = 'r' AND (nspname = 'tapdata_state' OR nspname = 'tapdata' OR c.oid IN ('branches'::regclass, 'rich'::regclass))}) }

my ($start, $first, $wal, $old, $late) = (time, undef, 0, undef, 0);
while ((my $spent = time - $start) < $seconds)
{
	sleep 0.5;
	$first = workers_memory() if !$first && $spent > $seconds / 5;
	my $kept = wal_kept();
	$wal = $kept if $kept > $wal;
	if (!$old && $spent > $seconds / 4)
	{
		$old = psql('postgres', fresh => 1);
		$old->begin_work;
		$old->do('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
		$old->selectrow_array('SELECT count(*) FROM pg_class');
	}
	if ($old && $spent > $seconds * 3 / 4) { $old->rollback; $old->disconnect; undef $old; $late = $spent; }
	last if $late && time - $start > $seconds;
}
if ($old) { $old->rollback; $old->disconnect }
waitpid $_, 0 for @pids;
my $last = workers_memory();
my $done = value('postgres', q{SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'account'});
execute('postgres', "SELECT tapdata.wait_view('$_')") for qw(branches rich);
is(value('postgres', "SELECT count(*) FROM tapdata.check_view('$_')"), 0, "$_ is exact") for qw(branches rich);
my $updates = eventually(sub { my $n = value('postgres', q{SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'account'}); $n > $seconds * $rate * 0.9 && $n }, 10);
ok($updates, 'the load was as told (' . ($updates || $done) . ' updates)');
for my $who (sort keys %$first)
{
	my $growth = ($last->{$who} // 0) - $first->{$who};
	cmp_ok($growth, '<', $bound{memory}, sprintf '%s grew by %.1f MB', $who =~ s/ \d+//r, $growth / 1048576);
}
is_deeply([sort keys %$last], [sort keys %$first], 'no worker was restarted');
cmp_ok($wal, '<', $bound{wal}, sprintf 'the slot kept %.0f MB of WAL at most', $wal / 1048576);
cmp_ok(state_size(), '<', $bound{state}, sprintf 'state, view and catalog tables take %.1f MB', state_size() / 1048576);
my ($spool) = value('postgres', q{SELECT count(*) FROM pg_ls_dir(coalesce(nullif(current_setting('tapdata.spool_directory'), ''), 'pgsql_tmp_tapdata'), true, false)});
cmp_ok($spool, '<=', $bound{spool}, 'no spool file is left');
finish();
done_testing();
