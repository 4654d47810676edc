/*-------------------------------------------------------------------------
 *
 * cost.c
 *		Whether a delta is worth it: else the view is computed anew, in the same
 *		tick.  And what was done, counted.
 *
 * NOTES
 *		Under run.c, as the view's owner.  Nothing is estimated: how long the whole
 *		takes was measured when it was computed last, and a delta that has taken
 *		that long is given up.  So a tick takes at most twice what computing the
 *		view anew does, however wrong the planner is.  What was given up twice in a
 *		row, for the same changed occurrences, is not tried again for as many rows
 *		or more but now and then: 8 times out of 9 at first, 64 out of 65 at last.
 *		Time until the first row is written counts; what is written is the same
 *		either way.
 *
 *		Giving up takes a subtransaction, which takes an xid.  So small deltas go
 *		without; one that was slow all the same makes the next ones go with it.
 *
 *		How long the whole takes grows old: deltas that take a quarter of it or more
 *		are added up, and when they have taken 8 times as long as it (once, if only
 *		the fill worker has measured it: in parallel, and writing a table), the
 *		whole is computed, and measured, once.  Quick ones take from that sum what
 *		they are quicker than a quarter: on a machine that has too much to do any
 *		tick is slow now and then, and to compute the whole would not mend it.  The
 *		same machine is why a whole that turns out to take twice what was thought
 *		makes forget what was given up for it.
 *
 * IDENTIFICATION
 *		src/view/maintain/cost.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "view/maintain/run_internal.h"

#define LEAST_MS 20				/* below that nothing is given up */
#define SMALL_ROWS 1000			/* in the deltas: what they cost is not watched */
#define STRIKES 2				/* in a row: then it is not tried */
#define WAIT 8					/* so often, doubling to */
#define MOST_WAIT 64
#define MOST_KEPT 64
#define CLOSE 0.25				/* of the whole */
#define MEASURE_AFTER 8			/* times the whole */

/* What was learned of the deltas of a set of changed occurrences. */
typedef struct TdDear
{
	Bitmapset  *touched;
	bool		slow;			/* the last one was */
	int			strikes;		/* given up, or as slow, in a row */
	double		rows;			/* the least that was */
	int			wait;			/* is not tried so often, of which */
	int			waited;
	double		limit;			/* that was passed */
} TdDear;

static const char *const names[TD_RAN_KINDS] = {
	[TD_RAN_NOTHING] = "nothing",
	[TD_RAN_DELTA] = "delta",
	[TD_RAN_GROUPS] = "groups",
	[TD_RAN_KEYED] = "keyed",
	[TD_RAN_TOPK] = "topk",
	[TD_RAN_FULL] = "full",
	[TD_RAN_DDL] = "ddl",
	[TD_RAN_UNKNOWN] = "unknown",
	[TD_RAN_COST] = "cost",
	[TD_RAN_ERROR] = "error"
};

double
td_cost_since(instr_time start)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return INSTR_TIME_GET_MILLISEC(now);
}

/* ---- what was learned ---- */

static double
rows_of(const TdTick *t)
{
	double		rows = 0;

	for (int i = 0; i < t->nsources; i++)
		rows += t->sources[i].nrows;
	return rows;
}

/* How long a delta may take; 0 = it is not known. */
static double
limit_of(const TdViewRun *run)
{
	if (run->force_limit > 0)
		return run->force_limit;
	return run->whole_ms > 0 ? Max(run->whole_ms, LEAST_MS) : 0;
}

/* Of the occurrences that have changed; NULL = nothing.  The oldest goes for a new one. */
static TdDear *
dear_of(TdTick *t, bool make)
{
	TdRunKept  *kept = t->run->kept;
	MemoryContext old;
	TdDear	   *dear;
	ListCell   *lc;

	foreach(lc, kept->dear)
		if (bms_equal(((TdDear *) lfirst(lc))->touched, t->touched))
			return lfirst(lc);
	if (!make)
		return NULL;
	if (list_length(kept->dear) >= MOST_KEPT)
	{
		dear = linitial(kept->dear);
		kept->dear = list_delete_first(kept->dear);
		bms_free(dear->touched);
		pfree(dear);
	}
	old = MemoryContextSwitchTo(t->run->context);
	dear = palloc0(sizeof(TdDear));
	dear->touched = bms_copy(t->touched);
	kept->dear = lappend(kept->dear, dear);
	MemoryContextSwitchTo(old);
	return dear;
}

void
td_cost_forget(TdViewRun *run)
{
	ListCell   *lc;

	foreach(lc, run->kept->dear)
		bms_free(((TdDear *) lfirst(lc))->touched);
	list_free_deep(run->kept->dear);
	run->kept->dear = NIL;
}

static void
strike(TdTick *t)
{
	TdDear	   *dear = dear_of(t, true);

	dear->slow = true;
	dear->rows = dear->strikes++ == 0 ? rows_of(t) : Min(dear->rows, rows_of(t));
	dear->waited = 0;
	dear->limit = limit_of(t->run);
	if (dear->strikes >= STRIKES)
		dear->wait = dear->wait == 0 ? WAIT : Min(2 * dear->wait, MOST_WAIT);
}

