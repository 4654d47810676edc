/*-------------------------------------------------------------------------
 *
 * filter.c
 *		FILTER of an aggregate as CASE in its argument.
 *
 * NOTES
 *		For aggregates that take no notice of nulls, which those that are counted
 *		are: the same rows count, and the argument is computed for the same rows.
 *
 * IDENTIFICATION
 *		src/view/analyze/filter.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"

#include "view/analyze/analyze_internal.h"

/* CASE WHEN condition THEN value END */
static Expr *
only_when(Expr *condition, Expr *value)
{
	CaseExpr   *c = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = condition;
	when->result = value;
	when->location = -1;
	c->casetype = exprType((Node *) value);
	c->casecollid = exprCollation((Node *) value);
	c->args = list_make1(when);
	c->defresult = (Expr *) makeNullConst(c->casetype, exprTypmod((Node *) value), c->casecollid);
	c->location = -1;
	return (Expr *) c;
}

/* count(*) counts what is true. */
static Aggref *
unfiltered(Aggref *aggref)
{
	Aggref	   *plain = copyObject(aggref);
	ListCell   *lc;

	if (plain->aggstar)
	{
		plain->aggstar = false;
		plain->aggfnoid = F_COUNT_ANY;
		plain->aggargtypes = list_make1_oid(BOOLOID);
		plain->args = list_make1(makeTargetEntry((Expr *) makeBoolConst(true, false), 1, NULL, false));
	}
	foreach(lc, plain->args)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->expr = only_when(copyObject(plain->aggfilter), tle->expr);
	}
	plain->aggfilter = NULL;
	return plain;
}

Node *
td_filters_as_cases(Node *node, void *context)
{
	TdAggregateKind kind;

	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref) && ((Aggref *) node)->aggfilter && td_aggregate_kind((Aggref *) node, &kind))
		return (Node *) unfiltered((Aggref *) node);
	return expression_tree_mutator(node, td_filters_as_cases, context);
}
