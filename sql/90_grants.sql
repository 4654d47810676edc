-- Functions are for everybody: each asks for the rights it needs by itself.  Tables are for nobody.

GRANT SELECT ON tapdata.connectors, tapdata.pipelines, tapdata.pipeline_tables, tapdata.workers, tapdata.errors, tapdata.log TO PUBLIC;

CREATE FUNCTION tapdata.extension_created() RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_extension_created';
COMMENT ON FUNCTION tapdata.extension_created() IS 'Tells the launcher that this database has the extension, at commit';
REVOKE ALL ON FUNCTION tapdata.extension_created() FROM PUBLIC;

COMMENT ON TABLE tapdata.pipeline IS 'Definitions of pipelines; read tapdata.pipelines';
COMMENT ON TABLE tapdata.pipeline_state IS 'State and checkpoints of pipelines; read tapdata.pipelines';
COMMENT ON TABLE tapdata.pipeline_table IS 'Tables of pipelines; read tapdata.pipeline_tables';
COMMENT ON TABLE tapdata.log_entry IS 'What happened; read tapdata.log';
COMMENT ON TABLE tapdata.error_entry IS 'Records set aside; read tapdata.errors';
COMMENT ON TABLE tapdata.worker_start IS 'Starts of workers in quick succession';

-- Must stay last.
SELECT tapdata.extension_created();
