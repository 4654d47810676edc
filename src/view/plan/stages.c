/*-------------------------------------------------------------------------
 *
 * stages.c
 *		The delta of a join of which many occurrences have changed.
 *
 * NOTES
 *		Inclusion and exclusion has 2^c - 1 terms; above four the join is built up one
 *		occurrence after the other, three terms for each.  (From three on the planner
 *		is asked which is cheaper.)  With P the join so far,
 *		T its delta and R the next occurrence,
 *
 *			d(P x R) = T x R' - T x dR + P' x dR
 *
 *		T is a materialized stage t<n>, whose columns are called c<occurrence>_<attribute>.
 *		Each occurrence that comes next should be joined to those before it: an
 *		unconnected prefix is a cross product.
 *
 * IDENTIFICATION
 *		src/view/plan/stages.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "view/plan/plan_internal.h"

/* ---- the order ---- */

/* How many conditions join an occurrence to a set. */
static int
connections(const TdPlanned *p, int n, const Bitmapset *set)
{
	int			count = 0;

	for (int i = 0; i < p->nquals; i++)
		if (bms_is_member(n, p->quals[i].reads) && bms_membership(p->quals[i].reads) == BMS_MULTIPLE && bms_overlap(p->quals[i].reads, set))
			count++;
	return count;
}

static bool
filtered(const TdPlanned *p, int n)
{
	for (int i = 0; i < p->nquals; i++)
		if (bms_membership(p->quals[i].reads) == BMS_SINGLETON && bms_is_member(n, p->quals[i].reads))
			return true;
	return false;
}

/* Does a row of the set have one partner at most in occurrence n? */
static bool
by_key(const TdPlanned *p, int n, const Bitmapset *set)
{
	const TdOccurrence *o = &p->plan.shape->occurrences[n - 1];
	Bitmapset  *equal = NULL;
	ListCell   *lc;

	for (int i = 0; i < p->nquals; i++)
	{
		const TdQual *q = &p->quals[i];

		if (q->left == NULL || !bms_overlap(q->reads, set))
			continue;
		if (q->left->varno == o->rti)
			equal = bms_add_member(equal, q->left->varattno);
		if (q->right->varno == o->rti)
			equal = bms_add_member(equal, q->right->varattno);
	}
	foreach(lc, o->unique)
	{
		if (bms_is_subset(lfirst(lc), equal))
			return true;
	}
	return false;
}

/* What the next step does to the number of rows: what makes them fewer comes first, what may multiply them last. */
typedef enum Step
{
	TAKES_AWAY,					/* found by a key, and filtered */
	KEEPS,						/* found by a key */
	FILTERS,					/* joined and filtered */
	MULTIPLIES,					/* joined */
	IS_PRODUCT
} Step;

static const int step_costs[] = {
	[TAKES_AWAY] = 0,
	[KEEPS] = 0,
	[FILTERS] = 1,
	[MULTIPLIES] = 1,
	[IS_PRODUCT] = 100
};

static Step
step_of(const TdPlanned *p, int n, const Bitmapset *prefix)
{
	if (connections(p, n, prefix) == 0)
		return IS_PRODUCT;
	if (by_key(p, n, prefix))
		return filtered(p, n) ? TAKES_AWAY : KEEPS;
	return filtered(p, n) ? FILTERS : MULTIPLIES;
}

/* What comes after those in prefix; of equal ones what has changed (a stage more otherwise), then what has more conditions. */
static int
next_of(const TdPlanned *p, const Bitmapset *prefix, const Bitmapset *changed)
{
	int			best = 0;
	int			best_rank = 0;

	for (int n = 1; n <= p->plan.shape->noccurrences; n++)
	{
		int			rank;

		if (bms_is_member(n, prefix))
			continue;
		rank = 1000 * (IS_PRODUCT - step_of(p, n, prefix)) + (bms_is_member(n, changed) ? 100 : 0) + Min(connections(p, n, prefix), 99);
		if (best == 0 || rank > best_rank)
		{
			best = n;
			best_rank = rank;
		}
	}
	return best;
}

/* The order that begins with an occurrence; what it costs. */
static int
order_from(const TdPlanned *p, int first, const Bitmapset *changed, int *order)
{
	Bitmapset  *prefix = bms_make_singleton(first);
	int			cost = 0;

	order[0] = first;
	for (int i = 1; i < p->plan.shape->noccurrences; i++)
	{
		order[i] = next_of(p, prefix, changed);
		cost += step_costs[step_of(p, order[i], prefix)];
		prefix = bms_add_member(prefix, order[i]);
	}
	return cost;
}

/* From the occurrence from which most others are found by their keys; of equal ones from a changed one. */
static void
choose_order(const TdPlanned *p, const Bitmapset *changed, int *order)
{
	int			count = p->plan.shape->noccurrences;
	int			some[TD_MAX_OCCURRENCES];
	int			least = 0;

	for (int n = 1; n <= count; n++)
	{
		int			cost = 2 * order_from(p, n, changed, some) + (bms_is_member(n, changed) ? 0 : 1);

		if (n > 1 && cost >= least)
			continue;
		least = cost;
		memcpy(order, some, sizeof(int) * count);
	}
}

/* ---- stages ---- */

