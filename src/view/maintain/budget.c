/*-------------------------------------------------------------------------
 *
 * budget.c
 *		Which view takes more of each tick than its group has time for.
 *
 * NOTES
 *		View worker.  A group's views wait for each other: a tick is as long as all
 *		of them together, and max_lag is how far apart ticks should be.  A view that
 *		alone takes longer than that, tick after tick, holds the others up and is
 *		named: in the log, in tapdata.views, by doctor().  It is not moved: which
 *		views must stay at one snapshot is their owner's to say.  A view is one with
 *		its hidden parts and its new definition, which go where it goes.
 *
 *		The time in which the worker had no CPU does not count.
 *
 *		Measured over windows of some seconds and some ticks each, so that one large
 *		transaction names nobody.  Two windows in a row above the budget name a view,
 *		two in a row below half of it take that back.  A view without company holds
 *		nobody up.
 *
 * IDENTIFICATION
 *		src/view/maintain/budget.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "util/util.h"
#include "utils/builtins.h"

#include "view/maintain/tick_internal.h"
#include "workers/workers.h"

#define WINDOW_MS 3000
#define WINDOW_TICKS 3
#define WINDOWS 2				/* in a row, for a verdict */
#define LEAST_MS 10				/* a budget below this is not to be kept: a commit may take that */

static TdMember *whole_of(const TdKeeper *k, TdMember *m);
static void close_window(TdKeeper *k);
static void judge(TdMember *m, double spent_ms, double budget_ms, bool alone);
static void write_verdict(TdKeeper *k, const TdMember *m);
static double budget_of(const TdKeeper *k);

static double
budget_of(const TdKeeper *k)
{
	return Max(k->max_lag_ms, LEAST_MS);
}

/* The first view that learns of changes by one which keeps old rows, and else is a part of itself. */
static TdMember *
learner_of(const TdKeeper *k, TdMember *m)
{
	ListCell   *lc;

	foreach(lc, k->members)
		if (td_member_learns(lfirst(lc), m->view->relation))
			return lfirst(lc);
	return m;
}

/* The view that it is a hidden part of, or itself. */
static TdMember *
whole_of(const TdKeeper *k, TdMember *m)
{
	TdMember   *whole;

	if (m->view->keeps > 0)
		m = learner_of(k, m);
	while (m->view->part_of != 0 && m->view->keeps == 0 && (whole = td_member_find((TdKeeper *) k, m->view->part_of)) != NULL)
		m = whole;
	return m;
}

/* Of the tick's time, that in which no other process had our CPU: a machine that is saturated, and to which we give way, is no view's fault. */
static double
own_share(const TdKeeper *k)
{
	double		all_ms = (GetCurrentTimestamp() - k->pace.started) / 1000.0;
	double		waited_ms = td_worker_kept_waiting() - k->pace.kept_waiting;

	return all_ms > 0 && waited_ms > 0 ? Max(all_ms - waited_ms, 0) / all_ms : 1;
}

/* A tick is committed. */
void
td_budget_tick(TdKeeper *k)
{
	double		share = own_share(k);
	ListCell   *lc;

	if (k->window_ticks++ == 0)
		k->window_since = k->pace.started;
	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		whole_of(k, m)->spent_ms += m->tick_ms * share;
	}
}

/* Outside of transactions: whoever is to be named, or not any more. */
void
td_budget_step(TdKeeper *k)
{
	ListCell   *lc;

	if (k->window_ticks >= WINDOW_TICKS && TimestampDifferenceExceeds(k->window_since, k->pace.started, WINDOW_MS))
		close_window(k);
	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		if (m->verdict == TD_BUDGET_UNKNOWN || m->verdict == m->said_verdict)
			continue;
		write_verdict(k, m);
		m->said_verdict = m->verdict;
	}
}

static void
close_window(TdKeeper *k)
{
	int			company = 0;
	ListCell   *lc;

	foreach(lc, k->members)
	{
		const TdMember *m = lfirst(lc);

		company += m->streams && m->view->part_of == 0;
	}
	foreach(lc, k->members)
	{
		TdMember   *m = lfirst(lc);

		judge(m, m->spent_ms / k->window_ticks, budget_of(k), company < 2 || !m->streams);
		m->spent_ms = 0;
	}
	k->window_ticks = 0;
}

/* What this window says of a view; enough of them in a row are a verdict. */
static void
judge(TdMember *m, double spent_ms, double budget_ms, bool alone)
{
	TdVerdict	says = alone || spent_ms < budget_ms / 2 ? TD_BUDGET_KEPT : spent_ms > budget_ms ? TD_BUDGET_OUTRUN : TD_BUDGET_UNKNOWN;

	m->windows = says == m->window_says ? m->windows + 1 : 1;
	m->window_says = says;
	if (says == TD_BUDGET_UNKNOWN || m->windows < WINDOWS)
		return;
	m->verdict = says;
	m->slow_ms = spent_ms;
}

static void
write_verdict(TdKeeper *k, const TdMember *m)
{
	TdError		entry = {0};

	td_transaction_begin();
	td_view_set_slow(m->id, m->verdict == TD_BUDGET_OUTRUN ? m->slow_ms : 0);
	if (m->verdict == TD_BUDGET_OUTRUN)
	{
		TdGroup    *group = td_group_load(k->group);

		td_error_set(&entry, "", "the view takes %.0f ms of each tick of group \"%s\", whose max_lag is %d ms", m->slow_ms,
					 group ? group->name : "", k->max_lag_ms);
		td_error_detail(&entry, "The other views of the group are brought up to date as rarely as this one.");
		td_error_hint(&entry, "Give it a group of its own: drop it and create it with the option {\"group\": \"its_own\"}; or allow the group more: "
					  "SELECT tapdata.alter_view(%s, '{\"max_lag\": \"1 s\"}').", quote_literal_cstr(m->view->name));
		td_log("warning", "view", m->view->name, m->view->owner, &entry);
	}
	else if (m->said_verdict == TD_BUDGET_OUTRUN)
	{
		td_error_set(&entry, "", "the view does not hold up its group any more");
		td_log("info", "view", m->view->name, m->view->owner, &entry);
	}
	td_transaction_commit();
}
