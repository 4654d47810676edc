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
 *		Of parts it knows nothing when their indexes are made: there all columns
 *		count.  README.md has the invariants, "Indexes of parts".
 *
 * IDENTIFICATION
 *		src/view/analyze/indexes.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

#include "view/analyze/topk_internal.h"

#define FEW_ROWS 10				/* read for one that is sought, others thrown away */
#define MANY_SHORT 8			/* so many columns that are short fit into an index entry for certain */

/* ---- those that are there ---- */

/* Of a hidden view: its owner can't make indexes on it. */
bool
td_is_of_part(Oid relid)
{
	return get_rel_namespace(relid) == get_namespace_oid("tapdata_parts", true);
}

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

/* No two rows have the same values there. */
static bool
is_unique_on(Relation index, const Bitmapset *leading)
{
	return index->rd_index->indisunique && bms_num_members(leading) == index->rd_index->indnkeyatts;
}

static bool
index_serves(const TdWant *want, Oid index_id)
{
	Relation	index = index_open(index_id, AccessShareLock);
	bool		hash = index->rd_rel->relam == HASH_AM_OID && !want->ordered;
	bool		usable = index->rd_index->indisvalid && (index->rd_rel->relam == BTREE_AM_OID || hash) && RelationGetIndexPredicate(index) == NIL;
	Bitmapset  *leading = usable ? leading_columns(index, want->attnums) : NULL;
	bool		finds_all = leading && (bms_equal(leading, want->attnums) || is_unique_on(index, leading));

	index_close(index, NoLock);
	return finds_all || (leading && !td_is_of_part(want->relid) && td_rows_per_value(want->relid, leading) <= FEW_ROWS);
}

/* InvalidOid = none. */
static Oid
find_index(const TdWant *want)
{
	Relation	rel = table_open(want->relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		if (!OidIsValid(found) && index_serves(want, lfirst_oid(lc)))
			found = lfirst_oid(lc);
	}
	table_close(rel, NoLock);
	return found;
}

/* ---- those of parts ---- */

/* Do all these columns stand in one unique index?  Then their values are none that do not fit into one. */
static bool
are_of_key(Oid relid, const Bitmapset *attnums)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Bitmapset  *columns = NULL;

		for (int i = 0; index->rd_index->indisunique && i < index->rd_index->indnkeyatts; i++)
			columns = bms_add_member(columns, index->rd_index->indkey.values[i]);
		found = found || bms_is_subset(attnums, columns);
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	return found;
}

/* Can a btree on it fail for no value? */
static bool
is_short_column(Oid relid, AttrNumber attnum)
{
	Oid			type,
				collation;
	int32		typmod;

	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	return td_type_ordered(type) && td_is_short(type, typmod);
}

static bool
is_hashable(Oid relid, AttrNumber attnum)
{
	return OidIsValid(lookup_type_cache(get_atttype(relid, attnum), TYPECACHE_HASH_PROC)->hash_proc);
}

/* The columns of a btree that no value fails: those that are short, as many as fit. */
static Bitmapset *
short_columns(const TdWant *want)
{
	Bitmapset  *columns = NULL;
	int			attnum = -1;

	while ((attnum = bms_next_member(want->attnums, attnum)) >= 0)
	{
		if (is_short_column(want->relid, attnum) && bms_num_members(columns) < MANY_SHORT)
			columns = bms_add_member(columns, attnum);
	}
	return columns;
}

/* The first column that may be long, and whose values can be hashed; 0 = none. */
static AttrNumber
hashed_column(const TdWant *want)
{
	int			attnum = -1;

	while ((attnum = bms_next_member(want->attnums, attnum)) >= 0)
	{
		if (!is_short_column(want->relid, attnum) && is_hashable(want->relid, attnum))
			return attnum;
	}
	return 0;
}

List *
td_part_indexes(const TdWant *want)
{
	Bitmapset  *fit = short_columns(want);
	bool		all = bms_equal(fit, want->attnums);
	AttrNumber	last = all && want->last && is_short_column(want->relid, want->last) ? want->last : 0;
	AttrNumber	hashed = all || want->ordered ? 0 : hashed_column(want);
	List	   *indexes = NIL;

	if (!all && are_of_key(want->relid, want->attnums))
		return list_make1(td_index_wanted(want->relid, want->attnums, 0));
	if (fit)
		indexes = lappend(indexes, td_index_wanted(want->relid, fit, last));
	if (hashed)
	{
		TdWant	   *other = td_index_wanted(want->relid, bms_make_singleton(hashed), 0);

		other->hash = true;
		indexes = lappend(indexes, other);
	}
	return indexes;
}

bool
td_index_is_there(const TdWant *want)
{
	return OidIsValid(find_index(want));
}

/* The indexes of a part by which rows are found, as far as it has them; NULL = it has none. */
static char *
serving_part(const TdWant *want)
{
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, td_part_indexes(want))
	{
		Oid			index = find_index(lfirst(lc));

		if (OidIsValid(index))
			appendStringInfo(&names, "%s%s", names.len ? " with " : "", get_rel_name(index));
	}
	return names.len ? names.data : NULL;
}

/* ---- those that are wanted ---- */

TdWant *
td_index_wanted(Oid relid, Bitmapset *attnums, AttrNumber last)
{
	TdWant	   *want = palloc0(sizeof(TdWant));

	want->relid = relid;
	want->attnums = attnums;
	want->last = last;
	return want;
}

/* As CREATE INDEX has it, behind the table. */
char *
td_want_text(const TdWant *want)
{
	char	   *last = want->last ? psprintf(", %s", quote_identifier(get_attname(want->relid, want->last, false))) : "";

	return psprintf("%s(%s%s)", want->hash ? "USING hash " : "", td_column_names(want->relid, want->attnums), last);
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

/* What serves; NULL = it is missing. */
static char *
serving(const TdWant *want)
{
	Oid			index = find_index(want);

	if (OidIsValid(index))
		return get_rel_name(index);
	return td_is_of_part(want->relid) ? serving_part(want) : NULL;
}

/* Nobody can make it: all that were to be there have been made with the part. */
static char *
missing_of_part(const TdWant *want)
{
	return td_part_indexes(want) ? "there is none, as it has few rows, or many to a value: it is read whole" : "no index is sure to take all values of these columns: it is read whole";
}

void
td_explain_index(List **rows, int level, TdWant *want, const char *purpose)
{
	char	   *there = serving(want);
	char	   *columns = td_want_text(want);
	char	   *table = td_qualified_name(want->relid);
	char	   *node = psprintf("index on %s %s", table, columns);

	if (there)
		td_explain_row(rows, level, node, "present", psprintf("%s; %s serves", purpose, there));
	if (there || is_wanted_already(*rows, node))
		return;
	if (td_is_of_part(want->relid))
		td_explain_row(rows, level, node, "scan", psprintf("%s; %s", purpose, missing_of_part(want)));
	else
		td_explain_row(rows, level, node, "wanted", psprintf("%s; CREATE INDEX ON %s %s;", purpose, table, columns));
	((TdExplained *) llast(*rows))->want = want;
}

List *
td_indexes_wanted(const TdShape *shape)
{
	List	   *wants = NIL;
	ListCell   *lc;

	foreach(lc, td_explain(shape))
	{
		TdWant	   *want = ((TdExplained *) lfirst(lc))->want;

		if (want)
			wants = lappend(wants, want);
	}
	return wants;
}
