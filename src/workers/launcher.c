/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		One per cluster: finds the databases that have the extension and keeps a
 *		supervisor running in each.
 *
 * NOTES
 *		Process: static background worker "tapdata launcher"; connected to no
 *		database, reads pg_database only.  It learns what is in a database from a
 *		probe: at its start, when CREATE EXTENSION was committed there, when the
 *		database is new, and when a supervisor has ended.
 *
 *		Its list of databases is its own memory and is made anew when it is
 *		restarted; supervisors that are there already are found in shared memory.
 *		It does nothing for a database that is held (session.c).
 *
 * IDENTIFICATION
 *		src/workers/launcher.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "util/util.h"
#include "workers/workers_internal.h"

#define LONG_LIFE_MS 60000		/* a supervisor that lived longer did not fail at its start */
#define INVALID_CONNECTION_LIMIT (-2)	/* DROP DATABASE was interrupted */

typedef struct Database
{
	Oid			oid;			/* key */
	char		name[NAMEDATALEN];
	bool		seen;			/* in the last scan */
	bool		probe;			/* is to be probed */
	bool		present;		/* has the extension, as far as we know */
	bool		running;		/* its supervisor runs, or is being started */
	bool		starved;		/* no worker was free for it */
	int			failures;		/* in a row */
	TimestampTz started;
	TimestampTz next_at;		/* nothing before that */
} Database;

static HTAB *databases = NULL;
static Oid	probing = InvalidOid;	/* the database of the probe that runs */
static bool was_enabled = false;

static void make_list(void);
static void take_requests(void);
static void scan_databases(void);
static void note_database(Form_pg_database form);
static void forget_databases(void);
static void probe_everything(void);
static void tend(Database *d, TimestampTz now, TimestampTz *wake);
static void note_end(Database *d, TimestampTz now);
static void note_probe(TimestampTz now);
static bool launch(Database *d, TdWorkerKind kind, TimestampTz now);
static void note_starved(Database *d);
static bool is_due(Database *d, TimestampTz now, TimestampTz *wake);
static void wait_until(TimestampTz wake, TimestampTz now);

/* Its slot makes the launcher visible; the first one since the server's start also empties the spool directory. */
void
td_launcher_main(Datum main_arg)
{
	td_worker_begin(main_arg, TD_WORKER_LAUNCHER);
	if (td_my_slot->restarts == 0)
		td_spool_empty();
	td_worker_status("running");
	make_list();

	while (!td_worker_should_stop())
	{
		TimestampTz now;
		TimestampTz wake = DT_NOEND;
		HASH_SEQ_STATUS seq;
		Database   *d;
		bool		starved;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		td_worker_reload();
		td_workers_reap();
		take_requests();
		now = GetCurrentTimestamp();
		note_probe(now);
		hash_seq_init(&seq, databases);
		starved = false;
		while ((d = hash_seq_search(&seq)) != NULL)
		{
			tend(d, now, &wake);
			starved |= d->starved;
		}
		td_worker_hungry(starved);
		wait_until(wake, now);
	}
	proc_exit(1);				/* 0 would mean: never again */
}

static void
make_list(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Database), .hcxt = TopMemoryContext};

	databases = hash_create("tapdata databases", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	td_shared->rescan = td_shared->probe_all = true;
	LWLockRelease(td_shared->lock);
}

/* What sessions asked for since the last round. */
static void
take_requests(void)
{
	Oid			wanted[TD_MAX_PROBES];
	int			n;
	bool		rescan;
	bool		all;

	LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
	n = td_shared->nprobes;
	memcpy(wanted, td_shared->probes, n * sizeof(Oid));
	all = td_shared->probe_all;
	rescan = td_shared->rescan || all || n > 0;
	td_shared->nprobes = 0;
	td_shared->probe_all = td_shared->rescan = false;
	LWLockRelease(td_shared->lock);

	all |= td_enabled && !was_enabled;
	was_enabled = td_enabled;
	if (rescan || all)
		scan_databases();
	if (all)
		probe_everything();
	for (int i = 0; i < n; i++)
	{
		Database   *d = hash_search(databases, &wanted[i], HASH_FIND, NULL);

		if (d)
		{
			d->probe = true;
			d->next_at = 0;
		}
	}
}

static void
probe_everything(void)
{
	HASH_SEQ_STATUS seq;
	Database   *d;

	hash_seq_init(&seq, databases);
	while ((d = hash_seq_search(&seq)) != NULL)
		d->probe = true;
}

/* ---- the list ---- */

/* Brings the list up to date with pg_database. */
static void
scan_databases(void)
{
	HASH_SEQ_STATUS seq;
	Database   *d;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	hash_seq_init(&seq, databases);
	while ((d = hash_seq_search(&seq)) != NULL)
		d->seen = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		note_database((Form_pg_database) GETSTRUCT(tuple));
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
	forget_databases();
}

/* One that can't be connected to is as good as not there. */
static void
note_database(Form_pg_database form)
{
	Oid			oid = form->oid;
	Database   *d;
	bool		found;

	if (!form->datallowconn || form->datconnlimit == INVALID_CONNECTION_LIMIT)
		return;
	d = hash_search(databases, &oid, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) d + sizeof(Oid), 0, sizeof(Database) - sizeof(Oid));
		d->probe = true;
	}
	d->seen = true;
	strlcpy(d->name, NameStr(form->datname), NAMEDATALEN);
}

