/*-------------------------------------------------------------------------
 *
 * rights.c
 *		Who may do what, asked of PostgreSQL's own privilege functions.
 *
 * NOTES
 *		Sessions.  The fmgr faces of the privilege functions are used because
 *		their C signatures differ between majors.
 *
 * IDENTIFICATION
 *		src/catalog/rights.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "catalog/pg_authid.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* One has_*_privilege function on an object by oid. */
static bool
has_privilege(PGFunction function, Oid role, Oid object, const char *privilege)
{
	return DatumGetBool(DirectFunctionCall3(function, ObjectIdGetDatum(role), ObjectIdGetDatum(object),
											CStringGetTextDatum(privilege)));
}

bool
td_may_create_connections(Oid role)
{
	return has_privilege(has_foreign_data_wrapper_privilege_id_id, role,
						 GetForeignDataWrapperByName("tapdata", false)->fdwid, "USAGE");
}

bool
td_may_use_server(Oid role, Oid server)
{
	return has_privilege(has_server_privilege_id_id, role, server, "USAGE");
}

bool
td_may_create_in_schema(Oid role, Oid schema)
{
	return has_privilege(has_schema_privilege_id_id, role, schema, "CREATE");
}

/* Nobody's tables belong there, not even a superuser's: a dump has none of what he makes in some of them. */
bool
td_schema_is_reserved(const char *schema)
{
	static const char *const reserved[] = {"tapdata", "tapdata_state", "tapdata_views", "tapdata_parts", "information_schema", "pg_catalog", "pg_toast"};

	for (size_t i = 0; i < lengthof(reserved); i++)
		if (strcmp(schema, reserved[i]) == 0)
			return true;
	return false;
}

bool
td_may_create_schemas(Oid role)
{
	return has_privilege(has_database_privilege_id_id, role, MyDatabaseId, "CREATE");
}

/* Members of pg_monitor see all that is not a record or a secret. */
bool
td_is_monitor(Oid role)
{
	return has_privs_of_role(role, ROLE_PG_MONITOR);
}

/* A role as messages name it, quoted; it may have been dropped from another database. */
char *
td_role_text(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name ? psprintf("\"%s\"", name) : psprintf("the role with OID %u, which no longer exists", role);
}

/* Names are refused, never truncated. */
void
td_check_name_length(const char *name, const char *what)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the %s must have a name", what),
				 errhint("Give a name of 1 to %d bytes.", NAMEDATALEN - 1)));
	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of the %s is too long", what),
				 errdetail("\"%s\" has %zu bytes, %d are allowed.", name, strlen(name), NAMEDATALEN - 1),
				 errhint("Choose a shorter name.")));
}
