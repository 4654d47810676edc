/*-------------------------------------------------------------------------
 *
 * explain.c
 *		How a view would be kept, as rows of explain_query and explain_view.
 *
 * NOTES
 *		One row per node, two spaces of indent per level.  Opens relations under
 *		the locks that analysis took.
 *
 * IDENTIFICATION
 *		src/view/analyze/explain.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "view/analyze/analyze_internal.h"

#define STAGED_ABOVE "4"		/* changed occurrences: see plan/ */

void
td_explain_row(List **rows, int level, const char *node, const char *strategy, const char *detail)
{
	TdExplained *row = palloc0(sizeof(TdExplained));

	row->node = psprintf("%*s%s", 2 * level, "", node);
	row->strategy = pstrdup(strategy);
	row->detail = pstrdup(detail);
	*rows = lappend(*rows, row);
}

/* ---- texts ---- */

static const TdOccurrence *
only_occurrence(const TdShape *shape, Node *expr)
{
	int			rti;

	if (!bms_get_singleton_member(pull_varnos(NULL, expr), &rti))
		return NULL;
	for (int i = 0; i < shape->noccurrences; i++)
	{
		if (shape->occurrences[i].rti == rti)
			return &shape->occurrences[i];
	}
	return NULL;
}

/* The expression as SQL, where it reads one occurrence only; else "...". */
static char *
expression_text(const TdShape *shape, Node *expr)
{
	const TdOccurrence *o = only_occurrence(shape, expr);
	Node	   *copy;

	if (o == NULL)
		return pstrdup("...");
	copy = copyObject(expr);
	ChangeVarNodes(copy, o->rti, 1, 0);
	return deparse_expression(copy, deparse_context_for(get_rel_name(o->relid), o->relid), false, false);
}

static char *
key_text(const TdShape *shape)
{
	StringInfoData text;
	ListCell   *lc;

	if (shape->unique == NIL)
		return pstrdup("no key is known: rows are found by all their columns");
	initStringInfo(&text);
	foreach(lc, shape->unique)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "key: ", quote_identifier(shape->columns[lfirst_int(lc) - 1].name));
	return text.data;
}

/* ---- occurrences ---- */

/* Columns of o that equal columns of other (NULL: of any other). */
static Bitmapset *
join_columns(const TdShape *shape, const TdOccurrence *o, const TdOccurrence *other)
{
	Bitmapset  *attnums = NULL;
	Var		   *a,
			   *b;
	ListCell   *lc;

	foreach(lc, shape->quals)
	{
		if (!td_equal_columns(lfirst(lc), &a, &b))
			continue;
		if (a->varno == o->rti && b->varno == other->rti)
			attnums = bms_add_member(attnums, a->varattno);
		if (b->varno == o->rti && a->varno == other->rti)
			attnums = bms_add_member(attnums, b->varattno);
	}
	return attnums;
}

/* One table whose changes lead to rows of another, by these columns. */
typedef struct Probe
{
	int			from;			/* number of an occurrence */
	Bitmapset  *attnums;
} Probe;

static int
more_columns(const ListCell *a, const ListCell *b)
{
	const Probe *left = lfirst(a);
	const Probe *right = lfirst(b);
	int			more = bms_num_members(right->attnums) - bms_num_members(left->attnums);

	return more ? more : left->from - right->from;
}

/* With most columns first: an index on those may serve for fewer. */
static List *
probes_of(const TdShape *shape, const TdOccurrence *o)
{
	List	   *probes = NIL;

	for (int i = 0; i < shape->noccurrences; i++)
	{
		Bitmapset  *attnums = &shape->occurrences[i] == o ? NULL : join_columns(shape, o, &shape->occurrences[i]);
		bool		known = bms_is_empty(attnums);
		Probe	   *probe;
		ListCell   *lc;

		foreach(lc, probes)
			known = known || bms_equal(((Probe *) lfirst(lc))->attnums, attnums);
		if (known)
			continue;
		probe = palloc(sizeof(Probe));
		*probe = (Probe) {shape->occurrences[i].n, attnums};
		probes = lappend(probes, probe);
	}
	list_sort(probes, more_columns);
	return probes;
}

static void
explain_probes(List **rows, const TdShape *shape, const TdOccurrence *o)
{
	List	   *probes = probes_of(shape, o);
	ListCell   *lc;

	foreach(lc, probes)
	{
		const Probe *probe = lfirst(lc);

		td_explain_index(rows, 3, td_index_wanted(o->relid, probe->attnums, 0), psprintf("to find its rows for changes of r%d", probe->from));
	}
	if (probes == NIL && shape->noccurrences > 1 && td_range_columns(shape, o->relid) == NULL)
		td_explain_row(rows, 3, "no equality", "scan", "a change of another table reads it whole");
}

