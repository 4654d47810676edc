# Tables with a column of nearly every type, changes of them at random, and whether views over them are right: for t/85_view_constructs.t and t/85_view_over_views.t.
#
# c.t has a key, c.u none and NULLs everywhere, c.w one that no keyed view can be kept by, c.p is partitioned, c.a has a child, d1..d3 nest.  Values are few, and of those types whose equal values may look
# different there are such pairs (1.0 and 1.00, -0 and 0, '24 hours' and '1 day', 'a' and 'A').
package TdConstructs;
use strict;
use warnings;
use Exporter 'import';
use TdProcs;

our @EXPORT_OK = qw(open_constructs changes differs);

my @types = (
	[g => 'int', 0 .. 3], [h => 'smallint', 0 .. 2], [x => 'bigint', -2 .. 4, 4000000000], [n => 'numeric', '1', '1.0', '1.00', '-2.5', '0.001', "'NaN'", "'Infinity'", '12345678901234567890.1'],
	[m => 'numeric(8,2)', '0.10', '1.00', '-3.25', '7'], [f => 'float8', '0.5', '-2', "'NaN'", "'-0'", '0', '3', "'-Infinity'"], [r => 'real', '0.5', "'-0'", '0', "'NaN'"],
	[s => 'text', "'x'", "'y'", "''", "'X y'"], [nd => 'text COLLATE c.any_case', "'a'", "'A'", "'b'"], [ch => 'char(4)', "'a'", "'a '", "'ab'", "''"], [vc => 'varchar(3)', "'a'", "'a '", "'abc'"],
	[d => 'date', "'2026-01-01'", "'1999-12-31'", "'infinity'"], [ts => 'timestamp', "'2026-01-01 00:00:00'", "'2026-01-01 10:30:00.5'"], [tz => 'timestamptz', "'2026-01-01 00:00:00+00'", "'2026-03-29 01:30:00+00'"],
	[iv => 'interval', "'1 day'", "'24 hours'", "'1 mon'", "'30 days'"], [ti => 'time', "'10:30'", "'24:00'"], [b => 'boolean', 'true', 'false'], [e => 'c.mood', "'sad'", "'ok'", "'happy'"], [dom => 'c.positive', 1, 2, 30],
	[uu => 'uuid', map { "'0000000$_-0000-4000-8000-000000000000'" } 1 .. 3], [ip => 'inet', "'10.0.0.1'", "'10.0.0.0/8'", "'::1'"], [ci => 'cidr', "'10.0.0.0/8'", "'192.168.0.0/16'"],
	[j => 'jsonb', q('{"k": 1, "t": ["x"]}'), q('{"k": 1.0}'), q('null'), q('[1, 2]'), q('1.0'), q('1')], [js => 'json', q('{"k": 1}'), q('{"k":1}'), 'NULL'], [ar => 'int[]', "'{}'", "'{1,2}'", "'{3,NULL}'", "'[0:1]={1,2}'"],
	[na => 'numeric[]', "'{1.0}'", "'{1.00}'", "'{2}'"], [ta => 'text[]', "'{}'", "'{x,y}'", "'{NULL,x}'"], [rg => 'int4range', "'[1,4)'", "'empty'", "'(,3)'"], [nr => 'numrange', "'[1.0,2)'", "'[1.00,2)'"],
	[mr => 'int4multirange', "'{[1,4)}'", "'{[1,2),[5,8)}'", "'{}'"], [co => 'c.pair', "'(1,x)'", "'(1,)'", "'(,)'"], [bi => 'bit(4)', "'1010'", "'0001'"], [vb => 'varbit', "'1'", "'10'"], [by => 'bytea', q('\x'), q('\x00ff')],
	[mo => 'money', "'1.00'", "'-2.50'"], [pt => 'point', "'(1,2)'", "'(0,0)'"], [xm => 'xml', "'<a/>'", "'<a>1</a>'"], [tv => 'tsvector', "'a:1 b:2'", "'b'", "''"], [li => 'text', "repeat('long', 700)", "'short'"]);
my %of = map { $_->[0] => $_ } @types;

sub pick { return $_[int rand @_] }
sub value_of { my ($column) = @_; my (undef, undef, @values) = @{ $of{$column} }; my $v = pick(@values); return rand() < 0.2 ? 'NULL' : $v }

# The server of that name with the extension and these tables: its environment, and a session.
sub open_constructs
{
	my ($name) = @_;
	my $env = start_server($name, 'max_worker_processes = 32');
	execute('postgres', 'CREATE EXTENSION tapdata');
	my $dbh = psql('postgres');
	$dbh->{pg_placeholder_dollaronly} = 1;    # ? is an operator
	$dbh->do('SET client_min_messages = error');
	make_types($dbh);
	make_tables($dbh);
	make_more($dbh);
	return ($env, $dbh);
}

