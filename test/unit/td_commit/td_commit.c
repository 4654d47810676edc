/*-------------------------------------------------------------------------
 *
 * td_commit.c
 *		SQL function that makes a session stay where only chance makes it
 *		stay otherwise: its commit is seen by others, but they have not been told
 *		yet what it did to the catalogs.
 *
 * test/unit/td_commit/td_commit.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_commit_stay);

static int	stay_ms = 0;

/* After ProcArrayEndTransaction, before AtEOXact_Inval. */
static void
stay(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && TransactionIdIsValid(GetTopTransactionIdIfAny()))
		pg_usleep(stay_ms * 1000L);
}

/* td_commit_stay(ms int) returns void: each commit of this session that has an xid from now on takes so long there; 0 = none. */
Datum
td_commit_stay(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(stay, NULL);
	registered = true;
	stay_ms = PG_GETARG_INT32(0);
	PG_RETURN_VOID();
}
