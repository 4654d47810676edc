/*-------------------------------------------------------------------------
 *
 * functions.c
 *		Which functions a view may call, and what an expression uses.
 *
 * NOTES
 *		A view is right only if the same row gives the same result at any tick.
 *		Immutable functions do.  Of the stable ones that are built in, those do
 *		that read nothing but settings, which the view then pins; they are
 *		listed by OID (all stable functions of 15 to 18 have been looked at), so
 *		that nothing can pass by its name.  A function that makes text of any
 *		value, and a cast through text, are as good as the output and input
 *		functions of the types they meet, down to elements and fields.
 *
 *		Known and accepted, with a notice: text like 'today' in a column that is
 *		cast to a date depends on the time (moments.c).  A tick that meets the
 *		row again may find that the view differs, and freeze it.
 *
 * IDENTIFICATION
 *		src/view/analyze/functions.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

/* Read settings, and nothing else. */
static const Oid reads_settings[] = {
	F_CONVERT, F_CONVERT_FROM, F_CONVERT_TO, F_LENGTH_BYTEA_NAME, F_DATE_TIMESTAMPTZ, F_DATE_LT_TIMESTAMPTZ, F_DATE_LE_TIMESTAMPTZ,
	F_DATE_EQ_TIMESTAMPTZ, F_DATE_GT_TIMESTAMPTZ, F_DATE_GE_TIMESTAMPTZ, F_DATE_NE_TIMESTAMPTZ, F_DATE_CMP_TIMESTAMPTZ, F_DATE_PART_TEXT_TIMESTAMPTZ,
	F_DATE_TRUNC_TEXT_TIMESTAMPTZ, F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT, F_EXTRACT_TEXT_TIMESTAMPTZ, F_INTERVAL_PL_TIMESTAMPTZ, F_JSONB_PATH_EXISTS_TZ,
	F_JSONB_PATH_MATCH_TZ, F_JSONB_PATH_QUERY_ARRAY_TZ, F_JSONB_PATH_QUERY_FIRST_TZ, F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8,
	F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8_TEXT, F_MONEY_INT4, F_MONEY_INT8, F_MONEY_NUMERIC, F_NUMERIC_MONEY,
	F_OVERLAPS_TIMESTAMPTZ_INTERVAL_TIMESTAMPTZ_INTERVAL, F_OVERLAPS_TIMESTAMPTZ_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL,
	F_OVERLAPS_TIMESTAMPTZ_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ, F_TIME_TIMESTAMPTZ, F_TIMESTAMP_TIMESTAMPTZ, F_TIMESTAMP_LT_TIMESTAMPTZ,
	F_TIMESTAMP_LE_TIMESTAMPTZ, F_TIMESTAMP_EQ_TIMESTAMPTZ, F_TIMESTAMP_GT_TIMESTAMPTZ, F_TIMESTAMP_GE_TIMESTAMPTZ, F_TIMESTAMP_NE_TIMESTAMPTZ,
	F_TIMESTAMP_CMP_TIMESTAMPTZ, F_TIMESTAMPTZ_DATE, F_TIMESTAMPTZ_DATE_TIME, F_TIMESTAMPTZ_TIMESTAMP, F_TIMESTAMPTZ_LT_DATE, F_TIMESTAMPTZ_LE_DATE,
	F_TIMESTAMPTZ_EQ_DATE, F_TIMESTAMPTZ_GT_DATE, F_TIMESTAMPTZ_GE_DATE, F_TIMESTAMPTZ_NE_DATE, F_TIMESTAMPTZ_CMP_DATE, F_TIMESTAMPTZ_LT_TIMESTAMP,
	F_TIMESTAMPTZ_LE_TIMESTAMP, F_TIMESTAMPTZ_EQ_TIMESTAMP, F_TIMESTAMPTZ_GT_TIMESTAMP, F_TIMESTAMPTZ_GE_TIMESTAMP, F_TIMESTAMPTZ_NE_TIMESTAMP,
	F_TIMESTAMPTZ_CMP_TIMESTAMP, F_TIMESTAMPTZ_MI_INTERVAL, F_TIMESTAMPTZ_PL_INTERVAL, F_TIMETZ_TIMESTAMPTZ, F_TO_CHAR_INTERVAL_TEXT,
	F_TO_CHAR_TIMESTAMPTZ_TEXT, F_TO_CHAR_NUMERIC_TEXT, F_TO_CHAR_INT4_TEXT, F_TO_CHAR_INT8_TEXT, F_TO_CHAR_FLOAT4_TEXT, F_TO_CHAR_FLOAT8_TEXT,
	F_TO_CHAR_TIMESTAMP_TEXT, F_TO_DATE, F_TO_NUMBER, F_TO_TIMESTAMP_TEXT_TEXT, F_TO_TSQUERY_TEXT, F_TO_TSVECTOR_TEXT, F_TO_TSVECTOR_JSONB,
	F_TO_TSVECTOR_JSON, F_JSONB_TO_TSVECTOR_JSONB_JSONB, F_JSON_TO_TSVECTOR_JSON_JSONB, F_PLAINTO_TSQUERY_TEXT, F_PHRASETO_TSQUERY_TEXT,
	F_WEBSEARCH_TO_TSQUERY_TEXT, F_TS_HEADLINE_TEXT_TSQUERY_TEXT, F_TS_HEADLINE_TEXT_TSQUERY, F_TS_HEADLINE_JSONB_TSQUERY_TEXT,
	F_TS_HEADLINE_JSONB_TSQUERY, F_TS_HEADLINE_JSON_TSQUERY_TEXT, F_TS_HEADLINE_JSON_TSQUERY, F_TS_MATCH_TQ, F_TS_MATCH_TT, F_XML,
	F_XML_IS_WELL_FORMED, F_AGE_TIMESTAMPTZ_TIMESTAMPTZ, F_QUOTE_IDENT, F_JSON_BUILD_ARRAY_, F_JSON_BUILD_OBJECT_, F_JSONB_BUILD_ARRAY_, F_JSONB_BUILD_OBJECT_,
	F_FORMAT_TEXT, F_GENERATE_SERIES_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL, F_JSONB_PATH_QUERY_TZ,
	/* since 16 and 17: date_add and date_subtract with interval, timezone(timestamptz) and (timestamp), that is AT LOCAL */
	6221, 6223, 6334, 6335
};

