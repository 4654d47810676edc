/*-------------------------------------------------------------------------
 *
 * bad_crash.c
 *		Crashes in stream_poll.
 *
 * NOTES
 *		The host dies of SIGSEGV; the server must not.
 *
 * connectors/bad/bad_crash.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_crash"
#define BAD_STREAM_POLL crash

#include <signal.h>

#include "bad.h"

/* The signal, whatever a sanitizer thinks of bad pointers. */
static TdStatus
crash(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	(void) c;
	(void) timeout_ms;
	(void) out;
	(void) err;
	(void) signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
	return TD_FAIL;
}

BAD_CONNECTOR
