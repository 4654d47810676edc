/*-------------------------------------------------------------------------
 *
 * view_internal.h
 *		What the parts of view/ share: a query as a shape (analyze/), the shape as
 *		statements (plan/), deltas and stores and how a view is run (maintain/).
 *
 * NOTES
 *		README.md has the protocol.  Words: an *occurrence* is one use of a table in
 *		FROM; a *delta* is a signed multiset of rows, whose last column
 *		"tapdata$w" bigint is the weight; the *core* of a view is what its deltas
 *		are added to: for a view with groups its state table, otherwise its table;
 *		a *store* is such a table opened for writing.
 *
 * src/view/view_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_VIEW_INTERNAL_H
#define TD_VIEW_INTERNAL_H

#include "access/tupdesc.h"
#include "capture/capture.h"
#include "catalog/catalog.h"
#include "executor/tuptable.h"
#include "nodes/parsenodes.h"
#include "utils/queryenvironment.h"
#include "utils/relcache.h"
#include "utils/resowner.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* ======== analyze/: what a query is ======== */

#define TD_MAX_OCCURRENCES 32
#define TD_GROUP_VARNO 1		/* varno of Vars over the row of a group: keys first, then aggregates */

typedef struct TdOccurrence
{
	int			n;				/* from 1; in all texts it is called r<n> */
	Index		rti;			/* in query->rtable */
	Oid			relid;			/* what maintenance reads: a table, a partitioned root, the table of another view (where the query has its twin) */
	int32		view;			/* id of that other view, 0 = a base table */
	bool		inh;			/* with what inherits from it: no ONLY */
	Bitmapset  *columns;		/* attribute numbers used anywhere in the query, > 0 */
	List	   *local;			/* quals that read only this occurrence (also in quals) */
	Bitmapset  *settled;		/* keyed: those that nothing reads but conditions on it alone, which all rows fulfil that matter */
	List	   *unique;			/* linear: of Bitmapset *: its columns that no two rows have in common */
	/* how its changes are told: its rows by log, with columns; or */
	bool		touch;			/* which rows may have changed, by the columns in */
	Bitmapset  *told;
	int32		kept;			/* by the view with this id, which keeps its old rows (0 = none), and */
	Oid			source;			/* whose table this is; */
	AttrNumber *kept_columns;	/* by columns of that table: the attribute here */
} TdOccurrence;

/* The relation whose delta is that of the occurrence. */
static inline Oid
td_source_of(const TdOccurrence *o)
{
	return o->kept != 0 ? o->source : o->relid;
}

typedef enum TdAggregateKind
{
	TD_AGG_ROWS,				/* count(*) */
	TD_AGG_COUNT,
	TD_AGG_SUM,
	TD_AGG_AVG,
	TD_AGG_MIN,
	TD_AGG_MAX
} TdAggregateKind;

typedef struct TdAggregate
{
	TdAggregateKind kind;
	Aggref	   *aggref;			/* over the query's Vars */
	Expr	   *argument;		/* NULL for ROWS */
	bool		exact;			/* addition and subtraction lose nothing (no float): else a touched group is computed anew */
	Oid			type;			/* of the result, with */
	int32		typmod;
	Oid			collation;
} TdAggregate;

typedef struct TdViewColumn
{
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	bool		not_null;		/* provably */
} TdViewColumn;

/* One column of an ORDER BY. */
typedef struct TdOrderItem
{
	AttrNumber	attnum;			/* of the table that is read */
	bool		reverse;		/* DESC */
	bool		nulls_first;
} TdOrderItem;

/* The first rows of one table: all that ORDER BY names are its columns. */
typedef struct TdTopK
{
	int64		count;
	int64		offset;
	bool		ties;			/* and all that are equal to the last */
	List	   *order;			/* of TdOrderItem * */
} TdTopK;

