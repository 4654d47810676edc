/*-------------------------------------------------------------------------
 *
 * case_open.c
 *		Loading, options, opening and closing, check, errors of open.
 *
 * connectors/tck/case_open.c
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>

#include "tck_internal.h"

/* Entries of a folder of /proc/self. */
static int
count_entries(const char *path)
{
	DIR		   *dir = opendir(path);
	int			n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* The library, and that the host would refuse it, were it another one. */
void
tck_case_load(Tck *tck)
{
	TdConnector changed,
				copy;
	TdError		err;

	if (!tck_ok(td_load_connector(tck->name, tck->path, &tck->api, &err), "load: the host accepts it"))
	{
		tck_note(&err);
		return;
	}
	changed = tck->api;
	changed.minor = TD_ABI_MINOR + 1;
	tck_ok(!td_load_judge(&changed, tck->name, &copy, &err) && strstr(err.detail, "ABI"), "load: a newer ABI is refused, versions named");
	changed = tck->api;
	changed.name = "another";
	tck_ok(!td_load_judge(&changed, tck->name, &copy, &err), "load: a name that is not the file's is refused");
	for (const TdOption *o = tck->api.options; o->name; o++)
		tck_ok(o->help && o->help[0] && strchr(o->help, '\n') == NULL, "load: option \"%s\" has one line of help", o->name);
	if (!tck_ok(td_options_resolve(&tck->api, tck->options, tck->noptions, &tck->config, &err), "options: those given are accepted"))
		tck_note(&err);
}

/* What the host's check of the option table refuses. */
void
tck_case_options(Tck *tck)
{
	TdGiven		more[TCK_OPTIONS_MAX + 1];
	TdConfig	config;
	TdError		err;
	uint32_t	n = tck_override(tck, NULL, 0, more);

	more[n].name = (char *) "no_such_option";
	more[n].value = (char *) "1";
	tck_ok(!td_options_resolve(&tck->api, more, n + 1, &config, &err) && strcmp(err.sqlstate, "22023") == 0,
		   "options: an unknown one is 22023");
	td_config_free(&config);
	for (const TdOption *o = tck->api.options; o->name; o++)
	{
		TdGiven		junk = {(char *) o->name, (char *) "\x01junk"};

		if (o->kind != TD_OPTION_INT && o->kind != TD_OPTION_BOOL && o->choices == NULL)
			continue;
		n = tck_override(tck, &junk, 1, more);
		tck_ok(!td_options_resolve(&tck->api, more, n, &config, &err) && strcmp(err.sqlstate, "22023") == 0 && err.hint[0],
			   "options: junk for \"%s\" is 22023 with a hint", o->name);
		td_config_free(&config);
	}
}

/* Descriptors and threads stay as they are. */
void
tck_case_open_close(Tck *tck)
{
	TdConn	   *conn;
	TdError		err;
	int			fds = 0;
	int			threads = 0;

	for (int i = 0; i < tck->rounds; i++)
	{
		if (!tck_open(tck, &conn, &err))
		{
			tck_ok(false, "open: round %d", i);
			tck_note(&err);
			return;
		}
		tck->api.close(conn);
		if (i == 0)
		{
			/* the first round may load what stays loaded */
			fds = count_entries("/proc/self/fd");
			threads = count_entries("/proc/self/task");
		}
	}
	tck_ok(count_entries("/proc/self/fd") <= fds, "open: %d rounds leave no descriptor open", tck->rounds);
	tck_ok(count_entries("/proc/self/task") <= threads, "open: and no thread");
}

typedef struct Items
{
	int			n;
	int			bad;
	int			without_hint;
} Items;

/* One line of check. */
static void
take_item(void *arg, const char *item, bool ok, const char *detail, const char *hint)
{
	Items	   *items = arg;

	items->n++;
	items->bad += !ok;
	items->without_hint += !ok && (hint == NULL || hint[0] == '\0');
	printf("# check: %s %s: %s\n", ok ? "ok" : "NOT OK", item, detail ? detail : "");
}

/* A source that is well set passes. */
void
tck_case_check(Tck *tck)
{
	Items		items = {0};
	TdConn	   *conn;
	TdError		err;

	if (!tck_open(tck, &conn, &err))
		return;
	if (!tck_ok(tck->api.check(conn, take_item, &items, &err) == TD_OK, "check: runs"))
		tck_note(&err);
	tck_ok(items.n > 0 && items.bad == 0, "check: %d items, all of them well", items.n);
	tck_ok(items.without_hint == 0, "check: a hint with each that is not");
	tck->api.close(conn);
}

/* No text of the error may hold a secret of the config. */
static bool
keeps_secrets(const Tck *tck, const TdConfig *config, const TdError *err)
{
	for (const TdOption *o = tck->api.options; o->name; o++)
	{
		const char *secret = o->secret ? td_config_get(config, o->name) : NULL;

		if (secret && strlen(secret) >= 4 && (strstr(err->message, secret) || strstr(err->detail, secret) || strstr(err->hint, secret)))
			return false;
	}
	return true;
}

/* Wrong options end in the error that was foretold. */
void
tck_case_errors(Tck *tck)
{
	for (uint32_t i = 0; i < tck->nwrong; i++)
	{
		TckWrong   *w = &tck->wrong[i];
		TdGiven		more[TCK_OPTIONS_MAX];
		uint32_t	n = tck_override(tck, &w->option, 1, more);
		TdConfig	config;
		TdConn	   *conn = NULL;
		TdError		err = {""};
		bool		opened = false;

		if (td_options_resolve(&tck->api, more, n, &config, &err))
			opened = tck->api.open(&tck->services, &config, &conn, &err) == TD_OK;
		tck_ok(!opened, "errors: open fails with another \"%s\"", w->option.name);
		if (!tck_ok(strcmp(err.sqlstate, w->sqlstate) == 0, "errors: with SQLSTATE %s", w->sqlstate))
			tck_note(&err);
		tck_ok(err.message[0] && err.message[strlen(err.message) - 1] != '.', "errors: and a message without a full stop");
		tck_ok(keeps_secrets(tck, &config, &err), "errors: that holds no secret");
		if (opened)
			tck->api.close(conn);
		td_config_free(&config);
	}
}
