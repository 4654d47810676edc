/*-------------------------------------------------------------------------
 *
 * view.c
 *		Live views and their groups as structs.
 *
 * NOTES
 *		Sessions and workers.  Structs live in the caller's CurrentMemoryContext.
 *		A view whose table is gone is none, even where its row is still there (the
 *		table was dropped by a session that did not have the library).
 *
 *		Oids that came with a dump are those of other relations here: by oid only
 *		views are found that were made in this database or in the files that it is
 *		a copy of.
 *
 *		refresh_view only raises tapdata.view.fills; the worker that begins to fill
 *		the view writes the same number into its state.  Between the two the status
 *		reads "created".
 *
 * IDENTIFICATION
 *		src/catalog/view.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define TD_VIEW_COLUMNS \
	"SELECT v.id, v.view_group, v.owner::oid, v.relation, v.twin, " \
	"coalesce((SELECT format('%I.%I', w.nspname, wc.relname) FROM tapdata.view p JOIN tapdata.view m ON m.id = coalesce(" TD_LEARNER_OF("p.id") ", p.part_of, p.id) " \
	"JOIN pg_class wc ON wc.oid = m.relation JOIN pg_namespace w ON w.oid = wc.relnamespace WHERE p.id = v.part_of), " \
	"format('%I.%I', (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace), c.relname), format('%I.%I', v.table_schema, v.table_name)), " \
	"v.settings::text, coalesce((v.options->>'unlogged')::boolean, false), coalesce((v.options->>'writable')::boolean, false), " \
	"least(extract(epoch FROM coalesce((v.options->>'timeout')::interval, '5 min')) * 1000, 2147483647)::integer, " \
	"CASE WHEN v.fills = s.fills THEN s.status ELSE 'created' END, s.exact AND v.fills = s.fills, s.filled AND v.fills = s.fills, s.snapshot::text, " \
	"s.sqlstate, s.error, s.detail, s.hint, coalesce((v.options->>'changes')::boolean, false), coalesce(v.part_of, 0), coalesce(v.query, v.twin), " \
	"coalesce((v.options->>'allow_full')::boolean, false), v.version, coalesce(v.replaces, 0), coalesce(s.whole_ms, 0), coalesce(v.keeps, 0), " \
	"least(extract(epoch FROM coalesce((v.options->>'fill_timeout')::interval, '0')) * 1000, 2147483647)::integer " \
	"FROM tapdata.view v JOIN tapdata.view_state s ON s.view = v.id JOIN pg_class c ON c.oid = v.relation "

static List *read_views(MemoryContext caller);
static TdView *only(List *views);
static List *pairs_of(const char *json);
static TdError *read_error(uint64 row, int first);

/* The views of the last result, in the caller's memory. */
static List *
read_views(MemoryContext caller)
{
	List	   *views = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);
		TdView	   *v = palloc0(sizeof(TdView));

		v->id = td_col_int(i, 1);
		v->group = td_col_int(i, 2);
		v->owner = td_col_int(i, 3);
		v->relation = td_col_int(i, 4);
		v->twin = td_col_int(i, 5);
		v->name = td_col_text(i, 6);
		v->settings = pairs_of(td_col_text(i, 7));
		v->unlogged = td_col_bool(i, 8);
		v->writable = td_col_bool(i, 9);
		v->timeout_ms = td_col_int(i, 10);
		v->status = td_col_text(i, 11);
		v->exact = td_col_bool(i, 12);
		v->filled = td_col_bool(i, 13);
		v->snapshot = td_col_text(i, 14);
		v->error = read_error(i, 15);
		v->changes = td_col_bool(i, 19);
		v->part_of = td_col_int(i, 20);
		v->query = td_col_int(i, 21);
		v->allow_full = td_col_bool(i, 22);
		v->version = td_col_int(i, 23);
		v->replaces = td_col_int(i, 24);
		v->whole_ms = td_col_float(i, 25);
		v->keeps = td_col_int(i, 26);
		v->fill_timeout_ms = td_col_int(i, 27);
		views = lappend(views, v);
		MemoryContextSwitchTo(inner);
	}
	return views;
}

static TdView *
only(List *views)
{
	return views == NIL ? NULL : linitial(views);
}

/* A stored object of scalars. */
static List *
pairs_of(const char *json)
{
	return td_json_pairs(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json))), "settings");
}

/* The columns sqlstate, error, detail, hint as a value; NULL = no error. */
static TdError *
read_error(uint64 row, int first)
{
	char	   *texts[4];
	TdError    *err;

	for (int i = 0; i < 4; i++)
		texts[i] = td_col_text(row, first + i);
	if (texts[1] == NULL)
		return NULL;
	err = palloc0(sizeof(TdError));
	strlcpy(err->sqlstate, texts[0] ? texts[0] : "XX000", sizeof(err->sqlstate));
	strlcpy(err->message, texts[1], sizeof(err->message));
	strlcpy(err->detail, texts[2] ? texts[2] : "", sizeof(err->detail));
	strlcpy(err->hint, texts[3] ? texts[3] : "", sizeof(err->hint));
	return err;
}

/* Those that a statement over TD_VIEW_COLUMNS gives. */
static List *
load_views(TdStatement *load, TdArg arg)
{
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *views;

	td_catalog_enter(&scope);
	td_run(load, 1, &arg);
	views = read_views(caller);
	td_catalog_leave(&scope);
	return views;
}

/* By its number. */
TdView *
td_view_load(int32 id)
{
	static TdStatement load = {TD_VIEW_COLUMNS "WHERE v.id = $1", NULL};

	return only(load_views(&load, td_arg_int4(id)));
}

