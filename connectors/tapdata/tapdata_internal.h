/*-------------------------------------------------------------------------
 *
 * tapdata_internal.h
 *		What the files of the tapdata connector share.
 *
 * NOTES
 *		Ownership: a TdConn owns its session and at most one snapshot or stream.
 *		Tables live in a TdTpTables and point into its result; they go with it.
 *
 * connectors/tapdata/tapdata_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TAPDATA_INTERNAL_H
#define TD_TAPDATA_INTERNAL_H

#include <libpq-fe.h>
#include <string.h>

#include "tapdata_util.h"

#define TD_TP_BATCH (1024 * 1024)	/* bytes after which a read returns */
#define TD_TP_HOME 64

struct TdConn
{
	const TdHost *host;
	const TdConfig *config;		/* lives as long as we do */
	const char *schema;			/* option, NULL = all */
	PGconn	   *pg;
	bool		busy;			/* a result was left in the middle: the session is of no use any more */
	char		home[TD_TP_HOME];	/* which database this is */
	struct TdTpSnapshot *snapshot;
	struct TdTpStream *stream;
};

/* ---- options.c ---- */
extern const TdOption td_tp_options[];
extern const char *td_tp_option(const TdConfig *config, const char *name);	/* NULL = none, or an empty text */

/* ---- connect.c: the session ---- */
extern bool td_tp_session(TdConn *conn, TdError *err);	/* one that is free for a statement */
extern int	td_tp_wait(TdConn *conn, int timeout_ms, TdError *err);	/* for a result: 1 = it is there, 0 = not yet, -1 = lost */
extern PGresult *td_tp_query(TdConn *conn, TdError *err, const char *sql, int n, const char *const *values);	/* NULL = error; texts */
extern bool td_tp_run(TdConn *conn, TdError *err, const char *sql);
extern bool td_tp_send(TdConn *conn, TdError *err, const char *sql, int n, const char *const *values);	/* row by row, binary */
extern bool td_tp_result_error(const TdConn *conn, const PGresult *res, TdError *err);	/* false, as td_error_set */
extern bool td_tp_lost(const TdConn *conn, const char *what, TdError *err);
extern int	td_tp_read_timeout(const TdConn *conn);	/* milliseconds */
extern char *td_tp_text(TdError *err, const char *fmt,...) __attribute__((format(printf, 2, 3)));	/* malloc'ed, NULL = 53200 */
extern bool td_tp_reload_hint(TdError *err, const char *first);

/* ---- tables.c ---- */
typedef struct TdTpTable
{
	TdSchema	schema;
	uint32_t	oid;
	const char *name;			/* "schema"."view", quoted where it must be */
	const char *notice;			/* how notices about it begin */
	int64_t		tick;			/* -1 = not filled yet */
	int64_t		row_estimate;
	const PGresult *res;		/* where its columns are described, */
	int			first;			/* from this row on */
	TdError		problem;
} TdTpTable;

typedef struct TdTpTables
{
	PGresult   *res;
	uint32_t	n;
	TdTpTable  *v;				/* by schema and name */
} TdTpTables;

extern bool td_tp_load_tables(TdConn *conn, const char *schema, const char *table, TdTpTables *tables, TdError *err);
extern void td_tp_free_tables(TdTpTables *tables);
extern TdTpTable *td_tp_find_table(const TdConn *conn, const TdTpTables *tables, const TdTableRef *ref, TdError *err);
extern bool td_tp_rights_hint(TdConn *conn, const char *schema, const char *table, TdError *err);	/* to 42501; false */
extern bool td_tp_explain_missing(TdConn *conn, const char *schema, const char *table, TdError *err);
extern const char *td_tp_column_quoted(const TdTpTable *t, uint32_t i);
extern const char *td_tp_column_type(const TdTpTable *t, uint32_t i);	/* as SQL */
extern bool td_tp_same_columns(const TdTpTable *t, const PGresult *res, int from);
extern TdStatus td_tp_discover(TdConn *conn, const char *pattern, TdTableFn emit, void *arg, TdError *err);

/* ---- types.c ---- */
extern bool td_tp_map_type(uint32_t oid, int32_t typmod, bool is_enum, TdColumn *column);	/* false = there is no counterpart */
extern bool td_tp_put_row(TdBuffer *out, const TdTpTable *t, const PGresult *res, int from, TdBuffer *scratch, TdError *err);
extern int64_t td_tp_int(const PGresult *res, int column);	/* of the first row, binary: 4 or 8 bytes */

/* ---- position.c ---- */
typedef struct TdTpEntry
{
	uint32_t	view;			/* its oid */
	int64_t		tick;
} TdTpEntry;

typedef struct TdTpPosition
{
	char		home[TD_TP_HOME];
	uint32_t	n;
	TdTpEntry  *v;				/* by oid */
} TdTpPosition;

extern bool td_tp_position_read(TdTpPosition *p, const char *text, TdError *err);
extern bool td_tp_position_is_here(const TdConn *conn, const TdTpPosition *p, TdError *err);
extern const TdTpEntry *td_tp_position_find(const TdTpPosition *p, uint32_t view);
extern void td_tp_position_write(const TdTpPosition *p, TdBuffer *to);	/* with a closing NUL */
extern void td_tp_position_free(TdTpPosition *p);
extern TdStatus td_tp_position(TdConn *conn, char **position, TdError *err);
extern TdStatus td_tp_position_covers(const char *reached, const char *wanted, bool *covers, TdError *err);

/* ---- check.c, snapshot.c, stream.c ---- */
extern TdStatus td_tp_check(TdConn *conn, TdCheckFn report, void *arg, TdError *err);
extern TdStatus td_tp_snapshot_start(TdConn *conn, const TdTableRef *ref, const char *cursor, int64_t limit, char **position, TdError *err);
extern TdStatus td_tp_snapshot_read(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err);
extern void td_tp_snapshot_free(TdConn *conn);
extern TdStatus td_tp_stream_start(TdConn *conn, const char *position, const TdTableRef *tables, uint32_t ntables, TdError *err);
extern TdStatus td_tp_stream_poll(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err);
extern void td_tp_stream_free(TdConn *conn);

#endif							/* TD_TAPDATA_INTERNAL_H */
