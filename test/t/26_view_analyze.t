# src/view/analyze: what a query is as a view, or which construct stands against it; what a fingerprint sees; explain.
# test/unit/td_view_test/queries.txt has a query and, below it after a tab, its shape (td_view_test.c explains it) or the refusal.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use File::Copy;
use TdProcs;

my $top = "$FindBin::Bin/../..";
my $unit = "$top/test/unit/td_view_test";
my $pg = start_server('analysing');
my $so = "$pg->{TD_PG_DATA}/../td_view_test.so";
system("make -s -C $unit PG_CONFIG=$pg->{TD_PG_BIN}/pg_config") == 0 or BAIL_OUT('td_view_test does not build');
copy("$unit/td_view_test.so", $so) or BAIL_OUT("td_view_test.so: $!");
chmod 0755, $so;
execute('postgres', 'CREATE DATABASE unit');
execute('unit', 'CREATE EXTENSION tapdata');
my @psql = ("$pg->{TD_PG_BIN}/psql", '-qAtX', '-h', $pg->{PGHOST}, '-p', $pg->{PGPORT}, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1', '-d', 'unit');
is(system(@psql, '-v', 'td_view_test=' . ($so =~ s/\.so$//r), '-f', "$unit/td_view_test.sql", '-f', "$unit/schema.sql"), 0, 'schema and module');
execute('unit', 'CREATE TEMP TABLE temporary (a int)',
	"INSERT INTO tapdata.view_group (name) VALUES ('default')",
	"INSERT INTO tapdata.view (view_group, owner, relation, table_schema, table_name, twin, twin_name, strategy)
		SELECT id, 'postgres', 'live'::regclass, 'public', 'live', 'live_twin'::regclass, 'live_twin', 'counters' FROM tapdata.view_group",
	'INSERT INTO tapdata.view_state (view) SELECT id FROM tapdata.view');

sub shape { my ($query, $owner) = @_; return rows('unit', 'SELECT td_view_test.shape($q$' . $query . '$q$' . ($owner ? ", '$owner'" : '') . ')') }

# ---- queries ----
open my $in, '<', "$unit/queries.txt" or die;
my ($query, $part, $tested) = ('', '', 0);
while (<$in>)
{
	chomp;
	if (/^# ---- (.*) ----/) { $part = $1; next }
	if (s/^\t//)
	{
		my $got = shape($query) =~ s/pg_temp_\d+/pg_temp/r;
		is($got, $_, "$part: " . substr($query, 0, 120));
		$tested++;
	}
	else { $query = $_ }
}
cmp_ok($tested, '>', 200, 'queries were there');

# ---- views over views ----
is(rows('unit', "SELECT td_view_test.twin('live_twin')"), 'r1=customers(1) quals=0 keys=1 agg(rows) (g1!, g2!) unique=1', 'the query of a twin');
is(rows('unit', "SELECT td_view_test.twin('upper_twin')"), 'vr1=live(1,2) r2=customers(1,2) quals=1 (r1.1!, e, r2.2!) unique=1 pinned',
	'a twin over a twin reads the table of the lower view');

# ---- row-level security, for the owner that the view has ----
my $secured = "views do not support table public.%s, whose row-level security applies to the view's owner";
is(shape('SELECT a FROM secured', 'td_reader'), sprintf($secured, 'secured'), 'row-level security that applies');
execute('unit', 'ALTER TABLE secured OWNER TO td_reader', 'ALTER TABLE forced OWNER TO td_reader');
like(shape('SELECT a FROM secured', 'td_reader'), qr/^r1=/, 'not to the owner of the table');
is(shape('SELECT a FROM forced', 'td_reader'), sprintf($secured, 'forced'), 'but when it is forced');
like(shape('SELECT a FROM forced', 'postgres'), qr/^r1=/, 'to a superuser never');

# ---- settings ----
execute('unit', 'SET search_path = missing, "$user", public, pg_temp');
is(rows('unit', "SELECT td_view_test.settings() ->> 'search_path'"), 'pg_catalog, public', 'search_path is resolved');
execute('unit', 'RESET search_path');
is(rows('unit', "SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(td_view_test.settings()) k WHERE k ~ 'Zone|Style|float|lc_|xml'"),
	'DateStyle IntervalStyle TimeZone extra_float_digits lc_monetary lc_numeric lc_time xmlbinary xmloption', 'settings that are pinned');

# ---- fingerprints ----
my $watched = 'SELECT f_immutable(t.id) AS f, t.m::text AS m, t.p::text AS p, q.v FROM typed t JOIN parts q USING (id)';
sub fingerprint { return rows('unit', "SELECT td_view_test.fingerprint(\$q\$$watched\$q\$)") }
my $last = fingerprint();
is(fingerprint(), $last, 'a fingerprint is stable');
my @noise = (
	'ALTER TABLE typed ADD extra int', 'CREATE INDEX ON typed (m)', 'ALTER TABLE typed SET (fillfactor = 50)', 'ALTER TABLE typed RENAME extra TO more',
	'ALTER TABLE typed DROP more', 'GRANT SELECT ON typed TO td_reader', 'ALTER TABLE typed REPLICA IDENTITY FULL', "COMMENT ON TABLE typed IS 'x'",
	'ANALYZE typed', 'ALTER TABLE typed ALTER r DROP NOT NULL');
for my $ddl (@noise)
{
	execute('unit', $ddl);
	is(fingerprint(), $last, "noise: $ddl");
}
my @changes = (
	'ALTER TABLE parts DETACH PARTITION parts_b',
	"ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN ('b')", "CREATE TABLE parts_c PARTITION OF parts FOR VALUES IN ('c')",
	'ALTER TABLE parts ALTER v TYPE bigint', 'ALTER TABLE parts ALTER v SET NOT NULL', 'ALTER TABLE typed ENABLE ROW LEVEL SECURITY',
	'ALTER TABLE typed FORCE ROW LEVEL SECURITY', 'ALTER TABLE typed OWNER TO td_reader', "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
	"ALTER TYPE mood ADD VALUE 'mad'", 'CREATE OR REPLACE FUNCTION f_immutable(int) RETURNS int IMMUTABLE LANGUAGE sql AS \'SELECT $1 + 2\'',
	'VACUUM FULL typed',    # a table may have been written without WAL between two files of it
	'ALTER FUNCTION f_immutable(int) STRICT', 'ALTER FUNCTION f_immutable(int) SET search_path = public');
for my $ddl (@changes)
{
	execute('unit', $ddl);
	my $now = fingerprint();
	isnt($now, $last, "seen: $ddl");
	$last = $now;
}
execute('unit', 'ALTER TABLE parts_a SET UNLOGGED');
like(try_do(psql('unit'), "SELECT td_view_test.fingerprint(\$q\$$watched\$q\$)"), qr/unlogged table public\.parts_a/, 'a partition that becomes unlogged');
execute('unit', 'ALTER TABLE parts_a SET LOGGED');
isnt(fingerprint(), $last, 'and was so for a while');
$last = fingerprint();
for my $rename ([ 'ALTER TABLE typed RENAME TO named', 'ALTER TABLE named RENAME TO typed' ], [ 'ALTER TABLE typed RENAME m TO mm', 'ALTER TABLE typed RENAME mm TO m' ],
	[ 'ALTER TYPE pair RENAME ATTRIBUTE x TO xx', 'ALTER TYPE pair RENAME ATTRIBUTE xx TO x' ])
{
	my ($there, $back) = @$rename;
	my $query = $watched;
	$watched =~ s/typed t/named t/ if $there =~ /TO named/;
	$watched =~ s/t\.m::/t.mm::/ if $there =~ /TO mm/;
	execute('unit', $there);
	isnt(fingerprint(), $last, "seen: $there");
	execute('unit', $back);
	$watched = $query;
	is(fingerprint(), $last, 'and back again is as before');
}

# ---- explain ----
sub plan_of { my ($q) = @_; return rows('unit', "SELECT node || ' | ' || strategy || ' | ' || detail FROM td_view_test.explain(\$q\$$q\$q\$)") }
my $plan = plan_of("SELECT o.id, c.name, l.n FROM orders o JOIN customers c ON c.id = o.customer JOIN lines l ON l.order_id = o.id WHERE o.status = 'x'");
like($plan, qr/^view \| delta \| key: id, n$/m, 'explain: the view');
like($plan, qr/^  join of 3 \| delta/m, 'the join');
like($plan, qr/^    r1 public\.orders \| delta \| columns: id, customer, status; filter: /m, 'an occurrence');
like($plan, qr/index on public\.orders \(customer\) \| wanted \| .*; CREATE INDEX ON public\.orders \(customer\);$/m, 'an index that is missing');
like($plan, qr/index on public\.lines \(order_id\) \| present \| .*lines_pkey serves$/m, 'an index that serves');
like($plan, qr/old rows of public\.orders \| replica identity full \| .*bytes, to [\d.]+ times$/m, 'the price of old rows');
$plan = plan_of('SELECT status, count(*), min(at), sum(total), avg(id::float8) FROM orders GROUP BY status HAVING count(*) > 1');
like($plan, qr/^view \| counters \| key: status$/m, 'a grouped view');
like($plan, qr/^  min\(at\) \| extremum \|.*\n    index on public\.orders \(status, at\) \| wanted/m, 'an extremum, and its index');
like($plan, qr/^  sum\(total\) \| added /m, 'a sum');
like($plan, qr/^  avg\(\(id\)::double precision\) \| computed anew /m, 'floats');
like($plan, qr/^  HAVING \| filter /m, 'HAVING');
like(plan_of('SELECT iv, count(*) FROM heap GROUP BY iv'), qr/^  key iv \| watched \| equal values may look different;/m, 'a key that may look different');
unlike(plan_of('SELECT total, weight, count(*) FROM orders o JOIN lines l ON l.order_id = o.id GROUP BY total, weight'), qr/watched/, 'most do not, or it costs nothing');
execute('unit', 'CREATE TABLE padded (a char(5), b bpchar)');
is(join(' ', plan_of('SELECT a, b, count(*) FROM padded GROUP BY a, b') =~ /^  key (\w+) \| watched/mg), 'b', 'texts of one length look alike');
like(plan_of('SELECT id FROM customers'), qr/old rows of public\.customers \| as it is \|/, 'a key that suffices costs nothing');
unlike(plan_of('SELECT n FROM live'), qr/old rows/, 'nor does another view');
execute('unit', 'CREATE TABLE documents (id int PRIMARY KEY, body text)', 'ALTER TABLE documents ALTER body SET STORAGE EXTERNAL',
	"INSERT INTO documents SELECT i, repeat('x', 20000) FROM generate_series(1, 20) i", 'VACUUM ANALYZE documents');
like(plan_of('SELECT id, length(body) AS n FROM documents'), qr/old rows of public\.documents \| replica identity full \| .*WARNING: wide rows/, 'wide rows are warned of');

# ---- indexes on several columns, on bounds; changes that match nothing ----
execute('unit', 'CREATE TABLE stock (part int, shop int, n int, PRIMARY KEY (part, shop))', 'CREATE TABLE sold (id int PRIMARY KEY, part int, shop int, n int)', 'CREATE TABLE shop (id int PRIMARY KEY, name text, most int)',
	'INSERT INTO sold SELECT i, i % 50, i % 30, i FROM generate_series(1, 3000) i', 'CREATE INDEX ON sold (part)');
my $pairs = 'SELECT s.part, s.shop, s.n, d.id FROM stock s JOIN sold d ON d.part = s.part AND d.shop = s.shop';
like(plan_of($pairs), qr/index on public\.sold \(part, shop\) \| present \| .*sold_part_idx serves/, 'an index on one of two columns is enough as far as anybody knows');
execute('unit', 'ANALYZE sold');
like(plan_of($pairs), qr/index on public\.sold \(part, shop\) \| wanted \| .*; CREATE INDEX ON public\.sold \(part, shop\);$/m, 'but not when many rows have the same value there');
like(plan_of("$pairs JOIN shop p ON p.id = d.shop"), qr/\(part, shop\) \| wanted .*\n    +index on public\.sold \(shop\) \| wanted/, 'most columns come first');
unlike(plan_of("$pairs JOIN shop p ON p.id = d.part"), qr/index on public\.sold \(part\) \| wanted/, 'and what begins with the same is not wanted too');
like(plan_of('SELECT d.id, d.n FROM sold d, shop p WHERE d.n > p.most'), qr/index on public\.sold \(n\) \| wanted \| to find its rows between an old and a new bound; CREATE INDEX ON public\.sold \(n\);$/m, 'bounds');
unlike(plan_of('SELECT d.id, d.n, p.most FROM sold d, shop p WHERE d.n > p.most'), qr/bound/, 'that are shown are none');
unlike(plan_of('SELECT d.id, d.n FROM sold d, shop p WHERE d.n > p.most AND d.shop <> p.id'), qr/bound/, 'nor those of two conditions');
like(plan_of(q{SELECT s.part, s.shop, (SELECT sum(d.n) FROM sold d WHERE d.part = s.part AND d.shop = s.shop) AS n FROM stock s WHERE s.shop IN (SELECT p.id FROM shop p WHERE p.name LIKE 'a%')}),
	qr/^  r\d public\.sold \| keys \| .*; if there is a row for it in r\d, r\d\n    index on public\.sold \(part, shop\)/m, 'a change that matches nothing touches no key');
like(plan_of('SELECT id FROM shop WHERE most IN (SELECT n FROM sold)'), qr/^  r1 public\.shop \| keys \| .*\n    index on public\.shop \(id\) \| present .*\n    index on public\.shop \(most\) \| wanted \| to find the key for changes of r2; CREATE INDEX ON public\.shop \(most\);\n  r2 public\.sold/m,
	'rows that lead to the key');

server('drop');
done_testing();
