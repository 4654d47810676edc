/*-------------------------------------------------------------------------
 *
 * wal_cost.c
 *		What the old images that a view needs cost the writers, in WAL.
 *
 * NOTES
 *		An estimate from pg_statistic and pg_class; without ANALYZE it stands on
 *		the types' usual widths.  An old image holds the whole row, values that
 *		are stored out of line included.
 *
 * IDENTIFICATION
 *		src/view/analyze/wal_cost.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

#define WAL_OF_UPDATE 80.0		/* bytes besides the rows */
#define WIDE_ROW 2000.0			/* bytes from which an old image is worth a warning */

/* Of a table, and of all that is below it. */
typedef struct OldRows
{
	int			tables;
	int			without;		/* of them: whose replica identity does not cover the columns used, or did not before views came */
	int			full;			/* of these: are full already */
	double		width;			/* bytes of a row in the table */
	double		rows;
	double		toasted;		/* bytes of all rows out of line */
} OldRows;

/* The replica identity that it would have without views. */
TdIdentity
td_identity_own(Relation rel)
{
	TdIdentity	own = {RelationGetRelid(rel), InvalidOid, rel->rd_rel->relreplident};
	ListCell   *lc;

	if (own.kind == REPLICA_IDENTITY_FULL)
	{
		foreach(lc, td_identities(false))
			if (((TdIdentity *) lfirst(lc))->relation == own.relation)
				own = *(TdIdentity *) lfirst(lc);
	}
	else if (own.kind == REPLICA_IDENTITY_INDEX)
		own.index = RelationGetReplicaIndex(rel);
	return own;
}

/* Is every column (named as in root) part of what rel logs of an old row, but for views? */
static bool
identity_covers(Relation rel, Oid root, const Bitmapset *attnums)
{
	TdIdentity	own = td_identity_own(rel);
	Bitmapset  *logged;
	int			attnum = -1;
	bool		covers = true;

	if (own.kind == REPLICA_IDENTITY_FULL)
		return true;
	logged = td_identity_columns(rel, own.kind, own.index);
	while ((attnum = bms_next_member(attnums, attnum)) >= 0 && covers)
		covers = bms_is_member(get_attnum(RelationGetRelid(rel), get_attname(root, attnum, false)), logged);
	return covers;
}

static double
toast_bytes(Oid toast)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(toast));
	double		bytes = 0;

	if (HeapTupleIsValid(tuple))
	{
		bytes = (double) Max(((Form_pg_class) GETSTRUCT(tuple))->relpages, 0) * BLCKSZ;
		ReleaseSysCache(tuple);
	}
	return bytes;
}

static double
row_width(Relation rel)
{
	double		width = 0;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		int			known = att->attisdropped ? 0 : get_attavgwidth(RelationGetRelid(rel), att->attnum);

		if (!att->attisdropped)
			width += known > 0 ? known : get_typavgwidth(att->atttypid, att->atttypmod);
	}
	return width;
}

static void
add_table(OldRows *cost, Oid relid, Oid root, const Bitmapset *attnums)
{
	Relation	rel = table_open(relid, AccessShareLock);

	if (rel->rd_rel->relkind == RELKIND_RELATION)
	{
		cost->tables++;
		if (!identity_covers(rel, root, attnums))
		{
			cost->without++;
			cost->full += rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
		}
		cost->width = Max(cost->width, row_width(rel));
		cost->rows += Max(rel->rd_rel->reltuples, 0);
		cost->toasted += OidIsValid(rel->rd_rel->reltoastrelid) ? toast_bytes(rel->rd_rel->reltoastrelid) : 0;
	}
	table_close(rel, NoLock);
}

static OldRows
cost_of(Oid relid, bool inherited, const Bitmapset *attnums)
{
	OldRows		cost = {0};
	List	   *tables = inherited ? find_all_inheritors(relid, AccessShareLock, NULL) : list_make1_oid(relid);
	ListCell   *lc;

	foreach(lc, tables)
		add_table(&cost, lfirst_oid(lc), relid, attnums);
	return cost;
}

