/*-------------------------------------------------------------------------
 *
 * keyed.c
 *		A keyed view: the parts of its result that changes have touched are
 *		computed anew.
 *
 * NOTES
 *		Under run.c, as the view's owner.  Three steps: which values of the key can
 *		the changes have touched (a superset costs time only); the rows of the
 *		query for these values go into a net, the rows stored for them are taken
 *		out of it; what is left is the difference.  What is stored is the old
 *		state: nothing else of the past is needed, and what a query leaves open
 *		(which of two equal rows comes first) is settled by what it chose before.
 *
 * IDENTIFICATION
 *		src/view/maintain/keyed.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "view/maintain/run_internal.h"

#define FEW_KEYS 1000			/* so many are never too many */
#define MOST_KEYS 0.5			/* of the rows of the core: above, all of it is computed anew */

typedef struct Parts
{
	TdTick	   *tick;
	TupleTableSlot *key;
	List	   *sets;			/* of TdKeySet *: touched */
	int64		n;				/* keys in all of them */
} Parts;

static void
take_key(TupleTableSlot *slot, void *arg)
{
	Parts	   *p = arg;

	slot_getallattrs(slot);
	td_key_sets_add(p->tick, &p->sets, p->key, slot);
	p->n++;
}

static bool
is_too_many(const TdViewRun *run, int64 n)
{
	Relation	rel;
	double		rows;

	if (n <= FEW_KEYS || run->force == TD_FORCE_DELTA)
		return false;
	rel = table_open(run->plan->nstate > 0 ? run->state_relid : run->view->relation, RowExclusiveLock);
	rows = rel->rd_rel->reltuples;
	table_close(rel, NoLock);
	return rows >= 0 && n > MOST_KEYS * rows;
}

/* Columns of the core that are the key. */
static AttrNumber *
key_columns(const TdViewRun *run)
{
	const TdKeyed *keyed = run->shape->keyed;
	AttrNumber *columns = palloc(sizeof(AttrNumber) * keyed->nkeys);

	for (int i = 0; i < keyed->nkeys; i++)
		columns[i] = keyed->stored ? keyed->outputs[i] : i + 1;
	return columns;
}

/* The rows stored for the keys of a set, out of the net. */
static void
take_away_stored(TdTick *t, TdStorePart *part, const TdKeySet *set, TdNet *net)
{
	TupleTableSlot *key = MakeSingleTupleTableSlot(td_key_desc(t->run->shape->keyed->nkeys, t->run->shape->keyed->keys), &TTSOpsMinimalTuple);
	TdFeed		feed = {net, NULL, -1, 0};

	tuplestore_rescan(set->keys);
	while (tuplestore_gettupleslot(set->keys, true, false, key))
		td_store_part_rows(part, key, td_feed_row, &feed);
	ExecDropSingleTupleTableSlot(key);
}

/* The difference that the touched keys make. */
static TdNet *
difference(TdTick *t, TdStore *core, const Parts *p)
{
	TupleDesc	desc = td_store_desc(core);
	TdStorePart *part = td_store_part_open(core, t->run->shape->keyed->nkeys, key_columns(t->run));
	TdFeed		feed = {td_tick_net(t, desc), MakeSingleTupleTableSlot(desc, &TTSOpsVirtual), 1, 0};
	ListCell   *lc;

	foreach(lc, p->sets)
	{
		TdKeySet   *set = lfirst(lc);
		TdSource	k = {"k", p->key->tts_tupleDescriptor, set->keys, (double) set->n};

		td_execute(t->run, td_groups_text(t->run, set->null_mask), 1, &k, false, td_feed_row, &feed);
		take_away_stored(t, part, set, feed.net);
		td_tick_tuplestore_end(t, set->keys);
	}
	ExecDropSingleTupleTableSlot(feed.weighed);
	td_store_part_close(part);
	return feed.net;
}

void
td_run_keyed(TdTick *t)
{
	TdViewRun  *run = t->run;
	Parts		p = {t};
	TdStore    *core;

	p.key = MakeSingleTupleTableSlot(td_key_desc(run->shape->keyed->nkeys, run->shape->keyed->keys), &TTSOpsVirtual);
	td_execute_delta(t, td_delta_text(run, t->touched), take_key, &p);
	if (is_too_many(run, p.n))
	{
		td_cost_computed(t);
		td_recompute(t, TD_RAN_COST);
	}
	else if (p.n > 0)
	{
		core = run->plan->nstate > 0 ? td_open_state(t) : td_open_view(t);
		if (run->plan->nstate > 0)
			td_apply_state(t, core, difference(t, core, &p));
		else
			td_apply_to_view(t, core, difference(t, core, &p));
		td_store_close(core);
	}
	ExecDropSingleTupleTableSlot(p.key);
}
