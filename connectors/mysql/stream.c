/*-------------------------------------------------------------------------
 *
 * stream.c
 *		Following the binlog by GTID: whole transactions of the tables asked for.
 *
 * NOTES
 *		A group is what one GTID names: rows up to XID or COMMIT, or one
 *		statement by itself.  Its rows are written as they come; the COMMIT
 *		record closes them and carries the GTID set with this group in it.
 *		Groups without rows for us move the set on too, by one bare COMMIT for a
 *		run of them.
 *
 *		What a group can hold and this connector can't apply ends the stream
 *		with an error that names the GTID; nothing is passed over.
 *
 * connectors/mysql/stream.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "mysql_internal.h"

#define POLL_BYTES (16 * 1024 * 1024)	/* most that one poll reads */
#define LINGER 5				/* milliseconds to wait for the rest of a transaction */
#define SILENCE 15000			/* milliseconds without a heartbeat, which come every second */
#define EPOCH_2000 INT64_C(946684800)

#define GTID_STANDALONE 1
#define GTID_COMPLETED_XA 128
#define EVENT_IGNORABLE 0x80

/* ---- start ---- */

/* Frees the stream; its session can do nothing else any more. */
void
td_my_stream_free(TdConn *conn)
{
	TdMyStream *s = conn->stream;

	if (s == NULL)
		return;
	if (s->reader.buf)
		conn->busy = true;
	td_my_reader_close(&s->reader);
	for (uint32_t i = 0; s->followed && i < s->n; i++)
	{
		td_gtid_free(&s->followed[i].skip);
		free(s->followed[i].layout.wires);
		td_buffer_free(&s->followed[i].layout.seen);
	}
	for (uint32_t i = 0; i < s->nsets; i++)
		td_my_free_tables(&s->sets[i]);
	td_arena_free(&s->arena);
	td_gtid_free(&s->reached);
	td_buffer_free(&s->put.scratch);
	td_buffer_free(&s->text);
	td_buffer_free(&s->inflated);
	free(s->sets);
	free(s->followed);
	free(s->order);
	free(s->maps);
	free(s);
	conn->stream = NULL;
}

/* What the source said against streaming from here. */
static bool
dump_error(TdConn *conn, TdError *err)
{
	char		said[sizeof(err->message)];

	snprintf(said, sizeof(said), "%s", err->message);
	if (strcmp(err->sqlstate, "42501") == 0)
		td_my_grant_hint(err, conn, "REPLICATION SLAVE, BINLOG MONITOR", "*.*");
	if (strcmp(err->sqlstate, "55000") != 0)
		return false;
	if (strstr(said, "same server_uuid/server_id"))
		return td_error_hint(err, "Another reader of the source has server_id %u: give this connection one of its own, or 0 for a random one: "
							 "SELECT tapdata.alter_connection(name, '{\"server_id\": 0}').", conn->options.server_id);
	if (strstr(said, "purged") || strstr(said, "Could not find GTID state"))
	{
		char	   *position = td_gtid_text(&conn->stream->reached, &conn->stream->text);

		td_error_set(err, "55000", "the source no longer has binlog position %s", position && *position ? position : "(its beginning)");
		td_error_detail(err, "%s", said);
		return td_error_hint(err, "Load the tables again: SELECT tapdata.reset_pipeline(...); and let the source keep its binlog longer (binlog_expire_logs_seconds).");
	}
	return td_error_hint(err, "If the source is another server than before, or its binlog was reset, load the tables again: SELECT tapdata.reset_pipeline(...).");
}

