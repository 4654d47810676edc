/*-------------------------------------------------------------------------
 *
 * doctor.c
 *		tapdata.doctor(): everything that must be right, and what mends it.
 *
 * NOTES
 *		Sessions, as the caller: pipelines are seen through tapdata.pipelines,
 *		so nobody learns more here than there.  A check adds at least one row;
 *		none of them raises for what it finds.
 *
 *		On a well-set server no row has ok = false.
 *
 * IDENTIFICATION
 *		src/monitor/doctor.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "capture/capture.h"
#include "catalog/catalog.h"
#include "connector/connector.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "util/util.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"
#include "view/view.h"
#include "workers/workers.h"

#define TD_PROCESS_TRIES 30
#define WORKERS_OF_GROUP 3		/* view, capture, and now and then fill */
#define WANTED_PIPELINES "status NOT IN ('created', 'completed', 'failed', 'fenced') AND (status <> 'stopped' OR since IS NULL)"	/* null: nothing runs here, or all of them would */
#define TD_LIBRARY_VERSION "0.1"	/* must be default_version of tapdata.control */

static void take_a_break(void);
static void say(ReturnSetInfo *result, const char *item, bool ok, const char *detail, const char *fix);
static void check_preload(ReturnSetInfo *result);
static void check_enabled(ReturnSetInfo *result);
static void check_version(ReturnSetInfo *result);
static void check_processes(ReturnSetInfo *result);
static void check_standby(ReturnSetInfo *result);
static void check_workers(ReturnSetInfo *result);
static void check_origins(ReturnSetInfo *result);
static void check_decoding(ReturnSetInfo *result);
static void check_connectors(ReturnSetInfo *result);
static void check_home(ReturnSetInfo *result);
static void check_failed(ReturnSetInfo *result);
static void check_waiting(ReturnSetInfo *result);
static void check_orphans(ReturnSetInfo *result);
static void check_superusers(ReturnSetInfo *result);
static void check_views(ReturnSetInfo *result);
static void check_old_rows(ReturnSetInfo *result);
static void check_remains(ReturnSetInfo *result);

static void (*const checks[]) (ReturnSetInfo *) = {
	check_preload,
	check_enabled,
	check_version,
	check_processes,
	check_workers,
	check_origins,
	check_decoding,
	check_connectors,
	check_home,
	check_failed,
	check_waiting,
	check_orphans,
	check_superusers,
	check_views,
	check_old_rows,
	check_remains,
};

PG_FUNCTION_INFO_V1(td_sql_doctor);

