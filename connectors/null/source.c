/*-------------------------------------------------------------------------
 *
 * source.c
 *		The made-up tables and log: pure arithmetic, no state.
 *
 * connectors/null/source.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "null_internal.h"

/* Columns behind the id, in turn. */
static const struct
{
	TdType		type;
	const char *native;
	int32_t		length;
	int32_t		scale;
}			kinds[] =
{
	{TD_INT4, "integer", -1, -1},
	{TD_TEXT, "text", -1, -1},
	{TD_DECIMAL, "decimal(12,2)", 12, 2},
	{TD_TIMESTAMP, "timestamp(6)", 6, -1},
	{TD_TEXT, "text", -1, -1},
	{TD_FLOAT8, "double", -1, -1},
	{TD_BOOL, "bool", -1, -1},
	{TD_DATE, "date", -1, -1},
};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))
#define LETTERS 64

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";

/* A well-mixed number of four others. */
static inline uint64_t
mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t	x = a * 0x9E3779B97F4A7C15u ^ (b + 1) * 0xC2B2AE3D27D4EB4Fu ^ (c + 1) * 0x165667B19E3779F9u ^ (d + 1) * 0xD6E8FEB86659FD93u;

	x = (x ^ x >> 31) * 0xBF58476D1CE4E5B9u;
	x = (x ^ x >> 27) * 0x94D049BB133111EBu;
	return x ^ x >> 31;
}

/* Reads the options and lays out the columns. */
void
null_source_init(NullSource *source, const TdConfig *config)
{
	uint64_t	texts = 0;

	source->tables = (uint64_t) td_config_int(config, "tables", 1);
	source->keyless = (uint64_t) td_config_int(config, "keyless", 0);
	source->rows = (uint64_t) td_config_int(config, "rows", 1000);
	source->columns = (uint64_t) td_config_int(config, "columns", 6);
	source->row_bytes = (uint64_t) td_config_int(config, "row_bytes", 70);
	source->transactions = (uint64_t) td_config_int(config, "transactions", 0);
	source->per_transaction = (uint64_t) td_config_int(config, "rows_per_transaction", 1);
	source->interval_us = (uint64_t) td_config_int(config, "interval_us", 0);
	source->seed = (uint64_t) td_config_int(config, "seed", 1);
	for (uint64_t i = 0; i < source->columns; i++)
	{
		TdColumn   *c = &source->columns_of[i];
		size_t		kind = (i + NKINDS - 1) % NKINDS;

		snprintf(source->names[i], sizeof(source->names[i]), i == 0 ? "id" : "c%u", (unsigned) i);
		c->name = source->names[i];
		c->native = (char *) (i == 0 ? "bigint" : kinds[kind].native);
		c->type = i == 0 ? TD_INT8 : kinds[kind].type;
		c->length = i == 0 ? -1 : kinds[kind].length;
		c->scale = i == 0 ? -1 : kinds[kind].scale;
		c->not_null = i == 0;
		texts += c->type == TD_TEXT;
	}
	/* numbers and the like take about eight bytes a column */
	if (texts > 0 && source->row_bytes > 8 * (source->columns - texts))
		source->text_bytes = (source->row_bytes - 8 * (source->columns - texts)) / texts;
}

/* Describes a table; strings are the source's and `name`. */
void
null_schema(NullSource *source, uint64_t table, char *name, size_t size, TdSchema *schema)
{
	memset(schema, 0, sizeof(*schema));
	snprintf(name, size, "t%llu", (unsigned long long) table);
	schema->table_id = (uint32_t) table + 1;
	schema->database = (char *) "";
	schema->table = name;
	schema->ncolumns = (uint32_t) source->columns;
	schema->columns = source->columns_of;
	schema->nkeys = table + source->keyless < source->tables;
	schema->keys = source->keys;
}

/* "t<i>" */
bool
null_find_table(const NullSource *source, const char *name, uint64_t *table)
{
	char		again[32];
	char	   *end;

	if (name[0] != 't')
		return false;
	*table = strtoull(name + 1, &end, 10);
	snprintf(again, sizeof(again), "t%llu", (unsigned long long) *table);
	return strcmp(again, name) == 0 && *table < source->tables;
}

