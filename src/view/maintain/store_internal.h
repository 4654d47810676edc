/*-------------------------------------------------------------------------
 *
 * store_internal.h
 *		What net, hash and the store_*.c files of maintain/ share.
 *
 * NOTES
 *		Words: an *image* of a value is its bytes, whole and not compressed; a
 *		*target* is a relation opened for writing; a *probe* finds rows of a store.
 *
 * src/view/maintain/store_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_STORE_INTERNAL_H
#define TD_STORE_INTERNAL_H

#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat/compat.h"
#include "view/view_internal.h"

/* ---- memory that is given out in order, and back with its context ---- */
typedef struct TdBump
{
	MemoryContext context;
	char	   *next;
	char	   *end;
	Size		used;			/* all of it */
} TdBump;

#define TD_BUMP_FIRST 1024		/* bytes: most of a tick's deltas are a few rows; doubling to */
#define TD_BUMP_BLOCK (32 * 1024)

/* size bytes, maximally aligned. */
static inline void *
td_bump(TdBump *bump, Size size)
{
	char	   *p;

	size = MAXALIGN(size);
	if (unlikely((Size) (bump->end - bump->next) < size))
	{
		Size		block = Max(size, Min(Max(bump->used, TD_BUMP_FIRST), TD_BUMP_BLOCK));

		bump->next = MemoryContextAllocHuge(bump->context, block);
		bump->end = bump->next + block;
		bump->used += block;
	}
	p = bump->next;
	bump->next += size;
	return p;
}

#define TD_SET_FIRST 16			/* entries that a hash table of rows begins with */

/* ---- normal.c: values as images ---- */
typedef struct TdNormal
{
	Oid			type;
	int16		len;
	bool		byval;
	bool		packable;		/* a short header is what a tuple gives it anyway */
	bool		deep;			/* composite, or an array of them: its parts are made whole too */
} TdNormal;

extern void td_normal_init(TdNormal *normal, Oid type, bool packable);
extern TdNormal *td_normal_columns(TupleDesc desc, int ncolumns);
extern Datum td_normal_deep(Oid type, Datum value);
extern bool td_image_equal(const TdNormal *normal, Datum a, Datum b);
extern uint64 td_image_hash(const TdNormal *normal, Datum value, uint64 seed);
extern void td_image_append(const TdNormal *normal, Datum value, StringInfo into);

/* The value as it is put into a normalized tuple; in CurrentMemoryContext when it had to be made. */
static inline Datum
td_normal_value(const TdNormal *normal, Datum value)
{
	if (normal->len != -1)
		return value;
	if (normal->deep)
		return td_normal_deep(normal->type, value);
	/* a pointer to a value out of line counts as short, too */
	if (normal->packable && VARATT_IS_SHORT(DatumGetPointer(value)) && !VARATT_IS_EXTERNAL(DatumGetPointer(value)))
		return value;
	return PointerGetDatum(PG_DETOAST_DATUM(value));
}

/* Where the weight of a delta's tuple stands: it is the last attribute, never null, and eight bytes. */
static inline char *
td_weight_at(MinimalTuple tuple)
{
	return (char *) tuple + tuple->t_len - sizeof(int64);
}

static inline int64
td_weight_of(MinimalTuple tuple)
{
	int64		weight;

	memcpy(&weight, td_weight_at(tuple), sizeof(weight));
	return weight;
}

/* ---- store_target.c: a relation opened for writing ---- */
typedef struct TdTarget
{
	MemoryContext context;		/* of whoever opened it */
	Relation	rel;
	TupleDesc	desc;			/* its columns, then the weight */
	int			ncolumns;
	AttrNumber *attnums;		/* of these columns in rel */
	TdNormal   *normal;			/* of these columns */
	EState	   *estate;
	ResultRelInfo *rri;
	bool		indexes;		/* are open, and kept */
	bool		constraints;	/* not null, check */
	/* rows waiting for table_multi_insert */
	BulkInsertState bulk;		/* NULL = a few rows; else of one command, */
	CommandId	cid;
	TupleTableSlot **slots;		/* NULL = none yet */
	int			nslots;			/* made */
	int			nrows;			/* filled */
	Size		bytes;
} TdTarget;

extern void td_store_target_open(TdTarget *t, Oid relid, MemoryContext context);
extern void td_store_target_close_indexes(TdTarget *t);
extern void td_store_target_close(TdTarget *t);
extern char *td_store_target_name(const TdTarget *t);	/* "schema.table", quoted as needed, for messages */
extern void td_store_target_fill(TdTarget *t, TupleTableSlot *row, TupleTableSlot *into);
extern void td_store_target_check(TdTarget *t, TupleTableSlot *row);
extern void td_store_target_add(TdTarget *t, TupleTableSlot *row);
extern void td_store_target_flush(TdTarget *t);
extern void td_store_target_index(TdTarget *t, TupleTableSlot *row, bool update, bool only_summarizing);	/* a row that is in the heap */

/* ---- store.c ---- */
struct TdStore
{
	TdTarget	target;
	int			nkeys;
	AttrNumber *keys;			/* columns of desc */
	Snapshot	snapshot;		/* ours alone: the active one at open, with our own changes up to now */
	/* the probe; no index: the empty key */
	Relation	index;
	IndexInfo  *index_info;
	bool		by_image;
	bool		swaps;			/* a unique index of the user's: updates may swap its values */
	bool		hidden;			/* no table of a user's: state, parts, keepers, new definitions */
	IndexScanDesc scan;
	int			nskeys;
	ScanKeyData *skeys;
	int		   *key_of;			/* per scan key, position in keys */
	TupleTableSlot *found;		/* a row of the table as it is stored */
	TupleTableSlot *image;		/* a row to write */
	TupleTableSlot *input;		/* a row of a delta */
	TupleTableSlot *output;		/* of td_store_find and td_store_part_rows */
};

extern TupleTableSlot *td_store_output(TdStore *s, TupleTableSlot *row);

/* ---- store_probe.c ---- */
extern bool td_store_index_is_plain(Relation index, const IndexInfo *info);
extern void td_store_scan_key(ScanKey key, Relation index, int i);
extern void td_store_scan_value(ScanKey key, Datum value, bool null);
extern void td_store_probe_open(TdStore *s);
extern void td_store_probe_close(TdStore *s);
extern bool td_store_probe_key(TdStore *s, TupleTableSlot *row, const AttrNumber *columns);
extern void td_store_probe_image(TdStore *s, TupleTableSlot *row);
extern bool td_store_probe_image_next(TdStore *s, TupleTableSlot *row);

/* ---- store_write.c ---- */
extern void td_store_delete_found(TdStore *s);
extern void td_store_update_found(TdStore *s, TupleTableSlot *row);
extern void td_store_damaged(TdStore *s, TupleTableSlot *row, const char *what) pg_attribute_noreturn();

/* ---- store_pairs.c: the rows of a delta by key ---- */
typedef struct TdRowPair
{
	struct TdRowPair *next;		/* in order of arrival */
	MinimalTuple old_row;		/* NULL = none */
	MinimalTuple new_row;
} TdRowPair;

typedef struct TdPairs TdPairs;

extern TdPairs *td_pairs_load(TdStore *s, Tuplestorestate *delta);
extern TdRowPair *td_pairs_first(TdPairs *pairs);
extern void td_pairs_free(TdPairs *pairs);
extern Tuplestorestate **td_pairs_split(TdStore *s, Tuplestorestate *delta, Size limit, int *nparts);

#endif							/* TD_STORE_INTERNAL_H */
