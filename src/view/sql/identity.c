/*-------------------------------------------------------------------------
 *
 * identity.c
 *		Replica identities of base tables: views need the old values of the
 *		columns they use.
 *
 * NOTES
 *		Sessions.  A table (or partition) whose identity does not cover the used
 *		columns gets REPLICA IDENTITY FULL, by its owner only.  What it was stands
 *		in tapdata.replica_identity until no view needs it any more; then it is
 *		set back, unless somebody has changed it meanwhile.
 *
 *		The change needs ACCESS EXCLUSIVE until the end of the transaction.  It is
 *		waited for a short time at a time, so that writers never queue behind it
 *		for longer.  Who makes a view holds ACCESS SHARE on what it reads until its
 *		rows are committed; so with the exclusive lock one knows of all views.
 *
 * IDENTIFICATION
 *		src/view/sql/identity.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "capture/capture.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

#include "view/sql/sql_internal.h"
#include "view/view.h"

#define TRIES 20
#define TRY_TEXT "500ms"

static void set_full(List *changes);
static List *needs_of_shape(List *changes, List **relations, const TdShape *shape);
static List *need_of_table(List *changes, List **relations, Oid relation, Oid root, const Bitmapset *columns);
static bool lacks(TdIdentity *is, Oid relation, Oid root, const Bitmapset *columns);
static Bitmapset *columns_needed(Oid relation);
static Bitmapset *same_columns(Oid from, Oid to, const Bitmapset *columns);
static Oid	identity_index(Relation rel);
static char *full_statement(Oid relation);
static bool lock_tables(List *relations, int tries);
static void pause_between_tries(int i);
static bool try_to_lock(List *relations);
static bool still_needed(const TdIdentity *was);
static void restore(const TdIdentity *was);
static void try_to_set_back(const TdIdentity *was, const char *statement);
static bool set_back(const TdIdentity *was, bool unconditional);

/* ---- a new view ---- */

/*
 * The rows of the view and its parts are in the catalog, or what is done here could be set
 * back at once.  All tables are locked before the first is changed: a lock kept
 * while waiting for the next would meet writers that hold them the other way
 * round.
 */
void
td_identity_need(const List *shapes)
{
	List	   *changes = NIL;
	List	   *relations = NIL;
	ListCell   *lc;

	foreach(lc, shapes)
		changes = needs_of_shape(changes, &relations, lfirst(lc));
	list_sort(relations, list_oid_cmp);
	if (!lock_tables(relations, TRIES))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("base tables could not be locked to change their replica identity"),
				 errdetail("Other transactions have used them during each of %d attempts of " TRY_TEXT ".", TRIES),
				 errhint("Try again when they have ended, or run: %s;", full_statement(((TdIdentity *) linitial(changes))->relation))));
	set_full(changes);
}

static void
set_full(List *changes)
{
	ListCell   *lc;

	foreach(lc, changes)
	{
		TdIdentity *was = lfirst(lc);

		td_warn_of_wide_rows(was->relation);
		td_run_as_caller(full_statement(was->relation));
		td_identity_keep(was, true);
	}
}

/*
 * All tables that it reads.  Of each, the columns of all views count: capture asks for
 * them together, and a view that is always computed as a whole needs none by itself,
 * but beside others its columns must not make a change unknown to those.
 */
static List *
needs_of_shape(List *changes, List **relations, const TdShape *shape)
{
	ListCell   *lc;

	for (int i = 0; i < shape->noccurrences; i++)
	{
		const TdOccurrence *o = &shape->occurrences[i];
		const Bitmapset *columns = o->view == 0 ? columns_needed(o->relid) : NULL;

		if (o->view != 0)
			continue;
		foreach(lc, o->inh ? find_all_inheritors(o->relid, AccessShareLock, NULL) : list_make1_oid(o->relid))
			if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION && !list_member_oid(*relations, lfirst_oid(lc)))
				changes = need_of_table(changes, relations, lfirst_oid(lc), o->relid, columns);
	}
	return changes;
}

bool
td_identity_lacks(Oid relation)
{
	TdIdentity	is;
	ListCell   *lc;

	foreach(lc, lcons_oid(relation, td_tables_above(relation)))
		if (lacks(&is, relation, lfirst_oid(lc), columns_needed(lfirst_oid(lc))))
			return true;
	return false;
}

/* What the views read that the caller may look at. */
static List *
tables_read(void)
{
	bool		all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	List	   *tables = NIL;
	ListCell   *lc,
			   *lp;

	foreach(lc, td_views_all())
	{
		TdView	   *view = lfirst(lc);

		if (all || has_privs_of_role(GetUserId(), view->owner))
			foreach(lp, lappend(td_view_parts(view->id), view))
				tables = list_concat_unique_oid(tables, td_view_bases(((TdView *) lfirst(lp))->id));
	}
	return tables;
}

/* Who has it locked is not waited for. */
static bool
lacks_now(Oid table)
{
	bool		lacking;

	if (get_rel_relkind(table) != RELKIND_RELATION || td_view_of(table, true) != NULL || !ConditionalLockRelationOid(table, AccessShareLock))
		return false;
	lacking = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)) && td_identity_lacks(table);
	UnlockRelationOid(table, AccessShareLock);
	return lacking;
}

