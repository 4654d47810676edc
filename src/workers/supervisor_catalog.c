/*-------------------------------------------------------------------------
 *
 * supervisor_catalog.c
 *		What the supervisor reads from and writes to the catalog.
 *
 * NOTES
 *		A pipeline's row that an open transaction has locked (start, stop, alter,
 *		drop) is passed over: the end of that transaction wakes the supervisor.
 *		The status is written by the supervisor only while no worker runs.
 *
 *		tapdata.worker_start counts starts in quick succession, and is committed
 *		before each start: a worker that takes the whole server down with it is
 *		found there afterwards.
 *
 * IDENTIFICATION
 *		src/workers/supervisor_catalog.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "util/util.h"
#include "workers/supervisor_internal.h"

#define LOST_MESSAGE "the pipeline worker ended without leaving a reason"
#define MAX_STARTS 10			/* in a row, without progress: then it is for a person */

/* A word that changes with everything a worker gets done; s = pipeline_state. */
#define PROGRESS "concat_ws('/', s.planned, s.load_done, s.published, s.rows_loaded, s.rows_applied, s.position)"

static uint64 run(const char *sql, int32 id, const char *word);
static TdSupervised *read_row(uint64 row, MemoryContext context);
static void drop_left_overs(void);
static bool lock_row(TdSupervised *p);
static bool may_connect(Oid role);
static bool lock_state(TdSupervised *p);
static bool count_start(TdSupervised *p);
static void write_start(TdSupervised *p);
static void write_no_login(TdSupervised *p);
static void write_waiting(TdSupervised *p);

void
td_supervisor_begin(void)
{
	MemoryContext context = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
}

void
td_supervisor_commit(void)
{
	MemoryContext context = CurrentMemoryContext;

	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* One statement with $1 = the id and $2 = a word (NULL = null); returns its number of rows. */
static uint64
run(const char *sql, int32 id, const char *word)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(id), word ? CStringGetTextDatum(word) : (Datum) 0};
	char		nulls[] = {' ', word ? ' ' : 'n'};

	if (SPI_execute_with_args(sql, 2, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	return SPI_processed;
}

/* All pipelines, in memory of the caller.  One without state came with a dump: it is fenced already. */
List *
td_supervised_list(bool here)
{
	MemoryContext context = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *list = NIL;

	td_catalog_enter(&scope);
	if (here)
		drop_left_overs();
	run("SELECT p.id, p.name, p.owner::oid, p.desired = 'running', coalesce(s.status, 'fenced'), s.retry_at, "
		"CASE WHEN s.status IN ('starting', 'snapshot', 'streaming', 'stopping') "
		"AND (w.started < clock_timestamp() - interval '10 s' OR w.progress <> " PROGRESS ") THEN least(w.starts, 1) "
		"WHEN s.status = 'retrying' AND s.error IS DISTINCT FROM $2 THEN 0 "
		"ELSE coalesce(w.starts, 0) END, coalesce(w.restarts, 0) "
		"FROM tapdata.pipeline p LEFT JOIN tapdata.pipeline_state s ON s.pipeline = p.id "
		"LEFT JOIN tapdata.worker_start w ON w.kind = 'pipeline' AND w.object = p.id ORDER BY p.id", 0, LOST_MESSAGE);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TdSupervised *p = read_row(i, context);
		MemoryContext spi = MemoryContextSwitchTo(context);

		list = lappend(list, p);
		MemoryContextSwitchTo(spi);
	}
	td_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	return list;
}

static TdSupervised *
read_row(uint64 row, MemoryContext context)
{
	HeapTuple	tuple = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	TdSupervised *p = MemoryContextAllocZero(context, sizeof(TdSupervised));
	bool		null;

	p->id = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &null));
	p->name = MemoryContextStrdup(context, SPI_getvalue(tuple, desc, 2));
	p->owner = DatumGetObjectId(SPI_getbinval(tuple, desc, 3, &null));
	p->wanted = DatumGetBool(SPI_getbinval(tuple, desc, 4, &null));
	p->status = MemoryContextStrdup(context, SPI_getvalue(tuple, desc, 5));
	p->retry_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 6, &null));
	if (null)
		p->retry_at = 0;
	p->starts = DatumGetInt32(SPI_getbinval(tuple, desc, 7, &null));
	p->restarts = DatumGetInt32(SPI_getbinval(tuple, desc, 8, &null));
	p->wake_ms = -1;
	return p;
}

