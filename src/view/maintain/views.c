/*-------------------------------------------------------------------------
 *
 * views.c
 *		The views of a group within a tick: which are touched, planned anew, run,
 *		frozen.
 *
 * NOTES
 *		View worker, in a transaction.  An error of a view ends the first attempt
 *		at a tick.  The second one runs each view in a subtransaction: the view that
 *		fails is frozen in the same commit that takes the others on, and so are
 *		those above it.  Errors that are not the view's fault (resources, locks, a
 *		cancel) go on to the tick.
 *
 *		Fingerprints: a run is planned from the catalog as it is, which may be newer
 *		than the tick's snapshot.  DDL whose commit record is before the moment of
 *		planning may thus be in the fingerprint already, and can't be told by
 *		comparing: it always recomputes.
 *
 *		What a tick decides about a member is remembered in flags and becomes true
 *		in td_members_ran, when the tick is committed.
 *
 * IDENTIFICATION
 *		src/view/maintain/views.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "util/util.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "view/maintain/tick_internal.h"

#define COUNT_EVERY_MS 1000
#define STARVED 2				/* ticks that found no memory; one that is then, after some seconds, finds out for which view */

static bool takes_part(const TdKeeper *k, const TdMember *m);
static bool is_touched(const TdMember *m);
static bool is_frozen(const TdMember *m);
static bool is_refilled(const TdMember *m);
static bool has_changed(const TdMember *m, TdDeltas *deltas);
static void run_member(TdKeeper *k, TdMember *m, TdDeltas *deltas, bool careful);
static bool try_member(TdKeeper *k, TdMember *m, TdDeltas *deltas, TdError *err);
static void run_here(TdKeeper *k, TdMember *m, TdDeltas *deltas);
static bool plan_anew(TdKeeper *k, TdMember *m);
static bool capture_covers(TdKeeper *k, const TdViewRun *run, const TdViewRun *old);
static void set_aside(TdKeeper *k, TdMember *m);
static void refill(TdKeeper *k, TdMember *m, const TdError *err);

/* ---- who reads what ---- */

TdMember *
td_member_find(TdKeeper *k, int32 id)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->id == id)
			return m;
	}
	return NULL;
}

/* Does the view read the relation directly? */
bool
td_member_reads(const TdMember *m, Oid relid)
{
	for (int i = 0; m->run && i < m->run->shape->noccurrences; i++)
	{
		if (m->run->shape->occurrences[i].relid == relid)
			return true;
	}
	return false;
}

/* Is the delta of this relation one of its own? */
bool
td_member_takes(const TdMember *m, Oid relid)
{
	for (int i = 0; m->run && i < m->run->shape->noccurrences; i++)
	{
		if (td_source_of(&m->run->shape->occurrences[i]) == relid)
			return true;
	}
	return false;
}

/* Does it learn of a base table's changes by the delta of this one? */
bool
td_member_learns(const TdMember *m, Oid relid)
{
	for (int i = 0; m->run && i < m->run->shape->noccurrences; i++)
	{
		if (m->run->shape->occurrences[i].kept != 0 && m->run->shape->occurrences[i].source == relid)
			return true;
	}
	return false;
}

/* Is a view gone by which it learns of changes? */
static bool
is_bereft(const TdKeeper *k, const TdMember *m)
{
	for (int i = 0; i < m->run->shape->noccurrences; i++)
	{
		int32		kept = m->run->shape->occurrences[i].kept;

		if (kept != 0 && td_member_find((TdKeeper *) k, kept) == NULL)
			return true;
	}
	return false;
}

/* A view that it reads directly, or learns of changes by, of which that is true; NULL = of none. */
static const TdMember *
lower_member(const TdKeeper *k, const TdMember *m, bool (*test) (const TdMember *lower))
{
	for (int i = 0; m->run && i < m->run->shape->noccurrences; i++)
	{
		const TdOccurrence *o = &m->run->shape->occurrences[i];
		int32		view = o->kept != 0 ? o->kept : o->view;
		TdMember   *lower = view ? td_member_find((TdKeeper *) k, view) : NULL;

		if (lower && test(lower))
			return lower;
	}
	return NULL;
}

