/*-------------------------------------------------------------------------
 *
 * pull_up.c
 *		Subqueries in FROM that only join, filter and compute, as part of the
 *		query that reads them.
 *
 * NOTES
 *		FROM (SELECT a.x + b.y AS s FROM a JOIN b ON ... WHERE ...) q becomes
 *		FROM a, b with these conditions, and q.s becomes a.x + b.y: the same rows
 *		as often, as long as only inner joins stand between.  What had to be keyed
 *		is then kept by adding up deltas.
 *
 *		What is in the way (groups, LIMIT, outer joins around it ...) stays as it
 *		is, and is somebody else's to refuse.
 *
 * IDENTIFICATION
 *		src/view/analyze/pull_up.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat/compat.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"

#include "view/analyze/analyze_internal.h"

typedef struct PullUp
{
	int			rti;			/* of the subquery */
	Query	   *query;			/* the subquery, in the range table of the query around it */
} PullUp;

/* Does it do no more than join, filter and compute?  Inside of it that is asked again, by who analyses the result. */
static bool
is_plain(const RangeTblEntry *rte)
{
	const Query *query = rte->subquery;

	return rte->rtekind == RTE_SUBQUERY && !rte->lateral && !rte->security_barrier && query->commandType == CMD_SELECT && query->jointree->fromlist != NIL &&
		!query->setOperations && !query->hasAggs && !query->groupClause && !query->groupingSets && !query->havingQual && !query->hasWindowFuncs &&
		!query->hasTargetSRFs && !query->distinctClause && !query->sortClause && !query->limitCount && !query->limitOffset && !query->cteList &&
		!query->rowMarks && !query->hasSubLinks;
}

/* Aliases of joins spelt out: nothing names them then. */
static void
spell_out_joins(Query *query)
{
	query->targetList = (List *) td_flatten_join_alias_vars_compat(query, (Node *) query->targetList);
	query->havingQual = td_flatten_join_alias_vars_compat(query, query->havingQual);
	query->jointree = (FromExpr *) td_flatten_join_alias_vars_compat(query, (Node *) query->jointree);
}

static bool
whole_walker(Node *node, PullUp *p)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == p->rti && ((Var *) node)->varattno <= 0;
	return expression_tree_walker(node, whole_walker, p);
}

/* Columns of the subquery by what they are, its place in FROM by its own FROM and WHERE. */
static Node *
put_in(Node *node, void *context)
{
	PullUp	   *p = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, RangeTblRef) && ((RangeTblRef *) node)->rtindex == p->rti)
		return (Node *) p->query->jointree;
	if (IsA(node, Var) && ((Var *) node)->varno == p->rti)
		return copyObject((Node *) list_nth_node(TargetEntry, p->query->targetList, ((Var *) node)->varattno - 1)->expr);
	return expression_tree_mutator(node, put_in, context);
}

static void
pull_up_one(Query *query, int rti)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	PullUp		p = {rti};

	if (!is_plain(rte) || whole_walker((Node *) list_make3(query->targetList, query->jointree, query->havingQual), &p))
		return;
	p.query = copyObject(rte->subquery);
	td_pull_up_subqueries(p.query);
	spell_out_joins(p.query);
	OffsetVarNodes((Node *) p.query, list_length(query->rtable), 0);
	td_append_range_table_compat(query, p.query);
	query->targetList = (List *) put_in((Node *) query->targetList, &p);
	query->havingQual = put_in(query->havingQual, &p);
	query->jointree = (FromExpr *) put_in((Node *) query->jointree, &p);
}

/* The subqueries in FROM, between which are none but inner joins. */
static List *
inner_subqueries(const Query *query, Node *node)
{
	List	   *found = NIL;
	ListCell   *lc;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
	{
		int			rti = ((RangeTblRef *) node)->rtindex;

		return rt_fetch(rti, query->rtable)->rtekind == RTE_SUBQUERY ? list_make1_int(rti) : NIL;
	}
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		return join->jointype != JOIN_INNER ? NIL : list_concat(inner_subqueries(query, join->larg), inner_subqueries(query, join->rarg));
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
		found = list_concat(found, inner_subqueries(query, lfirst(lc)));
	return found;
}

/* In place.  A query with subqueries elsewhere, which may name those in FROM, stays as it is. */
void
td_pull_up_subqueries(Query *query)
{
	List	   *subqueries;
	ListCell   *lc;

	if (query->commandType != CMD_SELECT || query->hasSubLinks)
		return;
	subqueries = inner_subqueries(query, (Node *) query->jointree);
	if (subqueries == NIL)
		return;
	AcquireRewriteLocks(query, true, false);
	spell_out_joins(query);
	foreach(lc, subqueries)
		pull_up_one(query, lfirst_int(lc));
}
