# The feed of a view: rows at a tick and the changes since are the rows now, whatever happened in between.  Random queries under random writers,
# refreshes, recomputes, kill -9; then notices, retention, rights, every error, turning it on and off, dump and restore.
#
# Copies of a view (rows and tick, of one snapshot) are held here, outside of the server; each is brought up to date from the feed and compared with the
# view row by row, as bags.  The walwriter sleeps long: a tick that was seen must not be taken back by a crash.
#
# TD_SEED=n repeats a run; TD_FEED_ROUNDS makes it longer (make soak).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Temp;
use POSIX ();
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdFeeds qw(take_copy apply bag bags_differ replay clone);
use TdViews qw(make_tables make_views start_churn stop_churn wait_views inexact);
use Time::HiRes qw(sleep time);

my $rounds = $ENV{TD_FEED_ROUNDS} || 30;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $env = start_server('changes', 'max_prepared_transactions = 20', 'max_worker_processes = 32', 'wal_writer_delay = 10s', 'wal_writer_flush_after = 1GB', 'fsync = off');
execute('postgres', 'CREATE EXTENSION tapdata');

sub sqlstate { my ($dbh, $sql) = @_; return try_do($dbh, $sql) =~ /^(\w{5}) (.*)/s ? ($1, $2) : ('', '') }
sub pick { return $_[int rand @_] }

