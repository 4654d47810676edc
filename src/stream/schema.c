/*-------------------------------------------------------------------------
 *
 * schema.c
 *		Table descriptions: written as a record, read, copied, compared.
 *
 * NOTES
 *		Body of a SCHEMA record: var database, var table, uint32 ncolumns, for
 *		each {var name, var native, uint8 type, uint8 not_null, int32 length,
 *		int32 scale}, uint32 nkeys, for each uint32 column.  A TdSchema that was
 *		read or copied is one malloc'ed block: free() ends it.
 *
 * src/stream/schema.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "stream/record_internal.h"

#define COLUMN_LEAST 18			/* bytes of a column with empty names */

/* The block under construction: where the next string goes. */
typedef struct Builder
{
	TdSchema   *schema;
	char	   *next;
} Builder;

/* Appends a string as "var"; NULL is "". */
static void
put_string(TdBuffer *b, const char *s)
{
	size_t		len = s ? strlen(s) : 0;
	uint32_t	n = (uint32_t) len;

	td_buffer_append(b, &n, sizeof(n));
	td_buffer_append(b, s, len);
}

/* Writes the whole SCHEMA record. */
void
td_write_schema(TdBuffer *b, const TdSchema *schema)
{
	td_write_begin(b, TD_OP_SCHEMA, schema->table_id);
	put_string(b, schema->database);
	put_string(b, schema->table);
	td_buffer_append(b, &schema->ncolumns, 4);
	for (uint32_t i = 0; i < schema->ncolumns; i++)
	{
		const TdColumn *c = &schema->columns[i];
		uint8_t		small[2] = {(uint8_t) c->type, c->not_null};

		put_string(b, c->name);
		put_string(b, c->native);
		td_buffer_append(b, small, sizeof(small));
		td_buffer_append(b, &c->length, 4);
		td_buffer_append(b, &c->scale, 4);
	}
	td_buffer_append(b, &schema->nkeys, 4);
	if (schema->nkeys > 0)
		td_buffer_append(b, schema->keys, 4 * (size_t) schema->nkeys);
	td_write_end(b);
}

/* Allocates the block: struct, columns, keys, then room for strings. */
static bool
begin_block(Builder *builder, uint32_t ncolumns, uint32_t nkeys, size_t strings)
{
	size_t		fixed = sizeof(TdSchema) + ncolumns * sizeof(TdColumn) + nkeys * sizeof(uint32_t);
	TdSchema   *schema = calloc(1, fixed + strings);

	if (schema == NULL)
		return false;
	schema->ncolumns = ncolumns;
	schema->nkeys = nkeys;
	schema->columns = (TdColumn *) (schema + 1);
	schema->keys = (uint32_t *) (schema->columns + ncolumns);
	builder->schema = schema;
	builder->next = (char *) schema + fixed;
	return true;
}

/* Puts a string of known length into the block. */
static char *
add_string(Builder *builder, const void *s, size_t len)
{
	char	   *to = builder->next;

	if (len > 0)
		memcpy(to, s, len);
	to[len] = '\0';
	builder->next += len + 1;
	return to;
}

/* Takes a string without NUL bytes. */
static bool
take_string(TdReader *r, TdBytes *s)
{
	return td_take_var(r, s) && memchr(s->data, '\0', s->len) == NULL;
}

/* Reads one column; with a builder also keeps it. */
static bool
read_column(TdReader *r, Builder *builder, uint32_t i)
{
	TdBytes		name,
				native;
	const uint8_t *p;
	TdColumn   *c;

	if (!take_string(r, &name) || !take_string(r, &native) || name.len == 0)
		return false;
	p = td_take(r, 10);
	if (p == NULL || p[0] < TD_BOOL || p[0] > TD_UUID || p[1] > 1)
		return false;
	if (builder == NULL)
		return true;
	c = &builder->schema->columns[i];
	c->name = add_string(builder, name.data, name.len);
	c->native = add_string(builder, native.data, native.len);
	c->type = (TdType) p[0];
	c->not_null = p[1];
	c->length = (int32_t) td_load32(p + 2);
	c->scale = (int32_t) td_load32(p + 6);
	return true;
}

