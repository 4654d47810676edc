/*-------------------------------------------------------------------------
 *
 * split_rules.c
 *		The ways to say a query with one more level of subqueries.
 *
 * NOTES
 *		As split.c.  Each rule is an identity of SQL, for multisets of rows: what is
 *		cut out keeps its FROM, WHERE and grouping whole.
 *
 *		 topk		what LIMIT cuts: all of its rows, of which the first are read by
 *					an index
 *		 scalar		an uncorrelated (SELECT aggregates ...) has one row always: it is
 *					joined; so has EXISTS (SELECT ...), as count(*) > 0
 *		 from		a subquery in FROM
 *		 views		an ordinary view in FROM: split_views.c
 *		 sublink	an uncorrelated IN, EXISTS (SELECT ...)
 *		 expanded, sets, groups		of queries that group: split_groups.c
 *		 distinct	DISTINCT aggregates of all rows: split_distinct.c
 *		 branches	of a set operation
 *		 filter		one table of an inner join with the conditions on it that have
 *					subqueries
 *		 wrap		FROM and WHERE below GROUP BY, windows, DISTINCT
 *		 joins		a join within a join: split_joins.c
 *
 * IDENTIFICATION
 *		src/view/analyze/split_rules.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "view/analyze/split_internal.h"

#define INT8_GREATER 413		/* bigint > bigint: has no name in the headers */

/* ---- building ---- */

RangeTblEntry *
td_split_entry(Query *query)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			names = lappend(names, makeString(pstrdup(tle->resname ? tle->resname : "?column?")));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->alias = makeAlias("part", NIL);
	rte->eref = makeAlias("part", names);
	rte->inFromCl = true;
	return rte;
}

void
td_split_add_hole(List **holes, RangeTblEntry *rte, List *more)
{
	TdHole	   *hole = palloc0(sizeof(TdHole));

	hole->rte = rte;
	hole->more = more;
	*holes = lappend(*holes, hole);
}

static RangeTblRef *
reference(Index rti)
{
	RangeTblRef *ref = makeNode(RangeTblRef);

	ref->rtindex = rti;
	return ref;
}

/* FROM is that subquery alone. */
void
td_split_read_only(Query *query, RangeTblEntry *rte)
{
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(reference(1)), NULL);
}

void
td_split_note_sublinks(Query *query)
{
	query->hasSubLinks = checkExprHasSubLink((Node *) query->targetList) || checkExprHasSubLink((Node *) query->jointree) ||
		checkExprHasSubLink(query->havingQual);
}

/* All that stands above FROM and WHERE is gone. */
void
td_split_strip(Query *query)
{
	query->targetList = NIL;
	query->groupClause = NIL;
	query->groupDistinct = false;
	query->groupingSets = NIL;
	query->havingQual = NULL;
	query->windowClause = NIL;
	query->distinctClause = NIL;
	query->hasDistinctOn = false;
	query->sortClause = NIL;
	query->hasAggs = false;
	query->hasWindowFuncs = false;
	query->hasTargetSRFs = false;
	query->constraintDeps = NIL;
}

/* SELECT these FROM and WHERE of the query, or nothing but that there is a row. */
List *
td_split_columns(List *exprs, const Query *query)
{
	List	   *tlist = NIL;
	ListCell   *lc;

	foreach(lc, exprs)
	{
		Node	   *expr = lfirst(lc);
		char	   *name = NULL;

		if (IsA(expr, Var) && ((Var *) expr)->varattno > 0)
			name = get_rte_attribute_name(rt_fetch(((Var *) expr)->varno, query->rtable), ((Var *) expr)->varattno);
		tlist = lappend(tlist, makeTargetEntry(copyObject((Expr *) expr), list_length(tlist) + 1, name, false));
	}
	if (tlist == NIL)
		tlist = list_make1(makeTargetEntry((Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true), 1, pstrdup("one"), false));
	return tlist;
}

bool
td_split_is_cut(const Query *query)
{
	return query->limitCount || query->limitOffset || query->rowMarks;
}

bool
td_split_is_grouped(const Query *query)
{
	return query->groupClause || query->groupingSets || query->hasAggs || query->havingQual;
}

