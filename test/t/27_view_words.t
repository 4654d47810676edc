# What create_view and DDL are refused with: in words of the call, with what to do, without statements of tapdata's own.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use TdProcs;

my $pg = start_server('viewwords', 'max_worker_processes = 32');
execute('postgres', 'CREATE EXTENSION tapdata', 'CREATE TABLE b (id int PRIMARY KEY, v int NOT NULL)', 'INSERT INTO b SELECT i, i FROM generate_series(1, 20) i');

# All that psql shows of it.
sub said
{
	my (@sql) = @_;
	local $ENV{PGOPTIONS} = '-c client_min_messages=notice';
	my $file = "$pg->{PGHOST}/words.sql";
	open my $out, '>', $file or die "$file: $!";
	print $out map { "$_;\n" } @sql;
	close $out;
	return scalar `'$pg->{TD_PG_BIN}/psql' -XAtq -v VERBOSITY=verbose -h '$pg->{PGHOST}' -p $pg->{PGPORT} -U postgres -d postgres -f '$file' 2>&1`;
}

sub refused
{
	my ($what, $code, $message, $hint, @sql) = @_;
	my $said = said(@sql);
	like($said, qr/ERROR:  $code: $message.*HINT:  .*$hint/s, $what);
	unlike($said, qr/^(CONTEXT|QUERY):/m, "$what: nothing but that");
	return;
}

# ---- the table of a view ----
execute('postgres', 'CREATE SCHEMA closed', 'CREATE ROLE guest LOGIN', 'GRANT SELECT ON b TO guest');
refused('a name of a system column', '42701', 'column name "xmin" conflicts', 'another name in the query', q{SELECT tapdata.create_view('m', 'SELECT id AS xmin FROM b')});
refused('a tablespace that is not there', '42704', 'tablespace "nope" does not exist', 'pg_tablespace', q{SELECT tapdata.create_view('m', 'SELECT id FROM b', '{"tablespace": "nope"}')});
refused('a schema without the right', '42501', 'permission denied for schema closed', 'CREATE on its schema', 'SET ROLE guest', q{SELECT tapdata.create_view('closed.m', 'SELECT id FROM b')});
refused('a schema that is not there', '3F000', 'schema "nosuch" does not exist', 'Create the schema first', q{SELECT tapdata.create_view('nosuch.m', 'SELECT id FROM b')});
refused('no schema at all', '3F000', 'no schema has been selected', 'name one that is there', q{SET search_path = ''}, q{SELECT tapdata.create_view('m', 'SELECT id FROM public.b')});
execute('postgres', 'CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE insufficient_privilege USING MESSAGE = \'not on weekdays\'; END $$', 'CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no_ddl()');
like(said(q{SELECT tapdata.create_view('m', 'SELECT id FROM b')}), qr/42501: not on weekdays.*CONTEXT:.*no_ddl/s, 'what an event trigger says is told as it is');
execute('postgres', 'DROP EVENT TRIGGER no_ddl');

# ---- notices are about a view that is there ----
execute('postgres', 'CREATE TABLE nokey (k int, v int)', 'CREATE TABLE wide (k int PRIMARY KEY, v int)');
my $joined = 'SELECT n.v, w.k FROM nokey n JOIN wide w ON w.v = n.k';
refused('old rows kept of a table without a key', '55000', 'old rows of table public.nokey can', '', qq{SELECT tapdata.create_view('m', '$joined', '{"old_images": "kept"}')});
unlike(said(qq{SELECT tapdata.create_view('m', '$joined', '{"old_images": "kept"}')}), qr/NOTICE/, 'no notice goes before the error');
like(said(qq{SELECT tapdata.create_view('m', '$joined')}), qr/NOTICE:.* indexes that the view would use.*explain_view\('public\.m'\)/s, 'it comes with the view');
like(said(q{SELECT tapdata.create_view('m', 'SELECT v, k FROM nokey', or_replace => true)}), qr/^m$/m, 'another definition');
execute('postgres', q{SELECT tapdata.wait_view('m')}, q{SELECT tapdata.create_view('over_m', 'SELECT v, k FROM m')});
unlike(said(q{SELECT tapdata.create_view('m', 'SELECT n.k FROM nokey n JOIN wide w ON w.v = n.k', or_replace => true)}), qr/NOTICE/, 'nor before that of a replacement');
execute('postgres', q{SELECT tapdata.drop_view('over_m')}, q{SELECT tapdata.drop_view('m')});

