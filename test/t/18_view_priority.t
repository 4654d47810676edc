# The workers of views give way to sessions, by the nice values of their autogroups, unless they are behind.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $kernel = -e '/proc/self/autogroup';
diag 'this kernel has no autogroups' if !$kernel;
start_server('viewpriority');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE base (g int, v int)', 'ALTER TABLE base REPLICA IDENTITY FULL', 'INSERT INTO base VALUES (1, 1)',
	q{CREATE FUNCTION slowly(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN v; END'},
	q{SELECT tapdata.create_view('sums', 'SELECT g, sum(v) AS s FROM base GROUP BY g')}, q{SELECT tapdata.wait_view('sums')});

# The nice value of the autogroup of the only worker of that kind.
sub nice_of
{
	my ($kind) = @_;
	my ($pid) = worker_pids($kind) or return 'gone';
	open my $in, '<', "/proc/$pid/autogroup" or return 'none';
	my ($nice) = (<$in> // '') =~ /nice (-?\d+)/;
	return $nice;
}

sub becomes
{
	my ($kind, $nice, $name) = @_;
	my $now;
	$nice = 'none' if !$kernel;
	eventually(sub { $now = eval { nice_of($kind) } // 'gone'; $now eq $nice }, 20);
	return is($now, $nice, $name);
}

becomes($_, 10, "a $_ worker that has nothing to do gives way") for qw(view capture);
is(getpriority(0, (worker_pids($_))[0]), getpriority(0, (worker_pids('launcher'))[0]) + 5, "a $_ worker, where nice values count") for qw(view capture);
becomes('supervisor', 0, 'a supervisor does not');

# The scheduling policy of the only worker of that kind: field 41 of /proc/<pid>/stat, counted from behind the name.
sub policy_of
{
	my ($kind) = @_;
	open my $in, '<', '/proc/' . (worker_pids($kind))[0] . '/stat' or return 'gone';
	return (split ' ', <$in> =~ s/.*\) //r)[38] == 3 ? 'batch' : 'normal';
}

is(policy_of($_), 'batch', "a $_ worker does not take the CPU from a session when it wakes up") for qw(view capture);
is(policy_of('supervisor'), 'normal', 'a supervisor may');

# 20 rows of 0.1 s, at two places of one tick
execute('postgres', q{SELECT tapdata.create_view('slow', 'SELECT g, sum(slowly(v)) AS s FROM base GROUP BY g')}, q{SELECT tapdata.wait_view('slow')}, 'INSERT INTO base SELECT 2, i FROM generate_series(1, 20) i');
becomes('view', 0, 'a long tick has the priority of a session');
is(policy_of('view'), 'normal', 'also when it wakes up');
becomes('capture', 10, 'who only waits for it has not');
execute('postgres', q{SELECT tapdata.wait_view('slow')});
is(value('postgres', 'SELECT sum(s) FROM slow'), value('postgres', 'SELECT sum(v) FROM base'), 'and ends');
becomes('view', 10, 'after it the worker gives way again');

execute('postgres', q{SELECT tapdata.create_view('slower', 'SELECT g, slowly(v) AS v FROM base')});
becomes('fill', 0, 'a fill does not give way');
execute('postgres', q{SELECT tapdata.wait_view('slower')});

# a policy that the administrator has started the server under
open my $in, '<', server_data() . '/postmaster.pid' or die $!;
my ($postmaster) = <$in> =~ /(\d+)/;
is(system('chrt', '--batch', '--pid', '0', $postmaster), 0, 'the server runs under SCHED_BATCH');
my ($before) = worker_pids('view');
kill 'TERM', $before;
eventually(sub { my ($pid) = worker_pids('view'); $pid && $pid != $before && value('postgres', q{SELECT bool_and(status = 'streaming') FROM tapdata.views}) eq '1' }, 30);
execute('postgres', 'INSERT INTO base SELECT 3, i FROM generate_series(1, 20) i');
becomes('view', 0, 'a worker that is behind competes');
is(policy_of('view'), 'batch', 'and leaves the policy as it was');
execute('postgres', q{SELECT tapdata.wait_view('slow')});
is(system('chrt', '--other', '--pid', '0', $postmaster), 0, 'back again');
kill 'TERM', worker_pids('view');

execute('postgres', 'ALTER SYSTEM SET tapdata.nice = 0', 'SELECT pg_reload_conf()');
becomes($_, 0, "tapdata.nice = 0 is taken over: $_") for qw(view capture);
is(policy_of($_), 'normal', "also the policy: $_") for qw(view capture);
finish();
done_testing();
