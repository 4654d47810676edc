/*-------------------------------------------------------------------------
 *
 * relations.c
 *		Which relations a view may read.
 *
 * NOTES
 *		By syscache only: the caller holds the locks.  Row-level security is
 *		asked for the view's owner, and asked again whenever a fingerprint moves.
 *
 * IDENTIFICATION
 *		src/view/analyze/relations.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

char *
td_qualified_name(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema = name ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	return schema ? quote_qualified_identifier(schema, name) : psprintf("relation with OID %u", relid);
}

/* A copy of the pg_class row; NULL = gone. */
static Form_pg_class
class_row(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class row;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	row = palloc(sizeof(FormData_pg_class));
	memcpy(row, GETSTRUCT(tuple), CLASS_TUPLE_SIZE);
	ReleaseSysCache(tuple);
	return row;
}

static bool
check_kind(const Form_pg_class row, TdError *err)
{
	static const struct
	{
		char		kind;
		TdConstruct construct;
	}			refused[] = {
		{RELKIND_VIEW, TD_NOT_SQL_VIEW},
		{RELKIND_MATVIEW, TD_NOT_MATERIALIZED},
		{RELKIND_FOREIGN_TABLE, TD_NOT_FOREIGN},
		{RELKIND_SEQUENCE, TD_NOT_SEQUENCE}
	};
	char	   *name = td_qualified_name(row->oid);

	for (int i = 0; i < lengthof(refused); i++)
	{
		if (row->relkind == refused[i].kind)
			return td_refuse(err, refused[i].construct, name);
	}
	if (row->relkind != RELKIND_RELATION && row->relkind != RELKIND_PARTITIONED_TABLE)
		return td_refuse(err, TD_NOT_RELATION_KIND, name);
	if (row->relpersistence == RELPERSISTENCE_TEMP)
		return td_refuse(err, TD_NOT_TEMPORARY, name);
	if (row->relpersistence != RELPERSISTENCE_PERMANENT)
		return td_refuse(err, td_view_of(row->oid, true) ? TD_NOT_UNLOGGED_VIEW : TD_NOT_UNLOGGED, name);
	if (row->relkind == RELKIND_RELATION && row->relam != HEAP_TABLE_AM_OID)
		return td_refuse(err, TD_NOT_ACCESS_METHOD, name);
	return true;
}

/* Catalogs, and what belongs to us.  Tables of live views stand in the user's schemas, but those of hidden parts. */
static bool
check_schema(const Form_pg_class row, TdError *err)
{
	static const struct
	{
		const char *schema;
		TdConstruct construct;
	}			refused[] = {
		{"pg_catalog", TD_NOT_CATALOG},
		{"information_schema", TD_NOT_CATALOG},
		{"pg_toast", TD_NOT_CATALOG},
		{"tapdata", TD_NOT_OURS},
		{"tapdata_state", TD_NOT_OURS},
		{"tapdata_parts", TD_NOT_OURS},
		{"tapdata_views", TD_NOT_TWIN}
	};
	char	   *schema = get_namespace_name(row->relnamespace);

	for (int i = 0; schema && i < lengthof(refused); i++)
	{
		if (strcmp(schema, refused[i].schema) == 0 && !(refused[i].construct == TD_NOT_OURS && td_view_of(row->oid, true)))
			return td_refuse(err, refused[i].construct, td_qualified_name(row->oid));
	}
	return true;
}

/* Partitions are not others: what a partitioned table says holds for them. */
bool
td_holds_rows_of_others(Oid relid, bool inherited)
{
	return inherited && has_subclass(relid) && get_rel_relkind(relid) == RELKIND_RELATION &&
		list_length(find_all_inheritors(relid, NoLock, NULL)) > 1;
}

/* Partitions have no children but partitions. */
bool
td_may_be_inherited(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_RELATION && !get_rel_relispartition(relid);
}

/* What is below a table is read with it. */
static bool
check_children(const Form_pg_class row, bool inherited, TdError *err)
{
	List	   *children;
	ListCell   *lc;

	if (!row->relhassubclass || !inherited)
		return true;
	children = find_all_inheritors(row->oid, NoLock, NULL);
	foreach(lc, children)
	{
		Form_pg_class child = class_row(lfirst_oid(lc));

		if (child && !check_kind(child, err))
			return false;
	}
	return true;
}

/* Since 18 generated columns may be computed at each reading; and the weight's name is taken. */
static bool
check_columns(const TdOccurrence *occurrence, TdError *err)
{
	int			attnum = -1;

	while ((attnum = bms_next_member(occurrence->columns, attnum)) >= 0)
	{
		char	   *name = get_attname(occurrence->relid, attnum, false);

		if (strcmp(name, TD_WEIGHT) == 0)
			return td_refuse(err, TD_NOT_COLUMN_NAME, name);
		if (get_attgenerated(occurrence->relid, attnum) == 'v')
			return td_refuse(err, TD_NOT_VIRTUAL_COLUMN, name);
	}
	return true;
}

static bool
check_relation(const TdShape *shape, const TdOccurrence *occurrence, Oid owner, TdError *err)
{
	Form_pg_class row = class_row(occurrence->relid);

	if (row == NULL)
		return td_refuse(err, TD_NOT_GONE, NULL);
	if (!check_schema(row, err) || !check_kind(row, err) ||
		!check_children(row, occurrence->inh, err) || !check_columns(occurrence, err))
		return false;
	if (check_enable_rls(row->oid, owner, true) == RLS_ENABLED)
		return td_refuse(err, TD_NOT_ROW_SECURITY, td_qualified_name(row->oid));
	return true;
}

bool
td_check_relations(const TdShape *shape, Oid owner, TdError *err)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		if (!check_relation(shape, &shape->occurrences[i], owner, err))
			return false;
	}
	return true;
}
