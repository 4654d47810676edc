/*-------------------------------------------------------------------------
 *
 * split_joins.c
 *		A join within a join as a part.
 *
 * NOTES
 *		As split.c.  `(a FULL JOIN b ON ...) FULL JOIN c ON ...`: what of a and b
 *		goes with a row of c is known by no equality of one of them alone, but by
 *		one of their join.  So is what a LATERAL subquery reads of the first rows
 *		of another one.
 *
 *		The rows of a join are the same wherever it stands.
 *
 * IDENTIFICATION
 *		src/view/analyze/split_joins.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat/compat.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "view/analyze/split_internal.h"

/* ---- where ---- */

static Node **
find_below(Node **place, bool within, int *n)
{
	JoinExpr   *join = (JoinExpr *) *place;
	Node	  **found;

	if (!IsA(join, JoinExpr))
		return NULL;
	if (within && (*n)-- == 0)
		return place;
	found = find_below(&join->larg, true, n);
	return found ? found : find_below(&join->rarg, true, n);
}

/* The n-th join that is not all of FROM, those above first. */
static Node **
find_join(FromExpr *from, int n)
{
	ListCell   *lc;

	foreach(lc, from->fromlist)
	{
		Node	  **found = find_below((Node **) &lfirst(lc), list_length(from->fromlist) > 1, &n);

		if (found)
			return found;
	}
	return NULL;
}

/* ---- what it reads, and what reads it ---- */

/* What an entry may read of others of its level. */
static List *
read_by(const RangeTblEntry *rte)
{
	return list_make4(rte->lateral ? rte->subquery : NULL, rte->functions, rte->values_lists, rte->tablefunc);
}

/* Is it a query by itself? */
static bool
stands_alone(const Query *query, Node *join, const List *entries)
{
	List	   *all = list_make1(join);
	List	   *vars = NIL;
	ListCell   *lc;

	foreach(lc, entries)
		all = lappend(all, read_by(rt_fetch(lfirst_int(lc), query->rtable)));
	(void) td_split_collect((Node *) all, 0, &vars);
	foreach(lc, vars)
	{
		if (!list_member_int(entries, lfirst_node(Var, lc)->varno))
			return false;
	}
	return true;
}

typedef struct Sides
{
	const List *entries;
	List	   *exprs;
} Sides;

/* Is it computed from them alone? */
static bool
is_of(Node *expr, const List *entries)
{
	List	   *vars = NIL;
	ListCell   *lc;

	if (checkExprHasSubLink(expr) || contain_volatile_functions(expr))
		return false;
	(void) td_split_collect(expr, 0, &vars);
	foreach(lc, vars)
	{
		if (!list_member_int(entries, lfirst_node(Var, lc)->varno))
			return false;
	}
	return vars != NIL && !contain_vars_of_level(expr, 1);
}

/* Sides of equalities that are computed: as columns an index finds them. */
static bool
note_sides(Node *node, Sides *s)
{
	ListCell   *lc;

	if (node == NULL || IsA(node, SubLink))
		return false;
	if (IsA(node, OpExpr) && list_length(((OpExpr *) node)->args) == 2 && op_mergejoinable(((OpExpr *) node)->opno, exprType(linitial(((OpExpr *) node)->args))))
	{
		foreach(lc, ((OpExpr *) node)->args)
		{
			if (!IsA(lfirst(lc), Var) && is_of(lfirst(lc), s->entries))
				s->exprs = list_append_unique(s->exprs, lfirst(lc));
		}
	}
	return expression_tree_walker(node, note_sides, s);
}

/* The columns of these entries that all but the join reads, which is gone from FROM by now; false = rows as a whole, too. */
static bool
columns_read(Query *query, const List *entries, List **vars)
{
	List	   *all = list_make3(query->targetList, query->havingQual, query->jointree);
	Sides		sides = {entries, NIL};
	bool		plain = true;
	ListCell   *lc;
	int			rti = 0;

	foreach(lc, query->rtable)
	{
		if (!list_member_int(entries, ++rti))
			all = lappend(all, read_by(lfirst_node(RangeTblEntry, lc)));
	}
	foreach(lc, entries)
		plain = td_split_collect((Node *) all, lfirst_int(lc), vars) && plain;
	(void) note_sides((Node *) query->jointree, &sides);
	*vars = list_concat(*vars, sides.exprs);
	return plain;
}

/* In the place of the first of the entries. */
static void
read_part(Query *query, const List *entries, List *vars)
{
	Index		part = linitial_int(entries);
	ListCell   *lc;
	int			rti = 0;

	query->targetList = (List *) td_split_replace((Node *) query->targetList, vars, 0, part);
	query->havingQual = td_split_replace(query->havingQual, vars, 0, part);
	query->jointree = (FromExpr *) td_split_replace((Node *) query->jointree, vars, 0, part);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (list_member_int(entries, ++rti))
			continue;
		if (rte->rtekind == RTE_SUBQUERY && rte->lateral)
			rte->subquery = (Query *) td_split_replace((Node *) rte->subquery, vars, 0, part);
		rte->functions = (List *) td_split_replace((Node *) rte->functions, vars, 0, part);
		rte->values_lists = (List *) td_split_replace((Node *) rte->values_lists, vars, 0, part);
		rte->tablefunc = (TableFunc *) td_split_replace((Node *) rte->tablefunc, vars, 0, part);
	}
}

