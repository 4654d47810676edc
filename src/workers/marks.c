/*-------------------------------------------------------------------------
 *
 * marks.c
 *		wait_pipeline and wait_view: a session asks a worker to say when it is past a
 *		position, and the worker answers.
 *
 * NOTES
 *		A mark is an entry in the worker's slot.  Its number is never used twice
 *		while the shared memory lives, so an answer can't reach the wrong session.
 *		A session has at most one mark; it gives it back when it is answered or
 *		lost, and at the end of its transaction, however that ends.
 *
 *		Sessions that wait for "now" share an entry as long as the worker has not
 *		taken it: it is then for a moment not before any of their calls.  Such an
 *		entry is free again as soon as it is answered, and the slot keeps the last
 *		answer: the number of waiting sessions is not limited.
 *
 * IDENTIFICATION
 *		src/workers/marks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/wait_event.h"

#include "workers/workers_internal.h"

/* The mark this session waits for; slot NULL = none. */
static struct
{
	TdWorkerSlot *slot;
	TdWorkerKind kind;
	uint32		generation;
	uint64		number;
	bool		now;			/* of what the source holds when it is taken */
}			mine;

static TdMark *find_mark(TdWorkerSlot *slot, uint64 number);
static TdMark *enter_mark(TdWorkerSlot *slot, const char *position);
static void now_is_reached(uint64 number, TimestampTz source_time);
static TdMarkState look(TimestampTz *reached, TdError *err);

/* The entry of that number, 0 = a free one; NULL = none.  The lock is held. */
static TdMark *
find_mark(TdWorkerSlot *slot, uint64 number)
{
	for (int i = 0; i < TD_WAIT_SLOTS; i++)
	{
		if (slot->marks[i].number == number)
			return &slot->marks[i];
	}
	return NULL;
}

/* ---- the session's side ---- */

/* Asks for a mark: of everything the source holds now (position NULL or ""), or of that position. */
bool
td_worker_mark(TdWorkerKind kind, int32 object, const char *position, uint64 *number)
{
	TdWorkerSlot *slot;
	TdMark	   *mark = NULL;
	bool		full = false;

	td_workers_require();
	td_mark_release();
	if (position && strlen(position) >= sizeof(mark->position))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source position is too long"),
				 errdetail("It has %zu bytes, the limit is %zu.", strlen(position), sizeof(mark->position) - 1)));
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	slot = td_slot_find(kind, MyDatabaseId, object);
	if (slot && !slot->stop)
	{
		mark = enter_mark(slot, position ? position : "");
		full = mark == NULL;
	}
	if (mark)
	{
		mine.slot = slot;
		mine.kind = kind;
		mine.now = mark->position[0] == '\0';
		mine.generation = slot->generation;
		mine.number = *number = mark->number;
		if (slot->latch)
			SetLatch(slot->latch);
	}
	LWLockRelease(td_shared->lock);
	if (full)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many sessions wait for positions of this %s", td_worker_kind_name(kind)),
				 errdetail("At most %d can do so at a time; those that wait without a position count as one.", TD_WAIT_SLOTS),
				 errhint("Try again when one of them is done.")));
	return mark != NULL;
}

/* An entry for the position: a shared one, or a new one.  The lock is held. */
static TdMark *
enter_mark(TdWorkerSlot *slot, const char *position)
{
	TdMark	   *mark;

	for (int i = 0; i < TD_WAIT_SLOTS; i++)
	{
		mark = &slot->marks[i];
		if (mark->number != 0 && !mark->taken && mark->position[0] == '\0' && position[0] == '\0')
		{
			mark->waiters++;
			return mark;
		}
	}
	mark = find_mark(slot, 0);
	if (mark == NULL)
		return NULL;
	memset(mark, 0, sizeof(TdMark));
	mark->number = pg_atomic_add_fetch_u64(&td_shared->next_mark, 1);
	mark->waiters = 1;
	strlcpy(mark->position, position, sizeof(mark->position));
	pg_atomic_write_u64(&slot->mark_wanted, mark->number);
	return mark;
}

