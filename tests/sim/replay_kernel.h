/*
 * replay_kernel.h: the simulated kernel's dentries and inodes, for its system
 * calls.
 */
#ifndef TESTS_SIM_REPLAY_KERNEL_H
#define TESTS_SIM_REPLAY_KERNEL_H

#include "sim/replay_sim.h"

/* How a name is looked up; of include/linux/namei.h. */
enum { REVAL = 1, EXCL = 2, TARGET = 4 };

/* A FORGET on its way. */
struct forget {
	uint64_t ino, n;
	struct forget *prev, *next;
};

struct kernel {
	struct request *queue; /* asked, not taken */
	struct inode *inodes;
	struct dentry *dentries;
	struct forget *forgets;
	struct forget *invalid; /* what was not there; n: when */
	struct inode *root;
	uint64_t version;
	struct task *renamer; /* s_vfs_rename_mutex */
	struct task *current;
	ucontext_t scheduler;
};
extern struct kernel k;

int ask(struct request *r);
int ask_lookup(struct inode *dir, const char *name, struct request *r);
void wait_until(bool (*can)(struct task *));
struct inode *ilookup(uint64_t ino);
void change_attributes(struct inode *i, const struct entry *e,
    uint64_t version);
struct inode *iget(const struct entry *e, uint64_t version);
void forget(uint64_t ino, uint64_t n);
void lock(struct inode *i);
void unlock(struct inode *i);
void lock_shared(struct inode *i);
void unlock_shared(struct inode *i);
struct dentry *dentry_find(const struct inode *dir, const char *name);
struct dentry *dentry_new(struct inode *dir, const char *name,
    struct inode *node, bool lasts);
void d_drop(struct dentry *d);
void d_put(struct dentry *d);
void shrink_children(struct inode *dir);
void d_invalidate(struct dentry *d);
struct dentry *alias_of(const struct inode *dir);
void d_splice(struct inode *dir, const char *name, struct inode *node);
bool looked_up(struct task *t);
struct dentry *lookup(struct inode *dir, const char *name, unsigned flags,
    bool locked, int *ret_err);
void event_there(struct inode *dir, const char *name, bool moved);
void event_gone(struct inode *dir, const char *name);
void watch_add(struct watch *w, const char *name);

#endif
