/*-------------------------------------------------------------------------
 *
 * keyed_resolve.c
 *		Expressions of any level of a query in terms of columns of tables.
 *
 * NOTES
 *		A column of a subquery in FROM stands for the expression in its target
 *		list, if a condition on it may as well be tested inside, before groups,
 *		windows and DISTINCT are made; otherwise it stands for nothing, and what
 *		names it is no condition for us.  Where a subquery may be null-extended
 *		the expression must be null then, too.
 *
 *		A set operation gives as many expressions as it has branches.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_resolve.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_agg.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/typcache.h"

#include "view/analyze/keyed_internal.h"

typedef struct Resolving
{
	const TdLevel *level;
	int			branch;			/* which one of a set operation to take */
	const TdLevel *set;			/* the set operation that was met */
	bool		failed;
} Resolving;

static Node *resolve_output(const TdLevel *level, int resno, Oid type, Resolving *r);

/* ---- which columns may be restricted below ---- */

static bool
among(const Node *expr, const List *clauses, List *tlist)
{
	ListCell   *lc;

	foreach(lc, clauses)
	{
		if (equal(get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), tlist), expr))
			return true;
	}
	return false;
}

/* Is it a key of every grouping set? */
static bool
in_all_sets(const Node *expr, const Query *query)
{
	List	   *sets = expand_grouping_sets(query->groupingSets, query->groupDistinct, -1);
	ListCell   *ls,
			   *lr;

	foreach(ls, sets)
	{
		bool		found = false;

		foreach(lr, (List *) lfirst(ls))
			found = found || equal(get_sortgroupref_tle(lfirst_int(lr), query->targetList)->expr, expr);
		if (!found)
			return false;
	}
	return sets != NIL;
}

static bool
is_of_rows(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc) || IsA(node, Param))
		return true;
	return expression_tree_walker(node, is_of_rows, context);
}

/* Can it be computed from one row of FROM, to one value? */
static bool
is_of_row(const Node *expr)
{
	return !is_of_rows((Node *) expr, NULL) && !expression_returns_set((Node *) expr);
}

bool
td_keyed_column_binds(const Query *query, const Node *expr)
{
	ListCell   *lc;

	if (query->limitCount || query->limitOffset || !is_of_row(expr))
		return false;
	if (query->groupingSets && !in_all_sets(expr, query))
		return false;
	if ((query->groupClause || query->hasAggs || query->havingQual || query->groupingSets) && !among(expr, query->groupClause, query->targetList))
		return false;
	if (query->distinctClause && !among(expr, query->distinctClause, query->targetList))
		return false;
	foreach(lc, query->windowClause)
	{
		if (!among(expr, lfirst_node(WindowClause, lc)->partitionClause, query->targetList))
			return false;
	}
	return true;
}

static void
collect_branches(Node *node, List **branches)
{
	if (IsA(node, RangeTblRef))
		*branches = lappend_int(*branches, ((RangeTblRef *) node)->rtindex);
	else
	{
		collect_branches(((SetOperationStmt *) node)->larg, branches);
		collect_branches(((SetOperationStmt *) node)->rarg, branches);
	}
}

List *
td_keyed_branches(const Query *query)
{
	List	   *branches = NIL;

	collect_branches(query->setOperations, &branches);
	return branches;
}

/* ---- resolving ---- */

static bool
reads_walker(Node *node, Bitmapset **reads)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		*reads = bms_add_member(*reads, ((Var *) node)->varno);
	return expression_tree_walker(node, reads_walker, reads);
}

/* The occurrences that a resolved expression reads. */
Bitmapset *
td_keyed_reads(const Node *expr)
{
	Bitmapset  *reads = NULL;

	reads_walker((Node *) expr, &reads);
	return reads;
}

