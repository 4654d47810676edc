/*-------------------------------------------------------------------------
 *
 * tck.c
 *		The conformance kit: does a connector keep its contract?  Prints TAP.
 *
 * NOTES
 *		Runs the connector in its own process, so that valgrind and the
 *		sanitizers see it; only the cases about stopping start tapdata-host.
 *		Reads its source, never writes to it: what the source holds is the
 *		caller's to prepare.
 *
 * connectors/tck/tck.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "tck_internal.h"

static int	tests;
static int	failures;

/* One test. */
bool
tck_ok(bool good, const char *fmt,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	failures += !good;
	return good;
}

/* A case that does not apply. */
void
tck_skip(const char *what, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tests, what, why);
}

/* Shows an error below a failed test. */
void
tck_note(const TdError *err)
{
	printf("# %s: %s\n# detail: %s\n# hint: %s\n", err->sqlstate, err->message, err->detail, err->hint);
}

/* Milliseconds of a clock that never jumps. */
long long
tck_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* The options given, some of them replaced; number of options. */
uint32_t
tck_override(const Tck *tck, const TdGiven *over, uint32_t n, TdGiven *into)
{
	uint32_t	count = 0;

	for (uint32_t i = 0; i < tck->noptions; i++)
	{
		bool		replaced = false;

		for (uint32_t j = 0; j < n; j++)
			replaced = replaced || strcmp(over[j].name, tck->options[i].name) == 0;
		if (!replaced)
			into[count++] = tck->options[i];
	}
	for (uint32_t j = 0; j < n; j++)
		into[count++] = over[j];
	return count;
}

/* Opens with the options given. */
bool
tck_open(Tck *tck, TdConn **conn, TdError *err)
{
	*conn = NULL;
	memset(err, 0, sizeof(*err));
	return tck->api.open(&tck->services, &tck->config, conn, err) == TD_OK && *conn;
}

/* Log lines of the connector are diagnostics here. */
static void __attribute__((format(printf, 2, 3)))
log_line(const char *level, const char *fmt,...)
{
	va_list		args;

	printf("# %s: ", level);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

/* Nothing stops us. */
static bool
never(void)
{
	return false;
}

/* "name=value" */
static bool
parse_pair(char *text, TdGiven *pair)
{
	char	   *equals = strchr(text, '=');

	if (equals == NULL)
		return false;
	*equals = '\0';
	pair->name = text;
	pair->value = equals + 1;
	return true;
}

/* "name=value:SQLSTATE" */
static bool
parse_wrong(char *text, TckWrong *wrong)
{
	char	   *colon = strrchr(text, ':');

	if (colon == NULL || strlen(colon + 1) != 5)
		return false;
	*colon = '\0';
	memcpy(wrong->sqlstate, colon + 1, 6);
	return parse_pair(text, &wrong->option);
}

/* One option of the program and its value. */
static bool
parse_option(Tck *tck, const char *option, char *value)
{
	if (strcmp(option, "--option") == 0 && tck->noptions < TCK_OPTIONS_MAX / 2)
		return parse_pair(value, &tck->options[tck->noptions++]);
	if (strcmp(option, "--unreachable") == 0 && tck->nunreachable < TCK_OPTIONS_MAX / 2)
		return parse_pair(value, &tck->unreachable[tck->nunreachable++]);
	if (strcmp(option, "--wrong") == 0 && tck->nwrong < TCK_OPTIONS_MAX)
		return parse_wrong(value, &tck->wrong[tck->nwrong++]);
	if (strcmp(option, "--host") == 0)
		tck->host = value;
	else if (strcmp(option, "--table") == 0)
		tck->table = value;
	else if (strcmp(option, "--position") == 0)
		tck->position = value;
	else if (strcmp(option, "--rounds") == 0)
		tck->rounds = (int) strtol(value, NULL, 10);
	else
		return false;
	return true;
}

/* Says how it is called. */
static int
usage(void)
{
	fprintf(stderr, "usage: tapdata-tck NAME PATH [--option name=value]... [--table NAME] [--position TEXT]\n"
			"         [--wrong name=value:SQLSTATE]... [--unreachable name=value]... [--host PROGRAM] [--rounds N]\n");
	return 2;
}

int
main(int argc, char **argv)
{
	static Tck	tck;

	if (argc < 3 || argc % 2 == 0)
		return usage();
	tck.name = argv[1];
	tck.path = argv[2];
	tck.host = "connectors/host/tapdata-host";
	tck.rounds = 50;
	tck.services = (TdHost) {sizeof(TdHost), log_line, never};
	for (int i = 3; i < argc; i += 2)
		if (!parse_option(&tck, argv[i], argv[i + 1]))
			return usage();
	tck_case_load(&tck);
	if (failures == 0)
	{
		tck_case_options(&tck);
		tck_case_open_close(&tck);
		tck_case_check(&tck);
		tck_case_errors(&tck);
		tck_case_discover(&tck);
		tck_case_snapshot(&tck);
		tck_case_position(&tck);
		tck_case_stream(&tck);
		tck_case_stop(&tck);
	}
	free(tck.schema);
	td_config_free(&tck.config);
	printf("1..%d\n", tests);
	return failures > 0;
}
