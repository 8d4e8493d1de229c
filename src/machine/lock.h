/*
 * lock.h: the locks of one node, while a command decides about them.
 *
 * A lockset is a copy in memory of a node's holders and waiters; its functions
 * change the copy and the store together.  Closing it tells who watches.
 */
#ifndef MACHINE_LOCK_H
#define MACHINE_LOCK_H

#include "machine/step.h"

struct lockset {
	uint64_t node;
	struct tree_lock *locks; /* owned; holders, then waiters as they came */
	unsigned n, n_held, cap;
	bool dirty;		 /* the store was changed too */
};
void lockset_open(struct step *, uint64_t node, struct lockset *);
void lockset_close(struct step *, struct lockset *);
/* Who stands against it: nobody, only who came earlier, a holder. */
enum lock_block { BLOCK_NOBODY, BLOCK_QUEUE, BLOCK_HOLDER };
enum lock_block lockset_blocked(const struct lockset *,
    const struct tree_lock *want);
/* Does `l`, a holder or waiter, stand against `want`? */
bool lockset_blocks(const struct lockset *, const struct tree_lock *l,
    const struct tree_lock *want);
/* The owner's held flock; NULL: none. */
struct tree_lock *lockset_flock(const struct lockset *,
    const struct tree_lock *owner);
/* Is there room for what one lock may add, here and in the tree? */
bool lockset_room(struct step *, const struct lockset *,
    const struct tree_lock *want);
void lockset_queue(struct step *, struct lockset *, const struct tree_lock *);
/* Makes it a holder, in place of what its owner held there; the token. */
uint64_t lockset_hold(struct step *, struct lockset *,
    const struct tree_lock *);
/* Grants whoever waits and may; tells CHANGE_GRANT. */
void lockset_grant(struct step *, struct lockset *);
void lockset_remove(struct step *, struct lockset *, unsigned i);
/* Puts anew what was changed in place; neither `waits` nor `ordinal`. */
void lockset_put(struct step *, struct lockset *, unsigned i);
/* Takes [start, end] out of the owner's held byte ranges. */
void lockset_cut(struct step *, struct lockset *,
    const struct tree_lock *owner, uint64_t start, uint64_t end);

/* cycle.c: would waiting for whoever blocks it be waiting for oneself? */
bool lock_cycle(struct step *, const struct lockset *,
    const struct tree_lock *want);

/* lock.c */
int lock_take(struct step *);
int lock_free(struct step *);
int lock_cancel(struct step *);
int lock_delay_end(struct step *);
void lock_session_end(struct step *, uint64_t session, bool lost);

#endif
