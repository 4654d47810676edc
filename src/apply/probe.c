/*-------------------------------------------------------------------------
 *
 * probe.c
 *		Finding the row that a change is about.
 *
 * NOTES
 *		By key through one kept index scan; without a key by comparing the whole
 *		before image with every row, nulls equal.  Rows are looked up under the
 *		active snapshot, which the caller renews after each command; a row that
 *		somebody else changed meanwhile is noticed when it is written
 *		(td_writer_update), and looked up again under a fresh one.
 *
 * src/apply/probe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "apply/apply_internal.h"
#include "compat/compat.h"

static void open_scan(TdWriter *w);
static void raise_no_index(TdWriter *w);
static bool same_row(TdWriter *w, const TdValue *values, const Datum *datums, bool *identical);

/* Finds the row into w->found. */
bool
td_probe(TdWriter *w, const TdValue *values, TdBytes row)
{
	return w->binding->nkeys > 0 ? td_probe_key(w, values, row) : td_probe_image(w, values, row);
}

/* The row with the key in values, into w->found.  row: where the values come from. */
bool
td_probe_key(TdWriter *w, const TdValue *values, TdBytes row)
{
	TdBinding  *b = w->binding;

	if (w->scan == NULL)
		open_scan(w);
	for (int i = 0; i < b->nkeys; i++)
	{
		uint32		column = b->key_columns[i];

		if (unlikely(values[column].state != TD_VALUE))
			ereport(ERROR,
					(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
					 errmsg("a change of table %s lacks its key column \"%s\"", b->name, b->schema->columns[column].name),
					 errhint("This is a bug in the connector.")));
		w->skeys[i].sk_argument = td_value_datum(b, column, &values[column], row, &w->arena);
	}
	w->scan->xs_snapshot = GetActiveSnapshot();
	index_rescan(w->scan, w->skeys, b->nkeys, NULL, 0);
	return index_getnext_slot(w->scan, ForwardScanDirection, w->found);
}

/* The scan on the key's index, which the executor has open already. */
static void
open_scan(TdWriter *w)
{
	TdBinding  *b = w->binding;
	MemoryContext caller = MemoryContextSwitchTo(w->context);

	for (int i = 0; i < w->rri->ri_NumIndices; i++)
	{
		if (RelationGetRelid(w->rri->ri_IndexRelationDescs[i]) == b->key_index)
			w->index = w->rri->ri_IndexRelationDescs[i];
	}
	if (w->index == NULL)
		raise_no_index(w);
	w->skeys = palloc0(sizeof(ScanKeyData) * b->nkeys);
	for (int i = 0; i < b->nkeys; i++)
		ScanKeyEntryInitialize(&w->skeys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid, b->key_collations[i], b->key_procs[i],
							   (Datum) 0);
	w->scan = td_index_beginscan_compat(w->rel, w->index, GetActiveSnapshot(), b->nkeys);
	MemoryContextSwitchTo(caller);
}

static void
raise_no_index(TdWriter *w)
{
	const TdSchema *schema = w->binding->schema;
	StringInfoData columns;

	initStringInfo(&columns);
	for (uint32 i = 0; i < schema->nkeys; i++)
		appendStringInfo(&columns, "%s%s", i ? ", " : "", quote_identifier(schema->columns[schema->keys[i]].name));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("target table %s has no unique index on (%s)", w->binding->name, columns.data),
			 errdetail("Changes are found by the source's primary key."),
			 errhint("ALTER TABLE %s ADD PRIMARY KEY (%s);", w->binding->name, columns.data)));
}

/*
 * A row that equals the image in all its columns, into w->found: a pass over the table.  One that is the image, if there is one: where 1.0 and
 * 1.00 are both there, the right one has to go.
 */
bool
td_probe_image(TdWriter *w, const TdValue *values, TdBytes row)
{
	TdBinding  *b = w->binding;
	Datum	   *datums = td_arena_alloc(&w->arena, sizeof(Datum) * b->schema->ncolumns);
	TableScanDesc scan;
	ItemPointerData equal;
	bool		identical = false;

	for (uint32 i = 0; i < b->schema->ncolumns; i++)
	{
		if (values[i].state == TD_VALUE)
			datums[i] = td_value_datum(b, i, &values[i], row, &w->arena);
	}
	ItemPointerSetInvalid(&equal);
	scan = table_beginscan(w->rel, GetActiveSnapshot(), 0, NULL);
	while (!identical && table_scan_getnextslot(scan, ForwardScanDirection, w->found))
	{
		if (same_row(w, values, datums, &identical) && !ItemPointerIsValid(&equal))
			equal = w->found->tts_tid;
		CHECK_FOR_INTERRUPTS();
	}
	table_endscan(scan);
	return identical || (ItemPointerIsValid(&equal) && table_tuple_fetch_row_version(w->rel, &equal, GetActiveSnapshot(), w->found));
}

static bool
is_identical(TdWriter *w, const TdColumnMap *map, Datum a, Datum b)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(w->rel), map->attnum - 1);

	return datum_image_eq(a, b, att->attbyval, att->attlen);
}

/* Equal by the type's own equality: 1.0 and 1.00, as an index would have it; by bytes where a type has none. */
static bool
same_value(TdWriter *w, const TdColumnMap *map, Datum a, Datum b)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(w->rel), map->attnum - 1);
	TypeCacheEntry *type;

	if (is_identical(w, map, a, b))
		return true;
	/* equal values of these types have equal bytes */
	if (map->type == TD_TEXT || att->attbyval)
	{
		if (map->type != TD_FLOAT4 && map->type != TD_FLOAT8)
			return false;
	}
	type = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR_FINFO);
	if (!OidIsValid(type->eq_opr_finfo.fn_oid))
		return false;
	return DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, DEFAULT_COLLATION_OID, a, b));
}

static bool
same_row(TdWriter *w, const TdValue *values, const Datum *datums, bool *identical)
{
	TdBinding  *b = w->binding;
	bool		same = true;

	for (uint32 i = 0; i < b->schema->ncolumns; i++)
	{
		bool		null;
		Datum		stored;

		if (values[i].state >= TD_ABSENT)
			continue;
		stored = slot_getattr(w->found, b->columns[i].attnum, &null);
		if (null != (values[i].state == TD_NULL))
			return false;
		if (null)
			continue;
		if (!same_value(w, &b->columns[i], stored, datums[i]))
			return false;
		same = same && is_identical(w, &b->columns[i], stored, datums[i]);
	}
	*identical = same;
	return true;
}

void
td_probe_close(TdWriter *w)
{
	if (w->scan)
		index_endscan(w->scan);
	w->scan = NULL;
}

/* ---- the snapshot that rows are found under ---- */

/* A new one, which sees what others have committed by now, and all that we did. */
void
td_snapshot_push(void)
{
	CommandCounterIncrement();
	PushCopiedSnapshot(GetLatestSnapshot());
}

void
td_snapshot_pop(void)
{
	PopActiveSnapshot();
}

/* What we did up to here becomes visible in it. */
void
td_snapshot_advance(void)
{
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

/* In place of the present one. */
void
td_snapshot_renew(void)
{
	td_snapshot_pop();
	td_snapshot_push();
}
