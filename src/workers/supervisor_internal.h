/*-------------------------------------------------------------------------
 *
 * supervisor_internal.h
 *		Between the supervisor's loop, what it supervises, and what it does in the
 *		catalog.
 *
 * src/workers/supervisor_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_SUPERVISOR_INTERNAL_H
#define TD_SUPERVISOR_INTERNAL_H

#include "nodes/pg_list.h"
#include "workers/workers_internal.h"

/*
 * What has a worker of its own for as long as it is wanted: pipelines and view groups.  In the statements $1 is the id, p the definition and s
 * the state; worker_start knows the kind by its worker's name.
 */
typedef struct TdSupervisedKind
{
	TdWorkerKind worker;
	const char *function;
	const char *noun;
	const char *repair;			/* what a person does once the cause is mended */
	bool		by_owner;		/* the worker connects as the owner */
	bool		forget_failure; /* one that failed is stopped once it is not wanted */
	const char *list;			/* all of them; $2 = LOST_MESSAGE */
	const char *lock;			/* the definition, if nobody has it and wanted is still $2 */
	const char *lock_state;		/* if the status still is $2 */
	const char *count;			/* a start, the $2-th in a row; returns restarts */
	const char *uncount;
	const char *set_starts;		/* to $2 */
	const char *forget_starts;
	const char *waiting;		/* says why, with hint $2 */
	const char *delay;			/* a retry by at least $2 */
	const char *gone;			/* ids in worker_start of those that were dropped */
	const char *drop_starts;	/* of one of these */
	void		(*set_status) (int32 id, const char *status);
	void		(*set_error) (int32 id, const TdError *err);
} TdSupervisedKind;

/* One of them as it was at the beginning of the round. */
typedef struct TdSupervised
{
	const TdSupervisedKind *kind;
	int32		id;
	char	   *name;
	Oid			owner;
	bool		wanted;
	char	   *status;
	TimestampTz retry_at;		/* 0 = none */
	int			starts;			/* in a row, each ended soon, without progress and without a reason */
	int			restarts;		/* in all, since it was wanted */
	bool		again;			/* it failed, and somebody has asked for another try */
	int64		wake_ms;		/* out: look again then; -1 = as decided */
} TdSupervised;

/* in supervised.c */
#define LOST_MESSAGE "the worker ended without leaving a reason"
#define TD_SUPERVISED_KINDS 2
extern const TdSupervisedKind td_supervised_kinds[TD_SUPERVISED_KINDS];

/* in supervisor_catalog.c */
extern Oid	td_supervisor_begin(void);	/* a transaction with a snapshot, that keeps DROP EXTENSION out */
extern void td_supervisor_commit(void);
extern List *td_supervised_list(bool here, bool *left_overs);	/* of TdSupervised *; also clears away what dropped ones left, if it can */
extern void td_supervised_start(TdSupervised *p);
extern void td_supervised_lost(TdSupervised *p);
extern void td_supervised_write(TdSupervised *p, const char *status);	/* and forgets the starts; NULL = only that */

/* in wal_kept.c */
extern int	td_wal_look(void);

#endif							/* TD_SUPERVISOR_INTERNAL_H */
