-- Ordinary users: they see and control what is theirs; monitors see all but records; nobody gets at secrets.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();
DROP ROLE IF EXISTS td_anna, td_bob, td_watch, td_admin, td_nologin;
CREATE ROLE td_anna LOGIN;
CREATE ROLE td_bob LOGIN;
CREATE ROLE td_watch LOGIN;
CREATE ROLE td_admin;
GRANT pg_monitor TO td_watch;
GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO td_anna, td_bob;
SELECT format('GRANT CREATE ON DATABASE %I TO td_anna, td_bob', current_database()) \gexec

SET ROLE td_anna;
SELECT tapdata.create_connection('ra', 'null', '{"rows": 20}', '{"password": "s3cret-anna"}');
SELECT tapdata.mirror('ra');
SELECT ok(tapdata.wait_pipeline('ra', '20 s') IS NOT NULL, 'an ordinary user mirrors');
RESET ROLE;
SELECT is(usename, 'td_anna', 'the worker is connected as the owner') FROM pg_stat_activity WHERE backend_type = 'tapdata pipeline' AND datname = current_database();
SELECT is(relowner::regrole::text, 'td_anna', 'who owns the tables') FROM pg_class WHERE oid = 'ra.t0'::regclass;
SELECT is((SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%s3cret-anna%' AND pid <> pg_backend_pid()), 0::bigint, 'no secret in pg_stat_activity of a worker');
INSERT INTO tapdata.error_entry (pipeline, message, record) SELECT id, 'set aside', '{"id": 7}' FROM tapdata.pipeline;
INSERT INTO tapdata.log_entry (level, kind, object, owner, sqlstate, message, detail) VALUES ('error', 'pipeline', 'ra', 'td_anna', '23505', 'duplicate', 'Key (id)=(7)'),
    ('error', 'pipeline', 'ra', 'td_anna', '08006', 'gone', 'connection lost'), ('info', 'launcher', NULL, NULL, NULL, 'hello', NULL);

SET ROLE td_anna;
SELECT is(record, '{"id": 7}', 'the owner sees the record') FROM tapdata.errors;
SELECT is((SELECT count(*) FROM tapdata.log WHERE detail IS NOT NULL), 2::bigint, 'and the details');
SELECT is_empty($$SELECT FROM tapdata.log WHERE kind = 'launcher'$$, 'but not what concerns the cluster');
SELECT results_eq($$SELECT kind, count(*) FROM tapdata.workers GROUP BY kind ORDER BY kind$$,
    $$VALUES ('host', 1::bigint), ('launcher', 1), ('pipeline', 1), ('supervisor', 1)$$, 'and the workers');

SET ROLE td_bob;
SELECT is_empty('SELECT FROM tapdata.' || v, 'another user sees nothing in ' || v) FROM unnest('{pipelines,pipeline_tables,errors,log}'::text[]) v;
SELECT results_eq($$SELECT DISTINCT kind FROM tapdata.workers ORDER BY kind$$, $$VALUES ('launcher'), ('supervisor')$$, 'and no worker of others');
SELECT is((SELECT detail FROM tapdata.doctor() WHERE item = 'pipelines of superusers'), 'none', 'the doctor tells him no more');
SELECT throws_ok('SELECT tapdata.' || f, '42501', NULL, f)
FROM unnest('{start_pipeline(''ra''),stop_pipeline(''ra''),"stop_pipeline(''ra'', true)","alter_pipeline(''ra'', ''{}'')",reset_pipeline(''ra''),drop_pipeline(''ra''),'
    '"drop_pipeline(''ra'', true)",wait_pipeline(''ra''),"drop_connection(''ra'', true)","alter_connection(''ra'', ''{\"rows\": 1}'')",test_connection(''ra''),discover(''ra''),'
    '"peek(''ra'', ''t0'')","mirror(''ra'', into_schema => ''rb'', name => ''rb'')",adopt_database()}'::text[]) f;
SELECT throws_ok('SELECT FROM tapdata.' || t, '42501', NULL, t || ' is closed') FROM unnest('{pipeline,pipeline_state,pipeline_table,log_entry,error_entry,worker_start}'::text[]) t;
SELECT throws_ok($$CREATE TABLE tapdata.mine (a int)$$, '42501', NULL, 'nothing is made in tapdata');
SELECT throws_ok($$CREATE TABLE tapdata_state.mine (a int)$$, '42501', NULL, 'nor in tapdata_state');
SELECT throws_ok($$SELECT tapdata.extension_created()$$, '42501', NULL, 'extension_created is internal');
SELECT is_empty($$SELECT FROM pg_user_mappings WHERE umoptions::text LIKE '%s3cret%'$$, 'no secret of another');
-- a leaky function in a condition does not see rows behind the barrier
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE EXCEPTION 'saw %', $1; END$$;
SELECT lives_ok('SELECT FROM tapdata.pipelines WHERE pg_temp.leak(name)', 'the barrier holds');

SET ROLE td_watch;
SELECT is(name || status, 'rastreaming', 'a monitor sees the pipeline') FROM tapdata.pipelines;
SELECT is(record, NULL, 'but not the record') FROM tapdata.errors;
SELECT results_eq($$SELECT sqlstate, detail FROM tapdata.log WHERE object = 'ra' AND sqlstate IS NOT NULL ORDER BY sqlstate$$, $$VALUES ('08006', 'connection lost'), ('23505', NULL)$$,
    'nor details that may hold values');
SELECT is(message, 'hello', 'what concerns the cluster, however') FROM tapdata.log WHERE kind = 'launcher';
SELECT ok(tapdata.wait_pipeline('ra', '20 s') IS NOT NULL, 'may wait');
SELECT throws_ok($$SELECT tapdata.stop_pipeline('ra')$$, '42501', 'must be owner of pipeline "ra"', 'may not stop');
RESET ROLE;

-- with USAGE another can use the connection, with his own credentials and into his own tables only
CREATE SCHEMA rb;
GRANT ALL ON SCHEMA rb TO td_bob, td_anna;
SET ROLE td_anna;
GRANT USAGE ON FOREIGN SERVER ra TO td_bob;
SET ROLE td_bob;
SELECT throws_ok($$SELECT tapdata.mirror('ra', into_schema => 'ra', name => 'rb')$$, '42501', NULL, 'not into the schema of another');
SELECT throws_ok($$SELECT tapdata.mirror('ra')$$, '42501', NULL, 'which is the default');
SELECT lives_ok($$SELECT tapdata.mirror('ra', into_schema => 'rb', name => 'rb')$$, 'into his own');
SELECT ok(tapdata.wait_pipeline('rb', '20 s') IS NOT NULL);
SELECT is((SELECT string_agg(name, ',') FROM tapdata.pipelines), 'rb', 'each sees his own');
SET ROLE td_anna;
SELECT throws_ok($$SELECT tapdata.drop_connection('ra', true)$$, '42501', NULL, 'the pipeline of another is not dropped by cascade');
SELECT ok(tapdata.wait_pipeline('ra', '20 s') IS NOT NULL, 'and nothing has happened to one''s own');

-- drop_tables drops only what the caller may drop
RESET ROLE;
GRANT td_bob TO td_admin;
ALTER TABLE rb.t0 OWNER TO td_anna;
SET ROLE td_bob;
SELECT throws_ok($$SELECT tapdata.drop_pipeline('rb', true)$$, '42501', NULL, 'a table that was given away is not dropped');
RESET ROLE;
ALTER TABLE rb.t0 OWNER TO td_bob;
SET ROLE td_admin;
SELECT lives_ok($$SELECT tapdata.drop_pipeline('rb', true)$$, 'a member of the owner may');
RESET ROLE;

-- a role that can't log in can't run a pipeline, and is told
CREATE ROLE td_nologin;
GRANT USAGE ON FOREIGN SERVER ra TO td_nologin;
CREATE SCHEMA rn AUTHORIZATION td_nologin;
SET ROLE td_nologin;
SELECT tapdata.mirror('ra', into_schema => 'rn', name => 'rn');
SELECT throws_ok($$SELECT tapdata.wait_pipeline('rn', '20 s')$$, '28000', NULL, 'the owner can''t log in');
RESET ROLE;

-- the owner of a pipeline is not dropped; where another database did it, all say so
SELECT throws_ok('DROP ROLE td_watch, td_nologin', '2BP01', 'role "td_nologin" cannot be dropped because it owns pipelines', 'an owner is not dropped');
SET ROLE td_bob;
SELECT throws_ok('DROP ROLE td_nologin', '42501', NULL, 'whoever may not drop roles learns nothing of it');
RESET ROLE;
UPDATE tapdata.pipeline SET owner = 4000000001::oid WHERE name = 'rn';
CREATE FUNCTION pg_temp.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN hint;
END $$;
SET ROLE td_bob;
SELECT is(pg_temp.hint('SELECT tapdata.' || f || '_pipeline(''rn'')'), 'Its owner is the role with OID 4000000001, which no longer exists.', f || ': an owner that is gone')
FROM unnest('{stop,drop,wait}'::text[]) f;
RESET ROLE;
SELECT tapdata.start_pipeline('rn');
SELECT throws_ok($$SELECT tapdata.wait_pipeline('rn', '20 s')$$, '28000', 'pipeline "rn" has failed: the owner of the pipeline no longer exists', 'and no worker starts');
SELECT lives_ok($$SELECT tapdata.drop_pipeline('rn')$$, 'a superuser drops it');

DROP FUNCTION pg_temp.leak(text);
SELECT tapdata.drop_connection('ra', "cascade" => true);
DROP SCHEMA ra, rb, rn CASCADE;
REVOKE USAGE ON FOREIGN DATA WRAPPER tapdata FROM td_anna, td_bob;
SELECT format('REVOKE CREATE ON DATABASE %I FROM td_anna, td_bob', current_database()) \gexec
DROP ROLE td_anna, td_bob, td_watch, td_admin, td_nologin;
SELECT * FROM finish();
