/*-------------------------------------------------------------------------
 *
 * wal_kept.c
 *		tapdata.max_wal_kept: a view group whose worker does not get on must not
 *		fill the disk with the WAL that its replication slot keeps.
 *
 * NOTES
 *		The supervisor looks every few seconds, in shared memory alone: a stuck worker
 *		can't be relied on to tell, and a single large transaction commits nothing
 *		that would wake anybody.  A slot that keeps too much is given up: its views
 *		are filled anew once their worker can work again.
 *
 *		Two processes may drop the slot, and the worker makes a new one of the same
 *		name: who does it is settled by `give_up` in the view worker's entry.
 *
 *		KEPT ──supervisor: asks, ends the capture worker──> ASKED ──view worker: takes it upon itself──> TAKEN ──has dropped it──> KEPT
 *															  └──it does not answer: supervisor──> DROPPING ──> DROPPED ──view worker──> KEPT
 *
 *		Without a view worker nobody but the supervisor could start one.
 *
 * IDENTIFICATION
 *		src/workers/wal_kept.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "catalog/catalog.h"
#include "workers/supervisor_internal.h"

#define LOOK_MS 5000
#define LOOK_AGAIN_MS 300		/* while a slot is being given up */
#define ANSWER_MS 1500			/* a view worker that has not taken its slot by then does not get on */
#define DROP_MS 5000			/* the supervisor's part takes no longer, or it has ended */
#define BYTES_IN_MB (1024 * 1024)

typedef enum TdGiveUp
{
	TD_SLOT_KEPT = 0,
	TD_SLOT_ASKED,
	TD_SLOT_TAKEN,
	TD_SLOT_DROPPING,
	TD_SLOT_DROPPED
} TdGiveUp;

/* A slot of a group of this database. */
typedef struct TdKeptSlot
{
	char		name[NAMEDATALEN];
	int32		group;
	bool		active;
	uint64		kept;			/* bytes */
} TdKeptSlot;

static int	read_slots(TdKeptSlot *slots);
static bool give_up(const TdKeptSlot *slot);
static bool move(TdWorkerSlot *worker, TdGiveUp from, TdGiveUp to);
static void drop(const TdKeptSlot *slot);
static void dropped(int32 group);
static void name_views(const TdKeptSlot *slot);

/* The reason, as views bear it. */
void
td_wal_error(TdError *err)
{
	memset(err, 0, sizeof(*err));
	td_error_set(err, "55000", "the replication slot of the view's group kept more WAL than tapdata.max_wal_kept allows, it was given up");
	td_error_detail(err, "The limit is %d MB. What was changed since is not to be had: the view stays as it was.", td_max_wal_kept);
	td_error_hint(err, "It is filled anew, by itself, once the worker of its group can work again: tapdata.workers and the server log tell what it does.");
}

/* ---- the supervisor ---- */

/* Looks at all slots of this database and gives up those that keep too much; returns when to look again, -1 = there is nothing to look at. */
int
td_wal_look(void)
{
	TdKeptSlot *slots = palloc(sizeof(TdKeptSlot) * Max(max_replication_slots, 1));
	int			n = td_max_wal_kept > 0 ? read_slots(slots) : 0;
	int			again = n > 0 ? LOOK_MS : -1;

	for (int i = 0; i < n; i++)
	{
		if (slots[i].kept > (uint64) td_max_wal_kept * BYTES_IN_MB && !give_up(&slots[i]))
			again = LOOK_AGAIN_MS;
	}
	pfree(slots);
	return again;
}

static int
read_slots(TdKeptSlot *slots)
{
	char	   *prefix = psprintf("tapdata_%u_g", MyDatabaseId);
	XLogRecPtr	end = GetXLogInsertRecPtr();
	int			n = 0;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		XLogRecPtr	restart;

		if (!slot->in_use || slot->data.database != MyDatabaseId || strncmp(NameStr(slot->data.name), prefix, strlen(prefix)) != 0)
			continue;
		SpinLockAcquire(&slot->mutex);
		restart = slot->data.restart_lsn;
		slots[n].active = slot->active_pid != 0;
		SpinLockRelease(&slot->mutex);
		strlcpy(slots[n].name, NameStr(slot->data.name), NAMEDATALEN);
		slots[n].group = (int32) strtol(slots[n].name + strlen(prefix), NULL, 10);
		slots[n].kept = restart == InvalidXLogRecPtr || restart > end ? 0 : end - restart;
		n++;
	}
	LWLockRelease(ReplicationSlotControlLock);
	pfree(prefix);
	return n;
}

