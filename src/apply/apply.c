/*-------------------------------------------------------------------------
 *
 * apply.c
 *		A stream of changes into its tables: gathering, flushing, falling back.
 *
 * NOTES
 *		Records are copied as they come and written when they take more than half
 *		of tapdata.worker_memory, before a TRUNCATE or a new schema of their
 *		table, and at the end of the transaction.  A flush goes as sets in a
 *		subtransaction (change.c) and, where a constraint stands against that, once
 *		more row by row (replay.c).
 *
 *		Memory: the stream's context holds tables and bindings; the flush's is
 *		reset with each flush; `work` is one attempt at it.
 *
 *		A table's definition may change between our transactions: relcache
 *		invalidation marks its binding, and the next flush checks and binds anew.
 *		The right to SET ROLE to the owner is asked for in each flush.
 *
 * src/apply/apply.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "apply/apply_internal.h"

#define DEFAULT_MEMORY_KB (64 * 1024)
#define FEW 8					/* changes that are not worth a subtransaction */
#define LARGE_RECORD (1024 * 1024)	/* not copied but written at once */
#define MISSING_LOG_INTERVAL_MS 60000

typedef struct TdTableId
{
	uint32		id;				/* the connector's */
	int			table;			/* index in TdApply.tables, -1 = not ours */
} TdTableId;

static dlist_head applies = DLIST_STATIC_INIT(applies);
static bool registered = false;

static void invalidate(Datum arg, Oid relid);
static void forget(void *arg);
static void copy_tables(TdApply *a, List *tables);
static TdTable *table_of(TdApply *a, uint32 id);
static void adopt_schema(TdApply *a, TdTable *t);
static void add_pending(TdApply *a, TdTable *t, const TdRecord *rec);
static void flush_now(TdApply *a);
static void open_table(TdApply *a, TdTable *t, LOCKMODE lock);
static void close_tables(TdApply *a);
static void run_replay(TdApply *a);
static void run_sets(TdApply *a);
static void note_conflict(TdApply *a, const ErrorData *edata);
static void clear_pending(TdApply *a);
static void log_missing(TdApply *a);
static void error_context(void *arg);

/* ---- life ---- */

/* Lives in CurrentMemoryContext. */
TdApply *
td_apply_create(const TdPipeline *p, List *tables)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata apply", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	const char *setting = GetConfigOption("tapdata.worker_memory", true, false);
	TdApply    *a = palloc0(sizeof(TdApply));
	HASHCTL		ctl = {.keysize = sizeof(uint32), .entrysize = sizeof(TdTableId), .hcxt = context};

	a->context = context;
	a->flush_context = AllocSetContextCreate(context, "tapdata flush", ALLOCSET_DEFAULT_SIZES);
	a->pipeline_id = p->id;
	a->pipeline_name = pstrdup(p->name);
	a->pipeline_owner = p->owner;
	a->options.insert_policy = p->insert_policy;
	a->options.catching_up = !p->published;
	a->memory_limit = (Size) (setting ? strtol(setting, NULL, 10) : DEFAULT_MEMORY_KB) * 1024 / 2;
	a->by_id = hash_create("tapdata tables", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	td_arena_init(&a->rows, context);
	copy_tables(a, tables);
	dlist_push_head(&applies, &a->node);
	a->cleanup.func = forget;
	a->cleanup.arg = a;
	MemoryContextRegisterResetCallback(context, &a->cleanup);
	if (!registered)
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	registered = true;
	MemoryContextSwitchTo(caller);
	return a;
}

static void
copy_tables(TdApply *a, List *tables)
{
	ListCell   *lc;

	a->tables = palloc0(sizeof(TdTable) * Max(list_length(tables), 1));
	foreach(lc, tables)
	{
		const TdPipelineTable *source = lfirst(lc);
		TdTable    *t = &a->tables[a->ntables++];

		t->source_database = pstrdup(source->source_database);
		t->source_table = pstrdup(source->source_table);
		t->target_schema = pstrdup(source->target_schema);
		t->target_table = pstrdup(source->target_table);
		t->relation = source->relation;
		t->name = quote_qualified_identifier(source->target_schema, source->target_table);
	}
}

/* The context goes: so do what malloc made, and our place in the list. */
static void
forget(void *arg)
{
	TdApply    *a = arg;

	dlist_delete(&a->node);
	for (int i = 0; i < a->ntables; i++)
	{
		free(a->tables[i].schema);
		free(a->tables[i].next_schema);
	}
}

