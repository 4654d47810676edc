/*-------------------------------------------------------------------------
 *
 * keyed_prepare.c
 *		A query of many levels made plain: WITH and ordinary views are put in
 *		place, aliases of joins are spelt out.
 *
 * NOTES
 *		Putting a WITH query in place wherever it is named changes no result: it
 *		is neither recursive nor does it change data, and all functions give the
 *		same result each time.
 *
 *		What views can't have at any level is refused before.
 *
 *		Where each of a few queries names the one before it twice, their number
 *		doubles at each step: what is put in place is counted, and refused before
 *		it fills the memory.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_prepare.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "view/analyze/keyed_internal.h"

#define MAX_ENTRIES 4000		/* of the range tables of what is put in place */

typedef struct Preparing
{
	Oid			owner;
	List	  **views;			/* those put in place; NULL = they stay */
	TdError    *err;
	int			entries;		/* put in place up to now */
} Preparing;

/* ---- how much ---- */

static bool
count_entries(Node *node, int *n)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		(*n)++;
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, count_entries, n, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, count_entries, n);
}

/* May a copy of this query be put in place, too? */
static bool
has_room(Query *query, Preparing *p)
{
	CHECK_FOR_INTERRUPTS();
	(void) count_entries((Node *) query, &p->entries);
	return p->entries <= MAX_ENTRIES || td_refuse(p->err, TD_NOT_TOO_MANY_SUBQUERIES, psprintf("%d", MAX_ENTRIES));
}

/* ---- WITH ---- */

typedef struct Inlining
{
	CommonTableExpr *cte;
	int			depth;			/* below the query that has it */
	Preparing  *p;
} Inlining;

/* The entry becomes a subquery, whose columns are called as before. */
static void
make_subquery(RangeTblEntry *rte, Query *subquery)
{
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = subquery;
	rte->alias = copyObject(rte->eref);
	rte->security_barrier = false;
	rte->ctename = NULL;
	rte->ctelevelsup = 0;
	rte->self_reference = false;
	rte->coltypes = NIL;
	rte->coltypmods = NIL;
	rte->colcollations = NIL;
}

static bool
inline_walker(Node *node, Inlining *in)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		bool		result;

		in->depth++;
		result = query_tree_walker((Query *) node, inline_walker, in, QTW_EXAMINE_RTES_AFTER);
		in->depth--;
		return result;
	}
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_CTE && strcmp(rte->ctename, in->cte->ctename) == 0 && (int) rte->ctelevelsup == in->depth)
		{
			Query	   *copy;

			if (!has_room(castNode(Query, in->cte->ctequery), in->p))
				return true;
			copy = copyObject(castNode(Query, in->cte->ctequery));
			if (in->depth > 0)
				IncrementVarSublevelsUp((Node *) copy, in->depth, 1);
			make_subquery(rte, copy);
		}
		return false;
	}
	return expression_tree_walker(node, inline_walker, in);
}

/* The first ones first: later ones may name them.  false = they become too many. */
static bool
inline_with(Query *query, Preparing *p)
{
	List	   *ctes = query->cteList;
	ListCell   *lc;

	foreach(lc, ctes)
	{
		Inlining	in = {lfirst_node(CommonTableExpr, lc), 0, p};

		if (query_tree_walker(query, inline_walker, &in, QTW_EXAMINE_RTES_AFTER))
			return false;
	}
	query->cteList = NIL;
	return true;
}

/* ---- ordinary views ---- */

/* CREATE OR REPLACE VIEW adds columns, which queries made before do not name: their rows of the view have them. */
static void
name_new_columns(RangeTblEntry *rte)
{
	int			known = list_length(rte->eref->colnames);
	ListCell   *lc;

	foreach(lc, rte->subquery->targetList)
	{
		const TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && tle->resno > known)
			rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(tle->resname)));
	}
	rte->alias = copyObject(rte->eref);
}

/* Its query, if it is read with the same rights as the view that reads it, and if it is to be put in place. */
static bool
expand_view(RangeTblEntry *rte, Preparing *p)
{
	Relation	rel = table_open(rte->relid, AccessShareLock);
	const char *name = td_qualified_name(rte->relid);
	bool		barrier = RelationIsSecurityView(rel);
	bool		same_owner = rel->rd_rel->relowner == p->owner;
	Query	   *query = copyObject(get_view_query(rel));

	table_close(rel, NoLock);
	if (barrier)
		return td_refuse(p->err, TD_NOT_BARRIER_VIEW, name);
	if (!same_owner)
		return td_refuse(p->err, TD_NOT_OTHERS_VIEW, name);
	if (p->views == NULL)
		return true;
	*p->views = list_append_unique_oid(*p->views, rte->relid);
	if (!has_room(query, p))
		return false;
	make_subquery(rte, query);
	name_new_columns(rte);
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
	AcquireRewriteLocks(query, true, false);
	return true;
}

