/*-------------------------------------------------------------------------
 *
 * out.c
 *		The block being filled, and its way into the reader's queue.
 *
 * NOTES
 *		A full queue stops the decoding right here, in the middle of a
 *		transaction's replay if need be: what is waited for is only the reader.
 *		Blocks are cut between messages; a message never spans two of them.  What is
 *		more than a block stays for the next one: a piece of a row or two behind each
 *		block would cost the reader as much room as the block.
 *
 * IDENTIFICATION
 *		src/capture/out.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "workers/workers.h"

#include "capture/capture_internal.h"

static void send_blocks(TdDecoder *d, bool all);
static void send_piece(TdDecoder *d, Size from, Size len);

/* Room for a message at the end of the block; huge only for huge rows. */
uint8_t *
td_out_reserve(TdDecoder *d, Size more)
{
	Size		needed = d->len + more;

	if (needed > d->cap)
	{
		d->cap = Max(needed, d->cap + d->cap / 2);
		d->block = repalloc_huge(d->block, d->cap);
	}
	return d->block + d->len;
}

void
td_out_put(TdDecoder *d, const TdCaptureMessage *m)
{
	Size		size = td_message_size(m);

	td_message_write(td_out_reserve(d, size), m);
	d->len += size;
}

void
td_out_room(TdDecoder *d)
{
	if (d->len >= TD_CAPTURE_BLOCK)
		send_blocks(d, false);
}

void
td_out_flush(TdDecoder *d)
{
	send_blocks(d, true);
}

/*
 * Usually one piece; after large rows more, and the memory goes back.  A message
 * larger than a block goes by itself: with others it might exceed what the queue
 * takes at once.  all: also what is less than a block.
 */
static void
send_blocks(TdDecoder *d, bool all)
{
	Size		from = 0;

	while (from < d->len)
	{
		Size		to = from;

		do
			to += td_message_length(d->block + to);
		while (to < d->len && to - from + td_message_length(d->block + to) <= TD_CAPTURE_BLOCK);
		if (!all && to == d->len && to - from < TD_CAPTURE_BLOCK)
			break;
		send_piece(d, from, to - from);
		from = to;
	}
	d->len -= from;
	if (d->len > 0)
		memmove(d->block, d->block + from, d->len);
	if (d->cap > 4 * TD_CAPTURE_BLOCK)
	{
		d->cap = 2 * TD_CAPTURE_BLOCK;
		d->block = repalloc_huge(d->block, d->cap);
	}
}

/* Announced before it is there, so that the reader makes room for it. */
static void
send_piece(TdDecoder *d, Size from, Size len)
{
	pg_atomic_fetch_add_u64(&d->control->announced, 1);
	for (;;)
	{
		shm_mq_result result = shm_mq_send(d->queue, len, d->block + from, true, true);

		if (result == SHM_MQ_SUCCESS)
			return;
		if (result == SHM_MQ_DETACHED)
			ereport(ERROR,
					(errcode(ERRCODE_TD_STOP),
					 errmsg("the reader of this capture has left")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, 0, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		td_plugin_check_stop();
		CHECK_FOR_INTERRUPTS();
	}
}

/* Where we are; sends the block. */
void
td_out_progress(TdDecoder *d)
{
	td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_PROGRESS,.lsn = d->decoded,.xid = d->read_to,.version = d->version});
	td_out_flush(d);
	d->told = d->decoded;
	d->answered = d->read_to;
	d->told_version = d->version;
}
