/*-------------------------------------------------------------------------
 *
 * sql_connection.c
 *		create_connection, alter_connection, drop_connection.
 *
 * NOTES
 *		Sessions.  Each is CREATE, ALTER or DROP SERVER and USER MAPPING done as
 *		the caller, through the same C functions that the plain statements use:
 *		no statement text is made, so no secret gets into pg_stat_activity, a
 *		log or an error context beyond what the user typed himself.
 *
 * IDENTIFICATION
 *		src/catalog/sql_connection.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"

static void require_wrapper_usage(void);
static void create_server(char *name, List *pairs);
static void create_connection(FunctionCallInfo fcinfo);
static void alter_connection(FunctionCallInfo fcinfo);
static void change_server(char *name, List *old, List *changes, bool replace);
static void change_mapping(char *name, Oid server, List *changes, bool replace);
static List *difference(List *old, List *changes, bool replace);
static List *merged(List *old, List *changes, bool replace);
static void check_credentials(List *pairs, const char *connector);
static void drop_mappings(char *name, Oid server);

PG_FUNCTION_INFO_V1(td_sql_create_connection);
PG_FUNCTION_INFO_V1(td_sql_alter_connection);
PG_FUNCTION_INFO_V1(td_sql_drop_connection);

/* tapdata.create_connection(name, connector, options, credentials, or_replace) */
Datum
td_sql_create_connection(PG_FUNCTION_ARGS)
{
	td_hide_statement("SELECT tapdata.create_connection(<hidden>)");
	create_connection(fcinfo);
	PG_RETURN_VOID();
}

static void
create_connection(FunctionCallInfo fcinfo)
{
	char	   *name = td_required_text(fcinfo, 0, "name");
	char	   *connector = td_required_text(fcinfo, 1, "connector");
	List	   *options = td_optional_pairs(fcinfo, 2, "options");
	List	   *credentials = td_optional_pairs(fcinfo, 3, "credentials");
	bool		or_replace = td_flag(fcinfo, 4);
	TdPair	   *pair = palloc(sizeof(TdPair));
	Oid			server;

	td_check_name_length(name, "connection");
	if (td_pairs_has(options, "connector"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"connector\" is an argument, not an option"),
				 errhint("Leave it out of the options.")));
	pair->name = "connector";
	pair->value = connector;
	options = lcons(pair, options);
	check_credentials(credentials, connector);

	server = td_connection_server(name, true);
	if (OidIsValid(server) && or_replace)
	{
		change_server(name, td_server_pairs(server), options, true);
		change_mapping(name, server, credentials, true);
		td_pipelines_restart_at_commit(name, InvalidOid);
		return;
	}
	if (GetForeignServerByName(name, true) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 OidIsValid(server) ? errmsg("connection \"%s\" already exists", name) :
				 errmsg("a foreign server \"%s\" that is no connection already exists", name),
				 OidIsValid(server) ? errhint("Pass or_replace => true, or use tapdata.alter_connection().") :
				 errhint("Choose another name.")));
	require_wrapper_usage();
	create_server(name, options);
	change_mapping(name, td_connection_server(name, false), credentials, true);
}

/* tapdata.alter_connection(name, options, credentials) */
Datum
td_sql_alter_connection(PG_FUNCTION_ARGS)
{
	td_hide_statement("SELECT tapdata.alter_connection(<hidden>)");
	alter_connection(fcinfo);
	PG_RETURN_VOID();
}

static void
alter_connection(FunctionCallInfo fcinfo)
{
	char	   *name = td_required_text(fcinfo, 0, "name");
	List	   *options = td_optional_pairs(fcinfo, 1, "options");
	List	   *credentials = td_optional_pairs(fcinfo, 2, "credentials");
	Oid			server = td_connection_server(name, false);
	const char *connector = td_pairs_get(options, "connector");

	if (connector == NULL)
		connector = td_pairs_get(td_server_pairs(server), "connector");
	check_credentials(credentials, connector);
	if (options != NIL)
		change_server(name, td_server_pairs(server), options, false);
	if (credentials != NIL)
		change_mapping(name, server, credentials, false);
	if (options != NIL || credentials != NIL)
		td_pipelines_restart_at_commit(name, options != NIL ? InvalidOid : GetUserId());
}

