/*-------------------------------------------------------------------------
 *
 * query.c
 *		The user's query: analysed as the caller, and written out again for the
 *		twin.
 *
 * NOTES
 *		Sessions.  Analysis resolves names in the caller's search_path; that is
 *		why create_view and explain_query pin none.  Everything after it works
 *		on oids, and the text of the twin is qualified.
 *
 *		The twin of a view that reads another live view reads that view's twin,
 *		so that it is always computed from base tables.  The caller's rights are
 *		checked on what he wrote, the table of the other view.  The other way
 *		round, a twin that he names by its schema is that view: so the text of a
 *		twin, as PostgreSQL gives it back, makes the same view again.
 *
 * IDENTIFICATION
 *		src/view/sql/query.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lockdefs.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "view/sql/sql_internal.h"

#define MAX_PLANNED 200			/* tables of a query */
#define TWIN_SCHEMA "tapdata_views"

static RawStmt *parse(const char *sql);
static bool use_views(Node *node, void *context);
static void inner_position(void *arg);
static void require_plan(Query *query, const char *sql);
static void not_to_be_run(void *arg);
static bool check_rights(Node *node, void *context);
static bool refuse_temporary(Node *node, void *context);
static bool refuse_unnamed(Node *node, void *context);
static bool reads_large_view(Node *node, void *context);
static bool use_twins(Node *node, void *context);

/* The one SELECT in the text, analysed; the caller may read all that it names. */
Query *
td_query_analyse(const char *sql)
{
	ErrorContextCallback callback = {error_context_stack, inner_position, (void *) sql};
	Query	   *query;
	TdError		err = {0};
	int			views = 0;

	error_context_stack = &callback;
	query = parse_analyze_fixedparams(parse(sql), sql, NULL, 0, NULL);
	error_context_stack = callback.previous;
	(void) check_rights((Node *) query, NULL);
	(void) refuse_temporary((Node *) query, NULL);
	(void) refuse_unnamed((Node *) query, &views);
	td_require_execute((Node *) query, GetUserId());
	if (!td_check_rows(query, &err) || !td_check_domains(query, &err))
		td_error_raise_own(&err);
	require_plan(query, sql);
	return query;
}

/* Counts the tables that a query names, with those that stand behind ordinary views; true = there are too many to go on. */
static bool
is_large(Node *node, int *tables)
{
	RangeTblEntry *rte = (RangeTblEntry *) node;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, is_large, tables, QTW_EXAMINE_RTES_BEFORE);
	if (!IsA(node, RangeTblEntry) || rte->rtekind != RTE_RELATION)
		return IsA(node, RangeTblEntry) ? false : expression_tree_walker(node, is_large, tables);
	if (++*tables > MAX_PLANNED)
		return true;
	if (rte->relkind == RELKIND_VIEW)
	{
		Relation	rel = table_open(rte->relid, AccessShareLock);
		bool		large = is_large((Node *) get_view_query(rel), tables);

		table_close(rel, NoLock);
		return large;
	}
	return false;
}

/*
 * What PostgreSQL can't run, as FULL JOIN without an equality, is found when it is planned: rather now than in a worker.  Not where views name views so
 * often that planning would take all memory: the analysis refuses those.
 */
static void
require_plan(Query *query, const char *sql)
{
	ErrorContextCallback callback = {error_context_stack, not_to_be_run, NULL};
	int			tables = 0;

	if (query->commandType != CMD_SELECT || is_large((Node *) query, &tables))
		return;
	error_context_stack = &callback;
	(void) pg_plan_query(linitial_node(Query, pg_rewrite_query(copyObject(query))), sql, CURSOR_OPT_PARALLEL_OK, NULL);
	error_context_stack = callback.previous;
}

static void
not_to_be_run(void *arg)
{
	if (geterrcode() == ERRCODE_FEATURE_NOT_SUPPORTED)
		errhint("PostgreSQL can't run the query as it stands. FULL JOIN needs an equality between columns of its two sides.");
}

static RawStmt *
parse(const char *sql)
{
	List	   *statements = pg_parse_query(sql);
	RawStmt    *raw;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 statements == NIL ? errmsg("the query is empty") : errmsg("there is more than one statement in the query"),
				 errhint("A live view is made of one SELECT.")));
	raw = linitial_node(RawStmt, statements);
	if (!IsA(raw->stmt, SelectStmt) || castNode(SelectStmt, raw->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 IsA(raw->stmt, SelectStmt) ? errmsg("SELECT INTO can't be kept as a live view") :
				 errmsg("only a SELECT can be kept as a live view"),
				 errhint("Give the query alone: SELECT ... FROM ...")));
	if (strstr(sql, TWIN_SCHEMA))
		(void) use_views(raw->stmt, NULL);
	return raw;
}

