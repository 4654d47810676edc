/*-------------------------------------------------------------------------
 *
 * tick_internal.h
 *		What the files of a group's worker share: main.c, members.c,
 *		inbox.c, bases.c, locks.c, tick.c, views.c, fill.c, recover.c, pace.c,
 *		budget.c, share.c.
 *
 * NOTES
 *		README.md of view/ has the protocol.  Memory: TdKeeper and its members live
 *		as long as the worker, the inbox and the bases as long as a session with
 *		a capture worker, everything else as long as a tick.
 *
 * src/view/maintain/tick_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TICK_INTERNAL_H
#define TD_TICK_INTERNAL_H

#include "replication/origin.h"
#include "utils/hsearch.h"
#include "view/view_internal.h"
#include "workers/workers.h"

/* ======== bases.c: base relations and layouts of rows ======== */

/* A relation that the group's views read, as rows of it stand in a delta. */
typedef struct TdBase
{
	Oid			relid;
	bool		only;			/* wanted without the rows of what inherits from it */
	bool		touch;			/* and which rows may have changed, whatever of them is wanted */
	Bitmapset  *columns;		/* wanted by capture */
	uint64		checked;		/* number of the tick in which desc was compared with the catalog */
	bool		fits;			/* then: all wanted columns are there */
	bool		warned;			/* of a replica identity that is not full */
	TupleDesc	desc;			/* wanted columns by today's names and types, weight last; NULL = not made yet */
	AttrNumber *attnums;
	MemoryContext context;		/* of the two */
} TdBase;

/* How the rows of one layout get into a delta. */
typedef enum TdRowWay
{
	TD_ROW_COPY,				/* same columns of the same types */
	TD_ROW_CONVERT,				/* by attribute number; null where the layout has none */
	TD_ROW_UNKNOWN				/* types differ: bytes are never read as another type */
} TdRowWay;

typedef struct TdRowLayout
{
	uint32		number;			/* hash key; of capture's stream */
	Oid			relid;
	int			ncolumns;
	TdLayoutColumn *columns;
	TupleDesc	desc;			/* of rows that come from a delta (number 0); else NULL */
	uint64		touched;		/* epoch of the inbox that knows that relid has changed */
	/* where its rows went last */
	uint64		tick;			/* number of the tick */
	TdDeltas   *deltas;
	TdDelta    *delta;
	TdRowWay	way;
	int		   *map;			/* CONVERT: per column of the delta, position here; -1 = null */
	TupleTableSlot *in;			/* of this layout (CONVERT) or of the delta (COPY) */
	TupleTableSlot *out;
} TdRowLayout;

/* ======== inbox.c ======== */

typedef struct TdInbox
{
	MemoryContext context;
	TdSpool    *whole;			/* transactions that are complete */
	TdSpool    *open;			/* the one whose commit has not come yet */
	TdSpool    *spare;			/* what the tick under way carries */
	int64		waiting;		/* transactions in whole */
	uint64		epoch;			/* moves when `touched` begins anew */
	List	   *touched;		/* oids of relations that the transactions in here may have changed; InvalidOid = any */
	bool		in_transaction; /* a BEGIN without its COMMIT has come */
	bool		in_open;		/* and a part of it is in open */
	uint64		open_xid;
	XLogRecPtr	open_lsn;
	uint32		open_version;
	/* what did not fit is forgotten: the tick whose snapshot sees it first recomputes all views */
	bool		full;			/* so is what comes, until a tick has made room */
	bool		lost_open;		/* so is the transaction in open, of which a part was */
	bool		lost;			/* transactions that every snapshot to come sees */
	int			nlost;			/* others, by xid */
	int			alost;
	uint64	   *lost_xids;
	bool		carry_full;		/* spare as well: the tick under way carries nothing but xids */
	bool		reading;		/* a tick reads whole */
	bool		gone;			/* the capture worker has ended */
	TdError		error;			/* why, if it could say */
	/* from messages outside transactions */
	bool		started;
	bool		created;		/* the slot is new */
	uint64		first_xid;		/* then: the first snapshot must have no xid before this one open */
	XLogRecPtr	start;			/* the slot's position */
	XLogRecPtr	progress;		/* what was committed before is here; the end of a record */
	XLogRecPtr	reached;		/* no other record ends at or before it: >= progress */
	uint32		version;		/* of all that comes from now on */
	HTAB	   *layouts;
	TdRowLayout *last;			/* the one looked up last */
	uint32		newest_layout;	/* numbers of them ascend */
	uint32		newest_version; /* of the transactions so far */
	uint32		old_layouts;	/* numbers up to this one are of versions before; 0 = there are none, or they are forgotten */
	uint8	   *scratch;		/* a block with the prefix that keeps it aligned in a spool */
	size_t		scratch_size;
} TdInbox;

