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
 *		Among candidates: fewest of those; then the one that determines most rows
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

typedef struct Candidate
{
	List	   *exprs;			/* of Node *: as they stand on the topmost level; of a set operation its output columns */
	List	  **bound;			/* by occurrence - 1: of Node *, as many as exprs, NULL = not bound */
	int		   *next;			/* by occurrence - 1: the occurrence that it is led to, 0 = itself, -1 = none */
	int			scores[5];		/* in the order of importance */
} Candidate;

/* ---- binding ---- */

static bool
is_bound(const Candidate *c, int n)
{
	ListCell   *lc;

	foreach(lc, c->bound[n - 1])
	{
		if (lfirst(lc) == NULL)
			return false;
	}
	return true;
}

/* The only occurrence that it reads; 0 = none or several. */
static int
only_one(const Node *expr)
{
	int			n;

	return expr && bms_get_singleton_member(td_keyed_reads(expr), &n) ? n : 0;
}

static Node *
bound_to(const Candidate *c, int n, int key)
{
	return n > 0 ? list_nth(c->bound[n - 1], key) : NULL;
}

/* Does it say something new? */
static bool
bind_to(Candidate *c, int n, int key, Node *expr)
{
	if (n == 0 || bound_to(c, n, key) || exprType(expr) != exprType(list_nth(c->exprs, key)))
		return false;
	if (exprCollation(expr) != exprCollation(list_nth(c->exprs, key)) &&
		!(td_deterministic(exprCollation(expr)) && td_deterministic(exprCollation(list_nth(c->exprs, key)))))
		return false;
	lfirst(list_nth_cell(c->bound[n - 1], key)) = expr;
	return true;
}

static int
output_number(const Query *query, const Node *expr)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		if (equal(lfirst_node(TargetEntry, lc)->expr, expr))
			return lfirst_node(TargetEntry, lc)->resno;
	}
	return 0;
}

/* By what the expression is itself, of tables that are never null-extended. */
static void
bind_directly(const TdKeyedWalk *walk, Candidate *c, int key)
{
	const Query *query = walk->top->query;
	Node	   *expr = list_nth(c->exprs, key);
	List	   *resolved = query->setOperations ? td_keyed_resolve_output(walk->top, output_number(query, expr), exprType(expr)) : td_keyed_resolve(walk->top, expr);
	ListCell   *lc;

	foreach(lc, resolved)
	{
		Node	   *bare = td_keyed_bare(lfirst(lc));
		int			n = only_one(bare);

		if (!bms_is_member(n, walk->top->nullable))
			bind_to(c, n, key, bare);
	}
}

/* Is it the next FULL JOIN within the outer one (NULL = the outermost), and all of it not on the nullable side of another join? */
static bool
is_next_full(const TdKeyedWalk *walk, const Bitmapset *rels, const Bitmapset *outer)
{
	ListCell   *lc;

	foreach(lc, walk->fulls)
	{
		const Bitmapset *other = lfirst(lc);

		if (bms_is_subset(rels, other) && !bms_equal(rels, other) && (outer == NULL || (bms_is_subset(other, outer) && !bms_equal(other, outer))))
			return false;
	}
	foreach(lc, walk->nullable_sides)
	{
		if (bms_is_subset(rels, lfirst(lc)))
			return false;
	}
	return true;
}

static void bind_full_side(const TdKeyedWalk *walk, Candidate *c, int key, const TdTopEquality *e, Node *side);

/* coalesce(a.x, b.x) of a FULL JOIN b ON a.x = b.x, and the same of more of them. */
static void
bind_full(const TdKeyedWalk *walk, Candidate *c, int key, Node *expr, const Bitmapset *outer)
{
	List	   *args = IsA(expr, CoalesceExpr) ? ((CoalesceExpr *) expr)->args : NIL;
	ListCell   *lc;

	if (list_length(args) != 2)
		return;
	foreach(lc, walk->equalities)
	{
		const TdTopEquality *e = lfirst(lc);
		Node	   *a = td_keyed_bare(linitial(args));
		Node	   *b = td_keyed_bare(lsecond(args));

		if (!e->full || !is_next_full(walk, e->rels, outer))
			continue;
		if ((equal(e->left, a) && equal(e->right, b)) || (equal(e->left, b) && equal(e->right, a)))
		{
			bind_full_side(walk, c, key, e, a);
			bind_full_side(walk, c, key, e, b);
		}
	}
}

