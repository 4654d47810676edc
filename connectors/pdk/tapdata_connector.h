/*-------------------------------------------------------------------------
 *
 * tapdata_connector.h
 *		The connector ABI: all that a connector must provide, and all it gets.
 *
 * NOTES
 *		A connector is a shared library `$pkglibdir/tapdata/<name>.so` that
 *		exports one symbol, td_connector_entry.  It is loaded by the program
 *		tapdata-host, never by a server process, so it may block, use threads of
 *		its own and crash without harm to the server.  It writes the records of
 *		stream.h into the buffer it is given (pull model) and returns errors as
 *		values.
 *
 *		Threads: all functions of one TdConn are called from one thread at a
 *		time, except interrupt, which may come from any thread at any moment.
 *		Two TdConn of one process may be used by two threads at once.
 *
 *		Time: a function that takes timeout_ms returns within that time and one
 *		second more; every other one within the connector's own connect and
 *		read time-outs (option connect_timeout).  The host ends the process when
 *		a call lasts far longer ("hangs"), and ends it at once on a stop, so a
 *		connector needs no stop logic of its own.
 *
 * connectors/pdk/tapdata_connector.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TAPDATA_CONNECTOR_H
#define TAPDATA_CONNECTOR_H

#include "stream/stream.h"

#define TD_ABI_MAGIC 0x54444331u	/* "TDC1"; another value is incompatible */
#define TD_ABI_MINOR 0				/* grows when fields are appended to a struct */
#define TD_EXPORT __attribute__((visibility("default")))

typedef enum TdStatus
{
	TD_OK = 0,					/* done, or: something was written to the buffer */
	TD_AGAIN,					/* nothing within timeout_ms */
	TD_DONE,					/* no more will come */
	TD_FAIL						/* *err is filled */
} TdStatus;

typedef enum TdCaps
{
	TD_CAP_SNAPSHOT = 1 << 0,	/* discover, snapshot_start, snapshot_read */
	TD_CAP_STREAM = 1 << 1,		/* position, position_covers, stream_start, stream_poll */
	TD_CAP_WRITE = 1 << 2,		/* write; no connector has it yet */
	TD_CAP_DDL = 1 << 3			/* the stream reports DDL */
} TdCaps;

typedef enum TdOptionKind
{
	TD_OPTION_TEXT, TD_OPTION_INT, TD_OPTION_BOOL,
	TD_OPTION_FILE				/* a path on the server's machine: superusers only */
} TdOptionKind;

/* One option of a connection.  The table ends with name == NULL. */
typedef struct TdOption
{
	const char *name;
	TdOptionKind kind;
	const char *fallback;		/* default as text, NULL = none */
	bool		required;
	bool		credential;		/* belongs into the user mapping */
	bool		secret;			/* shown to nobody; implies credential */
	const char *help;			/* one line */
	const char *choices;		/* "a|b|c" for TEXT, "min..max" for INT, NULL = any */
} TdOption;

/* The options given, defaults filled in; valid while the TdConn lives. */
typedef struct TdConfig
{
	uint32_t	n;
	const char **names;
	const char **values;
} TdConfig;

/* What the host offers.  Both may be called from any thread. */
typedef struct TdHost
{
	uint32_t	size;
	void		(*log) (const char *level, const char *fmt,...);	/* "debug" "info" "warning"; never a secret */
	bool		(*should_stop) (void);
} TdHost;

typedef struct TdConn TdConn;	/* the connector's own */

/* check: one line of tapdata.test_connection() */
typedef void (*TdCheckFn) (void *arg, const char *item, bool ok, const char *detail, const char *hint);

/* discover: one table.  problem != "" says why it can't be mirrored as it is (TdError form); the schema is given all the same. */
typedef struct TdTableInfo
{
	const TdSchema *schema;		/* table_id is not used */
	int64_t		row_estimate;	/* -1 = unknown */
	TdError		problem;		/* unsupported type, cascading foreign key, ... */
} TdTableInfo;
typedef void (*TdTableFn) (void *arg, const TdTableInfo *table);

