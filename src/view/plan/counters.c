/*-------------------------------------------------------------------------
 *
 * counters.c
 *		Aggregates as counters that can be added to and taken from, and the
 *		statements that count.
 *
 * NOTES
 *		README.md has the rules.  Counters are shared between aggregates with equal
 *		arguments: sum(x), avg(x) and count(x) need two.  An aggregate for which
 *		no rule stands here keeps its own value and is computed anew, group by
 *		group.
 *
 *		A statement counts rows z(k1.., a1.., weight), whatever they come from.
 *
 * IDENTIFICATION
 *		src/view/plan/counters.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "view/plan/plan_internal.h"

/* How it is counted; %1$s is the argument.  From a delta: never null, and without overflow on the way. */
static const struct
{
	Oid			type;
	const char *rows;
	const char *delta;
	int			evaluations;	/* of the argument for each row */
}			forms[] =
{
	[TD_COUNT_PRESENT] = {INT8OID, "count(%1$s)",
	"coalesce(sum(z." TD_W ") FILTER (WHERE %1$s IS DISTINCT FROM NULL), 0)::bigint", 1},
	[TD_COUNT_SUM_INT] = {INT8OID, "coalesce(sum(%1$s), 0)",
	"coalesce(sum(z." TD_W " * %1$s), 0)::bigint", 1},
	[TD_COUNT_SUM] = {NUMERICOID, "coalesce(sum(%1$s), 0)",
	"coalesce(sum(z." TD_W "::numeric * %1$s), 0)", 1},
	[TD_COUNT_SUM_FINITE] = {NUMERICOID, "coalesce(sum(%1$s) FILTER (WHERE scale(%1$s) >= 0), 0)",
	"coalesce(sum(z." TD_W "::numeric * %1$s) FILTER (WHERE scale(%1$s) >= 0), 0)", 2},
	[TD_COUNT_NAN] = {INT8OID, "count(*) FILTER (WHERE %1$s = 'NaN'::numeric)",
	"coalesce(sum(z." TD_W ") FILTER (WHERE %1$s = 'NaN'::numeric), 0)::bigint", 1},
	[TD_COUNT_PLACES] = {NUMERICOID, "coalesce(sum(tapdata.numeric_place(%1$s)), 0)",
	"coalesce(sum(z." TD_W "::numeric * tapdata.numeric_place(%1$s)), 0)", 1},
};

#define ROWS_DELTA "coalesce(sum(z." TD_W "), 0)::bigint"

/* While counters are made: how often each item is computed. */
typedef struct Making
{
	TdPlanned  *p;
	int		   *evaluations;
} Making;

/* ---- items ---- */

/* The index of the item with this expression. */
static int
item_of(Making *m, Node *expr, int evaluations)
{
	TdPlanned  *p = m->p;
	TdItem	   *item;
	int			i;

	for (i = 0; i < p->nitems; i++)
		if (equal(p->items[i].expr, expr))
			break;
	if (i == p->nitems)
	{
		p->items = p->nitems ? repalloc(p->items, sizeof(TdItem) * (i + 1)) : palloc(sizeof(TdItem));
		m->evaluations = i ? repalloc(m->evaluations, sizeof(int) * (i + 1)) : palloc(sizeof(int));
		m->evaluations[i] = 0;
		item = &p->items[p->nitems++];
		item->name = psprintf("a%d", i + 1 - p->plan.nkeys);
		item->expr = expr;
		item->type = exprType(expr);
		item->typmod = exprTypmod(expr);
		item->collation = exprCollation(expr);
		item->text = NULL;
	}
	m->evaluations[i] += evaluations;
	return i;
}

/* A Var over z for it. */
static Expr *
item_var(Making *m, Expr *expr)
{
	TdItem	   *item;
	int			i;

	if (expr == NULL || IsA(expr, Const))
		return expr;
	i = item_of(m, td_names_plain((Node *) expr), 1);
	item = &m->p->items[i];
	return (Expr *) makeVar(1, i + 1, item->type, item->typmod, item->collation, 0);
}

