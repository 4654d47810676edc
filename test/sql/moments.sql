-- Text that becomes a moment: what the query spells out and means another one at each reading is refused, what stands in rows is told of.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS tapdata;
SET client_min_messages = notice;
\set VERBOSITY terse
CREATE SCHEMA moments;
SET search_path = moments;
CREATE TABLE orders (id integer PRIMARY KEY, at text, v varchar(20), doc jsonb, days text[], placed timestamptz);
CREATE DOMAIN due AS date;
CREATE FUNCTION seen(what text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM FROM tapdata.explain_query(what); RETURN ''accepted''; EXCEPTION WHEN feature_not_supported THEN RETURN SQLERRM; END';

-- refused
SELECT seen(format('SELECT id, %s AS d FROM orders', e)) AS why, e FROM unnest(ARRAY[
    '''now''::text::timestamptz', '''today''::text::date', '''Tomorrow''::text::timestamp', '''NOW''::text::time', '''yesterday 12:00''::varchar::timestamptz', '''now''::text::due',
    '''{now}''::text::timestamptz[]', '''{today}''::text[]::date[]', 'ARRAY[''today''::text]::date[]', '''[today,)''::text::daterange', 'coalesce(at, ''now'')::timestamptz', 'coalesce(at::timestamptz, ''now''::text::timestamptz)',
    'CASE WHEN at IS NULL THEN ''today'' ELSE at END::date', 'greatest(at, ''now'')::timestamptz', 'nullif(''now'', at)::timestamptz', '(''no'' || ''w'')::timestamptz', 'lower(''TODAY'')::date', '(''"now"''::jsonb #>> ''{}'')::timestamptz',
    '(SELECT max(o.placed) FROM orders o WHERE o.placed < ''now''::text::timestamptz AND o.id = orders.id)']) AS e;
SELECT seen('SELECT id FROM orders WHERE placed < ''now''::text::timestamptz') AS why;
SELECT seen('SELECT at, count(*) AS n FROM orders GROUP BY at HAVING max(placed) < ''now''::text::timestamptz') AS why;
\set VERBOSITY default
SELECT * FROM tapdata.explain_query('SELECT id, ''now''::text::timestamptz AS d FROM orders');
\set VERBOSITY terse

-- not: other text, and words that are no moment; literals are moments once they have been parsed
SELECT seen(format('SELECT id, %s AS d FROM orders', e)) AS why, e FROM unnest(ARRAY[
    '''2026-01-01''::text::timestamptz', '''epoch''::text::date', '''know''::text', '(doc->>''now'')::timestamptz', 'at::date', '''now''::text', '''now''::text::name', 'replace(at, ''now'', '''')::timestamptz', 'timestamptz ''2026-01-01 12:00+00''',
    'CASE WHEN at = ''now'' THEN NULL ELSE at END::timestamptz', 'days::date[]']) AS e;

-- told of, once
SELECT tapdata.create_view('of_rows', 'SELECT id, (doc->>''at'')::timestamptz AS at FROM orders');
SELECT tapdata.create_view('of_elements', 'SELECT id, days::date[] AS days FROM orders');
SELECT tapdata.create_view('keyed', 'SELECT o.id, (SELECT max(i.at::date) FROM orders i WHERE i.id = o.id) AS at FROM orders o');
SELECT tapdata.create_view('spelt_out', 'SELECT id, placed > ''2026-01-01''::text::timestamptz AS late FROM orders');
SELECT tapdata.create_view('none', 'SELECT id, placed::date AS d, id::text AS i FROM orders');
SET client_min_messages = warning;
DROP SCHEMA moments CASCADE;
