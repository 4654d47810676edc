/*-------------------------------------------------------------------------
 *
 * read_writes.c
 *		tapdata.read_your_writes: a query that reads a live view sees everything
 *		that its session committed before.
 *
 * NOTES
 *		Any backend that has the library, in the hooks of the executor.  Off, a query
 *		pays one test.  On, it pays a look at its range table, where every plan,
 *		kept or fresh, names the tables of views it reads, through ordinary views
 *		too; then, where it reads one and the session has written, a look into the
 *		slot of the view's worker.  Only if that is not far enough yet it waits, as
 *		wait_view does.
 *
 *		The query's snapshot was taken before we could wait, so it gets a new one.
 *		That is what READ COMMITTED would give a query which starts a little later;
 *		whoever began it has pushed the old one, and pushes the query's own when he
 *		runs it, or has it pushed by our hooks: the stack of snapshots is always as
 *		its owner left it.  Where the snapshot is not the query's alone it stays, and
 *		there is no wait: REPEATABLE READ, statements of a function that must see
 *		what the query sees that calls it, parallel queries, check_view.
 *
 *		Of what a STABLE function reads the range table says nothing, and its
 *		statements have the query's snapshot: a query that calls one (stable_calls.c)
 *		waits for all views that stream, once after each commit of the session.
 *
 *		Which relations are views is remembered until the relation cache says that
 *		they have changed, and with which of the worker's numbers of what it keeps
 *		the view was last seen to stream.
 *
 * IDENTIFICATION
 *		src/view/sql/read_writes.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "compat/compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

#define SHARED_SNAPSHOT 3		/* registrations: the query's own, one of its portal; a query that runs has two */

/* What is known of a relation. */
typedef struct TdKnown
{
	Oid			relid;			/* hash key */
	int32		view;			/* 0 = not a live view */
	int32		group;
	uint64		keeping;		/* the view streamed when its worker had this number; 0 = not seen yet */
} TdKnown;

static bool read_your_writes = false;
static int	timeout_ms = 5000;
static HTAB *known = NULL;
static uint64 forgotten = 0;	/* moves when something was */
static bool looking = false;	/* queries of our own */
static bool replaced = false;	/* a snapshot, at any time in this session */
static XLogRecPtr all_have = InvalidXLogRecPtr;	/* what the session had written when it last waited for all views */

static ExecutorStart_hook_type next_start = NULL;
static ExecutorRun_hook_type next_run = NULL;
static ExecutorFinish_hook_type next_finish = NULL;

static void executor_start(QueryDesc *query, int eflags);
static void executor_run(QueryDesc *query, ScanDirection direction, uint64 count TD_RUN_ONCE_PARAM);
static void executor_finish(QueryDesc *query);
static bool push_own(const QueryDesc *query);
static bool may_replace(const QueryDesc *query, int eflags);
static bool wait_for_views(List *rtable);
static bool wait_for_called(const PlannedStmt *plan);
static void wait_for_all(XLogRecPtr wrote);
static TdKnown know(Oid relid);
static TdKnown look_up(Oid relid);
static bool streams_covered(const TdKnown *k, XLogRecPtr lsn);
static void wait_for(Oid relid, int32 view, TimestampTz end);
static void raise_late(const TdView *view) pg_attribute_noreturn();
static void forget(Datum arg, Oid relid);

