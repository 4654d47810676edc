/*-------------------------------------------------------------------------
 *
 * temporal.c
 *		Dates and times of the source as ours.
 *
 * NOTES
 *		The source takes dates that are none: 0000-00-00, 2024-00-00,
 *		2024-02-31.  They have no counterpart and are refused by value; nothing
 *		is invented for them.  Year 0 is a year of the proleptic calendar, 1 BC.
 *
 * connectors/mysql/temporal.c
 *
 *-------------------------------------------------------------------------
 */
#include "mysql_internal.h"

#define DAY_USEC INT64_C(86400000000)
#define EPOCH_2000 INT64_C(946684800)	/* seconds from 1970 to 2000 */

static const uint8_t month_days[] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

/* Days from 2000-01-01. */
static int32_t
days_of(const TdMyDate *d)
{
	int			y = (int) d->year - (d->month <= 2);
	int			era = (y >= 0 ? y : y - 399) / 400;
	unsigned	yoe = (unsigned) (y - era * 400);
	unsigned	doy = (153 * (d->month + (d->month > 2 ? -3u : 9u)) + 2) / 5 + d->day - 1;
	unsigned	doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + (int32_t) doe - 730425;
}

/* Is it a day that exists? */
static bool
valid_date(TdMyPut *put, const TdMyDate *d)
{
	bool		leap = d->year % 4 == 0 && (d->year % 100 != 0 || d->year % 400 == 0);

	if (td_likely(d->month >= 1 && d->month <= 12 && d->day >= 1 && d->day <= month_days[d->month] &&
				  d->year <= 9999 && (d->month != 2 || d->day < 29 || leap)))
		return true;
	return td_my_refuse(put, "22007", "%s %04u-%02u-%02u", d->month && d->day ? "the invalid date" : "the zero date",
						d->year, d->month, d->day);
}

/* Is it a time of day? */
static bool
valid_time(TdMyPut *put, const TdMyDate *d)
{
	if (td_likely(d->hour < 24 && d->minute < 60 && d->second < 60 && d->usec < 1000000))
		return true;
	return td_my_refuse(put, "22007", "the invalid time %02u:%02u:%02u", d->hour, d->minute, d->second);
}

/* DATE */
bool
td_my_put_date(TdMyPut *put, const TdMyDate *d)
{
	if (!valid_date(put, d))
		return false;
	td_put_int(put->out, TD_DATE, days_of(d));
	return true;
}

/* DATETIME, and TIMESTAMP as a session in UTC reads it. */
bool
td_my_put_datetime(TdMyPut *put, const TdMyDate *d)
{
	if (!valid_date(put, d) || !valid_time(put, d))
		return false;
	td_put_int(put->out, TD_TIMESTAMP, days_of(d) * DAY_USEC +
			   ((d->hour * 60 + d->minute) * INT64_C(60) + d->second) * 1000000 + d->usec);
	return true;
}

/* TIMESTAMP as the binlog has it; second 0 is the zero date, whatever its fraction. */
bool
td_my_put_timestamp(TdMyPut *put, uint32_t seconds, unsigned usec)
{
	if (seconds == 0)
		return td_my_refuse(put, "22007", "the zero date 0000-00-00 00:00:00");
	if (usec > 999999)
		return td_my_refuse(put, "22007", "an invalid fraction of a second");
	td_put_int(put->out, TD_TIMESTAMPTZ, ((int64_t) seconds - EPOCH_2000) * 1000000 + usec);
	return true;
}

/* TIME */
bool
td_my_put_time(TdMyPut *put, bool negative, unsigned hours, unsigned minutes, unsigned seconds, unsigned usec)
{
	int64_t		v = ((hours * INT64_C(60) + minutes) * 60 + seconds) * 1000000 + usec;

	if (minutes > 59 || seconds > 59 || usec > 999999)
		return td_my_refuse(put, "22007", "the invalid time %u:%02u:%02u", hours, minutes, seconds);
	td_put_interval(put->out, negative ? -v : v, 0, 0);
	return true;
}
