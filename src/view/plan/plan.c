/*-------------------------------------------------------------------------
 *
 * plan.c
 *		The shape of a query as statements.
 *
 * NOTES
 *		Runs wherever a view is made, explained or kept; in a transaction, with
 *		search_path pinned to pg_catalog.  Reads catalogs only: no relation is
 *		opened, none is locked.  Everything is allocated in the caller's context,
 *		which must live as long as the plan; a plan is never changed.
 *
 *		README.md has the algebra.
 *
 * IDENTIFICATION
 *		src/view/plan/plan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/typcache.h"

#include "view/plan/plan_internal.h"

/* ---- the pieces ---- */

static void
set_item(TdItem *item, char *name, Node *expr)
{
	item->name = name;
	item->expr = td_names_plain(expr);
	item->type = exprType(expr);
	item->typmod = exprTypmod(expr);
	item->collation = exprCollation(expr);
	item->text = NULL;
}

/* Of a view without groups: its outputs, with the types of its columns. */
static void
make_outputs(TdPlanned *p)
{
	const TdShape *shape = p->plan.shape;
	ListCell   *lc;
	int			i = 0;

	p->nitems = shape->ncolumns;
	p->items = palloc0(sizeof(TdItem) * Max(p->nitems, 1));
	foreach(lc, shape->outputs)
	{
		set_item(&p->items[i], shape->columns[i].name, (Node *) lfirst_node(TargetEntry, lc)->expr);
		p->items[i].type = shape->columns[i].type;
		p->items[i].typmod = shape->columns[i].typmod;
		i++;
	}
}

/* May values that are equal look different? */
bool
td_item_varies(const TdItem *item)
{
	if (item->type == NUMERICOID && td_numbers_of(item->expr).scale >= 0)
		return false;
	return !td_equal_is_same(item->type, item->typmod, item->collation);
}

static void
add_key(TdPlanned *p, Node *expr)
{
	set_item(&p->items[p->nitems], psprintf("k%d", p->nitems + 1), expr);
	p->nitems++;
}

