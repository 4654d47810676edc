/*-------------------------------------------------------------------------
 *
 * split_worth.c
 *		Whether a query that can be kept in one piece is better kept in parts.
 *
 * NOTES
 *		In a session, within create_view and explain_query.  What is stored once a
 *		view is made does not change when the tables grow: so much is left to what
 *		ANALYZE knew then.  A wrong guess costs time or space, never a row.
 *
 * IDENTIFICATION
 *		src/view/analyze/split_worth.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "view/analyze/split_internal.h"

#define MANY_ROWS 1000			/* of a key, to be computed anew because one of them has changed */

/* ---- whole ---- */

/* Without an equality on the way a row leads to any number of keys. */
static bool
is_led(const TdLineage *lineage)
{
	Var		   *a,
			   *b;
	ListCell   *lc;

	foreach(lc, lineage->quals)
	{
		if (td_equal_columns(lfirst(lc), &a, &b) && a->varno != b->varno)
			return true;
	}
	return lineage->path == NIL && lineage->keys != NIL;
}

/* Does a change of some table compute all of it, or as good as all? */
bool
td_split_is_whole(const TdShape *shape)
{
	for (int i = 0; shape->keyed && !shape->topk && i < shape->noccurrences; i++)
	{
		if (!is_led(&shape->keyed->private->lineage[i]))
			return true;
	}
	return false;
}

/* ---- coarse ---- */

/* The columns of occurrence n that equal one of occurrence `other`. */
static Bitmapset *
columns_joined(const TdLineage *lineage, int n, int other)
{
	Bitmapset  *columns = NULL;
	ListCell   *lc;
	Var		   *a,
			   *b;

	foreach(lc, lineage->quals)
	{
		if (!td_equal_columns(lfirst(lc), &a, &b))
			continue;
		if (a->varno == n && b->varno == other)
			columns = bms_add_member(columns, a->varattno);
		if (b->varno == n && a->varno == other)
			columns = bms_add_member(columns, b->varattno);
	}
	return columns;
}

/* NULL = they are not plain columns. */
static Bitmapset *
columns_of_key(const TdLineage *lineage)
{
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	foreach(lc, lineage->keys)
	{
		Var		   *column = td_plain_column(lfirst(lc));

		if (column == NULL)
			return NULL;
		columns = bms_add_member(columns, column->varattno);
	}
	return columns;
}

/* Rows of occurrence n for a key: those of the last of its path, for each of these the rows of the one before that it joins, and so on; 0 = not known. */
static double
rows_of_key(const TdShape *shape, int n)
{
	const TdLineage *lineage = &shape->keyed->private->lineage[n - 1];
	double		rows = 1;
	ListCell   *lc;

	foreach(lc, lineage->path)
	{
		rows *= td_rows_per_value(shape->occurrences[n - 1].relid, columns_joined(lineage, n, lfirst_int(lc)));
		n = lfirst_int(lc);
	}
	return rows * td_rows_per_value(shape->occurrences[n - 1].relid, columns_of_key(lineage));
}

/* Are there so many rows to a key that a change should not compute all of them?  Of the tables of parts nobody knows yet. */
bool
td_split_is_coarse(const TdShape *shape)
{
	for (int i = 0; shape->keyed && !shape->topk && i < shape->noccurrences; i++)
	{
		const TdOccurrence *o = &shape->occurrences[i];

		if (td_is_of_part(o->relid) || rows_of_key(shape, i + 1) > MANY_ROWS)
			return true;
	}
	return false;
}

/* Might parts be better than the shape that td_analyze gave?  Whether they are is for td_split to find out. */
bool
td_split_helps(const TdShape *shape)
{
	if (shape->topk)
		return !td_topk_served(shape);
	return td_split_is_whole(shape) || td_split_is_coarse(shape);
}