bool
td_member_below(const TdKeeper *k, const TdMember *m, bool (*test) (const TdMember *lower))
{
	return lower_member(k, m, test) != NULL;
}

/* Those that stream, and the one that joins with this tick. */
static bool
takes_part(const TdKeeper *k, const TdMember *m)
{
	return m->run && (m->streams || (k->fill.state == TD_FILL_JOINS && k->fill.member == m));
}

static bool
is_touched(const TdMember *m)
{
	return m->touched;
}

static bool
is_frozen(const TdMember *m)
{
	return m->frozen;
}

static bool
is_refilled(const TdMember *m)
{
	return m->refill;
}

/* Marks those that a change of these relations (InvalidOid: of any) may change; true = one that was not marked before. */
bool
td_members_touch(TdKeeper *k, List *relids)
{
	bool		more = false;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		bool		touched = !m->streams || list_member_oid(relids, InvalidOid) || td_member_below(k, m, is_touched);
		ListCell   *at;

		if (!takes_part(k, m))
		{
			m->touched = false;
			continue;
		}
		foreach(at, relids)
			touched |= td_member_reads(m, lfirst_oid(at));
		more |= touched && !m->touched;
		m->touched |= touched;
	}
	return more;
}

/* Forgets what an earlier tick decided. */
void
td_members_reset(TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		m->touched = m->compare = m->frozen = m->refill = m->aside = m->joined = m->counting = false;
		m->recompute = TD_RAN_NOTHING;
		m->footing = NIL;
		td_feed_forget(m->run);
		m->tick_ms = 0;
	}
}

/* ---- plans ---- */

/* Is the error none of the view, and may go away by itself? */
bool
td_error_passes(int sqlerrcode)
{
	const char *sqlstate = unpack_sql_state(sqlerrcode);

	if (sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
		return false;			/* temp_file_limit and the like */
	return td_sqlstate_retryable(sqlstate) || sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_TD_STOP;
}

/* Out of memory, in one tick after the other: if it is one view that takes it, the others shall not wait for that. */
bool
td_tick_starves(const TdKeeper *k, int sqlerrcode)
{
	return sqlerrcode == ERRCODE_OUT_OF_MEMORY && k->failures >= STARVED;
}

/* Is there one that streams, but has no plan?  Then no tick may be: it would leave that one behind. */
bool
td_members_unplanned(const TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->streams && m->run == NULL)
			return true;
	}
	return false;
}

/* Makes the member's run.  false = its definition is not one that we keep, *err says why. */
bool
td_member_plan(TdKeeper *k, TdMember *m, TdError *err)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool planned = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(caller);
		m->run = td_run_create(m->view, m->context);
		m->planned = GetXLogInsertRecPtr();
		ReleaseCurrentSubTransaction();
		planned = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (td_error_passes(edata->sqlerrcode))
			ReThrowError(edata);
		td_error_from_edata(err, edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return planned;
}

/* What DDL on a relation that it reads makes of a member; without a position: changes are lost. */
void
td_member_take_ddl(TdMember *m, const TdDdl *ddl)
{
	m->compare = true;
	if (ddl->lsn < m->planned)
		m->recompute = ddl->lsn == InvalidXLogRecPtr ? TD_RAN_UNKNOWN : TD_RAN_DDL;
}

/* For each relation (InvalidOid: all) named by DDL: who reads it is to be compared, or recomputed at once. */
void
td_members_compare(TdKeeper *k, List *ddl)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		ListCell   *at;

		if (!takes_part(k, m))
			continue;
		foreach(at, ddl)
		{
			TdDdl	   *d = lfirst(at);

			if (!OidIsValid(d->relid) || td_member_reads(m, d->relid))
				td_member_take_ddl(m, d);
		}
	}
}

