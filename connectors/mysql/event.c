/*-------------------------------------------------------------------------
 *
 * event.c
 *		Events of the binlog: header, checksum, table maps.
 *
 * NOTES
 *		Foreign bytes: every length is tested against what is there before it
 *		is used.  The shape that TABLE_MAP announces is compared with the table
 *		as information_schema describes it; rows are never decoded by guess.
 *
 * connectors/mysql/event.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "mysql_internal.h"

#define HEADER 19
#define CHECKSUM 4
#define FORMAT_FIXED 57			/* version, server version, time, header length */
#define INFLATE_MAX (1u << 30)

/* Bytes that can't be. */
bool
td_my_damaged(TdError *err, const char *what)
{
	td_error_set(err, "XX001", "the source sent a damaged %s", what);
	return td_error_hint(err, "Check the source's binlog (mariadb-binlog --verify-binlog-checksum) and the network in between.");
}

/* Takes an event apart.  checksum: its last four bytes are a CRC-32 of the rest. */
bool
td_my_read_event(TdBytes packet, bool checksum, TdMyEvent *event, TdError *err)
{
	const uint8_t *p = packet.data + 1;
	uint32_t	size;

	if (packet.len < 1 + HEADER)
		return td_my_damaged(err, "binlog event");
	event->time = (uint32_t) td_little(p, 4);
	event->type = p[4];
	event->server_id = (uint32_t) td_little(p + 5, 4);
	size = (uint32_t) td_little(p + 9, 4);
	event->flags = (uint16_t) td_little(p + 17, 2);
	if (size != packet.len - 1)
		return td_my_damaged(err, "binlog event");
	event->body.p = p + HEADER;
	event->body.end = p + size;
	if (!checksum || event->type == 15)
		return true;
	if (size < HEADER + CHECKSUM)
		return td_my_damaged(err, "binlog event");
	event->body.end -= CHECKSUM;
	if (crc32(0, p, size - CHECKSUM) != td_little(event->body.end, 4))
		return td_my_damaged(err, "binlog event: its checksum is wrong");
	return true;
}

/* FORMAT_DESCRIPTION: says whether the events that follow have checksums. */
bool
td_my_read_format(const TdMyEvent *event, bool *checksum, TdError *err)
{
	size_t		len = (size_t) (event->body.end - event->body.p);
	const uint8_t *p = event->body.p;

	if (len < FORMAT_FIXED + 19 + 1 + CHECKSUM || td_little(p, 2) != 4 || p[56] != HEADER)
		return td_my_damaged(err, "format description event");
	if (p[FORMAT_FIXED + 18] != 8)
	{
		td_error_set(err, "0A000", "the source's binlog has an old format");
		return td_error_hint(err, "Read it from MariaDB 10.5 or later.");
	}
	*checksum = p[len - CHECKSUM - 1] == 1;
	return true;
}

/* Takes a text with a length byte and a closing NUL. */
static bool
take_name(TdReader *r, TdBytes *name)
{
	const uint8_t *p = td_my_take(r, 1);

	if (p == NULL)
		return false;
	name->len = *p;
	name->data = td_my_take(r, (size_t) *p + 1);
	return name->data != NULL && name->data[name->len] == 0;
}

/* Takes n bytes as *to. */
static bool
take_bytes(TdReader *r, uint64_t n, TdBytes *to)
{
	if (n > UINT32_MAX)
		return false;
	to->data = td_my_take(r, n);
	to->len = (uint32_t) n;
	return to->data != NULL;
}

/* TABLE_MAP */
bool
td_my_read_table_map(const TdMyEvent *event, TdMyTableMap *map, TdError *err)
{
	TdReader	r = event->body;
	const uint8_t *p = td_my_take(&r, 8);
	uint64_t	n;
	uint64_t	metas;

	memset(map, 0, sizeof(*map));
	if (p == NULL)
		return td_my_damaged(err, "table map event");
	map->id = td_little(p, 6);
	if (!take_name(&r, &map->database) || !take_name(&r, &map->table) || !td_my_lenenc(&r, &n) || n > 4096 ||
		!take_bytes(&r, n, &map->types) || !td_my_lenenc(&r, &metas) || !take_bytes(&r, metas, &map->metas) ||
		!take_bytes(&r, (n + 7) / 8, &map->nulls))
		return td_my_damaged(err, "table map event");
	map->ncolumns = (uint32_t) n;
	map->optional.data = r.p;
	map->optional.len = (uint32_t) (r.end - r.p);
	return true;
}

