/*-------------------------------------------------------------------------
 *
 * home.c
 *		Which database pipelines and views were made in, and adopting a copy.
 *
 * NOTES
 *		Each row of a pipeline, view group or view carries its home: system identifier, database oid and
 *		oid of the extension.  The oid of the extension tells a restored dump
 *		even in the same database.  The mark is in the row itself and not in a
 *		table beside it, because pg_restore fills one table after the other, and
 *		a supervisor that looks in between must find every row it sees fenced.
 *
 * IDENTIFICATION
 *		src/catalog/home.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/catalog_internal.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "workers/workers.h"

/*
 * Locks the extension of this database until the transaction ends; InvalidOid
 * = there is none.  DROP EXTENSION locks the extension first and what belongs
 * to it after that: a worker that takes this lock first never meets it
 * half-way, in a deadlock or with half of the catalog gone.
 */
Oid
td_extension_hold(void)
{
	static Oid	held = InvalidOid;	/* before: as a rule it is still there, and need not be looked for twice */
	Oid			extension = OidIsValid(held) ? held : get_extension_oid("tapdata", true);
	bool		first = !OidIsValid(held);

	if (!OidIsValid(extension))
		return InvalidOid;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	if (get_extension_oid("tapdata", true) == extension)
		return held = extension;
	UnlockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	held = InvalidOid;
	return first ? InvalidOid : td_extension_hold();
}

/* The home of what is made here and now. */
char *
td_home(void)
{
	return psprintf(UINT64_FORMAT "/%u/%u", GetSystemIdentifier(), MyDatabaseId,
					get_extension_oid("tapdata", true));
}

/* Was every pipeline, view group and view of this catalog made (or adopted) here? */
bool
td_installation_is_here(void)
{
	static TdStatement foreign = {
		"SELECT 1 FROM tapdata.pipeline WHERE home <> $1 UNION ALL SELECT 1 FROM tapdata.view_group WHERE home <> $1 "
	"UNION ALL SELECT 1 FROM tapdata.view WHERE home <> $1 LIMIT 1", NULL};
	TdCatalogScope scope;
	bool		here;

	td_catalog_enter(&scope);
	here = TD_RUN(&foreign, td_arg_text(td_home())) == 0;
	td_catalog_leave(&scope);
	return here;
}

/* Raises in a copy that nobody has adopted. */
void
td_home_require(void)
{
	if (td_installation_is_here())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this database is a copy of another one, its pipelines and views are fenced"),
			 errhint("If the copy shall run on its own, let the database owner call SELECT tapdata.adopt_database().")));
}

/* Finds the tables again by name: their oids are those of the database copied from. */
static void
resolve_relations(void)
{
	static TdStatement relations = {
		"UPDATE tapdata.pipeline_table t SET relation = "
		"CASE WHEN s.published THEN to_regclass(format('%I.%I', t.target_schema, t.target_table)) "
		"ELSE to_regclass(format('tapdata_state.load_%s_%s', t.pipeline, t.n)) END "
		"FROM tapdata.pipeline_state s JOIN tapdata.pipeline p ON p.id = s.pipeline "
	"WHERE s.pipeline = t.pipeline AND t.relation IS NOT NULL AND p.home <> $1", NULL};

	TD_RUN(&relations, td_arg_text(td_home()));
}

/*
 * Finds views and their twins again.  In a copy of the database's files (the extension has its oid) the oids are still right, and names may have
 * changed; in a restored dump it is the other way round.  First each gets an oid that nobody has: the new ones may be other rows' old ones.
 */
static void
resolve_views(void)
{
	static TdStatement free_oids = {
		"UPDATE tapdata.view SET relation = (4294967295 - id)::oid, twin = (4294967295 - id)::oid, query = NULL "
	"WHERE home <> $1 AND (split_part(home, '/', 1), split_part(home, '/', 3)) <> (split_part($1, '/', 1), split_part($1, '/', 3))", NULL};
	static TdStatement relations = {
		"UPDATE tapdata.view SET relation = coalesce(to_regclass(format('%I.%I', table_schema, table_name))::oid, relation), "
		"twin = coalesce(to_regclass(format('%I.%I', CASE WHEN part_of IS NULL THEN 'tapdata_views' ELSE 'tapdata_parts' END, twin_name))::oid, twin), "
		"query = to_regclass(format('tapdata_parts.v%s_q', id)) "
	"WHERE home <> $1 AND (split_part(home, '/', 1), split_part(home, '/', 3)) <> (split_part($1, '/', 1), split_part($1, '/', 3))", NULL};
	static TdStatement lost = {
		"WITH lost AS (DELETE FROM tapdata.view v WHERE home <> $1 AND (NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = v.relation) OR "
		"NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = v.twin AND c.relkind = 'v')) "
	"RETURNING part_of, format('%I.%I', table_schema, table_name) AS name) SELECT name FROM lost WHERE part_of IS NULL", NULL};
	ListCell   *lc;

	TD_RUN(&free_oids, td_arg_text(td_home()));
	TD_RUN(&relations, td_arg_text(td_home()));
	TD_RUN(&lost, td_arg_text(td_home()));
	foreach(lc, td_col_all(1))
		ereport(WARNING,
				(errmsg("view %s was not adopted", (char *) lfirst(lc)),
				 errdetail("Its table, or the SQL view with its definition, is not in this database under the name it was made with."),
				 errhint("If it is still wanted, drop what is left of it and create it again.")));
}

