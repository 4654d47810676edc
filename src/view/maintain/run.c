/*-------------------------------------------------------------------------
 *
 * run.c
 *		One view: planned, and kept in a tick.
 *
 * NOTES
 *		View worker and fill worker; also backends in tests.  Everything is done
 *		as the view's owner (scope.c), within the caller's transaction.
 *
 *		A tick is one pass: deltas of the tables -> leaves -> one statement over
 *		whatever has changed -> a net of signed rows -> the core's table, and for
 *		groups (merge.c) on to the view's table.  The net of what goes into the
 *		view's table is the view's own delta, for the views above it and its feed
 *		(feed.c).
 *
 *		Memory: what a tick takes hangs below CurTransactionContext, so that the
 *		abort of the caller's subtransaction frees it; nets and tuplestores spill.
 *		Errors leave nothing behind but what that abort cleans: tables are open by
 *		resource owner, SPI and snapshots are nested by subtransaction.  Only the
 *		view's own delta stays in the caller's deltas; it belongs to a view that
 *		has failed then, and so have those above it.
 *
 *		Locks: those that stores and statements take by themselves; the tick has
 *		taken them before.
 *
 * IDENTIFICATION
 *		src/view/maintain/run.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "view/maintain/run_internal.h"
#include "workers/workers.h"

#define MOST_CHANGED 8			/* occurrences, for which a delta is computed */

static bool has_columns(const TdViewRun *run, TupleDesc desc, bool state);

/* ---- making a run ---- */

static void
plan_view(TdViewRun *run)
{
	int			level = td_scope_write_texts();
	TdQuestion	question = {td_twin_query(run->view->query), run->view->owner, run->view->keeps, run->view->allow_full};
	TdCounted	proofs = {false, td_twin_proofs(run->view->query), CurrentMemoryContext};
	TdError		err = {0};

	td_require_casts(question.query);
	run->shape = td_analyze_counting(&question, &proofs, &err);
	if (run->shape == NULL)
		td_error_raise_own(&err);
	td_shape_require_execute(run->shape, run->view->owner);
	td_shape_learn(run->shape, run->view->id);
	run->plan = td_plan(run->shape);
	run->fingerprint = td_fingerprint(run->shape);
	AtEOXact_GUC(false, level);
}

/* As the owner: to open the indexes of a table is to evaluate constants in their expressions and predicates. */
bool
td_run_is_stale(const TdViewRun *run)
{
	TdViewScope scope;
	bool		stale;

	td_scope_enter(&scope, run->view, false);
	stale = td_store_is_stale(run->view->relation) || (OidIsValid(run->state_relid) && td_store_is_stale(run->state_relid));
	td_scope_leave(&scope);
	return stale;
}

/* InvalidOid = it has none. */
Oid
td_state_table(const TdView *view)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "v%d_1", view->id);
	return get_relname_relid(name, get_namespace_oid("tapdata_state", false));
}

static Oid
require_state_table(const TdView *view)
{
	Oid			relid = td_state_table(view);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the state of view %s is gone", view->name),
				 errdetail("There is no table tapdata_state.v%d_1.", view->id),
				 errhint("Drop the view and create it again.")));
	return relid;
}

/* Has a table of ours, which its owner may have altered, the columns for this run?  Their numbers go to attnums. */
static bool
table_fits(const TdViewRun *run, Oid relid, bool state, AttrNumber *attnums)
{
	Relation	rel = try_table_open(relid, AccessShareLock);
	TupleDesc	all,
				live;
	int			n = 0;
	bool		fits;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of view %s is gone", run->view->name)));
	all = RelationGetDescr(rel);
	for (int i = 0; i < all->natts; i++)
		n += !TupleDescAttr(all, i)->attisdropped;
	live = CreateTemplateTupleDesc(n + 1);
	n = 0;
	for (int i = 1; i <= all->natts; i++)
		if (!TupleDescAttr(all, i - 1)->attisdropped)
			TupleDescCopyEntry(live, ++n, all, i);
	fits = has_columns(run, live, state);
	for (int i = all->natts; fits && attnums && i > 0; i--)
		if (!TupleDescAttr(all, i - 1)->attisdropped)
			attnums[--n] = i;
	table_close(rel, NoLock);
	return fits;
}

static void
require_columns(const TdViewRun *run, bool has, bool state)
{
	if (!has)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 state ? errmsg("the state table of view %s does not have the columns of its query any more", run->view->name)
				 : errmsg("the table of view %s does not have the columns of its query any more", run->view->name),
				 errhint("Drop the view and create it again: SELECT tapdata.drop_view(%s).", quote_literal_cstr(run->view->name))));
}

