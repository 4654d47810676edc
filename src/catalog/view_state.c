/*-------------------------------------------------------------------------
 *
 * view_state.c
 *		The state of live views: the checkpoint of a group, and what became of
 *		each view.
 *
 * NOTES
 *		View and fill workers, in the transaction of the tick or of the fill; the
 *		status of a group also by the supervisor.  Sessions write nothing here but
 *		by deleting a view: what a tick has to say of a view waits for a transaction
 *		that has dropped it and is open, and so does the group.  Nothing else waits for
 *		an open transaction.
 *
 * IDENTIFICATION
 *		src/catalog/view_state.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"

static TdArg
arg_float(double v, bool null)
{
	return (TdArg)
	{
		FLOAT8OID, Float8GetDatum(v), null
	};
}

static void log_view(const char *name, Oid owner, const char *status, const TdError *err);

/* The checkpoint.  NULL, INT64_MIN and 0 leave a column as it is. */
void
td_group_checkpoint(int32 id, const char *snapshot, int64 snapshot_time, uint64 bound, const char *slot, int64 ticks_more)
{
	static TdStatement checkpoint = {
		"UPDATE tapdata.group_state SET snapshot = coalesce($1::pg_snapshot, snapshot), snapshot_time = coalesce($2, snapshot_time), "
	"bound = coalesce($3, bound), slot = coalesce($4, slot), ticks = ticks + $5 WHERE view_group = $6", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&checkpoint, td_arg_text(snapshot), td_arg_timestamptz(snapshot_time, snapshot_time == PG_INT64_MIN),
		   (TdArg) {PG_LSNOID, LSNGetDatum(bound), bound == 0}, td_arg_text(slot), td_arg_int8(ticks_more), td_arg_int4(id));
	td_catalog_leave(&scope);
}

void
td_group_set_status(int32 id, const char *status)
{
	td_status_set(&td_status_of_group, id, status);
}

void
td_group_set_error(int32 id, const TdError *err)
{
	td_status_error(&td_status_of_group, id, err);
}

/* What a hidden part of the view has failed of is what the view has failed of. */
static bool
failed_part(int32 id, TdError *err)
{
	static TdStatement look = {
		"SELECT s.sqlstate, s.error, s.detail, s.hint FROM tapdata.view_state s JOIN tapdata.view p ON p.id = s.view "
	"WHERE (p.part_of = $1 AND p.replaces IS NULL OR p.id IN (SELECT k.kept FROM tapdata.view_kept k JOIN tapdata.view r ON r.id = k.view WHERE $1 IN (r.id, r.part_of))) AND s.status = 'failed' AND s.error IS NOT NULL ORDER BY p.id LIMIT 1", NULL};
	char	   *texts[4];

	if (TD_RUN(&look, td_arg_int4(id)) != 1)
		return false;
	for (int i = 0; i < 4; i++)
		texts[i] = td_col_text(0, i + 1);
	memset(err, 0, sizeof(*err));
	strlcpy(err->sqlstate, texts[0] ? texts[0] : "XX000", sizeof(err->sqlstate));
	strlcpy(err->message, texts[1], sizeof(err->message));
	strlcpy(err->detail, texts[2] ? texts[2] : "", sizeof(err->detail));
	strlcpy(err->hint, texts[3] ? texts[3] : "", sizeof(err->hint));
	return true;
}

/*
 * What became of a view.  One that begins to be filled takes over what was
 * asked for (fills); the snapshot is that which it still equals.
 */
