/*-------------------------------------------------------------------------
 *
 * store_target.c
 *		A relation opened for writing, and rows that wait to be inserted.
 *
 * NOTES
 *		View worker and fill worker.  Inserts gather in slots and go to the heap
 *		by table_multi_insert, then into the indexes.  A row in a slot is formed
 *		at once: its values need not live longer than the call.
 *
 *		On error everything open belongs to the resource owner; memory is the
 *		caller's context.
 *
 * src/view/maintain/store_target.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/maintain/store_internal.h"

#define TARGET_ROWS 1000
#define TARGET_BYTES (64 * 1024)

static void describe(TdTarget *t);
static void open_executor(TdTarget *t);

/* The caller has rights on it; what it keeps is in context. */
void
td_store_target_open(TdTarget *t, Oid relid, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);

	t->context = context;
	t->rel = table_open(relid, RowExclusiveLock);
	if (t->rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not an ordinary table", td_store_target_name(t))));
	describe(t);
	open_executor(t);
	MemoryContextSwitchTo(caller);
}

char *
td_store_target_name(const TdTarget *t)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(t->rel)), RelationGetRelationName(t->rel));
}

/* Its columns without the dropped ones, and the weight. */
static void
describe(TdTarget *t)
{
	TupleDesc	rel = RelationGetDescr(t->rel);

	t->attnums = palloc(sizeof(AttrNumber) * Max(rel->natts, 1));
	for (int i = 0; i < rel->natts; i++)
	{
		if (!TupleDescAttr(rel, i)->attisdropped)
			t->attnums[t->ncolumns++] = i + 1;
	}
	t->desc = CreateTemplateTupleDesc(t->ncolumns + 1);
	for (int i = 0; i < t->ncolumns; i++)
		TupleDescCopyEntry(t->desc, i + 1, rel, t->attnums[i]);
	TupleDescInitBuiltinEntry(t->desc, t->ncolumns + 1, TD_WEIGHT, INT8OID, -1, 0);
	t->normal = td_normal_columns(t->desc, t->ncolumns);
}

/* A constraint that is checked later would never be: that takes the executor's triggers. */
static void
refuse_deferrable(TdTarget *t)
{
	for (int i = 0; i < t->rri->ri_NumIndices; i++)
	{
		Relation	index = t->rri->ri_IndexRelationDescs[i];

		if (!index->rd_index->indimmediate)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("constraint \"%s\" of view %s is deferrable", RelationGetRelationName(index), td_store_target_name(t)),
					 errhint("Drop it, or make it NOT DEFERRABLE.")));
	}
}

static void
open_executor(TdTarget *t)
{
	TupleConstr *constr = RelationGetDescr(t->rel)->constr;

	t->estate = CreateExecutorState();
	t->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(t->rri, t->rel, 0, NULL, 0);
	ExecOpenIndices(t->rri, false);
	t->indexes = true;
	t->constraints = constr && (constr->has_not_null || constr->num_check > 0);
	refuse_deferrable(t);
}

/* From here on rows go into the heap alone. */
void
td_store_target_close_indexes(TdTarget *t)
{
	if (t->indexes)
		ExecCloseIndices(t->rri);
	t->indexes = false;
}

/* Keeps the lock on the relation. */
void
td_store_target_close(TdTarget *t)
{
	td_store_target_close_indexes(t);
	for (int i = 0; i < t->nslots; i++)
		ExecDropSingleTupleTableSlot(t->slots[i]);
	if (t->bulk)
		FreeBulkInsertState(t->bulk);
	FreeExecutorState(t->estate);
	table_close(t->rel, NoLock);
}

/* The columns of row as a row of the relation; the values are row's. */
void
td_store_target_fill(TdTarget *t, TupleTableSlot *row, TupleTableSlot *into)
{
	ExecClearTuple(into);
	slot_getsomeattrs(row, t->ncolumns);
	memset(into->tts_isnull, true, into->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < t->ncolumns; i++)
	{
		into->tts_values[t->attnums[i] - 1] = row->tts_values[i];
		into->tts_isnull[t->attnums[i] - 1] = row->tts_isnull[i];
	}
	ExecStoreVirtualTuple(into);
}

