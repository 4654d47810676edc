/*-------------------------------------------------------------------------
 *
 * main.c
 *		The pipeline worker: its phases in order, and what it leaves behind when
 *		one of them fails.
 *
 * NOTES
 *		Process: background worker "tapdata pipeline", connected as the
 *		pipeline's owner, replication role replica.  All progress is in the
 *		catalog, so the worker can end at any moment and the next one goes on:
 *		plan -> snapshot -> streaming (README.md has the drawing).
 *
 *		Waiting for the host never happens inside a transaction.
 *
 * IDENTIFICATION
 *		src/pipeline/main.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pipeline/pipeline_internal.h"
#include "util/util.h"

static void run_phases(TdRun *run);
static void open_run(TdRun *run, int32 id);
static void leave_error(int32 id, ErrorData *edata);
static bool begin_with_extension(void);
static void check_database(TdRun *run);
static void release_spool(void *arg);

/* Entry of the worker: main_arg names its slot. */
void
td_pipeline_main(Datum main_arg)
{
	MemoryContext context;
	int32		id;

	td_worker_begin(main_arg, TD_WORKER_PIPELINE);
	id = td_my_slot->object;
	context = AllocSetContextCreate(TopMemoryContext, "tapdata pipeline", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);

	PG_TRY();
	{
		TdRun	   *run = palloc0(sizeof(TdRun));

		run->context = context;
		td_worker_origin(id);
		open_run(run, id);
		run_phases(run);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(TopMemoryContext);
		edata = CopyErrorData();
		HOLD_INTERRUPTS();
		if (edata->sqlerrcode != ERRCODE_TD_STOP)
			EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextDelete(context);	/* the host and the spool go with it */
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		leave_error(id, edata);
	}
	PG_END_TRY();
	proc_exit(0);
}

/* Loads the definition, the connection with its secrets, and starts the host. */
static void
open_run(TdRun *run, int32 id)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	TdError		err = {0};

	callback->func = release_spool;
	callback->arg = run;
	MemoryContextRegisterResetCallback(run->context, callback);
	run->spool = td_spool_create(td_spool_path(), (size_t) td_worker_memory * 1024 / 2,
								 (uint64_t) td_spool_limit * 1024 * 1024, &err);
	if (run->spool == NULL)
		td_error_raise(&err);

	td_run_begin();
	MemoryContextSwitchTo(run->context);
	run->pipeline = td_pipeline_load(id);
	if (run->pipeline == NULL || !run->pipeline->wanted)
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the pipeline is not wanted any more")));
	td_pipeline_set_status(id, "starting");
	run->connection = td_connection_load(run->pipeline->connection, run->pipeline->owner);
	run->tables = td_pipeline_tables(id);
	td_run_commit();
	check_database(run);

	MemoryContextSwitchTo(run->context);
	run->host = td_host_open(run->connection, id, run->pipeline->owner);
}

/* The tables of a mirror are those of one database: a connection that has been pointed to another one does not go on with them. */
static void
check_database(TdRun *run)
{
	const char *database = NULL;
	ListCell   *lc;

	for (int i = 0; i < run->connection->noptions; i++)
	{
		if (strcmp(run->connection->names[i], "database") == 0)
			database = run->connection->values[i];
	}
	foreach(lc, run->tables)
	{
		TdPipelineTable *t = lfirst(lc);

		if (database && database[0] && strcmp(database, t->source_database) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("connection \"%s\" now reads database \"%s\", but the pipeline mirrors \"%s\"",
							run->connection->name, database, t->source_database),
					 errhint("Set the database back with tapdata.alter_connection(), or make a connection and a mirror of their own for \"%s\".",
							 database)));
	}
}

static void
release_spool(void *arg)
{
	TdRun	   *run = arg;

	if (run->spool)
		td_spool_destroy(run->spool);
	run->spool = NULL;
}

/* From wherever the catalog says we are to the end. */
static void
run_phases(TdRun *run)
{
	TdPipeline *p = run->pipeline;

	if (!p->planned)
		td_run_plan(run);
	if (!run->pipeline->load_done)
		td_run_snapshot(run);
	if (run->pipeline->sync_type == TD_SYNC_FULL && run->pipeline->published)
		td_run_status(run, "completed");
	else
		td_run_stream(run);
}

/* Reads definition, state and tables again, in a transaction of its own. */
void
td_run_reload(TdRun *run)
{
	td_run_begin();
	MemoryContextSwitchTo(run->context);
	run->pipeline = td_pipeline_load(run->pipeline->id);
	if (run->pipeline == NULL)
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the pipeline was dropped")));
	run->tables = td_pipeline_tables(run->pipeline->id);
	td_run_commit();
}

/* Writes a status in a transaction of its own and shows it. */
void
td_run_status(TdRun *run, const char *status)
{
	td_run_begin();
	td_pipeline_set_status(run->pipeline->id, status);
	td_run_commit();
	td_worker_status(status);
}

/*
 * What an error leaves: `stopped` when we were asked to stop (whatever error
 * that brought about), else retrying or failed with the error.  A pipeline
 * that was dropped leaves nothing.
 */
static void
leave_error(int32 id, ErrorData *edata)
{
	TdError		err;

	td_error_from_edata(&err, edata);
	if (!begin_with_extension())
	{
		AbortCurrentTransaction();
		return;
	}
	if (td_pipeline_load(id) != NULL)
	{
		if (edata->sqlerrcode == ERRCODE_TD_STOP || td_worker_should_stop())
			td_pipeline_set_status(id, "stopped");
		else
			td_pipeline_set_error(id, &err);
	}
	td_run_commit();
}

/* Leaves the current phase when the worker is asked to stop. */
void
td_run_check_stop(void)
{
	CHECK_FOR_INTERRUPTS();
	if (td_worker_should_stop())
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("stop requested")));
}

/* Starts a transaction that DROP EXTENSION can not get into; false = the extension is gone. */
static bool
begin_with_extension(void)
{
	replorigin_session_origin_timestamp = 0;	/* or every commit would bear the time of our first one */
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!OidIsValid(td_extension_hold()))
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

/* A transaction of the worker, with a snapshot. */
void
td_run_begin(void)
{
	if (!begin_with_extension())
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the extension was dropped")));
}

void
td_run_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/* ---- the spool, with its error values raised ---- */

void
td_run_spool_append(TdRun *run, const uint8_t *data, size_t len)
{
	TdError		err = {0};

	if (len > 0 && !td_spool_append(run->spool, data, len, &err))
		td_error_raise(&err);
}

/* The next block, false at the end. */
bool
td_run_spool_read(TdRun *run, TdBytes *block)
{
	TdError		err = {0};
	int			rc = td_spool_read(run->spool, block, &err);

	if (rc < 0)
		td_error_raise(&err);
	return rc > 0;
}

/* A record's text as a string in the given context. */
char *
td_run_text(MemoryContext context, TdBytes text)
{
	char	   *s = MemoryContextAlloc(context, text.len + 1);

	memcpy(s, text.data, text.len);
	s[text.len] = '\0';
	return s;
}

/* Raises the error for bytes that are no record. */
void
td_run_damaged(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("damaged record from the connector"),
			 errhint("This is a bug in the connector.")));
}
