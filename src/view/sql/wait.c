/*-------------------------------------------------------------------------
 *
 * wait.c
 *		wait_view: returns once a view reflects every commit before the call.
 *
 * NOTES
 *		Sessions.  The group's worker answers through shared memory (a mark); the
 *		status is read again and again beside that, so that a view which fails is
 *		reported at once.  No catalog row is locked meanwhile.
 *
 *		A new definition (or_replace) that was there before the call is a commit
 *		before the call: it is waited for first, unless the caller wants the rows only.
 *
 * IDENTIFICATION
 *		src/view/sql/wait.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "compat/compat.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

#define LOOK_AGAIN_MS 200		/* at the status, while a mark is awaited */
#define NO_WORKER_MS 20			/* until a worker is there to be asked */
#define BEHIND_MS 1000			/* capture: from then on it is said */

typedef bool (*TdLook) (const TdView *view, int32 arg);

static bool look_until(TdLook look, const TdView *view, int32 arg, TimestampTz end);
static bool wait_once(int32 group, uint64 *number, int left_ms, TimestampTz *reached);
static bool await_definition(const TdView *view, TimestampTz end);
static void nap(int ms);
static void raise_group_failure(const TdGroup *group) pg_attribute_noreturn();
static void raise_timeout(const TdView *view) pg_attribute_noreturn();
static bool streams(const TdView *view, int32 unused);
static bool has_definition(const TdView *view, int32 definition);
static void require_group(int32 id, const TdView *view);
static bool may_see_errors(const TdView *view);

PG_FUNCTION_INFO_V1(td_sql_wait_view);

/* tapdata.wait_view(view, timeout, replacing) */
Datum
td_sql_wait_view(PG_FUNCTION_ARGS)
{
	TdView	   *view = td_view_named(td_required_oid(fcinfo, 0, "view"));
	TimestampTz called = GetCurrentTimestamp();
	TimestampTz reached = 0;
	TimestampTz end;

	td_workers_require();
	td_view_require_reader(view);
	td_require_clean_transaction("wait_view", "The view");
	end = PG_ARGISNULL(1) ? TimestampTzPlusMilliseconds(called, 60 * 1000) :
		DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(called), PG_GETARG_DATUM(1)));
	if ((td_flag(fcinfo, 2) && !await_definition(view, end)) || !td_view_catch_up(view, end, &reached))
		raise_timeout(view);
	PG_RETURN_TIMESTAMPTZ(reached != 0 ? reached : called);
}

/* Waits until the view reflects every commit before the call; false = not until `end`.  Raises when it has failed. */
bool
td_view_catch_up(TdView *view, TimestampTz end, TimestampTz *reached)
{
	TimestampTz unused;
	uint64		number = 0;
	bool		done = false;

	while (!done)
	{
		bool		streaming = td_view_streaming(view, end);
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (!streaming || left <= 0)
			return false;
		done = wait_once(view->group, &number, Min(left, LOOK_AGAIN_MS), reached ? reached : &unused);
		if (done && !td_view_streaming(view, 0))	/* it is being computed anew */
		{
			done = false;
			number = 0;
		}
	}
	return true;
}

bool
td_group_catch_up(int32 group, TimestampTz end)
{
	TimestampTz unused;
	uint64		number = 0;
	long		left;

	do
	{
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (wait_once(group, &number, Min(left, LOOK_AGAIN_MS), &unused) || td_group_load(group) == NULL)
			return true;
	} while (left > 0);
	return false;
}

/* Waiting tells when something arrived: that is for those who may read the view. */
void
td_view_require_reader(const TdView *view)
{
	if (!has_privs_of_role(GetUserId(), view->owner) && pg_class_aclcheck(view->relation, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(view->relation));
}

/* Waits until the view streams; false = not until `end` (0 = only a look).  Raises when it has failed, its group has, or it is gone. */
bool
td_view_streaming(const TdView *view, TimestampTz end)
{
	return look_until(streams, view, 0, end);
}

/* The new definition that waits for its place, if there is one, comes to it; false = not until `end`.  Raises when it can't. */
static bool
await_definition(const TdView *view, TimestampTz end)
{
	TdView	   *new = td_view_replacement(view);

	return new == NULL || look_until(has_definition, view, new->id, end);
}

/* Looks again and again, at least once; false = not until `end`.  However long it takes, no memory is left behind. */
static bool
look_until(TdLook look, const TdView *view, int32 arg, TimestampTz end)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "tapdata status", ALLOCSET_SMALL_SIZES);
	bool		there;

	for (;;)
	{
		long		left;

		MemoryContextSwitchTo(context);
		there = look(view, arg);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(context);
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (there || left <= 0)
			break;
		nap(Min(left, NO_WORKER_MS));
	}
	MemoryContextDelete(context);
	return there;
}

void
td_view_raise_dropped(const TdView *view)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("view %s was dropped meanwhile", view->name)));
	pg_unreachable();
}

static bool
streams(const TdView *view, int32 unused)
{
	TdView	   *now = td_view_load(view->id);

	if (now == NULL)
		td_view_raise_dropped(view);
	if (strcmp(now->status, "failed") == 0)
		td_view_raise_failure(now);
	require_group(now->group, view);
	return strcmp(now->status, "streaming") == 0;
}

