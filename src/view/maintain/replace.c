/*-------------------------------------------------------------------------
 *
 * replace.c
 *		A new definition takes the place of a view's old one: when, and in which
 *		tick.
 *
 * NOTES
 *		View worker.  The new definition is a member like all others; the view that
 *		it replaces comes after it, and those that read that one after both.  Once
 *		it streams, what must be locked is looked up between ticks; a tick that has
 *		all of it lets the new one take over where the old one would have been run:
 *		both are exact at the tick's snapshot, and so are the views above, which get
 *		the difference as the view's own delta.
 *
 *		It may always be put off: the old definition goes on.  Locks are not waited
 *		for, but after some time in vain for a moment: readers of a busy view would
 *		never leave a gap.  An error that will not pass is one of the new definition.
 *
 *		Whatever is done is done in the tick's transaction; the members are read
 *		again when it is committed.
 *
 * IDENTIFICATION
 *		src/view/maintain/replace.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "util/util.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "view/maintain/run_internal.h"
#include "view/maintain/tick_internal.h"

#define AGAIN_MS 50				/* doubling to */
#define AGAIN_MOST_MS 2000
#define PATIENCE 6				/* attempts without waiting */
#define WAIT_FOR_LOCK "200ms"	/* then; nobody reads the view meanwhile, nor is there a tick */

static TdMember *candidate(TdKeeper *k);
static void put_off(TdKeeper *k);
static bool lock(const TdLock *lock, bool wait);
static bool lock_all(TdKeeper *k, bool wait);
static bool try_take_over(TdKeeper *k, TdMember *m, TdMember *new, TdDeltas *deltas, TdError *err);
static void take_over(TdKeeper *k, TdMember *m, TdMember *new, TdDeltas *deltas);

/* ---- between ticks ---- */

/* A new definition that streams, whose view is not being filled. */
static TdMember *
candidate(TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		TdMember   *old = m->view->replaces != 0 ? td_member_find(k, m->view->replaces) : NULL;

		if (old && m->streams && m->run && (k->fill.state == TD_FILL_NONE || k->fill.member != old))
			return m;
	}
	return NULL;
}

/* What has been looked up is not so any more: the members were read again. */
void
td_replace_forget(TdKeeper *k)
{
	if (k->replacing.context)
		MemoryContextReset(k->replacing.context);
	k->replacing.old = k->replacing.new = 0;
	k->replacing.locks = NIL;
}

/* Outside of transactions: looks up what the next tick must lock. */
void
td_replace_step(TdKeeper *k)
{
	TdReplacing *r = &k->replacing;
	TdMember   *new;
	TdMember   *old;
	MemoryContext caller;

	if (r->new != 0 || GetCurrentTimestamp() < r->not_before || (new = candidate(k)) == NULL)
		return;
	if (r->context == NULL)
		r->context = AllocSetContextCreate(k->context, "tapdata replacing", ALLOCSET_SMALL_SIZES);
	old = td_member_find(k, new->view->replaces);
	td_transaction_begin();
	caller = MemoryContextSwitchTo(r->context);
	r->locks = td_view_take_over_locks(old->view, new->view);
	MemoryContextSwitchTo(caller);
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
	r->new = new->id;
	r->old = old->id;
}

/* Does it wait for a tick? */
bool
td_replace_due(const TdKeeper *k)
{
	return k->replacing.new != 0;
}

/* Milliseconds until it is tried again; -1 = only when woken. */
int
td_replace_timeout(TdKeeper *k)
{
	TimestampTz now = GetCurrentTimestamp();

	if (k->replacing.new != 0)
		return 0;
	if (k->replacing.not_before == 0 || candidate(k) == NULL)
		return -1;
	return now >= k->replacing.not_before ? 0 : (int) TimestampDifferenceMilliseconds(now, k->replacing.not_before) + 1;
}

