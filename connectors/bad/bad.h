/*-------------------------------------------------------------------------
 *
 * bad.h
 *		What the bad connectors share: a good connector with one table, of which
 *		each spoils one thing.
 *
 * NOTES
 *		For tests of the host and of the server; never installed.  A bad
 *		connector defines BAD_NAME, and what it spoils: BAD_MAGIC, BAD_MINOR,
 *		BAD_OPEN, BAD_CHECK, BAD_STREAM_POLL, BAD_SNAPSHOT_READ, BAD_OPTIONS.
 *		Unspoiled, the table `t` (id bigint primary key, v text) has three rows,
 *		and the log is empty, for ever, at position "1".
 *
 * connectors/bad/bad.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_BAD_H
#define TD_BAD_H

#include <stdio.h>
#include <unistd.h>

#include "tapdata_util.h"

#define BAD __attribute__((unused)) static

struct TdConn
{
	const TdHost *host;
	const TdConfig *config;
	uint64_t	polls;
};

BAD TdColumn bad_columns[] = {
	{(char *) "id", (char *) "bigint", TD_INT8, -1, -1, true},
	{(char *) "v", (char *) "text", TD_TEXT, -1, -1, false},
};
BAD uint32_t bad_keys[] = {0};
BAD const TdSchema bad_schema = {1, (char *) "", (char *) "t", 2, bad_columns, 1, bad_keys};

BAD const TdOption bad_options[] = {
	{"kind", TD_OPTION_TEXT, NULL, false, false, false, "which of its bad sides it shows", NULL},
	{"password", TD_OPTION_TEXT, NULL, false, true, true, "a secret", NULL},
	{NULL}
};

/* The value of `kind`, "" = not given. */
BAD const char *
bad_kind(const TdConn *c)
{
	const char *kind = td_config_get(c->config, "kind");

	return kind ? kind : "";
}

BAD TdStatus
bad_open(const TdHost *host, const TdConfig *config, TdConn **conn, TdError *err)
{
	*conn = calloc(1, sizeof(TdConn));
	if (*conn == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	(*conn)->host = host;
	(*conn)->config = config;
	return TD_OK;
}

BAD void
bad_close(TdConn *c)
{
	free(c);
}

BAD TdStatus
bad_check(TdConn *c, TdCheckFn report, void *arg, TdError *err)
{
	(void) c;
	(void) err;
	report(arg, "source", true, "one table", "");
	return TD_OK;
}

BAD TdStatus
bad_discover(TdConn *c, const char *pattern, TdTableFn emit, void *arg, TdError *err)
{
	TdTableInfo info = {&bad_schema, 3};

	(void) c;
	(void) err;
	if (td_glob(pattern, "t"))
		emit(arg, &info);
	return TD_OK;
}

BAD TdStatus
bad_position(TdConn *c, char **position, TdError *err)
{
	(void) c;
	(void) err;
	*position = strdup("1");
	return *position ? TD_OK : TD_FAIL;
}

BAD TdStatus
bad_position_covers(const char *reached, const char *wanted, bool *covers, TdError *err)
{
	uint64_t	a,
				b;

	if (!td_position_number(reached, &a, err) || !td_position_number(wanted, &b, err))
		return TD_FAIL;
	*covers = a >= b;
	return TD_OK;
}

BAD TdStatus
bad_snapshot_start(TdConn *c, const TdTableRef *table, const char *cursor, int64_t limit, char **position, TdError *err)
{
	(void) c;
	(void) table;
	(void) cursor;
	(void) limit;
	(void) err;
	*position = NULL;
	return TD_OK;
}

/* One row of the table. */
BAD void
bad_put_row(TdBuffer *out, int64_t id, const char *value, uint32_t len)
{
	td_write_begin(out, TD_OP_INSERT, 1);
	td_write_row(out, 2);
	td_put_int(out, TD_INT8, id);
	td_put_bytes(out, value, len);
	td_write_row_end(out);
	td_write_end(out);
}

BAD TdStatus
bad_snapshot_read(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	(void) c;
	(void) timeout_ms;
	(void) err;
	td_write_schema(out, &bad_schema);
	for (int64_t id = 1; id <= 3; id++)
		bad_put_row(out, id, "row", 3);
	td_write_chunk(out, 1, "3");
	td_write_end_of_table(out, 1);
	return TD_DONE;
}

BAD TdStatus
bad_stream_start(TdConn *c, const char *position, const TdTableRef *tables, uint32_t ntables, TdError *err)
{
	(void) position;
	(void) tables;
	(void) ntables;
	(void) err;
	c->polls = 0;
	return TD_OK;
}

BAD TdStatus
bad_stream_poll(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	(void) c;
	(void) out;
	(void) err;
	usleep((useconds_t) timeout_ms * 1000);
	return TD_AGAIN;
}

#ifndef BAD_MAGIC
#define BAD_MAGIC TD_ABI_MAGIC
#endif
#ifndef BAD_MINOR
#define BAD_MINOR TD_ABI_MINOR
#endif
#ifndef BAD_OPEN
#define BAD_OPEN bad_open
#endif
#ifndef BAD_CHECK
#define BAD_CHECK bad_check
#endif
#ifndef BAD_SNAPSHOT_READ
#define BAD_SNAPSHOT_READ bad_snapshot_read
#endif
#ifndef BAD_STREAM_POLL
#define BAD_STREAM_POLL bad_stream_poll
#endif

/* Defines the entry; used once, behind the functions that spoil something. */
#define BAD_CONNECTOR \
	static const TdConnector bad_connector = { \
		BAD_MAGIC, BAD_MINOR, sizeof(TdConnector), BAD_NAME, "0.1", TD_CAP_SNAPSHOT | TD_CAP_STREAM, bad_options, \
		BAD_OPEN, bad_close, BAD_CHECK, bad_discover, bad_position, bad_position_covers, bad_snapshot_start, \
		BAD_SNAPSHOT_READ, bad_stream_start, BAD_STREAM_POLL, NULL, NULL \
	}; \
	TD_EXPORT const TdConnector * \
	td_connector_entry(void) \
	{ \
		return &bad_connector; \
	}

#endif							/* TD_BAD_H */
