/*-------------------------------------------------------------------------
 *
 * main.c
 *		The view worker of a group: sessions with a capture worker, and the loop
 *		that makes ticks when there is something to do.
 *
 * NOTES
 *		Process: background worker "tapdata view", bootstrap superuser, replication
 *		role replica, synchronous_commit off, its own replication origin.  What the
 *		views' statements may do is decided by their owners' rights (scope.c).
 *
 *		It waits on its latch alone, and without a timeout when nothing is to be
 *		done: an idle group does not wake.  No lock is waited for longer than 800 ms
 *		(lock_timeout): a session that waits for us meanwhile looks for a deadlock
 *		after a second (deadlock_timeout), and must not be the one that it ends.
 *
 *		Errors: those of a view are the view's (views.c); what may go away by itself
 *		is tried again here, in the session, or (before there are ticks) in another
 *		one; the rest ends the worker with the error in the catalog, and the
 *		supervisor decides.
 *
 * IDENTIFICATION
 *		src/view/maintain/main.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "util/util.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "compat/compat.h"
#include "view/maintain/tick_internal.h"
#include "view/view.h"

#define STALE_MS 1000			/* between two looks at the catalog of views that nobody has asked for */
#define AGAIN_MS 10				/* after a tick that got no locks or did not reach the end of WAL; doubling to */
#define AGAIN_MOST_MS 100
#define NO_WORKER_MS 5000
#define SESSIONS_IN_A_ROW 5		/* that fail, before the supervisor is told */
#define REPORT_AFTER 5			/* ticks in a row that fail, before the catalog says so */
#define CONFIRM_MS 1000

static TdKeeper *open_keeper(int32 group);
static void run_sessions(TdKeeper *k);
static bool run_session(TdKeeper *k, TdError *err);
static bool open_session(TdKeeper *k);
static void close_session(TdKeeper *k);
static ErrorData *caught(TdKeeper *k);
static void serve(TdKeeper *k);
static bool serve_started(TdKeeper *k);
static void tell_caught_up(const TdKeeper *k);
static int	work(TdKeeper *k);
static int	try_tick(TdKeeper *k);
static void work_failed(TdKeeper *k, ErrorData *edata);
static void work_done(TdKeeper *k);
static bool tick_due(TdKeeper *k);
static void take_marks(TdKeeper *k);
static int	sooner(int a, int b);
static int	until(TimestampTz when, int ms);
static void set_status(TdKeeper *k, const char *status);
static void set_streaming(TdKeeper *k);
static void wait_latch(int timeout_ms);
static void rest(int timeout_ms);
static void leave_error(int32 group, ErrorData *edata);

/* Entry of the worker: main_arg names its slot, whose object is the group. */
void
td_view_main(Datum main_arg)
{
	int32		group;

	td_worker_begin(main_arg, TD_WORKER_VIEW);
	group = td_my_slot->object;
	SetConfigOption("lock_timeout", "800ms", PGC_SUSET, PGC_S_OVERRIDE);
	td_scope_settle();
	PG_TRY();
	{
		TdKeeper   *k = open_keeper(group);

		set_status(k, "starting");
		run_sessions(k);
		if (td_worker_should_stop())
			set_status(k, "stopped");
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(TopMemoryContext);
		edata = CopyErrorData();
		HOLD_INTERRUPTS();
		if (edata->sqlerrcode != ERRCODE_TD_STOP)
			EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		leave_error(group, edata);
	}
	PG_END_TRY();
	proc_exit(0);
}

static TdKeeper *
open_keeper(int32 group)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "tapdata view worker", ALLOCSET_DEFAULT_SIZES);
	TdKeeper   *k;
	char		origin[NAMEDATALEN];

	MemoryContextSwitchTo(context);
	k = palloc0(sizeof(TdKeeper));
	k->group = group;
	k->context = context;
	k->session_context = AllocSetContextCreate(context, "tapdata session", ALLOCSET_DEFAULT_SIZES);
	k->tick_context = AllocSetContextCreate(context, "tapdata tick", ALLOCSET_DEFAULT_SIZES);
	k->seen_context = AllocSetContextCreate(context, "tapdata checkpoint", ALLOCSET_SMALL_SIZES);
	td_capture_slot_name(group, k->slot);
	snprintf(origin, sizeof(origin), "g%d_fill", group);
	k->origins[1] = td_origin_make(origin);
	snprintf(origin, sizeof(origin), "g%d", group);
	td_worker_origin_named(origin);
	k->origins[0] = replorigin_session_origin;
	k->origins[2] = td_worker_origin_of_rows();
	td_share_attach(group);
	MemoryContextSwitchTo(context);
	return k;
}

