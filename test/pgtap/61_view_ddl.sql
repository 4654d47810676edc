-- Live views and plain DDL: whose rights a twin is made with, what proves a key, what a view does not survive and so is refused, names that follow.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS tapdata;
SELECT * FROM no_plan();
DROP ROLE IF EXISTS td_eva, td_otto;
CREATE ROLE td_eva LOGIN;
CREATE ROLE td_otto LOGIN;
CREATE SCHEMA d AUTHORIZATION td_eva;
GRANT USAGE ON SCHEMA d TO td_otto;
GRANT CREATE ON SCHEMA public TO td_eva;
SELECT format('GRANT CREATE ON DATABASE %I TO td_eva', current_database()) \gexec
CREATE FUNCTION public.failure(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text; st text;
BEGIN
    EXECUTE query;
    RETURN 'none';
EXCEPTION WHEN query_canceled OR OTHERS THEN
    GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, st = RETURNED_SQLSTATE;
    RETURN st || ': ' || m || ' / ' || d || ' / ' || h;
END $$;

SET ROLE td_eva;
SET search_path = d, public;
CREATE TABLE t (id integer PRIMARY KEY, a integer NOT NULL, b text);
CREATE TABLE u (x integer NOT NULL, y text);
CREATE TABLE alone (z integer);
INSERT INTO t SELECT i, i % 3, 'b' FROM generate_series(1, 9) i;
INSERT INTO u VALUES (1, 'one'), (1, 'one'), (2, 'two');

-- ---- a domain's check is met while the query is parsed: it runs as who calls ----
CREATE TABLE seen (who text);
CREATE FUNCTION spy(i integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO d.seen VALUES (current_user); RETURN true; END $$;
CREATE DOMAIN spied AS integer CHECK (d.spy(VALUE));
SELECT lives_ok($$SELECT tapdata.create_view('v_spied', $q$SELECT id FROM t WHERE '{1}'::spied[] IS NOT NULL$q$)$$, 'a literal of a domain');
SELECT is((SELECT string_agg(DISTINCT who, ', ') FROM seen), 'td_eva', 'its check is run by nobody else');
SELECT is(pg_get_userbyid(relowner) || ' ' || relacl::text, NULL, 'the twin has no rights of its own') FROM pg_class WHERE oid = 'tapdata_views.v_spied'::regclass;
SELECT is((SELECT relname FROM pg_class WHERE relnamespace = 'd'::regnamespace AND relkind = 'v'), NULL, 'and is not where it was drafted');
SELECT lives_ok($$SELECT tapdata.drop_view('v_spied')$$, 'dropped');

-- ---- what proves a key stays, and what comes later changes nothing ----
SELECT is(tapdata.create_view('v', 'SELECT id, a FROM t')::text, 'v', 'a view with a key');
SELECT is(tapdata.create_view('w', 'SELECT x, y FROM u')::text, 'w', 'and one without');
SELECT is(tapdata.create_view('g', 'SELECT a, count(*) AS n FROM t GROUP BY a')::text, 'g', 'groups need no key of their table');
SELECT is(public.failure('ALTER TABLE t DROP CONSTRAINT t_pkey'),
    '2BP01: cannot drop constraint t_pkey on table t because other objects depend on it / table v depends on constraint t_pkey on table t / '
    'A live view is made of it: drop that first, SELECT tapdata.drop_view(''d.v''); and create it again afterwards.', 'the key of the table');
SELECT is(public.failure('ALTER TABLE t ALTER a DROP NOT NULL'), '2BP01: column "a" of table "t" must stay NOT NULL because live views read it /  / '
    'Drop what reads it first, and create it again afterwards: SELECT tapdata.drop_view(''d.g''); SELECT tapdata.drop_view(''d.v'').', 'columns that are never null');
SELECT is(public.failure('ALTER TABLE t ALTER b DROP NOT NULL'), 'none', 'others may be');
CREATE TABLE above (id integer NOT NULL, n integer NOT NULL);
CREATE TABLE under () INHERITS (above);
SELECT is(tapdata.create_view('of_child', 'SELECT id FROM under')::text, 'of_child', 'a view of a child');
SELECT is(public.failure('ALTER TABLE above ALTER id DROP NOT NULL'), '2BP01: column "id" of table "under" must stay NOT NULL because a live view reads it /  / '
    'Drop what reads it first, and create it again afterwards: SELECT tapdata.drop_view(''d.of_child'').', 'columns of a child by their parent');
SELECT is(public.failure('ALTER TABLE above ALTER n DROP NOT NULL'), 'none', 'others may be');
SELECT is(public.failure('ALTER TABLE ONLY above ALTER id DROP NOT NULL'), 'none', 'or without the child');
SELECT lives_ok($$SELECT tapdata.drop_view('of_child')$$, 'dropped');
SELECT is(public.failure('DROP INDEX w_row_hash_idx'), '2BP01: cannot drop index w_row_hash_idx because table w requires it /  / You can drop table w instead.', 'the index of a view without a key');
SELECT isnt(tapdata.wait_view('w'), NULL, 'it is filled');
DELETE FROM u WHERE x = 1;
SELECT lives_ok('ALTER TABLE u ADD COLUMN more integer, ADD PRIMARY KEY (x)', 'a table gets a key after its view was made');
INSERT INTO u VALUES (1, 'uno'), (3, 'tre');
UPDATE u SET y = 'due' WHERE x = 2;
SELECT isnt(tapdata.wait_view('w'), NULL, 'the view goes on');
SELECT lives_ok($$SELECT tapdata.refresh_view('w')$$, 'planned anew');
INSERT INTO u VALUES (4, 'quattro');
SELECT isnt(tapdata.wait_view('w'), NULL, 'too');
SELECT is_empty($$SELECT * FROM tapdata.check_view('w')$$, 'exactly');
CREATE UNIQUE INDEX more ON u (y) INCLUDE (x);
ALTER TABLE u ALTER y SET NOT NULL;
SELECT is(tapdata.create_view('w_y', 'SELECT y FROM u')::text, 'w_y', 'a key by an index that is no constraint');
SELECT alike(public.failure('DROP INDEX more'), '2BP01: cannot drop index more because other objects depend on it / table w_y depends on index more / % first, SELECT tapdata.drop_view(''d.w_y''); and create it again afterwards.', 'stays, too');

-- ---- what its table does not survive ----
SELECT is(public.failure(q), '0A000: ' || f, q)
FROM (VALUES
    ('CREATE TABLE child () INHERITS (v)', 'table d.v is a live view, its parents and children can''t be changed /  / Put both together in a query or an ordinary view, with UNION ALL.'),
    ('ALTER TABLE alone INHERIT v', 'table d.v is a live view, its parents and children can''t be changed /  / Put both together in a query or an ordinary view, with UNION ALL.'),
    ('ALTER TABLE v FORCE ROW LEVEL SECURITY', 'table d.v is a live view, row security for its owner can''t be changed /  / Row security without FORCE is for all others, and allowed: ALTER TABLE ... ENABLE ROW LEVEL SECURITY.'),
    ('ALTER TABLE v SET ACCESS METHOD heap', 'table d.v is a live view, its access method can''t be changed /  / Live views are tables of access method heap.'),
    ('ALTER TABLE v DISABLE TRIGGER ALL', 'table d.v is a live view, its trigger stays /  / To write into it: SELECT tapdata.alter_view(''d.v'', ''{"writable": true}'').'),
    ('ALTER TABLE v DISABLE TRIGGER tapdata_refuse_write', 'table d.v is a live view, its trigger stays /  / To write into it: SELECT tapdata.alter_view(''d.v'', ''{"writable": true}'').'),
    ('ALTER TABLE v ENABLE REPLICA TRIGGER tapdata_refuse_write', 'table d.v is a live view, its trigger stays /  / To write into it: SELECT tapdata.alter_view(''d.v'', ''{"writable": true}'').'),
    ('DROP TRIGGER tapdata_refuse_write ON v', 'table d.v is a live view, its trigger stays /  / To write into it: SELECT tapdata.alter_view(''d.v'', ''{"writable": true}'').'),
    ('CREATE TRIGGER x BEFORE INSERT ON v FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
        'live view d.v can''t have triggers / Its rows change without firing any. / Put the trigger on the tables that the view is made of.'),
    ('CREATE TABLE f (v integer REFERENCES v)', 'a foreign key can''t reference live view d.v / Its rows change without firing triggers, nothing would enforce the key. / Reference a table that the view is made of.'),
    ('CREATE TABLE f (v integer, FOREIGN KEY (v) REFERENCES v)', 'a foreign key can''t reference live view d.v / Its rows change without firing triggers, nothing would enforce the key. / Reference a table that the view is made of.'),
    ('ALTER TABLE alone ADD FOREIGN KEY (z) REFERENCES v', 'a foreign key can''t reference live view d.v / Its rows change without firing triggers, nothing would enforce the key. / Reference a table that the view is made of.'),
    ('ALTER TABLE alone ADD COLUMN v integer REFERENCES v', 'a foreign key can''t reference live view d.v / Its rows change without firing triggers, nothing would enforce the key. / Reference a table that the view is made of.')
) AS c(q, f);
CREATE TABLE root (id integer NOT NULL, a integer NOT NULL) PARTITION BY LIST (id);
SELECT alike(public.failure('ALTER TABLE root ATTACH PARTITION v DEFAULT'), '0A000: table d.v is a live view, its parents and children%', 'nor is it a partition');
SELECT is(public.failure(q), 'none', q)
FROM unnest('{CREATE INDEX ON v (a),CREATE TABLE f (t integer REFERENCES t),CREATE TRIGGER x BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(),ALTER TABLE t DISABLE TRIGGER x,'
    'ALTER TABLE t ENABLE TRIGGER x,DROP TRIGGER x ON t,ALTER TABLE v SET (fillfactor = 90)}'::text[]) q;

-- ---- row security on a view ----
CREATE POLICY ones ON v USING (a = 1);
SELECT lives_ok('ALTER TABLE v ENABLE ROW LEVEL SECURITY', 'policies for who reads a view');
GRANT SELECT ON v TO td_otto;
UPDATE t SET a = 1 WHERE id = 3;
SELECT isnt(tapdata.wait_view('v'), NULL, 'it goes on');
SELECT is_empty($$SELECT * FROM tapdata.check_view('v')$$, 'and is exact');
SELECT lives_ok($$SELECT tapdata.refresh_view('v')$$, 'it can be refreshed');
SELECT isnt(tapdata.wait_view('v'), NULL, 'also');
SET ROLE td_otto;
SELECT is((SELECT count(*) FROM v), 4::bigint, 'a reader sees his rows');
SELECT is(public.failure($$SELECT * FROM tapdata.check_view('v')$$), '42501: row-level security hides rows of view d.v from you /  / Ask its owner, "td_eva", to check it.', 'and is not shown others by check_view');
SET ROLE td_eva;

-- ---- ONLY ----
CREATE TABLE parent (id integer PRIMARY KEY, a integer);
CREATE TABLE child (c integer) INHERITS (parent);
SELECT is(tapdata.create_view('only_parent', 'SELECT id, a FROM ONLY parent')::text, 'only_parent', 'FROM ONLY');
SELECT is((SELECT string_agg(relname || ' ' || relreplident::text, ', ' ORDER BY relname) FROM pg_class WHERE relname IN ('parent', 'child') AND relkind = 'r'), 'child d, parent f', 'needs nothing of the children');

-- ---- what it costs, also when it is so already ----
SELECT alike((SELECT detail FROM tapdata.explain_view('only_parent') WHERE node LIKE '%old rows%'), 'it is so already, for live views; WAL of an update grows by %', 'explain_view');
SELECT alike((SELECT detail FROM tapdata.explain_query('SELECT a FROM ONLY parent') WHERE node LIKE '%old rows%'), 'it is so already, for live views; WAL of an update grows by %', 'explain_query');

-- ---- functions ----
CREATE FUNCTION twice(i integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * i';
SELECT is(public.failure($$SELECT tapdata.create_view('x', 'SELECT id, twice(a) FROM t')$$), '0A000: views do not support function twice(integer) / It is declared VOLATILE: each call may give another result. / '
    'If its result depends on its arguments alone: ALTER FUNCTION twice(integer) IMMUTABLE; otherwise call it in the queries that read the view.', 'the statement that allows a function');
ALTER FUNCTION twice(integer) IMMUTABLE;
CREATE SCHEMA AUTHORIZATION td_eva;
ALTER FUNCTION twice(integer) SET SCHEMA td_eva;
SELECT is(tapdata.create_view('doubled', 'SELECT id, td_eva.twice(a) AS a2 FROM t')::text, 'doubled', 'a function of a schema');
SELECT isnt(tapdata.wait_view('doubled'), NULL, 'is used');
ALTER SCHEMA td_eva RENAME TO other;
INSERT INTO t VALUES (100, 50, 'x');
SELECT isnt(tapdata.wait_view('doubled'), NULL, 'also when its schema was renamed');
SELECT is((SELECT a2 FROM doubled WHERE id = 100), 100, 'it works');
SELECT is_empty($$SELECT * FROM tapdata.check_view('doubled')$$, 'exactly');

-- ---- names ----
ALTER TABLE v RENAME TO "V 2";
SELECT is(twin::text, 'tapdata_views."V 2"', 'the twin is called as its view') FROM tapdata.views WHERE view = '"V 2"'::regclass;
SELECT is(twin_name, 'V 2', 'also in the catalog') FROM (SELECT c.relname AS twin_name FROM tapdata.views v JOIN pg_class c ON c.oid = v.twin WHERE view = '"V 2"'::regclass) x;
ALTER SCHEMA d RENAME TO e;
SET search_path = e, public;
SELECT is(twin::text, 'tapdata_views."V 2"', 'its schema has another name') FROM tapdata.views WHERE view = '"V 2"'::regclass;
INSERT INTO t VALUES (101, 50, 'x');
SELECT isnt(tapdata.wait_view('"V 2"'), NULL, 'it goes on');
SELECT is_empty($$SELECT * FROM tapdata.check_view('"V 2"')$$, 'exactly');
CREATE TABLE other.x (id integer PRIMARY KEY);
SELECT is(tapdata.create_view('other."V 2"', 'SELECT id FROM other.x')::text, 'other."V 2"', 'one of the same name');
SELECT is(twin::text, 'tapdata_views."other.V 2"', 'its twin has the schema in its name') FROM tapdata.views WHERE view = 'other."V 2"'::regclass;
ALTER INDEX other."V 2" RENAME TO z;
SELECT is(twin::text, 'tapdata_views.z', 'a table that is renamed as an index') FROM tapdata.views WHERE view = 'other.z'::regclass;

RESET ROLE;
SELECT is((SELECT detail FROM tapdata.doctor() WHERE item = 'views of superusers'), 'none', 'doctor: no view of a superuser');
CREATE TABLE public.super_t (id integer PRIMARY KEY);
SELECT is(tapdata.create_view('public.super_v', 'SELECT id FROM public.super_t')::text, 'super_v', 'one of a superuser');
SELECT is((SELECT ok || ' ' || detail FROM tapdata.doctor() WHERE item = 'views of superusers'), 'true public.super_v', 'is named');
DROP TABLE public.super_t CASCADE;
DROP SCHEMA e, other CASCADE;
SELECT is_empty('SELECT view FROM tapdata.views', 'all go with their schema');
REVOKE ALL ON SCHEMA public FROM td_eva;
DROP OWNED BY td_eva, td_otto;
DROP ROLE td_eva, td_otto;

SELECT * FROM finish();
