/*-------------------------------------------------------------------------
 *
 * check.c
 *		check_view: compares a view with its query under one snapshot.
 *
 * NOTES
 *		Sessions.  The twin is read under the snapshot S of a tick, the view's table
 *		under a second snapshot that is taken before the next tick commits: it shows
 *		exactly what that tick left.  Both are run with the rights and pinned
 *		settings of the view's owner, as is what compares them; only the rights on
 *		the twins of other views are not asked for, because those on their tables
 *		are (maintenance reads those).
 *
 *		Everything is locked (ACCESS SHARE) before S is asked for: reading under an
 *		older snapshot is not safe against TRUNCATE and rewrites committed after it.
 *		The view worker takes no lock that it would wait for, so somebody who waits
 *		behind our locks for an exclusive one keeps its ticks from happening: locks
 *		are held for a short time at a time while we wait for S.
 *
 *		What no lock keeps as it is (partitions that come, functions that are
 *		replaced) is compared: the plan of the twin is good for S if the twin's
 *		footing is the same before it was planned (by caches that know all of it) and
 *		once S is committed, and it has
 *		been read by the functions of S if it still is after that.  The tick has seen
 *		to it that the view was computed by that of S.
 *
 *		Rows are equal as EXCEPT ALL has it: by the type's =, nulls equal.  A column
 *		whose type has no order is compared by its text.  Memory: work_mem for each
 *		of the two bags and for what groups them, then disk.  All of it belongs to
 *		the transaction.
 *
 * IDENTIFICATION
 *		src/view/sql/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "compat/compat.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/wait_event.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

#define CHECK_TIMEOUT_MS 60000	/* until the view streams, and until a tick has lent its snapshot */
#define ASK_AGAIN_MS 300		/* what an exclusive lock waits for us, at most */
#define PAUSE_MS 1				/* after an attempt in vain, without locks */
#define NO_WORKER_MS 20			/* between two looks for a worker */
#define GONE_MS 10000			/* a worker that ended is there again by then */
#define FETCH 1000

/* One side of the comparison. */
typedef struct TdBag
{
	const char *name;
	char	   *sql;
	Query	   *query;			/* as it was before planning */
	PlannedStmt *plan;
	List	   *footing;		/* likewise */
	TupleDesc	desc;
	Tuplestorestate *rows;
} TdBag;

static Oid	checked_table;		/* of the check that is being planned */

static void require_all_rows(const TdView *view);
static char *twin_name(const TdView *view);
static void check(FunctionCallInfo fcinfo, TdView *view, int64 max_rows);
static bool plan_bag(TdBag *bag);
static bool skip_rights(Oid relation);
static bool skip_all_rights(Node *node, void *context);
static Snapshot prepare(TdView **view, TdBag *query, TdBag *table, TimestampTz end, Snapshot *second);
static Snapshot attempt(const TdView *view, TdBag *query, TdBag *table, Snapshot *second);
static bool is_as_it_was(const TdView *view);
static bool plan_both(const TdView *view, TdBag *query, TdBag *table);
static void rest(int ms);
static void require_worker(const TdView *view);
static TdView *require_streaming(TdView *view, TimestampTz end);
static Snapshot borrow(const TdView *view, const TdBag *query, ResourceOwner owner, Snapshot *second);
static void log_difference(const TdView *view, const char *tick, const char *second);
static bool footing_holds(const TdBag *bag);
static void fill_bag(TdBag *bag, Snapshot snapshot);
static void compare(FunctionCallInfo fcinfo, TdBag *query, TdBag *view, int64 max_rows);
static char *compare_sql(TupleDesc desc, int64 max_rows);
static bool is_ordered(Oid type);
static void name_columns(TupleDesc desc);
static void register_bag(TdBag *bag);
static void return_rows(FunctionCallInfo fcinfo, const char *sql);

PG_FUNCTION_INFO_V1(td_sql_check_view);

