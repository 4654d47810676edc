/*-------------------------------------------------------------------------
 *
 * options.c
 *		The options of a connection, checked against what its connector says of
 *		itself.
 *
 * NOTES
 *		Sessions, also during pg_restore on a server without the preload.  The
 *		connector's description comes from the host program, never from a
 *		library loaded here.
 *
 *		Values of user mappings never appear in a message, nor does the value of
 *		an option that is not known.
 *
 * IDENTIFICATION
 *		src/catalog/options.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "commands/defrem.h"
#include "connector/connector.h"
#include "miscadmin.h"
#include "utils/builtins.h"

static void check_one(const TdPair *pair, List *rows, TdOptionPlace place, const char *connector);
static void unknown_option(const char *name, List *rows, TdOptionPlace place, const char *connector) pg_attribute_noreturn();
static void check_value(const TdPair *pair, const TdOptionRow *row);
static void check_no_secret(const TdPair *pair, List *rows);
static bool holds_password(const char *value, List *rows);
static TdOptionRow *find_row(List *rows, const char *name);
static List *read_rows(const char *description);

/* The option table of a connector. */
List *
td_option_rows(const char *connector)
{
	return read_rows(td_connector_describe(connector));
}

/* The same from its description. */
static List *
read_rows(const char *description)
{
	Jsonb	   *jb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(description)));
	JsonbContainer *options = JB_ROOT_IS_OBJECT(jb) ? td_json_array(&jb->root, "options") : NULL;
	List	   *rows = NIL;

	for (uint32 i = 0; options != NULL && i < JsonContainerSize(options); i++)
	{
		JsonbContainer *option = td_json_element(options, i);
		TdOptionRow *row = palloc0(sizeof(TdOptionRow));

		row->name = option ? td_json_text(option, "name") : NULL;
		if (row->name == NULL)
			continue;
		row->kind = td_json_text(option, "kind");
		row->choices = td_json_text(option, "choices");
		row->required = td_json_bool(option, "required");
		row->fallback = td_json_text(option, "default") != NULL;
		row->secret = td_json_bool(option, "secret");
		row->credential = row->secret || td_json_bool(option, "credential");
		rows = lappend(rows, row);
	}
	return rows;
}

/*
 * The credentials of every connector: a user mapping's validator is not told
 * which server it is for.  td_connection_load checks again with the right one.
 * A connector that can't be used is nobody else's trouble.
 */
List *
td_all_credential_rows(void)
{
	List	   *all = NIL;
	ListCell   *lc;
	ListCell   *lr;

	foreach(lc, td_connector_list())
	{
		char	   *reason;
		const char *description = td_connector_try_describe(lfirst(lc), &reason);

		if (description == NULL)
			continue;
		foreach(lr, read_rows(description))
			if (((TdOptionRow *) lfirst(lr))->credential)
				all = lappend(all, lfirst(lr));
	}
	return all;
}

/* Names, places and values of the options given; `connector` itself has been looked at by the caller. */
void
td_options_check(List *pairs, List *rows, TdOptionPlace place, const char *connector)
{
	ListCell   *lc;

	foreach(lc, pairs)
	{
		TdPair	   *pair = lfirst(lc);

		if (pair->value != NULL && !(place == TD_IN_SERVER && strcmp(pair->name, "connector") == 0))
			check_one(pair, rows, place, connector);
	}
}

static void
check_one(const TdPair *pair, List *rows, TdOptionPlace place, const char *connector)
{
	TdOptionRow *row = find_row(rows, pair->name);

	if (row == NULL)
		unknown_option(pair->name, rows, place, connector);
	if (place == TD_IN_SERVER && row->credential)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is a credential", pair->name),
				 errdetail("The options of a server can be read by every user of the database."),
				 errhint("Put it into the credentials (CREATE USER MAPPING).")));
	if (place == TD_IN_MAPPING && !row->credential)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is not a credential", pair->name),
				 errhint("Put it into the options of the connection (CREATE SERVER).")));
	if (place == TD_IN_SERVER)
		check_no_secret(pair, rows);
	if (row->kind && pg_strcasecmp(row->kind, "file") == 0 && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to set option \"%s\"", pair->name),
				 errdetail("It names a file on the server's machine."),
				 errhint("Ask a superuser to set it.")));
	check_value(pair, row);
}

static void
unknown_option(const char *name, List *rows, TdOptionPlace place, const char *connector)
{
	List	   *fitting = NIL;
	const char *closest;
	ListCell   *lc;

	foreach(lc, rows)
		if (((TdOptionRow *) lfirst(lc))->credential == (place == TD_IN_MAPPING))
			fitting = list_append_unique_ptr(fitting, ((TdOptionRow *) lfirst(lc))->name);
	closest = td_closest(name, fitting);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 connector ? errmsg("connector \"%s\" has no %s \"%s\"", connector,
								place == TD_IN_MAPPING ? "credential" : "option", name) :
			 errmsg("no connector has a credential \"%s\"", name),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) :
			 fitting ? errhint("There are: %s.", td_list_text(fitting)) :
			 errhint("There are none.")));
}