void
td_view_set_status(int32 id, const char *status, const char *snapshot, const TdError *err)
{
	static TdStatement look = {
		"SELECT s.status, format('%I.%I', (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace), c.relname), v.owner::oid "
		"FROM tapdata.view_state s JOIN tapdata.view v ON v.id = s.view JOIN tapdata.view m ON m.id = coalesce(" TD_LEARNER_OF("v.id") ", (SELECT p.part_of FROM tapdata.view p WHERE p.id = v.part_of), v.part_of, v.id) JOIN pg_class c ON c.oid = m.relation "
	"WHERE s.view = $1 FOR NO KEY UPDATE OF s", NULL};
	static TdStatement move = {
		"UPDATE tapdata.view_state s SET status = $2, since = CASE WHEN status = $2 THEN since ELSE clock_timestamp() END, exact = $2 = 'streaming', "
		"filled = false, fills = CASE WHEN $2 <> 'streaming' THEN v.fills ELSE s.fills END, snapshot = coalesce($3::pg_snapshot, snapshot), "
		"sqlstate = $4, error = $5, detail = $6, hint = $7 "
	"FROM tapdata.view v WHERE v.id = s.view AND s.view = $1", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	if (TD_RUN(&look, td_arg_int4(id)) == 1)
	{
		char	   *from = td_col_text(0, 1);
		char	   *name = td_col_text(0, 2);
		Oid			owner = td_col_int(0, 3);
		TdError		said;

		if (err != NULL && strcmp(status, "failed") == 0 && failed_part(id, &said))
			err = &said;
		else if (err != NULL && strcmp(status, "failed") == 0 && !strstr(err->hint, "refresh_view") && !strstr(err->hint, "drop_view"))
		{
			said = *err;
			if (err->hint[0] == '\0')
				td_error_hint(&said, "Mend the cause, then: SELECT tapdata.refresh_view(%s).", quote_literal_cstr(name));
			else
				td_error_hint(&said, "%s Then: SELECT tapdata.refresh_view(%s).", err->hint, quote_literal_cstr(name));
			err = &said;
		}

		TD_RUN(&move, td_arg_int4(id), td_arg_text(status), td_arg_text(snapshot), td_arg_text(err ? err->sqlstate : NULL),
			   td_arg_text(err ? err->message : NULL), td_arg_text(err && err->detail[0] ? err->detail : NULL),
			   td_arg_text(err && err->hint[0] ? err->hint : NULL));
		if (strcmp(from, status) != 0)
			log_view(name, owner, status, err);
	}
	td_catalog_leave(&scope);
}

/* One line for each move, with the reason where there is one. */
static void
log_view(const char *name, Oid owner, const char *status, const TdError *err)
{
	TdError		entry;

	memset(&entry, 0, sizeof(entry));
	if (err != NULL)
		entry = *err;
	else
		snprintf(entry.message, sizeof(entry.message), "view is %s", strcmp(status, "snapshot") == 0 ? "being filled" : status);
	td_log(strcmp(status, "failed") == 0 ? "error" : err != NULL ? "warning" : "info", "view", name, owner, &entry);
}

/* The rows are there, as of that snapshot; the next tick takes the view in. */
void
td_view_filled(int32 id, const char *snapshot, double whole_ms)
{
	static TdStatement filled = {
		"UPDATE tapdata.view_state SET filled = true, snapshot = $2::pg_snapshot, snapshot_time = clock_timestamp(), whole_ms = $3 "
	"WHERE view = $1", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&filled, td_arg_int4(id), td_arg_text(snapshot), arg_float(whole_ms, false));
	td_catalog_leave(&scope);
}

/* Counters; written at most once a second. */
void
td_view_count(int32 id, int64 ticks_more, int64 recomputes_more, double last_ms, double whole_ms)
{
	static TdStatement count = {
		"UPDATE tapdata.view_state SET ticks = ticks + $2, recomputes = recomputes + $3, last_tick = CASE WHEN $2 > 0 THEN clock_timestamp() ELSE last_tick END, "
		"last_tick_ms = $4, whole_ms = coalesce($5, whole_ms) "
	"WHERE view = $1", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&count, td_arg_int4(id), td_arg_int8(ticks_more), td_arg_int8(recomputes_more), arg_float(last_ms, false), arg_float(whole_ms, whole_ms == 0));
	td_catalog_leave(&scope);
}

void
td_view_count_runs(int32 id, const char *how, int64 more, double ms_more, double last_ms)
{
	static TdStatement count = {
		"INSERT INTO tapdata.view_run AS r (view, how, n, ms, last_ms, last) VALUES ($1, $2, $3, $4, $5, clock_timestamp()) "
	"ON CONFLICT (view, how) DO UPDATE SET n = r.n + excluded.n, ms = r.ms + excluded.ms, last_ms = excluded.last_ms, last = excluded.last", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&count, td_arg_int4(id), td_arg_text(how), td_arg_int8(more), arg_float(ms_more, false), arg_float(last_ms, false));
	td_catalog_leave(&scope);
}

List *
td_view_runs(int32 id)
{
	static TdStatement look = {
		"SELECT how, format('%s, %s ms in all, %s ms the last time', n, round(ms::numeric, 3), round(last_ms::numeric, 3)) "
	"FROM tapdata.view_run WHERE view = $1 ORDER BY n DESC, how", NULL};
	MemoryContext caller = CurrentMemoryContext;
	List	   *runs = NIL;
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&look, td_arg_int4(id));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);
		TdPair	   *run = palloc0(sizeof(TdPair));

		run->name = td_col_text(i, 1);
		run->value = td_col_text(i, 2);
		runs = lappend(runs, run);
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return runs;
}

void
td_view_set_slow(int32 id, double ms)
{
	static TdStatement set = {"UPDATE tapdata.view_state SET slow_ms = $2 WHERE view = $1", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&set, td_arg_int4(id), arg_float(ms, ms == 0));
	td_catalog_leave(&scope);
}
