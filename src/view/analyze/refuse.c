/*-------------------------------------------------------------------------
 *
 * refuse.c
 *		What views can't have: the one table of messages, and the walk over a
 *		query's nodes that finds most of it.
 *
 * NOTES
 *		Everything is refused by name.  In expressions the kinds of nodes that
 *		are allowed are listed, so that a node of a later major is refused until
 *		somebody has thought about it.  What needs the catalog (relations,
 *		functions, types) is in relations.c, functions.c and group.c.
 *
 * IDENTIFICATION
 *		src/view/analyze/refuse.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "view/analyze/analyze_internal.h"

typedef struct Refusal
{
	TdConstruct construct;
	const char *name;			/* "views do not support ..." */
	const char *detail;
	const char *hint;
} Refusal;

#define IN_THE_READER "Leave it out of the view, and write it in the queries that read the view."
#define AS_A_VIEW "Make the inner query a view of its own with tapdata.create_view, and name that one here."
#define DECLARE_IT "If its result depends on its arguments alone: ALTER FUNCTION %s IMMUTABLE; otherwise call it in the queries that read the view."
#define AS_A_JOIN "Write it as an inner join, if that gives the same rows."
#define AS_A_TABLE "Put the rows into a table and join that."
#define LOGGED_ONLY "Its changes are not in the WAL, from which views are kept."

