/*-------------------------------------------------------------------------
 *
 * text.c
 *		UTF-8 validation and glob patterns.
 *
 * NOTES
 *		What PostgreSQL takes into a UTF-8 database is exactly what
 *		td_utf8_valid accepts: no NUL, no surrogate, no overlong form, nothing
 *		past U+10FFFF.
 *
 * src/stream/text.c
 *
 *-------------------------------------------------------------------------
 */
#include "stream/record_internal.h"

#define HIGH_BITS 0x8080808080808080u
#define LOW_BITS 0x0101010101010101u

/* Length of the valid character of several bytes at s, 0 = none. */
static size_t
wide_character(const uint8_t *s, size_t left)
{
	uint8_t		first = s[0];
	uint8_t		low = 0x80;
	uint8_t		high = 0xBF;
	size_t		n;

	if (first < 0xC2 || first > 0xF4)
		return 0;
	n = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
	if (left < n)
		return 0;
	if (first == 0xE0)
		low = 0xA0;
	else if (first == 0xED)
		high = 0x9F;
	else if (first == 0xF0)
		low = 0x90;
	else if (first == 0xF4)
		high = 0x8F;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xC0) != 0x80)
			return 0;
	return n;
}

/* Strict UTF-8 without NUL bytes; eight ASCII bytes at a time. */
bool
td_utf8_valid(const uint8_t *s, size_t len)
{
	const uint8_t *end = s + len;

	while (s < end)
	{
		size_t		n;

		if (end - s >= 8)
		{
			uint64_t	word = td_load64(s);

			if (((word | (word - LOW_BITS)) & HIGH_BITS) == 0)
			{
				s += 8;
				continue;
			}
		}
		if (*s < 0x80)
			n = *s != 0;
		else
			n = wide_character(s, (size_t) (end - s));
		if (n == 0)
			return false;
		s += n;
	}
	return true;
}

/* Moves behind one character, whatever its bytes. */
static const char *
next_character(const char *s)
{
	s++;
	while (((unsigned char) *s & 0xC0) == 0x80)
		s++;
	return s;
}

/* `*` stands for any run of characters, `?` for one; the rest for itself. */
bool
td_glob(const char *pattern, const char *text)
{
	const char *star = NULL;
	const char *retry = NULL;

	while (*text)
	{
		if (*pattern == '*')
		{
			star = ++pattern;
			retry = text;
		}
		else if (*pattern == '?')
		{
			pattern++;
			text = next_character(text);
		}
		else if (*pattern && *pattern == *text)
		{
			pattern++;
			text++;
		}
		else if (star)
		{
			pattern = star;
			text = retry = next_character(retry);
		}
		else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
