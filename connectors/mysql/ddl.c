/*-------------------------------------------------------------------------
 *
 * ddl.c
 *		What a statement in the binlog means for the tables that are followed.
 *
 * NOTES
 *		Only so much SQL is read as tells which tables a statement changes:
 *		tokens, with the source's comments (executable ones are read as
 *		statement text), quotes of all kinds, and the names behind a few key
 *		words.  Where that is not enough the answer errs to the safe side: a
 *		statement of an unknown kind that mentions a followed table stops the
 *		pipeline, it is never passed over.
 *
 * connectors/mysql/ddl.c
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>

#include "mysql_internal.h"

#define NAME_SIZE 260			/* 64 characters of up to four bytes, and a NUL */

typedef enum TokenKind
{
	TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_STRING, TOKEN_OTHER
} TokenKind;

typedef struct Lexer
{
	const char *p;
	const char *end;
	bool		ansi_quotes;
	bool		executable;		/* inside an executable comment */
	TokenKind	kind;			/* of the token at hand */
	char		text[NAME_SIZE];	/* its text, without quotes; cut where it is longer */
} Lexer;

typedef struct Scan
{
	Lexer		lex;
	const char *database;
	TdMyFindFn	find;
	void	   *arg;
	uint32_t	table;			/* the followed table that was found, 0 = none */
} Scan;

/* A character that may stand in a name without quotes. */
static bool
is_word(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' || (unsigned char) c >= 0x80;
}

/* Skips a comment at p; an executable one is only entered. */
static bool
skip_comment(Lexer *x)
{
	const char *p = x->p;
	size_t		left = (size_t) (x->end - p);

	if (*p == '#' || (left >= 3 && p[0] == '-' && p[1] == '-' && isspace((unsigned char) p[2])) ||
		(left == 2 && p[0] == '-' && p[1] == '-'))
	{
		const char *nl = memchr(p, '\n', left);

		x->p = nl ? nl + 1 : x->end;
		return true;
	}
	if (left >= 2 && p[0] == '*' && p[1] == '/' && x->executable)
	{
		x->p += 2;
		x->executable = false;
		return true;
	}
	if (left < 2 || p[0] != '/' || p[1] != '*')
		return false;
	if (left >= 3 && (p[2] == '!' || (left >= 4 && p[2] == 'M' && p[3] == '!')))
	{
		x->p += p[2] == '!' ? 3 : 4;
		while (x->p < x->end && isdigit((unsigned char) *x->p))
			x->p++;
		x->executable = true;
		return true;
	}
	for (p += 2; p + 1 < x->end && !(p[0] == '*' && p[1] == '/'); p++)
		;
	x->p = p + 1 < x->end ? p + 2 : x->end;
	return true;
}

/* Reads a quoted token; doubled quotes stand for one, a backslash for the character behind it (not in names). */
static void
read_quoted(Lexer *x, char quote, bool name)
{
	size_t		n = 0;

	for (x->p++; x->p < x->end; x->p++)
	{
		if (*x->p == quote)
		{
			if (x->p + 1 >= x->end || x->p[1] != quote)
				break;
			x->p++;
		}
		else if (*x->p == '\\' && !name && x->p + 1 < x->end)
			x->p++;
		if (n < NAME_SIZE - 1)
			x->text[n++] = *x->p;
	}
	if (x->p < x->end)
		x->p++;
	x->text[n] = '\0';
	x->kind = name ? TOKEN_QUOTED : TOKEN_STRING;
}

/* Reads the next token. */
static void
next(Lexer *x)
{
	size_t		n = 0;

	while (x->p < x->end && (isspace((unsigned char) *x->p) || *x->p == '\0' || skip_comment(x)))
		if (x->p < x->end && (isspace((unsigned char) *x->p) || *x->p == '\0'))
			x->p++;
	x->text[0] = '\0';
	if (x->p >= x->end)
		x->kind = TOKEN_END;
	else if (*x->p == '`' || (*x->p == '"' && x->ansi_quotes))
		read_quoted(x, *x->p, true);
	else if (*x->p == '\'' || *x->p == '"')
		read_quoted(x, *x->p, false);
	else if (is_word(*x->p))
	{
		for (; x->p < x->end && is_word(*x->p); x->p++)
			if (n < NAME_SIZE - 1)
				x->text[n++] = *x->p;
		x->text[n] = '\0';
		x->kind = TOKEN_WORD;
	}
	else
	{
		x->text[0] = *x->p++;
		x->text[1] = '\0';
		x->kind = TOKEN_OTHER;
	}
}

/* Is the token at hand this key word? */
static bool
at(const Lexer *x, const char *word)
{
	return x->kind == TOKEN_WORD && strcasecmp(x->text, word) == 0;
}

