-- Apply alone, without connector and worker, against COPY of the same rows in the same minute.
-- psql -d DB -v td_test=... -f td_test.sql first; then psql -qAtX -d DB -f bench.sql.  -v n=1000000 rows.
\if :{?n}
\else
\set n 1000000
\endif
SET client_min_messages = warning;
SET synchronous_commit = off;
DROP SCHEMA IF EXISTS bench CASCADE; DROP SCHEMA IF EXISTS bench_target CASCADE;
CREATE SCHEMA bench; CREATE SCHEMA bench_target;
CREATE TABLE bench.o (id int PRIMARY KEY, customer int NOT NULL, status varchar(20), amount numeric(10,2), at timestamp(0), note text);
CREATE FUNCTION bench.r(id bigint, status text) RETURNS bench.o LANGUAGE sql IMMUTABLE AS
    $$ SELECT row(id, id % 10000, status, id * 1.37 % 9999, '2020-01-01'::timestamp + id * interval '1 s', 'a note for row ' || id || ' of this table')::bench.o $$;
CREATE TABLE bench.result (what text, rows bigint, cpu_ms float8, wall_ms float8);

SELECT td_test.create(90, 1, 'bench.o', current_user::regrole) \gset
INSERT INTO bench.result SELECT 'load', * FROM td_test.load('bench.o', 'tapdata_state.load_90_1', $$SELECT 1, 'i', NULL::bench.o, bench.r(g, 'shipped'), NULL::text[] FROM generate_series(1, $$ || :n || $$) g$$);
\setenv PGN :n
SELECT current_setting('data_directory') || '/td_bench.copy' AS file \gset
COPY tapdata_state.load_90_1 TO :'file';
CREATE TABLE bench.c (LIKE bench.o);
SELECT clock_timestamp() AS t0 \gset
COPY bench.c FROM :'file';
INSERT INTO bench.result SELECT 'COPY', :n, NULL, extract(epoch FROM clock_timestamp() - :'t0') * 1000;
SELECT td_test.publish(90, 1, 'bench.o', current_user::regrole, 'bench_target', 'o') \gset
VACUUM ANALYZE bench_target.o;
CHECKPOINT;
SELECT td_test.open('{bench.o}', '{bench_target.o}') \gset
-- 40 % updates, 30 % deletes, 30 % inserts, in no order
INSERT INTO bench.result SELECT 'mixed changes', * FROM td_test.feed(format($$
    SELECT 1, CASE WHEN k < %1$s * 0.4 THEN 'u' WHEN k < %1$s * 0.7 THEN 'd' ELSE 'i' END,
        CASE WHEN k < %1$s * 0.7 THEN bench.r(k, 'shipped') END,
        CASE WHEN k < %1$s * 0.4 THEN bench.r(k, 'done') WHEN k >= %1$s * 0.7 THEN bench.r(k + %1$s, 'new') END, NULL::text[]
    FROM (SELECT k FROM generate_series(1, %1$s) k ORDER BY hashint8(k)) x$$, :n));
CREATE UNIQUE INDEX ON bench.c (id);
TRUNCATE bench.c;
SELECT clock_timestamp() AS t0 \gset
COPY bench.c FROM :'file';
INSERT INTO bench.result SELECT 'COPY with an index', :n, NULL, extract(epoch FROM clock_timestamp() - :'t0') * 1000;
-- one hot row and its neighbours: what a backlog of small transactions looks like
INSERT INTO bench.result SELECT 'changes of 1000 keys', * FROM td_test.feed(format($$SELECT 1, 'u', bench.r(k, 'a'), bench.r(k, 'b'), NULL::text[]
    FROM (SELECT (g %% 1000)::bigint + 1 AS k FROM generate_series(1, %s) g) x$$, :n));
\pset format aligned
\pset tuples_only off
SELECT what, rows, round(cpu_ms) AS cpu_ms, round(wall_ms) AS wall_ms, round((wall_ms / (SELECT wall_ms FROM bench.result WHERE what = 'COPY'))::numeric, 2) AS "x COPY" FROM bench.result;
DROP SCHEMA bench, bench_target CASCADE;
