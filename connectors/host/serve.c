/*-------------------------------------------------------------------------
 *
 * serve.c
 *		The main thread: the socket, and the watch over the other threads.
 *
 * NOTES
 *		Never calls the connector and never waits for a thread, so it sees the
 *		end of the server at once, whatever the connector is doing, and answers
 *		PING while the connector works.  A connector whose call lasts too long
 *		costs the process: an ERROR is sent, then exit.
 *
 * connectors/host/serve.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host_internal.h"

#define IN_SIZE 65536
#define SENDS_PER_ROUND 16

static int	server;				/* the socket */
static const char *connector;
static TdItem *sending;			/* the frame that is being written */
static uint8_t *in;
static size_t in_len;
static size_t in_cap;

/* Writes what the socket takes of the current frame: 1 = all of it, 0 = the socket is full. */
static int
send_item(TdItem *item, int flags)
{
	TdFrameHeader header = {(uint32_t) item->payload.len, item->kind};
	size_t		total = sizeof(header) + item->payload.len;

	while (item->sent < total)
	{
		struct iovec parts[2];
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
		size_t		head = item->sent < sizeof(header) ? item->sent : sizeof(header);
		ssize_t		n;

		parts[0].iov_base = (char *) &header + head;
		parts[0].iov_len = sizeof(header) - head;
		parts[1].iov_base = item->payload.data + (item->sent - head);
		parts[1].iov_len = item->payload.len - (item->sent - head);
		n = sendmsg(server, &message, flags | MSG_NOSIGNAL);
		if (n >= 0)
			item->sent += (size_t) n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		else if (errno != EINTR)
			_exit(0);
	}
	return 1;
}

/* Writes frames until the socket is full or the queue empty; false = full. */
static bool
send_some(void)
{
	for (int i = 0; i < SENDS_PER_ROUND; i++)
	{
		if (sending == NULL)
			sending = td_queue_pop();
		if (sending == NULL)
			return true;
		if (send_item(sending, MSG_DONTWAIT) == 0)
			return false;
		td_queue_done(sending);
		sending = NULL;
	}
	return false;
}

/* Sends a last ERROR, waiting a second at most, and ends the process. */
static void __attribute__((noreturn))
end_with(TdError *err)
{
	struct timeval second = {1, 0};
	TdItem		item = {.kind = TD_MSG_ERROR};

	setsockopt(server, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
	td_redact_error(err);
	td_wire_u8(&item.payload, err->retryable);
	td_wire_error(&item.payload, err);
	if ((sending == NULL || send_item(sending, 0) == 1) && !item.payload.failed)
		(void) send_item(&item, 0);
	_exit(1);
}

/* The server sent what is no frame, or at the wrong moment. */
static void __attribute__((noreturn))
violated(const char *what)
{
	TdError		err;

	td_error_set(&err, "08P01", "tapdata-host received %s", what);
	err.retryable = false;
	end_with(&err);
}

/* MARK: number, position */
static void
take_mark(TdReader payload)
{
	uint64_t	number;
	char	   *position;

	if (!td_wire_get_u64(&payload, &number) || !td_wire_get_str(&payload, &position))
		violated("a damaged MARK");
	td_marks_request(number, position);
	free(position);
}

/* ACK: position */
static void
take_ack(TdReader payload)
{
	char	   *position;

	if (!td_wire_get_str(&payload, &position))
		violated("a damaged ACK");
	td_worker_ack(position);
	free(position);
}

/* Deals with one frame. */
static void
take_frame(uint32_t kind, TdReader payload)
{
	TdBuffer	nothing = {0};

	switch (kind)
	{
		case TD_MSG_MARK:
			take_mark(payload);
			break;
		case TD_MSG_ACK:
			take_ack(payload);
			break;
		case TD_MSG_PING:
			td_queue_push_now(TD_MSG_PONG, &nothing);
			break;
		default:
			if (!td_worker_post((TdFrameKind) kind, payload))
				violated("a request while another one was running");
	}
}

/* Takes the whole frames out of what was received. */
static void
take_frames(void)
{
	size_t		at = 0;
	TdFrameHeader header = {0, 0};

	while (in_len - at >= sizeof(header))
	{
		TdReader	payload;

		memcpy(&header, in + at, sizeof(header));
		if (header.size > TD_FRAME_IN_MAX)
			violated("a frame that is too large");
		if (in_len - at - sizeof(header) < header.size)
			break;
		payload.p = in + at + sizeof(header);
		payload.end = payload.p + header.size;
		take_frame(header.kind, payload);
		at += sizeof(header) + header.size;
	}
	/* an OPEN holds secrets: nothing that was taken stays behind */
	memmove(in, in + at, in_len - at);
	explicit_bzero(in + (in_len - at), at);
	in_len -= at;
}

/* Makes room for another read. */
static void
grow_input(void)
{
	size_t		cap = in_cap ? in_cap * 2 : IN_SIZE;
	uint8_t    *more;

	if (in_cap - in_len >= IN_SIZE / 2)
		return;
	more = malloc(cap);
	if (more == NULL)
		td_die("out of memory");
	if (in)
	{
		memcpy(more, in, in_len);
		explicit_bzero(in, in_cap);
		free(in);
	}
	in = more;
	in_cap = cap;
}

/* Receives what is there.  The server's end closed: nothing is to be saved. */
static void
receive(void)
{
	ssize_t		n;

	grow_input();
	n = recv(server, in + in_len, in_cap - in_len, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		_exit(0);
	if (n < 0)
		return;
	in_len += (size_t) n;
	take_frames();
}

/* Ends the process when a call into the connector has lasted too long. */
static void
watch(void)
{
	int			limit = td_worker_limit();
	const char *name = td_call_hung(limit);
	TdError		err;

	if (name == NULL)
		return;
	td_error_set(&err, "38000", "connector \"%s\" hangs in %s", connector, name);
	td_error_detail(&err, "The call has lasted longer than %d ms, the connector's process was ended.", limit);
	td_error_hint(&err, "Raise tapdata.connector_timeout if the source is that slow; otherwise this is a bug in the connector.");
	end_with(&err);
}

/* How often to look: a quarter of the limit, a second at most. */
static int
watch_interval(void)
{
	int			quarter = td_worker_limit() / 4;

	return quarter > 1000 ? 1000 : quarter < 10 ? 10 : quarter;
}

/* The loop of the main thread. */
void
td_serve(int sock, const char *name)
{
	struct pollfd fds[2] = {{.fd = sock}, {.fd = td_queue_event(), .events = POLLIN}};
	bool		drained = true;

	server = sock;
	connector = name;
	for (;;)
	{
		uint64_t	count;

		fds[0].events = drained ? POLLIN : POLLIN | POLLOUT;
		if (poll(fds, 2, watch_interval()) < 0 && errno != EINTR)
			_exit(1);
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
			receive();
		if (fds[1].revents & POLLIN)
			(void) !read(fds[1].fd, &count, sizeof(count));
		drained = send_some();
		watch();
	}
}
