-- The doctor, the log and the installation.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();

-- a well-set server
SELECT is_empty($$SELECT item, detail, fix FROM tapdata.doctor() WHERE NOT ok$$, 'the doctor is content');
SELECT is_empty($$SELECT item FROM tapdata.doctor() WHERE ok AND fix IS NOT NULL$$, 'nothing to fix where nothing is wrong');
SELECT is((SELECT array_agg(item ORDER BY item COLLATE "C") FROM tapdata.doctor() WHERE item NOT LIKE 'max\_%rep%'), ARRAY['capture', 'connectors', 'database', 'failed pipelines',
    'failed views', 'locked views', 'logical decoding', 'max_worker_processes', 'new views', 'old rows', 'old snapshots', 'orphaned pipelines', 'pipelines of superusers', 'processes', 'remains of views', 'shared_preload_libraries', 'slow views', 'tapdata.enabled', 'tapdata.max_workers', 'version', 'views of superusers',
    'waiting pipelines', 'waiting views'], 'what it looks at');
SELECT is((SELECT count(*) FROM tapdata.doctor() WHERE item LIKE 'max\_%rep%'), 1::bigint, 'and origins');
SELECT ok((SELECT detail FROM tapdata.doctor() WHERE item = 'connectors') LIKE '%null%', 'it names the connectors');

-- pipelines of superusers are named
SELECT tapdata.create_connection('md', 'null', '{}');
SELECT tapdata.mirror('md', start => false);
SELECT is((SELECT ok || ' ' || detail FROM tapdata.doctor() WHERE item = 'pipelines of superusers'), 'true md', 'pipelines of superusers');

-- connectors that can't be used are named, wherever they are looked at
SELECT current_setting('data_directory') || '/td_broken' AS dir \gset
COPY (SELECT 'no library') TO PROGRAM 'mkdir -p "$PGDATA/td_broken" 2>/dev/null || mkdir -p td_broken; cat > td_broken/broken.so';
SELECT set_config('tapdata.connector_path', :'dir', false);
SELECT results_eq($$SELECT ok, detail LIKE '%broken%', fix IS NOT NULL FROM tapdata.doctor() WHERE item = 'connectors'$$, $$VALUES (false, true, true)$$, 'the doctor names a broken connector');
SELECT results_eq($$SELECT name, version FROM tapdata.connectors WHERE name = 'broken'$$, $$VALUES ('broken', NULL::text)$$, 'connectors shows it');
SELECT ok(EXISTS (SELECT FROM tapdata.connectors WHERE name = 'null' AND version IS NOT NULL), 'and the others');
SELECT throws_ok($$SELECT tapdata.create_connection('mb', 'broken', '{}')$$, '38000', NULL, 'it is refused');
RESET tapdata.connector_path;
COPY (SELECT 1) TO PROGRAM 'rm -r td_broken; cat > /dev/null';

-- old entries of the log are removed when new ones are written, not before their time
INSERT INTO tapdata.log_entry (at, level, kind, message) VALUES (now() - interval '8 days', 'info', 'launcher', 'old'), (now() - interval '6 days', 'info', 'launcher', 'young');
SELECT tapdata.stop_pipeline('md');
SELECT tapdata.start_pipeline('md');
SELECT ok(tapdata.wait_pipeline('md', '20 s') IS NOT NULL, 'a worker writes to the log');
SELECT is((SELECT string_agg(message, ',') FROM tapdata.log WHERE kind = 'launcher' AND message IN ('old', 'young')), 'young', 'old entries are removed');
SELECT tapdata.drop_connection('md', true);
DROP SCHEMA md CASCADE;
DELETE FROM tapdata.log_entry WHERE message = 'young';

-- a copied database is fenced
SELECT tapdata.create_connection('mf', 'null', '{"rows": 5}');
SELECT tapdata.mirror('mf');
SELECT ok(tapdata.wait_pipeline('mf', '20 s') IS NOT NULL, 'before');
SELECT tapdata.stop_pipeline('mf');
UPDATE tapdata.pipeline SET home = '1/2/3';
SELECT is(status, 'fenced', 'a pipeline made elsewhere is fenced') FROM tapdata.pipelines;
SELECT throws_ok($$SELECT tapdata.start_pipeline('mf')$$, '55000', 'this database is a copy of another one, its pipelines and views are fenced', 'and does not start');
SELECT throws_ok($$SELECT tapdata.mirror('mf', name => 'mg', into_schema => 'mg')$$, '55000', NULL, 'nor does a new one');
SELECT is((SELECT ok || ' ' || fix FROM tapdata.doctor() WHERE item = 'database'), 'false SELECT tapdata.adopt_database(); -- only if the copy shall run on its own', 'the doctor');
SELECT lives_ok($$SELECT tapdata.adopt_database()$$, 'adopt_database');
SELECT is(status, 'stopped', 'stopped as it was') FROM tapdata.pipelines;
SELECT lives_ok($$SELECT tapdata.start_pipeline('mf')$$, 'starts');
SELECT ok(tapdata.wait_pipeline('mf', '20 s') IS NOT NULL, 'and goes on');
SELECT lives_ok($$SELECT tapdata.adopt_database()$$, 'adopting what is ours changes nothing');
SELECT is(status, 'streaming', 'it runs') FROM tapdata.pipelines;
SELECT tapdata.drop_connection('mf', true);
DROP SCHEMA mf CASCADE;

-- the extension goes with all that is its own, and leaves the tables
SELECT tapdata.create_connection('mx', 'null', '{"rows": 5}');
SELECT tapdata.mirror('mx');
SELECT ok(tapdata.wait_pipeline('mx', '20 s') IS NOT NULL);
SELECT throws_ok($$DROP EXTENSION tapdata$$, '2BP01', NULL, 'DROP EXTENSION with a connection needs CASCADE');
SELECT lives_ok($$DROP EXTENSION tapdata CASCADE$$, 'DROP EXTENSION CASCADE');
SELECT is((SELECT count(*) FROM mx.t0), 5::bigint, 'the table stays');
SELECT lives_ok($$DELETE FROM mx.t0$$, 'as an ordinary one');
SELECT hasnt_schema('tapdata_state');
SELECT lives_ok($$CREATE EXTENSION tapdata$$, 'and it can be made again');
SELECT is_empty($$SELECT FROM tapdata.pipelines$$, 'empty');
DROP SCHEMA mx CASCADE;
SELECT * FROM finish();
