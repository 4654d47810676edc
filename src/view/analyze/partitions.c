/*-------------------------------------------------------------------------
 *
 * partitions.c
 *		What is below a table, in the fingerprint; and whether partitions are all
 *		that two fingerprints differ by.
 *
 * NOTES
 *		ATTACH and DETACH emit no rows.  A partition may have been taken out,
 *		written to and put back with nothing else to tell; but then its row in
 *		pg_inherits is another one, by another transaction: that is in the text.
 *
 *		A partition that was made by CREATE TABLE ... PARTITION OF was empty when it
 *		became one, so all its rows are decoded as rows of the table above: nothing
 *		is to be computed anew for it.  It is known by its columns: ATTACH and
 *		DETACH write each of them anew, CREATE has written them once.  And by its
 *		file, the first one: rows that were written while it was UNLOGGED are in no
 *		WAL, but it has got another file since.
 *
 * IDENTIFICATION
 *		src/view/analyze/partitions.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

#define BELOW "\n  below "

/* Its parents, each with the transaction that made it one. */
static void
add_parents(StringInfo text, Oid child)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(child));
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		appendStringInfo(text, " of %u since %u", ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent, HeapTupleHeaderGetRawXmin(tuple->t_data));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Partitions, or what inherits. */
void
td_fingerprint_children(StringInfo text, Oid relid)
{
	List	   *children = find_all_inheritors(relid, NoLock, NULL);
	ListCell   *lc;

	list_sort(children, list_oid_cmp);
	foreach(lc, children)
	{
		if (lfirst_oid(lc) == relid)
			continue;
		appendStringInfoString(text, BELOW);
		td_fingerprint_class(text, lfirst_oid(lc), false, true);
		add_parents(text, lfirst_oid(lc));
	}
}

/* Has a column of it never been written but when it was made? */
static bool
has_first_column(Oid relid)
{
	HeapTuple	tuple;
	bool		first = false;

	for (int attnum = 1; !first && HeapTupleIsValid(tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum))); attnum++)
	{
		first = ((Form_pg_attribute) GETSTRUCT(tuple))->attinhcount > 0 && !(tuple->t_data->t_infomask & HEAP_UPDATED);
		ReleaseSysCache(tuple);
	}
	return first;
}

/* Was it made as a partition, and has been one ever since, with nothing in it that is not in the WAL? */
static bool
was_born_empty(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class row;
	bool		first;

	if (!HeapTupleIsValid(tuple))
		return false;
	row = (Form_pg_class) GETSTRUCT(tuple);
	first = row->relispartition && (row->relkind == RELKIND_PARTITIONED_TABLE || row->relfilenode == relid);
	ReleaseSysCache(tuple);
	return first && has_first_column(relid);
}

/* The length of the line at text, its end with it: lines begin with their newline. */
static size_t
line_length(const char *text)
{
	return text[0] == '\0' ? 0 : 1 + strcspn(text + 1, "\n");
}

/* Is all that `now` has more than `before` partitions that were empty when they came? */
bool
td_fingerprint_grown(const char *before, const char *now)
{
	for (size_t n; (n = line_length(now)) > 0; now += n)
	{
		if (line_length(before) == n && memcmp(before, now, n) == 0)
			before += n;
		else if (strncmp(now, BELOW, strlen(BELOW)) != 0 || !was_born_empty(strtoul(now + strlen(BELOW), NULL, 10)))
			return false;
	}
	return before[0] == '\0';
}
