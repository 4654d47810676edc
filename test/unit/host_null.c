/*-------------------------------------------------------------------------
 *
 * host_null.c
 *		The real program tapdata-host with the null connector: every request,
 *		marks in their place, back-pressure, secrets, stops.
 *
 * test/unit/host_null.c
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <sys/stat.h>

#include "host_client.h"

static const char *const plain[] = {"tables=2", "keyless=1", "rows=2500", "transactions=9", "rows_per_transaction=3", NULL};

/* Starts and opens. */
static void
start(Client *c, const char *const *options)
{
	client_start(c, "null");
	if (client_open(c, 5000, options) != TD_MSG_OK)
		printf("Bail out! the null connector can't be opened: are %s and connectors/null built?\n", host_program());
}

static void
test_requests(void)
{
	Client		c;
	TdBuffer	b = {0};
	int			tables = 0;
	TdRecord	rec;

	client_start(&c, "null");
	ok(client_open(&c, 5000, plain) == TD_MSG_OK, "open");
	is(get_str(&c), "null", "name");
	ok(strlen(get_str(&c)) > 0 && get_u64(&c) == 3, "version and capabilities");
	client_send(&c, TD_MSG_PING, NULL);
	ok(client_receive(&c, 5) == TD_MSG_PONG, "ping");
	client_send(&c, TD_MSG_CHECK, NULL);
	ok(client_receive(&c, 5) == TD_MSG_ITEM, "check: an item");
	is(get_str(&c), "source", "its name");
	ok(client_receive(&c, 5) == TD_MSG_ITEM && client_receive(&c, 5) == TD_MSG_OK, "then another and the end");
	put_str(&b, "t*");
	client_send(&c, TD_MSG_DISCOVER, &b);
	while (client_receive(&c, 5) == TD_MSG_TABLE)
	{
		TdSchema   *s = NULL;
		TdReader	r;
		TdError		problem;

		tables += get_u64(&c) == 2500;
		r = (TdReader) {c.in.p + 4, c.in.end};
		if (td_read_record(&r, &rec) == 1)
			s = td_schema_read(&rec);
		ok(s && s->ncolumns == 6 && s->nkeys == (tables == 1) && strcmp(s->columns[0].name, "id") == 0, "table %d", tables);
		free(s);
		c.in.p = r.p;
		get_error(&c, &problem);
		is(problem.sqlstate, "", "no problem");
	}
	ok(tables == 2 && c.kind == TD_MSG_OK, "two tables, then the end");
	client_send(&c, TD_MSG_POSITION, NULL);
	ok(client_receive(&c, 5) == TD_MSG_OK, "position");
	is(get_str(&c), "9", "the end of the log");
	td_buffer_reset(&b);
	put_str(&b, "10");
	put_str(&b, "9");
	client_send(&c, TD_MSG_COVERS, &b);
	ok(client_receive(&c, 5) == TD_MSG_OK && get_u32(&c) == 1, "10 covers 9");
	td_buffer_reset(&b);
	put_str(&b, "10");
	put_str(&b, "x");
	client_send(&c, TD_MSG_COVERS, &b);
	ok(client_receive(&c, 5) == TD_MSG_ERROR && memcmp(c.in.p + 5, "22P02", 5) == 0, "x is no position: 22P02");
	client_send(&c, TD_MSG_OPEN, NULL);
	ok(client_receive(&c, 5) == TD_MSG_ERROR, "a second open is refused");
	ok(client_stop(&c) >= 0 && WIFEXITED(c.status), "stops");
	td_buffer_free(&b);
}

/* Reads DATA frames until OK or a number of COMMITs; counts. */
typedef struct Counts
{
	int			ops[16];
	int64_t		last_id;
	char		cursor[64];
	char		position[64];
	int			damaged;
} Counts;

static void
count_frame(Client *c, Counts *counts)
{
	TdReader	r = c->in;
	TdRecord	rec;
	int			got;

	while ((got = td_read_record(&r, &rec)) == 1)
	{
		counts->ops[rec.op]++;
		if (rec.op == TD_OP_CHUNK)
			snprintf(counts->cursor, sizeof(counts->cursor), "%.*s", (int) rec.text.len, rec.text.data);
		if (rec.op == TD_OP_COMMIT)
			snprintf(counts->position, sizeof(counts->position), "%.*s", (int) rec.position.len, rec.position.data);
	}
	counts->damaged += got != 0;
}

