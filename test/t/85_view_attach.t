# What is put below a table needs no lock that a reader would have in its way (ATTACH, INHERIT), nor does a function that is replaced: it may come between
# the moment at which a tick, or check_view, has locked what it reads, its snapshot, and the moment at which it reads.  What is read then must be all of one
# state of the catalogs.
#
# check_view once told of rows that were not wrong at all: it was planned before the partition came, and lent a snapshot that saw it.  A tick wrote some
# of a partition's rows into a view, and the next one the others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use DBD::Pg qw(:async);
use TdProcs;
use Time::HiRes qw(sleep);

start_server('viewattach', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE c (id int PRIMARY KEY, k int)', 'INSERT INTO c SELECT i, i FROM generate_series(1, 30) i',
	'CREATE TABLE d (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)', 'CREATE TABLE d_low PARTITION OF d FOR VALUES FROM (0) TO (20)', 'CREATE TABLE d_high PARTITION OF d FOR VALUES FROM (20) TO (40)',
	'INSERT INTO d SELECT i, i FROM generate_series(1, 39) i', 'CREATE TABLE p (id int, x int)', 'CREATE TABLE p_child (id int, x int)', 'INSERT INTO p_child SELECT i, i FROM generate_series(1, 19) i',
	'CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT $1 + 1$$', q{CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN IF $1 < 0 THEN PERFORM pg_sleep(1); END IF; RETURN $1; END'});
my %view = (first => 'SELECT id, slow(k) AS k FROM c', of_d => 'SELECT c.id, d.x FROM c JOIN d ON c.k = d.id', of_p => 'SELECT c.id, p.x FROM c JOIN p ON c.k = p.id', of_f => 'SELECT id, k, f(k) AS f FROM c');
execute('postgres', map { "SELECT tapdata.create_view('$_', '$view{$_}')" } qw(first of_d of_p of_f));
my %below = (of_d => { off => 'ALTER TABLE d DETACH PARTITION d_low', on => 'ALTER TABLE d ATTACH PARTITION d_low FOR VALUES FROM (0) TO (20)' },
	of_p => { off => 'ALTER TABLE p_child NO INHERIT p', on => 'ALTER TABLE p_child INHERIT p' },
	of_f => { map { ($_->[0] => 'CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS $$SELECT $1 + ' . $_->[1] . '$$') } [off => 1], [on => 2] });
# what is the same before and after as long as no statement has met the change
my %state = (of_d => 'SELECT count(*) FROM of_d', of_p => 'SELECT count(*) FROM of_p', of_f => q{SELECT string_agg(DISTINCT (f - k)::text, ' ') FROM of_f});
execute('postgres', $below{of_p}{on});
sub caught_up { execute('postgres', map { "SELECT tapdata.wait_view('$_', '30 s')" } qw(first of_d of_p of_f)); return }
sub ask { my ($dbh, $sql) = @_; my $st = $dbh->prepare($sql, { pg_async => PG_ASYNC }); $st->execute; return $st }
sub answer { my ($dbh, $st) = @_; my $ok = eval { $dbh->pg_result; 1 }; return $ok ? $st->fetchall_arrayref : [["failed: $@"]] }
sub wrong { my ($v) = @_; return value('postgres', "SELECT count(*) FROM ((TABLE $v EXCEPT ALL ($view{$v})) UNION ALL (($view{$v}) EXCEPT ALL TABLE $v)) x") }

# ---- check_view: planned before, lent a snapshot that sees what has come ----
# it has planned the query when it comes to the view's table, which is locked, for it and for ticks
for my $v (qw(of_d of_p of_f))
{
	my ($found, $asked) = ('', 0);
	for my $n (1 .. 5)
	{
		my ($holder, $checker) = map { psql('postgres', fresh => 1) } 1 .. 2;
		execute('postgres', $below{$v}{off});
		caught_up();
		$holder->begin_work;
		$holder->do("LOCK TABLE $v");
		execute('postgres', 'UPDATE c SET k = k WHERE id = 25');
		my $check = ask($checker, "SELECT * FROM tapdata.check_view('$v')");
		$asked += eventually(sub { value('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $checker->{pg_pid} AND NOT granted") }, 10);
		execute('postgres', $below{$v}{on});
		$holder->commit;
		$found .= join ' ', map { @$_ } @{ answer($checker, $check) };
	}
	is($asked, 5, 'check_view has planned');
	is($found, '', "check_view of $v finds nothing, whatever comes meanwhile");
}

# ---- a tick: what comes after its snapshot is read by none of its statements ----
for my $v (qw(of_d of_p of_f))
{
	my $id = value('postgres', 'SELECT max(id) + 1 FROM c');
	my $observer = psql('postgres', fresh => 1);
	execute('postgres', $below{$v}{off});
	caught_up();
	my $before = value('postgres', $state{$v});
	execute('postgres', "INSERT INTO c VALUES ($id, -1), ($id + 1, 1)");
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") }, 10), 'a tick is under way');
	execute('postgres', $below{$v}{on});
	# its commit lets us in, the next tick waits for us
	$observer->begin_work;
	$observer->do("LOCK TABLE $v IN SHARE MODE");
	is($observer->selectrow_array($state{$v}), $before, "$v is as before");
	$observer->commit;
	caught_up();
	is(wrong($v), 0, "... and then all of it is there");
}
finish();
done_testing();
