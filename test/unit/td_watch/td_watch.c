/*-------------------------------------------------------------------------
 *
 * td_watch.c
 *		SQL functions that make a session sleep as a capture worker does
 *		(src/workers/watch.c), for tests.
 *
 * NOTES
 *		Whether a commit woke us is told by the mark it takes away, since a latch
 *		is set for other reasons as well.
 *
 * test/unit/td_watch/td_watch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "workers/workers_internal.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_watch_sql_open);
PG_FUNCTION_INFO_V1(td_watch_sql_wait);
PG_FUNCTION_INFO_V1(td_watch_sql_follow);
PG_FUNCTION_INFO_V1(td_watch_sql_count);

static TdWatch *watch = NULL;

static void
leave(int code, Datum arg)
{
	td_watch_leave();
}

/* open(): the session becomes a sleeper. */
Datum
td_watch_sql_open(PG_FUNCTION_ARGS)
{
	td_watch_enter();
	before_shmem_exit(leave, (Datum) 0);
	for (int i = 0; i < TD_MAX_WATCHES; i++)
	{
		if (td_shared->watches[i].latch == MyLatch)
			watch = &td_shared->watches[i];
	}
	PG_RETURN_VOID();
}

/* Marked asleep: waits until a commit takes the mark away.  false = it is still there after that time. */
static bool
sleep_until(TimestampTz end)
{
	while (pg_atomic_read_u32(&watch->asleep) != 0)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/* wait(ms): was it woken in that time? */
Datum
td_watch_sql_wait(PG_FUNCTION_ARGS)
{
	bool		woken;

	td_watch_asleep(true);
	woken = sleep_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(0)));
	td_watch_asleep(false);
	PG_RETURN_BOOL(woken);
}

static int64
look(const char *query)
{
	bool		null;

	if (SPI_execute(query, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "the query must give one row");
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

/*
 * follow(query, last): looks and sleeps as a worker does until the query gives `last`; how often it slept, how often it slept for a second while the result had
 * moved (never).
 */
Datum
td_watch_sql_follow(PG_FUNCTION_ARGS)
{
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		last = PG_GETARG_INT64(1);
	int64		seen = -1;
	int			sleeps = 0;
	int			lost = 0;

	SPI_connect();
	while (seen < last)
	{
		int64		now;

		CHECK_FOR_INTERRUPTS();
		td_watch_asleep(true);
		now = look(query);
		if (now == seen)
		{
			sleeps++;
			if (!sleep_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000)) && look(query) != seen)
				lost++;
		}
		td_watch_asleep(false);
		seen = now;
	}
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s %d", sleeps > 0 ? "slept" : "never slept", lost)));
}

/* count(): sleepers of the cluster. */
Datum
td_watch_sql_count(PG_FUNCTION_ARGS)
{
	int			n = 0;

	for (int i = 0; i < TD_MAX_WATCHES; i++)
		n += OidIsValid(td_shared->watches[i].database);
	PG_RETURN_INT32(n);
}
