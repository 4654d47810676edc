/*-------------------------------------------------------------------------
 *
 * keyed_keys.c
 *		The key of a keyed query, and how each occurrence leads to it.
 *
 * NOTES
 *		A candidate is a list of expressions of the topmost level by which its
 *		result falls into parts.  An occurrence is *bound* when each of them
 *		follows from its own columns: directly, or by equalities.  Some occurrence
 *		must be; the others are led to one by conjuncts, breadth first.  An
 *		occurrence that is not led anywhere touches every key.
 *
 *		Among candidates: those by which not every table touches every key; then those
 *		that are never null-extended; then the fewest such occurrences; then the one that determines most rows
 *		of FROM, as its parts are smallest; then most expressions; then the one that
 *		stands in the output; then most occurrences bound.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_keys.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/analyze/keyed_internal.h"

/* ---- outputs ---- */

/* The column of the result that always equals the expression; 0 = none. */
int
td_keyed_output_of(const TdKeyedWalk *walk, Node *expr)
{
	int			number = 0;
	ListCell   *lc,
			   *le;

	foreach(lc, walk->top->query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			continue;
		number++;
		if (equal(tle->expr, expr))
			return number;
		foreach(le, walk->equalities)
		{
			const TdTopEquality *e = lfirst(le);
			bool		same = (equal(e->left, expr) && equal(e->right, tle->expr)) || (equal(e->right, expr) && equal(e->left, tle->expr));

			if (same && !e->full && !walk->top->outer_joins && e->reduces && !walk->top->query->groupClause)
				return number;
		}
	}
	return 0;
}

static int
count_outputs(const TdKeyedWalk *walk, const List *exprs)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, exprs)
		n += td_keyed_output_of(walk, lfirst(lc)) ? 1 : 0;
	return n;
}

/* ---- candidates ---- */

static bool
type_can_be_key(Oid type)
{
	Oid			base = getBaseType(type);

	return get_typtype(base) != TYPTYPE_PSEUDO && get_typtype(base) != TYPTYPE_COMPOSITE && td_type_ordered(base);
}

/* Does every table touch every key? */
static bool
all_full(const TdKeyedWalk *walk, const TdCandidate *c)
{
	for (int i = 0; i < walk->shape->noccurrences; i++)
	{
		bool		full = false;

		for (int j = 0; j < walk->shape->noccurrences; j++)
			full = full || (walk->shape->occurrences[i].relid == walk->shape->occurrences[j].relid && c->next[j] < 0);
		if (!full)
			return false;
	}
	return true;
}

/* Enters it among the candidates, if the key can be found from some occurrence at all. */
static void
consider(const TdKeyedWalk *walk, List **candidates, List *exprs, int nullable)
{
	TdCandidate  *c = palloc0(sizeof(TdCandidate));
	int			reached = 0;
	int			bound = 0;
	ListCell   *lc;

	foreach(lc, *candidates)
	{
		if (equal(((TdCandidate *) lfirst(lc))->exprs, exprs) && ((TdCandidate *) lfirst(lc))->nullable == nullable)
			return;
	}
	if (exprs == NIL || list_length(exprs) > TD_MAX_GROUP_KEYS)
		return;
	c->exprs = exprs;
	c->nullable = nullable;
	td_keyed_bind(walk, c);
	td_keyed_find_paths(walk, c);
	for (int n = 1; n <= walk->shape->noccurrences; n++)
	{
		reached += c->next[n - 1] >= 0 ? 1 : 0;
		bound += c->next[n - 1] == 0 ? 1 : 0;
	}
	if (bound == 0)
		return;
	c->scores[0] = !all_full(walk, c);
	c->scores[1] = nullable == 0;
	c->scores[2] = reached;
	c->scores[3] = bms_num_members(td_keyed_determined(walk, c));
	c->scores[4] = list_length(exprs);
	c->scores[5] = count_outputs(walk, exprs) == list_length(exprs);
	c->scores[6] = bound;
	*candidates = lappend(*candidates, c);
}

