/*-------------------------------------------------------------------------
 *
 * arena.c
 *		Memory that is given out in order and taken back all at once.
 *
 * NOTES
 *		A load makes some million small values a second, each of which lives
 *		until its row is in the heap: palloc's header and free lists would be a
 *		tenth of the whole.  The first block stays; what is made beyond it, and
 *		whatever type input functions palloc in arena->context, goes with a reset.
 *
 * src/apply/arena.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "apply/apply_internal.h"

/* The arena lives as long as parent. */
void
td_arena_init(TdArena *arena, MemoryContext parent)
{
	arena->first = MemoryContextAlloc(parent, TD_ARENA_BLOCK);
	arena->context = AllocSetContextCreate(parent, "tapdata arena", ALLOCSET_DEFAULT_SIZES);
	arena->next = arena->first;
	arena->end = arena->first + TD_ARENA_BLOCK;
	arena->used = 0;
}

/* Everything that was given out is gone. */
void
td_arena_reset(TdArena *arena)
{
	MemoryContextReset(arena->context);
	arena->next = arena->first;
	arena->end = arena->first + TD_ARENA_BLOCK;
	arena->used = 0;
}

/* A further block; large values get one of their own. */
void *
td_arena_more(TdArena *arena, Size size)
{
	char	   *block;

	if (size > TD_ARENA_BLOCK / 4)
	{
		arena->used += size;
		return MemoryContextAllocHuge(arena->context, size);
	}
	block = MemoryContextAlloc(arena->context, TD_ARENA_BLOCK);
	arena->used += TD_ARENA_BLOCK;
	arena->next = block + size;
	arena->end = block + TD_ARENA_BLOCK;
	return block;
}