static void
bind_full_side(const TdKeyedWalk *walk, Candidate *c, int key, const TdTopEquality *e, Node *side)
{
	List	   *resolved = td_keyed_resolve(walk->top, side);
	int			n = list_length(resolved) == 1 ? only_one(linitial(resolved)) : 0;

	if (IsA(side, CoalesceExpr))
		bind_full(walk, c, key, side, e->rels);
	else if (n && !bms_is_member(n, e->nullable))
		bind_to(c, n, key, td_keyed_bare(linitial(resolved)));
}

static bool
any_bound(const TdKeyedWalk *walk, const Candidate *c, int key)
{
	for (int n = 1; n <= walk->shape->noccurrences; n++)
	{
		if (bound_to(c, n, key))
			return true;
	}
	return false;
}

/* "x = key" on the topmost level; not for a key that may be null-extended: its null stands for rows that have lost such an x, too. */
static void
bind_equal(const TdKeyedWalk *walk, Candidate *c, int key)
{
	Node	   *expr = td_keyed_bare(list_nth(c->exprs, key));
	ListCell   *lc;

	if (!any_bound(walk, c, key))
		return;
	foreach(lc, walk->equalities)
	{
		const TdTopEquality *e = lfirst(lc);
		Node	   *other = equal(e->left, expr) ? e->right : equal(e->right, expr) ? e->left : NULL;
		List	   *resolved = other && !e->full ? td_keyed_resolve(walk->top, other) : NIL;
		int			n = list_length(resolved) == 1 ? only_one(linitial(resolved)) : 0;

		if (n && bms_is_member(n, e->reduces) && (!bms_is_member(n, e->nullable) || !contain_nonstrict_functions(linitial(resolved))))
			bind_to(c, n, key, td_keyed_bare(linitial(resolved)));
	}
}

/* u.x = v.y, where v.y is the key. */
static bool
bind_across(Candidate *c, int key, const TdConjunct *conjunct, Node *mine, Node *its)
{
	int			n = only_one(mine);
	int			other = only_one(its);

	return n && other && bms_is_member(n, conjunct->reduces) && bound_to(c, n, key) == NULL && equal(bound_to(c, other, key), its) &&
		bind_to(c, n, key, mine);
}

static void
bind_all(const TdKeyedWalk *walk, Candidate *c)
{
	int			n = walk->shape->noccurrences;
	bool		more = true;

	c->bound = palloc0(n * sizeof(List *));
	for (int i = 0; i < n; i++)
	{
		for (int key = 0; key < list_length(c->exprs); key++)
			c->bound[i] = lappend(c->bound[i], NULL);
	}
	for (int key = 0; key < list_length(c->exprs); key++)
	{
		bind_directly(walk, c, key);
		bind_full(walk, c, key, list_nth(c->exprs, key), NULL);
		bind_equal(walk, c, key);
	}
	while (more)
	{
		ListCell   *lc;

		more = false;
		foreach(lc, walk->conjuncts)
		{
			const TdConjunct *conjunct = lfirst(lc);

			for (int key = 0; conjunct->left && key < list_length(c->exprs); key++)
				more = bind_across(c, key, conjunct, conjunct->left, conjunct->right) ||
					bind_across(c, key, conjunct, conjunct->right, conjunct->left) || more;
		}
	}
}

/* ---- paths ---- */

static bool
leads(const TdConjunct *conjunct, int from, int to)
{
	return bms_num_members(conjunct->reads) == 2 && bms_is_member(from, conjunct->reduces) && bms_is_member(to, conjunct->reads) && from != to;
}

/* One step more; false = nothing is reached any more. */
static bool
step(const TdKeyedWalk *walk, Candidate *c, TdEdge edge)
{
	int			n = walk->shape->noccurrences;
	int		   *before = palloc(n * sizeof(int));
	bool		more = false;

	memcpy(before, c->next, n * sizeof(int));
	for (int from = 1; from <= n; from++)
	{
		ListCell   *lc;

		foreach(lc, walk->conjuncts)
		{
			const TdConjunct *conjunct = lfirst(lc);

			for (int to = 1; to <= n && c->next[from - 1] < 0 && conjunct->edge <= edge; to++)
			{
				if (before[to - 1] >= 0 && leads(conjunct, from, to))
				{
					c->next[from - 1] = to;
					more = true;
				}
			}
		}
	}
	return more;
}

