/*-------------------------------------------------------------------------
 *
 * pace.c
 *		When the next tick may start.
 *
 * NOTES
 *		View worker.  After an idle time at once; under load so that the worker
 *		does not spend its life in ticks, and that versions of hot rows do not
 *		pile up: each tick writes each group that changed once, and while an old
 *		snapshot is held somewhere none of these versions can be removed.
 *
 * IDENTIFICATION
 *		src/view/maintain/pace.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/transam.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "view/maintain/tick_internal.h"
#include "workers/workers.h"

#define HORIZON_EVERY_MS 50		/* how often the horizon is looked at */
#define HELD_MIN_MS 100			/* a horizon that stands for less is an ordinary transaction */
#define HORIZON_OLD_MS 5000		/* a look that is longer ago tells nothing of the time since: no transaction has come */
#define SLOWEST_MS 1000
#define EMPTY_MS 100			/* between ticks that could take nothing of what waits */

static double
elapsed_ms(TimestampTz from, TimestampTz to)
{
	return (to - from) / 1000.0;
}

/*
 * Four times what the last tick took: a quarter of a core.  What each change
 * costs, waiting does not save, and long waits make long ticks, so where that is
 * more than a third of the greatest lag, it may be half of a core.
 */
static double
pause_after(double last_ms, double max_lag_ms)
{
	return Min(max_lag_ms, Min(4 * last_ms, Max(2 * last_ms, max_lag_ms / 3)));
}

int
td_pace_wait(TdKeeper *k)
{
	TdPace	   *p = &k->pace;
	TimestampTz now = GetCurrentTimestamp();
	double		pause = pause_after(p->last_ms, k->max_lag_ms);
	double		held = p->horizon_since ? elapsed_ms(p->horizon_since, now) : 0;
	double		left;

	if (held > HELD_MIN_MS)
		pause = Max(pause, Min(held / 100, SLOWEST_MS));
	if (p->empty > 0)
		pause = Max(pause, Min(1 << Min(p->empty, 10), EMPTY_MS));
	left = pause - elapsed_ms(p->started, now);
	if (left <= 0 || left > 2 * Max(pause, SLOWEST_MS)) /* the clock was set back */
		return 0;
	return (int) ceil(left);
}

void
td_pace_started(TdKeeper *k)
{
	k->pace.started = GetCurrentTimestamp();
	k->pace.kept_waiting = td_worker_kept_waiting();
}

/* took: something of what waited, or there was nothing. */
void
td_pace_done(TdKeeper *k, bool took)
{
	k->pace.last_ms = elapsed_ms(k->pace.started, GetCurrentTimestamp());
	k->pace.empty = took ? 0 : k->pace.empty + 1;
}

/*
 * Within the tick: is the horizon of this database's tables still where it
 * was?  It is held back when transactions have come and it has not moved.
 */
void
td_pace_horizon(TdKeeper *k, Relation relation)
{
	TdPace	   *p = &k->pace;
	TimestampTz now = GetCurrentTimestamp();
	bool		old = TimestampDifferenceExceeds(p->horizon_read, now, HORIZON_OLD_MS);
	TransactionId horizon;

	if (p->horizon_read != 0 && !TimestampDifferenceExceeds(p->horizon_read, now, HORIZON_EVERY_MS))
		return;
	p->horizon_read = now;
	horizon = GetOldestNonRemovableTransactionId(relation);
	if (old || horizon != p->horizon || TransactionIdFollowsOrEquals(horizon, ReadNextTransactionId()))
	{
		p->horizon = horizon;
		p->horizon_since = now;
	}
}
