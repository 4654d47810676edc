/*-------------------------------------------------------------------------
 *
 * view.h
 *		The door of view/: incremental materialized views.
 *
 * src/view/view.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_VIEW_H
#define TD_VIEW_H

#include "postgres.h"

extern PGDLLEXPORT void td_view_main(Datum main_arg);	/* one per group */
extern PGDLLEXPORT void td_fill_main(Datum main_arg);	/* one per view that is computed anew */
extern void td_view_init(void); /* from _PG_init: shared memory, settings, hooks */

#endif							/* TD_VIEW_H */
