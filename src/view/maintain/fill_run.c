/*-------------------------------------------------------------------------
 *
 * fill_run.c
 *		A view computed whole: in a tick, or by a fill worker.
 *
 * NOTES
 *		Under run.c, as the view's owner.  Tables that hold nothing are loaded;
 *		others get the difference between what they hold and what they should,
 *		found by one net: +1 for each row computed, -1 for each row there.
 *		A fill worker computes in parallel: while its statement runs no xid can
 *		be assigned, so the transaction has one before, and stores count no
 *		commands then.
 *
 *		A tick trusts that a view with groups equals what its state says, and
 *		writes the difference of the state on; a fill compares both tables.
 *		A view whose changes are kept is loaded only where its feed begins.
 *
 * IDENTIFICATION
 *		src/view/maintain/fill_run.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat/compat.h"
#include "view/maintain/run_internal.h"

/* ---- what a table holds ---- */

/* A row without the dropped columns, and a weight behind. */
static TupleTableSlot *
pack(TupleTableSlot *to, TupleTableSlot *from)
{
	TupleDesc	desc = from->tts_tupleDescriptor;
	int			n = 0;

	slot_getallattrs(from);
	ExecClearTuple(to);
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		to->tts_values[n] = from->tts_values[i];
		to->tts_isnull[n++] = from->tts_isnull[i];
	}
	to->tts_values[n] = Int64GetDatum(1);
	to->tts_isnull[n] = false;
	return ExecStoreVirtualTuple(to);
}

/* Adds the rows of a table (which is locked) to a net, with a sign. */
static void
net_rows(Oid relid, TupleDesc desc, TdNet *net, int64 sign)
{
	Relation	rel = table_open(relid, NoLock);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *row = table_slot_create(rel, NULL);
	TupleTableSlot *packed = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata row", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		td_net_add(net, pack(packed, row), sign);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	ExecDropSingleTupleTableSlot(packed);
	ExecDropSingleTupleTableSlot(row);
	table_endscan(scan);
	table_close(rel, NoLock);
}

static void
take_away_rows(Oid relid, TupleDesc desc, TdNet *net)
{
	net_rows(relid, desc, net, -1);
}

static bool
is_empty(Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *row = table_slot_create(rel, NULL);
	bool		empty = !table_scan_getnextslot(scan, ForwardScanDirection, row);

	ExecDropSingleTupleTableSlot(row);
	table_endscan(scan);
	table_close(rel, NoLock);
	return empty;
}

/* ---- in a tick ---- */

/* Measures it: how long it takes until there is something to be written, and that is told of a delta as well. */
void
td_recompute(TdTick *t, TdRan why)
{
	const TdPlan *plan = t->run->plan;
	bool		state = plan->nstate > 0;
	TdStore    *core = state ? td_open_state(t) : td_open_view(t);
	TupleDesc	desc = td_store_desc(core);
	TdFeed		feed = {td_tick_net(t, desc), MakeSingleTupleTableSlot(desc, &TTSOpsVirtual), 1, 0};
	instr_time	start;

	t->ran = why;
	INSTR_TIME_SET_CURRENT(start);
	td_execute(t->run, plan->core_sql, 0, NULL, false, td_feed_row, &feed);
	take_away_rows(state ? t->run->state_relid : t->run->view->relation, desc, feed.net);
	t->run->whole_ms = td_cost_since(start);
	t->run->whole_measured = true;
	t->run->kept->dear_ms = 0;
	if (state)
		td_apply_state(t, core, feed.net);
	else
		td_apply_to_view(t, core, feed.net);
	ExecDropSingleTupleTableSlot(feed.weighed);
	td_store_close(core);
}

/* The rows of another table in the place of those of the view's, by what differs. */
void
td_take_rows(TdTick *t)
{
	TdStore    *view = td_open_view(t);
	TdNet	   *net = td_tick_net(t, td_store_desc(view));
	bool		begins = td_feed_begins(t->run, false);

	t->feed &= !begins;
	net_rows(t->from, td_store_desc(view), net, 1);
	take_away_rows(t->run->view->relation, td_store_desc(view), net);
	td_apply_to_view(t, view, net);
	td_store_close(view);
	if (begins)
		td_feed_begun(t);
}

/* ---- in a fill worker ---- */

/* Rows that go into a table being loaded, or into a net; and, with a weight, into s. */
typedef struct Filled
{
	TdStoreLoad *load;			/* or */
	TdNet	   *net;
	TupleTableSlot *weighed;	/* NULL: they have one */
	Tuplestorestate *s;			/* NULL = not wanted */
	int64		rows;
} Filled;

