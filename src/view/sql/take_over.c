/*-------------------------------------------------------------------------
 *
 * take_over.c
 *		A new definition takes the place of the old one: what it does to tables,
 *		SQL views and their dependencies.
 *
 * NOTES
 *		View worker, within a tick, in a subtransaction.  All that is touched has
 *		been locked before the tick's snapshot.
 *
 *		The view's table and its twin stay, with all that hangs on them: the table
 *		gets the columns, keys and indexes of the new one's, the twin gets the new
 *		one's rule, as it was analysed (nothing that a user wrote is parsed here).
 *		The new one's state table, kept query and parts become the view's own.  The
 *		old ones go, and at last the new one's own table and twin.
 *
 *		The table is changed as its owner: checks of domains may run.
 *
 * IDENTIFICATION
 *		src/view/sql/take_over.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteDefine.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteSupport.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "view/sql/sql_internal.h"

#define STATE_SCHEMA "tapdata_state"

static List *add_lock(List *locks, Oid relid, LOCKMODE mode);
static List *add_own(List *locks, const TdView *view);
static Oid	state_of(int32 id);
static List *old_parts(const TdView *old);
static void drop_old(const TdView *old);
static void drop_part(Oid relid);
static void hand_over(const TdView *old, const TdView *new);
static void move_part(Oid relid, const TdView *old, const TdView *new);
static void copy_rule(Oid from, Oid to);
static List *missing_columns(TupleDesc from, TupleDesc to);
static void reshape(const TdView *old, const TdView *new, bool rows_are_there);
static void run_step(const TdView *old, const TdPair *step, const char *table);
static void widen_feed(const TdView *old, List *steps);
static void run_with_ddl(void (*body) (const TdView *old, const TdView *new), const TdView *old, const TdView *new);

/* ---- what must be locked ---- */

/* Of TdLock *.  Readers of the view are only waited for where its table changes. */
List *
td_view_take_over_locks(const TdView *old, const TdView *new)
{
	bool		changes = td_view_reshape(old->relation, new->relation) != NIL;
	List	   *locks = add_lock(NIL, old->relation, changes ? AccessExclusiveLock : ShareRowExclusiveLock);
	ListCell   *lc;

	if (changes)
		locks = add_lock(locks, td_feed_table(old->id), AccessExclusiveLock);
	locks = add_lock(locks, new->relation, AccessExclusiveLock);
	locks = add_own(locks, old);
	locks = add_own(locks, new);
	foreach(lc, old_parts(old))
	{
		locks = add_lock(locks, ((TdView *) lfirst(lc))->relation, AccessExclusiveLock);
		locks = add_own(locks, lfirst(lc));
	}
	return locks;
}

static List *
add_lock(List *locks, Oid relid, LOCKMODE mode)
{
	TdLock	   *lock = palloc(sizeof(TdLock));

	lock->relid = relid;
	lock->mode = mode;
	return OidIsValid(relid) ? lappend(locks, lock) : locks;
}

/* Its SQL views and its state. */
static List *
add_own(List *locks, const TdView *view)
{
	locks = add_lock(locks, view->twin, AccessExclusiveLock);
	if (view->query != view->twin)
		locks = add_lock(locks, view->query, AccessExclusiveLock);
	return add_lock(locks, state_of(view->id), AccessExclusiveLock);
}

/* ---- before the rows ---- */

static void
take_definition(const TdView *old, const TdView *new)
{
	reshape(old, new, false);
	drop_old(old);
	hand_over(old, new);
	copy_rule(new->twin, old->twin);
	td_view_take_over(old->id, new->id);
	CommandCounterIncrement();
}

/* The view's table can hold both sets of rows, everything else is as the new definition has it. */
void
td_view_take_definition(const TdView *old, const TdView *new)
{
	run_with_ddl(take_definition, old, new);
}

/* InvalidOid = it has none. */
static Oid
state_of(int32 id)
{
	return get_relname_relid(psprintf("v%d_1", id), get_namespace_oid(STATE_SCHEMA, false));
}

