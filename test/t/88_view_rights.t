# Whose rights functions are run with that the owner of a view has put around it: into its query, its tables' indexes and constraints, its types.  Wherever tapdata
# plans, opens or analyses one of them it is his, in workers and in sessions of a superuser.  (What PostgreSQL itself evaluates for whoever reads or alters a table is its own matter.)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $pg = start_server('viewrights', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE ROLE eve LOGIN', 'CREATE SCHEMA eve AUTHORIZATION eve');
my $eve = psql('postgres', user => 'eve');
sub as_eve { my (@sql) = @_; $eve->do($_) for @sql; return }
sub caught { my ($what) = @_; is(rows('postgres', 'SELECT DISTINCT role FROM eve.seen'), '', $what); execute('postgres', 'DELETE FROM eve.seen'); return }

# who() says that it always gives the same; it writes down who it is that calls it, unless that is eve
as_eve('SET search_path = eve', 'CREATE TABLE seen (role text)', 'GRANT ALL ON seen TO PUBLIC',
	q{CREATE FUNCTION note() RETURNS void LANGUAGE sql VOLATILE AS 'INSERT INTO eve.seen VALUES (current_user)'},
	q{CREATE FUNCTION who(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF current_user <> 'eve' THEN PERFORM eve.note(); END IF; RETURN x; END $$},
	q{CREATE FUNCTION apart(a float8, b float8) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF current_user <> 'eve' THEN PERFORM eve.note(); END IF; RETURN a - b; END $$},
	'CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = apart)', 'CREATE DOMAIN few AS int CHECK (eve.who(value) < 9)',
	'CREATE TABLE t (id int PRIMARY KEY, a int CHECK (eve.who(1) = 1), s span)', 'CREATE INDEX ON t (a) WHERE eve.who(2) = 2', 'INSERT INTO t SELECT i, i % 5, span(i % 7, 9) FROM generate_series(1, 50) i',
	q{SELECT tapdata.create_view('counted', 'SELECT a, s, count(*) AS n, eve.who(3) AS w FROM eve.t WHERE eve.who(4) = 4 GROUP BY a, s', '{"changes": true}')},
	q{SELECT tapdata.create_view('listed', 'SELECT a, array_agg(id ORDER BY id) AS ids, 5::eve.few AS f FROM eve.t WHERE eve.who(5) = 5 GROUP BY a', '{"old_images": "kept"}')},
	q{SELECT tapdata.create_view('ranked', 'SELECT n, count(*) AS c, eve.who(6) AS w FROM (SELECT a, count(*) AS n FROM eve.t WHERE eve.who(7) = 7 GROUP BY a) x GROUP BY n')},
	(map { ("CREATE INDEX ON $_ (eve.who(8))", "CREATE INDEX ON $_ ((1)) WHERE eve.who(9) = 9") } qw(counted listed ranked)), "SELECT tapdata.wait_view('ranked')");
my @views = qw(eve.counted eve.listed eve.ranked);
sub streams { my ($what) = @_; for (@views) { is(try_do($eve, "SELECT tapdata.wait_view('$_', '20 s')"), '', "$what: $_") } return }

streams('filled');
caught('... as eve');
as_eve('UPDATE t SET a = a + 1 WHERE id < 10', 'DELETE FROM t WHERE id = 11');
streams('changed');
caught('... as eve');
for ('ALTER TABLE t ADD x int', 'CREATE INDEX ON counted (a) WHERE eve.who(10) = 10', 'VACUUM FULL t', 'TRUNCATE t', 'INSERT INTO t SELECT i, i % 5, span(i % 7, 9) FROM generate_series(1, 50) i')
{
	as_eve($_);
	streams($_);
	caught('... as eve');
}
as_eve(map { "SELECT tapdata.refresh_view('$_')" } @views);
streams('computed anew');
as_eve(q{SELECT tapdata.create_view('listed', 'SELECT a, array_agg(id ORDER BY id DESC) AS ids, 5::eve.few AS f FROM eve.t WHERE eve.who(11) = 11 GROUP BY a', or_replace => true)});
as_eve(q{SELECT tapdata.create_view('counted', 'SELECT a, s, count(*) AS n, eve.who(3) AS w, s * s AS m FROM eve.t WHERE eve.who(4) = 4 GROUP BY a, s', or_replace => true)});
streams('replaced');
caught('... as eve');
as_eve(q{SELECT tapdata.create_view('counted', 'SELECT a, s, count(*) AS n, eve.who(3) AS w, s * s AS m, max(a)::eve.few AS f FROM eve.t WHERE eve.who(4) = 4 GROUP BY a, s', or_replace => true)});
like(try_do($eve, "SELECT tapdata.wait_view('counted', '20 s')"), qr/^55000 .*new column "f" of view eve.counted has a domain/s, 'a domain that comes to a feed later is refused');
caught('... and not asked');
as_eve(q{SELECT tapdata.create_view('counted', 'SELECT a, s, count(*) AS n, eve.who(3) AS w, s * s AS m FROM eve.t WHERE eve.who(4) = 4 GROUP BY a, s', or_replace => true)});
streams('the one before goes on');

for my $call (map({ ("SELECT * FROM tapdata.explain_view('$_')", "SELECT * FROM tapdata.check_view('$_')", "SELECT tapdata.wait_view('$_')", "SELECT tapdata.refresh_view('$_')") } @views),
	q{SELECT tapdata.alter_view('eve.ranked', '{"timeout": "1 min", "changes": true}')}, "SELECT * FROM tapdata.changes('eve.counted', 0)", "SELECT * FROM tapdata.change_rows(NULL::eve.counted, 0)",
	'SELECT * FROM tapdata.doctor()', 'SELECT * FROM tapdata.views', map({ "ANALYZE $_" } split /\n/, rows('postgres', q{SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname LIKE 'tapdata%'})),
	'SELECT tapdata.adopt_database()')
{
	is(try_do(psql('postgres', fresh => 1), $call), '', "a superuser: $call");
	caught('... is not who runs her functions');
}
streams('in the end');
caught('... as eve');

# ---- a right that is gone, of a view with a name that has to be quoted: the hint is a statement that can be run ----
execute('postgres', 'CREATE TABLE theirs (id int PRIMARY KEY)', 'INSERT INTO theirs VALUES (1)', 'GRANT SELECT ON theirs TO eve');
as_eve(q{SELECT tapdata.create_view('"it''s"', 'SELECT id FROM public.theirs')}, q{SELECT tapdata.wait_view('"it''s"')});
execute('postgres', 'REVOKE SELECT ON theirs FROM eve', 'INSERT INTO theirs VALUES (2)');
ok(eventually(sub { value('postgres', q{SELECT status FROM tapdata.views WHERE view = 'eve."it''s"'::regclass}) eq 'failed' }), 'a view whose owner may not read its table has failed');
my ($call) = value('postgres', q{SELECT hint FROM tapdata.views WHERE view = 'eve."it''s"'::regclass}) =~ /call (SELECT tapdata\.refresh_view\(.*\))\.$/;
execute('postgres', 'GRANT SELECT ON theirs TO eve');
is(try_do($eve, $call), '', "the call of its hint: $call");
is(try_do($eve, q{SELECT tapdata.wait_view('"it''s"')}), '', '... revives it');

# ---- functions that lie: what they write in a worker nobody would hear of, and an error that they make fatal would end the worker of all ----
sub listed { my ($view) = @_; return rows('postgres', "SELECT count(*), sum(v) FROM $view") }
execute('postgres', 'CREATE TABLE shared (v int)', 'GRANT ALL ON shared TO eve', 'INSERT INTO shared VALUES (1)', q{SELECT tapdata.create_view('of_all', 'SELECT v FROM shared')}, q{SELECT tapdata.wait_view('of_all')});
as_eve('CREATE TABLE mine (id int PRIMARY KEY, v int)', q{CREATE FUNCTION put(x int) RETURNS int VOLATILE LANGUAGE sql AS 'INSERT INTO public.shared VALUES ($1) RETURNING v'},
	(map { my ($name, $first) = @$_; "CREATE FUNCTION $name(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \$\$ BEGIN IF x > 9 THEN $first END IF; RETURN x; END \$\$" }
			['puts', 'PERFORM eve.put(x);'], ['takes_back', q{PERFORM set_config('transaction_read_only', 'off', true); PERFORM eve.put(x);}], ['catches', q{BEGIN RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN PERFORM eve.put(x); END;}],
			['ends', q{PERFORM set_config('exit_on_error', 'on', true); RAISE EXCEPTION 'for all';}], ['refreshes', q{PERFORM tapdata.refresh_view('eve.counted');}]),
	q{CREATE FUNCTION ends_too(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET exit_on_error = on AS $$ BEGIN IF x > 9 THEN RAISE EXCEPTION 'for all'; END IF; RETURN x; END $$});
my %means = (puts => '25006', takes_back => '25001|25006', catches => '25006', ends => '55P02', ends_too => '55P02', refreshes => '25006');
for my $way (sort keys %means)
{
	for my $when (qw(tick fill))
	{
		as_eve('TRUNCATE mine', 'INSERT INTO mine VALUES (1, 1)', ($when eq q{fill} ? "INSERT INTO mine VALUES (2, 20)" : ()), "SELECT tapdata.create_view('lies', 'SELECT id, eve.$way(v) AS v FROM eve.mine')");
		if ($when eq 'tick')
		{
			try_do($eve, "SELECT tapdata.wait_view('lies', '20 s')");
			as_eve('INSERT INTO mine VALUES (2, 20)');
		}
		ok(eventually(sub { value('postgres', q{SELECT status FROM tapdata.views WHERE view = 'eve.lies'::regclass}) eq 'failed' }), "$way in a $when: the view has failed");
		like(value('postgres', q{SELECT sqlstate FROM tapdata.views WHERE view = 'eve.lies'::regclass}), qr/^(?:$means{$way})$/, '... with its error');
		execute('postgres', 'INSERT INTO shared VALUES (3)');
		is(try_do(psql('postgres'), q{SELECT tapdata.wait_view('of_all', '20 s')}), '', '... others go on');
		is(listed('of_all'), listed('shared'), '... and are exact');
		as_eve(q{SELECT tapdata.drop_view('lies')});
	}
}
finish();
done_testing();
