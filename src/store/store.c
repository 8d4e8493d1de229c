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

/*
 * A longer value of a replicated family is stored with its hash behind it, so
 * that to replace or remove it costs no second look at all its bytes.
 */
enum { LONG_VALUE = 1024 };

static bool get_raw(struct store_txn *, struct slice key, struct slice *ret);
static struct slice without_hash(struct store_txn *, struct slice key,
    struct slice raw);
static void subtract(struct store_txn *, struct slice key, struct slice raw);
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
		    slice_of(t->digest.bytes, DIGEST_LEN), SLICE_EMPTY));
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
	struct slice raw, value;

	check_key(key);
	if (!get_raw(t, key, &raw))
		return false;
	value = without_hash(t, key, raw);
	if (t->error != 0)
		return false;
	*ret = value;
	return true;
}

bool
store_seek(struct store_txn *t, struct slice from, bool after,
    struct slice *ret_key, struct slice *ret_value)
{
	struct slice key, raw, value;

	assert(from.len <= STORE_KEY_MAX);
	if (t->error != 0)
		return false;
	if (slice_cmp(from, first_visible) < 0) {
		from = first_visible;
		after = false;
	}
	if (!check(t, t->store->ops->seek(t, from, after, &key, &raw)))
		return false;
	value = without_hash(t, key, raw);
	if (t->error != 0)
		return false;
	*ret_key = key;
	*ret_value = value;
	return true;
}

void
store_put(struct store_txn *t, struct slice key, struct slice value)
{
	struct slice raw, tail = SLICE_EMPTY;
	uint8_t hash[DIGEST_LEN];

	check_key(key);
	assert(t->mode == STORE_WRITE);
	if (t->error != 0)
		return;
	if (replicated(key)) {
		if (get_raw(t, key, &raw)) {
			if (slice_eq(without_hash(t, key, raw), value))
				return;
			subtract(t, key, raw);
		}
		load_digest(t);
		digest_hash(key, value, hash);
		digest_add(&t->digest, hash);
		t->digest_changed = true;
		if (value.len > LONG_VALUE)
			tail = slice_of(hash, sizeof(hash));
	}
	if (t->error == 0)
		(void)check(t, t->store->ops->put(t, key, value, tail));
}

void
store_del(struct store_txn *t, struct slice key)
{
	struct slice raw;

	check_key(key);
	assert(t->mode == STORE_WRITE);
	if (!get_raw(t, key, &raw))
		return;
	if (replicated(key))
		subtract(t, key, raw);
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
	uint8_t hash[DIGEST_LEN];
	bool after = false;

	while (store_seek(t, key, after, &key, &value)) {
		digest_hash(key, value, hash);
		digest_add(&d, hash);
		after = true;
	}
	memcpy(ret, d.bytes, STORE_DIGEST_LEN);
}

static bool
get_raw(struct store_txn *t, struct slice key, struct slice *ret)
{
	struct slice raw;

	if (t->error != 0)
		return false;
	if (!check(t, t->store->ops->get(t, key, &raw)))
		return false;
	*ret = raw;
	return true;
}

/* No value of ours is that much longer than LONG_VALUE and no more. */
static struct slice
without_hash(struct store_txn *t, struct slice key, struct slice raw)
{
	if (!replicated(key) || raw.len <= LONG_VALUE)
		return raw;
	if (raw.len <= LONG_VALUE + DIGEST_LEN) {
		t->error = -EUCLEAN;
		return SLICE_EMPTY;
	}
	return slice_of(raw.ptr, raw.len - DIGEST_LEN);
}

/* Takes a pair out of the digest. */
static void
subtract(struct store_txn *t, struct slice key, struct slice raw)
{
	struct slice value = without_hash(t, key, raw);
	uint8_t hash[DIGEST_LEN];

	load_digest(t);
	if (value.len < raw.len)
		memcpy(hash, (const uint8_t *)raw.ptr + value.len, DIGEST_LEN);
	else
		digest_hash(key, value, hash);
	digest_sub(&t->digest, hash);
	t->digest_changed = true;
}

static void
load_digest(struct store_txn *t)
{
	struct slice kept;

	if (t->digest_loaded)
		return;
	t->digest_loaded = true;
	if (!get_raw(t, digest_key, &kept))
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
