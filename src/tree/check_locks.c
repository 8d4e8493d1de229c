/*
 * check_locks.c: the invariants of locks and lifetimes.
 *
 * - Holders don't conflict, and what one owner holds doesn't overlap.
 * - Who waits is blocked, by a holder or by someone who came earlier and
 *   doesn't wait for him.
 * - Locks belong to sessions that exist, or have a delay and an index of it.
 * - No ordinal, token or count is more than the tree's or the node's.
 * - Lives belong to nodes and sessions that exist; what is doomed has a lock
 *   on it or names in it.  Linked names with a life exist.
 */
#include "config.h"

#include "tree/tree.h"

#include <sys/stat.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tree/schema.h"

struct check {
	struct store_txn *txn;
	struct tree_locks all;
	uint64_t n, n_delayed, n_guards, n_owned; /* counted */
	char *why; /* the first finding */
	size_t why_len;
	bool bad;
};

static void check_node(struct check *, uint64_t node);
static void check_row(struct check *, uint64_t node, const struct tree_lock *);
static void check_pair(struct check *, uint64_t node, const struct tree_lock *,
    const struct tree_lock *);
static void check_waiter(struct check *, uint64_t node,
    const struct tree_lock *);
static bool waits_for(struct check *, uint64_t node,
    const struct tree_lock *waiter, const struct tree_lock *owner);
