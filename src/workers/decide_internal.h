/*-------------------------------------------------------------------------
 *
 * decide_internal.h
 *		What the supervisor does about one pipeline or view group, as a pure
 *		function.
 *
 * NOTES
 *		Plain C: test/unit/decide.c runs every row of the table.
 *
 * src/workers/decide_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_DECIDE_INTERNAL_H
#define TD_DECIDE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

typedef enum TdAction
{
	TD_ACT_NOTHING,
	TD_ACT_START,
	TD_ACT_STOP,				/* ask the worker to stop in good order */
	TD_ACT_KILL,				/* it did not: SIGTERM */
	TD_ACT_STOPPED,				/* nothing runs and nothing is wanted: write that */
	TD_ACT_LOST,				/* the worker ended without leaving a word */
	TD_ACT_FENCE,				/* this catalog is a copy */
	TD_ACT_CALM					/* the worker ended in good order: its crash count is forgotten */
} TdAction;

typedef struct TdSituation
{
	const char *status;			/* of the pipeline or group */
	bool		wanted;			/* desired = running; the group has views */
	bool		forget_failure; /* a failed one that is not wanted any more is stopped: nobody else would */
	bool		again;			/* a failed one is to be tried again */
	bool		here;			/* the catalog was made here */
	bool		running;		/* a slot exists */
	bool		stop_asked;
	int64_t		stop_asked_ms;	/* how long ago */
	int			starts;			/* in a row without progress, 0 = the last one ended well */
	bool		first_look;		/* the supervisor has just begun: the server or it was restarted */
	int64_t		retry_in_ms;	/* <= 0 = due */
} TdSituation;

/* *wake_ms: when to look again, -1 = only when something happens. */
extern TdAction td_decide(const TdSituation *s, int64_t *wake_ms);

#endif							/* TD_DECIDE_INTERNAL_H */
