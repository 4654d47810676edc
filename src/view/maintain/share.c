/*-------------------------------------------------------------------------
 *
 * share.c
 *		Snapshots of ticks, lent to fill workers and to check_view.
 *
 * NOTES
 *		Two sides: the asker (a fill worker, or a backend in check_view) and the
 *		group's view worker.  A request is an entry in shared memory; the snapshot
 *		travels in a dynamic shared memory segment that the asker makes large
 *		enough for any snapshot of this server, and that goes with its transaction.
 *
 *		The asker makes and frees its entry: at td_share_end, at the end of its
 *		transaction and at its exit.  The view worker only moves the state, and
 *		never waits for an entry that is gone:
 *
 *			ASKED -> OFFERED -> TAKEN						(FILL)
 *			ASKED -> OFFERED -> COMMITTED -> TAKEN			(CHECK)
 *			any of them -> LOST		by the worker: too late, ask again
 *
 *		One LWLock over all entries, held for a few lines.  A snapshot is copied
 *		without it; that the entry is still the same is told by its segment, whose
 *		handle is not used twice while somebody is attached to it.
 *
 * IDENTIFICATION
 *		src/view/maintain/share.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat/compat.h"
#include "view/maintain/tick_internal.h"

#define SHARE_ENTRIES 32
#define SHARE_GROUPS 64
#define SHARE_SERVED 256
#define IMPORT_MS 1000			/* how long a tick waits for a fill worker's import */

typedef enum ShareState
{
	SHARE_FREE = 0,
	SHARE_ASKED,
	SHARE_OFFERED,				/* the snapshot is in the segment */
	SHARE_COMMITTED,			/* CHECK: the tick is, too */
	SHARE_TAKEN,				/* imported; or the second snapshot is taken */
	SHARE_LOST
} ShareState;

typedef struct ShareEntry
{
	ShareState	state;
	bool		claimed;		/* asked before the snapshot that is to be lent was taken */
	TdShareKind kind;
	Oid			database;
	int32		group;
	int32		view;
	Latch	   *latch;			/* the asker's */
	dsm_handle	segment;
	PGPROC	   *source;			/* FILL: the view worker, while OFFERED */
	Latch	   *worker;			/* whom to tell: set with OFFERED */
} ShareEntry;

/* A view worker that runs. */
typedef struct ShareGroup
{
	Oid			database;		/* InvalidOid = free */
	int32		group;
	Latch	   *latch;
	uint32		filled_by;		/* hash of the footing by which the last fill computed its rows; 0 = none, or more than one */
	uint64		lent;			/* snapshots that fill workers have taken: a quick one is done before the worker looks */
} ShareGroup;

/* A group whose unlogged views were filled since the server came up. */
typedef struct ShareServed
{
	Oid			database;
	int32		group;
} ShareServed;

typedef struct ShareShared
{
	LWLock	   *lock;
	pg_atomic_uint32 asked;		/* entries in state ASKED: a cheap look for the workers */
	ShareGroup	groups[SHARE_GROUPS];
	int			nserved;
	ShareServed served[SHARE_SERVED];
	ShareEntry	entries[SHARE_ENTRIES];
} ShareShared;

static ShareShared *shared = NULL;
static shmem_request_hook_type next_request = NULL;
static shmem_startup_hook_type next_startup = NULL;
static ShareEntry *mine = NULL; /* the asker's */
static dsm_segment *segment = NULL; /* the same; valid as long as the (sub)transaction that asked */
static int	nest_level = 0;		/* of that */
static int32 my_group = 0;		/* the view worker's */

static void request(void);
static void startup(void);
static ShareGroup *find_group(int32 group);
static ShareEntry *enter(TdShareKind kind, int32 group, int32 view);
static ShareState wait_for_answer(int timeout_ms);
static ShareState state_of_mine(PGPROC **source);
static bool move_mine(ShareState from, ShareState to);
static void release(void);
static void release_at_end(XactEvent event, void *arg);
static void release_at_sub_end(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg);
static void release_at_exit(int code, Datum arg);
static bool is_served(void);
static void detach_group(int code, Datum arg);
static dsm_segment *copy_snapshot(const ShareEntry *e, Snapshot snapshot);
static bool offer(ShareEntry *e, TdShareKind kind);
static bool is_mine_to_serve(const ShareEntry *e, TdShareKind kind);
static int	count_in(TdShareKind kind, ShareState state);
static void move_all(ShareState from, ShareState to);