/* The delta took so long until it was written. */
static void
learn(TdTick *t, double ms)
{
	double		limit = limit_of(t->run);
	TdDear	   *dear = limit > 0 ? dear_of(t, ms > CLOSE * limit) : NULL;

	if (ms > CLOSE * limit)
		t->run->kept->dear_ms += ms;
	else
		t->run->kept->dear_ms = Max(0, t->run->kept->dear_ms + ms - CLOSE * limit);
	if (dear == NULL)
		return;
	if (ms > limit)
		strike(t);
	else
	{
		dear->slow = ms > limit / 2;
		if (rows_of(t) >= dear->rows)
			dear->strikes = dear->wait = 0;
	}
}

/* ---- the decision ---- */

bool
td_cost_too_much(TdTick *t)
{
	TdViewRun  *run = t->run;
	TdDear	   *dear;

	if (run->force != TD_FORCE_NONE)
		return run->force == TD_FORCE_WHOLE;
	if (limit_of(run) == 0)
		return false;
	if (run->kept->dear_ms > limit_of(run) * (run->whole_measured ? MEASURE_AFTER : 1))
		return true;
	dear = dear_of(t, false);
	if (dear && limit_of(run) > 2 * dear->limit)
		dear->strikes = dear->wait = 0;
	if (dear == NULL || dear->strikes < STRIKES || rows_of(t) < dear->rows)
		return false;
	if (dear->waited++ < dear->wait)
		return true;
	dear->waited = 0;
	return false;
}

/* Is it to be watched? */
static bool
needs_guard(TdTick *t)
{
	TdDear	   *dear = dear_of(t, false);

	if (t->run->force != TD_FORCE_NONE)
		return t->run->force == TD_FORCE_GIVE_UP;
	return limit_of(t->run) > 0 && (rows_of(t) > SMALL_ROWS || (dear && dear->slow));
}

void
td_cost_computed(TdTick *t)
{
	if (t->computed_ms >= 0)
		return;
	t->computed_ms = td_cost_since(t->began);
	if (!t->guarded)
		return;
	td_scope_unlimit(t->scope);
	if (t->run->force == TD_FORCE_GIVE_UP)
	{
		t->given_up = true;
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the delta of view %s is given up, as was asked for", t->run->view->name)));
	}
}

/*
 * Tuplestores that were made within a subtransaction end with it.  When it is
 * aborted their files are closed already, and their memory goes with the tick's.
 */
static void
end_stores(TdTick *t, int first, bool aborted)
{
	for (int i = list_length(t->stores) - 1; !aborted && i >= first; i--)
		tuplestore_end(list_nth(t->stores, i));
	t->stores = list_truncate(t->stores, first);
}

/* In a subtransaction and a limit of time; false = given up, and rolled back. */
static bool
try_guarded(TdTick *t, void (*body) (TdTick *))
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			stores = list_length(t->stores);

	t->guarded = true;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(caller);
		if (t->run->force == TD_FORCE_NONE)
			td_scope_limit(t->scope, (int) Min(limit_of(t->run), PG_INT32_MAX));
		body(t);
		td_cost_computed(t);
		end_stores(t, stores, false);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		t->given_up |= td_scope_limit_passed(t->scope);
		MemoryContextSwitchTo(caller);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		end_stores(t, stores, true);
		if (!t->given_up)
			ReThrowError(edata);
		td_scope_unlimit(t->scope);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	t->guarded = false;
	return !t->given_up;
}

bool
td_cost_try(TdTick *t, void (*body) (TdTick *))
{
	if (!needs_guard(t))
		body(t);
	else if (!try_guarded(t, body))
	{
		td_deltas_forget(t->deltas, t->run->view->relation);
		td_feed_forget(t->run);
		t->changed = 0;
		t->fed = false;
		strike(t);
		return false;
	}
	if (t->ran != TD_RAN_COST)
		learn(t, t->computed_ms >= 0 ? t->computed_ms : td_cost_since(t->began));
	return true;
}

/* ---- counters ---- */

const char *
td_ran_name(TdRan ran)
{
	return names[ran];
}

bool
td_run_uncounted(const TdViewRun *run)
{
	for (int i = TD_RAN_NOTHING + 1; i < TD_RAN_KINDS; i++)
		if (run->counts[i].n > 0)
			return true;
	return false;
}

/* Those that are there. */
void
td_run_count(const TdViewRun *run)
{
	td_view_count(run->view->id, run->ticks, run->recomputes, run->last_ms, run->whole_ms);
	for (int i = TD_RAN_NOTHING + 1; i < TD_RAN_KINDS; i++)
		if (run->counts[i].n > 0)
			td_view_count_runs(run->view->id, names[i], run->counts[i].n, run->counts[i].ms, run->counts[i].last_ms);
}

void
td_run_counted(TdViewRun *run)
{
	run->ticks = run->recomputes = 0;
	memset(run->counts, 0, sizeof(run->counts));
}
