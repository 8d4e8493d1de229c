/*
 * tree.h: nodes, names, contents and attributes as keys and values.
 *
 * Pure functions of a store transaction.  schema.c alone knows the keys; the
 * machine alone decides; everybody else only reads.  Slices handed out are
 * borrowed as store.h says: until the next change in the transaction, so none
 * of them may be an argument of a function here that puts or deletes.
 */
#ifndef TREE_TREE_H
#define TREE_TREE_H

#include "command/outcome.h"
#include "store/store.h"

#define TREE_ROOT UINT64_C(1)

/* What only a change of the tree's settings may alter: replicated. */
struct tree_settings {
	uint64_t max_file;    /* bytes of one file */
	uint64_t tree_bytes;  /* quota */
	uint64_t tree_inodes; /* quota */
};

/* Replicated facts about the whole tree. */
struct tree_meta {
	uint64_t rev;		/* commits so far */
	uint64_t time_ns;	/* of the last command; strictly increasing */
	uint64_t next_range;	/* ordinal of the next session's inode range */
	uint64_t n_inodes;	/* nodes in the tree, root included */
	uint64_t bytes;		/* content, link targets, attributes; for each
				 * further name of a file LIMIT_LINK_BYTES */
	struct tree_settings settings;
	uint32_t level;		/* of the vocabulary in use */
};
bool tree_meta_get(struct store_txn *, struct tree_meta *ret); /* false: no tree */
void tree_meta_put(struct store_txn *, const struct tree_meta *);

/* This host's own: how far the log has been applied.  Not in the digest. */
struct tree_applied {
	uint64_t index, term;
};
void tree_applied_get(struct store_txn *, struct tree_applied *ret); /* zeros */
void tree_applied_put(struct store_txn *, const struct tree_applied *);

struct tree_name {
	uint64_t ino;
	uint64_t rev; /* commit that gave the name this node */
};
bool tree_node_get(struct store_txn *, uint64_t ino, struct attr *ret);
void tree_node_put(struct store_txn *, const struct attr *);
void tree_node_del(struct store_txn *, uint64_t ino);

bool tree_name_get(struct store_txn *, uint64_t dir, struct slice name,
    struct tree_name *ret);
/* put and del keep the backlinks and, for del, a tombstone at rev. */
void tree_name_put(struct store_txn *, uint64_t dir, struct slice name,
    const struct tree_name *);
void tree_name_del(struct store_txn *, uint64_t dir, struct slice name,
    uint64_t rev);
/* Revision at which the name last changed, removed names count.  A name never
 * seen answers the tombstone horizon (0 as long as none was dropped). */
uint64_t tree_name_rev(struct store_txn *, uint64_t dir, struct slice name);
/* Next name of dir after `after` (empty: the first), in byte order. */
bool tree_name_next(struct store_txn *, uint64_t dir, struct slice after,
    struct slice *ret_name, struct tree_name *ret);
bool tree_dir_empty(struct store_txn *, uint64_t dir);
/* Some name of a node: the first backlink after (after_dir, after_name), which
 * may be (0, empty).  False: no more. */
bool tree_backlink_next(struct store_txn *, uint64_t ino, uint64_t after_dir,
    struct slice after_name, uint64_t *ret_dir, struct slice *ret_name);
/* Parent of a directory; 0 if it has none. */
uint64_t tree_parent(struct store_txn *, uint64_t dir);
/* Is `ino` `dir` itself or above it?  Bounded by LIMIT_DEPTH. */
bool tree_is_ancestor(struct store_txn *, uint64_t ino, uint64_t dir);

/* Content of a regular file or target of a symlink; empty if none. */
struct slice tree_content(struct store_txn *, uint64_t ino);
void tree_content_put(struct store_txn *, uint64_t ino, struct slice);
void tree_content_del(struct store_txn *, uint64_t ino);

bool tree_xattr_get(struct store_txn *, uint64_t ino, struct slice name,
    struct slice *ret);
void tree_xattr_put(struct store_txn *, uint64_t ino, struct slice name,
    struct slice value);
/* What it counts in the quota of bytes. */
static inline uint64_t
tree_xattr_bytes(struct slice name, struct slice value)
{
	return LIMIT_XATTR_BYTES + name.len + value.len;
}
void tree_xattr_del(struct store_txn *, uint64_t ino, struct slice name);
bool tree_xattr_next(struct store_txn *, uint64_t ino, struct slice after,
    struct slice *ret_name, struct slice *ret_value);

/* Names between the root (0) and a directory; LIMIT_DEPTH + 1: too many. */
unsigned tree_depth(struct store_txn *, uint64_t dir);

/*
 * How long a node lives (CONTRACT, lifetimes).  Of a directory: what files made
 * in it get.  Kept apart from the attributes: most nodes live for ever.
 */
enum life_kind { LIFE_FOREVER, LIFE_TTL, LIFE_SESSION, LIFE_OPEN,
	LIFE_PROCESS };
