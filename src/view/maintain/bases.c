/*-------------------------------------------------------------------------
 *
 * bases.c
 *		Base relations of the group: what capture is asked for, and how decoded
 *		rows become rows of a delta.
 *
 * NOTES
 *		View worker.  A row was decoded with the layout of its time; a delta has
 *		the columns that are wanted now, by today's names and types.  Same columns
 *		and types: the tuple is copied as it is (the hot path).  Other columns: by
 *		attribute number; what an older layout lacks is null, which no view reads
 *		that streams (it was filled after such rows).  Another type: the rows are
 *		not read at all, the relation's delta is unknown.
 *
 *		Today's columns come from the system cache: the relations of a view that is
 *		only being filled are not locked by a tick.
 *
 * IDENTIFICATION
 *		src/view/maintain/bases.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat/compat.h"
#include "view/maintain/tick_internal.h"

static List *union_of_runs(TdKeeper *k);
static bool same_wanted(List *bases, List *wanted);
static List *make_bases(TdKeeper *k, List *wanted);
static void adopt(TdKeeper *k, List *bases);
static void check_base(TdKeeper *k, TdBase *base);
static bool names_are_of_today(const TdBase *base);
static bool describe(TdBase *base);
static void bind_layout(TdKeeper *k, TdDeltas *deltas, TdRowLayout *layout);
static bool map_columns(TdRowLayout *layout, const TdDelta *delta, bool base);
static TupleDesc desc_of(const TdRowLayout *layout);
static bool is_being_detached(Oid relid);
static void warn_partition(Oid relid, bool key);

/* ---- what capture is asked for ---- */

/* The base relations and columns of all views that have a run. */
static List *
union_of_runs(TdKeeper *k)
{
	List	   *wanted = NIL;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		for (int i = 0; m->run && i < m->run->shape->noccurrences; i++)
		{
			TdOccurrence *o = &m->run->shape->occurrences[i];
			TdWanted   *w = NULL;
			ListCell   *at;

			if (o->view != 0 || o->kept != 0)
				continue;
			foreach(at, wanted)
			{
				if (((TdWanted *) lfirst(at))->relid == o->relid)
					w = lfirst(at);
			}
			if (w == NULL)
			{
				w = palloc0(sizeof(TdWanted));
				w->relid = o->relid;
				w->only = true;
				wanted = lappend(wanted, w);
			}
			w->only &= !o->inh;
			w->touch |= o->touch;
			w->columns = bms_add_members(w->columns, o->touch ? o->told : o->columns);
		}
	}
	return wanted;
}

static bool
same_wanted(List *bases, List *wanted)
{
	ListCell   *lc;

	if (list_length(bases) != list_length(wanted))
		return false;
	foreach(lc, wanted)
	{
		TdWanted   *w = lfirst(lc);
		bool		same = false;
		ListCell   *at;

		foreach(at, bases)
		{
			TdBase	   *base = lfirst(at);

			same |= base->relid == w->relid && base->only == w->only && base->touch == w->touch && bms_equal(base->columns, w->columns);
		}
		if (!same)
			return false;
	}
	return true;
}

static List *
make_bases(TdKeeper *k, List *wanted)
{
	MemoryContext old = MemoryContextSwitchTo(k->session_context);
	List	   *bases = NIL;
	ListCell   *lc;

	foreach(lc, wanted)
	{
		TdWanted   *w = lfirst(lc);
		TdBase	   *known = td_base_find(k, w->relid);
		TdBase	   *base = palloc0(sizeof(TdBase));

		base->relid = w->relid;
		base->only = w->only;
		base->touch = w->touch;
		base->warned = known && known->warned;
		base->columns = bms_copy(w->columns);
		base->context = AllocSetContextCreate(k->session_context, "tapdata base", ALLOCSET_SMALL_SIZES);
		bases = lappend(bases, base);
	}
	MemoryContextSwitchTo(old);
	return bases;
}

/* The bases of the session are these from now on. */
static void
adopt(TdKeeper *k, List *bases)
{
	List	   *before = k->bases;
	ListCell   *lc;

	k->bases = bases;
	foreach(lc, before)
	{
		MemoryContextDelete(((TdBase *) lfirst(lc))->context);
		bms_free(((TdBase *) lfirst(lc))->columns);
	}
	list_free_deep(before);
}

/*
 * Between ticks: tells capture what all views with a run read, if that has changed; the version whose rows have it all.  An error leaves all as it was: what
 * capture was not told it does not send, and views would read it as null.
 */
