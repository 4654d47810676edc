-- Mirrors and the control of pipelines.

CREATE FUNCTION tapdata.mirror(connection text, tables text[] DEFAULT '{*}', except_tables text[] DEFAULT '{}', into_schema text DEFAULT NULL,
        name text DEFAULT NULL, options jsonb DEFAULT '{}', start boolean DEFAULT true) RETURNS text
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_mirror';
COMMENT ON FUNCTION tapdata.mirror(text, text[], text[], text, text, jsonb, boolean) IS
    'Keeps local tables identical to those of a source; schema and name default to the connection''s name; begins at commit; returns the name of the pipeline. 42P01: the source has no such table, 42501, 55000: it may not be read (asked unless start is false; a source that is away is tried again by the pipeline)';

CREATE FUNCTION tapdata.start_pipeline(name text) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_start_pipeline';
COMMENT ON FUNCTION tapdata.start_pipeline(text) IS 'Starts a pipeline at commit, where it left off; also one that has failed';

CREATE FUNCTION tapdata.stop_pipeline(name text, force boolean DEFAULT false) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_stop_pipeline';
COMMENT ON FUNCTION tapdata.stop_pipeline(text, boolean) IS
    'Stops a pipeline and returns once it has stopped; force terminates its worker at once (nothing is lost by that either)';

CREATE FUNCTION tapdata.alter_pipeline(name text, options jsonb) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_alter_pipeline';
COMMENT ON FUNCTION tapdata.alter_pipeline(text, jsonb) IS 'Merges options into a pipeline; null removes one; restarts it if it runs';

CREATE FUNCTION tapdata.reset_pipeline(name text, tables text[] DEFAULT NULL) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_reset_pipeline';
COMMENT ON FUNCTION tapdata.reset_pipeline(text, text[]) IS
    'Forgets the progress of a stopped pipeline, or (before it is published) of some of its tables; target data stays';

CREATE FUNCTION tapdata.drop_pipeline(name text, drop_tables boolean DEFAULT false) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_drop_pipeline';
COMMENT ON FUNCTION tapdata.drop_pipeline(text, boolean) IS
    'Stops and drops a pipeline; its tables become ordinary ones, or are dropped too';

CREATE FUNCTION tapdata.wait_pipeline(name text, timeout interval DEFAULT '60 s', source_position text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_wait_pipeline';
COMMENT ON FUNCTION tapdata.wait_pipeline(text, interval, text) IS
    'Waits until all that the source held at the call (or up to the position given) is applied; returns the source time reached; raises on timeout or failure';

CREATE FUNCTION tapdata.adopt_database() RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_adopt_database';
COMMENT ON FUNCTION tapdata.adopt_database() IS
    'In a copy of a database (restored dump, template): lets its fenced pipelines run here; for the owner of the database';