/* The argument of an aggregate; what its FILTER leaves out is null, which all that are counted skip. */
static Node *
argument_of(const TdAggregate *a)
{
	Node	   *arg = (Node *) a->argument;
	CaseExpr   *c;
	CaseWhen   *when;

	if (a->aggref->aggfilter == NULL)
		return arg ? td_names_plain(arg) : NULL;
	if (arg == NULL)
		arg = (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true);
	when = makeNode(CaseWhen);
	when->expr = a->aggref->aggfilter;
	when->result = (Expr *) arg;
	when->location = -1;
	c = makeNode(CaseExpr);
	c->casetype = exprType(arg);
	c->casecollid = exprCollation(arg);
	c->args = list_make1(when);
	c->defresult = (Expr *) makeNullConst(exprType(arg), exprTypmod(arg), exprCollation(arg));
	c->location = -1;
	return td_names_plain((Node *) c);
}

/* ---- counters ---- */

static TdCounter *
append_counter(TdPlanned *p, TdCount count, TdCounterKind kind)
{
	TdCounter  *c;

	p->counters = p->ncounters ? repalloc(p->counters, sizeof(TdCounter) * (p->ncounters + 1)) : palloc(sizeof(TdCounter));
	c = &p->counters[p->ncounters++];
	memset(c, 0, sizeof(TdCounter));
	c->count = count;
	c->kind = kind;
	c->item = -1;
	c->name = psprintf("c%d", p->ncounters);
	return c;
}

/* A counter of an argument, shared; returns its index. */
static int
count(Making *m, TdCount what, Node *arg)
{
	TdPlanned  *p = m->p;
	TdCounter  *c;

	for (int i = 0; i < p->ncounters; i++)
		if (p->counters[i].count == what && equal(p->items[p->counters[i].item].expr, arg))
			return i;
	c = append_counter(p, what, TD_COUNTER_ADD);
	c->item = item_of(m, arg, forms[what].evaluations);
	c->type = forms[what].type;
	return p->ncounters - 1;
}

/* A counter that holds the aggregate's own value. */
static int
count_own(Making *m, const TdAggregate *a, TdCounterKind kind)
{
	TdPlanned  *p = m->p;
	Aggref	   *call = copyObject(a->aggref);
	TdCounter  *c;
	ListCell   *lc;

	foreach(lc, call->args)
	{
		TargetEntry *arg = lfirst(lc);

		arg->expr = item_var(m, arg->expr);
	}
	call->aggfilter = item_var(m, call->aggfilter);
	foreach(lc, call->aggdirectargs)
		lfirst(lc) = item_var(m, lfirst(lc));
	c = append_counter(p, TD_COUNT_OWN, kind);
	c->call = call;
	c->type = a->type;
	c->collation = a->collation;
	return p->ncounters - 1;
}

/* min, max: kept as long as the value that goes is not the one kept.  A FILTER would hide which rows have gone from that rule. */
static void
make_extremum(Making *m, const TdAggregate *a, TdParts *parts)
{
	bool		ordered = OidIsValid(lookup_type_cache(a->type, TYPECACHE_LT_OPR)->lt_opr);
	TdCounterKind kind = a->kind == TD_AGG_MIN ? TD_COUNTER_MIN : TD_COUNTER_MAX;

	parts->own = count_own(m, a, ordered && !a->aggref->aggfilter && !a->aggref->aggdistinct ? kind : TD_COUNTER_RECOMPUTE);
}

