-- Running pipelines: start, stop, wait, reset, drop, the write guard; on the null connector.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();

CREATE FUNCTION pg_temp.failure(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text; hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN query_canceled OR OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN state || ': ' || message || ' / ' || detail || ' / ' || hint;
END $$;
-- Does a query give true within 20 s?
CREATE FUNCTION pg_temp.soon(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE yes boolean;
BEGIN
    FOR i IN 1 .. 1000 LOOP
        EXECUTE query INTO yes;
        IF yes THEN RETURN true; END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN false;
END $$;

SELECT tapdata.create_connection('rc', 'null', '{"rows": 50, "tables": 3, "keyless": 1, "interval_us": 20000}');

-- a mirror begins at commit, and is there in one piece
BEGIN;
SELECT tapdata.mirror('rc');
SELECT is(status, 'starting', 'not yet begun, but wanted') FROM tapdata.pipelines WHERE name = 'rc';
SELECT ok(pg_sleep(0.2) IS NOT NULL AND NOT EXISTS (SELECT FROM tapdata.workers WHERE kind = 'pipeline'), 'nothing runs before the commit');
COMMIT;
SELECT ok(tapdata.wait_pipeline('rc', '20 s') > now() - interval '1 hour', 'wait_pipeline returns a time');
SELECT results_eq($$SELECT status, exact, sqlstate, rows_loaded BETWEEN 150 AND 153 FROM tapdata.pipelines WHERE name = 'rc'$$,
    $$VALUES ('streaming', true, NULL::text, true)$$, 'streaming');
SELECT isnt(lag, NULL, 'lag while streaming') FROM tapdata.pipelines WHERE name = 'rc';
SELECT results_eq($$SELECT pipeline, source_table, target, status, rows_loaded IN (50, 51), row_estimate, has_key, error FROM tapdata.pipeline_tables WHERE pipeline = 'rc'$$,
    $$VALUES ('rc', 't0', 'rc.t0', 'streaming', true, 50::bigint, true, NULL::text), ('rc', 't1', 'rc.t1', 'streaming', true, 50, true, NULL),
        ('rc', 't2', 'rc.t2', 'streaming', true, 50, false, NULL)$$, 'its tables');
SELECT ok(count(*) BETWEEN 50 AND 51, 'rows are there') FROM rc.t0;
SELECT ok(pg_temp.soon($$SELECT rows_applied > 5 FROM tapdata.pipelines WHERE name = 'rc'$$), 'changes are applied');
SELECT ok(position IS NOT NULL AND source_time > now() - interval '1 minute', 'position and source time') FROM tapdata.pipelines WHERE name = 'rc';
SELECT is((SELECT count(*) FROM tapdata.workers WHERE kind IN ('pipeline', 'host') AND object = 'rc' AND database = current_database()), 2::bigint, 'worker and host');
SELECT is((SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tapdata pipeline' AND datname = current_database()), 1::bigint, 'backend_type');
SELECT ok(count(*) >= 3, 'the log tells') FROM tapdata.log WHERE object = 'rc';

-- the write guard
SELECT is(pg_temp.failure(s), '55000: table rc.t0 is kept by mirror "rc" /  / Change the rows at the source; or allow writes here: '
    'SELECT tapdata.alter_pipeline(''rc'', ''{"writable": true}'').', s)
FROM unnest('{INSERT INTO rc.t0 (id) VALUES (-1),UPDATE rc.t0 SET c1 = 0,DELETE FROM rc.t0 WHERE false,TRUNCATE rc.t0}'::text[]) s;
SELECT lives_ok($$SELECT tapdata.alter_pipeline('rc', '{"writable": true}')$$, 'writable');
SELECT lives_ok($$INSERT INTO rc.t0 (id) VALUES (-1); DELETE FROM rc.t0 WHERE id = -1$$, 'now writes are allowed');
SELECT lives_ok($$SELECT tapdata.alter_pipeline('rc', '{"writable": false}')$$, 'no longer writable');
SELECT throws_ok($$DELETE FROM rc.t0$$, '55000', NULL, 'now they are not');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'rc.t0'::regclass), 1::bigint, 'one guard');

-- what can't be changed any more
SELECT is(pg_temp.failure($$SELECT tapdata.alter_pipeline('rc', '{"type": "cdc"}')$$),
    '55000: option "type" of pipeline "rc" can''t be changed any more / The pipeline has begun to work with it. / '
    'Stop it and forget its progress first: SELECT tapdata.stop_pipeline(''rc''), tapdata.reset_pipeline(''rc'').', 'type is fixed');

-- wait_pipeline
SELECT ok(tapdata.wait_pipeline('rc', '20 s', (SELECT position FROM tapdata.pipelines WHERE name = 'rc')) IS NOT NULL, 'a position that is reached');
SELECT throws_like($$SELECT tapdata.wait_pipeline('rc', '20 s', 'nonsense')$$, '%nonsense%', 'no position');
SELECT is(pg_temp.failure($$SELECT tapdata.wait_pipeline('rc', '0.3 s', '999999999999999')$$),
    '57014: pipeline "rc" did not get there in time / Its status is "streaming". / Is the position one that the source has reached?  Or wait longer with timeout => ''10 min''.',
    'a position far away');
SELECT throws_ok($$SELECT tapdata.wait_pipeline('rd')$$, '42704', NULL, 'unknown pipeline');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT tapdata.wait_pipeline('rc')$$, '25001', NULL, 'not in REPEATABLE READ');
ROLLBACK;
BEGIN;
CREATE TEMP TABLE written AS SELECT 1;
SELECT throws_ok($$SELECT tapdata.wait_pipeline('rc')$$, '25001', 'wait_pipeline can''t be used in a transaction that wrote', 'nor in a transaction that wrote');
ROLLBACK;

-- stop
SELECT is(pg_temp.failure($$SELECT tapdata.reset_pipeline('rc')$$),
    '55000: pipeline "rc" is not stopped / Its status is "streaming". / Stop it first: SELECT tapdata.stop_pipeline(''rc'').', 'reset needs a stopped pipeline');
SELECT lives_ok($$SELECT tapdata.stop_pipeline('rc')$$, 'stop');
SELECT results_eq($$SELECT status, exact, lag, error FROM tapdata.pipelines WHERE name = 'rc'$$, $$VALUES ('stopped', true, NULL::interval, NULL::text)$$, 'stopped when it returns');
SELECT is_empty($$SELECT FROM tapdata.workers WHERE object = 'rc'$$, 'no process is left');
SELECT lives_ok($$SELECT tapdata.stop_pipeline('rc')$$, 'stopping again is nothing');
SELECT is(pg_temp.failure($$SELECT tapdata.wait_pipeline('rc')$$),
    '55000: pipeline "rc" is stopped /  / Start it: SELECT tapdata.start_pipeline(''rc'').', 'waiting for a stopped one');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT tapdata.stop_pipeline('rc')$$, '25001', NULL, 'stop: not in REPEATABLE READ');
