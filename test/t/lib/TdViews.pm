# Random schemas, queries of the shapes that live views keep, and writers: the oracle of views.
#
# What it proves: check_view() is empty while writers run and after they stop, and the table of each view equals its
# query by plain SQL once it has caught up.  Domains are tiny, a fifth of all values is NULL, rows repeat: joins fan
# out, groups come and die, keys change.
package TdViews;
use strict;
use warnings;
use DBI;
use Exporter 'import';
use POSIX ();
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(make_tables make_query make_views start_churn stop_churn inexact unequal computed_whole wait_views refused_or_die churn_once);

# name -> [columns by kind]; every table has the same columns so that any query fits any table
my @tables = qw(t1 t2 t3 p1);
my %ints = (a => 4, b => 3, x => 6);

sub pick { return $_[int rand @_] }

# t1: a key; t2: a composite key; t3: none; p1: partitioned by its key.
sub make_tables
{
	my ($dbh, $schema) = @_;
	my $columns = 'a int, b smallint, x bigint, s text, n numeric, m numeric(8,2), f double precision, d date, j jsonb, unused text';
	$dbh->do($_) for (
		"DROP SCHEMA IF EXISTS $schema CASCADE", "CREATE SCHEMA $schema",
		"CREATE TABLE $schema.t1 (id int PRIMARY KEY, $columns)",
		"CREATE TABLE $schema.t2 (k int NOT NULL, id int NOT NULL, $columns, PRIMARY KEY (id, k))",
		"CREATE TABLE $schema.t3 (id int, $columns)",
		"CREATE TABLE $schema.p1 (id int PRIMARY KEY, $columns) PARTITION BY RANGE (id)",
		"CREATE TABLE $schema.p1_low PARTITION OF $schema.p1 FOR VALUES FROM (MINVALUE) TO (50)",
		# attribute numbers of its own: a column that is gone, another order
		"CREATE TABLE $schema.p1_high (gone int, unused text, j jsonb, d date, f double precision, m numeric(8,2), n numeric, s text, x bigint, b smallint, a int, id int NOT NULL)",
		"ALTER TABLE $schema.p1_high DROP COLUMN gone",
		"ALTER TABLE $schema.p1 ATTACH PARTITION $schema.p1_high FOR VALUES FROM (50) TO (MAXVALUE)");
	for my $t (@tables) { $dbh->do(insert_of($schema, $t)) for 1 .. 25 }
	return;
}

sub null_or { my ($v) = @_; return rand() < 0.2 ? 'NULL' : $v }

# floats whose sums do not depend on the order of rows
my @literals = (
	sub { null_or(int rand 4) }, sub { null_or(int rand 3) }, sub { null_or(int(rand 6) - 2) },
	sub { null_or(pick("'x'", "'y'", "''", "repeat('long', 900)", "'X y'")) },
	sub { null_or(pick('1', '1.0', '1.00', '-2.5', '0.001', '12345678901234567890', "'NaN'", rand() < 0.1 ? "'Infinity'" : '3.50')) },
	sub { null_or(pick('0.10', '1.00', '-3.25', '7')) }, sub { null_or(pick('0.5', '0.25', '-1e6', '3')) },
	sub { null_or(pick("'2026-01-01'", "'2026-02-28'", "'1999-12-31'")) }, sub { null_or(pick(q('{"k": 1}'), q('[1, 2]'), q('null'))) },
	sub { null_or("'u" . int(rand 1000) . "'") });
my @names = qw(a b x s n m f d j unused);

sub insert_of
{
	my ($schema, $t) = @_;
	my $id = int rand 100;
	my @values = map { $_->() } @literals;
	my ($c, $v) = $t eq 't2' ? ('k, id', (int rand 3) . ", $id") : ('id', $t eq 't3' ? null_or($id) : $id);
	my $conflict = $t eq 't3' ? '' : ' ON CONFLICT DO NOTHING';
	return "INSERT INTO $schema.$t ($c, " . join(', ', @names) . ") VALUES ($v, " . join(', ', @values) . ")$conflict";
}

sub where_of { return pick('id = ' . int(rand 100), 'id % 7 = ' . int(rand 7), 'a = ' . int(rand 4), 'b IS NULL AND x > 0', 'id BETWEEN 40 AND 60') }

