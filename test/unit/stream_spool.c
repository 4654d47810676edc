/*-------------------------------------------------------------------------
 *
 * stream_spool.c
 *		The spool: order, limits, a full disk, bounded memory.
 *
 * test/unit/stream_spool.c
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream/stream.h"
#include "tap.h"

static char directory[] = "/var/tmp/td_spool.XXXXXX";

/* Block number i: its size and content follow from i. */
static size_t
make_block(uint32_t i, uint8_t *block)
{
	size_t		len = i % 97 == 0 ? 0 : i % 50 == 7 ? 1500000 + i : (i * 7919) % 30000;

	for (size_t k = 0; k < len; k += 509)
		block[k] = (uint8_t) (i + k);
	return len;
}

/* Reads n blocks back and compares them. */
static bool
compare_blocks(TdSpool *s, uint32_t n, uint8_t *block)
{
	TdError		err;
	TdBytes		got;

	for (uint32_t i = 0; i < n; i++)
	{
		size_t		len = make_block(i, block);

		if (td_spool_read(s, &got, &err) != 1 || got.len != len)
			return false;
		for (size_t k = 0; k < len; k += 509)
			if (got.data[k] != (uint8_t) (i + k))
				return false;
	}
	return td_spool_read(s, &got, &err) == 0 && td_spool_read(s, &got, &err) == 0;
}

