-- Connections: as functions and as plain DDL, options and credentials, secrets, rights, hints.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();
DROP ROLE IF EXISTS td_maker, td_other;
CREATE ROLE td_maker;
CREATE ROLE td_other;

-- The error of a statement, with its hint: "sqlstate: message / detail / hint"
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

-- create
SELECT lives_ok($$SELECT tapdata.create_connection('tc_one', 'null', '{"rows": 10, "tables": "2"}', '{"password": "s3cret-one"}')$$, 'create_connection');
SELECT is(srvoptions, '{connector=null,rows=10,tables=2}', 'is a foreign server') FROM pg_foreign_server WHERE srvname = 'tc_one';
SELECT is(umoptions, '{password=s3cret-one}', 'and a user mapping of the caller') FROM pg_user_mappings WHERE srvname = 'tc_one' AND usename = current_user;
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_one', 'null', '{}')$$),
    '42710: connection "tc_one" already exists /  / Pass or_replace => true, or use tapdata.alter_connection().', 'exists');
SELECT lives_ok($$SELECT tapdata.create_connection('tc_one', 'null', '{"rows": 20}', or_replace => true)$$, 'or_replace');
SELECT is(srvoptions, '{connector=null,rows=20}', 'or_replace leaves nothing of the old options') FROM pg_foreign_server WHERE srvname = 'tc_one';
SELECT is_empty($$SELECT FROM pg_user_mappings WHERE srvname = 'tc_one'$$, 'nor of the old credentials');

-- alter
SELECT lives_ok($$SELECT tapdata.alter_connection('tc_one', '{"tables": 3}', '{"password": "s3cret-two"}')$$, 'alter_connection adds');
SELECT is(srvoptions, '{connector=null,rows=20,tables=3}', 'merged') FROM pg_foreign_server WHERE srvname = 'tc_one';
SELECT lives_ok($$SELECT tapdata.alter_connection('tc_one', '{"tables": 4, "rows": null}')$$, 'alter_connection changes and removes');
SELECT is(srvoptions, '{connector=null,tables=4}', 'changed, removed') FROM pg_foreign_server WHERE srvname = 'tc_one';
SELECT is(umoptions, '{password=s3cret-two}', 'credentials stay') FROM pg_user_mappings WHERE srvname = 'tc_one';
SELECT lives_ok($$SELECT tapdata.alter_connection('tc_one', credentials => '{"password": null}')$$, 'null removes a credential');
SELECT is_empty($$SELECT FROM pg_user_mappings WHERE srvname = 'tc_one'$$, 'an empty mapping is dropped');
SELECT is(pg_temp.failure($$SELECT tapdata.alter_connection('tc_won', '{}')$$),
    '42704: connection "tc_won" does not exist /  / Perhaps you meant "tc_one".', 'unknown connection, closest name');

-- options
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{"rowz": 1}')$$),
    '22023: connector "null" has no option "rowz" /  / Perhaps you meant "rows".', 'misspelt option');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{"rows": "many"}')$$),
    '22023: invalid value for option "rows" / The value is "many". / It must be a whole number, 0..1000000000000.', 'value of the wrong kind');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{"columns": 0}')$$),
    '22023: invalid value for option "columns" / The value is "0". / It must be a whole number, 1..1000.', 'value out of bounds');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{"rows": [1]}')$$),
    '22023: option "rows" must be a text, a number or true or false /  / Lists and objects are not option values.', 'a list');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '[]')$$),
    '22023: options must be a JSON object /  / Write it as ''{"option": "value"}''.', 'not an object');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'nul', '{}')$$),
    '42704: connector "nul" does not exist /  / Perhaps you meant the connector "null".', 'misspelt connector');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{"connector": "null"}')$$),
    '22023: "connector" is an argument, not an option /  / Leave it out of the options.', 'connector as an option');
SELECT throws_ok($$SELECT tapdata.create_connection(repeat('x', 64), 'null', '{}')$$, '42622', NULL, 'a name of 64 bytes');
SELECT lives_ok($$SELECT tapdata.create_connection(repeat('x', 63), 'null', '{}'), tapdata.drop_connection(repeat('x', 63))$$, 'a name of 63 bytes');
SELECT throws_ok($$SELECT tapdata.create_connection('', 'null', '{}')$$, '42602', NULL, 'no name');
SELECT throws_ok($$SELECT tapdata.create_connection(NULL, 'null', '{}')$$, '22004', 'argument "name" must not be null', 'null name');

