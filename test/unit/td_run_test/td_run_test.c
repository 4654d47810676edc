/*-------------------------------------------------------------------------
 *
 * td_run_test.c
 *		SQL functions that plan, fill and tick live views in a backend, without
 *		capture and workers.
 *
 * NOTES
 *		The deltas of a tick come from queries: all columns of a relation and a
 *		weight behind.  Views that were opened stay so for the session, as in the
 *		view worker.
 *
 * test/unit/td_run_test/td_run_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "util/util.h"
#include "view/sql/sql_internal.h"
#include "view/view_internal.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_run_test_describe);
PG_FUNCTION_INFO_V1(td_run_test_open);
PG_FUNCTION_INFO_V1(td_run_test_prove);
PG_FUNCTION_INFO_V1(td_run_test_close);
PG_FUNCTION_INFO_V1(td_run_test_fill);
PG_FUNCTION_INFO_V1(td_run_test_tick);
PG_FUNCTION_INFO_V1(td_run_test_texts);
PG_FUNCTION_INFO_V1(td_run_test_force);
PG_FUNCTION_INFO_V1(td_run_test_limit);
PG_FUNCTION_INFO_V1(td_run_test_ran);

static MemoryContext context = NULL;
static List *runs = NIL;		/* of TdViewRun * */

static TdShape *
shape_of(Oid twin)
{
	TdError		err;
	TdShape    *shape = td_analyze(td_twin_query(twin), GetUserId(), &err);

	if (shape == NULL)
		td_error_raise(&err);
	return shape;
}

