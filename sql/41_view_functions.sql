-- Functions that the statements of live views use: the one place where counting needs more than pg_catalog has.

CREATE FUNCTION tapdata.numeric_place(value numeric) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'td_sql_numeric_place';
COMMENT ON FUNCTION tapdata.numeric_place IS 'Used by live views: 10^(20 * place), where places are -Infinity, Infinity, NaN, then display scales; summed up, it counts values by display scale';

CREATE FUNCTION tapdata.numeric_sum(finite numeric, places numeric) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'td_sql_numeric_sum';
COMMENT ON FUNCTION tapdata.numeric_sum IS 'Used by live views: what sum() returns, from the sum of the finite values and the sum of numeric_place() over all';
