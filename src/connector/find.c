/*-------------------------------------------------------------------------
 *
 * find.c
 *		The tables that a pattern of a mirror means, or the reason why there is none.
 *
 * NOTES
 *		Sessions (mirror, before anything is stored) and pipeline workers (when they
 *		plan).  A name that nothing bears is perhaps one that the login may not read,
 *		or a live view without a feed: the source itself says that best, when it is
 *		asked to read from it.
 *
 * IDENTIFICATION
 *		src/connector/find.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "connector/connector.h"
#include "miscadmin.h"
#include "util/util.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

typedef struct Finding
{
	TdHostTableFn fn;
	void	   *arg;
	int			n;
	bool		qualified;
	List	   *names;			/* of char * */
} Finding;

static void hand_on(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem);
static void collect_name(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem);
static void ask_why(TdHostProcess *host, const TdConnection *connection, const char *name);
static void raise_missing(const TdConnection *connection, const char *name, List *names) pg_attribute_noreturn();

/* As td_host_discover; nothing found is an error. */
void
td_host_find(TdHostProcess *host, const TdConnection *connection, const char *pattern, TdHostTableFn fn, void *arg)
{
	Finding		f = {.fn = fn, .arg = arg, .qualified = strchr(pattern, '.') != NULL};

	td_host_discover(host, pattern, hand_on, &f);
	if (f.n > 0)
		return;
	if (strpbrk(pattern, "*?"))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("no table of connection \"%s\" matches \"%s\"", connection->name, pattern),
				 errhint("SELECT table_name FROM tapdata.discover(%s) shows the tables that the connection's user can see.", quote_literal_cstr(connection->name))));
	td_host_discover(host, "*", collect_name, &f);
	ask_why(host, connection, pattern);
	raise_missing(connection, pattern, f.names);
}

static void
hand_on(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem)
{
	Finding    *f = arg;

	f->n++;
	if (f->fn)
		f->fn(f->arg, schema, row_estimate, problem);
}

static void
collect_name(void *arg, const TdSchema *schema, int64 row_estimate, const TdError *problem)
{
	Finding    *f = arg;

	f->names = lappend(f->names, f->qualified ? psprintf("%s.%s", schema->database, schema->table) : pstrdup(schema->table));
}

/* Raises what stands against reading it; returns when the source knows no more than that it is not there.  The host is of no use afterwards. */
static void
ask_why(TdHostProcess *host, const TdConnection *connection, const char *name)
{
	MemoryContext caller = CurrentMemoryContext;
	const char *database = td_connection_database(connection);
	const char *dot = database[0] == '\0' ? strchr(name, '.') : NULL;

	if (dot)
		database = pnstrdup(name, dot - name);
	PG_TRY();
	{
		(void) td_host_snapshot(host, database, dot ? dot + 1 : name, "", 1);
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		if (code == ERRCODE_INSUFFICIENT_PRIVILEGE || code == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE || code == ERRCODE_AMBIGUOUS_ALIAS || QueryCancelPending || ProcDiePending)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
}

static void
raise_missing(const TdConnection *connection, const char *name, List *names)
{
	const char *closest = td_closest(name, names);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table \"%s\" does not exist on connection \"%s\"", name, connection->name),
			 closest ? errhint("Perhaps you meant the table \"%s\".", closest) :
			 errhint("SELECT table_name FROM tapdata.discover(%s) shows the tables that the connection's user can see.", quote_literal_cstr(connection->name))));
	pg_unreachable();
}
