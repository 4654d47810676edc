/*-------------------------------------------------------------------------
 *
 * view_define.c
 *		Definitions of live views: what sessions write about them.
 *
 * NOTES
 *		Sessions, in the user's transaction.  Rights are the affair of who calls.
 *		Nothing of a running view's state is written here: a worker must never
 *		wait for a session's transaction.
 *
 *		What was changed on base tables for the sake of views (replica identities)
 *		is kept in a table of its own, so that it outlives the views.
 *
 * IDENTIFICATION
 *		src/catalog/view_define.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static int32 need_group(List *options);
static void set_max_lag(int32 group, List *options);
static void log_dropped(void);

/* ---- making and changing ---- */

/* The rows of a new view; the caller makes its table and twin in the same transaction. */
void
td_view_add(TdView *v, List *options, Datum settings, const char *strategy)
{
	static TdStatement add = {
		"INSERT INTO tapdata.view (id, part_of, view_group, owner, relation, table_schema, table_name, twin, twin_name, query, options, settings, strategy, replaces, keeps) "
		"OVERRIDING SYSTEM VALUE SELECT CASE WHEN $8 <> 0 THEN $8 ELSE nextval('tapdata.view_id_seq')::integer END, nullif($9, 0), $1, $2::regrole, c.oid, "
		"(SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace), c.relname, t.oid, t.relname, nullif(nullif($10, 0::oid), t.oid), jsonb_strip_nulls($5), $6, $7, nullif($11, 0), nullif($12, 0) "
	"FROM pg_class c, pg_class t WHERE c.oid = $3 AND t.oid = $4 "
	"ON CONFLICT (id) DO UPDATE SET twin = excluded.twin, twin_name = excluded.twin_name, query = excluded.query, settings = excluded.settings, strategy = excluded.strategy "
	"RETURNING id, format('%I.%I', table_schema, table_name)", NULL};
	static TdStatement state = {"INSERT INTO tapdata.view_state (view) VALUES ($1) ON CONFLICT DO NOTHING", NULL};
	TdCatalogScope scope;
	Datum		json = td_view_options_json(options);

	td_catalog_enter(&scope);
	v->group = need_group(options);
	set_max_lag(v->group, options);
	if (TD_RUN(&add, td_arg_int4(v->group), td_arg_oid(v->owner), td_arg_oid(v->relation), td_arg_oid(v->twin), td_arg_jsonb(json),
			   td_arg_jsonb(settings), td_arg_text(strategy), td_arg_int4(v->id), td_arg_int4(v->part_of), td_arg_oid(v->query), td_arg_int4(v->replaces), td_arg_int4(v->keeps)) != 1)
		elog(ERROR, "relation %u or %u of a new view does not exist", v->relation, v->twin);
	v->id = td_col_int(0, 1);
	v->name = td_col_text(0, 2);
	TD_RUN(&state, td_arg_int4(v->id));
	td_catalog_leave(&scope);
}

/* Numbers for views that are made one after the other: what reads others has a higher one. */
List *
td_view_reserve(int n)
{
	static TdStatement next = {"SELECT nextval('tapdata.view_id_seq')::integer FROM generate_series(1, $1) ORDER BY 1", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *ids = NIL;

	td_catalog_enter(&scope);
	TD_RUN(&next, td_arg_int4(n));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);

		ids = lappend_int(ids, td_col_int(i, 1));
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return ids;
}

/* The group that the options name, made when it is missing. */
static int32
need_group(List *options)
{
	static TdStatement make = {
		"WITH made AS (INSERT INTO tapdata.view_group (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING id) "
	"INSERT INTO tapdata.group_state (view_group) SELECT id FROM made", NULL};
	static TdStatement find = {"SELECT id FROM tapdata.view_group WHERE name = $1 FOR KEY SHARE", NULL};	/* the supervisor removes empty ones */
	const char *name = td_pairs_get(options, "group");

	if (name == NULL)
		name = "default";
	if (TD_RUN(&find, td_arg_text(name)) == 0)
	{
		TD_RUN(&make, td_arg_text(name));
		if (TD_RUN(&find, td_arg_text(name)) == 0)
			elog(ERROR, "group \"%s\" of views does not exist", name);
	}
	return td_col_int(0, 1);
}

