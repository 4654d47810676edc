/*-------------------------------------------------------------------------
 *
 * locks.c
 *		The relation locks of a tick, taken before its snapshot.
 *
 * NOTES
 *		View worker.  Reading a table under a snapshot is not safe against TRUNCATE
 *		and rewrites that are committed after the snapshot was taken, so everything
 *		that a tick may read is locked before; and never waited for, since whoever
 *		holds such a lock would hold up all views of the group, and may itself wait
 *		for us (DROP of a view).  Locks are those of the transaction: a tick that
 *		does not get all of them ends it.
 *
 *		A view whose locks were not to be had for 3 s is set aside: the tick goes on
 *		without it and those above it, and they are filled anew.  Before that, between
 *		ticks and holding nothing, the lock is waited for some moments: VACUUM that
 *		takes off the end of a table, which may take minutes, lets go of it for who
 *		waits, and for nobody else.
 *
 *		What no lock keeps as it is, is compared: the footing of each view, taken
 *		before its locks, and again when all views have been computed.  A tick in
 *		which a partition has come, or a function was replaced, is given up.  The
 *		next one sees the DDL.
 *
 *		A fill worker takes all or none, too: who drops something locks what depends on
 *		it, one after the other and in an order of his own, and must not lose a deadlock
 *		to us.  After an attempt in vain it begins with the lock that was not to be had,
 *		for which it queues holding nothing: so one table that somebody always waits for
 *		keeps no view from being filled.
 *		By which footing it has computed its rows, it tells the tick in which the
 *		view joins (fill.c).
 *
 * IDENTIFICATION
 *		src/view/maintain/locks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "util/util.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

#include "view/maintain/tick_internal.h"

static TdLocked lock_one(TdMember *m, Oid relid, LOCKMODE mode);
static TdLocked lock_readable(TdMember *m, Oid relid);
static TdLocked lock_member(TdMember *m);
static bool goes_aside(TdMember *m);
static int	find_holder(Oid relid, LOCKMODE mode);
static bool lock_relations(Node *node, void *context);
static bool lock_twin(Oid twin, TdMember *noted);

#define ASIDE_MS 3000			/* that a lock is not to be had, before the view goes aside */
#define QUEUE_MS 100			/* before it is waited for */
#define QUEUE_FOR "100ms"		/* each time; VACUUM looks every 20 ms */
#define MOMENT_MS 100			/* between being seen and having ended, at most */

/* Without waiting; a relation that is gone by now counts as not there. */
static TdLocked
lock_one(TdMember *m, Oid relid, LOCKMODE mode)
{
	if (!ConditionalLockRelationOid(relid, mode))
	{
		m->busy_relid = relid;
		m->busy_mode = mode;
		return TD_LOCK_BUSY;
	}
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) ? TD_LOCKED : TD_LOCK_GONE;
}

/* A relation to be read, with all that is below it. */
static TdLocked
lock_readable(TdMember *m, Oid relid)
{
	TdLocked	locked = lock_one(m, relid, AccessShareLock);
	List	   *children;
	ListCell   *lc;

	if (locked != TD_LOCKED || !has_subclass(relid))
		return locked;
	children = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, children)
	{
		/* one that is being dropped or detached: its parent will say so */
		if (lfirst_oid(lc) != relid && lock_one(m, lfirst_oid(lc), AccessShareLock) != TD_LOCKED)
			locked = TD_LOCK_BUSY;
	}
	list_free(children);
	return locked;
}

static TdLocked
lock_member(TdMember *m)
{
	TdLocked	worst;

	m->footing = td_footing(m->run->shape, true);
	worst = lock_one(m, m->view->relation, RowExclusiveLock);
	if (worst == TD_LOCKED && OidIsValid(m->run->state_relid))
		worst = lock_one(m, m->run->state_relid, RowExclusiveLock);
	if (worst == TD_LOCKED)
		worst = lock_one(m, m->view->query, AccessShareLock);
	if (worst == TD_LOCKED && OidIsValid(td_feed_look_up(m->run)))
		worst = lock_one(m, td_feed_table(m->id), RowExclusiveLock);
	for (int i = 0; i < m->run->shape->noccurrences && worst == TD_LOCKED; i++)
		worst = lock_readable(m, m->run->shape->occurrences[i].relid);
	return worst;
}

bool
td_member_is_aside(const TdMember *m)
{
	return m->aside;
}