/* Start counts and origins of pipelines that were dropped, once their workers are gone. */
static void
drop_left_overs(void)
{
	List	   *names = NIL;
	ListCell   *lc;

	run("SELECT w.object FROM tapdata.worker_start w WHERE kind = 'pipeline' AND "
		"NOT EXISTS (SELECT FROM tapdata.pipeline p WHERE p.id = w.object)", 0, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int32		id = pg_strtoint32(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));

		if (!td_slot_exists(TD_WORKER_PIPELINE, MyDatabaseId, id, NULL))
			names = lappend_int(names, id);
	}
	foreach(lc, names)
	{
		replorigin_drop_by_name(psprintf("tapdata_%u_%d", MyDatabaseId, lfirst_int(lc)), true, true);
		run("DELETE FROM tapdata.worker_start WHERE kind = 'pipeline' AND object = $1", lfirst_int(lc), NULL);
	}
}

/* Is the row as it was in the list, and nobody's?  It is ours then until the end of the transaction. */
static bool
lock_row(TdSupervised *p)
{
	return run("SELECT FROM tapdata.pipeline WHERE id = $1 AND desired = $2 FOR NO KEY UPDATE SKIP LOCKED",
			   p->id, p->wanted ? "running" : "stopped") == 1;
}

/* The status is ours until the end of the transaction: a worker that begins meanwhile finds what we write. */
static bool
lock_state(TdSupervised *p)
{
	return run("SELECT FROM tapdata.pipeline_state WHERE pipeline = $1 FOR NO KEY UPDATE", p->id, NULL) == 1;
}

/* A worker connects as the owner, which the server allows only to roles that may log in. */
static bool
may_connect(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		may = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

/* Counts the start, in a transaction of its own: false = not now, or never (the reason is in the catalog then). */
static bool
count_start(TdSupervised *p)
{
	TdCatalogScope scope;
	bool		may = false;

	td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p))
	{
		may = may_connect(p->owner);
		if (may)
			write_start(p);
		else
			write_no_login(p);
	}
	td_catalog_leave(&scope);
	td_supervisor_commit();
	return may;
}

/* A start after one that ended in good order is the first in a row. */
static void
write_start(TdSupervised *p)
{
	bool		ended_well = strcmp(p->status, "stopped") == 0 || strcmp(p->status, "created") == 0 || strcmp(p->status, "fenced") == 0;
	int			starts = ended_well ? 1 : p->starts + 1;

	if (run("INSERT INTO tapdata.worker_start AS w (kind, object, started, starts, restarts, progress) "
			"SELECT 'pipeline', $1, clock_timestamp(), $2::integer, 0, " PROGRESS " FROM tapdata.pipeline_state s WHERE s.pipeline = $1 "
			"ON CONFLICT (kind, object) DO UPDATE SET starts = excluded.starts, restarts = w.restarts + 1, "
			"started = excluded.started, progress = excluded.progress RETURNING restarts",
			p->id, psprintf("%d", starts)) == 1)
		p->restarts = pg_strtoint32(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

static void
write_no_login(TdSupervised *p)
{
	TdError		err = {0};

	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(p->owner)))
	{
		td_error_set(&err, "28000", "the owner of the pipeline can not log in");
		td_error_hint(&err, "Its worker connects as the owner: give that role LOGIN, then start the pipeline again.");
	}
	else
	{
		td_error_set(&err, "28000", "the owner of the pipeline no longer exists");
		td_error_detail(&err, "Its owner was the role with OID %u.", p->owner);
		td_error_hint(&err, "Its worker connects as the owner: let a superuser call tapdata.drop_pipeline(), then mirror again as a role that can log in.");
	}
	td_pipeline_set_error(p->id, &err);
}

