/*-------------------------------------------------------------------------
 *
 * row_json_internal.h
 *		Rows of a source and descriptions of connectors as jsonb.
 *
 * src/catalog/row_json_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_ROW_JSON_INTERNAL_H
#define TD_ROW_JSON_INTERNAL_H

#include "postgres.h"
#include "stream/stream.h"
#include "utils/jsonb.h"

extern TdSchema *td_schema_in_context(const TdRecord *rec); /* freed with CurrentMemoryContext */
extern Datum td_row_json(const TdSchema *schema, TdBytes row);	/* columns without a value are left out */
extern void td_damaged_record(void) pg_attribute_noreturn();
extern void td_describe_columns(Jsonb *description, Datum *values, bool *nulls);	/* [1] version, [2] capabilities, [3] options */

#endif							/* TD_ROW_JSON_INTERNAL_H */
