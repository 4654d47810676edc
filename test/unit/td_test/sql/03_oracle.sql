-- Random changes of model tables, applied in random portions, against the models themselves.
-- psql -v seed=0.5 -v rounds=40
\if :{?seed}
\else
\set seed 0.5
\endif
\if :{?rounds}
\else
\set rounds 60
\endif
BEGIN;
SELECT plan(5);
SELECT diag('seed ' || :'seed' || ', rounds ' || :'rounds');
SELECT setseed((:seed)::float8 / CASE WHEN abs((:seed)::float8) > 1 THEN 2147483648 ELSE 1 END);    -- TD_SEED is a whole number of 31 bits
CREATE SCHEMA s; CREATE SCHEMA d;
-- one row type for all tables, so that one table holds the changes of all; small key spaces, so that keys meet again and again
CREATE TABLE s.i (id int PRIMARY KEY, k numeric NOT NULL, u int, v text, w text);
CREATE TABLE s.x (id int, k numeric, u int, v text, w text, PRIMARY KEY (k, id));
CREATE TABLE s.h (id int NOT NULL, k numeric NOT NULL, u int, v text, w text);
CREATE TABLE s.p (LIKE s.i INCLUDING ALL);
CREATE TABLE d.i (mine int DEFAULT 7, gone int, w text, id int PRIMARY KEY, k numeric, u int UNIQUE, v text);
ALTER TABLE d.i DROP COLUMN gone;
CREATE TABLE d.x (LIKE s.x INCLUDING ALL);
CREATE INDEX ON d.x (v);
CREATE TABLE d.h (LIKE s.h INCLUDING ALL);
CREATE TABLE d.p (LIKE s.p INCLUDING ALL);
CREATE TABLE s.c (seq bigserial PRIMARY KEY, tbl int, op text, old s.i, new s.i, absent text[]);

-- logs what is done to the models; now and then columns that did not change are left out of the new image, or the old one is
CREATE FUNCTION s.log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    n int := array_position('{i,x,h,p}'::text[], TG_TABLE_NAME::text);
    o s.i; r s.i; a text[];
BEGIN
    IF TG_OP <> 'INSERT' THEN o := row(old.id, old.k, old.u, old.v, old.w); END IF;
    IF TG_OP <> 'DELETE' THEN r := row(new.id, new.k, new.u, new.v, new.w); END IF;
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME <> 'h' AND random() < 0.3 THEN
        IF old.v IS NOT DISTINCT FROM new.v THEN a := a || 'v'::text; END IF;
        IF old.w IS NOT DISTINCT FROM new.w THEN a := a || 'w'::text; END IF;
        IF random() < 0.7 THEN
            o.v := 'stale'; o.w := 'stale';     -- an old image with the key alone: what it says otherwise must not be looked at
            a := NULL;
            r := row(new.id, new.k, new.u, new.v, new.w);
        END IF;
        IF old.id = new.id AND old.k = new.k AND random() < 0.5 THEN o := NULL; END IF;
    END IF;
    INSERT INTO s.c (tbl, op, old, new, absent) VALUES (n, lower(left(TG_OP, 1)), o, r, a);
    RETURN NULL;
END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON s.i FOR EACH ROW EXECUTE FUNCTION s.log();
CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON s.x FOR EACH ROW EXECUTE FUNCTION s.log();
CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON s.h FOR EACH ROW EXECUTE FUNCTION s.log();
CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON s.p FOR EACH ROW EXECUTE FUNCTION s.log();
-- td_test.feed leaves the transaction in the replica role
ALTER TABLE s.i ENABLE ALWAYS TRIGGER log;
ALTER TABLE s.x ENABLE ALWAYS TRIGGER log;
ALTER TABLE s.h ENABLE ALWAYS TRIGGER log;
ALTER TABLE s.p ENABLE ALWAYS TRIGGER log;

