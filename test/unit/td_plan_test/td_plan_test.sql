-- The functions of td_plan_test.so (psql -v td_plan_test=/path/td_plan_test).
CREATE SCHEMA td_plan_test;
-- part: core, output, leaf (name l<n>, kind = d_<relid>), state (name and type of a column; kind of a counter)
CREATE FUNCTION td_plan_test.plan(query text, OUT part text, OUT name text, OUT sql text, OUT kind text) RETURNS SETOF record
    LANGUAGE c AS :'td_plan_test', 'td_plan_test_plan';
-- otherwise: in the other way, if there is one
CREATE FUNCTION td_plan_test.delta(query text, changed integer[], otherwise boolean DEFAULT false) RETURNS text LANGUAGE c AS :'td_plan_test', 'td_plan_test_delta';
CREATE FUNCTION td_plan_test.groups(query text, null_mask integer) RETURNS text LANGUAGE c AS :'td_plan_test', 'td_plan_test_groups';
-- keyed queries: parts key (kind = output column, 0 = none), state, unique of plan(), and
CREATE FUNCTION td_plan_test.affected(query text, changed integer[]) RETURNS text LANGUAGE c AS :'td_plan_test', 'td_plan_test_affected';
CREATE FUNCTION td_plan_test.keyed(query text, null_mask integer) RETURNS text LANGUAGE c AS :'td_plan_test', 'td_plan_test_keyed';
