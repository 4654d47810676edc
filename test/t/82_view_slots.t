# What may become of the slot of a group of views: dropped by hand, cut by max_slot_wal_keep_size, advanced, replaced by another of the same name.  Servers that
# end hard, with fsync, and servers that come up with settings under which views can't be kept.  Each has a state by name meanwhile, and is exact after.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdExact;
use Time::HiRes qw(sleep);

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $pg = start_server('slots', 'max_worker_processes = 48', 'fsync = on', 'min_wal_size = 32MB', 'max_wal_size = 64MB');
execute('postgres', 'CREATE EXTENSION tapdata');
make_exact('postgres');
is(inexact_views('postgres'), '', 'views stream');
my $feed = take_copy('postgres', 'delta');
my $group = value('postgres', "SELECT id FROM tapdata.view_group WHERE name = 'default'");
my $slot = value('postgres', "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'tapdata\\_%\\_g$group'");

sub enabled { my ($on) = @_; execute('postgres', "ALTER SYSTEM SET tapdata.enabled = $on", 'SELECT pg_reload_conf()');
	return ok(eventually(sub { (value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('tapdata view', 'tapdata capture')") > 0) == ($on eq 'on') }), "tapdata.enabled = $on") }
sub churn { my ($s) = @_; my @w = writers('postgres', 2); sleep $s; stop_writers(@w); return }
sub refilled { return value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE '%not to be had%' AND object = 'public.delta'") }
sub exact_again { my ($what) = @_; is(inexact_views('postgres'), '', "$what: exact"); return is(apply_changes('postgres', 'delta', $feed), '', "$what: so is the feed") }

# ---- while nothing runs: a slot that is gone, moved, or another's ----
my @mischief = (
	[ 'dropped', 1, sub { execute('postgres', "SELECT pg_drop_replication_slot('$slot')") } ],
	[ 'advanced', 1, sub { execute('postgres', "SELECT pg_replication_slot_advance('$slot', pg_current_wal_lsn())") } ],
	[ 'advanced by nothing', 0, sub { execute('postgres', "SELECT pg_replication_slot_advance('$slot', confirmed_flush_lsn) FROM pg_replication_slots WHERE slot_name = '$slot'") } ],
	[ 'replaced by one of another plugin', 1, sub { execute('postgres', "SELECT pg_drop_replication_slot('$slot')", "SELECT pg_create_logical_replication_slot('$slot', 'test_decoding')") } ],
	[ 'replaced by a copy made now', undef, sub {
		try_do(psql('postgres'), "SELECT pg_copy_logical_replication_slot('$slot', 'kept_aside')") eq '' or return diag 'no copy can be made';
		execute('postgres', "SELECT pg_drop_replication_slot('$slot')", "SELECT pg_copy_logical_replication_slot('kept_aside', '$slot')", "SELECT pg_drop_replication_slot('kept_aside')") } ],
	[ 'cut by max_slot_wal_keep_size', 1, sub {
		execute('postgres', "ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'", 'SELECT pg_reload_conf()', 'CREATE TABLE IF NOT EXISTS ballast (pad text)');
		ok(eventually(sub { execute('postgres', 'INSERT INTO ballast SELECT repeat(md5(i::text), 30) FROM generate_series(1, 12000) i', 'SELECT pg_switch_wal()', 'CHECKPOINT');
			value('postgres', "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = '$slot'") }, 60), 'the slot is lost');
		execute('postgres', 'ALTER SYSTEM RESET max_slot_wal_keep_size', 'SELECT pg_reload_conf()') } ],
);
for (@mischief)
{
	my ($what, $anew, $do) = @$_;
	enabled('off');
	churn(0.3);
	is(standing('postgres') =~ s/ram stopped 0/ram stopped 1/r, join(', ', map { "$_ stopped 1" } sort(view_names())), "$what: stopped, as the views say");
	my $before = refilled();
	$do->();
	churn(0.2);
	enabled('on');
	exact_again($what);
	is(refilled() - $before, $anew, "$what: " . ($anew ? 'filled anew' : 'nothing is lost')) if defined $anew;
}

# ---- a physical slot of that name ----
{
	enabled('off');
	execute('postgres', "SELECT pg_drop_replication_slot('$slot')", "SELECT pg_create_physical_replication_slot('$slot')");
	churn(0.2);
	enabled('on');
	my $said = inexact_views('postgres', timeout => 10, views => ['delta']);
	if ($said ne '') {
		like(rows('postgres', "SELECT status, error FROM tapdata.views WHERE view = 'delta'::regclass"), qr/^(failed|retrying)\|.*not one of tapdata's/, 'a physical slot: named');
		execute('postgres', "SELECT pg_drop_replication_slot('$slot')", "SELECT tapdata.refresh_view('delta')");
	}
	exact_again('a physical slot');
}

# ---- while everything runs ----
for my $round (1 .. 3)
{
	my @w = writers('postgres', 2);
	sleep 0.3;
	my ($capture) = value('postgres', "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '$slot'");
	execute('postgres', "SELECT pg_terminate_backend($capture)");
	my $gone = eventually(sub { try_do(psql('postgres'), "SELECT pg_drop_replication_slot('$slot')") eq '' }, 3);
	stop_writers(@w);
	exact_again('taken away under load' . ($gone ? '' : ' (missed)'));
}

# The server terminates who decodes; it can't say why.
{
	my @capture = worker_pids('capture');
	execute('postgres', "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'", 'SELECT pg_reload_conf()', 'CREATE TABLE IF NOT EXISTS ballast (pad text)');
	kill 'STOP', @capture;
	execute('postgres', 'INSERT INTO ballast SELECT repeat(md5(i::text), 30) FROM generate_series(1, 12000) i', 'SELECT pg_switch_wal()') for 1 .. 5;
	my $checkpoint = psql('postgres', fresh => 1);
	$checkpoint->do('CHECKPOINT', { pg_async => 1 });
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'checkpointer' AND wait_event = 'ReplicationSlotDrop'") }), 'a slot that keeps too much, while it is in use');
	kill 'CONT', @capture;
	$checkpoint->pg_result;
	is(inexact_views('postgres', views => ['delta', 'apart'], timeout => 20), '', '... is lost, and the views are filled anew by themselves');
	execute('postgres', 'ALTER SYSTEM RESET max_slot_wal_keep_size', 'SELECT pg_reload_conf()');
	exact_again('lost in use');
}

# ---- no slot is free for a new group ----
{
	my $n = 0;
	$n++ while try_do(psql('postgres'), "SELECT pg_create_physical_replication_slot('full_$n')") eq '';
	execute('postgres', q{SELECT tapdata.create_view('slotless', 'SELECT count(*) AS n FROM t', '{"group": "slotless"}')});
	ok(eventually(sub { rows('postgres', q{SELECT status, sqlstate, hint FROM tapdata.views WHERE view = 'slotless'::regclass}) =~ /^retrying\|53400\|.*max_replication_slots/ }, 10), 'no slot is free: named at once')
		or diag rows('postgres', 'SELECT view, status, sqlstate, error FROM tapdata.views');
	execute('postgres', "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'full%'");
	is(try_do(psql('postgres'), q{SELECT tapdata.wait_view('slotless', '60 s')}), '', '... and it begins when one is');
	execute('postgres', q{SELECT tapdata.drop_view('slotless')});
}

# ---- the server ends hard, under load, with fsync ----
for my $how (qw(immediate kill9 immediate kill9))
{
	my @w = writers('postgres', 3);
	sleep 0.5 + rand 0.5;
	server($how eq 'kill9' ? 'kill9' : ('stop', 'immediate'));
	server('start');
	my $bad = 0;
	for (1 .. 40) { my @r = eval { psql('postgres', fresh => 1)->selectrow_array("SELECT exact, (SELECT count(*) FROM ram) FROM tapdata.views WHERE view = 'ram'::regclass") } or next; $bad++ if $r[0] && !$r[1] }
	is($bad, 0, "$how: an unlogged view that is empty is not called exact");
	is(inexact_views('postgres', load => 1), '', "$how: exact under load");
	stop_writers(@w);
	exact_again($how);
}

# ---- settings under which views can't be kept ----
{
	enabled('off');
	my $all = rows('postgres', "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");    # else the server would not come up
	my @bad = ([ 'wal_level = replica', qr/^failed .*ALTER SYSTEM SET wal_level/ ], [ 'max_replication_slots = 0', qr/^(failed|retrying) .*max_replication_slots/ ],
		[ "shared_preload_libraries = ''", qr/^stopped / ]);
	for (@bad)
	{
		my ($line, $state) = @$_;
		my ($name) = $line =~ /^(\w+)/;
		execute('postgres', 'ALTER SYSTEM RESET tapdata.enabled') if $name ne 'shared_preload_libraries';
		restart_server('fast', $line);
		ok(eventually(sub { rows('postgres', "SELECT status || ' ' || coalesce(error, '') || ' ' || coalesce(hint, '') FROM tapdata.views WHERE view = 'delta'::regclass") =~ $state }), "$line: a state by name")
			or diag rows('postgres', 'SELECT view, status, exact, error, hint FROM tapdata.views');
		ok(value('postgres', "SELECT count(*) FROM tapdata.doctor() WHERE NOT ok AND fix IS NOT NULL") > 0, "$line: the doctor has the line");
		my $said = try_do(psql('postgres'), "SELECT tapdata.wait_view('delta', '1 s')");
		like($said, qr/^(55000|57014) /, "$line: wait_view says " . substr($said, 0, 150));
		execute('postgres', "INSERT INTO t (g, v) VALUES (4, 4)");
		my $back = { wal_level => 'wal_level = logical', max_replication_slots => 'max_replication_slots = 32', shared_preload_libraries => "shared_preload_libraries = 'tapdata'" }->{$name};
		restart_server('fast', $back);
		exact_again("$back again, by itself");
		if ($name ne 'shared_preload_libraries') { enabled('off'); rows('postgres', "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots") }
		else { last }
		execute('postgres', 'ALTER SYSTEM RESET tapdata.enabled') if $name eq 'max_replication_slots';
	}
}
finish();
done_testing();