/* The entries of FROM, in order. */
List *
td_split_from_entries(Node *node)
{
	List	   *entries = NIL;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return list_make1_int(((RangeTblRef *) node)->rtindex);
	if (IsA(node, JoinExpr))
		return list_concat(td_split_from_entries(((JoinExpr *) node)->larg), td_split_from_entries(((JoinExpr *) node)->rarg));
	foreach(lc, ((FromExpr *) node)->fromlist)
		entries = list_concat(entries, td_split_from_entries(lfirst(lc)));
	return entries;
}

/* A filter of one table, which an ordinary view is not. */
static bool
is_simple(const Query *query)
{
	List	   *entries = query->setOperations ? NIL : td_split_from_entries((Node *) query->jointree);
	const RangeTblEntry *rte = list_length(entries) == 1 ? rt_fetch(linitial_int(entries), query->rtable) : NULL;

	return rte && rte->rtekind == RTE_RELATION && !td_is_ordinary_view(rte) &&
		!td_split_is_grouped(query) && !query->distinctClause && !query->windowClause && !query->hasSubLinks && !td_split_is_cut(query);
}

/* ---- topk ---- */

/* The columns of the part that it is read by. */
static List *
order_of_part(const List *sort, List *tlist)
{
	List	   *order = NIL;
	ListCell   *lc;

	foreach(lc, sort)
	{
		const SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		TdOrderItem *item = palloc0(sizeof(TdOrderItem));

		if (!td_sort_direction(clause, &item->reverse, &item->nulls_first))
			return NIL;
		item->attnum = get_sortgroupref_tle(clause->tleSortGroupRef, tlist)->resno;
		order = lappend(order, item);
	}
	return order;
}

/* What it could be called in explanations; NULL = nothing that is shorter than itself. */
static char *
name_of(const Expr *expr, const Query *query)
{
	if (IsA(expr, Var) && ((const Var *) expr)->varlevelsup == 0 && ((const Var *) expr)->varattno > 0)
		return get_rte_attribute_name(rt_fetch(((const Var *) expr)->varno, query->rtable), ((const Var *) expr)->varattno);
	if (IsA(expr, Aggref))
		return get_func_name(((const Aggref *) expr)->aggfnoid);
	return IsA(expr, FuncExpr) ? get_func_name(((const FuncExpr *) expr)->funcid) : NULL;
}

static Query *
read_first(Query *query, RangeTblEntry *part, List *order, List **holes)
{
	td_split_add_hole(holes, part, NIL);
	((TdHole *) linitial(*holes))->order = order;
	return query;
}

/* All of it but LIMIT is the part; what is only ordered by becomes a column of that, too.  A subquery of which nothing is left but its columns is it as it is. */
Query *
td_split_topk(Query *query, int variant, List **holes)
{
	Query	   *first = makeNode(Query);
	RangeTblEntry *source = td_topk_source(query);
	List	   *order;
	TdError		unused;
	ListCell   *lc;

	if (source && source->rtekind == RTE_SUBQUERY && !source->lateral &&
		!td_split_reads_row(query, linitial_int(td_split_from_entries((Node *) query->jointree))) && td_topk_order(query, &order, &unused) && variant-- == 0)
		return read_first(query, source, order, holes);
	order = order_of_part(query->sortClause, query->targetList);
	if (variant > 0 || order == NIL)
		return NULL;
	first->commandType = CMD_SELECT;
	first->canSetTag = true;
	first->sortClause = copyObject(query->sortClause);
	first->limitCount = query->limitCount;
	first->limitOffset = query->limitOffset;
	first->limitOption = query->limitOption;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TargetEntry *column = makeTargetEntry((Expr *) makeVarFromTargetEntry(1, tle), tle->resno, tle->resname, tle->resjunk);

		if (tle->resjunk && query->distinctClause && !query->hasDistinctOn)
			continue;			/* of a window: rows are ordered by what is distinct, and as a column it would be that, too */
		column->ressortgroupref = tle->ressortgroupref;
		first->targetList = lappend(first->targetList, column);
		if (tle->resjunk)
			tle->resname = name_of(tle->expr, query);
		tle->resjunk = false;
	}
	query->limitCount = query->limitOffset = NULL;
	query->limitOption = LIMIT_OPTION_COUNT;
	if (!query->hasDistinctOn)
		query->sortClause = NIL;
	td_split_read_only(first, td_split_entry(query));
	return read_first(first, linitial(first->rtable), order, holes);
}

