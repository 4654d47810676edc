/*-------------------------------------------------------------------------
 *
 * datum.c
 *		Values of a record into Datums of a target column.
 *
 * NOTES
 *		Values come from a foreign system through a connector: what the target
 *		type would refuse as input is refused here with column and key, and what
 *		would break the database (bytes that are no text, numbers out of a type's
 *		range) never gets past.  Datums live in the arena: until its next reset.
 *
 * src/apply/datum.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/varbit.h"

#include "apply/apply_internal.h"

static Datum text_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena);
static Datum bytes_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena);
static Datum bit_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena);
static Datum array_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena);
static Datum interval_datum(const TdBinding *b, uint32 column, const TdValue *value, TdBytes row, TdArena *arena);
static Datum decimal_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena);
static Datum input_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena);
static Datum try_input(const TdBinding *b, uint32 column, const TdBytes bytes, const TdBytes row, TdArena *arena);

/* Raises what is wrong with a value; `what` is a phrase. */
void
td_value_error(const TdBinding *b, uint32 column, TdBytes row, int sqlstate, const char *what)
{
	char	   *key = td_row_key_text(b->schema, row);

	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("column \"%s\" of table %s cannot take a value of its source", b->schema->columns[column].name, b->name),
			 *key ? errdetail("Row with key %s: %s.", key, what) : errdetail("Row of a table without key: %s.", what),
			 errhint("Mend the row at the source, or leave the table out (except_tables); the pipeline goes on from where it stopped.")));
	pg_unreachable();
}

/* A number that must lie within what its type can hold. */
static inline void
check_range(const TdBinding *b, uint32 column, TdBytes row, bool good)
{
	if (unlikely(!good))
		td_value_error(b, column, row, ERRCODE_DATETIME_VALUE_OUT_OF_RANGE, "date or time is out of range");
}

/* Microseconds must not be finer than the column says; limit is the power of ten that has to divide them. */
static inline void
check_precision(const TdBinding *b, uint32 column, TdBytes row, int64 usec)
{
	int32		limit = b->columns[column].limit;

	if (unlikely(limit > 1 && usec % limit != 0))
		td_value_error(b, column, row, ERRCODE_DATETIME_FIELD_OVERFLOW, "time has more fractional digits than the column");
}

/* A value with state TD_VALUE as a Datum of its target column. */
static inline Datum
value_datum(const TdBinding *b, uint32 column, const TdValue *v, TdBytes row, TdArena *arena)
{
	switch (b->columns[column].type)
	{
		case TD_BOOL:
			return BoolGetDatum(v->i != 0);
		case TD_INT2:
			return Int16GetDatum((int16) v->i);
		case TD_INT4:
			return Int32GetDatum((int32) v->i);
		case TD_INT8:
			return Int64GetDatum(v->i);
		case TD_UINT8:
			return td_numeric_from_uint64(v->u, arena);
		case TD_FLOAT4:
			return Float4GetDatum(v->f4);
		case TD_FLOAT8:
			return Float8GetDatum(v->f8);
		case TD_DECIMAL:
			return decimal_datum(b, column, v->bytes, row, arena);
		case TD_TEXT:
			return text_datum(b, column, v->bytes, row, arena);
		case TD_BYTES:
			return bytes_datum(b, column, v->bytes, row, arena);
		case TD_DATE:
			check_range(b, column, row, IS_VALID_DATE((int32) v->i) || DATE_NOT_FINITE((int32) v->i));
			return DateADTGetDatum((int32) v->i);
		case TD_TIMESTAMP:
		case TD_TIMESTAMPTZ:
			if (TIMESTAMP_NOT_FINITE(v->i))
				return TimestampGetDatum(v->i);
			check_range(b, column, row, IS_VALID_TIMESTAMP(v->i));
			check_precision(b, column, row, v->i);
			return TimestampGetDatum(v->i);
		case TD_INTERVAL:
			return interval_datum(b, column, v, row, arena);
		case TD_JSON:
			return input_datum(b, column, v->bytes, row, arena);
		case TD_BIT:
			return bit_datum(b, column, v->bytes, row, arena);
		case TD_TEXT_ARRAY:
			return array_datum(b, column, v->bytes, row, arena);
		case TD_UUID:
			return PointerGetDatum(memcpy(td_arena_alloc(arena, UUID_LEN), v->bytes.data, UUID_LEN));
	}
	elog(ERROR, "type %d of column \"%s\" is unknown", (int) b->columns[column].type, b->schema->columns[column].name);
}

