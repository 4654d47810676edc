/*-------------------------------------------------------------------------
 *
 * keyed_levels.c
 *		The levels of a keyed query, its occurrences at any depth, and the
 *		conjuncts between them.
 *
 * NOTES
 *		One walk, from FROM outwards: when a condition is met, everything that it
 *		can name has been numbered.
 *
 *		A condition in WHERE, or in ON of an inner join, reduces every occurrence
 *		below it; ON of an outer join only those of the nullable side, of a full
 *		join none.  In a sublink or a lateral subquery conditions may read outer
 *		levels: they reduce the inner occurrences; only where the sublink is a
 *		conjunct of its own (EXISTS, IN) they reduce outer ones as well.
 *
 *		A condition on something that may be null-extended counts only if it is
 *		strict: it is not true then.
 *
 * IDENTIFICATION
 *		src/view/analyze/keyed_levels.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "compat/compat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "view/analyze/keyed_internal.h"

/* Where an expression stands. */
typedef struct Place
{
	TdLevel    *level;
	Bitmapset  *reduces;		/* occurrences whose rows must fulfil a conjunct here */
	Bitmapset  *nullable;		/* of this level: may be null-extended here */
	TdSide		sides[2];		/* ON of an outer join */
	const JoinExpr *full;		/* of a FULL JOIN */
	Bitmapset  *rels;			/* below that */
} Place;

/* What is below a node of FROM. */
typedef struct Below
{
	Bitmapset  *rels;
	Bitmapset  *nullable;
} Below;

typedef struct Visit
{
	TdKeyedWalk *walk;
	const Place *place;
	bool		alone;			/* a condition on one occurrence alone */
} Visit;

static TdLevel *build(TdKeyedWalk *walk, Query *query, TdLevel *parent, Bitmapset *outer_nullable, Bitmapset *lends);
static void visit(TdKeyedWalk *walk, const Place *place, Node *node);

/* ---- conjuncts ---- */

static bool
is_equality(const Node *node)
{
	const OpExpr *op = (const OpExpr *) node;

	return IsA(node, OpExpr) && list_length(op->args) == 2 &&
		(op_mergejoinable(op->opno, exprType(linitial(op->args))) || op_hashjoinable(op->opno, exprType(linitial(op->args))));
}

/* Do both sides hold one value under the equality of one type? */
static bool
sides_are_one(const OpExpr *op, Node *left, Node *right)
{
	Oid			type = exprType(left);

	return exprType(right) == type && td_deterministic(op->inputcollid) && td_deterministic(exprCollation(left)) && td_deterministic(exprCollation(right)) &&
		lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr == op->opno;
}

static bool
is_strict(Node *expr)
{
	return !contain_nonstrict_functions(expr);
}

/* Enters a resolved condition, unless it says nothing. */
static TdConjunct *
enter(TdKeyedWalk *walk, Node *expr, Bitmapset *reduces, const Bitmapset *nullable, TdEdge edge)
{
	TdConjunct *c = palloc0(sizeof(TdConjunct));

	c->expr = expr;
	c->reads = td_keyed_reads(expr);
	c->reduces = bms_intersect(reduces, c->reads);
	c->edge = edge;
	if (bms_num_members(c->reads) > 2)
		return c;
	if (bms_overlap(c->reads, nullable) && (edge == TD_EDGE_NULLS || !is_strict(expr)))
		return c;
	if (edge == TD_EDGE_EQUAL)
	{
		c->left = td_keyed_bare(linitial(((OpExpr *) expr)->args));
		c->right = td_keyed_bare(lsecond(((OpExpr *) expr)->args));
		if (!sides_are_one((OpExpr *) expr, c->left, c->right))
			c->left = c->right = NULL;
	}
	walk->conjuncts = lappend(walk->conjuncts, c);
	return c;
}

static const Bitmapset *
all_nullable(const Place *place)
{
	return bms_union(place->nullable, place->level->outer_nullable);
}

static bool
is_entry_of(Node *node, int rti)
{
	if (IsA(node, JoinExpr))
		return is_entry_of(((JoinExpr *) node)->larg, rti) || is_entry_of(((JoinExpr *) node)->rarg, rti);
	return castNode(RangeTblRef, node)->rtindex == rti;
}

