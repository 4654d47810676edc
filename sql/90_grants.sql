-- Functions are for everybody: each asks for the rights it needs by itself.  Tables are for nobody.

GRANT SELECT ON tapdata.connectors, tapdata.pipelines, tapdata.pipeline_tables, tapdata.views, tapdata.feeds, tapdata.workers, tapdata.errors, tapdata.log TO PUBLIC;

COMMENT ON TABLE tapdata.pipeline IS 'Definitions of pipelines; read tapdata.pipelines';
COMMENT ON TABLE tapdata.pipeline_state IS 'State and checkpoints of pipelines; read tapdata.pipelines';
COMMENT ON TABLE tapdata.pipeline_table IS 'Tables of pipelines; read tapdata.pipeline_tables';
COMMENT ON TABLE tapdata.log_entry IS 'What happened; read tapdata.log';
COMMENT ON TABLE tapdata.error_entry IS 'Records set aside; read tapdata.errors';
COMMENT ON TABLE tapdata.view_group IS 'Groups of live views; read tapdata.views';
COMMENT ON TABLE tapdata.group_state IS 'State and checkpoints of groups; read tapdata.views';
COMMENT ON TABLE tapdata.view IS 'Definitions of live views; read tapdata.views';
COMMENT ON TABLE tapdata.view_state IS 'State of live views; read tapdata.views';
COMMENT ON TABLE tapdata.view_run IS 'What ticks have done for live views, and how long that took; read tapdata.views';
COMMENT ON TABLE tapdata.view_base IS 'What live views read';
COMMENT ON TABLE tapdata.view_kept IS 'Old rows that live views learn changes from, where base tables do not log them';
COMMENT ON TABLE tapdata.view_feed IS 'Ticks of live views that keep their changes; read tapdata.views';
COMMENT ON TABLE tapdata.history IS 'Where the numbers of ticks of feeds begin since this database was adopted';
COMMENT ON TABLE tapdata.replica_identity IS 'Replica identities that live views changed, as they were before';
