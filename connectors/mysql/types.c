/*-------------------------------------------------------------------------
 *
 * types.c
 *		From the source's column types to ours.
 *
 * NOTES
 *		The rule: no value of the source's type may be lost or changed, so
 *		unsigned integers take the next wider type.  A type without an entry
 *		makes the table's `problem`, which names table, column and type.
 *
 * connectors/mysql/types.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "mysql_internal.h"

typedef struct TypeRule
{
	const char *name;			/* DATA_TYPE of information_schema */
	TdMyKind	kind;
	TdType		type;
	TdType		unsigned_type;
	uint8_t		wire;
	uint8_t		old_wire;
} TypeRule;

static const TypeRule rules[] = {
	{"bigint", TD_MY_INT, TD_INT8, TD_UINT8, 8, 0},
	{"binary", TD_MY_BYTES, TD_BYTES, 0, 254, 0},
	{"bit", TD_MY_BIT, TD_BIT, 0, 16, 0},
	{"blob", TD_MY_BYTES, TD_BYTES, 0, 252, 0},
	{"char", TD_MY_TEXT, TD_TEXT, 0, 254, 0},
	{"date", TD_MY_DATE, TD_DATE, 0, 10, 14},
	{"datetime", TD_MY_DATETIME, TD_TIMESTAMP, 0, 18, 12},
	{"decimal", TD_MY_DECIMAL, TD_DECIMAL, TD_DECIMAL, 246, 0},
	{"double", TD_MY_DOUBLE, TD_FLOAT8, TD_FLOAT8, 5, 0},
	{"enum", TD_MY_ENUM, TD_TEXT, 0, 247, 0},
	{"float", TD_MY_FLOAT, TD_FLOAT4, TD_FLOAT4, 4, 0},
	{"int", TD_MY_INT, TD_INT4, TD_INT8, 3, 0},
	{"longblob", TD_MY_BYTES, TD_BYTES, 0, 252, 0},
	{"longtext", TD_MY_TEXT, TD_TEXT, 0, 252, 0},
	{"mediumblob", TD_MY_BYTES, TD_BYTES, 0, 252, 0},
	{"mediumint", TD_MY_INT, TD_INT4, TD_INT4, 9, 0},
	{"mediumtext", TD_MY_TEXT, TD_TEXT, 0, 252, 0},
	{"set", TD_MY_SET, TD_TEXT_ARRAY, 0, 248, 0},
	{"smallint", TD_MY_INT, TD_INT2, TD_INT4, 2, 0},
	{"text", TD_MY_TEXT, TD_TEXT, 0, 252, 0},
	{"time", TD_MY_TIME, TD_INTERVAL, 0, 19, 11},
	{"timestamp", TD_MY_TIMESTAMP, TD_TIMESTAMPTZ, 0, 17, 7},
	{"tinyblob", TD_MY_BYTES, TD_BYTES, 0, 252, 0},
	{"tinyint", TD_MY_INT, TD_INT2, TD_INT2, 1, 0},
	{"tinytext", TD_MY_TEXT, TD_TEXT, 0, 252, 0},
	{"uuid", TD_MY_UUID, TD_UUID, 0, 254, 0},
	{"varbinary", TD_MY_BYTES, TD_BYTES, 0, 15, 253},
	{"varchar", TD_MY_TEXT, TD_TEXT, 0, 15, 253},
	{"year", TD_MY_YEAR, TD_INT2, TD_INT2, 13, 0},
};

/* Order for bsearch. */
static int
compare_rule(const void *name, const void *rule)
{
	return strcmp(name, ((const TypeRule *) rule)->name);
}

/* A number of information_schema, -1 for NULL. */
static int32_t
number(const char *text)
{
	long long	v = text ? strtoll(text, NULL, 10) : -1;

	return v > INT32_MAX || v < 0 ? -1 : (int32_t) v;
}

/* Notes why the table can't be mirrored; the first reason stays. */
static void
refuse(TdMyTable *table, const TdMyColumnText *text, const char *why)
{
	if (table->problem.sqlstate[0])
		return;
	td_error_set(&table->problem, "0A000", "column \"%s\" of table \"%s.%s\" has type %s, %s",
				 text->name, table->schema.database, table->schema.table, text->column_type, why);
	td_error_hint(&table->problem, "Leave the table out (except_tables), or give the column another type at the source.");
}

/* One member of 'a','b''c' from *p; moves behind it.  NULL = no more, or no memory. */
static char *
take_member(const char **p, TdArena *arena, uint32_t *len)
{
	const char *s = *p;
	char	   *to;
	uint32_t	n = 0;

	if (*s == ',')
		s++;
	if (*s != '\'')
		return NULL;
	to = td_arena_alloc(arena, strlen(s));
	if (to == NULL)
		return NULL;
	for (s++; *s && !(*s == '\'' && s[1] != '\''); s++)
	{
		bool		escaped = *s == '\\' && s[1];

		if (escaped || *s == '\'')
			s++;
		to[n++] = !escaped ? *s : *s == 'n' ? '\n' : *s == 'r' ? '\r' : *s == '0' ? '\0' : *s;
	}
	*p = *s ? s + 1 : s;
	*len = n;
	return to;
}

