/*-------------------------------------------------------------------------
 *
 * inbox.c
 *		What the capture worker has sent and no tick has taken: whole transactions
 *		in a spool, in commit order.
 *
 * NOTES
 *		View worker; reading the queue happens in and out of transactions.
 *		Spools are malloc'ed: the inbox frees them when its context goes.
 *
 *		Three spools, since each has one writer and then one reader: `whole` is
 *		what the next tick reads, `open` the beginning of a transaction whose commit
 *		is still to come (it may be huge, and no tick should copy it), `spare` what
 *		the tick under way carries over.  A tick that is committed makes spare the
 *		new whole.  A block begins with four bytes of nothing, so that after a
 *		spool's own four its messages are maximally aligned.
 *
 *		When a spool is full the tick can't help: it needs all that is visible to
 *		its snapshot, so reading must go on.  Everything is forgotten then until the
 *		next tick, but the xids: a tick whose snapshot is the first to see one of
 *		them recomputes all views from their tables.
 *
 * IDENTIFICATION
 *		src/view/maintain/inbox.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "util/util.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat/compat.h"
#include "view/maintain/tick_internal.h"

#define PREFIX 4				/* bytes before the messages of a block in a spool */
#define LOST_XIDS 1024			/* room at first */

static void release_spools(void *arg);
static TdSpool *new_spool(void);
static void take_block(TdInbox *inbox, TdBytes block);
static void take_message(TdInbox *inbox, const TdCaptureMessage *m, const uint8_t **run);
static void take_commit(TdInbox *inbox, const TdCaptureMessage *m, const uint8_t **run);
static void keep(TdInbox *inbox, TdSpool *spool, const uint8_t *from, const uint8_t *to);
static bool append(TdInbox *inbox, TdSpool *spool, const uint8_t *from, size_t len, TdError *err);
static void close_open(TdInbox *inbox);
static void lose(TdInbox *inbox, const uint8_t *from, const uint8_t *to, const TdError *err);
static void lose_spool(TdInbox *inbox, TdSpool *spool);
static void lose_xid(TdInbox *inbox, uint64 xid);
static void log_full(const TdError *err);
static void make_room(TdInbox *inbox);
static void forget_ended(TdInbox *inbox);
static void learn_layout(TdInbox *inbox, const TdCaptureMessage *m);
static void forget_layouts(TdInbox *inbox);
static bool copy_blocks(TdSpool *from, TdSpool *to, TdError *err);
static void rewind_spool(TdInboxReader *r, TdSpool *spool);
static void damaged(void) pg_attribute_noreturn();

/* ---- making ---- */

static TdSpool *
new_spool(void)
{
	TdError		err = {0};
	TdSpool    *spool = td_spool_create(td_spool_path(), (size_t) td_worker_memory * 1024 / 6,
										(uint64_t) td_spool_limit * 1024 * 1024, &err);

	if (spool == NULL)
		td_error_raise_own(&err);
	return spool;
}

static void
release_spools(void *arg)
{
	TdInbox    *inbox = arg;

	td_spool_destroy(inbox->whole);
	td_spool_destroy(inbox->open);
	td_spool_destroy(inbox->spare);
}

/* An empty inbox of a new session; it goes with its parent context. */
TdInbox *
td_inbox_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "tapdata inbox", ALLOCSET_DEFAULT_SIZES);
	TdInbox    *inbox = MemoryContextAllocZero(context, sizeof(TdInbox));
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	HASHCTL		ctl = {.keysize = sizeof(uint32),.entrysize = sizeof(TdRowLayout),.hcxt = context};

	inbox->context = context;
	inbox->epoch = 1;
	inbox->layouts = hash_create("tapdata layouts", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	callback->func = release_spools;
	callback->arg = inbox;
	MemoryContextRegisterResetCallback(context, callback);
	inbox->whole = new_spool();
	inbox->open = new_spool();
	inbox->spare = new_spool();
	return inbox;
}

void
td_inbox_destroy(TdInbox *inbox)
{
	MemoryContextDelete(inbox->context);
}

static void
damaged(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("damaged message from the capture worker")));
}

