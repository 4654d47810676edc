/*-------------------------------------------------------------------------
 *
 * connect.c
 *		Sessions with the source: connecting, statements, errors.
 *
 * NOTES
 *		A session reads text in the bytes of the column's own character set
 *		(character_set_results = NULL): load and stream then go through the
 *		same decoder of ours, and bytes that are invalid are seen instead of
 *		becoming question marks.
 *
 *		Everything a source can ask of a client and that is not wanted is off:
 *		LOAD DATA LOCAL, clear-text authentication, option files, reconnects.
 *
 * connectors/mysql/connect.c
 *
 *-------------------------------------------------------------------------
 */
#include <errmsg.h>
#include <mysqld_error.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "mysql_internal.h"
#include "ma_pvio.h"

static const char session_setup[] =
"SET NAMES utf8mb4, character_set_results = NULL, autocommit = 1, time_zone = '+00:00', sql_mode = '',"
" sql_select_limit = DEFAULT, max_statement_time = 0, net_write_timeout = 3600, net_read_timeout = 3600,"
" wait_timeout = 86400, tx_isolation = 'REPEATABLE-READ'";

/* A source's error numbers as SQLSTATE; what is not listed is HV000. */
static const struct
{
	unsigned	code;
	const char *sqlstate;
}			error_map[] =
{
	{1020, "40001"},
	{1021, "53100"},
	{1037, "53200"}, {1038, "53200"}, {1041, "53200"},
	{ER_CON_COUNT_ERROR, "53300"}, {1203, "53300"}, {1226, "53300"},
	{ER_ACCESS_DENIED_ERROR, "28P01"}, {1698, "28P01"}, {1862, "28P01"}, {4151, "28P01"},
	{1129, "28000"}, {1130, "28000"},
	{ER_DBACCESS_DENIED_ERROR, "42501"}, {1142, "42501"}, {1143, "42501"}, {1227, "42501"}, {1345, "42501"}, {1370, "42501"},
	{ER_BAD_DB_ERROR, "3D000"},
	{1051, "42P01"}, {ER_NO_SUCH_TABLE, "42P01"}, {1932, "42P01"},
	{1054, "42703"},
	{1064, "42601"},
	{1053, "57P01"}, {1077, "57P01"}, {1078, "57P01"},
	{1158, "08006"}, {1159, "08006"}, {1160, "08006"}, {1161, "08006"}, {1927, "08006"}, {1152, "08006"}, {1184, "08006"},
	{1205, "57014"}, {1317, "57014"}, {1969, "57014"},
	{1213, "40P01"},
	{1236, "55000"}, {4052, "55000"},
	{1412, "40001"},
	{CR_SOCKET_CREATE_ERROR, "08001"}, {CR_CONNECTION_ERROR, "08001"}, {CR_CONN_HOST_ERROR, "08001"},
	{CR_IPSOCK_ERROR, "08001"}, {CR_UNKNOWN_HOST, "08001"},
	{CR_SERVER_GONE_ERROR, "08006"}, {CR_SERVER_LOST, "08006"},
	{CR_VERSION_ERROR, "08004"}, {CR_SERVER_HANDSHAKE_ERR, "08001"},
	{CR_OUT_OF_MEMORY, "53200"},
	{CR_SSL_CONNECTION_ERROR, "08004"},
	{CR_AUTH_PLUGIN_CANNOT_LOAD, "28000"}, {CR_AUTH_PLUGIN_ERR, "28000"},
};

/* A source's error number and text into *err. */
bool
td_my_error(TdError *err, unsigned code, const char *message)
{
	const char *sqlstate = "HV000";

	for (size_t i = 0; i < sizeof(error_map) / sizeof(error_map[0]); i++)
		if (error_map[i].code == code)
			sqlstate = error_map[i].sqlstate;
	td_error_set(err, sqlstate, "%s", message);
	return td_error_detail(err, "error %u of the source", code);
}

/* The connection is gone, or answers no more. */
bool
td_my_lost(TdError *err, const char *what)
{
	return td_error_set(err, "08006", "connection to the source lost: %s", what);
}

