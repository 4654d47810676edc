/*-------------------------------------------------------------------------
 *
 * session.c
 *		How a session speaks to launcher, supervisors and workers.
 *
 * NOTES
 *		Any backend.  What a transaction asks for is remembered in static flags
 *		and done by the transaction callback at its end: the rows it wrote are
 *		visible to others by then, and no lock of it can hold up the one who is
 *		woken for longer than the rest of the commit.
 *
 *		The supervisor is woken at abort as well: it may have passed over a row
 *		that was locked.
 *
 * IDENTIFICATION
 *		src/workers/session.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "util/util.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "workers/workers_internal.h"

#define LAUNCHER_MS 10000		/* in which it comes, once the server is up */

/* What the end of the transaction does. */
static struct
{
	bool		wake_supervisor;
	bool		rescan;
	bool		probe;
	bool		holds;
	TdWorkerKind wake_kind;		/* NONE = no worker */
	int32		wake_object;	/* 0 = each of that kind */
}			pending;

static void at_end_of_transaction(XactEvent event, void *arg);
static void release_holds(void);
static bool enter_hold(Oid database);

/* How it comes to be loaded at server start: the line to write. */
static void
not_loaded(TdError *err)
{
	const char *libraries = GetConfigOption("shared_preload_libraries", true, false);

	(void) td_error_set(err, "55000", "tapdata is not loaded at server start");
	(void) td_error_detail(err, "Its processes run only when the library is in shared_preload_libraries.");
	(void) td_error_hint(err, "Set this in postgresql.conf and restart the server: shared_preload_libraries = '%s%stapdata'",
						 libraries ? libraries : "", libraries && libraries[0] ? "," : "");
}

/* Raises unless the library was loaded at server start. */
void
td_workers_require(void)
{
	TdError		err = {0};

	if (td_shared != NULL)
		return;
	not_loaded(&err);
	td_error_raise_own(&err);
}

/* ---- waking ---- */

/* Wakes the launcher, if it runs; what it shall do is in shared memory, so one that starts later does it too. */
void
td_launcher_wake(bool rescan, Oid probe)
{
	TdWorkerSlot *slot;
	bool		known = !OidIsValid(probe);

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	td_shared->rescan |= rescan;
	for (int i = 0; i < td_shared->nprobes && !known; i++)
		known = td_shared->probes[i] == probe;
	if (!known && td_shared->nprobes < TD_MAX_PROBES)
		td_shared->probes[td_shared->nprobes++] = probe;
	else if (!known)
		td_shared->probe_all = true;
	slot = td_slot_find(TD_WORKER_LAUNCHER, InvalidOid, 0);
	if (slot && slot->latch)
		SetLatch(slot->latch);
	LWLockRelease(td_shared->lock);
}

/* Wakes the supervisor of a database; when there is none, the launcher has a look whether there should be. */
void
td_supervisor_wake(Oid database)
{
	TdWorkerSlot *slot;

	LWLockAcquire(td_shared->lock, LW_SHARED);
	slot = td_slot_find(TD_WORKER_SUPERVISOR, database, 0);
	if (slot && slot->latch)
		SetLatch(slot->latch);	/* without a latch yet: it looks at everything once it runs */
	LWLockRelease(td_shared->lock);
	if (slot == NULL)
		td_launcher_wake(false, database);
}

/* Something in the catalog changes with this transaction. */
void
td_supervisor_wake_at_commit(void)
{
	td_workers_require();
	pending.wake_supervisor = true;
}

/* What a worker does changes with this transaction; of several objects each worker of the kind has a look. */
void
td_worker_wake_at_commit(TdWorkerKind kind, int32 object)
{
	if (td_shared == NULL)
		return;
	pending.wake_supervisor = true;
	pending.wake_object = pending.wake_kind == TD_WORKER_NONE || pending.wake_object == object ? object : 0;
	pending.wake_kind = kind;
}

/* Tells them that the catalog has changed; object 0 = all of the kind. */
void
td_workers_tell(TdWorkerKind kind, int32 object)
{
	LWLockAcquire(td_shared->lock, LW_SHARED);
	for (int i = 0; i < td_shared->nslots; i++)
	{
		TdWorkerSlot *slot = &td_shared->slots[i];

		if (slot->kind != kind || slot->database != MyDatabaseId || (object != 0 && slot->object != object))
			continue;
		pg_atomic_fetch_add_u32(&slot->told, 1);
		if (slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(td_shared->lock);
}

/* Databases come or go with this transaction. */
void
td_rescan_at_commit(void)
{
	pending.rescan = true;
}

/* The extension comes or goes in this database with this transaction. */
void
td_probe_at_commit(void)
{
	pending.probe = true;
}

void
td_xact_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
}

/* Must not raise.  A prepared transaction ends in COMMIT PREPARED (hooks.c). */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT)
		td_watch_committed();
	td_covered_ended(event == XACT_EVENT_COMMIT);
	td_mark_release();
	if (pending.holds)
		release_holds();
	if (pending.probe && event == XACT_EVENT_COMMIT)
		td_launcher_wake(false, MyDatabaseId);
	if ((pending.rescan && event == XACT_EVENT_COMMIT) || pending.holds)
		td_launcher_wake(true, InvalidOid);
	if (pending.wake_supervisor && event != XACT_EVENT_PREPARE)
		td_supervisor_wake(MyDatabaseId);
	if (pending.wake_kind != TD_WORKER_NONE && event == XACT_EVENT_COMMIT)
		td_workers_tell(pending.wake_kind, pending.wake_object);
	memset(&pending, 0, sizeof(pending));
}

