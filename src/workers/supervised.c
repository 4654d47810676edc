/*-------------------------------------------------------------------------
 *
 * supervised.c
 *		The kinds of things that have a worker of their own, as the supervisor
 *		reads and writes them.
 *
 * NOTES
 *		Data only.  A pipeline is wanted when its owner says so, who writes that and
 *		the status of one that is tried again; a view group when it has a view.
 *		Sessions never write a group's state: that one that failed is to be tried
 *		again is seen by its views.
 *
 * IDENTIFICATION
 *		src/workers/supervised.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/catalog.h"
#include "workers/supervisor_internal.h"

/*
 * PROGRESS is a word that changes with everything a worker gets done; AGAIN is true where somebody has asked, since the last start, for one that
 * failed to be tried again.
 */
#define STATEMENTS(KIND, TABLE, STATE, ID, OWNER, WANTED, PROGRESS, AGAIN) \
	.list = "SELECT p.id, p.name, " OWNER ", " WANTED ", coalesce(s.status, 'fenced'), s.retry_at, " \
		"CASE WHEN s.status IN ('starting', 'snapshot', 'streaming', 'stopping') " \
		"AND (w.started < clock_timestamp() - interval '10 s' OR w.progress <> " PROGRESS ") THEN least(w.starts, 1) " \
		"WHEN s.status = 'retrying' AND s.error IS DISTINCT FROM $2 THEN 0 " \
		"ELSE coalesce(w.starts, 0) END, coalesce(w.restarts, 0), coalesce(" AGAIN ", false) " \
		"FROM tapdata." TABLE " p LEFT JOIN tapdata." STATE " s ON s." ID " = p.id " \
		"LEFT JOIN tapdata.worker_start w ON w.kind = '" KIND "' AND w.object = p.id ORDER BY p.id", \
	.lock = "SELECT FROM tapdata." TABLE " p WHERE p.id = $1 AND (" WANTED ") = $2::boolean FOR NO KEY UPDATE OF p SKIP LOCKED", \
	.lock_state = "SELECT FROM tapdata." STATE " s WHERE s." ID " = $1 AND s.status = $2 FOR NO KEY UPDATE", \
	.count = "INSERT INTO tapdata.worker_start AS w (kind, object, started, starts, restarts, progress) " \
		"SELECT '" KIND "', $1, clock_timestamp(), $2::integer, 0, " PROGRESS " FROM tapdata." STATE " s WHERE s." ID " = $1 " \
		"ON CONFLICT (kind, object) DO UPDATE SET starts = excluded.starts, restarts = w.restarts + 1, " \
		"started = excluded.started, progress = excluded.progress RETURNING restarts", \
	.uncount = "UPDATE tapdata.worker_start SET starts = greatest(starts - 1, 0), restarts = greatest(restarts - 1, 0) " \
		"WHERE kind = '" KIND "' AND object = $1", \
	.set_starts = "UPDATE tapdata.worker_start SET starts = $2::integer WHERE kind = '" KIND "' AND object = $1", \
	.forget_starts = "UPDATE tapdata.worker_start SET starts = 0, restarts = 0 WHERE kind = '" KIND "' AND object = $1", \
	.waiting = "UPDATE tapdata." STATE " SET sqlstate = '53000', error = '" TD_NO_WORKER "', detail = NULL, hint = $2 " \
		"WHERE " ID " = $1", \
	.delay = "UPDATE tapdata." STATE " SET retry_at = greatest(retry_at, clock_timestamp() + $2::interval) " \
		"WHERE " ID " = $1 AND status = 'retrying'", \
	.gone = "SELECT w.object FROM tapdata.worker_start w WHERE kind = '" KIND "' AND " \
		"NOT EXISTS (SELECT FROM tapdata." TABLE " p WHERE p.id = w.object)", \
	.drop_starts = "DELETE FROM tapdata.worker_start WHERE kind = '" KIND "' AND object = $1"

/* Moves with create_view, refresh_view and drop_view, and with nothing else. */
#define FILLS "(SELECT concat_ws('.', max(v.id), sum(v.fills)) FROM tapdata.view v WHERE v.view_group = s.view_group)"

/* Settings of the server may have been mended since it failed; whether it crashes the server is not tried again. */
#define RESTARTED "(s.since < pg_postmaster_start_time() AND s.sqlstate IS DISTINCT FROM '57P02')"

const TdSupervisedKind td_supervised_kinds[TD_SUPERVISED_KINDS] = {
	{
		.worker = TD_WORKER_PIPELINE,
		.function = "td_pipeline_main",
		.noun = "pipeline",
		.repair = "start the pipeline again",
		.by_owner = true,
		STATEMENTS("pipeline", "pipeline", "pipeline_state", "pipeline", "p.owner::oid", "p.desired = 'running'",
		"concat_ws('/', s.planned, s.load_done, s.published, s.rows_loaded, s.rows_applied, s.position)", "false"),
		.set_status = td_pipeline_set_status,
		.set_error = td_pipeline_set_error
	},
	{
		.worker = TD_WORKER_VIEW,
		.function = "td_view_main",
		.noun = "view group",
		.repair = "call tapdata.refresh_view() for a view of the group",
		.forget_failure = true,
		STATEMENTS("view", "view_group", "group_state", "view_group", "10::oid",
		"EXISTS (SELECT FROM tapdata.view v WHERE v.view_group = p.id)",
		"concat_ws('/', " FILLS ", s.ticks, s.snapshot)", "split_part(w.progress, '/', 1) <> " FILLS " OR " RESTARTED),
		.set_status = td_group_set_status,
		.set_error = td_group_set_error
	}
};
