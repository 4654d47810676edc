/*-------------------------------------------------------------------------
 *
 * mysql_internal.h
 *		What the files of the mysql connector share.
 *
 * NOTES
 *		Ownership: a TdConn owns its two sessions, its character sets, and at
 *		most one snapshot or stream.  Tables and their columns live in an arena
 *		of whoever loaded them and go with it.
 *
 * connectors/mysql/mysql_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_MYSQL_INTERNAL_H
#define TD_MYSQL_INTERNAL_H

#include <mysql.h>
#include <pthread.h>
#include <string.h>

#include "tapdata_connector.h"

#define td_likely(x) __builtin_expect(!!(x), 1)
#define td_unlikely(x) __builtin_expect(!!(x), 0)

#define TD_MY_VALUE_MAX 0x3FFFFFFFu /* PostgreSQL's own limit of a value */
#define TD_MY_BATCH (1024 * 1024)	/* bytes after which a read returns */

/* ---- options.c ---- */
typedef enum TdMySsl
{
	TD_MY_SSL_DISABLE, TD_MY_SSL_PREFER, TD_MY_SSL_REQUIRE, TD_MY_SSL_VERIFY_CA, TD_MY_SSL_VERIFY_IDENTITY
} TdMySsl;

typedef struct TdMyOptions
{
	const char *host;
	const char *socket;			/* NULL = TCP */
	const char *database;		/* NULL = none */
	const char *user;
	const char *password;
	const char *ssl_ca;
	const char *ssl_cert;
	const char *ssl_key;
	unsigned	port;
	unsigned	connect_timeout;	/* seconds */
	unsigned	read_timeout;
	uint32_t	server_id;		/* 0 = a random one for each stream */
	uint32_t	chunk_rows;
	TdMySsl		ssl_mode;
	bool		ignore_cascades;
} TdMyOptions;

extern const TdOption td_my_options[];
extern bool td_my_parse_options(const TdConfig *config, TdMyOptions *o, TdError *err);

/* ---- arena.c: memory that goes at once ---- */
typedef struct TdArena
{
	struct TdArenaBlock *blocks;
	bool		failed;			/* some allocation failed; what it returned is a static dummy or NULL */
} TdArena;

extern void *td_arena_alloc(TdArena *a, size_t size);	/* zeroed; NULL = no memory */
extern char *td_arena_copy(TdArena *a, const char *s, size_t len);	/* with a closing NUL */
extern void td_arena_free(TdArena *a);

/* ---- charset.c ---- */
typedef enum TdMyEncoding
{
	TD_MY_UTF8, TD_MY_TABLE, TD_MY_UCS2, TD_MY_UTF16, TD_MY_UTF16LE, TD_MY_UTF32, TD_MY_FOREIGN
} TdMyEncoding;

typedef struct TdMyCharset
{
	struct TdMyCharset *next;
	char		name[36];
	TdMyEncoding encoding;
	bool		ascii;			/* bytes below 0x80 are ASCII */
	uint16_t	map[256];		/* TABLE: code point of each byte, 0xFFFF = none */
} TdMyCharset;

/* ---- types.c, discover.c: tables as the source describes them ---- */
typedef enum TdMyKind
{
	TD_MY_UNSUPPORTED, TD_MY_INT, TD_MY_YEAR, TD_MY_FLOAT, TD_MY_DOUBLE, TD_MY_DECIMAL, TD_MY_BIT, TD_MY_TEXT,
	TD_MY_BYTES, TD_MY_ENUM, TD_MY_SET, TD_MY_JSON, TD_MY_DATE, TD_MY_DATETIME, TD_MY_TIMESTAMP, TD_MY_TIME, TD_MY_UUID
} TdMyKind;