/* ---- shared memory ---- */

/* From td_view_init. */
void
td_share_init(void)
{
	next_request = shmem_request_hook;
	shmem_request_hook = request;
	next_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

static void
request(void)
{
	if (next_request)
		next_request();
	RequestAddinShmemSpace(sizeof(ShareShared));
	RequestNamedLWLockTranche("tapdata share", 1);
}

static void
startup(void)
{
	bool		found;

	if (next_startup)
		next_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("tapdata share", sizeof(ShareShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(ShareShared));
		shared->lock = &GetNamedLWLockTranche("tapdata share")->lock;
		pg_atomic_init_u32(&shared->asked, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* The lock is held. */
static ShareGroup *
find_group(int32 group)
{
	for (int i = 0; i < SHARE_GROUPS; i++)
	{
		if (shared->groups[i].database == MyDatabaseId && shared->groups[i].group == group)
			return &shared->groups[i];
	}
	return NULL;
}

/* ---- the asker ---- */

/* Makes the request known; it lives until td_share_end or the end of the transaction.  false = there is no view worker to be asked. */
bool
td_share_ask(TdShareKind kind, int32 group, int32 view)
{
	static bool hooked = false;
	Size		size = add_size(256, mul_size(sizeof(TransactionId), (Size) GetMaxSnapshotXidCount() + GetMaxSnapshotSubxidCount()));
	ShareGroup *g;

	td_workers_require();
	td_share_end();
	if (!hooked)
	{
		RegisterXactCallback(release_at_end, NULL);
		RegisterSubXactCallback(release_at_sub_end, NULL);
		before_shmem_exit(release_at_exit, (Datum) 0);
		hooked = true;
	}
	segment = dsm_create(size, 0);
	nest_level = GetCurrentTransactionNestLevel();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	g = find_group(group);
	mine = g ? enter(kind, group, view) : NULL;
	if (mine)
		SetLatch(g->latch);
	LWLockRelease(shared->lock);
	if (mine)
		return true;
	td_share_end();
	if (g == NULL)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many sessions check views"),
			 errdetail("At most %d can do so at a time.", SHARE_ENTRIES),
			 errhint("Try again when one of them is done.")));
	pg_unreachable();
}

/* A new entry of ours; NULL = all are in use.  The lock is held. */
static ShareEntry *
enter(TdShareKind kind, int32 group, int32 view)
{
	for (int i = 0; i < SHARE_ENTRIES; i++)
	{
		ShareEntry *e = &shared->entries[i];

		if (e->state != SHARE_FREE)
			continue;
		memset(e, 0, sizeof(ShareEntry));
		e->kind = kind;
		e->database = MyDatabaseId;
		e->group = group;
		e->view = view;
		e->latch = MyLatch;
		e->segment = dsm_segment_handle(segment);
		e->state = SHARE_ASKED;
		pg_atomic_fetch_add_u32(&shared->asked, 1);
		return e;
	}
	return NULL;
}

/* How our request stands. */
static ShareState
state_of_mine(PGPROC **source)
{
	ShareState	state;

	if (mine == NULL)
		return SHARE_LOST;
	LWLockAcquire(shared->lock, LW_SHARED);
	state = mine->state;
	if (source)
		*source = mine->source;
	if ((state == SHARE_ASKED || state == SHARE_OFFERED) && find_group(mine->group) == NULL)
		state = SHARE_LOST;
	LWLockRelease(shared->lock);
	return state;
}

/* Moves our request if it stands there, and tells the worker. */
static bool
move_mine(ShareState from, ShareState to)
{
	bool		moved;

	if (mine == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	moved = mine->state == from;
	if (moved)
		mine->state = to;
	if (moved && to == SHARE_TAKEN && mine->kind == TD_SHARE_FILL && find_group(mine->group))
		find_group(mine->group)->lent++;
	if (mine->worker)
		SetLatch(mine->worker);
	LWLockRelease(shared->lock);
	return moved;
}

/* Waits until the snapshot may be had (FILL: OFFERED, CHECK: COMMITTED), or never will be (LOST); else what it is at the timeout. */
static ShareState
wait_for_answer(int timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	while (mine != NULL)
	{
		ShareState	state = state_of_mine(NULL);
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (state == SHARE_LOST || left <= 0 || state == (mine->kind == TD_SHARE_FILL ? SHARE_OFFERED : SHARE_COMMITTED))
			return state;
		/* not longer than a second: a view worker that dies can't tell us */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(left, 1000), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return SHARE_LOST;
}

/* The snapshot of a tick that is committed, allocated in the transaction; NULL = timeout, or the worker is gone. */
Snapshot
td_share_wait(int timeout_ms)
{
	if (wait_for_answer(timeout_ms) != SHARE_COMMITTED)
		return NULL;
	return RestoreSnapshot(dsm_segment_address(segment));
}

/* Tells the worker that its next tick may be committed; false = it already is, or will be at any moment. */
bool
td_share_taken(void)
{
	return move_mine(SHARE_COMMITTED, SHARE_TAKEN);
}

/*
 * Waits for the snapshot and makes it that of the transaction, which has
 * none yet and is REPEATABLE READ; false = not in time.  The worker's
 * transaction is open until we say that we have it; when it gave us up before
 * that, the import fails.
 */
bool
td_share_import(int timeout_ms)
{
	ShareState	state = wait_for_answer(timeout_ms);
	PGPROC	   *source;

	if (state == SHARE_OFFERED && state_of_mine(&source) == SHARE_OFFERED)
	{
		RestoreTransactionSnapshot(RestoreSnapshot(dsm_segment_address(segment)), source);
		if (move_mine(SHARE_OFFERED, SHARE_TAKEN))
			return true;
	}
	if (state == SHARE_ASKED)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the worker that maintains the view gave no snapshot to fill it"),
			 errdetail("It ended, or is too busy."),
			 errhint("The fill is tried again by itself.")));
}

void
td_share_end(void)
{
	release();
	if (segment)
		dsm_detach(segment);
	segment = NULL;
}

/* Frees our entry. */
static void
release(void)
{
	if (mine == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (mine->state == SHARE_ASKED)
		pg_atomic_fetch_sub_u32(&shared->asked, 1);
	mine->state = SHARE_FREE;
	if (mine->worker)
		SetLatch(mine->worker);
	LWLockRelease(shared->lock);
	mine = NULL;
}

/* The segment goes with the transaction's resource owner, which complains when it is left to it at a commit. */
static void
release_at_end(XactEvent event, void *arg)
{
	if ((event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) && segment)
	{
		dsm_detach(segment);
		segment = NULL;
	}
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	release();
	segment = NULL;
}

static void
release_at_sub_end(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	if (segment == NULL || nest_level < GetCurrentTransactionNestLevel())
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		nest_level--;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		release_at_end(XACT_EVENT_ABORT, NULL);
}

static void
release_at_exit(int code, Datum arg)
{
	release();
}

/* ---- the view worker ---- */

/* From here on requests for the group are taken. */
void
td_share_attach(int32 group)
{
	bool		entered = false;

	my_group = group;
	before_shmem_exit(detach_group, (Datum) 0);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SHARE_GROUPS && !entered; i++)
	{
		ShareGroup *g = &shared->groups[i];

		if (OidIsValid(g->database))
			continue;
		g->database = MyDatabaseId;
		g->group = group;
		g->latch = MyLatch;
		entered = true;
	}
	LWLockRelease(shared->lock);
	if (!entered)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many groups of views"),
				 errdetail("At most %d can run at a time, in all databases together.", SHARE_GROUPS),
				 errhint("Keep the views in fewer groups.")));
}

