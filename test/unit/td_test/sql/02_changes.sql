-- What a change does to the target: sets and row by row, policies, catching up, images that are not whole, keyless tables, TRUNCATE.
BEGIN;
SELECT plan(67);
CREATE SCHEMA s; CREATE SCHEMA d;
CREATE TABLE s.t (id int PRIMARY KEY, u int, v text);
CREATE TABLE d.t (id int PRIMARY KEY, u int UNIQUE, v text);
CREATE TABLE pg_temp.c (n serial, tbl int DEFAULT 1, op text, old s.t, new s.t, absent text[]);
CREATE FUNCTION pg_temp.go() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE r bigint;
BEGIN
    SELECT rows INTO r FROM td_test.feed('SELECT tbl, op, old, new, absent FROM pg_temp.c ORDER BY n');
    DELETE FROM pg_temp.c;
    RETURN r;
END $$;
CREATE FUNCTION pg_temp.go_error(OUT state text, OUT message text, OUT detail text, OUT hint text, OUT context text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rows FROM td_test.feed('SELECT tbl, op, old, new, absent FROM pg_temp.c ORDER BY n');
    state := '00000';
    DELETE FROM pg_temp.c;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    DELETE FROM pg_temp.c;
END $$;
CREATE FUNCTION pg_temp.now(rel regclass DEFAULT 'd.t') RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
    EXECUTE format('SELECT string_agg(t::text, '' '' ORDER BY t::text) FROM %s t', rel) INTO r;
    RETURN r;
END $$;
-- changes that touch other rows, so that a flush is large enough to go as sets
CREATE PROCEDURE pg_temp.filler() LANGUAGE sql AS $$
    INSERT INTO pg_temp.c (op, new) SELECT 'i', row(g, NULL, NULL)::s.t FROM generate_series(901, 910) g;
    INSERT INTO pg_temp.c (op, old) SELECT 'd', row(g, NULL, NULL)::s.t FROM generate_series(901, 910) g $$;

SELECT td_test.open('{s.t}', '{d.t}');
-- ---- one by one, then the same as sets ----
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(1,10,a)'), ('i', NULL, '(2,20,b)'), ('u', '(1,10,a)', '(1,11,A)'), ('d', '(2,20,b)', NULL), ('i', NULL, '(3,30,c)');
SELECT is(pg_temp.go(), 5::bigint, 'changes are counted');
SELECT is(pg_temp.now(), '(1,11,A) (3,30,c)', 'few changes, one by one');
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(4,40,a)'), ('i', NULL, '(5,50,b)'), ('u', '(4,40,a)', '(4,41,A)'), ('d', '(5,50,b)', NULL), ('u', '(3,30,c)', '(3,31,C)'), ('d', '(1,11,A)', NULL);
SELECT is(pg_temp.go(), 26::bigint, 'all records count, not what is left of them');
SELECT is(pg_temp.now(), '(3,31,C) (4,41,A)', 'many, as sets');
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('d', '(3,31,C)', NULL), ('i', NULL, '(3,32,D)'), ('u', '(4,41,A)', '(6,41,A)'), ('u', '(6,41,A)', '(6,42,B)'), ('i', NULL, '(4,1,x)');
SELECT lives_ok('SELECT pg_temp.go()', 'delete and insert, a change of key');
SELECT is(pg_temp.now(), '(3,32,D) (4,1,x) (6,42,B)', 'in order');
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(6,42,B)', '(7,42,B)'), ('u', '(4,1,x)', '(6,1,x)'), ('u', '(3,32,D)', '(4,32,D)');
SELECT lives_ok('SELECT pg_temp.go()', 'keys move up, one by one');
SELECT is(pg_temp.now(), '(4,32,D) (6,1,x) (7,42,B)', 'and all arrive');
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(7,42,B)', '(8,42,B)'), ('u', '(6,1,x)', '(7,1,x)'), ('u', '(4,32,D)', '(6,32,D)'), ('u', '(8,42,B)', '(9,42,B)');
SELECT lives_ok('SELECT pg_temp.go()', 'keys move up, as sets');
SELECT is(pg_temp.now(), '(6,32,D) (7,1,x) (9,42,B)', 'and all arrive');

-- ---- unique values that are swapped do not fit as sets ----
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(6,32,D)', '(6,-1,D)'), ('u', '(7,1,x)', '(7,32,x)'), ('u', '(6,-1,D)', '(6,1,D)');
SELECT lives_ok('SELECT pg_temp.go()', 'a swap of unique values');
SELECT is(pg_temp.now(), '(6,1,D) (7,32,x) (9,42,B)', 'is done row by row');

-- ---- a constraint that stands against it ----
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(10,42,z)');
SELECT is(state, '23505', 'a violation') , matches(detail, '^Table d\.t, row with key \(id\)=\(10\), constraint "t_u_key"\. Key \(u\)=\(42\) already exists'), isnt(hint, ''),
    matches(context, 'applying changes of pipeline "unit" to table d\.t, row with key \(id\)=\(10\)') FROM pg_temp.go_error();
SELECT is(pg_temp.now(), '(6,1,D) (7,32,x) (9,42,B)', 'and nothing is left of the flush');
ALTER TABLE d.t ADD CONSTRAINT small CHECK (u < 100);
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(9,42,B)', '(9,100,B)');
SELECT is(state, '23514', 'a CHECK'), matches(detail, '^Table d\.t, row with key \(id\)=\(9\), constraint "small"\.') FROM pg_temp.go_error();
ALTER TABLE d.t DROP CONSTRAINT small;

-- ---- rows that are there, rows that are not ----
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(9,43,new)');
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(6,1,D) (7,32,x) (9,43,new)', 'an insert overwrites (update_on_exists)');
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(9,44,newer)'), ('i', NULL, '(11,110,k)'), ('u', '(11,110,k)', '(11,111,l)');
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(11,111,l) (6,1,D) (7,32,x) (9,44,newer)', 'also as sets');
DELETE FROM tapdata.log_entry;
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(500,1,a)', '(500,2,b)'), ('d', '(501,1,a)', NULL), ('d', '(11,111,l)', NULL), ('d', '(11,111,l)', NULL);
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(6,1,D) (7,32,x) (9,44,newer)', 'changes of rows that are not there are ignored');
SELECT is(level || ' ' || kind || ' ' || object || ' ' || sqlstate || ' ' || message, 'warning pipeline unit 02000 3 changes of table d.t found no row and were ignored', 'and logged') FROM tapdata.log_entry;
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(500,1,a)', '(500,2,b)');
SELECT pg_temp.go();
SELECT is(count(*), 1::bigint, 'once a minute') FROM tapdata.log_entry;
SELECT td_test.open('{s.t}', '{d.t}', policy => 'ignore_on_exists');
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(9,45,no)');
SELECT pg_temp.go();
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(7,45,no)'), ('i', NULL, '(12,46,yes)'), ('i', NULL, '(6,2,no)'), ('u', '(6,2,no)', '(6,3,yes)');
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(12,46,yes) (6,3,yes) (7,32,x) (9,44,newer)', 'ignore_on_exists keeps what is there');
SELECT td_test.open('{s.t}', '{d.t}', policy => 'just_insert');
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(9,45,no)');
SELECT is(state, '23505', 'just_insert refuses it'), matches(detail, 'row with key \(id\)=\(9\), constraint "t_pkey"') FROM pg_temp.go_error();
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(9,45,no)');
SELECT is(state, '23505', 'also as sets') FROM pg_temp.go_error();
SELECT td_test.open('{s.t}', '{d.t}', policy => 'just_insert', catching_up => true);
DELETE FROM tapdata.log_entry;
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(9,45,yes)'), ('u', '(600,1,a)', '(600,2,b)'), ('d', '(601,1,a)', NULL), ('u', '(602,1,a)', '(603,60,b)'), ('u', '(12,46,yes)', '(7,46,yes)');
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(6,3,yes) (603,60,b) (7,46,yes) (9,45,yes)', 'catching up: rows may be there already, or moved, or gone');
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(9,47,set)'), ('u', '(600,1,a)', '(600,2,b)'), ('d', '(601,1,a)', NULL), ('u', '(602,1,a)', '(604,61,b)'), ('u', '(6,3,yes)', '(7,48,set)');
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(603,60,b) (604,61,b) (7,48,set) (9,47,set)', 'also as sets');
SELECT is(count(*), 0::bigint, 'without a warning') FROM tapdata.log_entry;

-- ---- images that are not whole ----
SELECT td_test.open('{s.t}', '{d.t}');
INSERT INTO pg_temp.c (op, old, new, absent) VALUES ('u', NULL, '(9,49,)', '{v}'), ('u', '(7,,set)', '(7,48,)', '{v}');
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(603,60,b) (604,61,b) (7,48,set) (9,49,set)', 'what is left out stays');
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new, absent) VALUES ('u', NULL, '(9,,x)', '{u}'), ('u', NULL, '(9,50,)', '{v}'), ('u', '(7,48,set)', '(8,48,)', '{v}'), ('u', '(8,,)', '(8,51,)', '{v}'),
    ('u', NULL, '(603,,y)', '{u}'), ('u', NULL, '(603,,z)', '{u}'), ('i', NULL, '(700,70,a)', NULL), ('u', NULL, '(700,71,)', '{v}');
