/*-------------------------------------------------------------------------
 *
 * text.c
 *		Small things with words: the closest match for a misspelt name, lists.
 *
 * NOTES
 *		Any process; memory of CurrentMemoryContext; no catalog access.
 *
 * IDENTIFICATION
 *		src/util/text.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "util/util.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#define TD_CLOSEST_MAX 63		/* longer words are names nobody misspells by one letter */

/* The candidate nearest to `word` (at most a third of its letters wrong, capitals count little); NULL if none is near. */
const char *
td_closest(const char *word, List *candidates)
{
	const char *best = NULL;
	int			limit = Max(2, (int) strlen(word) / 3);
	int			best_distance = limit + 1;
	ListCell   *lc;

	if (strlen(word) > TD_CLOSEST_MAX)
		return NULL;
	foreach(lc, candidates)
	{
		const char *candidate = lfirst(lc);
		int			len = strlen(candidate);
		int			distance;

		if (len > TD_CLOSEST_MAX)
			continue;
		if (pg_strcasecmp(word, candidate) == 0)
			return candidate;
		distance = varstr_levenshtein_less_equal(word, strlen(word), candidate, len, 1, 1, 1, best_distance, true);
		if (distance < best_distance && distance < Max(len, (int) strlen(word)))
		{
			best = candidate;
			best_distance = distance;
		}
	}
	return best;
}

/* A list of words for a message. */
char *
td_list_text(List *words)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, words)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", (const char *) lfirst(lc));
	return buf.data;
}
