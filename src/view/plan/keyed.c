/*-------------------------------------------------------------------------
 *
 * keyed.c
 *		Keyed queries as statements: the whole, the keys that changes touch, and
 *		the rows of some keys.
 *
 * NOTES
 *		As plan.c: in a transaction, with search_path pinned to pg_catalog;
 *		reads catalogs only.
 *
 *		The query is deparsed by PostgreSQL itself.  For some keys it stands as a
 *		lateral subquery beside k, whose columns it names; in the tree that is given
 *		to the deparser k is a WITH query, as that is printed by its name alone.
 *
 * IDENTIFICATION
 *		src/view/plan/keyed.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/typcache.h"

#include "view/plan/plan_internal.h"

typedef struct KeyedPlan
{
	TdPlan		plan;			/* first: a TdPlan is a KeyedPlan */
	List	   *context;		/* how the deparser calls columns of occurrences */
	char	  **tables;			/* by occurrence - 1 */
} KeyedPlan;

/* ---- the query for some keys ---- */

typedef struct Restricting
{
	const TdKeyed *keyed;
	uint32		null_mask;
	int			depth;			/* of the query that is looked at, below the one with k */
} Restricting;

static Node *
is_null(Node *arg)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) arg;
	test->nulltesttype = IS_NULL;
	test->argisrow = false;		/* is shown as IS NOT DISTINCT FROM NULL, for rows */
	test->location = -1;
	return (Node *) test;
}

static Node *
collated(Node *arg, Oid collation)
{
	CollateExpr *collate;

	if (!OidIsValid(collation))
		return arg;
	collate = makeNode(CollateExpr);
	collate->arg = (Expr *) arg;
	collate->collOid = collation;
	collate->location = -1;
	return (Node *) collate;
}

/* expr = k.k<i>; in a branch of a set operation it may be of another type, whose indexes know the key's. */
static Node *
is_key(Node *expr, int i, const Restricting *r)
{
	const TdStateColumn *key = &r->keyed->keys[i];
	Node	   *value = (Node *) makeVar(1, i + 1, key->type, key->typmod, key->collation, r->depth);
	TypeCacheEntry *type = lookup_type_cache(key->type, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
	Oid			from = getBaseType(exprType(expr));
	Oid			equality = from == key->type ? type->eq_opr : get_opfamily_member(type->btree_opf, from, key->type, BTEqualStrategyNumber);

	if (!OidIsValid(equality))
	{
		expr = coerce_to_target_type(NULL, expr, exprType(expr), key->type, -1, COERCION_IMPLICIT, COERCE_EXPLICIT_CAST, -1);
		equality = type->eq_opr;
	}
	return (Node *) make_opclause(equality, BOOLOID, false, (Expr *) expr, (Expr *) collated(value, key->collation), InvalidOid, key->collation);
}

static Node *
restrict_mutator(Node *node, Restricting *r)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, PlaceHolderVar))
	{
		PlaceHolderVar *mark = (PlaceHolderVar *) node;
		int			i = mark->phid - 1;

		if (i < 32 && (r->null_mask & ((uint32) 1 << i)))
			return is_null(copyObject((Node *) mark->phexpr));
		return is_key(copyObject((Node *) mark->phexpr), i, r);
	}
	if (IsA(node, Query))
	{
		Query	   *query;

		r->depth++;
		query = query_tree_mutator((Query *) node, restrict_mutator, r, 0);
		r->depth--;
		return (Node *) query;
	}
	return expression_tree_mutator(node, restrict_mutator, r);
}

static RangeTblEntry *
entry(RTEKind kind, const char *name, List *columns)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = kind;
	rte->alias = makeAlias(name, NIL);
	rte->eref = makeAlias(name, columns);
	rte->inFromCl = true;
	return rte;
}

static void
add_to_from(Query *query, RangeTblEntry *rte)
{
	RangeTblRef *ref = makeNode(RangeTblRef);

	query->rtable = lappend(query->rtable, rte);
	ref->rtindex = list_length(query->rtable);
	query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
}

