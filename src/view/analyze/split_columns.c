/*-------------------------------------------------------------------------
 *
 * split_columns.c
 *		What a level reads of its FROM, and the same read from a part.
 *
 * NOTES
 *		As split.c.  Sublinks and lateral subqueries below the level are searched,
 *		too.  Aliases of joins were spelt out before.
 *
 * IDENTIFICATION
 *		src/view/analyze/split_columns.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"

#include "view/analyze/split_internal.h"

typedef struct Columns
{
	int			depth;			/* below the level */
	Index		from;			/* entry that they are of; 0 = any */
	List	   *exprs;
	bool		whole;			/* a whole row, or a system column */
	Index		rti;
} Columns;

/* ---- collecting ---- */

static bool
same_column(const Var *a, const Var *b)
{
	return a->varno == b->varno && a->varattno == b->varattno;
}

static void
add_column(Columns *c, const Var *var)
{
	Var		   *copy;
	ListCell   *lc;

	foreach(lc, c->exprs)
	{
		if (same_column(lfirst_node(Var, lc), var))
			return;
	}
	copy = copyObject((Var *) var);
	copy->varlevelsup = 0;
	c->exprs = lappend(c->exprs, copy);
}

static bool
collect(Node *node, Columns *c)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		const Var  *var = (Var *) node;

		if ((int) var->varlevelsup != c->depth || (c->from && (Index) var->varno != c->from))
			return false;
		c->whole = c->whole || var->varattno <= 0;
		add_column(c, var);
		return false;
	}
	if (IsA(node, Query))
	{
		bool		stop;

		c->depth++;
		stop = query_tree_walker((Query *) node, collect, c, QTW_IGNORE_JOINALIASES);
		c->depth--;
		return stop;
	}
	return expression_tree_walker(node, collect, c);
}

bool
td_split_collect(Node *node, Index rti, List **vars)
{
	Columns		c = {0, rti, *vars};

	collect(node, &c);
	*vars = c.exprs;
	return !c.whole;
}

bool
td_split_columns_of(Query *query, Index rti, List **vars)
{
	Columns		c = {0, rti};

	query_tree_walker(query, collect, &c, QTW_IGNORE_JOINALIASES);
	*vars = c.exprs;
	return !c.whole;
}

/* Is an entry read as a row?  The table of a part may have more columns. */
bool
td_split_reads_row(Query *query, Index rti)
{
	List	   *unused;

	return !td_split_columns_of(query, rti, &unused);
}

/* ---- replacing ---- */

/* The column of the part that stands for it; 0 = none. */
static int
column_of(const Columns *c, Node *node)
{
	int			number = 0;
	ListCell   *lc;

	foreach(lc, c->exprs)
	{
		Node	   *expr = lfirst(lc);

		number++;
		if (IsA(node, Var) && IsA(expr, Var))
		{
			if ((int) ((Var *) node)->varlevelsup == c->depth && same_column((Var *) node, (Var *) expr))
				return number;
		}
		else if (c->depth == 0 && equal(node, expr))
			return number;
	}
	return 0;
}

static Node *
replace(Node *node, Columns *c)
{
	int			number;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Node	   *copy;

		c->depth++;
		copy = (Node *) query_tree_mutator((Query *) node, replace, c, QTW_IGNORE_JOINALIASES);
		c->depth--;
		return copy;
	}
	number = IsA(node, TargetEntry) || IsA(node, List) ? 0 : column_of(c, node);
	if (number)
		return (Node *) makeVar(c->rti, number, exprType(node), exprTypmod(node), exprCollation(node), c->depth);
	return expression_tree_mutator(node, replace, c);
}

Node *
td_split_replace(Node *node, List *exprs, Index from, Index rti)
{
	Columns		c = {0, from, exprs, false, rti};

	return replace(node, &c);
}

void
td_split_read_columns(Query *query, List *vars, Index rti)
{
	Columns		c = {0, rti, vars, false, rti};

	(void) query_tree_mutator(query, replace, &c, QTW_DONT_COPY_QUERY | QTW_IGNORE_JOINALIASES);
}

bool
td_split_reads_outer(Query *query)
{
	return contain_vars_of_level((Node *) query, 1) || contain_aggs_of_level((Node *) query, 1);
}
