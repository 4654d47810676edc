/*-------------------------------------------------------------------------
 *
 * write.c
 *		Changes of a view as records.
 *
 * NOTES
 *		A row that goes is held back until the next one is seen: within a tick
 *		the rows of one key stand together, what goes before what comes, and such
 *		a pair is an UPDATE.  A pair whose keys are equal but not the same (1.0
 *		and 1.00) stays two records, since the target may tell them apart.
 *
 *		A view without a key has copies: a weight of 3 is three INSERTs.  They are
 *		written as there is room in the batch.
 *
 *		Of one view each tick is a source transaction.  Of several, what was read
 *		in one snapshot is one: ticks are numbered by view, and only the snapshot
 *		says which belong together.
 *
 * connectors/tapdata/write.c
 *
 *-------------------------------------------------------------------------
 */
#include "stream_internal.h"

#define HEAD_COLUMNS 3			/* tick, at, weight */

/* One record of a row, or of two. */
static bool
write_record(TdTpStream *s, TdBuffer *out, TdOp op, const PGresult *old, const PGresult *new, TdError *err)
{
	TdTpFollowed *f = &s->followed[s->current];

	if (!f->described)
		td_write_schema(out, &f->table->schema);
	f->described = true;
	td_write_begin(out, op, f->table->schema.table_id);
	if (old && !td_tp_put_row(out, f->table, old, HEAD_COLUMNS, &s->scratch, err))
		return false;
	if (new && !td_tp_put_row(out, f->table, new, HEAD_COLUMNS, &s->scratch, err))
		return false;
	td_write_end(out);
	s->open = true;
	return !out->failed || td_error_set(err, "53200", "out of memory");
}

/* The row that was held back did not turn out to be an update. */
static bool
write_held(TdTpStream *s, TdBuffer *out, TdError *err)
{
	bool		good = s->held == NULL || write_record(s, out, TD_OP_DELETE, s->held, NULL, err);

	PQclear(s->held);
	s->held = NULL;
	return good;
}

/* Copies of s->row, until they are all written or the batch is full. */
bool
td_tp_write_copies(TdTpStream *s, TdBuffer *out, TdError *err)
{
	while (s->copies != 0 && out->len < TD_TP_BATCH)
	{
		bool		came = s->copies > 0;

		if (!write_record(s, out, came ? TD_OP_INSERT : TD_OP_DELETE, came ? NULL : s->row, came ? s->row : NULL, err))
			return false;
		s->copies -= came ? 1 : -1;
	}
	if (s->copies == 0)
	{
		PQclear(s->row);
		s->row = NULL;
	}
	return true;
}

/* The very same key, byte by byte? */
static bool
same_key(const TdSchema *schema, const PGresult *a, const PGresult *b)
{
	for (uint32_t k = 0; k < schema->nkeys; k++)
	{
		int			column = HEAD_COLUMNS + (int) schema->keys[k];
		int			len = PQgetlength(a, 0, column);

		if (len != PQgetlength(b, 0, column) || memcmp(PQgetvalue(a, 0, column), PQgetvalue(b, 0, column), (size_t) len) != 0)
			return false;
	}
	return schema->nkeys > 0;
}

/* The source transaction ends: its position. */
bool
td_tp_end_transaction(TdTpStream *s, TdBuffer *out, TdError *err)
{
	if (!write_held(s, out, err))
		return false;
	for (uint32_t i = 0; i < s->n; i++)
		for (uint32_t k = 0; k < s->position.n; k++)
			if (s->position.v[k].view == s->followed[i].table->oid)
				s->position.v[k].tick = s->followed[i].since;
	td_tp_position_write(&s->position, &s->text);
	if (s->text.failed)
		return td_error_set(err, "53200", "out of memory");
	td_write_commit(out, (const char *) s->text.data, s->at);
	s->open = false;
	s->bare = false;
	s->at = INT64_MIN;
	return true;
}

/* All changes of the current view are read. */
bool
td_tp_end_view(TdTpStream *s, TdBuffer *out, TdError *err)
{
	TdTpFollowed *f = &s->followed[s->current];

	f->since = s->tick;
	return write_held(s, out, err);
}

/* A change of a tick that is not the one before. */
static bool
begin_tick(TdTpStream *s, int64_t tick, TdBuffer *out, TdError *err)
{
	if (!write_held(s, out, err))
		return false;
	if (s->n == 1 && s->open)
	{
		s->followed[0].since = s->tick;
		if (!td_tp_end_transaction(s, out, err))
			return false;
	}
	s->tick = tick;
	return true;
}

/* One row of change_rows(), which is cleared here or later. */
bool
td_tp_take_change(TdTpStream *s, PGresult *res, TdBuffer *out, TdError *err)
{
	const TdSchema *schema = &s->followed[s->current].table->schema;
	int64_t		tick = td_tp_int(res, 0);
	int64_t		at = td_tp_int(res, 1);
	int64_t		weight = td_tp_int(res, 2);
	bool		good = tick == s->tick || begin_tick(s, tick, out, err);

	s->at = at > s->at ? at : s->at;
	if (good && s->held && weight == 1 && same_key(schema, s->held, res))
	{
		good = write_record(s, out, TD_OP_UPDATE, s->held, res, err);
		PQclear(s->held);
		s->held = NULL;
		PQclear(res);
		return good;
	}
	good = good && write_held(s, out, err);
	if (good && weight == -1 && schema->nkeys > 0)
	{
		s->held = res;
		return true;
	}
	s->row = res;
	s->copies = good ? weight : 0;
	return good && td_tp_write_copies(s, out, err);
}
