void f(void) {
	ereport(ERROR,
			(errmsg("no code (here)"), errdetail("nothing")));
}
