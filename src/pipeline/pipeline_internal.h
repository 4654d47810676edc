/*-------------------------------------------------------------------------
 *
 * pipeline_internal.h
 *		What the phases of a pipeline worker share.
 *
 * src/pipeline/pipeline_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_PIPELINE_INTERNAL_H
#define TD_PIPELINE_INTERNAL_H

#include "apply/apply.h"
#include "catalog/catalog.h"
#include "connector/connector.h"
#include "pipeline/pipeline.h"
#include "stream/stream.h"
#include "workers/workers.h"

/* One running pipeline; lives in its own memory context for the life of the worker. */
typedef struct TdRun
{
	MemoryContext context;
	TdPipeline *pipeline;
	TdConnection *connection;
	TdHostProcess *host;
	List	   *tables;			/* of TdPipelineTable * */
	TdSpool    *spool;			/* records received and not yet applied */
} TdRun;

/* in main.c */
extern void td_run_check_stop(void);
extern void td_run_begin(void);
extern void td_run_commit(void);
extern void td_run_reload(TdRun *run);
extern void td_run_status(TdRun *run, const char *status);
extern void td_run_spool_append(TdRun *run, const uint8_t *data, size_t len);
extern bool td_run_spool_read(TdRun *run, TdBytes *block);
extern char *td_run_text(MemoryContext context, TdBytes text);
extern void td_run_damaged(void) pg_attribute_noreturn();

/* in plan.c */
extern void td_run_plan(TdRun *run);

/* in snapshot.c */
extern void td_run_snapshot(TdRun *run);

/* in streaming.c */
extern void td_run_stream(TdRun *run);

#endif							/* TD_PIPELINE_INTERNAL_H */