/* A view whose lock was not to be had for so long must not hold the others up. */
static bool
goes_aside(TdMember *m)
{
	TimestampTz now = GetCurrentTimestamp();

	if (m->busy_since == 0)
		m->busy_since = now;
	return TimestampDifferenceExceeds(m->busy_since, now, ASIDE_MS);
}

/*
 * All that the touched views read or write, but of those that go aside.  A view
 * whose relations are gone twice is left to fail by itself.
 */
TdLocked
td_lock_touched(TdKeeper *k)
{
	TdLocked	worst = TD_LOCKED;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		TdLocked	locked;

		if (!m->touched || !m->run)
		{
			m->missing = false; /* what is gone is to be met again by who needs it */
			continue;
		}
		m->aside = td_member_below(k, m, td_member_is_aside);
		if (m->aside)
			continue;
		locked = lock_member(m);
		if (locked == TD_LOCK_GONE && !m->missing)
		{
			m->missing = true;
			return TD_LOCK_GONE;
		}
		if (locked == TD_LOCKED)
		{
			m->missing = false;
			m->busy_since = 0;
		}
		if (locked == TD_LOCK_BUSY && !(m->aside = goes_aside(m)))
			worst = TD_LOCK_BUSY;
	}
	return worst;
}

/* Views that this tick does not write need none. */
bool
td_footing_holds(TdKeeper *k)
{
	ListCell   *lc;

	AcceptInvalidationMessages();
	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->touched && m->run && !m->aside && !m->missing && !m->frozen && !m->refill && !equal(m->footing, td_footing(m->run->shape, true)))
			return false;
	}
	return true;
}

/* The first one whose lock has not been to be had for a while; NULL = none. */
static TdMember *
find_busy(TdKeeper *k)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->touched && !m->aside && m->busy_since != 0 && TimestampDifferenceExceeds(m->busy_since, now, QUEUE_MS))
			return m;
	}
	return NULL;
}

/* Holding nothing else: waits for the lock that was not to be had, as long as lock_timeout says, and keeps it.  false = in vain: the transaction is to be given up. */
bool
td_lock_first(const TdMember *m)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool got = false;

	PG_TRY();
	{
		LockRelationOid(m->busy_relid, m->busy_mode);
		got = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return got;
}

/* Outside of transactions: waits for that lock, for a moment.  false = in vain. */
bool
td_lock_wait(const TdMember *m)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		got;

	StartTransactionCommand();
	(void) set_config_option("lock_timeout", QUEUE_FOR, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	got = td_lock_first(m);
	if (got)
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
	MemoryContextSwitchTo(caller);
	return got;
}

/* After a tick that got no locks; false = it has not waited for one, or in vain. */
bool
td_lock_queue(TdKeeper *k)
{
	TdMember   *m = find_busy(k);

	return m && td_lock_wait(m);
}

/* The process that has, or waits for, a lock in the way of this one; 0 = a prepared transaction, -1 = none (any more). */
static int
find_holder(Oid relid, LOCKMODE mode)
{
	LockData   *data = GetLockStatusData();

	for (int i = 0; i < data->nelements; i++)
	{
		LockInstanceData *l = &data->locks[i];

		if (l->locktag.locktag_type != LOCKTAG_RELATION || l->locktag.locktag_field1 != MyDatabaseId ||
			l->locktag.locktag_field2 != relid || l->pid == MyProcPid)
			continue;
		for (LOCKMODE held = AccessShareLock; held <= AccessExclusiveLock; held++)
		{
			if (((l->holdMask & LOCKBIT_ON(held)) || l->waitLockMode == held) && DoLockModesConflict(held, mode))
				return l->pid;
		}
	}
	return -1;
}

void
td_lock_error(const TdMember *m, TdError *err)
{
	char	   *name = get_rel_name(m->busy_relid);
	char	   *schema = get_namespace_name(get_rel_namespace(m->busy_relid));
	int			pid = find_holder(m->busy_relid, m->busy_mode);
	const char *what = name && schema ? psprintf("relation %s", quote_qualified_identifier(schema, name)) : "a relation that the view reads";

	if (pid > 0)
		td_error_set(err, "55P03", "%s is locked by process %d", what, pid);
	else if (pid == 0)
		td_error_set(err, "55P03", "%s is locked by a prepared transaction", what);
	else
		td_error_set(err, "55P03", "%s is locked", what);
	td_error_hint(err, "The view is filled anew, by itself, once the lock is released; pg_locks shows who has it.");
}

