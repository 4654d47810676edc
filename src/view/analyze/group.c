/*-------------------------------------------------------------------------
 *
 * group.c
 *		GROUP BY, aggregates, HAVING and DISTINCT: what a group's row holds, and
 *		outputs over it.
 *
 * NOTES
 *		Columns that follow from a grouped primary key become further keys, so
 *		that outputs are made of keys and aggregates and nothing else.
 *
 * IDENTIFICATION
 *		src/view/analyze/group.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

typedef struct Walk
{
	TdShape    *shape;
	TdError    *err;
	bool		ok;
} Walk;

bool
td_type_ordered(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_CMP_PROC);

	return OidIsValid(entry->eq_opr) && OidIsValid(entry->cmp_proc);
}

/* ---- aggregates ---- */

bool
td_aggregate_kind(const Aggref *aggref, TdAggregateKind *kind)
{
	static const struct
	{
		const char *name;
		TdAggregateKind kind;
	}			kinds[] = {{"count", TD_AGG_COUNT}, {"sum", TD_AGG_SUM}, {"avg", TD_AGG_AVG}, {"min", TD_AGG_MIN}, {"max", TD_AGG_MAX}};
	char	   *name = aggref->aggfnoid < FirstGenbkiObjectId ? get_func_name(aggref->aggfnoid) : NULL;

	for (int i = 0; name && i < lengthof(kinds); i++)
	{
		if (strcmp(name, kinds[i].name) == 0)
		{
			*kind = aggref->aggstar ? TD_AGG_ROWS : kinds[i].kind;
			return true;
		}
	}
	return false;
}

static bool
check_aggregate(const Aggref *aggref, TdAggregateKind *kind, TdError *err)
{
	const char *name = get_func_name(aggref->aggfnoid);

	if (aggref->aggkind != AGGKIND_NORMAL)
		return td_refuse(err, TD_NOT_ORDERED_SET, name);
	if (!td_aggregate_kind(aggref, kind))
		return td_refuse(err, TD_NOT_AGGREGATE, format_procedure(aggref->aggfnoid));
	if (aggref->aggdistinct)
		return td_refuse(err, TD_NOT_AGGREGATE_DISTINCT, name);
	if (aggref->aggorder)
		return td_refuse(err, TD_NOT_AGGREGATE_ORDER, name);
	if ((*kind == TD_AGG_MIN || *kind == TD_AGG_MAX) && !td_type_ordered(aggref->aggtype))
		return td_refuse(err, TD_NOT_AGGREGATE_ORDERLESS, format_procedure(aggref->aggfnoid));
	return true;
}

/* Rounding makes sums of floats depend on the order of addition. */
static bool
is_exact(TdAggregateKind kind, const Aggref *aggref)
{
	Oid			type = aggref->aggargtypes ? linitial_oid(aggref->aggargtypes) : InvalidOid;

	return (kind != TD_AGG_SUM && kind != TD_AGG_AVG) || (type != FLOAT4OID && type != FLOAT8OID);
}

/* The number of the equal aggregate, entered when there is none; -1 = refused. */
static int
enter_aggregate(Walk *walk, Aggref *aggref)
{
	TdShape    *shape = walk->shape;
	TdAggregate *a;
	TdAggregateKind kind = TD_AGG_ROWS;

	for (int i = 0; i < shape->naggregates; i++)
	{
		if (equal(shape->aggregates[i].aggref, aggref))
			return i;
	}
	if (!check_aggregate(aggref, &kind, walk->err))
		return -1;
	shape->aggregates = shape->naggregates ? repalloc(shape->aggregates, (shape->naggregates + 1) * sizeof(TdAggregate)) : palloc(sizeof(TdAggregate));
	a = &shape->aggregates[shape->naggregates];
	a->kind = kind;
	a->aggref = aggref;
	a->argument = aggref->args ? linitial_node(TargetEntry, aggref->args)->expr : NULL;
	a->exact = is_exact(kind, aggref);
	a->type = exprType((Node *) aggref);
	a->typmod = exprTypmod((Node *) aggref);
	a->collation = exprCollation((Node *) aggref);
	return shape->naggregates++;
}

/* ---- keys ---- */

/* Position of the equal key, from 0; -1 = none. */
static int
find_key(const TdShape *shape, const Node *node)
{
	int			i = 0;
	ListCell   *lc;

	foreach(lc, shape->keys)
	{
		if (equal(lfirst(lc), node))
			return i;
		i++;
	}
	return -1;
}

