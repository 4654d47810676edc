/*-------------------------------------------------------------------------
 *
 * hash.c
 *		tapdata.row_hash(VARIADIC "any"): a hash of the images of its arguments.
 *
 * NOTES
 *		Any backend, any parallel worker.  The index by which rows of a view
 *		without a key are found is on this function: its results are on disk and
 *		must never change, nor depend on how a value is stored, on settings or on
 *		collations.  Needs no equality of the types, so json and point will do.
 *
 * src/view/maintain/hash.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"

#include "view/maintain/store_internal.h"

PG_FUNCTION_INFO_V1(td_sql_row_hash);

/* What the arguments are, kept with the call. */
static const TdNormal *
argument_types(FmgrInfo *flinfo, int nargs)
{
	TdNormal   *normal = flinfo->fn_extra;

	if (normal)
		return normal;
	normal = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(TdNormal) * Max(nargs, 1));
	for (int i = 0; i < nargs; i++)
	{
		Oid			type = get_fn_expr_argtype(flinfo, i);

		if (!OidIsValid(type))
			ereport(ERROR,
					(errcode(ERRCODE_INDETERMINATE_DATATYPE),
					 errmsg("could not determine the type of argument %d of row_hash", i + 1)));
		td_normal_init(&normal[i], type, true);
	}
	flinfo->fn_extra = normal;
	return normal;
}

/* tapdata.row_hash(VARIADIC "any") */
Datum
td_sql_row_hash(PG_FUNCTION_ARGS)
{
	const TdNormal *normal = argument_types(fcinfo->flinfo, PG_NARGS());
	uint64		hash = 0;

	for (int i = 0; i < PG_NARGS(); i++)
		hash = PG_ARGISNULL(i) ? hash_combine64(hash, 0) : td_image_hash(&normal[i], PG_GETARG_DATUM(i), hash);
	PG_RETURN_INT64((int64) hash);
}