bool
td_run_fits(const TdShape *shape, void *view)
{
	TdViewRun	run = {.view = view,.shape = unconstify(TdShape *, shape),.plan = td_plan(shape)};
	Oid			state = td_state_table(view);

	return table_fits(&run, run.view->relation, false, NULL) && OidIsValid(state) == (run.plan->nstate > 0) && (!OidIsValid(state) || table_fits(&run, state, true, NULL));
}

static TdRunKept *
make_kept(const TdViewRun *run)
{
	TdRunKept  *kept = palloc0(sizeof(TdRunKept));
	int			n = Max(run->shape->ncolumns, run->plan->nkeys) + 1;
	ListCell   *lc;

	kept->keys = palloc(sizeof(AttrNumber) * n);
	for (int i = 0; i < n; i++)
		kept->keys[i] = i + 1;
	kept->attnums = palloc(sizeof(AttrNumber) * n);
	kept->unique = palloc(sizeof(AttrNumber) * (list_length(run->shape->unique) + 1));
	foreach(lc, run->shape->unique)
		kept->unique[kept->nunique++] = lfirst_int(lc);
	if (run->plan->grouped)
		kept->counters = td_counters(run->plan);
	return kept;
}

/* Plans under the view's own settings: constants are written and read again by the same. */
TdViewRun *
td_run_create(TdView *view, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "tapdata view", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TdViewRun  *run = palloc0(sizeof(TdViewRun));
	TdViewScope scope;

	run->view = view;
	run->context = context;
	run->whole_ms = view->whole_ms;
	PG_TRY();
	{
		td_scope_enter(&scope, view, false);
		plan_view(run);
		run->kept = make_kept(run);
		require_columns(run, table_fits(run, view->relation, false, run->kept->attnums), false);
		(void) td_feed_look_up(run);
		if (run->plan->nstate > 0)
		{
			run->state_relid = require_state_table(view);
			require_columns(run, table_fits(run, run->state_relid, true, NULL), true);
		}
		td_scope_leave(&scope);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return run;
}

void
td_run_destroy(TdViewRun *run)
{
	td_statements_forget(run);
	MemoryContextDelete(run->context);
}

void
td_run_succeed(TdViewRun *run, TdViewRun *old)
{
	run->whole_ms = old->whole_ms;
	run->whole_measured = old->whole_measured;
	run->ticks = old->ticks;
	run->recomputes = old->recomputes;
	run->kept->owed = old->kept->owed;
	memcpy(run->counts, old->counts, sizeof(run->counts));
}

/* ---- what must hold before a run ---- */

static bool
may_read(Oid owner, const TdOccurrence *o)
{
	int			column = -1;

	if (pg_class_aclcheck(o->relid, owner, ACL_SELECT) == ACLCHECK_OK)
		return true;
	if (bms_is_empty(o->columns))
		return pg_attribute_aclcheck_all(o->relid, owner, ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK;
	while ((column = bms_next_member(o->columns, column)) >= 0)
		if (pg_attribute_aclcheck(o->relid, column, owner, ACL_SELECT) != ACLCHECK_OK)
			return false;
	return true;
}

/* Statements over deltas alone would not ask, and kept plans not again: BYPASSRLS and memberships go without DDL on the table. */
void
td_run_require_rights(const TdViewRun *run)
{
	for (int i = 0; i < run->shape->noccurrences; i++)
	{
		const TdOccurrence *o = &run->shape->occurrences[i];
		char	   *name;

		if (check_enable_rls(o->relid, run->view->owner, true) == RLS_ENABLED)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("row-level security of table %s applies to the owner of view %s now", quote_identifier(get_rel_name(o->relid)), run->view->name),
					 errhint("Let the owner bypass it (ALTER ROLE ... BYPASSRLS), then call SELECT tapdata.refresh_view(%s).", quote_literal_cstr(run->view->name))));
		if (may_read(run->view->owner, o))
			continue;
		name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(o->relid)), get_rel_name(o->relid));
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of view %s may not read %s any more", run->view->name, name),
				 errhint("Grant SELECT on %s to %s, then call SELECT tapdata.refresh_view(%s).",
						 name, quote_identifier(GetUserNameFromId(run->view->owner, false)), quote_literal_cstr(run->view->name))));
	}
}

/* desc: the table's columns that are not dropped, and one more. */
static bool
has_columns(const TdViewRun *run, TupleDesc desc, bool state)
{
	int			n = state ? run->plan->nstate : run->shape->ncolumns;
	bool		same = desc->natts == n + 1;

	for (int i = 0; i < n && same; i++)
	{
		Form_pg_attribute a = TupleDescAttr(desc, i);
		const char *name = state ? run->plan->state[i].name : run->shape->columns[i].name;
		Oid			type = state ? run->plan->state[i].type : run->shape->columns[i].type;

		same = a->atttypid == type && strcmp(NameStr(a->attname), name) == 0;
	}
	return same;
}

