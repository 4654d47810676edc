/*-------------------------------------------------------------------------
 *
 * target.c
 *		Making the tables of a mirror, and showing them.
 *
 * NOTES
 *		Rows are loaded into tapdata_state.load_<pipeline>_<n>, a schema where
 *		users have no rights; the tables belong to the pipeline's owner from the
 *		start.  The statements here run as the bootstrap superuser because of
 *		that schema: they are DDL on tables that hold no code, and what the
 *		pipeline's owner may not do is asked for first.
 *
 *		Publishing moves all tables into their schemas in one transaction: they
 *		keep their oids, so nothing bound to them needs to know.
 *
 * src/apply/target.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "apply/apply_internal.h"
#include "compat/compat.h"

#define LOAD_SCHEMA "tapdata_state"

static char *load_name(const TdPipeline *p, const TdPipelineTable *t);
static char *key_columns(const TdSchema *schema);
static Oid primary_key_index(Oid relid);
static void execute(Oid role, const char *format,...) pg_attribute_printf(2, 3);
static void ensure_schema(const TdPipeline *p, const char *name);
static void make_room(const TdPipeline *p, const TdPipelineTable *t, Oid existing);
static void move_table(const TdPipeline *p, const TdPipelineTable *t, Oid schema);
static void rename_key(const TdPipelineTable *t, Oid schema);
static void publish_one(const TdPipeline *p, TdPipelineTable *t);

/* Runs one statement as role. */
static void
execute(Oid role, const char *format,...)
{
	StringInfoData sql;
	va_list		args;
	int			needed;

	initStringInfo(&sql);
	for (;;)
	{
		va_start(args, format);
		needed = appendStringInfoVA(&sql, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&sql, needed);
	}
	td_guard_spi(role, sql.data);
	pfree(sql.data);
}

/* Names are kept whole or not at all. */
void
td_target_check_name(const char *name)
{
	if (strlen(name) < NAMEDATALEN)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NAME_TOO_LONG),
			 errmsg("name \"%s\" is too long for PostgreSQL", name),
			 errdetail("It has %d bytes; names have at most %d.", (int) strlen(name), NAMEDATALEN - 1),
			 errhint("Leave the table out (except_tables), or rename it at the source.")));
}

static char *
load_name(const TdPipeline *p, const TdPipelineTable *t)
{
	return psprintf("load_%d_%d", p->id, t->n);
}

/* ---- before the load ---- */

/* An empty table for the load, without index; a left-over of an earlier attempt is replaced. */
Oid
td_target_create_load(const TdPipeline *p, const TdPipelineTable *t, const TdSchema *schema)
{
	char	   *name = load_name(p, t);
	char	   *owner = pstrdup(quote_identifier(GetUserNameFromId(p->owner, false)));
	StringInfoData columns;

	td_target_check_name(t->target_table);
	initStringInfo(&columns);
	for (uint32 i = 0; i < schema->ncolumns; i++)
	{
		const TdColumn *c = &schema->columns[i];

		td_target_check_name(c->name);
		appendStringInfo(&columns, "%s%s %s%s", i ? ", " : "", quote_identifier(c->name), td_target_type(c), c->not_null ? " NOT NULL" : "");
	}
	if (OidIsValid(get_relname_relid(name, get_namespace_oid(LOAD_SCHEMA, false))))
		execute(BOOTSTRAP_SUPERUSERID, "DROP TABLE %s.%s CASCADE", LOAD_SCHEMA, name);
	execute(BOOTSTRAP_SUPERUSERID, "CREATE TABLE %s.%s (%s)", LOAD_SCHEMA, name, columns.data);
	execute(BOOTSTRAP_SUPERUSERID, "ALTER TABLE %s.%s OWNER TO %s", LOAD_SCHEMA, name, owner);
	return get_relname_relid(name, get_namespace_oid(LOAD_SCHEMA, false));
}

/* ---- after it ---- */

static char *
key_columns(const TdSchema *schema)
{
	StringInfoData out;

	initStringInfo(&out);
	for (uint32 i = 0; i < schema->nkeys; i++)
		appendStringInfo(&out, "%s%s", i ? ", " : "", quote_identifier(schema->columns[schema->keys[i]].name));
	return out.data;
}

/* The source's primary key on the loaded rows, unless it is there already. */
void
td_target_build_key(const TdPipeline *p, const TdPipelineTable *t, const TdSchema *schema)
{
	Oid			relid = get_relname_relid(load_name(p, t), get_namespace_oid(LOAD_SCHEMA, false));

	if (schema->nkeys == 0)
		return;
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table that \"%s\" was being loaded into does not exist any more", t->source_table),
				 errhint("SELECT tapdata.reset_pipeline(...) loads it again.")));
	if (OidIsValid(primary_key_index(relid)))
		return;
	execute(BOOTSTRAP_SUPERUSERID, "ALTER TABLE %s.%s ADD CONSTRAINT %s PRIMARY KEY (%s)", LOAD_SCHEMA, load_name(p, t),
			quote_identifier(psprintf("%s_pkey", load_name(p, t))), key_columns(schema));
}