/* The members of an enum or a set from its type's text, "enum('a','b')". */
static bool
parse_members(TdMyTables *tables, TdMyColumn *column, const char *type, TdError *err)
{
	const char *p = strchr(type, '(');
	uint32_t	commas = 1;
	uint32_t	len;
	char	   *member;

	for (const char *c = type; *c; c++)
		commas += *c == ',';
	column->members = td_arena_alloc(&tables->arena, commas * sizeof(TdBytes));
	if (column->members == NULL)
		return td_error_set(err, "53200", "out of memory");
	for (p = p ? p + 1 : ""; (member = take_member(&p, &tables->arena, &len)) != NULL;)
	{
		column->members[column->nmembers].data = (const uint8_t *) member;
		column->members[column->nmembers++].len = len;
	}
	return !tables->arena.failed || td_error_set(err, "53200", "out of memory");
}

/* Length, precision and scale as stream.h wants them. */
static void
set_length(TdColumn *td, TdMyColumn *column, const TypeRule *rule, const TdMyColumnText *text)
{
	td->length = -1;
	td->scale = -1;
	switch (column->kind)
	{
		case TD_MY_DECIMAL:
			td->length = number(text->precision);
			td->scale = number(text->scale);
			break;
		case TD_MY_BIT:
			td->length = number(text->precision);
			break;
		case TD_MY_DATETIME:
		case TD_MY_TIMESTAMP:
		case TD_MY_TIME:
			td->length = number(text->fraction);
			break;
		case TD_MY_TEXT:
			column->is_char = strcmp(rule->name, "char") == 0;
			if (column->is_char || strcmp(rule->name, "varchar") == 0)
				td->length = number(text->length) > 0 ? number(text->length) : -1;
			break;
		case TD_MY_BYTES:
			if (strcmp(rule->name, "binary") == 0)
				column->pad = (uint32_t) number(text->length);
			if (rule->wire != 252)
				td->length = number(text->length) > 0 ? number(text->length) : -1;
			break;
		default:
			break;
	}
}

/* information_schema shows a member's characters outside the BMP as question marks: such a member is not known. */
static void
check_members(TdMyTable *table, TdMyColumn *column, const TdMyColumnText *text)
{
	TdMyEncoding e = column->charset->encoding;
	bool		wide = e == TD_MY_UTF16 || e == TD_MY_UTF16LE || e == TD_MY_UTF32 || strcmp(column->charset->name, "utf8mb4") == 0;

	for (uint32_t i = 0; wide && i < column->nmembers; i++)
		if (memchr(column->members[i].data, '?', column->members[i].len))
		{
			refuse(table, text, "in which a member holds a question mark or a character that the source can't show");
			td_error_hint(&table->problem, "Leave the table out, or give the column the character set utf8mb3, which shows all its characters.");
		}
}

/* The character set of a column that has one. */
static bool
set_charset(TdConn *conn, TdMyTables *tables, TdMyTable *table, TdMyColumn *column, const TdMyColumnText *text, TdError *err)
{
	if (column->kind != TD_MY_TEXT && column->kind != TD_MY_ENUM && column->kind != TD_MY_SET)
		return true;
	if (column->kind != TD_MY_TEXT && !parse_members(tables, column, text->column_type, err))
		return false;
	column->charset = td_my_charset(conn, text->charset ? text->charset : "utf8mb4", err);
	if (column->charset == NULL)
		return false;
	check_members(table, column, text);
	if (column->charset->encoding == TD_MY_FOREIGN && column->kind == TD_MY_TEXT)
	{
		refuse(table, text, "whose character set is not supported");
		td_error_detail(&table->problem, "character set %s", column->charset->name);
		td_error_hint(&table->problem, "At the source: ALTER TABLE `%s`.`%s` CONVERT TO CHARACTER SET utf8mb4; or leave the table out.",
					  table->schema.database, table->schema.table);
	}
	return true;
}

/* Fills *column and its column of the schema.  What can't be read goes into the table's problem. */
bool
td_my_map_type(TdConn *conn, TdMyTables *tables, TdMyTable *table, TdMyColumn *column, const TdMyColumnText *text, TdError *err)
{
	const TypeRule *rule = bsearch(text->data_type, rules, sizeof(rules) / sizeof(rules[0]), sizeof(rules[0]), compare_rule);
	TdColumn   *td = column->td;

	td->name = td_arena_copy(&tables->arena, text->name, strlen(text->name));
	td->native = td_arena_copy(&tables->arena, text->column_type, strlen(text->column_type));
	if (td->name == NULL || td->native == NULL)
		return td_error_set(err, "53200", "out of memory");
	td->not_null = text->not_null;
	td->type = TD_TEXT;
	td->length = td->scale = -1;
	if (rule == NULL)
		refuse(table, text, "which is not supported");
	else if (strstr(text->column_type, "COMPRESSED"))
		refuse(table, text, "and compressed columns are not supported");
	else if (strstr(text->column_type, "mariadb-5.3"))
	{
		refuse(table, text, "whose storage format is not supported");
		td_error_hint(&table->problem, "At the source: SET GLOBAL mysql56_temporal_format = ON; ALTER TABLE `%s`.`%s` FORCE;",
					  table->schema.database, table->schema.table);
	}
	if (rule == NULL || table->problem.sqlstate[0])
		return true;
	column->kind = rule->kind;
	column->wire = rule->wire;
	column->old_wire = rule->old_wire;
	column->is_unsigned = strstr(text->column_type, " unsigned") != NULL;
	td->type = column->is_unsigned ? rule->unsigned_type : rule->type;
	set_length(td, column, rule, text);
	if (text->is_json && strcmp(rule->name, "longtext") == 0)
	{
		td->type = TD_JSON;
		if (!set_charset(conn, tables, table, column, text, err))
			return false;
		column->kind = TD_MY_JSON;
		return true;
	}
	return set_charset(conn, tables, table, column, text, err);
}