static const Refusal refusals[] = {
	{TD_NOT_SELECT, "%s", "A view is the result of one SELECT.", "Give a SELECT statement."},
	{TD_NOT_MODIFYING_CTE, "data-modifying statements in WITH", "A view is read again and again, and must change nothing.", "Change the data outside the view."},
	{TD_NOT_RECURSIVE, "WITH RECURSIVE", "A change may reach any row of a recursion.", "Keep the recursion in the queries that read the view."},
	{TD_NOT_CTE, "WITH (common table expressions)", "Only tables and other views stand in FROM.", AS_A_VIEW},
	{TD_NOT_SET_OPERATION, "%s", "A view is one SELECT over joined tables.", "Make a view of each part, and combine them in the queries that read them."},
	{TD_NOT_WINDOW, "window functions", "One change may move every row of its window.", IN_THE_READER},
	{TD_NOT_TARGET_SRF, "set-returning functions", "One row of the query would be many of the view.", IN_THE_READER},
	{TD_NOT_GROUPING_SETS, "GROUPING SETS, ROLLUP and CUBE without a key that is in all sets",
	"Each set would be kept as a GROUP BY of its own; here one of them can't be, or it can't be said so: there are more than 32, or a key is a constant, has a domain with constraints, or is in a subquery.",
	"Make one view for each grouping set: for that which can't be kept it is said why."},
	{TD_NOT_SAME_KEYS, "GROUPING SETS, ROLLUP and CUBE with equal keys", "As text, which is how a query is stored, they are one key.", "Name one of them only."},
	{TD_NOT_DISTINCT_ON, "DISTINCT ON", "Which row of a group comes first can't be told from the change of one row.", "Use GROUP BY with min or max."},
	{TD_NOT_ORDER_BY, "ORDER BY", "A view is a table; it has no order.", "Write ORDER BY in the queries that read the view; an index on the view makes it fast."},
	{TD_NOT_LIMIT, "LIMIT here", "All its rows would have to be kept in a table of their own, of which an index gives the first: it can't be made here.",
	"Leave it out of the view, and write it in the queries that read the view."},
	{TD_NOT_OFFSET, "OFFSET without LIMIT", "One change in front may move all rows behind.", IN_THE_READER},
	{TD_NOT_LIMIT_VALUE, "%s that is no constant", "How many rows there are must not change.", "Write the number, or rank the rows in the queries that read the view."},
	{TD_NOT_LIMIT_NEGATIVE, "a negative %s", "It is an error in any query.", "Write a number that is not negative."},
	{TD_NOT_LIMIT_UNORDERED, "LIMIT on rows with columns of type %s", "Which of them it takes is open: they can't be ordered.", "Cast the column to a type with an order, such as text or jsonb."},
	{TD_NOT_TIES_OFFSET, "WITH TIES after OFFSET", "Which of several equal rows OFFSET skips is open.",
	"Fetch those before as well, FETCH FIRST <offset + count> ROWS WITH TIES, and skip them when reading: ORDER BY ... OFFSET <offset>."},
	{TD_NOT_HIDDEN_ORDER, "%s over rows that are ordered by what they do not show", "Its order would be that of the WITH or view below it, which does not have the column that it is ordered by.",
	"Write ORDER BY inside of the aggregate, and select what it needs below."},
	{TD_NOT_SORT_OPERATOR, "ORDER BY ... USING with LIMIT", "Rows are read by an index with the default operators of their type.", "Order by ASC or DESC, of an expression if need be."},
	{TD_NOT_EQUALITY, "GROUP BY, DISTINCT or PARTITION BY with operator %s", "It is the equality of ORDER BY ... USING there, not that of the type, by which groups are found.",
	"Leave USING out, or group by an expression that is equal where these values are."},
	{TD_NOT_ROW_LOCKS, "%s", "A view must not hold up the writers of its tables.", "Leave it out, and lock rows of the tables where you read them."},
	{TD_NOT_OUTER_JOIN, "%s", "Only inner joins are kept.", "Use an inner JOIN, and outer-join the view in the queries that read it."},
	{TD_NOT_LATERAL, "LATERAL", "Only tables and other views stand in FROM.", AS_A_JOIN},
	{TD_NOT_FROM_SUBQUERY, "subqueries in FROM", "Only tables and other views stand in FROM.", AS_A_VIEW},
	{TD_NOT_FROM_FUNCTION, "functions in FROM", "A function's rows have no changes that could be followed.", AS_A_TABLE},
	{TD_NOT_TABLE_FUNCTION, "XMLTABLE and JSON_TABLE", "A function's rows have no changes that could be followed.", AS_A_TABLE},
	{TD_NOT_VALUES, "VALUES", "Only tables and other views stand in FROM.", AS_A_TABLE},
	{TD_NOT_TRANSITION_TABLE, "transition tables", "They end with their statement.", "Name the table itself."},
	{TD_NOT_TABLESAMPLE, "TABLESAMPLE", "A sample is another one each time.", IN_THE_READER},
	{TD_NOT_ONLY_PARTITIONED, "ONLY on partitioned table %s", "A partitioned table has no rows of its own.", "Leave ONLY out, or name a partition."},
	{TD_NOT_ONLY_PARENT, "ONLY on table %s", "Changes of tables that inherit from it may be among its own.", "Leave ONLY out."},
	{TD_NOT_WITHOUT_FROM, "a query without a table", "Nothing could ever change it.", "Name at least one table in FROM."},
	{TD_NOT_WITHOUT_COLUMNS, "a query without columns", "Its rows could not be told apart.", "Select at least one column."},
	{TD_NOT_TOO_MANY_TABLES, "more than %s tables in one query", "Each use of a table in FROM counts.", "Make a view of a part of the join, and join that one."},
	{TD_NOT_TOO_MANY_SUBQUERIES, "more than %s tables and subqueries in one query", "What WITH and ordinary views stand for is put in place wherever they are named.",
	"Make a live view of what is named often, and read that one."},
	{TD_NOT_SUBQUERY, "%s", "Only joins of tables and other views are kept.", AS_A_JOIN},
	{TD_NOT_PARAMETER, "parameter %s", "A view is kept for one query, not for one per value.", "Write the value itself, or make it a column of the view and filter by it when reading."},
	{TD_NOT_SYSTEM_COLUMN, "system column %s", "It says where a row is stored, not what it is.", "Use columns of the table."},
	{TD_NOT_GROUPING_FUNCTION, "GROUPING()", "A view has one set of groups.", "Leave it out, and make one view for each grouping set, with a number of its own as a column."},
	{TD_NOT_OTHER_EXPRESSION, "%s", "It is not known to give the same result at any time.", IN_THE_READER},
	{TD_NOT_PSEUDO_COLUMN, "column \"%s\" of a type that no table can have", "The view's table could not hold its values.", "Cast it to a type, or select its fields."},
	{TD_NOT_NULL_DOMAIN, "column \"%s\" of a NOT NULL domain, which may be null here", "A dump of the view could not be restored: COPY checks domains, joins do not.",
	"Cast it to the type that the domain is made of, or say what it is instead of null, with COALESCE."},
	{TD_NOT_ROW_OF_VIEW, "column \"%s\" of the row type of a live view", "Its definition, computed from tables, gives rows of another type.", "Select its columns, or to_jsonb of the row."},
	{TD_NOT_FUNCTION_OF_VIEW, "function %s, which takes the row of a live view", "The view's definition, computed from tables, gives rows of another type.", "Pass the columns that it needs, or the row as jsonb: to_jsonb(...)."},
	{TD_NOT_ROW_OF_JOIN, "the row of %s as a value", "Written out, as a definition is, it loses the names of its columns.", "Join in a subquery in FROM, and take the row of that."},
	{TD_NOT_SAME_NAMES, "two columns named %s", "The columns of a table have names of their own.", "Give each a name: SELECT ... AS name."},
	{TD_NOT_COLUMN_NAME, "a column named %s", "The name is that of the weight in every delta.", "Give it another name."},
	{TD_NOT_AGGREGATE, "aggregate %s", "Kept are count, sum, avg, min and max.", IN_THE_READER},
	{TD_NOT_AGGREGATE_DISTINCT, "%s (DISTINCT ...)", "Each value would have to be counted.", "Make a view with SELECT DISTINCT, and one that aggregates over it."},
	{TD_NOT_AGGREGATE_ORDER, "%s (... ORDER BY ...)", "The order of rows can't be told from the change of one row.", "Leave ORDER BY out of the aggregate."},
	{TD_NOT_ORDERED_SET, "%s (...) WITHIN GROUP", "Kept are count, sum, avg, min and max.", IN_THE_READER},
	{TD_NOT_AGGREGATE_ORDERLESS, "%s", "Its type has no order that an index could have.", "Cast the argument to a type with an order."},
	{TD_NOT_DISTINCT_GROUPED, "DISTINCT over groups whose keys are not all selected", "Groups that look alike would have to be counted.",
	"Select every expression of GROUP BY (then DISTINCT has nothing to do), or make a second view with DISTINCT over the first."},
	{TD_NOT_INHERITED_KEY, "columns that follow from a grouped primary key of a table which others inherit from", "A key of the table does not hold for rows of those.", "Group by these columns as well."},
	{TD_NOT_UNORDERED_KEY, "GROUP BY or DISTINCT on type %s", "It has no order that an index could have, by which a group is found.", "Cast it to a type with an order, such as text or jsonb."},
	{TD_NOT_TOO_MANY_KEYS, "more than %s columns in GROUP BY or DISTINCT", "A group is found by an index on them, and an index has no more columns.", "Group by fewer columns, and join the others when reading."},
	{TD_NOT_VOLATILE, "function %s", "It is volatile: each call may give another result.", "Keep its result in a column of the table, or call it in the queries that read the view."},
	{TD_NOT_VOLATILE_USER, "function %s", "It is declared VOLATILE: each call may give another result.", DECLARE_IT},
	{TD_NOT_STABLE, "function %s", "Its result depends on the time, the session or the catalog, not on its arguments alone.", IN_THE_READER},
	{TD_NOT_STABLE_USER, "function %s", "It is declared STABLE: its result may depend on more than its arguments.", DECLARE_IT},
	{TD_NOT_SESSION_VALUE, "%s", "Its value depends on the time or the session.", IN_THE_READER},
	{TD_NOT_TYPE_TEXT, "conversion between text and type %s", "Its result depends on the time, the session or the catalog, not on the value alone.", "Convert it in the queries that read the view."},
	{TD_NOT_NOW_TEXT, "'now', 'today', 'yesterday' or 'tomorrow', cast from text to type %s", "It is another moment at each reading.", IN_THE_READER},
	{TD_NOT_SQL_VIEW, "ordinary view %s", "It has no changes of its own that could be followed.", "Use its query, or make it a live view with tapdata.create_view."},
	{TD_NOT_BARRIER_VIEW, "security barrier view %s", "Its conditions must not be mixed with others.", "Use its query, or make it a live view with tapdata.create_view."},
	{TD_NOT_OTHERS_VIEW, "ordinary view %s, which belongs to another role", "It is read with the rights of its owner, a live view with those of its own.",
	"Make it a live view with tapdata.create_view, and name that one here."},
	{TD_NOT_USER_AGGREGATE, "aggregate %s", "Kept are the aggregates that are built in.", IN_THE_READER},
	{TD_NOT_WHOLE_AGGREGATE, "these aggregates without GROUP BY", "Each change of any row would compute them over all rows.",
	"Add GROUP BY, and aggregate once more when reading; count, sum, avg, min and max over joined tables are kept without GROUP BY, too."},
	{TD_NOT_WHOLE_WINDOW, "window functions that have no PARTITION BY in common", "One change may move every row.", "Add the same PARTITION BY columns of one table to all windows, and to GROUP BY where there is one; or call the function in the queries that read the view."},
	{TD_NOT_KEYLESS_GROUPS, "GROUP BY or DISTINCT whose keys come from no one table", "A change could touch any group: which ones can't be told.",
	"Group by a column of a table that is not on the nullable side of an outer join, or make the inner query a view of its own with tapdata.create_view and name that one here."},
	{TD_NOT_KEYLESS_SET, "UNION, INTERSECT and EXCEPT of columns that do not come from one table in each branch", "A change could touch any row: which ones can't be told.",
	"Make a view of each part, and combine them in the queries that read them."},
	{TD_NOT_UNORDERED_SET, "UNION, INTERSECT and EXCEPT of rows with columns of type %s alone", "It has no order that an index could have, by which a row is found.",
	"Select a column of another type as well, or cast it to one with an order, such as text or jsonb."},
	{TD_NOT_KEYLESS, "a query in which no table is preserved by all outer joins", "The rows that a change touches can't be told.",
	"Let a table stand outside of the nullable sides of all outer joins, or FULL JOIN on the equality of two columns of the same type."},
	{TD_NOT_KEYLESS_FUNCTIONS, "subqueries over nothing but functions or VALUES in FROM", "No table leads from a changed row to the rows that it touches.",
	"Join what the subquery reads: SELECT s, count(t.id) FROM generate_series(1, 10) s LEFT JOIN t ON t.n = s GROUP BY s."},
	{TD_NOT_KEYLESS_VALUES, "subqueries without a FROM around them", "Each of their tables could change the one row.",
	"Join them instead: SELECT a.n, b.n FROM (SELECT count(*) AS n FROM ...) a, (SELECT count(*) AS n FROM ...) b."},
	{TD_NOT_ALL_FULL, "a query in which a change of any table touches every row", "No equality leads from a changed row to the rows of the result that it touches.",
	"Add an equality between the tables, or make the inner query a view of its own with tapdata.create_view."},
	{TD_NOT_TWIN, "%s, which is computed at each reading", "It is the definition of a live view.", "Name the live view itself."},
	{TD_NOT_TEMPORARY, "temporary table %s", LOGGED_ONLY, "Use an ordinary table."},
	{TD_NOT_UNLOGGED, "unlogged table %s", LOGGED_ONLY, "Make it an ordinary one with ALTER TABLE ... SET LOGGED."},
	{TD_NOT_UNLOGGED_VIEW, "live view %s, which is unlogged", LOGGED_ONLY, "Drop it and create it without the option {\"unlogged\": true}; or name the tables that it is made of."},
	{TD_NOT_FOREIGN, "foreign table %s", "Its changes are made on another server.", "Mirror it with tapdata.mirror, and use the mirrored table."},
	{TD_NOT_CATALOG, "system catalog %s", "Changes of catalogs are not decoded.", "Query the catalog itself."},
	{TD_NOT_OURS, "%s, a table of tapdata itself", "It changes with each tick.", "Use the views of schema tapdata."},
	{TD_NOT_MATERIALIZED, "materialized view %s", "It is stale until its next REFRESH.", "Use its query, or make it a live view with tapdata.create_view."},
	{TD_NOT_SEQUENCE, "sequence %s", "Its changes do not follow transactions.", "Leave it out, and read it beside the view."},
	{TD_NOT_RELATION_KIND, "relation %s", "It is neither a table nor a partitioned table.", "Name a table."},
	{TD_NOT_ACCESS_METHOD, "table %s, whose access method is not heap", "Its changes can't be decoded.", "Use a table of access method heap."},
	{TD_NOT_ROW_SECURITY, "table %s, whose row-level security applies to the view's owner", "Changes are read from the WAL, which knows no policies.",
	"Let a role that the policies do not apply to own the view: the table's owner, or one with BYPASSRLS."},
	{TD_NOT_VIRTUAL_COLUMN, "virtual generated column %s", "Its values are not in the WAL.", "Use its expression, or make the column STORED."},
	{TD_NOT_GONE, "a table that is gone", "It has been dropped meanwhile.", "Look at the query again."}
};

