/*-------------------------------------------------------------------------
 *
 * change.c
 *		A flush as sets: for each table deletes, then updates, then inserts.
 *
 * NOTES
 *		All changes of one key become one: what counts is whether the row was
 *		there before the first and what it is after the last.  Tables without a
 *		key keep their order, with runs of inserts written together.
 *
 *		A change of key is a delete and an insert.  Where the insert could not be
 *		whole (columns left out by the source, or of the target's own), the sets
 *		up to there are written, the change is made in place, and the next sets
 *		begin.
 *
 *		Runs inside a subtransaction: what does not fit as sets (class 23) is
 *		rolled back and done again by replay.c.
 *
 * src/apply/change.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "apply/apply_internal.h"

#define LOOK_AHEAD 4

static uint32 collect(TdApply *a, uint32 start);
static bool collect_keyed(TdApply *a, TdTable *t, uint32 i);
static void note_insert(TdApply *a, TdTable *t, uint32 i, const uint8 *key, uint32 len);
static void note_update(TdApply *a, TdTable *t, uint32 i, const uint8 *key, uint32 len);
static void note_delete(TdApply *a, TdTable *t, uint32 i, const uint8 *key, uint32 len);
static void write_sets(TdApply *a, TdTable *t);
static void write_delete(TdApply *a, TdTable *t, const TdEntry *e);
static void write_image(TdApply *a, TdTable *t, const TdEntry *e, bool blind);
static void write_sequence(TdApply *a, TdGuard *guard, TdTable *t);

/* All that is pending. */
void
td_change_run(TdApply *a, TdGuard *guard)
{
	uint32		start = 0;

	td_apply_open_writers(a, guard);
	while (start < a->npending)
	{
		uint32		end = collect(a, start);

		for (int i = 0; i < a->ntables; i++)
		{
			TdTable    *t = &a->tables[i];

			if (t->batch == NULL)
				continue;
			a->current_table = t;
			td_guard_switch(guard, t->binding->owner);
			if (t->batch->nsequence > 0)
				write_sequence(a, guard, t);
			else
				write_sets(a, t);
			t->batch = NULL;
			a->current_table = NULL;
		}
		if (end < a->npending)
		{
			td_snapshot_advance();
			td_replay_one(a, guard, &a->pending[end++]);
		}
		td_snapshot_advance();
		start = end;
	}
	td_apply_close_writers(a, guard);
}

/* ---- collecting ---- */

/* Consolidates from start on; returns where it had to stop: a change that must be made by itself, or the end. */
static uint32
collect(TdApply *a, uint32 start)
{
	uint32		i;

	for (i = start; i < a->npending; i++)
	{
		TdTable    *t = &a->tables[a->pending[i].table];

		if (t->batch == NULL)
			t->batch = td_batch_create(a->work);
		a->current = &a->pending[i];
		a->current_table = t;
		if (t->binding->nkeys == 0)
			td_batch_sequence(t->batch, i);
		else if (!collect_keyed(a, t, i))
			break;
	}
	a->current = NULL;
	a->current_table = NULL;
	return i;
}

/* The bytes of the key of a row in w->values. */
static uint32
key_of(TdTable *t, const TdValue *values, uint8 **key)
{
	const TdSchema *schema = t->binding->schema;

	if (unlikely(!td_key_complete(schema, values)))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("a change of table %s lacks columns of its key", t->binding->name),
				 errhint("This is a bug in the connector.")));
	return td_key_encode(schema, values, &t->batch->arena, key);
}

