-- The SQL surface: every function, its arguments and result, every view and column, every comment, and who may touch what.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();

SELECT has_schema('tapdata');
SELECT has_schema('tapdata_state');
SELECT has_schema('tapdata_views');
SELECT has_schema('tapdata_parts');
SELECT is(extversion, '0.1', 'version') FROM pg_extension WHERE extname = 'tapdata';
SELECT is((SELECT extrelocatable FROM pg_extension WHERE extname = 'tapdata'), false, 'not relocatable');

-- a schema of that name that belongs to somebody else is no home for the extension
DROP EXTENSION tapdata CASCADE;
CREATE ROLE td_squatter;
ALTER SCHEMA tapdata OWNER TO td_squatter;
SELECT throws_ok('CREATE EXTENSION tapdata', '55000', 'schema tapdata belongs to somebody who is no superuser', 'a squatted schema');
ALTER SCHEMA tapdata OWNER TO CURRENT_USER;
DROP ROLE td_squatter;
SELECT lives_ok('CREATE EXTENSION tapdata', 'one''s own');

-- functions: arguments with names and defaults, result, as psql shows them
SELECT is(pg_get_function_arguments(('tapdata.' || f)::regproc), a, f || ': arguments') || E'\n' ||
    is(pg_get_function_result(('tapdata.' || f)::regproc), r, f || ': result')
FROM (VALUES
    ('create_connection', 'name text, connector text, options jsonb, credentials jsonb DEFAULT ''{}''::jsonb, or_replace boolean DEFAULT false', 'void'),
    ('alter_connection', 'name text, options jsonb DEFAULT ''{}''::jsonb, credentials jsonb DEFAULT ''{}''::jsonb', 'void'),
    ('drop_connection', 'name text, cascade boolean DEFAULT false', 'void'),
    ('test_connection', 'name text, OUT item text, OUT ok boolean, OUT detail text, OUT hint text', 'SETOF record'),
    ('discover', 'connection text, pattern text DEFAULT ''*''::text, OUT table_name text, OUT columns jsonb, OUT primary_key text[], OUT row_estimate bigint',
        'SETOF record'),
    ('peek', 'connection text, table_name text, n integer DEFAULT 5', 'SETOF jsonb'),
    ('mirror', 'connection text, tables text[] DEFAULT ''{*}''::text[], except_tables text[] DEFAULT ''{}''::text[], into_schema text DEFAULT NULL::text, '
        'name text DEFAULT NULL::text, options jsonb DEFAULT ''{}''::jsonb, start boolean DEFAULT true', 'text'),
    ('start_pipeline', 'name text', 'void'),
    ('stop_pipeline', 'name text, force boolean DEFAULT false', 'void'),
    ('alter_pipeline', 'name text, options jsonb', 'void'),
    ('reset_pipeline', 'name text, tables text[] DEFAULT NULL::text[]', 'void'),
    ('drop_pipeline', 'name text, drop_tables boolean DEFAULT false', 'void'),
    ('wait_pipeline', 'name text, timeout interval DEFAULT ''00:01:00''::interval, source_position text DEFAULT NULL::text', 'timestamp with time zone'),
    ('adopt_database', '', 'void'),
    ('doctor', 'OUT item text, OUT ok boolean, OUT detail text, OUT fix text', 'SETOF record'),
    ('refuse_write', '', 'trigger'),
    ('create_view', 'name text, query text, options jsonb DEFAULT ''{}''::jsonb, or_replace boolean DEFAULT false', 'regclass'),
    ('drop_view', 'view regclass', 'void'),
    ('refresh_view', 'view regclass', 'void'),
    ('alter_view', 'view regclass, options jsonb', 'void'),
    ('explain_query', 'query text, OUT node text, OUT strategy text, OUT detail text', 'SETOF record'),
    ('explain_view', 'view regclass, OUT node text, OUT strategy text, OUT detail text', 'SETOF record'),
    ('wait_view', 'view regclass, timeout interval DEFAULT ''00:01:00''::interval, replacing boolean DEFAULT true', 'timestamp with time zone'),
    ('check_view', 'view regclass, max_rows integer DEFAULT 100, OUT diff text, OUT copies bigint, OUT "row" jsonb', 'SETOF record'),
    ('changes', 'view regclass, since bigint DEFAULT 0, "limit" integer DEFAULT NULL::integer, OUT tick bigint, OUT at timestamp with time zone, OUT weight integer, '
        'OUT "row" jsonb', 'SETOF record'),
    ('change_rows', 'of anyelement, since bigint DEFAULT 0, "limit" integer DEFAULT NULL::integer, OUT tick bigint, OUT at timestamp with time zone, OUT weight integer, '
        'OUT "row" anyelement', 'SETOF record'),
    ('view_tick', 'view regclass', 'bigint'),
    ('group_caught_up', 'id integer', 'timestamp with time zone'),
    ('group_decoded', 'id integer, OUT at timestamp with time zone, OUT lsn pg_lsn', 'record'),
    ('pipeline_standing', 'id integer, OUT standing text, OUT sqlstate text, OUT error text, OUT hint text', 'record'),
    ('group_standing', 'id integer, OUT standing text, OUT sqlstate text, OUT error text, OUT hint text', 'record'),
    ('row_hash', 'VARIADIC "any"', 'bigint')
) AS v(f, a, r);

