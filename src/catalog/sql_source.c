/*-------------------------------------------------------------------------
 *
 * sql_source.c
 *		test_connection, discover, peek and the view connectors: a session looks
 *		at a source through a connector host of its own.
 *
 * NOTES
 *		Sessions, as the caller with his own user mapping.  The host lives in a
 *		memory context of the call and dies with it.
 *
 * IDENTIFICATION
 *		src/catalog/sql_source.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "catalog/row_json_internal.h"
#include "connector/connector.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

typedef struct DiscoverCall
{
	ReturnSetInfo *result;
	bool		with_database;	/* table names as database.table */
} DiscoverCall;

static void put_check(void *arg, const char *item, bool ok, const char *detail, const char *hint);
static void put_table(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem);
static void check_source(TdConnection *connection, ReturnSetInfo *result);
static void begin_reading(TdHostProcess *host, const TdConnection *connection, const char *database, const char *table, int64 limit);
static void collect_name(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem);
static void read_rows(TdHostProcess *host, ReturnSetInfo *result, int64 limit);

PG_FUNCTION_INFO_V1(td_sql_test_connection);
PG_FUNCTION_INFO_V1(td_sql_discover);
PG_FUNCTION_INFO_V1(td_sql_peek);
PG_FUNCTION_INFO_V1(td_sql_connector_list);

/* A text of the host (UTF-8) as a datum. */
static Datum
host_text(const char *s)
{
	return CStringGetTextDatum(pg_any_to_server(s, strlen(s), PG_UTF8));
}

static void
put_row(ReturnSetInfo *result, Datum *values, bool *nulls)
{
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* tapdata.test_connection(name) */
Datum
td_sql_test_connection(PG_FUNCTION_ARGS)
{
	TdConnection *connection = td_connection_load(td_required_text(fcinfo, 0, "name"), GetUserId());

	InitMaterializedSRF(fcinfo, 0);
	check_source(connection, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/*
 * What goes wrong is a row of the result, not an error: in a subtransaction,
 * so that whatever the attempt held is given back.
 */
static void
check_source(TdConnection *connection, ReturnSetInfo *result)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		TdHostProcess *host = td_host_open(connection, 0, GetUserId());

		put_check(result, "connect", true, NULL, NULL);
		td_host_check(host, put_check, result);
		td_host_close(host);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);
		TdError		err;

		td_error_from_edata(&err, edata);
		put_check(result, "connect", false, err.message, err.hint);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

/* One line of test_connection. */
static void
put_check(void *arg, const char *item, bool ok, const char *detail, const char *hint)
{
	Datum		values[4] = {host_text(item), BoolGetDatum(ok)};
	bool		nulls[4] = {false, false, detail == NULL || !*detail, hint == NULL || !*hint};

	if (!nulls[2])
		values[2] = host_text(detail);
	if (!nulls[3])
		values[3] = host_text(hint);
	put_row(arg, values, nulls);
}

/* tapdata.discover(connection, pattern) */
Datum
td_sql_discover(PG_FUNCTION_ARGS)
{
	TdConnection *connection = td_connection_load(td_required_text(fcinfo, 0, "connection"), GetUserId());
	char	   *pattern = td_optional_text(fcinfo, 1);
	DiscoverCall call;
	TdHostProcess *host;

	InitMaterializedSRF(fcinfo, 0);
	call.result = (ReturnSetInfo *) fcinfo->resultinfo;
	call.with_database = td_connection_database(connection)[0] == '\0';
	host = td_host_open(connection, 0, GetUserId());
	td_host_discover(host, pattern ? pattern : "*", put_table, &call);
	td_host_close(host);
	return (Datum) 0;
}

/* [{"name": ..., "type": ..., "not_null": ...}, ...] */
static Datum
columns_json(const TdSchema *schema)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	for (uint32 i = 0; i < schema->ncolumns; i++)
	{
		const TdColumn *c = &schema->columns[i];

		appendStringInfoString(&buf, i > 0 ? ", {\"name\": " : "{\"name\": ");
		escape_json(&buf, c->name);
		appendStringInfoString(&buf, ", \"type\": ");
		escape_json(&buf, c->native);
		appendStringInfo(&buf, ", \"not_null\": %s}", c->not_null ? "true" : "false");
	}
	appendStringInfoChar(&buf, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(buf.data, buf.len, PG_UTF8)));
}

