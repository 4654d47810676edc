/*-------------------------------------------------------------------------
 *
 * keyed.c
 *		From an analysed query that is not linear to the shape of a keyed view.
 *
 * NOTES
 *		The result of a keyed query falls into parts by the values of a key, and
 *		each part depends on rows only that lead to that value: it is computed
 *		anew for the values that a tick touches.  README.md has the theory and why
 *		it is exact.
 *
 *		As analyze.c; in CurrentMemoryContext.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"

#include "view/analyze/keyed_internal.h"

/* The topmost level alone can't be in any order, or cut: where all of it is computed anew, it can be the first rows of an order. */
static bool
check_top(const Query *query, bool full, TdError *err)
{
	bool		cut = query->limitCount || query->limitOffset;

	if (query->commandType == CMD_SELECT && cut && !(full && query->sortClause))
		return td_refuse(err, query->limitCount ? TD_NOT_LIMIT : TD_NOT_OFFSET, NULL);
	if (query->commandType == CMD_SELECT && query->sortClause && !query->hasDistinctOn && !cut)
		return td_refuse(err, TD_NOT_ORDER_BY, NULL);
	if (query->commandType == CMD_SELECT && query->targetList == NIL)
		return td_refuse(err, TD_NOT_WITHOUT_COLUMNS, NULL);
	return true;
}

static bool
check_uses(TdShape *shape, TdError *err)
{
	TdUses		uses = {NIL};
	bool		ok = td_keyed_uses(shape->query, &uses, err);

	shape->pinned = uses.pinned;
	shape->moments = uses.moments;
	shape->functions = uses.functions;
	shape->types = list_concat_unique_oid(shape->types, uses.types);
	return ok;
}

/* No key: any change of a column that is read touches everything. */
static TdKeyed *
keyless(const TdKeyedWalk *walk)
{
	const TdShape *shape = walk->shape;
	TdKeyed    *keyed = palloc0(sizeof(TdKeyed));

	keyed->stored = true;
	keyed->private = palloc0(sizeof(TdKeyedPrivate));
	keyed->private->lineage = palloc0(shape->noccurrences * sizeof(TdLineage));
	keyed->private->query = copyObject(walk->top->query);
	return keyed;
}

static TdShape *
analyze(Query *query, Oid owner, bool full, int leading, TdError *err)
{
	TdShape    *shape = palloc0(sizeof(TdShape));
	TdKeyedWalk walk = {.shape = shape,.err = err,.leading = leading};
	List	   *views = NIL;

	shape->query = query;
	shape->occurrences = palloc0(TD_MAX_OCCURRENCES * sizeof(TdOccurrence));
	if (!check_top(query, full, err))
		return NULL;
	if (query->commandType == CMD_SELECT)
		AcquireRewriteLocks(query, true, false);
	if (!td_keyed_prepare(query, owner, &views, err) || (!full && !td_check_equality(query, err)))
		return NULL;
	td_keyed_levels(&walk, query);
	if (walk.too_many)
	{
		td_refuse(err, TD_NOT_TOO_MANY_TABLES, psprintf("%d", TD_MAX_OCCURRENCES));
		return NULL;
	}
	if (shape->noccurrences == 0)
	{
		td_refuse(err, TD_NOT_WITHOUT_FROM, NULL);
		return NULL;
	}
	if (!td_check_relations(shape, owner, err) || !td_take_outputs(shape, err) || !check_uses(shape, err))
		return NULL;
	td_find_views(shape);
	shape->keyed = full ? keyless(&walk) : td_keyed_choose(&walk, err);
	if (shape->keyed == NULL)
		return NULL;
	shape->keyed->private->views = views;
	shape->outputs = NIL;
	return shape;
}

TdShape *
td_keyed_analyze(Query *query, Oid owner, TdError *err)
{
	return analyze(query, owner, false, 0, err);
}

TdShape *
td_analyze_full(Query *query, Oid owner, TdError *err)
{
	TdShape    *shape = analyze(copyObject(query), owner, true, 0, err);

	for (int i = 0; shape && i < shape->noccurrences; i++)
		shape->occurrences[i].touch = true; /* that something has changed is enough */
	return shape;
}

TdShape *
td_keyed_analyze_by(Query *query, Oid owner, int leading, TdError *err)
{
	return analyze(query, owner, false, leading, err);
}