/* Is it computed from that side of a join alone, and null where the side is null-extended? */
static bool
goes_with(Node *side, Node *expr)
{
	Bitmapset  *entries = pull_varnos(NULL, expr);
	ListCell   *lc;
	int			rti = -1;

	if (IsA(expr, CoalesceExpr))
	{
		foreach(lc, ((CoalesceExpr *) expr)->args)
		{
			if (!goes_with(side, lfirst(lc)))
				return false;
		}
		return true;
	}
	while ((rti = bms_next_member(entries, rti)) >= 0)
	{
		if (!is_entry_of(side, rti))
			return false;
	}
	return !bms_is_empty(entries) && is_strict(expr);
}

/* A value of each side: a row without a partner has one of them, and the other one is null. */
static bool
joins_sides(const JoinExpr *join, Node *a, Node *b)
{
	return (goes_with(join->larg, a) && goes_with(join->rarg, b)) || (goes_with(join->larg, b) && goes_with(join->rarg, a));
}

static void
enter_equality(TdKeyedWalk *walk, const Place *place, OpExpr *op)
{
	TdTopEquality *e = palloc0(sizeof(TdTopEquality));

	e->left = td_keyed_bare(linitial(op->args));
	e->right = td_keyed_bare(lsecond(op->args));
	e->reduces = place->reduces;
	e->nullable = place->nullable;
	e->full = place->full != NULL;
	e->rels = place->rels;
	if (sides_are_one(op, e->left, e->right) && (!place->full || joins_sides(place->full, e->left, e->right)))
		walk->equalities = lappend(walk->equalities, e);
}

/* A condition, and the occurrence that it may read. */
typedef struct Alone
{
	const TdLevel *level;
	int			n;
} Alone;

static bool
reads_more(Node *node, Alone *alone)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varlevelsup > 0 || alone->level->occurrence[((Var *) node)->varno - 1] != alone->n;
	return IsA(node, SubLink) || expression_tree_walker(node, reads_more, alone);
}

/* Does the condition read one table of its own level and nothing else, and does no row of it matter that fails?  Then it is true wherever it is looked at. */
static bool
is_alone(const TdKeyedWalk *walk, const TdLevel *level, Node *node, const TdConjunct *c)
{
	Alone		alone = {level, 0};

	return list_member_ptr(walk->conjuncts, c) && bms_get_singleton_member(c->reads, &alone.n) && bms_is_member(alone.n, c->reduces) && !reads_more(node, &alone);
}

/* In a branch of a set operation only what belongs to the branch can be reduced, and nothing be found by it from outside. */
static bool
take_conjunct(TdKeyedWalk *walk, const Place *place, Node *node)
{
	TdConjunct *c = NULL;
	List	   *resolved = td_keyed_resolve(place->level, node);
	TdEdge		edge = is_equality(node) ? TD_EDGE_EQUAL : TD_EDGE_OTHER;
	Bitmapset  *common = NULL;
	ListCell   *lc;

	if (edge == TD_EDGE_EQUAL && place->level == walk->top && place->level->query->havingQual != node)
		enter_equality(walk, place, (OpExpr *) node);
	foreach(lc, resolved)
		common = lc == list_head(resolved) ? td_keyed_reads(lfirst(lc)) : bms_int_members(common, td_keyed_reads(lfirst(lc)));
	foreach(lc, resolved)
	{
		c = enter(walk, lfirst(lc), list_length(resolved) > 1 ? bms_difference(place->reduces, common) : place->reduces, all_nullable(place), edge);

		for (int i = 0; i < lengthof(c->sides) && list_length(resolved) == 1; i++)
			c->sides[i] = (TdSide) {place->sides[i].rels, bms_intersect(place->sides[i].reduces, c->reads)};
	}
	return list_length(resolved) == 1 && is_alone(walk, place->level, node, c);
}

/* ---- sublinks ---- */

/* Parameter i of a test is output i of the sublink's query: these are all that it may be, for each branch. */
typedef struct Testing
{
	TdLevel    *inner;
	int			branch;
	int			nbranches;
} Testing;

