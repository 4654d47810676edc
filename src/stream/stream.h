/*-------------------------------------------------------------------------
 *
 * stream.h
 *		The door of stream/: the record model, its binary format, the spool.
 *
 * NOTES
 *		Pure C11, no thread, no global; compiled into the server library, the
 *		host and every connector.  Numbers are in host byte order.  Every reader
 *		checks bounds and answers false on damaged bytes; none trusts a length.
 *
 * src/stream/stream.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_STREAM_H
#define TD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An error as a value. */
typedef struct TdError
{
	char		sqlstate[6];	/* a PostgreSQL SQLSTATE; "" = no error */
	bool		retryable;		/* may go away by itself: network, lock, disk, shutdown */
	char		message[512];	/* lower case, no full stop; never holds a secret */
	char		detail[1024];	/* facts, "" = none */
	char		hint[512];		/* what to do, "" = none */
} TdError;

/* Fills *err (sqlstate, message by printf rules); retryable follows the class (08, 40, 53, 57).  Returns false always. */
extern bool td_error_set(TdError *err, const char *sqlstate, const char *fmt,...) __attribute__((format(printf, 3, 4)));
extern bool td_error_hint(TdError *err, const char *fmt,...) __attribute__((format(printf, 2, 3)));
extern bool td_error_detail(TdError *err, const char *fmt,...) __attribute__((format(printf, 2, 3)));

/* Types of values and their encoding inside a row.  "var" = uint32 length, then that many bytes. */
typedef enum TdType
{
	TD_BOOL = 1,				/* uint8 0|1 */
	TD_INT2, TD_INT4, TD_INT8,	/* int16, int32, int64 */
	TD_UINT8,					/* uint64; numeric(20,0) in PostgreSQL */
	TD_FLOAT4, TD_FLOAT8,		/* float, double */
	TD_DECIMAL,					/* var: the binary form of numeric_send (big-endian ndigits, weight, sign, dscale, base-10000 digits) */
	TD_TEXT,					/* var: UTF-8, no NUL byte; length > 0 = varchar(length), else text */
	TD_BYTES,					/* var */
	TD_DATE,					/* int32 days since 2000-01-01 */
	TD_TIMESTAMP,				/* int64 microseconds since 2000-01-01, no zone; length = fractional digits */
	TD_TIMESTAMPTZ,				/* the same in UTC; length = fractional digits */
	TD_INTERVAL,				/* int64 microseconds, int32 days, int32 months (16 bytes); length = fractional digits */
	TD_JSON,					/* var: JSON text in UTF-8; jsonb in PostgreSQL */
	TD_BIT,						/* var: uint32 number of bits, then the bits, most significant first; length = n */
	TD_TEXT_ARRAY,				/* var: uint32 count, then count times var (UTF-8) */
	TD_UUID						/* 16 bytes */
} TdType;

typedef struct TdColumn
{
	char	   *name, *native;	/* the source's own type text, "int(10) unsigned" */
	TdType		type;
	int32_t		length;			/* varchar characters, precision, bits or fractional digits; -1 = none */
	int32_t		scale;			/* of TD_DECIMAL; -1 = none */
	bool		not_null;
} TdColumn;

typedef struct TdSchema
{
	uint32_t	table_id;		/* by which records name the table; the connector's choice, unique in a stream, never 0 */
	char	   *database;		/* "" where the source has no such level */
	char	   *table;
	uint32_t	ncolumns;
	TdColumn   *columns;
	uint32_t	nkeys;			/* 0 = no primary key */
	uint32_t   *keys;			/* positions in columns[], in key order */
} TdSchema;

typedef enum TdOp
{
	TD_OP_INSERT = 1,			/* new row */
	TD_OP_UPDATE,				/* old row, new row */
	TD_OP_DELETE,				/* old row */
	TD_OP_TRUNCATE,				/* the whole table */
	TD_OP_SCHEMA,				/* TdSchema: precedes the first row of its table, and the first after each change */
	TD_OP_COMMIT,				/* end of a source transaction: position, time.  Also bare, to move the position on */
	TD_OP_DDL,					/* position, text = statement; table = the table it concerns, 0 = unknown */
	TD_OP_CHUNK,				/* snapshot only: text = cursor; all rows before it are whole and may be committed with it */
	TD_OP_END,					/* snapshot only: the table is complete */
	TD_OP_MARK					/* number: the answer to TD_MSG_MARK, in its place in the stream */
} TdOp;

/* A value's state: two bits a column, at the head of a row. */
typedef enum TdState
{
	TD_VALUE = 0, TD_NULL,
	TD_ABSENT,					/* the source did not say: keep what the target has */
	TD_UNCHANGED				/* the source says it did not change */
} TdState;

typedef struct TdBytes
{
	const uint8_t *data;
	uint32_t	len;
} TdBytes;

typedef struct TdValue
{
	TdState		state;
	union
	{
		int64_t		i;			/* BOOL INT2 INT4 INT8 DATE TIMESTAMP TIMESTAMPTZ; INTERVAL: microseconds */
		uint64_t	u;			/* UINT8 */
		float		f4;
		double		f8;
	};
	int32_t		days, months;	/* INTERVAL */
	TdBytes		bytes;			/* all "var" types and UUID; points into the record */
} TdValue;

