/*-------------------------------------------------------------------------
 *
 * analyze.c
 *		From an analysed query to its shape.
 *
 * NOTES
 *		In a transaction, in a session (create_view, explain_query) or in a view
 *		worker.  Everything is in CurrentMemoryContext; the query given is not
 *		changed.  Locks: ACCESS SHARE on the query's relations until the end of
 *		the transaction, which whoever parsed the query holds already.
 *
 * IDENTIFICATION
 *		src/view/analyze/analyze.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "nodes/makefuncs.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

/* ---- FROM ---- */

/* The relations in FROM, in order; each use is an occurrence. */
static bool
take_occurrences(TdShape *shape, Node *node, TdError *err)
{
	ListCell   *lc;

	if (IsA(node, JoinExpr))
		return take_occurrences(shape, ((JoinExpr *) node)->larg, err) && take_occurrences(shape, ((JoinExpr *) node)->rarg, err);
	if (IsA(node, RangeTblRef))
	{
		TdOccurrence *o;

		if (shape->noccurrences == TD_MAX_OCCURRENCES)
			return td_refuse(err, TD_NOT_TOO_MANY_TABLES, psprintf("%d", TD_MAX_OCCURRENCES));
		o = &shape->occurrences[shape->noccurrences++];
		o->n = shape->noccurrences;
		o->rti = ((RangeTblRef *) node)->rtindex;
		o->relid = rt_fetch(o->rti, shape->query->rtable)->relid;
		o->inh = rt_fetch(o->rti, shape->query->rtable)->inh;
		return true;
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
	{
		if (!take_occurrences(shape, lfirst(lc), err))
			return false;
	}
	return true;
}

/*
 * Where another view wants them, a table's delta has the rows of those that inherit from it as well: a keyed view does not mind.  Also where none does
 * yet: a view can't become another kind when one comes or goes.
 */
static bool
check_only(const TdShape *shape, TdError *err)
{
	for (int i = 0; i < shape->noccurrences; i++)
		if (!shape->occurrences[i].inh && td_may_be_inherited(shape->occurrences[i].relid))
			return td_refuse(err, TD_NOT_ONLY_PARENT, td_qualified_name(shape->occurrences[i].relid));
	return true;
}

/* Which occurrences are live views themselves. */
void
td_find_views(TdShape *shape)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		TdView	   *view = td_view_of(shape->occurrences[i].relid, true);

		shape->occurrences[i].view = view ? view->id : 0;
	}
}

/* ---- expressions in terms of columns of occurrences ---- */

/* A whole row, spelt out: ROW(a, b)::its type. */
static Node *
whole_row(const Var *var)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(var->vartype, -1);
	RowExpr    *row = makeNode(RowExpr);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		row->args = lappend(row->args, att->attisdropped ? (Node *) makeNullConst(INT4OID, -1, InvalidOid) :
							(Node *) makeVar(var->varno, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0));
	}
	row->row_typeid = var->vartype;
	row->row_format = COERCE_EXPLICIT_CAST;
	row->location = -1;
	return (Node *) row;
}

/* IS NULL looks at the columns that are there; a row spelt out has a NULL where one was dropped. */
static Node *
whole_row_test(const NullTest *test)
{
	NullTest   *copy = copyObject((NullTest *) test);
	RowExpr    *row = castNode(RowExpr, whole_row((Var *) test->arg));
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(row->row_typeid, -1);

	for (int i = desc->natts; i-- > 0;)
		if (TupleDescAttr(desc, i)->attisdropped)
			row->args = list_delete_nth_cell(row->args, i);
	row->row_typeid = RECORDOID;
	row->row_format = COERCE_EXPLICIT_CALL;
	copy->arg = (Expr *) row;
	return (Node *) copy;
}

static bool
is_whole_row_test(Node *node)
{
	NullTest   *test = (NullTest *) node;

	return IsA(node, NullTest) && test->argisrow && IsA(test->arg, Var) && ((Var *) test->arg)->varattno == 0;
}

static Node *
spell_out(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (is_whole_row_test(node))
		return whole_row_test((NullTest *) node);
	if (IsA(node, Var))
	{
		const Var  *var = (Var *) node;

		if (var->varattno == 0)
			return whole_row(var);
		return (Node *) makeVar(var->varno, var->varattno, var->vartype, var->vartypmod, var->varcollid, 0);
	}
	return expression_tree_mutator(node, spell_out, context);
}

static Node *
plain_expression(Query *query, Node *node)
{
	return spell_out(td_flatten_join_alias_vars_compat(query, node), NULL);
}

static void
make_plain(Query *query)
{
	query->targetList = (List *) plain_expression(query, (Node *) query->targetList);
	query->havingQual = plain_expression(query, query->havingQual);
	query->jointree = (FromExpr *) plain_expression(query, (Node *) query->jointree);
}

/* ---- WHERE and ON ---- */

List *
td_and_list(Node *quals)
{
	List	   *parts = NIL;
	ListCell   *lc;

	check_stack_depth();
	if (quals == NULL)
		return NIL;
	if (!is_andclause(quals))
		return list_make1(quals);
	foreach(lc, ((BoolExpr *) quals)->args)
		parts = list_concat(parts, td_and_list(lfirst(lc)));
	return parts;
}

static List *
collect_quals(Node *node)
{
	List	   *quals = NIL;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return NIL;
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		quals = list_concat(collect_quals(join->larg), collect_quals(join->rarg));
		return list_concat(quals, td_and_list(join->quals));
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
		quals = list_concat(quals, collect_quals(lfirst(lc)));
	return list_concat(quals, td_and_list(((FromExpr *) node)->quals));
}

