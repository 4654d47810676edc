/*-------------------------------------------------------------------------
 *
 * pipeline.c
 *		Pipelines and their tables as structs.
 *
 * NOTES
 *		Sessions and workers.  Structs live in the caller's CurrentMemoryContext.
 *		Nobody but owners and monitors learns the name of a pipeline, not even
 *		from a hint.
 *
 * IDENTIFICATION
 *		src/catalog/pipeline.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "workers/workers.h"

static void read_definition(TdPipeline *p);
static void read_state(TdPipeline *p);
static int	choice(const char *value, const char *const *names, int n);
static void missing_pipeline(const char *name, List *known) pg_attribute_noreturn();
static void require_owner(Oid user, Oid owner, const char *name);

/* The definition and the state of one pipeline. */
TdPipeline *
td_pipeline_load(int32 id)
{
	static TdStatement load = {
		"SELECT p.id, p.name, p.owner::oid, p.connection, p.tables, p.except_tables, p.into_schema, p.desired = 'running', "
		"p.options->>'type', p.options->>'insert_policy', p.options->>'existing', (p.options->>'writable')::boolean, "
		"p.options->>'position', "
		"coalesce(s.status, 'fenced'), s.planned, s.load_position, s.load_done, s.catch_up_position, s.published, s.position, "
		"s.rows_loaded, s.rows_applied "
	"FROM tapdata.pipeline p LEFT JOIN tapdata.pipeline_state s ON s.pipeline = p.id WHERE p.id = $1", NULL};
	TdCatalogScope scope;
	TdPipeline *p = palloc0(sizeof(TdPipeline));
	bool		found;

	td_catalog_enter(&scope);
	found = TD_RUN(&load, td_arg_int4(id)) == 1;
	if (found)
	{
		read_definition(p);
		read_state(p);
	}
	td_catalog_leave(&scope);
	return found ? p : NULL;
}

static void
read_definition(TdPipeline *p)
{
	static const char *const types[] = {"initial_sync+cdc", "initial_sync", "cdc"};
	static const char *const policies[] = {"update_on_exists", "ignore_on_exists", "just_insert"};
	static const char *const existing[] = {"error", "keep_data", "drop_table"};

	p->id = td_col_int(0, 1);
	p->name = td_col_text(0, 2);
	p->owner = td_col_int(0, 3);
	p->connection = td_col_text(0, 4);
	p->tables = td_col_words(0, 5);
	p->except_tables = td_col_words(0, 6);
	p->into_schema = td_col_text(0, 7);
	p->wanted = td_col_bool(0, 8);
	p->sync_type = choice(td_col_text(0, 9), types, lengthof(types));
	p->insert_policy = choice(td_col_text(0, 10), policies, lengthof(policies));
	p->existing = choice(td_col_text(0, 11), existing, lengthof(existing));
	p->writable = td_col_bool(0, 12);
	p->start_position = td_col_text(0, 13);
}

static void
read_state(TdPipeline *p)
{
	p->status = td_col_text(0, 14);
	p->planned = td_col_bool(0, 15);
	p->load_position = td_col_text(0, 16);
	p->load_done = td_col_bool(0, 17);
	p->catch_up_position = td_col_text(0, 18);
	p->published = td_col_bool(0, 19);
	p->position = td_col_text(0, 20);
	p->rows_loaded = td_col_int(0, 21);
	p->rows_applied = td_col_int(0, 22);
}

/* The number of a word that was checked when it was stored; the first is the default. */
static int
choice(const char *value, const char *const *names, int n)
{
	for (int i = 0; value != NULL && i < n; i++)
		if (strcmp(value, names[i]) == 0)
			return i;
	return 0;
}

/* By name; an unknown one is answered with the closest of those the user may know. */
TdPipeline *
td_pipeline_find(const char *name, bool for_owner)
{
	static TdStatement find = {"SELECT id, owner::oid FROM tapdata.pipeline WHERE name = $1", NULL};
	static TdStatement names = {
	"SELECT name FROM tapdata.pipeline WHERE pg_has_role($1, owner, 'USAGE') OR $2", NULL};
	TdCatalogScope scope;
	Oid			user = GetUserId();
	bool		monitor = td_is_monitor(user);
	List	   *known = NIL;
	int32		id = 0;
	Oid			owner = InvalidOid;

	td_catalog_enter(&scope);
	if (TD_RUN(&find, td_arg_text(name)) == 1)
	{
		id = td_col_int(0, 1);
		owner = td_col_int(0, 2);
	}
	else
	{
		TD_RUN(&names, td_arg_oid(user), td_arg_bool(monitor));
		known = td_col_all(1);
	}
	td_catalog_leave(&scope);
	if (id == 0)
		missing_pipeline(name, known);
	if (for_owner)
		require_owner(user, owner, name);
	return td_pipeline_load(id);
}