/* Two transactions: the count first, so that it is there whatever the start does; then the start with its status. */
void
td_supervised_start(TdSupervised *p)
{
	TdWorkerOrder order = {TD_WORKER_PIPELINE, MyDatabaseId, p->id, p->owner, p->name, "td_pipeline_main", 0};
	TdCatalogScope scope;
	TdLaunch	result;

	if (!count_start(p))
		return;
	td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p) && lock_state(p))
	{
		order.restarts = p->restarts;
		result = td_worker_launch(&order);
		if (result == TD_LAUNCHED)
			td_pipeline_set_status(p->id, "starting");
		else
		{
			run("UPDATE tapdata.worker_start SET starts = greatest(starts - 1, 0), restarts = greatest(restarts - 1, 0) "
				"WHERE kind = 'pipeline' AND object = $1", p->id, NULL);
			if (result == TD_LAUNCH_FULL)
				write_waiting(p);
		}
	}
	td_catalog_leave(&scope);
	td_supervisor_commit();
}

/* No worker is free: say so once, and what helps; try again when one ends, or after a while. */
static void
write_waiting(TdSupervised *p)
{
	p->wake_ms = TD_FULL_RETRY_MS;
	if (strcmp(p->status, "waiting_for_worker") == 0)
		return;
	td_pipeline_set_status(p->id, "starting");
	td_pipeline_set_status(p->id, "waiting_for_worker");
	run("UPDATE tapdata.pipeline_state SET sqlstate = '53000', error = 'no background worker is free', detail = NULL, hint = $2 "
		"WHERE pipeline = $1", p->id,
		psprintf("Raise max_worker_processes (now %d, needs a restart) or tapdata.max_workers (now %d); "
				 "the pipeline starts by itself once a worker is free.", max_worker_processes, td_max_workers));
}

/*
 * The worker ended without leaving a word: it was terminated, or crashed and
 * took the server with it.  The more often in a row, the longer the wait; in the
 * end it is left to a person, so that a record that crashes it does not take the
 * server down for ever.
 */
void
td_supervised_lost(TdSupervised *p)
{
	TdCatalogScope scope;
	TdError		err = {0};
	bool		again = p->starts < MAX_STARTS;

	td_error_set(&err, again ? "57P01" : "57P02", "%s", LOST_MESSAGE);
	td_error_detail(&err, "It was terminated, or the server was restarted while it ran: %d times in a row without progress.", p->starts);
	td_error_hint(&err, again ? "The server log says why. The pipeline is started again by itself." :
				  "The server log says why. Mend the cause, then start the pipeline again.");
	err.retryable = again;
	td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p))
	{
		td_pipeline_set_error(p->id, &err);
		run("UPDATE tapdata.worker_start SET starts = $2::integer WHERE kind = 'pipeline' AND object = $1", p->id, psprintf("%d", p->starts));
		run("UPDATE tapdata.pipeline_state SET retry_at = greatest(retry_at, clock_timestamp() + $2::interval) "
			"WHERE pipeline = $1 AND status = 'retrying'", p->id, psprintf("%d ms", td_backoff_ms(p->starts)));
	}
	td_catalog_leave(&scope);
	td_supervisor_commit();
	p->wake_ms = 0;				/* the next round reads retry_at */
}

/* A status, for a pipeline that has no worker; its starts are forgotten. */
void
td_supervised_write(TdSupervised *p, const char *status)
{
	TdCatalogScope scope;

	td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p))
	{
		if (status)
			td_pipeline_set_status(p->id, status);
		run("UPDATE tapdata.worker_start SET starts = 0, restarts = 0 WHERE kind = 'pipeline' AND object = $1", p->id, NULL);
	}
	td_catalog_leave(&scope);
	td_supervisor_commit();
}
