# tapdata: the extension, its connectors and the program that runs them.
#
#   make                builds everything; connectors whose library is missing are left out, by name
#   make install        into the PostgreSQL of PG_CONFIG
#   make check          installs what is missing (root), builds, and runs every test on private servers
#   make check-majors   builds and runs the regress tests on PostgreSQL 17 and 18 (root)
#   make demo           a MariaDB with a sample shop, mirrored live; `make demo-stop` ends it
#   make soak [ROUNDS=8], make fuzz [TD_FUZZ_SECONDS=1200]: the long runs
#   make lint | unit | connectors | connectors/bad

# Targets that are scripts stand first: they must work before PostgreSQL is installed.
SCRIPT_GOALS = check check-majors check-packages demo demo-stop lint soak fuzz bench

ifneq ($(filter $(SCRIPT_GOALS),$(MAKECMDGOALS)),)

.PHONY: $(SCRIPT_GOALS)
check-packages:         ; @test/packages check
check:                  ; @test/packages check && test/run-check $(TESTS)
check-majors:           ; @test/check-majors $(MAJORS)
demo:                   ; @test/packages demo && test/demo/start
demo-stop:              ; @test/demo/stop
lint:                   ; @test/lint/run
soak:                   ; @test/packages check && test/soak/run $(ROUNDS)
fuzz:                   ; @test/packages check && CI=true TD_LIMIT=7200 TD_FUZZ_SECONDS=$(or $(TD_FUZZ_SECONDS),1200) test/run-check test/t/72_view_fuzz.t
bench:                  ; @test/packages bench && test/bench/run $(CASES)

else

EXTENSION   = tapdata
EXTVERSION  = 0.1
MODULE_big  = tapdata
ROOMS      ?= $(sort $(patsubst src/%/,%,$(dir $(wildcard src/*/*.c src/*/*/*.c))))
OBJS        = src/tapdata.o $(patsubst %.c,%.o,$(sort $(foreach r,$(ROOMS),$(wildcard src/$(r)/*.c))))
DATA_built  = sql/tapdata--$(EXTVERSION).sql
DATA        = $(filter-out $(DATA_built),$(wildcard sql/tapdata--*--*.sql))

# The same warnings everywhere: connectors/pdk/flags.mk is read by the connectors too.
include connectors/pdk/flags.mk
PG_CPPFLAGS = $(TD_INCLUDES) $(TD_NORETURN)
PG_CFLAGS   = -std=gnu11 $(TD_WARNINGS) -MMD -MP $(EXTRA)
EXTRA_CLEAN = $(OBJS:.o=.d) $(OBJS:.o=.bc) build results regression.diffs regression.out output_iso

# No bitcode by default: it needs clang, and triples the time of a build.
ifneq ($(origin with_llvm),command line)
override with_llvm := no
endif

PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error $(PG_CONFIG) does not work: install postgresql-server-dev-NN, or give PG_CONFIG=/path/to/pg_config)
endif
include $(PGXS)
-include $(OBJS:.o=.d)

sql/tapdata--$(EXTVERSION).sql: $(sort $(wildcard sql/[0-9]*.sql))
	cat $^ /dev/null > $@

CONNECTORS  = $(filter-out pdk host tck bad,$(patsubst connectors/%/Makefile,%,$(wildcard connectors/*/Makefile)))
BAD         = $(patsubst connectors/bad/%.c,build/connectors/bad/%.so,$(wildcard connectors/bad/*.c))

.PHONY: host connectors connectors/bad unit install-host install-connectors clean-connectors
all: host connectors

host:
	@$(MAKE) --no-print-directory -C connectors/host

connectors:
	@set -e; for c in $(CONNECTORS); do $(MAKE) --no-print-directory -C connectors/$$c; done

# One file, one bad connector; for tests only, never installed.
connectors/bad: $(BAD)
build/connectors/bad/%.so: connectors/bad/%.c $(wildcard src/stream/*.[ch] connectors/pdk/*.h)
	@mkdir -p $(@D)
	$(CC) $(TD_CFLAGS) -fvisibility=hidden -shared -o $@ $< src/stream/*.c -lpthread

# Unit tests are programs that print TAP, under ASan and UBSan.  "unit-link: FILES" in a test names what else it needs.
unit: $(patsubst test/unit/%.c,build/unit/%,$(wildcard test/unit/*.c))
build/unit/%: test/unit/%.c $(wildcard src/stream/*.[ch] connectors/pdk/*.h connectors/host/*.[ch] test/unit/*.h)
	@mkdir -p $(@D)
	$(CC) $(TD_CFLAGS) -Itest/unit -I$(includedir_server) $(TD_NORETURN) -fsanitize=address,undefined -fno-sanitize-recover=undefined -o $@ $< src/stream/*.c \
		$$(sed -n 's/.*unit-link: *//p' $< | sed 's/\*\/.*//') -lpthread

install: install-host install-connectors
install-host: host
	@if [ -x connectors/host/tapdata-host ]; then set -x; \
		$(MKDIR_P) '$(DESTDIR)$(pkglibdir)/tapdata' && \
		$(INSTALL_PROGRAM) connectors/host/tapdata-host '$(DESTDIR)$(pkglibdir)/tapdata/tapdata-host'; fi

install-connectors: connectors
	@set -e; $(MKDIR_P) '$(DESTDIR)$(pkglibdir)/tapdata'; for c in $(CONNECTORS); do \
		if [ -e connectors/$$c/$$c.so ]; then echo "installing connector $$c"; \
			$(INSTALL_SHLIB) connectors/$$c/$$c.so '$(DESTDIR)$(pkglibdir)/tapdata/'$$c.so; fi; done

uninstall: uninstall-connectors
.PHONY: uninstall-connectors
uninstall-connectors:
	rm -rf '$(DESTDIR)$(pkglibdir)/tapdata'

clean: clean-connectors
clean-connectors:
	rm -f connectors/host/tapdata-host $(wildcard connectors/*/*.so)

endif
