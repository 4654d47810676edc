-- Values of every type, by load and by change; what is refused and how it is named.
BEGIN;
SELECT plan(49);
CREATE SCHEMA s; CREATE SCHEMA d;

-- ---- type names ----
SELECT is(td_test.type(9, 20), 'character varying(20)', 'varchar(n)');
SELECT is(td_test.type(9), 'text', 'text');
SELECT is(td_test.type(9, 20000000), 'text', 'a length past varchar''s is text');
SELECT is(td_test.type(8, 12, 2), 'numeric(12,2)', 'numeric');
SELECT is(td_test.type(8), 'numeric', 'numeric without precision');
SELECT is(td_test.type(5), 'numeric(20,0)', 'unsigned 64-bit');
SELECT is(td_test.type(13, 3), 'timestamp(3) with time zone', 'timestamptz');
SELECT is(td_test.type(12), 'timestamp without time zone', 'timestamp');
SELECT is(td_test.type(14, 0), 'interval(0)', 'interval');
SELECT is(td_test.type(16, 5), 'bit(5)', 'bit');
SELECT is(td_test.type(17), 'text[]', 'text[]');
SELECT throws_ok('SELECT td_test.type(99)', '0A000', NULL, 'an unknown type');

-- ---- round trip ----
CREATE TABLE s.v (id bigint PRIMARY KEY, b bool, i2 int2 NOT NULL, i4 int4, i8 int8, u td_test.uint8, f4 float4, f8 float8, n numeric(12,3),
    nn numeric, v varchar(5), t text, y bytea, d date, ts timestamp(3), tz timestamptz, i interval, j jsonb, bb bit(11), ta text[], uu uuid);
INSERT INTO s.v VALUES
 (1, true, 1, 2, 3, 18446744073709551615, 1.5, 'NaN', -1.5, 0.00001, 'äöüßé', 'x', '\x00ff', '2024-02-29', '2024-02-29 12:34:56.789',
  '2024-02-29 12:34:56.789012+00', '1 mon -2 days 03:04:05.678', '{"a": [1, null, "\u00e4"]}', '10101010101', '{a,"",ä,NULL2}', gen_random_uuid()),
 (2, false, -32768, -2147483648, -9223372036854775808, 0, '-Infinity', '1e-300', 999999999.999, -12345678901234567890.12345678901234567890,
  '', '', '', '-infinity', 'infinity', '4713-01-01 00:00:00+00 BC', '00:00', '"x"', '00000000000', '{}', '00000000-0000-0000-0000-000000000000'),
 (3, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, true, 32767, 2147483647, 9223372036854775807, 10000, -0.0, -0.0, 0.000, 'NaN', 'abc', repeat('lang ', 5000), decode(repeat('00ff', 9000), 'hex'),
  'infinity', '1970-01-01', '294276-12-31 23:59:59.999999+00', '-838:59:59', '[]', '11111111111', array_fill('y'::text, ARRAY[100]), gen_random_uuid()),
 (5, true, 7, 7, 7, 9223372036854775808, 7, 7, 0.001, 1e200, 'abcde', E'\U0001F600', '\x5c', '0001-01-01', '0001-01-01', '1999-12-31 23:59:59+00',
  '-1 years', '1e10', '00000000001', '{"a,b","{}"}', gen_random_uuid()),
 (6, true, 7, 7, 7, 100000000, 7, 7, -0.999, 'Infinity', 'abcde', 'z', '\x5c', '0001-01-01', '0001-01-01', '1999-12-31 23:59:59+00', '1 day', '{}',
  '00000000001', '{}', gen_random_uuid());
