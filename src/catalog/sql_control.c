/*-------------------------------------------------------------------------
 *
 * sql_control.c
 *		start_pipeline, stop_pipeline, reset_pipeline, drop_pipeline.
 *
 * NOTES
 *		Sessions.  Each first locks the pipeline's row (td_pipeline_lock): the
 *		supervisor passes over locked rows and is woken at the end of the
 *		transaction, so nothing is restarted while a stop waits to be committed.
 *
 *		pipeline_state is written only when no worker runs: a worker's last
 *		checkpoint must not wait for the session that waits for the worker.
 *
 * IDENTIFICATION
 *		src/catalog/sql_control.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "workers/workers.h"

#define TD_STOP_MS 5000			/* in good order; then SIGTERM: what was not committed is delivered again */

static void write_desired(int32 id, const char *desired);
static bool status_is(const TdPipeline *p, const char *const *words, int n);
static void require_stopped(const TdPipeline *p);
static void reset_all(const TdPipeline *p);
static void reset_some(const TdPipeline *p, List *names);
static void drop_targets(const TdPipeline *p);

#define STATUS_IN(p, ...) \
	status_is(p, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

PG_FUNCTION_INFO_V1(td_sql_start_pipeline);
PG_FUNCTION_INFO_V1(td_sql_stop_pipeline);
PG_FUNCTION_INFO_V1(td_sql_reset_pipeline);
PG_FUNCTION_INFO_V1(td_sql_drop_pipeline);

/* tapdata.start_pipeline(name) */
Datum
td_sql_start_pipeline(PG_FUNCTION_ARGS)
{
	TdPipeline *p = td_pipeline_lock(td_required_text(fcinfo, 0, "name"));

	td_workers_require();
	td_home_require();
	if (strcmp(p->status, "completed") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pipeline \"%s\" is complete", p->name),
				 errdetail("Its type is initial_sync: it loads once."),
				 errhint("To load again, forget its progress first: SELECT tapdata.reset_pipeline(%s).", quote_literal_cstr(p->name))));
	if (p->wanted && STATUS_IN(p, "starting", "snapshot", "streaming", "waiting_for_worker"))
	{
		ereport(NOTICE, (errmsg("pipeline \"%s\" is already started", p->name)));
		PG_RETURN_VOID();
	}
	write_desired(p->id, "running");
	if (STATUS_IN(p, "failed", "retrying", "fenced"))
		td_pipeline_set_status(p->id, "stopped");	/* from where the supervisor starts it at once */
	td_supervisor_wake_at_commit();
	PG_RETURN_VOID();
}

/* tapdata.stop_pipeline(name, force) */
Datum
td_sql_stop_pipeline(PG_FUNCTION_ARGS)
{
	td_pipeline_stop_and_wait(td_pipeline_lock(td_required_text(fcinfo, 0, "name")), td_flag(fcinfo, 1));
	PG_RETURN_VOID();
}

/* The pipeline is not wanted any more; returns once no worker runs. */
void
td_pipeline_stop_and_wait(const TdPipeline *p, bool force)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a pipeline can't be stopped in a transaction of isolation level REPEATABLE READ or above"),
				 errhint("Use READ COMMITTED.")));
	write_desired(p->id, "stopped");
	if (td_library_preloaded())
	{
		td_supervisor_wake_at_commit();
		while (td_worker_request_stop(TD_WORKER_PIPELINE, p->id, force) &&
			   !td_worker_wait_gone(TD_WORKER_PIPELINE, p->id, TD_STOP_MS))
			force = true;
	}
	p = td_pipeline_load(p->id);
	if (!STATUS_IN(p, "created", "stopped", "completed", "fenced"))
		td_pipeline_set_status(p->id, "stopped");
}

static void
write_desired(int32 id, const char *desired)
{
	static TdStatement write = {"UPDATE tapdata.pipeline SET desired = $1 WHERE id = $2", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&write, td_arg_text(desired), td_arg_int4(id));
	td_catalog_leave(&scope);
}

