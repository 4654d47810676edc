/*-------------------------------------------------------------------------
 *
 * fingerprint.c
 *		What a plan stands on, as text.
 *
 * NOTES
 *		Called for each view that may be concerned by a DDL message, without
 *		locks on what it looks at: by syscache, and scans of catalogs.  Whatever is
 *		gone is said to be gone.  Replica identity is not in it: capture looks at it
 *		for every change, and making a view on a table must not recompute the others.
 *		What is below a table is partitions.c's.
 *
 *		The file of a base table is in it: rows that are changed while the table is
 *		unlogged are not in the WAL, but the table gets another file with that.  The
 *		file of another view's table is not: its changes don't come from the WAL.
 *
 * IDENTIFICATION
 *		src/view/analyze/fingerprint.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_ts_config_map.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteSupport.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

/* Names stand in the statements of the plan. */
static void
add_name(StringInfo text, Oid schema, const NameData *name)
{
	char	   *schema_name = get_namespace_name(schema);

	appendStringInfo(text, "%s.%s", schema_name ? quote_identifier(schema_name) : "gone", quote_identifier(NameStr(*name)));
}

/* ---- relations ---- */

static void
add_column(StringInfo text, Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	Form_pg_attribute att;

	if (!HeapTupleIsValid(tuple))
	{
		appendStringInfo(text, " %d gone", attnum);
		return;
	}
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	appendStringInfo(text, " %d %s %u %d %u%s%s", attnum, quote_identifier(NameStr(att->attname)), att->atttypid, att->atttypmod, att->attcollation,
					 att->attnotnull ? " not null" : "", att->attisdropped ? " dropped" : "");
	ReleaseSysCache(tuple);
}

/* whole: a table that the query names; else one of those below it.  The file tells of rows that were written without WAL of their own. */
void
td_fingerprint_class(StringInfo text, Oid relid, bool whole, bool file)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class row;

	if (!HeapTupleIsValid(tuple))
	{
		appendStringInfo(text, "%u gone", relid);
		return;
	}
	row = (Form_pg_class) GETSTRUCT(tuple);
	appendStringInfo(text, "%u %c%c %u", relid, row->relkind, row->relpersistence, row->relam);
	if (file)
		appendStringInfo(text, " file %u", row->relfilenode);
	if (whole)
	{
		appendStringInfo(text, " owner %u%s%s ", row->relowner, row->relrowsecurity ? " row security" : "",
						 row->relforcerowsecurity ? " forced" : "");
		add_name(text, row->relnamespace, &row->relname);
	}
	ReleaseSysCache(tuple);
}

static void
add_occurrence(StringInfo text, const TdShape *shape, const TdOccurrence *occurrence)
{
	bool		exists = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(occurrence->relid));
	int			attnum = -1;

	appendStringInfo(text, "r%d ", occurrence->n);
	td_fingerprint_class(text, occurrence->relid, true, occurrence->view == 0);
	while ((attnum = bms_next_member(occurrence->columns, attnum)) >= 0)
		add_column(text, occurrence->relid, attnum);
	if (exists && occurrence->inh)
		td_fingerprint_children(text, occurrence->relid);
	else if (exists && td_holds_rows_of_others(occurrence->relid, true))
		appendStringInfoString(text, "\n  without those below");
	appendStringInfoChar(text, '\n');
}

/* ---- functions and types ---- */

static uint32
hash_of(HeapTuple tuple, AttrNumber attnum)
{
	bool		null;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, attnum, &null);
	char	   *bytes;
	uint32		hash;

	if (null)
		return 0;
	bytes = (char *) PG_DETOAST_DATUM_COPY(value);
	hash = hash_bytes((unsigned char *) VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ);
	pfree(bytes);
	return hash;
}

static uint32
hash_of_function(HeapTuple tuple)
{
	static const AttrNumber parts[] = {Anum_pg_proc_prosrc, Anum_pg_proc_probin, Anum_pg_proc_prosqlbody, Anum_pg_proc_proconfig};
	Form_pg_proc row = (Form_pg_proc) GETSTRUCT(tuple);
	uint32		hash = hash_combine(row->oid, hash_combine(row->pronamespace, hash_bytes((unsigned char *) NameStr(row->proname), strlen(NameStr(row->proname)))));

	hash = hash_combine(hash, row->provolatile * 2 + row->proisstrict);
	for (int i = 0; i < lengthof(parts); i++)
		hash = hash_combine(hash, hash_of(tuple, parts[i]));
	return hash;
}

