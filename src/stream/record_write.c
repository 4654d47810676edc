/*-------------------------------------------------------------------------
 *
 * record_write.c
 *		Writing records into a growing buffer.
 *
 * NOTES
 *		The hot path of every connector: one bounds test a value, no
 *		allocation but the doubling of the buffer.  Where memory ends, or a
 *		record outgrows its 32-bit size, or a row does not hold the columns it
 *		was announced with, or a record begins past the buffer's limit, the
 *		buffer is marked `failed`; from then on every writer does nothing, so a
 *		caller tests once, at the end.
 *
 *		A failed buffer has cap == len: every writer then takes the slow path
 *		of td_buffer_reserve, which knows of the failure.
 *
 * src/stream/record_write.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "stream/record_internal.h"

#define FIRST_SIZE 8192

/* Frees the memory; the buffer may be used again. */
void
td_buffer_free(TdBuffer *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

/* Empties the buffer, forgets a failure and keeps the memory. */
void
td_buffer_reset(TdBuffer *b)
{
	b->len = 0;
	b->start = 0;
	b->row = 0;
	b->column = 0;
	b->ncolumns = 0;
	b->failed = false;
}

/* Marks the buffer as failed and closes the fast path. */
static void
fail(TdBuffer *b)
{
	b->failed = true;
	b->cap = b->len;
}

/* Makes sure that `more` bytes fit. */
bool
td_buffer_reserve(TdBuffer *b, size_t more)
{
	size_t		want;
	uint8_t    *data;

	if (b->failed)
		return false;
	if (b->cap - b->len >= more)
		return true;
	if (more > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
	{
		fail(b);
		return false;
	}
	want = b->len + more;
	if (want < b->cap * 2)
		want = b->cap * 2;
	if (want < FIRST_SIZE)
		want = FIRST_SIZE;
	data = realloc(b->data, want);
	if (data == NULL)
	{
		fail(b);
		return false;
	}
	b->data = data;
	b->cap = want;
	return true;
}

/* Room for n bytes at the end, NULL in a failed buffer; the caller moves len on. */
static inline uint8_t *
room(TdBuffer *b, size_t n)
{
	if (td_unlikely(b->cap - b->len < n) && !td_buffer_reserve(b, n))
		return NULL;
	return b->data + b->len;
}

/* Appends a value of n bytes; n is a constant wherever this is inlined. */
static inline void
put(TdBuffer *b, const void *data, size_t n)
{
	uint8_t    *to = room(b, n);

	if (td_likely(to != NULL))
	{
		memcpy(to, data, n);
		b->len += n;
	}
}

/* Appends bytes as they are. */
void
td_buffer_append(TdBuffer *b, const void *data, size_t len)
{
	if (len > 0)
		put(b, data, len);
}

/* Opens a record. */
void
td_write_begin(TdBuffer *b, TdOp op, uint32_t table)
{
	uint8_t    *to = room(b, TD_RECORD_HEADER);

	b->start = b->len;
	b->row = b->len;
	if (td_unlikely(b->limit > 0 && b->len > b->limit))
		fail(b);
	if (td_unlikely(to == NULL || b->failed))
		return;
	memset(to, 0, TD_RECORD_HEADER);
	to[TD_RECORD_OP] = (uint8_t) op;
	memcpy(to + TD_RECORD_TABLE, &table, sizeof(table));
	b->len += TD_RECORD_HEADER;
}

/* Closes the open record: its size is known now.  A record that failed on the way is forgotten. */
void
td_write_end(TdBuffer *b)
{
	size_t		len = b->len - b->start;
	uint32_t	size = (uint32_t) len;

	if (td_unlikely(!b->failed && len > UINT32_MAX))
		fail(b);
	if (td_unlikely(b->failed))
	{
		td_write_cancel(b);
		return;
	}
	memcpy(b->data + b->start, &size, sizeof(size));
}

/* Forgets the open record. */
void
td_write_cancel(TdBuffer *b)
{
	b->len = b->start;
	if (b->failed)
		b->cap = b->len;
}

/* Opens a row; all its states begin as TD_VALUE. */
void
td_write_row(TdBuffer *b, uint32_t ncolumns)
{
	size_t		head = TD_ROW_HEADER + td_state_bytes(ncolumns);
	uint8_t    *to = room(b, head);

	b->row = b->len;
	b->column = 0;
	b->ncolumns = ncolumns;
	if (td_unlikely(to == NULL))
		return;
	memset(to, 0, head);
	b->len += head;
}

/* Closes the row.  One that lacks a column, or has one too many, would be read as garbage: the buffer fails. */
void
td_write_row_end(TdBuffer *b)
{
	size_t		len = b->len - b->row - TD_ROW_HEADER;
	uint32_t	size = (uint32_t) len;

	if (td_unlikely(b->failed))
		return;
	if (td_unlikely(len > UINT32_MAX || b->column != b->ncolumns || b->data[b->start + TD_RECORD_ROWS] >= 2))
	{
		fail(b);
		return;
	}
	memcpy(b->data + b->row, &size, sizeof(size));
	b->data[b->start + TD_RECORD_ROWS]++;
}

/* A column without a value. */
void
td_put_state(TdBuffer *b, TdState state)
{
	uint32_t	column = b->column++;

	if (td_unlikely(b->failed))
		return;
	if (td_unlikely(column >= b->ncolumns))
	{
		fail(b);
		return;
	}
	b->data[b->row + TD_ROW_HEADER + column / 4] |= (uint8_t) ((unsigned) state << (column % 4 * 2));
}

/* An integer in the width of its type. */
void
td_put_int(TdBuffer *b, TdType type, int64_t v)
{
	b->column++;
	switch (type)
	{
		case TD_BOOL:
			{
				uint8_t		narrow = v != 0;

				put(b, &narrow, sizeof(narrow));
				break;
			}
		case TD_INT2:
			{
				int16_t		narrow = (int16_t) v;

				put(b, &narrow, sizeof(narrow));
				break;
			}
		case TD_INT4:
		case TD_DATE:
			{
				int32_t		narrow = (int32_t) v;

				put(b, &narrow, sizeof(narrow));
				break;
			}
		case TD_INT8:
		case TD_TIMESTAMP:
		case TD_TIMESTAMPTZ:
			put(b, &v, sizeof(v));
			break;
		default:
			fail(b);
	}
}

/* TD_UINT8 */
void
td_put_uint(TdBuffer *b, uint64_t v)
{
	b->column++;
	put(b, &v, sizeof(v));
}

/* TD_FLOAT4 */
void
td_put_float4(TdBuffer *b, float v)
{
	b->column++;
	put(b, &v, sizeof(v));
}

/* TD_FLOAT8 */
void
td_put_float8(TdBuffer *b, double v)
{
	b->column++;
	put(b, &v, sizeof(v));
}

/* TD_INTERVAL */
void
td_put_interval(TdBuffer *b, int64_t usec, int32_t days, int32_t months)
{
	uint8_t    *to = room(b, 16);

	b->column++;
	if (td_unlikely(to == NULL))
		return;
	memcpy(to, &usec, 8);
	memcpy(to + 8, &days, 4);
	memcpy(to + 12, &months, 4);
	b->len += 16;
}

/* Any "var" type, already in its form. */
void
td_put_bytes(TdBuffer *b, const void *data, uint32_t len)
{
	uint8_t    *to = room(b, (size_t) len + 4);

	b->column++;
	if (td_unlikely(to == NULL))
		return;
	memcpy(to, &len, 4);
	if (len > 0)
		memcpy(to + 4, data, len);
	b->len += (size_t) len + 4;
}

/* TD_UUID */
void
td_put_uuid(TdBuffer *b, const uint8_t *data16)
{
	b->column++;
	put(b, data16, 16);
}

/* TD_BIT from right-aligned bytes: shifted left, so that the first bit is the highest of the first byte. */
void
td_put_bits(TdBuffer *b, const uint8_t *bits, uint32_t nbits)
{
	uint32_t	n = nbits / 8 + (nbits % 8 != 0);
	uint32_t	shift = (8 - nbits % 8) % 8;
	uint32_t	len = n + 4;
	uint8_t    *to = room(b, (size_t) len + 4);

	b->column++;
	if (td_unlikely(to == NULL))
		return;
	memcpy(to, &len, 4);
	memcpy(to + 4, &nbits, 4);
	to += 8;
	for (uint32_t i = 0; i < n; i++)
	{
		unsigned	next = i + 1 < n ? bits[i + 1] : 0;

		to[i] = (uint8_t) (((unsigned) bits[i] << shift) | (shift ? next >> (8 - shift) : 0));
	}
	b->len += (size_t) len + 4;
}

/* TD_TEXT_ARRAY */
void
td_put_array(TdBuffer *b, uint32_t n, const TdBytes *items)
{
	size_t		len = 4;
	uint32_t	size;

	for (uint32_t i = 0; i < n; i++)
		len += 4 + (size_t) items[i].len;
	b->column++;
	if (len > UINT32_MAX)
	{
		fail(b);
		return;
	}
	if (!td_buffer_reserve(b, len + 4))
		return;
	size = (uint32_t) len;
	put(b, &size, 4);
	put(b, &n, 4);
	for (uint32_t i = 0; i < n; i++)
	{
		put(b, &items[i].len, 4);
		td_buffer_append(b, items[i].data, items[i].len);
	}
}

/* All rows of the table are gone. */
void
td_write_truncate(TdBuffer *b, uint32_t table)
{
	td_write_begin(b, TD_OP_TRUNCATE, table);
	td_write_end(b);
}

/* The end of a source transaction. */
void
td_write_commit(TdBuffer *b, const char *position, int64_t time)
{
	td_write_begin(b, TD_OP_COMMIT, 0);
	put(b, &time, sizeof(time));
	td_buffer_append(b, position, strlen(position));
	td_write_end(b);
}

/* A statement that changed the structure of a table. */
void
td_write_ddl(TdBuffer *b, uint32_t table, const char *position, const char *statement, size_t len)
{
	uint32_t	n = (uint32_t) strlen(position);

	td_write_begin(b, TD_OP_DDL, table);
	put(b, &n, sizeof(n));
	td_buffer_append(b, position, n);
	td_buffer_append(b, statement, len);
	td_write_end(b);
}

/* All rows before this one are whole; reading may begin again at the cursor. */
void
td_write_chunk(TdBuffer *b, uint32_t table, const char *cursor)
{
	td_write_begin(b, TD_OP_CHUNK, table);
	td_buffer_append(b, cursor, strlen(cursor));
	td_write_end(b);
}

/* The table is complete. */
void
td_write_end_of_table(TdBuffer *b, uint32_t table)
{
	td_write_begin(b, TD_OP_END, table);
	td_write_end(b);
}

/* The answer to a MARK. */
void
td_write_mark(TdBuffer *b, uint64_t number)
{
	td_write_begin(b, TD_OP_MARK, 0);
	put(b, &number, sizeof(number));
	td_write_end(b);
}
