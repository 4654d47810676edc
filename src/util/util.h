/*-------------------------------------------------------------------------
 *
 * util.h
 *		The door of util/: error values to ereport, closest match, backoff,
 *		reading small JSON objects, arguments of SQL functions.
 *
 * src/util/util.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_UTIL_H
#define TD_UTIL_H

#include "postgres.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/resowner.h"
#include "stream/stream.h"
#include "utils/jsonb.h"

extern void td_error_raise(const TdError *err) pg_attribute_noreturn();	/* ereport(ERROR) with its sqlstate, detail, hint; from a connector: UTF-8 */
extern void td_error_raise_own(const TdError *err) pg_attribute_noreturn();	/* the same of what was said in the server's encoding */
extern void td_error_from_edata(TdError *err, const ErrorData *edata);	/* what was caught, as a value; context goes to detail when that is empty */
extern ErrorData *td_caught_in_subtransaction(MemoryContext caller, ResourceOwner owner);	/* in PG_CATCH: rolls it back; a cancel or shutdown goes on */
extern bool td_sqlstate_retryable(const char *sqlstate);	/* classes 08, 40, 53, 57 */
extern const char *td_closest(const char *word, List *candidates);	/* of char *; NULL = none near */
extern int	td_backoff_ms(int failures);	/* 1 s doubling to 60 s */
extern char *td_list_text(List *words);	/* of char *: "a, b, c" */

/* One pair of a JSON object of scalars. */
typedef struct TdPair
{
	char	   *name;
	char	   *value;			/* NULL = json null */
} TdPair;

extern List *td_json_pairs(Jsonb *object, const char *what);	/* of TdPair *; 22023 unless it is an object of scalars; `what` names it in the message */
extern const char *td_pairs_get(List *pairs, const char *name); /* NULL = not there, or null */
extern bool td_pairs_has(List *pairs, const char *name);
extern bool td_pairs_equal(const List *a, const List *b);	/* in order; null is as empty */
extern char *td_json_text(JsonbContainer *object, const char *key); /* scalar as text; NULL = not there, or null */
extern bool td_json_bool(JsonbContainer *object, const char *key);	/* false = not there */
extern JsonbContainer *td_json_array(JsonbContainer *object, const char *key);	/* NULL = not there */
extern JsonbContainer *td_json_element(JsonbContainer *array, uint32 i);	/* an object; NULL = none */

/* ---- arguments of SQL functions (args.c) ---- */
extern char *td_required_text(FunctionCallInfo fcinfo, int n, const char *name);	/* 22004 */
extern Oid	td_required_oid(FunctionCallInfo fcinfo, int n, const char *name);
extern char *td_optional_text(FunctionCallInfo fcinfo, int n);
extern List *td_optional_words(FunctionCallInfo fcinfo, int n, const char *name);	/* text[]; NIL for null; 22004 for a null inside */
extern List *td_optional_pairs(FunctionCallInfo fcinfo, int n, const char *name);	/* jsonb */
extern bool td_flag(FunctionCallInfo fcinfo, int n);	/* null = false */

#endif							/* TD_UTIL_H */