static void
take_filled(TupleTableSlot *slot, void *arg)
{
	Filled	   *f = arg;

	if (f->weighed)
		slot = td_weighed(f->weighed, slot, 1);
	if (f->load)
		td_store_load_row(f->load, slot);
	else
		td_net_add(f->net, slot, 1);
	if (f->s)
		tuplestore_puttupleslot(f->s, slot);
	f->rows++;
}

/* Both tables empty: rows go straight in. */
static int64
load_core(TdTick *t, Oid relid, TupleDesc desc, Tuplestorestate *s)
{
	Filled		f = {td_store_load_begin(relid), NULL, MakeSingleTupleTableSlot(desc, &TTSOpsVirtual), s, 0};

	td_execute(t->run, t->run->plan->core_sql, 0, NULL, true, take_filled, &f);
	td_store_load_end(f.load);
	ExecDropSingleTupleTableSlot(f.weighed);
	return f.rows;
}

static int64
load_output(TdTick *t, TupleDesc desc, Tuplestorestate *s, int64 nrows)
{
	Filled		f = {td_store_load_begin(t->run->view->relation), NULL, NULL, NULL, 0};

	td_output_of(t, desc, s, nrows, take_filled, &f);
	td_store_load_end(f.load);
	return f.rows;
}

/* The difference between what a store's table holds and should hold, which sql says; s NULL, or those rows with a weight. */
static TdNet *
difference(TdTick *t, TdStore *store, Oid relid, Tuplestorestate *s, int64 *rows)
{
	TupleDesc	desc = td_store_desc(store);
	Filled		f = {NULL, td_tick_net(t, desc), MakeSingleTupleTableSlot(desc, &TTSOpsVirtual), s, 0};

	td_execute(t->run, t->run->plan->core_sql, 0, NULL, true, take_filled, &f);
	take_away_rows(relid, desc, f.net);
	ExecDropSingleTupleTableSlot(f.weighed);
	*rows = f.rows;
	return f.net;
}

static void
repair_state(TdTick *t, TdStore *state, Tuplestorestate *s, int64 *groups)
{
	TdNet	   *net = difference(t, state, t->run->state_relid, s, groups);
	Tuplestorestate *delta = td_tick_tuplestore(t);

	if (td_net_finish(net, delta) > 0)
		td_store_apply(state, delta);
	td_tick_tuplestore_end(t, delta);
}

/* The view's table against what all state rows give. */
static void
repair_output(TdTick *t, TupleDesc desc, Tuplestorestate *s, int64 groups)
{
	TdStore    *view = td_open_view(t);
	TdFeed		feed = {td_tick_net(t, td_store_desc(view)), NULL, 1, 0};

	td_output_of(t, desc, s, groups, td_feed_row, &feed);
	t->rows = feed.rows;
	take_away_rows(t->run->view->relation, td_store_desc(view), feed.net);
	td_apply_to_view(t, view, feed.net);
	td_store_close(view);
}

static void
fill_state(TdTick *t, bool empty)
{
	TdStore    *state = td_open_state(t);
	TupleDesc	desc = CreateTupleDescCopy(td_store_desc(state));
	Tuplestorestate *s = td_tick_tuplestore(t);
	int64		groups;

	if (empty)
	{
		td_store_close(state);
		groups = load_core(t, t->run->state_relid, desc, s);
		t->rows = load_output(t, desc, s, groups);
	}
	else
	{
		repair_state(t, state, s, &groups);
		repair_output(t, desc, s, groups);
		td_store_close(state);
	}
	td_tick_tuplestore_end(t, s);
}

static void
fill_rows(TdTick *t, bool empty)
{
	TdStore    *view = td_open_view(t);
	TupleDesc	desc = CreateTupleDescCopy(td_store_desc(view));

	if (empty)
	{
		td_store_close(view);
		t->rows = load_core(t, t->run->view->relation, desc, NULL);
		return;
	}
	td_apply_to_view(t, view, difference(t, view, t->run->view->relation, NULL, &t->rows));
	td_store_close(view);
}

/* DDL may be why it is filled anew.  Who reads the view is waited for, as when indexes are built after a load. */
static void
renew_hashes(Oid relid)
{
	if (td_store_is_stale(relid))
		td_reindex_relation_compat(relid, 0);
	CommandCounterIncrement();
}

void
td_fill(TdTick *t)
{
	bool		state = t->run->plan->nstate > 0;
	bool		empty = is_empty(t->run->view->relation) && (!state || is_empty(t->run->state_relid));
	bool		begins = td_feed_begins(t->run, empty);

	(void) GetCurrentTransactionId();
	if (!empty)
	{
		renew_hashes(t->run->view->relation);
		if (state)
			renew_hashes(t->run->state_relid);
	}
	t->feed &= !begins;
	if (state)
		fill_state(t, empty && !t->feed);
	else
		fill_rows(t, empty && !t->feed);
	if (begins)
		td_feed_begun(t);
}
