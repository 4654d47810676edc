void f(void) { ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not do it.")); }
