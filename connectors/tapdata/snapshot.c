/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *		The initial load of one view.
 *
 * NOTES
 *		With a key: statements of at most chunk_rows rows in key order, each its
 *		own short snapshot, so that nothing at the source is held back by a long
 *		load and the key of any row is where to go on; the stream begins at a
 *		position from before, and brings all of it to one moment.  Without a key:
 *		rows and tick in one REPEATABLE READ transaction, whose position is told.
 *
 *		Rows come one by one: no result is ever held as a whole.
 *
 * connectors/tapdata/snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "tapdata_internal.h"

#define TABLE_ID 1
#define KEYS_MAX 32				/* an index has no more columns */

typedef struct TdTpSnapshot
{
	TdTpTables	tables;
	TdTpTable  *table;
	TdBuffer	scratch;
	TdBuffer	cursor;			/* after the last row, NUL at its end */
	int64_t		limit;			/* rows still wanted, -1 = all */
	int64_t		statement_limit;	/* -1 = none */
	int64_t		statement_rows;
	size_t		since_chunk;	/* bytes written since the last CHUNK */
	int64_t		quiet;			/* milliseconds waited since a row came */
	bool		schema_written;
	bool		described;		/* the statement's columns were compared */
	bool		done;
} TdTpSnapshot;

/* A result left in the middle makes the session useless. */
void
td_tp_snapshot_free(TdConn *conn)
{
	TdTpSnapshot *s = conn->snapshot;

	if (s == NULL)
		return;
	if (!s->done)
		conn->busy = true;
	td_tp_free_tables(&s->tables);
	td_buffer_free(&s->scratch);
	td_buffer_free(&s->cursor);
	free(s);
	conn->snapshot = NULL;
}

/* printf at the end of a text; NULL = no memory. */
#define APPEND(text, ...) \
	do { char *longer = text ? td_tp_text(err, __VA_ARGS__) : NULL; free(text); text = longer; } while (0)

/* SELECT the columns, and the key as texts, after `after` keys (parameters). */
static char *
make_sql(const TdTpSnapshot *s, bool after, TdError *err)
{
	const TdTpTable *t = s->table;
	const TdSchema *schema = &t->schema;
	char	   *sql = td_tp_text(err, "SELECT ");

	for (uint32_t i = 0; i < schema->ncolumns; i++)
		APPEND(sql, "%s%sv.%s", sql, i ? ", " : "", td_tp_column_quoted(t, i));
	for (uint32_t k = 0; k < schema->nkeys; k++)
		APPEND(sql, "%s, v.%s::text", sql, td_tp_column_quoted(t, schema->keys[k]));
	APPEND(sql, "%s FROM %s v", sql, t->name);
	for (uint32_t k = 0; after && k < schema->nkeys; k++)
		APPEND(sql, "%s%sv.%s", sql, k ? ", " : " WHERE (", td_tp_column_quoted(t, schema->keys[k]));
	for (uint32_t k = 0; after && k < schema->nkeys; k++)
		APPEND(sql, "%s%s$%u::%s", sql, k ? ", " : ") > (", k + 1, td_tp_column_type(t, schema->keys[k]));
	APPEND(sql, "%s%s", sql, after ? ")" : "");
	for (uint32_t k = 0; k < schema->nkeys; k++)
		APPEND(sql, "%s%sv.%s", sql, k ? ", " : " ORDER BY ", td_tp_column_quoted(t, schema->keys[k]));
	if (s->statement_limit >= 0)
		APPEND(sql, "%s LIMIT %lld", sql, (long long) s->statement_limit);
	return sql;
}

/* The values of a cursor, "3:abc,2:42": each with its length.  NUL-terminated in place, in a copy. */
static bool
split_cursor(const TdTpTable *t, const char *cursor, TdBuffer *copy, const char **values, TdError *err)
{
	char	   *p;
	bool		good = t->schema.nkeys > 0 && t->schema.nkeys <= KEYS_MAX;

	td_buffer_reset(copy);
	td_buffer_append(copy, cursor, strlen(cursor) + 1);
	if (copy->failed)
		return td_error_set(err, "53200", "out of memory");
	p = (char *) copy->data;
	for (uint32_t k = 0; good && k < t->schema.nkeys; k++)
	{
		char	   *text;
		unsigned long len = strtoul(p, &text, 10);

		good = text > p && *text == ':' && len <= strlen(text + 1) && text[1 + len] == (k + 1 < t->schema.nkeys ? ',' : '\0');
		if (!good)
			break;
		values[k] = text + 1;
		p = text + 1 + len;
		if (*p)
			*p++ = '\0';
	}
	if (good)
		return true;
	td_error_set(err, "22P02", "invalid cursor for view %s: \"%.100s\"", t->name, cursor);
	return td_tp_reload_hint(err, "The view's key may have changed.");
}