/* Says something to the host's log. */
void
td_my_log(TdConn *conn, const char *level, const char *fmt,...)
{
	char		text[512];
	va_list		args;

	if (conn->host == NULL || conn->host->log == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	conn->host->log(level, "%s", text);
}

/* Options of libmariadb for a new session. */
static void
set_options(MYSQL *mysql, const TdMyOptions *o)
{
	unsigned	off = 0;
	unsigned	protocol = o->socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
	my_bool		yes = 1;

	mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &o->connect_timeout);
	mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &o->connect_timeout);
	mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &o->connect_timeout);
	mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &off);
	mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol);
	mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	mysql_optionsv(mysql, MARIADB_OPT_RESTRICTED_AUTH, "mysql_native_password,client_ed25519,caching_sha2_password");
	if (o->ssl_mode == TD_MY_SSL_DISABLE)
		return;
	mysql_optionsv(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
	if (o->ssl_cert)
	{
		mysql_optionsv(mysql, MYSQL_OPT_SSL_KEY, o->ssl_key);
		mysql_optionsv(mysql, MYSQL_OPT_SSL_CERT, o->ssl_cert);
	}
	if (o->ssl_ca)
		mysql_optionsv(mysql, MYSQL_OPT_SSL_CA, o->ssl_ca);
	if (o->ssl_mode == TD_MY_SSL_VERIFY_IDENTITY)
		mysql_optionsv(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
}

/* The GRANT for the account that the source says it took us for: "Access denied for user 'a'@'%' to database 'b'". */
static void
database_grant_hint(const TdMyOptions *o, TdError *err)
{
	const char *account = strstr(err->message, " for user '");
	const char *end = account ? strstr(account, "' to database '") : NULL;
	TdBuffer	name = {0};

	if (end == NULL || o->database == NULL)
		return;
	account += strlen(" for user ");
	td_my_append_name(&name, o->database);
	td_error_hint(err, "At the source: GRANT SELECT ON %.*s.* TO %.*s;", (int) name.len, name.data ? (char *) name.data : "",
				  (int) (end + 1 - account), account);
	td_buffer_free(&name);
}

/* The error of a connection that could not be made, with what the user can do. */
static void
connect_error(MYSQL *mysql, const TdMyOptions *o, TdError *err)
{
	unsigned	code = mysql_errno(mysql);

	td_my_error(err, code, mysql_error(mysql));
	if (code == CR_SERVER_LOST || code == CR_SERVER_GONE_ERROR)
	{
		td_error_set(err, "08001", "no answer from \"%s\" within %u s", o->socket ? o->socket : o->host, o->connect_timeout);
		td_error_detail(err, "%s", mysql_error(mysql));
	}
	if (code == CR_UNKNOWN_HOST)
		td_error_hint(err, "The name \"%s\" does not resolve to an address from the machine of this server: check the option \"host\".", o->host);
	else if (strcmp(err->sqlstate, "08001") == 0)
		td_error_hint(err, "Check that a server listens at %s, port %u, and that no firewall stands in between.",
					  o->socket ? o->socket : o->host, o->port);
	else if (strcmp(err->sqlstate, "28P01") == 0)
		td_error_hint(err, "Check user and password in the credentials of the connection.");
	else if (strcmp(err->sqlstate, "3D000") == 0)
		td_error_hint(err, "Check the option \"database\"; names of databases may be case-sensitive at the source.");
	else if (code == ER_DBACCESS_DENIED_ERROR)
		database_grant_hint(o, err);
	else if (code == CR_SSL_CONNECTION_ERROR)
		td_error_hint(err, "Check ssl_mode and the certificates of the connection.");
}

/* Refuses what this connector does not read, and a session that is not as private as was asked for. */
static bool
check_session(MYSQL *mysql, const TdMyOptions *o, TdError *err)
{
	unsigned long version = mysql_get_server_version(mysql);

	if (strstr(mysql_get_server_info(mysql), "MariaDB") == NULL)
	{
		td_error_set(err, "0A000", "the source is not MariaDB: version \"%s\"", mysql_get_server_info(mysql));
		return td_error_hint(err, "This version of the connector reads MariaDB 10.5 and later.");
	}
	if (version < 100500)
	{
		td_error_set(err, "0A000", "MariaDB %s is too old", mysql_get_server_info(mysql));
		return td_error_hint(err, "This connector reads MariaDB 10.5 and later.");
	}
	if (o->ssl_mode >= TD_MY_SSL_REQUIRE && mysql_get_ssl_cipher(mysql) == NULL)
	{
		td_error_set(err, "08004", "the source does not support TLS, which ssl_mode asks for");
		return td_error_hint(err, "Set up TLS at the source, or choose ssl_mode prefer.");
	}
	return true;
}

/* A new session, set up; NULL = error. */
static MYSQL *
connect_session(TdConn *conn, TdError *err)
{
	const TdMyOptions *o = &conn->options;
	MYSQL	   *mysql = mysql_init(NULL);

	if (mysql == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return NULL;
	}
	set_options(mysql, o);
	if (!mysql_real_connect(mysql, o->socket ? NULL : o->host, o->user, o->password, o->database, o->port, o->socket, 0))
	{
		connect_error(mysql, o, err);
		mysql_close(mysql);
		return NULL;
	}
	mysql->net.pvio->methods->set_timeout(mysql->net.pvio, PVIO_READ_TIMEOUT, (int) o->read_timeout * 1000);
	mysql->net.pvio->methods->set_timeout(mysql->net.pvio, PVIO_WRITE_TIMEOUT, (int) o->read_timeout * 1000);
	if (!check_session(mysql, o, err) || !td_my_run(mysql, err, "%s", session_setup))
	{
		mysql_close(mysql);
		return NULL;
	}
	return mysql;
}

/* Makes the main session anew, after its result was left in the middle or at the start. */
bool
td_my_reconnect(TdConn *conn, TdError *err)
{
	char		value[32];
	bool		interrupted;

	pthread_mutex_lock(&conn->lock);
	conn->fd = -1;
	pthread_mutex_unlock(&conn->lock);
	if (conn->mysql)
		mysql_close(conn->mysql);
	conn->busy = false;
	conn->mysql = connect_session(conn, err);
	if (conn->mysql == NULL)
		return false;
	pthread_mutex_lock(&conn->lock);
	conn->fd = (int) mysql_get_socket(conn->mysql);
	interrupted = conn->interrupted;
	pthread_mutex_unlock(&conn->lock);
	if (interrupted)
		return td_error_set(err, "57014", "interrupted");
	if (!td_my_value(conn->mysql, value, sizeof(value), err, "SELECT @@lower_case_table_names"))
		return false;
	conn->fold_names = strcmp(value, "0") != 0;
	return td_my_value(conn->mysql, conn->grantee, sizeof(conn->grantee), err,
					   "SELECT CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', LENGTH(CURRENT_USER())"
					   " - LENGTH(REPLACE(CURRENT_USER(), '@', '')))), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))");
}

/* A session that is free for a statement: the main one, or a second one while the main one streams. */
MYSQL *
td_my_session(TdConn *conn, TdError *err)
{
	if (conn->stream)
	{
		if (conn->aux && mysql_ping(conn->aux) != 0)
		{
			mysql_close(conn->aux);
			conn->aux = NULL;
		}
		if (conn->aux == NULL)
			conn->aux = connect_session(conn, err);
		return conn->aux;
	}
	if ((conn->mysql == NULL || conn->busy) && !td_my_reconnect(conn, err))
		return NULL;
	return conn->mysql;
}

/* Sends a statement; its text is made by printf rules. */
static bool
send_query(MYSQL *mysql, TdError *err, const char *fmt, va_list args)
{
	char	   *sql;
	int			len = vasprintf(&sql, fmt, args);
	int			rc;

	if (len < 0)
		return td_error_set(err, "53200", "out of memory");
	rc = mysql_real_query(mysql, sql, (unsigned long) len);
	free(sql);
	return rc == 0 || td_my_error(err, mysql_errno(mysql), mysql_error(mysql));
}

/* A statement with a result, all of it in memory; free it by mysql_free_result.  NULL = error. */
MYSQL_RES *
td_my_query(MYSQL *mysql, TdError *err, const char *fmt,...)
{
	MYSQL_RES  *res;
	va_list		args;
	bool		sent;

	va_start(args, fmt);
	sent = send_query(mysql, err, fmt, args);
	va_end(args);
	if (!sent)
		return NULL;
	res = mysql_store_result(mysql);
	if (res == NULL)
		td_my_error(err, mysql_errno(mysql), mysql_errno(mysql) ? mysql_error(mysql) : "the statement gave no result");
	return res;
}

/* A statement without a result, or with one nobody wants. */
bool
td_my_run(MYSQL *mysql, TdError *err, const char *fmt,...)
{
	MYSQL_RES  *res;
	va_list		args;
	bool		sent;

	va_start(args, fmt);
	sent = send_query(mysql, err, fmt, args);
	va_end(args);
	if (!sent)
		return false;
	res = mysql_store_result(mysql);
	if (res)
		mysql_free_result(res);
	return mysql_errno(mysql) == 0 || td_my_error(err, mysql_errno(mysql), mysql_error(mysql));
}

/* The first column of the first row as text; "" for NULL and for no row. */
bool
td_my_value(MYSQL *mysql, char *to, size_t size, TdError *err, const char *sql)
{
	MYSQL_RES  *res = td_my_query(mysql, err, "%s", sql);
	MYSQL_ROW	row;

	to[0] = '\0';
	if (res == NULL)
		return false;
	row = mysql_fetch_row(res);
	if (row && row[0])
		snprintf(to, size, "%s", row[0]);
	mysql_free_result(res);
	return true;
}

/* A text as a literal of the source's SQL. */
char *
td_my_quote(MYSQL *mysql, TdArena *a, const char *s)
{
	size_t		len = strlen(s);
	char	   *to = td_arena_alloc(a, 2 * len + 3);
	unsigned long n;

	if (to == NULL)
		return NULL;
	to[0] = '\'';
	n = mysql_real_escape_string(mysql, to + 1, s, (unsigned long) len);
	to[n + 1] = '\'';
	return to;
}
