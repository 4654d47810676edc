/*-------------------------------------------------------------------------
 *
 * stream_record.c
 *		Records and schemas: round trip of every type and state, damage, speed.
 *
 * test/unit/stream_record.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <time.h>

#include "stream/stream.h"
#include "tap.h"

#define NCOLUMNS 18
#define FUZZ_ROUNDS 300000

static TdColumn columns[NCOLUMNS];
static uint32_t keys[2] = {2, 0};
static TdSchema schema = {7, "shop", "every type", NCOLUMNS, columns, 2, keys};
static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* One column of each type. */
static void
init_schema(void)
{
	static char names[NCOLUMNS][8];

	for (int i = 0; i < NCOLUMNS; i++)
	{
		snprintf(names[i], sizeof(names[i]), "c%d", i);
		columns[i] = (TdColumn) {names[i], "native", (TdType) (i + 1), i, -1, i % 2 == 0};
	}
}

/* A row with all values, where `state` is TD_VALUE; otherwise all of that state. */
static void
put_row(TdBuffer *b, TdState state, int64_t seed)
{
	TdBytes		items[3] = {{(const uint8_t *) "a", 1}, {NULL, 0}, {(const uint8_t *) "ccc", 3}};

	td_write_row(b, NCOLUMNS);
	for (int i = 0; state != TD_VALUE && i < NCOLUMNS; i++)
		td_put_state(b, state);
	if (state == TD_VALUE)
	{
		td_put_int(b, TD_BOOL, 1);
		td_put_int(b, TD_INT2, -32768);
		td_put_int(b, TD_INT4, INT32_MIN);
		td_put_int(b, TD_INT8, INT64_MIN + seed);
		td_put_uint(b, UINT64_MAX);
		td_put_float4(b, 1.5f);
		td_put_float8(b, -2.25);
		td_put_decimal(b, "-12.340", 7);
		td_put_bytes(b, "t\xc3\xa9xt", 5);
		td_put_bytes(b, "\0\xff", 2);
		td_put_int(b, TD_DATE, -730119);
		td_put_int(b, TD_TIMESTAMP, 123456789);
		td_put_int(b, TD_TIMESTAMPTZ, -1);
		td_put_interval(b, -5, 6, -7);
		td_put_bytes(b, "{}", 2);
		td_put_bits(b, (const uint8_t *) "\x02\x81", 10);
		td_put_array(b, 3, items);
		td_put_uuid(b, uuid);
	}
	td_write_row_end(b);
}

/* Values as they were put. */
static void
check_values(const TdValue *v)
{
	uint32_t	n;
	TdReader	items;
	TdBytes		item;

	ok(v[0].i == 1 && v[1].i == -32768 && v[2].i == INT32_MIN && v[3].i == INT64_MIN, "integers");
	ok(v[4].u == UINT64_MAX, "uint8");
	ok(v[5].f4 == 1.5f && v[6].f8 == -2.25, "floats");
	ok(v[7].bytes.len == 12 && memcmp(v[7].bytes.data, "\0\2\0\0\x40\0\0\3\0\x0c\x0d\x48", 12) == 0, "decimal");
	ok(v[8].bytes.len == 5 && memcmp(v[8].bytes.data, "t\xc3\xa9xt", 5) == 0, "text");
	ok(v[9].bytes.len == 2 && memcmp(v[9].bytes.data, "\0\xff", 2) == 0, "bytes");
	ok(v[10].i == -730119 && v[11].i == 123456789 && v[12].i == -1, "dates and times");
	ok(v[13].i == -5 && v[13].days == 6 && v[13].months == -7, "interval");
	ok(v[14].bytes.len == 2, "json");
	ok(v[15].bytes.len == 6 && v[15].bytes.data[4] == 0xA0 && v[15].bytes.data[5] == 0x40, "ten bits, shifted left");
	ok(td_read_array(v[16].bytes, &n, &items) && n == 3, "array of three");
	ok(td_read_item(&items, &item) && item.len == 1 && td_read_item(&items, &item) && item.len == 0 &&
	   td_read_item(&items, &item) && memcmp(item.data, "ccc", 3) == 0 && !td_read_item(&items, &item), "its items, and no more");
	ok(memcmp(v[17].bytes.data, uuid, 16) == 0, "uuid");
}

/* Every kind of record, in a row. */
static void
write_all(TdBuffer *b)
{
	td_write_schema(b, &schema);
	td_write_begin(b, TD_OP_INSERT, 7);
	put_row(b, TD_VALUE, 0);
	td_write_end(b);
	td_write_begin(b, TD_OP_UPDATE, 7);
	put_row(b, TD_NULL, 0);
	put_row(b, TD_UNCHANGED, 0);
	td_write_end(b);
	td_write_begin(b, TD_OP_UPDATE, 7);
	put_row(b, TD_ABSENT, 0);
	td_write_end(b);
	td_write_begin(b, TD_OP_DELETE, 7);
	put_row(b, TD_VALUE, 1);
	td_write_end(b);
	td_write_truncate(b, 7);
	td_write_commit(b, "0-1-5", 42);
	td_write_ddl(b, 0, "0-1-6", "DROP TABLE x", 12);
	td_write_chunk(b, 7, "cursor");
	td_write_end_of_table(b, 7);
	td_write_mark(b, UINT64_MAX);
}

