/*-------------------------------------------------------------------------
 *
 * options.c
 *		The options given, judged by the connector's table, defaults filled in.
 *
 * NOTES
 *		A connector sees only options of its own table, each at most once, each
 *		of its kind; a BOOL is always "true" or "false".  No message shows the
 *		value of a secret.
 *
 * connectors/host/options.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "host_internal.h"

static const struct
{
	const char *word;
	const char *value;
}			bool_words[] =
{
	{"true", "true"}, {"on", "true"}, {"yes", "true"}, {"1", "true"},
	{"false", "false"}, {"off", "false"}, {"no", "false"}, {"0", "false"},
};

/* Edit distance of two short words. */
static int
distance(const char *a, const char *b)
{
	int			row[65];
	int			len = (int) strlen(b);

	if (len > 64)
		return 1000;
	for (int j = 0; j <= len; j++)
		row[j] = j;
	for (int i = 1; a[i - 1]; i++)
	{
		int			diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= len; j++)
		{
			int			best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[len];
}

/* An option nobody knows: the closest name as a hint. */
static bool
unknown_option(const TdConnector *api, const char *name, TdError *err)
{
	const TdOption *closest = NULL;
	int			least = 4;

	td_error_set(err, "22023", "connector \"%s\" has no option \"%.64s\"", api->name, name);
	for (const TdOption *o = api->options; o->name && strlen(name) <= 64; o++)
	{
		int			d = distance(name, o->name);

		if (d < least && d < (int) strlen(o->name))
		{
			least = d;
			closest = o;
		}
	}
	if (closest)
		return td_error_hint(err, "Perhaps you meant the option \"%s\".", closest->name);
	return td_error_hint(err, "SELECT options FROM tapdata.connectors WHERE name = '%s' shows those it has.", api->name);
}

/* An option of the table, NULL = none. */
static const TdOption *
find_option(const TdConnector *api, const char *name)
{
	for (const TdOption *o = api->options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

/* A value that its kind does not allow. */
static bool
bad_value(const TdConnector *api, const TdOption *o, const char *value, const char *hint, TdError *err)
{
	if (o->secret)
		td_error_set(err, "22023", "invalid value for option \"%s\" of connector \"%s\"", o->name, api->name);
	else
		td_error_set(err, "22023", "invalid value for option \"%s\" of connector \"%s\": \"%.100s\"", o->name, api->name, value);
	return td_error_hint(err, "%s", hint);
}

/* A whole number, within "min..max" if there is such. */
static bool
check_int(const TdConnector *api, const TdOption *o, const char *value, TdError *err)
{
	char	   *end;
	long long	v;
	long long	least = INT64_MIN;
	long long	most = INT64_MAX;
	char		hint[200];

	if (o->choices)
		sscanf(o->choices, "%lld..%lld", &least, &most);
	errno = 0;
	v = strtoll(value, &end, 10);
	if (errno == 0 && end != value && *end == '\0' && v >= least && v <= most)
		return true;
	if (o->choices)
		snprintf(hint, sizeof(hint), "Give a whole number from %lld to %lld.", least, most);
	else
		snprintf(hint, sizeof(hint), "Give a whole number.");
	return bad_value(api, o, value, hint, err);
}

/* One of "a|b|c". */
static bool
check_choice(const TdConnector *api, const TdOption *o, const char *value, TdError *err)
{
	const char *p = o->choices;
	size_t		len = strlen(value);
	char		hint[400];

	while (p && *p)
	{
		size_t		n = strcspn(p, "|");

		if (n == len && memcmp(p, value, n) == 0)
			return true;
		p += n;
		p += *p == '|';
	}
	if (o->choices == NULL)
		return true;
	snprintf(hint, sizeof(hint), "Choose one of: %s.", o->choices);
	return bad_value(api, o, value, hint, err);
}

/* Judges a value by its kind; *value may be replaced by its canonical form. */
static bool
check_value(const TdConnector *api, const TdOption *o, const char **value, TdError *err)
{
	switch (o->kind)
	{
		case TD_OPTION_INT:
			return check_int(api, o, *value, err);
		case TD_OPTION_BOOL:
			for (size_t i = 0; i < sizeof(bool_words) / sizeof(bool_words[0]); i++)
			{
				if (strcasecmp(*value, bool_words[i].word) != 0)
					continue;
				*value = bool_words[i].value;
				return true;
			}
			return bad_value(api, o, *value, "Choose true or false.", err);
		case TD_OPTION_TEXT:
			return check_choice(api, o, *value, err);
		case TD_OPTION_FILE:
			return *value[0] == '/' || bad_value(api, o, *value, "Give an absolute path on the server's machine.", err);
	}
	return false;
}

/* The value given for an option, NULL = none. */
static const char *
given_value(const TdOption *o, const TdGiven *given, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(given[i].name, o->name) == 0)
			return given[i].value;
	return NULL;
}

/* Adds a copy to the config. */
static bool
add(TdConfig *config, const char *name, const char *value, TdError *err)
{
	char	   *copy = strdup(value);

	if (copy == NULL)
		return td_error_set(err, "53200", "out of memory");
	config->names[config->n] = name;
	config->values[config->n++] = copy;
	return true;
}

/* Every option given must be known, and given once. */
static bool
check_names(const TdConnector *api, const TdGiven *given, uint32_t n, TdError *err)
{
	for (uint32_t i = 0; i < n; i++)
	{
		if (find_option(api, given[i].name) == NULL)
			return unknown_option(api, given[i].name, err);
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(given[i].name, given[j].name) == 0)
				return td_error_set(err, "22023", "option \"%s\" is given twice", given[i].name);
	}
	return true;
}

/* Builds the config a connector is opened with; td_config_free ends it, also after a failure. */
bool
td_options_resolve(const TdConnector *api, const TdGiven *given, uint32_t n, TdConfig *config, TdError *err)
{
	size_t		most = 1;

	memset(config, 0, sizeof(*config));
	for (const TdOption *o = api->options; o->name; o++)
		most++;
	config->names = calloc(most, sizeof(char *));
	config->values = calloc(most, sizeof(char *));
	if (config->names == NULL || config->values == NULL)
		return td_error_set(err, "53200", "out of memory");
	if (!check_names(api, given, n, err))
		return false;
	for (const TdOption *o = api->options; o->name; o++)
	{
		const char *value = given_value(o, given, n);

		if (value == NULL && o->required)
		{
			td_error_set(err, "22023", "connector \"%s\" needs the option \"%s\"", api->name, o->name);
			td_error_detail(err, "%s", o->help ? o->help : "");
			return td_error_hint(err, "Give it in the %s of the connection.", o->credential ? "credentials" : "options");
		}
		if (value == NULL)
			value = o->fallback;
		else if (!check_value(api, o, &value, err))
			return false;
		if (value && !add(config, o->name, value, err))
			return false;
	}
	return true;
}

/* Frees the copies, overwritten first. */
void
td_config_free(TdConfig *config)
{
	for (uint32_t i = 0; i < config->n; i++)
	{
		char	   *value = (char *) config->values[i];

		explicit_bzero(value, strlen(value));
		free(value);
	}
	free(config->names);
	free(config->values);
	memset(config, 0, sizeof(*config));
}
