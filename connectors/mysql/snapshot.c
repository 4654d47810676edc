/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *		The initial load of one table.
 *
 * NOTES
 *		With a key: statements of at most chunk_rows rows (fewer where rows are
 *		wide), each its own short read without locks, in key order, so that the
 *		key of any row is where to go on.  Without: one statement in one
 *		consistent snapshot whose position is told.
 *
 *		Rows come by the binary protocol, floats therefore exact, and are
 *		decoded in the reader's buffer: nothing is allocated for a row.
 *
 * connectors/mysql/snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "mysql_internal.h"

#define STATEMENT_BYTES (64 * 1024 * 1024)	/* a statement's rows, by their average size */
#define STATEMENT_MIN 100
#define LENENC 0				/* sizes of a value in a binary row: a length in front, */
#define TEMPORAL 255			/* a length of one byte in front, or a fixed size */

typedef struct TdMySnapshot
{
	TdMyTables	tables;
	TdMyTable  *table;
	TdMyReader	reader;
	TdMyPut		put;
	TdBuffer	sql;
	TdBuffer	cursor;			/* after the last row of the statement, NUL at its end */
	int64_t		limit;			/* rows still wanted, -1 = all */
	uint64_t	statement_limit;	/* 0 = none */
	uint64_t	statement_rows;
	uint64_t	rows;			/* read so far, and their bytes */
	uint64_t	bytes;
	size_t		since_chunk;	/* bytes written since the last CHUNK */
	int64_t		quiet;			/* milliseconds waited since a packet came */
	uint32_t	statement;		/* the source's number of it */
	uint8_t    *types;			/* of the columns of the statement */
	uint8_t    *sizes;
	bool		schema_written;
	bool		in_result;
	bool		done;
} TdMySnapshot;

/* Frees the load; a result left in the middle makes the session useless. */
void
td_my_snapshot_free(TdConn *conn)
{
	TdMySnapshot *s = conn->snapshot;

	if (s == NULL)
		return;
	if (s->in_result)
		conn->busy = true;
	td_my_reader_close(&s->reader);
	td_my_free_tables(&s->tables);
	td_buffer_free(&s->put.scratch);
	td_buffer_free(&s->sql);
	td_buffer_free(&s->cursor);
	free(s);
	conn->snapshot = NULL;
}

/* Rows of the next statement; 0 = all. */
static uint64_t
next_limit(TdConn *conn, TdMySnapshot *s)
{
	uint64_t	n = conn->options.chunk_rows;
	uint64_t	width = s->rows ? s->bytes / s->rows : (uint64_t) (s->table->row_bytes > 0 ? s->table->row_bytes : 0);

	if (s->table->schema.nkeys == 0)
		return s->limit < 0 ? 0 : (uint64_t) s->limit;
	if (width > 0 && STATEMENT_BYTES / width < n)
		n = STATEMENT_BYTES / width > STATEMENT_MIN ? STATEMENT_BYTES / width : STATEMENT_MIN;
	return s->limit >= 0 && (uint64_t) s->limit < n ? (uint64_t) s->limit : n;
}

/* Appends a column as it is read: enum and set by number. */
static void
append_column(TdBuffer *sql, const TdMyColumn *c)
{
	bool		number = c->kind == TD_MY_ENUM || c->kind == TD_MY_SET;

	td_my_append(sql, number ? "CAST(t." : "t.");
	td_my_append_name(sql, c->td->name);
	td_my_append(sql, number ? " AS UNSIGNED)" : "");
}

/* Makes the next statement's text. */
static bool
make_sql(TdConn *conn, TdMySnapshot *s, const char *cursor, TdError *err)
{
	const TdSchema *schema = &s->table->schema;
	TdBuffer   *sql = &s->sql;

	td_buffer_reset(sql);
	for (uint32_t i = 0; i < schema->ncolumns; i++)
	{
		td_my_append(sql, i ? ", " : "SELECT ");
		append_column(sql, &s->table->columns[i]);
	}
	td_my_append(sql, " FROM ");
	td_my_append_name(sql, schema->database);
	td_my_append(sql, ".");
	td_my_append_name(sql, schema->table);
	td_my_append(sql, schema->nkeys ? " AS t FORCE INDEX (PRIMARY)" : " AS t");
	if (cursor[0] && !td_my_cursor_where(s->table, cursor, sql, err))
		return false;
	for (uint32_t i = 0; i < schema->nkeys; i++)
	{
		td_my_append(sql, i ? ", t." : " ORDER BY t.");
		td_my_append_name(sql, schema->columns[schema->keys[i]].name);
	}
	s->statement_limit = next_limit(conn, s);
	if (schema->nkeys || s->limit >= 0)
		td_my_append(sql, " LIMIT %llu", (unsigned long long) s->statement_limit);
	return !sql->failed || td_error_set(err, "53200", "out of memory");
}

