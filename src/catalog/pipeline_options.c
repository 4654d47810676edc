/*-------------------------------------------------------------------------
 *
 * pipeline_options.c
 *		The options of a pipeline: one table, and what fits together.
 *
 * NOTES
 *		Sessions.  Stored are the options that the user gave, without defaults,
 *		so that a later version may have better ones.
 *
 * IDENTIFICATION
 *		src/catalog/pipeline_options.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* The first choice is the default; NULL = a text of any kind. */
static const struct
{
	const char *name;
	const char *choices[4];
}			known[] = {
	{"existing", {"error", "keep_data", "drop_table"}},
	{"insert_policy", {"update_on_exists", "ignore_on_exists", "just_insert"}},
	{"position", {NULL}},
	{"type", {"initial_sync+cdc", "initial_sync", "cdc"}},
	{"writable", {"false", "true"}},
};

static void check_together(List *pairs);
static void check_choice(const TdPair *pair, const char *const *choices);
static List *known_names(void);

/* Names and values, and of a whole set of options what fits together; raises 22023. */
void
td_pipeline_options_check(List *pairs, bool whole)
{
	ListCell   *lc;

	foreach(lc, pairs)
	{
		TdPair	   *pair = lfirst(lc);
		size_t		i = 0;

		while (i < lengthof(known) && strcmp(known[i].name, pair->name) != 0)
			i++;
		if (i == lengthof(known))
			td_unknown_option("a pipeline", pair->name, known_names());
		if (pair->value != NULL)
			check_choice(pair, known[i].choices);
	}
	if (whole)
		check_together(pairs);
}

static void
check_together(List *pairs)
{
	const char *type = td_pairs_get(pairs, "type");
	const char *existing = td_pairs_get(pairs, "existing");

	if (type != NULL && strcmp(type, "cdc") == 0)
		return;
	if (td_pairs_get(pairs, "position") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"position\" needs \"type\": \"cdc\""),
				 errdetail("A mirror that loads its tables begins where the source stands then."),
				 errhint("Leave \"position\" out, or add \"type\": \"cdc\".")));
	if (existing != NULL && strcmp(existing, "keep_data") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"existing\": \"keep_data\" needs \"type\": \"cdc\""),
				 errdetail("A mirror that loads its tables makes them anew."),
				 errhint("Use \"existing\": \"drop_table\" to replace the tables once the new ones are complete.")));
}

static void
check_choice(const TdPair *pair, const char *const *choices)
{
	List	   *words = NIL;
	const char *closest;

	if (choices[0] == NULL)
		return;
	for (int i = 0; i < 4 && choices[i] != NULL; i++)
	{
		if (strcmp(choices[i], pair->value) == 0)
			return;
		words = lappend(words, (char *) choices[i]);
	}
	closest = td_closest(pair->value, words);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", pair->name, pair->value),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) :
			 errhint("It must be one of: %s.", td_list_text(words))));
}

/* The names of the options, for td_unknown_option. */
static List *
known_names(void)
{
	List	   *names = NIL;

	for (size_t i = 0; i < lengthof(known); i++)
		names = lappend(names, (char *) known[i].name);
	return names;
}

/* Pairs as a jsonb object of texts; nulls are left out, "writable" is a boolean. */
Datum
td_pairs_to_jsonb(List *pairs)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, pairs)
	{
		TdPair	   *pair = lfirst(lc);

		if (pair->value == NULL)
			continue;
		appendStringInfoString(&buf, buf.len > 0 ? ", " : "{");
		escape_json(&buf, pair->name);
		appendStringInfoString(&buf, ": ");
		if (strcmp(pair->name, "writable") == 0)
			appendStringInfoString(&buf, pair->value);
		else
			escape_json(&buf, pair->value);
	}
	appendStringInfoString(&buf, buf.len > 0 ? "}" : "{}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}
