/*-------------------------------------------------------------------------
 *
 * replace.c
 *		create_view(or_replace => true) where the live view is there already.
 *
 * NOTES
 *		Sessions, one transaction.  The new definition becomes a live view of its
 *		own in schema tapdata_parts, which says what it replaces: it is filled and
 *		kept as all are, while the old one goes on.  The worker lets it take the
 *		old one's place (take_over.c).  Here is refused what could not.
 *
 *		Its table goes with that of the view, but not the other way round: what
 *		drops something that only the new definition reads gives that up alone.
 *
 * IDENTIFICATION
 *		src/view/sql/replace.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "view/sql/sql_internal.h"

static void require_owner(const TdView *old);
static TdView *hold_replacement(const TdView *old);
static List *options_of_new(const TdView *old, List *options);
static bool is_defined_so(const TdView *view, Query *query, bool allow_full, List *options);
static char *text_of_twin(Oid twin);
static void give_up(const TdView *pending);
static void keep_definition(TdView *old, bool given_up);
static TdView *make(const TdView *old, const TdViewName *name, Query *query, List *options, bool allow_full);
static void require_columns(const TdView *old, const TdShape *shape);
static bool same_column(Form_pg_attribute a, const TdViewColumn *column);
static void require_below(const TdView *old, List *shapes);
static void require_fits(const TdView *old, const TdView *new);
static void log_replacing(const TdView *old);

/* The table of the view stays what it is.  sql NULL: the query that it has, with other options. */
void
td_view_replace(Oid existing, const TdViewName *name, const char *sql, List *options)
{
	TdView	   *old = td_view_owned(existing, AccessShareLock);
	TdView	   *pending;
	List	   *kept;
	Query	   *query;
	List	   *proofs;
	bool		allow_full = false;

	require_owner(old);
	td_group_serialize(old->group);
	pending = hold_replacement(old);
	old = td_view_load(old->id);
	kept = td_view_options_kept(options, td_view_options(old->id));
	if (kept != NIL)
		td_view_set_options(old, kept);
	options = options_of_new(old, options);
	if (td_pairs_get(options, "allow_full"))
		(void) parse_bool(td_pairs_get(options, "allow_full"), &allow_full);
	if (sql)
		query = td_query_total(td_query_analyse(sql), &proofs);
	else
	{
		query = td_twin_query(old->twin);
		proofs = td_twin_proofs(old->twin);
	}
	if (pending && strcmp(pending->status, "failed") != 0 && is_defined_so(pending, query, allow_full, options))
	{
		ereport(NOTICE, (errmsg("live view %s is being given this definition already", old->name)));
		return;
	}
	if (pending)
		give_up(pending);
	if (is_defined_so(old, query, allow_full, options))
	{
		td_views_tidy();
		keep_definition(old, pending != NULL);
	}
	else
	{
		TdView	   *new = make(old, name, query, options, allow_full);

		td_twin_needs(new->twin, proofs);
		log_replacing(old);
	}
	td_view_wake(old);
}

/* Rights are checked as the caller, but used as the owner. */
static void
require_owner(const TdView *old)
{
	if (GetUserId() != old->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of view %s to replace it", old->name),
				 errdetail("Its query is computed with the rights of its owner."),
				 errhint("SET ROLE %s first.", quote_identifier(td_role_text(old->owner)))));
}

/* What is to take the view's place; NULL = nothing. */
TdView *
td_view_replacement(const TdView *old)
{
	ListCell   *lc;

	foreach(lc, td_view_parts(old->id))
		if (((TdView *) lfirst(lc))->replaces == old->id)
			return lfirst(lc);
	return NULL;
}

/* The same, which does not come to its place from now on; it may just have. */
static TdView *
hold_replacement(const TdView *old)
{
	TdView	   *pending = td_view_replacement(old);
	TdView	   *now;

	while (pending != NULL)
	{
		LockRelationOid(pending->relation, AccessShareLock);	/* it may be filled meanwhile */
		now = td_view_replacement(old);
		if (now && now->id == pending->id)
			return now;
		pending = now;
	}
	return NULL;
}

static bool
comes_with_definition(const TdPair *pair)
{
	return strcmp(pair->name, "allow_full") == 0 || strcmp(pair->name, "old_images") == 0;
}

/* Those of the view as they are now, with what the call says of those that come with the definition. */
static List *
options_of_new(const TdView *old, List *options)
{
	List	   *some = NIL;
	ListCell   *lc;

	foreach(lc, td_view_options_for(td_view_options(old->id), 'n'))
	{
		const TdPair *pair = lfirst(lc);

		if (!comes_with_definition(pair) || !td_pairs_has(options, pair->name))
			some = lappend(some, lfirst(lc));
	}
	foreach(lc, options)
	{
		const TdPair *pair = lfirst(lc);

		if (comes_with_definition(pair) && pair->value != NULL)
			some = lappend(some, lfirst(lc));
	}
	return some;
}

/* Does it mean the same, by names of today, under settings that the query depends on? */
static bool
is_defined_so(const TdView *view, Query *query, bool allow_full, List *options)
{
	return view->allow_full == allow_full && td_kept_wanted(td_view_options(view->id)) == td_kept_wanted(options) &&
		strcmp(text_of_twin(view->twin), td_query_text(query)) == 0 &&
		(view->settings == NIL || td_pairs_equal(view->settings, td_json_pairs(DatumGetJsonbP(td_settings_now()), "settings")));
}

static char *
text_of_twin(Oid twin)
{
	Relation	rel = table_open(twin, AccessShareLock);
	int			level = td_pin_path();
	char	   *text = td_query_sql(get_view_query(rel));

	AtEOXact_GUC(true, level);
	table_close(rel, NoLock);
	return text;
}