static Counts
read_until(Client *c, int kind, int commits)
{
	Counts		counts = {0};

	while (client_receive(c, 10) == TD_MSG_DATA)
	{
		count_frame(c, &counts);
		if (commits > 0 && counts.ops[TD_OP_COMMIT] >= commits)
			return counts;
	}
	counts.damaged += kind >= 0 && c->kind != (uint32_t) kind;
	return counts;
}

static void
test_snapshot(void)
{
	Client		c;
	Counts		counts;

	start(&c, plain);
	send_snapshot(&c, "t0", "", -1);
	ok(client_receive(&c, 5) == TD_MSG_OK, "snapshot of a keyed table begins");
	is(get_str(&c), "", "without a position");
	counts = read_until(&c, TD_MSG_OK, 0);
	/* transaction 9 is the fifth of t0, the update of its second cycle: rows 2504 to 2506 are there */
	ok(counts.ops[TD_OP_INSERT] == 2503 && counts.ops[TD_OP_SCHEMA] == 1 && counts.ops[TD_OP_END] == 1 && !counts.damaged,
	   "2500 rows and the log's 3 (%d)", counts.ops[TD_OP_INSERT]);
	ok(counts.ops[TD_OP_CHUNK] >= 1, "with a cursor");
	send_snapshot(&c, "t0", "2000", -1);
	client_receive(&c, 5);
	counts = read_until(&c, TD_MSG_OK, 0);
	ok(counts.ops[TD_OP_INSERT] == 503, "resumed by cursor");
	send_snapshot(&c, "t0", "2505", -1);
	client_receive(&c, 5);
	counts = read_until(&c, TD_MSG_OK, 0);
	ok(counts.ops[TD_OP_INSERT] == 1, "also among the rows of the log");
	send_snapshot(&c, "t1", "", 7);
	client_receive(&c, 5);
	is(get_str(&c), "9", "a keyless table has a position");
	counts = read_until(&c, TD_MSG_OK, 0);
	ok(counts.ops[TD_OP_INSERT] == 7 && counts.ops[TD_OP_CHUNK] == 0, "a limit of 7, no cursor");
	send_snapshot(&c, "t9", "", -1);
	ok(client_receive(&c, 5) == TD_MSG_ERROR && memcmp(c.in.p + 5, "42P01", 5) == 0, "no such table: 42P01");
	client_stop(&c);
}

static void
test_stream(void)
{
	static const char *const tables[] = {"t0", "t1"};
	Client		c;
	Counts		counts;
	TdError		err;

	start(&c, plain);
	send_stream(&c, "0", 2, tables);
	ok(client_receive(&c, 5) == TD_MSG_OK, "stream begins");
	counts = read_until(&c, -1, 9);
	ok(counts.ops[TD_OP_INSERT] == 12 && counts.ops[TD_OP_UPDATE] == 9 && counts.ops[TD_OP_DELETE] == 6 &&
	   counts.ops[TD_OP_SCHEMA] == 2, "nine transactions");
	is(counts.position, "9", "to the end of the log");
	send_mark(&c, 42, "");
	ok(client_receive(&c, 5) == TD_MSG_DATA, "a mark at the end comes at once");
	counts = (Counts) {0};
	count_frame(&c, &counts);
	ok(counts.ops[TD_OP_MARK] == 1, "as a record");
	send_mark(&c, 43, "10");
	ok(client_receive(&c, 0.3) == 0, "one beyond the end waits");
	send_mark(&c, 44, "nine");
	ok(client_receive(&c, 5) == TD_MSG_MARK_ERROR && get_u64(&c) == 44, "one that is no position fails");
	get_error(&c, &err);
	is(err.sqlstate, "22P02", "22P02");
	client_send(&c, TD_MSG_PING, NULL);
	ok(client_receive(&c, 5) == TD_MSG_PONG, "the stream goes on");
	client_send(&c, TD_MSG_CHECK, NULL);
	ok(client_receive(&c, 5) == TD_MSG_ERROR && memcmp(c.in.p + 5, "08P01", 5) == 0, "a request while streaming is a violation");
	ok(client_receive(&c, 5) == -1, "and the host's end");
	client_stop(&c);
}

