/*-------------------------------------------------------------------------
 *
 * hooks.c
 *		Live views and plain DDL: what is refused, what is followed, and what
 *		PostgreSQL's own refusals mean for a view.
 *
 * NOTES
 *		Any backend that has the library.
 *
 *		Refused: whatever changes a twin, or the columns, rules and parents of a
 *		view's table; drop_view is the way.  Followed, after the command and in its
 *		transaction: DROP TABLE (also by CASCADE, DROP OWNED, DROP SCHEMA), RENAME,
 *		SET SCHEMA, OWNER TO.  DROP TABLE ... CASCADE of a base table drops the twin
 *		and with it the view.  Errors of PostgreSQL that say that a twin depends on
 *		something get a hint that names the view and the call.
 *
 *		Look-ups in the catalog are made before or after the command, never while
 *		it runs or fails.
 *
 * IDENTIFICATION
 *		src/view/sql/hooks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

/* What is added to an error that says that a view depends on something. */
typedef struct TdHint
{
	char	   *text;
	List	   *tables;			/* of the views concerned: of char *, as such an error names them */
} TdHint;

static ProcessUtility_hook_type next_utility = NULL;
static object_access_hook_type next_access = NULL;
static bool table_dropped = false;	/* by this transaction, not looked at yet */
bool		td_view_ddl = false;

static void utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc);
static void access_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg);
static void at_end_of_transaction(XactEvent event, void *arg);
static bool may_concern(Node *statement);
static bool extension_is_there(void);
static void refuse(Node *statement);
static void refuse_on_twin(Oid relation);
static void refuse_drop(DropStmt *statement);
static void refuse_on_table(Oid relation, const char *what);
static void refuse_alter(AlterTableStmt *statement, Oid relation);
static bool hint_for(Node *statement, TdHint *hint);
static List *named_relations(Node *statement);
static List *readers_of(Oid relation);
static Oid	find_relation(RangeVar *range);
static void add_hint(const TdHint *hint, MemoryContext caller);
static bool is_about_views(const ErrorData *edata, const TdHint *hint);
static bool moves_views(Node *statement);
static bool drops_extension(Node *statement);
static void follow(void);

void
td_view_hooks_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	next_access = object_access_hook;
	object_access_hook = access_object;
	RegisterXactCallback(at_end_of_transaction, NULL);
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_utility ? next_utility : standard_ProcessUtility;
	Node	   *statement = pstmt->utilityStmt;
	MemoryContext caller = CurrentMemoryContext;
	TdHint		hint = {NULL, NIL};
	List	   *identities;		/* to be set back when the extension goes */
	bool		hinted;
	bool		moves;

	if (td_view_ddl || !may_concern(statement))
	{
		next(pstmt, query, read_only, context, params, env, dest, qc);
		return;
	}
	refuse(statement);
	hinted = hint_for(statement, &hint);
	moves = moves_views(statement);
	identities = drops_extension(statement) ? td_identities() : NIL;
	PG_TRY();
	{
		next(pstmt, query, read_only, context, params, env, dest, qc);
	}
	PG_CATCH();
	{
		if (hinted)
			add_hint(&hint, caller);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (identities != NIL && !extension_is_there())
		td_identity_restore_all(identities);
	if (moves || table_dropped)
		follow();
}

/* A table with rows of its own is being dropped: a view may be gone with it. */
static void
access_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (next_access)
		next_access(access, class, object, sub, arg);
	if (access == OAT_DROP && class == RelationRelationId && sub == 0 && !table_dropped && get_rel_relkind(object) == RELKIND_RELATION)
		table_dropped = true;
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		table_dropped = false;
}

/* Only DDL on what views are made of, and only where the extension is. */
static bool
may_concern(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
		case T_AlterTypeStmt:
		case T_RenameStmt:
		case T_AlterObjectSchemaStmt:
		case T_DropStmt:
		case T_DropOwnedStmt:
		case T_ReassignOwnedStmt:
		case T_ViewStmt:
		case T_RuleStmt:
			return extension_is_there();
		default:
			return false;
	}
}

/* Whole: not while its own script runs. */
static bool
extension_is_there(void)
{
	Oid			extension = get_extension_oid("tapdata", true);

	return OidIsValid(extension) && !(creating_extension && CurrentExtensionObject == extension);
}

/* ---- refusing ---- */