/* Reads one record and tests its op. */
static void
next(TdReader *r, TdRecord *rec, TdOp op)
{
	ok(td_read_record(r, rec) == 1 && rec->op == op, "record with op %d", (int) op);
}

/* All states of a row. */
static bool
all_states(TdBytes row, TdState state)
{
	TdValue		v[NCOLUMNS];

	if (!td_read_row(&schema, row, v))
		return false;
	for (int i = 0; i < NCOLUMNS; i++)
		if (v[i].state != state)
			return false;
	return true;
}

static void
test_round_trip(void)
{
	TdBuffer	b = {0};
	TdReader	r;
	TdRecord	rec;
	TdValue		v[NCOLUMNS];
	TdSchema   *read;
	TdSchema   *copy;

	write_all(&b);
	ok(!b.failed, "written");
	r = (TdReader) {b.data, b.data + b.len};
	next(&r, &rec, TD_OP_SCHEMA);
	read = td_schema_read(&rec);
	ok(read && td_schema_equal(read, &schema) && read->table_id == 7, "schema is the same");
	copy = td_schema_copy(read);
	ok(copy && td_schema_equal(copy, read) && copy->table_id == 7, "so is its copy");
	copy->columns[3].scale = 9;
	ok(!td_schema_equal(copy, read), "a changed one is not");
	free(copy);
	free(read);
	next(&r, &rec, TD_OP_INSERT);
	ok(rec.old_row.len == 0 && rec.table == 7 && td_read_row(&schema, rec.new_row, v), "insert has the new row");
	check_values(v);
	next(&r, &rec, TD_OP_UPDATE);
	ok(all_states(rec.old_row, TD_NULL) && all_states(rec.new_row, TD_UNCHANGED), "update has both rows");
	next(&r, &rec, TD_OP_UPDATE);
	ok(rec.old_row.len == 0 && all_states(rec.new_row, TD_ABSENT), "update with one row has the new one");
	next(&r, &rec, TD_OP_DELETE);
	ok(rec.new_row.len == 0 && td_read_row(&schema, rec.old_row, v) && v[3].i == INT64_MIN + 1, "delete has the old row");
	next(&r, &rec, TD_OP_TRUNCATE);
	next(&r, &rec, TD_OP_COMMIT);
	ok(rec.time == 42 && rec.position.len == 5 && memcmp(rec.position.data, "0-1-5", 5) == 0, "time and position");
	next(&r, &rec, TD_OP_DDL);
	ok(rec.position.len == 5 && rec.text.len == 12 && memcmp(rec.text.data, "DROP TABLE x", 12) == 0, "position and statement");
	next(&r, &rec, TD_OP_CHUNK);
	ok(rec.text.len == 6, "cursor");
	next(&r, &rec, TD_OP_END);
	next(&r, &rec, TD_OP_MARK);
	ok(rec.number == UINT64_MAX, "number");
	ok(td_read_record(&r, &rec) == 0, "then the end");
	td_buffer_free(&b);
}

/* A buffer that a writer used wrongly. */
static void
test_wrong_writers(void)
{
	TdBuffer	b = {0};

	td_write_begin(&b, TD_OP_INSERT, 1);
	td_write_row(&b, 2);
	td_put_int(&b, TD_INT4, 1);
	td_write_row_end(&b);
	td_write_end(&b);
	ok(b.failed && b.len == 0, "a row that lacks a column fails the buffer");
	td_write_commit(&b, "1", 0);
	ok(b.failed && b.len == 0, "which stays failed");
	td_buffer_reset(&b);
	td_write_commit(&b, "1", 0);
	ok(!b.failed && b.len > 0, "until it is reset");
	td_write_begin(&b, TD_OP_INSERT, 1);
	td_write_row(&b, 1);
	td_put_state(&b, TD_NULL);
	td_put_state(&b, TD_NULL);
	ok(b.failed, "a state too many fails it too");
	td_buffer_reset(&b);
	td_write_begin(&b, TD_OP_INSERT, 1);
	td_write_cancel(&b);
	ok(b.len == 0 && !b.failed, "cancel forgets the open record");
	b.limit = 100;
	for (int i = 0; i < 100; i++)
		td_write_commit(&b, "12345678", 0);
	ok(b.failed && b.len > 100 && b.len <= 128, "no record begins past the limit");
	td_buffer_free(&b);
	ok(!td_put_decimal(&b, "12x", 3) && b.len == 0, "no number, nothing written");
	td_buffer_free(&b);
}

