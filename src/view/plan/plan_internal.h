/*-------------------------------------------------------------------------
 *
 * plan_internal.h
 *		What the files of view/plan share: the pieces that statements are put
 *		together from.
 *
 * NOTES
 *		All texts are made once, by td_plan; statements for a set of changed
 *		occurrences are then only put together (but for staged ones, which call
 *		columns by other names and are deparsed again).
 *
 * src/view/plan/plan_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_PLAN_INTERNAL_H
#define TD_PLAN_INTERNAL_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "nodes/primnodes.h"
#include "view/view_internal.h"

#define TD_W "\"" TD_WEIGHT "\""
#define TD_MAX_SIGNED 4			/* changed occurrences: up to here by inclusion and exclusion, above by stages */
#define TD_MIN_STAGED 3			/* from here on stages may cost less */

/* What the columns of one row are called in a text: "" = no such column.  alias NULL: the row can't be named. */
typedef struct TdRowNames
{
	const char *alias;
	List	   *columns;		/* of char *, by attribute number */
} TdRowNames;

/* An expression over the row of a join: a key, the argument of an aggregate, an output. */
typedef struct TdItem
{
	char	   *name;			/* k<i>, a<i>, or the column's */
	Node	   *expr;
	Oid			type;
	int32		typmod;
	Oid			collation;
	char	   *text;			/* over r<n> */
} TdItem;

typedef struct TdQual
{
	Node	   *expr;
	Bitmapset  *reads;			/* occurrences */
	Var		   *left;			/* "left = right" of plain columns (varno: rti); NULL = it is not that */
	Var		   *right;
	char	   *text;
} TdQual;

/* What a counter counts; plan/README.md says why these. */
typedef enum TdCount
{
	TD_COUNT_PRESENT,			/* rows whose argument is not null */
	TD_COUNT_SUM_INT,			/* sum of int2, int4 */
	TD_COUNT_SUM,				/* sum as numeric */
	TD_COUNT_SUM_FINITE,		/* the same without NaN and infinities */
	TD_COUNT_NAN,				/* rows whose argument is NaN */
	TD_COUNT_PLACES,			/* rows by display scale, all in one numeric */
	TD_COUNT_IMAGE,				/* the hash of the keys as they are shown */
	TD_COUNT_OWN				/* the aggregate's own value: min, max, and what can't be counted */
} TdCount;

typedef struct TdCounter
{
	TdCount		count;
	TdCounterKind kind;
	int			item;			/* the argument: index in items; -1 = OWN, see call, and IMAGE */
	Aggref	   *call;			/* OWN: over Vars of varno 1, which are items */
	char	   *text;			/* OWN: the call over z; IMAGE: the hash over z */
	char	   *name;			/* c<i> */
	Oid			type;
	Oid			collation;
} TdCounter;

/* Where the parts of an aggregate are: indexes in counters, -1 = none. */
typedef struct TdParts
{
	int			present;
	int			sum;
	int			nan;
	int			places;
	int			own;
} TdParts;

/* A plan with what is behind it. */
typedef struct TdPlanned
{
	TdPlan		plan;			/* first: a TdPlan is a TdPlanned */
	int			nitems;
	TdItem	   *items;			/* bag: the outputs; grouped: keys, then arguments */
	int			nquals;
	TdQual	   *quals;
	int			ncounters;
	TdCounter  *counters;
	TdParts    *parts;			/* by aggregate */
	int		   *key_places;		/* by key: the counter of its display scales; -1 = it is shown as it is */
	bool		barrier;		/* arguments are computed once per row, before anything counts them */
	bool		netted;			/* changed occurrences are read from leaves */
	char	  **tables;			/* qualified names, by occurrence - 1 */
	char	  **ranges;			/* by occurrence - 1: a condition on rows of the others, see terms.c; NULL = none */
	char	  **within;			/* whether it may be added */
	Bitmapset **columns;		/* by occurrence - 1: those that a leaf needs */
	TdRowNames *rows;			/* by rti - 1: r<n> with the names of today */
	int			nrows;
} TdPlanned;

/* What is known about all values of a numeric expression. */
typedef struct TdNumbers
{
	int			scale;			/* display scale of every finite value; -1 = it differs */
	bool		nan;			/* may be NaN */
	bool		infinite;
} TdNumbers;

/* plan.c */
extern TdRowNames td_plan_row_names(const TdOccurrence *o, const Bitmapset *columns);
extern char *td_plan_table_name(const TdOccurrence *o);

/* joins.c: columns that subqueries got later */
extern void td_widen_joins(Query *query);

/* keyed.c */
extern TdPlan *td_plan_of_keyed(const TdShape *shape);

/* names.c: expressions as text */
extern List *td_names_context(int n, const TdRowNames *rows);
extern Node *td_names_plain(Node *expr);
extern Node *td_names_collated(Node *expr);
extern char *td_names_text(Node *expr, List *context);
extern char *td_names_typed(Node *expr, Oid type, int32 typmod, List *context);
extern char *td_names_operator(Oid operator);
extern Bitmapset *td_names_reads(const TdPlanned *p, Node *expr);
extern Bitmapset *td_names_columns(const TdPlanned *p, Node *expr, int occurrence);

/* numbers.c: what is known of numeric expressions */
extern TdNumbers td_numbers_of(Node *expr);

/* plan.c */
extern bool td_item_varies(const TdItem *item); /* may equal values look different? */

/* counters.c: aggregates as counters; statements over source, which returns items (and weight) */
extern void td_counters_make(TdPlanned *p);
extern bool td_counters_linear(const TdPlanned *p);
extern char *td_counters_of_rows(const TdPlanned *p, const char *source);
extern char *td_counters_of_delta(const TdPlanned *p, const char *source);
extern char *td_counters_final(const TdPlanned *p, int aggregate);
extern char *td_counters_key(const TdPlanned *p, int key);

/* terms.c: the rows of the join, and their delta */
extern char *td_terms_rows(const TdPlanned *p, const char *more_from, const char *more_where);
extern char *td_terms_delta(const TdPlanned *p, const Bitmapset *changed);
extern char *td_terms_items(const TdPlanned *p, List *context);
extern char *td_terms_source(const TdPlanned *p, int occurrence, bool delta);
extern char *td_terms_where(const TdPlanned *p, const Bitmapset *set, const Bitmapset *done, const Bitmapset *deltas, List *context,
							const char *more);

/* stages.c: the delta of a join of which many occurrences have changed */
extern char *td_stages_delta(const TdPlanned *p, const Bitmapset *changed);

#endif							/* TD_PLAN_INTERNAL_H */
