/*-------------------------------------------------------------------------
 *
 * row.c
 *		The images of a changed row, as messages.
 *
 * NOTES
 *		The hot path: called for each change of a wanted relation, inside the
 *		replay of its transaction.  Values are read in place and formed straight
 *		into the block; memory is taken only for values that are compressed or out
 *		of line, in row_context.
 *
 *		Equal values must be equal bytes.  So every value is whole, and whether it
 *		has a short header is decided by its size and type alone: heap_fill_tuple
 *		shortens what it can, as the layout's own descriptor says by its storage.
 *
 *		A value out of line that an update did not touch is not in WAL again: it
 *		is taken from the old tuple, which is logged with it whole.
 *
 * IDENTIFICATION
 *		src/capture/row.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "capture/capture_internal.h"

static bool take_image(TdDecoder *d, TdTarget *target, TupleTableSlot *slot, TupleTableSlot *other, TdImage *image, TdUnknown *why);
static bool make_whole(TdDecoder *d, TdTarget *target, TupleTableSlot *other, TdImage *image, TdUnknown *why);
static bool same(const TdLayout *layout, const TdImage *a, const TdImage *b);
static void begin_rows(TdDecoder *d, TdTarget *target);
static void forget_values(TdDecoder *d);
static void put_row(TdDecoder *d, TdLayout *layout, TdImage *image, int64 weight);
static void put_layout(TdDecoder *d, TdRoot *root, TdLayout *layout);
static TupleTableSlot *store(TdRelation *rel, TupleTableSlot *slot, HeapTuple tuple);

/* minus, plus: an image goes, comes.  old, new: as logged; when nothing of it is wanted, an old one need not be there. */
void
td_row_change(TdDecoder *d, TdRelation *rel, TdTarget *target, bool minus, HeapTuple old, bool plus, HeapTuple new)
{
	TupleTableSlot *old_slot = old ? store(rel, rel->old_slot, old) : NULL;
	TupleTableSlot *new_slot = new ? store(rel, rel->new_slot, new) : NULL;
	TdUnknown	why;

	if ((minus && !take_image(d, target, old_slot, NULL, d->old_image, &why)) ||
		(plus && !take_image(d, target, new_slot, old_slot, d->new_image, &why)))
		td_plugin_unknown(d, target->root, why);
	else if (!minus || !plus || !same(target->layout, d->old_image, d->new_image))
	{
		begin_rows(d, target);
		if (minus)
			put_row(d, target->layout, d->old_image, -1);
		if (plus)
			put_row(d, target->layout, d->new_image, 1);
	}
	else if (target->root->touch)
	{
		begin_rows(d, target);
		put_row(d, target->layout, d->new_image, 0);
	}
	forget_values(d);
}

/* An update whose old row was not logged, since no wanted column has changed. */
void
td_row_touch(TdDecoder *d, TdRelation *rel, TdTarget *target, HeapTuple new)
{
	TdUnknown	why;

	if (!take_image(d, target, store(rel, rel->new_slot, new), NULL, d->new_image, &why))
		td_plugin_unknown(d, target->root, why);
	else
	{
		begin_rows(d, target);
		put_row(d, target->layout, d->new_image, 0);
	}
	forget_values(d);
}

/* What must stand before rows of this layout. */
static void
begin_rows(TdDecoder *d, TdTarget *target)
{
	td_out_room(d);
	td_plugin_begin(d);
	if (!target->layout->sent)
		put_layout(d, target->root, target->layout);
}

static void
forget_values(TdDecoder *d)
{
	if (d->row_dirty)
		MemoryContextReset(d->row_context);
	d->row_dirty = false;
}

/* As far as any target of the relation needs it. */
static TupleTableSlot *
store(TdRelation *rel, TupleTableSlot *slot, HeapTuple tuple)
{
	ExecStoreHeapTuple(tuple, slot, false);
	slot_getsomeattrs(slot, rel->natts);
	return slot;
}

/* The wanted values of a tuple; other: where untouched values are, or NULL.  false = *why. */
static bool
take_image(TdDecoder *d, TdTarget *target, TupleTableSlot *slot, TupleTableSlot *other, TdImage *image, TdUnknown *why)
{
	TdLayout   *layout = target->layout;

	for (int i = 0; i < layout->ncolumns; i++)
	{
		int			a = target->attnums[i] - 1;

		image->values[i] = slot->tts_values[a];
		image->nulls[i] = slot->tts_isnull[a];
	}
	image->nulls[layout->ncolumns] = false;
	if (layout->nvarlena > 0 && !make_whole(d, target, other, image, why))
		return false;
	image->size = heap_compute_data_size(layout->desc, image->values, image->nulls);
	*why = TD_UNKNOWN_TOO_LARGE;
	return image->size <= TD_CAPTURE_ROW_MAX;
}

