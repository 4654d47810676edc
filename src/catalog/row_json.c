/*-------------------------------------------------------------------------
 *
 * row_json.c
 *		Rows of a source as jsonb, for peek, and what a connector says of itself.
 *
 * NOTES
 *		Sessions.  A row is written as JSON text and parsed once: numbers keep
 *		their digits, dates and times are ISO 8601, bytes are \x hexadecimal.
 *		Bytes of a source are checked before they are believed.
 *
 * IDENTIFICATION
 *		src/catalog/row_json.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/catalog_internal.h"
#include "catalog/pg_type.h"
#include "catalog/row_json_internal.h"
#include "common/shortest_dec.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static void put_value(StringInfo buf, const TdColumn *column, const TdValue *value);
static void put_text(StringInfo buf, TdBytes text);
static void put_output(StringInfo buf, PGFunction output, Datum value);
static void put_float(StringInfo buf, double value, bool single);
static void put_decimal(StringInfo buf, TdBytes bytes);
static void put_bits(StringInfo buf, TdBytes bytes);
static void put_array(StringInfo buf, TdBytes bytes);
static void put_hex(StringInfo buf, TdBytes bytes);
static void put_time(StringInfo buf, Datum value, Oid type);

void
td_damaged_record(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the connector host sent a damaged record"),
			 errhint("This is a bug of the connector; tapdata.log says more.")));
}

static void
free_schema(void *schema)
{
	free(schema);
}

/* A schema record; the malloc'ed block goes when the current memory context does. */
TdSchema *
td_schema_in_context(const TdRecord *rec)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	TdSchema   *schema = td_schema_read(rec);

	if (schema == NULL)
		td_damaged_record();
	callback->func = free_schema;
	callback->arg = schema;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return schema;
}

