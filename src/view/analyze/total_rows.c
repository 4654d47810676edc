/*-------------------------------------------------------------------------
 *
 * total_rows.c
 *		Aggregates and arrays that show in which order they met their rows.
 *
 * NOTES
 *		As total.c.  Where array_agg and its like have no ORDER BY, or one in which
 *		rows are equal, their result is open; a view and its twin read rows in
 *		different ways, so it must not be.  Each gets an ORDER BY, longer than its
 *		own, in which rows are equal only if they look the same:
 *
 *		 a subquery with ORDER BY, alone in FROM	its order first: what users mean by it
 *		 tables, functions		a unique key of each, and the number of the element
 *		 anything else			the arguments, of rows their columns
 *
 *		So it is one of the results that the query might give; where PostgreSQL reads
 *		rows as they come from one function, which no plan changes, nothing is added.
 *		ARRAY(SELECT ...) is the same.
 *
 *		Not: DISTINCT in an aggregate, which sorts already; windows, of which ORDER BY
 *		says which rows are peers; sums of floats, which would cost too much.
 *
 * IDENTIFICATION
 *		src/view/analyze/total_rows.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_aggregate.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "view/analyze/split_internal.h"
#include "view/analyze/total_internal.h"

/* Built-in aggregates, up to 18. */
static const char *const ordered[] = {
	"any_value", "array_agg", "json_agg", "json_agg_strict", "json_object_agg", "json_object_agg_strict", "json_object_agg_unique", "json_object_agg_unique_strict",
	"jsonb_agg", "jsonb_agg_strict", "jsonb_object_agg", "jsonb_object_agg_strict", "jsonb_object_agg_unique", "jsonb_object_agg_unique_strict", "string_agg", "xmlagg"
};

/* A query within those around it. */
typedef struct Level
{
	Query	   *query;
	struct Level *up;
} Level;

typedef struct Ordering
{
	Level	   *level;			/* the innermost one */
	List	  **proofs;
	TdError    *err;
	bool		failed;
} Ordering;

static bool
is_grouped(const Query *query)
{
	return query->groupClause || query->groupingSets || query->hasAggs || query->havingQual;
}

/* Nothing but FROM, WHERE and expressions; LIMIT keeps an order. */
static bool
is_plain(const Query *query)
{
	return query->commandType == CMD_SELECT && !is_grouped(query) && !query->setOperations && !query->distinctClause && !query->windowClause;
}

/* LATERAL (SELECT expressions): a row for each. */
static bool
is_row_of_others(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_SUBQUERY && rte->lateral && is_plain(rte->subquery) && rte->subquery->jointree->fromlist == NIL && rte->subquery->jointree->quals == NULL &&
		!rte->subquery->hasTargetSRFs && !rte->subquery->limitCount && !rte->subquery->limitOffset;
}

/* What alone stands in FROM, or with a row of it behind; 0 = there is more, or less. */
static Index
only_entry(const Query *query)
{
	const List *from = query->jointree->fromlist;
	int			n = list_length(from);

	if (n == 0 || n > 2 || !IsA(linitial(from), RangeTblRef) || !IsA(llast(from), RangeTblRef))
		return 0;
	if (n == 2 && !is_row_of_others(rt_fetch(llast_node(RangeTblRef, from)->rtindex, query->rtable)))
		return 0;
	return linitial_node(RangeTblRef, from)->rtindex;
}

/* Do rows come in one order whatever the plan: from a function, or none at all? */
static bool
is_calm(const Query *query)
{
	const RangeTblEntry *rte;

	check_stack_depth();
	if (query->groupClause || query->groupingSets || query->setOperations || query->distinctClause || query->windowClause || checkExprHasSubLink((Node *) query->jointree))
		return false;
	if (query->jointree->fromlist == NIL)
		return true;
	if (only_entry(query) == 0)
		return false;
	rte = rt_fetch(only_entry(query), query->rtable);
	return rte->rtekind == RTE_FUNCTION || rte->rtekind == RTE_TABLEFUNC || rte->rtekind == RTE_VALUES ||
		(rte->rtekind == RTE_SUBQUERY && is_calm(rte->subquery));
}

/* ---- the order of a subquery ---- */

static CommonTableExpr *
cte_of(Level **level, const RangeTblEntry *rte)
{
	ListCell   *lc;

	for (Index i = 0; *level && i < rte->ctelevelsup; i++)
		*level = (*level)->up;
	foreach(lc, *level ? (*level)->query->cteList : NIL)
	{
		if (strcmp(lfirst_node(CommonTableExpr, lc)->ctename, rte->ctename) == 0)
			return lfirst_node(CommonTableExpr, lc);
	}
	return NULL;
}

