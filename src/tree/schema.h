/*
 * schema.h: the layout of every key.
 *
 * A key is one family byte, then up to two 64-bit numbers (big endian, so that
 * keys sort as numbers do), then for some families a name: the rest of the
 * key.  Layouts never change after a release; a new meaning is a new family.
 */
#ifndef TREE_SCHEMA_H
#define TREE_SCHEMA_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/reader.h"
#include "command/outcome.h"
#include "store/store.h"

enum family {
	/* This host's own: below STORE_REPLICATED. */
	FAMILY_APPLIED = 0x01,	/* () -> raft index, term */

	FAMILY_META = 0x20,	/* () -> struct tree_meta */
	FAMILY_NODE = 0x21,	/* (ino) -> struct attr */
	FAMILY_NAME = 0x22,	/* (dir, name) -> ino, rev */
	FAMILY_BACKLINK = 0x23,	/* (ino, dir, name) -> nothing */
	FAMILY_CONTENT = 0x24,	/* (ino) -> bytes */
	FAMILY_XATTR = 0x25,	/* (ino, name) -> value */
	FAMILY_TOMB = 0x26,	/* (dir, name) -> rev of the removal */
	FAMILY_TOMB_ORDER = 0x27, /* (rev, dir, name) -> nothing */
	FAMILY_TOMB_STATE = 0x28, /* () -> how many, horizon */
	FAMILY_SESSION = 0x29,	/* (session) -> machine/session.c */
	FAMILY_HOST = 0x2a,	/* (host) -> its session, the ended ones */
	FAMILY_OUTCOME = 0x2b,	/* (session, seq / 8) -> what was answered */
	FAMILY_LOCK_HELD = 0x2c, /* (node, ordinal) -> struct tree_lock */
	FAMILY_LOCK_WAIT = 0x2d, /* (node, ordinal) -> struct tree_lock */
	FAMILY_LOCK_DELAY = 0x2e, /* (node, ordinal) -> nothing; of a holder */
	FAMILY_LOCK_TOKEN = 0x2f, /* (node) -> newest token granted */
	FAMILY_LOCK_STATE = 0x30, /* () -> struct tree_locks */
	FAMILY_LIFE = 0x31,	/* (ino) -> struct tree_life */
	FAMILY_NAME_LIFE = 0x32, /* (dir, name) -> session that linked it */
	FAMILY_LIFE_COUNT = 0x33, /* (session) -> how many of both are its */
};

struct key {
	uint8_t bytes[STORE_KEY_MAX]; /* what schema_key() built */
};

/* Builds a key; what the family has not is ignored.  Points into the key. */
struct slice schema_key(struct key *, enum family, uint64_t a, uint64_t b,
    struct slice name);
/* The shortest key of a family under its first `n` numbers: where to seek. */
struct slice schema_prefix(struct key *, enum family, unsigned n, uint64_t a,
    uint64_t b);
/* False: not of that family, or malformed.  NULL outputs are left out. */
bool schema_parse(struct slice key, enum family, uint64_t *ret_a,
    uint64_t *ret_b, struct slice *ret_name);

/* Attributes as a value; the inode number is in the key. */
enum { SCHEMA_ATTR_LEN = 4 * 4 + 6 * 8 };
void schema_attr_put(struct buf *, const struct attr *);
void schema_attr_get(struct reader *, struct attr *ret); /* leaves ino */

/* A buf over memory of the caller: encoding a value allocates nothing. */
static inline struct buf
schema_value(uint8_t *bytes, size_t size)
{
	return (struct buf){.ptr = bytes, .cap = size, .max = size};
}

#endif
