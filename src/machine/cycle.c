/*
 * cycle.c: EDEADLK, for byte ranges.
 *
 * An owner waits for each holder and each earlier waiter that stands against a
 * waiting range of his.  From whoever would block the new one, the walk goes
 * along those edges; if it comes back to its owner, he would wait for himself.
 */
#include "config.h"

#include <stdlib.h>

#include "machine/lock.h"

struct waiter {
	uint64_t node;
	struct tree_lock lock;
	bool seen; /* is in the walk */
};

struct walk {
	struct waiter *waiters; /* of byte ranges, in the whole tree; by owner */
	unsigned n, cap;
	unsigned *todo;		/* indexes, in the order they were reached */
	unsigned n_todo;
	const struct tree_lock *want;
};

static void collect(struct step *, struct walk *);
static int by_owner(const void *, const void *);
static unsigned first_of(const struct walk *, const struct tree_lock *owner);
static bool reach(struct walk *, const struct lockset *,
    const struct tree_lock *blocked);

bool
lock_cycle(struct step *s, const struct lockset *set,
    const struct tree_lock *want)
{
	struct walk w = {.want = want};
	struct lockset other = {0};
	bool cycle;

	collect(s, &w);
	cycle = reach(&w, set, want);
	for (unsigned i = 0; !cycle && i < w.n_todo &&
	    i < LIMIT_DEADLOCK_WALK; i++) {
		const struct waiter *next = &w.waiters[w.todo[i]];

		if (other.node != next->node) {
			lockset_close(s, &other);
			lockset_open(s, next->node, &other);
		}
		cycle = reach(&w, &other, &next->lock);
	}
	lockset_close(s, &other);
	free(w.waiters);
	free(w.todo);
	return cycle;
}

static void
collect(struct step *s, struct walk *w)
{
	uint64_t node = 0, ordinal = 0;
	struct tree_lock l;

	while (tree_lock_waiter_next(s->txn, node, ordinal, &node, &l)) {
		ordinal = l.ordinal;
		if (l.is_flock)
			continue;
		if (w->n == w->cap) {
			w->cap = w->cap != 0 ? 2 * w->cap : 16;
			w->waiters = reallocarray(w->waiters, w->cap,
			    sizeof(w->waiters[0]));
			if (w->waiters == NULL)
				abort();
		}
		w->waiters[w->n++] = (struct waiter){.node = node, .lock = l};
	}
	if (w->n != 0)
		qsort(w->waiters, w->n, sizeof(w->waiters[0]), by_owner);
	w->todo = calloc(w->n + 1, sizeof(w->todo[0]));
	if (w->todo == NULL)
		abort();
}

/* Of one owner as they came: no two are equal, so there is one order. */
static int
by_owner(const void *a, const void *b)
{
	const struct tree_lock *x = &((const struct waiter *)a)->lock;
	const struct tree_lock *y = &((const struct waiter *)b)->lock;

	if (x->session != y->session)
		return x->session < y->session ? -1 : 1;
	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

/* Where an owner's waits begin, if there are any. */
static unsigned
first_of(const struct walk *w, const struct tree_lock *owner)
{
	struct waiter key = {.lock = *owner};
	unsigned low = 0, high = w->n, middle;

	key.lock.ordinal = 0;
	while (low < high) {
		middle = low + (high - low) / 2;
		if (by_owner(&w->waiters[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Goes on to the waits of whoever blocks; true: one of them is the asker. */
static bool
reach(struct walk *w, const struct lockset *set,
    const struct tree_lock *blocked)
{
	for (unsigned i = 0; i < set->n; i++) {
		const struct tree_lock *l = &set->locks[i];

		if (!lockset_blocks(set, l, blocked))
			continue;
		if (tree_locks_same_owner(l, w->want))
			return true;
		/* All of an owner's waits are reached at once. */
		for (unsigned k = first_of(w, l); k < w->n &&
		    !w->waiters[k].seen &&
		    tree_locks_same_owner(&w->waiters[k].lock, l); k++) {
			w->waiters[k].seen = true;
			w->todo[w->n_todo++] = k;
		}
	}
	return false;
}