/* Nobody may create connections by default. */
static void
require_wrapper_usage(void)
{
	if (td_may_create_connections(GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to create connections"),
			 errhint("A superuser can allow it: GRANT USAGE ON FOREIGN DATA WRAPPER tapdata TO %s.",
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* Options as CREATE takes them; nulls are left out. */
static List *
defelems(List *pairs)
{
	List	   *list = NIL;
	ListCell   *lc;

	foreach(lc, pairs)
	{
		TdPair	   *pair = lfirst(lc);

		if (pair->value != NULL)
			list = lappend(list, makeDefElem(pair->name, (Node *) makeString(pair->value), -1));
	}
	return list;
}

static void
create_server(char *name, List *pairs)
{
	CreateForeignServerStmt *stmt = makeNode(CreateForeignServerStmt);

	stmt->servername = name;
	stmt->fdwname = "tapdata";
	stmt->options = defelems(pairs);
	(void) CreateForeignServer(stmt);
	CommandCounterIncrement();
}

static void
change_server(char *name, List *old, List *changes, bool replace)
{
	AlterForeignServerStmt *stmt = makeNode(AlterForeignServerStmt);

	stmt->servername = name;
	stmt->options = difference(old, changes, replace);
	(void) AlterForeignServer(stmt);
	CommandCounterIncrement();
}

/* The caller's own mapping: made, changed, or removed when nothing is left of it. */
static void
change_mapping(char *name, Oid server, List *changes, bool replace)
{
	RoleSpec   *me = makeNode(RoleSpec);
	List	   *old;
	bool		exists = td_mapping_pairs(server, GetUserId(), false, &old);
	List	   *result = merged(old, changes, replace);

	me->roletype = ROLESPEC_CURRENT_USER;
	if (exists && result == NIL)
	{
		DropUserMappingStmt *stmt = makeNode(DropUserMappingStmt);

		stmt->user = me;
		stmt->servername = name;
		(void) RemoveUserMapping(stmt);
	}
	else if (exists)
	{
		AlterUserMappingStmt *stmt = makeNode(AlterUserMappingStmt);

		stmt->user = me;
		stmt->servername = name;
		stmt->options = difference(old, changes, replace);
		(void) AlterUserMapping(stmt);
	}
	else if (result != NIL)
	{
		CreateUserMappingStmt *stmt = makeNode(CreateUserMappingStmt);

		stmt->user = me;
		stmt->servername = name;
		stmt->options = defelems(result);
		(void) CreateUserMapping(stmt);
	}
	CommandCounterIncrement();
}

/* What ALTER ... OPTIONS (ADD, SET, DROP) must say to get from `old` to the changes merged in, or to the changes alone. */
static List *
difference(List *old, List *changes, bool replace)
{
	List	   *list = NIL;
	ListCell   *lc;

	foreach(lc, old)
	{
		TdPair	   *pair = lfirst(lc);
		bool		named = td_pairs_has(changes, pair->name);

		if (named ? td_pairs_get(changes, pair->name) == NULL : replace)
			list = lappend(list, makeDefElemExtended(NULL, pair->name, NULL, DEFELEM_DROP, -1));
	}
	foreach(lc, changes)
	{
		TdPair	   *pair = lfirst(lc);

		if (pair->value != NULL)
			list = lappend(list, makeDefElemExtended(NULL, pair->name, (Node *) makeString(pair->value),
													 td_pairs_has(old, pair->name) ? DEFELEM_SET : DEFELEM_ADD, -1));
	}
	return list;
}

/* The pairs that will be there in the end. */
static List *
merged(List *old, List *changes, bool replace)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, old)
		if (!replace && !td_pairs_has(changes, ((TdPair *) lfirst(lc))->name))
			result = lappend(result, lfirst(lc));
	foreach(lc, changes)
		if (((TdPair *) lfirst(lc))->value != NULL)
			result = lappend(result, lfirst(lc));
	return result;
}

/* Here the connector is known, which a user mapping's validator is not told. */
static void
check_credentials(List *pairs, const char *connector)
{
	td_options_check(pairs, td_option_rows(connector), TD_IN_MAPPING, connector);
}

/* Those who would be left without their connection: dropped too, or a reason to refuse. */
static void
drop_pipelines(const char *connection, bool cascade)
{
	static TdStatement users = {"SELECT name FROM tapdata.pipeline WHERE connection = $1 ORDER BY name", NULL};
	TdCatalogScope scope;
	List	   *names;
	ListCell   *lc;

	td_catalog_enter(&scope);
	TD_RUN(&users, td_arg_text(connection));
	names = td_col_all(1);
	td_catalog_leave(&scope);
	if (names != NIL && !cascade)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("connection \"%s\" is used by pipelines", connection),
				 errdetail("Pipelines: %s.", td_list_text(names)),
				 errhint("Drop them first with tapdata.drop_pipeline(), or pass \"cascade\" => true; their tables stay.")));
	foreach(lc, names)
	{
		td_pipeline_drop(lfirst(lc), false);
		ereport(NOTICE, (errmsg("dropped pipeline \"%s\"", (char *) lfirst(lc))));
	}
}

/* tapdata.drop_connection(name, "cascade") */
Datum
td_sql_drop_connection(PG_FUNCTION_ARGS)
{
	char	   *name = td_required_text(fcinfo, 0, "name");
	bool		cascade = td_flag(fcinfo, 1);
	Oid			server = td_connection_server(name, false);
	DropStmt   *stmt = makeNode(DropStmt);

	if (!has_privs_of_role(GetUserId(), GetForeignServer(server)->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of connection \"%s\"", name),
				 errhint("Its owner is %s.", td_role_text(GetForeignServer(server)->owner))));
	drop_pipelines(name, cascade);
	drop_mappings(name, server);
	stmt->removeType = OBJECT_FOREIGN_SERVER;
	stmt->objects = list_make1(makeString(name));
	stmt->behavior = cascade ? DROP_CASCADE : DROP_RESTRICT;
	RemoveObjects(stmt);
	PG_RETURN_VOID();
}

/* Removes every role's mapping, which is part of the connection; the owner of the server may. */
static void
drop_mappings(char *name, Oid server)
{
	static TdStatement roles = {
		"SELECT CASE WHEN umuser = 0 THEN NULL ELSE pg_get_userbyid(umuser)::text END FROM pg_user_mapping "
	"WHERE umserver = $1", NULL};
	TdCatalogScope scope;
	List	   *users = NIL;
	uint64		n;
	ListCell   *lc;

	td_catalog_enter(&scope);
	n = TD_RUN(&roles, td_arg_oid(server));
	users = td_col_all(1);
	td_catalog_leave(&scope);
	if (n > (uint64) list_length(users))
		users = lappend(users, NULL);
	foreach(lc, users)
	{
		DropUserMappingStmt *stmt = makeNode(DropUserMappingStmt);

		stmt->user = makeNode(RoleSpec);
		stmt->user->roletype = lfirst(lc) ? ROLESPEC_CSTRING : ROLESPEC_PUBLIC;
		stmt->user->rolename = lfirst(lc);
		stmt->servername = name;
		(void) RemoveUserMapping(stmt);
		CommandCounterIncrement();
	}
}
