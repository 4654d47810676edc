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

#include "catalog/namespace.h"
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

/* Rows of one table for a key that is in its columns; 0 = not known. */
static double
rows_of_key(const TdOccurrence *o, const TdLineage *lineage)
{
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	if (lineage->path != NIL)
		return 0;
	foreach(lc, lineage->keys)
	{
		Var		   *column = td_plain_column(lfirst(lc));

		if (column == NULL)
			return 0;
		columns = bms_add_member(columns, column->varattno);
	}
	return td_rows_per_value(o->relid, columns);
}

/* Are there so many rows to a key that a change should not compute all of them?  Of the tables of parts nobody knows yet. */
bool
td_split_is_coarse(const TdShape *shape)
{
	Oid			parts = get_namespace_oid("tapdata_parts", true);

	for (int i = 0; shape->keyed && !shape->topk && i < shape->noccurrences; i++)
	{
		const TdOccurrence *o = &shape->occurrences[i];

		if (get_rel_namespace(o->relid) == parts || rows_of_key(o, &shape->keyed->private->lineage[i]) > MANY_ROWS)
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