typedef struct TdMyColumn
{
	TdColumn   *td;				/* its column of the schema */
	TdMyKind	kind;
	uint8_t		wire;			/* type code in the binlog */
	uint8_t		old_wire;		/* another one it may have, 0 = none */
	bool		is_unsigned;
	bool		is_char;		/* CHAR: trailing spaces don't count */
	uint32_t	pad;			/* BINARY(n): n, else 0 */
	const TdMyCharset *charset; /* of text, enum, set */
	uint32_t	nmembers;		/* of enum and set, in UTF-8 */
	TdBytes    *members;
} TdMyColumn;

typedef struct TdMyTable
{
	TdSchema	schema;
	TdMyColumn *columns;
	uint32_t	nhidden;		/* columns at the end of row events that no SELECT shows */
	bool		transactional;	/* its engine has consistent snapshots */
	int64_t		row_estimate;
	int64_t		row_bytes;		/* average, by the source's statistics */
	TdError		problem;
} TdMyTable;

typedef struct TdMyTables
{
	TdArena		arena;
	uint32_t	n;
	TdMyTable **v;				/* by database and name, in byte order */
} TdMyTables;

/* What information_schema.COLUMNS says of one column. */
typedef struct TdMyColumnText
{
	const char *name;
	const char *data_type;
	const char *column_type;
	const char *charset;		/* NULL = none */
	const char *length;			/* CHARACTER_MAXIMUM_LENGTH, NULL = none; likewise below */
	const char *precision;
	const char *scale;
	const char *fraction;
	bool		not_null;
	bool		is_json;
} TdMyColumnText;

extern bool td_my_map_type(TdConn *conn, TdMyTables *tables, TdMyTable *table, TdMyColumn *column,
						   const TdMyColumnText *text, TdError *err);
extern bool td_my_load_tables(TdConn *conn, const char *database, const char *table, bool with_foreign_keys,
							  TdMyTables *tables, TdError *err);
extern TdMyTable *td_my_find_table(const TdMyTables *tables, const char *database, const char *table);
extern void td_my_free_tables(TdMyTables *tables);
extern TdStatus td_my_discover(TdConn *conn, const char *pattern, TdTableFn emit, void *arg, TdError *err);

/* ---- connect.c ---- */
struct TdConn
{
	const TdHost *host;
	TdMyOptions options;
	MYSQL	   *mysql;
	MYSQL	   *aux;			/* for questions while `mysql` streams; NULL until needed */
	bool		busy;			/* `mysql` is in the middle of a result: it must be made anew */
	bool		fold_names;		/* the source compares table names without case */
	char		grantee[300];	/* 'user'@'host' as the source has it */
	TdMyCharset *charsets;
	struct TdMySnapshot *snapshot;
	struct TdMyStream *stream;
	pthread_mutex_t lock;		/* guards the two below */
	int			fd;				/* of `mysql`, -1 = none */
	bool		interrupted;
};

extern MYSQL *td_my_session(TdConn *conn, TdError *err);	/* free for a statement; NULL = error */
extern bool td_my_reconnect(TdConn *conn, TdError *err);
extern MYSQL_RES *td_my_query(MYSQL *mysql, TdError *err, const char *fmt,...) __attribute__((format(printf, 3, 4)));
extern bool td_my_run(MYSQL *mysql, TdError *err, const char *fmt,...) __attribute__((format(printf, 3, 4)));
extern bool td_my_value(MYSQL *mysql, char *to, size_t size, TdError *err, const char *sql);	/* first column of the first row; "" = NULL */
extern bool td_my_error(TdError *err, unsigned code, const char *message);	/* a source's error number into SQLSTATE */
extern bool td_my_lost(TdError *err, const char *what);
extern char *td_my_quote(MYSQL *mysql, TdArena *a, const char *s);	/* 'literal' */
extern void td_my_log(TdConn *conn, const char *level, const char *fmt,...) __attribute__((format(printf, 3, 4)));
extern const TdMyCharset *td_my_charset(TdConn *conn, const char *name, TdError *err);