/* Bytes of an old row, and how many of them are out of line. */
static double
old_bytes(const OldRows *cost, double *toasted)
{
	*toasted = cost->rows > 0 ? cost->toasted / cost->rows : 0;
	return cost->width + *toasted;
}

/* How many times as much WAL an update writes. */
static double
wal_factor(const OldRows *cost, double old)
{
	return (WAL_OF_UPDATE + cost->width + old) / (WAL_OF_UPDATE + cost->width);
}

/* A table is about to log whole old rows: those who write it may be slower by far. */
void
td_warn_of_wide_rows(Oid relid)
{
	OldRows		cost = cost_of(relid, false, NULL);
	double		toasted;
	double		old = old_bytes(&cost, &toasted);

	if (old < WIDE_ROW)
		return;
	ereport(WARNING,
			(errmsg("updates and deletes of table \"%s\" log the whole old row from now on, about %.0f bytes", get_rel_name(relid), old),
			 errdetail("%.0f bytes of it are stored out of line; the WAL of an update grows to %.1f times.", toasted, wal_factor(&cost, old)),
			 errhint("With the option {\"old_images\": \"kept\"} the columns that the view uses are kept in a table of tapdata instead.")));
}

/* kept: the table that has its old rows; InvalidOid = none has.  made: views of it are there, its replica identity should be what they need. */
static void
explain_relation(List **rows, Oid relid, bool inherited, const Bitmapset *attnums, Oid kept, bool made)
{
	OldRows		cost = cost_of(relid, inherited, attnums);
	double		toasted;
	double		old = old_bytes(&cost, &toasted);
	char	   *node = psprintf("old rows of %s", td_qualified_name(relid));

	if (OidIsValid(kept))
		td_explain_row(rows, 1, node, "kept",
					   psprintf("key and columns used are kept in %s; no more WAL of its changes (replica identity full: to %.1f times), but that of the copy; "
								"for each changed row a probe of its key in both", td_qualified_name(kept), wal_factor(&cost, old)));
	else if (cost.without == 0)
		td_explain_row(rows, 1, node, "as it is", "its replica identity covers the columns used: no more WAL");
	else if (made && cost.full < cost.without)
		td_explain_row(rows, 1, node, "unknown",
					   psprintf("%sits replica identity does not cover the columns used (any more): each change computes the view anew; tapdata.doctor() has the statement that mends it",
								cost.tables > 1 ? psprintf("%d of %d tables; ", cost.without - cost.full, cost.tables) : ""));
	else
		td_explain_row(rows, 1, node, "replica identity full",
					   psprintf("%s%sWAL of an update grows by about %.0f bytes, to %.1f times%s",
								cost.full == cost.without ? "it is so already, for live views; " : "",
								cost.tables > 1 ? psprintf("%d of %d tables; ", cost.without, cost.tables) : "",
								old, wal_factor(&cost, old),
								old < WIDE_ROW ? "" : psprintf("; WARNING: wide rows (%.0f bytes of each are stored out of line), updates and deletes will be slower: "
															   "the option {\"old_images\": \"kept\"} keeps key and columns used instead", toasted)));
}

/* One row per base table; the changes of live views are known without. */
void
td_explain_wal(List **rows, const TdShape *shape)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		Oid			relid = shape->occurrences[i].relid;
		Bitmapset  *attnums = NULL;
		bool		told = false;
		bool		inherited = false;

		for (int j = 0; j < shape->noccurrences; j++)
		{
			if (shape->occurrences[j].relid != relid)
				continue;
			told = told || j < i;
			inherited = inherited || shape->occurrences[j].inh;
			attnums = bms_add_members(attnums, shape->occurrences[j].columns);
		}
		if (!told && shape->occurrences[i].view == 0)
			explain_relation(rows, relid, inherited, attnums, shape->occurrences[i].kept != 0 ? shape->occurrences[i].source : InvalidOid, shape->made);
	}
}
