/*-------------------------------------------------------------------------
 *
 * merge.c
 *		A view with groups: what its tables gained and lost is added to the
 *		state rows of the groups it touches.
 *
 * NOTES
 *		Under run.c, as the view's owner.  A state row is a group's keys, the
 *		number of its rows, and its counters.  Each touched group gives -old +new
 *		into one net of state rows; a group whose counters can't be carried on
 *		(its extremum was taken away, or they are no sums) gives -old, and its
 *		new row comes from a statement over the keys of all such groups.  Which
 *		groups that statement finds is decided by their keys; keys that are null
 *		are never found by =, so there is one statement per set of null keys.
 *
 *		Keys of a group may be equal and yet look different ('Bob' and 'BOB'): what
 *		the state row has is kept until a row that looks like it goes.
 *
 *		Deltas stream through: per group only its row in the net is kept, and the
 *		net spills.
 *
 * IDENTIFICATION
 *		src/view/maintain/merge.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "common/int.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"
#include "view/maintain/run_internal.h"

typedef struct Merge
{
	TdTick	   *tick;
	const TdPlan *plan;
	TdStore    *state;
	TdNet	   *net;			/* of state rows */
	TupleTableSlot *row;		/* a state row with its weight, being made */
	TupleTableSlot *keys;		/* keys only */
	List	   *again;			/* of TdKeySet *: groups that are computed anew */
} Merge;

/* ---- counters ---- */

/* The + of a type with itself, in pg_catalog: the one that sum() and avg() add with. */
static Oid
addition(Oid type)
{
	Oid			operator = OpernameGetOprid(list_make2(makeString("pg_catalog"), makeString("+")), type, type);

	if (!OidIsValid(operator))
		elog(ERROR, "type %u has no addition", type);
	return get_opcode(operator);
}

static Oid
comparison(Oid type)
{
	Oid			function = lookup_type_cache(type, TYPECACHE_CMP_PROC)->cmp_proc;

	if (!OidIsValid(function))
		elog(ERROR, "type %u has no order", type);
	return function;
}

/* Where each counter stands in a group's delta, and its function; in CurrentMemoryContext. */
TdCarried *
td_counters(const TdPlan *plan)
{
	static const int widths[] = {
		[TD_COUNTER_ADD] = 1,[TD_COUNTER_MIN] = 2,[TD_COUNTER_MAX] = 2,[TD_COUNTER_RECOMPUTE] = 0,[TD_COUNTER_IMAGE] = 3
	};
	TdCarried  *counters = palloc0(sizeof(TdCarried) * Max(plan->ncounters, 1));
	int			delta = plan->nkeys + 1;

	for (int i = 0; i < plan->ncounters; i++)
	{
		const TdStateColumn *column = &plan->state[plan->nkeys + 1 + i];

		counters[i].delta = delta;
		counters[i].collation = column->collation;
		delta += widths[plan->counters[i]];
		if (plan->counters[i] == TD_COUNTER_ADD)
			fmgr_info(addition(column->type), &counters[i].function);
		else if (plan->counters[i] == TD_COUNTER_MIN || plan->counters[i] == TD_COUNTER_MAX)
			fmgr_info(comparison(column->type), &counters[i].function);
	}
	return counters;
}

/* Is a better than b, which may be the same: less for MIN, greater for MAX? */
static bool
reaches(Merge *m, int i, NullableDatum a, NullableDatum b, bool or_equal)
{
	TdCarried  *c = &m->tick->run->kept->counters[i];
	int			order = DatumGetInt32(FunctionCall2Coll(&c->function, c->collation, a.value, b.value));

	if (m->plan->counters[i] == TD_COUNTER_MAX)
		order = -order;
	return order < 0 || (or_equal && order == 0);
}

/* The better one of what there is. */
static NullableDatum
extremum(Merge *m, int i, NullableDatum old, NullableDatum added)
{
	if (added.isnull)
		return old;
	if (old.isnull)
		return added;
	return reaches(m, i, added, old, false) ? added : old;
}

