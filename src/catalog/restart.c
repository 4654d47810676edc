/*-------------------------------------------------------------------------
 *
 * restart.c
 *		Restarting workers once a changed definition is committed.
 *
 * NOTES
 *		Sessions.  The ids wait in TopTransactionContext; after commit the
 *		workers are asked to stop, and the supervisor, which still wants them,
 *		starts them with what is then in the catalog.  A rolled-back change
 *		restarts nothing.  A rolled-back subtransaction may restart a worker in
 *		vain, which costs a second and loses nothing.
 *
 * IDENTIFICATION
 *		src/catalog/restart.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "utils/memutils.h"
#include "workers/workers.h"

static List *restarts = NIL;	/* of pipeline ids, in TopTransactionContext */

/* After commit, asks the workers to stop; must not raise. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event == XACT_EVENT_COMMIT)
		foreach(lc, restarts)
			(void) td_worker_request_stop(TD_WORKER_PIPELINE, lfirst_int(lc), false);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		restarts = NIL;
}

/* The pipeline's worker starts anew after commit, if one runs. */
void
td_pipeline_restart_at_commit(int32 id)
{
	static bool registered = false;
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	restarts = list_append_unique_int(restarts, id);
	MemoryContextSwitchTo(old);
	if (!registered)
		RegisterXactCallback(at_end_of_transaction, NULL);
	registered = true;
	td_supervisor_wake_at_commit();
}

/* All pipelines that use a connection and are wanted; one that failed or waits for its next try starts at once. */
void
td_pipelines_restart_at_commit(const char *connection, Oid owner)
{
	static TdStatement users = {
		"SELECT id, name, status FROM tapdata.pipeline p JOIN tapdata.pipeline_state s ON s.pipeline = p.id "
		"WHERE connection = $1 AND desired = 'running' AND ($2 = 0::oid OR owner = $2) "
	"AND status NOT IN ('completed', 'fenced') ORDER BY name", NULL};
	TdCatalogScope scope;
	List	   *names;
	List	   *waiting = NIL;
	ListCell   *lc;

	td_catalog_enter(&scope);
	TD_RUN(&users, td_arg_text(connection), td_arg_oid(owner));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *status = td_col_text(i, 3);

		td_pipeline_restart_at_commit(td_col_int(i, 1));
		if (strcmp(status, "failed") == 0 || strcmp(status, "retrying") == 0)
			waiting = lappend_int(waiting, td_col_int(i, 1));
	}
	names = td_col_all(2);
	foreach(lc, waiting)
		td_pipeline_set_status(lfirst_int(lc), "stopped");	/* from where the supervisor starts it at once */
	td_catalog_leave(&scope);
	if (names != NIL)
		ereport(NOTICE,
				(errmsg("restarting pipelines that use connection \"%s\": %s", connection, td_list_text(names))));
}