static void
missing_pipeline(const char *name, List *known)
{
	const char *closest = td_closest(name, known);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("pipeline \"%s\" does not exist", name),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) :
			 errhint("SELECT name FROM tapdata.pipelines lists yours.")));
}

static void
require_owner(Oid user, Oid owner, const char *name)
{
	if (has_privs_of_role(user, owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of pipeline \"%s\"", name),
			 errhint("Its owner is %s.", td_role_text(owner))));
}

/*
 * For functions that control a pipeline: keeps others from doing so until
 * commit.  NO KEY, so that the worker's foreign keys don't wait.
 */
TdPipeline *
td_pipeline_lock(const char *name)
{
	static TdStatement lock = {"SELECT 1 FROM tapdata.pipeline WHERE id = $1 FOR NO KEY UPDATE", NULL};
	TdCatalogScope scope;
	TdPipeline *p = td_pipeline_find(name, true);

	td_catalog_enter(&scope);
	if (TD_RUN(&lock, td_arg_int4(p->id)) == 0)
		missing_pipeline(name, NIL);
	td_catalog_leave(&scope);
	return td_pipeline_load(p->id);
}

/* The tables in order of loading. */
List *
td_pipeline_tables(int32 id)
{
	static TdStatement read = {
		"SELECT n, source_database, source_table, target_schema, target_table, coalesce(relation, 0::oid), status, has_key, cursor, "
	"skip_to, rows_loaded, coalesce(row_estimate, -1) FROM tapdata.pipeline_table WHERE pipeline = $1 ORDER BY n", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *tables = NIL;

	td_catalog_enter(&scope);
	TD_RUN(&read, td_arg_int4(id));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TdPipelineTable *t = MemoryContextAllocZero(caller, sizeof(TdPipelineTable));
		MemoryContext inner;

		t->n = td_col_int(i, 1);
		t->source_database = td_col_text(i, 2);
		t->source_table = td_col_text(i, 3);
		t->target_schema = td_col_text(i, 4);
		t->target_table = td_col_text(i, 5);
		t->relation = td_col_int(i, 6);
		t->status = td_col_text(i, 7);
		t->has_key = td_col_bool(i, 8);
		t->cursor = td_col_text(i, 9);
		t->skip_to = td_col_text(i, 10);
		t->rows_loaded = td_col_int(i, 11);
		t->row_estimate = td_col_int(i, 12);
		inner = MemoryContextSwitchTo(caller);
		tables = lappend(tables, t);
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return tables;
}

/* Stores what the worker planned, in place of an earlier plan. */
void
td_pipeline_plan(int32 id, List *tables)
{
	static TdStatement empty = {"DELETE FROM tapdata.pipeline_table WHERE pipeline = $1", NULL};
	static TdStatement fill = {
		"INSERT INTO tapdata.pipeline_table (pipeline, n, source_database, source_table, target_schema, target_table, relation, "
	"has_key, row_estimate) VALUES ($1, $2, $3, $4, $5, $6, nullif($7, 0::oid), $8, nullif($9, -1::bigint))", NULL};
	static TdStatement planned = {"UPDATE tapdata.pipeline_state SET planned = true WHERE pipeline = $1", NULL};
	TdCatalogScope scope;
	ListCell   *lc;

	td_catalog_enter(&scope);
	TD_RUN(&empty, td_arg_int4(id));
	foreach(lc, tables)
	{
		TdPipelineTable *t = lfirst(lc);

		TD_RUN(&fill, td_arg_int4(id), td_arg_int4(t->n), td_arg_text(t->source_database ? t->source_database : ""),
			   td_arg_text(t->source_table), td_arg_text(t->target_schema), td_arg_text(t->target_table),
			   td_arg_oid(t->relation), td_arg_bool(t->has_key), td_arg_int8(t->row_estimate));
	}
	TD_RUN(&planned, td_arg_int4(id));
	td_catalog_leave(&scope);
}