static List *
old_parts(const TdView *old)
{
	List	   *parts = NIL;
	ListCell   *lc;

	foreach(lc, td_view_parts(old->id))
	{
		TdView	   *part = lfirst(lc);

		if (part->part_of == old->id && part->replaces == 0)
			parts = lcons(part, parts);
	}
	return parts;
}

/* State, kept query, and parts, those above others first. */
static void
drop_old(const TdView *old)
{
	ListCell   *lc;

	if (OidIsValid(state_of(old->id)))
		drop_part(state_of(old->id));
	if (old->query != old->twin)
		drop_part(old->query);
	foreach(lc, old_parts(old))
		drop_part(((TdView *) lfirst(lc))->relation);
	CommandCounterIncrement();
}

/* As an inner part of something it could not be dropped alone. */
static void
drop_part(Oid relid)
{
	ObjectAddress part;

	ObjectAddressSet(part, RelationRelationId, relid);
	deleteDependencyRecordsForClass(RelationRelationId, relid, RelationRelationId, DEPENDENCY_INTERNAL);
	CommandCounterIncrement();
	performDeletion(&part, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
}

/* What is called after a view's number is called after the old one's. */
static void
hand_over(const TdView *old, const TdView *new)
{
	Oid			state = state_of(new->id);
	ListCell   *lc;

	if (OidIsValid(state))
	{
		move_part(state, old, new);
		RenameRelationInternal(state, psprintf("v%d_1", old->id), true, false);
	}
	if (new->query != new->twin)
	{
		move_part(new->query, old, new);
		RenameRelationInternal(new->query, psprintf("v%d_q", old->id), true, false);
	}
	foreach(lc, td_view_parts(new->id))
		move_part(((TdView *) lfirst(lc))->relation, old, new);
	CommandCounterIncrement();
}

static void
move_part(Oid relid, const TdView *old, const TdView *new)
{
	if (changeDependencyFor(RelationRelationId, relid, RelationRelationId, new->relation, old->relation) != 1)
		elog(ERROR, "relation %u is not a part of the table %u", relid, new->relation);
}

/* One SQL view becomes what another one is; its columns are the first of that one's. */
static void
copy_rule(Oid from, Oid to)
{
	Relation	source = table_open(from, AccessExclusiveLock);
	Relation	target = table_open(to, AccessExclusiveLock);
	Query	   *query = copyObject(get_view_query(source));
	List	   *columns = missing_columns(RelationGetDescr(source), RelationGetDescr(target));
	ListCell   *lc;

	foreach(lc, query->rtable)	/* old and new of a rule, which some versions have there */
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relid == from)
			rte->relid = to;
	}
	table_close(source, NoLock);
	table_close(target, NoLock);
	if (columns != NIL)
		AlterTableInternal(to, columns, false);
	CommandCounterIncrement();
	DefineQueryRewrite(pstrdup(ViewSelectRuleName), to, NULL, CMD_SELECT, true, true, list_make1(query));
	CommandCounterIncrement();
}

/* As commands. */
static List *
missing_columns(TupleDesc from, TupleDesc to)
{
	List	   *commands = NIL;

	for (int i = to->natts; i < from->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(from, i);
		AlterTableCmd *add = makeNode(AlterTableCmd);

		add->subtype = AT_AddColumnToView;
		add->def = (Node *) makeColumnDef(NameStr(a->attname), a->atttypid, a->atttypmod, a->attcollation);
		commands = lappend(commands, add);
	}
	return commands;
}

/* ---- after the rows ---- */

static void
take_shape(const TdView *old, const TdView *new)
{
	reshape(old, new, true);
	drop_part(new->relation);
	CommandCounterIncrement();
}