static void
explain_ranges(List **rows, const TdShape *shape, const TdOccurrence *o)
{
	Bitmapset  *columns = td_range_columns(shape, o->relid);
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		TdWant	   *want = td_index_wanted(o->relid, bms_make_singleton(attnum), 0);

		want->ordered = true;
		td_explain_index(rows, 3, want, "to find its rows between an old and a new bound");
	}
}

static void
explain_occurrence(List **rows, const TdShape *shape, const TdOccurrence *o)
{
	StringInfoData detail;
	ListCell   *lc;

	initStringInfo(&detail);
	appendStringInfo(&detail, "columns: %s", bms_is_empty(o->columns) ? "none" : td_column_names(o->relid, o->columns));
	foreach(lc, o->local)
		appendStringInfo(&detail, "%s%s", lc == list_head(o->local) ? "; filter: " : " AND ", expression_text(shape, lfirst(lc)));
	td_explain_row(rows, 2, psprintf("r%d %s", o->n, td_qualified_name(o->relid)), o->view ? "delta of a view" : "delta", detail.data);
	explain_probes(rows, shape, o);
	explain_ranges(rows, shape, o);
}

static void
explain_join(List **rows, const TdShape *shape)
{
	if (shape->noccurrences == 1)
		td_explain_row(rows, 1, "table", "delta", "from the changes alone");
	else
		td_explain_row(rows, 1, psprintf("join of %d", shape->noccurrences), "delta",
					   psprintf("over the new states: inclusion and exclusion of up to " STAGED_ABOVE " changed tables%s",
								shape->noccurrences > 4 ? ", in stages above" : ""));
	for (int i = 0; i < shape->noccurrences; i++)
		explain_occurrence(rows, shape, &shape->occurrences[i]);
}

/* ---- groups ---- */

/* Columns of the group's key and the argument, where all are columns of one table; else NULL. */
static TdWant *
group_wanted(const TdShape *shape, const TdAggregate *a)
{
	const TdOccurrence *o = &shape->occurrences[0];
	Var		   *var = td_plain_column((Node *) a->argument);
	Bitmapset  *keys = NULL;
	TdWant	   *want;
	ListCell   *lc;

	if (shape->noccurrences != 1 || var == NULL)
		return NULL;
	foreach(lc, shape->keys)
	{
		Var		   *key = td_plain_column(lfirst(lc));

		if (key == NULL)
			return NULL;
		keys = bms_add_member(keys, key->varattno);
	}
	if (keys)
		return td_index_wanted(o->relid, keys, var->varattno);
	want = td_index_wanted(o->relid, bms_make_singleton(var->varattno), 0);
	want->ordered = true;
	return want;
}

static void
explain_aggregate(List **rows, const TdShape *shape, const TdAggregate *a)
{
	static const char *const names[] = {
		[TD_AGG_ROWS] = "count",
		[TD_AGG_COUNT] = "count",
		[TD_AGG_SUM] = "sum",
		[TD_AGG_AVG] = "avg",
		[TD_AGG_MIN] = "min",
		[TD_AGG_MAX] = "max"
	};
	bool		extremum = a->kind == TD_AGG_MIN || a->kind == TD_AGG_MAX;
	char	   *node = psprintf("%s(%s)", names[a->kind], a->argument ? expression_text(shape, (Node *) a->argument) : "*");
	TdWant	   *want = extremum || !a->exact ? group_wanted(shape, a) : NULL;

	if (extremum)
		td_explain_row(rows, 1, node, "extremum", "compared; computed anew for a group when its extremum is taken away");
	else if (a->exact)
		td_explain_row(rows, 1, node, "added", "by adding and subtracting");
	else
		td_explain_row(rows, 1, node, "computed anew", "floating point: sums would drift, so each group touched is computed anew");
	if (want)
		td_explain_index(rows, 2, want, "to compute a group anew");
}

/* Keys by which a group may have to be computed anew: numerics are counted by their look, floats have another one at zero only. */
static void
explain_keys(List **rows, const TdShape *shape)
{
	for (int i = 0; i < shape->ngrouped; i++)
	{
		Node	   *key = list_nth(shape->keys, i);
		Oid			type = exprType(key);

		if (type != NUMERICOID && type != FLOAT4OID && type != FLOAT8OID && !td_equal_is_same(type, exprTypmod(key), exprCollation(key)))
			td_explain_row(rows, 1, psprintf("key %s", expression_text(shape, key)), "watched",
						   "equal values may look different; computed anew for a group when a row that looks like it is taken away");
	}
}