static void
put_off(TdKeeper *k)
{
	TdReplacing *r = &k->replacing;

	td_replace_forget(k);
	r->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(AGAIN_MS << Min(r->failures, 10), AGAIN_MOST_MS));
	r->failures++;
}

/* ---- in a tick ---- */

/* A relation that is gone by now is not locked: the members are not up to date. */
static bool
lock(const TdLock *lock, bool wait)
{
	if (wait)
		LockRelationOid(lock->relid, lock->mode);
	else if (!ConditionalLockRelationOid(lock->relid, lock->mode))
		return false;
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lock->relid));
}

/* The view's own table, the first of them, is what others read. */
static bool
lock_all(TdKeeper *k, bool wait)
{
	ListCell   *lc;

	foreach(lc, k->replacing.locks)
		if (!lock(lfirst(lc), wait && foreach_current_index(lc) == 0))
			return false;
	return true;
}

/* Before the tick's snapshot; the relation that changes in this tick, InvalidOid = none.  Raises 55P03 when it waited in vain, once. */
Oid
td_replace_lock(TdKeeper *k)
{
	TdReplacing *r = &k->replacing;
	bool		wait = r->failures > PATIENCE && r->failures % PATIENCE == 0;
	int			level;

	r->locked = r->done = false;
	if (r->new == 0)
		return InvalidOid;
	r->failures++;				/* should it raise */
	level = NewGUCNestLevel();
	if (wait)
		(void) set_config_option("lock_timeout", WAIT_FOR_LOCK, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	r->locked = lock_all(k, wait);
	AtEOXact_GUC(true, level);
	r->failures--;
	if (r->locked)
		return td_member_find(k, r->old)->view->relation;
	put_off(k);
	return InvalidOid;
}

/* In the place of the member's run: true = it has its new definition, and the rows of that one. */
bool
td_replace_run(TdKeeper *k, TdMember *m, TdDeltas *deltas)
{
	TdReplacing *r = &k->replacing;
	TdMember   *new = r->locked && r->old == m->id ? td_member_find(k, r->new) : NULL;
	TdError		err = {0};

	if (new == NULL || !new->streams || new->frozen || new->refill || new->aside || m->aside)
		return false;
	r->done = try_take_over(k, m, new, deltas, &err);
	if (r->done)
		return true;
	td_feed_forget(m->run);
	td_deltas_forget(deltas, m->view->relation);
	if (err.message[0])
		td_member_freeze(k, new, &err);
	put_off(k);
	return false;
}

/* In a subtransaction; false = not now, or (with an error) not at all. */
static bool
try_take_over(TdKeeper *k, TdMember *m, TdMember *new, TdDeltas *deltas, TdError *err)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		MemoryContextSwitchTo(caller);
		take_over(k, m, new, deltas);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (!td_error_passes(edata->sqlerrcode))
			td_error_from_edata(err, edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return done;
}

static void
take_over(TdKeeper *k, TdMember *m, TdMember *new, TdDeltas *deltas)
{
	TdView	   *old;
	TdViewRun  *run;

	PushCopiedSnapshot(GetTransactionSnapshot());
	old = td_view_load(m->id);
	if (old == NULL || !td_view_lock_rows(m->id, new->id))
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("somebody changes the view")));
	td_view_take_definition(old, new->view);
	run = td_run_create(td_view_load(m->id), k->tick_context);
	td_run_take_rows(run, new->view->relation, deltas);
	td_view_take_shape(old, new->view);
	if (m->run)
	{
		m->run->kept->fed = run->kept->fed;
		m->run->ticks++;
	}
	td_run_destroy(run);
	m->joined = !m->streams;
	if (m->joined)
		td_view_set_status(m->id, "streaming", NULL, NULL);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/* The tick is committed. */
void
td_replace_committed(TdKeeper *k)
{
	TdReplacing *r = &k->replacing;

	if (r->done)
	{
		td_replace_forget(k);
		r->failures = 0;
		r->not_before = 0;
		k->members_stale = true;
	}
	r->done = r->locked = false;
}
