/*-------------------------------------------------------------------------
 *
 * tick.c
 *		One tick: locks, snapshot, cut, views, checkpoint, commit.
 *
 * NOTES
 *		View worker.  The order is README.md's and every step of it is needed:
 *		locks before the snapshot (TRUNCATE, rewrites), the snapshot before the
 *		position up to which WAL is read (what it sees is then there), the cut by
 *		the snapshot and not by position (a commit record is decodable before the
 *		commit is visible), the checkpoint in the transaction of the views.
 *
 *		What is to last moves when it is committed, in finish().  What is written
 *		before that, and why it is right when the tick is rolled back:
 *
 *		members: flags and footing of the tick	the next attempt resets them
 *			missing, busy_*				of locks, whatever becomes of the tick
 *			run, planned				planned anew: DDL before `planned` recomputes,
 *										so its repetition does
 *			run: texts, plans			by the catalogs; the plan cache watches these
 *			run: whole_ms, dear, counts	what was measured and done has been
 *			run: fed, told				forgotten, at the next attempt
 *		inbox: reading, spare			td_inbox_return; rows that did not fit are
 *										known by xid, more of them cost time only
 *		bases, layouts: desc, delta		by the number of the attempt
 *		fill: offered, backlog			td_fill_tick_failed; giving up comes before it
 *		replacing: locked, done			td_replace_lock; failures, not_before: of time
 *		share: OFFERED					asked again (checks), fill begun again
 *		pace, horizon, prune_at, tell_at	of time
 *
 * IDENTIFICATION
 *		src/view/maintain/tick.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "util/util.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "view/maintain/tick_internal.h"

#define REACH_MS 20				/* how long a snapshot is kept while WAL is decoded */
#define CATCH_UP_MS 1000		/* the same without a snapshot, at a time */
#define CATCH_UP_BYTES (1024 * 1024)
#define SETTLE_MS 1000			/* for the second snapshots of check_view */
#define CONFIRM_MS 1000			/* after the last tick its commit is flushed by us */

/* What a tick takes out of the inbox. */
typedef struct TdCut
{
	TdSeen	   *seen;			/* the tick's snapshot */
	XLogRecPtr	end;			/* the end of a record: what was committed before is here, and all that it sees */
	TdDeltas   *deltas;
	List	   *ddl;			/* of TdDdl * */
	List	   *warn;			/* oids: old images are missing */
	int64		taken;
	int64		carried;
	XLogRecPtr	bound;
	uint32		oldest_version; /* of what is carried */
	List	   *touched;		/* by what is carried */
} TdCut;

static TdTickResult attempt(TdKeeper *k, bool careful);
static bool catch_up(TdKeeper *k);
static TdTickResult take_snapshot(TdKeeper *k, TdCut *cut);
static TdTickResult give_up(TdTickResult why);
static void cut_inbox(TdKeeper *k, TdCut *cut);
static void take(TdKeeper *k, TdCut *cut, const TdCaptureMessage *m, const TdCaptureMessage *begin);
static void carry(TdKeeper *k, TdCut *cut, const TdCaptureMessage *m);
static void take_lost(TdKeeper *k, TdCut *cut);
static void hear_of_ddl(const TdCut *cut);
static bool needs_checkpoint(TdKeeper *k, const TdCut *cut);
static void finish(TdKeeper *k, const TdCut *cut, bool checkpoint);
static void confirm(TdKeeper *k, bool force, bool reach_follows);
static void keep_seen(TdKeeper *k, const TdSeen *seen);
static void look_at_horizon(TdKeeper *k);

/* ---- transactions ---- */

/* A transaction of the worker; what it reads first sets its snapshot. */
static void
start(void)
{
	replorigin_session_origin_timestamp = 0;	/* or every commit would bear the time of our first one */
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!OidIsValid(td_extension_hold()))
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the extension was dropped")));
}

