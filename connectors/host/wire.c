/*-------------------------------------------------------------------------
 *
 * wire.c
 *		The fields of frames: numbers in host byte order, strings with a length.
 *
 * connectors/host/wire.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "host_internal.h"

/* One byte. */
void
td_wire_u8(TdBuffer *b, uint8_t v)
{
	td_buffer_append(b, &v, sizeof(v));
}

/* Four bytes. */
void
td_wire_u32(TdBuffer *b, uint32_t v)
{
	td_buffer_append(b, &v, sizeof(v));
}

/* Eight bytes. */
void
td_wire_u64(TdBuffer *b, uint64_t v)
{
	td_buffer_append(b, &v, sizeof(v));
}

/* Bytes with their length. */
void
td_wire_bytes(TdBuffer *b, const void *data, size_t len)
{
	td_wire_u32(b, (uint32_t) len);
	td_buffer_append(b, data, len);
}

/* A text; NULL is "".  The server takes UTF-8 only: other bytes above 127 become "?". */
void
td_wire_str(TdBuffer *b, const char *s)
{
	size_t		len = s ? strlen(s) : 0;
	size_t		from;

	td_wire_bytes(b, s, len);
	if (len == 0 || b->failed || td_utf8_valid((const uint8_t *) s, len))
		return;
	for (from = b->len - len; from < b->len; from++)
		if (b->data[from] >= 0x80)
			b->data[from] = '?';
}

/* "error": sqlstate, message, detail, hint. */
void
td_wire_error(TdBuffer *b, const TdError *err)
{
	td_wire_str(b, err->sqlstate);
	td_wire_str(b, err->message);
	td_wire_str(b, err->detail);
	td_wire_str(b, err->hint);
}

/* Takes n bytes out of a payload. */
static bool
take(TdReader *r, void *to, size_t n)
{
	if ((size_t) (r->end - r->p) < n)
		return false;
	memcpy(to, r->p, n);
	r->p += n;
	return true;
}

/* Four bytes. */
bool
td_wire_get_u32(TdReader *r, uint32_t *v)
{
	return take(r, v, sizeof(*v));
}

/* Eight bytes. */
bool
td_wire_get_u64(TdReader *r, uint64_t *v)
{
	return take(r, v, sizeof(*v));
}

/* A text without NUL bytes, malloc'ed. */
bool
td_wire_get_str(TdReader *r, char **s)
{
	uint32_t	len;

	*s = NULL;
	if (!td_wire_get_u32(r, &len) || (size_t) (r->end - r->p) < len || memchr(r->p, '\0', len))
		return false;
	*s = malloc((size_t) len + 1);
	if (*s == NULL)
		return false;
	take(r, *s, len);
	(*s)[len] = '\0';
	return true;
}
