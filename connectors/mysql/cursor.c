/*-------------------------------------------------------------------------
 *
 * cursor.c
 *		Where the load of a table stands: the key of a row, as text and as SQL.
 *
 * NOTES
 *		A cursor is the key's values separated by commas: numbers as they are,
 *		'times and uuids', x'bytes' (text in the bytes of its own character set,
 *		so that the source compares it by the column's own collation).  Enum and
 *		set go by number, which is their order.  A cursor comes back from the
 *		catalog of the server: it is tested, not trusted, before it becomes SQL.
 *
 * connectors/mysql/cursor.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>

#include "mysql_internal.h"

/* printf into a growing buffer. */
void
td_my_append(TdBuffer *b, const char *fmt,...)
{
	char		text[512];
	va_list		args;
	int			n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n < (int) sizeof(text))
	{
		td_buffer_append(b, text, n > 0 ? (size_t) n : 0);
		return;
	}
	if (!td_buffer_reserve(b, (size_t) n + 1))
		return;
	va_start(args, fmt);
	vsnprintf((char *) b->data + b->len, (size_t) n + 1, fmt, args);
	va_end(args);
	b->len += (size_t) n;
}

/* An identifier in backquotes. */
void
td_my_append_name(TdBuffer *b, const char *name)
{
	td_buffer_append(b, "`", 1);
	for (; *name; name++)
	{
		if (*name == '`')
			td_buffer_append(b, "`", 1);
		td_buffer_append(b, name, 1);
	}
	td_buffer_append(b, "`", 1);
}

/* Bytes as hexadecimal digits. */
void
td_my_append_hex(TdBuffer *b, const uint8_t *p, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++)
	{
		char		two[2] = {digits[p[i] >> 4], digits[p[i] & 15]};

		td_buffer_append(b, two, 2);
	}
}

/* A date or a date with time, as the binary protocol has it: 4, 7 or 11 bytes. */
static void
add_date(TdBuffer *to, const uint8_t *p, size_t len)
{
	td_my_append(to, "'%04u-%02u-%02u", len >= 4 ? (unsigned) td_little(p, 2) : 0, len >= 4 ? p[2] : 0, len >= 4 ? p[3] : 0);
	if (len >= 7)
		td_my_append(to, " %02u:%02u:%02u", p[4], p[5], p[6]);
	if (len >= 11)
		td_my_append(to, ".%06u", (unsigned) td_little(p + 7, 4));
	td_my_append(to, "'");
}

/* A time: 8 or 12 bytes. */
static void
add_time(TdBuffer *to, const uint8_t *p, size_t len)
{
	unsigned	hours = len >= 8 ? (unsigned) td_little(p + 1, 4) * 24 + p[5] : 0;

	td_my_append(to, "'%s%02u:%02u:%02u", len >= 8 && p[0] ? "-" : "", hours, len >= 8 ? p[6] : 0, len >= 8 ? p[7] : 0);
	if (len >= 12)
		td_my_append(to, ".%06u", (unsigned) td_little(p + 8, 4));
	td_my_append(to, "'");
}

/* Adds the value of a key's column, given as the binary protocol sends it. */
void
td_my_cursor_add(const TdMyColumn *column, bool first, uint8_t type, const uint8_t *p, size_t len, TdBuffer *to)
{
	float		f;
	double		d;

	if (!first)
		td_my_append(to, ",");
	switch (column->kind)
	{
		case TD_MY_INT:
			if (!column->is_unsigned)
			{
				unsigned	unused = 64 - 8 * (unsigned) len;

				td_my_append(to, "%lld", (long long) (int64_t) (td_little(p, (unsigned) len) << unused) >> unused);
				break;
			}
			/* FALLTHROUGH */
		case TD_MY_YEAR:
		case TD_MY_ENUM:
		case TD_MY_SET:
			td_my_append(to, "%llu", (unsigned long long) td_little(p, (unsigned) len));
			break;
		case TD_MY_BIT:
			td_my_append(to, "%llu", (unsigned long long) td_big(p, len > 8 ? 8 : (unsigned) len));
			break;
		case TD_MY_FLOAT:
			memcpy(&f, p, sizeof(f));
			td_my_append(to, "%.17g", (double) f);
			break;
		case TD_MY_DOUBLE:
			memcpy(&d, p, sizeof(d));
			td_my_append(to, "%.17g", d);
			break;
		case TD_MY_DECIMAL:
			td_my_append(to, "%.*s", (int) len, (const char *) p);
			break;
		case TD_MY_DATE:
		case TD_MY_DATETIME:
		case TD_MY_TIMESTAMP:
			add_date(to, p, len);
			break;
		case TD_MY_TIME:
			add_time(to, p, len);
			break;
		case TD_MY_UUID:
			td_my_append(to, "'%.*s'", (int) len, (const char *) p);
			break;
		default:
			td_my_append(to, "x'");
			td_my_append_hex(to, p, len);
			td_my_append(to, "'");
	}
}

