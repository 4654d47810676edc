/*-------------------------------------------------------------------------
 *
 * decimal.c
 *		Decimal text into the binary form that PostgreSQL's numeric_recv takes.
 *
 * NOTES
 *		Canonical: no leading and no trailing zero digit, zero is positive, so
 *		that equal numbers of one scale are equal bytes.  The scale ("1.50") is
 *		kept.  The bounds are those of numeric: 131072 digits before the point,
 *		16383 after it.
 *
 * src/stream/decimal.c
 *
 *-------------------------------------------------------------------------
 */
#include "stream/record_internal.h"

#define MAX_WHOLE 131072
#define MAX_SCALE 16383
#define SIGN_NEGATIVE 0x4000
#define SIGN_NAN 0xC000
#define SIGN_INFINITE 0xD000
#define SIGN_MINUS_INFINITE 0xF000

/* A decimal text taken apart: runs of decimal digits before and after the point. */
typedef struct Parts
{
	const char *whole;
	size_t		nwhole;
	const char *fraction;
	size_t		nfraction;
	bool		negative;
} Parts;

static const struct
{
	const char *name;
	uint16_t	sign;
}			specials[] =
{
	{"NaN", SIGN_NAN},
	{"Infinity", SIGN_INFINITE},
	{"-Infinity", SIGN_MINUS_INFINITE},
};

/* A big-endian 16-bit number. */
static inline void
store16(uint8_t *to, unsigned v)
{
	to[0] = (uint8_t) (v >> 8);
	to[1] = (uint8_t) v;
}

/* Counts the decimal digits at *p and moves behind them. */
static size_t
skip_digits(const char **p, const char *end)
{
	const char *from = *p;

	while (*p < end && **p >= '0' && **p <= '9')
		(*p)++;
	return (size_t) (*p - from);
}

/* Takes a text apart; false = not a number, or out of numeric's bounds. */
static bool
parse(const char *text, size_t len, Parts *parts)
{
	const char *p = text;
	const char *end = text + len;

	memset(parts, 0, sizeof(*parts));
	if (p < end && (*p == '-' || *p == '+'))
		parts->negative = *p++ == '-';
	while (end - p > 1 && p[0] == '0' && p[1] >= '0' && p[1] <= '9')
		p++;
	parts->whole = p;
	parts->nwhole = skip_digits(&p, end);
	if (p < end && *p == '.')
	{
		parts->fraction = ++p;
		parts->nfraction = skip_digits(&p, end);
	}
	return p == end && parts->nwhole + parts->nfraction > 0 &&
		parts->nwhole <= MAX_WHOLE && parts->nfraction <= MAX_SCALE;
}

/* Writes up to four decimal digits as one base-10000 digit, padded with zeros on the right to four. */
static unsigned
base_digit(const char *digits, size_t n, size_t width)
{
	unsigned	v = 0;

	for (size_t i = 0; i < width; i++)
		v = v * 10 + (i < n ? (unsigned) (digits[i] - '0') : 0);
	return v;
}

/* Writes the digits of both parts at `to`, without zeros at either end; returns their number. */
static unsigned
write_digits(const Parts *parts, uint8_t *to, int *weight)
{
	size_t		head = parts->nwhole % 4;
	unsigned	n = 0;
	unsigned	zeros = 0;		/* seen, and not known yet to be inside */
	size_t		i = 0;

	*weight = (int) ((parts->nwhole + 3) / 4) - 1;
	while (i < parts->nwhole + parts->nfraction)
	{
		bool		whole = i < parts->nwhole;
		const char *from = whole ? parts->whole + i : parts->fraction + (i - parts->nwhole);
		size_t		width = whole && i == 0 && head ? head : 4;
		size_t		left = whole ? width : parts->nwhole + parts->nfraction - i;
		unsigned	digit = base_digit(from, left, width);

		i += whole ? width : 4;
		if (digit == 0)
		{
			if (n == 0)
				(*weight)--;
			else
				zeros++;
			continue;
		}
		for (; zeros > 0; zeros--)
			store16(to + 2 * (size_t) n++, 0);
		store16(to + 2 * (size_t) n++, digit);
	}
	return n;
}

/* Appends a value that has no digits: NaN and the infinities. */
static bool
put_special(TdBuffer *b, const char *text, size_t len)
{
	uint8_t		form[TD_DECIMAL_HEADER] = {0};

	for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
	{
		if (strlen(specials[i].name) != len || memcmp(specials[i].name, text, len) != 0)
			continue;
		store16(form + 4, specials[i].sign);
		td_put_bytes(b, form, sizeof(form));
		return true;
	}
	return false;
}

/* "-12.340" -> TD_DECIMAL.  Where the text is not a number nothing is written. */
bool
td_put_decimal(TdBuffer *b, const char *text, size_t len)
{
	Parts		parts;
	size_t		most;
	uint8_t    *to;
	unsigned	ndigits;
	uint32_t	size;
	int			weight;

	if (!parse(text, len, &parts))
		return put_special(b, text, len);
	most = TD_DECIMAL_HEADER + 2 * (parts.nwhole / 4 + parts.nfraction / 4 + 2);
	b->column++;
	if (!td_buffer_reserve(b, most + 4))
		return true;
	to = b->data + b->len;
	ndigits = write_digits(&parts, to + 4 + TD_DECIMAL_HEADER, &weight);
	store16(to + 4, ndigits);
	store16(to + 6, ndigits ? (unsigned) weight & 0xFFFF : 0);
	store16(to + 8, ndigits && parts.negative ? SIGN_NEGATIVE : 0);
	store16(to + 10, (unsigned) parts.nfraction);
	size = TD_DECIMAL_HEADER + 2 * ndigits;
	memcpy(to, &size, 4);
	b->len += 4 + (size_t) size;
	return true;
}
