/*-------------------------------------------------------------------------
 *
 * case_snapshot.c
 *		Discovering tables; reading one, whole, in part and from a cursor.
 *
 * connectors/tck/case_snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include "tck_internal.h"

/* What was read of a table. */
typedef struct Reading
{
	uint64_t	rows;
	uint64_t	damaged;		/* rows that do not decode */
	uint64_t	not_utf8;
	uint64_t	digest;			/* of all rows, in order */
	uint64_t	since_chunk;	/* bytes */
	uint64_t	most_between;	/* most bytes between two cursors */
	bool		schema_first;
	bool		ended;
	bool		strange;		/* a record that has no place in a snapshot */
	char		cursor[1024];	/* the first one ... */
	uint64_t	digest_after;	/* ... and the rows behind it */
	uint64_t	rows_after;
	TdSchema   *schema;
} Reading;

/* FNV-1a, going on from `digest`. */
static uint64_t
digest_bytes(uint64_t digest, TdBytes bytes)
{
	for (uint32_t i = 0; i < bytes.len; i++)
		digest = (digest ^ bytes.data[i]) * 0x100000001b3u;
	return digest;
}

/* Decodes a row, and tests its texts. */
static void
judge_row(Reading *r, TdBytes row)
{
	TdValue    *values = r->schema ? calloc(r->schema->ncolumns + 1, sizeof(TdValue)) : NULL;

	if (values == NULL || !td_read_row(r->schema, row, values))
		r->damaged++;
	else
		for (uint32_t i = 0; i < r->schema->ncolumns; i++)
		{
			TdType		type = r->schema->columns[i].type;

			if ((type == TD_TEXT || type == TD_JSON) && values[i].state == TD_VALUE &&
				!td_utf8_valid(values[i].bytes.data, values[i].bytes.len))
				r->not_utf8++;
		}
	free(values);
}

/* Takes one record of a snapshot. */
static void
take_record(Reading *r, const TdRecord *rec)
{
	switch (rec->op)
	{
		case TD_OP_SCHEMA:
			r->schema_first = r->rows == 0;
			free(r->schema);
			r->schema = td_schema_read(rec);
			break;
		case TD_OP_INSERT:
			judge_row(r, rec->new_row);
			r->rows++;
			r->digest = digest_bytes(r->digest, rec->new_row);
			r->since_chunk += rec->whole.len;
			if (r->since_chunk > r->most_between)
				r->most_between = r->since_chunk;
			if (r->cursor[0])
			{
				r->rows_after++;
				r->digest_after = digest_bytes(r->digest_after, rec->new_row);
			}
			break;
		case TD_OP_CHUNK:
			r->since_chunk = 0;
			if (r->cursor[0] == '\0')
				snprintf(r->cursor, sizeof(r->cursor), "%.*s", (int) rec->text.len, (const char *) rec->text.data);
			break;
		case TD_OP_END:
			r->ended = true;
			break;
		default:
			r->strange = true;
	}
}

/* Reads to the end; false = an error, or a call that took too long. */
static bool
read_to_end(Tck *tck, TdConn *conn, Reading *r, TdError *err)
{
	TdStatus	status = TD_OK;
	TdBuffer	out = {0};
	bool		slow = false;

	while (status != TD_DONE && status != TD_FAIL && !slow)
	{
		long long	from = tck_now_ms();
		TdReader	reader;
		TdRecord	rec;

		td_buffer_reset(&out);
		status = tck->api.snapshot_read(conn, TCK_TIMEOUT_MS, &out, err);
		slow = tck_now_ms() - from > TCK_TIMEOUT_MS + 1000;
		reader = (TdReader) {out.data, out.data + out.len};
		while (td_read_record(&reader, &rec) == 1)
			take_record(r, &rec);
		r->strange = r->strange || reader.p != reader.end || out.failed;
	}
	td_buffer_free(&out);
	if (slow)
		td_error_set(err, "XX000", "a call of snapshot_read took longer than its time and a second");
	return status == TD_DONE && !slow;
}

/* Opens, reads, closes. */
static bool
read_table(Tck *tck, const char *cursor, int64_t limit, Reading *r, char **position)
{
	TdTableRef	table = {tck->schema->database, tck->schema->table, ""};
	TdConn	   *conn;
	TdError		err;
	bool		good;

	memset(r, 0, sizeof(*r));
	*position = NULL;
	if (!tck_open(tck, &conn, &err))
	{
		tck_note(&err);
		return false;
	}
	good = tck->api.snapshot_start(conn, &table, cursor, limit, position, &err) != TD_FAIL && read_to_end(tck, conn, r, &err);
	if (!good)
		tck_note(&err);
	tck->api.close(conn);
	return good;
}

