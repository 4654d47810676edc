/*-------------------------------------------------------------------------
 *
 * plan.c
 *		From the patterns of a mirror to its tables: what the source has, what
 *		is asked for, where it goes.
 *
 * NOTES
 *		Runs in the pipeline worker, once in the life of a pipeline (until it is
 *		reset).  Everything that can be refused is refused here, before a row is
 *		read: unsupported types, targets that exist, names that are too long or
 *		meet.
 *
 * IDENTIFICATION
 *		src/pipeline/plan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pipeline/pipeline_internal.h"
#include "util/util.h"

typedef struct Planner
{
	TdRun	   *run;
	List	   *tables;			/* of TdPipelineTable * */
} Planner;

static void plan_table(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem);
static bool is_excepted(TdPipeline *p, const TdSchema *schema);
static bool is_planned(Planner *planner, const TdSchema *schema);
static void raise_problem(const TdSchema *schema, const TdError *problem) pg_attribute_noreturn();
static void check_targets(Planner *planner);

/* Fills tapdata.pipeline_table from the patterns, and run->tables. */
void
td_run_plan(TdRun *run)
{
	Planner		planner = {.run = run};
	ListCell   *lc;

	MemoryContextSwitchTo(run->context);
	foreach(lc, run->pipeline->tables)
		td_host_find(run->host, run->connection, lfirst(lc), plan_table, &planner);
	if (planner.tables == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("no table is left to mirror"),
				 errdetail("Each that \"tables\" names stands in \"except_tables\", too."),
				 errhint("Make the mirror again with other names: SELECT tapdata.drop_pipeline(%s).", quote_literal_cstr(run->pipeline->name))));

	td_run_begin();
	check_targets(&planner);
	td_pipeline_plan(run->pipeline->id, planner.tables);
	td_run_commit();
	td_run_reload(run);
}

/* td_host_discover's callback: one table of the source. */
static void
plan_table(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem)
{
	Planner    *planner = arg;
	TdPipeline *p = planner->run->pipeline;
	TdPipelineTable *t;

	if (is_excepted(p, schema) || is_planned(planner, schema))
		return;
	if (problem)
		raise_problem(schema, problem);
	td_target_check_name(schema->table);
	for (uint32 i = 0; i < schema->ncolumns; i++)
		td_target_check_name(schema->columns[i].name);

	t = palloc0(sizeof(TdPipelineTable));
	t->n = list_length(planner->tables) + 1;
	t->source_database = pstrdup(schema->database);
	t->source_table = pstrdup(schema->table);
	t->target_schema = p->into_schema;
	t->target_table = pstrdup(schema->table);
	t->has_key = schema->nkeys > 0;
	t->row_estimate = row_estimate;
	t->cursor = t->skip_to = "";
	planner->tables = lappend(planner->tables, t);
}

/* except_tables are globs on the table, or on database.table. */
static bool
is_excepted(TdPipeline *p, const TdSchema *schema)
{
	char	   *qualified = psprintf("%s.%s", schema->database, schema->table);
	ListCell   *lc;

	foreach(lc, p->except_tables)
	{
		if (td_glob(lfirst(lc), schema->table) || td_glob(lfirst(lc), qualified))
			return true;
	}
	return false;
}

/* Two patterns may name one table. */
static bool
is_planned(Planner *planner, const TdSchema *schema)
{
	ListCell   *lc;

	foreach(lc, planner->tables)
	{
		TdPipelineTable *t = lfirst(lc);

		if (strcmp(t->source_table, schema->table) == 0 && strcmp(t->source_database, schema->database) == 0)
			return true;
	}
	return false;
}

/* A table that can't be mirrored as it is fails the plan; the way out is to leave it out. */
static void
raise_problem(const TdSchema *schema, const TdError *problem)
{
	TdError		err = *problem;

	if (err.hint[0] == '\0')
		td_error_hint(&err, "Leave the table out with except_tables => ARRAY['%s'].", schema->table);
	td_error_raise(&err);
}

/* Targets must not meet, and must not exist unless an option says otherwise. */
static void
check_targets(Planner *planner)
{
	TdPipeline *p = planner->run->pipeline;
	Oid			namespace = get_namespace_oid(p->into_schema, false);
	ListCell   *lc;
	ListCell   *other;

	foreach(lc, planner->tables)
	{
		TdPipelineTable *t = lfirst(lc);

		foreach(other, planner->tables)
		{
			TdPipelineTable *o = lfirst(other);

			if (o->n < t->n && strcmp(o->target_table, t->target_table) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_TABLE),
						 errmsg("\"%s.%s\" and \"%s.%s\" would both go into table \"%s.%s\"",
								o->source_database, o->source_table, t->source_database, t->source_table,
								t->target_schema, t->target_table),
						 errhint("Mirror each database into a schema of its own.")));
		}
		if (p->existing == TD_EXISTING_REFUSE && OidIsValid(get_relname_relid(t->target_table, namespace)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("table \"%s.%s\" already exists", t->target_schema, t->target_table),
					 errhint("Choose another schema with into_schema, or the option {\"existing\": \"drop_table\"} to replace it.")));
	}
}
