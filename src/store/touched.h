/*
 * touched.h: what write transactions have looked at and changed.
 *
 * Commands of one turn meet again and again in a few short values: the tree's
 * facts, a session, a file that is written twice.  Such a value is fetched
 * once, changed here, and put and hashed once, at the commit.  Only a value
 * whose key is in the map already may wait so long: what is new goes through at
 * once, so that seeks find every key where it belongs.
 *
 * What was committed is still known to the next transaction, with its hash:
 * there is one writer, and a file written now will soon be written again.
 *
 * Bounded: when it is full, other keys go without it.  What it holds stays
 * where it is until touched_begin() or touched_reset().
 */
#ifndef STORE_TOUCHED_H
#define STORE_TOUCHED_H

#include "store/digest.h"

/* A longer value is its own reason to go through at once. */
#define TOUCHED_VALUE_MAX 1024

/* What is known of a key. */
struct touched_value {
	struct slice key;   /* replicated; owned, as value is */
	struct slice value; /* as the transaction sees it */
	size_t room;	    /* of value */
	bool present;	    /* the key has a value */
	bool counted;	    /* the map and the digest have this one */
	bool hashed;	    /* hash is that value's, of a counted one */
	bool late;	    /* touched_next_late() will return it */
	uint8_t hash[DIGEST_LEN];
};

struct touched;
struct touched *touched_new(void); /* NULL: no memory */
void touched_free(struct touched *); /* NULL is fine */
/* Before a transaction: when half is taken, all is forgotten. */
void touched_begin(struct touched *);
void touched_reset(struct touched *); /* all is forgotten */
struct touched_value *touched_find(struct touched *, struct slice key);
/* A copy of one whose key is not there yet; NULL: full, or too long. */
struct touched_value *touched_add(struct touched *,
    const struct touched_value *);
/* A value given to it, which may be borrowed from any of them; it becomes
 * present.  False: full, or too long; nothing was changed. */
bool touched_set(struct touched *, struct touched_value *, struct slice value);
/* Not known any more: a later find doesn't find it. */
void touched_forget(struct touched *, struct touched_value *);
/* To be put later; again is harmless. */
void touched_delay(struct touched *, struct touched_value *);
/* Each that was delayed, once; NULL: no more. */
struct touched_value *touched_next_late(struct touched *);

#endif