/* ---- what the steps of a run share ---- */

Tuplestorestate *
td_tick_tuplestore(TdTick *t)
{
	MemoryContext old = MemoryContextSwitchTo(t->context);
	Tuplestorestate *store = tuplestore_begin_heap(false, false, t->store_kb);

	t->stores = lappend(t->stores, store);
	MemoryContextSwitchTo(old);
	return store;
}

/* One that is not needed any more, before the run ends. */
void
td_tick_tuplestore_end(TdTick *t, Tuplestorestate *store)
{
	t->stores = list_delete_ptr(t->stores, store);
	tuplestore_end(store);
}

TdNet *
td_tick_net(TdTick *t, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(t->context);
	TdNet	   *net = td_net_create(desc, t->net_limit);

	MemoryContextSwitchTo(old);
	return net;
}

TdStore *
td_open_view(TdTick *t)
{
	const TdRunKept *kept = t->run->kept;
	MemoryContext old = MemoryContextSwitchTo(t->context);
	TdStore    *store = td_store_open(t->run->view->relation, kept->nunique, kept->unique);

	MemoryContextSwitchTo(old);
	require_columns(t->run, has_columns(t->run, td_store_desc(store), false), false);
	return store;
}

TdStore *
td_open_state(TdTick *t)
{
	MemoryContext old = MemoryContextSwitchTo(t->context);
	TdStore    *store = td_store_open(t->run->state_relid, t->run->plan->grouped ? t->run->plan->nkeys : 0, t->run->kept->keys);

	MemoryContextSwitchTo(old);
	require_columns(t->run, has_columns(t->run, td_store_desc(store), true), true);
	return store;
}

TupleTableSlot *
td_weighed(TupleTableSlot *to, TupleTableSlot *from, int64 weight)
{
	int			n = to->tts_tupleDescriptor->natts - 1;

	slot_getsomeattrs(from, n);
	ExecClearTuple(to);
	memcpy(to->tts_values, from->tts_values, n * sizeof(Datum));
	memcpy(to->tts_isnull, from->tts_isnull, n * sizeof(bool));
	to->tts_values[n] = Int64GetDatum(weight);
	to->tts_isnull[n] = false;
	return ExecStoreVirtualTuple(to);
}

void
td_feed_row(TupleTableSlot *slot, void *arg)
{
	TdFeed	   *feed = arg;

	td_net_add(feed->net, feed->weighed ? td_weighed(feed->weighed, slot, 1) : slot, feed->sign);
	feed->rows++;
}

void
td_apply_to_view(TdTick *t, TdStore *store, TdNet *net)
{
	Tuplestorestate *rows;

	td_cost_computed(t);
	if (t->deltas == NULL)
	{
		rows = td_tick_tuplestore(t);
		t->changed += td_net_finish(net, rows);
	}
	else
	{
		TdDelta    *own = td_deltas_add(t->deltas, t->run->view->relation, td_store_desc(store), t->run->kept->attnums);

		own->nrows = td_net_finish(net, own->rows);
		t->changed += own->nrows;
		rows = own->rows;
	}
	if (t->changed > 0)
		td_store_apply(store, rows);
	if (t->feed && tuplestore_tuple_count(rows) > 0)
		td_feed_write(t, td_store_desc(store), rows);
}

/* ---- texts ---- */

/* By the occurrences that have changed, or (NULL) by the nulls of keys. */
static char *
write_text(const TdPlan *plan, const Bitmapset *changed, uint32 null_mask)
{
	if (plan->shape->keyed)
		return changed ? td_plan_affected(plan, changed) : td_plan_keyed(plan, null_mask);
	return changed ? td_plan_delta(plan, changed) : td_plan_groups(plan, null_mask);
}

static const TdText *
keep_text(TdViewRun *run, List **texts, const Bitmapset *changed, uint32 null_mask)
{
	int			level = td_scope_write_texts();
	char	   *sql = write_text(run->plan, changed, null_mask);
	char	   *otherwise = changed ? td_plan_delta_otherwise(run->plan, changed) : NULL;
	MemoryContext old = MemoryContextSwitchTo(run->context);
	TdText	   *text = palloc0(sizeof(TdText));

	text->changed = bms_copy(changed);
	text->null_mask = null_mask;
	text->sql = sql ? pstrdup(sql) : NULL;
	text->otherwise = otherwise ? pstrdup(otherwise) : NULL;
	AtEOXact_GUC(false, level);
	*texts = lappend(*texts, text);
	MemoryContextSwitchTo(old);
	return text;
}

