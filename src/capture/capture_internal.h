/*-------------------------------------------------------------------------
 *
 * capture_internal.h
 *		What the files of capture/ share: the segment between reader and worker,
 *		blocks of messages, and the decoder of the worker.
 *
 * NOTES
 *		README.md has the protocol.  Everything in TdControl that is not an atomic
 *		is written once, before the other side can see it, or under its mutex.
 *
 * src/capture/capture_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_CAPTURE_INTERNAL_H
#define TD_CAPTURE_INTERNAL_H

#include "access/tupdesc.h"
#include "access/tupmacs.h"
#include "capture/capture.h"
#include "executor/tuptable.h"
#include "port/atomics.h"
#include "replication/logical.h"
#include "replication/reorderbuffer.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/spin.h"
#include "utils/hsearch.h"
#include "utils/relcache.h"

#define TD_CAPTURE_QUEUE (1024 * 1024)	/* bytes on their way */
#define TD_CAPTURE_BLOCK (256 * 1024)	/* a block is sent when it has grown to this */
#define TD_CAPTURE_NEWS (256 * 1024)	/* WAL decoded without a PROGRESS, at most */
#define TD_CAPTURE_ORIGINS 16
#define TD_WANTED_ONLY 1		/* flags of a wanted relation in its segment */
#define TD_WANTED_TOUCH 2
#define TD_CAPTURE_ROW_MAX (MaxAllocSize - 65536)	/* of one image */

/* ======== the segment: control, then the queue ======== */

typedef struct TdControl
{
	/* from the start */
	char		slot[NAMEDATALEN];
	int			norigins;
	RepOriginId origins[TD_CAPTURE_ORIGINS];
	/* under the mutex */
	slock_t		mutex;
	PGPROC	   *worker;			/* NULL until it has attached, and after it has left */
	dsm_handle	wanted;			/* of the newest version */
	uint32		wanted_version;
	/* the reader's */
	pg_atomic_uint32 version;	/* a cheap look at wanted_version */
	pg_atomic_uint64 reach;
	pg_atomic_uint64 confirm;
	pg_atomic_uint32 closed;	/* the reader has left */
	/* the worker's */
	pg_atomic_uint32 creating;	/* it may wait for transactions: only a signal ends that */
	pg_atomic_uint32 failed;	/* error is there */
	pg_atomic_uint64 announced; /* pieces that are in the queue, or about to be; one more once it leaves */
	TdError		error;
} TdControl;

#define TD_CONTROL_SIZE BUFFERALIGN(sizeof(TdControl))

/* reader.c: what a wanted set looks like in its segment, and how the worker finds the reader's */
extern bool td_capture_claim(Oid database, int32 group, dsm_handle *handle);
extern void td_capture_shmem_init(void);

/* ======== message.c: no function of the server in it ======== */

extern size_t td_message_size(const TdCaptureMessage *m);	/* header and padding included */
extern void td_message_write(uint8_t *to, const TdCaptureMessage *m);	/* all kinds but ROW; to: td_message_size() bytes */
extern size_t td_message_row_size(uint32 tuple_len);
extern MinimalTuple td_message_row(uint8_t *to, uint32 layout, uint32 tuple_len);	/* zeroed but for t_len, for the caller to fill */
extern size_t td_message_length(const uint8_t *message);	/* of one that we wrote */

/* ======== the worker ======== */

/* The columns wanted of one relation with the types they had at some time. */
typedef struct TdLayout
{
	uint32		number;
	bool		sent;
	int			ncolumns;
	TdLayoutColumn *columns;
	TupleDesc	desc;			/* to form rows with: the columns, then the weight */
	int			nvarlena;
	int		   *varlena;		/* positions of columns of variable length */
} TdLayout;

typedef struct TdRoot
{
	Oid			relid;			/* hash key */
	bool		only;			/* rows of what inherits from it are not wanted */
	bool		touch;			/* updates that change no wanted column are */
	int			ncolumns;
	AttrNumber *attnums;		/* ascending */
	List	   *layouts;		/* of TdLayout * */
	uint64		unknown;		/* serial of the last transaction that said UNKNOWN */
	uint64		ddl;			/* ... that said DDL */
} TdRoot;

/* One wanted relation that the rows of a relation belong to: itself, or one that it is a partition of or inherits from. */
typedef struct TdTarget
{
	TdRoot	   *root;
	TdLayout   *layout;			/* NULL = a wanted column is not there */
	AttrNumber *attnums;		/* per column of the layout: in the relation itself */
	bool		noted;			/* below.c knows that its rows go there */
	bool		old_whole;		/* old tuples hold all of these, or were not logged since none of them changed */
} TdTarget;

/* What is known of a relation of the past; irrelevant ones have no targets. */
typedef struct TdRelation
{
	Oid			relid;			/* hash key */
	bool		valid;
	bool		below;			/* others: it is a partition, or inherits */
	bool		full;			/* replica identity */
	int			natts;			/* to be deformed */
	int			ntargets;
	TdTarget   *targets;
	TupleTableSlot *old_slot;
	TupleTableSlot *new_slot;
	MemoryContext context;		/* NULL = nothing to free */
} TdRelation;

