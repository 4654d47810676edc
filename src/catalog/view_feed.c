/*-------------------------------------------------------------------------
 *
 * view_feed.c
 *		The feeds of live views: numbers of ticks, and what is kept of them.
 *
 * NOTES
 *		View and fill workers, in the transaction that writes the view's rows; the
 *		session that turns a feed on; and whoever reads.  A row of view_feed stays
 *		when the feed is turned off, so that no number is used twice.
 *
 *		Nobody waits for a row of view_feed: ticks, fills, pruning and the turning
 *		on of one feed keep each other out by locks on the view's table and by the
 *		order in which the view worker does things.
 *
 * IDENTIFICATION
 *		src/catalog/view_feed.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/catalog_internal.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define TIMELINE INT64CONST(1000000000000)
#define MOMENT INT64CONST(1000)	/* numbers for each microsecond: no feed ticks as fast */
#define BEGIN "(coalesce((SELECT max(base) FROM tapdata.history), 0) + $2) "	/* of this history's numbers; $2 = timeline() */
#define AFTER "greatest(f.tick, " BEGIN ") + 1 "	/* the next number */

static TdArg timeline(void);
static int64 number_of(TdStatement *statement, int32 id);
static void delete_rows(int32 id, ArrayType *which);

/*
 * The numbers of each timeline of the server begin anew, higher: those that a lost primary gave after a standby took over, or after the
 * moment that a backup was recovered to, are never given again.
 */
static TdArg
timeline(void)
{
	return td_arg_int8((GetWALInsertionTimeLine() - 1) * TIMELINE);
}

/*
 * A copy is adopted: its numbers begin anew as well.  At the moment of that, in nanoseconds, which no other copy of the same database shares, and
 * which neither it nor the original reaches by ticking; above all numbers so far, even if the clock was set back.
 */
void
td_feeds_adopt(void)
{
	static TdStatement adopt = {
		"INSERT INTO tapdata.history (base) SELECT greatest($1, (SELECT max(base) FROM tapdata.history) + $2, (SELECT max(greatest(tick, gone)) FROM tapdata.view_feed) + $2) "
	"WHERE EXISTS (SELECT FROM tapdata.view WHERE home <> $3)", NULL};

	TD_RUN(&adopt, td_arg_int8(GetCurrentTimestamp() * MOMENT), td_arg_int8(TIMELINE), td_arg_text(td_home()));
}

/* By its name, which says whose it is. */
Oid
td_feed_table(int32 id)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "v%d_c", id);
	return get_relname_relid(name, get_namespace_oid("tapdata_state", false));
}

bool
td_feed_read(int32 id, int64 *tick, int64 *gone)
{
	static TdStatement read = {"SELECT coalesce(tick, -1), gone FROM tapdata.view_feed WHERE view = $1", NULL};
	TdArg		arg = td_arg_int4(id);
	TdCatalogScope scope;
	bool		found;

	td_catalog_enter(&scope);
	found = td_look(&read, 1, &arg) == 1;
	*tick = found ? td_col_int(0, 1) : -1;
	*gone = found ? td_col_int(0, 2) : 0;
	td_catalog_leave(&scope);
	return found;
}

/* A view that was filled once begins with the rows that it has now: a tick of its own, before which all is gone. */
void
td_feed_turned_on(int32 id)
{
	static TdStatement turn_on = {
		"INSERT INTO tapdata.view_feed AS f (view, tick, gone) SELECT $1, CASE WHEN s.snapshot IS NOT NULL THEN " BEGIN "END, " BEGIN "FROM tapdata.view_state s WHERE s.view = $1 "
	"ON CONFLICT (view) DO UPDATE SET tick = CASE WHEN f.tick IS NOT NULL THEN " AFTER "END, gone = CASE WHEN f.tick IS NOT NULL THEN " AFTER "ELSE " BEGIN "END", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&turn_on, td_arg_int4(id), timeline());
	td_catalog_leave(&scope);
}

