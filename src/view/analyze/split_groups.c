/*-------------------------------------------------------------------------
 *
 * split_groups.c
 *		The ways to say a query that groups with one more level of subqueries.
 *
 * NOTES
 *		As split_rules.c.
 *
 *		 expanded	set-returning functions and subqueries that are grouped by, made
 *					distinct, or make partitions: the rows with their values, before
 *					that is done
 *		 sets		GROUPING SETS, ROLLUP, CUBE: a part for each set, and all of
 *					them together
 *		 groups		GROUP BY below windows, DISTINCT, and HAVING with subqueries
 *
 * IDENTIFICATION
 *		src/view/analyze/split_groups.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "view/analyze/split_internal.h"

/* ---- groups ---- */

typedef struct Grouped
{
	List	   *exprs;			/* group keys, then aggregates */
	bool		other;			/* something else is read of FROM */
} Grouped;

/* Is all that the subquery reads of FROM columns that are keys?  Within it a larger key could not be told from what the same columns give there. */
static bool
reads_keys(Node *subquery, const Grouped *g)
{
	List	   *vars = NIL;
	ListCell   *lv,
			   *le;

	if (contain_aggs_of_level(subquery, 1) || !td_split_collect(subquery, 0, &vars))
		return false;
	foreach(lv, vars)
	{
		if (!list_member(g->exprs, lfirst(lv)))
			return false;
		foreach(le, g->exprs)
		{
			Node	   *expr = lfirst(le);

			if (!IsA(expr, Var) && !IsA(expr, Aggref) && !IsA(expr, GroupingFunc) && list_member(pull_vars_of_level(expr, 0), lfirst(lv)))
				return false;
		}
	}
	return true;
}

static bool
collect_grouped(Node *node, Grouped *g)
{
	if (node == NULL || list_member(g->exprs, node))
		return false;
	if ((IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0) || (IsA(node, GroupingFunc) && ((GroupingFunc *) node)->agglevelsup == 0))
	{
		g->exprs = lappend(g->exprs, node);
		return false;
	}
	g->other = g->other || IsA(node, Var) || IsA(node, GroupingFunc) ||
		(IsA(node, SubLink) && !reads_keys(((SubLink *) node)->subselect, g));
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, collect_grouped, g);
}

/* Has it more than groups, which can stand above them? */
static bool
has_more(const Query *query)
{
	return query->hasWindowFuncs || query->distinctClause || query->hasTargetSRFs || checkExprHasSubLink(query->havingQual) ||
		checkExprHasSubLink((Node *) query->targetList);
}

/* The groups as a subquery, which it reads then; HAVING with subqueries is WHERE.  NULL = it reads more than groups. */
static RangeTblEntry *
put_groups_below(Query *query)
{
	Grouped		g = {NIL, false};
	Query	   *part;
	bool		sublinks = checkExprHasSubLink(query->havingQual);
	int			n = 0;
	ListCell   *lc;

	foreach(lc, query->groupClause)
		g.exprs = lappend(g.exprs, get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList));
	collect_grouped((Node *) query->targetList, &g);
	if (sublinks)
		collect_grouped(query->havingQual, &g);
	if (g.other || g.exprs == NIL || expression_returns_set((Node *) g.exprs))
		return NULL;
	part = copyObject(query);
	td_split_strip(part);
	part->groupClause = copyObject(query->groupClause);
	part->groupingSets = copyObject(query->groupingSets);
	part->groupDistinct = query->groupDistinct;
	part->havingQual = sublinks ? NULL : copyObject(query->havingQual);
	part->hasAggs = true;
	part->targetList = td_split_columns(g.exprs, query);
	foreach(lc, part->groupClause)
		list_nth_node(TargetEntry, part->targetList, n++)->ressortgroupref = lfirst_node(SortGroupClause, lc)->tleSortGroupRef;
	td_split_make_storable(part);
	td_split_note_sublinks(part);
	query->targetList = (List *) td_split_replace((Node *) query->targetList, g.exprs, 0, 1);
	td_split_read_only(query, td_split_entry(part));
	query->jointree->quals = sublinks ? td_split_replace(query->havingQual, g.exprs, 0, 1) : NULL;
	query->groupClause = NIL;
	query->groupingSets = NIL;
	query->groupDistinct = false;
	query->havingQual = NULL;
	query->hasAggs = false;
	query->constraintDeps = NIL;
	td_split_note_sublinks(query);
	return linitial(query->rtable);
}

Query *
td_split_groups(Query *query, int variant, List **holes)
{
	RangeTblEntry *groups;

	if (variant > 0 || query->setOperations || query->groupingSets || !td_split_is_grouped(query) || td_split_is_cut(query) ||
		!has_more(query))
		return NULL;
	groups = put_groups_below(query);
	if (groups == NULL)
		return NULL;
	td_split_add_hole(holes, groups, NIL);
	return query;
}

/* ---- sets ---- */

