/*-------------------------------------------------------------------------
 *
 * follow.c
 *		Pipelines follow what plain DDL does to servers and roles, which they
 *		name without a dependency.
 *
 * NOTES
 *		Sessions, called by the utility hook around a command, in its
 *		transaction.  A renamed server is renamed in our catalog; workers go on.
 *		When a server is dropped its pipelines start anew at commit, and fail
 *		with the reason.  A role that owns pipelines or views of this database is
 *		not dropped; from another database it can be, see td_role_text.
 *
 * IDENTIFICATION
 *		src/catalog/follow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "utils/builtins.h"

/* After ALTER SERVER ... RENAME: a server of ours keeps its pipelines. */
void
td_connection_renamed(const char *from, const char *to)
{
	static TdStatement rename = {"UPDATE tapdata.pipeline SET connection = $2 WHERE connection = $1", NULL};
	TdCatalogScope scope;

	CommandCounterIncrement();
	if (!OidIsValid(td_connection_server(to, true)))
		return;
	td_catalog_enter(&scope);
	TD_RUN(&rename, td_arg_text(from), td_arg_text(to));
	td_catalog_leave(&scope);
}

/* The connections that pipelines use, without those that are gone already. */
List *
td_connections_used(void)
{
	static TdStatement used = {
		"SELECT DISTINCT p.connection FROM tapdata.pipeline p JOIN pg_foreign_server s ON s.srvname = p.connection "
	"JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE w.fdwname = 'tapdata' ORDER BY 1", NULL};
	TdCatalogScope scope;
	List	   *names;

	td_catalog_enter(&scope);
	td_run(&used, 0, NULL);
	names = td_col_all(1);
	td_catalog_leave(&scope);
	return names;
}

/* After a command that drops servers: pipelines of those of names that are gone fail at commit instead of going on. */
void
td_connections_dropped(List *names)
{
	ListCell   *lc;

	CommandCounterIncrement();
	foreach(lc, names)
		if (!OidIsValid(td_connection_server(lfirst(lc), true)))
			td_pipelines_restart_at_commit(lfirst(lc), InvalidOid);
}

/* Before DROP ROLE: 2BP01 when it owns pipelines or views here. */
void
td_role_require_no_pipelines(Oid role)
{
	static TdStatement pipelines = {"SELECT name FROM tapdata.pipeline WHERE owner = $1 ORDER BY name", NULL};
	static TdStatement views = {
	"SELECT format('%I.%I', table_schema, table_name) FROM tapdata.view WHERE owner = $1 ORDER BY 1", NULL};
	TdCatalogScope scope;
	List	   *names;
	bool		is_view;

	td_catalog_enter(&scope);
	TD_RUN(&pipelines, td_arg_oid(role));
	names = td_col_all(1);
	is_view = names == NIL;
	if (is_view)
	{
		TD_RUN(&views, td_arg_oid(role));
		names = td_col_all(1);
	}
	td_catalog_leave(&scope);
	if (names == NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("role %s cannot be dropped because it owns %s", td_role_text(role), is_view ? "views" : "pipelines"),
			 errdetail("%s of this database: %s.", is_view ? "Views" : "Pipelines", td_list_text(names)),
			 is_view ? errhint("Give them to somebody else with REASSIGN OWNED, or drop each: SELECT tapdata.drop_view(%s).",
							   quote_literal_cstr(linitial(names))) :
			 errhint("REASSIGN OWNED does not move pipelines. Drop each: SELECT tapdata.drop_pipeline(%s).",
					 quote_literal_cstr(linitial(names)))));
}
