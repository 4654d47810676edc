/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *		Damaged bytes and statements of all kinds, under ASan and UBSan.
 *
 * NOTES
 *		fuzz FILE SECONDS SEED name=value ...
 *
 *		Reads the events of a real binlog file, with its tables described by the
 *		live server, then decodes them again and again with bytes flipped,
 *		lengths changed and ends cut.  Nothing is expected of a damaged event
 *		but an error or a row: no read or write out of bounds, no leak, no
 *		endless loop, and no record that td_read_record finds damaged.  Before,
 *		a table of statements is classified.  Prints TAP.
 *
 * connectors/mysql/test/fuzz.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../mysql_internal.h"

#define MAX_EVENTS 20000

static int	tests;
static int	failures;

static void
ok(bool good, const char *what)
{
	printf("%s %d - %s\n", good ? "ok" : "not ok", ++tests, what);
	failures += !good;
}

/* ---- statements ---- */

static const struct
{
	TdMyStatement kind;
	uint32_t	table;			/* t = 1, u = 2, second.t = 3 */
	const char *text;
}			statements[] =
{
	{TD_MY_HARMLESS, 0, ""}, {TD_MY_HARMLESS, 0, "BEGIN"}, {TD_MY_COMMIT, 0, "COMMIT"}, {TD_MY_COMMIT, 0, " commit /* x */ "},
	{TD_MY_ROLLBACK, 0, "ROLLBACK"}, {TD_MY_ROLLBACK_TO, 0, "ROLLBACK TO `s`"}, {TD_MY_HARMLESS, 0, "SAVEPOINT `s`"},
	{TD_MY_TRUNCATE, 1, "TRUNCATE t"}, {TD_MY_TRUNCATE, 1, "truncate table `t`"}, {TD_MY_TRUNCATE, 3, "TRUNCATE TABLE second.t"},
	{TD_MY_TRUNCATE, 3, "TRUNCATE second . `t` WAIT 5"}, {TD_MY_HARMLESS, 0, "TRUNCATE other"}, {TD_MY_TRUNCATE, 1, "-- c\n# d\nTRUNCATE /* e */ t"},
	{TD_MY_TRUNCATE, 1, "/*!40000 TRUNCATE TABLE t */"}, {TD_MY_TRUNCATE, 1, "/*M!100100 TRUNCATE */ t"},
	{TD_MY_TRUNCATE, 1, "SET STATEMENT max_statement_time=(1+1), x='FOR' FOR TRUNCATE TABLE t"},
	{TD_MY_HARMLESS, 0, "SET PASSWORD FOR x@y = 't'"},
	{TD_MY_DDL, 1, "ALTER TABLE t ADD c int"}, {TD_MY_DDL, 1, "ALTER ONLINE IGNORE TABLE IF EXISTS shop.t DROP c"},
	{TD_MY_DDL, 2, "ALTER TABLE other RENAME u"}, {TD_MY_DDL, 2, "ALTER TABLE other RENAME TO shop.u"}, {TD_MY_DDL, 2, "ALTER TABLE other RENAME AS `u`"},
	{TD_MY_HARMLESS, 0, "ALTER TABLE other RENAME COLUMN a TO b"}, {TD_MY_HARMLESS, 0, "ALTER TABLE other RENAME INDEX a TO b"},
	{TD_MY_DDL, 1, "ALTER TABLE other EXCHANGE PARTITION p WITH TABLE t"}, {TD_MY_DDL, 1, "ALTER TABLE t TRUNCATE PARTITION p"},
	{TD_MY_HARMLESS, 0, "ALTER TABLE t DISABLE KEYS"}, {TD_MY_HARMLESS, 0, "/*!40000 ALTER TABLE `t` ENABLE KEYS */"},
	{TD_MY_HARMLESS, 0, "ALTER DATABASE shop CHARACTER SET utf8mb4"}, {TD_MY_HARMLESS, 0, "ALTER VIEW t AS SELECT 1"},
	{TD_MY_HARMLESS, 0, "ALTER TABLE other ADD c varchar(9) DEFAULT 'RENAME TO t'"}, {TD_MY_HARMLESS, 0, "ALTER TABLE other COMMENT \"x' RENAME TO t\""},
	{TD_MY_DDL, 1, "DROP TABLE t"}, {TD_MY_DDL, 2, "DROP TABLE IF EXISTS a, `b`, shop.u, t"}, {TD_MY_HARMLESS, 0, "DROP TEMPORARY TABLE IF EXISTS t"},
	{TD_MY_HARMLESS, 0, "DROP TABLE `a,t`"}, {TD_MY_DDL, 1, "DROP DATABASE shop"}, {TD_MY_DDL, 3, "DROP SCHEMA IF EXISTS `second`"},
	{TD_MY_HARMLESS, 0, "DROP DATABASE third"}, {TD_MY_HARMLESS, 0, "DROP INDEX t ON other"}, {TD_MY_HARMLESS, 0, "DROP VIEW t"},
	{TD_MY_HARMLESS, 0, "DROP TRIGGER t"}, {TD_MY_DDL, 1, "RENAME TABLE a TO b, t TO c"}, {TD_MY_DDL, 1, "RENAME TABLE a TO t"},
	{TD_MY_DDL, 1, "rename tables if exists a to b, b to shop.t"}, {TD_MY_HARMLESS, 0, "RENAME USER t TO u"},
	{TD_MY_DDL, 1, "CREATE TABLE t (a int)"}, {TD_MY_HARMLESS, 0, "CREATE TABLE IF NOT EXISTS t (a int)"}, {TD_MY_DDL, 1, "CREATE OR REPLACE TABLE t (a int)"},
	{TD_MY_HARMLESS, 0, "CREATE TEMPORARY TABLE t (a int)"}, {TD_MY_HARMLESS, 0, "CREATE OR REPLACE TEMPORARY TABLE t (a int)"},
	{TD_MY_HARMLESS, 0, "CREATE TABLE other AS SELECT * FROM t"}, {TD_MY_HARMLESS, 0, "CREATE UNIQUE INDEX x ON t (a)"},
	{TD_MY_HARMLESS, 0, "CREATE OR REPLACE VIEW t AS SELECT 1"}, {TD_MY_DDL, 1, "CREATE OR REPLACE DATABASE shop"}, {TD_MY_HARMLESS, 0, "CREATE DATABASE shop"},
	{TD_MY_DML, 1, "INSERT INTO t VALUES (1)"}, {TD_MY_DML, 1, "insert low_priority ignore `shop`.`t` set a = 1"}, {TD_MY_DML_OTHER, 0, "INSERT INTO other SELECT * FROM t"},
	{TD_MY_DML, 2, "REPLACE DELAYED u VALUES (1)"}, {TD_MY_DML, 2, "UPDATE other o JOIN u SET o.a = 1"}, {TD_MY_DML_OTHER, 0, "UPDATE other SET a = 'u' WHERE t = 1"},
	{TD_MY_DML, 1, "DELETE FROM t WHERE u = 1"}, {TD_MY_DML, 1, "DELETE x FROM t x JOIN other"}, {TD_MY_DML_OTHER, 0, "DELETE FROM other WHERE t = 1"},
	{TD_MY_DML, 1, "LOAD DATA INFILE '/tmp/t' REPLACE INTO TABLE `t` FIELDS TERMINATED BY ','"}, {TD_MY_DML_OTHER, 0, "LOAD DATA INFILE 'x' INTO TABLE other"},
	{TD_MY_HARMLESS, 0, "GRANT SELECT ON t TO x"}, {TD_MY_HARMLESS, 0, "FLUSH TABLES t"}, {TD_MY_HARMLESS, 0, "OPTIMIZE TABLE t"}, {TD_MY_HARMLESS, 0, "XA COMMIT X'74',X'',1"},
	{TD_MY_DDL, 1, "FROBNICATE TABLE t"}, {TD_MY_HARMLESS, 0, "FROBNICATE TABLE other"}, {TD_MY_DDL, 3, "WITHDRAW `second`.`t`"},
	{TD_MY_HARMLESS, 0, "# Dummy event replacing event type 160 that slave cannot handle."},
};

