# Constructs whose text names no operator, over operators that are not built in: refused by name; written out they are kept, as the query has them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

start_server('viewoperators', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE EXTENSION citext', 'SET client_min_messages = warning', 'CREATE TABLE a (id int PRIMARY KEY, c citext, d citext)', 'CREATE TABLE b (c citext PRIMARY KEY, v int)',
	q{INSERT INTO a VALUES (1, 'X', 'x'), (2, 'y', 'Y'), (3, 'z', 'q'), (4, NULL, 'x')}, q{INSERT INTO b VALUES ('x', 1), ('Y', 2)}, 'CREATE VIEW ordinary AS SELECT id, NULLIF(c, d) AS n FROM a');
my %refused = (
	'NULLIF' => 'SELECT id, NULLIF(c, d) AS n FROM a', 'IS DISTINCT FROM' => 'SELECT id FROM a WHERE c IS DISTINCT FROM d', 'CASE value WHEN' => q{SELECT CASE c WHEN 'x' THEN 1 END AS k, count(*) AS n FROM a GROUP BY 1},
	'JOIN with USING or NATURAL' => 'SELECT id, v FROM a LEFT JOIN b USING (c)', 'comparisons of rows' => q{SELECT id FROM a WHERE (id, c) < (2, 'Y')}, 'subqueries compared with rows' => 'SELECT id FROM a WHERE (id, c) IN (SELECT v, c FROM b)');
like(try_do(psql('postgres'), 'SELECT tapdata.create_view($1, $2)' =~ s/\$1/'v'/r =~ s/\$2/\$\$$refused{$_}\$\$/r), qr/^0A000 .*views do not support \Q$_\E with operator =?<?\(citext,citext\)/s, $_) for sort keys %refused;
for (['NULLIF', 'SELECT * FROM ordinary'], ['JOIN with USING or NATURAL', 'SELECT id, v FROM a NATURAL JOIN b'], ['NULLIF', 'SELECT d, count(*) AS n FROM a GROUP BY d HAVING NULLIF(d, $q$X$q$) IS NOT NULL'], ['CASE value WHEN', 'SELECT id FROM (SELECT id, CASE c WHEN d THEN 1 END AS k FROM a) x WHERE k = 1'])
{
	my ($construct, $query) = @$_;
	like(try_do(psql('postgres'), "SELECT tapdata.create_view('v', \$\$$query\$\$)"), qr/^0A000 .*views do not support \Q$construct\E with operator/s, $query);
}
my %kept = (
	written => 'SELECT id, CASE WHEN c = d THEN 1 END AS n FROM a', joined => 'SELECT a.id, b.v FROM a LEFT JOIN b ON a.c = b.c', among => q{SELECT id FROM a WHERE c IN ('x', 'Z')}, sub => 'SELECT id FROM a WHERE c IN (SELECT c FROM b)',
	built_in => 'SELECT id, NULLIF(id, 2) AS n, CASE id WHEN 3 THEN 1 END AS k, id IS DISTINCT FROM 1 AS d FROM a');
execute('postgres', map { "SELECT tapdata.create_view('$_', \$\$$kept{$_}\$\$)" } sort keys %kept);
execute('postgres', (map { "SELECT tapdata.wait_view('$_')" } sort keys %kept), q{UPDATE a SET c = upper(c::text)}, q{INSERT INTO b VALUES ('Q', 3), ('z', 4)}, q{UPDATE a SET c = 'q' WHERE id = 4}, map { "SELECT tapdata.wait_view('$_')" } sort keys %kept);
is(rows('postgres', "(SELECT * FROM $_ EXCEPT ALL $kept{$_}) UNION ALL ($kept{$_} EXCEPT ALL SELECT * FROM $_)"), '', "$_: as the query") for sort keys %kept;
finish();
done_testing();
