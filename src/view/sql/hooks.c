/*-------------------------------------------------------------------------
 *
 * hooks.c
 *		Live views and plain DDL: what is refused, what is followed, and what
 *		PostgreSQL's own refusals mean for a view.
 *
 * NOTES
 *		Any backend that has the library.
 *
 *		Refused before the command: see refuse_ddl.c.  Followed, after it and in its
 *		transaction: DROP TABLE (also by CASCADE, DROP OWNED, DROP SCHEMA), RENAME,
 *		SET SCHEMA, OWNER TO.  DROP TABLE ... CASCADE of a base table drops the twin
 *		and with it the view.  Errors of PostgreSQL that say that a twin depends on
 *		something get a hint that names the views and the calls.
 *
 *		Before a command that may drop a view its fill is ended (end_fill.c).
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
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "capture/capture.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

#define PART_LINE "table tapdata_parts."	/* what PostgreSQL begins a line with */

/* A view that an error may be about. */
typedef struct TdMention
{
	char	   *names[3];		/* as PostgreSQL may write it: its table, alone and qualified, and its twin */
	char	   *name;
	bool		on_column;		/* it depends on a column whose type is to be changed: PostgreSQL names one of such views */
} TdMention;

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
static bool may_be_below_any(Node *statement);
static pg_noinline List *views_concerned(Node *statement);
static List *readers_of(Oid relation);
static List *views_on_columns(Node *statement);
static void add_hint(List *mentions, char *rows_hint, MemoryContext caller);
static char *hint_of(const char *detail, List *mentions);
static void leave_parts_out(char *detail);
static bool is_mentioned(const char *detail, const TdMention *mention);
static bool moves_views(Node *statement);
static void await_writers(Node *statement);
static void comes_below(Node *statement);
static void need_below(RangeVar *name);
static void tell_identity(Node *statement);
static bool may_drop_extension(Node *statement);
static void follow(void);
static void twin_follows(const TdView *view);
static void try_again(TdView *view);

void
td_view_hooks_init(void)
{
	next_utility = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = utility;
	next_access = object_access_hook;
	object_access_hook = access_object;
	RegisterXactCallback(at_end_of_transaction, NULL);
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	MemoryContext caller = CurrentMemoryContext;
	List	   *mentions;
	char	   *rows_hint;
	List	   *identities;		/* to be set back when the extension goes */
	bool		moves;

	if (td_view_ddl || !may_concern(statement))
	{
		next_utility(pstmt, query, read_only, context, params, env, dest, qc);
		return;
	}
	td_view_refuse_ddl(statement);
	mentions = views_concerned(statement);
	rows_hint = td_view_rows_hint(statement);
	moves = moves_views(statement);
	identities = may_drop_extension(statement) ? td_identities(true) : NIL;
	td_views_end_fills(statement);
	PG_TRY();
	{
		next_utility(pstmt, query, read_only, context, params, env, dest, qc);
	}
	PG_CATCH();
	{
		add_hint(mentions, rows_hint, caller);
		PG_RE_THROW();
	}
	PG_END_TRY();
	await_writers(statement);
	comes_below(statement);
	tell_identity(statement);
	if (identities != NIL && !extension_is_there())
		td_identity_restore_all(identities);
	if (moves || table_dropped)
		follow();
}

/* PostgreSQL invalidates a parent when a child comes, not when it goes: but then its rows go from what reads the parent. */
static void
tell_parents(Oid child)
{
	ListCell   *lc;

	foreach(lc, td_tables_above(child))
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
}

/* A table with rows of its own is being dropped: a view may be gone with it.  Or it ceases to inherit. */
static void
access_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (next_access)
		next_access(access, class, object, sub, arg);
	if (access == OAT_DROP && class == RelationRelationId && sub == 0 && get_rel_relkind(object) == RELKIND_RELATION)
	{
		table_dropped = true;
		tell_parents(object);
	}
	if (access == OAT_POST_ALTER && class == InheritsRelationId)
		CacheInvalidateRelcacheByRelid(((ObjectAccessPostAlter *) arg)->auxiliary_id);
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
		case T_CreateTrigStmt:
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
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

/* ---- hints ---- */

