/*-------------------------------------------------------------------------
 *
 * marks.c
 *		MARK records, each in its place in the stream; the control thread.
 *
 * NOTES
 *		A mark's place is behind the first batch whose last COMMIT covers the
 *		position wanted.  One lock makes "push a batch, remember its position,
 *		look at the marks that wait" and "look at the position, push the mark or
 *		let it wait" two steps that can't cross.  It is held over
 *		position_covers, which needs no connection, and while the queue is full;
 *		the main thread never takes it.
 *
 *		Where the source is now is asked on a second connection, since the first
 *		one belongs to the stream.  It is opened when it is needed first, and
 *		once more if it has died.
 *
 * connectors/host/marks.c
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "host_internal.h"

typedef struct Mark
{
	struct Mark *next;
	uint64_t	number;
	char	   *position;
} Mark;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool streaming;
static char *reached;			/* position of the last COMMIT in the queue */
static Mark *waiting;

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t jobs_more = PTHREAD_COND_INITIALIZER;
static Mark *jobs;
static bool started;

/* Frees a mark. */
static void
mark_free(Mark *mark)
{
	free(mark->position);
	free(mark);
}

/* Appends to a list. */
static void
mark_append(Mark **list, Mark *mark)
{
	mark->next = NULL;
	while (*list)
		list = &(*list)->next;
	*list = mark;
}

/* Answers a mark with its record. */
static void
push_mark(uint64_t number)
{
	TdBuffer	b = {0};

	td_write_mark(&b, number);
	td_queue_push(TD_MSG_DATA, &b);
}

/* Answers a mark with an error. */
static void
push_mark_error(uint64_t number, const TdError *err)
{
	TdError		clean = *err;
	TdBuffer	b = {0};

	td_redact_error(&clean);
	td_wire_u64(&b, number);
	td_wire_error(&b, &clean);
	td_queue_push(TD_MSG_MARK_ERROR, &b);
}

/* 1 = what is in the queue covers the position, 0 = not yet, -1 = no such position. */
static int
covered(TdCall *call, const char *position, TdError *err)
{
	bool		covers = false;
	TdStatus	status;

	if (reached == NULL || reached[0] == '\0')
		return 0;
	td_call_begin(call, "position_covers", 0);
	status = td_worker_api()->position_covers(reached, position, &covers, err);
	td_call_end(call);
	if (status == TD_OK)
		return covers;
	td_error_normalize(err, "position_covers");
	return -1;
}

/* Answers those of the waiting marks that can be; the lock is held. */
static void
settle(TdCall *call)
{
	Mark	  **link = &waiting;

	while (*link)
	{
		Mark	   *mark = *link;
		TdError		err;
		int			state = covered(call, mark->position, &err);

		if (state == 0)
		{
			link = &mark->next;
			continue;
		}
		if (state > 0)
			push_mark(mark->number);
		else
			push_mark_error(mark->number, &err);
		*link = mark->next;
		mark_free(mark);
	}
}

/* A stream begins at a position. */
void
td_marks_begin(const char *position)
{
	pthread_mutex_lock(&lock);
	streaming = true;
	free(reached);
	reached = strdup(position);
	pthread_mutex_unlock(&lock);
}

/* The stream has ended; its ERROR answers all marks that wait. */
void
td_marks_end(void)
{
	pthread_mutex_lock(&lock);
	streaming = false;
	while (waiting)
	{
		Mark	   *mark = waiting;

		waiting = mark->next;
		mark_free(mark);
	}
	pthread_mutex_unlock(&lock);
}

/* Remembers the position of a COMMIT. */
static void
set_reached(TdBytes position)
{
	char	   *copy = realloc(reached, (size_t) position.len + 1);

	if (copy == NULL)
		td_die("out of memory");
	memcpy(copy, position.data, position.len);
	copy[position.len] = '\0';
	reached = copy;
}

