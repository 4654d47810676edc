/*-------------------------------------------------------------------------
 *
 * keys.c
 *		What can be proved of a view's columns: which are never null, and which
 *		together are a key.
 *
 * NOTES
 *		Columns of occurrences that are equal by a qual form a class; classes
 *		that equal a constant are known from the start.  A set of classes makes
 *		known all columns of an occurrence of which it holds a unique key.
 *		The outputs are a key when they make known every occurrence, or, of a
 *		grouped view, every key of its groups; then columns are left out as long
 *		as that stays true.
 *
 *		Only equality of default operator classes counts, and only under
 *		deterministic collations: it must be that of the view's own index.
 *
 * IDENTIFICATION
 *		src/view/analyze/keys.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "compat/compat.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "view/analyze/analyze_internal.h"

/* A column of an occurrence that the query uses. */
typedef struct Column
{
	int			occurrence;		/* index in the shape */
	AttrNumber	attnum;
	int			class;			/* equal columns have the same */
	bool		not_null;
} Column;

/* A unique index of an occurrence. */
typedef struct UniqueKey
{
	Oid			index;
	Bitmapset  *columns;		/* attribute numbers */
} UniqueKey;

typedef struct Facts
{
	const TdShape *shape;
	int			ncolumns;
	Column	   *columns;
	Bitmapset  *fixed;			/* classes that equal a constant */
	List	  **unique;			/* per occurrence: of UniqueKey * */
} Facts;

/* ---- columns ---- */

static Column *
find_column(const Facts *facts, const Var *var)
{
	for (int i = 0; i < facts->ncolumns; i++)
	{
		Column	   *c = &facts->columns[i];

		if (facts->shape->occurrences[c->occurrence].rti == var->varno && c->attnum == var->varattno)
			return c;
	}
	elog(ERROR, "column %d of range table entry %d is not among those used", var->varattno, (int) var->varno);
}

static void
enter_columns(Facts *facts, int occurrence, Relation rel)
{
	const TdOccurrence *o = &facts->shape->occurrences[occurrence];
	bool		proved = !td_holds_rows_of_others(o->relid, o->inh);
	int			attnum = -1;

	while ((attnum = bms_next_member(o->columns, attnum)) >= 0)
	{
		Column	   *c = &facts->columns[facts->ncolumns];

		c->occurrence = occurrence;
		c->attnum = attnum;
		c->class = facts->ncolumns++;
		c->not_null = proved && td_attribute_not_null_compat(RelationGetDescr(rel), attnum);
	}
}

/* ---- equality ---- */

static Oid
default_opfamily(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
}

bool
td_deterministic(Oid collation)
{
	return !OidIsValid(collation) || get_collation_isdeterministic(collation);
}

/* varchar = varchar compares as text: relabelled, but equal means the same. */
Var *
td_plain_column(Node *node)
{
	if (IsA(node, RelabelType))
	{
		RelabelType *relabel = (RelabelType *) node;
		Oid			from = exprType((Node *) relabel->arg);

		if (lookup_type_cache(from, TYPECACHE_EQ_OPR)->eq_opr != lookup_type_cache(relabel->resulttype, TYPECACHE_EQ_OPR)->eq_opr)
			return NULL;
		return td_plain_column((Node *) relabel->arg);
	}
	return IsA(node, Var) ? (Var *) node : NULL;
}

/* Is it "x = y" by the equality that indexes have by default?  Not timestamp = timestamptz: two local times may be one moment. */
static bool
is_equality(Node *qual, Node **left, Node **right)
{
	OpExpr	   *op = (OpExpr *) qual;

	if (!IsA(qual, OpExpr) || list_length(op->args) != 2)
		return false;
	*left = linitial(op->args);
	*right = lsecond(op->args);
	return get_op_opfamily_strategy(op->opno, default_opfamily(exprType(*left))) == BTEqualStrategyNumber && td_deterministic(op->inputcollid) &&
		op_volatile(op->opno) == PROVOLATILE_IMMUTABLE;
}