static void
find_paths(const TdKeyedWalk *walk, Candidate *c)
{
	int			n = walk->shape->noccurrences;

	c->next = palloc(n * sizeof(int));
	for (int i = 0; i < n; i++)
		c->next[i] = is_bound(c, i + 1) ? 0 : -1;
	for (TdEdge edge = TD_EDGE_EQUAL; edge <= TD_EDGE_OTHER; edge++)
	{
		while (step(walk, c, edge))
			;
	}
}

/* ---- what a key determines ---- */

typedef struct Known
{
	List	   *columns;		/* of Var * */
	Bitmapset  *rows;			/* occurrences: at most one row */
} Known;

static bool
is_known(const Known *known, Node *node)
{
	return node && (IsA(node, Const) || (IsA(node, Var) && (bms_is_member(((Var *) node)->varno, known->rows) || list_member(known->columns, node))));
}

static bool
learn_column(Known *known, const TdConjunct *conjunct, Node *mine, Node *its)
{
	if (mine == NULL || !IsA(mine, Var) || is_known(known, mine) || !is_known(known, its) || !bms_is_member(((Var *) mine)->varno, conjunct->reduces))
		return false;
	known->columns = lappend(known->columns, mine);
	return true;
}

static bool
learn_row(const TdKeyedWalk *walk, Known *known, int n)
{
	ListCell   *lu,
			   *lc;

	if (bms_is_member(n, known->rows))
		return false;
	foreach(lu, td_unique_keys(walk->shape->occurrences[n - 1].relid))
	{
		Bitmapset  *missing = bms_copy(lfirst(lu));

		foreach(lc, known->columns)
		{
			if (lfirst_node(Var, lc)->varno == n)
				missing = bms_del_member(missing, lfirst_node(Var, lc)->varattno);
		}
		if (bms_is_empty(missing))
		{
			known->rows = bms_add_member(known->rows, n);
			return true;
		}
	}
	return false;
}

/* The occurrences of which each value of the key has one row at most. */
static Bitmapset *
determined(const TdKeyedWalk *walk, const Candidate *c)
{
	Known		known = {NIL, NULL};
	bool		more = true;
	ListCell   *lc;

	for (int n = 1; n <= walk->shape->noccurrences; n++)
	{
		foreach(lc, c->bound[n - 1])
		{
			if (lfirst(lc) && IsA(lfirst(lc), Var) && !bms_is_member(n, walk->top->nullable))
				known.columns = lappend(known.columns, lfirst(lc));
		}
	}
	while (more)
	{
		more = false;
		foreach(lc, walk->conjuncts)
		{
			const TdConjunct *conjunct = lfirst(lc);

			more = learn_column(&known, conjunct, conjunct->left, conjunct->right) || learn_column(&known, conjunct, conjunct->right, conjunct->left) || more;
		}
		for (int n = 1; n <= walk->shape->noccurrences; n++)
			more = learn_row(walk, &known, n) || more;
	}
	return known.rows;
}

/* ---- outputs ---- */

/* The column of the result that always equals the expression; 0 = none. */
static int
output_of(const TdKeyedWalk *walk, Node *expr)
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
		n += output_of(walk, lfirst(lc)) ? 1 : 0;
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
all_full(const TdKeyedWalk *walk, const Candidate *c)
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
consider(const TdKeyedWalk *walk, List **candidates, List *exprs)
{
	Candidate  *c = palloc0(sizeof(Candidate));
	int			reached = 0;
	int			bound = 0;
	ListCell   *lc;

	foreach(lc, *candidates)
	{
		if (equal(((Candidate *) lfirst(lc))->exprs, exprs))
			return;
	}
	if (exprs == NIL || list_length(exprs) > TD_MAX_GROUP_KEYS)
		return;
	c->exprs = exprs;
	bind_all(walk, c);
	find_paths(walk, c);
	for (int n = 1; n <= walk->shape->noccurrences; n++)
	{
		reached += c->next[n - 1] >= 0 ? 1 : 0;
		bound += c->next[n - 1] == 0 ? 1 : 0;
	}
	if (bound == 0)
		return;
	c->scores[0] = reached;
	c->scores[1] = bms_num_members(determined(walk, c));
	c->scores[2] = list_length(exprs);
	c->scores[3] = count_outputs(walk, exprs) == list_length(exprs);
	c->scores[4] = bound;
	*candidates = lappend(*candidates, c);
}

