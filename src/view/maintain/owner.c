/*-------------------------------------------------------------------------
 *
 * owner.c
 *		May the owner of a view connect?
 *
 * NOTES
 *		Sessions, and the view worker in a transaction.  Ticks are run with an
 *		owner's rights, fills by a process that connects as him: the server ends
 *		one whose role may not, before it can say so anywhere but in the log.
 *
 * IDENTIFICATION
 *		src/view/maintain/owner.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

#include "view/view_internal.h"

static bool
may_log_in(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		may = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

bool
td_owner_connects(Oid role, const char *otherwise, TdError *err)
{
	const char *name = quote_identifier(GetUserNameFromId(role, false));

	if (!may_log_in(role))
	{
		td_error_set(err, "55000", "role \"%s\" may not log in, and thus can't own live views", GetUserNameFromId(role, false));
		td_error_hint(err, "ALTER ROLE %s LOGIN, or %s.", name, otherwise);
	}
	else if (!DatumGetBool(DirectFunctionCall3(has_database_privilege_id_id, ObjectIdGetDatum(role), ObjectIdGetDatum(MyDatabaseId), CStringGetTextDatum("CONNECT"))))
	{
		td_error_set(err, "55000", "role \"%s\" may not connect to this database, and thus can't own live views", GetUserNameFromId(role, false));
		td_error_hint(err, "GRANT CONNECT ON DATABASE %s TO %s, or %s.", quote_identifier(get_database_name(MyDatabaseId)), name, otherwise);
	}
	else
		return true;
	return td_error_detail(err, "The background workers that fill a view connect as its owner.");
}
