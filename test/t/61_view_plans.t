# src/view/plan: the statements of random queries, run against random changes by hand (deltas, leaves and state are temporary tables), must
# give what the query gives afterwards, display scales included.  TD_SEED chooses the queries, TD_ROUNDS how many.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use File::Copy;
use TdProcs;

my $top = "$FindBin::Bin/../..";
my $pg = start_server('plans');
my $so = "$pg->{TD_PG_DATA}/../td_plan_test.so";
system("make -s -C $top/test/unit/td_plan_test PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_plan_test does not build');
copy("$top/test/unit/td_plan_test/td_plan_test.so", $so) or BAIL_OUT("td_plan_test.so: $!");
chmod 0755, $so;
execute('postgres', 'CREATE DATABASE unit');
execute('unit', 'CREATE EXTENSION tapdata');
is(system("$pg->{TD_PG_BIN}/psql", '-qAtX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-d', 'unit', '-v', 'ON_ERROR_STOP=1',
	'-v', 'td_plan_test=' . ($so =~ s/\.so$//r), '-f', "$top/test/unit/td_plan_test/td_plan_test.sql"), 0, 'td_plan_test is there');

my $seed = $ENV{TD_SEED} // int(rand(1 << 31));
my $rounds = $ENV{TD_ROUNDS} // 150;
srand($seed);
my $db = psql('unit');
$db->do($_) for 'SET jit = off', 'SET random_page_cost = 1.1', q{CREATE TYPE public."Mood" AS ENUM ('sad', 'ok', 'happy')}, 'CREATE TYPE public.pair AS (a int, b int)',
	'CREATE DOMAIN public.small AS int CHECK (VALUE < 100)';

sub one { return $_[int rand @_] }
sub chance { return rand() < $_[0] }
sub column { my ($sql) = @_; return @{ $db->selectcol_arrayref($sql) } }
sub scalar_of { my ($sql) = @_; return (column($sql))[0] }
sub path { $db->do("SET search_path = $_[0]"); return }

# A text as it stands: statements have question marks and colons of their own.
sub run_sql
{
	my ($sql, $what) = @_;
	return if eval { $db->do($sql, { pg_direct => 1 }); 1 };
	die(($what // 'statement') . ": $@\n$sql\n");
}

# ---- tables ----
my %columns = (k => 'int', v => 'int', s => 'smallint', b => 'bigint', n => 'numeric', m => 'numeric(8,2)', f => 'float8', t => 'text', c => 'varchar(4)',
	u => 'text COLLATE "C"', d => 'date', i => 'interval', e => 'public."Mood"', '"Odd ""Name"' => 'char(3)', '"r1"' => 'int', '"select"' => 'int', '"ä"' => 'bool',
	p => 'public.pair', a => 'int[]', z => 'public.small');
my @names = sort keys %columns;
my %relid;

sub value_of
{
	my ($type) = @_;
	return 'NULL' if chance(0.2);
	my %make = (
		int => sub { int(rand 3) }, smallint => sub { int(rand 40) - 20 }, bigint => sub { one(0, 5, '9223372036854775807', '-9223372036854775808', 1 << 40) },
		numeric => sub { one("'NaN'", "'Infinity'", "'-Infinity'", 1, '2.5', '2.50', '-0.125', '1e30', '0', '0.000', '7.0001', '0.0000000001', '123456789.987') },
		'numeric(8,2)' => sub { one("'NaN'", 1, '2.5', '-17.25', '0', '99.99') },
		float8 => sub { one(0.5, 1, -2.25, "'NaN'", "'Infinity'", 3) }, text => sub { one("''", "'x'", "'X'", "'zz'") }, 'varchar(4)' => sub { one("'ab'", "'AB'", "'abcd'") },
		'text COLLATE "C"' => sub { one("'a'", "'B'", "'b'") }, date => sub { "date '2024-01-01' + " . int(rand 3) }, interval => sub { one("'1 day'", "'3 hours'", "'1 mon 2 s'") },
		'public."Mood"' => sub { one("'sad'", "'ok'") }, 'char(3)' => sub { one("'p'", "'q'") }, bool => sub { one('true', 'false') },
		'public.pair' => sub { one('ROW(1,2)', 'ROW(NULL,NULL)', 'ROW(1,NULL)') }, 'int[]' => sub { one("'{}'", "'{1,2}'", "'{NULL}'") }, 'public.small' => sub { int(rand 5) });
	return $make{$type}->();
}

sub insert_row { my ($t) = @_; return "INSERT INTO public.$t VALUES (" . join(', ', map { my $v = value_of($columns{$_}); "$v" } @names) . ')' }

for my $t ('t1' .. 't9', '"T 10"')
{
	next unless $t =~ /t[1-4]|T/;
	run_sql("CREATE TABLE public.$t (" . join(', ', map { "$_ $columns{$_}" } @names) . ')');
	$relid{$t} = scalar_of("SELECT 'public.$t'::regclass::oid");
}
my @tables = sort keys %relid;

# Random changes of a table, and its delta: nothing is netted, whole images, and some that came and went between.
sub change
{
	my ($t, $busy) = @_;
	my $d = "d_$relid{$t}";
	my $all = join ', ', map { "x.$_" } @names;
	run_sql("DROP TABLE IF EXISTS pg_temp.$d");
	run_sql("CREATE TEMP TABLE $d AS SELECT $all, -1::bigint AS \"tapdata\$w\" FROM public.$t x");
	for (1 .. ($busy ? 1 + int rand 4 : 0))
	{
		my $what = int rand 3;
		my $some = "ctid = ANY (ARRAY(SELECT ctid FROM public.$t ORDER BY random() LIMIT 2))";
		my $col = one(@names);
		run_sql($what == 0 ? insert_row($t) : $what == 1 ? "DELETE FROM public.$t WHERE $some" : "UPDATE public.$t SET $col = " . value_of($columns{$col}) . " WHERE $some");
	}
	run_sql("INSERT INTO $d SELECT $all, 1 FROM public.$t x");
	run_sql("INSERT INTO $d SELECT $all, w FROM (SELECT * FROM public.$t WHERE random() < 0.2 OFFSET 0) x, (VALUES (1), (-1)) v(w)");
	return;
}

# ---- queries ----
sub col { my ($n, @of) = @_; return 'o' . (1 + int rand $n) . '.' . one(@of) }
sub number { my ($n) = @_; return one(col($n, 'v', 's', 'b', '"r1"', 'm', 'n', 'n', 'm', 'z')) }

sub numeric_expr
{
	my ($n) = @_;
	return one(col($n, 'n'), col($n, 'm'), col($n, 'm') . ' * ' . col($n, 'v'), col($n, 'm') . ' - 1.5', 'round(' . col($n, 'n') . ', 2)', col($n, 'n') . ' / 3', col($n, 'm') . ' / 3', col($n, 'm') . ' + ' . col($n, 'v'),
		'abs(' . col($n, 'm') . ')', 'coalesce(' . col($n, 'm') . ', ' . col($n, 'n') . ')', 'CASE WHEN ' . col($n, 'v') . ' = 1 THEN ' . col($n, 'm') . ' ELSE 0.00 END',
		col($n, 's') . '::numeric', 'greatest(' . col($n, 'm') . ', 1.25)', "round(nullif(abs(" . col($n, 'n') . "), 'Infinity'), 1)::numeric(40,1)");
}

sub expr
{
	my ($n) = @_;
	return one(col($n, @names), col($n, 'v') . ' + 1', col($n, 't') . " || 'y'", 'lower(' . col($n, 'u') . ')', 'NULL', "'lit'", '42', "'abc'::varchar(7)", '1.50',
		col($n, 'c') . '::varchar(2)', 'upper(' . col($n, 'c') . ') COLLATE "C"', col($n, 'd') . " + interval '1 day'", col($n, 'v') . ' IS NULL', col($n, 'm') . '::numeric(6,1)',
		'CASE ' . col($n, 'v') . q{ WHEN 1 THEN 'one' END}, col($n, 'e') . '::text', 'coalesce(' . col($n, 'c') . ", 'zz')", '(' . col($n, 'a') . ')[1]', '(' . col($n, 'p') . ').a');
}

sub key
{
	my ($n) = @_;
	return one(col($n, 'k', 'v', 'm', 'f', 't', 'c', 'u', 'd', 'e', '"Odd ""Name"', '"ä"', 'p', 'a', 'z'), col($n, 'v') . ' % 2', col($n, 'u') . ' COLLATE "POSIX"', 'lower(' . col($n, 't') . ')',
		col($n, 'v') . ' IS NULL', "'const'::text");
}

sub aggregate
{
	my ($n) = @_;
	return one('count(*)', 'count(' . col($n, @names) . ')', 'count(1)', 'sum(' . number($n) . ')', 'avg(' . number($n) . ')', 'sum(' . numeric_expr($n) . ')', 'avg(' . numeric_expr($n) . ')',
		'(max(' . col($n, 't') . ' COLLATE "POSIX") < min(' . col($n, 'u') . '))', one('min', 'max') . '(' . col($n, 'v', 's', 'm', 'd') . ')', 'sum(' . col($n, 'f') . ')', 'avg(' . col($n, 'f') . ')', 'sum(' . col($n, 'i') . ')', 'avg(' . col($n, 'i') . ')',
		one('min', 'max') . '(' . col($n, 'v', 'b', 'm', 'f', 't', 'u', 'c', 'd', '"Odd ""Name"', 'e', 'a') . ')', one('min', 'max') . '(' . col($n, 'v') . ' * 2)');
}

# A table, or as much of it as a subquery that only filters and computes gives.
sub from_item
{
	my $t = one(@tables);
	return $t if chance(0.7);
	my %made = (v => 'x.v + 1', t => 'lower(x.t)', m => '-x.m', u => "x.u || 'a'", n => 'x.n / 3', c => "coalesce(x.c, 'zz')", k => 'abs(x.k)');
	my $list = join ', ', map { $made{$_} && chance(0.3) ? "$made{$_} AS $_" : "x.$_" } @names;
	my $item = "(SELECT $list FROM $t x" . (chance(0.5) ? ' WHERE ' . one('x.v > 0', "x.t <> 'x' OR x.k IS NULL", 'x."ä"') : '') . ')';
	return chance(0.3) ? "(SELECT * FROM $item y)" : $item;
}

# Occurrences o1.. with conditions that connect most of them; bounded: the last one by a comparison alone.
sub from_where
{
	my ($n, $bounded) = @_;
	my @from = map { from_item() . " o$_" } 1 .. $n;
	my @where;
	push @where, map { one("o$n.$_ " . one('<', '>', '<=', '>=') . ' ' . ($_ eq 'v' ? one(col($n - 1, 'k', 'v'), col($n - 1, 'v') . ' + 1') : col($n - 1, $_))) } one('v', 'm', 'n', 'f', 'd') if $bounded;
	for my $j (2 .. ($bounded ? $n - 1 : $n))
	{
		next if $n < 4 && chance(0.1);
		my $i = 1 + int rand($j - 1);
		my $c = one('k', 'v', 'k', 'k', 't', '"r1"');
		push @where, "o$j.$c = o$i." . ($c eq 't' ? 't' : one('k', 'v', $c));
		push @where, "o$j.v <> o" . (1 + int rand($j - 1)) . '.s' if chance(0.15);
	}
	push @where, one("o$_.v > 0", "o$_.t <> 'x'", "o$_.m < 50 OR o$_.k IS NULL", "o$_.\"select\" IN (0, 1)", "o$_.\"ä\"", "o$_.u COLLATE \"C\" >= 'a'") for grep { chance(0.35) } 1 .. $n;
	push @where, one('1 = 1', 'true', 'NULL::bool') if chance(0.05);
	return ' FROM ' . join(', ', @from) . (@where ? ' WHERE ' . join(' AND ', map { "($_)" } @where) : '');
}

sub query
{
	my ($n) = @_;
	my $bounded = $n > 1 && chance(0.25);
	my $from = from_where($n, $bounded);
	$n-- if $bounded;    # nothing else reads it
	my $kind = int rand 10;
	my $i = 0;
	return 'SELECT ' . join(', ', map { expr($n) . ' AS ' . one("c$_", "\"C $_\"", "\"sel\"\"ect$_\"") } 1 .. 1 + int rand 4) . $from if $kind < 3;
	return 'SELECT DISTINCT ' . join(', ', map { key($n) . " AS c$_" } 1 .. 1 + int rand 3) . $from if $kind < 4;
	my @keys = map { key($n) } 1 .. ($kind < 5 ? 0 : 1 + int rand 2);
	my %seen;
	@keys = grep { !$seen{$_}++ } @keys;
	my @aggs = map { my $a = aggregate($n); $a =~ /^\w+\(/ && chance(0.2) ? "$a FILTER (WHERE " . number($n) . ' > 1)' : $a } 1 .. 1 + int rand 5;
	my @out = map { "$_ AS x" . ++$i } grep({ chance(0.9) } @keys), @aggs;
	push @out, "($aggs[0])::text || '!' AS x" . ++$i if chance(0.2);
	my $having = chance(0.25) ? ' HAVING ' . one('count(*) > 1', "count($aggs[0]) > 0" =~ s/count\(.*\)/$aggs[0] IS NOT NULL AND count(*)/r, 'min(o1.u) < max(o1.t)') : '';
	return 'SELECT ' . join(', ', @out) . $from . (@keys ? ' GROUP BY ' . join(', ', @keys) : '') . $having;
}

# ---- comparing ----
# The rows of a query as texts, by how often they come.
sub bag
{
	my ($sql) = @_;
	my %rows;
	for my $r (@{ $db->selectall_arrayref("SELECT x::text, count(*) FROM ($sql) x GROUP BY 1") }) { $rows{ $r->[0] } += $r->[1] }
	return \%rows;
}

sub minus { my ($x, $y) = @_; my %r = %$x; $r{$_} -= $y->{$_} for keys %$y; delete $r{$_} for grep { !$r{$_} } keys %r; return \%r }
sub show { my ($h) = @_; return join "\n", map { "$h->{$_}: $_" } sort keys %$h }
sub attributes { my ($t) = @_; return column("SELECT attname FROM pg_attribute WHERE attrelid = 'pg_temp.$t'::regclass AND attnum > 0 ORDER BY attnum") }
sub types { my ($t) = @_; return join ', ', grep { !/^tapdata/ } column("SELECT CASE WHEN attname = 'tapdata\$w' THEN 'tapdata' ELSE format_type(atttypid, atttypmod) END FROM pg_attribute WHERE attrelid = 'pg_temp.$t'::regclass AND attnum > 0 ORDER BY attnum") }
sub table_as { my ($t, $sql) = @_; run_sql("DROP TABLE IF EXISTS pg_temp.$t"); run_sql("CREATE TEMP TABLE $t AS $sql", $t); return }
sub quoted { return map { '"' . (s/"/""/gr) . '"' } @_ }
sub image { my ($alias, @cols) = @_; return 'ROW(' . join(', ', map { "$alias.$_" } @cols) . ')::text' }

# A leaf as run.c would net it: by the bytes of rows.
sub net
{
	my ($leaf) = @_;
	table_as('raw', $leaf->{sql});
	my @cols = quoted(grep { $_ ne 'tapdata$w' } attributes('raw'));
	my $list = join '', map { "x.$_, " } @cols;
	my $img = image('x', @cols);
	table_as($leaf->{name}, "SELECT DISTINCT ON ($img) ${list}sum(x.\"tapdata\$w\") OVER (PARTITION BY $img)::bigint AS \"tapdata\$w\" FROM raw x");
	run_sql("DELETE FROM pg_temp.$leaf->{name} WHERE \"tapdata\$w\" = 0");
	run_sql("ANALYZE pg_temp.$leaf->{name}") if chance(0.5);
	return scalar_of("SELECT count(*) FROM pg_temp.$leaf->{name}");
}

# State and delta put together, as run.c does; groups that must be computed anew are marked.
sub merge
{
	my (@state) = @_;
	my @keys = grep { $_->{kind} eq 'key' } @state;
	my $anew = 'false';
	my @out = map { "CASE WHEN s.n IS NULL THEN d.$_->{name} ELSE s.$_->{name} END AS $_->{name}" } @keys;
	for my $c (grep { $_->{kind} ne 'key' } @state)
	{
		my ($name, $kind) = @$c{qw(name kind)};
		my ($least, $reached) = $kind eq 'max' ? ('greatest', '>=') : ('least', '<=');
		my $best = "$least(s.$name, d.${name}_in)";
		$anew .= " OR (d.${name}_out IS NOT NULL AND ($best IS NULL OR d.${name}_out $reached $best))" if $kind =~ /^m/;
		$anew .= ' OR d.n IS NOT NULL' if $kind eq 'recompute';
		$anew .= " OR s.$name BETWEEN d.${name}_least AND d.${name}_most" if $kind eq 'image';
		push @out, $kind =~ /^m/ ? "$best AS $name" : $kind eq 'recompute' ? "s.$name" : $kind eq 'image' ? "CASE WHEN s.n IS NULL THEN d.$name ELSE s.$name END AS $name" : "coalesce(s.$name, 0) + coalesce(d.$name, 0) AS $name";
	}
	my @k = map { $_->{name} } @keys;
	my ($s, $d) = @k ? (image('s', @k), image('d', @k)) : ("''", "''");
	table_as('merged', 'SELECT ' . join(', ', @out) . ", $anew AS anew FROM (SELECT *, $s AS img FROM core_old s) s FULL JOIN (SELECT *, $d AS img FROM dlt d) d USING (img)");
	return @k;
}

sub recompute
{
	my ($sql, @keys) = @_;
	my $masks = @keys ? join(' + ', map { "(CASE WHEN $keys[$_] IS NOT DISTINCT FROM NULL THEN " . (1 << $_) . ' ELSE 0 END)' } 0 .. $#keys) : '0';
	for my $mask (column("SELECT DISTINCT $masks FROM merged WHERE anew"))
	{
		table_as('k', 'SELECT ' . join(', ', @keys) . " FROM merged WHERE anew AND $masks = $mask") if @keys;
		table_as('groups', scalar_of('SELECT td_plan_test.groups(' . $db->quote($sql) . ", $mask)"));
		run_sql("DELETE FROM merged WHERE anew AND $masks = $mask");
		run_sql('INSERT INTO merged SELECT *, false FROM groups');
	}
	return;
}

# What is wrong with the plan of a query, as text; '' = nothing.
sub check
{
	my ($sql) = @_;
	path('public');
	my @plan = @{ $db->selectall_arrayref('SELECT * FROM td_plan_test.plan(' . $db->quote($sql) . ')', { Slice => {} }) };
	my ($core) = map { $_->{sql} } grep { $_->{part} eq 'core' } @plan;
	my ($output) = grep { $_->{part} eq 'output' } @plan;
	my @leaves = grep { $_->{part} eq 'leaf' } @plan;
	my @state = grep { $_->{part} eq 'state' } @plan;
	my $before = bag($sql);
	path('pg_catalog');
	table_as('core_old', $core);
	my @bad = grep { $_->{sql} ne scalar_of("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'pg_temp.core_old'::regclass AND attname = '$_->{name}'") } @state;
	return "the type of state column $bad[0]{name} is not $bad[0]{sql}" if @bad;

	my $busy = one(0.3, 0.7, 1);
	change($_, chance($busy)) for @tables;
	my $n = () = $sql =~ / o\d(?=[ ,]|$)/g;
	my @changed = @leaves ? grep { net($leaves[ $_ - 1 ]) || chance(0.1) } 1 .. $n : (1);
	path('public');
	table_as('wanted', $sql);
	my $after = bag($sql);
	if (@changed)
	{
		my $delta = scalar_of('SELECT td_plan_test.delta(' . $db->quote($sql) . ", '{" . join(',', @changed) . "}', " . one('true', 'false') . ')');
		path('pg_catalog');
		table_as('dlt', $delta);
	}
	else
	{
		return show(minus($after, $before));
	}
	my $result;
	if (!@state)
	{
		return 'types: ' . types('dlt') . ' not ' . types('wanted') if types('dlt') ne types('wanted');
		my @cols = quoted(grep { $_ ne 'tapdata$w' } attributes('dlt'));
		my %d = map { @$_ } @{ $db->selectall_arrayref('SELECT ' . image('x', @cols) . ', sum(x."tapdata$w")::int FROM dlt x GROUP BY 1 HAVING sum(x."tapdata$w") <> 0') };
		return show(minus(minus($after, $before), \%d));
	}
	my @keys = merge(@state);
	path('public');
	recompute($sql, @keys);
	path('pg_catalog');
	return 'a count below zero' if scalar_of('SELECT count(*) FROM merged WHERE n < 0');
	run_sql('DELETE FROM merged WHERE n = 0') unless $output->{kind};
	table_as('s', 'SELECT *, 1::bigint AS "tapdata$w" FROM merged');
	table_as('result', $output->{sql});
	return 'types: ' . types('result') . ' not ' . types('wanted') if types('result') ne types('wanted');
	my $diff = minus($after, bag('SELECT ' . join(', ', map { "x.$_" } quoted(grep { $_ ne 'tapdata$w' } attributes('result'))) . ' FROM pg_temp.result x'));
	return show($diff) if %$diff;
	my $cols = join ', ', map { $_->{name} } @state;
	table_as('core_new', $core);
	return show(bag("(SELECT $cols FROM merged EXCEPT ALL SELECT $cols FROM core_new) UNION ALL (SELECT $cols FROM core_new EXCEPT ALL SELECT $cols FROM merged)"));
}

# ---- the oracle ----
run_sql(insert_row(one(@tables))) for 1 .. 25;
my ($good, $run) = (0, 0);
for my $round (1 .. $rounds)
{
	my $n = one(1, 1, 1, 2, 2, 3, 4, 5, 6);
	my $sql = query($n);
	for my $t (@tables)    # neither nothing nor too much
	{
		my $rows = scalar_of("SELECT count(*) FROM public.$t");
		run_sql("DELETE FROM public.$t WHERE random() < 0.5") if $rows > 9;
		run_sql(insert_row($t)) for 1 .. ($rows < 3 ? 3 : 0);
	}
	path('public');
	next unless eval { bag($sql); 1 };    # it has an error of its own
	my $wrong = eval { check($sql) } // $@;
	$run++;
	$good++ if $wrong eq '';
	diag("round $round, seed $seed\n$sql\n$wrong") if $wrong ne '' && $run - $good < 5;
}
is($good, $run, "$run random queries, seed $seed");
path('public');

# ---- display scales that are known, and those that must be counted ----
run_sql('CREATE TABLE public.nums (g int, x numeric, m numeric(10,2), h numeric(5,-2), i int, b bigint)');
for my $case (
	[ 'x', 1 ], [ 'm', 0 ], [ 'h', 0 ], [ 'm * i', 0 ], [ 'm * (1 - m)', 0 ], [ 'm + 1.125', 0 ], [ 'm + x', 1 ], [ 'm / 3', 1 ], [ 'round(x, 2)', 1 ], [ 'round(m / i, 2)', 0 ], [ 'round(m)', 0 ],
	[ 'trunc(m * m, 3)', 0 ], [ '-m', 0 ], [ 'abs(m)', 0 ], [ 'coalesce(m, 0.00)', 0 ], [ 'coalesce(m, 0)', 1 ], [ 'CASE WHEN i > 0 THEN m END', 0 ], [ 'CASE WHEN i > 0 THEN m ELSE 1.5 END', 1 ],
	[ 'b::numeric', 0 ], [ 'i * 1.5', 0 ], [ 'x::numeric(9,3)', 0 ], [ 'greatest(m, 1.00)', 0 ], [ q{m + 'Infinity'}, 1 ], [ 'round(m, i)', 1 ], [ 'sqrt(m)', 1 ], [ 'b', 0 ], [ 'i', 0 ])
{
	my ($expr, $counted) = @$case;
	my $core = scalar_of('SELECT sql FROM td_plan_test.plan(' . $db->quote("SELECT g, sum($expr) FROM nums GROUP BY g") . q{) WHERE part = 'core'});
	is($core =~ /numeric_place/ ? 1 : 0, $counted, "sum($expr): display scales are " . ($counted ? 'counted' : 'known'));
}

# ---- digits of sum and avg ----
run_sql(q{INSERT INTO nums SELECT g % 500, round((random() - 0.5)::numeric * 10::numeric ^ (g % 37 - 18), g % 13), random() * 1000, random() * 50000, random() * 100, (random() - 0.5) * 1e18
	FROM generate_series(1, 5000) g});
run_sql(q{INSERT INTO nums SELECT g, v::numeric FROM generate_series(1, 40) g, unnest(CASE g % 4 WHEN 0 THEN '{NaN}' WHEN 1 THEN '{Infinity}' WHEN 2 THEN '{Infinity,-Infinity}' ELSE '{-Infinity,1e-20}' END::text[]) v});
run_sql(q{INSERT INTO nums SELECT g, NULL FROM generate_series(600, 610) g});
my $digits = 'SELECT g, sum(x) AS o2, avg(x) AS o3, sum(x / 7) AS o4, avg(m / 3) AS o5, avg(m) AS o6, avg(h) AS o7, sum(h) AS o8, avg(i) AS o9, avg(b) AS o10, sum(b) AS o11, avg(m * m) AS o12 FROM nums GROUP BY g';
my $expected = bag($digits);
my %part = map { $_->[0] => $_->[1] } @{ $db->selectall_arrayref('SELECT part, sql FROM td_plan_test.plan(' . $db->quote($digits) . ')') };
path('pg_catalog');
table_as('s', "SELECT x.*, 1::bigint AS \"tapdata\$w\" FROM ($part{core}) x");
my @c = map { "c$_" } 1 .. 12;
my $found = bag('SELECT ' . join(', ', map { "x.$_" } @c) . " FROM ($part{output}) x(" . join(', ', @c, 'w') . ')');
is(show(minus($expected, $found)), '', 'sum and avg have the digits of PostgreSQL\'s');
path('public');
like(try_do($db, q{SELECT tapdata.numeric_place('1e-7000')}), qr/^0A000.*7000 digits after the point/s, 'a scale that no place can count');
like(try_do($db, 'SELECT tapdata.numeric_sum(1, -1)'), qr/^XX001/, 'counts below zero are damage');
is(scalar_of(q{SELECT tapdata.numeric_sum(0, tapdata.numeric_place(1e-2100) + tapdata.numeric_place(1))::text}) =~ tr/0//, 2101, 'a scale beyond that of round()');

# ---- statements that the planner can do well ----
run_sql('CREATE INDEX ON public.nums (g)');
run_sql('ANALYZE public.nums');
sub plan_of { my ($sql) = @_; return join "\n", column("EXPLAIN (COSTS OFF) $sql") }
my $one = 'SELECT g, sum(m * (1 - m)) FROM nums GROUP BY g';
my $groups = scalar_of('SELECT td_plan_test.groups(' . $db->quote($one) . ', 0)');
my $nulls = scalar_of('SELECT td_plan_test.groups(' . $db->quote($one) . ', 1)');
my ($core) = column('SELECT sql FROM td_plan_test.plan(' . $db->quote($one) . q{) WHERE part = 'core'});
path('pg_catalog');
table_as('k', 'SELECT g AS k1 FROM generate_series(1, 3) g');
run_sql('ANALYZE pg_temp.k');
like(plan_of($groups), qr/Index Scan using nums_g_idx/, 'groups are found by an index');
like(plan_of($nulls), qr/Index Cond: \(g IS NULL\)/, 'those of null keys too');
$db->do("SET $_") for 'parallel_setup_cost = 0', 'parallel_tuple_cost = 0', 'min_parallel_table_scan_size = 0';
like(plan_of($core), qr/Gather/, 'the whole is computed in parallel, also with a barrier');
path('public');
run_sql("CREATE TABLE public.c$_ (a int, b int)") for 1 .. 6;
my $chain = 'SELECT c1.a FROM ' . join(', ', map { "c$_" } 6, 1, 5, 2, 4, 3) . ' WHERE ' . join(' AND ', map { "c$_.b = c" . ($_ + 1) . '.a' } 1 .. 5);
my $staged = scalar_of('SELECT td_plan_test.delta(' . $db->quote($chain) . q{, '{1,2,3,4,5,6}')});
is(scalar(() = $staged =~ /\nFROM t\d+, \S+ r\d+\nWHERE/g), 10, 'stages join what is connected');
run_sql('CREATE TABLE public.odd ("tapdata$w" int, a int)');
like(try_do($db, q{SELECT td_plan_test.plan('SELECT "tapdata$w" FROM odd')}), qr/^0A000.*tapdata\$w/s, 'the name of the weight is reserved');
is(try_do($db, q{SELECT td_plan_test.plan('SELECT a FROM odd')}), '', 'where it is read');

server('drop');
done_testing();