uint32
td_bases_want(TdKeeper *k)
{
	MemoryContext old = MemoryContextSwitchTo(k->tick_context);
	List	   *wanted = union_of_runs(k);

	if (k->version == 0 || !same_wanted(k->bases, wanted))
	{
		List	   *bases = make_bases(k, wanted);

		td_capture_want(k->capture, k->version + 1, wanted);
		k->version++;
		adopt(k, bases);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(k->tick_context);
	return k->version;
}

TdBase *
td_base_find(TdKeeper *k, Oid relid)
{
	ListCell   *lc;

	foreach(lc, k->bases)
	{
		TdBase	   *base = lfirst(lc);

		if (base->relid == relid)
			return base;
	}
	return NULL;
}

/* ---- a base's rows as of today ---- */

/* Once a tick: the descriptor is that of today. */
static void
check_base(TdKeeper *k, TdBase *base)
{
	if (base->checked == k->tick)
		return;
	base->checked = k->tick;
	if (base->desc && names_are_of_today(base))
		return;
	MemoryContextReset(base->context);
	base->desc = NULL;
	base->fits = describe(base);
}

/* Compares names and types with the catalog. */
static bool
names_are_of_today(const TdBase *base)
{
	for (int i = 0; i < base->desc->natts - 1; i++)
	{
		Form_pg_attribute ours = TupleDescAttr(base->desc, i);
		HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(base->relid), Int16GetDatum(base->attnums[i]));
		Form_pg_attribute theirs;
		bool		same;

		if (!HeapTupleIsValid(tuple))
			return false;
		theirs = (Form_pg_attribute) GETSTRUCT(tuple);
		same = !theirs->attisdropped && theirs->atttypid == ours->atttypid && theirs->atttypmod == ours->atttypmod &&
			theirs->attcollation == ours->attcollation && strcmp(NameStr(theirs->attname), NameStr(ours->attname)) == 0;
		ReleaseSysCache(tuple);
		if (!same)
			return false;
	}
	return base->fits;
}

/* Makes descriptor and numbers; false = a wanted column is not there any more. */
static bool
describe(TdBase *base)
{
	MemoryContext old = MemoryContextSwitchTo(base->context);
	int			ncolumns = bms_num_members(base->columns);
	TupleDesc	desc = CreateTemplateTupleDesc(ncolumns + 1);
	bool		fits = true;
	int			attnum = -1;
	int			i = 0;

	base->attnums = palloc(sizeof(AttrNumber) * Max(ncolumns, 1));
	while ((attnum = bms_next_member(base->columns, attnum)) >= 0 && fits)
	{
		HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(base->relid), Int16GetDatum(attnum));
		Form_pg_attribute attr = HeapTupleIsValid(tuple) ? (Form_pg_attribute) GETSTRUCT(tuple) : NULL;

		fits = attr != NULL && !attr->attisdropped;
		if (fits)
		{
			base->attnums[i++] = attnum;
			TupleDescInitEntry(desc, i, NameStr(attr->attname), attr->atttypid, attr->atttypmod, 0);
			TupleDescInitEntryCollation(desc, i, attr->attcollation);
		}
		if (attr)
			ReleaseSysCache(tuple);
	}
	TupleDescInitEntry(desc, ncolumns + 1, TD_WEIGHT, INT8OID, -1, 0);
	base->desc = fits ? desc : NULL;
	MemoryContextSwitchTo(old);
	return fits;
}

/* ---- rows into deltas ---- */

/* A descriptor to take rows of a layout apart with; columns of one that was decoded have no names. */
static TupleDesc
desc_of(const TdRowLayout *layout)
{
	TupleDesc	desc;

	if (layout->desc)
		return layout->desc;
	desc = CreateTemplateTupleDesc(layout->ncolumns + 1);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		const TdLayoutColumn *c = &layout->columns[i];
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		TupleDescInitEntry(desc, i + 1, NULL, INT8OID, -1, 0);	/* any type: only what follows is looked at */
		attr->atttypid = c->type;
		attr->atttypmod = c->typmod;
		attr->attlen = c->len;
		attr->attbyval = c->byval;
		attr->attalign = c->align;
		attr->attstorage = c->storage;
		td_populate_compact_attribute_compat(desc, i);
	}
	TupleDescInitEntry(desc, layout->ncolumns + 1, TD_WEIGHT, INT8OID, -1, 0);
	return desc;
}

/*
 * Where each column of the delta stands in the layout; false = a type differs,
 * or (not of a base table, whose views were filled after such rows) it is not there.
 */
