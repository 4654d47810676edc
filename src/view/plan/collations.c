/*-------------------------------------------------------------------------
 *
 * collations.c
 *		COLLATE where an expression, written out, would be read with another
 *		collation than it has.
 *
 * NOTES
 *		A COLLATE within an expression is explicit and goes up through all that is
 *		made of it; that of a column is implicit and gives way.  An expression
 *		that is put in the place of a column (pull_up.c, keyed_resolve.c), or whose
 *		parts have become columns (a group's row), has what it had, but its text
 *		would be read otherwise: as another order, or as an error.  Likewise where
 *		a part of a query has become a table (split.c).  So what
 *		PostgreSQL would derive (parser/parse_collate.c) is derived here, and where
 *		that is not what the tree says, the arguments are told.
 *
 * IDENTIFICATION
 *		src/view/plan/collations.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "view/plan/plan_internal.h"

typedef enum Strength
{
	NOTHING,
	IMPLICIT,
	CONFLICT,					/* of implicit ones: an error where somebody needs it */
	EXPLICIT,
	MISMATCH					/* of explicit ones: an error */
} Strength;

/* What is derived from some expressions side by side. */
typedef struct Derived
{
	Oid			collation;
	Strength	strength;
} Derived;

static Node *derive(Node *node, Derived *around);

static void
merge(Derived *all, Oid collation, Strength strength)
{
	if (strength > all->strength || (strength == IMPLICIT && all->strength == IMPLICIT && all->collation == DEFAULT_COLLATION_OID))
		*all = (Derived) {collation, strength};
	else if (strength == all->strength && collation != all->collation && strength == EXPLICIT)
		all->strength = MISMATCH;
	else if (strength == all->strength && collation != all->collation && strength == IMPLICIT && collation != DEFAULT_COLLATION_OID)
		*all = (Derived) {InvalidOid, CONFLICT};
}

/* ---- saying it ---- */

static Node *
with_collation(Node *arg, Oid collation)
{
	CollateExpr *collate;

	if (arg == NULL || !type_is_collatable(exprType(arg)) || IsA(arg, CaseTestExpr) || IsA(arg, Const))
		return arg;				/* constants give way; some stand where syntax wants them */
	collate = makeNode(CollateExpr);
	collate->arg = (Expr *) arg;
	collate->collOid = collation;
	collate->location = -1;
	return (Node *) collate;
}

static void
say_all(List *args, Oid collation)
{
	ListCell   *lc;

	foreach(lc, args)
		lfirst(lc) = with_collation(lfirst(lc), collation);
}

static void
say_case(CaseExpr *c, Oid collation)
{
	ListCell   *lc;

	foreach(lc, c->args)
		lfirst_node(CaseWhen, lc)->result = (Expr *) with_collation((Node *) lfirst_node(CaseWhen, lc)->result, collation);
	c->defresult = (Expr *) with_collation((Node *) c->defresult, collation);
}

/* false = it has no arguments of which that could be said. */
static bool
say(Node *node, Oid collation)
{
	switch (nodeTag(node))
	{
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			say_all(((OpExpr *) node)->args, collation);
			return true;
		case T_FuncExpr:
			say_all(((FuncExpr *) node)->args, collation);
			return true;
		case T_ScalarArrayOpExpr:
			say_all(((ScalarArrayOpExpr *) node)->args, collation);
			return true;
		case T_MinMaxExpr:
			say_all(((MinMaxExpr *) node)->args, collation);
			return true;
		case T_CoalesceExpr:
			say_all(((CoalesceExpr *) node)->args, collation);
			return true;
		case T_ArrayExpr:
			say_all(((ArrayExpr *) node)->elements, collation);
			return true;
		case T_CaseExpr:
			say_case((CaseExpr *) node, collation);
			return true;
		default:
			return false;
	}
}

/* ---- deriving it ---- */

/* Each pair has a collation of its own. */
static Node *
derive_row_comparison(RowCompareExpr *row)
{
	RowCompareExpr *copy = makeNode(RowCompareExpr);
	ListCell   *ll,
			   *lr,
			   *lc;

	*copy = *row;
	copy->largs = copy->rargs = NIL;
	forthree(ll, row->largs, lr, row->rargs, lc, row->inputcollids)
	{
		Derived		pair = {InvalidOid, NOTHING};
		Node	   *left = derive(lfirst(ll), &pair);
		Node	   *right = derive(lfirst(lr), &pair);

		if (OidIsValid(lfirst_oid(lc)) && pair.collation != lfirst_oid(lc))
		{
			left = with_collation(left, lfirst_oid(lc));
			right = with_collation(right, lfirst_oid(lc));
		}
		copy->largs = lappend(copy->largs, left);
		copy->rargs = lappend(copy->rargs, right);
	}
	return (Node *) copy;
}

