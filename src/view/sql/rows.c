/*-------------------------------------------------------------------------
 *
 * rows.c
 *		Live views that have rows of a base table as values.
 *
 * NOTES
 *		Sessions, before DDL on the base table.  PostgreSQL does not change a row
 *		type where that would take new values for each row and tables have it as the
 *		type of a column; its error names the column of one of them, which may be
 *		one of tapdata's own.
 *
 *		Looked at: columns of that type, or arrays of it.
 *
 * IDENTIFICATION
 *		src/view/sql/rows.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "view/sql/sql_internal.h"

static bool
has_column_of(Oid relation, Oid type)
{
	bool		found = false;
	HeapTuple	tuple;

	for (int i = 1; !found && HeapTupleIsValid(tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation), Int16GetDatum(i))); i++)
	{
		Form_pg_attribute a = (Form_pg_attribute) GETSTRUCT(tuple);

		found = !a->attisdropped && (a->atttypid == type || get_element_type(a->atttypid) == type);
		ReleaseSysCache(tuple);
	}
	return found;
}

/* What an ALTER TABLE may do to row types, in words for each that can be done another way; NULL = none of it. */
static const char *
other_way(const AlterTableStmt *statement)
{
	const char *way = NULL;
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_AddColumn)
			return "Add the column without a default, then ALTER COLUMN ... SET DEFAULT and UPDATE. ";
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_AlterColumnType)
			way = "";
	}
	return way;
}

/* The hint for PostgreSQL's refusal to change the row type of a base table; NULL = there is no such view. */
char *
td_view_rows_hint(Node *statement)
{
	const char *way = IsA(statement, AlterTableStmt) ? other_way((AlterTableStmt *) statement) : NULL;
	Oid			relation = way ? td_find_relation(castNode(AlterTableStmt, statement)->relation) : InvalidOid;
	Oid			type = OidIsValid(relation) ? get_rel_type_id(relation) : InvalidOid;
	List	   *having = NIL;
	List	   *names;
	ListCell   *lc;

	if (!OidIsValid(type))
		return NULL;
	foreach(lc, td_views_reading(relation))
	{
		TdView	   *view = lfirst(lc);

		if (!has_column_of(view->relation, type))
			continue;
		if (view->part_of != 0)
			view = td_view_load(view->part_of);
		if (view)
			having = lappend(having, view);
	}
	names = td_names_down(having);
	return names == NIL ? NULL :
		psprintf("%s%s what has rows of the table as a column, %s; and create it again afterwards, with to_jsonb() of the row or with its columns named.", way, way[0] ? "Or drop" : "Drop", td_drop_calls(names));
}
