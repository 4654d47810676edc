/*-------------------------------------------------------------------------
 *
 * footing.c
 *		What a statement reads by, as far as no lock of a reader keeps it as it is.
 *
 * NOTES
 *		ATTACH, INHERIT and the first half of DETACH CONCURRENTLY want no lock that
 *		conflicts with ACCESS SHARE on the table above, CREATE OR REPLACE FUNCTION
 *		wants none at all.  A statement is planned by the catalogs as they are then,
 *		whatever snapshot it reads under: what came after that snapshot is read, too,
 *		and what the plan does not know of is not, though the snapshot sees it.
 *
 *		So a footing is taken before the locks and the snapshot, and once more after
 *		all has been read (or planned, where it is planned once): if both are equal,
 *		catalogs and snapshot were of one state.  A footing that comes back (A, B, A)
 *		is none to fear: who holds ACCESS SHARE on a table keeps what came below it
 *		from being taken away, and who reads what has come locks it, too.
 *
 *		A list of OIDs, to be compared with equal(): each table, what is below it,
 *		InvalidOid where something of that is being detached; each function, with the
 *		transaction that wrote it.
 *
 * IDENTIFICATION
 *		src/view/analyze/footing.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

/* As has_subclass, but a table that is not locked may be gone. */
static bool
may_have_children(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		may;

	if (!HeapTupleIsValid(tuple))
		return false;
	may = ((Form_pg_class) GETSTRUCT(tuple))->relhassubclass;
	ReleaseSysCache(tuple);
	return may;
}

/* Whatever the active snapshot is: also what is being detached. */
static List *
add_table(List *footing, Oid relid)
{
	bool		detached = false;
	List	   *children;
	ListCell   *lc;

	check_stack_depth();
	footing = lappend_oid(footing, relid);
	if (!may_have_children(relid))
		return footing;
	children = find_inheritance_children_extended(relid, false, NoLock, &detached, NULL);
	foreach(lc, children)
		footing = add_table(footing, lfirst_oid(lc));
	list_free(children);
	return detached ? lappend_oid(footing, InvalidOid) : footing;
}

static List *
add_function(List *footing, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));

	footing = lappend_oid(footing, function);
	if (!HeapTupleIsValid(tuple))
		return footing;
	footing = lappend_oid(footing, HeapTupleHeaderGetRawXmin(tuple->t_data));
	ReleaseSysCache(tuple);
	return footing;
}

/* Of a view's statements. */
List *
td_footing(const TdShape *shape)
{
	List	   *footing = NIL;
	ListCell   *lc;

	for (int i = 0; i < shape->noccurrences; i++)
		footing = add_table(footing, shape->occurrences[i].relid);
	foreach(lc, shape->functions)
		footing = add_function(footing, lfirst_oid(lc));
	return footing;
}

uint32
td_footing_hash(const List *footing)
{
	uint32		hash = 0;
	ListCell   *lc;

	foreach(lc, footing)
		hash = hash_combine(hash, murmurhash32(lfirst_oid(lc)));
	return Max(hash, 1);
}

/* Callback of check_functions_in_node: never stops it. */
static bool
take_function(Oid function, void *context)
{
	List	  **footing = context;

	if (function >= FirstNormalObjectId)
		*footing = add_function(*footing, function);
	return false;
}

static bool
walker(Node *node, List **footing)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry) && ((RangeTblEntry *) node)->rtekind == RTE_RELATION)
		*footing = add_table(*footing, ((RangeTblEntry *) node)->relid);
	if (IsA(node, RangeTblEntry))
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, walker, footing, QTW_EXAMINE_RTES_BEFORE);
	(void) check_functions_in_node(node, take_function, footing);
	return expression_tree_walker(node, walker, footing);
}

/* Of a query that has been analysed and rewritten. */
List *
td_footing_of_query(Query *query)
{
	List	   *footing = NIL;

	(void) walker((Node *) query, &footing);
	return footing;
}
