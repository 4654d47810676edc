/*-------------------------------------------------------------------------
 *
 * fill.c
 *		A view that is new, or computed anew: the view worker's side and the fill
 *		worker.
 *
 * NOTES
 *		View worker: one fill at a time, lower views first.  The fill worker gets
 *		the snapshot of a tick; the deltas of all ticks after that one, of what the
 *		view reads, go to the backlog, and the tick that finds the view filled runs
 *		it with backlog and its own delta.  Nothing of a fill outlives the view
 *		worker: the next one begins anew.
 *
 *		The snapshot is handed over as the last act of a tick: a tick that fails
 *		after it makes the fill begin anew, because its repetition may see more.
 *
 *		Fill worker: process "tapdata fill", connected as the view's owner,
 *		replication role replica, one transaction: locks, snapshot, rows, state.
 *		Until the snapshot is there nothing in it may take one.
 *
 * IDENTIFICATION
 *		src/view/maintain/fill.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "util/util.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "view/maintain/tick_internal.h"
#include "view/view.h"

#define LOCKED_MS 250			/* until a fill that did not get its locks is tried again; doubling to */
#define LOCKED_MOST_MS 2000
#define NO_WORKER_MS 5000		/* foreign workers end without telling us */
#define LEAVING_MS 20			/* a fill worker that was asked to stop */
#define LOCKS_MS 1000			/* that locks are tried to be had */
#define IMPORT_TIMEOUT_MS 300	/* how long locks are held without a snapshot: what an exclusive lock waits for us, at most */

/* Before each row in the backlog; with the spool's own four bytes and these the tuple is maximally aligned. */
typedef struct KeptHead
{
	uint32		pad;
	uint32		layout;
	uint32		zero;
} KeptHead;

StaticAssertDecl(MAXALIGN(sizeof(uint32) + sizeof(KeptHead)) == sizeof(uint32) + sizeof(KeptHead), "a kept tuple is aligned");

/* How far the fill worker is. */
typedef struct TdFilling
{
	bool		started;		/* an error before that says nothing about the view */
	TimestampTz end;			/* by its option "fill_timeout"; 0 = none */
} TdFilling;

static bool does_not_stream(const TdMember *m);
static bool could_be_filled(const TdKeeper *k, const TdMember *m);
static TdMember *next_member(TdKeeper *k);
static int	waiting_timeout(TdKeeper *k);
static void make_backlog(TdKeeper *k);
static void begin_fill(TdKeeper *k, TdMember *m);
static bool plan_afresh(TdKeeper *k, TdMember *m, TdError *err);
static bool plan_member(TdKeeper *k, TdMember *m);
static void no_worker(TdKeeper *k, TdMember *m);
static void fill_ended(TdKeeper *k);
static void release_backlog(void *arg);
static void keep_change(TdKeeper *k, TdDelta *delta);
static void keep_lower(TdKeeper *k, TdDeltas *deltas);
static void keep_delta(TdKeeper *k, TdDelta *delta);
static uint32 layout_number(TdFill *fill, const TdDelta *delta);
static void fail_later(TdMember *m);
static List *get_snapshot(TdView *view, List *bases);
static void fill_view(TdView *view, List *bases, volatile TdFilling *filling);
static void leave_fill_error(int32 id, const TdFilling *filling, ErrorData *edata);

/* ---- the view worker ---- */

static bool
does_not_stream(const TdMember *m)
{
	return !m->streams;
}

static bool
could_be_filled(const TdKeeper *k, const TdMember *m)
{
	return m->wants_fill && !td_member_below(k, m, does_not_stream);
}

/* Whose turn it is; NULL = nobody's.  Those that have waited, for a lock or after an error, come last, and not before their time. */
static TdMember *
next_member(TdKeeper *k)
{
	TimestampTz now = GetCurrentTimestamp();
	TdMember   *last = NULL;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (!could_be_filled(k, m))
			continue;
		if (m->waits == 0)
			return m;
		if (m->not_before <= now && (last == NULL || m->not_before < last->not_before))
			last = m;
	}
	return last;
}

/* A lock of it is still not to be had. */
void
td_fill_wait_for_lock(TdMember *m)
{
	m->waits++;
	m->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(LOCKED_MS << Min(m->waits, 10), LOCKED_MOST_MS));
}

