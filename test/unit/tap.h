/*-------------------------------------------------------------------------
 *
 * tap.h
 *		What unit tests print.
 *
 * test/unit/tap.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TAP_H
#define TD_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int	tap_tests;
static int	tap_failed;

/* One test. */
static bool __attribute__((format(printf, 2, 3), unused))
ok(bool good, const char *fmt,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tap_tests);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	tap_failed += !good;
	return good;
}

/* Equal texts. */
static bool __attribute__((unused))
is(const char *got, const char *wanted, const char *what)
{
	bool		good = got && strcmp(got, wanted) == 0;

	ok(good, "%s", what);
	if (!good)
		printf("# got \"%s\", wanted \"%s\"\n", got ? got : "(null)", wanted);
	return good;
}

/* The text holds a part. */
static bool __attribute__((unused))
has(const char *got, const char *part, const char *what)
{
	bool		good = got && strstr(got, part);

	ok(good, "%s", what);
	if (!good)
		printf("# got \"%s\", wanted \"...%s...\"\n", got ? got : "(null)", part);
	return good;
}

/* The seed of a run: given as an argument, by TD_SEED, or the time; tests print it. */
static unsigned __attribute__((unused))
seed_of(int argc, char **argv)
{
	const char *text = argc > 1 ? argv[1] : getenv("TD_SEED");

	return text && text[0] ? (unsigned) strtoul(text, NULL, 10) : (unsigned) time(NULL);
}

/* The plan, and the exit status. */
static int __attribute__((unused))
done_testing(void)
{
	printf("1..%d\n", tap_tests);
	return tap_failed > 0;
}

#endif							/* TD_TAP_H */
