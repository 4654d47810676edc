void f(char *b) { sprintf(b, "x"); }
