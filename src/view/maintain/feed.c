/*-------------------------------------------------------------------------
 *
 * feed.c
 *		The feed of a view: what each tick changed, kept, told and pruned.
 *
 * NOTES
 *		View and fill workers.  What a tick has written into the view's table goes
 *		into the feed's as well, from the same netted rows, in the same transaction
 *		(README.md, "Feeds", has the invariants).
 *
 *		NOTIFY must not hold a tick up.  A commit that notifies waits for a lock
 *		that all of these take; so that is taken before the commit, for as long as
 *		lock_timeout allows and within a subtransaction.  A queue that is full
 *		raises at commit; so it is looked at from time to time.  A notice that can't
 *		be given is owed: the view worker tries again each second.
 *
 *		Between ticks the view worker gives notices that it owes, and prunes, in
 *		transactions of their own.
 *
 * IDENTIFICATION
 *		src/view/maintain/feed.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "util/util.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "view/maintain/run_internal.h"
#include "view/maintain/store_internal.h"
#include "view/maintain/tick_internal.h"

#define CHANNEL "tapdata_changes"
#define QUEUE_MOST 0.5			/* of the queue of notices */
#define QUEUE_LOOK_MS 1000
#define TELL_AGAIN_MS 1000
#define LOCK_AGAIN_MS 10000		/* after a lock that was waited for in vain, none is waited for */
#define HEAD_COLUMNS 3			/* tick, at, weight */
#define PRUNE_ROWS 1000			/* in one transaction */
#define PRUNE_MS 10				/* at a time, or */
#define PRUNE_SHARE 4			/* this part of the last tick */
#define PRUNE_EVERY_MS 1000
#define PRUNE_FAILED_MS (5 * 60 * 1000)

/* The feed's table, with one row of it to be filled. */
typedef struct Feed
{
	TdTarget	target;
	TupleTableSlot *row;
} Feed;

/* ---- writing ---- */

/* Whether there is one may change between ticks; looked up once the view's table is locked. */
Oid
td_feed_look_up(TdViewRun *run)
{
	run->kept->feed_relid = td_feed_table(run->view->id);
	return run->kept->feed_relid;
}

/* The weight as one or more rows: beyond an int it is split. */
static void
add_row(Feed *f, TupleTableSlot *from, int n)
{
	int64		weight = DatumGetInt64(from->tts_values[n]);

	ExecClearTuple(f->row);
	memcpy(f->row->tts_values + HEAD_COLUMNS, from->tts_values, n * sizeof(Datum));
	memcpy(f->row->tts_isnull + HEAD_COLUMNS, from->tts_isnull, n * sizeof(bool));
	ExecStoreVirtualTuple(f->row);
	while (weight != 0)
	{
		int32		part = Max(Min(weight, PG_INT32_MAX), -PG_INT32_MAX);

		f->row->tts_values[2] = Int32GetDatum(part);
		td_store_target_add(&f->target, f->row);
		weight -= part;
	}
}

static void
open_feed(Feed *f, TdTick *t, int n)
{
	memset(f, 0, sizeof(*f));
	td_store_target_open(&f->target, t->run->kept->feed_relid, t->context);
	if (f->target.ncolumns != n + HEAD_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the changes of view %s do not have the columns of its query", t->run->view->name),
				 errhint("Turn the option \"changes\" off and on again.")));
	f->row = MakeSingleTupleTableSlot(f->target.desc, &TTSOpsVirtual);
	memset(f->row->tts_isnull, 0, sizeof(bool) * f->target.desc->natts);
	f->row->tts_values[f->target.ncolumns] = Int64GetDatum(1);
	f->row->tts_values[0] = Int64GetDatum(t->run->kept->fed);
	f->row->tts_values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
}

