-- Live views as psql shows them: explanations, the table, and each construct that is refused with what to do instead.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tapdata;
SET client_min_messages = notice;
\set VERBOSITY default
CREATE SCHEMA live;
SET search_path = live;
CREATE TABLE product (id integer PRIMARY KEY, name text NOT NULL, price numeric(10,2));
CREATE TABLE orders (id integer PRIMARY KEY, product integer NOT NULL, amount integer, placed timestamptz, weight float8);
CREATE UNLOGGED TABLE fast (a integer);
CREATE VIEW plain AS SELECT id FROM orders;
CREATE MATERIALIZED VIEW stale AS SELECT id FROM orders;
CREATE FUNCTION roll(i integer) RETURNS integer LANGUAGE sql VOLATILE AS 'SELECT i';
CREATE FUNCTION look(i integer) RETURNS integer LANGUAGE sql STABLE AS 'SELECT i';

-- what it would be
SELECT * FROM tapdata.explain_query('SELECT p.name, count(*) AS n, sum(o.amount) AS amount, max(o.placed) AS last FROM orders o JOIN product p ON p.id = o.product
    WHERE o.amount > 0 GROUP BY p.name HAVING count(*) > 1');
SELECT * FROM tapdata.explain_query('SELECT o.id, p.name FROM orders o, product p WHERE p.id = o.product');
SELECT * FROM tapdata.explain_query('SELECT DISTINCT product FROM orders');
SELECT * FROM tapdata.explain_query('SELECT sum(weight), avg(amount) FROM orders');
SELECT * FROM tapdata.explain_query('SELECT product, count(*) FILTER (WHERE amount > 1) FROM orders GROUP BY product');

-- by its keys
SELECT * FROM tapdata.explain_query('SELECT DISTINCT ON (product) product, id FROM orders');
SELECT * FROM tapdata.explain_query('SELECT o.id FROM orders o LEFT JOIN product p ON p.id = o.product');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders UNION ALL SELECT id FROM product');
SELECT * FROM tapdata.explain_query('WITH o AS (SELECT * FROM orders) SELECT id FROM o');
SELECT * FROM tapdata.explain_query('SELECT id FROM (SELECT id FROM orders) o');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders WHERE product IN (SELECT id FROM product)');
SELECT regexp_replace(node, 'v\d+_', 'vN_') AS node, strategy, regexp_replace(detail, 'v\d+_', 'vN_') AS detail
    FROM tapdata.explain_query('SELECT product, count(*) FROM orders GROUP BY ROLLUP (product)');
SELECT * FROM tapdata.explain_query('SELECT product, count(DISTINCT amount) FROM orders GROUP BY product');
SELECT * FROM tapdata.explain_query('SELECT product, string_agg(id::text, '','') FROM orders GROUP BY product');
SELECT * FROM tapdata.explain_query('SELECT id, unnest(ARRAY[1, 2]) FROM orders');
SELECT * FROM tapdata.explain_query('SELECT id FROM plain');

-- its first rows
SELECT * FROM tapdata.explain_query('SELECT id, amount FROM orders ORDER BY id DESC LIMIT 3 OFFSET 2');
SELECT regexp_replace(node, 'v\d+_', 'vN_') AS node, strategy, regexp_replace(regexp_replace(detail, 'v\d+_', 'vN_'), 'about \d+ of', 'about N of') AS detail
    FROM tapdata.explain_query('SELECT id, amount FROM orders ORDER BY placed NULLS FIRST LIMIT 3');
SELECT regexp_replace(node, 'v\d+_', 'vN_') AS node, strategy, regexp_replace(regexp_replace(detail, 'v\d+_', 'vN_'), 'about \d+ of', 'about N of') AS detail
    FROM tapdata.explain_query('SELECT p.name, t.n FROM (SELECT product, sum(amount) AS n FROM orders GROUP BY product ORDER BY n DESC FETCH FIRST 3 ROWS WITH TIES) t JOIN product p ON p.id = t.product');

-- as a whole
SELECT * FROM tapdata.explain_query('SELECT id, row_number() OVER () FROM orders');

-- what it can't be
SELECT * FROM tapdata.explain_query('SELECT id FROM orders ORDER BY id');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders OFFSET 3');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders LIMIT (SELECT count(*) FROM product)');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders ORDER BY placed OFFSET 1 FETCH FIRST 3 ROWS WITH TIES');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders FOR UPDATE');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders TABLESAMPLE SYSTEM (10)');
SELECT * FROM tapdata.explain_query('SELECT g FROM generate_series(1, 3) g');
SELECT * FROM tapdata.explain_query('SELECT ctid FROM orders');
SELECT * FROM tapdata.explain_query('VALUES (1)');
SELECT * FROM tapdata.explain_query('SELECT 1');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders WHERE placed < now()');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders WHERE current_user = ''x''');
SELECT * FROM tapdata.explain_query('SELECT id, random() FROM orders');
SELECT * FROM tapdata.explain_query('SELECT roll(id) FROM orders');
SELECT * FROM tapdata.explain_query('SELECT look(id) FROM orders');
SELECT * FROM tapdata.explain_query('SELECT a FROM fast');
SELECT * FROM tapdata.explain_query('SELECT id FROM stale');
SELECT * FROM tapdata.explain_query('SELECT oid FROM pg_class');
SELECT * FROM tapdata.explain_query('DELETE FROM orders');
SELECT * FROM tapdata.explain_query('SELECT id FROM ordres');
SELECT * FROM tapdata.explain_query('SELECT id FROM orders; SELECT id FROM orders');

-- what it is
SELECT tapdata.create_view('revenue', 'SELECT p.name, o.placed::date AS day, sum(o.amount * p.price) AS revenue FROM orders o JOIN product p ON p.id = o.product GROUP BY 1, 2');
\d revenue
\d tapdata_views.revenue
SELECT view, twin, strategy, options FROM tapdata.views;
ALTER TABLE product DROP COLUMN price;
DROP TABLE orders;
INSERT INTO revenue VALUES ('x', '2026-01-01', 1);
ALTER TABLE revenue ADD COLUMN more integer;
SELECT tapdata.drop_view('revenue');
SELECT tapdata.drop_view('orders');
SELECT relname, relreplident FROM pg_class WHERE oid IN ('orders'::regclass, 'product'::regclass) ORDER BY relname;
SET client_min_messages = warning;
SELECT tapdata.create_view('dashboard', 'SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM product) AS products');
-- rows that another table has by two columns at once: no warnings
SELECT tapdata.create_view('pairs', 'SELECT DISTINCT o.product FROM orders o JOIN product p ON p.id = o.product WHERE o.id IN (SELECT x.id FROM orders x WHERE x.product = o.product)');
DROP SCHEMA live CASCADE;
