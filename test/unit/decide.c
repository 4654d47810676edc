/*
 * The supervisor's decisions: every status, wanted or not, with and without a worker.
 * unit-link: src/workers/decide.c
 */
#include <stdio.h>
#include <string.h>

#include "workers/decide_internal.h"

static int	tests = 0;
static int	failed = 0;

static void
check(const char *name, TdSituation s, TdAction wanted, int64_t wake)
{
	int64_t		ms;
	TdAction	got = td_decide(&s, &ms);
	bool		good = got == wanted && ms == wake;

	printf("%sok %d - %s\n", good ? "" : "not ", ++tests, name);
	if (!good)
	{
		printf("# action %d, wake %lld; expected %d, %lld\n", (int) got, (long long) ms, (int) wanted, (long long) wake);
		failed++;
	}
}

#define RUNNING .here = true, .running = true
#define NONE .here = true, .running = false

int
main(void)
{
	static const char *const alive[] = {"starting", "snapshot", "streaming", "stopping"};
	static const char *const all[] = {"created", "starting", "snapshot", "streaming", "stopping", "stopped", "completed", "retrying",
	"waiting_for_worker", "failed"};
	char		name[100];

	/* a worker runs */
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
	{
		snprintf(name, sizeof(name), "running, wanted, %s: left alone", all[i]);
		check(name, (TdSituation) {.status = all[i], .wanted = true, RUNNING}, TD_ACT_NOTHING, -1);
		snprintf(name, sizeof(name), "running, not wanted, %s: asked to stop", all[i]);
		check(name, (TdSituation) {.status = all[i], RUNNING}, TD_ACT_STOP, 5000);
	}
	check("asked a second ago: patience", (TdSituation) {.status = "streaming", RUNNING, .stop_asked = true, .stop_asked_ms = 1000},
		  TD_ACT_NOTHING, 4000);
	check("asked long ago: told", (TdSituation) {.status = "streaming", RUNNING, .stop_asked = true, .stop_asked_ms = 5000}, TD_ACT_KILL, 5000);
	check("a stop that is not committed: left to its session",
		  (TdSituation) {.status = "streaming", .wanted = true, RUNNING, .stop_asked = true, .stop_asked_ms = 60000}, TD_ACT_NOTHING, -1);
	check("running in a copy: asked to stop", (TdSituation) {.status = "streaming", .wanted = true, .running = true}, TD_ACT_STOP, 5000);

	/* no worker, not wanted */
	for (size_t i = 0; i < sizeof(alive) / sizeof(alive[0]); i++)
	{
		snprintf(name, sizeof(name), "gone, not wanted, %s: stopped", alive[i]);
		check(name, (TdSituation) {.status = alive[i], NONE}, TD_ACT_STOPPED, -1);
	}
	check("retrying, not wanted: stopped", (TdSituation) {.status = "retrying", NONE, .retry_in_ms = 9}, TD_ACT_STOPPED, -1);
	check("waiting, not wanted: stopped", (TdSituation) {.status = "waiting_for_worker", NONE}, TD_ACT_STOPPED, -1);
	check("created, not wanted: nothing", (TdSituation) {.status = "created", NONE}, TD_ACT_NOTHING, -1);
	check("stopped: nothing", (TdSituation) {.status = "stopped", NONE}, TD_ACT_NOTHING, -1);
	check("stopped after starts: calm", (TdSituation) {.status = "stopped", NONE, .starts = 2}, TD_ACT_CALM, -1);
	check("failed, not wanted: nothing", (TdSituation) {.status = "failed", NONE}, TD_ACT_NOTHING, -1);
	check("failed, a group without views: stopped", (TdSituation) {.status = "failed", .forget_failure = true, NONE}, TD_ACT_STOPPED, -1);
	check("failed, a group with views: for a person", (TdSituation) {.status = "failed", .forget_failure = true, .wanted = true, NONE},
		  TD_ACT_NOTHING, -1);
	check("failed in a copy, a group without views: fenced", (TdSituation) {.status = "failed", .forget_failure = true}, TD_ACT_FENCE, -1);
	check("stopped, a group without views: nothing", (TdSituation) {.status = "stopped", .forget_failure = true, NONE}, TD_ACT_NOTHING, -1);
	check("created, a group without views: nothing", (TdSituation) {.status = "created", .forget_failure = true, NONE}, TD_ACT_NOTHING, -1);
	check("running, a group whose last view was dropped: asked to stop",
		  (TdSituation) {.status = "streaming", .forget_failure = true, RUNNING}, TD_ACT_STOP, 5000);
	check("fenced, not wanted: nothing", (TdSituation) {.status = "fenced", NONE}, TD_ACT_NOTHING, -1);

	/* no worker, wanted */
	check("created: start", (TdSituation) {.status = "created", .wanted = true, NONE}, TD_ACT_START, -1);
	check("stopped, wanted again: start", (TdSituation) {.status = "stopped", .wanted = true, NONE, .starts = 3}, TD_ACT_START, -1);
	check("adopted: start", (TdSituation) {.status = "fenced", .wanted = true, NONE}, TD_ACT_START, -1);
	check("no free worker: try, and again later", (TdSituation) {.status = "waiting_for_worker", .wanted = true, NONE}, TD_ACT_START, 5000);
	check("retry not due: wait for it", (TdSituation) {.status = "retrying", .wanted = true, NONE, .retry_in_ms = 1500}, TD_ACT_NOTHING, 1500);
	check("retry due: start", (TdSituation) {.status = "retrying", .wanted = true, NONE, .starts = 5}, TD_ACT_START, -1);
	check("failed: for a person", (TdSituation) {.status = "failed", .wanted = true, NONE}, TD_ACT_NOTHING, -1);
	check("failed, asked for again: start", (TdSituation) {.status = "failed", .wanted = true, .again = true, NONE, .starts = 10}, TD_ACT_START, -1);
	check("streaming, asked for again: lost as ever",
		  (TdSituation) {.status = "streaming", .wanted = true, .again = true, NONE, .starts = 1}, TD_ACT_LOST, -1);
	check("failed, asked for again in a copy: fenced", (TdSituation) {.status = "failed", .wanted = true, .again = true}, TD_ACT_FENCE, -1);
	check("failed after starts: calm", (TdSituation) {.status = "failed", .wanted = true, NONE, .starts = 1}, TD_ACT_CALM, -1);
	check("completed: nothing", (TdSituation) {.status = "completed", .wanted = true, NONE}, TD_ACT_NOTHING, -1);
	check("an unknown status is for a person", (TdSituation) {.status = "dancing", .wanted = true, NONE}, TD_ACT_NOTHING, -1);
	for (size_t i = 0; i < sizeof(alive) / sizeof(alive[0]); i++)
	{
		snprintf(name, sizeof(name), "%s without a word: lost", alive[i]);
		check(name, (TdSituation) {.status = alive[i], .wanted = true, NONE, .starts = 1}, TD_ACT_LOST, -1);
		snprintf(name, sizeof(name), "%s, never started: start", alive[i]);
		check(name, (TdSituation) {.status = alive[i], .wanted = true, NONE}, TD_ACT_START, -1);
		snprintf(name, sizeof(name), "%s after one restart of the server: start at once", alive[i]);
		check(name, (TdSituation) {.status = alive[i], .wanted = true, NONE, .starts = 1, .first_look = true}, TD_ACT_START, -1);
		snprintf(name, sizeof(name), "%s after two in a row: lost", alive[i]);
		check(name, (TdSituation) {.status = alive[i], .wanted = true, NONE, .starts = 2, .first_look = true}, TD_ACT_LOST, -1);
		snprintf(name, sizeof(name), "%s in a copy: fenced", alive[i]);
		check(name, (TdSituation) {.status = alive[i], .wanted = true}, TD_ACT_FENCE, -1);
	}
	check("fenced in a copy: nothing", (TdSituation) {.status = "fenced", .wanted = true}, TD_ACT_NOTHING, -1);

	printf("1..%d\n", tests);
	return failed != 0;
}
