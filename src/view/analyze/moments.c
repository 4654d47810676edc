/*-------------------------------------------------------------------------
 *
 * moments.c
 *		Text that becomes a moment: 'now', 'today', 'yesterday', 'tomorrow' mean
 *		another one at each reading.
 *
 * NOTES
 *		Only what the query itself spells out can be seen here: a constant, also
 *		one of several values that an expression passes on, coalesce(at, 'now').
 *		What stands in rows can't.  A literal that never was a value of type text
 *		(timestamptz 'now') is a moment once the query has been parsed, and stays it.
 *
 * IDENTIFICATION
 *		src/view/analyze/moments.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "view/analyze/analyze_internal.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool
td_input_takes_now(Oid input)
{
	return input == F_DATE_IN || input == F_TIME_IN || input == F_TIMESTAMP_IN || input == F_TIMESTAMPTZ_IN;
}

/* Is one of the words in it?  Within an array, a range or a row, too. */
static bool
says_now(const char *text)
{
	static const char *const words[] = {"now", "today", "yesterday", "tomorrow"};

	for (const char *p = text + strcspn(text, LETTERS); *p; p += strcspn(p, LETTERS))
	{
		size_t		len = strspn(p, LETTERS);

		for (int i = 0; i < lengthof(words); i++)
		{
			if (strlen(words[i]) == len && pg_strncasecmp(p, words[i], len) == 0)
				return true;
		}
		p += len;
	}
	return false;
}

/* Text, or an array of it. */
static bool
constant_says_now(const Const *c)
{
	Oid			element = get_element_type(c->consttype);
	Oid			type = getBaseType(OidIsValid(element) ? element : c->consttype);
	Oid			output;
	bool		varlena;

	if (c->constisnull || type >= FirstNormalObjectId || (TypeCategory(type) != TYPCATEGORY_STRING && type != CSTRINGOID && type != UNKNOWNOID))
		return false;
	getTypeOutputInfo(c->consttype, &output, &varlena);
	return says_now(OidOutputFunctionCall(output, c->constvalue));
}

static bool
any_is_now(List *values)
{
	ListCell   *lc;

	foreach(lc, values)
	{
		if (td_value_is_now(lfirst(lc)))
			return true;
	}
	return false;
}

static bool
case_is_now(const CaseExpr *c)
{
	ListCell   *lc;

	foreach(lc, c->args)
	{
		if (td_value_is_now((Node *) lfirst_node(CaseWhen, lc)->result))
			return true;
	}
	return td_value_is_now((Node *) c->defresult);
}

static bool
is_users(Oid function, void *context)
{
	return function >= FirstGenbkiObjectId;
}

/* Something that can't be computed here: a function that somebody wrote, or a value that is not spelt out. */
static bool
is_open(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, Var) || IsA(node, Param) || IsA(node, SubLink) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc) ||
		IsA(node, CaseTestExpr) || check_functions_in_node(node, is_users, NULL) || expression_tree_walker(node, is_open, context);
}

/* A call of constants. */
static bool
call_is_now(Node *node)
{
	Node	   *folded;

	if (is_open(node, NULL))
		return false;
	folded = eval_const_expressions(NULL, copyObject(node));
	return IsA(folded, Const) && constant_says_now((Const *) folded);
}

/* May a value of the expression, become a moment, be another one at each reading, whatever the rows are? */
bool
td_value_is_now(Node *node)
{
	if (node == NULL)
		return false;
	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_Const:
			return constant_says_now((Const *) node);
		case T_RelabelType:
			return td_value_is_now((Node *) ((RelabelType *) node)->arg);
		case T_CollateExpr:
			return td_value_is_now((Node *) ((CollateExpr *) node)->arg);
		case T_CoerceViaIO:
			return td_value_is_now((Node *) ((CoerceViaIO *) node)->arg);
		case T_CoerceToDomain:
			return td_value_is_now((Node *) ((CoerceToDomain *) node)->arg);
		case T_ArrayCoerceExpr:
			return td_value_is_now((Node *) ((ArrayCoerceExpr *) node)->arg);
		case T_CoalesceExpr:
			return any_is_now(((CoalesceExpr *) node)->args);
		case T_MinMaxExpr:
			return any_is_now(((MinMaxExpr *) node)->args);
		case T_ArrayExpr:
			return any_is_now(((ArrayExpr *) node)->elements);
		case T_NullIfExpr:
			return td_value_is_now(linitial(((NullIfExpr *) node)->args));
		case T_CaseExpr:
			return case_is_now((CaseExpr *) node);
		case T_FuncExpr:
		case T_OpExpr:
			return call_is_now(node);
		default:
			return false;
	}
}

/* Is it made of the query's own constants alone? */
bool
td_value_is_spelt_out(Node *node)
{
	return !is_open(node, NULL);
}
