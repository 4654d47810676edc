/*-------------------------------------------------------------------------
 *
 * sql_wait.c
 *		wait_pipeline: returns once all that the source held at the call is
 *		applied.
 *
 * NOTES
 *		Sessions.  The worker answers through shared memory; the status is read
 *		again and again beside that, so that a pipeline which fails is reported
 *		at once and not at the time-out.  No catalog row is locked meanwhile.
 *
 * IDENTIFICATION
 *		src/catalog/sql_wait.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog_internal.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "workers/workers.h"

#define TD_LOOK_AGAIN_MS 200	/* at the status, while a mark is awaited */
#define TD_NO_WORKER_MS 20		/* until a worker is there to be asked */

static void require_reader(const TdPipeline *p);
static bool has_ended(const TdPipeline *p);
static void raise_failure(const TdPipeline *p) pg_attribute_noreturn();
static void raise_timeout(const TdPipeline *p, bool with_position) pg_attribute_noreturn();
static bool wait_once(int32 id, const char *position, bool *asked, uint64 *number, int left_ms, TimestampTz *reached);
static bool read_error(int32 id, TdError *err, TimestampTz *source_time);

PG_FUNCTION_INFO_V1(td_sql_wait_pipeline);

/* tapdata.wait_pipeline(name, timeout, source_position) */
Datum
td_sql_wait_pipeline(PG_FUNCTION_ARGS)
{
	char	   *name = td_required_text(fcinfo, 0, "name");
	char	   *position = td_optional_text(fcinfo, 2);
	TdPipeline *p;
	TimestampTz end;
	TimestampTz reached = 0;
	TimestampTz called = GetCurrentTimestamp();
	bool		asked = false;
	uint64		number = 0;
	TdError		err;

	td_workers_require();
	p = td_pipeline_find(name, false);
	require_reader(p);
	td_require_clean_transaction("wait_pipeline", "The pipeline");
	end = PG_ARGISNULL(1) ? TimestampTzPlusMilliseconds(called, 60 * 1000) :
		DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(called), PG_GETARG_DATUM(1)));
	while (!has_ended(p))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0)
			raise_timeout(p, position != NULL);
		if (wait_once(p->id, position, &asked, &number, Min(left, TD_LOOK_AGAIN_MS), &reached))
			break;
		p = td_pipeline_load(p->id);
		if (p == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("pipeline \"%s\" was dropped meanwhile", name)));
	}
	if (reached == 0)
		(void) read_error(p->id, &err, &reached);
	/* nothing has happened there since the load: all there was at the call is here */
	PG_RETURN_TIMESTAMPTZ(reached != 0 ? reached : called);
}

/* What this transaction wrote or has seen would not move on with the pipeline or view. */
void
td_require_clean_transaction(const char *function, const char *what)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("%s can't be used during recovery", function),
				 errdetail("This server is a standby: what it shows is what the primary had committed, no worker of tapdata runs here."),
				 errhint("Call it on the primary; or here, once this server was promoted.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s can't be used in a transaction of isolation level REPEATABLE READ or above", function),
				 errdetail("Such a transaction would not see what it has waited for."),
				 errhint("Call it before the transaction begins.")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s can't be used in a transaction that wrote", function),
				 errdetail("%s may have to wait for this transaction to end.", what),
				 errhint("Commit first.")));
}

/* Waiting tells when something arrived: that is for those who may look at the pipeline. */
static void
require_reader(const TdPipeline *p)
{
	if (has_privs_of_role(GetUserId(), p->owner) || td_is_monitor(GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of pipeline \"%s\" or a member of pg_monitor", p->name),
			 errhint("Its owner is %s.", td_role_text(p->owner))));
}

/* True for a load that is complete; raises when nothing will come any more. */
static bool
has_ended(const TdPipeline *p)
{
	if (strcmp(p->status, "completed") == 0)
		return true;
	if (strcmp(p->status, "failed") == 0)
		raise_failure(p);
	if (strcmp(p->status, "fenced") == 0)
		td_home_require();
	if (!p->wanted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pipeline \"%s\" is stopped", p->name),
				 errhint("Start it: SELECT tapdata.start_pipeline(%s).", quote_literal_cstr(p->name))));
	return false;
}

