/*-------------------------------------------------------------------------
 *
 * td_capture_test.c
 *		A reader of captures in a backend: what comes, as text.
 *
 * NOTES
 *		Runs in a session of a private server.  One capture at a time, in static
 *		variables; layouts are kept for as long as it is open.  Each call is a
 *		transaction of its own and writes nothing, so a slot can be made meanwhile.
 *
 * test/unit/td_capture_test/td_capture_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "workers/workers.h"
#include "util/util.h"

#include "capture/capture.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(td_cap_open);
PG_FUNCTION_INFO_V1(td_cap_want);
PG_FUNCTION_INFO_V1(td_cap_read);
PG_FUNCTION_INFO_V1(td_cap_started);
PG_FUNCTION_INFO_V1(td_cap_told);
PG_FUNCTION_INFO_V1(td_cap_spool);
PG_FUNCTION_INFO_V1(td_cap_nothing);
PG_FUNCTION_INFO_V1(td_cap_confirm);
PG_FUNCTION_INFO_V1(td_cap_close);
PG_FUNCTION_INFO_V1(td_cap_slot_state);
PG_FUNCTION_INFO_V1(td_cap_slot_drop);
PG_FUNCTION_INFO_V1(td_cap_slot_name);
PG_FUNCTION_INFO_V1(td_cap_require);

/* A layout that came. */
typedef struct Layout
{
	uint32		number;
	Oid			relid;
	TupleDesc	desc;
} Layout;

static TdCapture *capture = NULL;
static MemoryContext context = NULL;	/* of its layouts */
static List *layouts = NIL;
static uint32 wanted = 0;		/* version */
static XLogRecPtr progress = InvalidXLogRecPtr; /* of the last PROGRESS, with */
static uint32 version = 0;
static uint64 started = 0;		/* the next xid that START named */

/* What one call has seen. */
typedef struct Seen
{
	ReturnSetInfo *result;		/* NULL = count only */
	bool		text;			/* rows as text, else counted by commit */
	bool		xids;			/* BEGIN with its xid */
	TdSpool    *spool;
	int64		rows;
	int64		bytes;
	int64		in_transaction;
} Seen;

Datum
td_cap_open(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(2);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	RepOriginId *origins = palloc(Max(1, n) * sizeof(RepOriginId));

	for (int i = 0; i < n; i++)
		origins[i] = ((int32 *) ARR_DATA_PTR(array))[i];
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "td_capture_test", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
	layouts = NIL;
	wanted = version = 0;
	progress = InvalidXLogRecPtr;
	capture = td_capture_open(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), n, origins);
	PG_RETURN_BOOL(capture != NULL);
}

/* "1,3" or "" */
static Bitmapset *
columns_of(const char *text)
{
	Bitmapset  *columns = NULL;

	while (*text)
	{
		columns = bms_add_member(columns, (int) strtol(text, (char **) &text, 10));
		if (*text == ',')
			text++;
	}
	return columns;
}

Datum
td_cap_want(PG_FUNCTION_ARGS)
{
	Datum	   *relids;
	Datum	   *columns;
	int			n;
	int			m;
	List	   *list = NIL;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), REGCLASSOID, 4, true, 'i', &relids, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, 'i', &columns, NULL, &m);
	for (int i = 0; i < n; i++)
	{
		TdWanted   *w = palloc0(sizeof(TdWanted));

		w->only = false;
		w->relid = DatumGetObjectId(relids[i]);
		w->columns = columns_of(TextDatumGetCString(columns[Min(i, m - 1)]));
		list = lappend(list, w);
	}
	wanted = PG_GETARG_INT32(0);
	td_capture_want(capture, wanted, list);
	PG_RETURN_VOID();
}

/* ---- messages as text ---- */

static void
say(Seen *seen, const char *line)
{
	Datum		value;
	bool		null = false;

	if (seen->result == NULL)
		return;
	value = CStringGetTextDatum(line);
	tuplestore_putvalues(seen->result->setResult, seen->result->setDesc, &value, &null);
}

static Layout *
find_layout(uint32 number)
{
	ListCell   *lc;

	foreach(lc, layouts)
	{
		if (((Layout *) lfirst(lc))->number == number)
			return lfirst(lc);
	}
	elog(ERROR, "a row of layout %u, which never came", number);
}

