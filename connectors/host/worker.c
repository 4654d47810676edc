/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The worker thread: runs the requests of the server on the connector.
 *
 * NOTES
 *		One request at a time, given by the main thread.  Every call into the
 *		connector stands between td_call_begin and td_call_end, so that the main
 *		thread sees one that hangs.  The connection is opened once; the control
 *		thread opens a second one with the same config, which therefore lives as
 *		long as the process.
 *
 * connectors/host/worker.c
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "host_internal.h"

#define DEFAULT_LIMIT_MS 60000
#define TABLES_MAX 1000000

typedef void (*Handler) (TdReader *payload);

static void serve_open(TdReader *payload);
static void serve_check(TdReader *payload);
static void serve_discover(TdReader *payload);
static void serve_position(TdReader *payload);
static void serve_covers(TdReader *payload);
static void serve_snapshot(TdReader *payload);
static void serve_stream(TdReader *payload);
static void host_log(const char *level, const char *fmt,...) __attribute__((format(printf, 2, 3)));
static bool host_should_stop(void);

static const struct
{
	TdFrameKind kind;
	Handler		handler;
	uint64_t	needs;			/* TdCaps */
	const char *what;
}			handlers[] =
{
	{TD_MSG_OPEN, serve_open, 0, "open"},
	{TD_MSG_CHECK, serve_check, 0, "check"},
	{TD_MSG_DISCOVER, serve_discover, TD_CAP_SNAPSHOT, "list tables"},
	{TD_MSG_POSITION, serve_position, TD_CAP_STREAM, "tell its position"},
	{TD_MSG_COVERS, serve_covers, TD_CAP_STREAM, "compare positions"},
	{TD_MSG_SNAPSHOT, serve_snapshot, TD_CAP_SNAPSHOT, "read tables"},
	{TD_MSG_STREAM, serve_stream, TD_CAP_STREAM, "stream changes"},
};

static const TdHost host = {sizeof(TdHost), host_log, host_should_stop};

static const char *connector_name;
static const char *connector_path;
static TdConnector api;
static bool loaded;
static TdConfig config;
static TdConn *conn;
static atomic_int limit_ms = DEFAULT_LIMIT_MS;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static TdFrameKind request;		/* 0 = none */
static TdBuffer next_payload;
static TdBuffer request_payload;	/* of the request that runs: the worker's own */
static bool streaming;			/* from the OK of STREAM to its ERROR: no request may come */
static char *ack;				/* the last position acknowledged and not passed on */

/* ---- what the connector may call ---- */

/* One line for the server's log. */
static void
host_log(const char *level, const char *fmt,...)
{
	char		text[2048];
	TdBuffer	b = {0};
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	td_redact(text, sizeof(text));
	td_wire_str(&b, level);
	td_wire_str(&b, text);
	td_queue_push(TD_MSG_LOG, &b);
}

/* A stop ends the process at once: nobody lives to see true. */
static bool
host_should_stop(void)
{
	return false;
}

/* ---- what the other threads ask ---- */

const TdConnector *
td_worker_api(void)
{
	return &api;
}

int
td_worker_limit(void)
{
	return atomic_load(&limit_ms);
}

/*
 * Gives a request to the worker; false = one is waiting, or a stream runs.  One
 * place is enough: the server may see an answer a moment before the worker is
 * back in its loop.
 */
bool
td_worker_post(TdFrameKind kind, TdReader payload)
{
	bool		taken = false;

	pthread_mutex_lock(&lock);
	if (request == 0 && !streaming)
	{
		td_buffer_append(&next_payload, payload.p, (size_t) (payload.end - payload.p));
		if (next_payload.failed)
			td_die("out of memory");
		request = kind;
		taken = true;
		pthread_cond_signal(&more);
	}
	pthread_mutex_unlock(&lock);
	return taken;
}

/* Remembers what is durable in the server; the stream tells the source between two polls. */
void
td_worker_ack(const char *position)
{
	pthread_mutex_lock(&lock);
	free(ack);
	ack = strdup(position);
	pthread_mutex_unlock(&lock);
}

