/*-------------------------------------------------------------------------
 *
 * cleanup.c
 *		Replication origins and slots that nobody owns any more.
 *
 * NOTES
 *		Probe and supervisor.  Both kinds of objects outlive the rows they belong
 *		to: origins are known to the whole cluster, slots are no catalog rows at
 *		all.  Their names carry the database (tapdata_<database oid>_<id>), so
 *		that any database can tell whose they are.
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
#include "utils/snapmgr.h"

#include "workers/workers_internal.h"

static void drop_origins(bool extension_here);
static void drop_slots(void);

/*
 * Drops the origins of databases that are gone, and where the extension is not
 * (any more) here those of this database and its slots.  A transaction of its own.
 */
void
td_cleanup_database(bool extension_here)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	drop_origins(extension_here);
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (!extension_here)
		drop_slots();
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
		replorigin_drop_by_name(lfirst(lc), true, false);
	SPI_finish();
}

/* Logical slots of this database that are ours. */
static void
drop_slots(void)
{
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		char		name[NAMEDATALEN];
		bool		ours;

		LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
		ours = slot->in_use && slot->data.database == MyDatabaseId && strncmp(NameStr(slot->data.name), "tapdata_", 8) == 0;
		strlcpy(name, NameStr(slot->data.name), NAMEDATALEN);
		LWLockRelease(ReplicationSlotControlLock);
		if (ours)
			ReplicationSlotDrop(name, true);
	}
}
