/*-------------------------------------------------------------------------
 *
 * catalog_internal.h
 *		What the files of catalog/ share: statements with kept plans, option
 *		tables, rights.
 *
 * src/catalog/catalog_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_CATALOG_INTERNAL_H
#define TD_CATALOG_INTERNAL_H

#include "postgres.h"
#include "fmgr.h"
#include "catalog/catalog.h"
#include "executor/spi.h"
#include "util/util.h"

/* ---- statements on our own tables (catalog.c); between td_catalog_enter and td_catalog_leave ---- */
#define TD_MAX_ARGS 12

typedef struct TdArg
{
	Oid			type;
	Datum		value;
	bool		null;
} TdArg;

/* One statement, planned once per session; the types of the first run stay its types. */
typedef struct TdStatement
{
	const char *sql;
	SPIPlanPtr	plan;
} TdStatement;

extern TdArg td_arg_int4(int32 v);
extern TdArg td_arg_int8(int64 v);
extern TdArg td_arg_oid(Oid v);
extern TdArg td_arg_bool(bool v);
extern TdArg td_arg_text(const char *v);	/* NULL = null */
extern TdArg td_arg_text_array(List *words);
extern TdArg td_arg_jsonb(Datum v);
extern TdArg td_arg_timestamptz(int64 v, bool null);
extern uint64 td_run(TdStatement *statement, int nargs, const TdArg *args);	/* rows */
extern uint64 td_look(TdStatement *statement, int nargs, const TdArg *args);	/* a SELECT, under the active snapshot */
#define TD_RUN(statement, ...) \
	td_run(statement, sizeof((TdArg[]){__VA_ARGS__}) / sizeof(TdArg), (TdArg[]){__VA_ARGS__})

/* Columns (from 1) of a row of the last td_run; texts in the memory of td_catalog_enter's caller. */
extern char *td_col_text(uint64 row, int col);	/* NULL = null */
extern List *td_col_words(uint64 row, int col); /* text[] */
extern int64 td_col_int(uint64 row, int col);	/* smallint, int, bigint, oid; 0 for null */
extern bool td_col_bool(uint64 row, int col);
extern double td_col_float(uint64 row, int col);	/* 0 for null */
extern TimestampTz td_col_time(uint64 row, int col, bool *null);
extern List *td_col_all(int col);	/* that column of all rows, as words */

/* ---- status and errors of pipelines and view groups, with one table of legal moves (state.c) ---- */
typedef struct TdStatusOf
{
	const char *noun;
	const char *log_kind;
	TdStatement look,
				move,
				forget,
				fail,
				again,
				never;
} TdStatusOf;

extern TdStatusOf td_status_of_pipeline;
extern TdStatusOf td_status_of_group;
extern void td_status_set(TdStatusOf *of, int32 id, const char *status);	/* td_pipeline_set_status, td_group_set_status */
extern void td_status_error(TdStatusOf *of, int32 id, const TdError *err);	/* td_pipeline_set_error, td_group_set_error */

/* ---- home.c: which database this is ---- */
extern char *td_home(void);

extern bool td_library_preloaded(void);
extern int	td_log_retention;	/* minutes; 0 = for ever */

/* ---- rights (rights.c) ---- */
extern bool td_may_create_connections(Oid role);
extern bool td_may_use_server(Oid role, Oid server);
extern bool td_may_create_in_schema(Oid role, Oid schema);
extern bool td_may_create_schemas(Oid role);
extern bool td_is_monitor(Oid role);
extern void td_check_name_length(const char *name, const char *what);	/* 42602 empty, 42622 too long */

/* ---- a connector's option table (options.c) ---- */
typedef struct TdOptionRow
{
	char	   *name;
	char	   *kind;			/* text, int, bool, file */
	char	   *choices;		/* NULL = any */
	bool		required;
	bool		fallback;		/* has a default */
	bool		credential;
	bool		secret;
} TdOptionRow;

typedef enum TdOptionPlace
{
	TD_IN_SERVER,
	TD_IN_MAPPING
} TdOptionPlace;

extern List *td_option_rows(const char *connector); /* of TdOptionRow *; 42704 */
extern List *td_all_credential_rows(void);	/* of every connector that can be asked */
extern void td_options_check(List *pairs, List *rows, TdOptionPlace place, const char *connector);	/* unknown, misplaced, value, file */
extern void td_options_check_required(List *pairs, List *rows, TdOptionPlace place, const char *connector);
extern List *td_pairs_of_options(List *defelems);	/* DefElem list to TdPair list */

extern void td_unknown_option(const char *owner, const char *name, List *known) pg_attribute_noreturn();	/* 22023, with the closest */

/* ---- connections (connection.c) ---- */
extern Oid	td_connection_server(const char *name, bool missing_ok);	/* 42704 with the closest name */
extern List *td_server_pairs(Oid server);	/* options, `connector` among them */
extern void td_hide_statement(const char *instead); /* first thing in whatever takes credentials */
extern bool td_mapping_pairs(Oid server, Oid role, bool or_public, List **pairs);	/* false = no mapping */

/* ---- pipelines (pipeline.c) ---- */
extern TdPipeline *td_pipeline_lock(const char *name);	/* find for its owner, and keep others from controlling it until commit */
extern void td_pipelines_restart_at_commit(const char *connection, Oid owner);	/* running ones; InvalidOid = of any owner.  NOTICE for each */
extern void td_pipeline_restart_at_commit(int32 id);
extern void td_pipeline_drop(const char *name, bool drop_tables);
extern void td_pipeline_stop_and_wait(const TdPipeline *p, bool force);
extern void td_pipeline_drop_load_tables(int32 id, int32 n);	/* n < 0 = all of them */

/* ---- options of a pipeline (pipeline_options.c) ---- */
extern void td_pipeline_options_check(List *pairs, bool whole);	/* whole: also what must fit together */
extern Datum td_pairs_to_jsonb(List *pairs);	/* nulls left out */

/* ---- views (view.c, view_define.c, view_options.c) ---- */
/* The number of a view that learns of changes by the one with this number, of its parts the view itself; NULL = none does. */
#define TD_LEARNER_OF(ID) \
	"(SELECT coalesce(r.part_of, r.id) FROM tapdata.view_kept k JOIN tapdata.view r ON r.id = k.view WHERE k.kept = " ID " ORDER BY 1 LIMIT 1)"

/* The oids in a row of tapdata.view v (or tapdata.replica_identity v) are those of relations here: it was made in this database, or in the files that it is a copy of. */
#define TD_OIDS_ARE_OURS \
	"(split_part(v.home, '/', 1), split_part(v.home, '/', 3)) = (SELECT split_part(h, '/', 1), split_part(h, '/', 3) FROM tapdata.home() h)"

extern void td_views_bind(void);	/* twins and state tables go with their views, as a dump does not say; between td_catalog_enter and _leave */
extern void td_identities_follow(void); /* view_identity.c, likewise: names after DDL */
extern void td_identities_adopt(void);	/* in a copy */
extern void td_feeds_adopt(void);	/* in a copy: numbers of its own */
extern Datum td_view_options_json(List *options);	/* nulls included */

/* ---- the write guard (guard.c) ---- */
extern void td_write_guards(int32 pipeline, bool on);	/* on all published targets */

#endif							/* TD_CATALOG_INTERNAL_H */
