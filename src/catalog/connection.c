/*-------------------------------------------------------------------------
 *
 * connection.c
 *		Connections: foreign servers of the wrapper tapdata with their user
 *		mappings.
 *
 * NOTES
 *		Sessions and workers.  A TdConnection holds secrets in clear: it goes
 *		to a connector host and nowhere else.
 *
 * IDENTIFICATION
 *		src/catalog/connection.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/catalog_internal.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "connector/connector.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

static void missing_connection(const char *name) pg_attribute_noreturn();
static void missing_usage(const char *name, Oid role) pg_attribute_noreturn();
static void add_pairs(TdConnection *c, List *pairs);
static void validate_server(List *pairs);

/* Is this one of our servers? */
static bool
is_ours(const ForeignServer *server)
{
	return strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "tapdata") == 0;
}

/* The server of a connection. */
Oid
td_connection_server(const char *name, bool missing_ok)
{
	ForeignServer *server = strlen(name) < NAMEDATALEN ? GetForeignServerByName(name, true) : NULL;

	if (server != NULL && is_ours(server))
		return server->serverid;
	if (!missing_ok)
		missing_connection(name);
	return InvalidOid;
}

static void
missing_connection(const char *name)
{
	static TdStatement names = {
		"SELECT s.srvname::text FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw "
	"WHERE w.fdwname = 'tapdata'", NULL};
	TdCatalogScope scope;
	List	   *known;
	const char *closest;

	td_catalog_enter(&scope);
	td_run(&names, 0, NULL);
	known = td_col_all(1);
	td_catalog_leave(&scope);
	closest = td_closest(name, known);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("connection \"%s\" does not exist", name),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) :
			 errhint("Create it with SELECT tapdata.create_connection(name, connector, options, credentials).")));
}

static void
missing_usage(const char *name, Oid role)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for connection \"%s\"", name),
			 errhint("Its owner or a superuser can allow it: GRANT USAGE ON FOREIGN SERVER %s TO %s.",
					 quote_identifier(name), quote_identifier(GetUserNameFromId(role, false)))));
}

/* The options of a server, `connector` among them. */
List *
td_server_pairs(Oid server)
{
	return td_pairs_of_options(GetForeignServer(server)->options);
}

/* The options of the role's own mapping, else of PUBLIC's. */
bool
td_mapping_pairs(Oid server, Oid role, bool or_public, List **pairs)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role), ObjectIdGetDatum(server));
	Datum		options;
	bool		null;

	*pairs = NIL;
	if (!HeapTupleIsValid(tuple) && or_public)
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		return false;
	options = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions, &null);
	if (!null)
		*pairs = td_pairs_of_options(untransformRelOptions(options));
	ReleaseSysCache(tuple);
	return true;
}

/* A role without credentials of its own uses nobody else's. */
static void
check_needs_none(const char *name, Oid role, List *rows)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		TdOptionRow *row = lfirst(lc);

		if (row->required && row->credential && !row->fallback)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("role \"%s\" has no credentials for connection \"%s\"", GetUserNameFromId(role, false), name),
					 errhint("Give its own: SELECT tapdata.alter_connection(%s, credentials => '{\"%s\": \"...\"}').",
							 quote_literal_cstr(name), row->name)));
	}
}

/* Everything a connector host needs to know. */
TdConnection *
td_connection_load(const char *name, Oid role)
{
	TdConnection *c = palloc0(sizeof(TdConnection));
	List	   *options;
	List	   *credentials;
	List	   *rows;
	bool		mapped;

	c->server = td_connection_server(name, false);
	c->name = pstrdup(name);
	if (!td_may_use_server(role, c->server))
		missing_usage(name, role);
	options = td_server_pairs(c->server);
	c->connector = pstrdup(td_pairs_get(options, "connector"));
	mapped = td_mapping_pairs(c->server, role, true, &credentials);
	rows = td_option_rows(c->connector);
	if (!mapped)
		check_needs_none(name, role, rows);

	/*
	 * A mapping's validator did not know the connector: a name that is a
	 * credential elsewhere must not override an option here.
	 */
	for (int i = 0; i < list_length(credentials); i++)
	{
		TdPair	   *pair = list_nth(credentials, i);
		bool		known = false;
		ListCell   *lc;

		foreach(lc, rows)
		{
			TdOptionRow *row = lfirst(lc);

			known = known || (row->credential && strcmp(row->name, pair->name) == 0);
		}
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("connector \"%s\" has no credential \"%s\"", c->connector, pair->name),
					 errhint("Remove it: SELECT tapdata.alter_connection('%s', credentials => '{\"%s\": null}').",
							 name, pair->name)));
	}
	td_options_check_required(credentials, rows, TD_IN_MAPPING, c->connector);
	add_pairs(c, options);
	add_pairs(c, credentials);
	return c;
}

static void
add_pairs(TdConnection *c, List *pairs)
{
	int			room = c->noptions + list_length(pairs) + 1;
	ListCell   *lc;

	c->names = c->names ? repalloc(c->names, sizeof(char *) * room) : palloc(sizeof(char *) * room);
	c->values = c->values ? repalloc(c->values, sizeof(char *) * room) : palloc(sizeof(char *) * room);
	foreach(lc, pairs)
	{
		TdPair	   *pair = lfirst(lc);

		if (strcmp(pair->name, "connector") == 0)
			continue;
		c->names[c->noptions] = pstrdup(pair->name);
		c->values[c->noptions++] = pstrdup(pair->value);
	}
}

/*
 * A statement that may hold credentials is shown to nobody from here on:
 * neither by pg_stat_activity nor beside an error in the server's log.
 */
void
td_hide_statement(const char *instead)
{
	debug_query_string = instead;
	pgstat_report_activity(STATE_RUNNING, instead);
}

PG_FUNCTION_INFO_V1(td_sql_fdw_validator);

/* tapdata.fdw_validator(options, catalog): called by CREATE and ALTER SERVER and USER MAPPING with all options as they would be. */
Datum
td_sql_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *pairs = td_pairs_of_options(untransformRelOptions(PG_GETARG_DATUM(0)));
	Oid			catalog = PG_GETARG_OID(1);

	td_hide_statement("<options of a connection of tapdata>");
	if (catalog == ForeignServerRelationId)
		validate_server(pairs);
	else if (catalog == UserMappingRelationId)
		td_options_check(pairs, pairs ? td_all_credential_rows() : NIL, TD_IN_MAPPING, NULL);
	else if (catalog == ForeignTableRelationId || catalog == AttributeRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("connections of tapdata have no foreign tables"),
				 errhint("Keep a live copy of the table with SELECT tapdata.mirror(connection, tables).")));
	else if (pairs != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the foreign-data wrapper tapdata has no options"),
				 errhint("Options belong to a connection (CREATE SERVER).")));
	PG_RETURN_VOID();
}

/* The options of a server. */
static void
validate_server(List *pairs)
{
	const char *connector = td_pairs_get(pairs, "connector");
	List	   *rows;

	if (connector == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"connector\" is missing"),
				 errhint("Name one of: %s.", td_list_text(td_connector_list()))));
	rows = td_option_rows(connector);
	td_options_check(pairs, rows, TD_IN_SERVER, connector);
	td_options_check_required(pairs, rows, TD_IN_SERVER, connector);
}

const char *
td_connection_database(const TdConnection *connection)
{
	for (int i = 0; i < connection->noptions; i++)
		if (strcmp(connection->names[i], "database") == 0)
			return connection->values[i];
	return "";
}