/* Those of the expressions that are bound to n; where they hold a unique key of it, that one alone. */
static void
consider_bound(const TdKeyedWalk *walk, List **candidates, const Candidate *all, int n)
{
	List	   *chosen = NIL;
	ListCell   *lc,
			   *lu;

	for (int i = 0; i < list_length(all->exprs); i++)
	{
		if (bound_to(all, n, i) && list_length(chosen) < TD_MAX_GROUP_KEYS)
			chosen = lappend(chosen, list_nth(all->exprs, i));
	}
	foreach(lu, td_unique_keys(walk->shape->occurrences[n - 1].relid))
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
			consider(walk, candidates, exprs);
			return;
		}
	}
	consider(walk, candidates, chosen);
}

/* Parts of a list of expressions, each of which could be in a key. */
static void
consider_parts(const TdKeyedWalk *walk, List **candidates, List *exprs)
{
	Candidate	all = {NIL};
	ListCell   *lc;

	foreach(lc, exprs)
	{
		if (type_can_be_key(exprType(lfirst(lc))))
			all.exprs = list_append_unique(all.exprs, lfirst(lc));
	}
	bind_all(walk, &all);
	for (int n = 1; n <= walk->shape->noccurrences; n++)
		consider_bound(walk, candidates, &all, n);
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

static void
consider_table(const TdKeyedWalk *walk, List **candidates, int rti, const TdOccurrence *o)
{
	List	   *unique = td_unique_keys(o->relid);
	ListCell   *lc;

	foreach(lc, unique)
		consider_parts(walk, candidates, columns_of(walk, rti, lfirst(lc)));
	if (unique == NIL)
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

static bool
has_groups(const Query *query)
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

static bool
is_better(const Candidate *a, const Candidate *b)
{
	for (int i = 0; i < lengthof(a->scores); i++)
	{
		if (a->scores[i] != b->scores[i])
			return a->scores[i] > b->scores[i];
	}
	return false;
}

static bool
refuse_keyless(const Query *query, TdError *err)
{
	List	   *exprs = has_groups(query) ? grouping_expressions(query) : NIL;
	ListCell   *lc;

	foreach(lc, exprs)
	{
		if (!type_can_be_key(exprType(lfirst(lc))))
			return td_refuse(err, TD_NOT_UNORDERED_KEY, format_type_be(exprType(lfirst(lc))));
	}
	if (query->setOperations)
		return td_refuse(err, TD_NOT_KEYLESS_SET, NULL);
	if (query->groupingSets && exprs == NIL)
		return td_refuse(err, TD_NOT_GROUPING_SETS, NULL);
	if (query->hasAggs && !query->groupClause)
		return td_refuse(err, TD_NOT_WHOLE_AGGREGATE, NULL);
	if (query->groupClause || query->groupingSets || query->distinctClause)
		return td_refuse(err, TD_NOT_KEYLESS_GROUPS, NULL);
	return td_refuse(err, query->windowClause ? TD_NOT_WHOLE_WINDOW : TD_NOT_KEYLESS, NULL);
}

static const Candidate *
best_candidate(const TdKeyedWalk *walk, TdError *err)
{
	const Query *query = walk->top->query;
	const Candidate *best = NULL;
	List	   *candidates = NIL;
	ListCell   *lc;

	if (query->setOperations)
		consider_set(walk, &candidates);
	else if (has_groups(query))
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
	else if (all_full(walk, best))
	{
		td_refuse(err, TD_NOT_ALL_FULL, NULL);
		best = NULL;
	}
	return best;
}

/* ---- lineage ---- */

static List *
conditions_on(const TdKeyedWalk *walk, int n)
{
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, walk->conjuncts)
	{
		TdConjunct *conjunct = lfirst(lc);

		if (bms_membership(conjunct->reads) == BMS_SINGLETON && bms_is_member(n, conjunct->reduces))
			found = list_append_unique(found, conjunct->expr);
	}
	return found;
}

static TdLineage
lineage_of(const TdKeyedWalk *walk, const Candidate *c, int n)
{
	TdLineage	lineage = {conditions_on(walk, n)};
	int			last = n;
	ListCell   *lc;

	if (c->next[n - 1] < 0)
		return lineage;
	while (c->next[last - 1] > 0)
	{
		int			next = c->next[last - 1];

		foreach(lc, walk->conjuncts)
		{
			TdConjunct *conjunct = lfirst(lc);

			if (leads(conjunct, last, next))
				lineage.quals = list_append_unique(lineage.quals, conjunct->expr);
		}
		lineage.quals = list_concat(lineage.quals, conditions_on(walk, next));
		lineage.path = lappend_int(lineage.path, next);
		last = next;
	}
	lineage.keys = c->bound[last - 1];
	return lineage;
}

/* Its key and lineage may read columns that the query does not. */
static void
note_columns(TdKeyedWalk *walk, const TdLineage *lineage)
{
	List	   *vars = pull_var_clause((Node *) list_make3(lineage->local, lineage->quals, lineage->keys), 0);
	ListCell   *lc;

	foreach(lc, vars)
	{
		TdOccurrence *o = &walk->shape->occurrences[lfirst_node(Var, lc)->varno - 1];

		o->columns = bms_add_member(o->columns, lfirst_node(Var, lc)->varattno);
	}
}

/* ---- where a key is restricted ---- */

static void
mark_here(Query *query, Node *expr, int key)
{
	PlaceHolderVar *mark = makeNode(PlaceHolderVar);

	mark->phexpr = copyObject((Expr *) expr);
	mark->phid = key;
	query->jointree->quals = (Node *) lappend(td_and_list(query->jointree->quals), mark);
	if (list_length((List *) query->jointree->quals) == 1)
		query->jointree->quals = (Node *) mark;
	else
		query->jointree->quals = (Node *) makeBoolExpr(AND_EXPR, (List *) query->jointree->quals, -1);
}

static bool
output_binds(const Query *query, int resno, Oid type)
{
	ListCell   *lc;

	if (query->setOperations)
	{
		foreach(lc, td_keyed_branches(query))
		{
			if (!output_binds(rt_fetch(lfirst_int(lc), query->rtable)->subquery, resno, type))
				return false;
		}
		return !query->limitCount && !query->limitOffset;
	}
	return td_keyed_output(query, resno, type) != NULL;
}

/* On the lowest level where it is the same; the planner would bring it there, but not below EXCEPT. */
static void mark_output(Query *query, int resno, int key);

static void
mark(Query *query, Node *expr, int key)
{
	const Var  *var = IsA(expr, Var) && ((Var *) expr)->varlevelsup == 0 ? (Var *) expr : NULL;
	RangeTblEntry *rte = var ? rt_fetch(var->varno, query->rtable) : NULL;

	if (rte && rte->rtekind == RTE_SUBQUERY && output_binds(rte->subquery, var->varattno, var->vartype))
		mark_output(rte->subquery, var->varattno, key);
	else
		mark_here(query, expr, key);
}

static void
mark_output(Query *query, int resno, int key)
{
	ListCell   *lc;

	if (query->setOperations)
	{
		foreach(lc, td_keyed_branches(query))
			mark_output(rt_fetch(lfirst_int(lc), query->rtable)->subquery, resno, key);
	}
	else
		mark(query, (Node *) get_tle_by_resno(query->targetList, resno)->expr, key);
}

/* ---- the result ---- */

/* k<i>, unless the result has a column of that name. */
static char *
key_name(const TdShape *shape, int i)
{
	char	   *name = psprintf("k%d", i);

	for (int c = 0; c < shape->ncolumns; c++)
	{
		if (strcmp(shape->columns[c].name, name) == 0)
		{
			name = psprintf("%s_", name);
			c = -1;
		}
	}
	return name;
}

static void
describe_keys(TdKeyedWalk *walk, TdKeyed *keyed, const Candidate *c)
{
	int			i = 0;
	ListCell   *lc;

	keyed->nkeys = list_length(c->exprs);
	keyed->keys = palloc0(keyed->nkeys * sizeof(TdStateColumn));
	keyed->outputs = palloc0(keyed->nkeys * sizeof(int));
	keyed->stored = true;
	foreach(lc, c->exprs)
	{
		keyed->keys[i] = (TdStateColumn) {key_name(walk->shape, i + 1), getBaseType(exprType(lfirst(lc))), -1, exprCollation(lfirst(lc))};
		keyed->outputs[i] = output_of(walk, lfirst(lc));
		keyed->stored = keyed->stored && keyed->outputs[i];
		i++;
	}
}

static void
add_key_columns(Query *query, const TdKeyed *keyed, const List *exprs)
{
	List	   *tlist = NIL;
	int			i = 0;
	ListCell   *lc;

	foreach(lc, exprs)
	{
		tlist = lappend(tlist, makeTargetEntry(copyObject(lfirst(lc)), i + 1, keyed->keys[i].name, false));
		i++;
	}
	foreach(lc, query->targetList)
		lfirst_node(TargetEntry, lc)->resno += keyed->nkeys;
	query->targetList = list_concat(tlist, query->targetList);
}

static bool
one_row_each(const TdKeyedWalk *walk, const Candidate *c)
{
	const TdLevel *top = walk->top;
	Bitmapset  *rows = determined(walk, c);

	if (top->query->setOperations || has_groups(top->query) || top->query->hasTargetSRFs)
		return false;
	for (int rti = 1; rti <= list_length(top->query->rtable); rti++)
	{
		if (rt_fetch(rti, top->query->rtable)->rtekind != RTE_RELATION && rt_fetch(rti, top->query->rtable)->rtekind != RTE_JOIN)
			return false;
		if (top->occurrence[rti - 1] && !bms_is_member(top->occurrence[rti - 1], rows))
			return false;
	}
	return true;
}

static List *
all_outputs(const List *clauses, const Query *query)
{
	List	   *numbers = NIL;
	ListCell   *lc,
			   *lt;

	foreach(lc, clauses)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), (List *) query->targetList);
		int			number = 0,
					found = 0;

		foreach(lt, query->targetList)
		{
			number += lfirst_node(TargetEntry, lt)->resjunk ? 0 : 1;
			if (!lfirst_node(TargetEntry, lt)->resjunk && found == 0 && equal(lfirst_node(TargetEntry, lt)->expr, expr))
				found = number;
		}
		if (found == 0 || !td_type_ordered(exprType(expr)))
			return NIL;
		numbers = list_append_unique_int(numbers, found);
	}
	return list_length(numbers) <= TD_MAX_GROUP_KEYS ? numbers : NIL;
}

