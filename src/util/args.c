/*-------------------------------------------------------------------------
 *
 * args.c
 *		Arguments of the SQL faces.
 *
 * NOTES
 *		Sessions.  The functions are not STRICT, so that a null is an error
 *		with a name instead of a null result.
 *
 * IDENTIFICATION
 *		src/util/args.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "util/util.h"

/* Raises for an argument that must not be null: such have no default. */
static void
null_argument(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" must not be null", name),
			 errhint("It has no default: give it a value.")));
}

char *
td_required_text(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		null_argument(name);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

char *
td_optional_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

List *
td_optional_words(FunctionCallInfo fcinfo, int n, const char *name)
{
	Datum	   *items;
	bool	   *nulls;
	int			count;
	List	   *words = NIL;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", name),
					 errhint("Leave them out of the array.")));
		words = lappend(words, TextDatumGetCString(items[i]));
	}
	return words;
}

List *
td_optional_pairs(FunctionCallInfo fcinfo, int n, const char *name)
{
	return PG_ARGISNULL(n) ? NIL : td_json_pairs(PG_GETARG_JSONB_P(n), name);
}

Oid
td_required_oid(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		null_argument(name);
	return PG_GETARG_OID(n);
}

bool
td_flag(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) && PG_GETARG_BOOL(n);
}
