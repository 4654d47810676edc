/*-------------------------------------------------------------------------
 *
 * split_distinct.c
 *		Aggregates of all rows of which some are DISTINCT, as aggregates of
 *		distinct values.
 *
 * NOTES
 *		As split_rules.c.  SELECT count(DISTINCT x), sum(y) FROM t WHERE ... has one
 *		row, that of (SELECT count(v) FROM (SELECT DISTINCT x AS v FROM t WHERE ...))
 *		beside that of (SELECT sum(y) FROM t WHERE ...): the values are a part that
 *		is kept by counters, and the rest is counters over it.  FILTER is WHERE there.
 *
 * IDENTIFICATION
 *		src/view/analyze/split_distinct.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"

#include "view/analyze/split_internal.h"

/* Aggregates of the same distinct values, or all that are not DISTINCT. */
typedef struct Values
{
	const Aggref *like;			/* the first of them */
	List	   *aggregates;		/* of Aggref * */
} Values;

typedef struct Whole
{
	List	   *values;			/* of Values * */
	bool		other;			/* there is something that can't be said so */
} Whole;

static Node *
argument_of(const Aggref *aggref)
{
	return (Node *) linitial_node(TargetEntry, aggref->args)->expr;
}

/* Does its result depend on which values there are alone, whichever of equal ones? */
static bool
is_of_values(const Aggref *aggref)
{
	TdAggregateKind kind;
	Node	   *arg;

	if (aggref->aggkind != AGGKIND_NORMAL || list_length(aggref->aggdistinct) != 1 || list_length(aggref->args) != 1 || !td_aggregate_kind(aggref, &kind))
		return false;
	arg = argument_of(aggref);
	return td_type_ordered(exprType(arg)) && (kind == TD_AGG_COUNT || td_equal_is_same(exprType(arg), exprTypmod(arg), exprCollation(arg)));
}

static bool
same_values(const Aggref *a, const Aggref *b)
{
	if (a->aggdistinct == NIL || b->aggdistinct == NIL)
		return a->aggdistinct == b->aggdistinct;
	return equal(argument_of(a), argument_of(b)) && equal(a->aggfilter, b->aggfilter);
}

static void
add_aggregate(Whole *w, Aggref *aggref)
{
	Values	   *values;
	ListCell   *lc;

	w->other = w->other || checkExprHasSubLink((Node *) aggref) || (aggref->aggdistinct && !is_of_values(aggref));
	foreach(lc, w->other ? NIL : w->values)
	{
		values = lfirst(lc);
		if (same_values(values->like, aggref))
		{
			values->aggregates = list_append_unique(values->aggregates, aggref);
			return;
		}
	}
	values = palloc0(sizeof(Values));
	values->like = aggref;
	values->aggregates = list_make1(aggref);
	w->values = lappend(w->values, values);
}

static bool
collect(Node *node, Whole *w)
{
	if (node == NULL || w->other)
		return false;
	if (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0)
	{
		add_aggregate(w, (Aggref *) node);
		return false;
	}
	w->other = IsA(node, GroupingFunc) || (IsA(node, SubLink) && td_split_reads_outer(castNode(Query, ((SubLink *) node)->subselect)));
	return IsA(node, Query) ? false : expression_tree_walker(node, collect, w);
}

/* SELECT DISTINCT argument FROM ... */
static RangeTblEntry *
values_entry(const Query *query, const Aggref *aggref)
{
	Query	   *part = copyObject((Query *) query);
	SortGroupClause *clause = copyObject(linitial_node(SortGroupClause, aggref->aggdistinct));
	TargetEntry *value = makeTargetEntry((Expr *) copyObject(argument_of(aggref)), 1, pstrdup("value"), false);

	td_split_strip(part);
	value->ressortgroupref = clause->tleSortGroupRef = 1;
	part->targetList = list_make1(value);
	part->distinctClause = list_make1(clause);
	if (aggref->aggfilter)
		part->jointree->quals = make_and_qual(part->jointree->quals, copyObject((Node *) aggref->aggfilter));
	td_split_note_sublinks(part);
	return td_split_entry(part);
}

/* DISTINCT aggregates over the values, which are column 1 of all there is in FROM. */
static Node *
over_values(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0)
	{
		Aggref	   *copy = copyObject((Aggref *) node);
		Node	   *arg = argument_of(copy);

		copy->aggdistinct = copy->aggorder = NIL;
		copy->aggfilter = NULL;
		copy->args = list_make1(makeTargetEntry((Expr *) makeVar(1, 1, exprType(arg), exprTypmod(arg), exprCollation(arg), 0), 1, NULL, false));
		return (Node *) copy;
	}
	return expression_tree_mutator(node, over_values, context);
}

/* The aggregates of some values, as a query of one row. */
static RangeTblEntry *
row_entry(const Query *query, const Values *values)
{
	Query	   *part = copyObject((Query *) query);

	td_split_strip(part);
	part->hasAggs = true;
	part->targetList = td_split_columns(values->aggregates, query);
	if (values->like->aggdistinct)
	{
		td_split_read_only(part, values_entry(query, values->like));
		part->targetList = (List *) over_values((Node *) part->targetList, NULL);
	}
	td_split_make_storable(part);
	td_split_note_sublinks(part);
	return td_split_entry(part);
}

/* Those rows beside each other. */
static void
join_rows(Query *query, const List *values, List **holes)
{
	List	   *rtable = NIL;
	List	   *from = NIL;
	List	   *above = list_make2(query->targetList, query->havingQual);
	ListCell   *lc;

	foreach(lc, values)
	{
		RangeTblEntry *rte = row_entry(query, lfirst(lc));
		RangeTblRef *ref = makeNode(RangeTblRef);

		td_split_add_hole(holes, rte, NIL);
		rtable = lappend(rtable, rte);
		ref->rtindex = list_length(rtable);
		from = lappend(from, ref);
		above = (List *) td_split_replace((Node *) above, ((Values *) lfirst(lc))->aggregates, 0, ref->rtindex);
	}
	query->targetList = linitial(above);
	query->rtable = rtable;
	query->jointree = makeFromExpr(from, lsecond(above));
	query->havingQual = NULL;
	query->hasAggs = false;
}

Query *
td_split_distinct(Query *query, int variant, List **holes)
{
	Whole		w = {NIL, false};
	bool		distinct = false;
	ListCell   *lc;

	if (variant > 0 || query->setOperations || !query->hasAggs || query->groupClause || query->groupingSets || query->hasWindowFuncs ||
		query->distinctClause || query->hasTargetSRFs || td_split_is_cut(query))
		return NULL;
	collect((Node *) list_make2(query->targetList, query->havingQual), &w);
	foreach(lc, w.other ? NIL : w.values)
		distinct = distinct || ((Values *) lfirst(lc))->like->aggdistinct;
	if (!distinct)
		return NULL;
	if (list_length(w.values) > 1)
		join_rows(query, w.values, holes);
	else
	{
		RangeTblEntry *rte = values_entry(query, ((Values *) linitial(w.values))->like);

		td_split_read_only(query, rte);
		query->targetList = (List *) over_values((Node *) query->targetList, NULL);
		query->havingQual = over_values(query->havingQual, NULL);
		td_split_add_hole(holes, rte, NIL);
	}
	td_split_note_sublinks(query);
	return query;
}