/* A query of a kind that we keep.  Expressions are over query's Vars, but outputs and having of a grouped one, which are over TD_GROUP_VARNO. */
typedef struct TdShape
{
	Query	   *query;			/* analysed; whole-row references are spelt out; ordinary views in it are refused */
	int			noccurrences;
	TdOccurrence *occurrences;
	List	   *quals;			/* implicit AND of WHERE and all ON */
	bool		grouped;		/* GROUP BY, aggregates, HAVING or DISTINCT: a state row per group */
	bool		one_group;		/* aggregates without GROUP BY: always one row, before HAVING */
	List	   *keys;			/* of Expr *: GROUP BY expressions; of DISTINCT: the output expressions */
	int			ngrouped;		/* of these; those behind are columns that follow from a grouped primary key */
	int			naggregates;	/* different ones */
	TdAggregate *aggregates;
	List	   *outputs;		/* of TargetEntry *, as many as columns */
	Node	   *having;			/* NULL = none */
	int			ncolumns;
	TdViewColumn *columns;
	List	   *unique;			/* of int: columns (from 1) that are a key of the result, nulls equal; NIL = none is known */
	List	   *proofs;			/* of oid: of a keeper, the index of its key */
	bool		pinned;			/* a function in it depends on settings */
	bool		moments;		/* text of rows becomes a date or a time */
	List	   *functions;		/* of oid: used and not built in */
	List	   *types;			/* of oid: likewise */
	struct TdKeyed *keyed;		/* NULL = linear: kept by adding up deltas */
	bool		made;			/* of a view that is there: to be explained as it stands */
	TdTopK	   *topk;			/* keyed without a key, but cheap: rows are read again by an index; NULL = it is not that */
} TdShape;

/*
 * The shape of an analysed SELECT, read as owner.  Unsupported: NULL, and *err says 0A000, the construct, why, and what to do instead.
 * Also checks each relation (temporary, unlogged, foreign, catalog, materialized view, not heap, row-level security that applies to owner,
 * inheritance children) and each function (volatile; stable through time, session or data; see functions.c).  Takes no locks beyond what analysis took.
 */
extern TdShape *td_analyze(Query *query, Oid owner, TdError *err);

/* ranges.c: is an occurrence joined by one comparison alone, "value < bound", of a column that nothing else reads? */
typedef struct TdRange
{
	Node	   *value;			/* over one other occurrence */
	Var		   *bound;			/* its column */
} TdRange;

extern bool td_find_range(const TdShape *shape, const TdOccurrence *o, TdRange *range);
extern Bitmapset *td_range_columns(const TdShape *shape, Oid relid);	/* by which rows between two bounds are sought */

extern bool td_equal_columns(Node *qual, Var **left, Var **right);	/* is it "a = b" of plain columns, of two occurrences or one? */

/*
 * A query that td_analyze refuses, or gives a costly shape, said over parts that it does not: what is left of it, which reads the tables of the parts, or NULL.  make() has the table
 * of a part made (not its rows), for its query and shape, and the index by which its first rows are read; attempts that lead nowhere are rolled back with what
 * it made.  shape: what it has without parts; then only parts that are better, none of which a change computes whole.  The first *nparts stay.
 */
#define TD_MAX_PARTS 32			/* a part for each of so many grouping sets */

/* order: of TdOrderItem *, NIL = no index; n: how many there are before it; those made after them were rolled back */
typedef Oid (*TdMakePart) (Query *query, TdShape *shape, const List *order, int n, void *arg);

extern Query *td_split(Query *query, Oid owner, TdMakePart make, void *arg, const TdShape *shape, int *nparts);
extern bool td_split_helps(const TdShape *shape);	/* may parts be better than the shape that td_analyze gave? */

/* refuse.c: no row of a join is a value in the query as the user wrote it; false = one is */
extern bool td_check_rows(Query *query, TdError *err);
extern bool td_check_domains(Query *query, TdError *err); /* no column is null where its domain takes none */

/* total.c: makes the orders that LIMIT cuts total, at all levels; false = refused.  proofs: unique indexes (oids) without which they would not be */
extern bool td_make_total(Query *query, List **proofs, TdError *err);

/* topk.c: the index that a table needs for its first rows in an order */
extern int	td_order_needed(Oid relid, const List *order); /* on so many columns of the order */
extern char *td_order_text(Oid relid, const List *order, int n);	/* the first n of them, as ORDER BY and CREATE INDEX have them */

/* Are two values of this type that are equal, by the equality of GROUP BY, the same in every respect (1.0 and 1.00 are not)? */
extern bool td_equal_is_same(Oid type, int32 typmod, Oid collation);
extern void td_keyed_late(Query *query);	/* in place: conditions that cost come after probes; the key is a column of the query around it */

/*
 * Of a view that keeps old rows: columns of one table, the first nkeys of which are a key.  Keyed by them: which rows may have changed is all
 * that has to be told, the new ones are read, the old ones are what it has.
 */