ROLLBACK;

-- start
SELECT lives_ok($$SELECT tapdata.start_pipeline('rc')$$, 'start');
SELECT ok(tapdata.wait_pipeline('rc', '20 s') IS NOT NULL, 'goes on');
SELECT ok(rows_loaded < 160, 'without loading again') FROM tapdata.pipelines WHERE name = 'rc';
SELECT lives_ok($$SELECT tapdata.start_pipeline('rc')$$, 'starting again is nothing');
BEGIN;
SELECT tapdata.stop_pipeline('rc');
SELECT is_empty($$SELECT FROM tapdata.workers WHERE object = 'rc'$$, 'stopped inside a transaction');
SELECT ok(pg_sleep(0.5) IS NOT NULL AND NOT EXISTS (SELECT FROM tapdata.workers WHERE object = 'rc'), 'and not started again meanwhile');
ROLLBACK;
SELECT ok(tapdata.wait_pipeline('rc', '20 s') IS NOT NULL, 'a rolled-back stop: it runs again');
SELECT lives_ok($$SELECT tapdata.stop_pipeline('rc', force => true)$$, 'stop by force');
SELECT is(status, 'stopped', 'stopped') FROM tapdata.pipelines WHERE name = 'rc';

-- alter_connection restarts
SELECT tapdata.start_pipeline('rc');
SELECT ok(tapdata.wait_pipeline('rc', '20 s') IS NOT NULL);
SELECT pid AS before FROM tapdata.workers WHERE kind = 'pipeline' AND object = 'rc' \gset
SELECT lives_ok($$SELECT tapdata.alter_connection('rc', '{"interval_us": 30000}')$$, 'alter_connection');
SELECT ok(pg_temp.soon(format($$SELECT pid <> %s FROM tapdata.workers WHERE kind = 'pipeline' AND object = 'rc'$$, :before)), 'restarts the pipeline');
SELECT ok(tapdata.wait_pipeline('rc', '20 s') IS NOT NULL, 'which goes on');

