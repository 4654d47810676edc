/*-------------------------------------------------------------------------
 *
 * replay.c
 *		Changes one by one, in source order.
 *
 * NOTES
 *		For what can't be done as sets: a handful of changes, where a
 *		subtransaction would cost more than it saves; tables with row triggers,
 *		which are owed every single change; changes of a table without a key; and
 *		flushes that ran into a constraint as sets, which either fit in order
 *		(a swap of unique values) or are raised here with the row to blame.
 *
 * src/apply/replay.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "apply/apply_internal.h"

static void replay_insert(TdApply *a, TdTable *t, const TdPending *p);
static void replay_update(TdApply *a, TdTable *t, const TdPending *p);
static bool move_onto(TdApply *a, TdTable *t, const TdPending *p, bool partial);
static void replay_delete(TdApply *a, TdTable *t, const TdPending *p);
static bool find_and_delete(TdTable *t, TdBytes row);
static void raise_violation(TdApply *a, MemoryContext context) __attribute__((noreturn));

/* All that is pending.  A violated constraint is raised with table, key and constraint. */
void
td_replay_run(TdApply *a, TdGuard *guard)
{
	MemoryContext context = CurrentMemoryContext;

	td_apply_open_writers(a, guard);
	PG_TRY();
	{
		for (uint32 i = 0; i < a->npending; i++)
		{
			td_replay_one(a, guard, &a->pending[i]);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION || a->current == NULL)
			PG_RE_THROW();
		raise_violation(a, context);
	}
	PG_END_TRY();
	td_apply_close_writers(a, guard);
}

/* One change; everything before it is visible to it, and it to everything after. */
void
td_replay_one(TdApply *a, TdGuard *guard, const TdPending *p)
{
	TdTable    *t = &a->tables[p->table];

	a->current = p;
	a->current_table = t;
	td_guard_switch(guard, t->binding->owner);
	td_writer_rewind(t->writer);
	switch (p->op)
	{
		case TD_OP_INSERT:
			replay_insert(a, t, p);
			break;
		case TD_OP_UPDATE:
			replay_update(a, t, p);
			break;
		default:
			replay_delete(a, t, p);
	}
	td_snapshot_advance();
}

static void
replay_insert(TdApply *a, TdTable *t, const TdPending *p)
{
	TdWriter   *w = t->writer;
	bool		partial = td_writer_read(w, p->new_row, w->values);
	TdInsertPolicy policy = a->options.catching_up ? TD_INSERT_UPDATE_ON_EXISTS : a->options.insert_policy;

	while (t->binding->nkeys > 0 && policy != TD_INSERT_JUST_INSERT && td_probe_key(w, w->values, p->new_row))
	{
		if (policy == TD_INSERT_IGNORE_ON_EXISTS || td_writer_update(w, w->values, partial, false, p->new_row))
			return;
		td_snapshot_renew();
	}
	td_writer_insert(w, w->values, partial, p->new_row);
}

/* The row is found by its old key; in place even where the key changes. */
static void
replay_update(TdApply *a, TdTable *t, const TdPending *p)
{
	TdWriter   *w = t->writer;
	TdBytes		old_row = p->old_row.len > 0 ? p->old_row : p->new_row;
	bool		partial = td_image_of(w, p, w->values);

	if (a->options.catching_up && t->binding->nkeys > 0 && p->old_row.len > 0 && move_onto(a, t, p, partial))
		return;
	td_writer_read(w, old_row, w->older);
	if (old_row.data == p->new_row.data)
		memcpy(w->older, w->values, sizeof(TdValue) * t->binding->schema->ncolumns);
	while (td_probe(w, w->older, old_row))
	{
		if (td_writer_update(w, w->values, partial, false, p->new_row))
			return;
		td_snapshot_renew();
	}
	td_apply_missing(a, t, 1);
}

/* While catching up, the row may stand at its new key already, or at neither.  true = done. */
static bool
move_onto(TdApply *a, TdTable *t, const TdPending *p, bool partial)
{
	TdWriter   *w = t->writer;
	const TdSchema *schema = t->binding->schema;
	uint8	   *old_key;
	uint8	   *new_key;
	uint32		len;

	td_writer_read(w, p->old_row, w->older);
	if (!td_key_complete(schema, w->older) || !td_key_complete(schema, w->values))
		return false;
	len = td_key_encode(schema, w->older, &w->arena, &old_key);
	if (td_key_encode(schema, w->values, &w->arena, &new_key) == len && memcmp(old_key, new_key, len) == 0)
		return false;
	if (td_probe_key(w, w->values, p->new_row))
	{
		/* the old row first: it may hold unique values that the new one is to get */
		if (find_and_delete(t, p->old_row))
			td_snapshot_advance();
		while (td_probe_key(w, w->values, p->new_row))
		{
			if (td_writer_update(w, w->values, partial, false, p->new_row))
				return true;
			td_snapshot_renew();
		}
	}
	if (partial || td_probe_key(w, w->older, p->old_row))
		return false;
	td_writer_insert(w, w->values, partial, p->new_row);
	return true;
}

static void
replay_delete(TdApply *a, TdTable *t, const TdPending *p)
{
	if (!find_and_delete(t, p->old_row))
		td_apply_missing(a, t, 1);
}

/* false = there is no such row. */
static bool
find_and_delete(TdTable *t, TdBytes row)
{
	TdWriter   *w = t->writer;

	td_writer_read(w, row, w->older);
	while (td_probe(w, w->older, row))
	{
		if (td_writer_delete(w))
			return true;
		td_snapshot_renew();
	}
	return false;
}

/* The error at hand once more, with the row to blame.  What names it already goes on as it is. */
static void
raise_violation(TdApply *a, MemoryContext context)
{
	const TdPending *p = a->current;
	TdBinding  *b = a->current_table->binding;
	ErrorData  *edata;
	char	   *key;

	MemoryContextSwitchTo(context);
	edata = CopyErrorData();
	if (edata->hint)
		PG_RE_THROW();
	FlushErrorState();
	key = td_row_key_text(b->schema, p->new_row.len > 0 ? p->new_row : p->old_row);
	ereport(ERROR,
			(errcode(edata->sqlerrcode),
			 errmsg_internal("%s", edata->message),
			 errdetail("Table %s, row with key %s%s%s%s.%s%s", b->name, *key ? key : "(none)",
					   edata->constraint_name ? ", constraint \"" : "", edata->constraint_name ? edata->constraint_name : "",
					   edata->constraint_name ? "\"" : "", edata->detail ? " " : "", edata->detail ? edata->detail : ""),
			 errhint("Mend or delete the row that stands in the way, or drop the constraint: the source does not have it, or the target was changed by others. The pipeline goes on from where it stopped."),
			 edata->schema_name ? err_generic_string(PG_DIAG_SCHEMA_NAME, edata->schema_name) : 0,
			 edata->table_name ? err_generic_string(PG_DIAG_TABLE_NAME, edata->table_name) : 0,
			 edata->constraint_name ? err_generic_string(PG_DIAG_CONSTRAINT_NAME, edata->constraint_name) : 0));
	pg_unreachable();
}