static void
add_function(StringInfo text, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc row;

	if (!HeapTupleIsValid(tuple))
	{
		appendStringInfo(text, "function %u gone\n", function);
		return;
	}
	row = (Form_pg_proc) GETSTRUCT(tuple);
	appendStringInfo(text, "function %u %c%s ", function, row->provolatile, row->proisstrict ? " strict" : "");
	add_name(text, row->pronamespace, &row->proname);
	appendStringInfo(text, " %08x\n", hash_of_function(tuple));
	ReleaseSysCache(tuple);
}

/* What is written in C calls what it was linked with. */
bool
td_may_call_others(HeapTuple function)
{
	Oid			language = ((Form_pg_proc) GETSTRUCT(function))->prolang;

	return language != INTERNALlanguageId && language != ClanguageId;
}

static bool
calls_others(const List *functions)
{
	ListCell   *lc;

	foreach(lc, functions)
	{
		HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(lfirst_oid(lc)));
		bool		calls = HeapTupleIsValid(tuple) && td_may_call_others(tuple);

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (calls)
			return true;
	}
	return false;
}

/*
 * Of all functions of users, but triggers and temporary ones: those that a view calls may call others, and their text does not tell which.
 * writers: of who wrote their rows, so that what changes and changes back is another one; else of what they are, so that a GRANT is none.
 */
uint32
td_hash_of_functions(bool writers)
{
	Relation	rel = table_open(ProcedureRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	uint32		hash = 0;

	ScanKeyInit(&key, Anum_pg_proc_oid, BTGreaterEqualStrategyNumber, F_OIDGE, ObjectIdGetDatum(FirstNormalObjectId));
	scan = systable_beginscan(rel, ProcedureOidIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_proc row = (Form_pg_proc) GETSTRUCT(tuple);

		if (row->prorettype != TRIGGEROID && row->prorettype != EVENT_TRIGGEROID && !isAnyTempNamespace(row->pronamespace))
			hash += writers ? murmurhash32(hash_combine(row->oid, HeapTupleHeaderGetRawXmin(tuple->t_data))) : hash_of_function(tuple);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return hash;
}

/* By OID: a list from the catalog cache comes in any order. */
static List *
labels_of(Oid type)
{
	CatCList   *members = SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(type));
	List	   *labels = NIL;

	for (int i = 0; i < members->n_members; i++)
		labels = lappend_oid(labels, ((Form_pg_enum) GETSTRUCT(&members->members[i]->tuple))->oid);
	ReleaseSysCacheList(members);
	list_sort(labels, list_oid_cmp);
	return labels;
}

static void
add_labels(StringInfo text, Oid type)
{
	ListCell   *lc;

	foreach(lc, labels_of(type))
	{
		HeapTuple	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(lfirst_oid(lc)));

		if (!HeapTupleIsValid(tuple))
			continue;
		appendStringInfo(text, " %u %s", lfirst_oid(lc), quote_identifier(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)));
		ReleaseSysCache(tuple);
	}
}

/* Its name, and labels of an enum and fields of a row: they stand in its values' text. */
static void
add_type(StringInfo text, Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type row;
	Oid			relid;

	if (!HeapTupleIsValid(tuple))
	{
		appendStringInfo(text, "type %u gone\n", type);
		return;
	}
	row = (Form_pg_type) GETSTRUCT(tuple);
	relid = row->typrelid;
	appendStringInfo(text, "type %u ", type);
	add_name(text, row->typnamespace, &row->typname);
	if (row->typtype == TYPTYPE_ENUM)
		add_labels(text, type);
	for (int attnum = 1; OidIsValid(relid) && SearchSysCacheExists2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum)); attnum++)
		add_column(text, relid, attnum);
	appendStringInfoChar(text, '\n');
	ReleaseSysCache(tuple);
}

/* ---- types inside of types ---- */

static List *add_to_closure(List *types, Oid type);

static List *
add_fields(List *types, Oid relid)
{
	HeapTuple	tuple;

	for (int attnum = 1; HeapTupleIsValid(tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum))); attnum++)
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);
		Oid			type = att->attisdropped ? InvalidOid : att->atttypid;

		ReleaseSysCache(tuple);
		types = add_to_closure(types, type);
	}
	return types;
}

/* The type and what it is made of, as far as somebody can change it. */
static List *
add_to_closure(List *types, Oid type)
{
	HeapTuple	tuple;
	FormData_pg_type row;

	check_stack_depth();
	if (type < FirstNormalObjectId || list_member_oid(types, type))
		return types;
	types = lappend_oid(types, type);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		return types;
	memcpy(&row, GETSTRUCT(tuple), offsetof(FormData_pg_type, typcollation));
	ReleaseSysCache(tuple);
	types = add_to_closure(types, row.typelem);
	types = add_to_closure(types, row.typbasetype);
	if (row.typtype == TYPTYPE_RANGE)
		types = add_to_closure(types, get_range_subtype(type));
	if (row.typtype == TYPTYPE_MULTIRANGE)
		types = add_to_closure(types, get_multirange_range(type));
	return OidIsValid(row.typrelid) ? add_fields(types, row.typrelid) : types;
}