CREATE FUNCTION pg_temp.text() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN random() < 0.1 THEN NULL WHEN random() < 0.02 THEN repeat(md5(random()::text), 300) ELSE md5(random()::text) END $$;
-- one random change of one model table
CREATE FUNCTION pg_temp.change(t text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r float := random();
    a int := 1 + random() * 40;
    b int := 1 + random() * 40;
BEGIN
    IF r < 0.35 THEN
        EXECUTE format('INSERT INTO s.%I VALUES ($1, $1 %% 3, nullif($2, 0), pg_temp.text(), pg_temp.text()) %s', t, CASE WHEN t <> 'h' THEN 'ON CONFLICT DO NOTHING' ELSE '' END)
            USING a, CASE WHEN t = 'i' AND NOT EXISTS (SELECT FROM s.i WHERE u = a + 1000) THEN a + 1000 ELSE 0 END;
    ELSIF r < 0.55 THEN
        EXECUTE format('UPDATE s.%I SET v = pg_temp.text() WHERE id = $1', t) USING a;
    ELSIF r < 0.65 THEN
        EXECUTE format('UPDATE s.%I SET w = pg_temp.text(), v = v WHERE id = $1', t) USING a;
    ELSIF r < 0.75 THEN    -- a change of key, where it is free
        EXECUTE format('UPDATE s.%I SET id = $2 WHERE id = $1 AND NOT EXISTS (SELECT FROM s.%I WHERE id = $2)', t, t) USING a, b;
    ELSIF r < 0.80 AND t = 'i' THEN    -- unique values swapped in three steps
        IF a <> b AND (SELECT count(u) FROM s.i WHERE id IN (a, b)) = 2 THEN
            DECLARE ua int := (SELECT u FROM s.i WHERE id = a); ub int := (SELECT u FROM s.i WHERE id = b);
            BEGIN
                UPDATE s.i SET u = -ua WHERE id = a;
                UPDATE s.i SET u = ua WHERE id = b;
                UPDATE s.i SET u = ub WHERE id = a;
            END;
        END IF;
    ELSIF r < 0.97 THEN
        EXECUTE format('DELETE FROM s.%I WHERE id = $1', t) USING a;
    ELSIF r < 0.972 THEN
        EXECUTE format('TRUNCATE s.%I', t);
        INSERT INTO s.c (tbl, op) VALUES (array_position('{i,x,h,p}'::text[], t), 't');
    END IF;
END $$;
CREATE FUNCTION pg_temp.differences() RETURNS TABLE (t text, n bigint) LANGUAGE sql AS $$
    SELECT 'i', count(*) FROM ((SELECT id, k, u, v, w FROM s.i EXCEPT ALL SELECT id, k, u, v, w FROM d.i) UNION ALL (SELECT id, k, u, v, w FROM d.i EXCEPT ALL SELECT id, k, u, v, w FROM s.i)) x
    UNION ALL SELECT 'x', count(*) FROM ((SELECT * FROM s.x EXCEPT ALL SELECT * FROM d.x) UNION ALL (SELECT * FROM d.x EXCEPT ALL SELECT * FROM s.x)) x
    UNION ALL SELECT 'h', count(*) FROM ((SELECT * FROM s.h EXCEPT ALL SELECT * FROM d.h) UNION ALL (SELECT * FROM d.h EXCEPT ALL SELECT * FROM s.h)) x
    UNION ALL SELECT 'p', count(*) FROM ((SELECT * FROM s.p EXCEPT ALL SELECT * FROM d.p) UNION ALL (SELECT * FROM d.p EXCEPT ALL SELECT * FROM s.p)) x $$;

CREATE FUNCTION pg_temp.rounds(rounds int, OUT bad text, OUT changes bigint) LANGUAGE plpgsql AS $$
DECLARE
    portion int;
    part bigint;
BEGIN
    changes := 0;
    FOR i IN 1 .. rounds LOOP
        -- from a handful, done one by one, to hundreds, done as sets in several flushes
        portion := CASE i % 3 WHEN 0 THEN 1 + random() * 8 WHEN 1 THEN 10 + random() * 50 ELSE 200 + random() * 400 END;
        PERFORM td_test.open('{s.i,s.x,s.h,s.p}', '{d.i,d.x,d.h,d.p}', memory_kb => CASE WHEN random() < 0.5 THEN 0 ELSE 4 + (random() * 60)::int END);
        FOR j IN 1 .. portion LOOP
            PERFORM pg_temp.change((ARRAY['i', 'i', 'x', 'h', 'p'])[1 + floor(random() * 5)]);
        END LOOP;
        SELECT rows INTO part FROM td_test.feed('SELECT tbl, op, old, new, absent FROM s.c ORDER BY seq');
        changes := changes + part;
        DELETE FROM s.c;
        SELECT string_agg(d::text, ' ') INTO bad FROM pg_temp.differences() d WHERE n > 0;
        IF bad IS NOT NULL THEN
            bad := format('round %s: %s', i, bad);
            RETURN;
        END IF;
    END LOOP;
END $$;
DELETE FROM tapdata.log_entry;
CREATE TEMP TABLE result AS SELECT * FROM pg_temp.rounds(:rounds);
SELECT is(bad, NULL, 'targets equal their models after every portion') FROM result;
SELECT cmp_ok(changes, '>', 20::bigint * :rounds, 'and that was not for lack of changes: ' || changes) FROM result;
SELECT is((SELECT string_agg(message, ', ') FROM tapdata.log_entry), NULL, 'no change missed its row');
SELECT is((SELECT count(*) FROM d.i WHERE mine IS DISTINCT FROM 7), 0::bigint, 'the target''s own column kept its default');

-- ---- replay over a load: the same changes again, from any earlier point, end in the same state ----
CREATE FUNCTION pg_temp.replays(rounds int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    bad text;
BEGIN
    FOR i IN 1 .. rounds LOOP
        DELETE FROM s.c;
        FOR j IN 1 .. 300 LOOP
            IF j = 100 THEN    -- the load sees one half of the keys here ...
                DELETE FROM d.p;
                INSERT INTO d.p SELECT * FROM s.p WHERE id <= 20;
            ELSIF j = 200 THEN -- ... and the other here; the stream begins before both
                INSERT INTO d.p SELECT * FROM s.p WHERE id > 20 ON CONFLICT DO NOTHING;
            END IF;
            PERFORM pg_temp.change('p');
        END LOOP;
        PERFORM td_test.open('{s.i,s.x,s.h,s.p}', '{d.i,d.x,d.h,d.p}', catching_up => true, memory_kb => CASE i % 3 WHEN 0 THEN 1 WHEN 1 THEN 20 ELSE 0 END);
        PERFORM td_test.feed('SELECT tbl, op, old, new, absent FROM s.c ORDER BY seq');
        SELECT string_agg(d::text, ' ') INTO bad FROM pg_temp.differences() d WHERE n > 0;
        IF bad IS NOT NULL THEN
            RETURN format('round %s: %s', i, bad);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
SELECT is(pg_temp.replays(:rounds / 2), NULL, 'catching up over a load in two pieces');
SELECT * FROM finish();
ROLLBACK;
