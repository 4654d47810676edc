/*-------------------------------------------------------------------------
 *
 * check.c
 *		May this relation be a target?
 *
 * NOTES
 *		Asked before streaming starts, and again whenever the relation's
 *		definition moves under a running pipeline: it holds for as long as the
 *		lock on the relation does.
 *
 *		Deferrable unique and exclusion constraints are checked by triggers that
 *		do not fire in a replica session: two equal keys would be let in.
 *
 * src/apply/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "apply/apply_internal.h"
#include "compat/compat.h"

static void check_kind(Relation rel);
static void check_row_security(Relation rel);
static void check_indexes(Relation rel);

/* "schema.table", quoted.  palloc'ed. */
char *
td_relation_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
}

/* Before streaming: the target is there and may be written on behalf of the pipeline's owner. */
void
td_target_check(const TdPipelineTable *t, Oid pipeline_owner)
{
	char	   *name = quote_qualified_identifier(t->target_schema, t->target_table);
	Oid			relid = t->relation;
	Relation	rel = NULL;

	if (!OidIsValid(relid))
	{
		Oid			schema = get_namespace_oid(t->target_schema, true);

		relid = OidIsValid(schema) ? get_relname_relid(t->target_table, schema) : InvalidOid;
	}
	if (OidIsValid(relid))
		rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("target table %s does not exist", name),
				 errdetail("It was dropped, or never made."),
				 errhint("SELECT tapdata.reset_pipeline(...) loads it again; SELECT tapdata.drop_pipeline(...) ends the mirror.")));
	td_check_relation(rel, pipeline_owner);
	relation_close(rel, NoLock);
}

/* Raises what stands against writing into rel; the caller holds a lock. */
void
td_check_relation(Relation rel, Oid pipeline_owner)
{
	check_kind(rel);
	td_check_role(rel, pipeline_owner);
	check_row_security(rel);
	check_indexes(rel);
}

/* An ordinary, permanent heap table of a user. */
static void
check_kind(Relation rel)
{
	const char *what = NULL;

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
			break;
		case RELKIND_PARTITIONED_TABLE:
			what = "a partitioned table";
			break;
		case RELKIND_FOREIGN_TABLE:
			what = "a foreign table";
			break;
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
			what = "a view";
			break;
		default:
			what = "not a table";
	}
	if (what == NULL && RelationGetRelid(rel) < FirstNormalObjectId)
		what = "a system catalog";
	if (what == NULL && rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		what = "a temporary table";
	if (what == NULL && rel->rd_tableam != GetHeapamTableAmRoutine())
		what = "a table of another access method than heap";
	if (what)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("target %s is %s", td_relation_name(rel), what),
				 errhint("Use an ordinary table, or another target schema.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("target table %s is unlogged", td_relation_name(rel)),
				 errdetail("A crash would empty it while the pipeline's position stays."),
				 errhint("ALTER TABLE %s SET LOGGED;", td_relation_name(rel))));
}

/* Everything on the table runs as its owner, so the pipeline's owner has to be allowed to become it. */
void
td_check_role(Relation rel, Oid pipeline_owner)
{
	Oid			owner = rel->rd_rel->relowner;

	if (td_can_set_role_compat(pipeline_owner, owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" may not write into table %s", GetUserNameFromId(pipeline_owner, false), td_relation_name(rel)),
			 errdetail("Changes are applied as the table's owner \"%s\", and \"%s\" may not SET ROLE to it.",
					   GetUserNameFromId(owner, false), GetUserNameFromId(pipeline_owner, false)),
			 errhint("GRANT %s TO %s; or ALTER TABLE %s OWNER TO %s;", quote_identifier(GetUserNameFromId(owner, false)),
					 quote_identifier(GetUserNameFromId(pipeline_owner, false)), td_relation_name(rel),
					 quote_identifier(GetUserNameFromId(pipeline_owner, false)))));
}

/* Rows are written below the level where policies work. */
static void
check_row_security(Relation rel)
{
	if (check_enable_rls(RelationGetRelid(rel), rel->rd_rel->relowner, true) != RLS_ENABLED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("row-level security of table %s applies to its owner", td_relation_name(rel)),
			 errdetail("Changes are applied as the owner and would bypass its policies."),
			 errhint("ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;", td_relation_name(rel))));
}

/* No constraint that a replica session would not enforce. */
static void
check_indexes(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;
		bool		bad;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		bad = (index->indisunique || index->indisexclusion) && !index->indimmediate;
		ReleaseSysCache(tuple);
		if (bad)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table %s has a deferrable constraint \"%s\"", td_relation_name(rel), get_rel_name(lfirst_oid(lc))),
					 errdetail("Deferrable unique and exclusion constraints are not enforced while changes are applied."),
					 errhint("Drop it and make it again without DEFERRABLE.")));
	}
	list_free(indexes);
}
