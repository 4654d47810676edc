/*-------------------------------------------------------------------------
 *
 * net.c
 *		Signed multisets: equal rows become one, with the sum of their weights.
 *
 * NOTES
 *		View worker and fill worker, inside a transaction.  Rows are kept as
 *		normalized minimal tuples (normal.c), so that equal rows are equal bytes;
 *		the weight stands beside the tuple until it is given out.
 *
 *		Memory: past the limit the rows that are known go on being netted, and
 *		new ones go to sixteen tuplestores by hash, each of which is netted by
 *		itself in the end.  All of it is in one context; temporary files belong
 *		to the resource owner in force.
 *
 *		A net that raised an error must not be used any more.
 *
 * src/view/maintain/net.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/int.h"
#include "miscadmin.h"

#include "view/maintain/store_internal.h"

#define NET_PARTS 16
#define NET_PART_KB 64			/* least memory of a part */

typedef struct TdNetEntry
{
	struct TdNetEntry *next;	/* in order of arrival */
	int64		weight;
	/* the tuple follows */
} TdNetEntry;

#define ENTRY_SIZE MAXALIGN(sizeof(TdNetEntry))
#define ENTRY_TUPLE(entry) ((MinimalTuple) ((char *) (entry) + ENTRY_SIZE))
#define TUPLE_ENTRY(tuple) ((TdNetEntry *) ((char *) (tuple) - ENTRY_SIZE))

typedef struct TdNetBucket
{
	MinimalTuple tuple;			/* within an entry */
	uint32		hash;
	uint32		status;
} TdNetBucket;

/* What of a tuple is compared: all but its length and its weight. */
static inline const char *
body_of(MinimalTuple tuple, Size *len)
{
	*len = tuple->t_len - sizeof(int64) - offsetof(MinimalTupleData, t_infomask2);
	return (const char *) tuple + offsetof(MinimalTupleData, t_infomask2);
}

static inline bool
same_row(MinimalTuple a, MinimalTuple b)
{
	Size		len;
	const char *body = body_of(a, &len);

	return a->t_len == b->t_len && memcmp(body, (const char *) b + offsetof(MinimalTupleData, t_infomask2), len) == 0;
}

#define SH_PREFIX netset
#define SH_ELEMENT_TYPE TdNetBucket
#define SH_KEY_TYPE MinimalTuple
#define SH_KEY tuple
#define SH_HASH_KEY(tb, key) 0
#define SH_EQUAL(tb, a, b) same_row(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct TdNet
{
	MemoryContext context;
	MemoryContext table;		/* what goes first at the end: set and entries */
	MemoryContext scratch;		/* of one row */
	TupleDesc	desc;
	TdNormal   *normal;
	Datum	   *values;
	bool	   *nulls;
	Size		limit;
	int			level;			/* of parts: seeds the hash, so that a part of a part is parted again */
	netset_hash *set;
	TdBump		entries;
	TdNetEntry *first;
	TdNetEntry **last;
	bool		full;
	Tuplestorestate *parts[NET_PARTS];
	TupleTableSlot *slot;
};

static void add_row(TdNet *net, MinimalTuple tuple, int64 weight);

static TdNet *
create(TupleDesc desc, Size limit, int level)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata net", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	TdNet	   *net = palloc0(sizeof(TdNet));

	net->context = context;
	net->table = AllocSetContextCreate(context, "tapdata net table", ALLOCSET_DEFAULT_SIZES);
	net->scratch = AllocSetContextCreate(context, "tapdata net row", ALLOCSET_DEFAULT_SIZES);
	net->desc = CreateTupleDescCopy(desc);
	net->normal = td_normal_columns(desc, desc->natts - 1);
	net->values = palloc(sizeof(Datum) * desc->natts);
	net->nulls = palloc(sizeof(bool) * desc->natts);
	net->limit = limit;
	net->level = level;
	net->set = netset_create(net->table, TD_SET_FIRST, NULL);
	net->entries.context = net->table;
	net->last = &net->first;
	net->slot = MakeSingleTupleTableSlot(net->desc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(caller);
	return net;
}

/* In a context of its own below the current one. */
TdNet *
td_net_create(TupleDesc desc, Size memory_limit)
{
	if (desc->natts < 1 || TupleDescAttr(desc, desc->natts - 1)->atttypid != INT8OID)
		elog(ERROR, "a delta's last column is no weight");
	return create(desc, memory_limit, 0);
}

static int64
signed_weight(int64 weight, int64 sign)
{
	int64		result;

	if (pg_mul_s64_overflow(weight, sign, &result))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a row of a delta is too many times in it")));
	return result;
}

