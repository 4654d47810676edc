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
#include "nodes/pg_list.h"

extern PGDLLEXPORT void td_view_main(Datum main_arg);	/* one per group */
extern PGDLLEXPORT void td_fill_main(Datum main_arg);	/* one per view that is computed anew */
extern List *td_view_tables_lacking(void);	/* of TdPair * (util.h): tables that do not write the old values which views of the caller's need, and the statement that makes them; for doctor() */
extern void td_view_init(void); /* from _PG_init: shared memory, settings, hooks */

#endif							/* TD_VIEW_H */