/* Moves behind a key word, if it is there. */
static bool
accept(Lexer *x, const char *word)
{
	if (!at(x, word))
		return false;
	next(x);
	return true;
}

/* Is the token at hand this character? */
static bool
at_char(const Lexer *x, char c)
{
	return x->kind == TOKEN_OTHER && x->text[0] == c;
}

/* Reads "table" or "database.table" and notes it where it is followed; false = no name here. */
static bool
take_table(Scan *s)
{
	Lexer	   *x = &s->lex;
	char		first[NAME_SIZE];
	const char *database = s->database;
	uint32_t	found;

	if (at_char(x, '.'))
		next(x);
	if (x->kind != TOKEN_WORD && x->kind != TOKEN_QUOTED)
		return false;
	memcpy(first, x->text, sizeof(first));
	next(x);
	if (at_char(x, '.'))
	{
		next(x);
		if (x->kind != TOKEN_WORD && x->kind != TOKEN_QUOTED)
			return false;
		found = s->find(s->arg, first, x->text);
		next(x);
	}
	else
		found = s->find(s->arg, database, first);
	if (s->table == 0)
		s->table = found;
	return true;
}

/* Reads names separated by commas. */
static void
take_tables(Scan *s)
{
	while (take_table(s) && at_char(&s->lex, ','))
		next(&s->lex);
}

/* Notes every followed table mentioned from here to one of two key words, or to the end. */
static void
mention(Scan *s, const char *stop, const char *stop2)
{
	Lexer	   *x = &s->lex;

	while (x->kind != TOKEN_END && !at(x, stop) && !at(x, stop2))
		if (!take_table(s))
			next(x);
}

/* IF EXISTS, IF NOT EXISTS. */
static bool
accept_if(Lexer *x)
{
	if (!accept(x, "IF"))
		return false;
	accept(x, "NOT");
	accept(x, "EXISTS");
	return true;
}

/* What was found is a change of structure, or nothing of ours. */
static TdMyStatement
ddl_if_found(const Scan *s)
{
	return s->table ? TD_MY_DDL : TD_MY_HARMLESS;
}

/* DROP DATABASE, CREATE OR REPLACE DATABASE. */
static TdMyStatement
drop_database(Scan *s)
{
	accept_if(&s->lex);
	if (s->lex.kind == TOKEN_WORD || s->lex.kind == TOKEN_QUOTED)
		s->table = s->find(s->arg, s->lex.text, NULL);
	return ddl_if_found(s);
}

/* ALTER TABLE: any but the switching of keys; the new name and an exchanged table count as well. */
static TdMyStatement
alter(Scan *s)
{
	Lexer	   *x = &s->lex;

	accept(x, "ONLINE");
	accept(x, "IGNORE");
	if (!accept(x, "TABLE"))
		return TD_MY_HARMLESS;
	accept_if(x);
	if (!take_table(s))
		mention(s, "", "");
	if (at(x, "ENABLE") || at(x, "DISABLE"))
	{
		next(x);
		if (accept(x, "KEYS") && x->kind == TOKEN_END)
			return TD_MY_HARMLESS;
	}
	while (x->kind != TOKEN_END)
	{
		if (accept(x, "RENAME"))
		{
			bool		skip = at(x, "COLUMN") || at(x, "INDEX") || at(x, "KEY");

			if (accept(x, "TO") || accept(x, "AS") || !skip)
				take_table(s);
		}
		else if (accept(x, "WITH"))
		{
			if (accept(x, "TABLE"))
				take_table(s);
		}
		else
			next(x);
	}
	return ddl_if_found(s);
}

/* CREATE: of a followed table, unless it only makes sure that it is there. */
static TdMyStatement
create(Scan *s)
{
	Lexer	   *x = &s->lex;
	bool		replace = accept(x, "OR") && accept(x, "REPLACE");

	if (at(x, "TEMPORARY"))
		return TD_MY_HARMLESS;
	if (replace && (accept(x, "DATABASE") || accept(x, "SCHEMA")))
		return drop_database(s);
	if (!accept(x, "TABLE"))
		return TD_MY_HARMLESS;
	if (accept_if(x) && !replace)
		return TD_MY_HARMLESS;
	take_table(s);
	return ddl_if_found(s);
}

/* DROP TABLE, DROP DATABASE. */
static TdMyStatement
drop(Scan *s)
{
	Lexer	   *x = &s->lex;

	if (at(x, "TEMPORARY"))
		return TD_MY_HARMLESS;
	if (accept(x, "DATABASE") || accept(x, "SCHEMA"))
		return drop_database(s);
	if (!accept(x, "TABLE") && !accept(x, "TABLES"))
		return TD_MY_HARMLESS;
	accept_if(x);
	take_tables(s);
	return ddl_if_found(s);
}