static void
explain_groups(List **rows, const TdShape *shape)
{
	explain_keys(rows, shape);
	for (int i = 0; i < shape->naggregates; i++)
		explain_aggregate(rows, shape, &shape->aggregates[i]);
	if (shape->having)
		td_explain_row(rows, 1, "HAVING", "filter", "all groups are kept in the state table, those that pass in the view");
}

/* ---- keyed queries ---- */

static char *
keyed_columns(const TdShape *shape)
{
	const TdKeyed *keyed = shape->keyed;
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < keyed->nkeys; i++)
	{
		appendStringInfo(&text, "%s%s", i ? ", " : "", keyed->keys[i].name);
		if (keyed->stored)
			appendStringInfo(&text, " = %s", quote_identifier(shape->columns[keyed->outputs[i] - 1].name));
	}
	return text.data;
}

/* The columns of occurrence n that conditions compare with those of another one (0 = of any). */
static Bitmapset *
columns_equal(const List *quals, int n, int other)
{
	Bitmapset  *attnums = NULL;
	Var		   *a,
			   *b;
	ListCell   *lc;

	foreach(lc, quals)
	{
		if (!td_equal_columns(lfirst(lc), &a, &b) || a->varno == b->varno)
			continue;
		if (a->varno == n && (other == 0 || b->varno == other))
			attnums = bms_add_member(attnums, a->varattno);
		if (b->varno == n && (other == 0 || a->varno == other))
			attnums = bms_add_member(attnums, b->varattno);
	}
	return attnums;
}

/* Each index of an occurrence once. */
static void
explain_found(List **rows, const TdOccurrence *o, List **told, Bitmapset *attnums, const char *purpose)
{
	ListCell   *lc;

	foreach(lc, *told)
	{
		if (bms_equal(lfirst(lc), attnums))
			return;
	}
	*told = lappend(*told, attnums);
	td_explain_index(rows, 2, td_index_wanted(o->relid, attnums, 0), purpose);
}

/* Changes of others lead to the key by way of it: the columns of it by which they do. */
static void
explain_ways(List **rows, const TdShape *shape, const TdOccurrence *o, List **told)
{
	for (int i = 0; i < shape->noccurrences; i++)
	{
		const TdLineage *lineage = &shape->keyed->private->lineage[i];
		int			last = i + 1;
		ListCell   *lc;

		foreach(lc, lineage->path)
		{
			Bitmapset  *attnums = lfirst_int(lc) == o->n ? columns_equal(lineage->quals, o->n, last) : NULL;

			if (attnums)
				explain_found(rows, o, told, attnums, psprintf("to find the key for changes of r%d", i + 1));
			last = lfirst_int(lc);
		}
	}
}

/* How its changes lead to the key, and the index by which the rows of a key are found in it. */
static void
explain_lineage(List **rows, const TdShape *shape, const TdOccurrence *o)
{
	const TdLineage *lineage = &shape->keyed->private->lineage[o->n - 1];
	Bitmapset  *own = NULL;
	List	   *told = NIL;
	StringInfoData detail;
	ListCell   *lc;

	initStringInfo(&detail);
	appendStringInfo(&detail, "columns: %s; ", bms_is_empty(o->columns) ? "none" : td_column_names(o->relid, o->columns));
	if (lineage->keys == NIL)
		appendStringInfoString(&detail, "no equality leads to the key: a change computes the whole view");
	else if (lineage->path == NIL)
		appendStringInfoString(&detail, "the key is in the row");
	else
		appendStringInfoString(&detail, "the key is found by");
	foreach(lc, lineage->path)
		appendStringInfo(&detail, " r%d", lfirst_int(lc));
	foreach(lc, lineage->matched)
		appendStringInfo(&detail, "%s r%d", lc == list_head(lineage->matched) ? "; if there is a row for it in" : ",", lfirst_int(lc));
	td_explain_row(rows, 1, psprintf("r%d %s", o->n, td_qualified_name(o->relid)), lineage->keys ? "keys" : "full", detail.data);
	if (lineage->path == NIL)
	{
		foreach(lc, lineage->keys)
		{
			Var		   *column = td_plain_column(lfirst(lc));

			if (column)
				own = bms_add_member(own, column->varattno);
		}
	}
	else
		own = columns_equal(lineage->quals, o->n, 0);
	foreach(lc, lineage->compared)
		explain_found(rows, o, &told, lfirst(lc), "to find its rows for rows of another table");
	if (own)
		explain_found(rows, o, &told, own, "to find its rows for a key");
	explain_ways(rows, shape, o, &told);
}