static void check_counts(struct check *);
static void check_tokens(struct check *);
static void check_lives(struct check *);
static void check_name_lives(struct check *);
static void check_life_counts(struct check *);
static void found(struct check *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

bool
tree_check_locks(struct store_txn *txn, char *ret_why, size_t why_len)
{
	struct check c = {.txn = txn, .why = ret_why, .why_len = why_len};
	uint64_t node = 0;

	tree_locks_get(txn, &c.all);
	while (!c.bad && tree_lock_node_next(txn, node, &node))
		check_node(&c, node);
	check_counts(&c);
	check_tokens(&c);
	check_lives(&c);
	check_name_lives(&c);
	check_life_counts(&c);
	return !c.bad;
}

static void
check_node(struct check *c, uint64_t node)
{
	struct tree_lock l, other;

	for (uint64_t i = 0; tree_lock_next(c->txn, node, i, &l);
	    i = l.ordinal) {
		check_row(c, node, &l);
		if (l.waits) {
			check_waiter(c, node, &l);
			continue;
		}
		for (uint64_t k = l.ordinal;
		    tree_lock_next(c->txn, node, k, &other);
		    k = other.ordinal) {
			if (!other.waits)
				check_pair(c, node, &l, &other);
		}
	}
}

static void
check_row(struct check *c, uint64_t node, const struct tree_lock *l)
{
	struct key k;
	struct slice nothing;
	bool indexed = store_get(c->txn, schema_prefix(&k, FAMILY_LOCK_DELAY,
	    2, node, l->ordinal), &nothing);

	c->n++;
	c->n_delayed += l->delay_ms != 0;
	if (l->ordinal > c->all.ordinal || l->start > l->end)
		found(c, "a lock of %" PRIu64 " is out of order", node);
	if (!l->waits && (l->token == 0 ||
	    l->token > tree_lock_token(c->txn, node)))
		found(c, "a token of %" PRIu64 " is newer than the newest",
		    node);
	if (l->delay_ms != 0 ? l->session != 0 || l->waits || !indexed :
	    indexed || !tree_session_exists(c->txn, l->session))
		found(c, "a lock of %" PRIu64 " is nobody's", node);
}

static void
check_pair(struct check *c, uint64_t node, const struct tree_lock *a,
    const struct tree_lock *b)
{
	if (tree_locks_conflict(a, b))
		found(c, "two holders of %" PRIu64 " conflict", node);
	if (tree_locks_same_owner(a, b) && a->is_flock == b->is_flock &&
	    a->start <= b->end && b->start <= a->end)
		found(c, "an owner holds a range of %" PRIu64 " twice", node);
}

static void
check_waiter(struct check *c, uint64_t node, const struct tree_lock *w)
{
	struct tree_lock l;

	for (uint64_t i = 0; tree_lock_next(c->txn, node, i, &l);
	    i = l.ordinal) {
		if (tree_locks_conflict(&l, w) && (!l.waits ||
		    (l.ordinal < w->ordinal && !waits_for(c, node, &l, w))))
			return;
	}
	found(c, "a waiter of %" PRIu64 " waits for nobody", node);
}

static bool
waits_for(struct check *c, uint64_t node, const struct tree_lock *waiter,
    const struct tree_lock *owner)
{
	struct tree_lock l;

	for (uint64_t i = 0; tree_lock_next(c->txn, node, i, &l);
	    i = l.ordinal) {
		if (!l.waits && tree_locks_same_owner(&l, owner) &&
		    tree_locks_conflict(&l, waiter))
			return true;
	}
	return false;
}

static void
check_counts(struct check *c)
{
	struct slice from, key, value, name;
	uint8_t copy[STORE_KEY_MAX];
	uint64_t n_delayed = 0;
	bool after = false;
	struct key k;

	from = schema_prefix(&k, FAMILY_XATTR, 0, 0, 0);
	while (store_seek(c->txn, from, after, &key, &value) &&
	    schema_parse(key, FAMILY_XATTR, NULL, NULL, &name)) {
		c->n_guards += slice_eq(name, slice_str("gov.guard"));
		memcpy(copy, key.ptr, key.len);
		from = slice_of(copy, key.len);
		after = true;
	}
	from = schema_prefix(&k, FAMILY_LOCK_DELAY, 0, 0, 0);
	after = false;
	while (store_seek(c->txn, from, after, &key, &value) &&
	    schema_parse(key, FAMILY_LOCK_DELAY, NULL, NULL, NULL)) {
		n_delayed++;
		memcpy(copy, key.ptr, key.len);
		from = slice_of(copy, key.len);
		after = true;
	}
	if (c->n != c->all.n || c->n_guards != c->all.n_guards ||
	    n_delayed != c->n_delayed)
		found(c, "%" PRIu64 " locks, %" PRIu64 " guards, %" PRIu64
		    " delays are not as counted", c->n, c->n_guards,
		    c->n_delayed);
}

static void
check_tokens(struct check *c)
{
	struct slice key, value;
	uint64_t node = 0;
	struct tree_lock l;
	struct attr a;
	struct key k;

	while (store_seek(c->txn, schema_prefix(&k, FAMILY_LOCK_TOKEN, 1, node,
	    0), true, &key, &value) &&
	    schema_parse(key, FAMILY_LOCK_TOKEN, &node, NULL, NULL)) {
		if (tree_lock_token(c->txn, node) > c->all.token)
			found(c, "a token of %" PRIu64 " is from the future",
			    node);
		if (!tree_node_get(c->txn, node, &a) &&
		    !tree_lock_next(c->txn, node, 0, &l))
			found(c, "a token of %" PRIu64 ", no node", node);
	}
}

static void
check_lives(struct check *c)
{
	struct tree_life life;
	struct tree_lock l;
	uint64_t ino = 0;
	struct attr a;

	while (tree_life_next(c->txn, ino, &ino, &life)) {
		c->n_owned += life.session != 0;
		if (!tree_node_get(c->txn, ino, &a)) {
			found(c, "a life of %" PRIu64 ", no node", ino);
			return;
		}
		if (life.session != 0 &&
		    !tree_session_exists(c->txn, life.session))
			found(c, "node %" PRIu64 " has outlived its session",
			    ino);
		if (life.doomed && !tree_lock_next(c->txn, ino, 0, &l) &&
		    (!S_ISDIR(a.mode) || tree_dir_empty(c->txn, ino)))
			found(c, "nothing keeps node %" PRIu64, ino);
		if ((life.kind == LIFE_TTL) != (life.ttl_ms != 0) ||
		    (life.doomed && life.session != 0) ||
		    (life.kind >= LIFE_SESSION && !S_ISDIR(a.mode) &&
		    !life.doomed && life.session == 0))
			found(c, "the life of node %" PRIu64 " makes no sense",
			    ino);
	}
}

static void
check_name_lives(struct check *c)
{
	uint8_t copy[LIMIT_NAME];
	struct slice name = SLICE_EMPTY;
	uint64_t dir = 0, session;
	struct tree_name n;

	while (tree_name_life_next(c->txn, dir, name, &dir, &name,
	    &session)) {
		memcpy(copy, name.ptr, name.len);
		name.ptr = copy;
		c->n_owned++;
		if (!tree_name_get(c->txn, dir, name, &n) ||
		    !tree_session_exists(c->txn, session))
			found(c, "a linked name in %" PRIu64 " is nobody's",
			    dir);
	}
}

static void
check_life_counts(struct check *c)
{
	struct slice key, value;
	uint64_t session = 0, sum = 0;
	struct key k;

	while (store_seek(c->txn, schema_prefix(&k, FAMILY_LIFE_COUNT, 1,
	    session, 0), true, &key, &value) &&
	    schema_parse(key, FAMILY_LIFE_COUNT, &session, NULL, NULL))
		sum += tree_life_count(c->txn, session);
	if (sum != c->n_owned)
		found(c, "%" PRIu64 " files end with sessions, %" PRIu64
		    " are counted", c->n_owned, sum);
}

static void
found(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (c->bad)
		return;
	c->bad = true;
	va_start(ap, fmt);
	(void)vsnprintf(c->why, c->why_len, fmt, ap);
	va_end(ap);
}
