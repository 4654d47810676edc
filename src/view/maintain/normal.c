/*-------------------------------------------------------------------------
 *
 * normal.c
 *		Values as images: the same value has the same bytes, however it is stored.
 *
 * NOTES
 *		Any process, inside a transaction.  A value may be stored with a short
 *		header, compressed, out of line, or be an expanded object; a composite one
 *		may hold such values within, and junk in its header.  Two values are the
 *		same image when they are the same bytes once all of that is undone: 1.0 and
 *		1.00 are different images.
 *
 *		Results are in CurrentMemoryContext, which callers reset per row.
 *
 * src/view/maintain/normal.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/maintain/store_internal.h"

/* Composite types, and arrays of them, have values within. */
static bool
is_deep(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_element_type(base);

	if (OidIsValid(element))
		return is_deep(element);
	return base == RECORDOID || get_typtype(base) == TYPTYPE_COMPOSITE;
}

/* packable: the tuples it goes into may give it a short header. */
void
td_normal_init(TdNormal *normal, Oid type, bool packable)
{
	normal->type = type;
	get_typlenbyval(type, &normal->len, &normal->byval);
	normal->packable = packable;
	normal->deep = normal->len == -1 && is_deep(type);
}

/* Those of the first columns of a descriptor. */
TdNormal *
td_normal_columns(TupleDesc desc, int ncolumns)
{
	TdNormal   *normal = palloc0(sizeof(TdNormal) * Max(ncolumns, 1));

	for (int i = 0; i < ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		td_normal_init(&normal[i], att->atttypid, att->attstorage != TYPSTORAGE_PLAIN);
	}
	return normal;
}

/* An array whose elements are deep. */
static Datum
normal_array(Oid element, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int16		len;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(array, element, len, byval, align, &values, &nulls, &n);
	if (n == 0)
		return PointerGetDatum(array);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			values[i] = td_normal_deep(element, values[i]);
	}
	return PointerGetDatum(construct_md_array(values, nulls, ARR_NDIM(array), ARR_DIMS(array), ARR_LBOUND(array), element, len,
											  byval, align));
}

/* A composite value, formed anew of whole values; what is left in dropped columns goes. */
static Datum
normal_composite(Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	Datum	   *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	Datum		result;

	ItemPointerSetInvalid(&tuple.t_self);
	heap_deform_tuple(&tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			nulls[i] = true;
		if (nulls[i] || att->attlen != -1)
			continue;
		values[i] = is_deep(att->atttypid) ? td_normal_deep(att->atttypid, values[i])
			: PointerGetDatum(PG_DETOAST_DATUM(values[i]));
	}
	result = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	ReleaseTupleDesc(desc);
	return result;
}

/* The image of a value that has values within. */
Datum
td_normal_deep(Oid type, Datum value)
{
	Oid			element = get_element_type(getBaseType(type));

	check_stack_depth();
	return OidIsValid(element) ? normal_array(element, value) : normal_composite(value);
}

/* What counts of a by-value datum: an oid may come zero- or sign-extended. */
static inline uint64
by_value_bits(const TdNormal *normal, Datum value)
{
	return normal->len >= (int) sizeof(uint64) ? (uint64) value
		: (uint64) value & ((UINT64CONST(1) << (8 * normal->len)) - 1);
}

/* Neither is null. */
bool
td_image_equal(const TdNormal *normal, Datum a, Datum b)
{
	if (normal->byval)
		return by_value_bits(normal, a) == by_value_bits(normal, b);
	if (normal->deep)
	{
		a = td_normal_deep(normal->type, a);
		b = td_normal_deep(normal->type, b);
	}
	return datum_image_eq(a, b, false, normal->len);
}

/* The bytes of a value that is passed by reference; *owner is what to free, if anything. */
static const char *
image_bytes(const TdNormal *normal, Datum value, Size *len, void **owner)
{
	struct varlena *whole;

	*owner = NULL;
	if (normal->len != -1)
	{
		*len = normal->len == -2 ? strlen(DatumGetCString(value)) + 1 : normal->len;
		return DatumGetPointer(value);
	}
	whole = normal->deep ? (struct varlena *) DatumGetPointer(td_normal_deep(normal->type, value)) : PG_DETOAST_DATUM_PACKED(value);
	if ((Pointer) whole != DatumGetPointer(value) && !normal->deep)
		*owner = whole;			/* a composite one is not a chunk of its own */
	*len = VARSIZE_ANY_EXHDR(whole);
	return VARDATA_ANY(whole);
}

/* Equal images have equal hashes, on this machine for ever: indexes hold them. */
uint64
td_image_hash(const TdNormal *normal, Datum value, uint64 seed)
{
	uint64		bits;
	const char *bytes;
	Size		len;
	void	   *owner;
	uint64		hash;

	if (normal->byval)
	{
		bits = by_value_bits(normal, value);
		return hash_bytes_extended((const unsigned char *) &bits, sizeof(bits), seed);
	}
	bytes = image_bytes(normal, value, &len, &owner);
	hash = hash_bytes_extended((const unsigned char *) bytes, (int) len, seed);
	if (owner)
		pfree(owner);
	return hash;
}

/* Appends an image in such a way that a sequence of them is unambiguous. */
void
td_image_append(const TdNormal *normal, Datum value, StringInfo into)
{
	uint64		bits;
	const char *bytes;
	Size		len;
	void	   *owner;

	if (normal->byval)
	{
		bits = by_value_bits(normal, value);
		appendBinaryStringInfo(into, (const char *) &bits, sizeof(bits));
		return;
	}
	bytes = image_bytes(normal, value, &len, &owner);
	if (normal->len == -1)
		appendBinaryStringInfo(into, (const char *) &len, sizeof(len));
	appendBinaryStringInfo(into, bytes, (int) len);
	if (owner)
		pfree(owner);
}