/* ---- range tables ---- */

static void
note_entries(Node *node, List **entries)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		*entries = lappend_int(*entries, ((RangeTblRef *) node)->rtindex);
	else if (IsA(node, JoinExpr))
	{
		*entries = lappend_int(*entries, ((JoinExpr *) node)->rtindex);
		note_entries(((JoinExpr *) node)->larg, entries);
		note_entries(((JoinExpr *) node)->rarg, entries);
	}
	else
		foreach(lc, castNode(FromExpr, node)->fromlist)
			note_entries(lfirst(lc), entries);
}

/* Entries that are not in FROM: nothing may look at them any more. */
static void
forget_others(Query *query)
{
	List	   *entries = NIL;
	ListCell   *lc;
	int			rti = 0;

	note_entries((Node *) query->jointree, &entries);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *none = makeNode(RangeTblEntry);

		if (list_member_int(entries, ++rti))
			continue;
		none->rtekind = RTE_RESULT;
		none->eref = makeAlias("none", NIL);
		lfirst(lc) = none;
	}
}

/* Columns of an item of FROM, by their numbers in it. */
static void
columns_of_item(Query *query, Node *item, List **names, List **vars, List **numbers)
{
	int			rti = IsA(item, JoinExpr) ? ((JoinExpr *) item)->rtindex : ((RangeTblRef *) item)->rtindex;
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	int			n = 0;
	ListCell   *lc;

	*numbers = NIL;
	if (rte->rtekind == RTE_JOIN)
	{
		*names = copyObject(rte->eref->colnames);
		*vars = copyObject(rte->joinaliasvars);
		foreach(lc, *vars)
			*numbers = lappend_int(*numbers, ++n);
		return;
	}
	td_expand_rte_compat(rte, rti, names, vars);
	foreach(lc, *vars)
		*numbers = lappend_int(*numbers, lfirst_node(Var, lc)->varattno);
}

/* The columns of joins are those of what they join now.  USING is said by its conditions. */
void
td_split_join_anew(Query *query, Node *node)
{
	JoinExpr   *join = (JoinExpr *) node;
	RangeTblEntry *rte;
	List	   *names,
			   *vars;

	if (!IsA(node, JoinExpr))
		return;
	td_split_join_anew(query, join->larg);
	td_split_join_anew(query, join->rarg);
	join->usingClause = NIL;
	rte = rt_fetch(join->rtindex, query->rtable);
	rte->joinmergedcols = 0;
	columns_of_item(query, join->larg, &rte->eref->colnames, &rte->joinaliasvars, &rte->joinleftcols);
	columns_of_item(query, join->rarg, &names, &vars, &rte->joinrightcols);
	rte->eref->colnames = list_concat(rte->eref->colnames, names);
	rte->joinaliasvars = list_concat(rte->joinaliasvars, vars);
}

/* ---- the rule ---- */

static Query *
part_of(const Query *query, Node *join, List *vars)
{
	Query	   *part = copyObject((Query *) query);

	td_split_strip(part);
	part->jointree = makeFromExpr(list_make1(copyObject(join)), NULL);
	part->targetList = td_split_columns(vars, query);
	forget_others(part);
	td_split_note_sublinks(part);
	return part;
}

static Query *
cut_join(Query *query, Node **place, List *entries, List **holes)
{
	Node	   *join = *place;
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *vars = NIL;
	List	   *more = NIL;
	Query	   *part;
	ListCell   *lc;

	ref->rtindex = linitial_int(entries);	/* what joins read comes before them */
	*place = (Node *) ref;
	if (!columns_read(query, entries, &vars))
		return NULL;
	foreach(lc, entries)
		more = list_concat(more, td_split_keys_of(rt_fetch(lfirst_int(lc), query->rtable), lfirst_int(lc), vars));
	part = part_of(query, join, vars);
	read_part(query, entries, vars);
	lfirst(list_nth_cell(query->rtable, ref->rtindex - 1)) = td_split_entry(part);
	forget_others(query);
	foreach(lc, query->jointree->fromlist)
		td_split_join_anew(query, lfirst(lc));
	td_split_note_sublinks(query);
	td_split_add_hole(holes, rt_fetch(ref->rtindex, query->rtable), more);
	return query;
}

Query *
td_split_joins(Query *query, int variant, List **holes)
{
	Node	  **place;

	if (query->setOperations || query->constraintDeps || td_split_is_cut(query) || query->rowMarks)
		return NULL;
	for (int n = 0; (place = find_join(query->jointree, n)) != NULL; n++)
	{
		List	   *entries = td_split_from_entries(*place);
		Query	   *copy,
				   *rewritten;

		if (!stands_alone(query, *place, entries))
			continue;
		copy = copyObject(query);
		rewritten = cut_join(copy, find_join(copy->jointree, n), entries, holes);
		if (rewritten && variant-- == 0)
			return rewritten;
		*holes = NIL;
	}
	return NULL;
}
