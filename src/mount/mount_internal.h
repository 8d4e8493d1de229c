/*
 * mount_internal.h: what the files of this room share.
 */
#ifndef MOUNT_INTERNAL_H
#define MOUNT_INTERNAL_H

#include <fuse_lowlevel.h>
#include <uthash.h>
#include <utlist.h>
#include <uv.h>

#include "base/buf.h"
#include "base/limits.h"
#include "mount/mount.h"
#include "replay/replay.h"
#include "tree/tree.h"

/* Answers that only a kernel operation on that very name can make untrue. */
#define FOR_EVER (365.0 * 86400.0)

/* What one user's open files take, while there are any. */
struct account {
	uint32_t uid;
	unsigned n_handles;  /* and those that are about to be */
	uint64_t held_bytes; /* a version that several show counts once */
	UT_hash_handle hh;
};

/* One content of one file, shared by the handles that show it. */
struct version {
	struct share *shares; /* who shows it; none: it is freed */
	struct knode *node;   /* whose newest it was when it was copied; NULL */
	uint64_t rev;	/* the file's version; 0: a draft on its way */
	size_t size;	/* bytes */
	uint8_t *bytes; /* owned; NULL if size is 0 */
};

/* Where an unborn file is to be born. */
struct birth {
	uint64_t dir;
	char name[LIMIT_NAME + 1];
	bool explicit_times; /* utimens came before the birth */
	bool explicit_owner; /* so did chown */
};

struct credentials {
	uint32_t uid, gid;
	uint32_t n_groups;
	uint32_t groups[LIMIT_GROUPS];
};

/* One open(2). */
struct handle {
	uint32_t idx;	      /* in the table; part of the kernel's fh */
	uint32_t generation;  /* the other part: a stale fh finds nobody */
	uint64_t ino;
	struct account *account; /* owned: who pays */
	struct knode *node;   /* counted in n_handles; NULL for .gov */
	struct handle *prev, *next; /* node->handles; of .gov: its pollers */
	int flags;	      /* open(2)'s */
	bool is_dir, reads, writes, append, creator;
	pid_t opener;	      /* process id */
	unsigned n_descriptors; /* the opener's then, with this; 0: unknown */
	struct credentials cred;
	struct version *pin;  /* what is read; NULL: nothing pinned yet */
	/* The draft. */
	struct buf draft;     /* whole content, or what append adds */
	bool dirty;	      /* it holds something to commit */
	bool whole;	      /* it is the whole content */
	bool written;	      /* a WRITE has come */
	unsigned n_flushes;   /* those of copies too */
	bool derived;	      /* it began as a copy of the pinned version */
	bool refused;	      /* its last commit failed: RELEASE drops it */
	bool keep_times;      /* utimens came after the last write */
	uint64_t atime_ns, mtime_ns;
	uint64_t generation_of_draft; /* counts writes */
	bool has_read;	      /* O_RDWR, and has read base_rev */
	bool expects;	      /* GOVFS_IOC_EXPECT */
	int failed;	      /* until it is reopened: -ESTALE, a commit was
			       * refused; -ETIMEDOUT, nobody knows; or what
			       * was heard of that later; 0: no */
	uint64_t lost_session, lost_seq; /* of the commit not known */
	uint64_t base_rev;
	uint64_t expect_rev;
	uint64_t token;	      /* GOVFS_IOC_TOKEN; 0: none */
	struct pending *commit; /* under way */
	struct flusher *flushers; /* requests waiting for it */
	bool released;	      /* RELEASE has come; freed after the commit */
	/* Locks taken through it. */
	unsigned n_locking;   /* lock requests under way */
	bool has_flock, has_ranges; /* may have: until RELEASE */
	uint64_t lock_session; /* in which they were taken; 0: never any */
	/* A directory's listing, or the text of a .gov file. */
	struct listing *listing;
	struct buf text;
	uint64_t seen_seq;    /* the newest news when it was made */
	struct fuse_pollhandle *ph; /* owned; NULL: nobody polls */
};

