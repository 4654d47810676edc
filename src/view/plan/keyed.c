/*-------------------------------------------------------------------------
 *
 * keyed.c
 *		Keyed queries as statements: the whole, the keys that changes touch, and
 *		the rows of some keys.
 *
 * NOTES
 *		As plan.c: in a transaction, with search_path pinned to pg_catalog;
 *		reads catalogs only.
 *
 * IDENTIFICATION
 *		src/view/plan/keyed.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "view/plan/plan_internal.h"

char *
td_plan_affected(const TdPlan *plan, const Bitmapset *changed)
{
	return NULL;
}

char *
td_plan_keyed(const TdPlan *plan, uint32 null_mask)
{
	return plan->core_sql;
}