/* One pace for all views of a group: the last word counts. */
static void
set_max_lag(int32 group, List *options)
{
	static TdStatement set = {
	"UPDATE tapdata.view_group SET max_lag = coalesce($2, '10 ms')::interval WHERE id = $1 AND max_lag <> coalesce($2, '10 ms')::interval", NULL};

	if (td_pairs_has(options, "max_lag"))
		TD_RUN(&set, td_arg_int4(group), td_arg_text(td_pairs_get(options, "max_lag")));
}

/* What a view reads directly. */
void
td_view_add_base(int32 id, Oid relation, const Bitmapset *columns)
{
	static TdStatement add = {
		"INSERT INTO tapdata.view_base (view, relation, columns) VALUES ($1, $2, $3::int2[]) "
	"ON CONFLICT (view, relation) DO UPDATE SET columns = ARRAY(SELECT DISTINCT unnest(view_base.columns || excluded.columns) ORDER BY 1)", NULL};
	StringInfoData array;
	TdCatalogScope scope;
	int			column = -1;

	initStringInfo(&array);
	while ((column = bms_next_member(columns, column)) >= 0)
		appendStringInfo(&array, "%s%d", array.len > 0 ? "," : "{", column);
	appendStringInfoString(&array, array.len > 0 ? "}" : "{}");
	td_catalog_enter(&scope);
	TD_RUN(&add, td_arg_int4(id), td_arg_oid(relation), td_arg_text(array.data));
	td_catalog_leave(&scope);
}

List *
td_view_bases(int32 id)
{
	static TdStatement load = {
	"SELECT b.relation FROM tapdata.view_base b WHERE b.view = $1 ORDER BY b.relation", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *bases = NIL;

	td_catalog_enter(&scope);
	TD_RUN(&load, td_arg_int4(id));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);

		bases = lappend_oid(bases, td_col_int(i, 1));
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return bases;
}

/* Merges options that were checked. */
void
td_view_alter(const TdView *v, List *options)
{
	static TdStatement merge = {"UPDATE tapdata.view SET options = jsonb_strip_nulls(options || $2) WHERE id = $1", NULL};
	TdCatalogScope scope;
	Datum		json = td_view_options_json(options);

	td_catalog_enter(&scope);
	TD_RUN(&merge, td_arg_int4(v->id), td_arg_jsonb(json));
	set_max_lag(v->group, options);
	td_catalog_leave(&scope);
}

/* Asks for a view to be computed anew. */
void
td_view_refill(int32 id)
{
	static TdStatement ask = {
	"UPDATE tapdata.view v SET fills = greatest(v.fills, s.fills) + 1 FROM tapdata.view_state s WHERE s.view = v.id AND v.id = $1", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&ask, td_arg_int4(id));
	td_catalog_leave(&scope);
}

/* ---- following DDL ---- */