/* The last transaction of the log. */
uint64_t
null_log_end(const NullSource *source)
{
	struct timespec t;

	if (source->interval_us == 0)
		return source->transactions;
	clock_gettime(CLOCK_REALTIME, &t);
	return ((uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000) / source->interval_us;
}

/* When a transaction was committed, in the time of records. */
int64_t
null_commit_time(const NullSource *source, uint64_t number)
{
	if (source->interval_us == 0)
		return INT64_MIN;
	return (int64_t) (number * source->interval_us) - TD_EPOCH_UNIX_SECONDS * 1000000;
}

/* What transaction `number` does. */
NullTransaction
null_transaction(const NullSource *source, uint64_t number)
{
	NullTransaction t;
	uint64_t	turn = (number - 1) / source->tables;

	t.number = number;
	t.table = (number - 1) % source->tables;
	t.phase = (NullPhase) (turn % 3);
	t.first_id = source->rows + turn / 3 * source->per_transaction + 1;
	return t;
}

/* The rows that the log has left in a table at a position. */
uint64_t
null_live_rows(const NullSource *source, uint64_t table, uint64_t position, uint64_t *first, int *version)
{
	uint64_t	turns;
	NullTransaction t;

	*first = 0;
	*version = 0;
	if (position < table + 1)
		return 0;
	turns = (position - table - 1) / source->tables;
	t = null_transaction(source, turns * source->tables + table + 1);
	if (t.phase == NULL_DELETE)
		return 0;
	*first = t.first_id;
	*version = t.phase == NULL_INSERT ? 1 : 2;
	return source->per_transaction;
}

/* A text of printable letters. */
static void
put_text(const NullSource *source, TdBuffer *out, uint64_t value)
{
	char		text[512] = "";
	size_t		len = source->text_bytes;
	char	   *to = text;

	if (len > sizeof(text))
	{
		to = malloc(len);
		if (to == NULL)
		{
			out->failed = true;
			return;
		}
	}
	for (size_t i = 0; i < len; i++)
	{
		to[i] = letters[value % LETTERS];
		value = value >> 6 | value << 58;
	}
	td_put_bytes(out, to, (uint32_t) len);
	if (to != text)
		free(to);
}

/* A number with two decimals. */
static void
put_decimal(TdBuffer *out, uint64_t value)
{
	char		text[16];
	size_t		at = sizeof(text);
	uint64_t	n = value % 1000000000;

	for (int i = 0; i < 3 || n > 0; i++)
	{
		text[--at] = (char) ('0' + n % 10);
		n /= 10;
		if (i == 1)
			text[--at] = '.';
	}
	(void) td_put_decimal(out, text + at, sizeof(text) - at);
}

/* One value by its column's type; one in sixteen is NULL. */
static void
put_value(const NullSource *source, TdBuffer *out, TdType type, uint64_t value)
{
	if (value >> 60 == 0)
	{
		td_put_state(out, TD_NULL);
		return;
	}
	switch (type)
	{
		case TD_INT4:
			td_put_int(out, type, (int32_t) value);
			break;
		case TD_TEXT:
			put_text(source, out, value);
			break;
		case TD_DECIMAL:
			put_decimal(out, value);
			break;
		case TD_TIMESTAMP:
			td_put_int(out, type, (int64_t) (value % 1000000000000000));
			break;
		case TD_FLOAT8:
			td_put_float8(out, (double) (int64_t) value / 1024);
			break;
		case TD_DATE:
			td_put_int(out, type, (int64_t) (value % 20000));
			break;
		default:
			td_put_int(out, TD_BOOL, (int64_t) (value & 1));
	}
}

/* One row; the same arguments always give the same bytes. */
void
null_put_row(const NullSource *source, TdBuffer *out, uint64_t table, uint64_t id, int version)
{
	td_write_row(out, (uint32_t) source->columns);
	td_put_int(out, TD_INT8, (int64_t) id);
	for (uint64_t i = 1; i < source->columns; i++)
		put_value(source, out, source->columns_of[i].type, mix(source->seed, table << 32 | i, id, (uint64_t) version));
	td_write_row_end(out);
}
