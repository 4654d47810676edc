/*-------------------------------------------------------------------------
 *
 * keyed_internal.h
 *		What the files of view/analyze that deal with keyed queries share.
 *
 * NOTES
 *		A *level* is one SELECT of the query; a *conjunct* says which rows of an
 *		occurrence matter to anything, given the rows of another one.  README.md
 *		has the theory.
 *
 * src/view/analyze/keyed_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_KEYED_INTERNAL_H
#define TD_KEYED_INTERNAL_H

#include "view/analyze/analyze_internal.h"

/* One SELECT: the query itself, a subquery in FROM, a branch of a set operation, or the query of a sublink. */
typedef struct TdLevel
{
	Query	   *query;
	struct TdLevel *parent;
	int		   *occurrence;		/* by rti - 1; 0 = not a table in FROM */
	struct TdLevel **child;		/* by rti - 1; NULL = not a subquery in FROM */
	List	   *branches;		/* of TdLevel *: of a set operation */
	Bitmapset  *rels;			/* occurrences in its FROM, those of subqueries there included */
	Bitmapset  *nullable;		/* of them: may be null-extended, as seen from WHERE */
	Bitmapset  *outer_nullable; /* those of outer levels that may be null-extended where it stands */
	Bitmapset  *lends;			/* those of outer levels that its WHERE filters: it is a positive EXISTS or IN */
	bool		outer_joins;	/* it has some */
} TdLevel;

typedef enum TdEdge
{
	TD_EDGE_EQUAL,				/* x = y */
	TD_EDGE_NULLS,				/* x = y OR x IS NULL OR y IS NULL */
	TD_EDGE_OTHER
} TdEdge;

/* Where one of these is known not to be null-extended, an ON of an outer join reduces more. */
typedef struct TdSide
{
	Bitmapset  *rels;
	Bitmapset  *reduces;
} TdSide;

/*
 * A condition over at most two occurrences (varno is the number of one): of those that it reduces, only rows matter that fulfil it, with some row of the
 * other one that matters.
 */
typedef struct TdConjunct
{
	Node	   *expr;
	Bitmapset  *reads;
	Bitmapset  *reduces;
	TdSide		sides[2];		/* of an outer join in whose ON it stands */
	TdEdge		edge;
	Node	   *left;			/* sides of an equality that classes may be built of, else NULL */
	Node	   *right;
} TdConjunct;

/* "x = y" on the topmost level, as it stands there. */
typedef struct TdTopEquality
{
	Node	   *left;
	Node	   *right;
	Bitmapset  *reduces;
	Bitmapset  *nullable;
	bool		full;			/* in ON of a FULL JOIN, a value of each of its sides, */
	Bitmapset  *rels;			/* of these */
} TdTopEquality;

typedef struct TdKeyedWalk
{
	TdShape    *shape;
	TdError    *err;
	TdLevel    *top;
	List	   *conjuncts;		/* of TdConjunct * */
	List	   *equalities;		/* of TdTopEquality * */
	List	   *fulls;			/* of Bitmapset *: what the FULL JOINs of the topmost level join */
	List	   *nullable_sides; /* of Bitmapset *: of its left and right joins */
	Bitmapset  *beyond[TD_MAX_OCCURRENCES];	/* columns that are read beyond conditions on one occurrence alone */
	int			leading;		/* the first so many outputs are the key; 0 = whatever is best */
	bool		too_many;		/* tables */
} TdKeyedWalk;

/* keyed_prepare.c: one query without WITH, ordinary views (views NULL: they stay) and aliases of joins; false = refused */
extern bool td_keyed_prepare(Query *query, Oid owner, List **views, TdError *err);
extern bool td_is_ordinary_view(const RangeTblEntry *rte);
extern bool td_keyed_uses(Query *query, TdUses *uses, TdError *err);

/* keyed_levels.c */
extern TdLevel *td_keyed_levels(TdKeyedWalk *walk, Query *query);

/* keyed_resolve.c: expressions in terms of occurrences */
extern bool td_keyed_column_binds(const Query *query, const Node *expr);	/* is restricting it below the same as above? */
extern Node *td_keyed_output(const Query *query, int resno, Oid type);
extern List *td_keyed_resolve(const TdLevel *level, Node *expr);	/* of Node *, one for each branch of a set operation in it; NIL = it can't be */
extern List *td_keyed_resolve_output(const TdLevel *level, int resno, Oid type);
extern Bitmapset *td_keyed_reads(const Node *expr);
extern Node *td_keyed_bare(Node *expr); /* without relabelling to a type of the same equality */
extern List *td_keyed_branches(const Query *query); /* of int: range table entries of the branches of a set operation, in order */

/* A key that the query might have. */
typedef struct TdCandidate
{
	int			nullable;		/* the occurrence that all of them are of, and that may be null-extended; 0 = none */
	List	   *conjuncts;		/* of TdConjunct *: those of the query, or what they are where nullable is not null-extended */
	List	   *exprs;			/* of Node *: as they stand on the topmost level; of a set operation its output columns */
	List	  **bound;			/* by occurrence - 1: of Node *, as many as exprs, NULL = not bound */
	int		   *next;			/* by occurrence - 1: the occurrence that it is led to, 0 = itself, -1 = none */
	int			scores[7];		/* in the order of importance */
} TdCandidate;

/* keyed.c: by the first so many columns of the result */
extern TdShape *td_keyed_analyze_by(Query *query, Oid owner, int leading, TdError *err);

/* keyed_bind.c */
extern void td_keyed_bind(const TdKeyedWalk *walk, TdCandidate *c);
extern Node *td_keyed_bound_to(const TdCandidate *c, int n, int key);	/* NULL = not */
extern void td_keyed_find_paths(const TdKeyedWalk *walk, TdCandidate *c);
extern bool td_keyed_leads(const TdConjunct *conjunct, int from, int to);
extern Bitmapset *td_keyed_determined(const TdKeyedWalk *walk, const TdCandidate *c);
extern int	td_keyed_output_number(const Query *query, const Node *expr);

/* keyed_keys.c */
extern const TdCandidate *td_keyed_best(const TdKeyedWalk *walk, TdError *err);	/* NULL = refused */
extern int	td_keyed_output_of(const TdKeyedWalk *walk, Node *expr);
extern bool td_keyed_has_groups(const Query *query);

/* keyed_antijoin.c */
extern void td_keyed_antijoins(Query *query);

/* keyed_matched.c: matched */
extern void td_keyed_match(const TdKeyedWalk *walk, TdLineage *lineage);

/* keyed_result.c: the key, and how each occurrence leads to it; NULL = refused */
extern TdKeyed *td_keyed_choose(TdKeyedWalk *walk, TdError *err);

#endif							/* TD_KEYED_INTERNAL_H */
