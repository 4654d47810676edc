/*-------------------------------------------------------------------------
 *
 * td_bench.c
 *		The null connector without host and worker: its records are made and
 *		applied in one loop of one backend.
 *
 * NOTES
 *		Runs in a session of the bench's own server, under replica role.  The
 *		connector is the installed null.so, called through its ABI, a megabyte at
 *		a time as the host calls it; the records go through the doors of apply/ as
 *		the pipeline worker's do, in one transaction.  What is missing here is
 *		what the bench wants to know: socket, spool, second process, checkpoints.
 *
 * test/bench/null/td_bench.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dlfcn.h>

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "apply/apply.h"
#include "tapdata_connector.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_bench_load);
PG_FUNCTION_INFO_V1(td_bench_stream);

#define OPTIONS 4

/* The open connector and its tables. */
typedef struct Source
{
	const TdConnector *connector;
	TdConn	   *conn;
	TdBuffer	records;
	TdPipeline *pipeline;
	TdPipelineTable *table;
} Source;

static bool
never_stop(void)
{
	return false;
}

static void
no_log(const char *level, const char *fmt,...)
{
}

static void
fail(const TdError *err)
{
	elog(ERROR, "%s: %s", err->sqlstate, err->message);
}

/* path text, rows integer, transactions integer, rows_per_transaction integer: opens the connector with these options. */
static Source *
open_source(FunctionCallInfo fcinfo)
{
	static const char *const names[OPTIONS] = {"rows", "transactions", "rows_per_transaction", "row_bytes"};
	static const TdHost host = {sizeof(TdHost), no_log, never_stop};
	const char *values[OPTIONS] = {psprintf("%d", PG_GETARG_INT32(1)), psprintf("%d", PG_GETARG_INT32(2)),
	psprintf("%d", PG_GETARG_INT32(3)), "70"};
	TdConfig	config = {OPTIONS, (const char **) names, values};
	void	   *library = dlopen(text_to_cstring(PG_GETARG_TEXT_PP(0)), RTLD_NOW | RTLD_LOCAL);
	const TdConnector *(*entry) (void);
	Source	   *s = palloc0(sizeof(Source));
	TdError		err = {0};

	if (library == NULL || (entry = dlsym(library, "td_connector_entry")) == NULL)
		elog(ERROR, "%s", dlerror());
	s->connector = entry();
	if (s->connector->open(&host, &config, &s->conn, &err) != TD_OK)
		fail(&err);
	s->pipeline = palloc0(sizeof(TdPipeline));
	s->pipeline->id = 1000000;
	s->pipeline->name = pstrdup("bench");
	s->pipeline->owner = GetUserId();
	s->pipeline->connection = pstrdup("null");
	s->pipeline->published = true;
	s->table = palloc0(sizeof(TdPipelineTable));
	s->table->n = 1;
	s->table->source_database = pstrdup("");
	s->table->source_table = pstrdup("t0");
	s->table->target_schema = pstrdup("public");
	s->table->target_table = pstrdup("null_inside");
	set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	return s;
}

static void
close_source(Source *s)
{
	s->connector->close(s->conn);
	td_buffer_free(&s->records);
}

/* The first record of a snapshot; NULL = another one. */
static TdSchema *
schema_of(const TdRecord *rec)
{
	return rec->op == TD_OP_SCHEMA ? td_schema_read(rec) : NULL;
}

/* load(...) -> rows: the snapshot of t0 into a load table, and its primary key. */
Datum
td_bench_load(PG_FUNCTION_ARGS)
{
	Source	   *s = open_source(fcinfo);
	TdTableRef	ref = {"", "t0", ""};
	TdError		err = {0};
	char	   *position = NULL;
	TdStatus	status = TD_OK;
	TdSchema   *schema = NULL;
	TdLoad	   *load = NULL;
	int64		rows;

	if (s->connector->snapshot_start(s->conn, &ref, "", -1, &position, &err) != TD_OK)
		fail(&err);
	while (status != TD_DONE)
	{
		TdReader	reader;
		TdRecord	rec;

		status = s->connector->snapshot_read(s->conn, 1000, &s->records, &err);
		if (status == TD_FAIL)
			fail(&err);
		reader.p = s->records.data;
		reader.end = s->records.data + s->records.len;
		while (td_read_record(&reader, &rec) == 1)
		{
			if (rec.op == TD_OP_INSERT)
				td_load_row(load, &rec);
			else if (load == NULL && (schema = schema_of(&rec)) != NULL)
				load = td_load_begin(td_target_create_load(s->pipeline, s->table, schema), schema);
		}
		td_buffer_reset(&s->records);
		CHECK_FOR_INTERRUPTS();
	}
	if (load == NULL)
		elog(ERROR, "the connector described no table");
	rows = td_load_end(load);
	td_target_build_key(s->pipeline, s->table, schema);
	close_source(s);
	PG_RETURN_INT64(rows);
}

/* stream(..., target oid) -> row changes: the log of t0 from its beginning to its end, into an empty table. */
Datum
td_bench_stream(PG_FUNCTION_ARGS)
{
	Source	   *s = open_source(fcinfo);
	uint64		left = PG_GETARG_INT32(2);
	TdTableRef	ref = {"", "t0", ""};
	TdError		err = {0};
	TdApply    *apply;
	int64		rows;

	s->table->relation = PG_GETARG_OID(4);
	apply = td_apply_create(s->pipeline, list_make1(s->table));
	if (s->connector->stream_start(s->conn, "0", &ref, 1, &err) != TD_OK)
		fail(&err);
	td_apply_begin(apply);
	while (left > 0)
	{
		TdReader	reader;
		TdRecord	rec;

		if (s->connector->stream_poll(s->conn, 1000, &s->records, &err) == TD_FAIL)
			fail(&err);
		reader.p = s->records.data;
		reader.end = s->records.data + s->records.len;
		while (td_read_record(&reader, &rec) == 1)
		{
			if (rec.op == TD_OP_SCHEMA)
				td_apply_schema(apply, &rec);
			else if (rec.op == TD_OP_COMMIT)
				left--;
			else
				td_apply_record(apply, &rec);
		}
		td_apply_flush(apply);
		td_buffer_reset(&s->records);
		CHECK_FOR_INTERRUPTS();
	}
	rows = td_apply_end(apply);
	close_source(s);
	PG_RETURN_INT64(rows);
}
