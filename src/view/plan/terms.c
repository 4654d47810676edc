/*-------------------------------------------------------------------------
 *
 * terms.c
 *		The rows of the join, and their delta by inclusion and exclusion.
 *
 * NOTES
 *		The delta of a product of which the set C has changed is, over new states only,
 *		the sum over non-empty subsets X of C of (-1)^(|X| - 1) times the product of
 *		the deltas of X and the new states of the rest (README.md has the algebra).
 *		Each is a select of its own, whose joins the planner orders.
 *
 * IDENTIFICATION
 *		src/view/plan/terms.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "view/plan/plan_internal.h"

/* The FROM item of an occurrence: its table, or its delta. */
char *
td_terms_source(const TdPlanned *p, int occurrence, bool delta)
{
	if (!delta)
		return psprintf("%s r%d", p->tables[occurrence - 1], occurrence);
	if (p->netted)
		return psprintf("l%d r%d", occurrence, occurrence);
	return psprintf("d_%u r%d", p->plan.shape->occurrences[occurrence - 1].relid, occurrence);
}

/* Has a leaf applied it already? */
static bool
applied_by_leaf(const TdPlanned *p, const TdQual *qual, const Bitmapset *deltas)
{
	return p->netted && bms_membership(qual->reads) == BMS_SINGLETON && bms_is_subset(qual->reads, deltas);
}

/*
 * WHERE for a join of the occurrences in set, of which those in deltas are read as deltas: what can be tested there, but could not with those
 * in done (NULL = nothing is done).  context NULL = the columns are called r<n>.
 */
char *
td_terms_where(const TdPlanned *p, const Bitmapset *set, const Bitmapset *done, const Bitmapset *deltas, List *context, const char *more)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < p->nquals; i++)
	{
		const TdQual *q = &p->quals[i];

		if (!bms_is_subset(q->reads, set) || (done && bms_is_subset(q->reads, done)) || applied_by_leaf(p, q, deltas))
			continue;
		appendStringInfo(&buf, "%s%s", buf.len ? " AND " : "\nWHERE ", context ? td_names_text(q->expr, context) : q->text);
	}
	if (more && more[0])
		appendStringInfo(&buf, "%s%s", buf.len ? " AND " : "\nWHERE ", more);
	return buf.data;
}

/* The items, by their names.  context NULL = over r<n>. */
char *
td_terms_items(const TdPlanned *p, List *context)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < p->nitems; i++)
	{
		const TdItem *item = &p->items[i];

		appendStringInfo(&buf, "%s%s AS %s", i ? ", " : "",
						 context ? td_names_typed(item->expr, item->type, item->typmod, context) : item->text, quote_identifier(item->name));
	}
	return buf.data;
}

static char *
from_text(const TdPlanned *p, const Bitmapset *deltas, const char *more)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (more)
		appendStringInfo(&buf, "\nFROM %s", more);
	for (int n = 1; n <= p->plan.shape->noccurrences; n++)
		appendStringInfo(&buf, "%s%s", buf.len ? ", " : "\nFROM ", td_terms_source(p, n, bms_is_member(n, deltas)));
	return buf.data;
}

static Bitmapset *
everything(const TdPlanned *p)
{
	return p->plan.shape->noccurrences ? bms_add_range(NULL, 1, p->plan.shape->noccurrences) : NULL;
}

/* The items of all rows; more_from and more_where join another relation to them. */
char *
td_terms_rows(const TdPlanned *p, const char *more_from, const char *more_where)
{
	return psprintf("SELECT %s%s%s", td_terms_items(p, NULL), from_text(p, NULL, more_from),
					td_terms_where(p, everything(p), NULL, NULL, NULL, more_where));
}

/* The product of the weights, negated for an even number of deltas. */
static char *
weight_text(const Bitmapset *deltas)
{
	StringInfoData buf;
	int			n = -1;

	initStringInfo(&buf);
	while ((n = bms_next_member(deltas, n)) >= 0)
		appendStringInfo(&buf, "%sr%d." TD_W, buf.len ? " * " : "", n);
	return bms_num_members(deltas) % 2 ? buf.data : psprintf("-(%s)", buf.data);
}

static void
put_select(StringInfo buf, const TdPlanned *p, const Bitmapset *deltas, const char *more)
{
	appendStringInfo(buf, "%sSELECT %s%s%s AS " TD_W "%s%s", buf->len ? "\nUNION ALL\n" : "",
					 td_terms_items(p, NULL), p->nitems ? ", " : "", weight_text(deltas), from_text(p, deltas, NULL),
					 td_terms_where(p, everything(p), NULL, deltas, NULL, more));
}

/* The new bounds of "value < bound" and the old ones take away each other's rows, but for those in between: only these are read. */
static void
put_term(StringInfo buf, const TdPlanned *p, const Bitmapset *deltas)
{
	int			n;

	if (!bms_get_singleton_member(deltas, &n) || p->ranges[n - 1] == NULL)
		put_select(buf, p, deltas, NULL);
	else
	{
		put_select(buf, p, deltas, psprintf("%s AND %s", p->within[n - 1], p->ranges[n - 1]));
		put_select(buf, p, deltas, psprintf("NOT %s", p->within[n - 1]));
	}
}

/* The items of the rows that came and went, with weights. */
char *
td_terms_delta(const TdPlanned *p, const Bitmapset *changed)
{
	int			nchanged = bms_num_members(changed);
	int			members[TD_MAX_SIGNED];
	StringInfoData buf;
	int			n = -1;

	if (nchanged > TD_MAX_SIGNED)
		return td_stages_delta(p, changed);
	for (int i = 0; (n = bms_next_member(changed, n)) >= 0; i++)
		members[i] = n;
	initStringInfo(&buf);
	for (int subset = 1; subset < 1 << nchanged; subset++)
	{
		Bitmapset  *deltas = NULL;

		for (int i = 0; i < nchanged; i++)
			if (subset & (1 << i))
				deltas = bms_add_member(deltas, members[i]);
		put_term(&buf, p, deltas);
	}
	return buf.data;
}