/* ---- stopping ---- */

/* The launcher found no worker for some database, and this one has neither a supervisor nor a probe that goes before it. */
bool
td_supervisor_starved(TdError *why)
{
	TdWorkerSlot *launcher;
	bool		starved;

	if (td_shared == NULL || !td_enabled || RecoveryInProgress())
		return false;
	LWLockAcquire(td_shared->lock, LW_SHARED);
	launcher = td_slot_find(TD_WORKER_LAUNCHER, InvalidOid, 0);
	starved = launcher && launcher->hungry && !td_slot_find(TD_WORKER_SUPERVISOR, MyDatabaseId, 0) && !td_slot_find(TD_WORKER_PROBE, MyDatabaseId, 0);
	LWLockRelease(td_shared->lock);
	if (starved)
	{
		char	   *hint = td_no_worker_hint("supervisor of this database");

		(void) td_error_set(why, "53000", TD_NO_WORKER " for the supervisor of this database");
		(void) td_error_hint(why, "%s", hint);
		pfree(hint);
	}
	return starved;
}

/* The server has no place for it in max_worker_processes; it says so in its log only. */
static bool
has_no_launcher(void)
{
	bool		none;

	LWLockAcquire(td_shared->lock, LW_SHARED);
	none = td_shared->launcher_starts == 0;
	LWLockRelease(td_shared->lock);
	return none && TimestampDifferenceExceeds(td_shared->made, GetCurrentTimestamp(), LAUNCHER_MS);
}

/* What no worker can write into the catalog. */
const char *
td_database_standing(TdError *why)
{
	if (RecoveryInProgress())
		return "standby";
	if (td_shared == NULL)
	{
		not_loaded(why);
		return "stopped";
	}
	if (!td_enabled)
	{
		(void) td_error_set(why, "55000", "tapdata.enabled is off");
		(void) td_error_hint(why, "ALTER SYSTEM SET tapdata.enabled = on; SELECT pg_reload_conf();");
		return "stopped";
	}
	if (td_supervisor_starved(why))
		return "waiting_for_worker";
	if (has_no_launcher())
	{
		(void) td_error_set(why, "53000", "the launcher of tapdata was not started");
		(void) td_error_hint(why, "The server log says why. Raise max_worker_processes (now %d) and restart the server.", max_worker_processes);
		return "stopped";
	}
	return NULL;
}

/* Asks a worker of this database to stop; it acts on it without waiting for our commit. */
bool
td_worker_request_stop(TdWorkerKind kind, int32 object, bool force)
{
	TdWorkerSlot *slot;

	if (td_shared == NULL)
		return false;
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	slot = td_slot_find(kind, MyDatabaseId, object);
	if (slot)
	{
		slot->stop = true;
		if (slot->stop_asked == 0)
			slot->stop_asked = GetCurrentTimestamp();
		if (force && slot->pid != 0)
			kill(slot->pid, SIGTERM);
		if (slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(td_shared->lock);
	return slot != NULL;
}

/* Waits until no such worker is there; cancel and termination of the session are served. */
bool
td_worker_wait_gone(TdWorkerKind kind, int32 object, int timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool		gone;

	if (td_shared == NULL)
		return true;
	ConditionVariablePrepareToSleep(&td_shared->gone);
	while (!(gone = !td_slot_exists(kind, MyDatabaseId, object, NULL)))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&td_shared->gone, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return gone;
}

/* Waits until a database has no worker of ours (td_workers_any); interruptible. */
bool
td_workers_wait_none(Oid database, bool all, int timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool		none;

	ConditionVariablePrepareToSleep(&td_shared->gone);
	while (!(none = !td_workers_any(database, all)))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&td_shared->gone, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return none;
}

/* ---- holding a database empty ---- */

bool
td_database_held(Oid database)
{
	bool		held = false;

	LWLockAcquire(td_shared->lock, LW_SHARED);
	for (int i = 0; i < TD_MAX_HOLDS; i++)
		held |= td_shared->holds[i].database == database;
	LWLockRelease(td_shared->lock);
	return held;
}

/* false = too many holds: the command is left to its luck. */
static bool
enter_hold(Oid database)
{
	bool		entered = false;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TD_MAX_HOLDS && !entered; i++)
	{
		TdHold	   *hold = &td_shared->holds[i];

		if (OidIsValid(hold->database))
			continue;
		hold->database = database;
		hold->holder = MyProcPid;
		entered = true;
	}
	LWLockRelease(td_shared->lock);
	return entered;
}

/*
 * Stops our workers in a database and keeps them away until the end of this
 * transaction.  Returns after TD_HOLD_TIMEOUT_MS at the latest.
 */
void
td_hold_database(Oid database)
{
	pending.holds = true;
	if (!enter_hold(database))
		return;
	td_workers_signal(database, SIGTERM, true);
	(void) td_workers_wait_none(database, true, TD_HOLD_TIMEOUT_MS);
}

static void
release_holds(void)
{
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TD_MAX_HOLDS; i++)
	{
		if (td_shared->holds[i].holder == MyProcPid)
			memset(&td_shared->holds[i], 0, sizeof(TdHold));
	}
	LWLockRelease(td_shared->lock);
}