typedef struct Found
{
	Tck		   *tck;
	int			n;
	int			improper;
} Found;

/* One table of discover. */
static void
take_table(void *arg, const TdTableInfo *info)
{
	Found	   *found = arg;
	const TdSchema *s = info->schema;

	found->n++;
	found->improper += s->table == NULL || s->table[0] == '\0' || s->ncolumns == 0;
	for (uint32_t i = 0; i < s->ncolumns; i++)
		found->improper += s->columns[i].name == NULL || s->columns[i].type < TD_BOOL || s->columns[i].type > TD_UUID;
	if (found->tck->schema == NULL && info->problem.sqlstate[0] == '\0' &&
		(found->tck->table == NULL || strcmp(found->tck->table, s->table) == 0))
		found->tck->schema = td_schema_copy(s);
}

/* Tables, and none for a pattern that matches none. */
void
tck_case_discover(Tck *tck)
{
	Found		all = {tck};
	Found		none = {tck};
	TdConn	   *conn;
	TdError		err;

	if ((tck->api.caps & TD_CAP_SNAPSHOT) == 0)
	{
		tck_skip("discover", "no capability \"snapshot\"");
		return;
	}
	if (!tck_open(tck, &conn, &err))
		return;
	if (!tck_ok(tck->api.discover(conn, "*", take_table, &all, &err) == TD_OK, "discover: runs"))
		tck_note(&err);
	tck_ok(all.n > 0 && all.improper == 0, "discover: %d tables, properly described", all.n);
	tck_ok(tck->schema != NULL, "discover: one of them is fit for the cases below");
	tck_ok(tck->api.discover(conn, "no such table at all?", take_table, &none, &err) == TD_OK && none.n == 0,
		   "discover: none for a pattern without a match");
	tck->api.close(conn);
}

/* From the first cursor on: the same rows again. */
static void
resume(Tck *tck, const Reading *whole)
{
	Reading		rest;
	char	   *position;

	if (whole->cursor[0] == '\0')
	{
		tck_ok(whole->rows == 0, "snapshot: a keyed table has cursors");
		return;
	}
	tck_ok(read_table(tck, whole->cursor, -1, &rest, &position), "snapshot: resumed from a cursor");
	tck_ok(rest.rows == whole->rows_after && rest.digest == whole->digest_after,
		   "snapshot: with the %llu rows behind it, each once, in order (%llu)", (unsigned long long) whole->rows_after,
		   (unsigned long long) rest.rows);
	free(position);
	free(rest.schema);
}

/* The whole table. */
static void
judge_reading(Tck *tck, const Reading *r)
{
	tck_ok(r->schema && r->schema_first && td_schema_equal(r->schema, tck->schema), "snapshot: SCHEMA first, as discovered");
	tck_ok(r->ended && !r->strange, "snapshot: END last, and nothing that has no place");
	tck_ok(r->damaged == 0, "snapshot: all %llu rows decode", (unsigned long long) r->rows);
	tck_ok(r->not_utf8 == 0, "snapshot: all texts are UTF-8");
}

void
tck_case_snapshot(Tck *tck)
{
	Reading		r;
	char	   *position;

	if (tck->schema == NULL)
	{
		tck_skip("snapshot", "no table");
		return;
	}
	if (tck_ok(read_table(tck, "", -1, &r, &position), "snapshot: \"%s\" is read", tck->schema->table))
	{
		judge_reading(tck, &r);
		if (tck->schema->nkeys > 0)
		{
			tck_ok(position == NULL, "snapshot: a keyed table has no position");
			tck_ok(r.most_between < (4u << 20), "snapshot: a cursor every megabyte or so");
			resume(tck, &r);
		}
		else if (tck->api.caps & TD_CAP_STREAM)
			tck_ok(position && position[0], "snapshot: a keyless table has a position");
	}
	free(position);
	free(r.schema);
	if (tck_ok(read_table(tck, "", 2, &r, &position), "snapshot: with a limit"))
		tck_ok(r.rows <= 2 && r.ended, "snapshot: which is kept");
	free(position);
	free(r.schema);
}
