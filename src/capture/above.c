/*-------------------------------------------------------------------------
 *
 * above.c
 *		The tables above a table.
 *
 * NOTES
 *		Under whatever snapshot catalogs are read with: today's, or that of a
 *		change which is being decoded.
 *
 * IDENTIFICATION
 *		src/capture/above.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "capture/capture.h"

/* Those that it inherits from by itself. */
static List *
add_parents(Relation inherits, Oid relid, List *above)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		above = list_append_unique_oid(above, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	return above;
}

List *
td_tables_above(Oid relid)
{
	List	   *above;
	Relation	inherits;

	if (get_rel_relispartition(relid))
		return get_partition_ancestors(relid);	/* leaves out one that is being detached */
	inherits = table_open(InheritsRelationId, AccessShareLock);
	above = add_parents(inherits, relid, NIL);
	for (int i = 0; i < list_length(above); i++)
		above = add_parents(inherits, list_nth_oid(above, i), above);
	table_close(inherits, AccessShareLock);
	return above;
}
