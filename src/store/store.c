/*
 * store.c: what all stores share: checks, sticky errors, the kept digest.
 */
#include "config.h"

#include "store/store.h"

#include <assert.h>
#include <errno.h>

#include "base/log.h"
#include "store/store_internal.h"

/*
 * Family 0 is the store's own and hidden from seeks.  It holds the digest, in
 * the same transaction as what it is the digest of.
 */
static const struct slice digest_key = {"\0digest", 7};
static const struct slice first_visible = {"\1", 1};

_Static_assert(STORE_DIGEST_LEN == DIGEST_LEN, "one length");

static bool get(struct store_txn *, struct slice key, struct slice *ret);
static void load_digest(struct store_txn *);
static bool check(struct store_txn *, int err);
static bool replicated(struct slice key);
static void check_key(struct slice key);

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	assert(!s->writing);
	s->ops->close(s);
}

int
store_clear(struct store *s)
{
	assert(!s->writing);
	return s->ops->clear(s);
}

int
store_sync(struct store *s)
{
	return s->ops->sync(s);
}

struct store_txn *
store_begin(struct store *s, enum store_mode mode)
{
	struct store_txn *t;

	assert(mode == STORE_READ || !s->writing);
	t = s->ops->begin(s, mode);
	assert(t != NULL && t->store == s && t->mode == mode);
	if (mode == STORE_WRITE)
		s->writing = true;
	return t;
}

int
store_commit(struct store_txn *t)
{
	int err;

	assert(t != NULL);
	if (t->digest_changed && t->error == 0)
		(void)check(t, t->store->ops->put(t, digest_key,
		    slice_of(t->digest.bytes, DIGEST_LEN)));
	err = t->error;
	if (t->mode == STORE_READ || err != 0) {
		store_abort(t);
		return err;
	}
	t->store->writing = false;
	err = t->store->ops->commit(t);
	if (err != 0)
		log_error("store: commit: %s; nothing of it was kept",
		    strerror(-err));
	return err;
}

void
store_abort(struct store_txn *t)
{
	if (t == NULL)
		return;
	if (t->mode == STORE_WRITE)
		t->store->writing = false;
	t->store->ops->abort(t);
}

int
store_error(const struct store_txn *t)
{
	return t->error;
}

bool
store_get(struct store_txn *t, struct slice key, struct slice *ret)
{
	check_key(key);
	return get(t, key, ret);
}

bool
store_seek(struct store_txn *t, struct slice from, bool after,
    struct slice *ret_key, struct slice *ret_value)
{
	struct slice key, value;

	assert(from.len <= STORE_KEY_MAX);
	if (t->error != 0)
		return false;
	if (slice_cmp(from, first_visible) < 0) {
		from = first_visible;
		after = false;
	}
	if (!check(t, t->store->ops->seek(t, from, after, &key, &value)))
		return false;
	*ret_key = key;
	*ret_value = value;
	return true;
}

void
store_put(struct store_txn *t, struct slice key, struct slice value)
{
	struct slice old;

	check_key(key);
	assert(t->mode == STORE_WRITE);
	if (t->error != 0)
		return;
	if (replicated(key)) {
		load_digest(t);
		if (get(t, key, &old)) {
			if (slice_eq(old, value))
				return;
			digest_sub(&t->digest, key, old);
		}
		digest_add(&t->digest, key, value);
		t->digest_changed = true;
	}
	if (t->error == 0)
		(void)check(t, t->store->ops->put(t, key, value));
}

void
store_del(struct store_txn *t, struct slice key)
{
	struct slice old;

	check_key(key);
	assert(t->mode == STORE_WRITE);
	if (!get(t, key, &old))
		return;
	if (replicated(key)) {
		load_digest(t);
		digest_sub(&t->digest, key, old);
		t->digest_changed = true;
	}
	if (t->error == 0)
		(void)check(t, t->store->ops->del(t, key));
}

void
store_digest(struct store_txn *t, uint8_t ret[STORE_DIGEST_LEN])
{
	load_digest(t);
	memcpy(ret, t->digest.bytes, STORE_DIGEST_LEN);
}

void
store_digest_scan(struct store_txn *t, uint8_t ret[STORE_DIGEST_LEN])
{
	static const uint8_t first = STORE_REPLICATED;
	struct slice key = slice_of(&first, 1), value;
	struct digest d = {0};
	bool after = false;

	while (store_seek(t, key, after, &key, &value)) {
		digest_add(&d, key, value);
		after = true;
	}
	memcpy(ret, d.bytes, STORE_DIGEST_LEN);
}

static bool
get(struct store_txn *t, struct slice key, struct slice *ret)
{
	struct slice value;

	if (t->error != 0)
		return false;
	if (!check(t, t->store->ops->get(t, key, &value)))
		return false;
	*ret = value;
	return true;
}

static void
load_digest(struct store_txn *t)
{
	struct slice kept;

	if (t->digest_loaded)
		return;
	t->digest_loaded = true;
	if (!get(t, digest_key, &kept))
		return;
	if (kept.len == DIGEST_LEN)
		memcpy(t->digest.bytes, kept.ptr, DIGEST_LEN);
	else
		t->error = -EUCLEAN;
}

/* -ENOENT is an answer; every other failure sticks. */
static bool
check(struct store_txn *t, int err)
{
	assert(err <= 0);
	if (err != 0 && err != -ENOENT)
		t->error = err;
	return err == 0;
}

static bool
replicated(struct slice key)
{
	return *(const uint8_t *)key.ptr >= STORE_REPLICATED;
}

static void
check_key(struct slice key)
{
	assert(key.len > 0 && key.len <= STORE_KEY_MAX);
	assert(*(const uint8_t *)key.ptr != 0);
}
