/*-------------------------------------------------------------------------
 *
 * settings.c
 *		The settings of the room, and the spool directory.
 *
 * NOTES
 *		All of them can be changed by a reload; none needs a restart.
 *
 * IDENTIFICATION
 *		src/workers/settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/guc.h"

#include "workers/workers_internal.h"

#define SPOOL_PREFIX "spool."	/* of files in the spool directory (src/stream/spool.c) */

bool		td_enabled = true;
int			td_max_workers = 64;
int			td_worker_memory = 64 * 1024;
char	   *td_spool_directory = NULL;
int			td_spool_limit = 10 * 1024;
int			td_max_wal_kept = 10 * 1024;

static bool
check_spool_directory(char **value, void **extra, GucSource source)
{
	if (**value == '\0')
	{
		GUC_check_errdetail("The spool directory must not be empty.");
		return false;
	}
	if (strlen(*value) + strlen(DataDir ? DataDir : "") + 2 > MAXPGPATH - 64)
	{
		GUC_check_errdetail("The path is too long.");
		return false;
	}
	canonicalize_path(*value);
	return true;
}

void
td_settings_init(void)
{
	DefineCustomBoolVariable("tapdata.enabled", "Runs tapdata's processes.",
							 "Off ends all of them but the launcher; pipelines go on where they stood when it is on again.",
							 &td_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tapdata.max_workers", "Background workers that tapdata may run at a time, in all databases together.",
							"max_worker_processes is a limit as well.",
							&td_max_workers, td_max_workers, 1, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tapdata.max_wal_kept", "WAL that the replication slot of a group of live views may keep.",
							"A slot that keeps more is given up, and its views are filled anew; -1 or 0 sets no limit.",
							&td_max_wal_kept, td_max_wal_kept, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("tapdata.nice", "How far the workers of live views give way to sessions on a saturated machine, as a nice value.",
							"0: they have the priority of sessions.  Workers that are behind for long have it anyway.  Linux only.",
							&td_nice, td_nice, 0, 19, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tapdata.spool_limit", "Disk space that one worker may use for spooled records.",
							"At the limit reading from the source stops; nothing is dropped.",
							&td_spool_limit, td_spool_limit, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomStringVariable("tapdata.spool_directory", "Where records are spooled that do not fit into memory.",
							   "Relative to the data directory. It belongs to this server alone.",
							   &td_spool_directory, "pgsql_tmp_tapdata", PGC_SIGHUP, 0, check_spool_directory, NULL, NULL);
	DefineCustomIntVariable("tapdata.worker_memory", "Memory that one worker may use for records before it spills to disk.",
							NULL, &td_worker_memory, td_worker_memory, 1024, MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* The spool directory as an absolute path, made if it is missing; nobody but the server's user can look into it. */
const char *
td_spool_path(void)
{
	static char path[MAXPGPATH];

	if (is_absolute_path(td_spool_directory))
		strlcpy(path, td_spool_directory, sizeof(path));
	else
		snprintf(path, sizeof(path), "%s/%s", DataDir, td_spool_directory);
	if (mkdir(path, S_IRWXU) < 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create spool directory \"%s\": %m", path),
				 errhint("Make it for the server's user, or set tapdata.spool_directory to another one and reload.")));
	return path;
}

/*
 * Files that a crash left between their creation and their unlinking.  Only
 * names of ours are touched: the setting may name a folder with other things.
 */
void
td_spool_empty(void)
{
	const char *path = td_spool_path();
	DIR		   *dir = AllocateDir(path);
	struct dirent *entry;

	while ((entry = ReadDirExtended(dir, path, LOG)) != NULL)
	{
		char		file[MAXPGPATH * 2];

		if (strncmp(entry->d_name, SPOOL_PREFIX, strlen(SPOOL_PREFIX)) != 0)
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (unlink(file) < 0)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not remove spool file \"%s\": %m", file)));
	}
	FreeDir(dir);
}
