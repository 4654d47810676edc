/*-------------------------------------------------------------------------
 *
 * scope.c
 *		The rights and settings under which a view's statements run.
 *
 * NOTES
 *		View worker, fill worker, and backends in check_view, explain_view and
 *		adopt_database.  Between enter and leave everything is done as the view's
 *		owner in a restricted operation: what runs may neither keep a thing in the
 *		session nor get back to the superuser.  Nested settings cost a microsecond
 *		or two each, so one that is in force already is not set again, and the view
 *		worker has those of a tick all the time.
 *
 *		The timeout of a view is the server's own statement_timeout: its signal
 *		cancels what runs with 57014.  A timer that fires while it is taken down
 *		leaves a cancel request behind, which is dropped: it would hit whatever
 *		comes next.
 *
 *		The transaction is read only within a scope: what a function writes, by
 *		lying about its volatility, would bear the origins of our workers, which
 *		no capture reads, so views over the tables that it writes to would never
 *		hear of it.  PostgreSQL lets nobody take that back once there is a
 *		snapshot.  What the view's own rows are written with (store_write.c) is
 *		below the executor, and not asked.
 *
 *		What a function can keep in the session all the same, by lying about its
 *		volatility, are advisory locks of the session: the view worker gives them back
 *		after each transaction in which views were run (td_scope_forget).
 *
 * IDENTIFICATION
 *		src/view/maintain/scope.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "view/maintain/run_internal.h"
#include "workers/workers.h"

#define OUTERMOST 2				/* nest level of settings in a transaction that has changed none */
#define OWN_PATH "pg_catalog, pg_temp"

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

/* What the texts of our statements are written for, and what must not cut a result. */
static const Setting basic_settings[] = {
	{"search_path", OWN_PATH},
	{"row_security", "off"},
	{"extra_float_digits", "1"},
	{"transform_null_equals", "off"},
	{"array_nulls", "on"},
	{"gin_fuzzy_search_limit", "0"},
};

/* All names qualified, no digit lost, and dates that are read in the same way whatever DateStyle is then. */
static const Setting text_settings[] = {
	{"search_path", OWN_PATH},
	{"extra_float_digits", "1"},
	{"DateStyle", "ISO"},
	{"IntervalStyle", "postgres"},
};

/* How a small delta is best planned. */
static const Setting tick_settings[] = {
	{"jit", "off"},
	{"max_parallel_workers_per_gather", "0"},
	{"random_page_cost", "1.1"},
};

/* The first rows of a table come by an index, whatever the planner thinks of its size. */
static const Setting order_settings[] = {
	{"enable_indexscan", "on"},
	{"enable_indexonlyscan", "on"},
	{"enable_incremental_sort", "on"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"enable_sort", "off"},
};

/* Until the end of the scope, unless it is so already. */
static void
set(const char *name, const char *value)
{
	const char *now = GetConfigOption(name, true, false);

	if (now && strcmp(now, value) == 0)
		return;
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Those that the view has not pinned. */
static void
set_all(const Setting *settings, int n, List *pinned)
{
	for (int i = 0; i < n; i++)
		if (!td_pairs_has(pinned, settings[i].name))
			set(settings[i].name, settings[i].value);
}

/* Our texts count on finding what is in pg_catalog there, so it comes first, wherever the user had it. */
static void
set_pinned(List *pinned)
{
	ListCell   *lc;

	foreach(lc, pinned)
	{
		TdPair	   *pair = lfirst(lc);

		if (pair->value && strcmp(pair->name, "search_path") == 0)
			set(pair->name, psprintf("pg_catalog%s%s", pair->value[0] ? ", " : "", pair->value));
		else if (pair->value)
			set(pair->name, pair->value);
	}
}

/* A timeout that runs already (a user's own, in a backend) stays. */
static void
arm(TdViewScope *scope)
{
	if (scope->timeout_ms <= 0 || get_timeout_active(STATEMENT_TIMEOUT))
		return;
	scope->armed = true;
	scope->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), scope->timeout_ms);
	enable_timeout_after(STATEMENT_TIMEOUT, scope->timeout_ms);
}

static void
disarm(TdViewScope *scope)
{
	if (!scope->armed)
		return;
	scope->armed = false;
	disable_timeout(STATEMENT_TIMEOUT, true);
	if (get_timeout_indicator(STATEMENT_TIMEOUT, true))
		QueryCancelPending = false;
}