extern TdShape *td_analyze_keeper(Query *query, Oid owner, int nkeys, TdError *err);
extern List *td_keeper_columns(const Query *query); /* of int: what of that table they are */
extern void td_shape_learn(TdShape *shape, int32 view); /* takes over from the catalog which occurrences learn of changes by such views */

/* The same for a query that td_analyze has refused: one without a key (nkeys 0), of which everything is computed anew whenever a relation in it changes. */
extern TdShape *td_analyze_full(Query *query, Oid owner, TdError *err);

/* ---- keys.c, plan/proofs.c: which unique indexes a view stands on ---- */

/* Unique indexes that an analysis counts on: those in the list, or all, which are then entered. */
typedef struct TdCounted
{
	bool		all;
	List	   *indexes;		/* of oid */
	MemoryContext context;		/* of the list */
} TdCounted;

extern TdCounted *td_count_uniques(TdCounted *now); /* from now on; NULL = all; returns what was before, which the caller sets again, also on error */
/* What is asked of td_analyze, or of td_analyze_keeper (keeps > 0: columns of its key), or, where it refuses, of td_analyze_full. */
typedef struct TdQuestion
{
	Query	   *query;
	Oid			owner;
	int			keeps;
	bool		allow_full;
} TdQuestion;

extern TdShape *td_analyze_counting(const TdQuestion *question, TdCounted *counted, TdError *err);

/*
 * The unique indexes (oids) that a view of this query stands on: those recorded, and as few more as give it the plan that all of them do, or, where tables are there
 * already (fits), a plan that they have the columns for.  With others it would have other tables, or none.
 */
extern List *td_find_proofs(const TdQuestion *question, const List *recorded, bool (*fits) (const TdShape *, void *), void *context);
extern List *td_twin_proofs(Oid twin);	/* those that the definition of a twin has been made to depend on */

/* The analysed query of a view's twin with the twins in it replaced by the tables of their views; keeps AccessShareLock on nothing. */
extern Query *td_twin_query(Oid twin);

/* An index by which rows of a table are found. */
typedef struct TdWant
{
	Oid			relid;
	Bitmapset  *attnums;		/* the columns by which they are sought */
	AttrNumber	last;			/* by which those found are sorted, 0 = none */
	bool		ordered;		/* they lie between two values, or are the first */
	bool		hash;
} TdWant;

/* Rows of explain_query: (node, strategy, detail), of TdExplained *. */
typedef struct TdExplained
{
	char	   *node;
	char	   *strategy;
	char	   *detail;
	TdWant	   *want;			/* an index that is missing; NULL = the row is not about such a one */
} TdExplained;

/* indexes.c: those that a view wants and that are not there; of a part, they have to be made with it */
extern List *td_indexes_wanted(const TdShape *shape);	/* of TdWant * */
extern List *td_part_indexes(const TdWant *want);	/* of TdWant *: what a part can have of it */
extern bool td_index_is_there(const TdWant *want);
extern char *td_want_text(const TdWant *want);
extern bool td_is_of_part(Oid relid);	/* or of another hidden view */

extern List *td_explain(const TdShape *shape);
extern char *td_explain_spared(const TdShape *part, const List *order);	/* the index without which a part would not be needed; NULL = it is */

/* The columns whose old values are written under a replica identity but FULL; index: of kind 'i' (sql/identity.c). */
extern void td_warn_of_wide_rows(Oid relid); /* that get replica identity full */
extern TdIdentity td_identity_own(Relation rel);	/* the replica identity that it would have without views (analyze/wal_cost.c) */
extern Bitmapset *td_identity_columns(Relation rel, char kind, Oid index);

/* Settings that a pinned view depends on, now: {"TimeZone": "UTC", ...}. */
extern Datum td_settings_now(void);
extern void td_settings_require(void);	/* 0A000 where those of now can't become a view's */

/*
 * What a plan stands on, as text: per relation its columns used (number, name, type), persistence, kind, row security, partitions, and of each function used its
 * identity.  Equal texts = nothing that matters has changed.
 */
extern char *td_fingerprint(const TdShape *shape);

/* 42501 unless the role may call all functions that stand in the query (execute.c). */
extern void td_require_execute(Node *node, Oid role);
extern void td_shape_require_execute(const TdShape *shape, Oid role);

/* 55000 where a cast in the query is another one now, so that a statement that says it would mean something else (casts.c). */
extern void td_require_casts(Query *query);

