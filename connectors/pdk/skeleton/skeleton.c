/*-------------------------------------------------------------------------
 *
 * skeleton.c
 *		A small, whole connector to begin with: the files of a directory are
 *		tables, their lines are rows.
 *
 * NOTES
 *		Copy the folder to connectors/<name>, rename file and connector, and
 *		replace what is about files.  It can only load; connectors/null shows
 *		what a stream needs.  Each TdConn is used by one thread at a time, so
 *		there is no lock; all memory hangs on the TdConn.
 *
 * connectors/pdk/skeleton/skeleton.c
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tapdata_util.h"

#define TABLE_ID 1
#define CHUNK_BYTES (1024 * 1024)

struct TdConn
{
	DIR		   *directory;
	FILE	   *file;			/* the table that is being read */
	bool		begun;			/* its SCHEMA is written */
	int64_t		line;			/* number of the last line read */
	int64_t		left;			/* lines that may still be read, -1 = all */
	char	   *text;			/* getline's */
	size_t		size;
	char	   *table;			/* its name */
};

static TdColumn columns[] = {
	{(char *) "number", (char *) "line number", TD_INT8, -1, -1, true},
	{(char *) "line", (char *) "line", TD_TEXT, -1, -1, true},
};
static uint32_t keys[] = {0};

static const TdOption options[] = {
	{"directory", TD_OPTION_FILE, NULL, true, false, false, "directory whose files are the tables", NULL},
	{NULL}
};

/* Turns errno into an error about a file. */
static TdStatus
file_error(TdError *err, const char *what)
{
	td_error_set(err, errno == ENOENT ? "58P01" : errno == EACCES ? "42501" : "58030", "could not open \"%.200s\": %s", what,
				 strerror(errno));
	td_error_hint(err, "The directory and its files must be readable by the user the server runs as.");
	return TD_FAIL;
}

/* Options have been checked by the host; what is left is to connect. */
static TdStatus
skeleton_open(const TdHost *host, const TdConfig *config, TdConn **conn, TdError *err)
{
	const char *directory = td_config_get(config, "directory");
	TdConn	   *c = calloc(1, sizeof(TdConn));

	(void) host;
	if (c == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	c->directory = opendir(directory);
	if (c->directory == NULL)
	{
		free(c);
		return file_error(err, directory);
	}
	*conn = c;
	return TD_OK;
}

/* Never fails, also after a call that did. */
static void
skeleton_close(TdConn *c)
{
	if (c->file)
		fclose(c->file);
	closedir(c->directory);
	free(c->text);
	free(c->table);
	free(c);
}

/* One item for each thing a pipeline will need. */
static TdStatus
skeleton_check(TdConn *c, TdCheckFn report, void *arg, TdError *err)
{
	int			n = 0;

	(void) err;
	rewinddir(c->directory);
	while (readdir(c->directory))
		n++;
	report(arg, "directory", n > 2, n > 2 ? "has files" : "is empty", n > 2 ? "" : "Put files into it.");
	return TD_OK;
}

/* Describes a table; the strings are the caller's and static ones. */
static void
describe(TdSchema *schema, const char *name)
{
	memset(schema, 0, sizeof(*schema));
	schema->table_id = TABLE_ID;
	schema->database = (char *) "";
	schema->table = (char *) name;
	schema->ncolumns = 2;
	schema->columns = columns;
	schema->nkeys = 1;
	schema->keys = keys;
}

/* Every file whose name matches. */
static TdStatus
skeleton_discover(TdConn *c, const char *pattern, TdTableFn emit, void *arg, TdError *err)
{
	struct dirent *entry;
	struct stat st;

	(void) err;
	rewinddir(c->directory);
	while ((entry = readdir(c->directory)) != NULL)
	{
		TdSchema	schema;
		TdTableInfo info = {&schema, -1};

		if (!td_glob(pattern, entry->d_name) || fstatat(dirfd(c->directory), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
			continue;
		describe(&schema, entry->d_name);
		emit(arg, &info);
	}
	return TD_OK;
}

/* The cursor is the number of the last line that was read: it is skipped to. */
static TdStatus
skeleton_snapshot_start(TdConn *c, const TdTableRef *table, const char *cursor, int64_t limit, char **position, TdError *err)
{
	int			fd;
	uint64_t	after = 0;

	*position = NULL;			/* a table with a key needs none */
	if (cursor[0] && !td_position_number(cursor, &after, err))
		return TD_FAIL;
	if (c->file)
		fclose(c->file);
	c->file = NULL;
	fd = openat(dirfd(c->directory), table->table, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || (c->file = fdopen(fd, "r")) == NULL)
	{
		(void) file_error(err, table->table);
		if (fd >= 0)
			close(fd);
		return TD_FAIL;
	}
	c->line = 0;
	while (c->line < (int64_t) after && getline(&c->text, &c->size, c->file) >= 0)
		c->line++;
	c->left = limit;
	c->begun = false;
	free(c->table);
	c->table = strdup(table->table);
	if (c->table)
		return TD_OK;
	td_error_set(err, "53200", "out of memory");
	return TD_FAIL;
}

/* The next line as an INSERT; false = there is none, or it is not UTF-8 (then *err is set). */
static bool
write_line(TdConn *c, TdBuffer *out, TdError *err)
{
	ssize_t		len = c->left == 0 ? -1 : getline(&c->text, &c->size, c->file);

	if (len < 0)
		return false;
	c->line++;
	c->left -= c->left > 0;
	if (len > 0 && c->text[len - 1] == '\n')
		len--;
	if (!td_utf8_valid((const uint8_t *) c->text, (size_t) len))
	{
		td_error_set(err, "22021", "line %lld is not UTF-8", (long long) c->line);
		return false;
	}
	td_write_begin(out, TD_OP_INSERT, TABLE_ID);
	td_write_row(out, 2);
	td_put_int(out, TD_INT8, c->line);
	td_put_bytes(out, c->text, (uint32_t) len);
	td_write_row_end(out);
	td_write_end(out);
	return true;
}

/* About a megabyte, then a cursor: all before it can be committed. */
static TdStatus
skeleton_snapshot_read(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	TdSchema	schema;
	char		cursor[24];
	bool		more = true;

	(void) timeout_ms;
	if (!c->begun)
	{
		describe(&schema, c->table);
		td_write_schema(out, &schema);
		c->begun = true;
	}
	err->sqlstate[0] = '\0';
	while (out->len < CHUNK_BYTES && !out->failed && (more = write_line(c, out, err)))
		;
	if (err->sqlstate[0])
		return TD_FAIL;
	snprintf(cursor, sizeof(cursor), "%lld", (long long) c->line);
	td_write_chunk(out, TABLE_ID, cursor);
	if (!more)
		td_write_end_of_table(out, TABLE_ID);
	if (!out->failed)
		return more ? TD_OK : TD_DONE;
	td_error_set(err, "53200", "out of memory");
	return TD_FAIL;
}

static const TdConnector connector = {
	.magic = TD_ABI_MAGIC,
	.minor = TD_ABI_MINOR,
	.size = sizeof(TdConnector),
	.name = "skeleton",
	.version = "0.1",
	.caps = TD_CAP_SNAPSHOT,
	.options = options,
	.open = skeleton_open,
	.close = skeleton_close,
	.check = skeleton_check,
	.discover = skeleton_discover,
	.snapshot_start = skeleton_snapshot_start,
	.snapshot_read = skeleton_snapshot_read,
};

TD_EXPORT const TdConnector *
td_connector_entry(void)
{
	return &connector;
}
