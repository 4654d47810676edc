/*-------------------------------------------------------------------------
 *
 * state.c
 *		The state of pipelines: the checkpoint, and the status with its table of
 *		legal moves.
 *
 * NOTES
 *		Workers write the checkpoint in the transaction that writes the rows.
 *		Sessions write the status only while no worker runs, so that neither
 *		waits for the other's row lock.
 *
 * IDENTIFICATION
 *		src/catalog/state.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "utils/timestamp.h"

#define TD_GIVE_UP_AFTER_MIN 60

enum
{
	CREATED, STARTING, SNAPSHOT, STREAMING, STOPPING, STOPPED, COMPLETED, RETRYING, WAITING, FAILED, FENCED
};

#define TO(s) (1u << (s))
/* from anywhere: a worker that could not go on, an order to stop, a copied database, a crash and the start after it */
#define ALWAYS (TO(STARTING) | TO(STOPPED) | TO(RETRYING) | TO(FAILED) | TO(FENCED))

static const struct
{
	const char *name;
	uint32		to;
	bool		healthy;		/* entering it forgets the last error */
}			moves[] = {
	[CREATED] = {"created", ALWAYS | TO(WAITING) | TO(STOPPING), false},
	[STARTING] = {"starting", ALWAYS | TO(SNAPSHOT) | TO(STREAMING) | TO(COMPLETED) | TO(STOPPING) | TO(WAITING), false},
	[SNAPSHOT] = {"snapshot", ALWAYS | TO(STREAMING) | TO(COMPLETED) | TO(STOPPING) | TO(WAITING), false},
	[STREAMING] = {"streaming", ALWAYS | TO(STOPPING) | TO(COMPLETED) | TO(WAITING), true},
	[STOPPING] = {"stopping", ALWAYS, false},
	[STOPPED] = {"stopped", ALWAYS | TO(CREATED) | TO(WAITING), true},
	[COMPLETED] = {"completed", ALWAYS | TO(CREATED), true},
	[RETRYING] = {"retrying", ALWAYS | TO(STOPPING) | TO(WAITING), false},
	[WAITING] = {"waiting_for_worker", ALWAYS | TO(STOPPING), false},
	[FAILED] = {"failed", ALWAYS | TO(CREATED) | TO(WAITING), false},
	[FENCED] = {"fenced", TO(STARTING) | TO(STOPPED) | TO(CREATED) | TO(FAILED), false},
};

/* Runs one statement on the state with the id as its last argument. */
#define TD_STATE(sqltext, ...) \
	do { \
		static TdStatement statement = {sqltext, NULL}; \
		TdCatalogScope scope; \
		td_catalog_enter(&scope); \
		TD_RUN(&statement, __VA_ARGS__); \
		td_catalog_leave(&scope); \
	} while (0)

static int	status_number(const char *status);
static void log_status(const char *name, Oid owner, const char *status);

/* Where the source stood before the first chunk. */
void
td_state_load_position(int32 id, const char *position)
{
	TD_STATE("UPDATE tapdata.pipeline_state SET load_position = $1 WHERE pipeline = $2",
			 td_arg_text(position), td_arg_int4(id));
}

/* Every chunk is in; publish from that position on. */
void
td_state_load_done(int32 id, const char *catch_up_position)
{
	TD_STATE("UPDATE tapdata.pipeline_state SET load_done = true, catch_up_position = coalesce($1, catch_up_position) "
			 "WHERE pipeline = $2",
			 td_arg_text(catch_up_position), td_arg_int4(id));
}

/* The tables are visible, all at one source position. */
void
td_state_published(int32 id)
{
	TD_STATE("UPDATE tapdata.pipeline_state SET published = true, exact = true WHERE pipeline = $1", td_arg_int4(id));
	TD_STATE("UPDATE tapdata.pipeline_table SET status = 'streaming', error = NULL WHERE pipeline = $1", td_arg_int4(id));
}

