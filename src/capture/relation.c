/*-------------------------------------------------------------------------
 *
 * relation.c
 *		From the relations of the past to those that are wanted.
 *
 * NOTES
 *		A cache by relid, also of what is irrelevant: a change of such a relation
 *		costs one look at the entry found last, or one in the hash.  Entries are
 *		made under the historic snapshot of a change, and marked invalid by
 *		relation cache invalidations, which the replay of a transaction executes
 *		where they happened.  The entry of a table that is a partition, or inherits
 *		from others, also depends on the tables above it, which are remembered.
 *
 *		An invalid entry keeps its targets until it is asked for again: DDL that
 *		takes a partition away is told of the table that it belonged to.  That of
 *		other tables that inherit is, by the backend that runs it, an invalidation
 *		of the parent as well (view/sql/hooks.c).
 *
 *		The invalidation callback only marks.  All memory is in wanted_context,
 *		or a context of the entry below it, and goes with the wanted set.
 *
 * IDENTIFICATION
 *		src/capture/relation.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/capture_internal.h"
#include "compat/compat.h"

#define TD_MAX_RELATIONS 8192	/* entries without need: relations come and go, their oids do not come again */

static void invalidate(Datum arg, Oid relid);
static HTAB *make_hash(TdDecoder *d, const char *name, Size entry_size);
static void make_cache(TdDecoder *d);
static void read_wanted(TdDecoder *d, const uint32 *word, Size nwords);
static void build(TdDecoder *d, TdRelation *entry, Relation rel);
static void add_ancestors(TdDecoder *d, TdRelation *entry, Relation rel);
static void add_target(TdDecoder *d, TdRelation *entry, TdRoot *root, Relation rel, Relation root_rel);
static TdLayout *layout_of(TdDecoder *d, TdRoot *root, TupleDesc desc);
static bool describe(TdRoot *root, TupleDesc desc, TdLayoutColumn *columns);
static TdLayout *make_layout(TdDecoder *d, TdRoot *root, TupleDesc desc, const TdLayoutColumn *columns);
static bool map_columns(TdRoot *root, TupleDesc from, TupleDesc to, AttrNumber *attnums);
static void judge_identity(TdRelation *entry, Relation rel);

/* ---- what is wanted ---- */

/* A new wanted set (reader.c has its form): everything known of relations is forgotten. */
void
td_relations_reset(TdDecoder *d, uint32 version, const uint8_t *wanted, Size len)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		registered = true;
	}
	d->relations = d->ancestors = d->roots = NULL;
	d->last = NULL;
	if (d->wanted_context)
		MemoryContextDelete(d->wanted_context);
	d->wanted_context = AllocSetContextCreate(d->context, "tapdata wanted relations", ALLOCSET_DEFAULT_SIZES);
	d->nroots = 0;
	d->roots = make_hash(d, "tapdata wanted", sizeof(TdRoot));
	make_cache(d);
	read_wanted(d, (const uint32 *) wanted, len / sizeof(uint32));
	d->version = version;
}

