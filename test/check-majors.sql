-- What check-majors does with live views over local tables: the tables, the views, churn() to write and differs() to compare by plain SQL.
CREATE EXTENSION tapdata;
CREATE SCHEMA l;
CREATE TABLE l.customer (id integer PRIMARY KEY, name text NOT NULL, region text, note text, twice integer GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE l.sale (id integer PRIMARY KEY, customer integer, amount numeric(10,2), weight integer, day date) PARTITION BY RANGE (id);
CREATE TABLE l.sale_low PARTITION OF l.sale FOR VALUES FROM (MINVALUE) TO (150);
CREATE TABLE l.sale_high (day date, gone integer, weight integer, amount numeric(10,2), customer integer, id integer NOT NULL);
ALTER TABLE l.sale_high DROP COLUMN gone;
ALTER TABLE l.sale ATTACH PARTITION l.sale_high FOR VALUES FROM (150) TO (MAXVALUE);
INSERT INTO l.customer SELECT i, 'c' || i, CASE WHEN i % 5 > 0 THEN 'r' || i % 3 END FROM generate_series(1, 20) i;
INSERT INTO l.sale SELECT i, i % 25, i / 7.0, i % 9, date '2026-01-01' + i % 4 FROM generate_series(1, 250) i;

-- each after those that it reads
CREATE TABLE l.query (n integer, view text, query text);
INSERT INTO l.query VALUES
    (1, 'per_day', 'SELECT s.day, count(*) AS n, sum(s.amount) AS amount, avg(s.weight) AS weight, min(s.amount) AS least, max(s.weight) AS most FROM l.sale s GROUP BY s.day'),
    (2, 'sold', 'SELECT s.id, c.name, c.twice, s.amount FROM l.sale s JOIN l.customer c ON c.id = s.customer WHERE s.weight > 2'),
    (3, 'per_region', 'SELECT c.region, upper(c.region) AS upper, count(*) AS n, sum(s.amount * c.twice) AS amount FROM l.sale s JOIN l.customer c ON c.id = s.customer
        GROUP BY c.region, upper(c.region) HAVING count(*) > 1'),
    (4, 'regions', 'SELECT DISTINCT coalesce(c.region, c.name) AS region, c.note FROM l.customer c'),
    (5, 'per_size', 'SELECT d.n % 10 AS size, count(*) AS days, sum(d.amount) AS amount FROM l.per_day d GROUP BY d.n % 10'),
    (6, 'document', 'SELECT c.id, c.name, (SELECT jsonb_agg(s ORDER BY s.id) FROM l.sale s WHERE s.customer = c.id) AS sales FROM l.customer c'),
    (7, 'unsold', 'SELECT c.name FROM l.customer c WHERE NOT EXISTS (SELECT FROM l.sale s WHERE s.customer = c.id)'),
    (8, 'left_joined', 'SELECT c.id, s.id AS sale, s.day FROM l.customer c LEFT JOIN l.sale s ON s.customer = c.id AND s.weight > 3'),
    (9, 'ranked', 'SELECT s.id, s.customer, row_number() OVER (PARTITION BY s.customer ORDER BY s.amount, s.id) AS n FROM l.sale s'),
    (10, 'last_day', 'SELECT DISTINCT ON (s.day) s.day, s.id, s.weight FROM l.sale s ORDER BY s.day, s.id DESC'),
    (11, 'texts', 'SELECT s.customer, string_agg(s.day::text, '','' ORDER BY s.id) AS days, count(DISTINCT s.weight) AS weights, count(*) FILTER (WHERE s.weight > 4) AS heavy FROM l.sale s GROUP BY s.customer'),
    (12, 'both', 'SELECT c.id FROM l.customer c UNION SELECT s.customer FROM l.sale s'),
    (13, 'heavy', 'SELECT s.day, count(*) FILTER (WHERE s.weight > 4) AS n, sum(s.amount) FILTER (WHERE s.weight < 5) AS light FROM l.sale s GROUP BY s.day'),
    (14, 'counted', 'WITH x AS (SELECT s.customer, count(*) AS n FROM l.sale s GROUP BY s.customer) SELECT c.id, x.n FROM l.customer c LEFT JOIN x ON x.customer = c.id'),
    (15, 'best', 'SELECT s.customer, c.name, sum(s.amount) AS amount FROM l.sale s LEFT JOIN l.customer c ON c.id = s.customer GROUP BY s.customer, c.name
        ORDER BY sum(s.weight) DESC NULLS LAST, s.customer, c.name LIMIT 5 OFFSET 1'),
    (16, 'last_sales', 'SELECT t.id, t.day, c.region FROM (SELECT s.id, s.day, s.customer FROM l.sale s ORDER BY s.day DESC, s.id LIMIT 7) t LEFT JOIN l.customer c ON c.id = t.customer'),
    (17, 'first_regions', 'SELECT s.id, c.region FROM l.sale s LEFT JOIN l.customer c ON c.id = s.customer ORDER BY c.region DESC, s.id LIMIT 6'),
    (18, 'sets', 'SELECT c.region, s.day, coalesce(s.day, ''2000-01-01'') + 1 AS next, grouping(s.day, c.region) AS g, count(*) AS n, max(s.amount) AS most, s.weight + 1 AS w
        FROM l.sale s JOIN l.customer c ON c.id = s.customer GROUP BY ROLLUP (c.region, s.day), GROUPING SETS ((s.weight + 1), ()) HAVING count(*) > grouping(c.region)'),
    (19, 'ranked_sets', 'SELECT s.day, s.weight, count(*) AS n, rank() OVER (PARTITION BY s.day ORDER BY count(*), s.weight, grouping(s.weight)) AS r FROM l.sale s GROUP BY CUBE (s.day, s.weight)'),
    (20, 'all_sales', 'SELECT count(DISTINCT s.customer) AS customers, sum(DISTINCT s.weight) FILTER (WHERE s.id > 9) AS w, count(*) AS n FROM l.sale s GROUP BY ()'),
    (21, 'numbers', 'SELECT generate_series(1, s.weight % 3) AS k, s.day, count(*) AS n FROM l.sale s GROUP BY ROLLUP (generate_series(1, s.weight % 3), s.day)'),
    (22, 'all_customers', 'SELECT customer, c.region, count(*) AS n FROM l.customer c (customer) FULL JOIN l.sale s USING (customer) GROUP BY customer, c.region'),
    (23, 'all_days', 'SELECT day, count(*) AS n, sum(s.weight) AS weight FROM l.sale s FULL JOIN l.per_day d USING (day) GROUP BY day');

-- what is new in 17
INSERT INTO l.query VALUES
    (101, 'any_day', 'SELECT s.customer, any_value(s.day ORDER BY s.id) AS day FROM l.sale s GROUP BY s.customer');
CREATE FUNCTION l.merge(i integer) RETURNS bigint LANGUAGE sql AS $$
    WITH m AS (
        MERGE INTO l.sale s USING (SELECT i AS id UNION ALL SELECT i + 1) x ON x.id = s.id
        WHEN MATCHED AND s.weight > 6 THEN DELETE
        WHEN MATCHED THEN UPDATE SET weight = s.weight + 1, day = s.day - 1
        WHEN NOT MATCHED THEN INSERT (id, customer, weight) VALUES (x.id, i % 25, 4)
        RETURNING merge_action(), s.id)
    SELECT count(*) FROM m
$$;

-- and in 18: a key over periods, a virtual column, a NOT NULL that old rows need not have
SELECT current_setting('server_version_num')::integer >= 180000 AS since_18 \gset
\if :since_18
CREATE EXTENSION btree_gist;
CREATE TABLE l.rate (region text, valid daterange, rate integer CONSTRAINT rated NOT NULL, twice integer GENERATED ALWAYS AS (rate * 2) VIRTUAL, first integer,
    PRIMARY KEY (region, valid WITHOUT OVERLAPS));
INSERT INTO l.rate SELECT 'r' || i % 4, daterange(date '2026-01-01' + i / 4 * 10, date '2026-01-08' + i / 4 * 10), i FROM generate_series(0, 15) i;
ALTER TABLE l.rate ADD CONSTRAINT first_known NOT NULL first NOT VALID;
INSERT INTO l.query VALUES
    (102, 'rates', 'SELECT r.region, r.valid, r.rate, r.first FROM l.rate r'),
    (103, 'per_first', 'SELECT r.first, count(*) AS n, sum(r.rate) AS rate FROM l.rate r GROUP BY r.first'),
    (104, 'rated', 'SELECT c.id, r.rate, r.valid FROM l.customer c LEFT JOIN l.rate r ON r.region = c.region AND r.valid @> date ''2026-01-03'''),
    (105, 'one_rate', 'SELECT r.region, r.valid, r.rate, count(s.id) AS n FROM l.rate r LEFT JOIN l.sale s ON r.valid @> s.day AND s.customer = r.rate GROUP BY r.region, r.valid');
CREATE FUNCTION l.newer(i integer) RETURNS void LANGUAGE sql AS $$
    UPDATE l.rate SET rate = i % 25, valid = daterange(lower(valid), lower(valid) + 1 + i % 9), first = coalesce(first, i % 5) WHERE region = 'r' || i % 4 AND rate % 3 = i % 3;
    DELETE FROM l.rate WHERE first = i % 50
$$;
\else
CREATE FUNCTION l.newer(i integer) RETURNS void LANGUAGE sql AS $$ SELECT NULL::void $$;
\endif

CREATE PROCEDURE l.churn(changes integer) LANGUAGE plpgsql AS $$
DECLARE
    i integer;
    r float8;
BEGIN
    FOR n IN 1 .. changes LOOP
        i := 1 + (random() * 300)::integer;
        r := random();
        BEGIN
            IF r < 0.25 THEN INSERT INTO l.sale VALUES (i, i % 25, nullif(i % 6, 0) / 3.0, nullif(i % 10, 4), nullif(date '2026-01-01' + i % 5, '2026-01-03'));
            ELSIF r < 0.4 THEN DELETE FROM l.sale WHERE id = i;
            ELSIF r < 0.7 THEN UPDATE l.sale SET amount = amount + 1, weight = nullif(i % 10, 5), day = day + i % 2 WHERE id % 50 = i % 50;
            ELSIF r < 0.75 THEN UPDATE l.sale SET id = 301 - id WHERE id = i;   -- into the other partition
            ELSIF r < 0.9 THEN UPDATE l.customer SET region = nullif('r' || i % 4, 'r3'), note = repeat('long' || i, 900) WHERE id = i % 25;
            ELSIF r < 0.95 THEN DELETE FROM l.customer WHERE id = i % 25;
            ELSIF r < 0.96 THEN PERFORM l.merge(i);
            ELSIF r < 0.98 THEN PERFORM l.newer(i);
            ELSE INSERT INTO l.customer VALUES (i % 25, 'c' || i % 25, 'r0');
            END IF;
        EXCEPTION WHEN unique_violation OR deadlock_detected OR serialization_failure THEN NULL;
        END;
        IF n % 9 = 0 THEN ROLLBACK; ELSIF n % 2 = 0 THEN COMMIT; END IF;
        IF n = changes * 2 / 3 THEN TRUNCATE l.sale_high; END IF;
    END LOOP;
END $$;

-- Views that don't equal their query, when nobody writes and they have been waited for.
CREATE FUNCTION l.differs() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    q record;
    n bigint;
BEGIN
    FOR q IN SELECT * FROM l.query LOOP
        EXECUTE format('SELECT count(*) FROM ((TABLE l.%1$I EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE l.%1$I)) x', q.view, q.query) INTO n;
        IF n > 0 THEN RETURN NEXT format('%s: %s rows', q.view, n); END IF;
    END LOOP;
END $$;

SELECT tapdata.create_view('l.' || view, query) FROM l.query ORDER BY n;

-- What can't be kept is refused by name.
CREATE PROCEDURE l.refused(sqlstate text, command text) LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE command;
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE = refused.sqlstate THEN RETURN; END IF;
        RAISE;
    END;
    RAISE EXCEPTION 'not refused: %', command;
END $$;
CALL l.refused('0A000', $$SELECT tapdata.create_view('l.no', 'SELECT j.day FROM l.sale s, JSON_TABLE(to_jsonb(s), ''$'' COLUMNS (day text PATH ''$.day'')) j')$$);
CALL l.refused('0A000', $$SELECT tapdata.create_view('l.no', 'SELECT s.id, JSON_VALUE(to_jsonb(s), ''$.day'') AS day FROM l.sale s')$$);
\if :since_18
CALL l.refused('0A000', $$SELECT tapdata.create_view('l.no', 'SELECT r.region, r.twice FROM l.rate r')$$);
CALL l.refused('0A000', $$SELECT tapdata.create_view('l.no', 'SELECT r.region, to_jsonb(r) AS row FROM l.rate r')$$);
CALL l.refused('0A000', $$SELECT tapdata.create_view('l.no', 'SELECT s.id, uuidv7() AS u FROM l.sale s')$$);
CALL l.refused('2BP01', 'ALTER TABLE l.rate DROP CONSTRAINT rated');
\endif