/* The cursor that stands after this row, from the texts behind its columns. */
static void
note_cursor(TdTpSnapshot *s, const PGresult *res)
{
	const TdSchema *schema = &s->table->schema;
	char		head[32];

	td_buffer_reset(&s->cursor);
	for (uint32_t k = 0; k < schema->nkeys; k++)
	{
		int			column = (int) (schema->ncolumns + k);

		snprintf(head, sizeof(head), "%s%d:", k ? "," : "", PQgetlength(res, 0, column));
		td_buffer_append(&s->cursor, head, strlen(head));
		td_buffer_append(&s->cursor, PQgetvalue(res, 0, column), (size_t) PQgetlength(res, 0, column));
	}
	td_buffer_append(&s->cursor, "", 1);
}

/* Sends the next statement. */
static bool
start_statement(TdConn *conn, TdTpSnapshot *s, const char *cursor, TdError *err)
{
	int64_t		chunk = td_config_int(conn->config, "chunk_rows", 50000);
	const char *values[KEYS_MAX];
	TdBuffer	copy = {0};
	char	   *sql = NULL;
	bool		sent = false;

	s->statement_limit = s->limit;
	if (s->table->schema.nkeys > 0 && (s->limit < 0 || s->limit > chunk))
		s->statement_limit = chunk;
	s->statement_rows = 0;
	s->described = false;
	if (!cursor[0] || split_cursor(s->table, cursor, &copy, values, err))
		sql = make_sql(s, cursor[0] != '\0', err);
	if (sql)
		sent = td_tp_send(conn, err, sql, cursor[0] ? (int) s->table->schema.nkeys : 0, values);
	free(sql);
	td_buffer_free(&copy);
	return sent;
}