static bool
map_columns(TdRowLayout *layout, const TdDelta *delta, bool base)
{
	int			ncolumns = delta->desc->natts - 1;
	bool		same = ncolumns == layout->ncolumns;

	layout->map = palloc(sizeof(int) * Max(ncolumns, 1));
	for (int i = 0; i < ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(delta->desc, i);

		layout->map[i] = -1;
		for (int j = 0; j < layout->ncolumns; j++)
		{
			const TdLayoutColumn *c = &layout->columns[j];

			if (c->attnum != delta->attnums[i])
				continue;
			if (c->type != attr->atttypid || c->len != attr->attlen || c->byval != attr->attbyval || c->align != attr->attalign)
				return false;
			layout->map[i] = j;
		}
		if (layout->map[i] < 0 && !base)
			return false;
		same &= layout->map[i] == i;
	}
	layout->way = same ? TD_ROW_COPY : TD_ROW_CONVERT;
	return true;
}

/* Finds out, once a tick and set of deltas, how rows of the layout get there. */
static void
bind_layout(TdKeeper *k, TdDeltas *deltas, TdRowLayout *layout)
{
	MemoryContext old = MemoryContextSwitchTo(k->tick_context);
	TdBase	   *base = td_base_find(k, layout->relid);
	TdDelta    *delta;

	layout->tick = k->tick;
	layout->deltas = deltas;
	layout->way = TD_ROW_UNKNOWN;
	if (base)
		check_base(k, base);
	delta = td_deltas_get(deltas, layout->relid);
	if ((delta == NULL || delta->desc == NULL) && base == NULL && layout->number == 0)
	{
		AttrNumber *attnums = palloc(sizeof(AttrNumber) * Max(layout->ncolumns, 1));

		for (int i = 0; i < layout->ncolumns; i++)
			attnums[i] = layout->columns[i].attnum;
		delta = td_deltas_add(deltas, layout->relid, layout->desc, attnums);
	}
	else if ((delta == NULL || delta->desc == NULL) && base != NULL && base->fits)
		delta = td_deltas_add(deltas, layout->relid, base->desc, base->attnums);
	if (delta && delta->desc && map_columns(layout, delta, base != NULL))
	{
		layout->in = MakeSingleTupleTableSlot(layout->way == TD_ROW_COPY ? delta->desc : desc_of(layout), &TTSOpsMinimalTuple);
		layout->out = layout->way == TD_ROW_COPY ? NULL : MakeSingleTupleTableSlot(delta->desc, &TTSOpsVirtual);
	}
	else
		layout->way = TD_ROW_UNKNOWN;
	layout->delta = delta;
	if (layout->way == TD_ROW_UNKNOWN && (base != NULL || layout->number == 0))
		td_deltas_unknown(deltas, layout->relid);
	MemoryContextSwitchTo(old);
}

/* Adds one row to the delta of its relation.  Rows of relations that nobody reads any more are let go. */
void
td_rows_add(TdKeeper *k, TdDeltas *deltas, TdRowLayout *layout, MinimalTuple tuple)
{
	if (layout->tick != k->tick || layout->deltas != deltas)
		bind_layout(k, deltas, layout);
	if (layout->way == TD_ROW_UNKNOWN)
		return;
	ExecStoreMinimalTuple(tuple, layout->in, false);
	if (layout->way == TD_ROW_COPY)
		tuplestore_puttupleslot(layout->delta->rows, layout->in);
	else
	{
		int			ncolumns = layout->delta->desc->natts - 1;

		slot_getallattrs(layout->in);
		ExecClearTuple(layout->out);
		for (int i = 0; i < ncolumns; i++)
		{
			int			from = layout->map[i];

			layout->out->tts_isnull[i] = from < 0 || layout->in->tts_isnull[from];
			layout->out->tts_values[i] = layout->out->tts_isnull[i] ? (Datum) 0 : layout->in->tts_values[from];
		}
		layout->out->tts_values[ncolumns] = layout->in->tts_values[layout->ncolumns];
		layout->out->tts_isnull[ncolumns] = false;
		ExecStoreVirtualTuple(layout->out);
		tuplestore_puttupleslot(layout->delta->rows, layout->out);
	}
	layout->delta->nrows++;
}

/*
 * A partition that is being detached concurrently (or whose detaching was interrupted) is one no longer for snapshots that see its first half, but for capture
 * until the second: which rows belong to the table can't be told.
 */
static bool
is_being_detached(Oid relid)
{
	bool		detached = false;
	List	   *children;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return false;
	children = find_inheritance_children_extended(relid, false, NoLock, &detached, NULL);
	foreach(lc, children)
		detached = detached || is_being_detached(lfirst_oid(lc));
	list_free(children);
	return detached;
}