/* A relation's definition may have changed; InvalidOid = any. */
static void
invalidate(Datum arg, Oid relid)
{
	dlist_iter	iter;

	dlist_foreach(iter, &applies)
	{
		TdApply    *a = dlist_container(TdApply, node, iter.cur);

		for (int i = 0; i < a->ntables; i++)
		{
			TdBinding  *b = a->tables[i].binding;

			if (b && (relid == InvalidOid || relid == b->relid))
				b->valid = false;
		}
	}
}

void
td_apply_options(TdApply *a, const TdApplyOptions *options)
{
	a->options = *options;
}

/* After an error the transaction is gone, and with it all that was open in it. */
void
td_apply_reset(TdApply *a)
{
	for (int i = 0; i < a->ntables; i++)
	{
		a->tables[i].rel = NULL;
		a->tables[i].batch = NULL;
		a->tables[i].writer = NULL;
		a->tables[i].missing = 0;
	}
	clear_pending(a);
	a->active = false;
	a->applied = 0;
}

/* ---- records ---- */

/* Remembers a table's columns. */
void
td_apply_schema(TdApply *a, const TdRecord *rec)
{
	TdSchema   *schema = td_schema_read(rec);
	TdTableId  *entry;
	bool		found;

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("the description of a table is damaged"),
				 errhint("This is a bug in the connector.")));
	entry = hash_search(a->by_id, &schema->table_id, HASH_ENTER, &found);
	entry->table = -1;
	a->last_table = NULL;
	for (int i = 0; i < a->ntables; i++)
	{
		TdTable    *t = &a->tables[i];

		if (strcmp(t->source_table, schema->table) != 0 || strcmp(t->source_database, schema->database) != 0)
			continue;
		entry->table = i;
		free(t->next_schema);
		t->next_schema = schema;
		return;
	}
	free(schema);
}

/* The table of a record. */
static TdTable *
table_of(TdApply *a, uint32 id)
{
	TdTableId  *entry;

	if (likely(a->last_table != NULL && a->last_id == id))
		return a->last_table;
	entry = hash_search(a->by_id, &id, HASH_FIND, NULL);
	if (entry == NULL || entry->table < 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("a change is for table number %u, which %s", id,
						entry ? "is not part of the pipeline" : "its connector has not described"),
				 errhint("This is a bug in the connector.")));
	a->last_id = id;
	a->last_table = &a->tables[entry->table];
	return a->last_table;
}

/* The new columns count from here on; what came before is written with the old ones. */
static void
adopt_schema(TdApply *a, TdTable *t)
{
	if (t->schema && td_schema_equal(t->schema, t->next_schema))
	{
		free(t->next_schema);
		t->next_schema = NULL;
		return;
	}
	if (t->npending > 0)
		flush_now(a);
	if (t->binding)
		td_binding_destroy(t->binding);
	t->binding = NULL;
	free(t->schema);
	t->schema = t->next_schema;
	t->next_schema = NULL;
}

void
td_apply_begin(TdApply *a)
{
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		elog(ERROR, "changes are applied in a session whose replication role is not replica");
	td_apply_reset(a);
	a->active = true;
}

/* One row change or TRUNCATE; nothing of rec is needed afterwards. */
void
td_apply_record(TdApply *a, const TdRecord *rec)
{
	TdTable    *t = table_of(a, rec->table);

	Assert(a->active);
	if (unlikely(t->next_schema != NULL))
		adopt_schema(a, t);
	switch (rec->op)
	{
		case TD_OP_INSERT:
		case TD_OP_UPDATE:
		case TD_OP_DELETE:
			add_pending(a, t, rec);
			break;
		case TD_OP_TRUNCATE:
			flush_now(a);
			open_table(a, t, AccessExclusiveLock);
			td_truncate(a, t);
			close_tables(a);
			a->applied++;
			break;
		default:
			elog(ERROR, "unexpected record of kind %d", (int) rec->op);
	}
}

