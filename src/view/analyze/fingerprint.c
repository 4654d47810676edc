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
		appendStringInfo(text, " %u.%s owner %u%s%s", row->relnamespace, quote_identifier(NameStr(row->relname)), row->relowner,
						 row->relrowsecurity ? " row security" : "", row->relforcerowsecurity ? " forced" : "");
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
	appendStringInfo(text, "function %u %u.%s %c%s", function, row->pronamespace, quote_identifier(NameStr(row->proname)), row->provolatile,
					 row->proisstrict ? " strict" : "");
	for (int i = 0; i < lengthof(parts); i++)
		appendStringInfo(text, " %08x", hash_of(tuple, parts[i]));
	appendStringInfoChar(text, '\n');
	ReleaseSysCache(tuple);
}

static void
add_labels(StringInfo text, Oid type)
{
	CatCList   *labels = SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(type));

	for (int i = 0; i < labels->n_members; i++)
	{
		Form_pg_enum row = (Form_pg_enum) GETSTRUCT(&labels->members[i]->tuple);

		appendStringInfo(text, " %u %s", row->oid, quote_identifier(NameStr(row->enumlabel)));
	}
	ReleaseSysCacheList(labels);
}

/* Labels of an enum and fields of a row: they stand in its values' text. */
static void
add_type(StringInfo text, Oid type)
{
	Oid			relid = get_typ_typrelid(type);

	if (get_typtype(type) != TYPTYPE_ENUM && !OidIsValid(relid))
		return;
	appendStringInfo(text, "type %u", type);
	if (get_typtype(type) == TYPTYPE_ENUM)
		add_labels(text, type);
	for (int attnum = 1; SearchSysCacheExists2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum)); attnum++)
		add_column(text, relid, attnum);
	appendStringInfoChar(text, '\n');
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
