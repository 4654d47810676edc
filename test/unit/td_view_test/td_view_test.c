/*-------------------------------------------------------------------------
 *
 * td_view_test.c
 *		SQL functions that show what view/analyze makes of a query.
 *
 * NOTES
 *		A shape as text:
 *		 r<n>=table(columns used)[local quals]   an occurrence; v before it: a live view
 *		 quals=n   keys=k   agg(kinds, ~ = not exact)   having
 *		 (outputs)  r1.2 a column, g3 a column of the group's row, e another expression; ! = never null
 *		 unique=columns   pinned
 *		A refusal is its message.
 *
 * test/unit/td_view_test/td_view_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "util/util.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/view_internal.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_view_test_shape);
PG_FUNCTION_INFO_V1(td_view_test_twin);
PG_FUNCTION_INFO_V1(td_view_test_fingerprint);
PG_FUNCTION_INFO_V1(td_view_test_settings);
PG_FUNCTION_INFO_V1(td_view_test_explain);

static Query *
parse(text *sql)
{
	const char *string = text_to_cstring(sql);
	List	   *statements = pg_parse_query(string);

	if (list_length(statements) != 1)
		elog(ERROR, "one statement, please");
	return parse_analyze_fixedparams(linitial_node(RawStmt, statements), string, NULL, 0, NULL);
}

static void
put_occurrence(StringInfo out, const TdOccurrence *o)
{
	int			attnum = -1;
	const char *separator = "";

	appendStringInfo(out, "%sr%d=%s(", o->view ? "v" : "", o->n, get_rel_name(o->relid));
	while ((attnum = bms_next_member(o->columns, attnum)) >= 0)
	{
		appendStringInfo(out, "%s%d", separator, attnum);
		separator = ",";
	}
	appendStringInfoChar(out, ')');
	if (o->local)
		appendStringInfo(out, "[%d]", list_length(o->local));
	appendStringInfoChar(out, ' ');
}

static void
put_aggregates(StringInfo out, const TdShape *shape)
{
	static const char *const names[] = {"rows", "count", "sum", "avg", "min", "max"};

	for (int i = 0; i < shape->naggregates; i++)
		appendStringInfo(out, "%s%s%s", i ? "," : " agg(", names[shape->aggregates[i].kind], shape->aggregates[i].exact ? "" : "~");
	if (shape->naggregates > 0)
		appendStringInfoChar(out, ')');
}

static int
occurrence_number(const TdShape *shape, int rti)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		if (shape->occurrences[i].rti == rti)
			return i + 1;
	}
	return 0;
}

static void
put_outputs(StringInfo out, const TdShape *shape)
{
	appendStringInfoString(out, " (");
	for (int i = 0; i < shape->ncolumns; i++)
	{
		Expr	   *expr = list_nth_node(TargetEntry, shape->outputs, i)->expr;
		Var		   *var = (Var *) expr;

		appendStringInfoString(out, i ? ", " : "");
		if (!IsA(expr, Var))
			appendStringInfoChar(out, 'e');
		else if (shape->grouped)
			appendStringInfo(out, "g%d", var->varattno);
		else
			appendStringInfo(out, "r%d.%d", occurrence_number(shape, var->varno), var->varattno);
		if (shape->columns[i].not_null)
			appendStringInfoChar(out, '!');
	}
	appendStringInfoChar(out, ')');
}

static char *
shape_text(const TdShape *shape)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	for (int i = 0; i < shape->noccurrences; i++)
		put_occurrence(&out, &shape->occurrences[i]);
	if (shape->keyed)
		appendStringInfo(&out, "keyed=%d%s", shape->keyed->nkeys, shape->keyed->stored ? "" : " state");
	else
		appendStringInfo(&out, "quals=%d", list_length(shape->quals));
	if (shape->grouped)
		appendStringInfo(&out, " keys=%d%s", list_length(shape->keys), shape->one_group ? " one" : "");
	put_aggregates(&out, shape);
	if (shape->having)
		appendStringInfoString(&out, " having");
	if (shape->keyed == NULL)
		put_outputs(&out, shape);
	foreach(lc, shape->unique)
		appendStringInfo(&out, "%s%d", lc == list_head(shape->unique) ? " unique=" : ",", lfirst_int(lc));
	if (shape->pinned)
		appendStringInfoString(&out, " pinned");
	return out.data;
}

static Datum
shape_or_refusal(Query *query, Oid owner)
{
	TdError		err = {0};
	TdShape    *shape = td_analyze(query, owner, &err);

	if (shape)
		return CStringGetTextDatum(shape_text(shape));
	if (strcmp(err.sqlstate, "0A000") != 0 || !err.detail[0] || !err.hint[0])
		elog(ERROR, "refusal without detail or hint: %s %s", err.sqlstate, err.message);
	return CStringGetTextDatum(err.message);
}

/* td_view_test.shape(query, owner) */
Datum
td_view_test_shape(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(shape_or_refusal(parse(PG_GETARG_TEXT_PP(0)), PG_GETARG_OID(1)));
}

/* td_view_test.twin(twin) */
Datum
td_view_test_twin(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(shape_or_refusal(td_twin_query(PG_GETARG_OID(0)), GetUserId()));
}

static TdShape *
shape_of(text *sql)
{
	TdError		err = {0};
	TdShape    *shape = td_analyze(parse(sql), GetUserId(), &err);

	if (shape == NULL)
		td_error_raise(&err);
	return shape;
}

/* td_view_test.fingerprint(query) */
Datum
td_view_test_fingerprint(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(td_fingerprint(shape_of(PG_GETARG_TEXT_PP(0)))));
}

/* td_view_test.settings() */
Datum
td_view_test_settings(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(td_settings_now());
}

/* td_view_test.explain(query) */
Datum
td_view_test_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, td_explain(shape_of(PG_GETARG_TEXT_PP(0))))
	{
		TdExplained *row = lfirst(lc);
		Datum		values[3] = {CStringGetTextDatum(row->node), CStringGetTextDatum(row->strategy), CStringGetTextDatum(row->detail)};
		bool		nulls[3] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
