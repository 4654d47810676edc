/*-------------------------------------------------------------------------
 *
 * analyze_internal.h
 *		What the files of view/analyze/ share.
 *
 * src/view/analyze/analyze_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_ANALYZE_INTERNAL_H
#define TD_ANALYZE_INTERNAL_H

#include "view/view_internal.h"

#define TD_MAX_GROUP_KEYS 32	/* columns of an index, and bits of the mask of null keys */

/* Everything that a view can't have, in the order of refuse.c's table. */
typedef enum TdConstruct
{
	TD_NOT_SELECT,
	TD_NOT_MODIFYING_CTE,
	TD_NOT_RECURSIVE,
	TD_NOT_CTE,
	TD_NOT_SET_OPERATION,
	TD_NOT_WINDOW,
	TD_NOT_TARGET_SRF,
	TD_NOT_GROUPING_SETS,
	TD_NOT_SAME_KEYS,
	TD_NOT_DISTINCT_ON,
	TD_NOT_ORDER_BY,
	TD_NOT_LIMIT,
	TD_NOT_OFFSET,
	TD_NOT_LIMIT_VALUE,
	TD_NOT_LIMIT_NEGATIVE,
	TD_NOT_LIMIT_UNORDERED,
	TD_NOT_TIES_OFFSET,
	TD_NOT_HIDDEN_ORDER,
	TD_NOT_SORT_OPERATOR,
	TD_NOT_EQUALITY,
	TD_NOT_ROW_LOCKS,
	TD_NOT_OUTER_JOIN,
	TD_NOT_LATERAL,
	TD_NOT_FROM_SUBQUERY,
	TD_NOT_FROM_FUNCTION,
	TD_NOT_TABLE_FUNCTION,
	TD_NOT_VALUES,
	TD_NOT_TRANSITION_TABLE,
	TD_NOT_TABLESAMPLE,
	TD_NOT_ONLY_PARTITIONED,
	TD_NOT_ONLY_PARENT,
	TD_NOT_WITHOUT_FROM,
	TD_NOT_WITHOUT_COLUMNS,
	TD_NOT_TOO_MANY_TABLES,
	TD_NOT_TOO_MANY_SUBQUERIES,
	TD_NOT_SUBQUERY,
	TD_NOT_PARAMETER,
	TD_NOT_SYSTEM_COLUMN,
	TD_NOT_GROUPING_FUNCTION,
	TD_NOT_OTHER_EXPRESSION,
	TD_NOT_PSEUDO_COLUMN,
	TD_NOT_NULL_DOMAIN,
	TD_NOT_ROW_OF_VIEW,
	TD_NOT_FUNCTION_OF_VIEW,
	TD_NOT_ROW_OF_JOIN,
	TD_NOT_SAME_NAMES,
	TD_NOT_COLUMN_NAME,
	TD_NOT_AGGREGATE,
	TD_NOT_AGGREGATE_DISTINCT,
	TD_NOT_AGGREGATE_ORDER,
	TD_NOT_ORDERED_SET,
	TD_NOT_AGGREGATE_ORDERLESS,
	TD_NOT_DISTINCT_GROUPED,
	TD_NOT_INHERITED_KEY,
	TD_NOT_UNORDERED_KEY,
	TD_NOT_TOO_MANY_KEYS,
	TD_NOT_VOLATILE,
	TD_NOT_VOLATILE_USER,
	TD_NOT_STABLE,
	TD_NOT_STABLE_USER,
	TD_NOT_SESSION_VALUE,
	TD_NOT_TYPE_TEXT,
	TD_NOT_NOW_TEXT,
	TD_NOT_SQL_VIEW,
	TD_NOT_BARRIER_VIEW,
	TD_NOT_OTHERS_VIEW,
	TD_NOT_USER_AGGREGATE,
	TD_NOT_WHOLE_AGGREGATE,
	TD_NOT_WHOLE_WINDOW,
	TD_NOT_KEYLESS_GROUPS,
	TD_NOT_KEYLESS_SET,
	TD_NOT_UNORDERED_SET,
	TD_NOT_KEYLESS,
	TD_NOT_KEYLESS_FUNCTIONS,
	TD_NOT_KEYLESS_VALUES,
	TD_NOT_ALL_FULL,
	TD_NOT_TWIN,
	TD_NOT_TEMPORARY,
	TD_NOT_UNLOGGED,
	TD_NOT_UNLOGGED_VIEW,
	TD_NOT_FOREIGN,
	TD_NOT_CATALOG,
	TD_NOT_OURS,
	TD_NOT_MATERIALIZED,
	TD_NOT_SEQUENCE,
	TD_NOT_RELATION_KIND,
	TD_NOT_ACCESS_METHOD,
	TD_NOT_ROW_SECURITY,
	TD_NOT_VIRTUAL_COLUMN,
	TD_NOT_GONE
} TdConstruct;

/* Fills *err: 0A000 "views do not support <construct>", its detail and hint; `what` stands for their %s.  Always false. */
extern bool td_refuse(TdError *err, TdConstruct construct, const char *what);

/* Every construct that can be told from the query's own nodes. */
extern bool td_check_structure(Query *query, TdError *err);
extern bool td_check_keyed_structure(Query *query, TdError *err);	/* of a keyed query: this level alone */