/* Does another run of the view read all that this occurrence reads of a base table? */
static bool
is_read_by(const TdOccurrence *o, const TdViewRun *run)
{
	for (int i = 0; i < run->shape->noccurrences; i++)
	{
		const TdOccurrence *p = &run->shape->occurrences[i];

		if (p->relid == o->relid && p->inh == o->inh && p->touch == o->touch &&
			bms_is_subset(o->touch ? o->told : o->columns, o->touch ? p->told : p->columns))
			return true;
	}
	return false;
}

/* Has capture been asked for all that the run reads, and does nothing come any more that it was not asked for when that was decoded?  old: what it reads comes in any case. */
static bool
capture_covers(TdKeeper *k, const TdViewRun *run, const TdViewRun *old)
{
	bool		late = k->oldest_version < k->version;

	for (int i = 0; i < run->shape->noccurrences; i++)
	{
		const TdOccurrence *o = &run->shape->occurrences[i];
		TdBase	   *base = td_base_find(k, o->relid);

		if (o->view == 0 && o->kept == 0 && (base == NULL || (late && !is_read_by(o, old)) || (base->only && o->inh) || (o->touch && !base->touch) ||
											 !bms_is_subset(o->touch ? o->told : o->columns, base->columns)))
			return false;
	}
	return true;
}

/* More than a tick reads (ordinary views, say): a lock that is not to be had sets the view aside. */
static void
lock_to_plan(TdMember *m)
{
	TdError		err = {0};

	if (td_lock_to_plan(m))
		return;
	m->run->own_error = true;
	td_lock_error(m, &err);
	td_error_raise_own(&err);
}

/*
 * DDL: takes the definition as it is now.  false = the view must be filled: it needs columns that capture does not send yet, or its index holds hashes of rows whose
 * type is another one now.
 */
static bool
plan_anew(TdKeeper *k, TdMember *m)
{
	TdViewRun  *run;
	TdViewRun  *old = m->run;
	bool		covered;

	lock_to_plan(m);
	run = td_run_create(m->view, m->context);

	if (strcmp(run->fingerprint, old->fingerprint) == 0)
	{
		td_run_destroy(run);
		td_cost_forget(old);	/* an index may have come */
		return m->recompute != TD_RAN_DDL || !td_run_is_stale(old);
	}
	if (!m->recompute && !td_fingerprint_grown(old->fingerprint, run->fingerprint))
		m->recompute = TD_RAN_DDL;
	td_run_succeed(run, old);
	m->run = run;
	m->planned = GetXLogInsertRecPtr();
	covered = capture_covers(k, run, old);
	td_run_destroy(old);
	return covered && (m->recompute != TD_RAN_DDL || !td_run_is_stale(run));
}

/* ---- running ---- */

/* Is there anything in the deltas for the view? */
static bool
has_changed(const TdMember *m, TdDeltas *deltas)
{
	for (int i = 0; i < m->run->shape->noccurrences; i++)
	{
		TdDelta    *delta = td_deltas_get(deltas, td_source_of(&m->run->shape->occurrences[i]));

		if (delta && (delta->unknown || delta->nrows > 0))
			return true;
	}
	return false;
}

/* Takes each view on, in order. */
void
td_members_run(TdKeeper *k, TdDeltas *deltas, bool careful)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (td_replace_run(k, m, deltas) || !takes_part(k, m))
			continue;
		CHECK_FOR_INTERRUPTS();
		if (td_member_below(k, m, is_frozen))
		{
			TdError		err = {0};

			td_member_failed_below(m, &err);
			td_member_freeze(k, m, &err);
		}
		else if (is_bereft(k, m))
		{
			TdError		err = {0};

			td_error_set(&err, "55000", "the table with old rows that view %s learns of changes by is gone", m->view->name);
			td_error_hint(&err, "Drop the view and create it again.");
			td_member_freeze(k, m, &err);
		}
		else if (m->aside)
			set_aside(k, m);
		else if (td_member_below(k, m, is_refilled))
			refill(k, m, NULL);
		else if (!m->streams)
		{
			TdDeltas   *own = td_fill_join(k, deltas);	/* nobody above it streams */

			run_member(k, m, own, careful);
			td_deltas_destroy(own);
		}
		else if (m->missing || m->recompute || m->compare || has_changed(m, deltas))
			run_member(k, m, deltas, careful);
	}
}