/* They are there: the table gets its keys, nothing is left of the new one beside it. */
void
td_view_take_shape(const TdView *old, const TdView *new)
{
	TdError		entry;

	td_twin_needs(old->twin, td_twin_proofs(new->twin));
	run_with_ddl(take_shape, old, new);
	memset(&entry, 0, sizeof(entry));
	strlcpy(entry.message, "view has its new definition", sizeof(entry.message));
	td_log("info", "view", old->name, old->owner, &entry);
}

/* ---- the table ---- */

/* The steps of td_view_reshape that come before the rows, or those after them. */
static void
reshape(const TdView *old, const TdView *new, bool rows_are_there)
{
	List	   *steps = td_view_reshape(old->relation, new->relation);
	char	   *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(old->relation)), get_rel_name(old->relation));
	TdViewScope scope;
	ListCell   *lc;

	td_scope_enter(&scope, old, false);
	td_scope_write(&scope, true);	/* the steps are ALTER TABLE */
	foreach(lc, steps)
	{
		TdPair	   *step = lfirst(lc);

		if ((step->name[0] >= '6') == rows_are_there && step->name[0] != '8')
			run_step(old, step, table);
	}
	td_scope_leave(&scope);
	foreach(lc, steps)
		if (rows_are_there && ((TdPair *) lfirst(lc))->name[0] == '8')
			drop_part(atooid(((TdPair *) lfirst(lc))->value));
	if (!rows_are_there)
		widen_feed(old, steps);
}

static void
run_step(const TdView *old, const TdPair *step, const char *table)
{
	static const char *const alter[] = {"ALTER TABLE %s DROP CONSTRAINT %s", "ALTER TABLE %s ALTER %s DROP NOT NULL", "ALTER TABLE %s ADD COLUMN %s",
	NULL, NULL, "ALTER TABLE %s ALTER %s SET NOT NULL", "ALTER TABLE %s ADD %s"};
	const char *format = alter[step->name[0] - '1'];

	if (format)
		td_run_as_caller(psprintf(format, table, step->value));
	else
		td_view_create_index(get_rel_namespace(old->relation), get_rel_name(old->relation), strncmp(step->value, "tapdata.", 8) == 0 ? "row_hash" : "part", psprintf("(%s)", step->value));
	CommandCounterIncrement();
}

/*
 * A column that comes later is null in all rows, and whether a domain takes that PostgreSQL asks of its constraints when it adds it: as the owner of the
 * feed, a superuser, where they are the user's.  Whether it has any may change at any moment, so none is taken.
 */
static void
refuse_domains(const TdView *old)
{
	Relation	rel = table_open(old->relation, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(desc, i);

		if (!a->attisdropped && get_typtype(a->atttypid) == TYPTYPE_DOMAIN && get_attnum(td_feed_table(old->id), NameStr(a->attname)) == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("new column \"%s\" of view %s has a domain, and changes of the view are kept", NameStr(a->attname), old->name),
					 errhint("Cast it to the domain's base type. Or turn the option \"changes\" off, replace the view, and turn it on again.")));
	}
	table_close(rel, NoLock);
}

/* Changes that are kept from before have nulls in the columns that came later, as the rows they are about had. */
static void
widen_feed(const TdView *old, List *steps)
{
	char	   *feed = psprintf(STATE_SCHEMA ".v%d_c", old->id);
	ListCell   *lc;

	if (!OidIsValid(td_feed_table(old->id)))
		return;
	refuse_domains(old);
	foreach(lc, steps)
		if (((TdPair *) lfirst(lc))->name[0] == '2' || ((TdPair *) lfirst(lc))->name[0] == '3')
			run_step(old, lfirst(lc), feed);
	td_view_skip_statistics(STATE_SCHEMA, psprintf("v%d_c", old->id));
}

/* None of it is the user's DDL. */
static void
run_with_ddl(void (*body) (const TdView *old, const TdView *new), const TdView *old, const TdView *new)
{
	td_view_ddl = true;
	PG_TRY();
	{
		body(old, new);
	}
	PG_FINALLY();
	{
		td_view_ddl = false;
	}
	PG_END_TRY();
}
