/*-------------------------------------------------------------------------
 *
 * drive.c
 *		Calls a connector by hand and prints what it says, one record a line.
 *
 * NOTES
 *		For the tests of this connector alone; the real caller is the connector
 *		host.
 *
 *		drive SO [name=value ...] -- check
 *		                             discover [PATTERN]
 *		                             position
 *		                             covers REACHED WANTED
 *		                             snapshot DATABASE TABLE [CURSOR [LIMIT [CHUNKS]]]
 *		                             stream POSITION SECONDS [DATABASE.TABLE[@SKIP] ...]
 *		-q before -- counts records instead of printing them.  A stream ends
 *		after SECONDS without a record, or, by an argument among the tables,
 *		untilN: after N COMMIT records, or to=POSITION: once that is reached.
 *
 * connectors/mysql/test/drive.c
 *
 *-------------------------------------------------------------------------
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tapdata_connector.h"

#define MAX_TABLES 64

static const TdConnector *connector;
static TdSchema *schemas[MAX_TABLES + 2];
static bool quiet;
static uint64_t counts[16];
static uint64_t total_bytes;
static const char *upto = NULL;
static bool reached;

static void
log_line(const char *level, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	fprintf(stderr, "%s: ", level);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
}

static bool
should_stop(void)
{
	return false;
}

static const TdHost host = {sizeof(TdHost), log_line, should_stop};

/* Prints an error and ends. */
static void
fail(const TdError *err)
{
	fflush(stdout);
	printf("ERROR %s%s %s\nDETAIL %s\nHINT %s\n", err->sqlstate, err->retryable ? " retryable" : "", err->message, err->detail, err->hint);
	exit(1);
}

static void
print_hex(TdBytes b)
{
	for (uint32_t i = 0; i < b.len; i++)
		printf("%02x", b.data[i]);
}

static void
print_text(TdBytes b)
{
	for (uint32_t i = 0; i < b.len; i++)
		if (b.data[i] < 0x20 || b.data[i] == '|' || b.data[i] == '\\')
			printf("\\%02x", b.data[i]);
		else
			putchar(b.data[i]);
}

static void
print_value(const TdColumn *c, const TdValue *v)
{
	TdReader	items;
	uint32_t	n;

	if (v->state != TD_VALUE)
	{
		printf("%s", v->state == TD_NULL ? "\\N" : v->state == TD_ABSENT ? "\\A" : "\\U");
		return;
	}
	switch (c->type)
	{
		case TD_UINT8:
			printf("%" PRIu64, v->u);
			break;
		case TD_FLOAT4:
			printf("%a", (double) v->f4);
			break;
		case TD_FLOAT8:
			printf("%a", v->f8);
			break;
		case TD_INTERVAL:
			printf("%" PRId64 "us %dd %dm", v->i, v->days, v->months);
			break;
		case TD_TEXT:
		case TD_JSON:
			print_text(v->bytes);
			break;
		case TD_DECIMAL:
		case TD_BYTES:
		case TD_BIT:
			print_hex(v->bytes);
			break;
		case TD_UUID:
			print_hex((TdBytes) {v->bytes.data, 16});
			break;
		case TD_TEXT_ARRAY:
			if (!td_read_array(v->bytes, &n, &items))
				printf("DAMAGED");
			else
				for (putchar('{'); n > 0; n--)
				{
					TdBytes		item;

					if (!td_read_item(&items, &item))
						printf("DAMAGED");
					else
						print_text(item);
					putchar(n > 1 ? ',' : '}');
				}
			if (n == 0 && v->bytes.len == 4)
				putchar('}');
			break;
		default:
			printf("%" PRId64, v->i);
	}
}

static void
print_row(const TdSchema *s, TdBytes row)
{
	TdValue    *values = calloc(s->ncolumns + 1, sizeof(TdValue));

	if (!td_read_row(s, row, values))
		printf(" DAMAGED");
	else
		for (uint32_t i = 0; i < s->ncolumns; i++)
		{
			putchar(i ? '|' : ' ');
			print_value(&s->columns[i], &values[i]);
		}
	free(values);
}

