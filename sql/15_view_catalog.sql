-- The catalog of views: groups with their checkpoint, views with their state, base relations and what creating views changed on them.

CREATE TABLE tapdata.view_group (            -- views kept by one worker, always at one snapshot; "default" is made with the first view
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    max_lag interval NOT NULL DEFAULT '10 ms',
    home text NOT NULL DEFAULT tapdata.home()   -- where it was made or adopted: elsewhere it is fenced
);

-- A CHECK of the table would be compiled and evaluated at each tick, whatever column it writes; that of a type only where the status is set.
CREATE DOMAIN tapdata.group_status AS text CHECK (VALUE IN ('created', 'starting', 'streaming', 'stopping', 'stopped',
    'retrying', 'waiting_for_worker', 'failed', 'fenced'));

CREATE TABLE tapdata.group_state (           -- the checkpoint: written in the transaction of the tick
    view_group integer PRIMARY KEY REFERENCES tapdata.view_group ON DELETE CASCADE,
    status tapdata.group_status NOT NULL DEFAULT 'created',
    since timestamptz NOT NULL DEFAULT now(),
    snapshot pg_snapshot,                    -- every view that streams equals its query under it; NULL = no tick yet
    snapshot_time timestamptz,
    bound pg_lsn,                            -- the slot may be confirmed up to here; one that is ahead of it has lost changes
    slot text,
    ticks bigint NOT NULL DEFAULT 0,
    sqlstate text, error text, detail text, hint text,
    retry_at timestamptz,
    retry_since timestamptz,
    retries integer NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE tapdata.view (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view_group integer NOT NULL REFERENCES tapdata.view_group,
    owner regrole NOT NULL,
    relation oid NOT NULL UNIQUE,            -- the view's table
    table_schema text NOT NULL,              -- its name when it was made: found again by it in a restored copy
    table_name text NOT NULL,
    twin oid NOT NULL UNIQUE,                -- the SQL view in schema tapdata_views with the definition
    twin_name text NOT NULL,
    query oid,                               -- the SQL view tapdata_parts.v<id>_q that is kept, where it reads parts; NULL = the twin
    part_of integer,                         -- the view that it is a hidden part of: tapdata_parts.v<id>_p<n>
    replaces integer UNIQUE,                 -- that view, too: this one has its new definition, and takes its place once it streams
    keeps integer,                           -- it keeps old rows of a base table, tapdata_parts.v<id>_k: so many of its first columns are the key; it is a part of itself
    version integer NOT NULL DEFAULT 1,      -- moves when another definition takes its place
    options jsonb NOT NULL DEFAULT '{}',     -- validated, without defaults
    settings jsonb NOT NULL DEFAULT '{}',    -- settings the query depends on, as they were at creation: {"TimeZone": "UTC", ...}
    strategy text NOT NULL,                  -- of its top: delta, counters, ...
    fills integer NOT NULL DEFAULT 1,        -- raised by refresh_view: while it is ahead of view_state.fills the status is 'created' again
    home text NOT NULL DEFAULT tapdata.home(),
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tapdata.view_state (            -- written by workers only, so that no tick waits for an open transaction of a session (but one that has dropped the view)
    view integer PRIMARY KEY REFERENCES tapdata.view ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'created' CHECK (status IN ('created', 'snapshot', 'streaming', 'failed')),
    since timestamptz NOT NULL DEFAULT now(),
    exact boolean NOT NULL DEFAULT false,    -- equals its query under the snapshot
    fills integer NOT NULL DEFAULT 0,        -- of tapdata.view, as it was when the last fill began
    filled boolean NOT NULL DEFAULT false,   -- the fill worker has committed; the next tick takes it in
    snapshot pg_snapshot,                    -- of the fill; and of a view that does not stream: what it still equals.  Streaming: the group's
    snapshot_time timestamptz,
    ticks bigint NOT NULL DEFAULT 0,         -- that changed it or computed it anew; written at most once a second
    recomputes bigint NOT NULL DEFAULT 0,    -- of these: by computing all of it anew
    last_tick timestamptz,
    last_tick_ms double precision,
    whole_ms double precision,               -- what computing all of it took last, in a tick or when it was filled
    slow_ms double precision,                -- it takes that much of each tick of its group, and holds the others up; NULL = it does not
    sqlstate text, error text, detail text, hint text
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE tapdata.view_run (              -- what ticks have done for it; written by workers, at most once a second
    view integer NOT NULL REFERENCES tapdata.view ON DELETE CASCADE,
    how text NOT NULL,                       -- delta, groups, keyed, topk; all of it: full, ddl, unknown, cost, error
    n bigint NOT NULL,
    ms double precision NOT NULL,            -- in all
    last_ms double precision NOT NULL,
    last timestamptz NOT NULL,
    PRIMARY KEY (view, how)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE tapdata.view_base (             -- what a view reads directly
    view integer NOT NULL REFERENCES tapdata.view ON DELETE CASCADE,
    relation oid NOT NULL,                   -- a table, a partitioned root, or the table of another view
    columns int2[] NOT NULL,                 -- attribute numbers used
    PRIMARY KEY (view, relation)
);
CREATE INDEX ON tapdata.view_base (relation);

CREATE TABLE tapdata.view_kept (             -- changes of a base table that a view learns from another one, which keeps its rows (option old_images)
    view integer NOT NULL REFERENCES tapdata.view ON DELETE CASCADE,
    kept integer NOT NULL REFERENCES tapdata.view ON DELETE CASCADE,
    PRIMARY KEY (view, kept)
);
CREATE INDEX ON tapdata.view_kept (kept);

CREATE TABLE tapdata.view_feed (             -- of views that keep (or kept) their changes in tapdata_state.v<id>_c; written by workers, and by the session that turns it on
    view integer PRIMARY KEY REFERENCES tapdata.view ON DELETE CASCADE,
    tick bigint,                             -- the last one, which the view's rows are at; NULL = it has not been filled yet
    gone bigint NOT NULL DEFAULT 0           -- changes up to this one are not kept (any more)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE tapdata.history (               -- of feeds: each adoption of this database, as a copy of another one, begins one
    base bigint PRIMARY KEY                  -- its ticks have higher numbers, those before lower ones
);

CREATE TABLE tapdata.replica_identity (      -- what was changed on base tables (partitions too), restored when no view needs it any more
    relation oid NOT NULL,
    table_schema text NOT NULL,              -- its name, and that of the index: found again by them in a restored copy
    table_name text NOT NULL,
    identity "char" NOT NULL,                -- as it was: d, n, i
    index oid,                               -- for i
    index_name text,
    home text NOT NULL DEFAULT tapdata.home(),
    PRIMARY KEY (relation, home)
);

SELECT pg_catalog.pg_extension_config_dump('tapdata.view_group', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view_group_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.group_state', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view_state', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view_run', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view_base', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view_kept', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.view_feed', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.history', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.replica_identity', '');
