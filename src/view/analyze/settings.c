/*-------------------------------------------------------------------------
 *
 * settings.c
 *		The settings that the functions of a pinned view may read.
 *
 * NOTES
 *		search_path is stored as the schemas that it names now, without the
 *		session's temporary one: "$user" and schemas made later must not change
 *		what a function finds.
 *
 * IDENTIFICATION
 *		src/view/analyze/settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "view/analyze/analyze_internal.h"

static const char *const pinned[] = {
	"TimeZone", "timezone_abbreviations", "DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output", "array_nulls", "lc_monetary",
	"lc_numeric", "lc_time", "xmlbinary", "xmloption", "default_text_search_config", "quote_all_identifiers"
};

static char *
search_path_now(void)
{
	List	   *schemas = fetch_search_path(true);
	StringInfoData path;
	ListCell   *lc;

	initStringInfo(&path);
	foreach(lc, schemas)
	{
		char	   *name = isAnyTempNamespace(lfirst_oid(lc)) ? NULL : get_namespace_name(lfirst_oid(lc));

		if (name)
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "", quote_identifier(name));
	}
	list_free(schemas);
	return path.data;
}

/*
 * The settings are the view's for as long as it lives, and pg_catalog comes first in its search_path (maintain/scope.c): what stands before that here
 * would be found by functions of the query, and not by those of the view.
 */
void
td_settings_require(void)
{
	List	   *schemas = fetch_search_path(true);
	ListCell   *lc;

	foreach(lc, schemas)
	{
		if (isAnyTempNamespace(lfirst_oid(lc)))
			continue;
		if (lfirst_oid(lc) != PG_CATALOG_NAMESPACE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("views that depend on settings do not support a search_path with pg_catalog behind another schema"),
					 errdetail("Schema %s stands before it: a function called by the query might mean something there that it would not mean for the view.",
							   quote_identifier(get_namespace_name(lfirst_oid(lc)))),
					 errhint("Name pg_catalog first in search_path, or leave it out, which means the same.")));
		break;
	}
	list_free(schemas);
}

static void
push(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	text = {.type = jbvString};

	text.val.string.val = unconstify(char *, name);
	text.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &text);
	text.val.string.val = unconstify(char *, value);
	text.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &text);
}

Datum
td_settings_now(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lengthof(pinned); i++)
	{
		const char *value = GetConfigOption(pinned[i], false, false);

		push(&state, pinned[i], value ? pstrdup(value) : "");
	}
	push(&state, "search_path", search_path_now());
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
