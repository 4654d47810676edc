/*-------------------------------------------------------------------------
 *
 * numbers.c
 *		What is known of all values of a numeric expression: its display scale,
 *		and whether they may be NaN or infinite.
 *
 * NOTES
 *		The display scale of sum() is the greatest among its inputs.  Where all
 *		have the same it needs no bookkeeping.  Only what is certain is said:
 *		values of a type with a scale have that scale and are not infinite;
 *		products add their scales, sums take the greater one.
 *
 * IDENTIFICATION
 *		src/view/plan/numbers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/numeric.h"

#include "view/plan/plan_internal.h"

#define MAX_ROUND_SCALE 1000	/* round() and trunc() obey at least up to here */

static const TdNumbers unknown = {-1, true, true};

/* What a function makes of the numbers of its arguments. */
typedef TdNumbers (*Rule) (const TdNumbers *a, const TdNumbers *b, List *args);

static TdNumbers
from_integer(const TdNumbers *a, const TdNumbers *b, List *args)
{
	return (TdNumbers) {0, false, false};
}

static TdNumbers
same(const TdNumbers *a, const TdNumbers *b, List *args)
{
	return *a;
}

/* Infinities of both signs add up to NaN. */
static TdNumbers
both(const TdNumbers *a, const TdNumbers *b, int scale)
{
	TdNumbers	r;

	r.infinite = a->infinite || b->infinite;
	r.nan = a->nan || b->nan || r.infinite;
	r.scale = a->scale < 0 || b->scale < 0 ? -1 : scale;
	return r;
}

static TdNumbers
add(const TdNumbers *a, const TdNumbers *b, List *args)
{
	return both(a, b, Max(a->scale, b->scale));
}

static TdNumbers
multiply(const TdNumbers *a, const TdNumbers *b, List *args)
{
	return both(a, b, a->scale + b->scale);
}

static TdNumbers
divide(const TdNumbers *a, const TdNumbers *b, List *args)
{
	return both(a, b, -1);
}

static TdNumbers
whole(const TdNumbers *a, const TdNumbers *b, List *args)
{
	return (TdNumbers) {0, a->nan, a->infinite};
}

/* round(x, 2) and trunc(x, 2) pad as well. */
static TdNumbers
to_scale(const TdNumbers *a, const TdNumbers *b, List *args)
{
	Const	   *c = lsecond(args);
	int32		scale = IsA(c, Const) && !c->constisnull ? DatumGetInt32(c->constvalue) : MAX_ROUND_SCALE + 1;

	return (TdNumbers) {scale <= MAX_ROUND_SCALE ? Max(scale, 0) : -1, a->nan, a->infinite};
}

static const struct
{
	Oid			function;
	Rule		rule;
}			rules[] =
{
	{F_NUMERIC_INT2, from_integer},
	{F_NUMERIC_INT4, from_integer},
	{F_NUMERIC_INT8, from_integer},
	{F_NUMERIC_UPLUS, same},
	{F_NUMERIC_UMINUS, same},
	{F_NUMERIC_ABS, same},
	{F_ABS_NUMERIC, same},
	{F_NUMERIC_ADD, add},
	{F_NUMERIC_SUB, add},
	{F_NUMERIC_MUL, multiply},
	{F_NUMERIC_DIV, divide},
	{F_ROUND_NUMERIC, whole},
	{F_TRUNC_NUMERIC, whole},
	{F_CEIL_NUMERIC, whole},
	{F_CEILING_NUMERIC, whole},
	{F_FLOOR_NUMERIC, whole},
	{F_ROUND_NUMERIC_INT4, to_scale},
	{F_TRUNC_NUMERIC_INT4, to_scale},
};

static TdNumbers
of_call(Oid function, List *args)
{
	TdNumbers	a = args != NIL ? td_numbers_of(linitial(args)) : unknown;
	TdNumbers	b = list_length(args) > 1 ? td_numbers_of(lsecond(args)) : unknown;

	for (int i = 0; i < lengthof(rules); i++)
		if (rules[i].function == function)
			return rules[i].rule(&a, &b, args);
	return unknown;
}

static TdNumbers
of_const(Const *c)
{
	Numeric		n;

	if (c->constisnull || c->consttype != NUMERICOID)
		return unknown;
	n = DatumGetNumeric(c->constvalue);
	if (numeric_is_nan(n) || numeric_is_inf(n))
		return unknown;
	return (TdNumbers) {DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(n))), false, false};
}

/* One of several; a NULL among them is no number. */
static TdNumbers
of_branches(List *branches)
{
	TdNumbers	r = unknown;
	bool		first = true;
	ListCell   *lc;

	foreach(lc, branches)
	{
		Node	   *branch = lfirst(lc);
		TdNumbers	n;

		if (branch == NULL || (IsA(branch, Const) && ((Const *) branch)->constisnull))
			continue;
		n = td_numbers_of(branch);
		if (first)
			r = n;
		r.nan |= n.nan;
		r.infinite |= n.infinite;
		r.scale = r.scale == n.scale ? r.scale : -1;
		first = false;
	}
	return r;
}

static TdNumbers
of_case(CaseExpr *c)
{
	List	   *branches = list_make1(c->defresult);
	ListCell   *lc;

	foreach(lc, c->args)
		branches = lappend(branches, lfirst_node(CaseWhen, lc)->result);
	return of_branches(branches);
}

/* What is known of the values of an expression of type numeric. */
TdNumbers
td_numbers_of(Node *expr)
{
	int32		typmod = exprTypmod(expr);

	if (exprType(expr) != NUMERICOID)
		return unknown;
	if (typmod >= (int32) VARHDRSZ) /* the scale has 11 bits, with a sign */
		return (TdNumbers) {Max((((typmod - VARHDRSZ) & 0x7ff) ^ 1024) - 1024, 0), true, false};
	switch (nodeTag(expr))
	{
		case T_Const:
			return of_const((Const *) expr);
		case T_FuncExpr:
			return of_call(((FuncExpr *) expr)->funcid, ((FuncExpr *) expr)->args);
		case T_OpExpr:
			return of_call(((OpExpr *) expr)->opfuncid, ((OpExpr *) expr)->args);
		case T_RelabelType:
			return td_numbers_of((Node *) ((RelabelType *) expr)->arg);
		case T_CoalesceExpr:
			return of_branches(((CoalesceExpr *) expr)->args);
		case T_MinMaxExpr:
			return of_branches(((MinMaxExpr *) expr)->args);
		case T_CaseExpr:
			return of_case((CaseExpr *) expr);
		default:
			return unknown;
	}
}
