/*-------------------------------------------------------------------------
 *
 * td_records.c
 *		SQL rows as records.
 *
 * NOTES
 *		Types are told by the column's type; a domain raw_<type> over bytea (or
 *		over the number behind a fixed type) gives bytes that no PostgreSQL value
 *		could have: raw_text, raw_json, raw_decimal, raw_bit, raw_array, raw_date,
 *		raw_timestamp, uint8.
 *
 * test/unit/td_test/td_records.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"
#include "utils/varbit.h"

#include "td_test.h"

static const struct
{
	Oid			oid;
	const char *domain;
	TdType		type;
}			types[] = {
	{BOOLOID, NULL, TD_BOOL},
	{INT2OID, NULL, TD_INT2},
	{INT4OID, NULL, TD_INT4},
	{INT8OID, NULL, TD_INT8},
	{FLOAT4OID, NULL, TD_FLOAT4},
	{FLOAT8OID, NULL, TD_FLOAT8},
	{NUMERICOID, NULL, TD_DECIMAL},
	{TEXTOID, NULL, TD_TEXT},
	{VARCHAROID, NULL, TD_TEXT},
	{BYTEAOID, NULL, TD_BYTES},
	{DATEOID, NULL, TD_DATE},
	{TIMESTAMPOID, NULL, TD_TIMESTAMP},
	{TIMESTAMPTZOID, NULL, TD_TIMESTAMPTZ},
	{INTERVALOID, NULL, TD_INTERVAL},
	{JSONBOID, NULL, TD_JSON},
	{BITOID, NULL, TD_BIT},
	{VARBITOID, NULL, TD_BIT},
	{TEXTARRAYOID, NULL, TD_TEXT_ARRAY},
	{UUIDOID, NULL, TD_UUID},
	{InvalidOid, "uint8", TD_UINT8},
	{InvalidOid, "raw_text", TD_TEXT},
	{InvalidOid, "raw_json", TD_JSON},
	{InvalidOid, "raw_decimal", TD_DECIMAL},
	{InvalidOid, "raw_bit", TD_BIT},
	{InvalidOid, "raw_array", TD_TEXT_ARRAY},
	{InvalidOid, "raw_date", TD_DATE},
	{InvalidOid, "raw_timestamp", TD_TIMESTAMP},
};

/* Length and scale as a connector would announce them. */
static void
set_limits(TdColumn *c, int32 typmod)
{
	c->length = c->scale = -1;
	if (typmod < 0)
		return;
	switch (c->type)
	{
		case TD_TEXT:
			c->length = typmod - VARHDRSZ;
			break;
		case TD_DECIMAL:
			c->length = (typmod - VARHDRSZ) >> 16 & 0xFFFF;
			c->scale = (((typmod - VARHDRSZ) & 0x7FF) ^ 1024) - 1024;
			break;
		case TD_INTERVAL:
			c->length = INTERVAL_PRECISION(typmod) == INTERVAL_FULL_PRECISION ? -1 : INTERVAL_PRECISION(typmod);
			break;
		default:
			c->length = typmod;
	}
}

static void
describe_column(TdColumn *c, Form_pg_attribute att)
{
	c->name = pstrdup(NameStr(att->attname));
	c->native = format_type_with_typemod(att->atttypid, att->atttypmod);
	c->not_null = att->attnotnull;
	for (int i = 0; i < lengthof(types); i++)
	{
		if (types[i].domain ? strcmp(types[i].domain, strrchr(c->native, '.') ? strrchr(c->native, '.') + 1 : c->native) == 0
			: types[i].oid == att->atttypid)
			c->type = types[i].type;
	}
	if (c->type == 0)
		elog(ERROR, "td_test knows no type %s", c->native);
	set_limits(c, att->atttypmod);
	if (strstr(c->native, "raw_timestamp"))
		c->length = 3;
}

