/*-------------------------------------------------------------------------
 *
 * check.c
 *		Whether a source gives what a mirror needs, and what mends it.
 *
 * NOTES
 *		Each hint is a statement that can be run as it stands.
 *
 * connectors/mysql/check.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mysql_internal.h"

typedef struct Report
{
	TdConn	   *conn;
	MYSQL	   *mysql;
	TdCheckFn	fn;
	void	   *arg;
} Report;

/* Settings of the source that a stream can't do without. */
static const struct
{
	const char *item;
	const char *sql;
	const char *wanted;
	const char *message;
	const char *hint;
}			settings[] =
{
	{"binary log", "SELECT @@log_bin", "1", "the source writes no binary log",
	"Set log_bin = mysql-bin (and a server_id) in the source's configuration, section [mysqld], and restart it."},
	{"binlog_format", "SELECT @@global.binlog_format", "ROW", "binlog_format of the source is not ROW",
	"At the source: SET GLOBAL binlog_format = 'ROW'; also in its configuration. Sessions that exist keep the old one: reconnect them."},
	{"binlog_row_image", "SELECT @@global.binlog_row_image", "FULL", "binlog_row_image of the source is not FULL",
	"At the source: SET GLOBAL binlog_row_image = 'FULL'; also in its configuration. Sessions that exist keep the old one: reconnect them."},
};

/* The GRANT that is missing. */
void
td_my_grant_hint(TdError *err, TdConn *conn, const char *privileges, const char *object)
{
	td_error_hint(err, "At the source: GRANT %s ON %s TO %s;", privileges, object, conn->grantee);
}

/* Fails on the first setting that is wrong. */
bool
td_my_check_binlog(MYSQL *mysql, TdError *err)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		char		value[64];

		if (!td_my_value(mysql, value, sizeof(value), err, settings[i].sql))
			return false;
		if (strcasecmp(value, settings[i].wanted) == 0)
			continue;
		td_error_set(err, "55000", "%s", settings[i].message);
		td_error_detail(err, "%s is %s.", strchr(settings[i].sql, '@'), value);
		return td_error_hint(err, "%s", settings[i].hint);
	}
	return true;
}

/* Does a GRANT line give a privilege?  "GRANT a, b (c), ALL PRIVILEGES ON object TO ..." */
static bool
line_grants(const char *line, const char *privilege)
{
	const char *on = strstr(line, " ON ");
	const char *found = strstr(line, privilege);

	if (on == NULL)
		return false;
	if (strncmp(line, "GRANT ALL PRIVILEGES", 20) == 0)
		return true;
	if (found == NULL || found > on || found < line + 6)
		return false;
	found += strlen(privilege);
	return *found == ',' || (*found == ' ' && found == on);
}

/* Is the line's object everything, or this database as a whole? */
static bool
line_covers(const char *line, const char *database)
{
	const char *on = strstr(line, " ON ");
	TdBuffer	name = {0};
	bool		covers = on && strncmp(on + 4, "*.*", 3) == 0;

	if (on && !covers && database)
	{
		td_my_append_name(&name, database);
		td_my_append(&name, ".* ");
		covers = !name.failed && strncmp(on + 4, (char *) name.data, name.len) == 0;
		td_buffer_free(&name);
	}
	return covers;
}

/* Looks a privilege up in SHOW GRANTS. */
static bool
has_grant(MYSQL_RES *grants, const char *privilege, const char *database)
{
	MYSQL_ROW	row;

	mysql_data_seek(grants, 0);
	while ((row = mysql_fetch_row(grants)) != NULL)
		if (line_grants(row[0], privilege) && line_covers(row[0], database))
			return true;
	return false;
}

/* Rights: to stream, to ask for positions, to read rows. */
static bool
check_grants(Report *r, TdError *err)
{
	MYSQL_RES  *grants = td_my_query(r->mysql, err, "SHOW GRANTS");
	const char *database = r->conn->options.database;
	TdError		hint = {0};
	char		object[600];
	bool		ok;

	if (grants == NULL)
		return false;
	snprintf(object, sizeof(object), database ? "`%s`.*" : "*.*", database);
	ok = has_grant(grants, "REPLICATION SLAVE", NULL);
	td_my_grant_hint(&hint, r->conn, "REPLICATION SLAVE", "*.*");
	r->fn(r->arg, "grant: replication slave", ok, ok ? "granted" : "missing: the binlog can't be read", ok ? "" : hint.hint);
	ok = has_grant(grants, "BINLOG MONITOR", NULL) || has_grant(grants, "REPLICATION CLIENT", NULL);
	td_my_grant_hint(&hint, r->conn, "BINLOG MONITOR", "*.*");
	r->fn(r->arg, "grant: binlog monitor", ok, ok ? "granted" : "missing: the end of the binlog can't be asked for", ok ? "" : hint.hint);
	ok = has_grant(grants, "SELECT", database);
	td_my_grant_hint(&hint, r->conn, "SELECT", object);
	r->fn(r->arg, "grant: select", ok, ok ? "granted" : "missing on the database as a whole: only tables with a grant of their own are seen",
		  ok ? "" : hint.hint);
	mysql_free_result(grants);
	return true;
}

/* The binlog's settings, one item each. */
static bool
check_settings(Report *r, TdError *err)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		char		value[64];
		bool		ok;

		if (!td_my_value(r->mysql, value, sizeof(value), err, settings[i].sql))
			return false;
		ok = strcasecmp(value, settings[i].wanted) == 0;
		r->fn(r->arg, settings[i].item, ok, strcmp(value, "1") == 0 ? "on" : strcmp(value, "0") == 0 ? "off" : value,
			  ok ? "" : settings[i].hint);
	}
	return true;
}

