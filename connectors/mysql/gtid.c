/*-------------------------------------------------------------------------
 *
 * gtid.c
 *		Positions: GTID sets, and where the source is now.
 *
 * NOTES
 *		The canonical text is MariaDB's own, "domain-server-sequence" separated
 *		by commas and sorted by domain, one for each domain.
 *
 *		A position must cover only what a read that begins later can see.
 *		@@gtid_binlog_pos alone does not promise that: the source puts a
 *		transaction into the binlog a moment before it becomes visible.  So the
 *		position of a consistent snapshot (Binlog_snapshot_*) is awaited to pass
 *		the end of the binlog read before.
 *
 * connectors/mysql/gtid.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mysql_internal.h"

#define VISIBLE_TRIES 100		/* of 1 ms */

/* Frees a set. */
void
td_gtid_free(TdGtidSet *set)
{
	free(set->v);
	memset(set, 0, sizeof(*set));
}

/* Index of a domain, or where it belongs. */
static uint32_t
find_domain(const TdGtidSet *set, uint32_t domain)
{
	uint32_t	i = 0;

	while (i < set->n && set->v[i].domain < domain)
		i++;
	return i;
}

/* Sets the position of a domain. */
bool
td_gtid_advance(TdGtidSet *set, const TdGtid *gtid)
{
	uint32_t	i = find_domain(set, gtid->domain);

	if (i == set->n || set->v[i].domain != gtid->domain)
	{
		if (set->n == set->cap)
		{
			uint32_t	cap = set->cap ? set->cap * 2 : 4;
			TdGtid	   *v = realloc(set->v, cap * sizeof(TdGtid));

			if (v == NULL)
				return false;
			set->v = v;
			set->cap = cap;
		}
		memmove(set->v + i + 1, set->v + i, (set->n - i) * sizeof(TdGtid));
		set->n++;
	}
	set->v[i] = *gtid;
	return true;
}

/* Has the set read up to this one? */
bool
td_gtid_covers(const TdGtidSet *set, const TdGtid *gtid)
{
	uint32_t	i = find_domain(set, gtid->domain);

	return i < set->n && set->v[i].domain == gtid->domain && set->v[i].seq >= gtid->seq;
}

/* A decimal number up to `max` at *p. */
static bool
take_number(const char **p, uint64_t max, uint64_t *v)
{
	char	   *end;

	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	*v = strtoull(*p, &end, 10);
	*p = end;
	return errno == 0 && *v <= max;
}

/* One GTID at *p. */
static bool
take_gtid(const char **p, TdGtid *gtid)
{
	uint64_t	domain;
	uint64_t	server;

	while (**p == ' ' || **p == '\n')
		(*p)++;
	if (!take_number(p, UINT32_MAX, &domain) || *(*p)++ != '-')
		return false;
	if (!take_number(p, UINT32_MAX, &server) || *(*p)++ != '-')
		return false;
	gtid->domain = (uint32_t) domain;
	gtid->server = (uint32_t) server;
	return take_number(p, UINT64_MAX, &gtid->seq);
}

/* Reads a position; "" is the one before everything. */
bool
td_gtid_parse(TdGtidSet *set, const char *text, TdError *err)
{
	const char *p = text;

	memset(set, 0, sizeof(*set));
	while (*p)
	{
		TdGtid		gtid;
		uint32_t	i;
		bool		ok = take_gtid(&p, &gtid) && (*p == '\0' || (*p == ',' && p[1]));

		i = find_domain(set, gtid.domain);
		if (!ok || (i < set->n && set->v[i].domain == gtid.domain))
		{
			td_gtid_free(set);
			td_error_set(err, "22P02", "invalid position: \"%.100s\"", text);
			return td_error_hint(err, "A position is a GTID list like \"0-1-100\" or \"0-1-100,1-2-7\", one entry for each domain.");
		}
		if (!td_gtid_advance(set, &gtid))
			return td_error_set(err, "53200", "out of memory");
		if (*p == ',')
			p++;
	}
	return true;
}

/* The canonical text, kept in the buffer; NULL = no memory. */
char *
td_gtid_text(const TdGtidSet *set, TdBuffer *buffer)
{
	td_buffer_reset(buffer);
	for (uint32_t i = 0; i < set->n; i++)
		td_my_append(buffer, "%s%u-%u-%llu", i ? "," : "", set->v[i].domain, set->v[i].server,
					 (unsigned long long) set->v[i].seq);
	td_buffer_append(buffer, "", 1);
	return buffer->failed ? NULL : (char *) buffer->data;
}

/* Does `reached` include all of `wanted`? */
TdStatus
td_my_position_covers(const char *reached, const char *wanted, bool *covers, TdError *err)
{
	TdGtidSet	a;
	TdGtidSet	b;

	if (!td_gtid_parse(&a, reached, err))
		return TD_FAIL;
	if (!td_gtid_parse(&b, wanted, err))
	{
		td_gtid_free(&a);
		return TD_FAIL;
	}
	*covers = true;
	for (uint32_t i = 0; i < b.n; i++)
		*covers = *covers && td_gtid_covers(&a, &b.v[i]);
	td_gtid_free(&a);
	td_gtid_free(&b);
	return TD_OK;
}

