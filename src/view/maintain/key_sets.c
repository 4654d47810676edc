/*-------------------------------------------------------------------------
 *
 * key_sets.c
 *		Keys of what is computed anew, apart by which of them are null.
 *
 * NOTES
 *		A null is never found by =, so there is one statement per set of null
 *		keys, and one set of values for each of these statements.
 *
 * IDENTIFICATION
 *		src/view/maintain/key_sets.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "view/maintain/run_internal.h"

TupleDesc
td_key_desc(int n, const TdStateColumn *columns)
{
	TupleDesc	desc = CreateTemplateTupleDesc(n);

	for (int i = 0; i < n; i++)
	{
		TupleDescInitEntry(desc, i + 1, columns[i].name, columns[i].type, columns[i].typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, columns[i].collation);
	}
	return desc;
}

static TdKeySet *
find_set(TdTick *t, List **sets, uint32 null_mask)
{
	MemoryContext old;
	TdKeySet   *set;
	ListCell   *lc;

	foreach(lc, *sets)
		if (((TdKeySet *) lfirst(lc))->null_mask == null_mask)
			return lfirst(lc);
	old = MemoryContextSwitchTo(t->context);
	set = palloc0(sizeof(TdKeySet));
	set->null_mask = null_mask;
	set->keys = td_tick_tuplestore(t);
	*sets = lappend(*sets, set);
	MemoryContextSwitchTo(old);
	return set;
}

/* The first columns of row (which are there already), as many as `keys` has, which is a slot to make them in. */
void
td_key_sets_add(TdTick *t, List **sets, TupleTableSlot *keys, TupleTableSlot *row)
{
	int			n = keys->tts_tupleDescriptor->natts;
	uint32		null_mask = 0;
	TdKeySet   *set;

	ExecClearTuple(keys);
	for (int i = 0; i < n; i++)
	{
		keys->tts_values[i] = row->tts_values[i];
		keys->tts_isnull[i] = row->tts_isnull[i];
		null_mask |= row->tts_isnull[i] ? (uint32) 1 << i : 0;
	}
	ExecStoreVirtualTuple(keys);
	set = find_set(t, sets, null_mask);
	if (n > 0)
		tuplestore_puttupleslot(set->keys, keys);
	set->n++;
}
