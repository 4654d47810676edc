/*-------------------------------------------------------------------------
 *
 * total_internal.h
 *		What total.c and total_rows.c share: an ORDER BY that is made longer.
 *
 * src/view/analyze/total_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TOTAL_INTERNAL_H
#define TD_TOTAL_INTERNAL_H

#include "view/analyze/analyze_internal.h"

typedef struct TdOrder
{
	List	  **clauses;		/* of SortGroupClause, */
	List	  **entries;		/* of TargetEntry: what they name */
	int			levelsup;		/* of Vars in these */
	bool		down;			/* the direction of what is added */
	bool		looks;			/* rows whose values are equal but look different are not the same */
	bool		columns;		/* nothing but entries that are there */
	bool		numbers;		/* functions in FROM may get WITH ORDINALITY */
} TdOrder;

/* total.c */
extern TdOrder td_order_of(List **clauses, List **entries, int levelsup);
extern void td_order_by(TdOrder *o, TargetEntry *tle);
extern TargetEntry *td_order_entry(TdOrder *o, Expr *expr);
extern bool td_order_by_value(TdOrder *o, TargetEntry *tle);
extern bool td_order_by_keys(Query *query, TdOrder *o, List **proofs);
extern TargetEntry *td_order_rows(Query *query, bool looks, List **proofs);

/* total_numbers.c: the rows of a function in FROM, numbered */
extern bool td_can_number(Query *query, Index rti);
extern Var *td_number_of(Query *query, Index rti, int levelsup);

/* total_rows.c: aggregates and arrays that show the order of their rows; false = refused */
extern bool td_order_aggregates(Query *query, List **proofs, TdError *err);

#endif							/* TD_TOTAL_INTERNAL_H */