/* ---- check.c ---- */
extern TdStatus td_my_check(TdConn *conn, TdCheckFn report, void *arg, TdError *err);
extern bool td_my_check_binlog(MYSQL *mysql, TdError *err);	/* what a stream needs; 55000 with the SET that mends it */
extern void td_my_grant_hint(TdError *err, TdConn *conn, const char *privileges, const char *object);

/* ---- gtid.c ---- */
typedef struct TdGtid
{
	uint32_t	domain;
	uint32_t	server;
	uint64_t	seq;
} TdGtid;

typedef struct TdGtidSet
{
	uint32_t	n;
	uint32_t	cap;
	TdGtid	   *v;				/* one for each domain, by domain */
} TdGtidSet;

extern bool td_gtid_parse(TdGtidSet *set, const char *text, TdError *err);
extern bool td_gtid_covers(const TdGtidSet *set, const TdGtid *gtid);
extern bool td_gtid_advance(TdGtidSet *set, const TdGtid *gtid);	/* false = no memory */
extern char *td_gtid_text(const TdGtidSet *set, TdBuffer *buffer);	/* canonical, inside the buffer */
extern void td_gtid_free(TdGtidSet *set);
extern bool td_my_take_position(TdConn *conn, MYSQL *mysql, char **position, TdError *err);
extern bool td_my_take_snapshot(MYSQL *mysql, char **position, TdError *err);
extern TdStatus td_my_position(TdConn *conn, char **position, TdError *err);
extern TdStatus td_my_position_covers(const char *reached, const char *wanted, bool *covers, TdError *err);

/* ---- value.c, temporal.c: one value into the open row; false = can't be, why is said in the context, nothing was written ---- */
typedef struct TdMyPut
{
	TdBuffer   *out;
	const TdMyColumn *column;
	TdBuffer	scratch;
	const char *sqlstate;
	char		why[256];
} TdMyPut;

typedef struct TdMyDate
{
	unsigned	year;
	unsigned	month;
	unsigned	day;
	unsigned	hour;
	unsigned	minute;
	unsigned	second;
	unsigned	usec;
} TdMyDate;

extern bool td_my_refuse(TdMyPut *put, const char *sqlstate, const char *fmt,...) __attribute__((format(printf, 3, 4)));
extern bool td_my_put_int(TdMyPut *put, uint64_t bits, unsigned width);
extern bool td_my_put_text(TdMyPut *put, const uint8_t *p, size_t len);
extern bool td_my_put_bytes(TdMyPut *put, const uint8_t *p, size_t len);
extern bool td_my_put_bit(TdMyPut *put, const uint8_t *p, size_t len);
extern bool td_my_put_enum(TdMyPut *put, uint64_t index);
extern bool td_my_put_set(TdMyPut *put, uint64_t mask);
extern bool td_my_put_decimal(TdMyPut *put, const char *p, size_t len);
extern bool td_my_put_uuid_text(TdMyPut *put, const char *p, size_t len);
extern bool td_my_put_uuid_bytes(TdMyPut *put, const uint8_t *p, size_t len);
extern bool td_my_put_date(TdMyPut *put, const TdMyDate *d);
extern bool td_my_put_datetime(TdMyPut *put, const TdMyDate *d);
extern bool td_my_put_timestamp(TdMyPut *put, uint32_t seconds, unsigned usec);
extern bool td_my_put_time(TdMyPut *put, bool negative, unsigned hours, unsigned minutes, unsigned seconds, unsigned usec);
extern bool td_my_decode(TdMyCharset const *cs, const uint8_t *p, size_t len, TdBuffer *to);	/* into UTF-8; false = invalid */
extern void td_my_row_error(TdMyPut *put, const TdMyTable *table, TdBytes row, TdError *err);	/* row: its sound values, else NULL */

/* ---- packet.c ---- */
typedef struct TdMyReader
{
	MYSQL	   *mysql;
	int			fd;
	bool		blocking;		/* TLS outside a stream: the library reads */
	struct TdMyPump *pump;		/* TLS in a stream: a thread reads */
	uint8_t    *buf;
	size_t		cap;
	size_t		start;			/* of the packet at hand, its header included */
	size_t		end;
	size_t		part;			/* payload put together so far of a packet of several parts */
	size_t		taken;			/* bytes of the packet handed out last */
} TdMyReader;

