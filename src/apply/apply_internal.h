/*-------------------------------------------------------------------------
 *
 * apply_internal.h
 *		What the files of apply/ share.
 *
 * NOTES
 *		Words: a *binding* says how a source table's columns, key and schema
 *		stand in a target relation, and outlives transactions; a *writer* is a
 *		binding opened for writing within one flush; a *batch* is one table's
 *		part of a flush, consolidated by key.
 *
 *		Lifetimes: stream (TdApply) > transaction > flush > chunk (the arena of
 *		a writer, reset after some thousand rows).
 *
 * src/apply/apply_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_APPLY_INTERNAL_H
#define TD_APPLY_INTERNAL_H

#include "access/genam.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "lib/ilist.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "apply/apply.h"

/* ---- arena.c: memory that is given out in order and taken back at once ---- */
typedef struct TdArena
{
	MemoryContext context;
	char	   *next;
	char	   *end;
	char	   *first;			/* kept through resets */
	Size		used;			/* in blocks beyond the first */
} TdArena;

#define TD_ARENA_BLOCK (64 * 1024)

extern void td_arena_init(TdArena *arena, MemoryContext parent);
extern void td_arena_reset(TdArena *arena);
extern void *td_arena_more(TdArena *arena, Size size);

/* size bytes, maximally aligned. */
static inline void *
td_arena_alloc(TdArena *arena, Size size)
{
	char	   *p = arena->next;

	size = MAXALIGN(size);
	if (unlikely((Size) (arena->end - p) < size))
		return td_arena_more(arena, size);
	arena->next = p + size;
	return p;
}

/* ---- guard.c: whose rights we use ---- */
typedef struct TdGuard
{
	Oid			user;			/* to go back to */
	int			sec_context;
	int			guc_level;
	Oid			owner;			/* acted as now, InvalidOid = nobody */
} TdGuard;

extern void td_guard_enter(TdGuard *guard, Oid owner);
extern void td_guard_switch(TdGuard *guard, Oid owner);
extern void td_guard_leave(TdGuard *guard);
extern void td_guard_spi(Oid role, const char *statement);

/* ---- check.c ---- */
extern void td_check_role(Relation rel, Oid pipeline_owner);
extern void td_check_relation(Relation rel, Oid pipeline_owner);
extern char *td_relation_name(Relation rel);

/* ---- bind.c ---- */
typedef struct TdColumnMap
{
	const TdColumn *column;		/* in the source */
	AttrNumber	attnum;			/* in the target */
	TdType		type;
	Oid			typid;			/* of the target */
	int32		typmod;
	int32		limit;			/* TEXT: most characters; BIT: bits; times: what must divide the microseconds; DECIMAL: scale; 0 / -1 = any */
	int32		whole_digits;	/* DECIMAL: most digits before the point, -1 = any */
	bool		not_null;
} TdColumnMap;

typedef struct TdBinding
{
	MemoryContext context;
	const TdSchema *schema;
	Oid			relid;
	Oid			owner;			/* of the table */
	char	   *name;			/* "schema.table", quoted, for messages */
	bool		valid;			/* cleared by relcache invalidation */
	TdColumnMap *columns;		/* schema->ncolumns */
	int		   *sources;		/* per target attribute, position in schema->columns, -1 = none */
	bool		covers;			/* every column of the target comes from the source, none is dropped */
	bool		constraints;	/* ExecConstraints has something to do */
	bool		generated;
	bool		row_triggers;	/* that fire for us */
	int			ndefaults;		/* columns of the target with a default */
	AttrNumber *default_attnums;
	Expr	  **default_exprs;
	Oid			key_index;		/* unique index on the source's key, InvalidOid = none */
	int			nkeys;
	uint32	   *key_columns;	/* per index column, position in schema->columns */
	RegProcedure *key_procs;
	Oid		   *key_collations;
} TdBinding;

extern TdBinding *td_binding_create(MemoryContext parent, Relation rel, const TdSchema *schema);
extern void td_binding_destroy(TdBinding *binding);