/* SELECT q.* FROM k, LATERAL (the query, OFFSET 0) q: computed once for each key, by indexes. */
static Query *
beside_k(const TdKeyed *keyed, Query *restricted)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *k,
			   *q;
	List	   *names = NIL;
	ListCell   *lc;

	query->commandType = CMD_SELECT;
	query->jointree = makeNode(FromExpr);
	for (int i = 0; i < keyed->nkeys; i++)
		names = lappend(names, makeString(keyed->keys[i].name));
	k = entry(RTE_CTE, "k", names);
	k->ctename = "k";
	names = NIL;
	foreach(lc, restricted->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			continue;
		names = lappend(names, makeString(tle->resname));
		query->targetList = lappend(query->targetList, makeTargetEntry((Expr *) makeVar(2, tle->resno, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr),
																						  exprCollation((Node *) tle->expr), 0),
																		list_length(names), tle->resname, false));
	}
	q = entry(RTE_SUBQUERY, "q", names);
	q->subquery = restricted;
	q->lateral = true;
	add_to_from(query, k);
	add_to_from(query, q);
	return query;
}

/* Keeps the planner from taking the query apart: it would join all of it, and then k. */
static void
fence(Query *query)
{
	query->limitOffset = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(0), false, FLOAT8PASSBYVAL);
}

char *
td_plan_keyed(const TdPlan *plan, uint32 null_mask)
{
	const TdKeyed *keyed = plan->shape->keyed;
	Restricting r = {keyed, null_mask, 0};
	Query	   *restricted = (Query *) restrict_mutator((Node *) keyed->private->marked, &r);

	td_keyed_late(restricted);
	fence(restricted);
	return td_query_sql(beside_k(keyed, restricted));
}

/* ---- keys that changes touch ---- */

static void
put_conditions(StringInfo buf, const KeyedPlan *p, const List *conditions, const char *lead)
{
	ListCell   *lc;

	foreach(lc, conditions)
	{
		appendStringInfo(buf, "%s%s", lead, td_names_text(lfirst(lc), p->context));
		lead = " AND ";
	}
}

/* Types and collations are shown: they must be the same whichever occurrence gives the key. */
static void
put_keys(StringInfo buf, const KeyedPlan *p, const List *keys)
{
	const TdKeyed *keyed = p->plan.shape->keyed;
	int			i = 0;
	ListCell   *lc;

	foreach(lc, keys)
	{
		const TdStateColumn *key = &keyed->keys[i];
		char	   *text = td_names_text(lfirst(lc), p->context);

		appendStringInfo(buf, "%s(%s)::%s%s AS %s", i++ ? ", " : "", text, format_type_with_typemod(key->type, key->typmod),
						 OidIsValid(key->collation) ? psprintf(" COLLATE %s", generate_collation_name(key->collation)) : "", quote_identifier(key->name));
	}
}

/* The key of nulls. */
static void
put_nulls(StringInfo buf, const KeyedPlan *p)
{
	const TdKeyed *keyed = p->plan.shape->keyed;

	for (int i = 0; i < keyed->nkeys; i++)
	{
		const TdStateColumn *key = &keyed->keys[i];

		appendStringInfo(buf, "%s NULL::%s%s", i ? "," : "\nUNION\nSELECT", format_type_with_typemod(key->type, key->typmod),
						 OidIsValid(key->collation) ? psprintf(" COLLATE %s", generate_collation_name(key->collation)) : "");
	}
}

char *
td_plan_affected(const TdPlan *plan, const Bitmapset *changed)
{
	const KeyedPlan *p = (const KeyedPlan *) plan;
	StringInfoData buf;
	int			n = -1;

	initStringInfo(&buf);
	while ((n = bms_next_member(changed, n)) >= 0)
	{
		const TdLineage *lineage = &plan->shape->keyed->private->lineage[n - 1];
		ListCell   *lc;

		if (lineage->keys == NIL)
			return NULL;
		appendStringInfoString(&buf, buf.len ? "\nUNION\nSELECT " : bms_membership(changed) == BMS_SINGLETON ? "SELECT DISTINCT " : "SELECT ");
		put_keys(&buf, p, lineage->keys);
		appendStringInfo(&buf, "\nFROM l%d r%d", n, n);
		foreach(lc, lineage->path)
			appendStringInfo(&buf, ", %s r%d", p->tables[lfirst_int(lc) - 1], lfirst_int(lc));
		foreach(lc, lineage->matched)
			appendStringInfo(&buf, ", %s r%d", p->tables[lfirst_int(lc) - 1], lfirst_int(lc));
		put_conditions(&buf, p, list_concat_copy(lineage->quals, lineage->matched_quals), "\nWHERE ");
	}
	if (plan->shape->keyed->private->nulls)
		put_nulls(&buf, p);
	return buf.data;
}

