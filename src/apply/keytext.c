/*-------------------------------------------------------------------------
 *
 * keytext.c
 *		The key of a row for messages: (id)=(42).
 *
 * NOTES
 *		Called while an error is being made: it must not raise one itself,
 *		whatever the bytes are, so no input function is used and text that is no
 *		text is shown in hexadecimal.
 *
 * src/apply/keytext.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "apply/apply_internal.h"

#define SHOWN_BYTES 64

static void append_hex(StringInfo out, TdBytes bytes);
static void append_text(StringInfo out, TdBytes bytes);
static void append_decimal(StringInfo out, TdBytes bytes);
static void append_date(StringInfo out, int32 date);
static void append_timestamp(StringInfo out, int64 usec, bool utc);
static void append_value(StringInfo out, TdType type, const TdValue *value);

/* "(a, b)=(1, x)" of a row; "" for a table without key or a row that can't be read.  palloc'ed. */
char *
td_row_key_text(const TdSchema *schema, TdBytes row)
{
	StringInfoData out;
	TdValue    *values;

	if (schema->nkeys == 0 || row.data == NULL)
		return pstrdup("");
	values = palloc(sizeof(TdValue) * schema->ncolumns);
	if (!td_read_row(schema, row, values))
		return pstrdup("");
	initStringInfo(&out);
	for (uint32 i = 0; i < schema->nkeys; i++)
		appendStringInfo(&out, "%s%s", i ? ", " : "(", schema->columns[schema->keys[i]].name);
	appendStringInfoString(&out, ")=(");
	for (uint32 i = 0; i < schema->nkeys; i++)
	{
		if (i)
			appendStringInfoString(&out, ", ");
		append_value(&out, schema->columns[schema->keys[i]].type, &values[schema->keys[i]]);
	}
	appendStringInfoChar(&out, ')');
	pfree(values);
	return out.data;
}

static void
append_value(StringInfo out, TdType type, const TdValue *value)
{
	if (value->state != TD_VALUE)
	{
		appendStringInfoString(out, value->state == TD_NULL ? "null" : "?");
		return;
	}
	switch (type)
	{
		case TD_BOOL:
			appendStringInfoString(out, value->i ? "t" : "f");
			break;
		case TD_INT2:
		case TD_INT4:
		case TD_INT8:
			appendStringInfo(out, INT64_FORMAT, (int64) value->i);
			break;
		case TD_UINT8:
			appendStringInfo(out, UINT64_FORMAT, (uint64) value->u);
			break;
		case TD_FLOAT4:
			appendStringInfo(out, "%.9g", value->f4);
			break;
		case TD_FLOAT8:
			appendStringInfo(out, "%.17g", value->f8);
			break;
		case TD_DECIMAL:
			append_decimal(out, value->bytes);
			break;
		case TD_TEXT:
		case TD_JSON:
			append_text(out, value->bytes);
			break;
		case TD_DATE:
			append_date(out, (int32) value->i);
			break;
		case TD_TIMESTAMP:
		case TD_TIMESTAMPTZ:
			append_timestamp(out, value->i, type == TD_TIMESTAMPTZ);
			break;
		case TD_INTERVAL:
			appendStringInfo(out, "%d mons %d days " INT64_FORMAT " us", value->months, value->days, (int64) value->i);
			break;
		case TD_BYTES:
		case TD_BIT:
		case TD_TEXT_ARRAY:
		case TD_UUID:
			append_hex(out, value->bytes);
			break;
	}
}

static void
append_hex(StringInfo out, TdBytes bytes)
{
	appendStringInfoString(out, "\\x");
	for (uint32 i = 0; i < bytes.len && i < SHOWN_BYTES / 2; i++)
		appendStringInfo(out, "%02x", bytes.data[i]);
	if (bytes.len > SHOWN_BYTES / 2)
		appendStringInfoString(out, "...");
}

/* Plain ASCII is shown in any database; the rest only where it is valid as it stands. */
static void
append_text(StringInfo out, TdBytes bytes)
{
	uint32		len = bytes.len;
	bool		ascii = true;

	for (uint32 i = 0; i < len && ascii; i++)
		ascii = bytes.data[i] >= 0x20 && bytes.data[i] < 0x7F;
	if (!ascii && (GetDatabaseEncoding() != PG_UTF8 || !td_utf8_valid(bytes.data, len)))
	{
		append_hex(out, bytes);
		return;
	}
	if (len > SHOWN_BYTES)
		len = pg_mbcliplen((const char *) bytes.data, len, SHOWN_BYTES);
	appendBinaryStringInfo(out, (const char *) bytes.data, len);
	if (len < bytes.len)
		appendStringInfoString(out, "...");
}

/* The i-th base-10000 digit. */
static int
digit_at(TdBytes bytes, int i)
{
	int			n = bytes.data[0] << 8 | bytes.data[1];

	return i >= 0 && i < n ? bytes.data[8 + 2 * i] << 8 | bytes.data[9 + 2 * i] : 0;
}

/* td_read_row has checked the number of digits. */
static void
append_decimal(StringInfo out, TdBytes bytes)
{
	const uint8_t *p = bytes.data;
	int			weight = (int16) (p[2] << 8 | p[3]);
	int			sign = p[4] << 8 | p[5];
	int			scale = p[6] << 8 | p[7];
	StringInfoData fraction;

	if ((sign != 0 && sign != 0x4000) || scale > SHOWN_BYTES || weight > SHOWN_BYTES / 4)
	{
		append_hex(out, bytes);
		return;
	}
	if (sign)
		appendStringInfoChar(out, '-');
	if (weight < 0)
		appendStringInfoChar(out, '0');
	for (int i = 0; i <= weight; i++)
		appendStringInfo(out, i == 0 ? "%d" : "%04d", digit_at(bytes, i));
	if (scale == 0)
		return;
	initStringInfo(&fraction);
	for (int i = weight + 1; fraction.len < scale; i++)
		appendStringInfo(&fraction, "%04d", digit_at(bytes, i));
	appendStringInfoChar(out, '.');
	appendBinaryStringInfo(out, fraction.data, scale);
}

static void
append_date(StringInfo out, int32 date)
{
	int			year;
	int			month;
	int			day;

	if (!IS_VALID_DATE(date))
	{
		appendStringInfo(out, "day %d", date);
		return;
	}
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	appendStringInfo(out, "%04d-%02d-%02d", year, month, day);
}

static void
append_timestamp(StringInfo out, int64 usec, bool utc)
{
	int64		days = usec / USECS_PER_DAY;
	int64		rest = usec % USECS_PER_DAY;

	if (!IS_VALID_TIMESTAMP(usec))
	{
		appendStringInfo(out, INT64_FORMAT " us", usec);
		return;
	}
	if (rest < 0)
	{
		rest += USECS_PER_DAY;
		days--;
	}
	append_date(out, (int32) days);
	appendStringInfo(out, " %02d:%02d:%02d", (int) (rest / USECS_PER_HOUR), (int) (rest / USECS_PER_MINUTE % 60),
					 (int) (rest / USECS_PER_SEC % 60));
	if (rest % USECS_PER_SEC)
		appendStringInfo(out, ".%06d", (int) (rest % USECS_PER_SEC));
	if (utc)
		appendStringInfoString(out, "+00");
}
