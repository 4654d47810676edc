/*-------------------------------------------------------------------------
 *
 * tapdata.c
 *		The tapdata connector's face: its one exported symbol, open and close.
 *
 * NOTES
 *		Runs in the connector host, never in the server.  Reads the live views
 *		of a database with tapdata that keep their changes, by SQL alone.
 *
 * connectors/tapdata/tapdata.c
 *
 *-------------------------------------------------------------------------
 */
#include "tapdata_internal.h"

/* Ends everything the connection holds. */
static void
close_conn(TdConn *conn)
{
	td_tp_stream_free(conn);
	td_tp_snapshot_free(conn);
	PQfinish(conn->pg);
	free(conn);
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
	conn->host = host;
	conn->config = config;
	conn->schema = td_tp_option(config, "schema");
	if (!td_tp_session(conn, err))
	{
		close_conn(conn);
		return TD_FAIL;
	}
	*to = conn;
	return TD_OK;
}

static const TdConnector connector = {
	.magic = TD_ABI_MAGIC,
	.minor = TD_ABI_MINOR,
	.size = sizeof(TdConnector),
	.name = "tapdata",
	.version = "0.1",
	.caps = TD_CAP_SNAPSHOT | TD_CAP_STREAM,
	.options = td_tp_options,
	.open = open_conn,
	.close = close_conn,
	.check = td_tp_check,
	.discover = td_tp_discover,
	.position = td_tp_position,
	.position_covers = td_tp_position_covers,
	.snapshot_start = td_tp_snapshot_start,
	.snapshot_read = td_tp_snapshot_read,
	.stream_start = td_tp_stream_start,
	.stream_poll = td_tp_stream_poll,
};

/* The exported symbol. */
TD_EXPORT const TdConnector *
td_connector_entry(void)
{
	return &connector;
}
