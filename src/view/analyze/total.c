/*-------------------------------------------------------------------------
 *
 * total.c
 *		Orders that LIMIT cuts, made total.
 *
 * NOTES
 *		Sessions, on the user's query, before anything else is made of it.  Where
 *		rows are equal in ORDER BY, which of them LIMIT takes is open; a view, its
 *		twin and check_view must take the same ones.  So further columns stand
 *		behind what the user orders by, until no two rows are equal, or those that
 *		are give the same result: a legal one of his query.
 *
 *		 GROUP BY			the keys
 *		 tables				a unique key of each (the twin's rule depends on it)
 *		 anything else		all columns of the result
 *
 *		They are in the direction of the last column that the user names, so that an
 *		index on plain columns serves.  WITH TIES leaves nothing open but what OFFSET
 *		skips.
 *
 * IDENTIFICATION
 *		src/view/analyze/total.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/analyze/topk_internal.h"

typedef struct Totalizing
{
	List	   *proofs;			/* of oid: unique indexes */
	TdError    *err;
	bool		failed;
} Totalizing;

/* ---- one more column ---- */

/* Do they go down?  Then so do ours. */
static bool
goes_down(const Query *query)
{
	bool		reverse;
	bool		nulls_first;

	return query->sortClause != NIL && td_sort_direction(llast_node(SortGroupClause, query->sortClause), &reverse, &nulls_first) && reverse;
}

static void
order_by(Query *query, TargetEntry *tle, bool down)
{
	Oid			less,
				equal,
				greater;
	bool		hashable;
	SortGroupClause *clause;

	if (IsA(tle->expr, Const) || targetIsInSortList(tle, InvalidOid, query->sortClause))
		return;
	get_sort_group_operators(exprType((Node *) tle->expr), true, true, true, &less, &equal, &greater, &hashable);
	clause = makeNode(SortGroupClause);
	clause->tleSortGroupRef = assignSortGroupRef(tle, query->targetList);
	clause->eqop = equal;
	clause->sortop = down ? greater : less;
	clause->nulls_first = down;
	clause->hashable = hashable;
	query->sortClause = lappend(query->sortClause, clause);
}

/* The entry of the target list that has the column, or the expression; where there is none, one that is not shown. */
static TargetEntry *
entry_of(Query *query, Expr *expr)
{
	TargetEntry *tle;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		tle = lfirst_node(TargetEntry, lc);
		if (equal(tle->expr, expr))
			return tle;
		if (IsA(expr, Var) && IsA(tle->expr, Var) && ((Var *) tle->expr)->varno == ((Var *) expr)->varno &&
			((Var *) tle->expr)->varattno == ((Var *) expr)->varattno && ((Var *) tle->expr)->varlevelsup == 0)
			return tle;
	}
	tle = makeTargetEntry(expr, list_length(query->targetList) + 1, NULL, true);
	query->targetList = lappend(query->targetList, tle);
	return tle;
}

/* ---- unique keys of tables ---- */

/* The tables in FROM by number, or false where there is anything else; what stands below a join with a name of its own can't be named. */
static bool
tables_of(const Query *query, Node *node, List **tables)
{
	List	   *items;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
	{
		const RangeTblEntry *rte = rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable);

		*tables = lappend_int(*tables, ((RangeTblRef *) node)->rtindex);
		return rte->rtekind == RTE_RELATION && rte->tablesample == NULL;
	}
	if (IsA(node, JoinExpr) && ((JoinExpr *) node)->alias)
		return false;
	items = IsA(node, JoinExpr) ? list_make2(((JoinExpr *) node)->larg, ((JoinExpr *) node)->rarg) : castNode(FromExpr, node)->fromlist;
	foreach(lc, items)
	{
		if (!tables_of(query, lfirst(lc), tables))
			return false;
	}
	return true;
}

/* Of those that the caller may read, one of short columns, and of few. */
static Bitmapset *
best_key(Oid relid, bool inherited)
{
	Bitmapset  *best = NULL;
	int			least = 0;
	ListCell   *lc;

	foreach(lc, td_unique_keys(relid, inherited))
	{
		bool		readable = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
		bool		may = true;
		int			cost = 0;
		int			attnum = -1;

		while ((attnum = bms_next_member(lfirst(lc), attnum)) >= 0)
		{
			Oid			type,
						collation;
			int32		typmod;

			get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
			cost += td_is_short(type, typmod) ? 1 : INDEX_MAX_KEYS + 1;
			may = may && (readable || pg_attribute_aclcheck(relid, attnum, GetUserId(), ACL_SELECT) == ACLCHECK_OK);
		}
		if (may && (best == NULL || cost < least))
		{
			best = lfirst(lc);
			least = cost;
		}
	}
	return best;
}

static void
order_by_key(Query *query, int rti, const Bitmapset *key, bool down)
{
	Oid			relid = rt_fetch(rti, query->rtable)->relid;
	int			attnum = -1;

	while ((attnum = bms_next_member(key, attnum)) >= 0)
	{
		Oid			type,
					collation;
		int32		typmod;

		get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
		order_by(query, entry_of(query, (Expr *) makeVar(rti, attnum, type, typmod, collation, 0)), down);
	}
}