/* Opens a connection with the config of OPEN. */
TdStatus
td_worker_open(TdCall *call, TdConn **result, TdError *err)
{
	TdStatus	status;

	*result = NULL;
	td_call_begin(call, "open", 0);
	status = api.open(&host, &config, result, err);
	td_call_end(call);
	if (status == TD_OK && *result)
		return TD_OK;
	if (status == TD_OK)
		td_error_set(err, "38000", "connector \"%s\" opened nothing", api.name);
	td_error_normalize(err, "open");
	return TD_FAIL;
}

/* Makes an error of the connector one that the server can raise, whatever it is. */
void
td_error_normalize(TdError *err, const char *where)
{
	bool		good = true;

	err->message[sizeof(err->message) - 1] = '\0';
	err->detail[sizeof(err->detail) - 1] = '\0';
	err->hint[sizeof(err->hint) - 1] = '\0';
	for (int i = 0; i < 5; i++)
		good = good && ((err->sqlstate[i] >= '0' && err->sqlstate[i] <= '9') || (err->sqlstate[i] >= 'A' && err->sqlstate[i] <= 'Z'));
	if (!good || err->sqlstate[5] != '\0' || strncmp(err->sqlstate, "00000", 5) == 0)
	{
		memcpy(err->sqlstate, "38000", 6);
		err->retryable = false;
	}
	if (err->message[0] == '\0')
		snprintf(err->message, sizeof(err->message), "connector \"%s\" gave no reason for a failure in %s", api.name, where);
}

/* ---- answers ---- */

/* The request has failed in the connector. */
static void
fail(TdError *err, const char *where)
{
	td_error_normalize(err, where);
	td_queue_push_error(err);
}

/* The request has failed here: SQLSTATE and message. */
static void
fail_here(const char *sqlstate, const char *message)
{
	TdError		err;

	td_error_set(&err, sqlstate, "%s", message);
	td_queue_push_error(&err);
}

/* OK with one string, or (NULL) with nothing. */
static void
answer_ok(const char *text)
{
	TdBuffer	b = {0};

	if (text)
		td_wire_str(&b, text);
	td_queue_push(TD_MSG_OK, &b);
}

/* ---- requests ---- */

/* Reads the options of OPEN; *given is malloc'ed, with what was read before damage. */
static bool
read_given(TdReader *payload, TdGiven **given, uint32_t *n)
{
	uint32_t	count;

	*given = NULL;
	*n = 0;
	if (!td_wire_get_u32(payload, &count) || count > 10000)
		return false;
	*given = calloc((size_t) count + 1, sizeof(TdGiven));
	if (*given == NULL)
		return false;
	for (; *n < count; (*n)++)
		if (!td_wire_get_str(payload, &(*given)[*n].name) || !td_wire_get_str(payload, &(*given)[*n].value))
			return false;
	return payload->p == payload->end;
}

/* Frees them, values overwritten. */
static void
free_given(TdGiven *given, uint32_t n)
{
	for (uint32_t i = 0; given && i <= n; i++)
	{
		if (given[i].value)
			explicit_bzero(given[i].value, strlen(given[i].value));
		free(given[i].name);
		free(given[i].value);
	}
	free(given);
}

/* Loads the connector, once. */
static bool
load(TdError *err)
{
	if (!loaded)
	{
		td_call_begin(&td_worker_call, "td_connector_entry", 0);
		loaded = td_load_connector(connector_name, connector_path, &api, err);
		td_call_end(&td_worker_call);
	}
	return loaded;
}

/* Loads and opens with the options given, and says what was opened. */
static void
open_with(const TdGiven *given, uint32_t n)
{
	TdBuffer	b = {0};
	TdError		err;

	memset(&err, 0, sizeof(err));
	td_redact_forget();
	td_config_free(&config);
	if (!load(&err) || !td_options_resolve(&api, given, n, &config, &err))
	{
		td_queue_push_error(&err);
		return;
	}
	td_redact_learn(&api, &config);
	if (td_worker_open(&td_worker_call, &conn, &err) != TD_OK)
	{
		conn = NULL;
		td_queue_push_error(&err);
		return;
	}
	td_wire_str(&b, api.name);
	td_wire_str(&b, api.version);
	td_wire_u64(&b, api.caps);
	td_queue_push(TD_MSG_OK, &b);
}

