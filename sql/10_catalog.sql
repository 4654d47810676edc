-- The catalog: what is defined (pipeline), how it stands (pipeline_state, pipeline_table), what happened (log_entry, error_entry).
-- Users read it through the views of 60_monitor.sql; nobody but the extension's own code writes it.  A definition and its
-- state are two tables so that a worker's checkpoint never waits for a user's open transaction.

CREATE TABLE tapdata.pipeline (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    owner regrole NOT NULL,
    connection text NOT NULL,                -- name of the foreign server
    tables text[] NOT NULL,                  -- globs
    except_tables text[] NOT NULL,
    into_schema text NOT NULL,
    options jsonb NOT NULL DEFAULT '{}',     -- validated, without defaults
    desired text NOT NULL DEFAULT 'stopped' CHECK (desired IN ('running', 'stopped')),
    home text NOT NULL DEFAULT tapdata.home(),  -- where it was made or adopted: elsewhere it is fenced
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tapdata.pipeline_state (        -- the checkpoint: written in the transaction that writes the rows
    pipeline integer PRIMARY KEY REFERENCES tapdata.pipeline ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'created' CHECK (status IN ('created', 'starting', 'snapshot', 'streaming', 'stopping', 'stopped',
        'completed', 'retrying', 'waiting_for_worker', 'failed', 'fenced')),
    since timestamptz NOT NULL DEFAULT now(),
    exact boolean NOT NULL DEFAULT false,    -- true once published, false again where rows were skipped
    planned boolean NOT NULL DEFAULT false,  -- pipeline_table is filled
    load_position text,                      -- where the source stood before the first chunk
    load_done boolean NOT NULL DEFAULT false,-- every chunk is in
    catch_up_position text,                  -- where the source stood after the last chunk: publish from there on
    published boolean NOT NULL DEFAULT false,
    position text,                           -- applied and committed up to here
    source_time timestamptz,                 -- of the last source transaction applied
    rows_loaded bigint NOT NULL DEFAULT 0,
    rows_applied bigint NOT NULL DEFAULT 0,
    sqlstate text, error text, detail text, hint text,
    retry_at timestamptz,
    retry_since timestamptz,                 -- first failure of the current run of failures
    retries integer NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE tapdata.pipeline_table (
    pipeline integer NOT NULL REFERENCES tapdata.pipeline ON DELETE CASCADE,
    n integer NOT NULL,                      -- order of loading, and the number in tapdata_state.load_<pipeline>_<n>
    source_database text NOT NULL,
    source_table text NOT NULL,
    target_schema text NOT NULL,
    target_table text NOT NULL,
    relation oid,                            -- the target once made: first the load table, the same relation after it is published
    status text NOT NULL DEFAULT 'created' CHECK (status IN ('created', 'loading', 'loaded', 'streaming', 'failed')),
    has_key boolean NOT NULL,
    cursor text NOT NULL DEFAULT '',         -- keyed: rows up to here are loaded
    skip_to text NOT NULL DEFAULT '',        -- keyless: position of the snapshot it was read from
    rows_loaded bigint NOT NULL DEFAULT 0,
    row_estimate bigint,
    error text,
    PRIMARY KEY (pipeline, n),
    UNIQUE (pipeline, source_database, source_table)
) WITH (fillfactor = 50);

CREATE TABLE tapdata.log_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    level text NOT NULL CHECK (level IN ('debug', 'info', 'warning', 'error')),
    kind text NOT NULL,                      -- launcher, supervisor, pipeline, host, ...
    object text,                             -- name of the pipeline or view
    owner regrole,                           -- who may read the row; NULL = pg_monitor only
    sqlstate text, message text NOT NULL, detail text, hint text
);
CREATE INDEX ON tapdata.log_entry (at);

CREATE TABLE tapdata.error_entry (           -- records that could not be applied and were set aside by the user's choice
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    pipeline integer NOT NULL REFERENCES tapdata.pipeline ON DELETE CASCADE,
    step text, table_name text, position text, sqlstate text, message text NOT NULL,
    record jsonb
);
CREATE INDEX ON tapdata.error_entry (pipeline);

-- What pg_dump takes along.  relation oids are not those of the restored database: adopt_database() finds the tables again by name.
SELECT pg_catalog.pg_extension_config_dump('tapdata.pipeline', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.pipeline_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.pipeline_state', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.pipeline_table', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.error_entry', '');
SELECT pg_catalog.pg_extension_config_dump('tapdata.error_entry_id_seq', '');