static void
refuse(Node *statement)
{
	Oid			relation = InvalidOid;

	if (IsA(statement, AlterTableStmt))
	{
		relation = find_relation(castNode(AlterTableStmt, statement)->relation);
		refuse_alter(castNode(AlterTableStmt, statement), relation);
	}
	else if (IsA(statement, RenameStmt))
	{
		RenameStmt *rename = castNode(RenameStmt, statement);

		relation = find_relation(rename->relation);
		if (rename->renameType == OBJECT_COLUMN)
			refuse_on_table(relation, "its columns");
	}
	else if (IsA(statement, AlterObjectSchemaStmt))
		relation = find_relation(castNode(AlterObjectSchemaStmt, statement)->relation);
	else if (IsA(statement, ViewStmt) && castNode(ViewStmt, statement)->replace)
		relation = find_relation(castNode(ViewStmt, statement)->view);
	else if (IsA(statement, RuleStmt))
	{
		relation = find_relation(castNode(RuleStmt, statement)->relation);
		refuse_on_table(relation, "its rules");
	}
	else if (IsA(statement, DropStmt) && castNode(DropStmt, statement)->removeType == OBJECT_VIEW)
		refuse_drop(castNode(DropStmt, statement));
	refuse_on_twin(relation);
}

/* The definition of a view stays what it is. */
static void
refuse_on_twin(Oid relation)
{
	TdView	   *view = OidIsValid(relation) && get_rel_relkind(relation) == RELKIND_VIEW ? td_view_of_twin(relation) : NULL;

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the definition of live view %s can't be changed", view->name),
				 errhint("Drop the view and create it anew: SELECT tapdata.drop_view(%s).", quote_literal_cstr(view->name))));
}

/* A twin goes with its view only; PostgreSQL says so too, but does not know the call. */
static void
refuse_drop(DropStmt *statement)
{
	ListCell   *lc;

	foreach(lc, named_relations((Node *) statement))
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

static void
refuse_on_table(Oid relation, const char *what)
{
	TdView	   *view = OidIsValid(relation) && get_rel_relkind(relation) == RELKIND_RELATION ? td_view_of(relation, true) : NULL;

	if (view != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s is a live view, %s can't be changed", view->name, what),
				 errhint("Drop the view and create it anew: SELECT tapdata.drop_view(%s).", quote_literal_cstr(view->name))));
}

/* Of ALTER TABLE, what would make the table another one than the query's. */
static void
refuse_alter(AlterTableStmt *statement, Oid relation)
{
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		switch (lfirst_node(AlterTableCmd, lc)->subtype)
		{
			case AT_AddColumn:
			case AT_DropColumn:
			case AT_AlterColumnType:
			case AT_SetNotNull:
				refuse_on_table(relation, "its columns");
				break;
			case AT_AddConstraint:
			case AT_DropConstraint:
				refuse_on_table(relation, "its constraints");
				break;
			case AT_AddInherit:
			case AT_AttachPartition:
			case AT_AddOf:
				refuse_on_table(relation, "its parents and children");
				break;
			case AT_SetLogged:
			case AT_SetUnLogged:
				refuse_on_table(relation, "its persistence");
				break;
			default:
				break;
		}
	}
}

/* ---- hints ---- */

/* What to do when PostgreSQL says that a view depends on what the statement is about; false = no statement of that kind. */
static bool
hint_for(Node *statement, TdHint *hint)
{
	char	   *call = NULL;
	ListCell   *lc;

	if (!IsA(statement, AlterTableStmt) && !IsA(statement, DropStmt) && !IsA(statement, AlterTypeStmt))
		return false;
	foreach(lc, named_relations(statement))
	{
		ListCell   *reader;

		foreach(reader, readers_of(lfirst_oid(lc)))
		{
			TdView	   *view = lfirst(reader);

			hint->tables = lappend(hint->tables, pstrdup(quote_identifier(get_rel_name(view->relation))));
			if (call == NULL)
				call = psprintf("SELECT tapdata.drop_view(%s)", quote_literal_cstr(view->name));
		}
	}
	hint->text = call ? psprintf("A live view is made of it: drop that first, %s; and create it again afterwards.", call) :
		pstrdup("A live view is made of it: drop that first, SELECT tapdata.drop_view(...); SELECT view, twin FROM tapdata.views tells which.");
	return true;
}

