/*-------------------------------------------------------------------------
 *
 * create.c
 *		create_view.
 *
 * NOTES
 *		Sessions, one transaction: the table as the caller, the twin, the rows of
 *		the catalog, the state.  Nothing is computed here; the group's worker
 *		fills the view once the transaction has committed.
 *
 *		The query is analysed twice: as it was written, so that errors are about
 *		the user's words, and as the twin gives it back, since that is what the
 *		worker will read.
 *
 * IDENTIFICATION
 *		src/view/sql/create.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

static void refuse_existing(const TdViewName *name, bool is_view);
static TdView *create(const TdViewName *name, const char *sql, List *options);
static List *add_rows(TdView *view, const TdShape *shape, List *options);
static void require_one_group(const TdView *view, const TdShape *shape);
static void keep_told(TdParts *parts, TdView *view, const TdShape *shape, List *explained);
static void tell_wanted(const TdView *view, List *explained);
static void tell_moments(const TdShape *shape);
static void tell_unnamed(const TdView *view, const TdShape *shape);
static void tell_whole(const TdView *view, List *explained);
static void log_created(const TdView *view);

PG_FUNCTION_INFO_V1(td_sql_create_view);

/* tapdata.create_view(name, query, options, or_replace) */
Datum
td_sql_create_view(PG_FUNCTION_ARGS)
{
	char	   *text = td_required_text(fcinfo, 0, "name");
	char	   *sql = td_required_text(fcinfo, 1, "query");
	List	   *options = td_optional_pairs(fcinfo, 2, "options");
	TdViewName	name;
	Oid			existing;
	TdView	   *view;

	td_workers_require();
	td_capture_require();
	(void) td_extension_hold();
	td_home_require();
	td_view_require_owner(GetUserId(), "create the view as another role");
	td_view_options_check(options, true);
	td_view_name(text, &name, &existing);
	if (OidIsValid(existing))
	{
		bool		is_view = td_view_of(existing, true) != NULL;

		if (!is_view || !td_flag(fcinfo, 3))
			refuse_existing(&name, is_view);
		td_view_replace(existing, &name, sql, options);
		PG_RETURN_OID(existing);
	}
	view = create(&name, sql, options);
	log_created(view);
	td_view_wake(view);
	PG_RETURN_OID(view->relation);
}

/* The server lets a background worker connect only as a role that may. */
void
td_view_require_owner(Oid role, const char *otherwise)
{
	TdError		err = {0};

	if (!td_owner_connects(role, otherwise, &err))
		td_error_raise_own(&err);
}

static void
refuse_existing(const TdViewName *name, bool is_view)
{
	char	   *quoted = quote_qualified_identifier(name->schema, name->table);

	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 is_view ? errmsg("live view %s exists already", quoted) : errmsg("relation %s exists already", quoted),
			 is_view ? errhint("Pass or_replace => true, choose another name, or drop it: SELECT tapdata.drop_view(%s).", quote_literal_cstr(quoted)) :
			 errhint("Choose another name for the view.")));
}

/* Everything that makes up a view. */
static TdView *
create(const TdViewName *name, const char *sql, List *options)
{
	TdView	   *view = palloc0(sizeof(TdView));
	List	   *proofs;
	Query	   *query = td_query_total(td_query_analyse(sql), &proofs);
	TdParts		parts = {options};
	const char *full = td_pairs_get(options, "allow_full");
	TdShape    *shape;
	List	   *shapes;

	if (full != NULL)
		(void) parse_bool(full, &view->allow_full);
	shape = td_parts_shape(query, &parts, view->allow_full);
	view->owner = GetUserId();
	view->relation = td_view_create_table(name, shape, options);
	view->twin = td_view_create_twin(name->schema, "tapdata_views", td_twin_name(name->schema, name->table), view->relation, td_query_text(query));
	td_twin_needs(view->twin, proofs);
	shapes = td_parts_complete(&parts, name, view);
	td_identity_need(lappend(shapes, td_view_complete(view, name->schema, options, &parts)));
	td_view_follow_feed(view->id);
	CommandCounterIncrement();
	td_view_tell(&parts);
	return view;
}

/* Of a view whose table and SQL views are there: what it needs of others, the rows of the catalog, its state; noted for td_view_tell. */
TdShape *
td_view_complete(TdView *view, const char *draft_schema, List *options, TdParts *parts)
{
	TdShape    *shape = td_query_shape(td_twin_query(view->query), view->owner, view->allow_full);
	List	   *explained;

	explained = add_rows(view, shape, options);
	keep_told(parts, view, shape, explained);
	if (td_kept_wanted(options))
		td_kept_need(view, shape, draft_schema, options);
	if (shape->grouped || (shape->keyed && !shape->keyed->stored))
		td_view_create_state(view, td_plan(shape), options);
	td_twin_needs(view->query, td_find_proofs(&(TdQuestion) {td_twin_query(view->query), view->owner, 0, view->allow_full}, td_twin_proofs(view->query), NULL, NULL));
	td_write_guard(view->relation, !view->writable);
	CommandCounterIncrement();
	return shape;
}

