/*-------------------------------------------------------------------------
 *
 * workers.c
 *		Entry of the room: settings, shared memory, hooks and the launcher.
 *
 * NOTES
 *		Runs in the postmaster, at preload.  Loaded later, only the settings are
 *		there and td_shared stays NULL.
 *
 * IDENTIFICATION
 *		src/workers/workers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "workers/workers_internal.h"

static shmem_request_hook_type next_request = NULL;
static shmem_startup_hook_type next_startup = NULL;

static void
request(void)
{
	if (next_request)
		next_request();
	td_slots_request();
}

static void
startup(void)
{
	if (next_startup)
		next_startup();
	td_slots_startup();
}

/* The postmaster starts it when recovery is over, and again whenever it ends. */
static void
register_launcher(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "tapdata", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "td_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "tapdata launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "tapdata launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
td_workers_init(void)
{
	td_settings_init();
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)	/* pg_upgrade wants both clusters as they are, and makes what we would refuse */
		return;
	next_request = shmem_request_hook;
	shmem_request_hook = request;
	next_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
	td_xact_init();
	td_hooks_init();
	register_launcher();
}
