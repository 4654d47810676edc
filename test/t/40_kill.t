# The kill matrix: every process and the network, at random moments under load, once during the initial load and once
# while streaming.  After each round: the pipeline streams again by itself, both sides are equal, the append-only audit
# table without a key has each row exactly once, no read ever saw a broken total, every live view (over local tables that
# are written all the while, and over the mirror) is exact, and nothing is left behind.
#
# TD_SEED=n repeats a run, TD_ROUNDS=n rounds of each victim (default 1; make soak: 8), TD_VICTIMS='host mariadb' some of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdBank qw(servers my_connect pg_connect make_bank start_writers stop_writers start_reader stop_reader differences
	proxy_start proxy_stop seed);
use TdViews qw(make_tables make_views start_churn stop_churn);
use Time::HiRes qw(sleep time);

my $rounds = $ENV{TD_ROUNDS} || 1;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my ($pg, $my) = servers('kill', 'restart_after_crash = on', 'max_worker_processes = 32', 'max_prepared_transactions = 20');
my $tools = "$FindBin::Bin/../servers";
my $proxy = proxy_start($my->{MYPORT});

make_bank($my, 300_000);
my $p = pg_connect($pg);
$p->do('DROP EXTENSION IF EXISTS tapdata CASCADE');
$p->do('DROP SCHEMA IF EXISTS bank CASCADE');
$p->do('CREATE EXTENSION tapdata');
$p->do(q{SELECT tapdata.create_connection('bank', 'mysql', ?::jsonb, ?::jsonb)}, undef,
	qq({"host": "127.0.0.1", "port": $proxy->{port}, "database": "bank", "connect_timeout": 3}),
	qq({"user": "$my->{REPL_USER}", "password": "$my->{REPL_PASSWORD}"}));

# Views over local tables, made once; a big one that is filled anew when the fill worker is the victim.
make_tables($p, 'loc');
$p->do('CREATE TABLE loc.big AS SELECT i AS id, i % 1000 AS g, i::numeric / 7 AS n FROM generate_series(1, 400000) i');
$p->do('ALTER TABLE loc.big ADD PRIMARY KEY (id)');
my ($made) = make_views($p, 'loc', 6);
my @local = map { "loc.$_" } @$made;
$p->do(q{SELECT tapdata.create_view('loc.big_sums', 'SELECT id % 50000 AS g, count(*) AS c, sum(n) AS n FROM loc.big GROUP BY id % 50000')});
push @local, 'loc.big_sums';
$p->do("SELECT tapdata.wait_view('$_')") for @local;
my %over_mirror = ('loc.money' => 'SELECT id % 9 AS part, sum(balance) AS total, max(balance) AS most FROM bank.savings GROUP BY id % 9',
	'loc.both' => 'SELECT s.id, s.balance + g.balance AS total FROM bank.savings s JOIN bank.giro g ON g.id = s.id');

# A connection to a server that may be restarting.
sub pg_again
{
	my $until = time + 60;
	while (time < $until)
	{
		my $dbh = eval { pg_connect($pg) };
		return $dbh if $dbh && eval { $dbh->selectrow_array('SELECT 1') };
		sleep 0.1;
	}
	die "PostgreSQL does not come back\n";
}

# The pid of a worker by its kind, 0 = none now.
sub pid_of
{
	my ($kind) = @_;
	my $dbh = pg_again();
	my $sql = $kind eq 'host' ? q{SELECT max(pid) FROM tapdata.workers WHERE kind = 'host'}
		: $kind eq 'backend' ? q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1}
		: qq{SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'tapdata $kind'};
	my ($pid) = $dbh->selectrow_array($sql);
	$dbh->disconnect;
	return $pid || 0;
}

my %strike = (
	(map { my $kind = $_; ($kind => sub {
		my $until = time + 10;
		my $pid;
		sleep 0.05 until ($pid = pid_of($kind)) || time > $until;
		$pid ? kill('KILL', $pid) : 0 }) } qw(launcher supervisor pipeline host backend capture view)),
	fill => sub {
		my ($until, $pid) = (time + 15);
		until ($pid || time > $until) { eval { pg_again()->do(q{SELECT tapdata.refresh_view('loc.big_sums')}) }; $pid = pid_of('fill') }
		$pid ? kill('KILL', $pid) : 0 },
	server => sub { system("$tools/pg", 'kill9', 'kill'); sleep rand 0.5; system("$tools/pg", 'start', 'kill') == 0 },
	mariadb => sub { system("$tools/mariadb", 'kill9', 'kill'); sleep rand 0.5; system("$tools/mariadb", 'start', 'kill') == 0 },
	cut => sub { kill 'USR1', $proxy->{pid} },
	stall => sub { kill 'USR2', $proxy->{pid}; sleep 3 + rand 4; kill 'USR1', $proxy->{pid}; kill 'USR2', $proxy->{pid} });
my @victims = $ENV{TD_VICTIMS} ? split(' ', $ENV{TD_VICTIMS}) : qw(launcher supervisor pipeline host backend capture view fill server mariadb cut stall);

