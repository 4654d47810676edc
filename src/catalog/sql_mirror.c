/*-------------------------------------------------------------------------
 *
 * sql_mirror.c
 *		mirror and alter_pipeline: the definition of a pipeline.
 *
 * NOTES
 *		Sessions.  Checked is all that can be known here and now, so that a slip is
 *		answered at once and not in a log: when it is to begin at once, the source is
 *		asked for the tables, too.  A source that can't be asked is the affair of
 *		the worker, which tries again, and plans what needs the source.
 *
 *		The target schema is created, and its rights are asked, as the caller.
 *
 * IDENTIFICATION
 *		src/catalog/sql_mirror.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "connector/connector.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "workers/workers.h"

typedef struct MirrorCall
{
	char	   *connection;
	List	   *tables;
	List	   *except_tables;
	char	   *into_schema;
	char	   *name;
	List	   *options;
	bool		start;
} MirrorCall;

static void read_call(FunctionCallInfo fcinfo, MirrorCall *call);
static void check_patterns(List *patterns);
static void prepare_schema(const char *schema);
static void check_targets(const MirrorCall *call, bool with_database);
static void check_source(const MirrorCall *call, const TdConnection *connection);
static bool is_about_tables(int sqlstate);
static void store(const MirrorCall *call);

PG_FUNCTION_INFO_V1(td_sql_mirror);
PG_FUNCTION_INFO_V1(td_sql_alter_pipeline);

/* tapdata.mirror(connection, tables, except_tables, into_schema, name, options, start) */
Datum
td_sql_mirror(PG_FUNCTION_ARGS)
{
	MirrorCall	call;
	TdConnection *connection;

	read_call(fcinfo, &call);
	if (call.start)
		td_workers_require();
	td_home_require();
	td_check_name_length(call.name, "pipeline");
	td_pipeline_options_check(call.options, true);
	check_patterns(call.tables);
	check_patterns(call.except_tables);
	connection = td_connection_load(call.connection, GetUserId());
	prepare_schema(call.into_schema);
	check_targets(&call, td_connection_database(connection)[0] == '\0');
	if (call.start)
		check_source(&call, connection);
	store(&call);
	if (call.start)
		td_supervisor_wake_at_commit();
	PG_RETURN_TEXT_P(cstring_to_text(call.name));
}

static void
read_call(FunctionCallInfo fcinfo, MirrorCall *call)
{
	call->connection = td_required_text(fcinfo, 0, "connection");
	call->tables = td_optional_words(fcinfo, 1, "tables");
	call->except_tables = td_optional_words(fcinfo, 2, "except_tables");
	call->into_schema = td_optional_text(fcinfo, 3);
	call->name = td_optional_text(fcinfo, 4);
	call->options = td_optional_pairs(fcinfo, 5, "options");
	call->start = td_flag(fcinfo, 6);
	if (PG_ARGISNULL(1))
		call->tables = list_make1("*");
	if (call->into_schema == NULL)
		call->into_schema = call->connection;
	if (call->name == NULL)
		call->name = call->connection;
	if (call->tables == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no tables are named"),
				 errhint("Leave \"tables\" out for all tables, or name some: ARRAY['customers', 'order*'].")));
}

static void
check_patterns(List *patterns)
{
	ListCell   *lc;

	foreach(lc, patterns)
		if (((char *) lfirst(lc))[0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a table pattern must not be empty"),
					 errhint("A pattern is a table's name, in which * and ? stand for any letters.")));
}

/* The schema that the tables go to: there already with the right to create in it, or made by the caller. */
static void
prepare_schema(const char *schema)
{
	Oid			user = GetUserId();
	Oid			oid;

	td_check_name_length(schema, "schema");
	if (td_schema_is_reserved(schema))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("schema \"%s\" is not for mirrored tables", schema),
				 errhint("Choose another one with into_schema => '...'.")));
	oid = get_namespace_oid(schema, true);
	if (OidIsValid(oid) && !td_may_create_in_schema(user, oid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schema %s", quote_identifier(schema)),
				 errhint("Its owner can allow it: GRANT CREATE ON SCHEMA %s TO %s.",
						 quote_identifier(schema), quote_identifier(GetUserNameFromId(user, false)))));
	if (OidIsValid(oid))
		return;
	if (!td_may_create_schemas(user))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to create schema %s", quote_identifier(schema)),
				 errhint("The owner of the database can allow it: GRANT CREATE ON DATABASE %s TO %s; or name a schema that you may create tables in: into_schema => '...'.",
						 quote_identifier(get_database_name(MyDatabaseId)), quote_identifier(GetUserNameFromId(user, false)))));
	td_run_as_caller(psprintf("CREATE SCHEMA %s", quote_identifier(schema)));
}

/* Tables that are named outright must not exist yet, unless an option says what to do with them. */
static void
check_targets(const MirrorCall *call, bool with_database)
{
	const char *existing = td_pairs_get(call->options, "existing");
	Oid			schema = get_namespace_oid(call->into_schema, false);
	ListCell   *lc;

	foreach(lc, call->tables)
	{
		const char *table = lfirst(lc);

		if (with_database && strchr(table, '.') != NULL)
			table = strchr(table, '.') + 1;
		if (strpbrk(table, "*?") != NULL)
			continue;
		td_check_name_length(table, "table");
		if (OidIsValid(get_relname_relid(table, schema)) && (existing == NULL || strcmp(existing, "error") == 0))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("table %s already exists", quote_qualified_identifier(call->into_schema, table)),
					 errhint("Choose another schema with into_schema => '...', or say what to do with it: options => '{\"existing\": \"drop_table\"}'.")));
	}
}

