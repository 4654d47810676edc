/*-------------------------------------------------------------------------
 *
 * sql_internal.h
 *		What the SQL functions of views share.
 *
 * src/view/sql/sql_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_VIEW_SQL_INTERNAL_H
#define TD_VIEW_SQL_INTERNAL_H

#include "fmgr.h"
#include "storage/lockdefs.h"
#include "util/util.h"
#include "view/view_internal.h"

#define TD_OUR_STATEMENT "SQL statement \""	/* how the context of an error begins that came from a statement of ours: nothing that the user wrote */

/* ---- query.c: the user's query ---- */
extern Query *td_query_total(Query *query, List **proofs);	/* its orders made total, in place; raises what stands against that */
extern Query *td_query_analyse(const char *sql);	/* as the caller, in his search_path: exactly one SELECT without parameters; rights checked */
extern TdShape *td_query_shape(Query *query, Oid owner, bool allow_full);	/* raises what stands against it; the query is left alone */
extern bool td_query_refused(Query *query, Oid owner, TdError *err);	/* what stands against all ways but that as a whole */
extern char *td_query_text(Query *query); /* qualified, with twins in place of the tables of live views */
extern int	td_pin_path(void);	/* search_path pg_catalog, until AtEOXact_GUC(true, level) */

/* ---- table.c: what a view consists of ---- */
typedef struct TdViewName
{
	char	   *schema, *table;
	Oid			schema_oid;
} TdViewName;

extern void td_view_name(const char *text, TdViewName *name, Oid *existing);	/* where it goes; existing: what is there */
extern Oid	td_view_create_table(const TdViewName *name, const TdShape *shape, List *options); /* as the caller, with its key */
extern void td_view_skip_statistics(const char *schema, const char *table);
extern void td_view_create_wanted(const List *indexes);	/* of TdWant *, on a part */
extern void td_view_create_order(const TdViewName *name, const List *order);	/* the index by which its first rows are read */
extern Oid	td_view_create_twin(const char *draft_schema, const char *schema, const char *name, Oid table, const char *query);	/* owned by the caller, goes with the table */
extern char *td_twin_name(const char *schema, const char *table);	/* one that is free */
extern void td_twin_needs(Oid twin, const List *proofs);	/* unique indexes (oids) that it counts on stay */
extern bool td_is_index(Oid relation);	/* or a partitioned one */
extern void td_require_no_keys_above(Oid relation);	/* of which views make use: a table has come below others */
extern void td_view_create_state(const TdView *view, const TdPlan *plan, List *options);
extern void td_view_make_part(Oid part, Oid table);
extern void td_view_create_index(Oid schema, const char *table, const char *label, const char *columns);	/* that the table can't do without; as the caller */

/* ---- replace.c ---- */
extern void td_view_replace(Oid existing, const TdViewName *name, const char *sql, List *options);	/* a live view, which gets another definition; sql NULL: its own again */
extern TdView *td_view_replacement(const TdView *old);	/* what is to take its place; NULL = nothing */

/* ---- parts.c: hidden views that a view is made of ---- */
#define TD_PART_SCHEMA "tapdata_parts"

extern Oid	td_parts_table(char *table, const TdShape *shape, const List *order, List *options);	/* in that schema, the caller's */
typedef struct TdPart
{
	TdView	   *view;
	Query	   *query;
	TdShape    *shape;
} TdPart;

typedef struct TdParts
{
	List	   *options;		/* those of the view */
	List	   *ids;			/* numbers for parts, and at last the view's; NIL = none are needed */
	List	   *list;			/* of TdPart * */
	Query	   *rest;			/* over the tables of the parts; NULL = the query is kept as it is */
	List	   *told;			/* of create.c: what is to be said of each of them in the end */
} TdParts;

extern TdShape *td_parts_shape(Query *query, TdParts *parts, bool allow_full);
extern List *td_parts_complete(TdParts *parts, const TdViewName *name, TdView *view);	/* their shapes; sets id and query of the view */
extern void td_parts_alter(const TdView *view, List *options);
extern void td_parts_follow(const TdView *view);	/* to its owner */
extern List *td_parts_explain_query(Query *query);	/* of TdExplained * */
extern List *td_parts_explain_view(const TdView *view);