UPDATE pg_temp.c SET old = NULL WHERE old = row(8,NULL,NULL)::s.t;
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(603,60,z) (604,61,b) (700,71,a) (8,51,set) (9,50,x)', 'as sets: from earlier images, the old one, or the target');
UPDATE d.t SET v = repeat(md5(id::text), 5000) WHERE id = 8;
INSERT INTO pg_temp.c (op, old, new, absent) VALUES ('u', NULL, '(8,52,)', '{v}');
SELECT pg_temp.go();
SELECT is((SELECT md5(v) FROM d.t WHERE id = 8), md5(repeat(md5('8'), 5000)), 'a TOASTed value that is left out stays whole');
DELETE FROM d.t;

-- ---- a null is unique, too: UNIQUE NULLS NOT DISTINCT, beside the key and as the key's index ----
CREATE TABLE d.n (id int NOT NULL, u int CONSTRAINT n_u UNIQUE NULLS NOT DISTINCT, v text, CONSTRAINT n_id UNIQUE NULLS NOT DISTINCT (id));
CREATE PROCEDURE pg_temp.other_rows() LANGUAGE sql AS $$
    INSERT INTO pg_temp.c (op, new) SELECT 'i', row(g, g, NULL)::s.t FROM generate_series(901, 910) g;
    INSERT INTO pg_temp.c (op, old) SELECT 'd', row(g, g, NULL)::s.t FROM generate_series(901, 910) g $$;
