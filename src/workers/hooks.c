/*-------------------------------------------------------------------------
 *
 * hooks.c
 *		Commands that concern our processes: of databases, of the extension, the
 *		second half of two-phase commit; and of servers and roles that pipelines
 *		name.
 *
 * NOTES
 *		Any backend, only when preloaded.  DROP and RENAME DATABASE, SET
 *		TABLESPACE and CREATE DATABASE ... TEMPLATE fail while somebody is
 *		connected: our workers are stopped first and stay away until the end of
 *		the transaction, whether the command worked or not.  This is done only for
 *		users who may run the command, so that nobody else can stop workers by it.
 *
 * IDENTIFICATION
 *		src/workers/hooks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "compat/compat.h"
#include "workers/workers_internal.h"

static ProcessUtility_hook_type next_utility = NULL;
static object_access_hook_type next_access = NULL;

static void utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc);
static void access_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg);
static Oid	database_to_empty(Node *statement);
static Oid	template_of(CreatedbStmt *statement);
static Oid	moved_database(AlterDatabaseStmt *statement);
static bool may_create_databases(void);
static bool is_template(Oid database);
static bool names_connections(Node *statement);
static void require_no_owners(DropRoleStmt *statement);
static void follow(Node *statement, List *connections);

void
td_hooks_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	next_access = object_access_hook;
	object_access_hook = access_object;
}

static void
utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	Oid			database = database_to_empty(statement);
	List	   *connections = NIL;
	bool		second_phase = IsA(statement, TransactionStmt) &&
		(castNode(TransactionStmt, statement)->kind == TRANS_STMT_COMMIT_PREPARED ||
		 castNode(TransactionStmt, statement)->kind == TRANS_STMT_ROLLBACK_PREPARED);

	if (OidIsValid(database))
		td_hold_database(database);
	if (IsA(statement, CreatedbStmt) || IsA(statement, DropdbStmt))
		td_rescan_at_commit();
	if (IsA(statement, DropRoleStmt))
		require_no_owners(castNode(DropRoleStmt, statement));
	if (names_connections(statement))
		connections = td_connections_used();

	if (next_utility)
		next_utility(pstmt, query, read_only, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env, dest, qc);

	if (connections != NIL)
		follow(statement, connections);
	/* what the prepared transaction changed is unknown here, and it is done already */
	if (second_phase)
	{
		td_covered_second_phase();
		td_supervisor_wake(MyDatabaseId);
		td_workers_tell(TD_WORKER_VIEW, 0);
	}
}

/* May the command rename or drop a server of ours?  Without the extension in this database there is none. */
static bool
names_connections(Node *statement)
{
	if (IsA(statement, RenameStmt) ? castNode(RenameStmt, statement)->renameType != OBJECT_FOREIGN_SERVER :
		IsA(statement, DropStmt) ? castNode(DropStmt, statement)->removeType != OBJECT_FOREIGN_SERVER :
		!IsA(statement, DropOwnedStmt))
		return false;
	return OidIsValid(get_extension_oid("tapdata", true));
}

/* The pipelines of what was renamed or dropped. */
static void
follow(Node *statement, List *connections)
{
	if (IsA(statement, RenameStmt))
		td_connection_renamed(strVal(castNode(RenameStmt, statement)->object), castNode(RenameStmt, statement)->newname);
	else if (OidIsValid(get_extension_oid("tapdata", true)))	/* DROP OWNED may have dropped it */
		td_connections_dropped(connections);
}

/* Only for users who may drop roles: others are refused by the command, and learn nothing of pipelines. */
static void
require_no_owners(DropRoleStmt *statement)
{
	ListCell   *lc;

	if (!has_createrole_privilege(GetUserId()) || !OidIsValid(get_extension_oid("tapdata", true)))
		return;
	foreach(lc, statement->roles)
	{
		RoleSpec   *spec = lfirst_node(RoleSpec, lc);
		Oid			role = spec->roletype == ROLESPEC_CSTRING ? get_role_oid(spec->rolename, true) : InvalidOid;

		if (OidIsValid(role))
			td_role_require_no_pipelines(role);
	}
}

/* DROP EXTENSION tapdata, also by CASCADE or DROP OWNED. */
static void
access_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (next_access)
		next_access(access, class, object, sub, arg);
	if (access == OAT_DROP && class == ExtensionRelationId && object == get_extension_oid("tapdata", true))
		td_supervisor_wake_at_commit();
}

/* The database that the command needs for itself, InvalidOid = none, or not for this user. */
static Oid
database_to_empty(Node *statement)
{
	Oid			database = InvalidOid;

	if (IsA(statement, CreatedbStmt))
		return template_of(castNode(CreatedbStmt, statement));
	if (IsA(statement, DropdbStmt))
		database = get_database_oid(castNode(DropdbStmt, statement)->dbname, true);
	else if (IsA(statement, RenameStmt) && castNode(RenameStmt, statement)->renameType == OBJECT_DATABASE)
		database = get_database_oid(castNode(RenameStmt, statement)->subname, true);
	else if (IsA(statement, AlterDatabaseStmt))
		database = moved_database(castNode(AlterDatabaseStmt, statement));
	if (!OidIsValid(database) || database == MyDatabaseId || !td_database_owned_compat(database, GetUserId()))
		return InvalidOid;
	return database;
}

/* CREATE DATABASE copies template1 when nothing else is said. */
static Oid
template_of(CreatedbStmt *statement)
{
	const char *name = "template1";
	Oid			database;
	ListCell   *lc;

	foreach(lc, statement->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "template") == 0 && option->arg)
			name = defGetString(option);
	}
	if (!may_create_databases() || !OidIsValid(database = get_database_oid(name, true)))
		return InvalidOid;
	return is_template(database) || td_database_owned_compat(database, GetUserId()) ? database : InvalidOid;
}

/* Only SET TABLESPACE needs the database for itself. */
static Oid
moved_database(AlterDatabaseStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->options)
	{
		if (strcmp(lfirst_node(DefElem, lc)->defname, "tablespace") == 0)
			return get_database_oid(statement->dbname, true);
	}
	return InvalidOid;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	may = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		is = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return is;
}
