/*
 * touched.c: a hash table over two arrays that are used again and again.
 */
#include "config.h"

#include "store/touched.h"

#include <assert.h>
#include <stdlib.h>

enum {
	VALUES_MAX = 4096,	/* a turn of 512 puts touches half of it */
	SLOTS = 2 * VALUES_MAX, /* a power of two */
	BYTES_MAX = 768 * 1024, /* of keys and values */
	WORD = sizeof(uint64_t),
};

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

struct touched {
	unsigned n_values;
	unsigned n_late;
	size_t n_bytes;
	uint16_t slots[SLOTS];	    /* 1 + index of a value; 0: free */
	uint16_t taken[VALUES_MAX]; /* the slot of each value */
	uint16_t late[VALUES_MAX];  /* indices of values */
	struct touched_value values[VALUES_MAX];
	uint8_t bytes[BYTES_MAX];
};

static uint16_t *slot_of(struct touched *, struct slice key);
static uint64_t hash_of(struct slice key);
static uint64_t mix(uint64_t hash, const uint8_t *, size_t len);
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
touched_begin(struct touched *t)
{
	if (t->n_values > VALUES_MAX / 2 || t->n_bytes > BYTES_MAX / 2)
		touched_reset(t);
}

void
touched_reset(struct touched *t)
{
	while (t->n_values > 0)
		t->slots[t->taken[--t->n_values]] = 0;
	t->n_bytes = 0;
	t->n_late = 0;
}

struct touched_value *
touched_find(struct touched *t, struct slice key)
{
	uint16_t slot = *slot_of(t, key);

	return slot == 0 ? NULL : &t->values[slot - 1];
}

struct touched_value *
touched_add(struct touched *t, const struct touched_value *like)
{
	uint16_t *slot = slot_of(t, like->key);
	size_t key_len = like->key.len, len = like->value.len;
	struct touched_value *v;
	uint8_t *copy;

	assert(*slot == 0);
	if (t->n_values == VALUES_MAX || len > TOUCHED_VALUE_MAX)
		return NULL;
	copy = take(t, key_len + len);
	if (copy == NULL)
		return NULL;
	memcpy(copy, like->key.ptr, key_len);
	if (len != 0)
		memcpy(copy + key_len, like->value.ptr, len);
	t->taken[t->n_values] = (uint16_t)(slot - t->slots);
	v = &t->values[t->n_values++];
	*v = *like;
	v->key = slice_of(copy, key_len);
	v->value = slice_of(copy + key_len, len);
	v->room = len;
	*slot = (uint16_t)t->n_values;
	return v;
}

/* What has grown once will grow again. */
bool
touched_set(struct touched *t, struct touched_value *v, struct slice value)
{
	uint8_t *copy = (uint8_t *)(uintptr_t)v->value.ptr;
	size_t room = v->room;

	if (value.len > TOUCHED_VALUE_MAX)
		return false;
	if (value.len > room) {
		room = room == 0 ? value.len : 2 * value.len;
		copy = take(t, room);
		if (copy == NULL)
			return false;
	}
	if (value.len != 0)
		memmove(copy, value.ptr, value.len);
	v->value = slice_of(copy, value.len);
	v->room = room;
	v->present = true;
	return true;
}

/* The slot stays taken, by a key that nobody asks for: no chain is broken. */
void
touched_forget(struct touched *t, struct touched_value *v)
{
	assert(v >= t->values && v < t->values + t->n_values);
	*v = (struct touched_value){.key = SLICE_EMPTY};
}

void
touched_delay(struct touched *t, struct touched_value *v)
{
	if (v->late)
		return;
	assert(t->n_late < VALUES_MAX);
	v->late = true;
	t->late[t->n_late++] = (uint16_t)(v - t->values);
}

struct touched_value *
touched_next_late(struct touched *t)
{
	struct touched_value *v;

	if (t->n_late == 0)
		return NULL;
	v = &t->values[t->late[--t->n_late]];
	v->late = false;
	return v;
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
	const uint8_t *p = key.ptr, *end = p + key.len;
	uint64_t hash = key.len;

	for (; end - p > WORD; p += WORD)
		hash = mix(hash, p, WORD);
	/* The last word may begin within the one before. */
	if (key.len >= WORD)
		hash = mix(hash, end - WORD, WORD);
	else
		hash = mix(hash, p, key.len);
	return hash * GOLDEN;
}

static inline uint64_t
mix(uint64_t hash, const uint8_t *p, size_t len)
{
	uint64_t word = 0;

	memcpy(&word, p, len);
	hash = (hash ^ word) * GOLDEN;
	return hash ^ hash >> 32;
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
