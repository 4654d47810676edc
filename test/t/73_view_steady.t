# A steady load: 1,000 transactions a second on tables with views, for ten minutes in `make soak` (20 s here), with an old
# snapshot held open for half of the time.  Memory of the workers, spool, WAL kept by the slot and state tables stay within
# bounds that do not depend on how long it lasts; doctor() names who holds the snapshot; the views are exact at the end.
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
	memory => 16 * 1024 * 1024,       # growth of each worker's own memory after the first fifth of the time, bytes
	spool => 0,                       # files of the spool at the end
	wal => 256 * 1024 * 1024,         # kept by the slot at any time
	state => 48 * 1024 * 1024);       # state, view and catalog tables together: 100 groups and 1,000 rows, so nearly all of it is dead rows (view/README.md, Pace)
my @views = (
	[branches => 'SELECT branch, count(*) AS n, sum(balance) AS balance, max(balance) AS most FROM account GROUP BY branch'],
	[rich => 'SELECT branch, balance FROM branches WHERE balance > 0'],
	[kept => 'SELECT branch, sum(balance) AS balance FROM account GROUP BY branch', '{"changes": true, "changes_kept": "2 s"}'],
	[nameless => 'SELECT count(*) AS n, sum(balance) AS balance FROM account WHERE id % 10 = 0 GROUP BY branch'],
	[everything => 'SELECT count(*) AS n, sum(balance) AS balance FROM account'],
	[outer_joined => 'SELECT a.balance, b.name FROM account a LEFT JOIN branch b ON b.id = a.branch WHERE a.id <= 1000'],
	[first_ones => 'SELECT id, balance FROM account WHERE id <= 1000 ORDER BY balance DESC, id LIMIT 10']);
my @names = map { $_->[0] } @views;
my $env = start_server('steady', 'max_worker_processes = 32', 'max_wal_size = 256MB', 'autovacuum_naptime = 5s');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE account (id int PRIMARY KEY, branch int NOT NULL, balance bigint NOT NULL)',
	'INSERT INTO account SELECT i, i % 100, 0 FROM generate_series(1, 100000) i', 'CREATE INDEX ON account (balance, id)', 'CREATE TABLE branch (id int PRIMARY KEY, name text NOT NULL)',
	q{INSERT INTO branch SELECT i, 'branch ' || i FROM generate_series(0, 50) i});
psql('postgres')->do('SELECT tapdata.create_view($1, $2, $3::jsonb)', undef, $_->[0], $_->[1], $_->[2] // '{}') for @views;
execute('postgres', "SELECT tapdata.wait_view('$_')") for @names;

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
	WHERE relkind = 'r' AND (nspname IN ('tapdata_state', 'tapdata_parts', 'tapdata') OR c.oid IN (SELECT relation FROM tapdata.view))}) }

my ($start, $first, $middle, $wal, $old, $named) = (time, undef, undef, 0, undef, '');
while ((my $spent = time - $start) < $seconds)
{
	sleep 0.5;
	$first = workers_memory() if !$first && $spent > $seconds / 5;
	$middle = workers_memory() if !$middle && $spent > $seconds / 2;
	my $kept = wal_kept();
	$wal = $kept if $kept > $wal;
	if (!$old && $spent > $seconds / 4 && $spent < $seconds / 2)
	{
		$old = psql('postgres', fresh => 1);
		$old->begin_work;
		$old->do('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
		$old->selectrow_array('SELECT count(*) FROM pg_class');
	}
	if ($old && $spent > $seconds * 4 / 5)
	{
		$named = rows('postgres', q{SELECT ok, detail FROM tapdata.doctor() WHERE item = 'old snapshots'});
		like($named, qr/^0\|.*process $old->{pg_pid}(,|$)/, 'doctor() names who holds a snapshot');
		$old->rollback;
		$old->disconnect;
		undef $old;
	}
}
if ($old) { $old->rollback; $old->disconnect }
waitpid $_, 0 for @pids;
my $last = workers_memory();
my $done = value('postgres', q{SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'account'});
execute('postgres', "SELECT tapdata.wait_view('$_')") for @names;
is(value('postgres', "SELECT count(*) FROM tapdata.check_view('$_')"), 0, "$_ is exact") for @names;
is(value('postgres', q{SELECT ok FROM tapdata.doctor() WHERE item = 'old snapshots'}), 1, 'and nobody else');
my $updates = eventually(sub { my $n = value('postgres', q{SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'account'}); $n > $seconds * $rate * 0.9 && $n }, 10);
ok($updates, 'the load was as told (' . ($updates || $done) . ' updates)');
for my $who (sort keys %$first)
{
	my $growth = ($last->{$who} // 0) - $first->{$who};
	cmp_ok($growth, '<', $bound{memory}, sprintf '%s grew by %.1f MB', $who =~ s/ \d+//r, $growth / 1048576);
	diag sprintf '%s: %s MB', $who, join ', ', map { sprintf '%.1f', ($_->{$who} // 0) / 1048576 } $first, $middle, $last;
}
is_deeply([sort keys %$last], [sort keys %$first], 'no worker was restarted');
diag sprintf 'WAL kept %.0f MB at most, tables %.1f MB at the end', $wal / 1048576, state_size() / 1048576;
cmp_ok($wal, '<', $bound{wal}, sprintf 'the slot kept %.0f MB of WAL at most', $wal / 1048576);
cmp_ok(state_size(), '<', $bound{state}, sprintf 'state, view and catalog tables take %.1f MB', state_size() / 1048576);
my ($spool) = value('postgres', q{SELECT count(*) FROM pg_ls_dir(coalesce(nullif(current_setting('tapdata.spool_directory'), ''), 'pgsql_tmp_tapdata'), true, false)});
cmp_ok($spool, '<=', $bound{spool}, 'no spool file is left');
finish();
done_testing();