static NullableDatum
column(TupleTableSlot *slot, int i)
{
	return slot ? (NullableDatum) {slot->tts_values[i], slot->tts_isnull[i]} : (NullableDatum) {(Datum) 0, true};
}

/* May the last row whose keys look as those of the group have gone?  Hashes of them and of what has gone; null = nothing looks different. */
static bool
is_image_lost(NullableDatum kept, NullableDatum least, NullableDatum most)
{
	return !kept.isnull && !least.isnull && DatumGetInt64(least.value) <= DatumGetInt64(kept.value) && DatumGetInt64(kept.value) <= DatumGetInt64(most.value);
}

/* Can counter i not be told from the old state and the delta?  So when what was taken away may have been the extremum. */
static bool
is_lost(Merge *m, int i, TupleTableSlot *old, TupleTableSlot *delta)
{
	int			at = m->tick->run->kept->counters[i].delta;
	NullableDatum removed,
				best;

	switch (m->plan->counters[i])
	{
		case TD_COUNTER_ADD:
			return false;
		case TD_COUNTER_RECOMPUTE:
			return true;
		case TD_COUNTER_MIN:
		case TD_COUNTER_MAX:
			removed = column(delta, at + 1);
			if (removed.isnull)
				return false;
			best = extremum(m, i, column(old, m->plan->nkeys + 1 + i), column(delta, at));
			return best.isnull || reaches(m, i, removed, best, true);
		case TD_COUNTER_IMAGE:
			return is_image_lost(column(old, m->plan->nkeys + 1 + i), column(delta, at + 1), column(delta, at + 2));
	}
	return true;
}

static NullableDatum
carry_on(Merge *m, int i, TupleTableSlot *old, TupleTableSlot *delta)
{
	TdCarried  *c = &m->tick->run->kept->counters[i];
	NullableDatum before = column(old, m->plan->nkeys + 1 + i);
	NullableDatum change = column(delta, c->delta);

	if (m->plan->counters[i] == TD_COUNTER_IMAGE)
		return old ? before : change;
	if (m->plan->counters[i] != TD_COUNTER_ADD)
		return extremum(m, i, before, change);
	if (before.isnull || change.isnull)
		return before.isnull ? change : before;
	return (NullableDatum) {FunctionCall2Coll(&c->function, c->collation, before.value, change.value), false};
}

/* ---- a group ---- */

/* The state row of a group; not in the memory of one row: an index scan keeps what it allocates. */
static TupleTableSlot *
find_state(Merge *m, TupleTableSlot *group)
{
	MemoryContext old = MemoryContextSwitchTo(m->tick->context);
	TupleTableSlot *found = td_store_find(m->state, group, m->tick->run->kept->keys);

	MemoryContextSwitchTo(old);
	return found;
}

static void
not_what_it_should_be(Merge *m, int64 before, int64 change)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the state of view %s does not fit what its tables have lost", m->tick->run->view->name),
			 errdetail("A group of %lld rows changes by %lld.", (long long) before, (long long) change),
			 errhint("SELECT tapdata.refresh_view(%s) computes it anew.", quote_literal_cstr(m->tick->run->view->name))));
}

static int64
rows_after(Merge *m, TupleTableSlot *old, TupleTableSlot *delta)
{
	int			n = m->plan->nkeys;
	int64		before = old ? DatumGetInt64(old->tts_values[n]) : 0;
	int64		change = DatumGetInt64(delta->tts_values[n]);
	int64		after;

	if (pg_add_s64_overflow(before, change, &after) || after < 0 || (old == NULL && m->plan->shape->one_group))
		not_what_it_should_be(m, before, change);
	return after;
}

