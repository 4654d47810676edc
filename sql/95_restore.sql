-- pg_restore -j fills the tables of an extension in any order: a row may come before that which it refers to.  So references among the tables of the catalog
-- are not checked when rows come; what refers to a row that goes still goes with it.  (pg_restore without -j keeps the order.)
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT g.tgrelid::regclass AS child, g.tgname AS name FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
        WHERE g.tgisinternal AND c.relnamespace = 'tapdata'::pg_catalog.regnamespace
            AND g.tgfoid IN ('pg_catalog."RI_FKey_check_ins"'::pg_catalog.regproc, 'pg_catalog."RI_FKey_check_upd"'::pg_catalog.regproc)
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', t.child, t.name);
    END LOOP;
END $$;
