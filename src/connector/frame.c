/*-------------------------------------------------------------------------
 *
 * frame.c
 *		Frames between the server and a connector host: sending, receiving,
 *		payloads.
 *
 * NOTES
 *		Runs in workers and sessions.  The socket does not block; every wait is
 *		on the host's WaitEventSet, so it ends with the postmaster and obeys
 *		interrupts.  A host that has gone, or that sends what is no frame, is an
 *		ERROR here and nowhere else.
 *
 * IDENTIFICATION
 *		src/connector/frame.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "connector/connector_internal.h"
#include "util/util.h"
#include "workers/workers.h"

#define WAIT_SOCKET 2			/* position of the socket in the WaitEventSet */
#define QUIET_MS 30000			/* a silent host is pinged after this, and given up after twice this */

static void check_stop(void);
static void host_gone(TdHostProcess *host) pg_attribute_noreturn();
static void damaged(void) pg_attribute_noreturn();
static bool wait_for(TdHostProcess *host, uint32 events, long timeout_ms);
static bool frame_is_here(TdHostProcess *host, TdFrameHeader *header);
static void make_room(TdHostProcess *host, size_t wanted);
static bool fill(TdHostProcess *host);
static void watch_silence(TdHostProcess *host);

/* ---- sending ---- */

/* Sends one frame; payload may be NULL. */
void
td_frame_send(TdHostProcess *host, TdFrameKind kind, StringInfo payload)
{
	StringInfoData whole;
	TdFrameHeader header = {payload ? payload->len : 0, kind};
	int			sent = 0;

	initStringInfo(&whole);
	appendBinaryStringInfo(&whole, (char *) &header, sizeof(header));
	if (payload)
		appendBinaryStringInfo(&whole, payload->data, payload->len);
	while (sent < whole.len)
	{
		ssize_t		n = send(host->sock, whole.data + sent, whole.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			sent += n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
		{
			wait_for(host, WL_SOCKET_WRITEABLE, 1000);
			check_stop();
		}
		else if (errno != EINTR)
			host_gone(host);
	}
	explicit_bzero(whole.data, whole.len);	/* OPEN carries secrets */
	pfree(whole.data);
}

/* ---- receiving ---- */

/*
 * Receives the next frame.  Returns false when timeout_ms (-1 = for ever) has
 * passed, or, with stop_at_latch, when the latch was set; the latch is reset
 * either way, and interrupts are served.
 */
bool
td_frame_receive(TdHostProcess *host, int timeout_ms, bool stop_at_latch, TdFrame *frame)
{
	TimestampTz start = GetCurrentTimestamp();

	for (;;)
	{
		TdFrameHeader header;
		long		left = -1;

		if (frame_is_here(host, &header))
		{
			frame->kind = header.kind;
			frame->payload.data = host->buffer + host->begin + sizeof(header);
			frame->payload.len = header.size;
			td_frame_take(host, frame);
			return true;
		}
		if (fill(host))
			continue;
		if (timeout_ms >= 0)
		{
			left = timeout_ms - TimestampDifferenceMilliseconds(start, GetCurrentTimestamp());
			if (left <= 0)
				return false;
		}
		watch_silence(host);
		if (wait_for(host, WL_SOCKET_READABLE, left < 0 ? QUIET_MS : Min(left, QUIET_MS)) && stop_at_latch)
			return false;
		check_stop();
	}
}

/* Moves past a frame; its bytes stay where they are until the next receive. */
void
td_frame_take(TdHostProcess *host, TdFrame *frame)
{
	host->begin += sizeof(TdFrameHeader) + frame->payload.len;
}

/* Is a whole frame in the buffer?  Its header is copied out. */
static bool
frame_is_here(TdHostProcess *host, TdFrameHeader *header)
{
	size_t		have = host->end - host->begin;

	if (have < sizeof(*header))
	{
		make_room(host, sizeof(*header));
		return false;
	}
	memcpy(header, host->buffer + host->begin, sizeof(*header));
	if (header->size > TD_FRAME_MAX)
		damaged();
	if (have < sizeof(*header) + header->size)
	{
		make_room(host, sizeof(*header) + header->size);
		return false;
	}
	return true;
}

/* Makes sure that `wanted` bytes fit from host->begin on, moving what is there to the front. */
static void
make_room(TdHostProcess *host, size_t wanted)
{
	size_t		have = host->end - host->begin;

	if (host->begin + wanted <= host->capacity && host->capacity - host->end >= 65536)
		return;
	if (host->begin > 0)
	{
		memmove(host->buffer, host->buffer + host->begin, have);
		host->begin = 0;
		host->end = have;
	}
	if (wanted + 65536 > host->capacity)
	{
		host->capacity = wanted + wanted / 2 + 65536;
		host->buffer = repalloc_huge(host->buffer, host->capacity);
	}
}

/* Receives what is there; false = nothing now. */
static bool
fill(TdHostProcess *host)
{
	ssize_t		n = recv(host->sock, host->buffer + host->end, host->capacity - host->end, MSG_DONTWAIT);

	if (n > 0)
	{
		host->end += n;
		host->heard = GetCurrentTimestamp();
		host->pinged = false;
		return true;
	}
	if (n == 0)
		host_gone(host);
	if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		host_gone(host);
	return false;
}

/* A host whose main thread does not answer for a minute is stuck; its connector's calls have a limit of their own, in the host. */
static void
watch_silence(TdHostProcess *host)
{
	long		silent = TimestampDifferenceMilliseconds(host->heard, GetCurrentTimestamp());

	if (silent < QUIET_MS)
		return;
	if (!host->pinged)
	{
		host->pinged = true;
		td_frame_send(host, TD_MSG_PING, NULL);
	}
	else if (silent > 2 * QUIET_MS)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the connector host of \"%s\" does not answer", host->connector),
				 errdetail("Process %d was silent for %ld s.", (int) host->pid, silent / 1000)));
}

