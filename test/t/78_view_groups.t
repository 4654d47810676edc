# Groups of views: each has its own slot and workers, none waits for another, one without views leaves nothing behind, and a view that
# takes more of each tick than its group has time for is named.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use POSIX ();
use Time::HiRes qw(time);

my $pg = start_server('groups', 'max_worker_processes = 32', 'max_replication_slots = 10');
# The gate: a function that waits, in the tick, for as long as somebody holds advisory lock 7; the brake: one that takes its time.
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE a (id int PRIMARY KEY, g int, v int)', 'CREATE TABLE b (g int PRIMARY KEY, name text)',
	'INSERT INTO b SELECT g, g FROM generate_series(0, 4) g',
	q{CREATE FUNCTION gate(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN WHILE NOT pg_try_advisory_lock_shared(7) LOOP PERFORM pg_sleep(0.01); END LOOP; PERFORM pg_advisory_unlock_shared(7); RETURN x; END'},
	q{CREATE FUNCTION brake(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_sleep(0.05); RETURN x; END'});
my $plain = 'SELECT a.g, b.name, count(*) AS n, sum(a.v) AS s FROM a JOIN b USING (g) GROUP BY a.g, b.name';
my %query = (fast => $plain, twin => $plain, slow => 'SELECT gate(a.g) AS g, count(*) AS n FROM a JOIN b USING (g) GROUP BY 1');
my $n = 0;

sub create { my ($name, $query, $options) = @_; $query{$name} = $query; execute('postgres', "SELECT tapdata.create_view('$name', \$\$$query\$\$, '$options')"); return }
sub add { $n++; execute('postgres', "INSERT INTO a VALUES ($n, $n % 5, $n)"); return }
sub wait_for { my (@names) = @_; return join '', map { try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '20 s')") } @names }
sub exact
{
	my ($what, @names) = @_;
	my $said = wait_for(@names) . join '', map { value('postgres',
		"SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } @names;
	return is($said, '', $what);
}
sub view { my ($name, $column) = @_; return value('postgres', "SELECT $column FROM tapdata.views WHERE view = ?::regclass", $name) // '' }
sub traces { return rows('postgres', "SELECT count(*), string_agg(split_part(name, '_', 3), ' ' ORDER BY name) FROM (
	SELECT slot_name FROM pg_replication_slots UNION ALL SELECT roname FROM pg_replication_origin) x(name) WHERE name ~ '^tapdata_'") }
sub names { return rows('postgres', 'SELECT g.name FROM tapdata.view_group g ORDER BY 1') =~ s/\n/ /gr }
sub ticks { my ($group) = @_; return value('postgres', 'SELECT s.ticks FROM tapdata.group_state s JOIN tapdata.view_group g ON g.id = s.view_group WHERE g.name = ?', $group) }

# ---- two groups ----
add() for 1 .. 10;
create('fast', $query{fast}, '{"group": "quick"}');
create('twin', $query{twin}, '{"group": "quick"}');
create('slow', $query{slow}, '{"group": "careful one", "max_lag": "1 s"}');
exact('views of two groups over the same tables', 'fast', 'twin', 'slow');
is(workers(), 'capture postgres careful one, capture postgres quick, supervisor postgres, view postgres careful one, view postgres quick', 'each with its own workers');
like(traces(), qr/^7\|/, 'its own slot and origins');
is(rows('postgres', 'SELECT name, max_lag FROM tapdata.view_group ORDER BY 1'), "careful one|00:00:01\nquick|00:00:00.01", 'and its own pace');
is(view('fast', 'snapshot'), view('twin', 'snapshot'), 'views of a group are at one snapshot');
like(try_do(psql('postgres'), q{SELECT tapdata.create_view('above', 'SELECT count(*) AS n FROM fast', '{"group": "careful one"}')}),
	qr/^0A000 .*can't read one of another group.*belongs to group "quick".*"group": "quick"/s, 'a view can not read one of another group');
like(try_do(psql('postgres'), q{SELECT tapdata.alter_view('fast', '{"group": "careful one"}')}), qr/^22023 .*can't be changed/, 'nor move to another group');

# ---- one that is held up does not hold up the other ----
{
	my $gate = psql('postgres', fresh => 1);
	$gate->do('SELECT pg_advisory_lock(7)');
	add();
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tapdata view' AND wait_event = 'PgSleep'") }), 'a tick of one group is stuck');
	for (1 .. 5) { add(); exact("the other goes on, round $_", 'fast', 'twin') }
	like(try_do(psql('postgres'), "SELECT tapdata.wait_view('slow', '300 ms')"), qr/^57014 /, 'the one is still stuck');
	create('late', 'SELECT g, max(v) AS m FROM a GROUP BY g', '{"group": "quick"}');
	exact('a view is added to the other and filled', 'late');
	my ($view) = value('postgres', "SELECT pid FROM tapdata.workers WHERE kind = 'view' AND object = 'quick'");
	value('postgres', 'SELECT pg_terminate_backend(?)', $view);
	add();
	exact('its worker is started again', 'fast', 'late');
	execute('postgres', "SELECT tapdata.drop_view('late')");
	$gate->disconnect;
	exact('until the one goes on', 'slow');
}

# ---- killed ----
for my $group ('quick', 'careful one')
{
	for my $kind (qw(view capture))
	{
		my $of = 'SELECT pid FROM tapdata.workers WHERE kind = ? AND object = ?';
		my $pid = value('postgres', $of, $kind, $group);
		kill 9, $pid;
		ok(eventually(sub { my $now = value('postgres', $of, $kind, $group); $now && $now != $pid }, 60), "$kind worker of \"$group\" killed: there again");
		add();
		exact('and both groups are exact', 'fast', 'twin', 'slow');
	}
}
is(value('postgres', 'SELECT count(*) FROM tapdata.views WHERE NOT exact'), 0, 'and say so');

# ---- the last view takes its group along ----
{
	my $before = traces();
	create('alone', 'SELECT count(*) AS n FROM a', '{"group": "for a while"}');
	exact('a third group', 'alone');
	like(traces(), qr/^10\|/, 'has a slot and origins');
	execute('postgres', "SELECT tapdata.drop_view('alone')");
	ok(eventually(sub { names() eq 'careful one quick' && traces() eq $before }), 'the last view of a group takes slot, origins and group along');
	ok(eventually(sub { workers() !~ /while/ }), 'and its workers');
	is(value('postgres', "SELECT count(*) FROM tapdata.worker_start w WHERE NOT EXISTS (SELECT FROM tapdata.view_group g WHERE g.id = w.object)"), 0, 'nothing is left of it');

	# somebody makes a view in it meanwhile
	create('first', 'SELECT count(*) AS n FROM a', '{"group": "for a while"}');
	exact('the group can begin again', 'first');
	my $maker = psql('postgres', fresh => 1);
	$maker->begin_work;
	$maker->do(q{SELECT tapdata.create_view('second', 'SELECT count(*) AS n, min(v) AS m FROM a', '{"group": "for a while"}')});
	execute('postgres', "SELECT tapdata.drop_view('first')");
	ok(eventually(sub { workers() !~ /while/ }), 'without views its workers end');
	ok(quiet(0.5, sub { names() =~ /while/ }), 'a group that somebody makes a view in stays');
	$maker->commit;
	$query{second} = 'SELECT count(*) AS n, min(v) AS m FROM a';
	exact('and has it', 'second');
	for my $round (1 .. 5)    # dropped and made at once: either order works
	{
		my $error = '';
		$maker->do("SELECT tapdata.drop_view('second')");
		$error = try_do($maker, "SELECT tapdata.create_view('second', '$query{second}', '{\"group\": \"for a while\"}')");
		is($error, '', "made anew while it goes, round $round");
		select undef, undef, undef, 0.05 * $round;
	}
	add();
	exact('exact', 'second');
	$maker->do("SELECT tapdata.drop_view('second')");
	$maker->disconnect;
	ok(eventually(sub { names() eq 'careful one quick' && traces() eq $before }), 'gone');
}

# ---- max_lag: how far apart ticks may be that take their time ----
{
	execute('postgres', "SELECT tapdata.drop_view('slow')");
	create('pressed', 'SELECT id, brake(v) AS v FROM a', '{"group": "pressed"}');
	create('relaxed', 'SELECT id, brake(v) AS v FROM a', '{"group": "relaxed", "max_lag": "1 s"}');
	exact('two groups that differ in max_lag alone', 'pressed', 'relaxed');
	my @before = (ticks('pressed'), ticks('relaxed'));
	my $end = time + 4;
	while (time < $end) { execute('postgres', 'UPDATE a SET v = v + 1 WHERE id = 1'); select undef, undef, undef, 0.01 }
	my ($pressed, $relaxed) = (ticks('pressed') - $before[0], ticks('relaxed') - $before[1]);
	cmp_ok($pressed, '>', 1.5 * $relaxed, "ticks in the same time: $pressed with 10 ms, $relaxed with 1 s");
	cmp_ok($relaxed, '>=', 2, 'which is no more than a second apart');
	exact('and both are exact', 'pressed', 'relaxed');
}

# ---- a view that outruns its group's budget ----
{
	my $busy = sub { my ($s, $until) = @_; my $end = time + $s;
		while (time < $end && !$until->()) { for (1 .. 10) { execute('postgres', 'UPDATE a SET v = v + 1, g = (g + 1) % 5 WHERE id = 1'); select undef, undef, undef, 0.01 } }
		return $until->() };
	is(rows('postgres', 'SELECT view, slow_ms FROM tapdata.views WHERE slow_ms IS NOT NULL'), '', 'a view that is alone in its group holds nobody up');
	create('behind', 'SELECT g, sum(v) AS s FROM a GROUP BY g', '{"group": "pressed"}');
	exact('a view joins it', 'behind');
	ok($busy->(40, sub { view('pressed', 'slow_ms') ne '' }), 'a view that takes too much of each tick is named');
	is(view('behind', 'slow_ms') . view('relaxed', 'slow_ms'), '', 'the others are not');
	cmp_ok(view('pressed', 'slow_ms'), '>', 40, 'with what it takes');
	like(rows('postgres', "SELECT level, object, message, hint FROM tapdata.log WHERE message LIKE '%of each tick%'"),
		qr/^warning\|public\.pressed\|the view takes \d+ ms of each tick of group "pressed", whose max_lag is 10 ms\|.*"group".*public\.pressed.*$/, 'the log says so once, with what to do');
	like(rows('postgres', "SELECT ok, detail, fix FROM tapdata.doctor() WHERE item = 'slow views'"), qr/^0\|.*pressed takes \d+ ms of each tick of group pressed\|.*group/, 'and doctor()');
	execute('postgres', q{SELECT tapdata.alter_view('behind', '{"max_lag": "2 s"}')});
	ok($busy->(60, sub { view('pressed', 'slow_ms') eq '' }), 'with more time it is in order');
	is(value('postgres', "SELECT ok FROM tapdata.doctor() WHERE item = 'slow views'"), 1, 'doctor() agrees');
	is(value('postgres', "SELECT count(*) FROM tapdata.log WHERE message LIKE '%does not hold up its group any more'"), 1, 'and so does the log');
	exact('exact all the time', 'pressed', 'behind', 'relaxed');

	# a view with hidden parts is one: its parts are no company, and it is named for them
	create('made_of_parts', 'SELECT n, count(*) AS c FROM (SELECT brake(g) AS g, count(*) AS n FROM a GROUP BY 1) x GROUP BY n', '{"group": "parts"}');
	exact('a view with a part', 'made_of_parts');
	is(value('postgres', q{SELECT count(*) FROM tapdata.view WHERE part_of IS NOT NULL}), 1, 'which is hidden');
	ok(!$busy->(13, sub { value('postgres', 'SELECT count(*) FROM tapdata.view_state WHERE slow_ms IS NOT NULL') }), 'alone in its group it holds nobody up');
	create('beside', 'SELECT g, sum(v) AS s FROM a GROUP BY g', '{"group": "parts"}');
	exact('a view joins it', 'beside');
	ok($busy->(40, sub { view('made_of_parts', 'slow_ms') ne '' }), 'then it is named');
	is(value('postgres', 'SELECT count(*) FROM tapdata.view_state WHERE slow_ms IS NOT NULL'), 1, 'and its part is not');
	like(value('postgres', "SELECT hint FROM tapdata.log WHERE message LIKE '%\"parts\"%'"), qr/public\.made_of_parts/, 'nor in the log');

	# what doctor() says is to be done
	my ($look) = value('postgres', "SELECT fix FROM tapdata.doctor() WHERE item = 'slow views'") =~ /^(SELECT .*?);/;
	my ($name, $definition) = psql('postgres')->selectrow_array($look);
	is($name, 'made_of_parts', 'doctor() gives its query');
	execute('postgres', 'BEGIN', "SELECT tapdata.drop_view('$name')", "SELECT tapdata.create_view('$name', \$\$$definition\$\$, '{\"group\": \"its_own\"}')", 'COMMIT');
	exact('and the view is in a group of its own', 'made_of_parts', 'beside');
	is(view('made_of_parts', 'group_name'), 'its_own', 'which has that name');

	# a machine that is saturated is no view's fault
	execute('postgres', 'CREATE TABLE many (id int PRIMARY KEY, g int, v int)', 'ALTER TABLE many REPLICA IDENTITY FULL', 'INSERT INTO many SELECT i, i % 7, i FROM generate_series(1, 1000) i');
	create($_, "SELECT g, count(*) AS n, sum(v) AS s FROM many WHERE v <> length('$_') GROUP BY g", '{"group": "parts"}') for qw(cheap_one cheap_two);
	exact('two views that take little', 'cheap_one', 'cheap_two');
	my $hours = time + 15;
	my @busy = map { my $pid = fork() // die "fork: $!"; if (!$pid) { POSIX::setsid(); 1 while time < $hours; POSIX::_exit(0) } $pid } 1 .. 8;
	my $named = '';
	while (time < $hours - 1 && $named eq '')
	{
		execute('postgres', 'UPDATE many SET v = v + 1') for 1 .. 5;
		$named = rows('postgres', q{SELECT view, slow_ms FROM tapdata.views WHERE group_name = 'parts' AND slow_ms IS NOT NULL});
	}
	is($named, '', 'on a machine that others saturate neither is named');
	waitpid $_, 0 for @busy;
	exact('and both are exact', 'cheap_one', 'cheap_two');
	is(value('postgres', "SELECT ok FROM tapdata.doctor() WHERE item = 'slow views'"), 1, 'doctor() is content');
}
open my $f, '<', "$pg->{TD_PG_DATA}/../log/server.log" or die;
my @bad = grep { /PANIC|TRAP|leak|still active|could not remove|violates foreign key/ } <$f>;
is("@bad", '', 'the log is clean');
finish();
done_testing();
