/*-------------------------------------------------------------------------
 *
 * view_identity.c
 *		tapdata.replica_identity: what the replica identities of base tables were
 *		before views changed them.
 *
 * NOTES
 *		Sessions, in their transactions.  A row has oids, and the names of today,
 *		which follow DDL: a restored dump has other oids, and finds its tables by
 *		the names when it is adopted.  Until then its rows are about nothing here.
 *
 * IDENTIFICATION
 *		src/catalog/view_identity.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog_internal.h"
#include "nodes/bitmapset.h"

#define OID_OF(name) "to_regclass(quote_ident(v.table_schema) || '.' || quote_ident(v." name "))::oid"
#define OID_HERE(column, name) "CASE WHEN " TD_OIDS_ARE_OURS " THEN v." column " ELSE " OID_OF(name) " END"

/* The attribute numbers that a statement over one relation gives. */
static Bitmapset *
load_columns(TdStatement *load, Oid relation)
{
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	Bitmapset  *columns = NULL;

	td_catalog_enter(&scope);
	TD_RUN(load, td_arg_oid(relation));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);

		columns = bms_add_member(columns, td_col_int(i, 1));
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return columns;
}

/*
 * The columns of a relation whose old values views that read it directly need: all that
 * they read, but for views that a change computes as a whole, and where old rows are kept
 * (the key of those: view/sql/kept.c).
 */
Bitmapset *
td_view_columns(Oid relation)
{
	static TdStatement needed = {
		"SELECT DISTINCT unnest(b.columns)::integer FROM tapdata.view_base b JOIN tapdata.view v ON v.id = b.view "
		"WHERE b.relation = $1 AND " TD_OIDS_ARE_OURS " AND v.strategy <> 'full' AND v.keeps IS NULL AND NOT EXISTS (SELECT FROM tapdata.view_kept k "
	"JOIN tapdata.view_base l ON l.view = k.kept WHERE k.view = b.view AND l.relation = b.relation)", NULL};

	return load_columns(&needed, relation);
}

/* Those that views read, however they learn of changes. */
Bitmapset *
td_view_columns_read(Oid relation)
{
	static TdStatement used = {
		"SELECT DISTINCT unnest(b.columns)::integer FROM tapdata.view_base b JOIN tapdata.view v ON v.id = b.view "
	"WHERE b.relation = $1 AND v.strategy <> 'full' AND " TD_OIDS_ARE_OURS, NULL};

	return load_columns(&used, relation);
}

/*
 * All that are changed.  everywhere: also those that came here with a copy and were not adopted, by what is called so now.  Names that are a table no
 * more, and other relations that have got the number of an index, are left out.
 */
List *
td_identities(bool everywhere)
{
	static TdStatement read = {
		"SELECT c.oid, f.identity::text, coalesce(i.indexrelid, 0::oid) FROM (SELECT v.identity, "
		OID_HERE("relation", "table_name") " AS relation, " OID_HERE("index", "index_name") " AS index FROM tapdata.replica_identity v WHERE $1 OR " TD_OIDS_ARE_OURS ") f "
	"JOIN pg_class c ON c.oid = f.relation LEFT JOIN pg_index i ON i.indexrelid = f.index AND i.indrelid = f.relation ORDER BY 1", NULL};
	MemoryContext caller = CurrentMemoryContext;
	TdCatalogScope scope;
	List	   *list = NIL;

	td_catalog_enter(&scope);
	TD_RUN(&read, td_arg_bool(everywhere));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(caller);
		TdIdentity *was = palloc(sizeof(TdIdentity));

		was->relation = td_col_int(i, 1);
		was->kind = td_col_text(i, 2)[0];
		was->index = td_col_int(i, 3);
		list = lappend(list, was);
		MemoryContextSwitchTo(inner);
	}
	td_catalog_leave(&scope);
	return list;
}

/* Remembers what it was; who comes first is right.  Or forgets it. */
void
td_identity_keep(const TdIdentity *was, bool keep)
{
	static TdStatement add = {
		"INSERT INTO tapdata.replica_identity (relation, table_schema, table_name, identity, index, index_name) "
		"SELECT $1, n.nspname, c.relname, $2::\"char\", nullif($3, 0::oid), (SELECT relname FROM pg_class WHERE oid = $3) "
	"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1 ON CONFLICT (relation, home) DO NOTHING", NULL};
	static TdStatement forget = {"DELETE FROM tapdata.replica_identity v WHERE relation = $1 AND " TD_OIDS_ARE_OURS, NULL};
	char		kind[] = {was->kind, '\0'};
	TdCatalogScope scope;

	td_catalog_enter(&scope);
	if (keep)
		TD_RUN(&add, td_arg_oid(was->relation), td_arg_text(kind), td_arg_oid(was->index));
	else
		TD_RUN(&forget, td_arg_oid(was->relation));
	td_catalog_leave(&scope);
}

/* After DDL, between td_catalog_enter and _leave: names are those of today, tables that are gone are forgotten. */
void
td_identities_follow(void)
{
	static TdStatement gone = {
	"DELETE FROM tapdata.replica_identity v WHERE " TD_OIDS_ARE_OURS " AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = v.relation)", NULL};
	static TdStatement follow = {
		"UPDATE tapdata.replica_identity v SET table_schema = t.table_schema, table_name = t.table_name, index_name = t.index_name "
		"FROM (SELECT r.relation, r.home, n.nspname::text AS table_schema, c.relname::text AS table_name, "
		"(SELECT x.relname::text FROM pg_class x JOIN pg_index k ON k.indexrelid = x.oid WHERE x.oid = r.index AND k.indrelid = r.relation) AS index_name "
		"FROM tapdata.replica_identity r JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace) t "
		"WHERE t.relation = v.relation AND t.home = v.home AND " TD_OIDS_ARE_OURS " "
	"AND (v.table_schema, v.table_name, v.index_name) IS DISTINCT FROM (t.table_schema, t.table_name, t.index_name)", NULL};

	td_run(&gone, 0, NULL);
	td_run(&follow, 0, NULL);
}

/* In a copy that is being adopted, between td_catalog_enter and _leave: the tables are found again. */
void
td_identities_adopt(void)
{
	static TdStatement lost = {
		"DELETE FROM tapdata.replica_identity v WHERE home <> $1 AND NOT (" TD_OIDS_ARE_OURS ") "
	"AND " OID_OF("table_name") " IS NULL", NULL};
	static TdStatement find = {
		"UPDATE tapdata.replica_identity v SET home = $1, relation = " OID_HERE("relation", "table_name") ", index = " OID_HERE("index", "index_name") " "
	"WHERE home <> $1", NULL};

	TD_RUN(&lost, td_arg_text(td_home()));
	TD_RUN(&find, td_arg_text(td_home()));
}
