/*-------------------------------------------------------------------------
 *
 * tapdata_util.h
 *		Small helpers for connectors, header only.
 *
 * connectors/pdk/tapdata_util.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TAPDATA_UTIL_H
#define TAPDATA_UTIL_H

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tapdata_connector.h"

#define TD_EPOCH_UNIX_SECONDS INT64_C(946684800)	/* 2000-01-01 00:00:00 UTC */
#define TD_EPOCH_UNIX_DAYS 10957

/* An INT option, which the host has checked; `missing` where it has no value. */
static inline int64_t
td_config_int(const TdConfig *config, const char *name, int64_t missing)
{
	const char *value = td_config_get(config, name);

	return value ? strtoll(value, NULL, 10) : missing;
}

/* A BOOL option: the host hands on "true" or "false" only. */
static inline bool
td_config_bool(const TdConfig *config, const char *name)
{
	const char *value = td_config_get(config, name);

	return value && strcmp(value, "true") == 0;
}

/* Microseconds since 2000-01-01 UTC, as records want them. */
static inline int64_t
td_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (t.tv_sec - TD_EPOCH_UNIX_SECONDS) * 1000000 + t.tv_nsec / 1000;
}

/* Milliseconds of a clock that never jumps, for time limits. */
static inline int64_t
td_monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Days since 2000-01-01 of a date of the Gregorian calendar (proleptic). */
static inline int32_t
td_date(int year, unsigned month, unsigned day)
{
	int			y = month <= 2 ? year - 1 : year;
	int			era = (y >= 0 ? y : y - 399) / 400;
	unsigned	in_era = (unsigned) (y - era * 400);
	unsigned	in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	unsigned	in_era_days = in_era * 365 + in_era / 4 - in_era / 100 + in_year;

	return era * 146097 + (int32_t) in_era_days - 719468 - TD_EPOCH_UNIX_DAYS;
}

/* Reads a position that is one unsigned number; 22P02 with the text otherwise. */
static inline bool
td_position_number(const char *text, uint64_t *number, TdError *err)
{
	size_t		len = strspn(text, "0123456789");
	char	   *end;

	*number = strtoull(text, &end, 10);
	if (len > 0 && len <= 19 && text[len] == '\0')
		return true;
	td_error_set(err, "22P02", "invalid position: \"%.100s\"", text);
	return td_error_hint(err, "A position of this connector is a number.");
}

#endif							/* TAPDATA_UTIL_H */