-- reset
SELECT tapdata.stop_pipeline('rc');
SELECT is(pg_temp.failure($$SELECT tapdata.reset_pipeline('rc', '{t0}')$$),
    '0A000: single tables can''t be reset once the mirror is published /  / Reset the whole pipeline: SELECT tapdata.reset_pipeline(''rc'').', 'reset of one table');
SELECT lives_ok($$SELECT tapdata.reset_pipeline('rc')$$, 'reset');
SELECT results_eq($$SELECT status, exact, position, rows_loaded, rows_applied FROM tapdata.pipelines WHERE name = 'rc'$$,
    $$VALUES ('created', false, NULL::text, 0::bigint, 0::bigint)$$, 'progress is forgotten');
SELECT is_empty($$SELECT FROM tapdata.pipeline_tables WHERE pipeline = 'rc'$$, 'and the plan');
SELECT ok(count(*) >= 50, 'the data stay') FROM rc.t0;
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid = 'rc.t0'::regclass$$, 'without a guard');
SELECT tapdata.start_pipeline('rc');
SELECT throws_ok($$SELECT tapdata.wait_pipeline('rc', '20 s')$$, '42P07', NULL, 'the tables stand in the way of a new start');
SELECT results_eq($$SELECT status, sqlstate, hint IS NOT NULL FROM tapdata.pipelines WHERE name = 'rc'$$, $$VALUES ('failed', '42P07', true)$$, 'failed, with a hint');
SELECT is_empty($$SELECT FROM tapdata.workers WHERE object = 'rc'$$, 'no process is left');
SELECT is((SELECT level || ' ' || sqlstate FROM tapdata.log WHERE object = 'rc' ORDER BY at DESC LIMIT 1), 'error 42P07', 'and a line in the log');
SELECT is((SELECT ok FROM tapdata.doctor() WHERE item = 'failed pipelines'), false, 'and one of the doctor');
SELECT lives_ok($$SELECT tapdata.alter_pipeline('rc', '{"existing": "drop_table"}'), tapdata.start_pipeline('rc')$$, 'told what to do with them');
SELECT ok(tapdata.wait_pipeline('rc', '20 s') IS NOT NULL, 'it loads anew');
SELECT results_eq($$SELECT status, exact, error FROM tapdata.pipelines WHERE name = 'rc'$$, $$VALUES ('streaming', true, NULL::text)$$, 'the error is forgotten');

-- drop
SELECT is(pg_temp.failure($$SELECT tapdata.drop_connection('rc')$$), '2BP01: connection "rc" is used by pipelines / Pipelines: rc. / '
    'Drop them first with tapdata.drop_pipeline(), or pass "cascade" => true; their tables stay.', 'the connection is in use');
SELECT lives_ok($$SELECT tapdata.drop_pipeline('rc')$$, 'drop while it runs');
SELECT is_empty($$SELECT FROM tapdata.workers WHERE object = 'rc'$$, 'no process is left');
SELECT is_empty($$SELECT FROM tapdata.pipelines WHERE name = 'rc'$$, 'no pipeline is left');
SELECT is_empty($$SELECT FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace$$, 'no load table is left');
SELECT lives_ok($$INSERT INTO rc.t0 (id) VALUES (-1)$$, 'the tables are ordinary ones now');
SELECT is_empty($$SELECT FROM pg_trigger WHERE tgrelid = 'rc.t0'::regclass$$, 'without a guard');
SELECT tapdata.mirror('rc', into_schema => 'rc2');
SELECT ok(tapdata.wait_pipeline('rc', '20 s') IS NOT NULL);
SELECT lives_ok($$SELECT tapdata.drop_pipeline('rc', drop_tables => true)$$, 'drop with the tables');
SELECT is_empty($$SELECT FROM pg_class WHERE relnamespace = 'rc2'::regnamespace$$, 'no table is left');
SELECT has_schema('rc2', 'the schema stays');