/* sum, avg of numeric, of which any may be NaN, and some infinite or of any display scale. */
static void
make_numeric(Making *m, Node *arg, TdParts *parts)
{
	TdNumbers	numbers = td_numbers_of(arg);
	bool		plain = numbers.scale >= 0 && !numbers.infinite;

	parts->sum = count(m, plain && !numbers.nan ? TD_COUNT_SUM : TD_COUNT_SUM_FINITE, arg);
	if (plain && numbers.nan)
		parts->nan = count(m, TD_COUNT_NAN, arg);
	if (!plain)
		parts->places = count(m, TD_COUNT_PLACES, arg);
}

static void
make_sum(Making *m, const TdAggregate *a, TdParts *parts)
{
	Node	   *arg = argument_of(a);

	switch (exprType(arg))
	{
		case INT2OID:
		case INT4OID:
			parts->sum = count(m, TD_COUNT_SUM_INT, arg);
			break;
		case INT8OID:
			parts->sum = count(m, TD_COUNT_SUM, arg);
			break;
		case NUMERICOID:
			make_numeric(m, arg, parts);
			break;
		default:				/* interval and money don't multiply exactly */
			parts->own = count_own(m, a, TD_COUNTER_RECOMPUTE);
			return;
	}
	if (parts->places < 0 || a->kind == TD_AGG_AVG)
		parts->present = count(m, TD_COUNT_PRESENT, arg);
}

/* Of nothing: n, the number of rows, is all that is needed. */
static void
make_count(Making *m, const TdAggregate *a, TdParts *parts)
{
	Node	   *arg = argument_of(a);

	if (arg && !(IsA(arg, Const) && !((Const *) arg)->constisnull))
		parts->present = count(m, TD_COUNT_PRESENT, arg);
}

static void
make_aggregate(Making *m, const TdAggregate *a, TdParts *parts)
{
	bool		extremum = a->kind == TD_AGG_MIN || a->kind == TD_AGG_MAX;

	*parts = (TdParts) {-1, -1, -1, -1, -1};
	if (extremum)
		make_extremum(m, a, parts);
	else if (!a->exact || a->aggref->aggdistinct)
		parts->own = count_own(m, a, TD_COUNTER_RECOMPUTE);
	else if (a->kind == TD_AGG_ROWS || a->kind == TD_AGG_COUNT)
		make_count(m, a, parts);
	else if (a->kind == TD_AGG_SUM || a->kind == TD_AGG_AVG)
		make_sum(m, a, parts);
	else
		parts->own = count_own(m, a, TD_COUNTER_RECOMPUTE);
}

/* ---- keys that may look different ---- */

/* Floats differ where they are zero only. */
static bool
is_float(Oid type)
{
	return type == FLOAT4OID || type == FLOAT8OID;
}

/* The hash of the keys as they are; NULL where none can look different. */
static char *
image_text(const TdPlanned *p, const Bitmapset *keys)
{
	StringInfoData zero;
	StringInfoData names;
	bool		always = false;
	int			i = -1;

	initStringInfo(&zero);
	initStringInfo(&names);
	while ((i = bms_next_member(keys, i)) >= 0)
	{
		appendStringInfo(&names, "%sz.%s", names.len ? ", " : "", p->items[i].name);
		appendStringInfo(&zero, "%sz.%s = '0'", zero.len ? " OR " : "", p->items[i].name);
		always |= !is_float(p->items[i].type);
	}
	return always ? psprintf("tapdata.row_hash(%s)", names.data) : psprintf("CASE WHEN %s THEN tapdata.row_hash(%s) END", zero.data, names.data);
}

/*
 * Which of several equal keys a group shows is open, but it must be that of a row that is there.  Display scales of numerics are counted; the
 * others are watched by a hash: when a row that looks like the key shown goes, the group is computed anew.
 */