/* Views whose table is gone are forgotten; the others take over its name and owner.  Not in a copied database, whose oids are others. */
List *
td_views_follow(void)
{
	static TdStatement gone = {
		"WITH gone AS (DELETE FROM tapdata.view v WHERE v.home = $1 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = v.relation) "
	"RETURNING format('%I.%I', table_schema, table_name) AS name, owner::oid, part_of) SELECT name, owner FROM gone WHERE part_of IS NULL", NULL};
	static TdStatement changed = {
		"SELECT v.relation, v.owner <> c.relowner::regrole FROM tapdata.view v JOIN pg_class c ON c.oid = v.relation JOIN pg_namespace n ON n.oid = c.relnamespace "
	"WHERE v.home = $1 AND (v.owner, v.table_schema, v.table_name) IS DISTINCT FROM (c.relowner::regrole, n.nspname::text, c.relname::text)", NULL};
	static TdStatement follow = {
		"UPDATE tapdata.view v SET owner = c.relowner, table_schema = n.nspname, table_name = c.relname, twin_name = t.relname "
		"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_class t WHERE v.home = $1 AND c.oid = v.relation AND t.oid = v.twin "
		"AND (v.owner, v.table_schema, v.table_name, v.twin_name) IS DISTINCT FROM (c.relowner::regrole, n.nspname::text, c.relname::text, t.relname::text)",
	NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	TdArg		home = td_arg_text(td_home());
	List	   *moved = NIL;
	List	   *given = NIL;
	List	   *views = NIL;
	ListCell   *lc;

	td_catalog_enter(&scope);
	if (td_run(&gone, 1, &home) > 0)
		log_dropped();
	td_run(&changed, 1, &home);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		moved = lappend_oid(moved, td_col_int(i, 1));
		if (td_col_bool(i, 2))
			given = lappend_oid(given, td_col_int(i, 1));
	}
	td_run(&follow, 1, &home);
	td_identities_follow();
	foreach(lc, moved)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);
		TdView	   *view = td_view_of(lfirst_oid(lc), false);

		view->given = list_member_oid(given, lfirst_oid(lc));
		views = lappend(views, view);
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return views;
}

/* One line for each row of the last result: name and owner. */
static void
log_dropped(void)
{
	uint64		n = SPI_processed;
	char	  **names = palloc(sizeof(char *) * n);
	Oid		   *owners = palloc(sizeof(Oid) * n);
	TdError		entry;

	for (uint64 i = 0; i < n; i++)
	{
		names[i] = td_col_text(i, 1);
		owners[i] = td_col_int(i, 2);
	}
	memset(&entry, 0, sizeof(entry));
	strlcpy(entry.message, "view was dropped", sizeof(entry.message));
	for (uint64 i = 0; i < n; i++)
		td_log("info", "view", names[i], owners[i], &entry);
}

/* A restored dump has twins, state tables and indexes without the dependency that makes them parts of their view, or of their table. */
void
td_views_bind(void)
{
	static TdStatement loose = {
		"WITH v AS (SELECT v.* FROM tapdata.view v JOIN pg_class c ON c.oid = v.relation WHERE v.home = $1), "
		"part AS (SELECT p.oid AS part, v.relation AS whole, EXISTS (SELECT FROM tapdata.view n WHERE n.relation = p.oid AND n.replaces IS NOT NULL) AS replaces "
		"FROM v JOIN pg_class p ON p.oid = v.twin OR p.oid = v.query OR p.oid IN (SELECT m.relation FROM tapdata.view m WHERE m.part_of = v.id AND m.id <> v.id) OR "
		"(p.relnamespace = 'tapdata_state'::regnamespace AND p.relkind = 'r' AND p.relname ~ ('^v' || v.id || '_([0-9]+|c)$'))), "
		"of_table AS (SELECT i.indexrelid AS part, i.indrelid AS whole, false AS replaces FROM pg_index i WHERE obj_description(i.indexrelid, 'pg_class') = $2 AND "
		"i.indrelid IN (SELECT relation FROM v UNION ALL SELECT p.part FROM part p)) "
		"SELECT part, whole, replaces FROM (TABLE part UNION ALL TABLE of_table) l WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass "
	"AND d.objid = l.part AND d.refobjid = l.whole AND d.refobjsubid = 0 AND (d.deptype = 'i' OR (d.deptype = 'a' AND l.replaces)))", NULL};
	uint64		n = TD_RUN(&loose, td_arg_text(td_home()), td_arg_text(TD_INDEX_COMMENT));

	for (uint64 i = 0; i < n; i++)
	{
		ObjectAddress part;
		ObjectAddress table;

		ObjectAddressSet(part, RelationRelationId, td_col_int(i, 1));
		ObjectAddressSet(table, RelationRelationId, td_col_int(i, 2));
		recordDependencyOn(&part, &table, td_col_bool(i, 3) ? DEPENDENCY_AUTO : DEPENDENCY_INTERNAL);
	}
}