/* Asks for a mark, or waits for the one asked for; true = reached. */
static bool
wait_once(int32 id, const char *position, bool *asked, uint64 *number, int left_ms, TimestampTz *reached)
{
	if (!*asked)
		*asked = td_worker_mark(TD_WORKER_PIPELINE, id, position, number);
	if (*asked)
	{
		TdError		err;
		TdMarkState state = td_worker_mark_wait(*number, left_ms, reached, &err);

		if (state == TD_MARK_FAILED)
			td_error_raise(&err);
		if (state == TD_MARK_LOST)
			*asked = false;
		return state == TD_MARK_REACHED;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(left_ms, TD_NO_WORKER_MS), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return false;
}

/* The last error of a pipeline; false = none. */
static bool
read_error(int32 id, TdError *err, TimestampTz *source_time)
{
	static TdStatement read = {
	"SELECT sqlstate, error, detail, hint, source_time FROM tapdata.pipeline_state WHERE pipeline = $1", NULL};
	TdCatalogScope scope;
	bool		null = true;
	bool		found;
	TimestampTz time = 0;

	memset(err, 0, sizeof(*err));
	td_catalog_enter(&scope);
	found = TD_RUN(&read, td_arg_int4(id)) == 1;
	if (found)
	{
		char	   *texts[] = {td_col_text(0, 1), td_col_text(0, 2), td_col_text(0, 3), td_col_text(0, 4)};

		time = td_col_time(0, 5, &null);
		strlcpy(err->sqlstate, texts[0] ? texts[0] : "", sizeof(err->sqlstate));
		strlcpy(err->message, texts[1] ? texts[1] : "", sizeof(err->message));
		strlcpy(err->detail, texts[2] ? texts[2] : "", sizeof(err->detail));
		strlcpy(err->hint, texts[3] ? texts[3] : "", sizeof(err->hint));
	}
	td_catalog_leave(&scope);
	if (source_time != NULL && !null)
		*source_time = time;
	return found && err->message[0] != '\0';
}

/* The pipeline's own error, as if it had happened here. */
static void
raise_failure(const TdPipeline *p)
{
	TdError		err;
	const char *s = err.sqlstate;

	if (!read_error(p->id, &err, NULL))
		strlcpy(err.sqlstate, "XX000", sizeof(err.sqlstate));
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4])),
			 errmsg("pipeline \"%s\" has failed: %s", p->name, err.message),
			 err.detail[0] ? errdetail_internal("%s", err.detail) : 0,
			 err.hint[0] ? errhint("%s", err.hint) :
			 errhint("Mend the cause and start it: SELECT tapdata.start_pipeline(%s).", quote_literal_cstr(p->name))));
	pg_unreachable();
}

static void
raise_timeout(const TdPipeline *p, bool with_position)
{
	TdError		err = {0};
	bool		alone = !td_worker_runs(TD_WORKER_SUPERVISOR, 0) && !td_worker_runs(TD_WORKER_PIPELINE, p->id);
	const char *standing = alone ? td_database_standing(&err) : NULL;	/* which nobody could write down */
	bool		troubled = standing ? err.message[0] != '\0' : read_error(p->id, &err, NULL);
	const char *status = standing ? standing : p->status;

	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 troubled ? errmsg("pipeline \"%s\" did not get there in time, its last error is: %s", p->name, err.message) :
			 errmsg("pipeline \"%s\" did not get there in time", p->name),
			 troubled && err.detail[0] ? errdetail("Its status is \"%s\".  %s", status, err.detail) :
			 errdetail("Its status is \"%s\".", status),
			 troubled && err.hint[0] ? errhint("%s", err.hint) :
			 with_position ? errhint("Is the position one that the source has reached?  Or wait longer with timeout => '10 min'.") :
			 errhint("Wait longer with timeout => '10 min', or look at tapdata.pipelines and tapdata.doctor().")));
	pg_unreachable();
}
