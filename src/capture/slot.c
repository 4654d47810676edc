/*-------------------------------------------------------------------------
 *
 * slot.c
 *		The replication slot of a group, and whether the server can decode.
 *
 * NOTES
 *		The slot is made by the capture worker, never by a session: that waits for
 *		every transaction with an xid.  Until it is consistent it is ephemeral, so
 *		a worker that ends on the way leaves nothing behind.
 *
 *		The other functions run in any process.
 *
 * IDENTIFICATION
 *		src/capture/slot.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/timeline.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogutils.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"
#include "workers/workers.h"

#include "capture/capture_internal.h"
#include "compat/compat.h"

#define TD_BUSY_MS 100			/* a look at a slot that somebody uses */
#define TD_BUSY_TRIES 100
#define TD_CREATE_MS 100		/* a look for WAL while the slot is made */

/* A copy of a slot's state. */
typedef struct State
{
	ReplicationSlotPersistentData data;
	pid_t		active;
	bool		lost;
} State;

static bool slot_look(const char *slot, State *state);
static bool is_readable(XLogRecPtr from);
static void slot_refuse(const char *slot, const State *state);
static void wait_until_free(const char *slot);
static void slot_make(TdDecoder *d);
static void find_start(TdDecoder *d);
static bool plugin_allowed(void);
static bool slot_to_be_had(void);

/* ---- everybody ---- */

void
td_capture_slot_name(int32 group, char *name)
{
	snprintf(name, NAMEDATALEN, "tapdata_%u_g%d", MyDatabaseId, group);
}

static bool
slot_look(const char *slot, State *state)
{
	ReplicationSlot *found;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	found = SearchNamedReplicationSlot(slot, false);
	if (found)
	{
		SpinLockAcquire(&found->mutex);
		state->data = found->data;
		state->active = found->active_pid;
		SpinLockRelease(&found->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	if (found == NULL)
		return false;
	state->lost = td_slot_invalidated_compat(&state->data);
	if (!state->lost && state->data.restart_lsn != InvalidXLogRecPtr)
	{
		XLogSegNo	segment;

		XLByteToSeg(state->data.restart_lsn, segment, wal_segment_size);
		state->lost = segment <= XLogGetLastRemovedSegno();
	}
	return true;
}

bool
td_capture_slot_state(const char *slot, XLogRecPtr *confirmed, bool *lost)
{
	State		state;

	if (!slot_look(slot, &state))
		return false;
	*confirmed = state.data.confirmed_flush;
	*lost = state.lost || (state.data.restart_lsn != InvalidXLogRecPtr && !is_readable(state.data.restart_lsn));
	return true;
}

/*
 * A slot that came along with a copy of the files (a backup that was recovered, a primary that was made a standby) did not keep its catalog
 * rows while WAL was replayed: what is before the timeline of now can't be trusted to be decoded.  Nor can what is not there.
 */
static bool
is_readable(XLogRecPtr from)
{
	TimeLineID	timeline = GetWALInsertionTimeLine();
	TimeLineHistoryEntry *now = linitial(readTimeLineHistory(timeline));
	XLogSegNo	segment;
	char		path[MAXPGPATH];

	XLByteToSeg(from, segment, wal_segment_size);
	XLogFilePath(path, timeline, segment, wal_segment_size);
	return from >= now->begin && access(path, F_OK) == 0;
}

void
td_capture_slot_drop(const char *slot)
{
	State		state;

	if (slot_look(slot, &state))
		ReplicationSlotDrop(slot, false);
}

/* The server's own list of plugins, where it has one, names us. */
static bool
plugin_allowed(void)
{
	const char *list = GetConfigOption("output_plugin_libraries", true, false);
	List	   *names = NIL;
	ListCell   *lc;

	if (list == NULL)
		return true;
	if (!SplitGUCList(pstrdup(list), ',', &names))
		return false;
	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), "tapdata") == 0 || strcmp(lfirst(lc), "*") == 0)
			return true;
	}
	return false;
}

/* One is free, or a slot of this database is ours already. */
static bool
slot_to_be_had(void)
{
	char		ours[NAMEDATALEN];
	bool		found = false;

	snprintf(ours, sizeof(ours), "tapdata_%u_g", MyDatabaseId);
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		found = !slot->in_use || strncmp(NameStr(slot->data.name), ours, strlen(ours)) == 0;
	}
	LWLockRelease(ReplicationSlotControlLock);
	return found;
}