static Node *
resolve_var(const Var *var, Resolving *r)
{
	const TdLevel *level = r->level;
	int			i = var->varno - 1;

	for (int up = 0; up < (int) var->varlevelsup; up++)
		level = level->parent;
	if (var->varattno > 0 && level->occurrence[i])
		return (Node *) makeVar(level->occurrence[i], var->varattno, var->vartype, var->vartypmod, var->varcollid, 0);
	if (var->varattno > 0 && level->child[i])
	{
		Node	   *expr = resolve_output(level->child[i], var->varattno, var->vartype, r);

		/* null-extended, the column is null: so must be what it stands for */
		if (expr && (bms_overlap(td_keyed_reads(expr), level->child[i]->rels) && (!level->outer_joins || !contain_nonstrict_functions(expr))))
			return expr;
	}
	r->failed = true;
	return NULL;
}

static Node *
resolve_mutator(Node *node, Resolving *r)
{
	if (node == NULL || r->failed)
		return NULL;
	if (IsA(node, Var))
		return resolve_var((Var *) node, r);
	return expression_tree_mutator(node, resolve_mutator, r);
}

/* What a SELECT gives as a column of that type: branches of a set operation are cast to what they have in common.  NULL = nothing that binds. */
Node *
td_keyed_output(const Query *query, int resno, Oid type)
{
	TargetEntry *tle = get_tle_by_resno(query->targetList, resno);

	if (tle == NULL || tle->resjunk || !td_keyed_column_binds(query, (Node *) tle->expr))
		return NULL;
	if (exprType((Node *) tle->expr) == type)
		return (Node *) tle->expr;
	return coerce_to_target_type(NULL, copyObject((Node *) tle->expr), exprType((Node *) tle->expr), type, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
}

static Node *
resolve_branch(const TdLevel *level, int resno, Oid type, Resolving *r)
{
	if (level->query->limitCount || level->query->limitOffset || (r->set && r->set != level))
		return NULL;
	r->set = level;
	return resolve_output(list_nth(level->branches, r->branch), resno, type, r);
}

/* What an output column of a level stands for; NULL = nothing. */
static Node *
resolve_output(const TdLevel *level, int resno, Oid type, Resolving *r)
{
	Resolving	inner = *r;
	Node	   *output,
			   *expr;

	check_stack_depth();
	if (level->query->setOperations)
		return resolve_branch(level, resno, type, r);
	output = td_keyed_output(level->query, resno, type);
	if (output == NULL)
		return NULL;
	inner.level = level;
	expr = resolve_mutator(output, &inner);
	r->set = inner.set;
	return inner.failed ? NULL : expr;
}

/* For each branch of the set operation that resolve() meets, or once. */
static List *
for_each_branch(const TdLevel *level, Node *expr, int resno, Oid type)
{
	List	   *all = NIL;
	int			n = 1;

	for (int i = 0; i < n; i++)
	{
		Resolving	r = {level, i, NULL, false};
		Node	   *one = expr ? resolve_mutator(expr, &r) : resolve_output(level, resno, type, &r);

		if (one == NULL || r.failed)
			return NIL;
		all = lappend(all, one);
		n = r.set ? list_length(r.set->branches) : 1;
	}
	return all;
}

List *
td_keyed_resolve(const TdLevel *level, Node *expr)
{
	if (!is_of_row(expr))
		return NIL;
	return for_each_branch(level, expr, 0, InvalidOid);
}

List *
td_keyed_resolve_output(const TdLevel *level, int resno, Oid type)
{
	return for_each_branch(level, NULL, resno, type);
}

Node *
td_keyed_bare(Node *expr)
{
	while (expr && IsA(expr, RelabelType))
	{
		Node	   *arg = (Node *) ((RelabelType *) expr)->arg;

		if (lookup_type_cache(exprType(arg), TYPECACHE_EQ_OPR)->eq_opr != lookup_type_cache(exprType(expr), TYPECACHE_EQ_OPR)->eq_opr ||
			exprCollation(arg) != exprCollation(expr))
			break;
		expr = arg;
	}
	return expr;
}
