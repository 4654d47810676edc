/*-------------------------------------------------------------------------
 *
 * parts.c
 *		Hidden live views that a view is made of, where its query can't be kept in
 *		one piece.
 *
 * NOTES
 *		Sessions.  A part is a live view in schema tapdata_parts, of the same owner
 *		and group, whose row in the catalog says what it is a part of.  Its table
 *		goes with the view's, as its inner part (pg_depend).  While a query is being
 *		split, a part is a *draft*: its table and its row of the catalog; those of
 *		attempts that came to nothing are rolled back.
 *
 *		The view's own twin has the user's query.  What is kept is another SQL view,
 *		v<id>_q, which reads the parts' twins as any view over live views does: so
 *		it too is computed from base tables wherever it is read.
 *
 *		Parts are logged even where the view is not, as what views read must be.
 *
 * IDENTIFICATION
 *		src/view/sql/parts.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "view/sql/sql_internal.h"

#define FEW_ROWS 100			/* of a part */
#define MANY_EQUAL 1000			/* rows that have the same value */

/* ---- making ---- */

/* As the extension, then given to the caller. */
Oid
td_parts_table(char *table, const TdShape *shape, const List *order, List *options)
{
	TdViewName	name = {TD_PART_SCHEMA, table, get_namespace_oid(TD_PART_SCHEMA, false)};
	Oid			caller = GetUserId();
	TdCatalogScope scope;
	Oid			relation;

	td_catalog_enter(&scope);
	relation = td_view_create_table(&name, shape, options);
	if (order)
		td_view_create_order(&name, order);
	td_run_as_caller(psprintf("ALTER TABLE " TD_PART_SCHEMA ".%s OWNER TO %s", table, quote_identifier(GetUserNameFromId(caller, false))));
	td_catalog_leave(&scope);
	CommandCounterIncrement();
	return relation;
}

/* A draft. */
static Oid
make_part(Query *query, TdShape *shape, const List *order, int n, void *arg)
{
	TdParts    *parts = arg;
	TdPart	   *part = palloc0(sizeof(TdPart));
	TdView	   *view = palloc0(sizeof(TdView));

	if (parts->ids == NIL)
		parts->ids = td_view_reserve(TD_MAX_PARTS + 1);
	parts->list = list_truncate(parts->list, n);
	view->owner = GetUserId();
	view->id = list_nth_int(parts->ids, n);
	view->part_of = llast_int(parts->ids);
	view->relation = td_parts_table(psprintf("v%d_p%d", view->part_of, n + 1), shape, order, td_view_options_for(parts->options, 'p'));
	view->twin = view->relation;	/* until it has one */
	td_view_add(view, td_view_options_for(parts->options, 'p'), DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")), "part");
	CommandCounterIncrement();
	part->view = view;
	part->query = query;
	part->shape = shape;
	parts->list = lappend(parts->list, part);
	return view->relation;
}

/* As the planner sees it; the query reads tables of parts.  column: the values that it has there; NULL = all of it. */
static Plan *
planned(Query *query, const char *column)
{
	int			level = td_pin_path();
	char	   *sql = td_query_sql(query);
	RawStmt    *raw;
	Plan	   *plan;

	if (column)
		sql = psprintf("SELECT DISTINCT q.%s FROM (%s) q", quote_identifier(column), sql);
	raw = linitial_node(RawStmt, pg_parse_query(sql));
	plan = pg_plan_query(linitial_node(Query, pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, NULL)), sql, 0, NULL)->planTree;
	AtEOXact_GUC(false, level);
	return plan;
}

static int
columns_of(const TdWant *want)
{
	return 2 * bms_num_members(want->attnums) + (want->last != 0);
}

static int
more_columns(const ListCell *a, const ListCell *b)
{
	return columns_of(lfirst(b)) - columns_of(lfirst(a));
}

/* So few that reading them all takes no longer than finding some.  Parts of one row have a key, which serves for all columns. */
static bool
has_few_rows(const TdShape *shape)
{
	return shape->topk && !shape->topk->ties && shape->topk->count <= FEW_ROWS;
}

/* Those of one hash are a chain of pages that each new one goes along: so many that it would read as many rows to find some. */
static bool
hashes_well(const TdPart *part, const TdWant *index)
{
	const char *column = get_attname(index->relid, bms_singleton_member(index->attnums), false);

	return planned(part->query, NULL)->plan_rows <= MANY_EQUAL * planned(part->query, column)->plan_rows;
}

static void
make_wanted(const TdPart *part, const TdWant *want)
{
	List	   *indexes = NIL;
	ListCell   *lc;

	if (want->relid != part->view->relation || td_index_is_there(want))
		return;
	foreach(lc, td_part_indexes(want))
	{
		TdWant	   *index = lfirst(lc);

		if (!td_index_is_there(index) && (!index->hash || hashes_well(part, index)))
			indexes = lappend(indexes, index);
	}
	td_view_create_wanted(indexes);
}