/* What the copied views read, from what PostgreSQL knows of their twins; a twin that is read stands for its view. */
static void
resolve_bases(void)
{
	static TdStatement forget = {
	"DELETE FROM tapdata.view_base b USING tapdata.view v WHERE v.id = b.view AND v.home <> $1", NULL};
	static TdStatement find = {
		"INSERT INTO tapdata.view_base (view, relation, columns) SELECT v.id, coalesce(o.relation, d.refobjid), "
		"coalesce(array_agg(DISTINCT d.refobjsubid::int2) FILTER (WHERE d.refobjsubid > 0), '{}') "
		"FROM tapdata.view v JOIN pg_rewrite r ON r.ev_class = coalesce(v.query, v.twin) "
		"JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class "
	"LEFT JOIN tapdata.view o ON o.twin = d.refobjid WHERE v.home <> $1 GROUP BY 1, 2", NULL};

	TD_RUN(&forget, td_arg_text(td_home()));
	TD_RUN(&find, td_arg_text(td_home()));
}

/* Nothing that the copied views' progress says holds here: they are filled anew. */
static void
forget_progress(void)
{
	static TdStatement groups = {
		"UPDATE tapdata.group_state s SET snapshot = NULL, snapshot_time = NULL, bound = NULL, slot = NULL "
	"FROM tapdata.view_group g WHERE g.id = s.view_group AND g.home <> $1", NULL};
	static TdStatement views = {
		"UPDATE tapdata.view_state s SET status = 'created', since = clock_timestamp(), exact = false, filled = false, snapshot = NULL, "
		"snapshot_time = NULL, sqlstate = NULL, error = NULL, detail = NULL, hint = NULL "
	"FROM tapdata.view v WHERE v.id = s.view AND v.home <> $1", NULL};

	TD_RUN(&groups, td_arg_text(td_home()));
	TD_RUN(&views, td_arg_text(td_home()));
}

/* The statements that take one kind of thing out of the fence. */
typedef struct TdAdoption
{
	TdStatement copies;
	TdStatement state;			/* one without: a dump of definitions only */
	TdStatement adopt;
	TdStatusOf *status;			/* NULL = it has none that is fenced */
} TdAdoption;

#define ADOPTION(TABLE, STATE, ID, STATUS) { \
	.copies = {"SELECT id FROM tapdata." TABLE " WHERE home <> $1 ORDER BY id", NULL}, \
	.state = {"INSERT INTO tapdata." STATE " (" ID ") SELECT id FROM tapdata." TABLE " ON CONFLICT (" ID ") DO NOTHING", NULL}, \
	.adopt = {"UPDATE tapdata." TABLE " SET home = $1 WHERE home <> $1", NULL}, \
	.status = STATUS \
}

static TdAdoption adopt_pipelines = ADOPTION("pipeline", "pipeline_state", "pipeline", &td_status_of_pipeline);
static TdAdoption adopt_groups = ADOPTION("view_group", "group_state", "view_group", &td_status_of_group);
static TdAdoption adopt_views = ADOPTION("view", "view_state", "view", NULL);

/* Moves each copied one out of the fence; the supervisor starts those that are wanted.  Of int: their numbers. */
static List *
unfence(TdAdoption *of)
{
	uint64		n = TD_RUN(&of->copies, td_arg_text(td_home()));
	List	   *ids = NIL;
	ListCell   *lc;

	for (uint64 i = 0; i < n; i++)
		ids = lappend_int(ids, td_col_int(i, 1));
	td_run(&of->state, 0, NULL);
	TD_RUN(&of->adopt, td_arg_text(td_home()));
	foreach(lc, of->status ? ids : NIL)
	{
		td_status_set(of->status, lfirst_int(lc), "fenced");
		td_status_set(of->status, lfirst_int(lc), "stopped");
	}
	return ids;
}

PG_FUNCTION_INFO_V1(td_sql_home);

/* What came with a copy is of this database from now on.  Of int: numbers of the views, parts among them. */
List *
td_adopt(int *pipelines)
{
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *adopted;
	List	   *views;

	td_catalog_enter(&scope);
	resolve_relations();
	resolve_views();
	resolve_bases();
	td_identities_adopt();
	td_feeds_adopt();
	forget_progress();
	*pipelines = list_length(unfence(&adopt_pipelines));
	unfence(&adopt_groups);
	adopted = unfence(&adopt_views);
	td_views_bind();
	MemoryContextSwitchTo(caller);
	views = list_copy(adopted);
	td_catalog_leave(&scope);
	if (td_library_preloaded())
		td_supervisor_wake_at_commit();
	return views;
}

/* tapdata.home(): for the default of a column and for views. */
Datum
td_sql_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(td_home()));
}
