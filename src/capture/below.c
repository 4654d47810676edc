/*-------------------------------------------------------------------------
 *
 * below.c
 *		Whose rows were sent as rows of a table above, and is not below it any more.
 *
 * NOTES
 *		A partition, or a table that inherits, may come below a table, be written to
 *		and go again before a reader looks at the catalogs, which then are as they
 *		were: nothing tells him that the rows he got are no rows of the table above.
 *		With DETACH CONCURRENTLY they may even be those of a transaction that is
 *		committed after it.  So the transaction in which one goes, or that wrote to it
 *		and ends later, says UNKNOWN of the table above.
 *
 *		What was sent is remembered for as long as the worker lives, whatever is
 *		wanted.  A next worker decodes all that its reader has not confirmed again.
 *
 *		The callbacks only mark; catalogs are asked at the commit, as of which they
 *		are seen then.
 *
 * IDENTIFICATION
 *		src/capture/below.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "capture/capture_internal.h"

/* A table, and those above it whose rows its rows were sent as. */
typedef struct TdBelow
{
	Oid			relid;			/* hash key */
	bool		changed;		/* maybe: to be looked at */
	List	   *above;			/* oids */
} TdBelow;

static HTAB *
make_hash(TdDecoder *d, const char *name, Size entry_size)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = entry_size,.hcxt = d->context};

	return hash_create(name, 128, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* A row of relid goes out as one of root. */
void
td_below_sent(TdDecoder *d, Oid relid, Oid root)
{
	MemoryContext old = MemoryContextSwitchTo(d->context);
	bool		found;
	TdBelow    *entry;

	if (d->below == NULL)
	{
		d->below = make_hash(d, "tapdata tables below others", sizeof(TdBelow));
		d->above = make_hash(d, "tapdata tables above others", sizeof(Oid));
	}
	entry = hash_search(d->below, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->changed = false;
		entry->above = NIL;
	}
	entry->above = list_append_unique_oid(entry->above, root);
	(void) hash_search(d->above, &root, HASH_ENTER, NULL);
	MemoryContextSwitchTo(old);
}

/* In the invalidation callback; InvalidOid = all of them.  Of a table above others, what is below it. */
void
td_below_invalidate(TdDecoder *d, Oid relid)
{
	HASH_SEQ_STATUS scan;
	TdBelow    *entry;

	if (d->below == NULL)
		return;
	if (OidIsValid(relid) && hash_search(d->above, &relid, HASH_FIND, NULL) == NULL)
	{
		entry = hash_search(d->below, &relid, HASH_FIND, NULL);
		if (entry)
			entry->changed = d->below_changed = true;
		return;
	}
	hash_seq_init(&scan, d->below);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->changed = d->below_changed = true;
}

/* Says UNKNOWN of what is not above it any more, and forgets it. */
static void
check_one(TdDecoder *d, TdBelow *entry)
{
	List	   *above = td_tables_above(entry->relid);
	ListCell   *lc;

	foreach(lc, entry->above)
	{
		TdRoot	   *root;

		if (list_member_oid(above, lfirst_oid(lc)))
			continue;
		root = hash_search(d->roots, &lfirst_oid(lc), HASH_FIND, NULL);
		if (root)
			td_plugin_unknown(d, root, TD_UNKNOWN_NOT_BELOW);
		entry->above = foreach_delete_current(entry->above, lc);
	}
	list_free(above);
}

/* At the commit of the transaction that is replayed. */
void
td_below_check(TdDecoder *d)
{
	HASH_SEQ_STATUS scan;
	TdBelow    *entry;

	if (!d->below_changed)
		return;
	d->below_changed = false;
	hash_seq_init(&scan, d->below);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->changed)
			check_one(d, entry);
		entry->changed = false;
		if (entry->above == NIL)
			(void) hash_search(d->below, &entry->relid, HASH_REMOVE, NULL);
	}
}