/* Milliseconds until one that waits has its turn; -1 = none does. */
static int
waiting_timeout(TdKeeper *k)
{
	TimestampTz now = GetCurrentTimestamp();
	int			timeout = -1;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		int			ms;

		if (m->waits == 0 || !could_be_filled(k, m))
			continue;
		ms = now >= m->not_before ? 0 : (int) TimestampDifferenceMilliseconds(now, m->not_before) + 1;
		timeout = timeout < 0 ? ms : Min(timeout, ms);
	}
	return timeout;
}

/* Outside of transactions: starts the next fill, or looks how the one under way stands. */
void
td_fill_step(TdKeeper *k)
{
	TdFill	   *fill = &k->fill;
	TdMember   *m;

	if (fill->state == TD_FILL_STARTED || fill->state == TD_FILL_RUNS)
	{
		if (!td_worker_runs(TD_WORKER_FILL, fill->member->id))
			fill_ended(k);
		return;
	}
	if (fill->state != TD_FILL_NONE || GetCurrentTimestamp() < fill->not_before)
		return;
	while ((m = next_member(k)) != NULL && !plan_member(k, m))
		;						/* its turn comes later, or never */
	if (m == NULL)
		return;
	if (td_worker_request_stop(TD_WORKER_FILL, m->id, true))
		fill->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LEAVING_MS);	/* the one before has not left yet */
	else
		begin_fill(k, m);
}

/* Milliseconds until a fill that has to wait may begin; -1 = none waits. */
int
td_fill_timeout(TdKeeper *k)
{
	TimestampTz now = GetCurrentTimestamp();

	if (k->fill.state != TD_FILL_NONE)
		return -1;
	if (k->fill.not_before == 0 || next_member(k) == NULL)
		return waiting_timeout(k);
	return now >= k->fill.not_before ? 0 : (int) TimestampDifferenceMilliseconds(now, k->fill.not_before) + 1;
}

/* What it has failed of may go away by itself, or not: the next attempt is not at once, and comes after the others. */
static void
fail_later(TdMember *m)
{
	m->waits++;
	m->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), td_backoff_ms(m->waits));
}

/* Also where it has a run, which may be of long ago: who does not stream is told of no DDL.  false = no run, *err says why. */
static bool
plan_afresh(TdKeeper *k, TdMember *m, TdError *err)
{
	TdViewRun  *old = m->run;
	bool		planned = td_member_plan(k, m, err);

	if (old && planned)
		td_run_succeed(m->run, old);
	if (old)
		td_run_destroy(old);
	if (!planned)
		m->run = NULL;
	return planned;
}

/*
 * The definition as it is now; false = it is not its turn.  A view that can't be
 * planned fails, so does one over a view that has; one that is locked has its
 * turn later, so that nobody waits for it.
 */
static bool
plan_member(TdKeeper *k, TdMember *m)
{
	TdError		err = {0};
	bool		planned = false;

	td_transaction_begin();
	if (!td_lock_to_plan(m))
	{
		if (m->waits == 0)
		{
			td_lock_error(m, &err);
			td_view_set_status(m->id, "snapshot", NULL, &err);
		}
		td_fill_wait_for_lock(m);
	}
	else if (plan_afresh(k, m, &err) && td_owner_connects(m->view->owner, psprintf("give the view to another role; then SELECT tapdata.refresh_view(%s)", quote_literal_cstr(m->view->name)), &err))
	{
		td_member_follow(k, m);
		planned = could_be_filled(k, m);
	}
	else
	{
		td_view_set_status(m->id, "failed", NULL, &err);
		m->wants_fill = false;
		k->members_stale = true;	/* those above it fail with it, also who waits for a fill */
	}
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
	return planned;
}

static void
release_backlog(void *arg)
{
	TdFill	   *fill = arg;

	if (fill->backlog)
		td_spool_destroy(fill->backlog);
	fill->backlog = NULL;
}

/* Room for what it must be told when it is filled. */
static void
make_backlog(TdKeeper *k)
{
	TdFill	   *fill = &k->fill;
	TdError		err = {0};
	MemoryContextCallback *callback;

	fill->context = AllocSetContextCreate(k->context, "tapdata fill", ALLOCSET_DEFAULT_SIZES);
	callback = MemoryContextAllocZero(fill->context, sizeof(MemoryContextCallback));
	callback->func = release_backlog;
	callback->arg = fill;
	MemoryContextRegisterResetCallback(fill->context, callback);
	fill->backlog = td_spool_create(td_spool_path(), (size_t) td_worker_memory * 1024 / 6, (uint64_t) td_spool_limit * 1024 * 1024, &err);
	if (fill->backlog == NULL)
	{
		MemoryContextDelete(fill->context);
		td_error_raise_own(&err);
	}
}

