/*-------------------------------------------------------------------------
 *
 * host.c
 *		A connector host as seen from the server: opening and closing it, its
 *		requests, and the data it sends.
 *
 * NOTES
 *		Runs in the pipeline worker and in sessions (test_connection, discover,
 *		peek).  One request at a time; while data flows, only marks and acks are
 *		sent.  A host belongs to a memory context of its own, a child of the one
 *		it was opened in, and ends with it.
 *
 * IDENTIFICATION
 *		src/connector/host.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat/compat.h"
#include "connector/connector_internal.h"
#include "util/util.h"
#include "workers/workers.h"

static void host_release(void *arg);
static void host_start(TdHostProcess *host);
static void send_open(TdHostProcess *host, const TdConnection *connection);
static void answer(TdHostProcess *host, TdFrame *frame);
static bool common_frame(TdHostProcess *host, TdFrame *frame);
static void raise_error_frame(TdFrame *frame) pg_attribute_noreturn();

/*
 * Starts a host for the connection's connector and opens the connection in it.
 * object and owner (of the pipeline; 0 and the user for a session) are for
 * tapdata.workers.
 */
TdHostProcess *
td_host_open(const TdConnection *connection, int32 object, Oid owner)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata connector host", ALLOCSET_DEFAULT_SIZES);
	TdHostProcess *host = MemoryContextAllocZero(context, sizeof(TdHostProcess));

	host->context = context;
	host->connector = MemoryContextStrdup(context, connection->connector);
	host->sock = -1;
	host->slot = -1;
	host->on_reset.func = host_release;
	host->on_reset.arg = host;
	MemoryContextRegisterResetCallback(context, &host->on_reset);

	host_start(host);
	host->slot = td_host_slot_enter(host->pid, object, owner, connection->name);
	send_open(host, connection);
	return host;
}

/* Ends a host; nothing needs saving. */
void
td_host_close(TdHostProcess *host)
{
	MemoryContextDelete(host->context);
}

pid_t
td_host_pid(const TdHostProcess *host)
{
	return host->pid;
}

