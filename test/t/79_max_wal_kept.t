# tapdata.max_wal_kept: whatever a view worker is stuck in, its slot does not fill the disk; its views say why they stay behind, and are
# exact again once it gets on.  The other groups do not notice.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use Time::HiRes qw(sleep);

my $pg = start_server('walkept', 'max_worker_processes = 32', 'min_wal_size = 32MB', 'max_wal_size = 64MB', "tapdata.max_wal_kept = '48MB'");
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE t (id serial PRIMARY KEY, g int, pad text)', 'CREATE TABLE ballast (pad text)',
	q{CREATE FUNCTION gate(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN WHILE NOT pg_try_advisory_lock_shared(7) LOOP PERFORM pg_sleep(0.01); END LOOP; PERFORM pg_advisory_unlock_shared(7); RETURN x; END'});
my %query = (stuck => 'SELECT g, count(*) AS n FROM t GROUP BY g', upper => 'SELECT count(*) AS n FROM stuck', fine => 'SELECT g, max(id) AS m FROM t GROUP BY g');
my %group = (stuck => 'default', upper => 'default', fine => 'other');
execute('postgres', map { "SELECT tapdata.create_view('$_', '$query{$_}', '{\"group\": \"$group{$_}\"}')" } qw(stuck upper fine));

sub write_some { execute('postgres', 'INSERT INTO t (g) SELECT i % 5 FROM generate_series(1, 50) i'); return }
sub exact
{
	my ($what, @names) = @_;
	my $said = join '', map { try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '30 s')") } @names;
	$said .= join '', map { value('postgres', "SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } @names;
	return is($said, '', $what);
}
sub view { my ($name, $columns) = @_; return rows('postgres', "SELECT $columns FROM tapdata.views WHERE view = '$name'::regclass") }
sub worker { my ($kind, $group) = @_; return value('postgres', 'SELECT pid FROM tapdata.workers WHERE kind = ? AND object = ?', $kind, $group) }
sub slot { my ($group) = @_; return rows('postgres', "SELECT r.slot_name FROM pg_replication_slots r JOIN tapdata.view_group g ON r.slot_name LIKE '%\\_g' || g.id WHERE g.name = '$group'") }
sub kept { return value('postgres', 'SELECT coalesce(max(pg_current_wal_lsn() - restart_lsn), 0)::bigint / 1048576 FROM pg_replication_slots') }
sub on_disk { return value('postgres', 'SELECT sum(size)::bigint / 1048576 FROM pg_ls_waldir()') }

# So many MB of WAL, in steps that a worker that gets on can follow.
sub fill_wal
{
	my ($mb, $other) = @_;
	for (1 .. $mb / 8)
	{
		execute('postgres', "INSERT INTO ballast SELECT repeat(md5(i::text), 30) FROM generate_series(1, 8000) i", 'TRUNCATE ballast', 'CHECKPOINT');
		value('postgres', "SELECT tapdata.wait_view('$other', '20 s')");
	}
	return;
}

# Each way to be stuck: how it begins and how it ends.
my $gate = psql('postgres', fresh => 1);
my $frozen;
my @ways = (
	[ 'a frozen view worker', sub { $frozen = worker('view', 'default'); kill 'STOP', $frozen }, sub { kill 'CONT', $frozen } ],
	[ 'a tick that does not end', sub { $query{stuck} = 'SELECT gate(g) AS g, count(*) AS n FROM t GROUP BY 1';
			execute('postgres', "SELECT tapdata.drop_view('upper')", "SELECT tapdata.drop_view('stuck')", map { "SELECT tapdata.create_view('$_', '$query{$_}')" } qw(stuck upper));
			exact('views with a gate', 'stuck', 'upper');
			$gate->do('SELECT pg_advisory_lock(7)'); write_some();
			ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tapdata view' AND wait_event = 'PgSleep'") }), 'it stands') },
		sub { $gate->do('SELECT pg_advisory_unlock(7)') } ],
);
write_some();
exact('views of two groups', qw(stuck upper fine));
for (@ways)
{
	my ($name, $begin, $end) = @$_;
	$begin->();
	my $slot = slot('default');
	my $fine = slot('other');
	my ($before) = rows('postgres', 'SELECT count(*) FROM stuck');
	write_some();
	exact("$name: the other group goes on", 'fine');
	fill_wal(80, 'fine');
	ok(eventually(sub { slot('default') eq '' }, 30), "$name: its slot is given up");
	isnt($slot, '', 'which it had');
	ok(eventually(sub { view('stuck', 'status, exact, sqlstate') eq 'snapshot|0|55000' && view('upper', 'status') eq 'snapshot' }), 'its views say that they stay behind')
		or diag view('stuck', 'status, exact, sqlstate, error');
	like(view('stuck', 'error, hint'), qr/tapdata\.max_wal_kept.*given up\|.*filled anew/, 'and why');
	like(rows('postgres', "SELECT level, object, message FROM tapdata.log WHERE message LIKE '%max_wal_kept%'"), qr/^warning\|public\.stuck\|/m, 'so does the log');
	is(slot('other') . view('fine', 'status'), $fine . 'streaming', 'the other group has lost nothing');
	like(try_do(psql('postgres'), "SELECT tapdata.wait_view('stuck', '200 ms')"), qr/^57014 .*max_wal_kept|^57014 .*"snapshot"/s, 'who waits for them is told');
	fill_wal(64, 'fine');
	cmp_ok(kept(), '<', 48, 'no slot keeps what the limit forbids');
	ok(eventually(sub { execute('postgres', 'CHECKPOINT'); on_disk() <= 112 }), 'and the WAL is removed') or diag on_disk();
	write_some();
	$end->();
	ok(eventually(sub { view('stuck', 'status') eq 'streaming' && view('upper', 'status') eq 'streaming' }, 40), 'once it gets on they are filled anew')
		or diag view('stuck', 'status, error');
	write_some();
	exact('and exact', qw(stuck upper fine));
	isnt(slot('default'), '', 'with a new slot');
}
$gate->disconnect;

# ---- a worker that gets on, but not fast enough: an open transaction keeps the slot where it is ----
{
	my $open = psql('postgres', fresh => 1);
	execute('postgres', "SELECT tapdata.drop_view('fine')", 'CHECKPOINT');
	$open->begin_work;
	$open->do('INSERT INTO t (g) VALUES (9)');
	for (1 .. 9) { execute('postgres', "INSERT INTO ballast SELECT repeat(md5(i::text), 30) FROM generate_series(1, 8000) i", 'TRUNCATE ballast', 'CHECKPOINT') }
	ok(eventually(sub { view('stuck', 'status') eq 'snapshot' }, 30), 'an open transaction holds the slot: given up as well');
	$open->commit;
	exact('exact when it has ended', qw(stuck upper));
}

# ---- nobody there: a group whose worker has failed ----
{
	sleep 1;
	my $id = value('postgres', "SELECT id FROM tapdata.view_group WHERE name = 'default'");
	execute('postgres', "UPDATE tapdata.worker_start w SET starts = 10, started = clock_timestamp(), progress = concat_ws('/',
		(SELECT concat_ws('.', max(v.id), sum(v.fills)) FROM tapdata.view v WHERE v.view_group = $id), s.ticks, s.snapshot)
		FROM tapdata.group_state s WHERE s.view_group = w.object AND w.kind = 'view'");
	value('postgres', 'SELECT pg_terminate_backend(?)', worker('view', 'default'));
	ok(eventually(sub { rows('postgres', "SELECT status FROM tapdata.group_state WHERE view_group = $id") eq 'failed' }), 'a group has failed');
	for (1 .. 8) { execute('postgres', "INSERT INTO ballast SELECT repeat(md5(i::text), 30) FROM generate_series(1, 8000) i", 'TRUNCATE ballast', 'CHECKPOINT') }
	ok(eventually(sub { slot('default') eq '' }, 30), 'its slot is given up');
	write_some();
	execute('postgres', "SELECT tapdata.refresh_view('stuck')");
	ok(eventually(sub { view('stuck', 'status') ne 'failed' }), 'revived');
	exact('and exact', qw(stuck upper));
}

# ---- no limit ----
{
	execute('postgres', 'ALTER SYSTEM SET tapdata.max_wal_kept = -1', 'SELECT pg_reload_conf()');
	my ($slot, $pid) = (slot('default'), worker('view', 'default'));
	kill 'STOP', $pid;
	for (1 .. 8) { execute('postgres', "INSERT INTO ballast SELECT repeat(md5(i::text), 30) FROM generate_series(1, 8000) i", 'TRUNCATE ballast', 'CHECKPOINT') }
	ok(quiet(7, sub { slot('default') eq $slot }), 'without a limit the slot stays');
	cmp_ok(kept(), '>', 48, 'and keeps what it needs');
	kill 'CONT', $pid;
	write_some();
	exact('nothing is lost', qw(stuck upper));
	is(slot('default'), $slot, 'nor made anew');
}
open my $f, '<', "$pg->{TD_PG_DATA}/../log/server.log" or die;
my @bad = grep { /PANIC|TRAP|leak|still active/ } <$f>;
is("@bad", '', 'the log is clean');
finish();
done_testing();
