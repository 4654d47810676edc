/*-------------------------------------------------------------------------
 *
 * control.c
 *		drop_view, refresh_view, alter_view.
 *
 * NOTES
 *		Sessions.  All of them are for the owner of the view.  None writes what a
 *		tick writes: what a worker shall do stands in the definition, and it is
 *		woken at commit.  DROP waits for the tick that has the table locked, not for a
 *		fill, which it ends; a tick does not wait for DROP.  The view is locked first and looked at again then:
 *		it may have been dropped or renamed, by somebody whose commit our snapshot
 *		does not see.
 *
 * IDENTIFICATION
 *		src/view/sql/control.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

#define MOST_CALLS 5			/* that a hint spells out */

static TdView *owned(Oid relation);
static void require_unread(const TdView *view);
static List *failed_parts(const List *views);
static List *views_to_refill(TdView *view);
static List *add_view(List *views, TdView *view);
static int	by_id(const ListCell *a, const ListCell *b);
static List *take_out(List *options, const char *name, List **taken);
static void redefine(const TdView *view, List *options);
static void apply_fillfactor(const TdView *view, List *options);

PG_FUNCTION_INFO_V1(td_sql_drop_view);
PG_FUNCTION_INFO_V1(td_sql_refresh_view);
PG_FUNCTION_INFO_V1(td_sql_alter_view);

/* The view, for those who may control it; locked until the transaction ends. */
TdView *
td_view_owned(Oid relation, LOCKMODE mode)
{
	TdView	   *view = owned(relation);

	if (mode == AccessExclusiveLock)
		td_view_end_fill(view);
	LockRelationOid(relation, mode);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		td_view_raise_dropped(view);
	return owned(relation);
}

TdView *
td_view_named(Oid relation)
{
	TdView	   *view = td_view_of(relation, false);

	if (view->part_of != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a live view, but a part of one", get_rel_name(relation)),
				 errhint("Name the view itself, %s.", view->name)));
	return view;
}

static TdView *
owned(Oid relation)
{
	TdView	   *view = td_view_named(relation);

	if (!has_privs_of_role(GetUserId(), view->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of view %s", view->name),
				 errhint("Its owner is %s.", td_role_text(view->owner))));
	return view;
}

/* Supervisor and worker look at the catalog again, once this is committed. */
void
td_view_wake(const TdView *view)
{
	td_worker_wake_at_commit(TD_WORKER_VIEW, view->group);
}

/* tapdata.drop_view(view) */
Datum
td_sql_drop_view(PG_FUNCTION_ARGS)
{
	TdView	   *view = td_view_owned(td_required_oid(fcinfo, 0, "view"), AccessExclusiveLock);

	require_unread(view);
	td_run_as_caller(psprintf("DROP TABLE %s", view->name));	/* the rest is done by hooks.c, as for a plain DROP TABLE */
	PG_RETURN_VOID();
}

/* Several parts of one view may read it. */
static bool
is_listed(const List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

List *
td_names_reading(List *relations)
{
	List	   *names = NIL;
	ListCell   *lc,
			   *lv;

	foreach(lc, relations)
		foreach(lv, td_views_reading(lfirst_oid(lc)))
			if (!is_listed(names, ((TdView *) lfirst(lv))->name))
				names = lappend(names, ((TdView *) lfirst(lv))->name);
	return names;
}

/* Of char *: these views and all above them, those that read others first, as they can be dropped; parts go with theirs. */
List *
td_names_down(List *views)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, td_views_with_readers(views))
		if (!is_listed(names, ((TdView *) lfirst(lc))->name))
			names = lcons(((TdView *) lfirst(lc))->name, names);
	return names;
}

/* The calls for a hint, the first of them where there are many. */
char *
td_drop_calls(const List *names)
{
	StringInfoData calls;
	ListCell   *lc;

	initStringInfo(&calls);
	foreach(lc, names)
	{
		int			i = foreach_current_index(lc);

		if (i == MOST_CALLS)
		{
			appendStringInfo(&calls, "; and so for %d more", list_length(names) - i);
			break;
		}
		appendStringInfo(&calls, "%sSELECT tapdata.drop_view(%s)", i > 0 ? "; " : "", quote_literal_cstr(lfirst(lc)));
	}
	return calls.data;
}

/* A view that others read can't go. */
static void
require_unread(const TdView *view)
{
	List	   *names = td_names_reading(list_make1_oid(view->relation));

	if (names == NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("view %s can't be dropped because other live views read it", view->name),
			 errdetail("Live views that read it: %s.", td_list_text(names)),
			 errhint("Drop them first: %s.", td_drop_calls(td_names_down(td_views_reading(view->relation))))));
}

/* tapdata.refresh_view(view) */
Datum
td_sql_refresh_view(PG_FUNCTION_ARGS)
{
	TdView	   *view = td_view_owned(td_required_oid(fcinfo, 0, "view"), AccessShareLock);

	td_workers_require();
	td_home_require();
	td_view_fill_anew(view);
	td_view_wake(view);
	PG_RETURN_VOID();
}