/* Walks over whole transactions. */
typedef struct TdInboxReader
{
	TdSpool    *spool;
	TdReader	block;
} TdInboxReader;

extern TdInbox *td_inbox_create(MemoryContext parent);
extern void td_inbox_destroy(TdInbox *inbox);
extern bool td_inbox_fetch(TdInbox *inbox, TdCapture *capture); /* all blocks that are there; false = the capture worker is gone */
extern bool td_inbox_wait(TdInbox *inbox, TdCapture *capture, XLogRecPtr lsn, int timeout_ms);	/* until reached >= lsn; false = not in time, capture gone, or asked to stop */
extern bool td_inbox_due(const TdInbox *inbox); /* something in it is for a tick */
extern uint64 td_inbox_size(const TdInbox *inbox);
extern bool td_inbox_lost(const TdInbox *inbox, const TdSeen *seen, bool *others);	/* was something forgotten that the snapshot sees, or (others) does not */
extern void td_inbox_rewind(TdInboxReader *r, TdInbox *inbox);
extern bool td_inbox_next(TdInboxReader *r, TdCaptureMessage *m);
extern void td_inbox_carry(TdInbox *inbox, const TdCaptureMessage *m);	/* to the next inbox */
extern void td_inbox_taken(TdInbox *inbox, const TdSeen *seen, int64 carried, List *touched);	/* the tick is committed: what was carried is the inbox now */
extern void td_inbox_return(TdInbox *inbox);	/* it is not: all as before */
extern TdRowLayout *td_inbox_layout(TdInbox *inbox, uint32 number);
extern void td_touch(TdInbox *inbox, Oid relid);

/* ======== the worker ======== */

/* Does a view take more of each tick than its group has time for (budget.c)? */
typedef enum TdVerdict
{
	TD_BUDGET_UNKNOWN = 0,
	TD_BUDGET_KEPT,
	TD_BUDGET_OUTRUN
} TdVerdict;

/* A view of the group. */
typedef struct TdMember
{
	int32		id;
	TdView	   *view;			/* as last read; the run's own, if it has one */
	MemoryContext context;		/* of view and run */
	bool		streams;		/* its status is "streaming" */
	bool		said_streams;	/* streams, as sessions that read their writes know it */
	bool		wants_fill;		/* "created" or "snapshot" */
	TdViewRun  *run;			/* NULL = not planned */
	XLogRecPtr	planned;		/* insert position after the run was made: DDL before it may already be in its fingerprint */
	TimestampTz counted;		/* when its counters were written last */
	bool		told_waiting;	/* for a worker to fill it */
	bool		told_delta;		/* that its delta fails */
	bool		missing;		/* a relation of it was gone at the last attempt */
	bool		seen;			/* mark of td_members_read */
	int64		feed_from;		/* its feed has no ticks before this one, as far as we know */
	bool		feed_empty;		/* had nothing that will expire when it was pruned last: what is written then counts for when to prune again */
	/* a lock that is not to be had */
	TimestampTz busy_since;		/* ticks have not had it; 0 = all were to be had */
	Oid			busy_relid;
	int			busy_mode;
	int			waits;			/* set aside, or not filled, for it, or for another error that may go away: so often in a row */
	TimestampTz not_before;		/* then: of the next fill */
	/* budget.c: of this window, of the ones before it, and what was made known */
	double		spent_ms;
	double		slow_ms;
	int			windows;
	TdVerdict	window_says, verdict, said_verdict;
	/* of the tick under way */
	double		tick_ms;
	bool		touched;
	List	   *footing;		/* as of before its locks; in memory of the transaction */
	TdRan		recompute;		/* why all of it is to be computed anew; TD_RAN_NOTHING = it is not */
	bool		compare;		/* DDL: the fingerprint */
	bool		frozen;			/* failed in it */
	bool		refill;			/* must be filled anew */
	bool		aside;			/* the same, for a lock of its own or of a view that it reads */
	bool		joined;
	bool		counting;
} TdMember;

