/*-------------------------------------------------------------------------
 *
 * truncate.c
 *		TRUNCATE of a target.
 *
 * NOTES
 *		As the table's owner, with an ACCESS EXCLUSIVE lock until the end of the
 *		transaction.  Like any TRUNCATE it is not MVCC-safe: a REPEATABLE READ
 *		reader that touches the table only afterwards sees it empty.
 *
 * src/apply/truncate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/heap.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "apply/apply_internal.h"
#include "compat/compat.h"

static void check_references(TdTable *t);

/* Empties the table of t, which the caller has open with its lock and binding. */
void
td_truncate(TdApply *a, TdTable *t)
{
	TdGuard		guard;

	td_guard_enter(&guard, t->binding->owner);
	td_snapshot_push();
	check_references(t);
	td_truncate_compat(t->rel, XLogLogicalInfoActive() && RelationNeedsWAL(t->rel));
	td_snapshot_pop();
	td_guard_leave(&guard);
}

/* A table that references this one would be left with rows that point nowhere. */
static void
check_references(TdTable *t)
{
	List	   *referencing = heap_truncate_find_FKs(list_make1_oid(RelationGetRelid(t->rel)));

	referencing = list_delete_oid(referencing, RelationGetRelid(t->rel));
	if (referencing != NIL)
	{
		Oid			relid = linitial_oid(referencing);
		Relation	other = table_open(relid, AccessShareLock);

		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the source truncated table %s, which a foreign key references here", t->binding->name),
				 errdetail("Table %s has a foreign key to it.", td_relation_name(other)),
				 errhint("Drop the foreign key of %s; the pipeline goes on from where it stopped.", td_relation_name(other))));
	}
}