/* Pushes a piece of a batch, and behind its last COMMIT the marks that this one covers. */
void
td_marks_push(TdBuffer *batch, size_t from, size_t to, size_t commit_end, TdBytes position)
{
	pthread_mutex_lock(&lock);
	if (commit_end > 0)
		set_reached(position);
	if (waiting && commit_end > 0)
	{
		td_queue_push_copy(batch->data + from, commit_end - from);
		settle(&td_worker_call);
		td_queue_push_copy(batch->data + commit_end, to - commit_end);
	}
	else if (from == 0 && to == batch->len)
		td_queue_push(TD_MSG_DATA, batch);
	else
		td_queue_push_copy(batch->data + from, to - from);
	pthread_mutex_unlock(&lock);
}

/* Asks where the source is now: on the connection at hand, or on a new one. */
static bool
ask_position(TdConn **conn, char **position, TdError *err)
{
	const TdConnector *api = td_worker_api();

	for (int attempt = 0; attempt < 2; attempt++)
	{
		bool		fresh = *conn == NULL;
		TdStatus	status;

		if (fresh && td_worker_open(&td_control_call, conn, err) != TD_OK)
			return false;
		*position = NULL;
		td_call_begin(&td_control_call, "position", 0);
		status = api->position(*conn, position, err);
		td_call_end(&td_control_call);
		if (status == TD_OK && *position)
			return true;
		if (status != TD_FAIL)
			td_error_set(err, "38000", "connector \"%s\" gave no position", api->name);
		td_error_normalize(err, "position");
		td_call_begin(&td_control_call, "close", 0);
		api->close(*conn);
		td_call_end(&td_control_call);
		*conn = NULL;
		if (fresh)
			return false;
	}
	return false;
}

/* Does a stream run? */
static bool
is_streaming(void)
{
	bool		value;

	pthread_mutex_lock(&lock);
	value = streaming;
	pthread_mutex_unlock(&lock);
	return value;
}

/* Puts the source's present position into a mark that has none. */
static bool
complete(Mark *mark, TdConn **conn, TdError *err)
{
	char	   *position;

	/* without a stream there may be no connector to ask */
	if (!is_streaming())
		return td_error_set(err, "55000", "no stream is running");
	if (mark->position[0] != '\0')
		return true;
	if (!ask_position(conn, &position, err))
		return false;
	free(mark->position);
	mark->position = position;
	return true;
}

/* Handles one mark; it is kept or freed. */
static void
serve_mark(Mark *mark, TdConn **conn)
{
	TdError		err;
	int			state = -1;
	bool		good;

	memset(&err, 0, sizeof(err));
	good = complete(mark, conn, &err);
	pthread_mutex_lock(&lock);
	if (good && streaming)
		state = covered(&td_control_call, mark->position, &err);
	else if (good)
		td_error_set(&err, "55000", "no stream is running");
	if (state == 0)
		mark_append(&waiting, mark);
	else if (state > 0)
		push_mark(mark->number);
	else
		push_mark_error(mark->number, &err);
	if (state != 0)
		mark_free(mark);
	pthread_mutex_unlock(&lock);
}

/* The control thread. */
static void *
control_main(void *arg)
{
	TdConn	   *conn = NULL;

	(void) arg;
	for (;;)
	{
		Mark	   *mark;

		pthread_mutex_lock(&jobs_lock);
		while (jobs == NULL)
			pthread_cond_wait(&jobs_more, &jobs_lock);
		mark = jobs;
		jobs = mark->next;
		pthread_mutex_unlock(&jobs_lock);
		serve_mark(mark, &conn);
	}
	return NULL;
}

/* Takes a MARK from the main thread. */
void
td_marks_request(uint64_t number, const char *position)
{
	Mark	   *mark = calloc(1, sizeof(Mark));
	pthread_t	thread;

	if (mark == NULL || (mark->position = strdup(position)) == NULL)
		td_die("out of memory");
	mark->number = number;
	pthread_mutex_lock(&jobs_lock);
	mark_append(&jobs, mark);
	pthread_cond_signal(&jobs_more);
	pthread_mutex_unlock(&jobs_lock);
	if (!started && pthread_create(&thread, NULL, control_main, NULL) != 0)
		td_die("could not start a thread");
	started = true;
}