/* The same for other files. */
Datum
td_value_datum(const TdBinding *b, uint32 column, const TdValue *value, TdBytes row, TdArena *arena)
{
	return value_datum(b, column, value, row, arena);
}

/* Puts a row's values where they belong in the target; what is absent or unchanged is left as it stands there. */
void
td_values_fill(const TdBinding *b, const TdValue *values, TdBytes row, TdArena *arena, Datum *datums, bool *nulls)
{
	uint32		ncolumns = b->schema->ncolumns;

	for (uint32 i = 0; i < ncolumns; i++)
	{
		const TdColumnMap *map = &b->columns[i];
		int			att = map->attnum - 1;

		if (likely(values[i].state == TD_VALUE))
		{
			datums[att] = value_datum(b, i, &values[i], row, arena);
			nulls[att] = false;
		}
		else if (values[i].state == TD_NULL)
		{
			if (unlikely(map->not_null))
				td_value_error(b, i, row, ERRCODE_NOT_NULL_VIOLATION, "null, but the column is NOT NULL");
			nulls[att] = true;
			datums[att] = (Datum) 0;
		}
	}
}

/* A varlena with room for len bytes. */
static inline char *
make_varlena(const TdBinding *b, uint32 column, TdBytes row, TdArena *arena, Size len)
{
	char	   *p;

	if (unlikely(len > MaxAllocSize - 64))
		td_value_error(b, column, row, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "value is larger than 1 GB");
	p = td_arena_alloc(arena, VARHDRSZ + len);
	SET_VARSIZE(p, VARHDRSZ + len);
	return p;
}

/* Raises 22021 with the place of the first bad byte. */
static void
text_error(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row)
{
	int			n = pg_encoding_verifymbstr(PG_UTF8, (const char *) bytes.data, bytes.len);

	td_value_error(b, column, row, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
				   psprintf("byte 0x%02x at offset %d is not valid in UTF-8 text", n < bytes.len ? bytes.data[n] : 0, n));
}

/* UTF-8 in the database's own encoding. */
static pg_noinline TdBytes
convert_text(const TdBinding *b, uint32 column, const TdBytes bytes, const TdBytes row, TdArena *arena)
{
	MemoryContext caller = MemoryContextSwitchTo(arena->context);
	char	   *volatile converted = NULL;
	TdBytes		result;

	PG_TRY();
	{
		converted = pg_any_to_server(pnstrdup((const char *) bytes.data, bytes.len), bytes.len, PG_UTF8);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		td_value_error(b, column, row, ERRCODE_UNTRANSLATABLE_CHARACTER,
					   psprintf("text has a character that encoding \"%s\" of this database lacks", GetDatabaseEncodingName()));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	result.data = (const uint8_t *) converted;
	result.len = strlen(converted);
	return result;
}

/* Checked text in the server's encoding. */
static inline TdBytes
check_text(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena)
{
	if (unlikely(!td_utf8_valid(bytes.data, bytes.len)))
		text_error(b, column, bytes, row);
	if (unlikely(GetDatabaseEncoding() != PG_UTF8))
		bytes = convert_text(b, column, bytes, row, arena);
	return bytes;
}

static Datum
text_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena)
{
	int32		limit = b->columns[column].limit;
	char	   *p;

	bytes = check_text(b, column, bytes, row, arena);
	if (unlikely(limit > 0 && bytes.len > limit && pg_mbstrlen_with_len((const char *) bytes.data, bytes.len) > limit))
		td_value_error(b, column, row, ERRCODE_STRING_DATA_RIGHT_TRUNCATION, psprintf("text is longer than %d characters", limit));
	p = make_varlena(b, column, row, arena, bytes.len);
	memcpy(VARDATA(p), bytes.data, bytes.len);
	return PointerGetDatum(p);
}

static Datum
bytes_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena)
{
	char	   *p = make_varlena(b, column, row, arena, bytes.len);

	memcpy(VARDATA(p), bytes.data, bytes.len);
	return PointerGetDatum(p);
}

/* Bits behind the last one are cleared: the type relies on it. */
static void
mask_tail(VarBit *bits)
{
	int			pad = VARBITPAD(bits);

	if (pad > 0)
		VARBITS(bits)[VARBITBYTES(bits) - 1] &= BITMASK << pad;
}

