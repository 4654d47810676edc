/*-------------------------------------------------------------------------
 *
 * split_internal.h
 *		What split.c and its rules share.
 *
 * NOTES
 *		A rule says a query with one more level of subqueries, some of which (the
 *		*holes*) are to become parts.  It changes the query that it is given, and
 *		returns NULL where it does not apply, or has no such variant any more.
 *
 * src/view/analyze/split_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_SPLIT_INTERNAL_H
#define TD_SPLIT_INTERNAL_H

#include "view/analyze/keyed_internal.h"
#include "view/analyze/topk_internal.h"

typedef struct TdHole
{
	RangeTblEntry *rte;			/* a subquery in FROM of some level */
	List	   *more;			/* of List * of Expr *: columns of which one list may be added, to be its key */
	List	   *order;			/* of TdOrderItem *: the index that it needs, NIL = none */
} TdHole;

typedef Query *(*TdSplitRule) (Query *query, int variant, List **holes);

extern Query *td_split_topk(Query *query, int variant, List **holes);	/* split_rules.c: the rule of queries that LIMIT cuts */
extern const TdSplitRule td_split_rules[];	/* of all others; NULL at the end.  Those that make fewer and smaller parts come first */

/* of queries that group: split_groups.c */
extern Query *td_split_expanded(Query *query, int variant, List **holes);
extern Query *td_split_sets(Query *query, int variant, List **holes);
extern Query *td_split_groups(Query *query, int variant, List **holes);
extern Query *td_split_distinct(Query *query, int variant, List **holes);	/* split_distinct.c */
extern Query *td_split_branches(Query *query, int variant, List **holes);	/* of a set operation: split_rules.c */

extern Query *td_split_views(Query *query, int variant, List **holes);	/* an ordinary one: split_views.c */
extern List *td_split_key_of_view(const Query *part, Oid owner);	/* columns that are missing of its key, as td_split_keys_of */
extern Query *td_split_joins(Query *query, int variant, List **holes);	/* one within another: split_joins.c */
extern void td_split_join_anew(Query *query, Node *node);	/* an item of FROM: columns of joins are those that their sides have now */

extern void td_split_make_storable(Query *query);	/* split.c */

/* split_rules.c: of what rules are made */
extern RangeTblEntry *td_split_entry(Query *query); /* of FROM: the subquery */
extern void td_split_add_hole(List **holes, RangeTblEntry *rte, List *more);
extern void td_split_read_only(Query *query, RangeTblEntry *rte);	/* FROM is that alone */
extern void td_split_note_sublinks(Query *query);
extern void td_split_strip(Query *query);	/* of all that stands above FROM and WHERE */
extern List *td_split_columns(List *exprs, const Query *query); /* a target list of them */
extern bool td_split_is_cut(const Query *query);
extern bool td_split_is_grouped(const Query *query);
extern List *td_split_from_entries(Node *node); /* of int: the entries of FROM, in order */
extern List *td_split_keys_of(const RangeTblEntry *rte, Index rti, const List *there);	/* columns that are missing of each unique key */

/* split_worth.c */
extern bool td_split_is_whole(const TdShape *shape);	/* does a change of some table compute all of it? */
extern bool td_split_is_coarse(const TdShape *shape);	/* are there many rows to a key? */

/* split_columns.c: columns of range table entries, at all depths below a level */
extern bool td_split_collect(Node *node, Index rti, List **vars);	/* of Var *, rti 0 = all; false = a whole row or a system column is among them */
extern Node *td_split_replace(Node *node, List *exprs, Index from, Index rti);	/* expressions (Vars of entry `from`, or with 0 any) by columns 1.. of entry rti */
extern bool td_split_columns_of(Query *query, Index rti, List **vars);	/* of the entry, wherever they are read; false likewise */
extern void td_split_read_columns(Query *query, List *vars, Index rti); /* wherever it reads them, columns 1.. of that entry */
extern bool td_split_reads_row(Query *query, Index rti);	/* is the entry read as a whole row? */
extern bool td_split_reads_outer(Query *query); /* is it correlated? */

#endif							/* TD_SPLIT_INTERNAL_H */
