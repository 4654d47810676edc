/*-------------------------------------------------------------------------
 *
 * keyed_antijoin.c
 *		x NOT IN (SELECT y ...) as what indexes can answer.
 *
 * NOTES
 *		The planner computes an uncorrelated NOT IN by a hash of the whole
 *		subquery, each time: a tick that touches one key would read it all.  As a
 *		conjunct it is the same as
 *
 *			NOT EXISTS (... WHERE y = x) AND NOT EXISTS (... WHERE y IS NULL) AND
 *			(x IS NOT NULL OR NOT EXISTS (...))
 *
 *		IN is a semijoin to the planner, and stays as it is.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_antijoin.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "view/analyze/keyed_internal.h"

static Node *
null_test(Node *arg, NullTestType type)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) copyObject(arg);
	test->nulltesttype = type;
	test->location = -1;
	return (Node *) test;
}

/* NOT EXISTS (the subquery AND condition) */
static Node *
not_exists(const Query *subquery, Node *condition)
{
	Query	   *query = copyObject((Query *) subquery);
	SubLink    *exists = makeNode(SubLink);
	List	   *quals = td_and_list(query->jointree->quals);

	if (condition)
		quals = lappend(list_copy(quals), condition);
	query->jointree->quals = quals == NIL ? NULL : list_length(quals) == 1 ? linitial(quals) : (Node *) makeBoolExpr(AND_EXPR, quals, -1);
	query->sortClause = NIL;	/* by columns that are gone */
	query->targetList = list_make1(makeTargetEntry((Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true), 1,
												   pstrdup("one"), false));
	exists->subLinkType = EXISTS_SUBLINK;
	exists->subselect = (Node *) query;
	exists->location = -1;
	return (Node *) makeBoolExpr(NOT_EXPR, list_make1(exists), -1);
}

/* NOT IN of one column, over a plain SELECT that reads nothing from outside; its comparison, or NULL. */
static OpExpr *
comparison_of(const SubLink *sublink)
{
	const Query *query = (const Query *) sublink->subselect;
	OpExpr	   *op = (OpExpr *) sublink->testexpr;

	if (sublink->subLinkType != ANY_SUBLINK || !IsA(op, OpExpr) || !IsA(lsecond(op->args), Param) || !op_strict(op->opno))
		return NULL;
	if (query->setOperations || query->groupClause || query->groupingSets || query->hasAggs || query->havingQual || query->hasWindowFuncs ||
		query->distinctClause || query->hasTargetSRFs || query->limitCount || query->limitOffset || query->hasSubLinks)
		return NULL;
	if (contain_vars_of_level((Node *) query, 1) || checkExprHasSubLink(linitial(op->args)))
		return NULL;
	return get_oprrest(op->opno) == F_EQSEL ? op : NULL;
}

static Node *
antijoin(const SubLink *sublink, const OpExpr *op)
{
	const Query *query = (const Query *) sublink->subselect;
	Node	   *x = linitial(op->args);
	Node	   *y = (Node *) get_tle_by_resno(query->targetList, ((Param *) lsecond(op->args))->paramid)->expr;
	OpExpr	   *same = copyObject((OpExpr *) op);
	Node	   *inner_x = copyObject(x);
	List	   *parts;

	IncrementVarSublevelsUp(inner_x, 1, 0);
	same->args = list_make2(inner_x, copyObject(y));
	parts = list_make3(not_exists(query, (Node *) same), not_exists(query, null_test(y, IS_NULL)),
					   makeBoolExpr(OR_EXPR, list_make2(null_test(x, IS_NOT_NULL), not_exists(query, NULL)), -1));
	return (Node *) makeBoolExpr(AND_EXPR, parts, -1);
}

/* A conjunct of WHERE or ON. */
static Node *
rewrite(Node *node)
{
	BoolExpr   *bool_expr = (BoolExpr *) node;
	OpExpr	   *op;

	if (node == NULL || !IsA(node, BoolExpr))
		return node;
	if (bool_expr->boolop == AND_EXPR)
	{
		ListCell   *lc;

		foreach(lc, bool_expr->args)
			lfirst(lc) = rewrite(lfirst(lc));
		return node;
	}
	if (bool_expr->boolop != NOT_EXPR || !IsA(linitial(bool_expr->args), SubLink))
		return node;
	op = comparison_of(linitial(bool_expr->args));
	return op ? antijoin(linitial(bool_expr->args), op) : node;
}

static bool
walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FromExpr))
		((FromExpr *) node)->quals = rewrite(((FromExpr *) node)->quals);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, walker, context, QTW_IGNORE_JOINALIASES);
	return expression_tree_walker(node, walker, context);
}

/* In place, at all levels. */
void
td_keyed_antijoins(Query *query)
{
	walker((Node *) query, NULL);
}
