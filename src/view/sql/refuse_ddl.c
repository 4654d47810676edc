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
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "compat/compat.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "view/sql/sql_internal.h"

#define ANEW "Give it another query, which may have more columns: SELECT tapdata.create_view(%s, ..., or_replace => true); or drop it and create it anew: SELECT tapdata.drop_view(%s)."
#define DROP "SELECT tapdata.drop_view(%s)"
#define GUARD "tapdata_refuse_write"	/* the trigger of catalog/guard.c */

/* What may not be done to the table of a view, in words, and what its user can do instead: every %s is the view's name, quoted. */
typedef struct Refused
{
	const char *what;
	const char *hint;
} Refused;

static const Refused add_column = {"its columns can't be changed",
"Give it a query that has the column as well, last: SELECT tapdata.create_view(%s, ..., or_replace => true)."};
static const Refused drop_column = {"its columns can't be changed",
"Leave the column where it is, or drop the view and create it with a query that does not have it: " DROP "."};
static const Refused alter_type = {"its columns can't be changed",
	"Give it a query with one more column of that type: SELECT tapdata.create_view(%s, ..., or_replace => true); or drop the view and create it with a query that casts the column: " DROP "."};
static const Refused set_not_null = {"its columns can't be changed",
"Rows in which it is null are left out by WHERE ... IS NOT NULL in its query: SELECT tapdata.create_view(%s, ..., or_replace => true)."};
static const Refused rename_column = {"its columns can't be changed",
	"Give it a query that has the column once more, under the new name: SELECT tapdata.create_view(%s, ..., or_replace => true); or drop the view and create it with a query that says AS: " DROP "."};
static const Refused add_check = {"its constraints can't be changed",
"Put the constraint on the tables that the view is made of."};
static const Refused add_unique = {"its constraints can't be changed",
"The key of a view follows from its query; a unique index holds here, too, but a tick that it refuses fails the view: CREATE UNIQUE INDEX."};
static const Refused drop_constraint = {"its constraints can't be changed",
"Its rows are found by it, it goes with the view: " DROP "."};
static const Refused inherit = {"its parents and children can't be changed",
"Put both together in a query or an ordinary view, with UNION ALL."};
static const Refused of_type = {"it can't become a typed table",
"Cast its rows where you read them: SELECT ROW(v.*)::type FROM ... v."};
static const Refused persistence = {"its persistence can't be changed",
"Drop the view and create it with or without the option {\"unlogged\": true}: " DROP "."};
static const Refused access_method = {"its access method can't be changed",
"Live views are tables of access method heap."};
static const Refused force_row_security = {"row security for its owner can't be changed",
"Row security without FORCE is for all others, and allowed: ALTER TABLE ... ENABLE ROW LEVEL SECURITY."};
static const Refused rules = {"its rules can't be changed",
"Put the rule on an ordinary view that reads it."};

/* What ALTER TABLE may not do. */
static const struct
{
	AlterTableType type;
	const Refused *refused;		/* NULL = by the kind of the constraint */
}			alters[] = {
	{AT_AddColumn, &add_column},
	{AT_DropColumn, &drop_column},
	{AT_AlterColumnType, &alter_type},
	{AT_SetNotNull, &set_not_null},
	{AT_AddConstraint, NULL},
	{AT_DropConstraint, &drop_constraint},
	{AT_AddInherit, &inherit},
	{AT_AttachPartition, &inherit},
	{AT_AddOf, &of_type},
	{AT_SetLogged, &persistence},
	{AT_SetUnLogged, &persistence},
	{AT_SetAccessMethod, &access_method},
	{AT_ForceRowSecurity, &force_row_security},
};

/* A NOT NULL of a name of its own, which PostgreSQL 18 has, is a column's. */
static const struct
{
	ConstrType	type;
	const Refused *refused;
}			constraints[] = {
	{CONSTR_NOTNULL, &set_not_null},
	{CONSTR_PRIMARY, &add_unique},
	{CONSTR_UNIQUE, &add_unique},
	{CONSTR_EXCLUSION, &add_unique},
};

static TdView *view_of_table(Oid relation);
static void refuse_on_twin(Oid relation);
static void refuse_on_part(Oid relation);
static void refuse_on_state(Oid relation);
static void refuse_on_table(Oid relation, const Refused *refused);
static const Refused *refused_of(const AlterTableCmd *cmd);
static bool changes_columns(AlterTableType type);
static void refuse_alter(AlterTableStmt *statement, Oid relation);
static void refuse_owner(Oid relation, RoleSpec *role);
static void refuse_guard_off(Oid relation);
static const char *not_null_column(Oid relation, const char *constraint);
static void refuse_nulls(Oid relation, const char *column, bool below);
static void refuse_nulls_in(Oid relation, const char *column);
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
				refuse_on_table(relation, &rename_column);
				refuse_on_state(relation);
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
			refuse_on_table(relation, &rules);
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

/* A hint with the view's name in as many places as it has. */
static char *
hint_for(const char *hint, const TdView *view)
{
	StringInfoData text;
	const char *place;

	initStringInfo(&text);
	for (; (place = strstr(hint, "%s")) != NULL; hint = place + 2)
	{
		appendBinaryStringInfo(&text, hint, place - hint);
		appendStringInfoString(&text, quote_literal_cstr(view->name));
	}
	appendStringInfoString(&text, hint);
	return text.data;
}