/* An ordinary view, a function, a type, a schema, whatever a role owns: what stands above it is PostgreSQL's affair, any live view may. */
static bool
may_be_below_any(Node *statement)
{
	if (IsA(statement, DropOwnedStmt))
		return true;
	if (!IsA(statement, DropStmt))
		return false;
	switch (castNode(DropStmt, statement)->removeType)
	{
		case OBJECT_TABLE:
		case OBJECT_INDEX:
		case OBJECT_TRIGGER:
		case OBJECT_POLICY:
		case OBJECT_RULE:
			return false;
		default:
			return true;
	}
}

/* The views of the relations that a statement names, those above others first. */
static List *
views_concerned(Node *statement)
{
	List	   *mentions = NIL;
	List	   *views = may_be_below_any(statement) ? td_views_all() : NIL;
	List	   *on_columns = views_on_columns(statement);
	ListCell   *lc;

	foreach(lc, views == NIL ? td_named_relations(statement) : NIL)
		views = list_concat(views, readers_of(lfirst_oid(lc)));
	foreach(lc, td_views_with_readers(views))
	{
		TdView	   *view = lfirst(lc);
		char	   *name = get_rel_name(view->relation);
		char	   *twin = get_rel_name(view->twin);
		TdMention  *mention;

		if (view->part_of != 0)	/* its view comes with it */
			continue;
		if (name == NULL || twin == NULL)	/* dropped meanwhile, which the transaction's snapshot may not show */
			continue;
		mention = palloc(sizeof(TdMention));
		mention->names[0] = pstrdup(quote_identifier(name));
		mention->names[1] = view->name;
		mention->names[2] = quote_qualified_identifier(get_namespace_name(get_rel_namespace(view->twin)), twin);
		mention->name = view->name;
		mention->on_column = list_member_int(on_columns, view->id);
		mentions = lcons(mention, mentions);
	}
	return mentions;
}

/* Of int: the views that depend on a column whose type the statement changes, and all above them. */
static List *
views_on_columns(Node *statement)
{
	List	   *views = NIL;
	List	   *ids = NIL;
	Oid			relation;
	ListCell   *lc;

	if (!IsA(statement, AlterTableStmt))
		return NIL;
	relation = td_find_relation(castNode(AlterTableStmt, statement)->relation);
	foreach(lc, castNode(AlterTableStmt, statement)->cmds)
	{
		const AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		AttrNumber	attnum = cmd->subtype == AT_AlterColumnType && OidIsValid(relation) ? get_attnum(relation, cmd->name) : InvalidAttrNumber;

		if (attnum > 0)
			views = list_concat(views, td_views_on_column(relation, attnum));
	}
	foreach(lc, td_views_with_readers(views))
		ids = lappend_int(ids, ((TdView *) lfirst(lc))->id);
	return ids;
}

/* The views that read a relation (an index's table), or one above it; of a twin, its own view. */
static List *
readers_of(Oid relation)
{
	List	   *views = NIL;
	ListCell   *lc;

	if (!OidIsValid(relation))
		return NIL;
	if (td_is_index(relation))
		relation = IndexGetRelation(relation, true);
	if (get_rel_relkind(relation) == RELKIND_VIEW)
	{
		TdView	   *own = td_view_of_twin(relation);

		return own ? list_make1(own) : NIL;
	}
	views = td_views_reading(relation);
	foreach(lc, td_tables_above(relation))
		views = list_concat(views, td_views_reading(lfirst_oid(lc)));
	return views;
}

/* In PG_CATCH: the error goes on with our hint, if it is one about a view; otherwise returns. */
static void
add_hint(List *mentions, char *rows_hint, MemoryContext caller)
{
	ErrorData  *edata;
	char	   *hint = NULL;

	MemoryContextSwitchTo(caller);
	edata = CopyErrorData();
	if (edata->detail && (edata->sqlerrcode == ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST || edata->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED))
		hint = hint_of(edata->detail_log ? edata->detail_log : edata->detail, mentions);	/* of more than a hundred only the log has all */
	if (edata->detail == NULL && edata->hint == NULL && edata->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED)
		hint = rows_hint;
	if (hint == NULL)
	{
		FreeErrorData(edata);
		return;
	}
	FlushErrorState();
	edata->hint = hint;
	if (edata->detail)
		leave_parts_out(edata->detail);
	ReThrowError(edata);
}