/* Also of columns: rows are compared, grouped and shown by their fields. */
static List *
all_types(const TdShape *shape)
{
	List	   *types = NIL;
	ListCell   *lc;

	foreach(lc, shape->types)
		types = add_to_closure(types, lfirst_oid(lc));
	for (int i = 0; i < shape->noccurrences; i++)
	{
		const TdOccurrence *o = &shape->occurrences[i];
		int			attnum = -1;

		while ((attnum = bms_next_member(o->columns, attnum)) >= 0)
			types = add_to_closure(types, get_atttype(o->relid, attnum));
	}
	return types;
}

/* ---- ordinary views ---- */

/* By what they are made of: their queries stand in the plan. */
static void
add_views(StringInfo text, const List *views)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		HeapTuple	tuple = SearchSysCache2(RULERELNAME, ObjectIdGetDatum(lfirst_oid(lc)), CStringGetDatum(ViewSelectRuleName));

		appendStringInfoString(text, "view ");
		td_fingerprint_class(text, lfirst_oid(lc), true, false);
		if (HeapTupleIsValid(tuple))
		{
			appendStringInfo(text, " %08x", hash_bytes((unsigned char *) tuple->t_data + tuple->t_data->t_hoff, tuple->t_len - tuple->t_data->t_hoff));
			ReleaseSysCache(tuple);
		}
		appendStringInfoChar(text, '\n');
	}
}

/* ---- text search ---- */

/* Does it read configurations or dictionaries?  Values of its types come from functions that do. */
static bool
uses_text_search(Node *node, void *context)
{
	static const Oid types[] = {TSVECTOROID, TSQUERYOID, REGCONFIGOID, REGDICTIONARYOID};

	if (node == NULL)
		return false;
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opfuncid == F_TS_MATCH_TT)
		return true;
	if (IsA(node, Const) || IsA(node, FuncExpr) || IsA(node, OpExpr) || IsA(node, Var) || IsA(node, CoerceViaIO) || IsA(node, RelabelType))
	{
		for (int i = 0; i < lengthof(types); i++)
		{
			if (exprType(node) == types[i])
				return true;
		}
	}
	return expression_tree_walker(node, uses_text_search, context);
}

/* A hash over a catalog's rows, in the order of an index of it. */
static uint32
hash_of_catalog(Oid catalog, Oid index)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	Relation	order = index_open(index, AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, order, NULL, 0, NULL);
	HeapTuple	tuple;
	uint32		hash = 0;

	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
		hash = hash_combine(hash, hash_bytes((unsigned char *) tuple->t_data + tuple->t_data->t_hoff, tuple->t_len - tuple->t_data->t_hoff));
	systable_endscan_ordered(scan);
	index_close(order, AccessShareLock);
	table_close(rel, AccessShareLock);
	return hash;
}

/* At any level. */
static bool
query_uses_text_search(Node *node, void *context)
{
	if (node && IsA(node, Query))
		return query_tree_walker((Query *) node, query_uses_text_search, context, QTW_IGNORE_JOINALIASES);
	return uses_text_search(node, context) || (node && expression_tree_walker(node, query_uses_text_search, context));
}

/* All of them: which ones a query reads may depend on its rows and on settings. */
static void
add_text_search(StringInfo text, Query *query)
{
	if (query_uses_text_search((Node *) query, NULL))
		appendStringInfo(text, "text search %08x %08x\n", hash_of_catalog(TSConfigMapRelationId, TSConfigMapIndexId),
						 hash_of_catalog(TSDictionaryRelationId, TSDictionaryOidIndexId));
}

char *
td_fingerprint(const TdShape *shape)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	for (int i = 0; i < shape->noccurrences; i++)
		add_occurrence(&text, shape, &shape->occurrences[i]);
	foreach(lc, shape->functions)
		add_function(&text, lfirst_oid(lc));
	if (calls_others(shape->functions))
		appendStringInfo(&text, "and what they call %08x\n", td_hash_of_functions(false));
	foreach(lc, all_types(shape))
		add_type(&text, lfirst_oid(lc));
	if (shape->keyed)
		add_views(&text, shape->keyed->private->views);
	add_text_search(&text, shape->query);
	return text.data;
}
