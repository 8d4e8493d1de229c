/*
 * lock.c: flock(2), and the byte ranges of fcntl(2).
 *
 * The two don't see each other, as on Linux.  Locks are replicated, but no
 * part of the files: they make no revision.
 */
#include "config.h"

#include "machine/lock.h"

#include <assert.h>
#include <errno.h>

static struct tree_lock asked(const struct step *);
static int take_flock(struct step *, struct lockset *,
    const struct tree_lock *want);
static int take_range(struct step *, struct lockset *,
    const struct tree_lock *want);
static int refuse_room(struct step *);
static int refuse_held(struct step *);
static void free_rows(struct step *, struct lockset *);
static bool splits_too_much(struct step *, const struct lockset *);
static void give_back(struct step *, struct lockset *, unsigned i);
static void end_rows(struct step *, struct lockset *, uint64_t session,
    uint32_t delay_ms);

int
lock_take(struct step *s)
{
	const struct command *c = s->c;
	struct tree_lock want = asked(s);
	struct lockset set;
	struct attr a;
	int err;

	if (!tree_node_get(s->txn, c->node, &a))
		return step_refuse(s, -ESTALE, "the file has been removed");
	lockset_open(s, c->node, &set);
	err = want.is_flock ? take_flock(s, &set, &want) :
	    take_range(s, &set, &want);
	lockset_close(s, &set);
	if (err == 0)
		s->out->ino = c->node;
	return err;
}

static struct tree_lock
asked(const struct step *s)
{
	const struct command *c = s->c;
	struct tree_lock l = {
		.session = c->stamp.session, .seq = c->stamp.seq,
		.host = c->stamp.host, .owner = c->lock.owner,
		.handle = c->lock.handle, .start = c->lock.start,
		.end = c->lock.end, .pid = c->lock.pid,
		.is_flock = c->flags & LOCK_FLOCK,
		.exclusive = c->flags & LOCK_EXCLUSIVE,
	};

	if (l.is_flock) {
		l.start = 0;
		l.end = UINT64_MAX;
	}
	assert(c->name.len < sizeof(l.comm));
	if (c->name.len != 0)
		memcpy(l.comm, c->name.ptr, c->name.len);
	return l;
}

/*
 * flock(2): what the owner has is converted.  A blocking conversion that must
 * wait gives up the old lock first; one that may not wait keeps it, which is
 * kinder than Linux.
 */
static int
take_flock(struct step *s, struct lockset *set, const struct tree_lock *want)
{
	struct tree_lock *own = lockset_flock(set, want);
	enum lock_block block = lockset_blocked(set, want);
	bool may_wait = s->c->flags & LOCK_WAIT;

	if (own != NULL && own->exclusive == want->exclusive) {
		s->out->value = own->token;
		return 0;
	}
	if (block == BLOCK_NOBODY || (own != NULL && block == BLOCK_QUEUE)) {
		if (!lockset_room(s, set, want))
			return refuse_room(s);
		s->out->value = lockset_hold(s, set, want);
		lockset_grant(s, set);
		return 0;
	}
	if (!may_wait)
		return refuse_held(s);
	if (!lockset_room(s, set, want))
		return refuse_room(s);
	if (own != NULL)
		lockset_remove(s, set, (unsigned)(own - set->locks));
	lockset_queue(s, set, want);
	lockset_grant(s, set);
	return 0;
}

static int
take_range(struct step *s, struct lockset *set, const struct tree_lock *want)
{
	enum lock_block block = lockset_blocked(set, want);
	bool may_wait = s->c->flags & LOCK_WAIT;
	bool cycle;

	if (block != BLOCK_NOBODY && !may_wait)
		return refuse_held(s);
	cycle = block != BLOCK_NOBODY && lock_cycle(s, set, want);
	if (cycle && block == BLOCK_HOLDER)
		return step_refuse(s, -EDEADLK,
		    "its owner would wait for himself");
	if (!lockset_room(s, set, want))
		return refuse_room(s);
	/* Nobody holds it, and keeping the order would be a deadlock. */
	if (block == BLOCK_NOBODY || cycle)
		s->out->value = lockset_hold(s, set, want);
	else
		lockset_queue(s, set, want);
	lockset_grant(s, set);
	return 0;
}

static int
refuse_room(struct step *s)
{
	return step_refuse(s, -ENOLCK, "there are too many locks");
}

static int
refuse_held(struct step *s)
{
	return step_refuse(s, -EAGAIN,
	    "another holds the lock, or came earlier");
}

int
lock_free(struct step *s)
{
	struct lockset set;
	int err = 0;

	lockset_open(s, s->c->node, &set);
	if (splits_too_much(s, &set)) {
		err = refuse_room(s);
	} else {
		free_rows(s, &set);
		lockset_grant(s, &set);
	}
	lockset_close(s, &set);
	return err;
}

