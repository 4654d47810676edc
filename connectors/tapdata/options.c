/*-------------------------------------------------------------------------
 *
 * options.c
 *		The options of a connection.
 *
 * NOTES
 *		What the machine of this server would prove for anybody who may make a
 *		connection is not used for him: a Unix socket (peer, trust) and files are
 *		for superusers to name, and connect.c wants a password to be asked for.
 *
 * connectors/tapdata/options.c
 *
 *-------------------------------------------------------------------------
 */
#include "tapdata_internal.h"

const TdOption td_tp_options[] = {
	{"host", TD_OPTION_TEXT, "127.0.0.1", false, false, false, "name or address of the server", NULL},
	{"port", TD_OPTION_INT, "5432", false, false, false, "TCP port, also in the name of the Unix socket", "1..65535"},
	{"socket", TD_OPTION_FILE, NULL, false, false, false, "directory of a Unix socket, used instead of host", NULL},
	{"dbname", TD_OPTION_TEXT, NULL, true, false, false, "the database whose live views are read", NULL},
	{"schema", TD_OPTION_TEXT, NULL, false, false, false, "the one schema to read; without it views are those of all schemas", NULL},
	{"user", TD_OPTION_TEXT, NULL, true, true, false, "user name", NULL},
	{"password", TD_OPTION_TEXT, "", false, true, true, "password of the user", NULL},
	{"sslmode", TD_OPTION_TEXT, "prefer", false, false, false, "whether TLS is used, and what of the server's certificate is verified",
	"disable|allow|prefer|require|verify-ca|verify-full"},
	{"sslrootcert", TD_OPTION_FILE, NULL, false, false, false, "file of trusted certificate authorities", NULL},
	{"sslcert", TD_OPTION_FILE, NULL, false, false, false, "file of the client's certificate", NULL},
	{"sslkey", TD_OPTION_FILE, NULL, false, false, false, "file of the client's private key", NULL},
	{"connect_timeout", TD_OPTION_INT, "10", false, false, false, "seconds to wait for a connection", "1..600"},
	{"read_timeout", TD_OPTION_INT, "60", false, false, false, "seconds to wait for the answer to a statement", "1..3600"},
	{"poll_interval", TD_OPTION_INT, "1000", false, false, false, "milliseconds after which changes are looked for when no notice came", "10..60000"},
	{"chunk_rows", TD_OPTION_INT, "50000", false, false, false, "most rows one statement of an initial load reads", "100..10000000"},
	{NULL}
};

const char *
td_tp_option(const TdConfig *config, const char *name)
{
	const char *value = td_config_get(config, name);

	return value && *value ? value : NULL;
}
