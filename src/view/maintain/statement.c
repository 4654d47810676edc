/*-------------------------------------------------------------------------
 *
 * statement.c
 *		Statements over in-memory relations, planned once and kept.
 *
 * NOTES
 *		Between td_scope_enter and td_scope_leave, under an active snapshot, which
 *		is used as it is.  In-memory relations are known by name to the one SPI
 *		connection of the execution only: functions that a statement calls don't
 *		see them.
 *
 *		A plan is kept per text, layout of its sources and their sizes: the planner
 *		believes what it is told about sizes when a plan is made, and one made for a
 *		few rows is a disaster for a million.  It serves for sources of a tenth to
 *		ten times as many rows as it was made for.  Kept plans live in the plan cache
 *		(which watches the tables they read), until td_run_destroy or until
 *		TD_MAX_KEPT others were used after them.
 *
 *		What can be said in two ways is planned in both, once, and the one that the
 *		planner finds cheaper is kept.
 *
 *		Rows go from the executor to the receiver one by one and are never
 *		gathered.  What a receiver allocates is gone with its row.
 *
 * IDENTIFICATION
 *		src/view/maintain/statement.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "view/maintain/run_internal.h"

#define TD_MAX_KEPT 64

#define LEAST_PLANNED 10		/* rows: a plan for fewer would be no other */
#define PLANNED_RANGE 10		/* times more, or fewer, than a plan was made for */

/* For tests: sources are planned as having so many rows. */
static const double forced_sizes[] = {30, 1000, 100000};

typedef struct KeptSource
{
	char	   *name;
	TupleDesc	desc;
	double		planned;		/* rows */
} KeptSource;

typedef struct KeptPlan
{
	char	   *sql;
	uint32		hash;
	bool		parallel;
	int			nsources;
	KeptSource *sources;
	SPIPlanPtr	plan;			/* saved */
	SPIPlanPtr	other;			/* while two are compared */
	MemoryContext context;		/* of this struct */
} KeptPlan;

/* Hands rows on as they come. */
typedef struct Receiver
{
	DestReceiver pub;
	TdReceive	receive;
	void	   *arg;
	MemoryContext row;
} Receiver;

/* As how many rows a source is planned. */
static double
planned_rows(const TdViewRun *run, double rows)
{
	if (run->force_size > 0)
		return forced_sizes[(run->force_size - 1) % lengthof(forced_sizes)];
	return Max(rows, LEAST_PLANNED);
}

static bool
size_fits(const TdViewRun *run, double planned, double rows)
{
	if (run->force_size > 0)
		return planned == planned_rows(run, rows);
	rows = planned_rows(run, rows);
	return rows <= planned * PLANNED_RANGE && rows * PLANNED_RANGE >= planned;
}

/* ---- kept plans ---- */

static bool
fits(const TdViewRun *run, const KeptPlan *kept, const char *sql, uint32 hash, int nsources, const TdSource *sources, bool parallel)
{
	if (kept->plan == NULL || kept->hash != hash || kept->parallel != parallel || kept->nsources != nsources || strcmp(kept->sql, sql) != 0)
		return false;
	for (int i = 0; i < nsources; i++)
	{
		const KeptSource *s = &kept->sources[i];

		if (!size_fits(run, s->planned, sources[i].nrows) || strcmp(s->name, sources[i].name) != 0 || !equalTupleDescs(s->desc, sources[i].desc))
			return false;
	}
	return true;
}

static void
forget(KeptPlan *kept)
{
	if (kept->plan)
		SPI_freeplan(kept->plan);
	if (kept->other)
		SPI_freeplan(kept->other);
	MemoryContextDelete(kept->context);
}

