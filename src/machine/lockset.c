/*
 * lockset.c: the locks of one node: who stands against whom, and what a grant
 * does to them.
 *
 * First come, first served: a lock stands behind earlier waiters that it
 * conflicts with, except those that wait for its own owner.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "machine/life.h"
#include "machine/lock.h"

static struct tree_lock *place(struct lockset *, unsigned i);
static void insert(struct step *, struct lockset *, const struct tree_lock *);
static void settle(struct step *, struct lockset *,
    const struct tree_lock *owner);
static bool absorb(struct step *, struct lockset *, unsigned *i);
static void hold_range(struct step *, struct lockset *,
    const struct tree_lock *);
static const struct tree_lock *own_range(const struct lockset *,
    const struct tree_lock *owner, uint64_t start, uint64_t end);
static bool waits_for(const struct lockset *, const struct tree_lock *waiter,
    const struct tree_lock *owner);
static bool is_own_range(const struct tree_lock *,
    const struct tree_lock *owner, uint64_t start, uint64_t end);
static void count(struct step *, int n);

void
lockset_open(struct step *s, uint64_t node, struct lockset *set)
{
	struct tree_lock l;
	uint64_t of, n = 0;

	*set = (struct lockset){.node = node};
	while (tree_lock_held_next(s->txn, node, n, &of, &l) && of == node) {
		*place(set, set->n) = l;
		set->n_held++;
		n = l.ordinal;
	}
	n = 0;
	while (tree_lock_waiter_next(s->txn, node, n, &of, &l) && of == node) {
		*place(set, set->n) = l;
		n = l.ordinal;
	}
}

void
lockset_close(struct step *s, struct lockset *set)
{
	struct attr a;

	if (set->dirty) {
		outcome_add(s->out, CHANGE_LOCKS)->node = set->node;
		if (set->n == 0 && !tree_node_get(s->txn, set->node, &a))
			tree_lock_token_put(s->txn, set->node, 0);
		else if (set->n == 0)
			life_unlocked(s, set->node);
	}
	free(set->locks);
	*set = (struct lockset){0};
}

enum lock_block
lockset_blocked(const struct lockset *set, const struct tree_lock *want)
{
	for (unsigned i = 0; i < set->n; i++) {
		if (lockset_blocks(set, &set->locks[i], want))
			return set->locks[i].waits ? BLOCK_QUEUE :
			    BLOCK_HOLDER;
	}
	return BLOCK_NOBODY;
}

bool
lockset_blocks(const struct lockset *set, const struct tree_lock *l,
    const struct tree_lock *want)
{
	if (!tree_locks_conflict(l, want))
		return false;
	if (!l->waits)
		return true;
	return (want->ordinal == 0 || l->ordinal < want->ordinal) &&
	    !waits_for(set, l, want);
}

struct tree_lock *
lockset_flock(const struct lockset *set, const struct tree_lock *owner)
{
	for (unsigned i = 0; i < set->n_held; i++) {
		if (set->locks[i].is_flock &&
		    tree_locks_same_owner(&set->locks[i], owner))
			return &set->locks[i];
	}
	return NULL;
}

bool
lockset_room(struct step *s, const struct lockset *set,
    const struct tree_lock *want)
{
	struct tree_locks all;
	uint64_t more = 2;

	/* Between and beside what its owner holds there. */
	for (unsigned i = 0; i < set->n_held; i++) {
		if (is_own_range(&set->locks[i], want, want->start, want->end))
			more += 2;
	}
	tree_locks_get(s->txn, &all);
	return set->n + more <= LIMIT_NODE_LOCKS &&
	    all.n + more <= LIMIT_LOCKS;
}

void
lockset_queue(struct step *s, struct lockset *set, const struct tree_lock *want)
{
	struct tree_lock l = *want;

	l.waits = l.waited = true;
	l.since_ns = s->now_ns;
	insert(s, set, &l);
}

