/*-------------------------------------------------------------------------
 *
 * type.c
 *		Which PostgreSQL type takes a source column.
 *
 * src/apply/type.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"
#include "utils/varbit.h"

#include "apply/apply_internal.h"

#define MAX_VARCHAR 10485760
#define MAX_PRECISION 1000

/* What has no length is a row of this table. */
static const struct
{
	TdType		type;
	const char *name;
	Oid			oid;
}			types[] = {
	{TD_BOOL, "boolean", BOOLOID},
	{TD_INT2, "smallint", INT2OID},
	{TD_INT4, "integer", INT4OID},
	{TD_INT8, "bigint", INT8OID},
	{TD_UINT8, "numeric(20,0)", NUMERICOID},
	{TD_FLOAT4, "real", FLOAT4OID},
	{TD_FLOAT8, "double precision", FLOAT8OID},
	{TD_DECIMAL, "numeric", NUMERICOID},
	{TD_TEXT, "text", TEXTOID},
	{TD_BYTES, "bytea", BYTEAOID},
	{TD_DATE, "date", DATEOID},
	{TD_TIMESTAMP, "timestamp without time zone", TIMESTAMPOID},
	{TD_TIMESTAMPTZ, "timestamp with time zone", TIMESTAMPTZOID},
	{TD_INTERVAL, "interval", INTERVALOID},
	{TD_JSON, "jsonb", JSONBOID},
	{TD_BIT, "bit varying", VARBITOID},
	{TD_TEXT_ARRAY, "text[]", TEXTARRAYOID},
	{TD_UUID, "uuid", UUIDOID},
};

static bool numeric_limits(TdColumnMap *map);
static bool time_limits(TdColumnMap *map, int precision);

/* The type a new target table gets for this column.  palloc'ed. */
char *
td_target_type(const TdColumn *column)
{
	int32		n = column->length;

	switch (column->type)
	{
		case TD_TEXT:
			if (n > 0 && n <= MAX_VARCHAR)
				return psprintf("character varying(%d)", n);
			break;
		case TD_DECIMAL:
			if (n > 0 && n <= MAX_PRECISION)
				return psprintf("numeric(%d,%d)", n, Max(column->scale, 0));
			break;
		case TD_TIMESTAMP:
			if (n >= 0 && n <= MAX_TIMESTAMP_PRECISION)
				return psprintf("timestamp(%d) without time zone", n);
			break;
		case TD_TIMESTAMPTZ:
			if (n >= 0 && n <= MAX_TIMESTAMP_PRECISION)
				return psprintf("timestamp(%d) with time zone", n);
			break;
		case TD_INTERVAL:
			if (n >= 0 && n <= MAX_INTERVAL_PRECISION)
				return psprintf("interval(%d)", n);
			break;
		case TD_BIT:
			if (n > 0 && n <= VARBITMAXLEN)
				return psprintf("bit(%d)", n);
			break;
		default:
			break;
	}
	for (int i = 0; i < lengthof(types); i++)
	{
		if (types[i].type == column->type)
			return pstrdup(types[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("column \"%s\" has type %d, which this version does not know", column->name, (int) column->type)));
}

/* May the target column hold every value of the source's type, or refuse it with an error?  Fills the limits of the map. */
bool
td_type_fits(TdColumnMap *map)
{
	Oid			expected = InvalidOid;

	map->limit = 0;
	map->whole_digits = -1;
	for (int i = 0; i < lengthof(types); i++)
	{
		if (types[i].type == map->type)
			expected = types[i].oid;
	}
	switch (map->typid)
	{
		case VARCHAROID:
			map->limit = map->typmod >= (int32) VARHDRSZ ? map->typmod - VARHDRSZ : 0;
			return map->type == TD_TEXT;
		case BITOID:
		case VARBITOID:
			map->limit = Max(map->typmod, 0);
			return map->type == TD_BIT;
		case NUMERICOID:
			return expected == NUMERICOID && numeric_limits(map);
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return expected == map->typid && time_limits(map, map->typmod);
		case INTERVALOID:
			if (map->typmod >= 0 && INTERVAL_RANGE(map->typmod) != INTERVAL_FULL_RANGE)
				return false;
			return expected == INTERVALOID && time_limits(map, map->typmod < 0 ? -1 : INTERVAL_PRECISION(map->typmod));
		default:
			return expected == map->typid;
	}
}

/* A scale below the source's would round in silence; too few digits before the point fail by themselves. */
static bool
numeric_limits(TdColumnMap *map)
{
	int			precision;
	int			scale;

	map->limit = -1;
	if (map->typmod < (int32) VARHDRSZ)
		return true;
	precision = (map->typmod - VARHDRSZ) >> 16 & 0xFFFF;
	scale = (((map->typmod - VARHDRSZ) & 0x7FF) ^ 1024) - 1024;
	map->limit = scale >= 0 ? scale : -2;	/* -2: no value fits the quick way */
	map->whole_digits = Max(precision - scale, 0);
	if (map->type == TD_UINT8)
		return scale == 0 && precision >= 20;
	return scale >= map->column->scale;
}

/* Likewise for fractional digits; the limit is the power of ten that divides what the column can hold. */
static bool
time_limits(TdColumnMap *map, int precision)
{
	int			length = map->column->length < 0 ? 6 : map->column->length;

	if (precision < 0 || precision >= 6)
		return true;
	map->limit = 1;
	for (int i = precision; i < 6; i++)
		map->limit *= 10;
	return precision >= length;
}