static void
print_schema(const TdSchema *s)
{
	printf("%s.%s key (", s->database, s->table);
	for (uint32_t i = 0; i < s->nkeys; i++)
		printf("%s%s", i ? "," : "", s->columns[s->keys[i]].name);
	printf(")");
	for (uint32_t i = 0; i < s->ncolumns; i++)
		printf(" %s:%d(%d,%d)%s[%s]", s->columns[i].name, s->columns[i].type, s->columns[i].length, s->columns[i].scale,
			   s->columns[i].not_null ? "!" : "", s->columns[i].native);
}

static void
print_record(const TdRecord *rec)
{
	static const char *const names[] = {"", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "SCHEMA", "COMMIT", "DDL", "CHUNK", "END", "MARK"};

	counts[rec->op]++;
	if (upto && rec->position.len)
	{
		char	   *at = strndup((const char *) rec->position.data, rec->position.len);
		TdError		err;

		if (connector->position_covers(at, upto, &reached, &err) != TD_OK)
			printf("NO POSITION %s\n", at);
		free(at);
	}
	if (rec->op == TD_OP_SCHEMA && rec->table < MAX_TABLES + 2)
	{
		free(schemas[rec->table]);
		schemas[rec->table] = td_schema_read(rec);
	}
	if (quiet)
		return;
	printf("%s", names[rec->op]);
	if (rec->table)
		printf(" %u", rec->table);
	if (rec->op == TD_OP_SCHEMA)
	{
		putchar(' ');
		print_schema(schemas[rec->table]);
	}
	if (rec->old_row.len)
		print_row(schemas[rec->table], rec->old_row);
	if (rec->old_row.len && rec->new_row.len)
		printf(" ->");
	if (rec->new_row.len)
		print_row(schemas[rec->table], rec->new_row);
	if (rec->position.len)
		printf(" %.*s", (int) rec->position.len, (const char *) rec->position.data);
	if (rec->op == TD_OP_COMMIT)
		printf(" %" PRId64, rec->time);
	if (rec->text.len && rec->op != TD_OP_SCHEMA)
		printf(" %.*s", (int) rec->text.len, (const char *) rec->text.data);
	putchar('\n');
}

/* Prints what a call has appended. */
static void
print_buffer(TdBuffer *b)
{
	TdReader	r = {b->data, b->data + b->len};
	TdRecord	rec;
	int			rc;

	total_bytes += b->len;
	while ((rc = td_read_record(&r, &rec)) == 1)
		print_record(&rec);
	if (rc < 0)
		printf("DAMAGED BUFFER\n");
	td_buffer_reset(b);
	fflush(stdout);
}

static double
seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
report_item(void *arg, const char *item, bool ok, const char *detail, const char *hint)
{
	printf("%s | %s | %s | %s\n", item, ok ? "ok" : "NOT OK", detail, hint);
}

static void
report_table(void *arg, const TdTableInfo *t)
{
	print_schema(t->schema);
	printf(" rows %" PRId64, t->row_estimate);
	if (t->problem.sqlstate[0])
		printf(" PROBLEM %s %s HINT %s", t->problem.sqlstate, t->problem.message, t->problem.hint);
	putchar('\n');
}

static void
run_snapshot(TdConn *conn, int argc, char **argv)
{
	TdTableRef	ref = {argv[0], argv[1], ""};
	TdBuffer	b = {0};
	TdError		err = {0};
	char	   *position;
	int			chunks = argc > 4 ? atoi(argv[4]) : -1;
	TdStatus	st = connector->snapshot_start(conn, &ref, argc > 2 ? argv[2] : "", argc > 3 ? atoll(argv[3]) : -1, &position, &err);

	if (st == TD_FAIL)
		fail(&err);
	if (position)
		printf("POSITION %s\n", position);
	free(position);
	while (chunks != 0 && (st = connector->snapshot_read(conn, 1000, &b, &err)) != TD_DONE)
	{
		print_buffer(&b);
		if (st == TD_FAIL)
			fail(&err);
		chunks--;
	}
	print_buffer(&b);
	td_buffer_free(&b);
}