static HTAB *
make_hash(TdDecoder *d, const char *name, Size entry_size)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = entry_size,.hcxt = d->wanted_context};

	return hash_create(name, 128, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
make_cache(TdDecoder *d)
{
	d->ancestors = make_hash(d, "tapdata ancestors", sizeof(Oid));
	d->relations = make_hash(d, "tapdata relations", sizeof(TdRelation));
	d->trim_at = TD_MAX_RELATIONS;
}

static void
read_wanted(TdDecoder *d, const uint32 *word, Size nwords)
{
	const uint32 *end = word + nwords;
	uint32		n = *word++;

	for (uint32 i = 0; i < n; i++)
	{
		bool		found;
		TdRoot	   *root;

		if (end - word < 3 || end - word - 3 < word[2] || word[2] >= MaxTupleAttributeNumber)
			elog(ERROR, "the wanted set of capture is damaged");
		root = hash_search(d->roots, word, HASH_ENTER, &found);
		memset((char *) root + sizeof(Oid), 0, sizeof(TdRoot) - sizeof(Oid));
		root->only = (word[1] & TD_WANTED_ONLY) != 0;
		root->touch = (word[1] & TD_WANTED_TOUCH) != 0;
		root->ncolumns = word[2];
		root->attnums = MemoryContextAlloc(d->wanted_context, Max(1, root->ncolumns) * sizeof(AttrNumber));
		for (int c = 0; c < root->ncolumns; c++)
			root->attnums[c] = word[3 + c];
		word += 3 + root->ncolumns;
	}
	d->nroots = hash_get_num_entries(d->roots);
}

/* Keeps the number of entries bounded where tables are made and dropped all the time. */
void
td_relations_trim(TdDecoder *d)
{
	HASH_SEQ_STATUS scan;
	TdRelation *entry;

	if (d->relations == NULL || hash_get_num_entries(d->relations) < d->trim_at)
		return;
	d->last = NULL;
	hash_seq_init(&scan, d->relations);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->context == NULL || !entry->valid)
		{
			if (entry->context)
				MemoryContextDelete(entry->context);
			(void) hash_search(d->relations, &entry->relid, HASH_REMOVE, NULL);
		}
	}
	d->trim_at = Max(TD_MAX_RELATIONS, 2 * hash_get_num_entries(d->relations));
}

/* ---- invalidation ---- */

/* Of all entries, or only of those that have tables above them. */
static void
invalidate_many(bool below_only)
{
	HASH_SEQ_STATUS scan;
	TdRelation *entry;

	hash_seq_init(&scan, td_decoder->relations);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid &= below_only && !entry->below;
}

static void
invalidate(Datum arg, Oid relid)
{
	TdRelation *entry;

	if (td_decoder == NULL || td_decoder->relations == NULL)
		return;
	td_below_invalidate(td_decoder, relid);
	if (!OidIsValid(relid))
	{
		invalidate_many(false);
		return;
	}
	entry = hash_search(td_decoder->relations, &relid, HASH_FIND, NULL);
	if (entry)
		entry->valid = false;
	if (hash_search(td_decoder->ancestors, &relid, HASH_FIND, NULL))
		invalidate_many(true);
}

/* ---- looking up ---- */

TdRelation *
td_relation_get(TdDecoder *d, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	TdRelation *entry = d->last;
	bool		found;

	if (entry && entry->relid == relid && entry->valid)
		return entry;
	entry = hash_search(d->relations, &relid, HASH_ENTER, &found);
	if (!found)
		memset((char *) entry + sizeof(Oid), 0, sizeof(TdRelation) - sizeof(Oid));
	if (!entry->valid)
		build(d, entry, rel);
	d->last = entry;
	return entry;
}

/* The wanted relations that DDL on relid concerns: as it is mapped now, at the end of the transaction, and as it was. */
List *
td_relation_roots(TdDecoder *d, Oid relid)
{
	TdRelation *entry = hash_search(d->relations, &relid, HASH_FIND, NULL);
	TdRoot	   *root = hash_search(d->roots, &relid, HASH_FIND, NULL);
	List	   *roots = NIL;
	ListCell   *lc;

	if (root)
		roots = lappend(roots, root);
	for (int i = 0; entry && i < entry->ntargets; i++)
		roots = list_append_unique_ptr(roots, entry->targets[i].root);
	foreach(lc, td_tables_above(relid))
	{
		root = hash_search(d->roots, &lfirst_oid(lc), HASH_FIND, NULL);
		if (root)
			roots = list_append_unique_ptr(roots, root);
	}
	return roots;
}

