void f(void) { DefineCustomBoolVariable("tapdata.hidden", "x"); }
