/*-------------------------------------------------------------------------
 *
 * store_part.c
 *		The rows of a store that have one value of a key which is not unique.
 *
 * NOTES
 *		For views that are kept by the parts of their result (keyed.c).  A part is
 *		found by a btree whose first columns are the key's, in any order.
 *
 *		What is found is as of the active snapshot and the commands before.
 *
 * IDENTIFICATION
 *		src/view/maintain/store_part.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/maintain/store_internal.h"

struct TdStorePart
{
	TdStore    *store;
	int			n;				/* columns of the key */
	int		   *key_of;			/* per column of the index: position in the key */
	ScanKeyData *skeys;
	IndexScanDesc scan;
	TupleTableSlot *found;
};

/* Which column of the key an attribute of the table is; -1 = none. */
static int
position_of(const TdStore *s, int n, const AttrNumber *columns, AttrNumber attnum)
{
	for (int i = 0; i < n; i++)
		if (s->target.attnums[columns[i] - 1] == attnum)
			return i;
	return -1;
}

/* Are the first n columns of this index those of the key? */
static bool
begins_with_key(const TdStore *s, int n, const AttrNumber *columns, Relation index, const IndexInfo *info)
{
	Bitmapset  *seen = NULL;

	if (!td_store_index_is_plain(index, info) || info->ii_NumIndexKeyAttrs < n)
		return false;
	for (int i = 0; i < n; i++)
		seen = bms_add_member(seen, 1 + position_of(s, n, columns, info->ii_IndexAttrNumbers[i]));
	return bms_num_members(seen) == n && !bms_is_member(0, seen);
}

static void
raise_no_index(const TdStore *s, int n, const AttrNumber *columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", quote_identifier(NameStr(TupleDescAttr(s->target.desc, columns[i] - 1)->attname)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("view %s has no index on (%s)", td_store_target_name(&s->target), list.data),
			 errdetail("Its rows are found by these columns; somebody has dropped the index."),
			 errhint("CREATE INDEX ON %s (%s); then SELECT tapdata.refresh_view(...).", td_store_target_name(&s->target), list.data)));
}

static Relation
find_index(const TdStore *s, int n, const AttrNumber *columns, IndexInfo **info)
{
	ResultRelInfo *rri = s->target.rri;

	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		*info = rri->ri_IndexRelationInfo[i];
		if (begins_with_key(s, n, columns, rri->ri_IndexRelationDescs[i], *info))
			return rri->ri_IndexRelationDescs[i];
	}
	raise_no_index(s, n, columns);
	return NULL;
}

TdStorePart *
td_store_part_open(TdStore *s, int n, const AttrNumber *columns)
{
	MemoryContext caller = MemoryContextSwitchTo(s->target.context);
	TdStorePart *p = palloc0(sizeof(TdStorePart));
	IndexInfo  *info;
	Relation	index = find_index(s, n, columns, &info);

	p->store = s;
	p->n = n;
	p->key_of = palloc(sizeof(int) * n);
	p->skeys = palloc0(sizeof(ScanKeyData) * n);
	for (int i = 0; i < n; i++)
	{
		p->key_of[i] = position_of(s, n, columns, info->ii_IndexAttrNumbers[i]);
		td_store_scan_key(&p->skeys[i], index, i);
	}
	p->scan = td_index_beginscan_compat(s->target.rel, index, s->snapshot, n);
	p->found = table_slot_create(s->target.rel, NULL);
	MemoryContextSwitchTo(caller);
	return p;
}

void
td_store_part_close(TdStorePart *p)
{
	index_endscan(p->scan);
	ExecDropSingleTupleTableSlot(p->found);
}

/* What the scan allocates on the way it keeps as long as it lives. */
static bool
next_of_part(TdStorePart *p)
{
	MemoryContext caller = MemoryContextSwitchTo(p->store->target.context);
	bool		found = index_getnext_slot(p->scan, ForwardScanDirection, p->found);

	MemoryContextSwitchTo(caller);
	return found;
}

void
td_store_part_rows(TdStorePart *p, TupleTableSlot *key, TdReceive receive, void *arg)
{
	TdStore    *s = p->store;
	MemoryContext caller;

	s->snapshot->curcid = GetCurrentCommandId(false);
	slot_getsomeattrs(key, p->n);
	for (int i = 0; i < p->n; i++)
		td_store_scan_value(&p->skeys[i], key->tts_values[p->key_of[i]], key->tts_isnull[p->key_of[i]]);
	caller = MemoryContextSwitchTo(s->target.context);
	index_rescan(p->scan, p->skeys, p->n, NULL, 0);
	MemoryContextSwitchTo(caller);
	while (next_of_part(p))
	{
		receive(td_store_output(s, p->found), arg);
		CHECK_FOR_INTERRUPTS();
	}
}