static void
make_keys(Making *m)
{
	TdPlanned  *p = m->p;
	int			nkeys = list_length(p->plan.shape->keys);
	Bitmapset  *watched = NULL;
	TdCounter  *c;

	p->key_places = palloc(sizeof(int) * Max(nkeys, 1));
	for (int i = 0; i < nkeys; i++)
	{
		bool		told_apart = p->plan.nkeys > nkeys && i >= p->plan.shape->ngrouped;

		p->key_places[i] = -1;
		if (told_apart || !td_item_varies(&p->items[i]))
			continue;
		if (p->items[i].type == NUMERICOID)
			p->key_places[i] = count(m, TD_COUNT_PLACES, p->items[i].expr);
		else
			watched = bms_add_member(watched, i);
	}
	if (watched == NULL)
		return;
	c = append_counter(p, TD_COUNT_IMAGE, TD_COUNTER_IMAGE);
	c->type = INT8OID;
	c->text = image_text(p, watched);
}

/* The text of the calls, over z. */
static void
name_calls(TdPlanned *p)
{
	TdRowNames	z = {"z", NIL};
	List	   *context;

	for (int i = 0; i < p->nitems; i++)
		z.columns = lappend(z.columns, p->items[i].name);
	context = td_names_context(1, &z);
	for (int i = 0; i < p->ncounters; i++)
		if (p->counters[i].call)
			p->counters[i].text = td_names_text((Node *) p->counters[i].call, context);
}

/* Makes the counters of all aggregates, and the items that they count; the keys are there already. */
void
td_counters_make(TdPlanned *p)
{
	const TdShape *shape = p->plan.shape;
	Making		m = {p, palloc0(sizeof(int) * Max(p->nitems, 1))};

	p->parts = palloc(sizeof(TdParts) * Max(shape->naggregates, 1));
	for (int i = 0; i < shape->naggregates; i++)
		make_aggregate(&m, &shape->aggregates[i], &p->parts[i]);
	make_keys(&m);
	for (int i = p->plan.nkeys; i < p->nitems; i++)
		p->barrier |= m.evaluations[i] > 1 && !IsA(p->items[i].expr, Var) && !get_typbyval(p->items[i].type);
	name_calls(p);
}

static bool
has_kind(const TdPlanned *p, TdCounterKind kind)
{
	for (int i = 0; i < p->ncounters; i++)
		if (p->counters[i].kind == kind)
			return true;
	return false;
}

/* Does it matter which rows are taken away, and not only how many? */
static bool
has_removed(const TdPlanned *p)
{
	return has_kind(p, TD_COUNTER_MIN) || has_kind(p, TD_COUNTER_MAX) || has_kind(p, TD_COUNTER_IMAGE);
}

/* Can all be added up from rows that are not netted? */
bool
td_counters_linear(const TdPlanned *p)
{
	return !has_removed(p) && !has_kind(p, TD_COUNTER_RECOMPUTE);
}

/* ---- statements ---- */

static char *
argument_text(const TdPlanned *p, const TdCounter *c)
{
	return psprintf("z.%s", p->items[c->item].name);
}

/* z.k1, z.k2 */
static char *
keys_text(const TdPlanned *p)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < p->plan.nkeys; i++)
		appendStringInfo(&buf, "%sz.%s", i ? ", " : "", p->items[i].name);
	return buf.data;
}

/* SELECT z.k1, z.k2, ... as far as n, which is counted so. */
static void
begin_select(StringInfo buf, const TdPlanned *p, const char *more, const char *n)
{
	initStringInfo(buf);
	appendStringInfo(buf, "SELECT %s%s%s%s AS n", keys_text(p), p->plan.nkeys ? ", " : "", more, n);
}

static void
end_select(StringInfo buf, const TdPlanned *p, const char *source, bool barrier, const char *more)
{
	appendStringInfo(buf, "\nFROM (%s%s) z", source, barrier ? "\nOFFSET '0'" : "");
	if (p->plan.nkeys > 0 || more[0])
		appendStringInfo(buf, "\nGROUP BY %s%s", keys_text(p), p->plan.nkeys ? more : more + strlen(", "));
}

