/*-------------------------------------------------------------------------
 *
 * keyed_bind.c
 *		What a key is for each occurrence: bound by its own columns, or led to one
 *		that is.
 *
 * NOTES
 *		README.md has the theory.  A candidate's expressions are those of the
 *		topmost level; what is bound to an occurrence reads that one alone.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_bind.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "parser/parse_coerce.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/analyze/keyed_internal.h"

/* ---- binding ---- */

static bool
is_bound(const TdCandidate *c, int n)
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

Node *
td_keyed_bound_to(const TdCandidate *c, int n, int key)
{
	return n > 0 ? list_nth(c->bound[n - 1], key) : NULL;
}

/* As a value of the key's type, if that is nothing but another name of the type and values are equal by the same operator; NULL = it is not. */
static Node *
as_key(Node *expr, const Node *key)
{
	if (exprType(expr) == exprType(key))
		return expr;
	if (!IsBinaryCoercible(exprType(expr), getBaseType(exprType(key))) ||
		lookup_type_cache(exprType(expr), TYPECACHE_EQ_OPR)->eq_opr != lookup_type_cache(exprType(key), TYPECACHE_EQ_OPR)->eq_opr)
		return NULL;
	return (Node *) makeRelabelType((Expr *) expr, exprType(key), -1, exprCollation(key), COERCE_EXPLICIT_CAST);
}

/* Does it say something new? */
static bool
bind_to(TdCandidate *c, int n, int key, Node *expr)
{
	const Node *wanted = list_nth(c->exprs, key);
	Node	   *bound;

	if (n == 0 || td_keyed_bound_to(c, n, key) || (bound = as_key(expr, wanted)) == NULL)
		return false;
	if (exprCollation(expr) != exprCollation(wanted) && !(td_deterministic(exprCollation(expr)) && td_deterministic(exprCollation(wanted))))
		return false;
	lfirst(list_nth_cell(c->bound[n - 1], key)) = bound;
	return true;
}

