/*-------------------------------------------------------------------------
 *
 * bad_slot.c
 *		Lacks a function that its capabilities ask for.
 *
 * NOTES
 *		stream_poll is missing, though it says it can stream.
 *
 * connectors/bad/bad_slot.c
 *
 *-------------------------------------------------------------------------
 */
#define BAD_NAME "bad_slot"
#define BAD_STREAM_POLL NULL

#include "bad.h"

BAD_CONNECTOR
