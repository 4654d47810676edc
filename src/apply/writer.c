/*-------------------------------------------------------------------------
 *
 * writer.c
 *		A target table opened for writing: rows in, without SQL.
 *
 * NOTES
 *		Inserts gather in slots and go to the heap by table_multi_insert, then
 *		into the indexes.  Updates and deletes work on the row that probe.c left
 *		in w->found.  Tables with row triggers that fire in a replica session go
 *		through the executor's own functions, one row at a time.
 *
 *		A writer lives within one flush and one (sub)transaction; the caller acts
 *		as the table's owner and has an active snapshot.  Row values live in the
 *		arena until the rows are written.
 *
 * src/apply/writer.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "apply/apply_internal.h"
#include "compat/compat.h"

static void open_executor(TdWriter *w);
static void prefill_defaults(TdWriter *w, TupleTableSlot *slot, const TdValue *values, bool partial);
static void finish_row(TdWriter *w, TupleTableSlot *slot, bool partial);
static void fire_deferred_at_once(void);

/* Opens the table, which the caller has open and locked.  loading: only inserts, of many rows. */
TdWriter *
td_writer_open(TdBinding *binding, Relation rel, MemoryContext parent, bool loading)
{
	MemoryContext context = AllocSetContextCreate(parent, "tapdata writer", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	TdWriter   *w = palloc0(sizeof(TdWriter));

	w->context = context;
	w->binding = binding;
	w->rel = rel;
	w->triggers = binding->row_triggers;
	w->values = palloc0(sizeof(TdValue) * Max(binding->schema->ncolumns, 1));
	w->older = palloc0(sizeof(TdValue) * Max(binding->schema->ncolumns, 1));
	w->slots = palloc0(sizeof(TupleTableSlot *) * TD_WRITER_ROWS);
	td_arena_init(&w->arena, context);
	w->bulk = GetBulkInsertState();
	if (!loading)
	{
		FreeAccessStrategy(w->bulk->strategy);	/* a few rows: no ring of their own */
		w->bulk->strategy = NULL;
	}
	open_executor(w);
	w->found = table_slot_create(rel, NULL);
	w->image = table_slot_create(rel, NULL);
	MemoryContextSwitchTo(caller);
	return w;
}

/* Executor state, indexes, defaults. */
static void
open_executor(TdWriter *w)
{
	TdBinding  *b = w->binding;
	Bitmapset  *updated = NULL;
	Bitmapset  *generated = NULL;
	TupleDesc	desc = RelationGetDescr(w->rel);

	w->estate = CreateExecutorState();
	if (w->triggers)
	{
		for (int i = 0; i < desc->natts; i++)
		{
			int			member = i + 1 - FirstLowInvalidHeapAttributeNumber;

			if (b->sources[i] >= 0)
				updated = bms_add_member(updated, member);
			if (TupleDescAttr(desc, i)->attgenerated)
				generated = bms_add_member(generated, member);
		}
		td_init_range_table_compat(w->estate, w->rel, updated, generated);
		td_eval_plan_qual_init_compat(&w->epq, w->estate);
		fire_deferred_at_once();
	}
	w->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(w->rri, w->rel, w->triggers ? 1 : 0, NULL, 0);
	w->estate->es_opened_result_relations = lappend(w->estate->es_opened_result_relations, w->rri);
	ExecOpenIndices(w->rri, false);
	w->defaults = palloc(sizeof(ExprState *) * Max(b->ndefaults, 1));
	for (int i = 0; i < b->ndefaults; i++)
		w->defaults[i] = ExecPrepareExpr(b->default_exprs[i], w->estate);
}

/* A deferred trigger would run at commit, as somebody else: all of them are immediate in our transactions. */
static void
fire_deferred_at_once(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(stmt);
}

/* Writes what waits, and closes. */
void
td_writer_close(TdWriter *w)
{
	td_writer_flush(w);
	td_probe_close(w);
	FreeBulkInsertState((BulkInsertState) w->bulk);
	ExecDropSingleTupleTableSlot(w->found);
	ExecDropSingleTupleTableSlot(w->image);
	for (int i = 0; i < w->nslots; i++)
		ExecDropSingleTupleTableSlot(w->slots[i]);
	if (w->triggers)
		EvalPlanQualEnd(&w->epq);
	ExecCloseResultRelations(w->estate);
	ExecResetTupleTable(w->estate->es_tupleTable, false);
	FreeExecutorState(w->estate);
	MemoryContextDelete(w->context);
}

/* Decodes a row.  true = some columns are absent or unchanged. */
bool
td_writer_read(TdWriter *w, TdBytes row, TdValue *values)
{
	uint32		n = w->binding->schema->ncolumns;
	unsigned	states = 0;

	if (unlikely(!td_read_row(w->binding->schema, row, values)))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("a row of table %s is damaged, or does not fit the columns its connector announced", w->binding->name),
				 errhint("This is a bug in the connector.")));
	for (uint32 i = 0; i < n; i++)
		states |= values[i].state;
	return states >= TD_ABSENT;
}

