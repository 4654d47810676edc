/*-------------------------------------------------------------------------
 *
 * changes.c
 *		changes, change_rows, view_tick: the feed of a view; turning it on and off.
 *
 * NOTES
 *		Sessions.  The functions see exactly what the statement that calls them
 *		sees, so that rows of the view, its tick and its changes that are read in
 *		one statement, or in one REPEATABLE READ transaction, are of one moment.
 *		What they return is flushed: no crash takes it back.
 *
 *		The feed's table is the extension's; it is read here by its index, without
 *		SQL.  Rights are those on the view's table.  A row becomes jsonb as the
 *		caller, as it would if he did it himself with a row of the view.  jsonb
 *		can't tell its own null from SQL's, nor -0 from 0: who needs values as they
 *		are (connectors/tapdata) takes change_rows, which returns rows of the view's
 *		own type.
 *
 *		Locks: who turns a feed on or off holds SHARE ROW EXCLUSIVE on the view's
 *		table until his transaction ends; ticks and fills wait meanwhile.
 *
 * IDENTIFICATION
 *		src/view/sql/changes.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/tablespace.h"
#include "compat/compat.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
#include "workers/workers.h"

#include "view/sql/sql_internal.h"

#define HEAD_COLUMNS 3			/* tick, at, weight; the view's follow */

/* A feed being read. */
typedef struct Reader
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *row;		/* of rel */
	TupleTableSlot *columns;	/* the view's columns of it */
	bool		typed;			/* as a row of the view, else as jsonb */
	TupleTableSlot *of_view;	/* typed: a row of the view */
	FmgrInfo	to_jsonb;
	MemoryContext context;		/* of one row */
	int64		last;			/* tick of the row before; -1 = none */
	int64		rows;
} Reader;

static void create_feed(const TdView *view);
static void drop_feed(Oid feed);
static TdView *readable(Oid relation);
static void read_state(const TdView *view, int64 *tick, int64 *gone);
static bool is_emptied(const TdView *view, int64 tick, int64 gone);
static bool has_tick(const TdView *view, int64 tick);
static void raise_foreign(const TdView *view, int64 since, int64 tick) pg_attribute_noreturn();
static void require_kept(const TdView *view, int64 since, int64 tick, int64 gone);
static void raise_gone(const TdView *view, int64 first) pg_attribute_noreturn();
static void return_changes(FunctionCallInfo fcinfo, Oid relation, bool typed);
static void open_reader(Reader *r, Oid feed, int64 since);
static void read_typed(Reader *r, const TdView *view);
static Datum row_of_view(Reader *r);
static void init_to_jsonb(FmgrInfo *function);
static bool read_row(Reader *r);
static void return_row(Reader *r, ReturnSetInfo *result);
static void close_reader(Reader *r);
static void flush(void);

PG_FUNCTION_INFO_V1(td_sql_changes);
PG_FUNCTION_INFO_V1(td_sql_change_rows);
PG_FUNCTION_INFO_V1(td_sql_view_tick);

/* ---- turning it on and off ---- */

void
td_view_follow_feed(int32 id)
{
	TdView	   *view = td_view_load(id);
	Oid			feed = td_feed_table(id);

	if (view == NULL)
		elog(ERROR, "view %d is gone", id);	/* its table is locked */
	if (view->changes && view->writable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"changes\" and \"writable\" of a live view exclude each other"),
				 errdetail("What users write into the table is in no tick."),
				 errhint("Set one of them to false.")));
	if (view->changes == OidIsValid(feed))
		return;
	LockRelationOid(view->relation, ShareRowExclusiveLock);
	if (view->changes)
		create_feed(view);
	else
		drop_feed(feed);
}