/* ---- scalar ---- */

static bool
has_one_row(Query *query)
{
	return query->hasAggs && !query->groupClause && !query->groupingSets && !query->havingQual && !query->setOperations &&
		!query->distinctClause && !query->hasTargetSRFs && !td_split_is_cut(query) && !td_split_reads_outer(query);
}

/* SELECT count(*) > 0 FROM what EXISTS asks for: one row, which changes only when the answer does. */
static Query *
exists_as_scalar(Query *inner)
{
	Query	   *query = inner;
	Aggref	   *count = makeNode(Aggref);
	Expr	   *some;

	if (inner->targetList == NIL)
		inner->targetList = td_split_columns(NIL, inner);
	if (td_split_is_grouped(inner) || inner->setOperations || inner->distinctClause || inner->windowClause || inner->hasTargetSRFs)
	{
		query = makeNode(Query);
		query->commandType = CMD_SELECT;
		query->canSetTag = true;
		td_split_read_only(query, td_split_entry(inner));
	}
	count->aggfnoid = F_COUNT_;
	count->aggtype = INT8OID;
	count->aggstar = true;
	count->aggkind = AGGKIND_NORMAL;
	count->aggno = count->aggtransno = -1;
	count->location = -1;
	some = make_opclause(INT8_GREATER, BOOLOID, false, (Expr *) count,
						 (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(0), false, FLOAT8PASSBYVAL), InvalidOid, InvalidOid);
	set_opfuncid((OpExpr *) some);
	query->targetList = list_make1(makeTargetEntry(some, 1, pstrdup("exists"), false));
	query->sortClause = NIL;
	query->hasAggs = true;
	return query;
}

/* The query of one row in its place; NULL = it is none that can be joined. */
static Query *
scalar_of(const SubLink *link)
{
	Query	   *inner = castNode(Query, link->subselect);

	if (link->subLinkType == EXPR_SUBLINK)
		return has_one_row(inner) ? inner : NULL;
	if (link->subLinkType != EXISTS_SUBLINK || td_split_is_cut(inner) || td_split_reads_outer(inner))
		return NULL;
	return exists_as_scalar(inner);
}

typedef struct Scalars
{
	Query	   *query;
	List	  **holes;
} Scalars;

static Node *
join_scalar(Node *node, Scalars *s)
{
	Query	   *scalar;

	if (node == NULL)
		return NULL;
	if (IsA(node, SubLink) && (scalar = scalar_of((SubLink *) node)) != NULL)
	{
		RangeTblEntry *rte = td_split_entry(scalar);
		Oid			type = exprType(node);
		int32		typmod = exprTypmod(node);
		Oid			collation = exprCollation(node);

		s->query->rtable = lappend(s->query->rtable, rte);
		s->query->jointree->fromlist = lappend(s->query->jointree->fromlist, reference(list_length(s->query->rtable)));
		td_split_add_hole(s->holes, rte, NIL);
		return (Node *) makeVar(list_length(s->query->rtable), 1, type, typmod, collation, 0);
	}
	if (IsA(node, SubLink))
		return node;
	return expression_tree_mutator(node, join_scalar, s);
}

/* Keys that are another expression now, in all places where they stand. */
typedef struct NewKeys
{
	List	   *old, *new;
} NewKeys;

static Node *
put_keys(Node *node, NewKeys *k)
{
	ListCell   *lo,
			   *ln;

	if (node == NULL)
		return NULL;
	forboth(lo, k->old, ln, k->new)
		if (equal(node, lfirst(lo)))
			return copyObject(lfirst(ln));
	if (IsA(node, Aggref) || IsA(node, SubLink))
		return node;
	return expression_tree_mutator(node, put_keys, k);
}

/* GROUP BY x > (SELECT avg(x) ...): what else is selected may be such a key, or computed of it. */
static void
join_scalars_of_keys(Query *query, Scalars *s)
{
	NewKeys		k = {NIL, NIL};
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		Node	   *key = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);

		if (!checkExprHasSubLink(key))
			continue;
		k.old = lappend(k.old, copyObject(key));
		k.new = lappend(k.new, join_scalar(copyObject(key), s));
	}
	if (k.old == NIL)
		return;
	query->targetList = (List *) put_keys((Node *) query->targetList, &k);
	query->havingQual = put_keys(query->havingQual, &k);
}

