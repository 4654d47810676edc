/*-------------------------------------------------------------------------
 *
 * equality.c
 *		Whether groups, distinct rows and partitions are told apart by the default
 *		equality of their types.
 *
 * NOTES
 *		ORDER BY x USING <operator> gives GROUP BY, DISTINCT and PARTITION BY of the
 *		same x the equality of that operator's family: one that a user made may take
 *		-1 and 1 for one value.  Keys, state and parts go by the default one.
 *
 * IDENTIFICATION
 *		src/view/analyze/equality.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

static bool
are_default(const List *clauses, const List *tlist, TdError *err)
{
	ListCell   *lc;

	foreach(lc, clauses)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Oid			type = exprType(get_sortgroupclause_expr(clause, (List *) tlist));

		if (clause->eqop != lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr)
			return td_refuse(err, TD_NOT_EQUALITY, get_opname(clause->eqop));
	}
	return true;
}

static bool
query_is_default(const Query *query, TdError *err)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		if (!are_default(lfirst_node(WindowClause, lc)->partitionClause, query->targetList, err))
			return false;
	}
	return are_default(query->groupClause, query->targetList, err) && are_default(query->distinctClause, query->targetList, err);
}

static bool
other_walker(Node *node, TdError *err)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return !query_is_default((Query *) node, err) || query_tree_walker((Query *) node, other_walker, err, QTW_IGNORE_JOINALIASES);
	if (IsA(node, Aggref) && !are_default(((Aggref *) node)->aggdistinct, ((Aggref *) node)->args, err))
		return true;
	return expression_tree_walker(node, other_walker, err);
}

/* All levels. */
bool
td_check_equality(Query *query, TdError *err)
{
	return !other_walker((Node *) query, err);
}
