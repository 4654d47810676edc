/*-------------------------------------------------------------------------
 *
 * bad_magic.c
 *		Has the magic of another ABI.
 *
 * NOTES
 *		Nothing behind the magic may be read.
 *
 * connectors/bad/bad_magic.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_magic"
#define BAD_MAGIC 0x54444330u

#include "bad.h"

BAD_CONNECTOR