/*
 * As the text of a twin comes back from pg_get_viewdef, it names the twins of other live views: those views are meant, and their tables are named instead.
 * Columns go on to be found under the twin's name.
 */
static bool
use_views(Node *node, void *context)
{
	RangeVar   *name = (RangeVar *) node;
	char	   *table;
	Oid			relation;
	TdView	   *view;

	if (node == NULL)
		return false;
	if (!IsA(node, RangeVar))
		return raw_expression_tree_walker(node, use_views, context);
	if (name->schemaname == NULL || strcmp(name->schemaname, TWIN_SCHEMA) != 0)
		return false;
	relation = RangeVarGetRelid(name, NoLock, true);
	view = OidIsValid(relation) ? td_view_of_twin(relation) : NULL;
	if (view == NULL)
		return false;
	table = get_rel_name(view->relation);
	if (name->alias == NULL && strcmp(name->relname, table) != 0)
		name->alias = makeAlias(name->relname, NIL);
	name->schemaname = get_namespace_name(get_rel_namespace(view->relation));
	name->relname = table;
	return false;
}

/* An error's position is in the query, not in the statement that called us. */
static void
inner_position(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

/* Parts of other views, which analysis takes for what they are. */
static void
refuse_parts(const Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		const RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && td_is_of_part(rte->relid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("views do not support tapdata_parts.%s, a table of tapdata itself", quote_identifier(get_rel_name(rte->relid))),
					 errhint("Name the live view that it belongs to.")));
	}
}

/* Of each query level, as the executor would. */
static bool
check_rights(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		refuse_parts(castNode(Query, node));
		td_check_permissions_compat((Query *) node);
		return query_tree_walker((Query *) node, check_rights, context, 0);
	}
	return expression_tree_walker(node, check_rights, context);
}

/* What goes with the session, and the view with it.  (Of tables the analysis says more.) */
static void
refuse_temporary_object(Oid schema, const char *kind, const char *name)
{
	if (!isAnyTempNamespace(schema))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("views do not support temporary %s %s", kind, name),
			 errdetail("It ends with the session that made it."),
			 errhint("Make it in another schema.")));
}

/* Callback of check_functions_in_node: never stops it. */
static bool
refuse_temporary_function(Oid function, void *context)
{
	if (function >= FirstNormalObjectId)
		refuse_temporary_object(get_func_namespace(function), "function", quote_identifier(get_func_name(function)));
	return false;
}

static void
refuse_temporary_type(Oid type)
{
	HeapTuple	tuple = type >= FirstNormalObjectId ? SearchSysCache1(TYPEOID, ObjectIdGetDatum(type)) : NULL;

	if (!HeapTupleIsValid(tuple))
		return;
	refuse_temporary_object(((Form_pg_type) GETSTRUCT(tuple))->typnamespace, "type", format_type_be(type));
	ReleaseSysCache(tuple);
}

/* An operator of a construct whose text names none, and would be read as one of pg_catalog. */
static void
refuse_unnamed_operator(const char *construct, Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	bool		builtin = HeapTupleIsValid(tuple) && ((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace == PG_CATALOG_NAMESPACE;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (builtin)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("views do not support %s with operator %s", construct, format_operator(operator)),
			 errdetail("A query is stored as text, in which this construct does not say its operator: it would mean one that is built in."),
			 errhint("Write the comparison out, as in CASE WHEN a = b THEN NULL ELSE a END or JOIN ... ON a = b. Or cast to a type that is built in.")));
}

static void
refuse_unnamed_operators(const char *construct, Node *node)
{
	ListCell   *lc;

	if (node == NULL)
		return;
	if (IsA(node, OpExpr))
		refuse_unnamed_operator(construct, ((OpExpr *) node)->opno);
	else if (IsA(node, BoolExpr))
		foreach(lc, ((BoolExpr *) node)->args)
			refuse_unnamed_operators(construct, lfirst(lc));
	else if (IsA(node, RowCompareExpr))
		foreach(lc, ((RowCompareExpr *) node)->opnos)
			refuse_unnamed_operator(construct, lfirst_oid(lc));
}

/* Constructs by whose text an operator would be sought by its name alone, or by the name of another one; context: how many ordinary views were met. */
static bool
refuse_unnamed(Node *node, void *context)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		foreach(lc, ((Query *) node)->rtable)
		{
			const RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && ++*(int *) context <= MAX_PLANNED)
				(void) refuse_unnamed((Node *) td_twin_query(rte->relid), context);
		}
		return query_tree_walker((Query *) node, refuse_unnamed, context, 0);
	}
	if (IsA(node, DistinctExpr))
		refuse_unnamed_operator("IS DISTINCT FROM", ((DistinctExpr *) node)->opno);
	else if (IsA(node, NullIfExpr))
		refuse_unnamed_operator("NULLIF", ((NullIfExpr *) node)->opno);
	else if (IsA(node, RowCompareExpr))
		refuse_unnamed_operators("comparisons of rows", node);
	else if (IsA(node, SubLink) && ((SubLink *) node)->testexpr && !IsA(((SubLink *) node)->testexpr, OpExpr))
		refuse_unnamed_operators("subqueries compared with rows", ((SubLink *) node)->testexpr);
	else if (IsA(node, JoinExpr) && ((JoinExpr *) node)->usingClause)
		refuse_unnamed_operators("JOIN with USING or NATURAL", ((JoinExpr *) node)->quals);
	else if (IsA(node, CaseExpr) && ((CaseExpr *) node)->arg)
		foreach(lc, ((CaseExpr *) node)->args)
			refuse_unnamed_operators("CASE value WHEN", (Node *) lfirst_node(CaseWhen, lc)->expr);
	return expression_tree_walker(node, refuse_unnamed, context);
}