static bool
check_keys(const TdShape *shape, TdError *err)
{
	ListCell   *lc;

	if (list_length(shape->keys) > TD_MAX_GROUP_KEYS)
		return td_refuse(err, TD_NOT_TOO_MANY_KEYS, psprintf("%d", TD_MAX_GROUP_KEYS));
	foreach(lc, shape->keys)
	{
		Oid			type = exprType(lfirst(lc));

		if (get_typtype(type) == TYPTYPE_PSEUDO || !td_type_ordered(type))
			return td_refuse(err, TD_NOT_UNORDERED_KEY, format_type_be(type));
	}
	return true;
}

static void
keys_of_group_by(TdShape *shape)
{
	ListCell   *lc;

	foreach(lc, shape->query->groupClause)
	{
		Node	   *key = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), shape->query->targetList);

		if (find_key(shape, key) < 0)
			shape->keys = lappend(shape->keys, copyObject(key));
	}
}

static void
keys_of_distinct(TdShape *shape)
{
	ListCell   *lc;

	foreach(lc, shape->outputs)
	{
		Node	   *key = (Node *) lfirst_node(TargetEntry, lc)->expr;

		if (find_key(shape, key) < 0)
			shape->keys = lappend(shape->keys, copyObject(key));
	}
}

static bool
any_holds_rows_of_others(const TdShape *shape)
{
	for (int i = 0; i < shape->noccurrences; i++)
		if (td_holds_rows_of_others(shape->occurrences[i].relid, shape->occurrences[i].inh))
			return true;
	return false;
}

/* Columns that stand outside of aggregates and are no key: PostgreSQL has found that they follow from a key. */
static bool
add_dependent_keys(Node *node, TdShape *shape)
{
	if (node == NULL || IsA(node, Aggref) || find_key(shape, node) >= 0)
		return false;
	if (IsA(node, Var))
	{
		shape->keys = lappend(shape->keys, copyObject(node));
		return false;
	}
	return expression_tree_walker(node, add_dependent_keys, shape);
}

/* ---- over the row of a group ---- */

static Node *
group_var(const Node *node, int number)
{
	return (Node *) makeVar(TD_GROUP_VARNO, number, exprType(node), exprTypmod(node), exprCollation(node), 0);
}

static Node *
rewrite(Node *node, Walk *walk)
{
	int			i;

	if (node == NULL)
		return NULL;
	i = find_key(walk->shape, node);
	if (i >= 0)
		return group_var(node, i + 1);
	if (IsA(node, Aggref))
	{
		i = enter_aggregate(walk, (Aggref *) node);
		walk->ok = walk->ok && i >= 0;
		return group_var(node, list_length(walk->shape->keys) + i + 1);
	}
	return expression_tree_mutator(node, rewrite, walk);
}

/* DISTINCT has nothing to do where every group gives another row. */
static bool
distinct_is_redundant(const TdShape *shape)
{
	ListCell   *lk,
			   *lo;

	foreach(lk, shape->keys)
	{
		bool		selected = false;

		foreach(lo, shape->outputs)
			selected = selected || equal(lfirst(lk), lfirst_node(TargetEntry, lo)->expr);
		if (!selected)
			return false;
	}
	return true;
}

/* Fills grouped, one_group, keys, ngrouped, aggregates and having, and rewrites outputs, of a shape that has query and outputs. */
bool
td_group_shape(TdShape *shape, TdError *err)
{
	Query	   *query = shape->query;
	bool		by_group = query->groupClause || query->hasAggs || query->havingQual;
	Walk		walk = {shape, err, true};

	shape->grouped = by_group || query->distinctClause;
	if (!shape->grouped)
		return true;
	shape->one_group = by_group && !query->groupClause;
	if (by_group)
		keys_of_group_by(shape);
	else
		keys_of_distinct(shape);
	if (by_group && query->distinctClause && !distinct_is_redundant(shape))
		return td_refuse(err, TD_NOT_DISTINCT_GROUPED, NULL);
	shape->ngrouped = list_length(shape->keys);
	if (query->constraintDeps && any_holds_rows_of_others(shape))
		return td_refuse(err, TD_NOT_INHERITED_KEY, NULL);
	add_dependent_keys((Node *) shape->outputs, shape);
	add_dependent_keys(query->havingQual, shape);
	if (!check_keys(shape, err))
		return false;
	shape->outputs = (List *) rewrite((Node *) shape->outputs, &walk);
	shape->having = rewrite(query->havingQual, &walk);
	return walk.ok;
}