/* Is our group noted? */
static bool
is_served(void)
{
	for (int i = 0; i < shared->nserved; i++)
	{
		if (shared->served[i].database == MyDatabaseId && shared->served[i].group == my_group)
			return true;
	}
	return false;
}

/* Shared memory is made anew after a crash, which also empties unlogged tables: has a worker of the group seen to that since? */
bool
td_share_served(void)
{
	bool		served;

	LWLockAcquire(shared->lock, LW_SHARED);
	served = is_served();
	LWLockRelease(shared->lock);
	return served;
}

/* It has; what finds no place here is done again by the next worker. */
void
td_share_note_served(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (!is_served() && shared->nserved < SHARE_SERVED)
	{
		shared->served[shared->nserved].database = MyDatabaseId;
		shared->served[shared->nserved++].group = my_group;
	}
	LWLockRelease(shared->lock);
}

/* Exit hook: who waits for us is told. */
static void
detach_group(int code, Datum arg)
{
	ShareGroup *g;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	g = find_group(my_group);
	if (g && g->latch == MyLatch)
		g->database = InvalidOid;
	for (int i = 0; i < SHARE_ENTRIES; i++)
	{
		ShareEntry *e = &shared->entries[i];

		if (e->state == SHARE_FREE || e->database != MyDatabaseId || e->group != my_group)
			continue;
		e->worker = NULL;
		if (e->state == SHARE_OFFERED)
			e->state = SHARE_LOST;	/* the tick will not be committed, and a next worker would take it for its own */
		SetLatch(e->latch);
	}
	LWLockRelease(shared->lock);
}