void
td_transaction_begin(void)
{
	start();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
td_transaction_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/* ---- the tick ---- */

/*
 * One tick.  When a view fails in it, the catalog of views is read again, which
 * may know of a new owner; when one still fails, the same once more with a
 * subtransaction for each view.  Other errors are the caller's.
 */
TdTickResult
td_tick(TdKeeper *k)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile TdTickResult result = TD_TICK_AGAIN;
	volatile bool careful = false;
	volatile bool again;

	if (td_members_unplanned(k))
		return TD_TICK_STALE;
	if (k->inbox->version != k->version || !catch_up(k))
		return TD_TICK_AGAIN;	/* what a snapshot does not see must come by what is wanted now */
	do
	{
		again = false;
		PG_TRY();
		{
			result = attempt(k, careful);
		}
		PG_CATCH();
		{
			ErrorData  *edata;

			MemoryContextSwitchTo(k->tick_context); /* not for longer than the next attempt */
			if (k->finishing)
			{
				EmitErrorReport();
				proc_exit(1);	/* the tick is committed, and we don't know it: the next worker does, from the catalog */
			}
			edata = CopyErrorData();
			FlushErrorState();
			AbortOutOfAnyTransaction();
			MemoryContextSwitchTo(caller);
			td_share_committed(false);
			td_fill_tick_failed(k);
			td_inbox_return(k->inbox);
			td_scope_forget();
			again = !careful && k->in_view && (!td_error_passes(edata->sqlerrcode) || edata->sqlerrcode == ERRCODE_QUERY_CANCELED ||
											   edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || td_tick_starves(k, edata->sqlerrcode));
			careful = k->reread;
			k->reread = again && !k->reread;
			k->in_view = false;
			if (!again)
				ReThrowError(edata);
			FreeErrorData(edata);
			if (!careful)
			{
				result = TD_TICK_STALE;
				again = false;
			}
		}
		PG_END_TRY();
	} while (again);
	return result;
}

/* Before a snapshot is taken, decoding should be near the end of WAL.  false = it is not yet. */
static bool
catch_up(TdKeeper *k)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();

	if (k->inbox->progress + CATCH_UP_BYTES >= end)
		return true;
	end = td_capture_flush();
	td_capture_reach(k->capture, end);
	return td_inbox_wait(k->inbox, k->capture, end, CATCH_UP_MS);
}

static TdTickResult
give_up(TdTickResult why)
{
	AbortCurrentTransaction();
	td_scope_forget();
	return why;
}

static TdTickResult
attempt(TdKeeper *k, bool careful)
{
	TdCut		cut = {0};
	TdTickResult result;
	bool		checkpoint;
	ListCell   *lc;

	k->tick++;
	MemoryContextReset(k->tick_context);
	td_members_reset(k);
	td_pace_started(k);
	result = take_snapshot(k, &cut);
	if (result != TD_TICK_DONE)
		return give_up(result);

	MemoryContextSwitchTo(k->tick_context);
	cut_inbox(k, &cut);
	k->oldest_version = cut.oldest_version;
	hear_of_ddl(&cut);
	td_rows_distrust(cut.deltas);
	look_at_horizon(k);
	td_members_compare(k, cut.ddl);
	td_members_run(k, cut.deltas, careful);
	if (!td_footing_holds(k))
	{
		result = give_up(TD_TICK_AGAIN);
		td_inbox_return(k->inbox);
		return result;
	}
	checkpoint = needs_checkpoint(k, &cut);
	if (checkpoint)
		td_group_checkpoint(k->group, td_seen_text(cut.seen), k->pace.started, cut.bound, k->slot, 1);
	td_members_count(k);
	foreach(lc, cut.warn)
		td_base_warn_identity(k, lfirst_oid(lc));
	td_fill_keep(k, cut.deltas, cut.ddl);
	td_share_offer_checks();
	td_share_settle(SETTLE_MS);
	td_fill_offer(k, cut.seen, cut.deltas, cut.oldest_version);
	td_feeds_notify(k);
	PopActiveSnapshot();
	td_deltas_destroy(cut.deltas);
	CommitTransactionCommand();
	k->finishing = true;
	td_scope_forget();
	finish(k, &cut, checkpoint);
	k->finishing = false;
	return TD_TICK_DONE;
}

/* Locks, the snapshot, and everything that it sees in the inbox; else the transaction is to be given up. */
static TdTickResult
take_snapshot(TdKeeper *k, TdCut *cut)
{
	TdLocked	locked;
	Oid			replaced;
	XLogRecPtr	end;

	start();
	XactIsoLevel = XACT_REPEATABLE_READ;
	replaced = td_replace_lock(k);
	(void) td_members_touch(k, k->inbox->touched);
	if (OidIsValid(replaced))
		(void) td_members_touch(k, list_make1_oid(replaced));
	locked = td_lock_touched(k);
	if (locked != TD_LOCKED)
		return locked == TD_LOCK_BUSY ? TD_TICK_AGAIN : TD_TICK_STALE;

	td_share_claim();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(k->tick_context);
	cut->seen = td_seen_of(GetActiveSnapshot());
	if (cut->seen->xmin < k->first_xid)
		return TD_TICK_AGAIN;
	end = td_seen_flush(cut->seen, k->seen);
	confirm(k, false, true);
	td_capture_reach(k->capture, end);
	if (!td_inbox_wait(k->inbox, k->capture, end, REACH_MS))
		return TD_TICK_AGAIN;
	cut->end = k->inbox->progress;
	/* what came meanwhile may be of views whose relations are not locked */
	return td_members_touch(k, k->inbox->touched) ? TD_TICK_AGAIN : TD_TICK_DONE;
}