/* tapdata.check_view(view, max_rows) */
Datum
td_sql_check_view(PG_FUNCTION_ARGS)
{
	TdView	   *view = td_view_named(td_required_oid(fcinfo, 0, "view"));
	int64		max_rows = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT32(1);

	if (max_rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must not be negative"),
				 errhint("NULL returns all rows.")));
	td_workers_require();
	td_view_require_reader(view);
	require_all_rows(view);
	td_require_clean_transaction("check_view", "The view");
	InitMaterializedSRF(fcinfo, 0);
	check(fcinfo, view, max_rows);
	return (Datum) 0;
}

/* What differs is shown: not to whom policies hide rows of the view. */
static void
require_all_rows(const TdView *view)
{
	if (check_enable_rls(view->relation, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security hides rows of view %s from you", view->name),
				 errhint("Ask its owner, %s, to check it.", td_role_text(view->owner))));
}

static char *
twin_name(const TdView *view)
{
	char	   *schema = get_namespace_name(get_rel_namespace(view->twin));
	char	   *name = get_rel_name(view->twin);

	if (schema == NULL || name == NULL)
		td_view_raise_dropped(view);
	return quote_qualified_identifier(schema, name);
}

/* All of it. */
static void
check(FunctionCallInfo fcinfo, TdView *view, int64 max_rows)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CHECK_TIMEOUT_MS);
	char	   *twin = twin_name(view);
	TdBag		query = {"tapdata$query", psprintf("SELECT * FROM %s", twin)};
	TdBag		table = {"tapdata$view", psprintf("SELECT * FROM ONLY %s", view->name)};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TdViewScope scope;
	Snapshot	tick;
	Snapshot	second;
	char	   *tick_text;
	char	   *second_text;

	checked_table = view->relation;
	for (;;)
	{
		tick = prepare(&view, &query, &table, end, &second);
		tick_text = td_seen_text(td_seen_of(tick)); /* it goes with the last who reads by it */
		td_scope_enter(&scope, view, false);
		fill_bag(&query, tick);
		fill_bag(&table, second);
		second_text = td_seen_text(td_seen_of(second));
		UnregisterSnapshot(second);
		if (footing_holds(&query))	/* functions are those of the moment */
			break;
		td_scope_leave(&scope);
		tuplestore_end(query.rows);
		tuplestore_end(table.rows);
	}
	compare(fcinfo, &query, &table, max_rows);
	td_scope_leave(&scope);
	if (tuplestore_tuple_count(result->setResult) > 0)
		log_difference(view, tick_text, second_text);
}

/* That must not be, and may be gone a moment later: what is needed to look for the reason. */
static void
log_difference(const TdView *view, const char *tick, const char *second)
{
	ereport(LOG,
			(errmsg("check_view found that view %s is not what its query gives", view->name),
			 errdetail_internal("The query was read under snapshot %s of a tick, the view under %s.", tick, second)));
}

/* ---- reading ---- */

/* Analysed, rewritten and planned: from here on all that it reads is locked.  false = not now: it would be planned by the past. */
static bool
plan_bag(TdBag *bag)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(bag->sql));
	Query	   *query = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(raw, bag->sql, NULL, 0, NULL));
	bool		cached;

	(void) skip_all_rights((Node *) query, NULL);
	bag->query = copyObject(query);
	bag->footing = td_footing_of_query(query, &cached);
	if (!cached)
		return false;
	PushActiveSnapshot(GetLatestSnapshot());	/* which partitions are being detached is told by it */
	bag->plan = pg_plan_query(query, bag->sql, 0, NULL);
	PopActiveSnapshot();
	return true;
}

/* Rights on the view itself, and on its twin and those of others: see NOTES. */
static bool
skip_rights(Oid relation)
{
	return relation == checked_table || get_rel_namespace(relation) == get_namespace_oid("tapdata_views", false);
}

static bool
skip_all_rights(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		td_skip_permissions_compat((Query *) node, skip_rights);
		return query_tree_walker((Query *) node, skip_all_rights, context, 0);
	}
	return expression_tree_walker(node, skip_all_rights, context);
}

