/*-------------------------------------------------------------------------
 *
 * sql_workers.c
 *		The SQL faces of the room: the list behind tapdata.workers, and the word
 *		that the install script leaves for the launcher.
 *
 * NOTES
 *		Any backend.  The list is copied under the lock and formed afterwards.
 *
 * IDENTIFICATION
 *		src/workers/sql_workers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdio.h>

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "workers/workers_internal.h"

#define COLUMNS 9

static Datum standing_row(FunctionCallInfo fcinfo, const char *standing, const TdError *why);
static TimestampTz caught_up(TdWorkerKind kind, int32 object);
static TdWorkerSlot *copy_slots(int *n);
static bool may_see(const TdWorkerSlot *slot);
static int64 memory_of(pid_t pid);

PG_FUNCTION_INFO_V1(td_sql_worker_list);
PG_FUNCTION_INFO_V1(td_sql_extension_created);
PG_FUNCTION_INFO_V1(td_sql_pipeline_caught_up);
PG_FUNCTION_INFO_V1(td_sql_group_caught_up);
PG_FUNCTION_INFO_V1(td_sql_group_standing);
PG_FUNCTION_INFO_V1(td_sql_pipeline_standing);
PG_FUNCTION_INFO_V1(td_sql_group_decoded);

/* The last line of the install script: once it is committed, the launcher looks here. */
Datum
td_sql_extension_created(PG_FUNCTION_ARGS)
{
	if (td_shared != NULL)
		td_probe_at_commit();
	else
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tapdata is not loaded at server start, so nothing will run"),
				 errhint("Add tapdata to shared_preload_libraries in postgresql.conf and restart the server; "
						 "SELECT * FROM tapdata.doctor() shows the exact line.")));
	PG_RETURN_VOID();
}

/* Does the pipeline (its id) hold nothing of the source that is not applied?  False when it does not run. */
Datum
td_sql_pipeline_caught_up(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(caught_up(TD_WORKER_PIPELINE, PG_GETARG_INT32(0)) == DT_NOEND);
}