/* ---- rows of ordinary views ---- */

typedef struct ViewRows
{
	Query	   *query;
	int			depth;			/* below it */
} ViewRows;

bool
td_is_ordinary_view(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && td_view_of_twin(rte->relid) == NULL;
}

/* The row of the view's type, with the names that this has; the row of a subquery is a record.  Null where an outer join has made it so. */
static Node *
row_of_view(const Var *var)
{
	CaseExpr   *whole = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);
	NullTest   *test = makeNode(NullTest);
	RowExpr    *row = makeNode(RowExpr);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(var->vartype, -1);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		row->args = lappend(row->args, makeVar(var->varno, i + 1, att->atttypid, att->atttypmod, att->attcollation, var->varlevelsup));
	}
	row->row_typeid = var->vartype;
	row->row_format = COERCE_EXPLICIT_CAST;
	test->arg = (Expr *) copyObject((Var *) var);
	test->nulltesttype = IS_NOT_NULL;
	when->expr = (Expr *) test;
	when->result = (Expr *) row;
	whole->casetype = var->vartype;
	whole->args = list_make1(when);
	whole->defresult = (Expr *) makeNullConst(var->vartype, -1, InvalidOid);
	return (Node *) whole;
}

static Node *
spell_out_rows(Node *node, ViewRows *rows)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		const Var  *var = (Var *) node;
		bool		whole = var->varattno == 0 && (int) var->varlevelsup == rows->depth && td_is_ordinary_view(rt_fetch(var->varno, rows->query->rtable));

		return whole ? row_of_view(var) : copyObject(node);
	}
	if (IsA(node, Query))
	{
		Query	   *query;

		rows->depth++;
		query = query_tree_mutator((Query *) node, spell_out_rows, rows, 0);
		rows->depth--;
		return (Node *) query;
	}
	return expression_tree_mutator(node, spell_out_rows, rows);
}

/* ---- all levels ---- */

static bool prepare(Query *query, Preparing *p);

static bool
is_in_from(Node *node, int rti)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == rti;
	if (IsA(node, JoinExpr))
		return is_in_from(((JoinExpr *) node)->larg, rti) || is_in_from(((JoinExpr *) node)->rarg, rti);
	foreach(lc, ((FromExpr *) node)->fromlist)
	{
		if (is_in_from(lfirst(lc), rti))
			return true;
	}
	return false;
}

/* A view has an entry of its own in its own range table, which nothing names. */
static bool
prepare_views(Query *query, Preparing *p)
{
	ViewRows	rows = {query, 0};
	ListCell   *lc;
	int			rti = 0;

	if (p->views)
		(void) query_tree_mutator(query, spell_out_rows, &rows, QTW_DONT_COPY_QUERY | QTW_IGNORE_JOINALIASES);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rti++;
		if (td_is_ordinary_view(rte) && is_in_from((Node *) query->jointree, rti) && !expand_view(rte, p))
			return false;
	}
	return true;
}

/* What EXISTS selects does not matter, if it is no more than that. */
static void
simplify_exists(Query *query)
{
	if (query->setOperations || query->groupClause || query->groupingSets || query->hasAggs || query->havingQual || query->hasWindowFuncs ||
		query->distinctClause || query->hasTargetSRFs || query->limitCount || query->limitOffset || query->sortClause)
		return;
	query->targetList = list_make1(makeTargetEntry((Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true), 1,
												   pstrdup("one"), false));
}

static bool
prepare_walker(Node *node, Preparing *p)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return !prepare((Query *) node, p);
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == EXISTS_SUBLINK)
		simplify_exists(castNode(Query, ((SubLink *) node)->subselect));
	return expression_tree_walker(node, prepare_walker, p);
}

/* Lateral items may name the aliases of joins, too. */
static void
flatten_joins(Query *query)
{
	ListCell   *lc;

	query->targetList = (List *) td_flatten_join_alias_vars_compat(query, (Node *) query->targetList);
	query->havingQual = td_flatten_join_alias_vars_compat(query, query->havingQual);
	query->jointree = (FromExpr *) td_flatten_join_alias_vars_compat(query, (Node *) query->jointree);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY && rte->lateral)
			rte->subquery = (Query *) td_flatten_join_alias_vars_compat(query, (Node *) rte->subquery);
		else if (rte->rtekind == RTE_FUNCTION)
			rte->functions = (List *) td_flatten_join_alias_vars_compat(query, (Node *) rte->functions);
		else if (rte->rtekind == RTE_VALUES)
			rte->values_lists = (List *) td_flatten_join_alias_vars_compat(query, (Node *) rte->values_lists);
	}
}

