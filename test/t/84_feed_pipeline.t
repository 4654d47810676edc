# Mirrors of live views (connector tapdata), into another server and into the same database.  Random writers; after each wait the mirrored tables equal the
# views row by row; two views whose sums are constant together, of which no read on the target ever sees another sum; kill -9 of host, worker and either
# server; a huge tick; every way in which a position can be gone.
#
# TD_SEED=n repeats a run; TD_ROUNDS=n makes it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Temp qw(tempdir);
use POSIX ();
use Test::More;
use TdBank qw(seed);
use TdFeedPipe;
use TdViews qw(make_tables make_views start_churn stop_churn wait_views);
use Time::HiRes qw(sleep time);

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $rounds = $ENV{TD_ROUNDS} || 1;
my @conf = ('max_prepared_transactions = 20', 'restart_after_crash = on');
start_pg($_, @conf) for qw(feed_a feed_b);
END { my $status = $?; drop_pgs(); $? = $status }

sub sums_of { my ($dbh, $schema) = @_; return scalar $dbh->selectrow_array("SELECT (SELECT sum(balance) FROM $schema.rich) + (SELECT sum(balance) FROM $schema.poor)") }
sub fork_of { my ($code) = @_; my $pid = fork() // die "fork: $!"; return $pid if $pid; eval { $code->() }; warn $@ if $@; POSIX::_exit($@ ? 1 : 0) }
# Who drops two tables that others read together may lose a deadlock, as with any DROP TABLE.
sub once { my ($dbh, $sql) = @_; return 1 if eval { $dbh->do($sql); 1 }; die $@ if $@ !~ /deadlock detected/; return 0 }
sub in { my ($at, @sql) = @_; my $dbh = db($at); for my $sql (@sql) { for (1 .. 20) { last if once($dbh, $sql) } } return }
sub value { my ($at, $sql) = @_; return scalar db($at)->selectrow_array($sql) }

# ---- the tables: transfers between two, and those of the random queries ----
my $total = 200 * 1000;
my $source = db('feed_a');
make_tables($source, 'f');
$source->do($_) for 'CREATE SCHEMA v', 'CREATE TABLE savings (id int PRIMARY KEY, part int NOT NULL, balance bigint NOT NULL)', 'CREATE TABLE giro (LIKE savings INCLUDING ALL)',
	'INSERT INTO savings SELECT i, i % 17, 1000 FROM generate_series(1, 100) i', 'INSERT INTO giro SELECT i, i % 13, 1000 FROM generate_series(1, 100) i';
my %views = (rich => 'SELECT part, sum(balance) AS balance FROM savings GROUP BY part', poor => 'SELECT part, sum(balance) AS balance, count(*) AS n FROM giro GROUP BY part',
	bag => 'SELECT a, b, n, f FROM f.t3', nulls => 'SELECT a, count(*) AS n, sum(n) AS s FROM f.t1 GROUP BY a', joined => 'SELECT t1.id, t2.k, t1.x, t1.n, t2.s, t2.j FROM f.t1 JOIN f.t2 ON t2.id = t1.id',
	docs => q{SELECT t1.id, t1.d, (SELECT jsonb_agg(t2.m ORDER BY t2.k) FROM f.t2 WHERE t2.id = t1.id) AS ms FROM f.t1});
$source->do('SELECT tapdata.create_view($1, $2, $3)', undef, "v.$_", $views{$_}, '{"changes": true}') for sort keys %views;
$source->do($_) for 'GRANT USAGE ON SCHEMA v TO feeder', 'GRANT SELECT ON ALL TABLES IN SCHEMA v TO feeder';
my @views = map { "v.$_" } sort keys %views;
wait_views($source, 'v', sort keys %views);

sub transfer_until_stopped
{
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	srand $$;
	while (!$stop)
	{
		eval {
			my $dbh = db('feed_a');
			while (!$stop)
			{
				my ($from, $to) = rand() < 0.5 ? qw(savings giro) : qw(giro savings);
				my ($x, $y, $money) = (1 + int rand 100, 1 + int rand 100, int rand 50);
				$dbh->do("BEGIN; UPDATE $from SET balance = balance - $money WHERE id = $x; UPDATE $to SET balance = balance + $money" .
					(rand() < 0.1 ? ", part = part + 1" : '') . " WHERE id = $y; " . (rand() < 0.1 ? 'ROLLBACK' : 'COMMIT'));
				sleep 0.001;
			}
			1 } or sleep 0.1;
	}
}

# Reads the sums of a mirror until it is stopped; exits with 1 when one was wrong.
sub watch
{
	my ($at, $schema) = @_;
	return fork_of(sub {
		my ($stop, $reads, %wrong) = (0, 0);
		$SIG{TERM} = sub { $stop = 1 };
		while (!$stop)
		{
			my $sum = eval { my $dbh = db($at); my $n = 0; my $s; while (!$stop && $n++ < 500) { $s = sums_of($dbh, $schema); last if defined $s && $s != $total; $reads++ if defined $s; sleep 0.001 } $s };
			$wrong{$sum}++ if defined $sum && $sum != $total;
		}
		die "read " . join(' ', %wrong) . "\n" if %wrong;
		die "only $reads reads\n" if $reads < 20;
	});
}
sub stopped_well { my ($pid) = @_; kill 'TERM', $pid; waitpid $pid, 0; return $? == 0 }
sub all_equal { my ($at, $schema) = @_; return join '', map { mirror_differs('feed_a', "v.$_", $at, "$schema.$_") } sort keys %views }

# ---- mirrors under load ----
connect_feed('feed_b', 'far', 'feed_a', '"schema": "v"');
connect_feed('feed_a', 'near', 'feed_a', '"schema": "v", "poll_interval": 60000');
my @writers = (fork_of(\&transfer_until_stopped), fork_of(\&transfer_until_stopped), start_churn(sub { db('feed_a') }, 'f', 2, pause => 0.01));
in('feed_b', q{SELECT tapdata.mirror('far')});
in('feed_a', q{SELECT tapdata.mirror('near', '{v.*}')});
is(caught_up('feed_a', 'feed_b', 'far', \@views), '', 'a mirror in another server');
is(caught_up('feed_a', 'feed_a', 'near', \@views), '', 'and in the same database');
my %watchers = (far => watch('feed_b', 'far'), near => watch('feed_a', 'near'));
for my $i (1 .. 3)
{
	sleep 1 + rand 2;
	stop_churn(splice @writers, 2);
	kill 'TERM', $_ for @writers;
	waitpid $_, 0 for splice @writers;
	is(caught_up('feed_a', 'feed_b', 'far', \@views), '', "wait $i");
	is(caught_up('feed_a', 'feed_a', 'near', \@views), '', "wait $i, the same database");
	is(all_equal('feed_b', 'far'), '', 'the mirror is what the views are');
	is(all_equal('feed_a', 'near'), '', 'so is the one in the same database, by notices alone');
	@writers = (fork_of(\&transfer_until_stopped), fork_of(\&transfer_until_stopped), start_churn(sub { db('feed_a') }, 'f', 2, pause => 0.01));
}
is(value('feed_b', q{SELECT string_agg(source_table || ' ' || has_key, ', ' ORDER BY source_table) FROM tapdata.pipeline_tables}),
	'v.bag false, v.docs false, v.joined true, v.nulls false, v.poor true, v.rich true', 'keys: where none of it can be null');

# latency: an idle mirror follows a commit at once, by notices
{
	stop_churn(splice @writers, 2);
	kill 'TERM', $_ for @writers;
	waitpid $_, 0 for splice @writers;
	caught_up('feed_a', 'feed_b', 'far', \@views);
	my ($s, $t, @took) = (db('feed_a'), db('feed_a'));
	for my $i (1 .. 20)
	{
		my $from = time;
		$s->do("BEGIN; UPDATE savings SET balance = balance - $i WHERE id = 1; UPDATE giro SET balance = balance + $i WHERE id = 1; COMMIT");
		my $now = $s->selectrow_array('SELECT balance FROM giro WHERE id = 1');
		my $n = 0;
		my $sum = $s->selectrow_array('SELECT sum(balance) FROM giro WHERE part = (SELECT part FROM giro WHERE id = 1)');
		sleep 0.001 until $t->selectrow_array('SELECT balance FROM near.poor WHERE part = (SELECT part FROM giro WHERE id = 1)') == $sum || $n++ > 30_000;
		push @took, time - $from;
	}
	@took = sort { $a <=> $b } @took;
	diag sprintf 'commit to mirror: median %.1f ms, most %.1f ms', 1000 * $took[10], 1000 * $took[-1];
	cmp_ok($took[10], '<', 5, 'notices bring the changes (the time to look by itself is a minute)');
}

# ---- kill -9 ----
my %strike = (
	host => sub { my $pid = value('feed_b', q{SELECT max(pid) FROM tapdata.workers WHERE kind = 'host'}); $pid && kill 'KILL', $pid },
	worker => sub { my $pid = value('feed_b', q{SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'tapdata pipeline'}); $pid && kill 'KILL', $pid },
	'the session at the source' => sub { in('feed_a', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tapdata'}); 1 },
	source => sub { pg('kill9', 'feed_a') && pg('start', 'feed_a') },
	target => sub { pg('kill9', 'feed_b') && pg('start', 'feed_b') });
for my $round (1 .. $rounds)
{
	for my $victim (sort keys %strike)
	{
		in('feed_b', q{SELECT tapdata.drop_pipeline('far', drop_tables => true)});
		@writers = (fork_of(\&transfer_until_stopped), start_churn(sub { db('feed_a') }, 'f', 2, pause => 0.02));
		in('feed_b', q{SELECT tapdata.mirror('far')});
		sleep rand 0.5;
		ok(eventually_so($strike{$victim}, 10), "$victim: killed during the load");
		is(caught_up('feed_a', 'feed_b', 'far', \@views, 90), '', "$victim: goes on");
		my $watcher = watch('feed_b', 'far');
		sleep rand 1;
		ok(eventually_so($strike{$victim}, 10), "$victim: killed while it streams");
		sleep 0.5;
		stop_churn(splice @writers, 1);
		stopped_well(splice @writers);
		eventually_so(sub { my $dbh = db('feed_a'); $dbh->do("ROLLBACK PREPARED '$_'") for @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') }; 1 });
		is(caught_up('feed_a', 'feed_b', 'far', \@views, 90), '', "$victim: and on");
		is(all_equal('feed_b', 'far'), '', "$victim: the mirror is what the views are");
		ok(stopped_well($watcher), "$victim: no read of it saw another sum");
	}
}
ok(stopped_well($_->[1]), "no read of \"$_->[0]\" ever saw another sum") for map { [$_, $watchers{$_}] } grep { $_ eq 'near' } keys %watchers;
kill 'KILL', $watchers{far};
waitpid $watchers{far}, 0;
is(value('feed_a', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tapdata'}) <= 4, 1, 'no session is left behind at the source');

# ---- a huge tick, in bounded memory ----
{
	in('feed_a', 'CREATE TABLE big (id int PRIMARY KEY, t text)', q{INSERT INTO big SELECT i, 'x' FROM generate_series(1, 1000) i}, q{SELECT tapdata.create_view('v.big', 'SELECT id, t FROM big', '{"changes": true}')},
		q{SELECT tapdata.create_view('v.copies', 'SELECT t FROM big', '{"changes": true}')}, q{GRANT SELECT ON v.big, v.copies TO feeder}, q{SELECT tapdata.wait_view('v.big')}, q{SELECT tapdata.wait_view('v.copies')});
	in('feed_b', q{SELECT tapdata.mirror('far', '{big}', name => 'big', into_schema => 'big')}, q{SELECT tapdata.mirror('far', '{copies}', name => 'copies', into_schema => 'big')});
	is(caught_up('feed_a', 'feed_b', 'big', ['v.big']), '', 'a mirror of one view');
	my $most = 0;
	my $pid = value('feed_b', q{SELECT pid FROM tapdata.workers WHERE kind = 'host' ORDER BY since DESC LIMIT 1});
	in('feed_a', q{INSERT INTO big SELECT i, repeat(md5(i::text), 10) FROM generate_series(1001, 300000) i});
	my $seen = fork_of(sub { in('feed_a', q{SELECT tapdata.wait_view('v.big', '4 min')}) for 1; in('feed_b', q{SELECT tapdata.wait_pipeline('big', '4 min')}) });
	until (waitpid($seen, POSIX::WNOHANG())) { my ($kb) = ($pid && `cat /proc/$pid/status 2>/dev/null` || '') =~ /VmRSS:\s+(\d+)/; $most = $kb if $kb && $kb > $most; sleep 0.02 }
	is($?, 0, '300,000 rows of a tick arrive');
	diag "the host took $most kB";
	cmp_ok($most, '<', 100_000, 'a hundred megabytes of changes do not lie in the memory of the host');
	in('feed_a', q{UPDATE big SET t = 'same' WHERE id > 1000}, q{DELETE FROM big WHERE id % 3 = 0});
	is(caught_up('feed_a', 'feed_b', 'big', ['v.big'], 120), '', 'and change');
	is(mirror_differs('feed_a', 'v.big', 'feed_b', 'big.big'), '', 'all of it');
	in('feed_b', q{SELECT tapdata.drop_pipeline('copies', drop_tables => true)});
	in('feed_a', q{DELETE FROM big WHERE id > 500}, q{SELECT tapdata.wait_view('v.copies')});
	in('feed_b', q{SELECT tapdata.mirror('far', '{copies}', name => 'copies', into_schema => 'big')});
	is(caught_up('feed_a', 'feed_b', 'copies', ['v.copies'], 120), '', 'a view with hundreds of equal rows');
	in('feed_a', q{INSERT INTO big SELECT i, 'x' FROM generate_series(1000, 41000) i});
	is(caught_up('feed_a', 'feed_b', 'copies', ['v.copies'], 120), '', 'a weight of 40,000');
	in('feed_a', q{DELETE FROM big WHERE id % 5 = 0});
	is(caught_up('feed_a', 'feed_b', 'copies', ['v.copies'], 120), '', 'and of thousands that go');
	is(mirror_differs('feed_a', 'v.copies', 'feed_b', 'big.copies'), '', 'as many as there are');
	in('feed_b', map { "SELECT tapdata.drop_pipeline('$_', drop_tables => true)" } qw(big copies));
	in('feed_a', map { "SELECT tapdata.drop_view('v.$_')" } qw(big copies));
}

# ---- positions that are gone ----
in('feed_a', 'CREATE TABLE t (id int PRIMARY KEY, v int)', 'INSERT INTO t SELECT i, i FROM generate_series(1, 100) i');
my $reload = qr/reset_pipeline.*drop_table.*start_pipeline/;
sub make_view { in('feed_a', q{SELECT tapdata.create_view('v.one', 'SELECT id, v FROM t', '{"changes": true}')}, 'GRANT SELECT ON v.one TO feeder', q{SELECT tapdata.wait_view('v.one')}); return }
sub make_mirror { in('feed_b', q{SELECT tapdata.mirror('far', '{one}', name => 'one', into_schema => 'one')}); is(caught_up('feed_a', 'feed_b', 'one', ['v.one']), '', 'a mirror'); return }
sub drop_mirror { in('feed_b', q{SELECT tapdata.drop_pipeline('one', drop_tables => true)}); return }
sub change { in('feed_a', 'UPDATE t SET v = v + 1 WHERE id % 7 = 0', q{SELECT tapdata.wait_view('v.one')}); return }
sub fails_with
{
	my ($sqlstate, $error, $hint, $what) = @_;
	my $row = status_is('feed_b', 'one', 'failed', 30);
	is("$row->{status} $row->{sqlstate}", "failed $sqlstate", $what) or diag "$row->{error} / $row->{hint}";
	like($row->{error}, $error, "$what: says so");
	like($row->{hint}, $hint, "$what: and what to do") if $hint;
	return;
}
sub load_again
{
	in('feed_b', q{SELECT tapdata.reset_pipeline('one')}, q{SELECT tapdata.alter_pipeline('one', '{"existing": "drop_table"}')}, q{SELECT tapdata.start_pipeline('one')});
	is(caught_up('feed_a', 'feed_b', 'one', ['v.one']), '', 'load again, as the hint says');
	is(mirror_differs('feed_a', 'v.one', 'feed_b', 'one.one'), '', 'all is there');
	return;
}
make_view();
make_mirror();
change();
in('feed_b', q{SELECT tapdata.stop_pipeline('one')});
change();
in('feed_a', q{SELECT tapdata.alter_view('v.one', '{"changes_kept": "1 ms"}')});
for my $what ('changes are gone', 'and those that come to an empty feed, beside feeds that keep theirs for a day')
{
	ok(eventually_so(sub { value('feed_a', q{SELECT changes_from = tick FROM tapdata.feeds WHERE view = 'v.one'::regclass}) }), $what);
	change();
}
in('feed_b', q{SELECT tapdata.start_pipeline('one')});
fails_with('55000', qr/no longer keeps the changes of view v\.one after tick/, $reload, 'retention has passed the position');
in('feed_a', q{SELECT tapdata.alter_view('v.one', '{"changes_kept": "1 day"}')});
load_again();

in('feed_a', q{SELECT tapdata.alter_view('v.one', '{"changes": false}')});
fails_with('55000', qr/changes of view v\.one are not kept/, qr/alter_view.*reset_pipeline/, 'the feed is turned off');
in('feed_a', q{SELECT tapdata.alter_view('v.one', '{"changes": true}')});
in('feed_b', q{SELECT tapdata.start_pipeline('one')});
fails_with('55000', qr/no longer keeps the changes/, $reload, 'and on again: a new beginning');
load_again();

in('feed_a', 'REVOKE SELECT ON v.one FROM feeder');
fails_with('42501', qr/permission denied/, qr/At the source.*GRANT SELECT ON "v"\."one" TO "feeder"/, 'no right to read it');
in('feed_a', 'GRANT SELECT ON v.one TO feeder');
change();
in('feed_b', q{SELECT tapdata.start_pipeline('one')});
is(caught_up('feed_a', 'feed_b', 'one', ['v.one']), '', 'goes on once it is given back');
is(mirror_differs('feed_a', 'v.one', 'feed_b', 'one.one'), '', 'with all of it');
in('feed_a', q{SELECT tapdata.drop_view('v.one')});
fails_with('42P01', qr/view "v\.one" does not exist/, qr/drop_pipeline/, 'the view is dropped');
make_view();
in('feed_b', q{SELECT tapdata.start_pipeline('one')});
fails_with('55000', qr/view v\.one is not the one that was loaded/, $reload, 'and made again: its ticks are others');
load_again();

# the source is restored from a backup, and goes on
{
	my $dir = tempdir(CLEANUP => 1);
	chmod 0755, $dir;
	my $data = env('feed_a')->{TD_PG_DATA};
	pg('stop', 'feed_a');
	system("cp -a $data $dir/data") == 0 or die;
	is(status_is('feed_b', 'one', 'retrying')->{status}, 'retrying', 'a source that is down is waited for');
	pg('start', 'feed_a');
	change() for 1 .. 3;
	is(caught_up('feed_a', 'feed_b', 'one', ['v.one']), '', 'goes on by itself');
	pg('stop', 'feed_a');
	system("rm -rf $data && cp -a $dir/data $data") == 0 or die;
	pg('start', 'feed_a');
	fails_with('55000', qr/view v\.one of the source has had no tick \d+/, $reload, 'a source that was restored from a backup');
	load_again();
}

# a source that is another database; a password that is another one
connect_feed('feed_b', 'self', 'feed_b');
in('feed_b', q{SELECT tapdata.stop_pipeline('one')}, qq{SELECT tapdata.alter_connection('far', '{"port": @{[env('feed_b')->{PGPORT}]}}')}, q{SELECT tapdata.start_pipeline('one')});
fails_with('55000', qr/another database than the one that was loaded/, $reload, 'another database');
in('feed_b', qq{SELECT tapdata.alter_connection('far', '{"port": @{[env('feed_a')->{PGPORT}]}}')});
in('feed_a', q{ALTER ROLE feeder PASSWORD 'changed'});
in('feed_b', q{SELECT tapdata.start_pipeline('one')});
fails_with('28P01', qr/password authentication failed/, qr/credentials/, 'a password that is wrong');
in('feed_b', q{SELECT tapdata.alter_connection('far', NULL, '{"password": "changed"}')}, q{SELECT tapdata.start_pipeline('one')});
is(caught_up('feed_a', 'feed_b', 'one', ['v.one']), '', 'and mended');
is(mirror_differs('feed_a', 'v.one', 'feed_b', 'one.one'), '', 'nothing is lost by all that');
done_testing();
