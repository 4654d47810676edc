# Keys of base tables come and go under views of all kinds, and tables come below others and go again: a view keeps the plan that it was made with, and its
# tables, and is exact; or the command is refused because a view needs the key.  Now and then its worker begins anew, or the whole server after a crash.
#
# TD_SEED=n repeats a run; TD_KEYS_STEPS more of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
srand $seed;
start_server('view_keys', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'SET client_min_messages = error');
sub pick { return $_[int rand @_] }

my @tables = qw(a b c);
execute('postgres', map { ("CREATE TABLE $_ (id int NOT NULL, k int NOT NULL, v int, w text)", "INSERT INTO $_ SELECT i, 10 - i, i % 3, 'w' || i % 4 FROM generate_series(1, 9) i") } @tables);
execute('postgres', 'ALTER TABLE a ADD PRIMARY KEY (id)', 'CREATE UNIQUE INDEX a_k ON a (k)', 'ALTER TABLE b ADD PRIMARY KEY (id, k)', 'CREATE TABLE below (LIKE c)');

my %queries = (
	plain => 'SELECT id, v FROM a', without => 'SELECT id, k, v FROM c', joined => 'SELECT a.v, b.w FROM a JOIN b ON b.id = a.id', left_side => 'SELECT a.v, b.w FROM a LEFT JOIN b ON b.id = a.id', left_none => 'SELECT c.v, b.w FROM c LEFT JOIN b ON b.id = c.id',
	full_side => 'SELECT a.id, c.v FROM a FULL JOIN c ON c.k = a.k', exists => 'SELECT a.id FROM a WHERE EXISTS (SELECT FROM b WHERE b.id = a.id) OR a.v = 1', not_in => 'SELECT c.id, c.v FROM c WHERE c.id NOT IN (SELECT b.k FROM b)',
	grouped => 'SELECT a.id, a.w, count(b.id) AS n FROM a JOIN b ON b.k = a.k GROUP BY a.id, a.w', by_value => 'SELECT v, count(*) AS n, max(w) AS m FROM c GROUP BY v', only_c => 'SELECT v, count(*) AS n FROM ONLY c GROUP BY v', only_rows => 'SELECT id, w FROM ONLY c',
	scalar => 'SELECT a.id, (SELECT sum(b.v) FROM b WHERE b.id = a.id) AS s FROM a', nested => q{SELECT a.id, (SELECT jsonb_agg(b.w ORDER BY b.id, b.k) FROM b WHERE b.id = a.id) AS docs FROM a}, in_windows => 'SELECT id, k, row_number() OVER (PARTITION BY v ORDER BY k) AS n FROM a',
	top => 'SELECT id, k FROM a ORDER BY k LIMIT 3', distinct_ones => 'SELECT DISTINCT a.id, c.v FROM a JOIN c ON c.id = a.k', kept => 'SELECT v, max(id) AS m FROM a GROUP BY v');
execute('postgres', map { "SELECT tapdata.create_view('$_', \$q\$$queries{$_}\$q\$" . ($_ eq 'kept' ? q{, '{"old_images": "kept"}'} : '') . ')' } sort keys %queries);

sub wrong
{
	my @wrong;
	for my $view (sort keys %queries)
	{
		my $error = try_do(psql('postgres'), "SELECT tapdata.wait_view('$view', '60 s')");
		my $found = $error || rows('postgres', "SELECT * FROM tapdata.check_view('$view', 4)");
		push @wrong, "$view: $found" if $found ne '';
		my ($have, $want) = map { $error ? '' : rows('postgres', "SELECT w::text FROM ($_) w ORDER BY 1") } "SELECT * FROM $view", $queries{$view};
		push @wrong, "$view is\n$have\nthe query\n$want" if $have ne $want;
	}
	return join "\n", @wrong;
}

sub ddl
{
	my $t = pick(@tables);
	my $column = pick(qw(id k v));
	return pick("ALTER TABLE $t ADD PRIMARY KEY (id)", "ALTER TABLE $t DROP CONSTRAINT ${t}_pkey", "CREATE UNIQUE INDEX ${t}_$column ON $t ($column)", "DROP INDEX ${t}_$column", "CREATE UNIQUE INDEX ${t}_both ON $t (id, k)", "DROP INDEX ${t}_both",
		"ALTER TABLE $t ADD CONSTRAINT ${t}_both UNIQUE (k, id)", "ALTER TABLE $t ALTER v SET NOT NULL", "ALTER TABLE $t ALTER v DROP NOT NULL", "ALTER TABLE below INHERIT $t", "ALTER TABLE below NO INHERIT $t", "ALTER TABLE below INHERIT c", "ALTER TABLE below NO INHERIT c");
}