/* How a statement of the view locks an index; NoLock = it is none of its tables'. */
static LOCKMODE
mode_of_index(const TdMember *m, Oid relid)
{
	Oid			table = IndexGetRelation(relid, true);
	ListCell   *lc;

	if (!OidIsValid(table))
		return NoLock;
	if (table == m->view->relation || table == m->run->state_relid)
		return RowExclusiveLock;
	if (td_member_reads(m, table))
		return AccessShareLock;
	foreach(lc, td_tables_above(table))
		if (td_member_reads(m, lfirst_oid(lc)))
			return AccessShareLock;
	return NoLock;
}

/* A statement of the view has waited for a lock in vain: if somebody has an index of its tables locked, the error names that. */
void
td_lock_error_within(TdMember *m, TdError *err)
{
	LockData   *data = GetLockStatusData();

	for (int i = 0; i < data->nelements; i++)
	{
		const LOCKTAG *tag = &data->locks[i].locktag;
		LOCKMODE	mode;

		if (tag->locktag_type != LOCKTAG_RELATION || tag->locktag_field1 != MyDatabaseId || data->locks[i].pid == MyProcPid)
			continue;
		mode = mode_of_index(m, tag->locktag_field2);
		if (mode == NoLock || find_holder(tag->locktag_field2, mode) < 0)
			continue;
		m->busy_relid = tag->locktag_field2;
		m->busy_mode = mode;
		td_lock_error(m, err);
		return;
	}
}

/* ---- all that a view reads, by its twin ---- */

/* What the walk is about; the twin stands among its own relations. */
typedef struct TwinLocks
{
	Oid			twin;
	TdMember   *noted;			/* is told which lock is not to be had */
} TwinLocks;

/* True ends the walk: a lock is not to be had. */
static bool
lock_relations(Node *node, void *context)
{
	TwinLocks  *t = context;
	RangeTblEntry *rte = (RangeTblEntry *) node;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, lock_relations, context, QTW_EXAMINE_RTES_BEFORE);
	if (!IsA(node, RangeTblEntry))
		return expression_tree_walker(node, lock_relations, context);
	if (rte->rtekind != RTE_RELATION || rte->relid == t->twin)
		return false;
	if (rte->relkind == RELKIND_VIEW)
		return !lock_twin(rte->relid, t->noted);
	return lock_readable(t->noted, rte->relid) == TD_LOCK_BUSY;
}

/* An SQL view, and all that it reads.  One that is gone has nothing to lock; who opens it next says so. */
static bool
lock_twin(Oid twin, TdMember *noted)
{
	TwinLocks	t = {.twin = twin, .noted = noted};
	Relation	rel;
	Query	   *query;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (lock_one(noted, twin, AccessShareLock) == TD_LOCK_BUSY)
		return false;
	rel = try_table_open(twin, AccessShareLock);
	if (rel == NULL)
		return true;
	if (rel->rd_rel->relkind != RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a view", RelationGetRelationName(rel))));
	query = copyObject(get_view_query(rel));
	table_close(rel, NoLock);
	return !lock_relations((Node *) query, &t);
}

/*
 * All that making and filling a view opens, but indexes; false = a lock is not to be had, and noted.  What was locked until then ends with the transaction.
 * bases: what the view reads directly, other views' tables too; its twin reads theirs.
 */
static bool
lock_all(const TdView *view, List *bases, LOCKMODE own, TdMember *noted)
{
	Oid			tables[] = {view->relation, td_state_table(view), td_feed_table(view->id)};
	ListCell   *lc;

	for (int i = 0; i < lengthof(tables); i++)
	{
		if (OidIsValid(tables[i]) && lock_one(noted, tables[i], own) == TD_LOCK_BUSY)
			return false;
	}
	foreach(lc, bases)
	{
		if (lock_readable(noted, lfirst_oid(lc)) == TD_LOCK_BUSY)
			return false;
	}
	return lock_twin(view->query, noted);
}

/* Without a snapshot. */
bool
td_lock_to_fill(const TdView *view, List *bases, TdMember *noted)
{
	return lock_all(view, bases, RowExclusiveLock, noted);
}

/*
 * What planning a member opens; within a transaction.  false = something is locked, and noted.  A transaction is
 * seen a moment before it gives its locks up, such as one that made a view: that is waited for.
 */
bool
td_lock_to_plan(TdMember *m)
{
	List	   *bases = td_view_bases(m->id);

	for (int ms = 0; ms < MOMENT_MS; ms++)
	{
		if (lock_all(m->view, bases, AccessShareLock, m))
			return true;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1, PG_WAIT_EXTENSION);
	}
	return lock_all(m->view, bases, AccessShareLock, m);
}