/* Raises unless a row that is to be written meets the constraints. */
void
td_store_target_check(TdTarget *t, TupleTableSlot *row)
{
	if (!t->constraints)
		return;
	row->tts_tableOid = RelationGetRelid(t->rel);
	ExecConstraints(t->rri, row, t->estate);
	ResetPerTupleExprContext(t->estate);
}

/* One more row to insert. */
void
td_store_target_add(TdTarget *t, TupleTableSlot *row)
{
	TupleTableSlot *slot;

	if (t->nrows == t->nslots)
	{
		MemoryContext caller = MemoryContextSwitchTo(t->context);

		if (t->slots == NULL)
			t->slots = palloc(sizeof(TupleTableSlot *) * TARGET_ROWS);
		t->slots[t->nslots++] = table_slot_create(t->rel, NULL);
		MemoryContextSwitchTo(caller);
	}
	slot = t->slots[t->nrows];
	td_store_target_fill(t, row, slot);
	td_store_target_check(t, slot);
	t->bytes += ExecFetchSlotHeapTuple(slot, true, NULL)->t_len;
	t->nrows++;
	if (t->nrows == TARGET_ROWS || t->bytes >= TARGET_BYTES)
		td_store_target_flush(t);
}

/* The one that rows are found by, tapdata.row_hash(all columns): it takes any row. */
static bool
is_ours(const TdTarget *t, const IndexInfo *index)
{
	const FuncExpr *hash = index->ii_Expressions != NIL && IsA(linitial(index->ii_Expressions), FuncExpr) ? linitial(index->ii_Expressions) : NULL;

	return hash && index->ii_NumIndexAttrs == 1 && index->ii_Predicate == NIL && hash->funcresulttype == INT8OID && list_length(hash->args) == t->ncolumns;
}

/* An error is one of an index, and names none: those that compute something.  No look at any catalog. */
static void
name_indexes(void *arg)
{
	const TdTarget *t = arg;
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < t->rri->ri_NumIndices; i++)
	{
		const IndexInfo *index = t->rri->ri_IndexRelationInfo[i];

		if ((index->ii_Expressions != NIL || index->ii_Predicate != NIL) && !is_ours(t, index))
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", quote_identifier(RelationGetRelationName(t->rri->ri_IndexRelationDescs[i])));
	}
	if (names.len == 0)
		return;
	errcontext("index of table %s: %s", RelationGetRelationName(t->rel), names.data);
	if (ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_DATA_EXCEPTION)
		errhint("The table of the view has an index that computes it: %s. Drop that, or create it as one that takes any row of the view; then call tapdata.refresh_view().", names.data);
}

void
td_store_target_index(TdTarget *t, TupleTableSlot *row, bool update, bool only_summarizing)
{
	ErrorContextCallback callback = {error_context_stack, name_indexes, t};

	error_context_stack = &callback;
	td_insert_index_tuples_compat(t->rri, row, t->estate, update, only_summarizing);
	error_context_stack = callback.previous;
}

/* The rows that wait go into the heap, and into the indexes while these are open. */
void
td_store_target_flush(TdTarget *t)
{
	CommandId	cid = t->bulk ? t->cid : GetCurrentCommandId(true);
	MemoryContext caller;

	if (t->nrows == 0)
		return;
	caller = MemoryContextSwitchTo(GetPerTupleMemoryContext(t->estate));
	table_multi_insert(t->rel, t->slots, t->nrows, cid, t->bulk ? TABLE_INSERT_SKIP_FSM : 0, t->bulk);
	MemoryContextSwitchTo(caller);
	for (int i = 0; i < t->nrows; i++)
	{
		if (t->indexes && t->rri->ri_NumIndices > 0)
		{
			ResetPerTupleExprContext(t->estate);
			td_store_target_index(t, t->slots[i], false, false);
		}
		ExecClearTuple(t->slots[i]);
	}
	ResetPerTupleExprContext(t->estate);
	t->nrows = 0;
	t->bytes = 0;
	CHECK_FOR_INTERRUPTS();
}