/* A change of the source found no row: the tables are not what the source was any more. */
void
td_state_inexact(int32 id)
{
	TD_STATE("UPDATE tapdata.pipeline_state SET exact = false WHERE pipeline = $1 AND exact", td_arg_int4(id));
}

/* The checkpoint: the rows up to that position are in this transaction. */
void
td_state_checkpoint(int32 id, const char *position, int64 source_time, int64 rows_applied_more)
{
	TD_STATE("UPDATE tapdata.pipeline_state SET position = coalesce($1, position), "
			 "source_time = coalesce($2, source_time), rows_applied = rows_applied + $3 WHERE pipeline = $4",
			 td_arg_text(position), td_arg_timestamptz(source_time, source_time == PG_INT64_MIN),
			 td_arg_int8(rows_applied_more), td_arg_int4(id));
}

/* A table is loaded from its start, into `relation`. */
void
td_table_loading(int32 id, int32 n, Oid relation, const char *skip_to)
{
	TD_STATE("UPDATE tapdata.pipeline_state s SET rows_loaded = s.rows_loaded - t.rows_loaded "
			 "FROM tapdata.pipeline_table t WHERE s.pipeline = $1 AND t.pipeline = $1 AND t.n = $2 AND t.rows_loaded <> 0",
			 td_arg_int4(id), td_arg_int4(n));
	TD_STATE("UPDATE tapdata.pipeline_table SET status = 'loading', cursor = '', rows_loaded = 0, error = NULL, "
			 "relation = $3, skip_to = coalesce($4, skip_to) WHERE pipeline = $1 AND n = $2",
			 td_arg_int4(id), td_arg_int4(n), td_arg_oid(relation), td_arg_text(skip_to));
}

/* Rows up to the cursor are in this transaction. */
void
td_table_cursor(int32 id, int32 n, const char *cursor, int64 rows_more)
{
	TD_STATE("UPDATE tapdata.pipeline_table SET cursor = coalesce($3, cursor), rows_loaded = rows_loaded + $4 "
			 "WHERE pipeline = $1 AND n = $2",
			 td_arg_int4(id), td_arg_int4(n), td_arg_text(cursor), td_arg_int8(rows_more));
	TD_STATE("UPDATE tapdata.pipeline_state SET rows_loaded = rows_loaded + $2 WHERE pipeline = $1",
			 td_arg_int4(id), td_arg_int8(rows_more));
}

/* The status of one table; an error is cleared when none is given. */
void
td_table_status(int32 id, int32 n, const char *status, const char *error)
{
	TD_STATE("UPDATE tapdata.pipeline_table SET status = $3, error = $4 WHERE pipeline = $1 AND n = $2",
			 td_arg_int4(id), td_arg_int4(n), td_arg_text(status), td_arg_text(error));
}

static int
status_number(const char *status)
{
	for (int i = 0; i < (int) lengthof(moves); i++)
		if (strcmp(moves[i].name, status) == 0)
			return i;
	elog(ERROR, "unknown status \"%s\"", status);
}

/* Moves the status; the same status again is no move. */
void
td_pipeline_set_status(int32 id, const char *status)
{
	static TdStatement look = {
		"SELECT s.status, p.name, p.owner::oid FROM tapdata.pipeline_state s JOIN tapdata.pipeline p ON p.id = s.pipeline "
	"WHERE s.pipeline = $1 FOR NO KEY UPDATE OF s", NULL};
	static TdStatement move = {
		"UPDATE tapdata.pipeline_state SET status = $2, since = clock_timestamp() WHERE pipeline = $1", NULL};
	static TdStatement forget = {
		"UPDATE tapdata.pipeline_state SET sqlstate = NULL, error = NULL, detail = NULL, hint = NULL, "
	"retry_at = NULL, retry_since = NULL, retries = 0 WHERE pipeline = $1", NULL};
	TdCatalogScope scope;
	int			to = status_number(status);

	td_catalog_enter(&scope);
	if (TD_RUN(&look, td_arg_int4(id)) == 1)
	{
		char	   *from = td_col_text(0, 1);
		char	   *name = td_col_text(0, 2);
		Oid			owner = td_col_int(0, 3);

		if (strcmp(from, status) != 0)
		{
			if (!(moves[status_number(from)].to & TO(to)))
				elog(ERROR, "pipeline \"%s\" can't move from status \"%s\" to \"%s\"", name, from, status);
			TD_RUN(&move, td_arg_int4(id), td_arg_text(status));
			log_status(name, owner, status);
		}
		if (moves[to].healthy)
			TD_RUN(&forget, td_arg_int4(id));
	}
	td_catalog_leave(&scope);
}

