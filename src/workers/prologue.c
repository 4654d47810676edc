/*-------------------------------------------------------------------------
 *
 * prologue.c
 *		What every worker does first and last: signals, slot, connection, fixed
 *		settings, and the exit hook that leaves nothing behind.
 *
 * NOTES
 *		SIGTERM is `die`: a worker that waits for a lock ends at once.  A worker
 *		that looks at td_worker_should_stop first ends in good order instead,
 *		since that looks at the flag without serving the interrupt.
 *
 *		The exit hook is registered before the connection is made, so it runs
 *		after the transaction was aborted and its locks were released: whoever is
 *		woken by it finds the database as it will stay.
 *
 * IDENTIFICATION
 *		src/workers/prologue.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_replication_origin.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "postmaster/interrupt.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"

#include "compat/compat.h"
#include "workers/workers_internal.h"

#define FILL_PARALLEL 1

static bool origin_is_set = false;
static RepOriginId own_origin = InvalidRepOriginId;
static RepOriginId rows_origin = InvalidRepOriginId;	/* of what workers of views write, but for the commit */

static void leave(int code, Datum arg);
static void leave_replication(int code, Datum arg);
static bool acts_as_owner(TdWorkerKind kind);
static bool writes(TdWorkerKind kind);
static void fix_settings(TdWorkerKind kind);
static void keep_settings(void);
static void fewer_processes(void);
static void at_end_of_transaction(XactEvent event, void *arg);

/* Settings of all workers; whatever the role, the database or the file says. */
static const struct
{
	const char *name;
	const char *value;
	bool		writers_only;	/* those that write users' tables: pipeline, view, fill */
}			fixed_settings[] = {
	{"DateStyle", "ISO, MDY", false},
	{"IntervalStyle", "postgres", false},
	{"bytea_output", "hex", false},
	{"client_min_messages", "warning", false},
	{"deadlock_timeout", "50ms", false},	/* who looks first loses, and can try again: we, rather than a user's session */
	{"default_transaction_deferrable", "off", false},
	{"default_transaction_isolation", "read committed", false},
	{"default_transaction_read_only", "off", false},
	{"exit_on_error", "off", false},	/* or an error of one view or table ends what works for all */
	{"idle_in_transaction_session_timeout", "0", false},
	{"idle_session_timeout", "0", false},
	{"jit", "off", false},
	{"lock_timeout", "0", false},
	{"row_security", "off", false}, /* a query that policies would cut is an error, never a part of the rows */
	{"search_path", "pg_catalog, pg_temp", false},
	{"session_replication_role", "replica", true},
	{"statement_timeout", "0", false},
	{"synchronous_commit", "off", true},
	{"transaction_timeout", "0", false},	/* 17 and later */
};

/* Any user may set these, also in functions that a worker calls: errors and waits of a view would end its worker instead of the view. */
static const char *const kept_settings[] = {"exit_on_error", "transaction_timeout"};

/*
 * The common prologue.  Does not return when the slot is not ours any more.
 * Afterwards: connected (the launcher to no database), outside a transaction,
 * CurrentMemoryContext = TopMemoryContext.
 */
void
td_worker_begin(Datum main_arg, TdWorkerKind kind)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);

	td_slot_attach(main_arg, kind);
	before_shmem_exit(leave, UInt32GetDatum(td_my_slot->generation));
	before_shmem_exit(leave_replication, (Datum) 0);
	BackgroundWorkerUnblockSignals();

	if (kind == TD_WORKER_LAUNCHER)
		BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	else
		BackgroundWorkerInitializeConnectionByOid(td_my_slot->database,
												  acts_as_owner(kind) ? td_my_slot->owner : InvalidOid, 0);
	fix_settings(kind);
	keep_settings();
	if (kind == TD_WORKER_FILL)
		fewer_processes();
	td_worker_give_way(kind);
	MemoryContextSwitchTo(TopMemoryContext);
}

/* A fill may take long, and a busy machine is its writers': one parallel worker at most. */
static void
fewer_processes(void)
{
	if (max_parallel_workers_per_gather > FILL_PARALLEL)
		SetConfigOption("max_parallel_workers_per_gather", "1", PGC_USERSET, PGC_S_OVERRIDE);
}

/* The others are the bootstrap superuser. */
static bool
acts_as_owner(TdWorkerKind kind)
{
	return kind == TD_WORKER_PIPELINE || kind == TD_WORKER_FILL;
}