StaticAssertDecl(lengthof(refusals) == TD_NOT_GONE + 1, "one refusal for each construct");

bool
td_refuse(TdError *err, TdConstruct construct, const char *what)
{
	const Refusal *r = &refusals[construct];

	Assert(r->construct == construct);
	if (strstr(r->name, "%s"))
	{
		char	   *name = psprintf(r->name, what);

		td_error_set(err, "0A000", "views do not support %s", name);
		pfree(name);
	}
	else
		td_error_set(err, "0A000", "views do not support %s", r->name);
	td_error_detail(err, "%s", r->detail);
	td_error_hint(err, "%s", strstr(r->hint, "%s") ? psprintf(r->hint, what) : r->hint);
	return false;
}

/* ---- names of kinds ---- */

static const char *const sublinks[] = {
	[EXISTS_SUBLINK] = "EXISTS (SELECT ...)",
	[ALL_SUBLINK] = "ALL (SELECT ...)",
	[ANY_SUBLINK] = "IN or ANY (SELECT ...)",
	[ROWCOMPARE_SUBLINK] = "comparison of a row with (SELECT ...)",
	[EXPR_SUBLINK] = "(SELECT ...) as a value",
	[MULTIEXPR_SUBLINK] = "(SELECT ...) as a row",
	[ARRAY_SUBLINK] = "ARRAY (SELECT ...)",
	[CTE_SUBLINK] = "WITH (common table expressions)"
};