/* Keeps a delta of the view (desc: with its weight) that has been written into its table.  All of one run is one tick. */
void
td_feed_write(TdTick *t, TupleDesc desc, Tuplestorestate *delta)
{
	MemoryContext old = MemoryContextSwitchTo(t->context);
	TdRunKept  *kept = t->run->kept;
	int			n = desc->natts - 1;
	TupleTableSlot *slot;
	Feed		f;

	if (!t->fed)
	{
		td_scope_write(t->scope, true);
		kept->fed = td_feed_next(t->run->view->id);
		td_scope_write(t->scope, false);
	}
	t->fed = true;
	open_feed(&f, t, n);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(delta, 0);
	tuplestore_rescan(delta);
	while (tuplestore_gettupleslot(delta, true, false, slot))
	{
		slot_getallattrs(slot);
		add_row(&f, slot, n);
	}
	td_store_target_flush(&f.target);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(f.row);
	td_store_target_close(&f.target);
	MemoryContextSwitchTo(old);
}

/*
 * In a fill: does the feed begin with what the view will hold then, which is no delta?  Also an unlogged view's, of which a crash may have taken what
 * the feed says is there.
 */
bool
td_feed_begins(const TdViewRun *run, bool empty)
{
	int64		tick;
	int64		gone;

	if (!OidIsValid(run->kept->feed_relid))
		return false;
	(void) td_feed_read(run->view->id, &tick, &gone);
	return tick < 0 || (empty && run->view->unlogged);
}

/* The view has the rows that its feed begins with. */
void
td_feed_begun(TdTick *t)
{
	td_scope_write(t->scope, true);
	td_feed_loaded(t->run->view->id);
	td_scope_write(t->scope, false);
}

/* ---- telling ---- */

static bool
queue_has_room(void)
{
	static TimestampTz looked = 0;
	static bool room = true;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(looked, now, QUEUE_LOOK_MS))
		return room;
	looked = now;
	if (room != (DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < QUEUE_MOST))
	{
		room = !room;
		ereport(LOG,
				(errmsg(room ? "changes of live views are notified again" : "changes of live views are not notified"),
				 room ? 0 : errdetail_internal("The queue of NOTIFY is more than half full.")));
	}
	return room;
}

/* In a subtransaction: gives up after lock_timeout. */
static bool
wait_for_lock(const LOCKTAG *tag)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool locked = true;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		(void) LockAcquire(tag, AccessExclusiveLock, false, false);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(edata);
		FreeErrorData(edata);
		locked = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return locked;
}

/* What every commit that notifies locks (PreCommit_Notify): before ours, where it can be done without. */
static bool
lock_queue(void)
{
	static TimestampTz in_vain = 0;
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, InvalidOid, 0);
	if (LockAcquire(&tag, AccessExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	if (!TimestampDifferenceExceeds(in_vain, GetCurrentTimestamp(), LOCK_AGAIN_MS))
		return false;
	if (wait_for_lock(&tag))
		return true;
	in_vain = GetCurrentTimestamp();
	return false;
}

/* The last act of a transaction that may have written a feed: true = it has.  What is owed of earlier ones is told with it, once it is committed. */
bool
td_feed_notify(TdViewRun *run)
{
	TdRunKept  *kept = run->kept;
	bool		fed = kept->fed != 0;
	int64		tick = fed ? kept->fed : kept->owed;
	StringInfoData text;

	kept->told = false;
	if (tick == 0 || !queue_has_room() || !lock_queue())
		return fed;
	initStringInfo(&text);
	appendStringInfoString(&text, "{\"view\": ");
	escape_json(&text, run->view->name);
	appendStringInfo(&text, ", \"tick\": " INT64_FORMAT "}", tick);
	Async_Notify(CHANNEL, text.data);
	pfree(text.data);
	kept->told = true;
	return fed;
}

/* That transaction is committed. */
static void
note_told(TdRunKept *kept)
{
	if (kept->told)
		kept->owed = 0;
	else if (kept->fed != 0)
		kept->owed = kept->fed;
	kept->fed = 0;
	kept->told = false;
}

void
td_feeds_committed(TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
		if (((TdMember *) lfirst(lc))->run)
			note_told(((TdMember *) lfirst(lc))->run->kept);
}

/* What a tick that failed has written is not there. */
void
td_feed_forget(TdViewRun *run)
{
	if (run == NULL)
		return;
	run->kept->fed = 0;
	run->kept->told = false;
}

void
td_feeds_notify(TdKeeper *k)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	k->tell_at = 0;
	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->run && td_feed_notify(m->run) && (k->prune_at == 0 || m->feed_empty))
		{
			TimestampTz soon = TimestampTzPlusMilliseconds(now, PRUNE_EVERY_MS);

			k->prune_at = k->prune_at == 0 ? soon : Min(k->prune_at, soon);
			m->feed_empty = false;
		}
		if (m->run && !m->run->kept->told && (m->run->kept->fed != 0 || m->run->kept->owed != 0))
			k->tell_at = TimestampTzPlusMilliseconds(now, TELL_AGAIN_MS);
	}
}

