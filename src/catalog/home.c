/*-------------------------------------------------------------------------
 *
 * home.c
 *		Which database a pipeline was made in, and adopting a copy.
 *
 * NOTES
 *		Each pipeline row carries its home: system identifier, database oid and
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
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
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
	Oid			extension = get_extension_oid("tapdata", true);

	if (!OidIsValid(extension))
		return InvalidOid;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	return get_extension_oid("tapdata", true) == extension ? extension : InvalidOid;
}

/* The home of what is made here and now. */
char *
td_home(void)
{
	return psprintf(UINT64_FORMAT "/%u/%u", GetSystemIdentifier(), MyDatabaseId,
					get_extension_oid("tapdata", true));
}

/* Was every pipeline of this catalog made (or adopted) here? */
bool
td_installation_is_here(void)
{
	static TdStatement foreign = {"SELECT 1 FROM tapdata.pipeline WHERE home <> $1 LIMIT 1", NULL};
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
			 errmsg("this database is a copy of another one, its pipelines are fenced"),
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

/* Moves each copied pipeline out of the fence; the supervisor starts those that their owners want. */
static void
unfence_all(void)
{
	static TdStatement copies = {"SELECT id FROM tapdata.pipeline WHERE home <> $1 ORDER BY id", NULL};
	static TdStatement adopt = {"UPDATE tapdata.pipeline SET home = $1 WHERE home <> $1", NULL};
	static TdStatement state = {
		"INSERT INTO tapdata.pipeline_state (pipeline) SELECT id FROM tapdata.pipeline "
	"ON CONFLICT (pipeline) DO NOTHING", NULL};
	uint64		n = TD_RUN(&copies, td_arg_text(td_home()));
	int32	   *ids = palloc(sizeof(int32) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
		ids[i] = td_col_int(i, 1);
	td_run(&state, 0, NULL);
	TD_RUN(&adopt, td_arg_text(td_home()));
	for (uint64 i = 0; i < n; i++)
	{
		td_pipeline_set_status(ids[i], "fenced");
		td_pipeline_set_status(ids[i], "stopped");
	}
	ereport(NOTICE,
			(errmsg_plural("%d pipeline was adopted", "%d pipelines were adopted", (int) n, (int) n)));
}

PG_FUNCTION_INFO_V1(td_sql_adopt_database);
PG_FUNCTION_INFO_V1(td_sql_home);

/* tapdata.adopt_database() */
Datum
td_sql_adopt_database(PG_FUNCTION_ARGS)
{
	TdCatalogScope scope;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_DATABASE_OWNER))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of the database to adopt it"),
				 errhint("Ask the owner of the database or a superuser to call tapdata.adopt_database().")));
	td_catalog_enter(&scope);
	resolve_relations();
	unfence_all();
	td_catalog_leave(&scope);
	if (td_library_preloaded())
		td_supervisor_wake_at_commit();
	PG_RETURN_VOID();
}

/* tapdata.home(): for the default of a column and for views. */
Datum
td_sql_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(td_home()));
}
