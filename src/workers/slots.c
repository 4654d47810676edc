/*-------------------------------------------------------------------------
 *
 * slots.c
 *		The shared memory of the room: one slot for each worker and host.
 *
 * NOTES
 *		A slot is taken by whoever starts a worker (pid 0), attached by the worker
 *		with the generation it was given, and released by the worker's exit hook,
 *		by its starter when it never began (td_workers_reap), or by the starter's
 *		own exit hook.  Each use has a new generation, so a late worker can't take
 *		a slot that is somebody else's by now.
 *
 *		max_worker_processes bounds the workers' slots; hosts have slots of
 *		their own, so that they can't take the workers'.
 *
 * IDENTIFICATION
 *		src/workers/slots.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "workers/workers_internal.h"

/* A worker we started and whose end we have not seen. */
typedef struct Started
{
	BackgroundWorkerHandle *handle;
	int			number;
	uint32		generation;
} Started;

TdShared   *td_shared = NULL;
TdWorkerSlot *td_my_slot = NULL;

static List *started = NIL;		/* of Started *, in TopMemoryContext */
static bool exit_hook_set = false;

static const char *const kind_names[] = {
	[TD_WORKER_NONE] = "none",
	[TD_WORKER_LAUNCHER] = "launcher",
	[TD_WORKER_SUPERVISOR] = "supervisor",
	[TD_WORKER_PROBE] = "probe",
	[TD_WORKER_CAPTURE] = "capture",
	[TD_WORKER_VIEW] = "view",
	[TD_WORKER_FILL] = "fill",
	[TD_WORKER_PIPELINE] = "pipeline",
	[TD_WORKER_SERVE] = "serve",
	[TD_WORKER_HOST] = "host"
};

static bool is_child(TdWorkerKind kind);
static void release(TdWorkerSlot *slot, uint32 generation, bool unbegun);
static TdWorkerSlot *take(int from, int to, const TdWorkerOrder *order);
static int	workers_in_use(void);
static TdLaunch reserve(const TdWorkerOrder *order, int *number, uint32 *generation);
static bool register_worker(const TdWorkerOrder *order, int number, uint32 generation);
static void wake_those_above(Oid database, pid_t starter);
static void end_children(void);
static void wake_hungry(void);
static void release_mine_on_exit(int code, Datum arg);

const char *
td_worker_kind_name(TdWorkerKind kind)
{
	return kind_names[kind];
}

/* ---- shared memory ---- */

static Size
shared_size(void)
{
	return add_size(offsetof(TdShared, slots), mul_size(max_worker_processes + TD_HOST_SLOTS, sizeof(TdWorkerSlot)));
}

void
td_slots_request(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("tapdata", 1);
}