static bool
status_is(const TdPipeline *p, const char *const *words, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(p->status, words[i]) == 0)
			return true;
	return false;
}

/* tapdata.reset_pipeline(name, tables) */
Datum
td_sql_reset_pipeline(PG_FUNCTION_ARGS)
{
	TdPipeline *p = td_pipeline_lock(td_required_text(fcinfo, 0, "name"));

	require_stopped(p);
	if (PG_ARGISNULL(1))
		reset_all(p);
	else
		reset_some(p, td_optional_words(fcinfo, 1, "tables"));
	PG_RETURN_VOID();
}

static void
require_stopped(const TdPipeline *p)
{
	if (!(p->wanted && !STATUS_IN(p, "failed", "completed")) && !STATUS_IN(p, "stopping"))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pipeline \"%s\" is not stopped", p->name),
			 errdetail("Its status is \"%s\".", p->status),
			 errhint("Stop it first: SELECT tapdata.stop_pipeline(%s).", quote_literal_cstr(p->name))));
}

/* Back to a pipeline that was never started; its tables stay, as ordinary ones. */
static void
reset_all(const TdPipeline *p)
{
	static TdStatement tables = {"DELETE FROM tapdata.pipeline_table WHERE pipeline = $1", NULL};
	static TdStatement state = {
		"UPDATE tapdata.pipeline_state SET exact = false, planned = false, load_position = NULL, load_done = false, "
		"catch_up_position = NULL, published = false, position = NULL, source_time = NULL, rows_loaded = 0, rows_applied = 0 "
	"WHERE pipeline = $1", NULL};
	static TdStatement option = {"SELECT 1 FROM tapdata.pipeline WHERE id = $1 AND options ? 'existing'", NULL};
	TdCatalogScope scope;
	bool		decided;

	td_pipeline_drop_load_tables(p->id, -1);
	if (p->published)
		td_write_guards(p->id, false);
	write_desired(p->id, "stopped");
	td_pipeline_set_status(p->id, "stopped");
	td_pipeline_set_status(p->id, "created");
	td_catalog_enter(&scope);
	TD_RUN(&tables, td_arg_int4(p->id));
	TD_RUN(&state, td_arg_int4(p->id));
	decided = TD_RUN(&option, td_arg_int4(p->id)) > 0;
	td_catalog_leave(&scope);
	if (p->published && !decided)
		ereport(NOTICE,
				(errmsg("the tables of pipeline \"%s\" stay, and a new start would find them in its way", p->name),
				 errhint("Say what to do with them before you start it: SELECT tapdata.alter_pipeline(%s, '{\"existing\": \"drop_table\"}').",
						 quote_literal_cstr(p->name))));
}

/* Loads some tables of an unpublished mirror again: the changes since load_position are replayed over them as over the others. */
static void
reset_some(const TdPipeline *p, List *names)
{
	static TdStatement table = {
		"UPDATE tapdata.pipeline_table SET status = 'created', cursor = '', skip_to = '', rows_loaded = 0, relation = NULL, error = NULL "
	"WHERE pipeline = $1 AND (source_table = $2 OR source_database || '.' || source_table = $2) RETURNING n", NULL};
	static TdStatement known = {"SELECT source_table FROM tapdata.pipeline_table WHERE pipeline = $1", NULL};
	static TdStatement state = {
		"UPDATE tapdata.pipeline_state s SET load_done = false, catch_up_position = NULL, "
		"rows_loaded = (SELECT coalesce(sum(t.rows_loaded), 0) FROM tapdata.pipeline_table t WHERE t.pipeline = s.pipeline) "
	"WHERE pipeline = $1", NULL};
	ListCell   *lc;

	if (p->published)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("single tables can't be reset once the mirror is published"),
				 errhint("Reset the whole pipeline: SELECT tapdata.reset_pipeline(%s).", quote_literal_cstr(p->name))));
	foreach(lc, names)
	{
		TdCatalogScope scope;
		List	   *numbers;
		List	   *tables = NIL;
		ListCell   *ln;
		const char *closest;

		td_catalog_enter(&scope);
		TD_RUN(&table, td_arg_int4(p->id), td_arg_text(lfirst(lc)));
		numbers = td_col_all(1);
		TD_RUN(&known, td_arg_int4(p->id));
		tables = td_col_all(1);
		TD_RUN(&state, td_arg_int4(p->id));
		td_catalog_leave(&scope);
		closest = td_closest(lfirst(lc), tables);
		if (numbers == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("pipeline \"%s\" has no table \"%s\"", p->name, (char *) lfirst(lc)),
					 closest ? errhint("Perhaps you meant \"%s\".", closest) :
					 errhint("SELECT source_table FROM tapdata.pipeline_tables lists them.")));
		foreach(ln, numbers)
			td_pipeline_drop_load_tables(p->id, pg_strtoint32(lfirst(ln)));
	}
}

