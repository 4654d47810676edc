/*-------------------------------------------------------------------------
 *
 * recover.c
 *		Is the slot the one that the checkpoint was made with?
 *
 * NOTES
 *		View worker, at the begin of a session with a capture worker, outside of
 *		transactions.  The slot is never confirmed beyond the bound of a flushed
 *		checkpoint: one that is ahead of it has let changes go that no view has
 *		(it was advanced by hand, or is another one of the same name, or the
 *		catalog is older than the slot).  What was lost can't be told, so every
 *		view is filled anew, from a new slot.
 *
 *		Around the creation of a slot commits can be missed for ever: their record
 *		is before the point from which the slot decodes, but they become visible
 *		after it.  The first checkpoint waits until its snapshot sees no such
 *		transaction open.
 *
 *		Unlogged tables are empty after a crash, of which shared memory tells: the
 *		group's first worker since that was made fills such views anew.
 *
 * IDENTIFICATION
 *		src/view/maintain/recover.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "util/util.h"
#include "utils/memutils.h"
#include "view/maintain/tick_internal.h"

static void read_checkpoint(TdKeeper *k);
static bool has_stopped(const TdMember *m);
static void refill(TdKeeper *k, bool unlogged);

/* The checkpoint as it is in the catalog. */
static void
read_checkpoint(TdKeeper *k)
{
	TdGroup    *group;

	td_transaction_begin();
	group = td_group_load(k->group);
	if (group == NULL)
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the group was dropped")));
	MemoryContextReset(k->seen_context);
	k->seen = NULL;
	k->bound = k->checked = group->bound;
	k->max_lag_ms = group->max_lag_ms;
	if (group->snapshot)
	{
		MemoryContext old = MemoryContextSwitchTo(k->seen_context);

		k->seen = td_seen_read(group->snapshot);
		MemoryContextSwitchTo(old);
	}
	td_transaction_commit();
}

/* Before the capture worker is started: a slot that has lost something goes. */
void
td_recover_slot(TdKeeper *k)
{
	XLogRecPtr	confirmed;
	bool		lost;

	read_checkpoint(k);
	k->given_up = td_wal_given_up();
	if (k->given_up)
	{
		td_capture_slot_drop(k->slot);
		td_wal_dropped();
	}
	if (!td_capture_slot_state(k->slot, &confirmed, &lost))
		return;
	if (!lost && k->seen && confirmed <= k->bound)
		return;
	if (k->seen)
		ereport(LOG,
				(errmsg("replication slot \"%s\" does not belong to the checkpoint of its views, a new one is made", k->slot),
				 lost ? errdetail("The server has removed WAL that it needs.") :
				 errdetail("It is at %X/%X, the checkpoint at %X/%X.", LSN_FORMAT_ARGS(confirmed), LSN_FORMAT_ARGS(k->bound))));
	td_capture_slot_drop(k->slot);
}

/*
 * Before the capture worker is started, and the members are read: without a slot a new one is made, which may wait for any transaction that is open.
 * Nothing gets into the views meanwhile, and they say so.
 */
void
td_recover_views(TdKeeper *k)
{
	XLogRecPtr	confirmed;
	bool		lost;

	if (!td_capture_slot_state(k->slot, &confirmed, &lost))
		refill(k, false);
}

/* After START. */
void
td_recover_start(TdKeeper *k)
{
	TdInbox    *inbox = k->inbox;
	ListCell   *lc;

	k->first_xid = 0;
	foreach(lc, k->members)
		((TdMember *) lfirst(lc))->busy_since = 0;	/* its tick begins anew */
	if (!td_share_served())
	{
		refill(k, true);
		td_share_note_served();
	}
	if (!inbox->created && inbox->start <= k->bound)
		return;
	if (!inbox->created)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),	/* retried: td_recover_slot drops it */
				 errmsg("replication slot \"%s\" was moved while it was opened", k->slot)));
	k->first_xid = inbox->first_xid;
	k->bound = k->checked = inbox->start;
	refill(k, false);
}

static bool
has_stopped(const TdMember *m)
{
	return !m->streams;
}

/*
 * A new slot: whatever a view has, it can't be taken on from there.  Or, unlogged:
 * the server came up, maybe after a crash, and those views and the ones above them
 * may have lost their rows.
 */
static void
refill(TdKeeper *k, bool unlogged)
{
	ListCell   *lc;
	char	   *snapshot;
	TdError		reason = {0};

	td_error_set(&reason, "55000", unlogged ? "the server was started, the view is filled anew" :
				 "changes since the last checkpoint are not to be had, the view is filled anew");
	td_error_detail(&reason, unlogged ? "A crash empties unlogged tables: the view's own, or that of a view that it reads." :
					"Its replication slot was lost, moved, or is a new one.");
	if (k->given_up && !unlogged)
		td_wal_error(&reason);
	td_transaction_begin();
	snapshot = k->seen && !unlogged ? td_seen_text(k->seen) : NULL;
	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (!m->streams || (unlogged && !m->view->unlogged && !td_member_below(k, m, has_stopped)))
			continue;
		td_view_set_status(m->id, "snapshot", snapshot, &reason);
		m->streams = false;
		m->wants_fill = true;
	}
	td_transaction_commit();
}
