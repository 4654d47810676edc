/*-------------------------------------------------------------------------
 *
 * joins.c
 *		The columns of joins, where a subquery in them has got more.
 *
 * NOTES
 *		A join has all columns of both sides, and a query that is parsed has that
 *		right.  Ours get columns later: the ordinary view has one more by now, or
 *		an order is carried upwards.  The deparser takes a column that a side has
 *		and the join has not for a column of the join all the same, and reads it
 *		behind the end of an array.  A new column of a side stands before those of
 *		the other side, so columns of the join change their numbers.
 *
 * IDENTIFICATION
 *		src/view/plan/joins.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"

#include "view/plan/plan_internal.h"

/* One query. */
typedef struct Level
{
	Query	   *query;
	AttrNumber **numbers;		/* by entry - 1, of joins that have got columns: what the number of each column is now */
	int			depth;			/* below it */
} Level;

/* A side of a join. */
typedef struct Side
{
	Index		rti;
	RangeTblEntry *rte;
	const AttrNumber *numbers;	/* of its columns now; NULL = as they were */
	List	   *columns;		/* that the join has of it: merged ones, then the others */
} Side;

static void widen(Level *level, Node *node);

static AttrNumber
number_of(const AttrNumber *numbers, AttrNumber column)
{
	return numbers && column > 0 ? numbers[column - 1] : column;
}

static Side
side_of(Level *level, Node *node, const List *known, int nmerged)
{
	Side		side = {IsA(node, JoinExpr) ? castNode(JoinExpr, node)->rtindex : castNode(RangeTblRef, node)->rtindex};
	int			width;
	ListCell   *lc;

	side.rte = rt_fetch(side.rti, level->query->rtable);
	side.numbers = level->numbers[side.rti - 1];
	foreach(lc, known)
		side.columns = lappend_int(side.columns, number_of(side.numbers, lfirst_int(lc)));
	if (side.rte->rtekind != RTE_SUBQUERY && side.rte->rtekind != RTE_JOIN)
		return side;
	width = list_length(side.rte->eref->colnames);
	if (width == list_length(known))
		return side;
	side.columns = list_truncate(side.columns, nmerged);
	for (int i = 1; i <= width; i++)
	{
		if (!list_member_int(side.columns, i))
			side.columns = lappend_int(side.columns, i);
	}
	return side;
}

static Node *
column_of(const Side *side, AttrNumber column)
{
	const TargetEntry *tle;

	if (side->rte->rtekind == RTE_JOIN)
		return copyObject(list_nth(side->rte->joinaliasvars, column - 1));
	tle = list_nth_node(TargetEntry, side->rte->subquery->targetList, column - 1);
	return (Node *) makeVar(side->rti, column, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr), exprCollation((Node *) tle->expr), 0);
}

/* What the join is made of anew. */
typedef struct Widened
{
	List	   *vars;
	List	   *names;
	List	   *aliases;
	AttrNumber *numbers;
} Widened;

/* The columns of a side; was: those that the join has had, the first as number `first`. */
static void
add_columns(Widened *w, const RangeTblEntry *join, const Side *side, const List *was, int nmerged, int first)
{
	for (int i = nmerged; i < list_length(side->columns); i++)
	{
		AttrNumber	column = list_nth_int(side->columns, i);
		int			n = nmerged;

		while (n < list_length(was) && number_of(side->numbers, list_nth_int(was, n)) != column)
			n++;
		if (n < list_length(was))
		{
			int			old = first + n - nmerged;

			w->vars = lappend(w->vars, list_nth(join->joinaliasvars, old - 1));
			w->names = lappend(w->names, list_nth(join->eref->colnames, old - 1));
			w->numbers[old - 1] = list_length(w->vars);
			if (join->alias && old <= list_length(join->alias->colnames))
			{
				w->aliases = lappend(w->aliases, list_nth(join->alias->colnames, old - 1));
				continue;
			}
		}
		else
		{
			w->vars = lappend(w->vars, column_of(side, column));
			w->names = lappend(w->names, copyObject(list_nth(side->rte->eref->colnames, column - 1)));
		}
		w->aliases = lappend(w->aliases, copyObject(llast(w->names)));
	}
}