/* Is all that `now` has more than `before` partitions that were made as such, empty?  Then their rows are in the deltas, and nothing is to be computed anew. */
extern bool td_fingerprint_grown(const char *before, const char *now);

/*
 * What statements read by, as far as no lock of a reader keeps it as it is: partitions, children, functions.  Equal lists, one taken before the locks and
 * the snapshot and one after reading = nothing has come or gone between (footing.c).
 */
extern List *td_footing(const TdShape *shape, bool counts); /* counts: to be compared by this session only */
extern List *td_footing_of_tables(const List *relids); /* by this session only */
extern List *td_footing_of_query(Query *query, bool *cached); /* analysed and rewritten; *cached: may be planned */
extern uint32 td_footing_hash(const List *footing); /* never 0 */
extern void td_footing_invalidate_caches(void); /* all that the session has cached, which is no change of a footing */

/* ======== plan/: the shape as statements ======== */

/*
 * All statements read base tables by qualified name as r<n>, and in-memory relations (ephemeral named relations) by name:
 *	 d_<relid>	the delta of a relation in this tick: the captured columns by today's names, and the weight
 *	 l<n>		the same projected, filtered and netted for occurrence n (a leaf)
 *	 k			keys of groups: k1..km
 *	 s			state rows with a weight
 */
typedef enum TdCounterKind
{
	TD_COUNTER_ADD,				/* delta column: what to add (never null) */
	TD_COUNTER_MIN,				/* two delta columns: least value added, least value taken away (null = none) */
	TD_COUNTER_MAX,
	TD_COUNTER_RECOMPUTE,		/* no delta column: a touched group is computed anew */
	TD_COUNTER_IMAGE			/* three: hash of the keys as they look, least and greatest hash of those taken away (null = none) */
} TdCounterKind;

typedef struct TdStateColumn
{
	char	   *name;			/* k1.., n, c1.. */
	Oid			type;
	int32		typmod;
	Oid			collation;
} TdStateColumn;

/*
 * A keyed query: its result falls into parts by the values of a key, which are computed anew.  Of its shape are set: query, occurrences (rti 0, local NIL),
 * columns, unique, pinned, functions, types.
 */
typedef struct TdKeyed
{
	int			nkeys;			/* 0 = none: every change touches all of it */
	TdStateColumn *keys;		/* k1..km */
	int		   *outputs;		/* per key: the output column (from 1) that always equals it, 0 = none */
	bool		stored;			/* every key is among the outputs: no state table */
	struct TdKeyedPrivate *private;
} TdKeyed;

/* How the changes of one occurrence lead to the key.  In these expressions the varno of a Var is the number of an occurrence. */
typedef struct TdLineage
{
	List	   *local;			/* conditions on it alone, without which a row of it matters to nothing */
	List	   *path;			/* of int: occurrences to be joined, in this order */
	List	   *quals;			/* conditions of that join; on those of path alone, too */
	List	   *keys;			/* of Node *: k1..km, over the last of path, or itself.  NIL = a change touches every key */
	List	   *matched;		/* of int: others in which it has a row, or touches no key; and, of each of them, */
	List	   *matched_quals;	/* the equalities with it and the conditions on it */
	List	   *compared;		/* of Bitmapset *: several columns of it that equal columns of one other occurrence */
} TdLineage;

/* What plan/ needs of a keyed query. */
typedef struct TdKeyedPrivate
{
	Query	   *query;			/* WITH and ordinary views put in place; k1..km in front of the outputs unless they are stored */
	Query	   *marked;			/* the same, with a PlaceHolderVar (phid = number of a key, phexpr = its expression there) in WHERE wherever a key is to be restricted */
	TdLineage  *lineage;		/* by occurrence - 1 */
	bool		nulls;			/* any change touches the key of nulls */
	List	   *views;			/* of oid: ordinary views in it */
} TdKeyedPrivate;

typedef struct TdLeaf
{
	char	   *name;			/* l<n> */
	int			occurrence;
	List	   *columns;		/* of char *: names; then the weight */
	bool		whole;			/* no condition: these columns of all rows */
	bool		touched;		/* each row counts, with weight 1 */
	char	   *sql;			/* over d_<relid> */
} TdLeaf;

