-- Mirrors as psql shows them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tapdata;
SET client_min_messages = notice;
SELECT tapdata.create_connection('shop', 'null', '{"rows": 3, "tables": 3, "columns": 5, "keyless": 1}');
SELECT tapdata.mirror('shop', except_tables => '{t1}');
SELECT tapdata.wait_pipeline('shop', '30 s') IS NOT NULL AS done;
\d shop.t0
\d shop.t2
SELECT name, connection, status, exact, rows_loaded, rows_applied, error, options FROM tapdata.pipelines;
SELECT * FROM tapdata.pipeline_tables ORDER BY source_table;
SELECT kind, object, status FROM tapdata.workers WHERE object = 'shop' OR database IS NULL ORDER BY kind;
SELECT level, kind, object, message FROM tapdata.log WHERE object = 'shop' ORDER BY at;
-- what a user meets
INSERT INTO shop.t0 (id) VALUES (4);
SELECT tapdata.mirror('shop');
SELECT tapdata.mirror('shop', '{t0}', name => 'again');
SELECT tapdata.mirror('shop', name => 'again', options => '{"exists": "error"}');
SELECT tapdata.mirror('shop', name => 'again', options => '{"type": "inital_sync"}');
SELECT tapdata.mirror('shop', name => 'again', options => '{"existing": "keep_data"}');
SELECT tapdata.mirror('shop', name => 'again', into_schema => 'tapdata');
SELECT tapdata.mirror('ship');
SELECT tapdata.start_pipeline('shop');
SELECT tapdata.start_pipeline('shap');
SELECT tapdata.wait_pipeline('shop', '0.2 s', '99999999');
SELECT tapdata.reset_pipeline('shop');
SELECT tapdata.alter_pipeline('shop', '{"writable": true}');
SELECT tapdata.drop_connection('shop');
SELECT tapdata.stop_pipeline('shop');
SELECT tapdata.wait_pipeline('shop');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT tapdata.wait_pipeline('shop');
ROLLBACK;
SELECT tapdata.reset_pipeline('shop');
SELECT tapdata.drop_pipeline('shop', drop_tables => true);
SELECT tapdata.mirror('shop', '{t2}', name => 'once', options => '{"type": "initial_sync", "existing": "drop_table"}');
SELECT tapdata.wait_pipeline('once', '30 s') IS NOT NULL AS done;
SELECT tapdata.drop_pipeline('once');
DELETE FROM shop.t0;
\d shop.t2
SELECT * FROM tapdata.adopt_database();
SELECT tapdata.drop_connection('shop', "cascade" => true);
DROP SCHEMA shop CASCADE;
