-- Making, publishing and checking targets, and what becomes of a target that changes under a running stream.
SET client_min_messages = warning;
BEGIN;
SELECT plan(70);
CREATE ROLE td_owner; CREATE ROLE td_other; CREATE ROLE td_member; GRANT td_owner TO td_member;
CREATE SCHEMA s; CREATE SCHEMA d; GRANT USAGE, CREATE ON SCHEMA d TO td_owner; GRANT USAGE ON SCHEMA s TO PUBLIC;
CREATE FUNCTION pg_temp.caught(sql text, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    state := '00000';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
CREATE TABLE s.t (id int PRIMARY KEY, "Odd ""Name""" varchar(10) NOT NULL, n numeric(10,2));

-- ---- making ----
SELECT is(td_test.create(7, 3, 's.t', 'td_owner')::text, 'tapdata_state.load_7_3', 'a load table has a name of numbers');
SELECT is(pg_get_userbyid(relowner), 'td_owner', 'and belongs to the pipeline''s owner') FROM pg_class WHERE oid = 'tapdata_state.load_7_3'::regclass;
SELECT is(count(*), 0::bigint, 'no index yet') FROM pg_index WHERE indrelid = 'tapdata_state.load_7_3'::regclass;
SELECT is(string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull, ', ' ORDER BY attnum),
    'id integer true, Odd "Name" character varying(10) true, n numeric(10,2) false', 'columns') FROM pg_attribute WHERE attrelid = 'tapdata_state.load_7_3'::regclass AND attnum > 0;
SELECT rows FROM td_test.load('s.t', 'tapdata_state.load_7_3', $$SELECT 1, 'i', NULL::s.t, row(g, 'x', g)::s.t, NULL::text[] FROM generate_series(1, 10) g$$);
SELECT is(td_test.create(7, 3, 's.t', 'td_owner')::text, 'tapdata_state.load_7_3', 'a left-over is replaced');
SELECT is(count(*), 0::bigint, 'by an empty one') FROM tapdata_state.load_7_3;
SELECT rows FROM td_test.load('s.t', 'tapdata_state.load_7_3', $$SELECT 1, 'i', NULL::s.t, row(g, 'x', g)::s.t, NULL::text[] FROM generate_series(1, 10) g$$);

-- ---- publishing ----
SELECT is(td_test.publish(7, 3, 's.t', 'td_owner', 'd', 'My Table')::text, 'd."My Table"', 'published under its name');
SELECT is(count(*), 10::bigint, 'with its rows') FROM d."My Table";
SELECT is(string_agg(conname, ' '), 'My Table_pkey', 'and its key') FROM pg_constraint WHERE conrelid = 'd."My Table"'::regclass AND contype = 'p';
SET LOCAL session_replication_role = origin;
SELECT throws_ok($$INSERT INTO d."My Table" VALUES (11, 'x', 1)$$, '55000', NULL, 'users may not write');
SELECT throws_ok($$TRUNCATE d."My Table"$$, '55000', NULL, 'nor truncate');
SELECT is(count(*), 0::bigint, 'nothing is left in tapdata_state') FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace;
SELECT is(td_test.publish(7, 3, 's.t', 'td_owner', 'd', 'My Table')::oid, 'd."My Table"'::regclass::oid, 'publishing again changes nothing');
SELECT td_test.create(7, 4, 's.t', 'td_owner');
SELECT is(state || message, '42P07' || 'table d."My Table" exists already') , isnt(hint, '') FROM pg_temp.caught($$SELECT td_test.publish(7, 4, 's.t', 'td_owner', 'd', 'My Table')$$);
SELECT is(td_test.publish(7, 4, 's.t', 'td_owner', 'd', 'My Table', 'drop_table')::text, 'd."My Table"', 'unless it may be dropped');
SELECT is(count(*), 0::bigint, 'which it was') FROM d."My Table";
SELECT td_test.create(7, 5, 's.t', 'td_owner');
CREATE TABLE d.mine (id int);
SELECT is(state, '42501', 'not the table of somebody else') FROM pg_temp.caught($$SELECT td_test.publish(7, 5, 's.t', 'td_owner', 'd', 'mine', 'drop_table')$$);
CREATE VIEW d.view AS SELECT 1 AS one;
SELECT is(state, '42809', 'nor a view') FROM pg_temp.caught($$SELECT td_test.publish(7, 5, 's.t', 'td_owner', 'd', 'view', 'drop_table')$$);
SELECT is(state, '42622', 'a name of 64 bytes'), is(detail, 'It has 64 bytes; names have at most 63.') FROM pg_temp.caught(format($$SELECT td_test.publish(7, 5, 's.t', 'td_owner', 'd', %L)$$, repeat('x', 64)));
CREATE SCHEMA closed;
SELECT is(state, '42501', 'a schema without rights'), is(hint, 'GRANT CREATE ON SCHEMA closed TO td_owner;') FROM pg_temp.caught($$SELECT td_test.publish(7, 5, 's.t', 'td_owner', 'closed', 't')$$);
SELECT is(state, '42501', 'a schema that td_owner may not make') FROM pg_temp.caught($$SELECT td_test.publish(7, 5, 's.t', 'td_owner', 'New', 't')$$);
SELECT format('GRANT CREATE ON DATABASE %I TO td_owner', current_database()) \gexec
CREATE TABLE d.t_pkey (x int);
SELECT is(td_test.publish(7, 5, 's.t', 'td_owner', 'New', 't', writable => true)::text, '"New".t', 'the schema is made when it may be');
SELECT is(nspowner::regrole::text, 'td_owner', 'and belongs to the pipeline''s owner') FROM pg_namespace WHERE nspname = 'New';
SELECT lives_ok($$INSERT INTO "New".t VALUES (1, 'x', 1)$$, 'writable means writable');
SELECT td_test.create(7, 6, 's.t', 'td_owner');
SELECT td_test.publish(7, 6, 's.t', 'td_owner', 'd', 't');
SELECT is(string_agg(conname, ' '), 't_pkey1', 'a taken name for the key: the next') FROM pg_constraint WHERE conrelid = 'd.t'::regclass AND contype = 'p';
SELECT is(state, '42P01', 'nothing to publish') FROM pg_temp.caught($$SELECT td_test.publish(7, 99, 's.two', 'td_owner', 'd', 'nothing')$$) WHERE state <> '42P01' OR true;