/* One table of discover; what stands in the way of mirroring it is a warning. */
static void
put_table(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem)
{
	DiscoverCall *call = arg;
	bool		qualified = call->with_database && schema->database && schema->database[0];
	char	   *name = qualified ? psprintf("%s.%s", schema->database, schema->table) : pstrdup(schema->table);
	List	   *key = NIL;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, row_estimate < 0};

	for (uint32 i = 0; i < schema->nkeys; i++)
		key = lappend(key, pg_any_to_server(schema->columns[schema->keys[i]].name,
											strlen(schema->columns[schema->keys[i]].name), PG_UTF8));
	values[0] = host_text(name);
	values[1] = columns_json(schema);
	values[2] = td_arg_text_array(key).value;
	values[3] = Int64GetDatum(row_estimate);
	put_row(call->result, values, nulls);
	if (problem != NULL && problem->sqlstate[0])
		ereport(WARNING,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" can't be mirrored as it is: %s", TextDatumGetCString(values[0]), problem->message),
				 problem->detail[0] ? errdetail_internal("%s", problem->detail) : 0,
				 problem->hint[0] ? errhint("%s", problem->hint) : 0));
}

/* tapdata.peek(connection, table_name, n) */
Datum
td_sql_peek(PG_FUNCTION_ARGS)
{
	TdConnection *connection = td_connection_load(td_required_text(fcinfo, 0, "connection"), GetUserId());
	char	   *table = td_required_text(fcinfo, 1, "table_name");
	int32		n = PG_ARGISNULL(2) ? 5 : PG_GETARG_INT32(2);
	const char *database = td_connection_database(connection);
	char	   *dot;
	TdHostProcess *host;

	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of rows must not be negative"),
				 errhint("Leave \"n\" out for 5 rows.")));
	if (database[0] == '\0' && (dot = strchr(table, '.')) != NULL)
	{
		*dot = '\0';
		database = table;
		table = dot + 1;
	}
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (n == 0)
		return (Datum) 0;
	host = td_host_open(connection, 0, GetUserId());
	begin_reading(host, connection, database, table, n);
	read_rows(host, (ReturnSetInfo *) fcinfo->resultinfo, n);
	td_host_close(host);
	return (Datum) 0;
}

/* Asks for the first rows of a table.  A table that is not there is perhaps a misspelt one: then the hint names the closest. */
static void
begin_reading(TdHostProcess *host, const TdConnection *connection, const char *database, const char *table, int64 limit)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		(void) td_host_snapshot(host, database, table, "", limit);
	}
	PG_CATCH();
	{
		ErrorData  *edata;
		List	   *names = NIL;
		const char *closest;

		MemoryContextSwitchTo(caller);
		edata = CopyErrorData();
		if (edata->sqlerrcode != ERRCODE_UNDEFINED_TABLE)
			PG_RE_THROW();
		FlushErrorState();
		td_host_close(host);
		host = td_host_open(connection, 0, GetUserId());
		td_host_discover(host, "*", collect_name, &names);
		closest = td_closest(table, names);
		if (closest != NULL && strcmp(closest, table) != 0)
			edata->hint = psprintf("Perhaps you meant \"%s\".", closest);
		ReThrowError(edata);
	}
	PG_END_TRY();
}

/* Appends a table of discover to a list of names. */
static void
collect_name(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem)
{
	List	  **names = arg;

	*names = lappend(*names, pg_any_to_server(pstrdup(schema->table), strlen(schema->table), PG_UTF8));
}

/* The rows of a snapshot as jsonb. */
static void
read_rows(TdHostProcess *host, ReturnSetInfo *result, int64 limit)
{
	TdSchema   *schema = NULL;
	TdBytes		block;
	TdRecord	rec;
	int			rc;

	while ((rc = td_host_read(host, -1, &block)) != -1)
	{
		TdReader	reader = {block.data, block.data + block.len};

		CHECK_FOR_INTERRUPTS();
		if (rc == 0)
			continue;
		while ((rc = td_read_record(&reader, &rec)) == 1)
		{
			if (rec.op == TD_OP_SCHEMA)
				schema = td_schema_in_context(&rec);
			else if (rec.op == TD_OP_INSERT && schema != NULL && limit-- > 0)
			{
				Datum		value = td_row_json(schema, rec.new_row);
				bool		null = false;

				put_row(result, &value, &null);
			}
		}
		if (rc < 0)
			td_damaged_record();
	}
}

/* Describes one connector; one that can't be asked is a warning and a row without the rest. */
static void
put_connector(ReturnSetInfo *result, char *name)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Datum		values[4] = {CStringGetTextDatum(name)};
	bool		nulls[4] = {false, true, true, true};
	char	   *reason = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		Datum		json = DirectFunctionCall1(jsonb_in, CStringGetDatum(td_connector_describe(name)));

		td_describe_columns(DatumGetJsonbP(json), values, nulls);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		reason = edata->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (reason)
		ereport(WARNING,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("connector \"%s\" can't be used: %s", name, reason)));
	put_row(result, values, nulls);
}

/* tapdata.connector_list(): the rows of tapdata.connectors */
Datum
td_sql_connector_list(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, td_connector_list())
		put_connector((ReturnSetInfo *) fcinfo->resultinfo, lfirst(lc));
	return (Datum) 0;
}