/* How columns are called where the occurrences in prefix are read from stage t<stage>, and the others as r<n>. */
static List *
stage_context(const TdPlanned *p, const Bitmapset *prefix, int stage)
{
	TdRowNames *rows = palloc(sizeof(TdRowNames) * p->nrows);
	int			n = -1;

	memcpy(rows, p->rows, sizeof(TdRowNames) * p->nrows);
	while ((n = bms_next_member(prefix, n)) >= 0)
	{
		TdRowNames *row = &rows[p->plan.shape->occurrences[n - 1].rti - 1];
		int			count = list_length(row->columns);

		row->alias = psprintf("t%d", stage);
		row->columns = NIL;
		for (int a = 1; a <= count; a++)
			row->columns = lappend(row->columns, psprintf("c%d_%d", n, a));
	}
	return td_names_context(p->nrows, rows);
}

/* The columns of an occurrence that are read after the stage of set. */
static Bitmapset *
columns_after(const TdPlanned *p, int n, const Bitmapset *set)
{
	Bitmapset  *columns = NULL;

	for (int i = 0; i < p->nitems; i++)
		columns = bms_add_members(columns, td_names_columns(p, p->items[i].expr, n));
	for (int i = 0; i < p->nquals; i++)
		if (!bms_is_subset(p->quals[i].reads, set))
			columns = bms_add_members(columns, td_names_columns(p, p->quals[i].expr, n));
	return columns;
}

/* SELECT the columns that are read later, and the weight; those of prefix from stage t<stage>. */
static void
put_columns(StringInfo buf, const TdPlanned *p, const Bitmapset *set, const Bitmapset *prefix, int stage, const char *weight)
{
	int			n = -1;

	appendStringInfoString(buf, "SELECT ");
	while ((n = bms_next_member(set, n)) >= 0)
	{
		Bitmapset  *columns = columns_after(p, n, set);
		List	   *names = p->rows[p->plan.shape->occurrences[n - 1].rti - 1].columns;
		int			a = -1;

		while ((a = bms_next_member(columns, a)) >= 0)
			if (bms_is_member(n, prefix))
				appendStringInfo(buf, "t%d.c%d_%d, ", stage, n, a);
			else
				appendStringInfo(buf, "r%d.%s AS c%d_%d, ", n, quote_identifier(list_nth(names, a - 1)), n, a);
	}
	appendStringInfo(buf, "%s AS " TD_W, weight);
}

/* T x R', or - T x dR */
static void
put_step(StringInfo buf, const TdPlanned *p, const Bitmapset *set, const Bitmapset *prefix, int stage, int n, bool delta)
{
	Bitmapset  *deltas = delta ? bms_make_singleton(n) : NULL;

	put_columns(buf, p, set, prefix, stage, delta ? psprintf("-(t%d." TD_W " * r%d." TD_W ")", stage, n) : psprintf("t%d." TD_W, stage));
	appendStringInfo(buf, "\nFROM t%d, %s%s", stage, td_terms_source(p, n, delta),
					 td_terms_where(p, set, prefix, deltas, stage_context(p, prefix, stage), NULL));
}

/* P' x dR */
static void
put_new(StringInfo buf, const TdPlanned *p, const Bitmapset *set, const Bitmapset *prefix, int n)
{
	int			m = -1;

	put_columns(buf, p, set, NULL, 0, psprintf("r%d." TD_W, n));
	appendStringInfo(buf, "\nFROM %s", td_terms_source(p, n, true));
	while ((m = bms_next_member(prefix, m)) >= 0)
		appendStringInfo(buf, ", %s", td_terms_source(p, m, false));
	appendStringInfoString(buf, td_terms_where(p, set, NULL, bms_make_singleton(n), NULL, NULL));
}

/* The items of the rows that came and went, with weights. */
char *
td_stages_delta(const TdPlanned *p, const Bitmapset *changed)
{
	int			count = p->plan.shape->noccurrences;
	int			order[TD_MAX_OCCURRENCES];
	Bitmapset  *prefix = NULL;
	StringInfoData buf;
	int			stage = 0;

	choose_order(p, changed, order);
	initStringInfo(&buf);
	for (int i = 0; i < count; i++)
	{
		int			n = order[i];
		bool		delta = bms_is_member(n, changed);
		Bitmapset  *set = bms_add_member(bms_copy(prefix), n);

		if (stage > 0 || delta)
			appendStringInfo(&buf, "%st%d AS MATERIALIZED (", stage ? "),\n" : "WITH ", stage + 1);
		if (stage > 0)
			put_step(&buf, p, set, prefix, stage, n, false);
		if (stage > 0 && delta)
		{
			appendStringInfoString(&buf, "\nUNION ALL\n");
			put_step(&buf, p, set, prefix, stage, n, true);
			appendStringInfoString(&buf, "\nUNION ALL\n");
		}
		if (delta)
			put_new(&buf, p, set, prefix, n);
		if (stage > 0 || delta)
			stage++;
		prefix = set;
	}
	appendStringInfo(&buf, ")\nSELECT %s%st%d." TD_W "\nFROM t%d", td_terms_items(p, stage_context(p, prefix, stage)),
					 p->nitems ? ", " : "", stage, stage);
	return buf.data;
}
