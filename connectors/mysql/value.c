/*-------------------------------------------------------------------------
 *
 * value.c
 *		One value of the source into the open row.
 *
 * NOTES
 *		The load and the stream meet here: both come with the bytes of the
 *		source and leave by the same function, which is why a value is the same
 *		by either way.  What can't be a value in PostgreSQL is refused with the
 *		reason, nothing having been written; the caller names the row.
 *
 * connectors/mysql/value.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mysql_internal.h"

/* Says why a value can't be. */
bool
td_my_refuse(TdMyPut *put, const char *sqlstate, const char *fmt,...)
{
	va_list		args;

	put->sqlstate = sqlstate;
	va_start(args, fmt);
	vsnprintf(put->why, sizeof(put->why), fmt, args);
	va_end(args);
	return false;
}

/* An integer of `width` little-endian bytes, sign-extended where the column has a sign. */
bool
td_my_put_int(TdMyPut *put, uint64_t bits, unsigned width)
{
	const TdMyColumn *c = put->column;
	unsigned	unused = 64 - 8 * width;

	if (c->td->type == TD_UINT8)
		td_put_uint(put->out, bits);
	else if (c->is_unsigned || c->kind == TD_MY_YEAR)
		td_put_int(put->out, c->td->type, (int64_t) bits);
	else
		td_put_int(put->out, c->td->type, (int64_t) (bits << unused) >> unused);
	return true;
}

/* Says what is wrong with text that did not become UTF-8. */
static bool
refuse_text(TdMyPut *put, const uint8_t *p, size_t len)
{
	if (put->column->charset->ascii && memchr(p, 0, len))
		return td_my_refuse(put, "22021", "a NUL character in text");
	return td_my_refuse(put, "22021", "bytes that are no text in its character set %s, or a NUL character", put->column->charset->name);
}

/* Length without trailing spaces. */
static inline size_t
trim(const uint8_t *p, size_t len)
{
	while (len > 0 && p[len - 1] == ' ')
		len--;
	return len;
}

/* Only characters of ASCII, and no NUL?  Such text is UTF-8 as it stands, in most character sets. */
static inline bool
plain_ascii(const uint8_t *p, size_t len)
{
	uint64_t	word;

	for (; len >= 8; p += 8, len -= 8)
	{
		memcpy(&word, p, 8);
		if ((word | (word - UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080))
			return false;
	}
	for (; len > 0; p++, len--)
		if (*p == 0 || *p >= 0x80)
			return false;
	return true;
}

/* Four hexadecimal digits, or -1. */
static int
hex4(const uint8_t *p, const uint8_t *end)
{
	int			v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		int			c = p[i] | 0x20;

		if (p[i] >= '0' && p[i] <= '9')
			v = v * 16 + p[i] - '0';
		else if (c >= 'a' && c <= 'f')
			v = v * 16 + c - 'a' + 10;
		else
			return -1;
	}
	return v;
}

/* jsonb takes no \u0000 and no half of a surrogate pair; the rest is what json_valid has tested. */
static bool
check_json(TdMyPut *put, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	while ((p = memchr(p, '\\', (size_t) (end - p))) != NULL && end - p >= 2)
	{
		int			c = p[1] == 'u' ? hex4(p + 2, end) : 'x';

		p += 2;
		if (c == 0)
			return td_my_refuse(put, "22P05", "the character \\u0000 in JSON");
		if (c >= 0xD800 && c < 0xDC00 && end - p >= 10 && p[4] == '\\' && p[5] == 'u')
		{
			int			low = hex4(p + 6, end);

			c = low >= 0xDC00 && low < 0xE000 ? 'x' : c;
			p += 10;
		}
		if (c >= 0xD800 && c < 0xE000)
			return td_my_refuse(put, "22P05", "half of a surrogate pair in JSON");
	}
	return true;
}

