# What holds live views up or misses their tick: partitions that were away, unlogged tables after a crash, locks that are held
# for long, new owners, tables that are joined with themselves many times.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use DBD::Pg qw(:async);
use TdProcs;
use Time::HiRes qw(time);

start_server('stalls', 'max_prepared_transactions = 10', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'SET synchronous_commit = local',
	'CREATE TABLE ta (id int PRIMARY KEY, g int, v int)', 'CREATE TABLE tb (id int PRIMARY KEY, name text)', 'CREATE TABLE tc (id int PRIMARY KEY, v int)',
	'INSERT INTO ta SELECT i, i % 10, i FROM generate_series(1, 100) i', 'INSERT INTO tb SELECT i, i FROM generate_series(0, 9) i', 'INSERT INTO tc SELECT i, i FROM generate_series(1, 100) i');
my %query;

sub create { my ($name, $query, $options) = @_; $query{$name} = $query; execute('postgres', "SELECT tapdata.create_view('$name', \$\$$query\$\$, '" . ($options // '{}') . "')"); return }
sub wait_for { my (@names) = @_; return join '', map { try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '15 s')") } @names }
sub plain { my (@names) = @_; return join '', map { value('postgres',
	"SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } @names }
sub exact { my ($what, @names) = @_; is(wait_for(@names) . plain(@names), '', $what); return }
sub view { my ($name, $column) = @_; return value('postgres', "SELECT $column FROM tapdata.views WHERE view = ?::regclass", $name) // '' }

# ---- a partition that was away ----
{
	execute('postgres', 'CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)', 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)',
		'INSERT INTO p SELECT i, i FROM generate_series(0, 9) i');
	create('of_p', 'SELECT count(*) AS n, sum(v) AS s FROM p');
	exact('a view of a partitioned table', 'of_p');
	execute('postgres', 'BEGIN', 'ALTER TABLE p DETACH PARTITION p1', 'UPDATE p1 SET v = 9', 'ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)', 'COMMIT');
	exact('written to while it was detached, in one transaction', 'of_p');
	execute('postgres', 'ALTER TABLE p DETACH PARTITION p1', 'UPDATE p1 SET v = 4', 'ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)');
	exact('and in three', 'of_p');
}

# ---- an error while check_view locks what it reads ----
{
	my ($dbh, $other) = map { psql('postgres', fresh => 1) } 1 .. 2;
	$other->begin_work;
	$other->do('LOCK p1');
	$dbh->do("SET lock_timeout = '300ms'");
	like(try_do($dbh, "SELECT * FROM tapdata.check_view('of_p')"), qr/^55P03/, 'check_view meets a lock');
	is(try_do($dbh, 'SELECT 1'), '', 'and leaves its session in no transaction');
	$other->rollback;
	is(try_do($dbh, "SELECT * FROM tapdata.check_view('of_p')"), '', 'which can check again');
}

# ---- a worker that is away for a moment, and one that meets an ordinary error before there are ticks ----
{
	my ($holder, $checker) = map { psql('postgres', fresh => 1) } 1 .. 2;
	my ($pid) = worker_pids('view');
	# without these rows nobody starts another one
	$holder->begin_work;
	$holder->do('SELECT FROM tapdata.view_group FOR UPDATE');
	kill 'TERM', $pid;
	ok(eventually(sub { !worker_pids('view') }), 'no worker runs');
	my $check = $checker->prepare("SELECT * FROM tapdata.check_view('of_p')", { pg_async => PG_ASYNC });
	$check->execute;
	ok(!eventually(sub { $checker->pg_ready }, 1), 'check_view waits for the next one');
	$holder->rollback;
	is(eval { $checker->pg_result; join ' ', map { @$_ } @{ $check->fetchall_arrayref } } // $@, '', 'and finds nothing');

	ok(eventually(sub { ($pid) = worker_pids('view') }), 'it is there');
	exact('and works', 'of_p');
	$holder->begin_work;
	$holder->do('SELECT FROM tapdata.group_state FOR UPDATE');
	kill 'TERM', worker_pids('capture');
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND wait_event_type = 'Lock'") }), 'a worker waits to say that it begins');
	ok(eventually(sub { !value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND wait_event_type = 'Lock'") }), 'in vain');
	$holder->rollback;
	execute('postgres', 'UPDATE p SET v = v + 1');
	exact('it begins once more', 'of_p');
	is(join(' ', worker_pids('view')), $pid, 'and has not ended');
}

# ---- whoever locks what a view is made of, one thing after the other, is never the one that a deadlock ends ----
{
	my ($dbh, $other) = map { psql('postgres', fresh => 1) } 1 .. 2;
	execute('postgres', 'CREATE TABLE dl (id int PRIMARY KEY, v numeric)', 'INSERT INTO dl SELECT i, i FROM generate_series(1, 300) i', 'CREATE VIEW dl_one AS SELECT id % 7 AS k, v FROM dl', 'CREATE VIEW dl_two AS SELECT * FROM dl_one');
	create('of_dl', 'SELECT k, sum(v) AS v FROM dl_two GROUP BY k');
	create('over_dl', 'SELECT count(*) AS n, sum(v) AS v FROM of_dl');
	exact('views over views', 'of_dl', 'over_dl');
	create('sums_dl', 'SELECT id % 7 AS k, sum(v) AS v FROM dl GROUP BY 1');
	exact('groups', 'sums_dl');
	my ($state) = map { "tapdata_state.v${_}_1" } value('postgres', "SELECT id FROM tapdata.view WHERE relation = 'sums_dl'::regclass");
	$dbh->do("SET deadlock_timeout = '5ms'");
	my %lost;
	for my $round (1 .. 240)
	{
		my ($first, @then) = @{ [['dl', 'of_dl', 'over_dl'], ['dl_one', 'tapdata_views.of_dl', 'of_dl'], [$state, 'sums_dl', 'dl'], ['dl_two', 'dl_one', 'dl'], ['of_dl', 'over_dl', 'dl'], ['tapdata_views.of_dl', 'of_dl', 'over_dl']]->[$round % 6] };
		$other->do("SELECT tapdata.refresh_view('@{[$round % 6 == 2 ? 'sums_dl' : 'of_dl']}')");
		select undef, undef, undef, rand 0.03;
		$dbh->begin_work;
		my $error = '';
		for my $one ($first, @then)
		{
			$error ||= try_do($dbh, "LOCK TABLE $one IN ACCESS EXCLUSIVE MODE");
			select undef, undef, undef, rand 0.01;
		}
		$lost{$error =~ /^(\w+ .*)/ ? $1 : $error}++ if $error;
		$dbh->rollback;
	}
	is(join(', ', map { "$lost{$_} x $_" } sort keys %lost), '', 'no deadlock of theirs');
	exact('views as they should be', 'of_dl', 'over_dl', 'sums_dl');
}

# ---- table and view get a new owner at once ----
{
	execute('postgres', 'CREATE ROLE old_owner LOGIN', 'CREATE ROLE new_owner LOGIN', 'GRANT CREATE, USAGE ON SCHEMA public TO old_owner, new_owner',
		'CREATE TABLE owned (id int PRIMARY KEY, v int)', 'ALTER TABLE owned OWNER TO old_owner');
	my $dbh = psql('postgres');
	$dbh->do('SET SESSION AUTHORIZATION old_owner');
	create('of_owned', 'SELECT id, v FROM owned WHERE v > 0');
	$dbh->do('RESET SESSION AUTHORIZATION');
	exact('a view of somebody', 'of_owned');
	for my $round (1 .. 3)
	{
		execute('postgres', 'BEGIN', 'REASSIGN OWNED BY old_owner TO new_owner', "INSERT INTO owned VALUES ($round, 1)", 'COMMIT');
		exact("new owners, round $round", 'of_owned');
		is(view('of_owned', 'status'), 'streaming', "which did not stop the view, round $round");
		execute('postgres', 'BEGIN', 'REASSIGN OWNED BY new_owner TO old_owner', "INSERT INTO owned VALUES (10 + $round, 1)", 'COMMIT');
		exact("and back, round $round", 'of_owned');
	}
}

# ---- many occurrences of one table ----
{
	create('self', 'SELECT r1.id, r12.v FROM tc r1 ' . join(' ', map { "JOIN tc r$_ ON r$_.id = r" . ($_ - 1) . '.id' } 2 .. 12));
	exact('a table joined with itself', 'self');
	my $start = time;
	execute('postgres', 'UPDATE tc SET v = v + 1 WHERE id <= 50');
	exact('changed', 'self');
	cmp_ok(time - $start, '<', 1.5, 'without the terms of all its subsets');
	execute('postgres', "SELECT tapdata.drop_view('self')");
}

# ---- a lock that is held for long ----
{
	create('joined', 'SELECT tb.id, tb.name, tc.v FROM tb JOIN tc ON tc.id = tb.id');
	create('above_joined', 'SELECT count(*) AS n, sum(v) AS s FROM joined');
	create('other', 'SELECT g, sum(v) AS s FROM ta GROUP BY g');
	exact('before the lock', 'joined', 'above_joined', 'other');
	my $holder = psql('postgres', fresh => 1);
	for my $way ('session', 'prepared transaction')
	{
		$holder->do('BEGIN'); $holder->do('LOCK TABLE tc');
		my $pid = $holder->{pg_pid};
		$holder->do(q(PREPARE TRANSACTION 'holds')) if $way ne 'session';
		execute('postgres', "UPDATE tb SET name = name || 'x'", 'UPDATE ta SET v = v + 1');
		exact("$way: others go on", 'other');
		is(view('joined', 'status') . ' ' . view('joined', 'sqlstate'), 'snapshot 55P03', "$way: the view is set aside");
		like(view('joined', 'error'), $way eq 'session' ? qr/^relation public\.tc is locked by process $pid$/ : qr/^relation public\.tc is locked by a prepared transaction$/, "$way: and says why");
		is(view('above_joined', 'status'), 'snapshot', "$way: and the one above it");
		create("new_$pid", 'SELECT id, name FROM tb') if $way eq 'session';
		exact("$way: others are filled", "new_$pid") if $way eq 'session';
		is(psql('postgres')->selectrow_array(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'tapdata view'}), 1, "$way: the worker is ended");
		execute('postgres', 'UPDATE ta SET v = v + 1');
		exact("$way: others go on with the next one", 'other');
		is(view('joined', 'sqlstate'), '55P03', "$way: the view still waits");
		$holder->do($way eq 'session' ? 'COMMIT' : q(COMMIT PREPARED 'holds'));
		exact("$way: all of them, once it is released", 'joined', 'above_joined', 'other');
		is(view('joined', 'status'), 'streaming', "$way: streaming");
	}

	# not a table, but an index, which only a statement meets
	execute('postgres', 'CREATE INDEX of_joined ON joined (v)', "UPDATE tb SET name = name || 'i'");
	exact('an index', 'joined', 'above_joined', 'other');
	$holder->do('BEGIN'); $holder->do('ALTER INDEX of_joined SET TABLESPACE pg_default');
	my $pid = $holder->{pg_pid};
	execute('postgres', "UPDATE tb SET name = name || 'j'", 'UPDATE ta SET v = v + 1');
	ok(eventually(sub { value('postgres', q{SELECT count(*) FROM tapdata.log WHERE object = 'public.joined' AND message = ?}, "relation public.of_joined is locked by process $pid") }, 20),
		'a view whose statement waits for an index names that, until it is being filled') or diag rows('postgres', q{SELECT message FROM tapdata.log WHERE object = 'public.joined' ORDER BY at DESC LIMIT 3});
	exact('others go on', 'other');
	$holder->do('COMMIT');
	exact('all of them, once it is released', 'joined', 'above_joined', 'other');
	$holder->disconnect;
}

# ---- a lock that is let go of for who waits for it: VACUUM that takes off the end of a table ----
{
	my $holder = psql('postgres', fresh => 1);
	my $filled = sub { value('postgres', q{SELECT string_agg(concat_ws(' ', v.table_name, s.since, s.status), ', ' ORDER BY v.id) FROM tapdata.view v JOIN tapdata.view_state s ON s.view = v.id}) };
	my $before = $filled->();
	$holder->do('BEGIN'); $holder->do('LOCK TABLE tc');
	execute('postgres', "UPDATE tb SET name = name || 'y'", 'UPDATE ta SET v = v + 1');
	ok(eventually(sub { value('postgres', q{SELECT count(*) FROM pg_locks WHERE relation = 'tc'::regclass AND NOT granted}) }, 10), 'the worker is seen to wait');
	$holder->do('COMMIT');
	exact('then all go on', 'joined', 'above_joined', 'other');
	is($filled->(), $before, 'and none was set aside');
	$holder->disconnect;
	is(rows('postgres', q{SELECT c.relname FROM tapdata.view v, LATERAL (SELECT v.relation UNION SELECT unnest(state_tables)::oid FROM tapdata.views w WHERE w.view = v.relation) t(oid)
		JOIN pg_class c ON c.oid = t.oid WHERE NOT coalesce('vacuum_truncate=off' = ANY (reloptions), false)}), '', 'VACUUM takes nothing off views and their state');
}

# ---- unlogged, and a crash ----
{
	create('quick', 'SELECT g, count(*) AS n, sum(v) AS s FROM ta GROUP BY g', '{"unlogged": true}');
	exact('an unlogged view', 'quick');
	execute('postgres', 'CHECKPOINT');
	restart_server('immediate');
	ok(eventually(sub { value('postgres', 'SELECT count(*) FROM quick') == 10 }, 15), 'filled anew after a crash');
	execute('postgres', 'UPDATE ta SET v = v + 1, g = 3 WHERE id <= 10');
	exact('and right', 'quick');
	kill 'TERM', worker_pids('view');
	execute('postgres', 'UPDATE ta SET v = v + 1 WHERE id > 50');
	exact('a worker that is not the first goes on', 'quick');
}

# ---- functions that lie: they say that they are IMMUTABLE, and touch the session that calls them ----
{
	my @tries = ('CREATE TEMP TABLE kept (a int)', 'PREPARE kept AS SELECT 1', 'LISTEN kept', 'DECLARE kept CURSOR WITH HOLD FOR SELECT 1', 'SET work_mem = 640', 'SET ROLE liar', 'SET SESSION AUTHORIZATION liar',
		'SET search_path = nowhere', 'SET statement_timeout = 1', 'SET lock_timeout = 1', 'SET default_transaction_read_only = on', 'SET session_replication_role = origin', q{SET TIME ZONE 'Asia/Tokyo'}, 'SET kept.mine = 1',
		'SET default_transaction_isolation = serializable', 'SET synchronous_commit = remote_apply', 'DISCARD ALL', 'NOTIFY kept');
	execute('postgres', 'CREATE ROLE liar', 'CREATE TABLE lie (id int PRIMARY KEY, v int)', 'CREATE TABLE look (id int PRIMARY KEY, v int)',
		q{CREATE FUNCTION does(s text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE s; END'},
		'CREATE FUNCTION tries(v int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN FOREACH s IN ARRAY ARRAY[' . join(', ', map { "\$q\$$_\$q\$" } @tries) . ']'
			. ' LOOP BEGIN PERFORM does(s); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; PERFORM pg_advisory_lock(4711); PERFORM pg_advisory_lock_shared(4712); RETURN 100 / v; END $$',
		q{CREATE FUNCTION looks(v int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT concat_ws(' ', pg_my_temp_schema(), (SELECT count(*) FROM pg_prepared_statements),
			(SELECT count(*) FROM pg_cursors WHERE is_holdable), (SELECT count(*) FROM pg_listening_channels()), current_user, session_user, (SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
			WHERE name NOT IN ('work_mem', 'statement_timeout', 'transaction_isolation')), current_setting('kept.mine', true))); END $$});
	create('of_look', 'SELECT id, looks(v) AS what FROM look');
	is(wait_for('of_look'), '', 'a view that looks around');
	execute('postgres', 'INSERT INTO look VALUES (1, 1)');
	is(wait_for('of_look'), '', 'has looked');
	create('of_lie', 'SELECT id, tries(v) AS v FROM lie');
	create('beside_lie', 'SELECT id, v + 1 AS v FROM lie');
	wait_for('of_lie', 'beside_lie');
	my $free = sub { my $dbh = psql('postgres', fresh => 1); return join '', map { $dbh->selectrow_array("SELECT pg_try_advisory_lock($_)") } 4711, 4712 };
	execute('postgres', 'INSERT INTO lie VALUES (1, 1), (2, 2)');
	is(wait_for('of_lie', 'beside_lie'), '', 'a function that touches everything');
	is($free->(), '11', 'no advisory lock is kept');
	is(value('postgres', 'SELECT string_agg(v::text, $$ $$ ORDER BY id) FROM of_lie'), '100 50', 'the view is right');
	execute('postgres', 'INSERT INTO look VALUES (2, 2)');
	is(wait_for('of_look'), '', 'the next one looks around again');
	is(value('postgres', 'SELECT count(what) FROM of_look'), 2, '... each for a row of its own');
	is(value('postgres', 'SELECT count(DISTINCT what) FROM of_look'), 1, '... and all is as it was before') or diag rows('postgres', q{SELECT * FROM (SELECT unnest(string_to_array(what, ' ')) AS w FROM of_look) x GROUP BY w HAVING count(*) < 2});

	# it waits for a lock that somebody has: the others do not wait for it
	my $holder = psql('postgres', fresh => 1);
	$holder->do('SELECT pg_advisory_lock(4711)');
	execute('postgres', 'INSERT INTO lie VALUES (3, 5)');
	is(wait_for('beside_lie'), '', 'another view goes on while a function waits');
	is(plain('beside_lie'), '', '... exact');
	is(view('of_lie', 'status'), 'snapshot', '... the one with the function is set aside');
	$holder->do('SELECT pg_advisory_unlock_all()');
	is(wait_for('of_lie'), '', 'it is filled when the lock is free');
	is(value('postgres', 'SELECT string_agg(v::text, $$ $$ ORDER BY id) FROM of_lie'), '100 50 20', '... exact');

	# an error after the lock was taken
	execute('postgres', 'INSERT INTO lie VALUES (4, 0)');
	ok(eventually(sub { view('of_lie', 'status') eq 'failed' }), 'a function that fails fails the view');
	is(wait_for('beside_lie'), '', '... but no other');
	is($free->(), '11', '... and keeps no advisory lock');
	execute('postgres', map { "SELECT tapdata.drop_view('$_')" } qw(of_lie beside_lie of_look));
}

finish();
done_testing();
