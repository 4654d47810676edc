/*-------------------------------------------------------------------------
 *
 * redact.c
 *		Removes secrets from texts that leave the host.
 *
 * NOTES
 *		The second line of defence: a connector must not put a secret into an
 *		error or a log line, but the library under it might.  Values of fewer
 *		than four bytes are left alone, they would blank out half of a text.
 *		The list is written once, at OPEN, before the connector is opened.
 *
 * connectors/host/redact.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "host_internal.h"

#define SECRETS_MAX 32
#define SHORTEST 4
#define MASK "***"

static const char *secrets[SECRETS_MAX];
static size_t nsecrets;

/* Their memory is about to go. */
void
td_redact_forget(void)
{
	nsecrets = 0;
}

/* Remembers the secrets of a config that lives as long as the process. */
void
td_redact_learn(const TdConnector *api, const TdConfig *config)
{
	td_redact_forget();
	for (const TdOption *o = api->options; o->name; o++)
	{
		const char *value = o->secret ? td_config_get(config, o->name) : NULL;

		if (value && strlen(value) >= SHORTEST && nsecrets < SECRETS_MAX)
			secrets[nsecrets++] = value;
	}
}

/* Masks every secret in a text, in place. */
void
td_redact(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (size_t i = 0; i < nsecrets; i++)
	{
		size_t		len = strlen(secrets[i]);
		char	   *at = text;

		while ((at = strstr(at, secrets[i])) != NULL)
		{
			memcpy(at, MASK, strlen(MASK));
			memmove(at + strlen(MASK), at + len, strlen(at + len) + 1);
			at += strlen(MASK);
		}
	}
}

/* Masks them in all texts of an error. */
void
td_redact_error(TdError *err)
{
	td_redact(err->message, sizeof(err->message));
	td_redact(err->detail, sizeof(err->detail));
	td_redact(err->hint, sizeof(err->hint));
}
