/*-------------------------------------------------------------------------
 *
 * spool.c
 *		Blocks of records between two steps: memory first, one unlinked file
 *		past the bound.
 *
 * NOTES
 *		A block is kept as uint32 length and its bytes.  The first memory_limit
 *		bytes lie in chunks of memory, what follows in a file without a name,
 *		written and read a megabyte at a time; memory in use is therefore at
 *		most memory_limit, two buffers, and the largest block.  Blocks that wait in
 *		a buffer when the disk is full are read from there: what was appended can
 *		always be read.
 *
 *		An append that fails leaves the spool as it was: it may be tried again
 *		when there is room, or the spool reset.  Nothing is synced: a spool
 *		never outlives its process, slots and sources deliver again.
 *
 * src/stream/spool.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stream/record_internal.h"

#define CHUNK_SIZE (256 * 1024)
#define IO_SIZE (1024 * 1024)
#define BLOCK_HEADER 4

/* A piece of the part in memory. */
typedef struct Chunk
{
	struct Chunk *next;
	size_t		len;
	size_t		cap;
	uint8_t		data[];
} Chunk;

struct TdSpool
{
	char	   *directory;
	size_t		memory_limit;
	uint64_t	disk_limit;		/* 0 = none */
	uint64_t	size;			/* bytes of all blocks */
	bool		reading;
	bool		spilled;		/* blocks go to the file from here on */

	Chunk	   *first;
	Chunk	   *last;
	size_t		memory;			/* bytes of all chunks */

	int			fd;				/* -1 = no file yet */
	uint64_t	written;		/* bytes in the file */
	Chunk	   *tail;			/* behind these, what could not be written any more when reading began */
	size_t		tail_offset;	/* where the reader is there */
	uint8_t    *buffer;			/* what is to be written, or has been read from the file */
	size_t		cap;
	size_t		used;

	Chunk	   *at;				/* where the reader is: first in memory ... */
	size_t		offset;			/* (also the place inside buffer) */
	uint64_t	file_offset;	/* ... then in the file: what has been read into buffer */
};

/* Makes an empty spool.  The directory is not touched before something spills. */
TdSpool *
td_spool_create(const char *directory, size_t memory_limit, uint64_t disk_limit, TdError *err)
{
	TdSpool    *s = calloc(1, sizeof(TdSpool));

	if (s)
		s->directory = strdup(directory);
	if (s == NULL || s->directory == NULL)
	{
		free(s);
		td_error_set(err, "53200", "out of memory");
		return NULL;
	}
	s->memory_limit = memory_limit;
	s->disk_limit = disk_limit;
	s->fd = -1;
	return s;
}

/* Turns errno into an error of the spool. */
static bool
spool_error(const TdSpool *s, TdError *err, const char *what)
{
	int			code = errno;

	switch (code)
	{
		case ENOSPC:
		case EDQUOT:
		case EIO:
		case EFBIG:
			td_error_set(err, "53100", "could not %s spool file: %s", what, strerror(code));
			td_error_hint(err, "Make room in \"%s\", or set tapdata.spool_directory to a directory with more.", s->directory);
			break;
		case EMFILE:
		case ENFILE:
			td_error_set(err, "53000", "could not %s spool file: %s", what, strerror(code));
			td_error_hint(err, "Raise the limit of open files.");
			break;
		default:
			td_error_set(err, code == EACCES || code == EPERM || code == EROFS ? "42501" :
						 code == ENOENT || code == ENOTDIR ? "58P01" : "58030",
						 "could not %s spool file: %s", what, strerror(code));
			td_error_hint(err, "tapdata.spool_directory must name a directory that the server may write.");
	}
	td_error_detail(err, "Spool directory \"%s\", %llu bytes spooled, %llu of them on disk.", s->directory,
					(unsigned long long) s->size, (unsigned long long) td_spool_on_disk(s));
	errno = code;
	return false;
}