# wait_pipeline until it succeeds: failures on the way are what this test is about, `failed` is not.
sub caught_up
{
	my $until = time + 120;
	my $error = '';
	while (time < $until)
	{
		my $dbh = pg_again();
		return '' if eval { $dbh->do(q{SELECT tapdata.wait_pipeline('bank', '20 s')}); 1 };
		$error = $@;
		my ($status, $why) = eval { $dbh->selectrow_array(q{SELECT status, error FROM tapdata.pipelines WHERE name = 'bank'}) };
		return "failed: $why" if ($status // '') eq 'failed';
		sleep 0.2;
	}
	return "not caught up in 120 s: $error";
}

# A server whose process was killed a moment ago may still answer, and go down then.
sub make_again
{
	my ($view) = @_;
	my $until = time + 60;
	until (eval { pg_again()->do('SELECT tapdata.create_view($1, $2)', undef, $view, $over_mirror{$view}); 1 } || $@ =~ /already exists/) { die $@ if time > $until; sleep 0.2 }
	return;
}

# Every view, once it has caught up: '' = exact.  Failures on the way are part of the test, `failed` is not.
sub inexact_views
{
	my (@views) = @_;
	my ($found, $until) = ('', time + 120);
	for my $view (@views)
	{
		my $error = 'never asked';
		while (time < $until)
		{
			my $dbh = pg_again();
			my $rows = eval { $dbh->do("SELECT tapdata.wait_view('$view', '20 s')"); $dbh->selectall_arrayref("SELECT * FROM tapdata.check_view('$view', 3)") };
			$error = $rows ? join(' ', map { "@$_[0, 1] $_->[2]" } @$rows) : $@;
			last if $rows || $error =~ /has failed/;
			sleep 0.2;
		}
		$found .= "$view: $error\n" if $error ne '';
	}
	return $found;
}

sub round
{
	my ($victim, $round) = @_;
	my @when = map { rand 1.5 } 1 .. 2;
	my $name = sprintf '%s, round %d (%.2f s into the load, %.2f s into the stream)', $victim, $round, @when;
	my $dbh = pg_again();
	drop_mirror($dbh);
	my @churn = start_churn(sub { pg_connect($pg) }, 'loc', 2, pause => 0.02);
	my $reader = start_reader($pg, 'bank');
	my @writers = start_writers($my, 4);
	$dbh->do(q{SELECT tapdata.mirror('bank')});
	$dbh->disconnect;
	sleep $when[0];
	ok($strike{$victim}->(), "$name: struck during the load");
	my $error = caught_up();
	make_again($_) for sort keys %over_mirror;
	sleep $when[1];
	ok($strike{$victim}->(), "$name: struck while streaming");
	sleep 1;
	$error ||= caught_up();
	stop_writers(@writers);
	stop_churn(@churn);
	$error ||= caught_up();
	is($error, '', "$name: streams again by itself");
	my ($reads, $wrong) = stop_reader($reader);
	is($wrong, 0, "$name: $reads reads, all exact");
	is(differences($pg, $my, 'bank'), '', "$name: both sides are equal");
	is(inexact_views(@local, sort keys %over_mirror), '', "$name: every view is exact");
	return;
}

sub drop_mirror
{
	my ($dbh) = @_;
	return if !$dbh->selectrow_array(q{SELECT count(*) FROM tapdata.pipelines});
	for my $view (sort keys %over_mirror) { $dbh->do("SELECT tapdata.drop_view('$view')") if $dbh->selectrow_array("SELECT to_regclass('$view')") }
	$dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
	$dbh->do(q{SELECT tapdata.drop_pipeline('bank', drop_tables => true)});
	return;
}

for my $round (1 .. $rounds)
{
	round($_, $round) for @victims;
}

# Nothing is left behind: one host, one worker, no load tables, no lock, no spool file.
my $dbh = pg_again();
is($dbh->selectrow_array(q{SELECT count(*) FROM tapdata.workers WHERE kind = 'pipeline'}), 1, 'one pipeline worker');
is($dbh->selectrow_array(q{SELECT count(*) FROM tapdata.workers WHERE kind = 'host'}), 1, 'one host');
is($dbh->selectrow_array(q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
	WHERE nspname = 'tapdata_state' AND relkind = 'r' AND relname LIKE 'load%'}), 0, 'no load table');
is($dbh->selectrow_array(q{SELECT count(*) FROM tapdata.workers WHERE kind IN ('view', 'capture', 'fill')}), 2, 'one view worker and its capture worker');
is($dbh->selectrow_array(q{SELECT count(*) FROM pg_replication_slots}), 1, 'one slot');
drop_mirror($dbh);
my @hosts = grep { my $s = do { local (@ARGV, $/) = ("/proc/$_/stat"); eval { <> } // '' }; $s =~ /\(tapdata-host\) [^Z]/ && ours($_) }
	map { m{/proc/(\d+)$} } glob '/proc/[0-9]*';
is("@hosts", '', 'no host is left');

# A host of this very server: its command line names the directory of its connectors (its other files are closed to an ordinary user).
sub ours
{
	my ($pid) = @_;
	my ($root) = $pg->{TD_PG_BIN} =~ m{^(.*)/usr/lib/};
	return (do { local (@ARGV, $/) = ("/proc/$pid/cmdline"); eval { <> } // '' }) =~ m{\0\Q$root\E/};
}

$dbh->disconnect;
proxy_stop($proxy);
system("$tools/$_", 'drop', 'kill') for qw(pg mariadb);
done_testing();