typedef enum TdFillState
{
	TD_FILL_NONE = 0,
	TD_FILL_STARTED,			/* its worker runs; no snapshot yet */
	TD_FILL_RUNS,				/* has one: changes since go to the backlog */
	TD_FILL_JOINS				/* is committed: the next tick takes the view in */
} TdFillState;

/* The one fill of the group (fill.c). */
typedef struct TdFill
{
	TdFillState state;
	TdMember   *member;
	uint32		version;		/* of capture, with its columns */
	char	   *snapshot;		/* that was handed over */
	uint32		footing;		/* by which its rows were computed: td_share_filled */
	MemoryContext context;
	TdSpool    *backlog;
	List	   *layouts;		/* of TdRowLayout *: of rows in the backlog, which name them by position */
	List	   *unknown;		/* oids */
	bool		recompute;		/* the backlog is not whole */
	bool		spoilt;			/* a tick failed after it had written to it: some rows are there twice */
	List	   *ddl;			/* of TdDdl * */
	bool		offered;		/* in the tick under way */
	TimestampTz not_before;		/* no worker is free, or the one before has not left yet */
} TdFill;

/* A new definition that takes the place of a view's old one in the next tick (replace.c). */
typedef struct TdReplacing
{
	int32		old,			/* ids; 0 = none does */
				new;
	MemoryContext context;
	List	   *locks;			/* of TdLock * */
	bool		locked;			/* in the tick under way */
	bool		done;			/* likewise */
	int			failures;		/* put off, in a row */
	TimestampTz not_before;
} TdReplacing;

/* A mark of wait_view that was taken. */
typedef struct TdWaiting
{
	uint64		number;
	XLogRecPtr	lsn;			/* everything committed before it was asked is before this */
	TimestampTz time;
} TdWaiting;

typedef struct TdPace
{
	TimestampTz started;		/* of the last tick */
	double		last_ms;
	double		kept_waiting;	/* for a CPU, when it started: td_worker_kept_waiting */
	TransactionId horizon;
	TimestampTz horizon_since;	/* it has not moved */
	TimestampTz horizon_read;
	int			empty;			/* ticks in a row that took nothing of what waits */
} TdPace;

typedef struct TdKeeper
{
	int32		group;
	char		slot[NAMEDATALEN];
	RepOriginId origins[3];		/* ours, that of the fills, and that of rows of views of any group */
	MemoryContext context;
	MemoryContext session_context;
	MemoryContext tick_context;
	int			max_lag_ms;
	List	   *members;		/* of TdMember *, each after those it reads */
	TimestampTz members_read;
	bool		members_stale;	/* what a tick or a fill did has changed the catalog */
	uint32		told;			/* of our slot, when they were read */
	/* checkpoint */
	TdSeen	   *seen;			/* NULL = none */
	MemoryContext seen_context;
	XLogRecPtr	bound;
	XLogRecPtr	checked;		/* insert position of the last checkpoint */
	XLogRecPtr	commit_end;		/* of the tick whose bound is not confirmed yet; 0 = none */
	TimestampTz commit_time;
	/* session */
	TdCapture  *capture;
	TdInbox    *inbox;
	List	   *bases;			/* of TdBase * */
	uint32		version;
	uint32		oldest_version; /* of what the tick under way carries */
	bool		given_up;		/* the slot of the session before kept too much WAL */
	uint64		first_xid;		/* of a new slot, until the first checkpoint; 0 = none */
	uint64		tick;			/* number, ascending */
	bool		in_view;		/* a view is being run: an error is its own */
	bool		finishing;		/* the tick is committed, and what we know not yet that of it */
	bool		reread;			/* the catalog was read again since a view failed: if one does now, that is so */
	TdFill		fill;
	TdReplacing replacing;
	List	   *waiting;		/* of TdWaiting * */
	TdPace		pace;
	int			window_ticks;	/* of the window of budget.c */
	TimestampTz window_since;
	TimestampTz tell_at;		/* a notice of changes is tried again; 0 = none is owed */
	TimestampTz prune_at;		/* the oldest change that is kept expires then; 0 = none is kept */
	TimestampTz prune_read;		/* members_read, when that was looked at */
	int			failures;		/* of ticks, in a row */
	int			again;			/* ticks given up, in a row */
	TimestampTz not_before;		/* backoff */
	bool		retrying;		/* the catalog says so */
} TdKeeper;

