/*-------------------------------------------------------------------------
 *
 * connector_internal.h
 *		What the files of connector/ share: the host process as a struct, and
 *		payloads as they are written and read.
 *
 * src/connector/connector_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_CONNECTOR_INTERNAL_H
#define TD_CONNECTOR_INTERNAL_H

#include "lib/stringinfo.h"
#include "storage/latch.h"

#include "connector/connector.h"
#include "connectors/host/protocol.h"

struct TdHostProcess
{
	MemoryContext context;		/* everything below lives and dies with it */
	MemoryContextCallback on_reset;
	char	   *connector;		/* for messages */
	pid_t		pid;			/* 0 = reaped */
	int			sock;			/* -1 = closed */
	int			slot;			/* in tapdata.workers, -1 = none */
	WaitEventSet *waits;		/* postmaster death, latch, socket (always at WAIT_SOCKET) */
	uint8	   *buffer;			/* received and not yet consumed: [begin, end) */
	size_t		capacity;
	size_t		begin;
	size_t		end;
	TimestampTz heard;			/* when something last came */
	bool		pinged;			/* since then */
	uint64		mark_failed;	/* the mark that could not be set, and why */
	TdError		mark_error;
};

/* A frame as received; the payload points into the buffer until the next receive. */
typedef struct TdFrame
{
	TdFrameKind kind;
	TdBytes		payload;
} TdFrame;

/* Reading a payload; raises 08P01 when it is too short. */
typedef struct TdPayload
{
	const uint8_t *p;
	const uint8_t *end;
} TdPayload;

/* in spawn.c */
extern pid_t td_spawn(char *const argv[], int keep_fd, int as_fd, int stdout_fd, int stderr_fd);
extern char *td_host_program(void);
extern char *td_connector_directories(void);

/* in frame.c */
extern void td_frame_send(TdHostProcess *host, TdFrameKind kind, StringInfo payload);
extern bool td_frame_receive(TdHostProcess *host, int timeout_ms, bool stop_at_latch, TdFrame *frame);
extern void td_frame_take(TdHostProcess *host, TdFrame *frame);
extern void td_payload_str(StringInfo out, const char *s);
extern void td_payload_u32(StringInfo out, uint32 v);
extern void td_payload_u64(StringInfo out, uint64 v);
extern TdPayload td_payload_open(const TdFrame *frame);
extern uint8 td_payload_get_u8(TdPayload *in);
extern uint32 td_payload_get_u32(TdPayload *in);
extern uint64 td_payload_get_u64(TdPayload *in);
extern TdBytes td_payload_get_bytes(TdPayload *in);
extern char *td_payload_get_str(TdPayload *in);
extern void td_payload_get_error(TdPayload *in, bool retryable, TdError *err);

/* in connector.c */
extern int	td_connector_timeout;	/* ms */
extern char *td_connector_path;

#endif							/* TD_CONNECTOR_INTERNAL_H */
