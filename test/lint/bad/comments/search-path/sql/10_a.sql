CREATE FUNCTION tapdata.f(a text) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
COMMENT ON FUNCTION tapdata.f(text) IS 'one';
