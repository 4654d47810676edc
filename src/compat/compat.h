/*-------------------------------------------------------------------------
 *
 * compat.h
 *		What differs between the PostgreSQL majors we build on (15, 17, 18): the
 *		only place for PG_VERSION_NUM.
 *
 * NOTES
 *		Each item is a static inline named td_<what>_compat; a comment says what
 *		changed and since which major.
 *
 * src/compat/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_COMPAT_H
#define TD_COMPAT_H

#include "postgres.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/tablecmds.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "catalog/pg_database.h"
#include "replication/origin.h"
#include "replication/reorderbuffer.h"
#include "replication/slot.h"
#include "rewrite/rewriteManip.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

#if PG_VERSION_NUM < 150000
#error "tapdata needs PostgreSQL 15 or newer"
#endif

/* Since 17 a wait event set belongs to a resource owner (none here), before that to a memory context. */
static inline WaitEventSet *
td_create_wait_event_set_compat(MemoryContext context, int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(context, nevents);
#endif
}

/* Since 16 membership alone does not give SET ROLE. */
static inline bool
td_can_set_role_compat(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(member, role);
#else
	return is_member_of_role(member, role);
#endif
}

/* Since 16 one function checks rights on all kinds of objects. */
static inline bool
td_schema_allows_compat(Oid schema, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, role, mode) == ACLCHECK_OK;
#else
	return pg_namespace_aclcheck(schema, role, mode) == ACLCHECK_OK;
#endif
}

static inline bool
td_function_allows_compat(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/* Since 16 an update says which kinds of indexes need new entries, not only whether. */
static inline TM_Result
td_table_tuple_update_compat(Relation rel, ItemPointer tid, TupleTableSlot *slot, CommandId cid, Snapshot snapshot, TM_FailureData *tmfd,
							 LockTupleMode *lockmode, bool *update_indexes, bool *only_summarizing)
{
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes which;

	result = table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot, true, tmfd, lockmode, &which);
	*update_indexes = which != TU_None;
	*only_summarizing = which == TU_Summarizing;
#else
	result = table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot, true, tmfd, lockmode, update_indexes);
	*only_summarizing = false;
#endif
	return result;
}

/* Since 16 with a flag for summarizing indexes. */
static inline void
td_insert_index_tuples_compat(ResultRelInfo *rri, TupleTableSlot *slot, EState *estate, bool update, bool only_summarizing)
{
	List	   *recheck;

#if PG_VERSION_NUM >= 160000
	recheck = ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL, only_summarizing);
#else
	recheck = ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL);
#endif
	list_free(recheck);
}

/* A range table of this one relation with all columns marked as updated; permission records are apart since 16. */
static inline void
td_init_range_table_compat(EState *estate, Relation rel, Bitmapset *updated, Bitmapset *generated)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
#if PG_VERSION_NUM >= 160000
	List	   *permissions = NIL;
#endif

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&permissions, rte)->updatedCols = updated;
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(rte), permissions, bms_make_singleton(1));
#else
	ExecInitRangeTable(estate, list_make1(rte), permissions);
#endif
#else
	rte->updatedCols = updated;
	rte->extraUpdatedCols = generated;
	ExecInitRangeTable(estate, list_make1(rte));
#endif
}

/* The result relations that it may re-read are an argument of their own since 15.3 under another name; none here. */
static inline void
td_eval_plan_qual_init_compat(EPQState *epq, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(epq, estate, NULL, NIL, -1);
#endif
}

/* Since 18 with a place for statistics. */
static inline IndexScanDesc
td_index_beginscan_compat(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* Since 16 it may switch to the owner by itself; we are the owner already. */
static inline void
td_truncate_compat(Relation rel, bool logged)
{
	List	   *rels = list_make1(rel);
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	List	   *relids_logged = logged ? list_make1_oid(RelationGetRelid(rel)) : NIL;

#if PG_VERSION_NUM >= 160000
	ExecuteTruncateGuts(rels, relids, relids_logged, DROP_RESTRICT, false, false);
#else
	ExecuteTruncateGuts(rels, relids, relids_logged, DROP_RESTRICT, false);
#endif
}

/* Since 16 one function checks the ownership of all kinds of objects. */
static inline bool
td_database_owned_compat(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, role);
#else
	return pg_database_ownercheck(database, role);
#endif
}