/* Drops what was loaded and not published; the names hold only numbers, and nobody else can create in tapdata_state. */
void
td_pipeline_drop_load_tables(int32 id, int32 n)
{
	static TdStatement find = {
		"SELECT relname::text FROM pg_class WHERE relnamespace = 'tapdata_state'::regnamespace AND relkind = 'r' "
		"AND relname ~ ('^load_' || $1 || '_[0-9]+$') AND ($2 < 0 OR relname = 'load_' || $1 || '_' || $2)",
	NULL};
	TdCatalogScope scope;
	List	   *names;
	ListCell   *lc;

	td_catalog_enter(&scope);
	TD_RUN(&find, td_arg_int4(id), td_arg_int4(n));
	names = td_col_all(1);
	foreach(lc, names)
		td_run_as_caller(psprintf("DROP TABLE tapdata_state.%s", quote_identifier(lfirst(lc))));
	td_catalog_leave(&scope);
}

/* tapdata.drop_pipeline(name, drop_tables) */
Datum
td_sql_drop_pipeline(PG_FUNCTION_ARGS)
{
	td_pipeline_drop(td_required_text(fcinfo, 0, "name"), td_flag(fcinfo, 1));
	PG_RETURN_VOID();
}

/* Stops it, then removes it with its load tables; the published tables become ordinary ones or go too. */
void
td_pipeline_drop(const char *name, bool drop_tables)
{
	static TdStatement children[] = {
		{"DELETE FROM tapdata.error_entry WHERE pipeline = $1", NULL},
		{"DELETE FROM tapdata.pipeline_table WHERE pipeline = $1", NULL},
		{"DELETE FROM tapdata.pipeline_state WHERE pipeline = $1", NULL},
		{"DELETE FROM tapdata.pipeline WHERE id = $1", NULL},
	};
	TdPipeline *p = td_pipeline_lock(name);
	TdCatalogScope scope;

	td_pipeline_stop_and_wait(p, false);
	p = td_pipeline_load(p->id);
	td_pipeline_drop_load_tables(p->id, -1);
	if (p->published && drop_tables)
		drop_targets(p);
	else if (p->published)
		td_write_guards(p->id, false);
	td_catalog_enter(&scope);
	for (size_t i = 0; i < lengthof(children); i++)
		TD_RUN(&children[i], td_arg_int4(p->id));
	td_catalog_leave(&scope);
}

/* As the caller: whoever may not drop a table can't drop it this way. */
static void
drop_targets(const TdPipeline *p)
{
	ListCell   *lc;

	foreach(lc, td_pipeline_tables(p->id))
	{
		Oid			relation = ((TdPipelineTable *) lfirst(lc))->relation;
		char	   *table = OidIsValid(relation) ? get_rel_name(relation) : NULL;

		if (table != NULL)
			td_run_as_caller(psprintf("DROP TABLE %s",
									  quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), table)));
	}
}
