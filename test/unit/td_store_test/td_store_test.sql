-- The functions of td_store_test.so (psql -v td_store_test=/path/td_store_test).  A query of changes returns the target's columns, then a weight (bigint).
CREATE SCHEMA ts;
-- nets the query and applies it; keys are columns of the target
CREATE FUNCTION ts.apply(target regclass, keys smallint[], query text, memory_kb integer DEFAULT 8192, OUT netted bigint, OUT net_ms float8, OUT apply_ms float8)
    LANGUAGE c AS :'td_store_test', 'ts_apply';
-- how many rows are left of the query; again: the normalized tuples are netted a second time
CREATE FUNCTION ts.net(query text, memory_kb integer DEFAULT 8192, again boolean DEFAULT false, OUT netted bigint, OUT net_ms float8, OUT again_ms float8)
    LANGUAGE c AS :'td_store_test', 'ts_net';
-- fills the target from a query, which may be run in parallel
CREATE FUNCTION ts.load(target regclass, query text, OUT rows bigint, OUT ms float8) LANGUAGE c AS :'td_store_test', 'ts_load';
-- the row with the key that the query returns, as text
CREATE FUNCTION ts.find(target regclass, keys smallint[], query text) RETURNS text LANGUAGE c AS :'td_store_test', 'ts_find';
CREATE FUNCTION ts.columns(target regclass) RETURNS text LANGUAGE c AS :'td_store_test', 'ts_columns';
CREATE FUNCTION ts.seen_now() RETURNS text LANGUAGE c AS :'td_store_test', 'ts_seen_now';
CREATE FUNCTION ts.seen_of(xmin bigint, xmax bigint, xip bigint[]) RETURNS text LANGUAGE c AS :'td_store_test', 'ts_seen_of';
CREATE FUNCTION ts.seen_text(seen text) RETURNS text LANGUAGE c AS :'td_store_test', 'ts_seen_text';
CREATE FUNCTION ts.sees(seen text, xid numeric) RETURNS boolean LANGUAGE c AS :'td_store_test', 'ts_sees';
-- deltas of three relations, one of them unknown, read twice through an ephemeral named relation
CREATE FUNCTION ts.deltas(query text, OUT first bigint, OUT second bigint, OUT unknown boolean) LANGUAGE c AS :'td_store_test', 'ts_deltas';
