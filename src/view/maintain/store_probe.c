/*-------------------------------------------------------------------------
 *
 * store_probe.c
 *		Finding rows of a store: by key, by image, or the only one.
 *
 * NOTES
 *		View worker and fill worker.  One index scan is kept open as long as the
 *		store.  Rows are looked up under the store's own snapshot: what the active
 *		one saw when the store was opened, and whatever this transaction has done
 *		in earlier commands.
 *
 * src/view/maintain/store_probe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "view/maintain/store_internal.h"

extern Datum td_sql_row_hash(PG_FUNCTION_ARGS);

/* A whole, valid btree. */
bool
td_store_index_is_plain(Relation index, const IndexInfo *info)
{
	return index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID && info->ii_Predicate == NIL;
}

/* The position of a column of the relation in the key, -1 = it is none of it. */
static int
key_position(TdStore *s, AttrNumber attnum)
{
	for (int i = 0; i < s->nkeys; i++)
	{
		if (s->target.attnums[s->keys[i] - 1] == attnum)
			return i;
	}
	return -1;
}

/* The column of desc with this number in the relation. */
static AttrNumber
column_of(TdStore *s, AttrNumber attnum)
{
	for (int i = 0; i < s->target.ncolumns; i++)
	{
		if (s->target.attnums[i] == attnum)
			return i + 1;
	}
	elog(ERROR, "an index of view %s is on column %d, which is not there", td_store_target_name(&s->target), attnum);
}

/* Unique on columns, without exception. */
static bool
is_unique(Relation index, IndexInfo *info)
{
	return td_store_index_is_plain(index, info) && index->rd_index->indisunique && info->ii_Expressions == NIL;
}

/* Of one row for each value, nulls included: whatever the columns are, a row is found by it. */
static bool
is_on_any_key(TdStore *s, Relation index, IndexInfo *info)
{
	if (!is_unique(index, info))
		return false;
	for (int i = 0; i < info->ii_NumIndexKeyAttrs && !index->rd_index->indnullsnotdistinct; i++)
	{
		if (!td_attribute_not_null_compat(RelationGetDescr(s->target.rel), info->ii_IndexAttrNumbers[i]))
			return false;
	}
	return true;
}

/* Unique on exactly the key, in any order. */
static bool
is_on_key(TdStore *s, Relation index, IndexInfo *info)
{
	if (!is_unique(index, info) || info->ii_NumIndexKeyAttrs != s->nkeys)
		return false;
	for (int i = 0; i < info->ii_NumIndexKeyAttrs; i++)
	{
		if (key_position(s, info->ii_IndexAttrNumbers[i]) < 0)
			return false;
	}
	return true;
}

/* On one expression, a call of our hash, whatever its name is today. */
static bool
is_on_image(TdStore *s, Relation index, IndexInfo *info)
{
	FuncExpr   *call;
	FmgrInfo	function;

	if (!td_store_index_is_plain(index, info) || info->ii_NumIndexKeyAttrs != 1 || list_length(info->ii_Expressions) != 1)
		return false;
	call = linitial(info->ii_Expressions);
	if (!IsA(call, FuncExpr))
		return false;
	fmgr_info(call->funcid, &function);
	return function.fn_addr == td_sql_row_hash;
}

static void
raise_no_index(TdStore *s)
{
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < s->nkeys; i++)
		appendStringInfo(&columns, "%s%s", i ? ", " : "", quote_identifier(NameStr(TupleDescAttr(s->target.desc, s->keys[i] - 1)->attname)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("view %s has no unique index on (%s)", td_store_target_name(&s->target), columns.data),
			 errdetail("Its rows are found by these columns."),
			 errhint("Somebody has dropped it.  CREATE UNIQUE INDEX ON %s (%s) NULLS NOT DISTINCT; then SELECT tapdata.refresh_view(...)",
					 td_store_target_name(&s->target), columns.data)));
}

