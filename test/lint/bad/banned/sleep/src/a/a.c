void f(void) { pg_usleep(1000L); }