/* RENAME TABLE a TO b, c TO d */
static TdMyStatement
rename_tables(Scan *s)
{
	if (!accept(&s->lex, "TABLE") && !accept(&s->lex, "TABLES"))
		return TD_MY_HARMLESS;
	mention(s, "", "");
	return ddl_if_found(s);
}

/* TRUNCATE [TABLE] t */
static TdMyStatement
truncate_table(Scan *s)
{
	accept(&s->lex, "TABLE");
	take_table(s);
	return s->table ? TD_MY_TRUNCATE : TD_MY_HARMLESS;
}

/* What was found is changed by a statement instead of by rows. */
static TdMyStatement
dml_if_found(const Scan *s)
{
	return s->table ? TD_MY_DML : TD_MY_DML_OTHER;
}

/* INSERT, REPLACE: the table behind INTO or the first name. */
static TdMyStatement
insert(Scan *s)
{
	Lexer	   *x = &s->lex;

	while (accept(x, "LOW_PRIORITY") || accept(x, "DELAYED") || accept(x, "HIGH_PRIORITY") || accept(x, "IGNORE"))
		;
	accept(x, "INTO");
	take_table(s);
	return dml_if_found(s);
}

/* LOAD DATA ... INTO TABLE t */
static TdMyStatement
load(Scan *s)
{
	Lexer	   *x = &s->lex;

	while (x->kind != TOKEN_END)
		if (accept(x, "INTO") && accept(x, "TABLE"))
		{
			take_table(s);
			break;
		}
		else
			next(x);
	return dml_if_found(s);
}

/* UPDATE a, b SET */
static TdMyStatement
update(Scan *s)
{
	mention(s, "SET", "SET");
	return dml_if_found(s);
}

/* DELETE FROM t WHERE */
static TdMyStatement
delete(Scan *s)
{
	mention(s, "WHERE", "RETURNING");
	return dml_if_found(s);
}

/* ROLLBACK, and ROLLBACK TO a savepoint. */
static TdMyStatement
rollback(Scan *s)
{
	accept(&s->lex, "WORK");
	return at(&s->lex, "TO") ? TD_MY_ROLLBACK_TO : TD_MY_ROLLBACK;
}

static TdMyStatement
commit(Scan *s)
{
	return TD_MY_COMMIT;
}

static TdMyStatement
harmless(Scan *s)
{
	return TD_MY_HARMLESS;
}

static const struct
{
	const char *word;
	TdMyStatement (*scan) (Scan *s);
}			statements[] =
{
	{"ALTER", alter}, {"ANALYZE", harmless}, {"BEGIN", harmless}, {"CHECK", harmless}, {"COMMIT", commit},
	{"CREATE", create}, {"DELETE", delete}, {"DROP", drop}, {"FLUSH", harmless}, {"GRANT", harmless},
	{"INSERT", insert}, {"LOAD", load}, {"OPTIMIZE", harmless}, {"RELEASE", harmless}, {"RENAME", rename_tables},
	{"REPAIR", harmless}, {"REPLACE", insert}, {"REVOKE", harmless}, {"ROLLBACK", rollback}, {"SAVEPOINT", harmless},
	{"SET", harmless}, {"START", harmless}, {"TRUNCATE", truncate_table}, {"UPDATE", update}, {"XA", harmless},
};

/* SET STATEMENT a = b, c = d FOR statement: moves to the statement. */
static void
skip_set_statement(Lexer *x)
{
	Lexer		from = *x;
	int			depth = 0;

	if (!accept(x, "SET") || !accept(x, "STATEMENT"))
	{
		*x = from;
		return;
	}
	for (; x->kind != TOKEN_END; next(x))
	{
		depth += at_char(x, '(') - at_char(x, ')');
		if (depth == 0 && accept(x, "FOR"))
			break;
	}
}

/* Says what a statement does, and to which followed table. */
TdMyStatement
td_my_classify(const char *text, size_t len, const char *database, bool ansi_quotes, TdMyFindFn find, void *arg, uint32_t *table)
{
	Scan		s = {.lex = {.p = text, .end = text + len, .ansi_quotes = ansi_quotes}, .database = database, .find = find, .arg = arg};
	TdMyStatement kind = TD_MY_HARMLESS;
	size_t		i;

	next(&s.lex);
	skip_set_statement(&s.lex);
	for (i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		if (accept(&s.lex, statements[i].word))
		{
			kind = statements[i].scan(&s);
			break;
		}
	if (i == sizeof(statements) / sizeof(statements[0]))
	{
		mention(&s, "", "");
		kind = ddl_if_found(&s);
	}
	*table = s.table;
	return kind;
}
