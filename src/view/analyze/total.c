/*-------------------------------------------------------------------------
 *
 * total.c
 *		Orders on which a result depends, made total: those that LIMIT cuts, and
 *		those of DISTINCT ON.
 *
 * NOTES
 *		Sessions, on the user's query, before anything else is made of it.  Where
 *		rows are equal in ORDER BY, which of them LIMIT or DISTINCT ON takes is open; a
 *		view, its twin and check_view must take the same ones.  So further columns stand
 *		behind what the user orders by, until no two rows are equal, or those that
 *		are give the same result: a legal one of his query.
 *
 *		 GROUP BY			the keys
 *		 tables				a unique key of each (the twin's rule depends on it)
 *		 anything else		all columns of the result, and their text where values
 *							that are equal may look different (1 and 1.0); of UNION
 *							and DISTINCT, which know no other columns, without it
 *
 *		They are in the direction of the last column that the user names, so that an
 *		index on plain columns serves.  WITH TIES leaves nothing open but what OFFSET
 *		skips.  Aggregates have orders, too: total_rows.c.
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
#include "view/analyze/total_internal.h"

/* ---- one more column ---- */

/* Do they go down?  Then so do ours. */
static bool
goes_down(const List *clauses)
{
	bool		reverse;
	bool		nulls_first;

	return clauses != NIL && td_sort_direction(llast_node(SortGroupClause, clauses), &reverse, &nulls_first) && reverse;
}

TdOrder
td_order_of(List **clauses, List **entries, int levelsup)
{
	TdOrder		o = {clauses, entries, levelsup, goes_down(*clauses), false, false, false};

	return o;
}

void
td_order_by(TdOrder *o, TargetEntry *tle)
{
	Oid			less,
				equal,
				greater;
	bool		hashable;
	SortGroupClause *clause;

	if (IsA(tle->expr, Const) || targetIsInSortList(tle, InvalidOid, *o->clauses))
		return;
	get_sort_group_operators(exprType((Node *) tle->expr), true, true, true, &less, &equal, &greater, &hashable);
	clause = makeNode(SortGroupClause);
	clause->tleSortGroupRef = assignSortGroupRef(tle, *o->entries);
	clause->eqop = equal;
	clause->sortop = o->down ? greater : less;
	clause->nulls_first = o->down;
	clause->hashable = hashable;
	*o->clauses = lappend(*o->clauses, clause);
}

/* The entry that has the column, or the expression; where there is none, one that is not shown. */
TargetEntry *
td_order_entry(TdOrder *o, Expr *expr)
{
	TargetEntry *tle;
	ListCell   *lc;

	foreach(lc, *o->entries)
	{
		tle = lfirst_node(TargetEntry, lc);
		if (equal(tle->expr, expr))
			return tle;
		if (IsA(expr, Var) && IsA(tle->expr, Var) && ((Var *) tle->expr)->varno == ((Var *) expr)->varno &&
			((Var *) tle->expr)->varattno == ((Var *) expr)->varattno && ((Var *) tle->expr)->varlevelsup == ((Var *) expr)->varlevelsup)
			return tle;
	}
	tle = makeTargetEntry(expr, list_length(*o->entries) + 1, NULL, true);
	*o->entries = lappend(*o->entries, tle);
	return tle;
}

static bool
is_row(Oid type)
{
	Oid			element = get_base_element_type(type);

	return type_is_rowtype(OidIsValid(element) ? element : type) || type == RECORDARRAYOID;
}

/*
 * By the value, by its text where it has no order, by both where equal values may look different and that matters.  Rows by their text then: they may get fields
 * without an order.  false = it can't be done.
 */