void
td_read_writes_init(void)
{
	DefineCustomBoolVariable("tapdata.read_your_writes", "A query that reads a live view waits until the view has what this session committed before.",
							 "In READ COMMITTED; a query in REPEATABLE READ or above has the snapshot of its transaction.  A query that calls STABLE functions waits for all views that stream.",
							 &read_your_writes, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tapdata.read_your_writes_timeout", "How long such a query waits before it fails.", NULL,
							&timeout_ms, timeout_ms, 1, INT_MAX, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	next_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
}

/* ---- the hooks ---- */

static void
executor_start(QueryDesc *query, int eflags)
{
	ExecutorStart_hook_type next = next_start ? next_start : standard_ExecutorStart;
	bool		waited = false;

	if (read_your_writes && may_replace(query, eflags))
	{
		waited = wait_for_views(query->plannedstmt->rtable);
		waited = wait_for_called(query->plannedstmt) || waited;
	}
	if (!waited)
	{
		next(query, eflags);
		return;
	}
	UnregisterSnapshot(query->snapshot);
	query->snapshot = InvalidSnapshot;
	query->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	replaced = true;
	PushActiveSnapshot(query->snapshot);
	next(query, eflags);
	PopActiveSnapshot();
}

/* Whoever has pushed the snapshot that the query had before: functions that it calls must see what it sees. */
static bool
push_own(const QueryDesc *query)
{
	if (!replaced || query->snapshot == InvalidSnapshot || !ActiveSnapshotSet() || GetActiveSnapshot() == query->snapshot)
		return false;
	PushActiveSnapshot(query->snapshot);
	return true;
}

static void
executor_run(QueryDesc *query, ScanDirection direction, uint64 count TD_RUN_ONCE_PARAM)
{
	ExecutorRun_hook_type next = next_run ? next_run : standard_ExecutorRun;
	bool		pushed = push_own(query);

	next(query, direction, count TD_RUN_ONCE_ARG);
	if (pushed)
		PopActiveSnapshot();
}

static void
executor_finish(QueryDesc *query)
{
	ExecutorFinish_hook_type next = next_finish ? next_finish : standard_ExecutorFinish;
	bool		pushed = push_own(query);

	next(query);
	if (pushed)
		PopActiveSnapshot();
}

/* Is the snapshot the query's own, and may another one be taken?  And is there anything to be seen. */
static bool
may_replace(const QueryDesc *query, int eflags)
{
	return td_session_wrote() != InvalidXLogRecPtr && td_my_slot == NULL && !looking && (eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0 &&
		!IsolationUsesXactSnapshot() && !IsInParallelMode() && !IsParallelWorker() && !InSecurityRestrictedOperation() &&
		query->snapshot != InvalidSnapshot && query->crosscheck_snapshot == InvalidSnapshot && query->snapshot->snapshot_type == SNAPSHOT_MVCC &&
		query->snapshot->regd_count < SHARED_SNAPSHOT;
}

/* ---- waiting ---- */

/* Until each view among them has what the session wrote; true = there was one. */
static bool
wait_for_views(List *rtable)
{
	XLogRecPtr	wrote = td_session_wrote();
	TimestampTz end = 0;
	bool		any = false;
	ListCell   *lc;

	foreach(lc, rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		TdKnown		k;

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION || rte->relid < FirstNormalObjectId)
			continue;
		k = know(rte->relid);
		if (k.view == 0)
			continue;
		any = true;
		if (streams_covered(&k, wrote))
			continue;
		if (end == 0)
			end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
		looking = true;
		PG_TRY();
		{
			wait_for(k.relid, k.view, end);
		}
		PG_FINALLY();
		{
			looking = false;
		}
		PG_END_TRY();
	}
	return any;
}

/* Functions that the query calls may read any view; true = there are such functions. */
static bool
wait_for_called(const PlannedStmt *plan)
{
	XLogRecPtr	wrote = td_session_wrote();

	if (!td_calls_stable(plan) || !OidIsValid(get_extension_oid("tapdata", true)) || creating_extension)
		return false;
	if (all_have != wrote)
	{
		looking = true;
		PG_TRY();
		{
			wait_for_all(wrote);
		}
		PG_FINALLY();
		{
			looking = false;
		}
		PG_END_TRY();
		all_have = wrote;
	}
	return true;
}

/* Not for those that do not stream: that the functions read just these is not known, and nothing is waited for in vain. */
static void
wait_for_all(XLogRecPtr wrote)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	ListCell   *lc;

	foreach(lc, td_groups_streaming())
	{
		int32		id = lfirst_int(lc);
		uint64		unused;

		if (td_worker_covers(TD_WORKER_VIEW, id, wrote, &unused))
			continue;
		ereport(DEBUG1, (errmsg_internal("read_your_writes: waits for group %d", id)));
		if (!td_group_catch_up(id, end))
		{
			TdGroup    *group = td_group_load(id);

			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the views of group \"%s\" did not reach what this session has committed within %d ms", group ? group->name : "gone", timeout_ms),
					 errdetail("The query calls a function that is STABLE, which may read them."),
					 errhint("Look at tapdata.views; wait longer with tapdata.read_your_writes_timeout, or read what is there with SET tapdata.read_your_writes = off.")));
		}
	}
}

