/*-------------------------------------------------------------------------
 *
 * td_store_test.c
 *		SQL functions around nets, deltas, stores and snapshots of view/maintain,
 *		for tests and measurements.
 *
 * NOTES
 *		Queries are run through SPI before anything is measured.
 *
 * test/unit/td_store_test/td_store_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "view/view_internal.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(ts_apply);
PG_FUNCTION_INFO_V1(ts_net);
PG_FUNCTION_INFO_V1(ts_load);
PG_FUNCTION_INFO_V1(ts_find);
PG_FUNCTION_INFO_V1(ts_columns);
PG_FUNCTION_INFO_V1(ts_seen_now);
PG_FUNCTION_INFO_V1(ts_seen_of);
PG_FUNCTION_INFO_V1(ts_seen_text);
PG_FUNCTION_INFO_V1(ts_sees);
PG_FUNCTION_INFO_V1(ts_deltas);

static struct rusage clock_began;

/* CPU time, user and system: other processes do not count. */
static void
start(void)
{
	getrusage(RUSAGE_SELF, &clock_began);
}

static double
milliseconds(struct timeval a, struct timeval b)
{
	return (b.tv_sec - a.tv_sec) * 1000.0 + (b.tv_usec - a.tv_usec) / 1000.0;
}

static Datum
elapsed(void)
{
	struct rusage now;

	getrusage(RUSAGE_SELF, &now);
	return Float8GetDatum(milliseconds(clock_began.ru_utime, now.ru_utime) + milliseconds(clock_began.ru_stime, now.ru_stime));
}

static Datum
record(FunctionCallInfo fcinfo, Datum a, Datum b, Datum c)
{
	TupleDesc	desc;
	Datum		values[3] = {a, b, c};
	bool		nulls[3] = {false};

	get_call_result_type(fcinfo, NULL, &desc);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static int
keys_of(ArrayType *array, AttrNumber **keys)
{
	Datum	   *datums;
	int			n;

	deconstruct_array(array, INT2OID, sizeof(int16), true, TYPALIGN_SHORT, &datums, NULL, &n);
	*keys = palloc(sizeof(AttrNumber) * Max(n, 1));
	for (int i = 0; i < n; i++)
		(*keys)[i] = DatumGetInt16(datums[i]);
	return n;
}

/* Runs the query; SPI stays connected, the rows are in SPI_tuptable. */
static void
run(text *query)
{
	SPI_connect();
	if (SPI_execute(text_to_cstring(query), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "not a query");
}

/* Nets what was run; *ms is how long that took. */
static int64
net_result(Size limit, Tuplestorestate *into, Datum *ms)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(SPI_tuptable->tupdesc, &TTSOpsHeapTuple);
	TdNet	   *net;
	int64		rows;

	start();
	net = td_net_create(SPI_tuptable->tupdesc, limit);
	for (uint64 i = 0; i < SPI_tuptable->numvals; i++)
	{
		ExecForceStoreHeapTuple(SPI_tuptable->vals[i], slot, false);
		td_net_add(net, slot, 1);
	}
	rows = td_net_finish(net, into);
	*ms = elapsed();
	ExecDropSingleTupleTableSlot(slot);
	return rows;
}

/* ts.apply(target, keys, query, memory_kb) */
Datum
ts_apply(PG_FUNCTION_ARGS)
{
	Size		limit = (Size) PG_GETARG_INT32(3) * 1024;
	AttrNumber *keys;
	int			nkeys = keys_of(PG_GETARG_ARRAYTYPE_P(1), &keys);
	Tuplestorestate *delta;
	TdStore    *store;
	int64		rows;
	Datum		net_ms;
	Datum		apply_ms;

	run(PG_GETARG_TEXT_PP(2));
	delta = tuplestore_begin_heap(false, false, (int) (limit / 1024));
	rows = net_result(limit, delta, &net_ms);
	start();
	store = td_store_open(PG_GETARG_OID(0), nkeys, keys);
	td_store_apply(store, delta);
	td_store_close(store);
	apply_ms = elapsed();
	tuplestore_end(delta);
	SPI_finish();
	return record(fcinfo, Int64GetDatum(rows), net_ms, apply_ms);
}

/* ts.net(query, memory_kb, again) */
Datum
ts_net(PG_FUNCTION_ARGS)
{
	Size		limit = (Size) PG_GETARG_INT32(1) * 1024;
	Tuplestorestate *delta;
	int64		rows;
	Datum		net_ms;
	Datum		again_ms = Float8GetDatum(0);

	run(PG_GETARG_TEXT_PP(0));
	delta = tuplestore_begin_heap(false, false, (int) (limit / 1024));
	rows = net_result(limit, delta, &net_ms);
	if (PG_GETARG_BOOL(2))
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(SPI_tuptable->tupdesc, &TTSOpsMinimalTuple);
		Tuplestorestate *into = tuplestore_begin_heap(false, false, (int) (limit / 1024));
		TdNet	   *net;

		start();
		net = td_net_create(SPI_tuptable->tupdesc, limit);
		while (tuplestore_gettupleslot(delta, true, false, slot))
			td_net_add(net, slot, -1);
		tuplestore_rescan(delta);
		while (tuplestore_gettupleslot(delta, true, false, slot))
			td_net_add(net, slot, 2);
		if (td_net_finish(net, into) != rows)
			elog(ERROR, "netting what is netted gives another number of rows");
		again_ms = elapsed();
		ExecDropSingleTupleTableSlot(slot);
		tuplestore_end(into);
	}
	tuplestore_end(delta);
	SPI_finish();
	return record(fcinfo, Int64GetDatum(rows), net_ms, again_ms);
}