/* GTIDs, and whether a replica writes what it replicates. */
static bool
check_gtid(Report *r, TdError *err)
{
	char		pos[256];
	char		replica[64];
	bool		ok;

	if (!td_my_value(r->mysql, pos, sizeof(pos), err, "SELECT @@gtid_binlog_pos") ||
		!td_my_value(r->mysql, replica, sizeof(replica), err, "SELECT IF(@@gtid_slave_pos <> '' AND NOT @@log_slave_updates, 1, 0)"))
		return false;
	r->fn(r->arg, "gtid", true, pos[0] ? pos : "the binlog holds no transaction yet", "");
	ok = strcmp(replica, "0") == 0;
	r->fn(r->arg, "log_slave_updates", ok, ok ? "fine" : "the source is a replica and does not write what it replicates",
		  ok ? "" : "Set log_slave_updates = ON in the source's configuration and restart it, or connect to its primary.");
	return true;
}

/* Our number among the replicas. */
static bool
check_server_id(Report *r, TdError *err)
{
	char		value[32];
	char		detail[128];
	uint32_t	ours = r->conn->options.server_id;
	bool		ok;

	if (!td_my_value(r->mysql, value, sizeof(value), err, "SELECT @@global.server_id"))
		return false;
	ok = ours == 0 || strtoul(value, NULL, 10) != ours;
	snprintf(detail, sizeof(detail), ours ? "source %s, this reader %u" : "source %s, this reader a random one", value, ours);
	r->fn(r->arg, "server_id", ok, detail, ok ? "" : "Choose another server_id for the connection, or 0 for a random one.");
	return true;
}

/* How long the source keeps its binlog. */
static bool
check_retention(Report *r, TdError *err)
{
	char		value[64];
	char		detail[128];
	double		seconds;
	bool		ok;

	if (!td_my_value(r->mysql, value, sizeof(value), err, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES"
					 " WHERE VARIABLE_NAME = 'BINLOG_EXPIRE_LOGS_SECONDS'"))
		return false;
	seconds = strtod(value, NULL);
	ok = seconds == 0 || seconds >= 86400;
	if (seconds == 0)
		snprintf(detail, sizeof(detail), "kept until it is purged by hand");
	else
		snprintf(detail, sizeof(detail), "kept for %.1f hours", seconds / 3600);
	r->fn(r->arg, "binlog retention", ok, detail,
		  ok ? "" : "At the source: SET GLOBAL binlog_expire_logs_seconds = 259200; a mirror that is stopped longer must be loaded again.");
	return true;
}

/* Is a name in a list separated by commas? */
static bool
in_list(const char *list, const char *name)
{
	size_t		n = strlen(name);

	for (const char *p = list; (p = strstr(p, name)) != NULL; p += n)
		if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

/* Filters that keep databases out of the binlog. */
static bool
check_filters(Report *r, TdError *err)
{
	MYSQL_RES  *res = td_my_query(r->mysql, err, "SHOW MASTER STATUS");
	MYSQL_ROW	row = res ? mysql_fetch_row(res) : NULL;
	const char *database = r->conn->options.database;
	char		detail[400];
	bool		ok;

	if (res == NULL)
		return strcmp(err->sqlstate, "42501") == 0;
	if (row && mysql_num_fields(res) >= 4)
	{
		ok = (row[2][0] == '\0' || (database && in_list(row[2], database))) &&
			(row[3][0] == '\0' || (database && !in_list(row[3], database)));
		snprintf(detail, sizeof(detail), row[2][0] || row[3][0] ? "binlog_do_db \"%.150s\", binlog_ignore_db \"%.150s\"" : "none", row[2], row[3]);
		r->fn(r->arg, "binlog filters", ok, detail,
			  ok ? "" : "Take binlog_do_db and binlog_ignore_db out of the source's configuration: what they hide never arrives.");
	}
	mysql_free_result(res);
	return true;
}

/* The source's clock against ours: `lag` is measured between them. */
static bool
check_clock(Report *r, TdError *err)
{
	char		value[64];
	char		detail[64];
	struct timespec now;
	double		diff;

	if (!td_my_value(r->mysql, value, sizeof(value), err, "SELECT UNIX_TIMESTAMP(SYSDATE(6))"))
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	diff = strtod(value, NULL) - (double) now.tv_sec - now.tv_nsec / 1e9;
	snprintf(detail, sizeof(detail), "%.1f s apart", diff);
	r->fn(r->arg, "clock", diff > -5 && diff < 5, detail, diff > -5 && diff < 5 ? "" : "Run NTP on both machines: \"lag\" compares their clocks.");
	return true;
}

/* Reports all of it, see tapdata_connector.h. */
TdStatus
td_my_check(TdConn *conn, TdCheckFn report, void *arg, TdError *err)
{
	Report		r = {.conn = conn, .mysql = td_my_session(conn, err), .fn = report, .arg = arg};
	const char *cipher;
	char		detail[700];

	if (r.mysql == NULL)
		return TD_FAIL;
	cipher = mysql_get_ssl_cipher(r.mysql);
	snprintf(detail, sizeof(detail), "%s as %s, %s", mysql_get_server_info(r.mysql), conn->grantee, cipher ? cipher : "without TLS");
	report(arg, "connection", true, detail, "");
	if (check_settings(&r, err) && check_gtid(&r, err) && check_grants(&r, err) && check_server_id(&r, err) &&
		check_retention(&r, err) && check_filters(&r, err) && check_clock(&r, err))
		return TD_OK;
	return TD_FAIL;
}
