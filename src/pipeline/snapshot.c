/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *		The initial load: tables nobody sees yet, chunk by chunk.
 *
 * NOTES
 *		Runs in the pipeline worker.  The position of the source is stored before
 *		the first chunk (load_position, the stream will begin there) and after
 *		the last one (catch_up_position, the mirror is published there).
 *
 *		A chunk is received whole into the spool, outside any transaction, and
 *		then committed together with its cursor: a table with a key goes on
 *		there after a crash.  One without a key is read from one snapshot and
 *		begins anew.
 *
 * IDENTIFICATION
 *		src/pipeline/snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "pipeline/pipeline_internal.h"
#include "util/util.h"

#define CHUNK_BYTES (8 * 1024 * 1024)	/* committed together; several of the connector's chunks */

/* One table while it is loaded. */
typedef struct Loading
{
	TdRun	   *run;
	TdPipelineTable *table;
	TdSchema   *schema;			/* malloc'ed, freed with the context */
	char	   *skip_to;
	char	   *cursor;			/* of the last CHUNK in the spool, NULL = none yet */
	bool		complete;		/* END was seen */
	MemoryContext context;
	MemoryContextCallback on_reset;
} Loading;

static void load_table(TdRun *run, TdPipelineTable *t);
static void receive_block(Loading *l, TdBytes block);
static size_t scan_block(Loading *l, TdBytes block);
static void adopt_schema(Loading *l, const TdRecord *rec);
static void commit_chunk(Loading *l);
static void finish_table(Loading *l);
static void free_schema(void *arg);

/* Loads what is not loaded yet. */
void
td_run_snapshot(TdRun *run)
{
	TdPipeline *p = run->pipeline;
	ListCell   *lc;

	td_run_status(run, "snapshot");
	MemoryContextSwitchTo(run->context);
	if (p->load_position == NULL)
	{
		char	   *position = p->sync_type == TD_SYNC_CDC && p->start_position
			? p->start_position : td_host_position(run->host);

		td_run_begin();
		td_state_load_position(p->id, position);
		td_run_commit();
	}
	foreach(lc, run->tables)
	{
		TdPipelineTable *t = lfirst(lc);

		if (strcmp(t->status, "loaded") != 0)
			load_table(run, t);
	}
	MemoryContextSwitchTo(run->context);
	{
		char	   *position = p->sync_type == TD_SYNC_CDC && p->start_position
			? p->start_position : td_host_position(run->host);

		td_run_begin();
		td_state_load_done(p->id, position);
		td_run_commit();
	}
	td_run_reload(run);
}