/* A FLUSH, FSYNC or synchronous WRITE that waits for a commit under way. */
struct flusher {
	struct mount *mount;
	fuse_req_t req;
	size_t written; /* WRITE: its bytes; 0: no WRITE */
	pid_t tid;
	bool interrupted;
	bool again; /* what was written meanwhile is to be committed too */
	struct flusher *next;
	struct handle *handle;
	struct flusher *prev_all, *next_all; /* mount->flushers */
};

/* A request that waits for its command. */
struct pending {
	struct engine_req ereq;
	struct mount *mount;
	fuse_req_t req;	      /* NULL: nobody waits (RELEASE) */
	pid_t tid;
	bool interrupted;
	void (*finish)(struct pending *, const struct outcome *);
	uint64_t parent, ino;
	char name[LIMIT_NAME + 1], name2[LIMIT_NAME + 1];
	struct buf data;      /* what the command's data points to */
	struct version *version; /* or the draft on its way; the handle's */
	struct handle *handle;
	struct account *account; /* owned: a handle's to come; NULL: none */
	struct knode *node;   /* of a birth under way */
	struct fuse_file_info fi;
	uint64_t draft_generation;
	uint64_t started_ns;
	bool counted_dirty;
	struct engine_barrier barrier; /* of a rewrite that may be a refresh */
	bool gives_up;	      /* a signal ends it, even if it was proposed */
	struct unlock *unlock;
	struct pending *prev, *next;
};

enum parked_kind { PARKED_OPEN, PARKED_OPENDIR, PARKED_GETATTR, PARKED_SYNC,
	PARKED_LOOKUP, PARKED_LOCK };

/* A reply kept until the cursor has reached want. */
struct parked {
	struct mount *mount;
	enum parked_kind kind;
	fuse_req_t req;
	pid_t tid;
	uint64_t ino;
	struct handle *handle;
	struct fuse_file_info fi;
	char name[LIMIT_NAME + 1]; /* PARKED_LOOKUP */
	uint64_t want;	      /* revision */
	uint64_t n_unnamed;   /* the node's, when the OPEN came */
	uint64_t deadline_ns;
	bool asking;	      /* waits for the leader first (strict, sync) */
	bool interrupted;
	struct engine_barrier barrier;
	size_t size;	      /* PARKED_SYNC: the caller's buffer */
	uint64_t seq;	      /* PARKED_LOCK: of the lock command */
	struct parked *prev, *next;
};

/* What a thread of a caller did last, as far as retries depend on it. */
struct tid {
	pid_t tid;
	uint64_t lookup_ino;	/* answer of its last LOOKUP; 0: none */
	uint64_t lookup_cursor;
	uint64_t lookup_renames; /* mount->n_dir_renames then */
	uint64_t stale_ino;	/* OPEN was told ESTALE for it; 0: no */
	uint64_t stale_want;
	uint32_t stale_op;	/* name operation told ESTALE; 0: no */
	uint64_t stale_dir;
	uint64_t oneshot_ino;	/* its next GETATTR of that node is parked */
	uint64_t oneshot_want;
	UT_hash_handle hh;
};

/* Threads that wrote lately, each at its number: caller_count(). */
#define CALLERS 128
struct caller {
	pid_t tid; /* 0: unused */
	pid_t process;
	int fd; /* /proc/TID/fd */
};

/* Names freed here that are remembered while the replay lags, newest kept. */
#define OWN_NAMES 256
struct own_name {
	uint64_t dir, rev; /* rev 0: unused */
	char name[LIMIT_NAME + 1];
};

/* An answer that nobody asks whether it has arrived. */
struct reply {
	fuse_req_t req;
	int err;	/* positive; 0: success */
	bool is_write;	/* that succeeded, and has taken so much: */
	size_t n;
};