/* Since 16 an origin may be shared with parallel workers: 0 = it is ours alone. */
static inline void
td_replorigin_session_setup_compat(RepOriginId origin)
{
#if PG_VERSION_NUM >= 160000
	replorigin_session_setup(origin, 0);
#else
	replorigin_session_setup(origin);
#endif
}

/* Since 17 a change holds the heap tuple itself.  tuple: oldtuple or newtuple of a change; NULL stays NULL. */
#if PG_VERSION_NUM >= 170000
static inline HeapTuple
td_change_tuple_compat(HeapTuple tuple)
{
	return tuple;
}
#else
static inline HeapTuple
td_change_tuple_compat(ReorderBufferTupleBuf *tuple)
{
	return tuple ? &tuple->tuple : NULL;
}
#endif

/* A logical slot that is gone when we end before it is persisted; since 17 it is kept on standbys too. */
static inline void
td_slot_create_compat(const char *name)
{
#if PG_VERSION_NUM >= 170000
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false, true, false);
#else
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false);
#endif
}

/* Raises 55006 when somebody uses it. */
static inline void
td_slot_acquire_compat(const char *name)
{
#if PG_VERSION_NUM >= 180000
	ReplicationSlotAcquire(name, true, true);
#else
	ReplicationSlotAcquire(name, true);
#endif
}

/* Since 16 with a cause. */
static inline bool
td_slot_invalidated_compat(const ReplicationSlotPersistentData *data)
{
#if PG_VERSION_NUM >= 160000
	return data->invalidated != RS_INVAL_NONE;
#else
	return data->invalidated_at != InvalidXLogRecPtr;
#endif
}

/* Since 18 a descriptor keeps a short form of each attribute.  i from 0. */
static inline void
td_attribute_changed_compat(TupleDesc desc, int i)
{
#if PG_VERSION_NUM >= 180000
	populate_compact_attribute(desc, i);
#endif
}

/* Since 17 with the statement, for messages. */
static inline void
td_reindex_relation_compat(Oid relid, int flags)
{
	ReindexParams params = {0};

#if PG_VERSION_NUM >= 170000
	reindex_relation(NULL, relid, flags, &params);
#else
	reindex_relation(relid, flags, &params);
#endif
}

/* Since 18 with room to leave before the tuple. */
static inline MinimalTuple
td_form_minimal_tuple_compat(TupleDesc desc, Datum *values, bool *nulls)
{
#if PG_VERSION_NUM >= 180000
	return heap_form_minimal_tuple(desc, values, nulls, 0);
#else
	return heap_form_minimal_tuple(desc, values, nulls);
#endif
}

/* Since 16 with the planner's root, which is only needed within the planner. */
static inline Node *
td_flatten_join_alias_vars_compat(Query *query, Node *node)
{
#if PG_VERSION_NUM >= 160000
	return flatten_join_alias_vars(NULL, query, node);
#else
	return flatten_join_alias_vars(query, node);
#endif
}

/* Since 18 with which row of RETURNING is meant. */
static inline void
td_expand_rte_compat(RangeTblEntry *rte, int rti, List **names, List **vars)
{
#if PG_VERSION_NUM >= 180000
	expandRTE(rte, rti, 0, VAR_RETURNING_DEFAULT, -1, false, names, vars);
#else
	expandRTE(rte, rti, 0, -1, false, names, vars);
#endif
}

/* The range table of one query behind that of another; since 16 with the permissions that stand apart. */
static inline void
td_append_range_table_compat(Query *query, Query *more)
{
#if PG_VERSION_NUM >= 160000
	CombineRangeTables(&query->rtable, &query->rteperminfos, more->rtable, more->rteperminfos);
#else
	query->rtable = list_concat(query->rtable, more->rtable);
#endif
}

