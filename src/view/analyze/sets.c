/*-------------------------------------------------------------------------
 *
 * sets.c
 *		GROUPING SETS, ROLLUP and CUBE as plain groupings, one for each set.
 *
 * NOTES
 *		Of a query with grouping sets the rows are those of its *arms*, all of them
 *		(UNION ALL): for each set the same query, grouped by the keys of the set.
 *		Outside of aggregates a key that is not in the set is null there, as a whole
 *		expression, and grouping() is a constant.
 *
 *		Trees alone; in CurrentMemoryContext.  GROUP BY was resolved before where it
 *		is an entry of the range table (18), and so were the aliases of joins.
 *
 * IDENTIFICATION
 *		src/view/analyze/sets.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_agg.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

typedef struct Arm
{
	const List *set;			/* of int: ressortgroupref */
	List	   *present;		/* of Node *: keys in the set, */
	List	   *missing;		/* and keys of other sets */
} Arm;

/* ---- an arm ---- */

/* A bit for each argument, from the left: 1 = not in the set. */
static Node *
grouping_mask(const GroupingFunc *grouping, const Arm *arm)
{
	int32		mask = 0;
	ListCell   *lc;

	foreach(lc, grouping->refs)
		mask = (mask << 1) | (list_member_int(arm->set, lfirst_int(lc)) ? 0 : 1);
	return (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(mask), false, true);
}

/* The largest expressions first: a key may stand within another one. */
static Node *
say_for_set(Node *node, const Arm *arm)
{
	if (node == NULL)
		return NULL;
	if (list_member(arm->missing, node))
		return (Node *) makeNullConst(exprType(node), exprTypmod(node), exprCollation(node));
	if (list_member(arm->present, node) || (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0))
		return copyObject(node);
	if (IsA(node, GroupingFunc) && ((GroupingFunc *) node)->agglevelsup == 0)
		return grouping_mask((GroupingFunc *) node, arm);
	return expression_tree_mutator(node, say_for_set, (void *) arm);
}

/* What nothing names any more goes. */
static List *
columns_for_set(const List *tlist, const Arm *arm)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, tlist)
	{
		const TargetEntry *tle = lfirst_node(TargetEntry, lc);
		bool		grouped = list_member_int(arm->set, tle->ressortgroupref);
		TargetEntry *column;

		if (tle->resjunk && !grouped)
			continue;
		column = makeTargetEntry((Expr *) say_for_set((Node *) tle->expr, arm), list_length(columns) + 1, tle->resname, tle->resjunk);
		column->ressortgroupref = grouped ? tle->ressortgroupref : 0;
		columns = lappend(columns, column);
	}
	return columns;
}

/* Without keys all rows are one group, also where there is none: that is said by HAVING if by nothing else. */
static void
say_grouped(Query *query)
{
	query->groupingSets = NIL;
	query->groupDistinct = false;
	query->hasAggs = contain_aggs_of_level((Node *) list_make2(query->targetList, query->havingQual), 0);
	if (query->groupClause == NIL && !query->hasAggs && query->havingQual == NULL)
		query->havingQual = makeBoolConst(true, false);
}

static void
group_by_set(Query *query, const Arm *arm)
{
	List	   *clauses = NIL;
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		if (list_member_int(arm->set, lfirst_node(SortGroupClause, lc)->tleSortGroupRef))
			clauses = lappend(clauses, lfirst(lc));
	}
	query->groupClause = clauses;
	query->targetList = columns_for_set(query->targetList, arm);
	query->havingQual = say_for_set(query->havingQual, arm);
	say_grouped(query);
}

/* Two keys that are the same column, by their numbers: ROLLUP (1, 2) over SELECT a AS x, a AS y. */
bool
td_sets_check(const Query *query, TdError *err)
{
	List	   *keys = NIL;
	ListCell   *lc;

	foreach(lc, query->groupingSets ? query->groupClause : NIL)
	{
		Node	   *key = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);

		if (list_member(keys, key))
			return td_refuse(err, TD_NOT_SAME_KEYS, NULL);
		keys = lappend(keys, key);
	}
	return true;
}

/* ---- one set ---- */

