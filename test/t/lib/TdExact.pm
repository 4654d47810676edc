# One view of each kind over the same tables, writers, and whether every view is exact: for tests that do things to the server.
package TdExact;
use strict;
use warnings;
use Exporter 'import';
use POSIX ();
use Test::More ();
use Time::HiRes qw(sleep);
use TdProcs;

our @EXPORT = qw(make_exact view_names writers stop_writers inexact_views take_copy apply_changes standing);

# name => [query, options]
my @views = (
	delta => [ 'SELECT g, count(*) AS n, sum(v) AS s FROM t GROUP BY g', '{"changes": true}' ],
	upper => [ 'SELECT n, count(*) AS c FROM delta GROUP BY n', '{}' ],
	keyed => [ 'SELECT c.id, (SELECT jsonb_agg(t.v ORDER BY t.id) FROM t WHERE t.g = c.id) AS doc FROM c', '{}' ],
	outside => [ 'SELECT c.id, c.name, t.v FROM c LEFT JOIN t ON t.g = c.id', '{"changes": true}' ],
	hidden => [ 'SELECT c.name, t.v FROM c LEFT JOIN t ON t.g = c.id', '{}' ],
	parts => [ 'SELECT k, count(*) AS n FROM (SELECT c.id, count(t.id) AS k FROM c LEFT JOIN t ON t.g = c.id GROUP BY c.id) q GROUP BY k', '{}' ],
	ram => [ 'SELECT g, max(v) AS m FROM t GROUP BY g', '{"unlogged": true}' ],
	apart => [ 'SELECT g, min(v) AS m FROM t GROUP BY g', '{"group": "apart"}' ],
);
my %view = @views;

sub view_names { return grep { !ref } @views }

# Tables and views, filled.
sub make_exact
{
	my ($db) = @_;
	execute($db, 'CREATE TABLE t (id serial PRIMARY KEY, g int, v int)', 'CREATE TABLE c (id int PRIMARY KEY, name text)', 'CREATE INDEX ON t (g)',
		'INSERT INTO c SELECT i, md5(i::text) FROM generate_series(0, 11) i', 'INSERT INTO t (g, v) SELECT i % 10, i FROM generate_series(1, 500) i');
	execute($db, "SELECT tapdata.create_view('$_', '$view{$_}[0]', '$view{$_}[1]')") for view_names();
	return;
}

my @statements = (
	sub { 'INSERT INTO t (g, v) SELECT (random() * 12)::int, i FROM generate_series(1, 5) i' }, sub { 'UPDATE t SET v = v + 1 WHERE g = ' . int rand 10 },
	sub { 'UPDATE t SET g = ' . int(rand 12) . ' WHERE id % 50 = ' . int rand 50 }, sub { 'DELETE FROM t WHERE id % 100 = ' . int rand 100 },
	sub { "UPDATE c SET name = name || 'x' WHERE id = " . int rand 12 });

# n processes that write until they are stopped, into the server that is in use now; one that goes away is waited for.
sub writers
{
	my ($db, $n) = @_;
	my @pids;
	for my $k (1 .. $n)
	{
		my $seed = int rand 1 << 30;
		my $pid = fork() // die "fork: $!";
		if ($pid) { push @pids, $pid; next }
		my ($stop, $dbh) = (0);
		$SIG{TERM} = sub { $stop = 1 };
		srand $seed;
		until ($stop)
		{
			$dbh ||= eval { psql($db, fresh => 1) } or do { sleep 0.05; next };
			eval {
				$dbh->begin_work;
				$dbh->do($statements[rand @statements]->()) for 1 .. 1 + rand 3;
				rand() < 0.1 ? $dbh->rollback : $dbh->commit;
				1 } or do { eval { $dbh->rollback } if !$dbh->{AutoCommit}; $dbh = undef unless eval { $dbh->ping } };
			sleep 0.003;
		}
		POSIX::_exit(0);
	}
	return @pids;
}

sub stop_writers { my (@pids) = @_; kill 'TERM', @pids; waitpid $_, 0 for @pids; return }

# What is wrong with the views, each after it was waited for; '' = all are exact.  By check_view; without writers by plain SQL as well.
sub inexact_views
{
	my ($db, %o) = @_;
	my $wrong = '';
	for my $v ($o{views} ? @{ $o{views} } : view_names())
	{
		my $said = '';
		eventually(sub { ($said = try_do(psql($db), "SELECT tapdata.wait_view('$v', '20 s')")) eq '' }, $o{timeout} // 60);
		if ($said ne '') { $wrong .= "$v: $said\n"; next }
		$wrong .= "$v: $_\n" for split /\n/, eval { rows($db, "SELECT * FROM tapdata.check_view('$v', 3)") } // $@;
		next if $o{load};
		my ($q) = @{ $view{$v} };
		$wrong .= "$v differs\n" if value($db, "SELECT count(*) FROM ((TABLE $v EXCEPT ALL ($q)) UNION ALL (($q) EXCEPT ALL TABLE $v)) x");
	}
	return $wrong;
}

# "view status exact" of each
sub standing { my ($db) = @_; return rows($db, 'SELECT view, status, exact FROM tapdata.views ORDER BY view::text') =~ s/\n/, /gr =~ s/\|/ /gr }

# ---- copies of a view that has a feed, held here ----

sub bag { my ($dbh, $view) = @_; my %bag; $bag{$_}++ for @{ $dbh->selectcol_arrayref("SELECT to_jsonb(whole)::text FROM $view whole") }; return \%bag }

sub at_once
{
	my ($db, $code) = @_;
	my $dbh = psql($db, fresh => 1);
	$dbh->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my $r = $code->($dbh);
	$dbh->disconnect;
	return $r;
}

sub take_copy { my ($db, $view) = @_; return at_once($db, sub { my ($dbh) = @_; { tick => scalar $dbh->selectrow_array("SELECT tapdata.view_tick('$view')"), rows => bag($dbh, $view) } }) }

# Brings the copy up to what the view is now: '' when it is that, row by row.
sub apply_changes
{
	my ($db, $view, $copy) = @_;
	return at_once($db, sub {
		my ($dbh) = @_;
		my %rows = %{ $copy->{rows} };
		for (@{ $dbh->selectall_arrayref("SELECT tick, weight, \"row\"::text FROM tapdata.changes('$view', $copy->{tick})") })
		{
			my ($tick, $weight, $row) = @$_;
			$rows{$row} += $weight;
			delete $rows{$row} if $rows{$row} == 0;
			$copy->{tick} = $tick;
		}
		$copy->{rows} = \%rows;
		my $now = bag($dbh, $view);
		my @differ = grep { ($rows{$_} // 0) != ($now->{$_} // 0) } keys %{ { %rows, %$now } };
		return @differ ? "$view differs at tick $copy->{tick}: @differ" : '' });
}

1;