/* Reads all that can be read; must neither crash nor leave the bytes (ASan watches: data is a block of its own). */
static unsigned
read_everything(const uint8_t *data, size_t len)
{
	TdReader	r = {data, data + len};
	TdRecord	rec;
	TdValue		v[NCOLUMNS];
	unsigned	sum = 0;

	while (td_read_record(&r, &rec) == 1)
	{
		TdBytes		rows[2] = {rec.old_row, rec.new_row};

		if (rec.op == TD_OP_SCHEMA)
		{
			TdSchema   *s = td_schema_read(&rec);

			sum += s ? (unsigned) strlen(s->table) + s->ncolumns : 1;
			free(s);
		}
		for (int i = 0; i < 2; i++)
		{
			uint32_t	n;
			TdReader	items;
			TdBytes		item;

			if (!td_read_row(&schema, rows[i], v))
				continue;
			for (int c = 0; c < NCOLUMNS; c++)
				if (v[c].state == TD_VALUE && columns[c].type >= TD_TEXT && columns[c].type <= TD_BYTES && v[c].bytes.len)
					sum += v[c].bytes.data[v[c].bytes.len - 1];
			if (v[16].state == TD_VALUE && td_read_array(v[16].bytes, &n, &items))
				while (td_read_item(&items, &item))
					sum += item.len ? item.data[item.len - 1] : 0;
		}
	}
	return sum;
}

/* Truncated everywhere, then flipped at random. */
static void
test_damage(unsigned seed)
{
	TdBuffer	b = {0};
	TdRecord	rec;
	unsigned	sum = 0;
	bool		cut = true;

	write_all(&b);
	for (size_t len = 0; len < b.len; len++)
	{
		uint8_t    *copy = malloc(len + 1);
		TdReader	r = {copy, copy + len};
		int			got;

		memcpy(copy, b.data, len);
		sum += read_everything(copy, len);
		while ((got = td_read_record(&r, &rec)) == 1)
			;
		cut = cut && (got == -1) == (r.p != r.end);
		free(copy);
	}
	ok(cut, "a cut record is damaged, at every length");
	srand(seed);
	for (int i = 0; i < FUZZ_ROUNDS; i++)
	{
		size_t		len = i % 3 ? b.len : (size_t) rand() % b.len;
		uint8_t    *copy = malloc(len + 1);

		memcpy(copy, b.data, len);
		for (int n = rand() % 8 + 1; n > 0 && len > 0; n--)
			copy[(size_t) rand() % len] = (uint8_t) (rand() % 4 ? rand() : rand() % 2 ? 0xFF : 0);
		sum += read_everything(copy, len);
		free(copy);
	}
	ok(sum != 1, "%d damaged batches were read without harm, seed %u", FUZZ_ROUNDS, seed);
	td_buffer_free(&b);
}

static double
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

/* `--bench`: ns to write and to read a row of six columns. */
static int
bench(void)
{
	TdColumn	six[6] = {{"a", "", TD_INT4, -1, -1, true}, {"b", "", TD_TEXT, 50, -1, false}, {"c", "", TD_DECIMAL, 10, 2, false},
	{"d", "", TD_TIMESTAMP, 6, -1, false}, {"e", "", TD_INT8, -1, -1, false}, {"f", "", TD_TEXT, -1, -1, false}};
	TdSchema	s = {1, "", "t", 6, six, 1, keys + 1};
	TdBuffer	b = {0};
	TdRecord	rec;
	TdValue		v[6];
	double		times[2] = {0, 0};
	int64_t		sum = 0;

	for (int round = 0; round < 2000; round++)
	{
		double		from = now_ns();
		TdReader	r;

		td_buffer_reset(&b);
		for (int i = 0; i < 1000; i++)
		{
			td_write_begin(&b, TD_OP_INSERT, 1);
			td_write_row(&b, 6);
			td_put_int(&b, TD_INT4, i);
			td_put_bytes(&b, "sixteen letters.", 16);
			td_put_decimal(&b, "1234.56", 7);
			td_put_int(&b, TD_TIMESTAMP, i);
			td_put_state(&b, TD_NULL);
			td_put_bytes(&b, "thirty letters thirty letters.", 30);
			td_write_row_end(&b);
			td_write_end(&b);
		}
		times[0] += now_ns() - from;
		from = now_ns();
		r = (TdReader) {b.data, b.data + b.len};
		while (td_read_record(&r, &rec) == 1)
			if (td_read_row(&s, rec.new_row, v))
				sum += v[0].i;
		times[1] += now_ns() - from;
	}
	printf("row of 6 columns: write %.1f ns, read %.1f ns (%lld)\n", times[0] / 2e6, times[1] / 2e6, (long long) sum);
	return 0;
}

int
main(int argc, char **argv)
{
	init_schema();
	if (argc > 1 && strcmp(argv[1], "--bench") == 0)
		return bench();
	test_round_trip();
	test_wrong_writers();
	test_damage(seed_of(argc, argv));
	return done_testing();
}
