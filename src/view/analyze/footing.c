/*-------------------------------------------------------------------------
 *
 * footing.c
 *		What a statement reads by, as far as no lock of a reader keeps it as it is.
 *
 * NOTES
 *		ATTACH, INHERIT and the first half of DETACH CONCURRENTLY want no lock that
 *		conflicts with ACCESS SHARE on the table above, CREATE OR REPLACE FUNCTION
 *		wants none at all.  A statement is planned by the catalogs as they are then,
 *		whatever snapshot it reads under: what came after that snapshot is read, too,
 *		and what the plan does not know of is not, though the snapshot sees it.
 *
 *		So a footing is taken before the locks and the snapshot, and once more after
 *		all has been read (or planned, where it is planned once): if both are equal,
 *		catalogs and snapshot were of one state.
 *
 *		What goes and comes again is another footing: each child, and each function,
 *		bears the transaction that wrote its row.  What comes and goes again leaves no
 *		row.  Who reads a partitioned table keeps partitions from going, by his lock on
 *		it; a child that inherits is kept only by who knows of it.  INHERIT marks its
 *		parent as one, which writes a row of pg_class; where that is done already it still
 *		invalidates what sessions have cached of the parent, so that is counted.  Only
 *		the session that counts can compare it.
 *
 *		Names stand in the statements: a schema that is called otherwise, which wants no
 *		lock on what is in it, may make them say another table.  So the transaction that
 *		wrote its row is in the footing, too.  Which functions a function calls, which
 *		labels and dictionaries it reads, which cast a text means is not known, but how
 *		often any of these has changed: that is counted as well.
 *
 *		Who commits is seen before he has told the others what he did to the catalogs:
 *		a footing is read from pg_inherits as it is, but which partitions a table has
 *		is planned by what is cached of it, and that may be the past until he has told.
 *		A view worker waits until he has (tick.c, hear_of_ddl); who does not know of him
 *		asks for a footing by which it can plan.
 *
 *		A list of OIDs, transaction ids, counts and hashes, to be compared with equal().
 *
 * IDENTIFICATION
 *		src/view/analyze/footing.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "partitioning/partdesc.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "view/analyze/analyze_internal.h"

/* One that is being taken. */
typedef struct Footing
{
	List	   *list;
	bool		counts;			/* with what only this session can compare */
	bool		calls;			/* a function in it may call others */
	bool		cached;			/* so far all that is planned by is as it says */
} Footing;

/* A table below another one. */
typedef struct Child
{
	Oid			relid;
	TransactionId since;
	bool		leaves;			/* is being detached */
} Child;

/* A table that others inherit from. */
typedef struct Parent
{
	Oid			relid;			/* hash key */
	uint32		invalidated;	/* so often since we look */
} Parent;

static HTAB *parents = NULL;
static uint32 all_invalidated = 0;
static uint32 meanings_invalidated = 0;
static uint32 functions_invalidated = 0;

/* What may give the same text, or function, another meaning.  (Not what CREATE TEMP TABLE writes, or a tick would never end.) */
static const int meanings[] = {CASTSOURCETARGET, COLLOID, ENUMOID, TSCONFIGOID, TSCONFIGMAP, TSDICTOID};

/* Catalog cache callback; arg: the counter. */
static void
count_meaning(Datum arg, int cache, uint32 hash)
{
	(*(uint32 *) DatumGetPointer(arg))++;
}

/* Relation cache callback. */
static void
count_invalidation(Datum arg, Oid relid)
{
	Parent	   *parent;

	if (!OidIsValid(relid))
		all_invalidated++;
	else if ((parent = hash_search(parents, &relid, HASH_FIND, NULL)) != NULL)
		parent->invalidated++;
}

