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

Query *
td_twin_query(Oid twin)
{
	Relation	rel = table_open(twin, AccessShareLock);
	Query	   *query = copyObject(get_view_query(rel));
	ListCell   *lc;

	table_close(rel, AccessShareLock);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && rte->relid != twin)
			replace_twin(rte);
	}
	return query;
}
