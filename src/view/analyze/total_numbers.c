/*-------------------------------------------------------------------------
 *
 * total_numbers.c
 *		WITH ORDINALITY, where an order needs it.
 *
 * NOTES
 *		As total.c.  The elements of an array come in their order, and who aggregates
 *		them again expects that: so they are ordered by their number.  It is one more
 *		column of the function, behind all others, and thus of each join that it
 *		stands below; where it would not be the last one there, too, the columns
 *		behind it would have other numbers than the query has.
 *
 * IDENTIFICATION
 *		src/view/analyze/total_numbers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"

#include "view/analyze/split_internal.h"
#include "view/analyze/total_internal.h"

/* The joins above an entry, from the topmost one on; false = it is not the last of each. */
static bool
joins_above(Node *node, Index rti, List **joins)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == rti;
	if (IsA(node, JoinExpr))
	{
		*joins = lappend(*joins, node);
		return ((JoinExpr *) node)->alias == NULL && joins_above(((JoinExpr *) node)->rarg, rti, joins);
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
	{
		*joins = NIL;
		if (joins_above(lfirst(lc), rti, joins))
			return true;
	}
	return false;
}

/* Its row as a whole would have another type. */
bool
td_can_number(Query *query, Index rti)
{
	List	   *joins = NIL;

	return joins_above((Node *) query->jointree, rti, &joins) && !td_split_reads_row(query, rti);
}

/* One more column of a join, the last of its right side. */
static void
add_to_join(Query *query, const JoinExpr *join, Var *number, AttrNumber right)
{
	RangeTblEntry *rte = rt_fetch(join->rtindex, query->rtable);

	rte->joinaliasvars = lappend(rte->joinaliasvars, copyObject(number));
	rte->joinrightcols = lappend_int(rte->joinrightcols, right);
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("ordinality")));
}

/* The column; of a function that td_can_number. */
Var *
td_number_of(Query *query, Index rti, int levelsup)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	List	   *joins = NIL;
	Var		   *number;
	AttrNumber	right;

	if (!rte->funcordinality)
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("ordinality")));
	right = list_length(rte->eref->colnames);
	number = makeVar(rti, right, INT8OID, -1, InvalidOid, 0);
	if (!rte->funcordinality)
	{
		rte->funcordinality = true;
		(void) joins_above((Node *) query->jointree, rti, &joins);
		for (int i = list_length(joins) - 1; i >= 0; i--)
		{
			const JoinExpr *join = list_nth_node(JoinExpr, joins, i);

			add_to_join(query, join, number, right);
			right = list_length(rt_fetch(join->rtindex, query->rtable)->eref->colnames);
		}
	}
	number->varlevelsup = levelsup;
	return number;
}