static Query *
scalar_rule(Query *query, int variant, List **holes)
{
	Scalars		s = {query, holes};

	if (variant > 0 || query->setOperations || query->jointree->fromlist == NIL || td_split_is_cut(query))
		return NULL;
	query->jointree->quals = join_scalar(query->jointree->quals, &s);
	if (!td_split_is_grouped(query))
		query->targetList = (List *) join_scalar((Node *) query->targetList, &s);
	else if (!query->groupingSets)
		join_scalars_of_keys(query, &s);
	td_split_note_sublinks(query);
	return *holes ? query : NULL;
}

/* ---- from ---- */

static Query *
from_rule(Query *query, int variant, List **holes)
{
	ListCell   *lc;

	if (query->setOperations)
		return NULL;
	foreach(lc, td_split_from_entries((Node *) query->jointree))
	{
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);

		if (rte->rtekind != RTE_SUBQUERY || rte->lateral || td_split_reads_row(query, lfirst_int(lc)) || variant-- > 0)
			continue;
		td_split_add_hole(holes, rte, NIL);
		return query;
	}
	return NULL;
}

/* ---- sublink ---- */

typedef struct Sublinks
{
	bool		simple;			/* filters of one table, too */
	List	  **holes;
} Sublinks;

/* What only filters a live view, which a part is, gains nothing by being one. */
static bool
reads_one_view(const Query *query)
{
	return is_simple(query) && td_view_of(rt_fetch(linitial_int(td_split_from_entries((Node *) query->jointree)), query->rtable)->relid, true) != NULL;
}

/* The order of an array's elements would be lost. */
static bool
cut_sublinks(Node *node, Sublinks *s)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType != ARRAY_SUBLINK && ((SubLink *) node)->subLinkType != MULTIEXPR_SUBLINK)
	{
		SubLink    *link = (SubLink *) node;
		Query	   *inner = castNode(Query, link->subselect);

		if ((s->simple ? !reads_one_view(inner) : !is_simple(inner)) && !td_split_reads_outer(inner))
		{
			Query	   *outer = makeNode(Query);
			RangeTblEntry *rte = td_split_entry(inner);
			ListCell   *lc;

			outer->commandType = CMD_SELECT;
			outer->canSetTag = true;
			td_split_read_only(outer, rte);
			foreach(lc, inner->targetList)
			{
				TargetEntry *tle = lfirst_node(TargetEntry, lc);

				if (!tle->resjunk)
					outer->targetList = lappend(outer->targetList, makeTargetEntry((Expr *) makeVarFromTargetEntry(1, tle), list_length(outer->targetList) + 1,
																				   tle->resname, false));
			}
			link->subselect = (Node *) outer;
			td_split_add_hole(s->holes, rte, NIL);
		}
	}
	return expression_tree_walker(node, cut_sublinks, s);
}

static void
cut_all_sublinks(Query *query, Sublinks *s)
{
	cut_sublinks((Node *) query->targetList, s);
	cut_sublinks((Node *) query->jointree, s);
	cut_sublinks(query->havingQual, s);
}

/* A filter of one table as a part is of use where that table is also one that the query around it reads: its changes would touch every row else. */
static Query *
sublink_rule(Query *query, int variant, List **holes)
{
	Sublinks	s = {false, holes};

	if (variant > 0 || query->setOperations)
		return NULL;
	cut_all_sublinks(query, &s);
	s.simple = *holes == NIL;
	if (s.simple)
		cut_all_sublinks(query, &s);
	return *holes ? query : NULL;
}

/* ---- branches ---- */

Query *
td_split_branches(Query *query, int variant, List **holes)
{
	ListCell   *lc,
			   *lt;

	if (variant > 0 || !query->setOperations)
		return NULL;
	foreach(lc, td_keyed_branches(query))
	{
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);
		Query	   *part = rte->subquery;
		Query	   *branch;

		if (is_simple(part))
			continue;
		branch = makeNode(Query);
		branch->commandType = CMD_SELECT;
		branch->canSetTag = true;
		td_split_read_only(branch, td_split_entry(part));
		foreach(lt, part->targetList)
		{
			TargetEntry *tle = lfirst_node(TargetEntry, lt);

			if (!tle->resjunk)
				branch->targetList = lappend(branch->targetList, makeTargetEntry((Expr *) makeVarFromTargetEntry(1, tle), list_length(branch->targetList) + 1,
																				 tle->resname, false));
		}
		rte->subquery = branch;
		td_split_add_hole(holes, linitial(branch->rtable), NIL);
	}
	return *holes ? query : NULL;
}