/* Reset callback of the host's context: process, socket, slot and wait set go. */
static void
host_release(void *arg)
{
	TdHostProcess *host = arg;

	if (host->waits)
		FreeWaitEventSet(host->waits);
	host->waits = NULL;
	if (host->sock >= 0)
		close(host->sock);
	host->sock = -1;
	if (host->pid > 0)
	{
		kill(host->pid, SIGKILL);
		while (waitpid(host->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	host->pid = 0;
	if (host->slot >= 0)
		td_host_slot_leave(host->slot);
	host->slot = -1;
}

/* Socketpair, process, wait set. */
static void
host_start(TdHostProcess *host)
{
	char	   *argv[] = {td_host_program(), host->connector, td_connector_directories(), NULL};
	int			pair[2];
	int			size = 1024 * 1024;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not make a socket for a connector host: %m")));
	host->sock = pair[0];
	/* a larger buffer saves wake-ups; the kernel's own limit applies */
	setsockopt(pair[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	PG_TRY();
	{
		host->pid = td_spawn(argv, pair[1], TD_HOST_SOCKET, -1, -1);
	}
	PG_FINALLY();
	{
		close(pair[1]);
	}
	PG_END_TRY();

	host->capacity = 256 * 1024;
	host->buffer = MemoryContextAlloc(host->context, host->capacity);
	host->heard = GetCurrentTimestamp();
	host->waits = td_create_wait_event_set_compat(host->context, 3);
	AddWaitEventToSet(host->waits, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(host->waits, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(host->waits, WL_SOCKET_READABLE, host->sock, NULL, NULL);
}

/* The handshake: options and secrets go through the socket, never through arguments. */
static void
send_open(TdHostProcess *host, const TdConnection *connection)
{
	StringInfoData payload;
	TdFrame		frame;

	initStringInfo(&payload);
	td_payload_u32(&payload, TD_PROTOCOL_VERSION);
	td_payload_u32(&payload, td_connector_timeout);
	td_payload_u32(&payload, connection->noptions);
	for (int i = 0; i < connection->noptions; i++)
	{
		td_payload_str(&payload, connection->names[i]);
		td_payload_str(&payload, connection->values[i]);
	}
	td_frame_send(host, TD_MSG_OPEN, &payload);
	explicit_bzero(payload.data, payload.len);
	pfree(payload.data);
	answer(host, &frame);
}

/* Waits for OK; anything else that may come in between is dealt with or is a violation. */
static void
answer(TdHostProcess *host, TdFrame *frame)
{
	/* the host's own limit ends a call first; this one is for a host that is stuck itself */
	if (!td_frame_receive(host, td_connector_timeout + 5000, false, frame))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the connector host of \"%s\" did not answer within %d ms", host->connector, td_connector_timeout)));
	if (common_frame(host, frame))
		answer(host, frame);
}

/* LOG and PONG are consumed (true), ERROR is raised. */
static bool
common_frame(TdHostProcess *host, TdFrame *frame)
{
	TdPayload	in = td_payload_open(frame);
	char	   *level;

	switch (frame->kind)
	{
		case TD_MSG_ERROR:
			raise_error_frame(frame);
		case TD_MSG_PONG:
			return true;
		case TD_MSG_LOG:
			level = td_payload_get_str(&in);
			ereport(strcmp(level, "warning") == 0 ? WARNING : DEBUG1,
					(errmsg("connector \"%s\": %s", host->connector, td_payload_get_str(&in))));
			return true;
		default:
			return false;
	}
}

static void
raise_error_frame(TdFrame *frame)
{
	TdPayload	in = td_payload_open(frame);
	TdError		err;
	bool		retryable = td_payload_get_u8(&in) != 0;

	td_payload_get_error(&in, retryable, &err);
	td_error_raise(&err);
}

static void
unexpected(TdHostProcess *host, TdFrame *frame)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("unexpected message %d from the connector host of \"%s\"", (int) frame->kind, host->connector)));
}

/* ---- requests ---- */

/* Each thing a pipeline will need, as the connector found it. */
void
td_host_check(TdHostProcess *host, TdHostItemFn fn, void *arg)
{
	TdFrame		frame;

	td_frame_send(host, TD_MSG_CHECK, NULL);
	for (answer(host, &frame); frame.kind == TD_MSG_ITEM; answer(host, &frame))
	{
		TdPayload	in = td_payload_open(&frame);
		char	   *item = td_payload_get_str(&in);
		bool		ok = td_payload_get_u8(&in) != 0;
		char	   *detail = td_payload_get_str(&in);

		fn(arg, item, ok, detail, td_payload_get_str(&in));
	}
	if (frame.kind != TD_MSG_OK)
		unexpected(host, &frame);
}

/* Each table that matches; `problem` is NULL for one that can be mirrored as it is. */
void
td_host_discover(TdHostProcess *host, const char *pattern, TdHostTableFn fn, void *arg)
{
	StringInfoData payload;
	TdFrame		frame;

	initStringInfo(&payload);
	td_payload_str(&payload, pattern);
	td_frame_send(host, TD_MSG_DISCOVER, &payload);
	for (answer(host, &frame); frame.kind == TD_MSG_TABLE; answer(host, &frame))
	{
		TdPayload	in = td_payload_open(&frame);
		int64		estimate = (int64) td_payload_get_u64(&in);
		TdBytes		body = td_payload_get_bytes(&in);
		TdReader	reader = {body.data, body.data + body.len};
		TdRecord	rec;
		TdSchema   *schema;
		TdError		problem;

		if (td_read_record(&reader, &rec) != 1 || (schema = td_schema_read(&rec)) == NULL)
			unexpected(host, &frame);
		PG_TRY();
		{
			td_payload_get_error(&in, false, &problem);
			fn(arg, schema, estimate, problem.sqlstate[0] ? &problem : NULL);
		}
		PG_FINALLY();
		{
			free(schema);
		}
		PG_END_TRY();
	}
	if (frame.kind != TD_MSG_OK)
		unexpected(host, &frame);
}

/* Where the source's log ends now, palloc'ed. */
char *
td_host_position(TdHostProcess *host)
{
	TdFrame		frame;
	TdPayload	in;

	td_frame_send(host, TD_MSG_POSITION, NULL);
	answer(host, &frame);
	if (frame.kind != TD_MSG_OK)
		unexpected(host, &frame);
	in = td_payload_open(&frame);
	return td_payload_get_str(&in);
}

/* Does having read up to `reached` include everything up to `wanted`? */
bool
td_host_covers(TdHostProcess *host, const char *reached, const char *wanted)
{
	StringInfoData payload;
	TdFrame		frame;
	TdPayload	in;

	initStringInfo(&payload);
	td_payload_str(&payload, reached);
	td_payload_str(&payload, wanted);
	td_frame_send(host, TD_MSG_COVERS, &payload);
	answer(host, &frame);
	if (frame.kind != TD_MSG_OK)
		unexpected(host, &frame);
	in = td_payload_open(&frame);
	return td_payload_get_u32(&in) != 0;
}

/* ---- data ---- */

/* Begins to read a table; td_host_read gives its records.  Returns the position of a keyless table's snapshot, else "". */
char *
td_host_snapshot(TdHostProcess *host, const char *database, const char *table, const char *cursor, int64 limit)
{
	StringInfoData payload;
	TdFrame		frame;
	TdPayload	in;

	initStringInfo(&payload);
	td_payload_str(&payload, database);
	td_payload_str(&payload, table);
	td_payload_str(&payload, cursor);
	td_payload_u64(&payload, (uint64) limit);
	td_frame_send(host, TD_MSG_SNAPSHOT, &payload);
	answer(host, &frame);
	if (frame.kind != TD_MSG_OK)
		unexpected(host, &frame);
	in = td_payload_open(&frame);
	return td_payload_get_str(&in);
}

/* Begins to stream the given tables (TdPipelineTable) from a position. */
void
td_host_stream(TdHostProcess *host, const char *position, List *tables)
{
	StringInfoData payload;
	TdFrame		frame;
	ListCell   *lc;

	initStringInfo(&payload);
	td_payload_str(&payload, position);
	td_payload_u32(&payload, list_length(tables));
	foreach(lc, tables)
	{
		TdPipelineTable *t = lfirst(lc);

		td_payload_str(&payload, t->source_database);
		td_payload_str(&payload, t->source_table);
		td_payload_str(&payload, t->skip_to);
	}
	td_frame_send(host, TD_MSG_STREAM, &payload);
	pfree(payload.data);
	answer(host, &frame);
	if (frame.kind != TD_MSG_OK)
		unexpected(host, &frame);
}

/* Asks for a MARK record once the stream has passed `position` ("" = where the source is now). */
void
td_host_mark(TdHostProcess *host, uint64 number, const char *position)
{
	StringInfoData payload;

	initStringInfo(&payload);
	td_payload_u64(&payload, number);
	td_payload_str(&payload, position);
	td_frame_send(host, TD_MSG_MARK, &payload);
	pfree(payload.data);
}

/* Tells the source that all up to `position` is durable here. */
void
td_host_ack(TdHostProcess *host, const char *position)
{
	StringInfoData payload;

	initStringInfo(&payload);
	td_payload_str(&payload, position);
	td_frame_send(host, TD_MSG_ACK, &payload);
	pfree(payload.data);
}

/*
 * The next block of records: 1 = *block is filled, 0 = none (time or latch),
 * -1 = the snapshot has ended, -2 = a mark could not be set (its number and
 * error by td_host_mark_error).
 */
int
td_host_read(TdHostProcess *host, int timeout_ms, TdBytes *block)
{
	TdFrame		frame;

	while (td_frame_receive(host, timeout_ms, true, &frame))
	{
		if (frame.kind == TD_MSG_DATA)
		{
			*block = frame.payload;
			return 1;
		}
		if (frame.kind == TD_MSG_OK)
			return -1;
		if (frame.kind == TD_MSG_MARK_ERROR)
		{
			TdPayload	in = td_payload_open(&frame);

			host->mark_failed = td_payload_get_u64(&in);
			td_payload_get_error(&in, false, &host->mark_error);
			return -2;
		}
		if (!common_frame(host, &frame))
			unexpected(host, &frame);
	}
	return 0;
}

/* After td_host_read returned -2: which mark, and why. */
uint64
td_host_mark_error(TdHostProcess *host, TdError *err)
{
	*err = host->mark_error;
	return host->mark_failed;
}
