/*-------------------------------------------------------------------------
 *
 * load.c
 *		Finds a connector, loads it and judges whether it keeps the ABI.
 *
 * NOTES
 *		A connector is named, never given as a path.  RTLD_LOCAL keeps its
 *		symbols to itself.  Nothing behind `magic` is read before the magic is
 *		right, and nothing behind `size` at all.
 *
 * connectors/host/load.c
 *
 *-------------------------------------------------------------------------
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host_internal.h"

#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789_"
#define SLOT(name) offsetof(TdConnector, name), #name

/* Slots that must be there; caps = 0: always.  The last four of TdConnector that are MAY are not here. */
static const struct
{
	uint64_t	caps;
	size_t		offset;
	const char *name;
}			required_slots[] =
{
	{0, SLOT(options)},
	{0, SLOT(open)},
	{0, SLOT(close)},
	{0, SLOT(check)},
	{TD_CAP_SNAPSHOT, SLOT(discover)},
	{TD_CAP_SNAPSHOT, SLOT(snapshot_start)},
	{TD_CAP_SNAPSHOT, SLOT(snapshot_read)},
	{TD_CAP_STREAM, SLOT(position)},
	{TD_CAP_STREAM, SLOT(position_covers)},
	{TD_CAP_STREAM, SLOT(stream_start)},
	{TD_CAP_STREAM, SLOT(stream_poll)},
};

/* [a-z0-9_]+ and not too long. */
bool
td_load_name_valid(const char *name)
{
	size_t		len = strlen(name);

	return len > 0 && len < 64 && strspn(name, NAME_LETTERS) == len;
}

/* The first file of that name in the colon-separated directories. */
static bool
find(const char *name, const char *path, char *file, size_t size)
{
	while (*path)
	{
		size_t		len = strcspn(path, ":");

		if (len > 0 && snprintf(file, size, "%.*s/%s.so", (int) len, path, name) < (int) size && access(file, F_OK) == 0)
			return true;
		path += len;
		path += *path == ':';
	}
	return false;
}

/* Is the pointer at that offset set? */
static bool
slot_is_set(const TdConnector *api, size_t offset)
{
	void	   *slot;

	memcpy(&slot, (const char *) api + offset, sizeof(slot));
	return slot != NULL;
}

/* Names the first slot that the capabilities ask for and that is missing. */
static bool
judge_slots(const TdConnector *api, TdError *err)
{
	for (size_t i = 0; i < sizeof(required_slots) / sizeof(required_slots[0]); i++)
	{
		uint64_t	caps = required_slots[i].caps;

		if ((caps == 0 || (api->caps & caps) != 0) && !slot_is_set(api, required_slots[i].offset))
		{
			td_error_set(err, "38000", "connector \"%s\" lacks the function \"%s\"", api->name, required_slots[i].name);
			return td_error_detail(err, "%s", caps == 0 ? "Every connector must have it." :
								   caps == TD_CAP_SNAPSHOT ? "A connector with the capability \"snapshot\" must have it." :
								   "A connector with the capability \"stream\" must have it.");
		}
	}
	return true;
}

/* The option table: proper names, secrets among the credentials. */
static bool
judge_options(const TdConnector *api, TdError *err)
{
	for (const TdOption *o = api->options; o->name; o++)
	{
		if (!td_load_name_valid(o->name))
			return td_error_set(err, "38000", "connector \"%s\" has an option with the invalid name \"%.64s\"", api->name, o->name);
		if (o->secret && !o->credential)
			return td_error_set(err, "38000", "connector \"%s\": the secret option \"%s\" is not a credential", api->name, o->name);
		if (o->kind < TD_OPTION_TEXT || o->kind > TD_OPTION_FILE)
			return td_error_set(err, "38000", "connector \"%s\": the option \"%s\" is of an unknown kind", api->name, o->name);
	}
	return true;
}

/* Magic, versions and size; a refusal names both sides' versions. */
static bool
judge_version(const TdConnector *given, const char *name, TdError *err)
{
	if (given->magic != TD_ABI_MAGIC)
	{
		td_error_set(err, "38000", "connector \"%s\" was built for another connector ABI", name);
		td_error_detail(err, "The connector has magic 0x%08x, this server 0x%08x.", given->magic, TD_ABI_MAGIC);
		return td_error_hint(err, "Build the connector again with this server's tapdata_connector.h.");
	}
	if (given->minor > TD_ABI_MINOR)
	{
		td_error_set(err, "38000", "connector \"%s\" needs a newer tapdata", name);
		td_error_detail(err, "The connector has ABI 1.%u, this server has ABI 1.%u.", given->minor, TD_ABI_MINOR);
		return td_error_hint(err, "Install a newer tapdata, or build the connector for ABI 1.%u.", TD_ABI_MINOR);
	}
	if (given->size != sizeof(TdConnector))
	{
		td_error_set(err, "38000", "connector \"%s\" is not laid out as its ABI version says", name);
		return td_error_detail(err, "Its table has %u bytes, ABI 1.%u has %zu.", given->size, given->minor, sizeof(TdConnector));
	}
	return true;
}

/* Judges what td_connector_entry returned, and copies it. */
bool
td_load_judge(const TdConnector *given, const char *name, TdConnector *api, TdError *err)
{
	if (given == NULL)
		return td_error_set(err, "38000", "connector \"%s\" gives nothing from td_connector_entry", name);
	if (!judge_version(given, name, err))
		return false;
	*api = *given;
	if (api->name == NULL || strcmp(api->name, name) != 0)
		return td_error_set(err, "38000", "file \"%s.so\" holds a connector of the name \"%.64s\"", name, api->name ? api->name : "");
	if (api->version == NULL)
		return td_error_set(err, "38000", "connector \"%s\" has no version", name);
	return judge_slots(api, err) && judge_options(api, err);
}

/* Loads a connector by name from the directories of path; it stays loaded. */
bool
td_load_connector(const char *name, const char *path, TdConnector *api, TdError *err)
{
	char		file[4096];
	void	   *library;
	const TdConnector *(*entry) (void);

	if (!td_load_name_valid(name))
	{
		td_error_set(err, "42602", "invalid connector name \"%.64s\"", name);
		return td_error_hint(err, "Names have the letters a-z, digits and underscores only.");
	}
	if (!find(name, path, file, sizeof(file)))
	{
		td_error_set(err, "42704", "connector \"%s\" does not exist", name);
		return td_error_detail(err, "There is no \"%s.so\" in \"%s\".", name, path);
	}
	library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
	{
		td_error_set(err, "58P01", "could not load connector \"%s\"", name);
		return td_error_detail(err, "%s", dlerror());
	}
	*(void **) &entry = dlsym(library, "td_connector_entry");
	if (entry == NULL)
	{
		td_error_set(err, "38000", "file \"%s\" is not a connector", file);
		return td_error_detail(err, "It does not export td_connector_entry.");
	}
	return td_load_judge(entry(), name, api, err);
}
