/*-------------------------------------------------------------------------
 *
 * image.c
 *		The image of a row after a change, put together from what the source said.
 *
 * NOTES
 *		A source may leave columns out of an after image: unchanged ones (TOAST,
 *		partial row images).  The before image of the same change has their
 *		value, or an earlier change of the same flush, or the target itself.
 *
 * src/apply/image.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/apply_internal.h"

/* What a change says its row is afterwards.  true = some columns stay open. */
bool
td_image_of(TdWriter *w, const TdPending *p, TdValue *values)
{
	bool		partial = td_writer_read(w, p->new_row, values);

	if (unlikely(partial) && p->old_row.len > 0)
		partial = td_image_fill(w, p->old_row, values);
	return partial;
}

/* Fills open columns from an older row.  true = some are open still. */
bool
td_image_fill(TdWriter *w, TdBytes row, TdValue *values)
{
	bool		partial = false;

	td_writer_read(w, row, w->older);
	for (uint32 i = 0; i < w->binding->schema->ncolumns; i++)
	{
		if (values[i].state < TD_ABSENT)
			continue;
		if (w->older[i].state < TD_ABSENT)
			values[i] = w->older[i];
		else
			partial = true;
	}
	return partial;
}