struct tree_life {
	enum life_kind kind;
	uint64_t ttl_ms;  /* LIFE_TTL */
	uint64_t session; /* owner; 0 of a directory's default: a directory
			   * with an owner was made by mkdir to be a lock */
	uint64_t host;	  /* the owner's member id; `open` files outlive a
			   * session and come back under the next */
	bool doomed;	  /* its owner is gone; it goes with its last lock,
			   * a directory with the last name in it */
};
bool tree_life_get(struct store_txn *, uint64_t ino, struct tree_life *ret);
void tree_life_put(struct store_txn *, uint64_t ino, const struct tree_life *);
void tree_life_del(struct store_txn *, uint64_t ino);
/* Next node with a life of its own after `ino`; false: no more. */
bool tree_life_next(struct store_txn *, uint64_t ino, uint64_t *ret_ino,
    struct tree_life *ret);

/* Nodes and names that end with a session. */
uint64_t tree_life_count(struct store_txn *, uint64_t session);

/* A name that link(2) made in a directory of lifetime `session` ends with that
 * session, whatever becomes of the node; tree_name_put() of another node and
 * tree_name_del() forget it. */
void tree_name_life_put(struct store_txn *, uint64_t dir, struct slice name,
    uint64_t session);
void tree_name_life_del(struct store_txn *, uint64_t dir, struct slice name);
bool tree_name_life_next(struct store_txn *, uint64_t after_dir,
    struct slice after_name, uint64_t *ret_dir, struct slice *ret_name,
    uint64_t *ret_session);

/* What its owner held where a byte range was granted: fcntl(2) leaves that
 * alone when the call fails after all. */
enum tree_lock_prior { PRIOR_NONE, PRIOR_SHARED, PRIOR_EXCLUSIVE };
/* One holder or waiter of a node's locks. */
struct tree_lock {
	uint64_t ordinal; /* order of arrival, over all locks */
	uint64_t session; /* of its lock command; 0: ended, see delay_ms */
	uint64_t seq;	  /* the same; 0: not given back any more */
	uint64_t host;	  /* the same */
	uint64_t owner, handle, start, end;
	uint32_t pid;
	char comm[LIMIT_COMM];
	bool is_flock, exclusive, waits;
	bool waited; /* in the queue: may be cancelled long after its grant */
	enum tree_lock_prior prior;
	uint32_t delay_ms; /* session 0: blocks others for so long */
	uint64_t token;	   /* holders; grows over the tree's whole life */
	uint64_t since_ns; /* entry time of the grant, or of the queueing */
};
bool tree_locks_conflict(const struct tree_lock *, const struct tree_lock *);
bool tree_locks_same_owner(const struct tree_lock *, const struct tree_lock *);
/* Held byte ranges of one owner and mode without a gap: one to fcntl(2). */
bool tree_lock_touches(const struct tree_lock *, const struct tree_lock *);
/* Next of a node's after `ordinal` (0: first); holders and waiters alike. */
bool tree_lock_next(struct store_txn *, uint64_t node, uint64_t ordinal,
    struct tree_lock *ret);
/* Next node that has any lock, after `node`. */
bool tree_lock_node_next(struct store_txn *, uint64_t node, uint64_t *ret);
/* Next holder, waiter, holder with delay_ms of the whole tree, after (node,
 * ordinal). */
bool tree_lock_held_next(struct store_txn *, uint64_t node, uint64_t ordinal,
    uint64_t *ret_node, struct tree_lock *ret);
bool tree_lock_waiter_next(struct store_txn *, uint64_t node, uint64_t ordinal,
    uint64_t *ret_node, struct tree_lock *ret);
bool tree_lock_delayed_next(struct store_txn *, uint64_t node,
    uint64_t ordinal, uint64_t *ret_node, struct tree_lock *ret);
/* Does any other owner's held lock conflict?  What F_GETLK shows. */
bool tree_lock_conflict(struct store_txn *, const struct tree_lock *probe,
    uint64_t node, struct tree_lock *ret);
void tree_lock_put(struct store_txn *, uint64_t node, const struct tree_lock *);
void tree_lock_del(struct store_txn *, uint64_t node, const struct tree_lock *);
/* The newest token granted on a node (gov.token); 0: none ever. */
uint64_t tree_lock_token(struct store_txn *, uint64_t node);
void tree_lock_token_put(struct store_txn *, uint64_t node, uint64_t token);

/* Facts about all locks. */
struct tree_locks {
	uint64_t ordinal;  /* of the newest lock */
	uint64_t token;	   /* the newest granted */
	uint64_t n;	   /* holders and waiters */
	uint64_t n_guards; /* nodes with gov.guard */
};
void tree_locks_get(struct store_txn *, struct tree_locks *ret);
void tree_locks_put(struct store_txn *, const struct tree_locks *);

struct tree_session {
	uint64_t id, host, ttl_ms;
	bool suspended;
	char name[LIMIT_NAME + 1]; /* the host's */
};
/* Next session after `id`; false: no more. */
bool tree_session_next(struct store_txn *, uint64_t id,
    struct tree_session *ret);
bool tree_session_exists(struct store_txn *, uint64_t id);

/* Walks an absolute or relative path from the root, no symlinks followed.
 * Returns the inode number, 0 if there is no such name. */
uint64_t tree_lookup_path(struct store_txn *, struct slice path);

/* check.c: every invariant of the tree.  0, or -EUCLEAN with a sentence. */
int tree_check(struct store_txn *, char *ret_why, size_t why_len);
/* check_locks.c, a part of it. */
bool tree_check_locks(struct store_txn *, char *ret_why, size_t why_len);

#endif
