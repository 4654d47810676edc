/*-------------------------------------------------------------------------
 *
 * refuse_ddl.c
 *		Plain DDL that a live view does not survive.
 *
 * NOTES
 *		Any backend that has the library, before the command.  Refused is what
 *		changes a twin, or makes the view's table another one than the query's:
 *		columns, keys, rules, parents and children, triggers and foreign keys
 *		(rows are written without firing any), row security of the owner himself;
 *		and of base tables nulls in columns that a view counts on not to have any,
 *		and what would log no changes any more.
 *		drop_view is the way.
 *
 *		It guards against mistakes: names are looked up without a lock.
 *
 * IDENTIFICATION
 *		src/view/sql/refuse_ddl.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "view/sql/sql_internal.h"

#define COLUMNS "its columns"
#define ANEW "Give it another query, which may have more columns: SELECT tapdata.create_view(%s, ..., or_replace => true); or drop it and create it anew: SELECT tapdata.drop_view(%s)."
#define GUARD "tapdata_refuse_write"	/* the trigger of catalog/guard.c */

/* What ALTER TABLE may not do to the table of a view. */
static const struct
{
	AlterTableType type;
	const char *what;
}			refused[] = {
	{AT_AddColumn, COLUMNS},
	{AT_DropColumn, COLUMNS},
	{AT_AlterColumnType, COLUMNS},
	{AT_SetNotNull, COLUMNS},
	{AT_AddConstraint, "its constraints"},
	{AT_DropConstraint, "its constraints"},
	{AT_AddInherit, "its parents and children"},
	{AT_AttachPartition, "its parents and children"},
	{AT_AddOf, "its parents and children"},
	{AT_SetLogged, "its persistence"},
	{AT_SetUnLogged, "its persistence"},
	{AT_SetAccessMethod, "its access method"},
	{AT_ForceRowSecurity, "row security for its owner"},
};

static TdView *view_of_table(Oid relation);
static void refuse_on_twin(Oid relation);
static void refuse_on_part(Oid relation);
static void refuse_on_state(Oid relation, const char *what);
static void refuse_on_table(Oid relation, const char *what);
static void refuse_alter(AlterTableStmt *statement, Oid relation);
static void refuse_guard_off(Oid relation);
static void refuse_nulls(Oid relation, const char *column);
static void refuse_unlogged(Oid relation);
static void refuse_create(CreateStmt *statement);
static void refuse_constraints(List *constraints);
static void refuse_constraint(Constraint *constraint);
static void refuse_trigger(CreateTrigStmt *statement);
static void refuse_drop_keeper(const TdView *view);
static void refuse_drop(DropStmt *statement);
static void refuse_drop_trigger(List *name);

void
td_view_refuse_ddl(Node *statement)
{
	Oid			relation = InvalidOid;

	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			relation = td_find_relation(castNode(AlterTableStmt, statement)->relation);
			refuse_on_part(relation);
			refuse_alter(castNode(AlterTableStmt, statement), relation);
			break;
		case T_RenameStmt:
			relation = td_find_relation(castNode(RenameStmt, statement)->relation);
			refuse_on_part(relation);
			if (castNode(RenameStmt, statement)->renameType == OBJECT_COLUMN)
			{
				refuse_on_table(relation, COLUMNS);
				refuse_on_state(relation, COLUMNS);
			}
			break;
		case T_AlterObjectSchemaStmt:
			relation = td_find_relation(castNode(AlterObjectSchemaStmt, statement)->relation);
			refuse_on_part(relation);
			break;
		case T_ViewStmt:
			if (castNode(ViewStmt, statement)->replace)
				relation = td_find_relation(castNode(ViewStmt, statement)->view);
			break;
		case T_RuleStmt:
			relation = td_find_relation(castNode(RuleStmt, statement)->relation);
			refuse_on_table(relation, "its rules");
			break;
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			refuse_create((CreateStmt *) statement);
			break;
		case T_CreateTrigStmt:
			refuse_trigger(castNode(CreateTrigStmt, statement));
			break;
		case T_DropStmt:
			refuse_drop(castNode(DropStmt, statement));
			break;
		default:
			break;
	}
	refuse_on_twin(relation);
}

/* ---- relations ---- */

Oid
td_find_relation(RangeVar *range)
{
	return range == NULL ? InvalidOid : RangeVarGetRelid(range, NoLock, true);
}