static void
keep_layout(const TdCaptureMessage *m)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Layout	   *layout = palloc(sizeof(Layout));

	layout->number = m->layout;
	layout->relid = m->relid;
	layout->desc = CreateTemplateTupleDesc(m->ncolumns + 1);
	for (uint32 i = 0; i < m->ncolumns; i++)
	{
		TupleDescInitEntry(layout->desc, i + 1, psprintf("c%d", m->columns[i].attnum), m->columns[i].type, m->columns[i].typmod, 0);
		if (TupleDescAttr(layout->desc, i)->attlen != m->columns[i].len || TupleDescAttr(layout->desc, i)->attbyval != m->columns[i].byval)
			elog(ERROR, "layout %u describes a type that is not so", m->layout);
	}
	TupleDescInitEntry(layout->desc, m->ncolumns + 1, TD_WEIGHT, INT8OID, -1, 0);
	layouts = lappend(layouts, layout);
	MemoryContextSwitchTo(old);
}

static const char *
name_of(Oid relid)
{
	const char *name = OidIsValid(relid) ? get_rel_name(relid) : "-";

	return name ? name : "(gone)";
}

/* "t -1 (1,abc)"; long values by their length and hash. */
static void
say_row(Seen *seen, const TdCaptureMessage *m)
{
	Layout	   *layout = find_layout(m->layout);
	int			n = layout->desc->natts - 1;
	HeapTuple	tuple = heap_tuple_from_minimal_tuple(m->tuple);
	Datum	   *values = palloc((n + 1) * sizeof(Datum));
	bool	   *nulls = palloc((n + 1) * sizeof(bool));
	StringInfoData line;

	heap_deform_tuple(tuple, layout->desc, values, nulls);
	initStringInfo(&line);
	appendStringInfo(&line, "%s %+d (", name_of(layout->relid), (int) DatumGetInt64(values[n]));
	for (int i = 0; i < n; i++)
	{
		Oid			output;
		bool		varlena;
		char	   *text;

		getTypeOutputInfo(TupleDescAttr(layout->desc, i)->atttypid, &output, &varlena);
		text = nulls[i] ? "null" : OidOutputFunctionCall(output, values[i]);
		appendStringInfo(&line, strlen(text) > 60 ? "%s%.4s~%zu" : "%s%s", i > 0 ? "," : "", text, strlen(text));
	}
	appendStringInfoChar(&line, ')');
	say(seen, line.data);
	pfree(line.data);
	pfree(tuple);
}

static void
take_message(Seen *seen, const TdCaptureMessage *m)
{
	static const char *const why[] = {"truncate", "old image", "column", "too large", "not below"};

	switch (m->kind)
	{
		case TD_CAPTURE_START:
			started = m->xid;
			say(seen, m->created ? "start created" : "start");
			break;
		case TD_CAPTURE_LAYOUT:
			keep_layout(m);
			break;
		case TD_CAPTURE_BEGIN:
			seen->in_transaction = 0;
			say(seen, seen->xids ? psprintf("begin " UINT64_FORMAT, m->xid) : psprintf("begin v%u", m->version));
			break;
		case TD_CAPTURE_ROW:
			seen->rows++;
			seen->in_transaction++;
			if (seen->result && seen->text)
				say_row(seen, m);
			break;
		case TD_CAPTURE_UNKNOWN:
			say(seen, psprintf("%s unknown %s", name_of(m->relid), why[m->why]));
			break;
		case TD_CAPTURE_DDL:
			say(seen, psprintf("%s ddl", name_of(m->relid)));
			break;
		case TD_CAPTURE_COMMIT:
			say(seen, seen->text ? "commit" : psprintf("commit of " INT64_FORMAT, seen->in_transaction));
			break;
		case TD_CAPTURE_PROGRESS:
			progress = m->lsn;
			version = m->version;
			break;
	}
}

static void
take_block(Seen *seen, TdBytes block)
{
	TdReader	r = {block.data, block.data + block.len};
	TdCaptureMessage m;
	int			result;
	TdError		err;

	seen->bytes += block.len;
	if (seen->spool && !td_spool_append(seen->spool, block.data, block.len, &err))
		td_error_raise(&err);
	while ((result = td_capture_next(&r, &m)) == 1)
		take_message(seen, &m);
	if (result < 0)
		elog(ERROR, "a damaged block");
}

