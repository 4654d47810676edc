/*-------------------------------------------------------------------------
 *
 * stream.c
 *		Following views by their feeds: when to read, what, and what ends it.
 *
 * NOTES
 *		One session does it all.  It listens; a notice about a view that is
 *		followed, or the time of poll_interval, makes it read: in one REPEATABLE
 *		READ transaction the ticks of all views that are followed, then the
 *		changes of those that moved.  So what is read together is of one moment.
 *		A standby can't listen and is looked at more often.
 *
 *		Nothing blocks: each step waits as long as the poll has time, and the next
 *		poll goes on there.  Rows come one by one, so a tick of any size passes
 *		through; of a single view that is far behind at most LIMIT rows (and the
 *		tick they end in) are asked for at a time.
 *
 * connectors/tapdata/stream.c
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <stdio.h>

#include "stream_internal.h"

#define LIMIT "100000"
#define SILENCE_MS 15000		/* for an answer that needs no work */
#define PREPARE_MS 3600000		/* until the first change: the server reads all, and sorts, before */
#define STANDBY_POLL_MS 100

/* ---- start ---- */

void
td_tp_stream_free(TdConn *conn)
{
	TdTpStream *s = conn->stream;

	if (s == NULL)
		return;
	conn->busy = true;			/* it listens, and may be anywhere */
	for (uint32_t i = 0; s->followed && i < s->n; i++)
		free(s->followed[i].sql);
	td_tp_free_tables(&s->tables);
	td_tp_position_free(&s->position);
	td_buffer_free(&s->text);
	td_buffer_free(&s->scratch);
	PQclear(s->held);
	PQclear(s->row);
	free(s->ticks_sql);
	free(s->followed);
	free(s);
	conn->stream = NULL;
}

/* The statement for the changes of one view: by key, what goes before what comes; without one as they are. */
static char *
make_sql(const TdTpTable *t, bool alone, TdError *err)
{
	char	   *sql = td_tp_text(err, "SELECT c.tick, c.at, c.weight, (c.\"row\").* FROM tapdata.change_rows(NULL::%s, $1::bigint%s) c%s", t->name,
								 alone ? ", " LIMIT : "", t->schema.nkeys ? " ORDER BY c.tick" : "");

	for (uint32_t k = 0; sql && k < t->schema.nkeys; k++)
	{
		char	   *longer = td_tp_text(err, "%s, (c.\"row\").%s%s", sql, td_tp_column_quoted(t, t->schema.keys[k]), k + 1 == t->schema.nkeys ? ", c.weight" : "");

		free(sql);
		sql = longer;
	}
	return sql;
}

/* Where a view is gone on with: the later of the position and what its load has seen. */
static bool
find_start(TdConn *conn, TdTpFollowed *f, const TdTpPosition *from, const char *skip_to, TdError *err)
{
	const TdTpEntry *e = td_tp_position_find(from, f->table->oid);
	TdTpPosition skip;
	bool		good = true;

	if (e == NULL)
	{
		td_error_set(err, "55000", "view %s is not the one that was loaded", f->table->name);
		td_error_detail(err, "It was dropped and made again, or could not be read before.");
		return td_tp_reload_hint(err, "");
	}
	f->since = e->tick;
	if (skip_to == NULL || skip_to[0] == '\0')
		return true;
	if (!td_tp_position_read(&skip, skip_to, err))
		return false;
	e = td_tp_position_find(&skip, f->table->oid);
	good = td_tp_position_is_here(conn, &skip, err);
	if (e && e->tick > f->since)
		f->since = e->tick;
	td_tp_position_free(&skip);
	return good;
}

/* One table of the pipeline. */
static bool
follow(TdConn *conn, TdTpStream *s, const TdTableRef *ref, const TdTpPosition *from, bool alone, TdError *err)
{
	const char *schema = ref->database && ref->database[0] ? ref->database : conn->schema;
	TdTpFollowed *f = &s->followed[s->n];

	f->table = td_tp_find_table(conn, &s->tables, ref, err);
	if (f->table == NULL)
		return err->sqlstate[0] == '\0' && td_tp_explain_missing(conn, schema, ref->table, err);
	s->n++;
	f->table->schema.table_id = s->n;
	f->sql = make_sql(f->table, alone, err);
	return f->sql && find_start(conn, f, from, ref->skip_to, err);
}

/* By oid. */
static int
compare_entries(const void *a, const void *b)
{
	uint32_t	x = ((const TdTpEntry *) a)->view;
	uint32_t	y = ((const TdTpEntry *) b)->view;

	return x < y ? -1 : x > y;
}