static void
set_work_mem(void (*set_one) (const char *name, const char *value))
{
	char		memory[16];

	snprintf(memory, sizeof(memory), "%d", Max(td_worker_memory / 2, 64));
	set_one("work_mem", memory);
}

static int	settled_memory = 0;		/* tapdata.worker_memory then; 0 = this is not the view worker */

static void
set_for_good(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/* The view worker, once: a tick enters a scope for each view that has changed. */
void
td_scope_settle(void)
{
	for (int i = 0; i < lengthof(basic_settings); i++)
		set_for_good(basic_settings[i].name, basic_settings[i].value);
	for (int i = 0; i < lengthof(tick_settings); i++)
		set_for_good(tick_settings[i].name, tick_settings[i].value);
	set_work_mem(set_for_good);
	settled_memory = td_worker_memory;
}

void
td_scope_enter(TdViewScope *scope, const TdView *view, bool tick)
{
	bool		settled;

	memset(scope, 0, sizeof(*scope));
	GetUserIdAndSecContext(&scope->user, &scope->sec_context);
	SetUserIdAndSecContext(view->owner, scope->sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	scope->guc_level = NewGUCNestLevel();
	scope->read_only = XactReadOnly;
	XactReadOnly = true;
	settled = settled_memory == td_worker_memory && scope->guc_level == OUTERMOST;
	if (!settled)
		set_all(basic_settings, lengthof(basic_settings), view->settings);
	if (tick && !settled)
	{
		set_all(tick_settings, lengthof(tick_settings), view->settings);
		set_work_mem(set);
	}
	set_pinned(view->settings);
	scope->timeout_ms = tick ? view->timeout_ms : 0;
	arm(scope);
}

/* An earlier timeout than the view's, for what can be given up; none where a user's own runs. */
void
td_scope_limit(TdViewScope *scope, int ms)
{
	TimestampTz limit = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

	if (scope->armed ? limit >= scope->deadline : get_timeout_active(STATEMENT_TIMEOUT))
		return;
	if (!scope->armed)
		scope->deadline = DT_NOEND;
	scope->armed = true;
	scope->limit = limit;
	enable_timeout_at(STATEMENT_TIMEOUT, limit);
}

/* The view has its whole timeout from here on: what was given up is not its fault. */
void
td_scope_unlimit(TdViewScope *scope)
{
	if (scope->limit == 0)
		return;
	scope->limit = 0;
	disarm(scope);
	arm(scope);
}

/* In PG_CATCH: was it the limit? */
bool
td_scope_limit_passed(TdViewScope *scope)
{
	return scope->limit != 0 && geterrcode() == ERRCODE_QUERY_CANCELED && GetCurrentTimestamp() >= scope->limit;
}

/* Within a scope: commands of our own that write, which run nothing of a user's, are let through until it is said otherwise. */
void
td_scope_write(const TdViewScope *scope, bool on)
{
	XactReadOnly = !on || scope->read_only;
}

/* Within a scope, of a tick. */
void
td_scope_by_order(void)
{
	for (int i = 0; i < lengthof(order_settings); i++)
		set(order_settings[i].name, order_settings[i].value);
}

/* Within a scope, while expressions are written as text.  To be ended by AtEOXact_GUC. */
int
td_scope_write_texts(void)
{
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(text_settings); i++)
		set(text_settings[i].name, text_settings[i].value);
	return level;
}

void
td_scope_leave(TdViewScope *scope)
{
	disarm(scope);
	AtEOXact_GUC(false, scope->guc_level);
	XactReadOnly = scope->read_only;
	SetUserIdAndSecContext(scope->user, scope->sec_context);
}

/* In PG_CATCH: was it the view's own timeout?  User and settings are left to the abort of the (sub)transaction. */
bool
td_scope_abort(TdViewScope *scope)
{
	bool		late = scope->armed && geterrcode() == ERRCODE_QUERY_CANCELED && GetCurrentTimestamp() >= scope->deadline;

	disarm(scope);
	return late;
}

/* Between transactions, in the view worker; ours are none. */
void
td_scope_forget(void)
{
	LockReleaseSession(USER_LOCKMETHOD);
}