/* ---- filter ---- */

static bool
all_inner(Node *node)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return true;
	if (IsA(node, JoinExpr))
		return ((JoinExpr *) node)->jointype == JOIN_INNER && all_inner(((JoinExpr *) node)->larg) && all_inner(((JoinExpr *) node)->rarg);
	foreach(lc, ((FromExpr *) node)->fromlist)
	{
		if (!all_inner(lfirst(lc)))
			return false;
	}
	return true;
}

static List *
inner_quals(Node *node)
{
	List	   *quals;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return NIL;
	if (IsA(node, JoinExpr))
		return list_concat(list_concat(inner_quals(((JoinExpr *) node)->larg), inner_quals(((JoinExpr *) node)->rarg)), td_and_list(((JoinExpr *) node)->quals));
	quals = NIL;
	foreach(lc, ((FromExpr *) node)->fromlist)
		quals = list_concat(quals, inner_quals(lfirst(lc)));
	return list_concat(quals, td_and_list(((FromExpr *) node)->quals));
}

/* The only entry of FROM that the condition reads, in subqueries too; 0 = none or several. */
static Index
only_entry(Node *qual)
{
	List	   *vars = NIL;
	Index		rti = 0;
	ListCell   *lc;

	if (!td_split_collect(qual, 0, &vars))
		return 0;
	foreach(lc, vars)
	{
		if (rti != 0 && rti != (Index) lfirst_node(Var, lc)->varno)
			return 0;
		rti = lfirst_node(Var, lc)->varno;
	}
	return rti;
}

/* The columns of each unique key that are not there yet. */
List *
td_split_keys_of(const RangeTblEntry *rte, Index rti, const List *there)
{
	List	   *keys = NIL;
	ListCell   *lc;

	foreach(lc, rte->rtekind == RTE_RELATION ? td_unique_keys(rte->relid, rte->inh) : NIL)
	{
		List	   *missing = NIL;
		int			attnum = -1;

		while ((attnum = bms_next_member(lfirst(lc), attnum)) >= 0)
		{
			Oid			type,
						collation;
			int32		typmod;
			Var		   *var;

			get_atttypetypmodcoll(rte->relid, attnum, &type, &typmod, &collation);
			var = makeVar(rti, attnum, type, typmod, collation, 0);
			if (!list_member(there, var))
				missing = lappend(missing, var);
		}
		if (missing)
			keys = lappend(keys, missing);
	}
	return keys;
}

/* Entries of joins are gone from FROM: nothing may look at them any more. */
static void
forget_joins(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_JOIN)
		{
			RangeTblEntry *none = makeNode(RangeTblEntry);

			none->rtekind = RTE_RESULT;
			none->eref = makeAlias("none", NIL);
			lfirst(lc) = none;
		}
	}
}

/* The table with its conditions, as a subquery of the columns that are used elsewhere. */
static void
filter_entry(Query *query, Index rti, List *mine, List *others, List **holes)
{
	List	   *all = list_make3(query->targetList, others, query->havingQual);
	List	   *vars = NIL;
	Query	   *part = makeNode(Query);
	RangeTblEntry *old = rt_fetch(rti, query->rtable);

	if (!td_split_collect((Node *) all, rti, &vars))
		return;
	part->commandType = CMD_SELECT;
	part->canSetTag = true;
	part->rtable = list_make1(copyObject(old));
	part->jointree = makeFromExpr(list_make1(reference(1)), (Node *) make_ands_explicit(copyObject(mine)));
	part->targetList = td_split_columns(vars, query);
	if (rti != 1)
		ChangeVarNodes((Node *) part->targetList, rti, 1, 0);
	if (rti != 1)
		ChangeVarNodes(part->jointree->quals, rti, 1, 0);
	part->hasSubLinks = true;
	all = (List *) td_split_replace((Node *) all, vars, rti, rti);
	query->targetList = linitial(all);
	query->havingQual = lthird(all);
	query->jointree->quals = lsecond(all) ? (Node *) make_ands_explicit(lsecond(all)) : NULL;
	lfirst(list_nth_cell(query->rtable, rti - 1)) = td_split_entry(part);
	ChangeVarNodes((Node *) vars, rti, 1, 0);
	td_split_add_hole(holes, rt_fetch(rti, query->rtable), td_split_keys_of(old, 1, vars));
}