/* false = a change of key that can't be taken apart. */
static bool
collect_keyed(TdApply *a, TdTable *t, uint32 i)
{
	TdPending  *p = &a->pending[i];
	TdWriter   *w = t->writer;
	uint8	   *key;
	uint8	   *old_key;
	uint32		len;
	uint32		old_len;
	bool		partial;

	p->before = TD_NONE;
	if (p->op == TD_OP_DELETE)
	{
		td_writer_read(w, p->old_row, w->values);
		len = key_of(t, w->values, &key);
		note_delete(a, t, i, key, len);
		return true;
	}
	partial = td_image_of(w, p, w->values);
	len = key_of(t, w->values, &key);
	if (p->op == TD_OP_INSERT)
	{
		note_insert(a, t, i, key, len);
		return true;
	}
	if (p->old_row.len > 0)
	{
		td_writer_read(w, p->old_row, w->older);
		old_len = key_of(t, w->older, &old_key);
		if (old_len != len || memcmp(old_key, key, len) != 0)
		{
			if (partial || !t->binding->covers)
				return false;
			note_delete(a, t, i, old_key, old_len);
			note_insert(a, t, i, key, len);
			return true;
		}
	}
	note_update(a, t, i, key, len);
	return true;
}

static void
note_insert(TdApply *a, TdTable *t, uint32 i, const uint8 *key, uint32 len)
{
	bool		found;
	TdEntry    *e = td_batch_entry(t->batch, key, len, &found);

	if (!found)
		e->first = TD_OP_INSERT;
	else if (e->alive && !a->options.catching_up && a->options.insert_policy == TD_INSERT_IGNORE_ON_EXISTS)
		return;
	else if (e->alive && !a->options.catching_up && a->options.insert_policy == TD_INSERT_JUST_INSERT)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("a row is inserted twice into table %s", t->binding->name)));
	else
		e->inserted = true;
	e->alive = true;
	e->last = i;
}

static void
note_update(TdApply *a, TdTable *t, uint32 i, const uint8 *key, uint32 len)
{
	bool		found;
	TdEntry    *e = td_batch_entry(t->batch, key, len, &found);

	if (!found)
	{
		e->first = TD_OP_UPDATE;
		e->alive = true;
	}
	else if (e->alive)
		a->pending[i].before = e->last;
	else
	{
		t->batch->missing++;
		return;
	}
	e->last = i;
}

static void
note_delete(TdApply *a, TdTable *t, uint32 i, const uint8 *key, uint32 len)
{
	bool		found;
	TdEntry    *e = td_batch_entry(t->batch, key, len, &found);

	if (!found)
		e->first = TD_OP_DELETE;
	else if (!e->alive)
	{
		t->batch->missing++;
		return;
	}
	e->alive = false;
	e->deleted = true;
	e->last = i;
}

/* ---- writing ---- */

/* The i-th entry in order.  Rows lie in the order they came: what is needed soon is fetched from memory meanwhile. */
static inline const TdEntry *
next_entry(TdApply *a, const TdBatch *batch, const uint32 *order, uint32 i)
{
	if (i + 3 * LOOK_AHEAD < batch->nentries)
	{
		const TdPending *p;

		__builtin_prefetch(&batch->entries[order[i + 3 * LOOK_AHEAD]]);
		__builtin_prefetch(&a->pending[batch->entries[order[i + 2 * LOOK_AHEAD]].last]);
		p = &a->pending[batch->entries[order[i + LOOK_AHEAD]].last];
		__builtin_prefetch(p->new_row.len ? p->new_row.data : p->old_row.data);
		__builtin_prefetch((p->new_row.len ? p->new_row.data : p->old_row.data) + 64);
	}
	return &batch->entries[order[i]];
}