static const char *const outer_joins[] = {
	[JOIN_LEFT] = "LEFT JOIN",
	[JOIN_FULL] = "FULL JOIN",
	[JOIN_RIGHT] = "RIGHT JOIN"
};

static const char *const set_operations[][2] = {
	[SETOP_NONE] = {"set operations", "set operations"},
	[SETOP_UNION] = {"UNION", "UNION ALL"},
	[SETOP_INTERSECT] = {"INTERSECT", "INTERSECT ALL"},
	[SETOP_EXCEPT] = {"EXCEPT", "EXCEPT ALL"}
};

static const char *const row_locks[] = {
	[LCS_NONE] = "row locks",
	[LCS_FORKEYSHARE] = "FOR KEY SHARE",
	[LCS_FORSHARE] = "FOR SHARE",
	[LCS_FORNOKEYUPDATE] = "FOR NO KEY UPDATE",
	[LCS_FORUPDATE] = "FOR UPDATE"
};

static const char *
command_name(const Query *query)
{
	switch (query->commandType)
	{
		case CMD_INSERT:
			return "INSERT";
		case CMD_UPDATE:
			return "UPDATE";
		case CMD_DELETE:
			return "DELETE";
		case CMD_MERGE:
			return "MERGE";
		default:
			return query->utilityStmt && IsA(query->utilityStmt, CreateTableAsStmt) ? "SELECT INTO and CREATE TABLE AS" : "statements other than SELECT";
	}
}