/* Until when the worker of a group (its id) held no change that is not in the views: infinity = it holds none.  Null: not known. */
Datum
td_sql_group_caught_up(PG_FUNCTION_ARGS)
{
	TimestampTz until = caught_up(TD_WORKER_VIEW, PG_GETARG_INT32(0));

	if (until == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(until);
}

/* One row: what the catalog can't say, and why. */
static Datum
standing_row(FunctionCallInfo fcinfo, const char *standing, const TdError *why)
{
	Datum		values[4] = {0};
	bool		nulls[4] = {true, true, true, true};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (standing)
	{
		values[0] = CStringGetTextDatum(standing);
		nulls[0] = false;
	}
	if (why->sqlstate[0])
	{
		values[1] = CStringGetTextDatum(why->sqlstate);
		values[2] = CStringGetTextDatum(why->message);
		values[3] = CStringGetTextDatum(why->hint);
		nulls[1] = nulls[2] = nulls[3] = false;
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * What "streaming" of a group (its id) in the catalog means here and now: null = just that.  After a crash, and on a standby, the catalog says what
 * was so elsewhere or before; nothing is so until a worker has looked at it.  That none can is said by nobody else: stopped or waiting_for_worker, with the error.
 */
Datum
td_sql_group_standing(PG_FUNCTION_ARGS)
{
	const char *standing = NULL;
	uint64		keeping = 0;
	TdError		why = {0};

	if (td_shared != NULL)
		(void) td_worker_covers(TD_WORKER_VIEW, PG_GETARG_INT32(0), 0, &keeping);
	if (keeping == 0 || RecoveryInProgress())
	{
		standing = td_database_standing(&why);
		if (standing == NULL)
			standing = "starting";
	}
	return standing_row(fcinfo, standing, &why);
}

/* The same of a pipeline (its id): null where it runs, or a supervisor is there to write what becomes of it. */
Datum
td_sql_pipeline_standing(PG_FUNCTION_ARGS)
{
	const char *standing = NULL;
	TdError		why = {0};

	if (td_shared == NULL || (!td_worker_runs(TD_WORKER_SUPERVISOR, 0) && !td_worker_runs(TD_WORKER_PIPELINE, PG_GETARG_INT32(0))))
	{
		standing = td_database_standing(&why);
		if (standing == NULL)
			standing = "starting";
	}
	return standing_row(fcinfo, standing, &why);
}

/*
 * Of which moment the WAL is that the capture worker of a group (its id) has decoded, and where: now, while it rests.  Nulls: none runs, or it has
 * not caught up since it began.
 */
Datum
td_sql_group_decoded(PG_FUNCTION_ARGS)
{
	XLogRecPtr	lsn;
	TimestampTz at = td_group_decoded(PG_GETARG_INT32(0), &lsn);
	Datum		values[2] = {TimestampTzGetDatum(at), LSNGetDatum(lsn)};
	bool		nulls[2] = {at == 0, lsn == InvalidXLogRecPtr};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Until when nothing waited there to be applied: DT_NOEND = nothing does; 0 = it does not run, or has not caught up since it began. */
static TimestampTz
caught_up(TdWorkerKind kind, int32 object)
{
	TdWorkerSlot *slot;
	TimestampTz until = 0;

	if (td_shared == NULL)
		return 0;
	LWLockAcquire(td_shared->lock, LW_SHARED);
	slot = td_slot_find(kind, MyDatabaseId, object);
	if (slot)
	{
		bool		now = pg_atomic_read_u32(&slot->caught_up) != 0;

		pg_read_barrier();
		until = now ? DT_NOEND : (TimestampTz) pg_atomic_read_u64(&slot->caught_up_at);
	}
	LWLockRelease(td_shared->lock);
	return until;
}

/* One row for each process of ours that the caller may see; none when not preloaded. */
Datum
td_sql_worker_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	TdWorkerSlot *slots;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	slots = copy_slots(&n);
	for (int i = 0; i < n; i++)
	{
		TdWorkerSlot *s = &slots[i];
		char	   *database = OidIsValid(s->database) ? get_database_name(s->database) : NULL;
		int64		memory = memory_of(s->pid);
		bool		named = s->object != 0 || s->kind == TD_WORKER_HOST;	/* others are named after their database */
		Datum		values[COLUMNS] = {
			Int32GetDatum(s->pid), CStringGetTextDatum(td_worker_kind_name(s->kind)),
			database ? CStringGetTextDatum(database) : (Datum) 0, named ? CStringGetTextDatum(s->name) : (Datum) 0,
			CStringGetTextDatum(s->status), TimestampTzGetDatum(s->since), Int32GetDatum(s->restarts),
			Int64GetDatum(memory), ObjectIdGetDatum(s->owner)
		};
		bool		nulls[COLUMNS] = {s->pid == 0, false, database == NULL, !named, false, false, false, memory < 0, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The slots in use that the caller may see.  Rights are looked up after the lock is released. */
static TdWorkerSlot *
copy_slots(int *n)
{
	TdWorkerSlot *slots;
	int			all = 0;

	*n = 0;
	if (td_shared == NULL)
		return NULL;
	slots = palloc_extended(td_shared->nslots * sizeof(TdWorkerSlot), MCXT_ALLOC_HUGE);
	LWLockAcquire(td_shared->lock, LW_SHARED);
	for (int i = 0; i < td_shared->nslots; i++)
	{
		if (td_shared->slots[i].kind != TD_WORKER_NONE)
			slots[all++] = td_shared->slots[i];
	}
	LWLockRelease(td_shared->lock);
	for (int i = 0; i < all; i++)
	{
		if (may_see(&slots[i]))
			slots[(*n)++] = slots[i];
	}
	return slots;
}

/* Owners see what is theirs, monitors everything, everybody the launcher and the supervisor of this database. */
static bool
may_see(const TdWorkerSlot *slot)
{
	if (slot->kind == TD_WORKER_LAUNCHER)
		return true;
	if (slot->kind == TD_WORKER_SUPERVISOR && slot->database == MyDatabaseId)
		return true;
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		(slot->database == MyDatabaseId && has_privs_of_role(GetUserId(), slot->owner));
}

/* Memory that is the process's own, in bytes; -1 = unknown. */
static int64
memory_of(pid_t pid)
{
	char		path[64];
	char		line[128];
	FILE	   *file;
	int64		kb = -1;

	if (pid == 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
	file = AllocateFile(path, "r");
	if (file == NULL)
		return -1;
	while (kb < 0 && fgets(line, sizeof(line), file) != NULL)
	{
		if (strncmp(line, "RssAnon:", 8) == 0)
			kb = strtoll(line + 8, NULL, 10);
	}
	FreeFile(file);
	return kb < 0 ? -1 : kb * 1024;
}
