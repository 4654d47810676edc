/*-------------------------------------------------------------------------
 *
 * host_internal.h
 *		What the files of the connector host share.
 *
 * NOTES
 *		Three threads at most.  The main thread owns the socket and never calls
 *		the connector.  The worker runs one request at a time on the first
 *		TdConn.  The control thread, started by the first MARK that needs it,
 *		asks positions on a second TdConn.  Locks: marks before queue; the main
 *		thread takes the queue's only, under which no connector is called.
 *
 * connectors/host/host_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_HOST_INTERNAL_H
#define TD_HOST_INTERNAL_H

#include <stdatomic.h>
#include <stdio.h>

#include "connectors/host/protocol.h"
#include "tapdata_connector.h"

#define TD_QUEUE_LIMIT (8u << 20)	/* bytes that wait for the server */
#define TD_BATCH_LIMIT ((size_t) 64 << 20)	/* one batch; one more row may stand past it */
#define TD_FRAME_TARGET (1u << 20)	/* a larger batch is cut into frames of about this size */
#define TD_FRAME_IN_MAX (16u << 20)	/* frames that the server sends */
#define TD_POLL_MS 500			/* timeout_ms of stream_poll and snapshot_read */

/* load.c: finding a connector and judging it. */
extern bool td_load_connector(const char *name, const char *path, TdConnector *api, TdError *err);
extern bool td_load_name_valid(const char *name);
extern bool td_load_judge(const TdConnector *given, const char *name, TdConnector *api, TdError *err);

/* describe.c: --describe and --list. */
extern int	td_describe(FILE *out, const TdConnector *api);
extern int	td_list_connectors(FILE *out, const char *path);

/* options.c: what was given, against the option table. */
typedef struct TdGiven
{
	char	   *name;
	char	   *value;
} TdGiven;

extern bool td_options_resolve(const TdConnector *api, const TdGiven *given, uint32_t n, TdConfig *config, TdError *err);
extern void td_config_free(TdConfig *config);

/* redact.c: no secret in a text that leaves the host. */
extern void td_redact_learn(const TdConnector *api, const TdConfig *config);
extern void td_redact_forget(void);
extern void td_redact(char *text, size_t size);
extern void td_redact_error(TdError *err);

/* wire.c: payloads. */
extern void td_wire_u8(TdBuffer *b, uint8_t v);
extern void td_wire_u32(TdBuffer *b, uint32_t v);
extern void td_wire_u64(TdBuffer *b, uint64_t v);
extern void td_wire_str(TdBuffer *b, const char *s);
extern void td_wire_bytes(TdBuffer *b, const void *data, size_t len);
extern void td_wire_error(TdBuffer *b, const TdError *err);
extern bool td_wire_get_u32(TdReader *r, uint32_t *v);
extern bool td_wire_get_u64(TdReader *r, uint64_t *v);
extern bool td_wire_get_str(TdReader *r, char **s); /* malloc'ed; false = damaged */

/* queue.c: frames on their way from the threads to the socket. */
typedef struct TdItem
{
	struct TdItem *next;
	uint32_t	kind;
	TdBuffer	payload;
	size_t		sent;			/* header included */
} TdItem;

extern void td_queue_init(void);
extern int	td_queue_event(void);	/* readable when the queue is no longer empty */
extern void td_queue_push(TdFrameKind kind, TdBuffer *payload); /* takes the memory; waits while the queue is full */
extern void td_queue_push_now(TdFrameKind kind, TdBuffer *payload);	/* never waits */
extern void td_queue_push_copy(const uint8_t *data, size_t len);	/* a DATA frame */
extern void td_queue_push_error(const TdError *err);
extern TdItem *td_queue_pop(void);	/* NULL = empty */
extern void td_queue_done(TdItem *item);
extern void td_queue_buffer(TdBuffer *b);	/* an empty one, used before if there is one */

/* watch.c: how long a call into the connector has lasted. */
typedef struct TdCall
{
	_Atomic(const char *) name;	/* NULL = none */
	atomic_llong started;		/* ms; INT64_MAX = waits for the server, which is not the connector's fault */
	atomic_int	extra;			/* the call's own timeout_ms */
} TdCall;

extern TdCall td_worker_call,
			td_control_call;
extern void td_call_begin(TdCall *call, const char *name, int extra_ms);
extern void td_call_end(TdCall *call);
extern void td_call_pause(void);	/* the calling thread's own call */
extern void td_call_resume(void);
extern const char *td_call_hung(int limit_ms);	/* name of a call past its time, NULL = none */

/* worker.c: requests. */
extern void td_worker_start(const char *name, const char *path);
extern bool td_worker_post(TdFrameKind kind, TdReader payload); /* false = a request is running */
extern void td_worker_ack(const char *position);
extern int	td_worker_limit(void);	/* call_timeout_ms */
extern const TdConnector *td_worker_api(void);
extern TdStatus td_worker_open(TdCall *call, TdConn **conn, TdError *err);
extern void td_error_normalize(TdError *err, const char *where);

/* forward.c: batches into the queue. */
extern bool td_forward(TdBuffer *batch, bool stream, bool *ended, const char *where, TdError *err);

/* marks.c: MARK records in their place. */
extern void td_marks_begin(const char *position);
extern void td_marks_end(void);
extern void td_marks_request(uint64_t number, const char *position);
extern void td_marks_push(TdBuffer *batch, size_t from, size_t to, size_t commit_end, TdBytes position);

/* serve.c: the main thread. */
extern void td_serve(int sock, const char *name) __attribute__((noreturn));

/* main.c */
extern void td_die(const char *why) __attribute__((noreturn));	/* where no error can be sent any more */

#endif							/* TD_HOST_INTERNAL_H */
