# Flags shared by the server library, the connector host, the connectors and the unit tests.
# TD_TOP: the top of the tree, as seen from the Makefile that includes this.
TD_TOP      ?= .
TD_INCLUDES  = -I$(TD_TOP)/src -I$(TD_TOP)/connectors/pdk -I$(TD_TOP)
TD_WARNINGS  = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Werror
TD_CFLAGS    = -std=gnu11 -D_GNU_SOURCE -O2 -g -fPIC -fno-strict-aliasing -fstack-protector-strong $(TD_WARNINGS) $(TD_INCLUDES) $(EXTRA)
# PostgreSQL 18 renamed pg_attribute_noreturn() and moved it before the declaration; compat.h can't give it back to headers that don't read it.
TD_NORETURN  = $(if $(filter-out 15 16 17,$(MAJORVERSION)),-D'pg_attribute_noreturn()=__attribute__((noreturn))')