-- secrets
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{"password": "s3cret-x"}')$$),
    '22023: option "password" is a credential / The options of a server can be read by every user of the database. / '
    'Put it into the credentials (CREATE USER MAPPING).', 'a secret among the options');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{}', '{"rows": "s3cret-x"}')$$),
    '22023: option "rows" is not a credential /  / Put it into the options of the connection (CREATE SERVER).', 'an option among the credentials');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_x', 'null', '{}', '{"pasword": "s3cret-x"}')$$),
    '22023: connector "null" has no credential "pasword" /  / Perhaps you meant "password".', 'misspelt credential; its value is not told');
SELECT ok(pg_temp.failure(format('SELECT tapdata.create_connection(%L, %L, %L)', 'tc_x', 'mysql', json_build_object('host', h))) LIKE '22023: the value of option "host" holds a password%',
    'a password inside an option: ' || h)
FROM unnest('{mysql://root:s3cret-x@db/shop,host=db password=s3cret-x,http://db/?user=a&PASSWORD=s3cret-x}'::text[]) h;
SELECT ok(pg_temp.failure(format('SELECT tapdata.create_connection(%L, %L, %L)', 'tc_x', 'mysql', json_build_object('host', h))) NOT LIKE '%s3cret%',
    'which is not repeated: ' || h)
FROM unnest('{mysql://root:s3cret-x@db/shop,host=db password=s3cret-x,http://db/?user=a&PASSWORD=s3cret-x}'::text[]) h;
SELECT lives_ok($$SELECT tapdata.create_connection('tc_url', 'mysql', '{"host": "mysql://root@db/shop"}', '{"user": "root"}'), tapdata.drop_connection('tc_url')$$,
    'a url without a password is an option');

-- plain DDL does the same
SELECT lives_ok($$CREATE SERVER tc_two FOREIGN DATA WRAPPER tapdata OPTIONS (connector 'null', rows '5')$$, 'CREATE SERVER');
SELECT lives_ok($$CREATE USER MAPPING FOR CURRENT_USER SERVER tc_two OPTIONS (password 's3cret-three')$$, 'CREATE USER MAPPING');
SELECT is(count(*), 5::bigint, 'works') FROM tapdata.peek('tc_two', 't0', 10);
SELECT is(pg_temp.failure($$CREATE SERVER tc_x FOREIGN DATA WRAPPER tapdata$$),
    '22023: option "connector" is missing /  / Name one of: ' || (SELECT string_agg(name, ', ') FROM tapdata.connectors) || '.', 'no connector');
SELECT throws_ok($$CREATE SERVER tc_x FOREIGN DATA WRAPPER tapdata OPTIONS (connector 'null', rowz '5')$$, '22023', NULL, 'unknown option');
SELECT throws_ok($$ALTER SERVER tc_two OPTIONS (ADD password 's3cret-x')$$, '22023', NULL, 'secret in a server');
SELECT throws_ok($$ALTER SERVER tc_two OPTIONS (DROP connector)$$, '22023', NULL, 'the connector can''t be removed');
SELECT throws_ok($$ALTER USER MAPPING FOR CURRENT_USER SERVER tc_two OPTIONS (ADD rows '7')$$, '22023', NULL, 'option in a mapping');
SELECT throws_ok($$ALTER FOREIGN DATA WRAPPER tapdata OPTIONS (ADD x 'y')$$, '22023', NULL, 'the wrapper has no options');
SELECT is(pg_temp.failure($$CREATE USER MAPPING FOR PUBLIC SERVER tc_two OPTIONS (user 'x')$$), 'no error', 'a credential of another connector can''t be told apart here');
SELECT lives_ok($$DROP USER MAPPING FOR CURRENT_USER SERVER tc_two$$);
SELECT is(pg_temp.failure($$SELECT count(*) FROM tapdata.peek('tc_two', 't0')$$),
    '22023: connector "null" has no credential "user" /  / Remove it: SELECT tapdata.alter_connection(''tc_two'', credentials => ''{"user": null}'').',
    'but where it is used');
DROP USER MAPPING FOR PUBLIC SERVER tc_two;