/* Resolves both sides of "outer op inner" apart, and puts them together. */
static Node *
test_side(const TdLevel *outer, Node *side, Testing *t)
{
	bool		relabelled = IsA(side, RelabelType);
	Node	   *arg = relabelled ? (Node *) ((RelabelType *) side)->arg : side;
	List	   *resolved;
	Node	   *one;

	if (IsA(arg, Param) && ((Param *) arg)->paramkind == PARAM_SUBLINK)
	{
		resolved = td_keyed_resolve_output(t->inner, ((Param *) arg)->paramid, ((Param *) arg)->paramtype);
		t->nbranches = list_length(resolved);
		one = t->branch < t->nbranches ? list_nth(resolved, t->branch) : NULL;
	}
	else
	{
		resolved = td_keyed_resolve(outer, arg);
		one = list_length(resolved) == 1 ? linitial(resolved) : NULL;
	}
	if (one && relabelled)
	{
		RelabelType *copy = copyObject((RelabelType *) side);

		copy->arg = (Expr *) one;
		return (Node *) copy;
	}
	return one;
}

/* Proved by the table. */
static bool
never_null(const TdOccurrence *o, AttrNumber attnum)
{
	Relation	rel = table_open(o->relid, AccessShareLock);
	bool		not_null = !td_holds_rows_of_others(o->relid, o->inh) && td_attribute_not_null_compat(RelationGetDescr(rel), attnum);

	table_close(rel, NoLock);
	return not_null;
}

static Bitmapset *
all_columns(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Bitmapset  *columns = NULL;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		if (!TupleDescAttr(RelationGetDescr(rel), i)->attisdropped)
			columns = bms_add_member(columns, i + 1);
	}
	table_close(rel, NoLock);
	return columns;
}

static Node *
null_test(Node *arg)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) arg;
	test->nulltesttype = IS_NULL;
	test->location = -1;
	return (Node *) test;
}

static bool
column_not_null(const TdKeyedWalk *walk, Node *expr)
{
	Var		   *var = (Var *) td_keyed_bare(expr);

	return IsA(var, Var) && never_null(&walk->shape->occurrences[var->varno - 1], var->varattno);
}

/* x = y OR x IS NULL OR y IS NULL, as far as they can be null. */
static void
enter_nulls(TdKeyedWalk *walk, OpExpr *op, Bitmapset *reduces, const Bitmapset *nullable)
{
	List	   *parts = list_make1(op);
	ListCell   *lc;

	if (bms_overlap(td_keyed_reads((Node *) op), nullable))
		return;
	foreach(lc, op->args)
	{
		if (!column_not_null(walk, lfirst(lc)))
			parts = lappend(parts, null_test(copyObject(lfirst(lc))));
	}
	enter(walk, list_length(parts) == 1 ? (Node *) op : (Node *) makeBoolExpr(OR_EXPR, parts, -1), reduces, nullable,
		  list_length(parts) == 1 ? TD_EDGE_EQUAL : TD_EDGE_NULLS);
}

/*
 * One comparison of IN.  conjunct: only truth counts, so rows of the query inside matter only where it is true; else they matter as well where
 * it is unknown.
 */
static void
take_test(TdKeyedWalk *walk, const Place *place, TdLevel *inner, OpExpr *op, bool conjunct)
{
	Testing		t = {inner, 0, 1};
	Bitmapset  *nullable = bms_union(bms_union(place->nullable, place->level->outer_nullable), inner->nullable);

	for (; t.branch < t.nbranches; t.branch++)
	{
		Node	   *left = test_side(place->level, linitial(op->args), &t);
		Node	   *right = left ? test_side(place->level, lsecond(op->args), &t) : NULL;
		OpExpr	   *copy;
		Bitmapset  *reduces = inner->rels;

		if (right == NULL)
			return;
		copy = copyObject(op);
		copy->args = list_make2(left, right);
		if (conjunct && t.nbranches == 1)
			reduces = bms_union(reduces, place->reduces);
		if (conjunct)
			enter(walk, (Node *) copy, reduces, nullable, TD_EDGE_EQUAL);
		else
			enter_nulls(walk, copy, reduces, nullable);
	}
}

static void
take_tests(TdKeyedWalk *walk, const Place *place, TdLevel *inner, Node *test, bool conjunct)
{
	List	   *parts = td_and_list(test);
	ListCell   *lc;

	foreach(lc, parts)
	{
		if (is_equality(lfirst(lc)) && op_strict(((OpExpr *) lfirst(lc))->opno))
			take_test(walk, place, inner, lfirst(lc), conjunct);
	}
}

static bool
is_plain_select(const Query *query)
{
	return !query->setOperations && !query->groupClause && !query->groupingSets && !query->hasAggs && !query->havingQual && !query->limitCount && !query->limitOffset;
}

