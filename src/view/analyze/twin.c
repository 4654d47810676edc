/*-------------------------------------------------------------------------
 *
 * twin.c
 *		The query of a view, read from its twin.
 *
 * NOTES
 *		The twin names the twins of other views, so that it is computed from base
 *		tables.  Maintenance reads those views' tables instead; they have the
 *		same columns under the same numbers.
 *
 *		The rule's two entries for its own view stay in the range table, where
 *		nothing names them.
 *
 * IDENTIFICATION
 *		src/view/analyze/twin.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteSupport.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"

#include "view/analyze/analyze_internal.h"

static void
replace_twin(RangeTblEntry *rte)
{
	TdView	   *view = td_view_of_twin(rte->relid);

	if (view == NULL)
		return;
	rte->relid = view->relation;
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = AccessShareLock;
}

/* At all levels. */
static bool
replace_twins(Node *node, const Oid *own)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, replace_twins, (void *) own, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && rte->relid != *own)
			replace_twin(rte);
		return false;
	}
	return expression_tree_walker(node, replace_twins, (void *) own);
}

Query *
td_twin_query(Oid twin)
{
	Relation	rel = table_open(twin, AccessShareLock);
	Query	   *query = copyObject(get_view_query(rel));

	table_close(rel, AccessShareLock);
	replace_twins((Node *) query, &twin);
	return query;
}
