/*-------------------------------------------------------------------------
 *
 * bad_garbage.c
 *		Returns damaged records.
 *
 * NOTES
 *		kind = "size": a record that is longer than its batch; "op": an
 *		unknown one; "mark": one that only the host may write; "end": no
 *		END record after a snapshot; "row": a good record whose row is
 *		damaged, which only the server can see.
 *
 * connectors/bad/bad_garbage.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_garbage"
#define BAD_STREAM_POLL garbage
#define BAD_SNAPSHOT_READ short_snapshot

#include "bad.h"

/* One batch that is damaged in the way asked for. */
static TdStatus
garbage(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	const char *kind = bad_kind(c);
	size_t		start;

	(void) timeout_ms;
	(void) err;
	td_write_schema(out, &bad_schema);
	start = out->len;
	bad_put_row(out, 4, "four", 4);
	if (out->failed)
		return TD_OK;
	if (strcmp(kind, "op") == 0)
		out->data[start + 4] = 77;
	else if (strcmp(kind, "mark") == 0)
		td_write_mark(out, 1);
	else if (strcmp(kind, "row") == 0)
		out->data[out->len - 8] = 200;
	else
		out->data[start + 1] = 50;
	if (strcmp(kind, "row") == 0)
		td_write_commit(out, "2", INT64_MIN);
	return TD_OK;
}

/* A snapshot without its end, if asked for. */
static TdStatus
short_snapshot(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	if (strcmp(bad_kind(c), "end") != 0)
		return bad_snapshot_read(c, timeout_ms, out, err);
	td_write_schema(out, &bad_schema);
	return TD_DONE;
}

BAD_CONNECTOR
