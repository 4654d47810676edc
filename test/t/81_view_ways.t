# All ways to the same rows: by delta, by keys, computed anew, given up in between; plans kept for any size and fresh ones; one
# transaction a tick and many; views in any order.  Random queries over all constructs, run by hand in a backend
# (test/unit/td_run_test); then when a delta is given up, and what that leaves.
#
# TD_SEED=n repeats a run; TD_WAYS_ROUNDS and TD_WAYS_STEPS make it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use File::Copy;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(churn_once);
use TdQueries qw(text kinds pick);
use TdFuzz qw(make_schema starting_rows game next_query plain_result);

my $rounds = $ENV{TD_WAYS_ROUNDS} || 2;
my $steps = $ENV{TD_WAYS_STEPS} || 20;
my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";

my $top = "$FindBin::Bin/../..";
my $pg = start_server('ways', 'tapdata.enabled = off', 'tapdata.worker_memory = 1MB');
my $so = "$pg->{TD_PG_DATA}/../td_run_test.so";
system("make -s -C $top/test/unit/td_run_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_run_test does not build');
copy("$top/test/unit/td_run_test/td_run_test.so", $so) or BAIL_OUT("td_run_test.so: $!");
chmod 0755, $so;
my @psql = ("$pg->{TD_PG_BIN}/psql", '-qAtX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1');

sub new_database
{
	my ($name) = @_;
	execute('postgres', "CREATE DATABASE $name");
	execute($name, 'CREATE EXTENSION tapdata');
	is(system(@psql, '-d', $name, '-v', 'td_run_test=' . ($so =~ s/\.so$//r), '-f', "$top/test/unit/td_run_test/td_run_test.sql"), 0, "$name: functions are there");
	return psql($name, fresh => 1);
}

# Views of random queries: { id, name, level (above others: 1), sql, columns }.
sub make_random_views
{
	my ($dbh, $s, $round, $n) = @_;
	my @kinds = kinds();
	my @views;
	for (my $i = 1; @views < $n && $i < 20 * $n; $i++)
	{
		my $q = next_query($s, $round, $i, $i % 2 ? undef : $kinds[($i / 2) % @kinds], [grep { !$_->{level} } @views]);
		my $sql = text($q->{sql});
		my $dear = eval { plain_result($dbh, $sql =~ s/\bfz\.(v\d+)\b/tapdata_views.$1/gr) } // 'dear';
		$dbh->rollback if !$dbh->{AutoCommit};    # its own may have been cancelled
		next if $dear;
		my $v = { name => 'fz.v' . (@views + 1), sql => $sql, columns => $q->{columns}, level => $sql =~ /\bfz\.v\d/ ? 1 : 0 };
		$v->{id} = make($dbh, $v->{name}, $sql) or next;
		push @views, $v;
	}
	return @views;
}

# Its number; nothing = refused.
sub make
{
	my ($dbh, $name, $sql) = @_;
	my $id = eval { $dbh->selectrow_array('SELECT td_run_test.make($1, $2)', undef, $name =~ s/^fz\.//r, $sql =~ s/\bfz\.(v\d+)\b/tapdata_views.$1/gr) };
	return $id if $id;
	$dbh->state eq '0A000' or fail("a view can't be made: " . $dbh->state . ' ' . $dbh->errstr . ": $sql");
	return;
}

sub differing { my ($dbh, @views) = @_; return join "\n", map { my $d = $dbh->selectrow_array("SELECT td_run_test.differs($_->{id})"); $d eq '' ? () : "$_->{name}: $d\n$_->{sql}" } @views }

# One tick of these views, each after those it reads, else in any order.
sub tick
{
	my ($dbh, $log, @views) = @_;
	my @tables = @{ $dbh->selectcol_arrayref("SELECT relname FROM pg_class WHERE relnamespace = '$log'::regnamespace AND relkind = 'r' ORDER BY 1") };
	my %place = map { $_->{id} => $_->{level} + rand() * 0.9 } @views;
	my @order = map { $_->{id} } sort { $place{ $a->{id} } <=> $place{ $b->{id} } } @views;
	$dbh->do('SELECT td_run_test.tick(?, ?::text[]::regclass[], ?)', undef, \@order, \@tables, [map { "SELECT * FROM $log.$_" } @tables]);
	$dbh->do("DELETE FROM $log.$_") for @tables;
	return;
}

# ---- random ----
my (%ways, %made);
for my $round (1 .. $rounds)
{
	my $dbh = new_database("ways$round");
	my ($s, $schema_seed) = (undef, "$seed/$round");
	$s = make_schema('fz', $schema_seed .= '+') until $s && !grep { $_->{child} } @{ $s->{tables} };    # triggers of children say nothing of the tables above
	$dbh->do($_) for @{ $s->{ddl} };
	my @tables = @{ $s->{tables} };
	$dbh->do($_) for @{ starting_rows($s, $schema_seed) };
	$dbh->do('SET search_path = fz, public');
	$dbh->do("SELECT td_run_test.follow('$_->{name}')") for @tables;
	my @views = make_random_views($dbh, $s, "$seed/$round", 14);
	my @late = map { my $v = $_; my $id = make($dbh, $v->{name} =~ s/v(\d+)$/late$1/r, $v->{sql}); +{ %$v, id => $id, name => "$v->{name} (late)" } } grep { !$_->{level} } @views;
	cmp_ok(scalar @views, '>', 3, "round $round: " . @views . ' views');
	is(differing($dbh, @views, @late), '', 'filled') or last;
	$dbh->do('CREATE SCHEMA kept');
	$dbh->do("CREATE TABLE kept.$_ (LIKE log.$_)") for map { $_->{name} =~ s/^fz\.//r } @tables;
	my $game = game($s);
	$game->{truncate} = $game->{statement};
	my $wrong = '';
	for my $step (1 .. $steps)
	{
		my $transactions = pick(1, 1, 1, 2, 5, 40);
		churn_once($dbh, $game, 1, $step, 0) for 1 .. $transactions;
		$dbh->do("INSERT INTO kept.$_ SELECT * FROM log.$_") for map { $_->{name} =~ s/^fz\.//r } @tables;
		if (rand() < 0.15)    # every plan is a fresh one
		{
			$dbh->do('SELECT td_run_test.close()');
			$dbh->do("SELECT td_run_test.open($_->{id})") for @views, @late;
		}
		for my $v (@views) { $dbh->do('SELECT td_run_test.force(?, ?, ?)', undef, $v->{id}, $v->{way} = pick('none', 'delta', 'delta', 'delta', 'give up', 'whole'), $v->{size} = pick(0, 0, 1, 2, 3)) }
		$wrong = eval { tick($dbh, 'log', @views); 1 } ? differing($dbh, @views) : $dbh->state . ' ' . $dbh->errstr;
		if (!$wrong && $step % 10 == 0)
		{
			$wrong = eval { tick($dbh, 'kept', @late); 1 } ? differing($dbh, @late) : $dbh->state . ' ' . $dbh->errstr;
			$wrong = "many transactions in one tick: $wrong" if $wrong;
		}
		for my $v (@views)
		{
			my $ran = $dbh->selectrow_array("SELECT td_run_test.ran($v->{id})");
			$ways{"$v->{way}: $1"}++ while $ran =~ /([a-z]+) \d+/g;
			$made{"$1 by $v->{size}"}++ while $ran =~ /([a-z]+) \d+/g;
		}
		if ($wrong) { $wrong = "step $step: " . join(' ', map { "$_->{name}=$_->{way}/$_->{size}" } @views) . "\n$wrong"; last }
	}
	is($wrong, '', "round $round: exact in every way after each of $steps steps") or last;
	$dbh->do("SELECT td_run_test.fill($_->{id})") for sort { $a->{level} <=> $b->{level} } @views;
	is(differing($dbh, @views), '', 'and computed anew they have the same rows');
	$dbh->do('SELECT td_run_test.close()');
	$dbh->disconnect;
	execute('postgres', "DROP DATABASE ways$round WITH (FORCE)");
}
note join "\n", map { "$_ $ways{$_}" } sort keys %ways;
ok($ways{$_}, "$_ was among them") for 'none: keyed', 'delta: keyed', 'give up: cost', 'whole: cost';
ok(!grep({ /^(give up|whole): (delta|keyed|groups)/ } keys %ways), 'what was to be given up was');
ok($made{"keyed by $_"}, "plans of size class $_") for 1 .. 3;

diag 'random: ', time - $^T, ' s';
# ---- giving up ----
my $dbh = new_database('dear');
my %id;
sub view { my ($name, $query, @more) = @_; $id{$name} = $dbh->selectrow_array('SELECT td_run_test.make($1, $2' . join('', map { ", $_" } @more) . ')', undef, $name, $query); return $id{$name} }
sub ran { my ($name) = @_; return $dbh->selectrow_array('SELECT td_run_test.ran(?)', undef, $id{$name}) }
sub limit { my ($name, $ms) = @_; return $dbh->selectrow_array('SELECT td_run_test.limit(?, ?)', undef, $id{$name}, $ms) }
sub step { my ($apart, @names) = @_; return $dbh->selectrow_array('SELECT td_run_test.step(?, false, ?)', undef, [map { $id{$_} } @names], $apart ? 't' : 'f') }
sub exact { my ($what, @names) = @_; is(join('', map { $dbh->selectrow_array("SELECT td_run_test.differs($id{$_})") } @names), '', $what); return }

$dbh->do($_) for 'CREATE TABLE t (id int PRIMARY KEY, g int, v int)', 'CREATE INDEX ON t (g)', 'INSERT INTO t SELECT i, i / 4, i FROM generate_series(1, 6000) i', "SELECT td_run_test.follow('t')", 'ANALYZE t';
my @names = qw(joined sums nested);
view('joined', 'SELECT a.id, b.id AS other, a.v + b.v AS v FROM t a JOIN t b ON b.g = a.g');
view('sums', 'SELECT g, count(*) AS n, min(v) AS lo FROM t GROUP BY g');
view('nested', 'SELECT id, (SELECT max(b.v) FROM t b WHERE b.g = a.g) AS hi FROM t a');
ran($_) for @names;
$dbh->do('UPDATE t SET v = v + 1 WHERE id <= 2800');
limit($_, 1e9) for @names;
is(step(0, @names), '', 'a large delta');
like(ran($_), qr/^(delta|groups|keyed) 1$/, "$_: by delta, which may take for ever") for @names;
exact('exact', @names);
for my $n (1 .. 3)
{
	$dbh->do('UPDATE t SET v = v - 1 WHERE id <= 2800');
	limit($_, 1) for @names;
	is(step(0, @names), '', "more than a delta may take, tick $n");
	is(ran($_), 'cost 1', "$_: computed anew") for @names;
	exact('exact', @names);
}
$dbh->do('UPDATE t SET v = v + 5 WHERE id = 77');
limit($_, 1e9) for @names;
step(0, @names);
like(ran($_), qr/^(delta|groups|keyed) 1$/, "$_: a small change is still one") for @names;
$dbh->do('UPDATE t SET v = v - 1 WHERE id <= 2800');
limit($_, 1e9) for @names;
step(0, @names);
like(ran($_), qr/^(delta|groups|keyed) 1$/, "$_: a whole that takes longer than thought makes forget what was given up for it") for @names;
my %again;
for my $n (1 .. 10)
{
	$dbh->do('UPDATE t SET v = v - 1 WHERE id <= 2800');
	limit($_, 1e9) for @names;
	step(0, @names);
	$again{$_} += ran($_) =~ /^(delta|groups|keyed)/ ? 1 : 0 for @names;
}
cmp_ok($again{$_}, '>', 0, "$_: what was too much is tried again") for @names;
exact('exact', @names);

# one that is slow now and then says nothing of the whole
$dbh->do('UPDATE t SET v = v - 1 WHERE id <= 40');
step(0, @names);
ran($_) for @names;
for my $n (1 .. 200)
{
	limit($_, $n % 5 ? 1e9 : limit($_, 0)) for @names;
	$dbh->do('UPDATE t SET v = v - 1 WHERE id <= 40');
	step(0, @names);
}
unlike(ran($_), qr/cost/, "$_: is not computed anew for deltas that are slow now and then") for @names;

# the last measure of the whole was wrong: deltas that are near it make it measured again (the quickest of some deltas: one that was held up says nothing)
my %least = map { $_ => 1e9 } @names;
for (1 .. 5)
{
	$dbh->do('UPDATE t SET v = v - 1 WHERE id <= 1200');
	limit($_, 1e9) for @names;
	step(0, @names);
	for (@names) { my $ms = limit($_, 1e9); $least{$_} = $ms if $ms < $least{$_} }
}
limit($_, 0.8 * $least{$_}) for @names;
ran($_) for @names;
for (1 .. 30) { $dbh->do('UPDATE t SET v = v - 1 WHERE id <= 1200'); step(0, @names) }
like(ran('joined'), qr/cost/, 'now and then the whole is measured');
exact('exact', @names);

diag 'giving up: ', time - $^T, ' s';
# errors within what can be given up
$dbh->do('UPDATE t SET v = id + 10');
step(0, @names);
view('ratio', 'SELECT id, 100 / v AS r FROM t WHERE g >= 0');
view('above', 'SELECT r, count(*) AS n FROM tapdata_views.ratio GROUP BY r');
limit($_, 1e9) for qw(ratio above);
$dbh->do('UPDATE t SET v = 0 WHERE id = 9');
$dbh->do('UPDATE t SET v = v + 1000000 WHERE id <> 9');
is(step(1, 'joined', 'ratio', 'sums'), "$id{ratio}: 22012 division by zero", 'an error of a large delta is its own');
exact('the others are exact', qw(joined sums));
is($dbh->selectrow_array('SELECT current_user'), 'postgres', 'the user is who he was');
$dbh->do('UPDATE t SET v = 1 WHERE v = 0');
$dbh->do('DELETE FROM log.t');
$dbh->do("SELECT td_run_test.fill($id{$_})") for qw(joined sums nested ratio above);
exact('mended', @names, qw(ratio above));

# a view above one whose large delta was watched, and above one that was given up, gets its delta once
limit($_, 1e9) for @names, qw(ratio above);
$dbh->do('UPDATE t SET v = v % 90 + 1');
is(step(0, qw(ratio above joined sums nested)), '', 'watched below another view');
unlike(ran('ratio'), qr/cost/, 'by delta');
exact('exact', @names, qw(ratio above));
ran($_) for qw(ratio above);
$dbh->do("SELECT td_run_test.force($id{ratio}, 'give up')");
$dbh->do('UPDATE t SET v = v + 7 WHERE id <= 5000');
is(step(0, qw(ratio above joined sums nested)), '', 'given up below another view');
is(ran('ratio'), 'cost 1', 'the one below is computed anew');
like(ran('above'), qr/^(delta|groups|keyed) 1$/, 'the one above takes what that has changed');
exact('exact', @names, qw(ratio above));

# the view's own timeout
$dbh->do(q{CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN WHILE i > 2000000000 LOOP NULL; END LOOP; RETURN i; END $$});
view('slow', 'SELECT id, slow(v) AS s FROM t', 'current_user::regrole', "'300 ms'");
limit('slow', 1e9);
$dbh->do('UPDATE t SET v = 2000000001 WHERE id = 3');
$dbh->do('UPDATE t SET v = v + 1 WHERE id BETWEEN 10 AND 2500');
is(step(1, 'slow'), "$id{slow}: timeout 57014 canceling statement due to statement timeout", 'the timeout of a view is none of its limit');
is($dbh->selectrow_array('SELECT count(pg_sleep(0.4))'), 1, 'and nothing after it is cancelled');
$dbh->disconnect;
finish();
done_testing();