/* ---- load ---- */

typedef struct Receiver
{
	DestReceiver base;
	TdStoreLoad *load;
} Receiver;

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	td_store_load_row(((Receiver *) self)->load, slot);
	return true;
}

static void
receive_begin(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_end(DestReceiver *self)
{
}

/* ts.load(target, query) */
Datum
ts_load(PG_FUNCTION_ARGS)
{
	Receiver	receiver = {{receive, receive_begin, receive_end, receive_end, DestNone}};
	SPIExecuteOptions options = {.read_only = true, .dest = &receiver.base};
	int64		rows;

	SPI_connect();
	start();
	receiver.load = td_store_load_begin(PG_GETARG_OID(0));
	SPI_execute_extended(text_to_cstring(PG_GETARG_TEXT_PP(1)), &options);
	rows = td_store_load_end(receiver.load);
	SPI_finish();
	{
		TupleDesc	desc;
		Datum		values[2] = {Int64GetDatum(rows), elapsed()};
		bool		nulls[2] = {false};

		get_call_result_type(fcinfo, NULL, &desc);
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
	}
}

/* ---- looking ---- */

/* ts.find(target, keys, query) */
Datum
ts_find(PG_FUNCTION_ARGS)
{
	AttrNumber *keys;
	int			nkeys = keys_of(PG_GETARG_ARRAYTYPE_P(1), &keys);
	AttrNumber *from = palloc(sizeof(AttrNumber) * Max(nkeys, 1));
	TupleTableSlot *slot;
	TupleTableSlot *found;
	TdStore    *store;
	StringInfoData shown;

	for (int i = 0; i < nkeys; i++)
		from[i] = i + 1;
	initStringInfo(&shown);
	run(PG_GETARG_TEXT_PP(2));
	store = td_store_open(PG_GETARG_OID(0), nkeys, keys);
	slot = MakeSingleTupleTableSlot(SPI_tuptable->tupdesc, &TTSOpsHeapTuple);
	if (SPI_processed > 0)
		ExecForceStoreHeapTuple(SPI_tuptable->vals[0], slot, false);
	found = td_store_find(store, slot, from);
	if (found)
	{
		HeapTuple	tuple = ExecCopySlotHeapTuple(found);

		for (int i = 1; i <= found->tts_tupleDescriptor->natts; i++)
		{
			char	   *value = SPI_getvalue(tuple, found->tts_tupleDescriptor, i);

			appendStringInfo(&shown, "%s%s", i > 1 ? "|" : "", value ? value : "null");
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	td_store_close(store);
	SPI_finish();
	if (found == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(shown.data));
}

/* ts.columns(target) */
Datum
ts_columns(PG_FUNCTION_ARGS)
{
	TdStore    *store = td_store_open(PG_GETARG_OID(0), 0, NULL);
	TupleDesc	desc = td_store_desc(store);
	StringInfoData shown;

	initStringInfo(&shown);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(&shown, "%s%s", i ? "|" : "", NameStr(TupleDescAttr(desc, i)->attname));
	td_store_close(store);
	PG_RETURN_TEXT_P(cstring_to_text(shown.data));
}

/* ---- snapshots ---- */

/* ts.seen_now() */
Datum
ts_seen_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(td_seen_text(td_seen_of(GetActiveSnapshot()))));
}

/* ts.seen_of(xmin, xmax, xip): of a snapshot with these 32-bit ids */
Datum
ts_seen_of(PG_FUNCTION_ARGS)
{
	SnapshotData snapshot = {.snapshot_type = SNAPSHOT_MVCC};
	Datum	   *xip;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE, &xip, NULL, &n);
	snapshot.xmin = (TransactionId) PG_GETARG_INT64(0);
	snapshot.xmax = (TransactionId) PG_GETARG_INT64(1);
	snapshot.xip = palloc(sizeof(TransactionId) * Max(n, 1));
	snapshot.xcnt = n;
	for (int i = 0; i < n; i++)
		snapshot.xip[i] = (TransactionId) DatumGetInt64(xip[i]);
	PG_RETURN_TEXT_P(cstring_to_text(td_seen_text(td_seen_of(&snapshot))));
}