static void
forget_text(TdText *text)
{
	bms_free(text->changed);
	if (text->sql)
		pfree(text->sql);
	if (text->otherwise)
		pfree(text->otherwise);
	pfree(text);
}

/* There are 2^occurrences of them: past some, the oldest goes. */
const TdText *
td_delta_text(TdViewRun *run, const Bitmapset *changed)
{
	List	  **texts = &run->kept->deltas;
	ListCell   *lc;

	foreach(lc, *texts)
		if (bms_equal(((TdText *) lfirst(lc))->changed, changed))
			return lfirst(lc);
	if (list_length(*texts) >= 64)
	{
		forget_text(linitial(*texts));
		*texts = list_delete_first(*texts);
	}
	return keep_text(run, texts, changed, 0);
}

const char *
td_groups_text(TdViewRun *run, uint32 null_mask)
{
	ListCell   *lc;

	foreach(lc, run->kept->groups)
		if (((TdText *) lfirst(lc))->null_mask == null_mask)
			return ((TdText *) lfirst(lc))->sql;
	return keep_text(run, &run->kept->groups, NULL, null_mask)->sql;
}

/* Over what has changed. */
void
td_execute_delta(TdTick *t, const TdText *text, TdReceive receive, void *arg)
{
	td_execute_cheaper(t->run, text->sql, text->otherwise, t->nsources, t->sources, false, receive, arg);
}

/* ---- the delta of a view ---- */

static const TdLeaf *
leaf_of(const TdPlan *plan, int occurrence)
{
	ListCell   *lc;

	foreach(lc, plan->leaves)
		if (((TdLeaf *) lfirst(lc))->occurrence == occurrence)
			return lfirst(lc);
	return NULL;
}

/* The delta of a table is one source, however often the table is used. */
static void
add_delta_source(TdSource *sources, int *nsources, const TdOccurrence *o, const TdDelta *delta)
{
	for (int i = 0; i < *nsources; i++)
		if (sources[i].rows == delta->rows)
			return;
	sources[(*nsources)++] = td_delta_source(o, delta);
}

/* Which occurrences have changed, and with what. */
static Bitmapset *
changed_occurrences(TdTick *t)
{
	const TdShape *shape = t->run->shape;
	Bitmapset  *changed = NULL;

	for (int i = 0; i < shape->noccurrences; i++)
	{
		const TdOccurrence *o = &shape->occurrences[i];
		const TdDelta *delta = td_deltas_get(t->deltas, td_source_of(o));
		const TdLeaf *leaf = leaf_of(t->run->plan, o->n);

		if (delta == NULL || delta->nrows == 0)
			continue;
		if (leaf == NULL)
			add_delta_source(t->sources, &t->nsources, o, delta);
		else if (td_leaf_make(t, leaf, o, delta, &t->sources[t->nsources]))
			t->nsources++;
		else
			continue;
		changed = bms_add_member(changed, o->n);
	}
	return changed;
}

static void
add_rows(TdTick *t, const TdText *text)
{
	TdStore    *store = td_open_view(t);
	TdFeed		feed = {td_tick_net(t, td_store_desc(store)), NULL, 1, 0};

	td_execute_delta(t, text, td_feed_row, &feed);
	td_apply_to_view(t, store, feed.net);
	td_store_close(store);
}

static void
add_delta(TdTick *t)
{
	const TdViewRun *run = t->run;

	t->ran = run->shape->keyed ? TD_RAN_KEYED : TD_RAN_DELTA;
	if (run->shape->keyed)
		td_run_keyed(t);
	else if (run->plan->grouped)
		td_merge_groups(t, td_delta_text(t->run, t->touched));
	else
		add_rows(t, td_delta_text(t->run, t->touched));
}

/* The delta of n changed occurrences has 2^n - 1 terms: past a few it costs more than the query does. */
static void
run_delta(TdTick *t)
{
	const TdViewRun *run = t->run;

	t->touched = changed_occurrences(t);
	if (t->touched == NULL)
		return;
	if (run->shape->keyed && td_delta_text(t->run, t->touched)->sql == NULL)
		td_recompute(t, run->shape->topk ? TD_RAN_TOPK : TD_RAN_FULL);
	else if (!run->shape->keyed && bms_num_members(t->touched) > MOST_CHANGED)
		td_recompute(t, TD_RAN_COST);
	else if (td_cost_too_much(t) || !td_cost_try(t, add_delta))
		td_recompute(t, TD_RAN_COST);
}

