/*-------------------------------------------------------------------------
 *
 * fingerprint.c
 *		What a plan stands on, as text.
 *
 * NOTES
 *		Called for each view that may be concerned by a DDL message, without
 *		locks: by syscache and a scan of pg_inherits only.  Whatever is gone is
 *		said to be gone.  Replica identity is not in it: capture looks at it for
 *		every change, and making a view on a table must not recompute the others.
 *
 * IDENTIFICATION
 *		src/view/analyze/fingerprint.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
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

/* whole: a table that the query names; else one of its partitions. */
static void
add_class(StringInfo text, Oid relid, bool whole)
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
	if (whole)
	{
		appendStringInfo(text, " owner %u%s%s ", row->relowner, row->relrowsecurity ? " row security" : "",
						 row->relforcerowsecurity ? " forced" : "");
		add_name(text, row->relnamespace, &row->relname);
	}
	ReleaseSysCache(tuple);
}

static void
add_children(StringInfo text, Oid relid)
{
	List	   *children = has_subclass(relid) ? find_all_inheritors(relid, NoLock, NULL) : NIL;
	ListCell   *lc;

	list_sort(children, list_oid_cmp);
	foreach(lc, children)
	{
		if (lfirst_oid(lc) == relid)
			continue;
		appendStringInfoString(text, "\n  partition ");
		add_class(text, lfirst_oid(lc), false);
	}
}

static void
add_occurrence(StringInfo text, const TdOccurrence *occurrence)
{
	bool		exists = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(occurrence->relid));
	int			attnum = -1;

	appendStringInfo(text, "r%d ", occurrence->n);
	add_class(text, occurrence->relid, true);
	while ((attnum = bms_next_member(occurrence->columns, attnum)) >= 0)
		add_column(text, occurrence->relid, attnum);
	if (exists)
		add_children(text, occurrence->relid);
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

static void
add_function(StringInfo text, Oid function)
{
	static const AttrNumber parts[] = {Anum_pg_proc_prosrc, Anum_pg_proc_probin, Anum_pg_proc_prosqlbody, Anum_pg_proc_proconfig};
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
	for (int i = 0; i < lengthof(parts); i++)
		appendStringInfo(text, " %08x", hash_of(tuple, parts[i]));
	appendStringInfoChar(text, '\n');
	ReleaseSysCache(tuple);
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

char *
td_fingerprint(const TdShape *shape)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	for (int i = 0; i < shape->noccurrences; i++)
		add_occurrence(&text, &shape->occurrences[i]);
	foreach(lc, shape->functions)
		add_function(&text, lfirst_oid(lc));
	foreach(lc, shape->types)
		add_type(&text, lfirst_oid(lc));
	return text.data;
}