/* One literal of a cursor: what it may consist of follows from the kind of its column. */
typedef struct Literal
{
	const char *s;
	size_t		len;
} Literal;

/* Takes one literal at *p that fits its column. */
static bool
take_literal(const char **p, const TdMyColumn *column, Literal *to)
{
	bool		bytes = column->kind == TD_MY_TEXT || column->kind == TD_MY_BYTES || column->kind == TD_MY_JSON;
	bool		quoted = column->kind == TD_MY_UUID || column->kind >= TD_MY_DATE;
	const char *allowed = bytes ? "0123456789ABCDEF" : quoted ? "0123456789abcdefABCDEF:.- " : "0123456789+-.e";

	if (bytes && *(*p)++ != 'x')
		return false;
	if ((bytes || quoted) && *(*p)++ != '\'')
		return false;
	to->s = *p;
	to->len = strspn(*p, allowed);
	*p += to->len;
	if (!bytes && to->len == 0)
		return false;
	return !(bytes || quoted) || *(*p)++ == '\'';
}

/* Appends a literal that compares as the column does. */
static void
append_literal(TdBuffer *sql, const TdMyColumn *column, const Literal *l)
{
	switch (column->kind)
	{
		case TD_MY_TEXT:
		case TD_MY_JSON:
			td_my_append(sql, "_%s ", column->charset->name);
			/* FALLTHROUGH */
		case TD_MY_BYTES:
			td_my_append(sql, "X");
			/* FALLTHROUGH */
		case TD_MY_DATE:
		case TD_MY_DATETIME:
		case TD_MY_TIMESTAMP:
		case TD_MY_TIME:
		case TD_MY_UUID:
			td_buffer_append(sql, "'", 1);
			td_buffer_append(sql, l->s, l->len);
			td_buffer_append(sql, "'", 1);
			break;
		case TD_MY_FLOAT:
		case TD_MY_DOUBLE:
			td_buffer_append(sql, l->s, l->len);
			if (memchr(l->s, 'e', l->len) == NULL)
				td_buffer_append(sql, "e0", 2);
			break;
		default:
			td_buffer_append(sql, l->s, l->len);
	}
}

/* "t.`column` > literal" */
static void
append_comparison(TdBuffer *sql, const TdMyColumn *column, const char *operator, const Literal *l)
{
	td_my_append(sql, "t.");
	td_my_append_name(sql, column->td->name);
	td_my_append(sql, " %s ", operator);
	append_literal(sql, column, l);
}

/* Appends the condition "after the cursor" in key order: a > x OR (a = x AND b > y) OR ... */
bool
td_my_cursor_where(const TdMyTable *table, const char *cursor, TdBuffer *sql, TdError *err)
{
	const TdSchema *s = &table->schema;
	Literal		literals[64];
	const char *p = cursor;
	bool		ok = s->nkeys > 0 && s->nkeys <= 64;

	for (uint32_t i = 0; ok && i < s->nkeys; i++)
		ok = (i == 0 || *p++ == ',') && take_literal(&p, &table->columns[s->keys[i]], &literals[i]);
	if (!ok || *p)
	{
		td_error_set(err, "22P02", "invalid cursor for table \"%s.%s\": \"%.100s\"", s->database, s->table, cursor);
		return td_error_hint(err, "The table's key may have changed: load the mirror again: SELECT tapdata.reset_pipeline(...).");
	}
	td_my_append(sql, " WHERE ");
	if (s->nkeys > 1)
	{
		append_comparison(sql, &table->columns[s->keys[0]], ">=", &literals[0]);
		td_my_append(sql, " AND (");
	}
	for (uint32_t i = 0; i < s->nkeys; i++)
	{
		td_my_append(sql, i ? " OR (" : "(");
		for (uint32_t k = 0; k <= i; k++)
		{
			td_my_append(sql, k ? " AND " : "");
			append_comparison(sql, &table->columns[s->keys[k]], k == i ? ">" : "=", &literals[k]);
		}
		td_my_append(sql, ")");
	}
	td_my_append(sql, s->nkeys > 1 ? ")" : "");
	return true;
}
