/*-------------------------------------------------------------------------
 *
 * workers.h
 *		The door of workers/: the processes, their slots in shared memory, and
 *		how a session speaks to them.
 *
 * src/workers/workers.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_WORKERS_H
#define TD_WORKERS_H

#include "postgres.h"
#include "access/xlogdefs.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "stream/stream.h"

typedef enum TdWorkerKind
{
	TD_WORKER_NONE = 0,
	TD_WORKER_LAUNCHER,
	TD_WORKER_SUPERVISOR,
	TD_WORKER_PROBE,
	TD_WORKER_CAPTURE,
	TD_WORKER_VIEW,
	TD_WORKER_FILL,
	TD_WORKER_PIPELINE,
	TD_WORKER_SERVE,
	TD_WORKER_HOST				/* a connector host, entered by its worker */
} TdWorkerKind;

#define TD_WORKER_NAME (2 * NAMEDATALEN + 8)	/* schema.table, quoted */
#define TD_WAIT_SLOTS 8			/* marks of one worker that are open at a time; those for "now" are shared */

/* What one wait_pipeline or wait_view (or several for "now") waits for. */
typedef struct TdMark
{
	uint64		number;			/* never used twice in the life of the server; 0 = free */
	int32		waiters;		/* sessions that wait for it */
	bool		taken;			/* the worker has asked its source for it */
	bool		reached;
	bool		failed;			/* the source refused the position: error */
	TimestampTz reached_time;	/* source time at the mark */
	char		position[1024]; /* "" = what the source holds when it is taken */
	TdError		error;
} TdMark;

/*
 * One worker (or host) in shared memory.  kind, database, object, pid and
 * latch change under the room's lock; counters are the worker's alone.
 */
typedef struct TdWorkerSlot
{
	TdWorkerKind kind;			/* NONE = free */
	uint32		generation;		/* moves on each use of the slot */
	Oid			database;
	int32		object;			/* pipeline: its id; view and capture: the group's; fill: the view's; 0 = none */
	Oid			owner;
	pid_t		pid;			/* 0 until it runs */
	Latch	   *latch;			/* the worker's procLatch, NULL until it runs */
	char		name[TD_WORKER_NAME];	/* of the object, for tapdata.workers */
	char		status[24];
	TimestampTz since;
	int32		restarts;
	bool		stop;			/* asked to stop in good order */
	bool		hungry;			/* wants a worker and found none free: woken when one ends */
	pid_t		starter;		/* who started it, or who entered the host */
	TimestampTz stop_asked;		/* 0 = not */
	pg_atomic_uint32 told;		/* moves when something that the worker should look up in the catalog was committed */
	pg_atomic_uint32 caught_up;	/* nothing of the source waits to be applied: lag is 0 */
	pg_atomic_uint64 caught_up_at;	/* until when caught_up was so; 0 = it never was */
	pg_atomic_uint64 covered;	/* commits up to this position can be seen in what it keeps; capture: WAL is decoded up to it (see covered.c) */
	pg_atomic_uint64 decoded_at;	/* capture: all that was flushed at this time is decoded; 0 = not known yet */
	pg_atomic_uint64 keeping;	/* another number whenever what it keeps is another */
	pg_atomic_uint32 give_up;	/* of a view worker: its replication slot (wal_kept.c) */
	TimestampTz give_up_asked;
	/* wait_pipeline, wait_view: a session asks, the worker answers (see marks.c) */
	pg_atomic_uint64 mark_wanted;	/* number of the newest mark asked for: a cheap look for the worker */
	TdMark		marks[TD_WAIT_SLOTS];
	uint64		now_reached;	/* number of the last mark for "now" that was answered, and with what; its entry is free again */
	TimestampTz now_time;
	ConditionVariable changed;	/* broadcast on each mark reached and when the slot is freed */
} TdWorkerSlot;

extern TdWorkerSlot *td_my_slot;	/* NULL outside our workers */

/*
 * The common prologue of every worker main: signals, slot, on-exit hook,
 * connection to its database as `role` (InvalidOid = bootstrap superuser),
 * application name and status, fixed search_path.  main_arg is the slot number
 * with its generation, as given by td_worker_start.
 */
extern void td_worker_begin(Datum main_arg, TdWorkerKind kind);
extern void td_worker_status(const char *status);	/* slot and ps title */
extern bool td_worker_should_stop(void);	/* asked to stop, or SIGTERM; no interrupt is processed */
#define ERRCODE_TD_STOP MAKE_SQLSTATE('T', 'D', '0', '0', '1')	/* raised to leave what a worker does when it is asked to stop; caught in its main */
extern void td_worker_reload(void); /* in each loop: rereads the settings after SIGHUP */
extern void td_worker_busy(bool now);	/* view, capture: has found work, or is about to wait (priority.c) */
extern double td_worker_kept_waiting(void); /* ms of its life in which it could have run and had no CPU */

/*
 * Replication origins are called tapdata_<database oid>_<suffix> and made when missing, in a transaction of their own: call these outside of
 * one.  The first two make it the session's own, which one process at a time can do: 53400 with a hint when the server has no state left.
 */
extern void td_worker_origin(int32 pipeline);
extern void td_worker_origin_named(const char *suffix); /* groups: "g<id>" of the view worker, "g<id>_fill" */
extern RepOriginId td_worker_origin_of_rows(void);	/* after that, view and fill workers: "rows", of what they write, in transactions from now on */
extern RepOriginId td_origin_make(const char *suffix);	/* only makes it */

