\echo Use "CREATE EXTENSION tapdata" to load this file. \quit

-- Schema tapdata is made by CREATE EXTENSION (tapdata.control).
COMMENT ON SCHEMA tapdata IS 'tapdata: live mirrors of other databases and live views';
GRANT USAGE ON SCHEMA tapdata TO PUBLIC;

CREATE SCHEMA tapdata_state;
COMMENT ON SCHEMA tapdata_state IS 'tapdata: tables that are being loaded and nobody sees yet';

CREATE FUNCTION tapdata.home() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_home';
COMMENT ON FUNCTION tapdata.home() IS 'Which database this is: system identifier, database and extension; a pipeline made elsewhere is fenced';

CREATE FUNCTION tapdata.refuse_write() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_refuse_write';
COMMENT ON FUNCTION tapdata.refuse_write() IS 'Trigger on mirrored tables: refuses writes by users';