/* From memory, or looked up. */
static TdKnown
know(Oid relid)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(TdKnown)};
	TdKnown    *k = known ? hash_search(known, &relid, HASH_FIND, NULL) : NULL;
	uint64		before = forgotten;
	TdKnown		found;

	if (k)
		return *k;
	if (known == NULL)
	{
		ctl.hcxt = TopMemoryContext;
		known = hash_create("tapdata views of a session", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	}
	found = look_up(relid);
	if (before == forgotten)
		*(TdKnown *) hash_search(known, &relid, HASH_ENTER, NULL) = found;
	return found;
}

static TdKnown
look_up(Oid relid)
{
	TdKnown		found = {.relid = relid};

	if (!OidIsValid(get_extension_oid("tapdata", true)) || creating_extension)
		return found;
	looking = true;
	PG_TRY();
	{
		TdView	   *view = td_view_of(relid, true);

		if (view)
		{
			found.view = view->id;
			found.group = view->group;
		}
	}
	PG_FINALLY();
	{
		looking = false;
	}
	PG_END_TRY();
	ereport(DEBUG1, (errmsg_internal("read_your_writes: relation %u is %s", relid, found.view ? "a live view" : "no live view")));
	return found;
}

/* In the relation cache's callback: something has changed there.  0 = everywhere. */
static void
forget(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS all;
	TdKnown    *k;

	forgotten++;
	if (OidIsValid(relid))
	{
		(void) hash_search(known, &relid, HASH_REMOVE, NULL);
		return;
	}
	hash_seq_init(&all, known);
	while ((k = hash_seq_search(&all)) != NULL)
		(void) hash_search(known, &k->relid, HASH_REMOVE, NULL);
}

/* Its worker is that far, and the view streamed when it was last looked at, since when nothing has begun or ceased to. */
static bool
streams_covered(const TdKnown *k, XLogRecPtr lsn)
{
	uint64		keeping;

	return td_worker_covers(TD_WORKER_VIEW, k->group, lsn, &keeping) && keeping != 0 && keeping == k->keeping;
}

/* What the session wrote is in the view then; raises when that can't be had in time. */
static void
wait_for(Oid relid, int32 id, TimestampTz end)
{
	TdView	   *view = td_view_load(id);
	TdKnown    *k;
	uint64		keeping;
	bool		covers;

	if (view == NULL)			/* dropped meanwhile: the query reads what is left of it */
		return;
	covers = td_worker_covers(TD_WORKER_VIEW, view->group, td_session_wrote(), &keeping);
	ereport(DEBUG1, (errmsg_internal("read_your_writes: %s view %s", covers ? "looks at" : "waits for", view->name)));
	if (covers ? !td_view_streaming(view, end) : !td_view_catch_up(view, end, NULL))
		raise_late(view);
	k = hash_search(known, &relid, HASH_FIND, NULL);
	if (k && k->view == id)
		k->keeping = keeping;
}

static void
raise_late(const TdView *view)
{
	TdView	   *now = td_view_load(view->id);
	bool		streams = now && strcmp(now->status, "streaming") == 0;

	ereport(ERROR,
			(errcode(streams ? ERRCODE_QUERY_CANCELED : ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 streams ? errmsg("view %s did not reach what this session has committed within %d ms", view->name, timeout_ms) :
			 errmsg("view %s does not stream, what this session has committed can't be read there", view->name),
			 errdetail("Its status is \"%s\".", now ? now->status : "gone"),
			 errhint("Look at tapdata.views; wait longer with tapdata.read_your_writes_timeout, or read what is there with SET tapdata.read_your_writes = off.")));
	pg_unreachable();
}
