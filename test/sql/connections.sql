-- Connections as psql shows them: results, errors with detail and hint.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tapdata;
SET client_min_messages = notice;
\set VERBOSITY default
SELECT tapdata.create_connection('shop', 'null', '{"rows": 3, "tables": 2, "columns": 3, "keyless": 1}', '{"password": "s3cret"}');
SELECT srvname, srvoptions FROM pg_foreign_server WHERE srvname = 'shop';
SELECT * FROM tapdata.test_connection('shop');
SELECT table_name, primary_key, row_estimate, jsonb_pretty(columns) AS columns FROM tapdata.discover('shop');
SELECT r - 'c2' AS peek FROM tapdata.peek('shop', 't0', 2) AS r;
SELECT name, capabilities FROM tapdata.connectors WHERE name = 'null';
SELECT o ->> 'name' AS name, o ->> 'kind' AS kind, o ->> 'default' AS "default", o ->> 'required' AS required, o ->> 'secret' AS secret
FROM tapdata.connectors, jsonb_array_elements(options) AS o WHERE tapdata.connectors.name = 'null' AND o ->> 'name' IN ('rows', 'password') ORDER BY 1;
-- slips
SELECT tapdata.create_connection('shop', 'null', '{}');
SELECT tapdata.create_connection('other', 'nulll', '{}');
SELECT tapdata.create_connection('other', 'null', '{"row": 3}');
SELECT tapdata.create_connection('other', 'null', '{"rows": "three"}');
SELECT tapdata.create_connection('other', 'null', '{"password": "x"}');
SELECT tapdata.create_connection('other', 'null', '{}', '{"passwort": "x"}');
SELECT tapdata.create_connection('other', 'null', '"rows"');
SELECT tapdata.create_connection(NULL, 'null', '{}');
SELECT tapdata.alter_connection('shopp', '{}');
SELECT * FROM tapdata.discover('shops');
SELECT * FROM tapdata.peek('shop', 't9');
CREATE SERVER other FOREIGN DATA WRAPPER tapdata OPTIONS (connector 'null', row '3');
ALTER SERVER shop OPTIONS (ADD password 'x');
CREATE FOREIGN TABLE t (a int) SERVER shop;
-- changes
SELECT tapdata.alter_connection('shop', '{"rows": 4, "tables": null}');
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'shop';
SELECT tapdata.drop_connection('shop');
SELECT tapdata.drop_connection('shop');