/* Makes an entry anew.  It is marked valid first: an invalidation on the way must not be lost. */
static void
build(TdDecoder *d, TdRelation *entry, Relation rel)
{
	TdRoot	   *root = hash_search(d->roots, &entry->relid, HASH_FIND, NULL);

	if (entry->context)
		MemoryContextDelete(entry->context);
	memset((char *) entry + sizeof(Oid), 0, sizeof(TdRelation) - sizeof(Oid));
	entry->valid = true;
	if (root)
		add_target(d, entry, root, rel, rel);
	add_ancestors(d, entry, rel);
	if (entry->ntargets > 0)
		judge_identity(entry, rel);
}

/* All of them, not only the nearest: a view may read a part, and another the whole. */
static void
add_ancestors(TdDecoder *d, TdRelation *entry, Relation rel)
{
	List	   *ancestors = td_tables_above(RelationGetRelid(rel));
	ListCell   *lc;

	entry->below = ancestors != NIL;
	foreach(lc, ancestors)
	{
		TdRoot	   *root = hash_search(d->roots, &lfirst_oid(lc), HASH_FIND, NULL);
		Relation	root_rel;

		(void) hash_search(d->ancestors, &lfirst_oid(lc), HASH_ENTER, NULL);
		if (root == NULL || root->only)
			continue;
		root_rel = RelationIdGetRelation(lfirst_oid(lc));
		if (!RelationIsValid(root_rel))
			elog(ERROR, "relation %u is an ancestor of %u, but is not there", lfirst_oid(lc), RelationGetRelid(rel));
		add_target(d, entry, root, rel, root_rel);
		RelationClose(root_rel);
	}
	list_free(ancestors);
}

static void
add_target(TdDecoder *d, TdRelation *entry, TdRoot *root, Relation rel, Relation root_rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	MemoryContext old;
	TdTarget   *target;

	if (entry->context == NULL)
	{
		entry->context = AllocSetContextCreate(d->wanted_context, "tapdata relation", ALLOCSET_SMALL_SIZES);
		old = MemoryContextSwitchTo(entry->context);
		entry->targets = palloc(sizeof(TdTarget));
		entry->old_slot = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(desc), &TTSOpsHeapTuple);
		entry->new_slot = MakeSingleTupleTableSlot(entry->old_slot->tts_tupleDescriptor, &TTSOpsHeapTuple);
	}
	else
	{
		old = MemoryContextSwitchTo(entry->context);
		entry->targets = repalloc(entry->targets, (entry->ntargets + 1) * sizeof(TdTarget));
	}
	target = &entry->targets[entry->ntargets];
	target->root = root;
	target->old_whole = false;
	target->noted = root->relid == entry->relid;	/* its own */
	target->attnums = palloc0(Max(1, root->ncolumns) * sizeof(AttrNumber));
	MemoryContextSwitchTo(old);

	target->layout = layout_of(d, root, RelationGetDescr(root_rel));
	if (!map_columns(root, RelationGetDescr(root_rel), desc, target->attnums))
		target->layout = NULL;
	for (int i = 0; i < root->ncolumns; i++)
		entry->natts = Max(entry->natts, target->attnums[i]);
	entry->ntargets++;
}

/* ---- columns ---- */

/* The attribute, if it is there and stored: one that is computed on reading never is. */
static Form_pg_attribute
attribute_of(TupleDesc desc, AttrNumber attnum)
{
	Form_pg_attribute att = attnum <= desc->natts ? TupleDescAttr(desc, attnum - 1) : NULL;

	return att && !att->attisdropped && att->attgenerated != 'v' ? att : NULL;
}

/* Columns of a partition or child stand in places of their own; names are the same. */
static bool
map_columns(TdRoot *root, TupleDesc from, TupleDesc to, AttrNumber *attnums)
{
	for (int i = 0; i < root->ncolumns; i++)
	{
		Form_pg_attribute wanted = attribute_of(from, root->attnums[i]);

		if (wanted == NULL)
			return false;
		if (from == to)
			attnums[i] = root->attnums[i];
		for (int a = 1; a <= to->natts && attnums[i] == 0; a++)
		{
			Form_pg_attribute att = attribute_of(to, a);

			if (att && strcmp(NameStr(att->attname), NameStr(wanted->attname)) == 0 && att->atttypid == wanted->atttypid)
				attnums[i] = a;
		}
		if (attnums[i] == 0)
			return false;
	}
	return true;
}

