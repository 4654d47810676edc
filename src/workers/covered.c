/*-------------------------------------------------------------------------
 *
 * covered.c
 *		How far a worker has got, for sessions that must see what they wrote.
 *
 * NOTES
 *		A session knows the end of its last commit that wrote, a worker says up to
 *		which position all commits can be seen in what it keeps: no catalog, no
 *		wait, nothing but a look into its slot.
 *
 *		What a worker says holds for that which it kept when it said so.  It moves
 *		`keeping` before it says more whenever that has changed: who has seen a thing
 *		kept under one number of `keeping` need not look again under the same.
 *		The numbers are never used twice in the life of the server.
 *
 * IDENTIFICATION
 *		src/workers/covered.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"

#include "workers/workers_internal.h"

static XLogRecPtr wrote = InvalidXLogRecPtr;
static bool second_phase = false;

/* ---- the session's side ---- */

/* COMMIT PREPARED: this transaction has no xid, and has committed what another one wrote. */
void
td_covered_second_phase(void)
{
	second_phase = true;
}

/* At the end of a transaction.  One without an xid writes WAL too, when it prunes a page that it reads: that is nothing to wait for. */
void
td_covered_ended(bool committed)
{
	if (committed && (second_phase || TransactionIdIsValid(GetTopTransactionIdIfAny())))
		wrote = XactLastCommitEnd;
	second_phase = false;
}

XLogRecPtr
td_session_wrote(void)
{
	return wrote;
}

bool
td_worker_covers(TdWorkerKind kind, int32 object, XLogRecPtr lsn, uint64 *keeping)
{
	TdWorkerSlot *slot;
	bool		covers = false;

	*keeping = 0;
	LWLockAcquire(td_shared->lock, LW_SHARED);
	slot = td_slot_find(kind, MyDatabaseId, object);
	if (slot)
	{
		covers = lsn <= pg_atomic_read_u64(&slot->covered);
		pg_read_barrier();
		*keeping = pg_atomic_read_u64(&slot->keeping);
	}
	LWLockRelease(td_shared->lock);
	return covers;
}

/* Of which moment the WAL is that the capture worker of a group has decoded: now, as long as no commit has woken it.  0 = not known. */
TimestampTz
td_group_decoded(int32 group, XLogRecPtr *lsn)
{
	TimestampTz at = 0;
	TdWorkerSlot *slot;

	*lsn = InvalidXLogRecPtr;
	if (td_shared == NULL)
		return 0;
	LWLockAcquire(td_shared->lock, LW_SHARED);
	slot = td_slot_find(TD_WORKER_CAPTURE, MyDatabaseId, group);
	if (slot)
	{
		*lsn = pg_atomic_read_u64(&slot->covered);
		at = (TimestampTz) pg_atomic_read_u64(&slot->decoded_at);
		if (at != 0)
			at = Max(at, td_watch_slept(slot->latch));
	}
	LWLockRelease(td_shared->lock);
	return at;
}

/* ---- the worker's side ---- */

/* Every commit that ends at or before lsn can be seen in what this worker keeps; changed: which is not what it was. */
void
td_worker_covered(XLogRecPtr lsn, bool changed)
{
	if (changed || pg_atomic_read_u64(&td_my_slot->keeping) == 0)
	{
		pg_atomic_write_u64(&td_my_slot->keeping, pg_atomic_add_fetch_u64(&td_shared->next_mark, 1));
		pg_write_barrier();
	}
	if (lsn > pg_atomic_read_u64(&td_my_slot->covered))
		pg_atomic_write_u64(&td_my_slot->covered, lsn);
}

/* Whether something of the source waits here to be applied: for the lag of pipelines, the freshness of views. */
void
td_worker_caught_up(bool caught_up)
{
	if ((pg_atomic_read_u32(&td_my_slot->caught_up) != 0) == caught_up)
		return;
	if (!caught_up)
	{
		pg_atomic_write_u64(&td_my_slot->caught_up_at, (uint64) GetCurrentTimestamp());
		pg_write_barrier();
	}
	pg_atomic_write_u32(&td_my_slot->caught_up, caught_up);
}

/* Of a capture worker: whoever looks sees how long it has not caught up. */
void
td_worker_decoded(XLogRecPtr lsn, TimestampTz at)
{
	pg_atomic_write_u64(&td_my_slot->covered, lsn);
	if (at != 0)
		pg_atomic_write_u64(&td_my_slot->decoded_at, (uint64) at);
}