/* Make text of values of any type. */
static const Oid makes_text[] = {
	F_ANYTEXTCAT, F_TEXTANYCAT, F_ARRAY_TO_JSON_ANYARRAY, F_ARRAY_TO_JSON_ANYARRAY_BOOL, F_ARRAY_TO_STRING_ANYARRAY_TEXT_TEXT,
	F_ARRAY_TO_STRING_ANYARRAY_TEXT, F_CONCAT, F_CONCAT_WS, F_JSON_BUILD_ARRAY_ANY, F_JSON_BUILD_OBJECT_ANY, F_JSONB_BUILD_ARRAY_ANY,
	F_JSONB_BUILD_OBJECT_ANY, F_QUOTE_LITERAL_ANYELEMENT, F_QUOTE_NULLABLE_ANYELEMENT, F_ROW_TO_JSON_RECORD, F_ROW_TO_JSON_RECORD_BOOL, F_TO_JSON,
	F_TO_JSONB, F_FORMAT_TEXT_ANY, F_JSON_AGG, F_JSON_OBJECT_AGG, F_JSONB_AGG, F_JSONB_OBJECT_AGG
};

/* Input and output functions that read settings, and nothing else. */
static const Oid text_functions[] = {
	F_DATE_IN, F_DATE_OUT, F_TIME_IN, F_TIMESTAMP_IN, F_TIMESTAMP_OUT, F_TIMESTAMPTZ_IN, F_TIMESTAMPTZ_OUT, F_INTERVAL_IN, F_INTERVAL_OUT,
	F_CASH_IN, F_CASH_OUT, F_XML_IN
};

#define LISTED(function, list) is_listed(function, list, lengthof(list))

typedef struct Walk
{
	TdUses	   *uses;
	TdError    *err;
	bool		ok;
	Oid			type;			/* the last one that can't become text */
	bool		takes_now;		/* text that became a value, became a moment */
} Walk;

static bool uses_type(Walk *walk, Oid type, bool input);

static bool
is_listed(Oid function, const Oid *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (list[i] == function)
			return true;
	}
	return false;
}

/* Only the first refusal is told. */
static void
refuse(Walk *walk, TdConstruct construct, const char *what)
{
	if (walk->ok)
		td_refuse(walk->err, construct, what);
	walk->ok = false;
}

/* A function that is not built in may read search_path in its body: pinned. */
static void
note_function(Walk *walk, Oid function)
{
	if (function < FirstGenbkiObjectId)
		return;
	walk->uses->functions = list_append_unique_oid(walk->uses->functions, function);
	walk->uses->pinned = true;
}

/* The types that the expression names, and that somebody could change. */
static void
note_type(Walk *walk, Node *node)
{
	static const NodeTag named[] = {T_Const, T_RelabelType, T_CoerceViaIO, T_CoerceToDomain, T_ArrayCoerceExpr, T_ArrayExpr, T_RowExpr, T_FuncExpr};

	for (int i = 0; i < lengthof(named); i++)
	{
		if (nodeTag(node) == named[i] && exprType(node) >= FirstNormalObjectId)
			walk->uses->types = list_append_unique_oid(walk->uses->types, exprType(node));
	}
}

