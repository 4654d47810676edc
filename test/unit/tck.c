/*-------------------------------------------------------------------------
 *
 * tck.c
 *		The conformance kit passes good connectors (null, the skeleton) and
 *		fails bad ones.
 *
 * test/unit/tck.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "tap.h"

#define CC "cc -std=gnu11 -D_GNU_SOURCE -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror -Wno-missing-field-initializers " \
	"-Isrc -Iconnectors/pdk "

/* Exit status of a shell command; its output is kept for diagnostics. */
static int
run(const char *command)
{
	char		all[2000];
	int			status;

	fflush(stdout);
	snprintf(all, sizeof(all), "(%s) > build/tck.out 2>&1", command);
	status = system(all);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* Shows what did not work. */
static void
show_failures(void)
{
	fflush(stdout);
	(void) !system("grep -A3 -v '^ok' build/tck.out | sed 's/^/# /' | head -20");
}

static void
passes(const char *what, const char *command)
{
	if (!ok(run(command) == 0, "%s passes", what))
		show_failures();
}

/* Fails, and for the right reason. */
static void
fails(const char *what, const char *command, const char *reason)
{
	char		grep[300];

	ok(run(command) == 1, "%s fails", what);
	snprintf(grep, sizeof(grep), "grep -q '^not ok .*%s' build/tck.out", reason);
	if (!ok(system(grep) == 0, "because of \"%s\"", reason))
		show_failures();
}

int
main(void)
{
	if (!ok(run("make -s -C connectors/tck") == 0, "the kit is built"))
		show_failures();
	passes("null", "build/tapdata-tck null connectors/null --option transactions=150 --option rows=30000 "
		   "--option password=geheimnis --position 0 --wrong rows=x:22023");
	passes("null without keys", "build/tapdata-tck null connectors/null --option keyless=1 --option tables=1 --option interval_us=5000");
	ok(run("mkdir -p build/skeleton/files && seq 1 200000 > build/skeleton/files/numbers && "
		   CC "-o build/skeleton/skeleton.so connectors/pdk/skeleton/skeleton.c src/stream/*.c") == 0, "the skeleton is built");
	passes("the skeleton", "build/tapdata-tck skeleton build/skeleton --option directory=$PWD/build/skeleton/files "
		   "--wrong directory=/nonexistent:58P01");
	fails("a missing function", "build/tapdata-tck bad_slot build/connectors/bad", "the host accepts it");
	fails("another magic", "build/tapdata-tck bad_magic build/connectors/bad", "the host accepts it");
	fails("no END", "build/tapdata-tck bad_garbage build/connectors/bad --option kind=end", "END last");
	fails("garbage", "build/tapdata-tck bad_garbage build/connectors/bad --option kind=size", "schema first");
	fails("a leaked secret", "build/tapdata-tck bad_leak build/connectors/bad --option password=secret99", "stream: runs");
	fails("a wrong SQLSTATE", "build/tapdata-tck null connectors/null --wrong rows=x:28P01", "with SQLSTATE 28P01");
	return done_testing();
}