/* What is owed, once its time has come. */
static void
tell_owed(TdKeeper *k)
{
	if (k->tell_at == 0 || GetCurrentTimestamp() < k->tell_at)
		return;
	td_transaction_begin();
	td_feeds_notify(k);
	td_transaction_commit();
	td_feeds_committed(k);
	MemoryContextSwitchTo(k->context);
}

/* ---- pruning ---- */

/* A feed that can't be locked now has its turn later. */
static bool
lock_feed(const TdMember *m)
{
	Oid			relid = td_feed_table(m->id);

	return OidIsValid(relid) && ConditionalLockRelationOid(relid, RowExclusiveLock) && td_feed_table(m->id) == relid;
}

/* Until nothing more has expired, or it is time for other things; when it is to be looked at again, 0 = only once something has been written. */
static TimestampTz
prune(TdKeeper *k, TdMember *m, TimestampTz end)
{
	TimestampTz next = 0;
	bool		more = true;

	while (more)
	{
		TimestampTz now = GetCurrentTimestamp();
		int64		from = m->feed_from;
		int64		expires = 0;
		int64		rows = 0;
		bool		locked;

		td_transaction_begin();
		locked = lock_feed(m);
		if (locked)
			rows = td_feed_prune(m->id, PRUNE_ROWS, &from, &expires);
		td_transaction_commit();
		m->feed_from = from;
		MemoryContextSwitchTo(k->context);
		more = rows == PRUNE_ROWS;
		next = locked && expires == 0 && !more ? 0 : Max(expires, TimestampTzPlusMilliseconds(now, PRUNE_EVERY_MS));
		if (more && GetCurrentTimestamp() >= end)
			return now;
	}
	return next;
}

/* All feeds of views that stream: a fill reads view_feed under a snapshot of its own, and must find it as it was. */
static void
prune_all(TdKeeper *k)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Max(PRUNE_MS, (int) (k->pace.last_ms / PRUNE_SHARE)));
	ListCell   *lc;

	k->prune_at = 0;
	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		TimestampTz next;

		m->feed_empty = true;
		if (!m->streams || m->view == NULL || !m->view->changes)
			continue;
		next = prune(k, m, end);
		m->feed_empty = next == 0;
		if (next != 0 && (k->prune_at == 0 || next < k->prune_at))
			k->prune_at = next;
	}
}

/* Nothing of a tick hangs on it: an error is told, and that is all. */
static void
try_prune(TdKeeper *k)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		prune_all(k);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (geterrcode() == ERRCODE_TD_STOP || td_worker_should_stop())
			PG_RE_THROW();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(caller);
		k->prune_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PRUNE_FAILED_MS);
	}
	PG_END_TRY();
}

/* Milliseconds from now until then; 0 = never, which is -1. */
static int
until(TimestampTz then)
{
	TimestampTz now = GetCurrentTimestamp();

	if (then == 0)
		return -1;
	return now >= then ? 0 : (int) Min(TimestampDifferenceMilliseconds(now, then) + 1, PG_INT32_MAX);
}

/* Between ticks.  Milliseconds until there is something to do, -1 = never.  Options may have changed when the views were read again. */
int
td_feeds_work(TdKeeper *k)
{
	int			prune_in;
	int			tell_in;

	tell_owed(k);
	if (k->prune_read != k->members_read || until(k->prune_at) == 0)
	{
		k->prune_read = k->members_read;
		try_prune(k);
	}
	prune_in = until(k->prune_at);
	tell_in = until(k->tell_at);
	return prune_in < 0 || tell_in < 0 ? Max(prune_in, tell_in) : Min(prune_in, tell_in);
}
