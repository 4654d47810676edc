/*-------------------------------------------------------------------------
 *
 * main.c
 *		The capture worker's entry, and the room's.
 *
 * NOTES
 *		Process: background worker "tapdata capture", bootstrap superuser, started
 *		by the view worker of its group.  It writes no table and runs no user
 *		code: it reads WAL and, under historic snapshots, catalogs.  Decoding has
 *		a process of its own because it loads descriptors of the past into the
 *		relation cache, which nobody who plans queries may share.
 *
 *		An error ends it: the value of the error goes to the reader, and the slot
 *		is released on the way out, before the reader sees that the queue is
 *		detached.
 *
 * IDENTIFICATION
 *		src/capture/main.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "util/util.h"
#include "utils/memutils.h"
#include "workers/workers.h"

#include "capture/capture_internal.h"

TdDecoder  *td_decoder = NULL;

static TdDecoder *attach(void);
static void worker_left(dsm_segment *segment, Datum control);
static void worker_leaves(dsm_segment *segment, Datum control);
static bool leave_error(TdDecoder *d);

void
td_capture_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		td_capture_shmem_init();
}

void
td_capture_main(Datum main_arg)
{
	volatile int code = 0;

	td_worker_begin(main_arg, TD_WORKER_CAPTURE);
	td_decoder = attach();
	if (td_decoder == NULL)
		proc_exit(0);			/* the reader did not wait for us */
	PG_TRY();
	{
		td_decode(td_decoder);
	}
	PG_CATCH();
	{
		code = leave_error(td_decoder) ? 1 : 0;
	}
	PG_END_TRY();
	proc_exit(code);
}

/* The segment that the reader left for our group; NULL = it has gone. */
static TdDecoder *
attach(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "tapdata capture", ALLOCSET_DEFAULT_SIZES);
	TdDecoder  *d = MemoryContextAllocZero(context, sizeof(TdDecoder));
	dsm_handle	handle;
	dsm_segment *segment;
	shm_mq	   *mq;

	MemoryContextSwitchTo(context);
	if (!td_capture_claim(MyDatabaseId, td_my_slot->object, &handle) || (segment = dsm_attach(handle)) == NULL)
		return NULL;
	d->context = context;
	d->row_context = AllocSetContextCreate(context, "tapdata row", ALLOCSET_DEFAULT_SIZES);
	d->control = dsm_segment_address(segment);
	d->cap = 2 * TD_CAPTURE_BLOCK;
	d->block = palloc(d->cap);
	d->old_image = palloc0(sizeof(TdImage));
	d->new_image = palloc0(sizeof(TdImage));
	SpinLockAcquire(&d->control->mutex);
	d->control->worker = MyProc;
	SpinLockRelease(&d->control->mutex);
	on_dsm_detach(segment, worker_left, PointerGetDatum(d->control));
	mq = (shm_mq *) ((char *) d->control + TD_CONTROL_SIZE);
	shm_mq_set_sender(mq, MyProc);
	d->queue = shm_mq_attach(mq, segment, NULL);
	on_dsm_detach(segment, worker_leaves, PointerGetDatum(d->control)); /* called before what shm_mq_attach has left */
	return d;
}

/* Before the queue is detached, of which the reader is woken: what was announced and never comes makes it look. */
static void
worker_leaves(dsm_segment *segment, Datum arg)
{
	pg_atomic_fetch_add_u64(&((TdControl *) DatumGetPointer(arg))->announced, 1);
}

/* Nobody shall set our latch any more. */
static void
worker_left(dsm_segment *segment, Datum arg)
{
	TdControl  *control = (TdControl *) DatumGetPointer(arg);

	SpinLockAcquire(&control->mutex);
	control->worker = NULL;
	SpinLockRelease(&control->mutex);
}

/* In PG_CATCH: tells the reader and the log; false = it was only a stop. */
static bool
leave_error(TdDecoder *d)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(d->context);
	edata = CopyErrorData();
	HOLD_INTERRUPTS();
	if (edata->sqlerrcode == ERRCODE_TD_STOP)
	{
		FlushErrorState();
		AbortOutOfAnyTransaction();
		return false;
	}
	EmitErrorReport();
	FlushErrorState();
	td_error_from_edata(&d->control->error, edata);
	pg_write_barrier();
	pg_atomic_write_u32(&d->control->failed, 1);
	AbortOutOfAnyTransaction();
	return true;
}
