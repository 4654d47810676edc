/*-------------------------------------------------------------------------
 *
 * stable_calls.c
 *		Does a query call functions which read what its range table does not name?
 *
 * NOTES
 *		Any backend with tapdata.read_your_writes.  Statements of a STABLE function
 *		see what the query sees that calls it, so it is that query which has to
 *		wait for the views that they read.  (Those of a VOLATILE one wait
 *		themselves; an IMMUTABLE one reads nothing.)  A plan names the functions
 *		that it calls, operators' too, by the hashes under which it would be
 *		forgotten if one of them changed; the hashes of all STABLE ones that are
 *		not built in are kept here, until some function changes.
 *
 *		Not found: what a domain's CHECK, an aggregate's own functions or input
 *		functions of types call.
 *
 * IDENTIFICATION
 *		src/view/sql/stable_calls.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "nodes/plannodes.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "view/sql/sql_internal.h"

static HTAB *stable = NULL;		/* of uint32, hashes; NULL = not known */
static uint64 changed = 0;		/* moves when a function was */

/* In the callback of the cache: the next query that calls a function looks again. */
static void
function_changed(Datum arg, int cache, uint32 hash)
{
	changed++;
}

/* Ours read no view but by its feed; they are asked for what is to be done about one, too. */
static bool
may_read_views(const FormData_pg_proc *function, Oid ours)
{
	return function->provolatile == PROVOLATILE_STABLE && function->oid >= FirstNormalObjectId && function->pronamespace != ours;
}

static HTAB *
find_stable(void)
{
	HASHCTL		ctl = {.keysize = sizeof(uint32),.entrysize = sizeof(uint32),.hcxt = TopMemoryContext};
	HTAB	   *found = hash_create("tapdata stable functions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Oid			ours = get_namespace_oid("tapdata", true);
	Relation	catalog = table_open(ProcedureRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		const FormData_pg_proc *function = (Form_pg_proc) GETSTRUCT(tuple);
		uint32		hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function->oid));

		if (may_read_views(function, ours))
			(void) hash_search(found, &hash, HASH_ENTER, NULL);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static void
know_stable(void)
{
	static uint64 known_at = 0;
	static bool listens = false;

	if (!listens)
		CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	listens = true;
	if (stable != NULL && known_at == changed)
		return;
	if (stable != NULL)
		hash_destroy(stable);
	stable = NULL;
	known_at = changed;
	stable = find_stable();
}

/* Cheap for plans that call nothing but what is built in. */
bool
td_calls_stable(const PlannedStmt *plan)
{
	bool		looked = false;
	ListCell   *lc;

	foreach(lc, plan->invalItems)
	{
		const PlanInvalItem *item = lfirst_node(PlanInvalItem, lc);

		if (item->cacheId != PROCOID)
			continue;
		if (!looked)
			know_stable();
		looked = true;
		if (hash_search(stable, &item->hashValue, HASH_FIND, NULL) != NULL)
			return true;
	}
	return false;
}