/* One row as an object. */
Datum
td_row_json(const TdSchema *schema, TdBytes row)
{
	TdValue    *values = palloc0(sizeof(TdValue) * Max(schema->ncolumns, 1));
	StringInfoData buf;
	const char *comma = "";

	if (!td_read_row(schema, row, values))
		td_damaged_record();
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	for (uint32 i = 0; i < schema->ncolumns; i++)
	{
		TdBytes		name = {(const uint8_t *) schema->columns[i].name, strlen(schema->columns[i].name)};

		if (values[i].state != TD_VALUE && values[i].state != TD_NULL)
			continue;
		appendStringInfoString(&buf, comma);
		put_text(&buf, name);
		appendStringInfoString(&buf, ": ");
		if (values[i].state == TD_NULL)
			appendStringInfoString(&buf, "null");
		else
			put_value(&buf, &schema->columns[i], &values[i]);
		comma = ", ";
	}
	appendStringInfoChar(&buf, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}

static void
put_value(StringInfo buf, const TdColumn *column, const TdValue *value)
{
	switch (column->type)
	{
		case TD_BOOL:
			appendStringInfoString(buf, value->i ? "true" : "false");
			break;
		case TD_INT2:
		case TD_INT4:
		case TD_INT8:
			appendStringInfo(buf, INT64_FORMAT, (int64) value->i);
			break;
		case TD_UINT8:
			appendStringInfo(buf, UINT64_FORMAT, (uint64) value->u);
			break;
		case TD_FLOAT4:
			put_float(buf, value->f4, true);
			break;
		case TD_FLOAT8:
			put_float(buf, value->f8, false);
			break;
		case TD_DECIMAL:
			put_decimal(buf, value->bytes);
			break;
		case TD_TEXT:
			put_text(buf, value->bytes);
			break;
		case TD_JSON:
			appendBinaryStringInfo(buf, (const char *) value->bytes.data, value->bytes.len);
			break;
		case TD_BYTES:
			put_hex(buf, value->bytes);
			break;
		case TD_DATE:
			put_time(buf, DateADTGetDatum((DateADT) value->i), DATEOID);
			break;
		case TD_TIMESTAMP:
			put_time(buf, TimestampGetDatum(value->i), TIMESTAMPOID);
			break;
		case TD_TIMESTAMPTZ:
			put_time(buf, TimestampTzGetDatum(value->i), TIMESTAMPTZOID);
			break;
		case TD_INTERVAL:
			{
				Interval	span = {value->i, value->days, value->months};

				put_output(buf, interval_out, IntervalPGetDatum(&span));
				break;
			}
		case TD_BIT:
			put_bits(buf, value->bytes);
			break;
		case TD_TEXT_ARRAY:
			put_array(buf, value->bytes);
			break;
		case TD_UUID:
			put_output(buf, uuid_out, PointerGetDatum(value->bytes.data));
			break;
	}
}

/* UTF-8 of the source as a JSON string in the server's encoding. */
static void
put_text(StringInfo buf, TdBytes text)
{
	char	   *copy;

	if (!td_utf8_valid(text.data, text.len))
		td_damaged_record();
	copy = pnstrdup((const char *) text.data, text.len);
	escape_json(buf, pg_any_to_server(copy, text.len, PG_UTF8));
}

/* A value that PostgreSQL itself writes. */
static void
put_output(StringInfo buf, PGFunction output, Datum value)
{
	escape_json(buf, DatumGetCString(DirectFunctionCall1(output, value)));
}

/* The shortest text that reads back as the same value; what JSON has no number for is a string. */
static void
put_float(StringInfo buf, double value, bool single)
{
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (single)
		float_to_shortest_decimal_buf((float) value, text);
	else
		double_to_shortest_decimal_buf(value, text);
	if (isnan(value) || isinf(value))
		escape_json(buf, text);
	else
		appendStringInfoString(buf, text);
}

/* The wire form of numeric; NaN is no JSON number. */
static void
put_decimal(StringInfo buf, TdBytes bytes)
{
	StringInfoData wire;
	char	   *text;

	initStringInfo(&wire);
	appendBinaryStringInfo(&wire, (const char *) bytes.data, bytes.len);
	text = DatumGetCString(DirectFunctionCall1(numeric_out,
											   DirectFunctionCall3(numeric_recv, PointerGetDatum(&wire),
																   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
	if (strspn(text, "-0123456789.") == strlen(text))
		appendStringInfoString(buf, text);
	else
		escape_json(buf, text);
}

static void
put_hex(StringInfo buf, TdBytes bytes)
{
	appendStringInfoString(buf, "\"\\\\x");
	enlargeStringInfo(buf, bytes.len * 2 + 1);
	buf->len += hex_encode((const char *) bytes.data, bytes.len, buf->data + buf->len);
	appendStringInfoChar(buf, '"');
}

/* Bits as PostgreSQL writes them: "0101". */
static void
put_bits(StringInfo buf, TdBytes bytes)
{
	uint32		n;

	if (bytes.len < sizeof(n))
		td_damaged_record();
	memcpy(&n, bytes.data, sizeof(n));
	if ((uint64) n > (uint64) (bytes.len - sizeof(n)) * 8)
		td_damaged_record();
	appendStringInfoChar(buf, '"');
	for (uint32 i = 0; i < n; i++)
		appendStringInfoChar(buf, (bytes.data[sizeof(n) + i / 8] >> (7 - i % 8)) & 1 ? '1' : '0');
	appendStringInfoChar(buf, '"');
}

static void
put_array(StringInfo buf, TdBytes bytes)
{
	TdReader	items;
	uint32_t	n;

	if (!td_read_array(bytes, &n, &items))
		td_damaged_record();
	appendStringInfoChar(buf, '[');
	for (uint32 i = 0; i < n; i++)
	{
		TdBytes		item;

		if (!td_read_item(&items, &item))
			td_damaged_record();
		if (i > 0)
			appendStringInfoString(buf, ", ");
		put_text(buf, item);
	}
	appendStringInfoChar(buf, ']');
}

/* ISO 8601, whatever the session's DateStyle is. */
static void
put_time(StringInfo buf, Datum value, Oid type)
{
	char		text[MAXDATELEN + 1];

	JsonEncodeDateTime(text, value, type, NULL);
	escape_json(buf, text);
}

/* A member of an object as a jsonb of its own, or null. */
static Datum
member(Jsonb *object, const char *name, bool *null)
{
	JsonbValue *v = getKeyJsonValueFromContainer(&object->root, name, strlen(name), NULL);

	*null = v == NULL;
	return v ? JsonbPGetDatum(JsonbValueToJsonb(v)) : (Datum) 0;
}

/* What `tapdata-host --describe` says, as the columns of tapdata.connectors. */
void
td_describe_columns(Jsonb *description, Datum *values, bool *nulls)
{
	char	   *version;
	JsonbContainer *capabilities;
	List	   *words = NIL;

	if (!JB_ROOT_IS_OBJECT(description))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the description is not a JSON object"),
				 errhint("Do the host program and the library belong to the same version?")));
	version = td_json_text(&description->root, "version");
	capabilities = td_json_array(&description->root, "capabilities");
	for (uint32 i = 0; capabilities != NULL && i < JsonContainerSize(capabilities); i++)
	{
		JsonbValue *v = getIthJsonbValueFromContainer(capabilities, i);

		if (v->type == jbvString)
			words = lappend(words, pnstrdup(v->val.string.val, v->val.string.len));
	}
	nulls[1] = version == NULL;
	if (version)
		values[1] = CStringGetTextDatum(version);
	nulls[2] = false;
	values[2] = td_arg_text_array(words).value;
	values[3] = member(description, "options", &nulls[3]);
}
