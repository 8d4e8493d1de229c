/*
 * replay_sim.h: a simulated kernel above the real replay; shared by replay*.c.
 *
 * replay_kernel.c is the kernel: dentries, inodes and their locks;
 * replay_calls.c the system calls of users and of the replay helper, each a
 * coroutine that may be left wherever the kernel's would sleep.  replay_mount.c answers its requests by
 * the rules of src/mount, over the real machine, kview and replay.  replay.c
 * chooses, by the seed, who goes on, and looks whether all is as it must be.
 */
#ifndef TESTS_SIM_REPLAY_SIM_H
#define TESTS_SIM_REPLAY_SIM_H

#include <sys/stat.h>
#include <ucontext.h>

#include "base/limits.h"
#include "command/command.h"
#include "command/outcome.h"
#include "random.h"
#include "replay/replay.h"

#define SIM_NAME 64 /* longer than any that is made here */
#define SIM_LISTED 64

enum call { CALL_LOOKUP, CALL_GETATTR, CALL_SETATTR, CALL_MKNOD, CALL_MKDIR,
	CALL_SYMLINK, CALL_LINK, CALL_UNLINK, CALL_RMDIR, CALL_RENAME,
	CALL_CREATE, CALL_OPEN, CALL_WRITE, CALL_FLUSH, CALL_RELEASE,
	CALL_READDIRPLUS };

/* What LOOKUP and its like answer; ino 0: there is no such name. */
struct entry {
	uint64_t ino;
	bool lasts, attr_lasts; /* the two timeouts: a year, or 0 */
	struct attr attr;
};

struct task;

/* A request of the kernel. */
struct request {
	enum call call;
	struct task *task;
	uint64_t node; /* LINK: what gets a name; of others: the directory,
			* or the node itself */
	uint64_t dir2; /* LINK: the directory */
	char name[SIM_NAME], name2[SIM_NAME];
	unsigned flags;	/* RENAME_*; O_EXCL of CREATE */
	bool chmods;	/* SETATTR: the mode; otherwise the size */
	uint32_t mode;
	uint64_t size;
	enum { ASKED, TAKEN, ANSWERED } state;
	int err;
	struct entry entry;
	struct listing *listing; /* READDIRPLUS; of who asks */
	struct request *prev, *next;
};

struct listing {
	unsigned n;
	struct {
		char name[SIM_NAME];
		struct entry entry;
	} listed[SIM_LISTED];
};

/* An inode.  It lives while something refers to it, or a while longer. */
struct inode {
	uint64_t ino;
	mode_t mode;
	uint64_t n_lookup; /* what FORGET gives back */
	unsigned n_pins;   /* tasks in it, watches */
	struct attr attr;  /* as told */
	bool fresh;	   /* its timeout has not come */
	bool distrusted;   /* invalidated; the next stat or permission asks */
	bool touched;	   /* sizes and times are; stat asks */
	uint64_t version;
	bool dead; /* S_DEAD */
	struct task *writer;
	unsigned n_readers;
	struct watch *watch;
	struct inode *prev, *next;
};

struct dentry {
	struct inode *dir, *node; /* node NULL: negative */
	char name[SIM_NAME];
	bool lasts;
	bool looking; /* its first LOOKUP is under way */
	bool hashed;
	unsigned n_refs;
	struct dentry *prev, *next;
};

/* An inotify watch, and the listing that its events lead to. */
struct watch {
	struct inode *dir;
	bool listed;
	unsigned n;
	char names[SIM_LISTED][SIM_NAME];
};

enum { N_USERS = 3, N_TASKS = N_USERS + 1, HELPER = N_USERS };

struct task {
	unsigned id;
	ucontext_t context;
	char *stack;
	bool busy;	/* has a system call under way */
	bool killed;	/* no request of it is waited for any more */
	struct request *request; /* that it waits for */
	bool (*waits)(struct task *); /* NULL: it can run */
	struct inode *wants;
	struct dentry *awaits;
	void (*run)(struct task *);
	/* mount's struct tid */
	unsigned stale_op;
	uint64_t stale_dir;
	bool dirty; /* its handle has a draft */
	int err; /* of the system call */
};

struct sim {
	uint64_t seed;
	struct random random;
	uint64_t now_ns;
	bool trace;
	char broken[512]; /* the first promise that was; "": none */
	unsigned queue; /* in the place of LIMIT_REPLAY_QUEUE */
	struct task tasks[N_TASKS];
	struct helper_request job; /* what the helper is at */
	bool helper_alive, helper_ready, helper_answers;
	unsigned n_sent, n_calls, n_remote, n_killed, n_events, n_pumped;
	struct kview *kview;
	struct replay *replay;
	struct engine *engine;
	uint64_t cursor; /* as reported */
};
extern struct sim sim;

bool chance(unsigned percent);
unsigned below(unsigned n);
__attribute__((format(printf, 1, 2))) void broken(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void trace(const char *fmt, ...);

/* replay_kernel.c */
void kernel_init(void);
void kernel_user(struct task *); /* one random system call */
void kernel_helper(struct task *); /* what sim.job says */
struct request *kernel_queue(void); /* the oldest; NULL: none */
void kernel_take(struct request *);
void kernel_kill(struct task *);
bool kernel_forget(void); /* one FORGET; false: none is due */
void kernel_shrink(unsigned percent); /* of what nothing refers to */
void kernel_invalidate(uint64_t ino); /* FUSE_NOTIFY_INVAL_INODE */
void kernel_check(void); /* when all is calm */
bool task_can_run(struct task *);
void task_start(struct task *, void (*run)(struct task *));
void task_run(struct task *);

/* replay_mount.c */
void mount_init(void);
void mount_request(struct request *);
void mount_forgets(uint64_t ino, uint64_t n);
void mount_remote(void); /* another host asks for something */
bool mount_commit(void); /* a loop turn's commits; false: none waits */
void mount_abandon(struct task *); /* its caller has been killed */
uint64_t mount_committed(struct store_txn *, uint64_t dir, const char *name,
    struct attr *ret);
struct store_txn *mount_view(void);

#endif