/* ---- clauses ---- */

/* Clauses that are there or not: a flag, or a pointer. */
static const struct
{
	size_t		offset;
	bool		flag;
	TdConstruct construct;
}			clauses[] = {
	{offsetof(Query, hasModifyingCTE), true, TD_NOT_MODIFYING_CTE},
	{offsetof(Query, hasRecursive), true, TD_NOT_RECURSIVE},
	{offsetof(Query, cteList), false, TD_NOT_CTE},
	{offsetof(Query, hasWindowFuncs), true, TD_NOT_WINDOW},
	{offsetof(Query, windowClause), false, TD_NOT_WINDOW},
	{offsetof(Query, hasTargetSRFs), true, TD_NOT_TARGET_SRF},
	{offsetof(Query, groupingSets), false, TD_NOT_GROUPING_SETS},
	{offsetof(Query, hasDistinctOn), true, TD_NOT_DISTINCT_ON},
	{offsetof(Query, limitCount), false, TD_NOT_LIMIT},
	{offsetof(Query, limitOffset), false, TD_NOT_OFFSET},
	{offsetof(Query, sortClause), false, TD_NOT_ORDER_BY}
};

static bool
check_clauses(const Query *query, TdError *err)
{
	if (query->commandType != CMD_SELECT)
		return td_refuse(err, TD_NOT_SELECT, command_name(query));
	if (query->setOperations)
	{
		SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);

		return td_refuse(err, TD_NOT_SET_OPERATION, set_operations[op->op][op->all ? 1 : 0]);
	}
	if (query->rowMarks)
		return td_refuse(err, TD_NOT_ROW_LOCKS, row_locks[linitial_node(RowMarkClause, query->rowMarks)->strength]);
	for (int i = 0; i < lengthof(clauses); i++)
	{
		const char *field = (const char *) query + clauses[i].offset;

		if (clauses[i].flag ? *(const bool *) field : *(void *const *) field != NULL)
			return td_refuse(err, clauses[i].construct, NULL);
	}
	return true;
}

