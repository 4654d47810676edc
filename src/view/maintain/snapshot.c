/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *		Snapshots with 64-bit transaction ids: which transactions one saw, for ever.
 *
 * NOTES
 *		Any process.  A Snapshot is only good while it is current; of decoded
 *		transactions one asks whether a snapshot of long ago saw them.  They are
 *		named by their top-level transaction id, so subtransactions do not matter,
 *		nor does it that a snapshot's array of them may have overflowed.
 *
 * src/view/maintain/snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "utils/snapshot.h"

#include "capture/capture.h"
#include "view/view_internal.h"

#define MOST_LOOKED_UP 1000		/* transactions; above, all WAL is flushed */

static int
compare(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

/*
 * An xid of a snapshot with its epoch.  It is not after next, and at most 2^31
 * before it: else the cluster would have stopped giving out new ones.
 */
static uint64
widen(TransactionId xid, uint64 next)
{
	uint64		full = (next & ~(uint64) PG_UINT32_MAX) | xid;

	return full > next ? full - (UINT64CONST(1) << 32) : full;
}

static TdSeen *
make(uint64 xmin, uint64 xmax, uint32 nxip)
{
	TdSeen	   *seen = palloc(sizeof(TdSeen));

	seen->xmin = xmin;
	seen->xmax = xmax;
	seen->nxip = nxip;
	seen->xip = palloc(sizeof(uint64) * Max(nxip, 1));
	return seen;
}

TdSeen *
td_seen_of(Snapshot snapshot)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	TdSeen	   *seen;

	if (snapshot->snapshot_type != SNAPSHOT_MVCC || snapshot->takenDuringRecovery)
		elog(ERROR, "transactions can not be told from this kind of snapshot");
	seen = make(widen(snapshot->xmin, next), widen(snapshot->xmax, next), snapshot->xcnt);
	for (uint32 i = 0; i < seen->nxip; i++)
		seen->xip[i] = widen(snapshot->xip[i], next);
	qsort(seen->xip, seen->nxip, sizeof(uint64), compare);
	return seen;
}

static void
raise_malformed(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid snapshot: \"%s\"", text)));
}

/* A transaction id, and past what ends it.  No sign, no blank, nothing beyond 64 bits. */
static uint64
read_xid(const char **p, char end, const char *text)
{
	uint64		xid = 0;
	const char *s = *p;

	if (*s < '0' || *s > '9')
		raise_malformed(text);
	for (; *s >= '0' && *s <= '9'; s++)
	{
		uint64		digit = *s - '0';

		if (xid > (PG_UINT64_MAX - digit) / 10)
			raise_malformed(text);
		xid = xid * 10 + digit;
	}
	if (*s != end && !(end == ',' && *s == '\0'))
		raise_malformed(text);
	*p = *s ? s + 1 : s;
	return xid;
}

/* What td_seen_text wrote: xmin:xmax:x1,x2 */
TdSeen *
td_seen_read(const char *pg_snapshot)
{
	const char *p = pg_snapshot;
	uint64		xmin = read_xid(&p, ':', pg_snapshot);
	uint64		xmax = read_xid(&p, ':', pg_snapshot);
	uint32		most = *p ? 1 : 0;
	uint64		before = 0;
	TdSeen	   *seen;

	if (xmin == 0 || xmax < xmin)
		raise_malformed(pg_snapshot);
	for (const char *c = p; *c; c++)
		most += *c == ',';
	seen = make(xmin, xmax, 0);
	seen->xip = repalloc(seen->xip, sizeof(uint64) * Max(most, 1));
	while (*p)
	{
		uint64		xid = read_xid(&p, ',', pg_snapshot);

		if (xid < xmin || xid >= xmax || xid <= before || (p[-1] == ',' && *p == '\0'))
			raise_malformed(pg_snapshot);
		seen->xip[seen->nxip++] = before = xid;
	}
	return seen;
}

char *
td_seen_text(const TdSeen *seen)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", seen->xmin, seen->xmax);
	for (uint32 i = 0; i < seen->nxip; i++)
		appendStringInfo(&text, "%s" UINT64_FORMAT, i ? "," : "", seen->xip[i]);
	return text.data;
}

/*
 * Every commit record of what a snapshot of now sees that another one (NULL = unknown) did not, flushed.  A commit is flushed before it is seen, unless its session
 * does not wait for that (synchronous_commit = off): then pg_xact knows up to where WAL has to be flushed before anybody may rely on it, which hint bits depend on,
 * too.  What is not seen yet need not be flushed: with others who write all the time some WAL never is, and to wait for it would take longer than many a tick.
 */
XLogRecPtr
td_seen_flush(const TdSeen *seen, const TdSeen *before)
{
	XLogRecPtr	commits = InvalidXLogRecPtr;

	if (before == NULL || seen->xmax - Min(before->xmin, seen->xmax) > MOST_LOOKED_UP)
		return td_capture_flush();
	for (uint64 xid = before->xmin; xid < seen->xmax; xid++)
	{
		if (TransactionIdIsNormal((TransactionId) xid) && td_sees(seen, xid) && !td_sees(before, xid))
			commits = Max(commits, TransactionIdGetCommitLSN((TransactionId) xid));
	}
	if (commits != InvalidXLogRecPtr)
		XLogFlush(commits);
	return GetFlushRecPtr(NULL);
}

bool
td_sees(const TdSeen *seen, uint64 xid)
{
	if (xid < seen->xmin)
		return true;
	if (xid >= seen->xmax)
		return false;
	return bsearch(&xid, seen->xip, seen->nxip, sizeof(uint64), compare) == NULL;
}