/* A record as read: everything points into the buffer it was read from. */
typedef struct TdRecord
{
	TdOp		op;
	uint32_t	table;
	TdBytes		whole;			/* the record itself, header included: what a spool keeps */
	TdBytes		old_row, new_row;	/* len 0 = none */
	TdBytes		position;		/* COMMIT, DDL */
	TdBytes		text;			/* DDL statement, CHUNK cursor, SCHEMA body */
	int64_t		time;			/* COMMIT: microseconds since 2000-01-01 UTC, INT64_MIN = unknown */
	uint64_t	number;			/* MARK */
} TdRecord;

/* ---- writing.  Out of memory, or a row without exactly its columns: `failed` stays set until the reset, and writes do nothing. ---- */
typedef struct TdBuffer
{
	uint8_t    *data;
	size_t		len, cap;
	size_t		start, row;		/* private: where the open record and row began */
	uint32_t	column, ncolumns;	/* private: columns put, columns announced */
	size_t		limit;			/* no record begins beyond it: `failed` is set; 0 = none */
	bool		failed;
} TdBuffer;

extern void td_buffer_free(TdBuffer *b);
extern void td_buffer_reset(TdBuffer *b);	/* keeps the memory */
extern bool td_buffer_reserve(TdBuffer *b, size_t more);
extern void td_buffer_append(TdBuffer *b, const void *data, size_t len);

extern void td_write_begin(TdBuffer *b, TdOp op, uint32_t table);	/* then one or two rows (UPDATE: old, new) */
extern void td_write_end(TdBuffer *b);
extern void td_write_cancel(TdBuffer *b);	/* forgets the open record */
extern void td_write_row(TdBuffer *b, uint32_t ncolumns);	/* then one td_put_* for each column, in order */
extern void td_write_row_end(TdBuffer *b);
extern void td_put_state(TdBuffer *b, TdState state);	/* NULL, ABSENT, UNCHANGED */
extern void td_put_int(TdBuffer *b, TdType type, int64_t v);	/* BOOL INT2 INT4 INT8 DATE TIMESTAMP TIMESTAMPTZ */
extern void td_put_uint(TdBuffer *b, uint64_t v);	/* UINT8 */
extern void td_put_float4(TdBuffer *b, float v), td_put_float8(TdBuffer *b, double v);
extern void td_put_interval(TdBuffer *b, int64_t usec, int32_t days, int32_t months);
extern void td_put_bytes(TdBuffer *b, const void *data, uint32_t len);	/* any "var" type, already in its form */
extern void td_put_uuid(TdBuffer *b, const uint8_t *data16);
extern bool td_put_decimal(TdBuffer *b, const char *text, size_t len);	/* "-12.340" -> TD_DECIMAL; false = not a number */
extern void td_put_bits(TdBuffer *b, const uint8_t *bits, uint32_t nbits);	/* right-aligned big-endian bytes, as MySQL sends them */
extern void td_put_array(TdBuffer *b, uint32_t n, const TdBytes *items);

extern void td_write_schema(TdBuffer *b, const TdSchema *schema);
extern void td_write_truncate(TdBuffer *b, uint32_t table);
extern void td_write_commit(TdBuffer *b, const char *position, int64_t time);
extern void td_write_ddl(TdBuffer *b, uint32_t table, const char *position, const char *statement, size_t len);
extern void td_write_chunk(TdBuffer *b, uint32_t table, const char *cursor);
extern void td_write_end_of_table(TdBuffer *b, uint32_t table);
extern void td_write_mark(TdBuffer *b, uint64_t number);

/* ---- reading ---- */
typedef struct TdReader
{
	const uint8_t *p, *end;
} TdReader;

extern int	td_read_record(TdReader *r, TdRecord *rec);	/* 1 = one read, 0 = at the end, -1 = damaged */
extern bool td_read_row(const TdSchema *schema, TdBytes row, TdValue *values);	/* values[schema->ncolumns]; checks sizes, not UTF-8 */
extern bool td_read_array(TdBytes value, uint32_t *n, TdReader *items);	/* then n times: */
extern bool td_read_item(TdReader *items, TdBytes *item);
extern TdSchema *td_schema_read(const TdRecord *rec);	/* malloc'ed in one block: free() it; NULL = damaged or no memory */
extern TdSchema *td_schema_copy(const TdSchema *schema);	/* likewise */
extern bool td_schema_equal(const TdSchema *a, const TdSchema *b);	/* all but table_id */
extern bool td_utf8_valid(const uint8_t *s, size_t len);	/* strict UTF-8 without NUL */
extern bool td_glob(const char *pattern, const char *text);	/* `*` and `?` */

/* ---- the spool: blocks of whole records, memory first, one unlinked file past the bound.  One writer, then one reader. ---- */
typedef struct TdSpool TdSpool;

extern TdSpool *td_spool_create(const char *directory, size_t memory_limit, uint64_t disk_limit /* 0 = none */ , TdError *err);
extern bool td_spool_append(TdSpool *s, const void *block, size_t len, TdError *err);	/* 53100 disk full, 54000 past disk_limit */
extern uint64_t td_spool_size(const TdSpool *s);	/* bytes appended */
extern uint64_t td_spool_on_disk(const TdSpool *s);
extern bool td_spool_rewind(TdSpool *s, TdError *err);	/* from writing to reading, also to read again */
extern int	td_spool_read(TdSpool *s, TdBytes *block, TdError *err);	/* 1, 0 at the end, -1 error; valid until the next call */
extern void td_spool_reset(TdSpool *s);	/* empty, ready to write; gives the disk space back */
extern void td_spool_destroy(TdSpool *s);

#endif							/* TD_STREAM_H */
