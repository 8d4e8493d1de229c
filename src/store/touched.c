/*
 * touched.c: a hash table over two arrays that are used again and again.
 */
#include "config.h"

#include "store/touched.h"

#include <assert.h>
#include <stdlib.h>

enum {
	VALUES_MAX = 2048,	    /* a turn of 512 puts touches as many */
	SLOTS = 2 * VALUES_MAX,	    /* a power of two */
	BYTES_MAX = 384 * 1024,	    /* of keys and values */
	ROOM_UNIT = 16,		    /* values may grow a little in place */
};

struct touched {
	unsigned n_values;
	size_t n_bytes;
	uint16_t slots[SLOTS];	    /* 1 + index of a value; 0: free */
	uint16_t taken[VALUES_MAX]; /* the slot of each value */
	struct touched_value values[VALUES_MAX];
	uint8_t bytes[BYTES_MAX];
};

static uint16_t *slot_of(struct touched *, struct slice key);
static uint64_t hash_of(struct slice key);
static uint8_t *take(struct touched *, size_t len);

struct touched *
touched_new(void)
{
	return calloc(1, sizeof(struct touched));
}

void
touched_free(struct touched *t)
{
	free(t);
}

void
touched_reset(struct touched *t)
{
	while (t->n_values > 0)
		t->slots[t->taken[--t->n_values]] = 0;
	t->n_bytes = 0;
}

struct touched_value *
touched_find(struct touched *t, struct slice key)
{
	uint16_t slot = *slot_of(t, key);

	return slot == 0 ? NULL : &t->values[slot - 1];
}

struct touched_value *
touched_add(struct touched *t, struct slice key)
{
	uint16_t *slot = slot_of(t, key);
	struct touched_value *v;
	uint8_t *copy;

	assert(*slot == 0);
	if (t->n_values == VALUES_MAX)
		return NULL;
	copy = take(t, key.len);
	if (copy == NULL)
		return NULL;
	memcpy(copy, key.ptr, key.len);
	t->taken[t->n_values] = (uint16_t)(slot - t->slots);
	v = &t->values[t->n_values++];
	*v = (struct touched_value){.key = slice_of(copy, key.len)};
	*slot = (uint16_t)t->n_values;
	return v;
}

bool
touched_set(struct touched *t, struct touched_value *v, struct slice value)
{
	uint8_t *copy = (uint8_t *)(uintptr_t)v->value.ptr;
	size_t room = v->room;

	if (value.len > TOUCHED_VALUE_MAX)
		return false;
	if (copy == NULL || value.len > room) {
		room = (value.len + ROOM_UNIT) / ROOM_UNIT * ROOM_UNIT;
		copy = take(t, room);
		if (copy == NULL)
			return false;
	}
	if (value.len != 0)
		memmove(copy, value.ptr, value.len);
	v->value = slice_of(copy, value.len);
	v->room = room;
	v->present = true;
	v->hashed = false;
	return true;
}

void
touched_hash(struct touched_value *v, const uint8_t hash[DIGEST_LEN])
{
	memcpy(v->hash, hash, DIGEST_LEN);
	v->hashed = true;
}

/* The slot stays taken, by a key that nobody asks for: no chain is broken. */
void
touched_forget(struct touched *t, struct touched_value *v)
{
	assert(v >= t->values && v < t->values + t->n_values);
	*v = (struct touched_value){.key = SLICE_EMPTY};
}

struct touched_value *
touched_next(struct touched *t, const struct touched_value *v)
{
	size_t idx = v == NULL ? 0 : (size_t)(v - t->values) + 1;

	return idx < t->n_values ? &t->values[idx] : NULL;
}

/* Where the key is or belongs: there are twice as many slots as values. */
static uint16_t *
slot_of(struct touched *t, struct slice key)
{
	uint64_t hash = hash_of(key) >> 32;
	uint16_t *slot;

	for (;; hash++) {
		slot = &t->slots[hash % SLOTS];
		if (*slot == 0 || slice_eq(t->values[*slot - 1].key, key))
			return slot;
	}
}

static uint64_t
hash_of(struct slice key)
{
	const uint8_t *p = key.ptr;
	uint64_t hash = key.len, word;

	for (size_t i = 0; i < key.len; i += sizeof(word)) {
		size_t left = key.len - i;

		word = 0;
		memcpy(&word, p + i, left < sizeof(word) ? left : sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	return hash * UINT64_C(0x9e3779b97f4a7c15);
}

/* NULL: full. */
static uint8_t *
take(struct touched *t, size_t len)
{
	uint8_t *ptr = t->bytes + t->n_bytes;

	if (len > sizeof(t->bytes) - t->n_bytes)
		return NULL;
	t->n_bytes += len;
	return ptr;
}
