/*
 * Messages of capture: what is written is read again; damaged blocks are refused and nothing outside of them is read.
 * unit-link: src/capture/message.c
 */
#include "postgres.h"

#include "capture/capture_internal.h"

#undef printf
#undef vprintf
#include "tap.h"

#define ROWS 3

static const TdLayoutColumn columns[2] = {{.attnum = 1,.type = 23,.typmod = -1,.len = 4,.byval = true,.align = 'i',.storage = 'p'},
{.attnum = 7,.type = 25,.typmod = -1,.len = -1,.align = 'i',.storage = 'x',.collation = 100}};

static const TdCaptureMessage all[] = {
	{.kind = TD_CAPTURE_START,.lsn = 0x1122334455667788,.xid = 0x100000007,.created = true},
	{.kind = TD_CAPTURE_BEGIN,.xid = 0x200000009,.lsn = 42,.time = -5,.version = 3},
	{.kind = TD_CAPTURE_LAYOUT,.layout = 9,.relid = 16384,.ncolumns = 2,.columns = columns},
	{.kind = TD_CAPTURE_LAYOUT,.layout = 10,.relid = 16385,.ncolumns = 0},
	{.kind = TD_CAPTURE_UNKNOWN,.relid = 16384,.why = TD_UNKNOWN_COLUMN},
	{.kind = TD_CAPTURE_DDL,.relid = 16385},
	{.kind = TD_CAPTURE_COMMIT},
	{.kind = TD_CAPTURE_PROGRESS,.lsn = 77,.xid = 79,.version = 4},
};

#define KINDS ((int) (sizeof(all) / sizeof(all[0])))

/* All of them, then rows; *len = bytes of the block, in memory of exactly that size. */
static uint8_t *
make_block(size_t *len)
{
	size_t		size = 0;
	uint8_t    *block;
	uint8_t    *at;

	for (int i = 0; i < KINDS; i++)
		size += td_message_size(&all[i]);
	for (int i = 0; i < ROWS; i++)
		size += td_message_row_size(SizeofMinimalTupleHeader + 9 + i);
	at = block = malloc(size);
	for (int i = 0; i < KINDS; i++)
	{
		td_message_write(at, &all[i]);
		at += td_message_size(&all[i]);
	}
	for (int i = 0; i < ROWS; i++)
	{
		MinimalTuple tuple = td_message_row(at, 9, SizeofMinimalTupleHeader + 9 + i);

		tuple->t_hoff = MAXALIGN(SizeofMinimalTupleHeader) + MINIMAL_TUPLE_OFFSET;
		memset((char *) tuple + MAXALIGN(SizeofMinimalTupleHeader), 'a' + i, 1);
		at += td_message_length(at);
	}
	*len = size;
	return block;
}

static bool
same(const TdCaptureMessage *a, const TdCaptureMessage *b)
{
	bool		numbered = a->kind == TD_CAPTURE_BEGIN || a->kind == TD_CAPTURE_PROGRESS;

	return a->kind == b->kind && a->relid == b->relid && a->xid == b->xid && a->lsn == b->lsn && a->time == b->time &&
		a->created == b->created && (!numbered || a->version == b->version) && (a->kind != TD_CAPTURE_LAYOUT || a->layout == b->layout) &&
		(a->kind != TD_CAPTURE_UNKNOWN || a->why == b->why) && a->ncolumns == b->ncolumns &&
		(a->ncolumns == 0 || memcmp(a->columns, b->columns, a->ncolumns * sizeof(TdLayoutColumn)) == 0);
}

/* Reads to the end or to damage, and touches all that it is given. */
static int
read_through(const uint8_t *block, size_t len, unsigned *sum)
{
	TdReader	r = {block, block + len};
	TdCaptureMessage m;
	int			result;

	while ((result = td_capture_next(&r, &m)) == 1)
	{
		for (uint32 i = 0; i < m.ncolumns; i++)
			*sum += m.columns[i].type + m.columns[i].collation;
		if (m.tuple)
			for (uint32 i = 0; i < m.tuple->t_len; i++)
				*sum += ((uint8_t *) m.tuple)[i];
		for (uint32 i = 0; i < m.whole.len; i++)
			*sum += m.whole.data[i];
	}
	return result;
}

/* Cut anywhere: damaged, but between two messages. */
static void
test_truncated(const uint8_t *block, size_t len)
{
	size_t		boundary = 0;
	bool		good = true;
	unsigned	sum = 0;

	for (size_t cut = 0; cut < len; cut++)
	{
		uint8_t    *copy = malloc(cut ? cut : 1);

		memcpy(copy, block, cut);
		if (cut == boundary + td_message_length(block + boundary))
			boundary = cut;
		good &= read_through(copy, cut, &sum) == (cut == boundary ? 0 : -1);
		free(copy);
	}
	ok(good, "a block that is cut is damaged, but between two messages");
}

static void
test_flipped(const uint8_t *block, size_t len)
{
	uint8_t    *copy = malloc(len);
	int			refused = 0;
	unsigned	sum = 0;

	for (size_t at = 0; at < len; at++)
		for (int bit = 0; bit < 8; bit++)
		{
			memcpy(copy, block, len);
			copy[at] ^= 1 << bit;
			refused += read_through(copy, len, &sum) < 0;
		}
	free(copy);
	ok(refused > 100, "flipped bits: %d of %d blocks are refused, nothing is read outside (%u)", refused, (int) len * 8, sum & 1);
}

int
main(void)
{
	size_t		len;
	uint8_t    *block = make_block(&len);
	TdReader	r = {block, block + len};
	TdCaptureMessage m;

	for (int i = 0; i < KINDS; i++)
	{
		ok(td_capture_next(&r, &m) == 1 && same(&m, &all[i]), "message %d comes back", i);
		ok(m.whole.len == td_message_size(&all[i]) && m.whole.len % MAXIMUM_ALIGNOF == 0, "its length keeps the next one aligned");
	}
	for (int i = 0; i < ROWS; i++)
		ok(td_capture_next(&r, &m) == 1 && m.kind == TD_CAPTURE_ROW && m.layout == 9 && m.tuple->t_len == SizeofMinimalTupleHeader + 9 + i &&
		   (uintptr_t) m.tuple % MAXIMUM_ALIGNOF == 0 && ((char *) m.tuple)[MAXALIGN(SizeofMinimalTupleHeader)] == 'a' + i, "row %d comes back, aligned", i);
	ok(td_capture_next(&r, &m) == 0, "then the end");
	r.p = block + 4;
	ok(td_capture_next(&r, &m) == -1, "a block that is not aligned is refused");
	test_truncated(block, len);
	test_flipped(block, len);
	free(block);
	return done_testing();
}