/* OPEN: version, time limit, options. */
static void
serve_open(TdReader *payload)
{
	uint32_t	version;
	uint32_t	limit;
	TdGiven    *given = NULL;
	uint32_t	n = 0;
	TdError		err;

	if (conn)
		fail_here("08P01", "the connection is open already");
	else if (!td_wire_get_u32(payload, &version) || !td_wire_get_u32(payload, &limit))
		fail_here("08P01", "damaged request");
	else if (version != TD_PROTOCOL_VERSION)
	{
		td_error_set(&err, "38000", "tapdata-host and the server are of different versions");
		td_error_detail(&err, "The server speaks version %u of the protocol, tapdata-host version %u.", version, TD_PROTOCOL_VERSION);
		td_error_hint(&err, "Restart the server after an installation.");
		td_queue_push_error(&err);
	}
	else if (!read_given(payload, &given, &n))
		fail_here("08P01", "damaged request");
	else
	{
		atomic_store(&limit_ms, limit > 0 && limit < INT32_MAX ? (int) limit : DEFAULT_LIMIT_MS);
		open_with(given, n);
	}
	free_given(given, n);
}

/* One line of CHECK. */
static void
report_item(void *arg, const char *item, bool ok, const char *detail, const char *hint)
{
	char		text[2048];
	TdBuffer	b = {0};

	(void) arg;
	td_wire_str(&b, item);
	td_wire_u8(&b, ok);
	snprintf(text, sizeof(text), "%s", detail ? detail : "");
	td_redact(text, sizeof(text));
	td_wire_str(&b, text);
	td_wire_str(&b, hint);
	td_queue_push(TD_MSG_ITEM, &b);
}

/* CHECK */
static void
serve_check(TdReader *payload)
{
	TdError		err;
	TdStatus	status;

	(void) payload;
	memset(&err, 0, sizeof(err));
	td_call_begin(&td_worker_call, "check", 0);
	status = api.check(conn, report_item, NULL, &err);
	td_call_end(&td_worker_call);
	if (status == TD_FAIL)
		fail(&err, "check");
	else
		answer_ok(NULL);
}

/* One table of DISCOVER. */
static void
report_table(void *arg, const TdTableInfo *table)
{
	TdError		problem = table->problem;
	TdBuffer	schema = {0};
	TdBuffer	b = {0};

	(void) arg;
	td_redact_error(&problem);
	td_write_schema(&schema, table->schema);
	td_wire_u64(&b, (uint64_t) table->row_estimate);
	td_wire_bytes(&b, schema.data, schema.len);
	td_wire_error(&b, &problem);
	td_buffer_free(&schema);
	td_queue_push(TD_MSG_TABLE, &b);
}

/* DISCOVER: pattern */
static void
serve_discover(TdReader *payload)
{
	char	   *pattern;
	TdError		err;
	TdStatus	status;

	if (!td_wire_get_str(payload, &pattern))
	{
		fail_here("08P01", "damaged request");
		return;
	}
	memset(&err, 0, sizeof(err));
	td_call_begin(&td_worker_call, "discover", 0);
	status = api.discover(conn, pattern, report_table, NULL, &err);
	td_call_end(&td_worker_call);
	free(pattern);
	if (status == TD_FAIL)
		fail(&err, "discover");
	else
		answer_ok(NULL);
}

/* POSITION */
static void
serve_position(TdReader *payload)
{
	char	   *position = NULL;
	TdError		err;
	TdStatus	status;

	(void) payload;
	memset(&err, 0, sizeof(err));
	td_call_begin(&td_worker_call, "position", 0);
	status = api.position(conn, &position, &err);
	td_call_end(&td_worker_call);
	if (status == TD_OK && position)
		answer_ok(position);
	else
		fail(&err, "position");
	free(position);
}

