/*-------------------------------------------------------------------------
 *
 * tables.c
 *		The live views that keep their changes and that we may read, as tables.
 *
 * NOTES
 *		A view's key is its primary key.  One whose key may be null has a unique
 *		constraint instead, which no table can have as its key: such a view is
 *		carried without a key, as one that has none.
 *
 * connectors/tapdata/tables.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "tapdata_internal.h"

/* One row for each column, those of a view together; domains are what they are over. */
static const char tables_sql[] =
"SELECT c.oid, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), '{\"view\": ' || to_json(format('%I.%I', n.nspname, c.relname))::text || ',', "
"f.tick, c.reltuples::bigint, a.attname, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), b.oid, b.typmod, b.typtype, a.attnotnull, "
"(SELECT array_position(i.indkey::int2[], a.attnum) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) "
"FROM tapdata.feeds f JOIN pg_class c ON c.oid = f.view JOIN pg_namespace n ON n.oid = c.relnamespace "
"JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
"CROSS JOIN LATERAL (WITH RECURSIVE t (oid, typmod, typtype, base, base_typmod) AS ("
"SELECT y.oid, a.atttypmod, y.typtype, y.typbasetype, y.typtypmod FROM pg_type y WHERE y.oid = a.atttypid "
"UNION ALL SELECT y.oid, t.base_typmod, y.typtype, y.typbasetype, y.typtypmod FROM t JOIN pg_type y ON y.oid = t.base WHERE t.typtype = 'd') "
"SELECT oid, typmod, typtype FROM t WHERE typtype <> 'd') b "
"WHERE ($1::text IS NULL OR n.nspname = $1) AND ($2::text IS NULL OR c.relname = $2) "
"ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", a.attnum";

enum
{
	OID, SCHEMA, NAME, QUOTED, NOTICE, TICK, ESTIMATE, COLUMN, COLUMN_QUOTED, COLUMN_TYPE, BASE, TYPMOD, TYPTYPE, NOT_NULL, KEY_PLACE
};

const char *
td_tp_column_quoted(const TdTpTable *t, uint32_t i)
{
	return PQgetvalue(t->res, t->first + (int) i, COLUMN_QUOTED);
}

const char *
td_tp_column_type(const TdTpTable *t, uint32_t i)
{
	return PQgetvalue(t->res, t->first + (int) i, COLUMN_TYPE);
}

/* A number of the result. */
static long
number(const PGresult *res, int row, int column)
{
	return strtol(PQgetvalue(res, row, column), NULL, 10);
}

/* What stands against carrying it. */
static void
note_problem(TdTpTable *t, const TdColumn *unsupported)
{
	if (unsupported)
	{
		td_error_set(&t->problem, "0A000", "column \"%s\" of view %s has type %s, which can't be carried", unsupported->name, t->name, unsupported->native);
		td_error_hint(&t->problem, "Cast it in the view's query, to text for example, or leave the view out with except_tables => ARRAY['%s'].", t->schema.table);
	}
	else if (t->tick < 0)
	{
		td_error_set(&t->problem, "57P03", "view %s is not filled yet", t->name);
		td_error_hint(&t->problem, "At the source: SELECT tapdata.wait_view('%s').", t->name);
	}
}

/* Describes the columns; false = no memory. */
static bool
read_columns(TdTpTable *t)
{
	TdSchema   *s = &t->schema;
	const TdColumn *unsupported = NULL;

	s->columns = calloc(s->ncolumns, sizeof(TdColumn));
	s->keys = calloc(s->ncolumns, sizeof(uint32_t));
	if (s->columns == NULL || s->keys == NULL)
		return false;
	for (uint32_t i = 0; i < s->ncolumns; i++)
	{
		int			row = t->first + (int) i;
		TdColumn   *c = &s->columns[i];

		c->name = PQgetvalue(t->res, row, COLUMN);
		c->native = PQgetvalue(t->res, row, COLUMN_TYPE);
		c->not_null = PQgetvalue(t->res, row, NOT_NULL)[0] == 't';
		if (!td_tp_map_type((uint32_t) strtoul(PQgetvalue(t->res, row, BASE), NULL, 10), (int32_t) number(t->res, row, TYPMOD),
							PQgetvalue(t->res, row, TYPTYPE)[0] == 'e', c))
			unsupported = c;
		if (!PQgetisnull(t->res, row, KEY_PLACE) && (uint32_t) number(t->res, row, KEY_PLACE) < s->ncolumns)
		{
			s->keys[number(t->res, row, KEY_PLACE)] = i;
			s->nkeys++;
		}
	}
	note_problem(t, unsupported);
	return true;
}