/* CHAR, VARCHAR, TEXT, JSON */
bool
td_my_put_text(TdMyPut *put, const uint8_t *p, size_t len)
{
	const TdMyColumn *c = put->column;

	if (c->charset->encoding != TD_MY_UTF8 && !(c->charset->ascii && plain_ascii(p, len)))
	{
		if (!td_my_decode(c->charset, p, len, &put->scratch))
			return put->scratch.failed ? td_my_refuse(put, "53200", "more text than memory holds") : refuse_text(put, p, len);
		p = put->scratch.data;
		len = put->scratch.len;
	}
	else if (c->charset->encoding == TD_MY_UTF8 && td_unlikely(!td_utf8_valid(p, len)))
		return refuse_text(put, p, len);
	if (c->is_char)
		len = trim(p, len);
	if (td_unlikely(len > TD_MY_VALUE_MAX))
		return td_my_refuse(put, "54000", "a text of %zu bytes", len);
	if (c->kind == TD_MY_JSON && !check_json(put, p, len))
		return false;
	td_put_bytes(put->out, p, (uint32_t) len);
	return true;
}

/* BINARY, VARBINARY, BLOB.  BINARY(n) loses its last zeros in the binlog and has them in a SELECT: they are put back. */
bool
td_my_put_bytes(TdMyPut *put, const uint8_t *p, size_t len)
{
	size_t		pad = put->column->pad;

	if (len > TD_MY_VALUE_MAX)
		return td_my_refuse(put, "54000", "a value of %zu bytes", len);
	if (len >= pad)
	{
		td_put_bytes(put->out, p, (uint32_t) len);
		return true;
	}
	td_buffer_reset(&put->scratch);
	if (!td_buffer_reserve(&put->scratch, pad))
		return td_my_refuse(put, "53200", "more bytes than memory holds");
	if (len)
		memcpy(put->scratch.data, p, len);
	memset(put->scratch.data + len, 0, pad - len);
	td_put_bytes(put->out, put->scratch.data, (uint32_t) pad);
	return true;
}

/* BIT(n): right-aligned bytes, padded here to n bits. */
bool
td_my_put_bit(TdMyPut *put, const uint8_t *p, size_t len)
{
	uint32_t	nbits = (uint32_t) put->column->td->length;
	size_t		n = (nbits + 7) / 8;
	uint8_t		bits[8] = {0};

	if (len > n || n > sizeof(bits))
		return td_my_refuse(put, "22026", "%zu bytes in bit(%u)", len, nbits);
	memcpy(bits + n - len, p, len);
	td_put_bits(put->out, bits, nbits);
	return true;
}

/* A member is stored as it stands in the definition; NUL is refused as anywhere. */
static bool
check_member(TdMyPut *put, const TdBytes *member)
{
	return td_utf8_valid(member->data, member->len) ||
		td_my_refuse(put, "22021", "a NUL character in text");
}

/* ENUM by number; 0 is the empty text that stands for an invalid value. */
bool
td_my_put_enum(TdMyPut *put, uint64_t index)
{
	const TdMyColumn *c = put->column;

	if (index > c->nmembers)
		return td_my_refuse(put, "22000", "member %llu of an enum of %u", (unsigned long long) index, c->nmembers);
	if (index && !check_member(put, &c->members[index - 1]))
		return false;
	td_put_bytes(put->out, index ? c->members[index - 1].data : NULL, index ? c->members[index - 1].len : 0);
	return true;
}

/* SET by bit mask, members in the order of the definition. */
bool
td_my_put_set(TdMyPut *put, uint64_t mask)
{
	const TdMyColumn *c = put->column;
	TdBytes		items[64];
	uint32_t	n = 0;

	if (c->nmembers < 64 && mask >> c->nmembers)
		return td_my_refuse(put, "22000", "set value %llx of %u members", (unsigned long long) mask, c->nmembers);
	for (uint32_t i = 0; i < c->nmembers && i < 64; i++)
		if (mask >> i & 1)
		{
			if (!check_member(put, &c->members[i]))
				return false;
			items[n++] = c->members[i];
		}
	td_put_array(put->out, n, items);
	return true;
}

