/*-------------------------------------------------------------------------
 *
 * key.c
 *		The key of a row as bytes, equal exactly where PostgreSQL calls the keys equal.
 *
 * NOTES
 *		Within a flush, changes of one row are found by these bytes, so two forms
 *		of one value (1.0 and 1.00, 0.0 and -0.0, a day and 24 hours) must give
 *		the same ones.  Text is compared as it stands: a target column with a
 *		nondeterministic collation ends in a unique violation, not in wrong rows.
 *
 * src/apply/key.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/float.h"
#include "utils/timestamp.h"

#include "apply/apply_internal.h"

static uint32 value_size(TdType type, const TdValue *v);
static uint8 *put_value(uint8 *p, TdType type, const TdValue *v);

/* The key's bytes in the arena; returns their number.  The values' states must be TD_VALUE: td_key_complete. */
uint32
td_key_encode(const TdSchema *schema, const TdValue *values, TdArena *arena, uint8 **key)
{
	uint32		size = 0;
	uint8	   *p;

	for (uint32 i = 0; i < schema->nkeys; i++)
		size += value_size(schema->columns[schema->keys[i]].type, &values[schema->keys[i]]);
	p = *key = td_arena_alloc(arena, size);
	for (uint32 i = 0; i < schema->nkeys; i++)
		p = put_value(p, schema->columns[schema->keys[i]].type, &values[schema->keys[i]]);
	return p - *key;
}

/* Where encoded keys stand to each other in an index, roughly: neighbours there have near numbers here. */
int64
td_key_order(const TdSchema *schema, const uint8 *key, uint32 len)
{
	TdType		type = schema->columns[schema->keys[0]].type;
	uint64		prefix = 0;
	int64		number;

	switch (type)
	{
		case TD_DECIMAL:
		case TD_FLOAT4:
		case TD_FLOAT8:
			return 0;
		case TD_TEXT:
		case TD_BYTES:
		case TD_JSON:
		case TD_BIT:
		case TD_TEXT_ARRAY:
			key += sizeof(uint32);
			len -= sizeof(uint32);
			/* FALLTHROUGH */
		case TD_UUID:
			for (uint32 i = 0; i < 8; i++)
				prefix = prefix << 8 | (i < len ? key[i] : 0);
			return (int64) (prefix ^ UINT64CONST(0x8000000000000000));
		default:
			memcpy(&number, key, sizeof(number));
			return type == TD_UINT8 ? number ^ PG_INT64_MIN : number;
	}
}

/* Are all columns of the key there? */
bool
td_key_complete(const TdSchema *schema, const TdValue *values)
{
	for (uint32 i = 0; i < schema->nkeys; i++)
	{
		if (values[schema->keys[i]].state != TD_VALUE)
			return false;
	}
	return true;
}

/* At most this many bytes. */
static uint32
value_size(TdType type, const TdValue *v)
{
	switch (type)
	{
		case TD_DECIMAL:
		case TD_TEXT:
		case TD_BYTES:
		case TD_JSON:
		case TD_BIT:
		case TD_TEXT_ARRAY:
			return v->bytes.len + sizeof(uint32);
		case TD_UUID:
		case TD_INTERVAL:
			return 16;
		default:
			return 8;
	}
}

/* Length and bytes. */
static uint8 *
put_bytes(uint8 *p, TdBytes bytes)
{
	memcpy(p, &bytes.len, sizeof(uint32));
	memcpy(p + sizeof(uint32), bytes.data, bytes.len);
	return p + sizeof(uint32) + bytes.len;
}

/* A number without its zeros at either end and without its scale. */
static uint8 *
put_decimal(uint8 *p, TdBytes bytes)
{
	const uint8_t *wire = bytes.data;
	const uint8_t *digits = wire + 8;
	uint32		n = wire[0] << 8 | wire[1];
	int16		weight = (int16) (wire[2] << 8 | wire[3]);
	uint16		sign = wire[4] << 8 | wire[5];

	for (; n > 0 && digits[0] == 0 && digits[1] == 0; n--, weight--)
		digits += 2;
	while (n > 0 && digits[2 * n - 1] == 0 && digits[2 * n - 2] == 0)
		n--;
	if (n == 0)
	{
		weight = 0;
		if (sign == 0x4000)
			sign = 0;
	}
	memcpy(p, &n, 4);
	memcpy(p + 4, &weight, 2);
	memcpy(p + 6, &sign, 2);
	memcpy(p + 8, digits, 2 * n);
	return p + 8 + 2 * n;
}

/* As interval's equality has it: a month is 30 days, a day 24 hours. */
static uint8 *
put_interval(uint8 *p, const TdValue *v)
{
	int64		days = (int64) v->months * DAYS_PER_MONTH + v->days + v->i / USECS_PER_DAY;
	int64		rest = v->i % USECS_PER_DAY;

	if (rest < 0)
	{
		rest += USECS_PER_DAY;
		days--;
	}
	memcpy(p, &days, 8);
	memcpy(p + 8, &rest, 8);
	return p + 16;
}

/* Any zero is 0, any NaN the same. */
static uint8 *
put_float(uint8 *p, double v)
{
	if (v == 0)
		v = 0;
	else if (isnan(v))
		v = get_float8_nan();
	memcpy(p, &v, 8);
	return p + 8;
}

static uint8 *
put_value(uint8 *p, TdType type, const TdValue *v)
{
	switch (type)
	{
		case TD_DECIMAL:
			return put_decimal(p, v->bytes);
		case TD_TEXT:
		case TD_BYTES:
		case TD_JSON:
		case TD_BIT:
		case TD_TEXT_ARRAY:
			return put_bytes(p, v->bytes);
		case TD_UUID:
			memcpy(p, v->bytes.data, 16);
			return p + 16;
		case TD_INTERVAL:
			return put_interval(p, v);
		case TD_FLOAT4:
			return put_float(p, v->f4);
		case TD_FLOAT8:
			return put_float(p, v->f8);
		default:
			memcpy(p, &v->i, 8);
			return p + 8;
	}
}
