/*
 * store.h: ordered keys and values under transactions.
 *
 * One writer at a time; readers see the state of their begin.  Values and keys
 * read from a transaction are borrowed: valid until the next put or del in it,
 * or until it ends; a put or del may be given them.  Any failure sticks to the
 * transaction; later calls do nothing and store_commit() reports the first.
 *
 * The first byte of a key names its family (tree/schema.h).  Families below
 * STORE_REPLICATED are this host's own; all others are replicated, and the
 * store keeps one digest over them: a multiset hash (BLAKE2b of each key
 * and value, added and subtracted), so that two hosts compare 32 bytes.  Family
 * 0 is the store's own and never seen: there the digest is kept.
 *
 * All calls belong to the thread that owns the store, except that a read
 * transaction begun by store_begin(STORE_READ) may be handed to another thread.
 * Implementations: store_lmdb.c (derived state, MDB_NOSYNC) and store_mem.c
 * (tests, simulation).  Both pass tests/unit/store.t.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/slice.h"

#define STORE_DIGEST_LEN 32
#define STORE_KEY_MAX 511
#define STORE_REPLICATED 0x20 /* first byte of the first replicated family */

enum store_mode { STORE_READ, STORE_WRITE };

struct store;
struct store_txn;

/*
 * dir is made if absent; the map grows where map_bytes are not enough, unless
 * one transaction brings more than a quarter of them.  -errno; what LMDB says is
 * translated here.  What a crash of the machine or a failing disk may have broken
 * comes back empty, to be built anew from checkpoint and log; a crash of the
 * process breaks nothing.
 * -EBUSY: another process has it open.
 */
int store_open_lmdb(const char *dir, uint64_t map_bytes, struct store **ret);
int store_open_mem(struct store **ret);
/* Flushed to disk.  NULL is fine; no transaction may be open. */
void store_close(struct store *);
/* Empties every family (a store rebuilt from the log). */
int store_clear(struct store *);
/* The disk is full, and what was set aside on it for the next commits is needed
 * for what is under way: ask for no more.  True until there is room again. */
bool store_room_low(struct store *);

struct store_txn *store_begin(struct store *, enum store_mode); /* never NULL */
int store_commit(struct store_txn *); /* ends it, whatever the answer */
void store_abort(struct store_txn *); /* NULL is fine */
int store_error(const struct store_txn *); /* the sticky error, 0 if none */

bool store_get(struct store_txn *, struct slice key, struct slice *ret);
/* First key >= from (> from if after).  Both outputs are borrowed. */
bool store_seek(struct store_txn *, struct slice from, bool after,
    struct slice *ret_key, struct slice *ret_value);
void store_put(struct store_txn *, struct slice key, struct slice value);
void store_del(struct store_txn *, struct slice key); /* absent: no-op */

/* Digest over the replicated families, as this transaction sees them. */
void store_digest(struct store_txn *, uint8_t ret[STORE_DIGEST_LEN]);
/* The digest computed anew from all keys: what the kept one must equal. */
void store_digest_scan(struct store_txn *, uint8_t ret[STORE_DIGEST_LEN]);

#endif
