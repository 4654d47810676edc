/*-------------------------------------------------------------------------
 *
 * null.c
 *		The null connector: a source without a system behind it.
 *
 * NOTES
 *		For measurements (how fast is everything but the source?) and tests.
 *		Deterministic: see null_internal.h and README.md.
 *
 * connectors/null/null.c
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "null_internal.h"

#define BATCH (1024 * 1024)

struct TdConn
{
	NullSource	source;
	int			wake;			/* eventfd: interrupt */

	/* snapshot */
	uint64_t	table;
	uint64_t	next;			/* id of the next of the fixed rows */
	uint64_t	live_first;
	uint64_t	live_end;		/* behind the last row of the log */
	int			version;
	uint64_t	left;			/* rows that may still be read */
	bool		begun;			/* SCHEMA is written */

	/* stream */
	uint64_t	reached;		/* last transaction written whole */
	uint64_t	done;			/* rows written of the next one */
	uint8_t    *wanted;			/* per table: 0 = not streamed, 1 = SCHEMA to come, 2 = SCHEMA written */
	uint64_t   *skip_to;
};

static const TdOption options[] = {
	{"tables", TD_OPTION_INT, "1", false, false, false, "number of tables, t0, t1, ...", "1..100000"},
	{"keyless", TD_OPTION_INT, "0", false, false, false, "how many of them, the last ones, have no key", "0..100000"},
	{"rows", TD_OPTION_INT, "1000", false, false, false, "rows of each table that never change", "0..1000000000000"},
	{"columns", TD_OPTION_INT, "6", false, false, false, "columns of each table", "1..1000"},
	{"row_bytes", TD_OPTION_INT, "70", false, false, false, "bytes of a row, about", "0..100000000"},
	{"transactions", TD_OPTION_INT, "0", false, false, false, "length of the log, with interval_us = 0", "0..1000000000000"},
	{"rows_per_transaction", TD_OPTION_INT, "1", false, false, false, "rows that a transaction changes", "1..1000000000"},
	{"interval_us", TD_OPTION_INT, "0", false, false, false, "a transaction every so many microseconds; 0 = all are there at once", "0..1000000000"},
	{"seed", TD_OPTION_INT, "1", false, false, false, "another seed, other values", NULL},
	{"password", TD_OPTION_TEXT, NULL, false, true, true, "is kept, and not used", NULL},
	{NULL}
};