static bool
writes(TdWorkerKind kind)
{
	return kind == TD_WORKER_PIPELINE || kind == TD_WORKER_VIEW || kind == TD_WORKER_FILL;
}

/*
 * Exit hook: the replication origin and slot are free before our own slot is, since whoever waits for that wants to use or drop them.  A hook
 * of its own, because one that fails is left, and `leave` must not be.
 */
static void
leave_replication(int code, Datum arg)
{
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	if (origin_is_set)
	{
		origin_is_set = false;
		replorigin_session_origin = InvalidRepOriginId;
		replorigin_session_reset();
	}
}

/* Exit hook: watch, children, hosts and slot go, and whoever waits for that is woken. */
static void
leave(int code, Datum arg)
{
	TdWorkerSlot *slot = td_my_slot;

	td_watch_leave();
	td_slots_release_mine();
	td_my_slot = NULL;
	if (slot)
		td_slot_release(slot, DatumGetUInt32(arg));
}

static void
fix_settings(TdWorkerKind kind)
{
	for (int i = 0; i < lengthof(fixed_settings); i++)
	{
		if (fixed_settings[i].writers_only && !writes(kind))
			continue;
		if (GetConfigOption(fixed_settings[i].name, true, false) == NULL)
			continue;
		SetConfigOption(fixed_settings[i].name, fixed_settings[i].value, PGC_SUSET, PGC_S_OVERRIDE);
	}
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_OVERRIDE);
}

/* From here on SET fails: 55P02, an error of whoever's function it is. */
static void
keep_settings(void)
{
	for (int i = 0; i < lengthof(kept_settings); i++)
		td_guc_keep_compat(kept_settings[i]);
}

/* Shows a status in tapdata.workers and in the process title. */
void
td_worker_status(const char *status)
{
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	strlcpy(td_my_slot->status, status, sizeof(td_my_slot->status));
	td_my_slot->since = GetCurrentTimestamp();
	LWLockRelease(td_shared->lock);
	set_ps_display(status);
}

/* Never raises, never serves an interrupt: safe anywhere. */
bool
td_worker_should_stop(void)
{
	return ProcDiePending || (td_my_slot && *(volatile bool *) &td_my_slot->stop);
}

void
td_worker_reload(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Replication origins are known by name in the whole cluster, hence the
 * database in it.  From C this needs no rights.  The transaction that makes it
 * is our own: an origin can't be used before it is committed.
 */
RepOriginId
td_origin_make(const char *suffix)
{
	MemoryContext old = CurrentMemoryContext;
	char		name[NAMEDATALEN];
	RepOriginId origin;

	Assert(!IsTransactionState());
	snprintf(name, sizeof(name), "tapdata_%u_%s", MyDatabaseId, suffix);
	StartTransactionCommand();
	origin = replorigin_by_name(name, true);
	if (origin == InvalidRepOriginId)
	{
		LockRelationOid(ReplicationOriginRelationId, ExclusiveLock);	/* somebody else may be making it */
		origin = replorigin_by_name(name, true);
	}
	if (origin == InvalidRepOriginId)
		origin = replorigin_create(name);
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	return origin;
}

void
td_worker_origin_named(const char *suffix)
{
	RepOriginId origin = td_origin_make(suffix);

	td_replorigin_session_setup_compat(origin);
	origin_is_set = true;
	replorigin_session_origin = own_origin = origin;
}

/*
 * What a worker of views writes from now on bears the origin of all of them in
 * this database, by which decoding for other groups leaves it out before it is
 * kept anywhere; each record has an origin of its own.  A commit must bear that
 * of the session, whose progress it moves.
 *
 * The one in the database is made before any slot of a group, and goes with the extension: its number means nothing else in
 * WAL that a slot has still to read, which can't be said of the origins of other groups.
 */
RepOriginId
td_worker_origin_of_rows(void)
{
	rows_origin = td_origin_make("rows");
	RegisterXactCallback(at_end_of_transaction, NULL);
	replorigin_session_origin = rows_origin;
	return rows_origin;
}

/* Must not raise. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (!origin_is_set)
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
		replorigin_session_origin = own_origin;
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		replorigin_session_origin = rows_origin;
}

void
td_worker_origin(int32 pipeline)
{
	char		suffix[16];

	snprintf(suffix, sizeof(suffix), "%d", pipeline);
	td_worker_origin_named(suffix);
}
