/*-------------------------------------------------------------------------
 *
 * describe.c
 *		A connector's capabilities and options as one JSON object; the names of
 *		all connectors of a path.
 *
 * connectors/host/describe.c
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "host_internal.h"

#define NAMES_MAX 1024

static const struct
{
	uint64_t	cap;
	const char *name;
}			capabilities[] =
{
	{TD_CAP_SNAPSHOT, "snapshot"},
	{TD_CAP_STREAM, "stream"},
	{TD_CAP_WRITE, "write"},
	{TD_CAP_DDL, "ddl"},
};

static const char *const kinds[] = {"text", "int", "bool", "file"};

/* A JSON string; NULL is null.  What is not UTF-8 becomes "?". */
static void
put_json(FILE *out, const char *s)
{
	bool		valid = s && td_utf8_valid((const uint8_t *) s, strlen(s));

	if (s == NULL)
	{
		fputs("null", out);
		return;
	}
	fputc('"', out);
	for (; *s; s++)
	{
		unsigned char c = (unsigned char) *s;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c >= 0x80 && !valid ? '?' : c, out);
	}
	fputc('"', out);
}

/* "key": value, after a comma */
static void
put_text(FILE *out, const char *key, const char *value)
{
	fprintf(out, ", \"%s\": ", key);
	put_json(out, value);
}

/* Likewise. */
static void
put_bool(FILE *out, const char *key, bool value)
{
	fprintf(out, ", \"%s\": %s", key, value ? "true" : "false");
}

/* One option. */
static void
put_option(FILE *out, const TdOption *o)
{
	fputs("{\"name\": ", out);
	put_json(out, o->name);
	put_text(out, "kind", kinds[o->kind]);
	put_text(out, "default", o->fallback);
	put_bool(out, "required", o->required);
	put_bool(out, "credential", o->credential);
	put_bool(out, "secret", o->secret);
	put_text(out, "help", o->help);
	put_text(out, "choices", o->choices);
	fputc('}', out);
}

/* The whole connector; exit status of the program. */
int
td_describe(FILE *out, const TdConnector *api)
{
	const char *comma = "";

	fputs("{\"name\": ", out);
	put_json(out, api->name);
	put_text(out, "version", api->version);
	fputs(", \"capabilities\": [", out);
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
	{
		if ((api->caps & capabilities[i].cap) == 0)
			continue;
		fprintf(out, "%s\"%s\"", comma, capabilities[i].name);
		comma = ", ";
	}
	fputs("], \"options\": [", out);
	for (const TdOption *o = api->options; o->name; o++)
	{
		put_option(out, o);
		if (o[1].name)
			fputs(", ", out);
	}
	fputs("]}\n", out);
	return fflush(out) == 0 ? 0 : 1;
}

/* For qsort. */
static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Adds the connectors of one directory. */
static size_t
scan_directory(const char *path, size_t len, char **names, size_t n)
{
	char		folder[4096];
	struct dirent *entry;
	DIR		   *dir;

	snprintf(folder, sizeof(folder), "%.*s", (int) len, path);
	dir = opendir(folder);
	if (dir == NULL)
		return n;
	while (n < NAMES_MAX && (entry = readdir(dir)) != NULL)
	{
		size_t		length = strlen(entry->d_name);
		char	   *name;

		if (length < 4 || strcmp(entry->d_name + length - 3, ".so") != 0)
			continue;
		name = strndup(entry->d_name, length - 3);
		if (name && td_load_name_valid(name))
			names[n++] = name;
		else
			free(name);
	}
	closedir(dir);
	return n;
}

/* Prints the names found, sorted, each once. */
int
td_list_connectors(FILE *out, const char *path)
{
	char	   *names[NAMES_MAX];
	size_t		n = 0;

	while (*path)
	{
		size_t		len = strcspn(path, ":");

		n = scan_directory(path, len, names, n);
		path += len;
		path += *path == ':';
	}
	qsort(names, n, sizeof(names[0]), compare_names);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
			fprintf(out, "%s\n", names[i]);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	return fflush(out) == 0 ? 0 : 1;
}