struct mount {
	struct mount_conf conf;
	struct fuse_session *se;
	struct fuse_buf fbuf;
	struct reply replies[LIMIT_TURN_REPLIES]; /* held */
	unsigned n_replies;
	bool holding;
	int fuse_fd;	 /* /dev/fuse */
	int private_fd;	 /* the detached mount */
	uv_poll_t poll;
	uv_poll_t mounts; /* /proc/self/mountinfo */
	int mounts_fd;
	int mount_id;	 /* of the visible mount */
	uv_timer_t timer; /* bounds of parked requests, health */
	struct kview *kview;
	struct dotgov *gov;
	struct replay *replay;
	struct engine_subscriber subscriber;
	uint64_t revealed; /* REV: highest revision told to a local program */
	struct handle *handles[LIMIT_HANDLES];
	uint32_t next_handle, next_generation;
	struct account *accounts; /* hash by uid */
	unsigned n_handles;  /* of all accounts */
	uint64_t held_bytes; /* of all; a version counts once */
	uint64_t max_file;   /* bytes, as set at max_file_rev; 0: not looked */
	uint64_t max_file_rev;
	struct pending *pending;
	struct pending *next_pending; /* of pending_interrupts() */
	struct flusher *flushers;
	struct lock_wait *lock_waits;
	struct unlock *unlocks;
	struct lock_pid *lock_pids;
	struct life *lives;
	struct process *processes; /* watched */
	struct parked *parked;
	unsigned n_parked;
	uint64_t n_late, late_ns;
	struct tid *tids;
	struct caller callers[CALLERS];
	struct own_name own[OWN_NAMES];
	unsigned n_own;
	uint64_t n_dir_renames, dir_rename_ns;
	bool interrupts; /* some pending or parked request was interrupted */
	bool resisting;	 /* and one of them waits on: only a kill ends it */
	bool stopping;
	void (*stop_cb)(void *);
	void *stop_arg;
	unsigned n_closing;
};

/* mount.c */
struct mount *mount_of(fuse_req_t);
bool mount_writable(struct mount *);
const char *mount_health(struct mount *); /* first word of .gov/health */
uint64_t mount_max_file(struct mount *); /* bytes; the tree's setting */
struct store_txn *mount_view(struct mount *);
void mount_reveal(struct mount *, uint64_t rev);
void mount_invalidate(struct mount *, uint64_t ino);

/* fusemount.c: the kernel side of mounting */
int fusemount_attach(const char *mountpoint, int fuse_fd, int *ret_private_fd);
int fusemount_detach(const char *mountpoint);
int fusemount_id(const char *mountpoint); /* -1: nothing of ours is there */
bool fusemount_exists(int id); /* still mounted, be it below another */

/* caller.c: who asks, read from /proc without touching their memory */
void caller_credentials(fuse_req_t, struct credentials *ret);
void caller_stamp(const struct credentials *, struct stamp *ret);
pid_t caller_process(pid_t tid); /* thread group id; tid itself if unknown */
bool caller_killed(pid_t tid);	 /* SIGKILL is pending */
bool caller_dying(pid_t tid);	 /* exiting because of a fatal signal */
bool caller_alive(pid_t pid);
/* Which descriptors: writable ones of a node. */
struct wanted {
	uint64_t ino;
	const char *name; /* in its directory; NULL: unknown */
	int mount_id;	  /* ours: another file system may have the ino, too */
};
enum { DESCRIPTORS_LISTED = 16 };
struct descriptors {
	int n;	   /* that the process has; -1: can't tell */
	int fds[DESCRIPTORS_LISTED]; /* the first of them */
	bool none; /* it has none at all, of any file */
};
void caller_descriptors(pid_t, const struct wanted *, struct descriptors *ret);
/* Its thread group id, and how many descriptors that has, of any file; 0: can't
 * tell. */
pid_t caller_count(struct mount *, pid_t tid, unsigned *ret_n);
void caller_free_all(struct mount *);
/* Are two processes' descriptors one open file? */
bool caller_shares(pid_t, int fd, pid_t other, int other_fd);

/* reply.c: attributes and entries as the kernel wants them */
void reply_stat(struct mount *, const struct attr *, struct stat *ret);
void reply_entry_of(struct mount *, const struct attr *,
    struct fuse_entry_param *ret);
/* Replies and counts the kernel's reference. */
void reply_entry(struct mount *, fuse_req_t, uint64_t ino);
/*
 * The answer to CREATE, MKNOD, MKDIR, SYMLINK and LINK.  The kernel takes its
 * attributes as they are when the caller gets a processor, over whatever has
 * been replayed by then (of LOOKUP's and GETATTR's it knows the age): they
 * expire at once.
 */
void reply_made(struct mount *, fuse_req_t, uint64_t ino);
/* The kernel will count this entry.  The attributes of a directory that is told
 * to the helper alone expire at once: see kview_reach(). */