/* conjunct: a row passes here only if it is true. */
static void
take_sublink(TdKeyedWalk *walk, const Place *place, SubLink *sublink, bool conjunct)
{
	Query	   *query = castNode(Query, sublink->subselect);
	bool		positive = conjunct && is_plain_select(query) && (sublink->subLinkType == EXISTS_SUBLINK || sublink->subLinkType == ANY_SUBLINK);
	TdLevel    *inner = build(walk, query, place->level, (Bitmapset *) all_nullable(place), positive ? place->reduces : NULL);

	visit(walk, place, sublink->testexpr);
	if (sublink->subLinkType == ANY_SUBLINK)
		take_tests(walk, place, inner, sublink->testexpr, conjunct);
}

/* ---- expressions ---- */

static void
note_column(TdKeyedWalk *walk, const TdLevel *level, const Var *var, bool alone)
{
	TdOccurrence *o;
	Bitmapset  *columns;

	for (int up = 0; up < (int) var->varlevelsup; up++)
		level = level->parent;
	if (level->occurrence[var->varno - 1] == 0)
		return;
	o = &walk->shape->occurrences[level->occurrence[var->varno - 1] - 1];
	if (var->varattno > 0)
		columns = bms_make_singleton(var->varattno);
	else
	{
		columns = all_columns(o->relid);
		walk->shape->types = list_append_unique_oid(walk->shape->types, var->vartype);
	}
	o->columns = bms_add_members(o->columns, columns);
	if (!alone)
		walk->beyond[o->n - 1] = bms_add_members(walk->beyond[o->n - 1], columns);
}

static bool
visit_walker(Node *node, Visit *v)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, Var))
		note_column(v->walk, v->place->level, (Var *) node, v->alone);
	if (IsA(node, SubLink))
	{
		take_sublink(v->walk, v->place, (SubLink *) node, false);
		return false;
	}
	return expression_tree_walker(node, visit_walker, v);
}

/* Columns and sublinks in an expression. */
static void
visit(TdKeyedWalk *walk, const Place *place, Node *node)
{
	Visit		v = {walk, place, false};

	visit_walker(node, &v);
}

static void
visit_condition(TdKeyedWalk *walk, const Place *place, Node *node)
{
	Visit		v = {walk, place, take_conjunct(walk, place, node)};

	visit_walker(node, &v);
}

static void
take_quals(TdKeyedWalk *walk, const Place *place, Node *quals)
{
	List	   *parts = td_and_list(quals);
	ListCell   *lc;

	foreach(lc, parts)
	{
		if (IsA(lfirst(lc), SubLink))
			take_sublink(walk, place, lfirst(lc), true);
		else
			visit_condition(walk, place, lfirst(lc));
	}
}

/* ---- FROM ---- */

static void
take_relation(TdKeyedWalk *walk, TdLevel *level, int rti, const RangeTblEntry *rte)
{
	TdShape    *shape = walk->shape;
	TdOccurrence *o;

	if (shape->noccurrences == TD_MAX_OCCURRENCES)
	{
		walk->too_many = true;
		return;
	}
	o = &shape->occurrences[shape->noccurrences++];
	o->n = shape->noccurrences;
	o->relid = rte->relid;
	o->inh = rte->inh;
	level->occurrence[rti - 1] = o->n;
}

static Below
take_item(TdKeyedWalk *walk, TdLevel *level, int rti)
{
	RangeTblEntry *rte = rt_fetch(rti, level->query->rtable);
	Place		place = {level, NULL, level->nullable};
	Below		below = {NULL, NULL};

	if (rte->rtekind == RTE_RELATION)
	{
		take_relation(walk, level, rti, rte);
		if (level->occurrence[rti - 1])
			below.rels = bms_make_singleton(level->occurrence[rti - 1]);
	}
	else if (rte->rtekind == RTE_SUBQUERY)
	{
		TdLevel    *child = build(walk, rte->subquery, level, (Bitmapset *) all_nullable(&place), NULL);

		level->child[rti - 1] = child;
		below = (Below) {child->rels, child->nullable};
	}
	else
	{
		visit(walk, &place, (Node *) rte->functions);
		visit(walk, &place, (Node *) rte->values_lists);
	}
	return below;
}

static Below take_from(TdKeyedWalk *walk, TdLevel *level, Node *node);