/* Starts the worker of a view. */
static void
begin_fill(TdKeeper *k, TdMember *m)
{
	TdFill	   *fill = &k->fill;

	fill->version = td_bases_want(k);
	td_share_note_filled(k->group, 0);
	make_backlog(k);
	if (!td_worker_start(TD_WORKER_FILL, MyDatabaseId, m->id, m->view->owner, m->view->name, "td_fill_main"))
	{
		MemoryContextDelete(fill->context);
		fill->context = NULL;
		no_worker(k, m);
		return;
	}
	fill->state = TD_FILL_STARTED;
	fill->member = m;
	m->told_waiting = false;

	td_transaction_begin();
	td_view_set_status(m->id, "snapshot", NULL, NULL);
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
}

/* Nothing runs it now; said once. */
static void
no_worker(TdKeeper *k, TdMember *m)
{
	TdError		err = {0};

	k->fill.not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NO_WORKER_MS);
	if (m->told_waiting || td_worker_should_stop())
		return;
	m->told_waiting = true;
	td_error_set(&err, "53000", "no background worker is free to fill the view");
	td_error_hint(&err, "Raise max_worker_processes or tapdata.max_workers; it is tried again when one ends.");
	td_transaction_begin();
	td_view_set_status(m->id, "created", NULL, &err);
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
}

/* The worker is gone: with the view filled under the snapshot that it had from us, or not. */
static void
fill_ended(TdKeeper *k)
{
	TdFill	   *fill = &k->fill;
	TdView	   *view;
	bool		filled;
	bool		failed;
	bool		locked;
	double		whole_ms;

	td_transaction_begin();
	view = td_view_load(fill->member->id);	/* in memory of the transaction */
	filled = view && view->filled && fill->state == TD_FILL_RUNS && view->snapshot && strcmp(view->snapshot, fill->snapshot) == 0;
	failed = view == NULL || strcmp(view->status, "failed") == 0;
	locked = view && view->error && strcmp(view->error->sqlstate, "55P03") == 0;
	whole_ms = view ? view->whole_ms : 0;
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
	k->members_stale = true;
	if (filled)
	{
		fill->state = TD_FILL_JOINS;
		fill->footing = td_share_filled();
		if (fill->member->run)
			fill->member->run->whole_ms = whole_ms;
	}
	else
	{
		if (failed)
			fill->member->wants_fill = false;
		else if (locked)
			td_fill_wait_for_lock(fill->member);
		else
			fail_later(fill->member);
		td_fill_cancel(k);
	}
}

/* Forgets the fill; whether it is begun again is what the member's status says. */
void
td_fill_cancel(TdKeeper *k)
{
	TdFill	   *fill = &k->fill;

	if (fill->state == TD_FILL_NONE)
		return;
	(void) td_worker_request_stop(TD_WORKER_FILL, fill->member->id, true);
	MemoryContextDelete(fill->context);
	fill->context = NULL;
	fill->state = TD_FILL_NONE;
	fill->member = NULL;
	fill->snapshot = NULL;
	fill->layouts = fill->unknown = fill->ddl = NIL;
	fill->recompute = fill->spoilt = fill->offered = false;
}

/* Does it wait for a tick? */
bool
td_fill_due(TdKeeper *k)
{
	TdFill	   *fill = &k->fill;

	return fill->state == TD_FILL_JOINS ||
		(fill->state == TD_FILL_STARTED && k->inbox->version >= fill->version && td_share_asked(TD_SHARE_FILL, fill->member->id));
}

/*
 * The last act of a tick: hands its snapshot over, if all changes to come
 * have the columns that the view needs.
 */
void
td_fill_offer(TdKeeper *k, const TdSeen *seen, TdDeltas *deltas, uint32 oldest_version)
{
	TdFill	   *fill = &k->fill;

	if (fill->state != TD_FILL_STARTED || !td_fill_due(k) || oldest_version < fill->version)
		return;
	fill->snapshot = MemoryContextStrdup(fill->context, td_seen_text(seen));
	fill->offered = td_share_offer_fill(fill->member->id);
	if (fill->offered)
		keep_lower(k, deltas);
}

/* The tick is committed. */
void
td_fill_committed(TdKeeper *k)
{
	TdFill	   *fill = &k->fill;

	if (fill->offered)
		fill->state = TD_FILL_RUNS;
	fill->offered = fill->spoilt = false;
	if (fill->state != TD_FILL_JOINS)
		return;
	if (fill->member->joined)
		k->members_stale = true;	/* a view that it reads may have failed meanwhile */
	if (fill->member->joined || fill->member->frozen || fill->member->refill)
		td_fill_cancel(k);
}