/* (state text: columns of its table, nkeys integer, key integer[], one_group boolean, columns text, part text: columns that find what is computed anew) */
Datum
td_run_test_describe(PG_FUNCTION_ARGS)
{
	TdShape    *shape = shape_of(PG_GETARG_OID(0));
	TdPlan	   *plan = td_plan(shape);
	int			n = plan->nstate;
	Datum	   *keys = palloc(sizeof(Datum) * (list_length(shape->unique) + 1));
	StringInfoData state,
				columns,
				part;
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {n == 0};

	initStringInfo(&state);
	initStringInfo(&columns);
	initStringInfo(&part);
	for (int i = 0; i < n; i++)
		appendStringInfo(&state, "%s%s %s%s%s%s", i ? ", " : "", quote_identifier(plan->state[i].name),
						 format_type_with_typemod(plan->state[i].type, plan->state[i].typmod), OidIsValid(plan->state[i].collation) ? " COLLATE " : "",
						 OidIsValid(plan->state[i].collation) ? generate_collation_name(plan->state[i].collation) : "", plan->grouped && i == plan->nkeys ? " NOT NULL" : "");
	for (int i = 0; i < shape->ncolumns; i++)
		appendStringInfo(&columns, "%s%s", i ? ", " : "", quote_identifier(shape->columns[i].name));
	for (int i = 0; i < list_length(shape->unique); i++)
		keys[i] = Int32GetDatum(list_nth_int(shape->unique, i));
	for (int i = 0; shape->keyed && i < shape->keyed->nkeys; i++)
		appendStringInfo(&part, "%s%s", i ? ", " : "",
						 quote_identifier(shape->keyed->stored ? shape->columns[shape->keyed->outputs[i] - 1].name : plan->state[i].name));
	get_call_result_type(fcinfo, NULL, &desc);
	values[0] = CStringGetTextDatum(state.data);
	values[1] = Int32GetDatum(plan->nkeys);
	values[2] = PointerGetDatum(construct_array(keys, list_length(shape->unique), INT4OID, 4, true, TYPALIGN_INT));
	values[3] = BoolGetDatum(shape->one_group);
	values[4] = CStringGetTextDatum(columns.data);
	values[5] = CStringGetTextDatum(part.data);
	nulls[5] = part.len == 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* The texts of a plan, for reading. */
Datum
td_run_test_texts(PG_FUNCTION_ARGS)
{
	TdPlan	   *plan = td_plan(shape_of(PG_GETARG_OID(0)));
	Bitmapset  *all = NULL;
	StringInfoData s;
	ListCell   *lc;

	initStringInfo(&s);
	appendStringInfo(&s, "core: %s\noutput: %s\n", plan->core_sql, plan->output_sql ? plan->output_sql : "-");
	foreach(lc, plan->leaves)
		appendStringInfo(&s, "%s: %s\n", ((TdLeaf *) lfirst(lc))->name, ((TdLeaf *) lfirst(lc))->sql);
	for (int i = 1; i <= plan->shape->noccurrences; i++)
		all = bms_add_member(all, i);
	appendStringInfo(&s, "delta: %s\n", td_plan_delta(plan, all));
	if (plan->nkeys > 0)
		appendStringInfo(&s, "groups: %s\n", td_plan_groups(plan, 0));
	PG_RETURN_TEXT_P(cstring_to_text(s.data));
}

static TdViewRun *
run_of(int32 id)
{
	ListCell   *lc;

	foreach(lc, runs)
		if (((TdViewRun *) lfirst(lc))->view->id == id)
			return lfirst(lc);
	elog(ERROR, "view %d is not open", id);
	return NULL;
}

/* open(view integer) */
Datum
td_run_test_open(PG_FUNCTION_ARGS)
{
	MemoryContext old;
	TdView	   *view;
	TdViewRun  *run;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "td_run_test", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	view = td_view_load(PG_GETARG_INT32(0));
	if (view == NULL)
		elog(ERROR, "there is no view %d", PG_GETARG_INT32(0));
	run = td_run_create(view, context);
	runs = lappend(runs, run);
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

/* prove(view integer): what it stands on stays, as create_view does it */
Datum
td_run_test_prove(PG_FUNCTION_ARGS)
{
	TdView	   *view = td_view_load(PG_GETARG_INT32(0));
	TdQuestion	question = {td_twin_query(view->query), view->owner, view->keeps, view->allow_full};

	td_twin_needs(view->query, td_find_proofs(&question, td_twin_proofs(view->query), NULL, NULL));
	PG_RETURN_VOID();
}

Datum
td_run_test_close(PG_FUNCTION_ARGS)
{
	while (runs != NIL)
	{
		TdViewRun  *run = linitial(runs);

		runs = list_delete_first(runs);
		td_run_destroy(run);
	}
	if (context)
		MemoryContextReset(context);
	PG_RETURN_VOID();
}

Datum
td_run_test_fill(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(td_run_fill(run_of(PG_GETARG_INT32(0))));
}

/* force(view integer, way text: see TdForce, size integer: class of sources that plans are for, 0 = as they are) */
Datum
td_run_test_force(PG_FUNCTION_ARGS)
{
	static const char *const ways[] = {"none", "delta", "give up", "whole"};
	TdViewRun  *run = run_of(PG_GETARG_INT32(0));
	char	   *way = text_to_cstring(PG_GETARG_TEXT_PP(1));

	for (int i = 0; i < lengthof(ways); i++)
		if (strcmp(ways[i], way) == 0)
			run->force = i;
	run->force_size = PG_GETARG_INT32(2);
	PG_RETURN_VOID();
}

/* limit(view integer, ms float8): so long a delta may take; 0: as measured.  Returns what the last tick has taken */
Datum
td_run_test_limit(PG_FUNCTION_ARGS)
{
	TdViewRun  *run = run_of(PG_GETARG_INT32(0));

	run->force_limit = PG_GETARG_FLOAT8(1);
	PG_RETURN_FLOAT8(run->last_ms);
}

/* ran(view integer) -> text: what its ticks have done since this was asked last, "delta 3 keyed 1" */
Datum
td_run_test_ran(PG_FUNCTION_ARGS)
{
	TdViewRun  *run = run_of(PG_GETARG_INT32(0));
	StringInfoData s;

	initStringInfo(&s);
	for (int i = TD_RAN_NOTHING + 1; i < TD_RAN_KINDS; i++)
		if (run->counts[i].n > 0)
			appendStringInfo(&s, "%s%s %lld", s.len ? " " : "", td_ran_name(i), (long long) run->counts[i].n);
	if (run->recomputes > run->ticks)
		elog(ERROR, "%lld recomputes in %lld ticks", (long long) run->recomputes, (long long) run->ticks);
	td_run_counted(run);
	PG_RETURN_TEXT_P(cstring_to_text(s.data));
}

/* Rows of a query (all columns of relid and a weight) as its delta. */
static void
add_delta(TdDeltas *deltas, Oid relid, const char *query)
{
	TdDelta    *delta = td_deltas_get(deltas, relid);
	TupleTableSlot *slot;
	TupleDesc	desc;
	AttrNumber *attnums;

	SPI_connect();
	if (SPI_execute(query, false, 0) != SPI_OK_SELECT && SPI_result != SPI_OK_DELETE_RETURNING)
		elog(ERROR, "query of a delta: %s", SPI_result_code_string(SPI_result));
	desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
	namestrcpy(&TupleDescAttr(desc, desc->natts - 1)->attname, TD_WEIGHT);
	attnums = palloc(sizeof(AttrNumber) * desc->natts);
	for (int i = 0; i < desc->natts - 1; i++)
		attnums[i] = get_attnum(relid, NameStr(TupleDescAttr(desc, i)->attname));
	if (delta == NULL || delta->desc == NULL)
		delta = td_deltas_add(deltas, relid, desc, attnums);
	slot = MakeSingleTupleTableSlot(SPI_tuptable->tupdesc, &TTSOpsHeapTuple);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		ExecForceStoreHeapTuple(SPI_tuptable->vals[i], slot, false);
		tuplestore_puttupleslot(delta->rows, slot);
		delta->nrows++;
	}
	ExecDropSingleTupleTableSlot(slot);
	SPI_finish();
}

/* One view in a subtransaction; its error as text, NULL = none. */
static char *
tick_apart(TdViewRun *run, TdDeltas *deltas, bool recompute)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		td_run_tick(run, deltas, recompute ? TD_RAN_DDL : TD_RAN_NOTHING);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return edata ? psprintf("%s%s %s%s%s", run->own_error ? "timeout " : "", unpack_sql_state(edata->sqlerrcode), edata->message,
							edata->hint ? " - " : "", edata->hint ? edata->hint : "") : NULL;
}

