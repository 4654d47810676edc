/*-------------------------------------------------------------------------
 *
 * apply.h
 *		The door of apply/: records into local tables.
 *
 * NOTES
 *		All functions run inside the caller's (the pipeline worker's) transaction
 *		and act as the owner of the table they touch, restricted
 *		(SECURITY_RESTRICTED_OPERATION, search_path pg_catalog, pg_temp, replica
 *		role); they raise errors with the table, and where one row is to blame its key.
 *		Nothing in here waits for a network, or knows where records come from.
 *
 * src/apply/apply.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_APPLY_H
#define TD_APPLY_H

#include "postgres.h"
#include "catalog/catalog.h"
#include "stream/stream.h"

/* ---- target tables ---- */
extern char *td_target_type(const TdColumn *column);	/* PostgreSQL type text: "character varying(20)", "numeric(20,0)", "timestamp(3) with time zone" */
extern void td_target_check_name(const char *name);	/* 42622 for more than 63 bytes */
extern Oid	td_target_create_load(const TdPipeline *p, const TdPipelineTable *t, const TdSchema *schema);	/* tapdata_state.load_<id>_<n>, no index yet; replaces a left-over */
extern void td_target_build_key(const TdPipeline *p, const TdPipelineTable *t, const TdSchema *schema);	/* primary key, after the load */
extern void td_target_publish(const TdPipeline *p, List *tables);	/* all load tables into their schema: 42P07, existing policy, write guard trigger */
extern void td_target_check(const TdPipelineTable *t, Oid pipeline_owner);	/* before streaming: exists, owner may be set, no deferrable unique, not partitioned, no RLS trap; 42P01, 42501, 55000 with hints */

/* ---- loading: INSERT records of one table, straight into the heap ---- */
typedef struct TdLoad TdLoad;

extern TdLoad *td_load_begin(Oid relation, const TdSchema *schema);	/* once per transaction */
extern void td_load_row(TdLoad *load, const TdRecord *rec);
extern int64 td_load_end(TdLoad *load); /* rows */

/* ---- changes: whole source transactions ---- */
typedef struct TdApply TdApply;

typedef struct TdApplyOptions
{
	TdInsertPolicy insert_policy;
	bool		catching_up;	/* replay over a load: rows may be there already, or be gone already */
} TdApplyOptions;

/* Lives for the whole stream in CurrentMemoryContext: schemas, table cache (invalidated by relcache), statistics. */
extern TdApply *td_apply_create(const TdPipeline *p, List *tables);
extern void td_apply_schema(TdApply *a, const TdRecord *rec);	/* a SCHEMA record; outside or inside a transaction: only remembers it */
extern void td_apply_options(TdApply *a, const TdApplyOptions *options);

/*
 * In one transaction: begin, then td_apply_record for each row and TRUNCATE in source order (it copies, so nothing of the record is
 * needed afterwards, and writes by itself past half of tapdata.worker_memory), then td_apply_end.  The caller writes the checkpoint and commits.
 * Row-by-row fallback: when a set-wise flush fails with class 23, apply rolls back its own subtransaction and repeats that flush in source order, row by row,
 * so that it either fits or the culprit is named (23505 etc. with table and key in detail).
 */
extern void td_apply_begin(TdApply *a);
extern void td_apply_record(TdApply *a, const TdRecord *rec);
extern void td_apply_flush(TdApply *a);	/* the caller has time: writes what waits if it is worth it */
extern int64 td_apply_end(TdApply *a);	/* row changes applied */
extern void td_apply_reset(TdApply *a); /* after an error, in a new state of the world */

extern char *td_row_key_text(const TdSchema *schema, TdBytes row);	/* "(id)=(42)" for messages; "" without a key */

#endif							/* TD_APPLY_H */
