/*
 * touched.h: what a write transaction has looked at and changed.
 *
 * Commands of one turn meet again and again in a few short values: the tree's
 * facts, a session, a file that is written twice.  Such a value is fetched
 * once, changed here, and put and hashed once, at the commit.  Only a value
 * whose key is in the map already may wait so long: what is new goes through at
 * once, so that seeks find every key where it belongs.
 *
 * Bounded: when it is full, other keys go without it.  What it holds stays
 * where it is until touched_reset().
 */
#ifndef STORE_TOUCHED_H
#define STORE_TOUCHED_H

#include "store/digest.h"

/* A longer value is its own reason to go through at once. */
#define TOUCHED_VALUE_MAX 1024

struct touched_value {
	struct slice key;   /* replicated; owned, as value is */
	struct slice value; /* as the transaction sees it */
	size_t room;	    /* of value */
	bool present;	    /* the key has a value */
	bool late;	    /* the map has an older one */
	bool counted;	    /* the digest has this one */
	bool hashed;	    /* hash is the value's */
	uint8_t hash[DIGEST_LEN];
};

struct touched;
struct touched *touched_new(void); /* NULL: no memory */
void touched_free(struct touched *); /* NULL is fine */
void touched_reset(struct touched *);
struct touched_value *touched_find(struct touched *, struct slice key);
/* One that is not there yet, absent; NULL: full. */
struct touched_value *touched_add(struct touched *, struct slice key);
/* A value given to it, which may be borrowed from any of them; it becomes
 * present and has no hash.  False: full, or too long; nothing was changed. */
bool touched_set(struct touched *, struct touched_value *, struct slice value);
void touched_hash(struct touched_value *, const uint8_t hash[DIGEST_LEN]);
/* Not known any more: a later find doesn't find it. */
void touched_forget(struct touched *, struct touched_value *);
/* All, in the order they came; NULL: no more. */
struct touched_value *touched_next(struct touched *,
    const struct touched_value *);

#endif
