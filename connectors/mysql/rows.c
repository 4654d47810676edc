/*-------------------------------------------------------------------------
 *
 * rows.c
 *		Row events into records.
 *
 * NOTES
 *		The hot path of the stream and a parser of foreign bytes: each value is
 *		measured against the event's end before it is read, sizes come from the
 *		layout that event.c has checked.  A row image without all columns is an
 *		error, never a row with guessed values.
 *
 * connectors/mysql/rows.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "mysql_internal.h"

/* Event types of rows. */
static const struct
{
	uint8_t		type;
	TdOp		op;
	bool		extra;			/* version 2: extra data behind the flags */
	bool		compressed;
}			row_types[] =
{
	{23, TD_OP_INSERT, false, false}, {24, TD_OP_UPDATE, false, false}, {25, TD_OP_DELETE, false, false},
	{30, TD_OP_INSERT, true, false}, {31, TD_OP_UPDATE, true, false}, {32, TD_OP_DELETE, true, false},
	{166, TD_OP_INSERT, false, true}, {167, TD_OP_UPDATE, false, true}, {168, TD_OP_DELETE, false, true},
	{169, TD_OP_INSERT, true, true}, {170, TD_OP_UPDATE, true, true}, {171, TD_OP_DELETE, true, true},
};

/* Takes the head of a row event apart, and inflates its rows. */
bool
td_my_read_rows(const TdMyEvent *event, TdBuffer *scratch, TdMyRowsEvent *rows, TdError *err)
{
	TdReader	r = event->body;
	const uint8_t *p = td_my_take(&r, 8);
	uint64_t	n;
	size_t		i = 0;

	while (row_types[i].type != event->type)
		i++;
	memset(rows, 0, sizeof(*rows));
	if (p == NULL)
		return td_my_damaged(err, "row event");
	rows->op = row_types[i].op;
	rows->table_id = td_little(p, 6);
	rows->last = p[6] & 1;
	if (row_types[i].extra)
	{
		p = td_my_take(&r, 2);
		if (p == NULL || td_little(p, 2) < 2 || !td_my_take(&r, td_little(p, 2) - 2))
			return td_my_damaged(err, "row event");
	}
	if (!td_my_lenenc(&r, &n) || n > 4096)
		return td_my_damaged(err, "row event");
	rows->ncolumns = (uint32_t) n;
	rows->present.len = (uint32_t) ((n + 7) / 8 * (rows->op == TD_OP_UPDATE ? 2 : 1));
	rows->present.data = td_my_take(&r, rows->present.len);
	if (rows->present.data == NULL)
		return td_my_damaged(err, "row event");
	rows->rows = r;
	return !row_types[i].compressed || td_my_inflate(&rows->rows, scratch, err);
}

/* Are all columns in the images? */
static bool
check_present(const TdMyTable *table, const TdMyLayout *layout, const TdMyRowsEvent *rows, TdError *err)
{
	uint32_t	bytes = (rows->ncolumns + 7) / 8;

	if (rows->ncolumns != layout->ncolumns)
		return td_my_damaged(err, "row event");
	for (uint32_t k = 0; k < rows->present.len / (bytes ? bytes : 1); k++)
		for (uint32_t i = 0; i < table->schema.ncolumns; i++)
			if (!(rows->present.data[k * bytes + i / 8] >> (i % 8) & 1))
			{
				td_error_set(err, "55000", "a row event of table \"%s.%s\" lacks column \"%s\"", table->schema.database,
							 table->schema.table, table->columns[i].td->name);
				return td_error_hint(err, "At the source: SET GLOBAL binlog_row_image = FULL; then load the mirror again: SELECT tapdata.reset_pipeline(...).");
			}
	return true;
}

/* Writes the decimal digits of one group of up to nine. */
static char *
write_group(char *to, uint32_t v, unsigned digits)
{
	for (unsigned i = digits; i > 0; i--)
	{
		to[i - 1] = (char) ('0' + v % 10);
		v /= 10;
	}
	return to + digits;
}

/* DECIMAL: groups of nine digits, big-endian; the sign bit is inverted, and of a negative number all bits are. */
static bool
put_decimal(TdMyPut *put, const TdMyWire *w, const uint8_t *p)
{
	static const uint8_t rest[] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4};
	unsigned	scale = w->meta >> 8;
	unsigned	whole = (w->meta & 0xFF) - scale;
	uint8_t		flip = p[0] & 0x80 ? 0 : 0xFF;
	uint8_t		b[36];
	const uint8_t *at = b;
	char		text[80];
	char	   *to = text;

	for (unsigned i = 0; i < w->size; i++)
		b[i] = p[i] ^ flip;
	b[0] ^= 0x80;
	if (flip)
		*to++ = '-';
	to = write_group(to, (uint32_t) td_big(at, rest[whole % 9]), whole % 9);
	at += rest[whole % 9];
	for (unsigned i = whole / 9; i > 0; i--, at += 4)
		to = write_group(to, (uint32_t) td_big(at, 4), 9);
	if (whole == 0)
		*to++ = '0';
	if (scale)
		*to++ = '.';
	for (unsigned i = scale / 9; i > 0; i--, at += 4)
		to = write_group(to, (uint32_t) td_big(at, 4), 9);
	to = write_group(to, (uint32_t) td_big(at, rest[scale % 9]), scale % 9);
	return td_my_put_decimal(put, text, (size_t) (to - text));
}