static Node *
say_all_present(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, GroupingFunc) && ((GroupingFunc *) node)->agglevelsup == 0)
		return (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(0), false, true);
	return expression_tree_mutator(node, say_all_present, context);
}

/* A query of one set groups as any other.  In place; what groups by more stays as it is. */
void
td_sets_simplify(Query *query)
{
	int			nsets = query->groupingSets ? list_length(expand_grouping_sets(query->groupingSets, query->groupDistinct, -1)) : 0;

	if (query->setOperations || nsets > 1 || (nsets == 0 && query->groupClause == NIL))
		return;
	query->targetList = (List *) say_all_present((Node *) query->targetList, NULL);
	query->havingQual = say_all_present(query->havingQual, NULL);
	if (nsets == 1)
		say_grouped(query);
}

/* ---- several ---- */

/* Is it an expression over keys, so that it could also be taken for another one than that which the user wrote? */
static bool
is_over_keys(Node *key, List *keys)
{
	ListCell   *lc;

	foreach(lc, IsA(key, Var) ? NIL : pull_var_clause(key, PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS))
	{
		if (list_member(keys, lfirst(lc)))
			return true;
	}
	return false;
}

typedef struct Doubts
{
	List	   *keys;
	List	   *folded;			/* those over other keys, as the planner compares them */
} Doubts;

/* Is there something whose value at a set is not plain?  The planner takes for a key also what becomes one by evaluating constants; arguments beside an aggregate are of the group. */
static bool
is_doubtful(Node *node, Doubts *d)
{
	if (node == NULL || list_member(d->keys, node))
		return false;
	if (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0)
		return contain_var_clause((Node *) ((Aggref *) node)->aggdirectargs);
	if (IsA(node, GroupingFunc))
		return false;
	if (IsA(node, SubLink) || IsA(node, WindowFunc))
		return true;
	if (d->folded && !IsA(node, List) && !IsA(node, TargetEntry) && list_member(d->folded, eval_const_expressions(NULL, copyObject(node))))
		return true;
	return expression_tree_walker(node, is_doubtful, d);
}

/* Can it be left out of a set? */
static bool
may_be_null(Node *key)
{
	return contain_vars_of_level(key, 0) && !checkExprHasSubLink(key) && !expression_returns_set(key) && !DomainHasConstraints(exprType(key)) &&
		get_typtype(exprType(key)) != TYPTYPE_PSEUDO;
}

/* The keys, each once; NIL = there is one with which it can't be said. */
static List *
keys_of_sets(const Query *query)
{
	List	   *keys = NIL;
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		Node	   *key = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);

		if (list_member(keys, key) || !may_be_null(key))
			return NIL;
		keys = lappend(keys, key);
	}
	return keys;
}

static bool
can_be_said(const Query *query, List *keys)
{
	Doubts		d = {keys, NIL};
	ListCell   *lc;

	foreach(lc, keys)
	{
		if (is_over_keys(lfirst(lc), keys))
			d.folded = lappend(d.folded, eval_const_expressions(NULL, copyObject(lfirst(lc))));
	}
	return !is_doubtful((Node *) query->targetList, &d) && !is_doubtful(query->havingQual, &d);
}

static Query *
arm_of(const Query *query, const List *set)
{
	Query	   *copy = copyObject((Query *) query);
	Arm			arm = {set};
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		const SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Node	   *key = get_sortgroupclause_expr((SortGroupClause *) clause, query->targetList);

		if (list_member_int(set, clause->tleSortGroupRef))
			arm.present = lappend(arm.present, key);
		else
			arm.missing = lappend(arm.missing, key);
	}
	copy->sortClause = NIL;
	group_by_set(copy, &arm);
	return copy;
}

/* The arms of a query that has nothing above its groups, of Query *; NIL = it can't be said so. */
List *
td_sets_arms(const Query *query)
{
	List	   *sets = expand_grouping_sets(query->groupingSets, query->groupDistinct, TD_MAX_OCCURRENCES);
	List	   *keys = keys_of_sets(query);
	List	   *arms = NIL;
	ListCell   *lc;

	if (sets == NIL || (keys == NIL && query->groupClause) || !can_be_said(query, keys))
		return NIL;
	foreach(lc, sets)
		arms = lappend(arms, arm_of(query, lfirst(lc)));
	return arms;
}
