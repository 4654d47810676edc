/*-------------------------------------------------------------------------
 *
 * guard.c
 *		The write guard: a statement trigger on mirrored tables and live views
 *		that refuses users' writes, and one on twins for each row.
 *
 * NOTES
 *		Sessions.  Workers write as replication role replica, where the trigger
 *		does not fire.  It guards against mistakes, not against the table's
 *		owner, who may drop it.
 *
 *		A twin that is simple enough PostgreSQL would let be written through, to the
 *		tables that it reads.  With an INSTEAD OF trigger it does not, whatever the
 *		replication role: where the trigger does not fire, nothing is written.
 *
 * IDENTIFICATION
 *		src/catalog/guard.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "catalog/dependency.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static char *keeper(Relation rel, bool *is_view);
static void guard_on(Oid relation);
static void guard_off(Oid relation);
static void go_with_extension(Oid trigger);

PG_FUNCTION_INFO_V1(td_sql_refuse_write);

/* tapdata.refuse_write(): the trigger function */
Datum
td_sql_refuse_write(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	char	   *table;
	char	   *pipeline;
	TdView	   *whole;
	bool		is_view;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("tapdata.refuse_write() is a trigger function"),
				 errhint("It is put on mirrored tables and live views by tapdata itself.")));
	table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(trigger->tg_relation)),
									   RelationGetRelationName(trigger->tg_relation));
	if (TRIGGER_FIRED_INSTEAD(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view %s can only be read", table),
				 errdetail("It is the definition of a live view."),
				 errhint("Change the rows of the tables that it is made of.")));
	pipeline = keeper(trigger->tg_relation, &is_view);
	whole = is_view ? td_view_of(RelationGetRelid(trigger->tg_relation), true) : NULL;
	if (whole && whole->part_of != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is a part of live view %s", table, whole->name),
				 errdetail("It is kept equal to a part of its query."),
				 errhint("Change the rows that the view is made of.")));
	if (is_view)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is a live view", table),
				 errdetail("It is kept equal to its query."),
				 errhint("Change the rows that it is made of; or allow writes here: SELECT tapdata.alter_view(%s, '{\"writable\": true}').",
						 quote_literal_cstr(table))));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 pipeline ? errmsg("table %s is kept by mirror \"%s\"", table, pipeline) :
			 errmsg("table %s was kept by a mirror", table),
			 pipeline ? errhint("Change the rows at the source; or allow writes here: SELECT tapdata.alter_pipeline(%s, '{\"writable\": true}').",
								quote_literal_cstr(pipeline)) :
			 errhint("If no mirror keeps it any more: DROP TRIGGER %s ON %s.",
					 quote_identifier(trigger->tg_trigger->tgname), table)));
	return PointerGetDatum(NULL);
}

/* The pipeline that keeps a table, or whether it is a view; in a copied database the oid is another one, the name is not. */
static char *
keeper(Relation rel, bool *is_view)
{
	static TdStatement find = {
		"SELECT p.name, t.relation = $1, false FROM tapdata.pipeline_table t JOIN tapdata.pipeline p ON p.id = t.pipeline "
		"WHERE t.relation = $1 OR (t.target_schema = $2 AND t.target_table = $3) UNION ALL "
		"SELECT NULL, v.relation = $1, true FROM tapdata.view v WHERE v.relation = $1 OR (v.table_schema = $2 AND v.table_name = $3) "
	"ORDER BY 2 DESC LIMIT 1", NULL};
	TdCatalogScope scope;
	char	   *name = NULL;

	*is_view = false;
	td_catalog_enter(&scope);
	if (TD_RUN(&find, td_arg_oid(RelationGetRelid(rel)), td_arg_text(get_namespace_name(RelationGetNamespace(rel))),
			   td_arg_text(RelationGetRelationName(rel))) == 1)
	{
		name = td_col_text(0, 1);
		*is_view = td_col_bool(0, 3);
	}
	td_catalog_leave(&scope);
	return name;
}

/* Puts the guard on all published targets of a pipeline, or takes it off. */
void
td_write_guards(int32 pipeline, bool on)
{
	ListCell   *lc;

	foreach(lc, td_pipeline_tables(pipeline))
	{
		Oid			relation = ((TdPipelineTable *) lfirst(lc))->relation;

		if (OidIsValid(relation))
			td_write_guard(relation, on);
	}
}

/* Puts the guard on one table, or takes it off; a table that is gone needs none. */
void
td_write_guard(Oid relation, bool on)
{
	LockRelationOid(relation, ShareRowExclusiveLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		UnlockRelationOid(relation, ShareRowExclusiveLock);
	else if (on)
		guard_on(relation);
	else
		guard_off(relation);
}

/* The oid of a table's guard, whatever its name. */
static Oid
find_guard(Oid relation)
{
	static TdStatement find = {
		"SELECT oid FROM pg_trigger WHERE tgrelid = $1 AND tgfoid = 'tapdata.refuse_write'::regproc LIMIT 1", NULL};
	TdCatalogScope scope;
	Oid			trigger = InvalidOid;

	td_catalog_enter(&scope);
	if (TD_RUN(&find, td_arg_oid(relation)) == 1)
		trigger = td_col_int(0, 1);
	td_catalog_leave(&scope);
	return trigger;
}

/* On a new twin; as the extension. */
void
td_twin_guard(Oid twin)
{
	td_run_as_caller(psprintf("CREATE TRIGGER tapdata_refuse_write INSTEAD OF INSERT OR UPDATE OR DELETE ON %s "
							  "FOR EACH ROW EXECUTE FUNCTION tapdata.refuse_write()",
							  quote_qualified_identifier(get_namespace_name(get_rel_namespace(twin)), get_rel_name(twin))));
	go_with_extension(find_guard(twin));
}

/* The table is locked by the caller, so its name stays. */
static void
guard_on(Oid relation)
{
	TdCatalogScope scope;
	char	   *table;

	if (OidIsValid(find_guard(relation)))
		return;
	table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
	td_catalog_enter(&scope);
	td_run_as_caller(psprintf("CREATE TRIGGER tapdata_refuse_write BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s "
							  "FOR EACH STATEMENT EXECUTE FUNCTION tapdata.refuse_write()", table));
	td_catalog_leave(&scope);
	go_with_extension(find_guard(relation));
}

/*
 * As ALTER TRIGGER ... DEPENDS ON EXTENSION, whose exclusive lock on the
 * extension would wait for every worker in the middle of something, a fill that
 * takes hours among them.
 */
static void
go_with_extension(Oid trigger)
{
	ObjectAddress guard;
	ObjectAddress extension;

	ObjectAddressSet(guard, TriggerRelationId, trigger);
	ObjectAddressSet(extension, ExtensionRelationId, td_extension_hold());
	if (OidIsValid(extension.objectId))
		recordDependencyOn(&guard, &extension, DEPENDENCY_AUTO_EXTENSION);
}

static void
guard_off(Oid relation)
{
	ObjectAddress address;
	Oid			trigger = find_guard(relation);

	if (!OidIsValid(trigger))
		return;
	ObjectAddressSet(address, TriggerRelationId, trigger);
	performDeletion(&address, DROP_RESTRICT, 0);
}