typedef struct TdPlan
{
	const TdShape *shape;
	bool		grouped;
	/* grouped: the state row is nkeys keys (the shape's, and maybe one more), n bigint (rows of the group), ncounters counters; keyed and not stored: nkeys keys, then the output columns */
	int			nkeys;
	int			ncounters;
	int			nstate;			/* columns of the state table: nkeys + 1 + ncounters, or nkeys + as many as the view has; 0 = there is none */
	TdStateColumn *state;
	TdCounterKind *counters;
	char	   *core_sql;		/* grouped: all state rows (one_group: of no rows, too); else: all output rows */
	char	   *output_sql;		/* with a state table: over s: output columns and weight (of the groups that pass HAVING); else NULL */
	List	   *leaves;			/* of TdLeaf * */
} TdPlan;

extern TdPlan *td_plan(const TdShape *shape);

/*
 * The delta of the core for a set of changed occurrences (numbers), in new states only.  grouped: k1..km, n, then the delta columns of each counter;
 * else: output columns and weight.  Reads d_<relid> or l<n> of the changed ones.
 */
extern char *td_plan_delta(const TdPlan *plan, const Bitmapset *changed);

/* The same said in another way, which may cost less; NULL = there is none. */
extern char *td_plan_delta_otherwise(const TdPlan *plan, const Bitmapset *changed);

/* State rows of the groups in k, for keys whose nulls are as the mask says (bit i = key i is null); the others are found by =. */
extern char *td_plan_groups(const TdPlan *plan, uint32 null_mask);

/*
 * Keyed.  The values of the key that the changes of these occurrences may have touched: k1..km, distinct; reads l<n> of the changed ones, and tables.
 * NULL = one of them touches every key.
 */
extern char *td_plan_affected(const TdPlan *plan, const Bitmapset *changed);

/* Keyed.  The rows of the core (as core_sql) for the keys in k, whose nulls are as the mask says (as in td_plan_groups). */
extern char *td_plan_keyed(const TdPlan *plan, uint32 null_mask);

/* names.c: an analysed query as text, which means the same when it is analysed under the same search_path. */
extern char *td_query_sql(Query *query);

/* ======== maintain/: net.c, deltas.c ======== */

/*
 * A signed multiset that nets equal rows (equal bytes of normalized minimal tuples) in bounded memory: past the limit it
 * spills by hash.  desc has the weight as its last column.
 */
typedef struct TdNet TdNet;

extern TdNet *td_net_create(TupleDesc desc, Size memory_limit);
extern void td_net_add(TdNet *net, TupleTableSlot *slot, int64 sign);	/* slot: desc's columns, weight included; sign multiplies the weight */
extern int64 td_net_finish(TdNet *net, Tuplestorestate *into);	/* rows whose weight is not 0; frees the net */

/* The delta of one relation in a tick. */
typedef struct TdDelta
{
	Oid			relid;
	TupleDesc	desc;			/* columns by today's names, weight last */
	AttrNumber *attnums;		/* per column but the weight: in the relation */
	Tuplestorestate *rows;
	int64		nrows;
	bool		unknown;		/* not whole: what depends on it is recomputed */
} TdDelta;

typedef struct TdDeltas
{
	MemoryContext context;
	ResourceOwner owner;		/* of the tuplestores, also of those that are added in a subtransaction: the one in force at creation */
	int			room_kb;		/* in memory, of the rows of one that is added */
	List	   *list;			/* of TdDelta * */
} TdDeltas;

extern TdDeltas *td_deltas_create(MemoryContext parent);
extern void td_deltas_expect(TdDeltas *deltas, uint64 bytes);
extern TdDelta *td_deltas_get(TdDeltas *deltas, Oid relid);	/* NULL = it has not changed */
extern TdDelta *td_deltas_add(TdDeltas *deltas, Oid relid, TupleDesc desc, const AttrNumber *attnums);
extern void td_deltas_unknown(TdDeltas *deltas, Oid relid);
extern void td_deltas_forget(TdDeltas *deltas, Oid relid);
extern void td_deltas_destroy(TdDeltas *deltas);	/* the tuplestores with it */

/* Takes rows one by one; what it allocates is gone with the row. */
typedef void (*TdReceive) (TupleTableSlot *slot, void *arg);

/* ======== maintain/store.c: a table that only we write ======== */