/* Back to an empty arena, unless rows that wait for the heap live in it. */
void
td_writer_rewind(TdWriter *w)
{
	if (w->nrows == 0)
		td_arena_reset(&w->arena);
	else if (w->arena.used > 16 * TD_ARENA_BLOCK)
		td_writer_flush(w);
}

/* ---- inserts ---- */

/* One more row to insert; row is where values come from, for messages.  The caller flushes when td_writer_is_full. */
void
td_writer_add(TdWriter *w, const TdValue *values, bool partial, TdBytes row)
{
	TdBinding  *b = w->binding;
	TupleTableSlot *slot;

	Assert(!td_writer_is_full(w));
	if (w->nrows == w->nslots)
	{
		MemoryContext caller = MemoryContextSwitchTo(w->context);

		w->slots[w->nslots++] = table_slot_create(w->rel, NULL);
		MemoryContextSwitchTo(caller);
	}
	slot = w->slots[w->nrows];
	ExecClearTuple(slot);
	if (!b->covers || partial)
		prefill_defaults(w, slot, values, partial);
	td_values_fill(b, values, row, &w->arena, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	finish_row(w, slot, partial);
	w->nrows++;
	w->bytes += row.len;
}

/* Columns that no value will fill: their default, else null. */
static void
prefill_defaults(TdWriter *w, TupleTableSlot *slot, const TdValue *values, bool partial)
{
	TdBinding  *b = w->binding;
	ExprContext *econtext = GetPerTupleExprContext(w->estate);
	MemoryContext caller;

	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	memset(slot->tts_values, 0, slot->tts_tupleDescriptor->natts * sizeof(Datum));
	if (b->ndefaults == 0)
		return;
	/* the values live as long as the row's others */
	caller = MemoryContextSwitchTo(w->arena.context);
	for (int i = 0; i < b->ndefaults; i++)
	{
		int			att = b->default_attnums[i] - 1;
		int			source = b->sources[att];

		if (source < 0 || (partial && values[source].state >= TD_ABSENT))
			slot->tts_values[att] = ExecEvalExpr(w->defaults[i], econtext, &slot->tts_isnull[att]);
	}
	MemoryContextSwitchTo(caller);
}

/* Generated columns and constraints of a row that is about to be written without the executor's help. */
static void
finish_row(TdWriter *w, TupleTableSlot *slot, bool partial)
{
	TdBinding  *b = w->binding;

	if (w->triggers || !(b->constraints || (partial && RelationGetDescr(w->rel)->constr)))
		return;
	slot->tts_tableOid = RelationGetRelid(w->rel);
	if (b->generated)
		ExecComputeStoredGenerated(w->rri, w->estate, slot, CMD_INSERT);	/* INSERT: all of them, whatever was updated */
	ExecConstraints(w->rri, slot, w->estate);
	ResetPerTupleExprContext(w->estate);
}

/* The rows that wait go into the heap and the indexes. */
void
td_writer_flush(TdWriter *w)
{
	MemoryContext caller;

	if (w->nrows == 0)
		return;
	if (w->triggers)
		elog(ERROR, "rows of a table with triggers were gathered");
	caller = MemoryContextSwitchTo(GetPerTupleMemoryContext(w->estate));
	table_multi_insert(w->rel, w->slots, w->nrows, GetCurrentCommandId(true), 0, (BulkInsertState) w->bulk);
	MemoryContextSwitchTo(caller);
	for (int i = 0; i < w->nrows; i++)
	{
		if (w->rri->ri_NumIndices > 0)
		{
			td_insert_index_tuples_compat(w->rri, w->slots[i], w->estate, false, false);
			ResetPerTupleExprContext(w->estate);
		}
		ExecClearTuple(w->slots[i]);
	}
	ResetPerTupleExprContext(w->estate);
	w->nrows = 0;
	w->bytes = 0;
	td_arena_reset(&w->arena);
	CHECK_FOR_INTERRUPTS();
}

/* The executor's functions work under the command and the snapshot of their state. */
static void
begin_triggers(TdWriter *w)
{
	w->estate->es_output_cid = GetCurrentCommandId(true);
	w->estate->es_snapshot = GetActiveSnapshot();
	AfterTriggerBeginQuery();
}

/* Fires what was queued: as the table's owner, before anybody else's row. */
static void
end_triggers(TdWriter *w)
{
	AfterTriggerEndQuery(w->estate);
	ResetPerTupleExprContext(w->estate);
}

/* One row, now. */
void
td_writer_insert(TdWriter *w, const TdValue *values, bool partial, TdBytes row)
{
	TupleTableSlot *slot = w->image;

	if (!w->triggers)
	{
		td_writer_add(w, values, partial, row);
		td_writer_flush(w);
		return;
	}
	ExecClearTuple(slot);
	if (!w->binding->covers || partial)
		prefill_defaults(w, slot, values, partial);
	td_values_fill(w->binding, values, row, &w->arena, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	begin_triggers(w);
	ExecSimpleRelationInsert(w->rri, w->estate, slot);
	end_triggers(w);
	ExecClearTuple(slot);
}

/* ---- changes of w->found ---- */

/* What became of a row we wanted to change: true = done, false = somebody else changed it, look again. */
static bool
result_of(TdWriter *w, TM_Result result)
{
	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_Updated:
		case TM_Deleted:
			return false;
		case TM_SelfModified:
			/* two keys of a flush are one in the target: its collation or a trigger; row by row it fits or names itself */
			ereport(ERROR,
					(errcode(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION),
					 errmsg("a row of table %s was changed twice at once", w->binding->name)));
			break;
		default:
			break;
	}
	elog(ERROR, "unexpected result %d of changing a row of table %s", (int) result, w->binding->name);
}

/* With triggers the executor's functions raise on a concurrent change, so the row is locked first. */
static bool
lock_found(TdWriter *w, LockTupleMode mode)
{
	TM_FailureData failure;
	ItemPointerData tid = w->found->tts_tid;

	return result_of(w, table_tuple_lock(w->rel, &tid, GetActiveSnapshot(), w->found, GetCurrentCommandId(false), mode, LockWaitBlock,
										 0, &failure));
}

/*
 * Overwrites w->found.  replace: as if it was deleted and inserted, so what
 * values do not say takes its default; else it stays.  false = look again.
 */
bool
td_writer_update(TdWriter *w, const TdValue *values, bool partial, bool replace, TdBytes row)
{
	TupleTableSlot *slot = w->image;
	bool		only_summarizing;
	bool		indexes;
	TM_FailureData failure;
	LockTupleMode mode;
	bool		done;

	CheckCmdReplicaIdentity(w->rel, CMD_UPDATE);
	if (w->triggers && !lock_found(w, LockTupleExclusive))
		return false;
	ExecClearTuple(slot);
	if (replace && (!w->binding->covers || partial))
		prefill_defaults(w, slot, values, partial);
	else if (!w->binding->covers || partial)
	{
		slot_getallattrs(w->found);
		memcpy(slot->tts_values, w->found->tts_values, slot->tts_tupleDescriptor->natts * sizeof(Datum));
		memcpy(slot->tts_isnull, w->found->tts_isnull, slot->tts_tupleDescriptor->natts * sizeof(bool));
	}
	td_values_fill(w->binding, values, row, &w->arena, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	if (w->triggers)
	{
		begin_triggers(w);
		ExecSimpleRelationUpdate(w->rri, w->estate, &w->epq, w->found, slot);
		end_triggers(w);
		return true;
	}
	finish_row(w, slot, partial);
	done = result_of(w, td_table_tuple_update_compat(w->rel, &w->found->tts_tid, slot, GetCurrentCommandId(true), GetActiveSnapshot(),
													 &failure, &mode, &indexes, &only_summarizing));
	if (done && indexes && w->rri->ri_NumIndices > 0)
		td_insert_index_tuples_compat(w->rri, slot, w->estate, true, only_summarizing);
	ResetPerTupleExprContext(w->estate);
	return done;
}

/* Deletes w->found.  false = look again. */
bool
td_writer_delete(TdWriter *w)
{
	TM_FailureData failure;

	CheckCmdReplicaIdentity(w->rel, CMD_DELETE);
	if (!w->triggers)
		return result_of(w, table_tuple_delete(w->rel, &w->found->tts_tid, GetCurrentCommandId(true), GetActiveSnapshot(),
											   InvalidSnapshot, true, &failure, false));
	if (!lock_found(w, LockTupleExclusive))
		return false;
	begin_triggers(w);
	ExecSimpleRelationDelete(w->rri, w->estate, &w->epq, w->found);
	end_triggers(w);
	return true;
}