/* It and all that goes with it, by its worker, which the caller wakes. */
void
td_view_fill_anew(TdView *view)
{
	ListCell   *lc;

	foreach(lc, views_to_refill(view))
		td_view_refill(((TdView *) lfirst(lc))->id);
}

/*
 * The view with its parts, and all above them.  What these are made of besides, parts and old rows that are kept, may have
 * failed of the same cause: it is revived with them, or they would fail again at once.
 */
static List *
views_to_refill(TdView *view)
{
	List	   *views = td_views_with_readers(td_kept_failed(lappend(td_view_parts(view->id), view)));
	int			had;

	do
	{
		had = list_length(views);
		views = td_views_with_readers(td_kept_failed(list_concat(failed_parts(views), views)));
	} while (list_length(views) > had);
	return views;
}

static List *
failed_parts(const List *views)
{
	List	   *failed = NIL;
	ListCell   *lc,
			   *lp;

	foreach(lc, views)
		foreach(lp, td_view_parts(((TdView *) lfirst(lc))->id))
			if (strcmp(((TdView *) lfirst(lp))->status, "failed") == 0)
				failed = lappend(failed, lfirst(lp));
	return failed;
}

/* Views and all above them, each once, after those it reads. */
List *
td_views_with_readers(List *views)
{
	List	   *all = NIL;
	ListCell   *lc;

	foreach(lc, views)
		all = add_view(all, lfirst(lc));
	for (int i = 0; i < list_length(all); i++)
		foreach(lc, td_views_reading(((TdView *) list_nth(all, i))->relation))
			all = add_view(all, lfirst(lc));
	list_sort(all, by_id);
	return all;
}

/* Unless it is among them. */
static List *
add_view(List *views, TdView *view)
{
	ListCell   *lc;

	foreach(lc, views)
		if (((TdView *) lfirst(lc))->id == view->id)
			return views;
	return lappend(views, view);
}

/* A view is made after those it reads. */
static int
by_id(const ListCell *a, const ListCell *b)
{
	return ((TdView *) lfirst(a))->id - ((TdView *) lfirst(b))->id;
}

/* tapdata.alter_view(view, options) */
Datum
td_sql_alter_view(PG_FUNCTION_ARGS)
{
	TdView	   *view = td_view_owned(td_required_oid(fcinfo, 0, "view"), AccessShareLock);
	List	   *options;
	List	   *images;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"options\" must not be null"),
				 errhint("Give what is to be changed: '{\"writable\": true}'.")));
	options = take_out(td_optional_pairs(fcinfo, 1, "options"), "old_images", &images);
	td_view_options_check(options, false);
	td_view_options_check(images, true);
	td_view_set_options(view, options);
	if (images != NIL)
		redefine(view, images);
	td_view_wake(view);
	PG_RETURN_VOID();
}

/* The options without those of that name, which go to *taken. */
static List *
take_out(List *options, const char *name, List **taken)
{
	List	   *rest = NIL;
	ListCell   *lc;

	*taken = NIL;
	foreach(lc, options)
	{
		if (strcmp(((TdPair *) lfirst(lc))->name, name) == 0)
			*taken = lappend(*taken, lfirst(lc));
		else
			rest = lappend(rest, lfirst(lc));
	}
	return rest;
}

/* Options that it must be made anew for: beside the old one, which goes on meanwhile. */
static void
redefine(const TdView *view, List *options)
{
	TdViewName	name = {get_namespace_name(get_rel_namespace(view->relation)), get_rel_name(view->relation), get_rel_namespace(view->relation)};

	td_home_require();
	td_workers_require();
	td_view_replace(view->relation, &name, NULL, options);
}

/* Checked ones, which can be changed. */
void
td_view_set_options(const TdView *view, List *options)
{
	bool		writable = false;

	td_view_alter(view, options);
	td_parts_alter(view, options);
	td_kept_alter(lappend(td_view_parts(view->id), unconstify(TdView *, view)), options);
	if (td_pairs_has(options, "writable"))
	{
		const char *value = td_pairs_get(options, "writable");

		(void) (value != NULL && parse_bool(value, &writable));
		td_write_guard(view->relation, !writable);
	}
	apply_fillfactor(view, options);
	td_view_follow_feed(view->id);
}

static void
apply_fillfactor(const TdView *view, List *options)
{
	const char *value = td_pairs_get(options, "fillfactor");

	if (!td_pairs_has(options, "fillfactor"))
		return;
	td_run_as_caller(value != NULL ? psprintf("ALTER TABLE %s SET (fillfactor = %ld)", view->name, strtol(value, NULL, 10)) :
					 psprintf("ALTER TABLE %s RESET (fillfactor)", view->name));
}
