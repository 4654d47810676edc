/*-------------------------------------------------------------------------
 *
 * tck_internal.h
 *		What the cases of the conformance kit share.
 *
 * connectors/tck/tck_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TCK_INTERNAL_H
#define TD_TCK_INTERNAL_H

#include <stdlib.h>
#include <string.h>

#include "host_internal.h"

#define TCK_OPTIONS_MAX 64
#define TCK_TIMEOUT_MS 500

/* An override with which open must fail: "name=value:SQLSTATE". */
typedef struct TckWrong
{
	TdGiven		option;
	char		sqlstate[6];
} TckWrong;

typedef struct Tck
{
	const char *name;
	const char *path;
	const char *host;			/* the program tapdata-host, NULL = next to this one's tree */
	const char *table;			/* NULL = the first one discovered */
	const char *position;		/* where to stream from, NULL = from the end */
	int			rounds;			/* of open and close */
	TdGiven		options[TCK_OPTIONS_MAX];
	uint32_t	noptions;
	TckWrong	wrong[TCK_OPTIONS_MAX];
	uint32_t	nwrong;
	TdGiven		unreachable[TCK_OPTIONS_MAX];
	uint32_t	nunreachable;

	TdConnector api;
	TdConfig	config;
	TdHost		services;
	TdSchema   *schema;			/* of the table used */
} Tck;

/* tck.c */
extern bool tck_ok(bool good, const char *fmt,...) __attribute__((format(printf, 2, 3)));
extern void tck_skip(const char *what, const char *why);
extern void tck_note(const TdError *err);
extern bool tck_open(Tck *tck, TdConn **conn, TdError *err);
extern uint32_t tck_override(const Tck *tck, const TdGiven *over, uint32_t n, TdGiven *into);
extern long long tck_now_ms(void);

/* the cases */
extern void tck_case_load(Tck *tck);
extern void tck_case_options(Tck *tck);
extern void tck_case_open_close(Tck *tck);
extern void tck_case_check(Tck *tck);
extern void tck_case_errors(Tck *tck);
extern void tck_case_discover(Tck *tck);
extern void tck_case_snapshot(Tck *tck);
extern void tck_case_position(Tck *tck);
extern void tck_case_stream(Tck *tck);
extern void tck_case_stop(Tck *tck);

#endif							/* TD_TCK_INTERNAL_H */
