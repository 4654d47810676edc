/*-------------------------------------------------------------------------
 *
 * indexes.c
 *		The indexes by which the statements of a view find rows: those that are
 *		there, and those that are wanted.
 *
 * NOTES
 *		Opens relations under the locks that analysis took.
 *
 *		Where rows are found by several columns at once, an index on one of them
 *		serves if few rows have the same value there, as far as ANALYZE knows.
 *
 * IDENTIFICATION
 *		src/view/analyze/indexes.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "view/analyze/analyze_internal.h"

#define FEW_ROWS 10				/* read for one that is sought, others thrown away */

char *
td_column_names(Oid relid, const Bitmapset *attnums)
{
	StringInfoData text;
	int			attnum = -1;

	initStringInfo(&text);
	while ((attnum = bms_next_member(attnums, attnum)) >= 0)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", quote_identifier(get_attname(relid, attnum, false)));
	return text.data;
}

/* Those of these columns with which an index begins. */
static Bitmapset *
leading_columns(Relation index, const Bitmapset *attnums)
{
	Bitmapset  *leading = NULL;

	for (int i = 0; i < index->rd_index->indnkeyatts && bms_is_member(index->rd_index->indkey.values[i], attnums); i++)
		leading = bms_add_member(leading, index->rd_index->indkey.values[i]);
	return leading;
}

static bool
index_serves(Oid relid, Oid index_id, const Bitmapset *attnums)
{
	Relation	index = index_open(index_id, AccessShareLock);
	bool		usable = index->rd_index->indisvalid && (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID) &&
		RelationGetIndexPredicate(index) == NIL;
	Bitmapset  *leading = usable ? leading_columns(index, attnums) : NULL;

	index_close(index, NoLock);
	return leading && (bms_equal(leading, attnums) || td_rows_per_value(relid, leading) <= FEW_ROWS);
}

/* InvalidOid = none. */
static Oid
find_index(Oid relid, const Bitmapset *attnums)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		if (!OidIsValid(found) && index_serves(relid, lfirst_oid(lc), attnums))
			found = lfirst_oid(lc);
	}
	table_close(rel, NoLock);
	return found;
}

/* It, or one that begins with its columns. */
static bool
is_wanted_already(const List *rows, const char *node)
{
	size_t		columns = strlen(node) - 1;	/* without ")" */
	ListCell   *lc;

	foreach(lc, rows)
	{
		const TdExplained *e = lfirst(lc);

		const char *other = e->node + strspn(e->node, " ");

		if (strcmp(e->strategy, "wanted") == 0 && strncmp(other, node, columns) == 0 && (other[columns] == ')' || other[columns] == ','))
			return true;
	}
	return false;
}

void
td_explain_index(List **rows, int level, Oid relid, const Bitmapset *attnums, const char *more, const char *purpose)
{
	Oid			index = find_index(relid, attnums);
	char	   *columns = td_column_names(relid, attnums);
	char	   *node = psprintf("index on %s (%s%s)", td_qualified_name(relid), columns, more);

	if (OidIsValid(index))
		td_explain_row(rows, level, node, "present", psprintf("%s; %s serves", purpose, get_rel_name(index)));
	else if (!is_wanted_already(*rows, node))
		td_explain_row(rows, level, node, "wanted", psprintf("%s; CREATE INDEX ON %s (%s%s);", purpose, td_qualified_name(relid), columns, more));
}
