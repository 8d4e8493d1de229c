/*
 * kview.h: K, the tree as this host's kernel believes it to be.
 *
 * C is the committed tree in the store.  K differs from C only where the
 * replay of a remote commit is pending, and in names not born yet; kview keeps
 * just those differences, and what the kernel holds references to.  Everything
 * the kernel asks is answered from K and may be cached for ever, because K
 * changes only together with a kernel operation on that very name.
 *
 * A *touch* is one replayed or local change as it concerns K: kview_expect()
 * when a remote commit is published (K keeps the old state, pending), then
 * kview_move() when the kernel has been told, and kview_settle() when nothing
 * more is to come of it.  Loop thread only; read transactions are the caller's.
 */
#ifndef REPLAY_KVIEW_H
#define REPLAY_KVIEW_H

#include <uthash.h>

#include "command/outcome.h"
#include "store/store.h"

struct kview;
struct kname;
struct op;

/* A node that the kernel knows, or whose K state is not C's. */
struct knode {
	uint64_t ino;
	uint64_t n_lookup;  /* references that the kernel holds */
	bool reached;	    /* by others than the helper, or something below */
	unsigned n_pending; /* published changes that were not replayed yet */
	unsigned n_handles; /* open handles of mount */
	unsigned n_dirty;   /* of them: with a draft not committed yet */
	unsigned lags;	    /* enum lag bits; 0: each change is queued */
	struct knode *lag_prev, *lag_next; /* the lagging ones, oldest first */
	struct op *mergeable; /* replay: newest queued change of it, if that is
			       * of its content */
	bool own_attr;	    /* attr is K's; otherwise K's attributes are C's */
	bool unborn;	    /* in K only: not committed yet (CONTRACT F2) */
	bool has_ranges;    /* mount: byte ranges were locked here, maybe */
	bool displaced;	    /* unborn, and its name was taken by a replay */
	bool told;	    /* mount: the kernel may be taking in attributes */
	bool birthing;	    /* unborn, and its birth is under way, or nobody
			     * knows what became of it */
	struct handle *handles; /* mount: the open ones */
	struct birth *birth; /* mount: where it is to be born; NULL: born */
	struct attr attr;
	uint64_t n_unnamed; /* times that K took a name from it */
	uint64_t alias;	    /* what a birth became when its name was taken; 0 */
	uint64_t wait_rev;  /* while the cursor is below: attributes are given
			     * with timeout 0 (the parked GETATTR) */
	struct version *version; /* mount: newest pinned content, or NULL */
	struct kname *names;	 /* overlay names that are this node */
	struct kname *children;	 /* overlay names in this directory */
	UT_hash_handle hh;
};

/*
 * Lives as long as the process: the kernel may ask to the very end.
 *
 * outdated: a node that the kernel was told of has other attributes now.  Who
 * asked takes in the answer when it gets a processor, and the kernel knows how
 * old that is by what WRITE, SETATTR and NOTIFY have told it since; not by
 * operations on names or SETXATTR (fuse_dir_changed, fuse_update_ctime in
 * fs/fuse/dir.c).
 */
struct kview *kview_new(void (*outdated)(void *arg, uint64_t ino), void *arg);

struct knode *kview_find(struct kview *, uint64_t ino); /* NULL: unknown */
struct knode *kview_node(struct kview *, uint64_t ino); /* made if unknown */
/* Frees it when nothing refers to it any more; call after dropping a count. */
void kview_release(struct kview *, struct knode *);
void kview_remember(struct kview *, uint64_t ino);		/* LOOKUP's + 1 */
void kview_forget(struct kview *, uint64_t ino, uint64_t n); /* FORGET */
bool kview_known(struct kview *, uint64_t ino); /* by the kernel */
/*
 * A directory that only the helper has made or met is known, but nobody watches
 * it: its attributes in the kernel expire at once, and whoever goes through it,
 * opens or watches it needs them for its permission check: a GETATTR tells us.
 * (Not its entry: a LOOKUP could be answered in the middle of an operation on
 * that name.)  Below it the kernel holds nothing.
 */
