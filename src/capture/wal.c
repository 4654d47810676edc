/*-------------------------------------------------------------------------
 *
 * wal.c
 *		WAL, one record after the other, without ever waiting for it.
 *
 * NOTES
 *		PostgreSQL's own page reader polls when there is no more WAL.  This one
 *		says that there is none yet; the reader state takes that as the end, and
 *		goes on from the same place when it is asked again.  Only flushed WAL is
 *		read: what is not flushed may not have happened after a crash.
 *
 *		The XLogReader and the decoding allocate in the current context: it is the
 *		decoding context's own here.
 *
 * IDENTIFICATION
 *		src/capture/wal.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "replication/decode.h"

#include "capture/capture_internal.h"

/* Also across timelines: a promoted standby has the older one's segments. */
int
td_wal_page_read(XLogReaderState *state, XLogRecPtr page, int wanted, XLogRecPtr record, char *to)
{
	TimeLineID	current;
	XLogRecPtr	upto = GetFlushRecPtr(&current);
	int			count;
	WALReadError error;

	XLogReadDetermineTimeline(state, page, wanted, current);
	if (state->currTLI != current)
		upto = state->currTLIValidUntil;
	if (page + wanted > upto)
		return -1;
	count = Min(XLOG_BLCKSZ, upto - page);
	/* the whole page: what is not written yet is zero */
	if (!WALRead(state, to, page, XLOG_BLCKSZ, state->currTLI, &error))
		WALReadRaiseError(&error);
	return count;
}

/* The end of WAL; a position just past the header of a page that nobody has begun can't be flushed. */
XLogRecPtr
td_wal_inserted(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

XLogRecPtr
td_capture_flush(void)
{
	XLogRecPtr	lsn = td_wal_inserted();

	XLogFlush(lsn);
	return lsn;
}

bool
td_wal_next(TdDecoder *d)
{
	LogicalDecodingContext *ctx = d->ctx;
	MemoryContext old = MemoryContextSwitchTo(ctx->context);
	char	   *problem = NULL;
	XLogRecord *record = XLogReadRecord(ctx->reader, &problem);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read WAL at %X/%X: %s", LSN_FORMAT_ARGS(ctx->reader->EndRecPtr), problem)));
	if (record)
		LogicalDecodingProcessRecord(ctx, ctx->reader);
	MemoryContextSwitchTo(old);
	return record != NULL;
}
