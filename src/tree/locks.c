/*
 * locks.c: holders and waiters of a node's locks.
 *
 * Holders and waiters are families of their own, both keyed (node, ordinal),
 * so that a search for a cycle walks the waiters of the whole tree without
 * the holders.  They outlive their node: a lock ends when it is freed.
 */
#include "config.h"

#include "tree/tree.h"

#include <assert.h>

#include "tree/schema.h"

enum {
	IS_FLOCK = 1, IS_EXCLUSIVE = 2, IS_WAITED = 4,
	LOCK_LEN = 9 * 8 + 2 * 4 + LIMIT_COMM + 2,
	STATE_LEN = 4 * 8,
};

static enum family family_of(const struct tree_lock *);
static bool next_in(struct store_txn *, enum family, uint64_t node,
    uint64_t ordinal, uint64_t *ret_node, struct tree_lock *ret);
static bool decode(struct slice value, struct tree_lock *ret);

bool
tree_locks_conflict(const struct tree_lock *a, const struct tree_lock *b)
{
	return a->is_flock == b->is_flock && (a->exclusive || b->exclusive) &&
	    a->start <= b->end && b->start <= a->end &&
	    !tree_locks_same_owner(a, b);
}

bool
tree_locks_same_owner(const struct tree_lock *a, const struct tree_lock *b)
{
	return a->session == b->session && a->owner == b->owner;
}

bool
tree_lock_next(struct store_txn *txn, uint64_t node, uint64_t ordinal,
    struct tree_lock *ret)
{
	struct tree_lock held, waits;
	uint64_t of_held, of_waits;
	bool is_held, is_waiting;

	is_held = next_in(txn, FAMILY_LOCK_HELD, node, ordinal, &of_held,
	    &held) && of_held == node;
	is_waiting = next_in(txn, FAMILY_LOCK_WAIT, node, ordinal, &of_waits,
	    &waits) && of_waits == node;
	if (!is_held && !is_waiting)
		return false;
	*ret = is_held && (!is_waiting || held.ordinal < waits.ordinal) ?
	    held : waits;
	return true;
}

bool
tree_lock_node_next(struct store_txn *txn, uint64_t node, uint64_t *ret)
{
	uint64_t of_held, of_waits;
	bool is_held, is_waiting;
	struct tree_lock l;

	is_held = next_in(txn, FAMILY_LOCK_HELD, node, UINT64_MAX, &of_held,
	    &l);
	is_waiting = next_in(txn, FAMILY_LOCK_WAIT, node, UINT64_MAX,
	    &of_waits, &l);
	if (!is_held && !is_waiting)
		return false;
	*ret = is_held && (!is_waiting || of_held < of_waits) ? of_held :
	    of_waits;
	return true;
}

bool
tree_lock_held_next(struct store_txn *txn, uint64_t node, uint64_t ordinal,
    uint64_t *ret_node, struct tree_lock *ret)
{
	return next_in(txn, FAMILY_LOCK_HELD, node, ordinal, ret_node, ret);
}

bool
tree_lock_waiter_next(struct store_txn *txn, uint64_t node, uint64_t ordinal,
    uint64_t *ret_node, struct tree_lock *ret)
{
	return next_in(txn, FAMILY_LOCK_WAIT, node, ordinal, ret_node, ret);
}

bool
tree_lock_delayed_next(struct store_txn *txn, uint64_t node, uint64_t ordinal,
    uint64_t *ret_node, struct tree_lock *ret)
{
	struct slice key, value;
	uint64_t of, number;
	struct key k;

	if (!store_seek(txn,
	    schema_prefix(&k, FAMILY_LOCK_DELAY, 2, node, ordinal), true, &key,
	    &value) ||
	    !schema_parse(key, FAMILY_LOCK_DELAY, &of, &number, NULL))
		return false;
	return next_in(txn, FAMILY_LOCK_HELD, of, number - 1, ret_node, ret);
}

bool
tree_lock_conflict(struct store_txn *txn, const struct tree_lock *probe,
    uint64_t node, struct tree_lock *ret)
{
	struct tree_lock best = {0}, l;
	bool found = false, grown = true;

	for (uint64_t n = 0; tree_lock_next(txn, node, n, &l); n = l.ordinal) {
		if (!l.waits && tree_locks_conflict(probe, &l) &&
		    (!found || l.start < best.start)) {
			best = l;
			found = true;
		}
	}
	/* Rows that touch are one range to fcntl(2). */
	while (found && grown) {
		grown = false;
		for (uint64_t n = 0; tree_lock_next(txn, node, n, &l);
		    n = l.ordinal) {
			if (!tree_lock_touches(&l, &best))
				continue;
			grown = l.start < best.start || l.end > best.end;
			best.start = l.start < best.start ? l.start :
			    best.start;
			best.end = l.end > best.end ? l.end : best.end;
			if (grown)
				break;
		}
	}
	if (found)
		*ret = best;
	return found;
}

bool
tree_lock_touches(const struct tree_lock *a, const struct tree_lock *b)
{
	return !a->waits && !b->waits && !a->is_flock && !b->is_flock &&
	    tree_locks_same_owner(a, b) && a->exclusive == b->exclusive &&
	    (b->end == UINT64_MAX || a->start <= b->end + 1) &&
	    (a->end == UINT64_MAX || b->start <= a->end + 1);
}

