/*-------------------------------------------------------------------------
 *
 * pipeline.h
 *		The door of pipeline/: the pipeline worker.
 *
 * src/pipeline/pipeline.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_PIPELINE_H
#define TD_PIPELINE_H

#include "postgres.h"
#include "fmgr.h"

/* Main of "tapdata pipeline"; main_arg is what td_worker_start gives. */
extern PGDLLEXPORT void td_pipeline_main(Datum main_arg);

#endif							/* TD_PIPELINE_H */
