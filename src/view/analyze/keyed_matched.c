/*-------------------------------------------------------------------------
 *
 * keyed_matched.c
 *		Which changes touch no key, because what they would be joined with is
 *		filtered away.
 *
 * NOTES
 *		A row of an occurrence leads to its key whether or not anything of the
 *		query can meet it there.  Where a condition reduces it to rows that have a
 *		partner in another occurrence, and that partner is found by a key and has
 *		conditions of its own, the partner is looked up first: it *matches*.
 *
 *		Tables are read as they are now.  That is right as long as a change of
 *		the partner leads to the key without the rows that it matches: then a
 *		pair that goes together is found by the partner (README.md).
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_matched.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "view/analyze/keyed_internal.h"

/* What the lineage of each occurrence reads of others, by occurrence - 1. */
typedef struct Matching
{
	const TdKeyedWalk *walk;
	TdLineage  *lineage;
	Bitmapset **reads;
} Matching;

/* All that the keys of m depend on, m included. */
static Bitmapset *
all_reads(const Matching *m, int n, Bitmapset *found)
{
	int			other = -1;

	if (bms_is_member(n, found))
		return found;
	found = bms_add_member(found, n);
	while ((other = bms_next_member(m->reads[n - 1], other)) >= 0)
		found = all_reads(m, other, found);
	return found;
}

/* Equalities by which rows of `from` matter only if they have a partner in `to`; which of its columns they fix. */
static List *
equalities(const Matching *m, int from, int to, Bitmapset **columns)
{
	List	   *found = NIL;
	Var		   *a,
			   *b;
	ListCell   *lc;

	*columns = NULL;
	foreach(lc, m->walk->conjuncts)
	{
		const TdConjunct *c = lfirst(lc);

		if (c->edge != TD_EDGE_EQUAL || !td_keyed_leads(c, from, to) || !td_equal_columns(c->expr, &a, &b))
			continue;
		*columns = bms_add_member(*columns, a->varno == to ? a->varattno : b->varattno);
		found = list_append_unique(found, c->expr);
	}
	return found;
}

/* Has `from` one partner at most in `to`?  By these conditions, NIL = maybe more. */
static List *
partner(const Matching *m, int from, int to)
{
	const TdOccurrence *o = &m->walk->shape->occurrences[to - 1];
	Bitmapset  *columns;
	List	   *quals = equalities(m, from, to, &columns);
	ListCell   *lc;

	if (quals == NIL)
		return NIL;
	foreach(lc, td_unique_keys(o->relid, o->inh))
	{
		if (bms_is_subset(lfirst(lc), columns))
			return quals;
	}
	return NIL;
}

/* Goes on from `from` to its partners and theirs; true = one of them is filtered, and those on the way to it are noted. */
static bool
match_from(Matching *m, int n, int from, Bitmapset *seen)
{
	TdLineage  *mine = &m->lineage[n - 1];
	bool		found = false;

	for (int to = 1; to <= m->walk->shape->noccurrences; to++)
	{
		List	   *quals = bms_is_member(to, seen) || list_member_int(mine->path, to) || list_member_int(mine->matched, to) ? NIL : partner(m, from, to);
		Bitmapset  *way = bms_add_member(bms_copy(seen), to);

		if (quals == NIL || bms_is_member(n, all_reads(m, to, NULL)))
			continue;
		if (!match_from(m, n, to, way) && m->lineage[to - 1].local == NIL)
			continue;
		mine->matched = lappend_int(mine->matched, to);
		mine->matched_quals = list_concat(list_concat(mine->matched_quals, quals), m->lineage[to - 1].local);
		found = true;
	}
	return found;
}

/* lineage: by occurrence - 1, with local, path and keys. */
void
td_keyed_match(const TdKeyedWalk *walk, TdLineage *lineage)
{
	int			count = walk->shape->noccurrences;
	Matching	m = {walk, lineage, palloc0(sizeof(Bitmapset *) * count)};
	ListCell   *lc;

	for (int n = 1; n <= count; n++)
	{
		foreach(lc, lineage[n - 1].path)
			m.reads[n - 1] = bms_add_member(m.reads[n - 1], lfirst_int(lc));
	}
	for (int n = 1; n <= count; n++)
	{
		if (lineage[n - 1].keys == NIL)
			continue;
		(void) match_from(&m, n, n, bms_make_singleton(n));
		foreach(lc, lineage[n - 1].matched)
			m.reads[n - 1] = bms_add_member(m.reads[n - 1], lfirst_int(lc));
	}
}