static Query *
query_of_view(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Query	   *query = copyObject(get_view_query(rel));

	table_close(rel, NoLock);
	return query;
}

/* The query that the entry stands for; NULL = none whose rows have an order. */
static Query *
query_of(const RangeTblEntry *rte, Level **up)
{
	CommonTableExpr *cte;

	if (rte->rtekind == RTE_SUBQUERY)
		return rte->subquery;
	if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW)
	{
		*up = NULL;
		return query_of_view(rte->relid);
	}
	if (rte->rtekind != RTE_CTE || rte->self_reference)
		return NULL;
	cte = cte_of(up, rte);
	return cte && !cte->cterecursive && IsA(cte->ctequery, Query) ? castNode(Query, cte->ctequery) : NULL;
}

typedef struct Moving
{
	Index		from;
	Index		to;
	Index		depth;
} Moving;

/* Columns, not the row. */
static bool
move_columns(Node *node, Moving *m)
{
	bool		stop;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = castNode(Var, node);

		if (var->varno == m->from && var->varlevelsup == m->depth && var->varattno > 0)
			var->varno = var->varnosyn = m->to;
		return false;
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, move_columns, m);
	m->depth++;
	stop = query_tree_walker((Query *) node, move_columns, m, QTW_IGNORE_JOINALIASES);
	m->depth--;
	return stop;
}

/*
 * The row of a subquery must keep its columns, although that will have more: FROM (query) rows, LATERAL (SELECT its columns) in its place.  The number of
 * the first one, of which columns are read from now on.
 */
static Index
put_below_row(Query *query, Index rti)
{
	RangeTblEntry *row = rt_fetch(rti, query->rtable);
	RangeTblEntry *rows = copyObject(row);
	Query	   *select = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Moving		m = {rti, 0, 0};
	ListCell   *lc;

	rows->subquery = row->subquery;		/* the caller knows its entries */
	rows->alias = makeAlias("tapdata$rows", NIL);
	rows->eref->aliasname = pstrdup("tapdata$rows");
	query->rtable = lappend(query->rtable, rows);
	ref->rtindex = list_length(query->rtable);
	query->jointree->fromlist = lcons(ref, query->jointree->fromlist);
	select->commandType = CMD_SELECT;
	select->canSetTag = true;
	select->jointree = makeFromExpr(NIL, NULL);
	foreach(lc, row->subquery->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Var		   *column = makeVarFromTargetEntry(ref->rtindex, tle);

		column->varlevelsup = 1;
		if (!tle->resjunk)
			select->targetList = lappend(select->targetList, makeTargetEntry((Expr *) column, list_length(select->targetList) + 1, strVal(list_nth(row->eref->colnames, tle->resno - 1)), false));
	}
	row->subquery = select;
	row->lateral = true;
	m.to = ref->rtindex;
	(void) query_tree_walker(query, move_columns, &m, QTW_IGNORE_JOINALIASES);
	return m.to;
}

/* What a subquery is only ordered by becomes a column of it, behind the others; then it may have another number.  false = it is no subquery of this level. */
static bool
expose(Query *level, Index *rti, TargetEntry *tle)
{
	RangeTblEntry *rte = rt_fetch(*rti, level->rtable);
	AttrNumber	resno = 0;
	AttrNumber	n;
	ListCell   *lc;

	if (rte->rtekind != RTE_SUBQUERY)
		return false;
	if (td_split_reads_row(level, *rti))
	{
		*rti = put_below_row(level, *rti);
		rte = rt_fetch(*rti, level->rtable);
	}
	n = list_length(rte->eref->colnames);
	tle->resjunk = false;
	tle->resname = psprintf("tapdata$%d", n + 1);
	rte->subquery->targetList = list_insert_nth(list_delete_ptr(rte->subquery->targetList, tle), n, tle);
	foreach(lc, rte->subquery->targetList)
		lfirst_node(TargetEntry, lc)->resno = ++resno;
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(tle->resname)));
	return true;
}

static void
carry_one(Index rti, TdOrder *o, TargetEntry *tle, const SortGroupClause *clause)
{
	Var		   *column = makeVarFromTargetEntry(rti, tle);
	SortGroupClause *copy = copyObject((SortGroupClause *) clause);
	TargetEntry *entry;

	column->varlevelsup = o->levelsup;
	entry = td_order_entry(o, (Expr *) column);
	if (targetIsInSortList(entry, InvalidOid, *o->clauses))
		return;
	copy->tleSortGroupRef = assignSortGroupRef(entry, *o->entries);
	*o->clauses = lappend(*o->clauses, copy);
}