/* ---- the cut ---- */

/* Sorts the transactions of the inbox: what the snapshot sees goes into the deltas, the rest to the next inbox. */
static void
cut_inbox(TdKeeper *k, TdCut *cut)
{
	TdInbox    *inbox = k->inbox;
	TdInboxReader r;
	TdCaptureMessage m;
	TdCaptureMessage begin = {0};
	bool		seen_now = false;
	bool		seen_before = false;

	cut->deltas = td_deltas_create(k->tick_context);
	cut->bound = cut->end;
	cut->oldest_version = PG_UINT32_MAX;
	if (inbox->in_transaction)
	{
		cut->bound = Min(cut->bound, inbox->open_lsn);
		cut->oldest_version = inbox->open_version;
	}
	take_lost(k, cut);
	td_deltas_expect(cut->deltas, td_inbox_size(inbox));
	td_inbox_rewind(&r, inbox);
	while (td_inbox_next(&r, &m))
	{
		CHECK_FOR_INTERRUPTS();
		if (m.kind == TD_CAPTURE_BEGIN)
		{
			begin = m;
			seen_before = k->seen && td_sees(k->seen, m.xid);
			seen_now = seen_before || td_sees(cut->seen, m.xid);
			cut->taken += seen_now && !seen_before;
		}
		if (!seen_now)
			carry(k, cut, &m);
		else if (!seen_before)
			take(k, cut, &m, &begin);
	}
	td_deltas_expect(cut->deltas, 0);	/* those of views are as large as they are */
}

/* A message of a transaction that the snapshot sees and the checkpoint's did not. */
static void
take(TdKeeper *k, TdCut *cut, const TdCaptureMessage *m, const TdCaptureMessage *begin)
{
	TdDdl	   *ddl;

	switch (m->kind)
	{
		case TD_CAPTURE_ROW:
			td_rows_add(k, cut->deltas, td_inbox_layout(k->inbox, m->layout), m->tuple);
			break;
		case TD_CAPTURE_UNKNOWN:
			td_deltas_unknown(cut->deltas, m->relid);
			if (m->why == TD_UNKNOWN_OLD_IMAGE)
				cut->warn = list_append_unique_oid(cut->warn, m->relid);
			break;
		case TD_CAPTURE_DDL:
			ddl = palloc(sizeof(TdDdl));
			ddl->relid = m->relid;
			ddl->lsn = begin->lsn;
			ddl->xid = (TransactionId) begin->xid;
			cut->ddl = lappend(cut->ddl, ddl);
			break;
		default:
			break;
	}
}

/* A message of a transaction that the snapshot does not see. */
static void
carry(TdKeeper *k, TdCut *cut, const TdCaptureMessage *m)
{
	td_inbox_carry(k->inbox, m);
	switch (m->kind)
	{
		case TD_CAPTURE_BEGIN:
			cut->carried++;
			cut->bound = Min(cut->bound, m->lsn);
			cut->oldest_version = Min(cut->oldest_version, m->version);
			break;
		case TD_CAPTURE_ROW:
			cut->touched = list_append_unique_oid(cut->touched, td_inbox_layout(k->inbox, m->layout)->relid);
			break;
		case TD_CAPTURE_UNKNOWN:
		case TD_CAPTURE_DDL:
			cut->touched = list_append_unique_oid(cut->touched, m->relid);
			break;
		default:
			break;
	}
}

/*
 * Changes were forgotten: of which relations is not known, so it is all of them.
 * Those that the snapshot does not see keep the slot where it is: when we end
 * before one does, they must be decoded again.
 */
static void
take_lost(TdKeeper *k, TdCut *cut)
{
	bool		others;
	TdDdl	   *ddl;
	ListCell   *lc;
	bool		any = td_inbox_lost(k->inbox, cut->seen, &others);

	if (others)
		cut->bound = Min(cut->bound, k->bound);
	if (!any)
		return;
	ddl = palloc0(sizeof(TdDdl));	/* before any planning: recompute */
	foreach(lc, k->bases)
		td_deltas_unknown(cut->deltas, ((TdBase *) lfirst(lc))->relid);
	cut->ddl = lappend(cut->ddl, ddl);
	cut->taken++;
}

