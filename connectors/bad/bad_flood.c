/*-------------------------------------------------------------------------
 *
 * bad_flood.c
 *		Returns more than anybody can keep.
 *
 * NOTES
 *		kind = "batch": one endless batch, deaf to the limit of its
 *		buffer; otherwise an endless transaction in batches of a megabyte,
 *		never committed: the server must spool it and stop at its limit.
 *
 * connectors/bad/bad_flood.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_flood"
#define BAD_STREAM_POLL flood

#include "bad.h"

/* One megabyte of rows. */
static void
put_megabyte(TdBuffer *out)
{
	static char value[1000];
	size_t		until = out->len + (1 << 20);
	int64_t		id = 4;

	memset(value, 'x', sizeof(value));
	while (out->len < until && !out->failed)
		bad_put_row(out, id++, value, sizeof(value));
}

/* SCHEMA, then rows without end. */
static TdStatus
flood(TdConn *c, int timeout_ms, TdBuffer *out, TdError *err)
{
	(void) timeout_ms;
	(void) err;
	if (c->polls++ == 0)
		td_write_schema(out, &bad_schema);
	if (strcmp(bad_kind(c), "batch") == 0)
		for (int i = 0; i < 100000; i++)
			put_megabyte(out);
	put_megabyte(out);
	return TD_OK;
}

BAD_CONNECTOR