/* tapdata.row_hash() of keys. */
static Node *
hash_of(List *keys)
{
	List	   *name = list_make2(makeString("tapdata"), makeString("row_hash"));
	Oid			any = ANYOID;

	return (Node *) makeFuncExpr(LookupFuncName(name, 1, &any, false), INT8OID, keys, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/*
 * Of a view with groups: its keys, then the arguments of its aggregates.  Keys that follow from a primary key come from one row for all of a group:
 * where they may look different, their hash is one key more, and a group that looks different is another one.
 */
static void
make_groups(TdPlanned *p)
{
	const TdShape *shape = p->plan.shape;
	List	   *told_apart = NIL;
	ListCell   *lc;

	p->items = palloc0(sizeof(TdItem) * (list_length(shape->keys) + 1));
	foreach(lc, shape->keys)
		add_key(p, lfirst(lc));
	for (int i = shape->ngrouped; i < list_length(shape->keys) && list_length(shape->keys) < INDEX_MAX_KEYS; i++)
		if (td_item_varies(&p->items[i]))
			told_apart = lappend(told_apart, copyObject(list_nth(shape->keys, i)));
	if (told_apart)
		add_key(p, hash_of(told_apart));
	p->plan.nkeys = p->nitems;
	td_counters_make(p);
	p->plan.ncounters = p->ncounters;
}

static void
make_quals(TdPlanned *p)
{
	ListCell   *lc;

	p->quals = palloc0(sizeof(TdQual) * Max(list_length(p->plan.shape->quals), 1));
	foreach(lc, p->plan.shape->quals)
	{
		TdQual	   *q = &p->quals[p->nquals++];

		q->expr = td_names_plain(lfirst(lc));
		q->reads = td_names_reads(p, q->expr);
		if (!td_equal_columns(lfirst(lc), &q->left, &q->right))
			q->left = q->right = NULL;
	}
}

/* All attribute numbers of an occurrence that anything reads; or only those that are read of its leaf. */
static Bitmapset *
columns_of(const TdPlanned *p, int n, bool leaf)
{
	Bitmapset  *columns = NULL;

	for (int i = 0; i < p->nitems; i++)
		columns = bms_add_members(columns, td_names_columns(p, p->items[i].expr, n));
	for (int i = 0; i < p->nquals; i++)
		if (!leaf || bms_membership(p->quals[i].reads) == BMS_MULTIPLE)
			columns = bms_add_members(columns, td_names_columns(p, p->quals[i].expr, n));
	return columns;
}

/* The columns of an occurrence by their names of today. */
TdRowNames
td_plan_row_names(const TdOccurrence *o, const Bitmapset *columns)
{
	TdRowNames	row = {psprintf("r%d", o->n), NIL};
	int			last = 0;
	int			a = -1;

	while ((a = bms_next_member(columns, a)) >= 0)
		last = a;
	for (a = 1; a <= last; a++)
		row.columns = lappend(row.columns, bms_is_member(a, columns) ? get_attname(o->relid, a, false) : "");
	return row;
}

/* As it stands in FROM. */
char *
td_plan_table_name(const TdOccurrence *o)
{
	char	   *table = get_rel_name(o->relid);

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", o->relid)));
	return psprintf("%s%s", o->inh ? "" : "ONLY ", quote_qualified_identifier(get_namespace_name(get_rel_namespace(o->relid)), table));
}

static void
make_names(TdPlanned *p)
{
	const TdShape *shape = p->plan.shape;

	p->nrows = list_length(shape->query->rtable);
	p->rows = palloc0(sizeof(TdRowNames) * Max(p->nrows, 1));
	p->tables = palloc0(sizeof(char *) * Max(shape->noccurrences, 1));
	p->columns = palloc0(sizeof(Bitmapset *) * Max(shape->noccurrences, 1));
	for (int i = 0; i < shape->noccurrences; i++)
	{
		const TdOccurrence *o = &shape->occurrences[i];

		p->tables[i] = td_plan_table_name(o);
		p->columns[i] = columns_of(p, i + 1, true);
		p->rows[o->rti - 1] = td_plan_row_names(o, columns_of(p, i + 1, false));
	}
}

static void
make_texts(TdPlanned *p)
{
	List	   *context = td_names_context(p->nrows, p->rows);

	for (int i = 0; i < p->nitems; i++)
		p->items[i].text = td_names_typed(p->items[i].expr, p->items[i].type, p->items[i].typmod, context);
	for (int i = 0; i < p->nquals; i++)
		p->quals[i].text = td_names_text(p->quals[i].expr, context);
}

/* The rows that changed bounds can matter to lie between them; so it is if as many bounds came as went, and none is null. */
static void
make_ranges(TdPlanned *p)
{
	const TdShape *shape = p->plan.shape;
	List	   *context = td_names_context(p->nrows, p->rows);

	p->ranges = palloc0(sizeof(char *) * Max(shape->noccurrences, 1));
	p->within = palloc0(sizeof(char *) * Max(shape->noccurrences, 1));
	for (int n = 1; n <= shape->noccurrences; n++)
	{
		TdRange		range;
		char	   *bound;

		if (!td_find_range(shape, &shape->occurrences[n - 1], &range))
			continue;
		bound = td_names_text(td_names_plain((Node *) range.bound), context);
		p->ranges[n - 1] = psprintf("%s BETWEEN (SELECT %s FROM l%d r%d ORDER BY 1 LIMIT 1) AND (SELECT %s FROM l%d r%d ORDER BY 1 DESC LIMIT 1)",
									td_names_text(td_names_plain(range.value), context), bound, n, n, bound, n, n);
		p->within[n - 1] = psprintf("(SELECT coalesce(sum(r%d." TD_W "), 0) = 0 AND count(%s) = count(*) FROM l%d r%d)", n, bound, n, n);
	}
}

/* ---- the plan ---- */

static TdStateColumn
state_column(const char *name, Oid type, int32 typmod, Oid collation)
{
	return (TdStateColumn) {pstrdup(name), type, typmod, collation};
}

static void
make_state(TdPlanned *p)
{
	TdPlan	   *plan = &p->plan;
	int			n = 0;

	plan->nstate = plan->nkeys + 1 + plan->ncounters;
	plan->state = palloc0(sizeof(TdStateColumn) * plan->nstate);
	plan->counters = palloc0(sizeof(TdCounterKind) * Max(plan->ncounters, 1));
	for (int i = 0; i < plan->nkeys; i++)
		plan->state[n++] = state_column(p->items[i].name, p->items[i].type, p->items[i].typmod, p->items[i].collation);
	plan->state[n++] = state_column("n", INT8OID, -1, InvalidOid);
	for (int i = 0; i < plan->ncounters; i++)
	{
		plan->state[n++] = state_column(p->counters[i].name, p->counters[i].type, -1, p->counters[i].collation);
		plan->counters[i] = p->counters[i].kind;
	}
}

/* An occurrence's delta with the columns that are read after its own conditions, which are tested on each image. */
static TdLeaf *
make_leaf(const TdPlanned *p, int n)
{
	const TdOccurrence *o = &p->plan.shape->occurrences[n - 1];
	TdLeaf	   *leaf = palloc0(sizeof(TdLeaf));
	StringInfoData buf;
	int			a = -1;

	leaf->whole = true;
	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	while ((a = bms_next_member(p->columns[n - 1], a)) >= 0)
	{
		char	   *name = list_nth(p->rows[o->rti - 1].columns, a - 1);

		appendStringInfo(&buf, "r%d.%s, ", n, quote_identifier(name));
		leaf->columns = lappend(leaf->columns, name);
	}
	appendStringInfo(&buf, "r%d." TD_W "\nFROM d_%u r%d", n, o->relid, n);
	for (int i = 0; i < p->nquals; i++)
		if (bms_membership(p->quals[i].reads) == BMS_SINGLETON && bms_is_member(n, p->quals[i].reads))
		{
			appendStringInfo(&buf, "%s%s", leaf->whole ? "\nWHERE " : " AND ", p->quals[i].text);
			leaf->whole = false;
		}
	leaf->name = psprintf("l%d", n);
	leaf->occurrence = n;
	leaf->sql = buf.data;
	return leaf;
}

/* Keys and results of a group, as g(k1.., a1.., weight), from state rows s. */
static char *
results_text(const TdPlanned *p)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	for (int i = 0; i < list_length(p->plan.shape->keys); i++)
		appendStringInfo(&buf, "%s, ", td_counters_key(p, i));
	for (int i = 0; i < p->plan.shape->naggregates; i++)
		appendStringInfo(&buf, "%s AS a%d, ", td_counters_final(p, i), i + 1);
	appendStringInfo(&buf, "s." TD_W "\nFROM s%s", p->plan.shape->one_group ? "" : "\nWHERE s.n > 0");
	return buf.data;
}

static List *
group_context(const TdPlanned *p)
{
	TdRowNames	g = {"g", NIL};

	for (int i = 0; i < list_length(p->plan.shape->keys); i++)
		g.columns = lappend(g.columns, p->items[i].name);
	for (int i = 0; i < p->plan.shape->naggregates; i++)
		g.columns = lappend(g.columns, psprintf("a%d", i + 1));
	return td_names_context(1, &g);
}

static char *
make_output(const TdPlanned *p)
{
	const TdShape *shape = p->plan.shape;
	List	   *context = group_context(p);
	StringInfoData buf;
	ListCell   *lc;
	int			i = 0;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	foreach(lc, shape->outputs)
	{
		const TdViewColumn *c = &shape->columns[i++];
		Node	   *expr = td_names_plain((Node *) lfirst_node(TargetEntry, lc)->expr);

		appendStringInfo(&buf, "%s AS %s, ", td_names_typed(expr, c->type, c->typmod, context), quote_identifier(c->name));
	}
	appendStringInfo(&buf, "g." TD_W "\nFROM (%s) g", results_text(p));
	if (shape->having)
		appendStringInfo(&buf, "\nWHERE %s", td_names_text(td_names_plain(shape->having), context));
	return buf.data;
}

/* The statements of a query. */
TdPlan *
td_plan(const TdShape *shape)
{
	TdPlanned  *p = palloc0(sizeof(TdPlanned));
	TdPlan	   *plan = &p->plan;

	if (shape->keyed)
		return td_plan_of_keyed(shape);
	plan->shape = shape;
	plan->grouped = shape->grouped;
	if (shape->grouped)
		make_groups(p);
	else
		make_outputs(p);
	make_quals(p);
	make_names(p);
	make_texts(p);
	make_ranges(p);
	p->netted = !shape->grouped || shape->noccurrences > 1 || !td_counters_linear(p);
	for (int n = 1; p->netted && n <= shape->noccurrences; n++)
		plan->leaves = lappend(plan->leaves, make_leaf(p, n));
	plan->core_sql = td_terms_rows(p, NULL, NULL);
	if (shape->grouped)
	{
		make_state(p);
		plan->core_sql = td_counters_of_rows(p, plan->core_sql);
		plan->output_sql = make_output(p);
	}
	return plan;
}

/* ---- statements for a tick ---- */

/* The delta of the core when these occurrences have changed; texts are put together anew, so keep it. */
char *
td_plan_delta(const TdPlan *plan, const Bitmapset *changed)
{
	const TdPlanned *p = (const TdPlanned *) plan;
	char	   *rows = td_terms_delta(p, changed);

	return plan->grouped ? td_counters_of_delta(p, rows) : rows;
}

/* In stages, where that is not how it is said anyway: which way is cheaper depends on how many rows the joins lead to, and the planner has an idea of that. */
char *
td_plan_delta_otherwise(const TdPlan *plan, const Bitmapset *changed)
{
	const TdPlanned *p = (const TdPlanned *) plan;
	int			nchanged = bms_num_members(changed);

	if (plan->shape->keyed || nchanged < TD_MIN_STAGED || nchanged > TD_MAX_SIGNED)
		return NULL;
	return plan->grouped ? td_counters_of_delta(p, td_stages_delta(p, changed)) : td_stages_delta(p, changed);
}

/* The row's key i is that of k, or null.  Datums that are null, not rows of nulls. */
static void
put_key(StringInfo buf, const TdItem *key, int i, uint32 null_mask)
{
	Oid			eq = lookup_type_cache(key->type, TYPECACHE_EQ_OPR)->eq_opr;
	char	   *equal;

	if (!OidIsValid(eq))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s", format_type_be(key->type))));
	equal = psprintf("%s %s k.%s%s", key->text, td_names_operator(eq), key->name,
					 OidIsValid(key->collation) ? psprintf(" COLLATE %s", generate_collation_name(key->collation)) : "");
	appendStringInfoString(buf, buf->len ? " AND " : "");
	if (null_mask & ((uint32) 1 << i))
		appendStringInfo(buf, "%s IS NOT DISTINCT FROM NULL", key->text);
	else
		appendStringInfoString(buf, equal);
}

/* The state rows of the groups in k.  Without keys there is one group, which always comes, and no k. */
char *
td_plan_groups(const TdPlan *plan, uint32 null_mask)
{
	const TdPlanned *p = (const TdPlanned *) plan;
	StringInfoData buf;

	Assert(plan->grouped);
	if (plan->nkeys == 0)
		return pstrdup(plan->core_sql);
	initStringInfo(&buf);
	for (int i = 0; i < plan->nkeys; i++)
		put_key(&buf, &p->items[i], i, null_mask);
	return td_counters_of_rows(p, td_terms_rows(p, "k", buf.data));
}
