/*-------------------------------------------------------------------------
 *
 * execute.c
 *		EXECUTE on the functions that a query calls.
 *
 * NOTES
 *		The executor asks for it, too, but only of what is called in a plan: not of
 *		aggregates that are kept by counters, nor of a plan that was made before a
 *		right was revoked; and it would tell who makes a view only once the view is
 *		filled.  As the executor does, this asks for functions, operators and
 *		aggregates, not for the input and output functions of types.
 *
 * IDENTIFICATION
 *		src/view/analyze/execute.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat/compat.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/regproc.h"

#include "view/view_internal.h"

static bool
require(Oid function, void *context)
{
	Oid			role = *(Oid *) context;

	if (!td_function_allows_compat(function, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", format_procedure(function)),
				 errhint("GRANT EXECUTE ON FUNCTION %s TO %s;", format_procedure_qualified(function),
						 quote_identifier(GetUserNameFromId(role, false)))));
	return false;
}

static bool
walker(Node *node, Oid *role)
{
	if (node == NULL)
		return false;
	if (!IsA(node, CoerceViaIO) && !IsA(node, RowCompareExpr))
		(void) check_functions_in_node(node, require, role);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, walker, role, 0);
	return expression_tree_walker(node, walker, role);
}

/* 42501 unless role may call all functions in the query, or expression. */
void
td_require_execute(Node *node, Oid role)
{
	(void) walker(node, &role);
}

/* Of the ordinary views that it reads, too. */
void
td_shape_require_execute(const TdShape *shape, Oid role)
{
	td_require_execute((Node *) (shape->keyed ? shape->keyed->private->query : shape->query), role);
}
