/*-------------------------------------------------------------------------
 *
 * watch.c
 *		Wake at commit: a worker that sleeps is woken by the next commit in its
 *		database, and by the first in each WAL segment wherever that is.
 *
 * NOTES
 *		Every backend looks at the end of each transaction (session.c), after the
 *		commit can be seen by others.  One that wrote nothing is told by
 *		XactLastCommitEnd, which has not moved; it moves for COMMIT PREPARED too,
 *		whose own transaction has no xid.  Parallel workers never get there.
 *
 *		Each backend knows the watches of its database and of the cluster as bit
 *		masks, which are made anew when any watch comes or goes: in a database
 *		without watches a writer pays two comparisons and a test.
 *
 *		WAL is common to all databases, and a slot keeps it until its worker has
 *		read on.  So the first commit that ends in a new segment wakes every
 *		sleeper: one that sleeps in an idle database reads what the others write.
 *
 *		Whoever sleeps marks itself asleep, then looks for work, then waits; whoever
 *		commits writes, then looks for the mark.  A full barrier stands between on
 *		both sides, so that one of the two sees the other.
 *
 *		Nothing here may raise or allocate but td_watch_enter.
 *
 * IDENTIFICATION
 *		src/workers/watch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"

#include "workers/workers_internal.h"

static TdWatch *mine = NULL;	/* the watch of this process */

/* Watches, a bit for each, as of td_shared->watch_version, which begins at 0 without any. */
static uint32 known_version = 0;
static uint64 known_here = 0;	/* in this database */
static uint64 known_all = 0;

static void know_watches(void);
static bool begins_segment(XLogRecPtr lsn);

/* The calling worker's watch; it goes with the worker.  A second call does nothing. */
void
td_watch_enter(void)
{
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TD_MAX_WATCHES && mine == NULL; i++)
	{
		TdWatch    *watch = &td_shared->watches[i];

		if (OidIsValid(watch->database))
			continue;
		mine = watch;
		pg_atomic_write_u32(&watch->asleep, 0);
		pg_atomic_write_u64(&watch->woken_at, 0);
		watch->latch = MyLatch;
		watch->database = MyDatabaseId;
		pg_atomic_fetch_add_u32(&td_shared->watch_version, 1);
	}
	LWLockRelease(td_shared->lock);
	if (mine == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many workers wait for commits"),
				 errdetail("At most %d can do so at a time, in all databases together.", TD_MAX_WATCHES),
				 errhint("Keep the views of a database in fewer groups.")));
}

/* Exit hook's part. */
void
td_watch_leave(void)
{
	if (mine == NULL)
		return;
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	mine->database = InvalidOid;
	mine->latch = NULL;
	pg_atomic_fetch_add_u32(&td_shared->watch_version, 1);
	LWLockRelease(td_shared->lock);
	mine = NULL;
}

/* Marks the worker.  True = it was marked asleep, and a commit has woken it since. */
bool
td_watch_asleep(bool asleep)
{
	static bool marked = false;
	bool		before = marked;

	Assert(mine != NULL);
	marked = asleep;
	/* an exchange is a full barrier: what is looked at after it is newer than the mark */
	return pg_atomic_exchange_u32(&mine->asleep, asleep) == 0 && before;
}

/* Until when the process with that latch has slept: now, while it does; 0 = it never has.  The room's lock is held. */
TimestampTz
td_watch_slept(const Latch *latch)
{
	for (int i = 0; i < TD_MAX_WATCHES; i++)
	{
		TdWatch    *watch = &td_shared->watches[i];

		if (latch != NULL && OidIsValid(watch->database) && watch->latch == latch)
			return pg_atomic_read_u32(&watch->asleep) != 0 ? GetCurrentTimestamp() : (TimestampTz) pg_atomic_read_u64(&watch->woken_at);
	}
	return 0;
}

/* Brings the masks up to date. */
static void
know_watches(void)
{
	if (pg_atomic_read_u32(&td_shared->watch_version) == known_version)
		return;
	known_here = known_all = 0;
	LWLockAcquire(td_shared->lock, LW_SHARED);
	known_version = pg_atomic_read_u32(&td_shared->watch_version);
	for (int i = 0; i < TD_MAX_WATCHES; i++)
	{
		Oid			database = td_shared->watches[i].database;

		if (OidIsValid(database))
			known_all |= UINT64CONST(1) << i;
		if (OidIsValid(database) && database == MyDatabaseId)
			known_here |= UINT64CONST(1) << i;
	}
	LWLockRelease(td_shared->lock);
}

/* True for one commit of each segment of WAL. */
static bool
begins_segment(XLogRecPtr lsn)
{
	uint64		segment = lsn / wal_segment_size;
	uint64		before = pg_atomic_read_u64(&td_shared->watch_segment);

	return segment > before && pg_atomic_compare_exchange_u64(&td_shared->watch_segment, &before, segment);
}

/* At the end of a transaction that committed: wakes who sleeps, but not ourselves. */
void
td_watch_committed(void)
{
	static XLogRecPtr last = InvalidXLogRecPtr;
	uint64		mask;

	if (XactLastCommitEnd == last)
		return;
	last = XactLastCommitEnd;
	pg_memory_barrier();
	know_watches();
	if (known_all == 0)
		return;
	mask = begins_segment(last) ? known_all : known_here;
	for (int i = 0; mask != 0; i++, mask >>= 1)
	{
		TdWatch    *watch = &td_shared->watches[i];
		Latch	   *latch = watch->latch;

		if (!(mask & 1) || watch == mine || latch == NULL || pg_atomic_read_u32(&watch->asleep) == 0)
			continue;
		/* the first of many commits is enough: it is marked asleep again only after it has looked */
		if (pg_atomic_exchange_u32(&watch->asleep, 0) != 0)
		{
			pg_atomic_write_u64(&watch->woken_at, (uint64) GetCurrentTransactionStopTimestamp());
			SetLatch(latch);
		}
	}
}