SELECT td_test.create(1, 1, 's.v', current_user::regrole);
SELECT is(rows, 6::bigint, 'rows loaded') FROM td_test.load('s.v', 'tapdata_state.load_1_1', $$SELECT 1, 'i', NULL::s.v, x, NULL::text[] FROM s.v x$$);
SELECT is(td_test.publish(1, 1, 's.v', current_user::regrole, 'd', 'v')::text, 'd.v', 'published');
SELECT is(p::text, q::text, 'loaded row ' || p.id || ' is the source row') FROM s.v p JOIN d.v q USING (id) ORDER BY 1;
CREATE TABLE d.v2 (LIKE d.v INCLUDING ALL);
SELECT td_test.open('{s.v}', '{d.v2}');
SELECT is(rows, 6::bigint, 'rows applied') FROM td_test.feed($$SELECT 1, 'i', NULL::s.v, x, NULL::text[] FROM s.v x$$);
SELECT is((SELECT count(*) FROM (SELECT x::text FROM d.v x EXCEPT SELECT x::text FROM d.v2 x) x), 0::bigint, 'a changed row has the same values');
SELECT is(count(*), 6::bigint, 'all of them') FROM d.v2;

-- ---- numbers: the quick way against numeric's own ----
SELECT setseed(0.42);
CREATE TABLE s.n (id int PRIMARY KEY, n numeric, m numeric(20,6), u td_test.uint8);
INSERT INTO s.n SELECT g, round((random() - 0.5)::numeric * power(10::numeric, (random() * 40 - 20)::int), (random() * 30)::int),
    round((random() - 0.5)::numeric * power(10::numeric, (random() * 13)::int), 6), trunc(random()::numeric * power(10::numeric, (random() * 19)::int))
    FROM generate_series(1, 5000) g;
INSERT INTO s.n SELECT 10000 + id, trim_scale(n * 10000::numeric ^ ((id % 30) - 15)), NULL, 0 FROM s.n WHERE id < 500;
SELECT td_test.create(1, 2, 's.n', current_user::regrole);
SELECT rows FROM td_test.load('s.n', 'tapdata_state.load_1_2', $$SELECT 1, 'i', NULL::s.n, v, NULL::text[] FROM s.n v$$);
SELECT is((SELECT count(*) FROM s.n a JOIN tapdata_state.load_1_2 b USING (id) WHERE (a.n::text, a.m::text, a.u::text) IS DISTINCT FROM (b.n::text, b.m::text, b.u::text)
    OR numeric_send(a.n) <> numeric_send(b.n) OR pg_column_size(a.n) <> pg_column_size(b.n)), 0::bigint, 'random numbers are exact, to the byte');
SELECT is((SELECT sum(n) FROM s.n)::text, (SELECT sum(n) FROM tapdata_state.load_1_2)::text, 'and add up');

