/*-------------------------------------------------------------------------
 *
 * load.c
 *		The initial load: rows of one table straight into the heap.
 *
 * NOTES
 *		Rows are decoded when they are given (their memory belongs to the caller)
 *		and written some hundred at a time.  We are the table's owner only while
 *		rows are written or code of the owner may run: a load table has none, a
 *		kept one may.
 *
 * src/apply/load.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "utils/memutils.h"

#include "apply/apply_internal.h"

struct TdLoad
{
	MemoryContext context;
	Relation	rel;
	TdBinding  *binding;
	TdWriter   *writer;
	bool		plain;			/* adding a row runs nobody's code */
	int64		rows;
};

static void load_flush(TdLoad *load);
static void load_guarded(TdLoad *load, const TdRecord *rec, bool partial);

/* Opens relation for a load in this transaction. */
TdLoad *
td_load_begin(Oid relation, const TdSchema *schema)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "tapdata load", ALLOCSET_DEFAULT_SIZES);
	TdLoad	   *load = MemoryContextAllocZero(context, sizeof(TdLoad));
	TdGuard		guard;

	load->context = context;
	load->rel = try_relation_open(relation, RowExclusiveLock);
	if (load->rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table that \"%s\" was being loaded into does not exist any more", schema->table),
				 errhint("SELECT tapdata.reset_pipeline(...) loads it again.")));
	td_check_relation(load->rel, load->rel->rd_rel->relowner);
	td_guard_enter(&guard, load->rel->rd_rel->relowner);
	load->binding = td_binding_create(context, load->rel, schema);
	load->writer = td_writer_open(load->binding, load->rel, context, true);
	td_guard_leave(&guard);
	load->plain = load->binding->ndefaults == 0 && !load->binding->constraints && !load->binding->row_triggers;
	return load;
}

/* One row; nothing of rec is needed afterwards. */
void
td_load_row(TdLoad *load, const TdRecord *rec)
{
	TdWriter   *w = load->writer;
	bool		partial = td_writer_read(w, rec->new_row, w->values);

	if (likely(load->plain && !partial))
	{
		td_writer_add(w, w->values, false, rec->new_row);
		if (td_writer_is_full(w))
			load_flush(load);
	}
	else
		load_guarded(load, rec, partial);
	load->rows++;
}

/* Where the owner's code may run: defaults, constraints, generated columns, triggers. */
static void
load_guarded(TdLoad *load, const TdRecord *rec, bool partial)
{
	TdWriter   *w = load->writer;
	TdGuard		guard;

	td_guard_enter(&guard, load->binding->owner);
	td_snapshot_push();
	if (load->binding->row_triggers)
		td_writer_insert(w, w->values, partial, rec->new_row);
	else
		td_writer_add(w, w->values, partial, rec->new_row);
	if (td_writer_is_full(w))
		td_writer_flush(w);
	td_snapshot_pop();
	td_guard_leave(&guard);
}

/* Indexes of the table may call functions: as the owner. */
static void
load_flush(TdLoad *load)
{
	TdGuard		guard;

	td_guard_enter(&guard, load->binding->owner);
	td_snapshot_push();
	td_writer_flush(load->writer);
	td_snapshot_pop();
	td_guard_leave(&guard);
}

/* Writes what waits, closes, and returns the number of rows. */
int64
td_load_end(TdLoad *load)
{
	int64		rows = load->rows;

	load_flush(load);
	td_writer_close(load->writer);
	relation_close(load->rel, NoLock);
	MemoryContextDelete(load->context);
	return rows;
}