/* A scan key for = of column i of the index; its value is set later. */
void
td_store_scan_key(ScanKey key, Relation index, int i)
{
	Oid			type = index->rd_opcintype[i];
	Oid			operator = get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

	if (!OidIsValid(operator))
		elog(ERROR, "operator family %u has no equality of type %u", index->rd_opfamily[i], type);
	ScanKeyEntryInitialize(key, 0, i + 1, BTEqualStrategyNumber, InvalidOid, index->rd_indcollation[i], get_opcode(operator), (Datum) 0);
}

/* Nulls are equal. */
void
td_store_scan_value(ScanKey key, Datum value, bool null)
{
	key->sk_flags = null ? SK_ISNULL | SK_SEARCHNULL : 0;
	key->sk_argument = null ? (Datum) 0 : value;
}

static void
make_scan_keys(TdStore *s)
{
	s->nskeys = IndexRelationGetNumberOfKeyAttributes(s->index);
	s->skeys = palloc0(sizeof(ScanKeyData) * s->nskeys);
	s->key_of = palloc0(sizeof(int) * s->nskeys);
	for (int i = 0; i < s->nskeys; i++)
	{
		td_store_scan_key(&s->skeys[i], s->index, i);
		if (!s->by_image)
			s->key_of[i] = key_position(s, s->index_info->ii_IndexAttrNumbers[i]);
	}
}

/* The first index that serves. */
static bool
find_index(TdStore *s, bool (*serves) (TdStore *s, Relation index, IndexInfo *info))
{
	ResultRelInfo *rri = s->target.rri;

	for (int i = 0; i < rri->ri_NumIndices && s->index == NULL; i++)
	{
		if (!serves(s, rri->ri_IndexRelationDescs[i], rri->ri_IndexRelationInfo[i]))
			continue;
		s->index = rri->ri_IndexRelationDescs[i];
		s->index_info = rri->ri_IndexRelationInfo[i];
	}
	return s->index != NULL;
}

/* The key becomes that of the index found. */
static void
take_key(TdStore *s)
{
	s->nkeys = s->index_info->ii_NumIndexKeyAttrs;
	s->keys = palloc(sizeof(AttrNumber) * s->nkeys);
	for (int i = 0; i < s->nkeys; i++)
		s->keys[i] = column_of(s, s->index_info->ii_IndexAttrNumbers[i]);
}

/*
 * Chooses the index; a table that needs none has one row at most.  Which key a view has is inferred from its tables' constraints, which may have
 * changed since its own table was made: then that is read by the index that it got.
 */
void
td_store_probe_open(TdStore *s)
{
	if (s->nkeys > 0 && find_index(s, is_on_key))
		s->by_image = false;
	else if (find_index(s, is_on_image))
	{
		s->by_image = true;
		s->nkeys = 0;
	}
	else if (find_index(s, is_on_any_key))
		take_key(s);
	else if (s->nkeys > 0)
		raise_no_index(s);
	if (s->index == NULL)
		return;
	make_scan_keys(s);
	s->scan = td_index_beginscan_compat(s->target.rel, s->index, s->snapshot, s->nskeys);
}

void
td_store_probe_close(TdStore *s)
{
	if (s->scan)
		index_endscan(s->scan);
	s->scan = NULL;
}

/* The only row. */
static bool
find_only(TdStore *s)
{
	TableScanDesc scan = table_beginscan(s->target.rel, s->snapshot, 0, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection, s->found);

	if (found)
		ExecMaterializeSlot(s->found);	/* the scan has only one place for a row */
	if (found && table_scan_getnextslot(scan, ForwardScanDirection, s->image))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view %s has no index to find its rows by", td_store_target_name(&s->target)),
				 errhint("Somebody has dropped it, the one on tapdata.row_hash(...) of all its columns.")));
	ExecClearTuple(s->image);
	table_endscan(scan);
	return found;
}

