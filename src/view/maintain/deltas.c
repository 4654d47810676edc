/*-------------------------------------------------------------------------
 *
 * deltas.c
 *		The deltas of a tick, one per relation.
 *
 * NOTES
 *		View worker, inside the tick's transaction.  All of them live in one
 *		context; a tuplestore that outgrows its share of tapdata.worker_memory
 *		goes to a temporary file; those of a tick that has little to take in, all
 *		of them together, need no share.  Files belong to the resource owner in
 *		force when the deltas were created: a view's own delta is added in a
 *		subtransaction and outlives it.  Ephemeral named relations read them any
 *		number of times (rewinding is all they need).
 *
 * src/view/maintain/deltas.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "view/view_internal.h"
#include "workers/workers.h"

#define DELTA_SHARE 8			/* of tapdata.worker_memory */
#define DELTAS_SHARE 2			/* all of them together, where it is known that they fit */
#define ROW_GROWS 2				/* times what its message takes: sizes are rounded up to powers of two, and each has a pointer */

TdDeltas *
td_deltas_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "tapdata deltas", ALLOCSET_SMALL_SIZES);
	TdDeltas   *deltas = MemoryContextAllocZero(context, sizeof(TdDeltas));

	deltas->context = context;
	deltas->owner = CurrentResourceOwner;
	deltas->room_kb = td_worker_memory / DELTA_SHARE;
	return deltas;
}

/* What is added until the next such call are rows of so many bytes of messages, no more; 0 = of any number. */
void
td_deltas_expect(TdDeltas *deltas, uint64 bytes)
{
	uint64		all_kb = td_worker_memory / DELTAS_SHARE;

	deltas->room_kb = bytes > 0 && bytes <= all_kb * 1024 / ROW_GROWS ? all_kb : td_worker_memory / DELTA_SHARE;
}

TdDelta *
td_deltas_get(TdDeltas *deltas, Oid relid)
{
	ListCell   *cell;

	foreach(cell, deltas->list)
	{
		TdDelta    *delta = lfirst(cell);

		if (delta->relid == relid)
			return delta;
	}
	return NULL;
}

/* The delta of the relation, made if need be; nothing in it yet. */
static TdDelta *
get_or_make(TdDeltas *deltas, Oid relid)
{
	TdDelta    *delta = td_deltas_get(deltas, relid);

	if (delta)
		return delta;
	delta = palloc0(sizeof(TdDelta));
	delta->relid = relid;
	deltas->list = lappend(deltas->list, delta);
	return delta;
}

/* Gives the relation's delta rows of this layout, which is copied.  It has had none before. */
TdDelta *
td_deltas_add(TdDeltas *deltas, Oid relid, TupleDesc desc, const AttrNumber *attnums)
{
	MemoryContext caller = MemoryContextSwitchTo(deltas->context);
	ResourceOwner owner = CurrentResourceOwner;
	TdDelta    *delta = get_or_make(deltas, relid);
	Size		size = sizeof(AttrNumber) * (desc->natts - 1);

	if (delta->desc)
		elog(ERROR, "relation %u has two deltas", relid);
	delta->attnums = palloc(Max(size, 1));
	memcpy(delta->attnums, attnums, size);
	delta->desc = CreateTupleDescCopy(desc);
	CurrentResourceOwner = deltas->owner;
	delta->rows = tuplestore_begin_heap(false, false, deltas->room_kb);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(caller);
	return delta;
}

/* The relation has changed in a way that rows do not tell. */
void
td_deltas_unknown(TdDeltas *deltas, Oid relid)
{
	MemoryContext caller = MemoryContextSwitchTo(deltas->context);

	get_or_make(deltas, relid)->unknown = true;
	MemoryContextSwitchTo(caller);
}

/* What a view that failed has told of itself is not so. */
void
td_deltas_forget(TdDeltas *deltas, Oid relid)
{
	TdDelta    *delta = td_deltas_get(deltas, relid);

	if (delta == NULL)
		return;
	if (delta->rows)
		tuplestore_end(delta->rows);
	deltas->list = list_delete_ptr(deltas->list, delta);
}

void
td_deltas_destroy(TdDeltas *deltas)
{
	ListCell   *cell;

	foreach(cell, deltas->list)
	{
		TdDelta    *delta = lfirst(cell);

		if (delta->rows)
			tuplestore_end(delta->rows);
	}
	MemoryContextDelete(deltas->context);
}