/* Only what it may result in counts. */
static Node *
derive_case(const CaseExpr *c, Derived *below)
{
	CaseExpr   *copy = makeNode(CaseExpr);
	Derived		apart = {InvalidOid, NOTHING};
	ListCell   *lc;

	*copy = *c;
	copy->arg = (Expr *) derive((Node *) c->arg, &apart);
	copy->args = NIL;
	foreach(lc, c->args)
	{
		CaseWhen   *when = makeNode(CaseWhen);

		*when = *lfirst_node(CaseWhen, lc);
		when->expr = (Expr *) derive((Node *) when->expr, &apart);
		when->result = (Expr *) derive((Node *) when->result, below);
		copy->args = lappend(copy->args, when);
	}
	copy->defresult = (Expr *) derive((Node *) c->defresult, below);
	return (Node *) copy;
}

static Node *
derive_below(Node *node, Derived *below)
{
	if (IsA(node, CaseExpr))
		return derive_case((CaseExpr *) node, below);
	if (IsA(node, RowCompareExpr))
		return derive_row_comparison((RowCompareExpr *) node);
	return expression_tree_mutator(node, derive, below);
}

/* What an expression is to the one that it stands in. */
static Derived
result_of(Node *node, const Derived *below)
{
	Oid			collation = exprCollation(node);

	if (!OidIsValid(get_typcollation(exprType(node))))
		return (Derived) {InvalidOid, NOTHING};
	if (IsA(node, CollateExpr))
		return (Derived) {((CollateExpr *) node)->collOid, EXPLICIT};
	if (IsA(node, Var) || IsA(node, Param) || IsA(node, SubLink) || IsA(node, FieldSelect) || IsA(node, CoerceToDomain) || IsA(node, CaseTestExpr) ||
		below->strength == NOTHING)
		return (Derived) {collation, OidIsValid(collation) ? IMPLICIT : NOTHING};
	return *below;
}

/* Clauses, and what a later major may have, are none: what is in them stands each for itself. */
static bool
is_expression(const Node *node)
{
	static const NodeTag expressions[] = {
		T_Var, T_Const, T_Param, T_Aggref, T_GroupingFunc, T_WindowFunc, T_SubscriptingRef, T_FuncExpr, T_NamedArgExpr, T_OpExpr, T_DistinctExpr, T_NullIfExpr,
		T_ScalarArrayOpExpr, T_BoolExpr, T_SubLink, T_FieldSelect, T_RelabelType, T_CoerceViaIO, T_ArrayCoerceExpr, T_ConvertRowtypeExpr, T_CollateExpr,
		T_CaseExpr, T_CaseTestExpr, T_ArrayExpr, T_RowExpr, T_RowCompareExpr, T_CoalesceExpr, T_MinMaxExpr, T_SQLValueFunction, T_XmlExpr, T_NullTest,
		T_BooleanTest, T_CoerceToDomain, T_CoerceToDomainValue
	};

	for (int i = 0; i < lengthof(expressions); i++)
	{
		if (nodeTag(node) == expressions[i])
			return true;
	}
	return false;
}

/* A copy; what is derived from it goes to that of what it stands among. */
static Node *
derive(Node *node, Derived *around)
{
	Derived		below = {InvalidOid, NOTHING};
	Derived		result;
	Node	   *copy;
	Oid			wanted;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, derive, &below, QTW_IGNORE_JOINALIASES);
	if (IsA(node, List) || (IsA(node, TargetEntry) && !((TargetEntry *) node)->resjunk))
		return expression_tree_mutator(node, derive, around);
	if (!is_expression(node))
		return expression_tree_mutator(node, derive, &below);
	copy = derive_below(node, &below);
	wanted = exprInputCollation(node);
	if (!OidIsValid(wanted))
		wanted = exprCollation(node);
	if (!OidIsValid(wanted) && below.strength == MISMATCH)
		wanted = DEFAULT_COLLATION_OID;		/* nobody needs it, but they must be of one mind */
	if (OidIsValid(wanted) && below.strength != NOTHING && (below.strength == MISMATCH || below.collation != wanted) && say(copy, wanted))
		below = (Derived) {wanted, EXPLICIT};
	result = result_of(copy, &below);
	merge(around, result.collation, result.strength);
	return copy;
}

/* A copy of an expression or a query that is read, written out, with the collations that it has. */
Node *
td_names_collated(Node *expr)
{
	Derived		all = {InvalidOid, NOTHING};

	return derive(expr, &all);
}