/* How often has a table been invalidated that we have asked for before?  Another number than before = at least once since. */
static uint32
invalidations(Oid relid)
{
	bool		found;
	Parent	   *parent;

	if (parents == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Parent)};

		parents = hash_create("tapdata tables that others inherit from", 32, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(count_invalidation, (Datum) 0);
	}
	parent = hash_search(parents, &relid, HASH_ENTER, &found);
	if (!found)
		parent->invalidated = 0;
	return all_invalidated + parent->invalidated;
}

/* Caches that are thrown away tell of nothing that has happened. */
void
td_footing_invalidate_caches(void)
{
	uint32		all = all_invalidated;
	uint32		meaning = meanings_invalidated;
	uint32		functions = functions_invalidated;

	InvalidateSystemCaches();
	all_invalidated = all;
	meanings_invalidated = meaning;
	functions_invalidated = functions;
}

static void
count_meanings(void)
{
	static bool registered = false;

	if (registered)
		return;
	registered = true;
	CacheRegisterSyscacheCallback(PROCOID, count_meaning, PointerGetDatum(&functions_invalidated));
	for (int i = 0; i < lengthof(meanings); i++)
		CacheRegisterSyscacheCallback(meanings[i], count_meaning, PointerGetDatum(&meanings_invalidated));
}

/* By who wrote them; read again when one has changed. */
static uint32
hash_of_functions(void)
{
	static bool valid = false;
	static uint32 hash,
				at;

	count_meanings();
	if (!valid || at != functions_invalidated)
	{
		at = functions_invalidated;
		hash = td_hash_of_functions(true);
		valid = true;
	}
	return hash;
}

static void
add_schema(Footing *footing, Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));

	if (!HeapTupleIsValid(tuple))
		return;
	footing->list = lappend_oid(footing->list, HeapTupleHeaderGetRawXmin(tuple->t_data));
	ReleaseSysCache(tuple);
}

/* Adds what tells of children that are not there any more.  As has_subclass: may there be children? */
static bool
add_class(Footing *footing, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class row;
	bool		may;

	if (!HeapTupleIsValid(tuple))
		return false;			/* it is not locked, and gone */
	row = (Form_pg_class) GETSTRUCT(tuple);
	may = row->relhassubclass;
	add_schema(footing, row->relnamespace);
	if (!may)
		footing->list = lappend_oid(footing->list, HeapTupleHeaderGetRawXmin(tuple->t_data));
	else if (footing->counts && row->relkind != RELKIND_PARTITIONED_TABLE)
		footing->list = lappend_oid(footing->list, invalidations(relid));
	ReleaseSysCache(tuple);
	return may;
}

static int
compare_children(const ListCell *a, const ListCell *b)
{
	Oid			x = ((Child *) lfirst(a))->relid;
	Oid			y = ((Child *) lfirst(b))->relid;

	return x < y ? -1 : x > y;
}

/* Whatever the active snapshot is: also what is being detached.  By OID. */
static List *
children_of(Oid parent)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	List	   *children = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(parent));
	scan = systable_beginscan(rel, InheritsParentIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Child	   *child = palloc(sizeof(Child));

		child->relid = ((Form_pg_inherits) GETSTRUCT(tuple))->inhrelid;
		child->since = HeapTupleHeaderGetRawXmin(tuple->t_data);
		child->leaves = ((Form_pg_inherits) GETSTRUCT(tuple))->inhdetachpending;
		children = lappend(children, child);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	list_sort(children, compare_children);
	return children;
}

/* The partitions that are cached of a table: are they the ones that the catalog has? */
static bool
same_partitions(PartitionDesc cached, List *children)
{
	List	   *oids = NIL;
	bool		leaves = false;
	ListCell   *lc;

	if (cached->nparts != list_length(children))
		return false;
	for (int i = 0; i < cached->nparts; i++)
		oids = lappend_oid(oids, cached->oids[i]);
	list_sort(oids, list_oid_cmp);
	foreach(lc, children)
	{
		const Child *child = lfirst(lc);

		if (list_nth_oid(oids, foreach_current_index(lc)) != child->relid)
			return false;
		leaves |= child->leaves;
	}
	return leaves == cached->detached_exist;
}