/* A key of the result, nulls equal, that can be proved at once. */
static List *
unique_outputs(const TdKeyedWalk *walk, const TdKeyed *keyed, const Candidate *c)
{
	const Query *query = walk->top->query;
	List	   *numbers = NIL;

	if (query->hasTargetSRFs || query->setOperations)
		return NIL;
	if (query->distinctClause)
		return all_outputs(query->distinctClause, query);
	if (query->groupClause && !query->groupingSets)
		return all_outputs(query->groupClause, query);
	if (!keyed->stored || !one_row_each(walk, c))
		return NIL;
	for (int i = 0; i < keyed->nkeys; i++)
		numbers = list_append_unique_int(numbers, keyed->outputs[i]);
	return numbers;
}

TdKeyed *
td_keyed_choose(TdKeyedWalk *walk, TdError *err)
{
	TdShape    *shape = walk->shape;
	const Candidate *c = best_candidate(walk, err);
	TdKeyed    *keyed;
	int			i = 1;
	ListCell   *lc;

	if (c == NULL)
		return NULL;
	keyed = palloc0(sizeof(TdKeyed));
	keyed->private = palloc0(sizeof(TdKeyedPrivate));
	keyed->private->lineage = palloc0(shape->noccurrences * sizeof(TdLineage));
	describe_keys(walk, keyed, c);
	shape->unique = unique_outputs(walk, keyed, c);
	for (int n = 1; n <= shape->noccurrences; n++)
	{
		keyed->private->lineage[n - 1] = lineage_of(walk, c, n);
		note_columns(walk, &keyed->private->lineage[n - 1]);
	}
	keyed->private->marked = copyObject(walk->top->query);
	foreach(lc, c->exprs)
	{
		if (walk->top->query->setOperations)
			mark_output(keyed->private->marked, output_number(walk->top->query, lfirst(lc)), i++);
		else
			mark(keyed->private->marked, lfirst(lc), i++);
	}
	keyed->private->query = copyObject(walk->top->query);
	if (!keyed->stored)
	{
		add_key_columns(keyed->private->query, keyed, c->exprs);
		add_key_columns(keyed->private->marked, keyed, c->exprs);
	}
	return keyed;
}