/* The wanted columns as they were; false = one was not there. */
static bool
describe(TdRoot *root, TupleDesc desc, TdLayoutColumn *columns)
{
	memset(columns, 0, root->ncolumns * sizeof(TdLayoutColumn));
	for (int i = 0; i < root->ncolumns; i++)
	{
		Form_pg_attribute att = attribute_of(desc, root->attnums[i]);

		if (att == NULL)
			return false;
		columns[i].attnum = root->attnums[i];
		columns[i].type = att->atttypid;
		columns[i].typmod = att->atttypmod;
		columns[i].len = att->attlen;
		columns[i].byval = att->attbyval;
		columns[i].align = att->attalign;
		/* the type's own, not the column's: what a user sets for a column must not change the bytes of a row */
		columns[i].storage = att->attlen == -1 && get_typstorage(att->atttypid) != TYPSTORAGE_PLAIN ? TYPSTORAGE_EXTENDED : TYPSTORAGE_PLAIN;
		columns[i].collation = att->attcollation;
	}
	return true;
}

/* One with the same columns, or a new one; NULL = a column is missing. */
static TdLayout *
layout_of(TdDecoder *d, TdRoot *root, TupleDesc desc)
{
	Size		size = root->ncolumns * sizeof(TdLayoutColumn);
	TdLayoutColumn *columns = palloc(Max(1, size));
	ListCell   *lc;

	if (!describe(root, desc, columns))
		return NULL;
	foreach(lc, root->layouts)
	{
		TdLayout   *layout = lfirst(lc);

		if (memcmp(layout->columns, columns, size) == 0)
			return layout;
	}
	return make_layout(d, root, desc, columns);
}

static TdLayout *
make_layout(TdDecoder *d, TdRoot *root, TupleDesc desc, const TdLayoutColumn *columns)
{
	MemoryContext old = MemoryContextSwitchTo(d->wanted_context);
	TdLayout   *layout = palloc0(sizeof(TdLayout));
	int			n = root->ncolumns;

	layout->number = ++d->next_layout;
	layout->ncolumns = n;
	layout->columns = palloc(Max(1, n * sizeof(TdLayoutColumn)));
	memcpy(layout->columns, columns, n * sizeof(TdLayoutColumn));
	layout->varlena = palloc(Max(1, n) * sizeof(int));
	layout->desc = CreateTemplateTupleDesc(n + 1);
	for (int i = 0; i < n; i++)
	{
		TupleDescCopyEntry(layout->desc, i + 1, desc, columns[i].attnum);
		TupleDescAttr(layout->desc, i)->attstorage = columns[i].storage;
		td_attribute_changed_compat(layout->desc, i);
		if (columns[i].len == -1)
			layout->varlena[layout->nvarlena++] = i;
	}
	TupleDescInitBuiltinEntry(layout->desc, n + 1, TD_WEIGHT, INT8OID, -1, 0);
	root->layouts = lappend(root->layouts, layout);
	MemoryContextSwitchTo(old);
	return layout;
}

/* ---- replica identity ---- */

/* With FULL the old tuple is whole.  With a key it holds the key, and is not logged when no column of the key has changed. */
static void
judge_identity(TdRelation *entry, Relation rel)
{
	Bitmapset  *key = NULL;

	entry->full = rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	if (!entry->full)
		key = RelationGetIdentityKeyBitmap(rel);
	for (int t = 0; t < entry->ntargets; t++)
	{
		TdTarget   *target = &entry->targets[t];

		target->old_whole = true;
		for (int i = 0; i < target->root->ncolumns && !entry->full; i++)
			target->old_whole &= bms_is_member(target->attnums[i] - FirstLowInvalidHeapAttributeNumber, key);
	}
	bms_free(key);
}