# ---- another encoding than that in which connectors speak ----
execute('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
execute('latin', 'CREATE EXTENSION tapdata', qq{CREATE TABLE "gr\x{f6}\x{df}e" (id int)}, qq{CREATE FUNCTION "f\x{fc}r"(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT \$1'});
like(said('\\c latin', q{SET client_encoding = 'UTF8'}, qq{SELECT tapdata.create_view('m', 'SELECT "f\xc3\xbcr"(id) AS x FROM "gr\xc3\xb6\xc3\x9fe"')}),
	qr/ERROR:  0A000: .*f\xc3\xbcr/, 'names in a refusal are in the encoding of the database');

# ---- what stands before pg_catalog in search_path ----
execute('postgres', 'CREATE FUNCTION public.upper(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT \'mine: \' || $1$$', 'CREATE FUNCTION loud(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN upper($1::text || \'a\'); END$$');
my $path = 'SET search_path = public, pg_catalog';
is(said($path, 'SELECT loud(1)'), "mine: 1a\n", 'a function whose meaning depends on it');
refused('such a view', '0A000', 'views that depend on settings do not support a search_path with pg_catalog behind another schema', 'leave it out', $path, q{SELECT tapdata.create_view('m', 'SELECT id, loud(id) AS l FROM b')});
refused('as a part', '0A000', 'views that depend on settings do not support', 'leave it out', $path, q{SELECT tapdata.create_view('m', 'SELECT id FROM b WHERE loud(id) > (SELECT max(loud(id)) FROM b)')});
like(said($path, q{SELECT tapdata.create_view('m', 'SELECT id, v FROM b')}), qr/^m$/m, 'one that depends on no settings may have any path');
refused('replaced', '0A000', 'views that depend on settings do not support', 'leave it out', $path, q{SELECT tapdata.create_view('m', 'SELECT id, v, loud(id) AS l FROM b', or_replace => true)});
for ('public', 'pg_catalog, public', 'pg_temp, pg_catalog, public')
{
	is(said("SET search_path = $_", q{SELECT public.loud(1)}), "1A\n", "search_path $_");
	like(said("SET search_path = $_", q{SELECT tapdata.create_view('public.n', 'SELECT id, public.loud(id) AS l FROM public.b')}, q{SELECT tapdata.wait_view('public.n') IS NOT NULL}), qr/^t$/m, 'a view');
	is(value('postgres', q{SELECT l FROM n WHERE id = 1}), '1A', 'finds what the query does');
	execute('postgres', q{SELECT tapdata.drop_view('n')});
}

# ---- rows of a base table as values ----
execute('postgres', 'CREATE TABLE q (id int PRIMARY KEY, v int, w int)', 'INSERT INTO q VALUES (1, 10, 5)', map { "SELECT tapdata.create_view($_)" } q{'r', 'SELECT q, q.id FROM q'}, q{'r_list', 'SELECT v, array_agg(q) AS l FROM q GROUP BY v'}, q{'r_json', 'SELECT to_jsonb(q) AS j, id FROM q'});
execute('postgres', map { "SELECT tapdata.wait_view('$_')" } qw(r r_list r_json));
my $calls = qr/drop_view\('public\.r(_list)?'\).*drop_view\('public\.r(_list)?'\)/i;
refused('a column with a default', '0A000', 'cannot alter table "q" because column .* uses its row type', qr/Add the column without a default.*Or drop .*$calls.*to_jsonb/, q{ALTER TABLE q ADD COLUMN n text DEFAULT 'x'});
refused('another type', '0A000', 'cannot alter table "q" because column .* uses its row type', qr/Drop .*$calls.*to_jsonb/, 'ALTER TABLE q ALTER COLUMN w TYPE text');
unlike(said(q{ALTER TABLE q ADD COLUMN n text DEFAULT 'x'}), qr/r_json/, 'a view that makes jsonb of them is not in the way');
is(said('ALTER TABLE q ADD COLUMN n text', q{ALTER TABLE q ALTER COLUMN n SET DEFAULT 'x'}, q{UPDATE q SET n = 'x'}), '', 'what the hint says is possible');
for my $v (qw(r r_list r_json))
{
	execute('postgres', "SELECT tapdata.wait_view('$v')");
	is(value('postgres', "SELECT count(*) FROM tapdata.check_view('$v')"), 0, "$v is exact");
}
is(value('postgres', 'SELECT q::text FROM r'), '(1,10,5,x)', 'and has the column');
finish();
done_testing();
