/*-------------------------------------------------------------------------
 *
 * packet.c
 *		Our own reader of protocol packets.
 *
 * NOTES
 *		libmariadb makes the session, encrypts it and sends commands; answers
 *		of rows and of the binlog are read here, for speed (no copy of a row,
 *		256 kB a system call), for time-outs that lose nothing (a packet read in
 *		part waits in the buffer), and for events that the library's own
 *		replication functions don't know.
 *
 *		A plain socket is read directly, beginning with what the library had
 *		read ahead.  Under TLS only the library can read: an answer to a
 *		statement is simply waited for, since it must come; a stream has a
 *		thread (the pump) that hands the packets on through a socketpair, and
 *		that is read as a plain socket again.
 *
 * connectors/mysql/packet.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mysql_internal.h"
#include "ma_pvio.h"

#define FIRST_SIZE (256 * 1024)
#define KEEP_SIZE (4 * 1024 * 1024)
#define HEADER 4
#define PART 0xFFFFFF			/* payload of a packet that goes on in the next one */
#define PACKET_MAX (UINT64_C(1) << 31)

typedef struct TdMyPump
{
	pthread_t	thread;
	MYSQL	   *mysql;
	int			ends[2];		/* [0] is read, the thread writes [1] */
} TdMyPump;

/* Milliseconds of a clock that nobody sets. */
int64_t
td_my_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Writes all of it; false = the reader has gone. */
static bool
pump_write(int fd, const uint8_t *p, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t) n;
	}
	return true;
}

/* The pump's thread: packets out of TLS into the socketpair, in their own framing. */
static void *
pump_main(void *arg)
{
	TdMyPump   *pump = arg;
	bool		ok = true;

	while (ok)
	{
		unsigned long len = mysql_net_read_packet(pump->mysql);
		const uint8_t *p = pump->mysql->net.read_pos;
		uint8_t		error[600];

		if (len == packet_error)
		{
			unsigned	code = mysql_errno(pump->mysql);

			len = (unsigned long) snprintf((char *) error, sizeof(error), "\xFF%c%c#HY000%s", code & 0xFF, code >> 8, mysql_error(pump->mysql));
			error[1] = (uint8_t) code;
			error[2] = (uint8_t) (code >> 8);
			p = error;
			ok = false;
		}
		do
		{
			uint32_t	part = len > PART ? PART : (uint32_t) len;
			uint8_t		header[HEADER] = {(uint8_t) part, (uint8_t) (part >> 8), (uint8_t) (part >> 16), 0};

			ok = pump_write(pump->ends[1], header, HEADER) && pump_write(pump->ends[1], p, part) && ok;
			p += part;
			len -= part;
			if (part < PART)
				break;
		} while (true);
	}
	shutdown(pump->ends[1], SHUT_RDWR);
	return NULL;
}

/* Starts the pump; the reader then reads its socketpair. */
static bool
pump_start(TdMyReader *r, TdError *err)
{
	TdMyPump   *pump = calloc(1, sizeof(TdMyPump));

	if (pump == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pump->ends) != 0)
	{
		free(pump);
		return td_error_set(err, "53000", "could not make a socket pair");
	}
	pump->mysql = r->mysql;
	if (pthread_create(&pump->thread, NULL, pump_main, pump) != 0)
	{
		close(pump->ends[0]);
		close(pump->ends[1]);
		free(pump);
		return td_error_set(err, "53000", "could not start a thread");
	}
	r->pump = pump;
	r->fd = pump->ends[0];
	return true;
}

/* Ends the pump; its session is of no further use. */
static void
pump_stop(TdMyReader *r)
{
	if (r->pump == NULL)
		return;
	shutdown((int) mysql_get_socket(r->mysql), SHUT_RDWR);
	shutdown(r->pump->ends[0], SHUT_RDWR);
	pthread_join(r->pump->thread, NULL);
	close(r->pump->ends[0]);
	close(r->pump->ends[1]);
	free(r->pump);
	r->pump = NULL;
}

/* Makes room for `more` bytes behind `end`. */
static bool
make_room(TdMyReader *r, size_t more, TdError *err)
{
	uint8_t    *buf;
	size_t		cap = r->cap;

	/* a small rest of room would make small reads */
	if (r->start > 0 && (r->cap - r->end < more || r->cap - r->end < FIRST_SIZE / 4))
	{
		memmove(r->buf, r->buf + r->start, r->end - r->start);
		r->end -= r->start;
		r->start = 0;
	}
	if (r->cap - r->end >= more)
		return true;
	while (cap - r->end < more)
		cap *= 2;
	buf = realloc(r->buf, cap);
	if (buf == NULL)
		return td_error_set(err, "53200", "out of memory for a packet of %zu bytes", more);
	r->buf = buf;
	r->cap = cap;
	return true;
}

/* Begins to read what the session has to say; call it after a command was sent and before any answer was read. */
bool
td_my_reader_open(TdMyReader *r, MYSQL *mysql, bool stream, TdError *err)
{
	struct st_ma_pvio *pvio = mysql->net.pvio;
	size_t		ahead = 0;

	memset(r, 0, sizeof(*r));
	r->mysql = mysql;
	r->fd = (int) mysql_get_socket(mysql);
	r->cap = FIRST_SIZE;
	r->buf = malloc(r->cap);
	if (r->buf == NULL)
		return td_error_set(err, "53200", "out of memory");
	if (pvio->ctls)
	{
		if (stream)
			return pump_start(r, err);
		r->blocking = true;
		return true;
	}
	if (pvio->cache && pvio->cache_pos && pvio->cache + pvio->cache_size > pvio->cache_pos)
		ahead = (size_t) (pvio->cache + pvio->cache_size - pvio->cache_pos);
	if (ahead > 0)
	{
		memcpy(r->buf, pvio->cache_pos, ahead);
		pvio->cache_pos = pvio->cache;
		pvio->cache_size = 0;
		r->end = ahead;
	}
	return true;
}