/* Any row: its values are made whole first. */
void
td_net_add(TdNet *net, TupleTableSlot *slot, int64 sign)
{
	int			n = net->desc->natts - 1;
	MemoryContext caller = MemoryContextSwitchTo(net->scratch);

	if (slot->tts_tupleDescriptor->natts != n + 1)
		elog(ERROR, "a row has %d columns, its delta has %d", slot->tts_tupleDescriptor->natts, n + 1);
	slot_getallattrs(slot);
	if (slot->tts_isnull[n])
		elog(ERROR, "the weight of a row is null");
	for (int i = 0; i < n; i++)
	{
		net->nulls[i] = slot->tts_isnull[i];
		net->values[i] = net->nulls[i] ? (Datum) 0 : td_normal_value(&net->normal[i], slot->tts_values[i]);
	}
	net->nulls[n] = false;
	net->values[n] = slot->tts_values[n];
	add_row(net, td_form_minimal_tuple_compat(net->desc, net->values, net->nulls), signed_weight(DatumGetInt64(slot->tts_values[n]), sign));
	MemoryContextSwitchTo(caller);
	MemoryContextReset(net->scratch);
}

static void
add_weight(TdNetEntry *entry, int64 weight)
{
	if (pg_add_s64_overflow(entry->weight, weight, &entry->weight))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a row of a delta is too many times in it")));
}

/* A copy of the tuple, in the table. */
static MinimalTuple
new_entry(TdNet *net, MinimalTuple tuple, int64 weight)
{
	TdNetEntry *entry = td_bump(&net->entries, ENTRY_SIZE + tuple->t_len);

	entry->next = NULL;
	entry->weight = weight;
	memcpy(ENTRY_TUPLE(entry), tuple, tuple->t_len);
	*net->last = entry;
	net->last = &entry->next;
	net->full = net->entries.used + net->set->size * sizeof(TdNetBucket) > net->limit;
	return ENTRY_TUPLE(entry);
}

/* A row the table has no room for. */
static void
put_part(TdNet *net, uint32 part, MinimalTuple tuple, int64 weight)
{
	MemoryContext caller = MemoryContextSwitchTo(net->context);
	MinimalTuple copy = MemoryContextAlloc(net->scratch, tuple->t_len);

	if (net->parts[part] == NULL)
		net->parts[part] = tuplestore_begin_heap(false, false, (int) Max(net->limit / NET_PARTS / 1024, NET_PART_KB));
	memcpy(copy, tuple, tuple->t_len);
	memcpy(td_weight_at(copy), &weight, sizeof(weight));
	ExecStoreMinimalTuple(copy, net->slot, false);
	tuplestore_puttupleslot(net->parts[part], net->slot);
	ExecClearTuple(net->slot);
	pfree(copy);
	MemoryContextSwitchTo(caller);
}

static void
add_row(TdNet *net, MinimalTuple tuple, int64 weight)
{
	Size		len;
	const char *body = body_of(tuple, &len);
	uint64		hash = hash_bytes_extended((const unsigned char *) body, (int) len, net->level);
	TdNetBucket *bucket;
	bool		found = true;

	if (unlikely(net->full))
	{
		bucket = netset_lookup_hash(net->set, tuple, (uint32) hash);
		if (bucket == NULL)
		{
			put_part(net, (uint32) (hash >> 32) % NET_PARTS, tuple, weight);
			return;
		}
	}
	else
		bucket = netset_insert_hash(net->set, tuple, (uint32) hash, &found);
	if (found)
		add_weight(TUPLE_ENTRY(bucket->tuple), weight);
	else
		bucket->tuple = new_entry(net, tuple, weight);
}

/* The rows in the table whose weight is not 0, in order of arrival. */
static int64
give_table(TdNet *net, Tuplestorestate *into)
{
	int64		rows = 0;

	for (TdNetEntry *entry = net->first; entry; entry = entry->next)
	{
		if (entry->weight == 0)
			continue;
		memcpy(td_weight_at(ENTRY_TUPLE(entry)), &entry->weight, sizeof(int64));
		ExecStoreMinimalTuple(ENTRY_TUPLE(entry), net->slot, false);
		tuplestore_puttupleslot(into, net->slot);
		if ((++rows & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(net->slot);
	return rows;
}

/* The rows of one part, netted on their own. */
static int64
give_part(TdNet *net, Tuplestorestate *part, Tuplestorestate *into)
{
	TdNet	   *below = create(net->desc, net->limit, net->level + 1);
	int64		n = 0;

	check_stack_depth();
	while (tuplestore_gettupleslot(part, true, false, net->slot))
	{
		bool		should_free;
		MinimalTuple tuple = ExecFetchSlotMinimalTuple(net->slot, &should_free);

		add_row(below, tuple, td_weight_of(tuple));
		if ((++n & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(net->slot);
	tuplestore_end(part);
	return td_net_finish(below, into);
}

int64
td_net_finish(TdNet *net, Tuplestorestate *into)
{
	MemoryContext caller = MemoryContextSwitchTo(net->context);
	int64		rows = give_table(net, into);

	MemoryContextDelete(net->table);
	for (int i = 0; i < NET_PARTS; i++)
	{
		if (net->parts[i])
			rows += give_part(net, net->parts[i], into);
	}
	MemoryContextSwitchTo(caller);
	ExecDropSingleTupleTableSlot(net->slot);
	MemoryContextDelete(net->context);
	return rows;
}
