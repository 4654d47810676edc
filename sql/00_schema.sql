\echo Use "CREATE EXTENSION tapdata" to load this file. \quit

-- Schema tapdata is made by CREATE EXTENSION (tapdata.control), or stands there from an earlier time: then nobody but a superuser may own it.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner WHERE n.nspname = 'tapdata' AND NOT r.rolsuper) THEN
        RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'schema tapdata belongs to somebody who is no superuser',
            HINT = 'Rename it: ALTER SCHEMA tapdata RENAME TO something_else.';
    END IF;
END $$;
COMMENT ON SCHEMA tapdata IS 'tapdata: live mirrors of other databases and live views';
GRANT USAGE ON SCHEMA tapdata TO PUBLIC;

CREATE SCHEMA tapdata_state;
COMMENT ON SCHEMA tapdata_state IS 'tapdata: tables that are being loaded and nobody sees yet; what live views keep beside their rows, and their changes';

CREATE FUNCTION tapdata.home() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_home';
COMMENT ON FUNCTION tapdata.home() IS 'Which database this is: system identifier, database and extension; a pipeline made elsewhere is fenced';

CREATE FUNCTION tapdata.refuse_write() RETURNS trigger
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_refuse_write';
COMMENT ON FUNCTION tapdata.refuse_write() IS 'Trigger on mirrored tables, live views and their definitions: refuses writes by users';