/* COVERS: reached, wanted */
static void
serve_covers(TdReader *payload)
{
	char	   *reached = NULL;
	char	   *wanted = NULL;
	bool		covers = false;
	TdBuffer	b = {0};
	TdError		err;
	TdStatus	status;

	if (!td_wire_get_str(payload, &reached) || !td_wire_get_str(payload, &wanted))
	{
		fail_here("08P01", "damaged request");
		free(reached);
		return;
	}
	memset(&err, 0, sizeof(err));
	td_call_begin(&td_worker_call, "position_covers", 0);
	status = api.position_covers(reached, wanted, &covers, &err);
	td_call_end(&td_worker_call);
	free(reached);
	free(wanted);
	if (status != TD_OK)
	{
		fail(&err, "position_covers");
		return;
	}
	td_wire_u32(&b, covers);
	td_queue_push(TD_MSG_OK, &b);
}

/* Reads the started snapshot to its end. */
static void
read_snapshot(void)
{
	bool		ended = false;
	TdStatus	status = TD_OK;
	TdBuffer	batch;
	TdError		err;

	memset(&err, 0, sizeof(err));
	while (status != TD_DONE)
	{
		bool		here = false;

		td_queue_buffer(&batch);
		batch.limit = TD_BATCH_LIMIT;
		td_call_begin(&td_worker_call, "snapshot_read", TD_POLL_MS);
		status = api.snapshot_read(conn, TD_POLL_MS, &batch, &err);
		td_call_end(&td_worker_call);
		if (status == TD_FAIL)
			td_error_normalize(&err, "snapshot_read");
		else if (!td_forward(&batch, false, &here, "snapshot_read", &err))
			status = TD_FAIL;
		td_buffer_free(&batch);
		if (status == TD_FAIL)
		{
			td_queue_push_error(&err);
			return;
		}
		ended = ended || here;
	}
	if (ended)
		answer_ok(NULL);
	else
	{
		td_error_set(&err, "38000", "connector \"%s\" ended a table without an END record", api.name);
		td_error_hint(&err, "This is a bug in the connector.");
		td_queue_push_error(&err);
	}
}

/* SNAPSHOT: database, table, cursor, limit */
static void
serve_snapshot(TdReader *payload)
{
	char	   *text[3] = {NULL, NULL, NULL};
	char	   *position = NULL;
	uint64_t	limit = 0;
	TdError		err;

	memset(&err, 0, sizeof(err));
	if (!td_wire_get_str(payload, &text[0]) || !td_wire_get_str(payload, &text[1]) || !td_wire_get_str(payload, &text[2]) ||
		!td_wire_get_u64(payload, &limit))
		fail_here("08P01", "damaged request");
	else
	{
		TdTableRef	table = {text[0], text[1], ""};
		TdStatus	status;

		td_call_begin(&td_worker_call, "snapshot_start", 0);
		status = api.snapshot_start(conn, &table, text[2], (int64_t) limit, &position, &err);
		td_call_end(&td_worker_call);
		if (status == TD_FAIL)
			fail(&err, "snapshot_start");
		else
		{
			answer_ok(position ? position : "");
			read_snapshot();
		}
	}
	free(position);
	for (int i = 0; i < 3; i++)
		free(text[i]);
}

/* Tells the source what is durable, if there is news. */
static bool
pass_ack(TdError *err)
{
	char	   *position;
	TdStatus	status = TD_OK;

	pthread_mutex_lock(&lock);
	position = ack;
	ack = NULL;
	pthread_mutex_unlock(&lock);
	if (position && api.stream_ack)
	{
		td_call_begin(&td_worker_call, "stream_ack", 0);
		status = api.stream_ack(conn, position, err);
		td_call_end(&td_worker_call);
	}
	free(position);
	if (status == TD_FAIL)
		td_error_normalize(err, "stream_ack");
	return status != TD_FAIL;
}

/* Streams until something fails. */
static void
run_stream(TdError *err)
{
	TdStatus	status = TD_OK;
	TdBuffer	batch;
	bool		ended;

	while (status != TD_FAIL && pass_ack(err))
	{
		td_queue_buffer(&batch);
		batch.limit = TD_BATCH_LIMIT;
		td_call_begin(&td_worker_call, "stream_poll", TD_POLL_MS);
		status = api.stream_poll(conn, TD_POLL_MS, &batch, err);
		td_call_end(&td_worker_call);
		if (status == TD_FAIL)
			td_error_normalize(err, "stream_poll");
		else if (!td_forward(&batch, true, &ended, "stream_poll", err))
			status = TD_FAIL;
		else if (status == TD_DONE)
		{
			td_error_set(err, "38000", "connector \"%s\" ended its stream", api.name);
			status = TD_FAIL;
		}
		td_buffer_free(&batch);
	}
}