-- looking at a source
SELECT is(string_agg(item || ' ' || ok, ', '), 'connect true, source true, log true', 'test_connection') FROM tapdata.test_connection('tc_two');
SELECT results_eq($$SELECT table_name, primary_key, row_estimate FROM tapdata.discover('tc_two')$$, $$VALUES ('t0', ARRAY['id'], 5::bigint)$$, 'discover');
SELECT is((SELECT columns -> 0 FROM tapdata.discover('tc_two')), '{"name": "id", "type": "bigint", "not_null": true}'::jsonb, 'discover: columns');
SELECT is_empty($$SELECT FROM tapdata.discover('tc_two', 'x*')$$, 'discover: pattern');
SELECT is((SELECT array_agg(r -> 'id') FROM tapdata.peek('tc_two', 't0', 3) r), '{1,2,3}'::jsonb[], 'peek');
SELECT is((SELECT count(*) FROM tapdata.peek('tc_two', 't0')), 5::bigint, 'peek: 5 rows by default');
SELECT is_empty($$SELECT FROM tapdata.peek('tc_two', 't0', 0)$$, 'peek: no rows');
SELECT throws_ok($$SELECT FROM tapdata.peek('tc_two', 't0', -1)$$, '22023', NULL, 'peek: less than no rows');
SELECT throws_ok($$SELECT FROM tapdata.peek('tc_two', 'nothing')$$, '42P01', NULL, 'peek: no such table');
SELECT is(pg_temp.failure($$SELECT FROM tapdata.peek('tc_two', 't00')$$), '42P01: table "t00" does not exist /  / Perhaps you meant "t0".', 'peek: a misspelt table');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_m', 'mariadb', '{}')$$), '42704: connector "mariadb" does not exist /  / The connector "mysql" reads MariaDB.', 'mariadb is read by mysql')
WHERE EXISTS (SELECT FROM tapdata.connectors WHERE name = 'mysql');
SELECT is((SELECT options @> '[{"name": "password", "secret": true, "credential": true}]' FROM tapdata.connectors WHERE name = 'null'), true, 'connectors');

-- unreachable: test_connection says so in a row, discover raises
SELECT tapdata.create_connection('tc_dead', 'mysql', '{"host": "127.0.0.1", "port": 1, "connect_timeout": 2}', '{"user": "x", "password": "s3cret-x"}');
SELECT results_eq($$SELECT item, ok FROM tapdata.test_connection('tc_dead')$$, $$VALUES ('connect', false)$$, 'test_connection of an unreachable source is a row');
SELECT throws_like($$SELECT tapdata.discover('tc_dead')$$, '%127.0.0.1%', 'discover raises');
SELECT ok(NOT EXISTS (SELECT FROM tapdata.test_connection('tc_dead') t WHERE t::text LIKE '%s3cret%'), 'without the password');
SELECT tapdata.drop_connection('tc_dead');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_dead', 'mysql', '{}', '{"password": "x"}'), tapdata.test_connection('tc_dead')$$),
    '22023: connector "mysql" needs the credential "user" /  / SELECT options FROM tapdata.connectors WHERE name = ''mysql'' lists them all.', 'missing credential');
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_dead', 'mysql', '{}'), tapdata.test_connection('tc_dead')$$),
    format('28000: role "%s" has no credentials for connection "tc_dead" /  / Give its own: SELECT tapdata.alter_connection(''tc_dead'', credentials => ''{"user": "..."}'').', current_user), 'no credentials at all');

-- rights
SET ROLE td_maker;
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_mine', 'null', '{}')$$),
    '42501: permission denied to create connections /  / A superuser can allow it: GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO td_maker.', 'no right to create');
SELECT is(pg_temp.failure($$SELECT * FROM tapdata.discover('tc_two')$$),
    '42501: permission denied for connection "tc_two" /  / Its owner or a superuser can allow it: GRANT USAGE ON FOREIGN SERVER tc_two TO td_maker.', 'no right to use');
SELECT throws_ok($$SELECT tapdata.alter_connection('tc_two', '{"rows": 6}')$$, '42501', NULL, 'no right to alter');
SELECT throws_ok($$SELECT tapdata.alter_connection('tc_two', credentials => '{"password": "x"}')$$, '42501', NULL, 'no right to put credentials');
SELECT throws_ok($$SELECT tapdata.drop_connection('tc_two')$$, '42501', 'must be owner of connection "tc_two"', 'no right to drop');
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO td_maker;
SET ROLE td_maker;
SELECT lives_ok($$SELECT tapdata.create_connection('tc_mine', 'null', '{"rows": 7}', '{"password": "s3cret-mine"}')$$, 'with the right');
SELECT is(srvowner::regrole::text, 'td_maker', 'the creator owns it') FROM pg_foreign_server WHERE srvname = 'tc_mine';
GRANT USAGE ON FOREIGN SERVER tc_mine TO td_other;
SELECT is(pg_temp.failure($$SELECT tapdata.create_connection('tc_key', 'mysql', '{"ssl_key": "/etc/shadow"}', '{"user": "x"}')$$),
    '42501: must be superuser to set option "ssl_key" / It names a file on the server''s machine. / Ask a superuser to set it.', 'files are for superusers');