List *
td_view_tables_lacking(void)
{
	List	   *tables = NIL;
	List	   *lacking = NIL;
	ListCell   *lc;

	foreach(lc, tables_read())
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			tables = list_concat_unique_oid(tables, find_all_inheritors(lfirst_oid(lc), NoLock, NULL));
	foreach(lc, tables)
	{
		TdPair	   *pair = palloc(sizeof(TdPair));

		if (!lacks_now(lfirst_oid(lc)))
			continue;
		pair->name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(lfirst_oid(lc))), get_rel_name(lfirst_oid(lc)));
		pair->value = psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY %s;", pair->name, td_identity_enough(lfirst_oid(lc)));
		lacking = lappend(lacking, pair);
	}
	return lacking;
}

const char *
td_identity_enough(Oid relation)
{
	Relation	rel = table_open(relation, AccessShareLock);
	Bitmapset  *key = td_identity_columns(rel, REPLICA_IDENTITY_DEFAULT, InvalidOid);
	bool		covered = bms_is_subset(columns_needed(relation), key);
	ListCell   *lc;

	foreach(lc, td_tables_above(relation))
		covered &= bms_is_subset(same_columns(lfirst_oid(lc), relation, columns_needed(lfirst_oid(lc))), key);
	table_close(rel, NoLock);
	return covered ? "DEFAULT" : "FULL";
}

/* A table has come below others, which views read; it is locked, and whoever put it there owns it. */
void
td_identity_need_below(Oid relation)
{
	List	   *changes = NIL;
	List	   *relations = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relation, AccessShareLock, NULL))
	{
		ListCell   *la;

		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_RELATION)
			continue;
		foreach(la, td_tables_above(lfirst_oid(lc)))
			if (!list_member_oid(relations, lfirst_oid(lc)))
				changes = need_of_table(changes, &relations, lfirst_oid(lc), lfirst_oid(la), columns_needed(lfirst_oid(la)));
	}
	set_full(changes);
}

/* Does the identity of a table, *is, not cover these columns (as root numbers them)? */
static bool
lacks(TdIdentity *is, Oid relation, Oid root, const Bitmapset *columns)
{
	Relation	rel = table_open(relation, AccessShareLock);
	bool		covered;

	is->relation = relation;
	is->kind = rel->rd_rel->relreplident;
	is->index = is->kind == REPLICA_IDENTITY_INDEX ? identity_index(rel) : InvalidOid;
	covered = is->kind == REPLICA_IDENTITY_FULL ||
		bms_is_subset(same_columns(root, relation, columns), td_identity_columns(rel, is->kind, is->index));
	table_close(rel, NoLock);
	return !covered;
}

static Oid
owner_of(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner = HeapTupleIsValid(tuple) ? ((Form_pg_class) GETSTRUCT(tuple))->relowner : InvalidOid;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return owner;
}

/* One table that holds rows; adds what has to be changed on it. */
static List *
need_of_table(List *changes, List **relations, Oid relation, Oid root, const Bitmapset *columns)
{
	TdIdentity	was;
	TdIdentity *change;

	if (!lacks(&was, relation, root, columns))
		return changes;
	if (!has_privs_of_role(GetUserId(), owner_of(relation)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the view needs old values of table \"%s\", and only its owner may have them written", get_rel_name(relation)),
				 errdetail("Columns that it uses are not in the table's replica identity."),
				 errhint("Let %s run: %s;%s", td_role_text(owner_of(relation)), full_statement(relation),
						 td_kept_keys(relation) == NULL && td_kept_possible(root) ?
						 " or give the view the option {\"old_images\": \"kept\"}: a table of its own has the old values then, nothing is changed on this one." : "")));
	change = palloc(sizeof(TdIdentity));
	*change = was;
	*relations = lappend_oid(*relations, relation);
	return lappend(changes, change);
}

/* Of which changes must tell old values. */
static Bitmapset *
columns_needed(Oid relation)
{
	return bms_add_members(td_kept_keys(relation), td_view_columns(relation));
}

/* The same columns in a partition or child, by name. */
static Bitmapset *
same_columns(Oid from, Oid to, const Bitmapset *columns)
{
	Bitmapset  *there = NULL;
	int			column = -1;

	while ((column = bms_next_member(columns, column)) >= 0)
	{
		char	   *name = from == to ? NULL : get_attname(from, column, true);
		AttrNumber	attnum = from == to ? column : name ? get_attnum(to, name) : InvalidAttrNumber;

		if (attnum > 0)
			there = bms_add_member(there, attnum);
	}
	return there;
}

/* The columns whose old values are written under an identity (but FULL). */
Bitmapset *
td_identity_columns(Relation rel, char kind, Oid index)
{
	Bitmapset  *columns = NULL;
	HeapTuple	tuple;
	Form_pg_index form;

	if (kind == REPLICA_IDENTITY_DEFAULT)
	{
		(void) RelationGetIndexList(rel);
		index = rel->rd_pkindex;
	}
	if (kind == REPLICA_IDENTITY_NOTHING || !OidIsValid(index))
		return NULL;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < form->indnkeyatts; i++)
		columns = bms_add_member(columns, form->indkey.values[i]);
	ReleaseSysCache(tuple);
	return columns;
}

