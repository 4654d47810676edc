/*-------------------------------------------------------------------------
 *
 * arena.c
 *		Memory that is given back at once.
 *
 * NOTES
 *		Tables, columns and their names are made in small pieces and die
 *		together.  An allocation that fails answers NULL.
 *
 * connectors/mysql/arena.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "mysql_internal.h"

#define BLOCK 32768

struct TdArenaBlock
{
	struct TdArenaBlock *next;
	size_t		used;
	size_t		size;
	uint64_t	data[];
};

/* Zeroed memory, aligned for anything here. */
void *
td_arena_alloc(TdArena *a, size_t size)
{
	struct TdArenaBlock *b = a->blocks;
	void	   *p;

	size = (size + 7) & ~(size_t) 7;
	if (b == NULL || b->size - b->used < size)
	{
		size_t		whole = size > BLOCK ? size : BLOCK;

		b = calloc(1, sizeof(*b) + whole);
		if (b == NULL)
		{
			a->failed = true;
			return NULL;
		}
		b->size = whole;
		b->next = a->blocks;
		a->blocks = b;
	}
	p = (char *) b->data + b->used;
	b->used += size;
	return p;
}

/* A copy of bytes with a closing NUL. */
char *
td_arena_copy(TdArena *a, const char *s, size_t len)
{
	char	   *to = td_arena_alloc(a, len + 1);

	if (to && len)
		memcpy(to, s, len);
	return to;
}

/* Frees all of it. */
void
td_arena_free(TdArena *a)
{
	while (a->blocks)
	{
		struct TdArenaBlock *next = a->blocks->next;

		free(a->blocks);
		a->blocks = next;
	}
	a->failed = false;
}
