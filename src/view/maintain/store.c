/*-------------------------------------------------------------------------
 *
 * store.c
 *		A table that only we write: signed rows in, without SQL.
 *
 * NOTES
 *		View worker and fill worker, inside a transaction, with the rights of the
 *		view's owner.  A store lives within one tick and one (sub)transaction; all
 *		its memory is in one context below the caller's.
 *
 *		A delta is applied as deletes, then updates, then inserts, so that no
 *		unique index is violated on the way by a delta that leaves it whole.
 *		Updates may swap values of a unique index of the user's own: where there is
 *		one, they are a delete and an insert.  Each step is a command of its own: it
 *		sees what the one before it did.
 *
 *		No trigger is fired.  The relation stays locked (RowExclusiveLock) until
 *		the transaction ends.
 *
 * src/view/maintain/store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "view/maintain/store_internal.h"
#include "workers/workers.h"

#define STORE_SHARE 2			/* of tapdata.worker_memory: nothing else is big while a store is written */

typedef void (*StepFunction) (TdStore *s, TdRowPair *pair);

static void apply_keyed(TdStore *s, Tuplestorestate *delta);
static void apply_images(TdStore *s, Tuplestorestate *delta);

/* A snapshot of our own, which we may bring up to date. */
static Snapshot
own_snapshot(void)
{
	Snapshot	snapshot;

	PushCopiedSnapshot(GetActiveSnapshot());
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	PopActiveSnapshot();
	return snapshot;
}

/* Is there a unique index besides the one that rows are found by? */
static bool
has_other_unique(const TdStore *s)
{
	for (int i = 0; i < s->target.rri->ri_NumIndices; i++)
	{
		Relation	index = s->target.rri->ri_IndexRelationDescs[i];

		if (index->rd_index->indisunique && index != s->index)
			return true;
	}
	return false;
}

/* In a schema that is tapdata's own. */
static bool
is_hidden(Relation rel)
{
	return td_is_of_part(RelationGetRelid(rel)) || RelationGetNamespace(rel) == get_namespace_oid("tapdata_state", true);
}

TdStore *
td_store_open(Oid relid, int nkeys, const AttrNumber *keys)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata store", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	TdStore    *s = palloc0(sizeof(TdStore));

	td_store_target_open(&s->target, relid, context);
	s->nkeys = nkeys;
	s->keys = palloc(sizeof(AttrNumber) * Max(nkeys, 1));
	for (int i = 0; i < nkeys; i++)
	{
		if (keys[i] < 1 || keys[i] > s->target.ncolumns)
			elog(ERROR, "view %s has no column %d", td_store_target_name(&s->target), keys[i]);
		s->keys[i] = keys[i];
	}
	s->snapshot = own_snapshot();
	s->found = table_slot_create(s->target.rel, NULL);
	s->image = table_slot_create(s->target.rel, NULL);
	s->input = MakeSingleTupleTableSlot(s->target.desc, &TTSOpsMinimalTuple);
	s->output = MakeSingleTupleTableSlot(s->target.desc, &TTSOpsVirtual);
	td_store_probe_open(s);
	s->swaps = has_other_unique(s);
	s->hidden = is_hidden(s->target.rel);
	MemoryContextSwitchTo(caller);
	return s;
}

void
td_store_close(TdStore *s)
{
	td_store_probe_close(s);
	ExecDropSingleTupleTableSlot(s->found);
	ExecDropSingleTupleTableSlot(s->image);
	ExecDropSingleTupleTableSlot(s->input);
	ExecDropSingleTupleTableSlot(s->output);
	UnregisterSnapshot(s->snapshot);
	td_store_target_close(&s->target);
	MemoryContextDelete(s->target.context);
}

TupleDesc
td_store_desc(TdStore *s)
{
	return s->target.desc;
}

/* A row of the table as td_store_desc has it, weight 1; its values are where they were. */
TupleTableSlot *
td_store_output(TdStore *s, TupleTableSlot *row)
{
	TdTarget   *t = &s->target;

	slot_getallattrs(row);
	ExecClearTuple(s->output);
	for (int i = 0; i < t->ncolumns; i++)
	{
		s->output->tts_values[i] = row->tts_values[t->attnums[i] - 1];
		s->output->tts_isnull[i] = row->tts_isnull[t->attnums[i] - 1];
	}
	s->output->tts_values[t->ncolumns] = Int64GetDatum(1);
	s->output->tts_isnull[t->ncolumns] = false;
	return ExecStoreVirtualTuple(s->output);
}

/* The values are in the page, which stays pinned until the next call. */
TupleTableSlot *
td_store_find(TdStore *s, TupleTableSlot *slot, const AttrNumber *from)
{
	if (s->by_image)
		elog(ERROR, "rows of view %s have no key", td_store_target_name(&s->target));
	ExecClearTuple(s->output);
	if (!td_store_probe_key(s, slot, from))
		return NULL;
	return td_store_output(s, s->found);
}

void
td_store_apply(TdStore *s, Tuplestorestate *delta)
{
	if (tuplestore_tuple_count(delta) == 0)
		return;
	ExecClearTuple(s->output);
	tuplestore_select_read_pointer(delta, 0);
	if (s->by_image)
		apply_images(s, delta);
	else
		apply_keyed(s, delta);
	ExecClearTuple(s->found);
}

