/*-------------------------------------------------------------------------
 *
 * mysql.c
 *		The mysql connector's face: its one exported symbol, open and close.
 *
 * NOTES
 *		Runs in the connector host, never in the server.  One thread uses a
 *		TdConn at a time; only interrupt comes from another, and touches
 *		nothing but the descriptor under its lock.
 *
 * connectors/mysql/mysql.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "mysql_internal.h"

/* Ends everything the connection holds. */
static void
close_conn(TdConn *conn)
{
	if (conn == NULL)
		return;
	td_my_stream_free(conn);
	td_my_snapshot_free(conn);
	pthread_mutex_lock(&conn->lock);
	conn->fd = -1;
	pthread_mutex_unlock(&conn->lock);
	if (conn->mysql)
		mysql_close(conn->mysql);
	if (conn->aux)
		mysql_close(conn->aux);
	while (conn->charsets)
	{
		TdMyCharset *next = conn->charsets->next;

		free(conn->charsets);
		conn->charsets = next;
	}
	pthread_mutex_destroy(&conn->lock);
	free(conn);
}

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* libmariadb wants to be told once, before the first thread. */
static void
start_library(void)
{
	mysql_server_init(0, NULL, NULL);
}

/* Checks the options and connects. */
static TdStatus
open_conn(const TdHost *host, const TdConfig *config, TdConn **to, TdError *err)
{
	TdConn	   *conn = calloc(1, sizeof(TdConn));

	*to = NULL;
	if (conn == NULL)
	{
		td_error_set(err, "53200", "out of memory");
		return TD_FAIL;
	}
	pthread_once(&library_once, start_library);
	pthread_mutex_init(&conn->lock, NULL);
	conn->fd = -1;
	conn->host = host;
	if (!td_my_parse_options(config, &conn->options, err) || !td_my_reconnect(conn, err))
	{
		close_conn(conn);
		return TD_FAIL;
	}
	*to = conn;
	return TD_OK;
}

/* From any thread: the call that waits on the socket sees its end. */
static void
interrupt(TdConn *conn)
{
	pthread_mutex_lock(&conn->lock);
	conn->interrupted = true;
	if (conn->fd >= 0)
		shutdown(conn->fd, SHUT_RDWR);
	pthread_mutex_unlock(&conn->lock);
}

static const TdConnector connector = {
	.magic = TD_ABI_MAGIC,
	.minor = TD_ABI_MINOR,
	.size = sizeof(TdConnector),
	.name = "mysql",
	.version = "0.1",
	.caps = TD_CAP_SNAPSHOT | TD_CAP_STREAM | TD_CAP_DDL,
	.options = td_my_options,
	.open = open_conn,
	.close = close_conn,
	.check = td_my_check,
	.discover = td_my_discover,
	.position = td_my_position,
	.position_covers = td_my_position_covers,
	.snapshot_start = td_my_snapshot_start,
	.snapshot_read = td_my_snapshot_read,
	.stream_start = td_my_stream_start,
	.stream_poll = td_my_stream_poll,
	.interrupt = interrupt,
};

/* The exported symbol. */
TD_EXPORT const TdConnector *
td_connector_entry(void)
{
	return &connector;
}
