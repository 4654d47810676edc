/*-------------------------------------------------------------------------
 *
 * decode.c
 *		The capture worker's loop: WAL until there is none, then sleep.
 *
 * NOTES
 *		Outside any transaction but during the replay of one, which PostgreSQL
 *		begins and ends itself.
 *
 *		Between two records it looks at what the reader asks for; a new wanted set
 *		is taken there, so it holds from the next transaction's begin on.
 *
 *		It sleeps without a timeout unless it owes something: a confirmation that
 *		was put off, or a commit that is not flushed.  The latter is what a commit
 *		without synchronous_commit leaves: nobody else would flush it for a while,
 *		so we do, at most every TD_FLUSH_MS.
 *
 *		For a few seconds after WAL came it also looks by itself: a large
 *		transaction wakes nobody before its commit, and what is read by then need
 *		not be read after it.
 *
 * IDENTIFICATION
 *		src/capture/decode.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <malloc.h>

#include "access/transam.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "workers/workers.h"

#include "capture/capture_internal.h"

#define TD_FLUSH_MS 10
#define TD_AHEAD_MS 50			/* between two looks for WAL of open transactions */
#define TD_AHEAD_LONG_MS 5000	/* how long after the last that was found */
#define TD_AHEAD_SLOW_MS 1000
#define TD_CONFIRM_MS 1000
#define TD_CONFIRM_BYTES 65536
#define TD_HEAP_MOST (32 * 1024 * 1024)	/* glibc's own limit: larger pieces are mapped, and go back at once */

static void start(TdDecoder *d);
static void serve(TdDecoder *d);
static void settings(void);
static void keep_memory(void);
static void take_wanted(TdDecoder *d);
static long confirm(TdDecoder *d, bool now);
static bool news_due(TdDecoder *d);
static void rest(TdDecoder *d);
static long look_ahead(TdDecoder *d);
static long flush_behind(TdDecoder *d);

/* Returns when it is asked to stop; everything else is an error. */
void
td_decode(TdDecoder *d)
{
	bool		more;

	settings();
	td_slot_open(d);
	start(d);
	td_worker_status("streaming");
	while (!td_worker_should_stop() && !pg_atomic_read_u32(&d->control->closed))
	{
		ResetLatch(MyLatch);
		d->tried = GetFlushRecPtr(NULL);
		d->tried_at = GetCurrentTimestamp();
		serve(d);
		more = d->version > 0;
		while (more && (more = td_wal_next(d)))
		{
			d->found = true;
			td_worker_busy(true);
			d->decoded = Max(d->decoded, d->ctx->reader->EndRecPtr); /* reading begins before the slot's position */
			d->read_to = Max(d->read_to, d->decoded);
			td_worker_decoded(d->decoded, 0);
			serve(d);
			if (news_due(d))
				td_out_progress(d);
			if (td_worker_should_stop())
				break;
		}
		if (!more && d->version > 0)
			d->read_to = Max(d->read_to, d->tried); /* which may be within a record */
		if (d->len > 0 || d->told_version != d->version || news_due(d))
			td_out_progress(d);
		rest(d);
	}
	(void) confirm(d, true);
}

/* The first message.  Where the slot stands; what began before this next xid may be older than the slot. */
static void
start(TdDecoder *d)
{
	d->decoded = d->told = d->read_to = d->answered = d->confirmed;
	td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_START,.lsn = d->confirmed,
			   .xid = U64FromFullTransactionId(ReadNextFullTransactionId()),.created = d->created});
	td_out_flush(d);
	td_watch_enter();
}

/* Memory of PostgreSQL's own reorder buffer: beyond it transactions are spilled. */
static void
settings(void)
{
	char		kb[32];

	snprintf(kb, sizeof(kb), "%d", td_worker_memory);
	SetConfigOption("logical_decoding_work_mem", kb, PGC_USERSET, PGC_S_OVERRIDE);
	keep_memory();
}

/*
 * What one large transaction has taken is kept for the next.  Else glibc gives it back to the system or keeps it as it happens to lie, and to get
 * it again, page by page, takes as long as decoding does.  Twice: what is counted is less than what is taken.
 */
static void
keep_memory(void)
{
#ifdef M_TRIM_THRESHOLD
	(void) mallopt(M_MMAP_THRESHOLD, TD_HEAP_MOST);
	(void) mallopt(M_TRIM_THRESHOLD, (int) Min((int64) td_worker_memory * 1024 * 2, INT_MAX));
#endif
}

/* Between two records. */
static void
serve(TdDecoder *d)
{
	if (td_worker_should_stop())
		return;					/* in good order, if it can be */
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		td_worker_reload();
		settings();
	}
	if (pg_atomic_read_u32(&d->control->version) != d->version)
		take_wanted(d);
	(void) confirm(d, false);
}

