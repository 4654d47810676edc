# Views of a server that is another one's copy: a standby, read and then promoted under load; a backup that is recovered to a moment in the middle of
# a load; a copy of the files that runs beside the original.  Each ends exact, without anybody's help, and is never stale and says that it streams.
# A position in a feed that only the lost server had is an error, not a gap.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdExact;
use Time::HiRes qw(sleep);

# A program as the user that runs the servers.
sub as_server { my (@command) = @_; return system($> == 0 ? qw(setpriv --reuid=tapdata --regid=tapdata --clear-groups) : (), @command) }

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my @conf = ('max_worker_processes = 48', 'wal_keep_size = 256MB', 'wal_level = logical');
my $pg = start_server('recovery', @conf, 'archive_mode = on', "archive_command = 'mkdir -p ../log/wal && cp %p ../log/wal/%f'");
execute('postgres', 'CREATE EXTENSION tapdata');
make_exact('postgres');
my @feeds = qw(delta outside);
is(inexact_views('postgres'), '', 'views stream');
my $outlived = take_copy('postgres', 'delta');

# ---- a standby ----
{
	clone_server('recovery-standby', 'standby');
	clone_server('recovery-backup', 'backup');
	my @writers = writers('postgres', 3);
	my %seen;
	on_server('recovery-standby', sub {
		server('start');
		is(value('postgres', 'SELECT pg_is_in_recovery()'), 1, 'a standby');
		is(standing('postgres'), join(', ', map { "$_ standby " . ($_ eq 'ram' ? 0 : 1) } sort(view_names())), 'its views say so; one that is unlogged has no rows here');
		is(value('postgres', 'SELECT count(*) FROM tapdata.views WHERE freshness IS NOT NULL'), 0, 'how fresh they are is not known');
		my $n = value('postgres', 'SELECT sum(n) FROM delta');
		ok(eventually(sub { value('postgres', 'SELECT sum(n) FROM delta') != $n }), 'they follow those of the primary');
		is(value('postgres', 'SELECT count(*) FROM (SELECT n, count(*) AS c FROM delta GROUP BY n EXCEPT TABLE upper) x'), 0, 'and are at one snapshot');
		my $dbh = psql('postgres');
		like(try_do($dbh, 'SELECT * FROM ram'), qr/^0A000 /, 'an unlogged one is refused by PostgreSQL');
		for (['wait_view', "SELECT tapdata.wait_view('delta')"], ['check_view', "SELECT * FROM tapdata.check_view('delta')"])
		{
			my ($what, $sql) = @$_;
			like(try_do($dbh, $sql), qr/^25006 .*\Q$what\E can't be used during recovery.*standby.*primary/s, "$what: where to call it");
			is(try_do($dbh, 'SELECT 1'), '', 'the session goes on');
		}
		like(try_do($dbh, $_), qr/^(25006|55000) .*(read-only|recovery)/, $_) for "SELECT tapdata.refresh_view('delta')", "SELECT tapdata.drop_view('apart')", q{SELECT tapdata.create_view('x', 'SELECT g FROM t')},
			q{SELECT tapdata.alter_view('delta', '{"timeout": "1 s"}')}, 'SELECT tapdata.adopt_database()';
		is(try_do($dbh, $_), '', $_) for q{SELECT * FROM tapdata.explain_query('SELECT g FROM t')}, "SELECT * FROM tapdata.explain_view('parts')", 'SELECT * FROM tapdata.log', 'SELECT * FROM tapdata.workers';
		is(rows('postgres', 'SET tapdata.read_your_writes = on; SELECT count(*) > 0 FROM delta'), '1', 'read_your_writes: nothing was written here');
		is(rows('postgres', 'SELECT item FROM tapdata.doctor() WHERE NOT ok'), '', 'the doctor has nothing to mend');
		like(value('postgres', "SELECT detail FROM tapdata.doctor() WHERE item = 'processes'"), qr/standby/, 'and says what the server is');
		for my $v (@feeds)
		{
			$seen{$v} = take_copy('postgres', $v);
			sleep 0.3;
			is(apply_changes('postgres', $v, $seen{$v}), '', "the feed of $v is read");
		}
		is(scalar(worker_pids($_)), 0, "no $_ runs") for qw(launcher supervisor view capture);
	});

	# the primary gets ahead: what it tells from now on the promoted one never had
	on_server('recovery-standby', sub {
		execute('postgres', "ALTER SYSTEM SET primary_conninfo = ''", 'SELECT pg_reload_conf()');
		ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walreceiver'") == 0 }), 'the standby has lost its primary');
	});
	my $before = value('postgres', "SELECT tapdata.view_tick('delta')");
	ok(eventually(sub { value('postgres', "SELECT tapdata.view_tick('delta')") > $before + 20 }), 'the primary goes on alone');
	stop_writers(@writers);
	is(inexact_views('postgres'), '', 'exact');
	my $ahead = take_copy('postgres', 'delta');

	on_server('recovery-standby', sub {
		server('promote');
		my $bad = 0;
		# never exact and empty: looked at in one statement, from the moment on that it answers
		for (1 .. 100) { my ($exact, $rows) = @{ psql('postgres')->selectrow_arrayref("SELECT exact, (SELECT count(*) FROM ram) FROM tapdata.views WHERE view = 'ram'::regclass") }; $bad++ if $exact && !$rows; sleep 0.005 }
		is($bad, 0, 'promoted: an unlogged view is empty, and never says that it is exact');
		my @more = writers('postgres', 3);
		is(inexact_views('postgres', load => 1), '', 'exact by themselves, under load');
		is(standing('postgres'), join(', ', map { "$_ streaming 1" } sort(view_names())), 'and say so');
		is(value('postgres', "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'tapdata%'"), 2, 'a slot for each group');
		like(try_do(psql('postgres'), "SELECT * FROM tapdata.changes('delta', $ahead->{tick})"), qr/^55000 .*has had no tick $ahead->{tick}.*view_tick/s, 'a position that only the lost primary had');
		my $first = value('postgres', "SELECT tapdata.view_tick('delta')");
		ok(eventually(sub { value('postgres', "SELECT tapdata.view_tick('delta')") > $first + ($ahead->{tick} - $before) + 20 }), 'the promoted one ticks on, past the same number of ticks');
		like(try_do(psql('postgres'), "SELECT * FROM tapdata.changes('delta', $_)"), qr/^55000 .*has had no tick $_/s, "position $_ is still none of its own") for $ahead->{tick}, $ahead->{tick} - 1, $before + 25;
		stop_writers(@more);
		is(inexact_views('postgres'), '', 'exact without load');
		is(apply_changes('postgres', $_, $seen{$_}), '', "who has read no further than the standby goes on with $_") for @feeds;
		is(apply_changes('postgres', 'delta', $outlived), '', 'also who stands far behind');
		execute('postgres', 'TRUNCATE t');
		is(inexact_views('postgres'), '', 'another life');
	});
	execute('postgres', 'INSERT INTO t (g, v) VALUES (3, 3)');
	is(inexact_views('postgres'), '', 'the old primary goes on by itself');
	is(apply_changes('postgres', 'delta', $ahead), '', 'with its own feed');
	on_server('recovery-standby', sub {
		is(value('postgres', 'SELECT count(*) FROM t'), 0, 'neither has anything of the other');
		restart_server('immediate');
		execute('postgres', 'INSERT INTO t (g, v) VALUES (1, 1)');
		is(inexact_views('postgres'), '', 'a crash of the promoted one');
		is(value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE '%no%not to be had%' AND at > pg_postmaster_start_time()"), 0, 'which keeps its slots');
		server('stop');
	});
}

# ---- a backup, recovered to a moment ----
{
	my $goal = value('postgres', 'SELECT pg_create_restore_point(?)', 'goal');
	my $total = value('postgres', 'SELECT count(*) FROM t');
	my $at = take_copy('postgres', 'delta');
	my @writers = writers('postgres', 2);
	sleep 1;
	my $lsn = value('postgres', 'SELECT pg_current_wal_lsn()');    # in the middle of whatever
	sleep 1;
	stop_writers(@writers);
	is(inexact_views('postgres'), '', 'the primary, after the moment');
	my $later = take_copy('postgres', 'delta');
	execute('postgres', 'SELECT pg_switch_wal()', 'CHECKPOINT');
	my $last = value('postgres', "SELECT pg_walfile_name('$lsn')");
	ok(eventually(sub { (value('postgres', 'SELECT last_archived_wal FROM pg_stat_archiver') // '') ge $last }), 'its WAL is archived');
	my $base = "$pg->{TD_PG_DATA}/../log/wal";
	on_server('recovery-backup', sub {
		server('start', 'archive_mode = off', "restore_command = 'cp $base/%f %p'", "recovery_target_lsn = '$lsn'", 'recovery_target_action = promote');
		ok(eventually(sub { !value('postgres', 'SELECT pg_is_in_recovery()') }, 60), 'recovered');
		is(inexact_views('postgres'), '', 'exact at the moment');
		is(value('postgres', "SELECT count(*) FROM tapdata.views WHERE status <> 'streaming' OR NOT exact"), 0, 'they stream');
		is(apply_changes('postgres', 'delta', $at), '', 'a position from before the moment');
		like(try_do(psql('postgres'), "SELECT * FROM tapdata.changes('delta', $later->{tick})"), qr/^55000 .*has had no tick/s, 'one from after it');
		execute('postgres', 'UPDATE t SET v = v * 2');
		is(inexact_views('postgres'), '', 'and it goes on');
		server('stop');
	});
}

# ---- the same files twice ----
{
	my @writers = writers('postgres', 2);
	sleep 0.3;
	stop_writers(@writers);
	server('stop');
	clone_server('recovery-twin', 'files');
	clone_server('recovery-again', 'files');
	server('start');
	on_server('recovery-twin', sub { server('start', 'archive_mode = off') });
	for my $name (qw(recovery recovery-twin))
	{
		on_server($name, sub {
			execute('postgres', $name eq 'recovery' ? 'DELETE FROM t WHERE id % 2 = 0' : 'INSERT INTO t (g, v) SELECT 77, i FROM generate_series(1, 10) i');
			is(inexact_views('postgres'), '', "$name: exact");
			is(value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE '%not to be had%' AND at > pg_postmaster_start_time()"), 0, 'with the slots that it came with');
		});
	}
	# ---- a primary that is made a standby: its slots come along, and do not keep back what they need ----
	on_server('recovery-again', sub {
		is(as_server('touch', server_data() . '/standby.signal'), 0, 'a standby from now on');
		server('start', 'archive_mode = off', 'hot_standby = on', "primary_conninfo = 'host=$pg->{PGHOST} port=$pg->{PGPORT} user=postgres'");
		like(value('postgres', "SELECT fix FROM tapdata.doctor() WHERE item = 'processes' AND NOT ok"), qr/^(SELECT pg_catalog.pg_drop_replication_slot\('tapdata_\d+_g\d+'\); ?){2}$/, 'the doctor names slots that it has');
	});
	execute('postgres', map { ("CREATE TABLE gone$_ (id int)", "INSERT INTO t (g, v) VALUES ($_, $_)", 'VACUUM pg_class', 'VACUUM pg_attribute', "DROP TABLE gone$_") } 1 .. 20);
	my $end = value('postgres', 'SELECT pg_current_wal_lsn()');
	on_server('recovery-again', sub {
		ok(eventually(sub { value('postgres', "SELECT pg_last_wal_replay_lsn() >= '$end'") }), 'it follows');
		server('promote');
		is(inexact_views('postgres'), '', 'promoted: exact');
		is(value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE '%not to be had%' AND at > pg_postmaster_start_time()"), scalar(view_names()) + 1, 'from new slots');    # one has a part
		server('stop');
	});

	# ---- taken down, and started where the WAL of its slots is gone: pg_resetwal
	on_server('recovery-twin', sub {
		server('stop');
		is(as_server("$pg->{TD_PG_BIN}/pg_resetwal", '-f', server_data()), 0, 'pg_resetwal');
		server('start');
		execute('postgres', 'INSERT INTO t (g, v) VALUES (5, 55)');
		is(inexact_views('postgres'), '', 'without the WAL of its slots: exact');
	});
}
finish();
done_testing();