sub statement
{
	my ($schema) = @_;
	my $t = pick(@tables);
	my $r = rand();
	return insert_of($schema, $t) if $r < 0.4;
	return "DELETE FROM $schema.$t WHERE " . where_of() if $r < 0.55;
	if ($r < 0.95)
	{
		my %set = map { my $i = int rand @names; ($names[$i] => $literals[$i]->()) } 1 .. 1 + int rand 3;
		return "UPDATE $schema.$t SET " . join(', ', map { "$_ = $set{$_}" } sort keys %set) . ' WHERE ' . where_of();
	}
	# the key moves, for a partitioned table to the other side as well
	return "UPDATE $schema.$t SET id = id + " . pick(1, 7, 50, -50) . ' WHERE id = ' . int(rand 100);
}

# One transaction; errors of the statements themselves (a key that is taken) are part of the game.
# $schema: of make_tables; or { statement, truncate }, subs that make a statement.
sub churn_once
{
	my ($dbh, $schema, $writer, $n, $rare) = @_;
	my $game = ref $schema ? $schema : { statement => sub { statement($schema) }, truncate => sub { "TRUNCATE $schema." . pick(@tables) } };
	my $kind = rand();
	$dbh->begin_work;
	my $ok = eval {
		for (1 .. 1 + int rand 4)
		{
			if (rand() < 0.2)
			{
				$dbh->do('SAVEPOINT s');
				eval { $dbh->do($game->{statement}->()); 1 } or $dbh->do('ROLLBACK TO s');
				$dbh->do('ROLLBACK TO s') if rand() < 0.5;
			}
			else { $dbh->do($game->{statement}->()) }
		}
		$dbh->do($game->{truncate}->()) if $rare && rand() < 0.004;
		sleep 0.3 if $kind > 0.97;
		1 };
	if (!$ok || $kind < 0.1) { eval { $dbh->rollback }; return }
	if ($rare && $kind > 0.9 && $kind < 0.95)
	{
		my $gid = "churn_${writer}_$n";
		$dbh->do("PREPARE TRANSACTION '$gid'");
		$dbh->{AutoCommit} or eval { $dbh->commit };
		sleep rand 0.2;
		$dbh->do(rand() < 0.7 ? "COMMIT PREPARED '$gid'" : "ROLLBACK PREPARED '$gid'");
		return;
	}
	$dbh->commit;
	return;
}

# What a writer had prepared when a crash took its connection would hold its locks for ever.
sub settled
{
	my ($dbh, $gid) = @_;
	$dbh->do("ROLLBACK PREPARED '$_'") for grep { /^\Q$gid\E_/ } @{ $dbh->selectcol_arrayref('SELECT gid FROM pg_prepared_xacts') };
	return $dbh;
}

