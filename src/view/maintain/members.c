/*-------------------------------------------------------------------------
 *
 * members.c
 *		The group's views as the worker keeps them, after the catalog.
 *
 * NOTES
 *		View worker, in transactions of its own between ticks.  The catalog is the
 *		truth: what sessions ask for (create, drop, alter, refresh) stands in it, and
 *		what ticks decide is written there in the tick's transaction.  It is read
 *		again when a session tells so, and once a second by a worker that has been
 *		woken by something else; an idle worker is not woken.
 *
 *		A member's memory is its own context, emptied when its definition changes.
 *
 * IDENTIFICATION
 *		src/view/maintain/members.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "util/util.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "view/maintain/tick_internal.h"

static TdMember *enter(TdKeeper *k, const TdView *view);
static bool same_definition(const TdView *a, const TdView *b);
static void define(TdKeeper *k, TdMember *m);
static void take_status(TdKeeper *k, TdMember *m, const TdView *view);
static void forget_unseen(TdKeeper *k);
static void plan_streaming(TdKeeper *k, TdMember *m);
static bool wants_fill(const TdMember *m);
static bool has_failed(const TdMember *m);

/* Reads group and views, and plans those that stream. */
void
td_members_read(TdKeeper *k)
{
	List	   *members = NIL;
	MemoryContext old;
	TdGroup    *group;
	ListCell   *lc;
	uint32		told = pg_atomic_read_u32(&td_my_slot->told);

	k->members_read = GetCurrentTimestamp();
	k->members_stale = true;	/* until all of it is read */
	td_transaction_begin();
	group = td_group_load(k->group);
	if (group == NULL)
		ereport(ERROR, (errcode(ERRCODE_TD_STOP), errmsg("the group was dropped")));
	k->max_lag_ms = group->max_lag_ms;
	foreach(lc, k->members)
		((TdMember *) lfirst(lc))->seen = false;
	foreach(lc, td_group_views(k->group))
	{
		TdMember   *m = enter(k, lfirst(lc));

		if (m == NULL)
			continue;
		m->seen = true;
		take_status(k, m, lfirst(lc));
		old = MemoryContextSwitchTo(k->context);
		members = lappend(members, m);
		MemoryContextSwitchTo(old);
	}
	forget_unseen(k);
	list_free(k->members);
	k->members = members;
	td_replace_forget(k);
	foreach(lc, k->members)
	{
		plan_streaming(k, lfirst(lc));
		td_member_follow(k, lfirst(lc));
	}
	td_transaction_commit();
	MemoryContextSwitchTo(k->context);
	if (k->capture)
		(void) td_bases_want(k);
	k->members_stale = false;
	k->told = told;
}

/* The member of a view, made or defined anew if need be; NULL = the view was dropped just now. */
static TdMember *
enter(TdKeeper *k, const TdView *view)
{
	TdMember   *m = td_member_find(k, view->id);
	MemoryContext old;

	if (m && m->view && same_definition(m->view, view))
		return m;
	if (m == NULL)
	{
		old = MemoryContextSwitchTo(k->context);
		m = palloc0(sizeof(TdMember));
		m->id = view->id;
		m->context = AllocSetContextCreate(k->context, "tapdata view", ALLOCSET_DEFAULT_SIZES);
		k->members = lappend(k->members, m);
		MemoryContextSwitchTo(old);
	}
	define(k, m);
	return m->view ? m : NULL;
}

/* Takes the definition from the catalog; a plan made for another one goes. */
static void
define(TdKeeper *k, TdMember *m)
{
	MemoryContext old;

	if (k->fill.state != TD_FILL_NONE && k->fill.member == m)
		td_fill_cancel(k);
	if (m->run)
		td_run_destroy(m->run);
	m->run = NULL;
	m->view = NULL;
	m->streams = m->wants_fill = false;
	MemoryContextReset(m->context);
	old = MemoryContextSwitchTo(m->context);
	m->view = td_view_load(m->id);
	MemoryContextSwitchTo(old);
}