# ---- the oracle ----
{
	my $dbh = psql('postgres');
	make_tables($dbh, 'f');
	my @writers = start_churn(sub { psql('postgres', fresh => 1) }, 'f', 3, pause => 0.01);
	my ($made, $queries) = make_views($dbh, 'f', 6);
	my %fixed = (bag => 'SELECT a, b FROM f.t3', sums => 'SELECT a, count(*) AS n, sum(n) AS s, max(x) AS m FROM f.t1 GROUP BY a', two => 'SELECT t1.id, t2.k, t1.x FROM f.t1 JOIN f.t2 ON t2.id = t1.id',
		ones => 'SELECT DISTINCT s, m FROM f.p1', lost => 'SELECT b, count(*) AS n FROM f.t1 GROUP BY b', one => 'SELECT count(*) AS n FROM f.t2', latest => 'SELECT DISTINCT ON (a) a, id, x FROM f.t1 ORDER BY a, id',
		outside => 'SELECT t1.id, t2.k, t2.x FROM f.t1 LEFT JOIN f.t2 ON t2.id = t1.id', over => 'SELECT n, count(*) AS c FROM f.sums GROUP BY n');
	$dbh->do('SELECT tapdata.create_view($1, $2, $3)', undef, "f.$_", $fixed{$_}, $_ eq 'lost' ? '{"changes": true, "unlogged": true}' : '{"changes": true}') for grep { $_ ne 'over' } sort keys %fixed;
	$dbh->do('SELECT tapdata.create_view($1, $2, $3)', undef, 'f.over', $fixed{over}, '{"changes": "on"}');
	$dbh->do("SELECT tapdata.alter_view('f.$_', '{\"changes\": true}')") for @$made;    # filled or not
	my @views = map { "f.$_" } @$made, sort keys %fixed;
	wait_views($dbh, 'f', @$made, sort keys %fixed);
	my %copies = map { $_ => [take_copy($_)] } @views;
	my ($wrong, $replays, %seen) = ('', 0);
	my $ddl = sub { my ($sql) = @_; execute('postgres', "SET lock_timeout = '3 s'", $sql, 'RESET lock_timeout') };
	# a prepared transaction whose author a crash has taken would keep its locks
	my $orphans = sub { sleep 0.3; for (@{ psql('postgres')->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') }) { eval { execute('postgres', "ROLLBACK PREPARED '$_'") } } };
	my %events = (
		refresh => sub { execute('postgres', map { "SELECT tapdata.refresh_view('$_')" } pick(@views)) },
		truncate => sub { $ddl->('TRUNCATE f.' . pick(qw(t1 t2 t3 p1))) },
		retype => sub { $ddl->('ALTER TABLE f.' . pick(qw(t1 t2 t3 p1)) . ' ALTER COLUMN unused TYPE varchar(' . (100 + int rand 100) . ')') },
		'kill server' => sub { restart_server('immediate'); $orphans->() },
		'kill worker' => sub { my ($pid) = worker_pids(pick(qw(view capture))); kill 9, $pid if $pid; eventually(sub { psql("postgres")->do("SELECT 1") }, 10); eventually(sub { $orphans->(); 1 }, 10) },
		'turn off and on' => sub {
			my $view = pick(grep { @{ $copies{$_} } } @views);    # not twice in a row
			my $old = pick(@{ $copies{$view} });
			execute('postgres', "SELECT tapdata.alter_view('$view', '{\"changes\": false}')");
			sleep rand 0.2;
			execute('postgres', "SELECT tapdata.alter_view('$view', '{\"changes\": true}')");
			eventually(sub { psql('postgres')->do("SELECT tapdata.view_tick('$view')") }, 30);
			my ($state, $message) = sqlstate(psql('postgres'), "SELECT * FROM tapdata.changes('$view', $old->{tick})");
			$wrong .= "$view: turned off and on, position $old->{tick} is '$state'\n" if $state ne '55000' || $message !~ /are gone/;
			$copies{$view} = [] },
		nothing => sub { sleep rand 0.3 });
	my @kinds = ('refresh', 'refresh', 'truncate', 'retype', 'kill server', 'kill worker', 'turn off and on', 'nothing', 'nothing');
	for my $round (1 .. $rounds)
	{
		my $kind = $round <= @kinds ? $kinds[$round - 1] : pick(@kinds);
		$seen{$kind}++;
		my $done = eval { $events{$kind}->(); 1 };
		diag "round $round: $kind: $@" if !$done;
		for my $view (map { pick(@views) } 1 .. 6)
		{
			my @kept = @{ $copies{$view} };
			push @{ $copies{$view} }, eventually(sub { take_copy($view) }, 60) or next if @kept < 4;
			shift @{ $copies{$view} } if @kept >= 4 && rand() < 0.3;
			my $copy = pick(@{ $copies{$view} });
			my $tried = clone($copy);
			my $error = eventually(sub { $tried = clone($copy); my $r = eval { replay($view, $tried, rand() < 0.5 ? 1 + int rand 20 : undef) };
					defined $r ? [$r] : $@ =~ /^55000/ ? [$@] : die $@ }, 60);
			my $why = $error ? $error->[0] : "no answer: $@";
			if ($view eq 'f.lost' && $why =~ /are gone/) { @{ $copies{$view} } = grep { $_ != $copy } @{ $copies{$view} }; next }
			$wrong .= "round $round, after $kind: $why" if $why;
			@$copy{qw(tick rows)} = @$tried{qw(tick rows)} if rand() < 0.3;    # others stay behind
			$replays++;
		}
		last if $wrong;
	}
	is($wrong, '', "rows and changes since are the rows now ($replays replays; " . join(', ', map { "$seen{$_} x $_" } sort keys %seen) . ')');
	stop_churn(@writers);
	$dbh = psql('postgres');
	$orphans->();
	eventually(sub { wait_views($dbh, 'f', map { s/f\.//r } @views); 1 }, 90);
	is(inexact($dbh, 'f', map { s/f\.//r } @views), '', 'the views are exact');
	$wrong = '';
	for my $view (@views)
	{
		for my $copy (@{ $copies{$view} })
		{
			my $r = eval { replay($view, $copy) } // $@;
			$wrong .= $r unless $view eq 'f.lost' && $r =~ /are gone/;
		}
	}
	is($wrong, '', 'every copy ends as its view');
	is(rows('postgres', 'SELECT view, error FROM tapdata.views WHERE status <> $$streaming$$'), '', 'all stream');
	$dbh->do("SELECT tapdata.drop_view('$_')") for 'f.over', reverse map { "f.$_" } @$made;
	$dbh->do('DROP SCHEMA f CASCADE');
	is(value('postgres', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace}), 0, 'feeds go with their views');
	is(value('postgres', 'SELECT count(*) FROM tapdata.view_feed'), 0, 'and their numbers');
}

# ---- notices ----
execute('postgres', 'CREATE ROLE tc_reader LOGIN', 'CREATE ROLE tc_owner LOGIN', 'GRANT CREATE, USAGE ON SCHEMA public TO tc_owner', 'CREATE TABLE t (id int PRIMARY KEY, g int, v int)', 'CREATE TABLE u (a int)',
	'ALTER TABLE t OWNER TO tc_owner', 'ALTER TABLE u OWNER TO tc_owner', 'ALTER TABLE u REPLICA IDENTITY FULL');
{
	my $dbh = psql('postgres', user => 'tc_owner', fresh => 1);
	$dbh->do(q{SELECT tapdata.create_view('groups', 'SELECT g, sum(v) AS s FROM t GROUP BY g', '{"changes": true}')});
	$dbh->do(q{SELECT tapdata.create_view('"The ""bag"""', 'SELECT a FROM u', '{"changes": true}')});
	$dbh->do(q{SELECT tapdata.create_view('quiet', 'SELECT a FROM u')});
	$dbh->do("SELECT tapdata.wait_view('$_')") for 'groups', '"The ""bag"""', 'quiet';
	my $listener = psql('postgres', fresh => 1);
	my @heard;
	$listener->do('LISTEN tapdata_changes');
	my $listen = sub { while (my $n = $listener->pg_notifies) { push @heard, $n->[2] } return scalar @heard };
	for my $i (1 .. 200)
	{
		$dbh->do("INSERT INTO t VALUES ($i, $i % 3, $i)");
		$dbh->do("INSERT INTO u VALUES ($i % 5), ($i % 5)") if $i % 3 == 0;
		sleep 0.002;
		$listen->() if $i % 10 == 0;
	}
	$dbh->do('BEGIN'); $dbh->do('INSERT INTO t VALUES (1000, 0, 1)'); $dbh->do('ROLLBACK');
	$dbh->do("SELECT tapdata.wait_view('$_')") for 'groups', '"The ""bag"""';
	$dbh->do("SELECT tapdata.refresh_view('groups')");    # finds nothing: no tick
	$dbh->do("SELECT tapdata.wait_view('groups')");
	my $ticks = value('postgres', q{SELECT tapdata.view_tick('groups') + tapdata.view_tick('"The ""bag"""')});
	eventually(sub { $listen->() >= $ticks }, 5);
	my $rows = rows('postgres', q{SELECT v, tick FROM (SELECT DISTINCT 'public.groups' AS v, tick FROM tapdata.changes('groups') UNION SELECT DISTINCT 'public."The ""bag"""', tick
		FROM tapdata.changes('"The ""bag"""')) x ORDER BY 1, 2});
	my $told = join "\n", map { join '|', @$_ } @{ psql('postgres')->selectall_arrayref('SELECT j->>$$view$$, (j->>$$tick$$)::int FROM unnest($1::text[]) AS p(t), LATERAL (SELECT t::jsonb) AS q(j) ORDER BY 1, 2',
			undef, \@heard) };
	is($told, $rows, "a listener hears of every tick ($ticks)");
	ok($ticks > 20, 'which were many');

	@heard = ();
	my $before = value('postgres', q{SELECT tapdata.view_tick('groups')});
	$dbh->do('UPDATE t SET v = v + 1 WHERE id = 1');
	$dbh->do(q{SELECT tapdata.wait_view('groups')});
	is(value('postgres', q{SELECT tapdata.view_tick('groups')}), $before + 1, 'numbers grow by one');
	ok(eventually(sub { $listen->() == 1 }, 5), 'one notice each') or diag explain \@heard;

	# several ticks at once, weights, order
	is(rows('postgres', q{SELECT bool_and(weight > 0 AND weight % 2 = 0), count(*) > 0 FROM tapdata.changes('"The ""bag"""')}), '1|1', 'weight: two copies came each time');
	$dbh->do('DELETE FROM u WHERE a = 3');
	$dbh->do(q{SELECT tapdata.wait_view('"The ""bag"""')});
	is(rows('postgres', q{SELECT weight, "row" FROM tapdata.changes('"The ""bag"""', tapdata.view_tick('"The ""bag"""') - 1)}), (-value('postgres',
		q{SELECT sum(weight) FROM tapdata.changes('"The ""bag"""', 0) WHERE "row" = '{"a": 3}' AND weight > 0})) . '|{"a": 3}', 'all of them went');

	# a commit that notifies and waits for a standby that is not there keeps everybody else from notifying: ticks go on without
	execute('postgres', 'CREATE TABLE other (a int)', q(ALTER SYSTEM SET synchronous_standby_names = 'nobody'), 'SELECT pg_reload_conf()', 'SET synchronous_commit = local');
	$dbh->do('SET synchronous_commit = local');
	my $hung = fork() // die "fork: $!";
	if ($hung == 0) { eval { my $n = psql('postgres', fresh => 1); $n->do('SET synchronous_commit = on'); for (1 .. 300) { $n->do('BEGIN; NOTIFY other; INSERT INTO other VALUES (1); COMMIT'); sleep 0.02 } }; POSIX::_exit(0) }
	my $waits = eventually(sub { value('postgres', q(SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep')) }, 10);
	ok($waits, 'a commit that hangs');
	@heard = ();
	$before = value('postgres', q{SELECT tapdata.view_tick('groups')});
	my $start = time;
	for (1 .. 5) { $dbh->do('UPDATE t SET v = v + 1 WHERE id = 1'); $dbh->do(q{SELECT tapdata.wait_view('groups', '10 s')}) }
	cmp_ok(time - $start, '<', 4, 'holds a tick up for a second, the others not at all');
	is(value('postgres', q{SELECT tapdata.view_tick('groups')}), $before + 5, 'all of them are there');
	execute('postgres', 'ALTER SYSTEM RESET synchronous_standby_names', 'SELECT pg_reload_conf()');
	kill 'KILL', $hung;
	waitpid $hung, 0;
	ok(eventually(sub { $listen->() && grep { /groups.*: @{[$before + 5]}\}/ } @heard }, 10), 'their last one is told then, though nothing changes any more') or diag explain \@heard;
	execute('postgres', 'RESET synchronous_commit');
	$dbh->do('RESET synchronous_commit');
	$listener->disconnect;
}

# ---- paging ----
{
	my $dbh = psql('postgres');
	my ($since, $pages, @ticks) = (0, 0);
	while (my @page = @{ $dbh->selectall_arrayref("SELECT tick, weight FROM tapdata.changes('groups', $since, 3)") })
	{
		push @ticks, map { $_->[0] } @page;
		$since = $page[-1][0];
		$pages++;
	}
	is(join(' ', @ticks), join(' ', @{ $dbh->selectcol_arrayref("SELECT tick FROM tapdata.changes('groups')") }), "pages of whole ticks are all of it ($pages)");
}

# ---- turned on while ticks go on: no tick passes by ----
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my ($dbh, $stop) = (psql('postgres', user => 'tc_owner', fresh => 1), 0);
		$SIG{TERM} = sub { $stop = 1 };
		$dbh->do('UPDATE t SET v = v + 1 WHERE id % 20 = ' . int rand 20) until $stop;
		POSIX::_exit(0);
	}
	my ($wrong, $n) = ('', 0);
	for (1 .. 40)
	{
		execute('postgres', q{SELECT tapdata.alter_view('groups', '{"changes": null}')}, q{SELECT tapdata.alter_view('groups', '{"changes": true}')});
		my @copies = map { take_copy('groups') } 1 .. 5;
		sleep 0.02;
		$n += value('postgres', q{SELECT tapdata.view_tick('groups')}) > $copies[0]{tick};
		$wrong .= replay('groups', $_) for @copies;
		last if $wrong;
	}
	is($wrong, '', 'exact from the commit on that turns it on');
	cmp_ok($n, '>', 10, "while it changes ($n)");
	kill 'TERM', $pid;
	waitpid $pid, 0;
}

# ---- rights and errors ----
{
	my $dbh = psql('postgres');
	my $reader = psql('postgres', user => 'tc_reader', fresh => 1);
	my @errors = (
		[q{SELECT * FROM tapdata.changes('t')}, '42704', qr/"t" is not a live view.*tapdata\.views/s],
		[q{SELECT tapdata.view_tick('t')}, '42704', qr/not a live view/],
		[q{SELECT * FROM tapdata.changes('nope')}, '42P01', qr/nope/],
		[q{SELECT * FROM tapdata.changes(NULL)}, '22004', qr/view/],
		[q{SELECT * FROM tapdata.changes('quiet')}, '55000', qr/changes of view public\.quiet are not kept.*HINT:.*alter_view\('public\.quiet', '\{"changes": true\}'\)/s],
		[q{SELECT tapdata.view_tick('quiet')}, '55000', qr/are not kept/],
		[q{SELECT * FROM tapdata.changes('groups', 100000)}, '55000', qr/has had no tick 100000.*view_tick/s],
		[q{SELECT * FROM tapdata.changes('groups', -1)}, '22023', qr/"since" must be a tick/],
		[q{SELECT * FROM tapdata.changes('groups', NULL)}, '22023', qr/"since" must be a tick/],
		[q{SELECT * FROM tapdata.changes('groups', 0, 0)}, '22023', qr/"limit" must be 1 or more/],
		[q{SELECT tapdata.alter_view('groups', '{"writable": true}')}, '22023', qr/exclude each other/],
		[q{SELECT tapdata.create_view('w', 'SELECT a FROM u', '{"changes": true, "writable": true}')}, '22023', qr/exclude each other/],
		[q{SELECT tapdata.alter_view('groups', '{"changes": "maybe"}')}, '22023', qr/true or false/],
		[q{SELECT tapdata.alter_view('groups', '{"changes_kept": "1 month"}')}, '22023', qr/from 0 to 36500 days/],
		[q{SELECT tapdata.alter_view('groups', '{"changes_kept": "-1 day"}')}, '22023', qr/from 0 to 36500 days/],
		[q{SELECT tapdata.alter_view('groups', '{"changes_kep": "1 day"}')}, '22023', qr/changes_kept/]);
	for (@errors) { my ($state, $message) = sqlstate($dbh, $_->[0]); ok($state eq $_->[1] && $message =~ $_->[2], "$_->[0]: $_->[1]") or diag "$state $message" }
	for my $call (q{SELECT * FROM tapdata.changes('groups')}, q{SELECT tapdata.view_tick('groups')}) { is((sqlstate($reader, $call))[0], '42501', "no SELECT on the view: $call") }
	$dbh->do('GRANT SELECT (g) ON groups TO tc_reader');
	is((sqlstate($reader, q{SELECT * FROM tapdata.changes('groups')}))[0], '42501', 'nor with SELECT on a column');
	$dbh->do('GRANT SELECT ON groups TO tc_reader');
	is(try_do($reader, q{SELECT * FROM tapdata.changes('groups', tapdata.view_tick('groups'))}), '', 'SELECT on the view is enough');
	is((sqlstate($reader, 'SELECT * FROM tapdata_state.v' . value('postgres', q{SELECT id FROM tapdata.view WHERE relation = 'groups'::regclass}) . '_c'))[0], '42501', 'not on its table');
	is((sqlstate($reader, q{SELECT tapdata.alter_view('groups', '{"changes": false}')}))[0], '42501', 'nor to turn it off');
	$dbh->do('ALTER TABLE groups ENABLE ROW LEVEL SECURITY');
	like(join(' ', sqlstate($reader, q{SELECT * FROM tapdata.changes('groups')})), qr/^42501 .*row-level security/s, 'row-level security on the view');
	$dbh->do('ALTER TABLE groups DISABLE ROW LEVEL SECURITY');
	$dbh->do('GRANT SELECT ON t TO tc_reader');    # a tick may come while it is the owner
	$dbh->do('ALTER TABLE groups OWNER TO tc_reader');
	$dbh->do('REVOKE SELECT ON groups FROM tc_owner');
	my $owner = psql('postgres', user => 'tc_owner', fresh => 1);
	is((sqlstate($owner, q{SELECT * FROM tapdata.changes('groups')}))[0], '42501', 'a new owner: rights are asked for at each call');
	$dbh->do('ALTER TABLE groups OWNER TO tc_owner');
	is(try_do($reader, q{BEGIN READ ONLY; SELECT * FROM tapdata.changes('"The ""bag"""'); COMMIT}) =~ /^42501/ ? 1 : 0, 1, 'each view has its own');

	# a view that can't be filled yet has no position
	$dbh->do('CREATE TABLE slow (id int PRIMARY KEY)');
	$dbh->do('BEGIN');
	$dbh->do(q{SELECT tapdata.create_view('waits', 'SELECT id FROM slow', '{"changes": true}')});
	my ($state, $message) = sqlstate($dbh, q{SELECT tapdata.view_tick('waits')});
	ok($state eq '55000' && $message =~ /not filled yet.*wait_view/s, 'not filled yet') or diag "$state $message";
	$dbh->do('ROLLBACK');
	$dbh->do(q{SELECT tapdata.create_view('waits', 'SELECT id FROM slow', '{"changes": true}')});
	$dbh->do(q{SELECT tapdata.wait_view('waits')});
	is(value('postgres', q{SELECT tapdata.view_tick('waits')}), 0, 'position 0: filled');
	is(rows('postgres', q{SELECT changes, changes_tick, changes_from FROM tapdata.views WHERE view = 'waits'::regclass}), '1|0|0', 'tapdata.views says so');
	is(rows('postgres', q{SELECT changes, changes_tick IS NULL, changes_from IS NULL FROM tapdata.views WHERE view = 'quiet'::regclass}), '0|1|1', 'and what has no feed');
	$_->disconnect for $reader, $owner;
}

# ---- a view that becomes empty, and is refreshed then ----
{
	my $copy = take_copy('waits');
	execute('postgres', 'INSERT INTO slow SELECT generate_series(1, 20)', q{SELECT tapdata.wait_view('waits')});
	is(replay('waits', $copy), '', 'filled by a tick');
	execute('postgres', 'DELETE FROM slow', q{SELECT tapdata.wait_view('waits')});
	is(replay('waits', $copy), '', 'empty');
	my $dbh = psql('postgres');
	$dbh->do(q{SELECT tapdata.refresh_view('waits')});
	$dbh->do('INSERT INTO slow SELECT generate_series(1, 50)');    # may come by the refresh or by the tick after it
	$dbh->do(q{SELECT tapdata.wait_view('waits')});
	is(replay('waits', $copy), '', 'refreshed while it was empty');
}

# ---- retention ----
{
	my $dbh = psql('postgres');
	my $old = take_copy('groups');
	$dbh->do('UPDATE t SET v = v + 1 WHERE id % 10 = ' . $_) for 1 .. 5;
	$dbh->do(q{SELECT tapdata.wait_view('groups')});
	$dbh->do(q{SELECT tapdata.alter_view('groups', '{"changes_kept": "1 s"}')});
	ok(eventually(sub { (sqlstate($dbh, "SELECT * FROM tapdata.changes('groups', $old->{tick})"))[0] eq '55000' }, 10), 'changes go, of an idle view too');
	my (undef, $message) = sqlstate($dbh, "SELECT * FROM tapdata.changes('groups', $old->{tick})");
	like($message, qr/changes of view public\.groups before tick \d+ are gone.*HINT:.*view_tick\('public\.groups'\)/s, 'and the error says where to go on');
	my $now = take_copy('groups');
	is(value('postgres', q{SELECT changes_from FROM tapdata.views WHERE view = 'groups'::regclass}), $now->{tick}, 'all of them');
	is(replay('groups', $now), '', 'from where the view is one can always go on');
	my $view = value('postgres', q{SELECT id FROM tapdata.view WHERE relation = 'groups'::regclass});
	is(value('postgres', "SELECT count(*) FROM tapdata_state.v${view}_c"), 0, 'its table is empty');
	my ($good, $gone, $end, $copy) = (0, 0, time + 5, take_copy('groups'));
	my $i = 0;
	while (time < $end)    # pruned while it is written and read
	{
		$dbh->do('UPDATE t SET v = v + 1 WHERE id % 50 = ' . (++$i % 50));
		my $tried = clone($copy);
		my $r = eval { replay('groups', $tried) } // $@;
		if ($r eq '') { $good++ } elsif ($r =~ /are gone/) { $gone++; $copy = take_copy('groups') } else { fail("while pruned: $r"); last }
	}
	ok($good > 10 && $gone > 0, "exact, or an error ($good and $gone)");
	$dbh->do(q{SELECT tapdata.alter_view('groups', '{"changes_kept": null}')});
}

# ---- retention while an old snapshot is held: what was deleted stays in the index, and is not read again and again ----
{
	my $dbh = psql('postgres');
	my $old = psql('postgres', fresh => 1);
	execute('postgres', 'CREATE TABLE churn (id int PRIMARY KEY, v int)', 'INSERT INTO churn SELECT i, 0 FROM generate_series(1, 100) i', q{SELECT tapdata.create_view('churned', 'SELECT id, v FROM churn', '{"changes": true}')},
		q{SELECT tapdata.wait_view('churned')});
	$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$old->selectrow_array('SELECT count(*) FROM churn');
	for (1 .. 200) { $dbh->do('UPDATE churn SET v = v + 1'); $dbh->do(q{SELECT tapdata.wait_view('churned')}) }
	my ($feed, $ticks) = $dbh->selectrow_array(q{SELECT 'tapdata_state.v' || id || '_c', tapdata.view_tick('churned') FROM tapdata.view WHERE relation = 'churned'::regclass});
	my $rows = value('postgres', "SELECT count(*) FROM $feed");
	my $read = sub { value('postgres', 'SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relid = ?::regclass', $feed) };
	my $before = $read->();
	$dbh->do(q{SELECT tapdata.alter_view('churned', '{"changes_kept": "0"}')});
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM $feed") == 0 }, 60), "$rows rows of $ticks ticks go");
	eventually(sub { $read->() - $before >= $rows }, 20);
	sleep 2;    # statistics come late
	cmp_ok($read->() - $before, '<', 4 * $rows, 'each is read a few times at most');
	$old->do('ROLLBACK');
	$old->disconnect;
	my $copy = take_copy('churned');
	execute('postgres', 'DELETE FROM churn WHERE id < 50', q{SELECT tapdata.wait_view('churned')});
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM $feed") == 0 }, 20), 'what comes later goes, too');
	is((sqlstate($dbh, "SELECT * FROM tapdata.changes('churned', $copy->{tick})"))[0], '55000', 'and is gone');
	execute('postgres', q{SELECT tapdata.drop_view('churned')}, 'DROP TABLE churn');
}

# ---- a tick that was seen just before a crash is not taken back: the next changes would go into another one of its number ----
for my $round (1 .. 3)
{
	my $old = value('postgres', q{SELECT tapdata.view_tick('groups')});
	execute('postgres', 'SET synchronous_commit = on', "UPDATE t SET v = v + $round WHERE id = 1");
	eventually(sub { value('postgres', q{SELECT tapdata.view_tick('groups')}) > $old }, 10);
	my $copy = take_copy('groups');
	restart_server('immediate');
	execute('postgres', "UPDATE t SET v = v + $round WHERE id = 2", q{SELECT tapdata.wait_view('groups')});
	is(eval { replay('groups', $copy) } // $@, '', "a crash right after a tick was seen, round $round");
}

# ---- dump and restore ----
{
	my $dir = File::Temp->newdir;
	chmod 0755, "$dir";
	local @ENV{qw(PGHOST PGPORT PGUSER PGPASSWORD)} = @$env{qw(PGHOST PGPORT PGUSER PGPASSWORD)};
	my $copy = take_copy('groups');
	execute('postgres', 'UPDATE t SET v = v + 7 WHERE id < 20', q{SELECT tapdata.wait_view('groups')}, 'CREATE DATABASE dst');
	is(system("$env->{TD_PG_BIN}/pg_dump", '-Fc', '-f', "$dir/dump", 'postgres'), 0, 'pg_dump');
	is(system("$env->{TD_PG_BIN}/pg_restore", '--exit-on-error', '-d', 'dst', "$dir/dump"), 0, 'pg_restore');
	my $dst = psql('dst');
	execute('dst', 'INSERT INTO t VALUES (5000, 1, 1)', 'SELECT tapdata.adopt_database()');
	ok(eventually(sub { $dst->do("SELECT tapdata.wait_view('groups', '30 s')") }, 40), 'adopted');
	my $wrong = apply($dst, 'groups', $copy) . bags_differ($copy->{rows}, bag($dst, 'groups'));
	is($wrong, '', 'a copy of the original goes on in the restored database');
	$dst->do(q{SELECT tapdata.alter_view('groups', '{"changes": null}')});
	is(value('dst', q{SELECT changes FROM tapdata.views WHERE view = 'groups'::regclass}), 0, 'and it can be turned off there');
	is(value('dst', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace AND relname ~ '_c$'}), 2, 'its table is gone');
	execute('dst', q{SELECT tapdata.drop_view('"The ""bag"""')});
	is(value('dst', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace AND relname ~ '_c$'}), 1, 'and goes with the view');
}
finish();
done_testing();
