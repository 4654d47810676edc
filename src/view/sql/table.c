/*-------------------------------------------------------------------------
 *
 * table.c
 *		What a view consists of: its table, the twin, the state table.
 *
 * NOTES
 *		Sessions.  The table is made as the caller, with his rights on schema and
 *		tablespace.  So is the twin, which the extension then takes into its own
 *		schema: parsing a query evaluates its literals, and checks of domains that
 *		are met there are functions of users.  The state table is made by the
 *		extension.  Both depend on the table as its inner parts (pg_depend): they
 *		go with it, can't be dropped without it, and what drops the twin by CASCADE
 *		drops the view, as it would a materialized one.
 *
 *		Identifiers are quoted here, types and collations written out under the
 *		search_path that the statements run under.
 *
 * IDENTIFICATION
 *		src/view/sql/table.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/scansup.h"
#include "rewrite/rewriteSupport.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "view/sql/sql_internal.h"

#define TWIN_SCHEMA "tapdata_views"
#define STATE_SCHEMA "tapdata_state"
#define MAX_HASHED 99			/* arguments of tapdata.row_hash */
/* Rows that are updated again and again: room for them on their page, and cleaned often. */
#define HOT_FILLFACTOR 50
#define HOT_OPTIONS "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000"
/* VACUUM that takes off the end of a table locks it for that long, and yields to those alone who wait for the lock: ticks do not. */
#define ALL_OPTIONS "vacuum_truncate = off"

static void no_schema(void *arg);
static List *split_name(const char *text);
static char *next_part(const char **at);
static void bad_name(const char *text) pg_attribute_noreturn();
static void append_columns(StringInfo sql, const TdShape *shape);
static void append_type(StringInfo sql, Oid type, int32 typmod, Oid collation);
static void append_key(StringInfo sql, const TdShape *shape);
static void append_storage(StringInfo sql, List *options, bool hot);
static char *name_list(int n, const char *const *columns);
static void create_hash_index(Oid schema, const char *table, int n, const char *const *columns);
static const char *const *column_names(const TdShape *shape);
static bool is_key(const TdShape *shape);
static void create_part_index(const TdViewName *name, const TdShape *shape);
static void create_state_index(const char *name, const TdPlan *plan);
static bool flag(List *options, const char *name);

/* ---- names ---- */

static void
no_schema(void *arg)
{
	if (geterrcode() == ERRCODE_UNDEFINED_SCHEMA)
		errhint("Create the schema first, or name one that is there: 'public.name'.");
}

/* Where a view of that name goes; an unqualified one into the first schema of the caller's search_path. */
void
td_view_name(const char *text, TdViewName *name, Oid *existing)
{
	ErrorContextCallback callback = {error_context_stack, no_schema, NULL};
	List	   *parts = split_name(text);
	RangeVar   *range;

	name->table = llast(parts);
	name->schema = list_length(parts) == 2 ? linitial(parts) : NULL;
	range = makeRangeVar(name->schema, name->table, -1);
	error_context_stack = &callback;
	name->schema_oid = RangeVarGetCreationNamespace(range);
	error_context_stack = callback.previous;
	if (isAnyTempNamespace(name->schema_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a live view can't be temporary"),
				 errhint("Give it a schema that stays: 'public.%s'.", quote_identifier(name->table))));
	name->schema = get_namespace_name(name->schema_oid);
	if (td_schema_is_reserved(name->schema))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("schema \"%s\" is not for live views", name->schema),
				 errhint("Name another one: 'public.%s'.", quote_identifier(name->table))));
	*existing = get_relname_relid(name->table, name->schema_oid);
}