static bool
same_definition(const TdView *a, const TdView *b)
{
	return a->version == b->version && a->owner == b->owner && a->relation == b->relation && a->twin == b->twin && a->query == b->query && strcmp(a->name, b->name) == 0 &&
		a->timeout_ms == b->timeout_ms && a->changes == b->changes && td_pairs_equal(a->settings, b->settings);
}

/* What the catalog says of it; "created" while it is being filled means that it was asked to be filled once more. */
static void
take_status(TdKeeper *k, TdMember *m, const TdView *view)
{
	bool		created = strcmp(view->status, "created") == 0;

	m->streams = strcmp(view->status, "streaming") == 0;
	m->wants_fill = created || strcmp(view->status, "snapshot") == 0;
	if (created)
		m->waits = 0;
	if (created && k->fill.state != TD_FILL_NONE && k->fill.member == m)
		td_fill_cancel(k);
}

/* Members whose view is gone. */
static void
forget_unseen(TdKeeper *k)
{
	ListCell   *lc;

	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->seen)
			continue;
		if (k->fill.state != TD_FILL_NONE && k->fill.member == m)
			td_fill_cancel(k);
		if (m->run)
			td_run_destroy(m->run);
		MemoryContextDelete(m->context);
		pfree(m);
		k->fill.not_before = 0;
	}
}

/*
 * A view that streams has a plan, or fails.  One that is locked, here after a
 * restart, must not hold the others up: it is filled when it can be.
 */
static void
plan_streaming(TdKeeper *k, TdMember *m)
{
	TdError		err = {0};

	if (m->run && !m->streams && !m->wants_fill)
	{
		td_run_destroy(m->run);
		m->run = NULL;
	}
	if (!m->streams || m->run)
		return;
	if (!td_lock_to_plan(m))
	{
		td_lock_error(m, &err);
		m->wants_fill = true;
		td_fill_wait_for_lock(m);
	}
	else if (td_member_plan(k, m, &err))
		return;
	td_view_set_status(m->id, m->wants_fill ? "snapshot" : "failed", k->seen ? td_seen_text(k->seen) : NULL, &err);
	m->streams = false;
}

static bool
wants_fill(const TdMember *m)
{
	return m->wants_fill;
}

static bool
has_failed(const TdMember *m)
{
	return !m->streams && !m->wants_fill;
}

/* The lowest view that has failed, as the catalog says, of those that this one is made of; NULL = none. */
static TdView *
lowest_failed(int32 id)
{
	List	   *lower = NIL;
	ListCell   *lc;

	foreach(lc, td_view_bases(id))
		lower = lappend(lower, td_view_of(lfirst_oid(lc), true));
	foreach(lc, td_view_kept(id))
		lower = lappend(lower, td_view_load(((TdKept *) lfirst(lc))->id));
	foreach(lc, lower)
	{
		TdView	   *view = lfirst(lc);
		TdView	   *deeper;

		if (view == NULL || strcmp(view->status, "failed") != 0)
			continue;
		deeper = lowest_failed(view->id);
		return deeper ? deeper : view;
	}
	return NULL;
}

/* Why the view fails: names the one whose refresh revives it, too. */
void
td_member_failed_below(const TdMember *m, TdError *err)
{
	TdView	   *cause = lowest_failed(m->id);

	td_error_set(err, "55000", "a view that %s reads has failed", m->view->name);
	if (cause)
		td_error_hint(err, "It is %s. Mend what that has failed of, then SELECT tapdata.refresh_view(%s) revives both.", cause->name, quote_literal_cstr(cause->name));
}

/* A view can't go on from one that does not: it fails with it, or is filled after it.  One that is being filled follows later. */
void
td_member_follow(TdKeeper *k, TdMember *m)
{
	char	   *snapshot = k->seen && m->streams ? td_seen_text(k->seen) : NULL;

	if (has_failed(m) || m == k->fill.member)
		return;
	if (td_member_below(k, m, has_failed))
	{
		TdError		err = {0};

		td_member_failed_below(m, &err);
		td_view_set_status(m->id, "failed", snapshot, &err);
		m->streams = m->wants_fill = false;
	}
	else if (m->streams && td_member_below(k, m, wants_fill))
	{
		td_view_set_status(m->id, "snapshot", snapshot, NULL);
		m->streams = false;
		m->wants_fill = true;
	}
}
