/*-------------------------------------------------------------------------
 *
 * explain.c
 *		explain_query, explain_view.
 *
 * NOTES
 *		Sessions.  Nothing is run and nothing is made; a query that can't be kept
 *		is the error that create_view would raise.
 *
 * IDENTIFICATION
 *		src/view/sql/explain.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "view/sql/sql_internal.h"

static void return_explained(FunctionCallInfo fcinfo, List *rows);

PG_FUNCTION_INFO_V1(td_sql_explain_query);
PG_FUNCTION_INFO_V1(td_sql_explain_view);

/* tapdata.explain_query(query) */
Datum
td_sql_explain_query(PG_FUNCTION_ARGS)
{
	char	   *sql = td_required_text(fcinfo, 0, "query");
	List	   *proofs;

	return_explained(fcinfo, td_parts_explain_query(td_query_total(td_query_analyse(sql), &proofs)));
	return (Datum) 0;
}

/* tapdata.explain_view(view) */
Datum
td_sql_explain_view(PG_FUNCTION_ARGS)
{
	TdView	   *view = td_view_named(td_required_oid(fcinfo, 0, "view"));
	TdViewScope scope;
	List	   *rows;

	td_view_require_reader(view);
	td_scope_enter(&scope, view, false);	/* functions of the owner are evaluated, where their arguments are constants */
	rows = td_parts_explain_view(view);
	td_scope_leave(&scope);
	return_explained(fcinfo, rows);
	return (Datum) 0;
}

static void
return_explained(FunctionCallInfo fcinfo, List *rows)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, rows)
	{
		TdExplained *e = lfirst(lc);
		Datum		values[] = {
			e->node ? CStringGetTextDatum(e->node) : (Datum) 0, e->strategy ? CStringGetTextDatum(e->strategy) : (Datum) 0,
			e->detail ? CStringGetTextDatum(e->detail) : (Datum) 0
		};
		bool		nulls[] = {e->node == NULL, e->strategy == NULL, e->detail == NULL};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