/* t and u in shop, t in second. */
static uint32_t
find(void *arg, const char *database, const char *table)
{
	if (strcmp(database, "shop") == 0)
		return table == NULL || strcmp(table, "t") == 0 ? 1 : strcmp(table, "u") == 0 ? 2 : 0;
	return strcmp(database, "second") == 0 && (table == NULL || strcmp(table, "t") == 0) ? 3 : 0;
}

static void
test_statements(void)
{
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
	{
		uint32_t	table;
		TdMyStatement kind = td_my_classify(statements[i].text, strlen(statements[i].text), "shop", false, find, NULL, &table);

		ok(kind == statements[i].kind && (kind == TD_MY_HARMLESS || table == statements[i].table), statements[i].text[0] ? statements[i].text : "(nothing)");
	}
	{
		uint32_t	table;
		const char *text = "TRUNCATE \"t\"";

		ok(td_my_classify(text, strlen(text), "shop", true, find, NULL, &table) == TD_MY_TRUNCATE, "ANSI quotes");
		ok(td_my_classify(text, strlen(text), "shop", false, find, NULL, &table) == TD_MY_HARMLESS, "the same text as a string");
	}
}

/* ---- events ---- */

static TdBytes events[MAX_EVENTS];
static int	nevents;
static TdMyTables tables;
static uint64_t decoded;
static uint64_t refused;

