/*-------------------------------------------------------------------------
 *
 * end_fill.c
 *		Who drops a view does not wait for its fill.
 *
 * NOTES
 *		Sessions, before they wait for a lock that a fill worker has.  A fill may
 *		take hours, and what it computes is not wanted any more: its worker is
 *		terminated.  Should the view stay after all, by an error or a rollback, its
 *		worker begins the fill again, later than the session stands in line for the
 *		lock.
 *
 *		Only for who may drop the view, or owns what is dropped with it.
 *
 * IDENTIFICATION
 *		src/view/sql/end_fill.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/user.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

static void end_owned(const List *roles);
static void end_tables(const List *tables, bool cascade);
static void end_within(const List *namespaces);
static bool may_drop(Oid relation);
static List *namespaces_named(const DropStmt *statement);
static bool is_within(const TdView *view, const List *namespaces);

/* Of a view, of its parts, and of what was to replace it. */
void
td_view_end_fill(const TdView *view)
{
	ListCell   *lc;

	(void) td_worker_request_stop(TD_WORKER_FILL, view->id, true);
	foreach(lc, td_view_parts(view->id))
		(void) td_worker_request_stop(TD_WORKER_FILL, ((TdView *) lfirst(lc))->id, true);
}

static void
end_all(List *views)
{
	ListCell   *lc;

	foreach(lc, td_views_with_readers(views))
		td_view_end_fill(lfirst(lc));
}

/* Before a statement of DDL: of the views that it may drop. */
void
td_views_end_fills(Node *statement)
{
	if (IsA(statement, DropOwnedStmt))
		end_owned(roleSpecsToIds(castNode(DropOwnedStmt, statement)->roles));
	else if (IsA(statement, DropStmt) && castNode(DropStmt, statement)->removeType == OBJECT_TABLE)
		end_tables(td_named_relations(statement), castNode(DropStmt, statement)->behavior == DROP_CASCADE);
	else if (IsA(statement, DropStmt) && castNode(DropStmt, statement)->behavior == DROP_CASCADE)
		end_within(namespaces_named(castNode(DropStmt, statement)));
}

static void
end_owned(const List *roles)
{
	ListCell   *lc;

	foreach(lc, td_views_all())
		if (list_member_oid(roles, ((TdView *) lfirst(lc))->owner) && may_drop(((TdView *) lfirst(lc))->relation))
			end_all(list_make1(lfirst(lc)));
}

/* Tables of views, and with CASCADE the views that read one of them. */
static void
end_tables(const List *tables, bool cascade)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		Oid			table = lfirst_oid(lc);
		TdView	   *view = OidIsValid(table) && may_drop(table) ? td_view_of(table, true) : NULL;

		if (view != NULL)
			td_view_end_fill(view);
		if (cascade && OidIsValid(table) && may_drop(table))
			end_all(td_views_reading(table));
	}
}

static void
end_within(const List *namespaces)
{
	ListCell   *lc;

	foreach(lc, namespaces == NIL ? NIL : td_views_all())
		if (is_within(lfirst(lc), namespaces) && may_drop(((TdView *) lfirst(lc))->relation))
			end_all(list_make1(lfirst(lc)));
}

/* Its owner. */
static bool
may_drop(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	bool		may = HeapTupleIsValid(tuple) && has_privs_of_role(GetUserId(), ((Form_pg_class) GETSTRUCT(tuple))->relowner);

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

/* The schemas whose views go by DROP SCHEMA; of DROP EXTENSION tapdata, those of the extension, in which there is something of each view. */
static List *
namespaces_named(const DropStmt *statement)
{
	List	   *namespaces = NIL;
	ListCell   *lc;

	foreach(lc, statement->objects)
	{
		const char *name = IsA(lfirst(lc), String) ? strVal(lfirst(lc)) : "";

		if (statement->removeType == OBJECT_SCHEMA)
			namespaces = lappend_oid(namespaces, get_namespace_oid(name, true));
		else if (statement->removeType == OBJECT_EXTENSION && strcmp(name, "tapdata") == 0)
			namespaces = lappend_oid(namespaces, get_namespace_oid("tapdata", true));
	}
	return namespaces;
}

/* Does the view, what it reads, or the extension go with one of these schemas? */
static bool
is_within(const TdView *view, const List *namespaces)
{
	ListCell   *lc;

	if (list_member_oid(namespaces, get_namespace_oid("tapdata", true)) || list_member_oid(namespaces, get_rel_namespace(view->relation)))
		return true;
	foreach(lc, td_view_bases(view->id))
		if (list_member_oid(namespaces, get_rel_namespace(lfirst_oid(lc))))
			return true;
	return false;
}