/* Its columns are the view's of now, which stay as they are; read by tick, what goes before what comes. */
static void
create_feed(const TdView *view)
{
	char	   *name = psprintf("v%d_c", view->id);
	bool		unlogged = get_rel_persistence(view->relation) == RELPERSISTENCE_UNLOGGED;
	Oid			tablespace = get_rel_tablespace(view->relation);
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	td_run_as_caller(psprintf("CREATE %sTABLE tapdata_state.%s (\"tapdata$tick\" bigint, \"tapdata$at\" timestamptz, \"tapdata$weight\" integer, LIKE %s) "
							  "USING heap WITH (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off)%s%s",
							  unlogged ? "UNLOGGED " : "", name, view->name, OidIsValid(tablespace) ? " TABLESPACE " : "",
							  OidIsValid(tablespace) ? quote_identifier(get_tablespace_name(tablespace)) : ""));
	CommandCounterIncrement();
	td_view_skip_statistics("tapdata_state", name);
	td_run_as_caller(psprintf("CREATE INDEX ON tapdata_state.%s (\"tapdata$tick\", \"tapdata$weight\")", name));
	CommandCounterIncrement();
	td_view_make_part(td_feed_table(view->id), view->relation);
	td_catalog_leave(&scope);
	td_feed_turned_on(view->id);
}

/* Its numbers stay.  As a part of the view it could not be dropped alone. */
static void
drop_feed(Oid feed)
{
	char	   *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(feed)), get_rel_name(feed));
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	LockRelationOid(feed, AccessExclusiveLock);
	deleteDependencyRecordsForClass(RelationRelationId, feed, RelationRelationId, DEPENDENCY_INTERNAL);
	CommandCounterIncrement();
	td_run_as_caller(psprintf("DROP TABLE %s", name));
	td_catalog_leave(&scope);
}

/* ---- reading ---- */

/* tapdata.view_tick(view) */
Datum
td_sql_view_tick(PG_FUNCTION_ARGS)
{
	TdView	   *view = readable(td_required_oid(fcinfo, 0, "view"));
	int64		tick;
	int64		gone;

	read_state(view, &tick, &gone);
	flush();
	PG_RETURN_INT64(tick);
}

/* tapdata.changes(view, since, limit) */
Datum
td_sql_changes(PG_FUNCTION_ARGS)
{
	return_changes(fcinfo, td_required_oid(fcinfo, 0, "view"), false);
	return (Datum) 0;
}

/* tapdata.change_rows(of, since, limit): the view is the one whose row type the first argument has. */
Datum
td_sql_change_rows(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relation = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s is not that of the rows of a live view", OidIsValid(type) ? format_type_be(type) : "unknown"),
				 errhint("Say whose changes you want by a null of its row type: tapdata.change_rows(NULL::turnover, 0).")));
	return_changes(fcinfo, relation, true);
	return (Datum) 0;
}

/* Whole ticks after `since`, until there are `limit` rows. */
static void
return_changes(FunctionCallInfo fcinfo, Oid relation, bool typed)
{
	TdView	   *view = readable(relation);
	int64		since = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT64(1);
	int64		limit = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT32(2);
	int64		tick;
	int64		gone;
	Reader		r;
	bool		more;

	if (since < 0 || limit < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 since < 0 ? errmsg("\"since\" must be a tick, 0 or more") : errmsg("\"limit\" must be 1 or more"),
				 since < 0 ? errhint("tapdata.view_tick() tells which one the rows of the view are at.") : errhint("NULL returns all changes.")));
	read_state(view, &tick, &gone);
	require_kept(view, since, tick, gone);
	if (since > gone && since < tick && !has_tick(view, since))
		raise_foreign(view, since, tick);
	InitMaterializedSRF(fcinfo, 0);
	open_reader(&r, td_feed_table(view->id), since);
	if (typed)
		read_typed(&r, view);
	while ((more = read_row(&r)))
	{
		int64		at = DatumGetInt64(r.row->tts_values[0]);

		if (r.rows >= limit && at != r.last)
			break;
		r.last = at;
		r.rows++;
		return_row(&r, (ReturnSetInfo *) fcinfo->resultinfo);
	}
	if (!more && since < tick && r.last != tick)
		raise_gone(view, tick + 1);
	close_reader(&r);
	if (r.rows > 0)
		flush();
}

/* The view, for those who may see every row of it. */
static TdView *
readable(Oid relation)
{
	TdView	   *view = td_view_named(relation);

	td_home_require();
	td_view_require_reader(view);
	if (check_enable_rls(relation, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security on view %s hides rows from you", view->name),
				 errdetail("Its changes are for those who may see all of its rows."),
				 errhint("Ask its owner for the changes, or for BYPASSRLS.")));
	return view;
}