/* Reads the events of a binlog file, their checksums cut off: packets as a dump sends them. */
static bool
read_file(const char *path)
{
	FILE	   *f = fopen(path, "rb");
	uint8_t		head[19];

	if (f == NULL || fseek(f, 4, SEEK_SET) != 0)
		return false;
	while (nevents < MAX_EVENTS && fread(head, 19, 1, f) == 1)
	{
		uint32_t	size = (uint32_t) td_little(head + 9, 4);
		uint8_t    *p = malloc(size + 1);

		p[0] = 0;
		memcpy(p + 1, head, 19);
		if (size < 23 || fread(p + 20, size - 19, 1, f) != 1)
		{
			free(p);
			break;
		}
		size -= 4;
		memcpy(p + 10, &size, 4);
		events[nevents].data = p;
		events[nevents++].len = size + 1;
	}
	fclose(f);
	return true;
}

/* Reads back what was written: whole records only. */
static bool
sound(const TdBuffer *b)
{
	TdReader	r = {b->data, b->data + b->len};
	TdRecord	rec;
	int			rc;

	while ((rc = td_read_record(&r, &rec)) == 1)
		;
	return rc == 0;
}

/* Decodes a TABLE_MAP and the row event behind it, as stream.c does. */
static bool
decode(TdBytes map_packet, TdBytes rows_packet, TdMyLayout *layout, TdMyPut *put, TdBuffer *inflated)
{
	TdMyEvent	event;
	TdMyTableMap map;
	TdMyTable  *t = NULL;
	TdMyRowsEvent rows;
	TdError		err;
	uint64_t	n = 0;
	bool		good;

	if (!td_my_read_event(map_packet, false, &event, &err) || event.type != 19 || !td_my_read_table_map(&event, &map, &err))
		return true;
	for (uint32_t i = 0; i < tables.n; i++)
		if (map.table.len == strlen(tables.v[i]->schema.table) && memcmp(map.table.data, tables.v[i]->schema.table, map.table.len) == 0)
			t = tables.v[i];
	if (t == NULL || !td_my_make_layout(t, &map, layout, &err))
		return true;
	if (!td_my_read_event(rows_packet, false, &event, &err) ||
		!((event.type >= 23 && event.type <= 25) || (event.type >= 30 && event.type <= 32) || (event.type >= 166 && event.type <= 171)) ||
		!td_my_read_rows(&event, inflated, &rows, &err))
		return true;
	t->schema.table_id = 1;
	td_buffer_reset(put->out);
	good = td_my_write_rows(put, t, layout, &rows, &n, &err);
	decoded += n;
	refused += !good;
	return (good || err.sqlstate[0]) && sound(put->out);
}

/* A damaged copy of a packet, in memory of exactly its size. */
static TdBytes
damage(TdBytes packet, bool often)
{
	TdBytes		b = {malloc(packet.len), packet.len};
	uint8_t    *p = (uint8_t *) b.data;
	int			n = rand() % 3 == 0 ? 0 : 1 + rand() % (often ? 8 : 2);

	memcpy(p, packet.data, packet.len);
	for (int i = 0; i < n; i++)
	{
		size_t		at = 20 + (size_t) rand() % (b.len > 200 && rand() % 2 ? 180 : b.len - 20);

		p[at < b.len ? at : b.len - 1] = rand() % 2 ? (uint8_t) rand() : (uint8_t) (p[at < b.len ? at : b.len - 1] ^ 1 << rand() % 8);
	}
	if (rand() % 8 == 0)
	{
		b.len = 20 + (uint32_t) rand() % (b.len - 19);
		p = realloc(p, b.len);
		b.data = p;
	}
	memcpy(p + 10, &(uint32_t) {b.len - 1}, 4);
	return b;
}