/* Both sides planned and locked, and the two snapshots; in vain, all locks are given back before the next attempt. */
static Snapshot
prepare(TdView **view, TdBag *query, TdBag *table, TimestampTz end, Snapshot *second)
{
	Snapshot	tick = NULL;

	while (tick == NULL)
	{
		*view = require_streaming(*view, end);
		require_worker(*view);
		tick = attempt(*view, query, table, second);
		if (tick == NULL)
			rest(PAUSE_MS);
	}
	return tick;
}

static void
rest(int ms)
{
	CHECK_FOR_INTERRUPTS();
	(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
}

/* Waits, without a lock, for one that has ended: it is started again by itself.  Raises when its group has failed. */
static void
require_worker(const TdView *view)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), GONE_MS);

	while (!td_worker_runs(TD_WORKER_VIEW, view->group))
	{
		if (GetCurrentTimestamp() >= end)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the worker that maintains the view does not run"),
					 errhint("tapdata.workers and tapdata.views show why; try again once it runs.")));
		rest(NO_WORKER_MS);
		(void) td_view_streaming(view, 0);
	}
}

/* NULL = in vain.  An error ends the subtransaction as well: left open it would be taken for the user's, who has begun none. */
static Snapshot
attempt(const TdView *view, TdBag *query, TdBag *table, Snapshot *second)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Snapshot volatile tick = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		tick = plan_both(view, query, table) && is_as_it_was(view) ? borrow(view, query, owner, second) : NULL;
	}
	PG_CATCH();
	{
		ReThrowError(td_caught_in_subtransaction(caller, owner));
	}
	PG_END_TRY();
	if (tick)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return tick;
}

/* Once all is locked, another definition can't take the view's place any more: has one come before that? */
static bool
is_as_it_was(const TdView *view)
{
	TdView	   *now = td_view_load(view->id);

	return now && now->version == view->version;
}

/* false = not now. */
static bool
plan_both(const TdView *view, TdBag *query, TdBag *table)
{
	TdViewScope scope;
	bool		planned;

	td_scope_enter(&scope, view, false);
	planned = plan_bag(query) && plan_bag(table);
	td_scope_leave(&scope);
	return planned;
}

/* Waits, without a lock, until it streams. */
static TdView *
require_streaming(TdView *view, TimestampTz end)
{
	bool		streams = td_view_streaming(view, end);
	TdView	   *now = td_view_load(view->id);

	if (now == NULL)
		td_view_raise_dropped(view);
	if (!streams)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view %s is not filled yet", view->name),
				 errdetail("Its status is \"%s\".", now->status),
				 errhint("Wait for it first: SELECT tapdata.wait_view(%s).", quote_literal_cstr(view->name))));
	if (GetCurrentTimestamp() >= end)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("the worker of view %s did not lend its snapshot in time", view->name),
				 errhint("Look at tapdata.views and tapdata.doctor(), and try again.")));
	return now;
}

static bool
footing_holds(const TdBag *bag)
{
	AcceptInvalidationMessages();
	return equal(bag->footing, td_footing_of_query(bag->query, NULL));
}

/* The snapshot of a tick, and a second one (of owner) under which the view is what that tick left; NULL = not now. */
static Snapshot
borrow(const TdView *view, const TdBag *query, ResourceOwner owner, Snapshot *second)
{
	Snapshot	tick;
	bool		taken = false;

	if (!td_share_ask(TD_SHARE_CHECK, view->group, view->id))
		return NULL;
	tick = td_share_wait(ASK_AGAIN_MS);
	if (tick != NULL)
	{
		*second = RegisterSnapshotOnOwner(GetLatestSnapshot(), owner);
		taken = td_view_streaming(view, 0) && footing_holds(query) && td_share_taken();	/* in this order: that tick's status, not one of a later tick */
		if (!taken)
			UnregisterSnapshotFromOwner(*second, owner);
	}
	td_share_end();
	return taken ? tick : NULL;
}