/* The views that are followed as a position, and as the statement that asks where they are. */
static bool
describe(TdConn *conn, TdTpStream *s, TdError *err)
{
	TdTpPosition *p = &s->position;
	char		oid[16];

	p->v = calloc((size_t) s->n + 1, sizeof(TdTpEntry));
	if (p->v == NULL)
		return td_error_set(err, "53200", "out of memory");
	memcpy(p->home, conn->home, sizeof(p->home));
	for (uint32_t i = 0; i < s->n; i++)
		p->v[p->n++] = (TdTpEntry) {s->followed[i].table->oid, s->followed[i].since};
	qsort(p->v, p->n, sizeof(TdTpEntry), compare_entries);
	for (uint32_t i = 0; i < s->n; i++)
	{
		snprintf(oid, sizeof(oid), "%s%u", i ? "," : "", s->followed[i].table->oid);
		td_buffer_append(&s->text, oid, strlen(oid));
	}
	td_buffer_append(&s->text, "", 1);
	s->ticks_sql = s->text.failed ? NULL : td_tp_text(err, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
													  "SELECT view::oid, tick, changes_from FROM tapdata.feeds WHERE view::oid = ANY ('{%s}')", (const char *) s->text.data);
	return s->ticks_sql != NULL || td_error_set(err, "53200", "out of memory");
}

/* A standby can't. */
static bool
listen_to_source(TdConn *conn, TdTpStream *s, TdError *err)
{
	s->look_every = (int) td_config_int(conn->config, "poll_interval", 1000);
	if (td_tp_run(conn, err, "LISTEN tapdata_changes"))
		return true;
	if (strcmp(err->sqlstate, "25006") != 0)
		return false;
	s->look_every = s->look_every < STANDBY_POLL_MS ? s->look_every : STANDBY_POLL_MS;
	return true;
}

/* Sets the stream up. */
static bool
begin(TdConn *conn, TdTpStream *s, const TdTpPosition *from, const TdTableRef *tables, uint32_t ntables, TdError *err)
{
	s->followed = calloc((size_t) ntables + 1, sizeof(TdTpFollowed));
	if (s->followed == NULL)
		return td_error_set(err, "53200", "out of memory");
	if (!td_tp_position_is_here(conn, from, err) || !td_tp_load_tables(conn, NULL, NULL, &s->tables, err))
		return false;
	for (uint32_t i = 0; i < ntables; i++)
		if (!follow(conn, s, &tables[i], from, ntables == 1, err))
			return false;
	s->due = true;
	s->bare = from->n > s->n;	/* others are in it, which will not move */
	s->at = INT64_MIN;
	return describe(conn, s, err) && listen_to_source(conn, s, err);
}

/* Begins to stream, see tapdata_connector.h. */
TdStatus
td_tp_stream_start(TdConn *conn, const char *position, const TdTableRef *tables, uint32_t ntables, TdError *err)
{
	TdTpPosition from;
	bool		good;

	td_tp_snapshot_free(conn);
	td_tp_stream_free(conn);
	if (!td_tp_session(conn, err) || !td_tp_position_read(&from, position, err))
		return TD_FAIL;
	conn->stream = calloc(1, sizeof(TdTpStream));
	good = conn->stream ? begin(conn, conn->stream, &from, tables, ntables, err) : td_error_set(err, "53200", "out of memory");
	td_tp_position_free(&from);
	if (good)
		return TD_OK;
	td_tp_stream_free(conn);
	return TD_FAIL;
}

/* ---- when to read ---- */

/* Is it about a view that is followed? */
static bool
concerns(const TdTpStream *s, const char *payload)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (strncmp(payload, s->followed[i].table->notice, strlen(s->followed[i].table->notice)) == 0)
			return true;
	return false;
}

/* Takes the notices that have come. */
static void
take_notices(TdConn *conn, TdTpStream *s)
{
	PGnotify   *notice;

	while ((notice = PQnotifies(conn->pg)) != NULL)
	{
		s->due = s->due || concerns(s, notice->extra);
		PQfreemem(notice);
	}
}

/* Waits for a notice, or until it is time to look.  1 = there is something to do, 0 = time is up, -1 = lost. */
static int
wait_notice(TdConn *conn, TdTpStream *s, int timeout_ms, TdError *err)
{
	int64_t		until = td_monotonic_ms() + timeout_ms;

	for (;;)
	{
		struct pollfd p = {PQsocket(conn->pg), POLLIN, 0};
		int64_t		now = td_monotonic_ms();
		int64_t		end = until < s->look_at ? until : s->look_at;

		if (!PQconsumeInput(conn->pg))
		{
			td_tp_lost(conn, "the server is gone", err);
			return -1;
		}
		take_notices(conn, s);
		s->due = s->due || now >= s->look_at;
		if (s->due || now >= until)
			return s->due;
		(void) poll(&p, 1, (int) (end - now));
	}
}

