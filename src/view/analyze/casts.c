/*-------------------------------------------------------------------------
 *
 * casts.c
 *		Is each cast of a query still the one that it was analysed with?
 *
 * NOTES
 *		What a view depends on is the function of a cast, or nothing where its value
 *		goes through text: not the cast, which may be dropped and made anew with
 *		another function.  The query has the old one, for ever.  But a statement that
 *		is made of it says value::type, and would be read with the new one.
 *
 *		Only where a function of a user comes in: what is built in does not change.
 *
 * IDENTIFICATION
 *		src/view/analyze/casts.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/view_internal.h"

/* function: that it calls; InvalidOid = it has none. */
static void
require_cast(Node *arg, Oid target, Oid function)
{
	Oid			source = exprType(arg);
	Oid			now = InvalidOid;

	if (source == UNKNOWNOID || getBaseType(source) == getBaseType(target))
		return;					/* the length of a value is no cast */
	if (find_coercion_pathway(target, source, COERCION_EXPLICIT, &now) != COERCION_PATH_FUNC)
		now = InvalidOid;
	if (now == function || (now < FirstNormalObjectId && function < FirstNormalObjectId))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the cast from %s to %s is another one than when the view was made", format_type_be(source), format_type_be(target)),
			 errhint("Drop the view and create it again; or make the cast what it was, then refresh the view.")));
}

static bool
walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;

		if ((call->funcformat == COERCE_EXPLICIT_CAST || call->funcformat == COERCE_IMPLICIT_CAST) && call->args != NIL)
			require_cast(linitial(call->args), call->funcresulttype, call->funcid);
	}
	else if (IsA(node, CoerceViaIO))
		require_cast((Node *) ((CoerceViaIO *) node)->arg, ((CoerceViaIO *) node)->resulttype, InvalidOid);
	else if (IsA(node, RelabelType))
		require_cast((Node *) ((RelabelType *) node)->arg, ((RelabelType *) node)->resulttype, InvalidOid);
	else if (IsA(node, Query))
		return query_tree_walker((Query *) node, walker, context, 0);
	return expression_tree_walker(node, walker, context);
}

/* 55000 unless they are. */
void
td_require_casts(Query *query)
{
	(void) walker((Node *) query, NULL);
}
