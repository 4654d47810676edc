/*-------------------------------------------------------------------------
 *
 * view_options.c
 *		The options of a live view: one table, and each kind's check.
 *
 * NOTES
 *		Sessions.  Stored are the options that the user gave, without defaults,
 *		so that a later version may have better ones.
 *
 * IDENTIFICATION
 *		src/catalog/view_options.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog_internal.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#define MOST_DAYS 36500

typedef enum
{
	KIND_BOOL,
	KIND_TEXT,
	KIND_IMAGES,
	KIND_PERCENT,
	KIND_INTERVAL,
	KIND_AGE
} Kind;

typedef struct
{
	const char *name;
	Kind		kind;
	bool		fixed;			/* once the view is made */
	const char *heirs;			/* what is made for the view and has it as well: see td_view_options_for */
} Option;

static const Option known[] = {
	{"allow_full", KIND_BOOL, true, "n"},
	{"changes", KIND_BOOL, false, ""},
	{"changes_kept", KIND_AGE, false, ""},
	{"fill_timeout", KIND_INTERVAL, false, "pkn"},
	{"fillfactor", KIND_PERCENT, false, "pn"},
	{"group", KIND_TEXT, true, "pkn"},
	{"max_lag", KIND_INTERVAL, false, ""},
	{"old_images", KIND_IMAGES, true, "pn"},
	{"tablespace", KIND_TEXT, true, "pkn"},
	{"timeout", KIND_INTERVAL, false, "pkn"},
	{"unlogged", KIND_BOOL, true, "n"},
	{"writable", KIND_BOOL, false, ""},
};

static const Option *find(const char *name);
static List *known_names(void);
static void bad_value(const TdPair *pair, const char *want) pg_attribute_noreturn();
static void check_value(const TdPair *pair, Kind kind);
static bool is_interval(const char *value, int days);

/* Names and values; raises 22023. */
void
td_view_options_check(List *options, bool is_new)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		TdPair	   *pair = lfirst(lc);
		const Option *option = find(pair->name);

		if (option == NULL)
			td_unknown_option("a live view", pair->name, known_names());
		if (option->fixed && !is_new)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" of a live view can't be changed", pair->name),
					 strcmp(pair->name, "allow_full") == 0 ? errhint("Replace the view by one with that option: tapdata.create_view(name, query, options, or_replace => true).") :
					 errhint("Drop the view and create it with that option.")));
		if (pair->value != NULL)
			check_value(pair, option->kind);
	}
}

static const Option *
find(const char *name)
{
	for (size_t i = 0; i < lengthof(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return &known[i];
	return NULL;
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

static void
bad_value(const TdPair *pair, const char *want)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", pair->name, pair->value),
			 errhint("It must be %s.", want)));
}

static void
check_value(const TdPair *pair, Kind kind)
{
	bool		flag;

	switch (kind)
	{
		case KIND_BOOL:
			if (!parse_bool(pair->value, &flag))
				bad_value(pair, "true or false");
			break;
		case KIND_TEXT:
			td_check_name_length(pair->value, pair->name);
			break;
		case KIND_IMAGES:
			if (strcmp(pair->value, "kept") != 0 && strcmp(pair->value, "logged") != 0)
				bad_value(pair, "\"kept\" (in a table of tapdata) or \"logged\" (REPLICA IDENTITY FULL, the default)");
			break;
		case KIND_PERCENT:
			if (strspn(pair->value, "0123456789") != strlen(pair->value) || strlen(pair->value) > 3 ||
				strtol(pair->value, NULL, 10) < 10 || strtol(pair->value, NULL, 10) > 100)
				bad_value(pair, "a number from 10 to 100");
			break;
		case KIND_INTERVAL:
			if (!is_interval(pair->value, 0))
				bad_value(pair, "a time from 0 to 24 hours, such as \"10 ms\" or \"5 min\"");
			break;
		case KIND_AGE:
			if (!is_interval(pair->value, MOST_DAYS))
				bad_value(pair, "a time from 0 to 36500 days, such as \"6 hours\" or \"7 days\"");
			break;
	}
}

/* Of so many days at most, besides up to 24 hours.  The input function raises, so it is asked in a subtransaction. */
static bool
is_interval(const char *value, int days)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool good = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		Interval   *i = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(value), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));

		good = i->month == 0 && i->day >= 0 && i->day <= days && i->time >= 0 && i->time <= USECS_PER_DAY;
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		(void) td_caught_in_subtransaction(caller, owner);
		good = false;
	}
	PG_END_TRY();
	return good;
}

/* As a jsonb object, nulls included: numbers and truths as such. */
Datum
td_view_options_json(List *options)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	foreach(lc, options)
	{
		TdPair	   *pair = lfirst(lc);
		bool		flag;

		if (buf.len > 1)
			appendStringInfoString(&buf, ", ");
		escape_json(&buf, pair->name);
		appendStringInfoString(&buf, ": ");
		if (pair->value == NULL)
			appendStringInfoString(&buf, "null");
		else if (find(pair->name)->kind == KIND_BOOL && parse_bool(pair->value, &flag))
			appendStringInfoString(&buf, flag ? "true" : "false");
		else if (find(pair->name)->kind == KIND_PERCENT)
			appendStringInfo(&buf, "%ld", strtol(pair->value, NULL, 10));
		else
			escape_json(&buf, pair->value);
	}
	appendStringInfoChar(&buf, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}

/* The same, whatever way it is written; NULL = the default. */
static bool
is_stored(const Option *option, const char *value, List *stored)
{
	const char *is = td_pairs_get(stored, option->name);
	bool		a = false;
	bool		b = false;

	if (option->kind == KIND_BOOL)
		return (value == NULL || parse_bool(value, &a)) && (is == NULL || parse_bool(is, &b)) && a == b;
	if (strcmp(option->name, "group") == 0)
		return strcmp(value ? value : "default", is ? is : "default") == 0;
	return value == NULL ? is == NULL : is != NULL && strcmp(value, is) == 0;
}

/* Of checked options of a view that is there: those that can be changed at once. */
List *
td_view_options_kept(List *options, List *stored)
{
	List	   *kept = NIL;
	ListCell   *lc;

	foreach(lc, options)
	{
		TdPair	   *pair = lfirst(lc);
		const Option *option = find(pair->name);

		if (!option->fixed)
			kept = lappend(kept, pair);
		else if (strcmp(option->name, "allow_full") != 0 && strcmp(option->name, "old_images") != 0 && !is_stored(option, pair->value, stored))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" of a live view can't be changed by replacing it", pair->name),
					 errhint("Leave the option out, or drop the view and create it with that option.")));
	}
	return kept;
}

/* Those that a part of the view ('p') has as well, a keeper of old rows ('k'), its new definition ('n'). */
List *
td_view_options_for(List *options, char heir)
{
	List	   *some = NIL;
	ListCell   *lc;

	foreach(lc, options)
	{
		const Option *option = find(((TdPair *) lfirst(lc))->name);

		if (option != NULL && strchr(option->heirs, heir) != NULL)
			some = lappend(some, lfirst(lc));
	}
	return some;
}