/* What was written becomes visible, to us. */
static void
end_step(TdStore *s)
{
	td_store_target_flush(&s->target);
	CommandCounterIncrement();
}

/*
 * In PG_CATCH: when it was the key's own index that has refused a row, the
 * view is not what it should be.  A user's index is the user's affair.
 */
static void
rethrow_insert(TdStore *s, MemoryContext caller)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(caller);
	edata = CopyErrorData();
	if (edata->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || s->index == NULL || edata->constraint_name == NULL ||
		strcmp(edata->constraint_name, RelationGetRelationName(s->index)) != 0)
		PG_RE_THROW();
	FlushErrorState();
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("view %s is not what it should be", td_store_target_name(&s->target)),
			 edata->detail ? errdetail("A row to insert is there.  %s", edata->detail) : 0,
			 errhint("SELECT tapdata.refresh_view(...) computes it anew.")));
}

/* ---- with a key ---- */

static void
store_input(TdStore *s, MinimalTuple tuple)
{
	ExecStoreMinimalTuple(tuple, s->input, false);
}

static void
delete_old(TdStore *s, TdRowPair *pair)
{
	if (pair->old_row == NULL || (pair->new_row && !s->swaps))
		return;
	store_input(s, pair->old_row);
	if (!td_store_probe_key(s, s->input, s->keys))
		td_store_damaged(s, s->input, pair->new_row ? "A row to update is not there" : "A row to delete is not there");
	td_store_delete_found(s);
}

static void
update_old(TdStore *s, TdRowPair *pair)
{
	if (pair->old_row == NULL || pair->new_row == NULL || s->swaps)
		return;
	store_input(s, pair->new_row);
	if (!td_store_probe_key(s, s->input, s->keys))
		td_store_damaged(s, s->input, "A row to update is not there");
	td_store_update_found(s, s->input);
}

static void
insert_new(TdStore *s, TdRowPair *pair)
{
	if (pair->new_row == NULL || (pair->old_row && !s->swaps))
		return;
	store_input(s, pair->new_row);
	if (s->index == NULL && td_store_probe_key(s, s->input, s->keys))
		td_store_damaged(s, s->input, "A row to insert is there");
	td_store_target_add(&s->target, s->input);
}

/* One step over all pairs. */
static void
run_step(TdStore *s, TdPairs *pairs, StepFunction step)
{
	for (TdRowPair *pair = td_pairs_first(pairs); pair; pair = pair->next)
	{
		step(s, pair);
		CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(s->input);
}

static void
run_steps(TdStore *s, Tuplestorestate **parts, int nparts)
{
	static const StepFunction steps[] = {delete_old, update_old, insert_new};
	TdPairs    *pairs = NULL;

	for (int i = 0; i < lengthof(steps); i++)
	{
		for (int part = 0; part < nparts; part++)
		{
			if (pairs && nparts > 1)
				td_pairs_free(pairs);
			if (pairs == NULL || nparts > 1)
				pairs = td_pairs_load(s, parts[part]);
			run_step(s, pairs, steps[i]);
		}
		end_step(s);
	}
}

static void
apply_keyed(TdStore *s, Tuplestorestate *delta)
{
	MemoryContext context = AllocSetContextCreate(s->target.context, "tapdata store delta", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	int			nparts;
	Tuplestorestate **parts = td_pairs_split(s, delta, (Size) td_worker_memory * 1024 / STORE_SHARE, &nparts);

	PG_TRY();
	{
		run_steps(s, parts, nparts);
	}
	PG_CATCH();
	{
		rethrow_insert(s, context);
	}
	PG_END_TRY();
	for (int i = 0; i < nparts && nparts > 1; i++)
		tuplestore_end(parts[i]);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* ---- without a key ---- */

/* Deletes as many rows of this image as the weight says. */
static void
delete_images(TdStore *s, int64 copies)
{
	td_store_target_fill(&s->target, s->input, s->image);
	td_store_probe_image(s, s->image);
	for (; copies > 0; copies--)
	{
		if (!td_store_probe_image_next(s, s->image))
			td_store_damaged(s, s->input, "A row to delete is not there");
		td_store_delete_found(s);
		CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(s->image);
	ResetPerTupleExprContext(s->target.estate);
}

static void
apply_images(TdStore *s, Tuplestorestate *delta)
{
	bool		should_free;

	tuplestore_rescan(delta);
	while (tuplestore_gettupleslot(delta, true, false, s->input))
	{
		int64		weight = td_weight_of(ExecFetchSlotMinimalTuple(s->input, &should_free));

		if (weight < 0)
			delete_images(s, -weight);
	}
	end_step(s);
	tuplestore_rescan(delta);
	while (tuplestore_gettupleslot(delta, true, false, s->input))
	{
		int64		weight = td_weight_of(ExecFetchSlotMinimalTuple(s->input, &should_free));

		for (; weight > 0; weight--)
			td_store_target_add(&s->target, s->input);
		CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(s->input);
	end_step(s);
}
