/*-------------------------------------------------------------------------
 *
 * numeric.c
 *		Numbers into numeric, straight into its stored form.
 *
 * NOTES
 *		numeric_recv costs several allocations a value.  The short stored form
 *		(a header word with sign, scale and weight, then base-10000 digits) is
 *		what tables hold since 9.1 and what pg_upgrade keeps, so it can be
 *		written here; whatever does not fit it (NaN, infinities, more than 63
 *		digits after the point) or its column's typmod takes the slow way, which
 *		checks and complains.  test/unit/td_test compares both ways.
 *
 * src/apply/numeric.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/apply_internal.h"

#define WIRE_HEADER 8			/* ndigits, weight, sign, dscale: big-endian words */
#define WIRE_NEGATIVE 0x4000

#define STORED_SHORT 0x8000
#define STORED_NEGATIVE 0x2000
#define STORED_SCALE_SHIFT 7
#define STORED_SCALE_MAX 0x3F
#define STORED_WEIGHT_NEGATIVE 0x0040
#define STORED_WEIGHT_MASK 0x003F
#define STORED_WEIGHT_MAX 63
#define STORED_WEIGHT_MIN (-64)

/* A big-endian word. */
static inline int
word(const uint8_t *p)
{
	return (int) p[0] << 8 | p[1];
}

/* The header and room for n digits. */
static inline int16 *
make_stored(TdArena *arena, int n, int weight, bool negative, int scale, Datum *result)
{
	Size		size = VARHDRSZ + sizeof(uint16) + n * sizeof(int16);
	char	   *p = td_arena_alloc(arena, size);

	SET_VARSIZE(p, size);
	*(uint16 *) (p + VARHDRSZ) = STORED_SHORT | (negative ? STORED_NEGATIVE : 0) | scale << STORED_SCALE_SHIFT |
		(weight < 0 ? STORED_WEIGHT_NEGATIVE : 0) | (weight & STORED_WEIGHT_MASK);
	*result = PointerGetDatum(p);
	return (int16 *) (p + VARHDRSZ + sizeof(uint16));
}

/* An unsigned number. */
Datum
td_numeric_from_uint64(uint64 value, TdArena *arena)
{
	int16		digits[5];
	int			n = 0;
	int			skip = 0;
	Datum		result;
	int16	   *out;

	while (value > 0)
	{
		digits[n++] = value % 10000;
		value /= 10000;
	}
	while (skip < n && digits[skip] == 0)
		skip++;
	out = make_stored(arena, n - skip, n > 0 ? n - 1 : 0, false, 0, &result);
	for (int i = n - 1; i >= skip; i--)
		*out++ = digits[i];
	return result;
}

/* Decimal digits before the point of a number whose first base-10000 digit is not 0. */
static inline int
whole_digits(int weight, int first)
{
	if (weight < 0)
		return 0;
	return weight * 4 + (first >= 1000 ? 4 : first >= 100 ? 3 : first >= 10 ? 2 : 1);
}

/* Decimal digits after the point that n base-10000 digits need, the last of them being `last`. */
static inline int
fraction_digits(int n, int weight, int last)
{
	return (n - weight - 1) * 4 - (last % 1000 == 0 ? 3 : last % 100 == 0 ? 2 : last % 10 == 0 ? 1 : 0);
}

/* numeric_send's form into the stored one; 0 = not a case for this way. */
Datum
td_numeric_from_wire(TdBytes wire, const TdColumnMap *map, TdArena *arena)
{
	const uint8_t *p = wire.data;
	const uint8_t *digits = p + WIRE_HEADER;
	int			n = word(p);
	int			weight = (int16) word(p + 2);
	int			sign = word(p + 4);
	int			scale = word(p + 6);
	Datum		result;
	int16	   *out;

	if ((sign != 0 && sign != WIRE_NEGATIVE) || scale > STORED_SCALE_MAX || (map->limit >= 0 && scale != map->limit))
		return (Datum) 0;
	for (; n > 0 && word(digits) == 0; n--, weight--)
		digits += 2;
	while (n > 0 && word(digits + 2 * (n - 1)) == 0)
		n--;
	if (n == 0)
		weight = sign = 0;
	if (weight > STORED_WEIGHT_MAX || weight < STORED_WEIGHT_MIN)
		return (Datum) 0;
	if (n > 0 && fraction_digits(n, weight, word(digits + 2 * (n - 1))) > scale)
		return (Datum) 0;
	if (n > 0 && map->whole_digits >= 0 && whole_digits(weight, word(digits)) > map->whole_digits)
		return (Datum) 0;
	out = make_stored(arena, n, weight, sign != 0, scale, &result);
	for (int i = 0; i < n; i++)
	{
		out[i] = (int16) word(digits + 2 * i);
		if (unlikely((uint16) out[i] > 9999))
			return (Datum) 0;
	}
	return result;
}