static void
run_stream(TdConn *conn, int argc, char **argv)
{
	TdTableRef	refs[MAX_TABLES];
	uint32_t	n = 0;
	uint64_t	until = UINT64_MAX;
	TdBuffer	b = {0};
	TdError		err = {0};
	double		last;

	for (int i = 2; i < argc && n < MAX_TABLES; i++)
	{
		char	   *dot = strchr(argv[i], '.');
		char	   *skip = strchr(argv[i], '@');

		if (strncmp(argv[i], "to=", 3) == 0)
		{
			upto = argv[i] + 3;
			continue;
		}
		if (strncmp(argv[i], "until", 5) == 0 && dot == NULL)
		{
			until = strtoull(argv[i] + 5, NULL, 10);
			continue;
		}
		*dot = '\0';
		if (skip)
			*skip = '\0';
		refs[n].database = argv[i];
		refs[n].table = dot + 1;
		refs[n++].skip_to = skip ? skip + 1 : "";
	}
	if (connector->stream_start(conn, argv[0], refs, n, &err) == TD_FAIL)
		fail(&err);
	printf("STREAMING\n");
	fflush(stdout);
	last = seconds(CLOCK_MONOTONIC);
	while (counts[TD_OP_COMMIT] < until && !reached && seconds(CLOCK_MONOTONIC) - last < atof(argv[1]))
	{
		TdStatus	st = connector->stream_poll(conn, 100, &b, &err);

		if (b.len)
			last = seconds(CLOCK_MONOTONIC);
		print_buffer(&b);
		if (st == TD_FAIL)
			fail(&err);
	}
	td_buffer_free(&b);
}

static void
run(TdConn *conn, int argc, char **argv)
{
	TdError		err = {0};
	TdStatus	st = TD_OK;
	char	   *position;
	bool		covers;

	if (strcmp(argv[0], "check") == 0)
		st = connector->check(conn, report_item, NULL, &err);
	else if (strcmp(argv[0], "discover") == 0)
		st = connector->discover(conn, argc > 1 ? argv[1] : "*", report_table, NULL, &err);
	else if (strcmp(argv[0], "position") == 0)
	{
		st = connector->position(conn, &position, &err);
		if (st == TD_OK)
			printf("%s\n", position);
		free(position);
	}
	else if (strcmp(argv[0], "covers") == 0)
	{
		st = connector->position_covers(argv[1], argv[2], &covers, &err);
		if (st == TD_OK)
			printf("%s\n", covers ? "yes" : "no");
	}
	else if (strcmp(argv[0], "snapshot") == 0)
		run_snapshot(conn, argc - 1, argv + 1);
	else if (strcmp(argv[0], "stream") == 0)
		run_stream(conn, argc - 1, argv + 1);
	if (st == TD_FAIL)
		fail(&err);
}

int
main(int argc, char **argv)
{
	const char *names[64];
	const char *values[64];
	TdConfig	config = {0, names, values};
	TdConn	   *conn;
	TdError		err = {0};
	void	   *so = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	const TdConnector *(*entry) (void) = NULL;
	int			i = 2;

	if (so)
		*(void **) &entry = dlsym(so, "td_connector_entry");
	if (entry == NULL)
	{
		fprintf(stderr, "%s\n", dlerror());
		return 2;
	}
	connector = entry();
	for (; i < argc && strcmp(argv[i], "--") != 0; i++)
	{
		char	   *eq = strchr(argv[i], '=');

		quiet |= strcmp(argv[i], "-q") == 0;
		if (eq == NULL)
			continue;
		*eq = '\0';
		names[config.n] = argv[i];
		values[config.n++] = eq + 1;
	}
	if (connector->open(&host, &config, &conn, &err) == TD_FAIL)
		fail(&err);
	run(conn, argc - i - 1, argv + i + 1);
	connector->close(conn);
	if (quiet)
		printf("insert %" PRIu64 " update %" PRIu64 " delete %" PRIu64 " commit %" PRIu64 " bytes %" PRIu64 " cpu %.3f\n",
			   counts[TD_OP_INSERT], counts[TD_OP_UPDATE], counts[TD_OP_DELETE], counts[TD_OP_COMMIT], total_bytes,
			   seconds(CLOCK_PROCESS_CPUTIME_ID));
	for (i = 0; i < MAX_TABLES + 2; i++)
		free(schemas[i]);
	return 0;
}