typedef struct TdImage
{
	Datum		values[MaxTupleAttributeNumber];
	bool		nulls[MaxTupleAttributeNumber];
	Size		size;			/* of data */
} TdImage;

typedef struct TdDecoder
{
	MemoryContext context;		/* of the worker's life */
	MemoryContext row_context;	/* values made whole; reset after a row */
	bool		row_dirty;
	TdControl  *control;
	shm_mq_handle *queue;
	LogicalDecodingContext *ctx;
	bool		created;		/* the slot, by us */
	/* what is wanted */
	MemoryContext wanted_context;
	HTAB	   *roots;			/* of TdRoot */
	int			nroots;
	HTAB	   *relations;		/* of TdRelation */
	long		trim_at;		/* entries: then those that are not needed go */
	HTAB	   *ancestors;		/* of Oid: when one changes, all that are below others are looked at again */
	TdRelation *last;
	HTAB	   *below;			/* below.c; NULL = nothing yet */
	HTAB	   *above;			/* likewise, of Oid */
	bool		below_changed;
	uint32		version;		/* in force; 0 = nothing has been wanted yet */
	uint32		next_layout;
	/* the block */
	uint8_t    *block;
	Size		len;
	Size		cap;
	/* the transaction being decoded */
	ReorderBufferTXN *txn;
	uint64		serial;
	List	   *ahead;			/* xids decoded before pg_xact knew that they are committed */
	bool		begun;			/* BEGIN is written */
	uint64		other_ddl;		/* serial of the last transaction that said DDL without a relation */
	uint32		changes;
	TdImage    *old_image;
	TdImage    *new_image;
	/* where we are */
	XLogRecPtr	decoded;		/* all records that end here or before */
	XLogRecPtr	read_to;		/* the same, but maybe within a record that is not flushed whole: >= decoded */
	XLogRecPtr	told;			/* the last PROGRESS: decoded then */
	XLogRecPtr	answered;		/* and read_to */
	uint32		told_version;
	XLogRecPtr	confirmed;
	TimestampTz confirmed_at;
	TimestampTz tried_at;		/* when it was flushed up to `tried` */
	bool		found;			/* records, since we last slept */
	XLogRecPtr	tried;			/* WAL that was flushed when we last began to read */
	bool		committed;		/* a commit woke us, whose WAL may not be flushed */
	TimestampTz found_at;
	XLogRecPtr	behind;			/* WAL that was not flushed when we looked; 0 = none */
	TimestampTz behind_since;
	TimestampTz flushed_at;		/* by us */
} TdDecoder;

extern TdDecoder *td_decoder;	/* NULL = this process does not decode for us */

/* decode.c */
extern void td_decode(TdDecoder *d);	/* until it shall stop */

/* slot.c */
extern void td_slot_open(TdDecoder *d); /* makes or acquires the slot; sets ctx */

/* wal.c */
extern int	td_wal_page_read(XLogReaderState *state, XLogRecPtr page, int wanted, XLogRecPtr record, char *to);
extern XLogRecPtr td_wal_inserted(void);
extern bool td_wal_next(TdDecoder *d);	/* decodes one record; false = there is none yet */

/* out.c */
extern uint8_t *td_out_reserve(TdDecoder *d, Size more);	/* then add it to d->len */
extern void td_out_put(TdDecoder *d, const TdCaptureMessage *m);
extern void td_out_room(TdDecoder *d);	/* before a row: sends the block when it is full */
extern void td_out_flush(TdDecoder *d); /* waits for the reader; raises ERRCODE_TD_STOP when it is gone */
extern void td_out_progress(TdDecoder *d);

/* plugin.c */
extern void td_plugin_begin(TdDecoder *d);	/* BEGIN, unless it is written */
extern void td_plugin_unseen(TdDecoder *d, uint32 version);	/* committed, and maybe decoded by that version, but not seen yet */
extern void td_plugin_unknown(TdDecoder *d, TdRoot *root, TdUnknown why);
extern void td_plugin_check_stop(void);

/* relation.c */
extern void td_relations_reset(TdDecoder *d, uint32 version, const uint8_t *wanted, Size len);
extern void td_relations_trim(TdDecoder *d);	/* between transactions */
extern TdRelation *td_relation_get(TdDecoder *d, Relation rel);
extern List *td_relation_roots(TdDecoder *d, Oid relid);	/* of TdRoot *: also what it belonged to before it changed */

/* below.c */
extern void td_below_sent(TdDecoder *d, Oid relid, Oid root);
extern void td_below_invalidate(TdDecoder *d, Oid relid);
extern void td_below_check(TdDecoder *d);

/* row.c */
extern void td_row_change(TdDecoder *d, TdRelation *rel, TdTarget *target, bool minus, HeapTuple old, bool plus, HeapTuple new);
extern void td_row_touch(TdDecoder *d, TdRelation *rel, TdTarget *target, HeapTuple new);

extern PGDLLEXPORT void td_capture_main(Datum main_arg);

#endif							/* TD_CAPTURE_INTERNAL_H */