/* Says, once a session, why ticks compute all of a view that is kept by delta. */
static void
tell_delta(TdMember *m, const TdError *why)
{
	TdError		entry = {0};

	if (m->told_delta)
		return;
	m->told_delta = true;
	td_error_set(&entry, why->sqlstate, "the changes of a tick could not be taken in one by one, the view was computed anew: %s", why->message);
	td_error_detail(&entry, "Rows that came and went within the tick may have failed, which the query never meets. Where executed in tapdata.views counts ever more of \"error\", each tick costs the whole query.");
	td_log("warning", "view", m->view->name, m->view->owner, &entry);
}

/*
 * One view; when careful, its failure is its own affair.  Before it is frozen it
 * is computed anew: a row that came and went within the tick may have failed,
 * which the query would never have met.  A lock that it waited for in vain, that of an index
 * or one that a function in it takes, sets it aside; so does memory that it has asked for in vain.
 */
static void
run_member(TdKeeper *k, TdMember *m, TdDeltas *deltas, bool careful)
{
	TdError		err = {0};

	k->in_view = true;
	if (!careful)
		run_here(k, m, deltas);
	else if (!try_member(k, m, deltas, &err))
	{
		bool		again = !m->recompute && !m->missing && !m->run->own_error;

		m->recompute = again ? TD_RAN_ERROR : m->recompute;
		if (!again || !try_member(k, m, deltas, &err))
		{
			if (strcmp(err.sqlstate, "55P03") == 0 || strcmp(err.sqlstate, "53200") == 0)
				refill(k, m, &err);
			else
				td_member_freeze(k, m, &err);
		}
		else
			tell_delta(m, &err);
	}
	k->in_view = false;
}

/* In a subtransaction; false = it failed, *err says why. */
static bool
try_member(TdKeeper *k, TdMember *m, TdDeltas *deltas, TdError *err)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool failed = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(caller);
		run_here(k, m, deltas);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(caller);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		if (td_error_passes(edata->sqlerrcode) && !m->run->own_error && !td_tick_starves(k, edata->sqlerrcode))
			ReThrowError(edata);
		td_error_from_edata(err, edata);
		if (m->run->own_error && edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		{
			if (edata->hint == NULL)	/* of the server: it does not say what it has waited for */
				td_lock_error_within(m, err);
			td_error_hint(err, "The view is filled anew, by itself, once the lock is released; pg_locks shows who has it.");
		}
		else if (m->run->own_error)
		{
			td_error_set(err, "57014", "a tick of view %s took longer than its option \"timeout\" allows, %d ms", m->view->name, m->view->timeout_ms);
			td_error_hint(err, "tapdata.explain_view shows which indexes it wants. Or allow more: SELECT tapdata.alter_view(%s, '{\"timeout\": \"10 min\"}'), "
						  "then tapdata.refresh_view(%s).", quote_literal_cstr(m->view->name), quote_literal_cstr(m->view->name));
		}
		failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (failed)
	{
		td_feed_forget(m->run);
		td_deltas_forget(deltas, m->view->relation);
	}
	return !failed;
}

