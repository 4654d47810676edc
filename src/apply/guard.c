/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Whose rights we use while we touch a table.
 *
 * NOTES
 *		A target may carry its owner's code: defaults, CHECK constraints,
 *		generated columns, index expressions, triggers.  All of it runs as the
 *		owner of the table in a security-restricted operation, under a locked
 *		search_path, and what it does to settings is undone when we leave or turn
 *		to the table of somebody else.  An error needs no td_guard_leave: the
 *		abort of the (sub)transaction brings user and settings back.
 *
 *		Relations may be opened before the guard is entered (that runs no code of
 *		theirs); indexes, constraints and defaults only inside.
 *
 * src/apply/guard.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "apply/apply_internal.h"

static void become(TdGuard *guard, Oid owner);

/* From here on we are owner, or ready to become one (InvalidOid). */
void
td_guard_enter(TdGuard *guard, Oid owner)
{
	GetUserIdAndSecContext(&guard->user, &guard->sec_context);
	guard->guc_level = 0;
	guard->owner = InvalidOid;
	td_guard_switch(guard, owner);
}

/* Turns to another owner; settings made by the code of the one before are gone. */
void
td_guard_switch(TdGuard *guard, Oid owner)
{
	if (owner == guard->owner)
		return;
	if (guard->guc_level > 0)
		AtEOXact_GUC(false, guard->guc_level);
	guard->guc_level = 0;
	SetUserIdAndSecContext(guard->user, guard->sec_context);
	guard->owner = InvalidOid;
	if (OidIsValid(owner))
		become(guard, owner);
}

static void
become(TdGuard *guard, Oid owner)
{
	SetUserIdAndSecContext(owner, guard->sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	guard->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	guard->owner = owner;
}

/* Back to who we were. */
void
td_guard_leave(TdGuard *guard)
{
	td_guard_switch(guard, InvalidOid);
}

/*
 * One utility statement of ours as role, with names quoted by the caller.  Not
 * restricted: that would forbid nothing these statements need, but index builds
 * and the like restrict themselves.
 */
void
td_guard_spi(Oid role, const char *statement)
{
	Oid			user;
	int			sec_context;
	int			guc_level;
	int			rc;

	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(role, sec_context | SECURITY_LOCAL_USERID_CHANGE);
	guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc = SPI_execute(statement, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
	SPI_finish();
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(user, sec_context);
}
