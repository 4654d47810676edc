-- Code that a target's owner hangs on the target runs as the owner, restricted, and never as the worker.
SET client_min_messages = warning;
BEGIN;
SELECT plan(21);
CREATE ROLE td_evil; CREATE ROLE td_victim;
CREATE SCHEMA s; CREATE SCHEMA d; CREATE SCHEMA evil;
GRANT ALL ON SCHEMA d, evil TO td_evil, td_victim; GRANT USAGE ON SCHEMA s TO PUBLIC;
CREATE TABLE d.seen (n serial, what text, who text, path text, escaped text);
GRANT INSERT, SELECT ON d.seen TO PUBLIC; GRANT USAGE ON d.seen_n_seq TO PUBLIC;
CREATE TABLE s.t (id int PRIMARY KEY, v text);

SET LOCAL ROLE td_evil;
-- notes who runs it, and tries to become more
CREATE FUNCTION evil.volatile_note(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    try text;
    escaped text;
BEGIN
    FOREACH try IN ARRAY ARRAY['ALTER ROLE td_evil SUPERUSER', 'SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION postgres', 'RESET SESSION AUTHORIZATION',
        'SET LOCAL session_replication_role = origin', 'CREATE TEMP TABLE shadow (x int)', 'COPY d.seen TO PROGRAM ''true''', 'SET CONSTRAINTS ALL DEFERRED;ALTER ROLE td_evil SUPERUSER',
        'PREPARE x AS SELECT 1; DEALLOCATE x; ALTER ROLE td_evil SUPERUSER'] LOOP
        BEGIN
            EXECUTE try;
            escaped := concat_ws(', ', escaped, try);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    INSERT INTO d.seen (what, who, path, escaped) VALUES (what, current_user, current_setting('search_path'), escaped);
    PERFORM set_config('search_path', 'evil', false);
    RETURN what;
END $$;
CREATE FUNCTION evil.note(what text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN evil.volatile_note(what); END $$;
CREATE FUNCTION evil.trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM evil.volatile_note(TG_NAME || ' ' || TG_OP);
    RETURN coalesce(new, old);
END $$;
CREATE TABLE d.sets (id int PRIMARY KEY, v text,
    a text DEFAULT evil.volatile_note('default'),
    c text DEFAULT evil.note('folded default'),
    g text GENERATED ALWAYS AS (evil.note('generated ' || v)) STORED,
    CHECK (evil.note('check ' || v) <> ''));
CREATE INDEX ON d.sets (evil.note('index ' || v));
CREATE INDEX ON d.sets (id) WHERE evil.note('predicate ' || v) <> '';
CREATE TABLE d.fires (id int PRIMARY KEY, v text);
CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON d.fires FOR EACH ROW EXECUTE FUNCTION evil.trigger();
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE OR DELETE ON d.fires DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.trigger();
CREATE TRIGGER truncated AFTER TRUNCATE ON d.fires EXECUTE FUNCTION evil.trigger();
ALTER TABLE d.fires ENABLE ALWAYS TRIGGER before, ENABLE REPLICA TRIGGER deferred, ENABLE ALWAYS TRIGGER truncated;
RESET ROLE;
SET LOCAL ROLE td_victim;
CREATE FUNCTION evil.lookup() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO d.seen (what, who, path) VALUES ('victim', current_user, current_setting('search_path'));
    RETURN new;
END $$;
CREATE TABLE d.victim (id int PRIMARY KEY, v text);
CREATE TRIGGER t BEFORE INSERT ON d.victim FOR EACH ROW EXECUTE FUNCTION evil.lookup();
ALTER TABLE d.victim ENABLE ALWAYS TRIGGER t;
RESET ROLE;
TRUNCATE d.seen;

CREATE FUNCTION pg_temp.verdict(label text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEXT is((SELECT string_agg(DISTINCT who, ', ') FROM d.seen), 'td_evil', label || ': runs as the owner');
    RETURN NEXT is((SELECT string_agg(DISTINCT escaped, ', ') FROM d.seen), NULL, label || ': and cannot become more');
    RETURN NEXT is((SELECT path FROM d.seen ORDER BY n LIMIT 1), 'pg_catalog, pg_temp', label || ': under a locked search_path');
    RETURN NEXT is(current_user::text || ' ' || current_setting('search_path') || ' ' || (SELECT rolsuper FROM pg_roles WHERE rolname = 'td_evil'),
        session_user::text || ' ' || current_setting('search_path') || ' false', label || ': and we are ourselves again');
    RETURN NEXT isnt(current_setting('search_path'), 'evil', label || ': with our own search_path');
END $$;

SELECT td_test.open('{s.t}', '{d.sets}');
SELECT rows FROM td_test.feed($$SELECT 1, 'i', NULL::s.t, row(g, 'v')::s.t, NULL::text[] FROM generate_series(1, 3) g$$);
SELECT rows FROM td_test.feed($$SELECT 1, 'u', row(g % 3 + 1, '')::s.t, row(g % 3 + 1, 'w')::s.t, NULL::text[] FROM generate_series(1, 20) g$$);
SELECT set_eq('SELECT DISTINCT split_part(what, '' '', 1) FROM d.seen', ARRAY['default', 'folded', 'generated', 'check', 'index', 'predicate'], 'changes reach all of the owner''s code');
SELECT pg_temp.verdict('changes');
TRUNCATE d.seen;
SELECT rows FROM td_test.load('s.t', 'd.sets', $$SELECT 1, 'i', NULL::s.t, row(g, 'v')::s.t, NULL::text[] FROM generate_series(11, 13) g$$);
SELECT set_eq('SELECT DISTINCT split_part(what, '' '', 1) FROM d.seen', ARRAY['default', 'folded', 'generated', 'check', 'index', 'predicate'], 'so does a load');
SELECT pg_temp.verdict('load');
TRUNCATE d.seen;
SELECT td_test.open('{s.t}', '{d.fires}');
SELECT rows FROM td_test.feed($$VALUES (1, 'i', NULL::s.t, row(1, 'v')::s.t, NULL::text[]), (1, 'u', row(1, 'v')::s.t, row(1, 'w')::s.t, NULL), (1, 'd', row(1, 'w')::s.t, NULL, NULL),
    (1, 't', NULL, NULL, NULL)$$);
SELECT is(string_agg(what, ', ' ORDER BY n), 'before INSERT, deferred INSERT, before UPDATE, deferred UPDATE, before DELETE, deferred DELETE, truncated TRUNCATE', 'triggers fire, deferred ones too')
    FROM d.seen;
SELECT pg_temp.verdict('triggers');
TRUNCATE d.seen;
CREATE TABLE s.t2 (LIKE s.t INCLUDING ALL);
SELECT td_test.open('{s.t,s.t2}', '{d.fires,d.victim}');
SELECT rows FROM td_test.feed($$SELECT g % 2 + 1, 'i', NULL::s.t, row(g, 'v')::s.t, NULL::text[] FROM generate_series(1, 6) g$$);
SELECT is(string_agg(DISTINCT who || ' ' || path, '; '), 'td_victim pg_catalog, pg_temp', 'what one owner''s code sets does not reach the next owner''s') FROM d.seen WHERE what = 'victim';
-- the error of a trigger leaves nothing behind
CREATE FUNCTION pg_temp.caught(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    RETURN '00000';
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || current_user;
END $$;
CREATE OR REPLACE FUNCTION evil.lookup() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0042'; END $$;
SELECT is(pg_temp.caught($$SELECT td_test.feed('SELECT 2, ''i'', NULL::s.t, row(99, ''v'')::s.t, NULL::text[]')$$), 'P0042 ' || session_user, 'after an error we are ourselves');
-- an owner that the pipeline's owner may not become
SELECT td_test.open('{s.t}', '{d.victim}', owner => 'td_evil');
SELECT is(pg_temp.caught($$SELECT td_test.feed('SELECT 1, ''i'', NULL::s.t, row(99, ''v'')::s.t, NULL::text[]')$$), '42501 ' || session_user, 'nobody writes into a table of an owner he is not');
SELECT * FROM finish();
ROLLBACK;