/* ---- type.c ---- */
extern bool td_type_fits(TdColumnMap *map);

/* ---- datum.c ---- */
extern Datum td_value_datum(const TdBinding *b, uint32 column, const TdValue *value, TdBytes row, TdArena *arena);
extern void td_values_fill(const TdBinding *b, const TdValue *values, TdBytes row, TdArena *arena, Datum *datums, bool *nulls);
extern void td_value_error(const TdBinding *b, uint32 column, TdBytes row, int sqlstate, const char *what) __attribute__((noreturn));

/* ---- numeric.c ---- */
extern Datum td_numeric_from_uint64(uint64 value, TdArena *arena);
extern Datum td_numeric_from_wire(TdBytes wire, const TdColumnMap *map, TdArena *arena);	/* 0 = the slow way has to do it */


/* ---- writer.c ---- */
#define TD_WRITER_ROWS 1000
#define TD_WRITER_BYTES (64 * 1024)

typedef struct TdWriter
{
	TdBinding  *binding;
	Relation	rel;
	MemoryContext context;
	EState	   *estate;
	ResultRelInfo *rri;
	EPQState	epq;
	TdArena		arena;
	TdValue    *values;			/* of the row at hand */
	TdValue    *older;			/* of the image before it */
	ExprState **defaults;
	bool		triggers;		/* row triggers: the executor's own functions do the work */
	/* rows waiting for table_multi_insert */
	struct BulkInsertStateData *bulk;
	TupleTableSlot **slots;
	int			nslots;			/* made */
	int			nrows;			/* filled */
	Size		bytes;
	/* finding rows */
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData *skeys;
	TupleTableSlot *found;
	TupleTableSlot *image;
} TdWriter;

/* Must what waits be flushed before more is added? */
static inline bool
td_writer_is_full(const TdWriter *w)
{
	return w->nrows == TD_WRITER_ROWS || w->bytes >= TD_WRITER_BYTES;
}

extern TdWriter *td_writer_open(TdBinding *binding, Relation rel, MemoryContext parent, bool loading);
extern void td_writer_close(TdWriter *w);
extern bool td_writer_read(TdWriter *w, TdBytes row, TdValue *values);	/* true = some columns are absent or unchanged */
extern void td_writer_add(TdWriter *w, const TdValue *values, bool partial, TdBytes row);
extern void td_writer_flush(TdWriter *w);
extern void td_writer_insert(TdWriter *w, const TdValue *values, bool partial, TdBytes row);
extern bool td_writer_update(TdWriter *w, const TdValue *values, bool partial, bool replace, TdBytes row);
extern bool td_writer_delete(TdWriter *w);
extern void td_writer_rewind(TdWriter *w);

/* ---- probe.c ---- */
extern bool td_probe_key(TdWriter *w, const TdValue *values, TdBytes row);
extern bool td_probe_image(TdWriter *w, const TdValue *values, TdBytes row);
extern void td_probe_close(TdWriter *w);
extern bool td_probe(TdWriter *w, const TdValue *values, TdBytes row);
extern void td_snapshot_push(void);
extern void td_snapshot_pop(void);
extern void td_snapshot_advance(void);
extern void td_snapshot_renew(void);

/* ---- key.c ---- */
extern uint32 td_key_encode(const TdSchema *schema, const TdValue *values, TdArena *arena, uint8 **key);
extern int64 td_key_order(const TdSchema *schema, const uint8 *key, uint32 len);
extern bool td_key_complete(const TdSchema *schema, const TdValue *values);

/* ---- batch.c ---- */

/* A row change as it waits for its flush; the rows are copies in the flush's memory. */
typedef struct TdPending
{
	TdBytes		old_row;
	TdBytes		new_row;
	uint32		table;			/* index in TdApply */
	uint32		before;			/* the change of the same key before this one, TD_NONE = none */
	TdOp		op;
} TdPending;

