/*-------------------------------------------------------------------------
 *
 * compat.h
 *		What differs between the PostgreSQL majors we build on (15, 17, 18): the
 *		only place for PG_VERSION_NUM.
 *
 * NOTES
 *		Each item is a static inline named td_<what>_compat; a comment says what
 *		changed and since which major.
 *
 * src/compat/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_COMPAT_H
#define TD_COMPAT_H

#include "postgres.h"
#include "storage/latch.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

#if PG_VERSION_NUM < 150000
#error "tapdata needs PostgreSQL 15 or newer"
#endif

/* Since 17 a wait event set belongs to a resource owner (none here), before that to a memory context. */
static inline WaitEventSet *
td_create_wait_event_set_compat(MemoryContext context, int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(context, nevents);
#endif
}

#endif							/* TD_COMPAT_H */
