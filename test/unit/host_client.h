/*-------------------------------------------------------------------------
 *
 * host_client.h
 *		The server's side of the host protocol, for tests of the real program.
 *
 * NOTES
 *		The program and the connectors are found from the top of the tree, or by
 *		TD_HOST and TD_CONNECTORS; TD_WRAP is put before the program ("valgrind
 *		-q --error-exitcode=99").
 *
 * test/unit/host_client.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_HOST_CLIENT_H
#define TD_HOST_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "connectors/host/protocol.h"
#include "stream/stream.h"
#include "tap.h"

#define UNUSED __attribute__((unused)) static

typedef struct Client
{
	int			sock;
	pid_t		pid;
	int			status;			/* of waitpid */
	uint8_t    *payload;
	size_t		cap;
	TdReader	in;				/* payload of the last frame */
	uint32_t	kind;
} Client;

UNUSED const char *
host_program(void)
{
	const char *program = getenv("TD_HOST");

	return program ? program : "connectors/host/tapdata-host";
}

UNUSED const char *
connector_path(void)
{
	const char *path = getenv("TD_CONNECTORS");

	return path ? path : "connectors/null:build/connectors/bad";
}

UNUSED double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* The child: socket to descriptor 3, then the program. */
UNUSED void
become_host(int sock, const char *connector, pid_t parent)
{
	char	   *argv[20];
	char		wrap[500] = "";
	int			n = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	if (sock != TD_HOST_SOCKET)
		dup2(sock, TD_HOST_SOCKET);
	fcntl(TD_HOST_SOCKET, F_SETFD, 0);
	if (getenv("TD_WRAP"))
		snprintf(wrap, sizeof(wrap), "%s", getenv("TD_WRAP"));
	for (char *word = strtok(wrap, " "); word && n < 15; word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n++] = (char *) host_program();
	argv[n++] = (char *) connector;
	argv[n++] = (char *) connector_path();
	argv[n] = NULL;
	execvp(argv[0], argv);
	_exit(127);
}

/* Starts a host. */
UNUSED void
client_start(Client *c, const char *connector)
{
	int			pair[2];
	pid_t		parent = getpid();

	memset(c, 0, sizeof(*c));
	signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	fflush(NULL);
	c->pid = fork();
	if (c->pid == 0)
		become_host(pair[1], connector, parent);
	close(pair[1]);
	c->sock = pair[0];
}

UNUSED void
client_send(Client *c, uint32_t kind, const TdBuffer *payload)
{
	TdFrameHeader header = {payload ? (uint32_t) payload->len : 0, kind};

	(void) !write(c->sock, &header, sizeof(header));
	if (payload && payload->len > 0)
		(void) !write(c->sock, payload->data, payload->len);
}

/* Reads n bytes before the deadline: 1 = read, 0 = time, -1 = closed. */
UNUSED int
read_bytes(Client *c, void *to, size_t n, double until)
{
	size_t		done = 0;

	while (done < n)
	{
		struct pollfd p = {c->sock, POLLIN, 0};
		double		left = until - seconds();
		ssize_t		got;

		if (left <= 0 || poll(&p, 1, (int) (left * 1000) + 1) == 0)
			return 0;
		got = recv(c->sock, (char *) to + done, n - done, 0);
		if (got <= 0)
			return -1;
		done += (size_t) got;
	}
	return 1;
}

/* Receives a frame: its kind, 0 = none in time, -1 = the host has gone. */
UNUSED int
client_receive(Client *c, double timeout)
{
	TdFrameHeader header;
	double		until = seconds() + timeout;
	int			got = read_bytes(c, &header, sizeof(header), until);

	if (got != 1)
		return got;
	if (header.size > c->cap)
	{
		c->payload = realloc(c->payload, header.size);
		c->cap = header.size;
	}
	got = read_bytes(c, c->payload, header.size, until + 5);
	if (got != 1)
		return got;
	c->kind = header.kind;
	c->in = (TdReader) {c->payload, c->payload + header.size};
	return (int) header.kind;
}