/* The view whose first column is in this row. */
static bool
read_table(TdTpTables *tables, int row)
{
	TdTpTable  *t = &tables->v[tables->n++];
	PGresult   *res = tables->res;

	t->res = res;
	t->first = row;
	t->oid = (uint32_t) strtoul(PQgetvalue(res, row, OID), NULL, 10);
	t->name = PQgetvalue(res, row, QUOTED);
	t->notice = PQgetvalue(res, row, NOTICE);
	t->tick = PQgetisnull(res, row, TICK) ? -1 : strtoll(PQgetvalue(res, row, TICK), NULL, 10);
	t->row_estimate = strtoll(PQgetvalue(res, row, ESTIMATE), NULL, 10);
	t->schema.table_id = tables->n;
	t->schema.database = PQgetvalue(res, row, SCHEMA);
	t->schema.table = PQgetvalue(res, row, NAME);
	while (row < PQntuples(res) && strcmp(PQgetvalue(res, row, OID), PQgetvalue(res, t->first, OID)) == 0)
		row++;
	t->schema.ncolumns = (uint32_t) (row - t->first);
	return read_columns(t);
}

/* Free them also after an error. */
bool
td_tp_load_tables(TdConn *conn, const char *schema, const char *table, TdTpTables *tables, TdError *err)
{
	const char *values[] = {schema, table};

	memset(tables, 0, sizeof(*tables));
	tables->res = td_tp_query(conn, err, tables_sql, 2, values);
	if (tables->res == NULL)
		return false;
	tables->v = calloc((size_t) PQntuples(tables->res) + 1, sizeof(TdTpTable));
	for (int row = 0; tables->v && row < PQntuples(tables->res); row += (int) tables->v[tables->n - 1].schema.ncolumns)
		if (!read_table(tables, row))
			return td_error_set(err, "53200", "out of memory");
	return tables->v != NULL || td_error_set(err, "53200", "out of memory");
}

void
td_tp_free_tables(TdTpTables *tables)
{
	for (uint32_t i = 0; tables->v && i < tables->n; i++)
	{
		free(tables->v[i].schema.columns);
		free(tables->v[i].schema.keys);
	}
	free(tables->v);
	PQclear(tables->res);
	memset(tables, 0, sizeof(*tables));
}

/* The one that is asked for; NULL with what stands against it, *err untouched = it is not there. */
TdTpTable *
td_tp_find_table(const TdConn *conn, const TdTpTables *tables, const TdTableRef *ref, TdError *err)
{
	const char *schema = ref->database && ref->database[0] ? ref->database : conn->schema;
	TdTpTable  *found = NULL;

	err->sqlstate[0] = '\0';
	for (uint32_t i = 0; i < tables->n; i++)
	{
		TdTpTable  *t = &tables->v[i];

		if (strcmp(t->schema.table, ref->table) != 0 || (schema && strcmp(t->schema.database, schema) != 0))
			continue;
		if (found)
		{
			td_error_set(err, "42P09", "there are several views \"%s\": %s, %s", ref->table, found->name, t->name);
			td_error_hint(err, "Name it with its schema, \"%s.%s\".", t->schema.database, t->schema.table);
			return NULL;
		}
		found = t;
	}
	if (found == NULL || found->problem.sqlstate[0] == '\0')
		return found;
	*err = found->problem;
	return NULL;
}

