/*-------------------------------------------------------------------------
 *
 * position.c
 *		Positions: which tick each view is at.
 *
 * NOTES
 *		"7312/16384/16390 17001:5,17010:2": the home of the database (its system,
 *		database and extension), then for each view its oid and tick, by oid.  By
 *		oid, since a view that was dropped and made again counts from 0.
 *
 *		A stream's positions have the views that it follows, the source's present
 *		position all that can be read: one covers another where it is as far in
 *		each view that both have.
 *
 * connectors/tapdata/position.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "tapdata_internal.h"

/* Takes a number and what follows it. */
static bool
take_number(const char **p, uint64_t most, uint64_t *to)
{
	size_t		len = strspn(*p, "0123456789");
	char	   *end;

	if (len == 0 || len > 19 || (len > 1 && **p == '0'))
		return false;
	*to = strtoull(*p, &end, 10);
	*p = end;
	return *to <= most;
}

/* The home: three numbers. */
static bool
take_home(const char **p, char home[TD_TP_HOME])
{
	size_t		len = strspn(*p, "0123456789/");

	if (len == 0 || len >= TD_TP_HOME)
		return false;
	memcpy(home, *p, len);
	home[len] = '\0';
	*p += len;
	return true;
}

/* One view; they come in the order of their oids. */
static bool
take_entry(TdTpPosition *position, const char **p)
{
	TdTpEntry  *e = &position->v[position->n];
	uint64_t	view;
	uint64_t	tick;

	if (!take_number(p, UINT32_MAX, &view) || *(*p)++ != ':' || !take_number(p, INT64_MAX, &tick))
		return false;
	if (position->n > 0 && view <= e[-1].view)
		return false;
	e->view = (uint32_t) view;
	e->tick = (int64_t) tick;
	position->n++;
	return true;
}

bool
td_tp_position_read(TdTpPosition *position, const char *text, TdError *err)
{
	const char *p = text;
	size_t		most = 1;
	bool		good;

	memset(position, 0, sizeof(*position));
	for (const char *c = text; *c; c++)
		most += *c == ':';
	position->v = calloc(most, sizeof(TdTpEntry));
	if (position->v == NULL)
		return td_error_set(err, "53200", "out of memory");
	good = take_home(&p, position->home) && strchr(position->home, '/');
	while (good && *p)
		good = *p++ == (position->n ? ',' : ' ') && position->n < most && take_entry(position, &p);
	if (good)
		return true;
	td_error_set(err, "22P02", "invalid position: \"%.100s\"", text);
	td_error_hint(err, "A position of this connector is a database and a list of views and ticks, \"7312/16384/16390 17001:5,17010:2\".");
	td_tp_position_free(position);
	return false;
}

/* Views and ticks of another database say nothing here. */
bool
td_tp_position_is_here(const TdConn *conn, const TdTpPosition *p, TdError *err)
{
	if (strcmp(conn->home, p->home) == 0)
		return true;
	td_error_set(err, "55000", "the source is another database than the one that was loaded, or its extension tapdata was made anew");
	td_error_detail(err, "The position is of %s, the source is %s.", p->home, conn->home);
	return td_tp_reload_hint(err, "Set the connection back, if it was changed by mistake.");
}

const TdTpEntry *
td_tp_position_find(const TdTpPosition *p, uint32_t view)
{
	for (uint32_t low = 0, high = p->n; low < high;)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (p->v[middle].view == view)
			return &p->v[middle];
		if (p->v[middle].view < view)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

void
td_tp_position_write(const TdTpPosition *p, TdBuffer *to)
{
	char		text[64];

	td_buffer_reset(to);
	td_buffer_append(to, p->home, strlen(p->home));
	for (uint32_t i = 0; i < p->n; i++)
	{
		snprintf(text, sizeof(text), "%c%u:%lld", i ? ',' : ' ', p->v[i].view, (long long) p->v[i].tick);
		td_buffer_append(to, text, strlen(text));
	}
	td_buffer_append(to, "", 1);
}

void
td_tp_position_free(TdTpPosition *p)
{
	free(p->v);
	p->v = NULL;
	p->n = 0;
}

/* Where all views are that we may read.  view_tick() has them on disk before it tells; all are of one snapshot. */
TdStatus
td_tp_position(TdConn *conn, char **position, TdError *err)
{
	PGresult   *res = NULL;

	if (td_tp_session(conn, err))
		res = td_tp_query(conn, err, "SELECT concat(tapdata.home(), ' ' || string_agg(view::oid || ':' || tapdata.view_tick(view), ',' ORDER BY view::oid)) "
						  "FROM tapdata.feeds WHERE tick IS NOT NULL", 0, NULL);
	if (res == NULL)
		return TD_FAIL;
	*position = strdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	if (*position)
		return TD_OK;
	td_error_set(err, "53200", "out of memory");
	return TD_FAIL;
}

TdStatus
td_tp_position_covers(const char *reached, const char *wanted, bool *covers, TdError *err)
{
	TdTpPosition have;
	TdTpPosition want;

	if (!td_tp_position_read(&have, reached, err))
		return TD_FAIL;
	if (!td_tp_position_read(&want, wanted, err))
	{
		td_tp_position_free(&have);
		return TD_FAIL;
	}
	*covers = strcmp(have.home, want.home) == 0;
	for (uint32_t i = 0; i < want.n; i++)
	{
		const TdTpEntry *e = td_tp_position_find(&have, want.v[i].view);

		*covers = *covers && (e == NULL || e->tick >= want.v[i].tick);
	}
	td_tp_position_free(&have);
	td_tp_position_free(&want);
	return TD_OK;
}