/* Makes or attaches the shared memory; also after a crash, when everything begins anew. */
void
td_slots_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	td_shared = ShmemInitStruct("tapdata", shared_size(), &found);
	if (!found)
	{
		memset(td_shared, 0, shared_size());
		td_shared->lock = &GetNamedLWLockTranche("tapdata")->lock;
		td_shared->made = GetCurrentTimestamp();
		td_shared->nworkers = max_worker_processes;
		td_shared->nslots = max_worker_processes + TD_HOST_SLOTS;
		ConditionVariableInit(&td_shared->gone);
		pg_atomic_init_u64(&td_shared->next_mark, 0);
		pg_atomic_init_u32(&td_shared->watch_version, 0);
		pg_atomic_init_u64(&td_shared->watch_segment, 0);
		for (int i = 0; i < TD_MAX_WATCHES; i++)
		{
			pg_atomic_init_u32(&td_shared->watches[i].asleep, 0);
			pg_atomic_init_u64(&td_shared->watches[i].woken_at, 0);
		}
		for (int i = 0; i < td_shared->nslots; i++)
		{
			TdWorkerSlot *slot = &td_shared->slots[i];

			pg_atomic_init_u32(&slot->caught_up, 0);
			pg_atomic_init_u64(&slot->caught_up_at, 0);
			pg_atomic_init_u64(&slot->mark_wanted, 0);
			pg_atomic_init_u64(&slot->covered, 0);
			pg_atomic_init_u64(&slot->decoded_at, 0);
			pg_atomic_init_u64(&slot->keeping, 0);
			pg_atomic_init_u32(&slot->give_up, 0);
			pg_atomic_init_u32(&slot->told, 0);
			ConditionVariableInit(&slot->changed);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ---- finding ---- */

/* The slot of a worker, also of one that has not begun; the caller holds the lock. */
TdWorkerSlot *
td_slot_find(TdWorkerKind kind, Oid database, int32 object)
{
	for (int i = 0; i < td_shared->nworkers; i++)
	{
		TdWorkerSlot *slot = &td_shared->slots[i];

		if (slot->kind == kind && slot->database == database && slot->object == object)
			return slot;
	}
	return NULL;
}

/* The same with its own lock; *copy is for reading only. */
bool
td_slot_exists(TdWorkerKind kind, Oid database, int32 object, TdWorkerSlot *copy)
{
	TdWorkerSlot *slot;

	LWLockAcquire(td_shared->lock, LW_SHARED);
	slot = td_slot_find(kind, database, object);
	if (slot && copy)
		*copy = *slot;
	LWLockRelease(td_shared->lock);
	return slot != NULL;
}

/* Is it a worker of the database?  Hosts don't count: they hold nothing of it.  The lock is held. */
static bool
belongs_to(const TdWorkerSlot *slot, Oid database, bool all)
{
	if (slot->kind == TD_WORKER_NONE || slot->kind == TD_WORKER_LAUNCHER || slot->kind == TD_WORKER_HOST || slot->database != database)
		return false;
	return all || (slot->kind != TD_WORKER_SUPERVISOR && slot->kind != TD_WORKER_PROBE);
}

bool
td_workers_any(Oid database, bool all)
{
	bool		any = false;

	LWLockAcquire(td_shared->lock, LW_SHARED);
	for (int i = 0; i < td_shared->nworkers && !any; i++)
		any = belongs_to(&td_shared->slots[i], database, all);
	LWLockRelease(td_shared->lock);
	return any;
}

/* Asks the workers of a database, but not the caller, to stop; signal 0 = by their latch only. */
void
td_workers_signal(Oid database, int signal, bool all)
{
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < td_shared->nworkers; i++)
	{
		TdWorkerSlot *slot = &td_shared->slots[i];

		if (!belongs_to(slot, database, all) || slot == td_my_slot)
			continue;
		slot->stop = true;
		if (slot->pid != 0 && signal != 0)
			kill(slot->pid, signal);
		if (slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(td_shared->lock);
}

bool
td_worker_runs(TdWorkerKind kind, int32 object)
{
	return td_shared != NULL && td_slot_exists(kind, MyDatabaseId, object, NULL);
}

/* ---- taking and releasing ---- */

/* Of a view worker; ends with it. */
static bool
is_child(TdWorkerKind kind)
{
	return kind == TD_WORKER_CAPTURE || kind == TD_WORKER_FILL;
}

/* A free slot of the range, filled in; NULL = none.  The lock is held exclusively. */
static TdWorkerSlot *
take(int from, int to, const TdWorkerOrder *order)
{
	TdWorkerSlot *slot = NULL;
	const char *name = order->name ? order->name : td_my_slot ? td_my_slot->name : "";

	for (int i = from; i < to && slot == NULL; i++)
	{
		if (td_shared->slots[i].kind == TD_WORKER_NONE)
			slot = &td_shared->slots[i];
	}
	if (slot == NULL)
		return NULL;
	slot->generation++;
	slot->kind = order->kind;
	slot->database = order->database;
	slot->object = order->object;
	slot->owner = order->owner;
	slot->pid = 0;
	slot->latch = NULL;
	strlcpy(slot->name, name, Min(sizeof(slot->name), pg_mbcliplen(name, strlen(name), sizeof(slot->name) - 1) + 1));
	strlcpy(slot->status, "starting", sizeof(slot->status));
	slot->since = GetCurrentTimestamp();
	slot->restarts = order->restarts;
	slot->stop = slot->hungry = false;
	slot->stop_asked = 0;
	slot->starter = MyProcPid;
	memset(slot->marks, 0, sizeof(slot->marks));
	slot->now_reached = 0;
	pg_atomic_write_u32(&slot->caught_up, 0);
	pg_atomic_write_u64(&slot->caught_up_at, 0);
	pg_atomic_write_u64(&slot->mark_wanted, 0);
	pg_atomic_write_u64(&slot->covered, 0);
	pg_atomic_write_u64(&slot->decoded_at, 0);
	pg_atomic_write_u64(&slot->keeping, 0);
	pg_atomic_write_u32(&slot->give_up, 0);
	return slot;
}

/* Frees a slot, if it still is the one meant (unbegun: and no worker has attached to it), and tells everybody whom it may concern. */
static void
release(TdWorkerSlot *slot, uint32 generation, bool unbegun)
{
	TdWorkerKind kind;
	Oid			database;
	pid_t		starter;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	if (slot->generation != generation || slot->kind == TD_WORKER_NONE || (unbegun && slot->kind != TD_WORKER_HOST && slot->pid != 0))
	{
		LWLockRelease(td_shared->lock);
		return;
	}
	kind = slot->kind;
	database = slot->database;
	starter = slot->starter;
	slot->kind = TD_WORKER_NONE;
	slot->pid = 0;
	slot->latch = NULL;
	LWLockRelease(td_shared->lock);

	ConditionVariableBroadcast(&slot->changed);
	ConditionVariableBroadcast(&td_shared->gone);
	if (kind == TD_WORKER_SUPERVISOR || kind == TD_WORKER_PROBE)
		td_launcher_wake(false, InvalidOid);
	else if (kind != TD_WORKER_LAUNCHER && kind != TD_WORKER_HOST)
		wake_those_above(database, is_child(kind) ? starter : 0);
}

void
td_slot_release(TdWorkerSlot *slot, uint32 generation)
{
	release(slot, generation, false);
}

/* The supervisor of a database, and a starter (0 = none), have seen one of theirs end. */
static void
wake_those_above(Oid database, pid_t starter)
{
	LWLockAcquire(td_shared->lock, LW_SHARED);
	for (int i = 0; i < td_shared->nworkers; i++)
	{
		TdWorkerSlot *slot = &td_shared->slots[i];

		if (slot->kind == TD_WORKER_NONE || slot->database != database || slot->latch == NULL)
			continue;
		if (slot->kind == TD_WORKER_SUPERVISOR || (starter != 0 && slot->pid == starter))
			SetLatch(slot->latch);
	}
	LWLockRelease(td_shared->lock);
}

/* Children don't outlive us: nobody would read what they do. */
static void
end_children(void)
{
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < td_shared->nworkers; i++)
	{
		TdWorkerSlot *slot = &td_shared->slots[i];

		if (!is_child(slot->kind) || slot->starter != MyProcPid)
			continue;
		slot->stop = true;
		if (slot->pid != 0)
			kill(slot->pid, SIGTERM);
		if (slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(td_shared->lock);
}

/* Frees what this process has entered for others: its hosts, and workers that have not begun, not even since we looked. */
void
td_slots_release_mine(void)
{
	end_children();
	for (int i = 0; i < td_shared->nslots; i++)
	{
		TdWorkerSlot *slot = &td_shared->slots[i];
		bool		mine;
		uint32		generation;

		LWLockAcquire(td_shared->lock, LW_SHARED);
		mine = slot->kind != TD_WORKER_NONE && slot->starter == MyProcPid && slot != td_my_slot &&
			(slot->kind == TD_WORKER_HOST || slot->pid == 0);
		generation = slot->generation;
		LWLockRelease(td_shared->lock);
		if (mine)
			release(slot, generation, true);
	}
}

/*
 * The worker's side: the slot named by main_arg becomes td_my_slot.  A worker
 * that comes late (its starter gave up, or the database is held, or the child
 * was asked to stop already) just ends.
 * The launcher has no starter and takes its slot itself.
 */
void
td_slot_attach(Datum main_arg, TdWorkerKind kind)
{
	uint64		arg = DatumGetUInt64(main_arg);
	TdWorkerSlot *slot;
	bool		held = false;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	if (kind == TD_WORKER_LAUNCHER)
	{
		TdWorkerOrder order = {.kind = kind, .owner = BOOTSTRAP_SUPERUSERID, .restarts = td_shared->launcher_starts++};

		slot = take(0, td_shared->nworkers, &order);
	}
	else
	{
		slot = &td_shared->slots[arg & 0xffffffff];
		for (int i = 0; i < TD_MAX_HOLDS; i++)
			held |= td_shared->holds[i].database == slot->database;
		if (slot->kind != kind || slot->generation != (uint32) (arg >> 32) || slot->pid != 0 || held || (is_child(kind) && slot->stop))
			slot = NULL;
	}
	if (slot)
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
	}
	LWLockRelease(td_shared->lock);
	td_my_slot = slot;
	if (slot == NULL)
		proc_exit(kind == TD_WORKER_LAUNCHER ? 1 : 0);
}

/* ---- starting ---- */

static int
workers_in_use(void)
{
	int			n = 0;

	for (int i = 0; i < td_shared->nworkers; i++)
	{
		if (td_shared->slots[i].kind != TD_WORKER_NONE && td_shared->slots[i].kind != TD_WORKER_LAUNCHER)
			n++;
	}
	return n;
}

/*
 * A slot for the order, unless the database is held, all are taken, or it is for a child and there is one.  A worker that was asked to stop
 * starts nothing more: whoever asked has counted its children.
 */
static TdLaunch
reserve(const TdWorkerOrder *order, int *number, uint32 *generation)
{
	TdWorkerSlot *slot = NULL;
	bool		held = false;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TD_MAX_HOLDS; i++)
		held |= td_shared->holds[i].database == order->database;
	if (is_child(order->kind))
		held |= (td_my_slot && td_my_slot->stop) || td_slot_find(order->kind, order->database, order->object) != NULL;
	if (!held && workers_in_use() < td_max_workers)
		slot = take(0, td_shared->nworkers, order);
	if (slot)
	{
		*number = slot - td_shared->slots;
		*generation = slot->generation;
	}
	LWLockRelease(td_shared->lock);
	return slot ? TD_LAUNCHED : (held ? TD_LAUNCH_HELD : TD_LAUNCH_FULL);
}

/* Asks the postmaster for the process; its end, however it comes, sets our latch. */
static bool
register_worker(const TdWorkerOrder *order, int number, uint32 generation)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	MemoryContext old;
	Started    *s;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt64GetDatum((uint64) generation << 32 | (uint32) number);
	strlcpy(worker.bgw_library_name, "tapdata", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, order->function, sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_type, BGW_MAXLEN, "tapdata %s", td_worker_kind_name(order->kind));
	if (order->name && order->name[0])
		snprintf(worker.bgw_name, BGW_MAXLEN, "tapdata %s \"%s\"", td_worker_kind_name(order->kind), order->name);
	else
		strlcpy(worker.bgw_name, worker.bgw_type, BGW_MAXLEN);

	old = MemoryContextSwitchTo(TopMemoryContext);
	s = palloc(sizeof(Started));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		pfree(s);
		MemoryContextSwitchTo(old);
		return false;
	}
	s->handle = handle;
	s->number = number;
	s->generation = generation;
	started = lappend(started, s);
	MemoryContextSwitchTo(old);
	return true;
}