/* By the fill worker before it commits, and by the view worker before it starts one. */
void
td_share_note_filled(int32 group, uint32 footing)
{
	ShareGroup *g;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	g = find_group(group);
	if (g)
		g->filled_by = footing;
	LWLockRelease(shared->lock);
}

/* Once the fill worker has gone. */
uint32
td_share_filled(void)
{
	ShareGroup *g;
	uint32		footing;

	LWLockAcquire(shared->lock, LW_SHARED);
	g = find_group(my_group);
	footing = g ? g->filled_by : 0;
	LWLockRelease(shared->lock);
	return footing;
}

/* The lock is held. */
static bool
is_mine_to_serve(const ShareEntry *e, TdShareKind kind)
{
	return e->state != SHARE_FREE && e->kind == kind && e->database == MyDatabaseId && e->group == my_group;
}

/* How many requests of our group stand there. */
static int
count_in(TdShareKind kind, ShareState state)
{
	int			n = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < SHARE_ENTRIES; i++)
		n += is_mine_to_serve(&shared->entries[i], kind) && shared->entries[i].state == state;
	LWLockRelease(shared->lock);
	return n;
}

/* Without any request this is one atomic read. */
bool
td_share_any(TdShareKind kind)
{
	return pg_atomic_read_u32(&shared->asked) > 0 && count_in(kind, SHARE_ASKED) > 0;
}

bool
td_share_asked(TdShareKind kind, int32 view)
{
	bool		asked = false;

	if (pg_atomic_read_u32(&shared->asked) == 0)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < SHARE_ENTRIES; i++)
		asked |= is_mine_to_serve(&shared->entries[i], kind) && shared->entries[i].view == view &&
			shared->entries[i].state == SHARE_ASKED;
	LWLockRelease(shared->lock);
	return asked;
}

/* Writes a snapshot into an asker's segment, to which we stay attached; NULL = it is gone, or (which can't be) too small. */
static dsm_segment *
copy_snapshot(const ShareEntry *e, Snapshot snapshot)
{
	dsm_segment *to;
	dsm_handle	handle;

	LWLockAcquire(shared->lock, LW_SHARED);
	handle = e->segment;
	LWLockRelease(shared->lock);
	to = dsm_attach(handle);
	if (to == NULL)
		return NULL;
	if (dsm_segment_map_length(to) < EstimateSnapshotSpace(snapshot))
	{
		dsm_detach(to);
		return NULL;
	}
	SerializeSnapshot(snapshot, dsm_segment_address(to));
	return to;
}

