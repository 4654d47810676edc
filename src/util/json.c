/*-------------------------------------------------------------------------
 *
 * json.c
 *		Reading small JSON: objects of scalars that users pass as options, and
 *		what a connector says of itself.
 *
 * NOTES
 *		Any process; memory of CurrentMemoryContext.  Values may be secrets:
 *		none of them is ever put into a message here.
 *
 * IDENTIFICATION
 *		src/util/json.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "util/util.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* A scalar as text; NULL for null and for anything that is not a scalar. */
static char *
scalar_text(const JsonbValue *v)
{
	switch (v->type)
	{
		case jbvString:
			return pnstrdup(v->val.string.val, v->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
		case jbvBool:
			return pstrdup(v->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/* The pairs of an object of scalars, in its own order. */
List *
td_json_pairs(Jsonb *object, const char *what)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;
	List	   *pairs = NIL;
	TdPair	   *pair = NULL;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", what),
				 errhint("Write it as '{\"option\": \"value\"}'.")));
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			pair = palloc0(sizeof(TdPair));
			pair->name = pnstrdup(v.val.string.val, v.val.string.len);
			pairs = lappend(pairs, pair);
		}
		else if (token == WJB_VALUE)
		{
			pair->value = scalar_text(&v);
			if (pair->value == NULL && v.type != jbvNull)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("option \"%s\" must be a text, a number or true or false", pair->name),
						 errhint("Lists and objects are not option values.")));
		}
	}
	return pairs;
}

/* Is there a pair of that name? */
bool
td_pairs_has(List *pairs, const char *name)
{
	ListCell   *lc;

	foreach(lc, pairs)
		if (strcmp(((TdPair *) lfirst(lc))->name, name) == 0)
			return true;
	return false;
}

/* The same pairs, in order. */
bool
td_pairs_equal(const List *a, const List *b)
{
	if (list_length(a) != list_length(b))
		return false;
	for (int i = 0; i < list_length(a); i++)
	{
		const TdPair *x = list_nth(a, i);
		const TdPair *y = list_nth(b, i);

		if (strcmp(x->name, y->name) != 0 || strcmp(x->value ? x->value : "", y->value ? y->value : "") != 0)
			return false;
	}
	return true;
}

/* The value of a pair. */
const char *
td_pairs_get(List *pairs, const char *name)
{
	ListCell   *lc;

	foreach(lc, pairs)
	{
		TdPair	   *pair = lfirst(lc);

		if (strcmp(pair->name, name) == 0)
			return pair->value;
	}
	return NULL;
}

/* A scalar member of an object as text. */
char *
td_json_text(JsonbContainer *object, const char *key)
{
	JsonbValue *v = getKeyJsonValueFromContainer(object, key, strlen(key), NULL);

	return v ? scalar_text(v) : NULL;
}

/* A boolean member of an object. */
bool
td_json_bool(JsonbContainer *object, const char *key)
{
	JsonbValue *v = getKeyJsonValueFromContainer(object, key, strlen(key), NULL);

	return v && v->type == jbvBool && v->val.boolean;
}

/* A member that is an array. */
JsonbContainer *
td_json_array(JsonbContainer *object, const char *key)
{
	JsonbValue *v = getKeyJsonValueFromContainer(object, key, strlen(key), NULL);

	if (v == NULL || v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		return NULL;
	return v->val.binary.data;
}

/* An element that is an object. */
JsonbContainer *
td_json_element(JsonbContainer *array, uint32 i)
{
	JsonbValue *v = getIthJsonbValueFromContainer(array, i);

	if (v == NULL || v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data))
		return NULL;
	return v->val.binary.data;
}