/* By which the query that is left, and other parts, find rows of parts.  Those on more columns first: they serve for fewer. */
static void
make_wanted_indexes(const TdParts *parts, const TdShape *rest)
{
	List	   *wants = parts->list ? td_indexes_wanted(rest) : NIL;
	ListCell   *lc,
			   *lw;

	foreach(lc, parts->list)
		wants = list_concat(wants, td_indexes_wanted(((TdPart *) lfirst(lc))->shape));
	list_sort(wants, more_columns);
	foreach(lc, parts->list)
	{
		const TdPart *part = lfirst(lc);

		foreach(lw, has_few_rows(part->shape) ? NIL : wants)
			make_wanted(part, lfirst(lw));
	}
}

/* The shape in which a query is kept: its own, or that of what is left of it beside parts, which are drafted then.  Raises what stands against it. */
TdShape *
td_parts_shape(Query *query, TdParts *parts, bool allow_full)
{
	TdError		err;
	TdShape    *shape;
	int			n = 0;

	memset(&err, 0, sizeof(err));
	shape = td_analyze(query, GetUserId(), &err);
	if (shape != NULL && !td_split_helps(shape))
		return shape;
	if (!XactReadOnly)
		parts->rest = td_split(query, GetUserId(), make_part, parts, shape, &n);
	parts->list = list_truncate(parts->list, n);	/* without those that were rolled back */
	if (parts->rest == NULL && shape != NULL)
		return shape;
	shape = td_query_shape(parts->rest ? parts->rest : query, GetUserId(), allow_full);
	make_wanted_indexes(parts, shape);
	return shape;
}

/* The drafts become views; the table of their view is there, and its twin. */
List *
td_parts_complete(TdParts *parts, const TdViewName *name, TdView *view)
{
	List	   *shapes = NIL;
	ListCell   *lc;

	view->query = view->twin;
	if (parts->rest == NULL)
		return NIL;
	view->id = llast_int(parts->ids);
	foreach(lc, parts->list)
	{
		TdPart	   *part = lfirst(lc);
		TdView	   *hidden = part->view;

		hidden->twin = td_view_create_twin(name->schema, TD_PART_SCHEMA, psprintf("%s_q", get_rel_name(hidden->relation)), hidden->relation, td_query_text(part->query));
		hidden->query = hidden->twin;
		td_view_make_part(hidden->relation, view->relation);
		shapes = lappend(shapes, td_view_complete(hidden, name->schema, td_view_options_for(parts->options, 'p'), parts));
	}
	view->query = td_view_create_twin(name->schema, TD_PART_SCHEMA, psprintf("v%d_q", view->id), view->relation, td_query_text(parts->rest));
	return shapes;
}

/* ---- following their view ---- */

/* What a view's options say of its parts. */
void
td_parts_alter(const TdView *view, List *options)
{
	ListCell   *lc;

	foreach(lc, td_view_parts(view->id))
		td_view_alter(lfirst(lc), td_view_options_for(options, 'p'));
}

/* To another owner. */
void
td_parts_follow(const TdView *view)
{
	List	   *parts = td_view_parts(view->id);
	const char *owner = quote_identifier(GetUserNameFromId(view->owner, false));
	TdCatalogScope scope;
	ListCell   *lc;

	if (parts == NIL)
		return;
	td_catalog_enter(&scope);
	foreach(lc, parts)
	{
		char	   *name = get_rel_name(((TdView *) lfirst(lc))->relation);

		if (name != NULL)		/* not dropped meanwhile */
			td_run_as_caller(psprintf("ALTER TABLE " TD_PART_SCHEMA ".%s OWNER TO %s", quote_identifier(name), owner));
	}
	if (view->query != view->twin)
		td_run_as_caller(psprintf("ALTER VIEW " TD_PART_SCHEMA ".v%d_q OWNER TO %s", view->id, owner));
	td_catalog_leave(&scope);
	CommandCounterIncrement();
}

/* ---- explaining ---- */

/* A part may be much larger than the few rows that are read of it. */
static List *
explain_space(List *rows, const TdPart *part, const List *order)
{
	TdExplained *e = palloc0(sizeof(TdExplained));
	const Plan *plan = planned(part->query, NULL);
	char	   *spared = td_explain_spared(part->shape, order);

	e->node = pstrdup("    space");
	e->strategy = pstrdup("copy");
	e->detail = psprintf("all its rows are stored, about %.0f of %d bytes, and an index on them%s", plan->plan_rows, plan->plan_width,
						 spared ? psprintf("; none of that if this is there before the view is made: %s", spared) : "");
	return lappend(rows, e);
}

