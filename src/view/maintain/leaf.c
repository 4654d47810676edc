/*-------------------------------------------------------------------------
 *
 * leaf.c
 *		The delta of a table as one view reads it: filtered, projected, netted.
 *
 * NOTES
 *		Under run.c, as the view's owner.  Conditions are evaluated by a
 *		statement.  Most leaves have none: their rows are the columns of the delta
 *		as they are, and a statement for each of them, view and tick would cost
 *		more than the rows do.
 *
 * IDENTIFICATION
 *		src/view/maintain/leaf.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "view/maintain/run_internal.h"

/* A leaf's rows as they come; what they look like is known with the first. */
typedef struct LeafRows
{
	TdTick	   *tick;
	TupleDesc	desc;
	TdNet	   *net;
} LeafRows;

static void
take_leaf_row(TupleTableSlot *slot, void *arg)
{
	LeafRows   *leaf = arg;

	if (leaf->net == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(leaf->tick->context);

		leaf->desc = CreateTupleDescCopy(slot->tts_tupleDescriptor);
		MemoryContextSwitchTo(old);
		leaf->net = td_tick_net(leaf->tick, leaf->desc);
	}
	td_net_add(leaf->net, slot, 1);
}

/* The columns of the view that keeps its old rows, by the names that they have in the table. */
static TupleDesc
learned_desc(const TdOccurrence *o, TupleDesc desc)
{
	TupleDesc	named = CreateTupleDescCopy(desc);

	for (int i = 0; i < desc->natts - 1; i++)
		namestrcpy(&TupleDescAttr(named, i)->attname, get_attname(o->relid, o->kept_columns[i], false));
	return named;
}

TdSource
td_delta_source(const TdOccurrence *o, const TdDelta *delta)
{
	return (TdSource)
	{
		psprintf("d_%u", o->relid), o->kept != 0 ? learned_desc(o, delta->desc) : delta->desc, delta->rows, (double) delta->nrows
	};
}

/* From 0. */
static int
column_of(const TdSource *delta, const char *name)
{
	for (int i = 0; i < delta->desc->natts - 1; i++)
		if (strcmp(NameStr(TupleDescAttr(delta->desc, i)->attname), name) == 0)
			return i;
	elog(ERROR, "the delta %s has no column \"%s\"", delta->name, name);
}

/* The columns of the leaf and the weight: what they look like, and where they stand in the delta. */
static TupleDesc
project(const TdLeaf *leaf, const TdSource *delta, int *from)
{
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(leaf->columns) + 1);
	int			n = 0;
	ListCell   *lc;

	foreach(lc, leaf->columns)
		from[n++] = column_of(delta, lfirst(lc));
	from[n++] = delta->desc->natts - 1;
	for (int i = 0; i < n; i++)
		TupleDescCopyEntry(desc, i + 1, delta->desc, from[i] + 1);
	return desc;
}

/* The delta's rows, as many as there are. */
static void
copy_rows(LeafRows *rows, const TdLeaf *leaf, const TdSource *delta)
{
	int		   *from = palloc(sizeof(int) * (list_length(leaf->columns) + 1));
	TupleTableSlot *in = MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);
	TupleTableSlot *out;

	rows->desc = project(leaf, delta, from);
	rows->net = td_tick_net(rows->tick, rows->desc);
	out = MakeSingleTupleTableSlot(rows->desc, &TTSOpsVirtual);
	tuplestore_select_read_pointer(delta->rows, 0);
	tuplestore_rescan(delta->rows);
	while (tuplestore_gettupleslot(delta->rows, true, false, in))
	{
		slot_getallattrs(in);
		ExecClearTuple(out);
		for (int i = 0; i < rows->desc->natts; i++)
		{
			out->tts_values[i] = in->tts_values[from[i]];
			out->tts_isnull[i] = in->tts_isnull[from[i]];
		}
		if (leaf->touched)
			out->tts_values[rows->desc->natts - 1] = Int64GetDatum(1);
		td_net_add(rows->net, ExecStoreVirtualTuple(out), 1);
		CHECK_FOR_INTERRUPTS();
	}
	ExecDropSingleTupleTableSlot(out);
	ExecDropSingleTupleTableSlot(in);
}

bool
td_leaf_make(TdTick *t, const TdLeaf *leaf, const TdOccurrence *o, const TdDelta *delta, TdSource *source)
{
	LeafRows	rows = {t, NULL, NULL};
	TdSource	all = td_delta_source(o, delta);
	Tuplestorestate *store;
	int64		n;

	if (leaf->whole)
		copy_rows(&rows, leaf, &all);
	else
		td_execute(t->run, leaf->sql, 1, &all, false, take_leaf_row, &rows);
	if (rows.net == NULL)
		return false;
	store = td_tick_tuplestore(t);
	n = td_net_finish(rows.net, store);
	*source = (TdSource)
	{
		leaf->name, rows.desc, store, (double) n
	};
	return n > 0;
}