uint64_t
lockset_hold(struct step *s, struct lockset *set, const struct tree_lock *want)
{
	struct tree_lock l = *want, *own;
	struct tree_locks all;

	tree_locks_get(s->txn, &all);
	l.token = ++all.token;
	tree_locks_put(s->txn, &all);
	tree_lock_token_put(s->txn, set->node, l.token);
	l.waits = false;
	l.since_ns = s->now_ns;
	if (l.is_flock) {
		own = lockset_flock(set, &l);
		if (own != NULL)
			lockset_remove(s, set, (unsigned)(own - set->locks));
		insert(s, set, &l);
	} else {
		settle(s, set, &l);
		hold_range(s, set, &l);
	}
	return l.token;
}

void
lockset_grant(struct step *s, struct lockset *set)
{
	struct tree_lock l;
	struct change *ch;

	for (unsigned i = set->n_held; i < set->n;) {
		l = set->locks[i];
		if (lockset_blocked(set, &l) != BLOCK_NOBODY) {
			i++;
			continue;
		}
		lockset_remove(s, set, i);
		l.token = lockset_hold(s, set, &l);
		session_granted(s, l.session, l.seq, l.token);
		ch = outcome_add(s->out, CHANGE_GRANT);
		ch->node = set->node;
		ch->session = l.session;
		ch->seq = l.seq;
		ch->token = l.token;
		/* A grant may convert, and so free, what its owner held. */
		i = set->n_held;
	}
}

void
lockset_remove(struct step *s, struct lockset *set, unsigned i)
{
	assert(i < set->n);
	tree_lock_del(s->txn, set->node, &set->locks[i]);
	count(s, -1);
	set->n--;
	if (i < set->n_held)
		set->n_held--;
	memmove(set->locks + i, set->locks + i + 1,
	    (set->n - i) * sizeof(set->locks[0]));
	set->dirty = true;
}

void
lockset_put(struct step *s, struct lockset *set, unsigned i)
{
	assert(i < set->n);
	tree_lock_put(s->txn, set->node, &set->locks[i]);
	set->dirty = true;
}

void
lockset_cut(struct step *s, struct lockset *set,
    const struct tree_lock *owner, uint64_t start, uint64_t end)
{
	struct tree_lock right;

	for (unsigned i = 0; i < set->n_held;) {
		struct tree_lock *l = &set->locks[i];

		if (!is_own_range(l, owner, start, end)) {
			i++;
			continue;
		}
		right = *l;
		right.ordinal = 0;
		right.start = end + 1; /* valid where it is used */
		if (l->start < start && l->end > end) {
			l->end = start - 1;
			lockset_put(s, set, i);
			insert(s, set, &right);
			return; /* ranges of one owner don't overlap */
		}
		if (l->start < start) {
			l->end = start - 1;
			lockset_put(s, set, i);
		} else if (l->end > end) {
			l->start = end + 1;
			lockset_put(s, set, i);
		} else {
			lockset_remove(s, set, i);
		}
	}
}

/* Room for one more, at i. */
static struct tree_lock *
place(struct lockset *set, unsigned i)
{
	if (set->n == set->cap) {
		set->cap = set->cap != 0 ? 2 * set->cap : 8;
		set->locks = reallocarray(set->locks, set->cap,
		    sizeof(set->locks[0]));
		if (set->locks == NULL)
			abort();
	}
	memmove(set->locks + i + 1, set->locks + i,
	    (set->n - i) * sizeof(set->locks[0]));
	set->n++;
	return set->locks + i;
}

/* Ordinal 0: it comes now. */
static void
insert(struct step *s, struct lockset *set, const struct tree_lock *lock)
{
	struct tree_lock l = *lock;
	struct tree_locks all;
	unsigned i = l.waits ? set->n : set->n_held;

	if (l.ordinal == 0) {
		tree_locks_get(s->txn, &all);
		l.ordinal = ++all.ordinal;
		tree_locks_put(s->txn, &all);
	}
	*place(set, i) = l;
	set->n_held += !l.waits;
	tree_lock_put(s->txn, set->node, &l);
	count(s, 1);
	set->dirty = true;
}

