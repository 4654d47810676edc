# Builds one connector: all *.c of its folder and src/stream/*.c become <folder>.so, which shows td_connector_entry only.
# A connector's Makefile is the lines it needs of these, then the include:
#
#   NEEDS    = libmariadb-dev                      # Debian package of its library, named when it is left out
#   PROBE    = mysql.h                             # header that must be found, with CPPFLAGS, and link with LIBS
#   CPPFLAGS = $(shell mariadb_config --include 2>/dev/null)
#   LIBS     = $(shell mariadb_config --libs 2>/dev/null)
#   include ../pdk/connector.mk
TD_TOP  := ../..
include $(TD_TOP)/connectors/pdk/flags.mk

NAME    ?= $(notdir $(CURDIR))
BUILD   ?= $(TD_TOP)/build
SOURCES := $(wildcard *.c)
OBJS     = $(SOURCES:%.c=$(BUILD)/connectors/$(NAME)/%.o) \
           $(patsubst $(TD_TOP)/src/stream/%.c,$(BUILD)/connectors/$(NAME)/stream/%.o,$(wildcard $(TD_TOP)/src/stream/*.c))

HASH    := \#
PROBED  := $(if $(PROBE),$(shell mkdir -p $(BUILD) && printf '$(HASH)include <$(PROBE)>\nint main(void) { return 0; }\n' | \
             $(CC) $(CPPFLAGS) -x c - -o $(BUILD)/probe.$(NAME) $(LIBS) 2>/dev/null && echo yes),yes)

.PHONY: all
ifeq ($(SOURCES),)
all:
	@echo 'left out: $(NAME) (no source yet)'
else ifneq ($(PROBED),yes)
all:
	@echo 'left out: $(NAME) ($(NEEDS) is missing)'
else
all: $(NAME).so
endif

$(NAME).so: $(OBJS)
	$(CC) -shared $(EXTRA) -Wl,--as-needed -Wl,-z,defs -o $@ $^ $(LIBS) -lpthread -lm

$(BUILD)/connectors/$(NAME)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(TD_CFLAGS) -fvisibility=hidden $(CPPFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/connectors/$(NAME)/stream/%.o: $(TD_TOP)/src/stream/%.c
	@mkdir -p $(@D)
	$(CC) $(TD_CFLAGS) -fvisibility=hidden -MMD -MP -c -o $@ $<

-include $(OBJS:.o=.d)
