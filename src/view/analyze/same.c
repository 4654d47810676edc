/*-------------------------------------------------------------------------
 *
 * same.c
 *		Whether values of a type that are equal are also the same.
 *
 * NOTES
 *		By the catalogs only.  Btree says it of its operator classes, for
 *		deduplication: "equal image" holds for integers, dates, text under a
 *		deterministic collation, and most others; not for numeric (1.0 and 1.00),
 *		floats (0 and -0), interval, jsonb, citext.  Of what is made of other
 *		types it says nothing; they are looked into here.
 *
 *		A type that is not known is said to have different equal values: that
 *		costs time, and is never wrong.
 *
 * IDENTIFICATION
 *		src/view/analyze/same.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

static bool
fields_are_same(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !td_equal_is_same(att->atttypid, att->atttypmod, att->attcollation))
			return false;
	}
	return true;
}

/* A range compares its bounds by an operator class of its own. */
static bool
bounds_are_same(Oid type)
{
	TypeCacheEntry *range = lookup_type_cache(type, TYPECACHE_RANGE_INFO);
	Oid			bound = range->rngelemtype->type_id;

	return range->rng_cmp_proc_finfo.fn_oid == lookup_type_cache(bound, TYPECACHE_CMP_PROC)->cmp_proc && td_equal_is_same(bound, -1, range->rng_collation);
}

/* What the default btree operator class says. */
static bool
has_equal_image(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			function;

	if (!OidIsValid(entry->btree_opf) || (type_is_collatable(type) && !OidIsValid(collation)))
		return false;
	function = get_opfamily_proc(entry->btree_opf, entry->btree_opintype, entry->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(function) && DatumGetBool(OidFunctionCall1Coll(function, collation, ObjectIdGetDatum(entry->btree_opintype)));
}

/* Are two values of this type that are equal, by the equality of GROUP BY, the same in every respect? */
bool
td_equal_is_same(Oid type, int32 typmod, Oid collation)
{
	check_stack_depth();
	if (get_typtype(type) == TYPTYPE_DOMAIN)
		type = getBaseTypeAndTypmod(type, &typmod);
	switch (get_typtype(type))
	{
		case TYPTYPE_ENUM:
			return true;
		case TYPTYPE_COMPOSITE:
			return fields_are_same(type);
		case TYPTYPE_RANGE:
			return bounds_are_same(type);
		case TYPTYPE_MULTIRANGE:
			return bounds_are_same(get_multirange_range(type));
	}
	if (OidIsValid(get_element_type(type)))
		return td_equal_is_same(get_element_type(type), typmod, collation);
	if (type == NUMERICOID)		/* of one scale */
		return typmod >= (int32) VARHDRSZ;
	if (type == BPCHAROID)		/* its operator class knows nothing of typmods; padded to one length it is as text */
		return typmod >= (int32) VARHDRSZ && has_equal_image(TEXTOID, collation);
	return has_equal_image(type, collation);
}
