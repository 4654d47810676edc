/*-------------------------------------------------------------------------
 *
 * progress.c
 *		Live counters of a pipeline, for tapdata.pipelines.
 *
 * NOTES
 *		Sessions.  Nobody but owners and monitors sees them.
 *
 * IDENTIFICATION
 *		src/monitor/progress.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "workers/workers.h"

PG_FUNCTION_INFO_V1(td_sql_pipeline_progress);

/* tapdata.pipeline_progress(pipeline): zeros when it does not run, or is not the caller's business */
Datum
td_sql_pipeline_progress(PG_FUNCTION_ARGS)
{
	int32		id = PG_GETARG_INT32(0);
	TdPipeline *p = td_pipeline_load(id);
	int64		loaded = 0;
	int64		applied = 0;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (p != NULL && (has_privs_of_role(GetUserId(), p->owner) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR)))
		td_worker_progress(id, &loaded, &applied);
	values[0] = Int64GetDatum(loaded);
	values[1] = Int64GetDatum(applied);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