#define TD_NONE UINT32_MAX

/* All changes of one key within a flush. */
typedef struct TdEntry
{
	uint64		hash;
	const uint8 *key;
	uint32		key_len;
	uint32		last;			/* newest change with an image, or the first of all */
	TdOp		first;			/* says whether the row should be there: INSERT = no */
	bool		alive;			/* after the last change */
	bool		deleted;		/* a DELETE is among the changes */
	bool		inserted;		/* an INSERT is, after the first change */
} TdEntry;

typedef struct TdBatch
{
	MemoryContext context;		/* the flush's */
	TdArena		arena;
	TdEntry    *entries;
	uint32		nentries;
	uint32		max_entries;
	uint32	   *buckets;
	uint32		mask;
	uint32	   *sequence;		/* keyless: the changes in order */
	uint32		nsequence;
	uint32		max_sequence;
	int64		missing;		/* changes of a row that the batch itself has deleted */
} TdBatch;

extern TdBatch *td_batch_create(MemoryContext context);
extern TdEntry *td_batch_entry(TdBatch *batch, const uint8 *key, uint32 len, bool *found);
extern uint32 *td_batch_order(TdBatch *batch, const TdSchema *schema);
extern void td_batch_sequence(TdBatch *batch, uint32 pending);

/* ---- image.c ---- */
extern bool td_image_of(TdWriter *w, const TdPending *p, TdValue *values);	/* true = partial */
extern bool td_image_fill(TdWriter *w, TdBytes row, TdValue *values);	/* true = still partial */

/* ---- apply.c ---- */
typedef struct TdTable
{
	char	   *source_database;
	char	   *source_table;
	char	   *target_schema;
	char	   *target_table;
	Oid			relation;
	TdSchema   *schema;			/* malloc'ed */
	TdSchema   *next_schema;	/* takes over once what is pending is flushed */
	char	   *name;			/* "schema.table" as planned, for messages about a table that is gone */
	TdBinding  *binding;
	bool		probe_inserts;	/* blind inserts met existing rows */
	int64		missing;		/* changes that found no row, not yet in the log */
	int64		missing_before;	/* the same before the flush */
	TimestampTz missing_logged; /* when they last were */
	uint32		npending;		/* of the flush to come */
	/* within a flush */
	Relation	rel;
	TdBatch    *batch;
	TdWriter   *writer;
} TdTable;

struct TdApply
{
	dlist_node	node;			/* all of this process, for the invalidation callback */
	MemoryContext context;		/* stream */
	MemoryContext flush_context;
	MemoryContext work;			/* one attempt at a flush */
	MemoryContextCallback cleanup;
	int32		pipeline_id;
	char	   *pipeline_name;
	Oid			pipeline_owner;
	TdApplyOptions options;
	Size		memory_limit;
	TdTable    *tables;
	int			ntables;
	HTAB	   *by_id;			/* source table id -> index in tables */
	uint32		last_id;		/* the look-up before this one */
	TdTable    *last_table;
	/* waiting for the flush */
	TdArena		rows;
	TdPending  *pending;
	uint32		npending;
	uint32		max_pending;
	Size		bytes;
	int64		applied;		/* in this transaction */
	bool		active;			/* between begin and end */
	const TdPending *current;	/* being applied, for messages */
	TdTable    *current_table;
};

extern void td_apply_missing(TdApply *a, TdTable *t, int64 n);
extern void td_apply_open_writers(TdApply *a, TdGuard *guard);
extern void td_apply_close_writers(TdApply *a, TdGuard *guard);

/* ---- change.c: a flush as sets;  replay.c: the same row by row;  truncate.c ---- */
extern void td_change_run(TdApply *a, TdGuard *guard);
extern void td_replay_run(TdApply *a, TdGuard *guard);
extern void td_replay_one(TdApply *a, TdGuard *guard, const TdPending *p);
extern void td_truncate(TdApply *a, TdTable *t);

#endif							/* TD_APPLY_INTERNAL_H */
