/*-------------------------------------------------------------------------
 *
 * td_crash.c
 *		Kills a background worker, as kill -9 does, at a point of its work that is
 *		named; with it goes the server.
 *
 * NOTES
 *		Preloaded after tapdata.  The file "td_crash" in the data directory has the
 *		worker's type, the point and how often it is passed before; it is removed by
 *		who takes it.  Of view and fill workers only transactions in REPEATABLE READ
 *		count: those are ticks and fills.
 *
 *			statement	before a statement		written		after a statement
 *			precommit	before the commit		committed	visible, not flushed	flushed		visible and flushed
 *			confirmed	of a capture worker: its slot has been confirmed and saved (log_min_messages = debug1)
 *
 * test/unit/td_crash/td_crash.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

PG_MODULE_MAGIC;

#define PLAN "td_crash"

void		_PG_init(void);

static ExecutorStart_hook_type next_start = NULL;
static ExecutorEnd_hook_type next_end = NULL;
static emit_log_hook_type next_log = NULL;
static int	passed = 0;

/* Is that what the file asks for, and its turn? */
static bool
is_due(const char *point)
{
	FILE	   *plan = fopen(PLAN, "r");
	char		type[32];
	char		name[32];
	int			after = 0;
	bool		due;

	if (plan == NULL)
	{
		passed = 0;
		return false;
	}
	due = fscanf(plan, "%31s %31s %d", type, name, &after) == 3 && strcmp(name, point) == 0 &&
		strncmp(MyBgworkerEntry->bgw_type, "tapdata ", 8) == 0 && strcmp(MyBgworkerEntry->bgw_type + 8, type) == 0;
	fclose(plan);
	return due && passed++ >= after;
}

static void
pass(const char *point)
{
	if (MyBgworkerEntry == NULL || !is_due(point) || unlink(PLAN) != 0)
		return;
	if (strcmp(point, "flushed") == 0)
		XLogFlush(XactLastCommitEnd);
	kill(getpid(), SIGKILL);
}

static bool
in_tick(void)
{
	return MyBgworkerEntry != NULL && XactIsoLevel == XACT_REPEATABLE_READ;
}

static void
start(QueryDesc *query, int eflags)
{
	if (in_tick())
		pass("statement");
	(next_start ? next_start : standard_ExecutorStart) (query, eflags);
}

static void
end(QueryDesc *query)
{
	(next_end ? next_end : standard_ExecutorEnd) (query);
	if (in_tick())
		pass("written");
}

static void
xact(XactEvent event, void *arg)
{
	if (!in_tick() || !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
		pass("precommit");
	else if (event == XACT_EVENT_COMMIT)
	{
		pass("committed");
		pass("flushed");
	}
}

static void
logged(ErrorData *edata)
{
	if (MyBgworkerEntry != NULL && edata->message && strncmp(edata->message, "updated xmin", 12) == 0)
		pass("confirmed");
	if (next_log)
		next_log(edata);
}

void
_PG_init(void)
{
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
	next_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end;
	next_log = emit_log_hook;
	emit_log_hook = logged;
	RegisterXactCallback(xact, NULL);
}
