/*-------------------------------------------------------------------------
 *
 * kept.c
 *		Option {"old_images": "kept"}: tables with old rows of base tables, which
 *		then need no REPLICA IDENTITY FULL.
 *
 * NOTES
 *		Sessions.  Such a table is a hidden live view in schema tapdata_parts, a part
 *		of itself: SELECT key, used columns FROM the base table.  Views of one group
 *		and owner share it where it has their columns; it goes with the last of them.
 *
 *		Who makes a view of it holds ACCESS SHARE on it until the view's rows are
 *		committed, and looks again whether it is there; who drops it takes ACCESS
 *		EXCLUSIVE first, and looks again whether anybody needs it.
 *
 * IDENTIFICATION
 *		src/view/sql/kept.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "view/sql/sql_internal.h"

/* What a view needs to be kept of a base table. */
typedef struct TdNeed
{
	Oid			relid;
	bool		inh;
	Bitmapset  *key;
	Bitmapset  *columns;		/* those of the key, too */
} TdNeed;

bool
td_kept_wanted(List *options)
{
	const char *value = td_pairs_get(options, "old_images");

	return value != NULL && strcmp(value, "kept") == 0;
}

/* ---- the key ---- */

static void
refuse_without_key(Oid relid)
{
	char	   *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("old rows of table %s can't be kept: changes of it do not tell a key", name),
			 errdetail("Its replica identity must be its primary key, or a unique index."),
			 errhint("Give it a primary key; or: ALTER TABLE %s REPLICA IDENTITY USING INDEX ...; or leave the option \"old_images\" out.", name)));
}

/* The columns, by numbers in root, of the identity that a table would have without views; *full: it logs whole rows then. */
static Bitmapset *
own_key(Oid relid, Oid root, bool *full)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TdIdentity	own = td_identity_own(rel);
	Bitmapset  *there = td_identity_columns(rel, own.kind, own.index);
	Bitmapset  *key = NULL;
	int			attnum = -1;

	*full = own.kind == REPLICA_IDENTITY_FULL;
	table_close(rel, NoLock);
	while ((attnum = bms_next_member(there, attnum)) >= 0)
	{
		AttrNumber	above = relid == root ? attnum : get_attnum(root, get_attname(relid, attnum, false));

		if (above > 0)
			key = bms_add_member(key, above);
	}
	return key;
}

/* Sets the key of a need, what changes of all tables that hold rows tell; true = whole rows are logged, or the key is all that is used. */
static bool
tell_key(TdNeed *need)
{
	List	   *tables = need->inh ? find_all_inheritors(need->relid, AccessShareLock, NULL) : list_make1_oid(need->relid);
	bool		covered = true;
	bool		any = false;	/* a table that holds rows */
	bool		first = true;
	bool		full;
	ListCell   *lc;

	if (get_rel_relkind(need->relid) == RELKIND_PARTITIONED_TABLE)
	{
		need->key = own_key(need->relid, need->relid, &full);
		first = need->key == NULL;
	}
	foreach(lc, tables)
	{
		Bitmapset  *key;

		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_RELATION)
			continue;
		key = own_key(lfirst_oid(lc), need->relid, &full);
		any = true;
		if (full)
			continue;
		covered &= bms_is_subset(need->columns, key);
		need->key = first ? key : bms_int_members(need->key, key);
		first = false;
	}
	return any ? covered : bms_is_subset(need->columns, need->key);
}

/* Could old rows of it be kept? */
bool
td_kept_possible(Oid relid)
{
	TdNeed		need = {relid, true};

	(void) tell_key(&need);
	return !bms_is_empty(need.key);
}

/* Sets the key.  False = nothing has to be kept. */
static bool
find_key(TdNeed *need)
{
	if (tell_key(need))
		return false;
	if (bms_is_empty(need->key))
		refuse_without_key(need->relid);
	need->columns = bms_add_members(need->columns, need->key);
	return true;
}

/* ---- one that is there ---- */

/* Of what a view keeps: is it that, and all of it? */
static bool
serves(const TdView *keeper, const TdNeed *need)
{
	Query	   *query = td_twin_query(keeper->query);
	const RangeTblRef *ref = linitial_node(RangeTblRef, query->jointree->fromlist);
	Bitmapset  *key = NULL;
	Bitmapset  *columns = NULL;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, td_keeper_columns(query))
	{
		if (n++ < keeper->keeps)
			key = bms_add_member(key, lfirst_int(lc));
		columns = bms_add_member(columns, lfirst_int(lc));
	}
	return rt_fetch(ref->rtindex, query->rtable)->inh == need->inh && bms_equal(key, need->key) && bms_is_subset(need->columns, columns);
}

