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
 * A noop with session 0 is nobody's and always succeeds.  session_open answers
 * value = the base of a range of inode numbers: value + 1 ... value + 2^32 - 1
 * are the session's.  The outcome of the very first command also carries the
 * changes of formatting the tree, at revision 1, before its own.
 */
void machine_apply(struct store_txn *, const struct command *,
    uint64_t time_ns, struct outcome *ret);

/* The errno for an open(2) of that node, by mode and owner: 0 or -EACCES.
 * mask is of R_OK, W_OK, X_OK.  Used by mount for what the kernel can't check. */
int machine_access(const struct attr *, const struct stamp *, int mask);

#endif