/*
 * Opens relation for signed rows (RowExclusiveLock).  Acts with the rights in force (the caller is the view's owner), fires no trigger, keeps
 * all indexes and check constraints.  keys are columns of td_store_desc, from 1.  A row is found by its key through a unique index on exactly
 * these columns, nulls equal; without a key (nkeys 0), or without such an index, by its image through the index on tapdata.row_hash of all
 * columns, or through any unique index.  A table that has none holds one row at most (the state of a query without GROUP BY): its key is empty.  Needs an active snapshot; sees what this
 * transaction has done before.
 */
typedef struct TdStore TdStore;

extern TdStore *td_store_open(Oid relid, int nkeys, const AttrNumber *keys);
extern TupleDesc td_store_desc(TdStore *store);	/* the table's columns without the dropped ones, then the weight: compare with what is expected */

/*
 * The row with the key of `slot` (columns `from`[nkeys] of it, counted from 1) in the store's own slot, laid out as td_store_desc, weight 1,
 * until the next call for this store; NULL = none.  Not for stores that find rows by image.
 */
extern TupleTableSlot *td_store_find(TdStore *store, TupleTableSlot *slot, const AttrNumber *from);

/*
 * Applies a netted delta (laid out as td_store_desc): -old +new of one key becomes an update.  A row to delete that is not there, or one to insert
 * whose key is there, is XX001 with the key: the view is not what it should be.  Increments the command counter: not in parallel mode.
 */
extern void td_store_apply(TdStore *store, Tuplestorestate *delta);
extern void td_store_close(TdStore *store);

/*
 * Rows by a key that is not unique: n columns of td_store_desc, on which there is an index (55000 otherwise).  td_store_part_rows hands on those that have the
 * values of key's first n columns, nulls equal, as td_store_find does.  Closed before its store.
 */
typedef struct TdStorePart TdStorePart;

extern TdStorePart *td_store_part_open(TdStore *store, int n, const AttrNumber *columns);
extern void td_store_part_rows(TdStorePart *part, TupleTableSlot *key, TdReceive receive, void *arg);
extern void td_store_part_close(TdStorePart *part);

extern bool td_store_is_stale(Oid relid);	/* is its index of no use, until it is built anew, after DDL on row types? */

/*
 * Fills an empty relation (begin raises 55000 when it is not).  Rows may come out of a parallel plan: between begin and end no xid is assigned and no command
 * counter incremented.  Past some thousand rows indexes are left alone and built by end.
 */
typedef struct TdStoreLoad TdStoreLoad;

extern TdStoreLoad *td_store_load_begin(Oid relid);	/* before the plan is started */
extern void td_store_load_row(TdStoreLoad *load, TupleTableSlot *slot); /* the table's columns in order; more than those are ignored (a weight) */
extern int64 td_store_load_end(TdStoreLoad *load);	/* after it is finished; rows */

/* ======== maintain/run.c: one view ======== */

/* What was done for a view in a tick (cost.c has their names). */
typedef enum TdRan
{
	TD_RAN_NOTHING,				/* nothing was left of the deltas */
	TD_RAN_DELTA,				/* its delta was computed and added */
	TD_RAN_GROUPS,				/* and some groups computed anew */
	TD_RAN_KEYED,				/* the touched keys were computed anew */
	TD_RAN_TOPK,				/* the first rows were read again by an index */
	/* all of it was computed anew: */
	TD_RAN_FULL,				/* what changed touches every key */
	TD_RAN_DDL,
	TD_RAN_UNKNOWN,				/* changes are not known */
	TD_RAN_COST,				/* the changes would have taken longer */
	TD_RAN_ERROR				/* the delta has failed */
} TdRan;

#define TD_RAN_KINDS (TD_RAN_ERROR + 1)
#define TD_RAN_IS_WHOLE(ran) ((ran) >= TD_RAN_FULL)

typedef struct TdRanCount
{
	int64		n;
	double		ms;
	double		last_ms;
} TdRanCount;

/* For tests: one way of several that must give the same rows. */
typedef enum TdForce
{
	TD_FORCE_NONE,
	TD_FORCE_DELTA,				/* whatever it costs */
	TD_FORCE_GIVE_UP,			/* each delta, when it is computed */
	TD_FORCE_WHOLE				/* as if it was known to cost too much */
} TdForce;