/* The segment may be gone again: then a newer one is there, or the reader has left. */
static void
take_wanted(TdDecoder *d)
{
	dsm_segment *segment;
	dsm_handle	handle;
	uint32		version;
	uint32		before = d->version;

	SpinLockAcquire(&d->control->mutex);
	handle = d->control->wanted;
	version = d->control->wanted_version;
	SpinLockRelease(&d->control->mutex);
	segment = dsm_attach(handle);
	if (segment == NULL)
		return;
	td_relations_reset(d, version, dsm_segment_address(segment), dsm_segment_map_length(segment));
	dsm_detach(segment);
	td_plugin_unseen(d, before);
}

/* Confirms what the reader has confirmed, not too often; milliseconds until it is due, -1 = nothing is owed. */
static long
confirm(TdDecoder *d, bool now)
{
	XLogRecPtr	lsn = Min(pg_atomic_read_u64(&d->control->confirm), d->decoded);

	if (lsn <= d->confirmed)
		return -1;
	if (!now && lsn - d->confirmed < TD_CONFIRM_BYTES)
	{
		long		left = TD_CONFIRM_MS - TimestampDifferenceMilliseconds(d->confirmed_at, GetCurrentTimestamp());

		if (left > 0)
			return left;
	}
	LogicalConfirmReceivedLocation(lsn);
	d->confirmed = lsn;
	d->confirmed_at = GetCurrentTimestamp();
	return -1;
}

/* The reader asked for this position, or has not heard of us for long. */
static bool
news_due(TdDecoder *d)
{
	XLogRecPtr	reach = pg_atomic_read_u64(&d->control->reach);

	return (reach > d->answered && reach <= d->read_to) || d->decoded - d->told >= TD_CAPTURE_NEWS;
}

/* ---- sleep ---- */

static long
sooner(long a, long b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

/*
 * No whole record was left.  Asleep is marked before the last look: a commit
 * after that look sets our latch.  While a commit waits for its turn to be
 * flushed, others that leave more of the same need not wake us.
 */
static void
rest(TdDecoder *d)
{
	long		timeout = -1;

	(void) td_watch_asleep(true);
	if (d->version > 0)
	{
		timeout = GetFlushRecPtr(NULL) > d->tried ? 0 : flush_behind(d);
		if (timeout == 0 || (timeout > 0 && !d->found))
			d->committed |= td_watch_asleep(false);
	}
	timeout = sooner(timeout, confirm(d, false));
	if (timeout != 0)
	{
		timeout = sooner(timeout, look_ahead(d));
		d->found = false;
		pgstat_report_stat(false);
		td_worker_decoded(d->decoded, d->version > 0 ? d->tried_at : 0);
		td_worker_busy(false);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout > 0 ? WL_TIMEOUT : 0), timeout, PG_WAIT_EXTENSION);
	}
	d->committed |= td_watch_asleep(false);
}

/*
 * Milliseconds until we look for WAL that nobody tells us of; -1 = it has been
 * quiet for long.  Not quiet is WAL that is not flushed: a commit just before we
 * were marked asleep may be in it.
 */
static long
look_ahead(TdDecoder *d)
{
	TimestampTz now = GetCurrentTimestamp();

	if (d->found)
		d->found_at = now;
	if (!TimestampDifferenceExceeds(d->found_at, now, TD_AHEAD_LONG_MS))
		return TD_AHEAD_MS;
	return td_wal_inserted() > d->tried ? TD_AHEAD_SLOW_MS : -1;
}

/*
 * Flushes what was committed without a flush: at once when we were woken and
 * found nothing else, or when it has stayed unflushed.  0 = it is done, else the
 * milliseconds to wait, -1 = every commit is flushed.
 */
static long
flush_behind(TdDecoder *d)
{
	XLogRecPtr	inserted = td_wal_inserted();
	TimestampTz now;
	long		left;

	if (d->behind <= d->tried)
		d->behind = InvalidXLogRecPtr;	/* somebody has flushed it */
	if (inserted <= d->tried)
		d->committed = false;
	if (!d->committed)
		return -1;
	now = GetCurrentTimestamp();
	if (d->behind == InvalidXLogRecPtr)
	{
		d->behind = inserted;
		d->behind_since = now;
	}
	left = TD_FLUSH_MS - TimestampDifferenceMilliseconds(d->found ? Max(d->behind_since, d->flushed_at) : d->flushed_at, now);
	if (left > 0)
		return left;
	XLogFlush(inserted);
	d->committed = false;
	d->flushed_at = GetCurrentTimestamp();
	return 0;
}