void
td_rows_distrust(TdDeltas *deltas)
{
	ListCell   *lc;

	foreach(lc, deltas->list)
	{
		TdDelta    *delta = lfirst(lc);

		if (!delta->unknown && is_being_detached(delta->relid))
			td_deltas_unknown(deltas, delta->relid);
	}
}

/* ---- rows out of deltas ---- */

/* To the first row of a delta; the slot is the caller's. */
TupleTableSlot *
td_delta_rewind(TdDelta *delta)
{
	tuplestore_select_read_pointer(delta->rows, 0);
	tuplestore_rescan(delta->rows);
	return MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);
}

/* The layout that rows of a delta have. */
TdRowLayout *
td_layout_of(const TdDelta *delta)
{
	TdRowLayout *layout = palloc0(sizeof(TdRowLayout));

	layout->relid = delta->relid;
	layout->desc = CreateTupleDescCopy(delta->desc);
	layout->ncolumns = delta->desc->natts - 1;
	layout->columns = palloc0(sizeof(TdLayoutColumn) * Max(layout->ncolumns, 1));
	for (int i = 0; i < layout->ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(delta->desc, i);
		TdLayoutColumn *c = &layout->columns[i];

		c->attnum = delta->attnums[i];
		c->type = attr->atttypid;
		c->typmod = attr->atttypmod;
		c->len = attr->attlen;
		c->byval = attr->attbyval;
		c->align = attr->attalign;
		c->storage = attr->attstorage;
		c->collation = attr->attcollation;
	}
	return layout;
}

/* Are the rows of the delta of this layout? */
bool
td_layout_is(const TdRowLayout *layout, const TdDelta *delta)
{
	if (layout->relid != delta->relid || layout->ncolumns != delta->desc->natts - 1)
		return false;
	for (int i = 0; i < layout->ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(delta->desc, i);

		if (layout->columns[i].attnum != delta->attnums[i] || layout->columns[i].type != attr->atttypid)
			return false;
	}
	return true;
}

/* Adds all of a delta to other deltas. */
void
td_rows_copy(TdKeeper *k, TdDeltas *to, TdDelta *from)
{
	MemoryContext old = MemoryContextSwitchTo(k->tick_context);
	TdRowLayout *layout;
	TupleTableSlot *slot;

	if (from->unknown)
		td_deltas_unknown(to, from->relid);
	if (from->desc == NULL)
	{
		MemoryContextSwitchTo(old);
		return;
	}
	layout = td_layout_of(from);
	slot = td_delta_rewind(from);
	while (tuplestore_gettupleslot(from->rows, true, false, slot))
	{
		bool		free;
		MinimalTuple tuple = ExecFetchSlotMinimalTuple(slot, &free);

		td_rows_add(k, to, layout, tuple);
		if (free)
			pfree(tuple);
	}
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextSwitchTo(old);
}

/* ---- replica identity ---- */

/* Does a view that learns of changes from its rows do better than computing all of itself for each?  *key: their key is enough for all of these. */
static bool
needs_old_images(TdKeeper *k, Oid relid, bool *key)
{
	bool		needs = false;
	ListCell   *lc;

	*key = true;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		for (int i = 0; m->run && i < m->run->shape->noccurrences; i++)
		{
			const TdOccurrence *o = &m->run->shape->occurrences[i];

			if (o->relid != relid || o->kept != 0 || td_run_is_whole(m->run))
				continue;
			needs = true;
			*key &= o->touch;
		}
	}
	return needs;
}

/* Says, once a session, which tables must be altered so that changes of a base can be told. */
void
td_base_warn_identity(TdKeeper *k, Oid relid)
{
	TdBase	   *base = td_base_find(k, relid);
	bool		key;
	List	   *relids;
	ListCell   *lc;

	if (base == NULL || base->warned || !needs_old_images(k, relid, &key))
		return;
	base->warned = true;
	relids = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, relids)
		warn_partition(lfirst_oid(lc), key);
}

static void
warn_partition(Oid relid, bool key)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	TdError		entry = {0};
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (form->relkind == RELKIND_RELATION && form->relreplident != REPLICA_IDENTITY_FULL)
	{
		name = quote_qualified_identifier(get_namespace_name(form->relnamespace), NameStr(form->relname));
		td_error_set(&entry, "55000", "changes of table %s do not tell the %s, views that read it are computed anew for each", name, key ? "key of the old row" : "old row");
		td_error_hint(&entry, key ? "Give it a primary key and: ALTER TABLE %s REPLICA IDENTITY DEFAULT;" : "ALTER TABLE %s REPLICA IDENTITY FULL;", name);
		td_log("warning", "view", name, form->relowner, &entry);
	}
	ReleaseSysCache(tuple);
}
