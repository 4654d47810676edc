/*-------------------------------------------------------------------------
 *
 * types.c
 *		Types and values of PostgreSQL as records have them.
 *
 * NOTES
 *		Values come in the binary form of their send functions, from load and
 *		stream alike: one reader, so a value is the same by either way.  What has
 *		no counterpart (time, json, inet, ranges, other arrays ...) is refused by
 *		column; a value that has none (an array with nulls) by row.
 *
 * connectors/tapdata/types.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "tapdata_internal.h"

#define VARHDRSZ 4
#define NO_LENGTH (-1)
#define FULL_PRECISION 0xFFFF
#define FULL_RANGE 0x7FFF

/* What typmod says. */
typedef enum Modifier
{
	NOTHING, CHARACTERS, DIGITS, NUMBER, INTERVAL, BITS
} Modifier;

static const struct
{
	uint32_t	oid;
	TdType		type;
	Modifier	modifier;
}			types[] =
{
	{16, TD_BOOL, NOTHING}, {21, TD_INT2, NOTHING}, {23, TD_INT4, NOTHING}, {20, TD_INT8, NOTHING},
	{700, TD_FLOAT4, NOTHING}, {701, TD_FLOAT8, NOTHING}, {1700, TD_DECIMAL, NUMBER},
	{25, TD_TEXT, NOTHING}, {1043, TD_TEXT, CHARACTERS}, {1042, TD_TEXT, CHARACTERS}, {19, TD_TEXT, NOTHING},
	{17, TD_BYTES, NOTHING}, {1082, TD_DATE, NOTHING}, {1114, TD_TIMESTAMP, DIGITS}, {1184, TD_TIMESTAMPTZ, DIGITS}, {1186, TD_INTERVAL, INTERVAL},
	{3802, TD_JSON, NOTHING}, {1560, TD_BIT, BITS}, {1562, TD_BIT, NOTHING},
	{1009, TD_TEXT_ARRAY, NOTHING}, {1015, TD_TEXT_ARRAY, NOTHING}, {2950, TD_UUID, NOTHING},
};

/* numeric(p,s): a scale below zero or above the precision becomes one that holds the same numbers. */
static void
set_number(TdColumn *c, int32_t typmod)
{
	int32_t		scale = (((typmod - VARHDRSZ) & 0x7FF) ^ 1024) - 1024;

	c->length = ((typmod - VARHDRSZ) >> 16) & 0xFFFF;
	c->scale = scale < 0 ? 0 : scale;
	if (scale < 0)
		c->length -= scale;
	if (c->scale > c->length)
		c->length = c->scale;
	if (c->length > 1000)
		c->length = c->scale = NO_LENGTH;
}

/* Lengths and precisions, where the type has one. */
static void
set_modifier(TdColumn *c, Modifier modifier, int32_t typmod)
{
	c->length = c->scale = NO_LENGTH;
	if (typmod < 0)
		return;
	if (modifier == CHARACTERS)
		c->length = typmod - VARHDRSZ;
	else if (modifier == NUMBER)
		set_number(c, typmod);
	else if (modifier == DIGITS || modifier == BITS)
		c->length = typmod;
	else if (modifier == INTERVAL && ((typmod >> 16) & FULL_RANGE) == FULL_RANGE && (typmod & 0xFFFF) != FULL_PRECISION)
		c->length = typmod & 0xFFFF;
}

bool
td_tp_map_type(uint32_t oid, int32_t typmod, bool is_enum, TdColumn *column)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].oid == oid)
		{
			column->type = types[i].type;
			set_modifier(column, types[i].modifier, typmod);
			return true;
		}
	column->type = TD_TEXT;
	column->length = column->scale = NO_LENGTH;
	return is_enum;
}

/* ---- values ---- */

/* A number in network order. */
static uint64_t
big(const char *p, int len)
{
	uint64_t	v = 0;

	for (int i = 0; i < len; i++)
		v = v << 8 | (uint8_t) p[i];
	return v;
}

int64_t
td_tp_int(const PGresult *res, int column)
{
	const char *p = PQgetvalue(res, 0, column);

	return PQgetlength(res, 0, column) == 4 ? (int32_t) big(p, 4) : (int64_t) big(p, 8);
}

/* text[]: one dimension from 1 on, without nulls.  What is against it, NULL = nothing. */
static const char *
put_array(TdBuffer *out, const char *p, int len, TdBuffer *scratch)
{
	const char *end = p + len;
	uint64_t	n = 0;

	if (len >= 12 && big(p, 4) > 1)
		return "an array of several dimensions";
	if (len < 12 || (big(p, 4) == 1 && len < 20))
		return "a damaged array";
	if (big(p, 4) == 1 && (n = big(p + 12, 4)) > 0 && big(p + 16, 4) != 1)
		return "an array whose first element has not the number 1";
	td_buffer_reset(scratch);
	p += big(p, 4) == 1 ? 20 : 12;
	for (uint64_t i = 0; i < n; i++)
	{
		int32_t		size = end - p >= 4 ? (int32_t) big(p, 4) : 0;
		TdBytes		item = {(const uint8_t *) p + 4, (uint32_t) size};

		if (size == -1)
			return "an array with a null";
		if (end - p < 4 || size < 0 || size > end - p - 4)
			return "a damaged array";
		if (!td_utf8_valid(item.data, item.len))
			return "a text that is not UTF-8";
		td_buffer_append(scratch, &item, sizeof(item));
		p += 4 + size;
	}
	td_put_array(out, (uint32_t) n, (const TdBytes *) (const void *) scratch->data);
	if (scratch->failed)
		out->failed = true;
	return NULL;
}