static void
explain_keyed(List **rows, const TdShape *shape)
{
	td_explain_row(rows, 0, "view", "keyed", psprintf("computed anew for the keys that changes touch (%s)%s; %s%s", keyed_columns(shape),
													   shape->keyed->stored ? "" : ", in a state table", key_text(shape),
													   shape->pinned ? "; settings are pinned as they are when the view is made" : ""));
	for (int i = 0; i < shape->noccurrences; i++)
		explain_lineage(rows, shape, &shape->occurrences[i]);
	td_explain_wal(rows, shape);
}

/* ---- the first rows of an order ---- */

static char *
rows_text(const TdTopK *topk)
{
	if (topk->count == 0)
		return pstrdup("no row");
	if (topk->offset > 0)
		return psprintf(INT64_FORMAT " rows after the first " INT64_FORMAT, topk->count, topk->offset);
	return psprintf("the first " INT64_FORMAT " rows%s", topk->count, topk->ties ? " and those that are equal to the last" : "");
}

static void
explain_topk(List **rows, const TdShape *shape)
{
	const TdOccurrence *o = &shape->occurrences[0];
	const List *order = shape->topk->order;
	Oid			index = td_order_index(o->relid, order);
	char	   *columns = td_order_text(o->relid, order, td_order_needed(o->relid, order));
	char	   *node = psprintf("index on %s (%s)", td_qualified_name(o->relid), columns);

	td_explain_row(rows, 0, "view", "top-k", psprintf("%s by %s, read again when r1 changes; %s%s", rows_text(shape->topk),
													  td_order_text(o->relid, order, list_length(order)), key_text(shape),
													  shape->pinned ? "; settings are pinned as they are when the view is made" : ""));
	td_explain_row(rows, 1, psprintf("r1 %s", td_qualified_name(o->relid)), o->view ? "delta of a view" : "delta",
				   psprintf("columns: %s", td_column_names(o->relid, o->columns)));
	if (OidIsValid(index))
		td_explain_row(rows, 2, node, "present", psprintf("to read its first rows; %s serves", get_rel_name(index)));
	else
		td_explain_row(rows, 2, node, "wanted", psprintf("without it a change reads the whole table; CREATE INDEX ON %s (%s);", td_qualified_name(o->relid), columns));
	td_explain_wal(rows, shape);
}

/* The index that would spare a part whose first rows are read, as CREATE INDEX has it; NULL = it is more than a copy of a table. */
char *
td_explain_spared(const TdShape *part, const List *order)
{
	List	   *plain = NIL;
	Oid			relid = part->occurrences[0].relid;
	ListCell   *lc;

	if (part->keyed || part->grouped || part->noccurrences != 1 || part->quals != NIL)
		return NULL;
	foreach(lc, order)
	{
		TdOrderItem *item = palloc(sizeof(TdOrderItem));
		const Expr *expr = list_nth_node(TargetEntry, part->outputs, ((TdOrderItem *) lfirst(lc))->attnum - 1)->expr;

		if (!IsA(expr, Var) || ((const Var *) expr)->varattno <= 0)
			return NULL;
		*item = *(TdOrderItem *) lfirst(lc);
		item->attnum = ((const Var *) expr)->varattno;
		plain = lappend(plain, item);
	}
	return psprintf("CREATE INDEX ON %s (%s);", td_qualified_name(relid), td_order_text(relid, plain, td_order_needed(relid, plain)));
}

List *
td_explain(const TdShape *shape)
{
	List	   *rows = NIL;

	if (shape->topk)
	{
		explain_topk(&rows, shape);
		return rows;
	}
	if (shape->keyed && shape->keyed->nkeys == 0)
	{
		td_explain_row(&rows, 0, "view", "full", psprintf("all of it is computed anew whenever a table in it changes%s", shape->made ? "" : ": needs the option {\"allow_full\": true}"));
		td_explain_row(&rows, 1, "old rows", "as it is", "none are needed");
		return rows;
	}
	if (shape->keyed)
	{
		explain_keyed(&rows, shape);
		return rows;
	}
	td_explain_row(&rows, 0, "view", shape->grouped ? "counters" : "delta",
				   psprintf("%s%s", key_text(shape), shape->pinned ? "; settings are pinned as they are when the view is made" : ""));
	if (shape->grouped)
		explain_groups(&rows, shape);
	explain_join(&rows, shape);
	td_explain_wal(&rows, shape);
	return rows;
}