/* relations.c: each occurrence's relation, and the columns used of it. */
extern bool td_check_relations(const TdShape *shape, Oid owner, TdError *err);
extern bool td_may_be_inherited(Oid relid);	/* by ordinary tables */
extern bool td_holds_rows_of_others(Oid relid, bool inherited);	/* read with what inherits from it: neither keys nor NOT NULLs of its own hold */
extern char *td_qualified_name(Oid relid);	/* schema.table, quoted as needed; "relation with OID n" when it is gone */

/* functions.c: what an expression calls. */
typedef struct TdUses
{
	List	   *functions;		/* of oid: not built in */
	List	   *types;			/* of oid: not built in; named by it, or met by a conversion */
	bool		pinned;			/* something in it reads settings */
	bool		moments;		/* text of rows becomes a date or a time */
	bool		keyed;			/* of a keyed query: rows of subqueries may become text, */
	bool		rows;			/* and some do: the caller looks at what they are made of */
} TdUses;

extern bool td_collect_text_uses(List *exprs, TdUses *uses, TdError *err);
extern bool td_collect_uses(Node *node, TdUses *uses, TdError *err);	/* false = refused; goes on collecting */

/* moments.c: text that becomes a date or a time */
extern bool td_input_takes_now(Oid input);	/* does the type with this input function know 'now'? */
extern bool td_value_is_now(Node *node);	/* may it be 'now', 'today', ... by what the query itself says? */
extern bool td_value_is_spelt_out(Node *node);	/* is it the same whatever the rows are? */

/* equality.c: do all levels group by the default equality of each type? */
extern bool td_check_equality(Query *query, TdError *err);

/* filter.c */
extern Node *td_filters_as_cases(Node *node, void *context);

/* pull_up.c */
extern void td_pull_up_subqueries(Query *query);

/* group.c: outputs and HAVING over the row of a group. */
extern bool td_aggregate_kind(const Aggref *aggref, TdAggregateKind *kind); /* false = not one that is counted */
extern bool td_group_shape(TdShape *shape, TdError *err);
extern bool td_type_ordered(Oid type);	/* has a default btree operator class */

/* sets.c: grouping sets */
extern bool td_sets_check(const Query *query, TdError *err);	/* do the keys stay what they are as text? */
extern void td_sets_simplify(Query *query); /* one set is a plain GROUP BY; in place, this level alone */
extern List *td_sets_arms(const Query *query);	/* of Query *: a plain one for each set; NIL = it can't be said so */

/* analyze.c */
extern bool td_take_outputs(TdShape *shape, TdError *err);	/* columns and outputs */
extern void td_find_views(TdShape *shape);	/* which occurrences are live views */
extern TdShape *td_linear_analyze(Query *query, Oid owner, TdError *err);	/* in place */

/* keyed.c: what is kept by the values of a key */
extern TdShape *td_keyed_analyze(Query *query, Oid owner, TdError *err);	/* in place */

/* keys.c */
extern bool td_deterministic(Oid collation);	/* equal is identical, as far as the collation goes */
extern void td_infer_keys(TdShape *shape);	/* columns[].not_null, unique; occurrences[].unique */
extern List *td_unique_keys(Oid relid, bool inherited); /* of Bitmapset *: columns that are unique among all rows */
extern Oid	td_unique_index(Oid relid, bool inherited, const Bitmapset *columns);	/* the one that says so */
extern Var *td_plain_column(Node *node);	/* a column, maybe relabelled without another equality; NULL = not one */
extern List *td_and_list(Node *quals);	/* the parts of nested ANDs */

/* keyed_prepare.c */
extern void td_forget_windows(Query *query);	/* that nothing uses; in place, this level alone */

/* topk.c */
extern TdShape *td_topk_analyze(Query *query, Oid owner, TdError *err);	/* of a query with LIMIT or OFFSET, in place */
extern bool td_topk_served(const TdShape *shape);	/* is there an index by which the first rows are read? */
extern Oid	td_order_index(Oid relid, const List *order);	/* that one; InvalidOid = none */
/* fingerprint.c: a relation; partitions.c: what is below it */
extern bool td_may_call_others(HeapTuple function);	/* of pg_proc */
extern uint32 td_hash_of_functions(bool writers);	/* of users, all of them; writers: by who wrote them, not by what they are */
extern void td_fingerprint_class(StringInfo text, Oid relid, bool whole, bool file);
extern void td_fingerprint_children(StringInfo text, Oid relid);

/* statistics.c */
extern double td_rows_per_value(Oid relid, const Bitmapset *columns);	/* rows that have the same values in these columns; 0 = not known */

/* indexes.c: the index by which rows are found, and rows of explain_query on it */
extern TdWant *td_index_wanted(Oid relid, Bitmapset *attnums, AttrNumber last);
extern void td_explain_index(List **rows, int level, TdWant *want, const char *purpose);
extern char *td_column_names(Oid relid, const Bitmapset *attnums);	/* "a, b" */

/* explain.c, wal_cost.c */
extern void td_explain_row(List **rows, int level, const char *node, const char *strategy, const char *detail);
extern void td_explain_wal(List **rows, const TdShape *shape);

#endif							/* TD_ANALYZE_INTERNAL_H */
