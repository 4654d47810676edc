-- Processes: how often a worker was started in quick succession.

CREATE TABLE tapdata.worker_start (          -- written and committed before each start, by the supervisor only; not dumped
    kind text NOT NULL,                      -- pipeline
    object integer NOT NULL,                 -- its id
    started timestamptz NOT NULL,            -- the last start
    starts integer NOT NULL,                 -- starts within 60 s of each other; 0 = the last worker left a reason
    restarts integer NOT NULL,               -- starts after the first, since the pipeline was last stopped, failed or completed
    PRIMARY KEY (kind, object)
) WITH (fillfactor = 50);
REVOKE ALL ON tapdata.worker_start FROM PUBLIC;