static void
fuzz_events(int seconds)
{
	time_t		end = time(NULL) + seconds;
	TdMyLayout	layout = {0};
	TdBuffer	out = {0};
	TdMyPut		put = {.out = &out};
	TdBuffer	inflated = {0};
	uint64_t	rounds = 0;
	bool		good = true;

	while (good && time(NULL) < end)
		for (int i = 0; good && i + 1 < nevents; i++)
		{
			TdBytes		map = events[i];
			TdBytes		rows = events[i + 1];

			if (map.data[5] != 19)
				continue;
			if (rows.len > 100000 && rand() % 50)
				continue;
			map = damage(map, rand() % 4 == 0);
			rows = damage(rows, true);
			if (rand() % 4)
			{
				free((void *) map.data);
				map = events[i];
			}
			good = decode(map, rows, &layout, &put, &inflated);
			if (map.data != events[i].data)
				free((void *) map.data);
			free((void *) rows.data);
			rounds++;
		}
	ok(good && rounds > 100 && decoded > 100 && refused > 10, "damaged events");
	printf("# %llu events, %llu rows decoded, %llu refused\n", (unsigned long long) rounds, (unsigned long long) decoded, (unsigned long long) refused);
	free(layout.wires);
	td_buffer_free(&layout.seen);
	td_buffer_free(&out);
	td_buffer_free(&put.scratch);
	td_buffer_free(&inflated);
}

/* ---- texts ---- */

static void
fuzz_texts(int rounds)
{
	static const char alphabet[] = "tu`'\"\\/*!#-; .,()0159-x'=\nSETFORALTERTABLE";
	TdError		err;
	TdBuffer	sql = {0};

	for (int k = 0; k < rounds; k++)
	{
		const char *from = statements[rand() % (sizeof(statements) / sizeof(statements[0]))].text;
		size_t		len = strlen(from);
		char	   *text = malloc(len + 9);
		uint32_t	table;
		bool		covers;
		TdGtidSet	set;

		memcpy(text, from, len);
		for (int i = rand() % 6; i > 0 && len; i--)
			text[(size_t) rand() % len] = alphabet[(size_t) rand() % (sizeof(alphabet) - 1)];
		len = len && rand() % 3 == 0 ? (size_t) rand() % len : len;
		text = realloc(text, len + 1);
		td_my_classify(text, len, "shop", rand() % 2, find, NULL, &table);
		text[len] = '\0';
		td_my_position_covers(text, "0-1-1", &covers, &err);
		if (td_gtid_parse(&set, text, &err))
			td_gtid_free(&set);
		td_buffer_reset(&sql);
		td_my_cursor_where(tables.v[(uint32_t) rand() % tables.n], text, &sql, &err);
		free(text);
	}
	td_buffer_free(&sql);
	ok(true, "damaged statements, positions and cursors");
}

int
main(int argc, char **argv)
{
	const char *names[32];
	const char *values[32];
	TdConfig	config = {0, names, values};
	TdConn	   *conn;
	TdError		err = {0};

	srand((unsigned) atoi(argv[3]));
	for (int i = 4; i < argc; i++)
	{
		char	   *eq = strchr(argv[i], '=');

		*eq = '\0';
		names[config.n] = argv[i];
		values[config.n++] = eq + 1;
	}
	test_statements();
	ok(td_connector_entry()->open(NULL, &config, &conn, &err) == TD_OK, "connected");
	if (conn == NULL || !td_my_load_tables(conn, "shop", NULL, true, &tables, &err) || tables.n == 0)
	{
		printf("Bail out! %s\n", err.message);
		return 1;
	}
	ok(read_file(argv[1]) && nevents > 10, "events read");
	fuzz_events(atoi(argv[2]));
	fuzz_texts(20000);
	td_my_free_tables(&tables);
	td_connector_entry()->close(conn);
	for (int i = 0; i < nevents; i++)
		free((void *) events[i].data);
	printf("1..%d\n", tests);
	return failures != 0;
}