/* Runs an UPDATE that returns a tick. */
static int64
number_of(TdStatement *statement, int32 id)
{
	TdCatalogScope scope;
	int64		number;

	td_catalog_enter(&scope);
	if (TD_RUN(statement, td_arg_int4(id), timeline()) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("view %d has a table of changes, but no row in tapdata.view_feed", id)));
	number = td_col_int(0, 1);
	td_catalog_leave(&scope);
	return number;
}

int64
td_feed_next(int32 id)
{
	static TdStatement next = {"UPDATE tapdata.view_feed AS f SET tick = " AFTER "WHERE view = $1 RETURNING tick", NULL};

	return number_of(&next, id);
}

void
td_feed_loaded(int32 id)
{
	static TdStatement loaded = {
	"UPDATE tapdata.view_feed AS f SET tick = CASE WHEN f.tick IS NULL THEN " BEGIN "ELSE " AFTER "END, gone = CASE WHEN f.tick IS NULL THEN " BEGIN "ELSE " AFTER "END WHERE view = $1 RETURNING tick", NULL};

	(void) number_of(&loaded, id);
}

/*
 * Deletes rows that are older than changes_kept, the oldest ticks first, and says so in the same transaction.  A clock that was set back may have
 * younger rows deleted than stay: what counts is `gone`.  Begins with tick *from, which moves on: while an old snapshot is held, the index keeps all that
 * was deleted before, and whoever began at its start would read that each time.
 */
#define TD_PRUNE \
	"WITH kept AS (SELECT coalesce((options->>'changes_kept')::interval, '1 day') AS age FROM tapdata.view WHERE id = $1), " \
	"oldest AS MATERIALIZED (SELECT ctid, \"tapdata$tick\" AS tick, \"tapdata$at\" AS at FROM tapdata_state.v%d_c WHERE \"tapdata$tick\" >= $3 ORDER BY \"tapdata$tick\", \"tapdata$weight\" LIMIT $2), " \
	"old AS MATERIALIZED (SELECT o.ctid, o.tick FROM oldest o, kept WHERE o.at < clock_timestamp() - age), " \
	"moved AS (UPDATE tapdata.view_feed SET gone = greatest(gone, (SELECT max(tick) FROM old)) WHERE view = $1 AND EXISTS (SELECT FROM old)) " \
	"SELECT (SELECT count(*) FROM old), (SELECT min(o.at + age) FROM oldest o, kept WHERE o.ctid NOT IN (SELECT ctid FROM old)), " \
	"(SELECT coalesce(min(o.tick) FILTER (WHERE o.ctid NOT IN (SELECT ctid FROM old)), max(o.tick)) FROM oldest o), " \
	"ARRAY(SELECT ctid FROM old)"

/* Not by SQL, which refuses to delete from a table without an identity while there is a publication of all tables. */
static void
delete_rows(int32 id, ArrayType *which)
{
	Relation	feed = table_open(td_feed_table(id), RowExclusiveLock);
	Datum	   *rows;
	int			nrows;

	deconstruct_array(which, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT, &rows, NULL, &nrows);
	for (int i = 0; i < nrows; i++)
		simple_table_tuple_delete(feed, (ItemPointer) DatumGetPointer(rows[i]), GetActiveSnapshot());
	table_close(feed, NoLock);
}

int64
td_feed_prune(int32 id, int most, int64 *from, int64 *next)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(id), Int32GetDatum(most), Int64GetDatum(*from)};
	TdCatalogScope scope;
	int64		rows;
	bool		none;

	td_catalog_enter(&scope);
	if (SPI_execute_with_args(psprintf(TD_PRUNE, id), lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not prune the changes of view %d", id);
	rows = td_col_int(0, 1);
	*next = td_col_time(0, 2, &none);
	if (none)
		*next = 0;
	*from = Max(*from, td_col_int(0, 3));
	delete_rows(id, DatumGetArrayTypeP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &none)));
	td_catalog_leave(&scope);
	return rows;
}
