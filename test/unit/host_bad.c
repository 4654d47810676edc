/*-------------------------------------------------------------------------
 *
 * host_bad.c
 *		The real program tapdata-host with every bad connector.
 *
 * test/unit/host_bad.c
 *
 *-------------------------------------------------------------------------
 */
#include "host_client.h"

#define LIMIT_MS 400

static const char *const none[] = {NULL};
static const char *const tables[] = {"t"};

/* Connectors that are refused when they are loaded. */
static void
test_refused(void)
{
	static const struct
	{
		const char *name;
		const char *sqlstate;
		const char *message;
		const char *detail;
	}			cases[] =
	{
		{"bad_magic", "38000", "another connector ABI", "magic 0x54444330, this server 0x54444331"},
		{"bad_minor", "38000", "needs a newer tapdata", "ABI 1.2, this server has ABI 1.0"},
		{"bad_slot", "38000", "lacks the function \"stream_poll\"", "capability \"stream\""},
		{"bad_nothing", "42704", "does not exist", "bad_nothing.so"},
		{"../null", "42602", "invalid connector name", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Client		c;
		TdError		err;

		client_start(&c, cases[i].name);
		ok(client_open(&c, LIMIT_MS, none) == TD_MSG_ERROR, "%s is refused", cases[i].name);
		get_error(&c, &err);
		is(err.sqlstate, cases[i].sqlstate, "sqlstate");
		has(err.message, cases[i].message, "message");
		has(err.detail, cases[i].detail, "detail");
		ok(!err.retryable, "not to be tried again");
		client_stop(&c);
	}
}

/* Opens and begins to stream. */
static int
start_stream(Client *c, const char *name, const char *const *options)
{
	int			kind;

	client_start(c, name);
	if (client_open(c, LIMIT_MS, options) != TD_MSG_OK)
		return -2;
	send_stream(c, "1", 1, tables);
	kind = client_receive(c, 5);
	if (kind == -1)
		return -1;				/* a crash may outrun the answer */
	if (kind != TD_MSG_OK)
		return -3;
	return client_receive(c, 10);
}

static void
test_crash(void)
{
	Client		c;

	ok(start_stream(&c, "bad_crash", none) == -1, "a crash in stream_poll closes the socket");
	client_stop(&c);
	ok(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGSEGV, "by SIGSEGV");
	client_start(&c, "bad_crash_open");
	ok(client_open(&c, LIMIT_MS, none) == -1, "so does one in open");
	client_stop(&c);
	ok(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGSEGV, "by SIGSEGV");
}

static void
test_hang(void)
{
	Client		c;
	TdError		err;
	double		from = seconds();

	ok(start_stream(&c, "bad_hang", none) == TD_MSG_ERROR, "a hanging stream_poll is an error");
	get_error(&c, &err);
	is(err.sqlstate, "38000", "sqlstate");
	is(err.message, "connector \"bad_hang\" hangs in stream_poll", "message");
	ok(!err.retryable, "not to be tried again");
	ok(seconds() - from < 3, "in time");
	ok(client_receive(&c, 2) == -1, "then the host ends");
	client_stop(&c);
	ok(WIFEXITED(c.status) && WEXITSTATUS(c.status) == 1, "with exit status 1");

	client_start(&c, "bad_hang_open");
	ok(client_open(&c, LIMIT_MS, none) == TD_MSG_ERROR, "a hanging open is an error");
	get_error(&c, &err);
	is(err.message, "connector \"bad_hang_open\" hangs in open", "message");
	client_stop(&c);

	/* with a long limit: it answers a ping, and stops at once */
	client_start(&c, "bad_hang");
	client_open(&c, 60000, none);
	send_stream(&c, "1", 1, tables);
	client_receive(&c, 5);
	client_send(&c, TD_MSG_PING, NULL);
	ok(client_receive(&c, 2) == TD_MSG_PONG, "a ping is answered while the connector hangs");
	from = client_stop(&c);
	ok(from >= 0 && from < 1, "and the stop takes %.3f s", from);
}

static void
test_flood(void)
{
	static const char *const batch[] = {"kind=batch", NULL};
	Client		c;
	TdError		err;
	size_t		got = 0;

	client_start(&c, "bad_flood");
	client_open(&c, 20000, batch);
	send_stream(&c, "1", 1, tables);
	client_receive(&c, 5);
	ok(client_receive(&c, 30) == TD_MSG_ERROR, "an endless batch is an error");
	get_error(&c, &err);
	is(err.sqlstate, "54000", "sqlstate");
	has(err.message, "connector \"bad_flood\" floods", "message");
	client_stop(&c);

	client_start(&c, "bad_flood");
	client_open(&c, 20000, none);
	send_stream(&c, "1", 1, tables);
	client_receive(&c, 5);
	while (got < (size_t) 200 << 20 && client_receive(&c, 10) == TD_MSG_DATA)
		got += (size_t) (c.in.end - c.in.p);
	ok(got >= (size_t) 200 << 20, "an endless transaction is passed on: the server has the limit");
	ok(client_stop(&c) >= 0, "and it stops");
}

static void
test_garbage(void)
{
	static const char *const kinds[] = {"kind=size", "kind=op", "kind=mark"};
	static const char *const end[] = {"kind=end", NULL};
	Client		c;
	TdError		err;

	for (int i = 0; i < 3; i++)
	{
		const char *const options[] = {kinds[i], NULL};

		ok(start_stream(&c, "bad_garbage", options) == TD_MSG_ERROR, "damaged records, %s", kinds[i]);
		get_error(&c, &err);
		is(err.sqlstate, "38000", "sqlstate");
		has(err.message, "connector \"bad_garbage\" returned damaged records from stream_poll", "message");
		client_stop(&c);
	}
	client_start(&c, "bad_garbage");
	client_open(&c, LIMIT_MS, end);
	send_snapshot(&c, "t", "", -1);
	client_receive(&c, 5);
	while (client_receive(&c, 5) == TD_MSG_DATA)
		;
	ok(c.kind == TD_MSG_ERROR, "a snapshot without its end");
	get_error(&c, &err);
	is(err.sqlstate, "38000", "sqlstate");
	client_stop(&c);
}

static void
test_leak(void)
{
	static const char *const options[] = {"password=hunter2!", NULL};
	Client		c;
	TdError		err;

	client_start(&c, "bad_leak");
	client_open(&c, LIMIT_MS, options);
	client_send(&c, TD_MSG_CHECK, NULL);
	ok(client_receive(&c, 5) == TD_MSG_ITEM, "an item");
	get_str(&c);
	c.in.p++;
	is(get_str(&c), "logged in with ***", "with its secret masked");
	ok(client_receive(&c, 5) == TD_MSG_LOG, "a log line");
	is(get_str(&c), "info", "its level");
	is(get_str(&c), "the password is ***", "with its secret masked");
	ok(client_receive(&c, 5) == TD_MSG_OK, "then the end");
	send_stream(&c, "1", 1, tables);
	client_receive(&c, 5);
	ok(client_receive(&c, 5) == TD_MSG_ERROR, "an error");
	get_error(&c, &err);
	is(err.sqlstate, "38000", "what is no SQLSTATE becomes one");
	is(err.message, "access with \"***\" and again \"***\" refused ?", "secrets masked, bytes made UTF-8");
	is(err.detail, "PASSWORD=***", "also in the detail");
	ok(client_stop(&c) >= 0, "stops");
}

int
main(void)
{
	test_refused();
	test_crash();
	test_hang();
	test_flood();
	test_garbage();
	test_leak();
	return done_testing();
}
