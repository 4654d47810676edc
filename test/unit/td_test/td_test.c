/*-------------------------------------------------------------------------
 *
 * td_test.c
 *		SQL functions around the doors of apply/, for tests and measurements.
 *
 * NOTES
 *		Source tables are ordinary tables of which only the row type and the
 *		primary key matter; the schema they stand in is taken as database
 *		"source".  Changes come from a query (see td_test.sql).  Records are made
 *		before anything is measured.
 *
 * test/unit/td_test/td_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "apply/apply_internal.h"
#include "td_test.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_test_open);
PG_FUNCTION_INFO_V1(td_test_feed);
PG_FUNCTION_INFO_V1(td_test_load);
PG_FUNCTION_INFO_V1(td_test_create);
PG_FUNCTION_INFO_V1(td_test_publish);
PG_FUNCTION_INFO_V1(td_test_check);
PG_FUNCTION_INFO_V1(td_test_type);
PG_FUNCTION_INFO_V1(td_test_key_text);
PG_FUNCTION_INFO_V1(td_test_describe);

#define MAX_TABLES 8

/* What td_test_open made, for the session. */
static MemoryContext context = NULL;
static TdApply *apply = NULL;
static TdSchema *schemas[MAX_TABLES];
static TdBuffer records;

/* ---- time ---- */

typedef struct Clock
{
	struct rusage usage;
	instr_time	time;
} Clock;

static void
clock_start(Clock *c)
{
	getrusage(RUSAGE_SELF, &c->usage);
	INSTR_TIME_SET_CURRENT(c->time);
}

static double
ms(struct timeval a, struct timeval b)
{
	return (b.tv_sec - a.tv_sec) * 1000.0 + (b.tv_usec - a.tv_usec) / 1000.0;
}

/* (rows bigint, cpu_ms float8, wall_ms float8) */
static Datum
clock_stop(FunctionCallInfo fcinfo, Clock *c, int64 rows)
{
	TupleDesc	desc;
	struct rusage usage;
	instr_time	time;
	Datum		values[3];
	bool		nulls[3] = {false};

	INSTR_TIME_SET_CURRENT(time);
	INSTR_TIME_SUBTRACT(time, c->time);
	getrusage(RUSAGE_SELF, &usage);
	get_call_result_type(fcinfo, NULL, &desc);
	values[0] = Int64GetDatum(rows);
	values[1] = Float8GetDatum(ms(c->usage.ru_utime, usage.ru_utime) + ms(c->usage.ru_stime, usage.ru_stime));
	values[2] = Float8GetDatum(INSTR_TIME_GET_MILLISEC(time));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* ---- arguments ---- */

static TdPipeline *
make_pipeline(int32 id, Oid owner)
{
	TdPipeline *p = palloc0(sizeof(TdPipeline));

	p->id = id;
	p->name = pstrdup("unit");
	p->owner = owner;
	p->connection = pstrdup("source");
	return p;
}

/* n: number of the table; target: InvalidOid = by name. */
static TdPipelineTable *
make_table(int32 n, const char *source, Oid target, const char *schema, const char *name)
{
	TdPipelineTable *t = palloc0(sizeof(TdPipelineTable));

	t->n = n;
	t->source_database = pstrdup("source");
	t->source_table = pstrdup(source);
	t->relation = target;
	t->target_schema = pstrdup(schema);
	t->target_table = pstrdup(name);
	return t;
}

static int
oids(ArrayType *array, Oid **result)
{
	Datum	   *datums;
	int			n;

	deconstruct_array(array, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &datums, NULL, &n);
	*result = palloc(sizeof(Oid) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*result)[i] = DatumGetObjectId(datums[i]);
	return n;
}

static TdInsertPolicy
policy_of(const char *name)
{
	return strcmp(name, "just_insert") == 0 ? TD_INSERT_JUST_INSERT :
		strcmp(name, "ignore_on_exists") == 0 ? TD_INSERT_IGNORE_ON_EXISTS : TD_INSERT_UPDATE_ON_EXISTS;
}

/* Rights as a pipeline worker has them: replica role for this transaction. */
static void
be_replica(void)
{
	set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* ---- records ---- */

/* One row of the query (tbl, op, old, new, absent) as a record. */
static void
write_change(HeapTuple tuple, TupleDesc desc)
{
	bool		null;
	int			n = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &null));
	const char *op = SPI_getvalue(tuple, desc, 2);
	TdSchema   *schema = schemas[n - 1];
	Datum		old_row;
	Datum		new_row;
	bool		no_old;
	bool		no_new;
	char	   *absent[16];
	int			nabsent = 0;
	Datum		value;

	old_row = SPI_getbinval(tuple, desc, 3, &no_old);
	new_row = SPI_getbinval(tuple, desc, 4, &no_new);
	value = SPI_getbinval(tuple, desc, 5, &null);
	if (!null)
	{
		Datum	   *items;

		deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &nabsent);
		for (int i = 0; i < nabsent; i++)
			absent[i] = TextDatumGetCString(items[i]);
	}
	if (*op == 't')
	{
		td_write_truncate(&records, schema->table_id);
		return;
	}
	if (*op == 's')
	{
		td_write_schema(&records, schema);
		return;
	}
	td_write_begin(&records, *op == 'i' ? TD_OP_INSERT : *op == 'u' ? TD_OP_UPDATE : TD_OP_DELETE, schema->table_id);
	if (*op != 'i' && !no_old)
		td_test_put_row(&records, schema, old_row, 0, NULL);
	if (*op != 'd' && !no_new)
		td_test_put_row(&records, schema, new_row, nabsent, absent);
	td_write_end(&records);
}