/* ---- layouts ---- */

/* Kept until the wanted set is another one, and no row of it is left: capture tells each of them once. */
static void
learn_layout(TdInbox *inbox, const TdCaptureMessage *m)
{
	TdRowLayout *layout;
	bool		found;
	size_t		size = sizeof(TdLayoutColumn) * m->ncolumns;

	layout = hash_search(inbox->layouts, &m->layout, HASH_ENTER, &found);
	if (found)
		damaged();
	memset(layout, 0, sizeof(TdRowLayout));
	layout->number = m->layout;
	layout->relid = m->relid;
	layout->ncolumns = m->ncolumns;
	layout->columns = MemoryContextAlloc(inbox->context, Max(size, 1));
	if (size > 0)
		memcpy(layout->columns, m->columns, size);
	inbox->newest_layout = m->layout;
}

/* Where views come and go all day, each new wanted set has layouts of its own.  No row is left. */
static void
forget_layouts(TdInbox *inbox)
{
	HASH_SEQ_STATUS scan;
	TdRowLayout *layout;

	if (inbox->old_layouts == 0)
		return;
	hash_seq_init(&scan, inbox->layouts);
	while ((layout = hash_seq_search(&scan)) != NULL)
		if (layout->number <= inbox->old_layouts)
		{
			pfree(layout->columns);
			(void) hash_search(inbox->layouts, &layout->number, HASH_REMOVE, NULL);
		}
	inbox->last = NULL;
	inbox->old_layouts = 0;
}

TdRowLayout *
td_inbox_layout(TdInbox *inbox, uint32 number)
{
	if (inbox->last == NULL || inbox->last->number != number)
		inbox->last = hash_search(inbox->layouts, &number, HASH_FIND, NULL);
	if (inbox->last == NULL)
		damaged();
	return inbox->last;
}

/* Remembers that a relation has changed. */
void
td_touch(TdInbox *inbox, Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(inbox->context);

	inbox->touched = list_append_unique_oid(inbox->touched, relid);
	MemoryContextSwitchTo(old);
}

/* ---- reading the queue ---- */

/*
 * Takes all blocks that are there; false = the capture worker is gone, inbox->error says why if it could.  An error in
 * the middle of a block ends the session as well: the rest of the block would be missing.
 */
bool
td_inbox_fetch(TdInbox *inbox, TdCapture *capture)
{
	TdBytes		block;
	int			rc = 0;

	while (!inbox->gone && !td_worker_should_stop() && (rc = td_capture_read(capture, &block, &inbox->error)) > 0)
	{
		inbox->gone = true;
		take_block(inbox, block);
		inbox->gone = false;
	}
	inbox->gone |= rc < 0;
	return !inbox->gone;
}

/* Reads until everything committed before lsn is here.  The caller has asked for that. */
bool
td_inbox_wait(TdInbox *inbox, TdCapture *capture, XLogRecPtr lsn, int timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	for (;;)
	{
		long		left;

		ResetLatch(MyLatch);
		if (!td_inbox_fetch(inbox, capture) || td_worker_should_stop())
			return false;
		if (inbox->reached >= lsn)
			return true;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
	}
}

/* Splits a block: what belongs to whole transactions, and the beginning of one that is not complete. */
static void
take_block(TdInbox *inbox, TdBytes block)
{
	TdReader	r = {block.data, block.data + block.len};
	TdCaptureMessage m;
	const uint8_t *run = block.data;	/* what is before it is kept, or nothing */
	const uint8_t *begin = block.data;	/* of the transaction that is not complete */
	int			rc;

	while ((rc = td_capture_next(&r, &m)) > 0)
	{
		if (m.kind == TD_CAPTURE_BEGIN)
			begin = m.whole.data;
		if (!inbox->in_transaction && run == m.whole.data && m.kind != TD_CAPTURE_BEGIN)
			run = r.p;			/* between transactions */
		take_message(inbox, &m, &run);
	}
	if (rc < 0)
		damaged();
	if (inbox->in_transaction && !inbox->in_open)
	{
		keep(inbox, inbox->whole, run, begin);
		run = begin;
		inbox->in_open = true;
	}
	keep(inbox, inbox->in_transaction ? inbox->open : inbox->whole, run, r.p);
}

