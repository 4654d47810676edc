/*-------------------------------------------------------------------------
 *
 * view_replace.c
 *		One live view in the place of another: options, what their tables differ
 *		in, the rows of the catalog.
 *
 * NOTES
 *		Options by sessions; the rest by the view worker, in the tick in which the
 *		new definition takes the place of the old one.  A tick waits for nobody's
 *		transaction: rows that one has locked put it off.
 *
 *		The worker's replication role fires no foreign keys: what they would delete
 *		is deleted here.
 *
 * IDENTIFICATION
 *		src/catalog/view_replace.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* The options as they are stored. */
List *
td_view_options(int32 id)
{
	static TdStatement load = {"SELECT options::text FROM tapdata.view WHERE id = $1", NULL};
	TdCatalogScope scope;
	char	   *json = NULL;

	td_catalog_enter(&scope);
	if (TD_RUN(&load, td_arg_int4(id)) == 1)
		json = td_col_text(0, 1);
	td_catalog_leave(&scope);
	return json ? td_json_pairs(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json))), "options") : NIL;
}

/*
 * What the table $1 lacks to hold the rows of $2, a table of ours: in order, each with a step and the text that it is about:
 * 1 drop a key, 2 drop not null, 3 add a column, 4 make an index, 5 another one to find rows by while there is no key; once the rows are there: 6 set not
 * null, 7 add a key, 8 drop an index (by oid).  Both have
 * keys and internal indexes from create_view only; the columns of $1 are the first ones of $2.
 */
#define RESHAPE \
	"WITH col AS (SELECT a.attrelid AS rel, a.attname AS name, a.attnum AS n, a.attnotnull AS strict, format_type(a.atttypid, a.atttypmod) || " \
	"coalesce((SELECT format(' COLLATE %I.%I', x.nspname, o.collname) FROM pg_collation o JOIN pg_namespace x ON x.oid = o.collnamespace WHERE o.oid = a.attcollation), '') AS type " \
	"FROM pg_attribute a WHERE a.attrelid IN ($1, $2) AND a.attnum > 0 AND NOT a.attisdropped), " \
	"key AS (SELECT conrelid AS rel, conname AS name, pg_get_constraintdef(oid) AS def FROM pg_constraint WHERE conrelid IN ($1, $2) AND contype IN ('p', 'u')), " \
	"own AS (SELECT i.indrelid AS rel, i.indexrelid::regclass AS name, (SELECT string_agg(pg_get_indexdef(i.indexrelid, k, false), ', ' ORDER BY k) FROM generate_series(1, i.indnkeyatts) k) AS def " \
	"FROM pg_index i JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid " \
	"AND d.refobjsubid = 0 AND d.deptype = 'i' WHERE i.indrelid IN ($1, $2)), " \
	"new_key AS (SELECT def FROM key WHERE rel = $2 EXCEPT SELECT def FROM key WHERE rel = $1) " \
	"SELECT '1', quote_ident(name) FROM key WHERE rel = $1 AND NOT EXISTS (SELECT FROM key k WHERE k.rel = $2 AND k.def = key.def) " \
	"UNION ALL SELECT '2', quote_ident(name) FROM col WHERE rel = $1 AND strict AND EXISTS (SELECT FROM col c WHERE c.rel = $2 AND c.name = col.name AND NOT c.strict) " \
	"UNION ALL SELECT '3', add FROM (SELECT quote_ident(name) || ' ' || type AS add FROM col WHERE rel = $2 AND NOT EXISTS (SELECT FROM col c WHERE c.rel = $1 AND c.name = col.name) ORDER BY n) a " \
	"UNION ALL SELECT '4', def FROM own WHERE rel = $2 AND NOT EXISTS (SELECT FROM own o WHERE o.rel = $1 AND o.def = own.def) " \
	"UNION ALL SELECT '5', 'tapdata.row_hash(' || (SELECT string_agg(quote_ident(name), ', ' ORDER BY n) FROM col WHERE rel = $2) || ')' FROM new_key " \
	"UNION ALL SELECT '6', quote_ident(name) FROM col WHERE rel = $2 AND strict AND NOT EXISTS (SELECT FROM col c WHERE c.rel = $1 AND c.name = col.name AND c.strict) " \
	"UNION ALL SELECT '7', def FROM new_key " \
	"UNION ALL SELECT '8', name::oid::text FROM own WHERE rel = $1 AND NOT EXISTS (SELECT FROM own o WHERE o.rel = $2 AND o.def = own.def) ORDER BY 1"