/* One step on the way; true = no more is to be done now. */
static bool
give_up(const TdKeptSlot *slot)
{
	TdWorkerSlot *worker;
	bool		ours = !slot->active;	/* to drop */
	bool		asked = false;
	bool		waits = false;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	worker = td_slot_find(TD_WORKER_VIEW, MyDatabaseId, slot->group);
	if (worker)
	{
		asked = move(worker, TD_SLOT_KEPT, TD_SLOT_ASKED);
		if (asked)
			worker->give_up_asked = GetCurrentTimestamp();
		ours = ours && TimestampDifferenceExceeds(worker->give_up_asked, GetCurrentTimestamp(), ANSWER_MS) &&
			move(worker, TD_SLOT_ASKED, TD_SLOT_DROPPING);
		waits = pg_atomic_read_u32(&worker->give_up) == TD_SLOT_ASKED;
	}
	LWLockRelease(td_shared->lock);
	if (asked || (ours && worker == NULL))
		ereport(LOG,
				(errmsg("replication slot \"%s\" of live views keeps more WAL than tapdata.max_wal_kept allows, it is given up", slot->name),
				 errdetail("It keeps " UINT64_FORMAT " MB.", slot->kept / BYTES_IN_MB)));
	if (waits)
		(void) td_worker_request_stop(TD_WORKER_CAPTURE, slot->group, true);
	if (!ours)
		return false;
	drop(slot);
	name_views(slot);
	return true;
}

/* false = somebody else was first. */
static bool
move(TdWorkerSlot *worker, TdGiveUp from, TdGiveUp to)
{
	uint32		expected = from;

	return pg_atomic_compare_exchange_u32(&worker->give_up, &expected, to);
}

/* Whatever becomes of it, a view worker that waits for it goes on. */
static void
drop(const TdKeptSlot *slot)
{
	PG_TRY();
	{
		ReplicationSlotDrop(slot->name, true);
	}
	PG_CATCH();
	{
		dropped(slot->group);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dropped(slot->group);
}

static void
dropped(int32 group)
{
	TdWorkerSlot *worker;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	worker = td_slot_find(TD_WORKER_VIEW, MyDatabaseId, group);
	if (worker)
		(void) move(worker, TD_SLOT_DROPPING, TD_SLOT_DROPPED);
	LWLockRelease(td_shared->lock);
}

/*
 * The worker can't say what has become of its views.  It may have their rows
 * locked: those it will have to name itself, once it gets on.
 */
static void
name_views(const TdKeptSlot *slot)
{
	TdCatalogScope scope;
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(slot->group)};
	SPITupleTable *rows;
	uint64		n;
	TdError		err;

	td_wal_error(&err);
	(void) td_supervisor_begin();
	td_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT s.view, g.snapshot FROM tapdata.view_state s JOIN tapdata.view v ON v.id = s.view "
							  "JOIN tapdata.group_state g ON g.view_group = v.view_group "
							  "WHERE v.view_group = $1 AND s.status = 'streaming' ORDER BY s.view FOR NO KEY UPDATE OF s SKIP LOCKED",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read views");
	rows = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		td_view_set_status(pg_strtoint32(SPI_getvalue(rows->vals[i], rows->tupdesc, 1)), "snapshot", SPI_getvalue(rows->vals[i], rows->tupdesc, 2), &err);
	td_catalog_leave(&scope);
	td_supervisor_commit();
}

/* ---- the view worker ---- */

/* Before its slot is used: true = it was given up, and is the caller's to drop, if it is still there; then td_wal_dropped. */
bool
td_wal_given_up(void)
{
	TimestampTz begin = GetCurrentTimestamp();

	for (;;)
	{
		switch ((TdGiveUp) pg_atomic_read_u32(&td_my_slot->give_up))
		{
			case TD_SLOT_KEPT:
				return false;
			case TD_SLOT_ASKED:
				(void) move(td_my_slot, TD_SLOT_ASKED, TD_SLOT_TAKEN);
				break;
			case TD_SLOT_TAKEN:
			case TD_SLOT_DROPPED:
				return true;
			case TD_SLOT_DROPPING:
				if (TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), DROP_MS))
					return true;
				(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
				ResetLatch(MyLatch);
				CHECK_FOR_INTERRUPTS();
				break;
		}
	}
}

void
td_wal_dropped(void)
{
	pg_atomic_write_u32(&td_my_slot->give_up, TD_SLOT_KEPT);
}