/* Reads the tables of STREAM into one malloc'ed array; strings are malloc'ed too. */
static bool
read_tables(TdReader *payload, TdTableRef **tables, uint32_t *n)
{
	uint32_t	count;

	if (!td_wire_get_u32(payload, &count) || count > TABLES_MAX)
		return false;
	*tables = calloc((size_t) count + 1, sizeof(TdTableRef));
	if (*tables == NULL)
		return false;
	for (; *n < count; (*n)++)
	{
		TdTableRef *t = &(*tables)[*n];

		if (!td_wire_get_str(payload, (char **) &t->database) || !td_wire_get_str(payload, (char **) &t->table) ||
			!td_wire_get_str(payload, (char **) &t->skip_to))
			return false;
	}
	return true;
}

/* Frees them, also a last one that was read in part. */
static void
free_tables(TdTableRef *tables, uint32_t n)
{
	for (uint32_t i = 0; tables && i <= n; i++)
	{
		free((char *) tables[i].database);
		free((char *) tables[i].table);
		free((char *) tables[i].skip_to);
	}
	free(tables);
}

/* No request may come while a stream runs, for it would never be answered. */
static void
set_streaming(bool value)
{
	pthread_mutex_lock(&lock);
	streaming = value;
	pthread_mutex_unlock(&lock);
}

/* STREAM: position, tables */
static void
serve_stream(TdReader *payload)
{
	char	   *position = NULL;
	TdTableRef *tables = NULL;
	uint32_t	n = 0;
	TdError		err;

	memset(&err, 0, sizeof(err));
	if (!td_wire_get_str(payload, &position) || !read_tables(payload, &tables, &n))
		fail_here("08P01", "damaged request");
	else
	{
		TdStatus	status;

		td_call_begin(&td_worker_call, "stream_start", 0);
		status = api.stream_start(conn, position, tables, n, &err);
		td_call_end(&td_worker_call);
		if (status == TD_FAIL)
			fail(&err, "stream_start");
		else
		{
			set_streaming(true);
			td_marks_begin(position);
			answer_ok(NULL);
			run_stream(&err);
			td_marks_end();
			set_streaming(false);
			td_queue_push_error(&err);
		}
	}
	free_tables(tables, n);
	free(position);
}

/* ---- the thread ---- */

/* Runs one request. */
static void
serve(TdFrameKind kind)
{
	TdReader	payload = {request_payload.data, request_payload.data + request_payload.len};
	TdError		err;

	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
	{
		if (handlers[i].kind != kind)
			continue;
		if (kind != TD_MSG_OPEN && conn == NULL)
			fail_here("08003", "the connection is not open");
		else if ((api.caps & handlers[i].needs) != handlers[i].needs)
		{
			td_error_set(&err, "0A000", "connector \"%s\" can't %s", api.name, handlers[i].what);
			td_queue_push_error(&err);
		}
		else
			handlers[i].handler(&payload);
		return;
	}
	fail_here("08P01", "unknown request");
}

/* The worker: waits for a request, runs it. */
static void *
worker_main(void *arg)
{
	(void) arg;
	for (;;)
	{
		TdFrameKind kind;

		pthread_mutex_lock(&lock);
		while (request == 0)
			pthread_cond_wait(&more, &lock);
		kind = request;
		request = 0;
		request_payload = next_payload;
		memset(&next_payload, 0, sizeof(next_payload));
		pthread_mutex_unlock(&lock);
		serve(kind);
		if (request_payload.data)
			explicit_bzero(request_payload.data, request_payload.cap);
		td_buffer_free(&request_payload);
	}
	return NULL;
}

/* Starts the thread; the connector is loaded by it, at OPEN. */
void
td_worker_start(const char *name, const char *path)
{
	pthread_t	thread;

	connector_name = name;
	connector_path = path;
	api.name = name;
	td_queue_init();
	if (pthread_create(&thread, NULL, worker_main, NULL) != 0)
		td_die("could not start a thread");
}