List *
td_named_relations(Node *statement)
{
	List	   *relations = NIL;
	DropStmt   *drop;
	ListCell   *lc;

	if (IsA(statement, AlterTableStmt))
		return list_make1_oid(td_find_relation(castNode(AlterTableStmt, statement)->relation));
	if (!IsA(statement, DropStmt))
		return NIL;
	drop = castNode(DropStmt, statement);
	if (drop->removeType == OBJECT_TABLE || drop->removeType == OBJECT_VIEW || drop->removeType == OBJECT_INDEX)
		foreach(lc, drop->objects)
			relations = lappend_oid(relations, td_find_relation(makeRangeVarFromNameList(lfirst_node(List, lc))));
	return relations;
}

static TdView *
view_of_table(Oid relation)
{
	return OidIsValid(relation) && get_rel_relkind(relation) == RELKIND_RELATION ? td_view_of(relation, true) : NULL;
}

/* ---- the definition ---- */

/* The definition of a view stays what it is. */
static void
refuse_on_twin(Oid relation)
{
	TdView	   *view = OidIsValid(relation) && get_rel_relkind(relation) == RELKIND_VIEW ? td_view_of_twin(relation) : NULL;

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the definition of live view %s can't be changed", view->name),
				 errhint(ANEW, quote_literal_cstr(view->name), quote_literal_cstr(view->name))));
}

/* Old rows are kept for others, of which PostgreSQL does not know. */
static void
refuse_drop_keeper(const TdView *view)
{
	if (view != NULL && view->keeps > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("table %s can't be dropped alone", get_rel_name(view->relation)),
				 errdetail("It keeps old rows for live views, for %s and maybe others.", view->name),
				 errhint("It goes with the last of them: SELECT tapdata.drop_view(%s).", quote_literal_cstr(view->name))));
}

/* A twin goes with its view only; PostgreSQL says so too, but does not know the call. */
static void
refuse_drop(DropStmt *statement)
{
	ListCell   *lc;

	if (statement->removeType == OBJECT_TABLE)
		foreach(lc, td_named_relations((Node *) statement))
			refuse_drop_keeper(view_of_table(lfirst_oid(lc)));
	if (statement->removeType == OBJECT_TRIGGER)
		foreach(lc, statement->objects)
			refuse_drop_trigger(lfirst_node(List, lc));
	if (statement->removeType != OBJECT_VIEW)
		return;
	foreach(lc, td_named_relations((Node *) statement))
	{
		TdView	   *view = OidIsValid(lfirst_oid(lc)) ? td_view_of_twin(lfirst_oid(lc)) : NULL;

		if (view != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("view %s.%s can't be dropped alone", get_namespace_name(get_rel_namespace(lfirst_oid(lc))), get_rel_name(lfirst_oid(lc))),
					 errdetail("It is the definition of live view %s.", view->name),
					 errhint("Drop both: SELECT tapdata.drop_view(%s).", quote_literal_cstr(view->name))));
	}
}

/* ---- the table ---- */

/* What a view was split into is not the user's. */
static void
refuse_on_part(Oid relation)
{
	TdView	   *view = view_of_table(relation);

	if (view != NULL && view->part_of != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s can't be changed, live view %s is made of it", get_rel_name(relation), view->name),
				 errhint("Change the view itself.")));
}

static void
refuse_on_table(Oid relation, const char *what)
{
	TdView	   *view = view_of_table(relation);

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s is a live view, %s can't be changed", view->name, what),
				 errhint(ANEW, quote_literal_cstr(view->name), quote_literal_cstr(view->name))));
}

/* Tables of the state are no views; only who is a superuser gets here.  A dump of them is restored as ever: none of it changes their columns. */
static void
refuse_on_state(Oid relation, const char *what)
{
	char	   *schema = OidIsValid(relation) ? get_namespace_name(get_rel_namespace(relation)) : NULL;
	char	   *name = schema && strcmp(schema, "tapdata_state") == 0 ? get_rel_name(relation) : NULL;
	int			id = name && name[0] == 'v' ? strtol(name + 1, NULL, 10) : 0;
	TdView	   *view = id > 0 && strcmp(what, COLUMNS) == 0 ? td_view_load(id) : NULL;

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s can't be changed, live view %s has its state in it", name, view->name),
				 errhint("It goes with the view: SELECT tapdata.drop_view(%s).", quote_literal_cstr(view->name))));
}