/* "min..max" of a whole number. */
static bool
int_fits(const char *value, const char *choices)
{
	char	   *end;
	long long	v;
	long long	min;
	long long	max;

	errno = 0;
	v = strtoll(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0')
		return false;
	if (choices == NULL || sscanf(choices, "%lld..%lld", &min, &max) != 2)
		return true;
	return v >= min && v <= max;
}

/* "a|b|c" */
static bool
choice_fits(const char *value, const char *choices)
{
	size_t		len = strlen(value);

	while (choices != NULL)
	{
		const char *bar = strchr(choices, '|');
		size_t		n = bar ? (size_t) (bar - choices) : strlen(choices);

		if (n == len && memcmp(choices, value, n) == 0)
			return true;
		choices = bar ? bar + 1 : NULL;
	}
	return false;
}

/* The value, by the kind of the option. */
static void
check_value(const TdPair *pair, const TdOptionRow *row)
{
	const char *kind = row->kind ? row->kind : "text";
	bool		dummy;
	bool		fits = true;
	const char *wanted = "";

	if (pg_strcasecmp(kind, "int") == 0)
	{
		fits = int_fits(pair->value, row->choices);
		wanted = row->choices ? psprintf("a whole number, %s", row->choices) : "a whole number";
	}
	else if (pg_strcasecmp(kind, "bool") == 0)
	{
		fits = parse_bool(pair->value, &dummy);
		wanted = "true or false";
	}
	else if (row->choices != NULL)
	{
		fits = choice_fits(pair->value, row->choices);
		wanted = psprintf("one of %s", row->choices);
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", pair->name),
				 row->credential ? 0 : errdetail("The value is \"%s\".", pair->value),
				 errhint("It must be %s.", wanted)));
}

/* What must be there and has no default. */
void
td_options_check_required(List *pairs, List *rows, TdOptionPlace place, const char *connector)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		TdOptionRow *row = lfirst(lc);

		if (row->required && !row->fallback && row->credential == (place == TD_IN_MAPPING) &&
			td_pairs_get(pairs, row->name) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("connector \"%s\" needs the %s \"%s\"", connector,
							row->credential ? "credential" : "option", row->name),
					 errhint("SELECT options FROM tapdata.connectors WHERE name = '%s' lists them all.", connector)));
	}
}

/* A value that everybody may read must not carry a password inside it. */
static void
check_no_secret(const TdPair *pair, List *rows)
{
	if (!holds_password(pair->value, rows))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the value of option \"%s\" holds a password", pair->name),
			 errdetail("The options of a server can be read by every user of the database."),
			 errhint("Leave it out here and put it into the credentials (CREATE USER MAPPING).")));
}

/* "scheme://user:password@host" */
static bool
url_has_password(const char *value)
{
	const char *start = strstr(value, "://");
	const char *end;
	const char *at = NULL;
	const char *colon;

	if (start == NULL)
		return false;
	start += 3;
	end = start + strcspn(start, "/?#");
	for (const char *p = start; p < end; p++)
		if (*p == '@')
			at = p;
	if (at == NULL)
		return false;
	colon = memchr(start, ':', at - start);
	return colon != NULL && colon + 1 < at;
}

/* A password in a url, or "password=..." (or another secret of this connector) in a url or connection string. */
static bool
holds_password(const char *value, List *rows)
{
	List	   *words = list_make4("password", "passwd", "pwd", "secret");
	char	   *lower = pstrdup(value);
	ListCell   *lc;

	for (char *p = lower; *p; p++)
		*p = pg_tolower((unsigned char) *p);
	foreach(lc, rows)
		if (((TdOptionRow *) lfirst(lc))->secret)
			words = lappend(words, ((TdOptionRow *) lfirst(lc))->name);
	foreach(lc, words)
	{
		char	   *word = psprintf("%s=", (char *) lfirst(lc));

		for (char *p = strstr(lower, word); p != NULL; p = strstr(p + 1, word))
			if (p == lower || strchr("?&; \t,", p[-1]) != NULL)
				return true;
	}
	return url_has_password(value);
}

static TdOptionRow *
find_row(List *rows, const char *name)
{
	ListCell   *lc;

	foreach(lc, rows)
		if (strcmp(((TdOptionRow *) lfirst(lc))->name, name) == 0)
			return lfirst(lc);
	return NULL;
}

/* DefElems as PostgreSQL keeps options, as pairs. */
List *
td_pairs_of_options(List *defelems)
{
	List	   *pairs = NIL;
	ListCell   *lc;

	foreach(lc, defelems)
	{
		DefElem    *def = lfirst(lc);
		TdPair	   *pair = palloc(sizeof(TdPair));

		pair->name = def->defname;
		pair->value = defGetString(def);
		pairs = lappend(pairs, pair);
	}
	return pairs;
}

/* owner: whose option it was to be, "a pipeline"; known: of char *. */
void
td_unknown_option(const char *owner, const char *name, List *known)
{
	const char *closest = td_closest(name, known);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s has no option \"%s\"", owner, name),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) :
			 errhint("There are: %s.", td_list_text(known))));
	pg_unreachable();
}
