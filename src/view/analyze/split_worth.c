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

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

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

/* How many rows there are, and how many values of a column; 0 = ANALYZE has not told. */
static double
rows_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double		rows = 0;

	if (!HeapTupleIsValid(tuple))
		return 0;
	rows = Max(((Form_pg_class) GETSTRUCT(tuple))->reltuples, 0);
	ReleaseSysCache(tuple);
	return rows;
}

static double
values_of(const TdOccurrence *o, AttrNumber attnum, double rows)
{
	HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(o->relid), Int16GetDatum(attnum), BoolGetDatum(false));
	double		n;

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(o->relid), Int16GetDatum(attnum), BoolGetDatum(true));
	if (!HeapTupleIsValid(tuple))
		return 0;
	n = ((Form_pg_statistic) GETSTRUCT(tuple))->stadistinct;
	ReleaseSysCache(tuple);
	return n < 0 ? -n * rows : n;
}

/* Rows of one table for a key that is in its columns; 0 = not known. */
static double
rows_of_key(const TdOccurrence *o, const TdLineage *lineage)
{
	double		rows = rows_of(o->relid);
	double		keys = 1;
	ListCell   *lc;

	if (lineage->path != NIL || lineage->keys == NIL)
		return 0;
	foreach(lc, lineage->keys)
	{
		Var		   *column = td_plain_column(lfirst(lc));
		double		values = column ? values_of(o, column->varattno, rows) : 0;

		if (values <= 0)
			return 0;
		keys *= values;
	}
	return rows / keys;
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