/* One or two identifiers as in SQL: folded unless quoted; refused where they are too long, not cut. */
static List *
split_name(const char *text)
{
	List	   *parts = NIL;
	const char *at = text;

	for (;;)
	{
		char	   *part;

		while (scanner_isspace(*at))
			at++;
		part = next_part(&at);
		while (scanner_isspace(*at))
			at++;
		if (part == NULL || part[0] == '\0' || (*at != '\0' && *at != '.'))
			bad_name(text);
		if (strlen(part) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG),
					 errmsg("the name of the view is too long"),
					 errdetail("\"%s\" has %zu bytes, %d are allowed.", part, strlen(part), NAMEDATALEN - 1),
					 errhint("Choose a shorter name.")));
		parts = lappend(parts, part);
		if (*at++ == '\0')
			break;
	}
	if (list_length(parts) > 2)
		bad_name(text);
	return parts;
}

/* The identifier at *at, which moves past it; NULL = there is none. */
static char *
next_part(const char **at)
{
	const char *start = *at;
	StringInfoData part;

	if (*start != '"')
	{
		while (**at == '_' || **at == '$' || isalnum((unsigned char) **at) || IS_HIGHBIT_SET(**at))
			(*at)++;
		if (*at == start || isdigit((unsigned char) *start) || *start == '$')
			return NULL;
		return downcase_identifier(start, *at - start, false, false);
	}
	initStringInfo(&part);
	for ((*at)++; **at != '\0'; (*at)++)
	{
		if (**at == '"' && *++(*at) != '"')
			return part.data;
		appendStringInfoChar(&part, **at);
	}
	return NULL;
}

static void
bad_name(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("invalid name for a view: \"%s\"", text),
			 errhint("Write it as in SQL: 'name' or 'schema.name', with double quotes around parts that need them.")));
	pg_unreachable();
}

/* ---- the table ---- */

/* What PostgreSQL refuses, and what of the call it is about. */
static const struct
{
	int			code;
	const char *hint;
}			create_hints[] = {
	{ERRCODE_DUPLICATE_COLUMN, "Give the column another name in the query: SELECT ... AS name."},
	{ERRCODE_INSUFFICIENT_PRIVILEGE,
	"The table of a view is made with the rights of its owner, who needs CREATE on its schema (and on its tablespace, where the option names one) and USAGE on the types of its columns."},
};

/* In PG_CATCH: an error that is not about a statement of ours, but about the user's call, in words of that; others return. */
static void
raise_in_user_words(const ErrorData *edata, const TdViewName *name)
{
	if (edata->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && edata->schema_name && strcmp(edata->schema_name, "pg_catalog") == 0)
	{
		FlushErrorState();		/* what PostgreSQL says is about its own catalog */
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation %s exists already", quote_qualified_identifier(name->schema, name->table)),
				 errdetail("Another session has just made it."),
				 errhint("Choose another name for the view; or pass or_replace => true, if that is a live view.")));
	}
	if (edata->context && strncmp(edata->context, TD_OUR_STATEMENT, strlen(TD_OUR_STATEMENT)) != 0)
		return;					/* of an event trigger, say */
	for (size_t i = 0; i < lengthof(create_hints); i++)
		if (edata->sqlerrcode == create_hints[i].code)
		{
			FlushErrorState();
			ereport(ERROR,
					(errcode(edata->sqlerrcode),
					 errmsg_internal("%s", edata->message),
					 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
					 errhint("%s", create_hints[i].hint)));
		}
}

static void
run_create(const char *sql, const TdViewName *name)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		td_run_as_caller(sql);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		raise_in_user_words(CopyErrorData(), name);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* With the columns of the query and their key; as the caller. */
Oid
td_view_create_table(const TdViewName *name, const TdShape *shape, List *options)
{
	StringInfoData sql;
	int			level = td_pin_path();
	Oid			table;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE %s (", flag(options, "unlogged") ? "UNLOGGED " : "",
					 quote_qualified_identifier(name->schema, name->table));
	append_columns(&sql, shape);
	append_key(&sql, shape);
	appendStringInfoString(&sql, ") USING heap");
	append_storage(&sql, options, shape->grouped || shape->topk);
	run_create(sql.data, name);
	CommandCounterIncrement();
	table = get_relname_relid(name->table, name->schema_oid);
	if (!OidIsValid(table))
		elog(ERROR, "the table of view \"%s\" was not made", name->table);
	if (shape->unique == NIL)
		create_hash_index(name->schema_oid, name->table, shape->ncolumns, column_names(shape));
	if (shape->keyed && shape->keyed->nkeys > 0 && shape->keyed->stored && !is_key(shape))
		create_part_index(name, shape);
	AtEOXact_GUC(true, level);
	return table;
}

