/*-------------------------------------------------------------------------
 *
 * plugin.c
 *		The output plugin: what happens to each decoded transaction.
 *
 * NOTES
 *		Its callbacks run in the capture worker only, inside the replay of a
 *		committed transaction: PostgreSQL has started a transaction and set up the
 *		historic snapshot, so catalogs may be read, and look as they did then.  No
 *		relation is left open.
 *
 *		BEGIN is written with the first message, so transactions that touch
 *		nothing wanted cost nothing.
 *
 *		Anybody may name the plugin in pg_create_logical_replication_slot(): that
 *		is refused.
 *
 * IDENTIFICATION
 *		src/capture/plugin.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/output_plugin.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/standby.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "workers/workers.h"

#include "capture/capture_internal.h"
#include "compat/compat.h"

#define TD_LOOK_EVERY 256		/* changes between two looks at the stop flag; a power of two */

PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

static void startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init);
static void begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
static void change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel, ReorderBufferChange *change);
static void truncate_relations(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int n, Relation rels[], ReorderBufferChange *change);
static void commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn);
static bool filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin);
static void change_of(TdDecoder *d, TdRelation *rel, TdTarget *target, ReorderBufferChange *change);
static void tell_ddl(TdDecoder *d, ReorderBufferTXN *txn);
static void put_ddl(TdDecoder *d, Oid relid);

/* Catalogs whose changes can change what a view's expressions mean; relations have messages of their own. */
static const int meaningful[] = {PROCOID, OPEROID, AGGFNOID, CASTSOURCETARGET, COLLOID, ENUMOID, NAMESPACEOID, RULERELNAME, TSCONFIGOID, TSCONFIGMAP, TSDICTOID};

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->truncate_cb = truncate_relations;
	callbacks->commit_cb = commit;
	callbacks->filter_by_origin_cb = filter_by_origin;
}

static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	if (td_decoder == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("output plugin \"tapdata\" is for tapdata's own workers"),
				 errhint("Create views with tapdata.create_view(), or use another plugin, such as pgoutput or test_decoding.")));
	ctx->output_plugin_private = td_decoder;
	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = false;
}

/* True = leave it out. */
static bool
filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	const TdControl *control = ((TdDecoder *) ctx->output_plugin_private)->control;

	for (int i = 0; i < control->norigins; i++)
	{
		if (control->origins[i] == origin)
			return true;
	}
	return false;
}

/* Leaves whatever is being decoded; caught in main.c. */
void
td_plugin_check_stop(void)
{
	if (td_worker_should_stop() || pg_atomic_read_u32(&td_decoder->control->closed))
		ereport(ERROR,
				(errcode(ERRCODE_TD_STOP),
				 errmsg("capture was asked to stop")));
}

/* ---- begin and commit ---- */

/* A commit is flushed, and may be decoded, a moment before pg_xact says so: such are few, and not for long. */
static void
note_ahead(TdDecoder *d, TransactionId xid)
{
	MemoryContext old;
	ListCell   *lc;

	foreach(lc, d->ahead)
	{
		if (TransactionIdDidCommit(lfirst_oid(lc)))
			d->ahead = foreach_delete_current(d->ahead, lc);
	}
	if (TransactionIdDidCommit(xid))
		return;
	old = MemoryContextSwitchTo(d->context);
	d->ahead = lappend_oid(d->ahead, xid);
	MemoryContextSwitchTo(old);
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	TdDecoder  *d = ctx->output_plugin_private;

	td_relations_trim(d);
	d->txn = txn;
	d->serial++;
	note_ahead(d, txn->xid);
	d->begun = false;
}

/* The epoch of a transaction id: it is older than the next one, by less than 2^31. */
static uint64
widen(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

void
td_plugin_begin(TdDecoder *d)
{
	if (d->begun)
		return;
	d->begun = true;
	td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_BEGIN,.xid = widen(d->txn->xid),.lsn = d->txn->final_lsn,
			   .time = d->txn->xact_time.commit_time,.version = d->version});
}

