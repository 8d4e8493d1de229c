/*
 * dotgov.h: .gov, the system's own corner of the tree.
 *
 * Found by LOOKUP, hidden from readdir of the root, so that find, grep -r and
 * rsync don't walk it.  A text is made when a reader begins, at offset 0, and
 * stays as it is until he begins again.
 *
 * .gov/locks has a *twin* of every file and directory of the tree, whose text
 * is who holds the file's locks; only those that are locked are listed.
 *
 * Programs wait for changes with inotify and poll(2): what is told to whom is
 * dotgov_news.c.  The other rooms' changes come in through dotgov_applied(),
 * dotgov_turn() and dotgov_look().
 */
#ifndef MOUNT_DOTGOV_H
#define MOUNT_DOTGOV_H

#include "mount/mount_internal.h"

/* Inode numbers: no session's range reaches bit 61. */
#define GOV_INO (UINT64_C(1) << 63)   /* and the rest: fixed node, or */
#define GOV_TWIN (UINT64_C(1) << 62)  /* the twin of that node, or */
#define GOV_ALIAS (UINT64_C(1) << 61) /* the twin's other name */
/* Locks whose files have no name any more, and where they are shown. */
#define GOV_NAMELESS (GOV_INO | GOV_TWIN)
#define GOV_REMOVED "(removed)"

enum gov_fixed { GOV_ROOT, GOV_VERSION, GOV_HEALTH, GOV_LEADER, GOV_MEMBERS,
	GOV_METRICS, GOV_LOCKS, GOV_SESSIONS, GOV_CONTROL, N_GOV_FIXED };

static inline uint64_t
gov_ino(enum gov_fixed i)
{
	return i == GOV_LOCKS ? GOV_NAMELESS | TREE_ROOT : GOV_INO | i;
}

static inline uint64_t
gov_twin(uint64_t node)
{
	return GOV_NAMELESS | node;
}

static inline bool
gov_is_twin(uint64_t ino)
{
	return (ino & GOV_TWIN) != 0;
}

/* The node that a twin is of. */
static inline uint64_t
gov_twin_of(uint64_t ino)
{
	return ino & ~(GOV_INO | GOV_TWIN | GOV_ALIAS);
}

/* What tells one state of this host from the next, and is worth an event. */
struct gov_state {
	const char *health; /* first word of .gov/health */
	const char *role;
	uint64_t leader;	/* member id; 0: unknown */
	uint64_t alive;		/* bits, in the order of the members */
	bool disk_bad;
};

struct gov_node;

struct dotgov {
	struct gov_node *nodes;	  /* hash: those that the kernel knows */
	struct gov_node *changed; /* with news to be told, oldest first */
	unsigned n_twins;	  /* of nodes */
	uint64_t seq;		  /* of the newest news */
	uint64_t told_ns;	  /* clock_now_ns() */
	uint64_t rev;		  /* the last one that was news */
	uint64_t changed_ns[N_GOV_FIXED]; /* wall clock */
	struct gov_state state;
	uint64_t since_ns;	  /* clock_now_ns(): state.health */
};

/* dotgov.c */
const char *gov_fixed_name(enum gov_fixed);

/* dotgov_text.c: what a fixed file says */
void gov_print(struct buf *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void gov_text(struct mount *, enum gov_fixed, struct buf *);

/* dotgov_locks.c: .gov/locks */
/* 0: there is no such twin. */
uint64_t gov_locks_lookup(struct store_txn *, uint64_t dir, struct slice name);
bool gov_locks_attr(struct store_txn *, uint64_t ino, struct stat *ret);
void gov_locks_text(struct store_txn *, uint64_t ino, struct buf *);
void gov_locks_each(struct store_txn *, uint64_t dir,
    void (*each)(void *arg, const char *name, uint64_t ino, uint32_t mode),
    void *arg);
/* From .gov/locks on, beginning with a slash; false: it has none. */
bool gov_locks_path(struct store_txn *, uint64_t ino, char *ret, size_t size);

/* dotgov_news.c */
void gov_remember(struct mount *, uint64_t ino); /* LOOKUP's + 1 */
/* When it last changed, by this host's wall clock. */
uint64_t gov_changed_ns(struct mount *, uint64_t ino);
/* Has it changed since this handle's text was made? */
bool gov_is_news(struct mount *, const struct handle *);
void gov_poll_wait(struct mount *, struct handle *,
    struct fuse_pollhandle * /* takes */);

#endif
