/*-------------------------------------------------------------------------
 *
 * run_internal.h
 *		What the files that run one view share (run.c, leaf.c, merge.c,
 *		fill_run.c, statement.c, scope.c).
 *
 * src/view/maintain/run_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_RUN_INTERNAL_H
#define TD_RUN_INTERNAL_H

#include "fmgr.h"
#include "portability/instr_time.h"
#include "util/util.h"
#include "view/view_internal.h"

/* How a counter of a state row is carried on. */
typedef struct TdCarried
{
	FmgrInfo	function;		/* ADD: the type's +; MIN, MAX: its comparison; else unused */
	Oid			collation;
	int			delta;			/* its first column in a group's delta, from 0 */
} TdCarried;

/* What run.c keeps of a view besides its plan; in run->context. */
typedef struct TdRunKept
{
	List	   *dear;			/* of TdDear *, of cost.c */
	double		dear_ms;		/* that deltas have taken which were not much cheaper than the whole, since that was measured */
	List	   *deltas;			/* of TdText *: delta statements (keyed: those of touched keys) by the set of changed occurrences */
	List	   *groups;			/* of TdText *: statements that compute groups anew, by the nulls of their keys */
	TdCarried  *counters;		/* as many as plan->ncounters */
	AttrNumber *keys;			/* 1, 2, ..: as many as the view or its state has columns */
	AttrNumber *attnums;		/* of the columns of the view's table */
	AttrNumber *unique;			/* of the view's table: shape->unique, with */
	int			nunique;
	Oid			feed_relid;		/* where changes are kept; InvalidOid = they are not */
	int64		fed;			/* the tick that was written there, until the transaction ends; 0 = none */
	int64		owed;			/* a tick that nobody has been told of; 0 = none */
	bool		told;			/* of either, once the transaction is committed */
} TdRunKept;

/* One run of a view.  What it allocates dies with context, or with the (sub)transaction. */
typedef struct TdTick
{
	TdViewRun  *run;
	TdDeltas   *deltas;			/* gets the view's own; NULL in a fill */
	MemoryContext context;
	List	   *stores;			/* of Tuplestorestate *: to be ended */
	Size		net_limit;		/* memory of one net */
	int			store_kb;		/* of one tuplestore */
	TdViewScope *scope;
	TdRan		ran;
	/* the delta */
	Bitmapset  *touched;		/* occurrences that have changed */
	TdSource	sources[TD_MAX_OCCURRENCES];
	int			nsources;
	bool		guarded;		/* it may be given up, */
	bool		given_up;		/* and was */
	instr_time	began;
	double		computed_ms;	/* until there was something to be written; -1 = not yet */
	int64		changed;		/* rows of the view that were written */
	int64		rows;			/* fill: that the view has */
	Oid			from;			/* td_take_rows: the table that has them */
	bool		feed;			/* what changes is kept */
	bool		fed;			/* there was something */
} TdTick;

/* For td_execute: rows into a net. */
typedef struct TdFeed
{
	TdNet	   *net;
	TupleTableSlot *weighed;	/* NULL: the rows have a weight; else a slot of the net's desc, weight 1 is put behind */
	int64		sign;
	int64		rows;
} TdFeed;

/* Values of a key with the same nulls. */
typedef struct TdKeySet
{
	uint32		null_mask;		/* bit i: key i is null */
	Tuplestorestate *keys;
	int64		n;
} TdKeySet;

/* run.c */
extern void td_feed_row(TupleTableSlot *slot, void *feed);
extern TupleTableSlot *td_weighed(TupleTableSlot *to, TupleTableSlot *from, int64 weight);	/* borrows from's values */
extern Tuplestorestate *td_tick_tuplestore(TdTick *t);
extern void td_tick_tuplestore_end(TdTick *t, Tuplestorestate *store);
extern TdNet *td_tick_net(TdTick *t, TupleDesc desc);
extern TdStore *td_open_view(TdTick *t);
extern TdStore *td_open_state(TdTick *t);
extern void td_apply_to_view(TdTick *t, TdStore *store, TdNet *net);	/* finishes the net; also the view's own delta */
extern const char *td_groups_text(TdViewRun *run, uint32 null_mask);

/* A statement's text for a set of occurrences, or for the nulls of keys. */
typedef struct TdText
{
	Bitmapset  *changed;
	uint32		null_mask;
	char	   *sql;			/* NULL = keyed, and all keys are touched */
	char	   *otherwise;		/* the same in another way; NULL = there is none */
} TdText;

extern const TdText *td_delta_text(TdViewRun *run, const Bitmapset *changed);
extern void td_execute_delta(TdTick *t, const TdText *text, TdReceive receive, void *arg);

/* leaf.c */
extern TdSource td_delta_source(const TdOccurrence *o, const TdDelta *delta);
extern bool td_leaf_make(TdTick *t, const TdLeaf *leaf, const TdOccurrence *o, const TdDelta *delta, TdSource *source);	/* false = nothing is left of the delta */

/* key_sets.c */
extern TupleDesc td_key_desc(int n, const TdStateColumn *columns);
extern void td_key_sets_add(TdTick *t, List **sets, TupleTableSlot *keys, TupleTableSlot *row);

/* cost.c */
extern bool td_cost_too_much(TdTick *t);	/* is the delta known to cost more than the whole? */
extern bool td_cost_try(TdTick *t, void (*body) (TdTick *));	/* computes and writes the delta; false = given up, nothing is written */
extern void td_cost_computed(TdTick *t);	/* what is to be written is known; whoever writes first says so */
extern double td_cost_since(instr_time start);

/* keyed.c */
extern void td_run_keyed(TdTick *t);

/* merge.c */
extern TdCarried *td_counters(const TdPlan *plan);
extern void td_merge_groups(TdTick *t, const TdText *text);
extern void td_apply_state(TdTick *t, TdStore *state, TdNet *net);	/* finishes the net: signed state rows to both tables */
extern void td_output_of(TdTick *t, TupleDesc desc, Tuplestorestate *s, int64 nrows, TdReceive receive, void *arg);

/* fill_run.c */
extern void td_recompute(TdTick *t, TdRan why);
extern void td_fill(TdTick *t);
extern void td_take_rows(TdTick *t);

/* feed.c */
extern Oid	td_feed_look_up(TdViewRun *run);
extern void td_feed_write(TdTick *t, TupleDesc desc, Tuplestorestate *delta);
extern bool td_feed_begins(const TdViewRun *run, bool empty);
extern void td_feed_begun(TdTick *t);
extern void td_feed_forget(TdViewRun *run);

/* scope.c */
extern int	td_scope_write_texts(void);
extern void td_scope_by_order(void);

/* statement.c */
extern uint64 td_execute_cheaper(TdViewRun *run, const char *sql, const char *otherwise, int nsources, const TdSource *sources, bool parallel, TdReceive receive,
								void *arg);
extern void td_statements_forget(TdViewRun *run);

#endif							/* TD_RUN_INTERNAL_H */
