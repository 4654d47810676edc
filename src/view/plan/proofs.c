/*-------------------------------------------------------------------------
 *
 * proofs.c
 *		Which unique indexes of base tables a view stands on.
 *
 * NOTES
 *		By what a view is kept, and what tables it has for that, follows from keys
 *		in many places of the analysis.  Which of them matter is not traced but
 *		tried: without an index that the plan can do without, it is the same.
 *
 *		The view's definition then depends on these (td_twin_needs), and its worker
 *		counts on no others: an index that comes later must not give the view
 *		another plan, for which it has no tables.
 *
 * IDENTIFICATION
 *		src/view/plan/proofs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "utils/syscache.h"

#include "view/plan/plan_internal.h"

static TdShape *analyze(const TdQuestion *q, TdError *err);
static List *in_order_of_need(const List *indexes);

TdShape *
td_analyze_counting(const TdQuestion *q, TdCounted *counted, TdError *err)
{
	TdCounted  *before = td_count_uniques(counted);
	TdShape    *volatile shape = NULL;

	PG_TRY();
	{
		shape = analyze(q, err);
	}
	PG_FINALLY();
	{
		(void) td_count_uniques(before);
	}
	PG_END_TRY();
	return shape;
}

static TdShape *
analyze(const TdQuestion *q, TdError *err)
{
	TdError		unused = {0};
	TdShape    *shape;

	if (q->keeps > 0)
		return td_analyze_keeper(copyObject(q->query), q->owner, q->keeps, err);
	shape = td_analyze(copyObject(q->query), q->owner, err);
	if (shape == NULL && q->allow_full)
		shape = td_analyze_full(copyObject(q->query), q->owner, &unused);
	return shape;
}

/* ---- is it the same plan? ---- */

static void
add_columns(StringInfo text, const TdStateColumn *columns, int n)
{
	for (int i = 0; i < n; i++)
		appendStringInfo(text, "%s %u %d, ", columns[i].name, columns[i].type, columns[i].typmod);
}

static void
add_lineage(StringInfo text, const TdLineage *l)
{
	const List *parts[] = {l->local, l->path, l->quals, l->keys, l->matched, l->matched_quals};
	ListCell   *lc;

	for (int i = 0; i < lengthof(parts); i++)
		appendStringInfo(text, "%s\n", parts[i] ? nodeToString(parts[i]) : "-");
	foreach(lc, l->compared)	/* sets are nodes from PostgreSQL 16 on only */
		appendStringInfo(text, "%s\n", bmsToString(lfirst(lc)));
}

/* All of a plan that has to do with keys. */
static char *
plan_text(const TdShape *shape)
{
	TdPlan	   *plan = td_plan(shape);
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "unique %s\n", shape->unique ? nodeToString(shape->unique) : "-");
	add_columns(&text, plan->state, plan->nstate);
	appendStringInfo(&text, "\n%s\n%s\n", plan->core_sql ? plan->core_sql : "-", plan->output_sql ? plan->output_sql : "-");
	if (shape->topk)
		appendStringInfo(&text, "order of %d columns\n", list_length(shape->topk->order));
	if (shape->keyed)
	{
		add_columns(&text, shape->keyed->keys, shape->keyed->nkeys);
		appendStringInfo(&text, "%s stored %d nulls %d\n", nodeToString(shape->keyed->private->marked), shape->keyed->stored, shape->keyed->private->nulls);
		for (int i = 0; i < shape->noccurrences; i++)
			add_lineage(&text, &shape->keyed->private->lineage[i]);
	}
	return text.data;
}

/* NULL = it can't be kept with these. */
static TdShape *
with_indexes(const TdQuestion *q, List *indexes)
{
	TdCounted	these = {false, indexes, CurrentMemoryContext};
	TdError		unused = {0};

	return td_analyze_counting(q, &these, &unused);
}

List *
td_find_proofs(const TdQuestion *q, const List *recorded, bool (*fits) (const TdShape *, void *), void *context)
{
	TdCounted	all = {true, NIL, CurrentMemoryContext};
	TdError		unused = {0};
	TdShape    *shape = td_analyze_counting(q, &all, &unused);
	List	   *needed = in_order_of_need(all.indexes);
	char	   *text;
	ListCell   *lc;

	while (fits && shape && needed != NIL && !fits(shape, context))
	{
		needed = list_delete_first(needed);
		shape = with_indexes(q, needed);
	}
	if (shape == NULL || needed == NIL)
		return NIL;
	text = plan_text(shape);
	foreach(lc, list_difference_oid(needed, recorded))
	{
		List	   *fewer = list_delete_oid(list_copy(needed), lfirst_oid(lc));

		shape = with_indexes(q, fewer);
		if (shape && strcmp(plan_text(shape), text) == 0)
			needed = fewer;
		CHECK_FOR_INTERRUPTS();
	}
	return needed;
}

/* ---- the order in which they are tried ---- */

/* Primary keys are the last that somebody would drop; of the others, those that came later are tried first. */
static int
compare_need(const ListCell *a, const ListCell *b)
{
	bool		primary[2] = {false, false};

	for (int i = 0; i < 2; i++)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(i == 0 ? a : b)));

		if (!HeapTupleIsValid(tuple))
			continue;
		primary[i] = ((Form_pg_index) GETSTRUCT(tuple))->indisprimary;
		ReleaseSysCache(tuple);
	}
	if (primary[0] != primary[1])
		return primary[0] ? 1 : -1;
	return lfirst_oid(a) > lfirst_oid(b) ? -1 : 1;
}

static List *
in_order_of_need(const List *indexes)
{
	List	   *sorted = list_copy(indexes);

	list_sort(sorted, compare_need);
	return sorted;
}