/* Since 18 grouped expressions stand in a range table entry of their own, named by columns; they are put back. */
static inline void
td_flatten_group_exprs_compat(Query *query)
{
#if PG_VERSION_NUM >= 180000
	if (!query->hasGroupRTE)
		return;
	query->targetList = (List *) flatten_group_exprs(NULL, query, (Node *) query->targetList);
	query->havingQual = flatten_group_exprs(NULL, query, query->havingQual);
#endif
}

/* Since 16 a column says which outer joins may make it null where it stands, so that one is not equal to the same elsewhere. */
static inline void
td_forget_nulling_compat(Var *var)
{
#if PG_VERSION_NUM >= 160000
	var->varnullingrels = NULL;
#endif
}

/* Since 18 a NOT NULL constraint may hold for new rows only. */
static inline bool
td_attribute_not_null_compat(TupleDesc desc, AttrNumber attnum)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescCompactAttr(desc, attnum - 1)->attnullability == ATTNULLABLE_VALID;
#else
	return TupleDescAttr(desc, attnum - 1)->attnotnull;
#endif
}

/* Since 18 a NOT NULL of a table is a constraint with a name: its column; 0 = the constraint is another one. */
static inline AttrNumber
td_not_null_column_compat(Oid constraint)
{
	AttrNumber	attnum = InvalidAttrNumber;
#if PG_VERSION_NUM >= 180000
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_constraint row = (Form_pg_constraint) GETSTRUCT(tuple);

		if (row->contype == CONSTRAINT_NOTNULL && OidIsValid(row->conrelid))
			attnum = extractNotNullColumn(tuple);
		ReleaseSysCache(tuple);
	}
#endif
	return attnum;
}

/* Since 16 the permissions of a query are apart from its range table. */
static inline void
td_check_permissions_compat(Query *query)
{
#if PG_VERSION_NUM >= 160000
	ExecCheckPermissions(query->rtable, query->rteperminfos, true);
#else
	ExecCheckRTPerms(query->rtable, true);
#endif
}

/* The same; asks for no rights on the relations that skip() names, at this level of the query. */
static inline void
td_skip_permissions_compat(Query *query, bool (*skip) (Oid relation))
{
	ListCell   *lc;

#if PG_VERSION_NUM >= 160000
	foreach(lc, query->rteperminfos)
	{
		RTEPermissionInfo *needed = lfirst_node(RTEPermissionInfo, lc);

		if (skip(needed->relid))
			needed->requiredPerms = 0;
	}
#else
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && skip(rte->relid))
			rte->requiredPerms = 0;
	}
#endif
}

/* A setting that nobody may change in this session any more, as one that is set when a connection is made; one that this version does not know is none. */
static inline void
td_guc_keep_compat(const char *name)
{
#if PG_VERSION_NUM >= 160000
	struct config_generic *setting = find_option(name, false, true, DEBUG1);

	if (setting)
		setting->context = PGC_BACKEND;
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(settings[i]->name, name) == 0)
			settings[i]->context = PGC_BACKEND;
#endif
}

/* Since 18 without saying that it is run once. */
#if PG_VERSION_NUM >= 180000
#define TD_RUN_ONCE_PARAM
#define TD_RUN_ONCE_ARG
#else
#define TD_RUN_ONCE_PARAM , bool once
#define TD_RUN_ONCE_ARG , once
#endif

static inline void
td_executor_run_compat(QueryDesc *query)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(query, ForwardScanDirection, 0);
#else
	ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

/* Since 18 a descriptor keeps a short form of each column, to be renewed after a change of the column by hand. */
static inline void
td_populate_compact_attribute_compat(TupleDesc desc, int i)
{
#if PG_VERSION_NUM >= 180000
	populate_compact_attribute(desc, i);
#endif
}

#endif							/* TD_COMPAT_H */