/* Gives the session's mark back; at the end of a transaction, and once it is answered. */
void
td_mark_release(void)
{
	TdMark	   *mark;

	if (mine.slot == NULL)
		return;
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	mark = mine.slot->generation == mine.generation ? find_mark(mine.slot, mine.number) : NULL;
	if (mark && --mark->waiters == 0)
		mark->number = 0;
	LWLockRelease(td_shared->lock);
	mine.slot = NULL;
}

/* How the session's mark stands. */
static TdMarkState
look(TimestampTz *reached, TdError *err)
{
	TdMarkState state = TD_MARK_LOST;
	TdMark	   *mark = NULL;
	bool		there;

	LWLockAcquire(td_shared->lock, LW_SHARED);
	there = mine.slot->kind == mine.kind && mine.slot->generation == mine.generation;
	if (there)
		mark = find_mark(mine.slot, mine.number);
	if (mark && mark->failed)
	{
		state = TD_MARK_FAILED;
		*err = mark->error;
	}
	else if (mark && mark->reached)
	{
		state = TD_MARK_REACHED;
		*reached = mark->reached_time;
	}
	else if (mark)
		state = TD_MARK_WAITING;
	else if (there && mine.now && mine.number <= mine.slot->now_reached)
	{
		state = TD_MARK_REACHED;
		*reached = mine.slot->now_time;
	}
	LWLockRelease(td_shared->lock);
	return state;
}

TdMarkState
td_worker_mark_wait(uint64 number, int timeout_ms, TimestampTz *reached, TdError *err)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	TdMarkState state;

	if (mine.slot == NULL || mine.number != number)
		return TD_MARK_LOST;
	ConditionVariablePrepareToSleep(&mine.slot->changed);
	while ((state = look(reached, err)) == TD_MARK_WAITING)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&mine.slot->changed, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	if (state != TD_MARK_WAITING)
		td_mark_release();
	return state;
}

/* ---- the worker's side ---- */

/* The oldest mark nobody has taken; without work this is one atomic read. */
bool
td_mark_next(uint64 *number, char *position)
{
	static uint64 taken = 0;
	TdMark	   *next = NULL;

	if (pg_atomic_read_u64(&td_my_slot->mark_wanted) == taken)
		return false;
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TD_WAIT_SLOTS; i++)
	{
		TdMark	   *mark = &td_my_slot->marks[i];

		if (mark->number != 0 && !mark->taken && (next == NULL || mark->number < next->number))
			next = mark;
	}
	if (next)
	{
		next->taken = true;
		*number = next->number;
		strlcpy(position, next->position, sizeof(next->position));
	}
	else
		taken = pg_atomic_read_u64(&td_my_slot->mark_wanted);
	LWLockRelease(td_shared->lock);
	return next != NULL;
}

/* Later is not before: a mark for "now" answers those for "now" that came before it.  The lock is held. */
static void
now_is_reached(uint64 number, TimestampTz source_time)
{
	td_my_slot->now_reached = Max(td_my_slot->now_reached, number);
	td_my_slot->now_time = source_time;
	for (int i = 0; i < TD_WAIT_SLOTS; i++)
	{
		TdMark	   *mark = &td_my_slot->marks[i];

		if (mark->number <= number && mark->position[0] == '\0' && !mark->failed)
			mark->number = 0;
	}
}

/* The answer; a session that has gone meanwhile left no entry. */
void
td_mark_reached(uint64 number, TimestampTz source_time)
{
	TdMark	   *mark;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	mark = find_mark(td_my_slot, number);
	if (mark && mark->position[0] == '\0')
		now_is_reached(number, source_time);
	else if (mark)
	{
		mark->reached = true;
		mark->reached_time = source_time;
	}
	LWLockRelease(td_shared->lock);
	ConditionVariableBroadcast(&td_my_slot->changed);
}

/* The source can't say when it is past that position. */
void
td_mark_failed(uint64 number, const TdError *err)
{
	TdMark	   *mark;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	mark = find_mark(td_my_slot, number);
	if (mark)
	{
		mark->failed = true;
		mark->error = *err;
	}
	LWLockRelease(td_shared->lock);
	ConditionVariableBroadcast(&td_my_slot->changed);
}