bool
td_equal_columns(Node *qual, Var **left, Var **right)
{
	Node	   *a,
			   *b;

	if (!is_equality(qual, &a, &b))
		return false;
	*left = td_plain_column(a);
	*right = td_plain_column(b);
	return *left && *right && td_deterministic((*left)->varcollid) && td_deterministic((*right)->varcollid);
}

/* The column that equals a constant. */
static Var *
fixed_column(Node *qual)
{
	Node	   *a,
			   *b;
	Var		   *var;

	if (!is_equality(qual, &a, &b))
		return NULL;
	var = IsA(b, Const) ? td_plain_column(a) : IsA(a, Const) ? td_plain_column(b) : NULL;
	return var && td_deterministic(var->varcollid) ? var : NULL;
}

static void
merge_classes(Facts *facts, int from, int into)
{
	for (int i = 0; i < facts->ncolumns; i++)
	{
		if (facts->columns[i].class == from)
			facts->columns[i].class = into;
	}
}

static void
learn_equality(Facts *facts)
{
	ListCell   *lc;
	Var		   *left,
			   *right;

	foreach(lc, facts->shape->quals)
	{
		if (td_equal_columns(lfirst(lc), &left, &right))
			merge_classes(facts, find_column(facts, left)->class, find_column(facts, right)->class);
	}
	foreach(lc, facts->shape->quals)
	{
		left = fixed_column(lfirst(lc));
		if (left)
			facts->fixed = bms_add_member(facts->fixed, find_column(facts, left)->class);
	}
}

/* ---- never null ---- */

/* Marks the columns that can't be null where node is not: those that it reaches through strict functions only. */
static void
learn_strict(Facts *facts, Node *node)
{
	List	   *args = NIL;
	ListCell   *lc;

	check_stack_depth();
	if (IsA(node, Var))
		find_column(facts, (Var *) node)->not_null = true;
	else if (IsA(node, OpExpr) && func_strict(((OpExpr *) node)->opfuncid))
		args = ((OpExpr *) node)->args;
	else if (IsA(node, FuncExpr) && func_strict(((FuncExpr *) node)->funcid))
		args = ((FuncExpr *) node)->args;
	else if (IsA(node, RelabelType))
		args = list_make1(((RelabelType *) node)->arg);
	else if (IsA(node, CollateExpr))
		args = list_make1(((CollateExpr *) node)->arg);
	foreach(lc, args)
		learn_strict(facts, lfirst(lc));
}

/*
 * Marks the columns that can't be null where the qual is true.  "x IS NOT NULL" and "x = ANY (array)" may be false for a null, the latter
 * of an empty array: that says something as a qual only, not inside of another expression.
 */
static void
learn_not_null(Facts *facts, Node *qual)
{
	if (IsA(qual, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) qual)->useOr && func_strict(((ScalarArrayOpExpr *) qual)->opfuncid))
		learn_strict(facts, linitial(((ScalarArrayOpExpr *) qual)->args));
	else if (IsA(qual, NullTest) && ((NullTest *) qual)->nulltesttype == IS_NOT_NULL && !((NullTest *) qual)->argisrow)
		learn_strict(facts, (Node *) ((NullTest *) qual)->arg);
	else
		learn_strict(facts, qual);
}

static bool
any_not_null(const Facts *facts, List *args);

/* Is it never null?  Over the query's own columns. */
static bool
is_not_null(const Facts *facts, Node *node)
{
	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_Var:
			return find_column(facts, (Var *) node)->not_null;
		case T_Const:
			return !((Const *) node)->constisnull;
		case T_RelabelType:
			return is_not_null(facts, (Node *) ((RelabelType *) node)->arg);
		case T_CollateExpr:
			return is_not_null(facts, (Node *) ((CollateExpr *) node)->arg);
		case T_CoalesceExpr:
			return any_not_null(facts, ((CoalesceExpr *) node)->args);
		case T_MinMaxExpr:
			return any_not_null(facts, ((MinMaxExpr *) node)->args);
		case T_NullTest:
		case T_BooleanTest:
		case T_DistinctExpr:
		case T_RowExpr:
		case T_ArrayExpr:
			return true;
		default:
			return false;
	}
}

static bool
any_not_null(const Facts *facts, List *args)
{
	ListCell   *lc;

	foreach(lc, args)
	{
		if (is_not_null(facts, lfirst(lc)))
			return true;
	}
	return false;
}