/* Raises unless there is a feed that has begun. */
static void
read_state(const TdView *view, int64 *tick, int64 *gone)
{
	Oid			feed = td_feed_table(view->id);

	if (!OidIsValid(feed) || !td_feed_read(view->id, tick, gone))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the changes of view %s are not kept", view->name),
				 errhint("Let its owner call SELECT tapdata.alter_view(%s, '{\"changes\": true}').", quote_literal_cstr(view->name))));
	if (*tick < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view %s is not filled yet, its changes begin then", view->name),
				 errhint("Wait for it first: SELECT tapdata.wait_view(%s).", quote_literal_cstr(view->name))));
	if (RecoveryInProgress() && get_rel_persistence(feed) != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the changes of view %s are unlogged, and not on this standby", view->name),
				 errhint("Read them on the primary.")));
	if (get_rel_persistence(feed) == RELPERSISTENCE_UNLOGGED && is_emptied(view, *tick, *gone))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of view %s are gone, and it is filled anew", view->name),
				 errdetail("It is unlogged, and the server was started: a crash may have emptied it."),
				 errhint("Wait for it first: SELECT tapdata.wait_view(%s).", quote_literal_cstr(view->name))));
}

/* A crash takes the rows of an unlogged view and of its feed, but not its number, until a worker has looked after it. */
static bool
is_emptied(const TdView *view, int64 tick, int64 gone)
{
	uint64		keeping;

	(void) td_worker_covers(TD_WORKER_VIEW, view->group, 0, &keeping);
	return keeping == 0 || strcmp(view->status, "streaming") != 0 || (tick > gone && !has_tick(view, tick));
}

static void
require_kept(const TdView *view, int64 since, int64 tick, int64 gone)
{
	if (since < gone)
		raise_gone(view, gone + 1);
	if (since > tick)
		raise_foreign(view, since, tick);
}

/* Each tick has rows.  One without is that of a server which a standby, or a recovered backup, has taken the place of without having had it. */
static bool
has_tick(const TdView *view, int64 tick)
{
	Reader		r;
	bool		has;

	open_reader(&r, td_feed_table(view->id), tick - 1);
	has = read_row(&r) && DatumGetInt64(r.row->tts_values[0]) == tick;
	close_reader(&r);
	return has;
}

static void
raise_foreign(const TdView *view, int64 since, int64 tick)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("view %s has had no tick %lld", view->name, (long long) since),
			 errdetail("Its last one is %lld.", (long long) tick),
			 errhint("That tick is of another view, or of another copy of this database. Read the view together with tapdata.view_tick(%s), and go on from that tick.",
					 quote_literal_cstr(view->name))));
	pg_unreachable();
}

static void
raise_gone(const TdView *view, int64 first)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("changes of view %s before tick %lld are gone", view->name, (long long) first),
			 errdetail("The option \"changes_kept\" says how long they are kept."),
			 errhint("Read the view together with tapdata.view_tick(%s), in one statement or REPEATABLE READ transaction, and go on from that tick.",
					 quote_literal_cstr(view->name))));
	pg_unreachable();
}

static void
open_reader(Reader *r, Oid feed, int64 since)
{
	List	   *indexes;
	ScanKeyData key;
	TupleDesc	desc;
	TupleDesc	columns;

	memset(r, 0, sizeof(*r));
	r->last = -1;
	r->rel = table_open(feed, AccessShareLock);
	indexes = RelationGetIndexList(r->rel);
	if (indexes == NIL)
		elog(ERROR, "table %s has no index", RelationGetRelationName(r->rel));
	r->index = index_open(linitial_oid(indexes), AccessShareLock);
	desc = RelationGetDescr(r->rel);
	columns = CreateTemplateTupleDesc(desc->natts - HEAD_COLUMNS);
	for (int i = HEAD_COLUMNS; i < desc->natts; i++)
		TupleDescCopyEntry(columns, i - HEAD_COLUMNS + 1, desc, i + 1);
	r->columns = MakeSingleTupleTableSlot(BlessTupleDesc(columns), &TTSOpsVirtual);
	r->row = table_slot_create(r->rel, NULL);
	r->context = AllocSetContextCreate(CurrentMemoryContext, "tapdata change", ALLOCSET_DEFAULT_SIZES);
	init_to_jsonb(&r->to_jsonb);
	ScanKeyInit(&key, 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(since));
	r->scan = td_index_beginscan_compat(r->rel, r->index, GetActiveSnapshot(), 1);
	index_rescan(r->scan, &key, 1, NULL, 0);
}

