-- The functions of td_plan_test.so (psql -v td_plan_test=/path/td_plan_test).
CREATE SCHEMA td_plan_test;
-- part: core, output, leaf (name l<n>, kind = d_<relid>), state (name and type of a column; kind of a counter)
CREATE FUNCTION td_plan_test.plan(query text, OUT part text, OUT name text, OUT sql text, OUT kind text) RETURNS SETOF record
    LANGUAGE c AS :'td_plan_test', 'td_plan_test_plan';
CREATE FUNCTION td_plan_test.delta(query text, changed integer[]) RETURNS text LANGUAGE c AS :'td_plan_test', 'td_plan_test_delta';
CREATE FUNCTION td_plan_test.groups(query text, null_mask integer) RETURNS text LANGUAGE c AS :'td_plan_test', 'td_plan_test_groups';