/* A table to read or to follow. */
typedef struct TdTableRef
{
	const char *database;
	const char *table;
	const char *skip_to;		/* stream: rows of transactions this position covers are left out; "" = none */
} TdTableRef;

typedef struct TdConnector
{
	uint32_t	magic;			/* TD_ABI_MAGIC */
	uint32_t	minor;			/* TD_ABI_MINOR as compiled */
	uint32_t	size;			/* sizeof(TdConnector) as compiled */
	const char *name;			/* [a-z0-9_]+, equal to the file's name */
	const char *version;
	uint64_t	caps;			/* TdCaps */
	const TdOption *options;	/* MUST */

	/* MUST.  Checks the options and connects.  *err: 08001 unreachable, 28P01 password, 28000 rights (hint: the GRANT), 22023 option. */
	TdStatus	(*open) (const TdHost *host, const TdConfig *config, TdConn **conn, TdError *err);
	/* MUST.  Never fails; also after a failed call. */
	void		(*close) (TdConn *conn);
	/* MUST.  Reports each thing a pipeline will need, with a hint for what is missing.  TD_FAIL only if checking itself failed. */
	TdStatus	(*check) (TdConn *conn, TdCheckFn report, void *arg, TdError *err);
	/* iff SNAPSHOT.  Calls emit for each base table whose name matches the glob: on `table`, or on `database.table` where the connection names no database. */
	TdStatus	(*discover) (TdConn *conn, const char *pattern, TdTableFn emit, void *arg, TdError *err);
	/* iff STREAM.  Where the source's log ends now: text in the connector's own canonical form. */
	TdStatus	(*position) (TdConn *conn, char **position /* malloc'ed */ , TdError *err);
	/* iff STREAM.  Does having read up to `reached` include everything up to `wanted`?  Needs no connection.  22P02 for a text that is no position. */
	TdStatus	(*position_covers) (const char *reached, const char *wanted, bool *covers, TdError *err);

	/*
	 * iff SNAPSHOT.  Begins to read a table from just after `cursor` ("" = from
	 * the start).  A table with a key is read in key order in short statements
	 * without locks, and *position is left NULL.  One without a key is read
	 * from one consistent snapshot, cursor is "", and *position (malloc'ed) is
	 * the position of that snapshot.  limit < 0: all rows; otherwise at most
	 * that many (peek).
	 */
	TdStatus	(*snapshot_start) (TdConn *conn, const TdTableRef *table, const char *cursor, int64_t limit,
								   char **position, TdError *err);
	/* iff SNAPSHOT.  Appends SCHEMA (first), INSERTs, and for keyed tables a CHUNK at least once a megabyte; TD_DONE after END.  About 1 MB a call. */
	TdStatus	(*snapshot_read) (TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err);

	/* iff STREAM.  Streams whole transactions that `position` does not cover, rows of the tables given, a bare COMMIT for others. */
	TdStatus	(*stream_start) (TdConn *conn, const char *position, const TdTableRef *tables, uint32_t ntables, TdError *err);
	/* iff STREAM.  Appends what has come, as soon as something has; about 1 MB at most, a larger transaction in several calls. */
	TdStatus	(*stream_poll) (TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err);
	/* MAY.  All up to here is durable in PostgreSQL; the source may forget it. */
	TdStatus	(*stream_ack) (TdConn *conn, const char *position, TdError *err);
	/* MAY.  Makes a call that blocks in another thread return soon. */
	void		(*interrupt) (TdConn *conn);
} TdConnector;

/* The one exported symbol. */
TD_EXPORT const TdConnector *td_connector_entry(void);

/* The value of an option, NULL if it has none. */
static inline const char *
td_config_get(const TdConfig *config, const char *name)
{
	for (uint32_t i = 0; i < config->n; i++)
	{
		const char *a = config->names[i];
		const char *b = name;

		while (*a && *a == *b)
			a++, b++;
		if (*a == *b)
			return config->values[i];
	}
	return NULL;
}

#endif							/* TAPDATA_CONNECTOR_H */