void kview_reach(struct kview *, uint64_t ino);
bool kview_reached(struct kview *, uint64_t ino); /* and known */

/* What the kernel should be told.  0: there is no such name. */
uint64_t kview_lookup(struct kview *, struct store_txn *, uint64_t dir,
    struct slice name);
bool kview_attr(struct kview *, struct store_txn *, uint64_t ino,
    struct attr *ret);
/* All of it is C's: that has it, and K adds and hides no name at all. */
bool kview_is_plain(const struct kview *, const struct knode *);
/* In K alone, and C will never have it at its name: unborn, or born as another
 * file. */
bool kview_is_ghost(const struct knode *);
/* Some (directory, name) of a node in K; false: it has none. */
bool kview_name_of(struct kview *, struct store_txn *, uint64_t ino,
    uint64_t *ret_dir, char ret_name[LIMIT_NAME + 1]);
bool kview_has_name(struct kview *, struct store_txn *, uint64_t ino);
/* Is a directory in K the node, or somewhere below it?  Below the root is all
 * that a path leads to. */
bool kview_is_below(struct kview *, struct store_txn *, uint64_t dir,
    uint64_t node);
/* Calls for each name of a directory in K, in byte order. */
void kview_each(struct kview *, struct store_txn *, uint64_t dir,
    void (*each)(void *arg, const char *name, uint64_t ino), void *arg);
bool kview_empty(struct kview *, struct store_txn *, uint64_t dir);

/* Sets one name (0: absent).  The caller sees to the kernel. */
void kview_set(struct kview *, struct store_txn *, uint64_t dir,
    struct slice name, uint64_t ino);

/*
 * A content, or attributes, that K need not be told of: it has nothing of its
 * own there and becomes C's as it is.  Most of what other hosts write lies where
 * nobody of this one has been.  Where names wait for the replay, whoever comes
 * before that is told of them, and so of this: not unheard.
 */
bool kview_is_unheard(struct kview *, const struct change *);
/* The three steps of a change, see above. */
void kview_expect(struct kview *, const struct change *);
void kview_move(struct kview *, struct store_txn *, const struct change *);
/* A local change, of which the kernel is told by the answer to its request.  A
 * commit's says nothing of attributes: K does not move if those are C's. */
bool kview_moves(struct kview *, const struct change *);
void kview_local(struct kview *, struct store_txn *, const struct change *);
void kview_settle(struct kview *, struct store_txn *, const struct change *);

/*
 * Too far behind for each change to be queued: instead of kview_expect(), what
 * it touches lags, once however often it changes, and K keeps the old state;
 * no longer when it is as K has it again, or gone and K never had it.
 * Later the lagging names are taken, oldest first, to be reconciled, and then
 * the nodes, to be told of.
 */
enum lag { LAG_SELF = 1, LAG_CONTENT = 2, LAG_ATTR = 4 };
void kview_lag(struct kview *, struct store_txn *, const struct change *);
unsigned kview_lagging(const struct kview *); /* names and nodes */
/* false: no name lags. */
bool kview_lag_name(struct kview *, struct store_txn *, uint64_t *ret_dir,
    char ret_name[LIMIT_NAME + 1]);
/* Of enum lag; 0: no node lags.  Its attributes become C's when nothing else
 * of it is pending: expect what follows first. */
unsigned kview_lag_node(struct kview *, uint64_t *ret_ino);
void kview_lag_settle(struct kview *, struct store_txn *, uint64_t ino);
/* The kernel learns of the node by its birth: nothing more is news. */
void kview_lag_born(struct kview *, uint64_t ino);

/* Does K agree with what this change expects to find, and has no local change
 * overtaken it there? */
bool kview_ready(struct kview *, struct store_txn *, const struct change *);
/* Is K[dir,name] what C has?  An unborn name over nothing counts as equal. */
bool kview_equal(struct kview *, struct store_txn *, uint64_t dir,
    struct slice name);
/* It is not, and no change of it is to come that would see to it. */
bool kview_is_astray(struct kview *, struct store_txn *, uint64_t dir,
    struct slice name);

/* Names and nodes kept, for metrics and `gov debug`. */
unsigned kview_differences(struct kview *);

#endif