static void
set_status(TdKeeper *k, const char *status)
{
	td_transaction_begin();
	if (td_group_load(k->group) != NULL)
		td_group_set_status(k->group, status);
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
	td_worker_status(status);
}

/* From wherever it is: retrying or waiting for a worker can't move there at once. */
static void
set_streaming(TdKeeper *k)
{
	td_transaction_begin();
	if (td_group_load(k->group) != NULL)
	{
		td_group_set_status(k->group, "starting");
		td_group_set_status(k->group, "streaming");
	}
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
	td_worker_status("streaming");
}

/* What an error leaves in the catalog; a group or extension that is gone leaves nothing. */
static void
leave_error(int32 group, ErrorData *edata)
{
	TdError		err;

	td_error_from_edata(&err, edata);
	err.retryable |= td_error_passes(edata->sqlerrcode);
	StartTransactionCommand();
	if (!OidIsValid(td_extension_hold()))
	{
		AbortCurrentTransaction();
		return;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	if (td_group_load(group) != NULL)
	{
		if (edata->sqlerrcode == ERRCODE_TD_STOP || td_worker_should_stop())
			td_group_set_status(group, "stopped");
		else
			td_group_set_error(group, &err);
	}
	td_transaction_commit();
}

static void
wait_latch(int timeout_ms)
{
	td_worker_busy(false);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout_ms >= 0 ? WL_TIMEOUT : 0), timeout_ms, PG_WAIT_EXTENSION);
}

/* Waits while there is nothing to do but to stop. */
static void
rest(int timeout_ms)
{
	ResetLatch(MyLatch);
	if (td_worker_should_stop())
		return;
	CHECK_FOR_INTERRUPTS();
	wait_latch(timeout_ms);
	td_workers_reap();
}

/* The sooner of two timeouts; -1 = never. */
static int
sooner(int a, int b)
{
	if (a < 0 || b < 0)
		return Max(a, b);
	return Min(a, b);
}

/* Milliseconds from now until ms after `when`. */
static int
until(TimestampTz when, int ms)
{
	return (int) TimestampDifferenceMilliseconds(GetCurrentTimestamp(), TimestampTzPlusMilliseconds(when, ms));
}

/* ---- sessions ---- */

/* One session after the other, until we are asked to stop. */
static void
run_sessions(TdKeeper *k)
{
	int			failures = 0;

	while (!td_worker_should_stop())
	{
		TdError		err = {0};
		uint64		first = k->tick;

		td_worker_reload();
		if (!run_session(k, &err))
		{
			rest(NO_WORKER_MS);
			continue;
		}
		if (td_worker_should_stop())
			break;
		failures = k->tick > first ? 1 : failures + 1;
		if (err.message[0] && (!err.retryable || failures > SESSIONS_IN_A_ROW || strcmp(err.sqlstate, "53400") == 0))	/* no slot is free: nothing that passes in a moment */
			td_error_raise_own(&err);
		ereport(LOG, (errmsg("the session with the capture worker of the views ended, another one begins"),
					  err.message[0] ? errdetail_internal("%s", err.message) : 0));
		for (TimestampTz begin = GetCurrentTimestamp(); !td_worker_should_stop() && until(begin, td_backoff_ms(failures)) > 0;)
			rest(until(begin, td_backoff_ms(failures)));
	}
}

/* One of them; false = no worker is free.  What ended it is in *err: of the capture worker, or one of ours that may go away by itself. */
static bool
run_session(TdKeeper *k, TdError *err)
{
	volatile bool opened = true;

	PG_TRY();
	{
		opened = open_session(k);
		if (opened)
		{
			serve(k);
			*err = k->inbox->error;
			close_session(k);
		}
		else
			set_status(k, "waiting_for_worker");
	}
	PG_CATCH();
	{
		ErrorData  *edata = caught(k);

		td_error_from_edata(err, edata);
		err->retryable = true;
		FreeErrorData(edata);
		close_session(k);
		opened = true;
	}
	PG_END_TRY();
	return opened;
}