/* ---- the steps of a read ---- */

/* Sends a statement that has no rows one by one. */
static int
send_plain(TdConn *conn, TdTpStream *s, TdTpState state, const char *sql, TdError *err)
{
	s->state = state;
	s->quiet = 0;
	if (PQsendQuery(conn->pg, sql))
		return 1;
	td_tp_lost(conn, "a statement could not be sent", err);
	return -1;
}

/* The next view that moved, from `from` on; else the end of the read. */
static int
next_view(TdConn *conn, TdTpStream *s, uint32_t from, TdBuffer *out, TdError *err)
{
	char		since[32];
	const char *values[] = {since};

	for (s->current = from; s->current < s->n; s->current++)
	{
		TdTpFollowed *f = &s->followed[s->current];

		if (f->tick <= f->since)
			continue;
		snprintf(since, sizeof(since), "%lld", (long long) f->since);
		s->state = TD_TP_ROWS;
		s->quiet = 0;
		s->any = false;
		s->tick = f->since;
		return td_tp_send(conn, err, f->sql, 1, values) ? 1 : -1;
	}
	if (s->open && !td_tp_end_transaction(s, out, err))
		return -1;
	return send_plain(conn, s, TD_TP_END, "COMMIT", err);
}

/* Can the view be gone on with from where we are? */
static bool
check_tick(const TdTpFollowed *f, int64_t gone, TdError *err)
{
	if (f->since < gone)
	{
		td_error_set(err, "55000", "the source no longer keeps the changes of view %s after tick %lld", f->table->name, (long long) f->since);
		td_error_detail(err, "Those after tick %lld are kept.", (long long) gone);
		return td_tp_reload_hint(err, "At the source keep them longer, SELECT tapdata.alter_view(view, '{\"changes_kept\": \"7 days\"}'), if the pipeline stood still that long.");
	}
	if (f->tick < f->since)
	{
		td_error_set(err, "55000", "view %s of the source has had no tick %lld", f->table->name, (long long) f->since);
		td_error_detail(err, "Its last one is %lld: the source was restored from a backup, or replaced by a standby that did not have everything.", (long long) f->tick);
		return td_tp_reload_hint(err, "");
	}
	return true;
}

/* The answer to ticks_sql. */
static bool
read_ticks(TdTpStream *s, const PGresult *res, TdError *err)
{
	for (uint32_t i = 0; i < s->n; i++)
		s->followed[i].tick = -1;
	for (int row = 0; row < PQntuples(res); row++)
	{
		uint32_t	view = (uint32_t) strtoul(PQgetvalue(res, row, 0), NULL, 10);

		for (uint32_t i = 0; i < s->n; i++)
		{
			TdTpFollowed *f = &s->followed[i];

			if (f->table->oid != view || PQgetisnull(res, row, 1))
				continue;
			f->tick = strtoll(PQgetvalue(res, row, 1), NULL, 10);
			if (!check_tick(f, strtoll(PQgetvalue(res, row, 2), NULL, 10), err))
				return false;
		}
	}
	return true;
}

/* A view that is followed can't be read any more. */
static int
explain_missing(TdConn *conn, TdTpStream *s, TdError *err)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->followed[i].tick < 0 && td_tp_run(conn, err, "ROLLBACK"))
			(void) td_tp_explain_missing(conn, s->followed[i].table->schema.database, s->followed[i].table->schema.table, err);
	return -1;
}

/* All ticks are read: what now? */
static int
end_ticks(TdConn *conn, TdTpStream *s, TdBuffer *out, TdError *err)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->followed[i].tick < 0)
			return explain_missing(conn, s, err);
	return next_view(conn, s, 0, out, err);
}

/* What the server refused to the view at hand. */
static bool
rows_error(TdConn *conn, const TdTpStream *s, const PGresult *res, TdError *err)
{
	const TdSchema *view = &s->followed[s->current].table->schema;

	td_tp_result_error(conn, res, err);
	if (strcmp(err->sqlstate, "55000") == 0 || strcmp(err->sqlstate, "42703") == 0 || strcmp(err->sqlstate, "42P01") == 0)
		td_tp_reload_hint(err, "");
	return td_tp_rights_hint(conn, view->database, view->table, err);
}

