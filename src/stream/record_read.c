/*-------------------------------------------------------------------------
 *
 * record_read.c
 *		Reading records, rows and arrays.
 *
 * NOTES
 *		Nothing is copied: all that is read points into the caller's buffer.
 *		Every length is tested against what is left before it is used; bytes
 *		that are left over at the end of a row or a body are damage too, since
 *		they mean that writer and reader disagree about the table.
 *
 * src/stream/record_read.c
 *
 *-------------------------------------------------------------------------
 */
#include "stream/record_internal.h"

/* Takes a row with its size. */
static inline bool
take_row(TdReader *r, TdBytes *row)
{
	return td_take_var(r, row);
}

/* The rows of INSERT, UPDATE and DELETE; a lone row of an UPDATE is the new one. */
static inline bool
read_rows(TdReader *body, uint8_t nrows, TdRecord *rec)
{
	if (nrows == 2)
	{
		if (rec->op != TD_OP_UPDATE || !take_row(body, &rec->old_row) || !take_row(body, &rec->new_row))
			return false;
	}
	else if (nrows != 1 || !take_row(body, rec->op == TD_OP_DELETE ? &rec->old_row : &rec->new_row))
		return false;
	return body->p == body->end;
}

/* Takes all that is left as text. */
static void
take_rest(TdReader *body, TdBytes *text)
{
	text->data = body->p;
	text->len = (uint32_t) (body->end - body->p);
	body->p = body->end;
}

/* The bodies without rows. */
static bool
read_body(TdReader *body, TdRecord *rec)
{
	const uint8_t *p;

	switch (rec->op)
	{
		case TD_OP_COMMIT:
			p = td_take(body, 8);
			if (p == NULL)
				return false;
			rec->time = (int64_t) td_load64(p);
			take_rest(body, &rec->position);
			return true;
		case TD_OP_DDL:
			if (!td_take_var(body, &rec->position))
				return false;
			take_rest(body, &rec->text);
			return true;
		case TD_OP_SCHEMA:
		case TD_OP_CHUNK:
			take_rest(body, &rec->text);
			return true;
		case TD_OP_MARK:
			p = td_take(body, 8);
			if (p == NULL)
				return false;
			rec->number = td_load64(p);
			return body->p == body->end;
		case TD_OP_TRUNCATE:
		case TD_OP_END:
			return body->p == body->end;
		default:
			return false;
	}
}

/* Reads the next record.  The reader stays where it was when the bytes are damaged. */
int
td_read_record(TdReader *r, TdRecord *rec)
{
	const uint8_t *head = r->p;
	size_t		left = (size_t) (r->end - head);
	uint32_t	size;
	TdReader	body;
	bool		good;

	memset(rec, 0, sizeof(*rec));
	if (left == 0)
		return 0;
	if (left < TD_RECORD_HEADER)
		return -1;
	size = td_load32(head);
	if (size < TD_RECORD_HEADER || size > left || head[TD_RECORD_ZERO] != 0 || head[TD_RECORD_ZERO + 1] != 0)
		return -1;
	rec->op = (TdOp) head[TD_RECORD_OP];
	rec->table = td_load32(head + TD_RECORD_TABLE);
	rec->whole.data = head;
	rec->whole.len = size;
	body.p = head + TD_RECORD_HEADER;
	body.end = head + size;
	if (rec->op >= TD_OP_INSERT && rec->op <= TD_OP_DELETE)
		good = rec->table != 0 && read_rows(&body, head[TD_RECORD_ROWS], rec);
	else
		good = head[TD_RECORD_ROWS] == 0 && read_body(&body, rec);
	if (!good)
		return -1;
	r->p = head + size;
	return 1;
}

/* A "var" whose inner form has a size of its own that must fit. */
static bool
check_form(TdType type, TdBytes bytes)
{
	if (type == TD_DECIMAL)
		return bytes.len >= TD_DECIMAL_HEADER &&
			bytes.len == TD_DECIMAL_HEADER + 2u * ((unsigned) bytes.data[0] << 8 | bytes.data[1]);
	if (type == TD_BIT)
	{
		uint32_t	nbits;

		if (bytes.len < 4)
			return false;
		nbits = td_load32(bytes.data);
		return bytes.len - 4 == nbits / 8 + (nbits % 8 != 0);
	}
	if (type == TD_TEXT_ARRAY)
		return bytes.len >= 4;
	return true;
}

/* Reads one value by its type. */
static inline bool
read_value(TdReader *r, TdType type, TdValue *value)
{
	const uint8_t *p;

#define FIXED(n) \
	if (td_unlikely((p = td_take(r, (n))) == NULL)) \
		return false

	switch (type)
	{
		case TD_BOOL:
			FIXED(1);
			value->i = *p;
			return *p <= 1;
		case TD_INT2:
			{
				int16_t		v;

				FIXED(2);
				memcpy(&v, p, sizeof(v));
				value->i = v;
				return true;
			}
		case TD_INT4:
		case TD_DATE:
			FIXED(4);
			value->i = (int32_t) td_load32(p);
			return true;
		case TD_INT8:
		case TD_TIMESTAMP:
		case TD_TIMESTAMPTZ:
		case TD_UINT8:
		case TD_FLOAT8:
			FIXED(8);
			value->u = td_load64(p);
			return true;
		case TD_FLOAT4:
			FIXED(4);
			memcpy(&value->f4, p, 4);
			return true;
		case TD_INTERVAL:
			FIXED(16);
			value->i = (int64_t) td_load64(p);
			value->days = (int32_t) td_load32(p + 8);
			value->months = (int32_t) td_load32(p + 12);
			return true;
		case TD_UUID:
			FIXED(16);
			value->bytes.data = p;
			value->bytes.len = 16;
			return true;
		case TD_TEXT:
		case TD_BYTES:
		case TD_JSON:
			return td_take_var(r, &value->bytes);
		case TD_DECIMAL:
		case TD_BIT:
		case TD_TEXT_ARRAY:
			return td_take_var(r, &value->bytes) && check_form(type, value->bytes);
	}
#undef FIXED
	return false;
}

/* Are the state bits behind the last column zero? */
static inline bool
clean_tail(const uint8_t *states, uint32_t ncolumns)
{
	return ncolumns % 4 == 0 || states[ncolumns / 4] >> (ncolumns % 4 * 2) == 0;
}

/* Decodes a row of the table into values[schema->ncolumns]. */
bool
td_read_row(const TdSchema *schema, TdBytes row, TdValue *values)
{
	TdReader	r = {row.data, row.data + row.len};
	uint32_t	ncolumns = schema->ncolumns;
	const uint8_t *states;

	if (row.data == NULL)
		return false;
	states = td_take(&r, td_state_bytes(ncolumns));
	if (states == NULL || !clean_tail(states, ncolumns))
		return false;
	for (uint32_t i = 0; i < ncolumns; i++)
	{
		values[i].state = (TdState) (states[i / 4] >> (i % 4 * 2) & 3);
		if (values[i].state == TD_VALUE && td_unlikely(!read_value(&r, schema->columns[i].type, &values[i])))
			return false;
	}
	return r.p == r.end;
}

/* Opens a TD_TEXT_ARRAY: its count, and a reader for td_read_item. */
bool
td_read_array(TdBytes value, uint32_t *n, TdReader *items)
{
	if (value.data == NULL || value.len < 4)
		return false;
	*n = td_load32(value.data);
	items->p = value.data + 4;
	items->end = value.data + value.len;
	return *n <= (value.len - 4) / 4;
}

/* The next item of an array. */
bool
td_read_item(TdReader *items, TdBytes *item)
{
	return td_take_var(items, item);
}