/* ---- functions ---- */

/* Callback of check_functions_in_node: never stops it. */
static bool
uses_function(Oid function, void *context)
{
	Walk	   *walk = context;

	note_function(walk, function);
	if (LISTED(function, reads_settings) || LISTED(function, makes_text))
	{
		walk->uses->pinned = true;
		return false;
	}
	switch (func_volatile(function))
	{
		case PROVOLATILE_IMMUTABLE:
			break;
		case PROVOLATILE_STABLE:
			refuse(walk, function < FirstGenbkiObjectId ? TD_NOT_STABLE : TD_NOT_STABLE_USER, format_procedure(function));
			break;
		default:
			refuse(walk, function < FirstGenbkiObjectId ? TD_NOT_VOLATILE : TD_NOT_VOLATILE_USER, format_procedure(function));
	}
	return false;
}

/* ---- values as text ---- */

static bool
uses_type_function(Walk *walk, Oid type, bool input)
{
	Oid			function,
				param;
	bool		varlena;

	if (input)
		getTypeInputInfo(type, &function, &param);
	else
		getTypeOutputInfo(type, &function, &varlena);
	note_function(walk, function);
	walk->type = type;
	walk->takes_now = walk->takes_now || (input && td_input_takes_now(function));
	return LISTED(function, text_functions) || func_volatile(function) == PROVOLATILE_IMMUTABLE;
}

/* JSON is made of values of a type that is not built in by its cast to json, where it has one; of arrays and rows always by their parts. */
static bool
uses_json_cast(Walk *walk, Oid type)
{
	Oid			function;

	if (type < FirstNormalObjectId || find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &function) != COERCION_PATH_FUNC)
		return true;
	note_function(walk, function);
	walk->type = type;
	return func_volatile(function) == PROVOLATILE_IMMUTABLE;
}

static bool
uses_fields(Walk *walk, Oid type, bool input)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !uses_type(walk, att->atttypid, input))
			return false;
	}
	return true;
}

/* Can values of type become text (or come from it) by settings alone? */
static bool
uses_type(Walk *walk, Oid type, bool input)
{
	check_stack_depth();
	if (type >= FirstNormalObjectId)
		walk->uses->types = list_append_unique_oid(walk->uses->types, type);
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			return uses_type(walk, getBaseType(type), input);
		case TYPTYPE_COMPOSITE:
			return uses_fields(walk, type, input);
		case TYPTYPE_RANGE:
			return uses_type(walk, get_range_subtype(type), input) && (input || uses_json_cast(walk, type));
		case TYPTYPE_MULTIRANGE:
			return uses_type(walk, get_multirange_range(type), input) && (input || uses_json_cast(walk, type));
		case TYPTYPE_ENUM:
			return input || uses_json_cast(walk, type);
		case TYPTYPE_PSEUDO:
			walk->type = type;
			return type == CSTRINGOID || type == UNKNOWNOID;
		default:
			if (OidIsValid(get_element_type(type)))
				return uses_type(walk, get_element_type(type), input);
			return uses_type_function(walk, type, input) && (input || uses_json_cast(walk, type));
	}
}

static void uses_text_of(Walk *walk, Node *node);

/* ROW(...) without a type of its own: its fields, which the query itself spells out. */
static void
uses_text_of_row(Walk *walk, RowExpr *row)
{
	ListCell   *lc;

	foreach(lc, row->args)
		uses_text_of(walk, lfirst(lc));
}

static void
uses_text_of(Walk *walk, Node *node)
{
	if (IsA(node, TargetEntry))
		node = (Node *) ((TargetEntry *) node)->expr;
	walk->uses->pinned = true;
	if (exprType(node) == RECORDOID && IsA(node, RowExpr))
		uses_text_of_row(walk, (RowExpr *) node);
	else if (exprType(node) == RECORDOID && IsA(node, Var) && walk->uses->keyed)
		walk->uses->rows = true;
	else if (!uses_type(walk, exprType(node), false))
		refuse(walk, TD_NOT_TYPE_TEXT, format_type_be(walk->type));
}

static void
uses_text_of_all(Walk *walk, List *arguments)
{
	ListCell   *lc;

	foreach(lc, arguments)
		uses_text_of(walk, lfirst(lc));
}

/* ---- nodes ---- */

static void
uses_moment(Walk *walk, Node *value, Oid type)
{
	if (td_value_is_now(value))
		refuse(walk, TD_NOT_NOW_TEXT, format_type_be(type));
	walk->uses->moments = walk->uses->moments || !td_value_is_spelt_out(value);
}

