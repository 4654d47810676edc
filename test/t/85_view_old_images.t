# Live views with {"old_images": "kept"}: their base tables keep their replica identity, a table of tapdata has the old rows.  The oracle is check_view()
# and plain SQL: after each kind of change by itself, and with random writers (keys that change, values out of line, savepoints, prepared transactions,
# TRUNCATE, partitions that come and go, workers and the server killed) over views of several kinds.
#
# TD_SEED=n repeats a run; TD_KEPT_ROUNDS makes it longer (make soak).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;
use TdBank qw(seed);
use TdViews qw(start_churn stop_churn inexact unequal wait_views);
use POSIX ();
use Time::HiRes qw(sleep time);

my $seed = seed();
diag "seed $seed (TD_SEED=$seed repeats this run)";
my $pg = start_server('kept', 'max_prepared_transactions = 20', 'max_worker_processes = 32', 'fsync = off');
my $kept = '{"old_images": "kept"}';
my %query;

sub create { my ($name, $query, $options) = @_; $query{$name} = $query; return try_do(psql('postgres'), "SELECT tapdata.create_view('$name', \$\$$query\$\$, '" . ($options // $kept) . "')") }
sub wait_for { my (@names) = @_; my $r = ''; $r .= try_do(psql('postgres'), "SELECT tapdata.wait_view('$_', '60 s')") for @names; return $r }
sub wrong { my (@names) = @_; return join '', map { my $v = $_; map { "$v $_\n" } grep { $_ } rows('postgres', "SELECT * FROM tapdata.check_view('$v', 3)") } @names }
sub plain { my (@names) = @_; return join '', map { value('postgres', "SELECT count(*) FROM ((TABLE $_ EXCEPT ALL ($query{$_})) UNION ALL (($query{$_}) EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } @names }
# what the tables of old rows have is what the tables have
sub keepers { my ($owner) = @_; return map { $_->[0] } @{ psql('postgres')->selectall_arrayref("SELECT relation::regclass FROM tapdata.view WHERE keeps IS NOT NULL AND owner::text LIKE ? ORDER BY id", undef, $owner // '%') } }
sub kept_wrong { return join '', map { value('postgres', "SELECT count(*) FROM ((TABLE $_ EXCEPT ALL TABLE ${_}_q) UNION ALL (TABLE ${_}_q EXCEPT ALL TABLE $_)) x") ? "$_ differs\n" : '' } keepers('postgres') }
sub exact
{
	my ($what, @names) = @_;
	@names = sort keys %query unless @names;
	is(wait_for(@names) || wrong(@names) || plain(@names) || kept_wrong(), '', $what);
	return;
}
sub executed { my ($name, $how) = @_; return value('postgres', "SELECT coalesce((SELECT n FROM tapdata.view_run WHERE view = (SELECT id FROM tapdata.view WHERE relation = ?::regclass) AND how = ?), 0)", $name, $how) }
sub identity { my ($table) = @_; return value('postgres', 'SELECT relreplident FROM pg_class WHERE oid = ?::regclass', $table) }

execute('postgres', 'CREATE EXTENSION tapdata',
	'CREATE TABLE docs (id int PRIMARY KEY, g int, v numeric, title text, doc text)', 'ALTER TABLE docs ALTER doc SET STORAGE EXTERNAL, ALTER title SET STORAGE EXTERNAL',
	q{INSERT INTO docs SELECT i, i % 10, i / 2.0, 'title ' || i, repeat(md5(i::text), 300) FROM generate_series(1, 2000) i}, 'ANALYZE docs');

# ---- one view: every kind of change ----
is(create('by_g', 'SELECT g, count(*) AS n, sum(v) AS s, max(title) AS t FROM docs GROUP BY g'), '', 'created');
is(identity('docs'), 'd', 'the replica identity stays');
exact('filled');
execute('postgres', 'UPDATE docs SET v = v + 1 WHERE id = 1');
exact('an update');
execute('postgres', q{UPDATE docs SET doc = 'x' WHERE id = 2});
exact('of a column that is not used');
execute('postgres', 'UPDATE docs SET id = 10001, g = 3 WHERE id = 3');
exact('of the key');
execute('postgres', 'DELETE FROM docs WHERE id = 4', q{INSERT INTO docs VALUES (4, 1, 1.00, 'again', 'x')});
exact('the same key again');
execute('postgres', 'BEGIN', q{INSERT INTO docs VALUES (20000, 1, 1, 'a', 'b')}, 'UPDATE docs SET g = 2 WHERE id = 20000', 'DELETE FROM docs WHERE id = 20000', 'UPDATE docs SET g = g + 1 WHERE id = 5', 'UPDATE docs SET g = g + 1 WHERE id = 5',
	'DELETE FROM docs WHERE id = 6', q{INSERT INTO docs VALUES (6, 7, 7, 'new', 'new')}, 'UPDATE docs SET id = 20001 WHERE id = 7', 'UPDATE docs SET id = 7 WHERE id = 8', 'UPDATE docs SET id = 8 WHERE id = 20001', 'COMMIT');
exact('several of the same rows in one transaction, keys that change places');
execute('postgres', q{UPDATE docs SET title = repeat('long', 3000) WHERE id BETWEEN 10 AND 20}, 'UPDATE docs SET v = 0 WHERE id BETWEEN 10 AND 20');
exact('a value out of line, and one that an update leaves alone');
ok(eventually(sub { executed((keepers())[0], 'keyed') >= 6 }), 'by keys');
is(executed((keepers())[0], 'unknown'), 0, 'nothing was unknown');
execute('postgres', 'UPDATE docs SET v = v + 1');
exact('all rows at once');
execute('postgres', 'TRUNCATE docs', q{INSERT INTO docs SELECT i, i % 10, i / 2.0, 'title ' || i, repeat(md5(i::text), 300) FROM generate_series(1, 500) i});
exact('TRUNCATE');
done_testing(), finish(), exit if $ENV{TD_KEPT_SMOKE};

# ---- what is said beforehand, and what is refused ----
{
	my $explained = rows('postgres', "SELECT * FROM tapdata.explain_view('by_g')");
	like($explained, qr/^\s*old rows of public\.docs\|kept\|.*tapdata_parts\.v\d+_k.* times/m, 'explain_view names the table, and the WAL that is spared');
	like($explained, qr/^\s*ticks of old rows of docs\|keyed\|/m, 'and what ticks have done for it');
	for my $keeper ((keepers())[0])
	{
		like(try_do(psql('postgres'), "SELECT $_"), qr/^42809 .*a part of one.*Name the view itself/s, $_)
			for map { "tapdata.$_" } map({ "$_('$keeper')" } qw(check_view wait_view explain_view changes view_tick refresh_view drop_view)), "alter_view('$keeper', '{}')";
	}
	execute('postgres', 'VACUUM ANALYZE docs');
	like(rows('postgres', q{SELECT * FROM tapdata.explain_query('SELECT g, doc FROM docs')}), qr/old rows of public\.docs\|replica identity full\|.*to [\d.]+ times; WARNING: wide rows.*"old_images": "kept"/, 'explain_query mentions it');
	my @said;
	my $dbh = psql('postgres', fresh => 1);
	local $SIG{__WARN__} = sub { push @said, @_ };
	$dbh->{PrintWarn} = 1;
	$dbh->do(q{SELECT tapdata.create_view('logged', 'SELECT id, g FROM docs')});
	like("@said", qr/WARNING:  updates and deletes of table "docs" log the whole old row.*stored out of line.*"old_images": "kept"/s, 'create_view warns of wide rows');
	is(identity('docs'), 'f', 'without the option it is FULL');
	$query{logged} = 'SELECT id, g FROM docs';
	execute('postgres', 'UPDATE docs SET g = g + 1, v = v + 1 WHERE id < 10', 'DELETE FROM docs WHERE id = 11', q{UPDATE docs SET title = 'only' WHERE id = 12});
	exact('both ways side by side');
	execute('postgres', q{SELECT tapdata.drop_view('logged')});
	delete $query{logged};
	is(identity('docs'), 'd', 'set back with the last that needs it');
	execute('postgres', 'UPDATE docs SET g = g + 1, v = v + 1 WHERE id < 10', 'DELETE FROM docs WHERE id = 13', q{UPDATE docs SET title = 'only' WHERE id = 14});
	exact('and kept all the same');

	execute('postgres', 'CREATE TABLE nokey (a int, b int)', 'CREATE TABLE nothing (id int PRIMARY KEY, b int)', 'ALTER TABLE nothing REPLICA IDENTITY NOTHING', 'CREATE TABLE whole (id int, b int)', 'ALTER TABLE whole REPLICA IDENTITY FULL');
	like(create('v', "SELECT b FROM $_"), qr/^55000 .*old rows of table public\.$_ can't be kept.*HINT:.*REPLICA IDENTITY USING INDEX/s, "$_: refused") for qw(nokey nothing);
	delete $query{v};
	like(try_do(psql('postgres'), q{SELECT tapdata.create_view('v', 'SELECT id FROM docs', '{"old_images": "never"}')}), qr/^22023 .*"kept"/s, 'another value');
	is(create('v_whole', 'SELECT id, b FROM whole') . create('v_key', 'SELECT id FROM docs'), '', 'where whole rows are logged, or the key is enough');
	is(scalar(keepers()), 1, 'nothing more is kept');
	execute('postgres', 'INSERT INTO whole VALUES (1, 1), (1, 1), (2, 2)', 'DELETE FROM whole WHERE id = 2', 'UPDATE whole SET b = 2');
	exact('and exact');
	execute('postgres', map { "SELECT tapdata.drop_view('$_')" } qw(v_whole v_key));
	delete @query{qw(v_whole v_key)};
}

# ---- shared, and dropped with the last ----
{
	is(create('narrow', 'SELECT g, count(*) AS n FROM docs GROUP BY g'), '', 'a view of fewer columns');
	is(scalar(keepers()), 1, 'has the same');
	is(create('wider', 'SELECT id, g, length(doc) AS l FROM docs'), '', 'one of another column');
	is(scalar(keepers()), 2, 'has one of its own');
	like(value('postgres', q{SELECT state_tables::text FROM tapdata.views WHERE view = 'narrow'::regclass}), qr/tapdata_parts\.v\d+_k\b/, 'tapdata.views names it');
	like(try_do(psql('postgres'), "$_ @{[(keepers())[0]]}"), qr/^(?:0A000|2BP01|55000) /, "$_ is refused") for 'DROP TABLE', 'TRUNCATE', 'DELETE FROM';
	like(try_do(psql('postgres'), "SELECT tapdata.drop_view('@{[(keepers())[0]]}')"), qr/^42809 /, 'so is drop_view');
	execute('postgres', 'UPDATE docs SET doc = repeat(md5(g::text), 400) WHERE id % 5 = 0', 'UPDATE docs SET g = g + 1 WHERE id % 7 = 0', 'DELETE FROM docs WHERE id % 11 = 0');
	exact('both');
	execute('postgres', 'CREATE ROLE ann LOGIN', 'GRANT CREATE ON SCHEMA public TO ann', 'GRANT SELECT ON docs TO ann');
	my $ann = psql('postgres', user => 'ann');
	is(try_do($ann, qq{SELECT tapdata.create_view('anns', 'SELECT g, count(*) AS n FROM docs GROUP BY g', '$kept')}), '', 'who does not own the table may');
	$query{anns} = 'SELECT g, count(*) AS n FROM docs GROUP BY g';
	is(scalar(keepers()), 3, 'and has her own');
	exact('all');
	like(try_do($ann, qq{SELECT tapdata.create_view('anns_other', 'SELECT g, count(*) AS n FROM hidden_key GROUP BY g', '$kept')}), qr/^42501 .*permission denied/, 'who may not read the key may not') if execute('postgres', 'CREATE TABLE hidden_key (id int PRIMARY KEY, g int)', 'GRANT SELECT (g) ON hidden_key TO ann') || 1;
	execute('postgres', 'REVOKE SELECT ON docs FROM ann', 'UPDATE docs SET g = 1 WHERE id = 21');
	ok(eventually(sub { value('postgres', q{SELECT status FROM tapdata.views WHERE view = 'anns'::regclass}) eq 'failed' }), 'without SELECT it fails');
	like(value('postgres', q{SELECT sqlstate || ' ' || error FROM tapdata.views WHERE view = 'anns'::regclass}), qr/^42501 the owner of view public\.anns may not read public\.docs/, 'and says why');
	exact('the others go on', qw(by_g narrow wider));
	execute('postgres', 'GRANT SELECT ON docs TO ann', q{SELECT tapdata.refresh_view('anns')});
	exact('refresh_view revives it');
	execute('postgres', q{SELECT tapdata.drop_view('anns')}, q{SELECT tapdata.drop_view('wider')});
	delete @query{qw(anns wider)};
	is(scalar(keepers()), 1, 'dropped with the last');
	execute('postgres', q{SELECT tapdata.drop_view('by_g')});
	delete $query{by_g};
	is(scalar(keepers()), 1, 'not before');
	execute('postgres', 'UPDATE docs SET g = g + 1 WHERE id % 3 = 0');
	exact('the other goes on');
	execute('postgres', 'BEGIN', 'DROP TABLE narrow', 'ROLLBACK', 'UPDATE docs SET g = g + 1 WHERE id % 4 = 0');
	exact('a DROP that is rolled back');
	execute('postgres', 'DROP TABLE narrow');
	delete $query{narrow};
	is(rows('postgres', q{SELECT relname FROM pg_class WHERE relnamespace = 'tapdata_parts'::regnamespace}) . identity('docs'), 'd', 'nothing is left');
}

# ---- views of several kinds; a table that others inherit from; partitions ----
execute('postgres', 'CREATE TABLE items (doc int, pos smallint, w numeric(8,2), note text, PRIMARY KEY (doc, pos))', 'CREATE INDEX ON docs (g)', 'CREATE INDEX ON items (pos)',
	'CREATE TABLE logs (id int PRIMARY KEY, k int, body text) PARTITION BY RANGE (id)', 'CREATE TABLE logs_low PARTITION OF logs FOR VALUES FROM (MINVALUE) TO (100)',
	'CREATE TABLE logs_high (gone int, body text, k int, id int PRIMARY KEY)', 'ALTER TABLE logs_high DROP gone', 'ALTER TABLE logs ATTACH PARTITION logs_high FOR VALUES FROM (100) TO (1000)',
	'CREATE TABLE uniq (a int NOT NULL, b text NOT NULL, c int)', 'CREATE UNIQUE INDEX uniq_key ON uniq (b, a)', 'ALTER TABLE uniq REPLICA IDENTITY USING INDEX uniq_key',
	q{INSERT INTO items SELECT i, j, i + j, 'n' || i FROM generate_series(1, 300) i, generate_series(1, 3) j}, q{INSERT INTO logs SELECT i, i % 5, repeat('b', i) FROM generate_series(1, 200) i},
	q{INSERT INTO uniq SELECT i, 'x' || i % 7, i % 3 FROM generate_series(1, 100) i}, 'ANALYZE');
{
	my @all = (['v_join', 'SELECT d.id, d.g, d.v, i.pos, i.w FROM docs d JOIN items i ON i.doc = d.id'], ['v_groups', 'SELECT d.g, count(*) AS n, sum(i.w) AS s, max(d.title) AS t FROM docs d JOIN items i ON i.doc = d.id GROUP BY d.g'],
		['v_nested', 'SELECT d.id, d.title, (SELECT jsonb_agg(i.note ORDER BY i.pos) FROM items i WHERE i.doc = d.id) AS notes FROM docs d'], ['v_self', 'SELECT a.id, b.id AS other FROM docs a JOIN docs b ON b.g = a.g AND b.id = a.id + 10'],
		['v_left', 'SELECT d.id, i.w FROM docs d LEFT JOIN items i ON i.doc = d.id AND i.pos = 2'], ['v_top', 'SELECT id, g, v FROM docs ORDER BY v DESC, id LIMIT 7'],
		['v_split', 'SELECT g, n FROM (SELECT g, count(*) AS n FROM docs GROUP BY g) x ORDER BY n DESC, g LIMIT 3'], ['v_above', 'SELECT g, count(*) AS n, sum(w) AS s FROM v_join GROUP BY g'],
		['v_logs', 'SELECT k, count(*) AS n, max(length(body)) AS m FROM logs GROUP BY k'], ['v_rows', 'SELECT id, k, body FROM logs WHERE k < 3'], ['v_low', 'SELECT id, k FROM logs_low'],
		['v_uniq', 'SELECT b, sum(c) AS s FROM uniq GROUP BY b']);
	is(create($_->[0], $_->[1], $_->[0] eq 'v_join' ? '{"old_images": "kept", "changes": true}' : $_->[0] eq 'v_left' ? '{"old_images": "kept", "unlogged": true}' : $kept), '', "$_->[0]: created") for @all;
	# no key of the whole: rows of parent and child may have the same
	execute('postgres', 'CREATE TABLE base (id int PRIMARY KEY, a int, b text)', 'CREATE TABLE child (c int, PRIMARY KEY (id)) INHERITS (base)', q{INSERT INTO base SELECT i, i % 5, 'x' FROM generate_series(1, 50) i},
		q{INSERT INTO child SELECT i, i % 7, 'x' FROM generate_series(20, 70) i}, 'CREATE TABLE empty (id int PRIMARY KEY, a int) PARTITION BY LIST (id)');
	is(create('v_base', 'SELECT id, a, b FROM base') . create('v_only', 'SELECT id, count(*) OVER (PARTITION BY a) AS n FROM ONLY base') . create('v_empty', 'SELECT a, count(*) AS n FROM empty GROUP BY a'), '', 'a table that others inherit from; one without partitions');
	like(create('v_mixed', 'SELECT o.id FROM ONLY base o WHERE EXISTS (SELECT FROM base b WHERE b.a = o.a AND b.id <> o.id)'), qr/^0A000 .*with and without ONLY/, 'with and without ONLY');
	like(create('v_mixed', 'SELECT b.id, (SELECT jsonb_agg(to_jsonb(d) ORDER BY d.id) FROM docs d WHERE d.g = b.a) AS docs FROM base b'), qr/^0A000 .*"docs" can't be kept: the view uses a row of it as a whole/, 'a row as a whole');
	delete $query{v_mixed};
	execute('postgres', 'CREATE TABLE empty_1 PARTITION OF empty FOR VALUES IN (1, 2, 3)', 'INSERT INTO empty VALUES (1, 1), (2, 1), (3, 2)', 'UPDATE empty SET a = 3 WHERE id = 1', 'DELETE FROM empty WHERE id = 2',
		'UPDATE base SET a = a + 1 WHERE id BETWEEN 15 AND 30', 'DELETE FROM ONLY base WHERE id = 25', 'DELETE FROM child WHERE id = 26', 'UPDATE child SET id = id + 1000 WHERE id > 60');
	is(identity('empty_1') . identity('base') . identity('child'), 'ddd', 'their replica identities stay');
	is(create('v_full', 'SELECT g, v, row_number() OVER (ORDER BY id) AS n FROM docs', '{"allow_full": true}'), '', 'one of which all is computed anew, without the option');
	is(identity($_), 'd', "$_: its replica identity stays") for qw(docs items logs_low logs_high);
	exact('all of them');
}
sub some_changes
{
	execute('postgres', 'UPDATE docs SET g = (g + 1) % 10, v = v + 1 WHERE id % 17 = 0', q{UPDATE items SET w = w + 1, note = note || 'x' WHERE pos = 2 AND doc % 9 = 0}, 'UPDATE items SET pos = pos + 10 WHERE pos = 3 AND doc % 5 = 0', 'DELETE FROM items WHERE doc % 13 = 0',
		'UPDATE base SET a = a + 1 WHERE id % 4 = 0', 'UPDATE base SET id = id + 200 WHERE id % 10 = 3', 'UPDATE logs SET k = (k + 1) % 5 WHERE id % 6 = 0', 'UPDATE logs SET id = id + 100 WHERE id BETWEEN 60 AND 65 AND NOT EXISTS (SELECT FROM logs l WHERE l.id BETWEEN 160 AND 165)', 'DELETE FROM logs WHERE id % 31 = 0', q{UPDATE uniq SET b = 'y', c = c + 1 WHERE a % 9 = 0},
		q{UPDATE docs SET title = repeat('t', 9000) WHERE id % 29 = 0}, 'DELETE FROM docs WHERE id % 41 = 0');
	return;
}
some_changes();
exact('changes of all');
some_changes();
execute('postgres', 'TRUNCATE items', q{INSERT INTO items SELECT i, j, i + j, 'm' || i FROM generate_series(1, 300) i, generate_series(1, 3) j}, 'TRUNCATE logs_low');
exact('TRUNCATE');

# ---- DDL ----
{
	my @steps = (['a column is renamed', 'ALTER TABLE docs RENAME g TO grp', 'UPDATE docs SET grp = grp + 1 WHERE id % 5 = 0'], ['and back', 'ALTER TABLE docs RENAME grp TO g'], ['another is called as it was', 'ALTER TABLE docs ADD extra int, DROP doc', 'ALTER TABLE docs ADD doc text'],
		['a rewrite', 'VACUUM FULL docs', 'UPDATE docs SET g = g + 1 WHERE id % 5 = 1'], ['a partition comes', 'CREATE TABLE logs_new PARTITION OF logs FOR VALUES FROM (1000) TO (2000)', 'INSERT INTO logs VALUES (1500, 1, \'new\')', 'UPDATE logs SET k = 2 WHERE id = 1500'],
		['goes', 'ALTER TABLE logs DETACH PARTITION logs_high', 'UPDATE logs_high SET k = 0'], ['and comes back', 'ALTER TABLE logs ATTACH PARTITION logs_high FOR VALUES FROM (100) TO (1000)', 'UPDATE logs SET k = k + 1 WHERE id > 100'],
		['no identity where there was an index', 'ALTER TABLE uniq REPLICA IDENTITY NOTHING', 'UPDATE uniq SET c = c + 1 WHERE a % 5 = 0', 'DELETE FROM uniq WHERE a = 7'], ['and the index again', 'ALTER TABLE uniq REPLICA IDENTITY USING INDEX uniq_key', 'UPDATE uniq SET c = c + 1 WHERE a % 5 = 1'],
		['the identity becomes NOTHING', 'ALTER TABLE docs REPLICA IDENTITY NOTHING', 'UPDATE docs SET g = g + 1 WHERE id % 5 = 2', 'DELETE FROM docs WHERE id = 50'], ['and the key again', 'ALTER TABLE docs REPLICA IDENTITY DEFAULT', 'UPDATE docs SET g = g + 1 WHERE id % 5 = 3'],
		['FULL by the user', 'ALTER TABLE docs REPLICA IDENTITY FULL', 'UPDATE docs SET g = g + 1 WHERE id % 5 = 4', 'UPDATE docs SET title = \'full\' WHERE id = 101', 'UPDATE docs SET id = 777000 WHERE id = 102'], ['not any more', 'ALTER TABLE docs REPLICA IDENTITY DEFAULT', 'UPDATE docs SET g = 0 WHERE id = 777000']);
	for my $step (@steps)
	{
		my ($what, @sql) = @$step;
		execute('postgres', @sql);
		if ($what eq 'a column is renamed') { is(wait_for(sort keys %query) || wrong(sort keys %query), '', $what); next }
		exact($what);
	}
	like(rows('postgres', q{SELECT message || hint FROM tapdata.log WHERE level = 'warning' AND message LIKE '%public.uniq%' AND message LIKE '%do not tell%' ORDER BY at DESC LIMIT 1}), qr/do not tell the key of the old row.*REPLICA IDENTITY DEFAULT/s, 'NOTHING was warned of');
	like(try_do(psql('postgres'), 'ALTER TABLE docs DROP CONSTRAINT docs_pkey'), qr/^2BP01 .*tapdata\.drop_view/s, 'the key can not go');
	like(try_do(psql('postgres'), 'ALTER TABLE docs DROP COLUMN v'), qr/^2BP01 .*tapdata\.drop_view/s, 'nor a column that is used');
	like(try_do(psql('postgres'), 'ALTER TABLE docs ALTER title SET NOT NULL, ALTER id DROP NOT NULL'), qr/./, 'nor its NOT NULL');
	exact('as before');
}

# ---- from one way to the other, online ----
{
	execute('postgres', q{SELECT tapdata.create_view('moves', 'SELECT g, sum(v) AS s FROM docs GROUP BY g')}, q{SELECT tapdata.wait_view('moves')});
	$query{moves} = 'SELECT g, sum(v) AS s FROM docs GROUP BY g';
	is(identity('docs'), 'f', 'logged');
	my $to = sub {
		my ($how) = @_;
		execute('postgres', qq{SELECT tapdata.alter_view('moves', '{"old_images": $how}')});
		execute('postgres', 'UPDATE docs SET g = g + 1, v = v + 1 WHERE id % 10 = 7');
		ok(eventually(sub { value('postgres', q{SELECT replacing IS NULL AND status = 'streaming' FROM tapdata.views WHERE view = 'moves'::regclass}) }, 60), "alter_view: $how");
		execute('postgres', qq{SELECT tapdata.alter_view('moves', '{"old_images": $how}')}, 'UPDATE docs SET g = g + 1, v = v + 1 WHERE id % 10 = 8');
		exact("exact: $how");
	};
	$to->('"kept"');
	is(identity('docs') . value('postgres', q{SELECT options->>'old_images' FROM tapdata.views WHERE view = 'moves'::regclass}), 'dkept', 'the same call once more sets the replica identity back');
	$to->('"logged"');
	is(identity('docs'), 'f', 'logged again');
	$to->('"kept"');
	execute('postgres', q{SELECT tapdata.create_view('moves', 'SELECT g, sum(v) AS s, count(title) AS n FROM docs GROUP BY g', or_replace => true)});
	$query{moves} = 'SELECT g, sum(v) AS s, count(title) AS n FROM docs GROUP BY g';
	ok(eventually(sub { value('postgres', q{SELECT replacing IS NULL AND status = 'streaming' FROM tapdata.views WHERE view = 'moves'::regclass}) }, 60), 'another query keeps the option');
	execute('postgres', 'UPDATE docs SET g = g + 1, v = v + 1 WHERE id % 10 = 9');
	exact('and is exact');
	is(identity('docs'), 'd', 'without FULL');
	execute('postgres', q{SELECT tapdata.drop_view('moves')});
	delete $query{moves};
}

# ---- a dump ----
{
	my $program = sub { my ($name, @args) = @_; local @ENV{qw(PGHOST PGPORT PGUSER)} = @$pg{qw(PGHOST PGPORT PGUSER)}; return system("$pg->{TD_PG_BIN}/$name", @args) == 0 };
	my $links = q{SELECT v.relation::regclass, l.relation::regclass FROM tapdata.view_kept k JOIN tapdata.view v ON v.id = k.view JOIN tapdata.view l ON l.id = k.kept ORDER BY k.view, k.kept};
	execute('postgres', 'CREATE DATABASE copy');
	ok($program->('pg_dump', '-Fc', '-f', "$pg->{PGHOST}/dump", 'postgres') && $program->('pg_restore', '--exit-on-error', '-d', 'copy', "$pg->{PGHOST}/dump"), 'pg_dump, pg_restore');
	execute('copy', 'SELECT tapdata.adopt_database()', 'UPDATE docs SET g = g + 1 WHERE id % 3 = 0');
	is(rows('copy', $links), rows('postgres', $links), 'who learns from whom comes along');
	my $bad = '';
	for my $v (sort keys %query) { $bad .= try_do(psql('copy'), "SELECT tapdata.wait_view('$v')"); $bad .= "$v $_\n" for grep { $_ } rows('copy', "SELECT * FROM tapdata.check_view('$v', 3)") }
	is($bad, '', 'exact in the copy');
	execute('copy', 'UPDATE docs SET g = g + 1 WHERE id % 3 = 1', q{SELECT tapdata.create_view('more', 'SELECT g, count(*) AS n FROM docs GROUP BY g', '} . $kept . q{')}, q{SELECT tapdata.wait_view('more')});
	is(value('copy', q{SELECT relreplident FROM pg_class WHERE relname = 'docs'}) . rows('copy', q{SELECT * FROM tapdata.check_view('more')}), 'd', 'a new view there needs no FULL either');
	execute('copy', map { "SELECT tapdata.drop_view('$_')" } qw(more v_above), grep { $_ ne 'v_above' } sort keys %query);
	is(rows('copy', q{SELECT relname FROM pg_class WHERE relnamespace IN ('tapdata_parts'::regnamespace, 'tapdata_state'::regnamespace)}), '', 'dropped, nothing is left');
	psql('copy')->disconnect;
	execute('postgres', 'DROP DATABASE copy WITH (FORCE)');
}

# ---- random writers, and workers and server killed ----
{
	my $id = sub { 1 + int rand 400 };
	my $text = sub { rand() < 0.3 ? 'NULL' : rand() < 0.5 ? "'t" . int(rand 1000) . "'" : 'repeat(md5(random()::text), ' . (20 + int rand 200) . ')' };
	my @statements = (
		sub { "INSERT INTO docs (id, g, v, title, doc) VALUES (${\$id->()}, ${\int rand 10}, ${\int rand 100}, ${\$text->()}, ${\$text->()}) ON CONFLICT (id) DO UPDATE SET g = excluded.g, v = docs.v + 1.0" },
		sub { "UPDATE docs SET v = v + 1 WHERE id = ${\$id->()}" }, sub { "UPDATE docs SET g = (g + 1) % 10 WHERE id % 50 = ${\int rand 50}" }, sub { "UPDATE docs SET title = ${\$text->()} WHERE id = ${\$id->()}" }, sub { "UPDATE docs SET doc = ${\$text->()} WHERE id = ${\$id->()}" },
		sub { "UPDATE docs SET id = ${\$id->()} WHERE id = ${\$id->()}" }, sub { "DELETE FROM docs WHERE id = ${\$id->()}" },
		sub { "INSERT INTO items VALUES (${\$id->()}, ${\int rand 4}, ${\int rand 100}, ${\$text->()}) ON CONFLICT DO NOTHING" }, sub { "UPDATE items SET w = w + 1, note = ${\$text->()} WHERE doc = ${\$id->()}" }, sub { "UPDATE items SET doc = ${\$id->()} WHERE doc = ${\$id->()} AND pos = ${\int rand 4}" },
		sub { "DELETE FROM items WHERE doc = ${\$id->()}" }, sub { "INSERT INTO logs VALUES (${\$id->()}, ${\int rand 5}, ${\$text->()}) ON CONFLICT DO NOTHING" }, sub { "UPDATE logs SET id = ${\$id->()} WHERE id = ${\$id->()}" },
		sub { "UPDATE logs SET k = (k + 1) % 5 WHERE id % 20 = ${\int rand 20}" }, sub { "UPDATE logs SET body = ${\$text->()} WHERE id = ${\$id->()}" }, sub { "DELETE FROM logs WHERE id = ${\$id->()}" },
		sub { "UPDATE base SET a = a + 1, b = ${\$text->()} WHERE id = ${\$id->()}" }, sub { "UPDATE base SET id = ${\$id->()} WHERE id = ${\$id->()}" }, sub { 'INSERT INTO ' . (qw(base child))[rand 2] . " (id, a) VALUES (${\$id->()}, 1) ON CONFLICT DO NOTHING" }, sub { "DELETE FROM base WHERE id = ${\$id->()}" },
		sub { "UPDATE uniq SET a = ${\$id->()} WHERE a = ${\$id->()}" }, sub { "UPDATE uniq SET b = 'x' || ${\int rand 9}, c = c + 1 WHERE a % 30 = ${\int rand 30}" }, sub { "INSERT INTO uniq VALUES (${\$id->()}, 'z', 1) ON CONFLICT DO NOTHING" });
	my $game = { statement => sub { $statements[rand @statements]->() }, truncate => sub { 'TRUNCATE ' . (qw(docs items logs logs_low uniq))[rand 5] } };
	my @names = sort keys %query;
	my $rounds = $ENV{TD_KEPT_ROUNDS} || 8;
	srand $seed;
	for my $round (1 .. $rounds)
	{
		my $kind = (qw(none view capture none postmaster none fill none))[($round - 1) % 8];
		my @pids = start_churn(sub { psql('postgres', fresh => 1) }, $game, 4);
		execute('postgres', "SELECT tapdata.refresh_view('$_')") for $round % 3 == 0 ? qw(v_groups v_nested) : ();
		sleep 1.5;
		my $bad = join '', map { my $v = $_; map { "$v $_\n" } grep { $_ && !/40P01|55P03/ } eval { wait_for($v); rows('postgres', "SELECT * FROM tapdata.check_view('$v', 3)") } // $@ } $kind eq 'none' ? @names : ();
		is($bad, '', "round $round: check_view while they write") if $kind eq 'none';
		if ($kind eq 'postmaster') { restart_server('immediate') }
		elsif ($kind eq 'fill')
		{
			execute('postgres', q{SELECT tapdata.refresh_view('v_join')});
			my ($pid) = eventually(sub { (worker_pids('fill'))[0] }, 3);
			kill 9, $pid if $pid;
		}
		elsif ($kind ne 'none') { my ($pid) = worker_pids($kind); kill 9, $pid if $pid }
		sleep 0.5;
		stop_churn(@pids);
		execute('postgres', map { "ROLLBACK PREPARED '$_'" } grep { $_ } split /\n/, rows('postgres', 'SELECT gid FROM pg_prepared_xacts'));
		ok(eventually(sub { my $r = wait_for(@names); $r eq '' || die $r }, 90), "round $round: all stream ($kind)") or diag rows('postgres', 'SELECT view, status, error FROM tapdata.views');
		is(wait_for(@names) || wrong(@names) || plain(@names) || kept_wrong(), '', "round $round: exact");
	}
	is(identity($_), 'd', "$_: never FULL") for qw(docs items logs_low);
	execute('postgres', 'DROP TABLE docs, items, logs, logs_low, uniq, base, empty CASCADE');
	is(rows('postgres', q{SELECT relname FROM pg_class WHERE relnamespace IN ('tapdata_parts'::regnamespace, 'tapdata_state'::regnamespace)}) . value('postgres', 'SELECT count(*) FROM tapdata.view') . value('postgres', 'SELECT count(*) FROM tapdata.replica_identity'), '00', 'nothing is left');
}

# ---- a keeper that goes while somebody makes, or drops, another view of its table ----
for my $do (q{SELECT tapdata.create_view('another', 'SELECT g, max(x) AS m FROM shared GROUP BY g')}, q{SELECT tapdata.drop_view('another')})
{
	execute('postgres', 'CREATE TABLE IF NOT EXISTS shared (id int PRIMARY KEY, g int, x int)', q{SELECT tapdata.create_view('goes', 'SELECT g, sum(x) AS s FROM shared GROUP BY g', '{"old_images": "kept"}')});
	is(wait_for('goes'), '', 'a view with old rows');
	my ($one, $two) = map { psql('postgres', fresh => 1) } 1 .. 2;
	$one->begin_work;
	$one->do(q{SELECT tapdata.drop_view('goes')});
	$two->do($do, { pg_async => 1 });
	ok(eventually(sub { value('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = $two->{pg_pid}") }), 'which is being dropped');
	$one->commit;
	is(eval { $two->pg_result; 1 } ? '' : $two->errstr, '', "... keeps nobody from it: $do");
}
execute('postgres', 'DROP TABLE shared');

done_testing();
finish();
