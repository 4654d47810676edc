/*-------------------------------------------------------------------------
 *
 * store_write.c
 *		Writing the row of a store that was found.
 *
 * NOTES
 *		View worker and fill worker.  A value that stays is written back as it is
 *		stored: nothing is toasted anew, and the heap sees which indexed columns
 *		have not changed (HOT).
 *
 * src/view/maintain/store_write.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "view/maintain/store_internal.h"

#define SHOWN_BYTES 200			/* of a row, in messages */

/* Only we write the table; somebody else may be let to. */
static void
require_ok(TdStore *s, TM_Result result)
{
	if (result == TM_Ok)
		return;
	if (result == TM_SelfModified || result == TM_Invisible)
		elog(ERROR, "a row of view %s was written twice in one command", td_store_target_name(&s->target));
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("a row of view %s was changed by somebody else", td_store_target_name(&s->target))));
}

/*
 * A publication that has the view's table takes changes of rows that it can tell apart only, as of any table; one of all tables has the hidden ones as well,
 * which nobody subscribes to and no user could give an identity.
 */
static void
require_identity(TdStore *s, CmdType command)
{
	if (!s->hidden)
		CheckCmdReplicaIdentity(s->target.rel, command);
}

void
td_store_delete_found(TdStore *s)
{
	Relation	rel = s->target.rel;
	TM_FailureData failure;

	require_identity(s, CMD_DELETE);
	require_ok(s, table_tuple_delete(rel, &s->found->tts_tid, GetCurrentCommandId(true), s->snapshot, InvalidSnapshot, true, &failure,
									 false));
}

/* s->image becomes row, with the stored values where they are the same.  false = all of them are. */
static bool
merge(TdStore *s, TupleTableSlot *row)
{
	TdTarget   *t = &s->target;
	TupleTableSlot *image = s->image;
	MemoryContext caller = MemoryContextSwitchTo(GetPerTupleMemoryContext(t->estate));
	bool		changed = false;

	slot_getallattrs(s->found);
	td_store_target_fill(t, row, image);
	for (int i = 0; i < t->ncolumns; i++)
	{
		int			att = t->attnums[i] - 1;
		bool		null = s->found->tts_isnull[att];

		if (null != image->tts_isnull[att] ||
			(!null && !td_image_equal(&t->normal[i], s->found->tts_values[att], image->tts_values[att])))
			changed = true;
		else
			image->tts_values[att] = s->found->tts_values[att];
	}
	MemoryContextSwitchTo(caller);
	ResetPerTupleExprContext(t->estate);
	return changed;
}

/* What was found becomes row. */
void
td_store_update_found(TdStore *s, TupleTableSlot *row)
{
	TdTarget   *t = &s->target;
	bool		only_summarizing;
	bool		indexes;
	TM_FailureData failure;
	LockTupleMode mode;

	if (!merge(s, row))
		return;
	require_identity(s, CMD_UPDATE);
	td_store_target_check(t, s->image);
	require_ok(s, td_table_tuple_update_compat(t->rel, &s->found->tts_tid, s->image, GetCurrentCommandId(true), s->snapshot, &failure, &mode,
											   &indexes, &only_summarizing));
	if (indexes && t->rri->ri_NumIndices > 0)
		td_store_target_index(t, s->image, true, only_summarizing);
	ExecClearTuple(s->image);
	ResetPerTupleExprContext(t->estate);
}

/* Some columns of a row (NULL: the first n) as (a, b)=(1, x). */
static char *
show(TdStore *s, TupleTableSlot *row, int n, const AttrNumber *columns)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '(');
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s%s", i ? ", " : "",
						 quote_identifier(NameStr(TupleDescAttr(s->target.desc, columns ? columns[i] - 1 : i)->attname)));
	appendStringInfoString(&text, ")=(");
	for (int i = 0; i < n; i++)
	{
		AttrNumber	column = columns ? columns[i] : i + 1;
		bool		null;
		Datum		value = slot_getattr(row, column, &null);
		Oid			output;
		bool		varlena;
		char	   *shown = "null";
		int			len;

		getTypeOutputInfo(TupleDescAttr(s->target.desc, column - 1)->atttypid, &output, &varlena);
		if (!null)
			shown = OidOutputFunctionCall(output, value);
		len = strlen(shown);
		appendStringInfoString(&text, i ? ", " : "");
		if (len > SHOWN_BYTES / n + 3)
			appendStringInfo(&text, "%.*s...", pg_mbcliplen(shown, len, SHOWN_BYTES / n), shown);
		else
			appendStringInfoString(&text, shown);
	}
	appendStringInfoChar(&text, ')');
	return text.data;
}

/* The table is not what the delta was computed for.  row: laid out as the store's desc. */
void
td_store_damaged(TdStore *s, TupleTableSlot *row, const char *what)
{
	char	   *key = s->by_image ? show(s, row, s->target.ncolumns, NULL) : show(s, row, s->nkeys, s->keys);

	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("view %s is not what it should be", td_store_target_name(&s->target)),
			 errdetail("%s: %s.", what, key),
			 errhint("SELECT tapdata.refresh_view(...) computes it anew.")));
}
