/*-------------------------------------------------------------------------
 *
 * probe.c
 *		Looks whether a database has the extension, tells the launcher, clears
 *		away what was left behind, and ends.
 *
 * NOTES
 *		Process: background worker "tapdata probe", a few milliseconds, as the
 *		bootstrap superuser.  One at a time in the cluster.  It reads pg_extension
 *		and nothing of the users.
 *
 * IDENTIFICATION
 *		src/workers/probe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "workers/workers_internal.h"

/* The answer is given before the cleaning: what goes wrong there is only logged. */
void
td_probe_main(Datum main_arg)
{
	bool		present;

	td_worker_begin(main_arg, TD_WORKER_PROBE);
	td_worker_status("running");

	StartTransactionCommand();
	present = OidIsValid(get_extension_oid("tapdata", true));
	CommitTransactionCommand();

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	if (td_shared->probe_database == MyDatabaseId)
		td_shared->probe_answer = present ? TD_PROBE_PRESENT : TD_PROBE_ABSENT;
	LWLockRelease(td_shared->lock);

	td_cleanup_database(present);
	proc_exit(0);
}
