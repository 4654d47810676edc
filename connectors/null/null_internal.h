/*-------------------------------------------------------------------------
 *
 * null_internal.h
 *		The source that the null connector makes up.
 *
 * NOTES
 *		Table t<i> (i from 0) has the rows 1 to `rows`, which never change, and
 *		behind them the rows of the log.  Transaction k (from 1) concerns table
 *		(k - 1) % tables and all rows_per_transaction rows of a cycle c of that
 *		table; a cycle is three transactions: insert, update, delete.  So every
 *		row at every position can be computed, and a table stays as large as it
 *		is.
 *
 * connectors/null/null_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_NULL_INTERNAL_H
#define TD_NULL_INTERNAL_H

#include "tapdata_util.h"

#define NULL_COLUMNS_MAX 1000

typedef struct NullSource
{
	uint64_t	tables;
	uint64_t	keyless;		/* the last so many have no key */
	uint64_t	rows;
	uint64_t	columns;
	uint64_t	row_bytes;
	uint64_t	transactions;	/* length of the log with interval_us = 0 */
	uint64_t	per_transaction;
	uint64_t	interval_us;
	uint64_t	seed;
	uint64_t	text_bytes;		/* of one text value */
	TdColumn	columns_of[NULL_COLUMNS_MAX];
	char		names[NULL_COLUMNS_MAX][8];
	uint32_t	keys[1];
} NullSource;

/* Which step of a cycle a transaction is. */
typedef enum NullPhase
{
	NULL_INSERT, NULL_UPDATE, NULL_DELETE
} NullPhase;

/* A transaction of the log. */
typedef struct NullTransaction
{
	uint64_t	number;
	uint64_t	table;
	NullPhase	phase;
	uint64_t	first_id;
} NullTransaction;

extern void null_source_init(NullSource *source, const TdConfig *config);
extern void null_schema(NullSource *source, uint64_t table, char *name, size_t size, TdSchema *schema);
extern bool null_find_table(const NullSource *source, const char *name, uint64_t *table);
extern uint64_t null_log_end(const NullSource *source);
extern int64_t null_commit_time(const NullSource *source, uint64_t number);
extern NullTransaction null_transaction(const NullSource *source, uint64_t number);

/* The rows of the log that a table has at a position: n of them from *first on, 0 = none. */
extern uint64_t null_live_rows(const NullSource *source, uint64_t table, uint64_t position, uint64_t *first, int *version);
extern void null_put_row(const NullSource *source, TdBuffer *out, uint64_t table, uint64_t id, int version);

#endif							/* TD_NULL_INTERNAL_H */