/* Bytes of metadata that a type has in TABLE_MAP. */
static unsigned
meta_size(uint8_t type)
{
	switch (type)
	{
		case 4:					/* float, double, the times with fractions, blobs */
		case 5:
		case 17:
		case 18:
		case 19:
		case 140:
		case 245:
		case 249:
		case 250:
		case 251:
		case 252:
		case 255:
			return 1;
		case 15:				/* varchar, bit, decimal, strings */
		case 16:
		case 141:
		case 246:
		case 247:
		case 248:
		case 253:
		case 254:
			return 2;
		default:
			return 0;
	}
}

/* Stored size of a decimal. */
static unsigned
decimal_size(unsigned precision, unsigned scale)
{
	static const uint8_t rest[] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4};
	unsigned	whole = precision - scale;

	return whole / 9 * 4 + rest[whole % 9] + scale / 9 * 4 + rest[scale % 9];
}

/* How a column lies in a row; false = unknown type. */
static bool
make_wire(uint8_t type, const uint8_t *meta, TdMyWire *w)
{
	static const uint8_t fixed[] = {0, 1, 2, 4, 4, 8, 0, 4, 8, 3, 3, 3, 8, 1, 3};

	w->type = type;
	w->meta = (uint16_t) (meta_size(type) == 2 ? td_little(meta, 2) : meta_size(type) == 1 ? *meta : 0);
	switch (type)
	{
		case 15:
		case 253:
			w->size = w->meta > 255 ? 2 : 1;
			return true;
		case 16:
			w->size = (uint8_t) ((w->meta >> 8) + ((w->meta & 0xFF) != 0));
			return w->size <= 8;
		case 17:
		case 18:
		case 19:
			w->size = (uint8_t) ((type == 17 ? 4 : type == 18 ? 5 : 3) + (w->meta + 1) / 2);
			return w->meta <= 6;
		case 246:
			w->size = (uint8_t) decimal_size(meta[0], meta[1]);
			return meta[0] <= 65 && meta[1] <= 38 && meta[1] <= meta[0];
		case 252:
			w->size = (uint8_t) w->meta;
			return w->size >= 1 && w->size <= 4;
		case 254:
			if (meta[0] == 247 || meta[0] == 248)
			{
				w->type = meta[0];
				w->size = meta[1];
				return w->size >= 1 && w->size <= 8;
			}
			w->meta = (uint16_t) (meta[1] | (unsigned) ((meta[0] & 0x30) ^ 0x30) << 4);
			w->size = w->meta > 255 ? 2 : 1;
			return true;
		default:
			w->size = type < sizeof(fixed) ? fixed[type] : 0;
			return w->size > 0;
	}
}

/* The table's shape is another one than information_schema says. */
static bool
changed(const TdMyTable *table, TdError *err, const char *fmt, const char *column, unsigned a, unsigned b)
{
	td_error_set(err, "55000", "table \"%s.%s\" has changed since this position", table->schema.database, table->schema.table);
	td_error_detail(err, fmt, column, a, b);
	return td_error_hint(err, "Load the mirror again in the present form: SELECT tapdata.reset_pipeline(...).");
}

/* Does the column that the binlog announces hold what the column of the table holds? */
static bool
check_wire(const TdMyTable *table, uint32_t i, const TdMyWire *w, TdError *err)
{
	const TdMyColumn *c = &table->columns[i];
	const char *name = c->td->name;

	if (w->type != c->wire && (c->old_wire == 0 || w->type != c->old_wire))
		return changed(table, err, "column \"%s\" has type code %u in the binlog and %u now", name, w->type, c->wire);
	if (c->kind == TD_MY_DECIMAL && ((w->meta & 0xFF) != c->td->length || w->meta >> 8 != c->td->scale))
		return changed(table, err, "column \"%s\" is decimal(%u,%u) in the binlog", name, w->meta & 0xFF, w->meta >> 8);
	if (c->kind == TD_MY_BIT && (w->meta >> 8) * 8 + (w->meta & 0xFF) != c->td->length)
		return changed(table, err, "column \"%s\" is bit(%u) in the binlog and bit(%u) now", name,
					   (w->meta >> 8) * 8 + (w->meta & 0xFF), (unsigned) c->td->length);
	if ((w->type == 17 || w->type == 18 || w->type == 19) && w->meta != c->td->length)
		return changed(table, err, "column \"%s\" has %u fractional digits in the binlog and %u now", name, w->meta, (unsigned) c->td->length);
	if (c->pad && w->meta != c->pad)
		return changed(table, err, "column \"%s\" is binary(%u) in the binlog and binary(%u) now", name, w->meta, c->pad);
	return true;
}

/* Is this type one of those that have a sign? */
static bool
is_number(uint8_t type)
{
	return (type >= 1 && type <= 5) || type == 8 || type == 9 || type == 246 || type == 13;
}

