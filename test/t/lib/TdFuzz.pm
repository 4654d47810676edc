# The fuzzer of live views: a random schema, its writers' statements, views of random queries, and what to do with a failure.
#
# Everything of a round follows from its seed: tables, queries, each writer's transactions (what they meet in the tables
# does not: they run at once).  A failure is sought again with one writer, cut down to rows, a query and the statements of
# one transaction, and printed as a script.
package TdFuzz;
use strict;
use warnings;
use Digest::MD5 qw(md5);
use Exporter 'import';
use TdQueries qw(random_query text shrink kinds literal sql_type in_schema pick);
use TdViews qw(churn_once inexact unequal wait_views);
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(seed_of make_schema starting_rows game changes_of_schema changes_of_meaning next_query plain_result create_view explained implausible clear dump_rows reproduce);

# A number for a purpose: neighbours have nothing in common.
sub seed_of { return unpack('L', md5(join '/', @_)) & 0x7fffffff }

# ---- schema ----

my @columns = ([b => 'int', 'smallint'], [x => 'int', 'bigint'], [n => 'num', 'numeric'], [m => 'dec', 'numeric(8,2)'], [s => 'text', 'text'], [v => 'text', 'varchar(10)'], [d => 'date', 'date'],
	[ts => 'ts', 'timestamp'], [tz => 'tz', 'timestamptz'], [o => 'bool', 'boolean'], [u => 'uuid', 'uuid'], [j => 'json', 'jsonb'], [l => 'ints', 'int[]'], [f => 'float', 'float8'],
	[i => 'span', 'interval'], [y => 'bytes', 'bytea'], [w => 'time', 'time'], [e => 'mood'], [p => 'ip'], [g => 'texts'], [r => 'range'], [c => 'pair'], [q => 'bits'], [h => 'raw'], [z => 'int', 'small'], [fr => 'float', 'real'], [bp => 'bp'], [mo => 'cash']);
my $ids = 40;    # values of id

# key: columns of the primary key; %s in `more` is the table
my @forms = (
	{ name => 'a', key => ['id'] },
	{ name => 'b', key => [qw(k id)] },
	{ name => 'c', key => [] },
	{ name => 'd', key => ['id'], how => 'PARTITION BY RANGE (id)', tags => ['partitioned table'],
		more => ['CREATE TABLE %s_low PARTITION OF %s FOR VALUES FROM (MINVALUE) TO (20)', 'CREATE TABLE %s_high PARTITION OF %s FOR VALUES FROM (20) TO (MAXVALUE)'] },
	{ name => 'e', key => ['id'], key_type => 'uuid' },
	{ name => 'f', key => [], how => 'PARTITION BY LIST (a)', tags => ['partitioned table'],
		more => ['CREATE TABLE %s_some PARTITION OF %s FOR VALUES IN (0, 1)', 'CREATE TABLE %s_rest PARTITION OF %s DEFAULT'] },
	{ name => 'g', key => ['id'], more => ['CREATE TABLE %s_child () INHERITS (%s)'], parent => 1 });