/* The order in which the only entry of FROM gives its rows, also one that it takes over from a subquery of its own. */
static void
carry(Level *level, TdOrder *o, const char *what, Ordering *t)
{
	Index		rti = only_entry(level->query);
	Level		below = {NULL, level};
	ListCell   *lc;

	check_stack_depth();
	if (rti == 0)
		return;
	below.query = query_of(rt_fetch(rti, level->query->rtable), &below.up);
	if (below.query == NULL)
		return;
	if (below.query->sortClause == NIL && is_plain(below.query))
	{
		TdOrder		inner = td_order_of(&below.query->sortClause, &below.query->targetList, 0);

		carry(&below, &inner, what, t);
	}
	foreach(lc, below.query->sortClause)
	{
		const SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		TargetEntry *tle = get_sortgroupref_tle(clause->tleSortGroupRef, below.query->targetList);

		if (!tle->resjunk || expose(level->query, &rti, tle))
			carry_one(rti, o, tle, clause);
		else
			t->failed = !td_refuse(t->err, TD_NOT_HIDDEN_ORDER, what);
	}
	o->down = td_order_of(o->clauses, o->entries, 0).down;
}

/* ---- aggregates and arrays ---- */

/* By the columns of a subquery, which its row has; else by the value. */
static void
order_by_argument(const Level *level, TdOrder *o, TargetEntry *tle)
{
	const Var  *var = (Var *) tle->expr;
	const RangeTblEntry *rte = IsA(var, Var) && (int) var->varlevelsup == o->levelsup ? rt_fetch(var->varno, level->query->rtable) : NULL;
	ListCell   *lc;

	if (rte == NULL || var->varattno != 0 || rte->rtekind != RTE_SUBQUERY)
	{
		(void) td_order_by_value(o, tle);
		return;
	}
	foreach(lc, rte->subquery->targetList)
	{
		Var		   *column;

		if (lfirst_node(TargetEntry, lc)->resjunk)
			continue;
		column = makeVarFromTargetEntry(var->varno, lfirst_node(TargetEntry, lc));
		column->varlevelsup = o->levelsup;
		(void) td_order_by_value(o, td_order_entry(o, (Expr *) column));
	}
}

static bool
shows_order(const Aggref *agg)
{
	const char *name = agg->aggkind == AGGKIND_NORMAL && agg->aggdistinct == NIL && agg->aggfnoid < FirstGenbkiObjectId ? get_func_name(agg->aggfnoid) : NULL;

	for (int i = 0; name && i < lengthof(ordered); i++)
	{
		if (strcmp(ordered[i], name) == 0)
			return true;
	}
	return false;
}

static void
order_aggregate(Aggref *agg, Ordering *t)
{
	TdOrder		o = td_order_of(&agg->aggorder, &agg->args, agg->agglevelsup);
	List	   *arguments = list_copy(agg->args);
	Level	   *level = t->level;
	ListCell   *lc;

	for (Index i = 0; i < agg->agglevelsup; i++)
		level = level->up;
	if (!shows_order(agg) || is_calm(level->query))
		return;
	o.looks = o.numbers = true;
	if (agg->aggorder == NIL)
		carry(level, &o, get_func_name(agg->aggfnoid), t);
	if (td_order_by_keys(level->query, &o, t->proofs))
		return;
	foreach(lc, arguments)
	{
		const TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && contain_vars_of_level((Node *) tle->expr, agg->agglevelsup))
			order_by_argument(level, &o, lfirst_node(TargetEntry, lc));
	}
}

/* What can't be ordered by stays open; what LIMIT cuts is ordered by total.c. */
static void
order_array(Query *query, Ordering *t)
{
	Level		level = {query, t->level};
	TdOrder		o = td_order_of(&query->sortClause, &query->targetList, 0);

	if (is_calm(query) || td_cuts(query))
		return;
	if (query->sortClause == NIL && is_plain(query))
		carry(&level, &o, "ARRAY(SELECT ...)", t);
	(void) td_order_rows(query, true, t->proofs);
}

static bool
walk(Node *node, Ordering *t)
{
	Level		level = {NULL, t->level};

	check_stack_depth();
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		level.query = castNode(Query, node);
		t->level = &level;
		(void) query_tree_walker(level.query, walk, t, QTW_IGNORE_JOINALIASES);
		t->level = level.up;
		return false;
	}
	(void) expression_tree_walker(node, walk, t);
	if (IsA(node, Aggref))
		order_aggregate(castNode(Aggref, node), t);
	if (IsA(node, SubLink) && castNode(SubLink, node)->subLinkType == ARRAY_SUBLINK)
		order_array(castNode(Query, castNode(SubLink, node)->subselect), t);
	return false;
}

bool
td_order_aggregates(Query *query, List **proofs, TdError *err)
{
	Ordering	t = {NULL, proofs, err, false};

	(void) walk((Node *) query, &t);
	return !t.failed;
}