/* The bits of the optional SIGNEDNESS field: one for each number, the highest bit first. */
static bool
check_signs(const TdMyTable *table, const TdMyTableMap *map, TdBytes bits, TdError *err)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < table->schema.ncolumns; i++)
	{
		if (!is_number(map->types.data[i]))
			continue;
		if (n / 8 >= bits.len)
			return td_my_damaged(err, "table map event");
		if (map->types.data[i] != 13 && (bits.data[n / 8] >> (7 - n % 8) & 1) != table->columns[i].is_unsigned)
			return changed(table, err, "column \"%s\" has changed its sign", table->columns[i].td->name, 0, 0);
		n++;
	}
	return true;
}

/* The optional COLUMN_NAME field (binlog_row_metadata = FULL). */
static bool
check_names(const TdMyTable *table, TdBytes names, TdError *err)
{
	TdReader	r = {names.data, names.data + names.len};

	for (uint32_t i = 0; i < table->schema.ncolumns && r.p < r.end; i++)
	{
		const char *name = table->columns[i].td->name;
		TdBytes		b;
		uint64_t	n;

		if (!td_my_lenenc(&r, &n) || !take_bytes(&r, n, &b))
			return td_my_damaged(err, "table map event");
		if (b.len != strlen(name) || memcmp(b.data, name, b.len) != 0)
			return changed(table, err, "column \"%s\" (number %u) has another name in the binlog", name, i + 1, 0);
	}
	return true;
}

/* Optional metadata: type, length, value.  What isn't known is skipped. */
static bool
check_optional(const TdMyTable *table, const TdMyTableMap *map, TdError *err)
{
	TdReader	r = {map->optional.data, map->optional.data + map->optional.len};

	while (r.p < r.end)
	{
		uint8_t		type = *r.p++;
		TdBytes		b;
		uint64_t	n;

		if (!td_my_lenenc(&r, &n) || !take_bytes(&r, n, &b))
			return td_my_damaged(err, "table map event");
		if (type == 1 && !check_signs(table, map, b, err))
			return false;
		if (type == 4 && !check_names(table, b, err))
			return false;
	}
	return true;
}

/* Makes the layout of a table's row events; one made from the same bytes is kept. */
bool
td_my_make_layout(const TdMyTable *table, const TdMyTableMap *map, TdMyLayout *layout, TdError *err)
{
	size_t		len = (size_t) (map->optional.data + map->optional.len - map->types.data);
	const uint8_t *meta = map->metas.data;
	size_t		left = map->metas.len;
	TdMyWire   *wires;

	if (layout->wires && layout->seen.len == len && memcmp(layout->seen.data, map->types.data, len) == 0)
		return true;
	if (map->ncolumns < table->schema.ncolumns || map->ncolumns > table->schema.ncolumns + table->nhidden)
		return changed(table, err, "%s%u columns in the binlog and %u now", "", map->ncolumns, table->schema.ncolumns);
	wires = realloc(layout->wires, (map->ncolumns + 1) * sizeof(TdMyWire));
	if (wires == NULL)
		return td_error_set(err, "53200", "out of memory");
	layout->wires = wires;
	layout->ncolumns = map->ncolumns;
	td_buffer_reset(&layout->seen);
	for (uint32_t i = 0; i < map->ncolumns; i++)
	{
		unsigned	n = meta_size(map->types.data[i]);

		if (n > left || !make_wire(map->types.data[i], meta, &wires[i]))
			return td_my_damaged(err, "table map event: a column's type");
		if (i < table->schema.ncolumns && !check_wire(table, i, &wires[i], err))
			return false;
		meta += n;
		left -= n;
	}
	if (!check_optional(table, map, err))
		return false;
	td_buffer_append(&layout->seen, map->types.data, len);
	return !layout->seen.failed || td_error_set(err, "53200", "out of memory");
}

/* Inflates the compressed rest of an event into `to`, and makes *body read that. */
bool
td_my_inflate(TdReader *body, TdBuffer *to, TdError *err)
{
	const uint8_t *p = td_my_take(body, 1);
	const uint8_t *size = p ? td_my_take(body, *p & 7) : NULL;
	uLongf		len;

	if (size == NULL || (*p & 0xF0) != 0x80 || (*p & 7) == 0 || (*p & 7) > 4)
		return td_my_damaged(err, "compressed event");
	len = td_big(size, *p & 7);
	td_buffer_reset(to);
	if (len > INFLATE_MAX)
		return td_my_damaged(err, "compressed event");
	if (!td_buffer_reserve(to, len + 1))
		return td_error_set(err, "53200", "out of memory for an event of %lu bytes", (unsigned long) len);
	if (uncompress(to->data, &len, body->p, (uLong) (body->end - body->p)) != Z_OK)
		return td_my_damaged(err, "compressed event");
	to->len = len;
	body->p = to->data;
	body->end = to->data + len;
	return true;
}
