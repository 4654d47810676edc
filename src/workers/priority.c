/*-------------------------------------------------------------------------
 *
 * priority.c
 *		How much of a saturated machine the workers of views leave to sessions.
 *
 * NOTES
 *		Linux shares the CPUs among autogroups by their nice values, and that of an
 *		autogroup among its processes by theirs (sched(7)).  A server process is a
 *		session of the operating system, so an autogroup of its own: its own nice
 *		value alone changes nothing.  Where a control group has a share of the CPUs
 *		(containers) there are no autogroups, and nice values count.  Both are set.
 *		Shares are kept over milliseconds; who has the CPU of the two that want it at
 *		once, each woken a hundred times a second, is up to the scheduling policy:
 *		under SCHED_BATCH a process that wakes up does not take the CPU from the one
 *		that runs.
 *
 *		An autogroup's can be taken back by those who have no privilege, so a worker
 *		need not starve: view and capture workers give way until they have been busy
 *		for LONG_MS without a pause, and then compete as a session does until they
 *		have nothing to do.  A process's own can't be taken back, so that is half as
 *		much.  A fill does not give way: it would take from the writers what it takes
 *		anyway (bench view_fill), but for longer, and hold back VACUUM meanwhile.
 *
 *		Of all those who are not privileged the kernel takes one change of an
 *		autogroup each 100 ms, EAGAIN else: the timer comes again.
 *
 * IDENTIFICATION
 *		src/workers/priority.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "workers/workers_internal.h"

#define LONG_MS 200
#define AGAIN_MS 130

int			td_nice = 10;

static TimeoutId timer = MAX_TIMEOUTS;	/* of those that give way */
static bool busy = false;
static volatile sig_atomic_t told = 0;	/* nice value that the kernel took last; -1 = it has none to set */

static void long_busy(void);
static void tell(int nice);
static void wake_politely(bool politely);

void
td_worker_give_way(TdWorkerKind kind)
{
	if (kind != TD_WORKER_VIEW && kind != TD_WORKER_CAPTURE)
		return;
	if (td_nice > 0)
		(void) setpriority(PRIO_PROCESS, 0, td_nice / 2);
	timer = RegisterTimeout(USER_TIMEOUT, long_busy);
}

/*
 * Cheap: called for each record and before each wait.  Only for work that was
 * found: a timer that is not needed any more may still wake us, once.
 */
void
td_worker_busy(bool now)
{
	if (timer == MAX_TIMEOUTS)
		return;
	if (now && !busy)
		enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LONG_MS), AGAIN_MS);
	else if (!now && busy)
		disable_timeout(timer, false);
	busy = now;
	if (!now)
		tell(td_nice);
}

/*
 * Milliseconds for which this process could have run and was given no CPU, since
 * it began; 0 where the kernel does not tell.
 */
double
td_worker_kept_waiting(void)
{
	static int	fd = -2;
	char		text[64];
	unsigned long long ran,
				waited;
	ssize_t		n;

	if (fd == -2)
	{
		fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			ReserveExternalFD();	/* until the end */
	}
	n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : 0;
	text[Max(n, 0)] = '\0';
	return sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited / 1e6 : 0;
}

/* A timer's handler. */
static void
long_busy(void)
{
	tell(0);
}

/* In handlers, too: system calls that are safe there.  Not taken now, it is told again when the next pause or the timer comes. */
static void
tell(int nice)
{
	char		word[2] = {nice < 10 ? ' ' : '1', '0' + nice % 10}; /* not 08: read as an octal number */
	int			saved = errno;
	int			fd;

	wake_politely(nice > 0);
	if (told == nice || told < 0)
		return;
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, word, sizeof(word)) == sizeof(word))
		told = nice;
	else if (told == 0 && errno != EAGAIN)	/* one that gave way must be able to stop it: tries for ever */
		told = -1;
	if (fd >= 0)
		close(fd);
	errno = saved;
}

/* Needs no privilege in either direction, and leaves the nice value alone (sched(7)); so does this a policy under which the server was started. */
static void
wake_politely(bool politely)
{
#ifdef SCHED_BATCH
	static volatile sig_atomic_t done = false;
	struct sched_param none = {0};
	int			saved = errno;

	if (done != politely && sched_getscheduler(0) == (politely ? SCHED_OTHER : SCHED_BATCH) && sched_setscheduler(0, politely ? SCHED_BATCH : SCHED_OTHER, &none) == 0)
		done = politely;
	errno = saved;
#endif
}
