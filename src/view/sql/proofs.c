/*-------------------------------------------------------------------------
 *
 * proofs.c
 *		What a view can't be without: that its definition depends on certain
 *		indexes, and who depends on something.
 *
 * NOTES
 *		Sessions.  The unique indexes that a view stands on (view/plan/proofs.c) can't
 *		go without it.  Nor can rows of another table come below a table whose key is
 *		one of them: the key holds for that table's own rows alone.
 *
 * IDENTIFICATION
 *		src/view/sql/proofs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "commands/defrem.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteSupport.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "capture/capture.h"
#include "view/sql/sql_internal.h"

/* ---- what it depends on ---- */

bool
td_is_index(Oid relation)
{
	char		kind = get_rel_relkind(relation);

	return kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX;
}

List *
td_twin_proofs(Oid twin)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	List	   *proofs = NIL;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RewriteRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(get_rewrite_oid(twin, ViewSelectRuleName, false)));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, lengthof(key), key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend d = (Form_pg_depend) GETSTRUCT(tuple);

		if (d->refclassid == ConstraintRelationId)
			proofs = list_append_unique_oid(proofs, get_constraint_index(d->refobjid));
		else if (d->refclassid == RelationRelationId && td_is_index(d->refobjid))
			proofs = list_append_unique_oid(proofs, d->refobjid);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return proofs;
}

/*
 * As PostgreSQL does where columns follow from a grouped primary key, the rule depends on the constraint; here also on an index that has none.  Those on
 * which it does already are left alone.
 */
void
td_twin_needs(Oid twin, const List *proofs)
{
	const List *known = td_twin_proofs(twin);
	ObjectAddress rule;
	ObjectAddress proof;
	ListCell   *lc;

	ObjectAddressSet(rule, RewriteRelationId, get_rewrite_oid(twin, ViewSelectRuleName, false));
	foreach(lc, proofs)
	{
		Oid			constraint = get_index_constraint(lfirst_oid(lc));

		if (list_member_oid(known, lfirst_oid(lc)))
			continue;
		if (OidIsValid(constraint))
			ObjectAddressSet(proof, ConstraintRelationId, constraint);
		else
			ObjectAddressSet(proof, RelationRelationId, lfirst_oid(lc));
		recordDependencyOn(&rule, &proof, DEPENDENCY_NORMAL);
	}
}

/* ---- who depends on it ---- */

/* Whose rule it is; 0 = it is gone. */
static Oid
relation_of_rule(Oid rule)
{
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	Oid			relation = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(rule));
	scan = systable_beginscan(rewrite, RewriteOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		relation = ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
	systable_endscan(scan);
	table_close(rewrite, AccessShareLock);
	return relation;
}

/* As PostgreSQL finds what stands against a change of it: by the rules that depend on it. */
static List *
views_on(Oid class, Oid object, int32 sub)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	List	   *twins = NIL;
	List	   *views = NIL;
	ScanKeyData key[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	ListCell   *lc;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(class));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	ScanKeyInit(&key[2], Anum_pg_depend_refobjsubid, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(sub));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, lengthof(key), key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (((Form_pg_depend) GETSTRUCT(tuple))->classid == RewriteRelationId)
			twins = list_append_unique_oid(twins, relation_of_rule(((Form_pg_depend) GETSTRUCT(tuple))->objid));
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	foreach(lc, twins)
	{
		TdView	   *view = OidIsValid(lfirst_oid(lc)) ? td_view_of_twin(lfirst_oid(lc)) : NULL;

		if (view != NULL)
			views = lappend(views, view);
	}
	return views;
}

List *
td_views_on_column(Oid relation, AttrNumber attnum)
{
	return views_on(RelationRelationId, relation, attnum);
}

/* ---- rows of others ---- */

static bool
reads_children(Node *node, Oid *relation)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION && ((RangeTblEntry *) node)->relid == *relation && ((RangeTblEntry *) node)->inh;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_children, relation, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reads_children, relation);
}

/* Views that stand on a key of the table, and read what inherits from it as well. */
static List *
views_on_keys(Oid relation)
{
	Relation	rel = table_open(relation, AccessShareLock);
	List	   *views = NIL;
	ListCell   *li,
			   *lv;

	foreach(li, RelationGetIndexList(rel))
	{
		Oid			constraint = get_index_constraint(lfirst_oid(li));

		foreach(lv, OidIsValid(constraint) ? views_on(ConstraintRelationId, constraint, 0) : views_on(RelationRelationId, lfirst_oid(li), 0))
			if (reads_children((Node *) td_twin_query(((TdView *) lfirst(lv))->query), &relation))
				views = lappend(views, lfirst(lv));
	}
	table_close(rel, NoLock);
	return views;
}

void
td_require_no_keys_above(Oid relation)
{
	ListCell   *lc;

	if (get_rel_relispartition(relation))
		return;
	foreach(lc, td_tables_above(relation))
	{
		List	   *names = td_names_down(views_on_keys(lfirst_oid(lc)));

		if (names == NIL)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("table \"%s\" can't inherit from \"%s\": live views need a key of that", get_rel_name(relation), get_rel_name(lfirst_oid(lc))),
				 errdetail("The key holds for its own rows alone. Live views that read it: %s.", td_list_text(names)),
				 errhint("Let them read ONLY the table, with or_replace; or drop them first, and create them again afterwards: %s.", td_drop_calls(names))));
	}
}