/* Sends a command whose answer we read ourselves. */
static bool
send_command(MYSQL *mysql, enum enum_server_command command, const void *data, size_t len, TdError *err)
{
	if (mysql->methods->db_command(mysql, command, data, len, 1, NULL) == 0)
		return true;
	return td_my_error(err, mysql_errno(mysql), mysql_error(mysql));
}

/* The next packet of an answer that must come; an error packet is an error. */
static bool
must_read(TdConn *conn, TdMySnapshot *s, TdBytes *packet, TdError *err)
{
	int			rc = td_my_reader_next(&s->reader, (int) conn->options.read_timeout * 1000, packet, err);

	if (rc == 0)
		return td_my_lost(err, "no answer within read_timeout");
	if (rc < 0)
		return false;
	if (packet->len == 0)
		return td_my_damaged(err, "answer");
	return packet->data[0] != 0xFF || td_my_packet_error(*packet, err);
}

/* Notes type and size of a column of the result; its description ends in a part of fixed length. */
static bool
note_column(TdMySnapshot *s, uint32_t i, TdBytes packet, TdError *err)
{
	static const uint8_t sizes[] = {0, 1, 2, 4, 4, 8, 0, TEMPORAL, 8, 4, TEMPORAL, TEMPORAL, TEMPORAL, 2};
	uint8_t		type;

	if (packet.len < 24)
		return td_my_damaged(err, "column description");
	type = packet.data[packet.len - 6];
	s->types[i] = type;
	s->sizes[i] = type < sizeof(sizes) ? sizes[type] : LENENC;
	return true;
}

/* What a value must look like in a binary row, by the kind of its column: a surprise is an error, not a guess. */
static bool
check_size(const TdMyColumn *c, uint8_t size)
{
	switch (c->kind)
	{
		case TD_MY_INT:
		case TD_MY_YEAR:
		case TD_MY_ENUM:
		case TD_MY_SET:
			return size == 1 || size == 2 || size == 4 || size == 8;
		case TD_MY_FLOAT:
			return size == 4;
		case TD_MY_DOUBLE:
			return size == 8;
		case TD_MY_DATE:
		case TD_MY_DATETIME:
		case TD_MY_TIMESTAMP:
		case TD_MY_TIME:
			return size == TEMPORAL;
		default:
			return size == LENENC;
	}
}

/* Reads column descriptions and the EOF behind them. */
static bool
read_columns(TdConn *conn, TdMySnapshot *s, uint64_t n, TdError *err)
{
	TdBytes		packet;

	if (n != s->table->schema.ncolumns)
		return td_my_damaged(err, "answer: the number of columns");
	for (uint32_t i = 0; i < n; i++)
	{
		if (!must_read(conn, s, &packet, err) || !note_column(s, i, packet, err))
			return false;
		if (!check_size(&s->table->columns[i], s->sizes[i]))
		{
			td_error_set(err, "40001", "table \"%s.%s\" changed while it was read", s->table->schema.database, s->table->schema.table);
			return td_error_detail(err, "column %u came with type code %u", i + 1, s->types[i]);
		}
	}
	return must_read(conn, s, &packet, err);
}

/* Sends the statement and reads up to its first row. */
static bool
start_statement(TdConn *conn, TdMySnapshot *s, TdError *err)
{
	MYSQL	   *mysql = conn->mysql;
	uint8_t		execute[9] = {0};
	TdBytes		packet;
	TdReader	r;
	uint64_t	n;

	s->in_result = true;
	if (!send_command(mysql, COM_STMT_PREPARE, s->sql.data, s->sql.len, err))
		return false;
	if (s->reader.buf == NULL && !td_my_reader_open(&s->reader, mysql, false, err))
		return false;
	if (!must_read(conn, s, &packet, err))
		return false;
	if (packet.len < 12)
		return td_my_damaged(err, "answer");
	s->statement = (uint32_t) td_little(packet.data + 1, 4);
	if (!read_columns(conn, s, td_little(packet.data + 5, 2), err))
		return false;
	memcpy(execute, &s->statement, 4);
	execute[5] = 1;
	if (!send_command(mysql, COM_STMT_EXECUTE, execute, sizeof(execute), err) || !must_read(conn, s, &packet, err))
		return false;
	r.p = packet.data;
	r.end = packet.data + packet.len;
	if (!td_my_lenenc(&r, &n) || n != s->table->schema.ncolumns)
		return td_my_damaged(err, "answer: the number of columns");

	/* one byte more says whether descriptions follow, or those of PREPARE still hold */
	if (r.p < r.end && *r.p == 0)
		return must_read(conn, s, &packet, err);
	return read_columns(conn, s, n, err);
}

