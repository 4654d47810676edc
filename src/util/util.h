/*-------------------------------------------------------------------------
 *
 * util.h
 *		The door of util/: error values to ereport, closest match, backoff.
 *
 * src/util/util.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_UTIL_H
#define TD_UTIL_H

#include "postgres.h"
#include "nodes/pg_list.h"
#include "stream/stream.h"

extern void td_error_raise(const TdError *err) pg_attribute_noreturn();	/* ereport(ERROR) with its sqlstate, detail, hint */
extern void td_error_from_edata(TdError *err, const ErrorData *edata);	/* what was caught, as a value; context goes to detail when that is empty */
extern bool td_sqlstate_retryable(const char *sqlstate);	/* classes 08, 40, 53, 57 */
extern const char *td_closest(const char *word, List *candidates);	/* of char *; NULL = none near */
extern int	td_backoff_ms(int failures);	/* 1 s doubling to 60 s */

#endif							/* TD_UTIL_H */