/* Databases that are gone.  Their origins are not: any other database's probe will clear them away. */
static void
forget_databases(void)
{
	HASH_SEQ_STATUS seq;
	Database   *d;
	bool		gone = false;

	hash_seq_init(&seq, databases);
	while ((d = hash_seq_search(&seq)) != NULL)
	{
		if (d->seen || d->running)
			continue;
		gone = true;
		hash_search(databases, &d->oid, HASH_REMOVE, NULL);
	}
	if (!gone)
		return;
	hash_seq_init(&seq, databases);
	if ((d = hash_seq_search(&seq)) != NULL)
	{
		d->probe = true;
		hash_seq_term(&seq);
	}
}

/* ---- one database ---- */

/* Moves one database on as far as it goes now; *wake = when to look at it again. */
static void
tend(Database *d, TimestampTz now, TimestampTz *wake)
{
	bool		supervised = td_slot_exists(TD_WORKER_SUPERVISOR, d->oid, 0, NULL);

	if (d->running && !supervised)
		note_end(d, now);
	else if (!d->running && supervised)
	{
		d->running = true;		/* of an earlier launcher */
		d->started = now;
	}
	if (supervised || !td_enabled || !d->seen)
		d->starved = false;
	if (!td_enabled && !supervised && td_workers_any(d->oid, false))
		td_workers_signal(d->oid, SIGTERM, false);	/* nobody else will */
	if (!td_enabled || !d->seen || td_database_held(d->oid) || !is_due(d, now, wake))
		return;
	if (d->probe && !OidIsValid(probing))
	{
		if (launch(d, TD_WORKER_PROBE, now))
		{
			d->probe = false;
			probing = d->oid;
		}
		else
			(void) is_due(d, now, wake);
	}
	else if (d->present && !d->probe && !d->running && probing != d->oid)
	{
		if (launch(d, TD_WORKER_SUPERVISOR, now))
		{
			d->running = true;
			d->started = now;
		}
		else
			(void) is_due(d, now, wake);
	}
}

static bool
is_due(Database *d, TimestampTz now, TimestampTz *wake)
{
	if (d->next_at <= now)
		return true;
	if (d->probe || (d->present && !d->running))
		*wake = Min(*wake, d->next_at);
	return false;
}

/* A supervisor has ended: whether it shall run again, the next probe says. */
static void
note_end(Database *d, TimestampTz now)
{
	bool		lived = TimestampDifferenceExceeds(d->started, now, LONG_LIFE_MS);

	d->running = d->present = false;
	d->probe = true;
	d->failures = lived || !td_enabled || td_database_held(d->oid) ? 0 : d->failures + 1;
	/* the first end may be anybody's pg_terminate_backend: no reason to wait */
	d->next_at = d->failures <= 1 ? now : TimestampTzPlusMilliseconds(now, td_backoff_ms(d->failures - 1));
}

/* Reads the answer of the probe once it has ended. */
static void
note_probe(TimestampTz now)
{
	TdProbeAnswer answer;
	Database   *d;

	if (!OidIsValid(probing) || td_slot_exists(TD_WORKER_PROBE, probing, 0, NULL))
		return;
	LWLockAcquire(td_shared->lock, LW_SHARED);
	answer = td_shared->probe_answer;
	LWLockRelease(td_shared->lock);
	d = hash_search(databases, &probing, HASH_FIND, NULL);
	probing = InvalidOid;
	if (d == NULL)
		return;
	d->present = answer == TD_PROBE_PRESENT;
	if (answer == TD_PROBE_ABSENT)
	{
		d->failures = 0;
		d->starved = false;
	}
	if (answer != TD_PROBE_NONE)
		return;
	d->probe = true;			/* it could not look: held, dropped, or something is wrong */
	d->failures++;
	d->next_at = TimestampTzPlusMilliseconds(now, td_backoff_ms(d->failures));
}

/* Starts a probe or a supervisor; when there is no room, the end of another worker wakes us, or time does. */
static bool
launch(Database *d, TdWorkerKind kind, TimestampTz now)
{
	TdWorkerOrder order = {
		.kind = kind,
		.database = d->oid,
		.owner = BOOTSTRAP_SUPERUSERID,
		.name = d->name,
		.function = kind == TD_WORKER_PROBE ? "td_probe_main" : "td_supervisor_main",
		.restarts = d->failures
	};
	TdLaunch	result;

	if (kind == TD_WORKER_PROBE)
	{
		LWLockAcquire(td_shared->lock, LW_EXCLUSIVE);
		td_shared->probe_database = d->oid;
		td_shared->probe_answer = TD_PROBE_NONE;
		LWLockRelease(td_shared->lock);
	}
	result = td_worker_launch(&order);
	if (result == TD_LAUNCH_FULL)
	{
		d->next_at = TimestampTzPlusMilliseconds(now, TD_FULL_RETRY_MS);
		note_starved(d);
	}
	return result == TD_LAUNCHED;
}

/* Said once: nobody else can tell, in a database without a supervisor nothing writes the catalog. */
static void
note_starved(Database *d)
{
	if (!d->starved)
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg(TD_NO_WORKER " for database \"%s\"", d->name),
				 errdetail("Where it has live views or pipelines, they wait."),
				 errhint("%s", td_no_worker_hint("supervisor of the database"))));
	d->starved = true;
}

static void
wait_until(TimestampTz wake, TimestampTz now)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long		left = -1;

	if (wake != DT_NOEND)
	{
		events |= WL_TIMEOUT;
		left = Max(TimestampDifferenceMilliseconds(now, wake), 1);
	}
	(void) WaitLatch(MyLatch, events, left, PG_WAIT_EXTENSION);
}