/* What may read other entries of FROM, which a filter would take from it. */
static bool
reads_entries(const Query *query, const List *entries)
{
	ListCell   *lc;

	foreach(lc, entries)
	{
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);

		if (rte->rtekind == RTE_FUNCTION || rte->rtekind == RTE_TABLEFUNC || rte->rtekind == RTE_VALUES || (rte->rtekind == RTE_SUBQUERY && rte->lateral))
			return true;
	}
	return false;
}

/* Of variant n the n-th table that has such conditions. */
static Query *
filter_rule(Query *query, int variant, List **holes)
{
	List	   *quals;
	List	   *entries;
	ListCell   *lc,
			   *lq;

	if (query->setOperations || td_split_is_cut(query) || !all_inner((Node *) query->jointree))
		return NULL;
	quals = inner_quals((Node *) query->jointree);
	entries = td_split_from_entries((Node *) query->jointree);
	if (list_length(entries) < 2 || reads_entries(query, entries))
		return NULL;
	foreach(lc, entries)
	{
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);
		List	   *mine = NIL,
				   *others = NIL,
				   *froms = NIL;
		bool		sublinks = false;
		ListCell   *le;

		foreach(lq, quals)
		{
			if (only_entry(lfirst(lq)) == (Index) lfirst_int(lc))
				mine = lappend(mine, lfirst(lq));
			else
				others = lappend(others, lfirst(lq));
		}
		foreach(lq, mine)
			sublinks = sublinks || checkExprHasSubLink(lfirst(lq));
		if (rte->rtekind != RTE_RELATION || !sublinks || variant-- > 0)
			continue;
		foreach(le, entries)
			froms = lappend(froms, reference(lfirst_int(le)));
		query->jointree = makeFromExpr(froms, NULL);
		forget_joins(query);
		filter_entry(query, lfirst_int(lc), mine, others, holes);
		td_split_note_sublinks(query);
		return *holes ? query : NULL;
	}
	return NULL;
}

/* ---- wrap ---- */

static Query *
wrap_rule(Query *query, int variant, List **holes)
{
	List	   *entries;
	List	   *above;
	List	   *vars = NIL;
	List	   *more = NIL;
	Query	   *part;
	ListCell   *lc;

	if (variant > 0 || query->setOperations || query->constraintDeps || td_split_is_cut(query) || query->jointree->fromlist == NIL)
		return NULL;
	if (!td_split_is_grouped(query) && !query->distinctClause && !query->windowClause && !query->hasTargetSRFs && !checkExprHasSubLink((Node *) query->targetList))
		return NULL;
	entries = td_split_from_entries((Node *) query->jointree);
	if (list_length(entries) == 1 && !checkExprHasSubLink((Node *) query->jointree))
		return NULL;
	above = list_make2(query->targetList, query->havingQual);
	if (!td_split_collect((Node *) above, 0, &vars))
		return NULL;
	foreach(lc, entries)
		more = list_concat(more, td_split_keys_of(rt_fetch(lfirst_int(lc), query->rtable), lfirst_int(lc), vars));
	part = copyObject(query);
	td_split_strip(part);
	part->targetList = td_split_columns(vars, query);
	td_split_note_sublinks(part);
	above = (List *) td_split_replace((Node *) above, vars, 0, 1);
	query->targetList = linitial(above);
	query->havingQual = lsecond(above);
	td_split_read_only(query, td_split_entry(part));
	td_split_note_sublinks(query);
	td_split_add_hole(holes, linitial(query->rtable), more);
	return query;
}

const TdSplitRule td_split_rules[] = {scalar_rule, from_rule, td_split_views, sublink_rule, td_split_expanded, td_split_sets, td_split_groups, td_split_distinct, td_split_branches, filter_rule, wrap_rule, td_split_joins, NULL};