static Below
take_join(TdKeyedWalk *walk, TdLevel *level, JoinExpr *join)
{
	Below		left = take_from(walk, level, join->larg);
	Below		right = take_from(walk, level, join->rarg);
	Below		both = {bms_union(left.rels, right.rels), bms_union(left.nullable, right.nullable)};
	Place		place = {
		.level = level,
		.nullable = both.nullable,
		.full = join->jointype == JOIN_FULL ? join : NULL,
		.rels = both.rels
	};

	switch (join->jointype)
	{
		case JOIN_INNER:
			place.reduces = both.rels;
			break;
		case JOIN_LEFT:
			place.reduces = right.rels;
			place.sides[0] = (TdSide) {right.rels, both.rels};
			both.nullable = bms_union(both.nullable, right.rels);
			break;
		case JOIN_RIGHT:
			place.reduces = left.rels;
			place.sides[0] = (TdSide) {left.rels, both.rels};
			both.nullable = bms_union(both.nullable, left.rels);
			break;
		default:
			place.sides[0] = (TdSide) {left.rels, right.rels};
			place.sides[1] = (TdSide) {right.rels, left.rels};
			both.nullable = both.rels;
	}
	level->outer_joins = level->outer_joins || join->jointype != JOIN_INNER;
	if (join->jointype == JOIN_FULL && level == walk->top)
		walk->fulls = lappend(walk->fulls, both.rels);
	if ((join->jointype == JOIN_LEFT || join->jointype == JOIN_RIGHT) && level == walk->top)
		walk->nullable_sides = lappend(walk->nullable_sides, place.reduces);
	take_quals(walk, &place, join->quals);
	level->nullable = bms_union(level->nullable, both.nullable);
	return both;
}

static Below
take_from(TdKeyedWalk *walk, TdLevel *level, Node *node)
{
	Below		all = {NULL, NULL};
	ListCell   *lc;

	check_stack_depth();
	if (IsA(node, RangeTblRef))
		all = take_item(walk, level, ((RangeTblRef *) node)->rtindex);
	else if (IsA(node, JoinExpr))
		all = take_join(walk, level, (JoinExpr *) node);
	else
	{
		foreach(lc, castNode(FromExpr, node)->fromlist)
		{
			Below		one = take_from(walk, level, lfirst(lc));

			all = (Below) {bms_union(all.rels, one.rels), bms_union(all.nullable, one.nullable)};
		}
	}
	level->nullable = bms_union(level->nullable, all.nullable);
	return all;
}

/* ---- levels ---- */

static void
take_branches(TdKeyedWalk *walk, TdLevel *level)
{
	ListCell   *lc;

	foreach(lc, td_keyed_branches(level->query))
	{
		TdLevel    *branch = build(walk, rt_fetch(lfirst_int(lc), level->query->rtable)->subquery, level, level->outer_nullable, NULL);

		level->branches = lappend(level->branches, branch);
		level->rels = bms_add_members(level->rels, branch->rels);
		level->nullable = bms_add_members(level->nullable, branch->nullable);
	}
}

static TdLevel *
build(TdKeyedWalk *walk, Query *query, TdLevel *parent, Bitmapset *outer_nullable, Bitmapset *lends)
{
	TdLevel    *level = palloc0(sizeof(TdLevel));
	int			n = list_length(query->rtable);
	Place		place = {level};

	check_stack_depth();
	level->query = query;
	level->parent = parent;
	level->outer_nullable = outer_nullable;
	level->lends = lends;
	level->occurrence = palloc0(Max(n, 1) * sizeof(int));
	level->child = palloc0(Max(n, 1) * sizeof(TdLevel *));
	if (parent == NULL)
		walk->top = level;
	if (query->setOperations)
		take_branches(walk, level);
	else
		level->rels = take_from(walk, level, (Node *) query->jointree).rels;
	place.nullable = level->nullable;
	place.reduces = bms_union(level->rels, lends);
	take_quals(walk, &place, query->jointree->quals);
	place.reduces = NULL;
	if (query->groupingSets)	/* a key that is not in a set is null there */
		place.nullable = level->rels;
	take_quals(walk, &place, query->havingQual);
	visit(walk, &place, (Node *) query->targetList);
	visit(walk, &place, (Node *) query->windowClause);
	visit(walk, &place, query->limitCount);
	visit(walk, &place, query->limitOffset);
	return level;
}

/* Numbers the occurrences, notes the columns used of them, and enters all conjuncts. */
TdLevel *
td_keyed_levels(TdKeyedWalk *walk, Query *query)
{
	return build(walk, query, NULL, NULL, NULL);
}
