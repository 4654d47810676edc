/*-------------------------------------------------------------------------
 *
 * ranges.c
 *		Occurrences that are joined by "x < v" alone.
 *
 * NOTES
 *		WHERE balance > (SELECT avg(balance) ...): the average is a table of one row.
 *		When it moves from v to v', nothing else of it being read, only rows with
 *		x between the two can come or go (plan/README.md).
 *
 *		Only types of PostgreSQL's own without a collation, and the operators of
 *		their default order: those that BETWEEN and ORDER BY mean in pg_catalog.
 *
 * IDENTIFICATION
 *		src/view/analyze/ranges.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

/* Is it read by anything but conditions? */
static bool
is_shown(const TdShape *shape, Index rti)
{
	List	   *exprs = NIL;

	if (shape->grouped)
	{
		exprs = list_copy(shape->keys);
		for (int i = 0; i < shape->naggregates; i++)
			exprs = lappend(exprs, shape->aggregates[i].aggref);
	}
	else
		exprs = shape->outputs;
	return bms_is_member(rti, pull_varnos(NULL, (Node *) exprs));
}

/* The only condition that joins it to others; NULL = there are none, or several. */
static Node *
only_condition(const TdShape *shape, Index rti)
{
	Node	   *only = NULL;
	ListCell   *lc;

	foreach(lc, shape->quals)
	{
		Bitmapset  *reads = pull_varnos(NULL, lfirst(lc));

		if (!bms_is_member(rti, reads) || bms_membership(reads) == BMS_SINGLETON)
			continue;
		if (only)
			return NULL;
		only = lfirst(lc);
	}
	return only;
}

/* Is "left op right" an order of plain values, as PostgreSQL has it by default? */
static bool
is_order(const OpExpr *op)
{
	Oid			type = exprType(linitial(op->args));
	int			strategy = get_op_opfamily_strategy(op->opno, lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf);

	return type == exprType(lsecond(op->args)) && type < FirstNormalObjectId && !OidIsValid(get_typcollation(type)) && get_typtype(type) == TYPTYPE_BASE &&
		strategy != 0 && strategy != BTEqualStrategyNumber && op_volatile(op->opno) == PROVOLATILE_IMMUTABLE;
}

bool
td_find_range(const TdShape *shape, const TdOccurrence *o, TdRange *range)
{
	OpExpr	   *op = (OpExpr *) only_condition(shape, o->rti);
	int			other;

	if (op == NULL || !IsA(op, OpExpr) || list_length(op->args) != 2 || !is_order(op) || is_shown(shape, o->rti))
		return false;
	for (int i = 0; i < 2; i++)
	{
		Var		   *bound = list_nth(op->args, i);
		Node	   *value = list_nth(op->args, 1 - i);

		if (IsA(bound, Var) && bound->varno == o->rti && bms_get_singleton_member(pull_varnos(NULL, value), &other) && other != o->rti)
		{
			*range = (TdRange) {value, bound};
			return true;
		}
	}
	return false;
}

/* The columns of relid by which such ranges are sought. */
Bitmapset *
td_range_columns(const TdShape *shape, Oid relid)
{
	Bitmapset  *columns = NULL;
	TdRange		range;

	for (int i = 0; i < shape->noccurrences && !shape->keyed; i++)
	{
		if (!td_find_range(shape, &shape->occurrences[i], &range) || !IsA(range.value, Var))
			continue;
		for (int j = 0; j < shape->noccurrences; j++)
		{
			if (shape->occurrences[j].rti == ((Var *) range.value)->varno && shape->occurrences[j].relid == relid)
				columns = bms_add_member(columns, ((Var *) range.value)->varattno);
		}
	}
	return columns;
}