static void
append_columns(StringInfo sql, const TdShape *shape)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const TdViewColumn *c = &shape->columns[i];

		appendStringInfo(sql, "%s%s ", i > 0 ? ", " : "", quote_identifier(c->name));
		append_type(sql, c->type, c->typmod, c->collation);
		if (c->not_null)
			appendStringInfoString(sql, " NOT NULL");
	}
}

static void
append_type(StringInfo sql, Oid type, int32 typmod, Oid collation)
{
	appendStringInfoString(sql, format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation))
		appendStringInfo(sql, " COLLATE %s", generate_collation_name(collation));
}

/* A primary key where no column of it can be null, else a constraint that takes nulls as equal. */
static void
append_key(StringInfo sql, const TdShape *shape)
{
	bool		not_null = true;
	ListCell   *lc;

	if (shape->unique == NIL)
		return;
	if (list_length(shape->unique) > INDEX_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a key of %d columns can't be indexed", list_length(shape->unique)),
				 errdetail("An index has at most %d columns.", INDEX_MAX_KEYS),
				 errhint("Group by fewer columns.")));
	foreach(lc, shape->unique)
		not_null &= shape->columns[lfirst_int(lc) - 1].not_null;
	appendStringInfoString(sql, not_null ? ", PRIMARY KEY (" : ", UNIQUE NULLS NOT DISTINCT (");
	foreach(lc, shape->unique)
		appendStringInfo(sql, "%s%s", foreach_current_index(lc) > 0 ? ", " : "", quote_identifier(shape->columns[lfirst_int(lc) - 1].name));
	appendStringInfoChar(sql, ')');
}

static void
append_storage(StringInfo sql, List *options, bool hot)
{
	const char *fillfactor = td_pairs_get(options, "fillfactor");
	const char *tablespace = td_pairs_get(options, "tablespace");

	appendStringInfoString(sql, " WITH (" ALL_OPTIONS);
	if (hot)
		appendStringInfoString(sql, ", " HOT_OPTIONS);
	if (fillfactor != NULL || hot)
		appendStringInfo(sql, ", fillfactor = %ld", fillfactor ? strtol(fillfactor, NULL, 10) : HOT_FILLFACTOR);
	appendStringInfoChar(sql, ')');
	if (tablespace != NULL && !OidIsValid(get_tablespace_oid(tablespace, true)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tablespace \"%s\" does not exist", tablespace),
				 errhint("Leave the option \"tablespace\" out, or name one of these: SELECT spcname FROM pg_tablespace.")));
	if (tablespace != NULL)
		appendStringInfo(sql, " TABLESPACE %s", quote_identifier(tablespace));
}

static const char *const *
column_names(const TdShape *shape)
{
	const char **names = palloc(sizeof(char *) * shape->ncolumns);

	for (int i = 0; i < shape->ncolumns; i++)
		names[i] = shape->columns[i].name;
	return names;
}

/* An index that the table can't do without; columns: as CREATE INDEX has them. */
void
td_view_create_index(Oid schema, const char *table, const char *label, const char *columns)
{
	char	   *index = ChooseRelationName(table, label, "idx", schema, false);

	td_run_as_caller(psprintf("CREATE INDEX %s ON %s %s", quote_identifier(index),
							  quote_qualified_identifier(get_namespace_name(schema), table), columns));
	CommandCounterIncrement();
	td_view_make_part(get_relname_relid(index, schema), get_relname_relid(table, schema));
	CreateComments(get_relname_relid(index, schema), RelationRelationId, 0, TD_INDEX_COMMENT);
}