/* Windows with a name that no function uses. */
void
td_forget_windows(Query *query)
{
	if (!query->hasWindowFuncs)
		query->windowClause = NIL;
}

static bool
prepare(Query *query, Preparing *p)
{
	check_stack_depth();
	if (!inline_with(query, p) || !prepare_views(query, p) || !td_check_keyed_structure(query, p->err))
		return false;
	td_forget_windows(query);
	td_flatten_group_exprs_compat(query);
	if (!td_sets_check(query, p->err))
		return false;
	td_sets_simplify(query);
	flatten_joins(query);
	return !query_tree_walker(query, prepare_walker, p, QTW_IGNORE_JOINALIASES);
}

/* The analysis knows by itself where a column may be null, and compares columns of ON with those above the join. */
static bool
forget_nulling(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		td_forget_nulling_compat((Var *) node);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, forget_nulling, context, 0);
	return expression_tree_walker(node, forget_nulling, context);
}

/*
 * Nothing names a join any more, but the deparser still would, where the user did; and the alias of a join hides its tables from all that is added later
 * (keys, marks), which names these.  So joins have no alias, and columns are those of their tables in texts, too.
 *
 * Nor are columns given other names: a list of them, which the deparser also needs beside USING, names all columns of a table, and the text no longer fits
 * when one is dropped that nothing reads.
 */
static bool
forget_join_names(Node *node, void *unused)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		((Var *) node)->varnosyn = 0;
		((Var *) node)->varattnosyn = 0;
		return false;
	}
	if (IsA(node, JoinExpr))
	{
		((JoinExpr *) node)->alias = NULL;
		((JoinExpr *) node)->join_using_alias = NULL;
		((JoinExpr *) node)->usingClause = NIL;		/* its conditions say it */
	}
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->alias)
			rte->alias = makeAlias(rte->alias->aliasname, NIL);
		if (rte->rtekind == RTE_JOIN)
		{
			rte->alias = NULL;
			rte->join_using_alias = NULL;
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, forget_join_names, NULL, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, forget_join_names, NULL);
}

/* In place.  views: the ordinary ones that were put in place; NULL = none is, and the query names them as before. */
bool
td_keyed_prepare(Query *query, Oid owner, List **views, TdError *err)
{
	Preparing	p = {owner, views, err};
	bool		prepared = prepare(query, &p);

	(void) forget_nulling((Node *) query, NULL);
	if (prepared)
		(void) forget_join_names((Node *) query, NULL);
	return prepared;
}

/* ---- what it calls ---- */

typedef struct Collecting
{
	TdUses	   *uses;
	TdError    *err;
	bool		ok;
} Collecting;

/* The parts of a level are collected by td_collect_uses, which stops at the levels below. */
static bool
uses_walker(Node *node, Collecting *c)
{
	if (node == NULL || !c->ok)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		c->ok = td_collect_uses((Node *) list_make5(query->targetList, query->jointree, query->havingQual, query->limitCount, query->limitOffset), c->uses, c->err) &&
			td_collect_uses((Node *) query->windowClause, c->uses, c->err);
		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			c->ok = c->ok && td_collect_uses((Node *) list_make2(rte->functions, rte->values_lists), c->uses, c->err);
		}
		return query_tree_walker(query, uses_walker, c, QTW_IGNORE_JOINALIASES);
	}
	return expression_tree_walker(node, uses_walker, c);
}

/* Where a row of a subquery becomes text, so may all that any level selects. */
static bool
rows_walker(Node *node, Collecting *c)
{
	if (node == NULL || !c->ok)
		return false;
	if (IsA(node, Query))
	{
		c->ok = td_collect_text_uses(((Query *) node)->targetList, c->uses, c->err);
		return query_tree_walker((Query *) node, rows_walker, c, QTW_IGNORE_JOINALIASES);
	}
	return expression_tree_walker(node, rows_walker, c);
}

bool
td_keyed_uses(Query *query, TdUses *uses, TdError *err)
{
	Collecting	c = {uses, err, true};

	uses->keyed = true;
	uses_walker((Node *) query, &c);
	if (uses->rows)
		rows_walker((Node *) query, &c);
	return c.ok;
}