/* All rows of these queries. */
static Query *
union_all(const List *queries)
{
	Query	   *all = makeNode(Query);
	Node	   *tree = NULL;
	ListCell   *lc,
			   *lt;

	all->commandType = CMD_SELECT;
	all->canSetTag = true;
	all->jointree = makeFromExpr(NIL, NULL);
	foreach(lc, linitial_node(Query, queries)->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			all->targetList = lappend(all->targetList, makeTargetEntry((Expr *) makeVarFromTargetEntry(1, tle), tle->resno, tle->resname, false));
	}
	foreach(lc, queries)
	{
		RangeTblRef *ref = makeNode(RangeTblRef);
		SetOperationStmt *op = makeNode(SetOperationStmt);

		all->rtable = lappend(all->rtable, td_split_entry(lfirst(lc)));
		ref->rtindex = list_length(all->rtable);
		op->op = SETOP_UNION;
		op->all = true;
		op->larg = tree;
		op->rarg = (Node *) ref;
		foreach(lt, all->targetList)
		{
			Node	   *column = (Node *) lfirst_node(TargetEntry, lt)->expr;

			op->colTypes = lappend_oid(op->colTypes, exprType(column));
			op->colTypmods = lappend_int(op->colTypmods, exprTypmod(column));
			op->colCollations = lappend_oid(op->colCollations, exprCollation(column));
		}
		tree = tree ? (Node *) op : (Node *) ref;
	}
	all->setOperations = tree;
	return all;
}

/* Each arm is a part, as are the branches of any set operation.  What stands above the groups reads all of them. */
Query *
td_split_sets(Query *query, int variant, List **holes)
{
	RangeTblEntry *groups = NULL;
	List	   *arms;
	Query	   *all;

	if (variant > 0 || query->setOperations || !query->groupingSets || td_split_is_cut(query))
		return NULL;
	if (has_more(query))
	{
		groups = put_groups_below(query);
		if (groups == NULL)
			return NULL;
	}
	arms = td_sets_arms(groups ? groups->subquery : query);
	if (list_length(arms) < 2)
		return NULL;
	all = union_all(arms);
	(void) td_split_branches(all, 0, holes);
	if (groups == NULL)
		return all;
	groups->subquery = all;
	return query;
}

/* ---- expanded ---- */

typedef struct Expanded
{
	List	   *exprs;			/* those that return sets, then columns */
	bool		other;			/* what else reads FROM can't be above */
} Expanded;

static bool
collect_expanded(Node *node, Expanded *e)
{
	if (node == NULL || list_member(e->exprs, node))
		return false;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == 0)
	{
		e->other = e->other || ((Var *) node)->varattno <= 0;
		e->exprs = lappend(e->exprs, node);
		return false;
	}
	e->other = e->other || (IsA(node, SubLink) && td_split_reads_outer(castNode(Query, ((SubLink *) node)->subselect)));
	if (IsA(node, Query))
		return false;
	return expression_tree_walker(node, collect_expanded, e);
}

/* What makes groups, distinct rows or partitions. */
static List *
clauses_of(const Query *query)
{
	List	   *clauses = NIL;
	ListCell   *lc;

	if (td_split_is_grouped(query))
		return query->groupClause;
	foreach(lc, query->windowClause)
		clauses = list_concat(clauses, lfirst_node(WindowClause, lc)->partitionClause);
	return query->windowClause ? clauses : query->distinctClause;
}

/*
 * GROUP BY unnest(x), SELECT DISTINCT unnest(x): it makes rows first.  All that do so stand in one list before and after, as they go side by side.  Of
 * GROUP BY (SELECT ...) the rows with its values.
 */
Query *
td_split_expanded(Query *query, int variant, List **holes)
{
	List	   *clauses = clauses_of(query);
	Expanded	e = {NIL, false};
	List	   *above;
	List	   *more = NIL;
	Query	   *part;
	ListCell   *lc;

	if (variant > 0 || query->setOperations || !(query->hasTargetSRFs || query->hasSubLinks) || query->constraintDeps || td_split_is_cut(query) ||
		query->jointree->fromlist == NIL)
		return NULL;
	foreach(lc, clauses)
	{
		Node	   *key = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);

		if (expression_returns_set(key) || (!query->groupingSets && checkExprHasSubLink(key)))
			e.exprs = list_append_unique(e.exprs, key);
	}
	if (e.exprs == NIL)
		return NULL;
	above = list_make2(query->targetList, query->havingQual);
	collect_expanded((Node *) above, &e);
	if (e.other)
		return NULL;
	foreach(lc, td_split_from_entries((Node *) query->jointree))
		more = list_concat(more, td_split_keys_of(rt_fetch(lfirst_int(lc), query->rtable), lfirst_int(lc), e.exprs));
	part = copyObject(query);
	td_split_strip(part);
	part->targetList = td_split_columns(e.exprs, query);
	part->hasTargetSRFs = expression_returns_set((Node *) e.exprs);
	td_split_note_sublinks(part);
	above = (List *) td_split_replace((Node *) above, e.exprs, 0, 1);
	query->targetList = linitial(above);
	query->havingQual = lsecond(above);
	query->hasTargetSRFs = expression_returns_set((Node *) query->targetList);
	td_split_read_only(query, td_split_entry(part));
	td_split_note_sublinks(query);
	td_split_add_hole(holes, linitial(query->rtable), more);
	return query;
}