/* ---- FROM ---- */

static bool
check_from_item(const RangeTblEntry *rte, TdError *err)
{
	static const TdConstruct by_kind[] = {
		[RTE_SUBQUERY] = TD_NOT_FROM_SUBQUERY,
		[RTE_FUNCTION] = TD_NOT_FROM_FUNCTION,
		[RTE_TABLEFUNC] = TD_NOT_TABLE_FUNCTION,
		[RTE_VALUES] = TD_NOT_VALUES,
		[RTE_CTE] = TD_NOT_CTE,
		[RTE_NAMEDTUPLESTORE] = TD_NOT_TRANSITION_TABLE
	};

	if (rte->rtekind == RTE_RELATION)
	{
		if (rte->tablesample)
			return td_refuse(err, TD_NOT_TABLESAMPLE, NULL);
		if (!rte->inh && rte->relkind == RELKIND_PARTITIONED_TABLE)
			return td_refuse(err, TD_NOT_ONLY_PARTITIONED, td_qualified_name(rte->relid));
		return true;
	}
	if (rte->rtekind == RTE_SUBQUERY && rte->lateral)
		return td_refuse(err, TD_NOT_LATERAL, NULL);
	if (rte->rtekind < lengthof(by_kind) && by_kind[rte->rtekind] != 0)
		return td_refuse(err, by_kind[rte->rtekind], NULL);
	return td_refuse(err, TD_NOT_OTHER_EXPRESSION, "this kind of item in FROM");
}

static bool
check_from(const Query *query, Node *node, TdError *err)
{
	List	   *items = NIL;
	ListCell   *lc;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
		return check_from_item(rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable), err);
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		if (join->jointype != JOIN_INNER)
			return td_refuse(err, TD_NOT_OUTER_JOIN, join->jointype < lengthof(outer_joins) ? outer_joins[join->jointype] : "outer joins");
		items = list_make2(join->larg, join->rarg);
	}
	else
		items = castNode(FromExpr, node)->fromlist;
	foreach(lc, items)
	{
		if (!check_from(query, lfirst(lc), err))
			return false;
	}
	return true;
}

/* ---- expressions ---- */

static bool
tag_is_listed(NodeTag tag, const NodeTag *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (list[i] == tag)
			return true;
	}
	return false;
}

static bool
expression_is_known(NodeTag tag)
{
	static const NodeTag known[] = {
		T_Var, T_Const, T_FuncExpr, T_NamedArgExpr, T_OpExpr, T_DistinctExpr, T_NullIfExpr, T_ScalarArrayOpExpr, T_BoolExpr, T_RelabelType,
		T_CoerceViaIO, T_ArrayCoerceExpr, T_ConvertRowtypeExpr, T_CollateExpr, T_CaseExpr, T_CaseWhen, T_CaseTestExpr, T_ArrayExpr, T_RowExpr,
		T_RowCompareExpr, T_CoalesceExpr, T_MinMaxExpr, T_NullTest, T_BooleanTest, T_CoerceToDomain, T_CoerceToDomainValue, T_FieldSelect,
		T_SubscriptingRef, T_XmlExpr, T_Aggref, T_SQLValueFunction, T_TargetEntry, T_SortGroupClause, T_List, T_FromExpr, T_JoinExpr, T_RangeTblRef
	};

	return tag_is_listed(tag, known, lengthof(known));
}