/* Marks while a log grows: each stands behind a COMMIT that covers it, and not before. */
static void
test_marks_in_order(void)
{
	static const char *const options[] = {"rows=10", "interval_us=200", "rows_per_transaction=5", NULL};
	static const char *const tables[] = {"t0"};
	Client		c;
	uint64_t	wanted[50];
	uint64_t	position = 0;
	uint64_t	sent = 0;
	int			answered = 0;
	bool		good = true;
	char		text[32];

	start(&c, options);
	client_send(&c, TD_MSG_POSITION, NULL);
	client_receive(&c, 5);
	snprintf(text, sizeof(text), "%s", get_str(&c));
	position = strtoull(text, NULL, 10);
	send_stream(&c, text, 1, tables);
	client_receive(&c, 5);
	while (answered < 50 && client_receive(&c, 10) == TD_MSG_DATA)
	{
		TdReader	r = c.in;
		TdRecord	rec;

		while (td_read_record(&r, &rec) == 1)
		{
			if (rec.op == TD_OP_COMMIT)
			{
				snprintf(text, sizeof(text), "%.*s", (int) rec.position.len, rec.position.data);
				position = strtoull(text, NULL, 10);
			}
			if (rec.op == TD_OP_MARK)
			{
				good = good && position >= wanted[rec.number];
				answered++;
			}
		}
		if (sent < 50)
		{
			/* every other one asks the source; the rest a position that is still to come */
			wanted[sent] = sent % 2 ? position : position + 20;
			snprintf(text, sizeof(text), "%llu", (unsigned long long) wanted[sent]);
			send_mark(&c, sent, sent % 2 ? "" : text);
			sent++;
		}
	}
	ok(answered == 50 && good, "50 marks, each behind what it wants (%d)", answered);
	client_stop(&c);
}

/* Resident memory of a process, kB. */
static long
resident(pid_t pid)
{
	char		path[64];
	char		line[200];
	long		kb = -1;
	FILE	   *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %ld", &kb);
	if (f)
		fclose(f);
	return kb;
}

/* Descriptors, or -1 where they may not be read. */
static int
descriptors(pid_t pid)
{
	char		path[64];
	DIR		   *dir;
	int			n = -2;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int) pid);
	dir = opendir(path);
	if (dir == NULL)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void
test_back_pressure(void)
{
	static const char *const options[] = {"rows=0", "transactions=1", "rows_per_transaction=5000000", NULL};
	static const char *const tables[] = {"t0"};
	Client		c;
	Counts		counts;
	double		took;
	long		kb;

	start(&c, options);
	send_stream(&c, "0", 1, tables);
	client_receive(&c, 5);
	sleep(1);
	kb = resident(c.pid);
	if (!getenv("TD_WRAP") && !getenv("TD_HOST"))
		ok(kb > 0 && kb < 40000, "a reader that does not read costs %ld kB", kb);
	client_send(&c, TD_MSG_PING, NULL);
	counts = read_until(&c, TD_MSG_PONG, 0);
	ok(c.kind == TD_MSG_PONG && !counts.damaged, "a ping is answered behind what is queued");
	took = seconds();
	took = client_stop(&c);
	ok(took >= 0 && took < 1, "it stops in the middle in %.3f s", took);
}

/* Nothing of what was inherited stays, and nothing secret shows. */
static void
test_privacy(void)
{
	static const char *const options[] = {"password=correct horse battery", NULL};
	Client		c;
	char		path[64];
	char		text[4096];
	int			fd;
	ssize_t		n;
	struct stat st;

	for (int i = 0; i < 20; i++)
		(void) fcntl(2, F_DUPFD, 40);
	start(&c, options);
	if (!getenv("TD_WRAP") && !getenv("TD_HOST"))
		ok(descriptors(c.pid) <= 6, "no inherited descriptor is open (%d are)", descriptors(c.pid));
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) c.pid);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	ok(n > 0 && memmem(text, (size_t) n, "horse", 5) == NULL, "no secret in the arguments");
	snprintf(path, sizeof(path), "/proc/%d/environ", (int) c.pid);
	ok(stat(path, &st) == 0 && st.st_uid == 0 && (st.st_mode & 0077) == 0, "environment and memory are closed to others");
	client_stop(&c);
	for (fd = 40; fd < 60; fd++)
		close(fd);
}