/* Each row of the result is of one row of each table; false = there is something without a key. */
static bool
order_by_keys(Query *query, Totalizing *t, bool down)
{
	List	   *tables = NIL;
	List	   *keys = NIL;
	ListCell   *lc,
			   *lk;

	if (query->hasTargetSRFs || !tables_of(query, (Node *) query->jointree, &tables) || tables == NIL)
		return false;
	foreach(lc, tables)
	{
		Bitmapset  *key = best_key(rt_fetch(lfirst_int(lc), query->rtable)->relid, rt_fetch(lfirst_int(lc), query->rtable)->inh);

		if (key == NULL)
			return false;
		keys = lappend(keys, key);
	}
	forboth(lc, tables, lk, keys)
	{
		const RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);

		order_by_key(query, lfirst_int(lc), lfirst(lk), down);
		t->proofs = list_append_unique_oid(t->proofs, td_unique_index(rte->relid, rte->inh, lfirst(lk)));
	}
	return true;
}

/* ---- keys of groups, columns ---- */

/* Where it has no order, its text has; a set operation and DISTINCT can be ordered by nothing but their columns. */
static void
order_by_value(Query *query, TargetEntry *tle, Totalizing *t, bool down)
{
	Oid			type = exprType((Node *) tle->expr);
	Oid			less;
	CollateExpr *text;

	get_sort_group_operators(type, false, false, false, &less, NULL, NULL, NULL);
	if (OidIsValid(less))
		order_by(query, tle, down);
	else if (query->setOperations || (query->distinctClause && !query->hasDistinctOn))
		t->failed = !td_refuse(t->err, TD_NOT_LIMIT_UNORDERED, format_type_be(type));
	else
	{
		text = makeNode(CollateExpr);
		text->arg = (Expr *) coerce_to_target_type(NULL, copyObject((Node *) tle->expr), type, TEXTOID, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
		text->collOid = C_COLLATION_OID;
		text->location = -1;
		if (text->arg == NULL)
			t->failed = !td_refuse(t->err, TD_NOT_LIMIT_UNORDERED, format_type_be(type));
		else
			order_by(query, entry_of(query, (Expr *) text), down);
	}
}

static void
order_by_clauses(Query *query, const List *clauses, Totalizing *t, bool down)
{
	ListCell   *lc;

	foreach(lc, clauses)
		order_by_value(query, get_sortgroupclause_tle(lfirst_node(SortGroupClause, lc), query->targetList), t, down);
}

/* Short ones first: an index can end behind them. */
static void
order_by_columns(Query *query, Totalizing *t, bool down)
{
	List	   *shown = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		if (!lfirst_node(TargetEntry, lc)->resjunk)
			shown = lappend(shown, lfirst(lc));
	}
	for (int round = 0; round < 2; round++)
	{
		foreach(lc, shown)
		{
			TargetEntry *tle = lfirst_node(TargetEntry, lc);

			if (td_is_short(exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr)) == (round == 0))
				order_by_value(query, tle, t, down);
		}
	}
}

/* ---- levels ---- */

static void
make_total(Query *query, Totalizing *t)
{
	bool		down = goes_down(query);
	bool		distinct = query->distinctClause && !query->hasDistinctOn;
	bool		plain = !query->setOperations && !distinct && !query->groupingSets && !query->hasTargetSRFs;

	if (query->limitOption == LIMIT_OPTION_WITH_TIES && td_skips(query))
		t->failed = !td_refuse(t->err, TD_NOT_TIES_OFFSET, NULL);
	if (query->limitOption == LIMIT_OPTION_WITH_TIES)
		return;
	if (query->hasDistinctOn)
		order_by_clauses(query, query->distinctClause, t, down);
	if (plain && query->groupClause)
		order_by_clauses(query, query->groupClause, t, down);
	else if (plain && (query->hasAggs || query->havingQual))
		return;					/* one row */
	else if (!plain || !order_by_keys(query, t, down))
		order_by_columns(query, t, down);
}

/* How many rows there are does not matter to EXISTS, if there may be one. */
static void
simplify_exists(Query *query)
{
	TdWindow	w;
	TdError		unused = {0};

	if (td_window(query, &w, &unused) && w.counted && w.count > 0 && w.offset == 0 && !query->distinctClause)
	{
		query->limitCount = query->limitOffset = NULL;
		query->limitOption = LIMIT_OPTION_COUNT;
		query->sortClause = NIL;
	}
}

static bool
total_walker(Node *node, Totalizing *t)
{
	check_stack_depth();
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == EXISTS_SUBLINK)
		simplify_exists(castNode(Query, ((SubLink *) node)->subselect));
	if (!IsA(node, Query))
		return expression_tree_walker(node, total_walker, t);
	if (query_tree_walker((Query *) node, total_walker, t, QTW_IGNORE_JOINALIASES))
		return true;
	if (((Query *) node)->commandType == CMD_SELECT && td_cuts((Query *) node))
		make_total((Query *) node, t);
	return t->failed;
}

/* In place, at all levels; false = refused.  proofs: unique indexes (oids) without which an order would not be total. */
bool
td_make_total(Query *query, List **proofs, TdError *err)
{
	Totalizing	t = {NIL, err, false};

	if (query->commandType == CMD_SELECT && !td_cuts(query))
		query->limitCount = query->limitOffset = NULL;
	total_walker((Node *) query, &t);
	*proofs = t.proofs;
	return !t.failed;
}