/* What a plan is kept for.  It is in the list, without a plan, before there is one: an error in between loses nothing, and without a plan it fits nothing and goes as the others do. */
static KeptPlan *
new_kept(TdViewRun *run, const char *sql, uint32 hash, int nsources, const TdSource *sources, bool parallel)
{
	MemoryContext context = AllocSetContextCreate(run->context, "tapdata statement", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	KeptPlan   *kept = palloc0(sizeof(KeptPlan));

	kept->context = context;
	kept->sql = pstrdup(sql);
	kept->hash = hash;
	kept->parallel = parallel;
	kept->nsources = nsources;
	kept->sources = palloc0(sizeof(KeptSource) * Max(nsources, 1));
	for (int i = 0; i < nsources; i++)
	{
		kept->sources[i].name = pstrdup(sources[i].name);
		kept->sources[i].desc = CreateTupleDescCopy(sources[i].desc);
		kept->sources[i].planned = planned_rows(run, sources[i].nrows);
	}
	MemoryContextSwitchTo(run->context);
	run->statements = lcons(kept, run->statements);
	MemoryContextSwitchTo(old);
	return kept;
}

/* The one that is kept for this, last used first in the list; maybe without a plan yet. */
static KeptPlan *
find_kept(TdViewRun *run, const char *sql, int nsources, const TdSource *sources, bool parallel)
{
	uint32		hash = hash_bytes((const unsigned char *) sql, strlen(sql));

	for (int i = 0; i < list_length(run->statements); i++)
	{
		KeptPlan   *kept = list_nth(run->statements, i);

		if (!fits(run, kept, sql, hash, nsources, sources, parallel))
			continue;
		for (int j = i; j > 0; j--)
			lfirst(list_nth_cell(run->statements, j)) = list_nth(run->statements, j - 1);
		linitial(run->statements) = kept;
		return kept;
	}
	while (list_length(run->statements) >= TD_MAX_KEPT)
	{
		KeptPlan   *last = llast(run->statements);

		run->statements = list_delete_last(run->statements);
		forget(last);
	}
	return new_kept(run, sql, hash, nsources, sources, parallel);
}

/* All plans of a view go. */
void
td_statements_forget(TdViewRun *run)
{
	while (run->statements != NIL)
	{
		KeptPlan   *first = linitial(run->statements);

		run->statements = list_delete_first(run->statements);
		forget(first);
	}
}

/* ---- planning: within the SPI connection, sources shown ---- */

static SPIPlanPtr
plan_text(const TdViewRun *run, const char *sql, bool parallel)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, 0, NULL, parallel ? CURSOR_OPT_PARALLEL_OK : 0);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "a statement of view %s can't be planned: %s", run->view->name, SPI_result_code_string(SPI_result));
	return plan;
}

/* As the planner sees it. */
static double
cost_of(SPIPlanPtr plan)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan);
	double		cost = cached ? linitial_node(PlannedStmt, cached->stmt_list)->planTree->total_cost : 0;

	if (cached)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	return cost;
}

/* Of the cheaper text.  An error in between leaves the first plan, which serves as well, or none. */
static void
plan_kept(TdViewRun *run, KeptPlan *kept, const char *otherwise)
{
	SPIPlanPtr	dearer;

	kept->plan = plan_text(run, kept->sql, kept->parallel);
	if (otherwise == NULL)
		return;
	kept->other = plan_text(run, otherwise, kept->parallel);
	dearer = cost_of(kept->other) < cost_of(kept->plan) ? kept->plan : kept->other;
	if (dearer == kept->plan)
		kept->plan = kept->other;
	kept->other = NULL;
	SPI_freeplan(dearer);
}

/* ---- running ---- */

static void
start(DestReceiver *self, int operation, TupleDesc desc)
{
}

static bool
take(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *r = (Receiver *) self;
	MemoryContext old = MemoryContextSwitchTo(r->row);

	r->receive(slot, r->arg);
	MemoryContextSwitchTo(old);
	MemoryContextReset(r->row);
	return true;
}

static void
finish(DestReceiver *self)
{
}

/* The planner is told what the plan is kept for, also when it plans anew because a table has changed. */
static void
show_sources(const KeptPlan *kept, int nsources, const TdSource *sources)
{
	for (int i = 0; i < nsources; i++)
	{
		EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

		enr->md.name = pstrdup(sources[i].name);
		enr->md.reliddesc = InvalidOid;
		enr->md.tupdesc = sources[i].desc;
		enr->md.enrtype = ENR_NAMED_TUPLESTORE;
		enr->md.enrtuples = kept->sources[i].planned;
		enr->reldata = sources[i].rows;
		if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
			elog(ERROR, "in-memory relation \"%s\" can't be registered", sources[i].name);
	}
}

/* otherwise: the same in another way, or NULL. */
uint64
td_execute_cheaper(TdViewRun *run, const char *sql, const char *otherwise, int nsources, const TdSource *sources, bool parallel, TdReceive receive, void *arg)
{
	Receiver	receiver = {{take, start, finish, finish, DestTuplestore}, receive, arg, NULL};
	SPIExecuteOptions options;
	KeptPlan   *kept;
	uint64		rows;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	receiver.row = AllocSetContextCreate(CurrentMemoryContext, "tapdata row", ALLOCSET_DEFAULT_SIZES);
	kept = find_kept(run, sql, nsources, sources, parallel);
	show_sources(kept, nsources, sources);
	if (kept->plan == NULL)
		plan_kept(run, kept, otherwise);
	memset(&options, 0, sizeof(options));
	options.read_only = true;
	options.must_return_tuples = true;
	options.dest = &receiver.pub;
	if (SPI_execute_plan_extended(kept->plan, &options) != SPI_OK_SELECT)
		elog(ERROR, "a statement of view %s is not a query", run->view->name);
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

uint64
td_execute(TdViewRun *run, const char *sql, int nsources, const TdSource *sources, bool parallel, TdReceive receive, void *arg)
{
	return td_execute_cheaper(run, sql, NULL, nsources, sources, parallel, receive, arg);
}