/* Who may grant it is told how; an error that has a hint of the server's knows better. */
bool
td_tp_rights_hint(TdConn *conn, const char *schema, const char *table, TdError *err)
{
	char	   *names[3] = {PQescapeIdentifier(conn->pg, schema, strlen(schema)), PQescapeIdentifier(conn->pg, table, strlen(table)),
	PQescapeIdentifier(conn->pg, PQuser(conn->pg), strlen(PQuser(conn->pg)))};

	if (strcmp(err->sqlstate, "42501") == 0 && err->hint[0] == '\0' && names[0] && names[1] && names[2])
		td_error_hint(err, "At the source the view's owner allows it: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s.%s TO %s;", names[0], names[2], names[0], names[1], names[2]);
	for (int i = 0; i < 3; i++)
		PQfreemem(names[i]);
	return false;
}

/* Why a view is not among those that can be read: the server says it best. */
bool
td_tp_explain_missing(TdConn *conn, const char *schema, const char *table, TdError *err)
{
	const char *values[] = {schema ? schema : "public", table};
	PGresult   *res = td_tp_query(conn, err, "SELECT CASE WHEN to_regclass(format('%I.%I', $1::text, $2::text)) IS NOT NULL "
								  "THEN tapdata.view_tick(format('%I.%I', $1::text, $2::text)::regclass) END", 2, values);

	if (res == NULL)
	{
		if (strcmp(err->sqlstate, "55000") == 0 && strstr(err->hint, "alter_view"))
			return td_error_hint(err, "At the source the view's owner turns its changes on: SELECT tapdata.alter_view('%s.%s', '{\"changes\": true}'). "
								 "A pipeline that was reading them has to load again: SELECT tapdata.reset_pipeline(name).", values[0], values[1]);
		return td_tp_rights_hint(conn, values[0], values[1], err);
	}
	if (PQgetisnull(res, 0, 0))
	{
		td_error_set(err, "42P01", "view \"%s.%s\" does not exist at the source", values[0], values[1]);
		td_error_hint(err, "If it was dropped or renamed, make the mirror again without it: SELECT tapdata.drop_pipeline(name).");
	}
	else
		td_error_set(err, "40001", "view \"%s.%s\" changed while it was looked at", values[0], values[1]);
	PQclear(res);
	return false;
}

/* Are the columns of a result, from that one on, those of the view as it was described? */
bool
td_tp_same_columns(const TdTpTable *t, const PGresult *res, int from)
{
	if (PQnfields(res) - from < (int) t->schema.ncolumns)
		return false;
	for (int i = 0; i < (int) t->schema.ncolumns; i++)
		if (strcmp(PQfname(res, from + i), t->schema.columns[i].name) != 0 ||
			PQftype(res, from + i) != (Oid) strtoul(PQgetvalue(t->res, t->first + i, BASE), NULL, 10) ||
			PQfmod(res, from + i) != number(t->res, t->first + i, TYPMOD))
			return false;
	return true;
}

/* Reports the views whose name matches, with or without the schema. */
TdStatus
td_tp_discover(TdConn *conn, const char *pattern, TdTableFn emit, void *arg, TdError *err)
{
	TdTpTables	tables = {0};
	bool		ok = td_tp_session(conn, err) && td_tp_load_tables(conn, conn->schema, NULL, &tables, err);

	for (uint32_t i = 0; ok && i < tables.n; i++)
	{
		const TdTpTable *t = &tables.v[i];
		TdTableInfo info = {.schema = &t->schema, .row_estimate = t->row_estimate, .problem = t->problem};
		char		name[200];

		snprintf(name, sizeof(name), "%s.%s", t->schema.database, t->schema.table);
		if (td_glob(pattern, t->schema.table) || td_glob(pattern, name))
			emit(arg, &info);
	}
	td_tp_free_tables(&tables);
	return ok ? TD_OK : TD_FAIL;
}