static void
put_state(Merge *m, TupleTableSlot *old, TupleTableSlot *delta, int64 rows)
{
	TupleTableSlot *group = old ? old : delta;
	int			n = m->plan->nkeys;

	ExecClearTuple(m->row);
	memcpy(m->row->tts_values, group->tts_values, n * sizeof(Datum));
	memcpy(m->row->tts_isnull, group->tts_isnull, n * sizeof(bool));
	m->row->tts_values[n] = Int64GetDatum(rows);
	m->row->tts_isnull[n] = false;
	for (int i = 0; i < m->plan->ncounters; i++)
	{
		NullableDatum value = carry_on(m, i, old, delta);

		m->row->tts_values[n + 1 + i] = value.value;
		m->row->tts_isnull[n + 1 + i] = value.isnull;
	}
	m->row->tts_values[n + 1 + m->plan->ncounters] = Int64GetDatum(1);
	m->row->tts_isnull[n + 1 + m->plan->ncounters] = false;
	td_net_add(m->net, ExecStoreVirtualTuple(m->row), 1);
}

/* One group's delta. */
static void
merge_group(TupleTableSlot *delta, void *arg)
{
	Merge	   *m = arg;
	TupleTableSlot *old = find_state(m, delta);
	int64		rows;

	slot_getallattrs(delta);
	if (old)
	{
		slot_getallattrs(old);
		td_net_add(m->net, old, -1);
	}
	rows = rows_after(m, old, delta);
	if (rows == 0 && !m->plan->shape->one_group)
		return;
	for (int i = 0; i < m->plan->ncounters; i++)
		if (is_lost(m, i, old, delta))
		{
			td_key_sets_add(m->tick, &m->again, m->keys, old ? old : delta);
			return;
		}
	put_state(m, old, delta, rows);
}

/* A state row computed anew. */
static void
take_group(TupleTableSlot *slot, void *arg)
{
	Merge	   *m = arg;

	td_net_add(m->net, td_weighed(m->row, slot, 1), 1);
}

static void
compute_again(Merge *m)
{
	TdViewRun  *run = m->tick->run;
	ListCell   *lc;

	if (m->again != NIL)
		m->tick->ran = TD_RAN_GROUPS;
	foreach(lc, m->again)
	{
		TdKeySet   *again = lfirst(lc);
		TdSource	k = {"k", m->keys->tts_tupleDescriptor, again->keys, (double) again->n};

		if (m->plan->nkeys == 0)
			td_execute(run, m->plan->core_sql, 0, NULL, false, take_group, m);
		else
			td_execute(run, td_groups_text(run, again->null_mask), 1, &k, false, take_group, m);
		td_tick_tuplestore_end(m->tick, again->keys);
	}
}

/* ---- the view ---- */

/* Output rows with their weights of state rows (desc: with a weight, too). */
void
td_output_of(TdTick *t, TupleDesc desc, Tuplestorestate *s, int64 nrows, TdReceive receive, void *arg)
{
	TdSource	source = {"s", desc, s, (double) nrows};

	td_execute(t->run, t->run->plan->output_sql, 1, &source, false, receive, arg);
}

void
td_apply_state(TdTick *t, TdStore *state, TdNet *net)
{
	Tuplestorestate *s = td_tick_tuplestore(t);
	int64		rows = td_net_finish(net, s);
	TdStore    *view;
	TdFeed		feed;

	td_cost_computed(t);
	if (rows > 0)
	{
		td_store_apply(state, s);
		view = td_open_view(t);
		feed = (TdFeed) {td_tick_net(t, td_store_desc(view)), NULL, 1, 0};
		td_output_of(t, td_store_desc(state), s, rows, td_feed_row, &feed);
		td_apply_to_view(t, view, feed.net);
		td_store_close(view);
	}
	td_tick_tuplestore_end(t, s);
}

/* The text gives one row per touched group. */
void
td_merge_groups(TdTick *t, const TdText *text)
{
	TdStore    *state = td_open_state(t);
	Merge		m = {t, t->run->plan, state};

	m.net = td_tick_net(t, td_store_desc(state));
	m.row = MakeSingleTupleTableSlot(td_store_desc(state), &TTSOpsVirtual);
	m.keys = MakeSingleTupleTableSlot(td_key_desc(m.plan->nkeys, m.plan->state), &TTSOpsVirtual);
	td_execute_delta(t, text, merge_group, &m);
	compute_again(&m);
	td_apply_state(t, state, m.net);
	ExecDropSingleTupleTableSlot(m.row);
	ExecDropSingleTupleTableSlot(m.keys);
	td_store_close(state);
}