SELECT td_test.open('{s.t}', '{d.n}');
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(1,,a)'), ('i', NULL, '(2,2,b)');
SELECT is(pg_temp.go(), 2::bigint, 'one null, one by one');
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(1,,a)', '(1,5,a)'), ('u', '(2,2,b)', '(2,,b)');
SELECT lives_ok('SELECT pg_temp.go()', 'it goes from row to row, one by one');
SELECT is(pg_temp.now('d.n'), '(1,5,a) (2,,b)', 'and arrives');
CALL pg_temp.other_rows();
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(2,,b)', '(2,6,b)'), ('u', '(1,5,a)', '(1,,a)');
SELECT lives_ok('SELECT pg_temp.go()', 'back, as sets, against the order of keys');
SELECT is(pg_temp.now('d.n'), '(1,,a) (2,6,b)', 'and arrives');
CALL pg_temp.other_rows();
INSERT INTO pg_temp.c (op, old, new) VALUES ('d', '(1,,a)', NULL), ('i', NULL, '(3,,c)'), ('u', '(3,,c)', '(4,,c)');
SELECT lives_ok('SELECT pg_temp.go()', 'a row with it goes, another one comes and moves');
SELECT is(pg_temp.now('d.n'), '(2,6,b) (4,,c)', 'as it should be');
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(5,,d)');
SELECT is(state, '23505', 'a second null, alone'), matches(detail, '^Table d\.n, row with key \(id\)=\(5\), constraint "n_u"\. Key \(u\)=\(null\) already exists') FROM pg_temp.go_error();
CALL pg_temp.other_rows();
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(2,6,b)', '(2,,b)');
SELECT is(state, '23505', 'among others'), matches(detail, '^Table d\.n, row with key \(id\)=\(2\), constraint "n_u"\.') FROM pg_temp.go_error();
SELECT is(pg_temp.now('d.n'), '(2,6,b) (4,,c)', 'nothing is left of them');
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(4,7,over)'), ('i', NULL, '(6,,e)');
SELECT lives_ok('SELECT pg_temp.go()', 'one that is overwritten gives it to another');
SELECT is(pg_temp.now('d.n'), '(2,6,b) (4,7,over) (6,,e)', 'by the key');

