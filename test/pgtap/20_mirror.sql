-- mirror(): arguments, rights, and what is written; nothing is started here.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();
DROP ROLE IF EXISTS td_maker, td_other;
CREATE ROLE td_maker LOGIN;
CREATE ROLE td_other LOGIN;

CREATE FUNCTION pg_temp.failure(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN state || ': ' || message || ' / ' || detail || ' / ' || hint;
END $$;
GRANT EXECUTE ON FUNCTION pg_temp.failure(text) TO PUBLIC;
SELECT tapdata.create_connection('tm', 'null', '{"rows": 10, "tables": 3}');

-- defaults
SELECT is(tapdata.mirror('tm', start => false), 'tm', 'mirror returns the name');
SELECT results_eq($$SELECT name, owner, connection, status, exact, position, lag, rows_loaded, rows_applied, sqlstate, error, options FROM tapdata.pipelines$$,
    $$VALUES ('tm', current_user, 'tm', 'created', false, NULL::text, NULL::interval, 0::bigint, 0::bigint, NULL::text, NULL::text, '{}'::jsonb)$$, 'as defined');
SELECT has_schema('tm', 'the schema is made, named as the connection');
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', start => false)$$),
    '42710: pipeline "tm" already exists /  / Choose another name with name => ''...'', or drop it first with tapdata.drop_pipeline().', 'once');
SELECT lives_ok($$SELECT tapdata.drop_pipeline('tm')$$, 'drop');
SELECT is_empty($$SELECT FROM tapdata.pipelines$$, 'dropped');
SELECT has_schema('tm', 'the schema stays');

-- tables that are not there
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', '{t0,t9}')$$), '42P01: table "t9" does not exist on connection "tm" /  / Perhaps you meant the table "t0".', 'a table that is not there');
SELECT is(left(pg_temp.failure($$SELECT tapdata.mirror('tm', '{t0,u*}')$$), 50), '42P01: no table of connection "tm" matches "u*" / ', 'a pattern that means nothing');
SELECT is_empty($$SELECT FROM tapdata.pipelines$$, 'nothing is made');

-- everything given
SELECT is(tapdata.mirror('tm', ARRAY['t0', 't?'], ARRAY['t2'], 'tm_into', 'tm_name',
    '{"type": "cdc", "insert_policy": "just_insert", "existing": "keep_data", "writable": true, "position": "5"}', false), 'tm_name', 'all arguments');
SELECT is(options, '{"type": "cdc", "insert_policy": "just_insert", "existing": "keep_data", "writable": true, "position": "5"}', 'options are kept')
FROM tapdata.pipelines WHERE name = 'tm_name';
SELECT is(r.*, r.*, 'definition') FROM tapdata.pipelines r WHERE name = 'tm_name' AND connection = 'tm';
SELECT is(tables::text || except_tables::text || into_schema, '{t0,t?}{t2}tm_into', 'definition') FROM tapdata.pipeline WHERE name = 'tm_name';
SELECT lives_ok($$SELECT tapdata.alter_pipeline('tm_name', '{"writable": null, "position": "6"}')$$, 'alter');
SELECT is(options, '{"type": "cdc", "insert_policy": "just_insert", "existing": "keep_data", "position": "6"}', 'merged, null removes') FROM tapdata.pipelines;
SELECT is(pg_temp.failure($$SELECT tapdata.alter_pipeline('tm_name', '{"type": null}')$$),
    '22023: option "position" needs "type": "cdc" / A mirror that loads its tables begins where the source stands then. / Leave "position" out, or add "type": "cdc".',
    'what no longer fits together is refused');
SELECT throws_ok($$SELECT tapdata.alter_pipeline('tm_name', '{"writeable": null}')$$, '22023', NULL, 'also the removal of what is no option');
SELECT is(pg_temp.failure($$SELECT tapdata.alter_pipeline('tm_nam', '{}')$$),
    '42704: pipeline "tm_nam" does not exist /  / Perhaps you meant "tm_name".', 'closest name');
SELECT tapdata.drop_pipeline('tm_name');