/* A definition that has not come to its place goes, with its parts. */
static void
give_up(const TdView *pending)
{
	char	   *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(pending->relation)), get_rel_name(pending->relation));

	td_view_end_fill(pending);
	td_view_ddl = true;
	PG_TRY();
	{
		td_run_as_caller(psprintf("DROP TABLE %s", table));
	}
	PG_FINALLY();
	{
		td_view_ddl = false;
	}
	PG_END_TRY();
	CommandCounterIncrement();
	(void) td_views_follow();
}

/* There is nothing to be made; but who says once more what a view shall be wants it to be that. */
static void
keep_definition(TdView *old, bool given_up)
{
	bool		failed = strcmp(old->status, "failed") == 0;

	if (failed)
		td_view_fill_anew(old);
	ereport(NOTICE,
			(given_up ? errmsg("live view %s keeps its definition, the other one is given up", old->name) :
			 errmsg("live view %s has this definition already", old->name),
			 failed ? errdetail("It had failed, and is filled anew as by refresh_view().") : 0));
}

/* ---- the new definition ---- */

static TdView *
make(const TdView *old, const TdViewName *name, Query *query, List *options, bool allow_full)
{
	TdParts		parts = {options};
	TdShape    *shape = td_parts_shape(query, &parts, allow_full);
	TdView	   *new = palloc0(sizeof(TdView));
	List	   *shapes = list_make1(shape);
	ObjectAddress table;
	ObjectAddress owner;
	ListCell   *lc;

	require_columns(old, shape);
	foreach(lc, parts.list)
		shapes = lappend(shapes, ((TdPart *) lfirst(lc))->shape);
	require_below(old, shapes);
	new->owner = old->owner;
	new->part_of = new->replaces = old->id;
	new->allow_full = allow_full;
	new->id = parts.ids != NIL ? llast_int(parts.ids) : linitial_int(td_view_reserve(1));
	new->relation = td_parts_table(psprintf("v%d_r", new->id), shape, NIL, options);
	ObjectAddressSet(table, RelationRelationId, new->relation);
	ObjectAddressSet(owner, RelationRelationId, old->relation);
	recordDependencyOn(&table, &owner, DEPENDENCY_AUTO);
	new->twin = td_view_create_twin(name->schema, TD_PART_SCHEMA, psprintf("v%d_t", new->id), new->relation, td_query_text(query));
	shapes = td_parts_complete(&parts, name, new);
	td_identity_need(lappend(shapes, td_view_complete(new, name->schema, options, &parts)));
	CommandCounterIncrement();
	require_fits(old, new);
	td_view_tell(&parts);
	return new;
}

/* What reads the view by its columns must find them; new ones come last. */
static void
require_columns(const TdView *old, const TdShape *shape)
{
	Relation	rel = table_open(old->relation, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(desc, i);

		if (a->attisdropped)
			continue;
		if (n >= shape->ncolumns || !same_column(a, &shape->columns[n]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("the new query of live view %s does not have its column \"%s\"", old->name, NameStr(a->attname)),
					 errdetail("Column %d must be \"%s\" of type %s, as it is now; new columns come last.", n + 1, NameStr(a->attname),
							   format_type_with_typemod(a->atttypid, a->atttypmod)),
					 errhint("Drop the view and create it anew: SELECT tapdata.drop_view(%s).", quote_literal_cstr(old->name))));
		n++;
	}
	table_close(rel, NoLock);
}

static bool
same_column(Form_pg_attribute a, const TdViewColumn *column)
{
	return strcmp(NameStr(a->attname), column->name) == 0 && a->atttypid == column->type && a->atttypmod == column->typmod && a->attcollation == column->collation;
}

/* No view is made of itself. */
static void
require_below(const TdView *old, List *shapes)
{
	List	   *above = td_views_with_readers(list_make1(unconstify(TdView *, old)));
	ListCell   *lc;
	ListCell   *at;

	foreach(lc, shapes)
	{
		const TdShape *shape = lfirst(lc);

		for (int i = 0; i < shape->noccurrences; i++)
			foreach(at, above)
			{
				TdView	   *view = lfirst(at);

				if (view->relation == shape->occurrences[i].relid)
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
							 errmsg("live view %s can't be made of itself", old->name),
							 view->id == old->id ? errdetail("The new query reads it.") : errdetail("The new query reads view %s, which is made of it.", view->name),
							 errhint("Name, in place of %s, what it reads itself: SELECT pg_get_viewdef(%s) shows its query.", view->name,
									 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(get_rel_namespace(view->twin)), get_rel_name(view->twin))))));
			}
	}
}

/* Views above it count on its key, and on columns that are never null. */
static void
require_fits(const TdView *old, const TdView *new)
{
	List	   *readers = td_views_reading(old->relation);
	ListCell   *lc;

	if (readers == NIL)
		return;
	foreach(lc, td_view_reshape(old->relation, new->relation))
	{
		TdPair	   *step = lfirst(lc);

		if (step->name[0] == '1' || step->name[0] == '2')
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 step->name[0] == '1' ? errmsg("the new query of live view %s has another key", old->name) :
					 errmsg("column %s of the new query of live view %s may be null", step->value, old->name),
					 errdetail("Live view %s reads it, and counts on that.", ((TdView *) linitial(readers))->name),
					 errhint("Drop that view first, and create it again afterwards.")));
	}
}

static void
log_replacing(const TdView *old)
{
	TdError		entry;

	memset(&entry, 0, sizeof(entry));
	strlcpy(entry.message, "view is being given a new definition", sizeof(entry.message));
	td_log("info", "view", old->name, old->owner, &entry);
}