static TdOccurrence *
occurrence_of(const TdShape *shape, Index rti)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		if (shape->occurrences[i].rti == rti)
			return &shape->occurrences[i];
	}
	elog(ERROR, "range table entry %u is not in FROM", rti);
}

static void
take_quals(TdShape *shape)
{
	ListCell   *lc;

	shape->quals = collect_quals((Node *) shape->query->jointree);
	foreach(lc, shape->quals)
	{
		int			rti;

		if (bms_get_singleton_member(pull_varnos(NULL, lfirst(lc)), &rti))
		{
			TdOccurrence *o = occurrence_of(shape, rti);

			o->local = lappend(o->local, lfirst(lc));
		}
	}
}

/* ---- columns ---- */

static void
take_columns_used(TdShape *shape)
{
	Query	   *query = shape->query;
	Node	   *all = (Node *) list_make3(query->targetList, query->jointree, query->havingQual);

	for (int i = 0; i < shape->noccurrences; i++)
	{
		TdOccurrence *o = &shape->occurrences[i];
		Bitmapset  *attnums = NULL;
		int			attnum = -1;

		pull_varattnos(all, o->rti, &attnums);
		while ((attnum = bms_next_member(attnums, attnum)) >= 0)
			o->columns = bms_add_member(o->columns, attnum + FirstLowInvalidHeapAttributeNumber);
	}
}

/* Is it, or has an array of it, the row of a live view's table, or of its twin? */
static bool
is_row_of_view(Oid type)
{
	Oid			element = get_element_type(type);
	Oid			relation = get_typ_typrelid(getBaseType(OidIsValid(element) ? element : type));

	return OidIsValid(relation) && (td_view_of(relation, true) != NULL || td_view_of_twin(relation) != NULL);
}

/* The columns of the result; entries that only grouping needs are left out. */
bool
td_take_outputs(TdShape *shape, TdError *err)
{
	ListCell   *lc;

	shape->columns = palloc0(list_length(shape->query->targetList) * sizeof(TdViewColumn));
	foreach(lc, shape->query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TdViewColumn *column = &shape->columns[shape->ncolumns];
		Node	   *expr = (Node *) tle->expr;

		if (tle->resjunk)
			continue;
		if (get_typtype(exprType(expr)) == TYPTYPE_PSEUDO)
			return td_refuse(err, TD_NOT_PSEUDO_COLUMN, tle->resname);
		if (is_row_of_view(exprType(expr)))
			return td_refuse(err, TD_NOT_ROW_OF_VIEW, tle->resname);
		if (strcmp(tle->resname, TD_WEIGHT) == 0)
			return td_refuse(err, TD_NOT_COLUMN_NAME, tle->resname);
		for (int i = 0; i < shape->ncolumns; i++)
		{
			if (strcmp(tle->resname, shape->columns[i].name) == 0)
				return td_refuse(err, TD_NOT_SAME_NAMES, tle->resname);
		}
		column->name = pstrdup(tle->resname);
		column->type = exprType(expr);
		column->typmod = exprTypmod(expr);
		column->collation = exprCollation(expr);
		shape->outputs = lappend(shape->outputs, makeTargetEntry(copyObject(tle->expr), ++shape->ncolumns, column->name, false));
	}
	return shape->ncolumns > 0 || td_refuse(err, TD_NOT_WITHOUT_COLUMNS, NULL);
}

static bool
check_functions(TdShape *shape, TdError *err)
{
	Query	   *query = shape->query;
	TdUses		uses = {NIL};

	if (!td_collect_uses((Node *) list_make3(query->targetList, query->jointree, query->havingQual), &uses, err))
		return false;
	shape->pinned = uses.pinned;
	shape->moments = uses.moments;
	shape->functions = uses.functions;
	shape->types = uses.types;
	return true;
}

/* As joins, filters and counters, which are kept by adding up deltas. */
TdShape *
td_linear_analyze(Query *query, Oid owner, TdError *err)
{
	TdShape    *shape = palloc0(sizeof(TdShape));

	td_flatten_group_exprs_compat(query);
	td_sets_simplify(query);
	td_forget_windows(query);
	td_pull_up_subqueries(query);
	shape->query = query;
	shape->occurrences = palloc0(TD_MAX_OCCURRENCES * sizeof(TdOccurrence));
	if (!td_check_structure(query, err) || !td_check_equality(query, err) || !take_occurrences(shape, (Node *) query->jointree, err) || !check_only(shape, err))
		return NULL;
	AcquireRewriteLocks(query, true, false);
	make_plain(query);
	query->targetList = (List *) td_filters_as_cases((Node *) query->targetList, NULL);
	query->havingQual = td_filters_as_cases(query->havingQual, NULL);
	take_columns_used(shape);
	if (!td_check_relations(shape, owner, err) || !td_take_outputs(shape, err) || !check_functions(shape, err))
		return NULL;
	take_quals(shape);
	if (!td_group_shape(shape, err))
		return NULL;
	td_find_views(shape);
	td_infer_keys(shape);
	return shape;
}

TdShape *
td_analyze(Query *query, Oid owner, TdError *err)
{
	TdShape    *shape;

	if (query->commandType == CMD_SELECT && (query->limitCount || query->limitOffset))
		return td_topk_analyze(copyObject(query), owner, err);
	shape = td_linear_analyze(copyObject(query), owner, err);
	return shape ? shape : td_keyed_analyze(copyObject(query), owner, err);
}