/* Takes a value out of a binary row. */
static inline const uint8_t *
take_binary(TdReader *r, uint8_t size, size_t *len)
{
	const uint8_t *p;
	uint64_t	n;

	if (size == LENENC)
	{
		if (td_unlikely(!td_my_lenenc(r, &n)))
			return NULL;
		*len = n;
		return td_my_take(r, n);
	}
	if (size != TEMPORAL)
	{
		*len = size;
		return td_my_take(r, size);
	}
	p = td_my_take(r, 1);
	if (td_unlikely(p == NULL))
		return NULL;
	*len = *p;
	return td_my_take(r, *p);
}

/* A date or time: 0, 4, 7 or 11 bytes. */
static bool
put_date(TdMyPut *put, const uint8_t *p, size_t len)
{
	TdMyDate	d = {0};

	if (len >= 4)
	{
		d.year = (unsigned) td_little(p, 2);
		d.month = p[2];
		d.day = p[3];
	}
	if (put->column->kind == TD_MY_DATE)
		return td_my_put_date(put, &d);
	if (len >= 7)
	{
		d.hour = p[4];
		d.minute = p[5];
		d.second = p[6];
	}
	if (len >= 11)
		d.usec = (unsigned) td_little(p + 7, 4);
	return td_my_put_datetime(put, &d);
}

/* A time: 0, 8 or 12 bytes. */
static bool
put_time(TdMyPut *put, const uint8_t *p, size_t len)
{
	if (len < 8)
		return td_my_put_time(put, false, 0, 0, 0, 0);
	return td_my_put_time(put, p[0], (unsigned) td_little(p + 1, 4) * 24 + p[5], p[6], p[7],
						  len >= 12 ? (unsigned) td_little(p + 8, 4) : 0);
}

/* An integer in the size it came with. */
static inline uint64_t
little(const uint8_t *p, size_t len)
{
	uint64_t	v = 0;

	switch (len)
	{
		case 8:
			memcpy(&v, p, 8);
			return v;
		case 4:
			memcpy(&v, p, 4);
			return v;
		default:
			return td_little(p, (unsigned) len);
	}
}

/* Writes one value. */
static inline bool
put_value(TdMyPut *put, const uint8_t *p, size_t len)
{
	float		f;
	double		d;

	switch (put->column->kind)
	{
		case TD_MY_INT:
		case TD_MY_YEAR:
			return td_my_put_int(put, little(p, len), (unsigned) len);
		case TD_MY_TEXT:
		case TD_MY_JSON:
			return td_my_put_text(put, p, len);
		case TD_MY_BYTES:
			return td_my_put_bytes(put, p, len);
		case TD_MY_DECIMAL:
			return td_my_put_decimal(put, (const char *) p, len);
		case TD_MY_DATE:
		case TD_MY_DATETIME:
		case TD_MY_TIMESTAMP:
			return put_date(put, p, len);
		case TD_MY_TIME:
			return put_time(put, p, len);
		case TD_MY_FLOAT:
			memcpy(&f, p, sizeof(f));
			td_put_float4(put->out, f);
			return true;
		case TD_MY_DOUBLE:
			memcpy(&d, p, sizeof(d));
			td_put_float8(put->out, d);
			return true;
		case TD_MY_BIT:
			return td_my_put_bit(put, p, len);
		case TD_MY_ENUM:
			return td_my_put_enum(put, little(p, len));
		case TD_MY_SET:
			return td_my_put_set(put, little(p, len));
		case TD_MY_UUID:
			return td_my_put_uuid_text(put, (const char *) p, len);
		default:
			return td_my_refuse(put, "XX000", "a value of a type that is not read");
	}
}

