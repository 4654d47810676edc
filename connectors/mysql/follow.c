/*-------------------------------------------------------------------------
 *
 * follow.c
 *		The tables a stream follows: described when it starts, found by name.
 *
 * NOTES
 *		A table that is gone meanwhile is followed all the same, by its name:
 *		the statement that took it stands in the binlog and must be told.
 *
 * connectors/mysql/follow.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "mysql_internal.h"

#define MANY_TABLES 16			/* from here on a database is described at once */

/* Order of names, as the source compares them. */
static int
compare_names(const TdConn *conn, const char *da, const char *ta, const char *db, const char *tb)
{
	int			(*compare) (const char *, const char *) = conn->fold_names ? strcasecmp : strcmp;
	int			c = compare(da, db);

	return c ? c : compare(ta, tb);
}

/* Order of followed tables. */
static int
compare_followed(const void *a, const void *b, void *conn)
{
	const TdSchema *x = &(*(TdMyFollowed *const *) a)->table->schema;
	const TdSchema *y = &(*(TdMyFollowed *const *) b)->table->schema;

	return compare_names(conn, x->database, x->table, y->database, y->table);
}

/* The followed table of a name, NULL = none. */
TdMyFollowed *
td_my_find_followed(const TdMyStream *s, const char *database, const char *table)
{
	uint32_t	low = 0;
	uint32_t	high = s->n;

	while (low < high)
	{
		uint32_t	mid = low + (high - low) / 2;
		const TdSchema *schema = &s->order[mid]->table->schema;
		int			c = compare_names(s->conn, database, table, schema->database, schema->table);

		if (c == 0)
			return s->order[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* Are these names of one database? */
bool
td_my_same_database(const TdMyStream *s, const char *a, const char *b)
{
	return compare_names(s->conn, a, "", b, "") == 0;
}

/* The table of a reference among what is loaded; loads it, or its whole database where many are asked for. */
static TdMyTable *
describe(TdConn *conn, TdMyStream *s, const TdTableRef *ref, const char *database, bool many, TdError *err)
{
	TdMyTable  *t = NULL;

	for (uint32_t i = 0; t == NULL && i < s->nsets; i++)
		t = td_my_find_table(&s->sets[i], database, ref->table);
	for (uint32_t i = 0; t == NULL && many && i < s->nsets; i++)
		if (s->sets[i].n && strcmp(s->sets[i].v[0]->schema.database, database) == 0)
			return NULL;
	if (t == NULL && td_my_load_tables(conn, database, many ? NULL : ref->table, false, &s->sets[s->nsets++], err))
		t = td_my_find_table(&s->sets[s->nsets - 1], database, ref->table);
	return t;
}

/* Prepares one table. */
static bool
follow(TdConn *conn, TdMyStream *s, const TdTableRef *ref, uint32_t ntables, TdError *err)
{
	const char *database = ref->database && ref->database[0] ? ref->database : conn->options.database ? conn->options.database : "";
	TdMyFollowed   *f = &s->followed[s->n];
	TdMyTable  *t;

	err->sqlstate[0] = '\0';
	t = describe(conn, s, ref, database, ntables > MANY_TABLES, err);
	if (err->sqlstate[0])
		return false;
	if (t == NULL || t->schema.ncolumns == 0)
	{
		t = td_arena_alloc(&s->arena, sizeof(TdMyTable));
		if (t)
		{
			t->schema.database = td_arena_copy(&s->arena, database, strlen(database));
			t->schema.table = td_arena_copy(&s->arena, ref->table, strlen(ref->table));
		}
		if (s->arena.failed)
			return td_error_set(err, "53200", "out of memory");
		f->missing = true;
	}
	if (t->problem.sqlstate[0])
	{
		*err = t->problem;
		return false;
	}
	if (!td_gtid_parse(&f->skip, ref->skip_to ? ref->skip_to : "", err))
		return false;
	f->table = t;
	t->schema.table_id = ++s->n;
	s->order[s->n - 1] = f;
	return true;
}

/* Prepares all tables. */
bool
td_my_follow(TdConn *conn, TdMyStream *s, const TdTableRef *tables, uint32_t ntables, TdError *err)
{
	s->sets = calloc(ntables + 1, sizeof(TdMyTables));
	s->followed = calloc(ntables + 1, sizeof(TdMyFollowed));
	s->order = calloc(ntables + 1, sizeof(TdMyFollowed *));
	if (s->sets == NULL || s->followed == NULL || s->order == NULL)
		return td_error_set(err, "53200", "out of memory");
	for (uint32_t i = 0; i < ntables; i++)
		if (!follow(conn, s, &tables[i], ntables, err))
			return false;
	qsort_r(s->order, s->n, sizeof(TdMyFollowed *), compare_followed, conn);
	return true;
}