static void
uses_cast(Walk *walk, CoerceViaIO *cast)
{
	uses_text_of(walk, (Node *) cast->arg);
	walk->takes_now = false;
	if (!uses_type(walk, cast->resulttype, true))
		refuse(walk, TD_NOT_TYPE_TEXT, format_type_be(walk->type));
	if (walk->takes_now)
		uses_moment(walk, (Node *) cast->arg, cast->resulttype);
}

/* The cast of an element is looked at as a node of its own, without knowing of what. */
static void
uses_array_cast(Walk *walk, ArrayCoerceExpr *cast)
{
	if (!IsA(cast->elemexpr, CoerceViaIO))
		return;
	walk->takes_now = false;
	(void) uses_type(walk, cast->resulttype, true);
	if (walk->takes_now)
		uses_moment(walk, (Node *) cast->arg, cast->resulttype);
}

static const char *
value_name(const SQLValueFunction *value)
{
	static const char *const names[] = {
		[SVFOP_CURRENT_DATE] = "CURRENT_DATE",
		[SVFOP_CURRENT_TIME] = "CURRENT_TIME",
		[SVFOP_CURRENT_TIME_N] = "CURRENT_TIME",
		[SVFOP_CURRENT_TIMESTAMP] = "CURRENT_TIMESTAMP",
		[SVFOP_CURRENT_TIMESTAMP_N] = "CURRENT_TIMESTAMP",
		[SVFOP_LOCALTIME] = "LOCALTIME",
		[SVFOP_LOCALTIME_N] = "LOCALTIME",
		[SVFOP_LOCALTIMESTAMP] = "LOCALTIMESTAMP",
		[SVFOP_LOCALTIMESTAMP_N] = "LOCALTIMESTAMP",
		[SVFOP_CURRENT_ROLE] = "CURRENT_ROLE",
		[SVFOP_CURRENT_USER] = "CURRENT_USER",
		[SVFOP_USER] = "USER",
		[SVFOP_SESSION_USER] = "SESSION_USER",
		[SVFOP_CURRENT_CATALOG] = "CURRENT_CATALOG",
		[SVFOP_CURRENT_SCHEMA] = "CURRENT_SCHEMA"
	};

	return value->op < lengthof(names) ? names[value->op] : "this SQL value";
}

/* The arguments of a call whose function makes text of them; NIL = it does not. */
static List *
text_arguments(Node *node)
{
	if (IsA(node, FuncExpr) && LISTED(((FuncExpr *) node)->funcid, makes_text))
		return ((FuncExpr *) node)->args;
	if (IsA(node, OpExpr) && LISTED(((OpExpr *) node)->opfuncid, makes_text))
		return ((OpExpr *) node)->args;
	if (IsA(node, Aggref) && LISTED(((Aggref *) node)->aggfnoid, makes_text))
		return ((Aggref *) node)->args;
	if (IsA(node, WindowFunc) && LISTED(((WindowFunc *) node)->winfnoid, makes_text))
		return ((WindowFunc *) node)->args;
	if (IsA(node, XmlExpr))
		return list_concat_copy(((XmlExpr *) node)->named_args, ((XmlExpr *) node)->args);
	return NIL;
}

/* Those that are built in give the same result for the same rows, but some that make text. */
static bool
is_plain_aggregate(Node *node)
{
	return IsA(node, Aggref) && func_volatile(((Aggref *) node)->aggfnoid) == PROVOLATILE_IMMUTABLE;
}

static void
uses_node(Walk *walk, Node *node)
{
	if (IsA(node, CoerceViaIO))
		uses_cast(walk, (CoerceViaIO *) node);
	else if (IsA(node, ArrayCoerceExpr))
		uses_array_cast(walk, (ArrayCoerceExpr *) node);
	else if (IsA(node, SQLValueFunction))
		refuse(walk, TD_NOT_SESSION_VALUE, value_name((SQLValueFunction *) node));
	else if (!is_plain_aggregate(node))
		check_functions_in_node(node, uses_function, walk);
	uses_text_of_all(walk, text_arguments(node));
	if (IsA(node, XmlExpr) || IsA(node, CoerceToDomain))
		walk->uses->pinned = true;
	note_type(walk, node);
}

static bool
walker(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	uses_node(walk, node);
	return expression_tree_walker(node, walker, walk);
}

bool
td_collect_uses(Node *node, TdUses *uses, TdError *err)
{
	Walk		walk = {.uses = uses,.err = err,.ok = true};

	walker(node, &walk);
	return walk.ok;
}

/* As if text were made of these; false = refused. */
bool
td_collect_text_uses(List *exprs, TdUses *uses, TdError *err)
{
	Walk		walk = {.uses = uses,.err = err,.ok = true};

	uses_text_of_all(&walk, exprs);
	return walk.ok;
}