/* Writes one row.  1 = done, 0 = a value was refused (tolerant: it becomes NULL), -1 = damaged. */
static int
write_row(TdMyPut *put, const TdMySnapshot *s, TdBytes packet, bool tolerant)
{
	const TdMyTable *t = s->table;
	uint32_t	n = t->schema.ncolumns;
	TdReader	r = {packet.data + 1, packet.data + packet.len};
	const uint8_t *nulls = td_my_take(&r, (n + 9) / 8);

	if (nulls == NULL)
		return -1;
	td_write_row(put->out, n);
	for (uint32_t i = 0; i < n; i++)
	{
		const uint8_t *p;
		size_t		len;

		if (nulls[(i + 2) / 8] >> ((i + 2) % 8) & 1)
		{
			td_put_state(put->out, TD_NULL);
			continue;
		}
		p = take_binary(&r, s->sizes[i], &len);
		if (td_unlikely(p == NULL))
			return -1;
		put->column = &t->columns[i];
		if (td_likely(put_value(put, p, len)))
			continue;
		if (!tolerant)
			return 0;
		td_put_state(put->out, TD_NULL);
	}
	td_write_row_end(put->out);
	return 1;
}

/* The error of a row that was refused: it is read once more, without what can't be. */
static bool
refuse_row(TdMySnapshot *s, TdBytes packet, TdError *err)
{
	TdMyPut		again = {0};
	TdBuffer	b = {0};
	TdReader	r;
	TdRecord	rec = {0};

	again.out = &b;
	td_write_begin(&b, TD_OP_INSERT, 1);
	write_row(&again, s, packet, true);
	td_write_end(&b);
	r.p = b.data;
	r.end = b.data + b.len;
	td_read_record(&r, &rec);
	td_my_row_error(&s->put, s->table, rec.new_row, err);
	td_buffer_free(&again.scratch);
	td_buffer_free(&b);
	return false;
}

/* Makes the cursor that stands after this row. */
static bool
make_cursor(TdMySnapshot *s, TdBytes packet, TdError *err)
{
	const TdSchema *schema = &s->table->schema;

	td_buffer_reset(&s->cursor);
	for (uint32_t k = 0; k < schema->nkeys; k++)
	{
		TdReader	r = {packet.data + 1, packet.data + packet.len};
		const uint8_t *nulls = td_my_take(&r, (schema->ncolumns + 9) / 8);
		const uint8_t *p = nulls;
		size_t		len = 0;

		for (uint32_t i = 0; p && i <= schema->keys[k]; i++)
			if (!(nulls[(i + 2) / 8] >> ((i + 2) % 8) & 1))
				p = take_binary(&r, s->sizes[i], &len);
		if (p == NULL)
			return td_my_damaged(err, "row");
		td_my_cursor_add(&s->table->columns[schema->keys[k]], k == 0, s->types[schema->keys[k]], p, len, &s->cursor);
	}
	td_buffer_append(&s->cursor, "", 1);
	return !s->cursor.failed || td_error_set(err, "53200", "out of memory");
}

/* One row of the result.  *full = a megabyte is together, and its CHUNK written. */
static bool
read_row(TdMySnapshot *s, TdBytes packet, TdBuffer *out, bool *full, TdError *err)
{
	size_t		before = out->len;
	bool		keyed = s->table->schema.nkeys > 0;
	int			rc;

	s->put.out = out;
	td_write_begin(out, TD_OP_INSERT, s->table->schema.table_id);
	rc = write_row(&s->put, s, packet, false);
	if (td_unlikely(rc <= 0))
	{
		td_write_cancel(out);
		return rc < 0 ? td_my_damaged(err, "row") : refuse_row(s, packet, err);
	}
	td_write_end(out);
	s->statement_rows++;
	s->rows++;
	s->bytes += packet.len;
	s->since_chunk += out->len - before;
	*full = s->since_chunk >= TD_MY_BATCH;
	if (keyed && (*full || s->statement_rows == s->statement_limit) && !make_cursor(s, packet, err))
		return false;
	if (!*full)
		return true;
	s->since_chunk = 0;
	if (keyed)
		td_write_chunk(out, s->table->schema.table_id, (const char *) s->cursor.data);
	return true;
}