/* Those of the expressions that are bound to n; where they hold a unique key of it, that one alone. */
static void
consider_bound(const TdKeyedWalk *walk, List **candidates, const TdCandidate *all, int n)
{
	List	   *chosen = NIL;
	ListCell   *lc,
			   *lu;

	for (int i = 0; i < list_length(all->exprs); i++)
	{
		if (td_keyed_bound_to(all, n, i) && list_length(chosen) < TD_MAX_GROUP_KEYS)
			chosen = lappend(chosen, list_nth(all->exprs, i));
	}
	foreach(lu, td_unique_keys(walk->shape->occurrences[n - 1].relid, walk->shape->occurrences[n - 1].inh))
	{
		Bitmapset  *missing = bms_copy(lfirst(lu));
		List	   *exprs = NIL;
		int			i = 0;

		foreach(lc, all->bound[n - 1])
		{
			Var		   *var = lfirst(lc);

			if (var && IsA(var, Var) && bms_is_member(var->varattno, missing))
			{
				missing = bms_del_member(missing, var->varattno);
				exprs = lappend(exprs, list_nth(all->exprs, i));
			}
			i++;
		}
		if (bms_is_empty(missing))
		{
			consider(walk, candidates, exprs, 0);
			return;
		}
	}
	consider(walk, candidates, chosen, 0);
}

/*
 * Those of an occurrence that may be null-extended, all of which are null then: the key of nulls stands for rows of other tables, too, so any change
 * touches it.  For all other keys the outer joins are inner ones.
 */
static void
consider_nullable(const TdKeyedWalk *walk, List **candidates, const List *exprs, int n)
{
	List	   *chosen = NIL;
	ListCell   *lc;

	foreach(lc, exprs)
	{
		List	   *resolved = td_keyed_resolve(walk->top, lfirst(lc));
		int			only;

		if (list_length(resolved) == 1 && bms_get_singleton_member(td_keyed_reads(linitial(resolved)), &only) && only == n &&
			!contain_nonstrict_functions(linitial(resolved)))
			chosen = lappend(chosen, lfirst(lc));
	}
	consider(walk, candidates, chosen, n);
}

/* Parts of a list of expressions, each of which could be in a key. */
static void
consider_parts(const TdKeyedWalk *walk, List **candidates, List *exprs)
{
	TdCandidate	all = {0};
	ListCell   *lc;

	foreach(lc, exprs)
	{
		if (type_can_be_key(exprType(lfirst(lc))))
			all.exprs = list_append_unique(all.exprs, lfirst(lc));
	}
	td_keyed_bind(walk, &all);
	for (int n = 1; n <= walk->shape->noccurrences; n++)
	{
		consider_bound(walk, candidates, &all, n);
		if (bms_is_member(n, walk->top->nullable) && !walk->top->query->setOperations)
			consider_nullable(walk, candidates, all.exprs, n);
	}
}

static Node *
column_of(const TdKeyedWalk *walk, int rti, AttrNumber attnum)
{
	const RangeTblEntry *rte = rt_fetch(rti, walk->top->query->rtable);
	Oid			type,
				collation;
	int32		typmod;

	if (rte->rtekind == RTE_RELATION)
		get_atttypetypmodcoll(rte->relid, attnum, &type, &typmod, &collation);
	else
	{
		Node	   *expr = (Node *) get_tle_by_resno(rte->subquery->targetList, attnum)->expr;

		type = exprType(expr);
		typmod = exprTypmod(expr);
		collation = exprCollation(expr);
	}
	return (Node *) makeVar(rti, attnum, type, typmod, collation, 0);
}

static List *
columns_of(const TdKeyedWalk *walk, int rti, const Bitmapset *attnums)
{
	List	   *columns = NIL;
	int			attnum = -1;

	while ((attnum = bms_next_member(attnums, attnum)) >= 0)
		columns = lappend(columns, column_of(walk, rti, attnum));
	return columns;
}

