/*-------------------------------------------------------------------------
 *
 * supervisor.c
 *		One per database with the extension: makes what runs there equal to what
 *		the catalog wants.
 *
 * NOTES
 *		Process: background worker "tapdata supervisor", bootstrap superuser.
 *		Each round reads all pipelines and view groups and does for each what
 *		td_decide says.  It sleeps on its latch: set at the end of transactions that changed the
 *		catalog, when a worker ends, and when a retry is due.
 *
 *		It keeps nothing in memory that matters: a new supervisor finds the
 *		running workers in shared memory and the rest in the catalog.
 *
 *		Each action is a transaction of its own, and an error in one is logged
 *		and leaves the others alone.
 *
 * IDENTIFICATION
 *		src/workers/supervisor.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/catalog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "workers/decide_internal.h"
#include "workers/supervisor_internal.h"

#define ERROR_RETRY_MS 5000

static Oid	extension = InvalidOid; /* as it was at our start; another one is not ours */
static bool first_look = true;

/* The catalog at the beginning of a round. */
typedef struct Round
{
	bool		present;		/* the extension, the same as at our start */
	bool		here;			/* its rows were made in this database */
	bool		left_overs;		/* something could not be cleared away yet */
	List	   *supervised;		/* of TdSupervised * */
} Round;

static bool look(TimestampTz *wake);
static void read_catalog(Round *round);
static void recover(MemoryContext context);
static void look_at(TdSupervised *p, bool here, TimestampTz *wake);
static TdSituation situation_of(TdSupervised *p, bool here, TimestampTz now);
static void act(TdAction action, TdSupervised *p);
static void leave(bool dropped);
static void rest(TimestampTz wake);
static int	look_at_wal(void);
static bool wait_until(TimestampTz wake);

void
td_supervisor_main(Datum main_arg)
{
	MemoryContext round;

	td_worker_begin(main_arg, TD_WORKER_SUPERVISOR);
	td_worker_status("running");
	round = AllocSetContextCreate(TopMemoryContext, "tapdata supervisor round", ALLOCSET_DEFAULT_SIZES);

	while (!td_worker_should_stop())
	{
		TimestampTz wake = DT_NOEND;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		td_worker_reload();
		td_workers_reap();
		MemoryContextSwitchTo(round);
		MemoryContextReset(round);
		if (!look(&wake))
			break;
		pgstat_report_stat(false);
		rest(wake);
	}
	proc_exit(0);
}

/* One round; false = there is nothing to supervise any more. */
static bool
look(TimestampTz *wake)
{
	MemoryContext context = CurrentMemoryContext;
	Round		round = {.present = true};
	ListCell   *lc;

	PG_TRY();
	{
		read_catalog(&round);
	}
	PG_CATCH();
	{
		/* most likely DROP EXTENSION was committed while we waited for its locks: the next round will see */
		recover(context);
		memset(&round, 0, sizeof(round));
		round.present = round.left_overs = true;
	}
	PG_END_TRY();
	if (!round.present || !td_enabled)
	{
		leave(!round.present);
		return false;
	}
	if (round.left_overs)
		*wake = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ERROR_RETRY_MS);
	foreach(lc, round.supervised)
	{
		if (td_worker_should_stop())
			break;
		look_at(lfirst(lc), round.here, wake);
	}
	first_look = false;
	return true;
}

/* What the catalog says now. */
static void
read_catalog(Round *round)
{
	Oid			now = td_supervisor_begin();

	if (!OidIsValid(extension))
		extension = now;
	round->present = OidIsValid(now) && now == extension;
	if (round->present && td_enabled)
	{
		round->here = td_installation_is_here();
		round->supervised = td_supervised_list(round->here, &round->left_overs);
	}
	td_supervisor_commit();
}

/* Logs an error and ends its transaction; a termination is not kept back. */
static void
recover(MemoryContext context)
{
	MemoryContextSwitchTo(context);
	HOLD_INTERRUPTS();
	EmitErrorReport();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(context);
}

