/*-------------------------------------------------------------------------
 *
 * supervisor_internal.h
 *		Between the supervisor's loop and what it does in the catalog.
 *
 * src/workers/supervisor_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_SUPERVISOR_INTERNAL_H
#define TD_SUPERVISOR_INTERNAL_H

#include "nodes/pg_list.h"
#include "workers/workers_internal.h"

/* One pipeline as it was at the beginning of the round. */
typedef struct TdSupervised
{
	int32		id;
	char	   *name;
	Oid			owner;
	bool		wanted;
	char	   *status;
	TimestampTz retry_at;		/* 0 = none */
	int			starts;			/* in a row, each ended soon, without progress and without a reason */
	int			restarts;		/* in all, since it was wanted */
	int64		wake_ms;		/* out: look again then; -1 = as decided */
} TdSupervised;

/* in supervisor_catalog.c */
extern void td_supervisor_begin(void);	/* a transaction with a snapshot */
extern void td_supervisor_commit(void);
extern List *td_supervised_list(bool here); /* of TdSupervised *; also clears away what dropped pipelines left */
extern void td_supervised_start(TdSupervised *p);
extern void td_supervised_lost(TdSupervised *p);
extern void td_supervised_write(TdSupervised *p, const char *status);	/* and forgets the starts; NULL = only that */

#endif							/* TD_SUPERVISOR_INTERNAL_H */