/* The records of a query. */
static void
write_changes(const char *query)
{
	Portal		portal;
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "row", ALLOCSET_DEFAULT_SIZES);

	td_buffer_reset(&records);
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			MemoryContext caller = MemoryContextSwitchTo(row);

			write_change(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(row);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_finish();
	if (records.failed)
		elog(ERROR, "could not write records");
}

/* ---- changes ---- */

/* open(sources regclass[], targets regclass[], policy text, catching_up boolean, owner regrole, memory_kb integer) */
Datum
td_test_open(PG_FUNCTION_ARGS)
{
	Oid		   *sources;
	Oid		   *targets;
	int			n = oids(PG_GETARG_ARRAYTYPE_P(0), &sources);
	MemoryContext caller;
	TdPipeline *p;
	List	   *tables = NIL;
	TdApplyOptions options = {policy_of(text_to_cstring(PG_GETARG_TEXT_PP(2))), PG_GETARG_BOOL(3)};

	if (oids(PG_GETARG_ARRAYTYPE_P(1), &targets) != n || n > MAX_TABLES)
		elog(ERROR, "as many sources as targets, at most %d", MAX_TABLES);
	if (context)
		MemoryContextDelete(context);
	context = AllocSetContextCreate(TopMemoryContext, "td_test", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	p = make_pipeline(1, PG_GETARG_OID(4));
	for (int i = 0; i < n; i++)
	{
		schemas[i] = td_test_schema(sources[i], i + 1);
		tables = lappend(tables, make_table(i + 1, schemas[i]->table, targets[i], get_namespace_name(get_rel_namespace(targets[i])),
											get_rel_name(targets[i])));
	}
	apply = td_apply_create(p, tables);
	td_apply_options(apply, &options);
	if (PG_GETARG_INT32(5) > 0)
		apply->memory_limit = (Size) PG_GETARG_INT32(5) * 1024;
	MemoryContextSwitchTo(caller);
	PG_RETURN_VOID();
}

/* Announces table n with the columns its source has now. */
Datum
td_test_describe(PG_FUNCTION_ARGS)
{
	int			n = PG_GETARG_INT32(0);
	MemoryContext caller = MemoryContextSwitchTo(context);

	schemas[n - 1] = td_test_schema(PG_GETARG_OID(1), n);
	MemoryContextSwitchTo(caller);
	PG_RETURN_VOID();
}

/* feed(query text, announce boolean) -> (rows, cpu_ms, wall_ms) */
Datum
td_test_feed(PG_FUNCTION_ARGS)
{
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TdReader	reader;
	TdRecord	rec;
	Clock		clock;
	int64		rows;
	TdBuffer	announcement = {0};

	write_changes(query);
	be_replica();
	for (int i = 0; i < apply->ntables && PG_GETARG_BOOL(1); i++)
		td_write_schema(&announcement, schemas[i]);
	reader.p = announcement.data;
	reader.end = announcement.data + announcement.len;
	while (td_read_record(&reader, &rec) == 1)
		td_apply_schema(apply, &rec);
	td_buffer_free(&announcement);

	clock_start(&clock);
	reader.p = records.data;
	reader.end = records.data + records.len;
	td_apply_begin(apply);
	while (td_read_record(&reader, &rec) == 1)
	{
		if (rec.op == TD_OP_SCHEMA)
			td_apply_schema(apply, &rec);
		else
			td_apply_record(apply, &rec);
	}
	rows = td_apply_end(apply);
	return clock_stop(fcinfo, &clock, rows);
}

/* ---- load ---- */

/* load(source regclass, target regclass, query text) -> (rows, cpu_ms, wall_ms); the query returns (1, 'i', NULL, row, absent) */
Datum
td_test_load(PG_FUNCTION_ARGS)
{
	TdReader	reader;
	TdRecord	rec;
	TdLoad	   *load;
	Clock		clock;
	int64		rows;

	schemas[0] = td_test_schema(PG_GETARG_OID(0), 1);
	write_changes(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	be_replica();
	clock_start(&clock);
	reader.p = records.data;
	reader.end = records.data + records.len;
	load = td_load_begin(PG_GETARG_OID(1), schemas[0]);
	while (td_read_record(&reader, &rec) == 1)
		td_load_row(load, &rec);
	rows = td_load_end(load);
	return clock_stop(fcinfo, &clock, rows);
}

/* ---- targets ---- */

/* create(pipeline integer, n integer, source regclass, owner regrole) -> regclass: an empty load table */
Datum
td_test_create(PG_FUNCTION_ARGS)
{
	TdSchema   *schema = td_test_schema(PG_GETARG_OID(2), 1);
	TdPipeline *p = make_pipeline(PG_GETARG_INT32(0), PG_GETARG_OID(3));

	PG_RETURN_OID(td_target_create_load(p, make_table(PG_GETARG_INT32(1), schema->table, InvalidOid, "x", "x"), schema));
}

/* publish(pipeline integer, n integer, source regclass, owner regrole, schema text, name text, existing text, writable boolean) -> regclass */
Datum
td_test_publish(PG_FUNCTION_ARGS)
{
	TdSchema   *schema = td_test_schema(PG_GETARG_OID(2), 1);
	TdPipeline *p = make_pipeline(PG_GETARG_INT32(0), PG_GETARG_OID(3));
	TdPipelineTable *t = make_table(PG_GETARG_INT32(1), schema->table, InvalidOid, text_to_cstring(PG_GETARG_TEXT_PP(4)),
									text_to_cstring(PG_GETARG_TEXT_PP(5)));
	char	   *existing = text_to_cstring(PG_GETARG_TEXT_PP(6));

	p->existing = strcmp(existing, "drop_table") == 0 ? TD_EXISTING_DROP : strcmp(existing, "keep_data") == 0 ? TD_EXISTING_KEEP
		: TD_EXISTING_REFUSE;
	p->writable = PG_GETARG_BOOL(7);
	if (OidIsValid(get_relname_relid(psprintf("load_%d_%d", p->id, t->n), get_namespace_oid("tapdata_state", false))))
		td_target_build_key(p, t, schema);
	td_target_publish(p, list_make1(t));
	PG_RETURN_OID(t->relation);
}

/* check(target oid, owner regrole) */
Datum
td_test_check(PG_FUNCTION_ARGS)
{
	td_target_check(make_table(1, "s", PG_GETARG_OID(0), "schema", "name"), PG_GETARG_OID(1));
	PG_RETURN_VOID();
}

/* type(type integer, length integer, scale integer) -> text */
Datum
td_test_type(PG_FUNCTION_ARGS)
{
	TdColumn	c = {.name = "c", .native = "n", .type = PG_GETARG_INT32(0), .length = PG_GETARG_INT32(1), .scale = PG_GETARG_INT32(2)};

	PG_RETURN_TEXT_P(cstring_to_text(td_target_type(&c)));
}

/* key_text(source regclass, row record) -> text */
Datum
td_test_key_text(PG_FUNCTION_ARGS)
{
	TdSchema   *schema = td_test_schema(PG_GETARG_OID(0), 1);
	TdReader	reader;
	TdRecord	rec;

	td_buffer_reset(&records);
	td_write_begin(&records, TD_OP_INSERT, 1);
	td_test_put_row(&records, schema, PG_GETARG_DATUM(1), 0, NULL);
	td_write_end(&records);
	reader.p = records.data;
	reader.end = records.data + records.len;
	if (td_read_record(&reader, &rec) != 1)
		elog(ERROR, "damaged");
	PG_RETURN_TEXT_P(cstring_to_text(td_row_key_text(schema, rec.new_row)));
}
