# What the test modules in the folders here share: SQL functions for tests only, loaded by path, never installed.  The td_* symbols they call come
# from tapdata.so, which is preloaded (15 shows them; later majors hide them, unless it is built as test/servers/pg does it).
# MODULE_big is set before, OBJS when it is more than one file.
TD_TOP      = ../../..
OBJS       ?= $(MODULE_big).o
include $(TD_TOP)/connectors/pdk/flags.mk
PG_CPPFLAGS = $(TD_INCLUDES) $(TD_NORETURN)
PG_CFLAGS   = -std=gnu11 $(TD_WARNINGS)
override with_llvm := no
PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
$(OBJS): $(wildcard $(TD_TOP)/src/*/*.h $(TD_TOP)/src/*/*/*.h)