static void
free_rows(struct step *s, struct lockset *set)
{
	const struct command *c = s->c;
	struct tree_lock who = asked(s);
	bool by_handle = (c->flags & UNLOCK_HANDLE) && c->lock.handle != 0;

	for (unsigned i = 0; i < set->n_held;) {
		const struct tree_lock *l = &set->locks[i];
		bool own = tree_locks_same_owner(l, &who);

		if ((by_handle && !l->is_flock && l->session == who.session &&
		    l->handle == who.handle) ||
		    (own && (c->flags & UNLOCK_OWNER)) ||
		    (own && l->is_flock && (c->flags & LOCK_FLOCK)))
			lockset_remove(s, set, i);
		else
			i++;
	}
	if ((c->flags & (LOCK_FLOCK | UNLOCK_HANDLE | UNLOCK_OWNER)) == 0)
		lockset_cut(s, set, &who, who.start, who.end);
}

/* A hole in the middle of a range makes it two. */
static bool
splits_too_much(struct step *s, const struct lockset *set)
{
	const struct command *c = s->c;
	struct tree_lock who = asked(s);
	struct tree_locks all;

	tree_locks_get(s->txn, &all);
	if (set->n < LIMIT_NODE_LOCKS && all.n < LIMIT_LOCKS)
		return false;
	if ((c->flags & (LOCK_FLOCK | UNLOCK_HANDLE | UNLOCK_OWNER)) != 0)
		return false;
	for (unsigned i = 0; i < set->n_held; i++) {
		const struct tree_lock *l = &set->locks[i];

		if (!l->is_flock && tree_locks_same_owner(l, &who) &&
		    l->start < who.start && l->end > who.end)
			return true;
	}
	return false;
}

int
lock_cancel(struct step *s)
{
	const struct command *c = s->c;
	struct lockset set;

	if (session_forestall(s, c->expect))
		return 0;
	lockset_open(s, c->node, &set);
	for (unsigned i = 0; c->expect != 0 && i < set.n;) {
		struct tree_lock *l = &set.locks[i];

		if (l->session != c->stamp.session || l->seq != c->expect)
			i++;
		else if (l->waits || l->prior == PRIOR_NONE)
			lockset_remove(s, &set, i);
		else
			give_back(s, &set, i++);
	}
	lockset_grant(s, &set);
	lockset_close(s, &set);
	return 0;
}

/* As it was before; shared, if exclusive is another's business by now. */
static void
give_back(struct step *s, struct lockset *set, unsigned i)
{
	struct tree_lock *l = &set->locks[i], was = *l;

	was.exclusive = l->prior == PRIOR_EXCLUSIVE;
	for (unsigned k = 0; k < set->n_held; k++) {
		if (tree_locks_conflict(&set->locks[k], &was))
			was.exclusive = false;
	}
	l->exclusive = was.exclusive;
	l->prior = PRIOR_NONE;
	l->waited = false;
	l->seq = 0;
	lockset_put(s, set, i);
}

int
lock_delay_end(struct step *s)
{
	struct lockset set;

	lockset_open(s, s->c->node, &set);
	for (unsigned i = 0; i < set.n_held; i++) {
		if (set.locks[i].delay_ms != 0 &&
		    set.locks[i].ordinal == s->c->expect) {
			lockset_remove(s, &set, i);
			break;
		}
	}
	lockset_grant(s, &set);
	lockset_close(s, &set);
	return 0;
}

void
lock_session_end(struct step *s, uint64_t session, bool lost)
{
	struct lockset set;
	uint64_t node = 0;

	while (tree_lock_node_next(s->txn, node, &node)) {
		lockset_open(s, node, &set);
		end_rows(s, &set, session,
		    lost ? step_lock_delay_ms(s, node) : 0);
		if (set.dirty)
			lockset_grant(s, &set);
		lockset_close(s, &set);
	}
}

/* With a delay a lock stays, nobody's: what its holder has begun may still be
 * on its way to wherever the lock guards. */
static void
end_rows(struct step *s, struct lockset *set, uint64_t session,
    uint32_t delay_ms)
{
	for (unsigned i = 0; i < set->n;) {
		struct tree_lock *l = &set->locks[i];

		if (l->session != session) {
			i++;
		} else if (l->waits || delay_ms == 0) {
			lockset_remove(s, set, i);
		} else {
			l->session = 0;
			l->owner = l->ordinal;
			l->handle = l->seq = 0;
			l->prior = PRIOR_NONE;
			l->waited = false;
			l->delay_ms = delay_ms;
			lockset_put(s, set, i++);
		}
	}
}
