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

static void answer(TdProbeAnswer is);
static void stop_orphans(void);

/*
 * Where the extension is present the answer is given before the cleaning, and what goes wrong there is only logged.  Where it is absent it is
 * given after that: without an answer the launcher sends another probe, later and later.
 */
void
td_probe_main(Datum main_arg)
{
	bool		present;

	td_worker_begin(main_arg, TD_WORKER_PROBE);
	td_worker_status("running");

	StartTransactionCommand();
	present = OidIsValid(get_extension_oid("tapdata", true));
	CommitTransactionCommand();

	if (present)
		answer(TD_PROBE_PRESENT);
	else
		stop_orphans();
	if (td_cleanup_database(present) && !present)
		answer(TD_PROBE_ABSENT);
	proc_exit(0);
}

static void
answer(TdProbeAnswer is)
{
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	if (td_shared->probe_database == MyDatabaseId)
		td_shared->probe_answer = is;
	LWLockRelease(td_shared->lock);
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