static bool
check_node(Node *node, const Query *query, TdError *err)
{
	if (IsA(node, SubLink))
		return td_refuse(err, TD_NOT_SUBQUERY, sublinks[((SubLink *) node)->subLinkType]);
	if (IsA(node, Param))
		return td_refuse(err, TD_NOT_PARAMETER, psprintf("$%d", ((Param *) node)->paramid));
	if (IsA(node, GroupingFunc))
		return td_refuse(err, TD_NOT_GROUPING_FUNCTION, NULL);
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
	{
		Var		   *var = (Var *) node;

		return td_refuse(err, TD_NOT_SYSTEM_COLUMN, get_rte_attribute_name(rt_fetch(var->varno, query->rtable), var->varattno));
	}
	if (!expression_is_known(nodeTag(node)))
		return td_refuse(err, TD_NOT_OTHER_EXPRESSION, "SQL/JSON expressions");
	return true;
}

typedef struct Walk
{
	const Query *query;
	TdError    *err;
} Walk;

/* Stops at the first node that is refused. */
static bool
expression_walker(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	if (!check_node(node, walk->query, walk->err))
		return true;
	return expression_tree_walker(node, expression_walker, walk);
}

bool
td_check_structure(Query *query, TdError *err)
{
	Walk		walk = {query, err};

	if (!check_clauses(query, err))
		return false;
	if (query->jointree->fromlist == NIL)
		return td_refuse(err, TD_NOT_WITHOUT_FROM, NULL);
	if (query->targetList == NIL)
		return td_refuse(err, TD_NOT_WITHOUT_COLUMNS, NULL);
	return check_from(query, (Node *) query->jointree, err) &&
		!expression_walker((Node *) query->targetList, &walk) &&
		!expression_walker((Node *) query->jointree, &walk) &&
		!expression_walker(query->havingQual, &walk);
}

/* ---- rows of joins ---- */

typedef struct Rows
{
	List	   *queries;		/* around this place, the innermost first */
	TdError    *err;
} Rows;

/* ROW(...) has columns f1, f2, ... */
static bool
has_names(const RowExpr *row)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, row->colnames)
		if (strcmp(strVal(lfirst(lc)), psprintf("f%d", ++n)) != 0)
			return row->row_typeid == RECORDOID;
	return false;
}

/* Its declared argument is the row of a live view: the definition, computed from tables, gives rows of another type, for which there is no such function. */
static bool
takes_row_of_view(Node *node, Rows *rows)
{
	Oid		   *types;
	int			ntypes;
	bool		takes = false;

	if (!IsA(node, FuncExpr))
		return false;
	(void) get_func_signature(((FuncExpr *) node)->funcid, &types, &ntypes);
	for (int i = 0; i < ntypes; i++)
		takes |= OidIsValid(get_typ_typrelid(getBaseType(types[i]))) && td_view_of(get_typ_typrelid(getBaseType(types[i])), true) != NULL;
	return takes && !td_refuse(rows->err, TD_NOT_FUNCTION_OF_VIEW, format_procedure(((FuncExpr *) node)->funcid));
}

/* A join's row is a record whose names no text of the query could have: written out it is ROW(...). */
static bool
row_of_join_walker(Node *node, Rows *rows)
{
	if (node == NULL)
		return false;
	if (takes_row_of_view(node, rows))
		return true;
	if (IsA(node, Var) && ((Var *) node)->varattno == 0)
	{
		const Query *query = list_nth_node(Query, rows->queries, ((Var *) node)->varlevelsup);
		const RangeTblEntry *rte = rt_fetch(((Var *) node)->varno, query->rtable);

		return rte->rtekind == RTE_JOIN && !td_refuse(rows->err, TD_NOT_ROW_OF_JOIN, psprintf("join %s", quote_identifier(rte->eref->aliasname)));
	}
	if (IsA(node, RowExpr) && has_names((RowExpr *) node))
		return !td_refuse(rows->err, TD_NOT_ROW_OF_JOIN, "an alias of USING (...)");
	if (IsA(node, Query))
	{
		bool		found;

		rows->queries = lcons(node, rows->queries);
		found = query_tree_walker((Query *) node, row_of_join_walker, rows, QTW_IGNORE_JOINALIASES);
		rows->queries = list_delete_first(rows->queries);
		return found;
	}
	return expression_tree_walker(node, row_of_join_walker, rows);
}