sub dml
{
	my $t = pick(@tables, 'below');
	my ($id, $k, $v) = map { int rand 30 } 1 .. 3;
	return pick("INSERT INTO $t VALUES ($id, $k, $v % 4, 'w' || $v % 5)", "INSERT INTO $t VALUES ($id, $k, $v % 4, NULL)", "DELETE FROM $t WHERE id % 7 = $id % 7", "UPDATE $t SET v = $v % 4 WHERE id % 3 = $id % 3", "UPDATE $t SET k = k + 30 WHERE id = $id", "UPDATE ONLY $t SET v = v + 1, w = 'x' WHERE id > $id");
}

is(wrong(), '', 'as made');
my (%said, %did);
for my $step (1 .. $ENV{TD_KEYS_STEPS} || 40)
{
	my @done;
	for (1 .. 1 + int rand 3)
	{
		my $sql = rand() < 0.5 ? ddl() : dml();
		my $error = try_do(psql('postgres'), $sql);
		push @done, $error ? "$sql -- $error" : $sql;
		$did{ $sql =~ /^(\w+ \w+)/ ? $1 : '' }++ if !$error;
		$said{ substr $error, 0, 5 }++ if $error;
		fail("$sql: $error") if $error && $error !~ /^(2BP01|42P01|42P07|42704|42P16|42710|23505|23502|42804|42P17|42703)/;
	}
	my $begin = pick((0) x 12, 1, 2);
	if ($begin == 1) { execute('postgres', q{SELECT pg_terminate_backend(pid) FROM tapdata.workers WHERE kind = 'view'}); push @done, 'its worker begins anew' }
	if ($begin == 2) { restart_server('immediate', 'max_worker_processes = 32'); execute('postgres', 'SET client_min_messages = error'); push @done, 'crash' }
	my $found = wrong();
	is($found, '', "step $step") or do { diag join "\n", @done; last };
}
cmp_ok($said{'2BP01'} // 0, '>', 0, 'some are refused because views need the key');
cmp_ok($did{'ALTER TABLE'} // 0, '>', 0, '... others not');
{
	my $kept_by = sub { rows('postgres', q{SELECT strategy, detail FROM tapdata.explain_view('without') WHERE node = 'view'}) };
	execute('postgres', 'DROP TABLE below', (map { "SELECT tapdata.drop_view('$_')" } grep { $queries{$_} =~ /\bc\b/ } sort keys %queries), 'ALTER TABLE c DROP CONSTRAINT IF EXISTS c_pkey', 'ALTER TABLE c DROP CONSTRAINT IF EXISTS c_both', 'DROP INDEX IF EXISTS c_both', 'DROP INDEX IF EXISTS c_id', 'DROP INDEX IF EXISTS c_k', 'DROP INDEX IF EXISTS c_v', 'DELETE FROM c', qq{SELECT tapdata.create_view('without', \$q\$$queries{without}\$q\$)});
	my $before = $kept_by->();
	execute('postgres', 'ALTER TABLE c ADD PRIMARY KEY (id)');
	is($kept_by->(), $before, 'explain_view shows the plan that it has, whatever key has come');
	isnt(rows('postgres', qq{SELECT strategy, detail FROM tapdata.explain_query(\$q\$$queries{without}\$q\$) WHERE node = 'view'}), $before, '... and explain_query another one');
}
# of a partitioned table, and without a constraint
execute('postgres', 'CREATE TABLE parted (id int NOT NULL, v int) PARTITION BY RANGE (id)', 'CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10)', 'CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (100)',
	'CREATE UNIQUE INDEX parted_id ON parted (id)', 'INSERT INTO parted SELECT i, i % 3 FROM generate_series(1, 20) i', q{SELECT tapdata.create_view('of_parted', 'SELECT p.v, b.w FROM parted p LEFT JOIN b ON b.id = p.id')}, 'UPDATE parted SET id = 30 WHERE id = 1');
is(try_do(psql('postgres'), q{SELECT tapdata.wait_view('of_parted', '60 s')}) || rows('postgres', q{SELECT * FROM tapdata.check_view('of_parted')}), '', 'a key of a partitioned table');
like(try_do(psql('postgres'), 'DROP INDEX parted_id'), qr/^2BP01 .*drop_view\('public\.of_parted'\)/s, '... stays');
like(try_do(psql('postgres'), 'ALTER TABLE a DROP CONSTRAINT a_pkey'), qr/^2BP01 .*drop_view\('public\./s, 'what is refused names the calls');
like(try_do(psql('postgres'), 'CREATE TABLE more () INHERITS (a)'), qr/^2BP01 .*can't inherit from "a": live views need a key of that.*ONLY/s, '... and the other way');
finish();
done_testing();