# { schema, ddl => [...], tables => [{ name, columns, key }], sources => [...] }, all of one seed.
sub make_schema
{
	my ($schema, $seed) = @_;
	srand seed_of($seed, 'schema');
	in_schema($schema);
	my @forms = (@forms[0, 1, 2], pick(@forms[3, 3, 5]), rand() < 0.4 ? $forms[4] : (), rand() < 0.3 ? $forms[6] : ());
	my (@ddl, @tables, @sources);
	push @ddl, "CREATE SCHEMA $schema", "CREATE TYPE $schema.mood AS ENUM ('sad', 'ok', 'happy')", "CREATE TYPE $schema.pair AS (p int, q text)", "CREATE DOMAIN $schema.small AS int CHECK (VALUE < 100)", "CREATE FUNCTION $schema.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT \$1 * 2'";
	for my $form (@forms)
	{
		my $name = "$schema.$form->{name}";
		my @own = (['a', 'int', 'int'], grep { rand() < 0.4 } @columns);
		my $id = $form->{key_type} // 'int';
		unshift @own, ['id', $id, $id];
		unshift @own, ['k', 'int', 'int'] if grep { $_ eq 'k' } @{ $form->{key} };
		my %not_null = map { $_ => 1 } @{ $form->{key} };
		for my $c (@own) { $not_null{ $c->[0] } = 1 if rand() < 0.12 }
		@own = sort { ($a->[3] //= rand) <=> ($b->[3] //= rand) } @own;
		push @ddl, "CREATE TABLE $name (" . join(', ', map { "$_->[0] " . (($_->[2] // '') eq 'small' ? "$schema.small" : $_->[2] // sql_type($_->[1])) . ($not_null{ $_->[0] } ? ' NOT NULL' : '') } @own)
			. (@{ $form->{key} } ? ', PRIMARY KEY (' . join(', ', @{ $form->{key} }) . ')' : '') . ')' . ($form->{how} ? " $form->{how}" : '');
		push @ddl, map { s/%s/$name/gr } @{ $form->{more} || [] };
		push @ddl, "CREATE INDEX ON $name (a)" if rand() < 0.4;
		my @typed = map { [$_->[0], $_->[1]] } @own;
		my %type = map { @$_ } @typed;
		push @tables, { name => $name, columns => \@typed, not_null => \%not_null, key => $form->{key}, id => $id };
		$tables[-1]{partitions} = [map { / (\S+) PARTITION OF \S+ (.*)/ ? [$1, $2] : () } map { s/%s/$name/gr } @{ $form->{more} || [] }];
		push @tables, { %{ $tables[-1] }, name => "${name}_child", child => 1, partitions => [] } if $form->{name} eq 'g';
		push @sources, { name => $name, columns => \@typed, id => $id eq 'int', tags => $form->{tags} || [],
			order => @{ $form->{key} } && !$form->{parent} ? [map { [$_, $type{$_}] } @{ $form->{key} }] : undef };
		if ($form->{parent})
		{
			my $with_children = $sources[-1];
			push @sources, { %$with_children, name => "ONLY $name", tags => ['inherited table, ONLY'] }, { %$with_children, name => "${name}_child", tags => ['child table'] };
			$with_children->{tags} = ['inherited table'];
		}
	}
	push @ddl, map { "CREATE VIEW $schema.$_" } 'plain AS SELECT id AS c1, a AS c2 FROM ' . "$schema.a WHERE a IS NOT NULL", "joined AS SELECT p.c1, q.k AS c2, q.a AS c3 FROM $schema.plain p LEFT JOIN $schema.b q ON q.id = p.c1",
		"grouped AS SELECT a AS c1, count(*)::int AS c2, max(id) AS c3 FROM $schema.c GROUP BY a";
	push @sources, { name => "$schema.plain", columns => [['c1', 'int'], ['c2', 'int']], tags => ['ordinary view'] };
	push @sources, { name => "$schema." . pick('joined', 'grouped'), columns => [['c1', 'int'], ['c2', 'int'], ['c3', 'int']], tags => ['ordinary view of more'] };
	my @over = ordinary_views($schema, @sources);
	push @ddl, map { "CREATE VIEW $_->{name} AS $_->{sql}" } @over;
	return { schema => $schema, ddl => \@ddl, tables => \@tables, over => \@over, sources => [@sources, @sources[0 .. 2], (@over) x ($ENV{TD_FUZZ_ORDINARY} // 1)] };
}

# Ordinary views of random queries, over which others are split.  (Not grouping sets: to 17 PostgreSQL takes a column of them for ordered that has nulls in between, and a merge join with it loses rows.)
sub ordinary_views
{
	my ($schema, @sources) = @_;
	my @over;
	for my $n (1 .. 4)
	{
		my $q = random_query($schema, pick(grep { !/^(?:recursive|sets)$/ } kinds()), pick(0, 0, 0, 1, 1, 2), @sources);
		push @over, { name => "$schema.o$n", sql => text($q->{sql}), columns => $q->{columns}, tags => ['ordinary view of any query'] };
	}
	return @over;
}

# ---- statements ----

sub value_of
{
	my ($t, $c) = @_;
	my ($name, $type) = @$c;
	return 'NULL' if !$t->{not_null}{$name} && rand() < 0.2;
	return $type eq 'uuid' ? "md5('" . int(rand $ids) . "')::uuid" : int rand $ids if $name eq 'id';
	return -2 + int rand 6 if $name eq 'x';
	return "repeat('long', 900)" if $name eq 's' && rand() < 0.05;
	return literal($type);
}

sub insert_of
{
	my ($t, $n, %given) = @_;
	my @rows = map { '(' . join(', ', map { $given{ $_->[0] } // value_of($t, $_) } @{ $t->{columns} }) . ')' } 1 .. $n;
	return "INSERT INTO $t->{name} (" . join(', ', map { $_->[0] } @{ $t->{columns} }) . ') VALUES ' . join(', ', @rows) . (@{ $t->{key} } ? ' ON CONFLICT DO NOTHING' : '');
}

sub where_of
{
	my ($t) = @_;
	my %has = map { $_->[0] => 1 } @{ $t->{columns} };
	my $id = value_of({ not_null => { id => 1 } }, ['id', $t->{id}]);
	return pick("id = $id", "id = $id", 'a = ' . int(rand 4) . ' AND id > ' . value_of({ not_null => { id => 1 } }, ['id', $t->{id}]), $has{b} ? 'b IS NULL' : 'a IS NULL',
		$t->{id} eq 'int' ? 'id % 7 = ' . int(rand 7) : "id < $id AND a = 1");
}

sub statement
{
	my ($tables) = @_;
	my $t = pick(@$tables);
	my $r = rand();
	return insert_of($t, pick(1, 1, 1, 2, 4)) if $r < 0.38;
	return "DELETE FROM $t->{name} WHERE " . where_of($t) if $r < 0.5;
	my @c = grep { $_->[0] !~ /^(id|k)$/ } @{ $t->{columns} };
	my $set = sub { my %set = map { my $c = pick(@c); ($c->[0] => value_of($t, $c)) } 1 .. 1 + int rand 3; join ', ', map { "$_ = $set{$_}" } sort keys %set };
	return "UPDATE $t->{name} SET " . $set->() . ' WHERE ' . where_of($t) if $r < 0.85;
	my $id = value_of({ not_null => { id => 1 } }, ['id', $t->{id}]);
	if ($r < 0.92)    # one row comes, changes and goes
	{
		my @life = (insert_of($t, 1, id => $id), "UPDATE $t->{name} SET " . $set->() . " WHERE id = $id", "DELETE FROM $t->{name} WHERE id = $id");
		return join '; ', rand() < 0.3 ? reverse @life : @life;
	}
	my $other = value_of({ not_null => { id => 1 } }, ['id', $t->{id}]);
	if (!@{ $t->{key} } && $t->{id} eq 'int' && rand() < 0.3)    # many that are alike, of which few stay
	{
		my ($n, $row) = (pick(50, 300), insert_of($t, 1, id => $id) =~ s/VALUES \(/SELECT /r =~ s/\)$//r);
		return "$row FROM generate_series(1, $n); DELETE FROM $t->{name} WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM $t->{name} WHERE id = $id LIMIT " . ($n - int rand 3) . ')';
	}
	return "UPDATE $t->{name} SET id = $other WHERE id = $id" if $r < 0.97 || !grep { $_->[0] eq 'k' } @{ $t->{columns} };
	return "UPDATE $t->{name} SET k = " . int(rand 4) . " WHERE id = $id";
}

# What churn_once of TdViews plays.
sub game { my ($s) = @_; return { statement => sub { statement($s->{tables}) }, truncate => sub { 'TRUNCATE ' . pick(@{ $s->{tables} })->{name} } } }

# ---- DDL ----

# What somebody does while others write: [statements], of which any may fail.
sub changes_of_schema
{
	my ($s, @views) = @_;
	my $t = pick(@{ $s->{tables} });
	my ($name, $index) = ($t->{name}, "$s->{schema}.its_index");
	my $column = pick(grep { $_->[1] !~ /^(raw|pair)$/ } @{ $t->{columns} })->[0];
	my @all = (
		["ALTER TABLE $name ADD COLUMN extra " . pick('int', 'text', "int DEFAULT 7", 'float8 DEFAULT random()')], ["ALTER TABLE $name DROP COLUMN extra"], ["CREATE INDEX its_index ON $name ($column)"], ["DROP INDEX $index"],
		["VACUUM FULL $name"], ["VACUUM $name"], ["ANALYZE $name"], ["REINDEX TABLE $name"], ["TRUNCATE $name"], ['BEGIN', "TRUNCATE $name", insert_of($t, 3), 'COMMIT'],
		['BEGIN', insert_of($t, 1), "ALTER TABLE $name RENAME TO away", statement([grep { $_->{name} ne $name } @{ $s->{tables} }]), "ALTER TABLE $s->{schema}.away RENAME TO " . $name =~ s/.*\.//r, insert_of($t, 1), 'COMMIT'],
		['BEGIN', "ALTER TABLE $name ADD COLUMN extra2 int", insert_of($t, 2), "ALTER TABLE $name DROP COLUMN extra2", statement([$t]), 'COMMIT'], ["ALTER TABLE $name ALTER COLUMN $column SET STATISTICS 10"],
		["ALTER TABLE $name ALTER COLUMN $column SET NOT NULL"], ["ALTER TABLE $name ALTER COLUMN $column DROP NOT NULL"], ["ALTER TABLE $name ALTER COLUMN $column SET DEFAULT NULL"],
		["CREATE OR REPLACE FUNCTION $s->{schema}.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT \$1 + \$1'"], ["CREATE INDEX its_index ON $name ($column)", "CLUSTER $name USING its_index"]);
	push @all, map { [changes_of_meaning($s)] } 1 .. 2;
	push @all, map { ["SELECT tapdata.refresh_view('$_')"] } pick(@views) if @views;
	if (my ($part, $bounds) = @{ $t->{partitions} } ? @{ pick(@{ $t->{partitions} }) } : ())
	{
		my $p = { %$t, name => $part };
		my ($off, $on) = ("ALTER TABLE $name DETACH PARTITION $part", "ALTER TABLE $name ATTACH PARTITION $part $bounds");
		push @all, ([$off, statement([$p]), statement([$p]), $on]) x 3, ['BEGIN', statement([$t]), $off, statement([$p]), $on, 'COMMIT'], ["$off CONCURRENTLY", statement([$p]), $on], ["TRUNCATE $part"], [statement([$p])], ["VACUUM FULL $part"],
			['BEGIN', "DELETE FROM $name WHERE a = 2", "CREATE TABLE $s->{schema}.two PARTITION OF $name FOR VALUES IN (2)", insert_of($t, 3), 'COMMIT'], ["DROP TABLE $s->{schema}.two"];
	}
	if ($t->{child})
	{
		my $parent = $name =~ s/_child$//r;
		push @all, (["ALTER TABLE $name NO INHERIT $parent", statement([$t]), statement([$t]), "ALTER TABLE $name INHERIT $parent"]) x 3, ['BEGIN', statement([$t]), "ALTER TABLE $name NO INHERIT $parent", statement([$t]), "ALTER TABLE $name INHERIT $parent", 'COMMIT'],
			['BEGIN', "CREATE TABLE $s->{schema}.second () INHERITS ($parent)", insert_of({ %$t, name => "$s->{schema}.second" }, 2), 'COMMIT'], ["DROP TABLE $s->{schema}.second"];
	}
	return pick(@all);
}

# What makes queries mean another thing.
sub changes_of_meaning
{
	my ($s) = @_;
	return pick(map { "CREATE OR REPLACE $_" } "FUNCTION $s->{schema}.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT \$1 * 3'", "FUNCTION $s->{schema}.twice(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN \$1 * 2; END'",
		"VIEW $s->{schema}.plain AS SELECT id AS c1, a AS c2 FROM $s->{schema}.a WHERE a > 1", "VIEW $s->{schema}.plain AS SELECT id AS c1, a AS c2 FROM $s->{schema}.a",
		"VIEW $s->{schema}.grouped AS SELECT a AS c1, count(id)::int AS c2, min(id) AS c3 FROM $s->{schema}.c GROUP BY a",
		map { my $o = $_; map { "VIEW $o->{name} AS SELECT * FROM ($o->{sql}) q WHERE $_" } 'true', "$o->{columns}[0][0] IS NOT NULL" } @{ $s->{over} });
}

# ---- queries and views ----

# A query of that number of a round.  $views: more sources.
sub next_query
{
	my ($s, $seed, $number, $kind, $views) = @_;
	srand seed_of($seed, 'query', $number);
	my @views = $views && @$views && rand() < 0.25 ? map { my $v = $_; +{ name => $v->{name}, columns => $v->{columns}, tags => ['view over view'] } } (pick(@$views)) x 4 : ();
	return random_query($s->{schema}, $kind, pick(0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5), @{ $s->{sources} }, @views);
}

# '' when the bare query gives the same rows by two plans; why not otherwise: dear (too slow or too large: not used as a view), or an error.
sub plain_result
{
	my ($dbh, $sql, $limit) = @_;
	my @digests;
	$dbh->begin_work;
	my $ok = eval {
		$dbh->do('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL statement_timeout = ' . ($limit // 150));
		for my $plan (qw(on off))
		{
			$dbh->do("SET LOCAL enable_hashagg = $plan; SET LOCAL enable_hashjoin = $plan; SET LOCAL enable_material = $plan");
			my ($n, $size, $digest) = $dbh->selectrow_array("SELECT count(*), sum(length(w::text)), md5(string_agg(w::text, E'\\n' ORDER BY w::text COLLATE \"C\")) FROM ($sql) w");
			die "dear\n" if $n > 3000 || ($size // 0) > 1_000_000;
			push @digests, $digest // '';
		}
		1 };
	my $why = $ok ? '' : $@ eq "dear\n" || ($dbh->state // '') eq '57014' ? 'dear' : ($dbh->state // '') . ' ' . ($dbh->errstr // $@);
	eval { $dbh->rollback; 1 } or $dbh->rollback;    # the timeout may come as late as that
	return $why || ($digests[0] eq $digests[1] ? '' : 'another plan gives other rows');
}

# '' when it was created, 'refused: ...' for 0A000, 'failed: ...' for anything else
sub create_view
{
	my ($dbh, $name, $sql, $options) = @_;
	my $said = said($dbh, 'SELECT tapdata.create_view($1, $2, $3)', $name, $sql, $options // '{}');
	return $said if $said !~ /old rows of table .* can't be kept/;    # without a key, or with and without ONLY
	return said($dbh, 'SELECT tapdata.create_view($1, $2, $3)', $name, $sql, $options =~ s/"old_images": "kept"(?:, )?//r =~ s/, \}/}/r);
}

# The same of explain_query, which must say something.
sub explained { my ($dbh, $sql) = @_; return said($dbh, q{SELECT 1 / (count(*) FILTER (WHERE node <> '' AND strategy <> ''))::int FROM tapdata.explain_query($1)}, $sql) }

sub said
{
	my ($dbh, $call, @arguments) = @_;
	return '' if eval { $dbh->do($call, undef, @arguments); 1 };
	my ($state, $message) = ($dbh->state // '', $dbh->errstr // $@);
	return ($state eq '0A000' ? 'refused: ' : 'failed: ') . "$state $message";
}

# Rows of tapdata.views that can't be, of views that have been waited for; '' = none.
sub implausible
{
	my ($dbh) = @_;
	return join '', map { "tapdata.views: $_\n" } @{ $dbh->selectcol_arrayref(q{SELECT v::text FROM tapdata.views v WHERE (status = 'streaming' AND exact AND snapshot IS NOT NULL AND since <= clock_timestamp()
		AND freshness BETWEEN '0' AND '1 min' AND ticks >= 0 AND strategy IN ('delta', 'counters', 'keyed', 'top-k', 'full') AND num_nonnulls(sqlstate, error, hint) = 0 AND (ticks = 0 OR last_tick <= clock_timestamp())
		AND (NOT changes OR changes_tick >= changes_from) AND twin::text LIKE 'tapdata_views.%') IS NOT TRUE}) };
}

# ---- a failure, made small ----

# The first of a step whose statements are no transaction; each may fail.
my $by_itself = '-- one by one';

sub play { my ($dbh, @steps) = @_; for (@steps) { eval { $dbh->do($_); 1 } or eval { $dbh->do('ROLLBACK') } } eval { $dbh->do('ROLLBACK') }; return }

# { schema, ddl, rows => [statements], views => [[name, piece]...], steps => [transactions: [statements]...] } run from nothing, with
# a look after each transaction: what is wrong, '' = nothing, or what could not be run.
sub replay
{
	my ($dbh, $case) = @_;
	my $schema = $case->{schema};
	$dbh->rollback if !$dbh->{AutoCommit};
	clear($dbh, $schema);
	return '' if !eval { $dbh->do($_) for @{ $case->{ddl} }, @{ $case->{rows} }; 1 };
	for my $v (@{ $case->{views} })
	{
		return '' if plain_result($dbh, text($v->[1]), 2000);
		my $said = create_view($dbh, "$schema.$v->[0]", text($v->[1]));
		return $said =~ /^refused/ ? '' : $said if $said;
	}
	my $wrong = verdict($dbh, $case);
	for my $step (@{ $case->{steps} })
	{
		last if $wrong;
		if (($step->[0] // '') eq $by_itself) { play($dbh, @$step[1 .. $#$step]); $wrong = verdict($dbh, $case); next }
		$dbh->begin_work;
		for (@$step) { if (!eval { $dbh->do($_); 1 }) { $dbh->rollback; return '' } }
		$dbh->commit;
		$wrong = verdict($dbh, $case);
	}
	return $wrong;
}

sub clear
{
	my ($dbh, $schema) = @_;
	eval { $dbh->do("SELECT tapdata.drop_view('$_')") } for reverse @{ $dbh->selectcol_arrayref("SELECT view FROM tapdata.views WHERE view::text LIKE '$schema.%' ORDER BY view::oid") };
	$dbh->do("SET client_min_messages = warning; DROP SCHEMA IF EXISTS $schema CASCADE");
	return;
}

sub verdict
{
	my ($dbh, $case) = @_;
	my @names = map { $_->[0] } @{ $case->{views} };
	my $wrong = eval { wait_views($dbh, $case->{schema}, @names); inexact($dbh, $case->{schema}, @names) };
	return "error: $@" if !defined $wrong;
	return $wrong || unequal($dbh, $case->{schema}, \@names, [map { text($_->[1]) } @{ $case->{views} }], 1);
}

# Rows of all tables, as statements, one a row.
sub dump_rows
{
	my ($dbh, $s) = @_;
	return [map { my $t = $_->{name}; map { "INSERT INTO $_->[0] SELECT (" . $dbh->quote($_->[1]) . "::$t).*" } @{ $dbh->selectall_arrayref("SELECT t.tableoid::regclass, t::text FROM $t t") } }
		grep { !$_->{child} } @{ $s->{tables} }];
}

# Looks for the failure with one writer and a check after each transaction, then makes it small; returns a script.  ddl: that was at work, too.
sub reproduce
{
	my ($dbh, $s, $seed, $views, $budget, $ddl) = @_;
	my $until = time + $budget;
	my $case = { schema => $s->{schema}, ddl => [@{ $s->{ddl} }], views => $views, steps => [], rows => starting_rows($s, $seed) };
	my $wrong = replay($dbh, $case);
	my ($game, @history, $before) = (game($s));
	for (my $n = 1; !$wrong && time < $until - $budget / 2; $n++)
	{
		my (@steps, $committed);
		$before = dump_rows($dbh, $s);
		srand seed_of($seed, 'writer', 1 + $n % 4, $n);
		if ($ddl && $n % 2)
		{
			my $step = changes_of_schema($s, map { "$s->{schema}.$_->[0]" } @$views);
			play($dbh, @$step);
			push @history, [$by_itself, @$step];
			$wrong = verdict($dbh, $case);
			next;
		}
		$dbh->{Callbacks} = { do => sub { push @steps, $_[1]; return }, commit => sub { $committed = 1; return } };
		eval { churn_once($dbh, $game, 1, $n, 0) };
		$dbh->{Callbacks} = undef;
		$dbh->rollback if !$dbh->{AutoCommit};
		push @history, without_savepoints(@steps) if $committed;
		$wrong = verdict($dbh, $case);
	}
	return "one writer alone does not show it\n" if !$wrong;
	my $kind = sub { return $_[0] =~ /^(\w+: \w+)/ && $1 !~ /^v\d+/ ? $1 : 'rows' };
	my $same = $kind->($wrong);    # another failure would be another case
	my $fails = sub { return 0 if time > $until; my $w = eval { replay($dbh, $case) } // ''; return 0 if !$w || $kind->($w) ne $same; $wrong = $w; return 1 };
	my $all = { rows => $case->{rows}, steps => [@history] };
	@$case{qw(rows steps)} = ($before, [@history ? $history[-1] : ()]) if $before;    # the last transaction alone, or all of them
	my $kept = $fails->();
	if (!$kept) { @$case{qw(rows steps)} = @$all{qw(rows steps)}; $kept = $fails->() }
	return "seen once more with one writer, but not in its transactions alone: $wrong" if !$kept;
	make_small($case, $fails);
	my $script = join '', map { "$_;\n" } @{ $case->{ddl} }, @{ $case->{rows} };
	$script .= "SELECT tapdata.create_view('$s->{schema}.$_->[0]', \$\$" . text($_->[1]) . "\$\$);\nSELECT tapdata.wait_view('$s->{schema}.$_->[0]');\n" for @{ $case->{views} };
	$script .= join '', map { my $alone = $_->[0] eq $by_itself; ($alone ? '' : "BEGIN;\n") . join('', map { "$_;\n" } @$_) . ($alone ? '' : "COMMIT;\n") } @{ $case->{steps} };
	return "$script-- $wrong";
}

sub starting_rows { my ($s, $seed) = @_; srand seed_of($seed, 'rows'); return [map { my $t = $_; map { insert_of($t, 1) } 1 .. 25 } @{ $s->{tables} }] }

# What savepoints took back is no part of the transaction.
sub without_savepoints
{
	my (@steps) = @_;
	my (@kept, $mark);
	for (@steps)
	{
		if (/^SAVEPOINT/) { $mark = @kept }
		elsif (/^ROLLBACK TO/) { splice @kept, $mark }
		else { push @kept, split /; / }
	}
	return \@kept;
}

sub make_small
{
	my ($case, $fails) = @_;
	for my $pass (1, 2)
	{
		fewer($case->{views}, $fails, 1);
		fewer($case->{steps}, $fails, 0);
		shrink($_->[1], $fails) for reverse @{ $case->{views} };
		fewer($_, $fails, 0) for @{ $case->{steps} };
		fewer($case->{rows}, $fails, 0);
	}
	fewer($case->{ddl}, $fails, 0);
	return;
}

# Leaves out ever smaller stretches of a list while `$fails` stays true.
sub fewer
{
	my ($l, $fails, $least) = @_;
	for (my $size = int(@$l / 2) || 1; $size >= 1; $size = int($size / 2))
	{
		for (my $i = @$l - $size; $i >= 0; $i -= $size)
		{
			next if @$l - $size < $least || $i + $size > @$l;
			my @was = splice @$l, $i, $size;
			splice @$l, $i, 0, @was if !$fails->();
		}
	}
	return;
}

1;
