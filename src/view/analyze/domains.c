/*-------------------------------------------------------------------------
 *
 * domains.c
 *		Columns of domains that take no null, where the query may have one.
 *
 * NOTES
 *		An outer join gives nulls in columns of such a domain, and nothing checks
 *		them: PostgreSQL's own CREATE TABLE AS stores them.  But COPY of a dump
 *		checks each value, so a table with such a column can't be restored.  Here
 *		it is refused before there is one; a cast to the type below mends it.
 *
 *		Said of the user's query, all levels down to tables: that a column is
 *		never null has to be seen, everything else may be.  (A CHECK that no null
 *		passes is not looked into.)
 *
 * IDENTIFICATION
 *		src/view/analyze/domains.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

/* A query within others. */
typedef struct Level
{
	const Query *query;
	Bitmapset  *nullable;		/* what outer joins of its FROM may make null */
	const struct Level *outer;
} Level;

static bool is_shown(const Level *level, Node *expr);
static bool column_is_shown(Query *query, AttrNumber number, const Level *outer);

static bool
takes_no_null(Oid type)
{
	for (;;)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		bool		domain = HeapTupleIsValid(tuple) && ((Form_pg_type) GETSTRUCT(tuple))->typtype == TYPTYPE_DOMAIN;
		bool		not_null = domain && ((Form_pg_type) GETSTRUCT(tuple))->typnotnull;

		if (domain)
			type = ((Form_pg_type) GETSTRUCT(tuple))->typbasetype;
		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (not_null || !domain)
			return not_null;
	}
}

static Bitmapset *
add_nullable(Bitmapset *set, Node *node, bool nullable)
{
	ListCell   *lc;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
		return nullable ? bms_add_member(set, ((RangeTblRef *) node)->rtindex) : set;
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		set = add_nullable(set, join->larg, nullable || join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL);
		return add_nullable(set, join->rarg, nullable || join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL);
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
		set = add_nullable(set, lfirst(lc), nullable);
	return set;
}

/* ---- what is never null, as one can see ---- */

/* The query of WITH. */
static bool
cte_is_shown(const Level *level, const RangeTblEntry *rte, AttrNumber number)
{
	ListCell   *lc;

	for (Index i = 0; i < rte->ctelevelsup && level; i++)
		level = level->outer;
	foreach(lc, level ? level->query->cteList : NIL)
	{
		const CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (strcmp(cte->ctename, rte->ctename) == 0)
			return !cte->cterecursive && column_is_shown(castNode(Query, cte->ctequery), number, level);
	}
	return false;
}

/* A table has none, by its column's type; an ordinary view is its query. */
static bool
relation_is_shown(const RangeTblEntry *rte, AttrNumber number)
{
	Relation	rel;
	Query	   *query;

	if (rte->relkind != RELKIND_VIEW)
		return true;
	rel = table_open(rte->relid, AccessShareLock);
	query = copyObject(get_view_query(rel));
	table_close(rel, NoLock);
	return column_is_shown(query, number, NULL);
}

static bool
var_is_shown(const Level *level, const Var *var)
{
	const RangeTblEntry *rte;

	for (Index i = 0; i < var->varlevelsup && level; i++)
		level = level->outer;
	if (level == NULL || var->varattno <= 0 || level->query->groupingSets || bms_is_member(var->varno, level->nullable))
		return false;
	rte = rt_fetch(var->varno, level->query->rtable);
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			return relation_is_shown(rte, var->varattno);
		case RTE_JOIN:
			return is_shown(level, list_nth(rte->joinaliasvars, var->varattno - 1));
		case RTE_SUBQUERY:
			return column_is_shown(rte->subquery, var->varattno, level);
		case RTE_CTE:
			return cte_is_shown(level, rte, var->varattno);
		default:
			return false;
	}
}

/* Merged by USING, or COALESCE: one of them will do. */
static bool
any_is_shown(const Level *level, const List *args)
{
	ListCell   *lc;

	foreach(lc, args)
		if (is_shown(level, lfirst(lc)))
			return true;
	return false;
}

static bool
is_shown(const Level *level, Node *expr)
{
	check_stack_depth();
	if (expr == NULL)
		return false;
	if (IsA(expr, Var))
		return var_is_shown(level, (Var *) expr);
	if (IsA(expr, CoalesceExpr))
		return any_is_shown(level, ((CoalesceExpr *) expr)->args);
	return IsA(expr, CoerceToDomain) || (IsA(expr, Const) && !((Const *) expr)->constisnull);
}

/* Of a set operation in all branches. */
static bool
column_is_shown(Query *query, AttrNumber number, const Level *outer)
{
	Level		level = {query, NULL, outer};
	TargetEntry *tle;
	ListCell   *lc;

	check_stack_depth();
	td_flatten_group_exprs_compat(query);
	if (query->setOperations)
	{
		foreach(lc, query->rtable)
			if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_SUBQUERY && !column_is_shown(lfirst_node(RangeTblEntry, lc)->subquery, number, &level))
				return false;
		return true;
	}
	level.nullable = add_nullable(NULL, (Node *) query->jointree, false);
	tle = get_tle_by_resno(query->targetList, number);
	return tle != NULL && is_shown(&level, (Node *) tle->expr);
}

/* Of the query as the user wrote it. */
bool
td_check_domains(Query *query, TdError *err)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		const TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && takes_no_null(exprType((Node *) tle->expr)) && !column_is_shown(copyObject(query), tle->resno, NULL))
			return td_refuse(err, TD_NOT_NULL_DOMAIN, tle->resname);
	}
	return true;
}