/* bases.c */
extern uint32 td_bases_want(TdKeeper *k);	/* tells capture what all runs read; the version that has it */
extern TdBase *td_base_find(TdKeeper *k, Oid relid);
extern void td_rows_distrust(TdDeltas *deltas);	/* unknown is what can't be told */
extern void td_rows_add(TdKeeper *k, TdDeltas *deltas, TdRowLayout *layout, MinimalTuple tuple);
extern void td_rows_copy(TdKeeper *k, TdDeltas *to, TdDelta *from); /* all of it, unknown too */
extern TdRowLayout *td_layout_of(const TdDelta *delta); /* in CurrentMemoryContext */
extern bool td_layout_is(const TdRowLayout *layout, const TdDelta *delta);
extern TupleTableSlot *td_delta_rewind(TdDelta *delta); /* a slot to read it with tuplestore_gettupleslot, to be dropped */
extern void td_base_warn_identity(TdKeeper *k, Oid relid);

/* locks.c */
typedef enum TdLocked
{
	TD_LOCKED,
	TD_LOCK_BUSY,
	TD_LOCK_GONE				/* a relation is not there: the catalog must be read again */
} TdLocked;

extern TdLocked td_lock_touched(TdKeeper *k);	/* but those that it sets aside */
extern bool td_footing_holds(TdKeeper *k);	/* after the views: is what they were computed by as it was before the snapshot? */
extern bool td_lock_queue(TdKeeper *k);	/* between ticks; true = what was missing can be had now */
extern bool td_lock_to_plan(TdMember *m);	/* false = a lock is not to be had now, see td_lock_error */
extern bool td_member_is_aside(const TdMember *m);
extern void td_lock_error(const TdMember *m, TdError *err); /* what is locked, and who is in the way */
extern void td_lock_error_within(TdMember *m, TdError *err);	/* likewise of an index that a statement has waited for; else the error stays */
extern bool td_lock_first(const TdMember *m);	/* in a transaction */
extern bool td_lock_wait(const TdMember *m);	/* for the lock that was not to be had, for a moment */
extern bool td_lock_to_fill(const TdView *view, List *bases, TdMember *noted);

/* One relation named by DDL, in the tick. */
typedef struct TdDdl
{
	Oid			relid;
	XLogRecPtr	lsn;			/* of the commit */
	TransactionId xid;			/* top-level; Invalid = not known */
} TdDdl;

/* members.c: who they are; views.c: what a tick does with them */
extern TdMember *td_member_find(TdKeeper *k, int32 id);
extern void td_members_read(TdKeeper *k);	/* in a transaction of its own; exits when the group is gone */
extern bool td_member_reads(const TdMember *m, Oid relid);
extern bool td_member_takes(const TdMember *m, Oid relid);	/* its delta */
extern bool td_member_learns(const TdMember *m, Oid relid);	/* of a base table, by its delta */
extern bool td_member_below(const TdKeeper *k, const TdMember *m, bool (*test) (const TdMember *lower));	/* any view that it reads directly */
extern bool td_member_plan(TdKeeper *k, TdMember *m, TdError *err);	/* makes its run, in a subtransaction; false = can't */
extern void td_member_follow(TdKeeper *k, TdMember *m); /* what has become of the views below it */
extern bool td_members_unplanned(const TdKeeper *k);
extern bool td_error_passes(int sqlerrcode);
extern bool td_tick_starves(const TdKeeper *k, int sqlerrcode);
extern void td_members_reset(TdKeeper *k);
extern bool td_members_touch(TdKeeper *k, List *relids);
extern void td_member_take_ddl(TdMember *m, const TdDdl *ddl);
extern void td_members_compare(TdKeeper *k, List *ddl);
extern void td_members_run(TdKeeper *k, TdDeltas *deltas, bool careful);
extern void td_members_count(TdKeeper *k);
extern void td_member_failed_below(const TdMember *m, TdError *err);	/* why it fails with one that it reads */
extern void td_member_freeze(TdKeeper *k, TdMember *m, const TdError *err);	/* in a tick: it stays as the last checkpoint has it */
extern int	td_members_count_idle(TdKeeper *k); /* the same when there is nothing else to do; ms until more is due, -1 = never */
extern void td_members_ran(TdKeeper *k);	/* the tick is committed */