/* What it has handed over or written down is not what the repetition will find. */
void
td_fill_tick_failed(TdKeeper *k)
{
	TdFill	   *fill = &k->fill;

	if (fill->offered)
		td_fill_cancel(k);
	if (fill->spoilt)
		fill->recompute = true;
	fill->spoilt = false;
}

/* ---- the backlog ---- */

/* In a tick, after its views: remembers what the filling view must be told. */
void
td_fill_keep(TdKeeper *k, TdDeltas *deltas, List *ddl)
{
	TdFill	   *fill = &k->fill;
	TdMember   *m = fill->member;
	MemoryContext old;
	ListCell   *lc;

	if (fill->state != TD_FILL_RUNS)
		return;
	old = MemoryContextSwitchTo(fill->context);
	fill->spoilt = true;
	foreach(lc, ddl)
	{
		TdDdl	   *d = lfirst(lc);

		if (!OidIsValid(d->relid) || td_member_reads(m, d->relid))
		{
			TdDdl	   *kept = palloc(sizeof(TdDdl));

			*kept = *d;
			fill->ddl = lappend(fill->ddl, kept);
		}
	}
	foreach(lc, deltas->list)
		keep_change(k, lfirst(lc));
	MemoryContextSwitchTo(old);
}

/* One relation's, if the view reads it. */
static void
keep_change(TdKeeper *k, TdDelta *delta)
{
	TdFill	   *fill = &k->fill;

	if (!td_member_takes(fill->member, delta->relid))
		return;
	if (delta->unknown)
		fill->unknown = list_append_unique_oid(fill->unknown, delta->relid);
	if (delta->nrows > 0 && !fill->recompute)
		keep_delta(k, delta);
}

/*
 * In the tick whose snapshot was handed over: the snapshot sees base tables as
 * this tick leaves them, but the tables of other views as the tick before left
 * them.  What a view learns of a base table by another one is about the former.
 */
static void
keep_lower(TdKeeper *k, TdDeltas *deltas)
{
	MemoryContext old = MemoryContextSwitchTo(k->fill.context);
	ListCell   *lc;

	foreach(lc, deltas->list)
	{
		Oid			relid = ((TdDelta *) lfirst(lc))->relid;

		if (td_base_find(k, relid) == NULL && !td_member_learns(k->fill.member, relid))
			keep_change(k, lfirst(lc));
	}
	MemoryContextSwitchTo(old);
}

/* Appends all rows; when they do not fit, the view will be computed anew when it joins. */
static void
keep_delta(TdKeeper *k, TdDelta *delta)
{
	TdFill	   *fill = &k->fill;
	KeptHead	head = {0, layout_number(fill, delta), 0};
	TupleTableSlot *slot = td_delta_rewind(delta);
	StringInfoData block;
	TdError		err = {0};

	initStringInfo(&block);
	while (!fill->recompute && tuplestore_gettupleslot(delta->rows, true, false, slot))
	{
		bool		free;
		MinimalTuple tuple = ExecFetchSlotMinimalTuple(slot, &free);

		resetStringInfo(&block);
		enlargeStringInfo(&block, sizeof(KeptHead) + MAXALIGN(tuple->t_len));
		memcpy(block.data, &head, sizeof(KeptHead));
		memcpy(block.data + sizeof(KeptHead), tuple, tuple->t_len);
		memset(block.data + sizeof(KeptHead) + tuple->t_len, 0, MAXALIGN(tuple->t_len) - tuple->t_len);
		if (!td_spool_append(fill->backlog, block.data, sizeof(KeptHead) + MAXALIGN(tuple->t_len), &err))
		{
			ereport(LOG,
					(errmsg("changes do not fit into the spool while view %s is filled, it will be computed once more",
							fill->member->view->name),
					 errdetail_internal("%s", err.message)));
			fill->recompute = true;
			td_spool_reset(fill->backlog);
		}
		if (free)
			pfree(tuple);
	}
	pfree(block.data);
	ExecDropSingleTupleTableSlot(slot);
}

/* The place of the delta's layout in our list. */
static uint32
layout_number(TdFill *fill, const TdDelta *delta)
{
	for (int i = 0; i < list_length(fill->layouts); i++)
	{
		if (td_layout_is(list_nth(fill->layouts, i), delta))
			return i;
	}
	fill->layouts = lappend(fill->layouts, td_layout_of(delta));
	return list_length(fill->layouts) - 1;
}

