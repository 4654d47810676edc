/*-------------------------------------------------------------------------
 *
 * bad_minor.c
 *		Was built for a newer ABI.
 *
 * NOTES
 *		The refusal names both versions.
 *
 * connectors/bad/bad_minor.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_minor"
#define BAD_MINOR (TD_ABI_MINOR + 2)

#include "bad.h"

BAD_CONNECTOR