-- ---- what the owner of the target has added ----
CREATE SEQUENCE d.seq;
CREATE TABLE d.x (extra int DEFAULT nextval('d.seq'), gone int, v text, id int, u int, g text GENERATED ALWAYS AS (v || '!') STORED, opt text,
    ident int GENERATED ALWAYS AS IDENTITY, CHECK (u <> 13), CHECK (g <> 'bad!'));
ALTER TABLE d.x DROP COLUMN gone;
CREATE UNIQUE INDEX ON d.x (lower(v));
CREATE UNIQUE INDEX ON d.x (id) INCLUDE (u);
ALTER TABLE d.x ALTER id SET NOT NULL;
SELECT td_test.open('{s.t}', '{d.x}');
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(1,1,a)'), ('i', NULL, '(2,2,b)');
SELECT lives_ok('SELECT pg_temp.go()', 'extra columns, generated columns, expression indexes, no primary key but a unique index');
SELECT is(pg_temp.now('d.x'), '(1,a,1,1,a!,,1) (2,b,2,2,b!,,2)', 'defaults and generated columns are filled');
UPDATE d.x SET opt = 'mine' WHERE id = 1;
CALL pg_temp.filler();
DELETE FROM pg_temp.c WHERE op = 'd';
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(1,1,a)', '(1,11,aa)'), ('u', '(2,2,b)', '(3,2,b)'), ('u', '(3,2,b)', '(3,22,bb)'), ('d', '(902,,)', NULL), ('d', '(903,,)', NULL), ('i', NULL, '(903,3,q)');
SELECT pg_temp.go();
SELECT is(string_agg(t::text, ' ' ORDER BY t.id), '(1,aa,1,11,aa!,mine,1) (2,bb,3,22,bb!,,2)', 'they stay on update, also of the key') FROM d.x t WHERE id < 900;
SELECT is(count(*) || ' ' || count(DISTINCT extra) || ' ' || count(DISTINCT ident), '11 11 11', 'as sets') FROM d.x;
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('d', '(1,11,aa)', NULL), ('i', NULL, '(1,12,aa)'), ('u', '(1,12,aa)', '(1,11,aa)');
SELECT pg_temp.go();
SELECT is(x::text, '(14,aa,1,11,aa!,,14)', 'a row that was deleted and inserted is a new one') FROM d.x WHERE id = 1;
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(1,11,aa)', '(1,13,aa)');
SELECT is(state, '23514', 'a CHECK counts') FROM pg_temp.go_error();
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(1,11,aa)', '(1,11,bad)');
SELECT is(state, '23514', 'also on a generated column') FROM pg_temp.go_error();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(77,1,AA)');
SELECT is(state, '23505', 'an expression index too') FROM pg_temp.go_error();

-- ---- triggers ----
CREATE TABLE d.audit (n serial, what text);
CREATE FUNCTION d.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO d.audit (what) VALUES (concat_ws(' ', TG_WHEN, TG_OP, old.id, old.v, new.id, new.v));
    IF TG_WHEN = 'BEFORE' AND TG_OP = 'INSERT' THEN new.v := new.v || '+'; END IF;
    RETURN coalesce(new, old); END $$;
CREATE TRIGGER b BEFORE INSERT OR UPDATE OR DELETE ON d.t FOR EACH ROW EXECUTE FUNCTION d.note();
CREATE CONSTRAINT TRIGGER a AFTER INSERT OR UPDATE OF u OR DELETE ON d.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION d.note();
SELECT td_test.open('{s.t}', '{d.t}');
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(1,1,a)');
SELECT pg_temp.go();
SELECT is(count(*), 0::bigint, 'ordinary triggers do not fire') FROM d.audit;
ALTER TABLE d.t ENABLE REPLICA TRIGGER b, ENABLE ALWAYS TRIGGER a;
CALL pg_temp.filler();
DELETE FROM pg_temp.c WHERE (coalesce(old, new)).id > 901;
INSERT INTO pg_temp.c (op, old, new) VALUES ('u', '(1,1,a)', '(1,2,b)');
SELECT pg_temp.go();
SELECT is(string_agg(what, ', ' ORDER BY n), 'BEFORE INSERT 901, AFTER INSERT 901, BEFORE DELETE 901, AFTER DELETE 901, BEFORE UPDATE 1 a 1 b, AFTER UPDATE 1 a 1 b',
    'ENABLE REPLICA and ALWAYS triggers fire for every change, deferred ones at once') FROM d.audit;