/* The index of a table's primary key. */
static Oid
primary_key_index(Oid relid)
{
	Oid			constraint = InvalidOid;

	get_primary_key_attnos(relid, true, &constraint);
	return OidIsValid(constraint) ? get_constraint_index(constraint) : InvalidOid;
}

/* ---- publishing ---- */

/* All load tables into their schemas; to be called in one transaction.  Tables that are there already (existing: keep_data) stay. */
void
td_target_publish(const TdPipeline *p, List *tables)
{
	ListCell   *lc;

	foreach(lc, tables)
		publish_one(p, lfirst(lc));
}

static void
publish_one(const TdPipeline *p, TdPipelineTable *t)
{
	Oid			load_schema = get_namespace_oid(LOAD_SCHEMA, false);
	Oid			load = get_relname_relid(load_name(p, t), load_schema);
	Oid			schema;
	Oid			existing;

	td_target_check_name(t->target_table);
	ensure_schema(p, t->target_schema);
	schema = get_namespace_oid(t->target_schema, false);
	existing = get_relname_relid(t->target_table, schema);
	if (OidIsValid(load) && load != existing)
	{
		if (OidIsValid(existing))
			make_room(p, t, existing);
		move_table(p, t, schema);
		existing = load;
	}
	if (!OidIsValid(existing))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("target table %s does not exist", quote_qualified_identifier(t->target_schema, t->target_table)),
				 errhint("SELECT tapdata.reset_pipeline(...) loads it again; SELECT tapdata.drop_pipeline(...) ends the mirror.")));
	t->relation = existing;
	if (!p->writable)
		td_write_guard(existing, true);	/* it does not fire in our replica sessions */
}

/* The target schema; made if missing and the pipeline's owner may. */
static void
ensure_schema(const TdPipeline *p, const char *name)
{
	Oid			schema = get_namespace_oid(name, true);
	char	   *owner = GetUserNameFromId(p->owner, false);

	if (!OidIsValid(schema))
	{
		td_target_check_name(name);
		execute(p->owner, "CREATE SCHEMA %s", quote_identifier(name));
		CommandCounterIncrement();
	}
	else if (!td_schema_allows_compat(schema, p->owner, ACL_CREATE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not create tables in schema \"%s\"", owner, name),
				 errhint("GRANT CREATE ON SCHEMA %s TO %s;", quote_identifier(name), quote_identifier(owner))));
}

/* Something stands where the table is to go. */
static void
make_room(const TdPipeline *p, const TdPipelineTable *t, Oid existing)
{
	const char *name = quote_qualified_identifier(t->target_schema, t->target_table);

	if (p->existing != TD_EXISTING_DROP)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("table %s exists already", name),
				 errhint("Drop or rename it, mirror into another schema, or use options => '{\"existing\": \"drop_table\"}'.")));
	if (get_rel_relkind(existing) != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table and is not dropped", name),
				 errhint("Drop or rename it, or mirror into another schema.")));
	execute(p->owner, "DROP TABLE %s", name);
}

/*
 * The load table gets its schema and name, its key its name.  On the way it
 * bears a name by its oid, since another table of the mirror may be called as
 * a load table is.
 */
static void
move_table(const TdPipeline *p, const TdPipelineTable *t, Oid schema)
{
	char	   *name = psprintf("tapdata_%u", t->relation);
	char	   *target_schema = pstrdup(quote_identifier(t->target_schema));
	Oid			index = primary_key_index(t->relation);

	execute(BOOTSTRAP_SUPERUSERID, "ALTER TABLE %s.%s RENAME TO %s", LOAD_SCHEMA, load_name(p, t), name);
	if (OidIsValid(index))
		execute(BOOTSTRAP_SUPERUSERID, "ALTER INDEX %s.%s RENAME TO %s_pkey", LOAD_SCHEMA, quote_identifier(get_rel_name(index)), name);
	execute(BOOTSTRAP_SUPERUSERID, "ALTER TABLE %s.%s SET SCHEMA %s", LOAD_SCHEMA, name, target_schema);
	execute(BOOTSTRAP_SUPERUSERID, "ALTER TABLE %s.%s RENAME TO %s", target_schema, name, quote_identifier(t->target_table));
	CommandCounterIncrement();
	rename_key(t, schema);
}

/* <table>_pkey, or the next free name. */
static void
rename_key(const TdPipelineTable *t, Oid schema)
{
	Oid			relid = get_relname_relid(t->target_table, schema);
	Oid			index = primary_key_index(relid);
	char	   *name;

	if (!OidIsValid(index))
		return;
	name = ChooseRelationName(t->target_table, NULL, "pkey", schema, true);
	execute(BOOTSTRAP_SUPERUSERID, "ALTER INDEX %s RENAME TO %s",
			quote_qualified_identifier(t->target_schema, get_rel_name(index)), quote_identifier(name));
}