/* Aggregates of groups that have rows are null only where all arguments are. */
static bool
group_value_not_null(const Facts *facts, int number)
{
	const TdShape *shape = facts->shape;
	int			nkeys = list_length(shape->keys);
	const TdAggregate *a;

	if (number <= nkeys)
		return is_not_null(facts, list_nth(shape->keys, number - 1));
	a = &shape->aggregates[number - nkeys - 1];
	if (a->kind == TD_AGG_ROWS || a->kind == TD_AGG_COUNT)
		return true;
	return !shape->one_group && is_not_null(facts, (Node *) a->argument);
}

static bool
output_not_null(const Facts *facts, Node *expr)
{
	if (!facts->shape->grouped)
		return is_not_null(facts, expr);
	if (IsA(expr, Var))
		return group_value_not_null(facts, ((Var *) expr)->varattno);
	return IsA(expr, Const) && !((Const *) expr)->constisnull;
}

/* ---- unique indexes ---- */

static bool
key_column_fits(const Facts *facts, int occurrence, Relation rel, Relation index, int i)
{
	AttrNumber	attnum = index->rd_index->indkey.values[i];
	Form_pg_attribute att = attnum > 0 ? TupleDescAttr(RelationGetDescr(rel), attnum - 1) : NULL;

	if (att == NULL || index->rd_opfamily[i] != default_opfamily(att->atttypid))
		return false;
	if (index->rd_indcollation[i] != att->attcollation && !td_deterministic(att->attcollation))
		return false;
	if (index->rd_index->indnullsnotdistinct || td_attribute_not_null_compat(RelationGetDescr(rel), attnum))
		return true;
	for (int c = 0; facts && c < facts->ncolumns; c++)
	{
		if (facts->columns[c].occurrence == occurrence && facts->columns[c].attnum == attnum)
			return facts->columns[c].not_null;
	}
	return false;
}

/* The columns of a unique index that holds for all rows at any time; NULL = it is not one. */
static Bitmapset *
unique_columns(const Facts *facts, int occurrence, Relation rel, Relation index)
{
	Form_pg_index form = index->rd_index;
	Bitmapset  *columns = NULL;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid || index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return NULL;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		if (!key_column_fits(facts, occurrence, rel, index, i))
			return NULL;
		columns = bms_add_member(columns, form->indkey.values[i]);
	}
	return columns;
}

/* Those that count in the analysis that runs; NULL = all. */
static TdCounted *counted = NULL;

TdCounted *
td_count_uniques(TdCounted *now)
{
	TdCounted  *before = counted;

	counted = now;
	return before;
}

static bool
counts(Oid index)
{
	MemoryContext old;

	if (counted == NULL)
		return true;
	if (!counted->all)
		return list_member_oid(counted->indexes, index);
	old = MemoryContextSwitchTo(counted->context);
	counted->indexes = list_append_unique_oid(counted->indexes, index);
	MemoryContextSwitchTo(old);
	return true;
}

/* Of UniqueKey *; facts NULL = whatever the query says. */
static List *
unique_indexes(const Facts *facts, int occurrence, Relation rel, bool inherited)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		none = td_holds_rows_of_others(RelationGetRelid(rel), inherited);
	bool		of_view = counted != NULL && td_view_of(RelationGetRelid(rel), true) != NULL;	/* whose key is the views' own business */
	List	   *keys = NIL;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Bitmapset  *columns = none ? NULL : unique_columns(facts, occurrence, rel, index);

		if (columns && (of_view || counts(lfirst_oid(lc))))
		{
			UniqueKey  *unique = palloc(sizeof(UniqueKey));

			unique->index = lfirst_oid(lc);
			unique->columns = columns;
			keys = lappend(keys, unique);
		}
		index_close(index, NoLock);
	}
	list_free(indexes);
	return keys;
}

List *
td_unique_keys(Oid relid, bool inherited)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *keys = unique_indexes(NULL, 0, rel, inherited);
	ListCell   *lc;

	table_close(rel, NoLock);
	foreach(lc, keys)
		lfirst(lc) = ((UniqueKey *) lfirst(lc))->columns;
	return keys;
}