/* Sends what makes a session a replica's, and the command; its first packet tells whether the source agrees. */
static bool
start_dump(TdConn *conn, TdMyStream *s, TdError *err)
{
	MYSQL	   *mysql = conn->mysql;
	uint8_t		command[10] = {4};
	uint32_t	id = conn->options.server_id;
	char	   *position = td_gtid_text(&s->reached, &s->text);
	char		checksum[32];

	while (id == 0)
	{
		if (getrandom(&id, sizeof(id), 0) != sizeof(id))
			id = 0;
		id |= 0x80000000u;
	}
	if (position == NULL)
		return td_error_set(err, "53200", "out of memory");
	if (!td_my_value(mysql, checksum, sizeof(checksum), err, "SELECT @@global.binlog_checksum") ||
		!td_my_run(mysql, err, "SET @master_binlog_checksum = @@global.binlog_checksum, @mariadb_slave_capability = 4,"
				   " @slave_connect_state = '%s', @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0,"
				   " @master_heartbeat_period = 1000000000", position))
		return false;
	s->checksum = strcasecmp(checksum, "CRC32") == 0;
	memcpy(command + 6, &id, 4);
	if (mysql->methods->db_command(mysql, COM_BINLOG_DUMP, (const char *) command, sizeof(command), 1, NULL) != 0)
		return td_my_error(err, mysql_errno(mysql), mysql_error(mysql));
	return td_my_reader_open(&s->reader, mysql, true, err);
}

/* Waits for the first packet; it stays in the reader. */
static bool
await_first(TdConn *conn, TdMyStream *s, TdError *err)
{
	TdBytes		packet;
	int			rc = td_my_reader_next(&s->reader, (int) conn->options.read_timeout * 1000, &packet, err);

	if (rc == 0)
		return td_my_lost(err, "the source does not begin to send its binlog");
	if (rc < 0)
		return false;
	if (packet.len == 0)
		return td_my_damaged(err, "packet");
	if (packet.data[0] == 0xFF)
	{
		td_my_packet_error(packet, err);
		return dump_error(conn, err);
	}
	s->reader.taken = 0;
	return true;
}