int
td_keyed_output_number(const Query *query, const Node *expr)
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
bind_directly(const TdKeyedWalk *walk, TdCandidate *c, int key)
{
	const Query *query = walk->top->query;
	Node	   *expr = list_nth(c->exprs, key);
	List	   *resolved = query->setOperations ? td_keyed_resolve_output(walk->top, td_keyed_output_number(query, expr), exprType(expr)) : td_keyed_resolve(walk->top, expr);
	ListCell   *lc;

	foreach(lc, resolved)
	{
		Node	   *bare = td_keyed_bare(lfirst(lc));
		int			n = only_one(bare);

		if (n == c->nullable || !bms_is_member(n, walk->top->nullable))
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

static void bind_full_side(const TdKeyedWalk *walk, TdCandidate *c, int key, const TdTopEquality *e, Node *side);

/* coalesce(a.x, b.x) of a FULL JOIN b ON a.x = b.x, and the same of more of them. */
static void
bind_full(const TdKeyedWalk *walk, TdCandidate *c, int key, Node *expr, const Bitmapset *outer)
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
bind_full_side(const TdKeyedWalk *walk, TdCandidate *c, int key, const TdTopEquality *e, Node *side)
{
	List	   *resolved = td_keyed_resolve(walk->top, side);
	int			n = list_length(resolved) == 1 ? only_one(linitial(resolved)) : 0;

	if (IsA(side, CoalesceExpr))
		bind_full(walk, c, key, side, e->rels);
	else if (n && !bms_is_member(n, e->nullable))
		bind_to(c, n, key, td_keyed_bare(linitial(resolved)));
}

static bool
any_bound(const TdKeyedWalk *walk, const TdCandidate *c, int key)
{
	for (int n = 1; n <= walk->shape->noccurrences; n++)
	{
		if (td_keyed_bound_to(c, n, key))
			return true;
	}
	return false;
}

/* "x = key" on the topmost level; not for a key that may be null-extended: its null stands for rows that have lost such an x, too. */
static void
bind_equal(const TdKeyedWalk *walk, TdCandidate *c, int key)
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
bind_across(TdCandidate *c, int key, const TdConjunct *conjunct, Node *mine, Node *its)
{
	int			n = only_one(mine);
	int			other = only_one(its);

	return n && other && bms_is_member(n, conjunct->reduces) && td_keyed_bound_to(c, n, key) == NULL && equal(td_keyed_bare(td_keyed_bound_to(c, other, key)), its) &&
		bind_to(c, n, key, mine);
}

/* The conjuncts, where the occurrence of the key is not null-extended. */
static List *
conjuncts_without_nulls(const TdKeyedWalk *walk, int nullable)
{
	List	   *conjuncts = NIL;
	ListCell   *lc;

	foreach(lc, walk->conjuncts)
	{
		TdConjunct *conjunct = palloc(sizeof(TdConjunct));

		*conjunct = *(TdConjunct *) lfirst(lc);
		for (int i = 0; i < lengthof(conjunct->sides); i++)
		{
			if (bms_is_member(nullable, conjunct->sides[i].rels))
				conjunct->reduces = bms_union(conjunct->reduces, conjunct->sides[i].reduces);
		}
		conjuncts = lappend(conjuncts, conjunct);
	}
	return conjuncts;
}

void
td_keyed_bind(const TdKeyedWalk *walk, TdCandidate *c)
{
	int			n = walk->shape->noccurrences;
	bool		more = true;

	c->conjuncts = c->nullable ? conjuncts_without_nulls(walk, c->nullable) : walk->conjuncts;
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
		foreach(lc, c->conjuncts)
		{
			const TdConjunct *conjunct = lfirst(lc);

			for (int key = 0; conjunct->left && key < list_length(c->exprs); key++)
				more = bind_across(c, key, conjunct, conjunct->left, conjunct->right) ||
					bind_across(c, key, conjunct, conjunct->right, conjunct->left) || more;
		}
	}
}

/* ---- paths ---- */

bool
td_keyed_leads(const TdConjunct *conjunct, int from, int to)
{
	return bms_num_members(conjunct->reads) == 2 && bms_is_member(from, conjunct->reduces) && bms_is_member(to, conjunct->reads) && from != to;
}

/* One step more; false = nothing is reached any more. */
static bool
step(const TdKeyedWalk *walk, TdCandidate *c, TdEdge edge)
{
	int			n = walk->shape->noccurrences;
	int		   *before = palloc(n * sizeof(int));
	bool		more = false;

	memcpy(before, c->next, n * sizeof(int));
	for (int from = 1; from <= n; from++)
	{
		ListCell   *lc;

		foreach(lc, c->conjuncts)
		{
			const TdConjunct *conjunct = lfirst(lc);

			for (int to = 1; to <= n && c->next[from - 1] < 0 && conjunct->edge <= edge; to++)
			{
				if (before[to - 1] >= 0 && td_keyed_leads(conjunct, from, to))
				{
					c->next[from - 1] = to;
					more = true;
				}
			}
		}
	}
	return more;
}

void
td_keyed_find_paths(const TdKeyedWalk *walk, TdCandidate *c)
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
	foreach(lu, td_unique_keys(walk->shape->occurrences[n - 1].relid, walk->shape->occurrences[n - 1].inh))
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
Bitmapset *
td_keyed_determined(const TdKeyedWalk *walk, const TdCandidate *c)
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
		foreach(lc, c->conjuncts)
		{
			const TdConjunct *conjunct = lfirst(lc);

			more = learn_column(&known, conjunct, conjunct->left, conjunct->right) || learn_column(&known, conjunct, conjunct->right, conjunct->left) || more;
		}
		for (int n = 1; n <= walk->shape->noccurrences; n++)
			more = learn_row(walk, &known, n) || more;
	}
	return known.rows;
}
