/*-------------------------------------------------------------------------
 *
 * split_views.c
 *		An ordinary view in FROM as a part.
 *
 * NOTES
 *		As split.c.  The columns of it that are read, as a subquery that names the
 *		view.  So the part is planned with the query that the view has then, and is
 *		computed anew when that is replaced; what reads the part follows it.
 *
 *		Rows of it as a whole stay where they are: they are those of its type, which
 *		gets a column when the view does.
 *
 * IDENTIFICATION
 *		src/view/analyze/split_views.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "view/analyze/split_internal.h"

/* Columns of one entry of FROM and nothing else: as a part it would be the same query. */
static bool
is_bare(const Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		if (!IsA(lfirst_node(TargetEntry, lc)->expr, Var))
			return false;
	}
	return td_topk_source(query) != NULL;
}

static int
by_number(const ListCell *a, const ListCell *b)
{
	return lfirst_node(Var, a)->varattno - lfirst_node(Var, b)->varattno;
}

/* The view under its own name, whatever the query calls it and its columns: two uses of it can be one part. */
static RangeTblEntry *
entry_of_view(const RangeTblEntry *view)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = view->relid;
	rte->relkind = view->relkind;
	rte->rellockmode = view->rellockmode;
	rte->inh = view->inh;
	rte->inFromCl = true;
	rte->eref = makeAlias(get_rel_name(view->relid), NIL);
	for (AttrNumber i = 1; get_attname(view->relid, i, true); i++)
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(get_attname(view->relid, i, false)));
	return rte;
}

/* SELECT these columns FROM the view. */
static Query *
select_from(const Query *query, Index rti, List *vars)
{
	RangeTblRef *ref = makeNode(RangeTblRef);
	Query	   *part = makeNode(Query);

	ref->rtindex = 1;
	part->commandType = CMD_SELECT;
	part->canSetTag = true;
	part->targetList = td_split_columns(vars, query);
	part->rtable = list_make1(entry_of_view(rt_fetch(rti, query->rtable)));
	part->jointree = makeFromExpr(list_make1(ref), NULL);
	if (rti != 1)
		ChangeVarNodes((Node *) part->targetList, rti, 1, 0);
	return part;
}

static List *
columns_of_view(Oid view)
{
	List	   *vars = NIL;

	for (AttrNumber i = 1; get_attname(view, i, true); i++)
	{
		Oid			type,
					collation;
		int32		typmod;

		get_atttypetypmodcoll(view, i, &type, &typmod, &collation);
		vars = lappend(vars, makeVar(1, i, type, typmod, collation, 0));
	}
	return vars;
}

/* Of a part that is columns of a view: others of it by which it would be computed anew, as td_split_keys_of has those of a table. */
List *
td_split_key_of_view(const Query *part, Oid owner)
{
	const RangeTblEntry *view = td_cuts(part) || list_length(part->rtable) != 1 ? NULL : td_topk_source(part);
	List	   *missing = NIL;
	List	   *vars;
	TdShape    *shape;
	TdError		unused;

	if (view == NULL || !td_is_ordinary_view(view))
		return NIL;
	vars = columns_of_view(view->relid);
	shape = td_analyze(select_from(part, 1, vars), owner, &unused);
	if (shape == NULL || shape->keyed == NULL || !shape->keyed->stored)
		return NIL;
	for (int i = 0; i < shape->keyed->nkeys; i++)
	{
		Var		   *key = list_nth_node(Var, vars, shape->keyed->outputs[i] - 1);

		if (tlist_member((Expr *) key, part->targetList) == NULL)
			missing = lappend(missing, key);
	}
	return missing ? list_make1(missing) : NIL;
}

/* Of variant n the n-th view. */
Query *
td_split_views(Query *query, int variant, List **holes)
{
	ListCell   *lc,
			   *li;

	if (query->setOperations || query->rowMarks || is_bare(query))
		return NULL;
	foreach(lc, td_split_from_entries((Node *) query->jointree))
	{
		Index		rti = lfirst_int(lc);
		List	   *vars;
		RangeTblEntry *entry;

		if (!td_is_ordinary_view(rt_fetch(rti, query->rtable)) || !td_split_columns_of(query, rti, &vars) || variant-- > 0)
			continue;
		list_sort(vars, by_number);
		entry = td_split_entry(select_from(query, rti, vars));
		entry->alias->aliasname = entry->eref->aliasname = pstrdup(rt_fetch(rti, query->rtable)->eref->aliasname);
		td_split_read_columns(query, vars, rti);
		lfirst(list_nth_cell(query->rtable, rti - 1)) = entry;
		foreach(li, query->jointree->fromlist)
			td_split_join_anew(query, lfirst(li));
		td_split_add_hole(holes, entry, NIL);
		return query;
	}
	return NULL;
}
