-- Looking at it.  Owners see what is theirs, members of pg_monitor everything but records.

CREATE FUNCTION tapdata.doctor(OUT item text, OUT ok boolean, OUT detail text, OUT fix text) RETURNS SETOF record
    LANGUAGE c ROWS 20 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_doctor';
COMMENT ON FUNCTION tapdata.doctor() IS 'Every setting and part that tapdata needs, and the statement that mends it';

-- Nothing else in a row is shown to somebody whose rights it does not pass: security_barrier.
CREATE VIEW tapdata.pipelines WITH (security_barrier) AS
    SELECT p.name, pg_catalog.pg_get_userbyid(p.owner) AS owner, p.connection, x.status,
        coalesce(s.exact, false) AS exact, CASE WHEN NOT k.starved THEN s.since END AS since, s.position, s.source_time,
        CASE WHEN x.status <> 'streaming' THEN NULL
            WHEN tapdata.pipeline_caught_up(p.id) THEN interval '0'
            ELSE greatest(pg_catalog.clock_timestamp() - s.source_time, interval '0') END AS lag,
        s.rows_loaded, s.rows_applied,
        CASE WHEN k.starved THEN h.sqlstate ELSE s.sqlstate END AS sqlstate, CASE WHEN k.starved THEN h.error ELSE s.error END AS error,
        CASE WHEN x.status = 'fenced' THEN 'If the copy shall run on its own, let the owner of the database call SELECT tapdata.adopt_database()'
            WHEN k.starved THEN h.hint ELSE s.hint END AS hint, s.retry_at, p.options
    FROM tapdata.pipeline p LEFT JOIN tapdata.pipeline_state s ON s.pipeline = p.id
        CROSS JOIN LATERAL tapdata.pipeline_standing(p.id) h
        CROSS JOIN LATERAL (SELECT p.desired = 'running' AND coalesce(s.status, 'fenced') NOT IN ('completed', 'failed', 'fenced') AND p.home = tapdata.home() AS wanted) w
        CROSS JOIN LATERAL (SELECT w.wanted AND coalesce(h.standing IN ('stopped', 'waiting_for_worker'), false) AS starved) k
        CROSS JOIN LATERAL (SELECT CASE WHEN s.status IS NULL OR s.status = 'fenced' OR p.home <> tapdata.home() THEN 'fenced'
            WHEN w.wanted AND h.standing IS NOT NULL AND (h.standing <> 'starting' OR s.status IN ('snapshot', 'streaming', 'stopping')) THEN h.standing
            WHEN w.wanted AND s.status IN ('created', 'stopped') THEN 'starting'
            ELSE s.status END AS status) x
    WHERE pg_catalog.pg_has_role(p.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW tapdata.pipelines IS 'The pipelines and how they stand';
COMMENT ON COLUMN tapdata.pipelines.name IS 'Name of the pipeline';
COMMENT ON COLUMN tapdata.pipelines.owner IS 'Role that created it and whose rights it uses';
COMMENT ON COLUMN tapdata.pipelines.connection IS 'Connection it reads from';
COMMENT ON COLUMN tapdata.pipelines.status IS 'created, starting, snapshot, streaming, stopping, stopped (error says why, if nobody has stopped it), completed, retrying, waiting_for_worker, failed, fenced or standby (this server is one)';
COMMENT ON COLUMN tapdata.pipelines.exact IS 'The tables are as the source was at the position: published, and no row was skipped';
COMMENT ON COLUMN tapdata.pipelines.since IS 'When it got this status; null where no worker of this database can run, as error says';
COMMENT ON COLUMN tapdata.pipelines.position IS 'Where the source is applied up to';
COMMENT ON COLUMN tapdata.pipelines.source_time IS 'Time at the source of the last transaction applied';
COMMENT ON COLUMN tapdata.pipelines.lag IS 'How far behind the source, while streaming: 0 when all that came is applied, else how long ago source_time was';
COMMENT ON COLUMN tapdata.pipelines.rows_loaded IS 'Rows of the initial load';
COMMENT ON COLUMN tapdata.pipelines.rows_applied IS 'Row changes applied';
COMMENT ON COLUMN tapdata.pipelines.sqlstate IS 'SQLSTATE of the last error';
COMMENT ON COLUMN tapdata.pipelines.error IS 'Last error; empty again once it streams';
COMMENT ON COLUMN tapdata.pipelines.hint IS 'What to do about it';
COMMENT ON COLUMN tapdata.pipelines.retry_at IS 'When it is tried again';
COMMENT ON COLUMN tapdata.pipelines.options IS 'Options given, without defaults';

CREATE VIEW tapdata.pipeline_tables WITH (security_barrier) AS
    SELECT p.name AS pipeline,
        CASE WHEN t.source_database = '' OR EXISTS (
                SELECT FROM pg_catalog.pg_foreign_server f, pg_catalog.pg_options_to_table(f.srvoptions) o
                WHERE f.srvname = p.connection AND o.option_name = 'database')
            THEN t.source_table ELSE t.source_database || '.' || t.source_table END AS source_table,
        pg_catalog.format('%I.%I', t.target_schema, t.target_table) AS target,
        t.status, t.rows_loaded, t.row_estimate, t.has_key, t.error
    FROM tapdata.pipeline_table t JOIN tapdata.pipeline p ON p.id = t.pipeline
    WHERE pg_catalog.pg_has_role(p.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW tapdata.pipeline_tables IS 'The tables of each pipeline, once it has planned them';
COMMENT ON COLUMN tapdata.pipeline_tables.pipeline IS 'Name of the pipeline';
COMMENT ON COLUMN tapdata.pipeline_tables.source_table IS 'Table in the source';
COMMENT ON COLUMN tapdata.pipeline_tables.target IS 'Table here, there once the mirror is published';
COMMENT ON COLUMN tapdata.pipeline_tables.status IS 'created, loading, loaded, streaming or failed';
COMMENT ON COLUMN tapdata.pipeline_tables.rows_loaded IS 'Rows of the initial load';
COMMENT ON COLUMN tapdata.pipeline_tables.row_estimate IS 'How many the source thought it had';
COMMENT ON COLUMN tapdata.pipeline_tables.has_key IS 'Has a primary key; without one, changes look for the whole row';
COMMENT ON COLUMN tapdata.pipeline_tables.error IS 'What is wrong with this table';

-- A group that does not run shows through: its status, error and hint are those of its views then.
CREATE VIEW tapdata.views WITH (security_barrier) AS
    SELECT coalesce(o.view, v.relation::pg_catalog.regclass) AS view, coalesce(o.twin, v.twin::pg_catalog.regclass) AS twin,
        pg_catalog.pg_get_userbyid(v.owner) AS owner, g.name AS group_name,
        x.status, coalesce(s.exact AND v.fills = s.fills AND x.status <> 'fenced' AND (x.standing IS NULL OR c.relpersistence <> 'u'), false) AS exact, CASE WHEN x.starved THEN NULL WHEN x.of_group THEN gs.since ELSE s.since END AS since,
        CASE WHEN s.status = 'streaming' THEN gs.snapshot ELSE s.snapshot END AS snapshot,
        CASE WHEN x.status <> 'streaming' THEN NULL
            ELSE (SELECT greatest(n.now - greatest(gs.snapshot_time, CASE WHEN c.until IS NOT NULL AND d.at IS NOT NULL THEN    -- what is not decoded yet may concern it
                    least(c.until, CASE WHEN n.now - d.at < interval '1 s' THEN n.now ELSE d.at END) END), interval '0')
                FROM tapdata.group_caught_up(g.id) c(until), tapdata.group_decoded(g.id) d, pg_catalog.clock_timestamp() n(now)) END AS freshness,
        s.ticks, s.last_tick, s.slow_ms, v.strategy,
        (SELECT pg_catalog.jsonb_object_agg(r.how, pg_catalog.jsonb_build_object('ticks', r.n, 'ms', pg_catalog.round(r.ms::numeric, 3), 'last_ms', pg_catalog.round(r.last_ms::numeric, 3)))
            FROM tapdata.view_run r WHERE r.view = v.id) AS executed, s.whole_ms,
        CASE WHEN x.starved THEN h.sqlstate WHEN x.of_group THEN gs.sqlstate WHEN v.fills = s.fills THEN s.sqlstate END AS sqlstate,
        CASE WHEN x.starved THEN h.error WHEN x.of_group THEN gs.error WHEN v.fills = s.fills THEN s.error END AS error,
        CASE WHEN x.status = 'fenced' THEN 'If the copy shall run on its own, let the owner of the database call SELECT tapdata.adopt_database()'
            WHEN x.starved THEN h.hint
            WHEN x.of_group THEN gs.hint
            WHEN x.status = 'failed' THEN coalesce(nullif(s.hint, ''), pg_catalog.format('Mend the cause, then: SELECT tapdata.refresh_view(%L)', pg_catalog.format('%I.%I', v.table_schema, v.table_name)))
            WHEN v.fills = s.fills THEN s.hint END AS hint,
        v.options,
        ARRAY(SELECT c.oid::pg_catalog.regclass FROM pg_catalog.pg_class c WHERE c.relnamespace IN ('tapdata_state'::pg_catalog.regnamespace, 'tapdata_parts'::pg_catalog.regnamespace)
            AND c.relkind = 'r' AND (c.relname ~ ('^v' || v.id || '_([0-9]+|c|p[0-9]+)$') OR
                c.oid IN (SELECT p.relation FROM tapdata.view p WHERE p.part_of = v.id) OR
                c.oid IN (SELECT l.relation FROM tapdata.view_kept k JOIN tapdata.view l ON l.id = k.kept JOIN tapdata.view r ON r.id = k.view WHERE v.id IN (r.id, r.part_of)) OR c.relname IN (SELECT 'v' || p.id || '_1' FROM tapdata.view p WHERE p.part_of = v.id))
            ORDER BY c.relname) AS state_tables,
        coalesce((v.options->>'changes')::boolean, false) AS changes,
        CASE WHEN (v.options->>'changes')::boolean THEN f.tick END AS changes_tick,
        CASE WHEN (v.options->>'changes')::boolean AND f.tick IS NOT NULL THEN f.gone END AS changes_from,
        CASE WHEN n.fills = ns.fills THEN ns.status WHEN n.id IS NOT NULL THEN 'created' END AS replacing,
        CASE WHEN n.fills = ns.fills THEN ns.error END AS replacing_error
    FROM tapdata.view v JOIN tapdata.view_group g ON g.id = v.view_group
        LEFT JOIN tapdata.group_state gs ON gs.view_group = g.id LEFT JOIN tapdata.view_state s ON s.view = v.id
        LEFT JOIN tapdata.view_feed f ON f.view = v.id
        LEFT JOIN (tapdata.view n LEFT JOIN tapdata.view_state ns ON ns.view = n.id) ON n.replaces = v.id
        LEFT JOIN LATERAL (     -- in a restored dump oids are those of other relations
            SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', v.table_schema, v.table_name)) AS view,
                pg_catalog.to_regclass(pg_catalog.format('tapdata_views.%I', v.twin_name)) AS twin) o ON v.home <> tapdata.home()
        LEFT JOIN pg_catalog.pg_class c ON c.oid = v.relation
        CROSS JOIN LATERAL tapdata.group_standing(g.id) h
        CROSS JOIN LATERAL (SELECT h.standing IN ('stopped', 'waiting_for_worker') AND gs.status NOT IN ('failed', 'fenced') AS starved) k
        CROSS JOIN LATERAL (SELECT CASE WHEN gs.status = 'streaming' OR k.starved THEN h.standing ELSE gs.status END AS standing) w
        CROSS JOIN LATERAL (SELECT w.standing,
            k.starved AND s.status IS NOT NULL AND v.home = tapdata.home() AND (s.status <> 'failed' OR v.fills <> s.fills) AS starved,
            s.status IS DISTINCT FROM 'failed' AND gs.status IN ('retrying', 'failed', 'waiting_for_worker', 'fenced') AS of_group,
            CASE WHEN s.status IS NULL OR gs.status IS NULL OR v.home <> tapdata.home() OR gs.status = 'fenced' THEN 'fenced'
                WHEN s.status = 'failed' AND v.fills = s.fills THEN 'failed'
                WHEN k.starved THEN h.standing
                WHEN gs.status IN ('retrying', 'failed', 'waiting_for_worker') THEN gs.status
                WHEN v.fills <> s.fills THEN 'created'
                WHEN s.status = 'streaming' AND w.standing IS NOT NULL THEN w.standing
                ELSE s.status END AS status) x
    WHERE v.part_of IS NULL AND (pg_catalog.pg_has_role(v.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW tapdata.views IS 'The live views and how they stand';
COMMENT ON COLUMN tapdata.views.view IS 'The table of the view';
COMMENT ON COLUMN tapdata.views.twin IS 'Its definition, as an ordinary view';
COMMENT ON COLUMN tapdata.views.owner IS 'Role that created it and whose rights it uses';
COMMENT ON COLUMN tapdata.views.group_name IS 'Views of a group are always at one snapshot';
COMMENT ON COLUMN tapdata.views.status IS 'created, snapshot (being filled), streaming or failed; or the status of its group where that does not stream: starting, stopping, stopped, standby (this server is one), retrying, waiting_for_worker, failed or fenced';
COMMENT ON COLUMN tapdata.views.exact IS 'Equals its query under the snapshot; not said of an unlogged view where its group does not stream: a crash may have emptied it';
COMMENT ON COLUMN tapdata.views.since IS 'When it got this status; null where no worker of this database can run, as error says';
COMMENT ON COLUMN tapdata.views.snapshot IS 'Snapshot that it equals its query at';
COMMENT ON COLUMN tapdata.views.freshness IS 'How old what it shows is, while streaming: 0 when nothing waits to be taken in and the log is decoded (up to a second ago), else how long ago the last moment was when this was so, or the snapshot was taken if that was later';
COMMENT ON COLUMN tapdata.views.ticks IS 'Ticks that changed it, or computed all of it anew';
COMMENT ON COLUMN tapdata.views.last_tick IS 'When the last one did';
COMMENT ON COLUMN tapdata.views.slow_ms IS 'Milliseconds that it takes of each tick, where that is more than max_lag of its group and holds up the other views; else null';
COMMENT ON COLUMN tapdata.views.strategy IS 'How it is kept: see explain_view()';
COMMENT ON COLUMN tapdata.views.executed IS 'What ticks have done for it: {"how": {"ticks": how often, "ms": in all, "last_ms": the last time}}. By delta, groups (some computed anew), keyed, topk (the first rows read again); as a whole because of full (see strategy), ddl, unknown (changes), cost (of the changes) or error (in the delta)';
COMMENT ON COLUMN tapdata.views.whole_ms IS 'Milliseconds that computing all of it took last: a tick whose changes take longer does that instead';
COMMENT ON COLUMN tapdata.views.sqlstate IS 'SQLSTATE of the last error';
COMMENT ON COLUMN tapdata.views.error IS 'Last error; empty again once it streams';
COMMENT ON COLUMN tapdata.views.hint IS 'What to do about it';
COMMENT ON COLUMN tapdata.views.options IS 'Options given, without defaults';
COMMENT ON COLUMN tapdata.views.state_tables IS 'Tables of its state beyond its own rows';
COMMENT ON COLUMN tapdata.views.changes IS 'Keeps what each tick changes: see changes()';
COMMENT ON COLUMN tapdata.views.changes_tick IS 'Number of the last tick of changes(); empty until it is filled';
COMMENT ON COLUMN tapdata.views.changes_from IS 'Changes after this tick are kept: the least that changes() takes';
COMMENT ON COLUMN tapdata.views.replacing IS 'How the new definition stands that create_view(or_replace => true) gave it: created, snapshot, streaming (takes its place as soon as the view can be locked) or failed; null = there is none';
COMMENT ON COLUMN tapdata.views.replacing_error IS 'Why the new definition can not take its place; the view goes on with the old one';

-- For who reads them: no status, no definition, and whoever owns them.
CREATE VIEW tapdata.feeds WITH (security_barrier) AS
    SELECT v.relation::pg_catalog.regclass AS view, f.tick, f.gone AS changes_from
    FROM tapdata.view v JOIN tapdata.view_feed f ON f.view = v.id
    WHERE v.part_of IS NULL AND v.home = tapdata.home() AND (v.options->>'changes')::boolean
        AND pg_catalog.has_table_privilege(v.relation, 'SELECT') AND NOT pg_catalog.row_security_active(v.relation);
COMMENT ON VIEW tapdata.feeds IS 'Live views whose changes you may read with changes() and change_rows()';
COMMENT ON COLUMN tapdata.feeds.view IS 'The table of the view';
COMMENT ON COLUMN tapdata.feeds.tick IS 'Its last tick, empty until it is filled; a crash may take it back, as long as view_tick() or changes() have not returned it';
COMMENT ON COLUMN tapdata.feeds.changes_from IS 'Changes after this tick are kept: the least that changes() takes';

CREATE VIEW tapdata.workers WITH (security_barrier) AS
    SELECT pid, kind, database, object, status, since, restarts, memory FROM tapdata.worker_list();
COMMENT ON VIEW tapdata.workers IS 'The processes of tapdata, connector hosts among them';
COMMENT ON COLUMN tapdata.workers.pid IS 'Process id';
COMMENT ON COLUMN tapdata.workers.kind IS 'launcher, supervisor, probe, pipeline, host, view, capture, fill';
COMMENT ON COLUMN tapdata.workers.database IS 'Database it works in';
COMMENT ON COLUMN tapdata.workers.object IS 'What it works for: a pipeline, a group of views (view, capture), or one view (fill)';
COMMENT ON COLUMN tapdata.workers.status IS 'What it does';
COMMENT ON COLUMN tapdata.workers.since IS 'When it began to';
COMMENT ON COLUMN tapdata.workers.restarts IS 'How often it was started again';
COMMENT ON COLUMN tapdata.workers.memory IS 'Bytes of memory of its own';

CREATE VIEW tapdata.errors WITH (security_barrier) AS
    SELECT e.id, e.at, p.name AS pipeline, e.step, e.table_name, e.position, e.sqlstate, e.message,
        CASE WHEN pg_catalog.pg_has_role(p.owner, 'USAGE') THEN e.record END AS record
    FROM tapdata.error_entry e JOIN tapdata.pipeline p ON p.id = e.pipeline
    WHERE pg_catalog.pg_has_role(p.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW tapdata.errors IS 'Records that could not be applied and were set aside, as the user chose';
COMMENT ON COLUMN tapdata.errors.id IS 'Number of the entry';
COMMENT ON COLUMN tapdata.errors.at IS 'When it happened';
COMMENT ON COLUMN tapdata.errors.pipeline IS 'Name of the pipeline';
COMMENT ON COLUMN tapdata.errors.step IS 'Step that failed';
COMMENT ON COLUMN tapdata.errors.table_name IS 'Table the record is for';
COMMENT ON COLUMN tapdata.errors.position IS 'Position of the record in the source';
COMMENT ON COLUMN tapdata.errors.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN tapdata.errors.message IS 'The error';
COMMENT ON COLUMN tapdata.errors.record IS 'The whole record; for owners only';

-- Details of data errors may hold values of rows: for owners only.
CREATE VIEW tapdata.log WITH (security_barrier) AS
    SELECT l.at, l.level, l.kind, l.object, l.sqlstate, l.message,
        CASE WHEN pg_catalog.pg_has_role(l.owner, 'USAGE') OR l.owner IS NULL OR pg_catalog.left(l.sqlstate, 2) NOT IN ('21', '22', '23')
            THEN l.detail END AS detail, l.hint
    FROM tapdata.log_entry l
    WHERE pg_catalog.pg_has_role(l.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW tapdata.log IS 'What happened, for tapdata.log_retention';
COMMENT ON COLUMN tapdata.log.at IS 'When';
COMMENT ON COLUMN tapdata.log.level IS 'debug, info, warning or error';
COMMENT ON COLUMN tapdata.log.kind IS 'Kind of the process or object: launcher, supervisor, pipeline, host, ...';
COMMENT ON COLUMN tapdata.log.object IS 'Name of the pipeline';
COMMENT ON COLUMN tapdata.log.sqlstate IS 'SQLSTATE of an error';
COMMENT ON COLUMN tapdata.log.message IS 'What happened';
COMMENT ON COLUMN tapdata.log.detail IS 'The facts; where they may hold values of rows, for owners only';
COMMENT ON COLUMN tapdata.log.hint IS 'What to do about it';