void reply_remember(struct mount *, fuse_req_t, struct fuse_entry_param *);
void reply_attr(struct mount *, fuse_req_t, uint64_t ino);
/*
 * The answer to a SETATTR that was a refresh.  It is taken in as reply_made()'s
 * is; changes of the tree wait for the caller's inode lock, what is told of
 * refreshes beside the log doesn't (T6).
 */
void reply_refreshed(struct mount *, fuse_req_t, uint64_t ino);
void reply_errno(fuse_req_t, int err); /* negative errno; 0: success */
void reply_write(fuse_req_t, size_t);
/*
 * From hold to release these two are kept, and then written one after the other:
 * each wakes a program, mostly on a processor that sleeps again before the next
 * is written otherwise, and then this one has to interrupt it once more.  Answers
 * that may fail, and then give something back, never wait.
 */
void reply_hold(struct mount *);
void reply_release(struct mount *);
/* ESTALE once per thread and operation, then `natural`. */
void reply_stale(struct mount *, fuse_req_t, uint32_t op, uint64_t dir,
    int natural);

/* tid.c */
struct tid *tid_of(struct mount *, pid_t tid); /* made if unknown */
struct tid *tid_find(struct mount *, pid_t tid);
void tid_free_all(struct mount *);

/* own.c */
void own_freed(struct mount *, const struct change *);
/* What the command's stamp says that its caller's kernel has seen. */
uint64_t own_seen(struct mount *, const struct command *);

/* version.c */
/* Current C; NULL: too much would be held. */
struct version *version_pin(struct mount *, struct handle *);
struct version *version_of_draft(struct handle *); /* takes the draft */
void version_share(struct version *, struct handle *); /* once more */
/* Once less; NULL is fine. */
void version_drop(struct mount *, struct handle *, struct version *);

/* account.c */
/* For a handle to come.  NULL: no more for who asks; he has been told ENFILE,
 * and what gov why says of that name or node is noted. */
struct account *account_take(struct mount *, fuse_req_t, uint64_t dir,
    struct slice name, uint64_t ino);
void account_drop(struct mount *, struct account *); /* NULL is fine */
bool account_may_hold(const struct mount *, const struct account *, size_t);
/* What others hold already. */
bool account_may_share(const struct account *, size_t);
void account_hold(struct mount *, struct account *, size_t);
void account_let_go(struct mount *, struct account *, size_t);
/* Notes why no more can be held. */
void account_refused(const struct mount *, const struct account *,
    uint64_t dir, struct slice name, uint64_t ino, int err);

/* handle.c */
struct handle *handle_new(struct mount *, struct account * /* takes */,
    uint64_t ino, int flags);
struct handle *handle_get(struct mount *, const struct fuse_file_info *);
uint64_t handle_fh(const struct handle *);
void handle_free(struct mount *, struct handle *);
/* K has no such file any more: its draft lives as long as the handle. */
bool handle_dead(const struct handle *);
void handle_set_dirty(struct mount *, struct handle *, bool);
#define HELPER_FH UINT64_MAX /* the replay helper's; has no handle */

/* park.c */
void park_open(struct mount *, fuse_req_t, struct handle *,
    struct fuse_file_info *, enum parked_kind, uint64_t want);
void park_getattr(struct mount *, fuse_req_t, uint64_t ino, uint64_t want);
void park_sync(struct mount *, fuse_req_t, size_t size);
void park_lock(struct mount *, fuse_req_t, struct handle *, uint64_t node,
    uint64_t seq, uint64_t want);
void park_lookup(struct mount *, fuse_req_t, uint64_t dir, const char *name);
void park_release(struct mount *); /* the cursor has moved */
void park_interrupts(struct mount *);
void park_expire(struct mount *, uint64_t now_ns);

/* submit.c */
struct pending *pending_new(struct mount *, fuse_req_t, enum command_kind,
    void (*finish)(struct pending *, const struct outcome *));
void pending_name(struct pending *, const char *name, const char *name2);
/* Stamps with the caller's credentials unless already filled, and submits;
 * what is refused at once is answered. */
void pending_submit(struct pending *, const struct credentials *);
void pending_free(struct pending *);
/* Of ours, and no system call waits for it: news to the kernel. */
bool pending_internal(const struct engine_req *);
void pending_interrupts(struct mount *);