/* Of TdPair *, in order; NIL = the one holds what the other does. */
List *
td_view_reshape(Oid table, Oid like)
{
	static TdStatement differ = {RESHAPE, NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *steps = NIL;

	td_catalog_enter(&scope);
	TD_RUN(&differ, td_arg_oid(table), td_arg_oid(like));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);
		TdPair	   *step = palloc(sizeof(TdPair));

		step->name = td_col_text(i, 1);
		step->value = td_col_text(i, 2);
		steps = lappend(steps, step);
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return steps;
}

/* Locks the rows of both, and of their parts, for the transaction; false = somebody else has one of them. */
bool
td_view_lock_rows(int32 old, int32 new)
{
	static TdStatement count = {"SELECT FROM tapdata.view WHERE id IN ($1, $2) OR part_of IN ($1, $2)", NULL};
	static TdStatement lock = {"SELECT FROM tapdata.view WHERE id IN ($1, $2) OR part_of IN ($1, $2) FOR UPDATE SKIP LOCKED", NULL};
	TdCatalogScope scope;
	bool		locked;

	td_catalog_enter(&scope);
	locked = TD_RUN(&count, td_arg_int4(old), td_arg_int4(new)) == TD_RUN(&lock, td_arg_int4(old), td_arg_int4(new));
	td_catalog_leave(&scope);
	return locked;
}

/* The rows of `new` become those of `old`, whose own parts are forgotten; the caller does the same with what they stand for. */
void
td_view_take_over(int32 old, int32 new)
{
	static TdStatement steps[] = {
		{"DELETE FROM tapdata.view_base WHERE view IN (SELECT id FROM tapdata.view WHERE id = $1 OR part_of = $1 AND id <> $2)", NULL},
		{"DELETE FROM tapdata.view_state WHERE view = $2 OR view IN (SELECT id FROM tapdata.view WHERE part_of = $1)", NULL},
		{"DELETE FROM tapdata.view WHERE part_of = $1 AND id <> $2", NULL},
		{"UPDATE tapdata.view_base SET view = $1 WHERE view = $2", NULL},
		{"DELETE FROM tapdata.view_kept WHERE view = $1 AND $2 > 0", NULL},
		{"UPDATE tapdata.view_kept SET view = $1 WHERE view = $2", NULL},
		{"UPDATE tapdata.view SET part_of = $1 WHERE part_of = $2", NULL},
		{"UPDATE tapdata.view v SET query = n.query, settings = n.settings, strategy = n.strategy, version = v.version + 1, "
			"options = v.options - '{allow_full,old_images}'::text[] || (SELECT coalesce(jsonb_object_agg(o.key, o.value), '{}') FROM jsonb_each(n.options) o WHERE o.key IN ('allow_full', 'old_images')) "
		"FROM tapdata.view n WHERE v.id = $1 AND n.id = $2", NULL},
		{"DELETE FROM tapdata.view WHERE id = $2 AND $1 > 0", NULL},
	};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	for (size_t i = 0; i < lengthof(steps); i++)
		TD_RUN(&steps[i], td_arg_int4(old), td_arg_int4(new));
	td_catalog_leave(&scope);
}

/* Sessions that give views of a group new definitions do so one after the other: or two could come to read each other. */
void
td_group_serialize(int32 id)
{
	static TdStatement touch = {"UPDATE tapdata.view_group SET max_lag = max_lag WHERE id = $1", NULL};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	TD_RUN(&touch, td_arg_int4(id));
	td_catalog_leave(&scope);
}