char *
td_capture_lacks(bool *restart)
{
	const char *plugins = GetConfigOption("output_plugin_libraries", true, false);
	StringInfoData lines;

	initStringInfo(&lines);
	if (wal_level < WAL_LEVEL_LOGICAL)
		appendStringInfoString(&lines, " ALTER SYSTEM SET wal_level = logical;");
	if (!slot_to_be_had())
		appendStringInfo(&lines, " ALTER SYSTEM SET max_replication_slots = %d;", Max(10, max_replication_slots * 2));
	*restart = lines.len > 0;
	if (!plugin_allowed())
		appendStringInfo(&lines, " ALTER SYSTEM SET output_plugin_libraries = %s%stapdata;", plugins, plugins[0] ? ", " : "");
	return lines.len > 0 ? lines.data + 1 : NULL;
}

char *
td_capture_settings(void)
{
	const char *plugins = GetConfigOption("output_plugin_libraries", true, false);

	return psprintf("wal_level is %s, max_replication_slots %d, output_plugin_libraries %s", GetConfigOption("wal_level", false, false),
					max_replication_slots, plugins ? plugins : "unknown to this server");
}

void
td_capture_require(void)
{
	char	   *lines;
	bool		restart;

	td_workers_require();
	lines = td_capture_lacks(&restart);
	if (lines == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this server can't decode its changes for views"),
			 errdetail("%s.", td_capture_settings()),
			 restart ? errhint("Run this as superuser, then restart the server: %s", lines) :
			 errhint("Run this as superuser: %s SELECT pg_reload_conf();", lines)));
}

/* ---- the worker ---- */

/* One that is another's, or that nothing can be read from any more. */
static void
slot_refuse(const char *slot, const State *state)
{
	if (state->data.database != MyDatabaseId || strcmp(NameStr(state->data.plugin), "tapdata") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("replication slot \"%s\" is not one of tapdata's", slot),
				 errdetail("It belongs to database %u and plugin \"%s\".", state->data.database, NameStr(state->data.plugin)),
				 errhint("Drop it with pg_drop_replication_slot(), if nobody needs it.")));
	if (state->lost)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" was lost", slot),
				 errdetail("The server removed WAL that had not been decoded yet."),
				 errhint("The views are filled anew, by themselves; if this comes again, raise max_slot_wal_keep_size.")));
}

/* The worker before us may be on its way out; whoever else has it is named by the error that follows. */
static void
wait_until_free(const char *slot)
{
	State		state;

	for (int i = 0; i < TD_BUSY_TRIES && slot_look(slot, &state) && state.active != 0; i++)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TD_BUSY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		td_plugin_check_stop();
	}
}

/* Afterwards the slot is ours and d->ctx reads from where it stands. */
void
td_slot_open(TdDecoder *d)
{
	const char *slot = d->control->slot;
	State		state;

	td_capture_require();
	CheckLogicalDecodingRequirements();
	if (slot_look(slot, &state))
	{
		slot_refuse(slot, &state);
		wait_until_free(slot);
	}
	else
		slot_make(d);
	td_slot_acquire_compat(slot);
	d->ctx = CreateDecodingContext(InvalidXLogRecPtr, NIL, false,
								   XL_ROUTINE(.page_read = td_wal_page_read,.segment_open = wal_segment_open,.segment_close = wal_segment_close),
								   NULL, NULL, NULL);
	d->confirmed = MyReplicationSlot->data.confirmed_flush;
	XLogBeginRead(d->ctx->reader, MyReplicationSlot->data.restart_lsn);
}

static void
slot_make(TdDecoder *d)
{
	pg_atomic_write_u32(&d->control->creating, 1);
	pg_memory_barrier();		/* then `closed` is looked at: see td_capture_close */
	td_slot_create_compat(d->control->slot);
	d->ctx = CreateInitDecodingContext("tapdata", NIL, false, InvalidXLogRecPtr,
									   XL_ROUTINE(.page_read = td_wal_page_read,.segment_open = wal_segment_open,.segment_close = wal_segment_close),
									   NULL, NULL, NULL);
	find_start(d);
	FreeDecodingContext(d->ctx);
	d->ctx = NULL;
	ReplicationSlotPersist();
	ReplicationSlotRelease();
	d->created = true;
	pg_atomic_write_u32(&d->control->creating, 0);
}

/* Reads WAL until all transactions that were open when the slot was made have ended. */
static void
find_start(TdDecoder *d)
{
	ReplicationSlot *slot = MyReplicationSlot;

	XLogBeginRead(d->ctx->reader, slot->data.restart_lsn);
	while (!DecodingContextReady(d->ctx))
	{
		CHECK_FOR_INTERRUPTS();
		td_plugin_check_stop();
		if (td_wal_next(d))
			continue;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TD_CREATE_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		(void) td_capture_flush();
	}
	SpinLockAcquire(&slot->mutex);
	slot->data.confirmed_flush = d->ctx->reader->EndRecPtr;
	SpinLockRelease(&slot->mutex);
}
