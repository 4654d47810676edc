/*-------------------------------------------------------------------------
 *
 * names.c
 *		Expressions as text.
 *
 * NOTES
 *		PostgreSQL's own deparser does it, told that the query's range table is one
 *		of VALUES lists whose aliases and columns are called what we want: r3.price
 *		for a base table, t2.c3_4 for a stage, g.a1 for the row of a group.  No
 *		relation is opened.  The caller has pinned search_path to pg_catalog, so
 *		that everything else comes out qualified.
 *
 * IDENTIFICATION
 *		src/view/plan/names.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "view/plan/plan_internal.h"

/* A range table entry whose columns are called so. */
static RangeTblEntry *
named_row(const TdRowNames *row)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, row->columns)
		columns = lappend(columns, makeString(lfirst(lc)));
	rte->rtekind = RTE_VALUES;
	rte->eref = makeAlias(row->alias ? row->alias : "", columns);
	rte->inFromCl = true;
	return rte;
}

/* How the deparser calls Vars of varno 1..n. */
List *
td_names_context(int n, const TdRowNames *rows)
{
	PlannedStmt *stmt = makeNode(PlannedStmt);
	List	   *aliases = NIL;

	for (int i = 0; i < n; i++)
	{
		stmt->rtable = lappend(stmt->rtable, named_row(&rows[i]));
		aliases = lappend(aliases, rows[i].alias ? pstrdup(rows[i].alias) : NULL);
	}
	return deparse_context_for_plan_tree(stmt, aliases);
}

static Node *
plain_mutator(Node *node, void *unused)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);

		var->varnosyn = 0;
		var->varattnosyn = 0;
		return (Node *) var;
	}
	return expression_tree_mutator(node, plain_mutator, unused);
}

/* A copy whose Vars forget by which join the user named them: the deparser would follow that. */
Node *
td_names_plain(Node *expr)
{
	return plain_mutator(expr, NULL);
}

/* The expression, an implicit cast on its top shown. */
char *
td_names_text(Node *expr, List *context)
{
	return deparse_expression(td_names_collated(expr), context, true, true);
}

/* The expression with its type made certain; the cast of what has the type already is nothing. */
char *
td_names_typed(Node *expr, Oid type, int32 typmod, List *context)
{
	char	   *text = td_names_text(expr, context);

	if (IsA(expr, Var) && ((Var *) expr)->vartype == type)
		return text;
	return psprintf("(%s)::%s", text, format_type_with_typemod(type, typmod));
}

/* OPERATOR(pg_catalog.=) */
char *
td_names_operator(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)), NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return text;
}

/* ---- what an expression reads ---- */

typedef struct Reading
{
	const TdPlanned *p;
	int			occurrence;		/* 0 = collect occurrences; else its columns */
	Bitmapset  *found;
} Reading;

static int
occurrence_of(const TdPlanned *p, int rti)
{
	const TdShape *shape = p->plan.shape;

	for (int i = 0; i < shape->noccurrences; i++)
		if (shape->occurrences[i].rti == rti)
			return i + 1;
	elog(ERROR, "an expression reads range table entry %d, which is not in FROM", rti);
}

static bool
reading_walker(Node *node, void *arg)
{
	Reading    *r = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		int			n = occurrence_of(r->p, var->varno);

		if (var->varlevelsup > 0 || var->varattno <= 0)
			elog(ERROR, "unexpected column reference in a view");
		if (r->occurrence == 0)
			r->found = bms_add_member(r->found, n);
		else if (r->occurrence == n)
			r->found = bms_add_member(r->found, var->varattno);
		return false;
	}
	return expression_tree_walker(node, reading_walker, arg);
}

/* The occurrences that an expression reads. */
Bitmapset *
td_names_reads(const TdPlanned *p, Node *expr)
{
	Reading		r = {p, 0, NULL};

	reading_walker(expr, &r);
	return r.found;
}

/* The attribute numbers of an occurrence that an expression reads. */
Bitmapset *
td_names_columns(const TdPlanned *p, Node *expr, int occurrence)
{
	Reading		r = {p, occurrence, NULL};

	reading_walker(expr, &r);
	return r.found;
}

/*
 * Over one table the deparser leaves the table's name out, and a column in ORDER BY or
 * DISTINCT ON is then taken for the output column of that name: there are two, for it.
 */
char *
td_query_sql(Query *query)
{
	Query	   *copy = (Query *) td_names_collated((Node *) query);
	RangeTblEntry *nothing = makeNode(RangeTblEntry);

	nothing->rtekind = RTE_RESULT;
	nothing->eref = makeAlias("", NIL);
	copy->rtable = lappend(copy->rtable, nothing);
	td_widen_joins(copy);
	return pg_get_querydef(copy, false);
}
