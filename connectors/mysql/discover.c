/*-------------------------------------------------------------------------
 *
 * discover.c
 *		Tables, columns and keys, from information_schema.
 *
 * NOTES
 *		Everything here reads what the source says *now*.  The stream checks it
 *		against the shape that each row event announces (event.c).
 *
 * connectors/mysql/discover.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "mysql_internal.h"

#define USER_SCHEMAS "NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')"

/* Order of tables: database, then name, by bytes. */
static int
compare_names(const char *da, const char *ta, const char *db, const char *tb)
{
	int			c = strcmp(da, db);

	return c ? c : strcmp(ta, tb);
}

static int
compare_tables(const void *a, const void *b)
{
	const TdSchema *x = &(*(TdMyTable *const *) a)->schema;
	const TdSchema *y = &(*(TdMyTable *const *) b)->schema;

	return compare_names(x->database, x->table, y->database, y->table);
}

/* The table of a name, NULL = not there. */
TdMyTable *
td_my_find_table(const TdMyTables *tables, const char *database, const char *table)
{
	uint32_t	low = 0;
	uint32_t	high = tables->n;

	while (low < high)
	{
		uint32_t	mid = low + (high - low) / 2;
		const TdSchema *s = &tables->v[mid]->schema;
		int			c = compare_names(database, table, s->database, s->table);

		if (c == 0)
			return tables->v[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* Frees tables and columns. */
void
td_my_free_tables(TdMyTables *tables)
{
	free(tables->v);
	td_arena_free(&tables->arena);
	memset(tables, 0, sizeof(*tables));
}

/* "column_of_database = '..' AND column_of_table = '..'", as far as names are given. */
static char *
condition(MYSQL *mysql, TdArena *arena, const char *database, const char *table, const char *dcolumn, const char *tcolumn)
{
	char	   *d = database ? td_my_quote(mysql, arena, database) : NULL;
	char	   *t = table ? td_my_quote(mysql, arena, table) : NULL;
	size_t		size = 256 + (d ? strlen(d) : 0) + (t ? strlen(t) : 0);
	char	   *to = td_arena_alloc(arena, size);

	if (to == NULL || (database && d == NULL) || (table && t == NULL))
		return NULL;
	snprintf(to, size, "%s %s%s%s%s%s", dcolumn, d ? "= " : USER_SCHEMAS, d ? d : "", t ? " AND " : "", t ? tcolumn : "", t ? " = " : "");
	if (t)
		memcpy(to + strlen(to), t, strlen(t) + 1);
	return to;
}

/* What kinds of tables can't be mirrored at all. */
static void
check_table_type(TdMyTable *table, const char *type)
{
	if (strcmp(type, "BASE TABLE") == 0)
		return;
	td_error_set(&table->problem, "0A000", "\"%s.%s\" is %s, not a plain table", table->schema.database, table->schema.table,
				 strcmp(type, "SYSTEM VERSIONED") == 0 ? "a system-versioned table" :
				 strcmp(type, "SEQUENCE") == 0 ? "a sequence" : type);
	td_error_hint(&table->problem, "Leave it out (except_tables).");
}

/* Reads the tables themselves. */
static bool
load_names(MYSQL *mysql, TdMyTables *tables, const char *where, TdError *err)
{
	MYSQL_RES  *res = td_my_query(mysql, err, "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, AVG_ROW_LENGTH"
								  " FROM information_schema.TABLES WHERE TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW', 'TEMPORARY') AND %s", where);
	MYSQL_ROW	row;

	if (res == NULL)
		return false;
	tables->v = calloc(mysql_num_rows(res) + 1, sizeof(TdMyTable *));
	while (tables->v && (row = mysql_fetch_row(res)) != NULL)
	{
		TdMyTable  *t = td_arena_alloc(&tables->arena, sizeof(TdMyTable));

		if (t == NULL)
			break;
		t->schema.database = td_arena_copy(&tables->arena, row[0], strlen(row[0]));
		t->schema.table = td_arena_copy(&tables->arena, row[1], strlen(row[1]));
		t->row_estimate = row[4] ? strtoll(row[4], NULL, 10) : -1;
		t->row_bytes = row[5] ? strtoll(row[5], NULL, 10) : 0;
		if (tables->arena.failed)
			break;
		check_table_type(t, row[2]);
		t->transactional = row[3] && (strcasecmp(row[3], "InnoDB") == 0 || strcasecmp(row[3], "ROCKSDB") == 0);
		tables->v[tables->n++] = t;
	}
	mysql_free_result(res);
	if (tables->v == NULL || tables->arena.failed)
		return td_error_set(err, "53200", "out of memory");
	qsort(tables->v, tables->n, sizeof(TdMyTable *), compare_tables);
	return true;
}

/* The checks that make a column JSON: CHECK (json_valid(`column`)). */
static MYSQL_RES *
load_json_checks(MYSQL *mysql, const char *where, TdError *err)
{
	return td_my_query(mysql, err, "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS"
					   " WHERE CHECK_CLAUSE LIKE 'json\\_valid(`%%`)' AND %s", where);
}

/* Is this column the one of a json_valid check? */
static bool
is_json_column(MYSQL_RES *checks, const char *database, const char *table, const char *column)
{
	MYSQL_ROW	row;
	TdBuffer	clause = {0};
	bool		found = false;

	td_my_append(&clause, "json_valid(");
	td_my_append_name(&clause, column);
	td_buffer_append(&clause, ")", 2);
	mysql_data_seek(checks, 0);
	while (!clause.failed && !found && (row = mysql_fetch_row(checks)) != NULL)
		found = strcmp(row[2], (char *) clause.data) == 0 && strcmp(row[1], table) == 0 && strcmp(row[0], database) == 0;
	td_buffer_free(&clause);
	return found;
}

/* Makes room for the columns of a table. */
static bool
begin_columns(TdMyTables *tables, TdMyTable *t, uint32_t n)
{
	t->schema.columns = td_arena_alloc(&tables->arena, n * sizeof(TdColumn));
	t->columns = td_arena_alloc(&tables->arena, n * sizeof(TdMyColumn));
	t->schema.keys = td_arena_alloc(&tables->arena, n * sizeof(uint32_t));
	return !tables->arena.failed;
}

/* Adds one row of information_schema.COLUMNS to its table. */
static bool
add_column(TdConn *conn, TdMyTables *tables, TdMyTable *t, MYSQL_ROW row, MYSQL_RES *checks, TdError *err)
{
	TdMyColumn *column = &t->columns[t->schema.ncolumns];
	TdMyColumnText text = {
		.name = row[2], .data_type = row[3], .column_type = row[4], .charset = row[5], .length = row[6],
		.precision = row[7], .scale = row[8], .fraction = row[9], .not_null = strcmp(row[10], "NO") == 0,
		.is_json = strcmp(row[3], "longtext") == 0 && is_json_column(checks, row[0], row[1], row[2])
	};

	column->td = &t->schema.columns[t->schema.ncolumns++];
	return td_my_map_type(conn, tables, t, column, &text, err);
}

/* Reads the columns of all tables at hand. */
static bool
load_columns(TdConn *conn, MYSQL *mysql, TdMyTables *tables, const char *where, MYSQL_RES *checks, TdError *err)
{
	MYSQL_RES  *res = td_my_query(mysql, err, "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME,"
								  " CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, IS_NULLABLE,"
								  " COUNT(*) OVER (PARTITION BY TABLE_SCHEMA, TABLE_NAME) FROM information_schema.COLUMNS"
								  " WHERE %s ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION", where);
	MYSQL_ROW	row;
	TdMyTable  *t = NULL;
	bool		ok = res != NULL;

	while (ok && (row = mysql_fetch_row(res)) != NULL)
	{
		if (t == NULL || strcmp(t->schema.table, row[1]) != 0 || strcmp(t->schema.database, row[0]) != 0)
			t = td_my_find_table(tables, row[0], row[1]);
		if (t == NULL)
			continue;
		if (t->columns == NULL && !begin_columns(tables, t, (uint32_t) strtoul(row[11], NULL, 10)))
			ok = td_error_set(err, "53200", "out of memory");
		else
			ok = add_column(conn, tables, t, row, checks, err);
	}
	mysql_free_result(res);
	return ok;
}

/* Adds a column to the primary key of its table. */
static void
add_key(TdMyTable *t, const char *column)
{
	for (uint32_t i = 0; i < t->schema.ncolumns; i++)
		if (strcmp(t->schema.columns[i].name, column) == 0)
			t->schema.keys[t->schema.nkeys++] = i;
}

/* Reads primary keys, and unique hash indexes: each of those adds a hidden column to row events. */
static bool
load_keys(MYSQL *mysql, TdMyTables *tables, const char *where, TdError *err)
{
	MYSQL_RES  *res = td_my_query(mysql, err, "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, INDEX_NAME, SEQ_IN_INDEX FROM information_schema.STATISTICS"
								  " WHERE (INDEX_NAME = 'PRIMARY' OR INDEX_TYPE = 'HASH') AND %s"
								  " ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX", where);
	MYSQL_ROW	row;

	if (res == NULL)
		return false;
	while ((row = mysql_fetch_row(res)) != NULL)
	{
		TdMyTable  *t = td_my_find_table(tables, row[0], row[1]);

		if (t == NULL)
			continue;
		if (strcmp(row[3], "PRIMARY") == 0)
			add_key(t, row[2]);
		else if (t->transactional && strcmp(row[4], "1") == 0)
			t->nhidden++;
	}
	mysql_free_result(res);
	return true;
}

/* Notes a cascading foreign key at one of its two tables. */
static void
note_cascade(TdMyTables *tables, const char *database, const char *table, const char *constraint)
{
	TdMyTable  *t = td_my_find_table(tables, database, table);

	if (t == NULL || t->problem.sqlstate[0])
		return;
	td_error_set(&t->problem, "0A000", "table \"%s.%s\" has a cascading foreign key, whose effects are not in the binlog", database, table);
	td_error_detail(&t->problem, "%s", constraint);
	td_error_hint(&t->problem, "Make it RESTRICT at the source, leave the table out (except_tables), or accept rows that differ: SELECT tapdata.alter_connection(name, '{\"cascades\": \"ignore\"}').");
}

/* Does this line of a CREATE TABLE make a foreign key by which the source itself changes rows? */
static bool
line_cascades(const char *line, size_t len)
{
	static const char *const actions[] = {" CASCADE", " SET NULL", " SET DEFAULT"};
	char		text[2048];

	snprintf(text, sizeof(text), "%.*s", (int) len, line);
	for (const char *on = strstr(text, " ON "); on; on = strstr(on + 1, " ON "))
	{
		const char *action = strncmp(on, " ON DELETE", 10) == 0 || strncmp(on, " ON UPDATE", 10) == 0 ? on + 10 : "";

		for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
			if (strncmp(action, actions[i], strlen(actions[i])) == 0)
				return true;
	}
	return false;
}

/* Looks at one foreign key.  Its rules stand in SHOW CREATE TABLE only, for a user with no right but SELECT. */
static bool
check_foreign_key(MYSQL *mysql, TdMyTables *tables, MYSQL_ROW key, TdError *err)
{
	TdBuffer	sql = {0};
	TdBuffer	name = {0};
	MYSQL_RES  *res;
	MYSQL_ROW	row;
	const char *line;

	td_my_append(&sql, "SHOW CREATE TABLE ");
	td_my_append_name(&sql, key[0]);
	td_my_append(&sql, ".");
	td_my_append_name(&sql, key[1]);
	td_my_append(&name, "CONSTRAINT ");
	td_my_append_name(&name, key[2]);
	td_my_append(&name, " FOREIGN KEY");
	td_buffer_append(&sql, "", 1);
	td_buffer_append(&name, "", 1);
	res = sql.failed || name.failed ? NULL : td_my_query(mysql, err, "%s", (char *) sql.data);
	row = res ? mysql_fetch_row(res) : NULL;
	line = row && row[1] ? strstr(row[1], (char *) name.data) : NULL;
	if (line && line_cascades(line, strcspn(line, "\n")))
	{
		char		text[900];

		snprintf(text, sizeof(text), "%s.%s: %.*s", key[0], key[1], (int) strcspn(line, "\n"), line);
		note_cascade(tables, key[0], key[1], text);
		note_cascade(tables, key[3], key[4], text);
	}
	mysql_free_result(res);
	td_buffer_free(&sql);
	td_buffer_free(&name);

	/* a table that went away meanwhile, or of which only some columns may be read, is nobody's parent or child here */
	return res != NULL || strcmp(err->sqlstate, "42P01") == 0 || strcmp(err->sqlstate, "42501") == 0;
}

/* Finds foreign keys by which the source changes rows without saying so in the binlog. */
static bool
load_foreign_keys(TdConn *conn, MYSQL *mysql, TdMyTables *tables, const char *where, TdError *err)
{
	MYSQL_RES  *res;
	MYSQL_ROW	row;
	bool		ok = true;

	if (conn->options.ignore_cascades)
		return true;
	res = td_my_query(mysql, err, "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME"
					  " FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_NAME IS NOT NULL AND %s", where);
	if (res == NULL)
		return false;
	while (ok && (row = mysql_fetch_row(res)) != NULL)
		ok = check_foreign_key(mysql, tables, row, err);
	mysql_free_result(res);
	return ok;
}

/* A table without a key is read from one snapshot, which only a transactional engine has. */
static void
check_keyless(TdMyTable *t)
{
	if (t->schema.nkeys || t->transactional || t->problem.sqlstate[0])
		return;
	td_error_set(&t->problem, "0A000", "table \"%s.%s\" has no primary key, and its engine no consistent snapshots",
				 t->schema.database, t->schema.table);
	td_error_hint(&t->problem, "Add a primary key, or convert it: ALTER TABLE `%s`.`%s` ENGINE = InnoDB.",
				  t->schema.database, t->schema.table);
}

/* Loads the tables of a name: NULL = all databases, all tables.  Free them also after an error. */
bool
td_my_load_tables(TdConn *conn, const char *database, const char *table, bool with_foreign_keys, TdMyTables *tables, TdError *err)
{
	MYSQL	   *mysql = td_my_session(conn, err);
	MYSQL_RES  *checks;
	char	   *where;
	char	   *check_where;
	bool		ok;

	memset(tables, 0, sizeof(*tables));
	if (mysql == NULL)
		return false;
	where = condition(mysql, &tables->arena, database, table, "TABLE_SCHEMA", "TABLE_NAME");
	check_where = condition(mysql, &tables->arena, database, table, "CONSTRAINT_SCHEMA", "TABLE_NAME");
	if (where == NULL || check_where == NULL)
		return td_error_set(err, "53200", "out of memory");
	checks = load_json_checks(mysql, check_where, err);
	ok = checks != NULL &&
		load_names(mysql, tables, where, err) &&
		load_columns(conn, mysql, tables, where, checks, err) &&
		load_keys(mysql, tables, where, err) &&
		(!with_foreign_keys || load_foreign_keys(conn, mysql, tables, where, err));
	mysql_free_result(checks);
	for (uint32_t i = 0; ok && i < tables->n; i++)
		check_keyless(tables->v[i]);
	return ok;
}

/* Reports the tables whose name matches. */
TdStatus
td_my_discover(TdConn *conn, const char *pattern, TdTableFn emit, void *arg, TdError *err)
{
	TdMyTables	tables;
	bool		ok = td_my_load_tables(conn, conn->options.database, NULL, true, &tables, err);

	for (uint32_t i = 0; ok && i < tables.n; i++)
	{
		TdMyTable  *t = tables.v[i];
		TdTableInfo info = {.schema = &t->schema, .row_estimate = t->row_estimate, .problem = t->problem};
		char		name[1200];

		snprintf(name, sizeof(name), "%s.%s", t->schema.database, t->schema.table);
		if (td_glob(pattern, conn->options.database ? t->schema.table : name))
			emit(arg, &info);
	}
	td_my_free_tables(&tables);
	return ok ? TD_OK : TD_FAIL;
}