-- options
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', options => '{"tipe": "cdc"}', start => false)$$),
    '22023: a pipeline has no option "tipe" /  / Perhaps you meant "type".', 'misspelt option');
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', options => '{"zzzzzzzz": 1}', start => false)$$),
    '22023: a pipeline has no option "zzzzzzzz" /  / There are: existing, insert_policy, position, type, writable.', 'nothing near');
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', options => '{"type": "initial-sync"}', start => false)$$),
    '22023: invalid value for option "type": "initial-sync" /  / Perhaps you meant "initial_sync".', 'misspelt value');
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', options => '{"writable": "perhaps"}', start => false)$$),
    '22023: invalid value for option "writable": "perhaps" /  / It must be one of: false, true.', 'no boolean');
SELECT throws_ok($$SELECT tapdata.mirror('tm', options => '{"existing": "keep_data"}', start => false)$$, '22023', NULL, 'keep_data without cdc');
SELECT lives_ok(format($$SELECT tapdata.mirror('tm', name => 'tm_o', options => %L, start => false), tapdata.drop_pipeline('tm_o')$$, o), 'option ' || o)
FROM unnest('{"{\"type\": \"initial_sync+cdc\"}","{\"type\": \"initial_sync\"}","{\"type\": \"cdc\"}","{\"insert_policy\": \"update_on_exists\"}",'
    '"{\"insert_policy\": \"ignore_on_exists\"}","{\"existing\": \"error\"}","{\"existing\": \"drop_table\"}","{\"writable\": \"true\"}"}'::text[]) o;

-- names
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tn', start => false)$$),
    '42704: connection "tn" does not exist /  / Perhaps you meant "tm".', 'unknown connection');
SELECT throws_ok($$SELECT tapdata.mirror(NULL)$$, '22004', 'argument "connection" must not be null', 'null');
SELECT throws_ok($$SELECT tapdata.mirror('tm', ARRAY['t0', NULL], start => false)$$, '22004', NULL, 'null among the tables');
SELECT throws_ok($$SELECT tapdata.mirror('tm', '{}', start => false)$$, '22023', 'no tables are named', 'no tables');
SELECT throws_ok($$SELECT tapdata.mirror('tm', ARRAY[''], start => false)$$, '22023', NULL, 'empty pattern');
SELECT throws_ok($$SELECT tapdata.mirror('tm', name => repeat('x', 64), start => false)$$, '42622', NULL, 'name of 64 bytes');
SELECT throws_ok($$SELECT tapdata.mirror('tm', into_schema => repeat('x', 64), start => false)$$, '42622', NULL, 'schema of 64 bytes');
SELECT throws_ok($$SELECT tapdata.mirror('tm', ARRAY[repeat('x', 64)], start => false)$$, '42622', NULL, 'table of 64 bytes');
SELECT throws_ok($$SELECT tapdata.mirror('tm', name => '', start => false)$$, '42602', NULL, 'empty name');
SELECT throws_ok(format('SELECT tapdata.mirror(%L, into_schema => %L, start => false)', 'tm', s), '42939', NULL, 'reserved schema ' || s)
FROM unnest('{tapdata,tapdata_state,tapdata_views,pg_catalog,information_schema}'::text[]) s;
SELECT throws_ok($$SELECT tapdata.mirror('tm', into_schema => 'pg_mine', start => false)$$, '42939', NULL, 'pg_ is PostgreSQL''s');

-- existing targets that are named outright
CREATE TABLE tm.t1 (id int);
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', ARRAY['t0', 't1'], start => false)$$),
    '42P07: table tm.t1 already exists /  / Choose another schema with into_schema => ''...'', or say what to do with it: options => ''{"existing": "drop_table"}''.',
    'target exists');
SELECT throws_ok($$SELECT tapdata.mirror('tm', ARRAY['db.t1'], start => false)$$, '42P07', NULL, 'also with a database before it');
SELECT lives_ok($$SELECT tapdata.mirror('tm', ARRAY['t1'], options => '{"existing": "drop_table"}', start => false), tapdata.drop_pipeline('tm')$$, 'unless told what to do');
SELECT has_table('tm', 't1', 'drop_pipeline drops nothing that was not published');

