/*-------------------------------------------------------------------------
 *
 * store_pairs.c
 *		The rows of a delta by key: what is taken away beside what is added.
 *
 * NOTES
 *		View worker and fill worker.  Keys are compared as images: two keys that
 *		are equal but not the same image (1.0 and 1.00) are a delete and an insert,
 *		in that order, which is right as well.
 *
 *		A delta that is too big for memory is split by hash of the key into
 *		tuplestores that are not.
 *
 * src/view/maintain/store_pairs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "view/maintain/store_internal.h"

#define MAX_PARTS 256
#define PART_KB 64

/* A pair and its key, which follows it. */
typedef struct KeyedPair
{
	TdRowPair		pair;
	uint32		len;
	char		key[FLEXIBLE_ARRAY_MEMBER];
} KeyedPair;

typedef struct KeyBytes
{
	const char *bytes;
	uint32		len;
} KeyBytes;

typedef struct PairBucket
{
	KeyBytes	key;			/* within the pair */
	KeyedPair  *pair;
	uint32		hash;
	uint32		status;
} PairBucket;

#define SH_PREFIX pairset
#define SH_ELEMENT_TYPE PairBucket
#define SH_KEY_TYPE KeyBytes
#define SH_KEY key
#define SH_HASH_KEY(tb, key) 0
#define SH_EQUAL(tb, a, b) ((a).len == (b).len && memcmp((a).bytes, (b).bytes, (a).len) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct TdPairs
{
	MemoryContext context;
	pairset_hash *set;
	TdBump		bump;
	TdRowPair	   *first;
	TdRowPair	  **last;
};

/* The key of a row of a delta, into a buffer. */
static void
encode_key(TdStore *s, TupleTableSlot *row, StringInfo key)
{
	resetStringInfo(key);
	for (int i = 0; i < s->nkeys; i++)
	{
		bool		null;
		Datum		value = slot_getattr(row, s->keys[i], &null);

		appendStringInfoChar(key, null);
		if (!null)
			td_image_append(&s->target.normal[s->keys[i] - 1], value, key);
	}
}

static MinimalTuple
copy_tuple(TdPairs *pairs, MinimalTuple tuple)
{
	MinimalTuple copy = td_bump(&pairs->bump, tuple->t_len);

	memcpy(copy, tuple, tuple->t_len);
	return copy;
}

static KeyedPair *
new_pair(TdPairs *pairs, KeyBytes key)
{
	KeyedPair  *keyed = td_bump(&pairs->bump, offsetof(KeyedPair, key) + key.len);

	memset(&keyed->pair, 0, sizeof(TdRowPair));
	keyed->len = key.len;
	memcpy(keyed->key, key.bytes, key.len);
	*pairs->last = &keyed->pair;
	pairs->last = &keyed->pair.next;
	return keyed;
}

/* One row, to the other one of its key. */
static void
add_row(TdStore *s, TdPairs *pairs, KeyBytes key)
{
	bool		should_free;
	MinimalTuple tuple = ExecFetchSlotMinimalTuple(s->input, &should_free);
	int64		weight = td_weight_of(tuple);
	uint32		hash = hash_bytes((const unsigned char *) key.bytes, (int) key.len);
	bool		found;
	PairBucket *bucket = pairset_insert_hash(pairs->set, key, hash, &found);
	MinimalTuple *side;

	if (!found)
	{
		bucket->pair = new_pair(pairs, key);
		bucket->key.bytes = bucket->pair->key;
	}
	side = weight < 0 ? &bucket->pair->pair.old_row : &bucket->pair->pair.new_row;
	if (*side || (weight != 1 && weight != -1))
		td_store_damaged(s, s->input, "A key would be there more than once");
	*side = copy_tuple(pairs, tuple);
}

/* All rows of a delta, or of a part of one. */
TdPairs *
td_pairs_load(TdStore *s, Tuplestorestate *delta)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata pairs", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	TdPairs    *pairs = palloc0(sizeof(TdPairs));
	StringInfoData key;
	int64		n = 0;

	pairs->context = context;
	pairs->set = pairset_create(context, TD_SET_FIRST, NULL);
	pairs->bump.context = context;
	pairs->last = &pairs->first;
	initStringInfo(&key);
	tuplestore_rescan(delta);
	while (tuplestore_gettupleslot(delta, true, false, s->input))
	{
		encode_key(s, s->input, &key);
		add_row(s, pairs, (KeyBytes) {key.data, key.len});
		if ((++n & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(s->input);
	MemoryContextSwitchTo(caller);
	return pairs;
}

TdRowPair *
td_pairs_first(TdPairs *pairs)
{
	return pairs->first;
}

void
td_pairs_free(TdPairs *pairs)
{
	MemoryContextDelete(pairs->context);
}

/* How many parts keep each below the limit. */
static int
count_parts(TdStore *s, Tuplestorestate *delta, Size limit)
{
	Size		bytes = 0;
	int64		n = 0;

	tuplestore_rescan(delta);
	while (tuplestore_gettupleslot(delta, true, false, s->input))
	{
		bool		should_free;

		bytes += ExecFetchSlotMinimalTuple(s->input, &should_free)->t_len + sizeof(KeyedPair) + sizeof(PairBucket);
		if ((++n & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(s->input);
	return (int) Min(bytes / Max(limit, 1) + 1, MAX_PARTS);
}

/* The delta in parts by key, in CurrentMemoryContext; the delta itself when one is enough. */
Tuplestorestate **
td_pairs_split(TdStore *s, Tuplestorestate *delta, Size limit, int *nparts)
{
	int			n = count_parts(s, delta, limit);
	Tuplestorestate **parts = palloc0(sizeof(Tuplestorestate *) * n);
	StringInfoData key;
	int64		rows = 0;

	*nparts = n;
	parts[0] = delta;
	if (n == 1)
		return parts;
	for (int i = 0; i < n; i++)
		parts[i] = tuplestore_begin_heap(false, false, (int) Max(limit / 1024 / n, PART_KB));
	initStringInfo(&key);
	tuplestore_rescan(delta);
	while (tuplestore_gettupleslot(delta, true, false, s->input))
	{
		encode_key(s, s->input, &key);
		/* another seed than that of the sets */
		tuplestore_puttupleslot(parts[hash_bytes_extended((const unsigned char *) key.data, key.len, 1) % n], s->input);
		if ((++rows & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	ExecClearTuple(s->input);
	pfree(key.data);
	return parts;
}