/* The view's part of the tick, with the tick's snapshot and what the views before it have written. */
static void
run_here(TdKeeper *k, TdMember *m, TdDeltas *deltas)
{
	m->run->own_error = false;
	PushCopiedSnapshot(GetTransactionSnapshot());
	if (m->missing)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("a relation that view %s is made of is gone", m->view->name),
				 errhint("Drop the view with tapdata.drop_view() and create it anew.")));
	if (m->compare && !plan_anew(k, m))
		refill(k, m, NULL);
	else
	{
		td_run_tick(m->run, deltas, m->recompute);
		m->tick_ms = m->streams ? m->run->last_ms : 0;	/* the tick that takes it in has a backlog */
		m->joined = !m->streams;
	}
	PopActiveSnapshot();
	if (m->joined)
		td_view_set_status(m->id, "streaming", NULL, NULL);
	CommandCounterIncrement();
}

/* A lock is not to be had, of the view or of one below: the tick goes on without it. */
static void
set_aside(TdKeeper *k, TdMember *m)
{
	const TdMember *lowest = m;
	const TdMember *lower;
	TdError		err = {0};

	while ((lower = lower_member(k, lowest, td_member_is_aside)) != NULL)
		lowest = lower;
	td_lock_error(lowest, &err);
	refill(k, m, &err);
}

/* The view stays as the last checkpoint has it until it is filled anew. */
static void
refill(TdKeeper *k, TdMember *m, const TdError *err)
{
	m->refill = true;
	td_view_set_status(m->id, "snapshot", m->streams && k->seen ? td_seen_text(k->seen) : NULL, err);
	CommandCounterIncrement();
}

/* The view stays as the last checkpoint has it. */
void
td_member_freeze(TdKeeper *k, TdMember *m, const TdError *err)
{
	m->frozen = true;
	m->joined = m->refill = false;
	td_view_set_status(m->id, "failed", m->streams && k->seen ? td_seen_text(k->seen) : NULL, err);
	CommandCounterIncrement();
}

/* ---- counters, and the end ---- */

/* What the catalog does not know of. */
static bool
has_uncounted(const TdMember *m)
{
	return m->run && (m->streams || m->joined) && !m->frozen && !m->refill && td_run_uncounted(m->run);
}

/* Writes counters that have not been written for a second; not into the row of a view that is being filled, which its fill worker writes. */
void
td_members_count(TdKeeper *k)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (has_uncounted(m) && TimestampDifferenceExceeds(m->counted, now, COUNT_EVERY_MS))
		{
			td_run_count(m->run);
			m->counting = true;
		}
	}
}

/* What it counted is in the catalog. */
static void
note_counted(TdMember *m)
{
	if (m->counting)
	{
		td_run_counted(m->run);
		m->counted = GetCurrentTimestamp();
	}
	m->counting = false;
}

/* Between ticks, when no other comes: the counters that are due.  Returns the ms until more are; -1 = never. */
int
td_members_count_idle(TdKeeper *k)
{
	int			wait = -1;
	bool		due = false;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		int			left;

		m->counting = m->joined = m->frozen = m->refill = false;	/* of the last tick, which is over */
		if (!has_uncounted(m))
			continue;
		left = (int) TimestampDifferenceMilliseconds(GetCurrentTimestamp(), TimestampTzPlusMilliseconds(m->counted, COUNT_EVERY_MS + 1));
		due |= left == 0;
		wait = left == 0 ? wait : wait < 0 ? left : Min(wait, left);
	}
	if (due)
	{
		td_transaction_begin();
		td_members_count(k);
		td_transaction_commit();
		foreach(lc, k->members)
			note_counted(lfirst(lc));
	}
	return wait;
}

/* The tick is committed. */
void
td_members_ran(TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		note_counted(m);
		if (m->joined)
			m->streams = true;
		if (m->joined || m->frozen || m->refill)
			m->wants_fill = m->refill;
		if (m->aside && m->busy_since != 0)
			m->waits++;
		if (m->joined)
			m->waits = 0;
		if (m->frozen || m->refill)
		{
			m->busy_since = 0;
			m->streams = false;
			k->members_stale = true;
		}
		if (m->frozen)
		{
			td_run_destroy(m->run);
			m->run = NULL;
		}
	}
}