/* By its table. */
TdView *
td_view_of(Oid relation, bool missing_ok)
{
	static TdStatement load = {TD_VIEW_COLUMNS "WHERE v.relation = $1 AND " TD_OIDS_ARE_OURS, NULL};
	List	   *views = load_views(&load, td_arg_oid(relation));
	char	   *name;

	if (views != NIL || missing_ok)
		return only(views);
	td_home_require();			/* in a restored dump it may be one by its name */
	name = get_rel_name(relation);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 name ? errmsg("\"%s\" is not a live view", name) : errmsg("there is no relation with OID %u", relation),
			 errhint("SELECT view FROM tapdata.views lists yours; tapdata.create_view() makes one.")));
}

/* By its definition. */
TdView *
td_view_of_twin(Oid twin)
{
	static TdStatement load = {TD_VIEW_COLUMNS "WHERE (v.twin = $1 OR v.query = $1) AND " TD_OIDS_ARE_OURS, NULL};

	return only(load_views(&load, td_arg_oid(twin)));
}

/*
 * By how long the longest way down is, over views that read others and those that wait for what replaces them.  A view that was replaced may read
 * newer ones.  No way is longer than there are views: a cycle, which nothing makes, would be cut.
 */
List *
td_group_views(int32 id)
{
	static TdStatement load = {
		"WITH RECURSIVE way AS (SELECT l.relation AS lower, b.view AS upper FROM tapdata.view_base b JOIN tapdata.view l ON l.relation = b.relation WHERE l.view_group = $1 "
		"UNION SELECT l.relation, k.view FROM tapdata.view_kept k JOIN tapdata.view l ON l.id = k.kept WHERE l.view_group = $1 "
		"UNION SELECT n.relation, n.replaces FROM tapdata.view n WHERE n.replaces IS NOT NULL AND n.view_group = $1), "
		"deep AS (SELECT id, relation, 0 AS depth FROM tapdata.view WHERE view_group = $1 "
		"UNION SELECT u.id, u.relation, d.depth + 1 FROM deep d JOIN way ON way.lower = d.relation JOIN tapdata.view u ON u.id = way.upper "
		"WHERE d.depth < (SELECT count(*) FROM tapdata.view WHERE view_group = $1)) "
		TD_VIEW_COLUMNS "WHERE v.view_group = $1 ORDER BY (SELECT max(depth) FROM deep WHERE deep.id = v.id), v.id", NULL};

	return load_views(&load, td_arg_int4(id));
}

/* What a view was split into, and what will replace it, with its parts. */
List *
td_view_parts(int32 id)
{
	static TdStatement load = {
	TD_VIEW_COLUMNS "WHERE v.part_of = $1 OR v.part_of IN (SELECT n.id FROM tapdata.view n WHERE n.replaces = $1) ORDER BY v.replaces IS NOT NULL, v.id", NULL};

	return load_views(&load, td_arg_int4(id));
}

/* Of this database; without parts. */
List *
td_views_all(void)
{
	static TdStatement load = {TD_VIEW_COLUMNS "WHERE v.part_of IS NULL AND $1 AND " TD_OIDS_ARE_OURS " ORDER BY v.id", NULL};

	return load_views(&load, td_arg_bool(true));
}

/* Those that name a relation in their query, or learn of changes by it. */
List *
td_views_reading(Oid relation)
{
	static TdStatement load = {
	TD_VIEW_COLUMNS "WHERE v.id IN (SELECT b.view FROM tapdata.view_base b WHERE b.relation = $1 "
	"UNION ALL SELECT k.view FROM tapdata.view_kept k JOIN tapdata.view l ON l.id = k.kept WHERE l.relation = $1) AND " TD_OIDS_ARE_OURS " ORDER BY v.id", NULL};

	return load_views(&load, td_arg_oid(relation));
}

/* A group with its checkpoint. */
TdGroup *
td_group_load(int32 id)
{
	static TdStatement load = {
		"SELECT g.name, least(extract(epoch FROM g.max_lag) * 1000, 2147483647)::integer, s.status, s.snapshot::text, "
		"coalesce(s.bound - '0/0', 0)::bigint, s.sqlstate, s.error, s.detail, s.hint "
	"FROM tapdata.view_group g JOIN tapdata.group_state s ON s.view_group = g.id WHERE g.id = $1", NULL};
	TdCatalogScope scope;
	TdGroup    *g = palloc0(sizeof(TdGroup));
	MemoryContext caller = CurrentMemoryContext;
	bool		found;

	td_catalog_enter(&scope);
	found = TD_RUN(&load, td_arg_int4(id)) == 1;
	if (found)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);

		g->id = id;
		g->name = td_col_text(0, 1);
		g->max_lag_ms = td_col_int(0, 2);
		g->status = td_col_text(0, 3);
		g->snapshot = td_col_text(0, 4);
		g->bound = td_col_int(0, 5);
		g->error = read_error(0, 6);
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return found ? g : NULL;
}

List *
td_groups_streaming(void)
{
	static TdStatement find = {
		"SELECT g.id FROM tapdata.view_group g JOIN tapdata.group_state s ON s.view_group = g.id WHERE g.home = $1 AND s.status NOT IN ('failed', 'fenced', 'stopped') "
	"AND EXISTS (SELECT FROM tapdata.view v JOIN tapdata.view_state t ON t.view = v.id WHERE v.view_group = g.id AND t.status = 'streaming') ORDER BY 1", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	uint64		n;
	List	   *ids = NIL;

	td_catalog_enter(&scope);
	n = TD_RUN(&find, td_arg_text(td_home()));
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);

		ids = lappend_int(ids, td_col_int(i, 1));
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return ids;
}
