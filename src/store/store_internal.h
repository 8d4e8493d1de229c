/*
 * store_internal.h: what an implementation gives, and what store.c does for it.
 *
 * store.c checks arguments, keeps errors sticky and the digest right; an
 * implementation is a bare ordered map under transactions.  It embeds struct
 * store and struct store_txn as the first members of its own.
 */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include "store/digest.h"
#include "store/store.h"
#include "store/touched.h"

struct store_ops {
	void (*close)(struct store *);
	int (*clear)(struct store *);
	/* Never NULL; what went wrong is in error. */
	struct store_txn *(*begin)(struct store *, enum store_mode);
	/* Both end the transaction and free it. */
	int (*commit)(struct store_txn *);
	void (*abort)(struct store_txn *);
	/* 0, -ENOENT, or what sticks. */
	int (*get)(struct store_txn *, struct slice key, struct slice *ret);
	int (*seek)(struct store_txn *, struct slice from, bool after,
	    struct slice *ret_key, struct slice *ret_value);
	/* Value and tail are stored as one.  Key and value may be borrowed from
	 * this very transaction. */
	int (*put)(struct store_txn *, struct slice key, struct slice value,
	    struct slice tail);
	int (*del)(struct store_txn *, struct slice key);
	bool (*room_low)(struct store *); /* NULL: memory */
};

struct store {
	const struct store_ops *ops;
	bool writing; /* a write transaction is open */
	struct touched *touched; /* its; made by the first, then kept */
};

struct store_txn {
	struct store *store;
	enum store_mode mode;
	int error;	      /* sticky, negative errno */
	struct touched *touched; /* STORE_WRITE: the store's */
	bool digest_loaded;   /* digest is valid */
	bool digest_changed;  /* and must be put before the commit */
	struct digest digest; /* as this transaction sees it */
};

#endif