extern int64_t td_my_now(void); /* monotonic milliseconds */
extern bool td_my_reader_open(TdMyReader *r, MYSQL *mysql, bool stream, TdError *err);
extern void td_my_reader_close(TdMyReader *r);
extern int	td_my_reader_next(TdMyReader *r, int timeout_ms, TdBytes *packet, TdError *err);	/* 1, 0 = timeout, -1 */
extern bool td_my_packet_error(TdBytes packet, TdError *err);	/* an ERR packet into *err */
extern bool td_my_lenenc(TdReader *r, uint64_t *v);

/* ---- event.c ---- */
typedef struct TdMyEvent
{
	uint32_t	time;
	uint8_t		type;
	uint32_t	server_id;
	uint16_t	flags;
	TdReader	body;			/* without header and checksum */
} TdMyEvent;

/* How the columns of a table lie in its row events: from TABLE_MAP, checked against the table. */
typedef struct TdMyWire
{
	uint8_t		type;			/* real type */
	uint8_t		size;			/* fixed size, or size of the length prefix */
	uint16_t	meta;
} TdMyWire;

typedef struct TdMyLayout
{
	uint32_t	ncolumns;		/* in the event; hidden ones come last */
	TdMyWire   *wires;
	TdBuffer	seen;			/* the TABLE_MAP it was made from */
} TdMyLayout;

typedef struct TdMyTableMap
{
	uint64_t	id;
	uint32_t	ncolumns;
	TdBytes		database;
	TdBytes		table;
	TdBytes		types;
	TdBytes		metas;
	TdBytes		nulls;
	TdBytes		optional;
} TdMyTableMap;

extern bool td_my_read_event(TdBytes packet, bool checksum, TdMyEvent *event, TdError *err);
extern bool td_my_read_format(const TdMyEvent *event, bool *checksum, TdError *err);
extern bool td_my_read_table_map(const TdMyEvent *event, TdMyTableMap *map, TdError *err);
extern bool td_my_make_layout(const TdMyTable *table, const TdMyTableMap *map, TdMyLayout *layout, TdError *err);
extern bool td_my_inflate(TdReader *body, TdBuffer *to, TdError *err);
extern bool td_my_damaged(TdError *err, const char *what);

/* ---- rows.c ---- */
typedef struct TdMyRowsEvent
{
	TdOp		op;
	uint64_t	table_id;
	bool		last;			/* of its statement */
	uint32_t	ncolumns;
	TdBytes		present;		/* bitmap; of an UPDATE: of both images */
	TdReader	rows;
} TdMyRowsEvent;

extern bool td_my_read_rows(const TdMyEvent *event, TdBuffer *scratch, TdMyRowsEvent *rows, TdError *err);
extern bool td_my_write_rows(TdMyPut *put, const TdMyTable *table, const TdMyLayout *layout, TdMyRowsEvent *rows,
							 uint64_t *nrows, TdError *err);

/* ---- ddl.c ---- */
typedef enum TdMyStatement
{
	TD_MY_HARMLESS, TD_MY_COMMIT, TD_MY_ROLLBACK, TD_MY_ROLLBACK_TO, TD_MY_TRUNCATE, TD_MY_DDL, TD_MY_DML, TD_MY_DML_OTHER
} TdMyStatement;

/* Answers whether a table is followed: its number, 0 = no.  table == NULL: any table of the database. */
typedef uint32_t (*TdMyFindFn) (void *arg, const char *database, const char *table);

extern TdMyStatement td_my_classify(const char *text, size_t len, const char *database, bool ansi_quotes,
									TdMyFindFn find, void *arg, uint32_t *table);