/* Those of short types, if there are any: the key is indexed. */
static Bitmapset *
short_columns(const TdOccurrence *o)
{
	Bitmapset  *columns = NULL;
	int			attnum = -1;

	while ((attnum = bms_next_member(o->columns, attnum)) >= 0)
	{
		if (get_typlen(get_atttype(o->relid, attnum)) > 0)
			columns = bms_add_member(columns, attnum);
	}
	return columns ? columns : o->columns;
}

static bool
all_can_be_keys(const List *exprs)
{
	ListCell   *lc;

	foreach(lc, exprs)
	{
		if (!type_can_be_key(exprType(lfirst(lc))))
			return false;
	}
	return true;
}

/* By its unique keys; where it has none that could be a key, by what else it has. */
static void
consider_table(const TdKeyedWalk *walk, List **candidates, int rti, const TdOccurrence *o)
{
	List	   *unique = td_unique_keys(o->relid, o->inh);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, unique)
	{
		List	   *columns = columns_of(walk, rti, lfirst(lc));

		consider_parts(walk, candidates, columns);
		found = found || all_can_be_keys(columns);
	}
	if (!found)
		consider_parts(walk, candidates, columns_of(walk, rti, short_columns(o)));
}

/* Of a plain SELECT: each table that is preserved, and each subquery. */
static void
consider_from(const TdKeyedWalk *walk, List **candidates)
{
	const TdLevel *top = walk->top;
	ListCell   *lc;

	for (int rti = 1; rti <= list_length(top->query->rtable); rti++)
	{
		if (top->occurrence[rti - 1])
			consider_table(walk, candidates, rti, &walk->shape->occurrences[top->occurrence[rti - 1] - 1]);
		else if (top->child[rti - 1])
		{
			Bitmapset  *outputs = NULL;

			foreach(lc, top->child[rti - 1]->query->targetList)
			{
				if (!lfirst_node(TargetEntry, lc)->resjunk)
					outputs = bms_add_member(outputs, lfirst_node(TargetEntry, lc)->resno);
			}
			consider_parts(walk, candidates, columns_of(walk, rti, outputs));
		}
	}
	foreach(lc, walk->equalities)
	{
		const TdTopEquality *e = lfirst(lc);
		CoalesceExpr *merged;

		if (!e->full)
			continue;
		merged = makeNode(CoalesceExpr);
		merged->coalescetype = exprType(e->left);
		merged->coalescecollid = exprCollation(e->left);
		merged->args = list_make2(e->left, e->right);
		merged->location = -1;
		consider_parts(walk, candidates, list_make1(merged));
	}
}

/* The expressions by which the topmost level makes groups, or its like. */
static List *
grouping_expressions(const Query *query)
{
	List	   *clauses = query->groupClause ? query->groupClause : query->distinctClause ? query->distinctClause :
		query->windowClause ? linitial_node(WindowClause, query->windowClause)->partitionClause : NIL;
	List	   *exprs = NIL;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);

		if (td_keyed_column_binds(query, expr))
			exprs = list_append_unique(exprs, expr);
	}
	return exprs;
}

bool
td_keyed_has_groups(const Query *query)
{
	return query->groupClause || query->groupingSets || query->hasAggs || query->havingQual || query->distinctClause || query->windowClause;
}

/* Columns of a set operation that one table gives in each branch: tried from the parts of the first branch. */
static void
consider_set(const TdKeyedWalk *walk, List **candidates)
{
	List	   *exprs = NIL;
	ListCell   *lc;

	foreach(lc, walk->top->query->targetList)
	{
		if (!lfirst_node(TargetEntry, lc)->resjunk)
			exprs = lappend(exprs, lfirst_node(TargetEntry, lc)->expr);
	}
	consider_parts(walk, candidates, exprs);
	foreach(lc, exprs)
		consider_parts(walk, candidates, list_make1(lfirst(lc)));
}

