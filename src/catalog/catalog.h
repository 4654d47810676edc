/*-------------------------------------------------------------------------
 *
 * catalog.h
 *		The door of catalog/: connections, pipelines and their state as structs,
 *		and the rights on them.
 *
 * NOTES
 *		Every function that touches the catalog tables runs inside the caller's
 *		transaction, through SPI, as the bootstrap superuser with search_path
 *		pg_catalog, pg_temp (td_catalog_enter / td_catalog_leave), and returns
 *		memory of the caller's CurrentMemoryContext.
 *
 * src/catalog/catalog.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_CATALOG_H
#define TD_CATALOG_H

#include "postgres.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"
#include "stream/stream.h"

/* ---- acting as the extension itself ---- */
typedef struct TdCatalogScope
{
	Oid			user;
	int			sec_context, guc_level;
} TdCatalogScope;

extern void td_catalog_enter(TdCatalogScope *scope);	/* also SPI_connect */
extern void td_catalog_leave(TdCatalogScope *scope);	/* also SPI_finish; not needed on error: abort restores all */
extern void td_run_as_caller(const char *sql);	/* one statement with the rights in force, pinned to pg_catalog */

/* ---- connections (foreign servers of the wrapper tapdata) ---- */
typedef struct TdConnection
{
	Oid			server;
	char	   *name, *connector;
	int			noptions;		/* the connector's own options and credentials, `connector` left out */
	char	  **names, **values;	/* secrets among them: never into a message */
} TdConnection;

/* The options of the server and of role's user mapping (else PUBLIC's).  Checks USAGE for role: 42501; unknown: 42704 with the closest name. */
extern TdConnection *td_connection_load(const char *name, Oid role);
extern const char *td_connection_database(const TdConnection *connection);	/* the one that it reads; "" = names of tables may have theirs before them */

/* ---- pipelines ---- */
typedef enum TdSyncType {TD_SYNC_FULL_AND_CDC, TD_SYNC_FULL, TD_SYNC_CDC} TdSyncType;	/* "initial_sync+cdc", "initial_sync", "cdc" */
typedef enum TdInsertPolicy {TD_INSERT_UPDATE_ON_EXISTS, TD_INSERT_IGNORE_ON_EXISTS, TD_INSERT_JUST_INSERT} TdInsertPolicy;

typedef enum TdExisting			/* option "existing": a target table that is already there */
{
	TD_EXISTING_REFUSE,			/* "error": 42P07 */
	TD_EXISTING_KEEP,			/* "keep_data": rows stay, changes go in (sync type "cdc") */
	TD_EXISTING_DROP			/* "drop_table": replaced when the mirror is published */
} TdExisting;

typedef struct TdPipeline
{
	int32		id;
	char	   *name, *connection;
	Oid			owner;
	List	   *tables, *except_tables; /* of char * */
	char	   *into_schema;
	bool		wanted;			/* desired = running */
	TdSyncType	sync_type;		/* option "type" */
	TdInsertPolicy insert_policy;	/* "insert_policy" */
	TdExisting	existing;
	bool		writable;
	char	   *start_position; /* "position", for type "cdc"; NULL = now */
	char	   *status;			/* state */
	bool		planned, load_done, published;
	char	   *load_position, *catch_up_position, *position;
	int64		rows_loaded, rows_applied;
} TdPipeline;

typedef struct TdPipelineTable
{
	int32		n;
	char	   *source_database, *source_table;
	char	   *target_schema, *target_table;
	Oid			relation;
	char	   *status, *cursor, *skip_to;
	bool		has_key;
	int64		rows_loaded, row_estimate;
} TdPipelineTable;

extern TdPipeline *td_pipeline_load(int32 id);	/* NULL = gone */
extern TdPipeline *td_pipeline_find(const char *name, bool for_owner);	/* 42704 with the closest name; for_owner: 42501 unless the current user is (a member of) its owner */
extern List *td_pipeline_tables(int32 id);	/* of TdPipelineTable *, by n */
extern void td_pipeline_plan(int32 id, List *tables);	/* fills pipeline_table, sets planned */

extern void td_state_load_position(int32 id, const char *position);	/* here and below NULL leaves a column as it is */
extern void td_state_load_done(int32 id, const char *catch_up_position);
extern void td_state_published(int32 id);	/* published, exact, tables streaming */
extern void td_state_inexact(int32 id);	/* rows were skipped: exact = false until it is loaded again */
extern void td_state_checkpoint(int32 id, const char *position, int64 source_time /* INT64_MIN = unknown */ , int64 rows_applied_more);
extern void td_table_loading(int32 id, int32 n, Oid relation, const char *skip_to);	/* from the start: cursor '', rows 0 */
extern void td_table_cursor(int32 id, int32 n, const char *cursor, int64 rows_more);
extern void td_table_status(int32 id, int32 n, const char *status, const char *error);