/* Microseconds of a stored fraction. */
static unsigned
fraction(const uint8_t *p, unsigned digits)
{
	static const unsigned scale[] = {1, 10000, 100, 1};
	unsigned	n = (digits + 1) / 2;

	return (unsigned) td_big(p, n) * scale[n];
}

/* DATE: day, month and year in 5, 4 and 15 bits. */
static bool
put_date(TdMyPut *put, const uint8_t *p)
{
	unsigned	v = (unsigned) td_little(p, 3);
	TdMyDate	d = {.year = v >> 9, .month = v >> 5 & 15, .day = v & 31};

	return td_my_put_date(put, &d);
}

/* DATETIME, its present form and that of before 5.6. */
static bool
put_datetime(TdMyPut *put, const TdMyWire *w, const uint8_t *p)
{
	TdMyDate	d = {0};

	if (w->type == 12)
	{
		uint64_t	v = td_little(p, 8);

		d = (TdMyDate)
		{
			.year = (unsigned) (v / 10000000000), .month = v / 100000000 % 100, .day = v / 1000000 % 100,
				.hour = v / 10000 % 100, .minute = v / 100 % 100, .second = v % 100
		};
	}
	else
	{
		uint64_t	v = td_big(p, 5);
		unsigned	months = (unsigned) (v >> 22 & 0x1FFFF);

		d = (TdMyDate)
		{
			.year = months / 13, .month = months % 13, .day = v >> 17 & 31,
				.hour = v >> 12 & 31, .minute = v >> 6 & 63, .second = v & 63, .usec = fraction(p + 5, w->meta)
		};
	}
	return td_my_put_datetime(put, &d);
}

/* TIME before 5.6: a signed number HHMMSS. */
static bool
put_old_time(TdMyPut *put, const uint8_t *p)
{
	int32_t		v = (int32_t) (td_little(p, 3) << 8) >> 8;
	unsigned	u = (unsigned) (v < 0 ? -v : v);

	return td_my_put_time(put, v < 0, u / 10000, u / 100 % 100, u % 100, 0);
}

/* TIME: a number around the middle of its range, the fraction being its lowest bytes. */
static bool
put_time(TdMyPut *put, const TdMyWire *w, const uint8_t *p)
{
	unsigned	n = w->size;
	int64_t		v = (int64_t) td_big(p, n) - (INT64_C(1) << (8 * n - 1));
	uint64_t	u = (uint64_t) (v < 0 ? -v : v);
	unsigned	bits = 8 * (n - 3);
	static const unsigned scale[] = {0, 10000, 100, 1};
	unsigned	usec = (unsigned) (u & ((UINT64_C(1) << bits) - 1)) * scale[n - 3];

	u >>= bits;
	return td_my_put_time(put, v < 0, u >> 12 & 1023, u >> 6 & 63, u & 63, usec);
}

/* A value of fixed size. */
static inline bool
put_fixed(TdMyPut *put, const TdMyWire *w, const uint8_t *p)
{
	switch (put->column->kind)
	{
		case TD_MY_INT:
			return td_my_put_int(put, td_little(p, w->size), w->size);
		case TD_MY_YEAR:
			return td_my_put_int(put, *p ? *p + 1900u : 0, 1);
		case TD_MY_FLOAT:
			{
				float		f;

				memcpy(&f, p, sizeof(f));
				td_put_float4(put->out, f);
				return true;
			}
		case TD_MY_DOUBLE:
			{
				double		d;

				memcpy(&d, p, sizeof(d));
				td_put_float8(put->out, d);
				return true;
			}
		case TD_MY_DECIMAL:
			return put_decimal(put, w, p);
		case TD_MY_BIT:
			return td_my_put_bit(put, p, w->size);
		case TD_MY_ENUM:
			return td_my_put_enum(put, td_little(p, w->size));
		case TD_MY_SET:
			return td_my_put_set(put, td_little(p, w->size));
		case TD_MY_DATE:
			return put_date(put, p);
		case TD_MY_DATETIME:
			return put_datetime(put, w, p);
		case TD_MY_TIMESTAMP:
			if (w->type == 7)
				return td_my_put_timestamp(put, (uint32_t) td_little(p, 4), 0);
			return td_my_put_timestamp(put, (uint32_t) td_big(p, 4), fraction(p + 4, w->meta));
		case TD_MY_TIME:
			return w->type == 11 ? put_old_time(put, p) : put_time(put, w, p);
		default:
			return td_my_refuse(put, "XX000", "a value of a type that is not read");
	}
}

/* Takes the bytes of one value; *p = NULL where the event ends before.  True = it has a length of its own. */
static inline bool
take_value(TdReader *r, const TdMyWire *w, const uint8_t **p, size_t *len)
{
	const uint8_t *head;

	switch (w->type)
	{
		case 15:
		case 252:
		case 253:
		case 254:
			head = td_my_take(r, w->size);
			*len = head ? td_little(head, w->size) : 0;
			*p = head ? td_my_take(r, *len) : NULL;
			return true;
		default:
			*len = w->size;
			*p = td_my_take(r, w->size);
			return false;
	}
}