/* In PG_CATCH: the error, its transaction ended, if it is to be tried again; else it is raised again. */
static ErrorData *
caught(TdKeeper *k)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(k->context);
	edata = CopyErrorData();
	if (td_worker_should_stop() || !td_error_passes(edata->sqlerrcode) || edata->sqlerrcode == ERRCODE_TD_STOP)
		PG_RE_THROW();
	EmitErrorReport();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(k->context);
	return edata;
}

/* Starts the capture worker, with what the views read now; false = no worker is free. */
static bool
open_session(TdKeeper *k)
{
	MemoryContextReset(k->session_context);
	k->inbox = NULL;
	k->bases = NIL;
	k->version = 0;
	td_worker_status("starting");
	td_recover_slot(k);
	td_members_read(k);
	td_recover_views(k);
	k->capture = td_capture_open(k->group, k->slot, lengthof(k->origins), k->origins);
	if (k->capture == NULL)
		return false;
	MemoryContextSwitchTo(k->context);
	k->inbox = td_inbox_create(k->session_context);
	(void) td_bases_want(k);
	return true;
}

/* As far as it was opened. */
static void
close_session(TdKeeper *k)
{
	if (k->inbox && !k->inbox->gone)
		td_tick_confirm(k, true);
	if (k->capture)
		td_capture_close(k->capture);
	k->capture = NULL;
	k->commit_end = InvalidXLogRecPtr;
	td_fill_cancel(k);
	if (k->inbox)
		td_inbox_destroy(k->inbox);
	k->inbox = NULL;
}

/* Until the capture worker ends or we shall stop. */
static void
serve(TdKeeper *k)
{
	while (!k->inbox->started)
	{
		ResetLatch(MyLatch);
		if (td_worker_should_stop())
			return;
		CHECK_FOR_INTERRUPTS(); /* a slot may take hours to make, and others wait for us at a barrier */
		td_workers_reap();
		if (!td_inbox_fetch(k->inbox, k->capture))
			return;
		if (!k->inbox->started)
			wait_latch(-1);
	}
	if (td_worker_should_stop())
		return;
	td_recover_start(k);
	if (k->waiting != NIL)
		td_capture_reach(k->capture, ((TdWaiting *) llast(k->waiting))->lsn);
	set_streaming(k);
	while (serve_started(k))
		;
}