/* Into the queue, with a copy of its rows. */
static void
add_pending(TdApply *a, TdTable *t, const TdRecord *rec)
{
	TdPending  *p;
	const uint8_t *copy = rec->whole.data;

	if (a->npending == a->max_pending)
	{
		a->max_pending = a->max_pending ? a->max_pending * 2 : 64;
		a->pending = a->pending ? repalloc_huge(a->pending, (Size) a->max_pending * sizeof(TdPending))
			: MemoryContextAlloc(a->flush_context, a->max_pending * sizeof(TdPending));
	}
	if (likely(rec->whole.len < LARGE_RECORD))
		copy = memcpy(td_arena_alloc(&a->rows, rec->whole.len), rec->whole.data, rec->whole.len);
	p = &a->pending[a->npending++];
	p->op = rec->op;
	p->table = t - a->tables;
	p->before = TD_NONE;
	p->old_row.len = rec->old_row.len;
	p->old_row.data = rec->old_row.len ? copy + (rec->old_row.data - rec->whole.data) : NULL;
	p->new_row.len = rec->new_row.len;
	p->new_row.data = rec->new_row.len ? copy + (rec->new_row.data - rec->whole.data) : NULL;
	t->npending++;
	a->bytes += rec->whole.len + sizeof(TdPending) + sizeof(TdEntry) + 16;
	if (a->bytes >= a->memory_limit || copy == rec->whole.data)
		flush_now(a);
}

/* The caller has time: writes what waits if it is worth a flush. */
void
td_apply_flush(TdApply *a)
{
	if (a->bytes >= a->memory_limit / 2)
		flush_now(a);
}

/* All is written; returns how many changes the transaction held. */
int64
td_apply_end(TdApply *a)
{
	flush_now(a);
	log_missing(a);
	a->active = false;
	return a->applied;
}

/* ---- a flush ---- */

static void
flush_now(TdApply *a)
{
	ErrorContextCallback callback = {error_context_stack, error_context, a};
	bool		triggers = false;

	if (a->npending == 0)
		return;
	error_context_stack = &callback;
	for (int i = 0; i < a->ntables; i++)
	{
		TdTable    *t = &a->tables[i];

		if (t->npending == 0)
			continue;
		a->current_table = t;
		open_table(a, t, RowExclusiveLock);
		triggers |= t->binding->row_triggers;
	}
	a->current_table = NULL;
	if (a->npending <= FEW || triggers)
		run_replay(a);
	else
		run_sets(a);
	close_tables(a);
	a->applied += a->npending;
	clear_pending(a);
	error_context_stack = callback.previous;
}

/* Opens and locks the target, and binds it if it is new or has changed. */
static void
open_table(TdApply *a, TdTable *t, LOCKMODE lock)
{
	Oid			relid = t->relation;
	TdGuard		guard;

	if (!OidIsValid(relid))
	{
		Oid			schema = get_namespace_oid(t->target_schema, true);

		relid = OidIsValid(schema) ? get_relname_relid(t->target_table, schema) : InvalidOid;
	}
	t->rel = OidIsValid(relid) ? try_relation_open(relid, lock) : NULL;
	if (t->rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("target table %s does not exist", t->name),
				 errdetail("It was dropped while the pipeline was running."),
				 errhint("SELECT tapdata.reset_pipeline(...) loads it again; SELECT tapdata.drop_pipeline(...) ends the mirror.")));
	if (t->binding && t->binding->valid && t->binding->relid == relid)
	{
		td_check_role(t->rel, a->pipeline_owner);
		return;
	}
	if (t->binding)
		td_binding_destroy(t->binding);
	t->binding = NULL;
	td_check_relation(t->rel, a->pipeline_owner);
	td_guard_enter(&guard, t->rel->rd_rel->relowner);
	t->binding = td_binding_create(a->context, t->rel, t->schema);
	td_guard_leave(&guard);
}

/* The locks stay until the end of the transaction. */
static void
close_tables(TdApply *a)
{
	for (int i = 0; i < a->ntables; i++)
	{
		if (a->tables[i].rel)
			relation_close(a->tables[i].rel, NoLock);
		a->tables[i].rel = NULL;
	}
}

/* Writers of all tables of the flush, each opened as its owner. */
void
td_apply_open_writers(TdApply *a, TdGuard *guard)
{
	for (int i = 0; i < a->ntables; i++)
	{
		TdTable    *t = &a->tables[i];

		if (t->npending == 0)
			continue;
		td_guard_switch(guard, t->binding->owner);
		t->writer = td_writer_open(t->binding, t->rel, a->work, false);
	}
}

void
td_apply_close_writers(TdApply *a, TdGuard *guard)
{
	for (int i = 0; i < a->ntables; i++)
	{
		TdTable    *t = &a->tables[i];

		if (t->writer == NULL)
			continue;
		td_guard_switch(guard, t->binding->owner);
		td_writer_close(t->writer);
		t->writer = NULL;
	}
}