/* commit.c */
void commit_flush(struct mount *, fuse_req_t, struct handle *);
/* written: the bytes of a WRITE that asks for it (O_DSYNC); 0: FSYNC. */
void commit_sync(struct mount *, fuse_req_t, struct handle *, size_t written);
void commit_released(struct mount *, struct handle *);
/* Sees to it that an unborn node's birth goes first. */
void commit_bear(struct mount *, uint64_t ino);
void commit_interrupts(struct mount *);
/* False: what it did is for the replay to tell the kernel. */
bool commit_applied(struct mount *, const struct engine_applied *);
/* A command that nobody waits for: true if it is a birth whose name this
 * kernel has. */
bool commit_late(struct mount *, const struct engine_applied *);

/* Frees a released handle that nothing uses any more. */
void handle_idle(struct mount *, struct handle *);

/* op_lock.c */
bool lock_lost(struct mount *, const struct handle *);
void lock_applied(struct mount *, const struct outcome *);
void lock_refresh(struct mount *, struct handle *);
void lock_give_back(struct mount *, uint64_t node, uint64_t seq);
void lock_flushed(struct mount *, struct handle *, uint64_t owner);
void lock_released(struct mount *, struct handle *, bool flock_release,
    uint64_t owner);
void lock_interrupts(struct mount *);
void lock_session_lost(struct mount *, uint64_t session);
void lock_session_ready(struct mount *);
void lock_tick(struct mount *, uint64_t now_ns);

/* lock_pid.c: a range was taken through a handle without FLUSH; who reads */
void lock_pid_watch(struct mount *, struct handle *, uint64_t owner, pid_t);
void lock_pid_seen(struct mount *, struct handle *, uint64_t owner);
void lock_pid_released(struct mount *, struct handle *);
void lock_pid_stop(struct mount *); /* the end of the session frees them */

/* Removes a node whose holder is gone; tried until answered. */
void lock_reap(struct mount *, uint64_t node);

/* process.c */
/* Calls when it is dead: who is called ends the watch.  NULL: it is already. */
struct process *process_watch(struct mount *, pid_t, void (*dead)(void *),
    void *arg);
/* No call comes any more; NULL is fine. */
void process_unwatch(struct process *);
void process_tick(struct mount *); /* now and then */

/* life.c */
bool life_is(struct mount *, uint64_t ino, enum life_kind);
bool life_at_once(struct mount *, uint64_t dir);
bool life_held(struct mount *, const struct handle *);
void life_begin(struct mount *, uint64_t ino, pid_t process,
    bool explicit_kind);
void life_released(struct mount *, struct handle *);
void life_applied(struct mount *, const struct engine_applied *);
void life_session_ready(struct mount *);
void life_stop(struct mount *); /* the end of the session takes the files */
/* True: it is a ttl file, and *ret_err is what its refresh came to. */
bool life_refresh(struct mount *, uint64_t ino, int *ret_err);

/* dotgov.c: .gov, see dotgov.h */
bool dotgov_is(uint64_t ino);
bool dotgov_lookup(struct mount *, fuse_req_t, uint64_t dir, const char *name);
bool dotgov_attr(struct mount *, uint64_t ino, struct stat *ret);
void dotgov_reply_attr(struct mount *, fuse_req_t, uint64_t ino);
void dotgov_open(struct mount *, fuse_req_t, uint64_t ino, bool helper,
    struct fuse_file_info *);
/* Makes the handle's text if that has to be made; false: it is too much. */
bool dotgov_read(struct mount *, struct handle *, uint64_t off);
void dotgov_poll(struct mount *, fuse_req_t, struct handle *,
    struct fuse_pollhandle * /* takes */);
void dotgov_readlink(struct mount *, fuse_req_t, uint64_t ino);
/* Calls for each name in a directory. */
void dotgov_each(struct mount *, uint64_t dir,
    void (*each)(void *arg, const char *name, uint64_t ino, uint32_t mode),
    void *arg);