/* Moves the status (src/workers/README.md has the legal moves; else XX000), logs a change.  Streaming, stopped or completed: clears the error and retry columns. */
extern void td_pipeline_set_status(int32 id, const char *status);
/* The worker failed: retrying with retry_at (1 s doubling to 60 s) for a retryable error within 60 minutes of the first, else failed. */
extern void td_pipeline_set_error(int32 id, const TdError *err);

/* ---- views (view.c) ---- */
typedef struct TdView
{
	int32		id, group, part_of, replaces, version, keeps;	/* part_of: it is a hidden part of that view, or (replaces) its new definition; 0 = of none.  keeps: it keeps old rows, with so many key columns */
	Oid			owner, relation, twin, query; /* query: the SQL view that is kept: the twin, or one that reads parts */
	char	   *name;			/* "schema.table", quoted as needed; of today; of a part that of its view */
	List	   *settings;		/* of TdPair * (util.h): pinned */
	bool		unlogged, writable, changes, allow_full;	/* options */
	int			timeout_ms, fill_timeout_ms;	/* options "timeout", of one tick of it, and "fill_timeout"; 0 = none */
	char	   *status, *snapshot;	/* state */
	bool		exact, filled, given;	/* given: of td_views_follow, it has another owner now */
	double		whole_ms;		/* what computing it took last; 0 = not known */
	TdError    *error;			/* NULL = none */
} TdView;

typedef struct TdGroup
{
	int32		id, max_lag_ms;
	char	   *name, *status, *snapshot;	/* snapshot: the checkpoint; NULL = none */
	uint64		bound;			/* LSN, 0 = none */
	TdError    *error;			/* NULL = none */
} TdGroup;
#define TD_INDEX_COMMENT "live views of tapdata find rows of this table by it"	/* tells an index of theirs from a user's, in a restored dump too */
typedef struct TdIdentity {Oid relation, index; char kind;} TdIdentity;	/* kind: d, n, i; index: only for 'i' */
extern TdGroup *td_group_load(int32 id);	/* NULL = gone */
extern List *td_groups_streaming(void);	/* of int: those of this database with views that stream, once their worker is there */
extern List *td_group_views(int32 id);	/* of TdView *, each after those it reads */
extern TdView *td_view_load(int32 id);	/* NULL = gone */
extern TdView *td_view_of(Oid relation, bool missing_ok);	/* by its table; 42704 with a hint */
extern TdView *td_view_of_twin(Oid twin);	/* by the SQL view with its definition; NULL = not one of ours */
extern List *td_view_parts(int32 id);	/* of TdView *, each after those it reads; at last its new definition, with parts of its own */
extern void td_group_checkpoint(int32 id, const char *snapshot, int64 snapshot_time, uint64 bound, const char *slot, int64 ticks_more);
extern void td_group_set_status(int32 id, const char *status);	/* as td_pipeline_set_status */
extern void td_group_set_error(int32 id, const TdError *err);
/* Status of one view; err NULL clears the error.  "streaming" sets exact; "snapshot" and "failed" keep the snapshot it still equals (NULL = as it is), exact = false. */
extern void td_view_set_status(int32 id, const char *status, const char *snapshot, const TdError *err);
extern void td_view_filled(int32 id, const char *snapshot, double whole_ms);	/* by the fill worker, in its transaction */
extern void td_view_count(int32 id, int64 ticks_more, int64 recomputes_more, double last_ms, double whole_ms);	/* whole_ms 0 = as it is */
extern void td_view_count_runs(int32 id, const char *how, int64 more, double ms_more, double last_ms);
extern List *td_view_runs(int32 id);	/* of TdPair *: how, and how often and long in words; the most frequent first */
extern void td_view_set_slow(int32 id, double ms);	/* what it takes of each tick of its group, which is too much; 0 = it is not */
/* Definitions of views (view_define.c), written by sessions in their transactions; rights are the affair of who calls. */
extern void td_view_options_check(List *options, bool is_new);	/* of TdPair *; 22023 with the closest name */
extern void td_view_add(TdView *v, List *options, Datum settings, const char *strategy);	/* owner, relation, twin are set; sets id and group (made when missing).  With a reserved id: may be called again for another twin, query, settings and strategy */
extern List *td_view_reserve(int n);	/* of int: ids, ascending */
extern void td_view_add_base(int32 id, Oid relation, const Bitmapset *columns);
extern void td_view_alter(const TdView *v, List *options);	/* merged; nulls remove */
extern void td_view_refill(int32 id);	/* status 'created' for its worker */
extern List *td_views_all(void), *td_views_reading(Oid relation), *td_view_bases(int32 id);	/* of TdView *: without parts; that read it directly.  Of oid: what it reads directly */
typedef struct TdKept {Oid base, relation; int32 id;} TdKept;	/* a base table, and the view that keeps old rows of it */
extern List *td_view_kept(int32 id), *td_views_keeping(Oid base), *td_views_unread(void);	/* of TdKept *: by which it learns of changes; of TdView *: that keep rows of that table; for nobody any more */
extern void td_view_add_kept(int32 id, int32 kept);
extern List *td_views_follow(void); /* after DDL: forgets those whose table is gone, takes over names and owners; of TdView *: with a new one */
extern Bitmapset *td_view_columns(Oid relation), *td_view_columns_read(Oid relation);	/* of which views that read it directly need old values: not those that are computed as a whole, nor where old rows are kept; all that are read */
extern List *td_identities(bool everywhere);	/* of TdIdentity *: replica identities changed for views, as they were; everywhere: in a copy that was not adopted, too */
extern void td_identity_keep(const TdIdentity *was, bool keep); /* only the first is kept; or forgets it */
extern void td_write_guard(Oid relation, bool on), td_twin_guard(Oid twin); /* locks it; within td_catalog_enter */
extern void td_require_clean_transaction(const char *function, const char *what);	/* 25001 in REPEATABLE READ or above, or when it wrote */
extern List *td_view_options(int32 id), *td_view_options_for(List *options, char heir); /* of TdPair *: as stored; those that a part of a view ('p'), a keeper ('k'), its new definition ('n') has as well */
extern List *td_view_options_kept(List *options, List *stored);	/* those that alter_view takes; 22023 when one of the others but allow_full is not as stored */
extern List *td_view_reshape(Oid table, Oid like);	/* of TdPair *: what the table lacks to hold the other's rows: step (see there) and text */
extern bool td_view_lock_rows(int32 old, int32 new);	/* false = a session has them */
extern void td_view_take_over(int32 old, int32 new);	/* the catalog's rows */
extern void td_group_serialize(int32 id);	/* until the transaction ends */

