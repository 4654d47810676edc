/*-------------------------------------------------------------------------
 *
 * stream_text.c
 *		Decimals, UTF-8, globs, error texts.
 *
 * test/unit/stream_text.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "stream/stream.h"
#include "tap.h"

/* Text and the bytes that numeric_send gives for it on PostgreSQL 15 (hex). */
static const struct
{
	const char *text;
	const char *form;
}			decimals[] =
{
	{"0", "0000000000000000"},
	{"-0.00", "0000000000000002"},
	{"1", "00010000000000000001"},
	{"-1", "00010000400000000001"},
	{"10000", "00010001000000000001"},
	{"12345678", "000200010000000004d2162e"},
	{"123456789.5", "000400020000000100010929" "1a85" "1388"},
	{"0.00012", "0002ffff000000050001" "07d0"},
	{"0.0001", "0001ffff000000040001"},
	{"0.00001", "0001fffe0000000503e8"},
	{"-12.340", "0002000040000003000c0d48"},
	{"000123.4500", "0002000000000004007b1194"},
	{"+.5", "0001ffff000000011388"},
	{"100000000.00000001", "000500020000000800010000000000000001"},
	{"99999999999999999999", "0005000400000000270f270f270f270f270f"},
	{"NaN", "00000000c0000000"},
	{"-Infinity", "00000000f0000000"},
};

static const char *const no_decimals[] = {"", "-", ".", "1e5", "1.2.3", " 1", "0x1", "nan", "--1", "1-"};

static const struct
{
	const char *bytes;
	size_t		len;
	bool		valid;
}			texts[] =
{
	{"", 0, true},
	{"plain ascii, longer than eight bytes", 36, true},
	{"a\0b", 3, false},
	{"12345678\0", 9, false},
	{"1234\0" "5678", 9, false},
	{"\xc3\xa9", 2, true},
	{"\xc3", 1, false},
	{"\xc0\x80", 2, false},
	{"\xe0\x80\x80", 3, false},
	{"\xed\xa0\x80", 3, false},
	{"\xed\x9f\xbf", 3, true},
	{"\xf0\x9f\x98\x80", 4, true},
	{"\xf0\x8f\xbf\xbf", 4, false},
	{"\xf4\x8f\xbf\xbf", 4, true},
	{"\xf4\x90\x80\x80", 4, false},
	{"\xf5\x80\x80\x80", 4, false},
	{"\x80", 1, false},
	{"1234567\xff", 8, false},
	{"12345678\xc3\xa9 more \xe2\x82\xac", 19, true},
};

static const struct
{
	const char *pattern;
	const char *text;
	bool		match;
}			globs[] =
{
	{"*", "", true},
	{"*", "anything", true},
	{"", "", true},
	{"", "a", false},
	{"a?c", "abc", true},
	{"a?c", "ac", false},
	{"a?c", "a\xc3\xa9" "c", true},
	{"shop.*", "shop.orders", true},
	{"shop.*", "shopper", false},
	{"*order*items", "order_items", true},
	{"*a*b*c", "xaxbxbxc", true},
	{"*a*b*c", "xaxbxbx", false},
	{"**", "x", true},
	{"A", "a", false},
};

/* A decimal as hex, without the length. */
static void
decimal_hex(const char *text, char *hex, size_t size)
{
	TdBuffer	b = {0};
	uint32_t	len = 0;

	hex[0] = '\0';
	if (td_put_decimal(&b, text, strlen(text)))
	{
		memcpy(&len, b.data, 4);
		for (uint32_t i = 0; i < len && 2 * i + 2 < size; i++)
			snprintf(hex + 2 * i, 3, "%02x", b.data[4 + i]);
		if (len + 4 != b.len)
			snprintf(hex, size, "length %u of %zu", len, b.len);
	}
	td_buffer_free(&b);
}

static void
test_decimals(void)
{
	char		hex[200];
	char	   *large = malloc(200000);
	TdBuffer	b = {0};

	for (size_t i = 0; i < sizeof(decimals) / sizeof(decimals[0]); i++)
	{
		decimal_hex(decimals[i].text, hex, sizeof(hex));
		is(hex, decimals[i].form, decimals[i].text);
	}
	for (size_t i = 0; i < sizeof(no_decimals) / sizeof(no_decimals[0]); i++)
	{
		decimal_hex(no_decimals[i], hex, sizeof(hex));
		is(hex, "", "is no number");
	}
	memset(large, '9', 200000);
	ok(td_put_decimal(&b, large, 131072) && !td_put_decimal(&b, large, 131073), "131072 digits, and no more");
	large[0] = '.';
	ok(td_put_decimal(&b, large, 16384) && !td_put_decimal(&b, large, 16385), "a scale of 16383, and no more");
	td_buffer_free(&b);
	free(large);
}

static void
test_error_texts(void)
{
	TdError		err;
	char		filler[600];

	ok(!td_error_set(&err, "08006", "no %s", "route"), "setting an error is false");
	ok(err.retryable && strcmp(err.message, "no route") == 0 && err.hint[0] == '\0', "class 08 may be tried again");
	td_error_set(&err, "42P01", "x");
	ok(!err.retryable, "class 42 may not");
	memset(filler, 'x', sizeof(filler));
	filler[510] = '\0';
	td_error_set(&err, "53100", "%s\xc3\xa9", filler);
	ok(err.retryable && strlen(err.message) == 510 && td_utf8_valid((uint8_t *) err.message, strlen(err.message)),
	   "a long message is cut between characters");
	filler[509] = '\0';
	td_error_hint(&err, "%s\xc3\xa9" "xxxxx", filler);
	ok(td_utf8_valid((uint8_t *) err.hint, strlen(err.hint)) && strlen(err.hint) >= 509, "so is a hint");
	td_error_set(&err, "57P01", "y");
	ok(err.hint[0] == '\0' && err.detail[0] == '\0', "a new error forgets the old hint");
}

int
main(void)
{
	test_decimals();
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ok(td_utf8_valid((const uint8_t *) texts[i].bytes, texts[i].len) == texts[i].valid, "utf-8 case %zu", i);
	for (size_t i = 0; i < sizeof(globs) / sizeof(globs[0]); i++)
		ok(td_glob(globs[i].pattern, globs[i].text) == globs[i].match, "glob \"%s\" on \"%s\"", globs[i].pattern, globs[i].text);
	test_error_texts();
	return done_testing();
}
