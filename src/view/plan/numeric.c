/*-------------------------------------------------------------------------
 *
 * numeric.c
 *		Sums of numerics from which values may be taken away again.
 *
 * NOTES
 *		Any backend.  sum(numeric) shows the greatest display scale among its
 *		inputs, and is NaN or infinite when one of them is.  A plain sum can't
 *		forget either, so a second number counts the inputs by what they do:
 *		it is the sum of 10^(20 * place), where place 0 is -Infinity, 1 Infinity,
 *		2 NaN, and 3 + s a finite value of display scale s.  Counts stay below
 *		10^20, so places never run into each other; and it is a sum, so what
 *		goes is subtracted.
 *
 *		A numeric key of a group is shown in the same way: all of its rows are equal,
 *		and differ in scale at most.
 *
 *		Used in statements that view/plan writes.
 *
 * IDENTIFICATION
 *		src/view/plan/numeric.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define PLACE_DIGITS 20
#define PLACE_MINUS 0
#define PLACE_PLUS 1
#define PLACE_NAN 2
#define PLACE_FINITE 3
#define MAX_PLACE (131000 / PLACE_DIGITS)	/* numeric has 131072 digits before the point */
#define KEPT_PLACES 64

PG_FUNCTION_INFO_V1(td_sql_numeric_place);
PG_FUNCTION_INFO_V1(td_sql_numeric_sum);

static Datum
numeric_of(const char *text)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static int
place_of(Numeric n)
{
	int			place;

	if (numeric_is_nan(n))
		return PLACE_NAN;
	if (numeric_is_inf(n))
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(n)))[0] == '-' ? PLACE_MINUS : PLACE_PLUS;
	place = PLACE_FINITE + DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(n)));
	if (place > MAX_PLACE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a live view can't sum up or group by a number with %d digits after the point", place - PLACE_FINITE),
				 errhint("Give it a scale: round(x, 10), or a column of type numeric(p, s).")));
	return place;
}

/* tapdata.numeric_place(numeric): 10^(20 * place of the value).  The first few are made once per statement. */
Datum
td_sql_numeric_place(PG_FUNCTION_ARGS)
{
	int			place = place_of(PG_GETARG_NUMERIC(0));
	Datum	   *kept = fcinfo->flinfo->fn_extra;
	MemoryContext old;

	if (place >= KEPT_PLACES)
		PG_RETURN_DATUM(numeric_of(psprintf("1e%d", PLACE_DIGITS * place)));
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	if (kept == NULL)
		fcinfo->flinfo->fn_extra = kept = palloc0(sizeof(Datum) * KEPT_PLACES);
	if (kept[place] == (Datum) 0)
		kept[place] = numeric_of(psprintf("1e%d", PLACE_DIGITS * place));
	MemoryContextSwitchTo(old);
	PG_RETURN_DATUM(kept[place]);
}

/* Is anything counted at this place? */
static bool
counted(const char *digits, int length, int place)
{
	int			end = length - place * PLACE_DIGITS;

	for (int i = Max(end - PLACE_DIGITS, 0); i < end; i++)
		if (digits[i] != '0')
			return true;
	return false;
}

/* The sum shown with this display scale; all that was added had at most that. */
static Datum
with_scale(Datum sum, int scale)
{
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, sum)) == scale)
		return sum;
	return DirectFunctionCall2(numeric_add, DirectFunctionCall1(numeric_trim_scale, sum), numeric_of(psprintf("0e-%d", scale)));
}

/* tapdata.numeric_sum(finite numeric, places numeric): what sum() would return. */
Datum
td_sql_numeric_sum(PG_FUNCTION_ARGS)
{
	char	   *digits = DatumGetCString(DirectFunctionCall1(numeric_out, PG_GETARG_DATUM(1)));
	int			length = strspn(digits, "0123456789");
	bool		minus,
				plus;

	if (digits[length] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("these are no counts of values: %s", digits)));
	if (digits[0] == '0')
		PG_RETURN_NULL();
	minus = counted(digits, length, PLACE_MINUS);
	plus = counted(digits, length, PLACE_PLUS);
	if ((minus && plus) || counted(digits, length, PLACE_NAN))
		PG_RETURN_DATUM(numeric_of("NaN"));
	if (minus || plus)
		PG_RETURN_DATUM(numeric_of(minus ? "-Infinity" : "Infinity"));
	PG_RETURN_DATUM(with_scale(PG_GETARG_DATUM(0), (length - 1) / PLACE_DIGITS - PLACE_FINITE));
}