/* One turn of the loop: false = the session is over. */
static bool
serve_started(TdKeeper *k)
{
	volatile int timeout = 0;

	ResetLatch(MyLatch);
	if (td_worker_should_stop())
		return false;
	CHECK_FOR_INTERRUPTS();
	td_worker_reload();
	td_workers_reap();
	if (!td_inbox_fetch(k->inbox, k->capture))
		return false;
	PG_TRY();
	{
		timeout = work(k);
	}
	PG_CATCH();
	{
		ErrorData  *edata = caught(k);

		work_failed(k, edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(k->context);
	if (k->inbox->gone)
		return false;
	tell_caught_up(k);
	if (!td_inbox_due(k->inbox))
		td_tick_covered(k, k->inbox->progress);
	if (timeout != 0)
		wait_latch(timeout);
	return true;
}

/* For the freshness of views: nothing that they should know of waits here. */
static void
tell_caught_up(const TdKeeper *k)
{
	td_worker_caught_up(!td_inbox_due(k->inbox) && !k->inbox->in_transaction && k->not_before == 0);
}

/* ---- work ---- */

/* Whatever is to be done now; returns how long nothing will be, unless we are woken. */
static int
work(TdKeeper *k)
{
	int			timeout = -1;
	bool		due;

	if (k->not_before != 0)
	{
		int			left = (int) TimestampDifferenceMilliseconds(GetCurrentTimestamp(), k->not_before);

		if (left > 0)
			return left;
		k->not_before = 0;
	}
	if (k->members_stale || k->told != pg_atomic_read_u32(&td_my_slot->told) || until(k->members_read, STALE_MS) <= 0)
		td_members_read(k);
	td_budget_step(k);
	take_marks(k);
	td_fill_step(k);
	td_replace_step(k);
	tell_caught_up(k);			/* before anything that may have to wait for a lock */
	due = tick_due(k);
	if (due)
	{
		timeout = td_pace_wait(k);
		if (timeout == 0)
			timeout = try_tick(k);
	}
	else
		timeout = td_members_count_idle(k);
	timeout = sooner(timeout, td_feeds_work(k));
	if (!due || until(k->commit_time, CONFIRM_MS) <= 0)
		td_tick_confirm(k, false);	/* else the next tick does, which wakes the capture worker anyway */
	if (k->commit_end != InvalidXLogRecPtr)
		timeout = sooner(timeout, Max(1, until(k->commit_time, CONFIRM_MS + 1)));
	else if (timeout < 0)
		pgstat_report_stat(true);
	return k->members_stale ? 0 : sooner(timeout, sooner(td_fill_timeout(k), td_replace_timeout(k)));
}

static bool
tick_due(TdKeeper *k)
{
	return td_inbox_due(k->inbox) || td_fill_due(k) || td_replace_due(k) || td_share_any(TD_SHARE_CHECK) || td_tick_segment_passed(k);
}

/* 0 = look at everything again. */
static int
try_tick(TdKeeper *k)
{
	int			again;

	td_worker_busy(true);
	switch (td_tick(k))
	{
		case TD_TICK_DONE:
			work_done(k);
			return 0;
		case TD_TICK_STALE:
			td_members_read(k);
			break;
		case TD_TICK_AGAIN:
			if (td_lock_queue(k))
				return 0;
			break;
	}
	MemoryContextSwitchTo(k->context);
	again = Min(AGAIN_MS << Min(k->again, 10), AGAIN_MOST_MS);
	k->again++;
	return again;
}

static void
work_done(TdKeeper *k)
{
	k->again = 0;
	if (k->retrying)
		set_streaming(k);
	k->failures = 0;
	k->retrying = false;
}

/*
 * An error that may go away by itself: everything is as before, and tried again after a
 * while.  The catalog says so when it lasts; when it has given up, so do we.
 */
static void
work_failed(TdKeeper *k, ErrorData *edata)
{
	bool		resources = ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES;
	volatile bool given_up = false;
	TdError		err;

	k->failures++;
	k->members_stale = true;	/* what was written of them is not there */
	k->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), resources ? td_backoff_ms(k->failures) :
												Min(AGAIN_MS << Min(k->failures, 12), td_backoff_ms(k->failures)));
	if (!resources && k->failures < REPORT_AFTER)
		return;
	td_error_from_edata(&err, edata);
	err.retryable = true;
	PG_TRY();
	{
		TdGroup    *group;

		td_transaction_begin();
		td_group_set_error(k->group, &err);
		group = td_group_load(k->group);
		given_up = group == NULL || strcmp(group->status, "failed") == 0;
		td_transaction_commit();
		k->retrying = true;
		td_worker_status("retrying");
	}
	PG_CATCH();
	{
		/* the same error again, most likely */
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(k->context);
	if (given_up)
		proc_exit(0);
}

/*
 * wait_view: what was committed before the mark is in WAL before lsn.  Once
 * that is decoded and nothing waits, all of it is in the views; else the next
 * tick, whose snapshot is newer than the mark, has it.
 */
static void
take_marks(TdKeeper *k)
{
	uint64		number;
	char		position[1024];
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	ListCell   *lc;

	while (td_mark_next(&number, position))
	{
		TdWaiting  *w = palloc(sizeof(TdWaiting));

		if (lsn == InvalidXLogRecPtr)
		{
			w->time = GetCurrentTimestamp();
			lsn = td_capture_flush();
			td_capture_reach(k->capture, lsn);
		}
		else
			w->time = ((TdWaiting *) llast(k->waiting))->time;
		w->number = number;
		w->lsn = lsn;
		k->waiting = lappend(k->waiting, w);
	}
	foreach(lc, k->waiting)
	{
		TdWaiting  *w = lfirst(lc);

		if (k->inbox->progress < w->lsn || td_inbox_due(k->inbox))
			break;
		td_mark_reached(w->number, w->time);
		k->waiting = foreach_delete_current(k->waiting, lc);
		pfree(w);
	}
}