-- rights
GRANT USAGE ON FOREIGN SERVER tm TO td_maker;
SET ROLE td_maker;
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', start => false)$$),
    '42501: permission denied for schema tm /  / Its owner can allow it: GRANT CREATE ON SCHEMA tm TO td_maker.', 'no right in the schema');
SELECT is(pg_temp.failure($$SELECT tapdata.mirror('tm', into_schema => 'tm_new', start => false)$$),
    format('42501: permission denied to create schema tm_new /  / The owner of the database can allow it: GRANT CREATE ON DATABASE %I TO td_maker; '
    'or name a schema that you may create tables in: into_schema => ''...''.', current_database()), 'no right to create a schema');
SET ROLE td_other;
SELECT throws_ok($$SELECT tapdata.mirror('tm', start => false)$$, '42501', 'permission denied for connection "tm"', 'no right to the connection');
RESET ROLE;
CREATE SCHEMA tm_maker AUTHORIZATION td_maker;
SET ROLE td_maker;
SELECT is(tapdata.mirror('tm', into_schema => 'tm_maker', name => 'tm_p', start => false), 'tm_p', 'with the rights');
SELECT is(owner, 'td_maker', 'the creator owns it') FROM tapdata.pipelines;
RESET ROLE;
SELECT results_eq(format('SELECT has_database_privilege(%L, current_database(), %L)', 'td_maker', 'CREATE'), 'VALUES (false)', 'no right was given');
SELECT is((SELECT count(*) FROM tapdata.pipelines), 1::bigint, 'a superuser sees it');

-- others neither see nor touch it
SET ROLE td_other;
SELECT is_empty($$SELECT FROM tapdata.pipelines$$, 'another sees nothing');
SELECT is(pg_temp.failure(format('SELECT tapdata.%s', f)),
    '42501: must be owner of pipeline "tm_p" /  / Its owner is "td_maker".', f)
FROM unnest('{start_pipeline(''tm_p''),stop_pipeline(''tm_p''),"alter_pipeline(''tm_p'', ''{}'')",reset_pipeline(''tm_p''),drop_pipeline(''tm_p'')}'::text[]) f;
SELECT throws_ok($$SELECT tapdata.wait_pipeline('tm_p')$$, '42501', NULL, 'nor waits for it');
SELECT is(pg_temp.failure($$SELECT tapdata.start_pipeline('tm_q')$$),
    '42704: pipeline "tm_q" does not exist /  / SELECT name FROM tapdata.pipelines lists yours.', 'a hint does not name what is not his');
RESET ROLE;
GRANT td_maker TO td_other;
SET ROLE td_other;
SELECT is(name, 'tm_p', 'a member of the owner sees it') FROM tapdata.pipelines;
SELECT lives_ok($$SELECT tapdata.alter_pipeline('tm_p', '{"writable": true}')$$, 'and controls it');
RESET ROLE;

-- the function's own names are not those of the caller
CREATE SCHEMA tm_evil;
CREATE TABLE tm_evil.pg_class (relname name);
CREATE FUNCTION tm_evil.quote_ident(text) RETURNS text LANGUAGE sql AS $$SELECT 'evil'$$;
SET search_path = tm_evil, public, pg_catalog;
SELECT public.lives_ok($$SELECT tapdata.mirror('tm', ARRAY['t2'], name => 'tm_path', start => false), tapdata.drop_pipeline('tm_path')$$, 'a hostile search_path');
RESET search_path;

-- a rolled-back mirror
BEGIN;
SELECT tapdata.mirror('tm', into_schema => 'tm_rolled', name => 'tm_rolled', start => false);
ROLLBACK;
SELECT hasnt_schema('tm_rolled', 'a rolled-back mirror leaves no schema');
SELECT is_empty($$SELECT FROM tapdata.pipelines WHERE name = 'tm_rolled'$$, 'nor a pipeline');

SELECT tapdata.drop_pipeline('tm_p');
SELECT tapdata.drop_connection('tm');
DROP SCHEMA tm, tm_into, tm_evil, tm_maker CASCADE;
DROP ROLE td_maker, td_other;
SELECT * FROM finish();
