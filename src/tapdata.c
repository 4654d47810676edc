/*-------------------------------------------------------------------------
 *
 * tapdata.c
 *		Entry of the library: hands _PG_init to each room.
 *
 * NOTES
 *		Loaded by shared_preload_libraries.  When it is loaded later (CREATE
 *		EXTENSION on a server without the preload) only settings exist, and what
 *		needs workers says so (td_workers_require).
 *
 * IDENTIFICATION
 *		src/tapdata.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "capture/capture.h"
#include "catalog/catalog.h"
#include "connector/connector.h"
#include "view/view.h"
#include "workers/workers.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* Settings, hooks, shared memory and the static worker. */
void
_PG_init(void)
{
	td_catalog_init();
	td_connector_init();
	td_workers_init();
	td_capture_init();
	td_view_init();
	MarkGUCPrefixReserved("tapdata");
}
