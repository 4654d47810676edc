/*-------------------------------------------------------------------------
 *
 * case_stop.c
 *		The connector in the real tapdata-host: a stop takes less than a second,
 *		whatever it is doing.
 *
 * connectors/tck/case_stop.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tck_internal.h"

/* Starts the host; its end of the socket is descriptor 3.  Returns ours, -1 on failure. */
static int
start_host(const Tck *tck, pid_t *pid)
{
	int			pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	fflush(NULL);
	*pid = fork();
	if (*pid == 0)
	{
		if (pair[1] != TD_HOST_SOCKET)
			dup2(pair[1], TD_HOST_SOCKET);
		fcntl(TD_HOST_SOCKET, F_SETFD, 0);
		execl(tck->host, tck->host, tck->name, tck->path, (char *) NULL);
		_exit(127);
	}
	close(pair[1]);
	return pair[0];
}

/* Appends a string with its length. */
static void
put_str(TdBuffer *b, const char *s)
{
	uint32_t	len = (uint32_t) strlen(s);

	td_buffer_append(b, &len, sizeof(len));
	td_buffer_append(b, s, len);
}

/* Sends a frame. */
static void
send_frame(int sock, uint32_t kind, const TdBuffer *b)
{
	TdFrameHeader header = {(uint32_t) b->len, kind};

	(void) !send(sock, &header, sizeof(header), MSG_NOSIGNAL);
	(void) !send(sock, b->data, b->len, MSG_NOSIGNAL);
}

/* OPEN with these options. */
static void
send_open(int sock, const TdGiven *options, uint32_t n)
{
	uint32_t	head[3] = {TD_PROTOCOL_VERSION, 60000, n};
	TdBuffer	b = {0};

	td_buffer_append(&b, head, sizeof(head));
	for (uint32_t i = 0; i < n; i++)
	{
		put_str(&b, options[i].name);
		put_str(&b, options[i].value);
	}
	send_frame(sock, TD_MSG_OPEN, &b);
	td_buffer_free(&b);
}

/* Waits for a first answer; its kind, 0 = none. */
static uint32_t
answer(int sock, int timeout_ms)
{
	struct pollfd p = {sock, POLLIN, 0};
	TdFrameHeader header = {0, 0};

	if (poll(&p, 1, timeout_ms) == 1)
		(void) !recv(sock, &header, sizeof(header), MSG_WAITALL);
	return header.kind;
}

/* Closes the socket; milliseconds until the host has ended, -1 = it did not. */
static long long
stop_host(int sock, pid_t pid)
{
	long long	from = tck_now_ms();

	close(sock);
	while (tck_now_ms() - from < 5000)
	{
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return tck_now_ms() - from;
		usleep(1000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -1;
}

/* STREAM of the table from its end, or a SNAPSHOT where it can't stream. */
static void
send_work(const Tck *tck, int sock)
{
	uint32_t	one = 1;
	int64_t		all = -1;
	bool		stream = (tck->api.caps & TD_CAP_STREAM) != 0 && tck->position;
	TdBuffer	b = {0};

	if (stream)
	{
		put_str(&b, tck->position);
		td_buffer_append(&b, &one, sizeof(one));
	}
	put_str(&b, tck->schema->database);
	put_str(&b, tck->schema->table);
	put_str(&b, "");
	if (!stream)
		td_buffer_append(&b, &all, sizeof(all));
	send_frame(sock, stream ? TD_MSG_STREAM : TD_MSG_SNAPSHOT, &b);
	td_buffer_free(&b);
}

void
tck_case_stop(Tck *tck)
{
	TdGiven		more[TCK_OPTIONS_MAX];
	uint32_t	n;
	long long	took;
	pid_t		pid;
	int			sock;

	if (access(tck->host, X_OK) != 0)
	{
		tck_ok(false, "stop: the program \"%s\" is there", tck->host);
		return;
	}
	sock = start_host(tck, &pid);
	send_open(sock, tck->options, tck->noptions);
	tck_ok(answer(sock, 20000) == TD_MSG_OK, "stop: opened in the host");
	if (tck->schema)
	{
		send_work(tck, sock);
		usleep(300000);
	}
	took = stop_host(sock, pid);
	tck_ok(took >= 0 && took < 1000, "stop: while it works, %lld ms", took);
	if (tck->nunreachable == 0)
	{
		tck_skip("stop: while it connects to what does not answer", "no --unreachable");
		return;
	}
	n = tck_override(tck, tck->unreachable, tck->nunreachable, more);
	sock = start_host(tck, &pid);
	send_open(sock, more, n);
	tck_ok(answer(sock, 700) == 0, "stop: connecting to what does not answer waits");
	took = stop_host(sock, pid);
	tck_ok(took >= 0 && took < 1000, "stop: and can be stopped, %lld ms", took);
}
