/*-------------------------------------------------------------------------
 *
 * reader.c
 *		The reader's side of a capture: the segment, and what it asks for.
 *
 * NOTES
 *		Process: the view worker of a group.  A capture belongs to the process
 *		until it closes it or ends.  The segment is pinned, so no end of a
 *		transaction takes it away.
 *
 *		The worker finds the segment through a small directory in shared memory,
 *		under (database, group), and takes its entry away when it attaches.  What
 *		is wanted goes through a segment of its own, one for each version, so that
 *		a worker that waits for room in the queue can't hold up a reader that
 *		wants something else.
 *
 *		Nothing here waits.
 *
 * IDENTIFICATION
 *		src/capture/reader.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "workers/workers.h"

#include "capture/capture_internal.h"

#define TD_MAX_CLAIMS 64		/* captures on their way from open to the start of the worker */

/* A segment that waits for its worker. */
typedef struct Claim
{
	Oid			database;		/* InvalidOid = free */
	int32		group;
	uint64		number;			/* the oldest is given up when there is no room */
	dsm_handle	handle;
} Claim;

typedef struct Directory
{
	slock_t		mutex;
	uint64		next;
	Claim		claims[TD_MAX_CLAIMS];
} Directory;

struct TdCapture
{
	MemoryContext context;
	int32		group;
	dsm_segment *segment;
	TdControl  *control;
	shm_mq_handle *queue;
	dsm_segment *wanted;		/* the newest version; NULL = none */
	uint64		received;		/* pieces taken out of the queue */
	bool		untold;			/* a confirmation that the worker was not woken for */
};

static Directory *directory = NULL;
static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static void shmem_request(void);
static void shmem_startup(void);
static void leave_claim(int32 group, dsm_handle handle);
static dsm_segment *make_segment(const char *slot, int norigins, const RepOriginId *skip_origins);
static void tell_worker(TdCapture *c);
static void reader_left(dsm_segment *segment, Datum control);
static Size wanted_size(List *wanted);
static void write_wanted(uint8_t *to, List *wanted);
static void lost_or_gone(TdCapture *c, TdError *err);

/* ---- the directory ---- */

