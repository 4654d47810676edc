/*-------------------------------------------------------------------------
 *
 * catalog.c
 *		Acting as the extension itself, and statements on its own tables.
 *
 * NOTES
 *		Sessions and workers.  Our tables are reached through SPI as the
 *		bootstrap superuser with search_path pg_catalog, pg_temp, and by
 *		qualified name only.  Plans are kept for the life of the process
 *		(CacheMemoryContext); the plan cache watches the tables.
 *
 *		No statement text given to td_run may hold a user's word: words are
 *		parameters.
 *
 * IDENTIFICATION
 *		src/catalog/catalog.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define TD_PINNED_PATH "pg_catalog, pg_temp"

static bool preloaded = false;	/* by shared_preload_libraries: there may be workers */

/* Settings of this room. */
void
td_catalog_init(void)
{
	preloaded = process_shared_preload_libraries_in_progress && !IsBinaryUpgrade;
	DefineCustomIntVariable("tapdata.log_retention",
							"How long entries of tapdata.log are kept.",
							"0 keeps them for ever.",
							&td_log_retention, 7 * 24 * 60, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
}

/* Without this there are no workers, and nothing to stop. */
bool
td_library_preloaded(void)
{
	return preloaded;
}

/* Becomes the bootstrap superuser with a pinned search_path, connected to SPI. */
void
td_catalog_enter(TdCatalogScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = 0;
	if (strcmp(namespace_search_path, TD_PINNED_PATH) != 0)
	{
		scope->guc_level = NewGUCNestLevel();
		(void) set_config_option("search_path", TD_PINNED_PATH, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/* Undoes td_catalog_enter. */
void
td_catalog_leave(TdCatalogScope *scope)
{
	SPI_finish();
	if (scope->guc_level != 0)
		AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->sec_context);
}

TdArg
td_arg_int4(int32 v)
{
	return (TdArg) {INT4OID, Int32GetDatum(v), false};
}

TdArg
td_arg_int8(int64 v)
{
	return (TdArg) {INT8OID, Int64GetDatum(v), false};
}

TdArg
td_arg_oid(Oid v)
{
	return (TdArg) {OIDOID, ObjectIdGetDatum(v), false};
}

TdArg
td_arg_bool(bool v)
{
	return (TdArg) {BOOLOID, BoolGetDatum(v), false};
}

TdArg
td_arg_text(const char *v)
{
	return (TdArg) {TEXTOID, v ? CStringGetTextDatum(v) : (Datum) 0, v == NULL};
}

TdArg
td_arg_jsonb(Datum v)
{
	return (TdArg) {JSONBOID, v, false};
}

TdArg
td_arg_timestamptz(int64 v, bool null)
{
	return (TdArg) {TIMESTAMPTZOID, TimestampTzGetDatum(v), null};
}

/* A list of words as text[]. */
TdArg
td_arg_text_array(List *words)
{
	Datum	   *items = palloc(sizeof(Datum) * Max(list_length(words), 1));
	ListCell   *lc;
	int			n = 0;

	foreach(lc, words)
		items[n++] = CStringGetTextDatum((char *) lfirst(lc));
	return (TdArg) {TEXTARRAYOID, PointerGetDatum(construct_array(items, n, TEXTOID, -1, false, TYPALIGN_INT)), false};
}

/* Plans a statement at its first use and keeps the plan. */
static void
prepare(TdStatement *statement, int nargs, const TdArg *args)
{
	Oid			types[TD_MAX_ARGS];
	SPIPlanPtr	plan;

	for (int i = 0; i < nargs; i++)
		types[i] = args[i].type;
	plan = SPI_prepare(statement->sql, nargs, types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not plan \"%s\"", statement->sql);
	statement->plan = plan;
}

static uint64
run(TdStatement *statement, int nargs, const TdArg *args, bool read_only)
{
	Datum		values[TD_MAX_ARGS];
	char		nulls[TD_MAX_ARGS];
	int			rc;

	Assert(nargs <= TD_MAX_ARGS);
	if (statement->plan == NULL)
		prepare(statement, nargs, args);
	for (int i = 0; i < nargs; i++)
	{
		values[i] = args[i].value;
		nulls[i] = args[i].null ? 'n' : ' ';
	}
	rc = SPI_execute_plan(statement->plan, values, nulls, read_only, 0);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", statement->sql, SPI_result_code_string(rc));
	return SPI_processed;
}

/* Runs a statement and returns the number of its rows; a later run in a new snapshot sees what this one did. */
uint64
td_run(TdStatement *statement, int nargs, const TdArg *args)
{
	return run(statement, nargs, args, false);
}

/* The same for one that only reads: it sees what the calling statement does. */
uint64
td_look(TdStatement *statement, int nargs, const TdArg *args)
{
	return run(statement, nargs, args, true);
}

/* One column of the last result; a null gives 0. */
static Datum
column(uint64 row, int col, bool *null)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, null);
}

/* A copy in the memory of the one who connected to SPI. */
static char *
outer_copy(const char *s)
{
	size_t		size = strlen(s) + 1;

	return memcpy(SPI_palloc(size), s, size);
}

char *
td_col_text(uint64 row, int col)
{
	char	   *v = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);
	return v ? outer_copy(v) : NULL;
}

/* text[] as a list in the outer memory. */
List *
td_col_words(uint64 row, int col)
{
	bool		null;
	Datum		array = column(row, col, &null);
	Datum	   *items;
	bool	   *nulls;
	int			n;
	List	   *words = NIL;

	if (null)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *copy = outer_copy(TextDatumGetCString(items[i]));
		MemoryContext inner;

		inner = MemoryContextSwitchTo(GetMemoryChunkContext(copy));
		words = lappend(words, copy);
		MemoryContextSwitchTo(inner);
	}
	return words;
}

int64
td_col_int(uint64 row, int col)
{
	bool		null;
	Datum		v = column(row, col, &null);

	if (null)
		return 0;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, col))
	{
		case INT2OID:
			return DatumGetInt16(v);
		case INT4OID:
			return DatumGetInt32(v);
		case INT8OID:
			return DatumGetInt64(v);
		default:
			return DatumGetObjectId(v);
	}
}

bool
td_col_bool(uint64 row, int col)
{
	bool		null;
	Datum		v = column(row, col, &null);

	return !null && DatumGetBool(v);
}

double
td_col_float(uint64 row, int col)
{
	bool		null;
	Datum		v = column(row, col, &null);

	return null ? 0 : DatumGetFloat8(v);
}

TimestampTz
td_col_time(uint64 row, int col, bool *null)
{
	return DatumGetTimestampTz(column(row, col, null));
}

/* One column of every row of the last result. */
List *
td_col_all(int col)
{
	List	   *words = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *word = td_col_text(i, col);
		MemoryContext inner;

		if (word == NULL)
			continue;
		inner = MemoryContextSwitchTo(GetMemoryChunkContext(word));
		words = lappend(words, word);
		MemoryContextSwitchTo(inner);
	}
	return words;
}

/* Runs one statement with the caller's own rights; identifiers in it are quoted and qualified by whoever built it. */
void
td_run_as_caller(const char *sql)
{
	int			level = NewGUCNestLevel();
	int			rc;

	(void) set_config_option("search_path", TD_PINNED_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(rc));
	SPI_finish();
	AtEOXact_GUC(true, level);
}
