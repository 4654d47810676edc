/*-------------------------------------------------------------------------
 *
 * decide.c
 *		What the supervisor does about one pipeline or view group.
 *
 * NOTES
 *		Pure: no server header, no memory, no clock.  The drawing is in README.md.
 *
 * IDENTIFICATION
 *		src/workers/decide.c
 *
 *-------------------------------------------------------------------------
 */
#include "workers/decide_internal.h"

#include <stddef.h>
#include <string.h>

#define STOP_TIMEOUT_MS 5000
#define FULL_RETRY_MS 5000

/* What a status means where no worker is. */
typedef enum Meaning
{
	READY,						/* may be started at once */
	ALIVE,						/* a worker should be there */
	RETRYING,
	WAITING,
	FAILED,						/* needs a person; nothing to do */
	ENDED						/* likewise, and it ended well */
} Meaning;

static const struct
{
	const char *status;
	Meaning		meaning;
}			meanings[] = {
	{"completed", ENDED},
	{"created", READY},
	{"failed", FAILED},
	{"fenced", READY},			/* adopted meanwhile */
	{"retrying", RETRYING},
	{"snapshot", ALIVE},
	{"starting", ALIVE},
	{"stopped", READY},
	{"stopping", ALIVE},
	{"streaming", ALIVE},
	{"waiting_for_worker", WAITING},
};

static TdAction decide_running(const TdSituation *s, int64_t *wake_ms);
static TdAction decide_wanted(const TdSituation *s, Meaning meaning, int64_t *wake_ms);

/* The meaning of a status; an unknown one is for a person. */
static Meaning
meaning_of(const char *status)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
	{
		if (strcmp(meanings[i].status, status) == 0)
			return meanings[i].meaning;
	}
	return FAILED;
}

TdAction
td_decide(const TdSituation *s, int64_t *wake_ms)
{
	Meaning		meaning = meaning_of(s->status);

	*wake_ms = -1;
	if (s->running)
		return decide_running(s, wake_ms);
	if (!s->here)
		return strcmp(s->status, "fenced") == 0 ? TD_ACT_NOTHING : TD_ACT_FENCE;
	if (s->wanted)
		return decide_wanted(s, meaning, wake_ms);
	if (meaning == ALIVE || meaning == RETRYING || meaning == WAITING || (meaning == FAILED && s->forget_failure))
		return TD_ACT_STOPPED;
	return s->starts > 0 ? TD_ACT_CALM : TD_ACT_NOTHING;
}

/* A worker that runs is left alone, unless it should not; then it is asked, and after a while told. */
static TdAction
decide_running(const TdSituation *s, int64_t *wake_ms)
{
	if (s->wanted && s->here)
		return TD_ACT_NOTHING;	/* a stop that is asked for but not committed is its session's affair */
	if (!s->stop_asked)
	{
		*wake_ms = STOP_TIMEOUT_MS;
		return TD_ACT_STOP;
	}
	if (s->stop_asked_ms >= STOP_TIMEOUT_MS)
	{
		*wake_ms = STOP_TIMEOUT_MS;
		return TD_ACT_KILL;
	}
	*wake_ms = STOP_TIMEOUT_MS - s->stop_asked_ms;
	return TD_ACT_NOTHING;
}

/* Wanted, and no worker is there. */
static TdAction
decide_wanted(const TdSituation *s, Meaning meaning, int64_t *wake_ms)
{
	switch (meaning)
	{
		case READY:
			return TD_ACT_START;
		case WAITING:
			*wake_ms = FULL_RETRY_MS;
			return TD_ACT_START;
		case RETRYING:
			if (s->retry_in_ms <= 0)
				return TD_ACT_START;
			*wake_ms = s->retry_in_ms;
			return TD_ACT_NOTHING;
		case ALIVE:
			/* never started, or the server was restarted once in good order: no reason to wait */
			if (s->starts == 0 || (s->first_look && s->starts == 1))
				return TD_ACT_START;
			return TD_ACT_LOST;
		case FAILED:
			if (s->again)
				return TD_ACT_START;
			break;
		case ENDED:
			break;
	}
	return s->starts > 0 ? TD_ACT_CALM : TD_ACT_NOTHING;
}