/* Hidden tables go with their views, which the detail names as well: their lines tell a user nothing. */
static void
leave_parts_out(char *detail)
{
	char	   *to = detail;

	for (char *line = detail; *line != '\0';)
	{
		size_t		length = strcspn(line, "\n");

		length += line[length] == '\n';
		if (strncmp(line, PART_LINE, strlen(PART_LINE)) != 0)
		{
			memmove(to, line, length);
			to += length;
		}
		line += length;
	}
	if (to == detail)			/* nothing else: better than nothing */
		return;
	*to = '\0';
	if (to[-1] == '\n')
		to[-1] = '\0';
}

/* The calls for those that the error names, or should have; NULL = it is about no view. */
static char *
hint_of(const char *detail, List *mentions)
{
	List	   *names = NIL;
	bool		mentioned = false;
	ListCell   *lc;

	foreach(lc, mentions)
		mentioned |= is_mentioned(detail, lfirst(lc));
	foreach(lc, mentions)
	{
		const TdMention *mention = lfirst(lc);

		if (is_mentioned(detail, mention) || (mentioned && mention->on_column))
			names = lappend(names, mention->name);
	}
	if (names == NIL)
		return strstr(detail, "tapdata_views.") == NULL ? NULL :
			pstrdup("A live view is made of it: drop that first, SELECT tapdata.drop_view(...); SELECT view, twin FROM tapdata.views tells which.");
	return list_length(names) == 1 ? psprintf("A live view is made of it: drop that first, %s; and create it again afterwards.", td_drop_calls(names)) :
		psprintf("%d live views are made of it: drop them first, %s; and create them again afterwards.", list_length(names), td_drop_calls(names));
}

/* As a word: PostgreSQL names the twin, or the view's table when it goes with the twin. */
static bool
is_mentioned(const char *detail, const TdMention *mention)
{
	for (size_t i = 0; i < lengthof(mention->names); i++)
	{
		size_t		length = strlen(mention->names[i]);

		for (const char *at = strstr(detail, mention->names[i]); at; at = strstr(at + 1, mention->names[i]))
			if ((at == detail || isspace((unsigned char) at[-1])) && (at[length] == '\0' || isspace((unsigned char) at[length])))
				return true;
	}
	return false;
}

/* ---- following ---- */

/*
 * Which tables are above a table that is written to is asked as of each change. Who takes a table with children to or from another one locks that table,
 * but not what is below it: a transaction that writes there goes on, and some of its rows would be told of one tree, some of another, all of them
 * in a tick after the one that has seen the DDL. So they are waited for, as ATTACH PARTITION does by itself.
 */
static void
await_writers(Node *statement)
{
	ListCell   *lc;

	if (!IsA(statement, AlterTableStmt))
		return;
	foreach(lc, castNode(AlterTableStmt, statement)->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		RangeVar   *moved = NULL;
		Oid			relation;

		if (cmd->subtype == AT_AddInherit || cmd->subtype == AT_DropInherit)
			moved = castNode(AlterTableStmt, statement)->relation;
		else if (cmd->subtype == AT_DetachPartition && !castNode(PartitionCmd, cmd->def)->concurrent)
			moved = castNode(PartitionCmd, cmd->def)->name;
		relation = moved ? RangeVarGetRelid(moved, NoLock, true) : InvalidOid;
		if (OidIsValid(relation))
			(void) find_all_inheritors(relation, ShareLock, NULL);
	}
}

/* Old values of what is now part of a table that views read are needed as its own are; else each change of them would compute these anew. */
static void
comes_below(Node *statement)
{
	ListCell   *lc;

	if (IsA(statement, CreateStmt) && castNode(CreateStmt, statement)->inhRelations != NIL)
		need_below(castNode(CreateStmt, statement)->relation);
	if (!IsA(statement, AlterTableStmt))
		return;
	foreach(lc, castNode(AlterTableStmt, statement)->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_AttachPartition)
			need_below(castNode(PartitionCmd, cmd->def)->name);
		else if (cmd->subtype == AT_AddInherit)
			need_below(castNode(AlterTableStmt, statement)->relation);
	}
}

