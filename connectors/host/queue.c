/*-------------------------------------------------------------------------
 *
 * queue.c
 *		Frames on their way from the worker and control threads to the main
 *		thread, which writes them to the socket.
 *
 * NOTES
 *		Bounded: who pushes waits while TD_QUEUE_LIMIT bytes are in it, and that
 *		is the back-pressure a connector feels.  A frame larger than the limit
 *		enters an empty queue.  DATA frames that wait are joined up to
 *		TD_FRAME_TARGET, so that many small transactions do not become as many
 *		frames when the server is the slower one.  Buffers go round: the memory
 *		of a sent frame is the next batch's.
 *
 * connectors/host/queue.c
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host_internal.h"

#define SPARE_MAX 4
#define SPARE_SIZE (4u << 20)	/* larger ones are given back */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static TdItem *first;
static TdItem *last;
static size_t queued;			/* bytes of payload */
static TdBuffer spare[SPARE_MAX];
static int	nspare;
static int	event = -1;

/* Makes the descriptor by which the main thread learns of frames. */
void
td_queue_init(void)
{
	event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (event < 0)
		td_die("could not make an eventfd");
}

/* That descriptor. */
int
td_queue_event(void)
{
	return event;
}

/* Can this be joined to the last frame?  It is not being sent: what is sent has left the queue. */
static bool
join(TdFrameKind kind, const uint8_t *data, size_t len)
{
	if (kind != TD_MSG_DATA || last == NULL || last->kind != TD_MSG_DATA || last->payload.len + len > TD_FRAME_TARGET)
		return false;
	td_buffer_append(&last->payload, data, len);
	return !last->payload.failed;
}

/* Puts a frame at the end; the lock is held. */
static void
append(TdFrameKind kind, TdBuffer *payload)
{
	TdItem	   *item = calloc(1, sizeof(TdItem));
	uint64_t	one = 1;

	if (item == NULL || payload->failed)
		td_die("out of memory");
	item->kind = kind;
	item->payload = *payload;
	memset(payload, 0, sizeof(*payload));
	queued += item->payload.len;
	if (last)
		last->next = item;
	else
	{
		first = item;
		(void) !write(event, &one, sizeof(one));
	}
	last = item;
}

/* Waits until len bytes fit; the lock is held. */
static void
wait_for_room(size_t len)
{
	if (first == NULL || queued + len <= TD_QUEUE_LIMIT)
		return;
	td_call_pause();
	while (first && queued + len > TD_QUEUE_LIMIT)
		pthread_cond_wait(&not_full, &lock);
	td_call_resume();
}

/* Keeps the memory for another batch; the lock is held. */
static void
keep(TdBuffer *b)
{
	td_buffer_reset(b);
	if (nspare < SPARE_MAX && b->cap <= SPARE_SIZE && b->cap >= 65536)
		spare[nspare++] = *b;
	else
		td_buffer_free(b);
	memset(b, 0, sizeof(*b));
}

/* Pushes a frame, as soon as there is room; its memory is the queue's now. */
void
td_queue_push(TdFrameKind kind, TdBuffer *payload)
{
	pthread_mutex_lock(&lock);
	wait_for_room(payload->len);
	if (join(kind, payload->data, payload->len))
	{
		queued += payload->len;
		keep(payload);
	}
	else
		append(kind, payload);
	pthread_mutex_unlock(&lock);
}

/* Pushes a small frame without waiting: from the main thread, which must never wait for itself. */
void
td_queue_push_now(TdFrameKind kind, TdBuffer *payload)
{
	pthread_mutex_lock(&lock);
	append(kind, payload);
	pthread_mutex_unlock(&lock);
}

/* Pushes a copy of whole records. */
void
td_queue_push_copy(const uint8_t *data, size_t len)
{
	TdBuffer	copy = {0};

	if (len == 0)
		return;
	td_queue_buffer(&copy);
	td_buffer_append(&copy, data, len);
	td_queue_push(TD_MSG_DATA, &copy);
}

/* Pushes an ERROR frame. */
void
td_queue_push_error(const TdError *err)
{
	TdError		clean = *err;
	TdBuffer	b = {0};

	td_redact_error(&clean);
	td_wire_u8(&b, clean.retryable);
	td_wire_error(&b, &clean);
	td_queue_push(TD_MSG_ERROR, &b);
}

/* Takes the first frame. */
TdItem *
td_queue_pop(void)
{
	TdItem	   *item;

	pthread_mutex_lock(&lock);
	item = first;
	if (item)
	{
		first = item->next;
		if (first == NULL)
			last = NULL;
		queued -= item->payload.len;
		item->next = NULL;
		pthread_cond_broadcast(&not_full);
	}
	pthread_mutex_unlock(&lock);
	return item;
}

/* The frame has been sent. */
void
td_queue_done(TdItem *item)
{
	pthread_mutex_lock(&lock);
	keep(&item->payload);
	pthread_mutex_unlock(&lock);
	free(item);
}

/* An empty buffer. */
void
td_queue_buffer(TdBuffer *b)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_lock(&lock);
	if (nspare > 0)
		*b = spare[--nspare];
	pthread_mutex_unlock(&lock);
}