/* bit, varbit: the number of bits in front, here in our own order. */
static const char *
put_bits(TdBuffer *out, const char *p, int len, TdBuffer *scratch)
{
	uint32_t	n = len >= 4 ? (uint32_t) big(p, 4) : 0;

	if (len < 4)
		return "damaged bits";
	td_buffer_reset(scratch);
	td_buffer_append(scratch, &n, sizeof(n));
	td_buffer_append(scratch, p + 4, (size_t) len - 4);
	td_put_bytes(out, scratch->data, (uint32_t) scratch->len);
	if (scratch->failed)
		out->failed = true;
	return NULL;
}

/* Bytes that a fixed size must have, 0 = any. */
static int
size_of(TdType type)
{
	static const int sizes[TD_UUID + 1] = {[TD_BOOL] = 1, [TD_INT2] = 2, [TD_INT4] = 4, [TD_INT8] = 8, [TD_FLOAT4] = 4, [TD_FLOAT8] = 8, [TD_DATE] = 4,
	[TD_TIMESTAMP] = 8, [TD_TIMESTAMPTZ] = 8, [TD_INTERVAL] = 16, [TD_UUID] = 16};

	return sizes[type];
}

/* One value.  What is against it, NULL = nothing. */
static const char *
put_value(TdBuffer *out, TdType type, const char *p, int len, TdBuffer *scratch)
{
	uint64_t	bits;
	uint32_t	bits4;
	float		f;
	double		d;

	if (size_of(type) && len != size_of(type))
		return "a value of an unexpected size";
	switch (type)
	{
		case TD_BOOL:
			td_put_int(out, type, *p != 0);
			return NULL;
		case TD_INT2:
			td_put_int(out, type, (int16_t) big(p, 2));
			return NULL;
		case TD_INT4:
		case TD_DATE:
			td_put_int(out, type, (int32_t) big(p, 4));
			return NULL;
		case TD_INT8:
		case TD_TIMESTAMP:
		case TD_TIMESTAMPTZ:
			td_put_int(out, type, (int64_t) big(p, 8));
			return NULL;
		case TD_FLOAT4:
			bits4 = (uint32_t) big(p, 4);
			memcpy(&f, &bits4, sizeof(f));
			td_put_float4(out, f);
			return NULL;
		case TD_FLOAT8:
			bits = big(p, 8);
			memcpy(&d, &bits, sizeof(d));
			td_put_float8(out, d);
			return NULL;
		case TD_INTERVAL:
			td_put_interval(out, (int64_t) big(p, 8), (int32_t) big(p + 8, 4), (int32_t) big(p + 12, 4));
			return NULL;
		case TD_UUID:
			td_put_uuid(out, (const uint8_t *) p);
			return NULL;
		case TD_JSON:
			if (len < 1 || *p != 1)
				return "jsonb of an unknown version";
			p++, len--;
			/* FALLTHROUGH */
		case TD_TEXT:
			if (!td_utf8_valid((const uint8_t *) p, (size_t) len))
				return "a text that is not UTF-8";
			/* FALLTHROUGH */
		case TD_BYTES:
		case TD_DECIMAL:
			td_put_bytes(out, p, (uint32_t) len);
			return NULL;
		case TD_BIT:
			return put_bits(out, p, len, scratch);
		case TD_TEXT_ARRAY:
			return put_array(out, p, len, scratch);
		default:
			return "a value of a type that is not read";
	}
}

/* The key of a row, as far as it can be shown in a few words. */
static void
show_key(const TdTpTable *t, const PGresult *res, int from, char *to, size_t size)
{
	size_t		n = 0;

	for (uint32_t k = 0; k < t->schema.nkeys && n < size - 1; k++)
	{
		const TdColumn *c = &t->schema.columns[t->schema.keys[k]];
		int			column = from + (int) t->schema.keys[k];

		n += (size_t) snprintf(to + n, size - n, "%s%s = ", k ? ", " : "", c->name);
		if (n < size && (c->type == TD_INT4 || c->type == TD_INT8))
			n += (size_t) snprintf(to + n, size - n, "%lld", (long long) td_tp_int(res, column));
		else if (n < size && c->type == TD_TEXT)
			n += (size_t) snprintf(to + n, size - n, "%.40s", PQgetvalue(res, 0, column));
		else if (n < size)
			n += (size_t) snprintf(to + n, size - n, "...");
	}
}

/* The first row of a result, from that column on, into the open record.  After an error the record is cancelled. */
bool
td_tp_put_row(TdBuffer *out, const TdTpTable *t, const PGresult *res, int from, TdBuffer *scratch, TdError *err)
{
	const TdSchema *s = &t->schema;
	char		key[200] = "";

	td_write_row(out, s->ncolumns);
	for (uint32_t i = 0; i < s->ncolumns; i++)
	{
		int			column = from + (int) i;
		const char *why = NULL;

		if (PQgetisnull(res, 0, column))
			td_put_state(out, TD_NULL);
		else
			why = put_value(out, s->columns[i].type, PQgetvalue(res, 0, column), PQgetlength(res, 0, column), scratch);
		if (why == NULL)
			continue;
		td_write_cancel(out);
		show_key(t, res, from, key, sizeof(key));
		td_error_set(err, "22000", "column \"%s\" of view %s has %s, which can't be carried", s->columns[i].name, t->name, why);
		if (key[0])
			td_error_detail(err, "Row with %s.", key);
		return td_error_hint(err, "Change the view's query so that such values don't come up, and load again; or leave the view out with except_tables.");
	}
	td_write_row_end(out);
	return true;
}
