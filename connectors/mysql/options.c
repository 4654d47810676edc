/*-------------------------------------------------------------------------
 *
 * options.c
 *		The options of a connection, and their values as C.
 *
 * NOTES
 *		The server has tested names and choices already when it stored them;
 *		what is tested here again is what this library relies on, since a
 *		connector never trusts its caller's caller.
 *
 * connectors/mysql/options.c
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>

#include "mysql_internal.h"

const TdOption td_my_options[] = {
	{"host", TD_OPTION_TEXT, "127.0.0.1", false, false, false, "name or address of the server", NULL},
	{"port", TD_OPTION_INT, "3306", false, false, false, "TCP port", "1..65535"},
	{"socket", TD_OPTION_FILE, NULL, false, false, false, "path of a Unix socket, used instead of host and port", NULL},
	{"database", TD_OPTION_TEXT, NULL, false, false, false, "the one database to read; without it tables are named database.table", NULL},
	{"user", TD_OPTION_TEXT, NULL, true, true, false, "user name", NULL},
	{"password", TD_OPTION_TEXT, "", false, true, true, "password of the user", NULL},
	{"server_id", TD_OPTION_INT, "0", false, false, false, "number this reader takes among the source's replicas; 0 = a random one for each stream", "0..4294967295"},
	{"connect_timeout", TD_OPTION_INT, "10", false, false, false, "seconds to wait for a connection", "1..600"},
	{"read_timeout", TD_OPTION_INT, "60", false, false, false, "seconds to wait for the answer to a statement", "1..3600"},
	{"ssl_mode", TD_OPTION_TEXT, "prefer", false, false, false, "whether TLS is used, and what of the server's certificate is verified", "disable|prefer|require|verify_ca|verify_identity"},
	{"ssl_ca", TD_OPTION_FILE, NULL, false, false, false, "file of trusted certificate authorities", NULL},
	{"ssl_cert", TD_OPTION_FILE, NULL, false, false, false, "file of the client's certificate", NULL},
	{"ssl_key", TD_OPTION_FILE, NULL, false, false, false, "file of the client's private key", NULL},
	{"cascades", TD_OPTION_TEXT, "fail", false, false, false, "what to do about tables with cascading foreign keys, whose effects are not in the binlog", "fail|ignore"},
	{"chunk_rows", TD_OPTION_INT, "50000", false, false, false, "most rows one statement of an initial load reads", "100..10000000"},
	{NULL}
};

static const char *const ssl_modes[] = {"disable", "prefer", "require", "verify_ca", "verify_identity", NULL};
static const char *const cascade_modes[] = {"fail", "ignore", NULL};

/* The value of an option, its default, or NULL for none and for an empty text. */
static const char *
text_option(const TdConfig *config, const char *name)
{
	const char *value = td_config_get(config, name);

	for (const TdOption *o = td_my_options; value == NULL && o->name; o++)
		if (strcmp(o->name, name) == 0)
			value = o->fallback;
	return value && *value ? value : NULL;
}

/* A number within its bounds. */
static bool
int_option(const TdConfig *config, const char *name, uint64_t low, uint64_t high, uint32_t *to, TdError *err)
{
	const char *text = text_option(config, name);
	char	   *end = NULL;
	unsigned long long v;

	errno = 0;
	v = text ? strtoull(text, &end, 10) : 0;
	if (text == NULL || *end || errno || text[0] == '-' || v < low || v > high)
	{
		td_error_set(err, "22023", "invalid value for option \"%s\": \"%s\"", name, text ? text : "");
		return td_error_hint(err, "Give a number from %llu to %llu.", (unsigned long long) low, (unsigned long long) high);
	}
	*to = (uint32_t) v;
	return true;
}

/* The index of a choice. */
static bool
choice_option(const TdConfig *config, const char *name, const char *const *choices, unsigned *to, TdError *err)
{
	const char *text = text_option(config, name);

	for (unsigned i = 0; choices[i]; i++)
	{
		*to = i;
		if (text && strcmp(choices[i], text) == 0)
			return true;
	}
	td_error_set(err, "22023", "invalid value for option \"%s\": \"%s\"", name, text ? text : "");
	for (const TdOption *o = td_my_options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			td_error_hint(err, "Choose one of %s.", o->choices);
	return false;
}

/* Combinations that make no sense. */
static bool
check_together(const TdMyOptions *o, TdError *err)
{
	if (o->user == NULL)
	{
		td_error_set(err, "22023", "option \"user\" is missing");
		return td_error_hint(err, "Give it in the credentials of the connection.");
	}
	if (o->ssl_mode >= TD_MY_SSL_VERIFY_CA && o->ssl_ca == NULL)
	{
		td_error_set(err, "22023", "option \"ssl_ca\" is missing");
		return td_error_hint(err, "ssl_mode %s needs the file of the authority that signed the server's certificate.",
							 ssl_modes[o->ssl_mode]);
	}
	if ((o->ssl_cert == NULL) != (o->ssl_key == NULL))
	{
		td_error_set(err, "22023", "options \"ssl_cert\" and \"ssl_key\" belong together");
		return td_error_hint(err, "Give both or neither.");
	}
	return true;
}

/* Fills *o; its texts point into the configuration. */
bool
td_my_parse_options(const TdConfig *config, TdMyOptions *o, TdError *err)
{
	unsigned	ssl;
	unsigned	cascades;

	memset(o, 0, sizeof(*o));
	o->host = text_option(config, "host");
	o->socket = text_option(config, "socket");
	o->database = text_option(config, "database");
	o->user = text_option(config, "user");
	o->password = text_option(config, "password");
	o->ssl_ca = text_option(config, "ssl_ca");
	o->ssl_cert = text_option(config, "ssl_cert");
	o->ssl_key = text_option(config, "ssl_key");
	if (!int_option(config, "port", 1, 65535, &o->port, err) ||
		!int_option(config, "server_id", 0, UINT32_MAX, &o->server_id, err) ||
		!int_option(config, "connect_timeout", 1, 600, &o->connect_timeout, err) ||
		!int_option(config, "read_timeout", 1, 3600, &o->read_timeout, err) ||
		!int_option(config, "chunk_rows", 100, 10000000, &o->chunk_rows, err) ||
		!choice_option(config, "ssl_mode", ssl_modes, &ssl, err) ||
		!choice_option(config, "cascades", cascade_modes, &cascades, err))
		return false;
	o->ssl_mode = (TdMySsl) ssl;
	o->ignore_cascades = cascades == 1;
	return check_together(o, err);
}
