/*-------------------------------------------------------------------------
 *
 * streaming.c
 *		The stream: whole source transactions into local ones, each with its
 *		checkpoint.
 *
 * NOTES
 *		Runs in the pipeline worker.  The spool holds either whole source
 *		transactions only, or the beginning of one: what is whole is applied as
 *		soon as nothing more is waiting, as soon as there is much of it, and
 *		before the beginning of a transaction whose end has not come.  So a
 *		batch never ends inside a source transaction, and no local transaction
 *		is open while we wait.
 *
 *		Marks are answered in their place in the stream, after the commit of
 *		all that came before them.  One mark is our own: CATCH_UP_MARK, at which
 *		a mirror that was loading is published, in the commit that reaches it.
 *
 * IDENTIFICATION
 *		src/pipeline/streaming.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pipeline/pipeline_internal.h"
#include "util/util.h"

#define BATCH_BYTES (4 * 1024 * 1024)	/* whole transactions beyond this are applied even while more is waiting */
#define BARE_CHECKPOINT_MS 1000 /* a position that moved without rows is stored this often */
#define CATCH_UP_MARK UINT64_MAX

typedef struct Streaming
{
	TdRun	   *run;
	TdApply    *apply;
	MemoryContext context;
	/* what the spool holds */
	bool		whole;			/* it ends with a transaction's end */
	bool		rows;			/* there is something to apply, not only positions */
	bool		in_transaction; /* rows were scanned since the last COMMIT */
	char	   *position;		/* of the last COMMIT scanned, NULL = none since the last checkpoint */
	int64		time;
	List	   *marks;			/* of uint64 *: scanned and not yet answered */
	bool		publish;		/* CATCH_UP_MARK was scanned */
	char	   *ddl;			/* a statement that stops us, after all before it is applied */
	char	   *ddl_position;
	/* what was stored */
	TimestampTz stored_at;
	TimestampTz source_time;	/* of the last checkpoint, 0 = unknown */
	XLogRecPtr	commit_lsn;		/* end of our last commit */
	char	   *ack_position;	/* its position, not yet told to the source */
	bool		completed;		/* load only, and published */
} Streaming;

static void begin_stream(Streaming *s);
static void ask_marks(Streaming *s);
static void receive_block(Streaming *s, TdBytes block);
static size_t scan_block(Streaming *s, TdBytes block);
static bool scan_record(Streaming *s, const TdRecord *rec);
static void settle(Streaming *s);
static void apply_spool(Streaming *s);
static void after_commit(Streaming *s, bool published);
static void apply_records(Streaming *s);
static void store_checkpoint(Streaming *s, int64 rows);
static void add_mark(Streaming *s, uint64 number);
static bool marks_are_due(Streaming *s);
static void answer_marks(Streaming *s);
static void publish(Streaming *s);
static void acknowledge(Streaming *s);
static void raise_ddl(Streaming *s) pg_attribute_noreturn();
static void read_mark_error(Streaming *s);
static void show_lag(Streaming *s);
static long wait_time(Streaming *s);