/* Nothing to connect to. */
static TdStatus
null_open(const TdHost *host, const TdConfig *config, TdConn **conn, TdError *err)
{
	TdConn	   *c = calloc(1, sizeof(TdConn));

	(void) host;
	if (c)
	{
		null_source_init(&c->source, config);
		c->wanted = calloc(c->source.tables, sizeof(*c->wanted));
		c->skip_to = calloc(c->source.tables, sizeof(*c->skip_to));
	}
	if (c == NULL || c->wanted == NULL || c->skip_to == NULL || (c->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
	{
		if (c)
		{
			free(c->wanted);
			free(c->skip_to);
		}
		free(c);
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	*conn = c;
	return TD_OK;
}

static void
null_close(TdConn *c)
{
	close(c->wake);
	free(c->wanted);
	free(c->skip_to);
	free(c);
}

/* All is well, always. */
static TdStatus
null_check(TdConn *c, TdCheckFn report, void *arg, TdError *err)
{
	char		text[100];

	(void) err;
	snprintf(text, sizeof(text), "%llu tables of %llu rows", (unsigned long long) c->source.tables, (unsigned long long) c->source.rows);
	report(arg, "source", true, text, "");
	snprintf(text, sizeof(text), "%llu transactions", (unsigned long long) null_log_end(&c->source));
	report(arg, "log", true, text, "");
	return TD_OK;
}

static TdStatus
null_discover(TdConn *c, const char *pattern, TdTableFn emit, void *arg, TdError *err)
{
	(void) err;
	for (uint64_t i = 0; i < c->source.tables; i++)
	{
		TdSchema	schema;
		TdTableInfo info = {&schema, (int64_t) c->source.rows};
		char		name[32];

		null_schema(&c->source, i, name, sizeof(name), &schema);
		if (td_glob(pattern, name))
			emit(arg, &info);
	}
	return TD_OK;
}

/* A number as malloc'ed text. */
static bool
number_text(uint64_t number, char **text, TdError *err)
{
	*text = malloc(24);
	if (*text == NULL)
		return td_error_set(err, "53200", "out of memory");
	snprintf(*text, 24, "%llu", (unsigned long long) number);
	return true;
}

static TdStatus
null_position(TdConn *c, char **position, TdError *err)
{
	return number_text(null_log_end(&c->source), position, err) ? TD_OK : TD_FAIL;
}

static TdStatus
null_position_covers(const char *reached, const char *wanted, bool *covers, TdError *err)
{
	uint64_t	a,
				b;

	if (!td_position_number(reached, &a, err) || !td_position_number(wanted, &b, err))
		return TD_FAIL;
	*covers = a >= b;
	return TD_OK;
}

/* 42P01 */
static TdStatus
no_table(const char *name, TdError *err)
{
	td_error_set(err, "42P01", "table \"%.100s\" does not exist", name);
	td_error_hint(err, "The null connector has the tables t0, t1, ... as many as its option \"tables\" says.");
	return TD_FAIL;
}

/* The fixed rows from the cursor on, then those that the log has left here by now. */
static TdStatus
null_snapshot_start(TdConn *c, const TdTableRef *table, const char *cursor, int64_t limit, char **position, TdError *err)
{
	uint64_t	after = 0;
	uint64_t	at = null_log_end(&c->source);
	uint64_t	live;

	*position = NULL;
	if (!null_find_table(&c->source, table->table, &c->table))
		return no_table(table->table, err);
	if (cursor[0] && !td_position_number(cursor, &after, err))
		return TD_FAIL;
	live = null_live_rows(&c->source, c->table, at, &c->live_first, &c->version);
	c->live_end = c->live_first + live;
	c->next = after + 1;
	if (after >= c->live_first && live > 0)
		c->live_first = after + 1 < c->live_end ? after + 1 : c->live_end;
	c->left = limit < 0 ? UINT64_MAX : (uint64_t) limit;
	c->begun = false;
	if (c->table + c->source.keyless >= c->source.tables && !number_text(at, position, err))
		return TD_FAIL;
	return TD_OK;
}

/* Writes the SCHEMA record of a table. */
static void
write_schema(TdConn *c, TdBuffer *out, uint64_t table)
{
	TdSchema	schema;
	char		name[32];

	null_schema(&c->source, table, name, sizeof(name), &schema);
	td_write_schema(out, &schema);
}

/* Writes one INSERT of the snapshot, if there is one left; its id. */
static uint64_t
write_next(TdConn *c, TdBuffer *out)
{
	uint64_t	id;
	int			version = 0;

	if (c->left == 0)
		return 0;
	if (c->next <= c->source.rows)
		id = c->next++;
	else if (c->live_first < c->live_end)
	{
		id = c->live_first++;
		version = c->version;
	}
	else
		return 0;
	c->left--;
	td_write_begin(out, TD_OP_INSERT, (uint32_t) c->table + 1);
	null_put_row(&c->source, out, c->table, id, version);
	td_write_end(out);
	return id;
}

static TdStatus
null_snapshot_read(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	bool		keyed = c->table + c->source.keyless < c->source.tables;
	uint64_t	last = 0;
	uint64_t	id = 1;
	char		cursor[24];

	(void) timeout_ms;
	if (!c->begun)
		write_schema(c, out, c->table);
	c->begun = true;
	(void) td_buffer_reserve(out, BATCH + BATCH / 8);
	while (out->len < BATCH && !out->failed && (id = write_next(c, out)) != 0)
		last = id;
	if (last > 0 && keyed)
	{
		snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long) last);
		td_write_chunk(out, (uint32_t) c->table + 1, cursor);
	}
	if (id == 0)
		td_write_end_of_table(out, (uint32_t) c->table + 1);
	if (!out->failed)
		return id == 0 ? TD_DONE : TD_OK;
	td_error_set(err, "53200", "out of memory");
	return TD_FAIL;
}

static TdStatus
null_stream_start(TdConn *c, const char *position, const TdTableRef *tables, uint32_t ntables, TdError *err)
{
	uint64_t	at = 0;

	if (position[0] && !td_position_number(position, &at, err))
		return TD_FAIL;
	memset(c->wanted, 0, c->source.tables);
	for (uint32_t i = 0; i < ntables; i++)
	{
		uint64_t	table;
		uint64_t	skip_to = 0;

		if (!null_find_table(&c->source, tables[i].table, &table))
			return no_table(tables[i].table, err);
		if (tables[i].skip_to && tables[i].skip_to[0] && !td_position_number(tables[i].skip_to, &skip_to, err))
			return TD_FAIL;
		c->wanted[table] = 1;
		c->skip_to[table] = skip_to;
	}
	c->reached = at;
	c->done = 0;
	return TD_OK;
}

/* Waits for the log to grow, an interrupt, or the time. */
static void
wait_for_log(TdConn *c, int timeout_ms)
{
	struct pollfd wake = {c->wake, POLLIN, 0};
	struct timespec t = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
	uint64_t	count;

	if (c->source.interval_us > 0)
	{
		struct timespec now;
		uint64_t	next_us = (c->reached + 1) * c->source.interval_us;
		uint64_t	now_us;

		clock_gettime(CLOCK_REALTIME, &now);
		now_us = (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
		if (next_us <= now_us)
			return;
		if ((next_us - now_us) / 1000 < (uint64_t) timeout_ms)
		{
			t.tv_sec = (time_t) ((next_us - now_us) / 1000000);
			t.tv_nsec = (long) ((next_us - now_us) % 1000000 * 1000);
		}
	}
	if (ppoll(&wake, 1, &t, NULL) > 0)
		(void) !read(c->wake, &count, sizeof(count));
}

/* Writes one changed row. */
static void
write_change(TdConn *c, TdBuffer *out, const NullTransaction *t, uint64_t id)
{
	static const TdOp ops[] = {TD_OP_INSERT, TD_OP_UPDATE, TD_OP_DELETE};

	td_write_begin(out, ops[t->phase], (uint32_t) t->table + 1);
	if (t->phase != NULL_INSERT)
		null_put_row(&c->source, out, t->table, id, t->phase == NULL_UPDATE ? 1 : 2);
	if (t->phase != NULL_DELETE)
		null_put_row(&c->source, out, t->table, id, t->phase == NULL_INSERT ? 1 : 2);
	td_write_end(out);
}

/* Writes the next transaction, or as much of it as fits into the batch. */
static void
write_transaction(TdConn *c, TdBuffer *out)
{
	NullTransaction t = null_transaction(&c->source, c->reached + 1);
	char		position[24];

	if (c->wanted[t.table] && t.number > c->skip_to[t.table])
	{
		if (c->wanted[t.table] == 1)
			write_schema(c, out, t.table);
		c->wanted[t.table] = 2;
		for (; c->done < c->source.per_transaction && !out->failed; c->done++)
		{
			if (out->len >= BATCH)
				return;
			write_change(c, out, &t, t.first_id + c->done);
		}
	}
	snprintf(position, sizeof(position), "%llu", (unsigned long long) t.number);
	td_write_commit(out, position, null_commit_time(&c->source, t.number));
	c->reached = t.number;
	c->done = 0;
}

static TdStatus
null_stream_poll(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	uint64_t	end = null_log_end(&c->source);

	if (c->reached >= end)
	{
		wait_for_log(c, timeout_ms);
		end = null_log_end(&c->source);
	}
	while (c->reached < end && out->len < BATCH && !out->failed)
		write_transaction(c, out);
	if (out->failed)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	return out->len > 0 ? TD_OK : TD_AGAIN;
}

/* There is no source that could forget; what is no position is still an error. */
static TdStatus
null_stream_ack(TdConn *c, const char *position, TdError *err)
{
	uint64_t	number;

	(void) c;
	return td_position_number(position, &number, err) ? TD_OK : TD_FAIL;
}

static void
null_interrupt(TdConn *c)
{
	uint64_t	one = 1;

	(void) !write(c->wake, &one, sizeof(one));
}

static const TdConnector connector = {
	.magic = TD_ABI_MAGIC,
	.minor = TD_ABI_MINOR,
	.size = sizeof(TdConnector),
	.name = "null",
	.version = "0.1",
	.caps = TD_CAP_SNAPSHOT | TD_CAP_STREAM,
	.options = options,
	.open = null_open,
	.close = null_close,
	.check = null_check,
	.discover = null_discover,
	.position = null_position,
	.position_covers = null_position_covers,
	.snapshot_start = null_snapshot_start,
	.snapshot_read = null_snapshot_read,
	.stream_start = null_stream_start,
	.stream_poll = null_stream_poll,
	.stream_ack = null_stream_ack,
	.interrupt = null_interrupt,
};

TD_EXPORT const TdConnector *
td_connector_entry(void)
{
	return &connector;
}