/* dotgov_news.c */
void dotgov_init(struct mount *);
void dotgov_fini(struct mount *);
void dotgov_forget(struct mount *, uint64_t ino, uint64_t n);
void dotgov_released(struct mount *, struct handle *);
void dotgov_applied(struct mount *, const struct engine_applied *);
void dotgov_turn(struct mount *);
void dotgov_look(struct mount *); /* at the state of this host */

/* op_*.c: the kernel's requests */
void op_init(void *, struct fuse_conn_info *);
void op_lookup(fuse_req_t, fuse_ino_t, const char *);
void op_forget(fuse_req_t, fuse_ino_t, uint64_t);
void op_forget_multi(fuse_req_t, size_t, struct fuse_forget_data *);
void op_getattr(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_setattr(fuse_req_t, fuse_ino_t, struct stat *, int,
    struct fuse_file_info *);
void op_readlink(fuse_req_t, fuse_ino_t);
void op_statfs(fuse_req_t, fuse_ino_t);
void op_mknod(fuse_req_t, fuse_ino_t, const char *, mode_t, dev_t);
void op_mkdir(fuse_req_t, fuse_ino_t, const char *, mode_t);
void op_symlink(fuse_req_t, const char *, fuse_ino_t, const char *);
void op_link(fuse_req_t, fuse_ino_t, fuse_ino_t, const char *);
void op_unlink(fuse_req_t, fuse_ino_t, const char *);
void op_rmdir(fuse_req_t, fuse_ino_t, const char *);
void op_rename(fuse_req_t, fuse_ino_t, const char *, fuse_ino_t, const char *,
    unsigned);
void op_open(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_create(fuse_req_t, fuse_ino_t, const char *, mode_t,
    struct fuse_file_info *);
void op_read(fuse_req_t, fuse_ino_t, size_t, off_t, struct fuse_file_info *);
void op_write(fuse_req_t, fuse_ino_t, const char *, size_t, off_t,
    struct fuse_file_info *);
void op_flush(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_fsync(fuse_req_t, fuse_ino_t, int, struct fuse_file_info *);
void op_release(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_fallocate(fuse_req_t, fuse_ino_t, int, off_t, off_t,
    struct fuse_file_info *);
void op_poll(fuse_req_t, fuse_ino_t, struct fuse_file_info *,
    struct fuse_pollhandle *);
void op_ioctl(fuse_req_t, fuse_ino_t, unsigned, void *,
    struct fuse_file_info *, unsigned, const void *, size_t, size_t);
void op_flock(fuse_req_t, fuse_ino_t, struct fuse_file_info *, int);
void op_setlk(fuse_req_t, fuse_ino_t, struct fuse_file_info *, struct flock *,
    int);
void op_getlk(fuse_req_t, fuse_ino_t, struct fuse_file_info *,
    struct flock *);
void op_opendir(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_readdir(fuse_req_t, fuse_ino_t, size_t, off_t,
    struct fuse_file_info *);
void op_readdirplus(fuse_req_t, fuse_ino_t, size_t, off_t,
    struct fuse_file_info *);
void op_releasedir(fuse_req_t, fuse_ino_t, struct fuse_file_info *);
void op_fsyncdir(fuse_req_t, fuse_ino_t, int, struct fuse_file_info *);
void op_getxattr(fuse_req_t, fuse_ino_t, const char *, size_t);
void op_setxattr(fuse_req_t, fuse_ino_t, const char *, const char *, size_t,
    int);
void op_listxattr(fuse_req_t, fuse_ino_t, size_t);
void op_removexattr(fuse_req_t, fuse_ino_t, const char *);

/* The committed node behind one that the kernel holds (births may merge). */
uint64_t node_of(struct mount *, uint64_t ino);
/* Begins a request that the replay helper may make, too. */
struct mount *op_begin(fuse_req_t, bool *ret_helper);
/* Draft operations of op_io.c that SETATTR needs too. */
int draft_truncate(struct mount *, struct handle *, uint64_t size);
uint64_t draft_size(struct mount *, struct handle *);
/* What is refused before there is a command; `gov why` asks. */
void handle_refused(struct mount *, const struct handle *, int err);
/* A dirty handle of the calling process on that node, or NULL.  Not one that is
 * closed: what was written meanwhile would go with it. */
struct handle *handle_dirty_of(struct mount *, uint64_t ino, pid_t process);

#endif
