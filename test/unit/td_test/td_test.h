/*-------------------------------------------------------------------------
 *
 * td_test.h
 *		Records made of SQL rows, for td_test.c.
 *
 * test/unit/td_test/td_test.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TEST_H
#define TD_TEST_H

#include "stream/stream.h"

/* The schema of a source table: its row type and primary key.  In CurrentMemoryContext. */
extern TdSchema *td_test_schema(Oid source, uint32 table_id);

/* A composite value as a row; columns named in absent[] are written as UNCHANGED. */
extern void td_test_put_row(TdBuffer *buffer, const TdSchema *schema, Datum composite, int nabsent, char **absent);

#endif							/* TD_TEST_H */
