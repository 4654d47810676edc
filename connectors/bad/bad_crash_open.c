/*-------------------------------------------------------------------------
 *
 * bad_crash_open.c
 *		Crashes in open.
 *
 * NOTES
 *		The first request of the server finds a dead host.
 *
 * connectors/bad/bad_crash_open.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_crash_open"
#define BAD_OPEN crash

#include <signal.h>

#include "bad.h"

/* The signal, whatever a sanitizer thinks of bad pointers. */
static TdStatus
crash(const TdHost *host, const TdConfig *config, TdConn **conn, TdError *err)
{
	(void) host;
	(void) config;
	(void) conn;
	(void) err;
	(void) signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
	return TD_FAIL;
}

BAD_CONNECTOR