static void
refuse_on_table(Oid relation, const Refused *refused)
{
	TdView	   *view = view_of_table(relation);

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s is a live view, %s", view->name, refused->what),
				 errhint("%s", hint_for(refused->hint, view))));
}

/* The columns of state tables, which are no views; only who is a superuser gets here.  A dump of them is restored as ever: none of it changes their columns. */
static void
refuse_on_state(Oid relation)
{
	char	   *schema = OidIsValid(relation) ? get_namespace_name(get_rel_namespace(relation)) : NULL;
	char	   *name = schema && strcmp(schema, "tapdata_state") == 0 ? get_rel_name(relation) : NULL;
	int			id = name && name[0] == 'v' ? strtol(name + 1, NULL, 10) : 0;
	TdView	   *view = id > 0 ? td_view_load(id) : NULL;

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s can't be changed, live view %s has its state in it", name, view->name),
				 errhint("It goes with the view: SELECT tapdata.drop_view(%s).", quote_literal_cstr(view->name))));
}

static const Refused *
refused_constraint(const Constraint *constraint)
{
	for (size_t i = 0; i < lengthof(constraints); i++)
		if (constraint->contype == constraints[i].type)
			return constraints[i].refused;
	return &add_check;
}

/* NULL = it is allowed. */
static const Refused *
refused_of(const AlterTableCmd *cmd)
{
	for (size_t i = 0; i < lengthof(alters); i++)
		if (cmd->subtype == alters[i].type)
			return alters[i].refused ? alters[i].refused : refused_constraint(castNode(Constraint, cmd->def));
	return NULL;
}

static bool
changes_columns(AlterTableType type)
{
	return type == AT_AddColumn || type == AT_DropColumn || type == AT_AlterColumnType || type == AT_SetNotNull;
}

static void
refuse_alter(AlterTableStmt *statement, Oid relation)
{
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		const Refused *refused = refused_of(cmd);

		if (refused)
			refuse_on_table(relation, refused);
		if (changes_columns(cmd->subtype))
			refuse_on_state(relation);
		switch (cmd->subtype)
		{
			case AT_AddInherit:
				refuse_on_table(td_find_relation(castNode(RangeVar, cmd->def)), &inherit);
				break;
			case AT_AttachPartition:
				refuse_on_table(td_find_relation(castNode(PartitionCmd, cmd->def)->name), &inherit);
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
			case AT_ChangeOwner:
				refuse_owner(relation, cmd->newowner);
				break;
			case AT_DropNotNull:
				refuse_nulls(relation, cmd->name, statement->relation->inh);
				break;
			case AT_DropConstraint:
				refuse_nulls(relation, not_null_column(relation, cmd->name), statement->relation->inh);
				break;
			default:
				break;
		}
	}
}

/* As create_view; whoever comes to own a view in another way, or may not connect any more, has it failed with the same error when it is filled. */
static void
refuse_owner(Oid relation, RoleSpec *role)
{
	Oid			owner = view_of_table(relation) ? get_rolespec_oid(role, true) : InvalidOid;

	if (OidIsValid(owner))
		td_view_require_owner(owner, "give the view to another role");
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
		refuse_on_table(td_find_relation(lfirst_node(RangeVar, lc)), &inherit);
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
	List	   *views = NIL;
	ListCell   *lc;

	if (names == NIL)
		return;
	foreach(lc, lcons_oid(relation, td_tables_above(relation)))
		views = list_concat(views, td_views_reading(lfirst_oid(lc)));
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("table \"%s\" must stay logged because live views read it", get_rel_name(relation)),
			 errdetail("Live views that read it: %s.", td_list_text(names)),
			 errhint("Drop them first, and create them again when the table is logged: %s.", td_drop_calls(td_names_down(views)))));
}

/* The column that may be null without the constraint; NULL = none. */
static const char *
not_null_column(Oid relation, const char *constraint)
{
	AttrNumber	attnum = OidIsValid(relation) ? td_not_null_column_compat(get_relation_constraint_oid(relation, constraint, true)) : InvalidAttrNumber;

	return attnum != InvalidAttrNumber ? get_attname(relation, attnum, true) : NULL;
}

/* What is below the table loses its own NOT NULL with it. */
static void
refuse_nulls(Oid relation, const char *column, bool below)
{
	ListCell   *lc;

	if (!OidIsValid(relation) || column == NULL)
		return;
	foreach(lc, below ? find_all_inheritors(relation, NoLock, NULL) : list_make1_oid(relation))
		refuse_nulls_in(lfirst_oid(lc), column);
}

/* A view's columns, and its key, may count on it. */
static void
refuse_nulls_in(Oid relation, const char *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(relation, column);
	AttrNumber	attnum = InvalidAttrNumber;
	List	   *views;
	List	   *names;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);

		attnum = att->attnotnull ? att->attnum : InvalidAttrNumber;
		ReleaseSysCache(tuple);
	}
	if (attnum <= 0 || !bms_is_member(attnum, td_view_columns_read(relation)))
		return;
	views = td_views_on_column(relation, attnum);
	if (views == NIL)			/* by a whole row, or dropped meanwhile */
		views = td_views_reading(relation);
	names = td_names_down(views);
	if (names == NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg_plural("column \"%s\" of table \"%s\" must stay NOT NULL because a live view reads it",
						   "column \"%s\" of table \"%s\" must stay NOT NULL because live views read it", list_length(names), column, get_rel_name(relation)),
			 errhint("Drop what reads it first, and create it again afterwards: %s.", td_drop_calls(names))));
}
