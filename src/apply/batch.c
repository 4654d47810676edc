/*-------------------------------------------------------------------------
 *
 * batch.c
 *		One table's changes of a flush, found by key.
 *
 * NOTES
 *		Entries keep the order in which their keys first appear.  The table of
 *		buckets holds numbers of entries, open addressing, at most half full; all
 *		of it is the flush's memory and goes with it.
 *
 * src/apply/batch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "apply/apply_internal.h"

#define FIRST_ENTRIES 64

typedef struct Ordered
{
	int64		order;
	uint32		entry;
} Ordered;

#define ST_SORT sort_ordered
#define ST_ELEMENT_TYPE Ordered
#define ST_COMPARE(a, b) ((a)->order < (b)->order ? -1 : (a)->order > (b)->order)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static void grow(TdBatch *batch);
static uint64 hash_key(const uint8 *key, uint32 len);

/* An empty batch in the flush's memory. */
TdBatch *
td_batch_create(MemoryContext context)
{
	TdBatch    *batch = MemoryContextAllocZero(context, sizeof(TdBatch));

	batch->context = context;
	td_arena_init(&batch->arena, context);
	batch->max_entries = FIRST_ENTRIES;
	batch->entries = MemoryContextAlloc(context, FIRST_ENTRIES * sizeof(TdEntry));
	batch->mask = 2 * FIRST_ENTRIES - 1;
	batch->buckets = MemoryContextAllocZero(context, 2 * FIRST_ENTRIES * sizeof(uint32));
	return batch;
}

/* The entry of a key, made if new (then only hash and key are set).  The key's bytes must live as long as the batch. */
TdEntry *
td_batch_entry(TdBatch *batch, const uint8 *key, uint32 len, bool *found)
{
	uint64		hash = hash_key(key, len);
	uint32		i = hash & batch->mask;
	TdEntry    *entry;

	for (; batch->buckets[i] != 0; i = (i + 1) & batch->mask)
	{
		entry = &batch->entries[batch->buckets[i] - 1];
		if (entry->hash == hash && entry->key_len == len && memcmp(entry->key, key, len) == 0)
		{
			*found = true;
			return entry;
		}
	}
	*found = false;
	if (batch->nentries == batch->max_entries)
	{
		grow(batch);
		for (i = hash & batch->mask; batch->buckets[i] != 0;)
			i = (i + 1) & batch->mask;
	}
	batch->buckets[i] = batch->nentries + 1;
	entry = &batch->entries[batch->nentries++];
	memset(entry, 0, sizeof(TdEntry));
	entry->hash = hash;
	entry->key = key;
	entry->key_len = len;
	return entry;
}

/* Twice as many entries, four times as many buckets as there were entries. */
static void
grow(TdBatch *batch)
{
	uint32		nbuckets = batch->max_entries * 4;

	batch->max_entries *= 2;
	batch->entries = repalloc_huge(batch->entries, (Size) batch->max_entries * sizeof(TdEntry));
	pfree(batch->buckets);
	batch->buckets = MemoryContextAllocExtended(batch->context, (Size) nbuckets * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	batch->mask = nbuckets - 1;
	for (uint32 n = 0; n < batch->nentries; n++)
	{
		uint32		i = batch->entries[n].hash & batch->mask;

		while (batch->buckets[i] != 0)
			i = (i + 1) & batch->mask;
		batch->buckets[i] = n + 1;
	}
}

/* Numbers are short: mix them; anything longer goes through the server's hash. */
static uint64
hash_key(const uint8 *key, uint32 len)
{
	uint64		h;

	if (len != sizeof(h))
		return hash_bytes_extended(key, len, 0);
	memcpy(&h, key, sizeof(h));
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return h ^ h >> 33;
}

/* The entries in the order of the key's index: look-ups and insertions then stay on pages that are at hand. */
uint32 *
td_batch_order(TdBatch *batch, const TdSchema *schema)
{
	uint32		n = batch->nentries;
	uint32	   *result = MemoryContextAllocHuge(batch->context, Max(n, 1) * sizeof(uint32));
	Ordered    *ordered = MemoryContextAllocHuge(batch->context, Max(n, 1) * sizeof(Ordered));

	for (uint32 i = 0; i < n; i++)
	{
		ordered[i].order = td_key_order(schema, batch->entries[i].key, batch->entries[i].key_len);
		ordered[i].entry = i;
	}
	sort_ordered(ordered, n);
	for (uint32 i = 0; i < n; i++)
		result[i] = ordered[i].entry;
	pfree(ordered);
	return result;
}

/* Keyless: one more change in order. */
void
td_batch_sequence(TdBatch *batch, uint32 pending)
{
	if (batch->sequence == NULL)
	{
		batch->max_sequence = FIRST_ENTRIES;
		batch->sequence = MemoryContextAlloc(batch->context, FIRST_ENTRIES * sizeof(uint32));
	}
	else if (batch->nsequence == batch->max_sequence)
	{
		batch->max_sequence *= 2;
		batch->sequence = repalloc_huge(batch->sequence, (Size) batch->max_sequence * sizeof(uint32));
	}
	batch->sequence[batch->nsequence++] = pending;
}