/* The feed has the columns that the view had when it was turned on. */
static void
read_typed(Reader *r, const TdView *view)
{
	TupleDesc	columns = r->columns->tts_tupleDescriptor;
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(get_rel_type_id(view->relation), -1);
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (n >= columns->natts || TupleDescAttr(columns, n)->atttypid != att->atttypid)
			break;
		n++;
	}
	if (n != columns->natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the changes of view %s do not have the columns of its query", view->name),
				 errhint("Turn the option \"changes\" off and on again.")));
	r->of_view = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	r->typed = true;
}

/* The row in r->columns as one of the view: columns that were dropped are null. */
static Datum
row_of_view(Reader *r)
{
	TupleDesc	desc = r->of_view->tts_tupleDescriptor;
	int			n = 0;

	ExecClearTuple(r->of_view);
	for (int i = 0; i < desc->natts; i++)
	{
		bool		dropped = TupleDescAttr(desc, i)->attisdropped;

		r->of_view->tts_values[i] = dropped ? (Datum) 0 : r->columns->tts_values[n];
		r->of_view->tts_isnull[i] = dropped || r->columns->tts_isnull[n];
		n += !dropped;
	}
	ExecStoreVirtualTuple(r->of_view);
	return ExecFetchSlotHeapTupleDatum(r->of_view);
}

/* to_jsonb(anyelement) asks its call what it is called for. */
static void
init_to_jsonb(FmgrInfo *function)
{
	Expr	   *record = (Expr *) makeNullConst(RECORDOID, -1, InvalidOid);

	fmgr_info(F_TO_JSONB, function);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(record), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL), function);
}

/* The next one in r->row; what the scan allocates on the way it keeps as long as it lives. */
static bool
read_row(Reader *r)
{
	CHECK_FOR_INTERRUPTS();
	if (!index_getnext_slot(r->scan, ForwardScanDirection, r->row))
		return false;
	slot_getallattrs(r->row);
	return true;
}

static void
return_row(Reader *r, ReturnSetInfo *result)
{
	MemoryContext old = MemoryContextSwitchTo(r->context);
	int			n = r->columns->tts_tupleDescriptor->natts;
	Datum		values[HEAD_COLUMNS + 1];
	bool		nulls[HEAD_COLUMNS + 1] = {0};

	ExecClearTuple(r->columns);
	memcpy(r->columns->tts_values, r->row->tts_values + HEAD_COLUMNS, n * sizeof(Datum));
	memcpy(r->columns->tts_isnull, r->row->tts_isnull + HEAD_COLUMNS, n * sizeof(bool));
	ExecStoreVirtualTuple(r->columns);
	memcpy(values, r->row->tts_values, HEAD_COLUMNS * sizeof(Datum));
	values[HEAD_COLUMNS] = r->typed ? row_of_view(r) : FunctionCall1(&r->to_jsonb, ExecFetchSlotHeapTupleDatum(r->columns));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	ExecClearTuple(r->columns);
	MemoryContextSwitchTo(old);
	MemoryContextReset(r->context);
}

static void
close_reader(Reader *r)
{
	index_endscan(r->scan);
	ExecDropSingleTupleTableSlot(r->row);
	ExecDropSingleTupleTableSlot(r->columns);
	if (r->typed)
		ExecDropSingleTupleTableSlot(r->of_view);
	MemoryContextDelete(r->context);
	index_close(r->index, AccessShareLock);
	table_close(r->rel, AccessShareLock);
}

/* Ticks do not wait for their commit records to be written: who tells of one does.  A standby has only what is flushed. */
static void
flush(void)
{
	if (!RecoveryInProgress())
		(void) td_capture_flush();
}
