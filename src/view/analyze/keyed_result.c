/*-------------------------------------------------------------------------
 *
 * keyed_result.c
 *		The chosen key in what plan/ works with: lineage, and the query with marks
 *		where the key is restricted.
 *
 * NOTES
 *		A mark stands on the lowest level on which the restriction is the same: the
 *		planner would bring it there, but not below EXCEPT.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_result.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "view/analyze/keyed_internal.h"

/* ---- lineage ---- */

static List *
conditions_on(const List *conjuncts, int n)
{
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, conjuncts)
	{
		TdConjunct *conjunct = lfirst(lc);

		if (bms_membership(conjunct->reads) == BMS_SINGLETON && bms_is_member(n, conjunct->reduces))
			found = list_append_unique(found, conjunct->expr);
	}
	return found;
}

/* Columns of occurrence n that equal columns of another one. */
static Bitmapset *
columns_equal_to(const List *conjuncts, int n, int other)
{
	Bitmapset  *attnums = NULL;
	Var		   *a,
			   *b;
	ListCell   *lc;

	foreach(lc, conjuncts)
	{
		if (!td_equal_columns(((TdConjunct *) lfirst(lc))->expr, &a, &b))
			continue;
		if (a->varno == n && b->varno == other)
			attnums = bms_add_member(attnums, a->varattno);
		if (b->varno == n && a->varno == other)
			attnums = bms_add_member(attnums, b->varattno);
	}
	return attnums;
}

/* The query for some keys finds rows by all of them at once. */
static List *
columns_compared(const TdKeyedWalk *walk, int n)
{
	List	   *sets = NIL;

	for (int other = 1; other <= walk->shape->noccurrences; other++)
	{
		Bitmapset  *attnums = other == n ? NULL : columns_equal_to(walk->conjuncts, n, other);

		if (bms_membership(attnums) == BMS_MULTIPLE)
			sets = lappend(sets, attnums);
	}
	return sets;
}

/* What filters its changes must hold for every key, that of nulls included. */
static TdLineage
lineage_of(const TdKeyedWalk *walk, const TdCandidate *c, int n)
{
	TdLineage	lineage = {conditions_on(walk->conjuncts, n)};
	int			last = n;
	ListCell   *lc;

	lineage.compared = columns_compared(walk, n);
	if (c->next[n - 1] < 0)
		return lineage;
	while (c->next[last - 1] > 0)
	{
		int			next = c->next[last - 1];

		foreach(lc, c->conjuncts)
		{
			TdConjunct *conjunct = lfirst(lc);

			if (td_keyed_leads(conjunct, last, next))
				lineage.quals = list_append_unique(lineage.quals, conjunct->expr);
		}
		lineage.quals = list_concat(lineage.quals, conditions_on(c->conjuncts, next));
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
	List	   *led = pull_var_clause((Node *) list_make3(lineage->quals, lineage->keys, lineage->matched_quals), 0);
	List	   *vars = list_concat_copy(pull_var_clause((Node *) lineage->local, 0), led);
	ListCell   *lc;

	foreach(lc, vars)
	{
		const Var  *var = lfirst_node(Var, lc);
		TdOccurrence *o = &walk->shape->occurrences[var->varno - 1];

		o->columns = bms_add_member(o->columns, var->varattno);
		if (list_member_ptr(led, var))
			walk->beyond[o->n - 1] = bms_add_member(walk->beyond[o->n - 1], var->varattno);
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

/* Is the item of FROM not on the nullable side of any outer join?  Rows that a restriction takes away there would be nulls above. */
static bool
is_preserved(Node *node, int rti)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == rti;
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;
		bool		left = join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT;
		bool		right = join->jointype == JOIN_INNER || join->jointype == JOIN_RIGHT;

		return (left && is_preserved(join->larg, rti)) || (right && is_preserved(join->rarg, rti));
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
	{
		if (is_preserved(lfirst(lc), rti))
			return true;
	}
	return false;
}

/* On the lowest level where it is the same; the planner would bring it there, but not below EXCEPT. */
static void mark_output(Query *query, int resno, int key);

static void
mark(Query *query, Node *expr, int key)
{
	const Var  *var = IsA(expr, Var) && ((Var *) expr)->varlevelsup == 0 ? (Var *) expr : NULL;
	RangeTblEntry *rte = var ? rt_fetch(var->varno, query->rtable) : NULL;

	if (rte && rte->rtekind == RTE_SUBQUERY && is_preserved((Node *) query->jointree, var->varno) && output_binds(rte->subquery, var->varattno, var->vartype))
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
describe_keys(TdKeyedWalk *walk, TdKeyed *keyed, const TdCandidate *c)
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
		keyed->outputs[i] = td_keyed_output_of(walk, lfirst(lc));
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
		Expr	   *expr = copyObject(lfirst(lc));

		if (exprType((Node *) expr) != keyed->keys[i].type || exprTypmod((Node *) expr) != keyed->keys[i].typmod)
			expr = (Expr *) makeRelabelType(expr, keyed->keys[i].type, keyed->keys[i].typmod, keyed->keys[i].collation, COERCE_EXPLICIT_CAST);
		tlist = lappend(tlist, makeTargetEntry(expr, i + 1, keyed->keys[i].name, false));
		i++;
	}
	foreach(lc, query->targetList)
		lfirst_node(TargetEntry, lc)->resno += keyed->nkeys;
	query->targetList = list_concat(tlist, query->targetList);
}

static bool
one_row_each(const TdKeyedWalk *walk, const TdCandidate *c)
{
	const TdLevel *top = walk->top;
	Bitmapset  *rows = td_keyed_determined(walk, c);

	if (top->query->setOperations || td_keyed_has_groups(top->query) || top->query->hasTargetSRFs)
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
unique_outputs(const TdKeyedWalk *walk, const TdKeyed *keyed, const TdCandidate *c)
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
	const TdCandidate *c = td_keyed_best(walk, err);
	TdKeyed    *keyed;
	int			i = 1;
	ListCell   *lc;

	if (c == NULL)
		return NULL;
	keyed = palloc0(sizeof(TdKeyed));
	keyed->private = palloc0(sizeof(TdKeyedPrivate));
	keyed->private->lineage = palloc0(shape->noccurrences * sizeof(TdLineage));
	keyed->private->nulls = c->nullable != 0;
	describe_keys(walk, keyed, c);
	shape->unique = unique_outputs(walk, keyed, c);
	for (int n = 1; n <= shape->noccurrences; n++)
		keyed->private->lineage[n - 1] = lineage_of(walk, c, n);
	td_keyed_match(walk, keyed->private->lineage);
	for (int n = 1; n <= shape->noccurrences; n++)
		note_columns(walk, &keyed->private->lineage[n - 1]);
	for (int n = 1; n <= shape->noccurrences; n++)
		shape->occurrences[n - 1].settled = bms_difference(shape->occurrences[n - 1].columns, walk->beyond[n - 1]);
	keyed->private->marked = copyObject(walk->top->query);
	td_keyed_antijoins(keyed->private->marked);
	foreach(lc, c->exprs)
	{
		if (walk->top->query->setOperations)
			mark_output(keyed->private->marked, td_keyed_output_number(walk->top->query, lfirst(lc)), i++);
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