/* Decides and acts; what goes wrong with one of them is its own affair. */
static void
look_at(TdSupervised *p, bool here, TimestampTz *wake)
{
	MemoryContext context = CurrentMemoryContext;
	TdSituation situation = situation_of(p, here, GetCurrentTimestamp());
	int64_t		ms;
	TdAction	action = td_decide(&situation, &ms);

	PG_TRY();
	{
		act(action, p);
	}
	PG_CATCH();
	{
		recover(context);
		ms = ERROR_RETRY_MS;
	}
	PG_END_TRY();
	if (p->wake_ms >= 0)
		ms = p->wake_ms;
	if (ms >= 0)
		*wake = Min(*wake, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Max(ms, 1)));
}

static TdSituation
situation_of(TdSupervised *p, bool here, TimestampTz now)
{
	TdSituation s = {
		.status = p->status,
		.wanted = p->wanted,
		.forget_failure = p->kind->forget_failure,
		.again = p->again,
		.here = here,
		.starts = p->starts,
		.first_look = first_look,
		.retry_in_ms = p->retry_at > now ? TimestampDifferenceMilliseconds(now, p->retry_at) : 0
	};
	TdWorkerSlot slot;

	s.running = td_slot_exists(p->kind->worker, MyDatabaseId, p->id, &slot);
	s.stop_asked = s.running && slot.stop_asked != 0;
	if (s.stop_asked)
		s.stop_asked_ms = TimestampDifferenceMilliseconds(slot.stop_asked, now);
	return s;
}

static void
act(TdAction action, TdSupervised *p)
{
	switch (action)
	{
		case TD_ACT_NOTHING:
			break;
		case TD_ACT_START:
			td_supervised_start(p);
			break;
		case TD_ACT_STOP:
			(void) td_worker_request_stop(p->kind->worker, p->id, false);
			break;
		case TD_ACT_KILL:
			(void) td_worker_request_stop(p->kind->worker, p->id, true);
			break;
		case TD_ACT_STOPPED:
			td_supervised_write(p, "stopped");
			break;
		case TD_ACT_FENCE:
			td_supervised_write(p, "fenced");
			break;
		case TD_ACT_LOST:
			td_supervised_lost(p);
			break;
		case TD_ACT_CALM:
			td_supervised_write(p, NULL);
			break;
	}
}

/*
 * The extension was dropped, or tapdata.enabled is off: the workers go first.
 * What they leave in the cluster after a drop is cleared away by the probe that
 * follows our end.
 */
static void
leave(bool dropped)
{
	TimestampTz told = GetCurrentTimestamp();
	bool		killed = dropped;

	td_worker_status("stopping");
	td_workers_signal(MyDatabaseId, dropped ? SIGTERM : 0, false);
	while (td_workers_any(MyDatabaseId, false) && !td_worker_should_stop())
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		td_workers_reap();
		if (!killed && TimestampDifferenceExceeds(told, GetCurrentTimestamp(), TD_STOP_TIMEOUT_MS))
		{
			td_workers_signal(MyDatabaseId, SIGTERM, false);
			killed = true;
		}
		if (td_workers_any(MyDatabaseId, false))
			(void) wait_until(killed ? DT_NOEND : TimestampTzPlusMilliseconds(told, TD_STOP_TIMEOUT_MS + 1));
	}
}

/* Until somebody wakes us or it is time; meanwhile an eye is kept on the WAL that views hold. */
static void
rest(TimestampTz wake)
{
	int			ms;
	TimestampTz until;

	do
	{
		ms = look_at_wal();
		until = ms < 0 ? wake : Min(wake, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms));
	} while (!wait_until(until) && until < wake);
}

static int
look_at_wal(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile int ms = ERROR_RETRY_MS;

	PG_TRY();
	{
		ms = td_wal_look();
	}
	PG_CATCH();
	{
		recover(context);
	}
	PG_END_TRY();
	return ms;
}

/* true = somebody has woken us. */
static bool
wait_until(TimestampTz wake)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		left = -1;

	if (wake != DT_NOEND)
	{
		events |= WL_TIMEOUT;
		left = Max(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wake), 1);
	}
	return (WaitLatch(MyLatch, events, left, PG_WAIT_EXTENSION) & WL_LATCH_SET) != 0;
}
