/*-------------------------------------------------------------------------
 *
 * check.c
 *		What a pipeline needs of a source, each item with what mends it.
 *
 * connectors/tapdata/check.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "tapdata_internal.h"

/* The connection itself. */
static bool
check_connection(TdConn *conn, TdCheckFn report, void *arg, TdError *err)
{
	PGresult   *res = td_tp_query(conn, err, "SELECT current_setting('server_version'), session_user, pg_is_in_recovery(), "
								  "round(extract(epoch FROM clock_timestamp()) * 1000)", 0, NULL);
	char		detail[300];
	double		apart;

	if (res == NULL)
		return false;
	snprintf(detail, sizeof(detail), "PostgreSQL %s as \"%s\", %s", PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1),
			 PQsslInUse(conn->pg) ? PQsslAttribute(conn->pg, "cipher") : "without TLS");
	report(arg, "connection", true, detail, "");
	report(arg, "notices", true, PQgetvalue(res, 0, 2)[0] == 't' ? "a standby sends none: changes are looked for ten times a second" : "as soon as something changes", "");
	apart = (strtod(PQgetvalue(res, 0, 3), NULL) - (double) (td_now() / 1000 + TD_EPOCH_UNIX_SECONDS * 1000)) / 1000;
	snprintf(detail, sizeof(detail), "%.1f s apart", apart);
	report(arg, "clock", apart > -5 && apart < 5, detail, apart > -5 && apart < 5 ? "" : "Run NTP on both machines: \"lag\" compares their clocks.");
	PQclear(res);
	return true;
}

/* Views that can be read, and those of them that can't be carried. */
static bool
check_views(TdConn *conn, TdCheckFn report, void *arg, TdError *err)
{
	TdTpTables	tables;
	bool		ok = td_tp_load_tables(conn, conn->schema, NULL, &tables, err);
	char		detail[100];

	snprintf(detail, sizeof(detail), "%u live views keep their changes and may be read", tables.n);
	if (ok)
		report(arg, "views", tables.n > 0, detail, tables.n > 0 ? "" :
			   "At the source, for each view: SELECT tapdata.alter_view('the_view', '{\"changes\": true}'); and GRANT SELECT on it to the connection's user.");
	for (uint32_t i = 0; ok && i < tables.n; i++)
		if (tables.v[i].problem.sqlstate[0])
			report(arg, tables.v[i].name, false, tables.v[i].problem.message, tables.v[i].problem.hint);
	td_tp_free_tables(&tables);
	return ok;
}

/* Reports all of it, see tapdata_connector.h. */
TdStatus
td_tp_check(TdConn *conn, TdCheckFn report, void *arg, TdError *err)
{
	if (td_tp_session(conn, err) && check_connection(conn, report, arg, err) && check_views(conn, report, arg, err))
		return TD_OK;
	return TD_FAIL;
}