/* Options: unknown, wrong, missing. */
static void
test_options(void)
{
	static const struct
	{
		const char *option;
		const char *message;
		const char *hint;
	}			cases[] =
	{
		{"colunms=3", "no option \"colunms\"", "\"columns\""},
		{"zzzzzzzzzzzzzz=3", "no option", "tapdata.connectors"},
		{"columns=x", "invalid value for option \"columns\"", "whole number from 1 to 1000"},
		{"columns=1001", "invalid value", "from 1 to 1000"},
		{"columns=", "invalid value", "whole number"},
		{"seed=99999999999999999999", "invalid value", "whole number"},
	};
	TdError		err;
	Client		c;

	client_start(&c, "null");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *const options[] = {cases[i].option, NULL};

		ok(client_open(&c, 5000, options) == TD_MSG_ERROR, "%s is refused", cases[i].option);
		get_error(&c, &err);
		is(err.sqlstate, "22023", "22023");
		has(err.message, cases[i].message, "message");
		has(err.hint, cases[i].hint, "hint");
	}
	ok(client_open(&c, 5000, (const char *const[]) {"rows=1", "rows=2", NULL}) == TD_MSG_ERROR, "twice the same is refused");
	client_send(&c, TD_MSG_POSITION, NULL);
	ok(client_receive(&c, 5) == TD_MSG_ERROR && memcmp(c.in.p + 5, "08003", 5) == 0, "nothing is open: 08003");
	ok(client_open(&c, 5000, plain) == TD_MSG_OK, "then good ones are taken");
	client_stop(&c);
}

/* Bytes that are no frames, and a server that is of another version. */
static void
test_damaged_server(unsigned seed)
{
	Client		c;
	TdBuffer	b = {0};
	TdError		err;
	bool		good = true;

	client_start(&c, "null");
	put_u32(&b, TD_PROTOCOL_VERSION + 1);
	put_u32(&b, 1000);
	put_u32(&b, 0);
	client_send(&c, TD_MSG_OPEN, &b);
	ok(client_receive(&c, 5) == TD_MSG_ERROR, "another version of the protocol is refused");
	get_error(&c, &err);
	has(err.detail, "version 2 of the protocol, tapdata-host version 1", "both are named");
	client_stop(&c);
	srand(seed);
	for (int i = 0; i < 40; i++)
	{
		client_start(&c, "null");
		if (i % 2)
			client_open(&c, 5000, plain);
		for (int k = 0; k < 30; k++)
		{
			td_buffer_reset(&b);
			for (int n = rand() % 60; n > 0; n--)
				td_buffer_append(&b, &(char) {(char) (rand() % 3 ? 0 : rand())}, 1);
			client_send(&c, (uint32_t) (rand() % 12), &b);
			while (client_receive(&c, 0.002) > 0)
				;
		}
		client_stop(&c);
		if (!WIFEXITED(c.status) || WEXITSTATUS(c.status) > 1)
			printf("# host %d: status 0x%x\n", i, c.status);
		good = good && WIFEXITED(c.status) && WEXITSTATUS(c.status) <= 1;
	}
	ok(good, "40 hosts took damaged requests without a crash, seed %u", seed);
	td_buffer_free(&b);
}

/* The parent dies, the host with it. */
static void
test_orphan(void)
{
	int			out[2];
	pid_t		middle;
	pid_t		host = 0;
	double		from;

	if (pipe(out) != 0)
		return;
	fflush(NULL);
	middle = fork();
	if (middle == 0)
	{
		Client		c;

		start(&c, plain);
		/* a copy of the socket outlives us in nobody: the host must not need EOF alone */
		(void) !write(out[1], &c.pid, sizeof(c.pid));
		raise(SIGKILL);
	}
	(void) !read(out[0], &host, sizeof(host));
	waitpid(middle, NULL, 0);
	from = seconds();
	while (host > 0 && seconds() - from < 5 && resident(host) >= 0)
		usleep(1000);
	ok(host > 0 && seconds() - from < 1, "kill -9 of the parent ends the host");
	close(out[0]);
	close(out[1]);
}

/* `--bench`: rows and transactions a second through the host. */
static int
bench(void)
{
	static const char *const options[] = {"rows=3000000", "transactions=600000", NULL};
	static const char *const tables[] = {"t0"};
	Client		c;
	Counts		counts;
	double		from;

	start(&c, options);
	send_snapshot(&c, "t0", "", -1);
	client_receive(&c, 5);
	from = seconds();
	counts = read_until(&c, TD_MSG_OK, 0);
	printf("snapshot: %.2f M rows/s\n", counts.ops[TD_OP_INSERT] / (seconds() - from) / 1e6);
	send_stream(&c, "0", 1, tables);
	client_receive(&c, 5);
	from = seconds();
	counts = read_until(&c, -1, 600000);
	printf("stream: %.2f M transactions/s of one row\n", counts.ops[TD_OP_COMMIT] / (seconds() - from) / 1e6);
	client_stop(&c);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--bench") == 0)
		return bench();
	test_requests();
	test_snapshot();
	test_stream();
	test_marks_in_order();
	test_back_pressure();
	test_privacy();
	test_options();
	test_damaged_server(seed_of(argc, argv));
	test_orphan();
	return done_testing();
}
