# tapdata.read_your_writes: each session sees in a live view what it has committed, whichever way it asks; without the setting it does
# not.  What the setting costs is counted in what sessions say at debug1, never in time.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use POSIX ();
use Time::HiRes qw(time);

my $pg = start_server('readwrites', 'max_prepared_transactions = 20', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE t (id bigserial PRIMARY KEY, who int NOT NULL, v int NOT NULL)', 'CREATE TABLE other (id int PRIMARY KEY)',
	'CREATE TABLE plain (who int PRIMARY KEY, n bigint)', q{SELECT tapdata.create_view('mine', 'SELECT who, count(*) AS n FROM t GROUP BY who')},
	q{SELECT tapdata.create_view('apart', 'SELECT who, count(*) AS n FROM t GROUP BY who', '{"group": "apart"}')},
	q{SELECT tapdata.wait_view('mine')}, q{SELECT tapdata.wait_view('apart')},
	'CREATE VIEW both_of_them AS SELECT m.who, m.n, a.n AS apart FROM mine m JOIN apart a USING (who)',
	q{CREATE FUNCTION of_mine(w int) RETURNS bigint LANGUAGE plpgsql AS 'DECLARE k bigint; BEGIN SELECT n INTO k FROM mine WHERE who = w; RETURN k; END'},
	q{CREATE FUNCTION of_mine_sql(w int) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT 1; SELECT n FROM mine WHERE who = w'},
	q{CREATE FUNCTION of_mine_loop(w int) RETURNS bigint LANGUAGE plpgsql AS 'DECLARE r record; k bigint := 0; BEGIN FOR r IN SELECT n FROM mine WHERE who = w LOOP k := k + r.n; END LOOP; RETURN k; END'},
	q{CREATE FUNCTION stable_sql(w int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT n FROM mine WHERE who = w'},
	q{CREATE FUNCTION stable_plpgsql(w int) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT least(m.n, a.n) FROM mine m JOIN apart a USING (who) WHERE who = w); END'},
	q{CREATE FUNCTION stable_deep(w int) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN stable_plpgsql(w); END'},
	q{CREATE FUNCTION stable_rows(w int) RETURNS TABLE (n bigint) LANGUAGE plpgsql STABLE AS 'BEGIN RETURN QUERY SELECT m.n FROM mine m WHERE who = w; END'},
	q{CREATE VIEW by_function AS SELECT who, stable_sql(who) AS n FROM generate_series(1, 10) who},
	q{CREATE OPERATOR @#@ (RIGHTARG = int, FUNCTION = stable_sql)},
	q{CREATE FUNCTION of_stable(w int) RETURNS bigint LANGUAGE plpgsql AS 'DECLARE k bigint; BEGIN SELECT stable_sql(w) INTO k; RETURN k; END'},
	q{CREATE FUNCTION assigns_stable(w int) RETURNS bigint LANGUAGE plpgsql AS 'DECLARE k bigint := stable_sql(w); BEGIN RETURN k; END'},
	q{CREATE PROCEDURE write_and_read(w int, INOUT k bigint) LANGUAGE plpgsql AS 'BEGIN INSERT INTO t (who, v) VALUES (w, 1); COMMIT; SELECT n INTO k FROM mine WHERE who = w; END'});

# Each way to ask how many rows of one's own the view has.
my %asks = (
	simple => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT n FROM mine WHERE who = $w") },
	group => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT n FROM apart WHERE who = $w") },
	through_views => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT least(n, apart) FROM both_of_them WHERE who = $w") },
	extended => sub { my ($d, $w) = @_; return $d->selectrow_array('SELECT n FROM mine WHERE who = ?', { pg_server_prepare => 1 }, $w) },
	generic => sub { my ($d, $w, $kept) = @_; $kept->{generic} ||= $d->prepare('SELECT n FROM mine WHERE who = ?', { pg_server_prepare => 1 });
		return $d->selectrow_array($kept->{generic}, undef, $w) },
	execute => sub { my ($d, $w, $kept) = @_; $d->do('PREPARE q(int) AS SELECT n FROM mine WHERE who = $1') unless $kept->{q}++;
		return $d->selectrow_array("EXECUTE q($w)") },
	plpgsql => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT of_mine($w)") },
	plpgsql_loop => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT of_mine_loop($w)") },
	sql_function => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT of_mine_sql($w)") },
	stable_sql => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT stable_sql($w)") },
	stable_plpgsql => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT stable_plpgsql($w)") },
	stable_deep => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT stable_deep($w)") },
	stable_generic => sub { my ($d, $w, $kept) = @_; $kept->{stable} ||= $d->prepare('SELECT stable_sql(?)', { pg_server_prepare => 1 }); return $d->selectrow_array($kept->{stable}, undef, $w) },
	stable_in_from => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT n FROM stable_rows($w)") },
	stable_in_view => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT n FROM by_function WHERE who = $w") },
	stable_operator => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT \@#\@ $w") },
	stable_in_volatile => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT of_stable($w)") },
	stable_assigned => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT assigns_stable($w)") },
	stable_in_update => sub { my ($d, $w) = @_; $d->do("INSERT INTO plain VALUES ($w, stable_plpgsql($w)) ON CONFLICT (who) DO UPDATE SET n = excluded.n"); return $d->selectrow_array("SELECT n FROM plain WHERE who = $w") },
	insert_select => sub { my ($d, $w) = @_; $d->do("INSERT INTO plain SELECT who, n FROM mine WHERE who = $w ON CONFLICT (who) DO UPDATE SET n = excluded.n");
		return $d->selectrow_array("SELECT n FROM plain WHERE who = $w") },
	create_table_as => sub { my ($d, $w) = @_; $d->do("CREATE TEMP TABLE made AS SELECT n FROM mine WHERE who = $w");
		my ($n) = $d->selectrow_array('SELECT n FROM made'); $d->do('DROP TABLE made'); return $n },
	with => sub { my ($d, $w) = @_; return $d->selectrow_array("WITH m AS MATERIALIZED (SELECT * FROM mine) SELECT (SELECT n FROM m WHERE who = $w)") },
	cursor => sub { my ($d, $w) = @_; $d->begin_work; $d->do("DECLARE c CURSOR FOR SELECT n FROM mine WHERE who = $w");
		my ($n) = $d->selectrow_array('FETCH c'); $d->commit; return $n },
	later_in_a_transaction => sub { my ($d, $w) = @_; $d->begin_work; $d->do('SELECT 1 FROM other'); my ($n) = $d->selectrow_array("SELECT n FROM mine WHERE who = $w");
		$d->commit; return $n },
	copy => sub { my ($d, $w) = @_; $d->do("COPY (SELECT n FROM mine WHERE who = $w) TO STDOUT"); my ($n, $line); while ($d->pg_getcopydata($line) >= 0) { $n = $line + 0 } return $n },
	parallel => sub { my ($d, $w) = @_; return $d->selectrow_array("SELECT sum(n) FROM mine WHERE who = $w AND v_is_odd(n) IS NOT NULL") },
);
execute('postgres', q{CREATE FUNCTION v_is_odd(n bigint) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS 'BEGIN RETURN n % 2 = 1; END'});

# Each way to commit one row more; `call` asks by itself.
my %writes = (
	plain => sub { my ($d, $w) = @_; return $d->do("INSERT INTO t (who, v) VALUES ($w, 1)") },
	savepoints => sub { my ($d, $w) = @_; $d->begin_work; $d->do("SAVEPOINT a"); $d->do("INSERT INTO t (who, v) VALUES ($w, 1)"); $d->do('RELEASE a'); return $d->commit },
	asynchronous => sub { my ($d, $w) = @_; $d->do('SET synchronous_commit = off'); $d->do("INSERT INTO t (who, v) VALUES ($w, 1)"); return $d->do('RESET synchronous_commit') },
	prepared => sub { my ($d, $w, $i) = @_; $d->begin_work; $d->do("INSERT INTO t (who, v) VALUES ($w, 1)"); $d->do("PREPARE TRANSACTION 'p${w}_$i'");
		$d->commit unless $d->{AutoCommit}; return $d->do("COMMIT PREPARED 'p${w}_$i'") },
);

# Sessions that write and ask in turn, each for itself; the number of answers that were wrong, by way.
sub race
{
	my ($sessions, $rounds, $setting) = @_;
	my @pipes;
	for my $w (1 .. $sessions)
	{
		pipe my $in, my $out or die "pipe: $!";
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			my ($kept, $report) = ({}, '');
			eval {
				my $d = psql('postgres', fresh => 1);
				$d->do("SET tapdata.read_your_writes = $setting");
				$d->do('SET plan_cache_mode = force_generic_plan') if $w % 2;
				$d->do("SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')") if $w % 3 == 0;
				my ($n) = $d->selectrow_array("SELECT count(*) FROM t WHERE who = $w");
				my @asks = sort keys %asks;
				for my $i (1 .. $rounds)
				{
					my $write = (sort keys %writes)[ int rand keys %writes ];
					my $ask = $asks[ ($i + $w) % @asks ];
					my $got;
					$n++;
					if (rand() < 0.1) { $ask = 'procedure'; ($got) = $d->selectrow_array("CALL write_and_read($w, NULL)") }
					else { $writes{$write}->($d, $w, "$setting$i"); ($got) = $asks{$ask}->($d, $w, $kept) }
					$report .= "$w/$i $write, $ask: " . ($got // 'nothing') . " of $n\n" if ($got // 0) != $n;
				}
				1 } or $report .= "$w: $@";
			print $out $report;
			close $out;
			POSIX::_exit(0);
		}
		close $out;
		push @pipes, [ $pid, $in ];
	}
	my $report = '';
	for (@pipes) { my ($pid, $in) = @$_; local $/; $report .= <$in> // ''; waitpid $pid, 0 }
	return $report;
}
is(race(6, 100, 'on'), '', 'with the setting every session sees every write of its own');
like(race(6, 40, 'off'), qr/ of /, 'without it some do not');

# ---- what it costs, in looks and waits ----
my $dbh = psql('postgres', fresh => 1);
my @said;
$dbh->{PrintWarn} = 1;
$SIG{__WARN__} = sub { push @said, grep { /read_your_writes/ } @_ };
sub said { my (@sql) = @_; @said = (); $dbh->do($_) for @sql; return join ' ', map { /: (\w+ \w+) / ? $1 : () } @said }
$dbh->do('SET client_min_messages = debug1');
my $mine = 'SELECT FROM mine';
is(said('INSERT INTO t (who, v) VALUES (99, 1)', $mine, 'SELECT FROM other', $mine), '', 'off: nothing is looked up, nobody is asked');
$dbh->do('SET tapdata.read_your_writes = on');
is(said('INSERT INTO t (who, v) VALUES (99, 1)', 'SELECT FROM other', 'SELECT FROM other'), join(' ', map { 'relation ' . value('postgres', "SELECT '$_'::regclass::oid") } 't', 'other'), 'on: a table that is no view is looked up once');
like(said($mine), qr/^relation \d+ (waits for|looks at)$/, 'the first query of a view waits');
is(said(($mine) x 20), '', 'and none after it, until the session writes again');
is(said('UPDATE other SET id = 1 WHERE false', 'SELECT FROM t LIMIT 1', 'BEGIN', $mine, 'ROLLBACK'), '', 'what wrote nothing is nothing to wait for');
$dbh->do('INSERT INTO t (who, v) VALUES (99, 1)');
value('postgres', "SELECT tapdata.wait_view('mine')");
ok(eventually(sub { said($mine) eq '' }), 'a view that is past the session\'s last commit is read at once');
is(said('BEGIN', 'INSERT INTO t (who, v) VALUES (99, 1)', $mine, 'ROLLBACK'), '', 'what is not committed is not waited for');
my $fresh = psql('postgres', fresh => 1);
$fresh->do('SET tapdata.read_your_writes = on');
is(try_do($fresh, $mine), '', 'a session that has written nothing reads');
execute('postgres', q{CREATE FUNCTION calls_nothing() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 1; END'}, q{CREATE FUNCTION calls_less() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END'});
$dbh->do('SELECT calls_nothing()');
like(said('UPDATE t SET v = v + 1 WHERE who = 99', 'SELECT calls_nothing()'), qr/^waits for( waits for)?$/, 'a function that may read views: each group is waited for, whatever it reads');
is(said(('SELECT calls_nothing()') x 20), '', 'once after a commit');
is(said('UPDATE t SET v = v + 1 WHERE who = 99', 'SELECT calls_less()', q{SELECT tapdata.view_tick('mine') WHERE false}), '', 'one that is IMMUTABLE may not; nor do those of tapdata');

# ---- what is not replaced ----
$dbh->do('SET client_min_messages = notice');
is(join(' ', map { $_->[0] } @{ $dbh->selectall_arrayref("SELECT diff FROM tapdata.check_view('mine')") }), '', 'check_view compares under its own snapshots');
$dbh->do($_) for 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1 FROM other';
is(try_do($dbh, $mine), '', 'REPEATABLE READ reads what its transaction sees');
$dbh->do('COMMIT');
{
	# a function that must see what the query sees
	execute('postgres', q{CREATE FUNCTION stable_count() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT coalesce(sum(n), 0) FROM mine); END'});
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		my $writer = psql('postgres', fresh => 1);
		$writer->do('INSERT INTO t (who, v) VALUES (96, 1)') while getppid() != 1 && !-e "$pg->{PGHOST}/stop";
		POSIX::_exit(0);
	}
	is($dbh->selectrow_array('SELECT count(DISTINCT stable_count()) FROM (SELECT pg_sleep(0.02) FROM generate_series(1, 30) OFFSET 0) x'), 1,
		'a stable function sees one snapshot, whatever is written meanwhile');
	cmp_ok($dbh->selectrow_array('SELECT count(DISTINCT of_mine(96)) FROM (SELECT pg_sleep(0.02) FROM generate_series(1, 30) OFFSET 0) x'), '>', 1, 'a volatile one the newest');
	open my $stop, '>', "$pg->{PGHOST}/stop" or die;
	waitpid $pid, 0;
	is($dbh->selectrow_array('SELECT stable_count() = (SELECT sum(n) FROM mine)'), 1, 'which is that of its query');
}

# ---- a view that does not come ----
{
	my $blocker = psql('postgres', fresh => 1);
	$dbh->do('SET tapdata.read_your_writes_timeout = 300');
	execute('postgres', 'CREATE TABLE zero (id int PRIMARY KEY)', 'INSERT INTO zero VALUES (1)', q{SELECT tapdata.create_view('tenth', 'SELECT id, 10 / id AS x FROM zero')},
		q{SELECT tapdata.wait_view('tenth')});
	$blocker->do('BEGIN');
	$blocker->do('LOCK TABLE apart IN SHARE MODE');
	my $begin = time;
	like(try_do($dbh, 'INSERT INTO t (who, v) VALUES (99, 1)') . try_do($dbh, 'SELECT FROM apart'), qr/^57014 .*public\.apart did not reach what this session has committed within 300 ms.*HINT/s,
		'a view that is late: an error that says so');
	cmp_ok(time - $begin, '<', 3, 'in time');
	is(try_do($dbh, $mine), '', 'a view of another group is not');
	like(try_do($dbh, 'SELECT calls_nothing()'), qr/^57014 .*group "apart" did not reach.*STABLE.*HINT/s, 'a function that might read it is late with it');
	is(try_do($dbh, q{SELECT tapdata.wait_view('mine')}), '', 'one of tapdata is not');
	$dbh->do('SET tapdata.read_your_writes = off');
	is(try_do($dbh, 'SELECT FROM apart'), '', 'nor one that is read as it is');
	$dbh->do('SET tapdata.read_your_writes = on');
	$blocker->do('ROLLBACK');
	$dbh->do('SET tapdata.read_your_writes_timeout = 5000');
	is(try_do($dbh, 'SELECT FROM apart'), '', 'and it goes on');
	execute('postgres', 'INSERT INTO zero VALUES (0)');
	ok(eventually(sub { value('postgres', "SELECT status FROM tapdata.views WHERE view = 'tenth'::regclass") eq 'failed' }), 'a view fails');
	like(try_do($dbh, 'SELECT FROM tenth'), qr/^55000 .*tenth has failed.*HINT/s, 'and is not read as if it were fresh');
	is(try_do($dbh, $mine), '', 'the others are');
	execute('postgres', 'DELETE FROM zero WHERE id = 0', "SELECT tapdata.refresh_view('tenth')");
	is(try_do($dbh, 'INSERT INTO zero VALUES (2)') . $dbh->selectrow_array('SELECT count(*) FROM tenth'), 2, 'refreshed: waited for, and exact');
	execute('postgres', "SELECT tapdata.drop_view('tenth')", 'CREATE TABLE tenth (id int)');
	is(try_do($dbh, 'SELECT FROM tenth'), '', 'dropped: an ordinary table of its name is one');
}

# ---- its worker comes and goes ----
for my $round (1 .. 3)
{
	value('postgres', 'SELECT pg_terminate_backend(?)', (worker_pids('view'))[0]);
	is($dbh->do('INSERT INTO t (who, v) VALUES (97, 1)') && $dbh->selectrow_array('SELECT n FROM mine WHERE who = 97'), $round, "while the worker is started again, round $round");
	is($dbh->selectrow_array('SELECT n FROM apart WHERE who = 97'), $round, 'in both groups');
}
$_->disconnect for $dbh, $fresh;
restart_server('immediate');
like(race(3, 30, 'on'), qr/^$/, 'after a crash as before');
open my $f, '<', "$pg->{TD_PG_DATA}/../log/server.log" or die;
my @bad = grep { /PANIC|TRAP|leak|still active|WARNING/ } <$f>;
is("@bad", '', 'the log is clean');
finish();
done_testing();