/* Copies the transaction's snapshot for one who asks; false = it has gone. */
static bool
offer(ShareEntry *e, TdShareKind kind)
{
	dsm_segment *to = copy_snapshot(e, GetTransactionSnapshot());
	bool		offered;

	if (to == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	offered = is_mine_to_serve(e, kind) && e->state == SHARE_ASKED && e->segment == dsm_segment_handle(to);
	if (offered)
	{
		pg_atomic_fetch_sub_u32(&shared->asked, 1);
		e->source = MyProc;
		e->worker = MyLatch;
		e->state = SHARE_OFFERED;
		if (kind == TD_SHARE_FILL)
			SetLatch(e->latch);
	}
	LWLockRelease(shared->lock);
	dsm_detach(to);
	return offered;
}

/*
 * Hands the transaction's snapshot to the fill worker of a view, with our
 * transaction open until it has it.
 */
bool
td_share_offer_fill(int32 view)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), IMPORT_MS);
	ShareEntry *e = NULL;
	ShareState	state = SHARE_OFFERED;
	uint64		before;
	bool		lent;

	LWLockAcquire(shared->lock, LW_SHARED);
	before = find_group(my_group)->lent;
	for (int i = 0; i < SHARE_ENTRIES; i++)
	{
		ShareEntry *at = &shared->entries[i];

		if (is_mine_to_serve(at, TD_SHARE_FILL) && at->view == view && at->state == SHARE_ASKED)
			e = at;
	}
	LWLockRelease(shared->lock);
	if (e == NULL || !offer(e, TD_SHARE_FILL))
		return false;

	while (state == SHARE_OFFERED)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left > 0)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		state = is_mine_to_serve(e, TD_SHARE_FILL) && e->view == view ? e->state : SHARE_FREE;
		if (state == SHARE_OFFERED && (left <= 0 || td_worker_should_stop()))
			e->state = state = SHARE_LOST;
		lent = find_group(my_group)->lent != before;
		LWLockRelease(shared->lock);
	}
	return lent;
}

/*
 * Before the tick takes its snapshot: who asks now has an older one, which
 * keeps what the tick's sees.  Who asks later waits for the next tick.
 */
void
td_share_claim(void)
{
	if (pg_atomic_read_u32(&shared->asked) == 0)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SHARE_ENTRIES; i++)
	{
		if (is_mine_to_serve(&shared->entries[i], TD_SHARE_CHECK))
			shared->entries[i].claimed = true;
	}
	LWLockRelease(shared->lock);
}

/* Copies the transaction's snapshot for all who asked before it was taken; they get it when the tick is committed. */
void
td_share_offer_checks(void)
{
	if (!td_share_any(TD_SHARE_CHECK))
		return;
	for (int i = 0; i < SHARE_ENTRIES; i++)
	{
		ShareEntry *e = &shared->entries[i];
		bool		wanted;

		LWLockAcquire(shared->lock, LW_SHARED);
		wanted = is_mine_to_serve(e, TD_SHARE_CHECK) && e->state == SHARE_ASKED && e->claimed;
		LWLockRelease(shared->lock);
		if (wanted)
			(void) offer(e, TD_SHARE_CHECK);
	}
}

/* Moves all checks of our group that stand there, and tells their askers. */
static void
move_all(ShareState from, ShareState to)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SHARE_ENTRIES; i++)
	{
		ShareEntry *e = &shared->entries[i];

		if (!is_mine_to_serve(e, TD_SHARE_CHECK) || e->state != from)
			continue;
		e->state = to;
		if (to == SHARE_ASKED)
			pg_atomic_fetch_add_u32(&shared->asked, 1);
		SetLatch(e->latch);
	}
	LWLockRelease(shared->lock);
}

/* After the tick; one that failed leaves those who asked waiting for the next. */
void
td_share_committed(bool ok)
{
	if (count_in(TD_SHARE_CHECK, SHARE_OFFERED) > 0)
		move_all(SHARE_OFFERED, ok ? SHARE_COMMITTED : SHARE_ASKED);
}

/* Before the next commit: waits until all have their second snapshot; who is too slow has lost. */
void
td_share_settle(int timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	while (count_in(TD_SHARE_CHECK, SHARE_COMMITTED) > 0)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0 || td_worker_should_stop())
		{
			move_all(SHARE_COMMITTED, SHARE_LOST);
			break;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
