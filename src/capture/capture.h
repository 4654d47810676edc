/*-------------------------------------------------------------------------
 *
 * capture.h
 *		The door of capture/: committed changes of local tables, read from WAL.
 *
 * NOTES
 *		A capture worker decodes for one reader (the view worker of a group), which
 *		starts it and with which it lives and dies: when either ends, the other
 *		notices the detached queue.  Blocks of messages come through a queue in a
 *		dynamic shared memory segment that the reader makes; a full queue stops
 *		the decoding, nothing is dropped, and the WAL stays because the reader has
 *		not confirmed it.
 *
 *		Only whole committed transactions come, in commit order, and only those that
 *		touch a wanted relation.  Each image of a row is one MinimalTuple with the
 *		wanted columns, every value whole (detoasted, decompressed), and the weight
 *		(+1, -1) as its last column: equal rows are equal bytes.  An update is -old
 *		+new; one that changes no wanted column is left out, or (touch) the new row
 *		with weight 0.
 *
 * src/capture/capture.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_CAPTURE_H
#define TD_CAPTURE_H

#include "postgres.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xlogdefs.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "stream/stream.h"
#include "utils/timestamp.h"

#define TD_WEIGHT "tapdata$w"	/* name of the weight column of every delta: bigint, the last one */

/* What a reader wants of one relation. */
typedef struct TdWanted
{
	Oid			relid;			/* as named in a query: a table; rows of its partitions are its own */
	bool		only;			/* without the rows of what inherits from it */
	bool		touch;			/* an update that changes no wanted column comes, too: the new row with weight 0 */
	Bitmapset  *columns;		/* its attribute numbers (> 0); may be empty: rows without columns, only the weight */
} TdWanted;

typedef enum TdCaptureKind
{
	TD_CAPTURE_START = 1,		/* first of all: lsn = the slot's confirmed position, xid = next xid once the slot was consistent, created */
	TD_CAPTURE_LAYOUT,			/* precedes the first row that has it: layout, relid, columns */
	TD_CAPTURE_BEGIN,			/* xid (top-level, 64 bits), lsn = of its commit record, time, version */
	TD_CAPTURE_ROW,				/* layout, tuple */
	TD_CAPTURE_UNKNOWN,			/* relid: this transaction's changes of it can't be told as rows (why); recompute what depends on it */
	TD_CAPTURE_DDL,				/* relid: the transaction touched its definition, or (InvalidOid) one that is not a relation's: compare */
	TD_CAPTURE_COMMIT,
	TD_CAPTURE_PROGRESS			/* everything that was committed before lsn, the end of a record, has been sent; no other record ends at or before the
								 * position in xid; version = of what comes after it.  Unasked: at the end of a block, and every 256 kB of WAL */
} TdCaptureKind;

typedef enum TdUnknown
{
	TD_UNKNOWN_TRUNCATE,
	TD_UNKNOWN_OLD_IMAGE,		/* replica identity does not cover the wanted columns */
	TD_UNKNOWN_COLUMN,			/* a wanted column was not there yet, or not any more */
	TD_UNKNOWN_TOO_LARGE,		/* a row of more than 1 GB once its values are whole */
	TD_UNKNOWN_NOT_BELOW		/* rows of a partition, or of a table that inherited, were sent: it does not belong to this one any more */
} TdUnknown;

/* A column of a layout; name is that of today, not of history: the reader's affair. */
typedef struct TdLayoutColumn
{
	AttrNumber	attnum;			/* in the relation wanted (the root's) */
	Oid			type;
	int32		typmod;
	int16		len;
	bool		byval;
	char		align;
	char		storage;
	Oid			collation;
} TdLayoutColumn;

/* A message as read; pointers into the block. */
typedef struct TdCaptureMessage
{
	TdCaptureKind kind;
	uint32		layout;			/* number, never used twice in a stream */
	Oid			relid;
	uint32		ncolumns;		/* LAYOUT: without the weight */
	const TdLayoutColumn *columns;
	uint64		xid;
	XLogRecPtr	lsn;
	TimestampTz time;
	uint32		version;		/* of td_capture_want that was in force */
	bool		created;
	TdUnknown	why;
	MinimalTuple tuple;			/* maximally aligned */
	TdBytes		whole;			/* the message with its header: may be kept in a spool and read again, maximally aligned again */
} TdCaptureMessage;

/* ---- the reader's side ---- */
typedef struct TdCapture TdCapture;

/*
 * Makes the queue and starts the worker; outside a transaction.  The slot is made when it is missing.  skip_origins: replication origins whose
 * changes are left out (the group's own, and that of all rows of views).  NULL = no free worker.
 */
extern TdCapture *td_capture_open(int32 group, const char *slot, int norigins, const RepOriginId *skip_origins);

/*
 * What is wanted from the next transaction decoded on; the worker answers with a PROGRESS of that version, and before it with the empty transactions of README.md.  Versions ascend from 1.  Decoding
 * begins with the first call: before it nothing is lost.  An empty list wants nothing (but PROGRESS).
 */
extern void td_capture_want(TdCapture *c, uint32 version, List *wanted /* of TdWanted * */ );

/* Asks for a PROGRESS that says that all records which end at or before lsn are decoded (WAL is flushed up to it, maybe only to the middle of a record). */
extern void td_capture_reach(TdCapture *c, XLogRecPtr lsn);

/* The next block, never waits: 1 = one (valid until the next call), 0 = none now, -1 = the worker is gone; its error, if it left one, in *err. */
extern int	td_capture_read(TdCapture *c, TdBytes *block, TdError *err);

/* The reader will never need anything before lsn again: the slot may be confirmed up to there.  reach_follows: td_capture_reach comes at once, which wakes the worker for both. */
extern void td_capture_confirm(TdCapture *c, XLogRecPtr lsn, bool reach_follows);
extern void td_capture_close(TdCapture *c); /* detaches; the worker ends by itself */

/* Reads messages out of a block (or out of what was kept of one): 1 = one, 0 = at the end, -1 = damaged. */
extern int	td_capture_next(TdReader *r, TdCaptureMessage *m);

/* ---- everybody ---- */
extern void td_capture_require(void);	/* 55000 with the lines to change unless the server can decode for us: wal_level, slots, output_plugin_libraries */
extern char *td_capture_lacks(bool *restart);	/* the statements for that; NULL = nothing is missing */
extern char *td_capture_settings(void); /* those settings, as a sentence */
extern void td_capture_slot_name(int32 group, char *name /* NAMEDATALEN */ );	/* tapdata_<database oid>_g<group> */
extern bool td_capture_slot_state(const char *slot, XLogRecPtr *confirmed, bool *lost);	/* false = there is none.  lost: invalidated, WAL removed, of an older timeline.  Not during recovery */
extern void td_capture_slot_drop(const char *slot); /* waits until nobody uses it; no error when it is missing */
extern XLogRecPtr td_capture_flush(void);	/* flushes WAL to the insert position (stepping back over a page header) and returns it */

extern List *td_tables_above(Oid relid);	/* the partitioned tables that it is a partition of, or all that it inherits from, at any distance */

extern void td_capture_init(void);	/* from _PG_init */

#endif							/* TD_CAPTURE_H */
