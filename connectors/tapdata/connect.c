/*-------------------------------------------------------------------------
 *
 * connect.c
 *		The session with the source: connecting, statements, errors.
 *
 * NOTES
 *		libpq finds much by itself that belongs to the user the server runs as:
 *		a password file, a certificate, tickets of Kerberos, a Unix socket.  All
 *		of it is closed to a connection that anybody may make; and a server that
 *		lets us in without asking for the password is refused, unless a superuser
 *		gave a certificate.
 *
 *		Waiting is on the socket, with a limit; TCP tells of a peer that is gone.
 *
 * connectors/tapdata/connect.c
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

#include "tapdata_internal.h"

#define NO_FILE "/nonexistent/tapdata"
#define OLDEST 150000

/* Values are read in binary form, keys and cursors as texts that read back as they were. */
static const char session_setup[] =
"SET search_path = pg_catalog; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 3; "
"SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET jit = off; SET default_transaction_isolation = 'read committed'";

char *
td_tp_text(TdError *err, const char *fmt,...)
{
	char	   *text;
	va_list		args;
	int			len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len >= 0)
		return text;
	td_error_set(err, "53200", "out of memory");
	return NULL;
}

int
td_tp_read_timeout(const TdConn *conn)
{
	return (int) td_config_int(conn->config, "read_timeout", 60) * 1000;
}

/* ---- errors ---- */

/* The first line of a text, without the blanks and full stop at its end. */
static int
first_line(const char *text)
{
	size_t		len = strcspn(text, "\n");

	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '.'))
		len--;
	return (int) len;
}

bool
td_tp_lost(const TdConn *conn, const char *what, TdError *err)
{
	const char *said = PQerrorMessage(conn->pg);

	td_error_set(err, "08006", "lost the connection to the source: %s", what);
	return td_error_detail(err, "%.*s", first_line(said), said);
}

/* What the server said to a statement; without that, the connection is gone. */
bool
td_tp_result_error(const TdConn *conn, const PGresult *res, TdError *err)
{
	const char *sqlstate = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *message = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *detail = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL) : NULL;
	const char *hint = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;

	if (sqlstate == NULL || message == NULL)
		return td_tp_lost(conn, "no answer to a statement", err);
	td_error_set(err, sqlstate, "%.*s", first_line(message), message);
	if (detail)
		td_error_detail(err, "%s", detail);
	if (hint)
		td_error_hint(err, "At the source: %s", hint);
	return false;
}

/* What to do where the mirror can't go on: `first`, if there is something to do before. */
bool
td_tp_reload_hint(TdError *err, const char *first)
{
	return td_error_hint(err, "%s%soad again: SELECT tapdata.reset_pipeline(name); SELECT tapdata.alter_pipeline(name, '{\"existing\": \"drop_table\"}'); "
						 "SELECT tapdata.start_pipeline(name).", first, *first ? " Then l" : "L");
}

/* The SQLSTATE in a message of PQERRORS_VERBOSE, "FATAL:  28P01: password ...", and what comes after it. */
static const char *
find_sqlstate(const char *said, char sqlstate[6])
{
	const char *found = NULL;

	for (const char *p = said; (p = strstr(p, ":  ")) != NULL; p++)
	{
		if (strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || strncmp(p + 8, ": ", 2) != 0)
			continue;
		memcpy(sqlstate, p + 3, 5);
		sqlstate[5] = '\0';
		found = p + 10;
	}
	return found;
}

/* By the class of the error, what to look at. */
static const struct
{
	const char *sqlstate;
	const char *hint;
}			connect_hints[] =
{
	{"28P01", "Check user and password in the credentials of the connection."},
	{"28000", "Check the user in the credentials of the connection, and pg_hba.conf of the source."},
	{"3D000", "Check the option \"dbname\"."},
	{"42501", "At the source: GRANT CONNECT ON DATABASE to the user of the connection."},
	{"08001", "Check that a server listens at the connection's host and port, and that no firewall stands in between; then its sslmode."},
	{NULL, NULL}
};

/* The error of a connection that was not made. */
static bool
connect_error(const TdConn *conn, const char *timeout, TdError *err)
{
	const char *said = PQerrorMessage(conn->pg);
	char		sqlstate[6];
	const char *message = find_sqlstate(said, sqlstate);

	if (timeout)
		td_error_set(err, "08001", "no answer from \"%s\" within %s s", PQhost(conn->pg), timeout);
	else if (message)
		td_error_set(err, sqlstate, "%.*s", first_line(message), message);
	else if (PQconnectionNeedsPassword(conn->pg))
		td_error_set(err, "28P01", "the source asks for a password");
	else
		td_error_set(err, "08001", "%.*s", first_line(said), said);
	for (int i = 0; connect_hints[i].sqlstate; i++)
		if (strcmp(err->sqlstate, connect_hints[i].sqlstate) == 0)
			td_error_hint(err, "%s", connect_hints[i].hint);
	return false;
}