-- ---- refusals ----
CREATE FUNCTION pg_temp.caught(sql text, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    state := '00000';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
CREATE TABLE s.r (id int PRIMARY KEY, t td_test.raw_text, j td_test.raw_json, n td_test.raw_decimal, b td_test.raw_bit, a td_test.raw_array,
    d td_test.raw_date, ts td_test.raw_timestamp, nn int);
CREATE TABLE d.r (id int PRIMARY KEY, t varchar(3), j jsonb, n numeric(5,2), b bit(9), a text[], d date, ts timestamp(3), nn int NOT NULL);
SELECT td_test.open('{s.r}', '{d.r}');
CREATE FUNCTION pg_temp.try(t bytea DEFAULT NULL, j bytea DEFAULT NULL, n bytea DEFAULT NULL, b bytea DEFAULT NULL, a bytea DEFAULT NULL, d int DEFAULT NULL,
    ts bigint DEFAULT NULL, nn int DEFAULT 1, id int DEFAULT 7, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE sql AS $$
    SELECT * FROM pg_temp.caught(format($q$SELECT td_test.feed($f$SELECT 1, 'i', NULL::s.r, row(%L, %L, %L, %L, %L, %L, %L, %L, %L)::s.r, NULL::text[]$f$)$q$,
        id, t, j, n, b, a, d, ts, nn)) $$;
SELECT is(state || ' ' || detail, '22021 Row with key (id)=(7): byte 0x00 at offset 1 is not valid in UTF-8 text.', 'NUL in text') FROM pg_temp.try(t => '\x610062');
SELECT is(message, 'column "t" of table d.r cannot take a value of its source', 'named by column') FROM pg_temp.try(t => '\x610062');
SELECT isnt(hint, '', 'with a hint') FROM pg_temp.try(t => '\x610062');
SELECT is(state || ' ' || detail, '22021 Row with key (id)=(7): byte 0xc3 at offset 2 is not valid in UTF-8 text.', 'half a character') FROM pg_temp.try(t => '\x6161c3');
SELECT is(state, '22021', 'an overlong form') FROM pg_temp.try(t => '\xc080');
SELECT is(state || ' ' || detail, '22001 Row with key (id)=(7): text is longer than 3 characters.', 'text longer than the column') FROM pg_temp.try(t => '\x61616161');
SELECT is(state, '00000', 'characters count, not bytes') FROM pg_temp.try(t => convert_to('äöü', 'UTF8'));
SELECT matches(state || ' ' || detail, '^22P02 Row with key \(id\)=\(7\): invalid input syntax for type json', 'bad JSON') FROM pg_temp.try(j => '{"a":');
SELECT is(state, '22P05', 'JSON with an escaped NUL') FROM pg_temp.try(j => '"\\u0000"');
SELECT is(state, '22021', 'JSON with a NUL') FROM pg_temp.try(j => '\x227b0022');
SELECT matches(state || ' ' || detail, '^22003 Row with key \(id\)=\(7\): numeric field overflow', 'a number that is too large') FROM pg_temp.try(n => '\x0001000000000002' || '\x270f'::bytea);
SELECT is(state, '22003', 'digits that would be rounded away') FROM pg_temp.try(n => '\x0002000000000003' || '\x00010457'::bytea);
SELECT is(state, '22P03', 'a digit that is none') FROM pg_temp.try(n => '\x0001000000000002' || '\x7fff'::bytea);
SELECT is(state, '22003', 'infinity where the column has a precision') FROM pg_temp.try(n => '\x00000000d0000000');
SELECT is(state, '22026', 'too few bits') FROM pg_temp.try(b => '\x08000000ff');
SELECT is(state, '00000', 'bits') FROM pg_temp.try(id => 8, b => '\x09000000ffff');
SELECT is(b::text, '111111111', 'without what is behind them') FROM d.r WHERE id = 8;
SELECT is(state, '22P03', 'an array that promises more than it holds') FROM pg_temp.try(a => '\x0200000001000000');
SELECT is(state, '22008', 'a date before all dates') FROM pg_temp.try(d => -2451546);
SELECT is(state, '22008', 'a time after all times') FROM pg_temp.try(ts => 9223371331200000000);
SELECT is(state || ' ' || detail, '22008 Row with key (id)=(7): time has more fractional digits than the column.', 'a finer time') FROM pg_temp.try(ts => 1);
SELECT is(state || ' ' || detail, '23502 Row with key (id)=(7): null, but the column is NOT NULL.', 'null') FROM pg_temp.try(nn => NULL);

-- ---- keys in messages ----
CREATE TABLE s.k (a int, b text, c numeric, d date, e timestamp, PRIMARY KEY (a, b, c, d, e));
SELECT is(td_test.key_text('s.k', row(1, 'x', 12345.0670, date '2024-02-29', timestamp '1999-12-31 23:59:59.5')::s.k),
    '(a, b, c, d, e)=(1, x, 12345.0670, 2024-02-29, 1999-12-31 23:59:59.500000)', 'all kinds of keys');
SELECT is(td_test.key_text('s.k', row(1, repeat('x', 100), -0.00004, date '0044-03-15 BC', timestamp '1970-01-01')::s.k),
    '(a, b, c, d, e)=(1, ' || repeat('x', 64) || '..., -0.00004, -043-03-15, 1970-01-01 00:00:00)', 'long and odd ones');
SELECT * FROM finish();
ROLLBACK;
