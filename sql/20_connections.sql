-- Connections: foreign servers of the wrapper tapdata, and user mappings with the credentials.

CREATE FUNCTION tapdata.fdw_validator(options text[], catalog oid) RETURNS void
    LANGUAGE c STRICT SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_fdw_validator';
COMMENT ON FUNCTION tapdata.fdw_validator(text[], oid) IS 'Checks the options of CREATE and ALTER SERVER and USER MAPPING';

CREATE FOREIGN DATA WRAPPER tapdata NO HANDLER VALIDATOR tapdata.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER tapdata IS 'Connections of tapdata; USAGE on it is the right to create connections';

CREATE FUNCTION tapdata.create_connection(name text, connector text, options jsonb, credentials jsonb DEFAULT '{}',
        or_replace boolean DEFAULT false) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_create_connection';
COMMENT ON FUNCTION tapdata.create_connection(text, text, jsonb, jsonb, boolean) IS
    'Creates a connection: a foreign server, and a user mapping of the caller with the credentials; needs USAGE on the foreign-data wrapper tapdata';

CREATE FUNCTION tapdata.alter_connection(name text, options jsonb DEFAULT '{}', credentials jsonb DEFAULT '{}') RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_alter_connection';
COMMENT ON FUNCTION tapdata.alter_connection(text, jsonb, jsonb) IS
    'Merges options and the caller''s credentials into a connection; null removes one; pipelines that use it are restarted';

CREATE FUNCTION tapdata.drop_connection(name text, "cascade" boolean DEFAULT false) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_drop_connection';
COMMENT ON FUNCTION tapdata.drop_connection(text, boolean) IS
    'Drops a connection with everybody''s credentials; "cascade" also drops the pipelines that use it (their tables stay)';

CREATE FUNCTION tapdata.test_connection(name text, OUT item text, OUT ok boolean, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE c ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_test_connection';
COMMENT ON FUNCTION tapdata.test_connection(text) IS 'Connects, and checks each thing that a pipeline will need';

CREATE FUNCTION tapdata.discover(connection text, pattern text DEFAULT '*', OUT table_name text, OUT columns jsonb,
        OUT primary_key text[], OUT row_estimate bigint) RETURNS SETOF record
    LANGUAGE c ROWS 100 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_discover';
COMMENT ON FUNCTION tapdata.discover(text, text) IS 'The tables of a source whose name matches a pattern (* and ?)';

CREATE FUNCTION tapdata.peek(connection text, table_name text, n integer DEFAULT 5) RETURNS SETOF jsonb
    LANGUAGE c ROWS 5 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_peek';
COMMENT ON FUNCTION tapdata.peek(text, text, integer) IS 'The first rows of a table of a source';

CREATE FUNCTION tapdata.connector_list(OUT name text, OUT version text, OUT capabilities text[], OUT options jsonb) RETURNS SETOF record
    LANGUAGE c ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_connector_list';
COMMENT ON FUNCTION tapdata.connector_list() IS 'The rows of tapdata.connectors';

CREATE VIEW tapdata.connectors AS
    SELECT name, version, capabilities, options FROM tapdata.connector_list();
COMMENT ON VIEW tapdata.connectors IS 'The connectors that are installed, and their options';
COMMENT ON COLUMN tapdata.connectors.name IS 'What create_connection() takes as connector';
COMMENT ON COLUMN tapdata.connectors.version IS 'Version of the connector; null when it can''t be used';
COMMENT ON COLUMN tapdata.connectors.capabilities IS 'What it can do: snapshot, stream, ...';
COMMENT ON COLUMN tapdata.connectors.options IS 'Each option with kind, default, whether it is required, a credential or a secret, and help';
