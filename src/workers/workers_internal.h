/*-------------------------------------------------------------------------
 *
 * workers_internal.h
 *		What the files of workers/ share: the shared memory, and who may touch
 *		what of it.
 *
 * NOTES
 *		Everything in TdShared is read and written under its lock, except the
 *		atomics, the condition variables and a slot's `stop`, which its worker
 *		reads without it.  Nothing is raised, and no system call made but kill and
 *		SetLatch, while the lock is held.
 *
 * src/workers/workers_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_WORKERS_INTERNAL_H
#define TD_WORKERS_INTERNAL_H

#include "storage/lwlock.h"
#include "workers/workers.h"

#define TD_HOST_SLOTS 64		/* beyond these hosts run unseen */
#define TD_MAX_HOLDS 32			/* databases that DROP, RENAME and the like keep empty at a time */
#define TD_MAX_WATCHES 64		/* bits of a uint64 */
#define TD_MAX_PROBES 64		/* probes asked for; more of them = all databases */
#define TD_STOP_TIMEOUT_MS 5000 /* a worker that was asked to stop gets SIGTERM after this */
#define TD_HOLD_TIMEOUT_MS 5000 /* how long DROP DATABASE waits for our workers */
#define TD_FULL_RETRY_MS 5000	/* foreign workers end without telling us */

typedef enum TdProbeAnswer
{
	TD_PROBE_NONE,				/* it died, or has not answered yet */
	TD_PROBE_ABSENT,
	TD_PROBE_PRESENT
} TdProbeAnswer;

/* A database that must stay free of our processes until the holder's transaction ends. */
typedef struct TdHold
{
	Oid			database;		/* InvalidOid = free */
	pid_t		holder;
} TdHold;

/* A worker that wants to be woken by commits (watch.c).  Not in one cache line with another: every commit of its database reads it. */
typedef struct TdWatch
{
	Oid			database;		/* InvalidOid = free */
	pg_atomic_uint32 asleep;
	Latch	   *latch;
	pg_atomic_uint64 woken_at;	/* when the commit was that woke it last */
	char		padding[PG_CACHE_LINE_SIZE - 24];
} TdWatch;

extern int	td_nice;
extern void td_worker_give_way(TdWorkerKind kind);	/* priority.c: in the prologue */

typedef struct TdShared
{
	LWLock	   *lock;
	int			nworkers;		/* slots [0, nworkers) are for workers, the rest for hosts */
	int			nslots;
	int			launcher_starts;	/* since shared memory was made */
	TimestampTz made;			/* when that was */
	ConditionVariable gone;		/* broadcast when any slot is freed */
	pg_atomic_uint64 next_mark;
	/* for the launcher */
	bool		rescan;			/* pg_database changed, or a hold was released */
	bool		probe_all;
	int			nprobes;
	Oid			probes[TD_MAX_PROBES];
	/* of the one probe that runs */
	Oid			probe_database;
	TdProbeAnswer probe_answer;
	TdHold		holds[TD_MAX_HOLDS];
	pg_atomic_uint32 watch_version; /* moves when a watch comes or goes */
	pg_atomic_uint64 watch_segment; /* of WAL: the newest whose first commit has woken all watches */
	TdWatch		watches[TD_MAX_WATCHES];
	TdWorkerSlot slots[FLEXIBLE_ARRAY_MEMBER];
} TdShared;

extern TdShared *td_shared;		/* NULL = not preloaded */

/* in slots.c */
typedef enum TdLaunch
{
	TD_LAUNCHED,
	TD_LAUNCH_FULL,				/* no slot, or no background worker: try again when one ends */
	TD_LAUNCH_HELD				/* the database must stay empty, or (of a child) it is there, or its parent stops */
} TdLaunch;

typedef struct TdWorkerOrder
{
	TdWorkerKind kind;
	Oid			database;
	int32		object;
	Oid			owner;
	const char *name;
	const char *function;
	int32		restarts;
} TdWorkerOrder;

extern const char *td_worker_kind_name(TdWorkerKind kind);
extern void td_slots_request(void);
extern void td_slots_startup(void);
extern TdWorkerSlot *td_slot_find(TdWorkerKind kind, Oid database, int32 object);	/* lock held */
extern bool td_slot_exists(TdWorkerKind kind, Oid database, int32 object, TdWorkerSlot *copy);	/* copy may be NULL */
extern void td_slot_attach(Datum main_arg, TdWorkerKind kind);	/* exits when the slot is not ours any more */
extern void td_slot_release(TdWorkerSlot *slot, uint32 generation);
extern void td_slots_release_mine(void);	/* hosts, and workers that have not begun */
extern TdLaunch td_worker_launch(const TdWorkerOrder *order);
#define TD_NO_WORKER "no background worker is free"
extern char *td_no_worker_hint(const char *noun);	/* of what waits for one */
extern void td_worker_hungry(bool hungry);	/* this worker, as the last launch left it; the launcher: any database */
/* all = those of the launcher (supervisor, probe) as well as those of the supervisor; never hosts */
extern void td_workers_signal(Oid database, int signal, bool all);	/* also sets stop; signal 0 = only that */
extern bool td_workers_any(Oid database, bool all);

/* in session.c */
extern bool td_database_held(Oid database);
extern void td_launcher_wake(bool rescan, Oid probe);
extern void td_workers_tell(TdWorkerKind kind, int32 object);	/* in this database: the catalog has changed */
extern void td_supervisor_wake(Oid database);	/* now; none there: its database is probed */
extern bool td_workers_wait_none(Oid database, bool all, int timeout_ms);
extern void td_hold_database(Oid database); /* until the end of the transaction; waits */
extern void td_rescan_at_commit(void);
extern void td_probe_at_commit(void);
extern void td_xact_init(void);

/* in marks.c */
extern void td_mark_release(void);

/* in covered.c */
extern void td_covered_second_phase(void);
extern void td_covered_ended(bool committed);

/* in watch.c */
extern void td_watch_leave(void);
extern TimestampTz td_watch_slept(const Latch *latch);
extern void td_watch_committed(void);

/* in hooks.c */
extern void td_hooks_init(void);

/* in settings.c */
extern void td_settings_init(void);
extern void td_spool_empty(void);

/* in cleanup.c */
extern bool td_cleanup_database(bool extension_here);
extern bool td_cleanup_groups(void);
extern bool td_try_to_drop(char *name, bool is_slot);

/* mains */
extern PGDLLEXPORT void td_launcher_main(Datum main_arg);
extern PGDLLEXPORT void td_probe_main(Datum main_arg);
extern PGDLLEXPORT void td_supervisor_main(Datum main_arg);

#endif							/* TD_WORKERS_INTERNAL_H */