/* A short header is as good as a long one, unless the type knows none.  (VARATT_IS_SHORT is true of pointers, too.) */
static inline bool
is_fit(struct varlena *value, char storage)
{
	if (VARATT_IS_EXTERNAL(value))
		return false;
	return VARATT_IS_SHORT(value) ? storage != TYPSTORAGE_PLAIN : !VARATT_IS_EXTENDED(value);
}

/*
 * Values out of line, compressed, or short where their type forbids it.  Sizes, those of all values, are added up before any memory is taken, and
 * before PostgreSQL adds them up: to it a row that is too large is an error.
 */
static bool
make_whole(TdDecoder *d, TdTarget *target, TupleTableSlot *other, TdImage *image, TdUnknown *why)
{
	TdLayout   *layout = target->layout;
	Size		size = layout->ncolumns * (NAMEDATALEN + MAXIMUM_ALIGNOF);	/* what has a fixed length, and padding */

	for (int v = 0; v < layout->nvarlena; v++)
	{
		int			i = layout->varlena[v];
		struct varlena *value = (struct varlena *) DatumGetPointer(image->values[i]);
		MemoryContext old;

		if (image->nulls[i])
			continue;
		if (VARATT_IS_EXTERNAL_ONDISK(value))
		{
			int			a = target->attnums[i] - 1;

			*why = TD_UNKNOWN_OLD_IMAGE;
			if (other == NULL || other->tts_isnull[a])
				return false;
			value = (struct varlena *) DatumGetPointer(other->tts_values[a]);
			if (VARATT_IS_EXTERNAL_ONDISK(value))
				return false;
			image->values[i] = PointerGetDatum(value);
		}
		*why = TD_UNKNOWN_TOO_LARGE;
		size += toast_raw_datum_size(image->values[i]);
		if (size > TD_CAPTURE_ROW_MAX)
			return false;
		if (is_fit(value, layout->columns[i].storage))
			continue;
		old = MemoryContextSwitchTo(d->row_context);
		image->values[i] = PointerGetDatum(detoast_attr(value));
		MemoryContextSwitchTo(old);
		d->row_dirty = true;
	}
	return true;
}

/* An update that touches no wanted column is none. */
static bool
same(const TdLayout *layout, const TdImage *a, const TdImage *b)
{
	if (a->size != b->size)
		return false;
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (a->nulls[i] != b->nulls[i])
			return false;
		if (!a->nulls[i] && !datum_image_eq(a->values[i], b->values[i], layout->columns[i].byval, layout->columns[i].len))
			return false;
	}
	return true;
}

/* As heap_form_minimal_tuple would, into the block. */
static void
put_row(TdDecoder *d, TdLayout *layout, TdImage *image, int64 weight)
{
	int			natts = layout->ncolumns + 1;
	bool		has_null = false;
	Size		head = SizeofMinimalTupleHeader;
	MinimalTuple tuple;

	for (int i = 0; i < layout->ncolumns && !has_null; i++)
		has_null = image->nulls[i];
	if (has_null)
		head += BITMAPLEN(natts);
	head = MAXALIGN(head);
	image->values[layout->ncolumns] = Int64GetDatum(weight);
	tuple = td_message_row(td_out_reserve(d, td_message_row_size(head + image->size)), layout->number, head + image->size);
	HeapTupleHeaderSetNatts(tuple, natts);
	tuple->t_hoff = head + MINIMAL_TUPLE_OFFSET;
	heap_fill_tuple(layout->desc, image->values, image->nulls, (char *) tuple + head, image->size, &tuple->t_infomask,
					has_null ? tuple->t_bits : NULL);
	d->len += td_message_row_size(head + image->size);
}

static void
put_layout(TdDecoder *d, TdRoot *root, TdLayout *layout)
{
	td_out_put(d, &(TdCaptureMessage) {.kind = TD_CAPTURE_LAYOUT,.layout = layout->number,.relid = root->relid,
			   .ncolumns = layout->ncolumns,.columns = layout->columns});
	layout->sent = true;
}