-- ---- what can't be a target ----
CREATE FUNCTION pg_temp.check(ddl text, rel text, owner text DEFAULT current_user, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    IF ddl <> '' THEN EXECUTE ddl; END IF;
    SELECT * INTO state, message, detail, hint FROM pg_temp.caught(format('SELECT td_test.check(%L::regclass::oid, %s)', rel, owner::regrole::oid));
END $$;
SELECT is(state, '0A000', 'a partitioned table') FROM pg_temp.check('CREATE TABLE d.c1 (id int) PARTITION BY LIST (id)', 'd.c1');
SELECT is(state, '0A000', 'a view') FROM pg_temp.check('', 'd.view');
SELECT is(state, '0A000', 'a sequence') FROM pg_temp.check('CREATE SEQUENCE d.c2', 'd.c2');
SELECT is(state, '0A000', 'a catalog') FROM pg_temp.check('', 'pg_class');
SELECT is(state, '0A000', 'a temporary table') FROM pg_temp.check('CREATE TEMP TABLE c3 (id int)', 'pg_temp.c3');
SELECT is(state, '55000', 'an unlogged table'), is(hint, 'ALTER TABLE d.c4 SET LOGGED;') FROM pg_temp.check('CREATE UNLOGGED TABLE d.c4 (id int)', 'd.c4');
SELECT is(state, '55000', 'a deferrable unique constraint'), matches(message, 'c5_u') FROM pg_temp.check('CREATE TABLE d.c5 (id int PRIMARY KEY, u int CONSTRAINT c5_u UNIQUE DEFERRABLE)', 'd.c5');
SELECT is(state, '55000', 'a deferrable exclusion constraint') FROM pg_temp.check('CREATE TABLE d.c6 (id int, EXCLUDE (id WITH =) DEFERRABLE INITIALLY DEFERRED)', 'd.c6');
SELECT is(state, '00000', 'one that is not deferrable') FROM pg_temp.check('CREATE TABLE d.c7 (id int, EXCLUDE (id WITH =))', 'd.c7');
SELECT is(state, '55000', 'row-level security that binds the owner') FROM pg_temp.check('CREATE TABLE d.c8 (id int); ALTER TABLE d.c8 OWNER TO td_owner; ALTER TABLE d.c8 ENABLE ROW LEVEL SECURITY; ALTER TABLE d.c8 FORCE ROW LEVEL SECURITY', 'd.c8');
SELECT is(state, '00000', 'but not any') FROM pg_temp.check('ALTER TABLE d.c8 NO FORCE ROW LEVEL SECURITY', 'd.c8', 'td_owner');
SELECT is(state, '42501', 'an owner that the pipeline''s may not become'), matches(hint, 'GRANT td_owner TO td_other') FROM pg_temp.check('', 'd.c8', 'td_other');
SELECT is(state, '00000', 'or may') FROM pg_temp.check('', 'd.c8', 'td_member');
SELECT is(state, '42P01', 'a table that is gone'), matches(hint, 'reset_pipeline.*drop_pipeline') FROM pg_temp.caught('SELECT td_test.check(1)');

-- ---- targets that change under the stream ----
CREATE TABLE s.l (id int PRIMARY KEY, v varchar(10), n numeric(10,2));
CREATE TABLE d.l (id int PRIMARY KEY, v varchar(10), n numeric(10,2));
SELECT td_test.open('{s.l}', '{d.l}');
CREATE FUNCTION pg_temp.feed(id int, v text DEFAULT 'v', OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE sql AS $$
    SELECT * FROM pg_temp.caught(format('SELECT td_test.feed(%L)', format('SELECT 1, ''i'', NULL::s.l, row(%s, %L, 1)::s.l, NULL::text[]', id, v))) $$;
SELECT is(state, '00000', 'a row') FROM pg_temp.feed(1);
ALTER TABLE d.l ADD COLUMN mine int DEFAULT 5, ALTER COLUMN v TYPE text;
SELECT is(state, '00000', 'a column is added, one made wider') FROM pg_temp.feed(2);
SELECT is(string_agg(l::text, ' ' ORDER BY id), '(1,v,1.00,5) (2,v,1.00,5)', 'and seen') FROM d.l;
ALTER TABLE d.l ADD CHECK (v <> 'bad');
SELECT is(state, '23514', 'a constraint is added and seen') FROM pg_temp.feed(3, 'bad');
ALTER TABLE d.l RENAME v TO w;
SELECT is(state, '42703', 'a column is missing'), matches(hint, 'ALTER TABLE d.l ADD COLUMN v character varying\(10\)') FROM pg_temp.feed(3);
ALTER TABLE d.l RENAME w TO v;
ALTER TABLE d.l ALTER v TYPE bytea USING v::bytea, DROP CONSTRAINT l_v_check;
SELECT is(state, '42804', 'a column has another type'), matches(hint, 'ALTER TABLE d.l ALTER COLUMN v TYPE character varying\(10\)') FROM pg_temp.feed(3);
ALTER TABLE d.l ALTER v TYPE varchar(20) USING 'v', ALTER n TYPE numeric(10,1);
SELECT is(state, '42804', 'a scale that would round') FROM pg_temp.feed(3);
ALTER TABLE d.l ALTER n TYPE numeric, DROP CONSTRAINT l_pkey;
SELECT is(state, '55000', 'no index on the key'), is(hint, 'ALTER TABLE d.l ADD PRIMARY KEY (id);') FROM pg_temp.feed(3);
CREATE UNIQUE INDEX ON d.l (id) WHERE id < 1000;
CREATE UNIQUE INDEX ON d.l (id, v);
SELECT is(state, '55000', 'none that would do') FROM pg_temp.feed(3);
CREATE UNIQUE INDEX ON d.l (id);
SELECT is(state, '00000', 'one that does') FROM pg_temp.feed(3);
ALTER TABLE d.l DROP v, ADD v int GENERATED ALWAYS AS (id + 1) STORED;
SELECT is(state, '428C9', 'a generated column in place of one of the source') FROM pg_temp.feed(4);
ALTER TABLE d.l DROP v, ADD v text;
SELECT td_test.open('{s.l}', '{d.l}', owner => 'td_owner');
SELECT is(state, '42501', 'the owner is somebody else') FROM pg_temp.feed(4);
ALTER TABLE d.l OWNER TO td_owner;
SELECT is(state, '00000', 'now the same') FROM pg_temp.feed(4);
SELECT td_test.open('{s.l}', '{d.l}', owner => 'td_member');
SELECT is(state, '00000', 'a member') FROM pg_temp.feed(5);
REVOKE td_owner FROM td_member;
SELECT is(state, '42501', 'who is one no more') FROM pg_temp.feed(6);
SELECT td_test.open('{s.l}', '{d.l}');
SELECT is(state, '00000', 'a row') FROM pg_temp.feed(6);
DROP TABLE d.l;
SELECT is(state, '42P01', 'the table is dropped'), matches(hint, 'reset_pipeline.*drop_pipeline') FROM pg_temp.feed(7);
CREATE TABLE d.l (id int PRIMARY KEY, v varchar(10), n numeric(10,2));
SELECT is(state, '42P01', 'another one of its name is not it') FROM pg_temp.feed(7);

-- ---- the source's columns change ----
CREATE TABLE s.m (id int PRIMARY KEY, a int);
CREATE TABLE s.m2 (id int PRIMARY KEY, b int);
CREATE TABLE d.m (id int PRIMARY KEY, a int, b int);
SELECT td_test.open('{s.m}', '{d.m}');
SELECT rows FROM td_test.feed($$SELECT 1, 'i', NULL::s.m, row(g, g)::s.m, NULL::text[] FROM generate_series(1, 20) g$$);
ALTER TABLE s.m RENAME TO old; ALTER TABLE s.m2 RENAME TO m;
SELECT td_test.describe(1, 's.m');
SELECT rows FROM td_test.feed($$SELECT 1, 'u', NULL::s.m, row(g, -g)::s.m, NULL::text[] FROM generate_series(1, 20) g$$);
SELECT is(sum(a) || ' ' || sum(b), '210 -210', 'and other columns are written') FROM d.m;
SELECT * FROM finish();
ROLLBACK;