/* ---- connecting ---- */

/* Begins; NULL values are left out. */
static PGconn *
start(const TdConn *conn, const char *host)
{
	const TdConfig *c = conn->config;
	const char *const names[] = {"host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile", "gssencmode",
		"client_encoding", "application_name", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", NULL};
	const char *const values[] = {host, td_tp_option(c, "port"), td_tp_option(c, "dbname"), td_tp_option(c, "user"), td_tp_option(c, "password"),
		td_tp_option(c, "sslmode"), td_tp_option(c, "sslrootcert") ? td_tp_option(c, "sslrootcert") : NO_FILE,
		td_tp_option(c, "sslcert") ? td_tp_option(c, "sslcert") : NO_FILE, td_tp_option(c, "sslkey") ? td_tp_option(c, "sslkey") : NO_FILE,
		NO_FILE, NO_FILE, "disable", "UTF8", "tapdata", "10", "5", "3", "25000", NULL};

	return PQconnectStartParams(names, values, 0);
}

/* Waits for the handshake to go on: false = time is up. */
static bool
wait_socket(const TdConn *conn, PostgresPollingStatusType way, int64_t until)
{
	struct pollfd p = {PQsocket(conn->pg), way == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0};
	int64_t		left = until - td_monotonic_ms();

	return left > 0 && poll(&p, 1, (int) left) != 0;
}

/* Connects, by steps, since libpq's own limit does not hold for all of them. */
static bool
connect_pg(TdConn *conn, const char *host, TdError *err)
{
	const char *timeout = td_tp_option(conn->config, "connect_timeout");
	int64_t		until = td_monotonic_ms() + strtol(timeout, NULL, 10) * 1000;
	PostgresPollingStatusType way = PGRES_POLLING_WRITING;

	conn->pg = start(conn, host);
	if (conn->pg == NULL)
		return td_error_set(err, "53200", "out of memory");
	if (PQstatus(conn->pg) == CONNECTION_BAD)
		return connect_error(conn, NULL, err);
	PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
	while (way != PGRES_POLLING_OK && way != PGRES_POLLING_FAILED)
	{
		if (!wait_socket(conn, way, until))
			return connect_error(conn, timeout, err);
		way = PQconnectPoll(conn->pg);
	}
	return way == PGRES_POLLING_OK || connect_error(conn, NULL, err);
}

/* Notices of the server are nobody's here: the host's standard error is not read. */
static void
ignore_notice(void *arg, const PGresult *res)
{
	(void) arg;
	(void) res;
}

/* What is at the other end: new enough, with a tapdata that has what we call. */
static bool
check_server(TdConn *conn, TdError *err)
{
	PGresult   *res;
	bool		ok = false;

	if (PQserverVersion(conn->pg) < OLDEST)
	{
		td_error_set(err, "0A000", "PostgreSQL %s is too old", PQparameterStatus(conn->pg, "server_version"));
		return td_error_hint(err, "This connector reads PostgreSQL 15 and later, with tapdata.");
	}
	res = td_tp_query(conn, err, "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'tapdata'), "
					  "to_regclass('tapdata.feeds') IS NOT NULL AND to_regproc('tapdata.change_rows') IS NOT NULL", 0, NULL);
	if (res == NULL)
		return false;
	if (PQgetisnull(res, 0, 0))
	{
		td_error_set(err, "0A000", "database \"%s\" has no extension tapdata", PQdb(conn->pg));
		td_error_hint(err, "At the source: CREATE EXTENSION tapdata; or check the option \"dbname\".");
	}
	else if (PQgetvalue(res, 0, 1)[0] != 't')
	{
		td_error_set(err, "0A000", "tapdata %s of the source is too old: it has no tapdata.feeds and tapdata.change_rows()", PQgetvalue(res, 0, 0));
		td_error_hint(err, "Install this version of tapdata at the source.");
	}
	else
		ok = true;
	PQclear(res);
	return ok;
}

/* Which database this is. */
static bool
read_home(TdConn *conn, TdError *err)
{
	PGresult   *res = td_tp_query(conn, err, "SELECT tapdata.home()", 0, NULL);

	if (res == NULL)
		return false;
	snprintf(conn->home, sizeof(conn->home), "%s", PQgetvalue(res, 0, 0));
	PQclear(res);
	return true;
}

/* Somebody who got in without a password got in as this machine, or as anybody. */
static bool
check_password(const TdConn *conn, TdError *err)
{
	if (PQconnectionUsedPassword(conn->pg) || td_tp_option(conn->config, "sslcert"))
		return true;
	td_error_set(err, "28000", "the source did not ask for the password");
	td_error_detail(err, "Whoever may make a connection here could be anybody there.");
	return td_error_hint(err, "In pg_hba.conf of the source give these connections the method scram-sha-256, and the user a password.");
}

/* A path is a Unix socket: the option for that is another one. */
static bool
check_host(const char *host, const char *socket, TdError *err)
{
	if (socket ? socket[0] == '/' : host && strpbrk(host, "/@,") == NULL)
		return true;
	td_error_set(err, "22023", socket ? "option \"socket\" is no path of a directory" : "option \"host\" is no name or address of one server");
	return td_error_hint(err, "A Unix socket is named by the option \"socket\", which takes its directory.");
}

/* Verifying needs somebody to trust. */
static bool
check_tls(const TdConfig *config, TdError *err)
{
	if (strncmp(td_tp_option(config, "sslmode"), "verify", 6) != 0 || td_tp_option(config, "sslrootcert"))
		return true;
	td_error_set(err, "22023", "option \"sslrootcert\" is missing");
	return td_error_hint(err, "sslmode %s needs the file of the authority that signed the server's certificate.", td_tp_option(config, "sslmode"));
}

/* The session that is there; makes it, also anew after a result was left in the middle. */
bool
td_tp_session(TdConn *conn, TdError *err)
{
	const char *socket = td_tp_option(conn->config, "socket");
	const char *host = td_tp_option(conn->config, "host");

	if (conn->pg && !conn->busy && PQstatus(conn->pg) == CONNECTION_OK)
		return true;
	PQfinish(conn->pg);
	conn->pg = NULL;
	conn->busy = false;
	if (!check_host(host, socket, err) || !check_tls(conn->config, err) || !connect_pg(conn, socket ? socket : host, err))
		return false;
	PQsetErrorVerbosity(conn->pg, PQERRORS_DEFAULT);
	PQsetNoticeReceiver(conn->pg, ignore_notice, NULL);
	return check_password(conn, err) && td_tp_run(conn, err, session_setup) && check_server(conn, err) && read_home(conn, err);
}

/* ---- statements ---- */

int
td_tp_wait(TdConn *conn, int timeout_ms, TdError *err)
{
	int64_t		until = td_monotonic_ms() + timeout_ms;

	for (;;)
	{
		struct pollfd p = {PQsocket(conn->pg), POLLIN, 0};
		int64_t		left;

		if (!PQisBusy(conn->pg))
			return 1;
		left = until - td_monotonic_ms();
		if (poll(&p, 1, left > 0 ? (int) left : 0) == 0 && left <= 0)
			return 0;
		if (!PQconsumeInput(conn->pg))
		{
			td_tp_lost(conn, "the server is gone", err);
			return -1;
		}
	}
}

/* The last result of what was sent; NULL = error. */
static PGresult *
last_result(TdConn *conn, TdError *err)
{
	PGresult   *last = NULL;

	for (;;)
	{
		int			rc = td_tp_wait(conn, td_tp_read_timeout(conn), err);
		PGresult   *res = rc > 0 ? PQgetResult(conn->pg) : NULL;

		if (rc == 0)
			td_tp_lost(conn, "no answer within read_timeout", err);
		if (rc <= 0)
			conn->busy = true;
		if (rc <= 0 || (res && PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK))
		{
			if (res)
				td_tp_result_error(conn, res, err);
			PQclear(last);
			PQclear(res);
			while (rc > 0 && td_tp_wait(conn, 0, err) > 0 && (res = PQgetResult(conn->pg)) != NULL)
				PQclear(res);
			return NULL;
		}
		if (res == NULL)
			return last;
		PQclear(last);
		last = res;
	}
}

PGresult *
td_tp_query(TdConn *conn, TdError *err, const char *sql, int n, const char *const *values)
{
	PGresult   *res;
	int			sent = n > 0 ? PQsendQueryParams(conn->pg, sql, n, NULL, values, NULL, NULL, 0) : PQsendQuery(conn->pg, sql);

	if (!sent)
	{
		td_tp_lost(conn, "a statement could not be sent", err);
		return NULL;
	}
	err->sqlstate[0] = '\0';
	res = last_result(conn, err);
	if (res == NULL && err->sqlstate[0] == '\0')
		td_tp_lost(conn, "no answer to a statement", err);
	return res;
}

bool
td_tp_run(TdConn *conn, TdError *err, const char *sql)
{
	PGresult   *res = td_tp_query(conn, err, sql, 0, NULL);

	PQclear(res);
	return res != NULL;
}

bool
td_tp_send(TdConn *conn, TdError *err, const char *sql, int n, const char *const *values)
{
	if (PQsendQueryParams(conn->pg, sql, n, NULL, values, NULL, NULL, 1) && PQsetSingleRowMode(conn->pg))
		return true;
	return td_tp_lost(conn, "a statement could not be sent", err);
}