static void
run_whole(TdTick *t)
{
	td_recompute(t, t->ran);
}

/* ---- a run ---- */

bool
td_run_is_whole(const TdViewRun *run)
{
	return run->shape->keyed && run->shape->keyed->nkeys == 0 && !run->shape->topk;
}

/* Is there anything to do?  What is unknown can only be computed anew. */
static bool
is_touched(const TdViewRun *run, TdDeltas *deltas, TdRan *recompute)
{
	bool		touched = *recompute != TD_RAN_NOTHING;

	for (int i = 0; i < run->shape->noccurrences; i++)
	{
		const TdDelta *delta = td_deltas_get(deltas, td_source_of(&run->shape->occurrences[i]));

		if (delta == NULL)
			continue;
		if (delta->unknown && !*recompute)
			*recompute = run->shape->topk ? TD_RAN_TOPK : td_run_is_whole(run) ? TD_RAN_FULL : TD_RAN_UNKNOWN;
		touched |= delta->unknown || delta->nrows > 0;
	}
	return touched;
}

/* Pushes the active snapshot (the transaction's, when there is none) again, with what this transaction has done by now. */
static void
push_snapshot(void)
{
	if (ActiveSnapshotSet())
		PushCopiedSnapshot(GetActiveSnapshot());
	else
		PushCopiedSnapshot(GetTransactionSnapshot());
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

/* The memory that one worker may take is split: plans get the half (scope.c), the nets and tuplestores of a run an eighth each. */
static void
begin_tick(TdTick *t, TdViewRun *run, TdDeltas *deltas)
{
	memset(t, 0, sizeof(*t));
	t->run = run;
	t->deltas = deltas;
	t->context = AllocSetContextCreate(CurTransactionContext, "tapdata view run", ALLOCSET_DEFAULT_SIZES);
	INSTR_TIME_SET_CURRENT(t->began);
	t->computed_ms = -1;
	t->store_kb = Max(td_worker_memory / 8, 64);
	t->net_limit = (Size) t->store_kb * 1024;
	t->feed = OidIsValid(run->kept->feed_relid);
}

/* Temporary files are closed; on error the resource owner does that. */
static void
end_tick(TdTick *t)
{
	ListCell   *lc;

	foreach(lc, t->stores)
		tuplestore_end(lfirst(lc));
	MemoryContextDelete(t->context);
}

static void
count_tick(TdTick *t)
{
	TdViewRun  *run = t->run;
	TdRanCount    *count = &run->counts[t->ran];

	run->last_ms = td_cost_since(t->began);
	run->ticks += TD_RAN_IS_WHOLE(t->ran) || t->changed > 0;
	run->recomputes += TD_RAN_IS_WHOLE(t->ran);
	count->n++;
	count->ms += run->last_ms;
	count->last_ms = run->last_ms;
}

/* As the owner, in memory that is gone at the end. */
static void
run_as_owner(TdTick *t, bool tick, void (*body) (TdTick *))
{
	MemoryContext old = MemoryContextSwitchTo(t->context);
	TdViewScope scope;

	td_scope_enter(&scope, t->run->view, tick);
	t->scope = &scope;
	PG_TRY();
	{
		if (tick && t->run->shape->topk)
			td_scope_by_order();
		td_run_require_rights(t->run);
		push_snapshot();
		body(t);
		PopActiveSnapshot();
	}
	PG_CATCH();
	{
		t->run->own_error = td_scope_abort(&scope) || geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE;
		PG_RE_THROW();
	}
	PG_END_TRY();
	td_scope_leave(&scope);
	MemoryContextSwitchTo(old);
	end_tick(t);
}

void
td_run_tick(TdViewRun *run, TdDeltas *deltas, TdRan recompute)
{
	TdTick		tick;

	run->own_error = false;
	if (!is_touched(run, deltas, &recompute))
		return;
	begin_tick(&tick, run, deltas);
	tick.ran = recompute;
	run_as_owner(&tick, true, recompute ? run_whole : run_delta);
	count_tick(&tick);
}

int64
td_run_fill(TdViewRun *run)
{
	TdTick		tick;

	run->own_error = false;
	begin_tick(&tick, run, NULL);
	run_as_owner(&tick, false, td_fill);
	run->whole_ms = td_cost_since(tick.began);
	return tick.rows;
}

void
td_run_take_rows(TdViewRun *run, Oid from, TdDeltas *deltas)
{
	TdTick		tick;

	begin_tick(&tick, run, deltas);
	tick.from = from;
	run_as_owner(&tick, false, td_take_rows);
}