/* Deletes first, so that what they free is free; blind inserts last. */
static void
write_sets(TdApply *a, TdTable *t)
{
	TdBatch    *batch = t->batch;
	uint32	   *order = td_batch_order(batch, t->binding->schema);
	bool		blind = !a->options.catching_up && !t->probe_inserts && a->options.insert_policy != TD_INSERT_IGNORE_ON_EXISTS;

	for (uint32 i = 0; i < batch->nentries; i++)
	{
		const TdEntry *e = next_entry(a, batch, order, i);

		if (!e->alive)
			write_delete(a, t, e);
	}
	for (uint32 i = 0; i < batch->nentries; i++)
	{
		const TdEntry *e = next_entry(a, batch, order, i);

		if (e->alive && (e->first != TD_OP_INSERT || !blind))
			write_image(a, t, e, false);
	}
	for (uint32 i = 0; i < batch->nentries; i++)
	{
		const TdEntry *e = next_entry(a, batch, order, i);

		if (e->alive && e->first == TD_OP_INSERT && blind)
			write_image(a, t, e, true);
	}
	td_writer_flush(t->writer);
	a->current = NULL;
	td_apply_missing(a, t, batch->missing);
}

/* A row that is gone.  One that the flush itself inserted may have been there before, and is deleted in silence. */
static void
write_delete(TdApply *a, TdTable *t, const TdEntry *e)
{
	TdWriter   *w = t->writer;

	a->current = &a->pending[e->last];
	td_writer_rewind(w);
	td_writer_read(w, a->current->old_row, w->values);
	while (td_probe_key(w, w->values, a->current->old_row))
	{
		if (td_writer_delete(w))
			return;
		td_snapshot_renew();
	}
	if (e->first != TD_OP_INSERT)
		td_apply_missing(a, t, 1);
	CHECK_FOR_INTERRUPTS();
}

/* The image after the last change, from as many changes as it takes.  true = partial. */
static bool
chain_image(TdApply *a, TdWriter *w, const TdEntry *e)
{
	const TdPending *p = &a->pending[e->last];
	bool		partial = td_image_of(w, p, w->values);

	while (unlikely(partial) && p->op != TD_OP_INSERT && p->before != TD_NONE)
	{
		p = &a->pending[p->before];
		partial = td_image_fill(w, p->new_row, w->values);
		if (partial && p->old_row.len > 0)
			partial = td_image_fill(w, p->old_row, w->values);
	}
	return partial;
}

/* A row that is there afterwards.  blind: it was not before, and the index would tell. */
static void
write_image(TdApply *a, TdTable *t, const TdEntry *e, bool blind)
{
	TdWriter   *w = t->writer;
	const TdPending *p = &a->pending[e->last];
	bool		partial;

	a->current = p;
	CHECK_FOR_INTERRUPTS();
	td_writer_rewind(w);
	if (td_writer_is_full(w))
		td_writer_flush(w);
	partial = chain_image(a, w, e);
	while (!blind && td_probe_key(w, w->values, p->new_row))
	{
		if (e->first == TD_OP_INSERT && !e->deleted && p->op == TD_OP_INSERT && !a->options.catching_up &&
			a->options.insert_policy == TD_INSERT_IGNORE_ON_EXISTS)
			return;
		if (td_writer_update(w, w->values, partial, e->deleted, p->new_row))
			return;
		td_snapshot_renew();
	}
	if (e->first == TD_OP_INSERT || e->inserted)
		td_writer_add(w, w->values, partial, p->new_row);
	if (e->first != TD_OP_INSERT)
		td_apply_missing(a, t, 1);
}

/* Without a key: in source order, runs of inserts together. */
static void
write_sequence(TdApply *a, TdGuard *guard, TdTable *t)
{
	TdWriter   *w = t->writer;

	for (uint32 i = 0; i < t->batch->nsequence; i++)
	{
		const TdPending *p = &a->pending[t->batch->sequence[i]];

		a->current = p;
		if (p->op == TD_OP_INSERT)
		{
			bool		partial = td_writer_read(w, p->new_row, w->values);

			if (td_writer_is_full(w))
				td_writer_flush(w);
			td_writer_add(w, w->values, partial, p->new_row);
			continue;
		}
		td_writer_flush(w);
		td_snapshot_advance();
		td_replay_one(a, guard, p);
	}
	td_writer_flush(w);
	a->current = NULL;
}
