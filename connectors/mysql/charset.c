/*-------------------------------------------------------------------------
 *
 * charset.c
 *		From the character sets of the source into UTF-8.
 *
 * NOTES
 *		The binlog carries text in the bytes of its column's character set, and
 *		our sessions read it that way too: one decoder for both, so that a value
 *		is the same after the load and after a streamed change.  The map of a
 *		single-byte set is asked of the source itself (its latin1 is cp1252 with
 *		five holes filled); Unicode encodings are decoded here; other multi-byte
 *		sets are refused when the table is described.
 *
 * connectors/mysql/charset.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "mysql_internal.h"

#define NO_CHARACTER 0xFFFF

static const struct
{
	const char *name;
	TdMyEncoding encoding;
}			unicode_sets[] =
{
	{"utf8mb4", TD_MY_UTF8}, {"utf8mb3", TD_MY_UTF8}, {"utf8", TD_MY_UTF8},
	{"ucs2", TD_MY_UCS2}, {"utf16", TD_MY_UTF16}, {"utf16le", TD_MY_UTF16LE}, {"utf32", TD_MY_UTF32},
};

/* Asks the source what each byte of a single-byte set means. */
static bool
ask_map(MYSQL *mysql, TdMyCharset *cs, TdError *err)
{
	MYSQL_RES  *res = td_my_query(mysql, err, "SELECT MAXLEN FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = '%s'", cs->name);
	MYSQL_ROW	row = res ? mysql_fetch_row(res) : NULL;
	bool		single = row && row[0] && strcmp(row[0], "1") == 0;
	char		hex[513];

	mysql_free_result(res);
	if (res == NULL || !single)
		return res != NULL;
	for (int i = 0; i < 256; i++)
		snprintf(hex + 2 * i, 3, "%02X", i);
	res = td_my_query(mysql, err, "SELECT CONVERT(CONVERT(X'%s' USING %s) USING utf32)", hex, cs->name);
	if (res == NULL)
		return false;
	row = mysql_fetch_row(res);
	if (row && row[0] && mysql_fetch_lengths(res)[0] == 1024)
	{
		cs->encoding = TD_MY_TABLE;
		cs->ascii = true;
		for (int i = 0; i < 256; i++)
		{
			uint32_t	c = (uint32_t) td_big((const uint8_t *) row[0] + 4 * i, 4);

			cs->map[i] = c > 0xFFFE || (c == '?' && i != '?') ? NO_CHARACTER : (uint16_t) c;
			if (i < 0x80 && cs->map[i] != i)
				cs->ascii = false;
		}
	}
	mysql_free_result(res);
	return true;
}

/* The character set of a name; kept as long as the connection.  NULL = error. */
const TdMyCharset *
td_my_charset(TdConn *conn, const char *name, TdError *err)
{
	TdMyCharset *cs;

	for (cs = conn->charsets; cs; cs = cs->next)
		if (strcmp(cs->name, name) == 0)
			return cs;
	if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name) || strlen(name) >= sizeof(cs->name))
	{
		td_error_set(err, "0A000", "unknown character set \"%s\"", name);
		return NULL;
	}
	cs = calloc(1, sizeof(*cs));
	if (cs == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return NULL;
	}
	snprintf(cs->name, sizeof(cs->name), "%s", name);
	cs->encoding = TD_MY_FOREIGN;
	for (size_t i = 0; i < sizeof(unicode_sets) / sizeof(unicode_sets[0]); i++)
		if (strcmp(unicode_sets[i].name, name) == 0)
			cs->encoding = unicode_sets[i].encoding;
	cs->ascii = cs->encoding == TD_MY_UTF8;
	if (cs->encoding == TD_MY_FOREIGN && !ask_map(conn->mysql, cs, err))
	{
		free(cs);
		return NULL;
	}
	cs->next = conn->charsets;
	conn->charsets = cs;
	return cs;
}

/* Appends one character; false for what UTF-8 text in PostgreSQL can't hold. */
static bool
put_character(TdBuffer *to, uint32_t c)
{
	uint8_t    *p = to->data + to->len;

	if (c == 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
		return false;
	if (c < 0x80)
		*p++ = (uint8_t) c;
	else if (c < 0x800)
	{
		*p++ = (uint8_t) (0xC0 | c >> 6);
		*p++ = (uint8_t) (0x80 | (c & 0x3F));
	}
	else if (c < 0x10000)
	{
		*p++ = (uint8_t) (0xE0 | c >> 12);
		*p++ = (uint8_t) (0x80 | (c >> 6 & 0x3F));
		*p++ = (uint8_t) (0x80 | (c & 0x3F));
	}
	else
	{
		*p++ = (uint8_t) (0xF0 | c >> 18);
		*p++ = (uint8_t) (0x80 | (c >> 12 & 0x3F));
		*p++ = (uint8_t) (0x80 | (c >> 6 & 0x3F));
		*p++ = (uint8_t) (0x80 | (c & 0x3F));
	}
	to->len = (size_t) (p - to->data);
	return true;
}

/* One character of UTF-16 (pairs = true) or UCS-2 at *p; false = the text ends inside it. */
static bool
take_utf16(const uint8_t **p, const uint8_t *end, bool little, bool pairs, uint32_t *c)
{
	if (end - *p < 2)
		return false;
	*c = (uint32_t) (little ? td_little(*p, 2) : td_big(*p, 2));
	*p += 2;
	if (pairs && *c >= 0xD800 && *c < 0xDC00 && end - *p >= 2)
	{
		uint32_t	low = (uint32_t) (little ? td_little(*p, 2) : td_big(*p, 2));

		if (low < 0xDC00 || low >= 0xE000)
			return false;
		*c = 0x10000 + ((*c & 0x3FF) << 10 | (low & 0x3FF));
		*p += 2;
	}
	return true;
}

/* Decodes into `to`, which is emptied first; false = invalid, or a NUL character. */
bool
td_my_decode(TdMyCharset const *cs, const uint8_t *p, size_t len, TdBuffer *to)
{
	const uint8_t *end = p + len;

	td_buffer_reset(to);
	if (!td_buffer_reserve(to, 4 * len + 4))
		return false;
	while (p < end)
	{
		uint32_t	c;

		if (cs->encoding == TD_MY_TABLE)
		{
			c = cs->map[*p++];
			if (c == NO_CHARACTER)
				return false;
		}
		else if (cs->encoding == TD_MY_UTF32)
		{
			if (end - p < 4)
				return false;
			c = (uint32_t) td_big(p, 4);
			p += 4;
		}
		else if (!take_utf16(&p, end, cs->encoding == TD_MY_UTF16LE, cs->encoding != TD_MY_UCS2, &c))
			return false;
		if (!put_character(to, c))
			return false;
	}
	return true;
}
