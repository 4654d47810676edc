/*-------------------------------------------------------------------------
 *
 * bad_leak.c
 *		Puts its password into every text it can.
 *
 * NOTES
 *		The host must mask it in logs, items and errors; and an SQLSTATE
 *		that is none must not reach the server.
 *
 * connectors/bad/bad_leak.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_leak"
#define BAD_CHECK leak_check
#define BAD_STREAM_POLL leak

#include "bad.h"

/* The password, or a word that is none. */
static const char *
password(const TdConn *c)
{
	const char *value = td_config_get(c->config, "password");

	return value ? value : "none";
}

/* An item and a log line with it. */
static TdStatus
leak_check(TdConn *c, TdCheckFn report, void *arg, TdError *err)
{
	char		text[200];

	(void) err;
	snprintf(text, sizeof(text), "logged in with %s", password(c));
	report(arg, "login", true, text, "");
	c->host->log("info", "the password is %s", password(c));
	return TD_OK;
}

/* An error with it, and with bytes that are no UTF-8. */
static TdStatus
leak(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	(void) timeout_ms;
	(void) out;
	td_error_set(err, "oops!", "access with \"%s\" and again \"%s\" refused \xff", password(c), password(c));
	td_error_detail(err, "PASSWORD=%s", password(c));
	return TD_FAIL;
}

BAD_CONNECTOR