/* One line in the log for each move. */
static void
log_status(const char *name, Oid owner, const char *status)
{
	TdError		entry;

	memset(&entry, 0, sizeof(entry));
	snprintf(entry.message, sizeof(entry.message), "pipeline is %s", strcmp(status, "waiting_for_worker") == 0 ?
			 "waiting for a free worker" : status);
	if (strcmp(status, "waiting_for_worker") == 0)
		strlcpy(entry.hint, "Raise max_worker_processes (needs a restart) or tapdata.max_workers; SELECT * FROM tapdata.doctor() says which.",
				sizeof(entry.hint));
	td_log(strcmp(status, "waiting_for_worker") == 0 ? "warning" : "info", "pipeline", name, owner, &entry);
}

/* Writes the error and decides whether the pipeline is tried again.  A call in its hint, "reset_pipeline(...)", gets the pipeline's name. */
void
td_pipeline_set_error(int32 id, const TdError *err)
{
	static TdStatement fail = {
		"UPDATE tapdata.pipeline_state s SET sqlstate = $2, error = $3, detail = $4, "
		"hint = replace(replace($5, '_pipeline(...)', '_pipeline()'), '_pipeline()', '_pipeline(' || quote_literal(p.name) || ')'), retries = retries + 1, "
		"retry_since = coalesce(retry_since, clock_timestamp()), "
		"status = CASE WHEN $6 AND coalesce(retry_since, clock_timestamp()) > clock_timestamp() - make_interval(mins => $7) "
		"THEN 'retrying' ELSE 'failed' END, since = clock_timestamp() "
		"FROM tapdata.pipeline p WHERE p.id = s.pipeline AND s.pipeline = $1 "
	"RETURNING p.name, p.owner::oid, s.status, s.retries, s.hint", NULL};
	static TdStatement again = {
	"UPDATE tapdata.pipeline_state SET retry_at = clock_timestamp() + make_interval(secs => $2 / 1000.0) WHERE pipeline = $1", NULL};
	static TdStatement never = {"UPDATE tapdata.pipeline_state SET retry_at = NULL WHERE pipeline = $1", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	if (TD_RUN(&fail, td_arg_int4(id), td_arg_text(err->sqlstate[0] ? err->sqlstate : "XX000"), td_arg_text(err->message),
			   td_arg_text(err->detail[0] ? err->detail : NULL), td_arg_text(err->hint[0] ? err->hint : NULL),
			   td_arg_bool(err->retryable), td_arg_int4(TD_GIVE_UP_AFTER_MIN)) == 1)
	{
		char	   *name = td_col_text(0, 1);
		Oid			owner = td_col_int(0, 2);
		char	   *status = td_col_text(0, 3);
		int			retries = td_col_int(0, 4);
		char	   *hint = td_col_text(0, 5);
		TdError		named = *err;

		if (hint != NULL)
			td_error_hint(&named, "%s", hint);
		if (strcmp(status, "retrying") == 0)
			TD_RUN(&again, td_arg_int4(id), td_arg_int4(td_backoff_ms(retries)));
		else
			TD_RUN(&never, td_arg_int4(id));
		td_log(strcmp(status, "retrying") == 0 ? "warning" : "error", "pipeline", name, owner, &named);
	}
	td_catalog_leave(&scope);
}