/* A place in the binlog's files. */
typedef struct FilePosition
{
	char		file[300];
	unsigned long long offset;
} FilePosition;

/* Is a at b or after it?  Files are numbered, with at least six digits. */
static bool
at_or_after(const FilePosition *a, const FilePosition *b)
{
	size_t		la = strlen(a->file);
	size_t		lb = strlen(b->file);
	int			c = la != lb ? (la < lb ? -1 : 1) : strcmp(a->file, b->file);

	return c > 0 || (c == 0 && a->offset >= b->offset);
}

/* The end of the binlog; what it holds up to there is in *gtids, which is read first. */
static bool
binlog_end(TdConn *conn, MYSQL *mysql, char *gtids, size_t size, FilePosition *end, TdError *err)
{
	MYSQL_RES  *res;
	MYSQL_ROW	row;

	if (!td_my_value(mysql, gtids, size, err, "SELECT @@gtid_binlog_pos"))
		return false;
	res = td_my_query(mysql, err, "SHOW MASTER STATUS");
	if (res == NULL)
	{
		if (strcmp(err->sqlstate, "42501") == 0)
			td_my_grant_hint(err, conn, "REPLICATION SLAVE, BINLOG MONITOR", "*.*");
		return false;
	}
	row = mysql_fetch_row(res);
	if (row)
	{
		snprintf(end->file, sizeof(end->file), "%s", row[0]);
		end->offset = strtoull(row[1], NULL, 10);
	}
	mysql_free_result(res);
	return row || td_my_check_binlog(mysql, err);
}

/* Starts a consistent snapshot; *at = its place in the binlog. */
static bool
start_snapshot(MYSQL *mysql, FilePosition *at, TdError *err)
{
	MYSQL_RES  *res;
	MYSQL_ROW	row;

	if (!td_my_run(mysql, err, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"))
		return false;
	res = td_my_query(mysql, err, "SHOW STATUS LIKE 'binlog\\_snapshot\\_%%'");
	if (res == NULL)
		return false;
	at->file[0] = '\0';
	while ((row = mysql_fetch_row(res)) != NULL)
	{
		if (strcasecmp(row[0], "Binlog_snapshot_file") == 0)
			snprintf(at->file, sizeof(at->file), "%s", row[1]);
		else if (strcasecmp(row[0], "Binlog_snapshot_position") == 0)
			at->offset = strtoull(row[1], NULL, 10);
	}
	mysql_free_result(res);
	return at->file[0] || td_my_check_binlog(mysql, err) ||
		td_error_set(err, "55000", "the source does not say where its snapshots stand in the binlog");
}

/* The GTID set of a place in the binlog; the source reads the file up to there. */
static bool
gtids_at(MYSQL *mysql, const FilePosition *at, char *gtids, size_t size, TdError *err)
{
	char		sql[800];
	char		file[610];

	mysql_real_escape_string(mysql, file, at->file, (unsigned long) strlen(at->file));
	snprintf(sql, sizeof(sql), "SELECT BINLOG_GTID_POS('%s', %llu)", file, at->offset);
	return td_my_value(mysql, gtids, size, err, sql);
}

/* Gives the canonical form of what the source said. */
static bool
canonical(const char *gtids, char **position, TdError *err)
{
	TdGtidSet	set;
	TdBuffer	b = {0};
	char	   *text;

	if (!td_gtid_parse(&set, gtids, err))
		return false;
	text = td_gtid_text(&set, &b);
	*position = text ? strdup(text) : NULL;
	td_gtid_free(&set);
	td_buffer_free(&b);
	return *position || td_error_set(err, "53200", "out of memory");
}

/* Where the source ends now: all of it is visible to reads that begin later, and covers all that reads before have seen. */
bool
td_my_take_position(TdConn *conn, MYSQL *mysql, char **position, TdError *err)
{
	char		gtids[8192];
	FilePosition end = {""};
	FilePosition at = {""};
	bool		ok = binlog_end(conn, mysql, gtids, sizeof(gtids), &end, err);

	for (int i = 0; ok && i < VISIBLE_TRIES; i++)
	{
		struct timespec pause = {0, 1000000};

		ok = start_snapshot(mysql, &at, err);
		td_my_run(mysql, &(TdError) {0}, "COMMIT");
		if (!ok || at_or_after(&at, &end))
			return ok && canonical(gtids, position, err);
		nanosleep(&pause, NULL);
	}
	return ok && gtids_at(mysql, &at, gtids, sizeof(gtids), err) && canonical(gtids, position, err);
}

/*
 * Starts a consistent snapshot, which stays open, and gives its position.  It must be exact, since rows without a key
 * can't be applied twice: only the binlog itself tells it.
 */
bool
td_my_take_snapshot(MYSQL *mysql, char **position, TdError *err)
{
	char		gtids[8192];
	FilePosition at = {""};

	return start_snapshot(mysql, &at, err) && gtids_at(mysql, &at, gtids, sizeof(gtids), err) &&
		canonical(gtids, position, err);
}

/* The connector's position(). */
TdStatus
td_my_position(TdConn *conn, char **position, TdError *err)
{
	MYSQL	   *mysql = td_my_session(conn, err);

	*position = NULL;
	return mysql && td_my_take_position(conn, mysql, position, err) ? TD_OK : TD_FAIL;
}
