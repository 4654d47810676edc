/*-------------------------------------------------------------------------
 *
 * log.c
 *		tapdata.log: what happened, for the owner of a pipeline to read.
 *
 * NOTES
 *		Sessions and workers, in the caller's transaction: an entry of a
 *		transaction that rolls back is not kept.  Old rows are removed a few at
 *		a time and never waited for.
 *
 * IDENTIFICATION
 *		src/catalog/log.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"

#define TD_LOG_CLEAN_EVERY 64	/* entries written by one process */

int			td_log_retention;	/* minutes */

static void clean(void);

/* Writes one entry. */
void
td_log(const char *level, const char *kind, const char *object, Oid owner, const TdError *err)
{
	static TdStatement entry = {
		"INSERT INTO tapdata.log_entry (level, kind, object, owner, sqlstate, message, detail, hint) "
	"VALUES ($1, $2, $3, nullif($4, 0::oid), $5, $6, $7, $8)", NULL};
	static int	written = 0;
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&entry, td_arg_text(level), td_arg_text(kind), td_arg_text(object), td_arg_oid(owner),
		   td_arg_text(err->sqlstate[0] ? err->sqlstate : NULL), td_arg_text(err->message),
		   td_arg_text(err->detail[0] ? err->detail : NULL), td_arg_text(err->hint[0] ? err->hint : NULL));
	if (written++ % TD_LOG_CLEAN_EVERY == 0 && td_log_retention > 0)
		clean();
	td_catalog_leave(&scope);
}

/* Removes some of what is too old; rows that another transaction is removing are left to it. */
static void
clean(void)
{
	static TdStatement old = {
		"DELETE FROM tapdata.log_entry WHERE id IN (SELECT id FROM tapdata.log_entry "
		"WHERE at < clock_timestamp() - make_interval(mins => $1) ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)",
	NULL};

	TD_RUN(&old, td_arg_int4(td_log_retention));
}