/* tick(views integer[], relations regclass[], queries text[] (null: unknown), recompute boolean, apart boolean) -> text: "id: error" lines */
Datum
td_run_test_tick(PG_FUNCTION_ARGS)
{
	TdDeltas   *deltas = td_deltas_create(CurrentMemoryContext);
	Datum	   *views,
			   *relations,
			   *queries;
	bool	   *nulls;
	int			nviews,
				nrelations,
				nqueries;
	StringInfoData errors;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT4OID, 4, true, TYPALIGN_INT, &views, NULL, &nviews);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), REGCLASSOID, 4, true, TYPALIGN_INT, &relations, NULL, &nrelations);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT, &queries, &nulls, &nqueries);
	for (int i = 0; i < nrelations; i++)
	{
		if (nulls[i])
			td_deltas_unknown(deltas, DatumGetObjectId(relations[i]));
		else
			add_delta(deltas, DatumGetObjectId(relations[i]), TextDatumGetCString(queries[i]));
	}
	initStringInfo(&errors);
	for (int i = 0; i < nviews; i++)
	{
		TdViewRun  *run = run_of(DatumGetInt32(views[i]));
		char	   *error = NULL;

		if (PG_GETARG_BOOL(4))
			error = tick_apart(run, deltas, PG_GETARG_BOOL(3));
		else
			td_run_tick(run, deltas, PG_GETARG_BOOL(3) ? TD_RAN_DDL : TD_RAN_NOTHING);
		if (error)
			appendStringInfo(&errors, "%s%d: %s", errors.len ? "\n" : "", run->view->id, error);
	}
	td_deltas_destroy(deltas);
	PG_RETURN_TEXT_P(cstring_to_text(errors.data));
}
