/*-------------------------------------------------------------------------
 *
 * adopt.c
 *		adopt_database: what came with a copy may run here.
 *
 * NOTES
 *		Sessions.  Tables, views and what was remembered of them are found again by
 *		catalog/.  Here: what a dump does not tell of views.  Unique indexes that
 *		prove their keys, and without which an order would not be total, are what
 *		their queries depend on; a view that can't be analysed gets none, its
 *		worker will say why.
 *
 * IDENTIFICATION
 *		src/view/sql/adopt.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "util/util.h"

#include "view/sql/sql_internal.h"

static void try_to_protect(const TdView *view);
static void protect(const TdView *view);

PG_FUNCTION_INFO_V1(td_sql_adopt_database);

/* tapdata.adopt_database() */
Datum
td_sql_adopt_database(PG_FUNCTION_ARGS)
{
	int			pipelines;
	int			views = 0;
	List	   *adopted;
	ListCell   *lc;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_DATABASE_OWNER))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of the database to adopt it"),
				 errhint("Ask the owner of the database or a superuser to call tapdata.adopt_database().")));
	adopted = td_adopt(&pipelines);
	CommandCounterIncrement();
	foreach(lc, adopted)
	{
		TdView	   *view = td_view_load(lfirst_int(lc));

		views += view->part_of == 0;
		CacheInvalidateRelcacheByRelid(view->relation); /* who has looked before took it for an ordinary table (read_writes.c) */
		try_to_protect(view);
	}
	ereport(NOTICE,
			(errmsg_plural("%d pipeline was adopted", "%d pipelines were adopted", pipelines, pipelines)));
	if (views > 0)
		ereport(NOTICE,
				(errmsg_plural("%d view was adopted, it is filled anew", "%d views were adopted, they are filled anew", views, views)));
	PG_RETURN_VOID();
}

static void
try_to_protect(const TdView *view)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		protect(view);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

/* As create_view does. */
static void
protect(const TdView *view)
{
	TdQuestion	question = {td_twin_query(view->query), view->owner, view->keeps, view->allow_full};
	TdViewScope scope;
	List	   *total = NIL;
	List	   *proofs;
	TdError		unused = {0};

	td_scope_enter(&scope, view, false);
	(void) td_make_total(td_twin_query(view->twin), &total, &unused);
	proofs = td_find_proofs(&question, list_concat_unique_oid(td_twin_proofs(view->query), total), td_run_fits, unconstify(TdView *, view));
	td_scope_leave(&scope);
	td_twin_needs(view->twin, total);
	td_twin_needs(view->query, proofs);
}