/* ---- the plan ---- */

/*
 * The images that fulfil the conditions on it alone, without what only those read: where only such columns change, nothing is left.  Of rows that were touched
 * each counts, also where one that comes is like one that goes: what is not told of them may differ.  Likewise of a table that is read with ONLY: one that
 * comes to a child, which the delta has where others read the children too, would take one of its own away.
 */
static TdLeaf *
make_leaf(const KeyedPlan *p, const TdOccurrence *o, const TdRowNames *row)
{
	TdLeaf	   *leaf = palloc0(sizeof(TdLeaf));
	const List *local = p->plan.shape->keyed->private->lineage[o->n - 1].local;
	const Bitmapset *columns = o->touch ? o->told : bms_difference(o->columns, o->settled);
	bool		each = o->touch || !o->inh;
	StringInfoData buf;
	int			a = -1;

	leaf->whole = local == NIL;
	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	while ((a = bms_next_member(columns, a)) >= 0)
	{
		char	   *name = list_nth(row->columns, a - 1);

		appendStringInfo(&buf, "r%d.%s, ", o->n, quote_identifier(name));
		leaf->columns = lappend(leaf->columns, name);
	}
	leaf->touched = each;
	appendStringInfoString(&buf, each ? "1::bigint AS " : psprintf("r%d.", o->n));
	appendStringInfo(&buf, TD_W "\nFROM d_%u r%d", o->relid, o->n);
	put_conditions(&buf, p, local, "\nWHERE ");
	leaf->name = psprintf("l%d", o->n);
	leaf->occurrence = o->n;
	leaf->sql = buf.data;
	return leaf;
}

/* A row of the state table is the keys and a row of the view; the latter's columns have names that no key has. */
static void
make_state(TdPlan *plan)
{
	const TdShape *shape = plan->shape;
	StringInfoData output;
	int			n = 0;

	initStringInfo(&output);
	plan->nstate = plan->nkeys + shape->ncolumns;
	plan->state = palloc0(sizeof(TdStateColumn) * plan->nstate);
	for (int i = 0; i < plan->nkeys; i++)
		plan->state[n++] = shape->keyed->keys[i];
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const TdViewColumn *c = &shape->columns[i];

		plan->state[n++] = (TdStateColumn) {psprintf("o%d", i + 1), c->type, c->typmod, c->collation};
		appendStringInfo(&output, "%ss.o%d AS %s", i ? ", " : "SELECT ", i + 1, quote_identifier(c->name));
	}
	appendStringInfoString(&output, ", s." TD_W "\nFROM s");
	plan->output_sql = output.data;
}

TdPlan *
td_plan_of_keyed(const TdShape *shape)
{
	KeyedPlan  *p = palloc0(sizeof(KeyedPlan));
	TdRowNames *rows = palloc0(sizeof(TdRowNames) * shape->noccurrences);

	p->plan.shape = shape;
	p->plan.nkeys = shape->keyed->nkeys;
	p->tables = palloc0(sizeof(char *) * shape->noccurrences);
	for (int i = 0; i < shape->noccurrences; i++)
	{
		rows[i] = td_plan_row_names(&shape->occurrences[i], shape->occurrences[i].columns);
		p->tables[i] = td_plan_table_name(&shape->occurrences[i]);
	}
	p->context = td_names_context(shape->noccurrences, rows);
	p->plan.core_sql = td_query_sql(shape->keyed->private->query);
	for (int i = 0; i < shape->noccurrences; i++)
		p->plan.leaves = lappend(p->plan.leaves, make_leaf(p, &shape->occurrences[i], &rows[i]));
	if (!shape->keyed->stored)
		make_state(&p->plan);
	return &p->plan;
}
