/*-------------------------------------------------------------------------
 *
 * view.c
 *		Entry of the room.
 *
 * NOTES
 *		Runs in the postmaster at preload; loaded later, there is no shared memory
 *		and nothing but the hooks on DDL: a session that drops a view's table
 *		forgets the view also where nothing else runs.
 *
 * IDENTIFICATION
 *		src/view/view.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "view/view.h"
#include "view/view_internal.h"

void
td_view_init(void)
{
	if (!IsBinaryUpgrade)		/* the extension is there then, but none of its tables */
		td_view_hooks_init();
	td_read_writes_init();
	if (process_shared_preload_libraries_in_progress)
		td_share_init();
}