/* ts.seen_text(seen) */
Datum
ts_seen_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(td_seen_text(td_seen_read(text_to_cstring(PG_GETARG_TEXT_PP(0))))));
}

/* ts.sees(seen, xid) */
Datum
ts_sees(PG_FUNCTION_ARGS)
{
	char	   *xid = DatumGetCString(DirectFunctionCall1(numeric_out, PG_GETARG_DATUM(1)));

	PG_RETURN_BOOL(td_sees(td_seen_read(text_to_cstring(PG_GETARG_TEXT_PP(0))), strtou64(xid, NULL, 10)));
}

/* ---- deltas ---- */

static int64
count_through_name(const char *query)
{
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "not a query");
	return SPI_processed;
}

/* ts.deltas(query) */
Datum
ts_deltas(PG_FUNCTION_ARGS)
{
	TdDeltas   *deltas = td_deltas_create(CurrentMemoryContext);
	AttrNumber	attnums[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	EphemeralNamedRelation name;
	TdDelta    *delta;
	TupleTableSlot *slot;
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int64		first;
	int64		second;
	bool		unknown;

	run(PG_GETARG_TEXT_PP(0));
	caller = CurrentMemoryContext;
	td_deltas_unknown(deltas, 2);
	td_deltas_unknown(deltas, 1);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	delta = td_deltas_add(deltas, 1, SPI_tuptable->tupdesc, attnums);
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (td_deltas_get(deltas, 1) != delta || td_deltas_get(deltas, 2)->desc || td_deltas_get(deltas, 2)->rows || td_deltas_get(deltas, 3))
		elog(ERROR, "deltas are not kept by relation");
	slot = MakeSingleTupleTableSlot(SPI_tuptable->tupdesc, &TTSOpsHeapTuple);
	for (uint64 i = 0; i < SPI_tuptable->numvals; i++)
	{
		ExecForceStoreHeapTuple(SPI_tuptable->vals[i], slot, false);
		tuplestore_puttupleslot(delta->rows, slot);
		delta->nrows++;
	}
	ExecDropSingleTupleTableSlot(slot);
	name = palloc0(sizeof(EphemeralNamedRelationData));
	name->md.name = pstrdup("d");
	name->md.tupdesc = delta->desc;
	name->md.enrtype = ENR_NAMED_TUPLESTORE;
	name->md.enrtuples = delta->nrows;
	name->reldata = delta->rows;
	SPI_register_relation(name);
	first = count_through_name("SELECT * FROM d a, (SELECT count(*) FROM d) b, (SELECT * FROM d LIMIT 1) c");
	second = count_through_name("SELECT * FROM d");
	SPI_unregister_relation("d");
	unknown = delta->unknown;
	td_deltas_destroy(deltas);
	SPI_finish();
	return record(fcinfo, Int64GetDatum(first), Int64GetDatum(second), BoolGetDatum(unknown));
}
