/*-------------------------------------------------------------------------
 *
 * keyed_late.c
 *		Conditions that cost more than a probe come after those that are one.
 *
 * NOTES
 *		The planner evaluates a condition as soon as it has the tables that are
 *		named in it, whatever it costs.  So of
 *
 *			a.x IN (SELECT x FROM b WHERE ...) AND a.v > (SELECT sum(v) FROM c WHERE c.x = a.x)
 *
 *		it computes the sum for each row of a, also for those that b then drops.
 *		Where x is unique in b, this says the same and names b as well:
 *
 *			EXISTS (SELECT FROM b WHERE ... AND a.x = b.x AND a.v > (SELECT sum(v) FROM c WHERE c.x = b.x))
 *
 *		What is true of a row of a is true of it beside any row of b, and what is
 *		unknown counts as false in both places.  That a.x stands for b.x needs
 *		values that are the same when they are equal; that x is unique in b is not
 *		needed for the result: otherwise the sum might be computed more often.
 *
 *		A subquery that names the key is left alone: it may be where the planner
 *		has to begin, and with such a condition in it it can't.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_late.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "view/analyze/keyed_internal.h"

/* ---- conditions that cost ---- */

/* Is there an aggregate over rows that belong to those of this level? */
static bool
costs_walker(Node *node, void *context)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, SubLink))
	{
		const SubLink *sublink = (SubLink *) node;

		if (sublink->subLinkType == EXPR_SUBLINK && ((Query *) sublink->subselect)->hasAggs && contain_vars_of_level(sublink->subselect, 1))
			return true;
	}
	return expression_tree_walker(node, costs_walker, context);
}

/* ---- a column in the place of its equal ---- */

typedef struct Exchange
{
	const Var  *outer;			/* of the level above the subquery */
	const Var  *inner;			/* of the subquery */
	int			depth;			/* below the subquery */
	bool		done;			/* once at least */
} Exchange;

static Node *
exchange_mutator(Node *node, Exchange *e)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		const Var  *var = (Var *) node;
		Var		   *instead;

		if (var->varno != e->outer->varno || var->varattno != e->outer->varattno || var->varlevelsup != e->depth + 1)
			return copyObject(node);
		instead = copyObject((Var *) e->inner);
		instead->varlevelsup = e->depth;
		e->done = true;
		return (Node *) instead;
	}
	if (IsA(node, Query))
	{
		Query	   *query;

		e->depth++;
		query = query_tree_mutator((Query *) node, exchange_mutator, e, 0);
		e->depth--;
		return (Node *) query;
	}
	return expression_tree_mutator(node, exchange_mutator, e);
}

/* ---- subqueries that are one probe ---- */

/* A SELECT of one table and nothing else. */
static bool
is_of_one_table(const Query *query)
{
	return !query->setOperations && !query->groupClause && !query->groupingSets && !query->hasAggs && !query->havingQual && !query->hasWindowFuncs &&
		!query->distinctClause && !query->hasTargetSRFs && !query->limitCount && !query->limitOffset && !query->cteList &&
		list_length(query->jointree->fromlist) == 1 && IsA(linitial(query->jointree->fromlist), RangeTblRef) &&
		rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex, query->rtable)->rtekind == RTE_RELATION;
}

static Node *
and_also(Node *quals, Node *qual)
{
	return (Node *) make_ands_explicit(lappend(list_copy(td_and_list(quals)), qual));
}

/* EXISTS (...), or x IN (SELECT y ...) as EXISTS (... AND x = y); NULL = it is neither. */
static SubLink *
as_exists(const SubLink *sublink)
{
	const OpExpr *op = (const OpExpr *) sublink->testexpr;
	SubLink    *exists;
	Query	   *query;
	Node	   *x;
	Param	   *y;

	if (sublink->subLinkType == EXISTS_SUBLINK)
		return copyObject((SubLink *) sublink);
	if (sublink->subLinkType != ANY_SUBLINK || !IsA(op, OpExpr) || !IsA(lsecond(op->args), Param))
		return NULL;
	exists = copyObject((SubLink *) sublink);
	op = (const OpExpr *) exists->testexpr;
	query = (Query *) exists->subselect;
	x = linitial(op->args);
	y = lsecond_node(Param, op->args);
	IncrementVarSublevelsUp(x, 1, 0);
	lsecond(op->args) = get_tle_by_resno(query->targetList, y->paramid)->expr;
	query->jointree->quals = and_also(query->jointree->quals, (Node *) op);
	query->targetList = NIL;
	query->sortClause = NIL;	/* by what is selected no more */
	exists->subLinkType = EXISTS_SUBLINK;
	exists->testexpr = NULL;
	exists->operName = NIL;
	return exists;
}