# n processes that write until they are stopped, each with its own seed and pause between transactions.
# seed: sub (writer, number of the transaction) -> number, for transactions that do not depend on those before.
sub start_churn
{
	my ($connect, $schema, $n, %o) = @_;
	my @pids;
	for my $writer (1 .. $n)
	{
		my $random = int rand 1 << 30;
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			my ($stop, $i, $dbh) = (0, 0);
			$SIG{TERM} = sub { $stop = 1 };
			srand $random;
			until ($stop)
			{
				$dbh ||= eval { settled($connect->(), "churn_${writer}x$$") } or do { sleep 0.1; next };
				srand $o{seed}->($writer, $i + 1) if $o{seed};
				if (!eval { churn_once($dbh, $schema, $writer . 'x' . $$, ++$i, 1); 1 }) { $dbh = undef unless eval { $dbh->rollback if !$dbh->{AutoCommit}; $dbh->do('SELECT 1') } }
				sleep $o{pause} // 0.003;
			}
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	return @pids;
}

# A writer may wait for ever, for a prepared transaction whose author a crash has taken: five seconds, then it is killed.
sub stop_churn
{
	my (@pids) = @_;
	my $until = time + 5;
	kill 'TERM', @pids;
	for my $pid (@pids)
	{
		my $gone = 0;
		sleep 0.02 while !($gone = waitpid($pid, POSIX::WNOHANG())) && time < $until;
		if (!$gone) { kill 'KILL', $pid; waitpid $pid, 0 }
	}
	return;
}

# ---- queries ----

sub expression
{
	my ($r) = @_;
	return pick("$r.a", "$r.b", "$r.x", "$r.a + $r.b", "$r.x * 2", "coalesce($r.a, -1)", "abs($r.x)", "CASE WHEN $r.a > 1 THEN $r.b ELSE $r.x END",
		"length($r.s)", "nullif($r.b, 1)");
}

sub condition
{
	my ($r) = @_;
	return pick("$r.a > 0", "$r.b IS NOT NULL", "$r.x < 3", "$r.s <> 'y'", "$r.a IN (1, 2)", "$r.d > '2000-01-01'", "$r.m > 0 OR $r.a IS NULL", "$r.s LIKE 'long%'",
		"$r.j IS NOT NULL");
}

sub plain_column { my ($r) = @_; return "$r." . pick(qw(id a b x s n m d j)) }

sub aggregate
{
	my ($r) = @_;
	return pick('count(*)', "count($r.a)", "sum($r.a)", "sum($r.b)", "sum($r.x)", "sum($r.n)", "sum($r.m)", "sum($r.f)", "avg($r.a)", "avg($r.x)", "avg($r.n)",
		"avg($r.m)", "min($r.x)", "max($r.a)", "min($r.s)", "max($r.d)", "max($r.n)", "sum($r.m * $r.a)", "min($r.f)", "sum(CASE WHEN $r.a = 1 THEN $r.x END)");
}

# A query over tables (and the views given, each with its columns).
sub make_query
{
	my ($schema, $views) = @_;
	my $n = pick(1, 1, 1, 2, 2, 2, 3, 3, 4);
	my (@from, @where);
	for my $i (1 .. $n)
	{
		push @from, "$schema." . pick(@tables) . " q$i";
		push @where, sprintf('q%d.%s = q%d.%s', $i, pick(qw(id a b)), 1 + int(rand($i - 1)), pick(qw(id a b))) if $i > 1;
	}
	push @where, condition('q' . (1 + int rand $n)) if rand() < 0.5;
	my $where = @where ? ' WHERE ' . join(' AND ', @where) : '';
	my $r = sub { 'q' . (1 + int rand $n) };
	my $kind = rand();
	if ($kind < 0.35)
	{
		my @out = map { rand() < 0.6 ? plain_column($r->()) : expression($r->()) } 1 .. 1 + int rand 4;
		@out = map { "$from[$_ - 1]" =~ /(q\d)$/ ? "$1.id" : () } 1 .. $n if rand() < 0.1;
		return 'SELECT ' . (rand() < 0.2 ? 'DISTINCT ' : '') . named(grep { 1 } @out) . " FROM @{[join ', ', @from]}$where"
			unless $n > 2 && rand() < 0.5;    # a bag of a wide join grows without sense: group it
	}
	my @keys = $kind < 0.45 ? () : map { rand() < 0.7 ? $r->() . '.' . pick(qw(a b s d m)) : expression($r->()) } 1 .. 1 + int rand 2;
	my @aggregates = map { aggregate($r->()) } 1 .. 1 + int rand 4;
	my $having = rand() < 0.25 ? ' HAVING ' . pick('count(*) > 1', 'sum(' . $r->() . '.a) > 2', 'max(' . $r->() . '.x) IS NOT NULL') : '';
	my @shown = rand() < 0.85 ? @keys : ();
	return 'SELECT ' . named(@shown, @aggregates) . " FROM @{[join ', ', @from]}$where" . (@keys ? ' GROUP BY ' . join(', ', @keys) : '') . $having;
}

sub named { my $i = 0; return join ', ', map { $i++; "$_ AS c$i" } @_ }

# Creates n views named v1..; every fourth reads views made before.  Returns their names; dies on anything but a refusal.
sub make_views
{
	my ($dbh, $schema, $n, $prefix) = @_;
	my (@views, @queries);
	$prefix //= 'v';
	while (@views < $n)
	{
		my $name = $prefix . (@views + 1);
		my $query = @views && rand() < 0.25 ? over_views($schema, \@views, $dbh) : make_query($schema);
		next if !eval { $dbh->do('SELECT tapdata.create_view($1, $2)', undef, "$schema.$name", $query); 1 } && refused_or_die($dbh, $query);
		push @views, $name;
		push @queries, $query;
	}
	return (\@views, \@queries);
}

# json has no equality, two keys of one name, ...: the generator does not know types.  Only 0A000 and what the bare query gives too are no failures.
sub refused_or_die
{
	my ($dbh, $query) = @_;
	my ($state, $message) = ($dbh->state, $dbh->errstr);
	return 1 if $state eq '0A000';
	return 1 if !eval { $dbh->selectall_arrayref("SELECT * FROM ($query) q LIMIT 0"); 1 };
	die "create_view: $state $message\nquery: $query\n";
}

# As text, but not the digits behind: which of 1 and 1.0 is the greatest is open, and their texts differ.
sub text_of { my ($column, $type) = @_; return $type eq 'numeric' ? "trim_scale($column)::text" : "${column}::text" }

sub over_views
{
	my ($schema, $views, $dbh) = @_;
	my $v = pick(@$views);
	my $columns = sub { return $dbh->selectall_arrayref("SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = '$schema.$_[0]'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum") };
	my ($c, $type) = @{ pick(@{ $columns->($v) }) };
	my $text = text_of("w.$c", $type);
	my $other = pick(@$views);
	my $first = text_of('u.c1', $columns->($other)->[0][1]);
	return pick("SELECT count(*) AS c1, count(w.$c) AS c2 FROM $schema.$v w", "SELECT w.$c AS c1, count(*) AS c2 FROM $schema.$v w GROUP BY w.$c",
		"SELECT DISTINCT w.$c AS c1 FROM $schema.$v w", "SELECT w.$c AS c1, q.id AS c2 FROM $schema.$v w, $schema.t1 q WHERE $text = q.a::text",
		"SELECT min($text) AS c1, u.c1 AS c2 FROM $schema.$v w, $schema.$other u WHERE $first = " . text_of('w.c1', $columns->($v)->[0][1]) . ' GROUP BY u.c1');
}

# ---- verdicts ----

sub wait_views { my ($dbh, $schema, @views) = @_; $dbh->do("SELECT tapdata.wait_view('$schema.$_', '60 s')") for @views; return }

# What check_view finds, as text; '' = exact.
sub inexact
{
	my ($dbh, $schema, @views) = @_;
	return join '', map { my $v = $_; map { "$v: $_->[0] x$_->[1] $_->[2]\n" } @{ $dbh->selectall_arrayref("SELECT * FROM tapdata.check_view('$schema.$v', 3)") } } @views;
}

# Ticks of a view, and of its parts, that computed it in one of these ways (`executed` in tapdata.views); '' = none.
sub computed_whole
{
	my ($dbh, $view, @ways) = @_;
	my $ways = join ', ', map { "'$_'" } @ways;
	return join ', ', map { "$_->[0] $_->[1]" } @{ $dbh->selectall_arrayref("SELECT how, sum(n) FROM tapdata.view_run JOIN tapdata.view v ON v.id = view_run.view LEFT JOIN tapdata.view w ON w.id = v.part_of
		WHERE coalesce(w.relation, v.relation) = '$view'::regclass AND how IN ($ways) GROUP BY how ORDER BY how") };
}

# By plain SQL, with the writers stopped and waited for: rows as text, so that numbers show the same digits as well.
sub unequal
{
	my ($dbh, $schema, $views, $queries, $digits) = @_;
	my $found = '';
	for my $i (0 .. $#$views)
	{
		my ($v, $q) = ("SELECT w::text FROM $schema.$views->[$i] w", "SELECT w::text FROM ($queries->[$i]) w");
		($v, $q) = ("SELECT * FROM $schema.$views->[$i]", $queries->[$i]) unless $digits;
		my ($missing, $extra) = $dbh->selectrow_array("SELECT (SELECT count(*) FROM ($q EXCEPT ALL $v) x), (SELECT count(*) FROM ($v EXCEPT ALL $q) x)");
		$found .= "$views->[$i]: $missing missing, $extra extra; $queries->[$i]\n" if $missing || $extra;
	}
	return $found;
}

1;
