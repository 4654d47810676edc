-- psql -v td_capture_test=<path without .so>
CREATE SCHEMA cap;
CREATE FUNCTION cap.open(int, text, int[] DEFAULT '{}') RETURNS boolean LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_open';
CREATE FUNCTION cap.want(int, regclass[], text[]) RETURNS void LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_want';
CREATE FUNCTION cap.read(timeout_ms int DEFAULT 20000, text_of_rows boolean DEFAULT true, xids boolean DEFAULT false) RETURNS SETOF text LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_read';
CREATE FUNCTION cap.started() RETURNS bigint LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_started';
CREATE FUNCTION cap.told() RETURNS pg_lsn LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_told';
CREATE FUNCTION cap.spool(timeout_ms int, OUT rows bigint, OUT bytes bigint) LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_spool';
CREATE FUNCTION cap.nothing(timeout_ms int) RETURNS boolean LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_nothing';
CREATE FUNCTION cap.confirm(pg_lsn) RETURNS void LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_confirm';
CREATE FUNCTION cap.close() RETURNS void LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_close';
CREATE FUNCTION cap.slot_state(text, OUT confirmed pg_lsn, OUT lost boolean) LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_slot_state';
CREATE FUNCTION cap.slot_drop(text) RETURNS void LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_slot_drop';
CREATE FUNCTION cap.slot_name(int) RETURNS text LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_slot_name';
CREATE FUNCTION cap.require() RETURNS void LANGUAGE c STRICT AS :'td_capture_test', 'td_cap_require';
