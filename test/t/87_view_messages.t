# What a user is told, and kept from, where a live view can't go on: one cause, one call to mend it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use DBD::Pg;
use TdProcs;

my $pg = start_server('viewmessages', 'max_worker_processes = 32', 'max_prepared_transactions = 5');
execute('postgres', 'CREATE EXTENSION tapdata', 'SET synchronous_commit = local', 'CREATE TABLE b (id int PRIMARY KEY, v int NOT NULL)', 'INSERT INTO b SELECT i, i FROM generate_series(1, 20) i');
sub create { my ($name, $query, $options) = @_; execute('postgres', sprintf q{SELECT tapdata.create_view('%s', $q$%s$q$, '%s')}, $name, $query, $options // '{}'); return }
sub exact { my ($what, @names) = @_;
	for my $v (@names)
	{
		is(try_do(psql('postgres'), "SELECT tapdata.wait_view('$v', '20 s')"), '', "$what: $v reached");
		is(value('postgres', "SELECT count(*) FROM tapdata.check_view('$v')"), 0, "$what: $v is exact");
	}
	return }
sub column { my ($column, $name) = @_; return value('postgres', "SELECT $column FROM tapdata.views WHERE view = ?::regclass", $name) // '' }
sub has_failed { my (@names) = @_;
	for my $v (@names) { ok(eventually(sub { column('status', $v) eq 'failed' }), "$v has failed") }
	return }
# What the statement is refused with, and nothing of it is done.
sub failure { my ($sql) = @_; my $dbh = psql('postgres', fresh => 1); my $r = try_do($dbh, $sql); $dbh->disconnect; return $r }

# ---- a twin is not written through, however simple it is ----
create('simple', 'SELECT id, v FROM b WHERE v > 5');
exact('new', 'simple');
execute('postgres', 'CREATE VIEW over_twin AS SELECT id, v FROM tapdata_views.simple');
for my $sql ('DELETE FROM tapdata_views.simple', 'UPDATE tapdata_views.simple SET v = v + 1', 'INSERT INTO tapdata_views.simple VALUES (100, 100)', 'DELETE FROM over_twin',
	'WITH gone AS (DELETE FROM tapdata_views.simple RETURNING *) SELECT count(*) FROM gone')
{
	like(failure($sql), qr/^55000 .*view tapdata_views\.simple can only be read/, $sql);
}
is(failure("SET session_replication_role = replica; DELETE FROM tapdata_views.simple; DELETE FROM over_twin; INSERT INTO tapdata_views.simple VALUES (100, 100)"), '', 'as a replica');
is(value('postgres', 'SELECT count(*) FROM b'), 20, 'nothing is written, nor as a replica');
like(failure('DROP TRIGGER tapdata_refuse_write ON tapdata_views.simple'), qr/^0A000/, 'what keeps it so stays');
is(value('postgres', 'SELECT count(*) FROM tapdata_views.simple'), 15, 'it is read as ever');
execute('postgres', 'DROP VIEW over_twin', q{SELECT tapdata.create_view('simple', 'SELECT id, v FROM b WHERE v > 7', or_replace => true)});
ok(eventually(sub { value('postgres', 'SELECT count(*) FROM simple') == 13 }), 'another definition');
like(failure('DELETE FROM tapdata_views.simple'), qr/^55000/, 'it is not written through either');
execute('postgres', q{SELECT tapdata.drop_view('simple')});

# ---- a definition, as PostgreSQL gives it back, makes the view again ----
execute('postgres', 'CREATE SCHEMA other');
create('groups', 'SELECT v % 3 AS g, count(*) AS n FROM b GROUP BY 1');
create('other.groups', 'SELECT g FROM groups WHERE n > 1');
my @over = (['most' => 'WITH w AS (SELECT max(n) AS m FROM groups) SELECT groups.g, w.m FROM groups JOIN w ON w.m = groups.n WHERE EXISTS (SELECT FROM other.groups o WHERE o.g = groups.g)'],
	['both' => 'SELECT groups.g, (SELECT max(x.n) FROM groups x WHERE x.g = groups.g) AS n FROM other.groups']);
create(@$_) for @over;
exact('new', map { $_->[0] } @over);
for my $name (map { $_->[0] } @over)
{
	my $definition = value('postgres', "SELECT pg_get_viewdef(twin) FROM tapdata.views WHERE view = '$name'::regclass");
	like($definition, qr/tapdata_views\./, "the definition of $name names twins");
	execute('postgres', "SELECT tapdata.drop_view('$name')");
	is(try_do(psql('postgres'), "SELECT * FROM tapdata.explain_query(\$d\$$definition\$d\$)"), '', "$name: explain_query reads it");
	create($name, $definition);
	exact('made again', $name);
	my $again = value('postgres', "SELECT pg_get_viewdef(twin) FROM tapdata.views WHERE view = '$name'::regclass") =~ s/("other\.groups") \1;/$1;/r;	# an alias, since the table's name is another one
	is($again, $definition, "$name: with the same definition");
}
execute('postgres', 'CREATE ROLE twin_reader LOGIN', 'GRANT USAGE ON SCHEMA tapdata_views TO twin_reader', 'GRANT CREATE ON SCHEMA other TO twin_reader', 'GRANT SELECT ON tapdata_views.groups TO twin_reader');
like(failure(q{SET ROLE twin_reader; SELECT tapdata.create_view('other.mine', 'SELECT g FROM tapdata_views.groups')}), qr/^42501 .*table groups/s, 'that the twin may be read is not enough');
execute('postgres', 'UPDATE b SET v = v + 1 WHERE id < 4', 'UPDATE b SET v = id', map { "SELECT tapdata.drop_view('$_')" } 'both', 'most', 'other.groups', 'groups');

# ---- what can't be kept: the reason beforehand, and a call that does it ----
execute('postgres', 'CREATE VIEW simplest AS SELECT v % 3 AS g, v FROM b', 'CREATE VIEW plain AS SELECT s > 50 AS large, count(*) AS n FROM (SELECT v % 3 AS g, sum(id) AS s FROM b GROUP BY 1) x GROUP BY 1');
my $over_plain = 'SELECT n, large FROM plain';
like(failure("SELECT tapdata.create_view('sizes', '$over_plain')"), qr/^0A000 .*HINT:  Make ordinary view public\.plain a live one/s, 'over an ordinary view that would have to be split');
like(value('postgres', "SELECT detail FROM tapdata.explain_query('$over_plain') WHERE strategy = 'refused'"), qr/^views do not support .* Make ordinary view public\.plain a live one/, 'explain_query says it, too');
like(failure(q{SELECT tapdata.create_view('sizes', 'SELECT g, sum(v) OVER (ORDER BY v) FROM simplest')}), qr/^0A000 (?!.*ordinary view)/s, 'not where a live one would be of no use');
create('whole', $over_plain, '{"allow_full": true}');
is(value('postgres', "SELECT count(*) FROM tapdata.explain_view('whole') WHERE strategy = 'refused' OR detail LIKE '%needs the option%'"), 0, 'not of a view that has the option');
create('quick', 'SELECT v % 3 AS g, count(*) AS n FROM b GROUP BY 1', '{"unlogged": true}');
{
	my ($told, @hints) = ('');
	my $dbh = psql('postgres', fresh => 1);
	local $SIG{__WARN__} = sub { $told .= $_[0] };
	local $dbh->{PrintWarn} = 1;
	execute('postgres', 'CREATE TABLE c (id int PRIMARY KEY, b int NOT NULL, v int NOT NULL)');
	$dbh->do(q{SELECT tapdata.create_view('first_of', 'SELECT c.b, sum(c.v) AS s FROM c JOIN b ON b.id = c.b GROUP BY c.b ORDER BY s DESC LIMIT 2')});
	$dbh->disconnect;
	is(value('postgres', $_), 1, "can be done: $_") for map { s/^SELECT detail/SELECT count(*)/r } @hints = $told =~ /HINT:  (SELECT detail FROM tapdata\.explain_view\(.*?\) WHERE strategy = 'wanted')/g;
	is(@hints, 1, 'a view with a part, of which an index is missing') or diag($told);
	execute('postgres', q{SELECT tapdata.drop_view('first_of')}, 'DROP TABLE c');
}
like(failure(q{SELECT tapdata.create_view('over_quick', 'SELECT g FROM quick')}), qr/^0A000 .*live view public\.quick, which is unlogged.*without the option/s, 'over an unlogged live view');
execute('postgres', map({ "SELECT tapdata.drop_view('$_')" } 'whole', 'quick'), 'DROP VIEW plain', q{CREATE FUNCTION next(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'});
create('calls', 'SELECT id, next(v) AS v FROM b');
execute('postgres', 'ALTER FUNCTION next(int) VOLATILE');
has_failed('calls');
like(column('hint', 'calls'), qr/IMMUTABLE.*refresh_view\('public\.calls'\)/, 'a hint of its own ends with the call that revives the view');
execute('postgres', 'ALTER FUNCTION next(int) IMMUTABLE', q{SELECT tapdata.refresh_view('calls')});
exact('revived', 'calls');
execute('postgres', q{SELECT tapdata.drop_view('calls')}, 'DROP FUNCTION next(int)');

# ---- a failed view, and those above it: some have failed of the cause themselves ----
create('low', 'SELECT id, 10 / v AS q FROM b');
create('up', 'SELECT q, count(*) AS n FROM low GROUP BY q');
create('top', 'SELECT n, count(*) AS m FROM up GROUP BY n');
create('up_part', 'SELECT l.id, l.q, (SELECT sum(10 / v) FROM b) AS s FROM low l');
create('up_kept', 'SELECT l.id, l.q, b.v FROM low l JOIN b ON b.id = l.id', '{"old_images": "kept"}');
exact('new', qw(low up top up_part up_kept));
execute('postgres', 'UPDATE b SET v = 0 WHERE id = 3');
has_failed(qw(low up top up_part up_kept));
like(column('hint', $_), qr/public\.low.*refresh_view\('public\.low'\)/, "$_: the hint names the view that has to be mended") for qw(up top);
execute('postgres', 'UPDATE b SET v = 3 WHERE id = 3', q{SELECT tapdata.refresh_view('low')});
exact('one call revives all', qw(low up top up_part up_kept));
execute('postgres', 'UPDATE b SET v = 0 WHERE id = 3');
has_failed(qw(low up top up_part up_kept));
execute('postgres', 'UPDATE b SET v = 3 WHERE id = 3', q{SELECT tapdata.refresh_view(view) FROM tapdata.views WHERE status = 'failed'});
exact('and so does the call for all that have failed', qw(low up top up_part up_kept));

# ---- changes that can't be taken in, of rows that nobody saw: the view is computed anew, which is told once ----
create('tenths', 'SELECT id FROM b WHERE 10 / v > 1');
exact('new', 'tenths');
for (1, 2)
{
	my $dbh = psql('postgres');
	$dbh->begin_work;
	$dbh->do($_) for 'INSERT INTO b VALUES (1000, 0)', 'DELETE FROM b WHERE id = 1000';
	$dbh->commit;
	exact("zero has come and gone, $_", 'tenths');
}
ok(eventually(sub { value('postgres', q{SELECT executed->'error'->>'ticks' FROM tapdata.views WHERE view = 'tenths'::regclass}) == 2 }), 'computed anew for it');
like(rows('postgres', q{SELECT level, message FROM tapdata.log WHERE object = 'public.tenths' AND message LIKE '%computed anew%'}), qr/^\(?warning\W.*division by zero\W*$/, 'and told, once');
execute('postgres', q{SELECT tapdata.drop_view('tenths')});

# ---- a base table stays logged ----
execute('postgres', 'CREATE TABLE p (id int, v int) PARTITION BY RANGE (id)', 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)');
create('of_p', 'SELECT v, count(*) AS n FROM p GROUP BY v');
like(failure('ALTER TABLE b SET UNLOGGED'), qr/^2BP01 .*table "b" must stay logged.*public\.low.*public\.up_part.*drop_view\('public\.low'\)/s, 'SET UNLOGGED is refused, with the views');
like(failure('ALTER TABLE p1 SET UNLOGGED'), qr/^2BP01 .*of_p/s, 'of a partition, too');
is(failure('CREATE TABLE alone (id int); ALTER TABLE alone SET UNLOGGED; ALTER TABLE alone SET LOGGED'), '', 'other tables go either way');
exact('they go on', qw(low of_p));

# ---- old values that are not written any more ----
sub doctor { my ($item) = @_; return join '|', map { $_ // '' } psql('postgres')->selectrow_array('SELECT ok, detail, fix FROM tapdata.doctor() WHERE item = ?', undef, $item) }
sub old_rows { my ($view) = @_; return rows('postgres', "SELECT strategy, detail FROM tapdata.explain_view('$view') WHERE node LIKE '%old rows of public.%'") }
like(doctor('old rows'), qr/^1\|/, 'the doctor finds them written');
like(old_rows('low'), qr/^replica identity full\|it is so already/, 'so does explain_view');
execute('postgres', 'ALTER TABLE b REPLICA IDENTITY DEFAULT', 'ALTER TABLE p1 REPLICA IDENTITY DEFAULT');
like(doctor('old rows'), qr/^0\|.*public\.b, public\.p1\|.*ALTER TABLE ONLY public\.b REPLICA IDENTITY FULL;/, 'not any more: it names the tables');
like(old_rows('low'), qr/^unknown\|its replica identity does not cover/, 'explain_view says what is');
like(rows('postgres', q{SELECT strategy FROM tapdata.explain_query('SELECT id, v FROM b') WHERE node LIKE '%old rows%'}), qr/^replica identity full$/, '... and explain_query what would be');
execute('postgres', 'CREATE ROLE nobody_here LOGIN');
is(psql('postgres', user => 'nobody_here', fresh => 1)->selectrow_array(q{SELECT ok FROM tapdata.doctor() WHERE item = 'old rows'}), 1, 'who may not see the views is told of no table');
execute('postgres', 'UPDATE b SET v = v + 1');
exact('exact all the same', qw(low up_part));
execute('postgres', value('postgres', q{SELECT fix FROM tapdata.doctor() WHERE item = 'old rows'}));
like(doctor('old rows'), qr/^1\|/, 'its statement mends it');
execute('postgres', 'UPDATE b SET v = v + 1');
exact('and again', qw(low up_part));

# ---- an index of the user that does not take a row of the view ----
create('indexed', 'SELECT v % 3 AS g, count(*) AS n FROM b GROUP BY v % 3');
create('unkeyed', 'SELECT v FROM b');
exact('new', qw(indexed unkeyed));
execute('postgres', 'CREATE INDEX inverse ON indexed ((1 / (n - 3)))', 'CREATE INDEX halves ON unkeyed ((10 / (v - 77)))', 'DELETE FROM b WHERE v % 3 = 0 AND id NOT IN (SELECT id FROM b WHERE v % 3 = 0 ORDER BY id LIMIT 3)', 'UPDATE b SET v = 77 WHERE id = (SELECT id FROM b WHERE v % 3 = 2 LIMIT 1)');
has_failed(qw(indexed unkeyed));
like(column('hint', 'indexed'), qr/has an index that computes it: inverse\. Drop that/, 'it is named');
like(column('hint', 'unkeyed'), qr/has an index that computes it: halves\. Drop that/, 'it alone');
execute('postgres', 'DROP INDEX inverse', 'DROP INDEX halves', map { "SELECT tapdata.refresh_view('$_')" } qw(indexed unkeyed));
exact('dropped', qw(indexed unkeyed));

# ---- what a view has besides its table ----
my ($id) = value('postgres', q{SELECT id FROM tapdata.view WHERE relation = 'up_part'::regclass});
my ($part, $kept) = map { value('postgres', "SELECT relation::regclass FROM tapdata.view WHERE $_ LIMIT 1") } "part_of = $id", 'keeps > 0';
like(failure("DELETE FROM $part"), qr/^55000 .*is a part of live view public\.up_part.*Change the rows that the view is made of/s, 'a part names its view');
like(failure("DELETE FROM $kept"), qr/^55000 .*is a part of live view public\.up_kept/s, 'so does a table with old rows');
create('summed', 'SELECT v % 3 AS g, sum(v) AS s, count(*) AS n FROM b GROUP BY v % 3');
exact('new', 'summed');
my $state = value('postgres', q{SELECT state_tables[1] FROM tapdata.views WHERE view = 'summed'::regclass});
like(failure("ALTER TABLE $state $_"), qr/^0A000 .*live view public\.summed has its state in it/s, "its state: $_") for 'ADD x int', 'DROP COLUMN g', 'ALTER g TYPE bigint', 'RENAME g TO h';
is(failure("SET session_replication_role = replica; DELETE FROM summed WHERE g = 1; DELETE FROM $state; DELETE FROM $part"), '', 'as a replica');
cmp_ok(value('postgres', q{SELECT count(*) FROM tapdata.check_view('summed')}), '>', 0, 'a superuser who is a replica writes all the same');
execute('postgres', map { "SELECT tapdata.refresh_view('$_')" } qw(summed up_part));
exact('mended', qw(summed up_part));
# each kind of DDL that is refused says what can be done instead, and that is true
execute('postgres', 'CREATE TABLE parent (g int, s bigint, n bigint)', 'CREATE TYPE summed_row AS (g int, s bigint, n bigint)');
for (['ALTER TABLE summed ADD x int', qr/column as well, last: SELECT tapdata\.create_view\('public\.summed', \.\.\., or_replace => true\)/],
	['ALTER TABLE summed DROP COLUMN n', qr/drop the view and create it with a query that does not have it.*drop_view\('public\.summed'\)/],
	['ALTER TABLE summed ALTER n TYPE int', qr/one more column of that type.*or_replace.*casts the column/],
	['ALTER TABLE summed RENAME COLUMN n TO m', qr/once more, under the new name.*or_replace => true.*that says AS/],
	['ALTER TABLE summed ALTER n SET NOT NULL', qr/WHERE \.\.\. IS NOT NULL in its query/],
	['ALTER TABLE summed ADD CHECK (n > 0)', qr/Put the constraint on the tables that the view is made of\./],
	['ALTER TABLE summed ADD FOREIGN KEY (g) REFERENCES b', qr/Put the constraint on the tables that the view is made of\./],
	['ALTER TABLE summed ADD UNIQUE (n)', qr/follows from its query; .*CREATE UNIQUE INDEX/],
	['ALTER TABLE summed DROP CONSTRAINT summed_g_key', qr/Its rows are found by it.*drop_view\('public\.summed'\)/],
	['ALTER TABLE summed SET UNLOGGED', qr/\{"unlogged": true\}: SELECT tapdata\.drop_view\('public\.summed'\)/],
	(map { ["ALTER TABLE $_", qr/UNION ALL/] } 'summed INHERIT parent', 'parent INHERIT summed'),
	['ALTER TABLE summed OF summed_row', qr/SELECT ROW\(v\.\*\)::type/],
	['CREATE TABLE child () INHERITS (summed)', qr/UNION ALL/],
	['ALTER TABLE summed FORCE ROW LEVEL SECURITY', qr/without FORCE is for all others, and allowed/],
	['CREATE RULE r AS ON DELETE TO summed DO NOTHING', qr/on an ordinary view that reads it/])
{
	like(failure($_->[0]), qr/^0A000 .*table public\.summed is a live view.*HINT: .*$_->[1]/s, $_->[0]);
}
is(failure('BEGIN; CREATE UNIQUE INDEX ON summed (n, g); ALTER TABLE summed ENABLE ROW LEVEL SECURITY; CREATE VIEW of_summed AS SELECT * FROM summed; CREATE RULE r AS ON DELETE TO of_summed DO NOTHING; ROLLBACK'),
	'', 'what the hints say is allowed is');
is(failure(q{BEGIN; SELECT tapdata.create_view('summed', 'SELECT v % 3 AS g, sum(v) AS s, count(*) AS n, count(*) AS m, count(*)::int AS i FROM b GROUP BY v % 3', or_replace => true); ROLLBACK}), '', '... by replacing it, too');

# ---- what several views are made of: all of them are named, in the order in which they can be dropped ----
{
	execute('postgres', 'CREATE TABLE many (id int PRIMARY KEY, x int NOT NULL, y int NOT NULL)');
	create("x$_", "SELECT id, x FROM many WHERE x > $_") for 1 .. 2;
	create('of_y', 'SELECT id, y FROM many');
	create('over_x1', 'SELECT x, count(*) AS n FROM x1 GROUP BY x');
	exact('new', qw(x1 x2 of_y over_x1));
	my $all = qr/SELECT tapdata\.drop_view\('public\.over_x1'\); SELECT tapdata\.drop_view\('public\.x2'\); SELECT tapdata\.drop_view\('public\.x1'\)/;
	like(failure('ALTER TABLE many ALTER x TYPE bigint'), qr/^0A000 .*HINT: .*3 live views are made of it: drop them first, $all; and create them again/s, 'ALTER TYPE names all views of the column and above, and those alone');
	like(failure('ALTER TABLE many ALTER x DROP NOT NULL'), qr/^2BP01 .*live views read it.*HINT: .*afterwards: $all\./s, 'so does DROP NOT NULL');
	like(failure('ALTER TABLE many SET UNLOGGED'), qr/^2BP01 .*HINT: .*drop_view\('public\.over_x1'\); .*drop_view\('public\.of_y'\)/s, 'and SET UNLOGGED');
	like(failure(q{SELECT tapdata.drop_view('x1')}), qr/^2BP01 .*HINT: .*first: SELECT tapdata\.drop_view\('public\.over_x1'\)\./s, 'and drop_view');
	create("x$_", "SELECT id, x FROM many WHERE x > $_") for 3 .. 6;
	exact('new', map { "x$_" } 3 .. 6);
	for my $sql ('DROP TABLE many', 'ALTER TABLE many DROP COLUMN x', 'ALTER TABLE many ALTER x TYPE bigint')
	{
		my $hint = failure($sql) =~ s/.*HINT: //sr;
		is(() = $hint =~ /drop_view\(/g, 5, "$sql: five of many") or diag($hint);
		like($hint, qr/^ *[78] live views are made of it.*; and so for [23] more; and create them/, '... and how many more');
	}
}

# ---- hidden tables are not a user's affair ----
{
	execute('postgres', 'CREATE TABLE under (id int PRIMARY KEY, g int NOT NULL)');
	create('parted', 'SELECT count(DISTINCT g) AS n FROM under');
	create('kept', 'SELECT g, count(*) AS n FROM under GROUP BY g', '{"old_images": "kept"}');
	exact('new', qw(parted kept));
	for my $sql ('DROP TABLE under', 'ALTER TABLE under DROP COLUMN g')
	{
		my $error = failure($sql);
		like($error, qr/^2BP01 .*table parted depends on .*table kept depends on .*HINT: .*2 live views/s, "$sql names the views");
		unlike($error, qr/tapdata_parts/, '... and not what they are made of');
	}
}

# ---- who does not own a table ----
{
	execute('postgres', 'CREATE ROLE guest LOGIN', 'GRANT CREATE ON SCHEMA public TO guest', 'CREATE TABLE keyed (id int PRIMARY KEY, v int)', 'CREATE TABLE keyless (id int, v int)',
		'CREATE TABLE mixed (id int, v int)', 'CREATE TABLE mixed_child (PRIMARY KEY (id)) INHERITS (mixed)', 'GRANT SELECT ON keyed, keyless, mixed, mixed_child TO guest');
	my $as_guest = sub { my ($table, $options) = @_; return try_do(psql('postgres', user => 'guest', fresh => 1), "SELECT tapdata.create_view('of_$table', 'SELECT id, v FROM $table', '$options')") };
	my $kept = qr/or give the view the option \{"old_images": "kept"\}/;
	like($as_guest->('keyed', '{}'), qr/^42501 .*HINT: .*REPLICA IDENTITY FULL; $kept/s, 'is told of the option that needs nothing of the owner');
	for my $table (qw(keyless mixed))
	{
		my $error = $as_guest->($table, '{}');
		like($error, qr/^42501 .*REPLICA IDENTITY FULL;/s, "$table: of the owner");
		unlike($error, $kept, '... alone, where changes tell no key');
		like($as_guest->($table, '{"old_images": "kept"}'), qr/^55000 .*can't be kept/s, '... since it would not help');
	}
	is($as_guest->('keyed', '{"old_images": "kept"}'), '', 'and it helps where it is named');
	exact('kept', 'of_keyed');
}

# ---- what is refused is said with a way round it that is one ----
execute('postgres', 'CREATE TABLE ties (id int PRIMARY KEY, v int NOT NULL)', 'INSERT INTO ties SELECT i, i / 2 FROM generate_series(1, 20) i');
like(failure(q{SELECT tapdata.create_view('t', 'SELECT id, v FROM ties ORDER BY v OFFSET 2 ROWS FETCH FIRST 3 ROWS WITH TIES')}), qr/^0A000 .*HINT: .*FETCH FIRST <offset \+ count> ROWS WITH TIES.*ORDER BY \.\.\. OFFSET <offset>/s, 'OFFSET with ties');
create('t', 'SELECT id, v FROM ties ORDER BY v FETCH FIRST 5 ROWS WITH TIES');
exact('new', 't');
is(rows('postgres', 'SELECT v FROM t ORDER BY v OFFSET 2'), rows('postgres', 'SELECT v FROM ties ORDER BY v OFFSET 2 ROWS FETCH FIRST 3 ROWS WITH TIES'), '... the other way has the same rows');

# ---- names of columns ----
{
	my $dbh = psql('postgres', fresh => 1);
	my @notices;
	local $SIG{__WARN__} = sub { push @notices, @_ };
	$dbh->{PrintWarn} = 1;
	$dbh->do(q{SELECT tapdata.create_view('unnamed', 'SELECT id, v + 1 FROM ties')});
	like("@notices", qr/NOTICE: .*column 2 of the view has no name in the query.*SELECT \.\.\. AS name/s, 'a column without a name is told of');
	exact('new', 'unnamed');
	like(failure(q{SELECT tapdata.create_view('twice_named', 'SELECT id, v + 1, v + 2 FROM ties')}), qr/^0A000 .*two columns named \?column\?.*HINT: .*SELECT \.\.\. AS name/s, 'two of one name are refused');
}

# ---- domains that take no null: what a dump has of a view, COPY takes ----
{
	execute('postgres', 'CREATE DOMAIN nn AS int NOT NULL', 'CREATE DOMAIN nn_too AS nn CHECK (VALUE < 100)', 'CREATE TABLE d (id int PRIMARY KEY, x nn, y nn_too)', 'CREATE TABLE e (id int PRIMARY KEY, d int)',
		'INSERT INTO d VALUES (1, 1, 1)', 'INSERT INTO e VALUES (1, 1), (2, 2)', 'CREATE VIEW d_of_e AS SELECT e.id, d.x FROM e LEFT JOIN d ON d.id = e.d');
	my $i = 0;
	for my $query ('SELECT e.id, d.x FROM e LEFT JOIN d ON d.id = e.d', 'SELECT e.id, d.y FROM d RIGHT JOIN e ON d.id = e.d', 'SELECT e.id, d.x FROM d FULL JOIN e ON d.id = e.d', 'SELECT id, x FROM d_of_e',
		'SELECT s.id, s.x FROM (SELECT e.id, d.x FROM e LEFT JOIN d ON d.id = e.d) s', 'WITH w AS (SELECT e.id, d.x FROM e LEFT JOIN d ON d.id = e.d) SELECT id, x FROM w',
		'SELECT id, (SELECT d.x FROM d WHERE d.id = e.d) AS x FROM e', 'SELECT id, x FROM d UNION ALL SELECT e.id, d.x FROM e LEFT JOIN d ON d.id = e.d', 'SELECT x, y, count(*) AS n FROM d GROUP BY ROLLUP (x, y)',
		'SELECT e.id, j.x FROM e LEFT JOIN (d JOIN d d2 USING (id, x)) j ON j.id = e.d')
	{
		like(failure("SELECT tapdata.create_view('of_domain', '$query')"), qr/^0A000 .*column "[xy]" of a NOT NULL domain, which may be null here.*HINT: .*Cast it/s, $query);
	}
	my $file = value('postgres', 'SHOW data_directory') . '/of_domain.copy';
	for my $query ('SELECT id, x, y FROM d', 'SELECT e.id, d.x::int AS x FROM e LEFT JOIN d ON d.id = e.d', 'SELECT d.x, d.y, e.id FROM d LEFT JOIN e ON d.id = e.d', 'SELECT e.id, coalesce(d.x, 0::nn) AS x FROM e LEFT JOIN d ON d.id = e.d',
		'SELECT x, count(*) AS n FROM d GROUP BY x', 'SELECT id, x FROM d UNION ALL SELECT id, y::nn FROM d', 'SELECT id, x FROM (SELECT DISTINCT id, x FROM d) s', 'SELECT j.x FROM (d JOIN d d2 USING (id, x)) j')
	{
		my $view = 'of_domain' . ++$i;
		create($view, $query);
		exact($query, $view);
		is(failure("COPY $view TO '$file'; CREATE TABLE copy_$view (LIKE $view); COPY copy_$view FROM '$file'"), '', '... what a dump has of it can be restored');
	}
}

# ---- who may own a view ----
{
	execute('postgres', 'CREATE ROLE mute NOLOGIN', 'CREATE ROLE heir LOGIN', 'CREATE ROLE stranger LOGIN', 'GRANT SELECT ON b TO mute, heir', 'GRANT USAGE, CREATE ON SCHEMA public TO heir, mute');
	create('owned', 'SELECT id, v FROM b');
	exact('new', 'owned');
	like(failure('ALTER TABLE owned OWNER TO mute'), qr/^55000 .*role "mute" may not log in.*ALTER ROLE mute LOGIN, or give the view to another role/s, 'not who may not log in');
	is(failure('ALTER TABLE owned OWNER TO heir'), '', 'who may can');
	execute('postgres', 'ALTER ROLE heir NOLOGIN', 'UPDATE b SET v = v + 1');
	exact('ticks need no login', 'owned');
	execute('postgres', q{SELECT tapdata.refresh_view('owned')});
	create('after', 'SELECT id FROM b');
	exact('nobody waits for a view that can not be filled', 'after');
	has_failed('owned');
	like(column('error', 'owned'), qr/^role "heir" may not log in/, 'it says why');
	like(column('hint', 'owned'), qr/^ALTER ROLE heir LOGIN, or give the view to another role; then SELECT tapdata\.refresh_view\('public\.owned'\)\./, '... and what to do');
	execute('postgres', 'ALTER ROLE heir LOGIN', 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', q{SELECT tapdata.refresh_view('owned')});
	ok(eventually(sub { column('error', 'owned') =~ /^role "heir" may not connect to this database/ }), 'who may not connect to the database') or diag(column('error', 'owned'));
	like(column('hint', 'owned'), qr/^GRANT CONNECT ON DATABASE postgres TO heir, or/, '... likewise');
	execute('postgres', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC', q{SELECT tapdata.refresh_view('owned')});
	exact('mended', 'owned');
	create('of_part', 'SELECT id, v FROM b WHERE v >= (SELECT avg(v) FROM b)');
	is(failure('ALTER TABLE of_part OWNER TO heir'), '', 'one that is split');
	exact('which streams', 'of_part');
	execute('postgres', 'ALTER ROLE heir NOLOGIN', q{SELECT tapdata.refresh_view('of_part')});
	has_failed('of_part');
	like(column('error', 'of_part'), qr/^role "heir" may not log in/, '... and fails with its part, which can not be filled');
	execute('postgres', 'ALTER ROLE heir LOGIN', q{SELECT tapdata.refresh_view('of_part')});
	exact('mended', 'of_part');
	execute('postgres', q{SELECT tapdata.drop_view('of_part')});
	is(failure('ALTER TABLE owned OWNER TO stranger'), '', 'who may not read its tables');
	has_failed('owned');
	like(column('hint', 'owned'), qr/^Grant SELECT on public\.b to stranger/, '... has it failed, with what to do');
	create('over_owned', 'SELECT count(*) AS n FROM owned');
	has_failed('over_owned');
	execute('postgres', 'ALTER TABLE owned RENAME TO owned_2', 'ALTER TABLE owned_2 RENAME TO owned');
	ok(quiet(0.5, sub { column('status', 'owned') eq 'failed' }), 'another name makes no difference');
	is(failure('ALTER TABLE owned OWNER TO heir'), '', 'given to one who may');
	exact('it is tried again, with what is above it', 'owned', 'over_owned');
	is(column('error', 'owned'), '', '... and nothing is left of the error');
	execute('postgres', q{SELECT tapdata.drop_view('over_owned')});
	is(failure('ALTER TABLE owned OWNER TO stranger'), '', 'and back');
	has_failed('owned');
	execute('postgres', 'GRANT SELECT ON b TO stranger', q{SELECT tapdata.refresh_view('owned')});
	exact('mended', 'owned');
	execute('postgres', 'REASSIGN OWNED BY stranger TO mute');
	execute('postgres', q{SELECT tapdata.refresh_view('owned')});
	has_failed('owned');
	like(column('error', 'owned'), qr/^role "mute" may not log in/, 'by REASSIGN OWNED: as soon as it is filled');
	execute('postgres', 'REVOKE SELECT ON b FROM stranger', 'REASSIGN OWNED BY mute TO stranger');
	ok(eventually(sub { column('error', 'owned') =~ /^the owner of view public\.owned may not read/ }), '... tried again, and the error is that of the new owner') or diag(column('error', 'owned'));
	unlike(column('error', 'owned') . column('hint', 'owned'), qr/mute/, '... not of the old one');
	execute('postgres', 'REASSIGN OWNED BY stranger TO heir');
	exact('reassigned to one who may', 'owned');
	execute('postgres', q{SELECT tapdata.drop_view('owned')}, q{SELECT tapdata.drop_view('after')});
}

# ---- who is waited for ----
{
	my ($holder, $maker) = map { psql('postgres', fresh => 1) } 1 .. 2;
	$holder->begin_work;
	$holder->do("LOCK TABLE low, $kept");
	my $pid = $holder->{pg_pid};
	execute('postgres', 'UPDATE b SET v = v + 1');
	ok(eventually(sub { column('error', 'up_kept') =~ /locked by process $pid$/ }, 30), 'a view with old rows kept names the process that has the lock') or diag(column('error', 'up_kept'));
	ok(eventually(sub { column('error', 'up') =~ /locked by process $pid$/ }, 30), 'and so does one over others') or diag(column('error', 'up'));
	$holder->rollback;
	exact('released', qw(up_kept up));

	$holder->begin_work;
	$holder->do(q{SELECT tapdata.create_view('twice', 'SELECT id FROM b')});
	$maker->do(q{SELECT tapdata.create_view('twice', 'SELECT id FROM b')}, { pg_async => DBD::Pg::PG_ASYNC() });
	ok(eventually(sub { value('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = ?", $maker->{pg_pid}) }), 'two sessions make a view of one name');
	$holder->commit;
	eval { $maker->pg_result };
	is($maker->state, '42P07', 'the second one is refused');
	like($maker->errstr, qr/relation public\.twice exists already.*Another session has just made it/s, 'as if it had been there before');
	exact('the first one', 'twice');

	$holder->do($_) for 'BEGIN', 'INSERT INTO p VALUES (2, 2)', q{PREPARE TRANSACTION 'left open'};
	create('waits', 'SELECT id FROM b', '{"group": "another"}');
	ok(eventually(sub { doctor('new views') =~ /^0\|.*open: prepared transaction 'left open'/ }, 30), 'a new view that waits for a prepared transaction: the doctor names it') or diag(doctor('new views'));
	$holder->do(q{COMMIT PREPARED 'left open'});
	exact('committed', 'waits');
}

finish();
done_testing();
