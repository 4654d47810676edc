/*-------------------------------------------------------------------------
 *
 * watch.c
 *		Wake at commit: a worker that sleeps is woken by the next commit in its
 *		database.
 *
 * NOTES
 *		Every backend looks at the end of each transaction (session.c), after the
 *		commit can be seen by others.  One that wrote nothing is told by
 *		XactLastCommitEnd, which has not moved; it moves for COMMIT PREPARED too,
 *		whose own transaction has no xid.  Parallel workers never get there.
 *
 *		Each backend knows the watches of its database as a bit mask, which is
 *		made anew when any watch of the cluster comes or goes: in a database
 *		without watches a writer pays one comparison and one test.
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

static uint64 watches_here(void);

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

/* A bit for each watch of this database. */
static uint64
watches_here(void)
{
	static uint64 here = 0;
	static uint32 version = 0;	/* of td_shared->watch_version, which begins at 0 without any watch */
	uint32		now = pg_atomic_read_u32(&td_shared->watch_version);

	if (now == version)
		return here;
	here = 0;
	LWLockAcquire(td_shared->lock, LW_SHARED);
	version = pg_atomic_read_u32(&td_shared->watch_version);
	for (int i = 0; i < TD_MAX_WATCHES; i++)
	{
		if (OidIsValid(MyDatabaseId) && td_shared->watches[i].database == MyDatabaseId)
			here |= UINT64CONST(1) << i;
	}
	LWLockRelease(td_shared->lock);
	return here;
}

/* At the end of a transaction that committed: wakes who sleeps, but not ourselves. */
void
td_watch_committed(void)
{
	static XLogRecPtr last = InvalidXLogRecPtr;
	uint64		here;

	if (XactLastCommitEnd == last)
		return;
	last = XactLastCommitEnd;
	pg_memory_barrier();
	here = watches_here();
	for (int i = 0; here != 0; i++, here >>= 1)
	{
		TdWatch    *watch = &td_shared->watches[i];
		Latch	   *latch = watch->latch;

		if (!(here & 1) || watch == mine || latch == NULL || pg_atomic_read_u32(&watch->asleep) == 0)
			continue;
		/* the first of many commits is enough: it is marked asleep again only after it has looked */
		if (pg_atomic_exchange_u32(&watch->asleep, 0) != 0)
			SetLatch(latch);
	}
}
