/*-------------------------------------------------------------------------
 *
 * connector.h
 *		The door of connector/: a connector host as seen from the server, in a
 *		worker or in a session that asks for test_connection, discover or peek.
 *
 * NOTES
 *		All waits are on a WaitEventSet and are interruptible; none may happen
 *		inside an open transaction of a worker (sessions excepted: they are one).
 *		A host dies with its memory context (reset callback), with its process
 *		(PDEATHSIG) and on EOF of its socket.  Errors of the connector are raised
 *		as ereport(ERROR) with the connector's own sqlstate, detail and hint.
 *
 * src/connector/connector.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_CONNECTOR_H
#define TD_CONNECTOR_H

#include "postgres.h"
#include "catalog/catalog.h"
#include "stream/stream.h"

typedef struct TdHostProcess TdHostProcess;

/* Starts a host in CurrentMemoryContext and opens the connection in it. */
extern TdHostProcess *td_host_open(const TdConnection *connection, int32 object, Oid owner);
extern void td_host_close(TdHostProcess *host); /* kills it; < 100 ms */
extern pid_t td_host_pid(const TdHostProcess *host);

/* Requests with one answer; they wait at most connector_timeout. */
typedef void (*TdHostItemFn) (void *arg, const char *item, bool ok, const char *detail, const char *hint);
typedef void (*TdHostTableFn) (void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem);
extern void td_host_check(TdHostProcess *host, TdHostItemFn fn, void *arg);
extern void td_host_discover(TdHostProcess *host, const char *pattern, TdHostTableFn fn, void *arg);
/* The same for a pattern of a mirror, which must mean something: 42P01 with the closest name, or what the source has against it (42501, 55000).  fn may be NULL. */
extern void td_host_find(TdHostProcess *host, const TdConnection *connection, const char *pattern, TdHostTableFn fn, void *arg);
extern char *td_host_position(TdHostProcess *host);
extern bool td_host_covers(TdHostProcess *host, const char *reached, const char *wanted);

/* Data. */
extern char *td_host_snapshot(TdHostProcess *host, const char *database, const char *table, const char *cursor, int64 limit); /* position of a keyless snapshot, or "" */
extern void td_host_stream(TdHostProcess *host, const char *position, List *tables /* of TdPipelineTable */ );
extern void td_host_mark(TdHostProcess *host, uint64 number, const char *position);
extern void td_host_ack(TdHostProcess *host, const char *position);
/*
 * The next block of whole records, valid until the next call.  Waits up to timeout_ms (-1 = for ever, 0 = only what is here) for the host or
 * the latch.  Returns 1 = a block, 0 = none (time, latch), -1 = the snapshot has ended, -2 = a mark could not be set.
 */
extern int	td_host_read(TdHostProcess *host, int timeout_ms, TdBytes *block);
extern uint64 td_host_mark_error(TdHostProcess *host, TdError *err);	/* after -2: its number and the reason */

/* `tapdata-host --describe NAME` as text (JSON), 2 s limit, cached per session; 42704 with the closest name. */
extern const char *td_connector_describe(const char *connector);
extern const char *td_connector_try_describe(const char *connector, char **reason); /* NULL: it can't be used, *reason says why */
extern List *td_connector_list(void);	/* of char * */

extern void td_connector_init(void);	/* from _PG_init: tapdata.connector_path, tapdata.connector_timeout */

#endif							/* TD_CONNECTOR_H */