static char *
name_list(int n, const char *const *columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", quote_identifier(columns[i]));
	return list.data;
}

/* Without a key, a row is found by the hash of its image. */
static void
create_hash_index(Oid schema, const char *table, int n, const char *const *columns)
{
	if (n > MAX_HASHED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a live view without a key has at most %d columns", MAX_HASHED),
				 errdetail("This one has %d.", n),
				 errhint("Select fewer columns, or the primary keys of all tables that are read.")));
	td_view_create_index(schema, table, "row_hash", psprintf("(tapdata.row_hash(%s))", name_list(n, columns)));
}

/* Does the key of the table find the parts of a keyed view? */
static bool
is_key(const TdShape *shape)
{
	const TdKeyed *keyed = shape->keyed;
	Bitmapset  *unique = NULL;
	Bitmapset  *parts = NULL;
	ListCell   *lc;

	foreach(lc, shape->unique)
		unique = bms_add_member(unique, lfirst_int(lc));
	for (int i = 0; i < keyed->nkeys; i++)
		parts = bms_add_member(parts, keyed->outputs[i]);
	return bms_equal(unique, parts);
}

/* What is computed anew is found by it. */
static void
create_part_index(const TdViewName *name, const TdShape *shape)
{
	const TdKeyed *keyed = shape->keyed;
	const char **columns = palloc(sizeof(char *) * keyed->nkeys);

	for (int i = 0; i < keyed->nkeys; i++)
		columns[i] = shape->columns[keyed->outputs[i] - 1].name;
	td_view_create_index(name->schema_oid, name->table, "part", psprintf("(%s)", name_list(keyed->nkeys, columns)));
}

/* Of a part: a view above it reads its first rows. */
void
td_view_create_order(const TdViewName *name, const List *order)
{
	Oid			table = get_relname_relid(name->table, name->schema_oid);

	td_view_create_index(name->schema_oid, name->table, "order", psprintf("(%s)", td_order_text(table, order, td_order_needed(table, order))));
}

/* Of a part: others find its rows by these indexes. */
void
td_view_create_wanted(const List *indexes)
{
	TdCatalogScope scope;
	ListCell   *lc;

	td_catalog_enter(&scope);
	foreach(lc, indexes)
	{
		const TdWant *index = lfirst(lc);

		td_view_create_index(get_rel_namespace(index->relid), get_rel_name(index->relid), "found", td_want_text(index));
	}
	td_catalog_leave(&scope);
}

/* ---- the twin ---- */

/* Drafted by the caller beside his table; see NOTES. */
Oid
td_view_create_twin(const char *draft_schema, const char *schema, const char *name, Oid table, const char *query)
{
	TdCatalogScope scope;
	char	   *draft = psprintf("tapdata_twin_%u", table);
	Oid			twin;

	td_run_as_caller(psprintf("CREATE VIEW %s AS %s", quote_qualified_identifier(draft_schema, draft), query));
	CommandCounterIncrement();
	twin = get_relname_relid(draft, get_namespace_oid(draft_schema, false));
	td_catalog_enter(&scope);
	td_run_as_caller(psprintf("ALTER VIEW %s SET SCHEMA %s", quote_qualified_identifier(draft_schema, draft), schema));
	td_run_as_caller(psprintf("ALTER VIEW %s RENAME TO %s", quote_qualified_identifier(schema, draft), quote_identifier(name)));
	CommandCounterIncrement();
	td_twin_guard(twin);
	td_catalog_leave(&scope);
	CommandCounterIncrement();
	td_view_make_part(twin, table);
	return twin;
}