ALTER TABLE d.t DISABLE TRIGGER ALL;
DELETE FROM d.t;

-- ---- TRUNCATE ----
CALL pg_temp.filler();
INSERT INTO pg_temp.c (op, old, new) VALUES ('i', NULL, '(1,1,a)'), ('t', NULL, NULL), ('i', NULL, '(2,1,b)');
SELECT pg_temp.go();
SELECT is(pg_temp.now(), '(2,1,b)', 'TRUNCATE in its place');
CREATE TABLE d.child (id int REFERENCES d.t);
INSERT INTO pg_temp.c (op) VALUES ('t');
SELECT is(state, '0A000', 'not where a foreign key would be left dangling'), is(detail, 'Table d.child has a foreign key to it.') FROM pg_temp.go_error();

-- ---- without a key ----
CREATE TABLE s.h (a int, b text, j jsonb, f float8, n numeric);
CREATE TABLE d.h (a int, b text, j jsonb, f float8, n numeric, mine text DEFAULT 'm');
CREATE TABLE pg_temp.k (seq serial, op text, old s.h, new s.h);
SELECT td_test.open('{s.h}', '{d.h}');
INSERT INTO pg_temp.k (op, old, new) VALUES ('i', NULL, row(1, NULL, '{"x": 1}', 'NaN', 1.0)), ('i', NULL, row(1, NULL, '{"x": 1}', 'NaN', 1.0)), ('i', NULL, row(2, 'b', NULL, -0.0, 1.10)),
    ('d', row(1, NULL, '{"x":1}', 'NaN', 1.00), NULL), ('u', row(2, 'b', NULL, 0.0, 1.1), row(2, 'c', NULL, 0.0, 1.1));
INSERT INTO pg_temp.k (op, new) SELECT 'i', row(g, 'x', NULL, NULL, NULL)::s.h FROM generate_series(10, 20) g;
INSERT INTO pg_temp.k (op, old) SELECT 'd', row(g, 'x', NULL, NULL, NULL)::s.h FROM generate_series(10, 20) g;
SELECT is(rows, 27::bigint, 'a table without a key') FROM td_test.feed('SELECT 1, op, old, new, NULL::text[] FROM pg_temp.k ORDER BY seq');
SELECT is(pg_temp.now('d.h'), '(1,,"{""x"": 1}",NaN,1.0,m) (2,c,,0,1.1,m)', 'one of two equal rows goes; equal is what the types call equal');
DELETE FROM tapdata.log_entry;
SELECT rows FROM td_test.feed($$SELECT 1, 'd', row(3, 'b', NULL, NULL, NULL)::s.h, NULL::s.h, NULL::text[]$$);
SELECT is(message, '1 changes of table d.h found no row and were ignored', 'a row that is not there is logged') FROM tapdata.log_entry;

-- ---- several tables, in one stream ----
CREATE TABLE d.t2 (LIKE d.t INCLUDING ALL);
CREATE TABLE s.t2 (LIKE s.t INCLUDING ALL);
CREATE TABLE d.t3 (LIKE d.t);
CREATE TABLE s.t3 (LIKE s.t);
SELECT td_test.open('{s.t,s.t2,s.t3}', '{d.t,d.t2,d.t3}', memory_kb => 2);
SELECT is(rows, 300::bigint, 'three tables') FROM td_test.feed($$
    SELECT g % 3 + 1, 'i', NULL::s.t, row(g, NULL, 'v')::s.t, NULL::text[] FROM generate_series(1000, 1299) g$$);
SELECT is((SELECT count(*) FROM d.t WHERE id >= 1000) || ' ' || (SELECT count(*) FROM d.t2) || ' ' || (SELECT count(*) FROM d.t3), '100 100 100', 'in small flushes');
CREATE TABLE s.two (a int, b text);
SELECT td_test.describe(1, 's.two');
SELECT throws_ok($$SELECT td_test.feed('SELECT 1, ''i'', NULL::s.two, row(1, ''x'')::s.two, NULL::text[]', announce => false)$$, '38000', NULL, 'a row that does not fit its description');
SELECT * FROM finish();
ROLLBACK;