TdSchema *
td_test_schema(Oid source, uint32 table_id)
{
	Relation	rel = table_open(source, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	TdSchema   *schema = palloc0(sizeof(TdSchema));
	Oid			pkey;

	schema->table_id = table_id;
	schema->database = pstrdup("source");
	schema->table = pstrdup(RelationGetRelationName(rel));
	schema->ncolumns = desc->natts;
	schema->columns = palloc0(sizeof(TdColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
		describe_column(&schema->columns[i], TupleDescAttr(desc, i));
	(void) RelationGetIndexList(rel);
	pkey = rel->rd_pkindex;
	if (OidIsValid(pkey))
	{
		Relation	index = index_open(pkey, AccessShareLock);

		schema->nkeys = index->rd_index->indnkeyatts;
		schema->keys = palloc(sizeof(uint32) * schema->nkeys);
		for (uint32 i = 0; i < schema->nkeys; i++)
			schema->keys[i] = index->rd_index->indkey.values[i] - 1;
		index_close(index, AccessShareLock);
	}
	table_close(rel, NoLock);
	return schema;
}

/* A varlena's bytes as they are. */
static void
put_varlena(TdBuffer *buffer, Datum value)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(value);

	td_put_bytes(buffer, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
}

static void
put_array(TdBuffer *buffer, Datum value)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;
	TdBytes    *bytes;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls, &n);
	bytes = palloc(sizeof(TdBytes) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		text	   *t = DatumGetTextPP(items[i]);

		bytes[i].data = (const uint8_t *) VARDATA_ANY(t);
		bytes[i].len = VARSIZE_ANY_EXHDR(t);
	}
	td_put_array(buffer, n, bytes);
}

static void
put_bit(TdBuffer *buffer, Datum value)
{
	VarBit	   *bits = DatumGetVarBitP(value);
	uint32		n = VARBITLEN(bits);
	uint8	   *bytes = palloc(sizeof(n) + VARBITBYTES(bits));

	memcpy(bytes, &n, sizeof(n));
	memcpy(bytes + sizeof(n), VARBITS(bits), VARBITBYTES(bits));
	td_put_bytes(buffer, bytes, sizeof(n) + VARBITBYTES(bits));
}

static void
put_value(TdBuffer *buffer, const TdColumn *c, Datum value)
{
	bool		raw = strstr(c->native, "raw_") != NULL;
	char	   *json;

	switch (c->type)
	{
		case TD_BOOL:
			td_put_int(buffer, c->type, DatumGetBool(value));
			break;
		case TD_INT2:
			td_put_int(buffer, c->type, DatumGetInt16(value));
			break;
		case TD_INT4:
		case TD_DATE:
			td_put_int(buffer, c->type, DatumGetInt32(value));
			break;
		case TD_INT8:
		case TD_TIMESTAMP:
		case TD_TIMESTAMPTZ:
			td_put_int(buffer, c->type, DatumGetInt64(value));
			break;
		case TD_UINT8:
			td_put_uint(buffer, strtoull(DatumGetCString(DirectFunctionCall1(numeric_out, value)), NULL, 10));
			break;
		case TD_FLOAT4:
			td_put_float4(buffer, DatumGetFloat4(value));
			break;
		case TD_FLOAT8:
			td_put_float8(buffer, DatumGetFloat8(value));
			break;
		case TD_DECIMAL:
			put_varlena(buffer, raw ? value : DirectFunctionCall1(numeric_send, value));
			break;
		case TD_TEXT:
		case TD_BYTES:
			put_varlena(buffer, value);
			break;
		case TD_JSON:
			if (raw)
			{
				put_varlena(buffer, value);
				break;
			}
			json = DatumGetCString(DirectFunctionCall1(jsonb_out, value));
			td_put_bytes(buffer, json, strlen(json));
			break;
		case TD_INTERVAL:
			td_put_interval(buffer, DatumGetIntervalP(value)->time, DatumGetIntervalP(value)->day, DatumGetIntervalP(value)->month);
			break;
		case TD_BIT:
			if (raw)
				put_varlena(buffer, value);
			else
				put_bit(buffer, value);
			break;
		case TD_TEXT_ARRAY:
			if (raw)
				put_varlena(buffer, value);
			else
				put_array(buffer, value);
			break;
		case TD_UUID:
			td_put_uuid(buffer, DatumGetUUIDP(value)->data);
			break;
	}
}

static bool
is_absent(const char *name, int nabsent, char **absent)
{
	for (int i = 0; i < nabsent; i++)
	{
		if (strcmp(absent[i], name) == 0)
			return true;
	}
	return false;
}

void
td_test_put_row(TdBuffer *buffer, const TdSchema *schema, Datum composite, int nabsent, char **absent)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(composite);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	if (desc->natts != schema->ncolumns)
		elog(ERROR, "a row of %d columns for table \"%s\" of %u", desc->natts, schema->table, schema->ncolumns);
	heap_deform_tuple(&tuple, desc, values, nulls);
	td_write_row(buffer, schema->ncolumns);
	for (uint32 i = 0; i < schema->ncolumns; i++)
	{
		if (is_absent(schema->columns[i].name, nabsent, absent))
			td_put_state(buffer, TD_UNCHANGED);
		else if (nulls[i])
			td_put_state(buffer, TD_NULL);
		else
			put_value(buffer, &schema->columns[i], values[i]);
	}
	td_write_row_end(buffer);
	ReleaseTupleDesc(desc);
}