/* The first outputs, where each can be in a key; NIL = they can't. */
static List *
leading_outputs(const TdKeyedWalk *walk)
{
	List	   *exprs = NIL;

	for (int i = 0; i < walk->leading; i++)
	{
		Node	   *expr = (Node *) list_nth_node(TargetEntry, walk->top->query->targetList, i)->expr;

		if (!type_can_be_key(exprType(expr)))
			return NIL;
		exprs = lappend(exprs, expr);
	}
	return exprs;
}

static bool
is_better(const TdCandidate *a, const TdCandidate *b)
{
	for (int i = 0; i < lengthof(a->scores); i++)
	{
		if (a->scores[i] != b->scores[i])
			return a->scores[i] > b->scores[i];
	}
	return false;
}

static bool
refuse_set(const Query *query, TdError *err)
{
	Oid			type = InvalidOid;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		type = exprType((Node *) lfirst_node(TargetEntry, lc)->expr);
		if (type_can_be_key(type))
			return td_refuse(err, TD_NOT_KEYLESS_SET, NULL);
	}
	return td_refuse(err, TD_NOT_UNORDERED_SET, format_type_be(type));
}

static bool
reads_functions_only(const Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RTEKind		kind = lfirst_node(RangeTblEntry, lc)->rtekind;

		if (kind == RTE_RELATION || kind == RTE_SUBQUERY)
			return false;
	}
	return true;
}

static bool
refuse_keyless(const Query *query, TdError *err)
{
	List	   *exprs = td_keyed_has_groups(query) ? grouping_expressions(query) : NIL;
	ListCell   *lc;

	foreach(lc, exprs)
	{
		if (!type_can_be_key(exprType(lfirst(lc))))
			return td_refuse(err, TD_NOT_UNORDERED_KEY, format_type_be(exprType(lfirst(lc))));
	}
	if (query->setOperations)
		return refuse_set(query, err);
	if (query->windowClause && exprs == NIL)
		return td_refuse(err, TD_NOT_WHOLE_WINDOW, NULL);
	if (query->groupingSets && exprs == NIL)
		return td_refuse(err, TD_NOT_GROUPING_SETS, NULL);
	if (query->hasAggs && !query->groupClause)
		return td_refuse(err, TD_NOT_WHOLE_AGGREGATE, NULL);
	if (query->groupClause || query->groupingSets || query->distinctClause)
		return td_refuse(err, TD_NOT_KEYLESS_GROUPS, NULL);
	if (query->jointree->fromlist == NIL)
		return td_refuse(err, TD_NOT_KEYLESS_VALUES, NULL);
	if (!query->windowClause && reads_functions_only(query))
		return td_refuse(err, TD_NOT_KEYLESS_FUNCTIONS, NULL);
	return td_refuse(err, query->windowClause ? TD_NOT_WHOLE_WINDOW : TD_NOT_KEYLESS, NULL);
}

const TdCandidate *
td_keyed_best(const TdKeyedWalk *walk, TdError *err)
{
	const Query *query = walk->top->query;
	const TdCandidate *best = NULL;
	List	   *candidates = NIL;
	ListCell   *lc;

	if (walk->leading > 0)
		consider(walk, &candidates, leading_outputs(walk), 0);
	else if (query->setOperations)
		consider_set(walk, &candidates);
	else if (td_keyed_has_groups(query))
		consider_parts(walk, &candidates, grouping_expressions(query));
	else
		consider_from(walk, &candidates);
	foreach(lc, candidates)
	{
		if (best == NULL || is_better(lfirst(lc), best))
			best = lfirst(lc);
	}
	if (best == NULL)
		refuse_keyless(query, err);
	else if (!best->scores[0])
	{
		if (query->setOperations)
			refuse_set(query, err);
		else
			td_refuse(err, TD_NOT_ALL_FULL, NULL);
		best = NULL;
	}
	return best;
}