/* A view as the view worker (or a fill worker, or check_view) holds it. */
typedef struct TdViewRun
{
	TdView	   *view;			/* from the catalog */
	MemoryContext context;		/* all of it; destroyed when the view is planned anew */
	TdShape    *shape;
	TdPlan	   *plan;
	char	   *fingerprint;
	List	   *statements;		/* kept plans, by text and layout of the deltas (run.c) */
	Oid			state_relid;	/* grouped; else InvalidOid */
	struct TdRunKept *kept;		/* of run.c */
	bool		own_error;		/* what td_run_tick raised is of the view, though errors like it may pass: its timeout (57014, no cancel of the worker), or a lock that it did not get (55P03) */
	uint32		version;		/* of td_capture_want that has its columns */
	/* cost.c */
	double		whole_ms;		/* what computing all of it took last; 0 = not known */
	bool		whole_measured; /* in a tick; else by the fill, in another way */
	TdForce		force;
	double		force_limit;	/* ms that a delta may take; 0 = as long as the whole */
	int			force_size;		/* plans for sources of this class, from 1; 0 = of what they have */
	/* counters not yet in the catalog */
	int64		ticks;
	int64		recomputes;
	double		last_ms;
	TdRanCount		counts[TD_RAN_KINDS];
} TdViewRun;

extern bool td_run_fits(const TdShape *shape, void *view);	/* has the view the tables for a plan of this shape? */
extern TdViewRun *td_run_create(TdView *view, MemoryContext parent);	/* analyses and plans; raises what is wrong */
extern void td_run_destroy(TdViewRun *run);
extern Oid	td_state_table(const TdView *view); /* InvalidOid = it has none */
extern bool td_run_is_stale(const TdViewRun *run);	/* one of its tables */

extern void td_run_succeed(TdViewRun *run, TdViewRun *old);	/* of the same view, planned anew: takes over what was measured and counted */

/*
 * As its owner, with its settings: computes the view's delta from `deltas`, applies it, and adds the view's own delta to `deltas` under
 * its relation.  A delta that is unknown or costs too much, or a reason for it: computes the core anew and applies the difference.  Raises what goes wrong
 * (the caller has a subtransaction, or repeats).
 */
extern void td_run_tick(TdViewRun *run, TdDeltas *deltas, TdRan recompute);

/* Is every change answered by computing all of it?  Then nothing of a change but that there is one needs to be known. */
extern bool td_run_is_whole(const TdViewRun *run);

/* cost.c: counters to the catalog, in a transaction; td_run_counted when it is committed. */
extern const char *td_ran_name(TdRan ran);
extern bool td_run_uncounted(const TdViewRun *run);
extern void td_run_count(const TdViewRun *run);
extern void td_run_counted(TdViewRun *run);
extern void td_cost_forget(TdViewRun *run);	/* what was learned of deltas that cost too much */

/* 42501 unless the view's owner may still read every column that it uses. */
extern void td_run_require_rights(const TdViewRun *run);

/* In a fill worker: fills an empty view, or applies the difference.  Parallel plans.  Rows of the view. */
extern int64 td_run_fill(TdViewRun *run);

/* The rights and settings under which a view's statements run (scope.c). */
typedef struct TdViewScope
{
	Oid			user;
	int			sec_context;
	int			guc_level;
	bool		read_only;		/* the transaction was, before */
	int			timeout_ms;		/* of the view */
	bool		armed;			/* statement timeout, at */
	TimestampTz deadline;
	TimestampTz limit;			/* armed for this one before that; 0 = it is not */
} TdViewScope;

extern void td_scope_enter(TdViewScope *scope, const TdView *view, bool tick);	/* tick: also the planner's settings and the timeout */
extern void td_scope_write(const TdViewScope *scope, bool on);	/* statements within it are read only, but for our own between on and off */
extern void td_scope_leave(TdViewScope *scope);
extern void td_scope_settle(void);	/* the view worker, once: so that enter finds most of it set */
extern void td_scope_limit(TdViewScope *scope, int ms);	/* an earlier timeout, until (and once more the view's own) */
extern void td_scope_unlimit(TdViewScope *scope);
extern bool td_scope_limit_passed(TdViewScope *scope);	/* in PG_CATCH, before that: was it that one? */
extern bool td_scope_abort(TdViewScope *scope); /* in PG_CATCH after enter with tick, then rethrow: takes the timeout down; true = it was the timeout.  Abort restores user and settings */
extern void td_scope_forget(void);	/* in the view worker, between transactions: what statements of views have left in the session */

