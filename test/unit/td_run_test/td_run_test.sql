-- The functions of td_run_test.so (psql -v td_run_test=/path/td_run_test), and views made by hand: no worker knows them.
CREATE SCHEMA td_run_test;
CREATE FUNCTION td_run_test.describe(twin regclass, OUT state text, OUT nkeys integer, OUT key integer[], OUT one_group boolean, OUT columns text, OUT part text)
    LANGUAGE c AS :'td_run_test', 'td_run_test_describe';
CREATE FUNCTION td_run_test.texts(twin regclass) RETURNS text LANGUAGE c AS :'td_run_test', 'td_run_test_texts';
CREATE FUNCTION td_run_test.prove(view integer) RETURNS void LANGUAGE c AS :'td_run_test', 'td_run_test_prove';
CREATE FUNCTION td_run_test.open(view integer) RETURNS void LANGUAGE c AS :'td_run_test', 'td_run_test_open';
CREATE FUNCTION td_run_test.close() RETURNS void LANGUAGE c AS :'td_run_test', 'td_run_test_close';
CREATE FUNCTION td_run_test.fill(view integer) RETURNS bigint LANGUAGE c AS :'td_run_test', 'td_run_test_fill';
CREATE FUNCTION td_run_test.tick(views integer[], relations regclass[], queries text[], recompute boolean DEFAULT false, apart boolean DEFAULT false)
    RETURNS text LANGUAGE c AS :'td_run_test', 'td_run_test_tick';

CREATE FUNCTION td_run_test.force(view integer, way text, size integer DEFAULT 0) RETURNS void LANGUAGE c AS :'td_run_test', 'td_run_test_force';
CREATE FUNCTION td_run_test.limit(view integer, ms float8) RETURNS float8 LANGUAGE c AS :'td_run_test', 'td_run_test_limit';
CREATE FUNCTION td_run_test.ran(view integer) RETURNS text LANGUAGE c AS :'td_run_test', 'td_run_test_ran';