/* ---- cursor.c ---- */
extern bool td_my_cursor_where(const TdMyTable *table, const char *cursor, TdBuffer *sql, TdError *err);
extern void td_my_cursor_add(const TdMyColumn *column, bool first, uint8_t type, const uint8_t *p, size_t len, TdBuffer *to);
extern void td_my_append(TdBuffer *b, const char *fmt,...) __attribute__((format(printf, 2, 3)));
extern void td_my_append_name(TdBuffer *b, const char *name);	/* `quoted` */
extern void td_my_append_hex(TdBuffer *b, const uint8_t *p, size_t len);

/* ---- follow.c, stream.c ---- */
/* A table that is followed. */
typedef struct TdMyFollowed
{
	TdMyTable  *table;
	TdMyLayout	layout;
	TdGtidSet	skip;			/* transactions that the load has seen already */
	bool		described;		/* its SCHEMA record is written */
	bool		missing;		/* it is gone meanwhile: its rows can't be read, the statement that took it is to come */
} TdMyFollowed;

/* A TABLE_MAP of the present group. */
typedef struct TdMyMapped
{
	uint64_t	id;
	TdMyFollowed *followed;		/* NULL = not ours, or skipped */
} TdMyMapped;

typedef struct TdMyStream
{
	TdConn	   *conn;
	TdMyTables *sets;			/* what the followed tables live in */
	TdArena		arena;			/* those that are missing */
	uint32_t	nsets;
	TdMyFollowed *followed;
	TdMyFollowed **order;			/* by name */
	uint32_t	n;
	TdMyReader	reader;
	bool		checksum;
	TdGtidSet	reached;
	TdGtid		gtid;			/* of the present group */
	uint8_t		flags;
	bool		in_group;
	uint64_t	rows;			/* records of the present group */
	TdMyFollowed *unfinished;		/* the table of the row event at hand, NULL = all of it is written */
	TdMyRowsEvent event;
	TdMyMapped *maps;
	uint32_t	nmaps;
	uint32_t	maps_cap;
	bool		bare;			/* the set moved on without a record */
	int64_t		bare_time;
	bool		stop;			/* this poll ends here */
	bool		warned;
	int64_t		quiet;			/* milliseconds waited since a packet came */
	TdMyPut		put;
	TdBuffer	text;
	TdBuffer	inflated;
	TdError		failure;		/* told by the next poll */
} TdMyStream;

extern bool td_my_follow(TdConn *conn, TdMyStream *s, const TdTableRef *tables, uint32_t ntables, TdError *err);
extern TdMyFollowed *td_my_find_followed(const TdMyStream *s, const char *database, const char *table);
extern bool td_my_same_database(const TdMyStream *s, const char *a, const char *b);

/* ---- snapshot.c, stream.c ---- */
extern TdStatus td_my_snapshot_start(TdConn *conn, const TdTableRef *ref, const char *cursor, int64_t limit, char **position, TdError *err);
extern TdStatus td_my_snapshot_read(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err);
extern void td_my_snapshot_free(TdConn *conn);
extern TdStatus td_my_stream_start(TdConn *conn, const char *position, const TdTableRef *tables, uint32_t ntables, TdError *err);
extern TdStatus td_my_stream_poll(TdConn *conn, int timeout_ms, TdBuffer *out, TdError *err);
extern void td_my_stream_free(TdConn *conn);

/* ---- little-endian and big-endian numbers of n bytes, n <= 8 ---- */
static inline uint64_t
td_little(const uint8_t *p, unsigned n)
{
	uint64_t	v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t) p[i] << (8 * i);
	return v;
}

static inline uint64_t
td_big(const uint8_t *p, unsigned n)
{
	uint64_t	v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* Takes n bytes; NULL = there are fewer. */
static inline const uint8_t *
td_my_take(TdReader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (td_unlikely((size_t) (r->end - p) < n))
		return NULL;
	r->p = p + n;
	return p;
}

#endif							/* TD_MYSQL_INTERNAL_H */
