/*-------------------------------------------------------------------------
 *
 * forward.c
 *		Batches of the connector into the queue.
 *
 * NOTES
 *		Runs in the worker thread.  Only the framing of the records is tested:
 *		what is in the rows is the server's to judge, which tests it anyway.
 *		A batch of up to twice TD_FRAME_TARGET goes as it is, without a copy; a
 *		larger one is cut between records.
 *
 * connectors/host/forward.c
 *
 *-------------------------------------------------------------------------
 */
#include "host_internal.h"

/* What a piece of a batch holds. */
typedef struct Piece
{
	size_t		from;
	size_t		to;
	size_t		commit_end;		/* behind its last COMMIT, 0 = none */
	TdBytes		position;		/* of that COMMIT */
	bool		ended;			/* an END record was seen */
} Piece;

/* A batch that breaks the rules. */
static bool
refuse(const char *where, TdError *err, const char *detail)
{
	td_error_set(err, "38000", "connector \"%s\" returned damaged records from %s", td_worker_api()->name, where);
	td_error_detail(err, "%s", detail);
	return td_error_hint(err, "This is a bug in the connector.");
}

/* Scans records from piece->from on, until the piece is large enough or the batch ends. */
static bool
scan(const TdBuffer *batch, size_t target, Piece *piece, const char *where, TdError *err)
{
	TdReader	r = {batch->data + piece->from, batch->data + batch->len};
	TdRecord	rec;
	int			got = 1;

	while ((size_t) (r.p - batch->data) - piece->from < target && (got = td_read_record(&r, &rec)) == 1)
	{
		if (rec.whole.len > TD_FRAME_MAX - 64)
		{
			td_error_set(err, "54000", "connector \"%s\" returned a row of %u bytes", td_worker_api()->name, rec.whole.len);
			return td_error_detail(err, "The largest row that can be carried has %u bytes.", TD_FRAME_MAX - 64);
		}
		if (rec.op == TD_OP_COMMIT)
		{
			piece->commit_end = (size_t) (r.p - batch->data);
			piece->position = rec.position;
		}
		else if (rec.op == TD_OP_END)
			piece->ended = true;
		else if (rec.op == TD_OP_MARK)
			return refuse(where, err, "A MARK record is the host's to write.");
	}
	piece->to = (size_t) (r.p - batch->data);
	if (got == -1)
	{
		char		detail[100];

		snprintf(detail, sizeof(detail), "The record at byte %zu of %zu is damaged.", piece->to, batch->len);
		return refuse(where, err, detail);
	}
	return true;
}

/* Judges the size of the batch as a whole. */
static bool
check_size(const TdBuffer *batch, const char *where, TdError *err)
{
	if (!batch->failed)
		return true;
	if (batch->len <= TD_BATCH_LIMIT)
		return td_error_set(err, "53200", "out of memory in connector \"%s\"", td_worker_api()->name);
	td_error_set(err, "54000", "connector \"%s\" floods: a batch from %s is larger than %zu MB", td_worker_api()->name, where,
				 TD_BATCH_LIMIT >> 20);
	return td_error_hint(err, "This is a bug in the connector: it must return after about 1 MB.");
}

/*
 * Pushes a batch; its memory is the queue's afterwards, or what is left in it
 * may be used again.  *ended says whether an END record was in it.  On damage
 * the records before it have been pushed.
 */
bool
td_forward(TdBuffer *batch, bool stream, bool *ended, const char *where, TdError *err)
{
	size_t		target = batch->len <= 2 * TD_FRAME_TARGET ? SIZE_MAX : TD_FRAME_TARGET;
	size_t		len = batch->len;
	Piece		piece = {0};

	if (!check_size(batch, where, err))
		return false;
	while (piece.from < len)
	{
		piece.commit_end = 0;
		if (!scan(batch, target, &piece, where, err))
			return false;
		if (stream)
			td_marks_push(batch, piece.from, piece.to, piece.commit_end, piece.position);
		else if (piece.from == 0 && piece.to == len)
			td_queue_push(TD_MSG_DATA, batch);
		else
			td_queue_push_copy(batch->data + piece.from, piece.to - piece.from);
		piece.from = piece.to;
	}
	*ended = piece.ended;
	return true;
}