/* What a message tells at once.  *run is the beginning of what is not kept yet of this block: for whole, or, once a part is in open, for open. */
static void
take_message(TdInbox *inbox, const TdCaptureMessage *m, const uint8_t **run)
{
	TdRowLayout *layout;

	if ((m->kind == TD_CAPTURE_BEGIN) == inbox->in_transaction && (m->kind == TD_CAPTURE_BEGIN || m->kind == TD_CAPTURE_COMMIT))
		damaged();
	switch (m->kind)
	{
		case TD_CAPTURE_START:
			inbox->started = true;
			inbox->created = m->created;
			inbox->first_xid = m->xid;
			inbox->start = inbox->progress = inbox->reached = m->lsn;
			break;
		case TD_CAPTURE_PROGRESS:
			inbox->progress = Max(inbox->progress, m->lsn);
			inbox->reached = Max(inbox->reached, m->xid);
			inbox->version = m->version;
			break;
		case TD_CAPTURE_LAYOUT:
			learn_layout(inbox, m);
			break;
		case TD_CAPTURE_BEGIN:
			inbox->in_transaction = true;
			inbox->open_xid = m->xid;
			inbox->open_lsn = m->lsn;
			inbox->open_version = m->version;
			if (m->version > inbox->newest_version)
			{
				inbox->newest_version = m->version;
				inbox->old_layouts = inbox->newest_layout;
			}
			break;
		case TD_CAPTURE_ROW:
			layout = td_inbox_layout(inbox, m->layout);
			if (layout->touched != inbox->epoch)
				td_touch(inbox, layout->relid);
			layout->touched = inbox->epoch;
			break;
		case TD_CAPTURE_UNKNOWN:
		case TD_CAPTURE_DDL:
			td_touch(inbox, m->relid);
			break;
		case TD_CAPTURE_COMMIT:
			take_commit(inbox, m, run);
			break;
	}
}

/* A transaction is complete. */
static void
take_commit(TdInbox *inbox, const TdCaptureMessage *m, const uint8_t **run)
{
	inbox->in_transaction = false;
	inbox->waiting++;
	if (inbox->in_open)
	{
		keep(inbox, inbox->open, *run, m->whole.data + m->whole.len);
		*run = m->whole.data + m->whole.len;
		close_open(inbox);
	}
	if (inbox->full || inbox->lost_open)
		lose_xid(inbox, inbox->open_xid);
	inbox->lost_open = false;
}

/* Keeps a run of messages. */
static void
keep(TdInbox *inbox, TdSpool *spool, const uint8_t *from, const uint8_t *to)
{
	TdError		err = {0};

	if (from >= to || inbox->full || inbox->lost_open)
		return;
	if (!append(inbox, spool, from, to - from, &err))
		lose(inbox, from, to, &err);
}

/* A block with its prefix. */
static bool
append(TdInbox *inbox, TdSpool *spool, const uint8_t *from, size_t len, TdError *err)
{
	if (inbox->scratch_size < len + PREFIX)
	{
		if (inbox->scratch)
			pfree(inbox->scratch);
		inbox->scratch = NULL;
		inbox->scratch_size = 0;
		inbox->scratch = MemoryContextAllocHuge(inbox->context, len + PREFIX);
		inbox->scratch_size = len + PREFIX;
	}
	memset(inbox->scratch, 0, PREFIX);
	memcpy(inbox->scratch + PREFIX, from, len);
	return td_spool_append(spool, inbox->scratch, len + PREFIX, err);
}

/* The transaction in open is complete: it becomes part of whole. */
static void
close_open(TdInbox *inbox)
{
	TdError		err = {0};

	inbox->in_open = false;
	if (inbox->full || inbox->lost_open)
		return;
	if (td_spool_size(inbox->whole) == 0)
	{
		TdSpool    *empty = inbox->whole;

		inbox->whole = inbox->open;
		inbox->open = empty;
	}
	else if (!copy_blocks(inbox->open, inbox->whole, &err))
		lose(inbox, NULL, NULL, &err);
	td_spool_reset(inbox->open);
}

