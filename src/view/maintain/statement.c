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
 *		A plan is kept per text, layout of its sources and class of their sizes:
 *		the planner believes what it is told about sizes when a plan is made, and
 *		one made for a few rows is a disaster for a million.  Kept plans live in
 *		the plan cache (which watches the tables they read), until td_run_destroy
 *		or until TD_MAX_KEPT others were used after them.
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
#include "view/maintain/run_internal.h"

#define TD_MAX_KEPT 64

/* Up to so many rows a source is of this class, and planned as having this many. */
static const struct
{
	double		most;
	double		planned;
}			size_classes[] = {{100, 30}, {10000, 1000}, {1e300, 100000}};

typedef struct KeptSource
{
	char	   *name;
	TupleDesc	desc;
	int			size;
} KeptSource;

typedef struct KeptPlan
{
	char	   *sql;
	uint32		hash;
	bool		parallel;
	int			nsources;
	KeptSource *sources;
	SPIPlanPtr	plan;			/* saved */
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

static int
size_class(const TdViewRun *run, double rows)
{
	int			i = 0;

	if (run->force_size > 0)
		return (run->force_size - 1) % lengthof(size_classes);
	while (rows > size_classes[i].most)
		i++;
	return i;
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

		if (s->size != size_class(run, sources[i].nrows) || strcmp(s->name, sources[i].name) != 0 || !equalTupleDescs(s->desc, sources[i].desc))
			return false;
	}
	return true;
}

static void
forget(KeptPlan *kept)
{
	if (kept->plan)
		SPI_freeplan(kept->plan);
	MemoryContextDelete(kept->context);
}

/*
 * Plans sql with its sources registered.  The struct is in the list, without a plan, before there is one: an error in
 * between loses nothing, and a struct without a plan fits nothing and goes as the others do.
 */
static KeptPlan *
prepare(TdViewRun *run, const char *sql, uint32 hash, int nsources, const TdSource *sources, bool parallel)
{
	MemoryContext context = AllocSetContextCreate(run->context, "tapdata statement", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	KeptPlan   *kept = palloc0(sizeof(KeptPlan));
	SPIPlanPtr	plan;

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
		kept->sources[i].size = size_class(run, sources[i].nrows);
	}
	MemoryContextSwitchTo(run->context);
	run->statements = lcons(kept, run->statements);
	MemoryContextSwitchTo(old);

	plan = SPI_prepare_cursor(sql, 0, NULL, parallel ? CURSOR_OPT_PARALLEL_OK : 0);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "a statement of view %s can't be planned: %s", run->view->name, SPI_result_code_string(SPI_result));
	kept->plan = plan;
	return kept;
}

/* The plan, last used first in the list. */
static KeptPlan *
kept_plan(TdViewRun *run, const char *sql, int nsources, const TdSource *sources, bool parallel)
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
	return prepare(run, sql, hash, nsources, sources, parallel);
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

static void
show_sources(const TdViewRun *run, int nsources, const TdSource *sources)
{
	for (int i = 0; i < nsources; i++)
	{
		EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

		enr->md.name = pstrdup(sources[i].name);
		enr->md.reliddesc = InvalidOid;
		enr->md.tupdesc = sources[i].desc;
		enr->md.enrtype = ENR_NAMED_TUPLESTORE;
		enr->md.enrtuples = size_classes[size_class(run, sources[i].nrows)].planned;
		enr->reldata = sources[i].rows;
		if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
			elog(ERROR, "in-memory relation \"%s\" can't be registered", sources[i].name);
	}
}

uint64
td_execute(TdViewRun *run, const char *sql, int nsources, const TdSource *sources, bool parallel, TdReceive receive, void *arg)
{
	Receiver	receiver = {{take, start, finish, finish, DestTuplestore}, receive, arg, NULL};
	SPIExecuteOptions options;
	uint64		rows;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	receiver.row = AllocSetContextCreate(CurrentMemoryContext, "tapdata row", ALLOCSET_DEFAULT_SIZES);
	show_sources(run, nsources, sources);
	memset(&options, 0, sizeof(options));
	options.read_only = true;
	options.must_return_tuples = true;
	options.dest = &receiver.pub;
	if (SPI_execute_plan_extended(kept_plan(run, sql, nsources, sources, parallel)->plan, &options) != SPI_OK_SELECT)
		elog(ERROR, "a statement of view %s is not a query", run->view->name);
	rows = SPI_processed;
	SPI_finish();
	return rows;
}