/* The next row of the index scan; what the scan allocates on the way it keeps as long as it lives. */
static bool
next_found(TdStore *s)
{
	MemoryContext caller = MemoryContextSwitchTo(s->target.context);
	bool		found = index_getnext_slot(s->scan, ForwardScanDirection, s->found);

	MemoryContextSwitchTo(caller);
	return found;
}

static void
begin_search(TdStore *s)
{
	MemoryContext caller = MemoryContextSwitchTo(s->target.context);

	index_rescan(s->scan, s->skeys, s->nskeys, NULL, 0);
	MemoryContextSwitchTo(caller);
}

/* The row with the key in the given columns of row, nulls equal, into s->found. */
bool
td_store_probe_key(TdStore *s, TupleTableSlot *row, const AttrNumber *columns)
{
	s->snapshot->curcid = GetCurrentCommandId(false);
	if (s->index == NULL)
		return find_only(s);
	for (int i = 0; i < s->nskeys; i++)
	{
		bool		null;
		Datum		value = slot_getattr(row, columns[s->key_of[i]], &null);

		td_store_scan_value(&s->skeys[i], value, null);
	}
	begin_search(s);
	return next_found(s);
}

/* Begins a search for the rows that are the same image as row, which is laid out as the relation. */
void
td_store_probe_image(TdStore *s, TupleTableSlot *row)
{
	EState	   *estate = s->target.estate;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	s->snapshot->curcid = GetCurrentCommandId(false);
	GetPerTupleExprContext(estate)->ecxt_scantuple = row;
	FormIndexDatum(s->index_info, row, estate, values, nulls);
	if (nulls[0])
		elog(ERROR, "hash of a row of view %s is null", td_store_target_name(&s->target));
	s->skeys[0].sk_argument = values[0];
	begin_search(s);
}

/* Same image in all columns? */
static bool
same_image(TdStore *s, TupleTableSlot *a, TupleTableSlot *b)
{
	TdTarget   *t = &s->target;

	slot_getallattrs(a);
	slot_getallattrs(b);
	for (int i = 0; i < t->ncolumns; i++)
	{
		int			att = t->attnums[i] - 1;

		if (a->tts_isnull[att] != b->tts_isnull[att])
			return false;
		if (!a->tts_isnull[att] && !td_image_equal(&t->normal[i], a->tts_values[att], b->tts_values[att]))
			return false;
	}
	return true;
}

/* The next of them into s->found; the transient memory of the comparison is the executor's per-tuple context. */
bool
td_store_probe_image_next(TdStore *s, TupleTableSlot *row)
{
	MemoryContext scratch = GetPerTupleMemoryContext(s->target.estate);

	while (next_found(s))
	{
		MemoryContext caller = MemoryContextSwitchTo(scratch);
		bool		same = same_image(s, s->found, row);

		MemoryContextSwitchTo(caller);
		MemoryContextReset(scratch);
		if (same)
			return true;
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/* ---- hashes of rows ---- */

static bool
has_deep_column(const TdStore *s)
{
	for (int i = 0; i < s->target.ncolumns; i++)
	{
		if (s->target.normal[i].deep)
			return true;
	}
	return false;
}

/* Is there a row that is not found by its own hash? */
static bool
loses_rows(TdStore *s)
{
	TableScanDesc scan = table_beginscan(s->target.rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *row = table_slot_create(s->target.rel, NULL);
	bool		lost = false;

	while (!lost && table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(s->target.estate);
		td_store_probe_image(s, row);
		lost = !td_store_probe_image_next(s, row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	return lost;
}

/*
 * A column of a row type: DDL gives its values fields, and takes some, where they lie.  Those in the index were hashed before: does it have to be built anew?  Active
 * snapshot.
 */
bool
td_store_is_stale(Oid relid)
{
	TdStore    *s = td_store_open(relid, 0, NULL);
	bool		stale = s->by_image && has_deep_column(s) && loses_rows(s);

	td_store_close(s);
	return stale;
}