-- views: exactly these columns
SELECT is((SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = ('tapdata.' || v)::regclass AND attnum > 0), c, v || ': columns')
FROM (VALUES
    ('connectors', 'name text, version text, capabilities text[], options jsonb'),
    ('pipelines', 'name text, owner name, connection text, status text, exact boolean, since timestamp with time zone, position text, '
        'source_time timestamp with time zone, lag interval, rows_loaded bigint, rows_applied bigint, sqlstate text, error text, hint text, '
        'retry_at timestamp with time zone, options jsonb'),
    ('pipeline_tables', 'pipeline text, source_table text, target text, status text, rows_loaded bigint, row_estimate bigint, has_key boolean, error text'),
    ('views', 'view regclass, twin regclass, owner name, group_name text, status text, exact boolean, since timestamp with time zone, snapshot pg_snapshot, '
        'freshness interval, ticks bigint, last_tick timestamp with time zone, slow_ms double precision, strategy text, executed jsonb, whole_ms double precision, sqlstate text, error text, hint text, options jsonb, state_tables regclass[], '
        'changes boolean, changes_tick bigint, changes_from bigint, replacing text, replacing_error text'),
    ('feeds', 'view regclass, tick bigint, changes_from bigint'),
    ('workers', 'pid integer, kind text, database text, object text, status text, since timestamp with time zone, restarts integer, memory bigint'),
    ('errors', 'id bigint, at timestamp with time zone, pipeline text, step text, table_name text, position text, sqlstate text, message text, record jsonb'),
    ('log', 'at timestamp with time zone, level text, kind text, object text, sqlstate text, message text, detail text, hint text')
) AS t(v, c);

-- settings
SELECT is((SELECT setting || coalesce(unit, '') FROM pg_settings WHERE name = 'tapdata.log_retention'), '10080min', 'log_retention is 7 days');
SELECT is((SELECT count(*) FROM pg_settings WHERE name = ANY ('{tapdata.enabled,tapdata.max_workers,tapdata.worker_memory,tapdata.spool_directory,'
    'tapdata.spool_limit,tapdata.log_retention,tapdata.connector_path}')), 7::bigint, 'all settings are there');

-- comments: on every member of the extension that a user may meet
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'tapdata'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL$$,
    'every function has a comment');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'tapdata'::regnamespace AND relkind IN ('r', 'v')
    AND obj_description(c.oid, 'pg_class') IS NULL$$, 'every table and view has a comment');
SELECT is_empty($$SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE relnamespace = 'tapdata'::regnamespace AND relkind = 'v' AND attnum > 0 AND col_description(a.attrelid, a.attnum) IS NULL$$,
    'every column of a view has a comment');
SELECT isnt(obj_description(oid, 'pg_foreign_data_wrapper'), NULL, 'the wrapper has a comment') FROM pg_foreign_data_wrapper WHERE fdwname = 'tapdata';

-- rights: tables for nobody, views for everybody behind a barrier, functions pinned
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE relnamespace IN ('tapdata'::regnamespace, 'tapdata_state'::regnamespace) AND relkind IN ('r', 'S')
    AND has_any_column_privilege('pg_monitor', c.oid, 'SELECT,INSERT,UPDATE,REFERENCES')$$, 'no table is readable');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'tapdata'::regnamespace AND relkind = 'v'
    AND NOT has_table_privilege('pg_monitor', c.oid, 'SELECT')$$, 'every view is readable');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'tapdata'::regnamespace AND relkind = 'v' AND relname <> 'connectors'
    AND NOT coalesce('security_barrier=true' = ANY (reloptions), false)$$, 'every view with an owner has a security barrier');
SELECT ok(NOT has_schema_privilege('pg_monitor', 'tapdata_state', 'USAGE'), 'nobody looks into tapdata_state');
SELECT ok(NOT has_schema_privilege('pg_monitor', 'tapdata', 'CREATE'), 'nobody creates in tapdata');
SELECT ok(NOT has_schema_privilege('pg_monitor', 'tapdata_views', 'CREATE'), 'nor in tapdata_views');
SELECT ok(has_schema_privilege('pg_monitor', 'tapdata_views', 'USAGE'), 'twins can be reached');
SELECT ok(NOT has_schema_privilege('pg_monitor', 'tapdata_parts', 'CREATE'), 'nobody creates parts');
SELECT ok(NOT has_foreign_data_wrapper_privilege('pg_monitor', 'tapdata', 'USAGE'), 'nobody may create connections by default');
SELECT ok(NOT has_function_privilege('pg_monitor', 'tapdata.extension_created()', 'EXECUTE'), 'extension_created is internal');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'tapdata'::regnamespace AND prosecdef$$, 'no SECURITY DEFINER function');
-- but two that read the caller's query in his own search_path, and those that work on values and look up no name
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'tapdata'::regnamespace
    AND proname NOT IN ('worker_list', 'extension_created',
        'create_view', 'explain_query', 'row_hash', 'numeric_place', 'numeric_sum') AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)$$,
    'every function has a pinned search_path');

SELECT * FROM finish();