/* A value that has a length of its own. */
static inline bool
put_variable(TdMyPut *put, const uint8_t *p, size_t len)
{
	switch (put->column->kind)
	{
		case TD_MY_TEXT:
		case TD_MY_JSON:
			return td_my_put_text(put, p, len);
		case TD_MY_BYTES:
			return td_my_put_bytes(put, p, len);
		default:
			return td_my_put_uuid_bytes(put, p, len);
	}
}

/* What becomes of a value that has no counterpart. */
typedef enum Misfit
{
	REFUSE,
	REFUSE_IN_KEY,				/* elsewhere it is left out: an old image says which row, and the row never held it here */
	WRITE_NULL					/* so that the row of an error can be named */
} Misfit;

/* Is the column part of the key, or of a table that has none? */
static bool
identifies(const TdSchema *s, uint32_t column)
{
	for (uint32_t i = 0; i < s->nkeys; i++)
		if (s->keys[i] == column)
			return true;
	return s->nkeys == 0;
}

/* Writes one row image; *r moves behind it.  0 = refused (see the context), -1 = damaged, 1 = done. */
static int
write_image(TdMyPut *put, const TdMyTable *table, const TdMyLayout *layout, const uint8_t *present, TdReader *r, Misfit misfit)
{
	uint32_t	ncolumns = table->schema.ncolumns;
	uint32_t	npresent = 0;
	uint32_t	bit = 0;
	const uint8_t *nulls;

	for (uint32_t i = 0; i < layout->ncolumns; i++)
		npresent += present[i / 8] >> (i % 8) & 1;
	nulls = td_my_take(r, (npresent + 7) / 8);
	if (nulls == NULL)
		return -1;
	td_write_row(put->out, ncolumns);
	for (uint32_t i = 0; i < layout->ncolumns; i++)
	{
		const uint8_t *p;
		size_t		len;
		bool		variable;

		if (!(present[i / 8] >> (i % 8) & 1))
			continue;
		if (nulls[bit / 8] >> (bit % 8) & 1)
		{
			bit++;
			if (i < ncolumns)
				td_put_state(put->out, TD_NULL);
			continue;
		}
		bit++;
		variable = take_value(r, &layout->wires[i], &p, &len);
		if (td_unlikely(p == NULL))
			return -1;
		if (i >= ncolumns)
			continue;
		put->column = &table->columns[i];
		if (td_likely(variable ? put_variable(put, p, len) : put_fixed(put, &layout->wires[i], p)))
			continue;
		if (misfit == REFUSE || (misfit == REFUSE_IN_KEY && identifies(&table->schema, i)))
			return 0;
		td_put_state(put->out, misfit == WRITE_NULL ? TD_NULL : TD_ABSENT);
	}
	td_write_row_end(put->out);
	return 1;
}

/* The error of a row that was refused: the image is read once more, without what can't be. */
static bool
refuse_row(TdMyPut *put, const TdMyTable *table, const TdMyLayout *layout, const uint8_t *present, TdReader r, TdError *err)
{
	TdMyPut		again = {0};
	TdBuffer	b = {0};
	TdReader	reader;
	TdRecord	rec = {0};

	again.out = &b;
	td_write_begin(&b, TD_OP_INSERT, 1);
	write_image(&again, table, layout, present, &r, WRITE_NULL);
	td_write_end(&b);
	reader.p = b.data;
	reader.end = b.data + b.len;
	td_read_record(&reader, &rec);
	td_my_row_error(put, table, rec.new_row, err);
	td_buffer_free(&again.scratch);
	td_buffer_free(&b);
	return false;
}

/* Appends the records of a row event until a megabyte is together; rows->rows then begins where to go on. */
bool
td_my_write_rows(TdMyPut *put, const TdMyTable *table, const TdMyLayout *layout, TdMyRowsEvent *rows, uint64_t *nrows, TdError *err)
{
	TdReader   *r = &rows->rows;
	unsigned	images = rows->op == TD_OP_UPDATE ? 2 : 1;
	uint32_t	bitmap = (rows->ncolumns + 7) / 8;

	if (!check_present(table, layout, rows, err))
		return false;
	while (r->p < r->end && put->out->len < TD_MY_BATCH)
	{
		td_write_begin(put->out, rows->op, table->schema.table_id);
		for (unsigned k = 0; k < images; k++)
		{
			const uint8_t *present = rows->present.data + k * bitmap;
			TdReader	from = *r;
			bool		old = k == 0 && rows->op != TD_OP_INSERT;
			int			rc = write_image(put, table, layout, present, r, old ? REFUSE_IN_KEY : REFUSE);

			if (td_likely(rc > 0))
				continue;
			td_write_cancel(put->out);
			return rc < 0 ? td_my_damaged(err, "row event") : refuse_row(put, table, layout, present, from, err);
		}
		td_write_end(put->out);
		(*nrows)++;
	}
	return true;
}
