/*-------------------------------------------------------------------------
 *
 * connector.c
 *		What connectors there are and what they can do, asked of the host
 *		program; the settings of this room.
 *
 * NOTES
 *		Runs in sessions (validator, tapdata.connectors).  A connector is never
 *		loaded into a server process: `tapdata-host --describe NAME` loads it in
 *		a child that has two seconds.
 *
 * IDENTIFICATION
 *		src/connector/connector.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "connector/connector_internal.h"
#include "util/util.h"

#define DESCRIBE_MS 2000

int			td_connector_timeout = 60000;
char	   *td_connector_path = NULL;

typedef struct Description
{
	char		name[NAMEDATALEN];
	char	   *path;			/* the directories it was found in: another path, another answer */
	char	   *json;
} Description;

static HTAB *descriptions = NULL;

static char *run_host(char *const argv[], int *exit_code, char **errors);
static void collect(int fd_out, int fd_err, TimestampTz until, StringInfo out, StringInfo err);
static void check_name(const char *connector);
static void no_such_connector(const char *connector, const char *reason) pg_attribute_noreturn();

/* Settings, from _PG_init. */
void
td_connector_init(void)
{
	DefineCustomStringVariable("tapdata.connector_path",
							   "Directories to look for connectors in before the installation's own.",
							   "Separated by colons.",
							   &td_connector_path, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tapdata.connector_timeout",
							"Longest time that one call of a connector may take.",
							"A connector that takes longer hangs, and its pipeline fails.",
							&td_connector_timeout, 60000, 1000, 3600 * 1000, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* The connector's name, version, capabilities and option table as JSON; lives as long as the session. */
const char *
td_connector_describe(const char *connector)
{
	char	   *reason;
	const char *json = td_connector_try_describe(connector, &reason);

	if (json == NULL)
		no_such_connector(connector, reason);
	return json;
}

/* The same, but NULL and the reason for one that can't be used. */
const char *
td_connector_try_describe(const char *connector, char **reason)
{
	char	   *path = td_connector_directories();
	char	   *argv[] = {td_host_program(), "--describe", (char *) connector, path, NULL};
	Description *d;
	bool		found;
	int			exit_code;
	char	   *json;
	char		key[NAMEDATALEN];

	check_name(connector);
	if (descriptions == NULL)
	{
		HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(Description)};

		descriptions = hash_create("tapdata connectors", 16, &ctl, HASH_ELEM | HASH_STRINGS);
	}
	strlcpy(key, connector, sizeof(key));
	d = hash_search(descriptions, key, HASH_FIND, &found);
	if (found && strcmp(d->path, path) == 0)
		return d->json;

	json = run_host(argv, &exit_code, reason);
	if (exit_code != 0)
		return NULL;
	d = hash_search(descriptions, key, HASH_ENTER, &found);
	d->path = MemoryContextStrdup(TopMemoryContext, path);
	d->json = MemoryContextStrdup(TopMemoryContext, json);
	return d->json;
}

/* Names of all connectors found, palloc'ed. */
List *
td_connector_list(void)
{
	char	   *argv[] = {td_host_program(), "--list", td_connector_directories(), NULL};
	List	   *names = NIL;
	int			exit_code;
	char	   *errors;
	char	   *out = run_host(argv, &exit_code, &errors);
	char	   *save = NULL;

	if (exit_code != 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not list the connectors"),
				 errdetail("%s ended with exit code %d: %s", argv[0], exit_code, errors),
				 errhint("Install tapdata again: `make install`.")));
	for (char *name = strtok_r(out, "\n", &save); name; name = strtok_r(NULL, "\n", &save))
		names = lappend(names, pstrdup(name));
	return names;
}

/* A connector's name is a file's name without directories. */
static void
check_name(const char *connector)
{
	if (connector[0] == '\0' || strlen(connector) >= NAMEDATALEN ||
		strspn(connector, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(connector))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid connector name \"%s\"", connector),
				 errhint("Names have the letters a-z, digits and underscores only.")));
}

static void
no_such_connector(const char *connector, const char *reason)
{
	List	   *names = td_connector_list();
	bool		mariadb = strcmp(connector, "mariadb") == 0 || strcmp(connector, "maria") == 0;
	const char *closest = td_closest(mariadb ? "mysql" : connector, names);
	bool		listed = false;
	ListCell   *lc;

	foreach(lc, names)
		listed |= strcmp(lfirst(lc), connector) == 0;
	if (listed)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("the connector \"%s\" can't be used", connector),
				 errdetail("%s", reason)));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("connector \"%s\" does not exist", connector),
			 mariadb && closest && strcmp(closest, "mysql") == 0 ? errhint("The connector \"mysql\" reads MariaDB.") :
			 closest ? errhint("Perhaps you meant the connector \"%s\".", closest)
			 : errhint("SELECT name FROM tapdata.connectors shows those that are installed.")));
}

/* Runs the host program to its end, at most DESCRIBE_MS; returns its output. */
static char *
run_host(char *const argv[], int *exit_code, char **errors)
{
	int			out[2];
	int			err[2];
	volatile pid_t pid = 0;
	int			status = 0;
	StringInfoData text;
	StringInfoData reason;

	initStringInfo(&text);
	initStringInfo(&reason);
	if (pipe2(out, O_CLOEXEC) < 0)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not make a pipe: %m")));
	if (pipe2(err, O_CLOEXEC) < 0)
	{
		close(out[0]);
		close(out[1]);
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("could not make a pipe: %m")));
	}
	PG_TRY();
	{
		pid = td_spawn(argv, -1, -1, out[1], err[1]);
		close(out[1]);
		close(err[1]);
		out[1] = err[1] = -1;
		collect(out[0], err[0], TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DESCRIBE_MS), &text, &reason);
	}
	PG_FINALLY();
	{
		close(out[0]);
		close(err[0]);
		if (out[1] >= 0)
			close(out[1]);
		if (err[1] >= 0)
			close(err[1]);
		if (pid > 0)
		{
			kill(pid, SIGKILL);
			while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
				;
		}
	}
	PG_END_TRY();
	*exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	*errors = reason.len > 0 ? reason.data :
		*exit_code == 127 ? psprintf("the program \"%s\" can't be run", argv[0]) :
		psprintf("it did not answer within %d ms or crashed", DESCRIBE_MS);
	return text.data;
}

/* Reads both pipes until they are closed or the time has passed. */
static void
collect(int fd_out, int fd_err, TimestampTz until, StringInfo out, StringInfo err)
{
	int			fds[2] = {fd_out, fd_err};
	StringInfo	into[2] = {out, err};

	fcntl(fd_out, F_SETFL, O_NONBLOCK);
	fcntl(fd_err, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 2; i++)
	{
		for (;;)
		{
			char		chunk[8192];
			ssize_t		n = read(fds[i], chunk, sizeof(chunk));
			long		left;

			if (n > 0)
			{
				appendBinaryStringInfo(into[i], chunk, n);
				continue;
			}
			if (n == 0)
				break;
			left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
			if (left <= 0)
				return;
			if (WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
								  fds[i], left, PG_WAIT_EXTENSION) & WL_LATCH_SET)
			{
				ResetLatch(MyLatch);
				CHECK_FOR_INTERRUPTS();
			}
		}
	}
	while (err->len > 0 && err->data[err->len - 1] == '\n')
		err->data[--err->len] = '\0';
	pg_verify_mbstr(GetDatabaseEncoding(), out->data, out->len, false);
}