/* One table from its cursor to its end. */
static void
load_table(TdRun *run, TdPipelineTable *t)
{
	bool		resume = t->has_key && OidIsValid(t->relation) && t->cursor[0];
	bool		rows = run->pipeline->sync_type != TD_SYNC_CDC;	/* "cdc": only the empty table */
	Loading    *l;
	MemoryContext context;
	int			rc;
	TdBytes		block;

	context = AllocSetContextCreate(run->context, "tapdata load", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	l = palloc0(sizeof(Loading));
	l->run = run;
	l->table = t;
	l->context = context;
	l->on_reset.func = free_schema;
	l->on_reset.arg = l;
	MemoryContextRegisterResetCallback(context, &l->on_reset);
	if (!resume)
		t->relation = InvalidOid;
	else
		l->cursor = pstrdup(t->cursor);

	l->skip_to = td_host_snapshot(run->host, t->source_database, t->source_table, resume ? t->cursor : "", rows ? -1 : 0);
	td_spool_reset(run->spool);
	while ((rc = td_host_read(run->host, -1, &block)) >= 0)
	{
		td_run_check_stop();
		if (rc > 0)
			receive_block(l, block);
	}
	if (!l->complete)
		td_run_damaged();
	MemoryContextSwitchTo(run->context);
	MemoryContextDelete(context);
}

static void
free_schema(void *arg)
{
	Loading    *l = arg;

	free(l->schema);
	l->schema = NULL;
}

/* Spools a block and commits when enough has come and a chunk has ended in it. */
static void
receive_block(Loading *l, TdBytes block)
{
	TdRun	   *run = l->run;
	size_t		whole = scan_block(l, block);
	bool		due;

	td_run_spool_append(run, block.data, whole);
	due = whole > 0 && (td_spool_size(run->spool) >= CHUNK_BYTES || l->complete);
	if (due)
		commit_chunk(l);
	td_run_spool_append(run, block.data + whole, block.len - whole);
}

/* Reads the control records of a block; returns how much of it may be committed. */
static size_t
scan_block(Loading *l, TdBytes block)
{
	TdReader	reader = {block.data, block.data + block.len};
	size_t		whole = 0;
	TdRecord	rec;
	int			rc;

	while ((rc = td_read_record(&reader, &rec)) == 1)
	{
		size_t		here = reader.p - block.data;

		switch (rec.op)
		{
			case TD_OP_SCHEMA:
				adopt_schema(l, &rec);
				break;
			case TD_OP_CHUNK:
				if (l->cursor)
					pfree(l->cursor);
				l->cursor = td_run_text(l->context, rec.text);
				whole = here;
				break;
			case TD_OP_INSERT:
				/* without a key there is no cursor: every row may be committed */
				if (!l->table->has_key)
					whole = here;
				break;
			case TD_OP_END:
				l->complete = true;
				whole = here;
				break;
			default:
				td_run_damaged();
		}
	}
	if (rc < 0)
		td_run_damaged();
	return whole;
}

/* The first record of a table: makes the load table, unless we go on with one. */
static void
adopt_schema(Loading *l, const TdRecord *rec)
{
	TdRun	   *run = l->run;
	TdPipelineTable *t = l->table;

	free(l->schema);
	l->schema = td_schema_read(rec);
	if (l->schema == NULL)
		td_run_damaged();
	if (OidIsValid(t->relation))
		return;
	td_run_begin();
	t->relation = td_target_create_load(run->pipeline, t, l->schema);
	td_table_loading(run->pipeline->id, t->n, t->relation, l->skip_to);
	td_run_commit();
	MemoryContextSwitchTo(l->context);
}

/*
 * The spool's rows and their cursor in one transaction.  The last rows have no
 * cursor behind them: with them the table is finished, in the same commit.
 */
static void
commit_chunk(Loading *l)
{
	TdRun	   *run = l->run;
	TdError		err = {0};
	TdLoad	   *load;
	TdBytes		block;
	TdRecord	rec;
	int64		rows;

	if (l->schema == NULL)
		td_run_damaged();
	if (!td_spool_rewind(run->spool, &err))
		td_error_raise(&err);
	td_run_begin();
	load = td_load_begin(l->table->relation, l->schema);
	while (td_run_spool_read(run, &block))
	{
		TdReader	reader = {block.data, block.data + block.len};

		while (td_read_record(&reader, &rec) == 1)
		{
			if (rec.op == TD_OP_INSERT)
				td_load_row(load, &rec);
		}
		td_run_check_stop();
	}
	rows = td_load_end(load);
	td_table_cursor(run->pipeline->id, l->table->n, l->cursor ? l->cursor : "", rows);
	if (l->complete)
		finish_table(l);
	td_run_commit();
	MemoryContextSwitchTo(l->context);
	td_spool_reset(run->spool);
}

/* The primary key, after the rows: cheaper, and the stream needs it.  In the caller's transaction. */
static void
finish_table(Loading *l)
{
	TdRun	   *run = l->run;
	TdPipelineTable *t = l->table;

	CommandCounterIncrement();
	if (l->schema->nkeys > 0)
		td_target_build_key(run->pipeline, t, l->schema);
	td_table_status(run->pipeline->id, t->n, "loaded", NULL);
}