/* A statement over in-memory relations, planned once and kept. */
typedef struct TdSource
{
	const char *name;
	TupleDesc	desc;
	Tuplestorestate *rows;
	double		nrows;			/* as the planner is told */
} TdSource;

/* Runs sql and hands each row to receive(slot, arg); between td_scope_enter and _leave, SPI not connected. */
extern uint64 td_execute(TdViewRun *run, const char *sql, int nsources, const TdSource *sources, bool parallel, TdReceive receive, void *arg);

/* The rows of another table of the same columns become the view's, in a tick: writes the difference, which is the view's own delta. */
extern void td_run_take_rows(TdViewRun *run, Oid from, TdDeltas *deltas);

/* ======== sql/take_over.c: in the tick in which the view `new` takes the place of the one that it replaces ======== */

typedef struct TdLock
{
	Oid			relid;
	int			mode;
} TdLock;

extern List *td_view_take_over_locks(const TdView *old, const TdView *new); /* of TdLock *: to be had before the tick's snapshot */
extern void td_view_take_definition(const TdView *old, const TdView *new);	/* all but the rows, and what follows */
extern void td_view_take_shape(const TdView *old, const TdView *new); /* keys; then nothing is left of `new` */

/* ======== maintain/snapshot.c: 64-bit snapshots ======== */

/* Which transactions a snapshot saw; by top-level xid, unlike a Snapshot valid for ever. */
typedef struct TdSeen
{
	uint64		xmin;
	uint64		xmax;
	uint32		nxip;
	uint64	   *xip;			/* ascending, xmin <= x < xmax */
} TdSeen;

extern TdSeen *td_seen_of(Snapshot snapshot);	/* of this server's own MVCC snapshot, taken in no recovery */
extern TdSeen *td_seen_read(const char *pg_snapshot);
extern char *td_seen_text(const TdSeen *seen);	/* as pg_snapshot */
extern bool td_sees(const TdSeen *seen, uint64 xid);
extern XLogRecPtr td_seen_flush(const TdSeen *seen, const TdSeen *before);	/* flushes WAL as far as it must be, and returns how far it is; of a snapshot just taken */

/* ======== maintain/owner.c ======== */

/* May the fill worker connect as that role?  false: *err says why not, and what to do, or "or <otherwise>". */
extern bool td_owner_connects(Oid role, const char *otherwise, TdError *err);

/* ======== maintain/share.c: snapshots for fill workers and check_view ======== */

typedef enum TdShareKind
{
	TD_SHARE_FILL = 1,			/* the worker takes the transaction over: RestoreTransactionSnapshot while the tick is open */
	TD_SHARE_CHECK				/* the backend's own, older, snapshot protects it; then a second snapshot before the next tick commits */
} TdShareKind;

/* -- requester: fill worker or backend -- */
extern bool td_share_ask(TdShareKind kind, int32 group, int32 view);	/* false = the group's worker does not run */
extern Snapshot td_share_wait(int timeout_ms);	/* TD_SHARE_CHECK: snapshot of the tick, once that is committed.  NULL = timeout or gone: ask again.  Interruptible */
extern bool td_share_taken(void);	/* the second snapshot is taken; false = too late: ask again */
extern bool td_share_import(int timeout_ms);	/* TD_SHARE_FILL: waits, and makes it the transaction's snapshot; false = not in time; raises when the view worker is gone */
extern void td_share_end(void); /* also done by abort and exit */

/* -- the group's view worker -- */
extern bool td_share_any(TdShareKind kind);	/* somebody waits: a tick is due.  Cheap */
extern bool td_share_asked(TdShareKind kind, int32 view);
extern bool td_share_offer_fill(int32 view);	/* within the tick, its snapshot active: hands it over; true once it is imported, false after 1 s or when the asker is gone */
extern void td_share_offer_checks(void);	/* within the tick: copies the snapshot for all who ask now */
extern void td_share_committed(bool ok);	/* after the tick: those may go on (or ask again) */
extern void td_share_settle(int timeout_ms);	/* before the next commit: waits for their second snapshots; after the timeout they have lost */
extern void td_share_attach(int32 group);	/* view worker at start */

/* ======== from td_view_init ======== */
extern void td_share_init(void);	/* maintain/share.c */
extern void td_read_writes_init(void);	/* read_writes.c: settings and hooks */
extern void td_view_hooks_init(void);	/* sql/hooks.c */

#endif							/* TD_VIEW_INTERNAL_H */
