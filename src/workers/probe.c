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

#include <signal.h>

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "workers/workers_internal.h"

static void stop_orphans(void);

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

	if (!present)
		stop_orphans();
	td_cleanup_database(present);
	proc_exit(0);
}

/*
 * Workers that lost their supervisor just when the extension was dropped.  What
 * belongs to them can be cleared away once they are gone.
 */
static void
stop_orphans(void)
{
	if (!td_workers_any(MyDatabaseId, false))
		return;
	td_workers_signal(MyDatabaseId, SIGTERM, false);
	(void) td_workers_wait_none(MyDatabaseId, false, TD_STOP_TIMEOUT_MS);
}