/* Starts a worker; called by launcher, supervisors and view workers, which reap. */
TdLaunch
td_worker_launch(const TdWorkerOrder *order)
{
	int			number;
	uint32		generation;
	TdLaunch	result;

	td_workers_reap();
	result = reserve(order, &number, &generation);
	if (result == TD_LAUNCHED && !register_worker(order, number, generation))
	{
		td_slot_release(&td_shared->slots[number], generation);
		result = TD_LAUNCH_FULL;
	}
	if (td_my_slot)
		td_worker_hungry(result == TD_LAUNCH_FULL);
	return result;
}

/* Whoever is hungry is woken when a worker ends. */
void
td_worker_hungry(bool hungry)
{
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	td_my_slot->hungry = hungry;
	LWLockRelease(td_shared->lock);
}

/* What helps against TD_NO_WORKER; in the caller's memory. */
char *
td_no_worker_hint(const char *noun)
{
	return psprintf("Raise max_worker_processes (now %d, needs a restart) or tapdata.max_workers (now %d); "
					"the %s starts by itself once a worker is free.", max_worker_processes, td_max_workers, noun);
}

bool
td_worker_start(TdWorkerKind kind, Oid database, int32 object, Oid owner, const char *name, const char *function)
{
	TdWorkerOrder order = {kind, database, object, owner, name, function, 0};

	return td_worker_launch(&order) == TD_LAUNCHED;
}

