-- Live views as a session sees them: names, options, rights, replica identities, DDL, waiting, checking; every error with its hint.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();
DROP ROLE IF EXISTS tv_anna, tv_bob, tv_watch;
CREATE ROLE tv_anna LOGIN;
CREATE ROLE tv_bob LOGIN;
CREATE ROLE tv_watch LOGIN;
GRANT pg_monitor TO tv_watch;
CREATE SCHEMA s AUTHORIZATION tv_anna;
CREATE SCHEMA b AUTHORIZATION tv_bob;
GRANT USAGE ON SCHEMA s TO tv_bob;

-- sqlstate: message / detail / hint of an error, 'none' without one
CREATE FUNCTION public.failure(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text; st text;
BEGIN
    EXECUTE query;
    RETURN 'none';
EXCEPTION WHEN query_canceled OR OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, st = RETURNED_SQLSTATE;
    RETURN st || ': ' || m || ' / ' || d || ' / ' || h;
END $$;

SET ROLE tv_anna;
SET search_path = s, public;
CREATE TABLE shop (id integer PRIMARY KEY, city text NOT NULL, note json);
CREATE TABLE sale (id integer PRIMARY KEY, shop integer NOT NULL, amount numeric);
CREATE TABLE part (id integer, k text) PARTITION BY LIST (k);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b');
INSERT INTO shop SELECT i, CASE i % 2 WHEN 0 THEN 'Bern' ELSE 'Basel' END, '{"a": 1}' FROM generate_series(1, 10) i;
INSERT INTO sale SELECT i, i % 10 + 1, i FROM generate_series(1, 100) i;

-- ---- making one ----
SELECT is(tapdata.create_view('totals', 'SELECT shop, count(*) AS n, sum(amount) AS total FROM sale GROUP BY shop')::text, 'totals', 'create_view returns the view');
SELECT ok(tapdata.wait_view('totals') BETWEEN now() - interval '1 minute' AND clock_timestamp(), 'wait_view returns a time');
SELECT results_eq('SELECT n, total FROM totals WHERE shop = 1', $$VALUES (10::bigint, 550::numeric)$$, 'it is filled');
SELECT columns_are('s', 'totals', '{shop,n,total}', 'exactly the columns of the query');
SELECT col_is_pk('s', 'totals', 'shop', 'a key that can''t be null is the primary key');
SELECT results_eq($$SELECT view::text, twin::text, owner::text COLLATE "C", group_name, status, exact, snapshot IS NOT NULL, freshness < '1 min', strategy, sqlstate, error, hint, options FROM tapdata.views$$,
    $$VALUES ('totals', 'tapdata_views.totals', 'tv_anna' COLLATE "C", 'default', 'streaming', true, true, true, 'counters', NULL::text, NULL::text, NULL::text, '{}'::jsonb)$$, 'tapdata.views');
SELECT is((SELECT array_length(state_tables, 1) FROM tapdata.views), 1, 'one state table');
SELECT is(pg_get_userbyid(relowner), 'tv_anna', 'the twin is the owner''s') FROM pg_class WHERE oid = 'tapdata_views.totals'::regclass;
SELECT results_eq('SELECT * FROM tapdata_views.totals ORDER BY shop', 'SELECT * FROM totals ORDER BY shop', 'the twin says the same');
INSERT INTO sale VALUES (101, 1, 50);
SELECT isnt(tapdata.wait_view('totals'), NULL, 'a change');
SELECT is(total, 600::numeric, 'is in the view') FROM totals WHERE shop = 1;
SELECT is_empty($$SELECT * FROM tapdata.check_view('totals')$$, 'check_view: exact');

SELECT lives_ok($$SELECT tapdata.create_view('"The Cities"', 'SELECT city, note, amount FROM shop JOIN sale ON sale.shop = shop.id',
    '{"fillfactor": 80, "timeout": "1 min", "max_lag": "20 ms"}')$$, 'a quoted name, options');
SELECT has_index('s', 'The Cities', 'The Cities_row_hash_idx', 'no key: an index on the hash of the row');
SELECT is(options, '{"fillfactor": 80, "timeout": "1 min", "max_lag": "20 ms"}', 'options as given') FROM tapdata.views WHERE view = '"The Cities"'::regclass;
SELECT lives_ok($$SELECT tapdata.create_view('s.counts', 'SELECT k, count(*) FROM part GROUP BY k')$$, 'over partitions');
SELECT is((SELECT indnullsnotdistinct AND NOT indisprimary FROM pg_index WHERE indrelid = 'counts'::regclass AND indisunique), true, 'a key that can be null: unique, nulls equal');
SELECT lives_ok($$SELECT tapdata.create_view('by_total', 'SELECT n, count(*) AS shops FROM totals GROUP BY n')$$, 'over another view');
SELECT ok(pg_get_viewdef('tapdata_views.by_total'::regclass) LIKE '%tapdata_views.totals%', 'its twin reads the other twin');
SELECT isnt(tapdata.wait_view('"The Cities"'), NULL, 'wait for "The Cities"');
SELECT isnt(tapdata.wait_view('counts'), NULL, 'for counts');
SELECT isnt(tapdata.wait_view('by_total'), NULL, 'for by_total');
SELECT is_empty($$SELECT * FROM tapdata.check_view('"The Cities"')$$, '"The Cities" is exact');
SELECT is_empty($$SELECT * FROM tapdata.check_view('counts')$$, 'counts');
SELECT is_empty($$SELECT * FROM tapdata.check_view('by_total')$$, 'by_total');

-- in a transaction that is rolled back nothing stays
BEGIN;
SELECT isnt(tapdata.create_view('gone', 'SELECT id FROM shop'), NULL, 'within a transaction');
ROLLBACK;
SELECT hasnt_table('s', 'gone', 'rolled back');
SELECT is_empty($$SELECT FROM tapdata.views WHERE view::text LIKE '%gone%'$$, 'no row');
SELECT hasnt_view('tapdata_views', 'gone', 'no twin');

-- names that need quotes everywhere
RESET ROLE;
CREATE SCHEMA "o""d D" AUTHORIZATION tv_anna;
SET ROLE tv_anna;
CREATE TABLE "o""d D"."t.t" ("i""d" integer PRIMARY KEY, p point);
SELECT is(tapdata.create_view('"o""d D"."v""w"', 'SELECT p, "i""d" AS "select" FROM "o""d D"."t.t"')::text, '"o""d D"."v""w"', 'odd names');
SELECT isnt(tapdata.wait_view('"o""d D"."v""w"'), NULL, 'are filled');
INSERT INTO "o""d D"."t.t" VALUES (1, '(1,2)');
SELECT isnt(tapdata.wait_view('"o""d D"."v""w"'), NULL, 'and kept');
SELECT is_empty($$SELECT * FROM tapdata.check_view('"o""d D"."v""w"')$$, 'exactly');
SELECT alike(public.failure($$DELETE FROM "o""d D"."v""w"$$), '55000: table "o""d D"."v""w" is a live view /%', 'in messages too');
SELECT lives_ok($$DROP SCHEMA "o""d D" CASCADE$$, 'and dropped');

-- the twin's name is taken: schema.name
SELECT lives_ok($$SELECT tapdata.create_view('names', 'SELECT id FROM shop')$$, 'names in s');
SET search_path = public;
RESET ROLE;
GRANT CREATE ON SCHEMA public TO tv_anna;
SET ROLE tv_anna;
SELECT lives_ok($$SELECT tapdata.create_view('names', 'SELECT id FROM s.shop')$$, 'names in public');
SELECT is(twin::text, 'tapdata_views."public.names"', 'another twin') FROM tapdata.views WHERE view = 'public.names'::regclass;
SELECT lives_ok($$SELECT tapdata.drop_view(v) FROM unnest('{public.names,s.names}'::regclass[]) v$$, 'drop both');
SET search_path = s, public;

-- ---- what is wrong with a call ----
SELECT is(public.failure(q), f, q)
FROM (VALUES
    ($$SELECT tapdata.create_view('totals', 'SELECT id FROM shop')$$,
        '42P07: live view s.totals exists already /  / Pass or_replace => true, choose another name, or drop it: SELECT tapdata.drop_view(''s.totals'').'),
    ($$SELECT tapdata.create_view('shop', 'SELECT id FROM shop')$$, '42P07: relation s.shop exists already /  / Choose another name for the view.'),
    ($$SELECT tapdata.create_view('shop', 'SELECT id FROM shop', or_replace => true)$$, '42P07: relation s.shop exists already /  / Choose another name for the view.'),
    ($$SELECT tapdata.create_view('totals', 'SELECT id FROM shop', or_replace => true)$$,
        '42P16: the new query of live view s.totals does not have its column "shop" / Column 1 must be "shop" of type integer, as it is now; new columns come last. / '
        'Drop the view and create it anew: SELECT tapdata.drop_view(''s.totals'').'),
    ($$SELECT tapdata.create_view('totals', 'SELECT shop, total FROM totals', or_replace => true)$$,
        '42P16: the new query of live view s.totals does not have its column "n" / Column 2 must be "n" of type bigint, as it is now; new columns come last. / '
        'Drop the view and create it anew: SELECT tapdata.drop_view(''s.totals'').'),
    ($$SELECT tapdata.create_view('totals', 'SELECT shop, n, total FROM totals', or_replace => true)$$,
        '42P16: live view s.totals can''t be made of itself / The new query reads it. / Name, in place of s.totals, what it reads itself: SELECT pg_get_viewdef(''tapdata_views.totals'') shows its query.'),
    ($$SELECT tapdata.create_view('totals', 'SELECT shop, n, total FROM totals', '{"tablespace": "pg_default"}', or_replace => true)$$,
        '22023: option "tablespace" of a live view can''t be changed by replacing it /  / Leave the option out, or drop the view and create it with that option.'),
    ($$SELECT tapdata.create_view('v', 'SELECT id FROM nosuch')$$, '42P01: relation "nosuch" does not exist /  / '),
    ($$SELECT tapdata.create_view('v', 'SELECT $1')$$, '42P02: there is no parameter $1 /  / '),
    ($$SELECT tapdata.create_view('v', '')$$, '42601: the query is empty /  / A live view is made of one SELECT.'),
    ($$SELECT tapdata.create_view('v', 'SELECT id FROM shop; SELECT id FROM shop')$$, '42601: there is more than one statement in the query /  / A live view is made of one SELECT.'),
    ($$SELECT tapdata.create_view('v', 'DELETE FROM shop')$$, '0A000: only a SELECT can be kept as a live view /  / Give the query alone: SELECT ... FROM ...'),
    ($$SELECT tapdata.create_view('v', 'SELECT id INTO x FROM shop')$$, '0A000: SELECT INTO can''t be kept as a live view /  / Give the query alone: SELECT ... FROM ...'),
    ($$SELECT tapdata.create_view('v', 'SELECT id FROM shop', '{"writeable": true}')$$, '22023: a live view has no option "writeable" /  / Perhaps you meant "writable".'),
    ($$SELECT tapdata.create_view('v', 'SELECT id FROM shop', '{"colour": 1}')$$,
        '22023: a live view has no option "colour" /  / There are: allow_full, changes, changes_kept, fill_timeout, fillfactor, group, max_lag, old_images, tablespace, timeout, unlogged, writable.'),
    ($$SELECT tapdata.create_view('v', 'SELECT id FROM shop', '{"writable": "perhaps"}')$$, '22023: invalid value for option "writable": "perhaps" /  / It must be true or false.'),
    ($$SELECT tapdata.create_view('v', 'SELECT id FROM shop', '{"fillfactor": 5}')$$, '22023: invalid value for option "fillfactor": "5" /  / It must be a number from 10 to 100.'),
    ($$SELECT tapdata.create_view('v', 'SELECT id FROM shop', '{"timeout": "soon"}')$$,
        '22023: invalid value for option "timeout": "soon" /  / It must be a time from 0 to 24 hours, such as "10 ms" or "5 min".'),
    ($$SELECT tapdata.create_view('a view', 'SELECT id FROM shop')$$,
        '42602: invalid name for a view: "a view" /  / Write it as in SQL: ''name'' or ''schema.name'', with double quotes around parts that need them.'),
    ($$SELECT tapdata.create_view('pg_temp.v', 'SELECT id FROM shop')$$, '0A000: a live view can''t be temporary /  / Give it a schema that stays: ''public.v''.'),
    ($$SELECT tapdata.create_view('nosuch.v', 'SELECT id FROM shop')$$, '3F000: schema "nosuch" does not exist /  / Create the schema first, or name one that is there: ''public.name''.'),
    ($$SELECT tapdata.create_view(repeat('x', 64), 'SELECT id FROM shop')$$,
        '42622: the name of the view is too long / "' || repeat('x', 64) || '" has 64 bytes, 63 are allowed. / Choose a shorter name.'),
    ($$SELECT tapdata.create_view('v', 'SELECT id, id FROM shop')$$, '0A000: views do not support two columns named id / The columns of a table have names of their own. / Give each a name: SELECT ... AS name.'),
    ($$SELECT tapdata.create_view(NULL, 'SELECT id FROM shop')$$, '22004: argument "name" must not be null /  / It has no default: give it a value.'),
    ($$SELECT tapdata.create_view('tapdata_parts.v', 'SELECT id FROM shop')$$, '42939: schema "tapdata_parts" is not for live views /  / Name another one: ''public.v''.'),
    ($$SELECT tapdata.create_view('information_schema.v', 'SELECT id FROM shop')$$, '42939: schema "information_schema" is not for live views /  / Name another one: ''public.v''.'),
    ($$SELECT tapdata.alter_view('totals', '{"unlogged": true}')$$,
        '22023: option "unlogged" of a live view can''t be changed /  / Drop the view and create it with that option.'),
    ($$SELECT tapdata.drop_view('shop')$$, '42704: "shop" is not a live view /  / SELECT view FROM tapdata.views lists yours; tapdata.create_view() makes one.'),
    ($$SELECT tapdata.drop_view('totals')$$,
        '2BP01: view s.totals can''t be dropped because other live views read it / Live views that read it: s.by_total. / Drop them first: SELECT tapdata.drop_view(''s.by_total'').'),
    ($$SELECT * FROM tapdata.check_view('totals', -1)$$, '22023: max_rows must not be negative /  / NULL returns all rows.')
) AS v(q, f);
SELECT alike(public.failure($$SELECT tapdata.create_view('v', 'SELECT now()::text AS t FROM shop')$$), '0A000: %', 'a refused query is 0A000');
SELECT alike(public.failure($$SELECT * FROM tapdata.explain_query('SELECT id, random() FROM shop')$$), '0A000: %random%', 'also in explain_query');
CREATE TEMPORARY TABLE scratch (a integer);
SELECT alike(public.failure($$SELECT tapdata.create_view('v', 'SELECT a FROM scratch')$$), '0A000: %temporary%', 'a temporary table');
CREATE TEMPORARY VIEW passing AS SELECT id FROM shop;
CREATE FUNCTION pg_temp.double(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE TYPE pg_temp.pair AS (a integer, b integer);
SELECT is(public.failure($$SELECT tapdata.create_view('v', 'SELECT id FROM passing')$$), '0A000: views do not support temporary view passing / It ends with the session that made it. / Make it in another schema.', 'a temporary view');
SELECT alike(public.failure($$SELECT tapdata.create_view('v', 'SELECT id, pg_temp.double(id) AS d FROM shop')$$), '0A000: views do not support temporary function double%', 'a temporary function');
SELECT alike(public.failure($$SELECT tapdata.create_view('v', 'SELECT id, ROW(id, id)::pg_temp.pair AS p FROM shop')$$), '0A000: views do not support temporary type %', 'a temporary type');
DROP VIEW passing; DROP FUNCTION pg_temp.double(integer); DROP TYPE pg_temp.pair;
SELECT isnt_empty($$SELECT * FROM tapdata.explain_query('SELECT city, count(*) FROM shop GROUP BY city')$$, 'explain_query');
SELECT is((SELECT strategy FROM tapdata.explain_view('totals') LIMIT 1), 'counters', 'explain_view');
SELECT hasnt_table('s', 'v', 'nothing was made');

-- ---- writes ----
SELECT is(public.failure(q), '55000: table s.totals is a live view / It is kept equal to its query. / Change the rows that it is made of; or allow writes here: '
    'SELECT tapdata.alter_view(''s.totals'', ''{"writable": true}'').', q)
FROM unnest('{INSERT INTO totals VALUES (99),DELETE FROM totals,UPDATE totals SET n = 0,TRUNCATE totals}'::text[]) q;
SELECT lives_ok($$SELECT tapdata.alter_view('counts', '{"writable": true}')$$, 'writable');
SELECT lives_ok($$INSERT INTO counts VALUES ('mine', 1), (NULL, 7)$$, 'writes are allowed');
SELECT results_eq($$SELECT diff, copies, "row" FROM tapdata.check_view('counts') ORDER BY 3$$,
    $$VALUES ('extra', 1::bigint, '{"k": null, "count": 7}'::jsonb), ('extra', 1, '{"k": "mine", "count": 1}')$$, 'check_view finds them');
SELECT is((SELECT count(*) FROM tapdata.check_view('counts', 1)), 1::bigint, 'at most max_rows');
SELECT is((SELECT count(*) FROM tapdata.check_view('counts', NULL)), 2::bigint, 'null: all');
SELECT lives_ok($$SELECT tapdata.refresh_view('counts')$$, 'refresh_view');
SELECT isnt(tapdata.wait_view('counts'), NULL, 'is waited for');
SELECT is_empty($$SELECT * FROM tapdata.check_view('counts')$$, 'and mends it');
SELECT lives_ok($$SELECT tapdata.alter_view('counts', '{"writable": null}')$$, 'no longer');
SELECT is(left(public.failure('DELETE FROM counts'), 5), '55000', 'writable');
SELECT lives_ok($$SELECT tapdata.alter_view('"The Cities"', '{"writable": true}')$$, 'writable');
INSERT INTO "The Cities" VALUES ('Chur', '{"a": [1]}', 3), ('Chur', '{"a": [1]}', 3);
SELECT results_eq($$SELECT diff, copies, "row" FROM tapdata.check_view('"The Cities"')$$,
    $$VALUES ('extra', 2::bigint, '{"city": "Chur", "note": {"a": [1]}, "amount": 3}'::jsonb)$$, 'copies, and a type without equality');
SELECT lives_ok($$SELECT tapdata.alter_view('"The Cities"', '{"writable": null}')$$, 'no longer');

-- ---- transactions that can't wait ----
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(left(public.failure(q), 5), '25001', q || ' in REPEATABLE READ') FROM unnest('{"SELECT tapdata.wait_view(''totals'')","SELECT * FROM tapdata.check_view(''totals'')"}'::text[]) q;
ROLLBACK;
BEGIN;
INSERT INTO shop VALUES (99, 'Bern');
SELECT is(left(public.failure(q), 5), '25001', q || ' after a write') FROM unnest('{"SELECT tapdata.wait_view(''totals'')","SELECT * FROM tapdata.check_view(''totals'')"}'::text[]) q;
ROLLBACK;
SELECT is(left(public.failure($$SELECT tapdata.wait_view('totals', '0 s')$$), 5), '57014', 'a timeout');

-- ---- rights ----
SET ROLE tv_bob;
SELECT is_empty('SELECT FROM tapdata.views', 'another user sees no view');
SELECT is(left(public.failure('SELECT * FROM tapdata.' || f), 5), '42501', f)
FROM unnest('{"drop_view(''totals'')","refresh_view(''totals'')","alter_view(''totals'', ''{}'')","wait_view(''totals'')","check_view(''totals'')","explain_view(''totals'')",'
    '"create_view(''b.v'', ''SELECT id FROM s.shop'')","explain_query(''SELECT id FROM s.shop'')"}'::text[]) f;
SELECT is(left(public.failure('SELECT FROM ' || t), 5), '42501', t || ' is closed')
FROM unnest('{tapdata.view,tapdata.view_state,tapdata.view_group,tapdata.group_state,tapdata.view_base,tapdata.replica_identity,tapdata_views.totals}'::text[]) t;
SELECT is(left(public.failure($$SELECT tapdata.create_view('s.mine', 'SELECT 1 AS a')$$), 2), '0A', 'a query without a table');
RESET ROLE;
GRANT SELECT ON s.shop, s.part, s.totals TO tv_bob;
SET ROLE tv_bob;
SELECT isnt(tapdata.wait_view('totals'), NULL, 'SELECT on the view is enough to wait');
SELECT is_empty($$SELECT * FROM tapdata.check_view('totals')$$, 'and to check');
SELECT is(left(public.failure($$SELECT tapdata.create_view('s.mine', 'SELECT id FROM s.shop')$$), 5), '42501', 'no CREATE on the schema');
SELECT lives_ok($$SELECT tapdata.create_view('b.ids', 'SELECT id FROM s.shop')$$, 'within the key: no right on the table but SELECT');
SELECT is(public.failure($$SELECT tapdata.create_view('b.notes', 'SELECT k, count(*) AS n FROM s.part GROUP BY k')$$), 'none', 'what another view has set is there');
SELECT lives_ok($$SELECT tapdata.create_view('b.over', 'SELECT count(*) AS n FROM s.totals')$$, 'over a view of somebody else');
SELECT isnt(tapdata.wait_view('b.over'), NULL, 'is filled');
SELECT is_empty($$SELECT * FROM tapdata.check_view('b.over')$$, 'is checked with the rights on the view''s table');
SELECT is((SELECT count(*) FROM tapdata.views), 3::bigint, 'sees his own');
RESET ROLE;
SET ROLE tv_anna;
CREATE TABLE sold (id integer PRIMARY KEY, a integer);
GRANT SELECT ON sold TO tv_bob;
SET ROLE tv_bob;
SELECT is(public.failure($$SELECT tapdata.create_view('b.sold', 'SELECT a FROM s.sold')$$),
    '42501: the view needs old values of table "sold", and only its owner may have them written / Columns that it uses are not in the table''s replica identity. / '
    'Let "tv_anna" run: ALTER TABLE ONLY s.sold REPLICA IDENTITY FULL; or give the view the option {"old_images": "kept"}: a table of its own has the old values then, nothing is changed on this one.', 'the identity of somebody else''s table');
SET ROLE tv_watch;
SELECT is((SELECT count(*) FROM tapdata.views), 7::bigint, 'a monitor sees all');
SELECT is(left(public.failure($$SELECT tapdata.refresh_view('s.totals')$$), 5), '42501', 'but only looks');

-- ---- replica identities ----
SET ROLE tv_anna;
SELECT results_eq($$SELECT relname::text COLLATE "C", relreplident::text FROM pg_class WHERE relname IN ('shop', 'sale', 'part_a', 'part_b', 'part', 'sold') AND relkind <> 'i' ORDER BY 1$$,
    $$VALUES ('part' COLLATE "C", 'd'), ('part_a', 'f'), ('part_b', 'f'), ('sale', 'f'), ('shop', 'f'), ('sold', 'd')$$, 'full where old values are needed, leaves of partitions too');
SET ROLE tv_bob;
SELECT lives_ok($$SELECT tapdata.drop_view(v) FROM unnest('{b.ids,b.notes,b.over}'::regclass[]) v$$, 'drop');
SET ROLE tv_anna;
SELECT is((SELECT string_agg(relreplident::text, '') FROM pg_class WHERE relname IN ('part_a', 'part_b', 'shop')), 'fff', 'other views need it still');
SELECT lives_ok($$SELECT tapdata.drop_view('counts')$$, 'drop the last one');
SELECT is((SELECT string_agg(relreplident::text, '') FROM pg_class WHERE relname IN ('part_a', 'part_b')), 'dd', 'set back');
ALTER TABLE sold ADD UNIQUE (a), ALTER a SET NOT NULL;
ALTER TABLE sold REPLICA IDENTITY USING INDEX sold_a_key;
SELECT isnt(tapdata.create_view('sold_a', 'SELECT a FROM sold'), NULL, 'a view of the identity''s column');
SELECT is(relreplident, 'i', 'within the identity''s index: left alone') FROM pg_class WHERE oid = 'sold'::regclass;
SELECT isnt(tapdata.create_view('sold_id', 'SELECT id FROM sold'), NULL, 'of another one');
SELECT is(relreplident, 'f', 'beyond it') FROM pg_class WHERE oid = 'sold'::regclass;
DROP TABLE sold_id;
SELECT is(relreplident, 'i', 'a plain DROP TABLE sets it back, too') FROM pg_class WHERE oid = 'sold'::regclass;
SELECT ok((SELECT indisreplident FROM pg_index WHERE indexrelid = 'sold_a_key'::regclass), 'to the same index');
SELECT isnt(tapdata.create_view('sold_id', 'SELECT id FROM sold'), NULL, 'once more');
ALTER TABLE sold REPLICA IDENTITY NOTHING;
SELECT lives_ok($$SELECT tapdata.drop_view('sold_id')$$, 'and dropped');
SELECT is(relreplident, 'n', 'what somebody has changed meanwhile is left') FROM pg_class WHERE oid = 'sold'::regclass;
RESET ROLE;
SELECT results_eq('SELECT DISTINCT relation::regclass::text FROM tapdata.replica_identity ORDER BY 1', $$VALUES ('sale'), ('shop')$$, 'what is remembered');
SET ROLE tv_anna;

-- ---- plain DDL ----
SELECT alike(public.failure(q), '0A000: ' || f || ' /  / %', q)   -- the hints: test/t/87_view_messages.t
FROM (VALUES
    ('ALTER TABLE totals ADD COLUMN x integer', 'table s.totals is a live view, its columns can''t be changed'),
    ('ALTER TABLE totals DROP COLUMN n', 'table s.totals is a live view, its columns can''t be changed'),
    ('ALTER TABLE totals ALTER n TYPE text', 'table s.totals is a live view, its columns can''t be changed'),
    ('ALTER TABLE totals RENAME n TO m', 'table s.totals is a live view, its columns can''t be changed'),
    ('ALTER TABLE totals DROP CONSTRAINT totals_pkey', 'table s.totals is a live view, its constraints can''t be changed'),
    ('ALTER TABLE totals SET UNLOGGED', 'table s.totals is a live view, its persistence can''t be changed'),
    ('CREATE RULE r AS ON INSERT TO totals DO INSTEAD NOTHING', 'table s.totals is a live view, its rules can''t be changed'),
    ('CREATE OR REPLACE VIEW tapdata_views.totals AS SELECT 1 AS a', 'the definition of live view s.totals can''t be changed'),
    ('ALTER VIEW tapdata_views.totals RENAME TO t', 'the definition of live view s.totals can''t be changed'),
    ('ALTER VIEW tapdata_views.totals SET SCHEMA s', 'the definition of live view s.totals can''t be changed'),
    ('ALTER VIEW tapdata_views.totals SET (security_invoker)', 'the definition of live view s.totals can''t be changed')
) AS v(q, f);
SELECT is(public.failure('DROP VIEW tapdata_views.totals CASCADE'),
    '2BP01: view tapdata_views.totals can''t be dropped alone / It is the definition of live view s.totals. / Drop both: SELECT tapdata.drop_view(''s.totals'').', 'the twin goes with its view');
SELECT alike(public.failure(q), f || ' afterwards.', q)
FROM (VALUES ('ALTER TABLE sale ALTER amount TYPE bigint', '0A000: % / 3 live views are made of it: drop them first, SELECT tapdata.drop_view(''s.by_total''); SELECT tapdata.drop_view(''s."The Cities"''); SELECT tapdata.drop_view(''s.totals''); and create them again'),
    ('ALTER TABLE sale DROP COLUMN amount', '2BP01: % / 3 live views are made of it: drop them first, SELECT tapdata.drop_view(''s.by_total''); SELECT tapdata.drop_view(''s."The Cities"''); SELECT tapdata.drop_view(''s.totals''); and create them again'),
    ('DROP TABLE sale', '2BP01: % / 3 live views are made of it: drop them first, SELECT tapdata.drop_view(''s.by_total''); SELECT tapdata.drop_view(''s."The Cities"''); SELECT tapdata.drop_view(''s.totals''); and create them again')) AS v(q, f);
SELECT is(public.failure('ALTER TABLE sale RENAME amount TO sum'), 'none', 'renames underneath are followed');
ALTER TABLE totals RENAME TO sums;
SELECT is(view::text || ' ' || twin::text, 'sums tapdata_views.sums', 'a renamed view, its twin with it') FROM tapdata.views WHERE view = 'sums'::regclass;
INSERT INTO sale VALUES (102, 1, 50);
SELECT isnt(tapdata.wait_view('sums'), NULL, 'goes on');
SELECT is(total, 650::numeric, 'with its new name, and the new name of a column') FROM sums WHERE shop = 1;
SELECT is_empty($$SELECT * FROM tapdata.check_view('sums')$$, 'exactly');
RESET ROLE;
ALTER TABLE s.sums SET SCHEMA b;
ALTER TABLE b.sums OWNER TO tv_bob;
SELECT is(v.owner || ' ' || pg_get_userbyid(c.relowner), 'tv_bob tv_bob', 'the twin follows the owner') FROM tapdata.views v JOIN pg_class c ON c.oid = v.twin WHERE view = 'b.sums'::regclass;
REASSIGN OWNED BY tv_bob TO tv_anna;
SELECT is(v.owner || ' ' || pg_get_userbyid(c.relowner), 'tv_anna tv_anna', 'also by REASSIGN OWNED') FROM tapdata.views v JOIN pg_class c ON c.oid = v.twin WHERE view = 'b.sums'::regclass;
SELECT alike(public.failure('DROP ROLE tv_anna'), '2BP01: % / Give them to somebody else with REASSIGN OWNED, or drop each: SELECT tapdata.drop_view(%', 'an owner is not dropped');
SET ROLE tv_anna;
SELECT is(left(public.failure('DROP TABLE b.sums'), 5), '2BP01', 'another live view reads it');
SELECT lives_ok('DROP TABLE b.sums CASCADE', 'CASCADE drops that too');
SELECT results_eq('SELECT view::text FROM tapdata.views ORDER BY 1', $$VALUES ('"The Cities"'), ('sold_a')$$, 'what is left');
SELECT lives_ok('DROP TABLE shop CASCADE', 'a base table by CASCADE');
SELECT hasnt_table('s', 'The Cities', 'takes the view along, as it would an ordinary one');
DROP SCHEMA s CASCADE;
SELECT is_empty('SELECT view FROM tapdata.views', 'DROP SCHEMA ... CASCADE');
RESET ROLE;
SELECT is_empty($$SELECT relname FROM pg_class WHERE relnamespace IN ('tapdata_state'::regnamespace, 'tapdata_views'::regnamespace)$$, 'no twin and no state is left');
SELECT is_empty('SELECT FROM tapdata.view_base', 'no row');
SELECT is_empty('SELECT FROM tapdata.replica_identity', 'nothing to set back');
REVOKE ALL ON SCHEMA public FROM tv_anna;
DROP OWNED BY tv_anna, tv_bob;
DROP ROLE tv_anna, tv_bob, tv_watch;

-- the checkpoint of each tick is an UPDATE of tapdata.group_state
SELECT is(count(*), 0::bigint, 'no constraint is evaluated at each tick') FROM pg_constraint WHERE conrelid = 'tapdata.group_state'::regclass AND contype = 'c';
-- an INSERT, as the last group may be gone already: the supervisor drops it once it has no views
SELECT alike(public.failure($$INSERT INTO tapdata.group_state (view_group, status) VALUES (-1, 'strange')$$), '23514: %', 'a status is checked all the same, when it is set');
SELECT * FROM finish();