static TdView *
find_keeper(const TdView *view, const TdNeed *need)
{
	ListCell   *lc;

	foreach(lc, td_views_keeping(need->relid))
	{
		TdView	   *keeper = lfirst(lc);

		if (keeper->group != view->group || keeper->owner != view->owner || strcmp(keeper->status, "failed") == 0)
			continue;
		LockRelationOid(keeper->relation, AccessShareLock);
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(keeper->relation)) && serves(keeper, need))
			return keeper;
	}
	return NULL;
}

/* ---- a new one ---- */

static void
append_column(StringInfo sql, Oid relid, int attnum)
{
	const char *name = quote_identifier(get_attname(relid, attnum, false));

	appendStringInfo(sql, "%sr.%s AS %s", sql->len > 7 ? ", " : "", name, name);
}

/* SELECT the key first, then the other columns. */
static char *
keeper_query(const TdNeed *need)
{
	StringInfoData sql;
	int			attnum = -1;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	while ((attnum = bms_next_member(need->key, attnum)) >= 0)
		append_column(&sql, need->relid, attnum);
	attnum = -1;
	while ((attnum = bms_next_member(need->columns, attnum)) >= 0)
		if (!bms_is_member(attnum, need->key))
			append_column(&sql, need->relid, attnum);
	appendStringInfo(&sql, " FROM %s%s r", need->inh ? "" : "ONLY ",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(need->relid)), get_rel_name(need->relid)));
	return sql.data;
}

/* As td_view_complete does for what a user asks for. */
static TdView *
make_keeper(const TdView *view, const TdNeed *need, const char *draft_schema, List *options)
{
	TdView	   *keeper = palloc0(sizeof(TdView));
	Query	   *query = td_query_analyse(keeper_query(need));
	TdError		err = {0};
	TdShape    *shape = td_analyze_keeper(query, view->owner, bms_num_members(need->key), &err);

	if (shape == NULL)
		td_error_raise_own(&err);
	options = td_view_options_for(options, 'k');
	keeper->id = linitial_int(td_view_reserve(1));
	keeper->part_of = keeper->id;
	keeper->keeps = bms_num_members(need->key);
	keeper->owner = view->owner;
	keeper->relation = td_parts_table(psprintf("v%d_k", keeper->id), shape, NIL, options);
	keeper->twin = td_view_create_twin(draft_schema, TD_PART_SCHEMA, psprintf("v%d_k_q", keeper->id), keeper->relation, td_query_text(query));
	keeper->query = keeper->twin;
	td_twin_needs(keeper->twin, shape->proofs);
	td_view_add(keeper, options, DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")), "kept");
	td_view_add_base(keeper->id, need->relid, shape->occurrences[0].columns);
	td_write_guard(keeper->relation, true);
	CommandCounterIncrement();
	return keeper;
}

/* ---- what a view needs ---- */

static void
refuse_mixed(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("old rows of table \"%s\" can't be kept: the view reads it both with and without ONLY", get_rel_name(relid)),
			 errhint("Leave the option \"old_images\" out, or make two views of it.")));
}

/* A search for rows of a table that are used as a whole. */
typedef struct TdWholeRow
{
	Oid			relid;
	List	   *levels;			/* of Query *: the innermost first */
} TdWholeRow;

static bool
has_whole_row(Node *node, TdWholeRow *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		const Var  *var = (const Var *) node;
		const Query *query = var->varattno == 0 && var->varlevelsup < list_length(search->levels) ? list_nth(search->levels, var->varlevelsup) : NULL;

		return query && rt_fetch(var->varno, query->rtable)->rtekind == RTE_RELATION && rt_fetch(var->varno, query->rtable)->relid == search->relid;
	}
	if (IsA(node, Query))
	{
		bool		found;

		search->levels = lcons(node, search->levels);
		found = query_tree_walker((Query *) node, has_whole_row, search, 0);
		search->levels = list_delete_first(search->levels);
		return found;
	}
	return expression_tree_walker(node, has_whole_row, search);
}

/* Such a row has each column that is added later, of which no old values would be kept. */
static void
refuse_whole_row(const TdView *view, Oid relid)
{
	TdWholeRow	search = {relid, NIL};

	if (has_whole_row((Node *) td_twin_query(view->query), &search))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("old rows of table \"%s\" can't be kept: the view uses a row of it as a whole", get_rel_name(relid)),
				 errdetail("It would need old values of each column that is added to the table."),
				 errhint("Name the columns, as jsonb_build_object or a subquery do; or leave the option \"old_images\" out.")));
}