/* Are the tables there, and may they be read?  In a subtransaction, so that whatever the attempt held is given back. */
static void
check_source(const MirrorCall *call, const TdConnection *connection)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		TdHostProcess *host = td_host_open(connection, 0, GetUserId());
		ListCell   *lc;

		foreach(lc, call->tables)
			td_host_find(host, connection, lfirst(lc), NULL, NULL);
		td_host_close(host);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (is_about_tables(edata->sqlerrcode))
			ReThrowError(edata);
		FreeErrorData(edata);
		CHECK_FOR_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

static bool
is_about_tables(int sqlstate)
{
	return sqlstate == ERRCODE_UNDEFINED_TABLE || sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE || sqlstate == ERRCODE_AMBIGUOUS_ALIAS ||
		sqlstate == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE || sqlstate == ERRCODE_QUERY_CANCELED;
}

/* Writes the pipeline; its owner is the caller. */
static void
store(const MirrorCall *call)
{
	static TdStatement define = {
		"INSERT INTO tapdata.pipeline (name, owner, connection, tables, except_tables, into_schema, options, desired) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING RETURNING id", NULL};
	static TdStatement state = {"INSERT INTO tapdata.pipeline_state (pipeline) VALUES ($1)", NULL};
	TdCatalogScope scope;
	Oid			owner = GetUserId();
	uint64		n;

	td_catalog_enter(&scope);
	n = TD_RUN(&define, td_arg_text(call->name), td_arg_oid(owner), td_arg_text(call->connection),
			   td_arg_text_array(call->tables), td_arg_text_array(call->except_tables), td_arg_text(call->into_schema),
			   td_arg_jsonb(td_pairs_to_jsonb(call->options)), td_arg_text(call->start ? "running" : "stopped"));
	if (n == 1)
		TD_RUN(&state, td_arg_int4(td_col_int(0, 1)));
	td_catalog_leave(&scope);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("pipeline \"%s\" already exists", call->name),
				 errhint("Choose another name with name => '...', or drop it first with tapdata.drop_pipeline().")));
}

/* The stored options with the changes merged in; null removes. */
static List *
merged_options(int32 id, List *changes)
{
	static TdStatement read = {"SELECT key, value FROM tapdata.pipeline, jsonb_each_text(options) WHERE id = $1", NULL};
	TdCatalogScope scope;
	List	   *keys;
	List	   *values;
	List	   *result = NIL;
	ListCell   *lc;

	td_catalog_enter(&scope);
	TD_RUN(&read, td_arg_int4(id));
	keys = td_col_all(1);
	values = td_col_all(2);
	td_catalog_leave(&scope);
	for (int i = 0; i < list_length(keys); i++)
	{
		TdPair	   *pair = palloc(sizeof(TdPair));

		pair->name = list_nth(keys, i);
		pair->value = list_nth(values, i);
		if (!td_pairs_has(changes, pair->name))
			result = lappend(result, pair);
	}
	foreach(lc, changes)
		if (((TdPair *) lfirst(lc))->value != NULL)
			result = lappend(result, lfirst(lc));
	return result;
}

/* What was loaded one way can't become something else by an option. */
static void
check_changeable(const TdPipeline *p, List *changes)
{
	static const char *const fixed[] = {"type", "position"};

	for (size_t i = 0; p->planned && i < lengthof(fixed); i++)
		if (td_pairs_has(changes, fixed[i]))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("option \"%s\" of pipeline \"%s\" can't be changed any more", fixed[i], p->name),
					 errdetail("The pipeline has begun to work with it."),
					 errhint("Stop it and forget its progress first: SELECT tapdata.stop_pipeline(%s), tapdata.reset_pipeline(%s).",
							 quote_literal_cstr(p->name), quote_literal_cstr(p->name))));
}

/* tapdata.alter_pipeline(name, options) */
Datum
td_sql_alter_pipeline(PG_FUNCTION_ARGS)
{
	static TdStatement write = {"UPDATE tapdata.pipeline SET options = $1 WHERE id = $2", NULL};
	TdPipeline *p = td_pipeline_lock(td_required_text(fcinfo, 0, "name"));
	List	   *changes = td_optional_pairs(fcinfo, 1, "options");
	List	   *options;
	TdCatalogScope scope;

	td_pipeline_options_check(changes, false);
	check_changeable(p, changes);
	options = merged_options(p->id, changes);
	td_pipeline_options_check(options, true);
	td_catalog_enter(&scope);
	TD_RUN(&write, td_arg_jsonb(td_pairs_to_jsonb(options)), td_arg_int4(p->id));
	td_catalog_leave(&scope);
	if (p->published && td_pairs_has(changes, "writable"))
	{
		const char *writable = td_pairs_get(changes, "writable");

		td_write_guards(p->id, writable == NULL || strcmp(writable, "true") != 0);
	}
	if (p->wanted && changes != NIL)
	{
		td_pipeline_restart_at_commit(p->id);
		ereport(NOTICE, (errmsg("restarting pipeline \"%s\" with the new options", p->name)));
	}
	PG_RETURN_VOID();
}