/* Begins to stream, see tapdata_connector.h. */
TdStatus
td_my_stream_start(TdConn *conn, const char *position, const TdTableRef *tables, uint32_t ntables, TdError *err)
{
	TdMyStream *s;

	td_my_snapshot_free(conn);
	td_my_stream_free(conn);
	if (td_my_session(conn, err) == NULL || !td_my_check_binlog(conn->mysql, err))
		return TD_FAIL;
	s = calloc(1, sizeof(TdMyStream));
	if (s == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	s->conn = conn;
	if (td_gtid_parse(&s->reached, position, err) && td_my_follow(conn, s, tables, ntables, err))
	{
		conn->stream = s;
		if (start_dump(conn, s, err) && await_first(conn, s, err))
			return TD_OK;
	}
	conn->stream = s;
	conn->busy = true;
	td_my_stream_free(conn);
	return TD_FAIL;
}

/* ---- groups ---- */

/* An error that names the transaction. */
static bool
group_error(const TdMyStream *s, TdError *err, const char *sqlstate, const char *what, const char *hint)
{
	td_error_set(err, sqlstate, "%s, in transaction %u-%u-%llu of the source", what, s->gtid.domain, s->gtid.server,
				 (unsigned long long) s->gtid.seq);
	return td_error_hint(err, "%s", hint);
}

/* Adds the transaction to an error of one of its events. */
static bool
name_group(const TdMyStream *s, TdError *err)
{
	char		detail[sizeof(err->detail)];

	memcpy(detail, err->detail, sizeof(detail));
	return td_error_detail(err, "%.900s%sTransaction %u-%u-%llu of the source.", detail, detail[0] ? " " : "", s->gtid.domain,
						   s->gtid.server, (unsigned long long) s->gtid.seq);
}

/* GTID: a group begins. */
static bool
begin_group(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	TdReader	r = event->body;
	const uint8_t *p = td_my_take(&r, 13);

	if (p == NULL)
		return td_my_damaged(err, "GTID event");
	if (s->in_group)
		return group_error(s, err, "XX001", "a transaction without an end", "Reset the pipeline; the source's binlog is damaged.");
	s->gtid.seq = td_little(p, 8);
	s->gtid.domain = (uint32_t) td_little(p + 8, 4);
	s->gtid.server = event->server_id;
	s->flags = p[12];
	s->in_group = true;
	s->rows = 0;
	s->nmaps = 0;
	return true;
}

/* The canonical position with the present group in it; NULL = no memory. */
static const char *
advance(TdMyStream *s, TdError *err)
{
	const char *text = NULL;

	if (td_gtid_advance(&s->reached, &s->gtid))
		text = td_gtid_text(&s->reached, &s->text);
	if (text == NULL)
		td_error_set(err, "53200", "out of memory");
	return text;
}

/* A group ends: its rows are committed, or the set moves on without any. */
static bool
end_group(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	int64_t		time = event->time ? ((int64_t) event->time - EPOCH_2000) * 1000000 : INT64_MIN;
	const char *position;

	if (!s->in_group)
		return td_my_damaged(err, "binlog: the end of a transaction that has not begun");
	s->in_group = false;
	if (s->rows == 0)
	{
		if (!td_gtid_advance(&s->reached, &s->gtid))
			return td_error_set(err, "53200", "out of memory");
		s->bare = true;
		s->bare_time = time;
		return true;
	}
	position = advance(s, err);
	if (position == NULL)
		return false;
	td_write_commit(s->put.out, position, time);
	s->bare = false;
	return true;
}

/* ROLLBACK: rows of ours in it can't be taken back. */
static bool
rollback_group(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	if (s->rows)
		return group_error(s, err, "0A000", "a rolled back change of transactional and other tables together",
						   "Keep tables of one kind of engine in a transaction; reset the pipeline.");
	return end_group(s, event, err);
}

/* XA PREPARE ends a group whose fate is decided later; with the flag of one phase it is a commit. */
static bool
prepare_group(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	TdReader	r = event->body;
	const uint8_t *one_phase = td_my_take(&r, 1);

	if (one_phase == NULL)
		return td_my_damaged(err, "XA event");
	if (s->rows && *one_phase == 0)
		return group_error(s, err, "0A000", "a prepared (XA) transaction with changes of mirrored tables",
						   "Write to mirrored tables without XA, then reset the pipeline.");
	return end_group(s, event, err);
}

/* Writes the SCHEMA record of a table before its first use. */
static void
write_schema(TdMyStream *s, TdMyFollowed *f)
{
	if (!f->described)
		td_write_schema(s->put.out, &f->table->schema);
	f->described = true;
}

/* ---- statements ---- */

/* Is this table followed, and not past its skip position?  See TdMyFindFn. */
static uint32_t
find_for_statement(void *arg, const char *database, const char *table)
{
	TdMyStream *s = arg;
	TdMyFollowed   *f;

	if (table)
	{
		f = td_my_find_followed(s, database, table);
		return f && !td_gtid_covers(&f->skip, &s->gtid) ? f->table->schema.table_id : 0;
	}
	for (uint32_t i = 0; i < s->n; i++)
	{
		const TdSchema *schema = &s->followed[i].table->schema;

		if (td_my_same_database(s, schema->database, database) && !td_gtid_covers(&s->followed[i].skip, &s->gtid))
			return schema->table_id;
	}
	return 0;
}

/* A statement changed the structure of a followed table. */
static bool
write_ddl(TdMyStream *s, uint32_t table, TdBytes text, TdError *err)
{
	const char *position;

	if (s->followed[table - 1].missing)
		table = 0;
	else
		write_schema(s, &s->followed[table - 1]);
	position = advance(s, err);
	if (position == NULL)
		return false;
	if (td_utf8_valid(text.data, text.len))
		td_write_ddl(s->put.out, table, position, (const char *) text.data, text.len);
	else
	{
		td_buffer_reset(&s->put.scratch);
		for (uint32_t i = 0; i < text.len; i++)
			td_buffer_append(&s->put.scratch, text.data[i] && text.data[i] < 0x80 ? (const char *) text.data + i : "?", 1);
		td_write_ddl(s->put.out, table, position, (const char *) s->put.scratch.data, s->put.scratch.len);
	}
	s->bare = false;
	s->stop = true;
	return true;
}

/* A change that was logged as a statement. */
static bool
refuse_statement(TdMyStream *s, uint32_t table, TdBytes text, TdError *err)
{
	const TdSchema *schema = &s->followed[table - 1].table->schema;
	char		what[300];

	snprintf(what, sizeof(what), "table \"%.100s.%.100s\" was changed by a statement instead of rows", schema->database, schema->table);
	group_error(s, err, "55000", what,
				"At the source: SET SESSION binlog_format = 'ROW' where that statement comes from, then load the mirror again: SELECT tapdata.reset_pipeline(...).");
	return td_error_detail(err, "%.*s", text.len > 900 ? 900 : (int) text.len, (const char *) text.data);
}

/* Changes of a table that can't be described any more. */
static bool
refuse_missing(const TdMyStream *s, const TdMyFollowed *f, TdError *err)
{
	const TdSchema *schema = &f->table->schema;
	char		what[300];

	snprintf(what, sizeof(what), "table \"%.100s.%.100s\" does not exist at the source, or may not be read, but changed", schema->database, schema->table);
	return group_error(s, err, "42P01", what,
					   "If it was dropped or renamed take it out of the pipeline; otherwise GRANT SELECT on it at the source.");
}

/* Does what a statement asks for. */
static bool
handle_statement(TdMyStream *s, const TdMyEvent *event, const char *database, TdBytes text, bool ansi_quotes, TdError *err)
{
	uint32_t	table;
	TdMyStatement kind = td_my_classify((const char *) text.data, text.len, database, ansi_quotes, find_for_statement, s, &table);

	switch (kind)
	{
		case TD_MY_COMMIT:
			return end_group(s, event, err);
		case TD_MY_ROLLBACK:
			return rollback_group(s, event, err);
		case TD_MY_ROLLBACK_TO:
			return s->rows == 0 || rollback_group(s, event, err);
		case TD_MY_TRUNCATE:
			if (s->followed[table - 1].missing)
				return refuse_missing(s, &s->followed[table - 1], err);
			write_schema(s, &s->followed[table - 1]);
			td_write_truncate(s->put.out, table);
			s->rows++;
			break;
		case TD_MY_DDL:
			if (!write_ddl(s, table, text, err))
				return false;
			break;
		case TD_MY_DML:
			return refuse_statement(s, table, text, err);
		case TD_MY_DML_OTHER:
			if (!s->warned)
				td_my_log(s->conn, "warning", "the source logs changes as statements: those made through views, triggers or functions are not seen: %.*s",
						  text.len > 200 ? 200 : (int) text.len, (const char *) text.data);
			s->warned = true;
			break;
		default:
			break;
	}
	if (s->flags & (GTID_STANDALONE | GTID_COMPLETED_XA))
	{
		if (kind == TD_MY_DDL)
			s->in_group = false;
		else
			return end_group(s, event, err);
	}
	return true;
}

/* The sql_mode among the status variables of a statement, as far as quotes go; it is one of the first two. */
static bool
has_ansi_quotes(TdReader vars)
{
	const uint8_t *p = td_my_take(&vars, 1);

	if (p && *p == 0 && td_my_take(&vars, 4))
		p = td_my_take(&vars, 1);
	if (p == NULL || *p != 1)
		return false;
	p = td_my_take(&vars, 8);
	return p && (td_little(p, 8) & 4);
}

/* QUERY, compressed or not, and EXECUTE_LOAD_QUERY, which has 13 bytes more in its head. */
static bool
handle_query(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	TdReader	r = event->body;
	const uint8_t *p = td_my_take(&r, event->type == 18 ? 26 : 13);
	TdReader	vars;
	const uint8_t *database;
	TdBytes		text;

	if (p == NULL || (vars.p = td_my_take(&r, td_little(p + 11, 2))) == NULL)
		return td_my_damaged(err, "statement event");
	vars.end = r.p;
	database = td_my_take(&r, (size_t) p[8] + 1);
	if (database == NULL || database[p[8]] != 0)
		return td_my_damaged(err, "statement event");
	if (event->type == 165 && !td_my_inflate(&r, &s->inflated, err))
		return false;
	if (!s->in_group)
		return true;
	text.data = r.p;
	text.len = (uint32_t) (r.end - r.p);
	return handle_statement(s, event, (const char *) database, text, has_ansi_quotes(vars), err);
}

/* ---- rows ---- */

/* TABLE_MAP: which of ours it is, if any, and how its rows lie. */
static bool
handle_table_map(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	TdMyTableMap map;
	TdMyFollowed   *f;
	uint32_t	i = 0;

	if (!td_my_read_table_map(event, &map, err))
		return false;
	f = td_my_find_followed(s, (const char *) map.database.data, (const char *) map.table.data);
	if (f && td_gtid_covers(&f->skip, &s->gtid))
		f = NULL;
	if (f && f->missing)
		return refuse_missing(s, f, err);
	if (f && !td_my_make_layout(f->table, &map, &f->layout, err))
		return name_group(s, err);
	while (i < s->nmaps && s->maps[i].id != map.id)
		i++;
	if (i == s->maps_cap)
	{
		uint32_t	cap = i ? i * 2 : 16;
		TdMyMapped	   *maps = realloc(s->maps, cap * sizeof(TdMyMapped));

		if (maps == NULL)
			return td_error_set(err, "53200", "out of memory");
		s->maps = maps;
		s->maps_cap = cap;
	}
	s->maps[i].id = map.id;
	s->maps[i].followed = f;
	if (i == s->nmaps)
		s->nmaps++;
	return true;
}

/* Writes rows of the event at hand; one that is larger than a batch is gone on with by the next poll. */
static bool
write_rows(TdMyStream *s, TdError *err)
{
	if (!td_my_write_rows(&s->put, s->unfinished->table, &s->unfinished->layout, &s->event, &s->rows, err))
		return name_group(s, err);
	if (s->event.rows.p == s->event.rows.end)
		s->unfinished = NULL;
	return true;
}

/* A row event: nothing to do for tables that aren't ours. */
static bool
handle_rows(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	const uint8_t *p = event->body.p;
	uint32_t	i = 0;
	uint64_t	id;

	if (event->body.end - p < 8)
		return td_my_damaged(err, "row event");
	id = td_little(p, 6);
	while (i < s->nmaps && s->maps[i].id != id)
		i++;
	if (i == s->nmaps)
		return id == 0xFFFFFF || id == 0 ? true : td_my_damaged(err, "binlog: rows of a table that was not announced");
	if (s->maps[i].followed == NULL)
		return true;
	if (!s->in_group)
		return td_my_damaged(err, "binlog: rows outside a transaction");
	if (!td_my_read_rows(event, &s->inflated, &s->event, err))
		return name_group(s, err);
	s->unfinished = s->maps[i].followed;
	write_schema(s, s->unfinished);
	return write_rows(s, err);
}

/* The source says that events are missing from its binlog. */
static bool
handle_incident(TdError *err)
{
	td_error_set(err, "55000", "the source reports that changes are missing from its binlog");
	return td_error_hint(err, "Load the tables again: SELECT tapdata.reset_pipeline(...).");
}

/* An event nobody here knows; it may say of itself that it can be passed over. */
static bool
handle_unknown(const TdMyEvent *event, TdError *err)
{
	if (event->flags & EVENT_IGNORABLE)
		return true;
	td_error_set(err, "0A000", "the binlog has an event of the unknown type %u", event->type);
	return td_error_hint(err, "This connector reads the binlog of MariaDB 10.5 to 11.x.");
}

/* Does what an event asks for. */
static bool
handle_event(TdMyStream *s, const TdMyEvent *event, TdError *err)
{
	switch (event->type)
	{
		case 15:
			return td_my_read_format(event, &s->checksum, err);
		case 162:
			return begin_group(s, event, err);
		case 2:
		case 18:
		case 165:
			return handle_query(s, event, err);
		case 16:
			return end_group(s, event, err);
		case 38:
			return prepare_group(s, event, err);
		case 19:
			return handle_table_map(s, event, err);
		case 23:
		case 24:
		case 25:
		case 30:
		case 31:
		case 32:
		case 166:
		case 167:
		case 168:
		case 169:
		case 170:
		case 171:
			return handle_rows(s, event, err);
		case 26:
			return handle_incident(err);
		case 3:					/* STOP, ROTATE, INTVAR, RAND, USER_VAR, files of LOAD DATA, HEARTBEAT, IGNORABLE, ROWS_QUERY, */
		case 4:
		case 5:
		case 8:
		case 9:
		case 11:
		case 13:
		case 14:
		case 17:
		case 27:
		case 28:
		case 29:
		case 41:
		case 160:				/* ANNOTATE_ROWS, BINLOG_CHECKPOINT, GTID_LIST, START_ENCRYPTION */
		case 161:
		case 163:
		case 164:
			return true;
		default:
			return handle_unknown(event, err);
	}
}

/* ---- polling ---- */

/* One packet of the dump. */
static bool
handle_packet(TdMyStream *s, TdBytes packet, TdError *err)
{
	TdMyEvent	event;
	bool		artificial;

	if (packet.len == 0)
		return td_my_damaged(err, "packet");
	if (packet.data[0] == 0xFF)
	{
		td_my_packet_error(packet, err);
		return dump_error(s->conn, err);
	}
	if (packet.data[0] == 0xFE && packet.len < 9)
		return td_my_lost(err, "the source ended the binlog stream");

	/* a ROTATE that the source makes up comes before it says whether there are checksums */
	artificial = packet.len > 19 && packet.data[5] == 4;
	if (!td_my_read_event(packet, s->checksum && !artificial, &event, err))
		return false;
	return handle_event(s, &event, err);
}

/* How long this poll may still wait for a packet. */
static int
time_left(const TdMyStream *s, int64_t deadline, int64_t *linger)
{
	int64_t		now = td_my_now();
	int64_t		left = deadline - now;

	if (s->put.out->len > 0 || s->bare)
	{
		if (!s->in_group)
			return 0;
		if (*linger == 0)
			*linger = now + LINGER;
		left = *linger < deadline ? *linger - now : left;
	}
	return left > 0 ? (int) left : 0;
}

/* Reads until something is together, see stream_poll. */
static bool
poll_packets(TdMyStream *s, int timeout_ms, TdError *err)
{
	int64_t		deadline = td_my_now() + timeout_ms;
	int64_t		linger = 0;
	size_t		bytes = 0;

	if (s->unfinished && !write_rows(s, err))
		return false;
	while (s->put.out->len < TD_MY_BATCH && bytes < POLL_BYTES && !s->stop)
	{
		TdBytes		packet;
		int			rc = td_my_reader_next(&s->reader, 0, &packet, err);

		if (rc == 0)
		{
			int			left = time_left(s, deadline, &linger);
			int64_t		before = td_my_now();

			if (left == 0)
				break;
			rc = td_my_reader_next(&s->reader, left, &packet, err);
			s->quiet += td_my_now() - before;
			if (rc == 0 && s->quiet > SILENCE)
				return td_my_lost(err, "not even a heartbeat for 15 s");
		}
		if (rc < 0)
			return false;
		if (rc == 0)
			continue;
		s->quiet = 0;
		bytes += packet.len;
		if (!handle_packet(s, packet, err))
			return false;
	}
	return true;
}

/* Appends what has come, see tapdata_connector.h. */
TdStatus
td_my_stream_poll(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err)
{
	TdMyStream *s = conn->stream;

	if (s == NULL)
	{
		td_error_set(err, "55000", "no stream was started");
		return TD_FAIL;
	}
	if (s->failure.sqlstate[0])
	{
		*err = s->failure;
		return TD_FAIL;
	}
	s->put.out = out;
	s->stop = false;
	if (!poll_packets(s, timeout_ms, &s->failure) && out->len == 0 && !s->bare)
	{
		*err = s->failure;
		return TD_FAIL;
	}
	if (s->bare)
	{
		char	   *position = td_gtid_text(&s->reached, &s->text);

		if (position)
			td_write_commit(out, position, s->bare_time);
		s->bare = false;
	}
	if (out->failed)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	return out->len ? TD_OK : TD_AGAIN;
}