-- load only
SELECT tapdata.mirror('rc', into_schema => 'rc3', name => 'rc_load', options => '{"type": "initial_sync"}');
SELECT ok(tapdata.wait_pipeline('rc_load', '20 s') IS NOT NULL, 'a load only');
SELECT ok(pg_temp.soon($$SELECT status = 'completed' FROM tapdata.pipelines WHERE name = 'rc_load'$$), 'completed');
SELECT ok(pg_temp.soon($$SELECT NOT EXISTS (SELECT FROM tapdata.workers WHERE object = 'rc_load')$$), 'its worker is gone');
SELECT is(pg_temp.failure($$SELECT tapdata.start_pipeline('rc_load')$$), '55000: pipeline "rc_load" is complete / Its type is initial_sync: it loads once. / '
    'To load again, forget its progress first: SELECT tapdata.reset_pipeline(''rc_load'').', 'nothing more to do');
SELECT lives_ok($$SELECT tapdata.stop_pipeline('rc_load')$$, 'stop of a completed one');
SELECT is(status, 'completed', 'leaves it completed') FROM tapdata.pipelines WHERE name = 'rc_load';
SELECT lives_ok($$SELECT tapdata.drop_connection('rc', "cascade" => true)$$, 'the connection with its pipelines');
SELECT is_empty($$SELECT FROM tapdata.pipelines$$, 'all gone');

-- a load that is stopped in its middle, and tables of it that are loaded again
SELECT tapdata.create_connection('rl', 'null', '{"rows": 2000000, "tables": 2, "row_bytes": 200}');
SELECT tapdata.mirror('rl', options => '{"type": "initial_sync+cdc"}');
SELECT ok(pg_temp.soon($$SELECT rows_loaded > 0 FROM tapdata.pipelines WHERE name = 'rl'$$), 'a long load');
SELECT hasnt_table('rl', 't0', 'nothing is to be seen of it');
SELECT lives_ok($$SELECT tapdata.stop_pipeline('rl')$$, 'stop while loading');
SELECT ok(rows_loaded BETWEEN 1 AND 3999999, 'in the middle') FROM tapdata.pipelines WHERE name = 'rl';
SELECT is(pg_temp.failure($$SELECT tapdata.reset_pipeline('rl', '{t00}')$$), '42704: pipeline "rl" has no table "t00" /  / Perhaps you meant "t0".', 'no such table');
SELECT lives_ok($$SELECT tapdata.reset_pipeline('rl', '{t0}')$$, 'reset of one table');
SELECT results_eq($$SELECT status, rows_loaded FROM tapdata.pipeline_tables WHERE source_table = 't0'$$, $$VALUES ('created', 0::bigint)$$, 'is to be loaded again');
SELECT lives_ok($$SELECT tapdata.drop_connection('rl', "cascade" => true)$$, 'dropped with what was loaded');
SELECT is_empty($$SELECT FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace$$, 'no load table is left');

-- a table that goes away: the hint is a call that can be typed
SELECT tapdata.create_connection('rt', 'null', '{"rows": 5}');
SELECT tapdata.mirror('rt', name => 'r''t');
SELECT ok(tapdata.wait_pipeline('r''t', '20 s') IS NOT NULL);
SELECT tapdata.stop_pipeline('r''t');
DROP TABLE rt.t0;
SELECT tapdata.start_pipeline('r''t');
SELECT matches(pg_temp.failure($$SELECT tapdata.wait_pipeline('r''t', '20 s')$$),
    '^42P01: .* / SELECT tapdata[.]reset_pipeline[(]''r''''t''[)] loads it again; SELECT tapdata[.]drop_pipeline[(]''r''''t''[)] ends the mirror[.]$', 'it fails, with the calls that mend it');
SELECT lives_ok($$SELECT tapdata.drop_connection('rt', "cascade" => true)$$);

-- a connection that goes away under a running mirror
SELECT tapdata.create_connection('rg', 'null', '{"rows": 5}');
SELECT tapdata.mirror('rg');
SELECT ok(tapdata.wait_pipeline('rg', '20 s') IS NOT NULL);
DROP SERVER rg CASCADE;
SELECT is((SELECT ok FROM tapdata.doctor() WHERE item = 'orphaned pipelines'), false, 'the doctor names an orphan');
SELECT tapdata.stop_pipeline('rg'), tapdata.start_pipeline('rg');
SELECT throws_ok($$SELECT tapdata.wait_pipeline('rg', '20 s')$$, '42704', NULL, 'it fails by name');
SELECT lives_ok($$SELECT tapdata.drop_pipeline('rg', true)$$, 'and can be dropped');

DROP SCHEMA rc, rc2, rc3, rl, rg, rt CASCADE;
SELECT is_empty($$SELECT item, detail FROM tapdata.doctor() WHERE NOT ok$$, 'the doctor is content again');
SELECT * FROM finish();