/* Waits for the socket, the latch or the time; true = the latch was set (and is reset). */
static bool
wait_for(TdHostProcess *host, uint32 events, long timeout_ms)
{
	WaitEvent	event[2];
	bool		latch = false;
	int			n;

	ModifyWaitEvent(host->waits, WAIT_SOCKET, events, NULL);
	n = WaitEventSetWait(host->waits, timeout_ms, event, lengthof(event), PG_WAIT_EXTENSION);
	for (int i = 0; i < n; i++)
		latch |= (event[i].events & WL_LATCH_SET) != 0;
	if (latch)
		ResetLatch(MyLatch);
	return latch;
}

/* A host may be silent for long (a connect that hangs): an order to stop does not wait for it, nor does a cancel. */
static void
check_stop(void)
{
	CHECK_FOR_INTERRUPTS();
	if (td_my_slot && td_worker_should_stop())
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("stop requested")));
}

/*
 * The socket is closed: says how the host ended.  A kill from outside is worth
 * a retry; a crash is the connector's bug and is not.
 */
static void
host_gone(TdHostProcess *host)
{
	int			status = 0;
	int			sig;

	if (host->pid > 0)
	{
		kill(host->pid, SIGKILL);	/* changes nothing for one that is ending already */
		while (waitpid(host->pid, &status, 0) < 0 && errno == EINTR)
			;
		host->pid = 0;
	}
	if (WIFEXITED(status))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("the connector host of \"%s\" ended with exit code %d", host->connector, WEXITSTATUS(status)),
				 WEXITSTATUS(status) == 127
				 ? errhint("The program \"%s\" could not be run: install it again.", td_host_program()) : 0));
	sig = WTERMSIG(status);
	if (sig == SIGKILL || sig == SIGTERM || sig == SIGINT || sig == SIGHUP)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the connector host of \"%s\" was killed by signal %d", host->connector, sig)));
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the connector \"%s\" crashed: signal %d (%s)", host->connector, sig, pg_strsignal(sig)),
			 errhint("This is a bug in the connector; the server is unharmed. Start the pipeline again with tapdata.start_pipeline().")));
}

/* ---- payloads ---- */

static void
damaged(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("damaged message from a connector host")));
}

void
td_payload_u32(StringInfo out, uint32 v)
{
	appendBinaryStringInfo(out, (char *) &v, sizeof(v));
}

void
td_payload_u64(StringInfo out, uint64 v)
{
	appendBinaryStringInfo(out, (char *) &v, sizeof(v));
}

/* NULL is written as "". */
void
td_payload_str(StringInfo out, const char *s)
{
	td_payload_u32(out, s ? strlen(s) : 0);
	if (s)
		appendBinaryStringInfo(out, s, strlen(s));
}

TdPayload
td_payload_open(const TdFrame *frame)
{
	TdPayload	in = {frame->payload.data, frame->payload.data + frame->payload.len};

	return in;
}

static const uint8_t *
take(TdPayload *in, size_t n)
{
	const uint8_t *at = in->p;

	if ((size_t) (in->end - in->p) < n)
		damaged();
	in->p += n;
	return at;
}

uint8
td_payload_get_u8(TdPayload *in)
{
	return *take(in, 1);
}

uint32
td_payload_get_u32(TdPayload *in)
{
	uint32		v;

	memcpy(&v, take(in, sizeof(v)), sizeof(v));
	return v;
}

uint64
td_payload_get_u64(TdPayload *in)
{
	uint64		v;

	memcpy(&v, take(in, sizeof(v)), sizeof(v));
	return v;
}

TdBytes
td_payload_get_bytes(TdPayload *in)
{
	TdBytes		v;

	v.len = td_payload_get_u32(in);
	v.data = take(in, v.len);
	return v;
}

/* A palloc'ed string; a NUL byte inside is damage. */
char *
td_payload_get_str(TdPayload *in)
{
	TdBytes		v = td_payload_get_bytes(in);

	if (memchr(v.data, 0, v.len))
		damaged();
	return pnstrdup((const char *) v.data, v.len);
}

/* sqlstate, message, detail, hint. */
void
td_payload_get_error(TdPayload *in, bool retryable, TdError *err)
{
	memset(err, 0, sizeof(*err));
	err->retryable = retryable;
	strlcpy(err->sqlstate, td_payload_get_str(in), sizeof(err->sqlstate));
	strlcpy(err->message, td_payload_get_str(in), sizeof(err->message));
	strlcpy(err->detail, td_payload_get_str(in), sizeof(err->detail));
	strlcpy(err->hint, td_payload_get_str(in), sizeof(err->hint));
}