/* By what a view's rows are computed.  Of that view: the fill worker of another one may be on its way out still, and say so in the same place. */
static uint32
filled_by(const TdView *view, const List *footing)
{
	return td_footing_hash(lappend_oid(list_copy(footing), view->id));
}

/* In the tick in which the view joins: backlog and this tick, for it alone; also what DDL since then makes of it. */
TdDeltas *
td_fill_join(TdKeeper *k, TdDeltas *deltas)
{
	TdFill	   *fill = &k->fill;
	TdMember   *m = fill->member;
	TdDeltas   *own = td_deltas_create(k->tick_context);
	TdBytes		block;
	TdError		err = {0};
	int			rc;
	ListCell   *lc;

	m->recompute = fill->recompute ? TD_RAN_UNKNOWN : m->recompute;
	/* nobody has while it did not stream: DDL before its snapshot is in the rows, but not in the run if that was planned before; planning anew waits for locks */
	m->compare |= strcmp(m->run->fingerprint, td_fingerprint(m->run->shape)) != 0;
	if (!m->recompute && fill->footing != filled_by(m->view, td_footing(m->run->shape, false)))
		m->recompute = TD_RAN_DDL;	/* what came and went again meanwhile is in the rows, and in no fingerprint */
	foreach(lc, fill->ddl)
		td_member_take_ddl(m, lfirst(lc));
	foreach(lc, fill->unknown)
		td_deltas_unknown(own, lfirst_oid(lc));
	foreach(lc, deltas->list)
	{
		if (td_member_takes(m, ((TdDelta *) lfirst(lc))->relid))
			td_rows_copy(k, own, lfirst(lc));
	}
	if (!td_spool_rewind(fill->backlog, &err))
		td_error_raise_own(&err);
	while ((rc = td_spool_read(fill->backlog, &block, &err)) > 0)
	{
		KeptHead	head;

		memcpy(&head, block.data, sizeof(KeptHead));
		td_rows_add(k, own, list_nth(fill->layouts, head.layout), (MinimalTuple) (block.data + sizeof(KeptHead)));
	}
	if (rc < 0)
		td_error_raise_own(&err);
	return own;
}

/* ---- the fill worker ---- */

/* Entry of the worker: main_arg names its slot, whose object is the view. */
void
td_fill_main(Datum main_arg)
{
	MemoryContext context;
	int32		id;
	volatile TdFilling filling = {0};

	td_worker_begin(main_arg, TD_WORKER_FILL);
	id = td_my_slot->object;
	context = AllocSetContextCreate(TopMemoryContext, "tapdata fill worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		TdView	   *view;
		List	   *bases;
		char		origin[NAMEDATALEN];

		td_worker_status("starting");
		td_transaction_begin();
		MemoryContextSwitchTo(context);
		view = td_view_load(id);
		bases = td_view_bases(id);
		td_transaction_commit();
		MemoryContextSwitchTo(context);
		if (view != NULL)
		{
			snprintf(origin, sizeof(origin), "g%d_fill", view->group);
			td_worker_origin_named(origin);
			(void) td_worker_origin_of_rows();
			fill_view(view, bases, &filling);
		}
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(TopMemoryContext);
		edata = CopyErrorData();
		HOLD_INTERRUPTS();
		disable_timeout(STATEMENT_TIMEOUT, false);
		if (edata->sqlerrcode != ERRCODE_TD_STOP)
			EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextDelete(context);
		QueryCancelPending = false;
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		leave_fill_error(id, (const TdFilling *) &filling, edata);
	}
	PG_END_TRY();
	proc_exit(0);
}

/* One attempt, in a transaction that it leaves open; the request stays as it is until the end: the view worker looks whether we have it. */
static bool
try_snapshot(const TdView *view, List *bases, TdMember *noted, TimestampTz *end, List **footing)
{
	bool		got;

	replorigin_session_origin_timestamp = 0;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	got = !OidIsValid(noted->busy_relid) || td_lock_first(noted);
	if (got && !OidIsValid(td_extension_hold()))
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the extension was dropped")));
	if (got)
		noted->busy_relid = InvalidOid;
	if (got && td_lock_to_fill(view, bases, noted))
	{
		*end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOCKS_MS);
		*footing = td_footing_of_tables(bases);
		if (!td_share_ask(TD_SHARE_FILL, view->group, view->id))
			ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the view worker has ended")));
		return td_share_import(IMPORT_TIMEOUT_MS);
	}
	if (GetCurrentTimestamp() >= *end)
	{
		TdError		err = {0};

		td_lock_error(noted, &err);
		td_error_raise_own(&err);
	}
	return false;
}