/* Entries of the directory. */
static int
count_files(void)
{
	DIR		   *dir = opendir(directory);
	int			n = -2;

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void
test_order(size_t memory_limit, const char *what)
{
	TdError		err;
	TdSpool    *s = td_spool_create(directory, memory_limit, 0, &err);
	uint8_t    *block = malloc(2000000);
	uint64_t	size = 0;
	bool		good = true;

	for (int round = 0; round < 2; round++)
	{
		size = 0;
		for (uint32_t i = 0; i < 300; i++)
		{
			size_t		len = make_block(i, block);

			good = good && td_spool_append(s, block, len, &err);
			size += len;
		}
		ok(good && td_spool_size(s) == size, "%s: 300 blocks appended, round %d", what, round);
		ok((td_spool_on_disk(s) > 0) == (memory_limit < size), "%s: on disk iff past the limit", what);
		ok(count_files() == 0, "%s: the file has no name", what);
		ok(td_spool_rewind(s, &err) && compare_blocks(s, 300, block), "%s: read back in order", what);
		ok(!td_spool_append(s, block, 1, &err), "%s: no appending while reading", what);
		ok(td_spool_rewind(s, &err) && compare_blocks(s, 300, block), "%s: and once more", what);
		td_spool_reset(s);
		ok(td_spool_size(s) == 0 && td_spool_on_disk(s) == 0, "%s: empty after a reset", what);
	}
	ok(td_spool_rewind(s, &err) && compare_blocks(s, 0, block), "%s: an empty one has no block", what);
	td_spool_destroy(s);
	free(block);
}

static void
test_disk_limit(void)
{
	TdError		err;
	TdSpool    *s = td_spool_create(directory, 65536, 3000000, &err);
	uint8_t    *block = calloc(1, 100000);
	int			n = 0;

	while (n < 1000 && td_spool_append(s, block, 100000, &err))
		n++;
	ok(n >= 28 && n <= 31, "the limit is met after %d blocks", n);
	is(err.sqlstate, "54000", "54000");
	has(err.message, "larger than tapdata.spool_limit", "which names the setting");
	ok(!err.retryable, "and is not tried again");
	ok(td_spool_append(s, block, 10, &err), "a smaller block still fits");
	ok(td_spool_rewind(s, &err), "what is in it can be read");
	td_spool_destroy(s);
	free(block);
}

/* A file system that is full: the largest file size stands for it, EFBIG for ENOSPC. */
static void
test_full_disk(void)
{
	TdError		err;
	TdSpool    *s = td_spool_create(directory, 65536, 0, &err);
	uint8_t    *block = calloc(1, 100000);
	struct rlimit before,
				small = {4000000, RLIM_INFINITY};
	TdBytes		got;
	int			n = 0;
	int			back = 0;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	while (n < 1000 && td_spool_append(s, block, 100000, &err))
		n++;
	setrlimit(RLIMIT_FSIZE, &before);
	is(err.sqlstate, "53100", "a full disk is 53100");
	ok(err.retryable, "which may be tried again");
	has(err.hint, directory, "the hint names the directory");
	ok(td_spool_append(s, block, 100000, &err), "with room again the same append succeeds");
	ok(td_spool_rewind(s, &err), "rewound");
	while (td_spool_read(s, &got, &err) == 1 && got.len == 100000)
		back++;
	ok(back == n + 1, "nothing was lost, and nothing came twice: %d of %d", back, n + 1);
	td_spool_destroy(s);
	free(block);
}

/* What was appended is read all the same when its end can't be written any more: small blocks wait in a buffer. */
static void
test_full_disk_read(void)
{
	TdError		err;
	TdSpool    *s = td_spool_create(directory, 65536, 0, &err);
	uint8_t		block[1000] = {0};
	struct rlimit before,
				small = {4000000, RLIM_INFINITY};
	TdBytes		got;
	int			n = 0;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	for (; n < 100000; n++)
	{
		memcpy(block, &n, sizeof(n));
		if (!td_spool_append(s, block, sizeof(block), &err))
			break;
	}
	is(err.sqlstate, "53100", "a full disk, between small blocks");
	for (int round = 0; round < 2; round++)
	{
		int			back = 0;

		ok(td_spool_rewind(s, &err), "rewound all the same");
		while (td_spool_read(s, &got, &err) == 1 && got.len == sizeof(block) && memcmp(got.data, &back, sizeof(back)) == 0)
			back++;
		ok(back == n, "all of it can be read, in order: %d of %d", back, n);
		ok(td_spool_read(s, &got, &err) == 0, "and no more");
	}
	td_spool_reset(s);
	ok(td_spool_size(s) == 0 && td_spool_append(s, block, sizeof(block), &err), "there is room after a reset");
	ok(td_spool_rewind(s, &err) && td_spool_read(s, &got, &err) == 1 && td_spool_read(s, &got, &err) == 0, "for one block");
	setrlimit(RLIMIT_FSIZE, &before);
	td_spool_destroy(s);
}

/* A real full file system, where one can be mounted. */
static void
test_full_tmpfs(void)
{
	const char *full = "/dev/shm/td_spool_full";
	char		command[300];
	TdError		err;
	TdSpool    *s;
	uint8_t    *block;
	int			n = 0;

	mkdir(full, 0700);
	snprintf(command, sizeof(command), "mount -t tmpfs -o size=2m none %s 2>/dev/null", full);
	if (geteuid() != 0 || system(command) != 0)
	{
		ok(true, "full tmpfs # SKIP can't mount one");
		rmdir(full);
		return;
	}
	s = td_spool_create(full, 0, 0, &err);
	block = calloc(1, 300000);
	while (n < 1000 && td_spool_append(s, block, 300000, &err))
		n++;
	ok(n < 20 && strcmp(err.sqlstate, "53100") == 0, "full tmpfs: 53100 after %d blocks", n);
	td_spool_reset(s);
	ok(td_spool_append(s, block, 300000, &err), "room again after a reset");
	td_spool_destroy(s);
	free(block);
	snprintf(command, sizeof(command), "umount %s", full);
	ok(system(command) == 0, "unmounted");
	rmdir(full);
}

static void
test_no_directory(void)
{
	TdError		err;
	TdSpool    *s = td_spool_create("/nonexistent/spool", 0, 0, &err);

	ok(s != NULL, "the directory is not touched at first");
	ok(!td_spool_append(s, "x", 1, &err), "but when something spills");
	is(err.sqlstate, "58P01", "58P01");
	has(err.hint, "tapdata.spool_directory", "with the setting's name");
	td_spool_destroy(s);
}

/* 300 MB through 1 MB of memory. */
static void
test_memory(void)
{
	TdError		err;
	TdSpool    *s = td_spool_create(directory, 1 << 20, 0, &err);
	uint8_t    *block = calloc(1, 1 << 20);
	struct rusage before,
				after;
	TdBytes		got;
	int			n = 0;

	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 300; i++)
		td_spool_append(s, block, 1 << 20, &err);
	td_spool_rewind(s, &err);
	while (td_spool_read(s, &got, &err) == 1)
		n++;
	getrusage(RUSAGE_SELF, &after);
	ok(n == 300, "300 MB written and read");
	/* under ASan freed memory is kept for a while: a margin for a few buffers, far from 300 MB */
	ok(after.ru_maxrss - before.ru_maxrss < 16 * 1024, "with %ld kB more of memory", after.ru_maxrss - before.ru_maxrss);
	td_spool_destroy(s);
	free(block);
}

int
main(void)
{
	if (mkdtemp(directory) == NULL)
		return 1;
	test_memory();
	test_order((size_t) 1 << 30, "in memory");
	test_order(1000000, "half on disk");
	test_order(0, "all on disk");
	test_disk_limit();
	test_full_disk();
	test_full_disk_read();
	test_full_tmpfs();
	test_no_directory();
	ok(rmdir(directory) == 0, "nothing is left");
	return done_testing();
}
