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
 *		A fill worker waits for its locks: it holds nothing yet.
 *
 * IDENTIFICATION
 *		src/view/maintain/locks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "view/maintain/tick_internal.h"

static TdLocked lock_one(Oid relid, LOCKMODE mode);
static TdLocked lock_readable(Oid relid);
static TdLocked lock_member(TdMember *m);
static bool lock_relations(Node *node, void *context);

/* Without waiting; a relation that is gone by now counts as not there. */
static TdLocked
lock_one(Oid relid, LOCKMODE mode)
{
	if (!ConditionalLockRelationOid(relid, mode))
		return TD_LOCK_BUSY;
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) ? TD_LOCKED : TD_LOCK_GONE;
}

/* A relation to be read, with its partitions. */
static TdLocked
lock_readable(Oid relid)
{
	TdLocked	locked = lock_one(relid, AccessShareLock);
	List	   *children;
	ListCell   *lc;

	if (locked != TD_LOCKED || get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return locked;
	children = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, children)
	{
		/* a partition that is being dropped or detached: its parent will say so */
		if (lfirst_oid(lc) != relid && lock_one(lfirst_oid(lc), AccessShareLock) != TD_LOCKED)
			locked = TD_LOCK_BUSY;
	}
	list_free(children);
	return locked;
}

static TdLocked
lock_member(TdMember *m)
{
	TdLocked	worst = lock_one(m->view->relation, RowExclusiveLock);

	if (worst == TD_LOCKED && OidIsValid(m->run->state_relid))
		worst = lock_one(m->run->state_relid, RowExclusiveLock);
	if (worst == TD_LOCKED)
		worst = lock_one(m->view->twin, AccessShareLock);
	for (int i = 0; i < m->run->shape->noccurrences && worst == TD_LOCKED; i++)
		worst = lock_readable(m->run->shape->occurrences[i].relid);
	return worst;
}

/* All that the touched views read or write.  A view whose relations are gone twice is left to fail by itself. */
TdLocked
td_lock_touched(TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);
		TdLocked	locked = m->touched && m->run ? lock_member(m) : TD_LOCKED;

		if (locked == TD_LOCK_BUSY)
			return TD_LOCK_BUSY;
		if (locked == TD_LOCK_GONE && !m->missing)
		{
			m->missing = true;
			return TD_LOCK_GONE;
		}
		if (locked == TD_LOCKED)
			m->missing = false;
	}
	return TD_LOCKED;
}

/* ---- fill worker ---- */

/* context: oid of the twin, which stands among its own relations. */
static bool
lock_relations(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind != RTE_RELATION || rte->relid == *(Oid *) context)
			return false;
		if (rte->relkind == RELKIND_VIEW)
			td_lock_twin(rte->relid);
		else
		{
			LockRelationOid(rte->relid, AccessShareLock);
			if (get_rel_relkind(rte->relid) == RELKIND_PARTITIONED_TABLE)
				list_free(find_all_inheritors(rte->relid, AccessShareLock, NULL));
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, lock_relations, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, lock_relations, context);
}

/* ACCESS SHARE on a twin and everything it reads, kept to the end of the transaction. */
void
td_lock_twin(Oid twin)
{
	Relation	rel = table_open(twin, AccessShareLock);
	Query	   *query;

	CHECK_FOR_INTERRUPTS();
	if (rel->rd_rel->relkind != RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a view", RelationGetRelationName(rel))));
	query = copyObject(get_view_query(rel));
	table_close(rel, NoLock);
	(void) lock_relations((Node *) query, &twin);
}
