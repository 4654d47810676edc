-- The functions of td_test.so (psql -v td_test=/path/td_test).  A query of changes returns
-- (tbl integer, op text: i u d t s, old record, new record, absent text[]) in source order.
CREATE SCHEMA td_test;
GRANT USAGE ON SCHEMA td_test TO PUBLIC;
CREATE DOMAIN td_test.uint8 AS numeric(20,0);
CREATE DOMAIN td_test.raw_text AS bytea;
CREATE DOMAIN td_test.raw_json AS bytea;
CREATE DOMAIN td_test.raw_decimal AS bytea;
CREATE DOMAIN td_test.raw_bit AS bytea;
CREATE DOMAIN td_test.raw_array AS bytea;
CREATE DOMAIN td_test.raw_date AS integer;
CREATE DOMAIN td_test.raw_timestamp AS bigint;
CREATE FUNCTION td_test.open(sources regclass[], targets regclass[], policy text DEFAULT 'update_on_exists', catching_up boolean DEFAULT false,
    owner regrole DEFAULT current_user::regrole, memory_kb integer DEFAULT 0) RETURNS void LANGUAGE c AS :'td_test', 'td_test_open';
CREATE FUNCTION td_test.feed(query text, announce boolean DEFAULT true, OUT rows bigint, OUT cpu_ms float8, OUT wall_ms float8)
    LANGUAGE c AS :'td_test', 'td_test_feed';
CREATE FUNCTION td_test.describe(n integer, source regclass) RETURNS void LANGUAGE c AS :'td_test', 'td_test_describe';
CREATE FUNCTION td_test.load(source regclass, target regclass, query text, OUT rows bigint, OUT cpu_ms float8, OUT wall_ms float8)
    LANGUAGE c AS :'td_test', 'td_test_load';
CREATE FUNCTION td_test.create(pipeline integer, n integer, source regclass, owner regrole) RETURNS regclass
    LANGUAGE c AS :'td_test', 'td_test_create';
CREATE FUNCTION td_test.publish(pipeline integer, n integer, source regclass, owner regrole, schema text, name text,
    existing text DEFAULT 'error', writable boolean DEFAULT false) RETURNS regclass LANGUAGE c AS :'td_test', 'td_test_publish';
CREATE FUNCTION td_test.check(target oid, owner regrole DEFAULT current_user::regrole) RETURNS void LANGUAGE c AS :'td_test', 'td_test_check';
CREATE FUNCTION td_test.type(type integer, length integer DEFAULT -1, scale integer DEFAULT -1) RETURNS text
    LANGUAGE c AS :'td_test', 'td_test_type';
CREATE FUNCTION td_test.key_text(source regclass, r record) RETURNS text LANGUAGE c AS :'td_test', 'td_test_key_text';