/*
 * Between transactions, at a new wanted set: those that are committed and not seen yet (they wait for a standby, say) may have been decoded by the one before, which left
 * out what is wanted now, or all of it.  Each comes as a transaction of that version, without changes.
 */
void
td_plugin_unseen(TdDecoder *d, uint32 version)
{
	RunningTransactions running = GetRunningTransactionData();

	LWLockRelease(ProcArrayLock);
	LWLockRelease(XidGenLock);
	for (int i = 0; i < running->xcnt; i++)
	{
		if (!TransactionIdDidCommit(running->xids[i]) && !list_member_oid(d->ahead, running->xids[i]))
			continue;
		td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_BEGIN,.xid = widen(running->xids[i]),.lsn = d->decoded,
				   .time = GetCurrentTimestamp(),.version = version});
		td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_COMMIT});
	}
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	TdDecoder  *d = ctx->output_plugin_private;

	if (txn->ninvalidations > 0 && d->nroots > 0)
		tell_ddl(d, txn);
	td_below_check(d);
	if (d->begun)
	{
		td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_COMMIT});
		td_out_room(d);
	}
	d->txn = NULL;
}

/* ---- changes ---- */

/* Inlined at all costs: a function that does nothing but this is left out by gcc as one without effect. */
static pg_attribute_always_inline void
fetch_tuple(HeapTuple tuple)
{
	if (tuple == NULL)
		return;
	__builtin_prefetch(tuple);
	__builtin_prefetch((char *) tuple + 64);	/* its first columns */
}

/*
 * Those of a large transaction have long left the caches: what the next change needs is on its way while this one is looked at.  One that was
 * taken out of the list (of a speculative insertion, or the last before more are restored from disk) does not know which is next.
 */
static pg_attribute_always_inline void
fetch_next(ReorderBufferChange *change)
{
	dlist_node *next = change->node.next;
	ReorderBufferChange *c;

	if (rbtxn_is_serialized(change->txn) || next == &change->txn->changes.head || next->prev != &change->node)
		return;
	__builtin_prefetch(next->next);
	c = dlist_container(ReorderBufferChange, node, next);
	if (c->action > REORDER_BUFFER_CHANGE_DELETE)
		return;
	fetch_tuple(td_change_tuple_compat(c->data.tp.oldtuple));
	fetch_tuple(td_change_tuple_compat(c->data.tp.newtuple));
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation, ReorderBufferChange *change)
{
	TdDecoder  *d = ctx->output_plugin_private;
	TdRelation *rel = td_relation_get(d, relation);

	fetch_next(change);
	if ((++d->changes & (TD_LOOK_EVERY - 1)) == 0)
		td_plugin_check_stop();
	for (int i = 0; i < rel->ntargets; i++)
		change_of(d, rel, &rel->targets[i], change);
}

/* After an UNKNOWN the rest of the transaction's rows say nothing more. */
static void
change_of(TdDecoder *d, TdRelation *rel, TdTarget *target, ReorderBufferChange *change)
{
	HeapTuple	old = td_change_tuple_compat(change->data.tp.oldtuple);
	HeapTuple	new = td_change_tuple_compat(change->data.tp.newtuple);

	if (target->root->unknown == d->serial)
		return;
	if (target->layout == NULL)
	{
		td_plugin_unknown(d, target->root, TD_UNKNOWN_COLUMN);
		return;
	}
	if (!target->noted)
		td_below_sent(d, rel->relid, target->root->relid);
	target->noted = true;
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			td_row_change(d, rel, target, false, NULL, true, new);
			return;
		case REORDER_BUFFER_CHANGE_UPDATE:
			if (!target->old_whole || (old == NULL && rel->full))
				td_plugin_unknown(d, target->root, TD_UNKNOWN_OLD_IMAGE);
			else if (old != NULL)	/* else the key has not changed, and it is all that is wanted */
				td_row_change(d, rel, target, true, old, true, new);
			else if (target->root->touch)
				td_row_touch(d, rel, target, new);
			return;
		case REORDER_BUFFER_CHANGE_DELETE:
			if (!target->old_whole || (old == NULL && target->root->ncolumns > 0))
				td_plugin_unknown(d, target->root, TD_UNKNOWN_OLD_IMAGE);
			else
				td_row_change(d, rel, target, true, old, false, NULL);
			return;
		default:
			return;
	}
}