/* The tables and views that it is about. */
static List *
named_relations(Node *statement)
{
	List	   *relations = NIL;
	DropStmt   *drop;
	ListCell   *lc;

	if (IsA(statement, AlterTableStmt))
		return list_make1_oid(find_relation(castNode(AlterTableStmt, statement)->relation));
	if (!IsA(statement, DropStmt))
		return NIL;
	drop = castNode(DropStmt, statement);
	if (drop->removeType == OBJECT_TABLE || drop->removeType == OBJECT_VIEW)
		foreach(lc, drop->objects)
			relations = lappend_oid(relations, find_relation(makeRangeVarFromNameList(lfirst_node(List, lc))));
	return relations;
}

/* The views that read a relation, or one that it is a partition of; of a twin, its own view. */
static List *
readers_of(Oid relation)
{
	List	   *views = NIL;
	ListCell   *lc;

	if (!OidIsValid(relation))
		return NIL;
	if (get_rel_relkind(relation) == RELKIND_VIEW)
	{
		TdView	   *own = td_view_of_twin(relation);

		return own ? list_make1(own) : NIL;
	}
	views = td_views_reading(relation);
	if (get_rel_relispartition(relation))
		foreach(lc, get_partition_ancestors(relation))
			views = list_concat(views, td_views_reading(lfirst_oid(lc)));
	return views;
}

static Oid
find_relation(RangeVar *range)
{
	return range == NULL ? InvalidOid : RangeVarGetRelid(range, NoLock, true);
}

/* In PG_CATCH: the error goes on with our hint, if it is one about a view; otherwise returns. */
static void
add_hint(const TdHint *hint, MemoryContext caller)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(caller);
	edata = CopyErrorData();
	if (!is_about_views(edata, hint))
	{
		FreeErrorData(edata);
		return;
	}
	FlushErrorState();
	edata->hint = pstrdup(hint->text);
	ReThrowError(edata);
}

/* PostgreSQL names the twin, or the view's table when it goes with the twin. */
static bool
is_about_views(const ErrorData *edata, const TdHint *hint)
{
	ListCell   *lc;

	if ((edata->sqlerrcode != ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST && edata->sqlerrcode != ERRCODE_FEATURE_NOT_SUPPORTED) || edata->detail == NULL)
		return false;
	if (strstr(edata->detail, "tapdata_views.") != NULL)
		return true;
	foreach(lc, hint->tables)
		if (strstr(edata->detail, lfirst(lc)) != NULL)
			return true;
	return false;
}

/* ---- following ---- */

/* May views have other names or owners after it? */
static bool
moves_views(Node *statement)
{
	ListCell   *lc;

	if (IsA(statement, RenameStmt))
		return castNode(RenameStmt, statement)->renameType == OBJECT_TABLE || castNode(RenameStmt, statement)->renameType == OBJECT_SCHEMA;
	if (IsA(statement, AlterObjectSchemaStmt))
		return castNode(AlterObjectSchemaStmt, statement)->objectType == OBJECT_TABLE;
	if (!IsA(statement, AlterTableStmt))
		return IsA(statement, ReassignOwnedStmt);
	foreach(lc, castNode(AlterTableStmt, statement)->cmds)
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_ChangeOwner)
			return true;
	return false;
}

/* DROP EXTENSION tapdata, perhaps: its views, and the memory of what they changed, go with it. */
static bool
drops_extension(Node *statement)
{
	return IsA(statement, DropStmt) && castNode(DropStmt, statement)->removeType == OBJECT_EXTENSION;
}

/* The catalog is as the tables are; a twin belongs to whom its table does. */
static void
follow(void)
{
	ListCell   *lc;
	List	   *moved;

	table_dropped = false;
	if (!extension_is_there())	/* it went by the same command */
		return;
	CommandCounterIncrement();
	moved = td_views_follow();
	td_view_ddl = true;
	PG_TRY();
	{
		TdCatalogScope scope;

		foreach(lc, moved)
		{
			TdView	   *view = lfirst(lc);
			char	   *twin = quote_qualified_identifier(get_namespace_name(get_rel_namespace(view->twin)), get_rel_name(view->twin));
			char	   *owner = pstrdup(quote_identifier(GetUserNameFromId(view->owner, false)));

			td_catalog_enter(&scope);
			td_run_as_caller(psprintf("ALTER VIEW %s OWNER TO %s", twin, owner));
			td_catalog_leave(&scope);
		}
		td_identity_restore();
	}
	PG_FINALLY();
	{
		td_view_ddl = false;
	}
	PG_END_TRY();
	td_worker_wake_at_commit(TD_WORKER_VIEW, 0);
}