/* The columns of the first result must be those that were described. */
static bool
check_columns(TdTpStream *s, const PGresult *res, TdError *err)
{
	const TdTpTable *t = s->followed[s->current].table;

	if (s->any)
		return true;
	s->any = true;
	if (PQnfields(res) == (int) t->schema.ncolumns + 3 && td_tp_same_columns(t, res, 3))
		return true;
	td_error_set(err, "55000", "the columns of view %s of the source are not those that were loaded", t->name);
	return td_tp_reload_hint(err, "");
}

/* A result of the changes of a view; takes it. */
static int
take_rows(TdConn *conn, TdTpStream *s, PGresult *res, TdBuffer *out, TdError *err)
{
	bool		good;

	if (res == NULL)
	{
		TdTpFollowed *f = &s->followed[s->current];

		if (!td_tp_end_view(s, out, err))
			return -1;
		s->due = s->due || f->since < f->tick;	/* there was a limit */
		return next_view(conn, s, s->current + 1, out, err);
	}
	if (PQresultStatus(res) == PGRES_SINGLE_TUPLE && check_columns(s, res, err))
		return td_tp_take_change(s, res, out, err) ? 1 : -1;
	good = PQresultStatus(res) == PGRES_TUPLES_OK && check_columns(s, res, err);
	if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_SINGLE_TUPLE)
		good = rows_error(conn, s, res, err);
	PQclear(res);
	return good ? 1 : -1;
}

/* A result of BEGIN and ticks, or of COMMIT; takes it. */
static int
take_plain(TdConn *conn, TdTpStream *s, PGresult *res, TdBuffer *out, TdError *err)
{
	bool		good = true;

	if (res == NULL && s->state == TD_TP_TICKS)
		return end_ticks(conn, s, out, err);
	if (res == NULL)
		s->state = TD_TP_QUIET;
	else if (PQresultStatus(res) == PGRES_TUPLES_OK)
		good = read_ticks(s, res, err);
	else if (PQresultStatus(res) != PGRES_COMMAND_OK)
		good = td_tp_result_error(conn, res, err);
	PQclear(res);
	return good ? 1 : -1;
}

/* How long the present answer may take. */
static int
patience(const TdConn *conn, const TdTpStream *s)
{
	if (s->state != TD_TP_ROWS)
		return SILENCE_MS < td_tp_read_timeout(conn) ? SILENCE_MS : td_tp_read_timeout(conn);
	return s->any ? td_tp_read_timeout(conn) : PREPARE_MS;
}

/* One step.  1 = something happened, 0 = nothing within the time, -1 = error. */
static int
step(TdConn *conn, TdTpStream *s, int timeout_ms, TdBuffer *out, TdError *err)
{
	PGresult   *res;
	int			rc;

	if (s->copies != 0)
		return td_tp_write_copies(s, out, err) ? 1 : -1;
	if (s->state == TD_TP_QUIET)
	{
		rc = wait_notice(conn, s, timeout_ms, err);
		if (rc <= 0)
			return rc;
		s->due = false;
		s->look_at = td_monotonic_ms() + s->look_every;
		return send_plain(conn, s, TD_TP_TICKS, s->ticks_sql, err);
	}
	rc = td_tp_wait(conn, timeout_ms, err);
	s->quiet = rc == 0 ? s->quiet + timeout_ms : 0;
	if (rc == 0 && s->quiet > patience(conn, s))
	{
		td_tp_lost(conn, "no answer from the source", err);
		return -1;
	}
	if (rc <= 0)
		return rc;
	res = PQgetResult(conn->pg);
	return s->state == TD_TP_ROWS ? take_rows(conn, s, res, out, err) : take_plain(conn, s, res, out, err);
}

/* Appends what has come, see tapdata_connector.h. */
TdStatus
td_tp_stream_poll(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err)
{
	TdTpStream *s = conn->stream;
	int64_t		until = td_monotonic_ms() + timeout_ms;
	int			rc = 1;

	if (s == NULL)
	{
		td_error_set(err, "55000", "no stream was started");
		return TD_FAIL;
	}
	if (s->bare && s->failure.sqlstate[0] == '\0')
		rc = td_tp_end_transaction(s, out, &s->failure) ? 1 : -1;
	while (rc > 0 && s->failure.sqlstate[0] == '\0' && out->len < TD_TP_BATCH)
	{
		int64_t		left = until - td_monotonic_ms();

		rc = step(conn, s, out->len > 0 || left < 0 ? 0 : (int) left, out, &s->failure);
	}
	if (out->failed)
		td_error_set(&s->failure, "53200", "out of memory");
	if (out->len > 0 && !out->failed)
		return TD_OK;
	if (s->failure.sqlstate[0] == '\0')
		return TD_AGAIN;
	*err = s->failure;
	return TD_FAIL;
}