Oid
td_unique_index(Oid relid, bool inherited, const Bitmapset *columns)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *keys = unique_indexes(NULL, 0, rel, inherited);
	Oid			index = InvalidOid;
	ListCell   *lc;

	table_close(rel, NoLock);
	foreach(lc, keys)
	{
		if (bms_equal(((UniqueKey *) lfirst(lc))->columns, columns))
			index = ((UniqueKey *) lfirst(lc))->index;
	}
	return index;
}

/* ---- closure ---- */

/* Are all these columns of the occurrence known? */
static bool
columns_known(const Facts *facts, int occurrence, const Bitmapset *attnums, const Bitmapset *known)
{
	int			found = 0;

	for (int i = 0; i < facts->ncolumns; i++)
	{
		const Column *c = &facts->columns[i];

		if (c->occurrence == occurrence && bms_is_member(c->attnum, attnums) && bms_is_member(c->class, known))
			found++;
	}
	return found == bms_num_members(attnums);
}

/* Does a unique index say so? */
static bool
occurrence_known(const Facts *facts, int occurrence, const Bitmapset *known)
{
	ListCell   *lc;

	foreach(lc, facts->unique[occurrence])
	{
		const UniqueKey *unique = lfirst(lc);

		if (columns_known(facts, occurrence, unique->columns, known))
			return true;
	}
	return false;
}

/* All classes that follow from the known ones; *occurrences gets those that are one row for each value of them. */
static Bitmapset *
close_over(const Facts *facts, Bitmapset *known, Bitmapset **occurrences)
{
	bool		more = true;

	*occurrences = NULL;
	known = bms_add_members(known, facts->fixed);
	while (more)
	{
		more = false;
		for (int o = 0; o < facts->shape->noccurrences; o++)
		{
			if (bms_is_member(o, *occurrences) || !occurrence_known(facts, o, known))
				continue;
			*occurrences = bms_add_member(*occurrences, o);
			for (int i = 0; i < facts->ncolumns; i++)
			{
				if (facts->columns[i].occurrence == o)
					known = bms_add_member(known, facts->columns[i].class);
			}
			more = true;
		}
	}
	return known;
}

/* ---- a key among the outputs ---- */

/* The expression over the query's columns that stands in a column of the result; NULL = an aggregate, or made of them. */
static Node *
source_of(const TdShape *shape, int column, int *key)
{
	Node	   *expr = (Node *) list_nth_node(TargetEntry, shape->outputs, column)->expr;

	*key = -1;
	if (!shape->grouped)
		return expr;
	if (!IsA(expr, Var) || ((Var *) expr)->varattno > list_length(shape->keys))
		return NULL;
	*key = ((Var *) expr)->varattno - 1;
	return list_nth(shape->keys, *key);
}

/*
 * Does the expression's value follow from the known columns?  A column is known but for what looks different and is equal, unless all is known of
 * its row.
 */
static bool
expression_known(const Facts *facts, Node *expr, const Bitmapset *known, const Bitmapset *occurrences)
{
	List	   *vars = pull_var_clause(expr, 0);
	ListCell   *lc;

	foreach(lc, vars)
	{
		Var		   *var = lfirst_node(Var, lc);
		const Column *c = find_column(facts, var);

		if (!bms_is_member(c->occurrence, occurrences) &&
			!(bms_is_member(c->class, known) && td_equal_is_same(var->vartype, var->vartypmod, var->varcollid)))
			return false;
	}
	return true;
}

/* Is a group's key one value, as = has it, where these columns are known? */
static bool
key_known(const Facts *facts, Node *key, const Bitmapset *known, const Bitmapset *occurrences)
{
	if (IsA(key, Var) && bms_is_member(find_column(facts, (Var *) key)->class, known))
		return true;
	return expression_known(facts, key, known, occurrences);
}

