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
enum { LONG_VALUE = 128 };

static bool get_raw(struct store_txn *, struct slice key, struct slice *ret);
static struct slice without_hash(struct store_txn *, struct slice key,
    struct slice raw);
static struct touched_value *look(struct store_txn *, struct slice key,
    struct touched_value *unkept);
static void subtract(struct store_txn *, struct touched_value *);
static void put_through(struct store_txn *, struct touched_value *);
static void settle(struct store_txn *);
static void forget(struct store *);
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
	touched_free(s->touched);
	s->ops->close(s);
}

int
store_clear(struct store *s)
{
	assert(!s->writing);
	forget(s);
	return s->ops->clear(s);
}

bool
store_room_low(struct store *s)
{
	return s->ops->room_low != NULL && s->ops->room_low(s);
}

struct store_txn *
store_begin(struct store *s, enum store_mode mode)
{
	struct store_txn *t;

	assert(mode == STORE_READ || !s->writing);
	t = s->ops->begin(s, mode);
	assert(t != NULL && t->store == s && t->mode == mode);
	if (mode == STORE_READ)
		return t;
	s->writing = true;
	if (s->touched == NULL)
		s->touched = touched_new();
	if (s->touched != NULL)
		touched_begin(s->touched);
	else
		t->error = -ENOMEM;
	t->touched = s->touched;
	return t;
}

int
store_commit(struct store_txn *t)
{
	struct store *s = t->store;
	int err;

	settle(t);
	if (t->digest_changed && t->error == 0)
		(void)check(t, s->ops->put(t, digest_key,
		    slice_of(t->digest.bytes, DIGEST_LEN), SLICE_EMPTY));
	err = t->error;
	if (t->mode == STORE_READ || err != 0) {
		store_abort(t);
		return err;
	}
	s->writing = false;
	err = s->ops->commit(t);
	if (err != 0) {
		forget(s);
		log_error("store: commit: %s; nothing of it was kept",
		    strerror(-err));
	}
	return err;
}

void
store_abort(struct store_txn *t)
{
	if (t == NULL)
		return;
	if (t->mode == STORE_WRITE) {
		t->store->writing = false;
		forget(t->store);
	}
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
	struct touched_value unkept, *v;
	struct slice raw, value;

	check_key(key);
	if (t->mode == STORE_WRITE && replicated(key)) {
		v = look(t, key, &unkept);
		if (v == NULL || !v->present)
			return false;
		*ret = v->value;
		return true;
	}
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
	if (t->mode == STORE_WRITE) {
		const struct touched_value *kept = touched_find(t->touched, key);

		if (kept != NULL)
			value = kept->value;
	}
	*ret_key = key;
	*ret_value = value;
	return true;
}

void
store_put(struct store_txn *t, struct slice key, struct slice value)
{
	struct touched_value unkept, *v;
	bool replaces;

	check_key(key);
	assert(t->mode == STORE_WRITE);
	if (t->error != 0)
		return;
	if (!replicated(key)) {
		(void)check(t, t->store->ops->put(t, key, value, SLICE_EMPTY));
		return;
	}
	v = look(t, key, &unkept);
	if (v == NULL || (v->present && slice_eq(v->value, value)))
		return;
	replaces = v->present;
	if (replaces)
		subtract(t, v);
	if (v != &unkept && touched_set(t->touched, v, value)) {
		if (replaces)
			touched_delay(t->touched, v);
		else
			put_through(t, v);
		return;
	}
	if (v != &unkept)
		touched_forget(t->touched, v);
	unkept = (struct touched_value){.key = key, .value = value};
	put_through(t, &unkept);
}

void
store_del(struct store_txn *t, struct slice key)
{
	struct touched_value unkept, *v;
	struct slice raw;

	check_key(key);
	assert(t->mode == STORE_WRITE);
	if (replicated(key)) {
		v = look(t, key, &unkept);
		if (v == NULL || !v->present)
			return;
		subtract(t, v);
		v->present = false;
	} else if (!get_raw(t, key, &raw)) {
		return;
	}
	if (t->error == 0)
		(void)check(t, t->store->ops->del(t, key));
}

void
store_digest(struct store_txn *t, uint8_t ret[STORE_DIGEST_LEN])
{
	settle(t);
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

/*
 * What is known of a replicated key: kept, or for this call only, its value
 * borrowed from the map.  NULL: the error sticks.
 */
static struct touched_value *
look(struct store_txn *t, struct slice key, struct touched_value *unkept)
{
	struct touched_value *kept;
	struct slice raw;

	if (t->error != 0)
		return NULL;
	kept = touched_find(t->touched, key);
	if (kept != NULL)
		return kept;
	*unkept = (struct touched_value){.key = key};
	if (get_raw(t, key, &raw)) {
		unkept->value = without_hash(t, key, raw);
		unkept->present = unkept->counted = true;
		unkept->hashed = unkept->value.len < raw.len;
		if (unkept->hashed)
			memcpy(unkept->hash, (const uint8_t *)raw.ptr +
			    unkept->value.len, DIGEST_LEN);
	}
	if (t->error != 0)
		return NULL;
	kept = touched_add(t->touched, unkept);
	return kept != NULL ? kept : unkept;
}

/* Takes what a key has out of the digest. */
static void
subtract(struct store_txn *t, struct touched_value *v)
{
	if (!v->counted)
		return;
	load_digest(t);
	if (!v->hashed)
		digest_hash(v->key, v->value, v->hash);
	digest_sub(&t->digest, v->hash);
	t->digest_changed = true;
	v->counted = false;
}

/* Into the map and the digest. */
static void
put_through(struct store_txn *t, struct touched_value *v)
{
	struct slice tail = SLICE_EMPTY;

	load_digest(t);
	digest_hash(v->key, v->value, v->hash);
	digest_add(&t->digest, v->hash);
	t->digest_changed = true;
	v->hashed = v->counted = true;
	if (v->value.len > LONG_VALUE)
		tail = slice_of(v->hash, DIGEST_LEN);
	if (t->error == 0)
		(void)check(t, t->store->ops->put(t, v->key, v->value, tail));
}

/* What was kept back until now, and is still to be put. */
static void
settle(struct store_txn *t)
{
	struct touched_value *v;

	if (t->touched == NULL)
		return;
	while (t->error == 0 && (v = touched_next_late(t->touched)) != NULL) {
		if (v->present && !v->counted)
			put_through(t, v);
	}
}

/* What is known was not committed. */
static void
forget(struct store *s)
{
	if (s->touched != NULL)
		touched_reset(s->touched);
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