/* One transaction for tick and rows. */
static bool
begin_keyless(TdConn *conn, TdTpSnapshot *s, char **position, TdError *err)
{
	TdTpPosition p = {.n = 1};
	TdTpEntry	entry = {s->table->oid};
	TdBuffer	text = {0};
	char	   *sql = td_tp_text(err, "SELECT tapdata.view_tick(%u::oid::regclass)", s->table->oid);
	PGresult   *res = NULL;

	if (sql && td_tp_run(conn, err, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
		res = td_tp_query(conn, err, sql, 0, NULL);
	free(sql);
	if (res == NULL)
		return false;
	memcpy(p.home, conn->home, sizeof(p.home));
	entry.tick = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	p.v = &entry;
	PQclear(res);
	td_tp_position_write(&p, &text);
	*position = text.failed ? NULL : strdup((char *) text.data);
	td_buffer_free(&text);
	return *position != NULL || td_error_set(err, "53200", "out of memory");
}

/* Finds the view. */
static bool
load_table(TdConn *conn, TdTpSnapshot *s, const TdTableRef *ref, TdError *err)
{
	const char *schema = ref->database && ref->database[0] ? ref->database : conn->schema;

	if (!td_tp_load_tables(conn, schema, ref->table, &s->tables, err))
		return false;
	s->table = td_tp_find_table(conn, &s->tables, ref, err);
	if (s->table == NULL)
		return err->sqlstate[0] == '\0' && td_tp_explain_missing(conn, schema, ref->table, err);
	s->table->schema.table_id = TABLE_ID;
	return true;
}

/* Begins to read a view, see tapdata_connector.h. */
TdStatus
td_tp_snapshot_start(TdConn *conn, const TdTableRef *ref, const char *cursor, int64_t limit, char **position, TdError *err)
{
	TdTpSnapshot *s;

	*position = NULL;
	td_tp_snapshot_free(conn);
	td_tp_stream_free(conn);
	if (!td_tp_session(conn, err))
		return TD_FAIL;
	s = conn->snapshot = calloc(1, sizeof(TdTpSnapshot));
	if (s == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	s->limit = limit < 0 ? -1 : limit;
	if (load_table(conn, s, ref, err) && (s->table->schema.nkeys > 0 || begin_keyless(conn, s, position, err)) &&
		start_statement(conn, s, cursor ? cursor : "", err))
		return TD_OK;
	free(*position);
	*position = NULL;
	td_tp_snapshot_free(conn);
	return TD_FAIL;
}

/* Closes a chunk: what is before it can be committed. */
static void
write_chunk(TdTpSnapshot *s, TdBuffer *out)
{
	if (s->table->schema.nkeys > 0 && s->since_chunk > 0)
		td_write_chunk(out, TABLE_ID, (const char *) s->cursor.data);
	s->since_chunk = 0;
}

/* One row. */
static bool
take_row(TdTpSnapshot *s, const PGresult *res, TdBuffer *out, TdError *err)
{
	size_t		before = out->len;

	td_write_begin(out, TD_OP_INSERT, TABLE_ID);
	if (!td_tp_put_row(out, s->table, res, 0, &s->scratch, err))
		return false;
	td_write_end(out);
	note_cursor(s, res);
	if (s->cursor.failed)
		return td_error_set(err, "53200", "out of memory");
	s->statement_rows++;
	s->since_chunk += out->len - before;
	return true;
}

/* The statement has ended: the next one, or the end of the view. */
static bool
end_statement(TdConn *conn, TdTpSnapshot *s, TdBuffer *out, TdError *err)
{
	bool		more = s->table->schema.nkeys > 0 && s->statement_rows == s->statement_limit;

	write_chunk(s, out);
	if (s->limit >= 0)
		s->limit -= s->statement_rows;
	if (more && s->limit != 0)
		return start_statement(conn, s, (const char *) s->cursor.data, err);
	s->done = true;
	td_write_end_of_table(out, TABLE_ID);
	return s->table->schema.nkeys > 0 || td_tp_run(conn, err, "COMMIT");
}

/* Compares the columns of the first result with those that were described. */
static bool
check_columns(TdTpSnapshot *s, const PGresult *res, TdError *err)
{
	const TdSchema *schema = &s->table->schema;

	if (s->described)
		return true;
	s->described = true;
	if (PQnfields(res) == (int) (schema->ncolumns + schema->nkeys) && td_tp_same_columns(s->table, res, 0))
		return true;
	return td_error_set(err, "40001", "view %s changed while it was read", s->table->name);
}

/* What has come of the statement, NULL = its end. */
static bool
take_result(TdConn *conn, TdTpSnapshot *s, PGresult *res, TdBuffer *out, TdError *err)
{
	switch (res ? PQresultStatus(res) : PGRES_EMPTY_QUERY)
	{
		case PGRES_EMPTY_QUERY:
			return end_statement(conn, s, out, err);
		case PGRES_SINGLE_TUPLE:
			return check_columns(s, res, err) && take_row(s, res, out, err);
		case PGRES_TUPLES_OK:
			return check_columns(s, res, err);
		default:
			return td_tp_result_error(conn, res, err);
	}
}

/* Reads on, see tapdata_connector.h. */
TdStatus
td_tp_snapshot_read(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err)
{
	TdTpSnapshot *s = conn->snapshot;

	if (s == NULL || s->done)
		return TD_DONE;
	if (!s->schema_written)
		td_write_schema(out, &s->table->schema);
	s->schema_written = true;
	while (!s->done && s->since_chunk < TD_TP_BATCH)
	{
		int			rc = td_tp_wait(conn, timeout_ms, err);
		PGresult   *res;
		bool		good;

		s->quiet = rc == 0 ? s->quiet + timeout_ms : 0;
		if (s->quiet > td_tp_read_timeout(conn))
			rc = td_tp_lost(conn, "no answer within read_timeout", err) ? 1 : -1;
		if (rc == 0)
			return out->len ? TD_OK : TD_AGAIN;
		if (rc < 0)
			return TD_FAIL;
		res = PQgetResult(conn->pg);
		good = take_result(conn, s, res, out, err);
		PQclear(res);
		if (!good)
			return TD_FAIL;
	}
	if (!s->done)
		write_chunk(s, out);
	if (!out->failed)
		return s->done ? TD_DONE : TD_OK;
	td_error_set(err, "53200", "out of memory");
	return TD_FAIL;
}