/* Opens a file that has no name; where the file system can't, one whose name is removed at once. */
static bool
open_file(TdSpool *s, TdError *err)
{
	char		path[4096];

	s->fd = open(s->directory, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	if (s->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
	{
		if (snprintf(path, sizeof(path), "%s/spool.XXXXXX", s->directory) >= (int) sizeof(path))
			errno = ENAMETOOLONG;
		else
			s->fd = mkostemp(path, O_CLOEXEC);
		if (s->fd >= 0)
			(void) unlink(path);
	}
	return s->fd >= 0 || spool_error(s, err, "create");
}

/* Writes at the end of the file; on failure the end stays where it was. */
static bool
write_file(TdSpool *s, const uint8_t *data, size_t len, TdError *err)
{
	size_t		done = 0;

	while (done < len)
	{
		ssize_t		n = pwrite(s->fd, data + done, len - done, (off_t) (s->written + done));

		if (n == 0)
			errno = ENOSPC;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return spool_error(s, err, "write");
		done += (size_t) n;
	}
	s->written += len;
	return true;
}

/* Writes out the buffer. */
static bool
flush(TdSpool *s, TdError *err)
{
	if (s->used == 0)
		return true;
	if (!write_file(s, s->buffer, s->used, err))
		return false;
	s->used = 0;
	return true;
}

/* The buffer's blocks stay in memory: nothing else could be read of a spool whose disk is full. */
static bool
keep_tail(TdSpool *s)
{
	Chunk	   *c = malloc(sizeof(Chunk) + s->used);

	if (c == NULL)
		return false;
	c->next = NULL;
	c->len = c->cap = s->used;
	memcpy(c->data, s->buffer, s->used);
	s->tail = c;
	return true;
}

/* Gives the buffer a size that suits `want`, keeping the bytes from offset to used; a far too large one shrinks. */
static bool
size_buffer(TdSpool *s, size_t want, TdError *err)
{
	size_t		have = s->used - s->offset;
	uint8_t    *buffer;

	if (want < IO_SIZE)
		want = IO_SIZE;
	if (s->buffer && s->cap >= want && s->cap <= 4 * want)
	{
		if (s->offset > 0)
			memmove(s->buffer, s->buffer + s->offset, have);
	}
	else
	{
		want = want > IO_SIZE ? want * 2 : want;
		buffer = malloc(want);
		if (buffer == NULL)
			return td_error_set(err, "53200", "out of memory");
		if (have > 0)
			memcpy(buffer, s->buffer + s->offset, have);
		free(s->buffer);
		s->buffer = buffer;
		s->cap = want;
	}
	s->used = have;
	s->offset = 0;
	return true;
}

/* Keeps a block in memory, if the limit lets it. */
static bool
append_memory(TdSpool *s, const void *block, uint32_t len)
{
	size_t		need = BLOCK_HEADER + (size_t) len;
	Chunk	   *c = s->last;

	if (s->spilled)
		return false;
	if (c == NULL || c->cap - c->len < need)
	{
		size_t		left = s->memory_limit > s->memory ? s->memory_limit - s->memory : 0;
		size_t		cap = need > CHUNK_SIZE ? need : left < CHUNK_SIZE ? left : CHUNK_SIZE;

		if (cap < need || cap > left)
			return false;
		c = malloc(sizeof(Chunk) + cap);
		if (c == NULL)
			return false;
		c->next = NULL;
		c->len = 0;
		c->cap = cap;
		if (s->last)
			s->last->next = c;
		else
			s->first = c;
		s->last = c;
		s->memory += cap;
	}
	memcpy(c->data + c->len, &len, BLOCK_HEADER);
	memcpy(c->data + c->len + BLOCK_HEADER, block, len);
	c->len += need;
	return true;
}

/* Keeps a block in the file: through the buffer, or straight if it is large. */
static bool
append_file(TdSpool *s, const void *block, uint32_t len, TdError *err)
{
	size_t		need = BLOCK_HEADER + (size_t) len;

	if (s->fd < 0 && !open_file(s, err))
		return false;
	if (!size_buffer(s, IO_SIZE, err))
		return false;
	s->spilled = true;
	if (s->used + need > IO_SIZE && !flush(s, err))
		return false;
	if (need <= IO_SIZE)
	{
		memcpy(s->buffer + s->used, &len, BLOCK_HEADER);
		memcpy(s->buffer + s->used + BLOCK_HEADER, block, len);
		s->used += need;
		return true;
	}
	if (!write_file(s, (const uint8_t *) &len, BLOCK_HEADER, err))
		return false;
	if (!write_file(s, block, len, err))
	{
		s->written -= BLOCK_HEADER;
		return false;
	}
	return true;
}

/* Appends one block, whole or not at all. */
bool
td_spool_append(TdSpool *s, const void *block, size_t len, TdError *err)
{
	if (s->reading)
		return td_error_set(err, "XX000", "spool is being read");
	if (len > UINT32_MAX - BLOCK_HEADER)
		return td_error_set(err, "54000", "block of %zu bytes is too large for a spool", len);
	if (append_memory(s, block, (uint32_t) len))
	{
		s->size += len;
		return true;
	}
	if (s->disk_limit > 0 && td_spool_on_disk(s) + BLOCK_HEADER + len > s->disk_limit)
	{
		td_error_set(err, "54000", "source transaction is larger than tapdata.spool_limit");
		td_error_detail(err, "%llu bytes are spooled, of which %llu lie on disk; the limit is %llu bytes on disk.",
						(unsigned long long) s->size, (unsigned long long) td_spool_on_disk(s),
						(unsigned long long) s->disk_limit);
		return td_error_hint(err, "Raise tapdata.spool_limit, and have as much room in \"%s\".", s->directory);
	}
	if (!append_file(s, block, (uint32_t) len, err))
		return false;
	s->size += len;
	return true;
}

/* Bytes of all blocks. */
uint64_t
td_spool_size(const TdSpool *s)
{
	return s->size;
}

/* Bytes in the file, or on their way to it. */
uint64_t
td_spool_on_disk(const TdSpool *s)
{
	return s->written + (s->reading ? 0 : s->used);
}

/* Ends the writing, and goes to the first block. */
bool
td_spool_rewind(TdSpool *s, TdError *err)
{
	if (!s->reading && !flush(s, err) && !keep_tail(s))
		return false;
	s->reading = true;
	s->tail_offset = 0;
	s->at = s->first;
	s->offset = 0;
	s->used = 0;
	s->file_offset = 0;
	return true;
}

/* The next block of the part in memory; false = there is none left. */
static bool
read_memory(TdSpool *s, TdBytes *block)
{
	while (s->at && s->offset >= s->at->len)
	{
		s->at = s->at->next;
		s->offset = 0;
	}
	if (s->at == NULL)
		return false;
	block->len = td_load32(s->at->data + s->offset);
	block->data = s->at->data + s->offset + BLOCK_HEADER;
	s->offset += BLOCK_HEADER + (size_t) block->len;
	return true;
}

/* The next block of what stayed behind the file; false = there is none left. */
static bool
read_tail(TdSpool *s, TdBytes *block)
{
	if (s->tail == NULL || s->tail_offset >= s->tail->len)
		return false;
	block->len = td_load32(s->tail->data + s->tail_offset);
	block->data = s->tail->data + s->tail_offset + BLOCK_HEADER;
	s->tail_offset += BLOCK_HEADER + (size_t) block->len;
	return true;
}

/* Makes the buffer hold at least `need` bytes from the reader's place on; false = error or a file that is too short. */
static bool
fill(TdSpool *s, size_t need, TdError *err)
{
	if (s->used - s->offset >= need)
		return true;
	if (!size_buffer(s, need, err))
		return false;
	while (s->used < s->cap && s->file_offset < s->written)
	{
		uint64_t	left = s->written - s->file_offset;
		size_t		want = s->cap - s->used < left ? s->cap - s->used : (size_t) left;
		ssize_t		n = pread(s->fd, s->buffer + s->used, want, (off_t) s->file_offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return spool_error(s, err, "read");
		s->used += (size_t) n;
		s->file_offset += (uint64_t) n;
	}
	return s->used >= need || td_error_set(err, "XX001", "spool file is damaged");
}

/* The next block: 1, 0 at the end, -1 on an error; it is valid until the next call. */
int
td_spool_read(TdSpool *s, TdBytes *block, TdError *err)
{
	if (!s->reading)
	{
		td_error_set(err, "XX000", "spool is being written");
		return -1;
	}
	if (s->at)
	{
		if (read_memory(s, block))
			return 1;
		s->offset = 0;
	}
	if (s->file_offset - (s->used - s->offset) >= s->written)
		return read_tail(s, block) ? 1 : 0;
	if (!fill(s, BLOCK_HEADER, err))
		return -1;
	block->len = td_load32(s->buffer + s->offset);
	if (!fill(s, BLOCK_HEADER + (size_t) block->len, err))
		return -1;
	block->data = s->buffer + s->offset + BLOCK_HEADER;
	s->offset += BLOCK_HEADER + (size_t) block->len;
	return 1;
}

/* Empties the spool for writing.  The first chunk is kept, since most transactions are small; the file is gone. */
void
td_spool_reset(TdSpool *s)
{
	Chunk	   *c = s->first ? s->first->next : NULL;

	while (c)
	{
		Chunk	   *next = c->next;

		free(c);
		c = next;
	}
	if (s->first)
	{
		s->first->next = NULL;
		s->first->len = 0;
		s->memory = s->first->cap;
	}
	s->last = s->first;
	s->at = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	free(s->tail);
	s->tail = NULL;
	free(s->buffer);
	s->buffer = NULL;
	s->cap = 0;
	s->written = 0;
	s->used = 0;
	s->offset = 0;
	s->file_offset = 0;
	s->size = 0;
	s->reading = false;
	s->spilled = false;
}

/* Ends the spool. */
void
td_spool_destroy(TdSpool *s)
{
	if (s == NULL)
		return;
	td_spool_reset(s);
	free(s->first);
	free(s->directory);
	free(s);
}
