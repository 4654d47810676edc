/*-------------------------------------------------------------------------
 *
 * stream_internal.h
 *		A stream: the views that are followed, and where it stands.
 *
 * connectors/tapdata/stream_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef TD_TAPDATA_STREAM_INTERNAL_H
#define TD_TAPDATA_STREAM_INTERNAL_H

#include "tapdata_internal.h"

/* A view that is followed. */
typedef struct TdTpFollowed
{
	TdTpTable  *table;
	char	   *sql;			/* its changes after $1 */
	int64_t		since;			/* tick that is written */
	int64_t		tick;			/* the source's last one, in the read at hand */
	bool		described;		/* its SCHEMA record is written */
} TdTpFollowed;

/* What the session is doing. */
typedef enum TdTpState
{
	TD_TP_QUIET,				/* nothing, outside a transaction */
	TD_TP_TICKS,				/* BEGIN, and which ticks there are */
	TD_TP_ROWS,					/* changes of `current` */
	TD_TP_END					/* COMMIT */
} TdTpState;

typedef struct TdTpStream
{
	TdTpTables	tables;
	TdTpFollowed *followed;
	uint32_t	n;
	TdTpPosition position;		/* of what is written, with all of `followed` */
	TdBuffer	text;			/* it as text, and other texts */
	TdBuffer	scratch;
	char	   *ticks_sql;
	TdTpState	state;
	int64_t		quiet;			/* milliseconds waited for the present answer */
	int64_t		look_at;		/* when to look for changes though no notice has come */
	int			look_every;		/* milliseconds */
	bool		due;			/* there may be changes */
	bool		bare;			/* the position is to be told without rows */
	uint32_t	current;		/* ROWS: whose */
	bool		any;			/* a result of it has come */
	/* the source transaction that is being written */
	bool		open;			/* it has begun */
	int64_t		at;				/* when it was committed */
	int64_t		tick;			/* of the row before */
	PGresult   *held;			/* a row that went, which may turn out to be an update */
	PGresult   *row;			/* a row with several copies, */
	int64_t		copies;			/* this many of which are still to be written: > 0 came, < 0 went */
	TdError		failure;		/* told by the next poll */
} TdTpStream;

/* ---- write.c ---- */
extern bool td_tp_take_change(TdTpStream *s, PGresult *res, TdBuffer *out, TdError *err);	/* takes res */
extern bool td_tp_write_copies(TdTpStream *s, TdBuffer *out, TdError *err);
extern bool td_tp_end_view(TdTpStream *s, TdBuffer *out, TdError *err);
extern bool td_tp_end_transaction(TdTpStream *s, TdBuffer *out, TdError *err);

#endif							/* TD_TAPDATA_STREAM_INTERNAL_H */