/* Appends all blocks of a spool to another one. */
static bool
copy_blocks(TdSpool *from, TdSpool *to, TdError *err)
{
	TdBytes		block;
	int			rc;

	if (!td_spool_rewind(from, err))
		return false;
	while ((rc = td_spool_read(from, &block, err)) > 0)
	{
		if (!td_spool_append(to, block.data, block.len, err))
			return false;
	}
	return rc == 0;
}

/* ---- what does not fit ---- */

static void
log_full(const TdError *err)
{
	ereport(LOG,
			(errmsg("changes for live views do not fit into the spool, the views will be computed anew"),
			 errdetail_internal("%s", err->message)));
}

/* All transactions of a spool, which is not of use any more. */
static void
lose_spool(TdInbox *inbox, TdSpool *spool)
{
	TdInboxReader r;
	TdCaptureMessage m;

	rewind_spool(&r, spool);
	while (td_inbox_next(&r, &m))
	{
		if (m.kind == TD_CAPTURE_BEGIN)
			lose_xid(inbox, m.xid);
	}
	td_spool_reset(spool);
}

/* Forgets all rows, of what has not been kept as well, but not of which transactions they were. */
static void
lose(TdInbox *inbox, const uint8_t *from, const uint8_t *to, const TdError *err)
{
	TdReader	rest = {from, to};
	TdCaptureMessage m;

	log_full(err);
	inbox->full = true;
	lose_spool(inbox, inbox->whole);
	while (from < to && td_capture_next(&rest, &m) > 0)
	{
		if (m.kind == TD_CAPTURE_BEGIN)
			lose_xid(inbox, m.xid);
	}
	inbox->reading = false;
	td_spool_reset(inbox->open);
}

static void
make_room(TdInbox *inbox)
{
	int			n = Max(inbox->alost * 2, LOST_XIDS);

	inbox->lost_xids = inbox->lost_xids == NULL ?
		MemoryContextAllocHuge(inbox->context, sizeof(uint64) * n) :
		repalloc_huge(inbox->lost_xids, sizeof(uint64) * n);
	inbox->alost = n;
}

/* The tick that sees it first has to recompute what has changed: of which relations is not known. */
static void
lose_xid(TdInbox *inbox, uint64 xid)
{
	td_touch(inbox, InvalidOid);
	if (inbox->nlost == inbox->alost)
	{
		forget_ended(inbox);
		if (inbox->nlost >= inbox->alost / 2)
			make_room(inbox);
	}
	inbox->lost_xids[inbox->nlost++] = xid;
}

/* Xids whose end every snapshot to come will see need not be kept; nor may there be one already, of a tick, that does not see it. */
static void
forget_ended(TdInbox *inbox)
{
	TransactionId oldest = MyProc->xmin;
	int			n = 0;

	for (int i = 0; i < inbox->nlost; i++)
	{
		TransactionId xid = (TransactionId) inbox->lost_xids[i];

		if (TransactionIdIsInProgress(xid) || (TransactionIdIsValid(oldest) && TransactionIdFollowsOrEquals(xid, oldest)))
			inbox->lost_xids[n++] = inbox->lost_xids[i];
		else
			inbox->lost = true;
	}
	inbox->nlost = n;
}

bool
td_inbox_lost(const TdInbox *inbox, const TdSeen *seen, bool *others)
{
	bool		any = inbox->lost;

	*others = false;
	for (int i = 0; i < inbox->nlost; i++)
	{
		if (td_sees(seen, inbox->lost_xids[i]))
			any = true;
		else
			*others = true;
	}
	return any;
}

/* ---- the tick ---- */

bool
td_inbox_due(const TdInbox *inbox)
{
	return inbox->waiting > 0 || inbox->lost || inbox->nlost > 0;
}

/* Bytes that the next tick reads. */
uint64
td_inbox_size(const TdInbox *inbox)
{
	return td_spool_size(inbox->whole);
}