/* tick.c */
typedef enum TdTickResult
{
	TD_TICK_DONE,
	TD_TICK_AGAIN,				/* locks or the end of WAL were not to be had: soon */
	TD_TICK_STALE				/* the catalog of views must be read first */
} TdTickResult;

extern TdTickResult td_tick(TdKeeper *k);
extern bool td_tick_segment_passed(const TdKeeper *k);	/* a checkpoint is due, be it only for the slot */
extern void td_tick_confirm(TdKeeper *k, bool force);	/* what is flushed; force: flushes */
extern void td_tick_covered(TdKeeper *k, XLogRecPtr lsn);
extern void td_transaction_begin(void); /* ERRCODE_TD_STOP when the extension is gone */
extern void td_transaction_commit(void);

/* fill.c */
extern void td_fill_step(TdKeeper *k);	/* outside of transactions: starts, watches */
extern bool td_fill_due(TdKeeper *k);	/* wants a tick */
extern int	td_fill_timeout(TdKeeper *k);	/* ms until it has something to do; -1 = only when woken */
extern void td_fill_wait_for_lock(TdMember *m);	/* its turn comes later */
extern void td_fill_keep(TdKeeper *k, TdDeltas *deltas, List *ddl); /* in the tick: into the backlog */
extern TdDeltas *td_fill_join(TdKeeper *k, TdDeltas *deltas);	/* backlog and this tick */
extern void td_fill_committed(TdKeeper *k);
extern void td_fill_offer(TdKeeper *k, const TdSeen *seen, TdDeltas *deltas, uint32 oldest_version);	/* last act of a tick */
extern void td_fill_tick_failed(TdKeeper *k);
extern void td_fill_cancel(TdKeeper *k); /* forgets it, and ends its worker */

/* replace.c */
extern void td_replace_step(TdKeeper *k);	/* outside of transactions */
extern bool td_replace_due(const TdKeeper *k);	/* wants a tick */
extern int	td_replace_timeout(TdKeeper *k);	/* ms until it has something to do; -1 = only when woken */
extern void td_replace_forget(TdKeeper *k);
extern Oid	td_replace_lock(TdKeeper *k);	/* before the snapshot: the view's table, InvalidOid = not in this tick */
extern bool td_replace_run(TdKeeper *k, TdMember *m, TdDeltas *deltas); /* in the place of the view's run; false = run it */
extern void td_replace_committed(TdKeeper *k);

/* feed.c */
extern Oid	td_feed_look_up(TdViewRun *run);	/* the table of its changes, InvalidOid = none; with the view's own locked */
extern bool td_feed_notify(TdViewRun *run); /* before the commit: true = this transaction has written changes */
extern void td_feeds_notify(TdKeeper *k);
extern void td_feeds_committed(TdKeeper *k);
extern void td_feed_forget(TdViewRun *run); /* the transaction, or what the view did in it, is rolled back; NULL = nothing */
extern int	td_feeds_work(TdKeeper *k); /* between ticks: prunes, and tells what is owed; ms until the next, -1 = none */

/* recover.c */
extern void td_recover_slot(TdKeeper *k);	/* before capture is opened */
extern void td_recover_views(TdKeeper *k);	/* then, with the members */
extern void td_recover_start(TdKeeper *k);	/* after START */

/* pace.c */
extern int	td_pace_wait(TdKeeper *k);	/* ms until the next tick may start, 0 = now */
extern void td_pace_started(TdKeeper *k);
extern void td_pace_done(TdKeeper *k, bool took);
extern void td_pace_horizon(TdKeeper *k, Relation relation);

/* budget.c */
extern void td_budget_tick(TdKeeper *k);
extern void td_budget_step(TdKeeper *k);

/* share.c */
extern void td_share_claim(void);	/* before the tick's snapshot is taken */
extern bool td_share_served(void);	/* a worker of the group has been past td_share_note_served since the server came up */
extern void td_share_note_served(void);
extern void td_share_note_filled(int32 group, uint32 footing);	/* by which footing a fill has computed its rows; 0 = by more than one */
extern uint32 td_share_filled(void);

#endif							/* TD_TICK_INTERNAL_H */