/* Of the query as the user wrote it, all levels. */
bool
td_check_rows(Query *query, TdError *err)
{
	Rows		rows = {NIL, err};

	return !row_of_join_walker((Node *) query, &rows);
}

/* ---- keyed queries ---- */

/* Clauses of any level that no query can have. */
static bool
check_keyed_clauses(const Query *query, TdError *err)
{
	if (query->commandType != CMD_SELECT)
		return td_refuse(err, TD_NOT_SELECT, command_name(query));
	if (query->hasModifyingCTE)
		return td_refuse(err, TD_NOT_MODIFYING_CTE, NULL);
	if (query->hasRecursive)
		return td_refuse(err, TD_NOT_RECURSIVE, NULL);
	if (query->rowMarks)
		return td_refuse(err, TD_NOT_ROW_LOCKS, row_locks[linitial_node(RowMarkClause, query->rowMarks)->strength]);
	return true;
}

static bool
check_keyed_from(const Query *query, Node *node, TdError *err)
{
	List	   *items;
	ListCell   *lc;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
	{
		const RangeTblEntry *rte = rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable);

		return rte->rtekind == RTE_SUBQUERY || rte->rtekind == RTE_FUNCTION || rte->rtekind == RTE_VALUES || check_from_item(rte, err);
	}
	items = IsA(node, JoinExpr) ? list_make2(((JoinExpr *) node)->larg, ((JoinExpr *) node)->rarg) : castNode(FromExpr, node)->fromlist;
	foreach(lc, items)
	{
		if (!check_keyed_from(query, lfirst(lc), err))
			return false;
	}
	return true;
}

static const char *
system_column(AttrNumber attnum)
{
	return NameStr(SystemAttributeDefinition(attnum)->attname);
}

/* The aggregate that it calls, also as a window function: all of them are declared immutable, whatever they do. */
static Oid
aggregate_of(const Node *node)
{
	if (IsA(node, WindowFunc) && ((const WindowFunc *) node)->winagg)
		return ((const WindowFunc *) node)->winfnoid;
	return IsA(node, Aggref) ? ((const Aggref *) node)->aggfnoid : InvalidOid;
}

/* A Query in an expression is another level. */
static bool
keyed_walker(Node *node, Walk *walk)
{
	static const NodeTag more[] = {T_SubLink, T_WindowFunc, T_GroupingFunc, T_GroupingSet, T_WindowClause, T_RangeTblFunction, T_Query};

	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
	{
		td_refuse(walk->err, TD_NOT_SYSTEM_COLUMN, system_column(((Var *) node)->varattno));
		return true;
	}
	if (OidIsValid(aggregate_of(node)) && aggregate_of(node) >= FirstGenbkiObjectId)
	{
		td_refuse(walk->err, TD_NOT_USER_AGGREGATE, format_procedure(aggregate_of(node)));
		return true;
	}
	if (!tag_is_listed(nodeTag(node), more, lengthof(more)) && !check_node(node, walk->query, walk->err))
		return true;
	return expression_tree_walker(node, keyed_walker, walk);
}

/* One level of a keyed query, without those below it. */
bool
td_check_keyed_structure(Query *query, TdError *err)
{
	Walk		walk = {query, err};
	ListCell   *lc;

	if (!check_keyed_clauses(query, err))
		return false;
	if (!query->setOperations && !check_keyed_from(query, (Node *) query->jointree, err))
		return false;
	foreach(lc, query->rtable)
	{
		const RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (keyed_walker((Node *) rte->functions, &walk) || keyed_walker((Node *) rte->values_lists, &walk))
			return false;
	}
	return !keyed_walker((Node *) query->targetList, &walk) && !keyed_walker((Node *) query->jointree, &walk) &&
		!keyed_walker(query->havingQual, &walk) && !keyed_walker(query->limitCount, &walk) && !keyed_walker(query->limitOffset, &walk) &&
		!keyed_walker((Node *) query->windowClause, &walk);
}