/* The n-th occurrence of a shape, with all others of the same table; false = an earlier one has told of that. */
static bool
take_need(const TdShape *shape, int n, TdNeed *need)
{
	const TdOccurrence *o = &shape->occurrences[n];

	memset(need, 0, sizeof(*need));
	need->relid = o->relid;
	need->inh = o->inh;
	for (int i = 0; i < shape->noccurrences; i++)
	{
		const TdOccurrence *other = &shape->occurrences[i];

		if (other->relid != o->relid)
			continue;
		if (i < n)
			return false;
		if (other->inh != o->inh && has_subclass(o->relid))
			refuse_mixed(o->relid);
		need->inh |= other->inh;
		need->columns = bms_add_members(need->columns, other->columns);
	}
	return true;
}

/* The rows of the view are in the catalog; draft_schema: where the caller may make a view. */
void
td_kept_need(const TdView *view, TdShape *shape, const char *draft_schema, List *options)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		TdNeed		need;
		TdView	   *keeper;

		if (shape->occurrences[i].view != 0 || !take_need(shape, i, &need) || !find_key(&need))
			continue;
		refuse_whole_row(view, need.relid);
		keeper = find_keeper(view, &need);
		if (keeper == NULL)
			keeper = make_keeper(view, &need, draft_schema, options);
		td_view_add_kept(view->id, keeper->id);
		td_twin_needs(view->query, td_twin_proofs(keeper->query));
		CommandCounterIncrement();
	}
	td_shape_learn(shape, view->id);
}

/* What the options of views say of those by which they learn of changes. */
void
td_kept_alter(const List *views, List *options)
{
	List	   *some = td_view_options_for(options, 'k');
	ListCell   *lc,
			   *lk;

	if (some == NIL)
		return;
	foreach(lc, views)
		foreach(lk, td_view_kept(((TdView *) lfirst(lc))->id))
			td_view_alter(td_view_load(((TdKept *) lfirst(lk))->id), some);
}

/* The columns of a table by which rows that are kept of it are found.  A keeper may go while its lock is waited for: it needs none then. */
Bitmapset *
td_kept_keys(Oid relation)
{
	Bitmapset  *keys = NULL;
	ListCell   *lc;

	foreach(lc, td_views_keeping(relation))
	{
		const TdView *keeper = lfirst(lc);
		Relation	twin = try_relation_open(keeper->query, AccessShareLock);
		List	   *columns = twin ? td_keeper_columns(td_twin_query(keeper->query)) : NIL;

		for (int i = 0; i < keeper->keeps && twin; i++)
			keys = bms_add_member(keys, list_nth_int(columns, i));
		if (twin)
			relation_close(twin, AccessShareLock);
	}
	return keys;
}

/* Those by which any of the views learns of changes that have failed, before the views themselves. */
List *
td_kept_failed(List *views)
{
	List	   *failed = NIL;
	ListCell   *lc,
			   *lk;

	foreach(lc, views)
		foreach(lk, td_view_kept(((TdView *) lfirst(lc))->id))
		{
			TdView	   *keeper = td_view_load(((TdKept *) lfirst(lk))->id);

			if (keeper != NULL && strcmp(keeper->status, "failed") == 0)
				failed = lappend(failed, keeper);
		}
	return list_concat(failed, views);
}

/* ---- after views are gone ---- */

static bool
is_unread(int32 id)
{
	ListCell   *lc;

	foreach(lc, td_views_unread())
		if (((TdView *) lfirst(lc))->id == id)
			return true;
	return false;
}

/* Drops what nobody needs any more; true = something.  A tick that has it is waited for, as for the view itself. */
bool
td_kept_drop_unread(void)
{
	bool		dropped = false;
	TdCatalogScope scope;
	ListCell   *lc;

	foreach(lc, td_views_unread())
	{
		const TdView *keeper = lfirst(lc);

		LockRelationOid(keeper->relation, AccessExclusiveLock);
		if (!is_unread(keeper->id) || get_rel_name(keeper->relation) == NULL)
			continue;
		td_catalog_enter(&scope);
		td_run_as_caller(psprintf("DROP TABLE " TD_PART_SCHEMA ".%s", quote_identifier(get_rel_name(keeper->relation))));
		td_catalog_leave(&scope);
		dropped = true;
	}
	if (dropped)
		CommandCounterIncrement();
	return dropped;
}
