/*-------------------------------------------------------------------------
 *
 * error.c
 *		Errors as values.
 *
 * NOTES
 *		Pure C, no allocation, no global: callable from any thread, from the
 *		server and from a connector host alike.  A text that does not fit is cut
 *		between two characters, never inside one, so that it stays valid UTF-8.
 *
 * src/stream/error.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "stream/stream.h"

/* SQLSTATE classes that may go away by themselves. */
static const char *const retryable_classes[] = {"08", "40", "53", "57", NULL};

/* vsnprintf that leaves no cut character at the end of a text that did not fit. */
static void __attribute__((format(printf, 3, 0)))
format_text(char *to, size_t size, const char *fmt, va_list args)
{
	int			n = vsnprintf(to, size, fmt, args);
	size_t		len;

	if (n < 0)
		to[0] = '\0';
	if (n < (int) size)
		return;
	len = size - 1;
	while (len > 0 && ((unsigned char) to[len - 1] & 0xC0) == 0x80)
		len--;
	if (len > 0 && (unsigned char) to[len - 1] >= 0xC0)
		len--;
	if ((unsigned char) to[size - 2] >= 0x80)
		to[len] = '\0';
}

/* Starts an error: forgets what *err held before.  Returns false, so that a caller can return it. */
bool
td_error_set(TdError *err, const char *sqlstate, const char *fmt,...)
{
	va_list		args;

	snprintf(err->sqlstate, sizeof(err->sqlstate), "%.5s", sqlstate);
	err->retryable = false;
	for (int i = 0; retryable_classes[i]; i++)
		if (strncmp(err->sqlstate, retryable_classes[i], 2) == 0)
			err->retryable = true;
	err->detail[0] = '\0';
	err->hint[0] = '\0';
	va_start(args, fmt);
	format_text(err->message, sizeof(err->message), fmt, args);
	va_end(args);
	return false;
}

/* Adds the hint to an error that is set. */
bool
td_error_hint(TdError *err, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	format_text(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
	return false;
}

/* Adds the detail to an error that is set. */
bool
td_error_detail(TdError *err, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	format_text(err->detail, sizeof(err->detail), fmt, args);
	va_end(args);
	return false;
}