void
tree_lock_put(struct store_txn *txn, uint64_t node, const struct tree_lock *l)
{
	uint8_t bytes[LOCK_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	assert(l->ordinal != 0 && l->start <= l->end);
	buf_u64(&b, l->session);
	buf_u64(&b, l->seq);
	buf_u64(&b, l->host);
	buf_u64(&b, l->owner);
	buf_u64(&b, l->handle);
	buf_u64(&b, l->start);
	buf_u64(&b, l->end);
	buf_u32(&b, l->pid);
	buf_raw(&b, l->comm, LIMIT_COMM);
	buf_u8(&b, (uint8_t)((l->is_flock ? IS_FLOCK : 0) |
	    (l->exclusive ? IS_EXCLUSIVE : 0) | (l->waited ? IS_WAITED : 0)));
	buf_u8(&b, (uint8_t)l->prior);
	buf_u32(&b, l->delay_ms);
	buf_u64(&b, l->token);
	buf_u64(&b, l->since_ns);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_prefix(&k, family_of(l), 2, node, l->ordinal),
	    buf_slice(&b));
	if (l->delay_ms != 0)
		store_put(txn, schema_prefix(&k, FAMILY_LOCK_DELAY, 2, node,
		    l->ordinal), SLICE_EMPTY);
}

void
tree_lock_del(struct store_txn *txn, uint64_t node, const struct tree_lock *l)
{
	struct key k;

	store_del(txn, schema_prefix(&k, family_of(l), 2, node, l->ordinal));
	if (l->delay_ms != 0)
		store_del(txn, schema_prefix(&k, FAMILY_LOCK_DELAY, 2, node,
		    l->ordinal));
}

uint64_t
tree_lock_token(struct store_txn *txn, uint64_t node)
{
	struct slice value;
	struct reader r;
	uint64_t token;
	struct key k;

	if (!store_get(txn, schema_prefix(&k, FAMILY_LOCK_TOKEN, 1, node, 0),
	    &value))
		return 0;
	reader_init(&r, value);
	token = reader_u64(&r);
	return reader_done(&r) ? token : 0;
}

void
tree_lock_token_put(struct store_txn *txn, uint64_t node, uint64_t token)
{
	uint8_t bytes[8];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	if (token == 0) {
		store_del(txn, schema_prefix(&k, FAMILY_LOCK_TOKEN, 1, node,
		    0));
		return;
	}
	buf_u64(&b, token);
	store_put(txn, schema_prefix(&k, FAMILY_LOCK_TOKEN, 1, node, 0),
	    buf_slice(&b));
}

void
tree_locks_get(struct store_txn *txn, struct tree_locks *ret)
{
	struct tree_locks l = {0};
	struct slice value;
	struct reader r;
	struct key k;

	if (store_get(txn, schema_prefix(&k, FAMILY_LOCK_STATE, 0, 0, 0),
	    &value)) {
		reader_init(&r, value);
		l.ordinal = reader_u64(&r);
		l.token = reader_u64(&r);
		l.n = reader_u64(&r);
		l.n_guards = reader_u64(&r);
		if (!reader_done(&r))
			l = (struct tree_locks){0};
	}
	*ret = l;
}

void
tree_locks_put(struct store_txn *txn, const struct tree_locks *l)
{
	uint8_t bytes[STATE_LEN];
	struct buf b = schema_value(bytes, sizeof(bytes));
	struct key k;

	buf_u64(&b, l->ordinal);
	buf_u64(&b, l->token);
	buf_u64(&b, l->n);
	buf_u64(&b, l->n_guards);
	assert(buf_error(&b) == 0);
	store_put(txn, schema_prefix(&k, FAMILY_LOCK_STATE, 0, 0, 0),
	    buf_slice(&b));
}

static enum family
family_of(const struct tree_lock *l)
{
	return l->waits ? FAMILY_LOCK_WAIT : FAMILY_LOCK_HELD;
}

static bool
next_in(struct store_txn *txn, enum family family, uint64_t node,
    uint64_t ordinal, uint64_t *ret_node, struct tree_lock *ret)
{
	struct slice key, value;
	struct tree_lock l;
	uint64_t of, number;
	struct key k;

	if (!store_seek(txn, schema_prefix(&k, family, 2, node, ordinal), true,
	    &key, &value))
		return false;
	if (!schema_parse(key, family, &of, &number, NULL) ||
	    !decode(value, &l))
		return false;
	l.ordinal = number;
	l.waits = family == FAMILY_LOCK_WAIT;
	*ret_node = of;
	*ret = l;
	return true;
}

static bool
decode(struct slice value, struct tree_lock *ret)
{
	struct tree_lock l = {0};
	struct slice comm;
	struct reader r;
	uint8_t flags;

	reader_init(&r, value);
	l.session = reader_u64(&r);
	l.seq = reader_u64(&r);
	l.host = reader_u64(&r);
	l.owner = reader_u64(&r);
	l.handle = reader_u64(&r);
	l.start = reader_u64(&r);
	l.end = reader_u64(&r);
	l.pid = reader_u32(&r);
	comm = reader_raw(&r, LIMIT_COMM);
	flags = reader_u8(&r);
	l.prior = (enum tree_lock_prior)reader_u8(&r);
	l.delay_ms = reader_u32(&r);
	l.token = reader_u64(&r);
	l.since_ns = reader_u64(&r);
	if (!reader_done(&r) || comm.len != LIMIT_COMM)
		return false;
	memcpy(l.comm, comm.ptr, LIMIT_COMM);
	l.comm[LIMIT_COMM - 1] = '\0';
	l.is_flock = flags & IS_FLOCK;
	l.exclusive = flags & IS_EXCLUSIVE;
	l.waited = flags & IS_WAITED;
	*ret = l;
	return true;
}