/* Is there at most one row of the result for each value of these columns (from 0)? */
static bool
is_key(const Facts *facts, const Bitmapset *columns)
{
	const TdShape *shape = facts->shape;
	Bitmapset  *known = NULL,
			   *occurrences,
			   *keys = NULL;
	int			column = -1,
				key;

	while ((column = bms_next_member(columns, column)) >= 0)
	{
		Node	   *source = source_of(shape, column, &key);

		if (key >= 0)
			keys = bms_add_member(keys, key);
		if (source && IsA(source, Var))
			known = bms_add_member(known, find_column(facts, (Var *) source)->class);
	}
	if (shape->grouped && bms_num_members(keys) == list_length(shape->keys))
		return true;
	known = close_over(facts, known, &occurrences);
	if (!shape->grouped)
		return bms_num_members(occurrences) == shape->noccurrences;
	for (key = 0; key < list_length(shape->keys); key++)
	{
		if (!bms_is_member(key, keys) && !key_known(facts, list_nth(shape->keys, key), known, occurrences))
			return false;
	}
	return true;
}

static List *
find_key(const Facts *facts)
{
	const TdShape *shape = facts->shape;
	Bitmapset  *columns = NULL;
	List	   *key = NIL;
	int			i;

	for (i = 0; i < shape->ncolumns; i++)
	{
		int			number;
		Node	   *source = source_of(shape, i, &number);

		if (source && (number >= 0 || IsA(source, Var)) && td_type_ordered(shape->columns[i].type))
			columns = bms_add_member(columns, i);
	}
	if (!is_key(facts, columns))
		return NIL;
	for (i = shape->ncolumns - 1; i >= 0; i--)
	{
		Bitmapset  *fewer = bms_is_member(i, columns) ? bms_del_member(bms_copy(columns), i) : NULL;

		if (!bms_is_empty(fewer) && is_key(facts, fewer))
			columns = fewer;
	}
	i = -1;
	while ((i = bms_next_member(columns, i)) >= 0)
		key = lappend_int(key, i + 1);
	return list_length(key) <= TD_MAX_GROUP_KEYS ? key : NIL;
}

/* At most one row: any column is a key. */
static List *
key_of_one_row(const TdShape *shape)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		if (td_type_ordered(shape->columns[i].type))
			return list_make1_int(i + 1);
	}
	return NIL;
}

static void
learn(Facts *facts)
{
	const TdShape *shape = facts->shape;
	int			n = 0;
	ListCell   *lc;
	Relation   *rels = palloc(shape->noccurrences * sizeof(Relation));

	for (int i = 0; i < shape->noccurrences; i++)
		n += bms_num_members(shape->occurrences[i].columns);
	facts->columns = palloc0(Max(n, 1) * sizeof(Column));
	facts->unique = palloc0(shape->noccurrences * sizeof(List *));
	for (int i = 0; i < shape->noccurrences; i++)
	{
		rels[i] = table_open(shape->occurrences[i].relid, AccessShareLock);
		enter_columns(facts, i, rels[i]);
	}
	foreach(lc, shape->quals)
		learn_not_null(facts, lfirst(lc));
	learn_equality(facts);
	for (int i = 0; i < shape->noccurrences; i++)
	{
		facts->unique[i] = unique_indexes(facts, i, rels[i], shape->occurrences[i].inh);
		table_close(rels[i], NoLock);
	}
}

/* For the order of joins alone: those count, too, on which nothing else stands. */
static void
learn_unique(const Facts *facts, int i)
{
	TdCounted  *own = td_count_uniques(NULL);
	TdOccurrence *o = &facts->shape->occurrences[i];
	Relation	rel = table_open(o->relid, AccessShareLock);
	ListCell   *lc;

	foreach(lc, unique_indexes(facts, i, rel, o->inh))
		o->unique = lappend(o->unique, ((UniqueKey *) lfirst(lc))->columns);
	table_close(rel, NoLock);
	(void) td_count_uniques(own);
}

void
td_infer_keys(TdShape *shape)
{
	Facts		facts = {.shape = shape};

	learn(&facts);
	for (int i = 0; i < shape->noccurrences; i++)
		learn_unique(&facts, i);
	for (int i = 0; i < shape->ncolumns; i++)
		shape->columns[i].not_null = output_not_null(&facts, (Node *) list_nth_node(TargetEntry, shape->outputs, i)->expr);
	shape->unique = shape->one_group ? key_of_one_row(shape) : find_key(&facts);
}