/* Streams until the worker is stopped (or, for a load-only pipeline, until it is published). */
void
td_run_stream(TdRun *run)
{
	Streaming  *s;

	MemoryContextSwitchTo(run->context);
	s = palloc0(sizeof(Streaming));
	s->run = run;
	s->context = AllocSetContextCreate(run->context, "tapdata stream", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(s->context);
	begin_stream(s);

	while (!s->completed)
	{
		TdBytes		block;
		int			rc;

		td_run_check_stop();
		td_worker_reload();
		ask_marks(s);
		/* with something to apply, take only what is here already */
		rc = td_host_read(run->host, s->whole && s->rows ? 0 : wait_time(s), &block);
		if (rc == 1)
			receive_block(s, block);
		else if (rc == -2)
			read_mark_error(s);
		else if (rc < 0)
			td_run_damaged();	/* a stream has no end */
		else if (s->whole && (s->rows || wait_time(s) == 0))
			apply_spool(s);
		show_lag(s);
		acknowledge(s);
		MemoryContextSwitchTo(s->context);
	}
	td_run_status(run, "completed");
}

/* Checks the targets, prepares apply, and asks the host to stream from the checkpoint. */
static void
begin_stream(Streaming *s)
{
	TdRun	   *run = s->run;
	TdPipeline *p = run->pipeline;
	TdApplyOptions options = {p->insert_policy, !p->published};
	const char *from = p->position ? p->position : p->load_position;
	ListCell   *lc;

	td_run_begin();
	foreach(lc, run->tables)
		td_target_check(lfirst(lc), p->owner);
	td_run_commit();
	MemoryContextSwitchTo(s->context);
	s->apply = td_apply_create(p, run->tables);
	td_apply_options(s->apply, &options);
	td_spool_reset(run->spool);
	s->stored_at = GetCurrentTimestamp();
	td_host_stream(run->host, from, run->tables);
	if (!p->published)
		td_host_mark(run->host, CATCH_UP_MARK, p->catch_up_position);
	else
		td_run_status(run, "streaming");
}

/* Passes on what wait_pipeline asked for. */
static void
ask_marks(Streaming *s)
{
	uint64		number;
	char		position[1024];

	while (td_mark_next(&number, position))
		td_host_mark(s->run->host, number, position);
}

static void
read_mark_error(Streaming *s)
{
	TdError		err;
	uint64		number = td_host_mark_error(s->run->host, &err);

	if (number == CATCH_UP_MARK)
		td_error_raise(&err);
	td_mark_failed(number, &err);
}

/* For tapdata.pipelines: with nothing of the source in our hands there is no lag. */
static void
show_lag(Streaming *s)
{
	td_worker_caught_up(s->run->pipeline->published && !s->rows);
}

/* How long we may wait for the host: until a bare position is due to be stored. */
static long
wait_time(Streaming *s)
{
	long		passed;

	if (s->position == NULL || !s->whole)
		return s->ack_position ? BARE_CHECKPOINT_MS : -1;
	passed = TimestampDifferenceMilliseconds(s->stored_at, GetCurrentTimestamp());
	return Max(BARE_CHECKPOINT_MS - passed, 0);
}

/* ---- receiving ---- */

/* Spools a block, and applies what is whole before anything that is not. */
static void
receive_block(Streaming *s, TdBytes block)
{
	TdRun	   *run = s->run;
	size_t		whole = scan_block(s, block);
	size_t		rest = block.len - whole;

	if (whole > 0)
	{
		td_run_spool_append(run, block.data, whole);
		s->whole = true;
	}
	if (s->ddl)
	{
		if (s->whole)
			apply_spool(s);
		raise_ddl(s);
	}
	if (s->whole && (rest > 0 || marks_are_due(s) || td_spool_size(run->spool) >= BATCH_BYTES))
	{
		if (s->rows || marks_are_due(s) || td_spool_size(run->spool) >= BATCH_BYTES)
			apply_spool(s);
		else
			s->rows = true;		/* the beginning of a transaction follows bare positions: keep them together */
	}
	if (rest > 0)
	{
		td_run_spool_append(run, block.data + whole, rest);
		s->whole = false;
		s->rows = true;
	}
	if (marks_are_due(s))
		settle(s);
}

/*
 * Marks inside a transaction that has not ended: all that they ask for was
 * before it and is applied.  The spool stays as it is.
 */
static void
settle(Streaming *s)
{
	bool		published = s->publish;

	td_run_begin();
	store_checkpoint(s, 0);
	if (published)
		publish(s);
	td_run_commit();
	after_commit(s, published);
}

/* Reads the control records of a block; returns how much of it ends with a whole transaction. */
static size_t
scan_block(Streaming *s, TdBytes block)
{
	TdReader	reader = {block.data, block.data + block.len};
	size_t		whole = 0;
	bool		rows = false;
	TdRecord	rec;
	int			rc;

	while ((rc = td_read_record(&reader, &rec)) == 1)
	{
		if (scan_record(s, &rec))
		{
			whole = reader.p - block.data;
			s->rows |= rows;
			rows = false;
		}
		else if (s->ddl)
			return whole;
		else
			rows = true;
	}
	if (rc < 0)
		td_run_damaged();
	return whole;
}

/* One record: true = a boundary, everything up to here is whole. */
static bool
scan_record(Streaming *s, const TdRecord *rec)
{
	switch (rec->op)
	{
		case TD_OP_COMMIT:
			if (s->position)
				pfree(s->position);
			s->position = td_run_text(s->context, rec->position);
			s->time = rec->time;
			s->in_transaction = false;
			return true;
		case TD_OP_MARK:
			/* it may stand inside a transaction, behind the COMMIT that it asks for: no boundary there */
			if (rec->number == CATCH_UP_MARK)
				s->publish = true;
			else
				add_mark(s, rec->number);
			return !s->in_transaction;
		case TD_OP_DDL:
			s->ddl = td_run_text(s->context, rec->text);
			s->ddl_position = td_run_text(s->context, rec->position);
			return false;
		case TD_OP_INSERT:
		case TD_OP_UPDATE:
		case TD_OP_DELETE:
		case TD_OP_TRUNCATE:
			s->in_transaction = true;
			return false;
		case TD_OP_SCHEMA:
			return false;
		default:
			td_run_damaged();
	}
}

/* ---- applying ---- */

/* The spool in one transaction with its checkpoint; then the marks it answers. */
static void
apply_spool(Streaming *s)
{
	TdRun	   *run = s->run;
	bool		published = s->publish;

	td_run_begin();
	if (s->rows)
		apply_records(s);
	else
		store_checkpoint(s, 0);
	if (published)
		publish(s);
	td_run_commit();
	td_spool_reset(run->spool);
	s->whole = s->rows = false;
	after_commit(s, published);
}

/* What a commit brings with it: it can be acknowledged once flushed, marks are answered, a published mirror streams strictly. */
static void
after_commit(Streaming *s, bool published)
{
	TdPipeline *p = s->run->pipeline;

	MemoryContextSwitchTo(s->context);
	s->commit_lsn = XactLastCommitEnd;
	if (published)
	{
		TdApplyOptions options = {p->insert_policy, false};

		s->publish = false;
		p->published = true;
		td_apply_options(s->apply, &options);
		td_worker_status("streaming");
		s->completed = p->sync_type == TD_SYNC_FULL;
	}
	answer_marks(s);
}

/* All records of the spool through apply, in source order. */
static void
apply_records(Streaming *s)
{
	TdRun	   *run = s->run;
	TdError		err = {0};
	TdBytes		block;
	TdRecord	rec;
	int64		rows;

	if (!td_spool_rewind(run->spool, &err))
		td_error_raise(&err);
	td_apply_begin(s->apply);
	while (td_run_spool_read(run, &block))
	{
		TdReader	reader = {block.data, block.data + block.len};

		while (td_read_record(&reader, &rec) == 1)
		{
			if (rec.op == TD_OP_SCHEMA)
				td_apply_schema(s->apply, &rec);
			else if (rec.op != TD_OP_COMMIT && rec.op != TD_OP_MARK)
				td_apply_record(s->apply, &rec);
		}
		td_apply_flush(s->apply);	/* the block goes away with the next read */
		td_run_check_stop();
	}
	rows = td_apply_end(s->apply);
	store_checkpoint(s, rows);
}

/* The position of the last whole transaction, in the transaction that holds its rows. */
static void
store_checkpoint(Streaming *s, int64 rows)
{
	if (s->position == NULL)
		return;
	td_state_checkpoint(s->run->pipeline->id, s->position, s->time, rows);
	s->source_time = s->time == INT64_MIN ? 0 : s->time;
	s->stored_at = GetCurrentTimestamp();
	if (s->ack_position)
		pfree(s->ack_position);
	s->ack_position = s->position;
	s->position = NULL;
}

/* A mark of wait_pipeline in its place in the stream. */
static void
add_mark(Streaming *s, uint64 number)
{
	MemoryContext before = MemoryContextSwitchTo(s->context);
	uint64	   *mark = palloc(sizeof(uint64));

	*mark = number;
	s->marks = lappend(s->marks, mark);
	MemoryContextSwitchTo(before);
}

/* Is there a mark to commit for?  Those of wait_pipeline wait until the mirror is published. */
static bool
marks_are_due(Streaming *s)
{
	return s->publish || (s->marks && s->run->pipeline->published);
}

/* Everything before the marks is committed, and the mirror can be seen: tells the sessions that wait. */
static void
answer_marks(Streaming *s)
{
	ListCell   *lc;

	if (!s->run->pipeline->published)
		return;
	foreach(lc, s->marks)
		td_mark_reached(*(uint64 *) lfirst(lc), s->source_time);
	list_free_deep(s->marks);
	s->marks = NIL;
}

/* All tables of the mirror become visible, at the position of this very transaction. */
static void
publish(Streaming *s)
{
	TdPipeline *p = s->run->pipeline;

	td_target_publish(p, s->run->tables);
	td_state_published(p->id);
	td_pipeline_set_status(p->id, "streaming");
}

/* Tells the source what is durable here; our commits are asynchronous, so not before they are flushed. */
static void
acknowledge(Streaming *s)
{
	if (s->ack_position == NULL || s->commit_lsn > GetFlushRecPtr(NULL))
		return;
	td_host_ack(s->run->host, s->ack_position);
	pfree(s->ack_position);
	s->ack_position = NULL;
}

/* A schema change on a mirrored table: everything before it is applied, and here we stop. */
static void
raise_ddl(Streaming *s)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a mirrored table was changed by DDL at position %s", s->ddl_position),
			 errdetail("Statement: %s", s->ddl),
			 errhint("All changes before it are applied. Load again: SELECT tapdata.reset_pipeline(%1$s); "
					 "SELECT tapdata.alter_pipeline(%1$s, '{\"existing\": \"drop_table\"}'); SELECT tapdata.start_pipeline(%1$s);",
					 quote_literal_cstr(s->run->pipeline->name))));
}