/* ---- create.c ---- */
extern TdShape *td_view_complete(TdView *view, const char *draft_schema, List *options, TdParts *parts); /* table and SQL views are there: the rest, but what it needs of base tables */
extern void td_view_tell(const TdParts *parts);	/* the notices about a view and its parts, when all else is done */

/* ---- kept.c: tables with old rows of base tables ---- */
extern bool td_kept_wanted(List *options);
extern void td_kept_need(const TdView *view, TdShape *shape, const char *draft_schema, List *options);
extern Bitmapset *td_kept_keys(Oid relation);
extern List *td_kept_failed(List *views);
extern void td_kept_alter(const List *views, List *options);
extern bool td_kept_drop_unread(void);

/* ---- changes.c: the feed of a view ---- */
extern void td_view_follow_feed(int32 id);	/* makes or drops it, as the stored options say */

/* ---- identity.c: replica identities of base tables ---- */
extern bool td_identity_lacks(Oid relation);	/* are old values that views need not written? */
extern const char *td_identity_enough(Oid relation);	/* which one would write them */
extern void td_identity_need_below(Oid relation);	/* a partition or child that is new to the tables above it */
extern void td_identity_need(const List *shapes);	/* of TdShape *; as the caller; the rows of the views are there */
extern void td_identity_restore(void);	/* those that no view needs any more */
extern void td_identity_restore_all(List *identities);

/* ---- control.c ---- */
extern TdView *td_view_named(Oid relation); /* by a user: 42704 unless it is one, 42809 for a part */
extern TdView *td_view_owned(Oid relation, LOCKMODE mode); /* locked; 42501 unless the caller owns it */
extern List *td_views_with_readers(List *views);	/* and all above them, each after those it reads */
extern bool td_kept_possible(Oid relid);	/* of all that hold its rows do changes tell a key? */
extern void td_view_require_owner(Oid role, const char *otherwise);	/* error: who may not connect can't own views; otherwise: what else can be done */
extern List *td_names_down(List *views); /* of char *: they and all above them, in the order in which they can be dropped */
extern char *td_drop_calls(const List *names);	/* for a hint: the calls, the first five of many */
extern List *td_views_on_column(Oid relation, AttrNumber attnum);	/* of TdView *: whose SQL views depend on it */
extern List *td_names_reading(List *relations);	/* of char *: views that read one of them directly, each once */
extern void td_view_set_options(const TdView *view, List *options);
extern void td_view_fill_anew(TdView *view);	/* what refresh_view asks for */
extern void td_view_wake(const TdView *view);	/* its worker rereads the catalog after commit */

/* ---- end_fill.c ---- */
extern void td_view_end_fill(const TdView *view);	/* of it, its parts and its new definition: before a lock that its worker has is waited for */
extern void td_views_end_fills(Node *statement);	/* of the views that it may drop */

/* ---- wait.c ---- */
extern void td_view_require_reader(const TdView *view);
extern void td_view_raise_dropped(const TdView *view) pg_attribute_noreturn();
extern void td_view_raise_failure(const TdView *view) pg_attribute_noreturn();
extern bool td_view_streaming(const TdView *view, TimestampTz end);	/* waits until it streams; false = not in time; raises when it or its group has failed */

/* ---- refuse_ddl.c ---- */
extern void td_view_refuse_ddl(Node *statement);
extern List *td_named_relations(Node *statement);	/* of oid: tables, views and indexes that ALTER TABLE or DROP is about; InvalidOid = not there */
extern Oid	td_find_relation(RangeVar *range);

extern bool td_view_catch_up(TdView *view, TimestampTz end, TimestampTz *reached);
extern bool td_group_catch_up(int32 group, TimestampTz end);	/* whatever streams in it reflects every commit before the call; false = not until `end` */

/* ---- stable_calls.c ---- */
struct PlannedStmt;
extern bool td_calls_stable(const struct PlannedStmt *plan);	/* functions whose statements see what the query sees */

/* ---- rows.c ---- */
extern char *td_view_rows_hint(Node *statement);	/* for an error about the row type of the table that it changes; NULL = no view has that */

/* ---- hooks.c ---- */
extern bool td_view_ddl;		/* DDL of our own is on its way */
extern void td_views_tidy(void);	/* after views are gone */

#endif							/* TD_VIEW_SQL_INTERNAL_H */
