/*-------------------------------------------------------------------------
 *
 * protocol.h
 *		What the server and a connector host say to each other over their
 *		socketpair.  Pure C.  The door of connectors/host/, read by
 *		src/connector/ too.
 *
 * NOTES
 *		A frame is TdFrameHeader and `size` bytes.  Strings inside a payload are
 *		uint32 length and bytes ("str").  One request is answered before the next
 *		is sent, except MARK and ACK, which may come at any time while a stream
 *		runs; after SNAPSHOT or STREAM the host sends DATA frames by itself, and
 *		the full socket is the back-pressure.
 *
 *		Stopping: the server closes its end (or kills the host); the host exits
 *		at once on EOF.  There is nothing to save: all state is in the server.
 *
 *		The host is started as `tapdata-host NAME PATH`: connector NAME, looked
 *		for in the directories of PATH (colon-separated); the socket is
 *		descriptor 3.  `tapdata-host --describe NAME PATH` prints one JSON object
 *		{name, version, capabilities: [..], options: [{name, kind, default,
 *		required, credential, secret, help, choices}]} on stdout and exits 0, or prints
 *		the reason on stderr and exits 1.  `tapdata-host --list PATH` prints
 *		the names found, one a line.
 *
 * connectors/host/protocol.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_PROTOCOL_H
#define TD_PROTOCOL_H

#include <stdint.h>

#define TD_PROTOCOL_VERSION 1
#define TD_FRAME_MAX (1u << 30)	/* a larger size is damage */
#define TD_HOST_SOCKET 3

typedef struct TdFrameHeader
{
	uint32_t	size;			/* of the payload */
	uint32_t	kind;			/* TdFrameKind */
} TdFrameHeader;

typedef enum TdFrameKind
{
	/* server -> host */
	TD_MSG_OPEN = 1,			/* uint32 version, uint32 call_timeout_ms, uint32 n, n x (str name, str value) -> OK {str name, str version, uint64 caps} | ERROR */
	TD_MSG_CHECK,				/* -> ITEM*, OK | ERROR */
	TD_MSG_DISCOVER,			/* str pattern -> TABLE*, OK | ERROR */
	TD_MSG_POSITION,			/* -> OK {str position} | ERROR */
	TD_MSG_COVERS,				/* str reached, str wanted -> OK {uint32 0|1} | ERROR */
	TD_MSG_SNAPSHOT,			/* str database, str table, str cursor, int64 limit -> OK {str position or ""} , DATA* (ends with the END record), OK {} | ERROR */
	TD_MSG_STREAM,				/* str position, uint32 n, n x (str database, str table, str skip_to) -> OK {}, then DATA* without end | ERROR */
	TD_MSG_MARK,				/* while streaming: uint64 number, str position ("" = where the source is now).  Answered by a MARK record in the stream, or by MARK_ERROR */
	TD_MSG_ACK,					/* while streaming: str position.  No answer */
	TD_MSG_PING,				/* any time -> PONG */

	/* host -> server */
	TD_MSG_OK = 100,
	TD_MSG_ERROR,				/* uint8 retryable, then "error": str sqlstate, str message, str detail, str hint; the request has ended, and so has a stream */
	TD_MSG_ITEM,				/* str item, uint8 ok, str detail, str hint */
	TD_MSG_TABLE,				/* int64 row_estimate, str of one SCHEMA record, "error" (sqlstate "" = no problem) */
	TD_MSG_DATA,				/* whole records */
	TD_MSG_MARK_ERROR,			/* uint64 number, "error"; the stream goes on */
	TD_MSG_LOG,					/* str level, str message */
	TD_MSG_PONG
} TdFrameKind;

#endif							/* TD_PROTOCOL_H */