/*
 * What the owner has had since before is not given back any more, except what
 * was granted from the queue: its cancel may still be under way.  Then one row
 * is enough for what fcntl(2) calls one lock.
 */
static void
settle(struct step *s, struct lockset *set, const struct tree_lock *owner)
{
	for (unsigned i = 0; i < set->n_held; i++) {
		struct tree_lock *l = &set->locks[i];

		if (l->is_flock || l->waited ||
		    !tree_locks_same_owner(l, owner))
			continue;
		if (l->prior != PRIOR_NONE || l->seq != 0) {
			l->prior = PRIOR_NONE;
			l->seq = 0;
			lockset_put(s, set, i);
		}
		while (absorb(s, set, &i))
			;
	}
}

/* Makes one row of the i-th and another that touches it. */
static bool
absorb(struct step *s, struct lockset *set, unsigned *i)
{
	struct tree_lock *l = &set->locks[*i];

	for (unsigned k = 0; k < set->n_held; k++) {
		struct tree_lock *o = &set->locks[k];

		if (k == *i || o->waited || o->handle != l->handle ||
		    !tree_lock_touches(o, l))
			continue;
		l->start = o->start < l->start ? o->start : l->start;
		l->end = o->end > l->end ? o->end : l->end;
		lockset_put(s, set, *i);
		lockset_remove(s, set, k);
		*i -= k < *i;
		return true;
	}
	return false;
}

/* In pieces, each with what its owner held there before. */
static void
hold_range(struct step *s, struct lockset *set, const struct tree_lock *want)
{
	const struct tree_lock *own;
	struct tree_lock l = *want;
	uint64_t pos = want->start;

	for (;;) {
		own = own_range(set, want, pos, want->end);
		l.start = pos;
		l.end = want->end;
		l.prior = PRIOR_NONE;
		if (own != NULL && own->start > pos) {
			l.end = own->start - 1;
		} else if (own != NULL) {
			l.end = own->end < want->end ? own->end : want->end;
			l.prior = own->exclusive ? PRIOR_EXCLUSIVE :
			    PRIOR_SHARED;
			lockset_cut(s, set, want, l.start, l.end);
		}
		insert(s, set, &l);
		if (l.end == want->end)
			return;
		pos = l.end + 1;
		l.ordinal = 0;
	}
}

/* The first of the owner's held byte ranges in [start, end]. */
static const struct tree_lock *
own_range(const struct lockset *set, const struct tree_lock *owner,
    uint64_t start, uint64_t end)
{
	const struct tree_lock *best = NULL;

	for (unsigned i = 0; i < set->n_held; i++) {
		const struct tree_lock *l = &set->locks[i];

		if (is_own_range(l, owner, start, end) &&
		    (best == NULL || l->start < best->start))
			best = l;
	}
	return best;
}

static bool
waits_for(const struct lockset *set, const struct tree_lock *waiter,
    const struct tree_lock *owner)
{
	for (unsigned i = 0; i < set->n_held; i++) {
		if (tree_locks_same_owner(&set->locks[i], owner) &&
		    tree_locks_conflict(&set->locks[i], waiter))
			return true;
	}
	return false;
}

static bool
is_own_range(const struct tree_lock *l, const struct tree_lock *owner,
    uint64_t start, uint64_t end)
{
	return !l->is_flock && tree_locks_same_owner(l, owner) &&
	    l->start <= end && start <= l->end;
}

static void
count(struct step *s, int n)
{
	struct tree_locks all;

	tree_locks_get(s->txn, &all);
	all.n += (uint64_t)n;
	tree_locks_put(s->txn, &all);
}
