/*-------------------------------------------------------------------------
 *
 * split.c
 *		A query that is neither linear nor keyed as several that are.
 *
 * NOTES
 *		In a session, within create_view and explain_query.  A *part* is a query
 *		that becomes a hidden live view; what is left of the user's query reads its
 *		table.  A part's rows are exactly those of its query, so nothing else has to
 *		be proved: a rule only has to say the same with one more level of subquery.
 *
 *		Whether what is left can be kept is known when the tables of the parts are
 *		there: the caller makes them, and each attempt is a subtransaction.
 *
 * IDENTIFICATION
 *		src/view/analyze/split.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "storage/lockdefs.h"
#include "catalog/pg_class.h"
#include "util/util.h"
#include "utils/lsyscache.h"

#include "view/analyze/split_internal.h"

#define MAX_DEPTH 5
#define MAX_ATTEMPTS 40
#define FEW_PARTS 8			/* up to here the fewest are sought, one by one */

typedef struct Part
{
	Query	   *query;			/* as it was cut out */
	const List *order;
	Oid			table;
} Part;

typedef struct Splitting
{
	Oid			owner;
	TdMakePart	make;
	void	   *arg;
	List	   *parts;			/* of Part * */
	int			most;			/* so many parts may be made, */
	bool		reached;		/* and more would have been */
	bool		whole;			/* changes of some table may compute a part, or the view, whole */
	bool		fine;			/* none may be computed anew by many rows at a time */
	int			attempts;
} Splitting;

static Query *split(Splitting *s, Query *query, int depth);

/* ---- a part ---- */

static bool
name_is_taken(const Query *query, const TargetEntry *upto, const char *name)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		const TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle == upto)
			return false;
		if (!tle->resjunk && strcmp(tle->resname, name) == 0)
			return true;
	}
	return false;
}

/* Each column of its table needs a name of its own, which texts of the query show ("?column?" they leave out), and order is none of a table. */
void
td_split_make_storable(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && (tle->resname == NULL || strcmp(tle->resname, "?column?") == 0 || strcmp(tle->resname, TD_WEIGHT) == 0 || name_is_taken(query, tle, tle->resname)))
			tle->resname = psprintf("tapdata$%d", tle->resno);
	}
	if (!query->limitCount && !query->limitOffset && !query->hasDistinctOn)
		query->sortClause = NIL;
}

/* A query that is kept as the caller wants it; NULL = it is not. */
static TdShape *
keepable(const Splitting *s, Query *query)
{
	TdError		err;
	TdShape    *shape = td_analyze(query, s->owner, &err);

	if (shape && ((!s->whole && td_split_is_whole(shape)) || (s->fine && td_split_is_coarse(shape)) || (shape->topk && !td_topk_served(shape))))
		return NULL;
	return shape;
}

/* With the key by which it is computed anew among its columns, it needs no state table. */
static TdShape *
analyze_part(Splitting *s, Query **query, List *more)
{
	TdShape    *shape = keepable(s, *query);
	ListCell   *lc,
			   *le;

	if (shape == NULL || shape->keyed == NULL || shape->keyed->stored)
		return shape;
	more = list_concat(list_copy(more), td_split_key_of_view(*query, s->owner));
	foreach(lc, more)
	{
		Query	   *wider = copyObject(*query);
		TdShape    *other;

		foreach(le, lfirst_node(List, lc))
			wider->targetList = lappend(wider->targetList, makeTargetEntry(lfirst(le), list_length(wider->targetList) + 1, NULL, false));
		td_split_make_storable(wider);
		other = keepable(s, wider);
		if (other != NULL && other->keyed != NULL && other->keyed->stored)
		{
			*query = wider;
			return other;
		}
	}
	return shape;
}

static bool
same_order(const List *a, const List *b)
{
	if (list_length(a) != list_length(b))
		return false;
	for (int i = 0; i < list_length(a); i++)
	{
		const TdOrderItem *x = list_nth(a, i);
		const TdOrderItem *y = list_nth(b, i);

		if (x->attnum != y->attnum || x->reverse != y->reverse || x->nulls_first != y->nulls_first)
			return false;
	}
	return true;
}

/* The table of a part; InvalidOid = it can't be kept either. */
static Oid
part_table(Splitting *s, Query *query, const TdHole *hole, int depth)
{
	Query	   *original = copyObject(query);
	TdShape    *shape;
	Part	   *part;
	ListCell   *lc;

	foreach(lc, s->parts)
	{
		if (equal(((Part *) lfirst(lc))->query, query) && same_order(((Part *) lfirst(lc))->order, hole->order))
			return ((Part *) lfirst(lc))->table;
	}
	if (list_length(s->parts) >= s->most)
	{
		s->reached = true;
		return InvalidOid;
	}
	td_split_make_storable(query);
	shape = analyze_part(s, &query, hole->more);
	if (shape == NULL)
	{
		query = split(s, query, depth + 1);
		shape = query ? analyze_part(s, &query, NIL) : NULL;
	}
	s->reached = s->reached || list_length(s->parts) >= s->most;
	if (shape == NULL || list_length(s->parts) >= s->most)
		return InvalidOid;
	part = palloc0(sizeof(Part));
	part->query = original;
	part->order = hole->order;
	part->table = s->make(query, shape, hole->order, list_length(s->parts), s->arg);
	s->parts = lappend(s->parts, part);
	return part->table;
}