SET ROLE td_other;
SELECT is(count(*), 7::bigint, 'another may use it') FROM tapdata.peek('tc_mine', 't0', 10);
SELECT is(umoptions, NULL, 'but not read the credentials') FROM pg_user_mappings WHERE srvname = 'tc_mine';
SELECT lives_ok($$SELECT tapdata.alter_connection('tc_mine', credentials => '{"password": "s3cret-other"}')$$, 'and has credentials of his own');
SELECT is((SELECT count(*) FROM pg_user_mappings WHERE srvname = 'tc_mine'), 2::bigint, 'beside those of the owner');
SELECT throws_ok($$SELECT tapdata.alter_connection('tc_mine', '{"rows": 8}')$$, '42501', NULL, 'only the owner changes options');
RESET ROLE;

-- drop
SELECT throws_ok($$SELECT tapdata.drop_connection('tc_none')$$, '42704', NULL, 'drop: unknown');
SET ROLE td_maker;
SELECT lives_ok($$SELECT tapdata.drop_connection('tc_mine')$$, 'drop: with everybody''s credentials');
RESET ROLE;
SELECT is_empty($$SELECT FROM pg_foreign_server WHERE srvname = 'tc_mine'$$, 'dropped');
CREATE FOREIGN DATA WRAPPER tc_wrapper;
CREATE SERVER tc_alien FOREIGN DATA WRAPPER tc_wrapper;
SELECT throws_ok($$SELECT tapdata.drop_connection('tc_alien')$$, '42704', NULL, 'another wrapper''s server is no connection');
SELECT throws_ok($$SELECT tapdata.create_connection('tc_alien', 'null', '{}', or_replace => true)$$, '42710', NULL, 'and is not replaced');
DROP FOREIGN DATA WRAPPER tc_wrapper CASCADE;
SELECT is(pg_temp.failure($$CREATE FOREIGN TABLE tc_ft (a int) SERVER tc_two$$),
    '0A000: connections of tapdata have no foreign tables /  / Keep a live copy of the table with SELECT tapdata.mirror(connection, tables).', 'no foreign tables');

-- what is done is done in the transaction
BEGIN;
SELECT tapdata.create_connection('tc_gone', 'null', '{}');
ROLLBACK;
SELECT throws_ok($$SELECT tapdata.test_connection('tc_gone')$$, '42704', NULL, 'a rolled-back connection is not there');

-- pipelines follow a server that is renamed or dropped by plain DDL
CREATE SERVER tc_old FOREIGN DATA WRAPPER tapdata OPTIONS (connector 'null', rows '5');
CREATE FOREIGN DATA WRAPPER tc_wrapper;
CREATE SERVER tc_alien FOREIGN DATA WRAPPER tc_wrapper;
SELECT tapdata.mirror('tc_old', name => 'tc_p', into_schema => 'tc_schema');
SELECT ok(tapdata.wait_pipeline('tc_p', '20 s') IS NOT NULL, 'a pipeline runs');
BEGIN;
ALTER SERVER tc_old RENAME TO tc_undone;
SELECT is(connection, 'tc_undone', 'renamed in the transaction') FROM tapdata.pipelines WHERE name = 'tc_p';
ROLLBACK;
SELECT is(connection, 'tc_old', 'and not when it is rolled back') FROM tapdata.pipelines WHERE name = 'tc_p';
ALTER SERVER tc_old RENAME TO tc_new;
ALTER SERVER tc_alien RENAME TO tc_old;
ALTER SERVER tc_old RENAME TO tc_alien;
SELECT is(connection, 'tc_new', 'ALTER SERVER RENAME takes its pipelines along') FROM tapdata.pipelines WHERE name = 'tc_p';
SELECT tapdata.stop_pipeline('tc_p');
SELECT tapdata.start_pipeline('tc_p');
SELECT ok(tapdata.wait_pipeline('tc_p', '20 s') IS NOT NULL, 'which start again');
DROP SERVER tc_alien;
SELECT is(status, 'streaming', 'the server of another wrapper concerns no pipeline') FROM tapdata.pipelines WHERE name = 'tc_p';
DROP SERVER tc_new CASCADE;
DO $$BEGIN
    FOR i IN 1 .. 200 LOOP
        EXIT WHEN EXISTS (SELECT FROM tapdata.pipelines WHERE name = 'tc_p' AND status = 'failed');
        PERFORM pg_sleep(0.1);
    END LOOP;
END$$;
SELECT is(status || ' ' || sqlstate || ': ' || error, 'failed 42704: connection "tc_new" does not exist', 'DROP SERVER makes its pipelines fail')
FROM tapdata.pipelines WHERE name = 'tc_p';
SELECT tapdata.drop_pipeline('tc_p');
DROP SCHEMA tc_schema CASCADE;
DROP FOREIGN DATA WRAPPER tc_wrapper;

SELECT tapdata.drop_connection('tc_one'), tapdata.drop_connection('tc_two');
REVOKE USAGE ON FOREIGN DATA WRAPPER tapdata FROM td_maker;
DROP ROLE td_maker, td_other;
SELECT * FROM finish();