/* Frees the reader, not the session. */
void
td_my_reader_close(TdMyReader *r)
{
	pump_stop(r);
	free(r->buf);
	memset(r, 0, sizeof(*r));
}

/* Reads once without waiting: 1 = something came, 0 = nothing there, -1. */
static int
receive(TdMyReader *r, TdError *err)
{
	while (true)
	{
		ssize_t		n = recv(r->fd, r->buf + r->end, r->cap - r->end, MSG_DONTWAIT);

		if (n > 0)
		{
			r->end += (size_t) n;
			return 1;
		}
		if (n == 0)
		{
			td_my_lost(err, "it was closed by the source");
			return -1;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		if (errno != EINTR)
		{
			td_my_lost(err, strerror(errno));
			return -1;
		}
	}
}

/* Waits for bytes until the deadline, and reads them. */
static int
wait_receive(TdMyReader *r, int64_t deadline, TdError *err)
{
	int			rc = receive(r, err);

	while (rc == 0)
	{
		struct pollfd p = {.fd = r->fd, .events = POLLIN};
		int64_t		left = deadline - td_my_now();

		if (left <= 0 || poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int) left) == 0)
			return 0;
		rc = receive(r, err);
	}
	return rc;
}

/* The packet at `start`, if it is there as a whole; *more = bytes it lacks at least.  Parts are moved together. */
static bool
assemble(TdMyReader *r, TdBytes *packet, size_t *more)
{
	while (true)
	{
		size_t		at = r->start + (r->part ? HEADER + r->part : 0);
		size_t		have = r->end - at;
		size_t		len;

		*more = HEADER;
		if (have < HEADER)
			return false;
		len = td_little(r->buf + at, 3);
		*more = HEADER + len - have;
		if (have < HEADER + len)
			return false;
		if (r->part)
		{
			memmove(r->buf + at, r->buf + at + HEADER, r->end - at - HEADER);
			r->end -= HEADER;
		}
		r->part += len;
		if (len < PART)
			break;
	}
	packet->data = r->buf + r->start + HEADER;
	packet->len = (uint32_t) r->part;
	r->taken = HEADER + r->part;
	r->part = 0;
	return true;
}

/* Under TLS without a pump: the library waits for the packet. */
static int
blocking_next(TdMyReader *r, TdBytes *packet, TdError *err)
{
	unsigned long len = mysql_net_read_packet(r->mysql);

	if (len == packet_error)
	{
		td_my_error(err, mysql_errno(r->mysql), mysql_error(r->mysql));
		return -1;
	}
	packet->data = r->mysql->net.read_pos;
	packet->len = (uint32_t) len;
	return 1;
}

/* The next packet, valid until the next call: 1 = there it is, 0 = not within the time, -1 = error. */
int
td_my_reader_next(TdMyReader *r, int timeout_ms, TdBytes *packet, TdError *err)
{
	int64_t		deadline = 0;
	size_t		more;

	if (r->blocking)
		return blocking_next(r, packet, err);
	r->start += r->taken;
	r->taken = 0;
	if (r->start == r->end)
		r->start = r->end = 0;
	while (!assemble(r, packet, &more))
	{
		int			rc;

		if (r->part + more > PACKET_MAX)
		{
			td_error_set(err, "54000", "a packet of more than %llu bytes", (unsigned long long) PACKET_MAX);
			return -1;
		}
		if (r->end == 0 && r->cap > KEEP_SIZE)
		{
			free(r->buf);
			r->buf = NULL;
			r->cap = FIRST_SIZE;
			r->buf = malloc(r->cap);
			if (r->buf == NULL)
			{
				td_error_set(err, "53200", "out of memory");
				return -1;
			}
		}
		if (!make_room(r, more, err))
			return -1;
		if (deadline == 0 && timeout_ms > 0)
			deadline = td_my_now() + timeout_ms;
		rc = wait_receive(r, deadline, err);
		if (rc <= 0)
			return rc;
	}
	return 1;
}

/* A length-encoded number; false = damaged, or the mark of NULL. */
bool
td_my_lenenc(TdReader *r, uint64_t *v)
{
	const uint8_t *p = td_my_take(r, 1);
	unsigned	n;

	if (p == NULL)
		return false;
	*v = *p;
	if (*p < 251)
		return true;
	n = *p == 252 ? 2 : *p == 253 ? 3 : *p == 254 ? 8 : 0;
	if (n == 0 || (p = td_my_take(r, n)) == NULL)
		return false;
	*v = td_little(p, n);
	return true;
}

/* An ERR packet into *err. */
bool
td_my_packet_error(TdBytes packet, TdError *err)
{
	char		text[512];
	const uint8_t *p = packet.data + 3;
	const uint8_t *end = packet.data + packet.len;

	if (packet.len < 3)
		return td_my_damaged(err, "error packet");
	if (end - p >= 6 && *p == '#')
		p += 6;
	snprintf(text, sizeof(text), "%.*s", (int) (end - p), (const char *) p);
	return td_my_error(err, (unsigned) td_little(packet.data + 1, 2), text);
}
