/*-------------------------------------------------------------------------
 *
 * cleanup.c
 *		Replication origins and slots that nobody owns any more.
 *
 * NOTES
 *		Probe and supervisor.  Both kinds of objects outlive the rows they belong
 *		to: origins are known to the whole cluster, slots are no catalog rows at
 *		all.  Their names carry the database (tapdata_<database oid>_<id> of a
 *		pipeline, _g<id> and _g<id>_fill of a view group), so that any database can
 *		tell whose they are.
 *
 *		Only what nobody uses is dropped; the rest is left for the next time.  A slot
 *		is gone at once, whatever becomes of the transaction.
 *
 * IDENTIFICATION
 *		src/workers/cleanup.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "util/util.h"
#include "workers/workers_internal.h"

static void drop_origins(bool extension_here);
static bool drop_slots(void);
static void drop_groups(void);
static bool kind_runs(TdWorkerKind kind);
static bool drop_one(int32 group, char *name, bool is_slot, bool busy);

/*
 * Drops the origins of databases that are gone, and where the extension is not
 * (any more) here those of this database and its slots.  A transaction of its
 * own.  false = something is in use.
 */
bool
td_cleanup_database(bool extension_here)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	drop_origins(extension_here);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return extension_here || drop_slots();
}

static void
drop_origins(bool extension_here)
{
	Oid			types[] = {OIDOID, BOOLOID};
	Datum		values[] = {ObjectIdGetDatum(MyDatabaseId), BoolGetDatum(extension_here)};
	List	   *names = NIL;
	ListCell   *lc;

	SPI_connect();
	if (SPI_execute_with_args("SELECT roname FROM pg_catalog.pg_replication_origin WHERE roname ~ '^tapdata_[0-9]+_' AND "
							  "CASE WHEN split_part(roname, '_', 2) = $1::text THEN NOT $2 "
							  "ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.oid::text = split_part(roname, '_', 2)) END",
							  2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read replication origins");
	for (uint64 i = 0; i < SPI_processed; i++)
		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	foreach(lc, names)
		(void) td_try_to_drop(lfirst(lc), false);
	SPI_finish();
}

/* Slots of this database that are ours; false = one is in use. */
static bool
drop_slots(void)
{
	char	   *prefix = psprintf("tapdata_%u_", MyDatabaseId);
	bool		all = true;

	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		char		name[NAMEDATALEN];
		bool		ours;
		bool		busy;

		LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
		ours = slot->in_use && slot->data.database == MyDatabaseId && strncmp(NameStr(slot->data.name), prefix, strlen(prefix)) == 0;
		busy = slot->active_pid != 0;
		strlcpy(name, NameStr(slot->data.name), NAMEDATALEN);
		LWLockRelease(ReplicationSlotControlLock);
		if (ours && !busy)
			ReplicationSlotDrop(name, true);
		all &= !ours || !busy;
	}
	return all;
}

/*
 * Slots and origins of groups that have no views (any more): such a slot would
 * keep WAL for nobody.  In the supervisor, which alone starts the workers that
 * would use them; within td_catalog_enter.  false = something is in use.
 */
bool
td_cleanup_groups(void)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(MyDatabaseId)};
	uint64		n;
	SPITupleTable *table;
	bool		all = true;

	if (SPI_execute_with_args("SELECT substr(split_part(o.name, '_', 3), 2)::bigint::integer, o.name, o.is_slot, o.busy FROM ("
							  "SELECT roname, false, false FROM pg_catalog.pg_replication_origin UNION ALL "
							  "SELECT slot_name::text, true, active FROM pg_catalog.pg_replication_slots WHERE database = current_database()"
							  ") o(name, is_slot, busy) WHERE o.name ~ ('^tapdata_' || $1::text || '_g[0-9]{1,9}(_fill)?$') AND "
							  "NOT EXISTS (SELECT FROM tapdata.view v WHERE 'g' || v.view_group = split_part(o.name, '_', 3))",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read replication slots and origins");
	n = SPI_processed;
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = table->vals[i];
		bool		null;

		all &= drop_one(DatumGetInt32(SPI_getbinval(row, table->tupdesc, 1, &null)), SPI_getvalue(row, table->tupdesc, 2),
						DatumGetBool(SPI_getbinval(row, table->tupdesc, 3, &null)), DatumGetBool(SPI_getbinval(row, table->tupdesc, 4, &null)));
	}
	drop_groups();
	return all;
}

/*
 * Groups that have no views and no worker.  One that somebody is making a view in
 * has its row locked, and is left alone; its slot and origins may go after it.  Whether
 * it has views is asked once more with its row locked: they may have been committed since
 * the first look.  Those of a copy are left alone until it is adopted: a dump that is being
 * restored brings them before their views.
 */
static void
drop_groups(void)
{
	List	   *ids = NIL;
	ListCell   *lc;

	if (SPI_execute("SELECT g.id FROM tapdata.view_group g WHERE g.home = tapdata.home() AND NOT EXISTS (SELECT FROM tapdata.view v WHERE v.view_group = g.id) "
					"FOR UPDATE SKIP LOCKED", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read view groups");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int32		id = pg_strtoint32(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));

		if (!td_worker_runs(TD_WORKER_VIEW, id) && !td_worker_runs(TD_WORKER_CAPTURE, id))
			ids = lappend_int(ids, id);
	}
	foreach(lc, ids)
	{
		Oid			types[] = {INT4OID};
		Datum		values[] = {Int32GetDatum(lfirst_int(lc))};

		if (SPI_execute_with_args("WITH gone AS (DELETE FROM tapdata.view_group WHERE id = $1 AND NOT EXISTS (SELECT FROM tapdata.view v WHERE v.view_group = $1) RETURNING id) "
								  "DELETE FROM tapdata.worker_start w USING gone WHERE w.kind = 'view' AND w.object = gone.id", 1, types, values, NULL, false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not remove view group %d", lfirst_int(lc));
	}
}

/* One of them, unless it is in use; true as well when the end of a worker of ours will bring us back here. */
static bool
drop_one(int32 group, char *name, bool is_slot, bool busy)
{
	if (td_worker_runs(TD_WORKER_VIEW, group) || td_worker_runs(TD_WORKER_CAPTURE, group) || kind_runs(TD_WORKER_FILL))
		return true;
	if (busy)
		return false;
	return td_try_to_drop(name, is_slot);
}

/* In a transaction: an origin (which does not show who uses it) or a slot.  false = somebody uses it: that is no reason to leave all else undone. */
bool
td_try_to_drop(char *name, bool is_slot)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool dropped = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(caller);
		if (is_slot)
			ReplicationSlotDrop(name, true);
		else
			replorigin_drop_by_name(name, true, true);
		ReleaseCurrentSubTransaction();
		dropped = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (edata->sqlerrcode != ERRCODE_OBJECT_IN_USE)
			ReThrowError(edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return dropped;
}

/* A worker of that kind in this database; which group a fill worker belongs to can't be told. */
static bool
kind_runs(TdWorkerKind kind)
{
	bool		runs = false;

	LWLockAcquire(td_shared->lock, LW_SHARED);
	for (int i = 0; i < td_shared->nworkers; i++)
		runs |= td_shared->slots[i].kind == kind && td_shared->slots[i].database == MyDatabaseId;
	LWLockRelease(td_shared->lock);
	return runs;
}