/* Any number of bits up to the column's, or exactly as many for bit(n). */
static Datum
bit_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena)
{
	const TdColumnMap *map = &b->columns[column];
	uint32		nbits;
	VarBit	   *bits;
	Size		len;

	memcpy(&nbits, bytes.data, sizeof(nbits));
	if (map->limit > 0 && (map->typid == BITOID ? nbits != map->limit : nbits > map->limit))
		td_value_error(b, column, row, ERRCODE_STRING_DATA_LENGTH_MISMATCH, psprintf("%u bits for a column of %d", nbits, map->limit));
	if (nbits > VARBITMAXLEN)
		td_value_error(b, column, row, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "value has too many bits");
	len = VARBITTOTALLEN(nbits);
	bits = td_arena_alloc(arena, len);
	SET_VARSIZE(bits, len);
	VARBITLEN(bits) = nbits;
	memcpy(VARBITS(bits), bytes.data + 4, VARBITBYTES(bits));
	mask_tail(bits);
	return VarBitPGetDatum(bits);
}

/* text[] */
static Datum
array_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena)
{
	MemoryContext caller;
	TdReader	items;
	Datum	   *datums;
	uint32		n;
	Datum		result;

	if (!td_read_array(bytes, &n, &items))
		td_value_error(b, column, row, ERRCODE_INVALID_BINARY_REPRESENTATION, "array is damaged");
	datums = td_arena_alloc(arena, (Size) n * sizeof(Datum));
	for (uint32 i = 0; i < n; i++)
	{
		TdBytes		item;

		if (!td_read_item(&items, &item))
			td_value_error(b, column, row, ERRCODE_INVALID_BINARY_REPRESENTATION, "array is damaged");
		datums[i] = text_datum(b, column, item, row, arena);
	}
	caller = MemoryContextSwitchTo(arena->context);
	result = PointerGetDatum(construct_array(datums, n, TEXTOID, -1, false, TYPALIGN_INT));
	MemoryContextSwitchTo(caller);
	return result;
}

static Datum
interval_datum(const TdBinding *b, uint32 column, const TdValue *value, TdBytes row, TdArena *arena)
{
	Interval   *interval = td_arena_alloc(arena, sizeof(Interval));

	check_precision(b, column, row, value->i);
	interval->time = value->i;
	interval->day = value->days;
	interval->month = value->months;
	return IntervalPGetDatum(interval);
}

/* The quick way; where it does not fit, numeric_recv checks and complains. */
static Datum
decimal_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena)
{
	const TdColumnMap *map = &b->columns[column];
	Datum		result = td_numeric_from_wire(bytes, map, arena);

	if (likely(result != (Datum) 0))
		return result;
	if (map->typmod >= 0 && map->limit >= 0 && (bytes.data[6] << 8 | bytes.data[7]) > map->limit)
		td_value_error(b, column, row, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "number has more digits after the point than the column");
	return input_datum(b, column, bytes, row, arena);
}

/* Through the type's own input function. */
static Datum
call_input(const TdBinding *b, uint32 column, TdBytes bytes)
{
	StringInfoData buffer;

	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, (const char *) bytes.data, bytes.len);
	if (b->columns[column].type == TD_JSON)
		return DirectFunctionCall1(jsonb_in, CStringGetDatum(buffer.data));
	return DirectFunctionCall3(numeric_recv, PointerGetDatum(&buffer), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(b->columns[column].typmod));
}

/* jsonb and odd numbers: checked as far as the input functions rely on it. */
static Datum
input_datum(const TdBinding *b, uint32 column, TdBytes bytes, TdBytes row, TdArena *arena)
{
	if (bytes.len > MaxAllocSize / 2)
		td_value_error(b, column, row, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "value is too large");
	if (b->columns[column].type == TD_JSON)
		return try_input(b, column, check_text(b, column, bytes, row, arena), row, arena);
	return try_input(b, column, bytes, row, arena);
}

/* What the input function says becomes part of our error. */
static pg_noinline Datum
try_input(const TdBinding *b, uint32 column, const TdBytes bytes, const TdBytes row, TdArena *arena)
{
	MemoryContext caller = MemoryContextSwitchTo(arena->context);
	volatile Datum result = (Datum) 0;

	PG_TRY();
	{
		result = call_input(b, column, bytes);
	}
	PG_CATCH();
	{
		ErrorData  *edata;
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		edata = CopyErrorData();
		FlushErrorState();
		td_value_error(b, column, row, edata->sqlerrcode,
					   edata->detail ? psprintf("%s (%s)", edata->message, edata->detail) : edata->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return result;
}
