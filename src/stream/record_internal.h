/*-------------------------------------------------------------------------
 *
 * record_internal.h
 *		The layout of a record, shared by its writers and its readers.
 *
 * NOTES
 *		record	uint32 size (all of it), uint8 op, uint8 number of rows,
 *				uint16 0, uint32 table, body
 *		body	rows			INSERT, UPDATE (old, new; or new alone), DELETE
 *				nothing			TRUNCATE, END
 *				schema			SCHEMA: see schema.c
 *				int64, text		COMMIT: time, position
 *				var, text		DDL: position, statement
 *				text			CHUNK: cursor
 *				uint64			MARK: number
 *		row		uint32 size of what follows, two state bits a column (the
 *				first column in the lowest bits), the values with state
 *				TD_VALUE in column order, unaligned
 *
 * src/stream/record_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_RECORD_INTERNAL_H
#define TD_RECORD_INTERNAL_H

#include <string.h>

#include "stream/stream.h"

#define TD_RECORD_HEADER 12
#define TD_RECORD_OP 4
#define TD_RECORD_ROWS 5
#define TD_RECORD_ZERO 6
#define TD_RECORD_TABLE 8
#define TD_ROW_HEADER 4
#define TD_DECIMAL_HEADER 8

#define td_likely(x) __builtin_expect(!!(x), 1)
#define td_unlikely(x) __builtin_expect(!!(x), 0)

/* Bytes of the states of a row. */
static inline size_t
td_state_bytes(uint32_t ncolumns)
{
	return ((size_t) ncolumns + 3) / 4;
}

/* A number at an unaligned address. */
static inline uint32_t
td_load32(const uint8_t *p)
{
	uint32_t	v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Likewise. */
static inline uint64_t
td_load64(const uint8_t *p)
{
	uint64_t	v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Takes n bytes, or answers NULL when there are fewer. */
static inline const uint8_t *
td_take(TdReader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (td_unlikely((size_t) (r->end - p) < n))
		return NULL;
	r->p = p + n;
	return p;
}

/* Takes a "var": uint32 length and as many bytes. */
static inline bool
td_take_var(TdReader *r, TdBytes *bytes)
{
	const uint8_t *p = td_take(r, 4);

	if (td_unlikely(p == NULL))
		return false;
	bytes->len = td_load32(p);
	bytes->data = td_take(r, bytes->len);
	return bytes->data != NULL;
}

#endif							/* TD_RECORD_INTERNAL_H */
