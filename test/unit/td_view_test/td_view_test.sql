-- The functions of td_view_test.so (psql -v td_view_test=/path/td_view_test).
CREATE SCHEMA td_view_test;
GRANT USAGE ON SCHEMA td_view_test TO PUBLIC;
CREATE FUNCTION td_view_test.shape(query text, owner regrole DEFAULT current_user::regrole) RETURNS text LANGUAGE c AS :'td_view_test', 'td_view_test_shape';
CREATE FUNCTION td_view_test.twin(twin regclass) RETURNS text LANGUAGE c AS :'td_view_test', 'td_view_test_twin';
CREATE FUNCTION td_view_test.fingerprint(query text) RETURNS text LANGUAGE c AS :'td_view_test', 'td_view_test_fingerprint';
CREATE FUNCTION td_view_test.settings() RETURNS jsonb LANGUAGE c AS :'td_view_test', 'td_view_test_settings';
CREATE FUNCTION td_view_test.explain(query text, OUT node text, OUT strategy text, OUT detail text) RETURNS SETOF record
    LANGUAGE c AS :'td_view_test', 'td_view_test_explain';
