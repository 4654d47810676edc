/*-------------------------------------------------------------------------
 *
 * error.c
 *		Error values (TdError) to ereport and back, and how long to wait after one.
 *
 * NOTES
 *		Any process.  The one place where a foreign SQLSTATE becomes an
 *		elevel: texts are passed as they are, never as formats.
 *
 * IDENTIFICATION
 *		src/util/error.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "util/util.h"
#include "utils/elog.h"

#define TD_BACKOFF_FIRST_MS 1000
#define TD_BACKOFF_LAST_MS 60000

/* A five-letter SQLSTATE as ereport wants it; what is not one becomes XX000. */
static int
sqlstate_code(const char *s)
{
	if (strlen(s) != 5 || strspn(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || strncmp(s, "00", 2) == 0)
		return ERRCODE_INTERNAL_ERROR;
	return MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]);
}

static void
raise_texts(const char *sqlstate, const char *message, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate_code(sqlstate)),
			 errmsg_internal("%s", message[0] ? message : "unknown error"),
			 detail[0] ? errdetail_internal("%s", detail) : 0,
			 hint[0] ? errhint("%s", hint) : 0));
	pg_unreachable();
}

/* Raises an error value of another process, which is read as UTF-8 and converted. */
void
td_error_raise(const TdError *err)
{
	raise_texts(err->sqlstate, pg_any_to_server(err->message, strlen(err->message), PG_UTF8), pg_any_to_server(err->detail, strlen(err->detail), PG_UTF8),
		  pg_any_to_server(err->hint, strlen(err->hint), PG_UTF8));
	pg_unreachable();
}

/* One of the server itself: in its encoding, whatever that is. */
void
td_error_raise_own(const TdError *err)
{
	raise_texts(err->sqlstate, err->message, err->detail, err->hint);
	pg_unreachable();
}

/* Copies with the length cut at a character's end. */
static void
copy_clipped(char *to, size_t size, const char *from)
{
	size_t		len = from ? strlen(from) : 0;

	if (len >= size)
		len = pg_mbcliplen(from, len, size - 1);
	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
}

/* A caught error as a value, so that it can outlive its transaction. */
void
td_error_from_edata(TdError *err, const ErrorData *edata)
{
	memset(err, 0, sizeof(*err));
	strlcpy(err->sqlstate, unpack_sql_state(edata->sqlerrcode), sizeof(err->sqlstate));
	err->retryable = td_sqlstate_retryable(err->sqlstate);
	copy_clipped(err->message, sizeof(err->message), edata->message);
	copy_clipped(err->detail, sizeof(err->detail), edata->detail ? edata->detail : edata->context);
	copy_clipped(err->hint, sizeof(err->hint), edata->hint);
}

/* Does this class of error go away by itself? */
bool
td_sqlstate_retryable(const char *sqlstate)
{
	static const char *const classes[] = {"08", "40", "53", "57"};

	for (size_t i = 0; i < lengthof(classes); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

/* Milliseconds to wait after that many failures in a row. */
int
td_backoff_ms(int failures)
{
	int			ms = TD_BACKOFF_FIRST_MS;

	for (int i = 1; i < failures && ms < TD_BACKOFF_LAST_MS; i++)
		ms *= 2;
	return Min(ms, TD_BACKOFF_LAST_MS);
}

/*
 * For PG_CATCH around a subtransaction that was begun with this memory context
 * and resource owner: rolls it back and returns the error, allocated in
 * `caller`.  A cancelled query or a shutdown is raised again.
 */
ErrorData *
td_caught_in_subtransaction(MemoryContext caller, ResourceOwner owner)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(caller);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED || edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		ReThrowError(edata);
	return edata;
}