static void
refuse_alter(AlterTableStmt *statement, Oid relation)
{
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		for (size_t i = 0; i < lengthof(refused); i++)
			if (cmd->subtype == refused[i].type)
			{
				refuse_on_table(relation, refused[i].what);
				refuse_on_state(relation, refused[i].what);
			}
		switch (cmd->subtype)
		{
			case AT_AddInherit:
				refuse_on_table(td_find_relation(castNode(RangeVar, cmd->def)), "its parents and children");
				break;
			case AT_AttachPartition:
				refuse_on_table(td_find_relation(castNode(PartitionCmd, cmd->def)->name), "its parents and children");
				break;
			case AT_AddConstraint:
				refuse_constraint(castNode(Constraint, cmd->def));
				break;
			case AT_AddColumn:
				refuse_constraints(castNode(ColumnDef, cmd->def)->constraints);
				break;
			case AT_DisableTrig:
			case AT_DisableTrigAll:
			case AT_DisableTrigUser:
			case AT_EnableReplicaTrig:
				refuse_guard_off(relation);
				break;
			case AT_SetUnLogged:
				refuse_unlogged(relation);
				break;
			case AT_DropNotNull:
				refuse_nulls(relation, cmd->name);
				break;
			default:
				break;
		}
	}
}

/* What keeps users from writing is switched by an option. */
static void
refuse_guard_off(Oid relation)
{
	TdView	   *view = view_of_table(relation);

	refuse_on_twin(relation);
	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s is a live view, its trigger stays", view->name),
				 errhint("To write into it: SELECT tapdata.alter_view(%s, '{\"writable\": true}').", quote_literal_cstr(view->name))));
}

static void
refuse_drop_trigger(List *name)
{
	if (strcmp(strVal(llast(name)), GUARD) == 0)
		refuse_guard_off(td_find_relation(makeRangeVarFromNameList(list_truncate(list_copy(name), list_length(name) - 1))));
}

/* ---- what refers to it ---- */

static void
refuse_create(CreateStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->inhRelations)
		refuse_on_table(td_find_relation(lfirst_node(RangeVar, lc)), "its parents and children");
	foreach(lc, statement->tableElts)
	{
		if (IsA(lfirst(lc), ColumnDef))
			refuse_constraints(lfirst_node(ColumnDef, lc)->constraints);
		else if (IsA(lfirst(lc), Constraint))
			refuse_constraint(lfirst_node(Constraint, lc));
	}
}

static void
refuse_constraints(List *constraints)
{
	ListCell   *lc;

	foreach(lc, constraints)
		refuse_constraint(lfirst_node(Constraint, lc));
}

/* A foreign key holds by triggers. */
static void
refuse_constraint(Constraint *constraint)
{
	TdView	   *view = constraint->contype == CONSTR_FOREIGN ? view_of_table(td_find_relation(constraint->pktable)) : NULL;

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a foreign key can't reference live view %s", view->name),
				 errdetail("Its rows change without firing triggers, nothing would enforce the key."),
				 errhint("Reference a table that the view is made of.")));
}

static void
refuse_trigger(CreateTrigStmt *statement)
{
	TdView	   *view;

	if (strcmp(strVal(llast(statement->funcname)), "refuse_write") == 0)	/* the guard itself */
		return;
	view = view_of_table(td_find_relation(statement->relation));
	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("live view %s can't have triggers", view->name),
				 errdetail("Its rows change without firing any."),
				 errhint("Put the trigger on the tables that the view is made of.")));
}

/* ---- base tables ---- */

/* Its changes would not be decoded: all views of it would fail. */
static void
refuse_unlogged(Oid relation)
{
	List	   *names = OidIsValid(relation) ? td_names_reading(lcons_oid(relation, td_tables_above(relation))) : NIL;

	if (names == NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("table \"%s\" must stay logged because live views read it", get_rel_name(relation)),
			 errdetail("Live views that read it: %s.", td_list_text(names)),
			 errhint("Drop them first, and create them again when the table is logged: SELECT tapdata.drop_view(%s).", quote_literal_cstr(linitial(names)))));
}

/* A view's columns, and its key, may count on it. */
static void
refuse_nulls(Oid relation, const char *column)
{
	HeapTuple	tuple = OidIsValid(relation) ? SearchSysCacheAttName(relation, column) : NULL;
	AttrNumber	attnum = InvalidAttrNumber;
	List	   *views;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);

		attnum = att->attnotnull ? att->attnum : InvalidAttrNumber;
		ReleaseSysCache(tuple);
	}
	if (attnum <= 0 || !bms_is_member(attnum, td_view_columns_read(relation)))
		return;
	views = td_views_reading(relation);
	if (views == NIL)			/* dropped meanwhile */
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("column \"%s\" of table \"%s\" must stay NOT NULL because a live view reads it", column, get_rel_name(relation)),
			 errhint("Drop the view first, and create it again afterwards: SELECT tapdata.drop_view(%s).", quote_literal_cstr(((TdView *) linitial(views))->name))));
}