/*
 * Locks first, then the snapshot, under which everything else is read.  The
 * view worker takes no lock that it would wait for, so somebody who waits behind
 * ours for an exclusive one keeps its ticks from happening: in vain, the locks
 * are given back before the next attempt.  Later on only indexes are locked, when
 * they are built: who reads the view then is waited for, or all would be in vain.
 * Returns the tables' footing as of before the snapshot.
 */
static List *
get_snapshot(TdView *view, List *bases)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *footing = NIL;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOCKS_MS);
	TdMember	noted = {0};

	td_worker_status("waiting");
	SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
	while (!try_snapshot(view, bases, &noted, &end, &footing))
	{
		AbortCurrentTransaction();
		if (td_worker_should_stop())
			ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("asked to stop")));
	}
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	MemoryContextSwitchTo(caller);
	return list_copy(footing);
}

/* By the server's own statement_timeout, as for a tick (scope.c); the wait for locks and snapshot does not count. */
static void
begin_timeout(const TdView *view, volatile TdFilling *filling)
{
	if (view->fill_timeout_ms == 0)
		return;
	filling->end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), view->fill_timeout_ms);
	enable_timeout_at(STATEMENT_TIMEOUT, filling->end);
}

static void
fill_view(TdView *view, List *bases, volatile TdFilling *filling)
{
	MemoryContext context = CurrentMemoryContext;
	TdViewRun  *run;
	TdSeen	   *seen;
	List	   *tables;
	List	   *footing;
	bool		same;

	tables = get_snapshot(view, bases);
	AcceptInvalidationMessages();	/* the tick that lent it had waited until all of them were sent */
	MemoryContextSwitchTo(context);
	filling->started = true;
	begin_timeout(view, filling);
	td_worker_status("snapshot");
	PushActiveSnapshot(GetTransactionSnapshot());
	seen = td_seen_of(GetActiveSnapshot());
	run = td_run_create(view, CurrentMemoryContext);
	ereport(DEBUG1, (errmsg_internal("filling view %s", view->name)));
	footing = td_footing(run->shape, false);
	(void) td_run_fill(run);
	AcceptInvalidationMessages();
	same = equal(tables, td_footing_of_tables(bases)) && equal(footing, td_footing(run->shape, false));
	td_share_note_filled(view->group, same ? filled_by(view, footing) : 0);
	td_view_filled(view->id, td_seen_text(seen), run->whole_ms);
	(void) td_feed_notify(run);
	disable_timeout(STATEMENT_TIMEOUT, false);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
}

/*
 * What an error leaves: a view that has failed; or, when it may go away by
 * itself or came before the snapshot, one that the view worker tries again.
 */
static void
leave_fill_error(int32 id, const TdFilling *filling, ErrorData *edata)
{
	bool		failed;
	bool		late = filling->end != 0 && edata->sqlerrcode == ERRCODE_QUERY_CANCELED && GetCurrentTimestamp() >= filling->end;
	TdView	   *view;
	TdError		err;

	if (td_worker_should_stop() || edata->sqlerrcode == ERRCODE_TD_STOP || edata->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE)
		return;
	td_error_from_edata(&err, edata);
	td_transaction_begin();
	view = td_view_load(id);
	if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		td_error_hint(&err, "The view is filled, by itself, once the lock is released; pg_locks shows who has it.");
	if (view != NULL && late)
	{
		td_error_set(&err, "57014", "a fill of view %s took longer than its option \"fill_timeout\" allows, %d ms", view->name, view->fill_timeout_ms);
		td_error_hint(&err, "Allow more: SELECT tapdata.alter_view(%s, '{\"fill_timeout\": \"10 h\"}'), then tapdata.refresh_view(%s). Or drop it: "
					  "tapdata.explain_query shows how a query is computed.", quote_literal_cstr(view->name), quote_literal_cstr(view->name));
	}
	failed = filling->started && (late || !td_error_passes(edata->sqlerrcode));
	if (!failed && err.hint[0] == '\0')
		td_error_hint(&err, "The fill is tried again, by itself, a minute apart at most.");
	if (view != NULL)
		td_view_set_status(id, failed ? "failed" : "snapshot", NULL, &err);
	td_transaction_commit();
}