/* Closes the socket and waits for the host; seconds it took, -1 = it had to be killed. */
UNUSED double
client_stop(Client *c)
{
	double		from = seconds();

	if (c->sock >= 0)
		close(c->sock);
	c->sock = -1;
	free(c->payload);
	c->payload = NULL;
	c->cap = 0;
	while (seconds() - from < 10)
	{
		if (waitpid(c->pid, &c->status, WNOHANG) == c->pid)
			return seconds() - from;
		usleep(2000);
	}
	kill(c->pid, SIGKILL);
	waitpid(c->pid, &c->status, 0);
	return -1;
}

UNUSED void
put_u32(TdBuffer *b, uint32_t v)
{
	td_buffer_append(b, &v, sizeof(v));
}

UNUSED void
put_u64(TdBuffer *b, uint64_t v)
{
	td_buffer_append(b, &v, sizeof(v));
}

UNUSED void
put_str(TdBuffer *b, const char *s)
{
	put_u32(b, (uint32_t) strlen(s));
	td_buffer_append(b, s, strlen(s));
}

UNUSED uint32_t
get_u32(Client *c)
{
	uint32_t	v = 0;

	if (c->in.end - c->in.p >= 4)
		memcpy(&v, c->in.p, 4);
	c->in.p += 4;
	return v;
}

UNUSED uint64_t
get_u64(Client *c)
{
	uint64_t	v = 0;

	if (c->in.end - c->in.p >= 8)
		memcpy(&v, c->in.p, 8);
	c->in.p += 8;
	return v;
}

/* A string, in one of a few static buffers. */
UNUSED const char *
get_str(Client *c)
{
	static char ring[8][4096];
	static int	at;
	char	   *to = ring[at++ % 8];
	uint32_t	len = get_u32(c);

	snprintf(to, sizeof(ring[0]), "%.*s", (int) len, (const char *) c->in.p);
	c->in.p += len;
	return to;
}

/* "error" of the last frame. */
UNUSED void
get_error(Client *c, TdError *err)
{
	memset(err, 0, sizeof(*err));
	if (c->kind == TD_MSG_ERROR)
		err->retryable = *c->in.p++;
	snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", get_str(c));
	snprintf(err->message, sizeof(err->message), "%s", get_str(c));
	snprintf(err->detail, sizeof(err->detail), "%s", get_str(c));
	snprintf(err->hint, sizeof(err->hint), "%s", get_str(c));
}

/* OPEN with options "name=value", NULL at the end; kind of the answer. */
UNUSED int
client_open(Client *c, uint32_t limit_ms, const char *const *options)
{
	TdBuffer	b = {0};
	uint32_t	n = 0;
	int			kind;

	while (options[n])
		n++;
	put_u32(&b, TD_PROTOCOL_VERSION);
	put_u32(&b, limit_ms);
	put_u32(&b, n);
	for (uint32_t i = 0; i < n; i++)
	{
		const char *equals = strchr(options[i], '=');

		put_u32(&b, (uint32_t) (equals - options[i]));
		td_buffer_append(&b, options[i], (size_t) (equals - options[i]));
		put_str(&b, equals + 1);
	}
	client_send(c, TD_MSG_OPEN, &b);
	td_buffer_free(&b);
	kind = client_receive(c, 20);
	return kind;
}

UNUSED void
send_stream(Client *c, const char *position, uint32_t ntables, const char *const *tables)
{
	TdBuffer	b = {0};

	put_str(&b, position);
	put_u32(&b, ntables);
	for (uint32_t i = 0; i < ntables; i++)
	{
		put_str(&b, "");
		put_str(&b, tables[i]);
		put_str(&b, "");
	}
	client_send(c, TD_MSG_STREAM, &b);
	td_buffer_free(&b);
}

UNUSED void
send_snapshot(Client *c, const char *table, const char *cursor, int64_t limit)
{
	TdBuffer	b = {0};

	put_str(&b, "");
	put_str(&b, table);
	put_str(&b, cursor);
	put_u64(&b, (uint64_t) limit);
	client_send(c, TD_MSG_SNAPSHOT, &b);
	td_buffer_free(&b);
}

UNUSED void
send_mark(Client *c, uint64_t number, const char *position)
{
	TdBuffer	b = {0};

	put_u64(&b, number);
	put_str(&b, position);
	client_send(c, TD_MSG_MARK, &b);
	td_buffer_free(&b);
}

#endif							/* TD_HOST_CLIENT_H */
