# kill -9 at each point of a tick, of a fill and of the confirmation of the slot (test/unit/td_crash): before and within the statements, before the commit,
# after it and before it is flushed, after that and before the slot is confirmed, after that.  Writers run all the time; after each crash every view is exact,
# and a feed goes on from what was seen of it.
#
# TD_SEED=n repeats a run; TD_CRASH_ROUNDS makes it longer (make soak).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Copy;
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdExact;
use Time::HiRes qw(sleep);

my $rounds = $ENV{TD_CRASH_ROUNDS} || 2;
my $top = "$FindBin::Bin/../..";
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $pg = start_server('points', 'max_worker_processes = 48', 'wal_writer_delay = 10s', 'wal_writer_flush_after = 1GB');
my $so = "$pg->{TD_PG_DATA}/../td_crash.so";
system("make -s -C $top/test/unit/td_crash PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_crash does not build');
copy("$top/test/unit/td_crash/td_crash.so", $so) or BAIL_OUT("td_crash.so: $!");
chmod 0755, $so;
restart_server('fast', "shared_preload_libraries = 'tapdata, $so'", 'log_min_messages = debug1', 'restart_after_crash = on');
execute('postgres', 'CREATE EXTENSION tapdata');
make_exact('postgres');
is(inexact_views('postgres'), '', 'views stream');
my %copy = map { ($_ => take_copy('postgres', $_)) } qw(delta outside);

my @points = (
	[ 'view', 'statement', 12 ], [ 'view', 'written', 12 ], [ 'view', 'precommit', 3 ], [ 'view', 'committed', 3 ], [ 'view', 'flushed', 3 ], [ 'capture', 'confirmed', 2 ],
	[ 'fill', 'statement', 3 ], [ 'fill', 'written', 3 ], [ 'fill', 'precommit', 1 ], [ 'fill', 'committed', 1 ], [ 'fill', 'flushed', 1 ]);
my @writers = writers('postgres', 3);
for my $round (1 .. $rounds)
{
	for (@points)
	{
		my ($kind, $point, $most) = @$_;
		my $after = int rand $most;
		my $plan = "$pg->{TD_PG_DATA}/td_crash";
		open my $f, '>', "$plan.new" or die "$plan: $!";
		print $f "$kind $point $after\n";
		close $f;
		chmod 0666, "$plan.new";
		rename "$plan.new", $plan or die "$plan: $!";
		my $taken = eventually(sub {
			eval { execute('postgres', map { "SELECT tapdata.refresh_view('$_')" } qw(delta keyed)) } if $kind eq 'fill' && rand() < 0.05;
			eval { execute('postgres', 'SELECT pg_switch_wal()', 'CHECKPOINT') } if $kind eq 'capture' && rand() < 0.05;
			!-e $plan }, 20);
		ok($taken, "$kind, $point, after $after: killed") or do { unlink $plan; next };
		is(inexact_views('postgres', load => 1), '', 'exact under load');
		is(apply_changes('postgres', $_, $copy{$_}), '', "the feed of $_ goes on") for sort keys %copy;
	}
}
stop_writers(@writers);
is(inexact_views('postgres'), '', 'exact at the end');
is(apply_changes('postgres', $_, $copy{$_}), '', "so is the feed of $_") for sort keys %copy;
finish();
done_testing();