/* Reads until everything committed by now has come, and the newest wanted set is in force. */
static void
read_all(Seen *seen, int timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	XLogRecPtr	upto = td_capture_flush();

	if (capture == NULL)
		elog(ERROR, "no capture is open");
	td_capture_reach(capture, upto);
	while (progress < upto || version < wanted)
	{
		TdBytes		block;
		TdError		err;
		int			result;
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		td_workers_reap();
		result = td_capture_read(capture, &block, &err);
		if (result < 0 && err.sqlstate[0])
			td_error_raise(&err);
		if (result < 0)
			elog(ERROR, "the capture worker is gone");
		if (result == 1)
			take_block(seen, block);
		else if (left <= 0)
			elog(ERROR, "timeout: at %X/%X of %X/%X, version %u of %u", LSN_FORMAT_ARGS(progress), LSN_FORMAT_ARGS(upto), version, wanted);
		else
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
	}
}

Datum
td_cap_read(PG_FUNCTION_ARGS)
{
	Seen		seen = {.text = PG_GETARG_BOOL(1),.xids = PG_GETARG_BOOL(2)};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	seen.result = (ReturnSetInfo *) fcinfo->resultinfo;
	read_all(&seen, PG_GETARG_INT32(0));
	return (Datum) 0;
}

/* What comes goes into a spool, as a view worker keeps it, and is counted. */
Datum
td_cap_spool(PG_FUNCTION_ARGS)
{
	TdError		err;
	Seen		seen = {.spool = td_spool_create(td_spool_path(), (size_t) td_worker_memory * 1024, 0, &err)};
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (seen.spool == NULL)
		td_error_raise(&err);
	read_all(&seen, PG_GETARG_INT32(0));
	td_spool_destroy(seen.spool);
	(void) get_call_result_type(fcinfo, NULL, &desc);
	values[0] = Int64GetDatum(seen.rows);
	values[1] = Int64GetDatum(seen.bytes);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* True = for that long not one block comes by itself (a block without a row counts as none, and ends the wait). */
Datum
td_cap_nothing(PG_FUNCTION_ARGS)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(0));
	TdBytes		block;
	TdError		err;

	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		int			result = td_capture_read(capture, &block, &err);

		if (result < 0)
			elog(ERROR, "the capture worker is gone");
		if (result > 0)
		{
			Seen		seen = {0};

			take_block(&seen, block);
			PG_RETURN_BOOL(seen.in_transaction == 0);
		}
		if (left <= 0)
			PG_RETURN_BOOL(true);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

Datum
td_cap_started(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(started);
}

/* The last PROGRESS, as far as it has been read. */
Datum
td_cap_told(PG_FUNCTION_ARGS)
{
	PG_RETURN_LSN(progress);
}

Datum
td_cap_confirm(PG_FUNCTION_ARGS)
{
	td_capture_confirm(capture, PG_GETARG_LSN(0), false);
	PG_RETURN_VOID();
}

Datum
td_cap_close(PG_FUNCTION_ARGS)
{
	if (capture)
		td_capture_close(capture);
	capture = NULL;
	PG_RETURN_VOID();
}

Datum
td_cap_slot_state(PG_FUNCTION_ARGS)
{
	XLogRecPtr	confirmed;
	bool		lost;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (!td_capture_slot_state(text_to_cstring(PG_GETARG_TEXT_PP(0)), &confirmed, &lost))
		PG_RETURN_NULL();
	(void) get_call_result_type(fcinfo, NULL, &desc);
	values[0] = LSNGetDatum(confirmed);
	values[1] = BoolGetDatum(lost);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
td_cap_slot_drop(PG_FUNCTION_ARGS)
{
	td_capture_slot_drop(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

Datum
td_cap_slot_name(PG_FUNCTION_ARGS)
{
	char		name[NAMEDATALEN];

	td_capture_slot_name(PG_GETARG_INT32(0), name);
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

Datum
td_cap_require(PG_FUNCTION_ARGS)
{
	td_capture_require();
	PG_RETURN_VOID();
}
