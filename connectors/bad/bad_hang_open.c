/*-------------------------------------------------------------------------
 *
 * bad_hang_open.c
 *		Never returns from open.
 *
 * NOTES
 *		The host must say so, and end; a stop must not wait for it.
 *
 * connectors/bad/bad_hang_open.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_hang_open"
#define BAD_OPEN hang

#include "bad.h"

/* For ever. */
static TdStatus
hang(const TdHost *host, const TdConfig *config, TdConn **conn, TdError *err)
{
	(void) host;
	(void) config;
	(void) conn;
	(void) err;
	for (;;)
		pause();
	return TD_FAIL;
}

BAD_CONNECTOR