/* Reads the key columns behind the columns; with a builder also keeps them. */
static bool
read_keys(TdReader *r, uint32_t ncolumns, Builder *builder, uint32_t *nkeys)
{
	const uint8_t *p = td_take(r, 4);

	if (p == NULL)
		return false;
	*nkeys = td_load32(p);
	if (*nkeys > ncolumns)
		return false;
	p = td_take(r, 4 * (size_t) *nkeys);
	if (p == NULL || r->p != r->end)
		return false;
	for (uint32_t i = 0; i < *nkeys; i++)
	{
		uint32_t	key = td_load32(p + 4 * (size_t) i);

		if (key >= ncolumns)
			return false;
		if (builder)
			builder->schema->keys[i] = key;
	}
	return true;
}

/* Reads a SCHEMA record in two passes: the first checks and counts, the second fills one block. */
TdSchema *
td_schema_read(const TdRecord *rec)
{
	TdReader	r = {rec->text.data, rec->text.data + rec->text.len};
	TdReader	columns;
	TdBytes		database,
				table;
	const uint8_t *p;
	uint32_t	ncolumns,
				nkeys;
	Builder		builder;

	if (rec->op != TD_OP_SCHEMA || rec->text.data == NULL ||
		!take_string(&r, &database) || !take_string(&r, &table) || table.len == 0)
		return NULL;
	p = td_take(&r, 4);
	if (p == NULL)
		return NULL;
	ncolumns = td_load32(p);
	if (ncolumns > (size_t) (r.end - r.p) / COLUMN_LEAST)
		return NULL;
	columns = r;
	for (uint32_t i = 0; i < ncolumns; i++)
		if (!read_column(&r, NULL, i))
			return NULL;
	if (!read_keys(&r, ncolumns, NULL, &nkeys))
		return NULL;
	if (!begin_block(&builder, ncolumns, nkeys, (size_t) rec->text.len + 2))
		return NULL;
	builder.schema->table_id = rec->table;
	builder.schema->database = add_string(&builder, database.data, database.len);
	builder.schema->table = add_string(&builder, table.data, table.len);
	for (uint32_t i = 0; i < ncolumns; i++)
		(void) read_column(&columns, &builder, i);
	(void) read_keys(&columns, ncolumns, &builder, &nkeys);
	return builder.schema;
}

/* Length of a string that may be NULL. */
static size_t
string_length(const char *s)
{
	return s ? strlen(s) : 0;
}

/* Copies into one malloc'ed block. */
TdSchema *
td_schema_copy(const TdSchema *schema)
{
	size_t		strings = string_length(schema->database) + string_length(schema->table) + 2;
	Builder		builder;

	for (uint32_t i = 0; i < schema->ncolumns; i++)
		strings += string_length(schema->columns[i].name) + string_length(schema->columns[i].native) + 2;
	if (!begin_block(&builder, schema->ncolumns, schema->nkeys, strings))
		return NULL;
	builder.schema->table_id = schema->table_id;
	builder.schema->database = add_string(&builder, schema->database, string_length(schema->database));
	builder.schema->table = add_string(&builder, schema->table, string_length(schema->table));
	for (uint32_t i = 0; i < schema->ncolumns; i++)
	{
		const TdColumn *from = &schema->columns[i];
		TdColumn   *to = &builder.schema->columns[i];

		*to = *from;
		to->name = add_string(&builder, from->name, string_length(from->name));
		to->native = add_string(&builder, from->native, string_length(from->native));
	}
	if (schema->nkeys > 0)
		memcpy(builder.schema->keys, schema->keys, schema->nkeys * sizeof(uint32_t));
	return builder.schema;
}

/* Equal strings, NULL being "". */
static bool
same_string(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Equal in all but table_id. */
bool
td_schema_equal(const TdSchema *a, const TdSchema *b)
{
	if (a->ncolumns != b->ncolumns || a->nkeys != b->nkeys ||
		!same_string(a->database, b->database) || !same_string(a->table, b->table))
		return false;
	for (uint32_t i = 0; i < a->ncolumns; i++)
	{
		const TdColumn *x = &a->columns[i];
		const TdColumn *y = &b->columns[i];

		if (x->type != y->type || x->length != y->length || x->scale != y->scale || x->not_null != y->not_null ||
			!same_string(x->name, y->name) || !same_string(x->native, y->native))
			return false;
	}
	for (uint32_t i = 0; i < a->nkeys; i++)
		if (a->keys[i] != b->keys[i])
			return false;
	return true;
}