/* The index of REPLICA IDENTITY USING INDEX. */
static Oid
identity_index(Relation rel)
{
	(void) RelationGetIndexList(rel);
	return rel->rd_replidindex;
}

static char *
full_statement(Oid relation)
{
	return psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation)));
}

/*
 * Locks them exclusively, all or none; false = not to be had.  The time is
 * shorter than deadlock_timeout is by default: it is we who step back, not a
 * writer.
 */
static bool
lock_tables(List *relations, int tries)
{
	int			level = NewGUCNestLevel();
	bool		locked = relations == NIL;

	(void) set_config_option("lock_timeout", TRY_TEXT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	for (int i = 0; i < tries && !locked; i++)
	{
		if (i > 0)
			pause_between_tries(i);
		locked = try_to_lock(relations);
	}
	AtEOXact_GUC(true, level);
	return locked;
}

/* So that those who waited for us get through. */
static void
pause_between_tries(int i)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20 * i + MyProcPid % 50, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static bool
try_to_lock(List *relations)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		ListCell   *lc;

		foreach(lc, relations)
			LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && edata->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			ReThrowError(edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	return done;
}

/* ---- after views are gone ---- */

/* Sets back what no view needs any more; where that can't be done now, a later call will. */
void
td_identity_restore(void)
{
	ListCell   *lc;

	foreach(lc, td_identities(false))
		if (!still_needed(lfirst(lc)))
			restore(lfirst(lc));
}

/* Does a view use columns of it, or of a table above it, beyond the old identity? */
static bool
still_needed(const TdIdentity *was)
{
	Relation	rel;
	Bitmapset  *used;
	ListCell   *lc;
	bool		needed;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(was->relation)))
		return false;
	/* whoever has it locked is not waited for: any DDL in the database may have brought us here */
	if (!ConditionalLockRelationOid(was->relation, AccessShareLock))
		return true;
	rel = try_relation_open(was->relation, NoLock);
	if (rel == NULL)
		return false;
	used = columns_needed(was->relation);
	foreach(lc, td_tables_above(was->relation))
		used = bms_add_members(used, same_columns(lfirst_oid(lc), was->relation, columns_needed(lfirst_oid(lc))));
	needed = !bms_is_subset(used, td_identity_columns(rel, was->kind, was->index));
	relation_close(rel, NoLock);
	return needed;
}

/* When the extension has gone, with all views: what td_identities(true) said before. */
void
td_identity_restore_all(List *identities)
{
	ListCell   *lc;

	foreach(lc, identities)
		(void) set_back(lfirst(lc), true);
}

static void
restore(const TdIdentity *was)
{
	if (set_back(was, false))
		td_identity_keep(was, false);
}

/* By names, which stay what they are only while the table is locked.  NULL = it is gone. */
static char *
set_back_statement(const TdIdentity *was)
{
	char	   *schema = get_namespace_name(get_rel_namespace(was->relation));
	char	   *table = get_rel_name(was->relation);
	char	   *index = OidIsValid(was->index) ? get_rel_name(was->index) : NULL;

	if (schema == NULL || table == NULL)
		return NULL;
	return psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY %s%s", quote_qualified_identifier(schema, table),
					was->kind == REPLICA_IDENTITY_NOTHING ? "NOTHING" : index ? "USING INDEX " : "DEFAULT",
					index ? quote_identifier(index) : "");
}

/* An index that is none for an identity any more, for instance: that must not keep anybody from dropping a view. */
static void
try_to_set_back(const TdIdentity *was, const char *statement)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		td_run_as_caller(statement);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(edata);
		ereport(NOTICE,
				(errmsg("table %s keeps REPLICA IDENTITY FULL: %s", get_rel_name(was->relation), edata->message),
				 errdetail("It was to be set back: %s;", statement),
				 errhint("Choose another one with ALTER TABLE ... REPLICA IDENTITY, if its write-ahead log matters.")));
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

/* By the extension: the owner agreed when it was changed.  False = it is needed, or could not be locked. */
static bool
set_back(const TdIdentity *was, bool unconditional)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(was->relation));
	bool		changed = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relreplident == REPLICA_IDENTITY_FULL;
	char	   *statement;
	TdCatalogScope scope;
	bool		locked;
	bool		needed;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!changed)
		return true;
	td_catalog_enter(&scope);
	locked = lock_tables(list_make1_oid(was->relation), 1);
	statement = set_back_statement(was);
	needed = locked && statement && !unconditional && still_needed(was);	/* who held the lock may have made a view */
	if (locked && statement && !needed)
		try_to_set_back(was, statement);
	td_catalog_leave(&scope);
	if (!locked && statement)
		ereport(NOTICE,
				(errmsg("table %s keeps REPLICA IDENTITY FULL, it could not be locked", get_rel_name(was->relation)),
				 errhint("Run: %s;", statement)));
	return statement == NULL || (locked && !needed);
}
