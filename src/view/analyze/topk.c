/*-------------------------------------------------------------------------
 *
 * topk.c
 *		The first rows of a table in an order: views whose strategy is "top-k".
 *
 * NOTES
 *		SELECT ... FROM one table or live view ORDER BY columns of it LIMIT k OFFSET
 *		m.  When the table has changed, its first m + k rows are read again, by an
 *		index on these columns, and the difference to what is stored is written.
 *		Whether there is such an index decides in the session that makes the view:
 *		without one the rows go into a part that has it (split_rules.c).  A worker
 *		takes what it finds: an index that is gone makes ticks slow, not wrong.
 *
 *		As analyze.c.
 *
 * IDENTIFICATION
 *		src/view/analyze/topk.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

#include "view/analyze/topk_internal.h"

#define LONGEST_SHORT 256		/* bytes */

/* ---- LIMIT and OFFSET ---- */

/* A number, or null as NULL says; false = it is neither. */
static bool
constant_of(Node *expr, bool *null, int64 *value)
{
	Const	   *c = expr ? (Const *) eval_const_expressions(NULL, copyObject(expr)) : NULL;

	*null = c == NULL || (IsA(c, Const) && c->constisnull);
	*value = 0;
	if (*null)
		return true;
	if (!IsA(c, Const) || c->consttype != INT8OID)
		return false;
	*value = DatumGetInt64(c->constvalue);
	return true;
}

bool
td_window(const Query *query, TdWindow *window, TdError *err)
{
	bool		none,
				no_offset;

	if (!constant_of(query->limitCount, &none, &window->count))
		return td_refuse(err, TD_NOT_LIMIT_VALUE, "LIMIT");
	if (!constant_of(query->limitOffset, &no_offset, &window->offset))
		return td_refuse(err, TD_NOT_LIMIT_VALUE, "OFFSET");
	if (window->count < 0 || window->offset < 0)
		return td_refuse(err, TD_NOT_LIMIT_NEGATIVE, window->count < 0 ? "LIMIT" : "OFFSET");
	window->counted = !none;
	return true;
}

bool
td_skips(const Query *query)
{
	bool		null;
	int64		value;

	return !constant_of(query->limitOffset, &null, &value) || value != 0;
}

bool
td_cuts(const Query *query)
{
	bool		null;
	int64		value;

	return !constant_of(query->limitCount, &null, &value) || !null || td_skips(query);
}

/* ---- an order ---- */

bool
td_sort_direction(const SortGroupClause *clause, bool *reverse, bool *nulls_first)
{
	Oid			type,
				right;
	int			strategy;

	op_input_types(clause->sortop, &type, &right);
	strategy = get_op_opfamily_strategy(clause->sortop, lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf);
	*reverse = strategy == BTGreaterStrategyNumber;
	*nulls_first = clause->nulls_first;
	return strategy == BTGreaterStrategyNumber || strategy == BTLessStrategyNumber;
}

bool
td_is_short(Oid type, int32 typmod)
{
	Oid			base = getBaseTypeAndTypmod(type, &typmod);
	int			most = type_maximum_size(base, typmod);

	return base == NUMERICOID || get_typlen(base) > 0 || (most > 0 && most <= LONGEST_SHORT);
}

/* ORDER BY in columns of the one entry of FROM; false = there is something else. */
bool
td_topk_order(const Query *query, List **order, TdError *err)
{
	ListCell   *lc;

	*order = NIL;
	foreach(lc, query->sortClause)
	{
		Node	   *expr = get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);
		TdOrderItem *item = palloc0(sizeof(TdOrderItem));

		if (!td_sort_direction(lfirst_node(SortGroupClause, lc), &item->reverse, &item->nulls_first))
			return td_refuse(err, TD_NOT_SORT_OPERATOR, NULL);
		if (!IsA(expr, Var) || ((Var *) expr)->varattno <= 0)
			return td_refuse(err, TD_NOT_LIMIT, NULL);
		item->attnum = ((Var *) expr)->varattno;
		*order = lappend(*order, item);
	}
	return *order != NIL || td_refuse(err, TD_NOT_LIMIT, NULL);
}

char *
td_order_text(Oid relid, const List *order, int n)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < n; i++)
	{
		const TdOrderItem *item = list_nth(order, i);

		appendStringInfo(&text, "%s%s%s", i ? ", " : "", quote_identifier(get_attname(relid, item->attnum, false)), item->reverse ? " DESC" : "");
		if (item->nulls_first != item->reverse)
			appendStringInfoString(&text, item->nulls_first ? " NULLS FIRST" : " NULLS LAST");
	}
	return text.data;
}

/* ---- the index ---- */

static bool
holds_key(const List *keys, const Bitmapset *columns)
{
	ListCell   *lc;

	foreach(lc, keys)
	{
		if (bms_is_subset(lfirst(lc), columns))
			return true;
	}
	return false;
}

/*
 * How many columns of the order an index must have: to a key of the table; else those at the end are left out which may be long, as rows that are equal in
 * the ones before are few, or the user's own choice, and are sorted.
 */