-- Every row gained (+1) or lost (-1) by a table since it was last taken, in log.<table>.
CREATE SCHEMA log;
-- Arguments: the table's name in log, its columns as fields of $1 (a partition may have them in another order).
CREATE FUNCTION td_run_test.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op <> 'INSERT' THEN EXECUTE format('INSERT INTO log.%I SELECT %s, -1', tg_argv[0], tg_argv[1]) USING old; END IF;
    IF tg_op <> 'DELETE' THEN EXECUTE format('INSERT INTO log.%I SELECT %s, 1', tg_argv[0], tg_argv[1]) USING new; END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION td_run_test.follow(t regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := (SELECT relname FROM pg_class WHERE oid = t);
    columns text := (SELECT string_agg(format('($1).%I', attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = t AND attnum > 0 AND NOT attisdropped);
BEGIN
    EXECUTE format('CREATE TABLE log.%I (LIKE %s)', name, t);
    EXECUTE format('ALTER TABLE log.%I ADD log_weight bigint', name);
    EXECUTE format('CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION td_run_test.note(%L, %L)', t, name, columns);
END $$;

-- A live view as create_view would make it; filled and open in this session.  owner also owns its tables.
CREATE FUNCTION td_run_test.make(name text, query text, owner regrole DEFAULT current_user::regrole, timeout text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    id integer;
    d record;
    twin regclass;
    key text;
BEGIN
    EXECUTE format('CREATE VIEW tapdata_views.%I AS %s', name, query);
    EXECUTE format('ALTER VIEW tapdata_views.%I OWNER TO %s', name, owner);
    twin := format('tapdata_views.%I', name)::regclass;
    d := td_run_test.describe(twin);
    EXECUTE format('CREATE TABLE %I AS SELECT * FROM %s WITH NO DATA', name, twin);
    SELECT string_agg(format('%I', attname), ', ' ORDER BY n) INTO key FROM unnest(d.key) WITH ORDINALITY k (attnum, n)
        JOIN pg_attribute a ON a.attrelid = name::regclass AND a.attnum = k.attnum;
    IF key IS NOT NULL THEN
        EXECUTE format('CREATE UNIQUE INDEX ON %I (%s) NULLS NOT DISTINCT', name, key);
    ELSIF NOT d.one_group THEN
        EXECUTE format('CREATE INDEX ON %I (tapdata.row_hash(%s))', name, d.columns);
    END IF;
    IF d.state IS NULL AND d.part IS NOT NULL THEN
        EXECUTE format('CREATE INDEX ON %I (%s)', name, d.part);
    END IF;
    EXECUTE format('ALTER TABLE %I OWNER TO %s', name, owner);
    INSERT INTO tapdata.view_group (name) VALUES ('default') ON CONFLICT DO NOTHING;
    INSERT INTO tapdata.view (view_group, owner, relation, table_schema, table_name, twin, twin_name, strategy, options)
        SELECT g.id, make.owner, make.name::regclass, current_schema, make.name, twin, make.name, 'test',
            CASE WHEN timeout IS NULL THEN '{}' ELSE jsonb_build_object('timeout', timeout) END
        FROM tapdata.view_group g WHERE g.name = 'default' RETURNING view.id INTO id;
    INSERT INTO tapdata.view_state (view) VALUES (id);
    IF d.state IS NOT NULL THEN
        EXECUTE format('CREATE TABLE tapdata_state.v%s_1 (%s)', id, d.state);
        IF d.part IS NOT NULL THEN
            EXECUTE format('CREATE INDEX ON tapdata_state.v%s_1 (%s)', id, d.part);
            EXECUTE format('CREATE INDEX ON tapdata_state.v%s_1 (tapdata.row_hash(%s))', id, (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = format('tapdata_state.v%s_1', id)::regclass AND attnum > 0));
        ELSIF d.nkeys > 0 THEN
            EXECUTE format('CREATE UNIQUE INDEX ON tapdata_state.v%s_1 (%s) NULLS NOT DISTINCT', id,
                (SELECT string_agg('k' || i, ', ') FROM generate_series(1, d.nkeys) i));
        END IF;
        EXECUTE format('ALTER TABLE tapdata_state.v%s_1 OWNER TO %s', id, owner);
    END IF;
    PERFORM td_run_test.prove(id);
    PERFORM td_run_test.open(id);
    PERFORM td_run_test.fill(id);
    RETURN id;
END $$;

-- One tick of these views (all by default, lower ones first) with what is in the log; recompute: computes each anew.
CREATE FUNCTION td_run_test.step(views integer[] DEFAULT NULL, recompute boolean DEFAULT false, apart boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    tables name[] := ARRAY(SELECT relname FROM pg_class WHERE relnamespace = 'log'::regnamespace AND relkind = 'r' ORDER BY 1);
    queries text[] := ARRAY(SELECT format('SELECT * FROM log.%I', t) FROM unnest(tables) t);
    result text;
BEGIN
    result := td_run_test.tick(coalesce(views, ARRAY(SELECT id FROM tapdata.view ORDER BY id)), tables::regclass[], queries, recompute, apart);
    FOR i IN 1 .. cardinality(tables) LOOP EXECUTE format('DELETE FROM log.%I', tables[i]); END LOOP;
    RETURN result;
END $$;

-- What differs between a view's table and its query, by value, and if it is to be by text; '' = nothing.  Sums of floats depend on the order of the rows: they are rounded.
CREATE FUNCTION td_run_test.differs(view integer, digits boolean DEFAULT true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v record;
    a text;
BEGIN
    SELECT relation::regclass AS t, twin::regclass AS q, (SELECT string_agg(CASE WHEN atttypid = 'float8'::regtype
            THEN format('round(%I::numeric, 1) AS %1$I', attname) WHEN atttypid = 'json'::regtype THEN format('%I::text', attname) ELSE quote_ident(attname) END, ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped) AS c
        INTO v FROM tapdata.view v0 WHERE v0.id = differs.view;
    EXECUTE format('WITH t AS (SELECT %3$s FROM %1$s), q AS (SELECT %3$s FROM %2$s) SELECT string_agg(d, E''\n'') FROM (
        (SELECT ''missing '' || r::text AS d FROM (SELECT * FROM q EXCEPT ALL SELECT * FROM t) r LIMIT 5) UNION ALL
        (SELECT ''extra '' || r::text FROM (SELECT * FROM t EXCEPT ALL SELECT * FROM q) r LIMIT 5) UNION ALL
        (SELECT ''written otherwise '' || r FROM (SELECT q::text AS r FROM q EXCEPT ALL SELECT t::text FROM t) x WHERE %4$L LIMIT 5)) d', v.t, v.q, v.c, digits) INTO a;
    RETURN coalesce(a, '');
END $$;
