int f(char *b) { return atoi (b); }