/* The state rows of the groups of source's rows. */
char *
td_counters_of_rows(const TdPlanned *p, const char *source)
{
	StringInfoData buf;

	begin_select(&buf, p, "", "count(*)");
	for (int i = 0; i < p->ncounters; i++)
	{
		const TdCounter *c = &p->counters[i];

		appendStringInfoString(&buf, ", ");
		if (c->text)
			appendStringInfoString(&buf, c->text);
		else
			appendStringInfo(&buf, forms[c->count].rows, argument_text(p, c));
		appendStringInfo(&buf, " AS %s", c->name);
	}
	end_select(&buf, p, source, p->barrier, "");
	return buf.data;
}

/* n and what is added to the counters, and as *nonzero whether anything is. */
static void
put_sums(StringInfo buf, const TdPlanned *p, StringInfo nonzero)
{
	appendStringInfo(nonzero, "%s <> 0", ROWS_DELTA);
	for (int i = 0; i < p->ncounters; i++)
	{
		const TdCounter *c = &p->counters[i];

		if (c->kind != TD_COUNTER_ADD)
			continue;
		appendStringInfoString(buf, ", ");
		appendStringInfo(buf, forms[c->count].delta, argument_text(p, c));
		appendStringInfo(buf, " AS %s", c->name);
		appendStringInfoString(nonzero, " OR ");
		appendStringInfo(nonzero, forms[c->count].delta, argument_text(p, c));
		appendStringInfoString(nonzero, " <> 0");
	}
}

/* Without keys there is a row even of nothing; a group that must be computed anew shows in its rows only. */
static void
put_having(StringInfo buf, const TdPlanned *p, bool filter, const char *nonzero)
{
	if (filter)
		appendStringInfo(buf, "\nHAVING %s", nonzero);
	else if (p->plan.nkeys == 0)
		appendStringInfoString(buf, "\nHAVING count(*) > 0");
}

/* The items that min and max take. */
static Bitmapset *
extrema_items(const TdPlanned *p)
{
	Bitmapset  *items = NULL;

	for (int j = 0; j < p->ncounters; j++)
	{
		const TdCounter *c = &p->counters[j];
		Expr	   *arg;

		if (c->kind != TD_COUNTER_MIN && c->kind != TD_COUNTER_MAX)
			continue;
		arg = linitial_node(TargetEntry, c->call->args)->expr;
		if (IsA(arg, Var))
			items = bms_add_member(items, ((Var *) arg)->varattno - 1);
	}
	return items;
}

/*
 * What rows are netted by besides the keys: the arguments of min and max, and how they and the keys look.  selected: those that are read
 * afterwards, each with a comma behind; else with one before.
 */
static char *
netted_by(const TdPlanned *p, bool selected)
{
	Bitmapset  *items = extrema_items(p);
	StringInfoData buf;
	int			i = -1;

	initStringInfo(&buf);
	while ((i = bms_next_member(items, i)) >= 0)
	{
		if (i >= p->plan.nkeys)
			appendStringInfo(&buf, selected ? "z.%s, " : ", z.%s", p->items[i].name);
		if (!selected && td_item_varies(&p->items[i]))
			appendStringInfo(&buf, ", tapdata.row_hash(z.%s)", p->items[i].name);
	}
	for (int j = 0; j < p->ncounters; j++)
		if (p->counters[j].kind == TD_COUNTER_IMAGE)
			appendStringInfo(&buf, selected ? "%s AS %s, " : ", %s", p->counters[j].text, p->counters[j].name);
	return buf.data;
}

/* What came and went of a counter that does not add up, from rows that were netted. */
static void
put_removed(StringInfo buf, const TdCounter *c)
{
	if (c->kind == TD_COUNTER_IMAGE)
		appendStringInfo(buf, ", %s AS %s, min(z.%s) FILTER (WHERE z.n < 0) AS %s_least, max(z.%s) FILTER (WHERE z.n < 0) AS %s_most",
						 c->text, c->name, c->name, c->name, c->name, c->name);
	else if (c->kind != TD_COUNTER_RECOMPUTE)
		appendStringInfo(buf, ", %s FILTER (WHERE z.n > 0) AS %s_in, %s FILTER (WHERE z.n < 0) AS %s_out", c->text, c->name, c->text, c->name);
}