/*
 * A transaction is seen before its session has told the others what it did to the
 * catalogs, but it keeps its locks, that of its own xid too, until then: without that
 * our caches might show the past, and the DDL would count as looked at.
 */
static void
hear_of_ddl(const TdCut *cut)
{
	TransactionId last = InvalidTransactionId;
	ListCell   *lc;

	foreach(lc, cut->ddl)
	{
		const TdDdl *ddl = lfirst(lc);

		if (!TransactionIdIsValid(ddl->xid))
			td_footing_invalidate_caches();
		else if (ddl->xid != last)
			XactLockTableWait(ddl->xid, NULL, NULL, XLTW_None);
		last = ddl->xid;
	}
	if (cut->ddl != NIL)
		AcceptInvalidationMessages();
}

/* ---- the end ---- */

/* A tick that changes nothing writes nothing, but now and then, so that the slot goes on. */
static bool
needs_checkpoint(TdKeeper *k, const TdCut *cut)
{
	return cut->taken > 0 || k->seen == NULL || k->first_xid != 0 || td_fill_due(k) || k->replacing.done || td_tick_segment_passed(k);
}

/* Has a WAL segment gone by since the last checkpoint? */
bool
td_tick_segment_passed(const TdKeeper *k)
{
	return k->inbox->progress > k->checked + wal_segment_size;
}

/* The tick is committed. */
static void
finish(TdKeeper *k, const TdCut *cut, bool checkpoint)
{
	ListCell   *lc;

	MemoryContextSwitchTo(k->context);
	td_share_committed(true);
	k->reread = false;
	td_inbox_taken(k->inbox, cut->seen, cut->carried, cut->touched);
	td_budget_tick(k);
	td_feeds_committed(k);
	td_members_ran(k);
	td_fill_committed(k);
	td_replace_committed(k);
	if (checkpoint)
	{
		keep_seen(k, cut->seen);
		k->bound = cut->bound;
		k->checked = cut->end;
		k->commit_end = XactLastCommitEnd;
		k->commit_time = GetCurrentTimestamp();
		k->first_xid = 0;
	}
	td_tick_covered(k, cut->bound);
	foreach(lc, k->waiting)
		td_mark_reached(((TdWaiting *) lfirst(lc))->number, k->pace.started);
	list_free_deep(k->waiting);
	k->waiting = NIL;
	td_pace_done(k, cut->taken > 0 || !td_inbox_due(k->inbox));
	pgstat_report_stat(false);
}

/* Commits that end at or before lsn are in the views that stream, for every snapshot from now on. */
void
td_tick_covered(TdKeeper *k, XLogRecPtr lsn)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		changed |= m->streams != m->said_streams;
		m->said_streams = m->streams;
	}
	td_worker_covered(lsn, changed);
}

/* The checkpoint's snapshot, beyond the tick. */
static void
keep_seen(TdKeeper *k, const TdSeen *seen)
{
	MemoryContextReset(k->seen_context);
	k->seen = MemoryContextAlloc(k->seen_context, sizeof(TdSeen));
	*k->seen = *seen;
	k->seen->xip = MemoryContextAlloc(k->seen_context, sizeof(uint64) * Max(seen->nxip, 1));
	if (seen->nxip > 0)
		memcpy(k->seen->xip, seen->xip, sizeof(uint64) * seen->nxip);
}

/* Tells capture how far it may let WAL go: to the bound of the last checkpoint that is flushed. */
static void
confirm(TdKeeper *k, bool force, bool reach_follows)
{
	if (k->commit_end == InvalidXLogRecPtr)
		return;
	if (GetFlushRecPtr(NULL) < k->commit_end)
	{
		if (!force && !TimestampDifferenceExceeds(k->commit_time, GetCurrentTimestamp(), CONFIRM_MS))
			return;
		XLogFlush(k->commit_end);
	}
	td_capture_confirm(k->capture, k->bound, reach_follows);
	k->commit_end = InvalidXLogRecPtr;
}

void
td_tick_confirm(TdKeeper *k, bool force)
{
	confirm(k, force, false);
}

/* Through the table of any view that is locked. */
static void
look_at_horizon(TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->touched && !m->missing && !m->aside)
		{
			Relation	rel = table_open(m->view->relation, NoLock);

			td_pace_horizon(k, rel);
			table_close(rel, NoLock);
			return;
		}
	}
}
