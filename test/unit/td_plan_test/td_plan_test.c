/*-------------------------------------------------------------------------
 *
 * td_plan_test.c
 *		SQL functions that show the statements view/plan makes of a query.
 *
 * NOTES
 *		The query is analysed with the caller's search_path, and planned with a
 *		pinned one, as a view worker does.
 *
 * test/unit/td_plan_test/td_plan_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "view/view_internal.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_plan_test_plan);
PG_FUNCTION_INFO_V1(td_plan_test_delta);
PG_FUNCTION_INFO_V1(td_plan_test_groups);
PG_FUNCTION_INFO_V1(td_plan_test_affected);
PG_FUNCTION_INFO_V1(td_plan_test_keyed);

/* The plan of a query; search_path stays pinned until *guc_level is left. */
static TdPlan *
plan_of(const char *sql, int *guc_level)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(sql));
	Query	   *query = parse_analyze_fixedparams(raw, sql, NULL, 0, NULL);
	TdError		err = {0};
	TdShape    *shape;

	*guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	shape = td_analyze(query, GetUserId(), &err);
	if (shape == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s", err.message)));
	return td_plan(shape);
}

static void
put(ReturnSetInfo *rsinfo, const char *part, const char *name, const char *sql, const char *kind)
{
	const char *texts[] = {part, name, sql, kind};
	Datum		values[4] = {0};
	bool		nulls[4];

	for (int i = 0; i < 4; i++)
	{
		nulls[i] = texts[i] == NULL;
		if (texts[i])
			values[i] = CStringGetTextDatum(texts[i]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_state(ReturnSetInfo *rsinfo, const TdPlan *plan)
{
	static const char *const kinds[] = {"add", "min", "max", "recompute", "image"};

	for (int i = 0; i < plan->nkeys + 1 + plan->ncounters; i++)
	{
		const TdStateColumn *c = &plan->state[i];
		const char *kind = i < plan->nkeys ? "key" : i == plan->nkeys ? "n" : kinds[plan->counters[i - plan->nkeys - 1]];

		put(rsinfo, "state", c->name, format_type_with_typemod(c->type, c->typmod), kind);
	}
}

/* kind: the output column that holds it, 0 = a state table does; then the state's columns and a provable key of the result. */
static void
put_keyed(ReturnSetInfo *rsinfo, const TdPlan *plan)
{
	const TdShape *shape = plan->shape;
	ListCell   *lc;

	for (int i = 0; i < shape->keyed->nkeys; i++)
		put(rsinfo, "key", shape->keyed->keys[i].name, format_type_with_typemod(shape->keyed->keys[i].type, shape->keyed->keys[i].typmod),
			psprintf("%d", shape->keyed->stored ? shape->keyed->outputs[i] : 0));
	for (int i = 0; plan->state && i < plan->nkeys + shape->ncolumns; i++)
		put(rsinfo, "state", plan->state[i].name, format_type_with_typemod(plan->state[i].type, plan->state[i].typmod), NULL);
	foreach(lc, shape->unique)
		put(rsinfo, "unique", shape->columns[lfirst_int(lc) - 1].name, NULL, NULL);
}

Datum
td_plan_test_plan(PG_FUNCTION_ARGS)
{
	int			guc_level;
	TdPlan	   *plan = plan_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), &guc_level);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	put(rsinfo, "core", NULL, plan->core_sql, NULL);
	foreach(lc, plan->leaves)
	{
		TdLeaf	   *leaf = lfirst(lc);

		put(rsinfo, "leaf", leaf->name, leaf->sql, psprintf("d_%u", plan->shape->occurrences[leaf->occurrence - 1].relid));
	}
	if (plan->shape->keyed)
		put_keyed(rsinfo, plan);
	if (plan->grouped)
	{
		put(rsinfo, "output", NULL, plan->output_sql, plan->shape->one_group ? "one" : NULL);
		put_state(rsinfo, plan);
	}
	AtEOXact_GUC(true, guc_level);
	return (Datum) 0;
}

static Bitmapset *
set_of(ArrayType *array)
{
	Bitmapset  *set = NULL;
	Datum	   *values;
	int			n;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
		set = bms_add_member(set, DatumGetInt32(values[i]));
	return set;
}

Datum
td_plan_test_delta(PG_FUNCTION_ARGS)
{
	int			guc_level;
	TdPlan	   *plan = plan_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), &guc_level);
	Bitmapset  *changed = set_of(PG_GETARG_ARRAYTYPE_P(1));
	char	   *sql = PG_GETARG_BOOL(2) ? td_plan_delta_otherwise(plan, changed) : NULL;

	if (sql == NULL)
		sql = td_plan_delta(plan, changed);
	AtEOXact_GUC(true, guc_level);
	PG_RETURN_TEXT_P(cstring_to_text(sql));
}

Datum
td_plan_test_groups(PG_FUNCTION_ARGS)
{
	int			guc_level;
	TdPlan	   *plan = plan_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), &guc_level);
	char	   *sql = td_plan_groups(plan, PG_GETARG_INT32(1));

	AtEOXact_GUC(true, guc_level);
	PG_RETURN_TEXT_P(cstring_to_text(sql));
}

/* NULL = every key */
Datum
td_plan_test_affected(PG_FUNCTION_ARGS)
{
	int			guc_level;
	TdPlan	   *plan = plan_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), &guc_level);
	char	   *sql = td_plan_affected(plan, set_of(PG_GETARG_ARRAYTYPE_P(1)));

	AtEOXact_GUC(true, guc_level);
	if (sql == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(sql));
}

Datum
td_plan_test_keyed(PG_FUNCTION_ARGS)
{
	int			guc_level;
	TdPlan	   *plan = plan_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), &guc_level);
	char	   *sql = td_plan_keyed(plan, PG_GETARG_INT32(1));

	AtEOXact_GUC(true, guc_level);
	PG_RETURN_TEXT_P(cstring_to_text(sql));
}