/* The subquery becomes the table of a part, whose first columns are those of the subquery. */
static bool
fill_hole(Splitting *s, const TdHole *hole, int depth)
{
	RangeTblEntry *rte = hole->rte;
	Query	   *query = rte->subquery;
	Oid			table = part_table(s, copyObject(query), hole, depth);
	List	   *names = NIL;

	if (!OidIsValid(table))
		return false;
	for (AttrNumber i = 1; get_attname(table, i, true); i++)
		names = lappend(names, makeString(get_attname(table, i, false)));
	rte->rtekind = RTE_RELATION;
	rte->subquery = NULL;
	rte->security_barrier = false;
	rte->lateral = false;
	rte->relid = table;
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = AccessShareLock;
	rte->inh = true;
	rte->inFromCl = true;
	rte->alias = makeAlias(rte->eref->aliasname, NIL);
	rte->eref = makeAlias(rte->eref->aliasname, names);
	return true;
}

/* ---- attempts ---- */

static Query *
attempt_rewritten(Splitting *s, Query *query, const List *holes, int depth)
{
	ListCell   *lc;

	foreach(lc, holes)
	{
		if (!fill_hole(s, lfirst(lc), depth))
			return NULL;
	}
	return keepable(s, query) ? query : split(s, query, depth + 1);
}

/* How many of these are no parts yet? */
static int
new_parts(const Splitting *s, const List *holes)
{
	List	   *queries = NIL;
	int			known;
	ListCell   *lc;

	foreach(lc, s->parts)
		queries = lappend(queries, ((Part *) lfirst(lc))->query);
	known = list_length(queries);
	foreach(lc, holes)
		queries = list_append_unique(queries, ((TdHole *) lfirst(lc))->rte->subquery);
	return list_length(queries) - known;
}

/* What is refused on the way (too many columns for a table, say) is no way. */
static Query *
attempt(Splitting *s, Query *query, const List *holes, int depth)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			nparts = list_length(s->parts);
	Query	   *volatile result = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		result = attempt_rewritten(s, query, holes, depth);
		if (result)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (edata->sqlerrcode != ERRCODE_FEATURE_NOT_SUPPORTED && edata->sqlerrcode != ERRCODE_TOO_MANY_COLUMNS)
			ReThrowError(edata);
		FreeErrorData(edata);
		result = NULL;
	}
	PG_END_TRY();
	if (result == NULL)
		s->parts = list_truncate(s->parts, nparts);
	return result;
}

/* The first rule that leads to queries which can all be kept. */
static Query *
split(Splitting *s, Query *query, int depth)
{
	static const TdSplitRule of_cut[] = {td_split_topk, NULL};
	const TdSplitRule *rules = td_cuts(query) ? of_cut : td_split_rules;

	check_stack_depth();
	if (depth > MAX_DEPTH)
		return NULL;
	for (int rule = 0; rules[rule]; rule++)
	{
		for (int variant = 0;; variant++)
		{
			List	   *holes = NIL;
			Query	   *rewritten = rules[rule] (copyObject(query), variant, &holes);
			Query	   *result;

			if (rewritten == NULL || s->attempts >= MAX_ATTEMPTS)
				break;
			if (list_length(s->parts) + new_parts(s, holes) > s->most)
			{
				s->reached = true;	/* not tried in vain */
				continue;
			}
			s->attempts++;
			result = attempt(s, rewritten, holes, depth);
			if (result)
				return result;
		}
	}
	return NULL;
}

static Query *
fewest_parts(Splitting *s, Query *query)
{
	Query	   *result = NULL;

	s->reached = true;
	for (s->most = 1; result == NULL && s->reached && s->most <= TD_MAX_PARTS; s->most = s->most < FEW_PARTS ? s->most + 1 : 2 * s->most)
	{
		s->reached = false;
		s->attempts = 0;
		result = split(s, query, 1);
	}
	return result;
}

/* All rows of what LIMIT cuts are kept in any case: should they be in finer parts than one? */
static bool
is_cut_of_coarse(Query *query, Oid owner)
{
	Query	   *rows = copyObject(query);
	TdShape    *shape;
	TdError		err;

	if (!td_cuts(rows) || rows->hasDistinctOn)
		return false;
	rows->limitCount = rows->limitOffset = NULL;
	rows->sortClause = NIL;
	shape = td_analyze(rows, owner, &err);
	return shape && td_split_is_coarse(shape);
}

/*
 * An ordinary view may be replaced by another one: it stays in the queries by its name, so that each piece that reads it has it in its fingerprint.  What it
 * reads is never split.
 */
Query *
td_split(Query *query, Oid owner, TdMakePart make, void *arg, const TdShape *shape, int *nparts)
{
	Splitting	s = {owner, make, arg};
	Query	   *result = NULL;
	Query	   *copy = copyObject(query);
	TdError		err;

	*nparts = 0;
	if (copy->commandType != CMD_SELECT || (copy->sortClause && !copy->hasDistinctOn && !td_cuts(copy)) || !td_keyed_prepare(copy, owner, NULL, &err))
		return NULL;
	s.fine = shape ? td_split_is_coarse(shape) : is_cut_of_coarse(copy, owner);
	if (s.fine)
		result = fewest_parts(&s, copy);
	s.fine = false;
	if (result == NULL && (shape == NULL || shape->topk || td_split_is_whole(shape)))
		result = fewest_parts(&s, copy);	/* rather more parts than that a change computes one of them whole */
	s.whole = true;
	if (result == NULL && shape == NULL)
		result = fewest_parts(&s, copy);
	*nparts = list_length(s.parts);
	return result;
}