void
td_capture_shmem_init(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

static void
shmem_request(void)
{
	if (previous_request)
		previous_request();
	RequestAddinShmemSpace(sizeof(Directory));
}

static void
shmem_startup(void)
{
	bool		found;

	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	directory = ShmemInitStruct("tapdata capture", sizeof(Directory), &found);
	if (!found)
	{
		memset(directory, 0, sizeof(Directory));
		SpinLockInit(&directory->mutex);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* A later claim on the same group replaces an earlier one; without room the oldest goes, whose worker then finds nothing and ends. */
static void
leave_claim(int32 group, dsm_handle handle)
{
	Claim	   *at = NULL;

	SpinLockAcquire(&directory->mutex);
	for (int i = 0; i < TD_MAX_CLAIMS; i++)
	{
		Claim	   *claim = &directory->claims[i];

		if (claim->database == MyDatabaseId && claim->group == group)
		{
			at = claim;
			break;
		}
		if (at == NULL || (at->database != InvalidOid && (claim->database == InvalidOid || claim->number < at->number)))
			at = claim;
	}
	at->database = MyDatabaseId;
	at->group = group;
	at->number = directory->next++;
	at->handle = handle;
	SpinLockRelease(&directory->mutex);
}

/* The worker's look: takes the claim; false = there is none. */
bool
td_capture_claim(Oid database, int32 group, dsm_handle *handle)
{
	bool		found = false;

	SpinLockAcquire(&directory->mutex);
	for (int i = 0; i < TD_MAX_CLAIMS && !found; i++)
	{
		Claim	   *claim = &directory->claims[i];

		if (claim->database != database || claim->group != group)
			continue;
		*handle = claim->handle;
		claim->database = InvalidOid;
		found = true;
	}
	SpinLockRelease(&directory->mutex);
	return found;
}

/* ---- open and close ---- */

TdCapture *
td_capture_open(int32 group, const char *slot, int norigins, const RepOriginId *skip_origins)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "tapdata capture", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TdCapture  *c = palloc0(sizeof(TdCapture));
	shm_mq	   *mq;

	td_workers_require();
	c->context = context;
	c->group = group;
	c->segment = make_segment(slot, norigins, skip_origins);
	c->control = dsm_segment_address(c->segment);
	mq = shm_mq_create((char *) c->control + TD_CONTROL_SIZE, TD_CAPTURE_QUEUE);
	shm_mq_set_receiver(mq, MyProc);
	c->queue = shm_mq_attach(mq, c->segment, NULL);
	on_dsm_detach(c->segment, reader_left, PointerGetDatum(c->control));
	MemoryContextSwitchTo(old);

	leave_claim(group, dsm_segment_handle(c->segment));
	if (td_worker_start(TD_WORKER_CAPTURE, MyDatabaseId, group, BOOTSTRAP_SUPERUSERID, td_my_slot ? NULL : slot, "td_capture_main"))
		return c;
	td_capture_close(c);
	return NULL;
}

static dsm_segment *
make_segment(const char *slot, int norigins, const RepOriginId *skip_origins)
{
	dsm_segment *segment;
	TdControl  *control;

	if (norigins > TD_CAPTURE_ORIGINS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many origins to leave out: %d", norigins)));
	segment = dsm_create(TD_CONTROL_SIZE + TD_CAPTURE_QUEUE, 0);
	dsm_pin_mapping(segment);
	control = dsm_segment_address(segment);
	memset(control, 0, sizeof(TdControl));
	strlcpy(control->slot, slot, NAMEDATALEN);
	control->norigins = norigins;
	if (norigins > 0)
		memcpy(control->origins, skip_origins, norigins * sizeof(RepOriginId));
	SpinLockInit(&control->mutex);
	control->wanted = DSM_HANDLE_INVALID;
	pg_atomic_init_u32(&control->version, 0);
	pg_atomic_init_u64(&control->reach, 0);
	pg_atomic_init_u64(&control->confirm, 0);
	pg_atomic_init_u32(&control->closed, 0);
	pg_atomic_init_u32(&control->creating, 0);
	pg_atomic_init_u32(&control->failed, 0);
	pg_atomic_init_u64(&control->announced, 0);
	return segment;
}

/* Also when the reader's process ends. */
static void
reader_left(dsm_segment *segment, Datum arg)
{
	TdControl  *control = (TdControl *) DatumGetPointer(arg);
	PGPROC	   *worker;

	pg_atomic_write_u32(&control->closed, 1);
	pg_memory_barrier();
	SpinLockAcquire(&control->mutex);
	worker = control->worker;
	SpinLockRelease(&control->mutex);
	if (worker)
		SetLatch(&worker->procLatch);
}

/* A worker that sees `closed` too late for its next look says before it that it is making its slot. */
void
td_capture_close(TdCapture *c)
{
	dsm_handle	handle;

	pg_atomic_write_u32(&c->control->closed, 1);
	pg_memory_barrier();
	if (pg_atomic_read_u32(&c->control->creating))
		(void) td_worker_request_stop(TD_WORKER_CAPTURE, c->group, true);
	(void) td_capture_claim(MyDatabaseId, c->group, &handle);	/* ours, if no worker came for it */
	if (c->wanted)
		dsm_detach(c->wanted);
	dsm_detach(c->segment);
	MemoryContextDelete(c->context);
}

/* ---- asking ---- */

/* After a change of what the worker looks at. */
static void
tell_worker(TdCapture *c)
{
	PGPROC	   *worker;

	pg_memory_barrier();
	SpinLockAcquire(&c->control->mutex);
	worker = c->control->worker;
	SpinLockRelease(&c->control->mutex);
	if (worker)
		SetLatch(&worker->procLatch);
}

/* In the segment: n, and n times relid, flags, number of columns, attribute numbers, each as 32 bits. */
static Size
wanted_size(List *wanted)
{
	Size		words = 1;
	ListCell   *lc;

	foreach(lc, wanted)
		words += 3 + bms_num_members(((TdWanted *) lfirst(lc))->columns);
	return mul_size(words, sizeof(uint32));
}

static void
write_wanted(uint8_t *to, List *wanted)
{
	uint32	   *word = (uint32 *) to;
	ListCell   *lc;

	*word++ = list_length(wanted);
	foreach(lc, wanted)
	{
		TdWanted   *w = lfirst(lc);
		int			attnum = -1;

		*word++ = w->relid;
		*word++ = (w->only ? TD_WANTED_ONLY : 0) | (w->touch ? TD_WANTED_TOUCH : 0);
		*word++ = bms_num_members(w->columns);
		while ((attnum = bms_next_member(w->columns, attnum)) >= 0)
			*word++ = attnum;
	}
}

/* The segment of the version before goes once the new one can be found: a worker that comes too late for it looks again. */
void
td_capture_want(TdCapture *c, uint32 version, List *wanted)
{
	dsm_segment *segment = dsm_create(wanted_size(wanted), 0);
	dsm_segment *before = c->wanted;

	dsm_pin_mapping(segment);
	write_wanted(dsm_segment_address(segment), wanted);
	c->wanted = segment;
	SpinLockAcquire(&c->control->mutex);
	c->control->wanted = dsm_segment_handle(segment);
	c->control->wanted_version = version;
	SpinLockRelease(&c->control->mutex);
	pg_atomic_write_u32(&c->control->version, version);
	if (before)
		dsm_detach(before);
	tell_worker(c);
}

void
td_capture_reach(TdCapture *c, XLogRecPtr lsn)
{
	bool		more = lsn > pg_atomic_read_u64(&c->control->reach);

	if (!more && !c->untold)
		return;
	if (more)
		pg_atomic_write_u64(&c->control->reach, lsn);
	c->untold = false;
	tell_worker(c);
}

void
td_capture_confirm(TdCapture *c, XLogRecPtr lsn, bool reach_follows)
{
	if (lsn <= pg_atomic_read_u64(&c->control->confirm))
		return;
	pg_atomic_write_u64(&c->control->confirm, lsn);
	c->untold = reach_follows;
	if (!reach_follows)
		tell_worker(c);
}

/* ---- reading ---- */

/*
 * Whoever looks into an empty queue gives back the room of what he has read, and
 * wakes the sender for that, who sleeps most of the time.  So the queue is not
 * looked into unless something was announced.  Who waits for room has announced.
 */
static bool
nothing_announced(const TdCapture *c)
{
	return shm_mq_get_sender(shm_mq_get_queue(c->queue)) != NULL && pg_atomic_read_u64(&c->control->announced) == c->received;
}

int
td_capture_read(TdCapture *c, TdBytes *block, TdError *err)
{
	Size		len;
	void	   *data;
	shm_mq_result result;

	if (nothing_announced(c))
		return 0;
	result = shm_mq_receive(c->queue, &len, &data, true);
	if (result == SHM_MQ_SUCCESS)
	{
		c->received++;
		block->data = data;
		block->len = len;
		return 1;
	}
	if (result == SHM_MQ_WOULD_BLOCK)
	{
		if (shm_mq_get_sender(shm_mq_get_queue(c->queue)) != NULL)
			return 0;
		td_workers_reap();		/* one that could not be forked */
		if (td_worker_runs(TD_WORKER_CAPTURE, c->group))
			return 0;
		/* it ended before it came to the queue; or it came just now */
		if (shm_mq_get_sender(shm_mq_get_queue(c->queue)) != NULL)
			return 0;
	}
	lost_or_gone(c, err);
	return -1;
}

/* Why the worker is gone, as far as that is known.  A process whose slot is invalidated is terminated, and can't say it itself. */
static void
lost_or_gone(TdCapture *c, TdError *err)
{
	XLogRecPtr	confirmed;
	bool		lost = false;

	memset(err, 0, sizeof(*err));
	if (td_capture_slot_state(c->control->slot, &confirmed, &lost) && lost)
	{
		td_error_set(err, "55000", "replication slot \"%s\" was lost", c->control->slot);
		td_error_detail(err, "The server removed WAL that had not been decoded yet (max_slot_wal_keep_size).");
		td_error_hint(err, "The views are filled anew, by themselves; if this comes again, raise max_slot_wal_keep_size.");
		err->retryable = true;	/* who begins a session drops such a slot */
	}
	else if (pg_atomic_read_u32(&c->control->failed))
	{
		pg_read_barrier();
		*err = c->control->error;
	}
}
