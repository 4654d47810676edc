/*-------------------------------------------------------------------------
 *
 * case_stream.c
 *		Positions, streaming, resuming.
 *
 * connectors/tck/case_stream.c
 *
 *-------------------------------------------------------------------------
 */
#include "tck_internal.h"

#define COMMITS_MAX 200
#define STREAM_MS 5000

/* What was streamed, up to COMMITS_MAX transactions. */
typedef struct Streamed
{
	int			commits;
	char	   *positions[COMMITS_MAX];
	uint64_t	digests[COMMITS_MAX];	/* of the rows of each */
	uint64_t	digest;
	uint64_t	rows;
	bool		no_schema;		/* a row before the schema of its table */
	bool		damaged;
	bool		slow;
	uint32_t	tables[64];		/* whose schema was seen */
	uint32_t	ntables;
} Streamed;

/* Has the schema of the table been seen? */
static bool
known(const Streamed *s, uint32_t table)
{
	for (uint32_t i = 0; i < s->ntables; i++)
		if (s->tables[i] == table)
			return true;
	return false;
}

/* Takes one record of a stream. */
static void
take_record(Streamed *s, const TdRecord *rec)
{
	TdBytes		rows[2] = {rec->old_row, rec->new_row};

	if (rec->op == TD_OP_SCHEMA && s->ntables < 64)
		s->tables[s->ntables++] = rec->table;
	if (rec->op >= TD_OP_INSERT && rec->op <= TD_OP_DELETE)
	{
		s->no_schema = s->no_schema || !known(s, rec->table);
		s->rows++;
		for (int i = 0; i < 2; i++)
			for (uint32_t k = 0; k < rows[i].len; k++)
				s->digest = (s->digest ^ rows[i].data[k]) * 0x100000001b3u;
	}
	if (rec->op == TD_OP_COMMIT && s->commits < COMMITS_MAX)
	{
		s->positions[s->commits] = strndup((const char *) rec->position.data, rec->position.len);
		s->digests[s->commits++] = s->digest;
		s->digest = 0;
	}
}

/* Streams the table from a position until enough transactions have come, or time is up. */
static bool
stream_from(Tck *tck, const char *position, int commits, Streamed *s, TdError *err)
{
	TdTableRef	table = {tck->schema->database, tck->schema->table, ""};
	long long	until = tck_now_ms() + STREAM_MS;
	TdBuffer	out = {0};
	TdStatus	status = TD_OK;
	TdConn	   *conn;

	memset(s, 0, sizeof(*s));
	if (!tck_open(tck, &conn, err))
		return false;
	if (tck->api.stream_start(conn, position, &table, 1, err) == TD_FAIL)
		status = TD_FAIL;
	while (status != TD_FAIL && s->commits < commits && tck_now_ms() < until)
	{
		long long	from = tck_now_ms();
		TdReader	r;
		TdRecord	rec;

		td_buffer_reset(&out);
		status = tck->api.stream_poll(conn, TCK_TIMEOUT_MS, &out, err);
		s->slow = s->slow || tck_now_ms() - from > TCK_TIMEOUT_MS + 1000;
		r = (TdReader) {out.data, out.data + out.len};
		while (td_read_record(&r, &rec) == 1)
			take_record(s, &rec);
		s->damaged = s->damaged || r.p != r.end || out.failed;
	}
	td_buffer_free(&out);
	tck->api.close(conn);
	return status != TD_FAIL;
}

/* Frees the positions. */
static void
streamed_free(Streamed *s)
{
	for (int i = 0; i < s->commits; i++)
		free(s->positions[i]);
}

/* Does a cover b? */
static bool
covers(Tck *tck, const char *a, const char *b)
{
	bool		result = false;
	TdError		err;

	return tck->api.position_covers(a, b, &result, &err) == TD_OK && result;
}

/* Where the source is, and comparing. */
void
tck_case_position(Tck *tck)
{
	char	   *first = NULL;
	char	   *second = NULL;
	bool		result;
	TdConn	   *conn;
	TdError		err;

	if ((tck->api.caps & TD_CAP_STREAM) == 0)
	{
		tck_skip("position", "no capability \"stream\"");
		return;
	}
	if (!tck_open(tck, &conn, &err))
		return;
	if (!tck_ok(tck->api.position(conn, &first, &err) == TD_OK && first && first[0], "position: there is one"))
		tck_note(&err);
	else if (tck_ok(tck->api.position(conn, &second, &err) == TD_OK && second, "position: and again"))
	{
		tck_ok(covers(tck, first, first), "position: it covers itself");
		tck_ok(covers(tck, second, first), "position: the later one covers the earlier one");
	}
	memset(&err, 0, sizeof(err));
	tck_ok(tck->api.position_covers("no position at all", first ? first : "", &result, &err) == TD_FAIL &&
		   strcmp(err.sqlstate, "22P02") == 0, "position: a text that is none is 22P02");
	tck->api.close(conn);
	free(first);
	free(second);
}

/* Going on after a transaction gives the next ones, the same as before. */
static void
resume(Tck *tck, const Streamed *whole)
{
	Streamed	rest;
	TdError		err;
	int			middle = whole->commits / 2;
	bool		same = true;

	if (!tck_ok(stream_from(tck, whole->positions[middle], whole->commits - middle - 1, &rest, &err), "stream: resumed"))
		tck_note(&err);
	for (int i = 0; i < rest.commits && middle + 1 + i < whole->commits; i++)
		same = same && rest.digests[i] == whole->digests[middle + 1 + i] &&
			strcmp(rest.positions[i], whole->positions[middle + 1 + i]) == 0;
	tck_ok(same && rest.commits >= whole->commits - middle - 1, "stream: with the same transactions, each once");
	streamed_free(&rest);
}

void
tck_case_stream(Tck *tck)
{
	Streamed	s;
	char	   *position = NULL;
	bool		ordered = true;
	TdConn	   *conn;
	TdError		err;

	if ((tck->api.caps & TD_CAP_STREAM) == 0 || tck->schema == NULL)
	{
		tck_skip("stream", "no capability \"stream\", or no table");
		return;
	}
	if (tck->position)
		position = strdup(tck->position);
	else if (tck_open(tck, &conn, &err))
	{
		(void) tck->api.position(conn, &position, &err);
		tck->api.close(conn);
	}
	if (!tck_ok(position && stream_from(tck, position, 50, &s, &err), "stream: runs from %s", position ? position : "(none)"))
	{
		tck_note(&err);
		free(position);
		return;
	}
	tck_ok(!s.slow, "stream: every poll returns within its time and a second");
	tck_ok(!s.damaged && !s.no_schema, "stream: %llu changes in %d transactions, each table's schema first",
		   (unsigned long long) s.rows, s.commits);
	for (int i = 0; i < s.commits; i++)
		ordered = ordered && covers(tck, s.positions[i], i ? s.positions[i - 1] : position);
	tck_ok(ordered, "stream: positions grow");
	if (s.commits > 2)
		resume(tck, &s);
	else
		tck_skip("stream: resumed", "the source made no changes; see --position");
	streamed_free(&s);
	free(position);
}
