/*-------------------------------------------------------------------------
 *
 * message.c
 *		The messages between capture worker and reader.
 *
 * NOTES
 *		Pure: calls nothing of the server, so that it is tested alone under ASan.
 *		A message is a head of 16 bytes and a body, padded to the maximal
 *		alignment; a message that begins aligned has an aligned tuple.  Both sides
 *		are the same binary on the same machine: structs travel as they are.  The
 *		reader nevertheless trusts no length.
 *
 * IDENTIFICATION
 *		src/capture/message.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "capture/capture_internal.h"

typedef struct Head
{
	uint32		len;			/* whole, padding included */
	uint16		kind;
	uint16		created;		/* START */
	uint32		number;			/* LAYOUT, ROW: layout; BEGIN, PROGRESS: version; UNKNOWN: why */
	Oid			relid;
} Head;

typedef struct Place			/* body of START, BEGIN, PROGRESS */
{
	uint64		xid;
	uint64		lsn;
	int64		time;
} Place;

typedef struct Columns			/* body of LAYOUT */
{
	uint64		ncolumns;
	TdLayoutColumn columns[FLEXIBLE_ARRAY_MEMBER];
} Columns;

StaticAssertDecl(sizeof(Head) == MAXALIGN(sizeof(Head)), "a body begins aligned");

static size_t
body_size(const TdCaptureMessage *m)
{
	switch (m->kind)
	{
		case TD_CAPTURE_START:
		case TD_CAPTURE_BEGIN:
		case TD_CAPTURE_PROGRESS:
			return sizeof(Place);
		case TD_CAPTURE_LAYOUT:
			return offsetof(Columns, columns) + m->ncolumns * sizeof(TdLayoutColumn);
		default:
			return 0;
	}
}

size_t
td_message_size(const TdCaptureMessage *m)
{
	return MAXALIGN(sizeof(Head) + body_size(m));
}

/* What the head's number stands for differs by kind. */
static uint32
number_of(const TdCaptureMessage *m)
{
	switch (m->kind)
	{
		case TD_CAPTURE_LAYOUT:
			return m->layout;
		case TD_CAPTURE_UNKNOWN:
			return m->why;
		default:
			return m->version;
	}
}

void
td_message_write(uint8_t *to, const TdCaptureMessage *m)
{
	Head	   *head = (Head *) to;
	size_t		len = td_message_size(m);

	memset(to, 0, len);
	head->len = len;
	head->kind = m->kind;
	head->created = m->created;
	head->number = number_of(m);
	head->relid = m->relid;
	if (m->kind == TD_CAPTURE_LAYOUT)
	{
		Columns    *body = (Columns *) (head + 1);

		body->ncolumns = m->ncolumns;
		if (m->ncolumns > 0)
			memcpy(body->columns, m->columns, m->ncolumns * sizeof(TdLayoutColumn));
	}
	else if (body_size(m) == sizeof(Place))
	{
		Place	   *body = (Place *) (head + 1);

		body->xid = m->xid;
		body->lsn = m->lsn;
		body->time = m->time;
	}
}

size_t
td_message_row_size(uint32 tuple_len)
{
	return sizeof(Head) + MAXALIGN((size_t) tuple_len);
}

MinimalTuple
td_message_row(uint8_t *to, uint32 layout, uint32 tuple_len)
{
	Head	   *head = (Head *) to;
	MinimalTuple tuple = (MinimalTuple) (head + 1);

	memset(tuple, 0, MAXALIGN((size_t) tuple_len));
	head->len = td_message_row_size(tuple_len);
	head->kind = TD_CAPTURE_ROW;
	head->created = 0;
	head->number = layout;
	head->relid = InvalidOid;
	tuple->t_len = tuple_len;
	return tuple;
}

size_t
td_message_length(const uint8_t *message)
{
	return ((const Head *) message)->len;
}

/* ---- reading ---- */

static bool
read_place(const uint8_t *body, size_t len, TdCaptureMessage *m)
{
	const Place *place = (const Place *) body;

	if (len != sizeof(Place))
		return false;
	m->xid = place->xid;
	m->lsn = place->lsn;
	m->time = place->time;
	return true;
}

static bool
read_layout(const uint8_t *body, size_t len, TdCaptureMessage *m)
{
	const Columns *columns = (const Columns *) body;

	if (len < offsetof(Columns, columns) || columns->ncolumns >= MaxTupleAttributeNumber ||
		len != MAXALIGN(offsetof(Columns, columns) + columns->ncolumns * sizeof(TdLayoutColumn)))
		return false;
	m->ncolumns = columns->ncolumns;
	m->columns = columns->columns;
	return true;
}

/* The tuple fills the body, and its values begin within it. */
static bool
read_row(const uint8_t *body, size_t len, TdCaptureMessage *m)
{
	MinimalTuple tuple = (MinimalTuple) body;

	if (len < SizeofMinimalTupleHeader || tuple->t_len < SizeofMinimalTupleHeader || MAXALIGN((size_t) tuple->t_len) != len ||
		tuple->t_hoff < SizeofMinimalTupleHeader + MINIMAL_TUPLE_OFFSET || tuple->t_hoff - MINIMAL_TUPLE_OFFSET > tuple->t_len)
		return false;
	m->tuple = tuple;
	return true;
}

static bool
read_body(const uint8_t *body, size_t len, TdCaptureMessage *m)
{
	switch (m->kind)
	{
		case TD_CAPTURE_START:
		case TD_CAPTURE_BEGIN:
		case TD_CAPTURE_PROGRESS:
			return read_place(body, len, m);
		case TD_CAPTURE_LAYOUT:
			return read_layout(body, len, m);
		case TD_CAPTURE_ROW:
			return read_row(body, len, m);
		case TD_CAPTURE_UNKNOWN:
			return len == 0 && m->why <= TD_UNKNOWN_NOT_BELOW;
		case TD_CAPTURE_DDL:
		case TD_CAPTURE_COMMIT:
			return len == 0;
	}
	return false;
}

/* Reads messages out of a block: 1 = one, 0 = at the end, -1 = damaged.  The block must begin maximally aligned. */
int
td_capture_next(TdReader *r, TdCaptureMessage *m)
{
	const Head *head = (const Head *) r->p;
	size_t		left = r->end - r->p;

	if (left == 0)
		return 0;
	if (left < sizeof(Head) || MAXALIGN((uintptr_t) r->p) != (uintptr_t) r->p || head->len < sizeof(Head) || head->len > left ||
		MAXALIGN((size_t) head->len) != head->len)
		return -1;
	memset(m, 0, sizeof(*m));
	m->kind = head->kind;
	m->created = head->created != 0;
	m->layout = m->version = head->number;
	m->why = head->number;
	m->relid = head->relid;
	m->whole.data = r->p;
	m->whole.len = head->len;
	if (!read_body(r->p + sizeof(Head), head->len - sizeof(Head), m))
		return -1;
	r->p += head->len;
	return 1;
}
