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

/* A table, and one above it. */
typedef struct TdBelow
{
	Oid			key[2];
	bool		changed;		/* maybe: to be looked at */
} TdBelow;

/* A row of relid goes out as one of root. */
void
td_below_sent(TdDecoder *d, Oid relid, Oid root)
{
	TdBelow		pair = {{relid, root}, false};
	bool		found;
	TdBelow    *entry;

	if (d->below == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(pair.key),.entrysize = sizeof(TdBelow),.hcxt = d->context};

		d->below = hash_create("tapdata tables below others", 128, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(d->below, pair.key, HASH_ENTER, &found);
	if (!found)
		entry->changed = false;
}

/* In the invalidation callback; InvalidOid = all of them. */
void
td_below_invalidate(TdDecoder *d, Oid relid)
{
	HASH_SEQ_STATUS scan;
	TdBelow    *entry;

	if (d->below == NULL)
		return;
	hash_seq_init(&scan, d->below);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (!OidIsValid(relid) || entry->key[0] == relid || entry->key[1] == relid)
			entry->changed = d->below_changed = true;
	}
}

/* At the commit of the transaction that is replayed: what has gone is forgotten, and what was above it is not known. */
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
		TdRoot	   *root;

		if (!entry->changed)
			continue;
		entry->changed = false;
		if (list_member_oid(td_tables_above(entry->key[0]), entry->key[1]))
			continue;
		root = hash_search(d->roots, &entry->key[1], HASH_FIND, NULL);
		if (root)
			td_plugin_unknown(d, root, TD_UNKNOWN_NOT_BELOW);
		(void) hash_search(d->below, entry->key, HASH_REMOVE, NULL);
	}
}
