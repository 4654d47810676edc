/*-------------------------------------------------------------------------
 *
 * supervisor_catalog.c
 *		What the supervisor reads from and writes to the catalog.
 *
 * NOTES
 *		A row (of a pipeline or view group) that an open transaction has locked
 *		(start, stop, alter, drop) is passed over: the end of that transaction wakes
 *		the supervisor.  The status is written by the supervisor only while no
 *		worker runs.
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
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "util/util.h"
#include "workers/supervisor_internal.h"

#define MAX_STARTS 10			/* in a row, without progress: then it is for a person */

static uint64 run(const char *sql, int32 id, const char *word);
static List *read_kind(const TdSupervisedKind *kind, List *list, MemoryContext context);
static TdSupervised *read_row(const TdSupervisedKind *kind, uint64 row, MemoryContext context);
static bool drop_left_overs(const TdSupervisedKind *kind);
static bool lock_row(TdSupervised *p);
static bool may_connect(Oid role);
static bool lock_state(TdSupervised *p);
static bool count_start(TdSupervised *p);
static void write_start(TdSupervised *p);
static void write_no_login(TdSupervised *p);
static void write_waiting(TdSupervised *p);

/* The extension's oid, InvalidOid = it is gone: DROP EXTENSION waits for us before it locks the first table, or both would wait for each other. */
Oid
td_supervisor_begin(void)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			extension;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	extension = td_extension_hold();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	return extension;
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

/* All there is, in memory of the caller.  One without state came with a dump: it is fenced already. */
List *
td_supervised_list(bool here, bool *left_overs)
{
	MemoryContext context = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *list = NIL;
	bool		all = true;

	td_catalog_enter(&scope);
	for (int i = 0; i < TD_SUPERVISED_KINDS; i++)
	{
		if (here)
			all &= drop_left_overs(&td_supervised_kinds[i]);
		list = read_kind(&td_supervised_kinds[i], list, context);
	}
	*left_overs = here && (!td_cleanup_groups() || !all);
	td_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	return list;
}

static List *
read_kind(const TdSupervisedKind *kind, List *list, MemoryContext context)
{
	run(kind->list, 0, LOST_MESSAGE);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TdSupervised *p = read_row(kind, i, context);
		MemoryContext spi = MemoryContextSwitchTo(context);

		list = lappend(list, p);
		MemoryContextSwitchTo(spi);
	}
	return list;
}

static TdSupervised *
read_row(const TdSupervisedKind *kind, uint64 row, MemoryContext context)
{
	HeapTuple	tuple = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	TdSupervised *p = MemoryContextAllocZero(context, sizeof(TdSupervised));
	bool		null;

	p->kind = kind;
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
	p->again = DatumGetBool(SPI_getbinval(tuple, desc, 9, &null));
	p->wake_ms = -1;
	return p;
}

/* Start counts of what was dropped, and origins of pipelines, once their workers are gone.  false = somebody else uses one of these. */
static bool
drop_left_overs(const TdSupervisedKind *kind)
{
	List	   *ids = NIL;
	bool		all = true;
	ListCell   *lc;

	run(kind->gone, 0, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int32		id = pg_strtoint32(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));

		if (!td_worker_runs(kind->worker, id))
			ids = lappend_int(ids, id);
	}
	foreach(lc, ids)
	{
		if (kind->worker != TD_WORKER_PIPELINE || td_try_to_drop(psprintf("tapdata_%u_%d", MyDatabaseId, lfirst_int(lc)), false))
			run(kind->drop_starts, lfirst_int(lc), NULL);
		else
			all = false;
	}
	return all;
}

/* Is the row as it was in the list, and nobody's?  It is ours then until the end of the transaction. */
static bool
lock_row(TdSupervised *p)
{
	return run(p->kind->lock, p->id, p->wanted ? "true" : "false") == 1;
}

/*
 * Is the status as it was in the list?  It is ours then until the end of the transaction: a worker that begins meanwhile finds what we write.  If not, a
 * worker has left its last word since, and its end has woken us for another round.
 */
static bool
lock_state(TdSupervised *p)
{
	return run(p->kind->lock_state, p->id, p->status) == 1;
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

	(void) td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p) && lock_state(p))
	{
		may = !p->kind->by_owner || may_connect(p->owner);
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
	int			starts = ended_well || p->again ? 1 : p->starts + 1;

	if (run(p->kind->count, p->id, psprintf("%d", starts)) == 1)
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
	p->kind->set_error(p->id, &err);
}

/* Two transactions: the count first, so that it is there whatever the start does; then the start with its status. */
void
td_supervised_start(TdSupervised *p)
{
	TdWorkerOrder order = {p->kind->worker, MyDatabaseId, p->id, p->owner, p->name, p->kind->function, 0};
	TdCatalogScope scope;
	TdLaunch	result;

	if (!count_start(p))
		return;
	(void) td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p) && lock_state(p))
	{
		order.restarts = p->restarts;
		result = td_worker_launch(&order);
		if (result == TD_LAUNCHED)
			p->kind->set_status(p->id, "starting");
		else
		{
			run(p->kind->uncount, p->id, NULL);
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
	p->kind->set_status(p->id, "starting");
	p->kind->set_status(p->id, "waiting_for_worker");
	run(p->kind->waiting, p->id, td_no_worker_hint(p->kind->noun));
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
	if (again)
		td_error_hint(&err, "The server log says why. The %s is started again by itself.", p->kind->noun);
	else
		td_error_hint(&err, "The server log says why. Mend the cause, then %s.", p->kind->repair);
	err.retryable = again;
	(void) td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p) && lock_state(p))
	{
		p->kind->set_error(p->id, &err);
		run(p->kind->set_starts, p->id, psprintf("%d", p->starts));
		run(p->kind->delay, p->id, psprintf("%d ms", td_backoff_ms(p->starts)));
	}
	td_catalog_leave(&scope);
	td_supervisor_commit();
	p->wake_ms = 0;				/* the next round reads retry_at */
}

/* A status, for one that has no worker; its starts are forgotten. */
void
td_supervised_write(TdSupervised *p, const char *status)
{
	TdCatalogScope scope;

	(void) td_supervisor_begin();
	td_catalog_enter(&scope);
	if (lock_row(p) && lock_state(p))
	{
		if (status)
			p->kind->set_status(p->id, status);
		run(p->kind->forget_starts, p->id, NULL);
	}
	td_catalog_leave(&scope);
	td_supervisor_commit();
}