/* Looks after the workers we started: one that is gone leaves no slot, and whoever waits for a free one is woken. */
void
td_workers_reap(void)
{
	ListCell   *lc;
	bool		any = false;

	foreach(lc, started)
	{
		Started    *s = lfirst(lc);
		pid_t		pid;

		if (GetBackgroundWorkerPid(s->handle, &pid) != BGWH_STOPPED)
			continue;
		td_slot_release(&td_shared->slots[s->number], s->generation);
		pfree(s->handle);
		pfree(s);
		started = foreach_delete_current(started, lc);
		any = true;
	}
	if (any)
		wake_hungry();
}

/* A background worker has ended: those that found none free try again. */
static void
wake_hungry(void)
{
	LWLockAcquire(td_shared->lock, LW_SHARED);
	for (int i = 0; i < td_shared->nworkers; i++)
	{
		TdWorkerSlot *slot = &td_shared->slots[i];

		if (slot->kind != TD_WORKER_NONE && slot->hungry && slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(td_shared->lock);
}

/* ---- hosts ---- */

static void
release_mine_on_exit(int code, Datum arg)
{
	td_slots_release_mine();
}

/* Shows a connector host in tapdata.workers; its slot goes with td_host_slot_leave, or with this process. */
int
td_host_slot_enter(pid_t pid, int32 object, Oid owner, const char *name)
{
	TdWorkerOrder order = {TD_WORKER_HOST, MyDatabaseId, object, owner, name, NULL, 0};
	TdWorkerSlot *slot;

	if (td_shared == NULL)
		return -1;
	if (!exit_hook_set)
	{
		before_shmem_exit(release_mine_on_exit, 0);
		exit_hook_set = true;
	}
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	slot = take(td_shared->nworkers, td_shared->nslots, &order);
	if (slot)
	{
		slot->pid = pid;
		strlcpy(slot->status, "running", sizeof(slot->status));
	}
	LWLockRelease(td_shared->lock);
	return slot ? slot - td_shared->slots : -1;
}

/* Only the process that entered it may leave it; a second call does nothing. */
void
td_host_slot_leave(int number)
{
	TdWorkerSlot *slot;

	if (td_shared == NULL || number < td_shared->nworkers || number >= td_shared->nslots)
		return;
	slot = &td_shared->slots[number];
	if (slot->kind == TD_WORKER_HOST && slot->starter == MyProcPid)
		td_slot_release(slot, slot->generation);
}
