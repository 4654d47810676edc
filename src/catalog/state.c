/*-------------------------------------------------------------------------
 *
 * state.c
 *		The state of pipelines: the checkpoint; and the status of pipelines and
 *		view groups, with its table of legal moves.
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
static void log_status(const TdStatusOf *of, const char *name, Oid owner, const char *status);

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

/* The statements on the status of one kind of thing; its definition is p, its state s. */
#define STATEMENTS(TABLE, STATE, ID, OWNER) \
	.look = {"SELECT s.status, p.name, " OWNER " FROM tapdata." STATE " s JOIN tapdata." TABLE " p ON p.id = s." ID " " \
		"WHERE s." ID " = $1 FOR NO KEY UPDATE OF s", NULL}, \
	.move = {"UPDATE tapdata." STATE " SET status = $2, since = clock_timestamp() WHERE " ID " = $1", NULL}, \
	.forget = {"UPDATE tapdata." STATE " SET sqlstate = NULL, error = NULL, detail = NULL, hint = NULL, " \
		"retry_at = NULL, retry_since = NULL, retries = 0 WHERE " ID " = $1", NULL}, \
	.fail = {"UPDATE tapdata." STATE " s SET sqlstate = $2, error = $3, detail = $4, " \
		"hint = replace(replace($5, '_pipeline(...)', '_pipeline()'), '_pipeline()', '_pipeline(' || quote_literal(p.name) || ')'), " \
		"retries = retries + 1, retry_since = coalesce(retry_since, clock_timestamp()), " \
		"status = CASE WHEN $6 AND coalesce(retry_since, clock_timestamp()) > clock_timestamp() - make_interval(mins => $7) " \
		"THEN 'retrying' ELSE 'failed' END, since = clock_timestamp() " \
		"FROM tapdata." TABLE " p WHERE p.id = s." ID " AND p.id = $1 " \
		"RETURNING p.name, " OWNER ", s.status, s.retries, s.hint", NULL}, \
	.again = {"UPDATE tapdata." STATE " SET retry_at = clock_timestamp() + make_interval(secs => $2 / 1000.0) WHERE " ID " = $1", NULL}, \
	.never = {"UPDATE tapdata." STATE " SET retry_at = NULL WHERE " ID " = $1", NULL}

TdStatusOf	td_status_of_pipeline = {.noun = "pipeline", .log_kind = "pipeline",
STATEMENTS("pipeline", "pipeline_state", "pipeline", "p.owner::oid")};
TdStatusOf	td_status_of_group = {.noun = "view group", .log_kind = "view",
STATEMENTS("view_group", "group_state", "view_group", "NULL::oid")};

/* Moves the status; the same status again is no move. */
void
td_status_set(TdStatusOf *of, int32 id, const char *status)
{
	TdCatalogScope scope;
	int			to = status_number(status);

	td_catalog_enter(&scope);
	if (TD_RUN(&of->look, td_arg_int4(id)) == 1)
	{
		char	   *from = td_col_text(0, 1);
		char	   *name = td_col_text(0, 2);
		Oid			owner = td_col_int(0, 3);

		if (strcmp(from, status) != 0)
		{
			if (!(moves[status_number(from)].to & TO(to)))
				elog(ERROR, "%s \"%s\" can't move from status \"%s\" to \"%s\"", of->noun, name, from, status);
			TD_RUN(&of->move, td_arg_int4(id), td_arg_text(status));
			log_status(of, name, owner, status);
		}
		if (moves[to].healthy)
			TD_RUN(&of->forget, td_arg_int4(id));
	}
	td_catalog_leave(&scope);
}

/* One line in the log for each move. */
static void
log_status(const TdStatusOf *of, const char *name, Oid owner, const char *status)
{
	bool		waiting = strcmp(status, "waiting_for_worker") == 0;
	TdError		entry;

	memset(&entry, 0, sizeof(entry));
	snprintf(entry.message, sizeof(entry.message), "%s is %s", of->noun, waiting ? "waiting for a free worker" : status);
	if (waiting)
		strlcpy(entry.hint, "Raise max_worker_processes (needs a restart) or tapdata.max_workers; SELECT * FROM tapdata.doctor() says which.",
				sizeof(entry.hint));
	td_log(waiting ? "warning" : "info", of->log_kind, name, owner, &entry);
}

/* Writes the error and decides whether it is tried again.  A call in its hint, "reset_pipeline(...)", gets the pipeline's name. */
void
td_status_error(TdStatusOf *of, int32 id, const TdError *err)
{
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	if (TD_RUN(&of->fail, td_arg_int4(id), td_arg_text(err->sqlstate[0] ? err->sqlstate : "XX000"), td_arg_text(err->message),
			   td_arg_text(err->detail[0] ? err->detail : NULL), td_arg_text(err->hint[0] ? err->hint : NULL),
			   td_arg_bool(err->retryable), td_arg_int4(TD_GIVE_UP_AFTER_MIN)) == 1)
	{
		char	   *name = td_col_text(0, 1);
		Oid			owner = td_col_int(0, 2);
		bool		again = strcmp(td_col_text(0, 3), "retrying") == 0;
		int			retries = td_col_int(0, 4);
		char	   *hint = td_col_text(0, 5);
		TdError		named = *err;

		if (hint != NULL)
			td_error_hint(&named, "%s", hint);
		if (again)
			TD_RUN(&of->again, td_arg_int4(id), td_arg_int4(td_backoff_ms(retries)));
		else
			TD_RUN(&of->never, td_arg_int4(id));
		td_log(again ? "warning" : "error", of->log_kind, name, owner, &named);
	}
	td_catalog_leave(&scope);
}

void
td_pipeline_set_status(int32 id, const char *status)
{
	td_status_set(&td_status_of_pipeline, id, status);
}

void
td_pipeline_set_error(int32 id, const TdError *err)
{
	td_status_error(&td_status_of_pipeline, id, err);
}