static void
fill_bag(TdBag *bag, Snapshot snapshot)
{
	DestReceiver *dest = CreateDestReceiver(DestTuplestore);
	QueryDesc  *run;

	bag->rows = tuplestore_begin_heap(false, false, work_mem);
	SetTuplestoreDestReceiverParams(dest, bag->rows, CurrentMemoryContext, false, NULL, NULL);
	PushActiveSnapshot(snapshot);
	run = CreateQueryDesc(bag->plan, bag->sql, GetActiveSnapshot(), InvalidSnapshot, dest, NULL, NULL, 0);
	ExecutorStart(run, 0);
	bag->desc = CreateTupleDescCopy(run->tupDesc);
	td_executor_run_compat(run);
	ExecutorFinish(run);
	ExecutorEnd(run);
	FreeQueryDesc(run);
	PopActiveSnapshot();
	dest->rDestroy(dest);
}

/* ---- comparing ---- */

/* The names of the columns are the view's. */
static void
compare(FunctionCallInfo fcinfo, TdBag *query, TdBag *view, int64 max_rows)
{
	int			level = td_pin_path();
	char	   *sql = compare_sql(view->desc, max_rows);

	name_columns(query->desc);
	name_columns(view->desc);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	register_bag(query);
	register_bag(view);
	return_rows(fcinfo, sql);
	SPI_finish();
	AtEOXact_GUC(true, level);
	tuplestore_end(query->rows);
	tuplestore_end(view->rows);
}

/*
 * One statement over both bags: rows of the query count 1, those of the view
 * -1, and what does not add up to 0 is a difference.
 */
static char *
compare_sql(TupleDesc desc, int64 max_rows)
{
	StringInfoData keys;
	StringInfoData list;
	StringInfoData back;
	char	   *limit = max_rows == PG_INT64_MAX ? "" : psprintf(" LIMIT " INT64_FORMAT, max_rows);

	initStringInfo(&keys);
	initStringInfo(&list);
	initStringInfo(&back);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(desc, i);
		const char *comma = i > 0 ? ", " : "";
		bool		ordered = is_ordered(a->atttypid);

		appendStringInfo(&keys, ordered ? ", c%d AS k%d" : ", CAST(c%d AS text) AS k%d", i + 1, i + 1);
		appendStringInfo(&list, "%sk%d", comma, i + 1);
		if (ordered)
			appendStringInfo(&back, "%sd.k%d AS %s", comma, i + 1, quote_identifier(NameStr(a->attname)));
		else
			appendStringInfo(&back, "%sCAST(d.k%d AS %s) AS %s", comma, i + 1,
							 format_type_extended(a->atttypid, a->atttypmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
							 quote_identifier(NameStr(a->attname)));
	}
	return psprintf("SELECT CASE WHEN d.n > 0 THEN 'missing' ELSE 'extra' END, abs(d.n), to_jsonb(r) FROM ("
					"SELECT sum(n)::bigint AS n%s%s FROM (SELECT 1 AS n%s FROM \"tapdata$query\" UNION ALL SELECT -1%s FROM \"tapdata$view\") u "
					"%s%s HAVING sum(n) <> 0%s) d, LATERAL (SELECT %s) r",
					desc->natts > 0 ? ", " : "", list.data, keys.data, keys.data,
					desc->natts > 0 ? "GROUP BY " : "", list.data, limit, back.data);
}

static bool
is_ordered(Oid type)
{
	return OidIsValid(lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr);
}

/* c1, c2, ...: both bags alike, whatever the columns are called. */
static void
name_columns(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(desc, i);

		snprintf(NameStr(a->attname), NAMEDATALEN, "c%d", i + 1);
	}
}

static void
register_bag(TdBag *bag)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = pstrdup(bag->name);
	enr->md.tupdesc = bag->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(bag->rows);
	enr->reldata = bag->rows;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register \"%s\"", bag->name);
}

/* A few at a time into the result of the function. */
static void
return_rows(FunctionCallInfo fcinfo, const char *sql)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);
	Portal		portal;

	if (plan == NULL)
		elog(ERROR, "could not plan \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
}
