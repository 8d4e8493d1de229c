/*
 * machine.h: what each command means.
 *
 * A pure function of (store, command, time): the same on every host, whatever
 * its clock, locale, memory or luck.  It decides permission, quota, version
 * and exactly-once; no way in goes around it.
 *
 * The first command ever applied formats the tree: root (inode 1), config/,
 * locks/, status/ and nodes/, all 0755 root.  Revision 1 is the formatted tree.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "command/command.h"
#include "command/outcome.h"
#include "store/store.h"

/*
 * Applies one command inside a write transaction.  time_ns is the entry's time
 * plus the command's position in it.  On return ret is filled; the caller owns
 * it (outcome_fini).  A retry (same session and seq) returns the kept outcome's
 * err, rev, ino, value and attr, without changes.  OUTCOME_ESESSION and
 * OUTCOME_EWINDOW (command/outcome.h) refuse what must not be applied again.
 *
 * Locks, sessions and their ends make no revision (the files that go with them
 * do): they are replicated, but no part of the tree that users see.  Their
 * changes are CHANGE_GRANT and CHANGE_LOCKS, beside outcome.rev 0.
 *
 * lock answers value = the token, or 0: it waits; a retry of one granted since
 * answers the token.  lock_cancel may be proposed at any time after the lock
 * command `expect`, answered or not: one that hasn't come yet is answered EINTR
 * when it comes; what waits is removed, what was granted is given back (fcntl:
 * to what its owner held before).  unlock and lock_cancel of nothing succeed.
 *
 * With session 0 a noop is nobody's and always succeeds; so are the commands
 * that a leader proposes, all of which may come again without harm:
 * - session_expire{node = id} when a session has not been renewed for ttl_ms;
 * - suspend{node = id} when that is near, resume{node = id} when it is not to
 *   come after all;
 * - expire{node, expect = attr_rev} when a ttl file has not been refreshed for
 *   ttl_ms since that attr_rev; EBUSY: it has locks, ask again later;
 * - delay_end{node, expect = ordinal} for each row of tree_lock_delayed_next(),
 *   delay_ms after this leader first saw it, by its own monotonic clock: wall
 *   clocks, and so entry times, decide nothing (CONTRACT O8).  CHANGE_LOCKS of
 *   the node tells when to look.
 *
 * session_open (expect = ttl_ms, 0: 10,000) answers value = the base of a range
 * of inode numbers: value + 1 ... value + 2^32 - 1 are the session's, but for
 * the last LIMIT_HOST_NODES: those are for nodes/<name>/, which tells of the
 * host what its facts (data) say, and id, state and since besides.  state goes
 * with the session: online, suspended, then lost or left.  The
 * outcome of the very first command also carries the changes of formatting the
 * tree, at revision 1, before its own.
 */
void machine_apply(struct store_txn *, const struct command *,
    uint64_t time_ns, struct outcome *ret);

/* The errno for an open(2) of that node, by mode and owner: 0 or -EACCES.
 * mask is of R_OK, W_OK, X_OK.  Used by mount for what the kernel can't check. */
int machine_access(const struct attr *, const struct stamp *, int mask);

#endif
