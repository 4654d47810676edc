/*-------------------------------------------------------------------------
 *
 * bind.c
 *		How a source table stands in a target relation.
 *
 * NOTES
 *		Columns are matched by name.  What the target has beyond them belongs to
 *		its owner: it takes its default on insert and stays as it is on update.
 *		A binding outlives transactions; relcache invalidation marks it invalid
 *		and the next use, under its lock, makes a new one.
 *
 *		Runs as the table's owner (td_guard_enter): planning a default folds
 *		constants, which calls functions.
 *
 * src/apply/bind.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "apply/apply_internal.h"

static void map_columns(TdBinding *b, Relation rel);
static void map_column(TdBinding *b, Relation rel, uint32 i);
static void note_extras(TdBinding *b, Relation rel);
static void note_triggers(TdBinding *b, Relation rel);
static void find_key(TdBinding *b, Relation rel);
static bool try_key(TdBinding *b, Relation index);

/* Binds schema to an open, locked and checked relation; we act as its owner. */
TdBinding *
td_binding_create(MemoryContext parent, Relation rel, const TdSchema *schema)
{
	MemoryContext context = AllocSetContextCreate(parent, "tapdata binding", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	TdBinding  *b = palloc0(sizeof(TdBinding));

	b->context = context;
	b->schema = schema;
	b->relid = RelationGetRelid(rel);
	b->owner = rel->rd_rel->relowner;
	b->name = td_relation_name(rel);
	map_columns(b, rel);
	note_extras(b, rel);
	note_triggers(b, rel);
	find_key(b, rel);
	b->valid = true;
	MemoryContextSwitchTo(caller);
	return b;
}

void
td_binding_destroy(TdBinding *binding)
{
	MemoryContextDelete(binding->context);
}

/* Each source column to its target. */
static void
map_columns(TdBinding *b, Relation rel)
{
	b->columns = palloc0(sizeof(TdColumnMap) * Max(b->schema->ncolumns, 1));
	b->sources = palloc(sizeof(int) * RelationGetNumberOfAttributes(rel));
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
		b->sources[i] = -1;
	for (uint32 i = 0; i < b->schema->ncolumns; i++)
		map_column(b, rel, i);
}

static void
map_column(TdBinding *b, Relation rel, uint32 i)
{
	const TdColumn *column = &b->schema->columns[i];
	TdColumnMap *map = &b->columns[i];
	Form_pg_attribute att;

	map->attnum = get_attnum(b->relid, column->name);
	if (map->attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("target table %s has no column \"%s\"", b->name, column->name),
				 errdetail("The source has it, with type %s.", column->native),
				 errhint("ALTER TABLE %s ADD COLUMN %s %s; or load the table again: SELECT tapdata.reset_pipeline(...).", b->name,
						 quote_identifier(column->name), td_target_type(column))));
	att = TupleDescAttr(RelationGetDescr(rel), map->attnum - 1);
	map->column = column;
	map->type = column->type;
	map->typid = att->atttypid;
	map->typmod = att->atttypmod;
	map->not_null = att->attnotnull;
	b->sources[map->attnum - 1] = i;
	if (att->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"%s\" of target table %s is a generated column", column->name, b->name),
				 errdetail("The source has a column of this name, whose values could not be kept."),
				 errhint("Rename the generated column.")));
	if (!td_type_fits(map))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of target table %s has type %s", column->name, b->name,
						format_type_with_typemod(att->atttypid, att->atttypmod)),
				 errdetail("The source has %s there, which needs %s.", column->native, td_target_type(column)),
				 errhint("ALTER TABLE %s ALTER COLUMN %s TYPE %s; or load the table again: SELECT tapdata.reset_pipeline(...).", b->name,
						 quote_identifier(column->name), td_target_type(column))));
}

/* What the owner of the target has added: columns, defaults, constraints. */
static void
note_extras(TdBinding *b, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	b->covers = true;
	b->generated = desc->constr && desc->constr->has_generated_stored;
	b->constraints = b->generated || (desc->constr && desc->constr->num_check > 0);
	b->default_attnums = palloc(sizeof(AttrNumber) * Max(desc->natts, 1));
	b->default_exprs = palloc(sizeof(Expr *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Node	   *expr;

		if (att->attisdropped)
		{
			b->covers = false;
			continue;
		}
		if (b->sources[i] < 0)
		{
			b->covers = false;
			b->constraints |= att->attnotnull;
		}
		if (att->attgenerated)
			continue;
		expr = build_column_default(rel, i + 1);
		if (expr == NULL)
			continue;
		b->default_attnums[b->ndefaults] = i + 1;
		b->default_exprs[b->ndefaults++] = expression_planner((Expr *) expr);
	}
}

/* Row triggers that fire in a replica session. */
static void
note_triggers(TdBinding *b, Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgenabled != TRIGGER_FIRES_ON_REPLICA && trigger->tgenabled != TRIGGER_FIRES_ALWAYS)
			continue;
		if (TRIGGER_FOR_ROW(trigger->tgtype))
			b->row_triggers = true;
	}
}

/* An index that finds the row of a source key: the primary key if it fits, else the first that does. */
static void
find_key(TdBinding *b, Relation rel)
{
	List	   *indexes;
	ListCell   *lc;

	if (b->schema->nkeys == 0)
		return;
	b->key_columns = palloc(sizeof(uint32) * b->schema->nkeys);
	b->key_procs = palloc(sizeof(RegProcedure) * b->schema->nkeys);
	b->key_collations = palloc(sizeof(Oid) * b->schema->nkeys);
	indexes = RelationGetIndexList(rel);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		primary = index->rd_index->indisprimary;

		if ((primary || !OidIsValid(b->key_index)) && try_key(b, index))
			b->key_index = RelationGetRelid(index);
		index_close(index, AccessShareLock);
		if (primary && b->key_index == lfirst_oid(lc))
			break;
	}
	list_free(indexes);
	b->nkeys = b->schema->nkeys;
}

/* Does the index have exactly the key's columns, and is it unique at any moment?  Notes how to search it. */
static bool
try_key(TdBinding *b, Relation index)
{
	Form_pg_index form = index->rd_index;
	uint32		nkeys = b->schema->nkeys;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid || index->rd_rel->relam != BTREE_AM_OID ||
		form->indnkeyatts != nkeys || !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < nkeys; i++)
	{
		uint32		k = 0;

		while (k < nkeys && b->columns[b->schema->keys[k]].attnum != form->indkey.values[i])
			k++;
		if (k == nkeys)
			return false;
	}
	for (int i = 0; i < nkeys; i++)
	{
		Oid			opcintype = index->rd_opcintype[i];

		b->key_columns[i] = b->sources[form->indkey.values[i] - 1];
		b->key_procs[i] = get_opcode(get_opfamily_member(index->rd_opfamily[i], opcintype, opcintype, BTEqualStrategyNumber));
		b->key_collations[i] = index->rd_indcollation[i];
	}
	return true;
}