/* ---- feeds of views, option "changes" (view_feed.c): tapdata_state.v<id>_c has what their ticks changed, tapdata.view_feed the numbers of these ---- */
extern Oid	td_feed_table(int32 id);	/* InvalidOid = there is none */
extern bool td_feed_read(int32 id, int64 *tick, int64 *gone);	/* the last one, -1 = it is not filled yet; changes up to `gone` are not kept.  Active snapshot; false = it never had a feed */
extern void td_feed_turned_on(int32 id);	/* by the session that made the table and keeps workers away */
extern int64 td_feed_next(int32 id);	/* the number of this transaction's tick */
extern void td_feed_loaded(int32 id);	/* the view's rows are there, those of no tick: all before them is gone */
extern int64 td_feed_prune(int32 id, int most, int64 *from, int64 *next);	/* rows deleted; from: the tick before which there are none, 0 = not known; next: when the oldest that is left expires, 0 = none is left */

/* ---- what DDL does to servers and roles (follow.c); only where the extension is installed ---- */
extern void td_connection_renamed(const char *from, const char *to);	/* after the command */
extern List *td_connections_used(void); /* before it: names */
extern void td_connections_dropped(List *names);	/* after it */
extern void td_role_require_no_pipelines(Oid role); /* before DROP ROLE: 2BP01 */

/* ---- log ---- */
extern void td_log(const char *level, const char *kind, const char *object, Oid owner, const TdError *err);	/* err->message is the message; sqlstate may be "" */

/* ---- installation ---- */
extern Oid	td_extension_hold(void);	/* keeps DROP EXTENSION out until the transaction ends; InvalidOid = it is gone */
extern bool td_installation_is_here(void), td_schema_is_reserved(const char *schema);	/* system identifier and database oid match; a schema of tapdata or of the server itself */
extern List *td_adopt(int *pipelines);	/* of int: views (with parts) that came with a copy and are of this database from now on */
extern void td_home_require(void);	/* 55000 in a copy that was not adopted */
extern char *td_role_text(Oid role);	/* for messages, also of a role that is gone */
extern void td_catalog_init(void);	/* from _PG_init: settings of this room */

#endif							/* TD_CATALOG_H */