sub make_types
{
	my ($dbh) = @_;
	$dbh->do($_) for ('CREATE SCHEMA c', q{CREATE COLLATION c.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)}, q{CREATE TYPE c.mood AS ENUM ('sad', 'ok', 'happy')}, 'CREATE DOMAIN c.positive AS int CHECK (VALUE > 0)',
		'CREATE TYPE c.pair AS (p int, q text)', q{CREATE FUNCTION c.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'}, q{CREATE FUNCTION c.upto(int) RETURNS SETOF int LANGUAGE sql IMMUTABLE AS 'SELECT generate_series(1, $1 % 4)'},
		q{CREATE FUNCTION c.strict_fn(int, int DEFAULT 3) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT AS 'BEGIN RETURN $1 + $2; END'},
		q{CREATE FUNCTION c.many(VARIADIC int[]) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT coalesce(sum(v), 0)::int FROM unnest($1) v'});
	make_equality($dbh);
	return;
}

# A family of operators to which -1 and 1 are one value: c.<#, c.=#, ...
sub make_equality
{
	my ($dbh) = @_;
	my @names = ('<#', '<=#', '=#', '>=#', '>#');
	for my $name (@names)
	{
		(my $sql = $name) =~ s/#//;
		my $function = 'c.abs' . { '<' => 'lt', '<=' => 'le', '=' => 'eq', '>=' => 'ge', '>' => 'gt' }->{$sql};
		$dbh->do("CREATE FUNCTION $function(bigint, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT abs(\$1) $sql abs(\$2)'");
		$dbh->do("CREATE OPERATOR c.$name (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = $function" . ($sql eq '=' ? ', COMMUTATOR = OPERATOR(c.=#), MERGES)' : ')'));
	}
	$dbh->do(q{CREATE FUNCTION c.abscmp(bigint, bigint) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT sign(abs($1) - abs($2))::int'});
	$dbh->do('CREATE OPERATOR CLASS c.abs_ops FOR TYPE bigint USING btree AS ' . join(', ', map { 'OPERATOR ' . ($_ + 1) . " c.$names[$_]" } 0 .. $#names) . ', FUNCTION 1 c.abscmp(bigint, bigint)');
	return;
}

sub make_tables
{
	my ($dbh) = @_;
	my $columns = join ', ', map { "$_->[0] $_->[1]" } @types;
	$dbh->do($_) for ("CREATE TABLE c.t (id int PRIMARY KEY, $columns)", "CREATE TABLE c.u (id int, $columns)", 'CREATE INDEX ON c.u (id)',
		'CREATE TABLE c.p (id int NOT NULL, g int, x bigint, s text, m numeric(8,2), PRIMARY KEY (id)) PARTITION BY RANGE (id)', 'CREATE TABLE c.p1 PARTITION OF c.p FOR VALUES FROM (MINVALUE) TO (10)', 'CREATE TABLE c.p2 PARTITION OF c.p FOR VALUES FROM (10) TO (MAXVALUE) PARTITION BY LIST (id)',
		'CREATE TABLE c.p2a PARTITION OF c.p2 FOR VALUES IN (10, 11, 12, 13)', 'CREATE TABLE c.p2b PARTITION OF c.p2 DEFAULT',
		'CREATE TABLE c.a (id int, g int, s text)', 'CREATE TABLE c.a1 (extra int, PRIMARY KEY (id)) INHERITS (c.a)', 'CREATE TABLE c.a2 () INHERITS (c.a1)',
		'CREATE TABLE c.d1 (id int PRIMARY KEY, name text)', 'CREATE TABLE c.d2 (id int PRIMARY KEY, d1 int, v int)', 'CREATE TABLE c.d3 (id int PRIMARY KEY, d2 int, w text)', 'CREATE INDEX ON c.d2 (d1)', 'CREATE INDEX ON c.d3 (d2)',
		'CREATE TABLE c.w (id int, co c.pair PRIMARY KEY, v int)');
	$dbh->do("ALTER TABLE $_ REPLICA IDENTITY FULL") for qw(c.t c.u c.w c.p1 c.p2a c.p2b c.a c.a1 c.a2 c.d1 c.d2 c.d3);
	changes($dbh, 'insert') for 1 .. 30;
	return;
}

# What stands between tables and queries: ordinary views, a live view; and what can't be read
sub make_more
{
	my ($dbh) = @_;
	$dbh->do($_) for ('CREATE VIEW c.ov AS SELECT id, g, s FROM c.t WHERE h > 0', 'CREATE VIEW c.ov_groups AS SELECT g, count(*) AS n FROM c.u GROUP BY g', q{SELECT tapdata.create_view('c.live', 'SELECT g, count(*) AS n FROM c.t GROUP BY g')},
		q{CREATE FUNCTION c.of_live(c.live) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1.n * 2'}, 'CREATE VIEW c.ov_live AS SELECT g, n FROM c.live WHERE n > 0', 'CREATE VIEW c.ov_barrier WITH (security_barrier) AS SELECT id, s FROM c.t WHERE g > 0', 'CREATE SEQUENCE c.seq', 'CREATE UNLOGGED TABLE c.nologged (id int)',
		'CREATE AGGREGATE c.own_sum(int) (sfunc = int4pl, stype = int, initcond = 0)', 'CREATE MATERIALIZED VIEW c.mat AS SELECT 1 AS id');
	return;
}

my %tables = ('c.t' => [map { $_->[0] } @types], 'c.u' => [map { $_->[0] } @types], 'c.p' => [qw(g x s m)], 'c.a' => [qw(g s)], 'c.a1' => [qw(g s)], 'c.a2' => [qw(g s)], 'c.d1' => [], 'c.d2' => [], 'c.d3' => [], 'c.w' => []);
my %small = ('c.d1' => [['name', "'n1'", "'n2'"]], 'c.d2' => [['d1', 0 .. 5, 'NULL'], ['v', 0 .. 3, 'NULL']], 'c.d3' => [['d2', 0 .. 8, 'NULL'], ['w', "'a'", "'b'", 'NULL']], 'c.w' => [['co', map { my $p = $_; map { "'($p,$_)'" } 'x', 'y', '' } 1 .. 4], ['v', 0 .. 3, 'NULL']]);

sub assignments { my ($table) = @_; return ((map { [$_, value_of($_)] } @{ $tables{$table} }), map { my ($c, @v) = @$_; [$c, pick(@v)] } @{ $small{$table} || [] }) }

# One statement, at random
sub change
{
	my ($kind) = @_;
	my $table = pick(qw(c.t c.t c.t c.u c.u c.p c.a c.a1 c.a2 c.d1 c.d2 c.d3 c.w));
	my $id = int rand($table =~ /d1/ ? 6 : 16);
	my $one = "id = $id";
	my $roll = $kind eq 'insert' ? 0 : rand;
	if ($roll < 0.35)
	{
		my @a = assignments($table);
		$id = 'NULL' if $table =~ /^c\.[ua]$/ && rand() < 0.2;
		return "INSERT INTO $table (" . join(', ', 'id', map { $_->[0] } @a) . ') VALUES (' . join(', ', $id, map { $_->[1] } @a) . ')' . ($table =~ /^c\.[ua]$/ ? '' : ' ON CONFLICT DO NOTHING');
	}
	return "DELETE FROM $table WHERE " . pick($one, $one, "id % 5 = @{[int rand 5]}", 'id IS NULL') if $roll < 0.55;
	return "UPDATE $table SET id = id + 16 * @{[pick(1, -1)]} WHERE $one" if $roll < 0.62 && $table !~ /d1/;
	return "DELETE FROM $table WHERE true" if $roll < 0.625;
	my @a = assignments($table);
	my @some = map { pick(@a) } 1 .. 1 + int rand 5;
	my %set = map { $_->[0] => $_->[1] } @some;
	return "UPDATE $table SET " . join(', ', map { "$_ = $set{$_}" } sort keys %set) . ' WHERE ' . pick($one, "id % 4 = @{[int rand 4]}", 'true', 'id IS NULL OR id > 7');
}

# A transaction of some statements; those that break a key are taken back
sub changes
{
	my ($dbh, $kind) = @_;
	$dbh->begin_work;
	for (1 .. 1 + int rand 4)
	{
		$dbh->do('SAVEPOINT s');
		my $sql = change($kind // '');
		eval { $dbh->do($sql); 1 } or do { die "$sql\n$@" if $dbh->state !~ /^23505$/; $dbh->do('ROLLBACK TO s') };
	}
	$dbh->commit;
	return;
}

# How the table of a view and its query differ, by plain SQL, '' = not at all: as values where they can be compared (by record, so that json will do too), and as they look.
# open: what looks different may be equal.
sub differs
{
	my ($dbh, $view, $query, $open) = @_;
	my $found = '';
	my $columns = $dbh->selectall_arrayref("SELECT quote_ident(attname), atttypid::regtype::text FROM pg_attribute WHERE attrelid = '$view'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum");
	my $native = join ', ', map { $_->[1] =~ /^(json|xml|point|c\.t\[\])$/ ? "$_->[0]::text" : $_->[0] } @$columns;
	for my $how (['values', sub { my ($from) = @_; "SELECT $native FROM $from w" }], $open ? () : ['text', sub { my ($from) = @_; "SELECT w::text FROM $from w" }])
	{
		my ($v, $q) = ($how->[1]->($view), $how->[1]->("($query)"));
		my $rows = $dbh->selectall_arrayref("(SELECT 'missing', q::text FROM (($q) EXCEPT ALL ($v)) q LIMIT 3) UNION ALL (SELECT 'extra', q::text FROM (($v) EXCEPT ALL ($q)) q LIMIT 3)");
		$found .= "$how->[0]: $_->[0] $_->[1]\n" for @$rows;
	}
	return $found;
}

1;
