/*-------------------------------------------------------------------------
 *
 * store_load.c
 *		Filling an empty table.
 *
 * NOTES
 *		Fill worker.  Rows come while the executor runs a plan, which may be a
 *		parallel one: xid and command are had before, and nothing here needs a new
 *		one.
 *
 *		A small table is indexed as it is filled.  Past some thousand rows its
 *		indexes are left behind and built by the end, which is much faster, but
 *		waits for every transaction that has looked at the table.
 *
 * src/view/maintain/store_load.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "view/maintain/store_internal.h"

#define LOAD_INDEXED 10000		/* rows that go into the indexes one by one */

struct TdStoreLoad
{
	TdTarget	target;
	int64		rows;
};

/* Nothing that we or others have put into it is to be seen. */
static void
require_empty(TdTarget *t)
{
	TupleTableSlot *slot = table_slot_create(t->rel, NULL);
	TableScanDesc scan = table_beginscan(t->rel, GetActiveSnapshot(), 0, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s to be filled is not empty", td_store_target_name(t))));
}

/* Values are stored as they are: one of another type would be read as what it is not. */
static void
require_types(TdTarget *t, TupleDesc desc)
{
	bool		same = desc->natts >= t->ncolumns;

	for (int i = 0; i < t->ncolumns && same; i++)
		same = TupleDescAttr(desc, i)->atttypid == TupleDescAttr(t->desc, i)->atttypid;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the rows for table %s are not of its type", td_store_target_name(t)),
				 errhint("Cast the columns of the query to plain types, and report this: it is an error of tapdata.")));
}

TdStoreLoad *
td_store_load_begin(Oid relid)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata fill", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	TdStoreLoad *load = palloc0(sizeof(TdStoreLoad));

	td_store_target_open(&load->target, relid, context);
	require_empty(&load->target);
	(void) GetCurrentTransactionId();
	load->target.cid = GetCurrentCommandId(true);
	load->target.bulk = GetBulkInsertState();
	MemoryContextSwitchTo(caller);
	return load;
}

void
td_store_load_row(TdStoreLoad *load, TupleTableSlot *slot)
{
	if (load->rows == 0)
		require_types(&load->target, slot->tts_tupleDescriptor);
	td_store_target_add(&load->target, slot);
	load->rows++;
	if (load->rows == LOAD_INDEXED)
	{
		td_store_target_flush(&load->target);
		td_store_target_close_indexes(&load->target);
	}
}

int64
td_store_load_end(TdStoreLoad *load)
{
	TdTarget   *t = &load->target;
	Oid			relid = RelationGetRelid(t->rel);
	int64		rows = load->rows;
	bool		build;

	td_store_target_flush(t);
	build = !t->indexes;
	td_store_target_close(t);
	CommandCounterIncrement();
	if (build)
		td_reindex_relation_compat(relid, REINDEX_REL_CHECK_CONSTRAINTS);
	MemoryContextDelete(t->context);
	return rows;
}
