/*-------------------------------------------------------------------------
 *
 * watch.c
 *		How long a call into the connector has lasted.
 *
 * NOTES
 *		Each thread that calls the connector has one TdCall and writes it; the
 *		main thread reads both.  Time in which a call waits for the server to
 *		take frames does not count.
 *
 * connectors/host/watch.c
 *
 *-------------------------------------------------------------------------
 */
#include <time.h>

#include "host_internal.h"

TdCall		td_worker_call;
TdCall		td_control_call;

static _Thread_local TdCall *current;

/* Milliseconds of a clock that never jumps. */
static long long
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* The calling thread goes into the connector. */
void
td_call_begin(TdCall *call, const char *name, int extra_ms)
{
	current = call;
	atomic_store(&call->started, now_ms());
	atomic_store(&call->extra, extra_ms);
	atomic_store(&call->name, name);
}

/* It has come back. */
void
td_call_end(TdCall *call)
{
	atomic_store(&call->name, NULL);
	current = NULL;
}

/* It waits for the server. */
void
td_call_pause(void)
{
	if (current)
		atomic_store(&current->started, INT64_MAX);
}

/* It goes on; its time begins again. */
void
td_call_resume(void)
{
	if (current)
		atomic_store(&current->started, now_ms());
}

/* Is this call past its time? */
static const char *
hung(TdCall *call, int limit_ms)
{
	const char *name = atomic_load(&call->name);
	long long	started = atomic_load(&call->started);

	if (name == NULL || started == INT64_MAX || now_ms() - started <= (long long) limit_ms + atomic_load(&call->extra))
		return NULL;
	/* it may just have ended, and another begun */
	return name == atomic_load(&call->name) && started == atomic_load(&call->started) ? name : NULL;
}

/* Name of a call that has lasted too long. */
const char *
td_call_hung(int limit_ms)
{
	const char *name = hung(&td_worker_call, limit_ms);

	return name ? name : hung(&td_control_call, limit_ms);
}
