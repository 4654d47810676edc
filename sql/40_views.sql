-- Live views.  create_view and explain_query resolve names as the caller, in the caller's own search_path: they have none of their own.

CREATE SCHEMA tapdata_views;
COMMENT ON SCHEMA tapdata_views IS 'tapdata: the definitions of live views, as ordinary views: each is always what its live view will be';
GRANT USAGE ON SCHEMA tapdata_views TO PUBLIC;
CREATE SCHEMA tapdata_parts;
COMMENT ON SCHEMA tapdata_parts IS 'tapdata: what live views are made of that can''t be kept in one piece: live views too, which belong to the same owners';
GRANT USAGE ON SCHEMA tapdata_parts TO PUBLIC;     -- the owners' workers read them; nobody has rights on those of others

CREATE FUNCTION tapdata.row_hash(VARIADIC "any") RETURNS bigint
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'td_sql_row_hash';
COMMENT ON FUNCTION tapdata.row_hash("any") IS 'Hash of the binary image of values, nulls included; indexed where a live view has no key';

CREATE FUNCTION tapdata.create_view(name text, query text, options jsonb DEFAULT '{}', or_replace boolean DEFAULT false) RETURNS regclass
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'td_sql_create_view';
COMMENT ON FUNCTION tapdata.create_view(text, text, jsonb, boolean) IS
    'Creates a live view: a table that always equals its query (one SELECT) at a recent snapshot; it is filled from the commit on, see wait_view(). '
    'name: table or schema.table; options: timeout, fill_timeout, max_lag, group, allow_full, old_images, unlogged, tablespace, fillfactor, writable, changes, changes_kept (times as "10 ms", a number alone is seconds); or_replace: a live view of that name goes on until the new definition is filled, whose rows then take the place of the old ones in one commit. '
    '0A000: the query can''t be kept, 42501: a right is missing, 42P07: the name is taken, 42P16: columns that the view has are not in the new query, 22023: an option, 55P03: a base table could not be locked';

CREATE FUNCTION tapdata.drop_view(view regclass) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_drop_view';
COMMENT ON FUNCTION tapdata.drop_view(regclass) IS 'Drops a live view with its table; for its owner (42501); not while other live views read it (2BP01)';

CREATE FUNCTION tapdata.refresh_view(view regclass) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_refresh_view';
COMMENT ON FUNCTION tapdata.refresh_view(regclass) IS
    'Computes a live view anew from the commit on, and those that read it; revives one that has failed; only rows that differ are written; for its owner (42501)';

CREATE FUNCTION tapdata.alter_view(view regclass, options jsonb) RETURNS void
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_alter_view';
COMMENT ON FUNCTION tapdata.alter_view(regclass, jsonb) IS 'Merges options (changes, changes_kept, writable, timeout, fill_timeout, max_lag, fillfactor, old_images) into a live view; null removes one; times as "10 ms", a number alone is seconds; for its owner (42501); 22023: an option that is not there, fixed or out of range';

CREATE FUNCTION tapdata.explain_query(query text, OUT node text, OUT strategy text, OUT detail text) RETURNS SETOF record
    LANGUAGE c ROWS 10
    AS 'MODULE_PATHNAME', 'td_sql_explain_query';
COMMENT ON FUNCTION tapdata.explain_query(text) IS 'How a live view of this query would be kept: for each node its strategy, indexes wanted, cost in WAL (bytes); raises what create_view() would (0A000: the query can''t be kept)';

CREATE FUNCTION tapdata.explain_view(view regclass, OUT node text, OUT strategy text, OUT detail text) RETURNS SETOF record
    LANGUAGE c ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_explain_view';
COMMENT ON FUNCTION tapdata.explain_view(regclass) IS 'How a live view is kept: for each node its strategy, indexes wanted, cost in WAL (bytes); needs SELECT on it (42501)';

CREATE FUNCTION tapdata.wait_view(view regclass, timeout interval DEFAULT '60 s', replacing boolean DEFAULT true) RETURNS timestamptz
    LANGUAGE c SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_wait_view';
COMMENT ON FUNCTION tapdata.wait_view(regclass, interval, boolean) IS
    'Waits until a live view reflects every commit before the call, a new definition (or_replace) among them unless replacing is false; returns the time of the snapshot it then equals; needs SELECT on it (42501). '
    '57014: not within timeout, 55000: the view, its new definition or its worker has failed, 25001: in a transaction that wrote, or in REPEATABLE READ or above';

CREATE FUNCTION tapdata.check_view(view regclass, max_rows integer DEFAULT 100, OUT diff text, OUT copies bigint, OUT "row" jsonb) RETURNS SETOF record
    LANGUAGE c ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_check_view';
COMMENT ON FUNCTION tapdata.check_view(regclass, integer) IS
    'Compares a live view with its query under one snapshot: rows that are missing or extra, with the number of copies, at most max_rows (null = all); no rows = exact. '
    'Needs SELECT on it (42501, also where row-level security hides rows). 55000: not filled, or failed, 57014: no snapshot within 60 s, 25001: in a transaction that wrote, or in REPEATABLE READ or above';

CREATE FUNCTION tapdata.changes(view regclass, since bigint DEFAULT 0, "limit" integer DEFAULT NULL,
        OUT tick bigint, OUT at timestamptz, OUT weight integer, OUT "row" jsonb) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_changes';
COMMENT ON FUNCTION tapdata.changes(regclass, bigint, integer) IS
    'What each tick after a given one changed in a live view with the option "changes": rows with how many copies came (weight > 0) or went; whole ticks, about limit rows (null = all)';

CREATE FUNCTION tapdata.change_rows(of anyelement, since bigint DEFAULT 0, "limit" integer DEFAULT NULL,
        OUT tick bigint, OUT at timestamptz, OUT weight integer, OUT "row" anyelement) RETURNS SETOF record
    LANGUAGE c STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_change_rows';
COMMENT ON FUNCTION tapdata.change_rows(anyelement, bigint, integer) IS
    'As changes(), with rows of the view''s own type, which the first argument names: NULL::turnover';

CREATE FUNCTION tapdata.view_tick(view regclass) RETURNS bigint
    LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'td_sql_view_tick';
COMMENT ON FUNCTION tapdata.view_tick(regclass) IS
    'The tick that the rows of a live view with the option "changes" are at, in the snapshot of the calling statement: where to go on with changes()';
