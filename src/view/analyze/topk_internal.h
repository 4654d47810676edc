/*-------------------------------------------------------------------------
 *
 * topk_internal.h
 *		What total.c, topk.c and split*.c share about LIMIT.
 *
 * src/view/analyze/topk_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TOPK_INTERNAL_H
#define TD_TOPK_INTERNAL_H

#include "view/analyze/analyze_internal.h"

/* LIMIT and OFFSET as numbers. */
typedef struct TdWindow
{
	bool		counted;		/* there is a LIMIT */
	int64		count;
	int64		offset;
} TdWindow;

/* topk.c */
extern bool td_window(const Query *query, TdWindow *window, TdError *err);	/* false = refused: no constants */
extern bool td_cuts(const Query *query);	/* can LIMIT or OFFSET take rows away? */
extern bool td_skips(const Query *query);	/* can OFFSET? */
extern RangeTblEntry *td_topk_source(const Query *query);
extern bool td_topk_order(const Query *query, List **order, TdError *err);
extern bool td_sort_direction(const SortGroupClause *clause, bool *reverse, bool *nulls_first);	/* false = not by the default operators of its type */
extern bool td_is_short(Oid type, int32 typmod);	/* do its values fit into an index, many at once? */

#endif							/* TD_TOPK_INTERNAL_H */