/* The view's name, or with its schema when that is taken, or one made from it. */
char *
td_twin_name(const char *schema, const char *table)
{
	Oid			twins = get_namespace_oid(TWIN_SCHEMA, false);
	char	   *qualified = psprintf("%s.%s", schema, table);

	if (!OidIsValid(get_relname_relid(table, twins)))
		return pstrdup(table);
	if (strlen(qualified) < NAMEDATALEN && !OidIsValid(get_relname_relid(qualified, twins)))
		return qualified;
	return ChooseRelationName(table, NULL, "view", twins, false);
}

/* It goes with the table, and can't be dropped without it. */
void
td_view_make_part(Oid part, Oid table)
{
	ObjectAddress a;
	ObjectAddress b;

	if (!OidIsValid(part))
		elog(ERROR, "a part of the view with the table %u was not made", table);
	ObjectAddressSet(a, RelationRelationId, part);
	ObjectAddressSet(b, RelationRelationId, table);
	recordDependencyOn(&a, &b, DEPENDENCY_INTERNAL);
}

/* ---- the state ---- */

/* One row for each group, or for each row of a keyed view; nobody but the extension gets at it. */
void
td_view_create_state(const TdView *view, const TdPlan *plan, List *options)
{
	char	   *name = psprintf("v%d_1", view->id);
	TdCatalogScope scope;
	StringInfoData sql;

	td_catalog_enter(&scope);
	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE " STATE_SCHEMA ".%s (", flag(options, "unlogged") ? "UNLOGGED " : "", name);
	for (int i = 0; i < plan->nstate; i++)
	{
		appendStringInfo(&sql, "%s%s ", i > 0 ? ", " : "", quote_identifier(plan->state[i].name));
		append_type(&sql, plan->state[i].type, plan->state[i].typmod, plan->state[i].collation);
	}
	appendStringInfoString(&sql, ") USING heap");
	append_storage(&sql, options, plan->grouped);
	td_run_as_caller(sql.data);
	CommandCounterIncrement();
	td_view_skip_statistics(STATE_SCHEMA, name);
	if (plan->nkeys > 0)
		create_state_index(name, plan);
	td_view_make_part(get_relname_relid(name, get_namespace_oid(STATE_SCHEMA, false)), view->relation);
	td_catalog_leave(&scope);
}

/*
 * Of a table of the extension's own that has values of users: ANALYZE runs as
 * its owner, a superuser, and calls functions that types have (the subtype_diff
 * of a range), which may be anybody's.  No query looks for rows by such columns.
 */
void
td_view_skip_statistics(const char *schema, const char *table)
{
	Relation	rel = table_open(get_relname_relid(table, get_namespace_oid(schema, false)), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	const char *between = " ";
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s", quote_qualified_identifier(schema, table));
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->atttypid < FirstNormalObjectId)
			continue;
		appendStringInfo(&sql, "%sALTER COLUMN %s SET STATISTICS 0", between, quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
		between = ", ";
	}
	table_close(rel, NoLock);
	if (between[0] == ' ')
		return;
	td_run_as_caller(sql.data);
	CommandCounterIncrement();
}

/* Groups by their keys; the rows of a keyed view by theirs, and by their images. */
static void
create_state_index(const char *name, const TdPlan *plan)
{
	Oid			schema = get_namespace_oid(STATE_SCHEMA, false);
	const char **columns = palloc(sizeof(char *) * plan->nstate);

	for (int i = 0; i < plan->nstate; i++)
		columns[i] = plan->state[i].name;
	if (plan->grouped)
		td_run_as_caller(psprintf("CREATE UNIQUE INDEX ON " STATE_SCHEMA ".%s (%s) NULLS NOT DISTINCT", name, name_list(plan->nkeys, columns)));
	else
	{
		td_view_create_index(schema, name, "part", psprintf("(%s)", name_list(plan->nkeys, columns)));
		create_hash_index(schema, name, plan->nstate, columns);
	}
	CommandCounterIncrement();
}

static bool
flag(List *options, const char *name)
{
	const char *value = td_pairs_get(options, name);
	bool		on = false;

	return value != NULL && parse_bool(value, &on) && on;
}