/* The rows of the catalog; returns the shape, explained. */
static List *
add_rows(TdView *view, const TdShape *shape, List *options)
{
	List	   *explained = td_explain(shape);
	const char *strategy = explained == NIL ? "delta" : ((TdExplained *) linitial(explained))->strategy;
	Datum		settings = shape->pinned ? td_settings_now() : DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	const char *writable = td_pairs_get(options, "writable");

	if (shape->pinned)
		td_settings_require();
	if (writable != NULL)
		(void) parse_bool(writable, &view->writable);
	td_view_add(view, options, settings, strategy); /* of a part once more: it was drafted */
	require_one_group(view, shape);
	for (int i = 0; i < shape->noccurrences; i++)
		td_view_add_base(view->id, shape->occurrences[i].relid, shape->occurrences[i].columns);
	return explained;
}

/* ---- what there is to tell ---- */

/* Of a view, or a part of it, that is there. */
typedef struct TdTold
{
	TdView	   *view;
	const TdShape *shape;
	List	   *explained;
} TdTold;

static void
keep_told(TdParts *parts, TdView *view, const TdShape *shape, List *explained)
{
	TdTold	   *told = palloc(sizeof(TdTold));

	told->view = view;
	told->shape = shape;
	told->explained = explained;
	parts->told = lappend(parts->told, told);
}

/* Once nothing can be refused any more. */
void
td_view_tell(const TdParts *parts)
{
	ListCell   *lc;

	foreach(lc, parts->told)
	{
		const TdTold *told = lfirst(lc);

		tell_wanted(told->view, told->explained);
		tell_whole(told->view, told->explained);
		tell_moments(told->shape);
		tell_unnamed(told->view, told->shape);
	}
}

/* Filling it, and every tick, may take long without them. */
static void
tell_wanted(const TdView *view, List *explained)
{
	const TdView *whole = view->part_of != 0 ? td_view_load(view->part_of) : view;
	Oid			relation = whole->replaces != 0 ? td_view_load(whole->replaces)->relation : whole->relation;
	int			wanted = 0;
	ListCell   *lc;

	foreach(lc, explained)
	{
		const char *how = ((TdExplained *) lfirst(lc))->strategy;

		wanted += how != NULL && strcmp(how, "wanted") == 0;
	}
	if (wanted > 0)
		ereport(NOTICE,
				(errmsg_plural("%d index that the view would use is not there", "%d indexes that the view would use are not there", wanted, wanted),
				 errhint("SELECT detail FROM tapdata.explain_view(%s) WHERE strategy = 'wanted' shows the statements to create them.",
						 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation))))));
}

/* Not asked for by allow_full, and yet: from changes of these tables no key follows. */
static void
tell_whole(const TdView *view, List *explained)
{
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, explained)
	{
		const TdExplained *e = lfirst(lc);
		const char *table = strchr(e->node + strspn(e->node, " "), ' ');

		if (table != NULL && e->strategy != NULL && strcmp(e->strategy, "full") == 0)
			tables = lappend(tables, pstrdup(table + 1));
	}
	if (tables != NIL && !view->allow_full)
		ereport(NOTICE,
				(errmsg("each change of %s computes all of the view anew", td_list_text(tables)),
				 errdetail("No equality leads from its rows to those of the result that they touch."),
				 errhint("tapdata.explain_query() shows the same of other ways to write the query.")));
}

/* Text is what it is, but for four words, which nothing keeps out of a column. */
static void
tell_moments(const TdShape *shape)
{
	if (shape->moments)
		ereport(NOTICE,
				(errmsg("text that becomes a date or a time must not be 'now', 'today', 'yesterday' or 'tomorrow'"),
				 errdetail("In a row that the view reads such text would be another moment at each reading: the view keeps one of them, and may fail when that row changes."),
				 errhint("A CHECK constraint on the column keeps such text out; one of type date or timestamp needs no cast.")));
}

/* As in CREATE TABLE AS; but the name of a view's column stays. */
static void
tell_unnamed(const TdView *view, const TdShape *shape)
{
	for (int i = 0; i < shape->ncolumns; i++)
		if (view->part_of == 0 && strcmp(shape->columns[i].name, "?column?") == 0)
			ereport(NOTICE,
					(errmsg("column %d of the view has no name in the query, and is called \"?column?\"", i + 1),
					 errhint("Name it in the query: SELECT ... AS name.")));
}

/* Only within a group are views at one snapshot. */
static void
require_one_group(const TdView *view, const TdShape *shape)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		TdView	   *other = shape->occurrences[i].view != 0 ? td_view_load(shape->occurrences[i].view) : NULL;

		if (other != NULL && other->group != view->group)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a live view can't read one of another group"),
					 errdetail("View %s belongs to group \"%s\".", other->name, td_group_load(other->group)->name),
					 errhint("Create the view with the option {\"group\": \"%s\"}.", td_group_load(other->group)->name)));
	}
}

static void
log_created(const TdView *view)
{
	TdError		entry;

	memset(&entry, 0, sizeof(entry));
	strlcpy(entry.message, "view is created", sizeof(entry.message));
	td_log("info", "view", view->name, view->owner, &entry);
}