/* The statement has ended: the next one, or the end of the table. */
static bool
end_statement(TdConn *conn, TdMySnapshot *s, TdBuffer *out, TdError *err)
{
	bool		more = s->table->schema.nkeys && s->statement_rows == s->statement_limit;

	s->in_result = false;
	if (!send_command(conn->mysql, COM_STMT_CLOSE, &s->statement, 4, err))
		return false;
	if (s->limit >= 0)
		s->limit -= (int64_t) s->statement_rows;
	if (more && s->limit != 0)
	{
		s->statement_rows = 0;
		return make_sql(conn, s, (const char *) s->cursor.data, err) && start_statement(conn, s, err);
	}
	s->done = true;
	td_write_end_of_table(out, s->table->schema.table_id);
	return s->table->schema.nkeys || td_my_run(conn->mysql, err, "COMMIT");
}

/* Finds the table and takes care that it can be read. */
static bool
load_table(TdConn *conn, TdMySnapshot *s, const TdTableRef *ref, TdError *err)
{
	const char *database = ref->database && ref->database[0] ? ref->database : conn->options.database;

	if (!td_my_load_tables(conn, database ? database : "", ref->table, false, &s->tables, err))
		return false;
	s->table = td_my_find_table(&s->tables, database ? database : "", ref->table);
	if (s->table == NULL || s->table->schema.ncolumns == 0)
	{
		td_error_set(err, "42P01", "table \"%s.%s\" does not exist at the source, or may not be read", database ? database : "", ref->table);
		return td_error_hint(err, "At the source: GRANT SELECT ON `%s`.* TO the user of the connection.", database ? database : "");
	}
	if (s->table->problem.sqlstate[0])
	{
		*err = s->table->problem;
		return false;
	}
	s->table->schema.table_id = 1;
	s->types = td_arena_alloc(&s->tables.arena, s->table->schema.ncolumns);
	s->sizes = td_arena_alloc(&s->tables.arena, s->table->schema.ncolumns);
	return !s->tables.arena.failed || td_error_set(err, "53200", "out of memory");
}

/* Begins to read a table, see tapdata_connector.h. */
TdStatus
td_my_snapshot_start(TdConn *conn, const TdTableRef *ref, const char *cursor, int64_t limit, char **position, TdError *err)
{
	TdMySnapshot *s;

	*position = NULL;
	td_my_snapshot_free(conn);
	td_my_stream_free(conn);
	s = conn->snapshot = calloc(1, sizeof(TdMySnapshot));
	if (s == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	s->limit = limit < 0 ? -1 : limit;
	if (load_table(conn, s, ref, err) &&
		(s->table->schema.nkeys || td_my_take_snapshot(conn->mysql, position, err)) &&
		make_sql(conn, s, cursor ? cursor : "", err) && start_statement(conn, s, err))
		return TD_OK;
	free(*position);
	*position = NULL;
	conn->busy = true;
	td_my_snapshot_free(conn);
	return TD_FAIL;
}

/* One packet of the result: a row, the end, or an error. */
static bool
read_packet(TdConn *conn, TdMySnapshot *s, TdBytes packet, TdBuffer *out, bool *full, TdError *err)
{
	if (td_likely(packet.len > 0 && packet.data[0] == 0))
		return read_row(s, packet, out, full, err);
	if (packet.len > 0 && packet.data[0] == 0xFE && packet.len < 9)
		return end_statement(conn, s, out, err);
	if (packet.len > 0 && packet.data[0] == 0xFF)
		return td_my_packet_error(packet, err);
	return td_my_damaged(err, "row");
}

/* Reads on, see tapdata_connector.h. */
TdStatus
td_my_snapshot_read(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err)
{
	TdMySnapshot *s = conn->snapshot;
	bool		full = false;

	if (s == NULL || s->done)
		return TD_DONE;
	if (!s->schema_written)
		td_write_schema(out, &s->table->schema);
	s->schema_written = true;
	while (!full && !s->done)
	{
		TdBytes		packet;
		int			rc = td_my_reader_next(&s->reader, timeout_ms, &packet, err);

		s->quiet = rc == 0 ? s->quiet + timeout_ms : 0;
		if (s->quiet > (int64_t) conn->options.read_timeout * 1000)
			rc = td_my_lost(err, "no answer within read_timeout") ? 1 : -1;
		if (rc == 0)
			return out->len ? TD_OK : TD_AGAIN;
		if (rc < 0 || !read_packet(conn, s, packet, out, &full, err))
		{
			conn->busy = true;
			return TD_FAIL;
		}
	}
	if (out->failed)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	return TD_OK;
}