/* Is it "a = b", a column of the subquery's table, unique in it, and one of the level above, of values that are the same when they are equal? */
static bool
is_probe(const Query *query, Node *qual, const Var **inner, const Var **outer)
{
	Var		   *left,
			   *right;
	const RangeTblEntry *rte;

	if (!td_equal_columns(qual, &left, &right))
		return false;
	*inner = left->varlevelsup == 0 ? left : right;
	*outer = left->varlevelsup == 0 ? right : left;
	if ((*inner)->varlevelsup != 0 || (*outer)->varlevelsup != 1 || (*inner)->vartype != (*outer)->vartype || (*inner)->vartypmod != (*outer)->vartypmod ||
		(*inner)->varcollid != (*outer)->varcollid || (*inner)->varattno <= 0 ||
		!td_equal_is_same((*inner)->vartype, (*inner)->vartypmod, (*inner)->varcollid))
		return false;
	rte = rt_fetch((*inner)->varno, query->rtable);
	return OidIsValid(td_unique_index(rte->relid, rte->inh, bms_make_singleton((*inner)->varattno)));
}

/* The subquery with the condition of the level above in it, by its own column; false = there is no such one in the condition. */
static bool
take_in(Query *query, const Node *condition)
{
	ListCell   *lc;

	foreach(lc, td_and_list(query->jointree->quals))
	{
		Exchange	e = {0};
		Node	   *moved = copyObject((Node *) condition);

		if (!is_probe(query, lfirst(lc), &e.inner, &e.outer))
			continue;
		IncrementVarSublevelsUp(moved, 1, 0);
		moved = exchange_mutator(moved, &e);
		if (!e.done)
			continue;
		query->jointree->quals = and_also(query->jointree->quals, moved);
		query->hasSubLinks = true;
		return true;
	}
	return false;
}

/* ---- levels ---- */

/* Puts the condition into one of the others; false = there is none for it. */
static bool
put_off(List *conditions, Node *condition, int depth)
{
	ListCell   *lc;

	foreach(lc, conditions)
	{
		SubLink    *exists = IsA(lfirst(lc), SubLink) ? as_exists(lfirst(lc)) : NULL;

		if (exists && is_of_one_table((Query *) exists->subselect) && !contain_vars_of_level(exists->subselect, depth + 1) && take_in((Query *) exists->subselect, condition))
		{
			lfirst(lc) = exists;
			return true;
		}
	}
	return false;
}

/* The conditions of a level, those that cost within others. */
static Node *
in_order_of_cost(Node *quals, int depth)
{
	List	   *conditions = list_copy(td_and_list(quals));
	ListCell   *lc;

	foreach(lc, conditions)
	{
		if (!IsA(lfirst(lc), SubLink) && costs_walker(lfirst(lc), NULL) && put_off(conditions, lfirst(lc), depth))
			conditions = foreach_delete_current(conditions, lc);
	}
	return conditions == NIL ? NULL : (Node *) make_ands_explicit(conditions);
}

static bool
walker(Node *node, int *depth)
{
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, FromExpr))
		((FromExpr *) node)->quals = in_order_of_cost(((FromExpr *) node)->quals, *depth);
	if (!IsA(node, Query))
		return expression_tree_walker(node, walker, depth);
	(*depth)++;
	result = query_tree_walker((Query *) node, walker, depth, QTW_IGNORE_JOINALIASES);
	(*depth)--;
	return result;
}

/* In place, at all levels; the keys are columns of the query that this one is a subquery of. */
void
td_keyed_late(Query *query)
{
	int			depth = 0;

	walker((Node *) query, &depth);
}
