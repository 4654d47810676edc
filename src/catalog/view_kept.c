/*-------------------------------------------------------------------------
 *
 * view_kept.c
 *		Which live views keep old rows of base tables, and for whom.
 *
 * NOTES
 *		Sessions and workers.  A view that keeps rows is hidden, a part of itself,
 *		and shared by views of its group and owner.  It is there as long as one of
 *		them is (view/sql/kept.c).
 *
 *		The link is between numbers of views: unlike oids they survive a dump.
 *
 * IDENTIFICATION
 *		src/catalog/view_kept.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "utils/memutils.h"

/* Those that a view learns of changes by. */
List *
td_view_kept(int32 id)
{
	static TdStatement load = {
		"SELECT b.relation, l.relation, l.id FROM tapdata.view_kept k JOIN tapdata.view l ON l.id = k.kept JOIN tapdata.view_base b ON b.view = l.id "
	"WHERE k.view = $1 ORDER BY l.id", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *list = NIL;

	td_catalog_enter(&scope);
	TD_RUN(&load, td_arg_int4(id));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);
		TdKept	   *kept = palloc(sizeof(TdKept));

		kept->base = td_col_int(i, 1);
		kept->relation = td_col_int(i, 2);
		kept->id = td_col_int(i, 3);
		list = lappend(list, kept);
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return list;
}

/* The views with these numbers. */
static List *
load_all(const List *ids)
{
	List	   *views = NIL;
	ListCell   *lc;

	foreach(lc, ids)
	{
		TdView	   *view = td_view_load(lfirst_int(lc));

		if (view != NULL)
			views = lappend(views, view);
	}
	return views;
}

/* The first column of the last result, in the caller's memory. */
static List *
numbers(MemoryContext caller)
{
	MemoryContext inner = MemoryContextSwitchTo(caller);
	List	   *ids = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
		ids = lappend_int(ids, td_col_int(i, 1));
	MemoryContextSwitchTo(inner);
	return ids;
}

List *
td_views_keeping(Oid base)
{
	static TdStatement load = {
		"SELECT v.id FROM tapdata.view v JOIN tapdata.view_base b ON b.view = v.id WHERE v.keeps IS NOT NULL AND b.relation = $1 AND " TD_OIDS_ARE_OURS
	" ORDER BY v.id", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *ids;

	td_catalog_enter(&scope);
	TD_RUN(&load, td_arg_oid(base));
	ids = numbers(caller);
	td_catalog_leave(&scope);
	return load_all(ids);
}

List *
td_views_unread(void)
{
	static TdStatement load = {
		"SELECT v.id FROM tapdata.view v WHERE v.keeps IS NOT NULL AND NOT EXISTS (SELECT FROM tapdata.view_kept k WHERE k.kept = v.id) AND "
	TD_OIDS_ARE_OURS " ORDER BY v.id", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *ids;

	td_catalog_enter(&scope);
	td_run(&load, 0, NULL);
	ids = numbers(caller);
	td_catalog_leave(&scope);
	return load_all(ids);
}

void
td_view_add_kept(int32 id, int32 kept)
{
	static TdStatement add = {"INSERT INTO tapdata.view_kept (view, kept) VALUES ($1, $2) ON CONFLICT DO NOTHING", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&add, td_arg_int4(id), td_arg_int4(kept));
	td_catalog_leave(&scope);
}