/* Adds the rows of a part, one level deeper; read by one of the shapes: its first rows. */
static List *
explain_part(List *rows, int n, const TdPart *part, const List *shapes)
{
	List	   *more = td_explain(part->shape);
	ListCell   *lc;

	((TdExplained *) linitial(more))->node = psprintf("part %d", n);
	foreach(lc, more)
	{
		TdExplained *e = lfirst(lc);

		e->node = psprintf("  %s", e->node);
	}
	rows = list_concat(rows, more);
	foreach(lc, shapes)
	{
		const TdShape *shape = lfirst(lc);

		if (shape->topk && shape->occurrences[0].relid == part->view->relation)
			return explain_space(rows, part, shape->topk->order);
	}
	return rows;
}

/* What ticks have done for it, so far as it is written down: nothing yet for a draft. */
static List *
explain_runs(List *rows, const char *node, int32 view)
{
	ListCell   *lc;

	foreach(lc, td_view_runs(view))
	{
		const TdPair *run = lfirst(lc);
		TdExplained *e = palloc0(sizeof(TdExplained));

		e->node = pstrdup(node);
		e->strategy = run->name;
		e->detail = run->value;
		rows = lappend(rows, e);
	}
	return rows;
}

/* Of the tables with old rows, each once. */
static List *
explain_kept(List *rows, const char *indent, const TdShape *shape)
{
	List	   *told = NIL;

	for (int i = 0; i < shape->noccurrences; i++)
	{
		const TdOccurrence *o = &shape->occurrences[i];

		if (o->kept != 0 && !list_member_int(told, o->kept))
			rows = explain_runs(rows, psprintf("%s    ticks of old rows of %s", indent, quote_identifier(get_rel_name(o->relid))), o->kept);
		told = lappend_int(told, o->kept);
	}
	return rows;
}

/* id: of the view, 0 = it is none yet. */
static List *
explain_parts(TdShape *top, int32 id, const List *parts)
{
	List	   *rows = explain_runs(explain_kept(td_explain(top), "", top), "  ticks so far", id);
	List	   *shapes = list_make1(top);
	int			n = 0;
	ListCell   *lc;

	foreach(lc, parts)
		shapes = lappend(shapes, ((TdPart *) lfirst(lc))->shape);
	foreach(lc, parts)
	{
		rows = explain_part(rows, ++n, lfirst(lc), shapes);
		rows = explain_kept(rows, "  ", ((TdPart *) lfirst(lc))->shape);
		rows = explain_runs(rows, "    ticks so far", ((TdPart *) lfirst(lc))->view->id);
	}
	return rows;
}

/* What create_view would say, of a query that only the option admits. */
static List *
explain_refusal(List *rows, Query *query)
{
	TdExplained *e = palloc0(sizeof(TdExplained));
	TdError		err = {0};

	if (!td_query_refused(query, GetUserId(), &err))
		return rows;
	e->node = pstrdup("  without it");
	e->strategy = pstrdup("refused");
	e->detail = psprintf("%s. %s %s", err.message, err.detail, err.hint);
	return lappend(rows, e);
}

static List *
explain_drafts(Query *query)
{
	TdParts		parts = {NIL};
	TdShape    *shape = td_parts_shape(query, &parts, true);
	List	   *rows = explain_parts(shape, 0, parts.list);

	return shape->keyed && shape->keyed->nkeys == 0 ? explain_refusal(rows, parts.rest ? parts.rest : query) : rows;
}

/* Drafts are made, looked at, and rolled back. */
List *
td_parts_explain_query(Query *query)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	List	   *volatile rows = NIL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		rows = explain_drafts(query);
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ReThrowError(td_caught_in_subtransaction(caller, owner));
	}
	PG_END_TRY();
	return rows;
}

/* As its worker plans it. */
static TdShape *
shape_of(const TdView *view, Oid owner, Query *query)
{
	TdQuestion	question = {query, owner, 0, true};
	TdCounted	proofs = {false, td_twin_proofs(view->query), CurrentMemoryContext};
	TdError		err = {0};
	TdShape    *shape = td_analyze_counting(&question, &proofs, &err);

	if (shape == NULL)
		td_error_raise_own(&err);
	td_shape_require_execute(shape, owner);
	td_shape_learn(shape, view->id);
	shape->made = true;
	return shape;
}

List *
td_parts_explain_view(const TdView *view)
{
	List	   *parts = NIL;
	ListCell   *lc;

	foreach(lc, td_view_parts(view->id))
	{
		TdPart	   *part = palloc(sizeof(TdPart));

		part->view = lfirst(lc);
		if (part->view->part_of != view->id || part->view->replaces != 0)
			continue;
		part->query = td_twin_query(part->view->query);
		part->shape = shape_of(part->view, view->owner, part->query);
		parts = lappend(parts, part);
	}
	return explain_parts(shape_of(view, view->owner, td_twin_query(view->query)), view->id, parts);
}
