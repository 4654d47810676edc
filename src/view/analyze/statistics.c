/*-------------------------------------------------------------------------
 *
 * statistics.c
 *		What ANALYZE knows of a table.
 *
 * NOTES
 *		In a session or a worker; reads catalogs only.  Good for choices that cost
 *		time or space when they are wrong, never a row.
 *
 * IDENTIFICATION
 *		src/view/analyze/statistics.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

/* 0 = ANALYZE has not told. */
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

/* How many values a column has; 0 likewise. */
static double
values_of(Oid relid, AttrNumber attnum, double rows)
{
	HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid), Int16GetDatum(attnum), BoolGetDatum(false));
	double		n;

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid), Int16GetDatum(attnum), BoolGetDatum(true));
	if (!HeapTupleIsValid(tuple))
		return 0;
	n = ((Form_pg_statistic) GETSTRUCT(tuple))->stadistinct;
	ReleaseSysCache(tuple);
	return n < 0 ? -n * rows : n;
}

/* Rows that have the same values in these columns, on the average, if the columns have nothing to do with each other; 0 = not known. */
double
td_rows_per_value(Oid relid, const Bitmapset *columns)
{
	double		rows = rows_of(relid);
	double		values = 1;
	int			attnum = -1;

	if (bms_is_empty(columns))
		return 0;
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
		values *= values_of(relid, attnum, rows);
	return values > 0 ? rows / values : 0;
}