/* Exact all the same, but at a price that nobody would guess. */
static void
tell_identity(Node *statement)
{
	Oid			relation;
	ListCell   *lc;

	if (!IsA(statement, AlterTableStmt))
		return;
	foreach(lc, castNode(AlterTableStmt, statement)->cmds)
	{
		if (lfirst_node(AlterTableCmd, lc)->subtype != AT_ReplicaIdentity)
			continue;
		relation = RangeVarGetRelid(castNode(AlterTableStmt, statement)->relation, NoLock, true);
		if (OidIsValid(relation) && td_view_of(relation, true) == NULL && td_identity_lacks(relation))
			ereport(NOTICE,
					(errmsg("live views need old values of table \"%s\" that are not written any more", get_rel_name(relation)),
					 errdetail("Each change of it computes them anew."),
					 errhint("ALTER TABLE %s REPLICA IDENTITY %s;", quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation)),
							 td_identity_enough(relation))));
	}
}

static void
need_below(RangeVar *name)
{
	Oid			relation = RangeVarGetRelid(name, NoLock, true);

	if (OidIsValid(relation) && get_rel_persistence(relation) == RELPERSISTENCE_PERMANENT)
	{
		CommandCounterIncrement();
		td_require_no_keys_above(relation);
		td_identity_need_below(relation);
	}
}

/* May views have other names or owners after it? */
static bool
moves_views(Node *statement)
{
	ListCell   *lc;

	if (IsA(statement, RenameStmt))
	{
		ObjectType	type = castNode(RenameStmt, statement)->renameType;

		return type == OBJECT_TABLE || type == OBJECT_SCHEMA || type == OBJECT_INDEX;	/* ALTER INDEX renames tables, too */
	}
	if (IsA(statement, AlterObjectSchemaStmt))
		return castNode(AlterObjectSchemaStmt, statement)->objectType == OBJECT_TABLE;
	if (!IsA(statement, AlterTableStmt))
		return IsA(statement, ReassignOwnedStmt);
	foreach(lc, castNode(AlterTableStmt, statement)->cmds)
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_ChangeOwner)
			return true;
	return false;
}

/* It may go by its own name, with its schema (DROP SCHEMA tapdata CASCADE) or its owner: its views, and the memory of what they changed, go with it. */
static bool
may_drop_extension(Node *statement)
{
	if (IsA(statement, DropOwnedStmt))
		return true;
	return IsA(statement, DropStmt) &&
		(castNode(DropStmt, statement)->removeType == OBJECT_EXTENSION || castNode(DropStmt, statement)->removeType == OBJECT_SCHEMA);
}

/* What was made for views on base tables goes when no view needs it any more. */
void
td_views_tidy(void)
{
	td_view_ddl = true;
	PG_TRY();
	{
		if (td_kept_drop_unread())
			(void) td_views_follow();
		td_identity_restore();
	}
	PG_FINALLY();
	{
		td_view_ddl = false;
	}
	PG_END_TRY();
}

/* The catalog is as the tables are. */
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
		for (; moved != NIL; moved = td_views_follow())	/* the twins' names, and the parts' owner */
			foreach(lc, moved)
			{
				twin_follows(lfirst(lc));
				td_parts_follow(lfirst(lc));
				try_again(lfirst(lc));
			}
	}
	PG_FINALLY();
	{
		td_view_ddl = false;
	}
	PG_END_TRY();
	td_views_tidy();
	td_worker_wake_at_commit(TD_WORKER_VIEW, 0);
}

/* A twin belongs to whom its table does, and is called as the table is, alone or with its schema. */
static void
twin_follows(const TdView *view)
{
	char	   *schema = get_namespace_name(get_rel_namespace(view->relation));
	char	   *table = get_rel_name(view->relation);
	char	   *name = get_rel_name(view->twin);
	char	   *twin;
	TdCatalogScope scope;

	if (schema == NULL || table == NULL || name == NULL)	/* dropped meanwhile */
		return;
	twin = quote_qualified_identifier(get_namespace_name(get_rel_namespace(view->twin)), name);

	td_catalog_enter(&scope);
	td_run_as_caller(psprintf("ALTER VIEW %s OWNER TO %s", twin, quote_identifier(GetUserNameFromId(view->owner, false))));
	if (view->part_of == 0 && strcmp(name, table) != 0 && strcmp(name, psprintf("%s.%s", schema, table)) != 0)
		td_run_as_caller(psprintf("ALTER VIEW %s RENAME TO %s", twin, quote_identifier(td_twin_name(schema, table))));
	td_catalog_leave(&scope);
	CommandCounterIncrement();
}

/* What it has failed of may have been its owner; who gives it to another one is not to call refresh_view, too. */
static void
try_again(TdView *view)
{
	if (view->given && strcmp(view->status, "failed") == 0)
		td_view_fill_anew(view);
}