static void
rewind_spool(TdInboxReader *r, TdSpool *spool)
{
	TdError		err = {0};

	r->spool = spool;
	r->block.p = r->block.end = NULL;
	if (!td_spool_rewind(spool, &err))
		td_error_raise_own(&err);
}

/* To the first message; may be done again. */
void
td_inbox_rewind(TdInboxReader *r, TdInbox *inbox)
{
	inbox->reading = true;
	rewind_spool(r, inbox->whole);
}

/* To the next block of the spool; false = there is none.  Apart from what is done for each message: it clears an error value, which is large. */
static pg_noinline bool
next_block(TdInboxReader *r)
{
	TdError		err = {0};
	TdBytes		block;
	int			rc = td_spool_read(r->spool, &block, &err);

	if (rc < 0)
		td_error_raise_own(&err);
	if (rc == 0)
		return false;
	if (block.len < PREFIX)
		damaged();
	r->block.p = block.data + PREFIX;
	r->block.end = block.data + block.len;
	return true;
}

/* The next message, valid until the next call; layouts and what belongs to no transaction are passed over. */
bool
td_inbox_next(TdInboxReader *r, TdCaptureMessage *m)
{
	for (;;)
	{
		int			rc = r->block.p ? td_capture_next(&r->block, m) : 0;

		if (rc < 0)
			damaged();
		if (rc > 0 && m->kind != TD_CAPTURE_LAYOUT && m->kind != TD_CAPTURE_START && m->kind != TD_CAPTURE_PROGRESS)
			return true;
		if (rc == 0 && !next_block(r))
			return false;
	}
}

/*
 * Copies a message of a transaction that the tick does not take.  Message by message they need more room than in
 * blocks: when there is none, they are forgotten; the tick is none the worse.
 */
void
td_inbox_carry(TdInbox *inbox, const TdCaptureMessage *m)
{
	TdError		err = {0};

	if (!inbox->carry_full && !append(inbox, inbox->spare, m->whole.data, m->whole.len, &err))
	{
		log_full(&err);
		inbox->carry_full = true;
		lose_spool(inbox, inbox->spare);
	}
	if (inbox->carry_full && m->kind == TD_CAPTURE_BEGIN)
		lose_xid(inbox, m->xid);
}

/* The tick is committed.  `touched` are the relations of what was carried (of what is open it is not known: they stay). */
void
td_inbox_taken(TdInbox *inbox, const TdSeen *seen, int64 carried, List *touched)
{
	TdSpool    *old = inbox->whole;
	int			n = 0;
	ListCell   *lc;

	inbox->whole = inbox->spare;
	inbox->spare = old;
	td_spool_reset(inbox->spare);
	inbox->reading = false;
	inbox->waiting = inbox->carry_full ? 0 : carried;
	inbox->carry_full = false;
	for (int i = 0; i < inbox->nlost; i++)
	{
		if (!td_sees(seen, inbox->lost_xids[i]))
			inbox->lost_xids[n++] = inbox->lost_xids[i];
	}
	inbox->nlost = n;
	inbox->lost = false;
	inbox->lost_open |= inbox->full && inbox->in_transaction;	/* its beginning was forgotten */
	inbox->full = false;
	if (carried == 0 && !inbox->in_transaction)
		forget_layouts(inbox);
	if (inbox->in_transaction || n > 0)
		return;
	list_free(inbox->touched);
	inbox->touched = NIL;
	inbox->epoch++;
	foreach(lc, touched)
		td_touch(inbox, lfirst_oid(lc));
}

/* The tick was rolled back: what it has read is to be read again, and written to as well. */
void
td_inbox_return(TdInbox *inbox)
{
	TdError		err = {0};
	TdSpool    *old = inbox->whole;

	if (!inbox->reading)
		return;
	inbox->carry_full = false;
	td_spool_reset(inbox->spare);
	if (!copy_blocks(inbox->whole, inbox->spare, &err))
	{
		td_spool_reset(inbox->spare);
		td_error_raise_own(&err);
	}
	inbox->whole = inbox->spare;
	inbox->spare = old;
	inbox->reading = false;
	td_spool_reset(old);
}