static bool
refuse_temporary(Node *node, void *context)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, refuse_temporary_function, NULL);
	switch (nodeTag(node))
	{
		case T_Const:
		case T_FuncExpr:
		case T_RowExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_CoerceToDomain:
		case T_ArrayCoerceExpr:
			refuse_temporary_type(exprType(node));
			break;
		case T_Query:
			foreach(lc, castNode(Query, node)->rtable)
			{
				const RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

				if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW)
					refuse_temporary_object(get_rel_namespace(rte->relid), "view", quote_identifier(get_rel_name(rte->relid)));
			}
			return query_tree_walker((Query *) node, refuse_temporary, context, 0);
		default:
			break;
	}
	return expression_tree_walker(node, refuse_temporary, context);
}

Query *
td_query_total(Query *query, List **proofs)
{
	TdError		err = {0};

	if (!td_make_total(query, proofs, &err))
		td_error_raise_own(&err);
	return query;
}

/* An ordinary view whose own query can't be kept in one piece, and so nothing that reads it; context: its OID is put there. */
static bool
reads_large_view(Node *node, void *context)
{
	const RangeTblEntry *rte = (RangeTblEntry *) node;
	Query	   *query;
	TdError		unused;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_large_view, context, QTW_EXAMINE_RTES_BEFORE);
	if (!IsA(node, RangeTblEntry))
		return expression_tree_walker(node, reads_large_view, context);
	if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_VIEW)
		return false;
	*(Oid *) context = rte->relid;
	query = td_twin_query(rte->relid);
	if (query->limitCount || query->limitOffset)
		return true;
	if (!query->hasDistinctOn)
		query->sortClause = NIL;
	return td_analyze(query, GetUserId(), &unused) == NULL;
}

/* True: it can't be kept but as a whole, with the reason and what to write instead. */
bool
td_query_refused(Query *query, Oid owner, TdError *err)
{
	Oid			view = InvalidOid;

	if (td_analyze(copyObject(query), owner, err) != NULL)
		return false;
	if (reads_large_view((Node *) query, &view))
		td_error_hint(err, "Make ordinary view %s a live one, and read that: its query is split then, which that of an ordinary one is not. Or: %s", quote_qualified_identifier(get_namespace_name(get_rel_namespace(view)), get_rel_name(view)), pstrdup(err->hint));
	return true;
}

/* Its shape, or the error that says why there is none, and whether it could be had at a price. */
TdShape *
td_query_shape(Query *query, Oid owner, bool allow_full)
{
	TdError		err = {0};
	TdError		unused = {0};
	TdShape    *shape = td_analyze(copyObject(query), owner, &err);
	TdShape    *full = shape == NULL ? td_analyze_full(query, owner, &unused) : NULL;

	if (shape == NULL && full == NULL)
		td_error_raise_own(&err);
	if (shape == NULL && !allow_full)
	{
		(void) td_query_refused(query, owner, &err);
		td_error_hint(&err, "%s Or let all of it be computed anew whenever a table in it changes, with the option {\"allow_full\": true}.", pstrdup(err.hint));
		td_error_raise_own(&err);
	}
	if (shape == NULL)
		shape = full;
	td_shape_require_execute(shape, owner);
	return shape;
}

/* As text that means the same under any search_path. */
char *
td_query_text(Query *query)
{
	Query	   *copy = copyObject(query);
	int			level;
	char	   *text;

	(void) use_twins((Node *) copy, NULL);
	level = td_pin_path();
	text = td_query_sql(copy);
	AtEOXact_GUC(true, level);
	return text;
}

/* The twin has the columns of the table, in number and order. */
static bool
use_twins(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;
		TdView	   *view = rte->rtekind == RTE_RELATION ? td_view_of(rte->relid, true) : NULL;

		if (view != NULL)
		{
			rte->relid = view->twin;
			rte->relkind = RELKIND_VIEW;
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, use_twins, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, use_twins, context);
}

/* Names in texts written meanwhile are qualified, those in texts run meanwhile are ours. */
int
td_pin_path(void)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}
