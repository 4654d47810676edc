void f(void) { DefineCustomBoolVariable("my.setting", "x"); }