int
td_order_needed(Oid relid, const List *order)
{
	List	   *keys = td_unique_keys(relid, true);
	Bitmapset  *columns = NULL;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, order)
	{
		if (n == INDEX_MAX_KEYS)
			return n;
		columns = bms_add_member(columns, ((TdOrderItem *) lfirst(lc))->attnum);
		n++;
		if (holds_key(keys, columns))
			return n;
	}
	while (n > 1)
	{
		AttrNumber	attnum = ((TdOrderItem *) list_nth(order, n - 1))->attnum;
		Oid			type,
					collation;
		int32		typmod;

		get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
		if (td_is_short(type, typmod))
			break;
		n--;
	}
	return n;
}

/* Does it, read forwards or backwards, give the first n columns of the order? */
static bool
index_gives(Relation rel, Relation index, const List *order, int n)
{
	bool		backwards = false;

	if (!index->rd_index->indisvalid || index->rd_rel->relam != BTREE_AM_OID || index->rd_index->indnkeyatts < n || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < n; i++)
	{
		const TdOrderItem *item = list_nth(order, i);
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), item->attnum - 1);
		bool		down = (index->rd_indoption[i] & INDOPTION_DESC) != 0;
		bool		first = (index->rd_indoption[i] & INDOPTION_NULLS_FIRST) != 0;

		if (i == 0)
			backwards = down != item->reverse;
		if (index->rd_index->indkey.values[i] != item->attnum || (down != item->reverse) != backwards || (first != item->nulls_first) != backwards ||
			index->rd_indcollation[i] != att->attcollation || index->rd_opfamily[i] != lookup_type_cache(att->atttypid, TYPECACHE_BTREE_OPFAMILY)->btree_opf)
			return false;
	}
	return true;
}

Oid
td_order_index(Oid relid, const List *order)
{
	int			n = td_order_needed(relid, order);
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index_gives(rel, index, order, n))
			found = lfirst_oid(lc);
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	return found;
}

bool
td_topk_served(const TdShape *shape)
{
	const TdOccurrence *o = &shape->occurrences[0];

	return !td_holds_rows_of_others(o->relid, o->inh) && OidIsValid(td_order_index(o->relid, shape->topk->order));
}

/* ---- the shape ---- */

/* What is read, if nothing is done with it but to compute columns, to order and to cut; else NULL. */
RangeTblEntry *
td_topk_source(const Query *query)
{
	if (query->setOperations || query->distinctClause || query->groupClause || query->groupingSets || query->hasAggs || query->havingQual ||
		query->hasTargetSRFs || query->hasWindowFuncs || query->cteList || query->hasSubLinks || query->rowMarks ||
		list_length(query->jointree->fromlist) != 1 || query->jointree->quals != NULL || !IsA(linitial(query->jointree->fromlist), RangeTblRef))
		return NULL;
	return rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex, query->rtable);
}

/* The query without what cuts and orders it. */
static Query *
uncut(const Query *query)
{
	Query	   *body = copyObject((Query *) query);

	body->limitCount = body->limitOffset = NULL;
	body->limitOption = LIMIT_OPTION_COUNT;
	if (!body->hasDistinctOn)
		body->sortClause = NIL;
	return body;
}

/* What stands against it is rather what stands against its rows. */
static TdShape *
refuse_rows(const Query *query, Oid owner, TdError *err)
{
	if (td_analyze(uncut(query), owner, err) != NULL)
		td_refuse(err, TD_NOT_LIMIT, NULL);
	return NULL;
}

/* What LIMIT and OFFSET call. */
static bool
take_window_uses(const Query *query, TdShape *shape, TdError *err)
{
	TdUses		uses = {NIL};

	if (!td_collect_uses((Node *) list_make2(query->limitCount, query->limitOffset), &uses, err))
		return false;
	shape->pinned = shape->pinned || uses.pinned;
	shape->functions = list_concat_unique_oid(shape->functions, uses.functions);
	shape->types = list_concat_unique_oid(shape->types, uses.types);
	return true;
}

/* LIMIT 0, too: an empty view, whose rows must be of some kind nevertheless. */
TdShape *
td_topk_analyze(Query *query, Oid owner, TdError *err)
{
	TdTopK	   *topk = palloc0(sizeof(TdTopK));
	TdWindow	w;
	RangeTblEntry *source = td_topk_source(query);
	TdShape    *shape;
	Query	   *body;

	if (!td_window(query, &w, err))
		return NULL;
	if (!w.counted)
	{
		td_refuse(err, TD_NOT_OFFSET, NULL);
		return NULL;
	}
	if (source == NULL || source->rtekind != RTE_RELATION)
		return refuse_rows(query, owner, err);
	body = uncut(query);
	shape = td_linear_analyze(body, owner, err);
	if (shape == NULL || !td_topk_order(query, &topk->order, err))
		return shape == NULL ? refuse_rows(query, owner, err) : NULL;
	if (!take_window_uses(query, shape, err))
		return NULL;
	topk->count = w.count;
	topk->offset = w.offset;
	topk->ties = query->limitOption == LIMIT_OPTION_WITH_TIES;
	shape->query = query;
	shape->topk = topk;
	shape->outputs = NIL;
	shape->occurrences[0].rti = 0;
	shape->keyed = palloc0(sizeof(TdKeyed));
	shape->keyed->stored = true;
	shape->keyed->private = palloc0(sizeof(TdKeyedPrivate));
	shape->keyed->private->lineage = palloc0(sizeof(TdLineage));
	shape->keyed->private->query = query;
	return shape;
}