/* Adds up what was netted by key and argument; the least and greatest arguments that came and went. */
static char *
delta_of_netted(const TdPlanned *p, const char *netted)
{
	StringInfoData buf;

	begin_select(&buf, p, "", "sum(z.n)::bigint");
	for (int i = 0; i < p->ncounters; i++)
	{
		const TdCounter *c = &p->counters[i];

		if (c->kind == TD_COUNTER_ADD)
			appendStringInfo(&buf, ", sum(z.%s)%s AS %s", c->name, c->type == INT8OID ? "::bigint" : "", c->name);
		else
			put_removed(&buf, c);
	}
	end_select(&buf, p, netted, false, "");
	put_having(&buf, p, false, NULL);
	return buf.data;
}

/*
 * The delta of the state: source returns rows with a weight.  Rows are first netted by keys and arguments of min and max: else each
 * change of another column of the row that has the minimum would look like a minimum that goes.
 */
char *
td_counters_of_delta(const TdPlanned *p, const char *source)
{
	bool		recompute = has_kind(p, TD_COUNTER_RECOMPUTE);
	StringInfoData buf;
	StringInfoData nonzero;

	initStringInfo(&nonzero);
	begin_select(&buf, p, netted_by(p, true), ROWS_DELTA);
	put_sums(&buf, p, &nonzero);
	end_select(&buf, p, source, p->barrier, netted_by(p, false));
	put_having(&buf, p, !recompute, nonzero.data);
	return has_removed(p) ? delta_of_netted(p, buf.data) : buf.data;
}

/* ---- results ---- */

static char *
state_text(const TdPlanned *p, int counter)
{
	return psprintf("s.%s", p->counters[counter].name);
}

/* sum() of what is there; NULL of nothing. */
static char *
final_sum(const TdPlanned *p, const TdParts *parts, const char *result)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "CASE");
	if (parts->nan >= 0)
		appendStringInfo(&buf, " WHEN %s > 0 THEN 'NaN'::numeric", state_text(p, parts->nan));
	appendStringInfo(&buf, " WHEN %s > 0 THEN %s END", state_text(p, parts->present), result);
	return buf.data;
}

static char *
final_text(const TdPlanned *p, const TdAggregate *a, const TdParts *parts)
{
	char	   *sum;

	if (parts->own >= 0)
		return state_text(p, parts->own);
	if (parts->sum < 0)
		return parts->present < 0 ? "s.n" : state_text(p, parts->present);
	sum = state_text(p, parts->sum);
	if (parts->places >= 0)
		sum = psprintf("tapdata.numeric_sum(%s, %s)", sum, state_text(p, parts->places));
	if (a->kind == TD_AGG_AVG)
		sum = psprintf("%s::numeric / %s::numeric", sum, state_text(p, parts->present));
	return parts->places >= 0 ? sum : final_sum(p, parts, sum);
}

/* A key of the shape, from a state row s: the most digits after the point that any of its rows has. */
char *
td_counters_key(const TdPlanned *p, int key)
{
	char	   *name = psprintf("s.%s", p->items[key].name);

	if (p->key_places[key] < 0)
		return name;
	return psprintf("tapdata.numeric_sum(%s, %s) AS %s", name, state_text(p, p->key_places[key]), p->items[key].name);
}

/* The aggregate's value, from a state row s. */
char *
td_counters_final(const TdPlanned *p, int aggregate)
{
	const TdAggregate *a = &p->plan.shape->aggregates[aggregate];

	return psprintf("(%s)::%s", final_text(p, a, &p->parts[aggregate]), format_type_with_typemod(a->type, a->typmod));
}
