void f(void) { ereport(WARNING, errcode(ERRCODE_WARNING), errmsg("Could not do it")); }
