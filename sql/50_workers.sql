-- Processes: how often a worker was started in quick succession.

CREATE TABLE tapdata.worker_start (          -- written and committed before each start, by the supervisor only; not dumped
    kind text NOT NULL,                      -- pipeline, view (the worker of a group)
    object integer NOT NULL,                 -- id of the pipeline or group
    started timestamptz NOT NULL,            -- the last start
    starts integer NOT NULL,                 -- starts in a row of workers that ended soon, without progress and without a reason
    restarts integer NOT NULL,               -- starts after the first, since it was last stopped, failed or completed
    progress text NOT NULL,                  -- what had been done at the last start
    PRIMARY KEY (kind, object)
) WITH (fillfactor = 50);
REVOKE ALL ON tapdata.worker_start FROM PUBLIC;
COMMENT ON TABLE tapdata.worker_start IS 'Starts of workers in quick succession';

CREATE FUNCTION tapdata.worker_list(OUT pid integer, OUT kind text, OUT database text, OUT object text, OUT status text,
        OUT since timestamptz, OUT restarts integer, OUT memory bigint, OUT owner oid) RETURNS SETOF record
    LANGUAGE c ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_worker_list';
COMMENT ON FUNCTION tapdata.worker_list() IS 'The rows of tapdata.workers, those that the caller may see; memory in bytes';

CREATE FUNCTION tapdata.pipeline_caught_up(id integer) RETURNS boolean
    LANGUAGE c STRICT VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_pipeline_caught_up';
COMMENT ON FUNCTION tapdata.pipeline_caught_up(integer) IS 'Whether a running pipeline, by its id, holds nothing of the source that is not applied: its lag is 0 then';

CREATE FUNCTION tapdata.group_caught_up(id integer) RETURNS timestamptz
    LANGUAGE c STRICT VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_group_caught_up';
COMMENT ON FUNCTION tapdata.group_caught_up(integer) IS 'Until when the worker of a group of views, by its id, held no change that is not in the views: infinity while it holds none; null: it does not run, or has not caught up since it began';

CREATE FUNCTION tapdata.group_decoded(id integer, OUT at timestamptz, OUT lsn pg_lsn)
    LANGUAGE c STRICT VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_group_decoded';
COMMENT ON FUNCTION tapdata.group_decoded(integer) IS 'Of which moment the WAL is that the capture worker of a group of views, by its id, has decoded, and up to where; null: it does not run, or has not caught up since it began';

CREATE FUNCTION tapdata.group_standing(id integer, OUT standing text, OUT sqlstate text, OUT error text, OUT hint text)
    LANGUAGE c STRICT VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_group_standing';
COMMENT ON FUNCTION tapdata.group_standing(integer) IS 'What a group of views, by its id, that streams as the catalog has it does here and now: null where it does stream, else standby, starting, or with the error why no worker of this database can run stopped or waiting_for_worker';

CREATE FUNCTION tapdata.pipeline_standing(id integer, OUT standing text, OUT sqlstate text, OUT error text, OUT hint text)
    LANGUAGE c STRICT VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_pipeline_standing';
COMMENT ON FUNCTION tapdata.pipeline_standing(integer) IS 'What a pipeline, by its id, that is to run does where nobody writes that into the catalog: null where it runs or the supervisor of this database does, else as group_standing()';

CREATE FUNCTION tapdata.extension_created() RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_extension_created';
COMMENT ON FUNCTION tapdata.extension_created() IS 'Tells the launcher that this database has the extension, at commit';
REVOKE ALL ON FUNCTION tapdata.extension_created() FROM PUBLIC;

SELECT tapdata.extension_created();
