/*-------------------------------------------------------------------------
 *
 * spawn.c
 *		Starts the program tapdata-host from a server process.
 *
 * NOTES
 *		Between fork and exec the child calls async-signal-safe functions only.
 *		It leaves the parent's process group (the postmaster signals groups),
 *		dies with its parent (PDEATHSIG, and the parent may have died already:
 *		getppid), gets an empty environment and no descriptor but those named.
 *
 * IDENTIFICATION
 *		src/connector/spawn.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"

#include "connector/connector_internal.h"

static void become_host(char *const argv[], int keep_fd, int as_fd, int stdout_fd, int stderr_fd,
						pid_t parent) pg_attribute_noreturn();
static void place_descriptors(int keep_fd, int as_fd, int stdout_fd, int stderr_fd);

/* The host program of this very installation, palloc'ed. */
char *
td_host_program(void)
{
	return psprintf("%s/tapdata/tapdata-host", pkglib_path);
}

/* Where connectors are looked for: tapdata.connector_path first, then the installation's own. */
char *
td_connector_directories(void)
{
	if (td_connector_path && td_connector_path[0])
		return psprintf("%s:%s/tapdata", td_connector_path, pkglib_path);
	return psprintf("%s/tapdata", pkglib_path);
}

/*
 * Forks and execs argv[0].  keep_fd (-1 = none) becomes descriptor as_fd in
 * the child; stdout_fd and stderr_fd (-1 = /dev/null) its output.  Returns the
 * child's pid; a failed exec shows as exit status 127.
 */
pid_t
td_spawn(char *const argv[], int keep_fd, int as_fd, int stdout_fd, int stderr_fd)
{
	sigset_t	all;
	sigset_t	before;
	pid_t		parent = getpid();
	pid_t		pid;

	/* no handler of ours may run in the child before it is gone */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		become_host(argv, keep_fd, as_fd, stdout_fd, stderr_fd, parent);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a connector host: %m")));
	return pid;
}

/* The child's side of td_spawn. */
static void
become_host(char *const argv[], int keep_fd, int as_fd, int stdout_fd, int stderr_fd, pid_t parent)
{
	static char *const environment[] = {"LANG=C", "PATH=/usr/bin:/bin", NULL};
	sigset_t	none;

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	place_descriptors(keep_fd, as_fd, stdout_fd, stderr_fd);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(argv[0], argv, environment);
	_exit(127);
}

/* Leaves 0, 1, 2 and as_fd open and nothing else. */
static void
place_descriptors(int keep_fd, int as_fd, int stdout_fd, int stderr_fd)
{
	int			null = open("/dev/null", O_RDWR);
	int			highest = 2;

	/* out of the way of the numbers that are assigned below */
	if (keep_fd >= 0)
		keep_fd = fcntl(keep_fd, F_DUPFD, 16);
	if (stdout_fd >= 0)
		stdout_fd = fcntl(stdout_fd, F_DUPFD, 16);
	if (stderr_fd >= 0)
		stderr_fd = fcntl(stderr_fd, F_DUPFD, 16);
	dup2(null, 0);
	dup2(stdout_fd >= 0 ? stdout_fd : null, 1);
	dup2(stderr_fd >= 0 ? stderr_fd : null, 2);
	if (keep_fd >= 0)
	{
		dup2(keep_fd, as_fd);
		highest = Max(highest, as_fd);
	}
#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned) highest + 1, ~0U, 0) == 0)
		return;
#endif
	for (int fd = highest + 1; fd < 65536; fd++)
		close(fd);
}