/* Its row is gone once it has taken over, or was given up. */
static bool
has_definition(const TdView *view, int32 definition)
{
	TdView	   *new = td_view_load(definition);

	if (new == NULL)
		return true;
	if (strcmp(new->status, "failed") == 0)
		td_view_raise_failure(new);
	require_group(new->group, view);
	return false;
}

static void
require_group(int32 id, const TdView *view)
{
	TdGroup    *group = td_group_load(id);

	if (group == NULL)
		td_view_raise_dropped(view);
	if (strcmp(group->status, "fenced") == 0)
		td_home_require();
	if (strcmp(group->status, "failed") == 0)
		raise_group_failure(group);
}

/* Asks for a mark (*number 0), or waits for the one asked for; true = reached. */
static bool
wait_once(int32 group, uint64 *number, int left_ms, TimestampTz *reached)
{
	TdMarkState state;
	TdError		err;

	if (*number == 0 && !td_worker_mark(TD_WORKER_VIEW, group, NULL, number))
	{
		nap(Min(left_ms, NO_WORKER_MS));
		return false;
	}
	state = td_worker_mark_wait(*number, left_ms, reached, &err);
	if (state == TD_MARK_FAILED)
		td_error_raise_own(&err);
	if (state == TD_MARK_LOST)
		*number = 0;
	return state == TD_MARK_REACHED;
}

static void
nap(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Errors may hold values of rows that a reader of the view may not see. */
static bool
may_see_errors(const TdView *view)
{
	return has_privs_of_role(GetUserId(), view->owner) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/* A view that has failed stays so until somebody refreshes it; a new definition of one (of the same name), until it is refreshed or given up. */
void
td_view_raise_failure(const TdView *view)
{
	TdError    *err = view->error;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 view->replaces ? errmsg("the new definition of view %s has failed, the old one goes on", view->name) :
			 errmsg("view %s has failed", view->name),
			 err == NULL ? 0 :
			 !may_see_errors(view) ? errdetail("Its last error has SQLSTATE %s.", err->sqlstate) :
			 err->detail[0] && strncmp(err->detail, TD_OUR_STATEMENT, strlen(TD_OUR_STATEMENT)) != 0 ?
			 errdetail_internal("%s: %s", err->message, err->detail) : errdetail_internal("%s", err->message),
			 err && err->hint[0] && may_see_errors(view) ? errhint("%s", err->hint) :
			 errhint("Mend the cause, then: SELECT tapdata.refresh_view(%s).%s", quote_literal_cstr(view->name),
					 view->replaces ? "  Or replace the view once more: with the old query, that one is kept." : "")));
	pg_unreachable();
}

static void
raise_group_failure(const TdGroup *group)
{
	TdError    *err = group->error;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the worker of view group \"%s\" has failed", group->name),
			 err ? errdetail_internal("%s", err->message) : 0,
			 err && err->hint[0] ? errhint("%s", err->hint) : errhint("Look at tapdata.views, tapdata.log and tapdata.doctor().")));
	pg_unreachable();
}

/* What has not been decoded can't be in the view; "" = that is not why. */
static const char *
capture_behind(const TdView *view)
{
	XLogRecPtr	lsn;
	TimestampTz at = td_group_decoded(view->group, &lsn);
	XLogRecPtr	inserted = GetXLogInsertRecPtr();

	if (at == 0 || lsn == InvalidXLogRecPtr || inserted <= lsn || !TimestampDifferenceExceeds(at, GetCurrentTimestamp(), BEHIND_MS))
		return "";
	return psprintf(".  Capture is behind: " UINT64_FORMAT " kB of the log are still to be decoded since %s", (inserted - lsn) / 1024, timestamptz_to_str(at));
}

static void
raise_timeout(const TdView *view)
{
	TdView	   *now = td_view_load(view->id);
	TdGroup    *group = td_group_load(view->group);
	TdError		none = {0};
	const char *standing = td_worker_runs(TD_WORKER_VIEW, view->group) ? NULL : td_database_standing(&none);
	bool		starved = none.message[0] != '\0';
	TdError    *err = starved ? &none : group && group->error ? group->error : now ? now->error : NULL;
	bool		of_worker = starved || (group && group->error);
	bool		stopped = group && strcmp(group->status, "stopped") == 0;
	TdView	   *new = td_view_replacement(view);

	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 err ? errmsg("view %s did not get there in time, the last error of %s is: %s", view->name, of_worker ? "its worker" : "it", err->message) :
			 errmsg("view %s did not get there in time", view->name),
			 errdetail("Its status is \"%s\", that of its worker \"%s\"%s%s.", now ? now->status : "gone", starved ? standing : group ? group->status : "gone",
					   new ? psprintf(", that of its new definition \"%s\"", new->status) : "", capture_behind(view)),
			 err && err->hint[0] ? errhint("%s", err->hint) :
			 stopped ? errhint("Its worker does not run: SELECT * FROM tapdata.doctor() WHERE NOT ok shows why.") :
			 errhint("Wait longer with timeout => '10 min', or look at tapdata.views and tapdata.doctor().")));
	pg_unreachable();
}
