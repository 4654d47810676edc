/*-------------------------------------------------------------------------
 *
 * main.c
 *		The program tapdata-host: in it, and only in it, a connector runs.
 *
 * NOTES
 *		A child of a server process, or of a person's shell with --describe and
 *		--list.  It dies with its parent, keeps no descriptor but 0, 1, 2 and its
 *		socket, and lets nobody of another user read its memory: /proc entries
 *		of a process that is not dumpable belong to root, and it leaves no core.
 *
 * connectors/host/main.c
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host_internal.h"

/* Ends the process where no error can be sent any more. */
void
td_die(const char *why)
{
	(void) !write(STDERR_FILENO, why, strlen(why));
	(void) !write(STDERR_FILENO, "\n", 1);
	_exit(1);
}

/* Closes all descriptors from `first` on. */
static void
close_from(int first)
{
	long		most = sysconf(_SC_OPEN_MAX);

#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned) first, ~0U, 0) == 0)
		return;
#endif
	if (most < 0 || most > 65536)
		most = 65536;
	for (int fd = first; fd < most; fd++)
		close(fd);
}

/* Default signals, none blocked.  A write to a closed socket is an error, not a death. */
static void
reset_signals(void)
{
	sigset_t	none;

	for (int sig = 1; sig < NSIG; sig++)
		(void) signal(sig, SIG_DFL);
	(void) signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Dies with the parent.  It may be dead already: the socket knows who made it. */
static void
follow_parent(int sock)
{
	struct ucred maker;
	socklen_t	len = sizeof(maker);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &maker, &len) != 0)
		td_die("descriptor 3 is no socket: tapdata-host is started by the server");
	if (maker.pid > 0 && getppid() != maker.pid && kill(maker.pid, 0) != 0 && errno == ESRCH)
		_exit(0);
}

/* `tapdata-host --describe NAME PATH` */
static int
describe(const char *name, const char *path)
{
	TdConnector api;
	TdError		err;

	if (td_load_connector(name, path, &api, &err))
		return td_describe(stdout, &api);
	fprintf(stderr, "%s\n", err.message);
	if (err.detail[0])
		fprintf(stderr, "%s\n", err.detail);
	if (err.hint[0])
		fprintf(stderr, "hint: %s\n", err.hint);
	return 1;
}

/* Says how it is called. */
static int
usage(void)
{
	fprintf(stderr, "usage: tapdata-host --describe NAME PATH\n"
			"       tapdata-host --list PATH\n"
			"       tapdata-host NAME PATH     (by the server, socket on descriptor 3)\n");
	return 2;
}

int
main(int argc, char **argv)
{
	reset_signals();
	prctl(PR_SET_DUMPABLE, 0);
	if (argc == 4 && strcmp(argv[1], "--describe") == 0)
	{
		close_from(3);
		return describe(argv[2], argv[3]);
	}
	if (argc == 3 && strcmp(argv[1], "--list") == 0)
	{
		close_from(3);
		return td_list_connectors(stdout, argv[2]);
	}
	if (argc != 3 || argv[1][0] == '-')
		return usage();
	close_from(TD_HOST_SOCKET + 1);
	follow_parent(TD_HOST_SOCKET);
	fcntl(TD_HOST_SOCKET, F_SETFD, FD_CLOEXEC);
	td_worker_start(argv[1], argv[2]);
	td_serve(TD_HOST_SOCKET, argv[1]);
}