static void
widen_join(Level *level, JoinExpr *expr)
{
	RangeTblEntry *join = rt_fetch(expr->rtindex, level->query->rtable);
	int			nmerged = join->joinmergedcols;
	int			nleft = list_length(join->joinleftcols);
	Side		left = side_of(level, expr->larg, join->joinleftcols, nmerged);
	Side		right = side_of(level, expr->rarg, join->joinrightcols, nmerged);
	Widened		w = {NIL};

	if (list_length(left.columns) != nleft || list_length(right.columns) != list_length(join->joinrightcols))
	{
		w.vars = list_truncate(list_copy(join->joinaliasvars), nmerged);
		w.names = list_truncate(list_copy(join->eref->colnames), nmerged);
		w.aliases = list_truncate(list_copy(join->alias && join->alias->colnames ? join->alias->colnames : join->eref->colnames), nmerged);
		for (int i = list_length(w.aliases); i < nmerged; i++)
			w.aliases = lappend(w.aliases, list_nth(w.names, i));
		w.numbers = palloc0(sizeof(AttrNumber) * list_length(join->eref->colnames));
		for (int i = 0; i < nmerged; i++)
			w.numbers[i] = i + 1;
		add_columns(&w, join, &left, join->joinleftcols, nmerged, nmerged + 1);
		add_columns(&w, join, &right, join->joinrightcols, nmerged, nleft + 1);
		join->joinaliasvars = w.vars;
		join->eref = makeAlias(join->eref->aliasname, w.names);	/* trees that are copied by a mutator share it with what they were copied from */
		if (join->alias && join->alias->colnames)
			join->alias = makeAlias(join->alias->aliasname, w.aliases);
		level->numbers[expr->rtindex - 1] = w.numbers;
	}
	join->joinleftcols = left.columns;
	join->joinrightcols = right.columns;
}

/* What stands below it first. */
static void
widen(Level *level, Node *node)
{
	ListCell   *lc;

	if (IsA(node, FromExpr))
	{
		foreach(lc, castNode(FromExpr, node)->fromlist)
			widen(level, lfirst(lc));
	}
	else if (IsA(node, JoinExpr))
	{
		widen(level, castNode(JoinExpr, node)->larg);
		widen(level, castNode(JoinExpr, node)->rarg);
		widen_join(level, castNode(JoinExpr, node));
	}
}

/* Columns of joins, and those that say which column of a join they were written as. */
static bool
renumber(Node *node, Level *level)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if ((int) var->varlevelsup != level->depth)
			return false;
		if (!IS_SPECIAL_VARNO(var->varno))
			var->varattno = number_of(level->numbers[var->varno - 1], var->varattno);
		if (var->varnosyn > 0)
			var->varattnosyn = number_of(level->numbers[var->varnosyn - 1], var->varattnosyn);
		return false;
	}
	if (IsA(node, Query))
	{
		level->depth++;
		(void) query_tree_walker((Query *) node, renumber, level, 0);
		level->depth--;
		return false;
	}
	return expression_tree_walker(node, renumber, level);
}

static bool
widen_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		Level		level = {query, palloc0(sizeof(AttrNumber *) * Max(list_length(query->rtable), 1)), 0};
		bool		wider = false;

		if (query->jointree)
			widen(&level, (Node *) query->jointree);
		for (int i = 0; i < list_length(query->rtable); i++)
			wider |= level.numbers[i] != NULL;
		if (wider)
			(void) query_tree_walker(query, renumber, &level, 0);
		return query_tree_walker(query, widen_walker, NULL, 0);
	}
	return expression_tree_walker(node, widen_walker, context);
}

/* In the tree itself, on all its levels. */
void
td_widen_joins(Query *query)
{
	(void) widen_walker((Node *) query, NULL);
}