/*
 * Wake at commit (watch.c): after td_watch_enter the worker's latch is set by each transaction of its database that commits what it wrote
 * while the worker is marked asleep.  Mark asleep, look once more, wait, mark awake.  Ends with the process.  53400 when there is no room.
 */
extern void td_watch_enter(void);
extern bool td_watch_asleep(bool asleep);

/*
 * Worker side of wait_pipeline and wait_view: each mark is taken once, oldest first, and answered once, when everything before it is
 * committed.  A mark that is set wakes the worker.
 */
extern bool td_mark_next(uint64 *number, char *position /* [1024], "" = now */ );	/* false = none; cheap */
extern void td_mark_reached(uint64 number, TimestampTz source_time);	/* 0 = unknown; a mark for "now" answers those for "now" before it, too */
extern void td_mark_failed(uint64 number, const TdError *err);	/* raised in the session */

/*
 * Reading one's writes (covered.c).  A worker says up to where commits can be seen in what it keeps; a session knows the end of its last commit
 * that wrote (0 = none).  keeping: a number that moves with what is kept; 0 = no worker, or it has not said yet.
 */
extern void td_worker_covered(XLogRecPtr lsn, bool changed);
extern void td_worker_caught_up(bool caught_up);	/* pipeline, view: nothing waits to be applied, or something does */
extern void td_worker_decoded(XLogRecPtr lsn, TimestampTz at);	/* capture: has decoded up to lsn, and (0 = as before) all that was flushed at that time */
extern TimestampTz td_group_decoded(int32 group, XLogRecPtr *lsn);	/* of which moment, and up to where; 0 = it does not run, or has not caught up since it began */
extern XLogRecPtr td_session_wrote(void);
extern bool td_worker_covers(TdWorkerKind kind, int32 object, XLogRecPtr lsn, uint64 *keeping);

/*
 * Starting workers: supervisor, and the view worker for CAPTURE (object = group) and FILL (object = view, owner = its owner).  The starter's latch
 * is set when one of them ends, and it calls td_workers_reap after that.  A capture or fill worker is terminated when its view worker ends.
 * false = no free worker or slot (the latch is set when one is free), one of that kind and object is still there, or we shall stop ourselves.
 */
extern bool td_worker_start(TdWorkerKind kind, Oid database, int32 object, Oid owner, const char *name /* NULL = our own */ , const char *function);
extern void td_workers_reap(void);
extern bool td_worker_runs(TdWorkerKind kind, int32 object);	/* in this database; also one that has not begun yet */

/* Session side.  All of these may be called in any backend; they need the library preloaded (else 55000 with the lines to change). */
extern void td_workers_require(void);	/* raises that 55000 */
extern void td_supervisor_wake_at_commit(void);	/* something in the catalog changed */
extern void td_worker_wake_at_commit(TdWorkerKind kind, int32 object);	/* the supervisor, and that worker, where they run; no error when not preloaded */
/*
 * Is there no supervisor in this database because no background worker is free for it?  It can't say so itself: why (53000) and what helps.
 */
extern bool td_supervisor_starved(TdError *why);
extern const char *td_database_standing(TdError *why);	/* why nothing of this database can run: "standby", "stopped" or "waiting_for_worker", with an error but for the first; NULL = it can */
extern bool td_worker_request_stop(TdWorkerKind kind, int32 object, bool force);	/* force: SIGTERM at once.  false = none running */
extern bool td_worker_wait_gone(TdWorkerKind kind, int32 object, int timeout_ms);	/* interruptible; true = no such worker */
extern bool td_worker_mark(TdWorkerKind kind, int32 object, const char *position, uint64 *number);	/* asks for a mark; position NULL = now; false = not running */

/*
 * One bounded wait.  REACHED fills *reached, FAILED fills *err; LOST: the worker that was asked has ended; ask again once it
 * runs.  The mark is given back with each of these, and at the end of the transaction.
 */
typedef enum TdMarkState
{
	TD_MARK_WAITING,
	TD_MARK_REACHED,
	TD_MARK_FAILED,
	TD_MARK_LOST
} TdMarkState;

extern TdMarkState td_worker_mark_wait(uint64 number, int timeout_ms, TimestampTz *reached, TdError *err);

/*
 * The view worker's part of tapdata.max_wal_kept, before it uses its replication slot: true = the supervisor has given that up, and the caller
 * drops it if it is still there, then says so.  The error is why, for its views.
 */
extern bool td_wal_given_up(void);
extern void td_wal_dropped(void);
extern void td_wal_error(TdError *err);

/* A host shows itself in tapdata.workers: number of the slot, -1 = none free (harmless). */
extern int	td_host_slot_enter(pid_t pid, int32 object, Oid owner, const char *name);
extern void td_host_slot_leave(int slot);

extern void td_workers_init(void);	/* from _PG_init: shared memory, hooks, launcher, settings */

/* settings of this room */
extern bool td_enabled;
extern int	td_max_workers;
extern int	td_worker_memory;	/* kB */
extern char *td_spool_directory;	/* absolute after td_spool_path() */
extern int	td_spool_limit, td_max_wal_kept;	/* MB; the latter <= 0 = no limit */
extern const char *td_spool_path(void);	/* made if missing */

#endif							/* TD_WORKERS_H */