/* DECIMAL as text; zeros of ZEROFILL don't matter. */
bool
td_my_put_decimal(TdMyPut *put, const char *p, size_t len)
{
	return td_put_decimal(put->out, p, len) || td_my_refuse(put, "22P02", "an invalid decimal");
}

/* UUID as a SELECT shows it. */
bool
td_my_put_uuid_text(TdMyPut *put, const char *p, size_t len)
{
	uint8_t		uuid[16];
	const char *end = p + len;

	for (int i = 0; i < 16; i += 2)
	{
		int			v;

		if (p < end && *p == '-')
			p++;
		v = hex4((const uint8_t *) p, (const uint8_t *) end);
		if (v < 0)
			return td_my_refuse(put, "22P02", "an invalid uuid");
		uuid[i] = (uint8_t) (v >> 8);
		uuid[i + 1] = (uint8_t) v;
		p += 4;
	}
	td_put_uuid(put->out, uuid);
	return true;
}

/* UUID in the binlog: its bytes in the order of its text; zeros at the end are cut. */
bool
td_my_put_uuid_bytes(TdMyPut *put, const uint8_t *p, size_t len)
{
	uint8_t		uuid[16] = {0};

	if (len > 16)
		return td_my_refuse(put, "22P02", "an invalid uuid");
	memcpy(uuid, p, len);
	td_put_uuid(put->out, uuid);
	return true;
}

/* Appends the text of one value of a key. */
static void
append_value(TdBuffer *b, const TdColumn *c, const TdValue *v)
{
	if (v->state != TD_VALUE)
		td_my_append(b, "?");
	else if (c->type == TD_TEXT)
		td_my_append(b, "%.*s", v->bytes.len > 100 ? 100 : (int) v->bytes.len, (const char *) v->bytes.data);
	else if (c->type == TD_UINT8)
		td_my_append(b, "%llu", (unsigned long long) v->u);
	else if (c->type == TD_FLOAT4)
		td_my_append(b, "%.9g", (double) v->f4);
	else if (c->type == TD_FLOAT8)
		td_my_append(b, "%.17g", v->f8);
	else if (v->bytes.data)
	{
		td_my_append(b, "0x");
		td_my_append_hex(b, v->bytes.data, v->bytes.len > 50 ? 50 : v->bytes.len);
	}
	else
		td_my_append(b, "%lld", (long long) v->i);
}

/* The error of a value that was refused: table, column, and the key of its row. */
void
td_my_row_error(TdMyPut *put, const TdMyTable *table, TdBytes row, TdError *err)
{
	const TdSchema *s = &table->schema;
	TdValue    *values = calloc(s->ncolumns + 1, sizeof(TdValue));
	TdBuffer	key = {0};

	if (values && s->nkeys && td_read_row(s, row, values))
	{
		for (uint32_t i = 0; i < s->nkeys; i++)
			td_my_append(&key, "%s%s", i ? ", " : ", key (", s->columns[s->keys[i]].name);
		td_my_append(&key, ") = (");
		for (uint32_t i = 0; i < s->nkeys; i++)
		{
			td_my_append(&key, "%s", i ? ", " : "");
			append_value(&key, &s->columns[s->keys[i]], &values[s->keys[i]]);
		}
		td_my_append(&key, ")");
	}
	td_error_set(err, put->sqlstate, "table \"%s.%s\", column \"%s\"%.*s: %s has no counterpart in PostgreSQL", s->database, s->table,
				 put->column->td->name, (int) key.len, key.data ? (char *) key.data : "", put->why);
	td_error_detail(err, "The column has type %s.", put->column->td->native);
	td_error_hint(err, "Correct the value at the source, then load the mirror again: SELECT tapdata.reset_pipeline(...); or leave the table out (except_tables).");
	td_buffer_free(&key);
	free(values);
}