/* One attempt: memory, snapshot, guard, and the work itself. */
static void
run(TdApply *a, void (*work) (TdApply *, TdGuard *))
{
	TdGuard		guard;

	a->work = AllocSetContextCreate(a->flush_context, "tapdata work", ALLOCSET_DEFAULT_SIZES);
	td_guard_enter(&guard, InvalidOid);
	td_snapshot_push();
	work(a, &guard);
	td_snapshot_pop();
	td_guard_leave(&guard);
	CommandCounterIncrement();
	a->current = NULL;
	a->current_table = NULL;
}

static void
run_replay(TdApply *a)
{
	run(a, td_replay_run);
}

/* As sets; when a constraint stands against it, again row by row. */
static void
run_sets(TdApply *a)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		violated = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		run(a, td_change_run);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(a->flush_context);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		violated = ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;
		if (!violated)
			ReThrowError(edata);
		note_conflict(a, edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (violated)
	{
		MemoryContextDelete(a->work);
		for (int i = 0; i < a->ntables; i++)
		{
			a->tables[i].batch = NULL;
			a->tables[i].writer = NULL;
			a->tables[i].missing = a->tables[i].missing_before;
		}
		run_replay(a);
	}
}

/* A blind insert met its own key: rows do exist there, so from now on they are looked for first. */
static void
note_conflict(TdApply *a, const ErrorData *edata)
{
	for (int i = 0; i < a->ntables; i++)
	{
		TdTable    *t = &a->tables[i];
		char	   *index;

		if (t->npending == 0 || edata->constraint_name == NULL || !OidIsValid(t->binding->key_index))
			continue;
		index = get_rel_name(t->binding->key_index);
		if (index && strcmp(index, edata->constraint_name) == 0 && edata->table_name &&
			strcmp(edata->table_name, RelationGetRelationName(t->rel)) == 0 &&
			a->options.insert_policy == TD_INSERT_UPDATE_ON_EXISTS)
			t->probe_inserts = true;
	}
}

/* The queue is empty, its memory free. */
static void
clear_pending(TdApply *a)
{
	for (int i = 0; i < a->ntables; i++)
	{
		a->tables[i].npending = 0;
		a->tables[i].missing_before = a->tables[i].missing;
	}
	MemoryContextReset(a->flush_context);
	td_arena_reset(&a->rows);
	a->work = NULL;
	a->pending = NULL;
	a->npending = a->max_pending = 0;
	a->bytes = 0;
	a->current = NULL;
	a->current_table = NULL;
}

/* ---- changes that found no row ---- */

/* While catching up they are expected; else counted, for the log. */
void
td_apply_missing(TdApply *a, TdTable *t, int64 n)
{
	if (!a->options.catching_up)
		t->missing += n;
}

/* The pipeline is not exact any more; one warning a table and minute. */
static void
log_missing(TdApply *a)
{
	for (int i = 0; i < a->ntables; i++)
	{
		TdTable    *t = &a->tables[i];
		TimestampTz now;
		TdError		err = {0};

		if (t->missing == 0)
			continue;
		td_state_inexact(a->pipeline_id);
		now = GetCurrentTimestamp();
		if (t->missing_logged != 0 && !TimestampDifferenceExceeds(t->missing_logged, now, MISSING_LOG_INTERVAL_MS))
			continue;
		td_error_set(&err, "02000", INT64_FORMAT " changes of table %s found no row and were ignored", t->missing, t->name);
		td_error_detail(&err, "Updates and deletes of rows that the target does not have.");
		td_error_hint(&err, "If nobody else writes into the table, load it again: SELECT tapdata.reset_pipeline(%s);",
					  quote_literal_cstr(a->pipeline_name));
		td_log("warning", "pipeline", a->pipeline_name, a->pipeline_owner, &err);
		t->missing = t->missing_before = 0;
		t->missing_logged = now;
	}
}

/* ---- messages ---- */

/* "applying a change to table x, row with key (id)=(1)" */
static void
error_context(void *arg)
{
	TdApply    *a = arg;
	TdTable    *t = a->current_table;

	if (t == NULL)
		errcontext("applying changes of pipeline \"%s\"", a->pipeline_name);
	else if (a->current == NULL || t->binding == NULL)
		errcontext("applying changes of pipeline \"%s\" to table %s", a->pipeline_name, t->name);
	else
		errcontext("applying changes of pipeline \"%s\" to table %s, row with key %s", a->pipeline_name, t->name,
				   td_row_key_text(t->binding->schema, a->current->new_row.len ? a->current->new_row : a->current->old_row));
}