/* tapdata.doctor() */
Datum
td_sql_doctor(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < lengthof(checks); i++)
		checks[i] ((ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* One row; fix only where something is to be mended. */
static void
say(ReturnSetInfo *result, const char *item, bool ok, const char *detail, const char *fix)
{
	Datum		values[4] = {CStringGetTextDatum(item), BoolGetDatum(ok), CStringGetTextDatum(detail)};
	bool		nulls[4] = {false, false, false, ok || fix == NULL};

	if (!nulls[3])
		values[3] = CStringGetTextDatum(fix);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The first column of the first row of a query, as text in the caller's memory; NULL = no row, or null. */
static char *
ask(const char *sql)
{
	char	   *answer = NULL;

	SPI_connect();
	if (SPI_execute(sql, true, 1) == SPI_OK_SELECT && SPI_processed == 1)
	{
		char	   *v = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (v != NULL)
		{
			answer = SPI_palloc(strlen(v) + 1);
			strlcpy(answer, v, strlen(v) + 1);
		}
	}
	SPI_finish();
	return answer;
}

/* The same as a number. */
static int
ask_number(const char *sql)
{
	char	   *answer = ask(sql);

	return answer ? pg_strtoint32(answer) : 0;
}

/* Was the library loaded by the postmaster? */
static bool
preloaded(void)
{
	const char *libraries = GetConfigOption("shared_preload_libraries", true, false);
	List	   *names = NIL;
	ListCell   *lc;

	if (libraries == NULL || !SplitDirectoriesString(pstrdup(libraries), ',', &names))
		return false;
	foreach(lc, names)
	{
		char	   *base = strrchr(lfirst(lc), '/');

		if (strcmp(base ? base + 1 : (char *) lfirst(lc), "tapdata") == 0)
			return true;
	}
	return false;
}

static void
check_preload(ReturnSetInfo *result)
{
	const char *libraries = GetConfigOption("shared_preload_libraries", true, false);
	bool		ok = preloaded();

	say(result, "shared_preload_libraries", ok,
				  ok ? "tapdata is loaded at server start" : "tapdata is not loaded at server start: nothing runs",
				  psprintf("ALTER SYSTEM SET shared_preload_libraries = %s%stapdata; -- then restart the server",
						   libraries ? libraries : "", libraries && libraries[0] ? ", " : ""));
}

static void
check_enabled(ReturnSetInfo *result)
{
	say(result, "tapdata.enabled", td_enabled, td_enabled ? "on" : "off: nothing is started",
				  "ALTER SYSTEM SET tapdata.enabled = on; SELECT pg_reload_conf();");
}

/* The library on disk, the extension in the database. */
static void
check_version(ReturnSetInfo *result)
{
	char	   *version = ask("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'tapdata'");
	bool		ok = version != NULL && strcmp(version, TD_LIBRARY_VERSION) == 0;

	say(result, "version", ok,
				  psprintf("library %s, extension %s", TD_LIBRARY_VERSION, version ? version : "unknown"),
				  "ALTER EXTENSION tapdata UPDATE; -- or restart the server, if the library is the older one");
}

/* Nothing of ours runs here.  Slots that came along, of a server that was a primary once, keep WAL for nobody, and are made anew after a promotion. */
static void
check_standby(ReturnSetInfo *result)
{
	char	   *slots = ask("SELECT string_agg(pg_catalog.format('SELECT pg_catalog.pg_drop_replication_slot(%L);', slot_name), ' ' ORDER BY slot_name) "
							"FROM pg_catalog.pg_replication_slots WHERE slot_name ~ '^tapdata_[0-9]+_g[0-9]+$' AND NOT active");

	say(result, "processes", slots == NULL, slots ? "this server is a standby, and has replication slots of a time when it was none: they keep WAL for nobody" :
		"this server is a standby: pipelines and views are kept on the primary", slots);
}

/* Nobody else sees it yet: it gets a supervisor at the commit. */
static bool
made_by_this_transaction(void)
{
	char	   *xmin = ask("SELECT xmin::text FROM pg_catalog.pg_extension WHERE extname = 'tapdata'");

	return xmin != NULL && TransactionIdIsCurrentTransactionId((TransactionId) strtoul(xmin, NULL, 10));
}

/* The launcher of the cluster and the supervisor of this database; both may be on their way after CREATE EXTENSION, a probe before the supervisor. */
static void
check_processes(ReturnSetInfo *result)
{
	bool		made_now = made_by_this_transaction();
	int			launchers = 0;
	int			supervisors = 0;
	int			coming = 0;
	TdError		starved = {0};

	if (!preloaded() || !td_enabled)
		return;					/* said already */
	if (RecoveryInProgress())
	{
		check_standby(result);
		return;
	}
	for (int i = 0; i < TD_PROCESS_TRIES && (launchers == 0 || (supervisors == 0 && !made_now)); i++)
	{
		if (i > 0)
			take_a_break();
		launchers = ask_number("SELECT count(*)::int FROM tapdata.workers WHERE kind = 'launcher'");
		supervisors = ask_number("SELECT count(*)::int FROM tapdata.workers WHERE kind = 'supervisor' "
								 "AND database = pg_catalog.current_database()");
		coming = ask_number("SELECT count(*)::int FROM tapdata.workers WHERE kind = 'probe' AND database = pg_catalog.current_database()");
	}
	if (supervisors + coming == 0)
		(void) td_supervisor_starved(&starved);
	say(result, "processes", launchers > 0 && supervisors + coming + made_now > 0,
		psprintf("launcher %s, supervisor of this database %s%s%s", launchers ? "runs" : "does not run",
				 supervisors ? "runs" : coming ? "is on its way" : made_now ? "starts at the commit of this transaction" : "does not run",
				 starved.sqlstate[0] ? ": " : "", starved.message),
		starved.sqlstate[0] ? psprintf("-- %s", starved.hint) : "-- the server log says why");
}

/* A tenth of a second. */
static void
take_a_break(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * One for the launcher, one supervisor for each database, one for each running
 * pipeline, three for a group of views; PostgreSQL's own launcher too.
 */
static void
check_workers(ReturnSetInfo *result)
{
	int			wanted = ask_number("SELECT count(*)::int FROM tapdata.pipelines "
									"WHERE " WANTED_PIPELINES) +
		WORKERS_OF_GROUP * ask_number("SELECT count(DISTINCT group_name)::int FROM tapdata.views WHERE status <> 'fenced'");
	int			others = ask_number("SELECT count(*)::int FROM pg_catalog.pg_stat_activity "
									"WHERE backend_type <> ALL ('{client backend,checkpointer,background writer,walwriter,startup,archiver,"
									"autovacuum launcher,autovacuum worker,walsender,walreceiver,parallel worker}') AND backend_type NOT LIKE 'tapdata%' "
									"AND backend_type NOT LIKE 'io worker%' AND backend_type <> 'walsummarizer' AND backend_type <> 'slotsync worker'");
	int			needed = 2 + wanted + others;
	TdError		why;
	bool		starved = td_supervisor_starved(&why);

	say(result, "max_worker_processes", max_worker_processes >= needed && !starved,
				  psprintf("%d, of which at least %d are needed here%s", max_worker_processes, needed, starved ? ", and no worker is free" : ""),
				  psprintf("ALTER SYSTEM SET max_worker_processes = %d; -- then restart the server", Max(starved ? max_worker_processes * 2 : 32, needed * 2)));
	say(result, "tapdata.max_workers", td_max_workers >= 2 + wanted,
				  psprintf("%d, of which at least %d are needed", td_max_workers, 2 + wanted),
				  psprintf("ALTER SYSTEM SET tapdata.max_workers = %d; -- then restart the server", Max(32, (2 + wanted) * 2)));
}

/* Each running pipeline has a replication origin, and each active origin takes one state; up to 17 they share a setting with slots. */
static void
check_origins(ReturnSetInfo *result)
{
	const char *setting = GetConfigOption("max_active_replication_origins", true, false);
	const char *name = setting ? "max_active_replication_origins" : "max_replication_slots";
	int			limit = setting ? pg_strtoint32(setting) : max_replication_slots;
	int			origins = ask_number("SELECT count(*)::int FROM pg_catalog.pg_replication_origin WHERE roname !~ '^tapdata_[0-9]+_rows$'");	/* no session's own */
	int			wanted = ask_number("SELECT count(*)::int FROM tapdata.pipelines WHERE " WANTED_PIPELINES);
	int			ours = ask_number("SELECT count(*)::int FROM pg_catalog.pg_replication_origin WHERE roname LIKE 'tapdata\\_%' AND roname !~ '_rows$'");
	int			needed = origins - ours + Max(ours, wanted);

	say(result, name, limit >= needed,
				  psprintf("%d, of which %d are needed for replication origins", limit, needed),
				  psprintf("ALTER SYSTEM SET %s = %d; -- then restart the server", name, Max(16, needed * 2)));
}

/* Live views are fed by logical decoding. */
static void
check_decoding(ReturnSetInfo *result)
{
	bool		restart;
	char	   *lines = td_capture_lacks(&restart);

	say(result, "logical decoding", lines == NULL, td_capture_settings(),
		lines ? psprintf("%s -- for live views; then %s", lines, restart ? "restart the server" : "SELECT pg_reload_conf()") : NULL);
}

/* The host program is there and finds connectors that can be used. */
static void
check_connectors(ReturnSetInfo *result)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	List	   *volatile names = NIL;
	char	   *volatile problem = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		ListCell   *lc;

		names = td_connector_list();
		foreach(lc, names)
			(void) td_connector_describe(lfirst(lc));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata = td_caught_in_subtransaction(caller, owner);

		problem = edata->detail ? psprintf("%s: %s", edata->message, edata->detail) : edata->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (problem == NULL && names == NIL)
		problem = "the host program finds no connector";
	say(result, "connectors", problem == NULL, problem ? problem : td_list_text(names),
				  "-- install tapdata again, with the client libraries of the connectors you want: make install");
}

static void
check_home(ReturnSetInfo *result)
{
	bool		here = td_installation_is_here();

	say(result, "database", here,
				  here ? "pipelines and views of this database were made here" : "this database is a copy, its pipelines and views are fenced",
				  "SELECT tapdata.adopt_database(); -- only if the copy shall run on its own");
}

/* A row that is fine when a list of names is empty. */
static void
say_names(ReturnSetInfo *result, const char *item, const char *sql, const char *good, const char *bad, const char *fix)
{
	char	   *names = ask(sql);

	say(result, item, names == NULL, names ? psprintf("%s: %s", bad, names) : good, fix);
}

static void
check_failed(ReturnSetInfo *result)
{
	say_names(result, "failed pipelines",
			  "SELECT string_agg(pg_catalog.quote_ident(name) || ' (' || coalesce(error, '') || ')', ', ' ORDER BY name) "
			  "FROM tapdata.pipelines WHERE status = 'failed'",
			  "none", "need a person", "SELECT name, error, hint FROM tapdata.pipelines WHERE status = 'failed'; -- mend, then tapdata.start_pipeline(name)");
}

static void
check_waiting(ReturnSetInfo *result)
{
	say_names(result, "waiting pipelines",
			  "SELECT string_agg(pg_catalog.quote_ident(name), ', ' ORDER BY name) FROM tapdata.pipelines WHERE status = 'waiting_for_worker'",
			  "none", "no background worker is free",
			  psprintf("ALTER SYSTEM SET max_worker_processes = %d; -- then restart the server", max_worker_processes * 2));
}

/* A connection that was dropped or renamed, an owner that was dropped. */
static void
check_orphans(ReturnSetInfo *result)
{
	say_names(result, "orphaned pipelines",
			  "SELECT string_agg(pg_catalog.quote_ident(p.name), ', ' ORDER BY p.name) FROM tapdata.pipelines p WHERE NOT EXISTS "
			  "(SELECT FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw "
			  "WHERE w.fdwname = 'tapdata' AND s.srvname = p.connection) "
			  "OR NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = p.owner)",
			  "none", "their connection or their owner is gone",
			  "-- create the connection again under its name, or SELECT tapdata.drop_pipeline(name)");
}

/* Allowed, and named. */
static void
check_superusers(ReturnSetInfo *result)
{
	char	   *names = ask("SELECT string_agg(pg_catalog.quote_ident(p.name), ', ' ORDER BY p.name) FROM tapdata.pipelines p "
							"JOIN pg_catalog.pg_roles r ON r.rolname = p.owner WHERE r.rolsuper");

	say(result, "pipelines of superusers", true, names ? names : "none", NULL);
	names = ask("SELECT string_agg(v.view::text, ', ' ORDER BY v.view::text) FROM tapdata.views v "
				"JOIN pg_catalog.pg_roles r ON r.rolname = v.owner WHERE r.rolsuper");
	say(result, "views of superusers", true, names ? names : "none", NULL);
}

#define LONG_AGO "pg_catalog.clock_timestamp() - interval '10 s'"	/* what view/maintain/pace.c does then can be felt */

static void
check_views(ReturnSetInfo *result)
{
	say_names(result, "failed views",
			  "SELECT string_agg(view::text || ' (' || coalesce(CASE WHEN status = 'failed' THEN error ELSE 'its new definition: ' || replacing_error END, '') || ')', ', ' "
			  "ORDER BY view::text) FROM tapdata.views WHERE status = 'failed' OR replacing = 'failed'",
			  "none", "need a person", "SELECT view, error, hint, replacing_error FROM tapdata.views WHERE status = 'failed' OR replacing = 'failed'; "
			  "-- mend, then tapdata.refresh_view(view)");
	say_names(result, "locked views",
			  "SELECT string_agg(view::text || ' (' || coalesce(error, '') || ')', ', ' ORDER BY view::text) FROM tapdata.views WHERE status = 'snapshot' AND sqlstate = '55P03'",
			  "none", "wait for a lock, and are filled anew when it is released",
			  "SELECT * FROM pg_locks WHERE mode = 'AccessExclusiveLock'; -- who holds it shall end");
	say_names(result, "new views",
			  "SELECT string_agg(pg_catalog.format('slot %s, open: %s', s.slot_name, coalesce((SELECT string_agg(who, ', ' ORDER BY since) FROM ("
			  "SELECT pg_catalog.format('process %s', pid), xact_start FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL UNION ALL "
			  "SELECT pg_catalog.format('prepared transaction %L', gid), prepared FROM pg_catalog.pg_prepared_xacts) x (who, since)), 'none any more')), ', ') "
			  "FROM pg_catalog.pg_replication_slots s "
			  "WHERE s.database = pg_catalog.current_database() AND s.slot_name ~ '^tapdata_[0-9]+_g[0-9]+$' AND s.confirmed_flush_lsn IS NULL",
			  "none waits for open transactions", "wait for transactions that were open when their replication slot was begun",
			  "SELECT pid, xact_start, state, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start; -- and pg_prepared_xacts: these shall end");
	say_names(result, "capture",
			  "SELECT string_agg(pg_catalog.format('slot %s has %s of the log still to decode since %s (process %s, waiting for %s; %s of transactions spilled to disk by now)', "
			  "s.slot_name, pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), d.lsn)), date_trunc('second', coalesce(d.at, a.backend_start)), "
			  "s.active_pid, coalesce(a.wait_event, 'nothing'), pg_catalog.pg_size_pretty(coalesce(t.spill_bytes, 0))), ', ' ORDER BY s.slot_name) "
			  "FROM pg_catalog.pg_replication_slots s CROSS JOIN LATERAL tapdata.group_decoded(split_part(s.slot_name::text, '_g', 2)::integer) d "
			  "LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid LEFT JOIN pg_catalog.pg_stat_replication_slots t ON t.slot_name = s.slot_name "
			  "WHERE s.database = pg_catalog.current_database() AND s.slot_name ~ ('^tapdata_[0-9]+_g[0-9]{1,9}$') AND d.lsn IS NOT NULL AND coalesce(d.at, a.backend_start) < pg_catalog.clock_timestamp() - interval '5 s'",
			  "none is behind", "is behind, and the views with it",
			  "SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL; -- a large transaction is decoded as a whole: it needs time; more tapdata.worker_memory spills less");
	say_names(result, "slow views",
			  "SELECT string_agg(pg_catalog.format('%s takes %s ms of each tick of group %I', view, round(slow_ms), group_name), ', ' ORDER BY view::text) "
			  "FROM tapdata.views WHERE slow_ms IS NOT NULL AND status = 'streaming'",
			  "none", "hold up the other views of their group",
			  "SELECT view, pg_get_viewdef(twin) FROM tapdata.views WHERE slow_ms IS NOT NULL; -- drop it and create it with that query and the option "
			  "{\"group\": \"its_own\"}, those that read it likewise; or allow the group more: SELECT tapdata.alter_view(view, '{\"max_lag\": \"1 s\"}')");
	say_names(result, "old snapshots",
			  "SELECT string_agg(who, ', ' ORDER BY since) FROM (SELECT pg_catalog.format('process %s', pid), xact_start FROM pg_catalog.pg_stat_activity "
			  "WHERE datname = pg_catalog.current_database() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start < " LONG_AGO " "
			  "AND backend_type NOT IN ('autovacuum worker', 'parallel worker') AND backend_type NOT LIKE 'tapdata%' AND pid <> pg_catalog.pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_progress_vacuum) "
			  "UNION ALL SELECT pg_catalog.format('prepared transaction %L', gid), prepared FROM pg_catalog.pg_prepared_xacts "
			  "WHERE database = pg_catalog.current_database() AND prepared < " LONG_AGO ") x (who, since) "
			  "WHERE EXISTS (SELECT FROM tapdata.views WHERE status = 'streaming')",
			  "none", "open for more than 10 s: no dead row goes meanwhile, and ticks are farther apart, up to a second, so that fewer come",
			  "SELECT pid, xact_start, state, query FROM pg_stat_activity WHERE backend_xmin IS NOT NULL OR backend_xid IS NOT NULL ORDER BY xact_start; "
			  "-- and pg_prepared_xacts: these shall end");
	say_names(result, "waiting views",
			  "SELECT string_agg(view::text, ', ' ORDER BY view::text) FROM tapdata.views WHERE status = 'waiting_for_worker'",
			  "none", "no background worker is free",
			  psprintf("ALTER SYSTEM SET max_worker_processes = %d; -- then restart the server", max_worker_processes * 2));
}

/* Somebody has changed a replica identity: exact all the same, but each change of the table computes views anew. */
static void
check_old_rows(ReturnSetInfo *result)
{
	List	   *names = NIL;
	StringInfoData fix;
	ListCell   *lc;

	initStringInfo(&fix);
	foreach(lc, td_view_tables_lacking())
	{
		const TdPair *table = lfirst(lc);

		names = lappend(names, table->name);
		appendStringInfo(&fix, "%s%s", fix.len > 0 ? " " : "", table->value);
	}
	say(result, "old rows", names == NIL, names == NIL ? "written where live views need them" :
		psprintf("not written, so that each change computes live views anew: %s", td_list_text(names)), fix.data);
}

/* A dump of definitions only has what views are made of, but not the views: the catalog's rows are data. */
static void
check_remains(ReturnSetInfo *result)
{
	static const char remains[] =
		"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v') AND "
		"n.nspname IN ('tapdata_views', 'tapdata_parts', 'tapdata_state') AND c.relname !~ '^load_' AND "
		"pg_catalog.pg_has_role('pg_monitor', 'USAGE') AND NOT EXISTS (SELECT FROM tapdata.views)";	/* who sees all of them */
	char	   *names;

	names = ask(psprintf("SELECT string_agg(pg_catalog.format('%%I.%%I', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname) %s", remains));
	say(result, "remains of views", names == NULL, names ? psprintf("parts of views that are not here, of a dump without data: %s", names) : "none",
		names ? ask(psprintf("SELECT 'DROP VIEW IF EXISTS ' || string_agg(pg_catalog.format('%%I.%%I', n.nspname, c.relname), ', ') FILTER (WHERE c.relkind = 'v') || ' CASCADE; ' || "
							 "coalesce('DROP TABLE IF EXISTS ' || string_agg(pg_catalog.format('%%I.%%I', n.nspname, c.relname), ', ') FILTER (WHERE c.relkind = 'r') || ' CASCADE', '') %s", remains)) : NULL);
}