/* Does what the planner goes by say the same as the catalog?  Which tables inherit from one it asks the catalog itself. */
static bool
is_cached(Oid parent, List *children)
{
	Relation	rel = try_relation_open(parent, AccessShareLock);
	bool		cached;

	if (rel == NULL)
		return false;
	cached = rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE || same_partitions(RelationGetPartitionDesc(rel, false), children);
	relation_close(rel, NoLock);
	return cached;
}

static void
add_table(Footing *footing, Oid relid)
{
	List	   *children;
	ListCell   *lc;

	check_stack_depth();
	footing->list = lappend_oid(footing->list, relid);
	if (!add_class(footing, relid))
		return;
	children = children_of(relid);
	footing->cached = footing->cached && is_cached(relid, children);
	foreach(lc, children)
	{
		const Child *child = lfirst(lc);

		footing->list = lappend_oid(footing->list, child->since);
		add_table(footing, child->relid);
	}
	list_free_deep(children);
}

static void
add_function(Footing *footing, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));

	footing->list = lappend_oid(footing->list, function);
	if (!HeapTupleIsValid(tuple))
		return;
	footing->list = lappend_oid(footing->list, HeapTupleHeaderGetRawXmin(tuple->t_data));
	add_schema(footing, ((Form_pg_proc) GETSTRUCT(tuple))->pronamespace);
	footing->calls |= td_may_call_others(tuple);
	ReleaseSysCache(tuple);
}

/* Of tables, and all below them. */
List *
td_footing_of_tables(const List *relids)
{
	Footing		footing = {.counts = true};
	ListCell   *lc;

	foreach(lc, relids)
		add_table(&footing, lfirst_oid(lc));
	return footing.list;
}

/* Of a view's statements; counts: of use to this session only.  Live views have no children; a tick that gives one a new definition changes it itself. */
List *
td_footing(const TdShape *shape, bool counts)
{
	Footing		footing = {.counts = counts};
	ListCell   *lc;

	for (int i = 0; i < shape->noccurrences; i++)
		if (shape->occurrences[i].view == 0)
			add_table(&footing, shape->occurrences[i].relid);
	foreach(lc, shape->functions)
		add_function(&footing, lfirst_oid(lc));
	if (footing.calls)
		footing.list = lappend_oid(footing.list, hash_of_functions());
	count_meanings();
	if (counts)
		footing.list = lappend_oid(footing.list, meanings_invalidated);
	return footing.list;
}

uint32
td_footing_hash(const List *footing)
{
	uint32		hash = 0;
	ListCell   *lc;

	foreach(lc, footing)
		hash = hash_combine(hash, murmurhash32(lfirst_oid(lc)));
	return Max(hash, 1);
}

/* Callback of check_functions_in_node: never stops it. */
static bool
take_function(Oid function, void *context)
{
	if (function >= FirstNormalObjectId)
		add_function(context, function);
	return false;
}

static bool
walker(Node *node, Footing *footing)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry) && ((RangeTblEntry *) node)->rtekind == RTE_RELATION)
		add_table(footing, ((RangeTblEntry *) node)->relid);
	if (IsA(node, RangeTblEntry))
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, walker, footing, QTW_EXAMINE_RTES_BEFORE);
	(void) check_functions_in_node(node, take_function, footing);
	return expression_tree_walker(node, walker, footing);
}

/* Of a query that has been analysed and rewritten.  *cached (NULL: nobody asks): can it be planned by it, or are caches behind still? */
List *
td_footing_of_query(Query *query, bool *cached)
{
	Footing		footing = {.counts = true,.cached = cached != NULL};

	(void) walker((Node *) query, &footing);
	count_meanings();
	footing.list = lappend_oid(footing.list, meanings_invalidated);
	if (footing.calls)
		footing.list = lappend_oid(footing.list, functions_invalidated);	/* which is not ahead of what functions have been looked up */
	if (cached)
		*cached = footing.cached;
	return footing.list;
}
