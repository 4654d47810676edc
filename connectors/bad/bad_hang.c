/*-------------------------------------------------------------------------
 *
 * bad_hang.c
 *		Never returns from stream_poll.
 *
 * NOTES
 *		The host must say so, and end; a stop must not wait for it.
 *
 * connectors/bad/bad_hang.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_hang"
#define BAD_STREAM_POLL hang

#include "bad.h"

/* For ever. */
static TdStatus
hang(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	(void) c;
	(void) timeout_ms;
	(void) out;
	(void) err;
	for (;;)
		pause();
	return TD_FAIL;
}

BAD_CONNECTOR