/* Once for each relation and transaction. */
void
td_plugin_unknown(TdDecoder *d, TdRoot *root, TdUnknown why)
{
	if (root->unknown == d->serial)
		return;
	root->unknown = d->serial;
	td_plugin_begin(d);
	td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_UNKNOWN,.relid = root->relid,.why = why});
}

static void
truncate_relations(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int n, Relation rels[], ReorderBufferChange *change)
{
	TdDecoder  *d = ctx->output_plugin_private;

	for (int i = 0; i < n; i++)
	{
		TdRelation *rel = td_relation_get(d, rels[i]);

		for (int t = 0; t < rel->ntargets; t++)
			td_plugin_unknown(d, rel->targets[t].root, TD_UNKNOWN_TRUNCATE);
	}
}

/* ---- DDL ---- */

static void
put_ddl(TdDecoder *d, Oid relid)
{
	td_plugin_begin(d);
	td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_DDL,.relid = relid});
}

static void
ddl_of_root(TdDecoder *d, TdRoot *root)
{
	if (root->ddl == d->serial)
		return;
	root->ddl = d->serial;
	put_ddl(d, root->relid);
}

static void
ddl_of_all(TdDecoder *d)
{
	HASH_SEQ_STATUS scan;
	TdRoot	   *root;

	hash_seq_init(&scan, d->roots);
	while ((root = hash_seq_search(&scan)) != NULL)
		ddl_of_root(d, root);
}

/* DDL of something that any relation may use; once for each transaction. */
static void
ddl_of_other(TdDecoder *d)
{
	if (d->other_ddl == d->serial)
		return;
	d->other_ddl = d->serial;
	put_ddl(d, InvalidOid);
}

/* Fields of a composite type stand in the columns of any table; an ordinary view, its owner and options, in the query of any live one. */
static void
ddl_of_relation(TdDecoder *d, Oid relid)
{
	List	   *roots = td_relation_roots(d, relid);
	char		kind = get_rel_relkind(relid);
	ListCell   *lc;

	if (kind == RELKIND_COMPOSITE_TYPE || kind == RELKIND_VIEW)
		ddl_of_other(d);
	foreach(lc, roots)
		ddl_of_root(d, lfirst(lc));
	list_free(roots);
}

static bool
is_meaningful(int cache)
{
	for (size_t i = 0; i < lengthof(meaningful); i++)
	{
		if (meaningful[i] == cache)
			return true;
	}
	return false;
}

/* What the transaction invalidated in this database is what its DDL touched.  The same relation often comes many times in a row. */
static void
tell_ddl(TdDecoder *d, ReorderBufferTXN *txn)
{
	Oid			last = InvalidOid;

	for (uint32 i = 0; i < txn->ninvalidations; i++)
	{
		const SharedInvalidationMessage *m = &txn->invalidations[i];

		if (m->id >= 0)
		{
			if ((m->cc.dbId == MyDatabaseId || m->cc.dbId == InvalidOid) && is_meaningful(m->id))
				ddl_of_other(d);
		}
		else if (m->id == SHAREDINVALRELCACHE_ID && m->rc.dbId == MyDatabaseId)
		{
			if (!OidIsValid(m->rc.relId))
				ddl_of_all(d);
			else if (m->rc.relId != last)
				ddl_of_relation(d, m->rc.relId);
			last = m->rc.relId;
		}
	}
}