bool
td_order_by_value(TdOrder *o, TargetEntry *tle)
{
	Node	   *value = (Node *) tle->expr;
	Oid			type = exprType(value);
	Oid			less;
	CollateExpr *text;

	if (IsA(value, Const))
		return true;
	get_sort_group_operators(type, false, false, false, &less, NULL, NULL, NULL);
	if (o->looks && is_row(type))
		less = InvalidOid;
	if (OidIsValid(less))
		td_order_by(o, tle);
	if (o->columns || (OidIsValid(less) && (!o->looks || td_equal_is_same(type, exprTypmod(value), exprCollation(value)))))
		return OidIsValid(less);
	text = makeNode(CollateExpr);
	text->arg = (Expr *) coerce_to_target_type(NULL, copyObject(value), type, TEXTOID, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	text->collOid = C_COLLATION_OID;
	text->location = -1;
	if (text->arg == NULL)
		return false;
	td_order_by(o, td_order_entry(o, (Expr *) text));
	return true;
}

/* ---- unique keys of tables ---- */

/* The tables in FROM, and functions whose rows have a number, or false where there is anything else; what stands below a join with a name of its own can't be named. */
static bool
tables_of(Query *query, const TdOrder *o, Node *node, List **tables)
{
	List	   *items;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
	{
		const RangeTblEntry *rte = rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable);

		*tables = lappend_int(*tables, ((RangeTblRef *) node)->rtindex);
		if (rte->rtekind == RTE_FUNCTION)
			return rte->funcordinality || (o->numbers && td_can_number(query, ((RangeTblRef *) node)->rtindex));
		return rte->rtekind == RTE_RELATION && rte->tablesample == NULL;
	}
	if (IsA(node, JoinExpr) && ((JoinExpr *) node)->alias)
		return false;
	items = IsA(node, JoinExpr) ? list_make2(((JoinExpr *) node)->larg, ((JoinExpr *) node)->rarg) : castNode(FromExpr, node)->fromlist;
	foreach(lc, items)
	{
		if (!tables_of(query, o, lfirst(lc), tables))
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
order_by_key(const Query *query, int rti, const Bitmapset *key, TdOrder *o)
{
	Oid			relid = rt_fetch(rti, query->rtable)->relid;
	int			attnum = -1;

	while ((attnum = bms_next_member(key, attnum)) >= 0)
	{
		Oid			type,
					collation;
		int32		typmod;

		get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
		td_order_by(o, td_order_entry(o, (Expr *) makeVar(rti, attnum, type, typmod, collation, o->levelsup)));
	}
}

/* The rows that FROM gives, each of one row of each table; false = there is something without a key. */
bool
td_order_by_keys(Query *query, TdOrder *o, List **proofs)
{
	List	   *tables = NIL;
	List	   *keys = NIL;
	ListCell   *lc,
			   *lk;

	if (!tables_of(query, o, (Node *) query->jointree, &tables) || tables == NIL)
		return false;
	foreach(lc, tables)
	{
		const RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);

		keys = lappend(keys, rte->rtekind == RTE_RELATION ? best_key(rte->relid, rte->inh) : NULL);
		if (rte->rtekind == RTE_RELATION && llast(keys) == NULL)
			return false;
	}
	forboth(lc, tables, lk, keys)
	{
		const RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->rtable);

		if (rte->rtekind == RTE_FUNCTION)
		{
			td_order_by(o, td_order_entry(o, (Expr *) td_number_of(query, lfirst_int(lc), o->levelsup)));
			continue;
		}
		order_by_key(query, lfirst_int(lc), lfirst(lk), o);
		*proofs = list_append_unique_oid(*proofs, td_unique_index(rte->relid, rte->inh, lfirst(lk)));
	}
	return true;
}

/* ---- keys of groups, columns ---- */

static bool
order_by_clauses(Query *query, const List *clauses, TdOrder *o)
{
	bool		all = true;
	ListCell   *lc;

	foreach(lc, clauses)
		all &= td_order_by_value(o, get_sortgroupclause_tle(lfirst_node(SortGroupClause, lc), query->targetList));
	return all;
}

/* Short ones first: an index can end behind them.  NULL, or one that can't be ordered by. */
static TargetEntry *
order_by_columns(Query *query, TdOrder *o)
{
	TargetEntry *failed = NULL;
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

			if (td_is_short(exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr)) == (round == 0) && !td_order_by_value(o, tle))
				failed = tle;
		}
	}
	return failed;
}

/* ---- levels ---- */

/* A set operation and DISTINCT can be ordered by nothing but their columns.  The result is NULL, or a column that can't be ordered by. */
TargetEntry *
td_order_rows(Query *query, bool looks, List **proofs)
{
	TdOrder		o = td_order_of(&query->sortClause, &query->targetList, 0);
	bool		distinct = query->distinctClause && !query->hasDistinctOn;
	bool		plain = !query->setOperations && !distinct && !query->groupingSets && !query->hasTargetSRFs;

	o.columns = query->setOperations || distinct;
	o.looks = o.numbers = looks;
	if (query->hasDistinctOn)
		(void) order_by_clauses(query, query->distinctClause, &o);
	if (plain && query->groupClause)
		(void) order_by_clauses(query, query->groupClause, &o);
	else if (plain && (query->hasAggs || query->havingQual))
		return NULL;			/* one row */
	else if (!plain || !td_order_by_keys(query, &o, proofs))
	{
		o.looks = true;			/* rows of one group or key are equal only to themselves; these may look different */
		return order_by_columns(query, &o);
	}
	return NULL;
}

typedef struct Totalizing
{
	List	   *proofs;			/* of oid: unique indexes */
	TdError    *err;
	bool		failed;
} Totalizing;

/* What LIMIT cuts, and DISTINCT ON. */
static void
make_total(Query *query, Totalizing *t)
{
	TargetEntry *unordered;

	if (query->limitOption == LIMIT_OPTION_WITH_TIES && td_skips(query))
		t->failed = !td_refuse(t->err, TD_NOT_TIES_OFFSET, NULL);
	if (query->limitOption == LIMIT_OPTION_WITH_TIES)
		return;
	unordered = td_order_rows(query, false, &t->proofs);
	if (unordered)
		t->failed = !td_refuse(t->err, TD_NOT_LIMIT_UNORDERED, format_type_be(exprType((Node *) unordered->expr)));
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
	if (((Query *) node)->commandType == CMD_SELECT && (((Query *) node)->hasDistinctOn || td_cuts((Query *) node)))
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
	if (td_order_aggregates(query, &t.proofs, err))
		(void) total_walker((Node *) query, &t);
	else
		t.failed = true;
	*proofs = t.proofs;
	return !t.failed;
}
