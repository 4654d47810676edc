/*-------------------------------------------------------------------------
 *
 * kept.c
 *		Views that keep old rows of a base table, and what learns of changes by
 *		them.
 *
 * NOTES
 *		As analyze.c.  README.md has why it is exact.
 *
 *		A view that keeps rows has the names that columns had when it was made; its
 *		rows come to others by attribute numbers.
 *
 * IDENTIFICATION
 *		src/view/analyze/kept.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "view/analyze/keyed_internal.h"

/* ---- what keeps rows ---- */

/* The index of the key: it must not go.  NIL = the key is what partitions have in common. */
static List *
key_index(const TdOccurrence *o)
{
	Relation	rel = table_open(o->relid, AccessShareLock);
	TdIdentity	own = td_identity_own(rel);
	bool		is_key = bms_equal(td_identity_columns(rel, own.kind, own.index), o->told);
	Oid			index = own.kind == REPLICA_IDENTITY_DEFAULT ? rel->rd_pkindex : own.index;	/* td_identity_columns has read the indexes */

	table_close(rel, NoLock);
	return is_key && OidIsValid(index) ? list_make1_oid(index) : NIL;
}

TdShape *
td_analyze_keeper(Query *query, Oid owner, int nkeys, TdError *err)
{
	List	   *columns = td_keeper_columns(query);
	TdShape    *shape = td_keyed_analyze_by(copyObject(query), owner, nkeys, err);
	TdOccurrence *o;

	if (shape == NULL)
		return NULL;
	o = &shape->occurrences[0];
	o->touch = true;
	for (int i = 0; i < nkeys; i++)
		o->told = bms_add_member(o->told, list_nth_int(columns, i));
	shape->proofs = key_index(o);
	return shape;
}

List *
td_keeper_columns(const Query *query)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
		columns = lappend_int(columns, castNode(Var, lfirst_node(TargetEntry, lc)->expr)->varattno);
	return columns;
}

/* ---- what learns by it ---- */

static void
require_column(const TdOccurrence *o, const List *columns, int attnum)
{
	if (list_member_int(columns, attnum))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("old values of column \"%s\" of table \"%s\" are needed, but not kept", get_attname(o->relid, attnum, false), get_rel_name(o->relid)),
			 errdetail("The view needed others when it was made."),
			 errhint("Drop the view and create it again.")));
}

static void
learn(TdOccurrence *o, const TdKept *kept)
{
	TdView	   *view = td_view_load(kept->id);
	List	   *columns = view ? td_keeper_columns(td_twin_query(view->query)) : NIL;
	int			attnum = -1;

	while ((attnum = bms_next_member(o->columns, attnum)) >= 0)
		require_column(o, columns, attnum);
	o->kept = kept->id;
	o->source = kept->relation;
	o->touch = false;
	o->kept_columns = palloc(sizeof(AttrNumber) * Max(list_length(columns), 1));
	for (int i = 0; i < list_length(columns); i++)
		o->kept_columns[i] = list_nth_int(columns, i);
}

void
td_shape_learn(TdShape *shape, int32 view)
{
	ListCell   *lc;

	foreach(lc, td_view_kept(view))
	{
		const TdKept *kept = lfirst(lc);

		for (int i = 0; i < shape->noccurrences; i++)
			if (shape->occurrences[i].view == 0 && shape->occurrences[i].relid == kept->base)
				learn(&shape->occurrences[i], kept);
	}
}
